// q8_0.c - 8 bits and a scale: w = d * q. 8.5 bits a number.

#include "num/num_int.h"

#include <math.h>

struct block {
    uint8_t d[2];   // f16
    uint8_t qs[32]; // int8
};
_Static_assert(sizeof(struct block) == 34, "Q8_0 block");

static void expand_block(uint8_t *restrict u, const uint8_t *restrict q)
{
    for (int i = 0; i < 32; i++)
        u[i] = q[i] ^ 0x80; // int8 + 128
}

static void expand(const struct expanded *dst, const void *src, int64_t n)
{
    const struct block *b = src;
    for (int64_t i = 0; i < n / 32; i++) {
        expand_block(dst->u + 32 * i, b[i].qs);
        dst->d[i] = get_f16(b[i].d);
    }
}

static void to_f32(float *dst, const void *src, int64_t n)
{
    num_expanded_to_f32(&dtype_q8_0, dst, src, n);
}

static void from_f32(void *dst, const float *src, int64_t n)
{
    struct block *b = dst;
    for (int64_t i = 0; i < n / 32; i++) {
        const float *x = src + 32 * i;
        float top = 0;
        for (int j = 0; j < 32; j++)
            top = fabsf(x[j]) > top ? fabsf(x[j]) : top;

        const float id = inverse(put_f16(b[i].d, top / 127));
        for (int j = 0; j < 32; j++)
            b[i].qs[j] = (uint8_t)quantize(x[j], id, -127, 127);
    }
}

const struct dtype_info dtype_q8_0 = {
    .name = "Q8_0",
    .block = 32,
    .block_bytes = sizeof(struct block),
    .quantized = true,
    .zero = 128,
    .to_f32 = to_f32,
    .from_f32 = from_f32,
    .expand = expand,
};
