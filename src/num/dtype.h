// dtype.h - number formats: how a tensor's numbers lie in bytes.
//
// One file a format (q8_0.c, q4_k.c, ...), one table (dtype.c). Block layouts are those of GGUF
// (ggml-org/ggml docs/gguf.md; ggml-common.h). All formats but F32, F16, BF16 and I32 are
// "quantized".
//
// Every quantized format can be *expanded*: written as groups of 32 numbers
//     w[i] = d * (u[i] - zero) - m            with d, m float per 32 numbers, u 8 bits unsigned,
// or, for formats with a scale per 16 numbers (`sub16`),
//     w[i] = d * s[i / 16] * (u[i] - zero) - m[i / 16]        with s a signed 8-bit integer.
// Expanded numbers are what matrix products multiply (docs/numerics.md): one definition for all.

#ifndef SNUG_DTYPE_H
#define SNUG_DTYPE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/// Values below 64 are GGUF's own type ids.
enum dtype {
    DTYPE_F32 = 0,
    DTYPE_F16 = 1,
    DTYPE_Q4_0 = 2,
    DTYPE_Q4_1 = 3,
    DTYPE_Q5_0 = 6,
    DTYPE_Q5_1 = 7,
    DTYPE_Q8_0 = 8,
    DTYPE_Q2_K = 10,
    DTYPE_Q3_K = 11,
    DTYPE_Q4_K = 12,
    DTYPE_Q5_K = 13,
    DTYPE_Q6_K = 14,
    DTYPE_IQ4_NL = 20,
    DTYPE_IQ4_XS = 23,
    DTYPE_I32 = 26,
    DTYPE_BF16 = 30,
    DTYPE_MXFP4 = 39,
    DTYPE_A8 = 64,          // activations: struct a8_row, made by kernels only, never in a file
    DTYPE_MXFP4_PAIRS = 65, // the first gpt-oss files' type 4 (mxfp4_pairs.c)
    DTYPE_COUNT = 66,
};

/// Activations as a quantized matrix product takes them (docs/numerics.md). A row of n numbers (a
/// multiple of 32) is n * 3 / 2 bytes, four arrays one after another:
///     int8_t q[n]; float d[n / 32]; float s[n / 32]; int32_t sum[n / 16];
/// with x[i] ~ d * q[i], sum[j] the sum of the j-th 16 q, s = d * (float)(their sum over the 32).
struct a8_row {
    const int8_t *q;
    const float *d, *s;
    const int32_t *sum;
};
static inline struct a8_row a8_row_at(const void *p, int64_t n)
{
    const int8_t *q = p;
    const float *d = (const float *)(const void *)(q + n);
    return (struct a8_row){ q, d, d + n / 32, (const int32_t *)(const void *)(d + n / 16) };
}

/// Where dtype_info.expand writes; arrays are the caller's, for `n` numbers.
struct expanded {
    uint8_t *u; // [n]
    float *d;   // [n / 32]
    float *m;   // [n / 32], or [n / 16] where sub16; untouched where !has_min
    int8_t *s;  // [n / 16]; untouched where !sub16
};

struct dtype_info {
    const char *name; // as in GGUF: "Q4_K"
    int block;        // numbers in a block, 1 for plain formats
    int block_bytes;
    bool quantized;
    bool has_min; // expanded form has m
    bool sub16;   // expanded form has s (and m per 16)
    uint8_t zero; // subtracted from u
    /// `n` is a multiple of block; src and dst do not overlap, src needs no alignment.
    void (*to_f32)(float *dst, const void *src, int64_t n);
    void (*from_f32)(void *dst, const float *src,
                     int64_t n); // round to nearest; simple and good, not searched for long
    void (*expand)(const struct expanded *dst, const void *src, int64_t n); // NULL if not quantized
};

/// NULL for ids that are unknown or retired.
const struct dtype_info *dtype_info(enum dtype t);
bool dtype_known(uint32_t gguf_type);
/// By name, any case; false if unknown.
bool dtype_by_name(enum dtype *out, const char *name);

/// Bytes of a row of `n` numbers; `n` must be a multiple of the block (asserted). Rows of at most
/// 2^40.
uint64_t dtype_row_bytes(enum dtype t, int64_t n);

float f16_to_f32(uint16_t h);  // exact
uint16_t f32_to_f16(float f);  // round to nearest even
float bf16_to_f32(uint16_t h); // exact
uint16_t f32_to_bf16(float f); // round to nearest even, NaN stays NaN

#endif
