// gemm.c - products of many tokens: what a tile and a block need, and a thread's part of the work.
// Who does which rows is the kernels' business (matmul.c, experts.c).

#include <string.h>

#include "dev/cpu/cpu_int.h"

enum {
    TILES_MAX = 4, // expanded together, so that a block of tokens is fetched once for all of them
    TILES_BYTES = 512 << 10, // at most: they stay in the second level cache
};

struct gemm_kind gemm_kind(enum dtype type)
{
    const struct dtype_info *t = dtype_info(type);

    return (struct gemm_kind){ .sub16 = t->sub16, .has_min = t->has_min, .zero = t->zero };
}

int gemm_block(const struct gemm *g, struct gemm_kind k)
{
    return k.sub16 ? g->block_sub16 : g->block;
}

int gemm_tiles(int64_t cols, struct gemm_kind k)
{
    const int64_t fit = TILES_BYTES / (cols / 32 * gemm_w_bytes(k));

    return fit < 1 ? 1 : fit < TILES_MAX ? (int)fit : TILES_MAX;
}

static uint64_t tiles_bytes(int64_t cols, struct gemm_kind k)
{
    return (uint64_t)(gemm_tiles(cols, k) * (cols / 32) * gemm_w_bytes(k));
}

uint64_t gemm_thread_bytes(int64_t cols, struct gemm_kind k)
{
    const uint64_t rows = (uint64_t)(MM_ROWS * (cols + cols / 8 + cols / 4 + cols / 16));

    return tiles_bytes(cols, k) + align_up_u64(rows, 64);
}

struct gemm_work gemm_work(const struct matmul_fns *f, enum dtype type, int64_t cols, void *mine)
{
    const struct gemm_kind kind = gemm_kind(type);

    return (struct gemm_work){
        .gemm = f->gemm,
        .kind = kind,
        .cols = cols,
        .w_bytes = (int64_t)dtype_row_bytes(type, cols),
        .expand = f->expand[type] != NULL ? f->expand[type] : dtype_info(type)->expand,
        .tiles = mine,
        .rows = (uint8_t *)mine + tiles_bytes(cols, kind),
    };
}

static void expand_tile(const struct gemm_work *g, uint8_t *tile, const uint8_t *w, int n_rows)
{
    const int64_t n_groups = g->cols / 32;
    float *d = (float *)(void *)g->rows, *m = d + MM_ROWS * n_groups;
    int8_t *scale = (int8_t *)(m + MM_ROWS * 2 * n_groups);
    const struct expanded all = {
        .d = d, .m = m, .s = scale, .u = (uint8_t *)(scale + MM_ROWS * 2 * n_groups)
    };

    for (int i = 0; i < n_rows; i++) {
        const struct expanded one = {
            .u = all.u + i * g->cols,
            .d = all.d + i * n_groups,
            .m = all.m + i * n_groups * (g->kind.sub16 ? 2 : 1),
            .s = all.s + i * n_groups * 2,
        };
        g->expand(&one, w + i * g->w_bytes, g->cols);
    }
    g->gemm->interleave(tile, &all, n_rows, g->cols, g->kind);
}

static int rows_of(int64_t left)
{
    return left < MM_ROWS ? (int)left : MM_ROWS;
}

void gemm_expand(const struct gemm_work *g, const uint8_t *w, int64_t from, int64_t to)
{
    uint8_t *tile = g->tiles;

    for (int64_t row = from; row < to; row += MM_ROWS, tile += g->cols / 32 * gemm_w_bytes(g->kind))
        expand_tile(g, tile, w + row * g->w_bytes, rows_of(to - row));
}

void gemm_block_times(const struct gemm_work *g, int64_t n_rows, const void *x, int n,
                      const struct mm_out *out)
{
    const uint8_t *tile = g->tiles;

    for (int64_t row = 0; row < n_rows;
         row += MM_ROWS, tile += g->cols / 32 * gemm_w_bytes(g->kind))
        g->gemm->run(&(struct gemm_args){
            .kind = g->kind,
            .w = tile,
            .x = x,
            .n_groups = g->cols / 32,
            .block = (int)gemm_padded(n),
            .n_rows = rows_of(n_rows - row),
            .n_tokens = n,
            .out = { .y = out->y + row,
                     .stride = out->stride,
                     .bias = out->bias != NULL ? out->bias + row : NULL,
                     .res = out->res != NULL ? out->res + row : NULL },
        });
}

/// One token's group into lane t of a block of `n`.
static void pack_group(uint8_t *dst, const struct a8_row *a, int64_t g, int t, int n,
                       struct gemm_kind k)
{
    int32_t *q = (int32_t *)(void *)dst, *z = q + 9 * n;
    float *d = (float *)(void *)(q + 8 * n), *s = (float *)(void *)z;

    for (int i = 0; i < 8; i++)
        memcpy(q + i * n + t, a->q + 32 * g + 4 * i, 4);
    d[t] = a->d[g];
    for (int h = 0; k.sub16 && h < 2; h++) {
        if (k.has_min)
            s[h * n + t] = a->d[g] * (float)a->sum[2 * g + h];
        else
            z[h * n + t] = -k.zero * a->sum[2 * g + h];
    }
    if (k.sub16)
        return;
    if (k.has_min)
        s[t] = a->s[g];
    else
        z[t] = -k.zero * (a->sum[2 * g] + a->sum[2 * g + 1]);
}

void gemm_pack_c(void *dst, const struct a8_row *rows, int n, int block, int64_t cols,
                 struct gemm_kind kind)
{
    const int64_t n_groups = cols / 32, step = gemm_x_bytes(kind, block);

    for (int64_t g = 0; g < n_groups; g++) {
        const int64_t c = g % MM_CHAINS;
        const int64_t before =
            c * (n_groups / MM_CHAINS) + (c < n_groups % MM_CHAINS ? c : n_groups % MM_CHAINS);
        uint8_t *to = (uint8_t *)dst + (before + g / MM_CHAINS) * step;
        for (int t = 0; t < block; t++)
            pack_group(to, &rows[t < n ? t : 0], g, t, block, kind);
    }
}
