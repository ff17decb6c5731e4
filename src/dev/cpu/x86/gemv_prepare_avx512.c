// gemv_prepare_avx512.c - activations in the order in which a format's gemv meets them.

#include "dev/cpu/x86/gemv_avx512.h"

const struct gemv_order gemv_order_pairs = {
    .q = { 0, 1, 8, 9, 2, 3, 10, 11, 4, 5, 12, 13, 6, 7, 14, 15 },
    .lane_group = { 0, 1, 2, 3, 4, 5, 6, 7, 0, 1, 2, 3, 4, 5, 6, 7 },
};

const struct gemv_order gemv_order_adjacent = {
    .q = { 0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15 },
    .lane_group = { 0, 1, 0, 1, 2, 3, 2, 3, 4, 5, 4, 5, 6, 7, 6, 7 },
};

void gemv_prepare_avx512(struct gemv_x *dst, struct a8_row x, int64_t cols, int zero,
                         const struct gemv_order *o)
{
    const __m512i lane =
        _mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i *)(const void *)o->lane_group));
    const __m512i even = _mm512_slli_epi32(lane, 1),
                  odd = _mm512_add_epi32(even, _mm512_set1_epi32(1));
    const __m512i minus_zero = _mm512_set1_epi32(-zero);

    for (int64_t at = 0; at < cols; at += 256, dst++) {
        const int n = cols - at < 256 ? (int)(cols - at) : 256;
        const __mmask8 groups = (__mmask8)((1u << n / 32) - 1);
        const __m512 d = _mm512_castps256_ps512(_mm256_maskz_loadu_ps(groups, x.d + at / 32));
        const __m512 s = _mm512_castps256_ps512(_mm256_maskz_loadu_ps(groups, x.s + at / 32));
        const __m512i sum =
            _mm512_maskz_loadu_epi32((__mmask16)((1u << n / 16) - 1), x.sum + at / 16);
        const __m512i whole = _mm512_add_epi32(_mm512_permutexvar_epi32(even, sum),
                                               _mm512_permutexvar_epi32(odd, sum));

        for (int i = 0; i < 16; i++) {
            const int from = 16 * o->q[i];
            const __m128i q =
                from < n ? _mm_loadu_si128((const __m128i *)(const void *)(x.q + at + from))
                         : _mm_setzero_si128();
            _mm_store_si128((__m128i *)(void *)(dst->q + 16 * i), q);
        }
        _mm512_store_ps(dst->d, _mm512_permutexvar_ps(lane, d));
        _mm512_store_ps(dst->s, _mm512_permutexvar_ps(lane, s));
        _mm512_store_si512(dst->zero, _mm512_mullo_epi32(whole, minus_zero));
        _mm256_store_si256((__m256i *)(void *)dst->half, _mm512_cvtepi32_epi16(sum));
    }
}
