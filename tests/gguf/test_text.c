// test_text.c - UTF-8 by RFC 3629, all of it.

#include "gguf/gguf_int.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static size_t encode(uint32_t c, char out[4])
{
    if (c < 0x80) {
        out[0] = (char)c;
        return 1;
    }
    if (c < 0x800) {
        out[0] = (char)(0xc0 | c >> 6);
        out[1] = (char)(0x80 | (c & 63));
        return 2;
    }
    if (c < 0x10000) {
        out[0] = (char)(0xe0 | c >> 12);
        out[1] = (char)(0x80 | (c >> 6 & 63));
        out[2] = (char)(0x80 | (c & 63));
        return 3;
    }
    out[0] = (char)(0xf0 | c >> 18);
    out[1] = (char)(0x80 | (c >> 12 & 63));
    out[2] = (char)(0x80 | (c >> 6 & 63));
    out[3] = (char)(0x80 | (c & 63));
    return 4;
}

static void every_character_is_read_and_no_surrogate(void **state)
{
    (void)state;
    for (uint32_t c = 0; c < 0x200000; c++) {
        char s[4];
        uint32_t got = UINT32_MAX;
        size_t n = encode(c, s), len = gguf_utf8_char(s, n, &got);
        bool valid = c < 0xd800 || (c >= 0xe000 && c <= 0x10ffff);
        if (len != (valid ? n : 0) || (valid && got != c))
            fail_msg("U+%04X", (unsigned)c);
        if (gguf_utf8_char(s, n - 1, &got) != 0)
            fail_msg("U+%04X cut", (unsigned)c);
    }
}

/// Whatever is accepted is what the encoder writes: no longer forms, no stray bytes.
static void every_three_bytes_accepted_are_the_shortest_form(void **state)
{
    (void)state;
    for (uint32_t w = 0; w < 1u << 24; w++) {
        char s[3] = { (char)(w >> 16), (char)(w >> 8), (char)w }, back[4];
        uint32_t c;
        size_t len = gguf_utf8_char(s, 3, &c);
        if (len == 0)
            continue;
        if (encode(c, back) != len)
            fail_msg("%06x", (unsigned)w);
        for (size_t i = 0; i < len; i++) {
            if (back[i] != s[i])
                fail_msg("%06x", (unsigned)w);
        }
    }
}

static void what_moves_the_cursor_or_turns_text_is_not_printable(void **state)
{
    (void)state;
    static const uint32_t no[] = { 0,      9,      10,     13,     0x1b,    0x7f,    0x80,
                                   0x9b,   0x200b, 0x200e, 0x2028, 0x202a,  0x202e,  0x2066,
                                   0x2069, 0xfeff, 0xfffe, 0xffff, 0x1ffff, 0x10fffe };
    static const uint32_t yes[] = { ' ', '~', 0xa0, 0xe4, 0x2581, 0x4e00, 0xac00, 0xfffd, 0x1f600 };

    for (size_t i = 0; i < ARRAY_LEN(no); i++)
        assert_false(gguf_printable(no[i]));
    for (size_t i = 0; i < ARRAY_LEN(yes); i++)
        assert_true(gguf_printable(yes[i]));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_character_is_read_and_no_surrogate),
        cmocka_unit_test(every_three_bytes_accepted_are_the_shortest_form),
        cmocka_unit_test(what_moves_the_cursor_or_turns_text_is_not_printable),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
