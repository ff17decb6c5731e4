// test_team.c - the pool shares every index out once, keeps the order that `sync` asks for, and
// sleeps when idle.

#include "dev/cpu/pool.h"
#include "dev/cpu/team.h"
#include "dev/dev.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

enum { CELLS = 400, MAX_LIST = 60 };

static struct pool *new_pool(int threads)
{
    struct pool *p;
    struct err e = { 0 };

    if (!pool_new(&p, threads, false, NULL, &e))
        fail_msg("%s", e.msg);
    return p;
}

// A kernel for tests: dst[0] is its work, args.scratch unused.
struct task {
    int n; // indices of each phase
    int phases;
    int cell[CELLS];          // plain memory: the sanitizer sees unordered accesses
    const struct task *input; // of an earlier, synced entry
    atomic_int wrong;
};

static void task_run(const struct run_args *a, struct team *t)
{
    struct task *w = a->dst[0];

    for (int phase = 0; phase < w->phases; phase++) {
        if (phase > 0)
            team_phase(t);
        for (int64_t i; (i = team_next(t, w->n)) >= 0;) {
            int from = w->n - 1 - (int)i; // somebody else's cell of the phase before
            if (phase % 2 == 1 && w->cell[CELLS / 2 + from] != phase)
                atomic_fetch_add(&w->wrong, 1);
            if (phase % 2 == 0)
                w->cell[CELLS / 2 + i] = phase + 1;
            if (phase == w->phases - 1)
                w->cell[i]++;
            if (w->input != NULL && w->input->cell[(size_t)i % (size_t)w->input->n] != 1)
                atomic_fetch_add(&w->wrong, 1);
        }
    }
}

static const struct kernel task_kernel = { .name = "task", .run = task_run };

static void run_random_lists(int threads, int rounds)
{
    struct pool *p = new_pool(threads);
    struct task *task = calloc(MAX_LIST, sizeof *task);
    struct launch list[MAX_LIST];
    unsigned seed = 12345;

    for (int round = 0; round < rounds; round++) {
        int n = 1 + rand_r(&seed) % MAX_LIST, synced = -1;
        memset(task, 0, MAX_LIST * sizeof *task);
        for (int i = 0; i < n; i++) {
            task[i].n = rand_r(&seed) % (CELLS / 2);
            task[i].phases = 1 + rand_r(&seed) % 4;
            list[i] = (struct launch){ .kernel = &task_kernel, .sync = rand_r(&seed) % 3 == 0 };
            list[i].args.dst[0] = &task[i];
            if (list[i].sync)
                synced = i;
            if (synced > 0 && task[synced - 1].n > 0)
                task[i].input = &task[synced - 1];
        }
        pool_run(p, list, n);
        for (int i = 0; i < n; i++) {
            assert_int_equal(task[i].wrong, 0);
            for (int k = 0; k < CELLS / 2; k++)
                assert_int_equal(task[i].cell[k], k < task[i].n);
        }
    }
    free(task);
    pool_free(p);
}

static void team_gives_every_index_once_and_keeps_order(void **state)
{
    (void)state;
    run_random_lists(1, 50);
    run_random_lists(2, 300);
    run_random_lists(3, 200);
    run_random_lists(7, 50);
}

static void who_run(const struct run_args *a, struct team *t)
{
    pthread_t *who = a->dst[0];

    assert_int_equal(team_n(t), 1);
    assert_int_equal(team_i(t), 0);
    *who = pthread_self();
}

static void pool_of_one_runs_in_the_calling_thread(void **state)
{
    static const struct kernel k = { .name = "who", .run = who_run };
    struct pool *p = new_pool(1);
    pthread_t who = 0;
    struct launch l = { .kernel = &k, .args.dst = { &who } };

    (void)state;
    pool_run(p, &l, 1);
    assert_true(pthread_equal(who, pthread_self()));
    pool_free(p);
}

static int64_t cpu_time_ns(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &ts);
    return (int64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
}

static void idle_threads_sleep_within_a_millisecond(void **state)
{
    struct pool *p = new_pool(4);
    struct task task = { .n = 10, .phases = 2 };
    struct launch l = { .kernel = &task_kernel, .args.dst = { &task } };

    (void)state;
    for (int k = 0; k < 20; k++)
        pool_run(p, &l, 1);
    int64_t before = cpu_time_ns();
    nanosleep(&(struct timespec){ .tv_nsec = 50 * 1000 * 1000 }, NULL);
    assert_in_range(cpu_time_ns() - before, 0, 3 * 1000 * 1000);
    pool_free(p);
}

static void *run_one_thousand(void *arg)
{
    struct pool *p = arg;

    for (int k = 0; k < 1000; k++) {
        struct task task = { .n = 5, .phases = 2 };
        struct launch l = { .kernel = &task_kernel, .args.dst = { &task } };
        pool_run(p, &l, 1);
        if (task.cell[4] != 1 || task.wrong != 0)
            return p;
    }
    return NULL;
}

static void callers_from_several_threads_take_turns(void **state)
{
    struct pool *p = new_pool(2);
    pthread_t other;
    void *bad;

    (void)state;
    assert_int_equal(pthread_create(&other, NULL, run_one_thousand, p), 0);
    assert_null(run_one_thousand(p));
    pthread_join(other, &bad);
    assert_null(bad);
    pool_free(p);
}

// A kernel in which all wait for the last thread, which sleeps for dst[0] nanoseconds.
struct held {
    long ns;
    atomic_int threads; // that ran it
};

static void held_run(const struct run_args *a, struct team *t)
{
    struct held *h = a->dst[0];

    atomic_fetch_add(&h->threads, 1);
    if (team_i(t) == 1)
        nanosleep(&(struct timespec){ .tv_nsec = h->ns }, NULL);
    team_phase(t);
}

static int threads_of_a_run(struct pool *p, long ns)
{
    static const struct kernel kernel = { .name = "held", .run = held_run };
    struct held h = { .ns = ns };
    struct launch l = { .kernel = &kernel };

    l.args.dst[0] = &h;
    pool_run(p, &l, 1);
    return h.threads;
}

/// Results do not depend on how many run, so nothing else can be seen of this than the number.
static void after_a_stalled_run_the_caller_goes_on_alone_for_a_while(void **state)
{
    struct pool *p = new_pool(2);
    int threads = 2;

    (void)state;
    for (int i = 0; i < 100 && threads == 2; i++) { // again where this thread lost its core since
        assert_int_equal(threads_of_a_run(p, 20 * 1000 * 1000), 2);
        threads = threads_of_a_run(p, 0);
    }
    assert_int_equal(threads, 1);
    for (int64_t t0 = clock_ns(); threads_of_a_run(p, 0) == 1;)
        assert_true(clock_ns() - t0 < (int64_t)2000 * 1000 * 1000); // 20 ms are meant
    pool_free(p);
}

static void solo_team_takes_all_indices_in_order(void **state)
{
    struct team_solo solo;
    struct team *t = team_solo_init(&solo, NULL);

    (void)state;
    for (int round = 0; round < 3; round++) {
        team_solo_reset(&solo);
        for (int phase = 0; phase < 2; phase++) {
            for (int i = 0; i < 5; i++)
                assert_int_equal(team_next(t, 5), i);
            assert_int_equal(team_next(t, 5), -1);
            team_phase(t);
        }
    }
}

// --- speed ---------------------------------------------------------------------------------------

static void bench(int threads)
{
    enum { N = 1000 };
    static struct launch list[N];
    struct pool *p = new_pool(threads);
    struct task task = { .n = 0, .phases = 1 };
    int64_t best = INT64_MAX;

    for (int i = 0; i < N; i++) {
        list[i] = (struct launch){ .kernel = &task_kernel, .sync = true };
        list[i].args.dst[0] = &task;
    }
    for (int round = 0; round < 50; round++) {
        int64_t t0 = clock_ns();
        pool_run(p, list, N);
        int64_t ns = clock_ns() - t0;
        best = ns < best ? ns : best;
    }
    printf("barrier, %d threads: %.0f ns\n", threads, (double)best / N);
    pool_free(p);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(team_gives_every_index_once_and_keeps_order),
        cmocka_unit_test(pool_of_one_runs_in_the_calling_thread),
        cmocka_unit_test(idle_threads_sleep_within_a_millisecond),
        cmocka_unit_test(callers_from_several_threads_take_turns),
        cmocka_unit_test(after_a_stalled_run_the_caller_goes_on_alone_for_a_while),
        cmocka_unit_test(solo_team_takes_all_indices_in_order),
    };

    if (argc > 1 && strcmp(argv[1], "--bench") == 0) {
        bench(2);
        return 0;
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
