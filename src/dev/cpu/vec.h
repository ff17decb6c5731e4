// vec.h - everything of the CPU that is not a matrix product: kernels, and the inner functions that
// differ by instruction set. Their definitions in plain C are in ref/; all give the same bits
// (docs/numerics.md).

#ifndef SNUG_CPU_VEC_H
#define SNUG_CPU_VEC_H

#include "dev/cpu/team.h"
#include "dev/dev.h"

/// Some groups of 32 of an A8 row (struct a8_row), to be written.
struct a8_part {
    int8_t *q;
    float *d, *s;
    int32_t *sum;
};
/// The part that begins at number `i`, a multiple of 32, of a row of n.
struct a8_part a8_part_at(void *row, int64_t n, int64_t i);

// Attention works on tiles of 64 keys and, at a time, on up to this many rows (token x head):
enum { ATTN_ROWS = 6 };

/// c[r][j] = fma(a[r][i], b[i][j], c[r][j]) for i = 0 .. k-1 in order. c starts as 0, or, with
/// `start`, as c[r][j] * start[r]. c and b are read and written in whole vectors of 16.
struct attn_mul {
    float *c;
    const float *a, *start;
    const void *b; // F32, or F16 with b_half
    int64_t c_row, a_row, b_row;
    int rows;    // at most ATTN_ROWS
    int k, cols; // cols: a multiple of 16
    bool b_half;
};

/// Softmax over one tile.
struct attn_tile {
    float *s;         // [rows][64] in: sums q.k; out: weights p of the valid keys
    int rows;         // at most ATTN_ROWS
    const int *lo;    // [rows] valid keys are lo <= j < hi; a row without any is left alone
    const int *hi;    // [rows]
    float scale, cap; // cap 0: none
    float *m, *l;     // [rows] running maximum and sum of the lane
    float *f;         // [rows] out: what the row's o is to be multiplied with
};

/// The lanes of one row become its result.
struct attn_combine {
    float *out;
    int64_t dim;
    int n; // lanes that saw a key, at most 4
    float m[4], l[4];
    const float *o[4];
    const float *sink; // NULL: none
};

/// Buffers of one call may be the same (y and x) but do not overlap otherwise. No alignment is
/// asked.
struct vec_fns {
    /// F32 -> A8, n a multiple of 32.
    void (*a8)(struct a8_part dst, const float *x, int64_t n);
    void (*rmsnorm)(float *y, const float *x, const float *w, int64_t n, float eps);
    void (*layernorm)(float *y, const float *x, const float *w, const float *bias, int64_t n,
                      float eps); // bias may be NULL
    void (*glu)(float *y, const float *gate, const float *up, int64_t n, enum act act);
    void (*add)(float *y, const float *a, const float *b, int64_t n);
    void (*scale)(float *y, const float *x, int64_t n, float s);
    void (*softcap)(float *y, const float *x, int64_t n, float cap);
    /// The first `rot` numbers of one head. table: [rot / 2][2] cos, sin.
    void (*rope)(float *y, const float *x, const float *table, int rot, enum rope_kind kind);
    void (*to_f16)(uint16_t *dst, const float *x, int64_t n);

    // Attention in blocks; NULL in plain C, where ref/attn.c does it whole.

    void (*from_f16)(float *dst, const uint16_t *x, int64_t n);
    /// One head of a q8_0 page (graph/graph.h) as F32: keys [dim][64]; values lo <= j < hi, as rows
    /// of dst_row.
    void (*keys_from_q8)(float *dst, const int8_t *q, const uint16_t *scale, int dim);
    void (*values_from_q8)(float *dst, int64_t dst_row, const int8_t *q, const uint16_t *scale,
                           int dim, int lo, int hi);
    /// Values that are the first `dim` numbers of the keys [dim][64]: dst[j * dst_row + d]. Writes
    /// whole vectors of 16.
    void (*values_from_keys)(float *dst, int64_t dst_row, const float *keys, int64_t dim);
    void (*attn_mul)(const struct attn_mul *x);
    void (*attn_softmax)(const struct attn_tile *t);
    void (*attn_combine)(const struct attn_combine *x);
};
void vec_fns_init(struct vec_fns *f, unsigned features);
void vec_fns_init_x86(struct vec_fns *f, unsigned features); // x86/vec_x86.c

// --- sharing out ---------------------------------------------------------------------------------

/// Rows in groups that are worth an index: several short rows together, or parts of a long one.
struct share {
    int64_t n;     // indices
    int64_t rows;  // rows in all
    int64_t len;   // of a row
    int64_t per;   // rows of an index
    int64_t parts; // indices of a row, where per is 1
};
enum { SHARE_PART = 2048 }; // numbers of a part; a multiple of 32
/// `split`: whether parts of a row may be made apart from each other.
struct share share_rows(int64_t rows, int64_t len, bool split, int threads);
/// Rows [row0, row1) and, of each, numbers [i0, i1).
struct share_span {
    int64_t row0, row1, i0, i1;
};
struct share_span share_at(const struct share *s, int64_t index);

// --- kernels -------------------------------------------------------------------------------------

bool node_is_f32(
    const struct node *n); // every source and destination that is not a state or an input

extern const struct kernel cpu_rmsnorm, cpu_layernorm;               // norm.c
extern const struct kernel cpu_rope_table, cpu_rope;                 // rope.c
extern const struct kernel cpu_attn;                                 // attn.c
extern const struct kernel cpu_kv_store;                             // kv.c
extern const struct kernel cpu_glu, cpu_add, cpu_scale, cpu_softcap; // elem.c
extern const struct kernel cpu_rows;

// --- definitions, ref/ ---------------------------------------------------------------------------

void ref_a8(struct a8_part dst, const float *x, int64_t n);
void ref_rmsnorm(float *y, const float *x, const float *w, int64_t n, float eps);
void ref_layernorm(float *y, const float *x, const float *w, const float *bias, int64_t n,
                   float eps);
void ref_glu(float *y, const float *gate, const float *up, int64_t n, enum act act);
void ref_add(float *y, const float *a, const float *b, int64_t n);
void ref_scale(float *y, const float *x, int64_t n, float s);
void ref_softcap(float *y, const float *x, int64_t n, float cap);
void ref_rope_table(float *table, int32_t pos, const struct rope_freq *f, const float *factors);
void ref_rope(float *y, const float *x, const float *table, int rot, enum rope_kind kind);
void ref_to_f16(uint16_t *dst, const float *x, int64_t n);
uint16_t ref_q8_0(int8_t *q, int64_t step, const float *x, int n); // returns the scale, as f16
extern const struct kernel cpu_ref_attn;

#endif
