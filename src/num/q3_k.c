// q3_k.c - 3 bits; a 6-bit scale per 16, an f16 per 256. w = d * (sc - 32) * (q - 4).
// 3.4375 bits a number.

#include "num/num_int.h"

struct block {
    uint8_t hmask[32]; // bit g of byte i: the third bit of number 32 g + i
    uint8_t qs[64]; // low 2 bits: 32 bytes per 128 numbers, 32 numbers for each 2 bits from bit 0
    uint8_t scales[12]; // low 4 bits of scales 0-7 and 8-15 in bytes 0-7, top 2 bits of scales
                        // 0-3, 4-7, 8-11, 12-15 in bytes 8-11
    uint8_t d[2];       // f16
};
_Static_assert(sizeof(struct block) == 110, "Q3_K block");

static void unpack_scales(int8_t sc[16], const uint8_t p[12])
{
    for (int i = 0; i < 16; i++) {
        const int low = p[i % 8] >> i / 8 * 4 & 15;
        const int high = p[8 + i % 4] >> i / 4 * 2 & 3;
        sc[i] = (int8_t)((low | high << 4) - 32);
    }
}

static void pack_scales(uint8_t p[12], const int8_t sc[16])
{
    memset(p, 0, 12);
    for (int i = 0; i < 16; i++) {
        const int v = sc[i] + 32;
        p[i % 8] |= (uint8_t)((v & 15) << i / 8 * 4);
        p[8 + i % 4] |= (uint8_t)(v >> 4 << i / 4 * 2);
    }
}

static void expand(const struct expanded *dst, const void *src, int64_t n)
{
    const struct block *b = src;
    for (int64_t i = 0; i < n / 256; i++) {
        const float d = get_f16(b[i].d);
        uint8_t *u = dst->u + 256 * i;

        for (int g = 0; g < 8; g++) {
            unpack_bits32(u + 32 * g, b[i].qs + g / 4 * 32, g % 4 * 2, 2);
            unpack_more_bits32(u + 32 * g, b[i].hmask, g, 1, 2);
            dst->d[8 * i + g] = d;
        }
        unpack_scales(dst->s + 16 * i, b[i].scales);
    }
}

static void to_f32(float *dst, const void *src, int64_t n)
{
    num_expanded_to_f32(&dtype_q3_k, dst, src, n);
}

static void from_f32(void *dst, const float *src, int64_t n)
{
    struct block *b = dst;
    for (int64_t i = 0; i < n / 256; i++) {
        const float *x = src + 256 * i;
        int8_t sc[16];
        uint8_t u[256];

        const float d = fit_scales16(sc, b[i].d, x, 4, 32);
        for (int j = 0; j < 256; j++)
            u[j] = (uint8_t)(quantize(x[j], inverse(d * sc[j / 16]), -4, 3) + 4);

        memset(b + i, 0, sizeof *b - sizeof b->d);
        pack_scales(b[i].scales, sc);
        for (int g = 0; g < 8; g++) {
            pack_bits32(b[i].qs + g / 4 * 32, u + 32 * g, 0, 2, g % 4 * 2);
            pack_bits32(b[i].hmask, u + 32 * g, 2, 1, g);
        }
    }
}

const struct dtype_info dtype_q3_k = {
    .name = "Q3_K",
    .block = 256,
    .block_bytes = sizeof(struct block),
    .quantized = true,
    .sub16 = true,
    .zero = 4,
    .to_f32 = to_f32,
    .from_f32 = from_f32,
    .expand = expand,
};
