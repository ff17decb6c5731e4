// test_experts.c - experts, heads with matrices of their own, slices, pairs: the definitions are
// what they say, and every device, batch and number of threads gives their bits.

#include "dev/cpu/cpu_int.h"
#include "dev/cpu/experts.h"

#include <math.h>
#include <setjmp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include <cmocka.h>

static uint64_t rng = 88172645463325252u;

static uint32_t random_u32(void)
{
    rng ^= rng << 13;
    rng ^= rng >> 7;
    rng ^= rng << 17;
    return (uint32_t)(rng >> 32);
}

static int64_t random_to(int64_t n) // 0 .. n - 1
{
    return (int64_t)(random_u32() % (uint32_t)n);
}

static float random_f32(float most)
{
    return ((float)(random_u32() >> 8) / 8388608.0f - 1.0f) * most;
}

// --- devices -------------------------------------------------------------------------------------

static const struct {
    const char *mask;
    int threads;
    unsigned needs;
} kinds[] = { { "c", 1, 0 },
              { "c", 3, 0 },
              { "c,avx2", 2, CPU_AVX2 },
              { "c,avx2,avx512", 1, CPU_AVX512 },
              { "c,avx2,avx512", 3, CPU_AVX512 } };
static struct dev *devices[ARRAY_LEN(kinds)]; // NULL where this machine has not what it needs

static int devices_open(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
        struct err e = { 0 };
        if ((cpu_features(kinds[i].mask) & kinds[i].needs) != kinds[i].needs)
            printf("SKIP experts with %s: this machine has none\n", kinds[i].mask);
        else if (!cpu_dev_new(
                     &devices[i],
                     &(struct cpu_opts){ .threads = kinds[i].threads, .features = kinds[i].mask },
                     &e))
            return -1;
    }
    return 0;
}

static int devices_close(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(kinds); i++)
        dev_free(devices[i]);
    return 0;
}

// --- tensors and runs ----------------------------------------------------------------------------

static struct tensor tensor_of(enum role role, enum dtype type, int64_t cols, int64_t rows,
                               enum sym sym)
{
    return (struct tensor){
        .name = "t",
        .role = role,
        .type = type,
        .n_dims = 2,
        .source = -1,
        .d = { { cols, SYM_ONE, 0 }, { rows, sym, 0 }, { 1, SYM_ONE, 0 }, { 1, SYM_ONE, 0 } }
    };
}

static struct dims dims_of(int tokens)
{
    return (struct dims){ .n_tokens = tokens,
                          .n_outputs = tokens,
                          .n_slots = 1,
                          .n_ctx = 64,
                          .max_tokens = tokens,
                          .kv = DTYPE_F16 };
}

/// Rows of numbers in a format, as the file would have them.
static void *rows_as(enum dtype type, const float *x, int64_t cols, int64_t rows)
{
    const uint64_t bytes = dtype_row_bytes(type, cols);
    uint8_t *p = malloc((size_t)rows * bytes + 1);

    for (int64_t r = 0; r < rows; r++)
        dtype_info(type)->from_f32(p + (uint64_t)r * bytes, x + r * cols, cols);
    return p;
}

static float *random_rows(int64_t n, float most)
{
    float *p = malloc((size_t)n * sizeof *p + 1);

    for (int64_t i = 0; i < n; i++)
        p[i] = random_f32(most);
    return p;
}

enum { GUARD = 64 };

static uint8_t *guarded(uint64_t n, uint8_t inside)
{
    uint8_t *p = aligned_alloc(64, align_up_u64(n, 64) + 2 * GUARD);

    memset(p, 0xa5, align_up_u64(n, 64) + 2 * GUARD);
    memset(p + GUARD, inside, n);
    return p + GUARD;
}

static void guarded_free(uint8_t *p, uint64_t n)
{
    for (int64_t i = -GUARD; i < (int64_t)n + GUARD; i++)
        if ((i < 0 || i >= (int64_t)n) && p[i] != 0xa5)
            fail_msg("guard byte %lld of %llu was written", (long long)i, (unsigned long long)n);
    free(p - GUARD);
}

/// Runs a node by the best kernel of a device; src[0] is F32 and converted where the kernel wants
/// A8. out[i]: memory for dst[i] of the bytes that this batch needs, to be freed by done().
struct result {
    uint8_t *dst[NODE_DST];
    uint64_t bytes[NODE_DST];
    const struct kernel *kernel;
};

static struct result run_as(struct dev *d, const struct node *n, const struct dims *max,
                            const struct dims *now, const void *const src[NODE_SRC],
                            enum dtype dst0, bool exact)
{
    const struct kernel *k = d->ops->find(d, n, max, exact);
    struct result r = { .kernel = k };
    struct err e = { 0 };
    void *x = NULL;

    assert_non_null(k);
    struct run_args a = { .node = n, .now = now, .src0 = k->act, .dst0 = dst0, .exact = exact };
    memcpy(a.src, src, sizeof a.src);
    if (k->act == DTYPE_A8)
        a.src[0] = x =
            rows_as(DTYPE_A8, src[0], dim_value(n->src[0]->d[0], now), tensor_rows(n->src[0], now));
    for (int i = 0; i < NODE_DST && n->dst[i]; i++) {
        r.bytes[i] = i == 0 && dst0 == DTYPE_A8
                         ? (uint64_t)tensor_rows(n->dst[0], now) *
                               dtype_row_bytes(DTYPE_A8, dim_value(n->dst[0]->d[0], now))
                         : tensor_bytes(n->dst[i], now);
        a.dst[i] = r.dst[i] = guarded(r.bytes[i], 0xff);
    }
    const uint64_t s = k->scratch_bytes ? k->scratch_bytes(n, max, cpu_dev_threads(d)) : 0;
    uint8_t *scratch = guarded(s, 0xff);
    a.scratch = scratch;
    assert_true(d->ops->run(d, &(struct launch){ .kernel = k, .args = a, .sync = true }, 1, &e));
    guarded_free(scratch, s);
    free(x);
    return r;
}

static struct result run_on(struct dev *d, const struct node *n, const struct dims *now,
                            const void *const src[NODE_SRC], bool exact)
{
    return run_as(d, n, now, now, src, DTYPE_F32, exact);
}

static void done(struct result *r)
{
    for (int i = 0; i < NODE_DST && r->dst[i]; i++)
        guarded_free(r->dst[i], r->bytes[i]);
}

static const float *floats_of(const struct result *r)
{
    return (const float *)(const void *)r->dst[0];
}

/// All devices beside the first, bit for bit. The result is the first's, to be done().
static struct result run_all(const struct node *n, const struct dims *now,
                             const void *const src[NODE_SRC], bool exact, const char *what)
{
    const struct result first = run_on(devices[0], n, now, src, exact);

    for (size_t d = 1; d < ARRAY_LEN(kinds); d++) {
        if (!devices[d])
            continue;
        struct result r = run_on(devices[d], n, now, src, exact);
        for (int i = 0; i < NODE_DST && n->dst[i]; i++)
            for (uint64_t at = 0; at < r.bytes[i]; at += 4)
                if (memcmp(r.dst[i] + at, first.dst[i] + at, 4) != 0)
                    fail_msg("%s: %s, %d threads (%s): number %llu of result %d differs", what,
                             kinds[d].mask, kinds[d].threads, r.kernel->name,
                             (unsigned long long)at / 4, i);
        done(&r);
    }
    return first;
}

/// Mean squared error over mean square.
static double error_of(const float *y, const double *want, int64_t n)
{
    double wrong = 0, all = 1e-300;

    for (int64_t i = 0; i < n; i++) {
        wrong += (want[i] - (double)y[i]) * (want[i] - (double)y[i]);
        all += want[i] * want[i];
    }
    return wrong / all;
}

// --- ROUTE ---------------------------------------------------------------------------------------

struct route {
    struct tensor logits, bias, weights, ids;
    struct node node;
    struct dims dims;
};

static void route_init(struct route *x, const struct route_args *a, int tokens, bool bias)
{
    x->logits = tensor_of(ROLE_TEMP, DTYPE_F32, a->n_experts, 1, SYM_TOKENS);
    x->bias = tensor_of(ROLE_WEIGHT, DTYPE_F32, a->n_experts, 1, SYM_ONE);
    x->weights = tensor_of(ROLE_TEMP, DTYPE_F32, a->k, 1, SYM_TOKENS);
    x->ids = tensor_of(ROLE_TEMP, DTYPE_I32, a->k, 1, SYM_TOKENS);
    x->node = (struct node){ .op = OP_ROUTE,
                             .src = { &x->logits, bias ? &x->bias : NULL },
                             .dst = { &x->weights, &x->ids },
                             .args.route = *a };
    x->dims = dims_of(tokens);
}

struct scored {
    double c;
    int id;
};

static int by_score(const void *a, const void *b)
{
    const struct scored *x = a, *y = b;

    return x->c != y->c ? (x->c > y->c ? -1 : 1) : x->id - y->id;
}

/// The same by sorting, in double. Scores for choosing are rounded to float as the definition has
/// them where they are sums, so that ties are the same.
static void exact_route(const struct route_args *r, const float *x, const float *bias,
                        double *weight, int *id)
{
    const int n = r->n_experts;
    double p[300], top = -HUGE_VAL, sum = 0;
    struct scored s[300], g[300];

    for (int e = 0; e < n; e++)
        top = fmax(top, (double)x[e]);
    for (int e = 0; e < n; e++)
        sum += exp((double)x[e] - top);
    for (int e = 0; e < n; e++) {
        p[e] = r->kind == ROUTE_SOFTMAX   ? exp((double)x[e] - top) / sum
               : r->kind == ROUTE_SIGMOID ? 1 / (1 + exp(-(double)x[e]))
                                          : (double)x[e];
        s[e] = (struct scored){ p[e] + (bias ? (double)bias[e] : 0), e };
    }
    if (r->n_groups > 1) {
        const int size = n / r->n_groups;
        for (int i = 0; i < r->n_groups; i++) {
            struct scored in[300];
            memcpy(in, s + i * size, (size_t)size * sizeof *in);
            qsort(in, (size_t)size, sizeof *in, by_score);
            g[i] = (struct scored){ 0, i };
            for (int e = 0; e < r->group_top; e++)
                g[i].c += in[e].c;
        }
        qsort(g, (size_t)r->n_groups, sizeof *g, by_score);
        for (int i = r->n_groups_used; i < r->n_groups; i++)
            for (int e = 0; e < size; e++)
                s[g[i].id * size + e].c = -HUGE_VAL;
    }
    qsort(s, (size_t)n, sizeof *s, by_score);
    sum = 0;
    for (int j = 0; j < r->k; j++) {
        id[j] = s[j].id;
        weight[j] = p[id[j]];
    }
    if (r->kind == ROUTE_SOFTMAX_SELECTED) {
        for (int j = 1; j < r->k; j++)
            weight[j] = exp(weight[j] - weight[0]);
        weight[0] = 1;
    }
    for (int j = 0; j < r->k; j++)
        sum += weight[j];
    for (int j = 0; j < r->k; j++)
        weight[j] =
            weight[j] / (r->norm || r->kind == ROUTE_SOFTMAX_SELECTED ? sum : 1) * (double)r->scale;
}

static void routes_are_what_a_sort_gives(void **state)
{
    (void)state;
    static const struct route_args all[] = {
        { 128, 8, ROUTE_SOFTMAX, true, 1, 0, 0, 0 },
        { 32, 4, ROUTE_SOFTMAX_SELECTED, false, 1, 0, 0, 0 },
        { 64, 6, ROUTE_SOFTMAX, false, 1, 1, 1, 0 },
        { 160, 6, ROUTE_SOFTMAX, false, 16, 8, 3, 1 },
        { 256, 8, ROUTE_SIGMOID, true, 2.5f, 8, 4, 2 },
        { 5, 5, ROUTE_SIGMOID, true, 1, 5, 5, 1 },
        { 8, 2, ROUTE_SOFTMAX, true, 1, 2, 1, 4 },
        { 7, 1, ROUTE_SOFTMAX, true, 1, 0, 0, 0 },
    };

    for (size_t i = 0; i < ARRAY_LEN(all); i++)
        for (int round = 0; round < 20; round++) {
            const struct route_args *a = &all[i];
            struct route x;
            const int tokens = 1 + (int)random_to(40);
            route_init(&x, a, tokens, round % 2);
            float *logits = random_rows(a->n_experts * tokens, 6),
                  *bias = random_rows(a->n_experts, 0.3f);
            const void *src[NODE_SRC] = { logits, round % 2 ? bias : NULL };
            struct result r = run_all(&x.node, &x.dims, src, round % 3 == 0, "route");
            for (int t = 0; t < tokens; t++) {
                double weight[300];
                int id[300];
                exact_route(a, logits + t * a->n_experts, src[1], weight, id);
                for (int j = 0; j < a->k; j++) {
                    assert_int_equal(((const int32_t *)(const void *)r.dst[1])[t * a->k + j],
                                     id[j]);
                    assert_true(fabs(weight[j] - (double)floats_of(&r)[t * a->k + j]) <
                                1e-5 * (double)a->scale);
                }
            }
            done(&r);
            free(logits);
            free(bias);
        }
}

static void ties_go_to_the_lower_expert(void **state)
{
    (void)state;
    const struct route_args a = { 8, 3, ROUTE_SOFTMAX, true, 1, 4, 2, 1 };
    const float logits[8] = { 1, 1, 0, 2, 2, 0, 1, 2 }; // groups 1, 2 and 3 tie: 1 and 2 stay
    struct route x;

    route_init(&x, &a, 1, false);
    struct result r = run_all(&x.node, &x.dims, (const void *[NODE_SRC]){ logits }, false, "ties");
    const int32_t *id = (const int32_t *)(const void *)r.dst[1];
    assert_int_equal(id[0], 3);
    assert_int_equal(id[1], 4);
    assert_int_equal(id[2], 2);
    done(&r);
}

static void an_expert_whose_score_is_no_number_comes_last(void **state)
{
    (void)state;
    for (int where = 0; where < 2; where++)
        for (enum route_kind kind = ROUTE_SOFTMAX; kind <= ROUTE_SIGMOID; kind++) {
            const struct route_args a = { 5, 5, kind, false, 1, 0, 0, 0 };
            float logits[5] = { -1, -3, -2, -9, 0 }, bias[5] = { 0 };
            struct route x;
            (where ? bias : logits)[1] = NAN;
            route_init(&x, &a, 1, true);
            struct result r =
                run_all(&x.node, &x.dims, (const void *[NODE_SRC]){ logits, bias }, false, "nan");
            const int32_t *id = (const int32_t *)(const void *)r.dst[1];
            assert_int_equal(id[0], 4);
            assert_int_equal(id[1], 0);
            assert_int_equal(id[2], 2);
            assert_int_equal(id[3], 3);
            assert_int_equal(id[4], 1);
            for (int j = 0; j < 4; j++)
                assert_true(isfinite(floats_of(&r)[j]));
            done(&r);
        }
}

/// Whatever the numbers: k different experts that exist.
static void ids_are_valid_for_any_logits(void **state)
{
    (void)state;
    static const float odd[] = { NAN, INFINITY, -INFINITY, 0, -0.0f, 3e38f, -3e38f, 1e-42f };

    for (int round = 0; round < 300; round++) {
        struct route_args a = {
            12, 1 + (int)random_to(6), (enum route_kind)random_to(3), round % 2, 1, 0, 0, 0
        };
        struct route x;
        float logits[12], bias[12];
        if (round % 3 == 0) {
            a.n_groups = 4;
            a.n_groups_used = 2;
            a.group_top = 2;
        }
        route_init(&x, &a, 1, round % 5 == 0);
        for (int e = 0; e < 12; e++) {
            logits[e] =
                round % 7 == 0 || random_to(2) ? odd[random_to(ARRAY_LEN(odd))] : random_f32(9);
            bias[e] = random_to(4) ? random_f32(1) : odd[random_to(ARRAY_LEN(odd))];
        }
        struct result r =
            run_on(devices[0], &x.node, &x.dims,
                   (const void *[NODE_SRC]){ logits, round % 5 == 0 ? bias : NULL }, false);
        unsigned seen = 0;
        for (int j = 0; j < a.k; j++) {
            const int32_t id = ((const int32_t *)(const void *)r.dst[1])[j];
            assert_true(id >= 0 && id < 12 && !(seen >> id & 1));
            seen |= 1u << id;
        }
        done(&r);
    }
}

// --- EXPERTS -------------------------------------------------------------------------------------

struct experts {
    struct tensor x, w, ids, bias, y;
    struct node node;
    struct dims dims;
    int64_t n, rows, cols, k;
    float *xs, *ws, *bs; // as numbers
    void *w_data, *b_data;
    int32_t *id;
    const void *src[NODE_SRC];
};

enum pattern { ANY, ALL_ONE, IN_TURN, PATTERNS };

static int32_t choose(const struct experts *e, enum pattern p, int64_t t, int64_t j)
{
    switch (p) {
    case ALL_ONE:
        return (int32_t)((e->n - 1 + j) % e->n);
    case IN_TURN:
        return (int32_t)((t * e->k + j) % e->n);
    case ANY:
    case PATTERNS:
        break;
    }
    return (int32_t)((random_to(e->n / e->k) * e->k + j) % e->n); // different for different j
}

static void experts_init(struct experts *e, enum dtype type, int64_t n, int64_t rows, int64_t cols,
                         int64_t k, int tokens, bool own_x, enum dtype bias, enum pattern p)
{
    const int64_t xs = own_x ? tokens * k : tokens;

    *e = (struct experts){ .n = n, .rows = rows, .cols = cols, .k = k, .dims = dims_of(tokens) };
    e->x = tensor_of(ROLE_TEMP, DTYPE_F32, cols, own_x ? k : 1, SYM_TOKENS);
    e->w = tensor_of(ROLE_WEIGHT, type, cols, rows, SYM_ONE);
    e->w.n_dims = 3;
    e->w.d[2].n = n;
    e->ids = tensor_of(ROLE_TEMP, DTYPE_I32, k, 1, SYM_TOKENS);
    e->bias = tensor_of(ROLE_WEIGHT, bias, rows, n, SYM_ONE);
    e->y = tensor_of(ROLE_TEMP, DTYPE_F32, rows, k, SYM_TOKENS);
    e->node = (struct node){ .op = OP_EXPERTS, .src = { &e->x, &e->w, &e->ids }, .dst = { &e->y } };
    e->xs = random_rows(xs * cols, 2);
    e->ws = random_rows(n * rows * cols, 1);
    e->bs = random_rows(n * rows, 1);
    e->w_data = rows_as(type, e->ws, cols, n * rows);
    e->b_data = rows_as(bias == DTYPE_COUNT ? DTYPE_F32 : bias, e->bs, rows, n);
    e->id = malloc((size_t)(tokens * k) * sizeof *e->id);
    for (int64_t t = 0; t < tokens; t++)
        for (int64_t j = 0; j < k; j++)
            e->id[t * k + j] = choose(e, p, t, j);
    e->src[0] = e->xs;
    e->src[1] = e->w_data;
    e->src[2] = e->id;
    if (bias != DTYPE_COUNT) {
        e->node.src[EXPERTS_BIAS] = &e->bias;
        e->src[EXPERTS_BIAS] = e->b_data;
    }
}

static void experts_done(struct experts *e)
{
    free(e->xs);
    free(e->ws);
    free(e->bs);
    free(e->w_data);
    free(e->b_data);
    free(e->id);
}

/// With the numbers that the format holds, in double.
static double exact_error(const struct experts *e, const float *y)
{
    const bool own = e->x.d[1].n != 1;
    const int64_t results = e->dims.n_tokens * e->k;
    const uint64_t row = dtype_row_bytes(e->w.type, e->cols);
    double *want = calloc((size_t)(results * e->rows), sizeof *want);
    float *w = malloc((size_t)e->cols * sizeof *w);

    for (int64_t i = 0; i < results; i++)
        for (int64_t r = 0; r < e->rows; r++) {
            const int64_t at = e->id[i] * e->rows + r;
            const float *x = e->xs + (own ? i : i / e->k) * e->cols;
            double *to = &want[i * e->rows + r];
            dtype_info(e->w.type)->to_f32(w, (const uint8_t *)e->w_data + (uint64_t)at * row,
                                          e->cols);
            for (int64_t c = 0; c < e->cols; c++)
                *to += (double)w[c] * (double)x[c];
            if (e->node.src[EXPERTS_BIAS]) {
                float b;
                dtype_info(e->bias.type)
                    ->to_f32(&b, (const uint8_t *)e->b_data + dtype_row_bytes(e->bias.type, at), 1);
                *to += (double)b;
            }
        }
    const double error = error_of(y, want, results * e->rows);
    free(want);
    free(w);
    return error;
}

static const enum dtype weight_types[] = {
    DTYPE_F32,  DTYPE_F16,    DTYPE_BF16,   DTYPE_Q4_0,  DTYPE_Q4_1,        DTYPE_Q5_0,
    DTYPE_Q5_1, DTYPE_Q8_0,   DTYPE_Q2_K,   DTYPE_Q3_K,  DTYPE_Q4_K,        DTYPE_Q5_K,
    DTYPE_Q6_K, DTYPE_IQ4_NL, DTYPE_IQ4_XS, DTYPE_MXFP4, DTYPE_MXFP4_PAIRS,
};
static const enum dtype bias_types[] = { DTYPE_F32, DTYPE_BF16, DTYPE_F16, DTYPE_COUNT };

static int64_t some_cols(enum dtype type)
{
    const int64_t block = dtype_info(type)->block;

    return block == 1 ? 1 + random_to(90) : block * (1 + random_to(block == 32 ? 11 : 3));
}

static void check_experts(enum dtype type, int64_t n, int64_t rows, int64_t cols, int64_t k,
                          int tokens, bool own_x, bool exact)
{
    struct experts e;
    const bool a8 = dtype_info(type)->quantized && !exact;

    experts_init(&e, type, n, rows, cols, k, tokens, own_x,
                 bias_types[random_to(ARRAY_LEN(bias_types))], (enum pattern)random_to(PATTERNS));
    struct result r = run_all(&e.node, &e.dims, e.src, exact, dtype_info(type)->name);
    const double error = exact_error(&e, floats_of(&r));
    if (!(error < (a8 ? 2e-4 : 1e-11)))
        fail_msg("%s: error %g", dtype_info(type)->name, error);
    done(&r);
    experts_done(&e);
}

static void experts_have_the_bits_of_plain_c(void **state)
{
    (void)state;
    static const int tokens[] = { 1, 2, 3, 7, 30, 130 };

    for (size_t f = 0; f < ARRAY_LEN(weight_types); f++)
        for (size_t t = 0; t < ARRAY_LEN(tokens); t++)
            for (int round = 0; round < 2; round++) {
                const int64_t k = 1 + random_to(4), n = k * (1 + random_to(4));
                check_experts(weight_types[f], n, 1 + random_to(tokens[t] > 8 ? 20 : 150),
                              some_cols(weight_types[f]), k, tokens[t], round == 1,
                              random_to(4) == 0);
            }
    check_experts(DTYPE_MXFP4, 4, 200, 2880, 2, 5, false, false);
    check_experts(DTYPE_Q4_K, 8, 96, 2048, 4, 9, true, false);
}

/// 2^-128 and 2^-127 are no normal floats, but numbers all the same.
static void the_smallest_scales_of_mxfp4_count(void **state)
{
    (void)state;
    static const enum dtype types[] = { DTYPE_MXFP4, DTYPE_MXFP4_PAIRS };

    for (size_t f = 0; f < ARRAY_LEN(types); f++)
        for (int tokens = 1; tokens <= 40; tokens += 39) {
            struct experts e;
            experts_init(&e, types[f], 1, 20, 320, 1, tokens, false, DTYPE_COUNT, ANY);
            for (int64_t i = 0; i < 20 * 10; i++)
                ((uint8_t *)e.w_data)[i * 17] = (uint8_t)(i % 3);
            for (int64_t i = 0; i < tokens * 320; i++)
                e.xs[i] *= 1e37f;
            struct result r = run_all(&e.node, &e.dims, e.src, false, "small scales");
            assert_true(exact_error(&e, floats_of(&r)) < 2e-4);
            done(&r);
            experts_done(&e);
        }
}

/// Every expert has so many tokens that its blocks are filled up most: the guards must hold.
static void working_space_is_enough_for_the_worst_choice(void **state)
{
    (void)state;
    static const int each[] = { 16, 17, 21, 29 };

    for (size_t i = 0; i < ARRAY_LEN(each); i++)
        for (size_t f = 0; f < ARRAY_LEN(weight_types); f += 4) {
            struct experts e;
            const int64_t cols =
                dtype_info(weight_types[f])->block == 256 ? 256 : (i % 2 ? 288 : 32);
            experts_init(&e, weight_types[f], 6, 17, cols, 1, 6 * each[i], false, DTYPE_COUNT,
                         IN_TURN);
            struct result r = run_all(&e.node, &e.dims, e.src, false, "worst");
            done(&r);
            experts_done(&e);
        }
}

/// A token's row alone and among others.
static void a_token_gets_the_same_bits_in_any_batch(void **state)
{
    (void)state;
    for (size_t f = 0; f < ARRAY_LEN(weight_types); f++)
        for (size_t d = 0; d < ARRAY_LEN(kinds); d += 2) {
            struct experts e;
            const int tokens = 70;
            if (!devices[d])
                continue;
            experts_init(&e, weight_types[f], 6, 35, some_cols(weight_types[f]), 3, tokens, f % 2,
                         DTYPE_F32, ANY);
            struct result all = run_on(devices[d], &e.node, &e.dims, e.src, false);
            const uint64_t each = all.bytes[0] / (uint64_t)tokens;
            for (int n = 1; n <= 5; n += 4)
                for (int t = 0; t + n <= tokens; t += 23) {
                    const struct dims now = dims_of(n);
                    const void *src[NODE_SRC];
                    memcpy(src, e.src, sizeof src);
                    src[0] = e.xs + t * e.cols * (f % 2 ? e.k : 1);
                    src[2] = e.id + t * e.k;
                    // planned for the larger batch
                    struct result r =
                        run_as(devices[d], &e.node, &e.dims, &now, src, DTYPE_F32, false);
                    assert_memory_equal(r.dst[0], all.dst[0] + (uint64_t)t * each, r.bytes[0]);
                    done(&r);
                }
            done(&all);
            experts_done(&e);
        }
}

/// Experts that no token chose are not read: their pages are not even there.
static void only_chosen_experts_are_touched(void **state)
{
    (void)state;
    enum { N = 5, COLS = 4096, ROWS = 64 }; // Q8_0: 64 * 4352 bytes, whole pages
    const uint64_t each = ROWS * dtype_row_bytes(DTYPE_Q8_0, COLS);

    for (size_t d = 0; d < ARRAY_LEN(kinds); d++)
        for (int tokens = 1; tokens <= 7; tokens += 6) {
            struct experts e;
            if (!devices[d])
                continue;
            experts_init(&e, DTYPE_Q8_0, N, ROWS, COLS, 2, tokens, false, DTYPE_COUNT,
                         ALL_ONE); // 4 and 0
            struct result want = run_on(devices[0], &e.node, &e.dims, e.src, false);
            uint8_t *map =
                mmap(NULL, N * each, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
            assert_true(map != MAP_FAILED);
            memcpy(map, e.w_data, N * each);
            assert_int_equal(mprotect(map + each, 3 * each, PROT_NONE), 0);
            e.src[1] = map;
            struct result r = run_on(devices[d], &e.node, &e.dims, e.src, false);
            assert_memory_equal(r.dst[0], want.dst[0], r.bytes[0]);
            done(&r);
            done(&want);
            munmap(map, N * each);
            experts_done(&e);
        }
}

// --- EXPERT_SUM ----------------------------------------------------------------------------------

static void sums_have_the_bits_of_plain_c(void **state)
{
    (void)state;
    for (int round = 0; round < 60; round++) {
        const int64_t n = round % 3 ? 16 * (1 + random_to(90)) : 1 + random_to(700),
                      k = 1 + random_to(8);
        const int tokens = 1 + (int)random_to(20);
        struct tensor y = tensor_of(ROLE_TEMP, DTYPE_F32, n, k, SYM_TOKENS),
                      weights = tensor_of(ROLE_TEMP, DTYPE_F32, k, 1, SYM_TOKENS),
                      out = tensor_of(ROLE_TEMP, DTYPE_F32, n, 1, SYM_TOKENS), res = out;
        struct node node = { .op = OP_EXPERT_SUM, .src = { &y, &weights }, .dst = { &out } };
        const struct dims now = dims_of(tokens);
        float *ys = random_rows(n * k * tokens, 2), *ws = random_rows(k * tokens, 1),
              *rs = random_rows(n * tokens, 3);
        const void *src[NODE_SRC] = { ys, ws };
        if (round % 2) {
            node.src[EXPERT_SUM_RES] = &res;
            src[EXPERT_SUM_RES] = rs;
        }
        struct result r = run_all(&node, &now, src, false, "expert_sum");
        double *want = calloc((size_t)(n * tokens), sizeof *want);
        for (int64_t t = 0; t < tokens; t++)
            for (int64_t i = 0; i < n; i++) {
                want[t * n + i] = round % 2 ? (double)rs[t * n + i] : 0;
                for (int64_t j = 0; j < k; j++)
                    want[t * n + i] += (double)ws[t * k + j] * (double)ys[(t * k + j) * n + i];
            }
        assert_true(error_of(floats_of(&r), want, n * tokens) < 1e-12);

        for (size_t d = 0; round % 2 && d < ARRAY_LEN(kinds); d++) { // over its own residual
            struct err e = { 0 };
            if (!devices[d])
                continue;
            const struct kernel *k2 = devices[d]->ops->find(devices[d], &node, &now, false);
            float *both = memcpy(malloc(r.bytes[0]), rs, r.bytes[0]);
            struct launch l = {
                .kernel = k2,
                .args = { .node = &node, .now = &now, .src = { ys, ws, both }, .dst = { both } }
            };
            assert_true(devices[d]->ops->run(devices[d], &l, 1, &e));
            assert_memory_equal(both, r.dst[0], r.bytes[0]);
            free(both);
        }
        free(want);
        free(ys);
        free(ws);
        free(rs);
        done(&r);
    }
}

// --- HEADS ---------------------------------------------------------------------------------------

static void check_heads(enum dtype type, bool transposed, bool exact, int tokens)
{
    const int64_t block = dtype_info(type)->block;
    const int heads = 1 + (int)random_to(5), cols = (int)some_cols(type),
              other = 1 + (int)random_to(60);
    const int64_t skip = random_to(3), gap = random_to(3), step = other + gap;
    const struct heads_args a = {
        heads, transposed ? other : cols, transposed ? cols : other, skip, step, transposed
    };
    const int64_t all = skip + heads * step;
    struct tensor x = tensor_of(ROLE_TEMP, DTYPE_F32, (int64_t)heads * a.n_in, 1, SYM_TOKENS),
                  w = tensor_of(ROLE_WEIGHT, type, cols, all, SYM_ONE),
                  y = tensor_of(ROLE_TEMP, DTYPE_F32, (int64_t)heads * a.n_out, 1, SYM_TOKENS);
    const struct node node = { .op = OP_HEADS, .src = { &x, &w }, .dst = { &y }, .args.heads = a };
    const struct dims now = dims_of(tokens);
    float *xs = random_rows((int64_t)heads * a.n_in * tokens, 2), *ws = random_rows(cols * all, 1);
    void *w_data = rows_as(type, ws, cols, all);
    const void *src[NODE_SRC] = { xs, w_data };
    double *want = calloc((size_t)(heads * a.n_out * tokens), sizeof *want);

    for (int64_t r = 0; r < all; r++)
        dtype_info(type)->to_f32(
            ws + r * cols, (const uint8_t *)w_data + (uint64_t)r * dtype_row_bytes(type, cols),
            cols);
    for (int64_t t = 0; t < tokens; t++)
        for (int h = 0; h < heads; h++)
            for (int o = 0; o < a.n_out; o++)
                for (int i = 0; i < a.n_in; i++) {
                    const int64_t row = skip + h * step + (transposed ? i : o);
                    want[(t * heads + h) * a.n_out + o] +=
                        (double)ws[row * cols + (transposed ? o : i)] *
                        (double)xs[(t * heads + h) * a.n_in + i];
                }
    struct result r = run_all(&node, &now, src, exact, dtype_info(type)->name);
    const double error = error_of(floats_of(&r), want, (int64_t)heads * a.n_out * tokens);
    if (!(error < (block > 1 && !exact && !transposed ? 2e-3 : 1e-11)))
        fail_msg("heads, %s: error %g", dtype_info(type)->name, error);

    const struct dims one = dims_of(1); // the last token alone
    src[0] = xs + (tokens - 1) * heads * a.n_in;
    for (size_t d = 0; d < ARRAY_LEN(kinds); d++)
        if (devices[d]) {
            struct result alone = run_as(devices[d], &node, &now, &one, src, DTYPE_F32, exact);
            assert_memory_equal(alone.dst[0], r.dst[0] + r.bytes[0] - alone.bytes[0],
                                alone.bytes[0]);
            done(&alone);
        }
    done(&r);
    free(want);
    free(xs);
    free(ws);
    free(w_data);
}

static void heads_have_the_bits_of_plain_c(void **state)
{
    (void)state;
    static const int tokens[] = { 1, 3, 5, 40 };

    for (size_t f = 0; f < ARRAY_LEN(weight_types); f++)
        for (size_t t = 0; t < ARRAY_LEN(tokens); t++)
            for (int transposed = 0; transposed < 2; transposed++)
                check_heads(weight_types[f], transposed, random_to(4) == 0, tokens[t]);
}

// --- SLICE, CONCAT, pairs, long factors ----------------------------------------------------------

static void slices_joined_again_are_the_whole(void **state)
{
    (void)state;
    for (int round = 0; round < 30; round++) {
        const int heads = 1 + (int)random_to(4), a = 1 + (int)random_to(40),
                  b = 1 + (int)random_to(40);
        const int tokens = 1 + (int)random_to(30);
        struct tensor x = tensor_of(ROLE_TEMP, DTYPE_F32, heads * (a + b), 1, SYM_TOKENS),
                      ta = tensor_of(ROLE_TEMP, DTYPE_F32, heads * a, 1, SYM_TOKENS),
                      tb = tensor_of(ROLE_TEMP, DTYPE_F32, heads * b, 1, SYM_TOKENS);
        const struct node first = { .op = OP_SLICE,
                                    .src = { &x },
                                    .dst = { &ta },
                                    .args.slice = { a + b, 0, a } },
                          second = { .op = OP_SLICE,
                                     .src = { &x },
                                     .dst = { &tb },
                                     .args.slice = { a + b, a, b } },
                          join = { .op = OP_CONCAT,
                                   .src = { &ta, &tb },
                                   .dst = { &x },
                                   .args.concat = { a, b } };
        const struct dims now = dims_of(tokens);
        float *xs = random_rows((int64_t)heads * (a + b) * tokens, 1);
        struct result ra = run_all(&first, &now, (const void *[NODE_SRC]){ xs }, false, "slice");
        struct result rb = run_all(&second, &now, (const void *[NODE_SRC]){ xs }, false, "slice");
        struct result r =
            run_all(&join, &now, (const void *[NODE_SRC]){ ra.dst[0], rb.dst[0] }, false, "concat");
        assert_memory_equal(r.dst[0], xs, r.bytes[0]);
        assert_memory_equal(ra.dst[0], xs, (size_t)a * sizeof(float));
        assert_memory_equal(rb.dst[0], xs + a, (size_t)b * sizeof(float));
        done(&ra);
        done(&rb);
        done(&r);
        free(xs);
    }
}

/// openai/gpt-oss, gpt_oss/torch/model.py, swiglu, in double.
static double exact_swiglu(double gate, double up)
{
    const double g = fmin(gate, 7), u = fmax(-7, fmin(up, 7));

    return g / (1 + exp(-1.702 * g)) * (u + 1);
}

static void pairs_are_gated_like_two_rows(void **state)
{
    (void)state;
    for (int round = 0; round < 24; round++) {
        const enum act act = (enum act)(round % 3);
        const int64_t n = round % 2 ? 32 * (1 + random_to(140)) : 1 + random_to(3000);
        const int tokens = 1 + (int)random_to(9);
        struct tensor two = tensor_of(ROLE_TEMP, DTYPE_F32, 2 * n, 3, SYM_TOKENS),
                      one = tensor_of(ROLE_TEMP, DTYPE_F32, n, 3, SYM_TOKENS);
        const struct node
            pairs = { .op = OP_GLU, .src = { &two }, .dst = { &one }, .args.glu = { act } },
            rows = { .op = OP_GLU, .src = { &one, &one }, .dst = { &one }, .args.glu = { act } };
        const struct dims now = dims_of(tokens);
        const int64_t all = n * 3 * tokens;
        float *x = random_rows(2 * all, 12), *gate = random_rows(all, 1), *up = random_rows(all, 1);
        for (int64_t i = 0; i < all; i++) {
            gate[i] = x[2 * i];
            up[i] = x[2 * i + 1];
        }
        struct result a = run_all(&pairs, &now, (const void *[NODE_SRC]){ x }, false, "pairs");
        struct result b = run_all(&rows, &now, (const void *[NODE_SRC]){ gate, up }, false, "glu");
        assert_memory_equal(a.dst[0], b.dst[0], a.bytes[0]);
        for (int64_t i = 0; act == ACT_SWIGLU_OAI && i < all; i++) {
            const double want = exact_swiglu((double)gate[i], (double)up[i]);
            assert_true(fabs(want - (double)floats_of(&a)[i]) < 1e-5 + 1e-6 * fabs(want));
        }
        for (size_t d = 0; n % 32 == 0 && d < ARRAY_LEN(kinds); d++) {
            if (!devices[d])
                continue;
            uint8_t *want = rows_as(DTYPE_A8, floats_of(&a), n, 3 * tokens);
            struct result r = run_as(devices[d], &pairs, &now, &now, (const void *[NODE_SRC]){ x },
                                     DTYPE_A8, false);
            assert_memory_equal(r.dst[0], want, r.bytes[0]);
            done(&r);
            free(want);
        }
        done(&a);
        done(&b);
        free(x);
        free(gate);
        free(up);
    }
}

static void long_contexts_take_the_long_factors(void **state)
{
    (void)state;
    struct tensor pos = tensor_of(ROLE_INPUT, DTYPE_I32, 1, 1, SYM_ONE),
                  f = tensor_of(ROLE_WEIGHT, DTYPE_F32, 4, 1, SYM_ONE), g = f,
                  table = tensor_of(ROLE_TEMP, DTYPE_F32, 8, 1, SYM_TOKENS);
    struct node n = { .op = OP_ROPE_TABLE, .src = { &pos, &f, &g }, .dst = { &table } };
    static const float near[4] = { 1, 1, 1, 1 }, far[4] = { 2, 3, 5, 9 };
    const int32_t at[1] = { 77 };

    n.args.freq =
        (struct rope_freq){ .rot = 8, .base = 100, .linear = 1, .mscale = 1, .long_from = 4096 };
    for (int is_long = 0; is_long < 2; is_long++) {
        struct dims now = dims_of(1);
        float want[8];
        now.n_ctx = is_long ? 4096 + 64 : 4096;
        ref_rope_table(want, at[0], &n.args.freq, is_long ? far : near);
        struct result r =
            run_all(&n, &now, (const void *[NODE_SRC]){ at, near, far }, false, "rope_table");
        assert_memory_equal(r.dst[0], want, sizeof want);
        done(&r);
    }
}

static void every_operation_has_a_plain_c_kernel(void **state)
{
    (void)state;
    static const struct cpu_kernel *const tables[] = { cpu_matmul_kernels, cpu_vec_kernels,
                                                       cpu_expert_kernels };

    for (int op = 0; op < OP_COUNT; op++) {
        bool there = false;
        for (size_t t = 0; t < ARRAY_LEN(tables); t++)
            for (const struct cpu_kernel *k = tables[t]; k->kernel; k++)
                there |= k->kernel->op == (enum op)op && k->needs == 0;
        if (!there)
            fail_msg("%s has none", op_info((enum op)op)->name);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(routes_are_what_a_sort_gives),
        cmocka_unit_test(ties_go_to_the_lower_expert),
        cmocka_unit_test(an_expert_whose_score_is_no_number_comes_last),
        cmocka_unit_test(ids_are_valid_for_any_logits),
        cmocka_unit_test(experts_have_the_bits_of_plain_c),
        cmocka_unit_test(the_smallest_scales_of_mxfp4_count),
        cmocka_unit_test(working_space_is_enough_for_the_worst_choice),
        cmocka_unit_test(a_token_gets_the_same_bits_in_any_batch),
        cmocka_unit_test(only_chosen_experts_are_touched),
        cmocka_unit_test(sums_have_the_bits_of_plain_c),
        cmocka_unit_test(heads_have_the_bits_of_plain_c),
        cmocka_unit_test(slices_joined_again_are_the_whole),
        cmocka_unit_test(pairs_are_gated_like_two_rows),
        cmocka_unit_test(long_contexts_take_the_long_factors),
        cmocka_unit_test(every_operation_has_a_plain_c_kernel),
    };

    return cmocka_run_group_tests(tests, devices_open, devices_close);
}
