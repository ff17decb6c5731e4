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

/// A tile from expanded rows; `numbers` places the 512 numbers of a group.
static ALWAYS_INLINE void gemm_interleave(void *dst, const struct expanded *rows, int n_rows,
                                          int64_t cols, const struct gemm_kind kind,
                                          void (*numbers)(uint8_t *dst, const uint8_t *const *row,
                                                          int64_t g))
{
    const int64_t n_groups = cols / 32, step = gemm_w_bytes(kind);
    const int halves = kind.sub16 ? 2 : 1;
    const uint8_t *u[MM_ROWS];
    uint8_t *at = dst;

    for (int r = 0; r < MM_ROWS; r++)
        u[r] = rows->u + (r < n_rows ? r : 0) * cols;
    for (int c = 0; c < MM_CHAINS; c++) {
        for (int64_t g = c; g < n_groups; g += MM_CHAINS, at += step) {
            float *d = (float *)(void *)(at + MM_ROWS * 32), *m = d + MM_ROWS;
            int32_t *s = (int32_t *)(void *)(m + (kind.has_min ? halves * MM_ROWS : 0));

            numbers(at, u, g);
            for (int r = 0; r < MM_ROWS; r++) {
                const int64_t from = (r < n_rows ? r : 0) * n_groups + g;
                d[r] = rows->d[from];
                for (int h = 0; kind.has_min && h < halves; h++)
                    m[h * MM_ROWS + r] = -rows->m[from * halves + h];
                for (int h = 0; kind.sub16 && h < 2; h++)
                    s[h * MM_ROWS + r] = rows->s[from * 2 + h];
            }
        }
    }
}

void expand_fns_avx2(struct matmul_fns *f);
void dots_avx2(const struct dots_args *a);
void dots_avx512(const struct dots_args *a);
extern const struct gemm gemm_avx2, gemm_avx512;
extern const struct gemv gemv_expand_avx2,
    gemv_expand_avx512; // any quantized format, through expand
extern const struct gemv gemv_q4_0_avx512, gemv_q4_1_avx512, gemv_q5_0_avx512, gemv_q5_1_avx512;
extern const struct gemv gemv_iq4_nl_avx512, gemv_q8_0_avx512;
extern const struct gemv gemv_q4_k_avx512, gemv_q5_k_avx512, gemv_q6_k_avx512;

#endif
