// vf_avx512.h - vectors of 16 floats: what vf_c.h does with one, and what x86/vec_body.h needs
// besides.

#ifndef SNUG_VF_AVX512_H
#define SNUG_VF_AVX512_H

#include <immintrin.h>
#include <stdbool.h>
#include <stdint.h>

#define VF_LANES 16

typedef __m512 vf;

static inline vf vf_set(float x)
{
    return _mm512_set1_ps(x);
}
static inline vf vf_add(vf a, vf b)
{
    return _mm512_add_ps(a, b);
}
static inline vf vf_sub(vf a, vf b)
{
    return _mm512_sub_ps(a, b);
}
static inline vf vf_mul(vf a, vf b)
{
    return _mm512_mul_ps(a, b);
}
static inline vf vf_div(vf a, vf b)
{
    return _mm512_div_ps(a, b);
}
static inline vf vf_fma(vf a, vf b, vf c)
{
    return _mm512_fmadd_ps(a, b, c);
}
static inline vf vf_abs(vf a)
{
    return _mm512_abs_ps(a);
}
static inline vf vf_sign_of(vf a, vf s)
{
    return _mm512_or_ps(vf_abs(a), _mm512_and_ps(_mm512_set1_ps(-0.0f), s));
}
static inline vf vf_if_less(vf a, vf b, vf yes, vf no)
{
    return _mm512_mask_blend_ps(_mm512_cmp_ps_mask(a, b, _CMP_LT_OQ), no, yes);
}
static inline vf vf_scale(vf p, vf k, vf k_bits)
{
    (void)k_bits;
    return _mm512_scalef_ps(p, k);
}

// --- memory, lanes, other formats ----------------------------------------------------------------

static inline vf vf_load(const float *p)
{
    return _mm512_loadu_ps(p);
}
static inline void vf_store(float *p, vf v)
{
    _mm512_storeu_ps(p, v);
}
static inline __mmask16 vf_mask(int64_t n)
{
    return n >= 16 ? 0xffff : n <= 0 ? 0 : (__mmask16)((1u << n) - 1);
}
/// The first n lanes; the others are 0.
static inline vf vf_load_n(const float *p, int64_t n)
{
    return _mm512_maskz_loadu_ps(vf_mask(n), p);
}
static inline void vf_store_n(float *p, vf v, int64_t n)
{
    _mm512_mask_storeu_ps(p, vf_mask(n), v);
}
/// Lane i of `yes` where bit i is set, else of `no`.
static inline vf vf_if_bits(uint32_t bits, vf yes, vf no)
{
    return _mm512_mask_blend_ps((__mmask16)bits, no, yes);
}
/// The larger; b where a is NaN.
static inline vf vf_max(vf a, vf b)
{
    return _mm512_max_ps(a, b);
}
static inline float vf_top(vf v)
{
    return _mm512_reduce_max_ps(v);
}
static inline vf vf_load_f16(const uint16_t *p)
{
    return _mm512_cvtph_ps(_mm256_loadu_si256((const void *)p));
}
static inline vf vf_load_i8(const int8_t *p)
{
    return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128((const void *)p)));
}
static inline void vf_store_f16(uint16_t *p, vf v)
{
    _mm256_storeu_si256((void *)p,
                        _mm512_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
}
/// Lanes 0, 2, 4, ... of the pair a, b; and 1, 3, 5, ...
static inline vf vf_even(vf a, vf b)
{
    const __m512i at = _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
    return _mm512_permutex2var_ps(a, at, b);
}
static inline vf vf_odd(vf a, vf b)
{
    const __m512i at = _mm512_setr_epi32(1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31);
    return _mm512_permutex2var_ps(a, at, b);
}
/// a0 b0 a1 b1 ...: first half, second half.
static inline vf vf_zip_lo(vf a, vf b)
{
    const __m512i at = _mm512_setr_epi32(0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
    return _mm512_permutex2var_ps(a, at, b);
}
static inline vf vf_zip_hi(vf a, vf b)
{
    const __m512i at =
        _mm512_setr_epi32(8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31);
    return _mm512_permutex2var_ps(a, at, b);
}
/// The largest lane of each of four vectors.
static inline __m128 vf_tops(vf a, vf b, vf c, vf d)
{
    const vf ab = _mm512_max_ps(_mm512_unpacklo_ps(a, b), _mm512_unpackhi_ps(a, b));
    const vf cd = _mm512_max_ps(_mm512_unpacklo_ps(c, d), _mm512_unpackhi_ps(c, d));
    const vf abcd = _mm512_max_ps(_mm512_shuffle_ps(ab, cd, 0x44), _mm512_shuffle_ps(ab, cd, 0xee));
    const __m256 y = _mm256_max_ps(_mm512_castps512_ps256(abcd), _mm512_extractf32x8_ps(abcd, 1));
    return _mm_max_ps(_mm256_castps256_ps128(y), _mm256_extractf128_ps(y, 1));
}
/// x * by as whole numbers, half to even; 0 for NaN.
static inline __m512i vf_to_i32(const float *x, float by)
{
    const vf v = _mm512_mul_ps(_mm512_loadu_ps(x), _mm512_set1_ps(by));
    return _mm512_maskz_cvtps_epi32(_mm512_cmp_ps_mask(v, v, _CMP_ORD_Q), v);
}
/// 32 numbers of a and 32 of b as bytes; returns the sums of each 16. (psadbw adds unsigned bytes
/// by eights.)
static inline __m128i vf_to_i8x64(int8_t *q, const float *a, float by_a, const float *b, float by_b)
{
    const __m512i order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
    const __m512i wa = _mm512_packs_epi32(vf_to_i32(a, by_a), vf_to_i32(a + 16, by_a));
    const __m512i wb = _mm512_packs_epi32(vf_to_i32(b, by_b), vf_to_i32(b + 16, by_b));
    const __m512i bytes = _mm512_permutexvar_epi32(order, _mm512_packs_epi16(wa, wb));
    _mm512_storeu_si512((void *)q, bytes);

    const __m512i u = _mm512_xor_si512(bytes, _mm512_set1_epi8(-128));
    __m512i s = _mm512_sad_epu8(u, _mm512_setzero_si512());
    s = _mm512_add_epi32(s, _mm512_shuffle_epi32(s, _MM_PERM_BADC));
    s = _mm512_permutexvar_epi32(order, s); // dwords 0, 4, 8, 12 come first
    return _mm_sub_epi32(_mm512_castsi512_si128(s), _mm_set1_epi32(16 * 128));
}

#endif
