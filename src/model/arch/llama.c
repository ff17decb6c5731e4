// llama.c - Llama 1 to 3 and all that is built like it: Mistral, SmolLM2,
// DeepSeek-R1-Distill-Llama, ... (arXiv:2302.13971, arXiv:2407.21783). Rope rotates neighbours: the
// files' rows are permuted for it.

#include <math.h>

#include "model/model_int.h"

static void read(struct model *m, struct layer *layer, struct keys *k)
{
    m->norm_eps = key_float(k, "attention.layer_norm_rms_epsilon", 0, 0.1f);
    m->attn_scale = key_float_or(k, "attention.scale", 0, 1e3f, 0);
    if (m->attn_scale == 0)
        m->attn_scale = 1 / sqrtf((float)layer[0].head_dim);
}

static struct tensor *block(struct gb *b, const struct model *m, int il, struct tensor *x)
{
    gb_part(b, PART_BLOCK, il);
    x = gb_add(b, x, blk_attn(b, m, il, blk_norm(b, m, il, x, "attn_norm")));
    x = blk_outputs(b, m, il, x);
    return gb_add(b, x, blk_ffn_glu(b, m, il, blk_norm(b, m, il, x, "ffn_norm"), ACT_SILU));
}

static void graph(struct gb *b, const struct model *m)
{
    struct tensor *x = blk_embed(b, m);
    for (int il = 0; il < m->n_layers; il++)
        x = block(b, m, il, x);
    blk_head(b, m, x);
}

static const char *const unused[] = {
    "blk.*.attn_rot_embd", // frequencies, in files of 2023: they follow from the keys
    NULL,
};

const struct arch arch_llama = { "llama", read, graph, unused };
