// scale6.c - the 6-bit scales and minima of Q4_K and Q5_K.

#include "num/num_int.h"

// Bytes 0-3: low 6 bits scales 0-3; 4-7: low 6 bits minima 0-3; 8-11: scales 4-7 (low half) and
// minima 4-7 (high half) less their top 2 bits, which are in the top 2 bits of bytes 0-3 and 4-7.

void scale6_unpack(uint8_t sc[8], uint8_t mn[8], const uint8_t p[12])
{
    for (int i = 0; i < 4; i++) {
        sc[i] = p[i] & 63;
        mn[i] = p[i + 4] & 63;
        sc[i + 4] = (uint8_t)((p[i + 8] & 15) | p[i] >> 6 << 4);
        mn[i + 4] = (uint8_t)(p[i + 8] >> 4 | p[i + 4] >> 6 << 4);
    }
}

void scale6_pack(uint8_t p[12], const uint8_t sc[8], const uint8_t mn[8])
{
    for (int i = 0; i < 4; i++) {
        p[i] = (uint8_t)(sc[i] | sc[i + 4] >> 4 << 6);
        p[i + 4] = (uint8_t)(mn[i] | mn[i + 4] >> 4 << 6);
        p[i + 8] = (uint8_t)((sc[i + 4] & 15) | (mn[i + 4] & 15) << 4);
    }
}

void scale6_fit(struct scale6 *s, uint8_t d_bytes[2], uint8_t dmin_bytes[2], const float *x, int n)
{
    float d[8], m[8], d_max = 0, m_max = 0;
    for (int g = 0; g < 8; g++) {
        fit_affine(&d[g], &m[g], x + 32 * g, 32, n);
        d_max = d[g] > d_max ? d[g] : d_max;
        m_max = m[g] > m_max ? m[g] : m_max;
    }
    s->d = put_f16(d_bytes, d_max / 63);
    s->dmin = put_f16(dmin_bytes, m_max / 63);
    for (int g = 0; g < 8; g++) {
        s->sc[g] = (uint8_t)quantize(d[g], inverse(s->d), 0, 63);
        s->mn[g] = (uint8_t)quantize(m[g], inverse(s->dmin), 0, 63);
    }
}

void scale6_quantize(uint8_t u[256], const struct scale6 *s, const float *x, int n)
{
    for (int i = 0; i < 256; i++) {
        const float id = inverse(s->d * s->sc[i / 32]);
        u[i] = (uint8_t)quantize(x[i] + s->dmin * s->mn[i / 32], id, 0, n);
    }
}
