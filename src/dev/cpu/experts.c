// experts.c - EXPERTS and EXPERT_SUM, and the table of kernels of this kind.
//
// One token: each of its experts is a gemv of its own. More tokens: results are sorted by expert,
// so that each expert's weights are read once; experts with few tokens are a gemv, others a gemm
// (matmul.h). Definition: ref/experts.c.

#include "dev/cpu/experts.h"

#include <string.h>

#include "dev/cpu/cpu_int.h"

static int64_t min_i64(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

// --- results sorted by expert --------------------------------------------------------------------

enum {
    MAX_BLOCK = MM_ROWS,     // tokens that are multiplied together, at most
    MAX_CHUNK = 4 * MM_ROWS, // rows of weights
    FEW =
        16, // tokens of an expert that are a gemv's, some at a time: expanding rows would cost more
};

/// Results of one expert that are multiplied together.
struct block {
    int32_t first, n; // of `order`
    int64_t at;       // bytes from the first activations
};

/// In scratch, made by one thread for all.
struct sorted {
    int32_t n_used, n_blocks;
    int32_t *used;       // [n] experts that have results
    int32_t *first;      // [n + 1] expert e has order[first[e]] .. order[first[e + 1] - 1]
    int32_t *block0;     // [n + 1] and the blocks block0[e] .. block0[e + 1] - 1
    int32_t *order;      // [results]
    struct block *block; // [results]
};

static uint64_t sorted_bytes(const struct ex_shape *s)
{
    return align_up_u64(
               2 * sizeof(int32_t) + (uint64_t)(3 * s->n + 2 + s->results) * sizeof(int32_t), 64) +
           align_up_u64((uint64_t)s->results * sizeof(struct block), 64);
}

/// Where its arrays are; the counts are at its beginning.
static struct sorted sorted_at(void *p, const struct ex_shape *s)
{
    int32_t *at = p;
    struct sorted x = { .n_used = at[0], .n_blocks = at[1], .used = at + 2 };

    x.first = x.used + s->n;
    x.block0 = x.first + s->n + 1;
    x.order = x.block0 + s->n + 1;
    x.block =
        (struct block *)(void *)((char *)p + sorted_bytes(s) -
                                 align_up_u64((uint64_t)s->results * sizeof(struct block), 64));
    return x;
}

/// A counting sort: within an expert, results stay in order.
static void sort(struct sorted *x, const struct ex_shape *s, const int32_t *ids)
{
    memset(x->first, 0, (size_t)(s->n + 1) * sizeof *x->first);
    for (int64_t r = 0; r < s->results; r++)
        x->first[ex_id(s, ids, r) + 1]++;
    x->n_used = 0;
    for (int64_t e = 0; e < s->n; e++) {
        if (x->first[e + 1] > 0)
            x->used[x->n_used++] = (int32_t)e;
        x->first[e + 1] += x->first[e];
        x->block0[e] = x->first[e]; // where its next result goes
    }
    for (int64_t r = 0; r < s->results; r++)
        x->order[x->block0[ids[r]]++] = (int32_t)r;
}

// --- quantized weights, A8 activations -----------------------------------------------------------

/// Everything that a run shares, and what is this thread's.
struct run {
    const struct run_args *a;
    struct ex_shape s;
    const struct matmul_fns *f;
    const struct gemv *gemv;
    struct gemm_kind kind;
    int64_t w_bytes, chunk; // rows of weights that are worked on together
    struct sorted x;
    uint8_t *acts; // blocks of activations
    // this thread's:
    struct gemm_work work;
    struct gemv_x *one; // an activation
    float *out;         // [MAX_BLOCK][chunk]
    float *bias;        // [chunk]
};

static int64_t gemv_bytes(int64_t cols)
{
    return gemv_blocks(cols) * (int64_t)sizeof(struct gemv_x);
}

/// Activations of all blocks, whoever is chosen: at most FEW of an expert are a gemv's, whose bytes
/// are more. An expert with more tokens has no gemv; what that leaves of its share is enough for
/// the up to 3 that fill up its last block.
static uint64_t acts_bytes(const struct ex_shape *s)
{
    const int64_t few = gemv_bytes(s->cols),
                  many = s->cols / 32 * gemm_x_bytes(gemm_kind(s->type), 1);

    ASSERT(FEW * (few - many) >= 3 * many);
    return align_up_u64(
        (uint64_t)(s->results * many + min_i64(s->results, s->n * FEW) * (few - many)), 64);
}

static uint64_t thread_bytes(const struct ex_shape *s)
{
    return align_up_u64((uint64_t)((MAX_BLOCK + 1) * MAX_CHUNK) * sizeof(float), 64) +
           (uint64_t)gemv_bytes(s->cols) +
           align_up_u64(gemm_thread_bytes(s->cols, gemm_kind(s->type)), 64);
}

static uint64_t scratch_a8(const struct node *n, const struct dims *max, int threads)
{
    const struct ex_shape s = ex_shape(n, max);

    return sorted_bytes(&s) + acts_bytes(&s) + (uint64_t)threads * thread_bytes(&s);
}

static struct run run_of(const struct run_args *a, struct team *t)
{
    struct run r = { .a = a, .s = ex_shape(a->node, a->now), .f = &team_fns(t)->mm };
    uint8_t *mine;

    r.kind = gemm_kind(r.s.type);
    r.gemv = r.f->gemv[r.s.type];
    r.w_bytes = (int64_t)dtype_row_bytes(r.s.type, r.s.cols);
    r.chunk = (int64_t)gemm_tiles(r.s.cols, r.kind) * MM_ROWS;
    r.acts = (uint8_t *)a->scratch + sorted_bytes(&r.s);
    mine = r.acts + acts_bytes(&r.s) + (uint64_t)team_i(t) * thread_bytes(&r.s);
    r.one = (struct gemv_x *)(void *)mine;
    r.out = (float *)(void *)(mine + gemv_bytes(r.s.cols));
    r.bias = r.out + MAX_BLOCK * MAX_CHUNK;
    r.work = gemm_work(r.f, r.s.type, r.s.cols, r.bias + MAX_CHUNK);
    return r;
}

static struct a8_row x_row(const struct run *r, int64_t result)
{
    const uint64_t bytes = dtype_row_bytes(DTYPE_A8, r->s.cols);

    return a8_row_at((const uint8_t *)r->a->src[0] + (uint64_t)ex_x_row(&r->s, result) * bytes,
                     r->s.cols);
}

/// The biases of rows [from, to) of an expert as floats; NULL where there are none.
static const float *bias_of(const struct run_args *a, const struct ex_shape *s, float *mine,
                            int64_t id, int64_t from, int64_t to)
{
    const struct tensor *b = a->node->src[EXPERTS_BIAS];

    if (b == NULL)
        return NULL;
    const uint64_t at = dtype_row_bytes(b->type, id * s->rows + from);
    const uint8_t *p = (const uint8_t *)a->src[EXPERTS_BIAS] + at;
    if (b->type == DTYPE_F32)
        return (const float *)(const void *)p;
    dtype_info(b->type)->to_f32(mine, p, to - from);
    return mine;
}

static void gemv_rows(const struct run *r, const struct gemv_x *x, int tokens, int64_t id,
                      int64_t from, int64_t to, struct mm_out out)
{
    const struct dtype_info *type = dtype_info(r->s.type);

    r->gemv->run(&(struct gemv_args){
        .type = type,
        .expand = r->work.expand,
        .w = (const uint8_t *)r->a->src[1] + (id * r->s.rows + from) * r->w_bytes,
        .w_bytes = r->w_bytes,
        .x = x,
        .n_rows = to - from,
        .cols = r->s.cols,
        .n_tokens = tokens,
        .out = out,
    });
}

static float *y_row(const struct run *r, int64_t result)
{
    return (float *)r->a->dst[0] + result * r->s.rows;
}

/// One token: an item is a chunk of one of its experts. Items are taken in order, so a thread makes
/// each activation ready once at most.
static void run_one(struct run *r, struct team *t)
{
    const int64_t chunks = (r->s.rows + r->chunk - 1) / r->chunk;
    int64_t ready = -1;

    for (int64_t i; (i = team_next(t, r->s.results * chunks)) >= 0;) {
        const int64_t j = i / chunks, from = i % chunks * r->chunk;
        const int64_t to = min_i64(from + r->chunk, r->s.rows), id = ex_id(&r->s, r->a->src[2], j);
        if (ready != ex_x_row(&r->s, j)) {
            ready = ex_x_row(&r->s, j);
            r->gemv->prepare(r->one, x_row(r, j), r->s.cols, r->kind.zero);
        }
        gemv_rows(r, r->one, 1, id, from, to,
                  (struct mm_out){ .y = y_row(r, j) + from,
                                   .bias = bias_of(r->a, &r->s, r->bias, id, from, to) });
    }
}

static int32_t results_of(const struct sorted *x, int64_t id)
{
    return x->first[id + 1] - x->first[id];
}

static bool is_gemv(const struct run *r, int64_t id)
{
    return results_of(&r->x, id) <= FEW;
}

/// An expert's results in as few blocks of at most `most` as there can be, of about the same size.
/// Those of a gemm are full but for the last: it fills them up by fours.
static void cut(struct sorted *x, int64_t id, int most, bool even)
{
    const int32_t n = results_of(x, id), blocks = (n + most - 1) / most;

    x->block0[id] = x->n_blocks;
    for (int32_t b = 0, at = 0; b < blocks; b++) {
        const int32_t end = even ? n * (b + 1) / blocks : b + 1 < blocks ? at + most : n;
        x->block[x->n_blocks++] = (struct block){ .first = x->first[id] + at, .n = end - at };
        at = end;
    }
    x->block0[id + 1] = x->n_blocks;
}

/// Sorts, cuts, and gives each block its activations' place: gemv's first, since they are aligned.
static void plan_blocks(struct run *r)
{
    struct sorted *x = &r->x;
    int32_t *head = r->a->scratch;
    int64_t at = 0;

    sort(x, &r->s, r->a->src[2]);
    x->n_blocks = 0;
    for (int64_t e = 0; e < r->s.n; e++)
        cut(x, e, is_gemv(r, e) ? MM_GEMV_TOKENS : gemm_block(r->f->gemm, r->kind), is_gemv(r, e));
    for (int pass = 0; pass < 2; pass++)
        for (int32_t u = 0; u < x->n_used; u++)
            for (int32_t i = x->block0[x->used[u]]; i < x->block0[x->used[u] + 1]; i++) {
                struct block *b = &x->block[i];
                if (is_gemv(r, x->used[u]) != (pass == 0))
                    continue;
                b->at = at;
                at += pass == 0 ? b->n * gemv_bytes(r->s.cols)
                                : r->s.cols / 32 * gemm_x_bytes(r->kind, (int)gemm_padded(b->n));
            }
    head[0] = x->n_used;
    head[1] = x->n_blocks;
}

static void make_ready(const struct run *r, const struct block *b)
{
    const int32_t *result = r->x.order + b->first;
    struct a8_row rows[MAX_BLOCK];

    for (int i = 0; i < b->n; i++)
        rows[i] = x_row(r, result[i]);
    if (!is_gemv(r, ((const int32_t *)r->a->src[2])[*result])) {
        r->f->gemm->pack(r->acts + b->at, rows, b->n, (int)gemm_padded(b->n), r->s.cols, r->kind);
        return;
    }
    struct gemv_x *to = (struct gemv_x *)(void *)(r->acts + b->at);
    for (int i = 0; i < b->n; i++)
        r->gemv->prepare(to + i * gemv_blocks(r->s.cols), rows[i], r->s.cols, r->kind.zero);
}

/// Rows [from, to) of an expert times all its blocks. Results lie anywhere, so they are made in
/// `out` and copied.
static void times_blocks(const struct run *r, int64_t id, int64_t from, int64_t to)
{
    const struct mm_out out = { .y = r->out,
                                .stride = to - from,
                                .bias = bias_of(r->a, &r->s, r->bias, id, from, to) };
    const bool few = is_gemv(r, id);

    if (!few)
        gemm_expand(&r->work, (const uint8_t *)r->a->src[1] + id * r->s.rows * r->w_bytes, from,
                    to);
    for (int32_t i = r->x.block0[id]; i < r->x.block0[id + 1]; i++) {
        const struct block *b = &r->x.block[i];
        const uint8_t *x = r->acts + b->at;
        if (few)
            gemv_rows(r, (const struct gemv_x *)(const void *)x, b->n, id, from, to, out);
        else
            gemm_block_times(&r->work, to - from, x, b->n, &out);
        for (int k = 0; k < b->n; k++)
            memcpy(y_row(r, r->x.order[b->first + k]) + from, r->out + k * (to - from),
                   (size_t)(to - from) * sizeof(float));
    }
}

static void run_a8(const struct run_args *a, struct team *t)
{
    struct run r = run_of(a, t);
    const int64_t chunks = (r.s.rows + r.chunk - 1) / r.chunk;

    if (r.s.results == r.s.k) {
        run_one(&r, t);
        return;
    }
    while (team_next(t, 1) >= 0) {
        r.x = sorted_at(a->scratch, &r.s);
        plan_blocks(&r);
    }
    team_phase(t);
    r.x = sorted_at(a->scratch, &r.s);
    for (int64_t i; (i = team_next(t, r.x.n_blocks)) >= 0;)
        make_ready(&r, &r.x.block[i]);
    team_phase(t);
    for (int64_t i; (i = team_next(t, r.x.n_used * chunks)) >= 0;) {
        const int64_t from = i % chunks * r.chunk;
        times_blocks(&r, r.x.used[i / chunks], from, min_i64(from + r.chunk, r.s.rows));
    }
}

static bool accepts_a8(const struct node *n, const struct dims *max, bool exact)
{
    const struct dtype_info *t = dtype_info(n->src[1]->type);
    (void)max;

    return !exact && t->quantized && t->expand != NULL && !(t->has_min && t->zero != 0);
}

const struct kernel cpu_experts_a8 = {
    .name = "experts_a8",
    .op = OP_EXPERTS,
    .accepts = accepts_a8,
    .act = DTYPE_A8,
    .scratch_bytes = scratch_a8,
    .run = run_a8,
};

// --- float32 activations -------------------------------------------------------------------------

/// Per thread: rows as float32, their biases.
static uint64_t thread_bytes_f32(const struct ex_shape *s)
{
    return align_up_u64((uint64_t)(MM_ROWS * s->cols + MM_ROWS) * sizeof(float), 64);
}

static uint64_t scratch_f32(const struct node *n, const struct dims *max, int threads)
{
    const struct ex_shape s = ex_shape(n, max);

    return sorted_bytes(&s) + (uint64_t)threads * thread_bytes_f32(&s);
}

/// Rows [from, to) of an expert times its tokens, one after another: the rows stay near.
static void run_rows(const struct run_args *a, const struct ex_shape *s, const struct sorted *x,
                     const struct matmul_fns *f, float *mine, int64_t id, int64_t from, int64_t to)
{
    const struct dtype_info *t = dtype_info(s->type);
    const uint64_t w_bytes = dtype_row_bytes(s->type, s->cols);
    const uint8_t *w = (const uint8_t *)a->src[1] + (uint64_t)(id * s->rows + from) * w_bytes;
    const bool in_place = !t->quantized && (s->type == DTYPE_F32 || s->results == s->k);
    const float *bias = bias_of(a, s, mine + MM_ROWS * s->cols, id, from, to);

    for (int64_t i = 0; !in_place && i < to - from; i++)
        t->to_f32(mine + i * s->cols, w + (uint64_t)i * w_bytes, s->cols);
    for (int32_t i = x->first[id]; i < x->first[id + 1]; i++)
        f->dots(&(struct dots_args){
            .type = in_place ? s->type : DTYPE_F32,
            .w = in_place ? w : (const uint8_t *)mine,
            .x = (const float *)a->src[0] + ex_x_row(s, x->order[i]) * s->cols,
            .n_rows = to - from,
            .n_tokens = 1,
            .cols = s->cols,
            .out = { .y = (float *)a->dst[0] + x->order[i] * s->rows + from, .bias = bias },
        });
}

static void run_f32(const struct run_args *a, struct team *t)
{
    const struct ex_shape s = ex_shape(a->node, a->now);
    const int64_t chunks = (s.rows + MM_ROWS - 1) / MM_ROWS;
    uint8_t *mine =
        (uint8_t *)a->scratch + sorted_bytes(&s) + (uint64_t)team_i(t) * thread_bytes_f32(&s);
    struct sorted x;

    while (team_next(t, 1) >= 0) {
        x = sorted_at(a->scratch, &s);
        sort(&x, &s, a->src[2]);
        *(int32_t *)a->scratch = x.n_used;
    }
    team_phase(t);
    x = sorted_at(a->scratch, &s);
    for (int64_t i; (i = team_next(t, x.n_used * chunks)) >= 0;) {
        const int64_t from = i % chunks * MM_ROWS;
        run_rows(a, &s, &x, &team_fns(t)->mm, (float *)(void *)mine, x.used[i / chunks], from,
                 min_i64(from + MM_ROWS, s.rows));
    }
}

static bool accepts_f32(const struct node *n, const struct dims *max, bool exact)
{
    const struct dtype_info *t = dtype_info(n->src[1]->type);
    (void)max;

    return t->to_f32 != NULL && (exact || !t->quantized);
}

const struct kernel cpu_experts_f32 = {
    .name = "experts_f32",
    .op = OP_EXPERTS,
    .accepts = accepts_f32,
    .act = DTYPE_F32,
    .scratch_bytes = scratch_f32,
    .run = run_f32,
};

// --- EXPERT_SUM ----------------------------------------------------------------------------------

enum { SUM_PART = 512 }; // numbers; a multiple of 16

/// Weights times rows is attention's product for one row.
static void sum_run(const struct run_args *a, struct team *team)
{
    const struct vec_fns *f = &team_fns(team)->vec;
    const struct tensor *out = a->node->dst[0];
    const int64_t tokens = tensor_rows(out, a->now), n = dim_value(out->d[0], a->now);
    const int64_t k = dim_value(a->node->src[1]->d[0], a->now),
                  parts = (n + SUM_PART - 1) / SUM_PART;
    const float *res = a->src[EXPERT_SUM_RES];
    float sum[SUM_PART];

    for (int64_t i; (i = team_next(team, tokens * parts)) >= 0;) {
        const int64_t t = i / parts, from = i % parts * SUM_PART, len = min_i64(SUM_PART, n - from);
        float *y = (float *)a->dst[0] + t * n + from;
        f->attn_mul(&(struct attn_mul){
            .c = res != NULL ? sum : y, // the residual may lie where y does
            .a = (const float *)a->src[1] + t * k,
            .b = (const float *)a->src[0] + t * k * n + from,
            .b_row = n,
            .rows = 1,
            .k = (int)k,
            .cols = (int)len,
        });
        if (res != NULL)
            f->add(y, sum, res + t * n + from, len);
    }
}

static bool sum_accepts(const struct node *n, const struct dims *max, bool exact)
{
    (void)exact;
    return node_is_f32(n) && dim_value(n->dst[0]->d[0], max) % 16 == 0;
}

const struct kernel cpu_expert_sum = {
    .name = "expert_sum",
    .op = OP_EXPERT_SUM,
    .accepts = sum_accepts,
    .act = DTYPE_F32,
    .run = sum_run,
};

const struct cpu_kernel cpu_expert_kernels[] = {
    { &cpu_ref_route, 0 },
    { &cpu_experts_a8, CPU_AVX2 },
    { &cpu_experts_f32, CPU_AVX2 },
    { &cpu_ref_experts_a8, 0 },
    { &cpu_ref_experts_f32, 0 },
    { &cpu_expert_sum, CPU_AVX2 },
    { &cpu_ref_expert_sum, 0 },
    { &cpu_heads_a8, CPU_AVX2 },
    { &cpu_heads_f32, CPU_AVX2 },
    { &cpu_heads_transposed, CPU_AVX2 },
    { &cpu_ref_heads_a8, 0 },
    { &cpu_ref_heads_f32, 0 },
    { &cpu_ref_heads_transposed, 0 },
    { &cpu_slice, 0 },
    { &cpu_concat, 0 },
    { NULL, 0 },
};
