// vf_c.h - a "vector" of one float, in plain C: the definition of what vf_ functions do.

#ifndef SNUG_VF_C_H
#define SNUG_VF_C_H

#include <math.h>
#include <stdint.h>
#include <string.h>

#define VF_LANES 1

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
/// p * 2^k, a normal number, or NaN if p is. Low bits of k_bits: the integer k.
static inline vf vf_scale(vf p, vf k, vf k_bits)
{
    uint32_t x, n;

    (void)k;
    memcpy(&x, &p, sizeof x);
    memcpy(&n, &k_bits, sizeof n);
    x += n << 23;
    vf y;
    memcpy(&y, &x, sizeof y);
    return p == p ? y : p;
}

#endif
