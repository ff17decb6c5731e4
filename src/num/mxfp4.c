// mxfp4.c - 4-bit floats (1 sign, 2 exponent, 1 mantissa bit) with a power of two per 32.
// 4.25 bits a number. OCP Microscaling Formats (MX) v1.0, sections 5.2 and 6.

#include "num/num_int.h"

#include <math.h>

struct block {
    uint8_t e;      // the scale 2^(e - 127)
    uint8_t qs[16]; // number i in the low half of byte i, number i + 16 in the high half
};
_Static_assert(sizeof(struct block) == 17, "MXFP4 block");

// The numbers are 0 0.5 1 1.5 2 3 4 6; doubled they are whole, and the scale is halved. Plus 128.
static const uint8_t levels[16] = { 128, 129, 130, 131, 132, 134, 136, 140,
                                    128, 127, 126, 125, 124, 122, 120, 116 };

/// 2^(e - 128). 2^-128 and 2^-127 are subnormal. 255, NaN in the standard, is 2^127 here, as in
/// ggml.
static float half_scale(uint8_t e)
{
    return f32_of_bits(e < 2 ? 0x00200000u << e : (uint32_t)(e - 1) << 23);
}

static void expand(const struct expanded *dst, const void *src, int64_t n)
{
    const struct block *b = src;
    for (int64_t i = 0; i < n / 32; i++) {
        uint8_t *u = dst->u + 32 * i;
        for (int j = 0; j < 16; j++) {
            u[j] = levels[b[i].qs[j] & 15];
            u[j + 16] = levels[b[i].qs[j] >> 4];
        }
        dst->d[i] = half_scale(b[i].e);
    }
}

static void to_f32(float *dst, const void *src, int64_t n)
{
    num_expanded_to_f32(&dtype_mxfp4, dst, src, n);
}

/// Nearest number to v, halfway cases to the even one (of the two, that with mantissa bit 0).
static uint8_t nearest(float v)
{
    const float a = fabsf(v);
    const int q = (a > 0.5f) + (a >= 1.5f) + (a > 2.5f) + (a >= 3.5f) + (a > 5.0f) + (a >= 7.0f) +
                  (a > 10.0f);
    return (uint8_t)(q | (v < 0 && q > 0 ? 8 : 0));
}

/// The nearest numbers with scale `e`; returns the squared error. In double: the inverse of 2^-128
/// is no float.
static double try_scale(uint8_t q[32], const float *x, int e)
{
    const double d = (double)half_scale((uint8_t)e);
    double error = 0;
    for (int j = 0; j < 32; j++) {
        q[j] = nearest((float)((double)x[j] / d));
        const double r = (double)x[j] - d * (levels[q[j]] - 128);
        error += r * r;
    }
    return error;
}

enum { E_MAX = 252 }; // 2^125 * 6 is the last that is a float

/// The standard's scale gives the largest number a value in [4, 8), where more than 6 is cut; the
/// scale above it is taken where that costs less.
static void quantize_block(struct block *b, const float *x)
{
    float top = 0;
    for (int j = 0; j < 32; j++)
        top = fabsf(x[j]) > top ? fabsf(x[j]) : top;

    int e = E_MAX;
    if (isfinite(top)) {
        int exp = 0; // top in [2^(exp - 1), 2^exp)
        (void)frexpf(top, &exp);
        e = exp < 3 - 127 || top == 0 ? 0 : exp - 3 + 127;
    }

    uint8_t q[2][32];
    const double low = try_scale(q[0], x, e), high = try_scale(q[1], x, e + 1);
    const int best = e < E_MAX && high < low;
    b->e = (uint8_t)(e + best);
    pack_nibbles16(b->qs, q[best]);
}

static void from_f32(void *dst, const float *src, int64_t n)
{
    struct block *b = dst;
    for (int64_t i = 0; i < n / 32; i++)
        quantize_block(b + i, src + 32 * i);
}

const struct dtype_info dtype_mxfp4 = {
    .name = "MXFP4",
    .block = 32,
    .block_bytes = sizeof(struct block),
    .quantized = true,
    .zero = 128,
    .to_f32 = to_f32,
    .from_f32 = from_f32,
    .expand = expand,
};
