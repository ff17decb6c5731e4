// gemv_expand_avx2.c - gemv for any quantized format: 256 numbers of a row at a time are expanded,
// then multiplied with AVX2. Chains are the lanes of a register, in order.

#include <immintrin.h>
#include <string.h>

#include "dev/cpu/x86/x86.h"

struct block {
    _Alignas(32) uint8_t u[256];
    float d[8], m[16];
    int8_t s[16];
};

static inline __m256i load(const void *p)
{
    return _mm256_loadu_si256((const __m256i *)p);
}

/// Eight sums of four: of the first, then of the second halves of four groups (gemm_avx2.c on
/// `wide`).
static ALWAYS_INLINE __m256i dot_4(const uint8_t *u, const int8_t *q, const bool wide)
{
    const __m256i flip = _mm256_set1_epi8(-128);
    __m256i v[4];

    for (int g = 0; g < 4; g++) {
        const __m256i w = load(u + 32 * g), x = load(q + 32 * g), s = _mm256_xor_si256(w, flip);
        const __m256i p = wide ? _mm256_maddubs_epi16(_mm256_abs_epi8(s), _mm256_sign_epi8(x, s))
                               : _mm256_maddubs_epi16(w, x);
        v[g] = _mm256_madd_epi16(p, _mm256_set1_epi16(1));
    }
    return _mm256_hadd_epi32(_mm256_hadd_epi32(v[0], v[1]), _mm256_hadd_epi32(v[2], v[3]));
}

/// Every second of 16 floats, from the h-th on.
static ALWAYS_INLINE __m256 every_second(const float *p, const int h)
{
    const __m256 a = _mm256_loadu_ps(p), b = _mm256_loadu_ps(p + 8);
    const __m256 v = h == 0 ? _mm256_shuffle_ps(a, b, 0x88) : _mm256_shuffle_ps(a, b, 0xdd);
    return _mm256_castpd_ps(_mm256_permute4x64_pd(_mm256_castps_pd(v), 0xd8));
}

static ALWAYS_INLINE __m256 step(__m256 chain, const struct block *b, const struct gemv_x *x,
                                 const struct dtype_info *type)
{
    const bool wide = type->zero == 128;
    const __m256i lo = wide ? dot_4(b->u, x->q, true) : dot_4(b->u, x->q, false);
    const __m256i hi =
        wide ? dot_4(b->u + 128, x->q + 128, true) : dot_4(b->u + 128, x->q + 128, false);
    __m256i half[2] = { _mm256_permute2x128_si256(lo, hi, 0x20),
                        _mm256_permute2x128_si256(lo, hi, 0x31) };
    const __m256i sum = load(x->half); // a pair of 16 bits a group
    const __m256i sums[2] = { _mm256_srai_epi32(_mm256_slli_epi32(sum, 16), 16),
                              _mm256_srai_epi32(sum, 16) };
    const __m256 d = _mm256_load_ps(x->d);
    __m256i isum;

    if (type->sub16) {
        const __m256i s =
            _mm256_cvtepi8_epi16(_mm_loadu_si128((const __m128i *)(const void *)b->s));
        const __m256i scale[2] = { _mm256_srai_epi32(_mm256_slli_epi32(s, 16), 16),
                                   _mm256_srai_epi32(s, 16) };
        for (int h = 0; h < 2; h++) {
            if (!wide)
                half[h] = _mm256_sub_epi32(
                    half[h], _mm256_mullo_epi32(sums[h], _mm256_set1_epi32(type->zero)));
            half[h] = _mm256_mullo_epi32(half[h], scale[h]);
        }
        isum = _mm256_add_epi32(half[0], half[1]);
    } else {
        isum = _mm256_add_epi32(half[0], half[1]);
        if (!wide)
            isum = _mm256_add_epi32(isum, load(x->zero));
    }
    chain =
        _mm256_fmadd_ps(_mm256_mul_ps(_mm256_loadu_ps(b->d), d), _mm256_cvtepi32_ps(isum), chain);
    if (type->has_min && !type->sub16)
        chain = _mm256_fnmadd_ps(_mm256_loadu_ps(b->m), _mm256_load_ps(x->s), chain);
    for (int h = 0; type->has_min && type->sub16 && h < 2; h++)
        chain = _mm256_fnmadd_ps(every_second(b->m, h),
                                 _mm256_mul_ps(d, _mm256_cvtepi32_ps(sums[h])), chain);
    return chain;
}

static void put(const struct mm_out *o, int64_t t, int64_t row, __m256 chain)
{
    const int64_t at = t * o->stride + row;
    float c[MM_CHAINS];

    _mm256_storeu_ps(c, chain);
    float y = ((((((c[0] + c[1]) + c[2]) + c[3]) + c[4]) + c[5]) + c[6]) + c[7];
    if (o->bias != NULL)
        y = y + o->bias[row];
    if (o->res != NULL)
        y = y + o->res[at];
    o->y[at] = y;
}

static void run(const struct gemv_args *a)
{
    const int64_t n_blocks = gemv_blocks(a->cols);
    const int64_t block_bytes = 256 / a->type->block * a->type->block_bytes;
    struct block b;

    for (int64_t row = 0; row < a->n_rows; row++) {
        const uint8_t *w = a->w + row * a->w_bytes;
        __m256 chain[MM_GEMV_TOKENS] = { _mm256_setzero_ps(), _mm256_setzero_ps(),
                                         _mm256_setzero_ps(), _mm256_setzero_ps() };
        for (int64_t i = 0; i < n_blocks; i++, w += block_bytes) {
            const int64_t n = a->cols - 256 * i < 256 ? a->cols - 256 * i : 256;
            if (n < 256)
                memset(&b, 0, sizeof b);
            a->expand(&(struct expanded){ .u = b.u, .d = b.d, .m = b.m, .s = b.s }, w, n);
            for (int t = 0; t < a->n_tokens; t++)
                chain[t] = step(chain[t], &b, a->x + t * n_blocks + i, a->type);
        }
        for (int t = 0; t < a->n_tokens; t++)
            put(&a->out, t, row, chain[t]);
    }
}

/// Everything in natural order.
static void prepare(struct gemv_x *dst, struct a8_row x, int64_t cols, int zero)
{
    for (int64_t at = 0; at < cols; at += 256, dst++) {
        const int64_t n = cols - at < 256 ? cols - at : 256;

        memset(dst, 0, sizeof *dst);
        memcpy(dst->q, x.q + at, (size_t)n);
        for (int64_t g = 0; g < n / 32; g++) {
            const int32_t *sum = x.sum + at / 16 + 2 * g;
            dst->d[g] = x.d[at / 32 + g];
            dst->s[g] = x.s[at / 32 + g];
            dst->zero[g] = -zero * (sum[0] + sum[1]);
            dst->half[2 * g] = (int16_t)sum[0];
            dst->half[2 * g + 1] = (int16_t)sum[1];
        }
    }
}

const struct gemv gemv_expand_avx2 = { .prepare = prepare, .run = run };
