// dtype.c - the table of formats.

#include "num/dtype.h"

#include "base/base.h"
#include "num/num_int.h"

#include <strings.h>

static const struct dtype_info *const formats[DTYPE_COUNT] = {
    [DTYPE_F32] = &dtype_f32,
    [DTYPE_F16] = &dtype_f16,
    [DTYPE_BF16] = &dtype_bf16,
    [DTYPE_I32] = &dtype_i32,
    [DTYPE_Q4_0] = &dtype_q4_0,
    [DTYPE_Q4_1] = &dtype_q4_1,
    [DTYPE_Q5_0] = &dtype_q5_0,
    [DTYPE_Q5_1] = &dtype_q5_1,
    [DTYPE_Q8_0] = &dtype_q8_0,
    [DTYPE_Q2_K] = &dtype_q2_k,
    [DTYPE_Q3_K] = &dtype_q3_k,
    [DTYPE_Q4_K] = &dtype_q4_k,
    [DTYPE_Q5_K] = &dtype_q5_k,
    [DTYPE_Q6_K] = &dtype_q6_k,
    [DTYPE_IQ4_NL] = &dtype_iq4_nl,
    [DTYPE_IQ4_XS] = &dtype_iq4_xs,
    [DTYPE_MXFP4] = &dtype_mxfp4,
    [DTYPE_A8] = &dtype_a8,
    [DTYPE_MXFP4_PAIRS] = &dtype_mxfp4_pairs,
};

const struct dtype_info *dtype_info(enum dtype t)
{
    const unsigned i = (unsigned)t;
    return i < DTYPE_COUNT ? formats[i] : NULL;
}

bool dtype_known(uint32_t gguf_type)
{
    return gguf_type < DTYPE_A8 && formats[gguf_type] != NULL;
}

bool dtype_by_name(enum dtype *out, const char *name)
{
    for (uint32_t i = 0; i < DTYPE_A8; i++) { // A8 is not for users
        if (dtype_known(i) && strcasecmp(formats[i]->name, name) == 0) {
            *out = (enum dtype)i;
            return true;
        }
    }
    return false;
}

uint64_t dtype_row_bytes(enum dtype t, int64_t n)
{
    const struct dtype_info *info = dtype_info(t);
    ASSERT(info != NULL);
    ASSERT(n >= 0 && n <= (int64_t)1 << 40 && n % info->block == 0);
    return (uint64_t)(n / info->block) * (uint64_t)info->block_bytes;
}

/// Numbers of one group of scales, in the order of dtype.h.
static void group_to_f32(float *restrict x, const uint8_t *restrict u, int count, float d, int zero,
                         float m)
{
    for (int i = 0; i < count; i++)
        x[i] = d * (float)(u[i] - zero) - m;
}

void num_expanded_to_f32(const struct dtype_info *t, float *dst, const void *src, int64_t n)
{
    enum { MAX_BLOCK = 256 };
    uint8_t u[MAX_BLOCK];
    float d[MAX_BLOCK / 32], m[MAX_BLOCK / 16] = { 0 };
    int8_t s[MAX_BLOCK / 16];
    const struct expanded e = { .u = u, .d = d, .m = m, .s = s };
    const uint8_t *block = src;

    ASSERT(t->block <= MAX_BLOCK);
    for (int64_t at = 0; at < n; at += t->block, block += t->block_bytes) {
        t->expand(&e, block, t->block);
        if (t->sub16) {
            for (int g = 0; g < t->block / 16; g++)
                group_to_f32(dst + at + 16 * g, u + 16 * g, 16, d[g / 2] * (float)s[g], t->zero,
                             m[g]);
        } else {
            for (int g = 0; g < t->block / 32; g++)
                group_to_f32(dst + at + 32 * g, u + 32 * g, 32, d[g], t->zero, m[g]);
        }
    }
}
