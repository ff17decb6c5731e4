// gemv_q6_k_avx512.c - gemv for Q6_K with AVX-512.
//
// A sum of 4 products of a 6-bit number and an int8 fits 16 bits, so two registers of such sums are
// packed into one and multiplied by their 8-bit scales in one step.

#include "dev/cpu/x86/gemv_avx512.h"

enum { QL = 0, QH = 128, SCALES = 192, D = 208, BLOCK = 210 };

/// Shifts that bring bits `bit` and `bit` + 1 of every byte to bits 4 and 5.
#define TOP(bit) ((bit) + 60) % 64
#define TOP_8(bit)                                                                                 \
    TOP(bit), TOP((bit) + 8), TOP((bit) + 16), TOP((bit) + 24), TOP((bit) + 32), TOP((bit) + 40),  \
        TOP((bit) + 48), TOP((bit) + 56)
#define TOP_32(bit) TOP_8(bit), TOP_8(bit), TOP_8(bit), TOP_8(bit)
static const uint8_t tops[2][64] = { { TOP_32(0), TOP_32(2) }, { TOP_32(4), TOP_32(6) } };

/// Numbers in their natural order.
static ALWAYS_INLINE void unpack_row(__m512i *u, const uint8_t *p)
{
    const __m512i low = _mm512_set1_epi8(15), top = _mm512_set1_epi8(48);

    for (int half = 0; half < 2; half++) {
        const __m512i ql = _mm512_loadu_si512(p + QL + 64 * half);
        const __m512i qh = _mm512_broadcast_i64x4(
            _mm256_loadu_si256((const __m256i *)(const void *)(p + QH + 32 * half)));
        const __m512i nibbles[2] = { _mm512_and_si512(ql, low),
                                     _mm512_and_si512(_mm512_srli_epi16(ql, 4), low) };
        for (int k = 0; k < 2; k++) {
            const __m512i bits = _mm512_multishift_epi64_epi8(_mm512_loadu_si512(tops[k]), qh);
            u[2 * half + k] =
                _mm512_ternarylogic_epi32(bits, top, nibbles[k], 0xea); // (bits & top) | n
        }
    }
}

/// Lane i: scales n + i and n + i + 4, four times each, to match packed sums.
static ALWAYS_INLINE __m512i scales_for(__m256i s, const int n)
{
#define FOUR(i) (i), (i), (i), (i)
    static const uint16_t at[32] = { FOUR(0), FOUR(4), FOUR(1), FOUR(5),
                                     FOUR(2), FOUR(6), FOUR(3), FOUR(7) };
    const __m512i i = _mm512_add_epi16(_mm512_loadu_si512(at), _mm512_set1_epi16((short)n));
    return _mm512_permutexvar_epi16(i, _mm512_castsi256_si512(s));
}

struct row {
    __m512i u[4], s01, s23;
};

static ALWAYS_INLINE __m256i unpack(struct row *o, const uint8_t *p)
{
    const __m256i s =
        _mm256_cvtepi8_epi16(_mm_loadu_si128((const __m128i *)(const void *)(p + SCALES)));

    unpack_row(o->u, p);
    o->s01 = scales_for(s, 0);
    o->s23 = scales_for(s, 8);
    return s;
}

/// Scaled sums; lane i, dword j: the 16 numbers at 64 j + 16 i.
static ALWAYS_INLINE __m512i scaled(const struct row *w, const struct gemv_x *x)
{
    const __m512i a = _mm512_packs_epi32(dot1(w->u[0], _mm512_load_si512(x->q)),
                                         dot1(w->u[1], _mm512_load_si512(x->q + 64)));
    const __m512i b = _mm512_packs_epi32(dot1(w->u[2], _mm512_load_si512(x->q + 128)),
                                         dot1(w->u[3], _mm512_load_si512(x->q + 192)));
    return add_pairs_32(_mm512_madd_epi16(a, w->s01), _mm512_madd_epi16(b, w->s23));
}

static ALWAYS_INLINE __m256i d_of(const uint8_t *p, const uint8_t *q)
{
    uint16_t dp, dq;

    memcpy(&dp, p + D, 2);
    memcpy(&dq, q + D, 2);
    return _mm256_set_m128i(_mm_set1_epi16((short)dq), _mm_set1_epi16((short)dp));
}

/// Sums come out as groups 0 2 4 6 1 3 5 7 of P, then of Q.
static ALWAYS_INLINE void block(__m512 *chain, const int tokens, const uint8_t *p, const uint8_t *q,
                                const int groups, const struct gemv_x *x, const struct gemv_args *a)
{
    const __m512i order = _mm512_setr_epi32(0, 2, 4, 6, 1, 3, 5, 7, 8, 10, 12, 14, 9, 11, 13, 15);
    struct row wp, wq;
    (void)groups; // rows are whole blocks

    const __m256i sp = unpack(&wp, p), sq = unpack(&wq, q);
    const __m512i s =
        _mm512_permutexvar_epi32(order, _mm512_inserti64x4(_mm512_castsi256_si512(sp), sq, 1));
    const __m512 d = _mm512_cvtph_ps(d_of(p, q));
    UNROLL(4)
    for (int t = 0; t < tokens; t++) {
        const struct gemv_x *xt = x + t * gemv_blocks(a->cols);
        const __m512i half = _mm512_permutexvar_epi32(
            order,
            _mm512_broadcast_i64x4(_mm256_load_si256((const __m256i *)(const void *)xt->half)));
        const __m512i zero = _mm512_slli_epi32(_mm512_madd_epi16(s, half), 5);
        const __m512i sump = scaled(&wp, xt), sumq = scaled(&wq, xt);
        const __m512i sum = _mm512_add_epi32(_mm512_shuffle_i64x2(sump, sumq, 0x88),
                                             _mm512_shuffle_i64x2(sump, sumq, 0xdd));
        chain[t] = _mm512_fmadd_ps(_mm512_mul_ps(d, _mm512_load_ps(xt->d)),
                                   _mm512_cvtepi32_ps(_mm512_sub_epi32(sum, zero)), chain[t]);
    }
}

static void run(const struct gemv_args *a)
{
    gemv_run(a,
             (struct gemv_format){
                 .block = block,
                 .block_bytes = BLOCK,
                 .natural = _mm512_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7, 8, 12, 9, 13, 10, 14, 11, 15),
             });
}

static void prepare(struct gemv_x *dst, struct a8_row x, int64_t cols, int zero)
{
    static const struct gemv_order order = {
        .q = { 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15 },
        .lane_group = { 0, 2, 4, 6, 1, 3, 5, 7, 0, 2, 4, 6, 1, 3, 5, 7 },
    };
    gemv_prepare_avx512(dst, x, cols, zero, &order);
}

const struct gemv gemv_q6_k_avx512 = { .prepare = prepare, .run = run };
