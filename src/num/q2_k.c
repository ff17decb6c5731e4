// q2_k.c - 2 bits; a 4-bit scale and minimum per 16, an f16 for each of both per 256.
// w = d * sc * q - dmin * mn. 2.625 bits a number.

#include "num/num_int.h"

struct block {
    uint8_t scales[16]; // scale in the low, minimum in the high half
    uint8_t qs[64];     // 32 bytes per 128 numbers, 32 numbers for each 2 bits from bit 0
    uint8_t d[2];       // f16
    uint8_t dmin[2];    // f16
};
_Static_assert(sizeof(struct block) == 84, "Q2_K block");

static void expand(const struct expanded *dst, const void *src, int64_t n)
{
    const struct block *b = src;
    for (int64_t i = 0; i < n / 256; i++) {
        const float d = get_f16(b[i].d), dmin = get_f16(b[i].dmin);
        uint8_t *u = dst->u + 256 * i;

        for (int g = 0; g < 8; g++) {
            unpack_bits32(u + 32 * g, b[i].qs + g / 4 * 32, g % 4 * 2, 2);
            dst->d[8 * i + g] = d;
        }
        for (int g = 0; g < 16; g++) {
            dst->s[16 * i + g] = b[i].scales[g] & 15;
            dst->m[16 * i + g] = dmin * (float)(b[i].scales[g] >> 4);
        }
    }
}

static void to_f32(float *dst, const void *src, int64_t n)
{
    num_expanded_to_f32(&dtype_q2_k, dst, src, n);
}

static void quantize_block(struct block *b, const float *x)
{
    float d[16], m[16], d_max = 0, m_max = 0;
    for (int g = 0; g < 16; g++) {
        fit_affine(&d[g], &m[g], x + 16 * g, 16, 3);
        d_max = d[g] > d_max ? d[g] : d_max;
        m_max = m[g] > m_max ? m[g] : m_max;
    }
    const float dd = put_f16(b->d, d_max / 15), dmin = put_f16(b->dmin, m_max / 15);

    uint8_t u[256];
    for (int g = 0; g < 16; g++) {
        const int sc = quantize(d[g], inverse(dd), 0, 15);
        const int mn = quantize(m[g], inverse(dmin), 0, 15);
        const float id = inverse(dd * (float)sc);
        b->scales[g] = (uint8_t)(sc | mn << 4);
        for (int j = 16 * g; j < 16 * g + 16; j++)
            u[j] = (uint8_t)quantize(x[j] + dmin * (float)mn, id, 0, 3);
    }
    memset(b->qs, 0, sizeof b->qs);
    for (int g = 0; g < 8; g++)
        pack_bits32(b->qs + g / 4 * 32, u + 32 * g, 0, 2, g % 4 * 2);
}

static void from_f32(void *dst, const float *src, int64_t n)
{
    struct block *b = dst;
    for (int64_t i = 0; i < n / 256; i++)
        quantize_block(b + i, src + 256 * i);
}

const struct dtype_info dtype_q2_k = {
    .name = "Q2_K",
    .block = 256,
    .block_bytes = sizeof(struct block),
    .quantized = true,
    .has_min = true,
    .sub16 = true,
    .to_f32 = to_f32,
    .from_f32 = from_f32,
    .expand = expand,
};
