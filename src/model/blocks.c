// blocks.c - maths that several architectures share. What differs between them is a value in struct
// model, or is seen from what the file has.

#include "model/model_int.h"

struct tensor *blk_linear(struct gb *b, int il, const char *name, struct tensor *x, int64_t cols,
                          int64_t rows)
{
    struct tensor *w = gb_mat(b, cols, rows, "blk.%d.%s.weight", il, name);
    struct tensor *bias = NULL;
    if (gb_has(b, "blk.%d.%s.bias", il, name))
        bias = gb_vec(b, rows, "blk.%d.%s.bias", il, name);
    return gb_matmul(b, x, w, bias);
}

const char *blk_name(struct gb *b, int il, const char *name, const char *old)
{
    return gb_has(b, "blk.%d.%s.weight", il, old) ? old : name;
}

static struct tensor *norm(struct gb *b, const struct model *m, struct tensor *x, struct tensor *w)
{
    return m->norm == NORM_LAYER ? gb_layernorm(b, x, w, NULL, m->norm_eps)
                                 : gb_rmsnorm(b, x, w, m->norm_eps);
}

struct tensor *blk_norm(struct gb *b, const struct model *m, int il, struct tensor *x,
                        const char *name)
{
    return norm(b, m, x, gb_vec(b, m->n_embd, "blk.%d.%s.weight", il, name));
}

struct tensor *blk_add(struct gb *b, const struct model *m, struct tensor *x, struct tensor *y)
{
    return gb_add(b, x, m->residual_scale > 0 ? gb_scale(b, y, m->residual_scale) : y);
}

// --- attention
// --------------------------------------------------------------------------------

/// Frequencies, with the factors that some files have: one set, or two by the context's length.
static struct tensor *rope_table(struct gb *b, const struct model *m, struct rope_freq f)
{
    if (gb_has(b, "rope_factors_long.weight") || gb_has(b, "rope_factors_short.weight")) {
        f.long_from = (int)m->n_ctx_orig;
        struct tensor *near = gb_vec(b, f.rot / 2, "rope_factors_short.weight");
        return gb_rope_table_long(b, &f, near, gb_vec(b, f.rot / 2, "rope_factors_long.weight"));
    }
    struct tensor *factors = NULL;
    if (gb_has(b, "rope_freqs.weight"))
        factors = gb_vec(b, f.rot / 2, "rope_freqs.weight");
    return gb_rope_table(b, &f, factors);
}

/// q, k -> norm of each head, where the model has it -> rope. x [tokens][heads * head_dim].
static struct tensor *turned(struct gb *b, const struct model *m, int il, struct tensor *x,
                             bool is_query)
{
    const char *name = is_query ? "attn_q_norm" : "attn_k_norm";
    const struct layer *l = &m->layer[il];
    const int n_heads = is_query ? l->n_heads : l->n_kv_heads;
    if (m->qk_norm == QK_NORM_ALIKE)
        x = norm(b, m, x, gb_vec(b, l->head_dim, "blk.%d.%s.weight", il, name));
    if (m->qk_norm == QK_NORM_EACH)
        x = norm(b, m, x, gb_mat(b, l->head_dim, n_heads, "blk.%d.%s.weight", il, name));
    if (m->qk_norm == QK_NORM_ALL)
        x = norm(b, m, x, gb_vec(b, (int64_t)l->head_dim * n_heads, "blk.%d.%s.weight", il, name));
    struct rope_freq f = l->rope;
    if (f.rot == 0)
        return x;
    if (is_query && m->query_grow > 0) {
        f.grow = m->query_grow;
        f.grow_every = m->query_grow_every;
    }
    return gb_rope(b, x, rope_table(b, m, f), l->head_dim, f.rot, m->rope_kind);
}

struct qkv {
    struct tensor *q, *k, *v;
};

/// One matrix with the rows of all three. A vector cannot be used in part: with a bias, the product
/// is cut instead.
static struct qkv fused_qkv(struct gb *b, int il, struct tensor *x, int64_t cols, const int rows[3])
{
    static const char name[] = "attn_qkv";
    struct tensor *y[3];
    const int all = rows[0] + rows[1] + rows[2];
    const bool biased = gb_has(b, "blk.%d.%s.bias", il, name);
    struct tensor *whole = biased ? blk_linear(b, il, name, x, cols, all) : NULL;
    for (int i = 0, at = 0; i < 3; at += rows[i++])
        y[i] = biased
                   ? gb_slice(b, whole, all, at, rows[i])
                   : gb_matmul(b, x,
                               gb_mat_rows(b, cols, rows[i], at, all, "blk.%d.%s.weight", il, name),
                               NULL);
    return (struct qkv){ y[0], y[1], y[2] };
}

static struct qkv project(struct gb *b, const struct model *m, int il, struct tensor *x)
{
    const struct layer *l = &m->layer[il];
    const int rows[3] = { l->n_heads * l->head_dim, l->n_kv_heads * l->head_dim,
                          l->n_kv_heads * l->head_dim_v };
    if (gb_has(b, "blk.%d.attn_qkv.weight", il))
        return fused_qkv(b, il, x, m->n_embd, rows);
    struct qkv p;
    p.q = blk_linear(b, il, "attn_q", x, m->n_embd, rows[0]);
    p.k = blk_linear(b, il, "attn_k", x, m->n_embd, rows[1]);
    p.v = blk_linear(b, il, "attn_v", x, m->n_embd, rows[2]);
    return p;
}

struct tensor *blk_attn(struct gb *b, const struct model *m, int il, struct tensor *x)
{
    const struct layer *l = &m->layer[il];
    struct qkv p = project(b, m, il, x);
    p.q = turned(b, m, il, p.q, true);
    p.k = turned(b, m, il, p.k, false);
    struct tensor *sinks = NULL;
    if (m->sinks)
        sinks = gb_vec(b, l->n_heads, "blk.%d.%s", il,
                       gb_has(b, "blk.%d.attn_sinks", il) ? "attn_sinks" : "attn_sinks.weight");
    struct tensor *o = gb_attn(b, p.q, p.k, p.v,
                               &(struct attn_args){
                                   .n_heads = l->n_heads,
                                   .n_kv_heads = l->n_kv_heads,
                                   .head_dim = l->head_dim,
                                   .head_dim_v = l->head_dim_v,
                                   .window = l->window,
                                   .scale = m->attn_scale,
                                   .softcap = m->attn_softcap,
                                   .sinks = sinks,
                                   .il = il,
                               });
    return blk_linear(b, il, blk_name(b, il, "attn_output", "attn_out"), o,
                      (int64_t)l->n_heads * l->head_dim_v, m->n_embd);
}

// --- feed-forward
// --------------------------------------------------------------------------------

static struct tensor *dense(struct gb *b, const struct model *m, int il, struct tensor *x)
{
    static const char both[] = "blk.%d.ffn_up.weight";
    const int n_ff = m->layer[il].n_ff, all = 2 * n_ff;
    struct tensor *gate, *up;
    if (m->fused_ffn) {
        gate = gb_matmul(b, x, gb_mat_rows(b, m->n_embd, n_ff, 0, all, both, il), NULL);
        up = gb_matmul(b, x, gb_mat_rows(b, m->n_embd, n_ff, n_ff, all, both, il), NULL);
    } else {
        gate = blk_linear(b, il, "ffn_gate", x, m->n_embd, n_ff);
        up = blk_linear(b, il, "ffn_up", x, m->n_embd, n_ff);
    }
    return blk_linear(b, il, "ffn_down", gb_glu(b, gate, up, m->act), n_ff, m->n_embd);
}

/// What every token uses beside its own experts.
static struct tensor *shared(struct gb *b, const struct model *m, int il, struct tensor *x)
{
    const int n_ff = m->n_ff_shared;
    struct tensor *gate = blk_linear(b, il, "ffn_gate_shexp", x, m->n_embd, n_ff);
    struct tensor *up = blk_linear(b, il, "ffn_up_shexp", x, m->n_embd, n_ff);
    return blk_linear(b, il, "ffn_down_shexp", gb_glu(b, gate, up, m->act), n_ff, m->n_embd);
}

/// As blk_linear(), by each token's experts.
static struct tensor *by_experts(struct gb *b, const struct model *m, int il, const char *name,
                                 struct tensor *x, struct tensor *ids, int64_t cols, int64_t rows)
{
    const int n = m->route.n_experts;
    struct tensor *w = gb_mat3(b, cols, rows, n, "blk.%d.%s.weight", il, name);
    struct tensor *bias = NULL;
    if (gb_has(b, "blk.%d.%s.bias", il, name))
        bias = gb_mat(b, rows, n, "blk.%d.%s.bias", il, name);
    return gb_experts(b, x, w, ids, bias);
}

static struct tensor *glu_of_experts(struct gb *b, const struct model *m, int il, struct tensor *x,
                                     struct tensor *ids)
{
    const int n_ff = m->layer[il].n_ff_exp;
    if (gb_has(b, "blk.%d.ffn_gate_up_exps.weight", il)) {
        struct tensor *y =
            by_experts(b, m, il, "ffn_gate_up_exps", x, ids, m->n_embd, 2 * (int64_t)n_ff);
        return m->gate_up_pairs ? gb_glu(b, y, NULL, m->act)
                                : gb_glu(b, gb_slice(b, y, 2 * n_ff, 0, n_ff),
                                         gb_slice(b, y, 2 * n_ff, n_ff, n_ff), m->act);
    }
    struct tensor *gate = by_experts(b, m, il, "ffn_gate_exps", x, ids, m->n_embd, n_ff);
    return gb_glu(b, gate, by_experts(b, m, il, "ffn_up_exps", x, ids, m->n_embd, n_ff), m->act);
}

/// The experts' matrices are a part of their own: where they do not fit, they alone move.
static struct tensor *mixture(struct gb *b, const struct model *m, int il, struct tensor *x)
{
    struct tensor *bias = NULL;
    if (gb_has(b, "blk.%d.exp_probs_b.bias", il))
        bias = gb_vec(b, m->route.n_experts, "blk.%d.exp_probs_b.bias", il);
    struct tensor *scores = blk_linear(b, il, "ffn_gate_inp", x, m->n_embd, m->route.n_experts);
    struct routed r = gb_route(b, scores, bias, &m->route);

    gb_part(b, PART_EXPERTS, il);
    struct tensor *y = glu_of_experts(b, m, il, x, r.ids);
    y = by_experts(b, m, il, "ffn_down_exps", y, r.ids, m->layer[il].n_ff_exp, m->n_embd);
    y = gb_expert_sum(b, y, r.weights);
    gb_part(b, PART_BLOCK, il);
    return m->n_ff_shared > 0 ? gb_add(b, y, shared(b, m, il, x)) : y;
}

struct tensor *blk_ffn(struct gb *b, const struct model *m, int il, struct tensor *x)
{
    return m->layer[il].n_ff_exp > 0 ? mixture(b, m, il, x) : dense(b, m, il, x);
}

// --- beginning and end
// ---------------------------------------------------------------------------

struct tensor *blk_outputs(struct gb *b, const struct model *m, int il, struct tensor *x)
{
    return il == m->n_layers - 1 ? gb_rows(b, x, gb_input(b, IN_OUT_IDS)) : x;
}

static struct tensor *embed(struct gb *b, const struct model *m)
{
    gb_part(b, PART_EMBED, -1);
    struct tensor *table = gb_mat(b, m->n_embd, m->n_vocab, "token_embd.weight");
    return gb_embed(b, gb_input(b, IN_TOKENS), table, m->embd_scale);
}

/// Final norm, output matrix or embedding, scale, softcap: the logits.
static void head(struct gb *b, const struct model *m, struct tensor *x)
{
    gb_part(b, PART_HEAD, -1);
    x = norm(b, m, x, gb_vec(b, m->n_embd, "output_norm.weight"));
    const char *matrix = m->tied ? "token_embd.weight" : "output.weight";
    struct tensor *bias = gb_has(b, "output.bias") ? gb_vec(b, m->n_vocab, "output.bias") : NULL;
    x = gb_matmul_precise(b, x, gb_mat(b, m->n_embd, m->n_vocab, "%s", matrix), bias);
    if (m->logit_scale != 1)
        x = gb_scale(b, x, m->logit_scale);
    if (m->logit_softcap > 0)
        x = gb_softcap(b, x, m->logit_softcap);
    gb_logits(b, x);
}

void blk_model(struct gb *b, const struct model *m, blk_fn *block)
{
    struct tensor *x = embed(b, m);
    for (int il = 0; il < m->n_layers; il++) {
        gb_part(b, PART_BLOCK, il);
        x = block(b, m, il, x);
    }
    head(b, m, x);
}
