// num_int.h - what the files of this folder share. Private to it.

#ifndef SNUG_NUM_INT_H
#define SNUG_NUM_INT_H

#include "num/dtype.h"

#include <string.h>

extern const struct dtype_info dtype_f32, dtype_f16, dtype_bf16, dtype_i32, dtype_a8;
extern const struct dtype_info dtype_q4_0, dtype_q4_1, dtype_q5_0, dtype_q5_1, dtype_q8_0;
extern const struct dtype_info dtype_q2_k, dtype_q3_k, dtype_q4_k, dtype_q5_k, dtype_q6_k;
extern const struct dtype_info dtype_iq4_nl, dtype_iq4_xs, dtype_mxfp4, dtype_mxfp4_pairs;

/// The to_f32 of every quantized format: its expanded form, multiplied out in the order that
/// dtype.h gives. Products of scale and number are exact in float for all of them, so the only
/// rounding is that of "- m", and the result is that of ggml's dequantize_row_*.
void num_expanded_to_f32(const struct dtype_info *t, float *dst, const void *src, int64_t n);

// --- bytes and numbers
// ----------------------------------------------------------------------------

// Block structs hold bytes only, so that they need no alignment; these read and write their fields.

static inline uint32_t f32_bits(float f)
{
    uint32_t x;
    memcpy(&x, &f, sizeof x);
    return x;
}

static inline float f32_of_bits(uint32_t x)
{
    float f;
    memcpy(&f, &x, sizeof f);
    return f;
}

static inline uint16_t get_u16(const uint8_t p[2])
{
    return (uint16_t)(p[0] | p[1] << 8);
}

static inline uint32_t get_u32(const uint8_t p[4])
{
    return get_u16(p) | (uint32_t)get_u16(p + 2) << 16;
}

static inline void put_u16(uint8_t p[2], uint32_t v)
{
    p[0] = (uint8_t)v;
    p[1] = (uint8_t)(v >> 8);
}

static inline float get_f16(const uint8_t p[2])
{
    return f16_to_f32(get_u16(p));
}

/// NaN gives `lo`, so what comes out is always safe to convert to an integer.
static inline float clamp_f32(float x, float lo, float hi)
{
    x = x > lo ? x : lo;
    return x < hi ? x : hi;
}

/// Half to even, for |x| < 2^22; adding 1.5 * 2^23 lets the FPU round, and loops vectorize.
static inline int round_even(float x)
{
    return (int)((x + 12582912.0f) - 12582912.0f);
}

/// The whole number in [lo, hi] nearest to x * id.
static inline int quantize(float x, float id, int lo, int hi)
{
    return round_even(clamp_f32(x * id, (float)lo, (float)hi));
}

static inline float inverse(float d)
{
    return d != 0 ? 1.0f / d : 0.0f;
}

/// Stores a scale as f16 and returns what was stored. Never stores an infinity or a NaN.
static inline float put_f16(uint8_t p[2], float f)
{
    uint16_t h = f32_to_f16(clamp_f32(f, -65504.0f, 65504.0f));
    put_u16(p, h);
    return f16_to_f32(h);
}

// --- groups of packed bits
// ------------------------------------------------------------------------

/// u[0..15] the low, u[16..31] the high halves of 16 bytes: the order of the 32-number blocks.
static inline void unpack_nibbles16(uint8_t *restrict u, const uint8_t *restrict q)
{
    for (int i = 0; i < 16; i++)
        u[i] = q[i] & 15;
    for (int i = 0; i < 16; i++)
        u[i + 16] = q[i] >> 4;
}

static inline void pack_nibbles16(uint8_t *restrict q, const uint8_t *restrict u)
{
    for (int i = 0; i < 16; i++)
        q[i] = (uint8_t)((u[i] & 15) | (u[i + 16] & 15) << 4);
}

/// Sets bit 4 of u[i] from bit i of 4 little-endian bytes: the fifth bit of Q5_0 and Q5_1.
static inline void unpack_fifth_bits(uint8_t *restrict u, const uint8_t *restrict qh)
{
    for (int k = 0; k < 4; k++)
        for (int i = 0; i < 8; i++)
            u[8 * k + i] |= (uint8_t)((qh[k] >> i & 1) << 4);
}

static inline void pack_fifth_bits(uint8_t *restrict qh, const uint8_t *restrict u)
{
    memset(qh, 0, 4);
    for (int i = 0; i < 32; i++)
        qh[i / 8] |= (uint8_t)((u[i] >> 4 & 1) << i % 8);
}

/// u[i] = `bits` bits of q[i] from bit `shift`, for 32 bytes: the order of the K formats.
static inline void unpack_bits32(uint8_t *restrict u, const uint8_t *restrict q, int shift,
                                 int bits)
{
    const uint8_t mask = (uint8_t)((1 << bits) - 1);
    for (int i = 0; i < 32; i++)
        u[i] = (uint8_t)(q[i] >> shift & mask);
}

/// u[i] |= bits of q[i] from bit `shift`, put at bit `at`.
static inline void unpack_more_bits32(uint8_t *restrict u, const uint8_t *restrict q, int shift,
                                      int bits, int at)
{
    const uint8_t mask = (uint8_t)((1 << bits) - 1);
    for (int i = 0; i < 32; i++)
        u[i] |= (uint8_t)((q[i] >> shift & mask) << at);
}

/// The other way: q[i] |= `bits` bits of u[i] from bit `from`, put at bit `shift`.
static inline void pack_bits32(uint8_t *restrict q, const uint8_t *restrict u, int from, int bits,
                               int shift)
{
    const uint8_t mask = (uint8_t)((1 << bits) - 1);
    for (int i = 0; i < 32; i++)
        q[i] |= (uint8_t)((u[i] >> from & mask) << shift);
}

// --- Q4_K and Q5_K: 8 scales and 8 minima of 6 bits in 12 bytes (scale6.c)
// --------------------------

/// w = d * sc * q - dmin * mn, sc and mn of each 32 numbers.
struct scale6 {
    float d, dmin;
    uint8_t sc[8], mn[8];
};
void scale6_unpack(uint8_t sc[8], uint8_t mn[8], const uint8_t p[12]);
void scale6_pack(uint8_t p[12], const uint8_t sc[8], const uint8_t mn[8]);
/// Scales for 256 numbers with q in [0, n]; d and dmin are stored as f16, too.
void scale6_fit(struct scale6 *s, uint8_t d[2], uint8_t dmin[2], const float *x, int n);
/// The nearest q in [0, n] for these scales.
void scale6_quantize(uint8_t u[256], const struct scale6 *s, const float *x, int n);

// --- scales for from_f32 (fit.c)
// ------------------------------------------------------------------

// Each tries a row of scales near the one that the largest number asks for. With a scale's whole
// numbers fixed, least squares gives the best scale for them; the one with the smallest error wins.

/// x ~ d * q, q in [-n, n - 1]. d may be negative. 0 for zeros.
float fit_symmetric(const float *x, int count, int n);
/// x ~ d * q - m, q in [0, n], d >= 0, m >= 0.
void fit_affine(float *d, float *m, const float *x, int count, int n);
/// Stores `count` scales as whole numbers in [-n, n - 1] times a base; returns the base.
float put_scales(int8_t *sc, uint8_t base[2], const float *d, int count, int n);
/// The same with the scales of fit_symmetric(.., n) for each 16 of 256 numbers.
float fit_scales16(int8_t sc[16], uint8_t base[2], const float *x, int n, int n_scale);

// --- the levels of IQ4_NL and IQ4_XS (iq4.c)
// --------------------------------------------------------

void iq4_unpack(uint8_t u[32], const uint8_t q[16]); // level + 128
/// Indices of the levels nearest to 32 x * id.
void iq4_nearest(uint8_t u[32], const float *x, float id);
float iq4_fit(const float *x); // 32 numbers ~ d * level

#endif
