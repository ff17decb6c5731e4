// test_attn.c - attention and its pages: the fast kernel has the bits of the definition for any
// shape, batch, instruction set and number of threads; the definition is softmax(q k) v.

#include "dev/cpu/cpu_int.h"

#include <math.h>
#include <setjmp.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static uint64_t rng = 88172645463325252u;

static uint32_t random_u32(void)
{
    rng ^= rng << 13;
    rng ^= rng >> 7;
    rng ^= rng << 17;
    return (uint32_t)(rng >> 32);
}

static float random_f32(float most)
{
    return ((float)(random_u32() >> 8) / 8388608.0f - 1.0f) * most;
}

// --- a layer -------------------------------------------------------------------------------------

enum { MAX_TOKENS = 150, MAX_SLOTS = 3, GUARD = 64 };

struct shape {
    int heads, kv_heads, dim_k, dim_v, window;
    float softcap;
    bool sinks;
    bool shared; // the values are the first dim_v numbers of the keys
};

/// One attention layer, its pages, and everything ever stored, for the check by hand.
struct layer {
    struct shape s;
    struct dims dims;
    struct tensor q, k, v, kp, vp, pos, seq, table, sinks, out;
    struct node store, attn;
    uint8_t *k_pages, *v_pages;
    uint64_t k_bytes, v_bytes;
    int32_t *page_table;
    float *sink;
    float *all_k, *all_v; // [slot][position][kv heads][dim]
    int length[MAX_SLOTS];
};

static struct dim dim(int64_t n, enum sym sym, int arg)
{
    return (struct dim){ n, sym, arg };
}

static struct tensor tensor_2d(enum role role, enum dtype type, int64_t cols, enum sym sym,
                               int64_t rows)
{
    return (struct tensor){ .name = "t",
                            .role = role,
                            .type = type,
                            .n_dims = 2,
                            .source = -1,
                            .d = { dim(cols, SYM_ONE, 0), dim(rows, sym, 0), dim(1, SYM_ONE, 0),
                                   dim(1, SYM_ONE, 0) } };
}

static struct tensor pages(const struct shape *s, int head_dim)
{
    struct tensor t = {
        .name = "pages", .role = ROLE_STATE, .type = DTYPE_F16, .n_dims = 4, .source = -1
    };

    t.d[0] = dim(head_dim, SYM_ONE, 0);
    t.d[1] = dim(KV_PAGE_TOKENS, SYM_ONE, 0);
    t.d[2] = dim(s->kv_heads, SYM_ONE, 0);
    t.d[3] = dim(1, s->window > 0 ? SYM_WINDOW_PAGES : SYM_PAGES, s->window);
    return t;
}

static void layer_init(struct layer *x, struct shape s, enum dtype kv, int n_ctx)
{
    *x = (struct layer){ .s = s };
    x->dims =
        (struct dims){ .n_slots = MAX_SLOTS, .n_ctx = n_ctx, .max_tokens = MAX_TOKENS, .kv = kv };
    x->dims.n_tokens = MAX_TOKENS;
    x->q = tensor_2d(ROLE_TEMP, DTYPE_F32, (int64_t)s.heads * s.dim_k, SYM_TOKENS, 1);
    x->k = tensor_2d(ROLE_TEMP, DTYPE_F32, (int64_t)s.kv_heads * s.dim_k, SYM_TOKENS, 1);
    x->v = tensor_2d(ROLE_TEMP, DTYPE_F32, (int64_t)s.kv_heads * s.dim_v, SYM_TOKENS, 1);
    x->out = tensor_2d(ROLE_TEMP, DTYPE_F32, (int64_t)s.heads * s.dim_v, SYM_TOKENS, 1);
    x->pos = tensor_2d(ROLE_INPUT, DTYPE_I32, 1, SYM_TOKENS, 1);
    x->seq = x->pos;
    x->table = tensor_2d(ROLE_INPUT, DTYPE_I32, 1, SYM_PAGES, 1);
    x->sinks = tensor_2d(ROLE_WEIGHT, DTYPE_F32, s.heads, SYM_ONE, 1);
    x->kp = pages(&s, s.dim_k);
    x->vp = pages(&s, s.dim_v);

    x->store = (struct node){ .op = OP_KV_STORE,
                              .src = { &x->k, &x->v, &x->kp, &x->vp, &x->pos, &x->seq },
                              .dst = { &x->kp, &x->vp } };
    x->attn = (struct node){ .op = OP_ATTN,
                             .src = { &x->q, &x->kp, &x->vp, &x->pos, &x->seq },
                             .dst = { &x->out } };
    if (s.shared) {
        x->store.src[1] = &x->k;
        x->store.src[3] = x->attn.src[2] = &x->kp;
        x->store.dst[1] = NULL;
    }
    if (s.window == 0)
        x->store.src[STORE_TABLE] = x->attn.src[ATTN_TABLE] = &x->table;
    if (s.sinks)
        x->attn.src[ATTN_SINKS] = &x->sinks;
    x->attn.args.attn.n_heads = s.heads;
    x->attn.args.attn.n_kv_heads = s.kv_heads;
    x->attn.args.attn.head_dim = s.dim_k;
    x->attn.args.attn.head_dim_v = s.dim_v;
    x->attn.args.attn.window = s.window;
    x->attn.args.attn.scale = 1.0f / sqrtf((float)s.dim_k);
    x->attn.args.attn.softcap = s.softcap;
    x->store.args = x->attn.args;

    x->k_bytes = tensor_bytes(&x->kp, &x->dims);
    x->v_bytes = tensor_bytes(&x->vp, &x->dims);
    x->k_pages = malloc(x->k_bytes);
    x->v_pages = malloc(x->v_bytes);
    memset(x->k_pages, 0xff, x->k_bytes); // NaN in every format
    memset(x->v_pages, 0xff, x->v_bytes);

    const int n = (int)kv_slot_pages(0, &x->dims) * MAX_SLOTS;
    x->page_table = malloc((size_t)n * sizeof(int32_t));
    for (int i = 0; i < n; i++)
        x->page_table[i] = i;
    for (int i = n - 1; i > 0; i--) {
        const int j = (int)(random_u32() % (uint32_t)(i + 1)), was = x->page_table[i];
        x->page_table[i] = x->page_table[j];
        x->page_table[j] = was;
    }
    x->sink = malloc((size_t)s.heads * sizeof(float));
    for (int h = 0; h < s.heads; h++)
        x->sink[h] = random_f32(3);
    x->all_k = calloc((size_t)(MAX_SLOTS * n_ctx * s.kv_heads * s.dim_k), sizeof(float));
    x->all_v = calloc((size_t)(MAX_SLOTS * n_ctx * s.kv_heads * s.dim_v), sizeof(float));
}

static void layer_done(struct layer *x)
{
    free(x->k_pages);
    free(x->v_pages);
    free(x->page_table);
    free(x->sink);
    free(x->all_k);
    free(x->all_v);
}

// --- a batch -------------------------------------------------------------------------------------

struct batch {
    int n;
    int32_t pos[MAX_TOKENS], seq[MAX_TOKENS];
    float *q, *k, *v;
};

static float *random_rows(int64_t n, float most)
{
    float *p = malloc((size_t)n * sizeof *p);

    for (int64_t i = 0; i < n; i++)
        p[i] = random_f32(most);
    return p;
}

/// n[slot] tokens of each slot that follow what it has; slot after slot.
static void batch_init(struct batch *b, struct layer *x, const int n[MAX_SLOTS])
{
    const struct shape *s = &x->s;

    b->n = 0;
    for (int slot = 0; slot < MAX_SLOTS; slot++)
        for (int i = 0; i < n[slot]; i++) {
            b->seq[b->n] = slot;
            b->pos[b->n++] = x->length[slot]++;
        }
    b->q = random_rows((int64_t)b->n * s->heads * s->dim_k, 2);
    b->k = random_rows((int64_t)b->n * s->kv_heads * s->dim_k, 2);
    b->v = random_rows((int64_t)b->n * s->kv_heads * s->dim_v, 2);
    const size_t kn = (size_t)(s->kv_heads * s->dim_k), vn = (size_t)(s->kv_heads * s->dim_v);
    for (int i = 0; s->shared && i < b->n * s->kv_heads; i++)
        memcpy(b->v + i * s->dim_v, b->k + i * s->dim_k, (size_t)s->dim_v * sizeof *b->v);
    for (int i = 0; i < b->n; i++) {
        const size_t at = (size_t)(b->seq[i] * (int)x->dims.n_ctx + b->pos[i]);
        memcpy(x->all_k + at * kn, b->k + (size_t)i * kn, kn * sizeof(float));
        memcpy(x->all_v + at * vn, b->v + (size_t)i * vn, vn * sizeof(float));
    }
}

static void batch_done(struct batch *b)
{
    free(b->q);
    free(b->k);
    free(b->v);
}

static void run_store(struct dev *d, struct layer *x, const struct batch *b, uint8_t *k_pages,
                      uint8_t *v_pages)
{
    struct dims now = x->dims;
    struct launch l = {
        .kernel = &cpu_kv_store,
        .args = { .node = &x->store,
                  .now = &now,
                  .dst = { k_pages, v_pages },
                  .src = { b->k, b->v, k_pages, v_pages, b->pos, b->seq,
                           x->s.window ? NULL : x->page_table } },
    };

    if (x->s.shared) {
        l.args.dst[1] = NULL;
        l.args.src[1] = b->k;
        l.args.src[3] = k_pages;
    }
    now.n_tokens = b->n;
    assert_true(d->ops->run(d, &l, 1, NULL));
}

/// Fresh memory with guards and garbage; free with take_back, which looks at the guards.
static uint8_t *lend(uint64_t bytes)
{
    uint8_t *p = xaligned(bytes + 2 * GUARD);

    memset(p, 0xff, bytes + 2 * GUARD);
    memset(p, 0xa5, GUARD);
    memset(p + GUARD + bytes, 0xa5, GUARD);
    return p + GUARD;
}

static void take_back(uint8_t *p, uint64_t bytes)
{
    for (int i = 0; i < GUARD; i++) {
        assert_int_equal(p[i - GUARD], 0xa5);
        assert_int_equal(p[bytes + (uint64_t)i], 0xa5);
    }
    free(p - GUARD);
}

/// The result, in memory that lend() made.
static uint8_t *run_attn(struct dev *d, const struct kernel *kernel, struct layer *x,
                         const struct batch *b, enum dtype type, uint64_t *bytes)
{
    struct dims now = x->dims;
    const uint64_t scratch_bytes = kernel->scratch_bytes(&x->attn, &x->dims, cpu_dev_threads(d));
    uint8_t *scratch = lend(scratch_bytes);

    *bytes = (uint64_t)b->n * dtype_row_bytes(type, (int64_t)x->s.heads * x->s.dim_v);
    uint8_t *out = lend(*bytes);
    const struct launch l = {
        .kernel = kernel,
        .args = { .node = &x->attn,
                  .now = &now,
                  .dst = { out },
                  .dst0 = type,
                  .scratch = scratch,
                  .src = { b->q, x->k_pages, x->s.shared ? x->k_pages : x->v_pages, b->pos, b->seq,
                           x->s.window ? NULL : x->page_table, x->s.sinks ? x->sink : NULL } },
    };
    now.n_tokens = b->n;
    assert_true(kernel->accepts(&x->attn, &x->dims, false));
    assert_true(d->ops->run(d, &l, 1, NULL));
    take_back(scratch, scratch_bytes);
    return out;
}

// --- devices -------------------------------------------------------------------------------------

static const struct {
    const char *mask;
    unsigned needs;
    int threads;
} kinds[] = {
    { "c", 0, 2 },
    { "c,avx2", CPU_AVX2, 1 },
    { "c,avx2", CPU_AVX2, 3 },
    { "c,avx2,avx512", CPU_AVX512, 1 },
    { "c,avx2,avx512", CPU_AVX512, 2 },
};
static struct dev *devices[ARRAY_LEN(kinds)]; // NULL where this machine has not the features

static int open_devices(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
        const struct cpu_opts o = { .threads = kinds[i].threads, .features = kinds[i].mask };
        if ((cpu_features(kinds[i].mask) & kinds[i].needs) != kinds[i].needs)
            continue;
        if (!cpu_dev_new(&devices[i], &o, NULL))
            return -1;
    }
    return 0;
}

static int close_devices(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(kinds); i++)
        dev_free(devices[i]);
    return 0;
}

// --- the check by hand ---------------------------------------------------------------------------

/// Softmax attention in double, straight from the formula, over what was stored.
static void exact_attn(double *out, const struct layer *x, const float *q, int slot, int pos, int h)
{
    const struct shape *s = &x->s;
    const int kvh = h / (s->heads / s->kv_heads),
              from = s->window && pos >= s->window ? pos - s->window + 1 : 0;
    double *p = calloc((size_t)pos + 1, sizeof *p), top = s->sinks ? (double)x->sink[h] : -1e30,
           sum = 0;

    for (int j = from; j <= pos; j++) {
        const float *k = x->all_k + ((slot * x->dims.n_ctx + j) * s->kv_heads + kvh) * s->dim_k;
        for (int d = 0; d < s->dim_k; d++)
            p[j] += (double)q[d] * (double)k[d];
        p[j] /= sqrt(s->dim_k);
        if (s->softcap != 0)
            p[j] = (double)s->softcap * tanh(p[j] / (double)s->softcap);
        top = fmax(top, p[j]);
    }
    memset(out, 0, (size_t)s->dim_v * sizeof *out);
    for (int j = from; j <= pos; j++) {
        const float *v = x->all_v + ((slot * x->dims.n_ctx + j) * s->kv_heads + kvh) * s->dim_v;
        const double e = exp(p[j] - top);
        sum += e;
        for (int d = 0; d < s->dim_v; d++)
            out[d] += e * (double)v[d];
    }
    sum += s->sinks ? exp((double)x->sink[h] - top) : 0;
    for (int d = 0; d < s->dim_v; d++)
        out[d] /= sum;
    free(p);
}

/// Mean squared error over mean square.
static double error_of(const struct layer *x, const struct batch *b, const float *y)
{
    const struct shape *s = &x->s;
    double *out = calloc((size_t)s->dim_v, sizeof *out), wrong = 0, all = 0;

    for (int i = 0; i < b->n; i++)
        for (int h = 0; h < s->heads; h++, y += s->dim_v) {
            exact_attn(out, x, b->q + (i * s->heads + h) * s->dim_k, b->seq[i], b->pos[i], h);
            for (int d = 0; d < s->dim_v; d++) {
                wrong += (out[d] - (double)y[d]) * (out[d] - (double)y[d]);
                all += out[d] * out[d];
            }
        }
    free(out);
    return wrong / all;
}

// --- tests ---------------------------------------------------------------------------------------

/// Batches one after another: prompts, single tokens, both together.
// clang-format off
static const int mixed[][MAX_SLOTS] = {
    { 70, 0, 0 }, { 0, 1, 0 }, { 1, 1, 1 }, { 17, 66, 9 }, { 1, 0, 0 }, { 67, 1, 1 }, { 3, 3, 3 }, { 1, 1, 0 }, { 0, 0, 64 },
};
/// So long that each lane has several tiles.
static const int lengthy[][MAX_SLOTS] = {
    { 140, 9, 0 }, { 140, 0, 0 }, { 150, 0, 0 }, { 130, 0, 0 }, { 1, 1, 0 }, { 17, 0, 0 }, { 2, 0, 0 },
};
// clang-format on

/// Two formats, all devices, beside the definition; pages stored by each device are the same bytes.
static void check_batches(struct shape s, enum dtype kv, const int (*batches)[MAX_SLOTS],
                          size_t n_batches, int n_ctx)
{
    const double most = kv == DTYPE_F32 ? 1e-12 : kv == DTYPE_F16 ? 1e-6 : 1e-3;
    struct layer x;

    layer_init(&x, s, kv, n_ctx);
    for (size_t i = 0; i < n_batches; i++) {
        struct batch b;
        uint64_t bytes, n;
        uint8_t *k2 = memcpy(malloc(x.k_bytes), x.k_pages, x.k_bytes);
        uint8_t *v2 = memcpy(malloc(x.v_bytes), x.v_pages, x.v_bytes);

        batch_init(&b, &x, batches[i]);
        run_store(devices[0], &x, &b, x.k_pages, x.v_pages);
        for (size_t d = 1; d < ARRAY_LEN(kinds); d++)
            if (devices[d] != NULL) {
                run_store(devices[d], &x, &b, k2, v2);
                assert_memory_equal(k2, x.k_pages, x.k_bytes);
                assert_memory_equal(v2, x.v_pages, x.v_bytes);
            }
        free(k2);
        free(v2);

        uint8_t *ref = run_attn(devices[0], &cpu_ref_attn, &x, &b, DTYPE_F32, &bytes);
        const double error = error_of(&x, &b, (const float *)(const void *)ref);
        if (!(error < most))
            fail_msg("shape %d/%d x %d/%d, batch %zu: error %g", s.heads, s.kv_heads, s.dim_k,
                     s.dim_v, i, error);
        const bool a8 = s.heads * s.dim_v % 32 == 0;
        uint8_t *ref8 = a8 ? run_attn(devices[0], &cpu_ref_attn, &x, &b, DTYPE_A8, &n) : NULL;
        for (int t = 0; a8 && t < b.n; t++) {
            const int64_t len = (int64_t)s.heads * s.dim_v;
            uint8_t *row = malloc((size_t)len * 3 / 2);
            dtype_info(DTYPE_A8)->from_f32(row, (const float *)(const void *)ref + t * len, len);
            assert_memory_equal(ref8 + t * len * 3 / 2, row, (size_t)len * 3 / 2);
            free(row);
        }
        for (size_t d = 1; d < ARRAY_LEN(kinds); d++) {
            if (devices[d] == NULL)
                continue;
            uint8_t *y = run_attn(devices[d], &cpu_attn, &x, &b, DTYPE_F32, &n);
            if (memcmp(y, ref, bytes) != 0)
                fail_msg("%s, %d threads: heads %d/%d dims %d/%d window %d, batch %zu differs",
                         kinds[d].mask, kinds[d].threads, s.heads, s.kv_heads, s.dim_k, s.dim_v,
                         s.window, i);
            take_back(y, n);
            if (!a8)
                continue;
            y = run_attn(devices[d], &cpu_attn, &x, &b, DTYPE_A8, &n);
            assert_memory_equal(y, ref8, n);
            take_back(y, n);
        }
        if (a8)
            take_back(ref8, (uint64_t)b.n * dtype_row_bytes(DTYPE_A8, (int64_t)s.heads * s.dim_v));
        take_back(ref, bytes);
        batch_done(&b);
    }
    layer_done(&x);
}

static void check_shape(struct shape s, enum dtype kv)
{
    check_batches(s, kv, mixed, ARRAY_LEN(mixed), 200);
}

static void attn_of_long_contexts_has_the_bits_of_plain_c(void **state)
{
    (void)state;
    check_batches((struct shape){ 3, 1, 16, 16, 0, 0, false, false }, DTYPE_F16, lengthy,
                  ARRAY_LEN(lengthy), 600);
    check_batches((struct shape){ 2, 2, 20, 16, 300, 0, true, false }, DTYPE_F32, lengthy,
                  ARRAY_LEN(lengthy), 600);
    check_batches((struct shape){ 2, 1, 16, 32, 400, 0, false, false }, DTYPE_Q8_0, lengthy,
                  ARRAY_LEN(lengthy), 600);
}

static void attn_of_usual_shapes_has_the_bits_of_plain_c(void **state)
{
    (void)state;
    check_shape((struct shape){ 9, 3, 64, 64, 0, 0, false, false }, DTYPE_F16);
    check_shape((struct shape){ 4, 1, 128, 128, 0, 0, false, false }, DTYPE_F16);
    check_shape((struct shape){ 2, 2, 80, 80, 0, 0, false, false }, DTYPE_F16);
    check_shape((struct shape){ 4, 1, 256, 256, 48, 0, false, false }, DTYPE_F16);
    check_shape((struct shape){ 8, 1, 96, 96, 0, 30, false, false }, DTYPE_F16);
    check_shape((struct shape){ 8, 1, 64, 64, 100, 0, true, false }, DTYPE_F16);
}

static void attn_of_odd_shapes_has_the_bits_of_plain_c(void **state)
{
    (void)state;
    check_shape((struct shape){ 3, 1, 7, 5, 0, 0, false, false }, DTYPE_F16);
    check_shape((struct shape){ 14, 2, 24, 40, 1, 0, true, false }, DTYPE_F16);
    check_shape((struct shape){ 32, 1, 33, 17, 65, 5, false, false }, DTYPE_F16);
    check_shape((struct shape){ 1, 1, 1, 1, 0, 0, false, false }, DTYPE_F32);
    check_shape((struct shape){ 11, 11, 16, 36, 130, 0, true, false }, DTYPE_F32);
}

static void attn_reads_pages_of_every_format(void **state)
{
    (void)state;
    check_shape((struct shape){ 6, 2, 64, 64, 0, 0, false, false }, DTYPE_F32);
    check_shape((struct shape){ 6, 2, 64, 64, 0, 0, false, false }, DTYPE_Q8_0);
    check_shape((struct shape){ 4, 2, 40, 72, 70, 0, true, false }, DTYPE_Q8_0);
    check_shape((struct shape){ 4, 2, 40, 72, 70, 10, true, false }, DTYPE_F32);
}

static void attn_of_random_shapes_has_the_bits_of_plain_c(void **state)
{
    (void)state;
    for (int round = 0; round < 10; round++) {
        const enum dtype kv[] = { DTYPE_F16, DTYPE_F32, DTYPE_Q8_0 };
        struct shape s = { .kv_heads = 1 + (int)(random_u32() % 3) };
        s.heads = s.kv_heads * (1 + (int)(random_u32() % 5));
        s.dim_k = 1 + (int)(random_u32() % 50);
        s.dim_v = 1 + (int)(random_u32() % 50);
        s.window = random_u32() % 2 ? 0 : 1 + (int)(random_u32() % 200);
        s.softcap = random_u32() % 3 ? 0 : 1 + random_f32(0.5f);
        s.sinks = random_u32() % 2;
        s.shared = random_u32() % 3 == 0 && s.dim_v <= s.dim_k;
        check_shape(s, kv[random_u32() % 3]);
    }
}

/// Values in the keys: one head with a latent vector for all queries, as deepseek2 keeps it.
static void attn_of_values_in_keys_has_the_bits_of_plain_c(void **state)
{
    static const enum dtype kv[] = { DTYPE_F16, DTYPE_F32, DTYPE_Q8_0 };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(kv); i++) {
        check_shape((struct shape){ 16, 1, 72, 64, 0, 0, false, true }, kv[i]);
        check_shape((struct shape){ 5, 1, 33, 20, 50, 0, true, true }, kv[i]);
        check_shape((struct shape){ 6, 2, 40, 40, 0, 20, false, true }, kv[i]);
    }
    check_shape((struct shape){ 16, 1, 576, 512, 0, 0, false, true }, DTYPE_F16);
}

/// Scores so large that exp of them would overflow, and rows whose first keys underflow to nothing.
static void attn_survives_large_scores(void **state)
{
    const int n[MAX_SLOTS] = { 150, 0, 0 };
    struct layer x;
    struct batch b;
    uint64_t bytes;

    (void)state;
    layer_init(&x, (struct shape){ 2, 1, 32, 32, 0, 0, false, false }, DTYPE_F32, 320);
    batch_init(&b, &x, n);
    for (int i = 0; i < b.n * 64; i++)
        b.q[i] *= 300;
    run_store(devices[0], &x, &b, x.k_pages, x.v_pages);
    uint8_t *ref = run_attn(devices[0], &cpu_ref_attn, &x, &b, DTYPE_F32, &bytes);
    assert_true(error_of(&x, &b, (const float *)(const void *)ref) < 1e-9);
    for (size_t d = 1; d < ARRAY_LEN(kinds); d++)
        if (devices[d] != NULL) {
            uint8_t *y = run_attn(devices[d], &cpu_attn, &x, &b, DTYPE_F32, &bytes);
            assert_memory_equal(y, ref, bytes);
            take_back(y, bytes);
        }
    take_back(ref, bytes);
    batch_done(&b);
    layer_done(&x);
}

static void attn_scratch_does_not_grow_with_the_context(void **state)
{
    struct layer x;

    (void)state;
    layer_init(&x, (struct shape){ 9, 3, 64, 64, 0, 0, false, false }, DTYPE_F16, 320);
    const uint64_t a = cpu_attn.scratch_bytes(&x.attn, &x.dims, 4),
                   b = cpu_ref_attn.scratch_bytes(&x.attn, &x.dims, 4);
    x.dims.n_ctx = 1 << 20;
    assert_int_equal(cpu_attn.scratch_bytes(&x.attn, &x.dims, 4), a);
    assert_int_equal(cpu_ref_attn.scratch_bytes(&x.attn, &x.dims, 4), b);
    layer_done(&x);
}

// --- speed ---------------------------------------------------------------------------------------

static double bench_ns(struct dev *d, struct layer *x, struct batch *b, int from, int n)
{
    const uint64_t scratch_bytes = cpu_attn.scratch_bytes(&x->attn, &x->dims, cpu_dev_threads(d));
    uint8_t *scratch = lend(scratch_bytes),
            *out = lend((uint64_t)(n * x->s.heads * x->s.dim_v) * sizeof(float));
    struct dims now = x->dims;
    const struct launch l = {
        .kernel = &cpu_attn,
        .args = { .node = &x->attn,
                  .now = &now,
                  .dst = { out },
                  .dst0 = DTYPE_F32,
                  .scratch = scratch,
                  .src = { b->q, x->k_pages, x->v_pages, b->pos, b->seq, x->page_table } },
    };
    int64_t best = INT64_MAX;

    now.n_tokens = n;
    for (int i = 0; i < n; i++) {
        b->pos[i] = from + i;
        b->seq[i] = 0;
    }
    for (int round = 0; round < 20; round++) {
        const int64_t t0 = clock_ns();
        assert_true(d->ops->run(d, &l, 1, NULL));
        const int64_t ns = clock_ns() - t0;
        best = ns < best ? ns : best;
    }
    free(scratch - GUARD);
    free(out - GUARD);
    return (double)best;
}

static void bench_shape(struct shape s, enum dtype kv)
{
    static struct {
        struct batch b;
        int32_t more[1024];
    } big;
    struct batch *b = &big.b;
    struct layer x;

    layer_init(&x, s, kv, 4096 + 512);
    memset(x.k_pages, 0x22, x.k_bytes);
    memset(x.v_pages, 0x22, x.v_bytes);
    b->q = random_rows((int64_t)MAX_TOKENS * s.heads * s.dim_k, 1);
    for (size_t d = 1; d < ARRAY_LEN(kinds); d++)
        if (devices[d] != NULL)
            printf("  %-14s %d threads: prefill of 128 at 0 %7.3f ms, at 384 %7.3f ms; 1 token at "
                   "256 %7.2f us, at 4096 %8.2f us\n",
                   kinds[d].mask, kinds[d].threads, bench_ns(devices[d], &x, b, 0, 128) / 1e6,
                   bench_ns(devices[d], &x, b, 384, 128) / 1e6,
                   bench_ns(devices[d], &x, b, 256, 1) / 1e3,
                   bench_ns(devices[d], &x, b, 4096, 1) / 1e3);
    free(b->q);
    layer_done(&x);
}

static void bench(void)
{
    open_devices(NULL);
    printf("9/3 heads of 64, f16\n");
    bench_shape((struct shape){ 9, 3, 64, 64, 0, 0, false, false }, DTYPE_F16);
    printf("9/3 heads of 64, q8_0\n");
    bench_shape((struct shape){ 9, 3, 64, 64, 0, 0, false, false }, DTYPE_Q8_0);
    printf("32/8 heads of 128, f16\n");
    bench_shape((struct shape){ 32, 8, 128, 128, 0, 0, false, false }, DTYPE_F16);
    close_devices(NULL);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(attn_of_usual_shapes_has_the_bits_of_plain_c),
        cmocka_unit_test(attn_of_odd_shapes_has_the_bits_of_plain_c),
        cmocka_unit_test(attn_of_long_contexts_has_the_bits_of_plain_c),
        cmocka_unit_test(attn_reads_pages_of_every_format),
        cmocka_unit_test(attn_of_random_shapes_has_the_bits_of_plain_c),
        cmocka_unit_test(attn_of_values_in_keys_has_the_bits_of_plain_c),
        cmocka_unit_test(attn_survives_large_scores),
        cmocka_unit_test(attn_scratch_does_not_grow_with_the_context),
    };

    if (argc > 1 && strcmp(argv[1], "--bench") == 0) {
        bench();
        return 0;
    }
    return cmocka_run_group_tests(tests, open_devices, close_devices);
}
