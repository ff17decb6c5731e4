// test_engine.c - from options to devices, limits and a loaded model; every refusal is clean.

#include "run/tiny.h"
#include "run/vectors.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void device_lists_are_parsed(void **state)
{
    static const struct {
        const char *on;
        int n, cpu_at;
        uint64_t last_mib;
    } good[] = {
        { NULL, 1, 0, 0 },
        { "cpu", 1, 0, 0 },
        { "sim:64", 1, -1, 64 },
        { "sim:64,sim:1,cpu", 3, 2, 0 },
        { "cpu,sim:4000", 2, 0, 4000 },
    };
    static const char *const bad[] = {
        "",        "gpu", "sim",     "sim:",   "sim:0",   "sim:x",   "sim:64,",         ",cpu",
        "cpu,cpu", "CPU", "sim:6 4", "sim:-1", "sim:1e3", "cpu;cpu", "sim:99999999999", "\x01\xff"
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(good); i++) {
        const struct engine_opts o = { .on = good[i].on, .threads = 1 };
        struct engine en = { 0 };
        struct err e = { 0 };
        if (!devices_open(&en, &o, &e))
            fail_msg("%s", e.msg);
        assert_int_equal(en.n_devs, good[i].n);
        for (int d = 0; d < en.n_devs; d++)
            assert_true((en.dev[d] == en.cpu) == (d == good[i].cpu_at));
        struct dev_info info;
        en.dev[en.n_devs - 1]->ops->info(en.dev[en.n_devs - 1], &info);
        if (good[i].last_mib > 0)
            assert_int_equal(info.capacity_bytes, good[i].last_mib << 20);
        engine_close(&en);
    }
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        const struct engine_opts o = { .on = bad[i], .threads = 1 };
        struct engine en = { 0 };
        struct err e = { 0 };
        assert_false(devices_open(&en, &o, &e));
        assert_int_equal(e.code, ERR_ARG);
        assert_non_null(strstr(e.msg, "sim:SIZE_MIB"));
        engine_close(&en);
    }
}

static void defaults_follow_the_model(void **state)
{
    const struct engine_opts none = { .threads = 1 },
                             exact = { .threads = 1, .exact = true, .ctx = 100, .slots = 3 },
                             f16 = { .threads = 1,
                                     .exact = true,
                                     .kv_set = true,
                                     .kv = DTYPE_F16,
                                     .outputs = 7,
                                     .micro_batch = 5 };
    struct engine en;

    (void)state;
    tiny_open(&en, "llama", true, &none); // trained on 32768
    assert_int_equal(en.plan->lim.ctx, 4096);
    assert_int_equal(en.plan->lim.micro_batch, 512);
    assert_int_equal(en.plan->lim.slots, 1);
    assert_int_equal(en.plan->lim.outputs, 1);
    assert_int_equal(en.plan->lim.kv, DTYPE_F16);
    assert_true(en.load_ns > 0 && en.tok == NULL);
    engine_close(&en);

    tiny_open(&en, "llama", true, &exact);
    assert_int_equal(en.plan->max.n_ctx, 128);
    assert_int_equal(en.plan->lim.micro_batch, 100);
    assert_int_equal(en.plan->lim.outputs, 3);
    assert_int_equal(en.plan->lim.kv, DTYPE_F32);
    engine_close(&en);

    tiny_open(&en, "llama", true, &f16);
    assert_int_equal(en.plan->lim.kv, DTYPE_F16);
    assert_int_equal(en.plan->lim.outputs, 5);
    engine_close(&en);
}

static void planning_alone_loads_nothing(void **state)
{
    const struct engine_opts o = { .threads = 1, .plan_only = true, .on = "sim:100,sim:100" };
    struct engine en;
    struct sim_stats s;

    (void)state;
    tiny_open(&en, "gemma3", true, &o);
    assert_non_null(en.plan);
    assert_null(en.inst);
    assert_null(en.kv);
    sim_dev_stats(en.dev[0], &s);
    assert_int_equal(s.allocs, 0);
    engine_close(&en);
}

static void what_does_not_fit_is_refused_with_a_way_out(void **state)
{
    const struct engine_opts o = { .threads = 1, .on = "sim:14", .ctx = 32768 };
    struct engine en;
    struct err e = { 0 };

    (void)state;
    assert_false(engine_open(&en, tiny_model("llama", true), &o, NULL, NULL, &e));
    assert_int_equal(e.code, ERR_NOFIT);
    const char *ctx = strstr(e.msg, "--ctx ");
    assert_non_null(ctx);
    struct engine_opts helped = o;
    helped.ctx = atoll(ctx + 6);
    tiny_open(&en, "llama", true, &helped);
    engine_close(&en);
}

static void bad_options_and_files_leave_nothing_behind(void **state)
{
    const struct engine_opts good = { .threads = 1 }, negative = { .threads = 1, .ctx = -1 },
                             huge = { .threads = 1, .ctx = INT64_MAX / 4 };
    struct engine en;
    struct err e = { 0 };
    const char *path = tiny_model("llama", true);

    (void)state;
    assert_false(engine_open(&en, path, &negative, NULL, NULL, &e));
    assert_int_equal(e.code, ERR_ARG);
    assert_null(en.gguf);
    assert_false(engine_open(&en, path, &huge, NULL, NULL, &e));
    assert_int_equal(e.code, ERR_ARG);
    assert_false(engine_open(&en, "/nowhere/at/all.gguf", &good, NULL, NULL, &e));
    assert_int_equal(e.code, ERR_NOTFOUND);
    assert_false(engine_open(&en, "Makefile", &good, NULL, NULL, &e));
    assert_int_equal(e.code, ERR_FORMAT);
    engine_close(&en); // closing what is closed does nothing
}

static void without_a_mapping_it_is_the_same(void **state)
{
    const struct engine_opts mapped = { .threads = 1, .ctx = 128 },
                             read = { .threads = 1, .ctx = 128, .no_mmap = true };
    struct engine en;
    int32_t id[30];
    float *row[2];

    (void)state;
    tiny_tokens(id, 30, 1);
    tiny_open(&en, "gemma3", true, &mapped);
    row[0] = eval_all(&en, id, 30, 0);
    engine_close(&en);
    tiny_open(&en, "gemma3", true, &read);
    row[1] = eval_all(&en, id, 30, 0);
    engine_close(&en);
    assert_memory_equal(row[0], row[1], 30 * TINY_VOCAB * sizeof(float));
    free(row[0]);
    free(row[1]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(device_lists_are_parsed),
        cmocka_unit_test(defaults_follow_the_model),
        cmocka_unit_test(planning_alone_loads_nothing),
        cmocka_unit_test(what_does_not_fit_is_refused_with_a_way_out),
        cmocka_unit_test(bad_options_and_files_leave_nothing_behind),
        cmocka_unit_test(without_a_mapping_it_is_the_same),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
