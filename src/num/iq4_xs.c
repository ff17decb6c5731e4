// iq4_xs.c - the levels of IQ4_NL; a 6-bit scale per 32, an f16 per 256.
// w = d * (sc - 32) * iq4_levels[q]. 4.25 bits a number.

#include "num/num_int.h"

struct block {
    uint8_t d[2];        // f16
    uint8_t scales_h[2]; // top 2 bits of the 8 scales, from bit 0 (little endian)
    uint8_t scales_l[4]; // low 4 bits
    uint8_t qs[128];     // 16 bytes per 32 numbers, as in IQ4_NL
};
_Static_assert(sizeof(struct block) == 136, "IQ4_XS block");

static void expand(const struct expanded *dst, const void *src, int64_t n)
{
    const struct block *b = src;
    for (int64_t i = 0; i < n / 256; i++) {
        const float d = get_f16(b[i].d);
        const int high = get_u16(b[i].scales_h);

        for (int g = 0; g < 8; g++) {
            const int sc = (b[i].scales_l[g / 2] >> g % 2 * 4 & 15) | (high >> 2 * g & 3) << 4;
            iq4_unpack(dst->u + 256 * i + 32 * g, b[i].qs + 16 * g);
            dst->d[8 * i + g] = d * (float)(sc - 32);
        }
    }
}

static void to_f32(float *dst, const void *src, int64_t n)
{
    num_expanded_to_f32(&dtype_iq4_xs, dst, src, n);
}

static void quantize_block(struct block *b, const float *x)
{
    float d[8];
    for (int g = 0; g < 8; g++)
        d[g] = iq4_fit(x + 32 * g);

    int8_t sc[8];
    const float dd = put_scales(sc, b->d, d, 8, 32);
    int high = 0;
    memset(b->scales_l, 0, sizeof b->scales_l);
    for (int g = 0; g < 8; g++) {
        const int v = sc[g] + 32;
        const float id = inverse(dd * sc[g]);
        uint8_t u[32];

        high |= v >> 4 << 2 * g;
        b->scales_l[g / 2] |= (uint8_t)((v & 15) << g % 2 * 4);
        iq4_nearest(u, x + 32 * g, id);
        pack_nibbles16(b->qs + 16 * g, u);
    }
    put_u16(b->scales_h, (uint32_t)high);
}

static void from_f32(void *dst, const float *src, int64_t n)
{
    struct block *b = dst;
    for (int64_t i = 0; i < n / 256; i++)
        quantize_block(b + i, src + 256 * i);
}

const struct dtype_info dtype_iq4_xs = {
    .name = "IQ4_XS",
    .block = 256,
    .block_bytes = sizeof(struct block),
    .quantized = true,
    .zero = 128,
    .to_f32 = to_f32,
    .from_f32 = from_f32,
    .expand = expand,
};
