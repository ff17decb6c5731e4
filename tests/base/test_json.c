// test_json.c - any bytes as a JSON string: what is read back is what was there.

#include "base/base.h"

#include <jansson.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static void texts_are_read_back(void **state)
{
    static const struct {
        const char *text, *back;
    } cases[] = {
        { "", "" },
        { "plain", "plain" },
        { "\"quoted\" \\ and /", "\"quoted\" \\ and /" },
        { "\n\r\t\x01\x1f\x7f", "\n\r\t\x01\x1f\x7f" },
        { "\u00e9 \u20ac \U0001f600", "\u00e9 \u20ac \U0001f600" },
        { "\xff", "\ufffd" },
        { "a\xc3", "a\ufffd" },
        { "\xc0\xaf", "\ufffd\ufffd" },                     // overlong
        { "\xed\xa0\x80", "\ufffd\ufffd\ufffd" },           // a surrogate
        { "\xf4\x90\x80\x80", "\ufffd\ufffd\ufffd\ufffd" }, // above U+10FFFF
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct buf b;
        buf_init(&b, 256);
        assert_true(buf_json_text(&b, cases[i].text, strlen(cases[i].text)));
        json_t *j = json_loadb(b.p, b.n, JSON_DECODE_ANY, NULL);
        assert_non_null(j);
        assert_string_equal(json_string_value(j), cases[i].back);
        json_decref(j);
        buf_done(&b);
    }
}

static void a_full_buffer_is_said(void **state)
{
    (void)state;
    for (size_t max = 1; max < 10; max++) {
        struct buf b;
        buf_init(&b, max);
        assert_false(buf_json_text(&b, "\"1234\xff", 6));
        buf_done(&b);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(texts_are_read_back),
        cmocka_unit_test(a_full_buffer_is_said),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
