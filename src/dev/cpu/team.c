// team.c - the thread pool of a CPU device.
//
// Every thread walks the same list and meets the others only at barriers: before an entry marked
// `sync`, at each team_phase, and at the end. Between two barriers each phase of each entry has a
// counter of its own, from which threads take indices; the last thread to arrive at a barrier, when
// nobody takes any, sets them to 0.
//
// Where another program holds one of the cores, lockstep costs more than the thread that lost its
// core brings: everybody waits for it at hundreds of barriers. A run that mostly waited is
// therefore followed by some that the caller does alone, until a run of all shows that it pays
// again.

#include "dev/cpu/team.h"

#include "base/base.h"
#include "dev/cpu/pool.h"
#include "dev/dev.h"

#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

enum {
    LINE = 64,  // bytes of a cache line
    SLOTS = 16, // counters: entries and phases between two barriers

    // A thread that waits spins first, because waking a sleeper costs tens of microseconds. Where
    // that was in vain, because others want the core or there is nothing to do, it spins less.
    SPIN_MIN_NS = 2000,
    SPIN_BARRIER_NS = 40 * 1000,
    SPIN_IDLE_NS = 200 * 1000,

    // A run is stalled when a thread slept at its barriers for STALL_NS and for a third of the run.
    // The caller then works alone for ALONE_MIN_NS, twice as long after each further stalled run.
    STALL_NS = 1000 * 1000,
    STALL_PART = 3,
    ALONE_MIN_NS = 20 * 1000 * 1000,
    ALONE_MAX_NS = 640 * 1000 * 1000,
};

struct counter {
    _Alignas(LINE) _Atomic int64_t next;
};

/// A count that goes up, and can be waited for.
struct gate {
    _Alignas(LINE) _Atomic uint32_t count;
    _Atomic int sleepers;
    _Atomic int64_t opened_ns; // when it was last opened for sleepers
};

struct team {
    struct pool *pool; // NULL: alone
    const struct cpu_fns *fns;
    int i, n;
    int slot;     // counter in use
    int64_t next; // the counter of a thread that is alone
    int64_t spin_barrier_ns, spin_idle_ns;
    int64_t slept_ns; // at barriers of this run
};
_Static_assert(sizeof(struct team) <= sizeof(struct team_solo), "team_solo is too small");

struct worker {
    _Alignas(LINE) struct team team;
    pthread_t thread;
    bool started;
    int core; // -1: any
};

struct pool {
    int n;
    pthread_mutex_t one_run;
    const struct launch *list;
    int n_list;
    bool stop;
    struct worker *worker; // [n]; worker 0 is the caller of pool_run
    struct gate job;       // runs started
    _Alignas(LINE) _Atomic int arrived;
    struct gate barrier; // barriers passed
    struct counter counter[SLOTS];
    struct team alone; // of the caller, in runs without the workers
    int64_t alone_ns;  // how long such runs go on; 0: the last run of all threads did not stall
    int64_t alone_until;
};

// --- waiting -------------------------------------------------------------------------------------

static void cpu_relax(void)
{
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

static void futex(_Atomic uint32_t *word, int what, uint32_t val)
{
    syscall(SYS_futex, word, what | FUTEX_PRIVATE_FLAG, val, NULL, NULL, 0);
}

/// Adds one and lets everybody go on who waits. A sleeper says so before it looks at the count for
/// the last time, and here the count goes up before sleepers are looked for: one of the two sees
/// the other.
static void gate_open(struct gate *g)
{
    if (atomic_load_explicit(&g->sleepers, memory_order_relaxed) != 0)
        atomic_store_explicit(&g->opened_ns, clock_ns(), memory_order_relaxed);
    atomic_fetch_add(&g->count, 1);
    if (atomic_load(&g->sleepers) != 0)
        futex(&g->count, FUTEX_WAKE, INT32_MAX);
}

/// Until the count has changed or, `ns` after *start, in vain.
static bool gate_spin(struct gate *g, uint32_t seen, int64_t ns, int64_t *start)
{
    for (*start = 0;;) {
        for (int k = 0; k < 32; k++) {
            if (atomic_load_explicit(&g->count, memory_order_acquire) != seen)
                return true;
            cpu_relax();
        }
        const int64_t now = clock_ns();
        if (*start == 0)
            *start = now;
        else if (now - *start >= ns)
            return false;
    }
}

/// Waits until the count is no longer `seen`. *spin_ns adapts, up to `most`: after a sleep to what
/// would have been enough, without the time that waking took. Returns the nanoseconds slept.
static int64_t gate_wait(struct gate *g, uint32_t seen, int64_t *spin_ns, int64_t most)
{
    int64_t ns = *spin_ns, start;

    if (gate_spin(g, seen, ns, &start)) {
        *spin_ns = ns * 2 < most ? ns * 2 : most;
        return 0;
    }
    atomic_fetch_add(&g->sleepers, 1);
    while (atomic_load(&g->count) == seen)
        futex(&g->count, FUTEX_WAIT, seen);
    atomic_fetch_sub(&g->sleepers, 1);
    const int64_t enough = atomic_load_explicit(&g->opened_ns, memory_order_relaxed) - start;
    ns = enough < most ? enough * 2 : ns / 2;
    *spin_ns = ns < SPIN_MIN_NS ? SPIN_MIN_NS : ns < most ? ns : most;
    return clock_ns() - start;
}

/// The last one to arrive opens the gate; with `stay` the others wait for that.
static void barrier(struct team *t, bool stay)
{
    struct pool *p = t->pool;
    uint32_t seen = atomic_load_explicit(&p->barrier.count, memory_order_relaxed);

    if (atomic_fetch_add(&p->arrived, 1) == t->n - 1) {
        atomic_store_explicit(&p->arrived, 0, memory_order_relaxed);
        for (int s = 0; s <= t->slot; s++)
            atomic_store_explicit(&p->counter[s].next, 0, memory_order_relaxed);
        gate_open(&p->barrier);
    } else if (stay) {
        t->slept_ns += gate_wait(&p->barrier, seen, &t->spin_barrier_ns, SPIN_BARRIER_NS);
    }
    t->slot = 0;
}

// --- what kernels see ----------------------------------------------------------------------------

int team_i(const struct team *t)
{
    return t->i;
}

int team_n(const struct team *t)
{
    return t->n;
}

const struct cpu_fns *team_fns(const struct team *t)
{
    return t->fns;
}

int64_t team_next(struct team *t, int64_t n)
{
    int64_t i;

    if (t->pool == NULL)
        i = t->next++;
    else
        i = atomic_fetch_add_explicit(&t->pool->counter[t->slot].next, 1, memory_order_relaxed);
    return i < n ? i : -1;
}

void team_phase(struct team *t)
{
    t->next = 0;
    if (t->pool != NULL)
        barrier(t, true);
}

struct team *team_solo_init(struct team_solo *s, const struct cpu_fns *fns)
{
    struct team *t = (struct team *)(void *)s->opaque;

    *t = (struct team){ .fns = fns, .n = 1 };
    return t;
}

void team_solo_reset(struct team_solo *s)
{
    ((struct team *)(void *)s->opaque)->next = 0;
}

// --- running -------------------------------------------------------------------------------------

static void walk(struct team *t, const struct launch *l, int n)
{
    for (int i = 0; i < n; i++) {
        if (t->pool == NULL)
            t->next = 0;
        else if (i > 0 && (l[i].sync || t->slot == SLOTS - 1))
            barrier(t, true);
        else if (i > 0)
            t->slot++;
        l[i].kernel->run(&l[i].args, t);
    }
}

static void pin_to(int core)
{
    cpu_set_t set;

    CPU_ZERO(&set);
    CPU_SET((size_t)core, &set);
    pthread_setaffinity_np(pthread_self(), sizeof set,
                           &set); // a wish: without it the thread runs anywhere
}

static void *work(void *arg)
{
    struct worker *w = arg;
    struct pool *p = w->team.pool;

    if (w->core >= 0)
        pin_to(w->core);
    for (uint32_t runs = 0;; runs++) {
        (void)gate_wait(&p->job, runs, &w->team.spin_idle_ns, SPIN_IDLE_NS);
        if (p->stop)
            return NULL;
        w->team.slept_ns = 0;
        walk(&w->team, p->list, p->n_list);
        barrier(&w->team, false);
    }
}

static void run_together(struct pool *p, const struct launch *l, int n)
{
    struct team *t = &p->worker[0].team;

    t->slept_ns = 0;
    p->list = l;
    p->n_list = n;
    gate_open(&p->job);
    walk(t, l, n);
    barrier(t, true);
}

/// Decides on the next runs after one of all threads that took `ns`. At the last barrier, which
/// everybody has reached, workers do not sleep: slept_ns of all is final.
static void judge(struct pool *p, int64_t now, int64_t ns)
{
    int64_t most = 0;

    for (int i = 0; i < p->n; i++)
        if (p->worker[i].team.slept_ns > most)
            most = p->worker[i].team.slept_ns;
    if (most < STALL_NS || most < ns / STALL_PART) {
        p->alone_ns = 0;
        return;
    }
    p->alone_ns = p->alone_ns == 0 ? ALONE_MIN_NS : p->alone_ns * 2;
    if (p->alone_ns > ALONE_MAX_NS)
        p->alone_ns = ALONE_MAX_NS;
    p->alone_until = now + p->alone_ns;
}

void pool_run(struct pool *p, const struct launch *l, int n)
{
    if (n == 0)
        return;
    pthread_mutex_lock(&p->one_run);
    const int64_t start = p->n > 1 ? clock_ns() : 0;
    if (p->n == 1 || (p->alone_ns != 0 && start < p->alone_until)) {
        walk(&p->alone, l, n);
    } else {
        run_together(p, l, n);
        const int64_t now = clock_ns();
        judge(p, now, now - start);
    }
    pthread_mutex_unlock(&p->one_run);
}

// --- life ----------------------------------------------------------------------------------------

/// The i-th core that this process may use, or -1.
static int core_at(const cpu_set_t *set, int i)
{
    for (int c = 0; c < CPU_SETSIZE; c++)
        if (CPU_ISSET((size_t)c, set) && i-- == 0)
            return c;
    return -1;
}

/// Workers take no signals: those are for the threads of the program.
static bool start_worker(struct worker *w)
{
    sigset_t all, old;

    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    w->started = pthread_create(&w->thread, NULL, work, w) == 0;
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    if (w->started)
        pthread_setname_np(w->thread, "snug-cpu");
    return w->started;
}

bool pool_new(struct pool **out, int threads, bool pin, const struct cpu_fns *fns, struct err *e)
{
    struct pool *p = xaligned(sizeof *p);
    cpu_set_t cores;

    ASSERT(threads >= 1);
    memset(p, 0, sizeof *p);
    p->n = threads;
    p->alone = (struct team){ .fns = fns, .n = 1 };
    p->worker = xaligned((size_t)threads * sizeof *p->worker);
    memset(p->worker, 0, (size_t)threads * sizeof *p->worker);
    pthread_mutex_init(&p->one_run, NULL);
    *out = NULL;

    pin = pin && sched_getaffinity(0, sizeof cores, &cores) == 0;
    for (int i = 0; i < threads; i++) {
        struct worker *w = &p->worker[i];
        w->team = (struct team){ .pool = p, .fns = fns, .i = i, .n = threads };
        w->team.spin_barrier_ns = SPIN_BARRIER_NS;
        w->team.spin_idle_ns = SPIN_IDLE_NS;
        w->core = pin ? core_at(&cores, i) : -1;
        if (i > 0 && !start_worker(w)) {
            pool_free(p);
            return err_set(e, ERR_NOMEM, "cannot start %d threads", threads);
        }
    }
    *out = p;
    return true;
}

void pool_free(struct pool *p)
{
    if (p == NULL)
        return;
    p->stop = true;
    gate_open(&p->job);
    for (int i = 1; i < p->n; i++)
        if (p->worker[i].started)
            pthread_join(p->worker[i].thread, NULL);
    pthread_mutex_destroy(&p->one_run);
    free(p->worker);
    free(p);
}
