// model.h - what a file describes, in our words. The only place that knows architectures and the
// names of keys and tensors.
//
// model_read() turns the file's keys into dimensions, checked (catalogue M-01 ... M-09);
// model_graph() has the architecture write its maths as a graph. A new architecture: arch/NAME.c
// and one line in arch.c.

#ifndef SNUG_MODEL_H
#define SNUG_MODEL_H

#include "base/base.h"
#include "graph/graph.h"

struct gguf;

struct layer {
    int n_heads, n_kv_heads;
    int head_dim; // of q and k, as attention sees them
    int head_dim_v;
    int n_ff;              // of the dense feed-forward half
    int n_ff_exp;          // of one expert; 0: this layer is dense
    int window;            // 0: sees everything
    struct rope_freq rope; // rot 0: positions are not turned into anything
};

enum norm_kind { NORM_RMS, NORM_LAYER };
enum qk_norm {
    QK_NORM_NONE,
    QK_NORM_ALIKE, // each head of q and k is normed before its rope, by one weight for all heads
    QK_NORM_EACH,  // every head has its own
    QK_NORM_ALL,   // all heads of a token at once
};

/// Latent attention (arXiv:2405.04434, section 2.1): what the layer's heads are made of.
struct mla {
    int rank;   // of the latent, which is what values are in the cache; 0: no latent attention
    int q_rank; // of the queries' own; 0: they are not compressed
    int nope;   // of a head's numbers, those without position; rope.rot follow
    int v;      // numbers of a head's value
};

/// A tower in the model's own file that turns images into rows like the embedding's.
struct vision {
    int n_layers; // 0: there is none
    int n_embd, n_ff;
    int patch;      // an image is cut into squares of so many pixels
    int n_channels; // numbers of a pixel
    int n_patches;  // of an image
};

struct model {
    const struct arch *arch;
    const char *arch_name; // as in the file
    const char *name;      // general.name, escaped; "" if none
    int n_embd, n_vocab, n_layers;
    int64_t n_ctx_train;
    int64_t n_ctx_orig; // before positions were stretched
    float norm_eps;
    float embd_scale;                  // 1: none
    float attn_scale;                  // multiplies q.k
    float attn_softcap, logit_softcap; // 0: none
    float logit_scale;                 // 1: none
    float residual_scale;              // of what each half of a block adds; 0: none
    enum norm_kind norm;
    enum qk_norm qk_norm;
    bool sinks; // each head may look at nothing
    enum rope_kind rope_kind;
    float query_grow; // > 0: queries grow with their position (rope_freq.grow)
    int query_grow_every;
    enum act act;            // of the feed-forward halves
    struct route_args route; // n_experts 0: there are none
    int n_ff_shared;         // of the experts that every token uses, as one; 0: none
    bool fused_ffn;          // ffn_up has the rows of the gate, then its own
    bool
        gate_up_pairs; // where one matrix has both: rows alternate; else all of the gate come first
    struct mla mla;
    bool tied; // no output matrix: the embedding is used
    struct vision vision;
    const struct layer *layer; // [n_layers]
    struct arena mem;
};

/// Reads and checks the keys. `g` must outlive *out. Errors: ERR_FORMAT names the key and the
/// number; ERR_UNSUPPORTED unknown architecture (lists the known ones).
MUST_CHECK bool model_read(struct model **out, const struct gguf *g, struct err *e);
void model_free(struct model *m);
/// Leaves its vision tower out of the graph.
void model_drop_vision(struct model *m);

/// The whole computation. Of a vision tower, for now, the weights alone: it has no nodes. *out is
/// the caller's: graph_free(). Weights' `source` is the tensor's index in `g`.
MUST_CHECK bool model_graph(struct graph **out, const struct model *m, const struct gguf *g,
                            struct err *e);

/// Tensors of the file that the graph does not use, by index; known: the architecture names it as
/// such (rope_freqs of unused kinds, ...). Calls back for each. For `show` and the tests.
typedef void model_unused_fn(void *ctx, int tensor, bool known);
void model_unused(const struct model *m, const struct graph *g, const struct gguf *f,
                  model_unused_fn *fn, void *ctx);

/// Names of the architectures, for messages; NULL at the end.
const char *model_arch_name(int i);

// How to talk to it, from the file's keys; a full template engine is another room.
enum chat_format { CHAT_NONE, CHAT_CHATML, CHAT_GEMMA };
enum chat_format model_chat_format(const struct gguf *g);

#endif
