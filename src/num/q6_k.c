// q6_k.c - 6 bits; an 8-bit scale per 16, an f16 per 256. w = d * sc * (q - 32). 6.5625 bits a
// number.

#include "num/num_int.h"

struct block {
    uint8_t ql[128]; // low 4 bits: 64 bytes per 128 numbers, the first 64 in the low halves
    uint8_t qh[64];  // top 2 bits: 32 bytes per 128 numbers, 32 numbers for each 2 bits from bit 0
    uint8_t sc[16];  // int8
    uint8_t d[2];    // f16
};
_Static_assert(sizeof(struct block) == 210, "Q6_K block");

static void expand(const struct expanded *dst, const void *src, int64_t n)
{
    const struct block *b = src;
    for (int64_t i = 0; i < n / 256; i++) {
        const float d = get_f16(b[i].d);
        uint8_t *u = dst->u + 256 * i;

        for (int g = 0; g < 8; g++) {
            unpack_bits32(u + 32 * g, b[i].ql + g / 4 * 64 + g % 2 * 32, g % 4 / 2 * 4, 4);
            unpack_more_bits32(u + 32 * g, b[i].qh + g / 4 * 32, g % 4 * 2, 2, 4);
            dst->d[8 * i + g] = d;
        }
        memcpy(dst->s + 16 * i, b[i].sc, 16);
    }
}

static void to_f32(float *dst, const void *src, int64_t n)
{
    num_expanded_to_f32(&dtype_q6_k, dst, src, n);
}

static void from_f32(void *dst, const float *src, int64_t n)
{
    struct block *b = dst;
    for (int64_t i = 0; i < n / 256; i++) {
        const float *x = src + 256 * i;
        int8_t sc[16];
        uint8_t u[256];

        const float d = fit_scales16(sc, b[i].d, x, 32, 128);
        for (int j = 0; j < 256; j++)
            u[j] = (uint8_t)(quantize(x[j], inverse(d * sc[j / 16]), -32, 31) + 32);

        memset(b + i, 0, sizeof *b - sizeof b->d);
        memcpy(b[i].sc, sc, 16);
        for (int g = 0; g < 8; g++) {
            pack_bits32(b[i].ql + g / 4 * 64 + g % 2 * 32, u + 32 * g, 0, 4, g % 4 / 2 * 4);
            pack_bits32(b[i].qh + g / 4 * 32, u + 32 * g, 4, 2, g % 4 * 2);
        }
    }
}

const struct dtype_info dtype_q6_k = {
    .name = "Q6_K",
    .block = 256,
    .block_bytes = sizeof(struct block),
    .quantized = true,
    .sub16 = true,
    .zero = 32,
    .to_f32 = to_f32,
    .from_f32 = from_f32,
    .expand = expand,
};
