// attn.c - ATTN in blocks: for each KV head, a tile of 64 keys meets several rows (token x query
// head) at once.
//
// Few tokens: an index is a token, a KV head and one of the 4 lanes; the lanes are combined in a
// second phase. Many tokens: an index is a block of tokens and a KV head. Definition: ref/attn.c,
// whose bits these are.

#include "dev/cpu/cpu_int.h"
#include "dev/cpu/kv.h"

#include <math.h>
#include <string.h>

enum {
    LANES = 4,
    TILE = KV_PAGE_TOKENS,
    FEW_TOKENS = 8,   // worked on lane by lane
    BLOCK_ROWS = 96,  // rows that share one conversion of a tile to F32, about
    CONVERT_ROWS = 8, // from so many rows on it pays to convert f16 once
};

/// Everything that a run of the node shares.
struct attn {
    const struct run_args *a;
    const struct vec_fns *f;
    struct kv_view kv;
    int heads, group; // query heads, and of them those of one KV head
    int dim_k, dim_v;
    int64_t dim_o; // dim_v, padded to whole vectors
    int window;
    const float *q, *sinks;
    const int32_t *pos, *seq;
};

/// Running maximum, sum and output of each row, for one lane.
struct lane {
    float *m, *l, *o; // [rows], [rows], [rows][dim_o]
};

/// Working space of a thread.
struct work {
    float *q;      // [rows][dim_k]
    float *s;      // [ATTN_ROWS][TILE]
    float *keys;   // [dim_k][TILE]
    float *values; // [TILE][dim_o]
    float *out;    // [group][dim_v]
    struct lane lane[LANES];
};

// --- scratch -------------------------------------------------------------------------------------

static int64_t pad16(int64_t n)
{
    return (n + 15) / 16 * 16;
}

static int group_of(const struct node *n)
{
    return n->args.attn.n_heads / n->args.attn.n_kv_heads;
}

static int64_t block_tokens(const struct node *n)
{
    const int64_t t = BLOCK_ROWS / group_of(n);

    return t > 1 ? t : 1;
}

/// The next n numbers, or only their count where there is no memory yet.
static float *take(float *base, int64_t *at, int64_t n)
{
    float *p = base != NULL ? base + *at : NULL;

    *at += pad16(n);
    return p;
}

static struct lane take_lane(float *base, int64_t *at, int64_t rows, int64_t dim_o)
{
    struct lane x;

    x.m = take(base, at, rows);
    x.l = take(base, at, rows);
    x.o = take(base, at, rows * dim_o);
    return x;
}

/// Lays out a thread's working space; returns its length in numbers.
static int64_t take_work(struct work *w, float *base, const struct node *n)
{
    const int64_t group = group_of(n), rows = block_tokens(n) * group;
    const int64_t dim_k = n->args.attn.head_dim, dim_v = n->args.attn.head_dim_v;
    int64_t at = 0;

    w->q = take(base, &at, rows * dim_k);
    w->s = take(base, &at, ATTN_ROWS * TILE);
    w->keys = take(base, &at, dim_k * TILE);
    w->values = take(base, &at, TILE * pad16(dim_v));
    w->out = take(base, &at, group * dim_v);
    for (int i = 0; i < LANES; i++)
        w->lane[i] = take_lane(base, &at, rows, pad16(dim_v));
    return at;
}

/// Of one lane of one token and KV head.
static int64_t lane_numbers(const struct node *n)
{
    int64_t at = 0;

    (void)take_lane(NULL, &at, group_of(n), pad16(n->args.attn.head_dim_v));
    return at;
}

/// Lane i of few tokens; they lie [token][kv head][lane].
static struct lane few_lane(const struct attn *x, float *few, int64_t i)
{
    int64_t at = i * lane_numbers(x->a->node);

    return take_lane(few, &at, x->group, x->dim_o);
}

static int64_t few_numbers(const struct node *n)
{
    return (int64_t)FEW_TOKENS * n->args.attn.n_kv_heads * LANES * lane_numbers(n);
}

/// Whether the heads of one KV head are not whole groups of 32: then a row becomes A8 only when all
/// are there.
static bool a8_needs_rows(const struct node *n)
{
    return group_of(n) * n->args.attn.head_dim_v % 32 != 0;
}

static uint64_t attn_scratch(const struct node *n, const struct dims *max, int threads)
{
    struct work w;
    int64_t numbers = take_work(&w, NULL, n) * threads + few_numbers(n);

    if (a8_needs_rows(n))
        numbers += (int64_t)max->n_tokens * n->args.attn.n_heads * n->args.attn.head_dim_v;
    return (uint64_t)numbers * sizeof(float);
}

// --- tiles ---------------------------------------------------------------------------------------

/// Keys and values of a tile, as they lie in the page or converted.
struct tile {
    const void *k, *v;
    bool k_half, v_half;
    int64_t v_row;
};

/// Values lo <= j < hi as F32 rows of dim_o.
static void convert_values(const struct attn *x, float *dst, uint8_t *head, int lo, int hi)
{
    if (x->kv.type == DTYPE_Q8_0) {
        x->f->values_from_q8(dst, x->dim_o, (const int8_t *)head, kv_q8_scales(head, x->dim_v),
                             x->dim_v, lo, hi);
        return;
    }
    if (x->kv.type == DTYPE_F16 && x->dim_o == x->dim_v) {
        x->f->from_f16(dst + lo * x->dim_o, (const uint16_t *)(void *)head + lo * x->dim_o,
                       (hi - lo) * x->dim_o);
        return;
    }
    for (int j = lo; j < hi; j++) {
        float *to = dst + j * x->dim_o;
        const int64_t at = (int64_t)j * x->dim_v;
        if (x->kv.type == DTYPE_F16)
            x->f->from_f16(to, (const uint16_t *)(void *)head + at, x->dim_v);
        else
            memcpy(to, (const float *)(void *)head + at, (size_t)x->dim_v * sizeof *to);
    }
}

static struct tile load_tile(const struct attn *x, struct work *w, int slot, int64_t t, int kv_head,
                             int64_t rows, int lo, int hi)
{
    uint8_t *k = kv_keys(&x->kv, slot, t, kv_head), *v = kv_values(&x->kv, slot, t, kv_head);
    const enum dtype type = x->kv.type;
    const bool half = type == DTYPE_F16 && rows < CONVERT_ROWS && !x->kv.shared;
    struct tile tile = { k, v, half, half, x->dim_v };

    if (type == DTYPE_Q8_0) {
        x->f->keys_from_q8(w->keys, (const int8_t *)k, kv_q8_scales(k, x->dim_k), x->dim_k);
        tile.k = w->keys;
    } else if (type == DTYPE_F16 && !half) {
        x->f->from_f16(w->keys, (const uint16_t *)(void *)k, (int64_t)x->dim_k * TILE);
        tile.k = w->keys;
    }
    if (x->dim_o != x->dim_v || !(half || type == DTYPE_F32) || x->kv.shared) {
        if (x->kv.shared)
            x->f->values_from_keys(w->values, x->dim_o, tile.k, x->dim_v);
        else
            convert_values(x, w->values, v, lo, hi);
        tile.v = w->values;
        tile.v_half = false;
        tile.v_row = x->dim_o;
    }
    return tile;
}

static const void *tile_at(const void *p, bool half, int64_t i)
{
    return half ? (const void *)((const uint16_t *)p + i) : (const void *)((const float *)p + i);
}

// --- a block of rows over a tile -----------------------------------------------------------------

/// Valid keys lo <= j < hi of tile t for position p.
static void valid_keys(const struct attn *x, int64_t p, int64_t t, int *lo, int *hi)
{
    const int64_t last = p - t * TILE + 1, first = x->window > 0 ? last - x->window : 0;

    *lo = first <= 0 ? 0 : first < TILE ? (int)first : TILE;
    *hi = last >= TILE ? TILE : last > 0 ? (int)last : 0;
}

/// Values j0 <= j < j1 into rows r0 .. r0 + rows - 1 of o, which are first multiplied with `start`
/// or, where that is NULL, set to 0.
static void add_part(const struct attn *x, const struct tile *tile, float *o, const float *s,
                     int r0, int rows, int j0, int j1, const float *start)
{
    const struct attn_mul mul = {
        .c = o + r0 * x->dim_o,
        .c_row = x->dim_o,
        .a = s + r0 * TILE + j0,
        .a_row = TILE,
        .b = tile_at(tile->v, tile->v_half, j0 * tile->v_row),
        .b_row = tile->v_row,
        .b_half = tile->v_half,
        .start = start,
        .rows = rows,
        .k = j1 > j0 ? j1 - j0 : 0,
        .cols = (int)x->dim_o,
    };

    x->f->attn_mul(&mul);
}

/// o = o * f + p v over the valid keys of each row, in increasing order; without f o starts as 0.
/// Rows of a block mostly have the same keys; where they differ, at the ends, each goes alone.
static void add_values(const struct attn *x, const struct tile *tile, float *o, const float *s,
                       int rows, const int *lo, const int *hi, const float *f)
{
    static const float one[ATTN_ROWS] = { 1, 1, 1, 1, 1, 1 };
    int from = 0, to = TILE, least = TILE;

    for (int r = 0; r < rows; r++) {
        least = lo[r] < least ? lo[r] : least;
        from = lo[r] > from ? lo[r] : from;
        to = hi[r] < to ? hi[r] : to;
    }
    if (from >= to) { // nothing in common
        for (int r = 0; r < rows; r++)
            add_part(x, tile, o, s, r, 1, lo[r], hi[r], f != NULL ? f + r : NULL);
        return;
    }
    for (int r = 0; least < from && r < rows; r++)
        add_part(x, tile, o, s, r, 1, lo[r], from, f != NULL ? f + r : NULL);
    add_part(x, tile, o, s, 0, rows, from, to, least < from ? one : f);
    for (int r = 0; r < rows; r++)
        if (hi[r] > to)
            add_part(x, tile, o, s, r, 1, to, hi[r], one);
}

/// A tile as the rows of one run meet it.
struct meeting {
    struct tile tile;
    int64_t t, tok; // the tile's number; the first token of the rows
    bool whole;     // every row sees all of its keys
    bool first;     // of the lane's tiles
};

/// One block: rows r0 .. r0 + rows - 1.
static void attend_block(const struct attn *x, struct work *w, const struct lane *lane,
                         const struct meeting *at, int64_t r0, int rows)
{
    const struct tile *tile = &at->tile;
    int lo[ATTN_ROWS] = { 0 }, hi[ATTN_ROWS] = { TILE, TILE, TILE, TILE, TILE, TILE }, from = 0,
        to = TILE;
    float f[ATTN_ROWS], *o = lane->o + r0 * x->dim_o;

    if (!at->whole) {
        from = TILE;
        to = 0;
        for (int r = 0; r < rows; r++) {
            valid_keys(x, x->pos[at->tok + (r0 + r) / x->group], at->t, &lo[r], &hi[r]);
            if (lo[r] >= hi[r])
                continue;
            from = lo[r] < from ? lo[r] : from;
            to = hi[r] > to ? hi[r] : to;
        }
    }
    if (from >= to) {
        if (at->first)
            memset(o, 0, (size_t)(rows * x->dim_o) * sizeof *o);
        return;
    }
    from = from / 16 * 16;
    x->f->attn_mul(&(struct attn_mul){
        .c = w->s + from,
        .c_row = TILE,
        .a = w->q + r0 * x->dim_k,
        .a_row = x->dim_k,
        .b = tile_at(tile->k, tile->k_half, from),
        .b_row = TILE,
        .b_half = tile->k_half,
        .rows = rows,
        .k = x->dim_k,
        .cols = (int)pad16(to - from),
    });
    x->f->attn_softmax(&(struct attn_tile){
        .s = w->s,
        .rows = rows,
        .lo = lo,
        .hi = hi,
        .scale = x->a->node->args.attn.scale,
        .cap = x->a->node->args.attn.softcap,
        .m = lane->m + r0,
        .l = lane->l + r0,
        .f = f,
    });
    add_values(x, tile, o, w->s, rows, lo, hi, at->first ? NULL : f);
}

// --- some tokens of one sequence -----------------------------------------------------------------

struct run {
    int64_t tok, n; // tokens of the batch
    int slot, kv_head;
    int64_t first, last; // tiles
    int64_t min_pos, max_pos;
};

static int64_t first_key(const struct attn *x, int64_t pos)
{
    return x->window > 0 && pos >= x->window ? pos - x->window + 1 : 0;
}

static struct run run_of(const struct attn *x, int64_t tok, int64_t n, int kv_head)
{
    struct run r = { .tok = tok, .n = n, .slot = x->seq[tok], .kv_head = kv_head };

    r.min_pos = r.max_pos = x->pos[tok];
    for (int64_t i = 1; i < n; i++) {
        const int32_t p = x->pos[tok + i];
        r.min_pos = p < r.min_pos ? p : r.min_pos;
        r.max_pos = p > r.max_pos ? p : r.max_pos;
    }
    r.first = first_key(x, r.min_pos) / TILE;
    r.last = r.max_pos / TILE;
    return r;
}

/// o is set by the first tile.
static void lane_start(const struct lane *lane, int64_t rows)
{
    for (int64_t i = 0; i < rows; i++) {
        lane->m[i] = -INFINITY;
        lane->l[i] = 0;
    }
}

/// Query heads of one KV head lie one after another.
static void load_queries(const struct attn *x, struct work *w, const struct run *r)
{
    const int64_t part = (int64_t)x->group * x->dim_k;

    for (int64_t i = 0; i < r->n; i++)
        memcpy(w->q + i * part, x->q + (r->tok + i) * x->heads * x->dim_k + r->kv_head * part,
               (size_t)part * sizeof *w->q);
}

static void attend_tile(const struct attn *x, struct work *w, const struct lane *lane,
                        const struct run *r, int64_t t)
{
    const int64_t rows = r->n * x->group, blocks = (rows + ATTN_ROWS - 1) / ATTN_ROWS;
    const int64_t least = rows / blocks, more = rows % blocks; // blocks of about the same size
    struct meeting at = { .t = t, .tok = r->tok, .first = t < r->first + LANES };
    int lo, hi, last_lo, first_hi;

    valid_keys(x, r->min_pos, t, &lo, &first_hi);
    valid_keys(x, r->max_pos, t, &last_lo, &hi);
    at.whole = last_lo == 0 && first_hi == TILE;
    at.tile = load_tile(x, w, r->slot, t, r->kv_head, rows, lo, hi);
    for (int64_t i = 0, r0 = 0; i < blocks; i++) {
        const int64_t n = least + (i < more);
        attend_block(x, w, lane, &at, r0, (int)n);
        r0 += n;
    }
}

// --- results -------------------------------------------------------------------------------------

/// The lanes of one token become the outputs of its heads. `row0`: the token's first row in the
/// lanes.
static void finish_token(const struct attn *x, struct work *w, const struct lane lane[LANES],
                         int64_t row0, int64_t tok, int kv_head, float *rows)
{
    const int64_t first = first_key(x, x->pos[tok]) / TILE, last = x->pos[tok] / TILE;
    const int64_t len = (int64_t)x->heads * x->dim_v, at = (int64_t)kv_head * x->group * x->dim_v;
    const bool a8 = x->a->dst0 == DTYPE_A8;
    float *out = !a8            ? (float *)x->a->dst[0] + tok * len + at
                 : rows != NULL ? rows + tok * len + at
                                : w->out;

    for (int g = 0; g < x->group; g++) {
        const int64_t r = row0 + g;
        struct attn_combine c = { .out = out + (int64_t)g * x->dim_v, .dim = x->dim_v };
        for (int i = 0; i < LANES; i++) {
            if ((i - first % LANES + LANES) % LANES > last - first)
                continue; // saw no key
            c.m[c.n] = lane[i].m[r];
            c.l[c.n] = lane[i].l[r];
            c.o[c.n++] = lane[i].o + r * x->dim_o;
        }
        if (x->sinks != NULL)
            c.sink = &x->sinks[kv_head * x->group + g];
        x->f->attn_combine(&c);
    }
    if (a8 && rows == NULL) {
        char *row = (char *)x->a->dst[0] + (uint64_t)tok * dtype_row_bytes(DTYPE_A8, len);
        x->f->a8(a8_part_at(row, len, at), out, (int64_t)x->group * x->dim_v);
    }
}

// --- the two ways --------------------------------------------------------------------------------

static void few_tokens(const struct attn *x, struct team *t, struct work *w, float *few,
                       float *rows)
{
    const int64_t heads = x->kv.n_kv_heads, n = x->a->now->n_tokens * heads;
    struct lane lane[LANES];

    for (int64_t k; (k = team_next(t, n * LANES)) >= 0;) {
        const struct run r = run_of(x, k / LANES / heads, 1, (int)(k / LANES % heads));
        lane[0] = few_lane(x, few, k);
        load_queries(x, w, &r);
        lane_start(&lane[0], x->group);
        for (int64_t tile = r.first + (k % LANES - r.first % LANES + LANES) % LANES; tile <= r.last;
             tile += LANES)
            attend_tile(x, w, &lane[0], &r, tile);
    }
    team_phase(t);
    for (int64_t k; (k = team_next(t, n)) >= 0;) {
        for (int i = 0; i < LANES; i++)
            lane[i] = few_lane(x, few, k * LANES + i);
        finish_token(x, w, lane, 0, k / heads, (int)(k % heads), rows);
    }
}

/// Tokens tok .. end - 1, which may be of several sequences, for one KV head.
static void attend_tokens(const struct attn *x, struct work *w, int64_t tok, int64_t end,
                          int kv_head, float *rows)
{
    while (tok < end) {
        int64_t n = 1;
        while (tok + n < end && x->seq[tok + n] == x->seq[tok])
            n++;
        const struct run r = run_of(x, tok, n, kv_head);
        load_queries(x, w, &r);
        for (int64_t t = r.first; t <= r.last && t < r.first + LANES; t++)
            lane_start(&w->lane[t % LANES], n * x->group);
        for (int64_t t = r.first; t <= r.last; t++)
            attend_tile(x, w, &w->lane[t % LANES], &r, t);
        for (int64_t i = 0; i < n; i++)
            finish_token(x, w, w->lane, i * x->group, tok + i, kv_head, rows);
        tok += n;
    }
}

/// The last blocks, which mostly have most keys, go first.
static void many_tokens(const struct attn *x, struct team *t, struct work *w, float *rows)
{
    const int64_t n = x->a->now->n_tokens, heads = x->kv.n_kv_heads;
    const int64_t most = block_tokens(x->a->node), fair = n * heads / (4 * team_n(t));
    const int64_t per = fair >= most ? most : fair > 1 ? fair : 1, blocks = (n + per - 1) / per;

    for (int64_t k; (k = team_next(t, blocks * heads)) >= 0;) {
        const int64_t tok = (blocks - 1 - k / heads) * per, end = tok + per < n ? tok + per : n;
        attend_tokens(x, w, tok, end, (int)(k % heads), rows);
    }
}

/// Rows that were staged as F32 become A8.
static void rows_to_a8(const struct attn *x, struct team *t, const float *rows)
{
    const int64_t len = (int64_t)x->heads * x->dim_v;

    team_phase(t);
    for (int64_t i; (i = team_next(t, x->a->now->n_tokens)) >= 0;) {
        char *row = (char *)x->a->dst[0] + (uint64_t)i * dtype_row_bytes(DTYPE_A8, len);
        x->f->a8(a8_part_at(row, len, 0), rows + i * len, len);
    }
}

static void attn_run(const struct run_args *a, struct team *t)
{
    const struct node *n = a->node;
    const int64_t dim_v = n->args.attn.head_dim_v;
    const struct attn x = {
        .a = a,
        .f = &team_fns(t)->vec,
        .kv = kv_view(n, a->now, (void *)(uintptr_t)a->src[1], (void *)(uintptr_t)a->src[2],
                      n->src[1], n->src[2], a->src[ATTN_TABLE]),
        .heads = n->args.attn.n_heads,
        .group = group_of(n),
        .dim_k = n->args.attn.head_dim,
        .dim_v = n->args.attn.head_dim_v,
        .dim_o = pad16(dim_v),
        .window = n->args.attn.window,
        .q = a->src[0],
        .sinks = a->src[ATTN_SINKS],
        .pos = a->src[3],
        .seq = a->src[4],
    };
    struct work w;
    const int64_t own = take_work(&w, NULL, n);
    float *shared = (float *)a->scratch + own * team_n(t);
    float *rows = a->dst0 == DTYPE_A8 && a8_needs_rows(n) ? shared + few_numbers(n) : NULL;

    (void)take_work(&w, (float *)a->scratch + own * team_i(t), n);
    if (a->now->n_tokens <= FEW_TOKENS)
        few_tokens(&x, t, &w, shared, rows);
    else
        many_tokens(&x, t, &w, rows);
    if (rows != NULL)
        rows_to_a8(&x, t, rows);
}

static bool attn_accepts(const struct node *n, const struct dims *max, bool exact)
{
    (void)exact;
    return node_is_f32(n) && kv_type_known(max->kv);
}

const struct kernel cpu_attn = {
    .name = "attn",
    .op = OP_ATTN,
    .accepts = attn_accepts,
    .act = DTYPE_F32,
    .writes_a8 = true,
    .scratch_bytes = attn_scratch,
    .run = attn_run,
};
