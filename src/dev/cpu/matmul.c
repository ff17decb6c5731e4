// matmul.c - quantized matrix products on the CPU: who does which rows, and where things lie in
// scratch.

#include <string.h>

#include "dev/cpu/cpu_int.h"

static int64_t min_i64(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static int64_t max_i64(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

static uint64_t max_u64(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

void matmul_fns_init(struct matmul_fns *f, unsigned features)
{
    *f = (struct matmul_fns){ 0 };
#ifdef __x86_64__
    if (features & CPU_AVX2)
        matmul_fns_init_avx2(f);
    if (features & CPU_AVX512)
        matmul_fns_init_avx512(f);
#else
    (void)features;
#endif
}

static struct mm_out out_at(const struct run_args *a, const struct mm_shape *s, int64_t t,
                            int64_t r)
{
    const float *bias = a->src[MATMUL_BIAS], *res = a->src[MATMUL_RES];
    const int64_t at = t * s->rows + r;

    return (struct mm_out){
        .y = (float *)a->dst[0] + at,
        .stride = s->rows,
        .bias = bias != NULL ? bias + r : NULL,
        .res = res != NULL ? res + at : NULL,
    };
}

static const uint8_t *x_row(const struct run_args *a, const struct mm_shape *s, int64_t t)
{
    return (const uint8_t *)a->src[0] + t * (s->cols * 3 / 2);
}

/// Rows [*from, *to) of work item i. Items shrink: long runs through memory first, then short ones
/// so that all threads finish together. Sizes are multiples of `unit`; false past the last item.
static bool item(int64_t *from, int64_t *to, int64_t i, int64_t n_rows, int64_t unit, int64_t least,
                 int threads)
{
    int64_t at = 0;

    for (;; i--) {
        int64_t n = max_i64((n_rows - at) / (3 * threads), least);
        n = (n + unit - 1) / unit * unit;
        if (at >= n_rows)
            return false;
        if (i == 0) {
            *from = at;
            *to = min_i64(at + n, n_rows);
            return true;
        }
        at += n;
    }
}

// --- few tokens
// -------------------------------------------------------------------------------------

enum { GEMV_ITEM_BYTES = 32 << 10 }; // of weights, at least, in an item of work

/// The prepared tokens, per thread.
static uint64_t gemv_bytes(int64_t cols, int64_t tokens)
{
    return (uint64_t)(tokens * gemv_blocks(cols)) * sizeof(struct gemv_x);
}

static void run_gemv(const struct run_args *a, struct team *team, const struct mm_shape *s)
{
    const struct matmul_fns *f = &team_fns(team)->mm;
    const struct gemv *gemv = f->gemv[s->type];
    const struct dtype_info *type = dtype_info(s->type);
    const int64_t w_bytes = (int64_t)dtype_row_bytes(s->type, s->cols);
    const int64_t least = GEMV_ITEM_BYTES / w_bytes + 1;
    uint8_t *mine = (uint8_t *)a->scratch + (uint64_t)team_i(team) * gemv_bytes(s->cols, s->tokens);
    struct gemv_x *x = (struct gemv_x *)(void *)mine;
    bool prepared = false;
    int64_t n_items = 0, from = 0, to = 0;

    while (item(&from, &to, n_items, s->rows, MM_GEMV_ROWS, least, team_n(team)))
        n_items++;
    for (int64_t i; (i = team_next(team, n_items)) >= 0;) {
        for (int64_t t = 0; !prepared && t < s->tokens; t++)
            gemv->prepare(x + t * gemv_blocks(s->cols), a8_row_at(x_row(a, s, t), s->cols), s->cols,
                          type->zero);
        prepared = true;

        (void)item(&from, &to, i, s->rows, MM_GEMV_ROWS, least, team_n(team));
        gemv->run(&(struct gemv_args){
            .type = type,
            .expand = f->expand[s->type] != NULL ? f->expand[s->type] : type->expand,
            .w = (const uint8_t *)a->src[1] + from * w_bytes,
            .w_bytes = w_bytes,
            .x = x,
            .n_rows = to - from,
            .cols = s->cols,
            .n_tokens = (int)s->tokens,
            .out = out_at(a, s, 0, from),
        });
    }
}

// --- many tokens
// ------------------------------------------------------------------------------------

enum {
    TILES_MAX = 4, // expanded together, so that a block of tokens is fetched once for all of them
    TILES_BYTES = 512 << 10, // at most: they stay in the second level cache
};

static struct gemm_kind kind_of(enum dtype type)
{
    const struct dtype_info *t = dtype_info(type);

    return (struct gemm_kind){ .sub16 = t->sub16, .has_min = t->has_min, .zero = t->zero };
}

static int block_of(const struct gemm *g, struct gemm_kind k)
{
    return k.sub16 ? g->block_sub16 : g->block;
}

static int tiles_together(int64_t cols, struct gemm_kind k)
{
    const int64_t fit = TILES_BYTES / (cols / 32 * gemm_w_bytes(k));

    return (int)max_i64(1, min_i64(fit, TILES_MAX));
}

/// Tokens with those that fill up the last block.
static int64_t padded_tokens(int64_t tokens)
{
    return (tokens + 3) / 4 * 4;
}

static uint64_t packed_bytes(int64_t cols, int64_t tokens, struct gemm_kind k)
{
    return align_up_u64((uint64_t)(cols / 32 * gemm_x_bytes(k, (int)padded_tokens(tokens))), 64);
}

/// MM_ROWS expanded rows: u, d, m, s.
static uint64_t rows_bytes(int64_t cols)
{
    return (uint64_t)(MM_ROWS * (cols + cols / 8 + cols / 4 + cols / 16));
}

/// Per thread: the tiles, then the rows that become one.
static uint64_t tiles_bytes(int64_t cols, struct gemm_kind k)
{
    return (uint64_t)(tiles_together(cols, k) * (cols / 32) * gemm_w_bytes(k));
}

static uint64_t gemm_bytes(int64_t cols, int64_t tokens, struct gemm_kind k, int threads)
{
    return packed_bytes(cols, tokens, k) +
           (uint64_t)threads * (tiles_bytes(cols, k) + align_up_u64(rows_bytes(cols), 64));
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
        const int64_t before = c * (n_groups / MM_CHAINS) + min_i64(c, n_groups % MM_CHAINS);
        uint8_t *to = (uint8_t *)dst + (before + g / MM_CHAINS) * step;
        for (int t = 0; t < block; t++)
            pack_group(to, &rows[t < n ? t : 0], g, t, block, kind);
    }
}

struct gemm_run {
    const struct run_args *a;
    struct mm_shape s;
    struct gemm_kind kind;
    const struct gemm *gemm;
    int block; // tokens
    const uint8_t *x;
    uint8_t *tiles, *rows; // this thread's
    void (*expand)(const struct expanded *dst, const void *src, int64_t n);
};

static void expand_tile(const struct gemm_run *r, uint8_t *tile, int64_t row0, int n_rows)
{
    const int64_t cols = r->s.cols, n_groups = cols / 32;
    const uint64_t w_bytes = dtype_row_bytes(r->s.type, cols);
    const uint8_t *w = (const uint8_t *)r->a->src[1] + (uint64_t)row0 * w_bytes;
    float *d = (float *)(void *)r->rows, *m = d + MM_ROWS * n_groups;
    int8_t *scale = (int8_t *)(m + MM_ROWS * 2 * n_groups);
    const struct expanded all = {
        .d = d, .m = m, .s = scale, .u = (uint8_t *)(scale + MM_ROWS * 2 * n_groups)
    };

    for (int i = 0; i < n_rows; i++) {
        const struct expanded one = {
            .u = all.u + i * cols,
            .d = all.d + i * n_groups,
            .m = all.m + i * n_groups * (r->kind.sub16 ? 2 : 1),
            .s = all.s + i * n_groups * 2,
        };
        r->expand(&one, w + (uint64_t)i * w_bytes, cols);
    }
    r->gemm->interleave(tile, &all, n_rows, cols, r->kind);
}

/// Weight rows [from, to) times all tokens.
static void gemm_rows(const struct gemm_run *r, int64_t from, int64_t to)
{
    const int64_t n_groups = r->s.cols / 32, tile_bytes = n_groups * gemm_w_bytes(r->kind);
    const uint8_t *x = r->x;

    for (int64_t row = from, i = 0; row < to; row += MM_ROWS, i++)
        expand_tile(r, r->tiles + i * tile_bytes, row, (int)min_i64(MM_ROWS, to - row));
    for (int64_t t = 0; t < r->s.tokens; t += r->block) {
        const int n = (int)min_i64(r->block, r->s.tokens - t), block = (int)padded_tokens(n);
        for (int64_t row = from, i = 0; row < to; row += MM_ROWS, i++) {
            r->gemm->run(&(struct gemm_args){
                .kind = r->kind,
                .w = r->tiles + i * tile_bytes,
                .x = x,
                .n_groups = n_groups,
                .block = block,
                .n_rows = (int)min_i64(MM_ROWS, to - row),
                .n_tokens = n,
                .out = out_at(r->a, &r->s, t, row),
            });
        }
        x += n_groups * gemm_x_bytes(r->kind, block);
    }
}

static void run_gemm(const struct run_args *a, struct team *team, const struct mm_shape *s)
{
    const struct matmul_fns *f = &team_fns(team)->mm;
    struct gemm_run r = { .a = a, .s = *s, .kind = kind_of(s->type), .gemm = f->gemm };
    const int64_t n_groups = s->cols / 32;
    uint8_t *x = a->scratch;

    r.block = block_of(r.gemm, r.kind);
    r.expand = f->expand[s->type] != NULL ? f->expand[s->type] : dtype_info(s->type)->expand;
    r.x = x;
    r.tiles = x + packed_bytes(s->cols, s->tokens, r.kind) +
              (uint64_t)team_i(team) *
                  (tiles_bytes(s->cols, r.kind) + align_up_u64(rows_bytes(s->cols), 64));
    r.rows = r.tiles + tiles_bytes(s->cols, r.kind);

    for (int64_t i; (i = team_next(team, (s->tokens + r.block - 1) / r.block)) >= 0;) {
        const int64_t from = i * r.block;
        const int n = (int)min_i64(r.block, s->tokens - from);
        struct a8_row rows[MM_ROWS];
        for (int t = 0; t < n; t++)
            rows[t] = a8_row_at(x_row(a, s, from + t), s->cols);
        r.gemm->pack(x + from * n_groups * gemm_x_bytes(r.kind, 1), rows, n, (int)padded_tokens(n),
                     s->cols, r.kind);
    }
    team_phase(team);

    const int64_t n_tiles = (s->rows + MM_ROWS - 1) / MM_ROWS,
                  together = tiles_together(s->cols, r.kind);
    const int64_t n_long =
        max_i64(0, n_tiles / together - team_n(team)); // items of so many tiles; then single ones
    const int64_t n_items = n_long + n_tiles - n_long * together;
    for (int64_t i; (i = team_next(team, n_items)) >= 0;) {
        const int64_t tile = i < n_long ? i * together : n_long * together + (i - n_long);
        const int64_t n = i < n_long ? together : 1;
        gemm_rows(&r, tile * MM_ROWS, min_i64((tile + n) * MM_ROWS, s->rows));
    }
}

// --- the kernel
// -------------------------------------------------------------------------------------

static bool accepts(const struct node *n, const struct dims *max, bool exact)
{
    const struct dtype_info *t = dtype_info(n->src[1]->type);
    (void)max;

    return !exact && t != NULL && t->quantized && t->expand != NULL &&
           !(t->has_min && t->zero != 0);
}

/// The larger of what few and many tokens need; the same for every instruction set.
static uint64_t scratch_bytes(const struct node *n, const struct dims *max, int threads)
{
    const struct mm_shape s = mm_shape(n, max);
    const uint64_t few = (uint64_t)threads * gemv_bytes(s.cols, min_i64(s.tokens, MM_GEMV_TOKENS));
    const uint64_t many = gemm_bytes(s.cols, s.tokens, kind_of(s.type), threads);

    return s.tokens > MM_GEMV_TOKENS ? max_u64(few, many) : few;
}

static void run(const struct run_args *a, struct team *team)
{
    const struct mm_shape s = mm_shape(a->node, a->now);

    if (s.tokens <= MM_GEMV_TOKENS)
        run_gemv(a, team, &s);
    else
        run_gemm(a, team, &s);
}

const struct kernel cpu_matmul_a8 = {
    .name = "matmul_a8",
    .op = OP_MATMUL,
    .accepts = accepts,
    .act = DTYPE_A8,
    .scratch_bytes = scratch_bytes,
    .run = run,
};

// --- float32 activations
// --------------------------------------------------------------------------

enum { DOTS_ROWS = 16 }; // made float32 together, where they are not and there are many tokens

static bool accepts_f32(const struct node *n, const struct dims *max, bool exact)
{
    const struct dtype_info *t = dtype_info(n->src[1]->type);
    (void)max;

    return t != NULL && t->to_f32 != NULL && (t->quantized ? exact : n->src[1]->type != DTYPE_I32);
}

/// Per thread, some rows as float32.
static uint64_t rows_f32_bytes(int64_t cols)
{
    return align_up_u64((uint64_t)(DOTS_ROWS * cols) * sizeof(float), 64);
}

static uint64_t scratch_f32(const struct node *n, const struct dims *max, int threads)
{
    const struct mm_shape s = mm_shape(n, max);

    return s.type == DTYPE_F32 ? 0 : (uint64_t)threads * rows_f32_bytes(s.cols);
}

/// Rows [from, to), which are float32 in `rows` or still to be used as they are (NULL).
static void dots(const struct run_args *a, struct team *team, const struct mm_shape *s,
                 const float *rows, int64_t from, int64_t to)
{
    const uint64_t w_bytes = dtype_row_bytes(s->type, s->cols);

    team_fns(team)->mm.dots(&(struct dots_args){
        .type = rows != NULL ? DTYPE_F32 : s->type,
        .w = rows != NULL ? (const uint8_t *)rows
                          : (const uint8_t *)a->src[1] + (uint64_t)from * w_bytes,
        .x = a->src[0],
        .n_rows = to - from,
        .n_tokens = s->tokens,
        .cols = s->cols,
        .out = out_at(a, s, 0, from),
    });
}

static void run_f32(const struct run_args *a, struct team *team)
{
    const struct mm_shape s = mm_shape(a->node, a->now);
    const struct dtype_info *t = dtype_info(s.type);
    const bool in_place = s.type == DTYPE_F32 || (!t->quantized && s.tokens <= MM_GEMV_TOKENS);
    const int64_t w_bytes = (int64_t)dtype_row_bytes(s.type, s.cols);
    const int64_t least = in_place ? GEMV_ITEM_BYTES / w_bytes + 1 : DOTS_ROWS;
    uint8_t *mine = (uint8_t *)a->scratch + (uint64_t)team_i(team) * rows_f32_bytes(s.cols);
    float *rows = in_place ? NULL : (float *)(void *)mine;
    int64_t n_items = 0, from = 0, to = 0;

    while (item(&from, &to, n_items, s.rows, MM_GEMV_ROWS, least, team_n(team)))
        n_items++;
    for (int64_t i; (i = team_next(team, n_items)) >= 0;) {
        (void)item(&from, &to, i, s.rows, MM_GEMV_ROWS, least, team_n(team));
        if (in_place)
            dots(a, team, &s, NULL, from, to);
        for (int64_t r = from; !in_place && r < to; r += DOTS_ROWS) {
            const int64_t n = min_i64(DOTS_ROWS, to - r);
            for (int64_t k = 0; k < n; k++)
                t->to_f32(rows + k * s.cols, (const uint8_t *)a->src[1] + (r + k) * w_bytes,
                          s.cols);
            dots(a, team, &s, rows, r, r + n);
        }
    }
}

const struct kernel cpu_matmul_f32 = {
    .name = "matmul_f32",
    .op = OP_MATMUL,
    .accepts = accepts_f32,
    .act = DTYPE_F32,
    .scratch_bytes = scratch_f32,
    .run = run_f32,
};

const struct cpu_kernel cpu_matmul_kernels[] = {
    { &cpu_matmul_a8, CPU_AVX2 }, { &cpu_matmul_f32, CPU_AVX2 }, { &cpu_ref_matmul_a8, 0 },
    { &cpu_ref_matmul_f32, 0 },   { &cpu_ref_embed, 0 },         { NULL, 0 },
};
