// test_text.c - bytes as people read them.

#include "base/base.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static void fmt_bytes_keeps_three_digits(void **state)
{
    (void)state;
    static const struct {
        uint64_t bytes;
        const char *text;
    } cases[] = {
        { 0, "0 B" },
        { 512, "512 B" },
        { 1023, "1023 B" },
        { 1024, "1.00 KiB" },
        { 10234, "9.99 KiB" },
        { 10236, "10.0 KiB" },
        { 12897484, "12.3 MiB" },
        { 1288490189, "1.20 GiB" },
        { 1047552, "1023 KiB" },
        { 1048575, "1.00 MiB" },
        { 1ull << 40, "1.00 TiB" },
        { UINT64_MAX, "16.0 EiB" },
    };
    char out[32];

    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        assert_string_equal(fmt_bytes(out, cases[i].bytes), cases[i].text);
}

static void fmt_count_groups_by_three(void **state)
{
    (void)state;
    char out[32];

    assert_string_equal(fmt_count(out, 0), "0");
    assert_string_equal(fmt_count(out, 999), "999");
    assert_string_equal(fmt_count(out, 1000), "1 000");
    assert_string_equal(fmt_count(out, 1234567), "1 234 567");
    assert_string_equal(fmt_count(out, UINT64_MAX), "18 446 744 073 709 551 615");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(fmt_bytes_keeps_three_digits),
        cmocka_unit_test(fmt_count_groups_by_three),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
