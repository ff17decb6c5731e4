// rope.c - kernels of ROPE_TABLE and ROPE.

#include "dev/cpu/cpu_int.h"

#include <string.h>

static bool rope_accepts(const struct node *n, const struct dims *max, bool exact)
{
    (void)max;
    (void)exact;
    return node_is_f32(n);
}

static void rope_table_run(const struct run_args *a, struct team *t)
{
    const struct rope_freq *freq = &a->node->args.freq;
    const int32_t *pos = a->src[0];
    const int64_t n = tensor_rows(a->node->dst[0], a->now);
    const bool is_long = freq->long_from > 0 && a->now->n_ctx > freq->long_from;
    const float *factors = a->src[is_long ? ROPE_LONG : ROPE_FACTORS];

    for (int64_t i; (i = team_next(t, n)) >= 0;)
        ref_rope_table((float *)a->dst[0] + i * freq->rot, pos[i], freq, factors);
}

static void rope_run(const struct run_args *a, struct team *t)
{
    const struct vec_fns *f = &team_fns(t)->vec;
    const struct tensor *y = a->node->dst[0];
    const int hd = a->node->args.rope.head_dim, rot = a->node->args.rope.rot;
    const struct share s =
        share_rows(tensor_rows(y, a->now), dim_value(y->d[0], a->now), false, team_n(t));

    for (int64_t k; (k = team_next(t, s.n)) >= 0;) {
        const struct share_span at = share_at(&s, k);
        for (int64_t r = at.row0; r < at.row1; r++) {
            const float *table = (const float *)a->src[1] + r * rot;
            for (int64_t i = r * s.len; i < (r + 1) * s.len; i += hd) {
                const float *from = (const float *)a->src[0] + i;
                float *to = (float *)a->dst[0] + i;
                f->rope(to, from, table, rot, a->node->args.rope.kind);
                if (rot < hd && to != from)
                    memcpy(to + rot, from + rot, (size_t)(hd - rot) * sizeof *to);
            }
        }
    }
}

const struct kernel cpu_rope_table = {
    .name = "rope_table",
    .op = OP_ROPE_TABLE,
    .accepts = rope_accepts,
    .act = DTYPE_F32,
    .run = rope_table_run,
};

const struct kernel cpu_rope = {
    .name = "rope",
    .op = OP_ROPE,
    .accepts = rope_accepts,
    .act = DTYPE_F32,
    .run = rope_run,
};
