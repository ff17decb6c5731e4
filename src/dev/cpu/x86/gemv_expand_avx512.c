// gemv_expand_avx512.c - gemv for any quantized format: 256 numbers at a time are expanded, then
// multiplied with AVX-512.

#include "dev/cpu/x86/gemv_avx512.h"

struct block {
    _Alignas(64) uint8_t u[256];
    float d[8], m[16];
    int8_t s[16];
};

static inline void expand(struct block *b, const uint8_t *p, int groups, const struct gemv_args *a)
{
    if (groups < 8)
        memset(b, 0, sizeof *b);
    a->expand(&(struct expanded){ .u = b->u, .d = b->d, .m = b->m, .s = b->s }, p, 32 * groups);
}

static ALWAYS_INLINE void load(__m512i *u, const struct block *b)
{
    for (int j = 0; j < 4; j++) {
        const __m256i low = _mm256_load_si256((const __m256i *)(const void *)(b->u + 32 * j));
        const __m256i high =
            _mm256_load_si256((const __m256i *)(const void *)(b->u + 32 * (j + 4)));
        u[j] = _mm512_inserti64x4(_mm512_castsi256_si512(low), high, 1);
    }
}

static ALWAYS_INLINE __m512 pair_of(const float *p, const float *q)
{
    return _mm512_insertf32x8(_mm512_castps256_ps512(_mm256_loadu_ps(p)), _mm256_loadu_ps(q), 1);
}

/// Half sums as dot_pairs leaves them: first halves of groups 0-3, second halves, then of groups
/// 4-7.
static ALWAYS_INLINE __m512i halves(__m512i natural)
{
    return _mm512_permutexvar_epi32(
        _mm512_setr_epi32(0, 2, 4, 6, 1, 3, 5, 7, 8, 10, 12, 14, 9, 11, 13, 15), natural);
}

static ALWAYS_INLINE __m512i scaled_halves(const __m512i *u, const struct block *b,
                                           const struct gemv_x *x, const __m512i *q, int zero)
{
    const __m128i s8 = _mm_loadu_si128((const __m128i *)(const void *)b->s);
    const __m512i s = halves(_mm512_cvtepi8_epi32(s8));
    const __m512i sum =
        halves(_mm512_cvtepi16_epi32(_mm256_load_si256((const __m256i *)(const void *)x->half)));
    const __m512i zeros = _mm512_mullo_epi32(sum, _mm512_set1_epi32(-zero));
    return _mm512_mullo_epi32(_mm512_add_epi32(dot_pairs(u, q), zeros), s);
}

static ALWAYS_INLINE __m512 step_sub16(__m512 chain, const struct gemv_pair *w,
                                       const struct block *b, const struct gemv_x *x,
                                       const struct dtype_info *type)
{
    const __m512i q[4] = { _mm512_load_si512(x->q), _mm512_load_si512(x->q + 64),
                           _mm512_load_si512(x->q + 128), _mm512_load_si512(x->q + 192) };
    const __m512i hp = scaled_halves(w->p, &b[0], x, q, type->zero);
    const __m512i hq = scaled_halves(w->q, &b[1], x, q, type->zero);
    const __m512i sum =
        _mm512_add_epi32(_mm512_shuffle_i64x2(hp, hq, 0x88), _mm512_shuffle_i64x2(hp, hq, 0xdd));
    const __m512 d = _mm512_load_ps(x->d);

    chain = _mm512_fmadd_ps(_mm512_mul_ps(w->d, d), _mm512_cvtepi32_ps(sum), chain);
    if (!type->has_min)
        return chain;
    const __m512 half = _mm512_cvtepi32_ps(
        _mm512_cvtepi16_epi32(_mm256_load_si256((const __m256i *)(const void *)x->half)));
    const __m512 mp = _mm512_loadu_ps(b[0].m), mq = _mm512_loadu_ps(b[1].m);
    for (int h = 0; h < 2; h++) { // the h-th of each group, for P and Q
        const __m512i at =
            _mm512_add_epi32(_mm512_set1_epi32(h), _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16,
                                                                     18, 20, 22, 24, 26, 28, 30));
        const __m512 sums = _mm512_permutex2var_ps(half, at, half);
        chain = _mm512_fnmadd_ps(_mm512_permutex2var_ps(mp, at, mq), _mm512_mul_ps(d, sums), chain);
    }
    return chain;
}

static ALWAYS_INLINE void block(__m512 *chain, const int tokens, const uint8_t *p, const uint8_t *q,
                                const int groups, const struct gemv_x *x, const struct gemv_args *a)
{
    struct block b[2];
    struct gemv_pair w;

    expand(&b[0], p, groups, a);
    expand(&b[1], q, groups, a);
    load(w.p, &b[0]);
    load(w.q, &b[1]);
    w.d = pair_of(b[0].d, b[1].d);
    w.m = _mm512_setzero_ps();
    if (a->type->sub16) {
        for (int t = 0; t < tokens; t++)
            chain[t] = step_sub16(chain[t], &w, b, x + t * gemv_blocks(a->cols), a->type);
    } else if (a->type->has_min) {
        w.m = pair_of(b[0].m, b[1].m);
        gemv_steps(chain, tokens, &w, x, a, GEMV_PAIRS, -1);
    } else {
        gemv_steps(chain, tokens, &w, x, a, GEMV_PAIRS, 0);
    }
}

static void run(const struct gemv_args *a)
{
    gemv_run(a,
             (struct gemv_format){
                 .block = block,
                 .block_bytes = 256 / a->type->block * a->type->block_bytes,
                 .natural = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15),
             });
}

static void prepare(struct gemv_x *dst, struct a8_row x, int64_t cols, int zero)
{
    gemv_prepare_avx512(dst, x, cols, zero, &gemv_order_pairs);
}

const struct gemv gemv_expand_avx512 = { .prepare = prepare, .run = run };
