// gemma2.c - Gemma 2 (arXiv:2408.00118): every other layer sees a window, scores and logits are
// capped, a norm before and after each half of a block.

#include <math.h>

#include "model/model_int.h"

/// The 27b scales q by the width of a head as if all heads made up the embedding
/// (google/gemma_pytorch, gemma/config.py).
enum { LAYERS_27B = 46 };

static void read(struct model *m, struct layer *layer, struct keys *k)
{
    int width = m->n_layers == LAYERS_27B ? m->n_embd / layer[0].n_heads : layer[0].head_dim;
    m->rope_kind = ROPE_NEOX;
    m->act = ACT_GELU;
    m->embd_scale = sqrtf((float)m->n_embd);
    m->norm_eps = key_float(k, "attention.layer_norm_rms_epsilon", 0, 0.1f);
    m->attn_scale = 1 / sqrtf((float)width);
    m->attn_softcap = key_float_or(k, "attn_logit_softcapping", 0, 1e6f, 50);
    m->logit_softcap = key_float_or(k, "final_logit_softcapping", 0, 1e6f, 30);
    key_windows(k, layer, m->n_layers, 4096, 2);
}

static struct tensor *block(struct gb *b, const struct model *m, int il, struct tensor *x)
{
    struct tensor *h = blk_attn(b, m, il, blk_norm(b, m, il, x, "attn_norm"));
    x = gb_add(b, x, blk_norm(b, m, il, h, "post_attention_norm"));
    x = blk_outputs(b, m, il, x);
    h = blk_ffn(b, m, il, blk_norm(b, m, il, x, "ffn_norm"));
    return gb_add(b, x, blk_norm(b, m, il, h, "post_ffw_norm"));
}

static void graph(struct gb *b, const struct model *m)
{
    blk_model(b, m, block);
}

const struct arch arch_gemma2 = {
    .name = "gemma2", .read = read, .graph = graph, .unused = no_tensors
};
