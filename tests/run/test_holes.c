// test_holes.c - published models of any size, loaded for real: the weights are a hole, so that
// each arena of a 70B model is planned, allocated and counted on a machine that could not hold it.

#include "plan/place.h"
#include "run/rig.h"
#include "run/run_int.h"
#include "support/zoo.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include <cmocka.h>

enum { MAX_SIMS = 4 };

static const struct limits lim = {
    .micro_batch = 512, .outputs = 1, .slots = 1, .ctx = 4096, .kv = DTYPE_F16
};

struct fixture {
    char *dir, *path;
};

static int setup(void **state)
{
    struct fixture *f = xcalloc(1, sizeof(*f));

    f->dir = gm_dir();
    f->path = xasprintf("%s/m.gguf", f->dir);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;

    gm_dir_remove(f->dir);
    free(f->dir);
    free(f->path);
    free(f);
    return 0;
}

/// The file of a list, opened. Skips where the file system keeps no holes.
static void open_zoo(struct rig *r, const struct fixture *f, const char *list, const char *test)
{
    zoo_write(list, f->path);
    rig_open(r, f->path);
    if (gguf_data_end(r->gguf, 0) < gguf_file_bytes(r->gguf, 0))
        return;
    rig_close(r);
    print_message("SKIP %s: no sparse files in %s\n", test, f->dir);
    skip();
}

/// Every arena of every device has the size that the plan says, no less and no more, and so has
/// what each device counted.
static void compare_arenas(const struct plan *p, const struct inst *in, struct dev *const *dev)
{
    for (int d = 0; d < p->n_devs; d++) {
        const struct plan_dev *pd = &p->dev[d];
        struct sim_stats s;
        uint64_t rounding = 0;
        for (int a = 0; a < ARENA_COUNT; a++) {
            uint64_t taken = in->mem[d][a].bytes;
            assert_int_equal(taken, align_up_u64(pd->arena_bytes[a], pd->info.granule_bytes));
            rounding += taken - pd->arena_bytes[a];
        }
        assert_int_equal(rounding, pd->rounding_bytes);
        sim_dev_stats(dev[d], &s);
        assert_int_equal(s.bytes_now, plan_device_bytes(p, d));
        assert_int_equal(s.bytes_peak, plan_device_bytes(p, d));
        assert_int_equal(s.allocs_after_seal, 0);
    }
}

/// Each weight ends in the file's zeros, and what no weight is written to is still poison.
static void look_into_weights(const struct plan *p, const struct inst *in, struct dev *const *dev)
{
    struct err e = { 0 };
    uint8_t text[64];

    for (int i = 0; i < p->n_values; i++) {
        const struct slot *s = &p->value[i].slot;
        if (s->arena != ARENA_WEIGHTS && s->arena != ARENA_KV)
            continue;
        uint64_t n = s->bytes < sizeof(text) ? s->bytes : sizeof(text);
        const uint8_t *at = (const uint8_t *)inst_address(in, i) + s->bytes - n;
        assert_true(dev[s->dev]->ops->read(dev[s->dev], text, at, n, &e));
        for (uint64_t k = 0; k < n; k++)
            assert_int_equal(text[k], s->arena == ARENA_WEIGHTS ? 0 : 0xff);
    }
}

/// Plans on `n` devices of these sizes, all of which it needs, loads and compares. Returns the
/// bytes of all devices.
static uint64_t load_and_compare(const struct rig *r, int n, const uint64_t *capacity,
                                 uint64_t granule)
{
    static const char *const name[MAX_SIMS] = { "sim0", "sim1", "sim2", "sim3" };
    struct dev *dev[MAX_SIMS];
    struct plan *p;
    struct inst *in;
    struct err e = { 0 };
    uint64_t sum = 0;

    for (int d = 0; d < n; d++)
        dev[d] = sim_dev_new(&(struct sim_opts){ .name = name[d],
                                                 .capacity_bytes = capacity[d],
                                                 .granule_bytes = granule,
                                                 .cpu = r->cpu });
    if (!place_find(&p, NULL, r->graph, r->places, &lim, NULL, dev, n, &e) ||
        !inst_load(&in, p, r->gguf, dev, NULL, NULL, &e))
        fail_msg("%s", e.msg);
    compare_arenas(p, in, dev);
    look_into_weights(p, in, dev);
    for (int d = 0; d < n; d++) {
        assert_true(p->dev[d].used);
        sum += plan_device_bytes(p, d);
    }
    inst_free(in);
    plan_free(p);
    for (int d = 0; d < n; d++) {
        struct sim_stats s;
        sim_dev_stats(dev[d], &s);
        assert_true(s.bytes_now == 0 && s.allocs == s.frees);
        dev_free(dev[d]);
    }
    return sum;
}

static void every_published_model_takes_what_was_planned(void **state)
{
    const uint64_t capacity = 400ull << 30;
    char **lists = zoo_paths();
    uint64_t largest = 0;

    for (int i = 0; lists[i] != NULL; i++) {
        struct rig r;
        open_zoo(&r, *state, lists[i], __func__);
        uint64_t bytes = load_and_compare(&r, 1, &capacity, 64);
        assert_true(bytes >= gguf_file_bytes(r.gguf, 0) / 2); // gemma3's hold a vision tower, too
        largest = bytes > largest ? bytes : largest;
        rig_close(&r);
    }
    zoo_paths_free(lists);
    assert_true(largest > 50ull << 30);
}

/// Sizes of which no three hold what needs four.
static void split_over_four_unequal_devices_each_takes_its_plan(void **state)
{
    static const char *const lists[] = { "llama3.1-70b", "gpt-oss-120b", "deepseek-v2-16b",
                                         "gemma3-12b" };
    static const uint64_t percent[MAX_SIMS] = { 22, 45, 20, 30 };

    for (size_t i = 0; i < ARRAY_LEN(lists); i++) {
        struct rig r;
        uint64_t whole = 400ull << 30, part[MAX_SIMS];
        char *list = xasprintf("tests/data/zoo/%s.json", lists[i]);
        open_zoo(&r, *state, list, __func__);
        whole = load_and_compare(&r, 1, &whole, 2 << 20);
        for (int d = 0; d < MAX_SIMS; d++)
            part[d] = whole / 100 * percent[d];
        assert_true(load_and_compare(&r, MAX_SIMS, part, 2 << 20) > whole);
        rig_close(&r);
        free(list);
    }
}

/// The placements of tests/data/plans, by the way that every command takes.
static void every_placement_on_peoples_machines_loads_as_planned(void **state)
{
    static const char *const machines[] = { "sim:k80x1", "sim:k80x2",    "sim:k80x4",
                                            "sim:3090",  "sim:3060,cpu", "sim:3090x3,sim:3060",
                                            "sim:h100" };
    const struct fixture *f = *state;
    char **lists = zoo_paths();
    int loads = 0;

    for (int i = 0; lists[i] != NULL; i++) {
        zoo_write(lists[i], f->path);
        for (size_t k = 0; k < 2 * ARRAY_LEN(machines); k++) {
            struct engine_opts o = { .on = machines[k / 2],
                                     .ctx = k % 2 == 0 ? 4096 : 32768,
                                     .threads = 2 };
            struct engine en;
            struct err e = { 0 };
            if (!engine_open(&en, f->path, &o, NULL, NULL, &e)) {
                if (e.code != ERR_NOFIT)
                    fail_msg("%s on %s: %s", lists[i], o.on, e.msg);
                continue;
            }
            loads++;
            for (int d = 0; d < en.n_devs; d++) {
                struct sim_stats s;
                if (en.dev[d] == en.cpu)
                    continue;
                sim_dev_stats(en.dev[d], &s);
                assert_int_equal(s.bytes_now, plan_device_bytes(en.plan, d));
                assert_int_equal(s.bytes_now, inst_device_bytes(en.inst, d));
            }
            engine_close(&en);
        }
    }
    zoo_paths_free(lists);
    print_message("%d placements loaded\n", loads);
    assert_true(loads > 250);
}

static void little_of_this_machine_was_taken(void **state)
{
    struct rusage u;

    (void)state;
    getrusage(RUSAGE_SELF, &u);
    print_message("largest resident set: %ld MiB\n", u.ru_maxrss >> 10);
    assert_true(u.ru_maxrss < 2 << 20); // KiB
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_published_model_takes_what_was_planned),
        cmocka_unit_test(split_over_four_unequal_devices_each_takes_its_plan),
        cmocka_unit_test(every_placement_on_peoples_machines_loads_as_planned),
        cmocka_unit_test(little_of_this_machine_was_taken),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
