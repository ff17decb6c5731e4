// test_report.c - the plan as people and programs see it adds up.

#include "plan/fake.h"
#include "plan/report.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { RESERVE = 12345, DRIVER = 777 };

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
                                .reserve_bytes = RESERVE };
    struct fixture *f = xcalloc(1, sizeof(*f));
    struct assign a;

    for (int i = 0; i < 3; i++) {
        fake_dev_init(&f->fake[i],
                      i == 0   ? "a"
                      : i == 1 ? "b"
                               : "c",
                      i == 1 ? UINT64_MAX : 8 << 20);
        f->fake[i].info.driver_bytes = i == 0 ? DRIVER : 0;
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

/// Columns of a line.
static int columns(const char *p)
{
    int count = 0;

    for (; *p != '\0'; p++)
        count += ((unsigned char)*p & 0xc0) != 0x80;
    return count;
}

/// The exact number in column `i` of a table's line: 15 places behind 13 + 27 i + 2.
static uint64_t exact_number(const char *line, int i)
{
    uint64_t n = 0;
    int at = 0, from = 13 + 27 * i + 2;

    for (const char *p = line; *p != '\0'; p++) {
        at += ((unsigned char)*p & 0xc0) != 0x80;
        if (at > from && at <= from + 15 && *p >= '0' && *p <= '9')
            n = n * 10 + (uint64_t)(*p - '0');
    }
    return n;
}

/// "kv" of "▓ kv    1 234 ...".
static const char *row_name(char out[16], const char *line)
{
    const char *p = strchr(line, ' ');

    out[0] = '\0';
    if (p != NULL)
        sscanf(p, " %15s", out);
    return out;
}

static void the_table_sums_to_the_byte(void **state)
{
    struct fixture *f = *state;
    struct buf out;
    uint64_t sum[2] = { 0 };
    bool total = false, left = false;
    char name[16];

    buf_init(&out, 1 << 20);
    assert_true(plan_table(f->p, &out));
    for (char *line = strtok(out.p, "\n"); line != NULL; line = strtok(NULL, "\n")) {
        row_name(name, line);
        for (int r = 0; r < ROW_COUNT; r++)
            for (int d = 0; d < 2 && strcmp(name, plan_row_name((enum plan_row)r)) == 0; d++)
                sum[d] += exact_number(line, d);
        for (int d = 0; d < 2 && strcmp(name, "total") == 0; d++) {
            total = true;
            assert_int_equal(exact_number(line, d), sum[d]);
            assert_int_equal(sum[d], plan_device_bytes(f->p, d) + (d == 0 ? RESERVE + DRIVER : 0));
        }
        if (strcmp(name, "free") == 0) {
            left = true;
            assert_int_equal(exact_number(line, 0) + sum[0], 8 << 20);
            assert_non_null(strstr(line, "no limit"));
        }
    }
    assert_true(total && left);
    buf_done(&out);
}

static struct report screen_of(const struct fixture *f, struct placement *why,
                               struct suggestion *more, int n)
{
    *why = (struct placement){ .devices = 2, .n_proof = 2, .micro_batch_why = "the largest" };
    snprintf(why->proof[0], sizeof(why->proof[0]),
             "needs 2 devices: k80 #0 alone holds the embedding and blocks 0-40 of 48 and is short "
             "by 312.4 MiB (327 574 784 bytes) for the next of them");
    snprintf(why->proof[1], sizeof(why->proof[1]), "scratch is at its lower bound on each");
    for (int i = 0; i < n; i++) {
        more[i] = (struct suggestion){ .change = "kv", .value = "q8_0", .flag = "--kv q8_0" };
        snprintf(more[i].effect, sizeof(more[i].effect),
                 "1 device instead of 2, 12.0 MiB left, 6.1 instead of 5.5 tokens/s");
    }
    return (struct report){ .plan = f->p,
                            .why = why,
                            .name = "tiny",
                            .ctx_train = 131072,
                            .max_ctx = 66560,
                            .more = more,
                            .n_more = n };
}

static void two_devices_fit_one_screen(void **state)
{
    struct fixture *f = *state;
    struct placement why;
    struct suggestion more[3];
    struct report r = screen_of(f, &why, more, 3);
    struct buf out;
    int n_lines = 0;

    buf_init(&out, 1 << 20);
    assert_true(report_screen(&r, &out));
    assert_null(strchr(out.p, '\033'));
    for (char *line = strtok(out.p, "\n"); line != NULL; line = strtok(NULL, "\n"), n_lines++) {
        assert_true(columns(line) <= 100);
        assert_true(line[strlen(line) - 1] != ' ');
    }
    assert_true(n_lines <= 24);
    buf_done(&out);

    buf_init(&out, 1 << 20);
    r.colour = true;
    assert_true(report_screen(&r, &out));
    assert_non_null(strstr(out.p, "\033[34m"));
    buf_done(&out);
}

static void the_screen_is_as_it_was_reviewed(void **state)
{
    struct fixture *f = *state;
    struct placement why;
    struct suggestion more[1];
    struct report r = screen_of(f, &why, more, 1);
    struct buf out;
    char *golden;
    size_t n;

    buf_init(&out, 1 << 20);
    assert_true(report_screen(&r, &out));
    assert_true(file_read(&golden, &n, "tests/data/plan/screen.txt", 1 << 20, NULL));
    assert_string_equal(out.p, golden);
    free(golden);
    buf_done(&out);
}

static void why_names_the_bytes_of_a_block_and_every_move(void **state)
{
    struct fixture *f = *state;
    struct buf out;
    struct err e = { 0 };

    buf_init(&out, 1 << 20);
    assert_true(report_why(f->p, 2, &out, &e));
    assert_non_null(strstr(out.p, "block 2 is on b"));
    assert_non_null(strstr(out.p, "the stage before ends with block 1: a"));
    assert_non_null(strstr(out.p, "to a "));
    assert_non_null(strstr(out.p, "to c "));
    buf_reset(&out);
    assert_false(report_why(f->p, 4, &out, &e));
    assert_int_equal(e.code, ERR_ARG);
    assert_non_null(strstr(e.msg, "0 to 3"));
    buf_done(&out);
}

static void llama_cpp_gets_whole_layers_as_shares(void **state)
{
    struct fixture *f = *state;
    struct buf out;
    struct assign a;
    struct plan *p;

    buf_init(&out, 1 << 20);
    assert_true(report_llamacpp(f->p, "a 'b'.gguf", &out));
    assert_non_null(strstr(out.p, "-m 'a '\\''b'\\''.gguf'"));
    assert_non_null(strstr(out.p, "-ngl 5 -sm layer -dev CUDA0,CUDA1 -ts 2,3"));
    assert_non_null(strstr(out.p, "-c 1024 -np 1 -ub 16 -fa on -ctk f16 -ctv f16"));
    assert_null(strstr(out.p, "-ot"));

    f->fake[0].info.in_place = true; // the first two blocks are the host's
    assign_even(&a, f->g, 2);
    assert_true(plan_make(&p, f->g, f->places, &a, &f->p->lim, f->dev, 3, NULL));
    buf_reset(&out);
    assert_true(report_llamacpp(p, "m", &out));
    assert_non_null(strstr(out.p, "-ngl 3 -sm layer -dev CUDA0 -ts 3"));
    plan_free(p);
    for (int i = 1; i < a.n_parts; i++) // a block in between is
        a.dev[i] = graph_part(f->g, i)->il == 2 ? 0 : 1;
    assert_true(plan_make(&p, f->g, f->places, &a, &f->p->lim, f->dev, 3, NULL));
    buf_reset(&out);
    assert_true(report_llamacpp(p, "m", &out));
    assert_non_null(strstr(out.p, "-ngl 5 -sm layer -dev CUDA0 -ts 5"));
    assert_non_null(strstr(out.p, "-ot 'blk\\.(2)\\.=CPU'"));
    plan_free(p);
    free(a.dev);
    f->fake[0].info.in_place = false;
    buf_done(&out);
}

/// Every element is closed, innermost first.
static void check_xml(const char *p)
{
    char open[16][16];
    int n = 0;

    for (p = strchr(p, '<'); p != NULL; p = strchr(p, '<')) {
        const char *end = strchr(p, '>');
        assert_non_null(end);
        size_t len = strcspn(p + 1, " />");
        if (p[1] == '/') {
            assert_true(n > 0);
            n--;
            assert_memory_equal(p + 2, open[n], strlen(open[n]));
        } else if (end[-1] != '/') {
            assert_true(n < 16 && len < 16);
            memcpy(open[n], p + 1, len);
            open[n++][len] = '\0';
        }
        p = end;
    }
    assert_int_equal(n, 0);
}

static void the_picture_is_closed_xml_without_scripts(void **state)
{
    struct fixture *f = *state;
    struct report r = { .plan = f->p, .name = "<script>&\"\x80" };
    struct buf out;

    buf_init(&out, 1 << 20);
    assert_true(report_svg(&r, &out));
    check_xml(out.p);
    assert_null(strstr(out.p, "<script"));
    assert_non_null(strstr(out.p, "&lt;script&gt;&amp;"));
    assert_non_null(strstr(out.p, ">not used<"));
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
        cmocka_unit_test(two_devices_fit_one_screen),
        cmocka_unit_test(the_screen_is_as_it_was_reviewed),
        cmocka_unit_test(why_names_the_bytes_of_a_block_and_every_move),
        cmocka_unit_test(llama_cpp_gets_whole_layers_as_shares),
        cmocka_unit_test(the_picture_is_closed_xml_without_scripts),
        cmocka_unit_test(a_full_buffer_is_said),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
