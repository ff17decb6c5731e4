// test_a8.c - activations: the layout of a row, and the definition of its numbers.

#include "num/dtype.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { N = 96 };

static struct a8_row quantized(const float x[N])
{
    static float row[N * 3 / 2 / sizeof(float)];
    assert_int_equal(dtype_row_bytes(DTYPE_A8, N), sizeof row);
    dtype_info(DTYPE_A8)->from_f32(row, x, N);
    return a8_row_at(row, N);
}

static void rows_follow_the_definition(void **state)
{
    (void)state;
    float x[N];
    for (int i = 0; i < N; i++)
        x[i] = sinf((float)(i * i)) * (float)(1 + i / 32) + (i < 64 ? 0.0f : 2.5f);
    const struct a8_row a = quantized(x);

    for (int g = 0; g < N / 32; g++) {
        float amax = 0;
        int32_t sum[2] = { 0, 0 };
        for (int i = 32 * g; i < 32 * g + 32; i++)
            amax = fmaxf(amax, fabsf(x[i]));
        assert_true(a.d[g] == amax / 127);
        for (int i = 32 * g; i < 32 * g + 32; i++) {
            assert_int_equal(a.q[i], (int)nearbyintf(x[i] * (1 / a.d[g])));
            sum[i / 16 % 2] += a.q[i];
        }
        assert_int_equal(a.sum[2 * g], sum[0]);
        assert_int_equal(a.sum[2 * g + 1], sum[1]);
        assert_true(a.s[g] == a.d[g] * (float)(sum[0] + sum[1]));
    }
}

static void halves_go_to_the_even_number(void **state)
{
    (void)state;
    float x[N] = { 127, 0.5f, 1.5f, 2.5f, -0.5f, -1.5f, -2.5f, 126.5f, -127 };
    const struct a8_row a = quantized(x);
    static const int want[] = { 127, 0, 2, 2, 0, -2, -2, 126, -127 };
    for (int i = 0; i < 9; i++)
        assert_int_equal(a.q[i], want[i]);
}

static void zeros_have_no_scale(void **state)
{
    (void)state;
    const float x[N] = { 0 };
    const struct a8_row a = quantized(x);
    for (int i = 0; i < N; i++)
        assert_int_equal(a.q[i], 0);
    for (int g = 0; g < N / 32; g++)
        assert_true(a.d[g] == 0 && a.s[g] == 0);
}

static void what_is_not_finite_is_0(void **state)
{
    (void)state;
    float x[N] = { 1, NAN, -2 };
    x[32] = INFINITY;
    x[33] = 1;
    x[64] = 1e-44f; // its scale has no inverse
    const struct a8_row a = quantized(x);
    assert_true(a.d[0] == 2.0f / 127);
    assert_int_equal(a.q[1], 0);
    assert_int_equal(a.q[2], -127);
    for (int i = 32; i < N; i++)
        assert_int_equal(a.q[i], 0);
}

static void to_f32_and_expand_agree(void **state)
{
    (void)state;
    float x[N], y[N], d[N / 32];
    uint8_t u[N];
    for (int i = 0; i < N; i++)
        x[i] = cosf((float)i) * 3;
    const struct a8_row a = quantized(x);
    const struct expanded e = { .u = u, .d = d };
    dtype_info(DTYPE_A8)->to_f32(y, a.q, N);
    dtype_info(DTYPE_A8)->expand(&e, a.q, N);
    for (int i = 0; i < N; i++) {
        assert_true(y[i] == d[i / 32] * (float)(u[i] - 128));
        assert_true(fabsf(x[i] - y[i]) <= d[i / 32] * 0.5001f);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rows_follow_the_definition),
        cmocka_unit_test(halves_go_to_the_even_number),
        cmocka_unit_test(zeros_have_no_scale),
        cmocka_unit_test(what_is_not_finite_is_0),
        cmocka_unit_test(to_f32_and_expand_agree),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
