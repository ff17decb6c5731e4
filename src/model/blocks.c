// blocks.c - maths that several architectures share. What differs between them is a value in struct
// model.

#include "model/model_int.h"

struct tensor *blk_embed(struct gb *b, const struct model *m)
{
    gb_part(b, PART_EMBED, -1);
    struct tensor *table = gb_mat(b, m->n_embd, m->n_vocab, "token_embd.weight");
    return gb_embed(b, gb_input(b, IN_TOKENS), table, m->embd_scale);
}

struct tensor *blk_norm(struct gb *b, const struct model *m, int il, struct tensor *x,
                        const char *name)
{
    return gb_rmsnorm(b, x, gb_vec(b, m->n_embd, "blk.%d.%s.weight", il, name), m->norm_eps);
}

/// "blk.IL.NAME": a matrix, and its bias where there is one.
static struct tensor *linear(struct gb *b, int il, const char *name, struct tensor *x, int64_t cols,
                             int64_t rows)
{
    struct tensor *w = gb_mat(b, cols, rows, "blk.%d.%s.weight", il, name);
    struct tensor *bias = NULL;
    if (gb_has(b, "blk.%d.%s.bias", il, name))
        bias = gb_vec(b, rows, "blk.%d.%s.bias", il, name);
    return gb_matmul(b, x, w, bias);
}

static struct tensor *rope_table(struct gb *b, const struct layer *l)
{
    struct tensor *factors = NULL;
    if (gb_has(b, "rope_freqs.weight"))
        factors = gb_vec(b, l->rope.rot / 2, "rope_freqs.weight");
    return gb_rope_table(b, &l->rope, factors);
}

/// q, k -> norm of each head, where the model has it -> rope. x [tokens][heads * head_dim].
static struct tensor *turned(struct gb *b, const struct model *m, int il, struct tensor *x,
                             const char *norm)
{
    const struct layer *l = &m->layer[il];
    if (m->qk_norm)
        x = gb_rmsnorm(b, x, gb_vec(b, l->head_dim, "blk.%d.%s.weight", il, norm), m->norm_eps);
    return gb_rope(b, x, rope_table(b, l), l->head_dim, l->rope.rot, m->rope_kind);
}

struct tensor *blk_attn(struct gb *b, const struct model *m, int il, struct tensor *x)
{
    const struct layer *l = &m->layer[il];
    struct tensor *q = linear(b, il, "attn_q", x, m->n_embd, (int64_t)l->n_heads * l->head_dim);
    struct tensor *k = linear(b, il, "attn_k", x, m->n_embd, (int64_t)l->n_kv_heads * l->head_dim);
    struct tensor *v =
        linear(b, il, "attn_v", x, m->n_embd, (int64_t)l->n_kv_heads * l->head_dim_v);
    q = turned(b, m, il, q, "attn_q_norm");
    k = turned(b, m, il, k, "attn_k_norm");
    struct tensor *o = gb_attn(b, q, k, v,
                               &(struct attn_args){
                                   .n_heads = l->n_heads,
                                   .n_kv_heads = l->n_kv_heads,
                                   .head_dim = l->head_dim,
                                   .head_dim_v = l->head_dim_v,
                                   .window = l->window,
                                   .scale = m->attn_scale,
                                   .softcap = m->attn_softcap,
                                   .il = il,
                               });
    return linear(b, il, "attn_output", o, (int64_t)l->n_heads * l->head_dim_v, m->n_embd);
}

struct tensor *blk_ffn_glu(struct gb *b, const struct model *m, int il, struct tensor *x,
                           enum act act)
{
    int n_ff = m->layer[il].n_ff;
    struct tensor *gate = linear(b, il, "ffn_gate", x, m->n_embd, n_ff);
    struct tensor *up = linear(b, il, "ffn_up", x, m->n_embd, n_ff);
    return linear(b, il, "ffn_down", gb_glu(b, gate, up, act), n_ff, m->n_embd);
}

struct tensor *blk_outputs(struct gb *b, const struct model *m, int il, struct tensor *x)
{
    return il == m->n_layers - 1 ? gb_rows(b, x, gb_input(b, IN_OUT_IDS)) : x;
}

void blk_head(struct gb *b, const struct model *m, struct tensor *x)
{
    gb_part(b, PART_HEAD, -1);
    x = gb_rmsnorm(b, x, gb_vec(b, m->n_embd, "output_norm.weight"), m->norm_eps);
    const char *matrix = m->tied ? "token_embd.weight" : "output.weight";
    x = gb_matmul_precise(b, x, gb_mat(b, m->n_embd, m->n_vocab, "%s", matrix));
    if (m->logit_softcap > 0)
        x = gb_softcap(b, x, m->logit_softcap);
    gb_logits(b, x);
}
