// llama.c - Llama 1 to 3 and all that is built like it: Mistral, SmolLM2,
// DeepSeek-R1-Distill-Llama, ... (arXiv:2302.13971, arXiv:2407.21783). Rope rotates neighbours: the
// files' rows are permuted for it.

#include <math.h>

#include "model/model_int.h"

void llama_read(struct model *m, struct layer *layer, struct keys *k)
{
    m->norm_eps = key_float(k, "attention.layer_norm_rms_epsilon", 0, 0.1f);
    m->attn_scale = key_float_or(k, "attention.scale", 0, 1e3f, 0);
    if (m->attn_scale == 0)
        m->attn_scale = 1 / sqrtf((float)layer[0].head_dim);
    if (m->route.n_experts > 0) // Mixtral (arXiv:2401.04088)
        key_experts(k, m, layer, 0);
}

static struct tensor *block(struct gb *b, const struct model *m, int il, struct tensor *x)
{
    x = blk_add(b, m, x, blk_attn(b, m, il, blk_norm(b, m, il, x, "attn_norm")));
    x = blk_outputs(b, m, il, x);
    return blk_add(b, m, x, blk_ffn(b, m, il, blk_norm(b, m, il, x, "ffn_norm")));
}

void llama_graph(struct gb *b, const struct model *m)
{
    blk_model(b, m, block);
}

static const char *const unused[] = {
    "blk.*.attn_rot_embd", // frequencies, in files of 2023: they follow from the keys
    NULL,
};

const struct arch arch_llama = {
    .name = "llama", .read = llama_read, .graph = llama_graph, .unused = unused, .experts = true
};
