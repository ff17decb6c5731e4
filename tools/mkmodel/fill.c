// fill.c - weights that keep activations near 1, the same on every machine.

#include "mkmodel/mkmodel.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/// splitmix64
uint64_t rng_next(struct rng *r)
{
    uint64_t z = r->s += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

/// Nearly normal: the sum of four even draws, by integers, so that no libm has a say.
float rng_normal(struct rng *r)
{
    const uint64_t z = rng_next(r);
    const int sum = (int)(z & 0xffff) + (int)(z >> 16 & 0xffff) + (int)(z >> 32 & 0xffff) +
                    (int)(z >> 48) - 2 * 0xffff;
    return (float)sum * (1.7320508f / 65536.0f);
}

void fill_numbers(uint8_t *dst, enum dtype type, enum fill fill, uint64_t cols, uint64_t n,
                  struct rng *r)
{
    const float std = 1.0f / sqrtf((float)cols);
    float *x = xmalloc(n * sizeof *x);
    for (uint64_t i = 0; i < n; i++) {
        switch (fill) {
        case FILL_MATRIX:
            x[i] = std * rng_normal(r);
            break;
        case FILL_NORM:
            x[i] = 1.0f + 0.1f * rng_normal(r);
            break;
        case FILL_BIAS:
            x[i] = 0.1f * rng_normal(r);
            break;
        case FILL_ONES:
            x[i] = 1.0f;
            break;
        }
    }
    dtype_info(type)->from_f32(dst, x, (int64_t)n);
    free(x);
}

/// Where a format's f16 scales are, and what they must be, in units of the numbers' standard
/// deviation, if all other bytes are even draws.
struct scale_at {
    enum dtype type;
    int at[2];
    float unit[2];
};
static const struct scale_at scales[] = {
    { DTYPE_Q4_0, { 0, -1 }, { 1 / 4.6f } },
    { DTYPE_Q4_1, { 0, 2 }, { 1 / 4.6f, -7.5f / 4.6f } },
    { DTYPE_Q5_0, { 0, -1 }, { 1 / 9.2f } },
    { DTYPE_Q5_1, { 0, 2 }, { 1 / 9.2f, -15.5f / 9.2f } },
    { DTYPE_Q8_0, { 0, -1 }, { 1 / 74.0f } },
    { DTYPE_Q2_K, { 80, 82 }, { 1 / 12.0f, 1.5f / 12.0f } },
    { DTYPE_Q3_K, { 108, -1 }, { 1 / 43.0f } },
    { DTYPE_Q4_K, { 0, 2 }, { 1 / 294.0f, 7.5f / 294.0f } },
    { DTYPE_Q5_K, { 0, 2 }, { 1 / 588.0f, 15.5f / 588.0f } },
    { DTYPE_Q6_K, { 208, -1 }, { 1 / 1370.0f } },
    { DTYPE_IQ4_NL, { 0, -1 }, { 1 / 69.0f } },
    { DTYPE_IQ4_XS, { 0, -1 }, { 1 / 1270.0f } },
};

void fill_random(uint8_t *dst, enum dtype type, uint64_t cols, uint64_t n, struct rng *r)
{
    const struct dtype_info *t = dtype_info(type);
    const float std = 1.0f / sqrtf((float)cols);
    const size_t block_bytes = (size_t)t->block_bytes, n_blocks = n / (uint64_t)t->block;
    const size_t bytes = n_blocks * block_bytes;

    for (size_t i = 0; i < bytes; i += 8) {
        const uint64_t z = rng_next(r);
        memcpy(dst + i, &z, bytes - i < 8 ? bytes - i : 8);
    }
    if (type == DTYPE_MXFP4 || type == DTYPE_MXFP4_PAIRS) {
        const int e = 127 + (int)floorf(log2f(std / 2.5f));
        for (size_t b = 0; b < n_blocks; b++)
            dst[b * block_bytes] = (uint8_t)e;
        return;
    }
    for (size_t k = 0; k < ARRAY_LEN(scales); k++) {
        if (scales[k].type != type)
            continue;
        for (size_t b = 0; b < n_blocks; b++) {
            const float vary = 1.0f + 0.2f * rng_normal(r);
            for (int j = 0; j < 2 && scales[k].at[j] >= 0; j++) {
                const uint16_t h = f32_to_f16(scales[k].unit[j] * std * vary);
                memcpy(dst + b * block_bytes + scales[k].at[j], &h, sizeof h);
            }
        }
        return;
    }
    ASSERT(false); // a format that is not in the table
}
