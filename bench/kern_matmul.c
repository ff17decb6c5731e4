// kern_matmul.c - speed of matrix products: GB/s of weights for one token, share of the machine's
// integer peak for many. Weights lie in more memory than caches hold.
//
//   kern_matmul [threads] [format]

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "dev/cpu/cpu_int.h"

static const struct shape {
    const char *where;
    enum dtype type;
    int64_t rows, cols;
} shapes[] = {
    { "smollm2 gate", DTYPE_Q4_1, 1536, 576 },
    { "smollm2 kv", DTYPE_Q4_1, 192, 576 },
    { "smollm2 down", DTYPE_Q4_1, 576, 1536 },
    { "smollm2 head", DTYPE_Q8_0, 49152, 576 },
    { "gemma3 gate", DTYPE_Q5_0, 2048, 640 },
    { "gemma3 head", DTYPE_Q8_0, 262144, 640 },
    { "gemma3 down", DTYPE_Q6_K, 640, 2048 },
    { "llama gate", DTYPE_Q4_K, 8192, 2048 },
    { "llama down", DTYPE_Q4_K, 2048, 8192 },
    { "llama kv", DTYPE_Q4_K, 512, 2048 },
    { "llama head", DTYPE_Q6_K, 128256, 2048 },
    { "llama v/down", DTYPE_Q6_K, 2048, 8192 },
    { "", DTYPE_Q4_0, 4096, 4096 },
    { "", DTYPE_Q5_1, 4096, 4096 },
    { "", DTYPE_Q5_K, 4096, 4096 },
    { "", DTYPE_IQ4_NL, 4096, 4096 },
    { "", DTYPE_Q2_K, 4096, 4096 },
    { "", DTYPE_Q3_K, 4096, 4096 },
    { "", DTYPE_IQ4_XS, 4096, 4096 },
    { "", DTYPE_MXFP4, 4096, 4096 },
    { "", DTYPE_MXFP4_PAIRS, 4096, 4096 },
    { "", DTYPE_F16, 4096, 2048 },
    { "", DTYPE_BF16, 4096, 2048 },
    { "", DTYPE_F32, 4096, 1024 },
};

enum { SPREAD = 256 << 20, MIN_NS = 150000000, MOST = 100000 };

static struct tensor tensor_of(enum dtype type, int64_t cols, int64_t rows, enum sym sym)
{
    struct tensor t = { .type = type, .n_dims = 2 };

    for (int i = 0; i < 4; i++)
        t.d[i] = (struct dim){ .n = 1 };
    t.d[0].n = cols;
    t.d[1] = (struct dim){ .n = rows, .sym = sym };
    return t;
}

static uint8_t *weights(void)
{
    uint8_t *w = xaligned(SPREAD);
    uint64_t s = 1;

    for (size_t i = 0; i < SPREAD; i += 4) {
        s = s * 6364136223846793005u + 1442695040888963407u;
        const uint32_t v = (uint32_t)(s >> 33) & 0x3bff3bff; // f16 below 1, whatever the format
        memcpy(w + i, &v, 4);
    }
    return w;
}

/// One thread alone is timed by what it gets of the machine.
static int64_t now_ns(struct dev *dev)
{
    struct timespec t;

    if (cpu_dev_threads(dev) > 1)
        return clock_ns();
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return t.tv_sec * 1000000000 + t.tv_nsec;
}

static int by_time(const void *a, const void *b)
{
    const int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;

    return (x > y) - (x < y);
}

/// Row t of the activations: ordinary numbers.
static void fill(float *x, int64_t t, int64_t cols, enum dtype act)
{
    if (act == DTYPE_F32) {
        for (int64_t i = 0; i < cols; i++)
            x[t * cols + i] = (float)(i % 17) * 0.1f;
        return;
    }
    int8_t *q = (int8_t *)x + t * (cols * 3 / 2);
    float *d = (float *)(void *)(q + cols), *sum = d + cols / 32;
    int32_t *sums = (int32_t *)(void *)(sum + cols / 32);
    for (int64_t i = 0; i < cols; i++)
        q[i] = (int8_t)(i % 17);
    for (int64_t g = 0; g < cols / 32; g++) {
        d[g] = 0.01f;
        sum[g] = 1.0f;
        sums[2 * g] = sums[2 * g + 1] = 100;
    }
}

static double bench(struct dev *dev, const struct shape *s, const uint8_t *w, int tokens)
{
    const struct tensor x = tensor_of(DTYPE_F32, s->cols, 1, SYM_TOKENS);
    const struct tensor wt = tensor_of(s->type, s->cols, s->rows, SYM_ONE);
    const struct tensor y = tensor_of(DTYPE_F32, s->rows, 1, SYM_TOKENS);
    const struct node node = { .op = OP_MATMUL, .src = { &x, &wt }, .dst = { &y } };
    const struct dims dims = {
        .n_tokens = tokens, .max_tokens = tokens, .n_slots = 1, .n_ctx = 64
    };
    const size_t w_bytes = dtype_row_bytes(s->type, s->cols) * (size_t)s->rows;
    const int n = (int)(SPREAD / w_bytes) > 64 ? 64 : (int)(SPREAD / w_bytes);
    const struct kernel *k = dev->ops->find(dev, &node, &dims, false);
    float *xs = xcalloc((size_t)tokens, (size_t)s->cols * 4);
    void *ys = xaligned((size_t)tokens * (size_t)s->rows * 4);
    void *scratch = xaligned(k->scratch_bytes(&node, &dims, cpu_dev_threads(dev)) + 64);
    struct launch l[64];
    int64_t times[MOST], until = clock_ns() + MIN_NS;
    int n_times = 0;

    for (int64_t t = 0; t < tokens; t++)
        fill(xs, t, s->cols, k->act);
    for (int i = 0; i < n; i++)
        l[i] = (struct launch){ .kernel = k,
                                .sync = true,
                                .args = { .node = &node,
                                          .now = &dims,
                                          .src = { xs, w + (size_t)i * w_bytes },
                                          .dst = { ys },
                                          .src0 = k->act,
                                          .scratch = scratch } };
    for (int i = 0; n_times < MOST && (clock_ns() < until || n_times < 3); i = (i + 1) % n) {
        const int64_t t0 = now_ns(dev);
        if (!dev->ops->run(dev, &l[i], 1, NULL) || !dev->ops->wait(dev, NULL))
            abort();
        times[n_times++] = now_ns(dev) - t0;
    }
    qsort(times, (size_t)n_times, sizeof times[0], by_time);
    free(xs);
    free(ys);
    free(scratch);
    return (double)times[n_times / 50]; // others use the machine, too
}

int main(int argc, char **argv)
{
    static const int tokens[] = { 1, 2, 4, 5, 8, 12, 16, 24, 32, 64, 512 };
    struct err e = { 0 };
    struct dev *dev;
    const uint8_t *w = weights();

    if (!cpu_dev_new(&dev,
                     &(struct cpu_opts){ .threads = argc > 1 ? atoi(argv[1]) : 0, .pin = false },
                     &e)) {
        fprintf(stderr, "%s\n", e.msg);
        return 1;
    }
    printf("%d threads, %s; GB/s of weights, then 10^9 products a second\n", cpu_dev_threads(dev),
           cpu_dev_features(dev));
    printf("%-14s %-7s %6s %6s", "", "", "rows", "cols");
    for (size_t t = 0; t < ARRAY_LEN(tokens); t++)
        printf(" %7d", tokens[t]);
    printf("\n");
    for (size_t i = 0; i < ARRAY_LEN(shapes); i++) {
        const struct shape *s = &shapes[i];
        const char *name = dtype_info(s->type)->name;
        if (argc > 2 && strcmp(name, argv[2]) != 0)
            continue;
        printf("%-14s %-7s %6d %6d", s->where, name, (int)s->rows, (int)s->cols);
        for (size_t t = 0; t < ARRAY_LEN(tokens); t++) {
            if (s->rows > 20000 && tokens[t] > 4)
                continue;
            const double ns = bench(dev, s, w, tokens[t]);
            const double bytes = (double)(dtype_row_bytes(s->type, s->cols) * (uint64_t)s->rows);
            printf(" %7.1f",
                   tokens[t] <= 4 ? bytes / ns : (double)(s->rows * s->cols) * tokens[t] / ns);
            fflush(stdout);
        }
        printf("\n");
    }
    dev_free(dev);
    return 0;
}
