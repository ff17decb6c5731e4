// gemv_words_avx512.c - gemv for blocks of 32 with 4 bits a number in 16 bytes, AVX-512: Q4_0,
// Q4_1, Q5_0, Q5_1, IQ4_NL.
//
// Such a block is a few 16-bit words: scale, offset, fifth bits, then 8 words of numbers. Eight
// blocks are read as three registers, from which a permutation takes the words that are wanted.
// The quarters are X = groups 0 1 2 3, Y = groups 4 5 6 7.

#include "dev/cpu/x86/gemv_avx512.h"

// Word w of 8 blocks of n words: an index into words 0 .. 63, or into words 32 .. 63 and the
// last 32.
#define LAST(n)    (8 * (n)-32)
#define LOW(n, w)  (w)
#define HIGH(n, w) ((w) < 64 ? (w)-32 : (w)-LAST(n) + 32)
#define EIGHT(f, n, w)                                                                             \
    f(n, w), f(n, (w) + 1), f(n, (w) + 2), f(n, (w) + 3), f(n, (w) + 4), f(n, (w) + 5),            \
        f(n, (w) + 6), f(n, (w) + 7)
#define NUMBERS(f, n, w)                                                                           \
    EIGHT(f, n, w), EIGHT(f, n, (w) + (n)), EIGHT(f, n, (w) + 2 * (n)), EIGHT(f, n, (w) + 3 * (n))
// One word of each block, in the order of the sums (PX0 PY0 QX0 QY0 PX1 ...), for either row.
#define SCALES(n, w)                                                                               \
    (w), (w) + 4 * (n), (w), (w) + 4 * (n), (w) + (n), (w) + 5 * (n), (w) + (n), (w) + 5 * (n),    \
        (w) + 2 * (n), (w) + 6 * (n), (w) + 2 * (n), (w) + 6 * (n), (w) + 3 * (n), (w) + 7 * (n),  \
        (w) + 3 * (n), (w) + 7 * (n)
// Fifth bits: of numbers 0 .. 15 of X, of Y, then of numbers 16 .. 31.
#define ONE_EACH(n, w)                                                                             \
    (w), (w) + (n), (w) + 2 * (n), (w) + 3 * (n), (w) + 4 * (n), (w) + 5 * (n), (w) + 6 * (n),     \
        (w) + 7 * (n)
#define FIFTHS(n, w) ONE_EACH(n, w), ONE_EACH(n, (w) + 1)

struct words {
    int n; // words of a block
    bool fifth, min;
    bool levels; // numbers are indices into IQ4_NL's
    // Words wanted: numbers of X from words 0 .. 63, of Y from 32 .. ; scales (and offsets, or
    // fifth bits) from all; fifth bits where scales have offsets.
    uint16_t x[32], y[32], scales[32], fifths[32];
};

static const struct words q4_0 = {
    .n = 9,
    .x = { NUMBERS(LOW, 9, 1) },
    .y = { NUMBERS(HIGH, 9, 4 * 9 + 1) },
    .scales = { SCALES(9, 0) },
};
static const struct words iq4_nl = {
    .n = 9,
    .levels = true,
    .x = { NUMBERS(LOW, 9, 1) },
    .y = { NUMBERS(HIGH, 9, 4 * 9 + 1) },
    .scales = { SCALES(9, 0) },
};
static const struct words q4_1 = {
    .n = 10,
    .min = true,
    .x = { NUMBERS(LOW, 10, 2) },
    .y = { NUMBERS(HIGH, 10, 4 * 10 + 2) },
    .scales = { SCALES(10, 0), SCALES(10, 1) },
};
static const struct words q5_0 = {
    .n = 11,
    .fifth = true,
    .x = { NUMBERS(LOW, 11, 3) },
    .y = { NUMBERS(HIGH, 11, 4 * 11 + 3) },
    .scales = { SCALES(11, 0), FIFTHS(11, 1) },
};
static const struct words q5_1 = {
    .n = 12,
    .fifth = true,
    .min = true,
    .x = { NUMBERS(LOW, 12, 4) },
    .y = { NUMBERS(HIGH, 12, 4 * 12 + 4) },
    .scales = { SCALES(12, 0), SCALES(12, 1) },
    .fifths = { FIFTHS(12, 2) },
};

static ALWAYS_INLINE __m512i table(const uint16_t *t)
{
    return _mm512_loadu_si512(t);
}

/// The first `n` of 32 words.
static ALWAYS_INLINE __mmask32 first(int n)
{
    return n <= 0 ? 0 : n >= 32 ? 0xffffffff : (1u << n) - 1;
}

/// Words of `t` from all three registers.
static ALWAYS_INLINE __m512i gather(const uint16_t *t, const __m512i *l, const int n)
{
    const __m512i at = table(t);
    const __m512i v = _mm512_permutex2var_epi16(l[0], at, l[1]);

    if (7 * n + 3 < 64) // a block's scales are in its first four words
        return v;
    const __mmask32 last = _mm512_cmpge_epu16_mask(at, _mm512_set1_epi16(64));
    const __m512i in_last = _mm512_sub_epi16(at, _mm512_set1_epi16((short)LAST(n)));
    return _mm512_mask_permutexvar_epi16(v, last, in_last, l[2]);
}

static ALWAYS_INLINE void split(__m512i *u, __m512i v, const bool levels)
{
    const __m512i low = _mm512_set1_epi8(15);

    u[0] = _mm512_and_si512(v, low);
    u[1] = _mm512_and_si512(_mm512_srli_epi16(v, 4), low);
    if (levels) { // IQ4_NL's, plus 128
        const __m512i t = _mm512_broadcast_i32x4(_mm_setr_epi8(
            1, 24, 45, 63, 79, 93, 106, 118, -127, -115, -103, -90, -75, -59, -39, -15));
        u[0] = _mm512_shuffle_epi8(t, u[0]);
        u[1] = _mm512_shuffle_epi8(t, u[1]);
    }
}

/// Returns the scales in the lower, the offsets in the upper half.
static ALWAYS_INLINE __m512i unpack_row(__m512i *u, const uint8_t *p, int groups,
                                        const struct words *f)
{
    const __m512i fifth = _mm512_set1_epi8(16);
    const int there = groups * f->n;
    __m512i l[3];

    if (groups == 8) {
        l[0] = _mm512_loadu_si512(p);
        l[1] = _mm512_loadu_si512(p + 64);
        l[2] = _mm512_loadu_si512(p + 2 * LAST(f->n));
    } else {
        l[0] = _mm512_maskz_loadu_epi16(first(there), p);
        l[1] = _mm512_maskz_loadu_epi16(first(there - 32), p + 64);
        l[2] = _mm512_maskz_loadu_epi16(first(there - LAST(f->n)), p + 2 * LAST(f->n));
    }
    split(u, _mm512_permutex2var_epi16(l[0], table(f->x), l[1]), f->levels);
    split(u + 2, _mm512_permutex2var_epi16(l[1], table(f->y), l[2]), f->levels);

    const __m512i scales = gather(f->scales, l, f->n);
    if (f->fifth) {
        const __m256i bits = f->min ? _mm512_castsi512_si256(gather(f->fifths, l, f->n))
                                    : _mm512_extracti64x4_epi64(scales, 1);
        _Alignas(32) uint64_t b[4];
        _mm256_store_si256((__m256i *)(void *)b, bits);
        u[0] = _mm512_or_si512(u[0], _mm512_maskz_mov_epi8(b[0], fifth));
        u[1] = _mm512_or_si512(u[1], _mm512_maskz_mov_epi8(b[2], fifth));
        u[2] = _mm512_or_si512(u[2], _mm512_maskz_mov_epi8(b[1], fifth));
        u[3] = _mm512_or_si512(u[3], _mm512_maskz_mov_epi8(b[3], fifth));
    }
    return scales;
}

static ALWAYS_INLINE void block(__m512 *chain, const int tokens, const uint8_t *p, const uint8_t *q,
                                const int groups, const struct gemv_x *x, const struct gemv_args *a,
                                const struct words *f)
{
    struct gemv_pair w;
    const __m512i sp = unpack_row(w.p, p, groups, f), sq = unpack_row(w.q, q, groups, f);
    const __m512i s = _mm512_mask_blend_epi16(0xcccccccc, sp, sq);

    w.d = _mm512_cvtph_ps(_mm512_castsi512_si256(s));
    if (f->min)
        w.m = _mm512_cvtph_ps(_mm512_extracti64x4_epi64(s, 1));
    gemv_steps(chain, tokens, &w, x, a,
               f->levels  ? GEMV_QUARTERS
               : f->fifth ? GEMV_QUARTERS_5
                          : GEMV_QUARTERS_4,
               f->min ? 1 : 0);
}

static ALWAYS_INLINE void run(const struct gemv_args *a, gemv_block *b, const struct words *f)
{
    gemv_run(a,
             (struct gemv_format){
                 .block = b,
                 .block_bytes = 16 * f->n,
                 .natural = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15),
             });
}

static ALWAYS_INLINE void block_q4_0(__m512 *chain, const int tokens, const uint8_t *p,
                                     const uint8_t *q, const int groups, const struct gemv_x *x,
                                     const struct gemv_args *a)
{
    block(chain, tokens, p, q, groups, x, a, &q4_0);
}

static void run_q4_0(const struct gemv_args *a)
{
    run(a, block_q4_0, &q4_0);
}

static ALWAYS_INLINE void block_q4_1(__m512 *chain, const int tokens, const uint8_t *p,
                                     const uint8_t *q, const int groups, const struct gemv_x *x,
                                     const struct gemv_args *a)
{
    block(chain, tokens, p, q, groups, x, a, &q4_1);
}

static void run_q4_1(const struct gemv_args *a)
{
    run(a, block_q4_1, &q4_1);
}

static ALWAYS_INLINE void block_q5_0(__m512 *chain, const int tokens, const uint8_t *p,
                                     const uint8_t *q, const int groups, const struct gemv_x *x,
                                     const struct gemv_args *a)
{
    block(chain, tokens, p, q, groups, x, a, &q5_0);
}

static void run_q5_0(const struct gemv_args *a)
{
    run(a, block_q5_0, &q5_0);
}

static ALWAYS_INLINE void block_q5_1(__m512 *chain, const int tokens, const uint8_t *p,
                                     const uint8_t *q, const int groups, const struct gemv_x *x,
                                     const struct gemv_args *a)
{
    block(chain, tokens, p, q, groups, x, a, &q5_1);
}

static void run_q5_1(const struct gemv_args *a)
{
    run(a, block_q5_1, &q5_1);
}

static ALWAYS_INLINE void block_iq4_nl(__m512 *chain, const int tokens, const uint8_t *p,
                                       const uint8_t *q, const int groups, const struct gemv_x *x,
                                       const struct gemv_args *a)
{
    block(chain, tokens, p, q, groups, x, a, &iq4_nl);
}

static void run_iq4_nl(const struct gemv_args *a)
{
    run(a, block_iq4_nl, &iq4_nl);
}

static void prepare(struct gemv_x *dst, struct a8_row x, int64_t cols, int zero)
{
    static const struct gemv_order order = {
        .q = { 0, 2, 4, 6, 1, 3, 5, 7, 8, 10, 12, 14, 9, 11, 13, 15 },
        .lane_group = { 0, 4, 0, 4, 1, 5, 1, 5, 2, 6, 2, 6, 3, 7, 3, 7 },
    };
    gemv_prepare_avx512(dst, x, cols, zero, &order);
}

const struct gemv gemv_q4_0_avx512 = { .prepare = prepare, .run = run_q4_0 };
const struct gemv gemv_q4_1_avx512 = { .prepare = prepare, .run = run_q4_1 };
const struct gemv gemv_q5_0_avx512 = { .prepare = prepare, .run = run_q5_0 };
const struct gemv gemv_q5_1_avx512 = { .prepare = prepare, .run = run_q5_1 };
const struct gemv gemv_iq4_nl_avx512 = { .prepare = prepare, .run = run_iq4_nl };
