// test_report.c - the plan as people and programs see it adds up.

#include "plan/fake.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

struct fixture {
    struct fake_dev fake[3];
    struct dev *dev[3];
    struct weight_place *places;
    struct graph *g;
    struct plan *p;
};

static int setup(void **state)
{
    const struct shape s = { .n_blocks = 4,
                             .n_embd = 64,
                             .n_heads = 2,
                             .n_kv_heads = 1,
                             .head_dim = 32,
                             .n_ff = 192,
                             .n_vocab = 256,
                             .type = DTYPE_Q8_0 };
    const struct limits lim = { .micro_batch = 16,
                                .outputs = 1,
                                .slots = 1,
                                .ctx = 1000,
                                .kv = DTYPE_F16,
                                .reserve_bytes = 12345 };
    struct fixture *f = xcalloc(1, sizeof(*f));
    struct assign a;

    for (int i = 0; i < 3; i++) {
        fake_dev_init(&f->fake[i],
                      i == 0   ? "a"
                      : i == 1 ? "b"
                               : "c",
                      i == 1 ? UINT64_MAX : 8 << 20);
        f->dev[i] = &f->fake[i].dev;
    }
    f->places = fake_places(FAKE_WEIGHTS);
    f->g = fake_decoder(&s);
    assign_even(&a, f->g, 2);
    assert_true(plan_make(&f->p, f->g, f->places, &a, &lim, f->dev, 3, NULL));
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

/// The exact number of a line, "  kv   1 234  1.2 KiB": digits and the single spaces between them.
static uint64_t exact_number(const char *line)
{
    uint64_t n = 0;
    const char *p = line + strspn(line, " ");

    p += strcspn(p, " ");
    p += strspn(p, " ");
    for (; (*p >= '0' && *p <= '9') || (*p == ' ' && p[1] >= '0' && p[1] <= '9'); p++)
        n = *p == ' ' ? n : n * 10 + (uint64_t)(*p - '0');
    return n;
}

static void the_table_sums_to_the_byte(void **state)
{
    struct fixture *f = *state;
    struct buf out;
    uint64_t sum = 0;
    int totals = 0;

    buf_init(&out, 1 << 20);
    assert_true(plan_table(f->p, &out));
    for (char *line = strtok(out.p, "\n"); line != NULL; line = strtok(NULL, "\n")) {
        static const char *const part[] = { "  weights", "  kv",       "  scratch",
                                            "  input",   "  handover", "  rounding" };
        for (size_t i = 0; i < ARRAY_LEN(part); i++)
            if (strncmp(line, part[i], strlen(part[i])) == 0)
                sum += exact_number(line);
        if (strncmp(line, "  total", 7) != 0)
            continue;
        assert_int_equal(exact_number(line), sum);
        assert_int_equal(sum, plan_device_bytes(f->p, totals));
        sum = 0;
        totals++;
    }
    assert_int_equal(totals, 2);
    buf_done(&out);
}

static void the_table_fits_a_terminal(void **state)
{
    struct fixture *f = *state;
    struct buf out;

    buf_init(&out, 1 << 20);
    assert_true(plan_table(f->p, &out));
    for (char *line = strtok(out.p, "\n"); line != NULL; line = strtok(NULL, "\n")) {
        int columns = 0;
        for (const char *p = line; *p != '\0'; p++)
            columns += ((unsigned char)*p & 0xc0) != 0x80;
        assert_true(columns <= 110);
    }
    buf_done(&out);
}

static void a_full_buffer_is_said(void **state)
{
    struct fixture *f = *state;

    for (size_t max = 16; max < 4096; max *= 4) {
        struct buf out;
        buf_init(&out, max);
        assert_false(plan_dump(f->p, &out));
        buf_done(&out);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_table_sums_to_the_byte),
        cmocka_unit_test(the_table_fits_a_terminal),
        cmocka_unit_test(a_full_buffer_is_said),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
