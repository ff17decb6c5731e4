// fake.c - see fake.h.

#include "plan/fake.h"

#include <stdlib.h>
#include <string.h>

// --- devices
// --------------------------------------------------------------------------------------

static bool any(const struct node *n, const struct dims *max, bool exact)
{
    (void)n;
    (void)max;
    (void)exact;
    return true;
}

static bool quantized(const struct node *n, const struct dims *max, bool exact)
{
    (void)max;
    return !exact && dtype_info(n->src[1]->type)->quantized;
}

static uint64_t some_scratch(const struct node *n, const struct dims *max, int threads)
{
    return (uint64_t)threads * 100 + (uint64_t)max->n_tokens * (n->op == OP_ATTN ? 16 : 4);
}

static void never(const struct run_args *a, struct team *t)
{
    (void)a;
    (void)t;
    abort();
}

static const struct kernel convert_a8 = {
    .name = "convert", .op = OP_COUNT, .accepts = any, .run = never
};
static const struct kernel matmul_a8 = { .name = "matmul_a8",
                                         .op = OP_MATMUL,
                                         .accepts = quantized,
                                         .act = DTYPE_A8,
                                         .scratch_bytes = some_scratch,
                                         .run = never };
static const struct kernel plain[OP_COUNT] = {
    [OP_EMBED] = { .name = "embed", .op = OP_EMBED, .accepts = any, .run = never },
    [OP_ROPE_TABLE] = { .name = "table", .op = OP_ROPE_TABLE, .accepts = any, .run = never },
    [OP_RMSNORM] = { .name = "rmsnorm",
                     .op = OP_RMSNORM,
                     .accepts = any,
                     .writes_a8 = true,
                     .run = never },
    [OP_LAYERNORM] = { .name = "layernorm", .op = OP_LAYERNORM, .accepts = any, .run = never },
    [OP_MATMUL] = { .name = "matmul", .op = OP_MATMUL, .accepts = any, .run = never },
    [OP_ROPE] = { .name = "rope", .op = OP_ROPE, .accepts = any, .run = never },
    [OP_KV_STORE] = { .name = "store", .op = OP_KV_STORE, .accepts = any, .run = never },
    [OP_ATTN] = { .name = "attn",
                  .op = OP_ATTN,
                  .accepts = any,
                  .writes_a8 = true,
                  .scratch_bytes = some_scratch,
                  .run = never },
    [OP_GLU] = { .name = "glu", .op = OP_GLU, .accepts = any, .writes_a8 = true, .run = never },
    [OP_ADD] = { .name = "add", .op = OP_ADD, .accepts = any, .run = never },
    [OP_SCALE] = { .name = "scale", .op = OP_SCALE, .accepts = any, .run = never },
    [OP_SOFTCAP] = { .name = "softcap", .op = OP_SOFTCAP, .accepts = any, .run = never },
    [OP_ROWS] = { .name = "rows", .op = OP_ROWS, .accepts = any, .run = never },
};

static void fake_info(struct dev *d, struct dev_info *out)
{
    *out = ((const struct fake_dev *)(const void *)d)->info;
}

static const struct kernel *fake_find(struct dev *d, const struct node *n, const struct dims *max,
                                      bool exact)
{
    if (((const struct fake_dev *)(const void *)d)->no_rope && n->op == OP_ROPE)
        return NULL;
    return n->op == OP_MATMUL && quantized(n, max, exact) ? &matmul_a8 : &plain[n->op];
}

static const struct kernel *fake_convert(struct dev *d, enum dtype to)
{
    (void)d;
    return to == DTYPE_A8 ? &convert_a8 : NULL;
}

static const struct dev_ops fake_ops = { .info = fake_info,
                                         .find = fake_find,
                                         .convert = fake_convert };

void fake_dev_init(struct fake_dev *f, const char *name, uint64_t free_bytes)
{
    *f = (struct fake_dev){ .dev.ops = &fake_ops };
    f->info = (struct dev_info){
        .kind = DEV_KIND_CPU,
        .capacity_bytes = free_bytes,
        .free_bytes = free_bytes,
        .granule_bytes = 256,
        .max_threads = 3,
    };
    snprintf(f->info.name, sizeof(f->info.name), "%s", name);
}

// --- weights
// --------------------------------------------------------------------------------------

static bool find_weight(void *ctx, const char *name, struct weight_info *out)
{
    int id, type, cols, rows;

    (void)ctx;
    if (sscanf(name, "m%d.%d.%dx%d", &id, &type, &cols, &rows) == 4)
        *out = (struct weight_info){
            (enum dtype)type, 2, { (uint64_t)cols, (uint64_t)rows, 1, 1 }, id
        };
    else if (sscanf(name, "v%d.%d", &id, &cols) == 2)
        *out = (struct weight_info){ DTYPE_F32, 1, { (uint64_t)cols, 1, 1, 1 }, id };
    else
        return false;
    return true;
}

struct weight_source fake_weights(void)
{
    return (struct weight_source){ find_weight, NULL };
}

struct weight_place *fake_places(int n)
{
    struct weight_place *w = xcalloc((size_t)n, sizeof(*w));

    for (int i = 0; i < n; i++)
        w[i] = (struct weight_place){ 0, (uint64_t)i << 20, 1 << 20 };
    return w;
}

// --- graphs
// ---------------------------------------------------------------------------------------

uint32_t fake_rand(uint64_t *state, uint32_t n)
{
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)((*state >> 33) % n);
}

struct writer {
    struct gb *b;
    int n_weights;
    enum dtype type;
};

static struct tensor *mat(struct writer *w, int64_t cols, int64_t rows)
{
    return gb_mat(w->b, cols, rows, "m%d.%d.%lldx%lld", w->n_weights++, (int)w->type,
                  (long long)cols, (long long)rows);
}

static struct tensor *vec(struct writer *w, int64_t n)
{
    return gb_vec(w->b, n, "v%d.%lld", w->n_weights++, (long long)n);
}

static struct graph *seal(struct writer *w)
{
    struct graph *g;
    struct err e = { 0 };

    if (!graph_seal(&g, w->b, &e)) {
        fprintf(stderr, "fake graph: %s\n", e.msg);
        abort();
    }
    return g;
}

static struct tensor *attention(struct writer *w, const struct shape *s, int il, struct tensor *h)
{
    struct gb *b = w->b;
    struct rope_freq f = { .rot = s->head_dim, .base = 10000, .linear = 1, .mscale = 1 };
    struct tensor *table = gb_rope_table(b, &f, NULL);
    struct tensor *q = gb_matmul(b, h, mat(w, s->n_embd, s->n_heads * s->head_dim), NULL);
    struct tensor *k = gb_matmul(b, h, mat(w, s->n_embd, s->n_kv_heads * s->head_dim), NULL);
    struct tensor *v = gb_matmul(b, h, mat(w, s->n_embd, s->n_kv_heads * s->head_dim), NULL);
    struct attn_args a = {
        .n_heads = s->n_heads,
        .n_kv_heads = s->n_kv_heads,
        .head_dim = s->head_dim,
        .head_dim_v = s->head_dim,
        .window = il % 2 == 1 ? s->window : 0,
        .scale = 1,
        .il = il,
    };

    q = gb_rope(b, q, table, s->head_dim, s->head_dim, ROPE_NEOX);
    k = gb_rope(b, k, table, s->head_dim, s->head_dim, ROPE_NEOX);
    h = gb_attn(b, q, k, v, &a);
    return gb_matmul(b, h, mat(w, s->n_heads * s->head_dim, s->n_embd), NULL);
}

struct graph *fake_decoder(const struct shape *s)
{
    struct writer w = { gb_new(fake_weights()), 1, s->type };
    struct gb *b = w.b;

    gb_part(b, PART_EMBED, -1);
    struct tensor *x = gb_embed(
        b, gb_input(b, IN_TOKENS),
        gb_mat(b, s->n_embd, s->n_vocab, "m0.%d.%dx%d", (int)s->type, s->n_embd, s->n_vocab), 1);
    for (int il = 0; il < s->n_blocks; il++) {
        gb_part(b, PART_BLOCK, il);
        struct tensor *h = attention(&w, s, il, gb_rmsnorm(b, x, vec(&w, s->n_embd), 1e-5f));
        if (s->post_norm)
            h = gb_rmsnorm(b, h, vec(&w, s->n_embd), 1e-5f);
        x = gb_add(b, x, h);
        h = gb_rmsnorm(b, x, vec(&w, s->n_embd), 1e-5f);
        struct tensor *gate = gb_matmul(b, h, mat(&w, s->n_embd, s->n_ff), NULL);
        struct tensor *up = gb_matmul(b, h, mat(&w, s->n_embd, s->n_ff), NULL);
        h = gb_matmul(b, gb_glu(b, gate, up, ACT_SILU), mat(&w, s->n_ff, s->n_embd), NULL);
        if (s->post_norm)
            h = gb_rmsnorm(b, h, vec(&w, s->n_embd), 1e-5f);
        x = gb_add(b, x, h);
    }
    gb_part(b, PART_HEAD, -1);
    x = gb_rmsnorm(b, gb_rows(b, x, gb_input(b, IN_OUT_IDS)), vec(&w, s->n_embd), 1e-5f);
    struct tensor *head = s->tied ? gb_mat(b, s->n_embd, s->n_vocab, "m0.%d.%dx%d", (int)s->type,
                                           s->n_embd, s->n_vocab)
                                  : mat(&w, s->n_embd, s->n_vocab);
    x = gb_matmul(b, x, head, NULL);
    gb_logits(b, s->softcap ? gb_softcap(b, x, 30) : x);
    return seal(&w);
}

enum { POOL = 12, WIDTHS = 3 };

struct tensor_pool {
    struct tensor *t[WIDTHS][POOL];
    int n[WIDTHS];
};

static const int width[WIDTHS] = { 64, 128, 256 };

static struct tensor *pick(const struct tensor_pool *p, int w, uint64_t *rng)
{
    return p->t[w][fake_rand(rng, (uint32_t)p->n[w])];
}

static void offer(struct tensor_pool *p, int w, struct tensor *t, uint64_t *rng)
{
    if (p->n[w] < POOL)
        p->t[w][p->n[w]++] = t;
    else
        p->t[w][fake_rand(rng, POOL)] = t;
}

static void random_op(struct writer *wr, struct tensor_pool *p, int il, int i, uint64_t *rng)
{
    struct gb *b = wr->b;
    int w = (int)fake_rand(rng, WIDTHS), to = (int)fake_rand(rng, WIDTHS);
    struct rope_freq f = {
        .rot = 32, .base = (float)(1000 + fake_rand(rng, 2)), .linear = 1, .mscale = 1
    };
    struct attn_args a = { .n_heads = width[w] / 32,
                           .n_kv_heads = width[w] / 32,
                           .head_dim = 32,
                           .head_dim_v = 32,
                           .window = fake_rand(rng, 2) == 0 ? 0 : 100,
                           .scale = 1,
                           .il = 100 * il + i };

    wr->type = fake_rand(rng, 3) == 0 ? DTYPE_F32 : DTYPE_Q8_0;
    switch (fake_rand(rng, 8)) {
    case 0:
        offer(p, w, gb_rmsnorm(b, pick(p, w, rng), vec(wr, width[w]), 1e-5f), rng);
        break;
    case 1:
        offer(p, w, gb_add(b, pick(p, w, rng), pick(p, w, rng)), rng);
        break;
    case 2:
        offer(p, w, gb_glu(b, pick(p, w, rng), pick(p, w, rng), ACT_GELU), rng);
        break;
    case 3:
        offer(p, w, gb_scale(b, pick(p, w, rng), 0.5f), rng);
        break;
    case 4:
        offer(p, w, gb_rope(b, pick(p, w, rng), gb_rope_table(b, &f, NULL), 32, 32, ROPE_NORM),
              rng);
        break;
    case 5:
        offer(p, w, gb_attn(b, pick(p, w, rng), pick(p, w, rng), pick(p, w, rng), &a), rng);
        break;
    default:
        offer(p, to, gb_matmul(b, pick(p, w, rng), mat(wr, width[w], width[to]), NULL), rng);
        break;
    }
}

struct graph *fake_random(uint64_t seed)
{
    uint64_t rng = seed;
    struct writer w = { gb_new(fake_weights()), 0, DTYPE_F32 };
    struct gb *b = w.b;
    struct tensor_pool p = { 0 };
    int n_blocks = 1 + (int)fake_rand(&rng, 5);

    gb_part(b, PART_EMBED, -1);
    for (int i = 0; i < WIDTHS; i++)
        offer(&p, i, gb_embed(b, gb_input(b, IN_TOKENS), mat(&w, width[i], 1000), 1), &rng);
    for (int il = 0; il < n_blocks; il++) {
        gb_part(b, PART_BLOCK, il);
        int n = 3 + (int)fake_rand(&rng, 20);
        for (int i = 0; i < n; i++)
            random_op(&w, &p, il, i, &rng);
    }
    gb_part(b, PART_HEAD, -1);
    struct tensor *x = p.t[0][p.n[0] - 1];
    for (int i = 0; i < p.n[0] - 1; i++) // so that most of what was made is needed
        x = gb_add(b, x, p.t[0][i]);
    for (int i = 0; i < p.n[1]; i++)
        x = gb_matmul(b, gb_glu(b, p.t[1][i], p.t[1][0], ACT_SILU), mat(&w, width[1], width[0]),
                      NULL);
    x = gb_rows(b, x, gb_input(b, IN_OUT_IDS));
    w.type = DTYPE_Q8_0;
    gb_logits(b, gb_matmul(b, x, mat(&w, width[0], 1000), NULL));
    return seal(&w);
}
