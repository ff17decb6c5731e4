// attn.c - definition of ATTN (docs/numerics.md, "Attention"): softmax(q k) v as a stream over
// tiles of 64 keys (arXiv:1805.02867, arXiv:2205.14135), for one query head at a time.

#include "dev/cpu/cpu_int.h"
#include "dev/cpu/kv.h"
#include "dev/cpu/vmath.h"

enum { LANES = 4, CHAINS = 16, TILE = KV_PAGE_TOKENS };

/// One query head.
struct query {
    const float *q;
    int slot, pos, kv_head;
    int window;       // 0: all
    float scale, cap; // cap 0: none
    const float *sink;
};

/// Number i of a head in a page; d is its place in the vector, j its token.
static float kv_number(uint8_t *head, enum dtype type, int dim, int64_t i, int d, int j)
{
    if (type == DTYPE_F16)
        return f16_to_f32(((const uint16_t *)(const void *)head)[i]);
    if (type == DTYPE_F32)
        return ((const float *)(const void *)head)[i];
    return (float)(int8_t)head[i] * f16_to_f32(kv_q8_scales(head, dim)[d / 32 * TILE + j]);
}

static float value_number(const struct kv_view *kv, uint8_t *values, int d, int j)
{
    const int64_t i = kv->shared ? (int64_t)d * TILE + j : (int64_t)j * kv->dim_v + d;

    return kv_number(values, kv->type, kv->shared ? kv->dim_k : kv->dim_v, i, d, j);
}

static float score(const struct kv_view *kv, const struct query *x, uint8_t *keys, int j)
{
    float s = 0;

    for (int d = 0; d < kv->dim_k; d++)
        s = fmaf(x->q[d], kv_number(keys, kv->type, kv->dim_k, (int64_t)d * TILE + j, d, j), s);
    s *= x->scale;
    return x->cap != 0 ? x->cap * vm_tanh(s / x->cap) : s;
}

/// Keys lo <= j < hi of one tile into a lane's m, l, o.
static void attend_tile(float *m, float *l, float *o, const struct kv_view *kv,
                        const struct query *x, int64_t tile, int lo, int hi)
{
    uint8_t *keys = kv_keys(kv, x->slot, tile, x->kv_head);
    uint8_t *values = kv_values(kv, x->slot, tile, x->kv_head);
    float s[TILE], chain[CHAINS] = { 0 }, top = *m;

    for (int j = lo; j < hi; j++) {
        s[j] = score(kv, x, keys, j);
        top = s[j] > top ? s[j] : top;
    }
    const float f = top == *m ? 1.0f : *m == -INFINITY ? 0.0f : vm_exp(*m - top);
    for (int d = 0; d < kv->dim_v; d++)
        o[d] *= f;
    for (int j = lo; j < hi; j++) {
        const float p = vm_exp(s[j] - top);
        chain[j % CHAINS] += p;
        for (int d = 0; d < kv->dim_v; d++)
            o[d] = fmaf(p, value_number(kv, values, d, j), o[d]);
    }
    float sum = chain[0];
    for (int c = 1; c < CHAINS; c++)
        sum += chain[c];
    *l = *l * f + sum;
    *m = top;
}

/// lane_o: [LANES][dim_v] working space.
static void attend(float *out, float *lane_o, const struct kv_view *kv, const struct query *x)
{
    const int64_t first = x->window > 0 && x->pos >= x->window ? x->pos - x->window + 1 : 0;
    float m[LANES], l[LANES], top = x->sink != NULL ? *x->sink : -INFINITY, sum = 0;
    bool saw[LANES] = { false };

    for (int i = 0; i < LANES; i++) {
        m[i] = -INFINITY;
        l[i] = 0;
    }
    for (int64_t i = 0; i < LANES * kv->dim_v; i++)
        lane_o[i] = 0;
    for (int64_t tile = first / TILE; tile <= x->pos / TILE; tile++) {
        const int lane = (int)(tile % LANES);
        const int lo = tile == first / TILE ? (int)(first % TILE) : 0;
        const int hi = tile == x->pos / TILE ? x->pos % TILE + 1 : TILE;
        attend_tile(&m[lane], &l[lane], lane_o + lane * kv->dim_v, kv, x, tile, lo, hi);
        saw[lane] = true;
    }

    for (int i = 0; i < LANES; i++)
        top = saw[i] && m[i] > top ? m[i] : top;
    for (int d = 0; d < kv->dim_v; d++)
        out[d] = 0;
    for (int i = 0; i < LANES; i++) {
        if (!saw[i])
            continue;
        const float e = vm_exp(m[i] - top);
        sum = fmaf(l[i], e, sum);
        for (int d = 0; d < kv->dim_v; d++)
            out[d] = fmaf(lane_o[i * kv->dim_v + d], e, out[d]);
    }
    if (x->sink != NULL)
        sum += vm_exp(*x->sink - top);
    for (int d = 0; d < kv->dim_v; d++)
        out[d] /= sum;
}

// --- the kernel: a thread works on one token, all heads ------------------------------------------

static uint64_t thread_bytes(const struct node *n)
{
    const uint64_t dim_v = (uint64_t)n->args.attn.head_dim_v;

    return align_up_u64((LANES + (uint64_t)n->args.attn.n_heads) * dim_v * sizeof(float), 64);
}

static uint64_t attn_scratch(const struct node *n, const struct dims *max, int threads)
{
    (void)max;
    return (uint64_t)threads * thread_bytes(n);
}

static void attn_run(const struct run_args *a, struct team *t)
{
    const struct node *n = a->node;
    const struct kv_view kv =
        kv_view(n, a->now, (void *)(uintptr_t)a->src[1], (void *)(uintptr_t)a->src[2], n->src[1],
                n->src[2], a->src[ATTN_TABLE]);
    const int heads = n->args.attn.n_heads, group = heads / kv.n_kv_heads;
    const int32_t *pos = a->src[3], *seq = a->src[4];
    const float *sinks = a->src[ATTN_SINKS];
    const int64_t row = (int64_t)heads * kv.dim_v;
    float *lanes = (float *)(void *)((char *)a->scratch + (uint64_t)team_i(t) * thread_bytes(n));
    float *mine = lanes + LANES * kv.dim_v;

    for (int64_t i; (i = team_next(t, a->now->n_tokens)) >= 0;) {
        float *out = a->dst0 == DTYPE_A8 ? mine : (float *)a->dst[0] + i * row;
        for (int h = 0; h < heads; h++) {
            const struct query x = {
                .q = (const float *)a->src[0] + (i * heads + h) * kv.dim_k,
                .slot = seq[i],
                .pos = pos[i],
                .kv_head = h / group,
                .window = n->args.attn.window,
                .scale = n->args.attn.scale,
                .cap = n->args.attn.softcap,
                .sink = sinks != NULL ? &sinks[h] : NULL,
            };
            attend(out + h * kv.dim_v, lanes, &kv, &x);
        }
        if (a->dst0 == DTYPE_A8)
            ref_a8(a8_part_at((char *)a->dst[0] + (uint64_t)i * dtype_row_bytes(DTYPE_A8, row), row,
                              0),
                   mine, row);
    }
}

static bool attn_accepts(const struct node *n, const struct dims *max, bool exact)
{
    (void)exact;
    return node_is_f32(n) && kv_type_known(max->kv);
}

const struct kernel cpu_ref_attn = {
    .name = "attn_c",
    .op = OP_ATTN,
    .accepts = attn_accepts,
    .act = DTYPE_F32,
    .writes_a8 = true,
    .scratch_bytes = attn_scratch,
    .run = attn_run,
};
