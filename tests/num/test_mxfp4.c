// test_mxfp4.c - scales at the ends of their range, and the choice of a scale.

#include "num/dtype.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static void every_scale_and_number_is_what_the_standard_says(void **state)
{
    (void)state;
    static const double number[8] = { 0, 0.5, 1, 1.5, 2, 3, 4, 6 };
    for (int e = 0; e < 255; e++) {
        uint8_t block[17] = { (uint8_t)e };
        float x[32];
        for (int i = 0; i < 16; i++)
            block[1 + i] = (uint8_t)(i | (15 - i) << 4);
        dtype_info(DTYPE_MXFP4)->to_f32(x, block, 32);
        for (int i = 0; i < 32; i++) {
            const int q = i < 16 ? i : 31 - i;
            const double want = ldexp(q & 8 ? -number[q & 7] : number[q & 7], e - 127);
            assert_true(x[i] == (float)want);
        }
    }
}

static void numbers_of_the_format_come_back_exactly(void **state)
{
    (void)state;
    for (int e = 0; e <= 250; e++) {
        uint8_t block[17];
        float x[32], y[32];
        static const float number[8] = { 0, 0.5f, 1, 1.5f, 2, 3, 4, 6 };
        for (int i = 0; i < 32; i++)
            x[i] = ldexpf(i & 8 ? -number[i & 7] : number[i & 7], e - 127);
        dtype_info(DTYPE_MXFP4)->from_f32(block, x, 32);
        dtype_info(DTYPE_MXFP4)->to_f32(y, block, 32);
        for (int i = 0; i < 32; i++)
            assert_true(x[i] == y[i]);
    }
}

/// 7.5 with 31 small numbers: the scale of the standard cuts it to 6, the next one has 8.
static void the_larger_scale_is_taken_where_it_costs_less(void **state)
{
    (void)state;
    uint8_t block[17];
    float x[32] = { 7.5f }, y[32];
    dtype_info(DTYPE_MXFP4)->from_f32(block, x, 32);
    dtype_info(DTYPE_MXFP4)->to_f32(y, block, 32);
    assert_true(y[0] == 8.0f);
    for (int i = 1; i < 32; i++)
        x[i] = 0.5f + (float)(i % 3) * 0.5f;
    dtype_info(DTYPE_MXFP4)->from_f32(block, x, 32);
    assert_int_equal(block[0], 127);
}

/// A block of one order, its bytes turned as ollama/ollama does it while loading: from
/// (0 1)(2 3) .. (30 31) to (0 16)(1 17) .. (15 31).
static void pairs_are_mxfp4_in_another_order(void **state)
{
    (void)state;
    const struct dtype_info *t = dtype_info(DTYPE_MXFP4_PAIRS);
    uint8_t pairs[17], block[17], again[17];
    float x[32], y[32];
    for (int round = 0; round < 1000; round++) {
        for (int i = 0; i < 17; i++)
            pairs[i] = (uint8_t)((uint32_t)((round + 1) * (i + 7)) * 2654435761u >> 13);
        pairs[0] = (uint8_t)(pairs[0] % 200 + 20);
        block[0] = pairs[0];
        for (int j = 0; j < 8; j++) {
            const uint8_t a = pairs[1 + j], b = pairs[9 + j];
            block[1 + 2 * j] = (uint8_t)((a & 15) | b << 4);
            block[2 + 2 * j] = (uint8_t)(a >> 4 | (b & 0xf0));
        }
        t->to_f32(x, pairs, 32);
        dtype_info(DTYPE_MXFP4)->to_f32(y, block, 32);
        assert_memory_equal(x, y, sizeof x);
        t->from_f32(again, x, 32);
        t->to_f32(y, again, 32);
        for (int i = 0; i < 32; i++)
            assert_true(x[i] == y[i]);
    }
    assert_false(dtype_known(DTYPE_MXFP4_PAIRS)); // no file says it by this number
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pairs_are_mxfp4_in_another_order),
        cmocka_unit_test(every_scale_and_number_is_what_the_standard_says),
        cmocka_unit_test(numbers_of_the_format_come_back_exactly),
        cmocka_unit_test(the_larger_scale_is_taken_where_it_costs_less),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
