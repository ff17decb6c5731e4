// test_advise.c - what is offered is true: it fits when it is taken, and the largest is the
// largest.

#include "plan/fake.h"
#include "plan/report.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { DEVS = 4, OFFERS = 16 };

static const struct shape model = { .n_blocks = 12,
                                    .n_embd = 256,
                                    .n_heads = 4,
                                    .n_kv_heads = 2,
                                    .head_dim = 64,
                                    .n_ff = 768,
                                    .n_vocab = 1000,
                                    .window = 200,
                                    .type = DTYPE_Q8_0 };
static const struct limits usual = {
    .micro_batch = 64, .outputs = 2, .slots = 2, .ctx = 4096, .kv = DTYPE_F16
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

static struct plan *on_one(const struct fixture *f, const struct limits *lim)
{
    struct assign a;
    struct plan *p;

    assign_even(&a, f->g, 1);
    assert_true(plan_make(&p, f->g, f->places, &a, lim, f->dev, 1, NULL));
    free(a.dev);
    return p;
}

static int setup(void **state)
{
    struct fixture *f = xcalloc(1, sizeof(*f));

    for (int i = 0; i < DEVS; i++) {
        char name[8];
        snprintf(name, sizeof(name), "dev%d", i);
        fake_dev_init(&f->fake[i], name, UINT64_MAX);
        f->fake[i].info.driver_bytes = 1000;
        f->dev[i] = &f->fake[i].dev;
    }
    f->places = fake_places(FAKE_WEIGHTS);
    f->g = fake_decoder(&model);
    struct plan *p = on_one(f, &usual);
    f->one = plan_device_bytes(p, 0) + 1000;
    plan_free(p);
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

static struct question ask(const struct fixture *f, const struct limits *lim, int n_devs)
{
    struct question q = { f->g, f->places, *lim, place_any, f->dev, n_devs };

    q.o.ctx_train = 65536;
    return q;
}

static struct plan *find(const struct question *q)
{
    struct plan *p;

    if (!place_find(&p, NULL, q->g, q->w, &q->lim, &q->o, q->devs, q->n_devs, NULL))
        return NULL;
    assert_true(plan_check(p, NULL) && plan_fits(p, NULL));
    return p;
}

static bool found(const struct question *q)
{
    struct plan *p = find(q);

    plan_free(p);
    return p != NULL;
}

/// As the command line would take what is offered.
static struct question taken(const struct question *q, const struct suggestion *s)
{
    struct question t = *q;
    const char *ctx = strstr(s->flag, "--ctx "), *slots = strstr(s->flag, "--slots "),
               *batch = strstr(s->flag, "--micro-batch ");

    if (slots != NULL)
        t.lim.outputs = t.lim.slots = atoi(slots + 8);
    if (ctx != NULL)
        t.lim.ctx = atoll(ctx + 6);
    if (batch != NULL) {
        t.lim.micro_batch = atoi(batch + 14);
        t.o.open_micro_batch = false;
    }
    if (t.lim.micro_batch > t.lim.ctx)
        t.lim.micro_batch = (int)t.lim.ctx;
    if (t.lim.outputs > t.lim.micro_batch)
        t.lim.outputs = t.lim.micro_batch;
    if (strstr(s->flag, "--kv q8_0") != NULL)
        t.lim.kv = DTYPE_Q8_0;
    if (strstr(s->flag, "--kv f16") != NULL)
        t.lim.kv = DTYPE_F16;
    if (strstr(s->flag, "--goal speed") != NULL)
        t.o.goal = GOAL_SPEED;
    return t;
}

static const struct suggestion *offer_of(const struct suggestion *s, int n, const char *change)
{
    for (int i = 0; i < n; i++)
        if (strcmp(s[i].change, change) == 0)
            return &s[i];
    return NULL;
}

// --- the largest context -------------------------------------------------------------------------

static bool fits_with(const struct fixture *f, const struct limits *lim, int64_t ctx)
{
    struct limits l = *lim;

    l.ctx = ctx;
    struct plan *p = on_one(f, &l);
    bool ok = plan_fits(p, NULL);
    plan_free(p);
    return ok;
}

static void one_page_more_than_the_largest_context_does_not_fit(void **state)
{
    struct fixture *f = *state;
    uint64_t seed = 7;
    int grown = 0, none = 0;

    for (int n = 0; n < 60; n++) {
        struct limits lim = usual;
        lim.slots = 1 + (int)fake_rand(&seed, 3);
        lim.kv = n % 3 == 0 ? DTYPE_Q8_0 : DTYPE_F16;
        lim.reserve_bytes = n % 4 == 0 ? 54321 : 0;
        f->fake[0].info.granule_bytes = n % 2 == 0 ? 256 : 2 << 20;
        room(f, 0, f->one / 8 * (1 + fake_rand(&seed, 24)) + fake_rand(&seed, 100000));
        struct plan *p = on_one(f, &lim);
        int64_t most = advise_max_context(p, 0);
        assert_int_equal(most % KV_PAGE_TOKENS, 0);
        assert_true(most == 0 || fits_with(f, &lim, most));
        assert_false(fits_with(f, &lim, most + KV_PAGE_TOKENS));
        assert_true(advise_max_context(p, 640) == (most < 640 ? most : 640));
        grown += most > p->max.n_ctx;
        none += most == 0;
        plan_free(p);
    }
    assert_true(grown > 5 && none > 5);
    f->fake[0].info.granule_bytes = 256;
    room(f, 0, UINT64_MAX);
}

static void one_page_more_does_not_fit_anywhere(void **state)
{
    struct fixture *f = *state;
    uint64_t seed = 11;
    int several = 0;

    for (int n = 0; n < 24; n++) {
        struct question q = ask(f, &usual, 2 + (int)fake_rand(&seed, 3));
        q.o.open_micro_batch = n % 2 == 1;
        for (int i = 0; i < DEVS; i++)
            room(f, i, f->one / 8 * (2 + fake_rand(&seed, 7)) + fake_rand(&seed, 100000));
        int64_t most = advise_max_context_anywhere(&q, 0);
        q.lim.ctx = most + KV_PAGE_TOKENS;
        assert_false(found(&q));
        q.lim.ctx = most;
        struct plan *p = most > 0 ? find(&q) : NULL;
        assert_true((p != NULL) == (most > 0));
        several += p != NULL && p->part_dev[1] != p->part_dev[p->n_parts - 1];
        plan_free(p);
    }
    assert_true(several > 5);
}

// --- no fit --------------------------------------------------------------------------------------

static void whatever_is_offered_fits_when_taken(void **state)
{
    struct fixture *f = *state;
    uint64_t seed = 3;
    int n_offers = 0, n_cases = 0;

    for (int n = 0; n < 40; n++) {
        struct suggestion s[OFFERS];
        struct question q = ask(f, &usual, 1 + (int)fake_rand(&seed, 3));
        q.lim.kv = n % 5 == 0 ? DTYPE_F32 : DTYPE_F16;
        q.o.open_micro_batch = n % 2 == 0;
        for (int i = 0; i < DEVS; i++)
            room(f, i, f->one / 16 * (1 + fake_rand(&seed, 7)) + fake_rand(&seed, 50000));
        if (found(&q))
            continue;
        n_cases++;
        int count = advise(s, OFFERS, &q, NULL);
        for (int i = 0; i < count; i++) {
            struct question t = taken(&q, &s[i]);
            assert_true(s[i].effect[0] != '\0' && s[i].value[0] != '\0');
            if (s[i].flag[0] == '\0')
                continue;
            n_offers++;
            assert_true(found(&t));
            if (strcmp(s[i].change, "context") == 0) {
                t.lim.ctx += KV_PAGE_TOKENS;
                t.lim.micro_batch = q.lim.micro_batch;
                assert_false(found(&t));
            }
        }
    }
    assert_true(n_cases > 10 && n_offers > 20);
}

static void memory_to_free_is_exact_to_the_mib(void **state)
{
    struct fixture *f = *state;
    struct suggestion s[OFFERS];
    struct question q = ask(f, &usual, 1);
    unsigned mib;

    room(f, 0, 64 << 20);
    f->fake[0].info.free_bytes = f->one - (5 << 20) - 77;
    int n = advise(s, OFFERS, &q, NULL);
    const struct suggestion *o = offer_of(s, n, "free");
    assert_non_null(o);
    assert_int_equal(sscanf(o->value, "%u", &mib), 1);
    assert_non_null(strstr(o->value, "MiB on dev0"));
    assert_int_equal(mib, 6);
    f->fake[0].info.free_bytes += 6 << 20;
    assert_true(found(&q));
    f->fake[0].info.free_bytes -= 1 << 20;
    assert_false(found(&q));
    room(f, 0, UINT64_MAX);
}

static void another_device_is_offered_with_how_many(void **state)
{
    struct fixture *f = *state;
    struct suggestion s[OFFERS];
    struct question q = ask(f, &usual, 1);

    q.lim.ctx = 64; // weights alone are too much: limits do not help
    q.lim.kv = DTYPE_Q8_0;
    for (int i = 0; i < DEVS; i++)
        room(f, i, f->one / 5);
    int n = advise(s, OFFERS, &q, NULL);
    const struct suggestion *o = offer_of(s, n, "device");
    assert_non_null(o);
    int more = atoi(o->value);
    assert_true(more >= 1 && more < DEVS);
    q.n_devs = 1 + more;
    assert_true(found(&q));
    q.n_devs = more;
    assert_false(found(&q));
}

static void another_quantization_is_said_to_be_an_estimate(void **state)
{
    struct fixture *f = *state;
    struct suggestion s[OFFERS];
    struct limits small = usual;

    small.ctx = 64;
    small.kv = DTYPE_Q8_0;
    struct plan *p = on_one(f, &small);
    uint64_t weights = p->dev[0].arena_bytes[ARENA_WEIGHTS];
    room(f, 0, plan_device_bytes(p, 0) + 1000 - weights * 4 / 10); // Q8_0 -> 60 %: Q4_K_M
    plan_free(p);
    struct question q = ask(f, &small, 1);
    int n = advise(s, OFFERS, &q, NULL);
    const struct suggestion *o = offer_of(s, n, "quantization");
    assert_non_null(o);
    assert_string_equal(o->value, "Q4_K_M");
    assert_non_null(strstr(o->effect, "estimate"));
    assert_string_equal(o->flag, "");
    room(f, 0, UINT64_MAX);
}

static void the_least_painful_comes_first(void **state)
{
    struct fixture *f = *state;
    struct suggestion s[OFFERS];
    struct question q = ask(f, &usual, 1);

    room(f, 0, f->one - 4096); // anything helps
    int n = advise(s, OFFERS, &q, NULL);
    assert_true(n >= 4);
    assert_string_equal(s[0].change, "micro_batch");
    assert_string_equal(s[0].flag, "--micro-batch 32");
    assert_non_null(offer_of(s, n, "kv"));
    assert_non_null(offer_of(s, n, "slots"));
    assert_non_null(offer_of(s, n, "context"));
    assert_int_equal(advise(s, 2, &q, NULL), 2);
    room(f, 0, UINT64_MAX);
}

static void a_reserve_that_is_too_large_is_said_with_what_fits(void **state)
{
    struct fixture *f = *state;
    struct suggestion s[OFFERS];
    struct question q = ask(f, &usual, 1);

    room(f, 0, f->one + (7 << 20) + 5);
    q.lim.reserve_bytes = 20 << 20;
    const struct suggestion *o = offer_of(s, advise(s, OFFERS, &q, NULL), "reserve");
    assert_non_null(o);
    assert_string_equal(o->flag, "--reserve 7");
    q.lim.reserve_bytes = 7 << 20;
    assert_true(found(&q));
    q.lim.reserve_bytes = 8 << 20;
    assert_false(found(&q));
    room(f, 0, UINT64_MAX);
}

static void as_many_slots_as_fit_are_offered(void **state)
{
    struct fixture *f = *state;
    struct suggestion s[OFFERS];
    struct question q = ask(f, &usual, 1);

    q.lim.slots = q.lim.outputs = 60;
    room(f, 0, f->one * 4);
    const struct suggestion *o = offer_of(s, advise(s, OFFERS, &q, NULL), "slots");
    assert_non_null(o);
    int n = atoi(o->value);
    assert_true(n > 2 && n < 60);
    q.lim.slots = q.lim.outputs = n;
    assert_true(found(&q));
    q.lim.slots = q.lim.outputs = n + 1;
    assert_false(found(&q));
    room(f, 0, UINT64_MAX);
}

static void shares_that_were_asked_for_are_kept_by_neighbours(void **state)
{
    struct fixture *f = *state;
    const double split[DEVS] = { 3, 1 };
    struct suggestion s[OFFERS];
    struct question q = ask(f, &usual, 2);

    q.o.tensor_split = split;
    for (int i = 0; i < DEVS; i++)
        room(f, i, 4 * f->one);
    struct plan *p = find(&q);
    assert_non_null(p);
    assert_true(p->dev[0].used && p->dev[1].used);
    for (int i = 0, n = advise(s, OFFERS, &q, p); i < n; i++)
        assert_null(strstr(s[i].effect, "instead of"));
    plan_free(p);
}

// --- neighbours ----------------------------------------------------------------------------------

static void neighbours_of_a_plan_that_fits_are_plans_too(void **state)
{
    struct fixture *f = *state;
    uint64_t seed = 5;
    int fewer = 0, longer = 0;

    for (int n = 0; n < 30; n++) {
        struct suggestion s[OFFERS];
        struct question q = ask(f, &usual, 3);
        q.o.open_micro_batch = true;
        for (int i = 0; i < DEVS; i++)
            room(f, i, f->one / 16 * (7 + fake_rand(&seed, 12)) + fake_rand(&seed, 50000));
        struct plan *p = find(&q);
        if (p == NULL)
            continue;
        int count = advise(s, OFFERS, &q, p);
        for (int i = 0; i < count; i++) {
            struct question t = taken(&q, &s[i]);
            struct plan *other = find(&t);
            assert_true(s[i].flag[0] != '\0');
            assert_non_null(other);
            int used = 0, was = 0, said = 0, said_was = 0;
            for (int d = 0; d < 3; d++) {
                used += other->dev[d].used;
                was += p->dev[d].used;
            }
            if (sscanf(s[i].effect, "%d device%*[s] instead of %d", &said, &said_was) == 2 ||
                sscanf(s[i].effect, "%d device instead of %d", &said, &said_was) == 2) {
                assert_int_equal(said, used);
                assert_int_equal(said_was, was);
                fewer += said < said_was;
                longer += said > said_was;
            } else {
                assert_int_equal(used, was);
            }
            plan_free(other);
        }
        plan_free(p);
    }
    assert_true(fewer > 3 && longer > 3);
}

static void the_matrix_has_a_row_for_each_number_of_devices(void **state)
{
    struct fixture *f = *state;
    struct question q = ask(f, &usual, 3);
    struct buf out;
    int rows = 0;

    for (int i = 0; i < DEVS; i++)
        room(f, i, f->one / 8 * 5);
    buf_init(&out, 1 << 20);
    assert_true(report_max_ctx(&q, false, &out));
    for (char *line = strtok(out.p, "\n"); line != NULL; line = strtok(NULL, "\n")) {
        assert_true(strlen(line) <= 100);
        rows += *line >= '1' && *line <= '3';
    }
    assert_int_equal(rows, 3);
    buf_done(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_page_more_than_the_largest_context_does_not_fit),
        cmocka_unit_test(one_page_more_does_not_fit_anywhere),
        cmocka_unit_test(whatever_is_offered_fits_when_taken),
        cmocka_unit_test(memory_to_free_is_exact_to_the_mib),
        cmocka_unit_test(another_device_is_offered_with_how_many),
        cmocka_unit_test(another_quantization_is_said_to_be_an_estimate),
        cmocka_unit_test(the_least_painful_comes_first),
        cmocka_unit_test(a_reserve_that_is_too_large_is_said_with_what_fits),
        cmocka_unit_test(as_many_slots_as_fit_are_offered),
        cmocka_unit_test(shares_that_were_asked_for_are_kept_by_neighbours),
        cmocka_unit_test(neighbours_of_a_plan_that_fits_are_plans_too),
        cmocka_unit_test(the_matrix_has_a_row_for_each_number_of_devices),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
