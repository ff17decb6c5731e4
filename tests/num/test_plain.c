// test_plain.c - formats without blocks.

#include "num/dtype.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static void f32_keeps_every_bit(void **state)
{
    (void)state;
    const uint32_t in[4] = { 0x7fa00001, 0x80000000, 1, 0x3f800000 };
    float x[4], y[4];
    uint8_t bytes[17];
    memcpy(x, in, sizeof x);
    dtype_info(DTYPE_F32)->from_f32(bytes + 1, x, 4);
    dtype_info(DTYPE_F32)->to_f32(y, bytes + 1, 4);
    assert_memory_equal(y, in, sizeof in);
}

static void i32_rounds_half_to_even_and_stops_at_its_ends(void **state)
{
    (void)state;
    static const struct {
        float in;
        int32_t out;
    } want[] = {
        { 0.5f, 0 },
        { 1.5f, 2 },
        { -2.5f, -2 },
        { -3.75f, -4 },
        { 16777216.0f, 16777216 },
        { 8388607.5f, 8388608 },
        { 2147483520.0f, 2147483520 },
        { 2147483648.0f, INT32_MAX },
        { 1e30f, INT32_MAX },
        { -INFINITY, INT32_MIN },
        { NAN, INT32_MIN },
    };
    for (size_t i = 0; i < sizeof want / sizeof *want; i++) {
        int32_t v;
        dtype_info(DTYPE_I32)->from_f32(&v, &want[i].in, 1);
        assert_int_equal(v, want[i].out);
    }
}

static void rows_are_little_endian_and_need_no_alignment(void **state)
{
    (void)state;
    static const uint8_t bytes[] = {
        0, 0x00, 0x3c, 0x00, 0xc0, 0x80, 0x3f, 0xfe, 0xff, 0xff, 0xff
    };
    float x[2];
    dtype_info(DTYPE_F16)->to_f32(x, bytes + 1, 2);
    assert_true(x[0] == 1.0f && x[1] == -2.0f);
    dtype_info(DTYPE_BF16)->to_f32(x, bytes + 5, 1);
    assert_true(x[0] == 1.0f);
    dtype_info(DTYPE_I32)->to_f32(x, bytes + 7, 1);
    assert_true(x[0] == -2.0f);

    uint8_t out[5] = { 0 };
    const float in[2] = { 1.0f, -2.0f };
    dtype_info(DTYPE_F16)->from_f32(out + 1, in, 2);
    assert_memory_equal(out + 1, bytes + 1, 4);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(f32_keeps_every_bit),
        cmocka_unit_test(i32_rounds_half_to_even_and_stops_at_its_ends),
        cmocka_unit_test(rows_are_little_endian_and_need_no_alignment),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
