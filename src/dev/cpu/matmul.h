// matmul.h - matrix products on the CPU: their kernels, and the inner functions that differ by instruction set.
//
// The definition is ref/matmul.c. The kernels in matmul.c share the work out and call the functions below,
// which give the same bits (docs/numerics.md):
//
//   gemv   few tokens: weights used in place, row by row, at the speed of memory
//   gemm   many tokens: 16 weight rows at a time are expanded once (struct dtype_info) and interleaved, then
//          multiplied with all tokens of the batch, which were packed once

#ifndef SNUG_CPU_MATMUL_H
#define SNUG_CPU_MATMUL_H

#include "dev/dev.h"
#include "num/dtype.h"

enum {
    MM_ROWS = 16,         // weight rows of a tile: the lanes of a gemm
    MM_CHAINS = 8,        // of a quantized product
    MM_FLOAT_CHAINS = 16, // of a float product
    MM_GEMV_ROWS = 8,     // rows that a gemv works on between two sums of chains
    MM_TYPES = 40,        // formats in files have smaller ids than this
};

/// Sizes of a product for given values of the symbols.
struct mm_shape {
    int64_t rows, cols, tokens;
    enum dtype type;
};
struct mm_shape mm_shape(const struct node *n, const struct dims *v);

/// What is added to the sums; NULL where the node has none.
struct mm_add {
    const float *bias; // [rows]
    const float *res;  // [tokens][rows]
};

struct matmul_fns {
    int unused;
};

/// Plain C has none of these functions: ref/ does its work. Each level that is there adds what it does better.
void matmul_fns_init(struct matmul_fns *f, unsigned features);

extern const struct kernel cpu_ref_matmul_a8;  // quantized weights
extern const struct kernel cpu_ref_matmul_f32; // float weights, and every format where exact
extern const struct kernel cpu_ref_embed;

#endif
