// test_matmul.c - every matrix product gives the bits of the plain C ones. `--bench` times them.

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "dev/cpu/cpu_int.h"

static const enum dtype quantized[] = {
    DTYPE_Q4_0, DTYPE_Q4_1, DTYPE_Q5_0, DTYPE_Q5_1,   DTYPE_Q8_0,   DTYPE_Q2_K,  DTYPE_Q3_K,
    DTYPE_Q4_K, DTYPE_Q5_K, DTYPE_Q6_K, DTYPE_IQ4_NL, DTYPE_IQ4_XS, DTYPE_MXFP4, DTYPE_MXFP4_PAIRS,
};
static const enum dtype plain[] = { DTYPE_F32, DTYPE_F16, DTYPE_BF16 };

static const struct level {
    const char *name;
    unsigned features;
} levels[] = { { "avx2", CPU_AVX2 }, { "avx512", CPU_AVX2 | CPU_AVX512 } };

static uint64_t seed = 1;

static uint32_t rnd(void)
{
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(seed >> 33);
}

static float rnd_f(void) // in [-1, 1)
{
    return (float)(int32_t)(rnd() << 1) * 0x1p-31f;
}

/// Bytes that end where memory ends, so that reading past them is seen.
struct fenced {
    uint8_t *p, *map;
    size_t bytes, mapped;
};

static struct fenced fenced_new(size_t bytes)
{
    const size_t page = 4096, body = (bytes + page - 1) / page * page;
    struct fenced f = { .bytes = bytes, .mapped = body + page };

    f.map = mmap(NULL, f.mapped, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_true(f.map != MAP_FAILED);
    assert_int_equal(mprotect(f.map + body, page, PROT_NONE), 0);
    f.p = f.map + body - bytes;
    return f;
}

static void fenced_free(struct fenced *f)
{
    munmap(f->map, f->mapped);
}

/// A product with data of its own.
struct product {
    struct tensor x, w, y, bias, res;
    struct node node;
    struct dims dims;
    struct fenced xs, ws, bs, rs;
};

static struct tensor tensor_of(enum dtype type, int64_t cols, int64_t rows, enum sym sym)
{
    struct tensor t = { .type = type, .n_dims = 2 };

    for (int i = 0; i < 4; i++)
        t.d[i] = (struct dim){ .n = 1 };
    t.d[0].n = cols;
    t.d[1] = (struct dim){ .n = rows, .sym = sym };
    return t;
}

static void fill_x(uint8_t *p, int64_t cols, int tokens, bool a8)
{
    for (int t = 0; t < tokens; t++) {
        if (!a8) {
            for (int64_t i = 0; i < cols; i++)
                ((float *)(void *)p)[t * cols + i] = rnd_f();
            continue;
        }
        int8_t *q = (int8_t *)(p + t * (cols * 3 / 2));
        float *d = (float *)(void *)(q + cols), *s = d + cols / 32;
        int32_t *sum = (int32_t *)(void *)(s + cols / 32);
        memset(sum, 0, (size_t)cols / 4);
        for (int64_t i = 0; i < cols; i++) {
            q[i] = (int8_t)(rnd() % 8 == 0 ? 127 : (int)(rnd() % 255) - 127);
            sum[i / 16] += q[i];
        }
        for (int64_t g = 0; g < cols / 32; g++) {
            d[g] = rnd_f() * rnd_f();
            s[g] = d[g] * (float)(sum[2 * g] + sum[2 * g + 1]);
        }
    }
}

enum fill { FILL_NUMBERS, FILL_BYTES };

static void product_new(struct product *p, enum dtype type, int64_t rows, int64_t cols, int tokens,
                        bool exact, enum fill fill)
{
    const struct dtype_info *t = dtype_info(type);
    const bool a8 = t->quantized && !exact;
    const size_t w_row = dtype_row_bytes(type, cols);

    *p = (struct product){ 0 };
    p->x = tensor_of(DTYPE_F32, cols, 1, SYM_TOKENS);
    p->w = tensor_of(type, cols, rows, SYM_ONE);
    p->y = tensor_of(DTYPE_F32, rows, 1, SYM_TOKENS);
    p->bias = tensor_of(DTYPE_F32, rows, 1, SYM_ONE);
    p->res = tensor_of(DTYPE_F32, rows, 1, SYM_TOKENS);
    p->dims = (struct dims){
        .n_tokens = tokens, .n_outputs = tokens, .n_slots = 1, .n_ctx = 64, .max_tokens = tokens
    };
    p->node = (struct node){ .op = OP_MATMUL, .src = { &p->x, &p->w }, .dst = { &p->y } };
    p->xs = fenced_new((size_t)(a8 ? cols * 3 / 2 : cols * 4) * (size_t)tokens);
    p->ws = fenced_new(w_row * (size_t)rows);
    p->bs = fenced_new((size_t)rows * 4);
    p->rs = fenced_new((size_t)rows * (size_t)tokens * 4);
    if (rnd() % 2)
        p->node.src[MATMUL_BIAS] = &p->bias;
    if (rnd() % 2)
        p->node.src[MATMUL_RES] = &p->res;

    fill_x(p->xs.p, cols, tokens, a8);
    for (size_t i = 0; i < p->bs.bytes / 4; i++)
        ((float *)(void *)p->bs.p)[i] = rnd_f();
    for (size_t i = 0; i < p->rs.bytes / 4; i++)
        ((float *)(void *)p->rs.p)[i] = rnd_f();
    if (fill == FILL_BYTES) {
        for (size_t i = 0; i < p->ws.bytes; i++)
            p->ws.p[i] = (uint8_t)rnd();
        return;
    }
    float *row = malloc((size_t)cols * 4);
    for (int64_t r = 0; r < rows; r++) {
        if (r >= 8) { // quantizing is slow
            memcpy(p->ws.p + (size_t)r * w_row, p->ws.p + (size_t)(r * 5 % 8) * w_row, w_row);
            continue;
        }
        for (int64_t i = 0; i < cols; i++)
            row[i] = rnd_f();
        t->from_f32(p->ws.p + (size_t)r * w_row, row, cols);
    }
    free(row);
}

static void product_free(struct product *p)
{
    fenced_free(&p->xs);
    fenced_free(&p->ws);
    fenced_free(&p->bs);
    fenced_free(&p->rs);
}

/// The product by one kernel: y, to be freed. Checks what lies around y and scratch.
static float *run(const struct product *p, const struct kernel *k, unsigned features, bool exact)
{
    enum { GUARD = 64 };
    const size_t y_bytes = p->rs.bytes;
    const size_t s_bytes = k->scratch_bytes != NULL ? k->scratch_bytes(&p->node, &p->dims, 1) : 0;
    uint8_t *scratch = aligned_alloc(64, (s_bytes + 2 * GUARD + 63) / 64 * 64);
    uint8_t *y = malloc(y_bytes + 2 * GUARD), *out = malloc(y_bytes);
    struct cpu_fns *fns = calloc(1, sizeof *fns);
    struct team_solo solo;

    cpu_fns_init(fns, features);
    memset(scratch, 0xff, s_bytes + 2 * GUARD);
    memset(y, 0xa5, y_bytes + 2 * GUARD);
    const struct run_args a = {
        .node = &p->node,
        .now = &p->dims,
        .src = { p->xs.p, p->ws.p, p->node.src[MATMUL_BIAS] ? p->bs.p : NULL,
                 p->node.src[MATMUL_RES] ? p->rs.p : NULL },
        .dst = { y + GUARD },
        .src0 = k->act,
        .dst0 = DTYPE_F32,
        .exact = exact,
        .scratch = scratch + GUARD,
    };
    struct team *team = team_solo_init(&solo, fns);
    team_solo_reset(&solo);
    k->run(&a, team);
    for (size_t i = 0; i < GUARD; i++) {
        assert_int_equal(y[i], 0xa5);
        assert_int_equal(y[GUARD + y_bytes + i], 0xa5);
        assert_int_equal(scratch[i], 0xff);
        assert_int_equal(scratch[GUARD + s_bytes + i], 0xff);
    }
    memcpy(out, y + GUARD, y_bytes);
    free(y);
    free(scratch);
    free(fns);
    return (float *)(void *)out;
}

static const struct kernel *find(const struct product *p, unsigned features, bool exact)
{
    for (const struct cpu_kernel *k = cpu_matmul_kernels; k->kernel != NULL; k++)
        if (k->kernel->op == OP_MATMUL && (k->needs & ~features) == 0 &&
            k->kernel->accepts(&p->node, &p->dims, exact))
            return k->kernel;
    fail_msg("no kernel");
    return NULL;
}

static bool same(float a, float b)
{
    return memcmp(&a, &b, sizeof a) == 0 || (isnan(a) && isnan(b));
}

static void check(enum dtype type, int64_t rows, int64_t cols, int tokens, bool exact,
                  enum fill fill)
{
    struct product p;

    product_new(&p, type, rows, cols, tokens, exact, fill);
    float *expected = run(&p, find(&p, 0, exact), 0, exact);
    for (size_t l = 0; l < ARRAY_LEN(levels); l++) {
        if (levels[l].features & ~cpu_features(NULL))
            continue;
        float *y = run(&p, find(&p, levels[l].features, exact), levels[l].features, exact);
        for (int64_t i = 0; i < rows * tokens; i++)
            if (!same(y[i], expected[i]))
                fail_msg("%s %s %dx%d, %d tokens, fill %d: y[%d] row %d token %d = %a, not %a",
                         dtype_info(type)->name, levels[l].name, (int)rows, (int)cols, tokens,
                         (int)fill, (int)i, (int)(i % rows), (int)(i / rows), (double)y[i],
                         (double)expected[i]);
        free(y);
    }
    free(expected);
    product_free(&p);
}

static void quantized_products_equal_plain_c(void **state)
{
    static const int64_t rows[] = { 1, 15, 16, 17, 40 }, small[] = { 32, 64, 96, 576, 640 },
                         large[] = { 256, 512, 2048 };
    static const int tokens[] = { 1, 2, 3, 4, 5, 12, 13, 64 };
    (void)state;

    for (size_t f = 0; f < ARRAY_LEN(quantized); f++) {
        const bool k256 = dtype_info(quantized[f])->block == 256;
        const int64_t *cols = k256 ? large : small;
        const size_t n_cols = k256 ? ARRAY_LEN(large) : ARRAY_LEN(small);
        for (size_t r = 0; r < ARRAY_LEN(rows); r++)
            for (size_t c = 0; c < n_cols; c++)
                for (size_t t = 0; t < ARRAY_LEN(tokens); t++)
                    if (rows[r] * cols[c] * tokens[t] < 700000)
                        check(quantized[f], rows[r], cols[c], tokens[t], false,
                              rnd() % 2 ? FILL_BYTES : FILL_NUMBERS);
        check(quantized[f], 100, 2048, 3, false, FILL_NUMBERS);
        check(quantized[f], 100, 2048, 7, false, FILL_BYTES);
    }
}

/// A product of float32 rows and quantized weights with 16 bits.
static void precise_new(struct product *p, enum dtype type, int64_t rows, int64_t cols, int tokens)
{
    product_new(p, type, rows, cols, tokens, true, FILL_NUMBERS);
    p->node.args.matmul.precise = true;
}

static void precise_products_equal_plain_c(void **state)
{
    static const int tokens[] = { 1, 2, 4, 5, 13, 64 };
    (void)state;

    for (size_t f = 0; f < ARRAY_LEN(quantized); f++) {
        for (size_t t = 0; t < ARRAY_LEN(tokens); t++) {
            struct product p;
            precise_new(&p, quantized[f], 133, 512, tokens[t]);
            float *expected = run(&p, find(&p, 0, false), 0, false);
            for (size_t l = 0; l < ARRAY_LEN(levels); l++) {
                if (levels[l].features & ~cpu_features(NULL))
                    continue;
                float *y = run(&p, find(&p, levels[l].features, false), levels[l].features, false);
                for (int i = 0; i < 33 * tokens[t]; i++)
                    assert_true(same(y[i], expected[i]));
                free(y);
            }
            free(expected);
            product_free(&p);
        }
    }
}

static void precise_products_are_close_to_exact_ones(void **state)
{
    struct product p;
    double error = 0, all = 0;
    (void)state;

    precise_new(&p, DTYPE_Q8_0, 64, 2048, 3);
    float *y = run(&p, find(&p, 0, false), 0, false), *e = run(&p, find(&p, 0, true), 0, true);
    for (int i = 0; i < 64 * 3; i++) {
        error += ((double)y[i] - (double)e[i]) * ((double)y[i] - (double)e[i]);
        all += (double)e[i] * (double)e[i];
    }
    assert_true(error < 1e-8 * all); // 8 bits alone: about 1e-5
    free(y);
    free(e);
    product_free(&p);
}

static void exact_and_float_products_equal_plain_c(void **state)
{
    static const int64_t rows[] = { 1, 15, 16, 17, 40 }, cols[] = { 256, 512, 2048 };
    static const int tokens[] = { 1, 2, 3, 5, 13, 64 };
    (void)state;

    for (size_t r = 0; r < ARRAY_LEN(rows); r++) {
        for (size_t t = 0; t < ARRAY_LEN(tokens); t++) {
            for (size_t f = 0; f < ARRAY_LEN(plain); f++) {
                check(plain[f], rows[r], (int64_t)(rnd() % 300 + 1), tokens[t], false,
                      FILL_NUMBERS);
                check(plain[f], rows[r], 576, tokens[t], false, FILL_BYTES);
            }
            check(quantized[rnd() % ARRAY_LEN(quantized)], rows[r], cols[rnd() % 2], tokens[t],
                  true, FILL_NUMBERS);
        }
    }
    check(DTYPE_BF16, 100, 2048, 7, false, FILL_NUMBERS);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(quantized_products_equal_plain_c),
        cmocka_unit_test(precise_products_equal_plain_c),
        cmocka_unit_test(precise_products_are_close_to_exact_ones),
        cmocka_unit_test(exact_and_float_products_equal_plain_c),
    };

    for (size_t l = 0; l < ARRAY_LEN(levels); l++)
        if (levels[l].features & ~cpu_features(NULL))
            printf("SKIP matmul %s: this machine has none\n", levels[l].name);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
