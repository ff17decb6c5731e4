// olmo2.c - OLMo 2 and 3 (arXiv:2501.00656): norms behind the halves of a block instead of before
// them, one over all heads of q and of k; OLMo 3 has three layers with a window to each one
// without.

#include "model/model_int.h"

static void read(struct model *m, struct layer *layer, struct keys *k)
{
    llama_read(m, layer, k);
    m->rope_kind = ROPE_NEOX;
    m->qk_norm = QK_NORM_ALL;
    key_windows(k, layer, m->n_layers, 0, 4);
    for (int il = 0; il < m->n_layers; il++) // what stretches positions is for the others
        if (layer[il].window > 0)
            layer[il].rope = (struct rope_freq){
                .rot = layer[il].rope.rot, .base = layer[il].rope.base, .linear = 1, .mscale = 1
            };
}

static struct tensor *block(struct gb *b, const struct model *m, int il, struct tensor *x)
{
    struct tensor *h = blk_norm(b, m, il, blk_attn(b, m, il, x), "post_attention_norm");
    x = blk_outputs(b, m, il, gb_add(b, x, h));
    return gb_add(b, x, blk_norm(b, m, il, blk_ffn(b, m, il, x), "post_ffw_norm"));
}

static void graph(struct gb *b, const struct model *m)
{
    blk_model(b, m, block);
}

const struct arch arch_olmo2 = {
    .name = "olmo2", .read = read, .graph = graph, .unused = no_tensors
};
