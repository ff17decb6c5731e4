// test_buf.c - strings with a length, and the buffer with a maximum.

#include "base/base.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

static void str_compares_bytes_with_their_length(void **state)
{
    (void)state;
    assert_true(str_eq(str_of("abc"), (struct str){ "abcd", 3 }));
    assert_false(str_eq(str_of("abc"), str_of("abd")));
    assert_false(str_eq(str_of("abc"), str_of("ab")));
    assert_true(str_eq((struct str){ NULL, 0 }, str_of("")));
    assert_true(str_is((struct str){ "xyz", 2 }, "xy"));
    assert_false(str_is((struct str){ "a\0b", 3 }, "a"));
}

static void buf_grows_and_is_always_terminated(void **state)
{
    (void)state;
    struct buf b;

    buf_init(&b, 1 << 20);
    for (int i = 0; i < 5000; i++) {
        assert_true(buf_printf(&b, "%d,", i));
        assert_int_equal(b.p[b.n], 0);
    }
    assert_int_equal(strlen(b.p), b.n);
    assert_memory_equal(b.p, "0,1,2,3,", 8);
    assert_true(buf_add(&b, "\0x", 2));
    assert_int_equal(b.p[b.n - 1], 'x');
    buf_done(&b);
    assert_null(b.p);
}

static void buf_takes_exactly_its_maximum_and_no_more(void **state)
{
    (void)state;
    struct buf b;

    buf_init(&b, 10);
    assert_true(buf_addz(&b, "12345"));
    assert_false(buf_addz(&b, "678901"));
    assert_string_equal(b.p, "12345");
    assert_false(buf_printf(&b, "%s", "678901"));
    assert_string_equal(b.p, "12345");
    assert_int_equal(b.n, 5);
    assert_true(buf_printf(&b, "%s", "67890"));
    assert_string_equal(b.p, "1234567890");
    assert_true(buf_add(&b, NULL, 0));
    assert_false(buf_add(&b, "x", 1));
    assert_false(buf_add(&b, "x", SIZE_MAX));
    assert_string_equal(b.p, "1234567890");
    buf_done(&b);
}

static void buf_reset_empties_and_keeps_the_memory(void **state)
{
    (void)state;
    struct buf b;

    buf_init(&b, 100);
    buf_reset(&b); // nothing there yet
    assert_true(buf_addz(&b, "abc"));
    char *p = b.p;
    buf_reset(&b);
    assert_int_equal(b.n, 0);
    assert_string_equal(b.p, "");
    assert_true(buf_addz(&b, "xy"));
    assert_ptr_equal(b.p, p);
    buf_done(&b);
    assert_true(buf_addz(&b, "again")); // done leaves an empty buffer with the same maximum
    buf_done(&b);
}

static void a_maximum_of_zero_holds_nothing(void **state)
{
    (void)state;
    struct buf b;

    buf_init(&b, 0);
    assert_true(buf_addz(&b, ""));
    assert_string_equal(b.p, "");
    assert_false(buf_addz(&b, "x"));
    buf_done(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(str_compares_bytes_with_their_length),
        cmocka_unit_test(buf_grows_and_is_always_terminated),
        cmocka_unit_test(buf_takes_exactly_its_maximum_and_no_more),
        cmocka_unit_test(buf_reset_empties_and_keeps_the_memory),
        cmocka_unit_test(a_maximum_of_zero_holds_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
