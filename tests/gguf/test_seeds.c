// test_seeds.c - what fuzzing starts from is as it says; and a little fuzzing in every test run.

#include "gguf/gguf_check.h"
#include "gguf/gguf_seeds.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

static void check_seed(void *arg, const char *name, bool good, const uint8_t *p, size_t n)
{
    int *count = arg;
    struct gguf *g;
    struct err e = { 0 };

    if (gguf_open_mem(&g, p, n, name, NULL, &e) != good)
        fail_msg("%s: %s", name, e.msg);
    if (good) {
        gguf_walk_all(g);
        gguf_close(g);
    } else {
        assert_true(e.code == ERR_FORMAT || e.code == ERR_UNSUPPORTED);
    }
    ++*count;
}

static void good_seeds_open_and_broken_ones_do_not(void **state)
{
    (void)state;
    int n = 0;

    gguf_seeds(check_seed, &n);
    assert_true(n > 20);
}

/// Each byte of each seed turned to what breaks parsers most.
static void break_bytes(void *arg, const char *name, bool good, const uint8_t *p, size_t n)
{
    static const uint8_t values[] = { 0, 1, 0x7f, 0x80, 0xff };
    (void)arg;
    (void)name;

    if (!good)
        return;
    uint8_t *copy = xmalloc(n);
    memcpy(copy, p, n);
    for (size_t i = 0; i < n; i++) {
        for (size_t v = 0; v < ARRAY_LEN(values); v++) {
            struct gguf *g;
            struct err e = { 0 };
            copy[i] = values[v];
            if (gguf_open_mem(&g, copy, n, "x", &(struct gguf_opts){ .head_only = v % 2 != 0 },
                              &e)) {
                gguf_walk_all(g);
                gguf_close(g);
            } else if (strncmp(e.msg, "x: byte ", 8) != 0) {
                fail_msg("no place: %s", e.msg);
            }
        }
        copy[i] = p[i];
    }
    free(copy);
}

static void any_one_byte_of_a_seed_may_be_wrong(void **state)
{
    (void)state;
    gguf_seeds(break_bytes, NULL);
}

static void write_seed(void *arg, const char *name, bool good, const uint8_t *p, size_t n)
{
    char *path = xasprintf("%s/%s-%s", (const char *)arg, good ? "good" : "bad", name);

    for (char *c = path + strlen(arg); *c != 0; c++)
        *c = *c == ' ' ? '-' : *c;
    gm_write_bytes(path, p, n);
    free(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(good_seeds_open_and_broken_ones_do_not),
        cmocka_unit_test(any_one_byte_of_a_seed_may_be_wrong),
    };
    char *dir = getenv("SNUG_SEED_DIR");

    if (dir != NULL) {
        gguf_seeds(write_seed, dir);
        return 0;
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
