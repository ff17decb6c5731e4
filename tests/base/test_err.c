// test_err.c - error values, and bytes from outside in messages.

#include "base/base.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

static void err_set_fills_code_and_message_and_returns_false(void **state)
{
    (void)state;
    struct err e = { 0 };

    assert_false(err_set(&e, ERR_FORMAT, "offset %d", 7));
    assert_int_equal(e.code, ERR_FORMAT);
    assert_string_equal(e.msg, "offset 7");
    assert_false(err_set(&e, ERR_IO, "later"));
    assert_int_equal(e.code, ERR_IO);
    assert_string_equal(e.msg, "later");
}

static void err_set_may_quote_the_message_it_replaces(void **state)
{
    (void)state;
    struct err e = { 0 };

    err_set(&e, ERR_IO, "inner");
    err_set(&e, ERR_NOFIT, "outer (%s)", e.msg);
    assert_string_equal(e.msg, "outer (inner)");
}

static void err_add_puts_context_in_front_and_keeps_the_code(void **state)
{
    (void)state;
    struct err e = { 0 };

    err_set(&e, ERR_NOTFOUND, "no such file");
    assert_false(err_add(&e, "opening %s", "m.gguf"));
    assert_string_equal(e.msg, "opening m.gguf: no such file");
    assert_int_equal(e.code, ERR_NOTFOUND);
}

static void nobody_needs_to_pass_an_err(void **state)
{
    (void)state;
    assert_false(err_set(NULL, ERR_IO, "x"));
    assert_false(err_add(NULL, "x"));
}

static void long_messages_are_cut_and_terminated(void **state)
{
    (void)state;
    struct err e = { 0 };
    char big[4096];

    memset(big, 'a', sizeof(big));
    big[sizeof(big) - 1] = 0;
    err_set(&e, ERR_IO, "%s", big);
    assert_int_equal(strlen(e.msg), sizeof(e.msg) - 1);
    err_add(&e, "context");
    assert_int_equal(strlen(e.msg), sizeof(e.msg) - 1);
    assert_memory_equal(e.msg, "context: aaaa", 13);
    err_add(&e, "%s", big);
    assert_int_equal(strlen(e.msg), sizeof(e.msg) - 1);
}

static void every_code_has_its_own_name(void **state)
{
    (void)state;
    for (int i = ERR_NONE; i <= ERR_CANCELLED; i++) {
        assert_string_not_equal(err_code_name((enum err_code)i), "unknown");
        for (int j = ERR_NONE; j < i; j++)
            assert_string_not_equal(err_code_name((enum err_code)i),
                                    err_code_name((enum err_code)j));
    }
    assert_string_equal(err_code_name(ERR_NOFIT), "nofit");
    assert_string_equal(err_code_name((enum err_code)99), "unknown");
}

static void err_bytes_escapes_all_that_is_not_plain_ascii(void **state)
{
    (void)state;
    char out[64];

    assert_string_equal(err_bytes(out, sizeof(out), "blk.0", 5), "blk.0");
    assert_string_equal(err_bytes(out, sizeof(out), "a\"b\\c", 5), "a\\\"b\\\\c");
    assert_string_equal(err_bytes(out, sizeof(out), "\0\x1b\n\x7f\xff", 5),
                        "\\x00\\x1b\\x0a\\x7f\\xff");
    assert_string_equal(err_bytes(out, sizeof(out), "\xc3\xa9", 2), "\\xc3\\xa9");
    assert_string_equal(err_bytes(out, sizeof(out), NULL, 0), "");
}

static void err_bytes_cuts_between_escapes_and_stays_in_bounds(void **state)
{
    (void)state;
    char out[16];

    assert_string_equal(err_bytes(out, 8, "1234567", 7), "1234567");
    assert_string_equal(err_bytes(out, 8, "12345678", 8), "1234...");
    assert_string_equal(err_bytes(out, 9, "a\xff\xff", 3), "a\\xff...");
    assert_string_equal(err_bytes(out, 8, "a\xff\xff", 3), "a...");
    for (size_t room = 1; room < sizeof(out); room++) {
        memset(out, '#', sizeof(out));
        err_bytes(out, room, "\xff\"\xff\"\xff\"\xff\"", 8);
        assert_true(strlen(out) < room);
        for (size_t i = room; i < sizeof(out); i++)
            assert_int_equal(out[i], '#');
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(err_set_fills_code_and_message_and_returns_false),
        cmocka_unit_test(err_set_may_quote_the_message_it_replaces),
        cmocka_unit_test(err_add_puts_context_in_front_and_keeps_the_code),
        cmocka_unit_test(nobody_needs_to_pass_an_err),
        cmocka_unit_test(long_messages_are_cut_and_terminated),
        cmocka_unit_test(every_code_has_its_own_name),
        cmocka_unit_test(err_bytes_escapes_all_that_is_not_plain_ascii),
        cmocka_unit_test(err_bytes_cuts_between_escapes_and_stays_in_bounds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
