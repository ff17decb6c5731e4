// test_memory.c - what a load took, arena by arena, and loads that are refused for a byte.

#include "run/rig.h"
#include "run/run_int.h"
#include "run/tiny.h"

#include <jansson.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const struct limits usual = {
    .micro_batch = 32, .outputs = 1, .slots = 2, .ctx = 200, .kv = DTYPE_F16, .guard_bytes = 100
};

/// A plan on two simulated devices and the CPU, which has the embedding.
struct loaded {
    struct rig rig;
    struct dev *dev[3];
    struct plan *plan;
};

static void setup(struct loaded *l)
{
    struct assign a;
    struct err e = { 0 };

    rig_open(&l->rig, tiny_model("gemma3", true));
    for (int i = 0; i < 2; i++)
        l->dev[i] = sim_dev_new(&(struct sim_opts){ .name = i == 0 ? "sim0" : "sim1",
                                                    .capacity_bytes = 64 << 20,
                                                    .granule_bytes = 4096u << i,
                                                    .cpu = l->rig.cpu });
    l->dev[2] = l->rig.cpu;
    assign_even(&a, l->rig.graph, 2);
    a.dev[1] = 2;
    if (!plan_make(&l->plan, l->rig.graph, l->rig.places, &a, &usual, l->dev, 3, &e))
        fail_msg("%s", e.msg);
    free(a.dev);
}

static void teardown(struct loaded *l)
{
    plan_free(l->plan);
    dev_free(l->dev[0]);
    dev_free(l->dev[1]);
    rig_close(&l->rig);
}

static uint64_t number(const json_t *o, const char *key)
{
    assert_true(json_is_integer(json_object_get(o, key)));
    return (uint64_t)json_integer_value(json_object_get(o, key));
}

static void every_arena_is_planned_reserved_and_used_alike(void **state)
{
    struct loaded l;
    struct inst *in;
    struct err e = { 0 };
    struct buf out;
    json_t *dev, *line;
    size_t i, k;

    (void)state;
    setup(&l);
    if (!inst_load(&in, l.plan, l.rig.gguf, l.dev, NULL, NULL, &e))
        fail_msg("%s", e.msg);
    for (int d = 0; d < 3; d++)
        for (int a = 0; a < ARENA_COUNT; a++) {
            struct memory_line m = inst_memory(in, d, (enum arena_kind)a);
            assert_int_equal(m.planned, l.plan->dev[d].arena_bytes[a]);
            assert_int_equal(m.high_water, m.planned);
            assert_int_equal(m.reserved,
                             align_up_u64(m.planned, l.plan->dev[d].info.granule_bytes));
        }
    buf_init(&out, 1 << 16);
    assert_true(inst_memory_json(in, &out));
    json_t *o = json_loadb(out.p, out.n, JSON_REJECT_DUPLICATES, NULL);
    assert_non_null(o);
    json_array_foreach(json_object_get(o, "devices"), i, dev)
    {
        uint64_t planned = 0, reserved = 0;
        json_array_foreach(json_object_get(dev, "arenas"), k, line)
        {
            planned += number(line, "planned_bytes");
            reserved += number(line, "reserved_bytes");
        }
        assert_int_equal(planned + number(dev, "rounding_bytes"), number(dev, "planned_bytes"));
        assert_int_equal(reserved, number(dev, "reserved_bytes"));
        assert_int_equal(reserved, plan_device_bytes(l.plan, (int)i));
    }
    assert_int_equal(i, 3);
    json_decref(o);
    for (size_t max = 8; max < out.n; max *= 2) {
        struct buf small;
        buf_init(&small, max);
        assert_false(inst_memory_json(in, &small));
        buf_done(&small);
    }
    buf_done(&out);
    inst_free(in);
    teardown(&l);
}

/// The load of a plan that was changed.
static void is_refused(struct loaded *l, const char *says)
{
    struct inst *in;
    struct err e = { 0 };

    assert_false(inst_load(&in, l->plan, l->rig.gguf, l->dev, NULL, NULL, &e));
    assert_int_equal(e.code, ERR_DEVICE);
    if (strstr(e.msg, says) == NULL)
        fail_msg("%s", e.msg);
    teardown(l);
}

static struct plan_dev *device(struct loaded *l, int d)
{
    return (struct plan_dev *)(uintptr_t)&l->plan->dev[d];
}

/// An arena that is longer than what lies in it, or a device with other granules.
static void a_byte_more_or_less_is_an_error(void **state)
{
    struct loaded l;

    (void)state;
    for (int d = 0; d < 2; d++)
        for (int a = 0; a < ARENA_COUNT; a++) {
            setup(&l);
            device(&l, d)->arena_bytes[a] += 64;
            is_refused(&l, arena_kind_name((enum arena_kind)a));
        }
    setup(&l);
    device(&l, 1)->info.granule_bytes *= 4;
    is_refused(&l, "in whole granules");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_arena_is_planned_reserved_and_used_alike),
        cmocka_unit_test(a_byte_more_or_less_is_an_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
