// test_check.c - the independent check finds what is broken on purpose.

#include "plan/fake.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/// A plan whose parts may be changed.
struct broken {
    struct plan p;
    struct value *value;
    struct step *step;
    struct plan_dev *dev;
};

struct fixture {
    struct fake_dev fake[2];
    struct dev *dev[2];
    struct weight_place *places;
    struct graph *g;
    struct plan *p;
};

static int setup(void **state)
{
    const struct shape s = { .n_blocks = 2,
                             .n_embd = 64,
                             .n_heads = 2,
                             .n_kv_heads = 1,
                             .head_dim = 32,
                             .n_ff = 192,
                             .n_vocab = 256,
                             .window = 64,
                             .type = DTYPE_Q8_0,
                             .post_norm = true };
    const struct limits lim = {
        .micro_batch = 16, .outputs = 2, .slots = 2, .ctx = 256, .kv = DTYPE_F16
    };
    struct fixture *f = xcalloc(1, sizeof(*f));
    struct assign a;

    for (int i = 0; i < 2; i++) {
        fake_dev_init(&f->fake[i], i == 0 ? "a" : "b", UINT64_MAX);
        f->dev[i] = &f->fake[i].dev;
    }
    f->places = fake_places(FAKE_WEIGHTS);
    f->g = fake_decoder(&s);
    assign_even(&a, f->g, 2);
    assert_true(plan_make(&f->p, f->g, f->places, &a, &lim, f->dev, 2, NULL));
    free(a.dev);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;

    plan_free(f->p);
    graph_free(f->g);
    free(f->places);
    free(f);
    return 0;
}

static void *copy_of(const void *p, int n, size_t bytes)
{
    return memcpy(xmalloc((size_t)n * bytes), p, (size_t)n * bytes);
}

static struct broken break_it(const struct plan *p)
{
    struct broken b = { .p = *p };

    b.p.value = b.value = copy_of(p->value, p->n_values, sizeof(*p->value));
    b.p.step = b.step = copy_of(p->step, p->n_steps, sizeof(*p->step));
    b.p.dev = b.dev = copy_of(p->dev, p->n_devs, sizeof(*p->dev));
    return b;
}

static bool is_found(struct broken *b)
{
    struct err e = { 0 };
    bool found = !plan_check(&b->p, &e);

    free(b->value);
    free(b->step);
    free(b->dev);
    return found && e.msg[0] != '\0';
}

static void a_sound_plan_passes(void **state)
{
    struct fixture *f = *state;
    struct err e = { 0 };

    if (!plan_check(f->p, &e))
        fail_msg("%s", e.msg);
}

static void every_missing_sync_is_found(void **state)
{
    struct fixture *f = *state;
    int n = 0;

    for (int i = 0; i < f->p->n_steps; i++) {
        if (!f->p->step[i].sync)
            continue;
        struct broken b = break_it(f->p);
        b.step[i].sync = false;
        assert_true(is_found(&b));
        n++;
    }
    assert_true(n > 10);
}

static void every_missing_step_is_found(void **state)
{
    struct fixture *f = *state;

    for (int i = 0; i < f->p->n_steps; i++) {
        struct broken b = break_it(f->p);
        b.p.n_steps--;
        memmove(&b.step[i], &b.step[i + 1], (size_t)(f->p->n_steps - 1 - i) * sizeof(*b.step));
        assert_true(is_found(&b));
    }
}

static void swapped_neighbours_that_depend_are_found(void **state)
{
    struct fixture *f = *state;

    for (int i = 0; i + 1 < f->p->n_steps; i++) {
        if (!f->p->step[i + 1].sync)
            continue;
        struct broken b = break_it(f->p);
        struct step s = b.step[i];
        b.step[i] = b.step[i + 1];
        b.step[i + 1] = s;
        assert_true(is_found(&b));
    }
}

/// Moves every temporary onto every other of its arena; whatever lives together must be found out.
static void every_overlap_in_time_and_address_is_found(void **state)
{
    struct fixture *f = *state;
    int n = 0;

    for (int i = 0; i < f->p->n_values; i++)
        for (int j = 0; j < f->p->n_values; j++) {
            const struct value *x = &f->p->value[i], *y = &f->p->value[j];
            if (i == j || x->slot.dev != y->slot.dev || x->slot.arena != y->slot.arena ||
                x->first_step > y->last_step || y->first_step > x->last_step || x->alias == j ||
                y->alias == i)
                continue;
            struct broken b = break_it(f->p);
            b.value[i].slot.offset = y->slot.offset;
            assert_true(is_found(&b));
            n++;
        }
    assert_true(n > 100);
}

static void slots_outside_their_arena_are_found(void **state)
{
    struct fixture *f = *state;

    for (int i = 0; i < f->p->n_values; i++) {
        struct broken b = break_it(f->p);
        b.value[i].slot.offset = f->p->dev[b.value[i].slot.dev].arena_bytes[b.value[i].slot.arena];
        assert_true(is_found(&b));
        b = break_it(f->p);
        b.value[i].slot.offset += 4;
        assert_true(is_found(&b));
        if (f->p->value[i].t == NULL)
            continue;
        b = break_it(f->p);
        b.value[i].slot.bytes -= 4;
        assert_true(is_found(&b));
    }
}

static void lives_that_end_too_early_are_found(void **state)
{
    struct fixture *f = *state;

    for (int i = 0; i < f->p->n_values; i++) {
        const struct value *x = &f->p->value[i];
        if (x->slot.arena != ARENA_SCRATCH || x->t == NULL || x->last_step == x->first_step)
            continue;
        struct broken b = break_it(f->p);
        b.value[i].last_step = x->first_step;
        b.value[i].first_step = x->first_step;
        assert_true(is_found(&b));
    }
}

static void sums_that_are_off_are_found(void **state)
{
    struct fixture *f = *state;
    struct broken b = break_it(f->p);

    b.dev[1].total_bytes++;
    assert_true(is_found(&b));
    b = break_it(f->p);
    b.dev[0].arena_bytes[ARENA_KV] += 64;
    assert_true(is_found(&b));
    b = break_it(f->p);
    b.dev[0].scratch_bound = b.dev[0].arena_bytes[ARENA_SCRATCH] + 1;
    assert_true(is_found(&b));
}

static void wrong_operands_are_found(void **state)
{
    struct fixture *f = *state;

    for (int i = 0; i < f->p->n_steps; i++)
        for (int k = 0; k < NODE_SRC; k++) {
            if (f->p->step[i].src[k] < 0)
                continue;
            struct broken b = break_it(f->p);
            b.step[i].src[k] = (b.step[i].src[k] + 1) % f->p->n_values;
            assert_true(is_found(&b));
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_sound_plan_passes),
        cmocka_unit_test(every_missing_sync_is_found),
        cmocka_unit_test(every_missing_step_is_found),
        cmocka_unit_test(swapped_neighbours_that_depend_are_found),
        cmocka_unit_test(every_overlap_in_time_and_address_is_found),
        cmocka_unit_test(slots_outside_their_arena_are_found),
        cmocka_unit_test(lives_that_end_too_early_are_found),
        cmocka_unit_test(sums_that_are_off_are_found),
        cmocka_unit_test(wrong_operands_are_found),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
