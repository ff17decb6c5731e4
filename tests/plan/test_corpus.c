// test_corpus.c - published models on people's machines: scratch is as small as any packing can
// make it, and the largest context is exact.

#include "plan/place.h"
#include "run/run.h"
#include "support/zoo.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const char *const machines[] = { "k80x2", "3060,cpu", "3090x3,3060" };

static bool fits_at(const struct plan *p, int64_t ctx)
{
    struct assign a = { p->n_parts, xcalloc((size_t)p->n_parts, sizeof(int)) };
    struct limits lim = p->lim;
    struct plan *q = NULL;
    struct err e = { 0 };

    memcpy(a.dev, p->part_dev, (size_t)p->n_parts * sizeof(int));
    lim.ctx = ctx;
    if (!plan_make(&q, p->graph, p->places, &a, &lim, p->devs, p->n_devs, &e))
        fail_msg("%s", e.msg);
    bool ok = plan_fits(q, NULL);
    plan_free(q);
    free(a.dev);
    return ok;
}

static void for_each(void (*fn)(const struct engine *en, const char *what, int *n), int *n)
{
    char *dir = gm_dir(), *path = xasprintf("%s/m.gguf", dir);
    char **lists = zoo_paths();

    for (int i = 0; lists[i] != NULL; i++) {
        zoo_write(lists[i], path);
        for (size_t k = 0; k < ARRAY_LEN(machines); k++) {
            struct engine_opts o = {
                .on = machines[k], .ctx = 4096, .threads = 2, .plan_only = true
            };
            struct engine en;
            struct err e = { 0 };
            if (engine_open(&en, path, &o, NULL, NULL, &e)) {
                char *what = xasprintf("%s on %s", lists[i], o.on);
                fn(&en, what, n);
                free(what);
                engine_close(&en);
            } else {
                if (e.code != ERR_NOFIT)
                    fail_msg("%s on %s: %s", lists[i], o.on, e.msg);
                engine_close(&en); // left open for questions
            }
        }
    }
    zoo_paths_free(lists);
    gm_dir_remove(dir);
    free(dir);
    free(path);
}

static void look_at_scratch(const struct engine *en, const char *what, int *n)
{
    for (int d = 0; d < en->plan->n_devs; d++) {
        const struct plan_dev *p = &en->plan->dev[d];
        if (p->arena_bytes[ARENA_SCRATCH] != p->scratch_bound)
            fail_msg("%s: %s has %llu bytes of scratch, the peak of live bytes is %llu", what,
                     p->info.name, (unsigned long long)p->arena_bytes[ARENA_SCRATCH],
                     (unsigned long long)p->scratch_bound);
        *n += p->used;
    }
}

static void scratch_is_the_peak_of_live_bytes(void **state)
{
    int n = 0;

    (void)state;
    for_each(look_at_scratch, &n);
    assert_true(n > 70);
}

static void look_at_context(const struct engine *en, const char *what, int *n)
{
    int64_t most = advise_max_context(en->plan, 1 << 29);

    if (most < en->plan->max.n_ctx || !fits_at(en->plan, most) ||
        fits_at(en->plan, most + KV_PAGE_TOKENS))
        fail_msg("%s: %lld tokens are not the most", what, (long long)most);
    ++*n;
}

static void the_largest_context_fits_and_a_page_more_does_not(void **state)
{
    int n = 0;

    (void)state;
    for_each(look_at_context, &n);
    assert_true(n > 60);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(scratch_is_the_peak_of_live_bytes),
        cmocka_unit_test(the_largest_context_fits_and_a_page_more_does_not),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
