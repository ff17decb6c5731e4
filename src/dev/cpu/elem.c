// elem.c - kernels that work number by number: GLU, ADD, SCALE, SOFTCAP; ROWS; the conversion to
// A8.

#include "dev/cpu/cpu_int.h"

#include <string.h>

static struct share share_of(const struct run_args *a, const struct team *t)
{
    const struct tensor *y = a->node->dst[0];

    return share_rows(tensor_rows(y, a->now), dim_value(y->d[0], a->now), true, team_n(t));
}

static bool elem_accepts(const struct node *n, const struct dims *max, bool exact)
{
    (void)max;
    (void)exact;
    return node_is_f32(n);
}

// --- GLU -----------------------------------------------------------------------------------------

enum { GLU_PART = 512 }; // numbers: a multiple of 32, small enough to stay near

/// (gate, up) pairs to two rows of n <= GLU_PART.
static void split_pairs(float *gate, float *up, const float *pairs, int64_t n)
{
    for (int64_t i = 0; i < n; i++) {
        gate[i] = pairs[2 * i];
        up[i] = pairs[2 * i + 1];
    }
}

/// Without `up`: a row of pairs.
static void glu_pairs_run(const struct run_args *a, struct team *t)
{
    const struct vec_fns *f = &team_fns(t)->vec;
    const struct share s = share_of(a, t);
    float gate[GLU_PART], up[GLU_PART];

    for (int64_t k; (k = team_next(t, s.n)) >= 0;) {
        const struct share_span at = share_at(&s, k);
        for (int64_t r = at.row0; r < at.row1; r++) {
            const float *x = (const float *)a->src[0] + r * 2 * s.len;
            char *row = (char *)a->dst[0] + (uint64_t)r * dtype_row_bytes(a->dst0, s.len);
            for (int64_t i = at.i0, n; i < at.i1; i += n) {
                n = at.i1 - i < GLU_PART ? at.i1 - i : GLU_PART;
                split_pairs(gate, up, x + 2 * i, n);
                if (a->dst0 != DTYPE_A8) {
                    f->glu((float *)(void *)row + i, gate, up, n, a->node->args.glu.act);
                    continue;
                }
                f->glu(gate, gate, up, n, a->node->args.glu.act);
                f->a8(a8_part_at(row, s.len, i), gate, n);
            }
        }
    }
}

static void glu_run(const struct run_args *a, struct team *t)
{
    const struct vec_fns *f = &team_fns(t)->vec;
    const float *gate = a->src[0], *up = a->src[GLU_UP];
    const enum act act = a->node->args.glu.act;
    const struct share s = share_of(a, t);

    if (up == NULL) {
        glu_pairs_run(a, t);
        return;
    }
    for (int64_t k; (k = team_next(t, s.n)) >= 0;) {
        const struct share_span at = share_at(&s, k);
        for (int64_t r = at.row0; r < at.row1; r++) {
            const float *g = gate + r * s.len, *u = up + r * s.len;
            if (a->dst0 != DTYPE_A8) {
                f->glu((float *)a->dst[0] + r * s.len + at.i0, g + at.i0, u + at.i0, at.i1 - at.i0,
                       act);
                continue;
            }
            char *row = (char *)a->dst[0] + (uint64_t)r * dtype_row_bytes(DTYPE_A8, s.len);
            for (int64_t i = at.i0, n; i < at.i1; i += n) {
                float y[GLU_PART];
                n = at.i1 - i < GLU_PART ? at.i1 - i : GLU_PART;
                f->glu(y, g + i, u + i, n, act);
                f->a8(a8_part_at(row, s.len, i), y, n);
            }
        }
    }
}

const struct kernel cpu_glu = {
    .name = "glu",
    .op = OP_GLU,
    .accepts = elem_accepts,
    .act = DTYPE_F32,
    .writes_a8 = true,
    .run = glu_run,
};

// --- ADD, SCALE, SOFTCAP -------------------------------------------------------------------------

/// Rows of a span lie one behind the other, so a span is one stretch of numbers.
static int64_t span_numbers(const struct share *s, struct share_span at, int64_t *first)
{
    *first = at.row0 * s->len + at.i0;
    return s->parts > 1 ? at.i1 - at.i0 : (at.row1 - at.row0) * s->len;
}

static void add_run(const struct run_args *a, struct team *t)
{
    const struct vec_fns *f = &team_fns(t)->vec;
    const float *x = a->src[0], *b = a->src[1];
    const struct share s = share_of(a, t);
    float *y = a->dst[0];

    for (int64_t k, i; (k = team_next(t, s.n)) >= 0;) {
        const int64_t n = span_numbers(&s, share_at(&s, k), &i);
        f->add(y + i, x + i, b + i, n);
    }
}

static void scale_run(const struct run_args *a, struct team *t)
{
    const struct vec_fns *f = &team_fns(t)->vec;
    const struct share s = share_of(a, t);
    const float *x = a->src[0];
    float *y = a->dst[0];

    for (int64_t k, i; (k = team_next(t, s.n)) >= 0;) {
        const int64_t n = span_numbers(&s, share_at(&s, k), &i);
        f->scale(y + i, x + i, n, a->node->args.f.scale);
    }
}

static void softcap_run(const struct run_args *a, struct team *t)
{
    const struct vec_fns *f = &team_fns(t)->vec;
    const struct share s = share_of(a, t);
    const float *x = a->src[0];
    float *y = a->dst[0];

    for (int64_t k, i; (k = team_next(t, s.n)) >= 0;) {
        const int64_t n = span_numbers(&s, share_at(&s, k), &i);
        f->softcap(y + i, x + i, n, a->node->args.f.scale);
    }
}

const struct kernel cpu_add = {
    .name = "add",
    .op = OP_ADD,
    .accepts = elem_accepts,
    .act = DTYPE_F32,
    .run = add_run,
};

const struct kernel cpu_scale = {
    .name = "scale",
    .op = OP_SCALE,
    .accepts = elem_accepts,
    .act = DTYPE_F32,
    .run = scale_run,
};

const struct kernel cpu_softcap = {
    .name = "softcap",
    .op = OP_SOFTCAP,
    .accepts = elem_accepts,
    .act = DTYPE_F32,
    .run = softcap_run,
};

// --- ROWS ----------------------------------------------------------------------------------------

static void rows_run(const struct run_args *a, struct team *t)
{
    const struct share s = share_of(a, t);
    const int32_t *ids = a->src[1];
    const float *x = a->src[0];
    float *y = a->dst[0];

    for (int64_t k; (k = team_next(t, s.n)) >= 0;) {
        const struct share_span at = share_at(&s, k);
        for (int64_t r = at.row0; r < at.row1; r++)
            memcpy(y + r * s.len + at.i0, x + ids[r] * s.len + at.i0,
                   (size_t)(at.i1 - at.i0) * sizeof *y);
    }
}

const struct kernel cpu_rows = {
    .name = "rows",
    .op = OP_ROWS,
    .accepts = elem_accepts,
    .act = DTYPE_F32,
    .run = rows_run,
};

// --- to A8 ---------------------------------------------------------------------------------------

/// Its node is the one that takes the rows: they are the node's first source.
static void a8_run(const struct run_args *a, struct team *t)
{
    const struct tensor *x = a->node->src[0];
    const struct vec_fns *f = &team_fns(t)->vec;
    const struct share s =
        share_rows(tensor_rows(x, a->now), dim_value(x->d[0], a->now), true, team_n(t));
    const uint64_t row_bytes = dtype_row_bytes(DTYPE_A8, s.len);

    for (int64_t k; (k = team_next(t, s.n)) >= 0;) {
        const struct share_span at = share_at(&s, k);
        for (int64_t r = at.row0; r < at.row1; r++) {
            char *row = (char *)a->dst[0] + (uint64_t)r * row_bytes;
            f->a8(a8_part_at(row, s.len, at.i0), (const float *)a->src[0] + r * s.len + at.i0,
                  at.i1 - at.i0);
        }
    }
}

static bool a8_accepts(const struct node *n, const struct dims *max, bool exact)
{
    return !exact && n->src[0]->type == DTYPE_F32 && dim_value(n->src[0]->d[0], max) % 32 == 0;
}

const struct kernel cpu_convert_a8 = {
    .name = "to_a8",
    .op = OP_COUNT, // runs in front of other operations
    .accepts = a8_accepts,
    .act = DTYPE_F32,
    .writes_a8 = true,
    .run = a8_run,
};
