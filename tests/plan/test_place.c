// test_place.c - the fewest devices, evenly filled, and what is said when nothing fits.

#include "plan/fake.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { DEVS = 4 };

static const struct shape model = {
    .n_blocks = 12,
    .n_embd = 256,
    .n_heads = 4,
    .n_kv_heads = 2,
    .head_dim = 64,
    .n_ff = 768,
    .n_vocab = 1000,
    .type = DTYPE_Q8_0,
};
static const struct limits usual = {
    .micro_batch = 64, .outputs = 1, .slots = 1, .ctx = 1024, .kv = DTYPE_F16
};

struct fixture {
    struct fake_dev fake[DEVS];
    struct dev *dev[DEVS];
    struct weight_place *places;
    struct graph *g;
    uint64_t one; // bytes on one device
};

static void room(struct fixture *f, int dev, uint64_t bytes)
{
    f->fake[dev].info.capacity_bytes = f->fake[dev].info.free_bytes = bytes;
}

static int setup(void **state)
{
    struct fixture *f = xcalloc(1, sizeof(*f));
    struct assign a;
    struct plan *p;

    for (int i = 0; i < DEVS; i++) {
        char name[8];
        snprintf(name, sizeof(name), "dev%d", i);
        fake_dev_init(&f->fake[i], name, UINT64_MAX);
        f->dev[i] = &f->fake[i].dev;
    }
    f->places = fake_places(FAKE_WEIGHTS);
    f->g = fake_decoder(&model);
    assign_even(&a, f->g, 1);
    assert_true(plan_make(&p, f->g, f->places, &a, &usual, f->dev, 1, NULL));
    f->one = plan_device_bytes(p, 0);
    plan_free(p);
    free(a.dev);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;

    graph_free(f->g);
    free(f->places);
    free(f);
    return 0;
}

static struct plan *find(const struct fixture *f, const struct limits *lim, struct err *e)
{
    struct plan *p;

    if (!place_find(&p, NULL, f->g, f->places, lim, NULL, f->dev, DEVS, e)) {
        assert_null(p);
        return NULL;
    }
    assert_true(plan_check(p, e) && plan_fits(p, e));
    return p;
}

static int n_used(const struct plan *p)
{
    int n = 0;

    for (int d = 0; d < p->n_devs; d++)
        n += p->dev[d].used;
    return n;
}

static void exactly_enough_is_enough(void **state)
{
    struct fixture *f = *state;
    struct err e = { 0 };

    for (int i = 0; i < DEVS; i++)
        room(f, i, f->one);
    struct plan *p = find(f, &usual, &e);
    assert_int_equal(n_used(p), 1);
    assert_true(p->dev[0].used);
    plan_free(p);

    for (int i = 0; i < DEVS; i++)
        room(f, i, f->one - 1);
    p = find(f, &usual, &e);
    assert_int_equal(n_used(p), 2);
    plan_free(p);

    struct limits reserve = usual;
    reserve.reserve_bytes = 1;
    for (int i = 0; i < DEVS; i++)
        room(f, i, f->one);
    p = find(f, &reserve, &e);
    assert_int_equal(n_used(p), 2);
    plan_free(p);
}

static void the_device_that_holds_it_is_found(void **state)
{
    struct fixture *f = *state;
    struct err e = { 0 };

    for (int i = 0; i < DEVS; i++)
        room(f, i, i == 2 ? f->one : f->one / 2);
    struct plan *p = find(f, &usual, &e);
    assert_true(n_used(p) == 1 && p->dev[2].used);
    plan_free(p);
}

static void equal_devices_are_filled_evenly_and_in_order(void **state)
{
    struct fixture *f = *state;
    struct err e = { 0 };

    for (int i = 0; i < DEVS; i++)
        room(f, i, f->one / 5 * 4);
    struct plan *p = find(f, &usual, &e);
    assert_int_equal(n_used(p), 2);
    uint64_t a = p->dev[0].total_bytes, b = p->dev[1].total_bytes;
    assert_true(a < b + b / 4 && b < a + a / 4);
    for (int i = 2; i < p->n_parts; i++)
        assert_true(p->part_dev[i] >= p->part_dev[i - 1]);
    plan_free(p);
}

static void as_few_as_brute_force_finds(void **state)
{
    struct fixture *f = *state;
    int counts[DEVS + 1] = { 0 };

    for (int part = 2; part <= 7; part++) {
        struct err e = { 0 };
        int few = DEVS + 1;
        for (int i = 0; i < DEVS; i++)
            room(f, i, f->one / 6 * (uint64_t)(part - 1) + f->one / 12);
        struct plan *p = find(f, &usual, &e);
        // Every split over the first k of these equal devices, tried one by one.
        int n = graph_n_parts(f->g);
        struct assign a = { n, xcalloc((size_t)n, sizeof(int)) };
        for (int c1 = 1; c1 <= n; c1++)
            for (int c2 = c1; c2 <= n; c2++)
                for (int c3 = c2; c3 <= n; c3++) {
                    int k = 1 + (c1 < n) + (c2 < n) + (c3 < n);
                    struct plan *q;
                    if (k >= few)
                        continue;
                    for (int i = 1; i < n; i++)
                        a.dev[i] = (i >= c1) + (i >= c2) + (i >= c3);
                    assert_true(plan_make(&q, f->g, f->places, &a, &usual, f->dev, DEVS, &e));
                    if (plan_fits(q, NULL))
                        few = n_used(q);
                    plan_free(q);
                }
        free(a.dev);
        assert_int_equal(p != NULL ? n_used(p) : DEVS + 1, few);
        counts[few <= DEVS ? few : 0]++;
        plan_free(p);
    }
    assert_true(counts[1] > 0 && counts[2] > 0 && counts[3] > 0);
}

static void no_fit_says_who_lacks_how_much_and_what_helps(void **state)
{
    struct fixture *f = *state;
    struct limits large = usual;
    struct err e = { 0 };

    large.ctx = 65536;
    for (int i = 0; i < DEVS; i++)
        room(f, i, f->one / 3);
    assert_null(find(f, &large, &e));
    assert_int_equal(e.code, ERR_NOFIT);
    assert_non_null(strstr(e.msg, "lacks"));
    const char *ctx = strstr(e.msg, "--ctx ");
    assert_non_null(ctx);

    struct limits helped = large; // what it suggests fits, and a page more does not
    helped.ctx = atoll(ctx + strlen("--ctx "));
    struct plan *p = find(f, &helped, &e);
    assert_non_null(p);
    plan_free(p);
    helped.ctx += KV_PAGE_TOKENS;
    assert_null(find(f, &helped, &e));
}

static void a_plan_that_does_not_fit_names_the_exact_shortfall(void **state)
{
    struct fixture *f = *state;
    struct assign a;
    struct plan *p;
    struct err e = { 0 };

    for (int i = 0; i < DEVS; i++)
        room(f, i, f->one - 4711);
    assign_even(&a, f->g, 1);
    assert_true(plan_make(&p, f->g, f->places, &a, &usual, f->dev, 1, &e));
    assert_false(plan_fits(p, &e));
    assert_int_equal(e.code, ERR_NOFIT);
    assert_non_null(strstr(e.msg, "dev0 lacks"));
    assert_non_null(strstr(e.msg, "(4711 bytes)"));
    assert_non_null(strstr(e.msg, "--micro-batch 32"));
    assert_non_null(strstr(e.msg, "--kv q8_0"));
    plan_free(p);
    free(a.dev);
}

static void nothing_helps_where_weights_alone_are_too_much(void **state)
{
    struct fixture *f = *state;
    struct err e = { 0 };

    for (int i = 0; i < DEVS; i++)
        room(f, i, 4096);
    assert_null(find(f, &usual, &e));
    assert_int_equal(e.code, ERR_NOFIT);
    assert_non_null(strstr(e.msg, "smaller model"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(exactly_enough_is_enough),
        cmocka_unit_test(the_device_that_holds_it_is_found),
        cmocka_unit_test(equal_devices_are_filled_evenly_and_in_order),
        cmocka_unit_test(as_few_as_brute_force_finds),
        cmocka_unit_test(no_fit_says_who_lacks_how_much_and_what_helps),
        cmocka_unit_test(a_plan_that_does_not_fit_names_the_exact_shortfall),
        cmocka_unit_test(nothing_helps_where_weights_alone_are_too_much),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
