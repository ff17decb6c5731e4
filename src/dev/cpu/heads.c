// heads.c - HEADS: small products, one for each head. Definition: ref/heads.c.
//
// An item of work is a head and some rows of its matrix, times all tokens. What it needs of the
// activations it makes ready for itself: that is little beside the product.

#include "dev/cpu/cpu_int.h"
#include "dev/cpu/experts.h"

/// Everything that a run shares.
struct run {
    const struct run_args *a;
    struct hd_shape s;
    int64_t rows, parts; // of an item; items of a head
};

/// At least four items a thread, where the matrices have so many tiles.
static struct run run_of(const struct run_args *a, const struct team *t, int64_t rows_max)
{
    struct run r = { .a = a, .s = hd_shape(a->node, a->now) };
    const int64_t tiles = (r.s.n_out + MM_ROWS - 1) / MM_ROWS;
    int64_t parts = (4 * team_n(t) + r.s.heads - 1) / r.s.heads;

    if (parts > tiles)
        parts = tiles;
    r.rows = (tiles + parts - 1) / parts * MM_ROWS;
    if (r.rows > rows_max)
        r.rows = rows_max;
    r.parts = (r.s.n_out + r.rows - 1) / r.rows;
    return r;
}

struct item {
    int h;
    int64_t from, to; // rows
};

static bool next_item(struct item *p, const struct run *r, struct team *t)
{
    const int64_t i = team_next(t, r->s.heads * r->parts);

    if (i < 0)
        return false;
    p->h = (int)(i / r->parts);
    p->from = i % r->parts * r->rows;
    p->to = p->from + r->rows < r->s.n_out ? p->from + r->rows : r->s.n_out;
    return true;
}

static const uint8_t *w_row(const struct run *r, int h, int64_t row)
{
    return (const uint8_t *)r->a->src[1] + (uint64_t)(hd_row(r->a->node, h) + row) * r->s.w_bytes;
}

static struct mm_out out_at(const struct run *r, int64_t t, int h, int64_t row)
{
    return (struct mm_out){
        .y = (float *)r->a->dst[0] + (t * r->s.heads + h) * r->s.n_out + row,
        .stride = (int64_t)r->s.heads * r->s.n_out,
    };
}

// --- quantized weights, A8 activations -----------------------------------------------------------

static struct a8_row x_part(const struct run *r, int64_t t, int h)
{
    const uint64_t bytes = dtype_row_bytes(DTYPE_A8, (int64_t)r->s.heads * r->s.n_in);

    return hd_part(&r->s, (const uint8_t *)r->a->src[0] + (uint64_t)t * bytes, h);
}

static uint64_t gemv_bytes(int64_t n_in)
{
    return (uint64_t)(MM_GEMV_TOKENS * gemv_blocks(n_in)) * sizeof(struct gemv_x);
}

/// Per thread: activations of one head, then what a gemm needs.
static uint64_t acts_bytes(const struct hd_shape *s)
{
    const uint64_t few = gemv_bytes(s->n_in);
    const uint64_t many =
        (uint64_t)(s->n_in / 32 * gemm_x_bytes(gemm_kind(s->type), (int)gemm_padded(s->tokens)));

    return align_up_u64(few > many ? few : many, 64);
}

static uint64_t thread_bytes(const struct hd_shape *s)
{
    return acts_bytes(s) + align_up_u64(gemm_thread_bytes(s->n_in, gemm_kind(s->type)), 64);
}

static uint64_t scratch_a8(const struct node *n, const struct dims *max, int threads)
{
    const struct hd_shape s = hd_shape(n, max);

    return (uint64_t)threads * thread_bytes(&s);
}

static void few_tokens(const struct run *r, const struct matmul_fns *f, uint8_t *mine,
                       struct item p)
{
    const struct dtype_info *type = dtype_info(r->s.type);
    const struct gemv *gemv = f->gemv[r->s.type];
    struct gemv_x *x = (struct gemv_x *)(void *)mine;

    for (int64_t t = 0; t < r->s.tokens; t++)
        gemv->prepare(x + t * gemv_blocks(r->s.n_in), x_part(r, t, p.h), r->s.n_in, type->zero);
    gemv->run(&(struct gemv_args){
        .type = type,
        .expand = f->expand[r->s.type] != NULL ? f->expand[r->s.type] : type->expand,
        .w = w_row(r, p.h, p.from),
        .w_bytes = (int64_t)r->s.w_bytes,
        .x = x,
        .n_rows = p.to - p.from,
        .cols = r->s.n_in,
        .n_tokens = (int)r->s.tokens,
        .out = out_at(r, 0, p.h, p.from),
    });
}

static void many_tokens(const struct run *r, const struct matmul_fns *f, uint8_t *mine,
                        struct item p)
{
    const struct gemm_work work = gemm_work(f, r->s.type, r->s.n_in, mine + acts_bytes(&r->s));
    const int block = gemm_block(f->gemm, work.kind);
    const int64_t chunk = (int64_t)gemm_tiles(r->s.n_in, work.kind) * MM_ROWS;
    const int64_t token_bytes =
        r->s.n_in / 32 * gemm_x_bytes(work.kind, 1); // blocks before are full

    for (int64_t t = 0; t < r->s.tokens; t += block) {
        const int n = r->s.tokens - t < block ? (int)(r->s.tokens - t) : block;
        struct a8_row rows[MM_ROWS];
        for (int i = 0; i < n; i++)
            rows[i] = x_part(r, t + i, p.h);
        f->gemm->pack(mine + t * token_bytes, rows, n, (int)gemm_padded(n), r->s.n_in, work.kind);
    }
    for (int64_t row = p.from; row < p.to; row += chunk) {
        const int64_t end = row + chunk < p.to ? row + chunk : p.to;
        gemm_expand(&work, w_row(r, p.h, 0), row, end);
        for (int64_t t = 0; t < r->s.tokens; t += block) {
            const int n = r->s.tokens - t < block ? (int)(r->s.tokens - t) : block;
            const struct mm_out out = out_at(r, t, p.h, row);
            gemm_block_times(&work, end - row, mine + t * token_bytes, n, &out);
        }
    }
}

static void run_a8(const struct run_args *a, struct team *t)
{
    const struct run r = run_of(a, t, INT64_MAX);
    const struct matmul_fns *f = &team_fns(t)->mm;
    uint8_t *mine = (uint8_t *)a->scratch + (uint64_t)team_i(t) * thread_bytes(&r.s);

    for (struct item p; next_item(&p, &r, t);)
        if (r.s.tokens <= MM_GEMV_TOKENS)
            few_tokens(&r, f, mine, p);
        else
            many_tokens(&r, f, mine, p);
}

static bool accepts_a8(const struct node *n, const struct dims *max, bool exact)
{
    const struct dtype_info *t = dtype_info(n->src[1]->type);
    (void)max;

    return !exact && !n->args.heads.transposed && t->quantized && t->expand != NULL &&
           !(t->has_min && t->zero != 0);
}

const struct kernel cpu_heads_a8 = {
    .name = "heads_a8",
    .op = OP_HEADS,
    .accepts = accepts_a8,
    .act = DTYPE_A8,
    .scratch_bytes = scratch_a8,
    .run = run_a8,
};

// --- float32 activations -------------------------------------------------------------------------

/// Per thread, some rows as float32.
static uint64_t rows_f32_bytes(int n_in)
{
    return align_up_u64((uint64_t)(MM_ROWS * n_in) * sizeof(float), 64);
}

static uint64_t scratch_f32(const struct node *n, const struct dims *max, int threads)
{
    (void)max;
    return (uint64_t)threads * rows_f32_bytes(n->args.heads.n_in);
}

static void run_f32(const struct run_args *a, struct team *team)
{
    const struct run r = run_of(a, team, MM_ROWS);
    const struct dtype_info *t = dtype_info(r.s.type);
    const bool in_place = !t->quantized && (r.s.type == DTYPE_F32 || r.s.tokens <= MM_GEMV_TOKENS);
    uint8_t *mine = (uint8_t *)a->scratch + (uint64_t)team_i(team) * rows_f32_bytes(r.s.n_in);
    float *rows = (float *)(void *)mine;

    for (struct item p; next_item(&p, &r, team);) {
        const uint8_t *w = w_row(&r, p.h, p.from);
        for (int64_t i = 0; !in_place && i < p.to - p.from; i++)
            t->to_f32(rows + i * r.s.n_in, w + (uint64_t)i * r.s.w_bytes, r.s.n_in);
        for (int64_t k = 0; k < r.s.tokens; k++)
            team_fns(team)->mm.dots(&(struct dots_args){
                .type = in_place ? r.s.type : DTYPE_F32,
                .w = in_place ? w : mine,
                .x = (const float *)a->src[0] + (k * r.s.heads + p.h) * r.s.n_in,
                .n_rows = p.to - p.from,
                .n_tokens = 1,
                .cols = r.s.n_in,
                .out = out_at(&r, k, p.h, p.from),
            });
    }
}

static bool accepts_f32(const struct node *n, const struct dims *max, bool exact)
{
    const struct dtype_info *t = dtype_info(n->src[1]->type);
    (void)max;

    return !n->args.heads.transposed && t->to_f32 != NULL && (exact || !t->quantized);
}

const struct kernel cpu_heads_f32 = {
    .name = "heads_f32",
    .op = OP_HEADS,
    .accepts = accepts_f32,
    .act = DTYPE_F32,
    .scratch_bytes = scratch_f32,
    .run = run_f32,
};

// --- rows are inputs -----------------------------------------------------------------------------

/// Per thread, a head's matrix as float32.
static uint64_t matrix_bytes(const struct heads_args *a)
{
    return align_up_u64((uint64_t)a->n_in * (uint64_t)a->n_out * sizeof(float), 64);
}

static uint64_t scratch_transposed(const struct node *n, const struct dims *max, int threads)
{
    (void)max;
    return (uint64_t)threads * matrix_bytes(&n->args.heads);
}

/// Activations times rows is attention's product.
static void run_transposed(const struct run_args *a, struct team *team)
{
    const struct hd_shape s = hd_shape(a->node, a->now);
    const struct run r = { .a = a, .s = s };
    const struct dtype_info *t = dtype_info(s.type);
    uint8_t *mine =
        (uint8_t *)a->scratch + (uint64_t)team_i(team) * matrix_bytes(&a->node->args.heads);
    const bool in_place = s.type == DTYPE_F32 || (s.type == DTYPE_F16 && s.tokens <= ATTN_ROWS);

    for (int64_t h; (h = team_next(team, s.heads)) >= 0;) {
        const uint8_t *w = w_row(&r, (int)h, 0);
        for (int i = 0; !in_place && i < s.n_in; i++)
            t->to_f32((float *)(void *)mine + (int64_t)i * s.n_out, w + (uint64_t)i * s.w_bytes,
                      s.n_out);
        for (int64_t k = 0; k < s.tokens; k += ATTN_ROWS)
            team_fns(team)->vec.attn_mul(&(struct attn_mul){
                .c = out_at(&r, k, (int)h, 0).y,
                .c_row = (int64_t)s.heads * s.n_out,
                .a = (const float *)a->src[0] + (k * s.heads + h) * s.n_in,
                .a_row = (int64_t)s.heads * s.n_in,
                .b = in_place ? w : mine,
                .b_row = s.n_out,
                .b_half = in_place && s.type == DTYPE_F16,
                .rows = s.tokens - k < ATTN_ROWS ? (int)(s.tokens - k) : ATTN_ROWS,
                .k = s.n_in,
                .cols = s.n_out,
            });
    }
}

static bool accepts_transposed(const struct node *n, const struct dims *max, bool exact)
{
    (void)max;
    (void)exact;
    return n->args.heads.transposed && n->args.heads.n_out % 16 == 0 &&
           dtype_info(n->src[1]->type)->to_f32 != NULL;
}

const struct kernel cpu_heads_transposed = {
    .name = "heads_transposed",
    .op = OP_HEADS,
    .accepts = accepts_transposed,
    .act = DTYPE_F32,
    .scratch_bytes = scratch_transposed,
    .run = run_transposed,
};
