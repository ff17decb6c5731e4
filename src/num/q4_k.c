// q4_k.c - 4 bits; a 6-bit scale and minimum per 32, an f16 for each of both per 256.
// w = d * sc * q - dmin * mn. 4.5 bits a number.

#include "num/num_int.h"

struct block {
    uint8_t d[2];       // f16
    uint8_t dmin[2];    // f16
    uint8_t scales[12]; // scale6.c
    uint8_t qs[128];    // 32 bytes per 64 numbers: the first 32 in the low halves
};
_Static_assert(sizeof(struct block) == 144, "Q4_K block");

static void expand(const struct expanded *dst, const void *src, int64_t n)
{
    const struct block *b = src;
    for (int64_t i = 0; i < n / 256; i++) {
        const float d = get_f16(b[i].d), dmin = get_f16(b[i].dmin);
        uint8_t *u = dst->u + 256 * i;
        uint8_t sc[8], mn[8];

        scale6_unpack(sc, mn, b[i].scales);
        for (int g = 0; g < 8; g++) {
            unpack_bits32(u + 32 * g, b[i].qs + g / 2 * 32, g % 2 * 4, 4);
            dst->d[8 * i + g] = d * sc[g];
            dst->m[8 * i + g] = dmin * mn[g];
        }
    }
}

static void to_f32(float *dst, const void *src, int64_t n)
{
    num_expanded_to_f32(&dtype_q4_k, dst, src, n);
}

static void from_f32(void *dst, const float *src, int64_t n)
{
    struct block *b = dst;
    for (int64_t i = 0; i < n / 256; i++) {
        struct scale6 s;
        uint8_t u[256];

        scale6_fit(&s, b[i].d, b[i].dmin, src + 256 * i, 15);
        scale6_quantize(u, &s, src + 256 * i, 15);
        scale6_pack(b[i].scales, s.sc, s.mn);
        memset(b[i].qs, 0, sizeof b[i].qs);
        for (int g = 0; g < 8; g++)
            pack_bits32(b[i].qs + g / 2 * 32, u + 32 * g, 0, 4, g % 2 * 4);
    }
}

const struct dtype_info dtype_q4_k = {
    .name = "Q4_K",
    .block = 256,
    .block_bytes = sizeof(struct block),
    .quantized = true,
    .has_min = true,
    .to_f32 = to_f32,
    .from_f32 = from_f32,
    .expand = expand,
};
