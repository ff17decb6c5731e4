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
/// Lanes lo <= i < hi of `yes`, the others of `no`.
static inline vf vf_between(vf yes, vf no, int64_t lo, int64_t hi)
{
    return _mm512_mask_blend_ps(vf_mask(hi) & (__mmask16)~vf_mask(lo), no, yes);
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
/// 16 whole numbers: x rounded half to even, held within -127 .. 127, 0 where x is not finite.
/// Returns their sum.
static inline int32_t vf_to_i8x16(int8_t *q, const float *x, float by)
{
    const vf v = _mm512_mul_ps(_mm512_loadu_ps(x), _mm512_set1_ps(by));
    const __mmask16 finite =
        _mm512_cmp_ps_mask(vf_abs(v), _mm512_set1_ps(3.40282347e38f), _CMP_LE_OQ);
    const vf held = _mm512_max_ps(_mm512_min_ps(v, _mm512_set1_ps(127)), _mm512_set1_ps(-127));
    const __m512i i = _mm512_maskz_cvtps_epi32(finite, held);
    _mm_storeu_si128((void *)q, _mm512_cvtepi32_epi8(i));
    return _mm512_reduce_add_epi32(i);
}

#endif
