// gemm_pack_avx512.c - tiles and blocks (matmul.h) from rows, by transposing 16 rows at a time.

#include <immintrin.h>

#include "dev/cpu/x86/x86.h"

/// 16 numbers of 8 bits of each of 16 rows: the k-th dword of row r becomes lane r of v[k].
static ALWAYS_INLINE void transpose_8(__m512i *v, const uint8_t *const *row, int64_t at)
{
    __m512i in[4];

    for (int i = 0; i < 4; i++) { // four lanes: rows i, i + 4, i + 8, i + 12
        __m512i x =
            _mm512_castsi128_si512(_mm_loadu_si128((const __m128i *)(const void *)(row[i] + at)));
        x = _mm512_inserti32x4(x, _mm_loadu_si128((const __m128i *)(const void *)(row[i + 4] + at)),
                               1);
        x = _mm512_inserti32x4(x, _mm_loadu_si128((const __m128i *)(const void *)(row[i + 8] + at)),
                               2);
        in[i] = _mm512_inserti32x4(
            x, _mm_loadu_si128((const __m128i *)(const void *)(row[i + 12] + at)), 3);
    }
    const __m512i a = _mm512_unpacklo_epi32(in[0], in[1]), b = _mm512_unpackhi_epi32(in[0], in[1]);
    const __m512i c = _mm512_unpacklo_epi32(in[2], in[3]), d = _mm512_unpackhi_epi32(in[2], in[3]);
    v[0] = _mm512_unpacklo_epi64(a, c);
    v[1] = _mm512_unpackhi_epi64(a, c);
    v[2] = _mm512_unpacklo_epi64(b, d);
    v[3] = _mm512_unpackhi_epi64(b, d);
}

/// Lane j of v[i] becomes lane i of v[j].
static ALWAYS_INLINE void transpose_32(__m512i *v)
{
    __m512i a[16], b[16];

    UNROLL(8)
    for (int i = 0; i < 16; i += 2) {
        a[i] = _mm512_unpacklo_epi32(v[i], v[i + 1]);
        a[i + 1] = _mm512_unpackhi_epi32(v[i], v[i + 1]);
    }
    UNROLL(4)
    for (int i = 0; i < 16; i += 4) { // lane l of b[i + k]: column 4 l + k of rows i .. i + 3
        b[i] = _mm512_unpacklo_epi64(a[i], a[i + 2]);
        b[i + 1] = _mm512_unpackhi_epi64(a[i], a[i + 2]);
        b[i + 2] = _mm512_unpacklo_epi64(a[i + 1], a[i + 3]);
        b[i + 3] = _mm512_unpackhi_epi64(a[i + 1], a[i + 3]);
    }
    UNROLL(4)
    for (int k = 0; k < 4; k++) {
        const __m512i p = _mm512_shuffle_i32x4(b[k], b[k + 4], 0x44);
        const __m512i q = _mm512_shuffle_i32x4(b[k], b[k + 4], 0xee);
        const __m512i r = _mm512_shuffle_i32x4(b[k + 8], b[k + 12], 0x44);
        const __m512i s = _mm512_shuffle_i32x4(b[k + 8], b[k + 12], 0xee);
        v[k] = _mm512_shuffle_i32x4(p, r, 0x88);
        v[k + 4] = _mm512_shuffle_i32x4(p, r, 0xdd);
        v[k + 8] = _mm512_shuffle_i32x4(q, s, 0x88);
        v[k + 12] = _mm512_shuffle_i32x4(q, s, 0xdd);
    }
}

/// Columns at .. at + 15 of 16 rows of 32 bits, those past `n` zero.
static ALWAYS_INLINE void load_32(__m512i *v, const uint8_t *const *row, int64_t at, int64_t n)
{
    const __mmask16 there = n - at >= 16 ? 0xffff : (__mmask16)((1u << (n - at)) - 1);

    for (int r = 0; r < 16; r++)
        v[r] = _mm512_maskz_loadu_epi32(there, row[r] + 4 * at);
    transpose_32(v);
}

/// The place of group g among n_groups.
static ALWAYS_INLINE int64_t place(int64_t g, int64_t n_groups)
{
    const int64_t c = g % MM_CHAINS, rest = n_groups % MM_CHAINS;

    return c * (n_groups / MM_CHAINS) + (c < rest ? c : rest) + g / MM_CHAINS;
}

// --- tiles ------------------------------------------------------------------------------------

enum { W_D = 32 * MM_ROWS, W_M = W_D + 4 * MM_ROWS };

/// 32-bit data, `per_group` of them a group, to `offset` of each group's record. `negate`: -m.
static ALWAYS_INLINE void tile_32(uint8_t *dst, int64_t step, const uint8_t *const *row,
                                  int64_t n_groups, const int per_group, const bool negate)
{
    const int64_t n = n_groups * per_group;

    for (int64_t at = 0; at < n; at += 16) {
        __m512i v[16];
        load_32(v, row, at, n);
        for (int i = 0; i < 16 && at + i < n; i++) {
            uint8_t *to =
                dst + place((at + i) / per_group, n_groups) * step + (at + i) % per_group * 64;
            _mm512_store_si512(to, negate ? _mm512_xor_si512(v[i], _mm512_set1_epi32(INT32_MIN))
                                          : v[i]);
        }
    }
}

static void tile_scales(uint8_t *dst, int64_t step, const uint8_t *const *row, int64_t n_groups)
{
    for (int64_t at = 0; at < 2 * n_groups; at += 16) {
        const int64_t n = 2 * n_groups - at;
        const __mmask16 there = n >= 16 ? 0xffff : (__mmask16)((1u << n) - 1);
        __m512i v[16];
        for (int r = 0; r < 16; r++)
            v[r] = _mm512_cvtepi8_epi32(_mm_maskz_loadu_epi8(there, row[r] + at));
        transpose_32(v);
        for (int i = 0; i < 16 && i < n; i++)
            _mm512_store_si512(dst + place((at + i) / 2, n_groups) * step + i % 2 * 64, v[i]);
    }
}

void gemm_interleave_avx512(void *tile, const struct expanded *rows, int n_rows, int64_t cols,
                            struct gemm_kind kind)
{
    const int64_t n_groups = cols / 32, step = gemm_w_bytes(kind);
    const int halves = kind.sub16 ? 2 : 1;
    const uint8_t *u[MM_ROWS], *d[MM_ROWS], *m[MM_ROWS], *s[MM_ROWS];
    uint8_t *dst = tile;

    for (int r = 0; r < MM_ROWS; r++) {
        const int64_t from = r < n_rows ? r : 0;
        u[r] = rows->u + from * cols;
        d[r] = (const uint8_t *)(rows->d + from * n_groups);
        m[r] = (const uint8_t *)(rows->m + from * n_groups * halves);
        s[r] = (const uint8_t *)(rows->s + from * n_groups * 2);
    }
    for (int64_t g = 0; g < n_groups; g++) {
        uint8_t *to = dst + place(g, n_groups) * step;
        for (int h = 0; h < 2; h++) {
            __m512i v[4];
            transpose_8(v, u, 32 * g + 16 * h);
            for (int k = 0; k < 4; k++)
                _mm512_store_si512(to + 256 * h + 64 * k, v[k]);
        }
    }
    tile_32(dst + W_D, step, d, n_groups, 1, false);
    if (kind.has_min && kind.sub16)
        tile_32(dst + W_M, step, m, n_groups, 2, true);
    else if (kind.has_min)
        tile_32(dst + W_M, step, m, n_groups, 1, true);
    if (kind.sub16)
        tile_scales(dst + W_M + (kind.has_min ? 4 * MM_ROWS * halves : 0), step, s, n_groups);
}

// --- blocks -----------------------------------------------------------------------------------

/// What stands for the zero or the minimum: 8 groups from g on.
static ALWAYS_INLINE void pack_sums(uint8_t *dst, int64_t step, const uint8_t *const *sum,
                                    const uint8_t *const *d, const uint8_t *const *s, int64_t g,
                                    int64_t n_groups, struct gemm_kind k, int block,
                                    __mmask16 tokens)
{
    __m512i v[16], ds[16];

    if (k.has_min)
        load_32(ds, k.sub16 ? d : s, g, n_groups);
    if (k.sub16 || !k.has_min)
        load_32(v, sum, 2 * g, 2 * n_groups);
    for (int i = 0; i < 8 && g + i < n_groups; i++) {
        uint8_t *to = dst + place(g + i, n_groups) * step;
        if (k.has_min && !k.sub16) {
            _mm512_mask_storeu_epi32(to, tokens, ds[i]);
            continue;
        }
        const __m512i a = v[2 * i], b = v[2 * i + 1], zero = _mm512_set1_epi32(-k.zero);
        if (!k.sub16) {
            _mm512_mask_storeu_epi32(to, tokens, _mm512_mullo_epi32(_mm512_add_epi32(a, b), zero));
        } else if (!k.has_min) {
            _mm512_mask_storeu_epi32(to, tokens, _mm512_mullo_epi32(a, zero));
            _mm512_mask_storeu_epi32(to + 4 * block, tokens, _mm512_mullo_epi32(b, zero));
        } else {
            const __m512 f = _mm512_castsi512_ps(ds[i]);
            _mm512_mask_storeu_ps(to, tokens, _mm512_mul_ps(f, _mm512_cvtepi32_ps(a)));
            _mm512_mask_storeu_ps(to + 4 * block, tokens, _mm512_mul_ps(f, _mm512_cvtepi32_ps(b)));
        }
    }
}

void gemm_pack_avx512(void *dst_, const struct a8_row *rows, int n, int block, int64_t cols,
                      struct gemm_kind kind)
{
    const int64_t n_groups = cols / 32, step = gemm_x_bytes(kind, block);
    const __mmask16 tokens = (__mmask16)((1u << block) - 1);
    const uint8_t *q[16], *d[16], *s[16], *sum[16];
    uint8_t *dst = dst_;

    for (int t = 0; t < 16; t++) { // lanes without a token repeat one: their results are not kept
        const struct a8_row *row = &rows[t < n ? t : 0];
        q[t] = (const uint8_t *)row->q;
        d[t] = (const uint8_t *)row->d;
        s[t] = (const uint8_t *)row->s;
        sum[t] = (const uint8_t *)row->sum;
    }
    for (int64_t g = 0; g < n_groups; g++) {
        uint8_t *to = dst + place(g, n_groups) * step;
        for (int h = 0; h < 2; h++) {
            __m512i v[4];
            transpose_8(v, q, 32 * g + 16 * h);
            for (int k = 0; k < 4; k++)
                _mm512_mask_storeu_epi32(to + (4 * h + k) * 4 * block, tokens, v[k]);
        }
    }
    for (int64_t g = 0; g < n_groups; g += 16) {
        __m512i v[16];
        load_32(v, d, g, n_groups);
        for (int i = 0; i < 16 && g + i < n_groups; i++)
            _mm512_mask_storeu_epi32(dst + place(g + i, n_groups) * step + 32 * block, tokens,
                                     v[i]);
    }
    for (int64_t g = 0; g < n_groups; g += 8)
        pack_sums(dst + 36 * block, step, sum, d, s, g, n_groups, kind, block, tokens);
}
