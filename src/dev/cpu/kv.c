// kv.c - KV_STORE: the keys and values of a batch into their pages. Keys are turned: a page holds
// [head_dim][64].

#include "dev/cpu/kv.h"

#include "dev/cpu/cpu_int.h"

bool kv_type_known(enum dtype kv)
{
    return kv == DTYPE_F16 || kv == DTYPE_F32 || kv == DTYPE_Q8_0;
}

struct kv_view kv_view(const struct node *n, const struct dims *now, void *k, void *v,
                       const struct tensor *kt, const struct tensor *vt, const int32_t *table)
{
    return (struct kv_view){
        .type = now->kv,
        .dim_k = n->args.attn.head_dim,
        .dim_v = n->args.attn.head_dim_v,
        .n_kv_heads = n->args.attn.n_kv_heads,
        .shared = vt == kt,
        .k = k,
        .v = vt == kt ? k : v,
        .k_bytes = state_head_bytes(kt, now->kv),
        .v_bytes = state_head_bytes(vt, now->kv),
        .table = n->args.attn.window > 0 ? NULL : table,
        .slot_pages = kv_slot_pages(n->args.attn.window, now),
    };
}

/// One head's vector of one token: number d goes to place first + d * step of the page's head.
struct put {
    const float *x;
    int dim;
    uint8_t *head;
    int64_t first, step;
    int j; // token in the page
};

static void put_f32(const struct put *p)
{
    float *to = (float *)(void *)p->head + p->first;

    for (int d = 0; d < p->dim; d++)
        to[d * p->step] = p->x[d];
}

static void put_f16(const struct put *p, const struct vec_fns *f)
{
    uint16_t *to = (uint16_t *)(void *)p->head + p->first;

    if (p->step == 1) {
        f->to_f16(to, p->x, p->dim);
        return;
    }
    for (int d0 = 0; d0 < p->dim; d0 += 64) {
        const int n = p->dim - d0 < 64 ? p->dim - d0 : 64;
        uint16_t h[64];
        f->to_f16(h, p->x + d0, n);
        for (int d = 0; d < n; d++)
            to[(d0 + d) * p->step] = h[d];
    }
}

static void put_q8_0(const struct put *p)
{
    uint16_t *scales = kv_q8_scales(p->head, p->dim);
    int8_t *to = (int8_t *)p->head + p->first;

    for (int d0 = 0; d0 < p->dim; d0 += 32)
        scales[d0 / 32 * KV_PAGE_TOKENS + p->j] =
            ref_q8_0(to + d0 * p->step, p->step, p->x + d0, p->dim - d0 < 32 ? p->dim - d0 : 32);
}

static void put(const struct put *p, enum dtype type, const struct vec_fns *f)
{
    if (type == DTYPE_F16)
        put_f16(p, f);
    else if (type == DTYPE_F32)
        put_f32(p);
    else
        put_q8_0(p);
}

/// An index is a head and up to 64 tokens of the batch: neighbours in a page mostly go to one
/// thread.
static void kv_store_run(const struct run_args *a, struct team *t)
{
    const struct node *n = a->node;
    const struct vec_fns *f = &team_fns(t)->vec;
    const struct kv_view kv =
        kv_view(n, a->now, a->dst[0], a->dst[1], n->src[2], n->src[3], a->src[STORE_TABLE]);
    const int32_t *pos = a->src[4], *seq = a->src[5];
    const int64_t tokens = tensor_rows(n->src[0], a->now), heads = kv.n_kv_heads;
    const int64_t k_row = heads * kv.dim_k, v_row = heads * kv.dim_v;
    const int64_t chunks = (tokens + KV_PAGE_TOKENS - 1) / KV_PAGE_TOKENS;

    for (int64_t i; (i = team_next(t, chunks * heads)) >= 0;) {
        const int64_t h = i % heads, first = i / heads * KV_PAGE_TOKENS;
        for (int64_t tok = first; tok < first + KV_PAGE_TOKENS && tok < tokens; tok++) {
            const int64_t tile = pos[tok] / KV_PAGE_TOKENS;
            const int j = pos[tok] % KV_PAGE_TOKENS;
            put(&(struct put){ (const float *)a->src[0] + tok * k_row + h * kv.dim_k, kv.dim_k,
                               kv_keys(&kv, seq[tok], tile, (int)h), j, KV_PAGE_TOKENS, j },
                kv.type, f);
            if (kv.shared)
                continue;
            put(&(struct put){ (const float *)a->src[1] + tok * v_row + h * kv.dim_v, kv.dim_v,
                               kv_values(&kv, seq[tok], tile, (int)h), (int64_t)j * kv.dim_v, 1,
                               j },
                kv.type, f);
        }
    }
}

static bool kv_store_accepts(const struct node *n, const struct dims *max, bool exact)
{
    (void)exact;
    return node_is_f32(n) && kv_type_known(max->kv);
}

const struct kernel cpu_kv_store = {
    .name = "kv_store",
    .op = OP_KV_STORE,
    .accepts = kv_store_accepts,
    .act = DTYPE_F32,
    .run = kv_store_run,
};
