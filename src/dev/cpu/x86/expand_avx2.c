// expand_avx2.c - dtype_info.expand of all formats with AVX2: the same numbers, faster. Layouts:
// src/num.

#include <immintrin.h>
#include <string.h>

#include "dev/cpu/x86/x86.h"

static ALWAYS_INLINE __m256i load_32(const uint8_t *p)
{
    return _mm256_loadu_si256((const __m256i *)(const void *)p);
}

static ALWAYS_INLINE __m128i load_16(const uint8_t *p)
{
    return _mm_loadu_si128((const __m128i *)(const void *)p);
}

static ALWAYS_INLINE void store_32(uint8_t *p, __m256i v)
{
    _mm256_storeu_si256((__m256i *)(void *)p, v);
}

static ALWAYS_INLINE float f16_at(const uint8_t *p)
{
    uint16_t h;

    memcpy(&h, p, sizeof h);
    return _cvtsh_ss(h);
}

// --- blocks of 32
// ---------------------------------------------------------------------------------

/// Number i in the low half of byte i, number i + 16 in the high half.
static ALWAYS_INLINE __m256i nibbles(const uint8_t *p)
{
    const __m128i v = load_16(p);
    const __m256i both = _mm256_set_m128i(_mm_srli_epi16(v, 4), v);

    return _mm256_and_si256(both, _mm256_set1_epi8(15));
}

/// 16 for each bit set of 32.
static ALWAYS_INLINE __m256i fifths(const uint8_t *p)
{
    int32_t bits;

    memcpy(&bits, p, sizeof bits);
    const __m256i byte =
        _mm256_setr_epi64x(0, 0x0101010101010101, 0x0202020202020202, 0x0303030303030303);
    const __m256i bit = _mm256_set1_epi64x((int64_t)0x8040201008040201);
    const __m256i v = _mm256_and_si256(_mm256_shuffle_epi8(_mm256_set1_epi32(bits), byte), bit);
    return _mm256_and_si256(_mm256_cmpeq_epi8(v, bit), _mm256_set1_epi8(16));
}

static ALWAYS_INLINE __m256i lookup(__m128i table, __m256i i)
{
    return _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(table), i);
}

static ALWAYS_INLINE __m128i levels_iq4(void) // plus 128
{
    return _mm_setr_epi8(1, 24, 45, 63, 79, 93, 106, 118, -127, -115, -103, -90, -75, -59, -39,
                         -15);
}

static void expand_q4_0(const struct expanded *o, const void *src, int64_t n)
{
    const uint8_t *p = src;

    for (int64_t g = 0; g < n / 32; g++, p += 18) {
        o->d[g] = f16_at(p);
        store_32(o->u + 32 * g, nibbles(p + 2));
    }
}

static void expand_q4_1(const struct expanded *o, const void *src, int64_t n)
{
    const uint8_t *p = src;

    for (int64_t g = 0; g < n / 32; g++, p += 20) {
        o->d[g] = f16_at(p);
        o->m[g] = -f16_at(p + 2);
        store_32(o->u + 32 * g, nibbles(p + 4));
    }
}

static void expand_q5_0(const struct expanded *o, const void *src, int64_t n)
{
    const uint8_t *p = src;

    for (int64_t g = 0; g < n / 32; g++, p += 22) {
        o->d[g] = f16_at(p);
        store_32(o->u + 32 * g, _mm256_or_si256(nibbles(p + 6), fifths(p + 2)));
    }
}

static void expand_q5_1(const struct expanded *o, const void *src, int64_t n)
{
    const uint8_t *p = src;

    for (int64_t g = 0; g < n / 32; g++, p += 24) {
        o->d[g] = f16_at(p);
        o->m[g] = -f16_at(p + 2);
        store_32(o->u + 32 * g, _mm256_or_si256(nibbles(p + 8), fifths(p + 4)));
    }
}

static void expand_q8_0(const struct expanded *o, const void *src, int64_t n)
{
    const uint8_t *p = src;

    for (int64_t g = 0; g < n / 32; g++, p += 34) {
        o->d[g] = f16_at(p);
        store_32(o->u + 32 * g, _mm256_xor_si256(load_32(p + 2), _mm256_set1_epi8(-128)));
    }
}

static void expand_iq4_nl(const struct expanded *o, const void *src, int64_t n)
{
    const uint8_t *p = src;

    for (int64_t g = 0; g < n / 32; g++, p += 18) {
        o->d[g] = f16_at(p);
        store_32(o->u + 32 * g, lookup(levels_iq4(), nibbles(p + 2)));
    }
}

static ALWAYS_INLINE void mxfp4(const struct expanded *o, const uint8_t *p, int64_t n,
                                const bool pairs)
{
    const __m128i levels = _mm_setr_epi8(-128, -127, -126, -125, -124, -122, -120, -116, -128, 127,
                                         126, 125, 124, 122, 120, 116); // plus 128

    for (int64_t g = 0; g < n / 32; g++, p += 17) {
        const uint32_t e = p[0], bits = e < 2 ? 0x00200000u << e : (e - 1) << 23; // 2^(e - 128)
        __m256i u = lookup(levels, nibbles(p + 1));
        if (pairs) {
            const __m128i a = _mm256_castsi256_si128(u), b = _mm256_extracti128_si256(u, 1);
            u = _mm256_set_m128i(_mm_unpackhi_epi8(a, b), _mm_unpacklo_epi8(a, b));
        }
        memcpy(&o->d[g], &bits, sizeof bits);
        store_32(o->u + 32 * g, u);
    }
}

static void expand_mxfp4(const struct expanded *o, const void *src, int64_t n)
{
    mxfp4(o, src, n, false);
}

static void expand_mxfp4_pairs(const struct expanded *o, const void *src, int64_t n)
{
    mxfp4(o, src, n, true);
}

// --- blocks of 256
// --------------------------------------------------------------------------------

/// Bits `at` .. of every byte, masked, moved up to bit `to`.
static ALWAYS_INLINE __m256i bits_of(__m256i v, const int at, const int mask, const int to)
{
    const __m256i low = _mm256_and_si256(_mm256_srli_epi16(v, at), _mm256_set1_epi8((char)mask));

    return _mm256_slli_epi16(low, to);
}

/// d * scale and dmin * minimum of 8 groups; p: d, dmin, 12 bytes of 6-bit scales and minima.
static ALWAYS_INLINE void scales_k(float *d, float *m, const uint8_t *p)
{
    const __m128i v = scale6_bytes(p + 4);
    const __m128i order = _mm_setr_epi8(0, 1, 2, 3, 8, 9, 10, 11, 4, 5, 6, 7, 12, 13, 14, 15);
    const __m128i sc_mn = _mm_shuffle_epi8(v, order);
    const __m256 sc = _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(sc_mn));
    const __m256 mn = _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_srli_si128(sc_mn, 8)));

    _mm256_storeu_ps(d, _mm256_mul_ps(_mm256_set1_ps(f16_at(p)), sc));
    _mm256_storeu_ps(m, _mm256_mul_ps(_mm256_set1_ps(f16_at(p + 2)), mn));
}

static void expand_q4_k(const struct expanded *o, const void *src, int64_t n)
{
    const uint8_t *p = src;

    for (int64_t i = 0; i < n / 256; i++, p += 144) {
        uint8_t *u = o->u + 256 * i;
        scales_k(o->d + 8 * i, o->m + 8 * i, p);
        for (int j = 0; j < 4; j++) {
            const __m256i v = load_32(p + 16 + 32 * j);
            store_32(u + 64 * j, bits_of(v, 0, 15, 0));
            store_32(u + 64 * j + 32, bits_of(v, 4, 15, 0));
        }
    }
}

static void expand_q5_k(const struct expanded *o, const void *src, int64_t n)
{
    const uint8_t *p = src;

    for (int64_t i = 0; i < n / 256; i++, p += 176) {
        uint8_t *u = o->u + 256 * i;
        __m256i h = load_32(p + 16);
        scales_k(o->d + 8 * i, o->m + 8 * i, p);
        for (int j = 0; j < 4; j++, h = _mm256_srli_epi16(h, 2)) {
            const __m256i v = load_32(p + 48 + 32 * j);
            store_32(u + 64 * j, _mm256_or_si256(bits_of(v, 0, 15, 0), bits_of(h, 0, 1, 4)));
            store_32(u + 64 * j + 32, _mm256_or_si256(bits_of(v, 4, 15, 0), bits_of(h, 1, 1, 4)));
        }
    }
}

static void expand_q6_k(const struct expanded *o, const void *src, int64_t n)
{
    const uint8_t *p = src;

    for (int64_t i = 0; i < n / 256; i++, p += 210) {
        for (int h = 0; h < 2; h++) {
            const __m256i a = load_32(p + 64 * h), b = load_32(p + 64 * h + 32);
            const __m256i t = load_32(p + 128 + 32 * h);
            uint8_t *u = o->u + 256 * i + 128 * h;
            store_32(u, _mm256_or_si256(bits_of(a, 0, 15, 0), bits_of(t, 0, 3, 4)));
            store_32(u + 32, _mm256_or_si256(bits_of(b, 0, 15, 0), bits_of(t, 2, 3, 4)));
            store_32(u + 64, _mm256_or_si256(bits_of(a, 4, 15, 0), bits_of(t, 4, 3, 4)));
            store_32(u + 96, _mm256_or_si256(bits_of(b, 4, 15, 0), bits_of(t, 6, 3, 4)));
        }
        memcpy(o->s + 16 * i, p + 192, 16);
        _mm256_storeu_ps(o->d + 8 * i, _mm256_set1_ps(f16_at(p + 208)));
    }
}

static void expand_q2_k(const struct expanded *o, const void *src, int64_t n)
{
    const uint8_t *p = src;

    for (int64_t i = 0; i < n / 256; i++, p += 84) {
        const __m128i sc = load_16(p), low = _mm_set1_epi8(15);
        const __m128i mn = _mm_and_si128(_mm_srli_epi16(sc, 4), low);
        const __m256 dmin = _mm256_set1_ps(f16_at(p + 82));
        for (int h = 0; h < 2; h++) {
            const __m256i v = load_32(p + 16 + 32 * h);
            uint8_t *u = o->u + 256 * i + 128 * h;
            store_32(u, bits_of(v, 0, 3, 0));
            store_32(u + 32, bits_of(v, 2, 3, 0));
            store_32(u + 64, bits_of(v, 4, 3, 0));
            store_32(u + 96, bits_of(v, 6, 3, 0));
            const __m256i m = _mm256_cvtepu8_epi32(h == 0 ? mn : _mm_srli_si128(mn, 8));
            _mm256_storeu_ps(o->m + 16 * i + 8 * h, _mm256_mul_ps(dmin, _mm256_cvtepi32_ps(m)));
        }
        _mm_storeu_si128((__m128i *)(void *)(o->s + 16 * i), _mm_and_si128(sc, low));
        _mm256_storeu_ps(o->d + 8 * i, _mm256_set1_ps(f16_at(p + 80)));
    }
}

/// 16 six-bit scales of Q3_K less 32: low 4 bits in 8 bytes, top 2 bits in 4.
static ALWAYS_INLINE __m128i scales_q3_k(const uint8_t *p)
{
    uint64_t low;
    uint32_t high;

    memcpy(&low, p, 8);
    memcpy(&high, p + 8, 4);
    const uint64_t h = high, nib = 0x0f0f0f0f0f0f0f0f, two = 0x3030303030303030;
    const uint64_t a = (low & nib) | ((h << 4 | h << 2 << 32) & two);
    const uint64_t b = (low >> 4 & nib) | ((h | h >> 2 << 32) & two);
    return _mm_sub_epi8(_mm_set_epi64x((int64_t)b, (int64_t)a), _mm_set1_epi8(32));
}

static void expand_q3_k(const struct expanded *o, const void *src, int64_t n)
{
    const uint8_t *p = src;

    for (int64_t i = 0; i < n / 256; i++, p += 110) {
        __m256i m = load_32(p);
        for (int h = 0; h < 2; h++, m = _mm256_srli_epi16(m, 4)) {
            const __m256i v = load_32(p + 32 + 32 * h);
            uint8_t *u = o->u + 256 * i + 128 * h;
            store_32(u, _mm256_or_si256(bits_of(v, 0, 3, 0), bits_of(m, 0, 1, 2)));
            store_32(u + 32, _mm256_or_si256(bits_of(v, 2, 3, 0), bits_of(m, 1, 1, 2)));
            store_32(u + 64, _mm256_or_si256(bits_of(v, 4, 3, 0), bits_of(m, 2, 1, 2)));
            store_32(u + 96, _mm256_or_si256(bits_of(v, 6, 3, 0), bits_of(m, 3, 1, 2)));
        }
        _mm_storeu_si128((__m128i *)(void *)(o->s + 16 * i), scales_q3_k(p + 96));
        _mm256_storeu_ps(o->d + 8 * i, _mm256_set1_ps(f16_at(p + 108)));
    }
}

static void expand_iq4_xs(const struct expanded *o, const void *src, int64_t n)
{
    const uint8_t *p = src;

    for (int64_t i = 0; i < n / 256; i++, p += 136) {
        const float d = f16_at(p);
        const int high = p[2] | p[3] << 8;
        for (int g = 0; g < 8; g++) {
            const int sc = (p[4 + g / 2] >> g % 2 * 4 & 15) | (high >> 2 * g & 3) << 4;
            o->d[8 * i + g] = d * (float)(sc - 32);
            store_32(o->u + 256 * i + 32 * g, lookup(levels_iq4(), nibbles(p + 8 + 16 * g)));
        }
    }
}

void expand_fns_avx2(struct matmul_fns *f)
{
    f->expand[DTYPE_Q4_0] = expand_q4_0;
    f->expand[DTYPE_Q4_1] = expand_q4_1;
    f->expand[DTYPE_Q5_0] = expand_q5_0;
    f->expand[DTYPE_Q5_1] = expand_q5_1;
    f->expand[DTYPE_Q8_0] = expand_q8_0;
    f->expand[DTYPE_IQ4_NL] = expand_iq4_nl;
    f->expand[DTYPE_MXFP4] = expand_mxfp4;
    f->expand[DTYPE_MXFP4_PAIRS] = expand_mxfp4_pairs;
    f->expand[DTYPE_Q2_K] = expand_q2_k;
    f->expand[DTYPE_Q3_K] = expand_q3_k;
    f->expand[DTYPE_Q4_K] = expand_q4_k;
    f->expand[DTYPE_Q5_K] = expand_q5_k;
    f->expand[DTYPE_Q6_K] = expand_q6_k;
    f->expand[DTYPE_IQ4_XS] = expand_iq4_xs;
}
