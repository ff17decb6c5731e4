// rig.c - see rig.h.

#include "run/rig.h"
#include "run/run.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

enum { MAX_SIMS = 4 };

void rig_open(struct rig *r, const char *path)
{
    struct err e = { 0 };

    log_level_set(LOG_ERROR);
    if (!gguf_open(&r->gguf, path, NULL, &e) || !model_read(&r->model, r->gguf, &e) ||
        !model_graph(&r->graph, r->model, r->gguf, &e) ||
        !cpu_dev_new(&r->cpu, &(struct cpu_opts){ .threads = 1 }, &e))
        fail_msg("%s", e.msg);
    int n = gguf_n_tensors(r->gguf);
    r->places = xcalloc((size_t)n, sizeof(*r->places));
    for (int i = 0; i < n; i++) {
        const struct gguf_tensor *t = gguf_tensor(r->gguf, i);
        r->places[i] = (struct weight_place){ t->file, t->offset, t->bytes };
    }
}

void rig_close(struct rig *r)
{
    dev_free(r->cpu);
    free(r->places);
    graph_free(r->graph);
    model_free(r->model);
    gguf_close(r->gguf);
}

/// Loads on `n` devices spread evenly and compares plan, instance and each device's own count.
static void load_and_compare(const struct rig *r, int64_t ctx, int n, uint64_t granule)
{
    struct limits lim = {
        .micro_batch = 64, .outputs = 1, .slots = 1, .ctx = ctx, .kv = DTYPE_F16
    };
    struct dev *dev[MAX_SIMS];
    struct assign a;
    struct plan *p;
    struct inst *in;
    struct err e = { 0 };

    for (int i = 0; i < n; i++)
        dev[i] = sim_dev_new(&(struct sim_opts){
            .name = "sim", .capacity_bytes = 8ull << 30, .granule_bytes = granule, .cpu = r->cpu });
    assign_even(&a, r->graph, n);
    if (!plan_make(&p, r->graph, r->places, &a, &lim, dev, n, &e) ||
        !inst_load(&in, p, r->gguf, dev, NULL, NULL, &e))
        fail_msg("%s", e.msg);
    for (int i = 0; i < n; i++) {
        struct sim_stats s;
        sim_dev_stats(dev[i], &s);
        assert_int_equal(s.bytes_now, plan_device_bytes(p, i));
        assert_int_equal(s.bytes_peak, plan_device_bytes(p, i));
        assert_int_equal(inst_device_bytes(in, i), plan_device_bytes(p, i));
        assert_true(s.bytes_now > 0);
    }
    inst_free(in);
    plan_free(p);
    for (int i = 0; i < n; i++) {
        struct sim_stats s;
        sim_dev_stats(dev[i], &s);
        assert_true(s.bytes_now == 0 && s.allocs == s.frees);
        dev_free(dev[i]);
    }
    free(a.dev);
}

void compare_all_loads(const char *path)
{
    struct rig r;

    rig_open(&r, path);
    for (int64_t ctx = 512; ctx <= 32768; ctx *= 4)
        for (int n = 1; n <= MAX_SIMS; n++)
            load_and_compare(&r, ctx, n, n % 2 == 0 ? 0 : 1 << 16);
    rig_close(&r);
}
