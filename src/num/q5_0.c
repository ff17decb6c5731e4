// q5_0.c - 5 bits and a scale: w = d * (q - 16). 5.5 bits a number.

#include "num/num_int.h"

#include <math.h>

struct block {
    uint8_t d[2];   // f16
    uint8_t qh[4];  // bit i (little endian): the fifth bit of number i
    uint8_t qs[16]; // number i in the low half of byte i, number i + 16 in the high half
};
_Static_assert(sizeof(struct block) == 22, "Q5_0 block");

static void expand(const struct expanded *dst, const void *src, int64_t n)
{
    const struct block *b = src;
    for (int64_t i = 0; i < n / 32; i++) {
        unpack_nibbles16(dst->u + 32 * i, b[i].qs);
        unpack_fifth_bits(dst->u + 32 * i, b[i].qh);
        dst->d[i] = get_f16(b[i].d);
    }
}

static void to_f32(float *dst, const void *src, int64_t n)
{
    num_expanded_to_f32(&dtype_q5_0, dst, src, n);
}

/// The number of the largest magnitude gets -16, where there is one level more.
static void from_f32(void *dst, const float *src, int64_t n)
{
    struct block *b = dst;
    for (int64_t i = 0; i < n / 32; i++) {
        const float *x = src + 32 * i;
        float top = 0;
        for (int j = 0; j < 32; j++)
            top = fabsf(x[j]) > fabsf(top) ? x[j] : top;

        const float id = inverse(put_f16(b[i].d, top / -16));
        uint8_t u[32];
        for (int j = 0; j < 32; j++)
            u[j] = (uint8_t)(quantize(x[j], id, -16, 15) + 16);
        pack_nibbles16(b[i].qs, u);
        pack_fifth_bits(b[i].qh, u);
    }
}

const struct dtype_info dtype_q5_0 = {
    .name = "Q5_0",
    .block = 32,
    .block_bytes = sizeof(struct block),
    .quantized = true,
    .zero = 16,
    .to_f32 = to_f32,
    .from_f32 = from_f32,
    .expand = expand,
};
