// heads.c - definition of HEADS (docs/numerics.md, "A matrix for each head"); SLICE and CONCAT.

#include <math.h>
#include <string.h>

#include "dev/cpu/experts.h"
#include "dev/cpu/matmul.h"
#include "dev/cpu/team.h"

enum { CHUNK = 16 }; // rows that a thread takes at a time

struct hd_shape hd_shape(const struct node *n, const struct dims *v)
{
    const struct tensor *w = n->src[1];

    return (struct hd_shape){
        .heads = n->args.heads.n_heads,
        .n_in = n->args.heads.n_in,
        .n_out = n->args.heads.n_out,
        .tokens = tensor_rows(n->src[0], v),
        .w_bytes = dtype_row_bytes(w->type, dim_value(w->d[0], v)),
        .type = w->type,
    };
}

/// Groups of 32 do not cross heads, so a head's part is a row of its own.
struct a8_row hd_part(const struct hd_shape *s, const void *row, int h)
{
    struct a8_row x = a8_row_at(row, (int64_t)s->heads * s->n_in);
    const int64_t at = (int64_t)h * s->n_in;

    return (struct a8_row){ x.q + at, x.d + at / 32, x.s + at / 32, x.sum + at / 16 };
}

static const void *w_row(const struct run_args *a, const struct hd_shape *s, int h, int row)
{
    return (const uint8_t *)a->src[1] + (uint64_t)(hd_row(a->node, h) + row) * s->w_bytes;
}

static float *y_at(const struct run_args *a, const struct hd_shape *s, int64_t t, int h, int row)
{
    return (float *)a->dst[0] + (t * s->heads + h) * s->n_out + row;
}

/// A head and some rows of its matrix.
struct piece {
    int h, row, end;
};
static bool next_piece(struct piece *p, const struct hd_shape *s, struct team *t)
{
    const int chunks = (s->n_out + CHUNK - 1) / CHUNK;
    const int64_t i = team_next(t, (int64_t)s->heads * chunks);

    if (i < 0)
        return false;
    p->h = (int)(i / chunks);
    p->row = (int)(i % chunks) * CHUNK;
    p->end = p->row + CHUNK < s->n_out ? p->row + CHUNK : s->n_out;
    return true;
}

// --- quantized weights, A8 activations -----------------------------------------------------------

static bool accepts_a8(const struct node *n, const struct dims *max, bool exact)
{
    const struct dtype_info *t = dtype_info(n->src[1]->type);
    (void)max;

    return !exact && !n->args.heads.transposed && t->quantized && t->expand != NULL;
}

static uint64_t scratch_a8(const struct node *n, const struct dims *max, int threads)
{
    (void)max;
    return (uint64_t)threads * ref_expanded_bytes(n->args.heads.n_in);
}

static void run_a8(const struct run_args *a, struct team *team)
{
    const struct hd_shape s = hd_shape(a->node, a->now);
    const struct dtype_info *t = dtype_info(s.type);
    const uint64_t x_bytes = dtype_row_bytes(DTYPE_A8, (int64_t)s.heads * s.n_in);
    const struct expanded w = ref_expanded_at(
        (uint8_t *)a->scratch + (uint64_t)team_i(team) * ref_expanded_bytes(s.n_in), s.n_in);

    for (struct piece p; next_piece(&p, &s, team);)
        for (; p.row < p.end; p.row++) {
            t->expand(&w, w_row(a, &s, p.h, p.row), s.n_in);
            for (int64_t i = 0; i < s.tokens; i++) {
                const uint8_t *x = (const uint8_t *)a->src[0] + (uint64_t)i * x_bytes;
                *y_at(a, &s, i, p.h, p.row) = ref_dot_a8(t, &w, hd_part(&s, x, p.h), s.n_in);
            }
        }
}

const struct kernel cpu_ref_heads_a8 = {
    .name = "ref_heads_a8",
    .op = OP_HEADS,
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

    return !n->args.heads.transposed && t->to_f32 != NULL && (exact || !t->quantized);
}

/// Per thread, one row of weights as floats.
static uint64_t row_bytes(const struct hd_shape *s, bool transposed)
{
    return align_up_u64((uint64_t)(transposed ? s->n_out : s->n_in) * sizeof(float), 64);
}

static uint64_t scratch_f32(const struct node *n, const struct dims *max, int threads)
{
    const struct hd_shape s = hd_shape(n, max);

    return (uint64_t)threads * row_bytes(&s, n->args.heads.transposed);
}

static float *scratch_row(const struct run_args *a, const struct hd_shape *s, const struct team *t)
{
    return (float *)(void *)((uint8_t *)a->scratch +
                             (uint64_t)team_i(t) * row_bytes(s, a->node->args.heads.transposed));
}

static void run_f32(const struct run_args *a, struct team *team)
{
    const struct hd_shape s = hd_shape(a->node, a->now);
    float *w = scratch_row(a, &s, team);

    for (struct piece p; next_piece(&p, &s, team);)
        for (; p.row < p.end; p.row++) {
            dtype_info(s.type)->to_f32(w, w_row(a, &s, p.h, p.row), s.n_in);
            for (int64_t i = 0; i < s.tokens; i++)
                *y_at(a, &s, i, p.h, p.row) =
                    ref_dot_f32(w, (const float *)a->src[0] + (i * s.heads + p.h) * s.n_in, s.n_in);
        }
}

const struct kernel cpu_ref_heads_f32 = {
    .name = "ref_heads_f32",
    .op = OP_HEADS,
    .accepts = accepts_f32,
    .act = DTYPE_F32,
    .scratch_bytes = scratch_f32,
    .run = run_f32,
};

// --- rows are inputs -----------------------------------------------------------------------------

static bool accepts_transposed(const struct node *n, const struct dims *max, bool exact)
{
    (void)max;
    (void)exact;
    return n->args.heads.transposed && dtype_info(n->src[1]->type)->to_f32 != NULL;
}

static void run_transposed(const struct run_args *a, struct team *team)
{
    const struct hd_shape s = hd_shape(a->node, a->now);
    float *w = scratch_row(a, &s, team);

    for (int64_t h; (h = team_next(team, s.heads)) >= 0;) {
        for (int64_t t = 0; t < s.tokens; t++)
            memset(y_at(a, &s, t, (int)h, 0), 0, (size_t)s.n_out * sizeof(float));
        for (int i = 0; i < s.n_in; i++) {
            dtype_info(s.type)->to_f32(w, w_row(a, &s, (int)h, i), s.n_out);
            for (int64_t t = 0; t < s.tokens; t++) {
                const float x = ((const float *)a->src[0])[(t * s.heads + h) * s.n_in + i];
                float *y = y_at(a, &s, t, (int)h, 0);
                for (int o = 0; o < s.n_out; o++)
                    y[o] = fmaf(w[o], x, y[o]);
            }
        }
    }
}

const struct kernel cpu_ref_heads_transposed = {
    .name = "ref_heads_transposed",
    .op = OP_HEADS,
    .accepts = accepts_transposed,
    .act = DTYPE_F32,
    .scratch_bytes = scratch_f32,
    .run = run_transposed,
};

// --- SLICE, CONCAT -------------------------------------------------------------------------------

static bool copies(const struct node *n, const struct dims *max, bool exact)
{
    (void)max;
    (void)exact;
    return n->src[0]->type == DTYPE_F32 && (n->src[1] == NULL || n->src[1]->type == DTYPE_F32);
}

static void slice_run(const struct run_args *a, struct team *t)
{
    const struct tensor *x = a->node->src[0];
    const int width = a->node->args.slice.width, at = a->node->args.slice.at;
    const int len = a->node->args.slice.len;
    const int64_t groups = dim_value(x->d[0], a->now) / width;

    for (int64_t i; (i = team_next(t, tensor_rows(x, a->now))) >= 0;)
        for (int64_t g = i * groups; g < (i + 1) * groups; g++)
            memcpy((float *)a->dst[0] + g * len, (const float *)a->src[0] + g * width + at,
                   (size_t)len * sizeof(float));
}

const struct kernel cpu_slice = {
    .name = "slice",
    .op = OP_SLICE,
    .accepts = copies,
    .act = DTYPE_F32,
    .run = slice_run,
};

static void concat_run(const struct run_args *a, struct team *t)
{
    const struct tensor *x = a->node->src[0];
    const int len_a = a->node->args.concat.len_a, len_b = a->node->args.concat.len_b;
    const int64_t heads = dim_value(x->d[0], a->now) / len_a;

    for (int64_t i; (i = team_next(t, tensor_rows(x, a->now))) >= 0;)
        for (int64_t h = i * heads; h < (i + 1) * heads; h++) {
            float *to = (float *)a->dst[0] + h * (len_a + len_b);
            memcpy(to, (const float *)a->src[0] + h * len_a, (size_t)len_a * sizeof(float));
            memcpy(to + len_a, (const float *)a->src[1] + h * len_b, (size_t)len_b * sizeof(float));
        }
}

const struct kernel cpu_concat = {
    .name = "concat",
    .op = OP_CONCAT,
    .accepts = copies,
    .act = DTYPE_F32,
    .run = concat_run,
};
