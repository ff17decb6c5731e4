// gemv_mxfp4_avx512.c - gemv for MXFP4 in either order, AVX-512. Eight blocks of 17 bytes are read
// as three registers, from which permutations of bytes take numbers and exponents.
// The quarters are X = groups 0 1 2 3, Y = groups 4 5 6 7.

#include "dev/cpu/x86/gemv_avx512.h"

enum { BLOCK = 17, LAST = 8 * BLOCK - 64 }; // where the last register begins

// Byte i of the eight blocks: an index into the first two registers, or into the last two.
#define FIRST(i)   (i)
#define MIDDLE(i)  (uint8_t)((i) < 128 ? (i)-64 : (i)-LAST + 64)
#define FOUR(f, i) f(i), f((i) + 1), f((i) + 2), f((i) + 3)
#define NUMBERS(f, b)                                                                              \
    FOUR(f, BLOCK *(b) + 1), FOUR(f, BLOCK *(b) + 5), FOUR(f, BLOCK *(b) + 9),                     \
        FOUR(f, BLOCK *(b) + 13)
// The exponent of a block, as a 32-bit number: all are in the first two.
#define EXPONENT(b) BLOCK *(b), 0, 0, 0

static const uint8_t x_bytes[64] = { NUMBERS(FIRST, 0), NUMBERS(FIRST, 1), NUMBERS(FIRST, 2),
                                     NUMBERS(FIRST, 3) };
static const uint8_t y_bytes[64] = { NUMBERS(MIDDLE, 4), NUMBERS(MIDDLE, 5), NUMBERS(MIDDLE, 6),
                                     NUMBERS(MIDDLE, 7) };
// In the order of the sums (PX0 PY0 QX0 QY0 PX1 ...), for either row.
static const uint8_t exponents[64] = {
    EXPONENT(0), EXPONENT(4), EXPONENT(0), EXPONENT(4), EXPONENT(1), EXPONENT(5),
    EXPONENT(1), EXPONENT(5), EXPONENT(2), EXPONENT(6), EXPONENT(2), EXPONENT(6),
    EXPONENT(3), EXPONENT(7), EXPONENT(3), EXPONENT(7),
};

/// The first n of 64 bytes.
static ALWAYS_INLINE __mmask64 first(int n)
{
    return n <= 0 ? 0 : n >= 64 ? ~(__mmask64)0 : ((__mmask64)1 << n) - 1;
}

/// Two registers of numbers plus 128 from one of bytes: both halves of each group.
static ALWAYS_INLINE void split(__m512i *u, __m512i v, const bool pairs)
{
    const __m512i low = _mm512_set1_epi8(15);
    const __m512i levels = _mm512_broadcast_i32x4(_mm_setr_epi8(
        -128, -127, -126, -125, -124, -122, -120, -116, -128, 127, 126, 125, 124, 122, 120, 116));
    const __m512i a = _mm512_shuffle_epi8(levels, _mm512_and_si512(v, low));
    const __m512i b = _mm512_shuffle_epi8(levels, _mm512_and_si512(_mm512_srli_epi16(v, 4), low));

    u[0] = pairs ? _mm512_unpacklo_epi8(a, b) : a;
    u[1] = pairs ? _mm512_unpackhi_epi8(a, b) : b;
}

/// Returns the exponents.
static ALWAYS_INLINE __m512i unpack_row(__m512i *u, const uint8_t *p, int groups, const bool pairs)
{
    const int there = groups * BLOCK;
    __m512i l[3];

    if (groups == 8) {
        l[0] = _mm512_loadu_si512(p);
        l[1] = _mm512_loadu_si512(p + 64);
        l[2] = _mm512_loadu_si512(p + LAST);
    } else {
        l[0] = _mm512_maskz_loadu_epi8(first(there), p);
        l[1] = _mm512_maskz_loadu_epi8(first(there - 64), p + 64);
        l[2] = _mm512_maskz_loadu_epi8(first(there - LAST), p + LAST);
    }
    split(u, _mm512_permutex2var_epi8(l[0], _mm512_loadu_si512(x_bytes), l[1]), pairs);
    split(u + 2, _mm512_permutex2var_epi8(l[1], _mm512_loadu_si512(y_bytes), l[2]), pairs);
    return _mm512_maskz_permutex2var_epi8(0x1111111111111111, l[0], _mm512_loadu_si512(exponents),
                                          l[1]);
}

/// 2^(e - 128) (num/mxfp4.c).
static ALWAYS_INLINE __m512 half_scale(__m512i e)
{
    const __m512i normal = _mm512_slli_epi32(_mm512_sub_epi32(e, _mm512_set1_epi32(1)), 23);
    const __mmask16 small = _mm512_cmplt_epu32_mask(e, _mm512_set1_epi32(2));

    return _mm512_castsi512_ps(
        _mm512_mask_sllv_epi32(normal, small, _mm512_set1_epi32(0x00200000), e));
}

static ALWAYS_INLINE void block(__m512 *chain, const int tokens, const uint8_t *p, const uint8_t *q,
                                const int groups, const struct gemv_x *x, const struct gemv_args *a,
                                const bool pairs)
{
    struct gemv_pair w;
    const __m512i ep = unpack_row(w.p, p, groups, pairs), eq = unpack_row(w.q, q, groups, pairs);

    w.d = half_scale(_mm512_mask_blend_epi32(0xcccc, ep, eq));
    w.m = _mm512_setzero_ps();
    gemv_steps(chain, tokens, &w, x, a, GEMV_QUARTERS, 0);
}

static ALWAYS_INLINE void block_halves(__m512 *chain, const int tokens, const uint8_t *p,
                                       const uint8_t *q, const int groups, const struct gemv_x *x,
                                       const struct gemv_args *a)
{
    block(chain, tokens, p, q, groups, x, a, false);
}

static ALWAYS_INLINE void block_pairs(__m512 *chain, const int tokens, const uint8_t *p,
                                      const uint8_t *q, const int groups, const struct gemv_x *x,
                                      const struct gemv_args *a)
{
    block(chain, tokens, p, q, groups, x, a, true);
}

static ALWAYS_INLINE void run(const struct gemv_args *a, gemv_block *b)
{
    gemv_run(a,
             (struct gemv_format){
                 .block = b,
                 .block_bytes = 8 * BLOCK,
                 .natural = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15),
             });
}

static void run_halves(const struct gemv_args *a)
{
    run(a, block_halves);
}

static void run_pairs(const struct gemv_args *a)
{
    run(a, block_pairs);
}

static void prepare(struct gemv_x *dst, struct a8_row x, int64_t cols, int zero)
{
    static const struct gemv_order order = {
        .q = { 0, 2, 4, 6, 1, 3, 5, 7, 8, 10, 12, 14, 9, 11, 13, 15 },
        .lane_group = { 0, 4, 0, 4, 1, 5, 1, 5, 2, 6, 2, 6, 3, 7, 3, 7 },
    };
    gemv_prepare_avx512(dst, x, cols, zero, &order);
}

const struct gemv gemv_mxfp4_avx512 = { .prepare = prepare, .run = run_halves };
const struct gemv gemv_mxfp4_pairs_avx512 = { .prepare = prepare, .run = run_pairs };
