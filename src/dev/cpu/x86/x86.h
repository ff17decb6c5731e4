// x86.h - what the x86 kernels of matrix products share.

#ifndef SNUG_CPU_X86_H
#define SNUG_CPU_X86_H

#include <emmintrin.h>
#include <string.h>

#include "dev/cpu/matmul.h"

/// Kernels are written once, as functions of constants that the compiler folds.
#define ALWAYS_INLINE inline __attribute__((always_inline))

/// Register arrays need their loops gone; clang unrolls such loops by itself.
#ifdef __clang__
#define UNROLL(n)
#else
#define UNROLL_(x) _Pragma(#x)
#define UNROLL(n)  UNROLL_(GCC unroll n)
#endif

/// 8 six-bit scales and 8 minima (num/scale6.c): bytes sc 0-3, mn 0-3, sc 4-7, mn 4-7.
static ALWAYS_INLINE __m128i scale6_bytes(const uint8_t *p)
{
    uint64_t low;
    uint32_t high;

    memcpy(&low, p, 8);
    memcpy(&high, p + 8, 4);
    const uint64_t nibbles = (high & 0x0f0f0f0f) | (uint64_t)(high >> 4 & 0x0f0f0f0f) << 32;
    const uint64_t a = low & 0x3f3f3f3f3f3f3f3f, b = nibbles | (low >> 2 & 0x3030303030303030);
    return _mm_set_epi64x((int64_t)b, (int64_t)a);
}

void expand_fns_avx2(struct matmul_fns *f);
void gemm_interleave_avx512(void *tile, const struct expanded *rows, int n_rows, int64_t cols,
                            struct gemm_kind kind);
void gemm_pack_avx512(void *dst, const struct a8_row *rows, int n, int block, int64_t cols,
                      struct gemm_kind kind);
void dots_avx2(const struct dots_args *a);
void dots_avx512(const struct dots_args *a);
extern const struct gemm gemm_avx2, gemm_avx512;
extern const struct gemv gemv_expand_avx2,
    gemv_expand_avx512; // any quantized format, through expand
extern const struct gemv gemv_q4_0_avx512, gemv_q4_1_avx512, gemv_q5_0_avx512, gemv_q5_1_avx512;
extern const struct gemv gemv_iq4_nl_avx512, gemv_q8_0_avx512;
extern const struct gemv gemv_mxfp4_avx512, gemv_mxfp4_pairs_avx512;
extern const struct gemv gemv_q4_k_avx512, gemv_q5_k_avx512, gemv_q6_k_avx512;

#endif
