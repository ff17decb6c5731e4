// vf_avx2.h - vectors of 8 floats: what vf_c.h does with one, and what x86/vec_body.h needs
// besides.

#ifndef SNUG_VF_AVX2_H
#define SNUG_VF_AVX2_H

#include <immintrin.h>
#include <stdbool.h>
#include <stdint.h>

#define VF_LANES 8

typedef __m256 vf;

static inline vf vf_set(float x)
{
    return _mm256_set1_ps(x);
}
static inline vf vf_add(vf a, vf b)
{
    return _mm256_add_ps(a, b);
}
static inline vf vf_sub(vf a, vf b)
{
    return _mm256_sub_ps(a, b);
}
static inline vf vf_mul(vf a, vf b)
{
    return _mm256_mul_ps(a, b);
}
static inline vf vf_div(vf a, vf b)
{
    return _mm256_div_ps(a, b);
}
static inline vf vf_fma(vf a, vf b, vf c)
{
    return _mm256_fmadd_ps(a, b, c);
}
static inline vf vf_abs(vf a)
{
    return _mm256_andnot_ps(_mm256_set1_ps(-0.0f), a);
}
static inline vf vf_sign_of(vf a, vf s)
{
    return _mm256_or_ps(vf_abs(a), _mm256_and_ps(_mm256_set1_ps(-0.0f), s));
}
static inline vf vf_if_less(vf a, vf b, vf yes, vf no)
{
    return _mm256_blendv_ps(no, yes, _mm256_cmp_ps(a, b, _CMP_LT_OQ));
}
/// p * 2^k, a normal number, or NaN if p is. Low bits of k_bits: the integer k.
static inline vf vf_scale(vf p, vf k, vf k_bits)
{
    const __m256i n = _mm256_slli_epi32(_mm256_castps_si256(k_bits), 23);
    const vf y = _mm256_castsi256_ps(_mm256_add_epi32(_mm256_castps_si256(p), n));

    (void)k;
    return _mm256_blendv_ps(p, y, _mm256_cmp_ps(p, p, _CMP_ORD_Q));
}

// --- memory, lanes, other formats ----------------------------------------------------------------

static inline vf vf_load(const float *p)
{
    return _mm256_loadu_ps(p);
}
static inline void vf_store(float *p, vf v)
{
    _mm256_storeu_ps(p, v);
}
static inline __m256i vf_mask(int64_t n)
{
    const __m256i lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    return _mm256_cmpgt_epi32(_mm256_set1_epi32(n < 8 ? (int)n : 8), lane);
}
static inline vf vf_load_n(const float *p, int64_t n)
{
    return _mm256_maskload_ps(p, vf_mask(n));
}
static inline void vf_store_n(float *p, vf v, int64_t n)
{
    _mm256_maskstore_ps(p, vf_mask(n), v);
}
/// Lane i of `yes` where bit i is set, else of `no`.
static inline vf vf_if_bits(uint32_t bits, vf yes, vf no)
{
    const __m256i lane = _mm256_setr_epi32(1, 2, 4, 8, 16, 32, 64, 128);
    const __m256i set = _mm256_and_si256(_mm256_set1_epi32((int)bits), lane);
    return _mm256_blendv_ps(no, yes, _mm256_castsi256_ps(_mm256_cmpeq_epi32(set, lane)));
}
static inline vf vf_max(vf a, vf b)
{
    return _mm256_max_ps(a, b);
}
static inline float vf_top(vf v)
{
    __m128 x = _mm_max_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
    x = _mm_max_ps(x, _mm_movehl_ps(x, x));
    return _mm_cvtss_f32(_mm_max_ss(x, _mm_movehdup_ps(x)));
}
static inline vf vf_load_f16(const uint16_t *p)
{
    return _mm256_cvtph_ps(_mm_loadu_si128((const void *)p));
}
static inline vf vf_load_i8(const int8_t *p)
{
    return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64((const void *)p)));
}
static inline void vf_store_f16(uint16_t *p, vf v)
{
    _mm_storeu_si128((void *)p, _mm256_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
}
/// Quarters of lanes in the order 0 2 1 3.
static inline vf vf_quarters(vf v)
{
    return _mm256_castpd_ps(_mm256_permute4x64_pd(_mm256_castps_pd(v), 0xd8));
}
static inline vf vf_even(vf a, vf b)
{
    return vf_quarters(_mm256_shuffle_ps(a, b, 0x88));
}
static inline vf vf_odd(vf a, vf b)
{
    return vf_quarters(_mm256_shuffle_ps(a, b, 0xdd));
}
static inline vf vf_zip_lo(vf a, vf b)
{
    return _mm256_permute2f128_ps(_mm256_unpacklo_ps(a, b), _mm256_unpackhi_ps(a, b), 0x20);
}
static inline vf vf_zip_hi(vf a, vf b)
{
    return _mm256_permute2f128_ps(_mm256_unpacklo_ps(a, b), _mm256_unpackhi_ps(a, b), 0x31);
}
/// The largest lane of each of four vectors.
static inline __m128 vf_tops(vf a, vf b, vf c, vf d)
{
    const vf ab = _mm256_max_ps(_mm256_unpacklo_ps(a, b), _mm256_unpackhi_ps(a, b));
    const vf cd = _mm256_max_ps(_mm256_unpacklo_ps(c, d), _mm256_unpackhi_ps(c, d));
    const vf abcd = _mm256_max_ps(_mm256_shuffle_ps(ab, cd, 0x44), _mm256_shuffle_ps(ab, cd, 0xee));
    return _mm_max_ps(_mm256_castps256_ps128(abcd), _mm256_extractf128_ps(abcd, 1));
}
/// x * by as whole numbers, half to even; 0 for NaN.
static inline __m256i vf_to_i32(const float *x, vf by)
{
    const vf v = _mm256_mul_ps(_mm256_loadu_ps(x), by);
    return _mm256_cvtps_epi32(_mm256_and_ps(v, _mm256_cmp_ps(v, v, _CMP_ORD_Q)));
}
/// 32 numbers as bytes; returns the sums of the two 16. (psadbw adds unsigned bytes by eights.)
static inline __m128i vf_to_i8x32(int8_t *q, const float *x, float by)
{
    const vf b = vf_set(by);
    const __m256i lo = _mm256_packs_epi32(vf_to_i32(x, b), vf_to_i32(x + 8, b));
    const __m256i hi = _mm256_packs_epi32(vf_to_i32(x + 16, b), vf_to_i32(x + 24, b));
    const __m256i order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7); // packs works in halves
    const __m256i bytes = _mm256_permutevar8x32_epi32(_mm256_packs_epi16(lo, hi), order);
    _mm256_storeu_si256((void *)q, bytes);

    const __m256i u = _mm256_xor_si256(bytes, _mm256_set1_epi8(-128));
    __m256i s = _mm256_sad_epu8(u, _mm256_setzero_si256());
    s = _mm256_add_epi32(s, _mm256_shuffle_epi32(s, 0x4e));
    return _mm_unpacklo_epi32(_mm256_castsi256_si128(s), _mm256_extracti128_si256(s, 1));
}
/// 32 numbers of a and 32 of b as bytes; returns the sums of each 16.
static inline __m128i vf_to_i8x64(int8_t *q, const float *a, float by_a, const float *b, float by_b)
{
    const __m128i s = _mm_unpacklo_epi64(vf_to_i8x32(q, a, by_a), vf_to_i8x32(q + 32, b, by_b));

    return _mm_sub_epi32(s, _mm_set1_epi32(16 * 128));
}

#endif
