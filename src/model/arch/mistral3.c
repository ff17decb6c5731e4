// mistral3.c - Mistral Small 3.1 and later, Ministral 3: as Llama, the text model of files that may
// hold a vision tower beside it. "mistral": files that do not call themselves llama.

#include <math.h>

#include "model/model_int.h"

/// Positions stretched by yarn do not sharpen attention where the key says that training undid it
/// (ggml-org/llama.cpp, src/llama-context.cpp).
static void undo_yarn(struct rope_freq *f, float log_mul)
{
    float stretch = f->yarn_factor > 1 ? logf(f->yarn_factor) : 0;
    if (f->yarn_orig_ctx > 0 && f->yarn_ext != 0)
        f->yarn_attn /= 1 + 0.1f * log_mul * stretch;
}

static void read(struct model *m, struct layer *layer, struct keys *k)
{
    llama_read(m, layer, k);
    float log_mul = key_float_or(k, "rope.scaling.yarn_log_multiplier", 0, 1e3f, 0);
    for (int il = 0; il < m->n_layers; il++)
        undo_yarn(&layer[il].rope, log_mul);
    m->query_grow = key_float_or(k, "attention.temperature_scale", 0, 1e3f, 0);
    m->query_grow_every = (int)m->n_ctx_orig;
    if (m->query_grow > 0 && layer[0].rope.rot != layer[0].head_dim)
        key_no_temperature(k); // it comes with the rotation, so that must be of all numbers
}

static const char *const unused[] = {
    "v.*",  // the vision tower
    "mm.*", // its projection to our embeddings
    NULL,
};

const struct arch arch_mistral3 = {
    .name = "mistral3", .read = read, .graph = llama_graph, .unused = unused
};
const struct arch arch_mistral = {
    .name = "mistral", .read = llama_read, .graph = llama_graph, .unused = no_tensors
};
