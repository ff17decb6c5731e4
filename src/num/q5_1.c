// q5_1.c - 5 bits, a scale and an offset: w = d * q + m. 6 bits a number.

#include "num/num_int.h"

struct block {
    uint8_t d[2];  // f16
    uint8_t m[2];  // f16, added
    uint8_t qh[4]; // bit i (little endian): the fifth bit of number i
    uint8_t qs[16];
};
_Static_assert(sizeof(struct block) == 24, "Q5_1 block");

static void expand(const struct expanded *dst, const void *src, int64_t n)
{
    const struct block *b = src;
    for (int64_t i = 0; i < n / 32; i++) {
        unpack_nibbles16(dst->u + 32 * i, b[i].qs);
        unpack_fifth_bits(dst->u + 32 * i, b[i].qh);
        dst->d[i] = get_f16(b[i].d);
        dst->m[i] = -get_f16(b[i].m);
    }
}

static void to_f32(float *dst, const void *src, int64_t n)
{
    num_expanded_to_f32(&dtype_q5_1, dst, src, n);
}

static void from_f32(void *dst, const float *src, int64_t n)
{
    struct block *b = dst;
    for (int64_t i = 0; i < n / 32; i++) {
        const float *x = src + 32 * i;
        float lo = x[0], hi = x[0];
        for (int j = 1; j < 32; j++) {
            lo = x[j] < lo ? x[j] : lo;
            hi = x[j] > hi ? x[j] : hi;
        }

        const float m = put_f16(b[i].m, lo);
        const float id = inverse(put_f16(b[i].d, (hi - m) / 31));
        uint8_t u[32];
        for (int j = 0; j < 32; j++)
            u[j] = (uint8_t)quantize(x[j] - m, id, 0, 31);
        pack_nibbles16(b[i].qs, u);
        pack_fifth_bits(b[i].qh, u);
    }
}

const struct dtype_info dtype_q5_1 = {
    .name = "Q5_1",
    .block = 32,
    .block_bytes = sizeof(struct block),
    .quantized = true,
    .has_min = true,
    .to_f32 = to_f32,
    .from_f32 = from_f32,
    .expand = expand,
};
