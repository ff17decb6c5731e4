// vmath.h - exp, tanh and the like: one text for plain C and for vectors, so all give the same
// bits.
//
// VMATH_LANES, set before including, chooses what a `vf` is: 1 float (plain C), 8 (AVX2), 16
// (AVX-512). The polynomials are minimax fits (Remez) made for these intervals; errors are in
// tests/dev/test_vec.c.

#ifndef SNUG_VMATH_H
#define SNUG_VMATH_H

#ifndef VMATH_LANES
#define VMATH_LANES 1
#endif

#if VMATH_LANES == 1

#include <math.h>
#include <stdint.h>
#include <string.h>

typedef float vf;

static inline vf vf_set(float x)
{
    return x;
}
static inline vf vf_add(vf a, vf b)
{
    return a + b;
}
static inline vf vf_sub(vf a, vf b)
{
    return a - b;
}
static inline vf vf_mul(vf a, vf b)
{
    return a * b;
}
static inline vf vf_div(vf a, vf b)
{
    return a / b;
}
static inline vf vf_fma(vf a, vf b, vf c)
{
    return fmaf(a, b, c);
}
static inline vf vf_abs(vf a)
{
    return fabsf(a);
}
/// |a| with the sign of s.
static inline vf vf_sign_of(vf a, vf s)
{
    return copysignf(a, s);
}
/// a < b ? yes : no; false for NaN.
static inline vf vf_if_less(vf a, vf b, vf yes, vf no)
{
    return a < b ? yes : no;
}
/// a is a number ? yes : no.
static inline vf vf_if_number(vf a, vf yes, vf no)
{
    return a == a ? yes : no;
}
/// p * 2^k, where the low bits of k_bits are the integer k and the result is a normal number.
static inline vf vf_shift_exponent(vf p, vf k_bits)
{
    uint32_t x, k;

    memcpy(&x, &p, sizeof x);
    memcpy(&k, &k_bits, sizeof k);
    x += k << 23;
    memcpy(&p, &x, sizeof x);
    return p;
}

#elif VMATH_LANES == 8

#include <immintrin.h>

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
static inline vf vf_if_number(vf a, vf yes, vf no)
{
    return _mm256_blendv_ps(no, yes, _mm256_cmp_ps(a, a, _CMP_ORD_Q));
}
static inline vf vf_shift_exponent(vf p, vf k_bits)
{
    const __m256i k = _mm256_slli_epi32(_mm256_castps_si256(k_bits), 23);
    return _mm256_castsi256_ps(_mm256_add_epi32(_mm256_castps_si256(p), k));
}

#elif VMATH_LANES == 16

#include <immintrin.h>

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
static inline vf vf_if_number(vf a, vf yes, vf no)
{
    return _mm512_mask_blend_ps(_mm512_cmp_ps_mask(a, a, _CMP_ORD_Q), no, yes);
}
static inline vf vf_shift_exponent(vf p, vf k_bits)
{
    const __m512i k = _mm512_slli_epi32(_mm512_castps_si512(k_bits), 23);
    return _mm512_castsi512_ps(_mm512_add_epi32(_mm512_castps_si512(p), k));
}

#else
#error VMATH_LANES must be 1, 8 or 16
#endif

// --- the text
// ---------------------------------------------------------------------------------------

/// exp(x) = 2^k * exp(r), k whole, |r| <= ln 2 / 2. Adding 1.5 * 2^23 rounds to a whole number and
/// leaves it in the low bits. Between the two bounds 2^k * exp(r) is a normal number.
static inline vf vm_exp(vf x)
{
    const vf magic = vf_set(12582912.0f);
    const vf t = vf_add(vf_mul(x, vf_set(1.44269504f)), magic);
    const vf k = vf_sub(t, magic);
    vf r = vf_fma(k, vf_set(-0.693359375f), x);
    r = vf_fma(k, vf_set(2.12194440e-4f), r);

    vf p = vf_set(1.38145986e-3f);
    p = vf_fma(p, r, vf_set(8.36871688e-3f));
    p = vf_fma(p, r, vf_set(4.16683880e-2f));
    p = vf_fma(p, r, vf_set(1.66665206e-1f));
    p = vf_fma(p, r, vf_set(4.99999934e-1f));
    p = vf_fma(p, r, vf_set(1.0f));
    p = vf_fma(p, r, vf_set(1.0f));

    vf y = vf_shift_exponent(p, t);
    y = vf_if_less(x, vf_set(-87.33f), vf_set(0.0f), y);
    y = vf_if_less(vf_set(88.72f), x, vf_set(__builtin_inff()), y);
    return vf_if_number(x, y, x);
}

static inline vf vm_sigmoid(vf x)
{
    const vf one = vf_set(1.0f);
    return vf_div(one, vf_add(one, vm_exp(vf_sub(vf_set(0.0f), x))));
}

static inline vf vm_silu(vf x)
{
    return vf_mul(x, vm_sigmoid(x));
}

/// x/2 * (1 + tanh(u)) with u = sqrt(2 / pi) * (x + 0.044715 x^3), written as x * sigmoid(2u): the
/// same number, without the cancellation of 1 + tanh for negative x.
static inline vf vm_gelu(vf x)
{
    const vf u2 = vf_mul(x, vf_fma(vf_mul(x, x), vf_set(0.0713548163f), vf_set(1.59576912f)));
    return vf_mul(x, vm_sigmoid(u2));
}

static inline vf vm_tanh(vf x)
{
    const vf one = vf_set(1.0f), a = vf_abs(x), z = vf_mul(a, a);

    vf p = vf_set(-5.70498701e-3f);
    p = vf_fma(p, z, vf_set(2.06390873e-2f));
    p = vf_fma(p, z, vf_set(-5.37397055e-2f));
    p = vf_fma(p, z, vf_set(1.33314422e-1f));
    p = vf_fma(p, z, vf_set(-3.33332819e-1f));
    const vf small = vf_fma(vf_mul(a, z), p, a);
    const vf large = vf_sub(one, vf_div(vf_set(2.0f), vf_add(vm_exp(vf_add(a, a)), one)));
    return vf_sign_of(vf_if_less(a, vf_set(0.625f), small, large), x);
}

#endif
