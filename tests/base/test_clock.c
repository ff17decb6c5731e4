// test_clock.c - time in nanoseconds that only goes forward.

#include "base/base.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <time.h>

static void the_clock_never_goes_back(void **state)
{
    (void)state;
    int64_t last = clock_ns();

    for (int i = 0; i < 10000; i++) {
        int64_t now = clock_ns();
        assert_true(now >= last);
        last = now;
    }
}

static void the_clock_counts_nanoseconds(void **state)
{
    (void)state;
    struct timespec before, after;

    clock_gettime(CLOCK_MONOTONIC, &before);
    int64_t now = clock_ns();
    clock_gettime(CLOCK_MONOTONIC, &after);
    assert_true(now >= (int64_t)before.tv_sec * 1000000000 + before.tv_nsec);
    assert_true(now <= (int64_t)after.tv_sec * 1000000000 + after.tv_nsec);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_clock_never_goes_back),
        cmocka_unit_test(the_clock_counts_nanoseconds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
