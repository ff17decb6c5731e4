// gemv_q4_k_avx512.c - gemv for Q4_K and Q5_K with AVX-512. The quarters are X = groups 0 2 4 6
// (low halves of bytes), Y = groups 1 3 5 7 (high halves).

#include "dev/cpu/x86/gemv_avx512.h"

/// d * scale and dmin * minimum of both rows in the order of the sums.
static ALWAYS_INLINE void unpack_d_m(struct gemv_pair *o, const uint8_t *p, const uint8_t *q)
{
    const __m128i sp = scale6_bytes(p + 4), sq = scale6_bytes(q + 4);
    const __m128i a = _mm_unpacklo_epi16(sp, sq), b = _mm_unpackhi_epi16(sp, sq);
    const __m512i sc = _mm512_cvtepu8_epi32(_mm_unpacklo_epi64(a, b));
    const __m512i mn = _mm512_cvtepu8_epi32(_mm_unpackhi_epi64(a, b));
    uint32_t dp, dq;

    memcpy(&dp, p, 4);
    memcpy(&dq, q, 4);
    const __m512 dm = _mm512_castps128_ps512(_mm_cvtph_ps(_mm_set_epi32(0, 0, (int)dq, (int)dp)));
    const __m512 d = _mm512_permutexvar_ps(
        _mm512_setr_epi32(0, 0, 2, 2, 0, 0, 2, 2, 0, 0, 2, 2, 0, 0, 2, 2), dm);
    const __m512 m = _mm512_permutexvar_ps(
        _mm512_setr_epi32(1, 1, 3, 3, 1, 1, 3, 3, 1, 1, 3, 3, 1, 1, 3, 3), dm);
    o->d = _mm512_mul_ps(d, _mm512_cvtepi32_ps(sc));
    o->m = _mm512_mul_ps(m, _mm512_cvtepi32_ps(mn));
}

/// Shifts that bring bit `bit` + 2 * lane of every byte to bit 4.
#define FIFTH(bit, lane) ((bit) + 2 * (lane) + 60) % 64
#define FIFTH_8(bit, lane)                                                                         \
    FIFTH(bit, lane), FIFTH((bit) + 8, lane), FIFTH((bit) + 16, lane), FIFTH((bit) + 24, lane),    \
        FIFTH((bit) + 32, lane), FIFTH((bit) + 40, lane), FIFTH((bit) + 48, lane),                 \
        FIFTH((bit) + 56, lane)
#define FIFTHS(bit)                                                                                \
    {                                                                                              \
        FIFTH_8(bit, 0), FIFTH_8(bit, 0), FIFTH_8(bit, 1), FIFTH_8(bit, 1), FIFTH_8(bit, 2),       \
            FIFTH_8(bit, 2), FIFTH_8(bit, 3), FIFTH_8(bit, 3)                                      \
    }
static const uint8_t fifths[2][64] = { FIFTHS(0), FIFTHS(1) };

/// `qh`: 32 bytes of fifth bits, or NULL.
static ALWAYS_INLINE void unpack_row(__m512i *u, const uint8_t *qs, const uint8_t *qh)
{
    const __m512i low = _mm512_set1_epi8(15), fifth = _mm512_set1_epi8(16);
    const __m512i a = _mm512_loadu_si512(qs), b = _mm512_loadu_si512(qs + 64);

    for (int h = 0; h < 2; h++) { // numbers 0-15, 16-31 of every group
        const __m512i v =
            h == 0 ? _mm512_shuffle_i64x2(a, b, 0x88) : _mm512_shuffle_i64x2(a, b, 0xdd);
        u[h] = _mm512_and_si512(v, low);
        u[2 + h] = _mm512_and_si512(_mm512_srli_epi16(v, 4), low);
        if (qh == NULL)
            continue;
        const __m512i bits =
            _mm512_broadcast_i32x4(_mm_loadu_si128((const __m128i *)(const void *)(qh + 16 * h)));
        for (int k = 0; k < 2; k++) {
            const __m512i x = _mm512_multishift_epi64_epi8(_mm512_loadu_si512(fifths[k]), bits);
            u[2 * k + h] =
                _mm512_ternarylogic_epi32(x, fifth, u[2 * k + h], 0xea); // (x & fifth) | u
        }
    }
}

static ALWAYS_INLINE void block_q4_k(__m512 *chain, const int tokens, const uint8_t *p,
                                     const uint8_t *q, const int groups, const struct gemv_x *x,
                                     const struct gemv_args *a)
{
    struct gemv_pair w;
    (void)groups; // rows are whole blocks

    unpack_row(w.p, p + 16, NULL);
    unpack_row(w.q, q + 16, NULL);
    unpack_d_m(&w, p, q);
    gemv_steps(chain, tokens, &w, x, a, GEMV_QUARTERS_4, -1);
}

static ALWAYS_INLINE void block_q5_k(__m512 *chain, const int tokens, const uint8_t *p,
                                     const uint8_t *q, const int groups, const struct gemv_x *x,
                                     const struct gemv_args *a)
{
    struct gemv_pair w;
    (void)groups; // rows are whole blocks

    unpack_row(w.p, p + 48, p + 16);
    unpack_row(w.q, q + 48, q + 16);
    unpack_d_m(&w, p, q);
    gemv_steps(chain, tokens, &w, x, a, GEMV_QUARTERS_5, -1);
}

static ALWAYS_INLINE void run(const struct gemv_args *a, gemv_block *block, int block_bytes)
{
    gemv_run(a,
             (struct gemv_format){
                 .block = block,
                 .block_bytes = block_bytes,
                 .natural = _mm512_setr_epi32(0, 1, 4, 5, 8, 9, 12, 13, 2, 3, 6, 7, 10, 11, 14, 15),
             });
}

static void run_q4_k(const struct gemv_args *a)
{
    run(a, block_q4_k, 144);
}

static void run_q5_k(const struct gemv_args *a)
{
    run(a, block_q5_k, 176);
}

static void prepare(struct gemv_x *dst, struct a8_row x, int64_t cols, int zero)
{
    gemv_prepare_avx512(dst, x, cols, zero, &gemv_order_adjacent);
}

const struct gemv gemv_q4_k_avx512 = { .prepare = prepare, .run = run_q4_k };
const struct gemv gemv_q5_k_avx512 = { .prepare = prepare, .run = run_q5_k };
