// dots_avx512.c - products of float weights with AVX-512: the 16 chains are a register. 4 rows by 4
// tokens at a time.

#include <immintrin.h>

#include "dev/cpu/x86/x86.h"

enum { ROWS = 4, TOKENS = 4, AHEAD = 16384 }; // bytes, see gemv_avx512.h

/// 16 weights from the i-th on; `m`: those that are there.
static ALWAYS_INLINE __m512 load(const uint8_t *w, int64_t i, const __mmask16 m,
                                 const enum dtype type)
{
    if (type == DTYPE_F32)
        return _mm512_maskz_loadu_ps(m, w + 4 * i);
    const __m256i h = _mm256_maskz_loadu_epi16(m, w + 2 * i);
    return type == DTYPE_F16 ? _mm512_cvtph_ps(h)
                             : _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(h), 16));
}

static ALWAYS_INLINE void step(__m512 (*chain)[TOKENS], const uint8_t *w, int64_t row_bytes,
                               const float *x, int64_t cols, int64_t i, const int rows,
                               const int tokens, const __mmask16 m, const enum dtype type)
{
    __m512 xs[TOKENS];

    UNROLL(4)
    for (int t = 0; t < tokens; t++)
        xs[t] = _mm512_maskz_loadu_ps(m, x + t * cols + i);
    UNROLL(4)
    for (int r = 0; r < rows; r++) {
        const __m512 v = load(w + r * row_bytes, i, m, type);
        UNROLL(4)
        for (int t = 0; t < tokens; t++)
            chain[r][t] = _mm512_mask3_fmadd_ps(v, xs[t], chain[r][t], m);
    }
}

/// y of 4 rows and one token: each row's 16 chains added in order.
static ALWAYS_INLINE __m128 sum_4(const __m512 *chain)
{
    const __m512 a = _mm512_unpacklo_ps(chain[0], chain[1]),
                 b = _mm512_unpackhi_ps(chain[0], chain[1]);
    const __m512 c = _mm512_unpacklo_ps(chain[2], chain[3]),
                 d = _mm512_unpackhi_ps(chain[2], chain[3]);
    // The i-th lane of v[j] is chain 4 i + j of the four rows.
    const __m512 v[4] = { _mm512_shuffle_ps(a, c, 0x44), _mm512_shuffle_ps(a, c, 0xee),
                          _mm512_shuffle_ps(b, d, 0x44), _mm512_shuffle_ps(b, d, 0xee) };
    __m128 y = _mm512_castps512_ps128(v[0]);

    for (int j = 1; j < 4; j++)
        y = _mm_add_ps(y, _mm512_castps512_ps128(v[j]));
    for (int j = 0; j < 4; j++)
        y = _mm_add_ps(y, _mm512_extractf32x4_ps(v[j], 1));
    for (int j = 0; j < 4; j++)
        y = _mm_add_ps(y, _mm512_extractf32x4_ps(v[j], 2));
    for (int j = 0; j < 4; j++)
        y = _mm_add_ps(y, _mm512_extractf32x4_ps(v[j], 3));
    return y;
}

static ALWAYS_INLINE void tile(const struct dots_args *a, int64_t row, int64_t token,
                               const int rows, const int tokens, const enum dtype type)
{
    const int size = type == DTYPE_F32 ? 4 : 2;
    const int64_t row_bytes = a->cols * size, whole = a->cols / 16 * 16;
    const uint8_t *w = a->w + row * row_bytes;
    const float *x = a->x + token * a->cols;
    __m512 chain[ROWS][TOKENS];

    UNROLL(4)
    for (int r = 0; r < ROWS; r++)
        UNROLL(4)
    for (int t = 0; t < tokens; t++)
        chain[r][t] = _mm512_setzero_ps();
    for (int64_t i = 0; i < whole; i += 16) {
        for (int k = 0; token == 0 && k < rows * size * 16; k += 64)
            _mm_prefetch((const char *)w + AHEAD + i * rows * size + k, _MM_HINT_T1);
        step(chain, w, row_bytes, x, a->cols, i, rows, tokens, 0xffff, type);
    }
    if (whole < a->cols)
        step(chain, w, row_bytes, x, a->cols, whole, rows, tokens,
             (__mmask16)((1u << (a->cols - whole)) - 1), type);

    const __mmask8 m = (__mmask8)((1u << rows) - 1);
    UNROLL(4)
    for (int t = 0; t < tokens; t++) {
        const __m512 c[4] = { chain[0][t], chain[1][t], chain[2][t], chain[3][t] };
        const int64_t at = (token + t) * a->out.stride + row;
        __m128 y = sum_4(c);
        if (a->out.bias != NULL)
            y = _mm_add_ps(y, _mm_maskz_loadu_ps(m, a->out.bias + row));
        if (a->out.res != NULL)
            y = _mm_add_ps(y, _mm_maskz_loadu_ps(m, a->out.res + at));
        _mm_mask_storeu_ps(a->out.y + at, m, y);
    }
}

static ALWAYS_INLINE void tokens_of(const struct dots_args *a, int64_t row, const int rows,
                                    const enum dtype type)
{
    int64_t t = 0;

    for (; t + 4 <= a->n_tokens; t += 4)
        tile(a, row, t, rows, 4, type);
    for (; t < a->n_tokens; t++)
        tile(a, row, t, rows, 1, type);
}

static ALWAYS_INLINE void all(const struct dots_args *a, const enum dtype type)
{
    int64_t r = 0;

    for (; r + 4 <= a->n_rows; r += 4)
        tokens_of(a, r, 4, type);
    for (; r < a->n_rows; r++)
        tokens_of(a, r, 1, type);
}

void dots_avx512(const struct dots_args *a)
{
    if (a->type == DTYPE_F32)
        all(a, DTYPE_F32);
    else if (a->type == DTYPE_F16)
        all(a, DTYPE_F16);
    else
        all(a, DTYPE_BF16);
}
