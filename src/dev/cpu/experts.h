// experts.h - kernels of the operations for mixtures of experts and for heads with matrices of
// their own. Definitions: ref/route.c, ref/experts.c, ref/heads.c (docs/numerics.md, "Experts", "A
// matrix for each head").

#ifndef SNUG_CPU_EXPERTS_H
#define SNUG_CPU_EXPERTS_H

#include "dev/dev.h"
#include "num/dtype.h"

/// An EXPERTS node for given values of the symbols. Results are rows t * k + j.
struct ex_shape {
    int64_t n, rows, cols; // of the weights
    int64_t k, results;    // experts of a token, results in all
    bool own_x;            // each result has an x of its own
    enum dtype type;
};
struct ex_shape ex_shape(const struct node *n, const struct dims *v);
/// The row of x that result r takes.
static inline int64_t ex_x_row(const struct ex_shape *s, int64_t r)
{
    return s->own_x ? r : r / s->k;
}
/// The expert of result r.
int64_t ex_id(const struct ex_shape *s, const int32_t *ids, int64_t r);

/// A HEADS node.
struct hd_shape {
    int heads, n_in, n_out;
    int64_t tokens;
    uint64_t w_bytes; // of a row of the weights
    enum dtype type;
};
struct hd_shape hd_shape(const struct node *n, const struct dims *v);
/// The first row of head h's matrix.
static inline int64_t hd_row(const struct node *n, int h)
{
    return n->args.heads.row0 + h * n->args.heads.row_step;
}
/// Head h's part of an A8 row.
struct a8_row hd_part(const struct hd_shape *s, const void *row, int h);

extern const struct kernel cpu_ref_route;
extern const struct kernel cpu_ref_experts_a8, cpu_ref_experts_f32, cpu_ref_expert_sum;
extern const struct kernel cpu_ref_heads_a8, cpu_ref_heads_f32, cpu_ref_heads_transposed;
extern const struct kernel cpu_experts_a8, cpu_experts_f32, cpu_expert_sum;   // need AVX2
extern const struct kernel cpu_heads_a8, cpu_heads_f32, cpu_heads_transposed; // heads.c; need AVX2
extern const struct kernel cpu_slice, cpu_concat;                             // copies: one for all

#endif
