// model.h - what a file describes, in our words. The only place that knows architectures and the names of keys and tensors.
//
// model_read() turns the file's keys into dimensions, checked (catalogue M-01 ... M-09); model_graph() has the
// architecture write its maths as a graph. A new architecture: arch/NAME.c and one line in arch.c.

#ifndef SNUG_MODEL_H
#define SNUG_MODEL_H

#include "base/base.h"
#include "graph/graph.h"

struct gguf;

struct layer {
    int n_heads, n_kv_heads;
    int head_dim;   // of q and k
    int head_dim_v;
    int n_ff;
    int window;     // 0: sees everything
    struct rope_freq rope;
};

struct model {
    const struct arch *arch;
    const char *arch_name; // as in the file
    const char *name;      // general.name, escaped; "" if none
    int n_embd, n_vocab, n_layers;
    int64_t n_ctx_train;
    float norm_eps;
    float embd_scale;      // 1: none
    float attn_scale;      // multiplies q.k
    float attn_softcap, logit_softcap; // 0: none
    enum rope_kind rope_kind;
    bool qk_norm;          // each head of q and k is normed before its rope
    bool tied;             // no output matrix: the embedding is used
    const struct layer *layer; // [n_layers]
    struct arena mem;
};

/// Reads and checks the keys. `g` must outlive *out. Errors: ERR_FORMAT names the key and the number;
/// ERR_UNSUPPORTED unknown architecture (lists the known ones).
MUST_CHECK bool model_read(struct model **out, const struct gguf *g, struct err *e);
void model_free(struct model *m);

/// The whole computation. *out is the caller's: graph_free(). Weights' `source` is the tensor's index in `g`.
MUST_CHECK bool model_graph(struct graph **out, const struct model *m, const struct gguf *g, struct err *e);

/// Tensors of the file that the graph does not use, by index; known: the architecture names it as such
/// (rope_freqs of unused kinds, ...). Calls back for each. For `show` and the tests.
typedef void model_unused_fn(void *ctx, int tensor, bool known);
void model_unused(const struct model *m, const struct graph *g, const struct gguf *f, model_unused_fn *fn, void *ctx);

/// Names of the architectures, for messages; NULL at the end.
const char *model_arch_name(int i);

// How to talk to it, from the file's keys; a full template engine is another room.
enum chat_format { CHAT_NONE, CHAT_CHATML, CHAT_GEMMA };
enum chat_format model_chat_format(const struct gguf *g);

#endif
