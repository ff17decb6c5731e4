// test_uni.c - UTF-8 against the definition, classes against utf8proc.

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "base/base.h"
#include "tok/uni.h"

#include <string.h>
#include <utf8proc.h>

static uint32_t class_of(uint32_t c)
{
    if ((c >= 9 && c <= 13) || c == 0x85)
        return IS(WS);
    switch (utf8proc_category((utf8proc_int32_t)c)) {
    case UTF8PROC_CATEGORY_LU:
        return IS(LU);
    case UTF8PROC_CATEGORY_LL:
        return IS(LL);
    case UTF8PROC_CATEGORY_LT:
        return IS(LT);
    case UTF8PROC_CATEGORY_LM:
        return IS(LM);
    case UTF8PROC_CATEGORY_LO:
        return IS(LO);
    case UTF8PROC_CATEGORY_MN:
    case UTF8PROC_CATEGORY_MC:
    case UTF8PROC_CATEGORY_ME:
        return IS(M);
    case UTF8PROC_CATEGORY_ND:
    case UTF8PROC_CATEGORY_NL:
    case UTF8PROC_CATEGORY_NO:
        return IS(N);
    case UTF8PROC_CATEGORY_PC:
    case UTF8PROC_CATEGORY_PD:
    case UTF8PROC_CATEGORY_PS:
    case UTF8PROC_CATEGORY_PE:
    case UTF8PROC_CATEGORY_PI:
    case UTF8PROC_CATEGORY_PF:
    case UTF8PROC_CATEGORY_PO:
        return IS(P);
    case UTF8PROC_CATEGORY_SM:
    case UTF8PROC_CATEGORY_SC:
    case UTF8PROC_CATEGORY_SK:
    case UTF8PROC_CATEGORY_SO:
        return IS(S);
    case UTF8PROC_CATEGORY_ZS:
    case UTF8PROC_CATEGORY_ZL:
    case UTF8PROC_CATEGORY_ZP:
        return IS(WS);
    case UTF8PROC_CATEGORY_CC:
    case UTF8PROC_CATEGORY_CF:
    case UTF8PROC_CATEGORY_CS:
    case UTF8PROC_CATEGORY_CO:
    case UTF8PROC_CATEGORY_CN:
    default:
        return IS(OTHER);
    }
}

/// The two may know different versions of Unicode: what one does not have assigned is left out.
static void classes_are_utf8proc_s(void **state)
{
    int differ = 0, unknown = 0;

    (void)state;
    for (uint32_t c = 0; c < 0x110000; c++) {
        uint32_t ours = uni_set(c), theirs = class_of(c);

        if (ours == theirs)
            continue;
        if (ours == IS(OTHER) || theirs == IS(OTHER))
            unknown++;
        else
            differ++;
    }
    assert_int_equal(differ, 0);
    assert_in_range(unknown, 0, 6000);
}

static bool well_formed(uint32_t c)
{
    return c < 0x110000;
}

static void every_code_point_comes_back(void **state)
{
    uint8_t b[4];
    uint32_t len;

    (void)state;
    for (uint32_t c = 0; well_formed(c); c++) {
        uint32_t n = utf8_put(b, c);

        assert_int_equal(utf8_len(b[0]), n);
        assert_int_equal(utf8_get(b, &len), c);
        assert_int_equal(len, n);
        assert_int_equal(utf8_good(b, n), n);
    }
}

static void bad_bytes_become_replacement_characters(void **state)
{
    static const struct {
        const char *in, *out;
    } cases[] = {
        { "\xff", "\ufffd" },
        { "abc\x80"
          "def",
          "abc\ufffd"
          "def" },
        { "\xe4\xbd", "\ufffd\ufffd" },
        { "\xe4\xbd"
          "a\u597d",
          "\ufffd\ufffd"
          "a\u597d" },
        { "ok \xf0\x9f\x98 cut", "ok \ufffd\ufffd\ufffd cut" },
        { "\xc0\xaf", "/" },                                // too long a form: what it means
        { "\xed\xa0\x80", "\xed\xa0\x80" },                 // a surrogate stays
        { "\xf4\x90\x80\x80", "\ufffd\ufffd\ufffd\ufffd" }, // above U+10FFFF
        { "\xf8\x88\x80\x80\x80", "\ufffd\ufffd\ufffd\ufffd\ufffd" },
        { "\xc3", "\ufffd" },
        { "", "" },
    };
    uint8_t out[64];

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        size_t n = utf8_repair(out, (const uint8_t *)cases[i].in, strlen(cases[i].in));

        assert_int_equal(n, strlen(cases[i].out));
        assert_memory_equal(out, cases[i].out, n);
        assert_int_equal(utf8_good(out, n), n);
    }
    assert_int_equal(utf8_good((const uint8_t *)"123456789\xc3\xa9\xff", 12), 11);
    assert_int_equal(utf8_good((const uint8_t *)"\xc0\xaf", 2), 0);
}

/// All sequences of up to four bytes out of the interesting ones, against utf8proc's own reading.
static void a_stream_knows_what_is_a_whole_character(void **state)
{
    static const uint8_t some[] = { 0x00, 0x41, 0x7f, 0x80, 0x8f, 0x90, 0x9f, 0xa0,
                                    0xbf, 0xc0, 0xc1, 0xc2, 0xdf, 0xe0, 0xe1, 0xed,
                                    0xee, 0xef, 0xf0, 0xf1, 0xf4, 0xf5, 0xff };
    const size_t k = sizeof(some);

    (void)state;
    for (size_t i = 0; i < k * k * k * k; i++) {
        const uint8_t b[4] = { some[i % k], some[i / k % k], some[i / k / k % k],
                               some[i / k / k / k] };
        utf8proc_int32_t c;
        utf8proc_ssize_t n = utf8proc_iterate(b, 4, &c);
        enum utf8_step s = UTF8_MORE;
        int held = 0;

        while (s == UTF8_MORE && held < 4)
            s = utf8_step(b, held, b[held]), held++;
        assert_int_equal(s == UTF8_WHOLE ? held : -1, n < 0 ? -1 : n);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(classes_are_utf8proc_s),
        cmocka_unit_test(every_code_point_comes_back),
        cmocka_unit_test(bad_bytes_become_replacement_characters),
        cmocka_unit_test(a_stream_knows_what_is_a_whole_character),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
