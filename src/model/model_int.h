// model_int.h - what the files of this folder share: reading keys, blocks, the table of
// architectures.

#ifndef SNUG_MODEL_INT_H
#define SNUG_MODEL_INT_H

#include "gguf/gguf.h"
#include "model/model.h"

/// Bounds of what a file may claim: well above any published model, low enough that no product of
/// them overflows 64 bits.
enum {
    MAX_LAYERS = 512,
    MAX_HEADS = 4096,
    MAX_HEAD_DIM = 1024,
    MAX_EMBD = 1 << 20,
    MAX_FF = 1 << 24,
    MAX_VOCAB = 1 << 24,
    MAX_CTX = 1 << 30,
    MAX_EXPERTS = 1024,
    MAX_IMAGE = 1 << 14, // pixels of a side
    MAX_CHANNELS = 16,
};

// --- keys.c: hyperparameters, checked
// ---------------------------------------------------------------

/// Keys are named without the architecture's prefix. The first error sticks (ok becomes false);
/// every function then still gives a number of its range, so that reading goes on without checks.
struct keys {
    const struct gguf *g;
    const char *arch;
    struct err *e;
    bool ok;
};

bool key_is(const struct keys *k, const char *name); // there, of whatever type
bool key_is_array(const struct keys *k, const char *name);
/// A whole number in [min, max]. `or`: what a missing key stands for; without, it must be there.
int64_t key_int(struct keys *k, const char *name, int64_t min, int64_t max);
int64_t key_int_or(struct keys *k, const char *name, int64_t min, int64_t max, int64_t or);
float key_float(struct keys *k, const char *name, float min, float max);
float key_float_or(struct keys *k, const char *name, float min, float max, float or);
bool key_bool_or(struct keys *k, const char *name, bool or);
/// One number for all layers, or an array with one for each. With `or`, a missing key leaves `out`
/// alone.
void key_layers(struct keys *k, const char *name, int min, int max, int *out, int n_layers);
void key_layers_or(struct keys *k, const char *name, int min, int max, int *out, int n_layers);
/// rope.*: dimensions (default `rot`), base, scaling of kind `scaling` unless a key says which.
struct rope_freq key_rope(struct keys *k, int rot, float base, int64_t n_ctx_train,
                          const char *scaling);
enum { ALL_LAYERS = 1 << 20 }; // a period that none reaches
/// attention.sliding_window (default `window`) in all layers but each `period`-th, or as
/// attention.sliding_window_pattern says: a period, or a flag for each layer.
void key_windows(struct keys *k, struct layer *layer, int n_layers, int window, int period);
/// expert_*, but for how many there are: sizes (in all layers from `first` on), the kind of router
/// (as m->route says already where there is no key).
void key_experts(struct keys *k, struct model *m, struct layer *layer, int first);
/// Refuses a sharpness of attention that grows with the position.
void key_no_temperature(struct keys *k);
void key_fail(struct keys *k, enum err_code code, const char *fmt, ...) PRINTF_LIKE(3, 4);

// --- arch.c: what there is
// --------------------------------------------------------------------------

struct arch {
    const char *name;
    /// Sets what this architecture does its own way; `m` and `layer` hold what all have in common
    /// already.
    void (*read)(struct model *m, struct layer *layer, struct keys *k);
    void (*graph)(struct gb *b, const struct model *m);
    /// Tensors that its files hold and that are not part of the text model: fnmatch() patterns,
    /// NULL at the end.
    const char *const *unused;
    bool experts;             // its files may have some
    const char *rope_scaling; // where factors are given without a kind; NULL: linear
};
const struct arch *arch_find(const char *name);

extern const struct arch arch_llama, arch_mistral, arch_mistral3, arch_gemma2, arch_gemma3,
    arch_qwen2, arch_qwen3, arch_qwen3moe, arch_olmo2, arch_granite, arch_phi3, arch_command_r,
    arch_cohere2, arch_gpt_oss, arch_gptoss, arch_deepseek2;

void llama_read(struct model *m, struct layer *layer, struct keys *k);
void llama_graph(struct gb *b, const struct model *m);
void command_r_read(struct model *m, struct layer *layer, struct keys *k);
void command_r_graph(struct gb *b, const struct model *m);
extern const char *const no_tensors[]; // for `unused`

// --- blocks.c: maths that architectures share
// -------------------------------------------------------

/// A block of an architecture: takes and gives [tokens][n_embd].
typedef struct tensor *blk_fn(struct gb *b, const struct model *m, int il, struct tensor *x);
/// The whole model: ids to rows of the embedding, all blocks, the head.
void blk_model(struct gb *b, const struct model *m, blk_fn *block);

/// "blk.IL.NAME": a matrix, and its bias where there is one.
struct tensor *blk_linear(struct gb *b, int il, const char *name, struct tensor *x, int64_t cols,
                          int64_t rows);
/// `old` where the file has a "blk.IL.OLD.weight", else `name`.
const char *blk_name(struct gb *b, int il, const char *name, const char *old);
/// The model's kind of norm by a weight of n_embd numbers, "blk.IL.NAME.weight".
struct tensor *blk_norm(struct gb *b, const struct model *m, int il, struct tensor *x,
                        const char *name);
/// x + y, where y is what one half of a block gives: scaled, if the model says so.
struct tensor *blk_add(struct gb *b, const struct model *m, struct tensor *x, struct tensor *y);
/// Attention: projections (each its own or fused, with biases where the file has some), norms of
/// the heads, rope, cache, output projection.
blk_fn blk_attn;
/// down(act(gate(x)) * up(x)), with biases where the file has some: dense, or by the experts that a
/// router chooses and those that all tokens share, as the layer says.
blk_fn blk_ffn;
/// In the last block, the rows that get logits: nothing behind its attention needs the others.
blk_fn blk_outputs;

// --- vision.c: towers that see images
// -------------------------------------------------------------

/// The keys vision.*, where the file has a tower ("v.*").
void vision_read(struct model *m, struct keys *k);
/// A part of its own, before all others, if the model has one.
void vision_graph(struct gb *b, const struct model *m);

#endif
