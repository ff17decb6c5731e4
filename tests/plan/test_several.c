// test_several.c - models that share devices: sets that fit, whatever the order they are named in.

#include "plan/fake.h"
#include "plan/report.h"
#include "plan/several.h"

#include <jansson.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { MODELS = 5, DEVS = 3, DRIVER = 5000 };

struct fixture {
    struct fake_dev fake[DEVS];
    struct dev *dev[DEVS];
    struct weight_place *places;
    struct several_model m[MODELS];
    uint64_t bytes[MODELS]; // on one device, the driver's with them
};

static const struct limits usual = {
    .micro_batch = 16, .outputs = 1, .slots = 1, .ctx = 256, .kv = DTYPE_F16
};

static void room(struct fixture *f, int dev, uint64_t bytes)
{
    f->fake[dev].info.capacity_bytes = f->fake[dev].info.free_bytes = bytes;
}

static int setup(void **state)
{
    static const char *const names[MODELS] = { "a", "b", "c", "d", "e" };
    struct fixture *f = xcalloc(1, sizeof(*f));

    for (int i = 0; i < DEVS; i++) {
        char name[8];
        snprintf(name, sizeof(name), "dev%d", i);
        fake_dev_init(&f->fake[i], name, UINT64_MAX);
        f->fake[i].info.driver_bytes = DRIVER;
        f->dev[i] = &f->fake[i].dev;
    }
    f->places = fake_places(FAKE_WEIGHTS);
    for (int i = 0; i < MODELS; i++) {
        const struct shape s = { .n_blocks = 2 + 2 * i,
                                 .n_embd = 64,
                                 .n_heads = 2,
                                 .n_kv_heads = 1,
                                 .head_dim = 32,
                                 .n_ff = 192,
                                 .n_vocab = 256,
                                 .type = DTYPE_Q8_0 };
        struct assign a;
        struct plan *p;
        f->m[i] = (struct several_model){ names[i], fake_decoder(&s), f->places, usual, place_any };
        assign_even(&a, f->m[i].g, 1);
        assert_true(plan_make(&p, f->m[i].g, f->places, &a, &usual, f->dev, 1, NULL));
        f->bytes[i] = plan_device_bytes(p, 0) + DRIVER;
        plan_free(p);
        free(a.dev);
    }
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;

    for (int i = 0; i < MODELS; i++)
        graph_free((struct graph *)(uintptr_t)f->m[i].g);
    free(f->places);
    free(f);
    return 0;
}

static struct several *find(const struct fixture *f, const struct several_model *m, int n, int devs)
{
    struct several *s;
    struct err e = { 0 };

    assert_true(several_find(&s, m, n, f->dev, devs, &e));
    for (int d = 0; d < devs && s->n_sets > 0; d++) { // what is said to fit together does
        uint64_t sum = 0;
        for (int i = 0; i < n; i++)
            sum += several_bytes(s, i, d);
        assert_true(sum <= f->fake[d].info.free_bytes);
    }
    for (int i = 0; i < n; i++)
        assert_true((s->plan[i] != NULL) == (s->n_sets > 0 && (s->set[0].models >> i & 1)));
    return s;
}

static void each_pays_for_its_own_context_and_not_a_byte_more(void **state)
{
    struct fixture *f = *state;

    room(f, 0, f->bytes[0] + f->bytes[1] + f->bytes[2]);
    struct several *s = find(f, f->m, 3, 1);
    assert_int_equal(s->n_sets, 1);
    assert_int_equal(s->set[0].models, 7);
    for (int i = 0; i < 3; i++)
        assert_int_equal(several_bytes(s, i, 0), f->bytes[i]);
    several_free(s);

    room(f, 0, f->bytes[0] + f->bytes[1] + f->bytes[2] - 1);
    s = find(f, f->m, 3, 1);
    assert_int_equal(s->n_sets, 3); // one of them has to go: any, the smallest is best
    assert_int_equal(s->set[0].models, 6);
    assert_int_equal(s->set[1].models, 5);
    assert_int_equal(s->set[2].models, 3);
    several_free(s);
}

static void the_reserve_is_kept_once(void **state)
{
    struct fixture *f = *state;
    struct several_model m[2] = { f->m[0], f->m[1] };

    m[0].lim.reserve_bytes = m[1].lim.reserve_bytes = 4096;
    room(f, 0, f->bytes[0] + f->bytes[1] + 4096);
    struct several *s = find(f, m, 2, 1);
    assert_int_equal(s->set[0].models, 3);
    several_free(s);
    room(f, 0, f->bytes[0] + f->bytes[1] + 4095);
    s = find(f, m, 2, 1);
    assert_int_equal(s->n_sets, 2);
    several_free(s);
}

static void the_order_of_names_changes_nothing(void **state)
{
    struct fixture *f = *state;
    uint64_t seed = 9;
    int together = 0, apart = 0;

    for (int n = 0; n < 30; n++) {
        int order[MODELS], count = 3 + (int)fake_rand(&seed, 3);
        struct several_model mixed[MODELS];
        for (int d = 0; d < DEVS; d++)
            room(f, d, f->bytes[3] / 4 * (2 + fake_rand(&seed, 5)));
        for (int i = 0; i < count; i++) {
            int at = (int)fake_rand(&seed, (uint32_t)i + 1);
            order[i] = order[at];
            order[at] = i;
        }
        for (int i = 0; i < count; i++)
            mixed[i] = f->m[order[i]];
        struct several *a = find(f, f->m, count, DEVS), *b = find(f, mixed, count, DEVS);
        assert_int_equal(a->n_sets, b->n_sets);
        for (int k = 0; k < a->n_sets; k++) {
            uint32_t same = 0;
            for (int i = 0; i < count; i++)
                same |= (b->set[k].models >> i & 1) << order[i];
            assert_int_equal(same, a->set[k].models);
        }
        for (int i = 0; i < count; i++)
            for (int d = 0; d < DEVS; d++)
                assert_int_equal(several_bytes(b, i, d), several_bytes(a, order[i], d));
        together += a->n_sets > 0 && a->set[0].n == count;
        apart += a->n_sets == 0 || a->set[0].n < count;
        several_free(a);
        several_free(b);
    }
    assert_true(together > 3 && apart > 3);
}

static void what_does_not_fit_alone_says_why(void **state)
{
    struct fixture *f = *state;
    struct buf out;

    room(f, 0, f->bytes[1] + 1);
    struct several *s = find(f, f->m, 3, 1);
    assert_int_equal(s->alone[2].code, ERR_NOFIT);
    assert_int_equal(s->alone[1].code, ERR_NONE);
    assert_int_equal(s->n_sets, 2);
    assert_int_equal(s->set[0].models, 2);
    buf_init(&out, 1 << 20);
    assert_true(several_table(s, f->m, &out));
    assert_non_null(strstr(out.p, "a, b and c do not fit together"));
    assert_non_null(strstr(out.p, "best      b; without a and c"));
    assert_non_null(strstr(out.p, "alone     c: dev0 lacks"));
    several_free(s);

    room(f, 0, 64);
    s = find(f, f->m, 2, 1);
    assert_int_equal(s->n_sets, 0);
    buf_reset(&out);
    assert_true(several_table(s, f->m, &out) && several_json(s, f->m, &out));
    several_free(s);
    buf_done(&out);
}

static void json_sums_to_what_is_free(void **state)
{
    struct fixture *f = *state;
    struct buf out;
    size_t i, k;
    json_t *dev, *m;

    for (int d = 0; d < 2; d++)
        room(f, d, f->bytes[3] + f->bytes[0] + 100);
    struct several *s = find(f, f->m, 4, 2);
    buf_init(&out, 1 << 20);
    assert_true(several_json(s, f->m, &out));
    json_t *o = json_loadb(out.p, out.n, JSON_REJECT_DUPLICATES, NULL);
    assert_non_null(o);
    assert_true(json_is_true(json_object_get(o, "together")));
    json_array_foreach(json_object_get(o, "devices"), i, dev)
    {
        json_int_t sum = json_integer_value(json_object_get(dev, "left_bytes"));
        json_array_foreach(json_object_get(dev, "models"), k, m) sum +=
            json_integer_value(json_object_get(m, "bytes"));
        assert_int_equal(sum, f->fake[i].info.free_bytes);
    }
    json_decref(o);
    buf_done(&out);
    several_free(s);
}

static void too_many_are_refused(void **state)
{
    struct fixture *f = *state;
    struct several_model m[SEVERAL_MOST + 1];
    struct several *s;
    struct err e = { 0 };

    for (int i = 0; i < SEVERAL_MOST + 1; i++)
        m[i] = f->m[0];
    assert_false(several_find(&s, m, SEVERAL_MOST + 1, f->dev, 1, &e));
    assert_null(s);
    assert_int_equal(e.code, ERR_ARG);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_pays_for_its_own_context_and_not_a_byte_more),
        cmocka_unit_test(the_reserve_is_kept_once),
        cmocka_unit_test(the_order_of_names_changes_nothing),
        cmocka_unit_test(what_does_not_fit_alone_says_why),
        cmocka_unit_test(json_sums_to_what_is_free),
        cmocka_unit_test(too_many_are_refused),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
