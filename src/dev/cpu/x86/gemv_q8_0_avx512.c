// gemv_q8_0_avx512.c - gemv for Q8_0 with AVX-512: blocks of an f16 scale and 32 signed bytes. The
// quarters are X = groups 0 2 4 6, Y = groups 1 3 5 7.

#include "dev/cpu/x86/gemv_avx512.h"

enum { BLOCK = 34 };

static ALWAYS_INLINE __m256i numbers(const uint8_t *p, int g, int groups)
{
    if (groups == 8)
        return _mm256_loadu_si256((const __m256i *)(const void *)(p + BLOCK * g + 2));
    return _mm256_maskz_loadu_epi32(g < groups ? 0xff : 0, p + BLOCK * g + 2);
}

static ALWAYS_INLINE short d_at(const uint8_t *p, int g)
{
    short d;

    memcpy(&d, p + BLOCK * g, sizeof d);
    return d;
}

static ALWAYS_INLINE __m128i scales(const uint8_t *p, int groups)
{
    if (groups == 8)
        return _mm_setr_epi16(d_at(p, 0), d_at(p, 1), d_at(p, 2), d_at(p, 3), d_at(p, 4),
                              d_at(p, 5), d_at(p, 6), d_at(p, 7));
    const __m256i at =
        _mm256_mullo_epi32(_mm256_set1_epi32(BLOCK), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
    const __mmask8 there = (__mmask8)((1u << groups) - 1);
    const __m256i d = _mm256_mmask_i32gather_epi32(_mm256_setzero_si256(), there, at, p, 1);
    return _mm256_cvtepi32_epi16(d);
}

/// The groups g and g + 2, plus 128.
static ALWAYS_INLINE __m512i two(const uint8_t *p, int g, int groups)
{
    const __m512i q = _mm512_inserti64x4(_mm512_castsi256_si512(numbers(p, g, groups)),
                                         numbers(p, g + 2, groups), 1);
    return _mm512_xor_si512(q, _mm512_set1_epi8(-128));
}

static ALWAYS_INLINE void unpack_row(__m512i *u, const uint8_t *p, int groups)
{
    for (int i = 0; i < 2; i++) {
        const __m512i a = two(p, i, groups), b = two(p, i + 4, groups);
        u[2 * i] = _mm512_shuffle_i64x2(a, b, 0x88);
        u[2 * i + 1] = _mm512_shuffle_i64x2(a, b, 0xdd);
    }
}

static ALWAYS_INLINE void block(__m512 *chain, const int tokens, const uint8_t *p, const uint8_t *q,
                                const int groups, const struct gemv_x *x, const struct gemv_args *a)
{
    struct gemv_pair w;

    unpack_row(w.p, p, groups);
    unpack_row(w.q, q, groups);
    const __m128i sp = scales(p, groups), sq = scales(q, groups);
    w.d = _mm512_cvtph_ps(_mm256_set_m128i(_mm_unpackhi_epi32(sp, sq), _mm_unpacklo_epi32(sp, sq)));
    gemv_steps(chain, tokens, &w, x, a, GEMV_QUARTERS, 0);
}

static void run(const struct gemv_args *a)
{
    gemv_run(a,
             (struct gemv_format){
                 .block = block,
                 .block_bytes = 8 * BLOCK,
                 .natural = _mm512_setr_epi32(0, 1, 4, 5, 8, 9, 12, 13, 2, 3, 6, 7, 10, 11, 14, 15),
             });
}

static void prepare(struct gemv_x *dst, struct a8_row x, int64_t cols, int zero)
{
    gemv_prepare_avx512(dst, x, cols, zero, &gemv_order_adjacent);
}

const struct gemv gemv_q8_0_avx512 = { .prepare = prepare, .run = run };
