// vec_body.h - the inner functions of vec.h for vectors of VF_LANES floats: one text for AVX2
// and AVX-512. Included once by each of vec_avx2.c and vec_avx512.c, which define FN(name).
// Definitions: ref/.

#ifdef FN

#include "dev/cpu/vec.h"
#include "dev/cpu/vmath.h"
#include "dev/cpu/x86/vec_x86.h"

#include <math.h>
#include <string.h>

enum { L = VF_LANES, TILE = 64, CHAINS = 16, CV = CHAINS / L }; // vectors of the 16 chains

/// A vector of a row of which `left` numbers are left; lanes behind the end are 0 and not written.
static inline vf vf_get(const float *p, int64_t left)
{
    return left >= L ? vf_load(p) : vf_load_n(p, left);
}
static inline void vf_put(float *p, vf v, int64_t left)
{
    if (left >= L)
        vf_store(p, v);
    else
        vf_store_n(p, v, left);
}

/// The first n of the lanes.
static inline uint32_t first_bits(int64_t n)
{
    return n >= L ? UINT32_MAX : n <= 0 ? 0 : (1u << n) - 1;
}

static inline float chain_sum(const vf chain[CV])
{
    float c[CHAINS], sum;

    for (int k = 0; k < CV; k++)
        vf_store(c + k * L, chain[k]);
    sum = c[0];
    for (int k = 1; k < CHAINS; k++)
        sum += c[k];
    return sum;
}

// --- norms ---------------------------------------------------------------------------------------

/// Lanes behind the end are 0 and add nothing: a chain is never -0.
static void FN(rmsnorm)(float *y, const float *x, const float *w, int64_t n, float eps)
{
    vf chain[CV];

    for (int k = 0; k < CV; k++)
        chain[k] = vf_set(0);
    for (int64_t i = 0; i < n; i += CHAINS)
        for (int k = 0; k < CV; k++) {
            const vf v = vf_get(x + i + k * L, n - i - k * L);
            chain[k] = vf_fma(v, v, chain[k]);
        }
    const vf r = vf_set(1.0f / sqrtf(chain_sum(chain) / (float)n + eps));
    for (int64_t i = 0; i < n; i += L)
        vf_put(y + i, vf_mul(vf_mul(vf_get(x + i, n - i), r), vf_get(w + i, n - i)), n - i);
}

static void FN(layernorm)(float *y, const float *x, const float *w, const float *bias, int64_t n,
                          float eps)
{
    vf total[CV], square[CV];

    for (int k = 0; k < CV; k++)
        total[k] = square[k] = vf_set(0);
    for (int64_t i = 0; i < n; i += CHAINS)
        for (int k = 0; k < CV; k++)
            total[k] = vf_add(total[k], vf_get(x + i + k * L, n - i - k * L));
    const vf mean = vf_set(chain_sum(total) / (float)n);
    for (int64_t i = 0; i < n; i += CHAINS)
        for (int k = 0; k < CV; k++) {
            const int64_t left = n - i - k * L;
            const vf d = vf_sub(vf_get(x + i + k * L, left), mean);
            const vf v = vf_if_bits(first_bits(left), d, vf_set(0));
            square[k] = vf_fma(v, v, square[k]);
        }
    const vf r = vf_set(1.0f / sqrtf(chain_sum(square) / (float)n + eps));
    for (int64_t i = 0; i < n; i += L) {
        const int64_t left = n - i;
        vf v = vf_mul(vf_mul(vf_sub(vf_get(x + i, left), mean), r), vf_get(w + i, left));
        if (bias != NULL)
            v = vf_add(v, vf_get(bias + i, left));
        vf_put(y + i, v, left);
    }
}

// --- number by number ----------------------------------------------------------------------------

static void FN(glu)(float *y, const float *gate, const float *up, int64_t n, enum act act)
{
    if (act == ACT_SILU)
        for (int64_t i = 0; i < n; i += L)
            vf_put(y + i, vf_mul(vm_silu(vf_get(gate + i, n - i)), vf_get(up + i, n - i)), n - i);
    else if (act == ACT_SWIGLU_OAI)
        for (int64_t i = 0; i < n; i += L)
            vf_put(y + i, vm_swiglu_oai(vf_get(gate + i, n - i), vf_get(up + i, n - i)), n - i);
    else
        for (int64_t i = 0; i < n; i += L)
            vf_put(y + i, vf_mul(vm_gelu(vf_get(gate + i, n - i)), vf_get(up + i, n - i)), n - i);
}

static void FN(add)(float *y, const float *a, const float *b, int64_t n)
{
    for (int64_t i = 0; i < n; i += L)
        vf_put(y + i, vf_add(vf_get(a + i, n - i), vf_get(b + i, n - i)), n - i);
}

static void FN(scale)(float *y, const float *x, int64_t n, float s)
{
    for (int64_t i = 0; i < n; i += L)
        vf_put(y + i, vf_mul(vf_get(x + i, n - i), vf_set(s)), n - i);
}

static void FN(softcap)(float *y, const float *x, int64_t n, float cap)
{
    const vf c = vf_set(cap);

    for (int64_t i = 0; i < n; i += L)
        vf_put(y + i, vf_mul(c, vm_tanh(vf_div(vf_get(x + i, n - i), c))), n - i);
}

// --- rope ----------------------------------------------------------------------------------------

static inline void rotate(vf *y0, vf *y1, vf x0, vf x1, vf c, vf s)
{
    *y0 = vf_fma(x0, c, vf_sub(vf_set(-0.0f), vf_mul(x1, s)));
    *y1 = vf_fma(x0, s, vf_mul(x1, c));
}

static void FN(rope)(float *y, const float *x, const float *table, int rot, enum rope_kind kind)
{
    const int half = rot / 2, whole = half / L * L;

    for (int i = 0; i < whole; i += L) {
        const vf t0 = vf_load(table + 2 * i), t1 = vf_load(table + 2 * i + L);
        const vf c = vf_even(t0, t1), s = vf_odd(t0, t1);
        vf y0, y1;
        if (kind == ROPE_NEOX) {
            rotate(&y0, &y1, vf_load(x + i), vf_load(x + i + half), c, s);
            vf_store(y + i, y0);
            vf_store(y + i + half, y1);
        } else {
            const vf a = vf_load(x + 2 * i), b = vf_load(x + 2 * i + L);
            rotate(&y0, &y1, vf_even(a, b), vf_odd(a, b), c, s);
            vf_store(y + 2 * i, vf_zip_lo(y0, y1));
            vf_store(y + 2 * i + L, vf_zip_hi(y0, y1));
        }
    }
    for (int i = whole; i < half; i++) {
        const int i0 = kind == ROPE_NORM ? 2 * i : i;
        const int i1 = kind == ROPE_NORM ? 2 * i + 1 : i + half;
        const float c = table[2 * i], s = table[2 * i + 1], x0 = x[i0], x1 = x[i1];
        y[i0] = fmaf(x0, c, -(x1 * s));
        y[i1] = fmaf(x0, s, x1 * c);
    }
}

// --- formats -------------------------------------------------------------------------------------

static void FN(to_f16)(uint16_t *dst, const float *x, int64_t n)
{
    for (int64_t i = 0; i < n; i += L) {
        uint16_t h[L];
        if (n - i >= L) {
            vf_store_f16(dst + i, vf_load(x + i));
            continue;
        }
        vf_store_f16(h, vf_load_n(x + i, n - i));
        memcpy(dst + i, h, (size_t)(n - i) * sizeof *h);
    }
}

static void FN(from_f16)(float *dst, const uint16_t *x, int64_t n)
{
    for (int64_t i = 0; i < n; i += L) {
        uint16_t h[L] = { 0 };
        if (n - i >= L) {
            vf_store(dst + i, vf_load_f16(x + i));
            continue;
        }
        memcpy(h, x + i, (size_t)(n - i) * sizeof *h);
        vf_store_n(dst + i, vf_load_f16(h), n - i);
    }
}

static inline vf q8_at(const int8_t *q, int64_t left)
{
    int8_t end[L] = { 0 };

    if (left >= L)
        return vf_load_i8(q);
    memcpy(end, q, (size_t)left);
    return vf_load_i8(end);
}

/// Keys [dim][64], scales [dim / 32][64].
static void FN(keys_from_q8)(float *dst, const int8_t *q, const uint16_t *scale, int dim)
{
    for (int j = 0; j < TILE; j += L)
        for (int d0 = 0; d0 < dim; d0 += 32) {
            const vf s = vf_load_f16(scale + d0 / 32 * TILE + j);
            for (int d = d0; d < d0 + 32 && d < dim; d++)
                vf_store(dst + d * TILE + j, vf_mul(vf_load_i8(q + d * TILE + j), s));
        }
}

/// Values lo <= j < hi of [64][dim], scales [dim / 32][64], to rows of dst_row.
static void FN(values_from_q8)(float *dst, int64_t dst_row, const int8_t *q, const uint16_t *scale,
                               int dim, int lo, int hi)
{
    float s[TILE];

    for (int d0 = 0; d0 < dim; d0 += 32) {
        const int end = dim - d0 < 32 ? dim : d0 + 32;
        FN(from_f16)(s, scale + d0 / 32 * TILE, TILE);
        for (int j = lo; j < hi; j++)
            for (int d = d0; d < end; d += L)
                vf_put(dst + j * dst_row + d,
                       vf_mul(q8_at(q + (int64_t)j * dim + d, end - d), vf_set(s[j])), end - d);
    }
}

/// Largest |x| of 32 numbers, spread over a vector; NaN counts as 0.
static inline vf spread_top(const float *x)
{
    vf top = vf_set(0);

    for (int i = 0; i < 32; i += L)
        top = vf_max(vf_abs(vf_load(x + i)), top);
    return top;
}

/// Four groups, which share their divisions. x / d is at most 127.5, so nothing needs to be held
/// within bounds; where 1 / d is infinite (d is 0, or so small that x / d would be) all become 0.
static inline void a8_four(struct a8_part dst, const float *const x[4])
{
    const __m128 top =
        vf_tops(spread_top(x[0]), spread_top(x[1]), spread_top(x[2]), spread_top(x[3]));
    const __m128 d = _mm_div_ps(top, _mm_set1_ps(127)), inverse = _mm_div_ps(_mm_set1_ps(1), d);
    float by[4];

    _mm_storeu_ps(by, _mm_and_ps(inverse, _mm_cmplt_ps(inverse, _mm_set1_ps(INFINITY))));
    const __m128i s0 = vf_to_i8x64(dst.q, x[0], by[0], x[1], by[1]);
    const __m128i s1 = vf_to_i8x64(dst.q + 64, x[2], by[2], x[3], by[3]);
    _mm_storeu_si128((void *)dst.sum, s0);
    _mm_storeu_si128((void *)(dst.sum + 4), s1);
    _mm_storeu_ps(dst.d, d);
    _mm_storeu_ps(dst.s, _mm_mul_ps(d, _mm_cvtepi32_ps(_mm_hadd_epi32(s0, s1))));
}

static void FN(a8)(struct a8_part dst, const float *x, int64_t n)
{
    int64_t left = n / 32;

    for (; left >= 4; left -= 4, x += 128) {
        a8_four(dst, (const float *const[4]){ x, x + 32, x + 64, x + 96 });
        dst.q += 128, dst.d += 4, dst.s += 4, dst.sum += 8;
    }
    if (left > 0) {
        int8_t q[128];
        float d[4], s[4];
        int32_t sum[8];
        a8_four((struct a8_part){ q, d, s, sum },
                (const float *const[4]){ x, x + 32 * (left > 1), x + 64 * (left > 2), x });
        memcpy(dst.q, q, (size_t)left * 32);
        memcpy(dst.d, d, (size_t)left * sizeof *d);
        memcpy(dst.s, s, (size_t)left * sizeof *s);
        memcpy(dst.sum, sum, (size_t)left * 2 * sizeof *sum);
    }
}

#if defined(__clang__)
#define TURN_UNROLL
#else
#define TURN_UNROLL _Pragma("GCC unroll 16")
#endif

/// L x L numbers at a time are turned: zipping the first half of the vectors with the second, log2
/// L times, leaves their columns in order.
static void FN(values_from_keys)(float *dst, int64_t dst_row, const float *keys, int64_t dim)
{
    for (int64_t d = 0; d < dim; d += L)
        for (int j = 0; j < TILE; j += L) {
            vf v[L], w[L];
            TURN_UNROLL
            for (int i = 0; i < L; i++)
                v[i] = d + i < dim ? vf_load(keys + (d + i) * TILE + j) : vf_set(0);
            TURN_UNROLL
            for (int n = 1; n < L; n *= 2) {
                TURN_UNROLL
                for (int i = 0; i < L / 2; i++) {
                    w[2 * i] = vf_zip_lo(v[i], v[i + L / 2]);
                    w[2 * i + 1] = vf_zip_hi(v[i], v[i + L / 2]);
                }
                TURN_UNROLL
                for (int i = 0; i < L; i++)
                    v[i] = w[i];
            }
            TURN_UNROLL
            for (int i = 0; i < L; i++)
                vf_store(dst + (j + i) * dst_row + d, v[i]);
        }
}

// --- attention -----------------------------------------------------------------------------------

/// Arrays of vectors are registers only when their loops are gone; clang unrolls such loops by
/// itself.
#if defined(__clang__)
#define UNROLL
#define UNROLL_K
#else
#define UNROLL   _Pragma("GCC unroll 8")
#define UNROLL_K _Pragma("GCC unroll 2")
#endif

enum {
    MUL_V = L == 16 ? 4 : 2
}; // vectors that a row has in registers: rows * MUL_V sums, MUL_V of b, one of a

static inline __attribute__((always_inline)) vf load_b(const void *b, int64_t i, bool half)
{
    return half ? vf_load_f16((const uint16_t *)b + i) : vf_load((const float *)b + i);
}

/// rows x nv vectors; all of `rows`, `nv`, `half` are constants where this is expanded.
static inline __attribute__((always_inline)) void mul_block(const struct attn_mul *x, int64_t col,
                                                            int rows, int nv, bool half)
{
    vf sum[ATTN_ROWS][MUL_V];
    const int64_t k = x->k;

    UNROLL
    for (int r = 0; r < rows; r++)
        UNROLL
    for (int v = 0; v < nv; v++)
        sum[r][v] = x->start == NULL
                        ? vf_set(0)
                        : vf_mul(vf_load(x->c + r * x->c_row + col + v * L), vf_set(x->start[r]));
    UNROLL_K
    for (int64_t i = 0; i < k; i++) {
        vf b[MUL_V];
        UNROLL
        for (int v = 0; v < nv; v++)
            b[v] = load_b(x->b, i * x->b_row + col + v * L, half);
        UNROLL
        for (int r = 0; r < rows; r++) {
            const vf a = vf_set(x->a[r * x->a_row + i]);
            UNROLL
            for (int v = 0; v < nv; v++)
                sum[r][v] = vf_fma(a, b[v], sum[r][v]);
        }
    }
    UNROLL
    for (int r = 0; r < rows; r++)
        UNROLL
    for (int v = 0; v < nv; v++)
        vf_store(x->c + r * x->c_row + col + v * L, sum[r][v]);
}

static inline __attribute__((always_inline)) void mul_rows(const struct attn_mul *x, int rows,
                                                           bool half)
{
    int64_t col = 0;

    for (; col + MUL_V * L <= x->cols; col += MUL_V * L)
        mul_block(x, col, rows, MUL_V, half);
    for (; col < x->cols; col += L)
        mul_block(x, col, rows, 1, half);
}

static inline __attribute__((always_inline)) void mul_any(const struct attn_mul *x, bool half)
{
    switch (x->rows) {
    case 1:
        mul_rows(x, 1, half);
        break;
    case 2:
        mul_rows(x, 2, half);
        break;
    case 3:
        mul_rows(x, 3, half);
        break;
    case 4:
        mul_rows(x, 4, half);
        break;
    case 5:
        mul_rows(x, 5, half);
        break;
    default:
        mul_rows(x, ATTN_ROWS, half);
        break;
    }
}

static void FN(attn_mul)(const struct attn_mul *x)
{
    if (x->b_half)
        mul_any(x, true);
    else
        mul_any(x, false);
}

/// Bits lo .. hi - 1, 0 <= lo < hi <= 64.
static inline uint64_t bits_between(int lo, int hi)
{
    return UINT64_MAX >> (64 - hi) & UINT64_MAX << lo;
}

static inline __attribute__((always_inline)) vf scaled(vf s, const struct attn_tile *t)
{
    const vf cap = vf_set(t->cap);

    s = vf_mul(s, vf_set(t->scale));
    return t->cap != 0 ? vf_mul(cap, vm_tanh(vf_div(s, cap))) : s;
}

/// Scaled scores in place; returns the largest of the valid ones.
static inline float scores(float *s, const struct attn_tile *t, int lo, int hi)
{
    const vf none = vf_set(-INFINITY);
    const uint64_t valid = bits_between(lo, hi);
    vf top[2] = { none, none };

    if (lo == 0 && hi == TILE && t->cap == 0) {
        const vf scale = vf_set(t->scale);
        UNROLL
        for (int j = 0; j < TILE; j += L) {
            const vf v = vf_mul(vf_load(s + j), scale);
            top[j / L % 2] = vf_max(v, top[j / L % 2]);
            vf_store(s + j, v);
        }
        return vf_top(vf_max(top[0], top[1]));
    }
    for (int j = lo / L * L; j < hi; j += L) {
        const vf v = scaled(vf_load(s + j), t);
        top[0] = vf_max(vf_if_bits((uint32_t)(valid >> j), v, none), top[0]);
        vf_store(s + j, v);
    }
    return vf_top(top[0]);
}

/// exp(s - top) of the valid keys in place, and the chains of their sum.
static inline void weights(float *s, float *chains, float top, int lo, int hi)
{
    const vf zero = vf_set(0), by = vf_set(top);
    const uint64_t valid = bits_between(lo, hi);
    vf chain[CV];

    for (int k = 0; k < CV; k++)
        chain[k] = zero;
    if (lo == 0 && hi == TILE) {
        UNROLL
        for (int j = 0; j < TILE; j += L) {
            const vf p = vm_exp_down(vf_sub(vf_load(s + j), by));
            chain[j / L % CV] = vf_add(chain[j / L % CV], p);
            vf_store(s + j, p);
        }
    } else {
        for (int j = lo / L * L; j < hi; j += L) {
            const vf p =
                vf_if_bits((uint32_t)(valid >> j), vm_exp_down(vf_sub(vf_load(s + j), by)), zero);
            chain[j / L % CV] = vf_add(chain[j / L % CV], p);
            vf_store(s + j, p);
        }
    }
    for (int k = 0; k < CV; k++)
        vf_store(chains + k * L, chain[k]);
}

/// Each sum is a row of additions that wait for one another: rows go side by side.
static inline void sum_chains(float *sum, float chain[ATTN_ROWS][CHAINS])
{
    float all[ATTN_ROWS];

    UNROLL
    for (int r = 0; r < ATTN_ROWS; r++)
        all[r] = chain[r][0];
    for (int c = 1; c < CHAINS; c++)
        UNROLL
    for (int r = 0; r < ATTN_ROWS; r++)
        all[r] += chain[r][c];
    memcpy(sum, all, sizeof all);
}

static void FN(attn_softmax)(const struct attn_tile *t)
{
    float top[CHAINS] = { 0 }, from[CHAINS] = { 0 }, f[CHAINS];
    float chain[ATTN_ROWS][CHAINS] = { 0 }, sum[ATTN_ROWS];

    for (int r = 0; r < t->rows; r++) {
        const float s =
            t->lo[r] < t->hi[r] ? scores(t->s + r * TILE, t, t->lo[r], t->hi[r]) : -INFINITY;
        from[r] = t->m[r];
        top[r] = s > t->m[r] ? s : t->m[r];
    }
    for (int i = 0; i < CHAINS; i += L)
        vf_store(f + i, vm_exp(vf_sub(vf_load(from + i), vf_load(top + i))));
    for (int r = 0; r < t->rows; r++) {
        t->f[r] = top[r] == from[r] ? 1.0f : from[r] == -INFINITY ? 0.0f : f[r];
        if (t->lo[r] < t->hi[r])
            weights(t->s + r * TILE, chain[r], top[r], t->lo[r], t->hi[r]);
    }
    sum_chains(sum, chain);
    for (int r = 0; r < t->rows; r++) {
        t->l[r] = t->l[r] * t->f[r] + sum[r];
        t->m[r] = top[r];
    }
}

/// nv vectors of the result, from number d on.
static inline __attribute__((always_inline)) void
combine_part(const struct attn_combine *x, const float *e, vf sum, int64_t d, int nv)
{
    vf o[4];

    UNROLL
    for (int v = 0; v < nv; v++)
        o[v] = vf_set(0);
    for (int i = 0; i < x->n; i++) {
        const vf by = vf_set(e[i]);
        UNROLL
        for (int v = 0; v < nv; v++)
            o[v] = vf_fma(vf_get(x->o[i] + d + v * L, x->dim - d - v * L), by, o[v]);
    }
    UNROLL
    for (int v = 0; v < nv; v++)
        vf_put(x->out + d + v * L, vf_div(o[v], sum), x->dim - d - v * L);
}

static void FN(attn_combine)(const struct attn_combine *x)
{
    float m[CHAINS] = { 0 }, e[CHAINS], top = x->sink != NULL ? *x->sink : -INFINITY, sum = 0;
    int64_t d = 0;

    for (int i = 0; i < x->n; i++) {
        m[i] = x->m[i];
        top = m[i] > top ? m[i] : top;
    }
    m[x->n] = x->sink != NULL ? *x->sink : 0;
    for (int i = 0; i < CHAINS; i += L)
        vf_store(e + i, vm_exp(vf_sub(vf_load(m + i), vf_set(top))));

    for (int i = 0; i < x->n; i++)
        sum = fmaf(x->l[i], e[i], sum);
    if (x->sink != NULL)
        sum += e[x->n];
    for (; d + 4 * L <= x->dim; d += 4 * L)
        combine_part(x, e, vf_set(sum), d, 4);
    for (; d < x->dim; d += L)
        combine_part(x, e, vf_set(sum), d, 1);
}

void FN(vec_fns)(struct vec_fns *f)
{
    f->a8 = FN(a8);
    f->rmsnorm = FN(rmsnorm);
    f->layernorm = FN(layernorm);
    f->glu = FN(glu);
    f->add = FN(add);
    f->scale = FN(scale);
    f->softcap = FN(softcap);
    f->rope = FN(rope);
    f->to_f16 = FN(to_f16);
    f->from_f16 = FN(from_f16);
    f->keys_from_q8 = FN(keys_from_q8);
    f->values_from_q8 = FN(values_from_q8);
    f->values_from_keys = FN(values_from_keys);
    f->attn_mul = FN(attn_mul);
    f->attn_softmax = FN(attn_softmax);
    f->attn_combine = FN(attn_combine);
}

#endif
