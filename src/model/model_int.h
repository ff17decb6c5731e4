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
/// One number for all layers, or an array with one for each. With `or`, a missing key leaves `out`
/// alone.
void key_layers(struct keys *k, const char *name, int min, int max, int *out, int n_layers);
void key_layers_or(struct keys *k, const char *name, int min, int max, int *out, int n_layers);
/// rope.*: dimensions (default `rot`), base, scaling of kind linear and yarn.
struct rope_freq key_rope(struct keys *k, int rot, float base, int64_t n_ctx_train);
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
};
const struct arch *arch_find(const char *name);

extern const struct arch arch_llama, arch_gemma3;

// --- blocks.c: maths that architectures share
// -------------------------------------------------------

/// Ids to rows of the embedding, times embd_scale.
struct tensor *blk_embed(struct gb *b, const struct model *m);
/// RMS norm by a weight of n_embd numbers, "blk.IL.NAME.weight".
struct tensor *blk_norm(struct gb *b, const struct model *m, int il, struct tensor *x,
                        const char *name);
/// Attention: projections (with biases where the file has some), norms of the heads, rope, cache,
/// output projection.
struct tensor *blk_attn(struct gb *b, const struct model *m, int il, struct tensor *x);
/// down(act(gate(x)) * up(x)), with biases where the file has some.
struct tensor *blk_ffn_glu(struct gb *b, const struct model *m, int il, struct tensor *x,
                           enum act act);
/// In the last block, the rows that get logits: nothing behind its attention needs the others.
struct tensor *blk_outputs(struct gb *b, const struct model *m, int il, struct tensor *x);
/// Final norm, output matrix or embedding, softcap: the logits.
void blk_head(struct gb *b, const struct model *m, struct tensor *x);

#endif
