// iq4_nl.c - 4 bits that choose one of 16 uneven levels, and a scale: w = d * iq4_levels[q].
// 4.5 bits a number.

#include "num/num_int.h"

struct block {
    uint8_t d[2];   // f16
    uint8_t qs[16]; // number i in the low half of byte i, number i + 16 in the high half
};
_Static_assert(sizeof(struct block) == 18, "IQ4_NL block");

static void expand(const struct expanded *dst, const void *src, int64_t n)
{
    const struct block *b = src;
    for (int64_t i = 0; i < n / 32; i++) {
        iq4_unpack(dst->u + 32 * i, b[i].qs);
        dst->d[i] = get_f16(b[i].d);
    }
}

static void to_f32(float *dst, const void *src, int64_t n)
{
    num_expanded_to_f32(&dtype_iq4_nl, dst, src, n);
}

static void from_f32(void *dst, const float *src, int64_t n)
{
    struct block *b = dst;
    for (int64_t i = 0; i < n / 32; i++) {
        const float *x = src + 32 * i;
        const float id = inverse(put_f16(b[i].d, iq4_fit(x)));
        uint8_t u[32];
        iq4_nearest(u, x, id);
        pack_nibbles16(b[i].qs, u);
    }
}

const struct dtype_info dtype_iq4_nl = {
    .name = "IQ4_NL",
    .block = 32,
    .block_bytes = sizeof(struct block),
    .quantized = true,
    .zero = 128,
    .to_f32 = to_f32,
    .from_f32 = from_f32,
    .expand = expand,
};
