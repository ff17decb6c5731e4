// gemv_avx512.h - the part that all AVX-512 gemv share: rows go in pairs, their 8 + 8 chains in one
// register.
//
// Most formats unpack 256 numbers of the rows P and Q to four registers of bytes each and the
// scales. There are two shapes, by what the four 128-bit lanes of a register hold:
//
//   QUARTERS  u[0], u[1]: the two halves of groups X0 X1 X2 X3;  u[2], u[3]: of Y0 Y1 Y2 Y3.
//             Sums come out as (PX0 PY0 QX0 QY0) (PX1 PY1 QX1 QY1) ...
//   PAIRS     u[j]: the groups j and j + 4, whole. Sums come out as P0 .. P7 Q0 .. Q7
//
// x.q holds the activations of u[0] .. u[3] in that order, x.d, x.s and x.zero are in the order of
// the sums.

#ifndef SNUG_CPU_GEMV_AVX512_H
#define SNUG_CPU_GEMV_AVX512_H

#include <immintrin.h>
#include <string.h>

#include "dev/cpu/matmul.h"
#include "dev/cpu/x86/x86.h"

struct gemv_pair {
    __m512i p[4], q[4];
    __m512 d, m;
};

/// Two rows at once are no stream that a cache foresees. Both are asked for in the order of memory,
/// to be in the second level so many bytes ahead: the first cannot wait for as much at once.
enum { GEMV_AHEAD = 16384 };
static ALWAYS_INLINE void gemv_ask(const uint8_t *p, int bytes)
{
    for (int i = 0; i < bytes; i += 64)
        _mm_prefetch((const char *)p + i, _MM_HINT_T1);
}

/// QUARTERS of numbers of at most 4 or 5 bits: sums of 8 products fit 16 bits (31 * 127 * 8), with
/// 4 bits sums of 16 do, which saves steps when they are added up.
enum gemv_shape { GEMV_QUARTERS, GEMV_QUARTERS_4, GEMV_QUARTERS_5, GEMV_PAIRS };

/// 256 numbers of both rows times those of `tokens` tokens, from x and the same place in the next
/// ones. `groups`: how many of the 8 are there (fewer at a row's end); the others come out as 0.
typedef void gemv_block(__m512 *chain, int tokens, const uint8_t *p, const uint8_t *q, int groups,
                        const struct gemv_x *x, const struct gemv_args *a);

struct gemv_format {
    gemv_block *block;
    int block_bytes; // of 256 numbers
    __m512i natural; // lanes of the chains P0 .. P7 Q0 .. Q7
};

static ALWAYS_INLINE __m512i dot4(const __m512i *u, const __m512i *x)
{
    return _mm512_dpbusd_epi32(_mm512_dpbusd_epi32(_mm512_setzero_si512(), u[0], x[0]), u[1], x[1]);
}

static ALWAYS_INLINE __m512i add_halves_32(__m512i a, __m512i b)
{
    return _mm512_add_epi32(_mm512_unpacklo_epi32(a, b), _mm512_unpackhi_epi32(a, b));
}

static ALWAYS_INLINE __m512i add_halves_64(__m512i a, __m512i b)
{
    return _mm512_add_epi32(_mm512_unpacklo_epi64(a, b), _mm512_unpackhi_epi64(a, b));
}

/// In each lane: a0 + a1, a2 + a3, b0 + b1, b2 + b3.
static ALWAYS_INLINE __m512i add_pairs_32(__m512i a, __m512i b)
{
    const __m512 x = _mm512_castsi512_ps(a), y = _mm512_castsi512_ps(b);
    return _mm512_add_epi32(_mm512_castps_si512(_mm512_shuffle_ps(x, y, 0x88)),
                            _mm512_castps_si512(_mm512_shuffle_ps(x, y, 0xdd)));
}

static ALWAYS_INLINE __m512i dot1(__m512i u, __m512i x)
{
    return _mm512_dpbusd_epi32(_mm512_setzero_si512(), u, x);
}

/// Lanes: even groups' halves and odd groups' halves of a row in PAIRS.
static ALWAYS_INLINE __m512i dot_pairs(const __m512i *u, const __m512i *x)
{
    return add_halves_64(add_halves_32(dot1(u[0], x[0]), dot1(u[1], x[1])),
                         add_halves_32(dot1(u[2], x[2]), dot1(u[3], x[3])));
}

static ALWAYS_INLINE __m512i isums(const struct gemv_pair *w, const struct gemv_x *x,
                                   const enum gemv_shape shape)
{
    const __m512i q[4] = { _mm512_load_si512(x->q), _mm512_load_si512(x->q + 64),
                           _mm512_load_si512(x->q + 128), _mm512_load_si512(x->q + 192) };

    if (shape == GEMV_QUARTERS_4 || shape == GEMV_QUARTERS_5) {
        const __m512i ones = _mm512_set1_epi16(1);
        const __m512i p =
            _mm512_madd_epi16(_mm512_packs_epi32(dot4(w->p, q), dot4(w->p + 2, q + 2)), ones);
        const __m512i r =
            _mm512_madd_epi16(_mm512_packs_epi32(dot4(w->q, q), dot4(w->q + 2, q + 2)), ones);
        if (shape == GEMV_QUARTERS_4)
            return _mm512_madd_epi16(_mm512_packs_epi32(p, r), ones);
        return add_pairs_32(p, r);
    }
    if (shape == GEMV_QUARTERS)
        return add_halves_64(add_halves_32(dot4(w->p, q), dot4(w->p + 2, q + 2)),
                             add_halves_32(dot4(w->q, q), dot4(w->q + 2, q + 2)));
    const __m512i p = dot_pairs(w->p, q), r = dot_pairs(w->q, q);
    return _mm512_add_epi32(_mm512_shuffle_i64x2(p, r, 0x88), _mm512_shuffle_i64x2(p, r, 0xdd));
}

/// One token. Min: m is subtracted (-1), added (1), or not there.
static ALWAYS_INLINE __m512 gemv_step(__m512 chain, const struct gemv_pair *w,
                                      const struct gemv_x *x, const enum gemv_shape shape,
                                      const int min)
{
    __m512i sum = isums(w, x, shape);

    if (min == 0)
        sum = _mm512_add_epi32(sum, _mm512_load_si512(x->zero));
    chain =
        _mm512_fmadd_ps(_mm512_mul_ps(w->d, _mm512_load_ps(x->d)), _mm512_cvtepi32_ps(sum), chain);
    if (min == 0)
        return chain;
    return min < 0 ? _mm512_fnmadd_ps(w->m, _mm512_load_ps(x->s), chain)
                   : _mm512_fmadd_ps(w->m, _mm512_load_ps(x->s), chain);
}

static ALWAYS_INLINE void gemv_steps(__m512 *chain, const int tokens, const struct gemv_pair *w,
                                     const struct gemv_x *x, const struct gemv_args *a,
                                     const enum gemv_shape shape, const int min)
{
    UNROLL(4)
    for (int t = 0; t < tokens; t++)
        chain[t] = gemv_step(chain[t], w, x + t * gemv_blocks(a->cols), shape, min);
}

/// y[r] = sum of the 8 chains in order, for 8 rows of one token: pairs[i] holds those of rows 2 i
/// and 2 i + 1. `n` of them have a result.
static inline void gemv_flush(const float (*pairs)[2 * MM_CHAINS], const struct mm_out *o,
                              int64_t at, int64_t row, int n)
{
    const __mmask8 rows = (__mmask8)((1u << n) - 1);
    const __m512 v[4] = { _mm512_load_ps(pairs[0]), _mm512_load_ps(pairs[1]),
                          _mm512_load_ps(pairs[2]), _mm512_load_ps(pairs[3]) };
    const __m512 a = _mm512_unpacklo_ps(v[0], v[1]), b = _mm512_unpackhi_ps(v[0], v[1]);
    const __m512 c = _mm512_unpacklo_ps(v[2], v[3]), d = _mm512_unpackhi_ps(v[2], v[3]);
    // w[k], four lanes: chain k, chain k + 4 of the even rows; then of the odd ones.
    const __m512 w[4] = { _mm512_shuffle_ps(a, c, 0x44), _mm512_shuffle_ps(a, c, 0xee),
                          _mm512_shuffle_ps(b, d, 0x44), _mm512_shuffle_ps(b, d, 0xee) };
    __m512 sum = _mm512_add_ps(_mm512_add_ps(_mm512_add_ps(w[0], w[1]), w[2]), w[3]);
    sum = _mm512_shuffle_f32x4(sum, sum, 0xa0); // even lanes to odd ones
    for (int k = 0; k < 4; k++)
        sum = _mm512_add_ps(sum, w[k]);
    const __m512i in_order = _mm512_setr_epi32(4, 12, 5, 13, 6, 14, 7, 15, 0, 0, 0, 0, 0, 0, 0, 0);
    __m256 y = _mm512_castps512_ps256(_mm512_permutexvar_ps(in_order, sum));
    if (o->bias != NULL)
        y = _mm256_add_ps(y, _mm256_maskz_loadu_ps(rows, o->bias + row));
    if (o->res != NULL)
        y = _mm256_add_ps(y, _mm256_maskz_loadu_ps(rows, o->res + at));
    _mm256_mask_storeu_ps(o->y + at, rows, y);
}

/// All rows for `tokens` tokens, a constant.
static ALWAYS_INLINE void gemv_tokens(const struct gemv_args *a, const struct gemv_format *f,
                                      const int tokens)
{
    const int64_t n_full = a->cols / 256;
    const int rest = (int)(a->cols % 256 / 32), rest_bytes = rest * f->block_bytes / 4;
    _Alignas(64) float chains[MM_GEMV_TOKENS][4][2 * MM_CHAINS];

    for (int64_t row = 0; row < a->n_rows; row += 8) {
        const int n = a->n_rows - row < 8 ? (int)(a->n_rows - row) : 8;
        for (int r = 0; r < n; r += 2) {
            const uint8_t *p = a->w + (row + r) * a->w_bytes, *q = r + 1 < n ? p + a->w_bytes : p;
            __m512 chain[MM_GEMV_TOKENS];

            UNROLL(4)
            for (int t = 0; t < tokens; t++)
                chain[t] = _mm512_setzero_ps();
            const uint8_t *ahead = p + GEMV_AHEAD;
            for (int64_t b = 0; b < n_full; b++, p += f->block_bytes, q += f->block_bytes) {
                gemv_ask(ahead, 2 * f->block_bytes);
                ahead += 2 * f->block_bytes;
                f->block(chain, tokens, p, q, 8, a->x + b, a);
            }
            if (rest != 0) {
                gemv_ask(ahead, rest_bytes);
                f->block(chain, tokens, p, q, rest, a->x + n_full, a);
            }
            UNROLL(4)
            for (int t = 0; t < tokens; t++)
                _mm512_store_ps(chains[t][r / 2], _mm512_permutexvar_ps(f->natural, chain[t]));
        }
        for (int t = 0; t < tokens; t++)
            gemv_flush((const float(*)[2 * MM_CHAINS]) chains[t], &a->out, t * a->out.stride + row,
                       row, n);
    }
}

static ALWAYS_INLINE void gemv_run(const struct gemv_args *a, const struct gemv_format f)
{
    switch (a->n_tokens) {
    case 1:
        gemv_tokens(a, &f, 1);
        break;
    case 2:
        gemv_tokens(a, &f, 2);
        break;
    case 3:
        gemv_tokens(a, &f, 3);
        break;
    default:
        gemv_tokens(a, &f, 4);
    }
}

// --- preparing activations
// --------------------------------------------------------------------------

/// Where 256 numbers of natural order go: 16 at a time, and the group of each lane of P.
struct gemv_order {
    uint8_t q[16]; // which 16 numbers are the i-th in x.q
    uint8_t lane_group[16];
};

extern const struct gemv_order gemv_order_pairs;    // of GEMV_PAIRS
extern const struct gemv_order gemv_order_adjacent; // X = groups 0 2 4 6, Y = groups 1 3 5 7

void gemv_prepare_avx512(struct gemv_x *dst, struct a8_row x, int64_t cols, int zero,
                         const struct gemv_order *o);

#endif
