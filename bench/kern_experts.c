// kern_experts.c - speed of experts, of heads with matrices of their own, and of attention over
// latent keys: GB/s of weights (or keys) for one token, 10^9 products a second for many.
//
//   kern_experts [threads]

#include <stdlib.h>
#include <string.h>

#include "dev/cpu/cpu_int.h"

enum { MIN_NS = 300000000, MOST = 20000 };

static struct tensor tensor_of(enum role role, enum dtype type, int64_t cols, int64_t rows,
                               enum sym sym)
{
    return (struct tensor){
        .name = "t",
        .role = role,
        .type = type,
        .n_dims = 2,
        .d = { { cols, SYM_ONE, 0 }, { rows, sym, 0 }, { 1, SYM_ONE, 0 }, { 1, SYM_ONE, 0 } }
    };
}

static struct dims dims_of(int tokens)
{
    return (struct dims){
        .n_tokens = tokens, .n_slots = 1, .n_ctx = 8192, .max_tokens = 512, .kv = DTYPE_F16
    };
}

static void *noise(size_t bytes, uint32_t mask)
{
    uint8_t *p = xaligned(bytes + 64);
    uint64_t s = 1;

    for (size_t i = 0; i < bytes; i += 4) {
        s = s * 6364136223846793005u + 1442695040888963407u;
        const uint32_t v = (uint32_t)(s >> 33) & mask;
        memcpy(p + i, &v, 4);
    }
    return p;
}

static int by_time(const void *a, const void *b)
{
    const int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;

    return (x > y) - (x < y);
}

/// Nanoseconds of a run; `change`, where set, is called before each.
static double time_of(struct dev *dev, struct run_args *a,
                      void (*change)(struct run_args *a, int i))
{
    const struct kernel *k = dev->ops->find(dev, a->node, a->now, false);
    const uint64_t s =
        k->scratch_bytes != NULL ? k->scratch_bytes(a->node, a->now, cpu_dev_threads(dev)) : 0;
    static int64_t times[MOST];
    int64_t until = clock_ns() + MIN_NS;
    int n = 0;

    a->scratch = xaligned(s + 64);
    a->src0 = k->act;
    while (n < MOST && (clock_ns() < until || n < 3)) {
        if (change != NULL)
            change(a, n);
        const struct launch l = { .kernel = k, .args = *a, .sync = true };
        const int64_t t0 = clock_ns();
        if (!dev->ops->run(dev, &l, 1, NULL) || !dev->ops->wait(dev, NULL))
            abort();
        times[n++] = clock_ns() - t0;
    }
    qsort(times, (size_t)n, sizeof times[0], by_time);
    free(a->scratch);
    return (double)times[n / 50]; // others use the machine, too
}

// --- experts -------------------------------------------------------------------------------------

static const struct {
    const char *where;
    enum dtype type;
    int64_t n, k, rows, cols;
    bool own_x;
} experts[] = {
    { "gpt-oss-20b up", DTYPE_MXFP4, 32, 4, 2880, 2880, false },
    { "gpt-oss-20b down", DTYPE_MXFP4, 32, 4, 2880, 2880, true },
    { "first gpt-oss down", DTYPE_MXFP4_PAIRS, 32, 4, 2880, 2880, true },
    { "qwen3-30b up", DTYPE_Q4_K, 128, 8, 768, 2048, false },
    { "qwen3-30b down", DTYPE_Q6_K, 128, 8, 2048, 768, true },
    { "deepseek-v2-16b up", DTYPE_Q4_0, 64, 6, 1408, 2048, false },
};

static int64_t n_ids, n_experts;

/// Other experts each time, so that weights come from memory.
static void other_ids(struct run_args *a, int i)
{
    int32_t *id = (int32_t *)(uintptr_t)a->src[2];
    uint64_t s = (uint64_t)i * 977 + 1;

    for (int64_t r = 0; r < n_ids; r++) {
        s = s * 6364136223846793005u + 1442695040888963407u;
        id[r] = (int32_t)((s >> 33) % (uint64_t)n_experts);
    }
}

static double bench_experts(struct dev *dev, size_t i, int tokens)
{
    const int64_t cols = experts[i].cols, rows = experts[i].rows, k = experts[i].k;
    const struct tensor x =
        tensor_of(ROLE_TEMP, DTYPE_F32, cols, experts[i].own_x ? k : 1, SYM_TOKENS);
    struct tensor w = tensor_of(ROLE_WEIGHT, experts[i].type, cols, rows, SYM_ONE);
    const struct tensor ids = tensor_of(ROLE_TEMP, DTYPE_I32, k, 1, SYM_TOKENS);
    const struct tensor y = tensor_of(ROLE_TEMP, DTYPE_F32, rows, k, SYM_TOKENS);
    const struct node node = { .op = OP_EXPERTS, .src = { &x, &w, &ids }, .dst = { &y } };
    const struct dims now = dims_of(tokens);

    w.d[2].n = n_experts = experts[i].n;
    n_ids = tokens * k;
    void *xs = noise((size_t)(tokens * k * cols) * 3 / 2, 0x01010101),
         *ws = noise((size_t)(n_experts * rows) * dtype_row_bytes(w.type, cols), 0x3bff3bff),
         *ys = xaligned((size_t)(tokens * k * rows) * 4), *id = xaligned((size_t)n_ids * 4 + 64);
    struct run_args a = { .node = &node, .now = &now, .src = { xs, ws, id }, .dst = { ys } };
    const double ns = time_of(dev, &a, other_ids);
    free(xs);
    free(ws);
    free(ys);
    free(id);
    return tokens == 1 ? (double)(k * rows) * (double)dtype_row_bytes(w.type, cols) / ns
                       : (double)(tokens * k * rows * cols) / ns;
}

// --- heads ---------------------------------------------------------------------------------------

static const struct {
    const char *where;
    enum dtype type;
    struct heads_args a;
} heads[] = {
    { "v2-lite k_b", DTYPE_Q8_0, { 16, 128, 512, 0, 512, false } },
    { "v2-lite v_b", DTYPE_Q4_0, { 16, 512, 128, 0, 128, false } },
    { "v2-lite kv_b of old files, k", DTYPE_Q4_0, { 16, 128, 512, 0, 256, true } },
    { "v2-lite kv_b of old files, v", DTYPE_Q4_0, { 16, 512, 128, 128, 256, false } },
};

static double bench_heads(struct dev *dev, size_t i, int tokens)
{
    const struct heads_args *h = &heads[i].a;
    const int64_t cols = h->transposed ? h->n_out : h->n_in, rows = h->row_step * h->n_heads;
    const struct tensor x = tensor_of(ROLE_TEMP, DTYPE_F32, (int64_t)h->n_heads * h->n_in, 1,
                                      SYM_TOKENS),
                        w = tensor_of(ROLE_WEIGHT, heads[i].type, cols, rows, SYM_ONE),
                        y = tensor_of(ROLE_TEMP, DTYPE_F32, (int64_t)h->n_heads * h->n_out, 1,
                                      SYM_TOKENS);
    const struct node node = { .op = OP_HEADS, .src = { &x, &w }, .dst = { &y }, .args.heads = *h };
    const struct dims now = dims_of(tokens);
    const double products = (double)h->n_heads * h->n_in * h->n_out;
    void *xs = noise((size_t)(tokens * h->n_heads * h->n_in) * 4, 0x01010101),
         *ws = noise((size_t)rows * dtype_row_bytes(w.type, cols), 0x3bff3bff),
         *ys = xaligned((size_t)(tokens * h->n_heads * h->n_out) * 4);
    struct run_args a = { .node = &node, .now = &now, .src = { xs, ws }, .dst = { ys } };
    const double ns = time_of(dev, &a, NULL);
    free(xs);
    free(ws);
    free(ys);
    return products * tokens / ns;
}

// --- latent keys ---------------------------------------------------------------------------------

static double bench_attn(struct dev *dev, int n_heads, int tokens, int from)
{
    struct tensor q = tensor_of(ROLE_TEMP, DTYPE_F32, n_heads * 576, 1, SYM_TOKENS),
                  pages = { .name = "k", .role = ROLE_STATE, .type = DTYPE_F16, .n_dims = 4 },
                  in = tensor_of(ROLE_INPUT, DTYPE_I32, 1, 1, SYM_TOKENS),
                  y = tensor_of(ROLE_TEMP, DTYPE_F32, n_heads * 512, 1, SYM_TOKENS);
    struct node node = { .op = OP_ATTN,
                         .src = { &q, &pages, &pages, &in, &in, &in },
                         .dst = { &y } };
    const struct dims now = dims_of(tokens);

    pages.d[0].n = 576;
    pages.d[1].n = 64;
    pages.d[2].n = 1;
    pages.d[3] = (struct dim){ 1, SYM_PAGES, 0 };
    node.args.attn.n_heads = n_heads;
    node.args.attn.n_kv_heads = 1;
    node.args.attn.head_dim = 576;
    node.args.attn.head_dim_v = 512;
    node.args.attn.scale = 0.1f;
    int32_t pos[512], seq[512] = { 0 }, table[128];
    for (int i = 0; i < tokens; i++)
        pos[i] = from + i;
    for (int i = 0; i < 128; i++)
        table[i] = i;
    void *k = noise(tensor_bytes(&pages, &now), 0x3bff3bff),
         *ys = xaligned((size_t)(tokens * n_heads) * 512 * 4),
         *qs = xcalloc((size_t)(tokens * n_heads) * 576, 4);
    struct run_args a = {
        .node = &node, .now = &now, .src = { qs, k, k, pos, seq, table }, .dst = { ys }
    };
    const double ns = time_of(dev, &a, NULL);
    free(k);
    free(ys);
    free(qs);
    return (double)tokens * n_heads * (from + tokens / 2) * (576 + 512) / ns;
}

int main(int argc, char **argv)
{
    static const int tokens[] = { 1, 2, 4, 8, 32, 128, 512 };
    struct err e = { 0 };
    struct dev *dev;

    if (!cpu_dev_new(&dev, &(struct cpu_opts){ .threads = argc > 1 ? atoi(argv[1]) : 0 }, &e)) {
        fprintf(stderr, "%s\n", e.msg);
        return 1;
    }
    printf("%d threads, %s; experts: GB/s of weights for one token, then 10^9 products a "
           "second\n%-30s",
           cpu_dev_threads(dev), cpu_dev_features(dev), "");
    for (size_t t = 0; t < ARRAY_LEN(tokens); t++)
        printf(" %7d", tokens[t]);
    for (size_t i = 0; i < ARRAY_LEN(experts); i++) {
        printf("\n%-20s %-9s", experts[i].where, dtype_info(experts[i].type)->name);
        for (size_t t = 0; t < ARRAY_LEN(tokens); t++) {
            printf(" %7.1f", bench_experts(dev, i, tokens[t]));
            fflush(stdout);
        }
    }
    printf("\nheads, 10^9 products a second");
    for (size_t i = 0; i < ARRAY_LEN(heads); i++) {
        printf("\n%-30s", heads[i].where);
        for (size_t t = 0; t < ARRAY_LEN(tokens); t++)
            printf(" %7.1f", bench_heads(dev, i, tokens[t]));
    }
    printf("\nlatent keys at 4096, 10^9 products a second");
    for (int h = 16; h <= 128; h *= 8) {
        printf("\n%3d heads %20s", h, "");
        for (size_t t = 0; t < ARRAY_LEN(tokens); t++)
            printf(" %7.1f", h > 16 && tokens[t] > 8 ? 0.0 : bench_attn(dev, h, tokens[t], 4096));
        fflush(stdout);
    }
    printf("\n");
    dev_free(dev);
    return 0;
}
