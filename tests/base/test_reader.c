// test_reader.c - the bounded reader at the end of its bytes.

#include "base/base.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

static const uint8_t bytes[] = { 0x01, 0x82, 0x03, 0x84, 0x05, 0x86, 0x07, 0x88,
                                 0x11, 0x12, 0x13, 0x14, 0x15, 0x16, 0x17 };

static void values_are_little_endian(void **state)
{
    (void)state;
    struct reader r = { bytes, sizeof(bytes), 0 };
    uint8_t b;
    uint16_t h;
    uint32_t w;
    uint64_t d;

    assert_true(read_u8(&r, &b));
    assert_int_equal(b, 0x01);
    assert_true(read_u16(&r, &h));
    assert_int_equal(h, 0x0382);
    assert_true(read_u32(&r, &w));
    assert_int_equal(w, 0x07860584);
    assert_true(read_u64(&r, &d));
    assert_int_equal(d, 0x1716151413121188u);
    assert_int_equal(r.at, sizeof(bytes));
}

static void nothing_is_read_past_the_end_and_nothing_moves(void **state)
{
    (void)state;
    // On the heap and of the exact size, so that a sanitizer sees a byte too many.
    for (uint64_t n = 0; n <= 8; n++) {
        uint8_t *exact = xmalloc(n);
        memcpy(exact, bytes, n);
        struct reader r = { exact, n, 0 };
        uint8_t b;
        uint16_t h;
        uint32_t w;
        uint64_t d;

        assert_int_equal(read_u64(&r, &d), n >= 8);
        r.at = 0;
        assert_int_equal(read_u32(&r, &w), n >= 4);
        r.at = 0;
        assert_int_equal(read_u16(&r, &h), n >= 2);
        r.at = 0;
        assert_int_equal(read_u8(&r, &b), n >= 1);

        r.at = n;
        assert_false(read_u8(&r, &b));
        assert_false(read_u16(&r, &h));
        assert_false(read_u32(&r, &w));
        assert_false(read_u64(&r, &d));
        assert_int_equal(r.at, n);
        free(exact);
    }
}

static void read_bytes_survives_any_length(void **state)
{
    (void)state;
    struct reader r = { bytes, sizeof(bytes), 3 };
    const uint8_t *p = NULL;

    assert_false(read_bytes(&r, UINT64_MAX, &p));
    assert_false(read_bytes(&r, UINT64_MAX - 2, &p));
    assert_false(read_bytes(&r, sizeof(bytes) - 2, &p));
    assert_int_equal(r.at, 3);
    assert_null(p);
    assert_true(read_bytes(&r, sizeof(bytes) - 3, &p));
    assert_ptr_equal(p, bytes + 3);
    assert_true(read_bytes(&r, 0, &p));
    assert_ptr_equal(p, bytes + sizeof(bytes));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(values_are_little_endian),
        cmocka_unit_test(nothing_is_read_past_the_end_and_nothing_moves),
        cmocka_unit_test(read_bytes_survives_any_length),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
