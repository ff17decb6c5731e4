// test_sim.c - the simulated device counts every byte and lets nobody touch its memory unseen.

#include "dev/dev.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

static struct dev *cpu;

static int setup(void **state)
{
    struct err e;

    (void)state;
    return cpu_dev_new(&cpu, &(struct cpu_opts){ .threads = 1 }, &e) ? 0 : -1;
}

static int teardown(void **state)
{
    (void)state;
    dev_free(cpu);
    return 0;
}

static struct dev *make(uint64_t capacity, uint64_t granule, int fail_alloc)
{
    return sim_dev_new(&(struct sim_opts){ .name = "sim0",
                                           .capacity_bytes = capacity,
                                           .granule_bytes = granule,
                                           .fail_alloc = fail_alloc,
                                           .cpu = cpu });
}

static struct sim_stats stats(const struct dev *d)
{
    struct sim_stats s;

    sim_dev_stats(d, &s);
    return s;
}

static void every_byte_is_counted_in_granules(void **state)
{
    struct dev *d = make(1 << 20, 512, 0);
    struct dev_mem a, b;
    struct dev_info info;
    struct err e = { 0 };

    (void)state;
    assert_true(d->ops->alloc(d, 1, &a, &e) && d->ops->alloc(d, 513, &b, &e));
    assert_int_equal(a.bytes, 512);
    assert_int_equal(b.bytes, 1024);
    assert_int_equal(stats(d).bytes_now, 1536);
    d->ops->info(d, &info);
    assert_int_equal(info.free_bytes, (1 << 20) - 1536);
    assert_string_equal(info.name, "sim0");
    d->ops->release(d, &a);
    assert_null(a.p);
    assert_int_equal(stats(d).bytes_now, 1024);
    assert_int_equal(stats(d).bytes_peak, 1536);
    d->ops->release(d, &b);
    assert_true(stats(d).allocs == 2 && stats(d).frees == 2 && stats(d).bytes_now == 0);
    dev_free(d);
}

static void capacity_is_a_hard_limit(void **state)
{
    struct dev *d = make(4096, 256, 0);
    struct dev_mem a, b;
    struct err e = { 0 };

    (void)state;
    assert_true(d->ops->alloc(d, 4096 - 256, &a, &e));
    assert_false(d->ops->alloc(d, 257, &b, &e));
    assert_int_equal(e.code, ERR_NOMEM);
    assert_false(d->ops->alloc(d, UINT64_MAX - 3, &b, &e));
    assert_true(d->ops->alloc(d, 256, &b, &e));
    d->ops->release(d, &a);
    d->ops->release(d, &b);
    dev_free(d);
}

static void the_nth_allocation_fails_when_asked(void **state)
{
    struct dev *d = make(1 << 20, 0, 2);
    struct dev_mem a, b;
    struct err e = { 0 };

    (void)state;
    assert_true(d->ops->alloc(d, 100, &a, &e));
    assert_false(d->ops->alloc(d, 100, &b, &e));
    assert_int_equal(e.code, ERR_NOMEM);
    assert_true(d->ops->alloc(d, 100, &b, &e));
    d->ops->release(d, &a);
    d->ops->release(d, &b);
    dev_free(d);
}

static void nothing_is_given_after_seal(void **state)
{
    struct dev *d = make(1 << 20, 0, 0);
    struct dev_mem a;
    struct err e = { 0 };

    (void)state;
    d->ops->seal(d);
    assert_false(d->ops->alloc(d, 1, &a, &e));
    assert_int_equal(e.code, ERR_DEVICE);
    assert_int_equal(stats(d).allocs_after_seal, 1);
    assert_int_equal(stats(d).bytes_now, 0);
    dev_free(d);
}

static void fresh_memory_is_nan_and_copies_work(void **state)
{
    struct dev *d = make(1 << 20, 0, 0);
    struct dev_mem a;
    struct err e = { 0 };
    float x[100];
    const float y[2] = { 1, 2 };

    (void)state;
    assert_true(d->ops->alloc(d, sizeof(x), &a, &e) && d->ops->read(d, x, a.p, sizeof(x), &e));
    for (int i = 0; i < 100; i++)
        assert_true(x[i] != x[i]);
    assert_int_equal((uintptr_t)a.p % 64, 0);
    assert_true(d->ops->write(d, (float *)a.p + 50, y, sizeof(y), &e) &&
                d->ops->read(d, x, a.p, sizeof(x), &e));
    assert_true(x[50] == 1 && x[51] == 2 && x[52] != x[52]);
    d->ops->release(d, &a);
    dev_free(d);
}

static void copies_outside_an_allocation_are_refused(void **state)
{
    struct dev *d = make(1 << 20, 0, 0);
    struct dev_mem a;
    struct err e = { 0 };
    char x[300] = { 0 };

    (void)state;
    assert_true(d->ops->alloc(d, 200, &a, &e));
    assert_true(d->ops->write(d, a.p, x, 200, &e));
    assert_false(d->ops->write(d, a.p, x, 201, &e));
    assert_int_equal(e.code, ERR_DEVICE);
    assert_false(d->ops->read(d, x, (char *)a.p - 1, 1, &e));
    assert_false(d->ops->read(d, x, (char *)a.p + 200, 1, &e));
    assert_false(d->ops->write(d, x, x, 1, &e));
    d->ops->release(d, &a);
    dev_free(d);
}

/// Kilobytes of this process in memory.
static long resident_kib(void)
{
    char *text;
    size_t n;
    long all, resident;
    struct err e;

    assert_true(file_read(&text, &n, "/proc/self/statm", 4096, &e));
    assert_int_equal(sscanf(text, "%ld %ld", &all, &resident), 2);
    free(text);
    return resident * (sysconf(_SC_PAGESIZE) >> 10);
}

static void memory_larger_than_the_machine_is_poison_where_nothing_was_written(void **state)
{
    const uint64_t bytes = (400ull << 30) + 4711, step = (bytes >> 6) + 100;
    struct dev *d = make(2ull << 40, 0, 0);
    struct dev_mem a;
    struct err e = { 0 };
    uint8_t x[64];
    const uint64_t y = 4711;

    (void)state;
    assert_true(d->ops->alloc(d, bytes, &a, &e));
    const long before = resident_kib();
    for (uint64_t at = 8; at < bytes - 64; at += step) {
        uint8_t *p = (uint8_t *)a.p + at;
        assert_true(d->ops->write(d, p, &y, sizeof(y), &e) &&
                    d->ops->read(d, x, p - 8, sizeof(x), &e));
        assert_memory_equal(x + 8, &y, sizeof(y));
        for (size_t i = 0; i < sizeof(x); i++)
            assert_true(x[i] == 0xff || (i >= 8 && i < 16));
    }
    assert_true(resident_kib() - before < 64 << 10);
    assert_true(d->ops->read(d, x, (uint8_t *)a.p + bytes - 64, 64, &e));
    assert_int_equal(x[63], 0xff);
    d->ops->release(d, &a);
    dev_free(d);
}

static void zeros_reach_no_further_than_asked(void **state)
{
    enum { BYTES = 5 * 4096 + 640 };
    static const struct {
        size_t at, n;
    } cut[] = { { 0, BYTES },           { 0, 1 },      { 100, 0 },       { 100, 9000 },
                { 640, 2 * 4096 },      { 641, 4096 }, { BYTES - 1, 1 }, { 4736, 4096 },
                { 4000, BYTES - 4000 }, { 0, 4096 },   { 700, 4095 },    { 640, BYTES - 640 } };
    struct dev *d = make(1 << 20, 0, 0);
    struct err e = { 0 };
    char x[BYTES];

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cut); i++) {
        struct dev_mem a;
        assert_true(d->ops->alloc(d, BYTES, &a, &e));
        assert_true(d->ops->zero(d, (char *)a.p + cut[i].at, cut[i].n, &e) &&
                    d->ops->read(d, x, a.p, BYTES, &e));
        for (size_t k = 0; k < BYTES; k++)
            assert_int_equal(x[k], k >= cut[i].at && k - cut[i].at < cut[i].n ? 0 : -1);
        assert_true(d->ops->write(d, a.p, "text", 4, &e) && d->ops->read(d, x, a.p, 5, &e));
        assert_memory_equal(x, "text", 4);
        assert_false(d->ops->zero(d, (char *)a.p + 1, BYTES, &e));
        assert_int_equal(e.code, ERR_DEVICE);
        d->ops->release(d, &a);
    }
    dev_free(d);
}

/// The signal that ends a child which touches `p`; 0 if it may.
static int touch(const volatile char *p)
{
    pid_t child = fork();
    int status = 0;

    if (child == 0) {
        signal(SIGSEGV, SIG_DFL);
        signal(SIGBUS, SIG_DFL);
        (void)*p;
        _exit(0);
    }
    assert_true(child > 0);
    waitpid(child, &status, 0);
    return WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status);
}

static volatile int seen; // what the kernel below read

static void read_first(const struct run_args *a, struct team *t)
{
    (void)t;
    seen = *(const int *)a->src[0];
}

/// One that reads the first byte behind an allocation.
static void read_behind(const struct run_args *a, struct team *t)
{
    (void)t;
    signal(SIGSEGV, SIG_DFL);
    signal(SIGBUS, SIG_DFL);
    seen = *((const volatile char *)a->src[0] + 128);
}

static void memory_is_open_to_kernels_alone(void **state)
{
    static const struct kernel inside = { .name = "inside", .run = read_first },
                               behind = { .name = "behind", .run = read_behind };
    struct dev *d = make(1 << 20, 0, 0);
    struct dev_mem a;
    struct err e = { 0 };
    const int number = 4711;
    int status;

    (void)state;
    assert_true(d->ops->alloc(d, 128, &a, &e) &&
                d->ops->write(d, a.p, &number, sizeof(number), &e));
    assert_int_not_equal(touch(a.p), 0);
    struct launch l = { .kernel = &inside, .args.src[0] = a.p };
    assert_true(d->ops->run(d, &l, 1, &e));
    assert_int_equal(seen, 4711);
    assert_int_not_equal(touch(a.p), 0);

    pid_t child = fork();
    if (child == 0) {
        struct dev *own;
        if (!cpu_dev_new(&own, &(struct cpu_opts){ .threads = 1 },
                         &e)) // threads do not live on in a child
            _exit(0);
        struct dev *s = sim_dev_new(&(struct sim_opts){ .capacity_bytes = 1 << 20, .cpu = own });
        l.kernel = &behind;
        if (s->ops->alloc(s, 128, &a, &e)) {
            l.args.src[0] = a.p;
            (void)!s->ops->run(s, &l, 1, &e);
        }
        _exit(0);
    }
    waitpid(child, &status, 0);
    assert_true(WIFSIGNALED(status));
    void *p = a.p;
    d->ops->release(d, &a);
    assert_int_not_equal(touch(p), 0);
    dev_free(d);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_byte_is_counted_in_granules),
        cmocka_unit_test(capacity_is_a_hard_limit),
        cmocka_unit_test(the_nth_allocation_fails_when_asked),
        cmocka_unit_test(nothing_is_given_after_seal),
        cmocka_unit_test(fresh_memory_is_nan_and_copies_work),
        cmocka_unit_test(copies_outside_an_allocation_are_refused),
        cmocka_unit_test(memory_larger_than_the_machine_is_poison_where_nothing_was_written),
        cmocka_unit_test(zeros_reach_no_further_than_asked),
        cmocka_unit_test(memory_is_open_to_kernels_alone),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
