// test_cost.c - the cost of a stage is what a plan with that stage takes, byte for byte, for
// published models of every family.

#include "plan/cost.h"
#include "plan/place.h"
#include "run/rig.h"
#include "support/zoo.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { STAGES = 8 }; // of each model and way
static int gaps;

struct ground {
    struct rig r;
    struct limits lim;
    struct dev *dev[3]; // two simulated ones and the host
    struct assign a;
    bool *on_host;
};

static uint32_t next_rand(uint64_t *s)
{
    *s = *s * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(*s >> 33);
}

static struct plan *make(struct ground *w)
{
    struct plan *p;
    struct err e = { 0 };

    if (!plan_make(&p, w->r.graph, w->r.places, &w->a, &w->lim, w->dev, 3, &e))
        fail_msg("%s", e.msg);
    return p;
}

/// Units [from, to) on device 1, those around it on device 0, the rest with the host.
static void assign(struct ground *w, const struct units *u, int from, int to)
{
    for (int i = 0; i < w->a.n_parts; i++)
        w->a.dev[i] = u->of[i] < 0 ? 2 : u->of[i] >= from && u->of[i] < to;
}

static int compare(struct ground *w, const char *model, const char *way, uint64_t *seed)
{
    struct units u;
    struct costs c;
    int wrong = 0;

    units_of(&u, w->r.graph, w->on_host);
    assign(w, &u, 0, 0);
    struct plan *all = make(w);
    costs_from_plan(&c, all, 0, &u);
    for (int i = 0; i < STAGES; i++) {
        int from = i == 0 ? 0 : (int)(next_rand(seed) % (uint32_t)u.n);
        int to = i == 0 ? u.n : from + 1 + (int)(next_rand(seed) % (uint32_t)(u.n - from));
        assign(w, &u, from, to);
        struct plan *p = make(w);
        int at = from * (u.n + 1) + to;
        const struct plan_dev *d = &p->dev[1];
        uint64_t said = c.bytes[at], real = plan_device_bytes(p, 1);
        // Where no packing reached the bound, the plan takes more, and says so.
        uint64_t gap = d->arena_bytes[ARENA_SCRATCH] - d->scratch_bound;
        gaps += gap > 0;
        if (c.scratch[at] != d->scratch_bound || (gap == 0 && said != real)) {
            print_message("%s, %s: units %d-%d of %d: %llu bytes said, %llu planned; scratch %llu, "
                          "%llu of a bound of %llu\n",
                          model, way, from, to, u.n, (unsigned long long)said,
                          (unsigned long long)real, (unsigned long long)c.scratch[at],
                          (unsigned long long)d->arena_bytes[ARENA_SCRATCH],
                          (unsigned long long)d->scratch_bound);
            wrong++;
        }
        plan_free(p);
    }
    plan_free(all);
    costs_done(&c);
    free(u.of);
    return wrong;
}

static int compare_ways(struct ground *w, const char *model, uint64_t *seed)
{
    int n = graph_n_parts(w->r.graph), wrong = 0;

    w->a = (struct assign){ n, xcalloc((size_t)n, sizeof(int)) };
    w->on_host = xcalloc((size_t)n, sizeof(bool));
    wrong += compare(w, model, "all on devices", seed);
    for (int i = 0; i < n; i++)
        w->on_host[i] = graph_part(w->r.graph, i)->kind == PART_EMBED;
    wrong += compare(w, model, "embedding with the host", seed);
    for (int i = 0; i < n; i++)
        w->on_host[i] |= graph_part(w->r.graph, i)->kind == PART_EXPERTS;
    wrong += compare(w, model, "experts with the host", seed);
    free(w->on_host);
    free(w->a.dev);
    return wrong;
}

static void a_stage_costs_what_a_plan_with_it_takes(void **state)
{
    static const struct limits lim[] = {
        { .micro_batch = 512, .outputs = 1, .slots = 1, .ctx = 4096, .kv = DTYPE_F16 },
        { .micro_batch = 64, .outputs = 4, .slots = 4, .ctx = 32768, .kv = DTYPE_Q8_0 },
    };
    char *dir = gm_dir(), *path = xasprintf("%s/m.gguf", dir);
    char **lists = zoo_paths();
    uint64_t seed = 1;
    int wrong = 0;

    (void)state;
    for (int i = 0; lists[i] != NULL; i++) {
        struct ground w = { 0 };
        zoo_write(lists[i], path);
        rig_open(&w.r, path);
        for (int d = 0; d < 2; d++)
            w.dev[d] = sim_dev_new(&(struct sim_opts){ .name = d == 0 ? "sim0" : "sim1",
                                                       .capacity_bytes = (uint64_t)1 << 40,
                                                       .granule_bytes = 2 << 20,
                                                       .cpu = w.r.cpu });
        w.dev[2] = w.r.cpu;
        for (size_t k = 0; k < sizeof(lim) / sizeof(lim[0]); k++) {
            w.lim = lim[k];
            wrong += compare_ways(&w, strrchr(lists[i], '/') + 1, &seed);
        }
        dev_free(w.dev[0]);
        dev_free(w.dev[1]);
        rig_close(&w.r);
    }
    zoo_paths_free(lists);
    gm_dir_remove(dir);
    free(dir);
    free(path);
    print_message("%d plans above the bound\n", gaps);
    assert_int_equal(wrong, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_stage_costs_what_a_plan_with_it_takes),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
