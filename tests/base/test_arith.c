// test_arith.c - arithmetic on sizes from a file, at its edges.

#include "base/base.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static void mul_u64_refuses_what_does_not_fit(void **state)
{
    (void)state;
    uint64_t r = 99;

    assert_true(mul_u64(&r, 1ull << 32, (1ull << 32) - 1));
    assert_int_equal(r, 0xffffffff00000000u);
    assert_true(mul_u64(&r, UINT64_MAX, 1));
    assert_int_equal(r, UINT64_MAX);
    assert_true(mul_u64(&r, 0, UINT64_MAX));
    assert_int_equal(r, 0);
    r = 99;
    assert_false(mul_u64(&r, 1ull << 32, 1ull << 32));
    assert_false(mul_u64(&r, UINT64_MAX, UINT64_MAX));
    assert_false(mul_u64(&r, 2, 1ull << 63));
    assert_int_equal(r, 99);
}

static void add_u64_refuses_what_does_not_fit(void **state)
{
    (void)state;
    uint64_t r = 99;

    assert_true(add_u64(&r, UINT64_MAX - 1, 1));
    assert_int_equal(r, UINT64_MAX);
    r = 99;
    assert_false(add_u64(&r, UINT64_MAX, 1));
    assert_false(add_u64(&r, 1ull << 63, 1ull << 63));
    assert_int_equal(r, 99);
}

static void align_up_rounds_to_the_next_multiple(void **state)
{
    (void)state;
    uint64_t r = 99;

    assert_int_equal(align_up_u64(0, 64), 0);
    assert_int_equal(align_up_u64(1, 64), 64);
    assert_int_equal(align_up_u64(64, 64), 64);
    assert_int_equal(align_up_u64(65, 1), 65);
    assert_true(align_up_checked_u64(&r, UINT64_MAX - 63, 64));
    assert_int_equal(r, UINT64_MAX - 63);
    assert_true(align_up_checked_u64(&r, 1, 1ull << 63));
    assert_int_equal(r, 1ull << 63);
    r = 99;
    assert_false(align_up_checked_u64(&r, UINT64_MAX - 62, 64));
    assert_false(align_up_checked_u64(&r, UINT64_MAX, 2));
    assert_int_equal(r, 99);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(mul_u64_refuses_what_does_not_fit),
        cmocka_unit_test(add_u64_refuses_what_does_not_fit),
        cmocka_unit_test(align_up_rounds_to_the_next_multiple),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
