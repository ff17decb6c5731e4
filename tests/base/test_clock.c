// test_clock.c - time goes forward, at the rate of a second a second.

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
    struct timespec wait = { 0, 5000000 };
    int64_t start = clock_ns();

    nanosleep(&wait, NULL);
    int64_t passed = clock_ns() - start;
    assert_true(passed >= 5000000);
    assert_true(passed < 5000000000); // a busy machine may take its time, not a thousand times
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_clock_never_goes_back),
        cmocka_unit_test(the_clock_counts_nanoseconds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
