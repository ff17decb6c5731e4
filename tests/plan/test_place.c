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

// --- beside the host -----------------------------------------------------------------------------

/// The last of the devices works in place, without limit.
static void make_host(struct fixture *f)
{
    f->fake[DEVS - 1].info.in_place = true;
    room(f, DEVS - 1, UINT64_MAX);
}

static void make_device(struct fixture *f)
{
    f->fake[DEVS - 1].info.in_place = false;
}

static struct plan *find_with(const struct fixture *f, const struct limits *lim,
                              const struct place_opts *o, struct placement *why)
{
    struct plan *p;
    struct err e = { 0 };

    if (!place_find(&p, why, f->g, f->places, lim, o, f->dev, DEVS, &e))
        return NULL;
    assert_true(plan_check(p, &e) && plan_fits(p, &e));
    return p;
}

static int part_of(const struct fixture *f, enum part_kind kind, int il)
{
    for (int i = 0; i < graph_n_parts(f->g); i++)
        if (graph_part(f->g, i)->kind == kind && (il < 0 || graph_part(f->g, i)->il == il))
            return i;
    fail_msg("no such part");
    return -1;
}

static void only_the_embedding_is_with_a_host_for_rows(void **state)
{
    struct fixture *f = *state;
    struct place_opts o = place_any;
    struct placement why;

    make_host(f);
    o.host_rows_only = true;
    for (int i = 0; i < DEVS - 1; i++)
        room(f, i, f->one);
    struct plan *p = find_with(f, &usual, &o, &why);
    assert_non_null(p);
    for (int i = 1; i < p->n_parts; i++)
        assert_int_equal(p->part_dev[i], graph_part(f->g, i)->kind == PART_EMBED ? DEVS - 1 : 0);
    assert_true(why.devices == 1 && why.minimal);
    plan_free(p);

    for (int i = 0; i < DEVS - 1; i++) // blocks may not go there
        room(f, i, f->one / 8);
    assert_null(find_with(f, &usual, &o, &why));
    make_device(f);
}

static void what_is_too_large_goes_to_the_host_and_no_more(void **state)
{
    struct fixture *f = *state;
    struct placement why;

    make_host(f);
    for (int i = 0; i < DEVS - 1; i++)
        room(f, i, i == 1 ? f->one / 2 : 0);
    struct plan *p = find_with(f, &usual, NULL, &why);
    assert_non_null(p);
    int blocks = 0;
    for (int i = 1; i < p->n_parts; i++)
        blocks += graph_part(f->g, i)->kind == PART_BLOCK && p->part_dev[i] == 1;
    assert_true(blocks >= 4 && blocks < model.n_blocks);
    // One block more does not fit.
    uint64_t block = p->dev[1].total_bytes / (uint64_t)(blocks + 1);
    assert_true(f->one / 2 - p->dev[1].total_bytes < block * 2);
    plan_free(p);
    make_device(f);
}

static void options_of_ollama_are_constraints(void **state)
{
    static const double split[DEVS] = { 1, 3, 0, 0 };
    struct fixture *f = *state;
    struct place_opts o = place_any;
    struct placement why;

    make_host(f);
    for (int i = 0; i < DEVS - 1; i++)
        room(f, i, f->one * 2);
    o.num_gpu = 5;
    struct plan *p = find_with(f, &usual, &o, &why);
    assert_non_null(p);
    for (int il = 0; il < model.n_blocks; il++)
        assert_int_equal(p->part_dev[part_of(f, PART_BLOCK, il)] == DEVS - 1, il < 7);
    plan_free(p);

    o = place_any;
    o.main_gpu = 2;
    p = find_with(f, &usual, &o, &why);
    assert_true(p != NULL && p->part_dev[part_of(f, PART_BLOCK, 0)] == 2);
    assert_true(p->part_dev[part_of(f, PART_HEAD, -1)] == 2);
    plan_free(p);

    o = place_any;
    o.tensor_split = split;
    p = find_with(f, &usual, &o, &why);
    assert_non_null(p);
    int n[DEVS] = { 0 };
    for (int il = 0; il < model.n_blocks; il++)
        n[p->part_dev[part_of(f, PART_BLOCK, il)]]++;
    assert_true(n[0] >= 2 && n[0] <= 4 && n[0] + n[1] == model.n_blocks);
    plan_free(p);
    make_device(f);
}

// --- limits that are open ------------------------------------------------------------------------

static void the_micro_batch_is_the_largest_that_needs_no_more_devices(void **state)
{
    struct fixture *f = *state;
    struct place_opts o = place_any;
    struct limits lim = usual;
    struct placement why;
    struct err e = { 0 };

    o.open_micro_batch = true;
    lim.micro_batch = 512;
    for (int i = 0; i < DEVS; i++) // what 64 tokens take, to the byte
        room(f, i, f->one);
    struct plan *p = find_with(f, &lim, &o, &why);
    assert_true(p != NULL && p->lim.micro_batch == 64 && n_used(p) == 1);
    assert_non_null(strstr(why.micro_batch_why, "128 would need more"));
    plan_free(p);

    o.open_micro_batch = false; // asked for, 512 takes what it needs
    p = find_with(f, &lim, &o, &why);
    assert_true(p != NULL && p->lim.micro_batch == 512 && n_used(p) > 1);
    plan_free(p);
    (void)e;
}

static void q8_0_is_taken_where_it_may_and_saves_a_device(void **state)
{
    struct fixture *f = *state;
    struct place_opts o = place_any;
    struct placement why;

    o.open_kv = true;
    for (int i = 0; i < DEVS; i++)
        room(f, i, f->one);
    struct plan *p = find_with(f, &usual, &o, &why);
    assert_true(p != NULL && p->lim.kv == DTYPE_F16); // it would save nothing
    plan_free(p);
    for (int i = 0; i < DEVS; i++)
        room(f, i, f->one - 1);
    p = find_with(f, &usual, &o, &why);
    assert_true(p != NULL && p->lim.kv == DTYPE_Q8_0 && n_used(p) == 1);
    plan_free(p);
}

static void a_goal_of_context_or_slots_is_the_most_that_fits(void **state)
{
    struct fixture *f = *state;
    struct place_opts o = place_any;
    struct placement why;

    for (int i = 0; i < DEVS; i++)
        room(f, i, f->one / 2);
    o.goal = GOAL_CONTEXT;
    struct plan *p = find_with(f, &usual, &o, &why);
    assert_non_null(p);
    struct limits more = usual;
    more.ctx = p->lim.ctx + KV_PAGE_TOKENS;
    o.goal = GOAL_FEWEST;
    assert_true(more.ctx > usual.ctx + KV_PAGE_TOKENS);
    assert_null(find_with(f, &more, &o, &why));
    plan_free(p);

    o.goal = GOAL_SLOTS;
    p = find_with(f, &usual, &o, &why);
    assert_true(p != NULL && p->lim.slots > 1);
    more = usual;
    more.slots = p->lim.slots + 1;
    more.outputs = more.slots < more.micro_batch ? more.slots : more.micro_batch;
    o.goal = GOAL_FEWEST;
    assert_null(find_with(f, &more, &o, &why));
    plan_free(p);
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
        cmocka_unit_test(only_the_embedding_is_with_a_host_for_rows),
        cmocka_unit_test(what_is_too_large_goes_to_the_host_and_no_more),
        cmocka_unit_test(options_of_ollama_are_constraints),
        cmocka_unit_test(the_micro_batch_is_the_largest_that_needs_no_more_devices),
        cmocka_unit_test(q8_0_is_taken_where_it_may_and_saves_a_device),
        cmocka_unit_test(a_goal_of_context_or_slots_is_the_most_that_fits),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
