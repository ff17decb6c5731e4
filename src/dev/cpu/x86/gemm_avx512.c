// gemm_avx512.c - tiles of 16 expanded rows times blocks of tokens with AVX-512 VNNI. One lane is
// one row.
//
// All chain sums of a block stay in registers beside the integer sums: 12 tokens where a group has
// one sum, 8 where it has one per half. Activations are broadcast from memory by the multiplying
// instruction itself.

#include <immintrin.h>

#include "dev/cpu/matmul.h"
#include "dev/cpu/x86/x86.h"

enum { BLOCK = 12, BLOCK_SUB16 = 8 };

static inline __m512i bcast_i32(const uint8_t *p, int i)
{
    int32_t v;

    __builtin_memcpy(&v, p + 4 * i, sizeof v);
    return _mm512_set1_epi32(v);
}

static inline __m512 bcast_f32(const uint8_t *p, int i)
{
    return _mm512_castsi512_ps(bcast_i32(p, i));
}

/// Adds n dwords of k to the integer sums of a block.
static ALWAYS_INLINE void dot(__m512i *acc, const uint8_t *w, const uint8_t *q, const int n,
                              const int block)
{
    UNROLL(8)
    for (int k = 0; k < n; k++) {
        const __m512i u = _mm512_load_si512(w + 64 * k);
        UNROLL(12)
        for (int t = 0; t < block; t++)
            acc[t] = _mm512_dpbusd_epi32(acc[t], u, bcast_i32(q, k * block + t));
    }
}

/// One group of 32, one sum.
static ALWAYS_INLINE void group(__m512 *chain, const uint8_t *w, const uint8_t *x, const int block,
                                const bool has_min)
{
    const uint8_t *d = x + 32 * block, *z = d + 4 * block;
    __m512i acc[BLOCK];

    UNROLL(12)
    for (int t = 0; t < block; t++)
        acc[t] = has_min ? _mm512_setzero_si512() : bcast_i32(z, t);
    dot(acc, w, x, 8, block);

    const __m512 wd = _mm512_load_ps((const float *)(const void *)(w + 512));
    UNROLL(12)
    for (int t = 0; t < block; t++)
        chain[t] = _mm512_fmadd_ps(_mm512_mul_ps(wd, bcast_f32(d, t)), _mm512_cvtepi32_ps(acc[t]),
                                   chain[t]);
    if (has_min) {
        const __m512 wm = _mm512_load_ps((const float *)(const void *)(w + 576));
        UNROLL(12)
        for (int t = 0; t < block; t++)
            chain[t] = _mm512_fmadd_ps(wm, bcast_f32(z, t), chain[t]);
    }
}

/// One group of 32, a sum for each half.
static ALWAYS_INLINE void group_sub16(__m512 *chain, const uint8_t *w, const uint8_t *x,
                                      const int block, const bool has_min)
{
    const uint8_t *d = x + 32 * block, *z = d + 4 * block, *s = w + 576 + (has_min ? 128 : 0);
    __m512i sum[BLOCK_SUB16], acc[BLOCK_SUB16];

    for (int h = 0; h < 2; h++) {
        UNROLL(8)
        for (int t = 0; t < block; t++)
            acc[t] = has_min ? _mm512_setzero_si512() : bcast_i32(z, h * block + t);
        dot(acc, w + 256 * h, x + 16 * block * h, 4, block);

        const __m512i ws = _mm512_load_si512(s + 64 * h);
        UNROLL(8)
        for (int t = 0; t < block; t++) {
            const __m512i scaled = _mm512_mullo_epi32(acc[t], ws);
            sum[t] = h == 0 ? scaled : _mm512_add_epi32(sum[t], scaled);
        }
    }

    const __m512 wd = _mm512_load_ps((const float *)(const void *)(w + 512));
    UNROLL(8)
    for (int t = 0; t < block; t++)
        chain[t] = _mm512_fmadd_ps(_mm512_mul_ps(wd, bcast_f32(d, t)), _mm512_cvtepi32_ps(sum[t]),
                                   chain[t]);
    for (int h = 0; has_min && h < 2; h++) {
        const __m512 wm = _mm512_load_ps((const float *)(const void *)(w + 576 + 64 * h));
        UNROLL(8)
        for (int t = 0; t < block; t++)
            chain[t] = _mm512_fmadd_ps(wm, bcast_f32(z, h * block + t), chain[t]);
    }
}

static void store(const struct gemm_args *a, const __m512 *total)
{
    const __mmask16 rows = (__mmask16)((1u << a->n_rows) - 1);
    const struct mm_out *o = &a->out;

    for (int t = 0; t < a->n_tokens; t++) {
        __m512 y = total[t];
        if (o->bias != NULL)
            y = _mm512_add_ps(y, _mm512_maskz_loadu_ps(rows, o->bias));
        if (o->res != NULL)
            y = _mm512_add_ps(y, _mm512_maskz_loadu_ps(rows, o->res + t * o->stride));
        _mm512_mask_storeu_ps(o->y + t * o->stride, rows, y);
    }
}

static ALWAYS_INLINE void tile(const struct gemm_args *a, const int block, const bool sub16,
                               const bool has_min)
{
    const struct gemm_kind kind = { .sub16 = sub16, .has_min = has_min };
    const int64_t w_step = gemm_w_bytes(kind), x_step = gemm_x_bytes(kind, block);
    const uint8_t *w = a->w, *x = a->x;
    __m512 total[BLOCK];

    for (int c = 0; c < MM_CHAINS; c++) {
        __m512 chain[BLOCK];
        UNROLL(12)
        for (int t = 0; t < block; t++)
            chain[t] = _mm512_setzero_ps();
        for (int64_t g = c; g < a->n_groups; g += MM_CHAINS, w += w_step, x += x_step) {
            if (sub16)
                group_sub16(chain, w, x, block, has_min);
            else
                group(chain, w, x, block, has_min);
        }
        UNROLL(12)
        for (int t = 0; t < block; t++)
            total[t] = c == 0 ? chain[t] : _mm512_add_ps(total[t], chain[t]);
    }
    store(a, total);
}

// clang-format off
static void zero_4(const struct gemm_args *a)  { tile(a, 4, false, false); }
static void zero_8(const struct gemm_args *a)  { tile(a, 8, false, false); }
static void zero_12(const struct gemm_args *a) { tile(a, 12, false, false); }
static void min_4(const struct gemm_args *a)   { tile(a, 4, false, true); }
static void min_8(const struct gemm_args *a)   { tile(a, 8, false, true); }
static void min_12(const struct gemm_args *a)  { tile(a, 12, false, true); }
static void sub16_zero_4(const struct gemm_args *a) { tile(a, 4, true, false); }
static void sub16_zero_8(const struct gemm_args *a) { tile(a, 8, true, false); }
static void sub16_min_4(const struct gemm_args *a)  { tile(a, 4, true, true); }
static void sub16_min_8(const struct gemm_args *a)  { tile(a, 8, true, true); }
// clang-format on

static void run(const struct gemm_args *a)
{
    static void (*const one[2][3])(const struct gemm_args *) = { { zero_4, zero_8, zero_12 },
                                                                 { min_4, min_8, min_12 } };
    static void (*const two[2][2])(const struct gemm_args *) = { { sub16_zero_4, sub16_zero_8 },
                                                                 { sub16_min_4, sub16_min_8 } };
    const int i = a->block / 4 - 1, min = a->kind.has_min;

    (a->kind.sub16 ? two[min][i] : one[min][i])(a);
}

const struct gemm gemm_avx512 = {
    .block = BLOCK,
    .block_sub16 = BLOCK_SUB16,
    .pack = gemm_pack_avx512,
    .interleave = gemm_interleave_avx512,
    .run = run,
};
