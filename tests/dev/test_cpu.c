// test_cpu.c - the CPU as a device: memory, choice of kernels, features.

#include "dev/cpu/cpu_int.h"
#include "dev/cpu/host.h"

#include <setjmp.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static struct dev *cpu(int threads, const char *features)
{
    struct dev *d;
    struct err e = { 0 };

    if (!cpu_dev_new(&d, &(struct cpu_opts){ .threads = threads, .features = features }, &e))
        fail_msg("%s", e.msg);
    return d;
}

static void memory_is_aligned_zeroed_and_refused_after_seal(void **state)
{
    struct dev *d = cpu(1, NULL);
    struct dev_mem m, none;
    struct err e = { 0 };
    static const uint64_t sizes[] = { 0, 1, 4096, 4097, 5 << 20 };
    unsigned char back[3];

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
        assert_true(d->ops->alloc(d, sizes[i], &m, &e));
        assert_true((uintptr_t)m.p % 64 == 0 && m.bytes >= sizes[i]);
        for (uint64_t k = 0; k < sizes[i]; k++)
            assert_int_equal(((unsigned char *)m.p)[k], 0);
        d->ops->release(d, &m);
        assert_null(m.p);
    }
    assert_true(d->ops->alloc(d, 100, &m, &e));
    assert_true(d->ops->write(d, (char *)m.p + 5, "abc", 3, &e));
    assert_true(d->ops->read(d, back, (char *)m.p + 5, 3, &e));
    assert_memory_equal(back, "abc", 3);

    d->ops->seal(d);
    assert_false(d->ops->alloc(d, 100, &none, &e));
    assert_int_equal(e.code, ERR_DEVICE);
    assert_null(none.p);
    d->ops->release(d, &m);
    dev_free(d);
}

static void memory_that_is_not_there_is_an_error(void **state)
{
    struct dev *d = cpu(1, NULL);
    struct dev_mem m;
    struct err e = { 0 };

    (void)state;
    assert_false(d->ops->alloc(d, UINT64_C(1) << 60, &m, &e));
    assert_int_equal(e.code, ERR_NOMEM);
    dev_free(d);
}

static void info_tells_threads_and_memory(void **state)
{
    struct dev *d = cpu(3, "c");
    struct dev_info i;

    (void)state;
    d->ops->info(d, &i);
    assert_string_equal(i.name, "cpu");
    assert_true(i.kind == DEV_KIND_CPU && i.in_place && i.max_threads == 3);
    assert_true(i.free_bytes > 0 && i.free_bytes <= i.capacity_bytes);
    assert_int_equal(i.granule_bytes & (i.granule_bytes - 1), 0);
    assert_string_equal(cpu_dev_features(d), "c");
    assert_int_equal(cpu_dev_threads(d), 3);
    dev_free(d);
    dev_free(NULL);
}

static void features_are_masked_by_name(void **state)
{
    const unsigned all = cpu_features("c,avx2,avx512");

    (void)state;
    assert_int_equal(cpu_features("c"), 0);
    assert_int_equal(cpu_features("c,avx2"), all & CPU_AVX2);
    assert_int_equal(cpu_features("avx512"), all); // implies AVX2
    setenv("SNUG_CPU", "c,avx2", 1);
    assert_int_equal(cpu_features(NULL), all & CPU_AVX2);
    unsetenv("SNUG_CPU");
    assert_int_equal(cpu_features(NULL), all);
    log_level_set(LOG_ERROR);
    assert_int_equal(cpu_features("c,\033,sse"), 0);
    log_level_set(LOG_WARN);
}

// --- the host ------------------------------------------------------------------------------------

/// A file in the folder of temporary ones with this text; NULL: none. The name is the caller's to
/// free.
static char *file_with(const char *text)
{
    char *name = xstrdup("/tmp/snug-test-XXXXXX");
    const int fd = mkstemp(name);

    assert_true(fd >= 0);
    if (text != NULL)
        assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
    else
        unlink(name);
    close(fd);
    return name;
}

static int cores_of(const char *cpu_max, int affinity)
{
    char *name = file_with(cpu_max);
    const int n = host_cores_by(&(struct host_files){ .cpu_max = name }, affinity);

    unlink(name);
    free(name);
    return n;
}

static void cores_are_limited_by_a_containers_time(void **state)
{
    (void)state;
    assert_int_equal(cores_of(NULL, 8), 8);
    assert_int_equal(cores_of("max 100000\n", 8), 8);
    assert_int_equal(cores_of("200000 100000\n", 8), 2);
    assert_int_equal(cores_of("250000 100000\n", 8), 3);
    assert_int_equal(cores_of("20000 100000\n", 8), 1);
    assert_int_equal(cores_of("900000 100000\n", 8), 8);
    assert_int_equal(cores_of("1e300 1e-300\n", 8), 8);
    assert_int_equal(cores_of("nan nan\n", 8), 8);
    assert_int_equal(cores_of("-5 100000\n", 8), 8);
    assert_int_equal(cores_of("", 0), 1);
}

static struct host_memory memory_of(const char *meminfo, const char *max, const char *now,
                                    const char *stat)
{
    char *name[4] = { file_with(meminfo), file_with(max), file_with(now), file_with(stat) };
    const struct host_memory m =
        host_memory_by(&(struct host_files){ name[0], name[0], name[1], name[2], name[3] });

    for (int i = 0; i < 4; i++) {
        unlink(name[i]);
        free(name[i]);
    }
    return m;
}

static void memory_is_that_of_the_machine_or_the_container(void **state)
{
    const char *const info = "MemTotal:       1000 kB\nMemFree:  10 kB\nMemAvailable:   600 kB\n";
    struct host_memory m = memory_of(NULL, NULL, NULL, NULL);

    (void)state;
    assert_true(m.all_bytes == UINT64_MAX && m.free_bytes == UINT64_MAX);
    m = memory_of(info, NULL, NULL, NULL);
    assert_true(m.all_bytes == 1000 * 1024 && m.free_bytes == 600 * 1024);
    m = memory_of(info, "max\n", "5\n", NULL);
    assert_true(m.all_bytes == 1000 * 1024 && m.free_bytes == 600 * 1024);
    m = memory_of(info, "300000\n", "200000\n", "anon 5\ninactive_file 50000\n");
    assert_true(m.all_bytes == 300000 && m.free_bytes == 150000);
    m = memory_of(info, "300000\n", "400000\n", NULL);
    assert_true(m.all_bytes == 300000 && m.free_bytes == 0);
    m = memory_of("rubbish\n", "x\n", "", "");
    assert_true(m.all_bytes == UINT64_MAX);
}

// --- kernels -------------------------------------------------------------------------------------

static struct tensor rows_of(enum role role, enum dtype type, int64_t cols, int64_t rows,
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

/// A node of each operation that is older than mixtures of experts (their test has those).
static void every_operation_has_a_kernel_in_plain_c(void **state)
{
    const struct dims max = {
        .n_tokens = 8, .n_outputs = 8, .n_slots = 2, .n_ctx = 256, .max_tokens = 8, .kv = DTYPE_F16
    };
    struct tensor x = rows_of(ROLE_TEMP, DTYPE_F32, 64, 1, SYM_TOKENS),
                  w = rows_of(ROLE_WEIGHT, DTYPE_F32, 64, 1, SYM_ONE);
    struct tensor m = rows_of(ROLE_WEIGHT, DTYPE_Q4_K, 256, 64, SYM_ONE),
                  mf = rows_of(ROLE_WEIGHT, DTYPE_F16, 64, 64, SYM_ONE);
    struct tensor x256 = rows_of(ROLE_TEMP, DTYPE_F32, 256, 1, SYM_TOKENS),
                  in = rows_of(ROLE_INPUT, DTYPE_I32, 1, 1, SYM_TOKENS);
    struct tensor kp = rows_of(ROLE_STATE, DTYPE_F16, 32, KV_PAGE_TOKENS, SYM_ONE);
    kp.n_dims = 4;
    kp.d[2].n = 2;
    kp.d[3] = (struct dim){ 1, SYM_PAGES, 0 };
    union op_args attn = {
        .attn = { .n_heads = 2, .n_kv_heads = 2, .head_dim = 32, .head_dim_v = 32, .scale = 1 }
    };
    const struct node nodes[] = {
        { .op = OP_EMBED, .src = { &in, &m }, .dst = { &x256 }, .args.f.scale = 1 },
        { .op = OP_ROPE_TABLE,
          .src = { &in },
          .dst = { &x },
          .args.freq = { .rot = 64, .base = 10000, .linear = 1, .mscale = 1 } },
        { .op = OP_RMSNORM, .src = { &x, &w }, .dst = { &x }, .args.norm = { 64, 1e-5f } },
        { .op = OP_LAYERNORM, .src = { &x, &w }, .dst = { &x }, .args.norm = { 64, 1e-5f } },
        { .op = OP_MATMUL, .src = { &x256, &m }, .dst = { &x } },
        { .op = OP_MATMUL, .src = { &x, &mf }, .dst = { &x } },
        { .op = OP_ROPE, .src = { &x, &x }, .dst = { &x }, .args.rope = { 64, 64, ROPE_NEOX } },
        { .op = OP_KV_STORE,
          .src = { &x, &x, &kp, &kp, &in, &in, &in },
          .dst = { &kp, &kp },
          .args = attn },
        { .op = OP_ATTN, .src = { &x, &kp, &kp, &in, &in, &in }, .dst = { &x }, .args = attn },
        { .op = OP_GLU, .src = { &x, &x }, .dst = { &x } },
        { .op = OP_ADD, .src = { &x, &x }, .dst = { &x } },
        { .op = OP_SCALE, .src = { &x }, .dst = { &x } },
        { .op = OP_SOFTCAP, .src = { &x }, .dst = { &x } },
        { .op = OP_ROWS, .src = { &x, &in }, .dst = { &x } },
    };
    struct dev *c = cpu(1, "c"), *best = cpu(1, NULL);

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(nodes); i++)
        for (int exact = 0; exact < 2; exact++) {
            const struct kernel *k = c->ops->find(c, &nodes[i], &max, exact);
            if (k == NULL || best->ops->find(best, &nodes[i], &max, exact) == NULL)
                fail_msg("%s has no kernel", op_info(nodes[i].op)->name);
            assert_int_equal(k->op, nodes[i].op);
            assert_true(k->run != NULL && k->name != NULL);
            if (nodes[i].op != OP_MATMUL || exact)
                assert_int_equal(k->act, DTYPE_F32);
        }
    assert_ptr_equal(c->ops->convert(c, DTYPE_A8), &cpu_convert_a8);
    assert_null(c->ops->convert(c, DTYPE_Q4_K));
    dev_free(c);
    dev_free(best);
}

/// What a kernel writes as A8 is what it writes as F32, converted; whatever the number of threads.
static void kernels_write_a8_as_if_converted(void **state)
{
    enum { N = 4160, TOKENS = 11 };
    const struct dims now = { .n_tokens = TOKENS, .max_tokens = TOKENS, .kv = DTYPE_F16 };
    struct tensor x = rows_of(ROLE_TEMP, DTYPE_F32, N, 1, SYM_TOKENS),
                  w = rows_of(ROLE_WEIGHT, DTYPE_F32, N, 1, SYM_ONE);
    const struct node nodes[] = {
        { .op = OP_RMSNORM, .src = { &x, &w, &x }, .dst = { &x }, .args.norm = { N, 1e-5f } },
        { .op = OP_RMSNORM, .src = { &x, &w }, .dst = { &x }, .args.norm = { N / 5, 1e-5f } },
        { .op = OP_LAYERNORM, .src = { &x, &w, &w }, .dst = { &x }, .args.norm = { N, 1e-5f } },
        { .op = OP_GLU, .src = { &x, &x }, .dst = { &x }, .args.glu.act = ACT_GELU },
    };
    float *a = xaligned(N * TOKENS * sizeof *a), *y = xaligned(N * TOKENS * sizeof *y), weights[N];
    unsigned char *want = xaligned(N * TOKENS * 2), *got = xaligned(N * TOKENS * 2);
    struct dev *c = cpu(1, "c");

    (void)state;
    for (int i = 0; i < N * TOKENS; i++)
        a[i] = (float)((i * 7919) % 1000 - 500) / 100;
    for (int i = 0; i < N; i++)
        weights[i] = 1 + (float)(i % 7) / 7;
    for (size_t i = 0; i < ARRAY_LEN(nodes); i++) {
        const struct kernel *k = c->ops->find(c, &nodes[i], &now, false);
        assert_true(k->writes_a8);
        const bool glu = nodes[i].op == OP_GLU;
        void *scratch =
            xaligned(k->scratch_bytes != NULL ? k->scratch_bytes(&nodes[i], &now, 3) : 64);
        struct launch l[2] = {
            { .kernel = k,
              .args = { .node = &nodes[i],
                        .now = &now,
                        .scratch = scratch,
                        .dst = { y },
                        .src = { a, glu ? a : weights,
                                 nodes[i].op == OP_LAYERNORM ? weights : a } } },
            { .kernel = &cpu_convert_a8,
              .sync = true,
              .args = { .node = &nodes[i],
                        .now = &now,
                        .src = { y },
                        .dst = { want },
                        .dst0 = DTYPE_A8 } },
        };
        if (nodes[i].src[2] == NULL)
            l[0].args.src[2] = NULL;
        assert_true(c->ops->run(c, l, 2, NULL));
        l[0].args.dst[0] = got;
        l[0].args.dst0 = DTYPE_A8;
        for (int threads = 1; threads <= 3; threads++) {
            struct dev *d = cpu(threads, NULL);
            memset(got, 0xee, N * TOKENS * 2);
            assert_true(d->ops->run(d, l, 1, NULL));
            assert_memory_equal(got, want, N * TOKENS * 3 / 2);
            assert_int_equal(got[N * TOKENS * 3 / 2], 0xee);
            dev_free(d);
        }
        free(scratch);
    }
    dev_free(c);
    free(a);
    free(y);
    free(want);
    free(got);
}

// --- speed: what a model with the shapes of SmolLM2-135M does besides matrix products ------------

enum { LAYERS = 30, HEADS = 9, KV_HEADS = 3, DIM = 64, EMBD = HEADS * DIM, FF = 1536 };

struct timed {
    const char *what;
    struct node node;
    int per_layer;
    bool a8;
};

static double best_ns(struct dev *d, const struct launch *l)
{
    int64_t best = INT64_MAX;

    for (int round = 0; round < 30; round++) {
        const int64_t t0 = clock_ns();
        assert_true(d->ops->run(d, l, 1, NULL));
        const int64_t ns = clock_ns() - t0;
        best = ns < best ? ns : best;
    }
    return (double)best;
}

static void bench_batch(struct dev *d, const struct timed *op, size_t n_ops, int tokens, int at)
{
    const struct dims now = {
        .n_tokens = tokens, .n_slots = 1, .n_ctx = 1024, .max_tokens = 512, .kv = DTYPE_F16
    };
    static int32_t pos[512], seq[512], pages[16];
    static _Alignas(64) float x[512 * FF], y[512 * FF], kp[1024 * KV_HEADS * DIM],
        vp[1024 * KV_HEADS * DIM];
    double all = 0;

    for (int i = 0; i < tokens; i++)
        pos[i] = at + i;
    for (int i = 0; i < 16; i++)
        pages[i] = i;
    for (int i = 0; i < 512 * FF; i++)
        x[i] = (float)(i % 1001 - 500) / 500;
    printf("%d tokens at %d, %d threads\n", tokens, at, cpu_dev_threads(d));
    for (size_t i = 0; i < n_ops; i++) {
        const struct kernel *k = d->ops->find(d, &op[i].node, &now, false);
        void *scratch = xaligned(k->scratch_bytes != NULL
                                     ? k->scratch_bytes(&op[i].node, &now, cpu_dev_threads(d))
                                     : 64);
        struct launch l = { .kernel = k,
                            .args = { .node = &op[i].node,
                                      .now = &now,
                                      .scratch = scratch,
                                      .dst = { y },
                                      .src = { x, x, op[i].node.src[2] != NULL ? x : NULL } } };
        if (op[i].node.op == OP_ROPE_TABLE)
            l.args.src[0] = pos, l.args.src[1] = NULL;
        if (op[i].node.op == OP_KV_STORE)
            memcpy(l.args.src, (const void *[7]){ x, x, kp, vp, pos, seq, pages },
                   sizeof l.args.src),
                memcpy(l.args.dst, (void *[2]){ kp, vp }, sizeof l.args.dst);
        if (op[i].node.op == OP_ATTN)
            memcpy(l.args.src, (const void *[7]){ x, kp, vp, pos, seq, pages }, sizeof l.args.src);
        l.args.dst0 = op[i].a8 ? DTYPE_A8 : DTYPE_F32;
        const double ns =
            best_ns(d, &l) * op[i].per_layer * (op[i].node.op == OP_ROPE_TABLE ? 1 : LAYERS);
        printf("  %-12s %9.1f us in all layers\n", op[i].what, ns / 1e3);
        all += ns;
        free(scratch);
    }
    printf("  together     %9.1f us\n", all / 1e3);
}

static void bench(int threads)
{
    struct tensor x = rows_of(ROLE_TEMP, DTYPE_F32, EMBD, 1, SYM_TOKENS),
                  w = rows_of(ROLE_WEIGHT, DTYPE_F32, EMBD, 1, SYM_ONE);
    struct tensor ff = rows_of(ROLE_TEMP, DTYPE_F32, FF, 1, SYM_TOKENS),
                  k = rows_of(ROLE_TEMP, DTYPE_F32, KV_HEADS * DIM, 1, SYM_TOKENS);
    struct tensor in = rows_of(ROLE_INPUT, DTYPE_I32, 1, 1, SYM_TOKENS),
                  t = rows_of(ROLE_TEMP, DTYPE_F32, DIM, 1, SYM_TOKENS);
    struct tensor kp = rows_of(ROLE_STATE, DTYPE_F16, DIM, KV_PAGE_TOKENS, SYM_ONE), vp;
    kp.n_dims = 4;
    kp.d[2].n = KV_HEADS;
    kp.d[3] = (struct dim){ 1, SYM_PAGES, 0 };
    vp = kp;
    union op_args attn = { .attn = { .n_heads = HEADS,
                                     .n_kv_heads = KV_HEADS,
                                     .head_dim = DIM,
                                     .head_dim_v = DIM,
                                     .scale = 0.125f } };
    const struct timed ops[] = {
        { "rope_table",
          { .op = OP_ROPE_TABLE,
            .src = { &in },
            .dst = { &t },
            .args.freq = { .rot = DIM, .base = 1e5f, .linear = 1, .mscale = 1 } },
          1,
          false },
        { "rmsnorm",
          { .op = OP_RMSNORM, .src = { &x, &w }, .dst = { &x }, .args.norm = { EMBD, 1e-5f } },
          2,
          true },
        { "rope q",
          { .op = OP_ROPE, .src = { &x, &t }, .dst = { &x }, .args.rope = { DIM, DIM, ROPE_NORM } },
          1,
          false },
        { "rope k",
          { .op = OP_ROPE, .src = { &k, &t }, .dst = { &k }, .args.rope = { DIM, DIM, ROPE_NORM } },
          1,
          false },
        { "kv_store",
          { .op = OP_KV_STORE,
            .src = { &k, &k, &kp, &vp, &in, &in, &in },
            .dst = { &kp, &vp },
            .args = attn },
          1,
          false },
        { "attn",
          { .op = OP_ATTN, .src = { &x, &kp, &vp, &in, &in, &in }, .dst = { &x }, .args = attn },
          1,
          true },
        { "glu", { .op = OP_GLU, .src = { &ff, &ff }, .dst = { &ff } }, 1, true },
        { "add", { .op = OP_ADD, .src = { &x, &x }, .dst = { &x } }, 2, false },
    };
    struct dev *d = cpu(threads, NULL);

    bench_batch(d, ops, ARRAY_LEN(ops), 512, 0);
    bench_batch(d, ops, ARRAY_LEN(ops), 1, 512);
    dev_free(d);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(memory_is_aligned_zeroed_and_refused_after_seal),
        cmocka_unit_test(memory_that_is_not_there_is_an_error),
        cmocka_unit_test(info_tells_threads_and_memory),
        cmocka_unit_test(features_are_masked_by_name),
        cmocka_unit_test(cores_are_limited_by_a_containers_time),
        cmocka_unit_test(memory_is_that_of_the_machine_or_the_container),
        cmocka_unit_test(every_operation_has_a_kernel_in_plain_c),
        cmocka_unit_test(kernels_write_a8_as_if_converted),
    };

    if (argc > 1 && strcmp(argv[1], "--bench") == 0) {
        bench(1);
        bench(2);
        return 0;
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
