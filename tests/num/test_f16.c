// test_f16.c - half precision and bfloat16, over all values and at every rounding edge.

#include "num/dtype.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static uint32_t bits(float f)
{
    uint32_t x;
    memcpy(&x, &f, sizeof x);
    return x;
}

static float of_bits(uint32_t x)
{
    float f;
    memcpy(&f, &x, sizeof f);
    return f;
}

/// The definition: sign, exponent, mantissa, written down with ldexp.
static double f16_value(uint16_t h)
{
    const int exp = h >> 10 & 31, mant = h & 1023;
    const double sign = h & 0x8000 ? -1.0 : 1.0;
    if (exp == 31)
        return mant ? (double)NAN : sign * (double)INFINITY;
    return sign * (exp ? ldexp(1024 + mant, exp - 25) : ldexp(mant, -24));
}

static void f16_to_f32_is_exact_for_all_values(void **state)
{
    (void)state;
    for (uint32_t h = 0; h < 65536; h++) {
        const float f = f16_to_f32((uint16_t)h);
        const double want = f16_value((uint16_t)h);
        if (isnan(want)) {
            assert_true(isnan(f));
            assert_true(bits(f) & 0x400000); // quiet
        } else {
            assert_true((double)f == want);
        }
        assert_int_equal(bits(f) >> 31, h >> 15);
    }
}

static void f16_survives_the_way_to_f32_and_back(void **state)
{
    (void)state;
    for (uint32_t h = 0; h < 65536; h++) {
        const bool nan = (h & 0x7c00) == 0x7c00 && (h & 0x3ff);
        assert_int_equal(f32_to_f16(f16_to_f32((uint16_t)h)), nan ? h | 0x200 : h);
    }
}

/// Between two neighbours: the middle goes to the even one, a hair off it to the nearer one.
static void f32_to_f16_rounds_to_nearest_even(void **state)
{
    (void)state;
    for (uint32_t sign = 0; sign <= 0x8000; sign += 0x8000) {
        for (uint32_t h = 0; h < 0x7c00; h++) {
            const float s = sign ? -1.0f : 1.0f;
            const float a = f16_to_f32((uint16_t)h);
            const float b = h == 0x7bff ? 65536.0f : f16_to_f32((uint16_t)(h + 1));
            const float middle = (a + b) / 2; // exact
            assert_int_equal(f32_to_f16(s * middle), sign | (h & 1 ? h + 1 : h));
            assert_int_equal(f32_to_f16(s * nextafterf(middle, 0)), sign | h);
            assert_int_equal(f32_to_f16(s * nextafterf(middle, INFINITY)), sign | (h + 1));
        }
    }
    assert_int_equal(f32_to_f16(65536.0f), 0x7c00);
    assert_int_equal(f32_to_f16(3e38f), 0x7c00);
    assert_int_equal(f32_to_f16(-INFINITY), 0xfc00);
    assert_int_equal(f32_to_f16(1e-40f), 0);
    assert_int_equal(f32_to_f16(-0.0f), 0x8000);
}

static void f32_to_f16_keeps_nan(void **state)
{
    (void)state;
    for (uint32_t mant = 1; mant < 1u << 23; mant = mant * 3 + 1) {
        const uint16_t h = f32_to_f16(of_bits(0x7f800000 | mant));
        assert_true((h & 0x7c00) == 0x7c00 && (h & 0x3ff) != 0);
    }
}

static void bf16_is_the_top_half_of_f32(void **state)
{
    (void)state;
    for (uint32_t h = 0; h < 65536; h++) {
        assert_int_equal(bits(bf16_to_f32((uint16_t)h)), h << 16);
        const bool nan = (h & 0x7fff) > 0x7f80;
        assert_int_equal(f32_to_bf16(of_bits(h << 16)), nan ? h | 0x40 : h);
    }
}

static void f32_to_bf16_rounds_to_nearest_even(void **state)
{
    (void)state;
    for (uint32_t h = 0; h < 65536; h++) {
        if ((h & 0x7f80) == 0x7f80)
            continue;
        assert_int_equal(f32_to_bf16(of_bits(h << 16 | 0x7fff)), h);
        assert_int_equal(f32_to_bf16(of_bits(h << 16 | 0x8000)), h & 1 ? h + 1 : h);
        assert_int_equal(f32_to_bf16(of_bits(h << 16 | 0x8001)), h + 1);
    }
}

static void f32_to_bf16_keeps_nan(void **state)
{
    (void)state;
    assert_int_equal(f32_to_bf16(of_bits(0x7f800001)), 0x7fc0);
    assert_int_equal(f32_to_bf16(of_bits(0xffffffff)), 0xffff);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(f16_to_f32_is_exact_for_all_values),
        cmocka_unit_test(f16_survives_the_way_to_f32_and_back),
        cmocka_unit_test(f32_to_f16_rounds_to_nearest_even),
        cmocka_unit_test(f32_to_f16_keeps_nan),
        cmocka_unit_test(bf16_is_the_top_half_of_f32),
        cmocka_unit_test(f32_to_bf16_rounds_to_nearest_even),
        cmocka_unit_test(f32_to_bf16_keeps_nan),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
