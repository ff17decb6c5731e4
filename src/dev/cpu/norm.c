// norm.c - kernels of RMSNORM and LAYERNORM: a row is worked on by one thread.

#include "dev/cpu/cpu_int.h"

static bool norm_accepts(const struct node *n, const struct dims *max, bool exact)
{
    (void)max;
    (void)exact;
    return node_is_f32(n) && n->args.norm.n > 0 && n->dst[0]->d[0].n % n->args.norm.n == 0;
}

static uint64_t row_scratch(const struct node *n, const struct dims *max)
{
    return align_up_u64((uint64_t)dim_value(n->dst[0]->d[0], max) * sizeof(float), 64);
}

/// For each thread a row before it becomes A8.
static uint64_t norm_scratch(const struct node *n, const struct dims *max, int threads)
{
    return (uint64_t)threads * row_scratch(n, max);
}

/// One row, group by group.
static void norm_row(const struct run_args *a, const struct vec_fns *f, float *y, const float *x,
                     const float *extra, int64_t len)
{
    const float *weights = a->src[1], eps = a->node->args.norm.eps;
    const int n = a->node->args.norm.n;
    const int64_t n_weights = tensor_rows(a->node->src[1], a->now) * n;

    for (int64_t i = 0; i < len; i += n) {
        const float *w = weights + i % n_weights;
        if (a->node->op == OP_RMSNORM)
            f->rmsnorm(y + i, x + i, w, n, eps);
        else
            f->layernorm(y + i, x + i, w, extra, n, eps);
    }
}

static void norm_run(const struct run_args *a, struct team *t)
{
    const struct vec_fns *f = &team_fns(t)->vec;
    const struct tensor *y = a->node->dst[0];
    const struct share s =
        share_rows(tensor_rows(y, a->now), dim_value(y->d[0], a->now), false, team_n(t));
    const bool rms = a->node->op == OP_RMSNORM;
    const float *res = rms ? a->src[NORM_RES] : NULL, *bias = rms ? NULL : a->src[LAYERNORM_BIAS];
    char *mine = (char *)a->scratch + (uint64_t)team_i(t) * row_scratch(a->node, a->now);

    for (int64_t k; (k = team_next(t, s.n)) >= 0;) {
        const struct share_span at = share_at(&s, k);
        for (int64_t r = at.row0; r < at.row1; r++) {
            const bool a8 = a->dst0 == DTYPE_A8;
            float *row = a8 ? (float *)(void *)mine : (float *)a->dst[0] + r * s.len;
            norm_row(a, f, row, (const float *)a->src[0] + r * s.len, bias, s.len);
            if (res != NULL)
                f->add(row, row, res + r * s.len, s.len);
            if (a8)
                f->a8(a8_part_at((char *)a->dst[0] + (uint64_t)r * dtype_row_bytes(DTYPE_A8, s.len),
                                 s.len, 0),
                      row, s.len);
        }
    }
}

const struct kernel cpu_rmsnorm = {
    .name = "rmsnorm",
    .op = OP_RMSNORM,
    .accepts = norm_accepts,
    .act = DTYPE_F32,
    .writes_a8 = true,
    .scratch_bytes = norm_scratch,
    .run = norm_run,
};

const struct kernel cpu_layernorm = {
    .name = "layernorm",
    .op = OP_LAYERNORM,
    .accepts = norm_accepts,
    .act = DTYPE_F32,
    .writes_a8 = true,
    .scratch_bytes = norm_scratch,
    .run = norm_run,
};
