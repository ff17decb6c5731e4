// gemma3.c - Gemma 3 (arXiv:2503.19786): a norm before and after each half of a block; five
// layers that see a window, with a rope of their own, to each one that sees everything.

#include <math.h>

#include "model/model_int.h"

/// The converters leave out what is the same in all sizes, and early ones some that is not: the 4b,
/// 12b and 27b were trained with positions divided by 8 in the layers that see everything, and the
/// 27b scales q by the width of a head as if all heads made up the embedding (ollama/ollama,
/// model/models/gemma3/model_text.go).
enum { LAYERS_1B = 26, LAYERS_4B = 34, LAYERS_12B = 48, LAYERS_27B = 62 };

static void read_rope(const struct model *m, struct layer *layer, struct keys *k)
{
    float all = key_float_or(k, "rope.global.freq_base", 1.5f, 1e12f, 1e6f);
    float local = key_float_or(k, "rope.local.freq_base", 1.5f, 1e12f, 10000);
    bool big = m->n_layers == LAYERS_4B || m->n_layers == LAYERS_12B || m->n_layers == LAYERS_27B;
    all = key_float_or(k, "rope.freq_base", 1.5f, 1e12f, all);
    local = key_float_or(k, "rope.freq_base_swa", 1.5f, 1e12f, local);
    for (int il = 0; il < m->n_layers; il++) {
        struct rope_freq *f = &layer[il].rope;
        f->base = all;
        if (big && !key_is(k, "rope.scaling.factor"))
            f->linear = 8;
        if (layer[il].window > 0)
            *f = (struct rope_freq){ .rot = f->rot, .base = local, .linear = 1, .mscale = 1 };
    }
}

static void read(struct model *m, struct layer *layer, struct keys *k)
{
    float scale =
        (float)(m->n_layers == LAYERS_27B ? m->n_embd / layer[0].n_heads : layer[0].head_dim);
    m->rope_kind = ROPE_NEOX;
    m->qk_norm = QK_NORM_ALIKE;
    m->act = ACT_GELU;
    m->embd_scale = sqrtf((float)m->n_embd);
    m->norm_eps = key_float_or(k, "attention.layer_norm_rms_epsilon", 0, 0.1f, 1e-6f);
    m->attn_scale = key_float_or(k, "attention.scale", 1e-6f, 1e3f, 1 / sqrtf(scale));
    if (m->n_layers != LAYERS_1B) // early files of the 1b have a cap that the model does not
        m->logit_softcap = key_float_or(k, "final_logit_softcapping", 0, 1e6f, 0);
    key_windows(k, layer, m->n_layers, 0, 6);
    read_rope(m, layer, k);
    vision_read(m, k);
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
    vision_graph(b, m);
    blk_model(b, m, block);
}

static const char *const unused[] = {
    "v.*",  // the vision tower, left out
    "mm.*", // its projection to our embeddings
    NULL,
};

const struct arch arch_gemma3 = {
    .name = "gemma3", .read = read, .graph = graph, .unused = unused
};
