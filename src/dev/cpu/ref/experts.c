// experts.c - definition of EXPERTS and EXPERT_SUM (docs/numerics.md, "Experts"), for every format.

#include <math.h>

#include "dev/cpu/experts.h"
#include "dev/cpu/matmul.h"
#include "dev/cpu/team.h"

enum { CHUNK = 16 }; // rows that a thread takes at a time

struct ex_shape ex_shape(const struct node *n, const struct dims *v)
{
    const struct tensor *x = n->src[0], *w = n->src[1], *ids = n->src[2];
    const int64_t k = dim_value(ids->d[0], v), tokens = tensor_rows(ids, v);

    return (struct ex_shape){
        .n = dim_value(w->d[2], v),
        .rows = dim_value(w->d[1], v),
        .cols = dim_value(w->d[0], v),
        .k = k,
        .results = k * tokens,
        .own_x = tensor_rows(x, v) != tokens,
        .type = w->type,
    };
}

int64_t ex_id(const struct ex_shape *s, const int32_t *ids, int64_t r)
{
    ASSERT(ids[r] >= 0 && ids[r] < s->n);
    return ids[r];
}

static float biased(const struct run_args *a, const struct ex_shape *s, int64_t id, int64_t row,
                    float y)
{
    const struct tensor *bias = a->node->src[EXPERTS_BIAS];
    float b;

    if (bias == NULL)
        return y;
    const uint64_t at = dtype_row_bytes(bias->type, id * s->rows + row);
    dtype_info(bias->type)->to_f32(&b, (const uint8_t *)a->src[EXPERTS_BIAS] + at, 1);
    return y + b;
}

static const uint8_t *w_row(const struct run_args *a, const struct ex_shape *s, int64_t id,
                            int64_t row)
{
    return (const uint8_t *)a->src[1] +
           (uint64_t)(id * s->rows + row) * dtype_row_bytes(s->type, s->cols);
}

/// Result and rows of index i: chunks of one result lie next to each other.
struct piece {
    int64_t r, id, row, end;
};
static bool next_piece(struct piece *p, const struct run_args *a, const struct ex_shape *s,
                       struct team *t)
{
    const int64_t chunks = (s->rows + CHUNK - 1) / CHUNK, i = team_next(t, s->results * chunks);

    if (i < 0)
        return false;
    p->r = i / chunks;
    p->id = ex_id(s, a->src[2], p->r);
    p->row = i % chunks * CHUNK;
    p->end = p->row + CHUNK < s->rows ? p->row + CHUNK : s->rows;
    return true;
}

// --- quantized weights, A8 activations -----------------------------------------------------------

static bool accepts_a8(const struct node *n, const struct dims *max, bool exact)
{
    const struct dtype_info *t = dtype_info(n->src[1]->type);
    (void)max;

    return !exact && t->quantized && t->expand != NULL;
}

static uint64_t scratch_a8(const struct node *n, const struct dims *max, int threads)
{
    return (uint64_t)threads * ref_expanded_bytes(ex_shape(n, max).cols);
}

static void run_a8(const struct run_args *a, struct team *team)
{
    const struct ex_shape s = ex_shape(a->node, a->now);
    const struct dtype_info *t = dtype_info(s.type);
    const struct expanded w = ref_expanded_at(
        (uint8_t *)a->scratch + (uint64_t)team_i(team) * ref_expanded_bytes(s.cols), s.cols);

    for (struct piece p; next_piece(&p, a, &s, team);) {
        const uint8_t *x = (const uint8_t *)a->src[0] +
                           (uint64_t)ex_x_row(&s, p.r) * dtype_row_bytes(DTYPE_A8, s.cols);
        for (; p.row < p.end; p.row++) {
            t->expand(&w, w_row(a, &s, p.id, p.row), s.cols);
            ((float *)a->dst[0])[p.r * s.rows + p.row] =
                biased(a, &s, p.id, p.row, ref_dot_a8(t, &w, a8_row_at(x, s.cols), s.cols));
        }
    }
}

const struct kernel cpu_ref_experts_a8 = {
    .name = "ref_experts_a8",
    .op = OP_EXPERTS,
    .accepts = accepts_a8,
    .act = DTYPE_A8,
    .scratch_bytes = scratch_a8,
    .run = run_a8,
};

// --- float32 activations -------------------------------------------------------------------------

static bool accepts_f32(const struct node *n, const struct dims *max, bool exact)
{
    const struct dtype_info *t = dtype_info(n->src[1]->type);
    (void)max;

    return t->to_f32 != NULL && (exact || !t->quantized);
}

static uint64_t row_bytes(int64_t cols)
{
    return align_up_u64((uint64_t)cols * sizeof(float), 64);
}

static uint64_t scratch_f32(const struct node *n, const struct dims *max, int threads)
{
    return (uint64_t)threads * row_bytes(ex_shape(n, max).cols);
}

static void run_f32(const struct run_args *a, struct team *team)
{
    const struct ex_shape s = ex_shape(a->node, a->now);
    const struct dtype_info *t = dtype_info(s.type);
    float *w =
        (float *)(void *)((uint8_t *)a->scratch + (uint64_t)team_i(team) * row_bytes(s.cols));

    for (struct piece p; next_piece(&p, a, &s, team);) {
        const float *x = (const float *)a->src[0] + ex_x_row(&s, p.r) * s.cols;
        for (; p.row < p.end; p.row++) {
            t->to_f32(w, w_row(a, &s, p.id, p.row), s.cols);
            ((float *)a->dst[0])[p.r * s.rows + p.row] =
                biased(a, &s, p.id, p.row, ref_dot_f32(w, x, s.cols));
        }
    }
}

const struct kernel cpu_ref_experts_f32 = {
    .name = "ref_experts_f32",
    .op = OP_EXPERTS,
    .accepts = accepts_f32,
    .act = DTYPE_F32,
    .scratch_bytes = scratch_f32,
    .run = run_f32,
};

// --- EXPERT_SUM ----------------------------------------------------------------------------------

static bool sum_accepts(const struct node *n, const struct dims *max, bool exact)
{
    (void)max;
    (void)exact;
    return n->src[0]->type == DTYPE_F32 && n->src[1]->type == DTYPE_F32;
}

static void sum_run(const struct run_args *a, struct team *team)
{
    const struct tensor *out = a->node->dst[0];
    const int64_t tokens = tensor_rows(out, a->now), n = dim_value(out->d[0], a->now);
    const int64_t k = dim_value(a->node->src[1]->d[0], a->now);
    const float *res = a->src[EXPERT_SUM_RES];

    for (int64_t t; (t = team_next(team, tokens)) >= 0;) {
        const float *y = (const float *)a->src[0] + t * k * n;
        const float *weight = (const float *)a->src[1] + t * k;
        float *to = (float *)a->dst[0] + t * n;
        for (int64_t i = 0; i < n; i++) {
            float sum = 0;
            for (int64_t j = 0; j < k; j++)
                sum = fmaf(weight[j], y[j * n + i], sum);
            to[i] = res != NULL ? sum + res[t * n + i] : sum;
        }
    }
}

const struct kernel cpu_ref_expert_sum = {
    .name = "ref_expert_sum",
    .op = OP_EXPERT_SUM,
    .accepts = sum_accepts,
    .act = DTYPE_F32,
    .run = sum_run,
};
