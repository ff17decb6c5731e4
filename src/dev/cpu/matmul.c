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

static struct mm_out out_moved(const struct mm_out *o, int64_t tokens)
{
    const int64_t at = tokens * o->stride;

    return (struct mm_out){
        .y = o->y + at,
        .stride = o->stride,
        .bias = o->bias,
        .res = o->res != NULL ? o->res + at : NULL,
    };
}

/// Where the second plane of a precise product is added to what the first gave.
static struct mm_out onto(struct mm_out out)
{
    out.bias = NULL;
    out.res = out.y;
    return out;
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

/// How a gemv meets many tokens: `planes` rows each, so many tokens at a time. The prepared rows of
/// those that are met together lie together, plane by plane.
struct passes {
    const struct gemv *gemv;
    int planes; // 2 for a precise product: src[0] holds the tokens' second rows behind the first
    int64_t tokens;
};

static int pass_tokens(const struct passes *p, int64_t first)
{
    return (int)min_i64(MM_GEMV_TOKENS / p->planes, p->tokens - first);
}

static void prepare(const struct passes *p, struct gemv_x *x, const struct run_args *a,
                    const struct mm_shape *s)
{
    const uint8_t zero = dtype_info(s->type)->zero;

    for (int64_t t = 0; t < p->tokens; t += pass_tokens(p, t))
        for (int plane = 0; plane < p->planes; plane++)
            for (int i = 0; i < pass_tokens(p, t); i++, x += gemv_blocks(s->cols))
                p->gemv->prepare(x, a8_row_at(x_row(a, s, plane * p->tokens + t + i), s->cols),
                                 s->cols, zero);
}

enum { PASS_ROWS = 64 }; // stay in a cache while all passes go over them

/// y = (sum of the first plane + bias + residual) + sum of the second.
static void add_planes(const struct mm_out *o, const float (*sums)[PASS_ROWS], int tokens,
                       int64_t n_rows)
{
    for (int t = 0; t < tokens; t++) {
        for (int64_t r = 0; r < n_rows; r++) {
            float y = sums[t][r];
            if (o->bias != NULL)
                y = y + o->bias[r];
            if (o->res != NULL)
                y = y + o->res[t * o->stride + r];
            o->y[t * o->stride + r] = y + sums[tokens + t][r];
        }
    }
}

/// All passes over at most PASS_ROWS rows.
static void passes_over(const struct passes *p, struct gemv_args g)
{
    const struct mm_out out = g.out;
    float sums[MM_GEMV_TOKENS][PASS_ROWS];

    for (int64_t t = 0; t < p->tokens; t += pass_tokens(p, t)) {
        const int n = pass_tokens(p, t);
        const struct mm_out to = out_moved(&out, t);
        g.n_tokens = n * p->planes;
        g.out = p->planes == 1 ? to : (struct mm_out){ .y = sums[0], .stride = PASS_ROWS };
        p->gemv->run(&g);
        if (p->planes == 2)
            add_planes(&to, (const float(*)[PASS_ROWS])sums, n, g.n_rows);
        g.x += g.n_tokens * gemv_blocks(g.cols);
    }
}

static void run_gemv(const struct run_args *a, struct team *team, const struct mm_shape *s,
                     int planes)
{
    const struct matmul_fns *f = &team_fns(team)->mm;
    const struct passes p = { .gemv = f->gemv[s->type], .planes = planes, .tokens = s->tokens };
    const int64_t w_bytes = (int64_t)dtype_row_bytes(s->type, s->cols);
    const int64_t least = GEMV_ITEM_BYTES / w_bytes + 1;
    const uint64_t x_bytes = gemv_bytes(s->cols, s->tokens * planes);
    uint8_t *mine = (uint8_t *)a->scratch + (uint64_t)team_i(team) * x_bytes;
    struct gemv_args g = {
        .type = dtype_info(s->type),
        .expand = f->expand[s->type] != NULL ? f->expand[s->type] : dtype_info(s->type)->expand,
        .w_bytes = w_bytes,
        .cols = s->cols,
        .x = (struct gemv_x *)(void *)mine,
    };
    bool prepared = false;
    int64_t n_items = 0, from = 0, to = 0;

    while (item(&from, &to, n_items, s->rows, MM_GEMV_ROWS, least, team_n(team)))
        n_items++;
    for (int64_t i; (i = team_next(team, n_items)) >= 0;) {
        if (!prepared)
            prepare(&p, (struct gemv_x *)(void *)mine, a, s);
        prepared = true;
        (void)item(&from, &to, i, s->rows, MM_GEMV_ROWS, least, team_n(team));
        const bool one = planes == 1 && pass_tokens(&p, 0) == s->tokens;
        for (int64_t r = from; r < to; r += g.n_rows) {
            g.w = (const uint8_t *)a->src[1] + r * w_bytes;
            g.n_rows = one ? to - r : min_i64(PASS_ROWS, to - r);
            g.out = out_at(a, s, 0, r);
            passes_over(&p, g);
        }
    }
}

// --- many tokens
// ------------------------------------------------------------------------------------

static uint64_t packed_bytes(int64_t cols, int64_t tokens, struct gemm_kind k)
{
    return align_up_u64((uint64_t)(cols / 32 * gemm_x_bytes(k, (int)gemm_padded(tokens))), 64);
}

static uint64_t gemm_bytes(int64_t cols, int64_t tokens, struct gemm_kind k, int threads)
{
    return packed_bytes(cols, tokens, k) + (uint64_t)threads * gemm_thread_bytes(cols, k);
}

struct gemm_run {
    const struct run_args *a;
    int planes;
    struct mm_shape s;
    int block; // tokens
    const uint8_t *x;
    struct gemm_work work;
};

/// Weight rows [from, to) times all tokens.
static void gemm_rows(const struct gemm_run *r, int64_t from, int64_t to)
{
    const struct gemm_kind kind = r->work.kind;
    const uint8_t *x = r->x;

    gemm_expand(&r->work, (const uint8_t *)r->a->src[1], from, to);
    for (int p = 0; p < r->planes; p++, x = r->x + packed_bytes(r->s.cols, r->s.tokens, kind)) {
        for (int64_t t = 0; t < r->s.tokens; t += r->block) {
            const int n = (int)min_i64(r->block, r->s.tokens - t);
            const struct mm_out first = out_at(r->a, &r->s, t, from);
            const struct mm_out out = p == 0 ? first : onto(first);
            gemm_block_times(&r->work, to - from, x, n, &out);
            x += r->s.cols / 32 * gemm_x_bytes(kind, (int)gemm_padded(n));
        }
    }
}

static void run_gemm(const struct run_args *a, struct team *team, const struct mm_shape *s,
                     int planes)
{
    const struct matmul_fns *f = &team_fns(team)->mm;
    const struct gemm_kind kind = gemm_kind(s->type);
    const int64_t n_groups = s->cols / 32;
    const uint64_t plane = packed_bytes(s->cols, s->tokens, kind);
    uint8_t *x = a->scratch, *mine = x + (uint64_t)planes * plane +
                                     (uint64_t)team_i(team) * gemm_thread_bytes(s->cols, kind);
    const struct gemm_run r = { .a = a,
                                .planes = planes,
                                .s = *s,
                                .block = gemm_block(f->gemm, kind),
                                .x = x,
                                .work = gemm_work(f, s->type, s->cols, mine) };

    const int64_t n_blocks = (s->tokens + r.block - 1) / r.block;
    for (int64_t i; (i = team_next(team, planes * n_blocks)) >= 0;) {
        const int64_t p = i / n_blocks, from = i % n_blocks * r.block;
        const int n = (int)min_i64(r.block, s->tokens - from);
        struct a8_row rows[MM_ROWS];
        for (int t = 0; t < n; t++)
            rows[t] = a8_row_at(x_row(a, s, p * s->tokens + from + t), s->cols);
        f->gemm->pack(x + (uint64_t)p * plane + from * n_groups * gemm_x_bytes(kind, 1), rows, n,
                      (int)gemm_padded(n), s->cols, kind);
    }
    team_phase(team);

    const int64_t n_tiles = (s->rows + MM_ROWS - 1) / MM_ROWS, together = gemm_tiles(s->cols, kind);
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

static bool is_product(const struct node *n, bool exact)
{
    const struct dtype_info *t = dtype_info(n->src[1]->type);

    return !exact && t != NULL && t->quantized && t->expand != NULL &&
           !(t->has_min && t->zero != 0);
}

static bool accepts(const struct node *n, const struct dims *max, bool exact)
{
    (void)max;
    return is_product(n, exact) && !n->args.matmul.precise;
}

/// The larger of what few and many tokens need; the same for every instruction set.
static uint64_t product_bytes(const struct mm_shape *s, int planes, int threads)
{
    const struct gemm_kind kind = gemm_kind(s->type);
    const int64_t few_x = planes * min_i64(s->tokens, MM_FEW_TOKENS);
    const uint64_t few = (uint64_t)threads * gemv_bytes(s->cols, few_x);
    const uint64_t many = gemm_bytes(s->cols, s->tokens, kind, threads) +
                          (uint64_t)(planes - 1) * packed_bytes(s->cols, s->tokens, kind);

    return s->tokens > MM_GEMV_TOKENS ? max_u64(few, many) : few;
}

static uint64_t scratch_bytes(const struct node *n, const struct dims *max, int threads)
{
    const struct mm_shape s = mm_shape(n, max);

    return product_bytes(&s, 1, threads);
}

static void product(const struct run_args *a, struct team *team, int planes)
{
    const struct mm_shape s = mm_shape(a->node, a->now);

    if (s.tokens <= team_fns(team)->mm.few_tokens)
        run_gemv(a, team, &s, planes);
    else
        run_gemm(a, team, &s, planes);
}

static void run(const struct run_args *a, struct team *team)
{
    product(a, team, 1);
}

const struct kernel cpu_matmul_a8 = {
    .name = "matmul_a8",
    .op = OP_MATMUL,
    .accepts = accepts,
    .act = DTYPE_A8,
    .scratch_bytes = scratch_bytes,
    .run = run,
};

static bool accepts_precise(const struct node *n, const struct dims *max, bool exact)
{
    (void)max;
    return is_product(n, exact) && n->args.matmul.precise;
}

static uint64_t scratch_precise(const struct node *n, const struct dims *max, int threads)
{
    const struct mm_shape s = mm_shape(n, max);

    return mm_split_bytes(&s) + product_bytes(&s, 2, threads);
}

static void run_precise(const struct run_args *a, struct team *team)
{
    const struct mm_shape s = mm_shape(a->node, a->now);
    struct run_args split = *a;

    mm_split_all(a, team, team_fns(team)->vec.a8);
    split.src[0] = a->scratch;
    split.scratch = (uint8_t *)a->scratch + mm_split_bytes(&s);
    product(&split, team, 2);
}

const struct kernel cpu_matmul_precise = {
    .name = "matmul_precise",
    .op = OP_MATMUL,
    .accepts = accepts_precise,
    .act = DTYPE_F32,
    .scratch_bytes = scratch_precise,
    .run = run_precise,
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

    return dtype_info(s.type)->quantized ? (uint64_t)threads * rows_f32_bytes(s.cols) : 0;
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
    const bool in_place = !t->quantized;
    const int64_t w_bytes = (int64_t)dtype_row_bytes(s.type, s.cols);
    const int64_t least = in_place ? GEMV_ITEM_BYTES / w_bytes + 1 : DOTS_ROWS;
    const uint64_t mine = (uint64_t)team_i(team) * rows_f32_bytes(s.cols);
    float *rows = in_place ? NULL : (float *)(void *)((uint8_t *)a->scratch + mine);
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
    { &cpu_matmul_a8, CPU_AVX2 },   { &cpu_matmul_precise, CPU_AVX2 },
    { &cpu_matmul_f32, CPU_AVX2 },  { &cpu_ref_matmul_a8, 0 },
    { &cpu_ref_matmul_precise, 0 }, { &cpu_ref_matmul_f32, 0 },
    { &cpu_ref_embed, 0 },          { NULL, 0 },
};
