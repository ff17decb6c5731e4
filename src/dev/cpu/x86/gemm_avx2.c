// gemm_avx2.c - tiles of 16 expanded rows times blocks of 4 tokens with AVX2. One lane is one row;
// a tile is two registers wide.
//
// The instruction that multiplies unsigned by signed bytes adds pairs in 16 bits with saturation:
// up to 128 * 127 * 2 fits. Formats with numbers above that have zero = 128: they are multiplied as
// signed numbers, |w| * (q with the sign of w), and need no correction for the zero.

#include <immintrin.h>

#include "dev/cpu/x86/x86.h"

enum { BLOCK = 4, WIDE_ZERO = 128 };

static inline __m256i bcast_i32(const uint8_t *p, int i)
{
    int32_t v;

    __builtin_memcpy(&v, p + 4 * i, sizeof v);
    return _mm256_set1_epi32(v);
}

static inline __m256 bcast_f32(const uint8_t *p, int i)
{
    return _mm256_castsi256_ps(bcast_i32(p, i));
}

static inline __m256i load_i(const uint8_t *p)
{
    return _mm256_load_si256((const __m256i *)(const void *)p);
}

static inline __m256 load_f(const uint8_t *p)
{
    return _mm256_load_ps((const float *)(const void *)p);
}

/// Adds n dwords of k to the integer sums [token][register].
static ALWAYS_INLINE void dot(__m256i (*acc)[2], const uint8_t *w, const uint8_t *q, const int n,
                              const bool wide)
{
    const __m256i ones = _mm256_set1_epi16(1), flip = _mm256_set1_epi8(-128);

    for (int k = 0; k < n; k++) {
        UNROLL(2)
        for (int i = 0; i < 2; i++) {
            const __m256i u = load_i(w + 64 * k + 32 * i), s = _mm256_xor_si256(u, flip);
            const __m256i a = wide ? _mm256_abs_epi8(s) : u;
            UNROLL(4)
            for (int t = 0; t < BLOCK; t++) {
                const __m256i x = bcast_i32(q, k * BLOCK + t);
                const __m256i p = _mm256_maddubs_epi16(a, wide ? _mm256_sign_epi8(x, s) : x);
                acc[t][i] = _mm256_add_epi32(acc[t][i], _mm256_madd_epi16(p, ones));
            }
        }
    }
}

static ALWAYS_INLINE void start(__m256i (*acc)[2], const uint8_t *z, const bool from_zero)
{
    UNROLL(4)
    for (int t = 0; t < BLOCK; t++)
        acc[t][0] = acc[t][1] = from_zero ? _mm256_setzero_si256() : bcast_i32(z, t);
}

static ALWAYS_INLINE void group(__m256 (*chain)[2], const uint8_t *w, const uint8_t *x,
                                const struct gemm_kind k, const bool wide)
{
    const uint8_t *d = x + 32 * BLOCK, *z = d + 4 * BLOCK;
    const uint8_t *m = w + 576, *s = m + (k.has_min ? 128 : 0);
    const int halves = k.sub16 ? 2 : 1;
    __m256i acc[BLOCK][2], sum[BLOCK][2];

    for (int h = 0; h < halves; h++) {
        start(acc, z + 4 * BLOCK * h, k.has_min || wide);
        dot(acc, w + 256 * h, x + 16 * BLOCK * h, 8 / halves, wide);
        for (int t = 0; t < BLOCK; t++) {
            for (int i = 0; i < 2; i++) {
                const __m256i v = k.sub16
                                      ? _mm256_mullo_epi32(acc[t][i], load_i(s + 64 * h + 32 * i))
                                      : acc[t][i];
                sum[t][i] = h == 0 ? v : _mm256_add_epi32(sum[t][i], v);
            }
        }
    }
    for (int t = 0; t < BLOCK; t++) {
        for (int i = 0; i < 2; i++) {
            const __m256 wd = _mm256_mul_ps(load_f(w + 512 + 32 * i), bcast_f32(d, t));
            chain[t][i] = _mm256_fmadd_ps(wd, _mm256_cvtepi32_ps(sum[t][i]), chain[t][i]);
            for (int h = 0; k.has_min && h < halves; h++)
                chain[t][i] = _mm256_fmadd_ps(load_f(m + 64 * h + 32 * i),
                                              bcast_f32(z, h * BLOCK + t), chain[t][i]);
        }
    }
}

static void store(const struct gemm_args *a, const __m256 (*total)[2])
{
    const struct mm_out *o = &a->out;

    for (int t = 0; t < a->n_tokens; t++) {
        float v[MM_ROWS];
        _mm256_storeu_ps(v, total[t][0]);
        _mm256_storeu_ps(v + 8, total[t][1]);
        for (int r = 0; r < a->n_rows; r++) {
            float y = v[r];
            if (o->bias != NULL)
                y = y + o->bias[r];
            if (o->res != NULL)
                y = y + o->res[t * o->stride + r];
            o->y[t * o->stride + r] = y;
        }
    }
}

static ALWAYS_INLINE void tile(const struct gemm_args *a, const struct gemm_kind kind,
                               const bool wide)
{
    const int64_t w_step = gemm_w_bytes(kind), x_step = gemm_x_bytes(kind, BLOCK);
    const uint8_t *w = a->w, *x = a->x;
    __m256 total[BLOCK][2];

    for (int c = 0; c < MM_CHAINS; c++) {
        __m256 chain[BLOCK][2];
        for (int t = 0; t < BLOCK; t++)
            chain[t][0] = chain[t][1] = _mm256_setzero_ps();
        for (int64_t g = c; g < a->n_groups; g += MM_CHAINS, w += w_step, x += x_step)
            group(chain, w, x, kind, wide);
        for (int t = 0; t < BLOCK; t++)
            for (int i = 0; i < 2; i++)
                total[t][i] = c == 0 ? chain[t][i] : _mm256_add_ps(total[t][i], chain[t][i]);
    }
    store(a, (const __m256(*)[2])total);
}

static void run(const struct gemm_args *a)
{
    const struct gemm_kind k = a->kind;

    if (k.sub16 && k.has_min)
        tile(a, (struct gemm_kind){ .sub16 = true, .has_min = true }, false);
    else if (k.sub16)
        tile(a, (struct gemm_kind){ .sub16 = true }, k.zero == WIDE_ZERO);
    else if (k.has_min)
        tile(a, (struct gemm_kind){ .has_min = true }, false);
    else if (k.zero == WIDE_ZERO)
        tile(a, (struct gemm_kind){ 0 }, true);
    else
        tile(a, (struct gemm_kind){ 0 }, false);
}

// --- tiles ------------------------------------------------------------------------------------

/// 16 numbers of each of 8 rows: dword k of row r goes to dst[k][r], of 16 rows.
static inline void transpose_8(uint8_t *dst, const uint8_t *const *row, int64_t at)
{
    __m256i v[4];

    for (int i = 0; i < 4; i++) // two lanes: rows i, i + 4
        v[i] = _mm256_loadu2_m128i((const __m128i *)(const void *)(row[i + 4] + at),
                                   (const __m128i *)(const void *)(row[i] + at));
    const __m256i a = _mm256_unpacklo_epi32(v[0], v[1]), b = _mm256_unpackhi_epi32(v[0], v[1]);
    const __m256i c = _mm256_unpacklo_epi32(v[2], v[3]), d = _mm256_unpackhi_epi32(v[2], v[3]);
    _mm256_store_si256((__m256i *)(void *)dst, _mm256_unpacklo_epi64(a, c));
    _mm256_store_si256((__m256i *)(void *)(dst + 64), _mm256_unpackhi_epi64(a, c));
    _mm256_store_si256((__m256i *)(void *)(dst + 128), _mm256_unpacklo_epi64(b, d));
    _mm256_store_si256((__m256i *)(void *)(dst + 192), _mm256_unpackhi_epi64(b, d));
}

static void numbers(uint8_t *dst, const uint8_t *const *row, int64_t g)
{
    for (int i = 0; i < 4; i++)
        transpose_8(dst + i / 2 * 256 + i % 2 * 32, row + i % 2 * 8, 32 * g + i / 2 * 16);
}

static void interleave(void *dst, const struct expanded *rows, int n_rows, int64_t cols,
                       struct gemm_kind kind)
{
    const int64_t n_groups = cols / 32, step = gemm_w_bytes(kind);
    const int halves = kind.sub16 ? 2 : 1;
    const uint8_t *u[MM_ROWS];
    uint8_t *at = dst;

    for (int r = 0; r < MM_ROWS; r++)
        u[r] = rows->u + (r < n_rows ? r : 0) * cols;
    for (int c = 0; c < MM_CHAINS; c++) {
        for (int64_t g = c; g < n_groups; g += MM_CHAINS, at += step) {
            float *d = (float *)(void *)(at + MM_ROWS * 32), *m = d + MM_ROWS;
            int32_t *s = (int32_t *)(void *)(m + (kind.has_min ? halves * MM_ROWS : 0));

            numbers(at, u, g);
            for (int r = 0; r < MM_ROWS; r++) {
                const int64_t from = (r < n_rows ? r : 0) * n_groups + g;
                d[r] = rows->d[from];
                for (int h = 0; kind.has_min && h < halves; h++)
                    m[h * MM_ROWS + r] = -rows->m[from * halves + h];
                for (int h = 0; kind.sub16 && h < 2; h++)
                    s[h * MM_ROWS + r] = rows->s[from * 2 + h];
            }
        }
    }
}

const struct gemm gemm_avx2 = {
    .block = BLOCK,
    .block_sub16 = BLOCK,
    .pack = gemm_pack_c,
    .interleave = interleave,
    .run = run,
};
