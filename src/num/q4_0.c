// q4_0.c - 4 bits and a scale: w = d * (q - 8). 4.5 bits a number.

#include "num/num_int.h"

#include <math.h>

struct block {
    uint8_t d[2];   // f16
    uint8_t qs[16]; // number i in the low half of byte i, number i + 16 in the high half
};
_Static_assert(sizeof(struct block) == 18, "Q4_0 block");

static void expand(const struct expanded *dst, const void *src, int64_t n)
{
    const struct block *b = src;
    for (int64_t i = 0; i < n / 32; i++) {
        unpack_nibbles16(dst->u + 32 * i, b[i].qs);
        dst->d[i] = get_f16(b[i].d);
    }
}

static void to_f32(float *dst, const void *src, int64_t n)
{
    num_expanded_to_f32(&dtype_q4_0, dst, src, n);
}

/// The number of the largest magnitude gets -8, where there is one level more.
static void from_f32(void *dst, const float *src, int64_t n)
{
    struct block *b = dst;
    for (int64_t i = 0; i < n / 32; i++) {
        const float *x = src + 32 * i;
        float top = 0;
        for (int j = 0; j < 32; j++)
            top = fabsf(x[j]) > fabsf(top) ? x[j] : top;

        const float id = inverse(put_f16(b[i].d, top / -8));
        uint8_t u[32];
        for (int j = 0; j < 32; j++)
            u[j] = (uint8_t)(quantize(x[j], id, -8, 7) + 8);
        pack_nibbles16(b[i].qs, u);
    }
}

const struct dtype_info dtype_q4_0 = {
    .name = "Q4_0",
    .block = 32,
    .block_bytes = sizeof(struct block),
    .quantized = true,
    .zero = 8,
    .to_f32 = to_f32,
    .from_f32 = from_f32,
    .expand = expand,
};
