// vmath.h - exp, tanh and the like: one text for plain C and for vectors, so all give the same
// bits.
//
// A `vf` is what the header included before defines: vf_c.h one float, x86/vf_avx2.h 8,
// x86/vf_avx512.h 16. The polynomials are minimax fits (Remez) made for these intervals; errors are
// in tests/dev/test_vec.c.

#ifndef SNUG_VMATH_H
#define SNUG_VMATH_H

#ifndef VF_LANES
#include "dev/cpu/vf_c.h"
#endif

/// exp(x) = 2^k * exp(r), k whole, |r| <= ln 2 / 2. Adding 1.5 * 2^23 rounds to a whole number and
/// leaves it in the low bits. From -87.33 to 88.72 the result is a normal number; outside it is
/// wrong; NaN stays NaN.
static inline vf vm_exp_inside(vf x)
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
    return vf_scale(p, k, t);
}

/// exp(x) for x <= 0, as softmax needs it.
static inline vf vm_exp_down(vf x)
{
    return vf_if_less(x, vf_set(-87.33f), vf_set(0.0f), vm_exp_inside(x));
}

static inline vf vm_exp(vf x)
{
    return vf_if_less(vf_set(88.72f), x, vf_set(__builtin_inff()), vm_exp_down(x));
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

/// The gated unit of gpt-oss (openai/gpt-oss, gpt_oss/torch/model.py, swiglu), limit 7.
static inline vf vm_swiglu_oai(vf gate, vf up)
{
    const vf limit = vf_set(7.0f), below = vf_set(-7.0f);
    const vf g = vf_if_less(limit, gate, limit, gate);
    vf u = vf_if_less(limit, up, limit, up);
    u = vf_if_less(u, below, below, u);
    return vf_mul(vf_mul(g, vm_sigmoid(vf_mul(vf_set(1.702f), g))), vf_add(u, vf_set(1.0f)));
}

#endif
