// test_load.c - a load takes what was planned, to the byte, or gives everything back.

#include "run/rig.h"
#include "run/tiny.h"
#include "run/vectors.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void tiny_models_take_exactly_what_was_planned(void **state)
{
    (void)state;
    compare_all_loads(tiny_model("llama", true));
    compare_all_loads(tiny_model("gemma3", true));
    compare_all_loads(tiny_model("gemma3", false));
}

static void the_engine_plans_and_loads_the_same_on_the_cpu(void **state)
{
    const struct engine_opts o = { .ctx = 1024, .threads = 1 };
    struct engine en;

    (void)state;
    tiny_open(&en, "llama", true, &o);
    assert_int_equal(inst_device_bytes(en.inst, 0), plan_device_bytes(en.plan, 0));
    assert_int_equal(en.plan->dev[0].arena_bytes[ARENA_WEIGHTS], 0); // used where they are
    assert_true(en.plan->dev[0].mapped_bytes > 0);
    engine_close(&en);
}

static void every_failing_allocation_releases_everything(void **state)
{
    struct limits lim = {
        .micro_batch = 64, .outputs = 1, .slots = 1, .ctx = 512, .kv = DTYPE_F16
    };
    struct rig r;
    struct assign a;
    int n_failed = 0;

    (void)state;
    rig_open(&r, tiny_model("gemma3", true));
    assign_even(&a, r.graph, 2);
    for (int n = 1; n <= 2 * ARENA_COUNT + 1; n++) {
        struct dev *dev[2];
        struct sim_stats s[2];
        struct plan *p;
        struct inst *in;
        struct err e = { 0 };
        for (int i = 0; i < 2; i++)
            dev[i] = sim_dev_new(&(struct sim_opts){ .name = i == 0 ? "sim0" : "sim1",
                                                     .capacity_bytes = 1 << 30,
                                                     .fail_alloc = i == 0 ? n : n - ARENA_COUNT,
                                                     .cpu = r.cpu });
        assert_true(plan_make(&p, r.graph, r.places, &a, &lim, dev, 2, &e));
        if (inst_load(&in, p, r.gguf, dev, NULL, NULL, &e)) {
            inst_free(in);
        } else {
            assert_null(in);
            assert_int_equal(e.code, ERR_NOMEM);
            assert_non_null(strstr(e.msg, "sim"));
            n_failed++;
        }
        for (int i = 0; i < 2; i++) {
            sim_dev_stats(dev[i], &s[i]);
            assert_true(s[i].bytes_now == 0 && s[i].allocs == s[i].frees);
            dev_free(dev[i]);
        }
        plan_free(p);
    }
    assert_true(n_failed >= 8); // the first device has no hand-over arena
    free(a.dev);
    rig_close(&r);
}

struct watch {
    uint64_t last, total;
    int calls, stop_at;
};

static bool watch_load(void *ctx, uint64_t done, uint64_t total)
{
    struct watch *w = ctx;

    assert_true(done > w->last && done <= total && (w->total == 0 || w->total == total));
    w->last = done;
    w->total = total;
    return ++w->calls != w->stop_at;
}

static void progress_ends_at_the_total_and_can_cancel(void **state)
{
    const struct engine_opts o = { .ctx = 256, .threads = 1, .on = "sim:100" };
    struct engine en;
    struct watch w = { 0 };
    struct err e = { 0 };

    (void)state;
    const char *path = tiny_model("llama", true);
    assert_true(engine_open(&en, path, &o, watch_load, &w, &e));
    assert_true(w.calls > 10 && w.last == w.total && w.total > 0);
    engine_close(&en);

    w = (struct watch){ .stop_at = 3 };
    assert_false(engine_open(&en, path, &o, watch_load, &w, &e));
    assert_int_equal(e.code, ERR_CANCELLED);
    assert_int_equal(w.calls, 3);
    assert_null(en.inst);
}

static bool find_weight(void *ctx, const char *name, struct weight_info *out)
{
    const struct gguf *f = ctx;
    int i = gguf_find_tensor(f, name);

    if (i < 0)
        return false;
    const struct gguf_tensor *t = gguf_tensor(f, i);
    *out = (struct weight_info){ .type = t->type, .n_dims = t->n_dims, .source = i };
    memcpy(out->ne, t->ne, sizeof(out->ne));
    return true;
}

/// The smallest model: a table and a head from the file, and one more node if `capped`.
static struct graph *two_weights(const struct gguf *f, bool capped)
{
    struct gb *b = gb_new((struct weight_source){ find_weight, (void *)(uintptr_t)f });
    struct graph *g;
    struct err e = { 0 };

    gb_part(b, PART_EMBED, -1);
    struct tensor *x =
        gb_embed(b, gb_input(b, IN_TOKENS), gb_mat(b, 256, TINY_VOCAB, "token_embd.weight"), 4);
    gb_part(b, PART_HEAD, -1);
    x = gb_matmul(b, gb_rows(b, x, gb_input(b, IN_OUT_IDS)),
                  gb_mat(b, 256, TINY_VOCAB, "output.weight"), NULL);
    gb_logits(b, capped ? gb_softcap(b, x, 0.5f) : x);
    if (!graph_seal(&g, b, &e))
        fail_msg("%s", e.msg);
    return g;
}

static void one_more_node_reaches_plan_load_and_executor(void **state)
{
    struct rig r;
    struct plan *p[2];
    struct graph *g[2];
    struct assign a;
    struct limits lim = { .micro_batch = 8, .outputs = 8, .slots = 1, .ctx = 64, .kv = DTYPE_F16 };
    float row[2][TINY_VOCAB];
    struct err e = { 0 };

    (void)state;
    rig_open(&r, tiny_model("llama", false));
    for (int i = 0; i < 2; i++) {
        struct dev *dev = sim_dev_new(
            &(struct sim_opts){ .name = "sim", .capacity_bytes = 1 << 30, .cpu = r.cpu });
        struct inst *in;
        g[i] = two_weights(r.gguf, i == 1);
        assign_even(&a, g[i], 1);
        assert_true(plan_make(&p[i], g[i], r.places, &a, &lim, &dev, 1, &e) &&
                    plan_check(p[i], &e));
        assert_true(inst_load(&in, p[i], r.gguf, &dev, NULL, NULL, &e));
        assert_int_equal(inst_device_bytes(in, 0), plan_device_bytes(p[i], 0));
        struct batch b = {
            1, (int32_t[]){ 7 }, (int32_t[]){ 0 }, (int32_t[]){ 0 }, 1, (int32_t[]){ 0 }, NULL
        };
        assert_true(inst_eval(in, &b, &e));
        memcpy(row[i], inst_logits(in, 0), sizeof(row[i]));
        inst_free(in);
        dev_free(dev);
        free(a.dev);
    }
    assert_true(p[0]->hash != p[1]->hash);
    assert_int_equal(p[1]->n_steps, p[0]->n_steps + 1);
    assert_true(plan_device_bytes(p[1], 0) >
                plan_device_bytes(p[0], 0)); // the uncapped logits need a place
    for (int i = 0; i < TINY_VOCAB; i++)
        assert_true(row[1][i] != row[0][i] && row[1][i] > -0.5f && row[1][i] < 0.5f);
    for (int i = 0; i < 2; i++) {
        plan_free(p[i]);
        graph_free(g[i]);
    }
    rig_close(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tiny_models_take_exactly_what_was_planned),
        cmocka_unit_test(the_engine_plans_and_loads_the_same_on_the_cpu),
        cmocka_unit_test(every_failing_allocation_releases_everything),
        cmocka_unit_test(progress_ends_at_the_total_and_can_cancel),
        cmocka_unit_test(one_more_node_reaches_plan_load_and_executor),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
