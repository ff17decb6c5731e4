// deepseek2.c - DeepSeek V2, V3, R1 and all with their latent attention (arXiv:2405.04434,
// arXiv:2412.19437).
//
// A token's keys and values of all heads come out of one latent vector. Only this and one rotated
// key are in the cache: what turns the latent into a head's keys is applied to the query instead,
// what turns it into values to the result, so that attention sees many heads over one key, whose
// first numbers are its value, too.

#include <math.h>

#include "model/model_int.h"

/// Yarn sharpens scores by its factor squared. Files that say how much of that the model wants
/// leave the rotated part as it is (ggml-org/llama.cpp, src/models/deepseek2.cpp, pull request
/// 17945).
static float read_scale(const struct model *m, struct layer *layer, struct keys *k)
{
    struct rope_freq *f = &layer[0].rope;
    const bool yarn = f->yarn_orig_ctx > 0 && f->yarn_ext != 0;
    const float factor = yarn ? f->yarn_factor : f->linear;
    const float stretch = factor > 1 ? 0.1f * logf(factor) : 0;
    const float told = key_float_or(k, "rope.scaling.yarn_log_multiplier", 0, 1e3f, 0) / 0.1f;
    float scale = yarn ? f->yarn_attn : f->mscale;
    if (yarn && told != 0)
        f->yarn_attn /= 1 + stretch;
    else
        scale *= 1 + stretch;
    scale *= 1 + told * stretch;
    return scale * scale / sqrtf((float)(m->mla.nope + f->rot));
}

static void read_latent(struct model *m, struct layer *layer, struct keys *k)
{
    const int rot = layer[0].rope.rot;
    int head = (int)key_int_or(k, "attention.key_length_mla", 1, MAX_HEAD_DIM, layer[0].head_dim);
    m->mla.rank = (int)key_int(k, "attention.kv_lora_rank", 1, MAX_HEAD_DIM - rot);
    if (gguf_find_tensor(k->g, "blk.0.attn_q_a.weight") >= 0)
        m->mla.q_rank = (int)key_int(k, "attention.q_lora_rank", 1, MAX_EMBD);
    m->mla.v =
        (int)key_int_or(k, "attention.value_length_mla", 1, MAX_HEAD_DIM, layer[0].head_dim_v);
    m->mla.nope = head - rot;
    if (m->mla.nope < 1)
        key_fail(k, ERR_FORMAT,
                 "%d rotated dimensions (%s.rope.dimension_count) of heads of %d leave none", rot,
                 k->arch, head);
}

static void read_mixture(struct model *m, struct layer *layer, struct keys *k)
{
    int lead = (int)key_int_or(k, "leading_dense_block_count", 0, m->n_layers, 0);
    if (lead == m->n_layers)
        return;
    key_int(k, "expert_count", 1, MAX_EXPERTS);
    char bias[64];
    snprintf(bias, sizeof bias, "blk.%d.exp_probs_b.bias", lead);
    bool biased = gguf_find_tensor(k->g, bias) >= 0; // files without a key: V2, or GLM 4.7 Flash
    m->route.kind = biased ? ROUTE_SIGMOID : ROUTE_SOFTMAX;
    m->route.norm = false;
    key_experts(k, m, layer, lead);
    int n_shared = (int)key_int_or(k, "expert_shared_count", 0, 64, 0);
    m->n_ff_shared = n_shared * layer[lead].n_ff_exp;
}

static void read(struct model *m, struct layer *layer, struct keys *k)
{
    m->norm_eps = key_float(k, "attention.layer_norm_rms_epsilon", 0, 0.1f);
    read_latent(m, layer, k);
    read_mixture(m, layer, k);
    m->attn_scale = read_scale(m, layer, k);
    for (int il = 0; il < m->n_layers; il++) {
        layer[il].rope = layer[0].rope;
        layer[il].n_kv_heads = 1;
        layer[il].head_dim = m->mla.rank + layer[0].rope.rot;
        layer[il].head_dim_v = m->mla.rank;
    }
    key_int_or(k, "nextn_predict_layers", 0, 0, 0);
    key_no_temperature(k);
}

static struct tensor *queries(struct gb *b, const struct model *m, int il, struct tensor *x)
{
    const int q_rank = m->mla.q_rank;
    const int64_t all = (int64_t)m->layer[il].n_heads * (m->mla.nope + m->layer[il].rope.rot);
    if (q_rank == 0)
        return blk_linear(b, il, "attn_q", x, m->n_embd, all);
    x = blk_linear(b, il, "attn_q_a", x, m->n_embd, q_rank);
    x = gb_rmsnorm(b, x, gb_vec(b, q_rank, "blk.%d.attn_q_a_norm.weight", il), m->norm_eps);
    return blk_linear(b, il, "attn_q_b", x, q_rank, all);
}

/// Each head's matrices between latent and keys, latent and values: two tensors or, in files from
/// before 2025-04, one. There a head has `nope` rows that make keys, then `v` that make values.
struct latent_maps {
    struct tensor *k, *v;
    struct heads_args to_k, to_v;
};

static struct latent_maps latent_maps(struct gb *b, const struct model *m, int il)
{
    const int n = m->layer[il].n_heads, rank = m->mla.rank, nope = m->mla.nope, v = m->mla.v;
    struct latent_maps l = { .to_k = { .n_heads = n, .n_in = nope, .n_out = rank },
                             .to_v = { .n_heads = n, .n_in = rank, .n_out = v } };
    if (gb_has(b, "blk.%d.attn_kv_b.weight", il)) {
        l.k = gb_mat(b, rank, (int64_t)n * (nope + v), "blk.%d.attn_kv_b.weight", il);
        l.v = l.k;
        l.to_k.row_step = l.to_v.row_step = nope + v;
        l.to_k.transposed = true;
        l.to_v.row0 = nope;
    } else {
        l.k = gb_mat3(b, nope, rank, n, "blk.%d.attn_k_b.weight", il);
        l.v = gb_mat3(b, rank, v, n, "blk.%d.attn_v_b.weight", il);
        l.to_k.row_step = rank;
        l.to_v.row_step = v;
    }
    return l;
}

static struct tensor *attention(struct gb *b, const struct model *m, int il, struct tensor *x)
{
    const struct layer *l = &m->layer[il];
    const int rot = l->rope.rot, rank = m->mla.rank, nope = m->mla.nope;
    const struct latent_maps maps = latent_maps(b, m, il);
    struct tensor *table = gb_rope_table(b, &l->rope, NULL);

    struct tensor *q = queries(b, m, il, x);
    struct tensor *q_rot = gb_slice(b, q, nope + rot, nope, rot);
    q_rot = gb_rope(b, q_rot, table, rot, rot, m->rope_kind);
    q = gb_heads(b, gb_slice(b, q, nope + rot, 0, nope), maps.k, &maps.to_k);
    q = gb_concat(b, q, rank, q_rot, rot);

    struct tensor *kv = blk_linear(b, il, "attn_kv_a_mqa", x, m->n_embd, rank + rot);
    struct tensor *k_rot = gb_slice(b, kv, rank + rot, rank, rot);
    k_rot = gb_rope(b, k_rot, table, rot, rot, m->rope_kind);
    struct tensor *w = gb_vec(b, rank, "blk.%d.attn_kv_a_norm.weight", il);
    kv = gb_rmsnorm(b, gb_slice(b, kv, rank + rot, 0, rank), w, m->norm_eps);
    kv = gb_concat(b, kv, rank, k_rot, rot);

    struct tensor *o = gb_attn(b, q, kv, NULL,
                               &(struct attn_args){ .n_heads = l->n_heads,
                                                    .n_kv_heads = 1,
                                                    .head_dim = rank + rot,
                                                    .head_dim_v = rank,
                                                    .scale = m->attn_scale,
                                                    .il = il });
    o = gb_heads(b, o, maps.v, &maps.to_v);
    return blk_linear(b, il, "attn_output", o, (int64_t)l->n_heads * m->mla.v, m->n_embd);
}

static struct tensor *block(struct gb *b, const struct model *m, int il, struct tensor *x)
{
    x = gb_add(b, x, attention(b, m, il, blk_norm(b, m, il, x, "attn_norm")));
    x = blk_outputs(b, m, il, x);
    return gb_add(b, x, blk_ffn(b, m, il, blk_norm(b, m, il, x, "ffn_norm")));
}

static void graph(struct gb *b, const struct model *m)
{
    blk_model(b, m, block);
}

static const char *const unused[] = {
    "blk.*.attn_k_b.*", // in files of 2025 that hold attn_kv_b as well
    "blk.*.attn_v_b.*",
    NULL,
};

const struct arch arch_deepseek2 = {
    .name = "deepseek2", .read = read, .graph = graph, .unused = unused, .experts = true
};
