// matmul.c - the matrix product of docs/numerics.md in plain C, for every format: the definition.

#include <math.h>

#include "dev/cpu/matmul.h"
#include "dev/cpu/team.h"
#include "dev/cpu/vec.h"

enum { CHUNK = 16 }; // rows that a thread takes at a time

struct mm_shape mm_shape(const struct node *n, const struct dims *v)
{
    const struct tensor *x = n->src[0], *w = n->src[1];

    return (struct mm_shape){
        .rows = tensor_rows(w, v),
        .cols = dim_value(w->d[0], v),
        .tokens = tensor_rows(x, v),
        .type = w->type,
    };
}

static float sum_in_order(const float *chain, int n)
{
    float y = chain[0];

    for (int i = 1; i < n; i++)
        y = y + chain[i];
    return y;
}

float ref_dot_a8(const struct dtype_info *t, const struct expanded *w, struct a8_row x, int64_t n)
{
    float chain[MM_CHAINS] = { 0 };

    for (int64_t g = 0; g < n / 32; g++) {
        const uint8_t *u = w->u + 32 * g;
        const int8_t *q = x.q + 32 * g;
        int32_t half[2] = { 0, 0 };
        for (int i = 0; i < 32; i++)
            half[i / 16] += ((int32_t)u[i] - t->zero) * q[i];
        if (t->sub16) {
            half[0] *= w->s[2 * g];
            half[1] *= w->s[2 * g + 1];
        }

        float c = chain[g % MM_CHAINS];
        c = fmaf(w->d[g] * x.d[g], (float)(half[0] + half[1]), c);
        if (t->has_min && !t->sub16)
            c = fmaf(-w->m[g], x.s[g], c);
        for (int h = 0; t->has_min && t->sub16 && h < 2; h++)
            c = fmaf(-w->m[2 * g + h], x.d[g] * (float)x.sum[2 * g + h], c);
        chain[g % MM_CHAINS] = c;
    }
    return sum_in_order(chain, MM_CHAINS);
}

float ref_dot_f32(const float *w, const float *x, int64_t n)
{
    float chain[MM_FLOAT_CHAINS] = { 0 };

    for (int64_t i = 0; i < n; i++)
        chain[i % MM_FLOAT_CHAINS] = fmaf(w[i], x[i], chain[i % MM_FLOAT_CHAINS]);
    return sum_in_order(chain, MM_FLOAT_CHAINS);
}

static void put(const struct run_args *a, const struct mm_shape *s, int64_t t, int64_t r, float y)
{
    const float *bias = a->src[MATMUL_BIAS], *res = a->src[MATMUL_RES];
    float *dst = a->dst[0];

    if (bias != NULL)
        y = y + bias[r];
    if (res != NULL)
        y = y + res[t * s->rows + r];
    dst[t * s->rows + r] = y;
}

// --- quantized weights, A8 activations
// --------------------------------------------------------------

static bool accepts_a8(const struct node *n, const struct dims *max, bool exact)
{
    const struct dtype_info *t = dtype_info(n->src[1]->type);
    (void)max;

    return !exact && !n->args.matmul.precise && t != NULL && t->quantized && t->expand != NULL;
}

/// One expanded row: u, d, m, s.
uint64_t ref_expanded_bytes(int64_t cols)
{
    return align_up_u64((uint64_t)(cols + cols / 8 + cols / 4 + cols / 16), 64);
}

struct expanded ref_expanded_at(void *p, int64_t cols)
{
    float *d = p, *m = d + cols / 32;
    struct expanded w = { .d = d, .m = m };

    w.s = (int8_t *)(m + cols / 16);
    w.u = (uint8_t *)(w.s + cols / 16);
    return w;
}

static uint64_t scratch_a8(const struct node *n, const struct dims *max, int threads)
{
    return (uint64_t)threads * ref_expanded_bytes(mm_shape(n, max).cols);
}

static void run_a8(const struct run_args *a, struct team *team)
{
    const struct mm_shape s = mm_shape(a->node, a->now);
    const struct dtype_info *t = dtype_info(s.type);
    const uint64_t w_bytes = dtype_row_bytes(s.type, s.cols), x_bytes = (uint64_t)s.cols * 3 / 2;
    const int64_t n_chunks = (s.rows + CHUNK - 1) / CHUNK;
    const struct expanded w = ref_expanded_at(
        (uint8_t *)a->scratch + (uint64_t)team_i(team) * ref_expanded_bytes(s.cols), s.cols);

    for (int64_t i; (i = team_next(team, n_chunks)) >= 0;) {
        for (int64_t r = i * CHUNK; r < s.rows && r < (i + 1) * CHUNK; r++) {
            t->expand(&w, (const uint8_t *)a->src[1] + (uint64_t)r * w_bytes, s.cols);
            for (int64_t k = 0; k < s.tokens; k++) {
                const uint8_t *x = (const uint8_t *)a->src[0] + (uint64_t)k * x_bytes;
                put(a, &s, k, r, ref_dot_a8(t, &w, a8_row_at(x, s.cols), s.cols));
            }
        }
    }
}

const struct kernel cpu_ref_matmul_a8 = {
    .name = "ref_matmul_a8",
    .op = OP_MATMUL,
    .accepts = accepts_a8,
    .act = DTYPE_A8,
    .scratch_bytes = scratch_a8,
    .run = run_a8,
};

// --- quantized weights, activations of 16 bits
// ------------------------------------------------------

void mm_split(void *hi, void *lo, const float *x, int64_t n, a8_fn *a8)
{
    enum { AT_ONCE = 256 };
    float left[AT_ONCE];

    a8(a8_part_at(hi, n, 0), x, n);
    const struct a8_row h = a8_row_at(hi, n);
    for (int64_t i = 0; i < n; i += AT_ONCE) {
        const int64_t m = n - i < AT_ONCE ? n - i : AT_ONCE;
        for (int64_t j = 0; j < m; j++)
            left[j] = fmaf(-h.d[(i + j) / 32], (float)h.q[i + j], x[i + j]);
        a8(a8_part_at(lo, n, i), left, m);
    }
}

uint64_t mm_split_bytes(const struct mm_shape *s)
{
    return align_up_u64(2 * (uint64_t)s->tokens * (uint64_t)(s->cols * 3 / 2), 64);
}

void mm_split_all(const struct run_args *a, struct team *team, a8_fn *a8)
{
    const struct mm_shape s = mm_shape(a->node, a->now);
    const int64_t row = s.cols * 3 / 2;
    uint8_t *hi = a->scratch, *lo = hi + s.tokens * row;

    for (int64_t t; (t = team_next(team, s.tokens)) >= 0;)
        mm_split(hi + t * row, lo + t * row, (const float *)a->src[0] + t * s.cols, s.cols, a8);
    team_phase(team);
}

static bool accepts_precise(const struct node *n, const struct dims *max, bool exact)
{
    const struct dtype_info *t = dtype_info(n->src[1]->type);
    (void)max;

    return !exact && n->args.matmul.precise && t != NULL && t->quantized && t->expand != NULL;
}

static uint64_t scratch_precise(const struct node *n, const struct dims *max, int threads)
{
    const struct mm_shape s = mm_shape(n, max);

    return mm_split_bytes(&s) + (uint64_t)threads * ref_expanded_bytes(s.cols);
}

static void run_precise(const struct run_args *a, struct team *team)
{
    const struct mm_shape s = mm_shape(a->node, a->now);
    struct run_args hi = *a;

    mm_split_all(a, team, ref_a8);
    hi.src[0] = a->scratch;
    hi.scratch = (uint8_t *)a->scratch + mm_split_bytes(&s);
    run_a8(&hi, team);
    team_phase(team);
    struct run_args lo = hi;
    lo.src[0] = (const uint8_t *)a->scratch + s.tokens * (s.cols * 3 / 2);
    lo.src[MATMUL_BIAS] = NULL;
    lo.src[MATMUL_RES] = a->dst[0];
    run_a8(&lo, team);
}

const struct kernel cpu_ref_matmul_precise = {
    .name = "ref_matmul_precise",
    .op = OP_MATMUL,
    .accepts = accepts_precise,
    .act = DTYPE_F32,
    .scratch_bytes = scratch_precise,
    .run = run_precise,
};

// --- float32 activations
// ----------------------------------------------------------------------------

static bool accepts_f32(const struct node *n, const struct dims *max, bool exact)
{
    const struct dtype_info *t = dtype_info(n->src[1]->type);
    (void)max;

    return t != NULL && t->to_f32 != NULL && (exact || !t->quantized);
}

/// Per thread, one row of floats.
static uint64_t row_bytes_f32(int64_t cols)
{
    return align_up_u64((uint64_t)cols * sizeof(float), 64);
}

static uint64_t scratch_f32(const struct node *n, const struct dims *max, int threads)
{
    return (uint64_t)threads * row_bytes_f32(mm_shape(n, max).cols);
}

static void run_f32(const struct run_args *a, struct team *team)
{
    const struct mm_shape s = mm_shape(a->node, a->now);
    const struct dtype_info *t = dtype_info(s.type);
    const uint64_t w_bytes = dtype_row_bytes(s.type, s.cols);
    const int64_t n_chunks = (s.rows + CHUNK - 1) / CHUNK;
    const float *x = a->src[0];
    uint8_t *mine = (uint8_t *)a->scratch + (uint64_t)team_i(team) * row_bytes_f32(s.cols);
    float *w = (float *)(void *)mine;

    for (int64_t i; (i = team_next(team, n_chunks)) >= 0;) {
        for (int64_t r = i * CHUNK; r < s.rows && r < (i + 1) * CHUNK; r++) {
            t->to_f32(w, (const uint8_t *)a->src[1] + (uint64_t)r * w_bytes, s.cols);
            for (int64_t k = 0; k < s.tokens; k++)
                put(a, &s, k, r, ref_dot_f32(w, x + k * s.cols, s.cols));
        }
    }
}

const struct kernel cpu_ref_matmul_f32 = {
    .name = "ref_matmul_f32",
    .op = OP_MATMUL,
    .accepts = accepts_f32,
    .act = DTYPE_F32,
    .scratch_bytes = scratch_f32,
    .run = run_f32,
};
