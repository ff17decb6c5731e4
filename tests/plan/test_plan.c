// test_plan.c - the plan keeps its promises on graphs of all shapes.

#include "plan/fake.h"
#include "plan/plan_int.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { SEEDS = 200, MAX_DEVS = 3 };

static const struct shape decoder = {
    .n_blocks = 4,
    .n_embd = 128,
    .n_heads = 4,
    .n_kv_heads = 2,
    .head_dim = 32,
    .n_ff = 384,
    .n_vocab = 512,
    .window = 96,
    .type = DTYPE_Q8_0,
};
static const struct limits usual = {
    .micro_batch = 64, .outputs = 1, .slots = 1, .ctx = 512, .kv = DTYPE_F16
};

struct fixture {
    struct fake_dev fake[MAX_DEVS];
    struct dev *dev[MAX_DEVS];
    struct weight_place *places;
};

static void setup(struct fixture *f)
{
    static const char *const name[MAX_DEVS] = { "a", "b", "c" };

    for (int i = 0; i < MAX_DEVS; i++) {
        fake_dev_init(&f->fake[i], name[i], UINT64_MAX);
        f->dev[i] = &f->fake[i].dev;
    }
    f->places = fake_places(FAKE_WEIGHTS);
}

static struct plan *make(const struct fixture *f, const struct graph *g, const struct limits *lim,
                         int n_devs)
{
    struct assign a;
    struct plan *p;
    struct err e = { 0 };

    assign_even(&a, g, n_devs);
    if (!plan_make(&p, g, f->places, &a, lim, f->dev, n_devs, &e))
        fail_msg("%s", e.msg);
    free(a.dev);
    return p;
}

static void assert_checked(const struct plan *p)
{
    struct err e = { 0 };

    if (!plan_check(p, &e))
        fail_msg("%s", e.msg);
}

/// Brute force: bytes shared by two values that live at the same step, but for takers-over.
static int count_overlaps(const struct plan *p)
{
    int n = 0;

    for (int i = 0; i < p->n_values; i++)
        for (int j = 0; j < i; j++) {
            const struct value *a = &p->value[i], *b = &p->value[j];
            if (a->slot.mapped || a->slot.dev != b->slot.dev || a->slot.arena != b->slot.arena ||
                a->alias == j)
                continue;
            n += a->first_step <= b->last_step && b->first_step <= a->last_step &&
                 a->slot.offset < b->slot.offset + b->slot.bytes &&
                 b->slot.offset < a->slot.offset + a->slot.bytes;
        }
    return n;
}

static void random_graphs_keep_every_promise(void **state)
{
    struct fixture f;
    int aliases = 0, copies = 0, direct = 0, converts = 0;

    (void)state;
    setup(&f);
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        struct graph *g = fake_random(seed);
        struct limits lim = usual;
        lim.exact = seed % 3 == 0;
        lim.guard_bytes = seed % 2 == 0 ? 64 : 0;
        lim.slots = 1 + (int)(seed % 2);
        struct plan *p = make(&f, g, &lim, 1 + (int)(seed % MAX_DEVS));
        assert_checked(p);
        assert_int_equal(count_overlaps(p), 0);
        for (int i = 0; i < p->n_values; i++) {
            aliases += p->value[i].alias >= 0;
        }
        for (int i = 0; i < p->n_steps; i++) {
            const struct step *s = &p->step[i];
            copies += s->kernel == NULL;
            converts += s->kernel != NULL && strcmp(s->kernel->name, "convert") == 0;
            direct += s->kernel != NULL && s->dst[0] >= 0 && s->kernel->writes_a8 &&
                      p->value[s->dst[0]].format == DTYPE_A8;
        }
        plan_free(p);
        graph_free(g);
    }
    // The seeds must exercise what they are for.
    print_message("aliases %d, copies %d, written as A8 %d, converted %d\n", aliases, copies,
                  direct, converts);
    assert_true(aliases > 50 && copies > 50 && direct > 50 && converts > 50);
    free(f.places);
}

static void packing_of_decoders_is_at_its_bound(void **state)
{
    struct fixture f;
    int over = 0;

    (void)state;
    setup(&f);
    for (int i = 0; i < 32; i++) {
        struct shape s = decoder;
        struct limits lim = usual;
        s.post_norm = i & 1;
        s.type = (i & 2) != 0 ? DTYPE_F32 : DTYPE_Q8_0;
        s.n_ff = (i & 4) != 0 ? 1024 : 96;
        s.softcap = (i & 8) != 0;
        lim.micro_batch = (i & 16) != 0 ? 512 : 3;
        struct graph *g = fake_decoder(&s);
        struct plan *p = make(&f, g, &lim, 1);
        over += p->dev[0].arena_bytes[ARENA_SCRATCH] != p->dev[0].scratch_bound;
        plan_free(p);
        graph_free(g);
    }
    assert_int_equal(over, 0);
    free(f.places);
}

static void equal_inputs_give_equal_plans(void **state)
{
    struct fixture f;

    (void)state;
    setup(&f);
    for (uint64_t seed = 1; seed <= 20; seed++) {
        struct graph *g = fake_random(seed), *h = fake_random(seed);
        struct plan *p = make(&f, g, &usual, 2), *q = make(&f, h, &usual, 2);
        struct buf a, b;
        buf_init(&a, 1 << 24);
        buf_init(&b, 1 << 24);
        assert_true(plan_dump(p, &a) && plan_dump(q, &b));
        assert_string_equal(a.p, b.p);
        assert_true(p->hash == q->hash);
        plan_free(q);
        struct limits other = usual;
        other.micro_batch++;
        q = make(&f, h, &other, 2);
        assert_true(p->hash != q->hash);
        buf_done(&a);
        buf_done(&b);
        plan_free(p);
        plan_free(q);
        graph_free(g);
        graph_free(h);
    }
    free(f.places);
}

static uint64_t sum_of(const struct plan *p, enum arena_kind a)
{
    uint64_t n = 0;

    for (int d = 0; d < p->n_devs; d++)
        n += p->dev[d].arena_bytes[a];
    return n;
}

static void context_changes_kv_and_page_table_alone(void **state)
{
    struct fixture f;
    struct graph *g = fake_decoder(&decoder);

    (void)state;
    setup(&f);
    for (int n = 1; n <= MAX_DEVS; n++) {
        struct limits small = usual, large = usual;
        small.ctx = 4096;
        large.ctx = 65536;
        struct plan *p = make(&f, g, &small, n), *q = make(&f, g, &large, n);
        for (int d = 0; d < n; d++) {
            assert_int_equal(p->dev[d].arena_bytes[ARENA_SCRATCH],
                             q->dev[d].arena_bytes[ARENA_SCRATCH]);
            assert_int_equal(p->dev[d].arena_bytes[ARENA_WEIGHTS],
                             q->dev[d].arena_bytes[ARENA_WEIGHTS]);
            assert_int_equal(p->dev[d].arena_bytes[ARENA_HANDOVER],
                             q->dev[d].arena_bytes[ARENA_HANDOVER]);
            int table = p->input[d * IN_COUNT + IN_PAGE_TABLE];
            uint64_t rows = table >= 0 ? (65536 - 4096) / 64 * 4 : 0;
            assert_int_equal(
                q->dev[d].arena_bytes[ARENA_INPUT] - p->dev[d].arena_bytes[ARENA_INPUT], rows);
        }
        // Two of four blocks keep everything: f16, K and V, 2 heads of 32.
        assert_int_equal(sum_of(q, ARENA_KV) - sum_of(p, ARENA_KV),
                         2 * 2 * 2 * 32 * 2 * (65536 - 4096));
        plan_free(p);
        plan_free(q);
    }
    graph_free(g);
    free(f.places);
}

static int steps_of(const struct plan *p, const char *kernel)
{
    int n = 0;

    for (int i = 0; i < p->n_steps; i++)
        n += strcmp(p->step[i].kernel != NULL ? p->step[i].kernel->name : "copy", kernel) == 0;
    return n;
}

static void norms_write_a8_where_only_products_read_them(void **state)
{
    struct fixture f;
    struct graph *g = fake_decoder(&decoder);

    (void)state;
    setup(&f);
    struct plan *p = make(&f, g, &usual, 1);
    assert_int_equal(steps_of(p, "convert"),
                     0); // norm, attention, GLU and the last norm write it themselves
    for (int i = 0; i < p->n_values; i++)
        for (int j = 0; j < i; j++)
            if (p->value[i].format == DTYPE_A8)
                assert_ptr_not_equal(p->value[i].t, p->value[j].t); // no F32 beside it
    plan_free(p);

    struct limits exact = usual;
    exact.exact = true;
    p = make(&f, g, &exact, 1);
    for (int i = 0; i < p->n_values; i++)
        assert_int_not_equal(p->value[i].format, DTYPE_A8);
    plan_free(p);
    graph_free(g);
    free(f.places);
}

/// x is read as F32 and, by two products, as A8.
static struct graph *read_both_ways(void)
{
    struct gb *b = gb_new(fake_weights());
    struct graph *g;
    struct err e;

    gb_part(b, PART_EMBED, -1);
    struct tensor *x = gb_embed(b, gb_input(b, IN_TOKENS), gb_mat(b, 64, 100, "m0.8.64x100"), 1);
    struct tensor *u = gb_matmul(b, x, gb_mat(b, 64, 64, "m1.8.64x64"), NULL);
    struct tensor *v = gb_matmul(b, x, gb_mat(b, 64, 64, "m2.8.64x64"), NULL);
    x = gb_glu(b, gb_glu(b, u, v, ACT_SILU), x, ACT_SILU);
    x = gb_rows(b, x, gb_input(b, IN_OUT_IDS));
    gb_logits(b, gb_matmul(b, x, gb_mat(b, 64, 100, "m3.8.64x100"), NULL));
    assert_true(graph_seal(&g, b, &e));
    return g;
}

static void a_conversion_is_made_once_for_all_readers(void **state)
{
    struct fixture f;
    struct graph *g = read_both_ways();

    (void)state;
    setup(&f);
    struct plan *p = make(&f, g, &usual, 1);
    assert_checked(p);
    assert_int_equal(steps_of(p, "convert"), 2); // x; the selected rows
    plan_free(p);
    graph_free(g);
    free(f.places);
}

static void products_of_one_source_run_without_barriers(void **state)
{
    struct fixture f;
    struct graph *g = fake_decoder(&decoder);
    int in_a_row = 0, most = 0;

    (void)state;
    setup(&f);
    struct plan *p = make(&f, g, &usual, 1);
    for (int i = 0; i < p->n_steps; i++) {
        bool product = strcmp(p->step[i].kernel->name, "matmul_a8") == 0;
        in_a_row = !product ? 0 : p->step[i].sync ? 1 : in_a_row + 1;
        most = in_a_row > most ? in_a_row : most;
    }
    assert_int_equal(most, 3); // q, k, v
    plan_free(p);
    graph_free(g);
    free(f.places);
}

static void a_sum_takes_over_its_residual_in_place(void **state)
{
    struct fixture f;
    struct graph *g = fake_decoder(&decoder);
    int n = 0;

    (void)state;
    setup(&f);
    struct plan *p = make(&f, g, &usual, 1);
    for (int i = 0; i < p->n_steps; i++) {
        const struct step *s = &p->step[i];
        if (s->node->op != OP_MATMUL || s->src[MATMUL_RES] < 0)
            continue;
        assert_int_equal(p->value[s->dst[0]].alias, s->src[MATMUL_RES]);
        assert_int_equal(p->value[s->dst[0]].slot.offset, p->value[s->src[MATMUL_RES]].slot.offset);
        n++;
    }
    assert_int_equal(n, 2 * decoder.n_blocks);
    plan_free(p);
    graph_free(g);
    free(f.places);
}

static void weights_lie_in_file_order_and_tied_ones_once(void **state)
{
    struct fixture f;
    struct shape s = decoder;

    (void)state;
    s.tied = true;
    setup(&f);
    struct graph *g = fake_decoder(&s);
    struct plan *p = make(&f, g, &usual, 1), *q = make(&f, g, &usual, 2);
    for (int i = 0; i < p->n_values; i++)
        for (int j = 0; j < p->n_values; j++) {
            const struct value *a = &p->value[i], *b = &p->value[j];
            if (a->slot.arena == ARENA_WEIGHTS && b->slot.arena == ARENA_WEIGHTS && i != j) {
                assert_int_not_equal(a->t->source, b->t->source);
                assert_true((a->t->source < b->t->source) == (a->slot.offset < b->slot.offset));
            }
        }
    uint64_t table = dtype_row_bytes(DTYPE_Q8_0, s.n_embd) * (uint64_t)s.n_vocab;
    assert_int_equal(sum_of(q, ARENA_WEIGHTS),
                     sum_of(p, ARENA_WEIGHTS) + table); // apart: a copy each
    plan_free(p);

    uint64_t all = sum_of(q, ARENA_WEIGHTS) - table;
    f.fake[0].info.in_place = true;
    p = make(&f, g, &usual, 1);
    assert_int_equal(sum_of(p, ARENA_WEIGHTS), 0);
    assert_true(p->dev[0].mapped_bytes <= all && p->dev[0].mapped_bytes > all - 64 * FAKE_WEIGHTS);
    assert_checked(p);
    plan_free(p);
    plan_free(q);
    graph_free(g);
    free(f.places);
}

static void shared_tables_are_made_where_they_are_read(void **state)
{
    struct fixture f;
    struct graph *g = fake_decoder(&decoder);

    (void)state;
    setup(&f);
    for (int n = 1; n <= MAX_DEVS; n++) {
        struct plan *p = make(&f, g, &usual, n);
        assert_int_equal(steps_of(p, "table"), n);
        assert_int_equal(steps_of(p, "copy"), n - 1);
        plan_free(p);
    }
    graph_free(g);
    free(f.places);
}

static void one_more_node_changes_the_plan(void **state)
{
    struct fixture f;
    struct shape s = decoder;
    struct graph *g = fake_decoder(&s);

    (void)state;
    setup(&f);
    s.softcap = true;
    struct graph *h = fake_decoder(&s);
    struct plan *p = make(&f, g, &usual, 1), *q = make(&f, h, &usual, 1);
    assert_true(p->hash != q->hash);
    assert_int_equal(q->n_steps, p->n_steps + 1);
    plan_free(p);
    plan_free(q);
    graph_free(g);
    graph_free(h);
    free(f.places);
}

static void a_missing_kernel_is_named_with_its_device(void **state)
{
    struct fixture f;
    struct graph *g = fake_decoder(&decoder);
    struct assign a;
    struct plan *p;
    struct err e = { 0 };

    (void)state;
    setup(&f);
    f.fake[1].no_rope = true;
    assign_even(&a, g, 2);
    assert_false(plan_make(&p, g, f.places, &a, &usual, f.dev, 2, &e));
    assert_int_equal(e.code, ERR_UNSUPPORTED);
    assert_string_equal(e.msg, "b has no kernel for rope");
    assert_null(p);
    free(a.dev);
    graph_free(g);
    free(f.places);
}

static void senseless_limits_are_refused(void **state)
{
    struct fixture f;
    struct graph *g = fake_decoder(&decoder);
    struct limits bad[6];
    struct assign a;
    struct plan *p;

    (void)state;
    setup(&f);
    for (int i = 0; i < 6; i++)
        bad[i] = usual;
    bad[0].micro_batch = 0;
    bad[1].slots = 0;
    bad[2].ctx = 0;
    bad[3].outputs = bad[3].micro_batch + 1;
    bad[4].kv = DTYPE_Q4_0;
    bad[5].ctx = INT64_MAX / 2;
    assign_even(&a, g, 1);
    for (int i = 0; i < 6; i++) {
        struct err e = { 0 };
        assert_false(plan_make(&p, g, f.places, &a, &bad[i], f.dev, 1, &e));
        assert_int_equal(e.code, ERR_ARG);
    }
    free(a.dev);
    graph_free(g);
    free(f.places);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_graphs_keep_every_promise),
        cmocka_unit_test(packing_of_decoders_is_at_its_bound),
        cmocka_unit_test(equal_inputs_give_equal_plans),
        cmocka_unit_test(context_changes_kv_and_page_table_alone),
        cmocka_unit_test(norms_write_a8_where_only_products_read_them),
        cmocka_unit_test(a_conversion_is_made_once_for_all_readers),
        cmocka_unit_test(products_of_one_source_run_without_barriers),
        cmocka_unit_test(a_sum_takes_over_its_residual_in_place),
        cmocka_unit_test(weights_lie_in_file_order_and_tied_ones_once),
        cmocka_unit_test(shared_tables_are_made_where_they_are_read),
        cmocka_unit_test(one_more_node_changes_the_plan),
        cmocka_unit_test(a_missing_kernel_is_named_with_its_device),
        cmocka_unit_test(senseless_limits_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
