// dots_avx2.c - products of float weights with AVX2: the 16 chains are two registers. 2 rows by 2
// tokens at a time.

#include <immintrin.h>

#include "dev/cpu/x86/x86.h"

/// 8 weights from the i-th on.
static ALWAYS_INLINE __m256 load(const uint8_t *w, int64_t i, const enum dtype type)
{
    if (type == DTYPE_F32)
        return _mm256_loadu_ps((const float *)(const void *)(w + 4 * i));
    const __m128i h = _mm_loadu_si128((const __m128i *)(const void *)(w + 2 * i));
    return type == DTYPE_F16 ? _mm256_cvtph_ps(h)
                             : _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(h), 16));
}

static ALWAYS_INLINE float load_1(const uint8_t *w, int64_t i, const enum dtype type)
{
    uint16_t h;
    float f;

    if (type == DTYPE_F32) {
        memcpy(&f, w + 4 * i, sizeof f);
        return f;
    }
    memcpy(&h, w + 2 * i, sizeof h);
    return type == DTYPE_F16 ? _cvtsh_ss(h) : bf16_to_f32(h);
}

static ALWAYS_INLINE void tile(const struct dots_args *a, int64_t row, int64_t token,
                               const int rows, const int tokens, const enum dtype type)
{
    const int64_t row_bytes = a->cols * (type == DTYPE_F32 ? 4 : 2), whole = a->cols / 16 * 16;
    const uint8_t *w = a->w + row * row_bytes;
    const float *x = a->x + token * a->cols;
    __m256 chain[2][2][2];

    UNROLL(2)
    for (int r = 0; r < rows; r++)
        for (int t = 0; t < tokens; t++)
            chain[r][t][0] = chain[r][t][1] = _mm256_setzero_ps();
    for (int64_t i = 0; i < whole; i += 16) {
        UNROLL(2)
        for (int h = 0; h < 2; h++) {
            UNROLL(2)
            for (int r = 0; r < rows; r++) {
                const __m256 v = load(w + r * row_bytes, i + 8 * h, type);
                UNROLL(2)
                for (int t = 0; t < tokens; t++)
                    chain[r][t][h] = _mm256_fmadd_ps(
                        v, _mm256_loadu_ps(x + t * a->cols + i + 8 * h), chain[r][t][h]);
            }
        }
    }
    for (int r = 0; r < rows; r++) {
        for (int t = 0; t < tokens; t++) {
            const int64_t at = (token + t) * a->out.stride + row + r;
            float c[MM_FLOAT_CHAINS];
            _mm256_storeu_ps(c, chain[r][t][0]);
            _mm256_storeu_ps(c + 8, chain[r][t][1]);
            for (int64_t i = whole; i < a->cols; i++)
                c[i - whole] = _mm_cvtss_f32(
                    _mm_fmadd_ss(_mm_set_ss(load_1(w + r * row_bytes, i, type)),
                                 _mm_set_ss(x[t * a->cols + i]), _mm_set_ss(c[i - whole])));
            float y = c[0];
            for (int i = 1; i < MM_FLOAT_CHAINS; i++)
                y = y + c[i];
            if (a->out.bias != NULL)
                y = y + a->out.bias[row + r];
            if (a->out.res != NULL)
                y = y + a->out.res[at];
            a->out.y[at] = y;
        }
    }
}

static ALWAYS_INLINE void tokens_of(const struct dots_args *a, int64_t row, const int rows,
                                    const enum dtype type)
{
    int64_t t = 0;

    for (; t + 2 <= a->n_tokens; t += 2)
        tile(a, row, t, rows, 2, type);
    if (t < a->n_tokens)
        tile(a, row, t, rows, 1, type);
}

static ALWAYS_INLINE void all(const struct dots_args *a, const enum dtype type)
{
    int64_t r = 0;

    for (; r + 2 <= a->n_rows; r += 2)
        tokens_of(a, r, 2, type);
    if (r < a->n_rows)
        tokens_of(a, r, 1, type);
}

void dots_avx2(const struct dots_args *a)
{
    if (a->type == DTYPE_F32)
        all(a, DTYPE_F32);
    else if (a->type == DTYPE_F16)
        all(a, DTYPE_F16);
    else
        all(a, DTYPE_BF16);
}
