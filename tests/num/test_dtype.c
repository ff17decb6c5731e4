// test_dtype.c - what holds for every number format: against numbers made elsewhere, between its
// own functions, and for bytes that no program would write.

#include "num/dtype.h"

#include "base/base.h"

#include <math.h>
#include <setjmp.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/// splitmix64
static uint64_t next(uint64_t *seed)
{
    uint64_t z = *seed += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

static float normal(uint64_t *seed)
{
    double sum = -6;
    for (int i = 0; i < 12; i++)
        sum += (double)(next(seed) >> 11) * 0x1p-53;
    return (float)sum;
}

static uint32_t bits(float f)
{
    uint32_t x;
    memcpy(&x, &f, sizeof x);
    return x;
}

static bool same(float a, float b)
{
    return bits(a) == bits(b) || (isnan(a) && isnan(b));
}

/// Every format that can be in a file, one after another: for (...; t = after(t)).
static const struct dtype_info *format_at(uint32_t *t)
{
    while (*t < DTYPE_A8 && !dtype_known(*t))
        ++*t;
    return *t < DTYPE_A8 ? dtype_info((enum dtype) * t) : NULL;
}
#define EACH_FORMAT(info)                                                                          \
    uint32_t type_id = 0;                                                                          \
    for (const struct dtype_info *info; (info = format_at(&type_id)) != NULL; type_id++)

// --- the table
// --------------------------------------------------------------------------------------

static void every_format_is_in_the_table_under_its_gguf_id(void **state)
{
    (void)state;
    static const struct {
        int id;
        const char *name;
        int block, bytes;
    } want[] = {
        { 0, "F32", 1, 4 },       { 1, "F16", 1, 2 },         { 2, "Q4_0", 32, 18 },
        { 3, "Q4_1", 32, 20 },    { 6, "Q5_0", 32, 22 },      { 7, "Q5_1", 32, 24 },
        { 8, "Q8_0", 32, 34 },    { 10, "Q2_K", 256, 84 },    { 11, "Q3_K", 256, 110 },
        { 12, "Q4_K", 256, 144 }, { 13, "Q5_K", 256, 176 },   { 14, "Q6_K", 256, 210 },
        { 20, "IQ4_NL", 32, 18 }, { 23, "IQ4_XS", 256, 136 }, { 26, "I32", 1, 4 },
        { 30, "BF16", 1, 2 },     { 39, "MXFP4", 32, 17 },
    };
    int n = 0;
    EACH_FORMAT(t)
    {
        assert_int_equal(type_id, want[n].id);
        assert_string_equal(t->name, want[n].name);
        assert_int_equal(t->block, want[n].block);
        assert_int_equal(t->block_bytes, want[n].bytes);
        assert_int_equal(t->quantized, t->block > 1);
        assert_int_equal(t->expand != NULL, t->quantized);
        assert_true(t->to_f32 != NULL && t->from_f32 != NULL);
        n++;
    }
    assert_int_equal(n, ARRAY_LEN(want));
}

static void unknown_and_retired_ids_are_not_known(void **state)
{
    (void)state;
    static const uint32_t no[] = { 4,  5,  9,  15, 16,  25,       31,        38,
                                   40, 63, 64, 65, 255, 1u << 31, UINT32_MAX };
    for (size_t i = 0; i < ARRAY_LEN(no); i++)
        assert_false(dtype_known(no[i]));
    assert_null(dtype_info((enum dtype)4));
    assert_null(dtype_info(DTYPE_COUNT));
    assert_null(dtype_info((enum dtype)(-1)));
    assert_non_null(dtype_info(DTYPE_A8));
}

static void names_are_found_in_any_case(void **state)
{
    (void)state;
    EACH_FORMAT(t)
    {
        enum dtype d = DTYPE_COUNT;
        char lower[16] = "";
        for (size_t i = 0; t->name[i]; i++)
            lower[i] = (char)(t->name[i] | (t->name[i] >= 'A' && t->name[i] <= 'Z' ? 32 : 0));
        assert_true(dtype_by_name(&d, t->name));
        assert_int_equal(d, type_id);
        assert_true(dtype_by_name(&d, lower));
        assert_int_equal(d, type_id);
    }
    enum dtype d = DTYPE_I32;
    assert_false(dtype_by_name(&d, "Q4"));
    assert_false(dtype_by_name(&d, ""));
    assert_false(dtype_by_name(&d, "A8"));
    assert_int_equal(d, DTYPE_I32);
}

static void row_bytes_count_blocks(void **state)
{
    (void)state;
    EACH_FORMAT(t)
    assert_true(dtype_row_bytes((enum dtype)type_id, 256 * 7) ==
                (uint64_t)(256 * 7 / t->block * t->block_bytes));
    assert_true(dtype_row_bytes(DTYPE_Q4_K, (int64_t)1 << 40) == (uint64_t)144 << 32);
    assert_true(dtype_row_bytes(DTYPE_A8, 64) == 96);
    assert_true(dtype_row_bytes(DTYPE_F32, 0) == 0);
}

// --- blocks to numbers
// ------------------------------------------------------------------------------

static void numbers_are_those_of_an_independent_implementation(void **state)
{
    (void)state;
    EACH_FORMAT(t)
    {
        if (!t->quantized)
            continue;
        char path[64];
        char *data;
        size_t n_bytes;
        struct err e = { 0 };
        (void)snprintf(path, sizeof path, "tests/data/num/%s.bin", t->name);
        if (!file_read(&data, &n_bytes, path, 1 << 20, &e))
            fail_msg("%s", e.msg);

        const size_t n = 3 * (size_t)t->block, block_bytes = 3 * (size_t)t->block_bytes;
        assert_int_equal(n_bytes, block_bytes + n * sizeof(float));
        float got[3 * 256], want[3 * 256];
        memcpy(want, data + block_bytes, n * sizeof(float));
        t->to_f32(got, data, (int64_t)n);
        for (size_t i = 0; i < n; i++)
            if (!same(got[i], want[i]))
                fail_msg("%s[%zu]: %a, not %a", t->name, i, (double)got[i], (double)want[i]);
        free(data);
    }
}

/// Buffers of exactly the promised sizes, so that the sanitizer sees a byte too many.
struct expanded_bufs {
    struct expanded e;
    int64_t n;
};
enum { UNTOUCHED = 0x5a };

static struct expanded_bufs bufs_new(int64_t n)
{
    const size_t c = (size_t)n;
    struct expanded_bufs b = {
        .e = { xmalloc(c), xmalloc(c / 32 * 4), xmalloc(c / 16 * 4), xmalloc(c / 16) },
        .n = n,
    };
    memset(b.e.m, UNTOUCHED, c / 16 * 4);
    memset(b.e.s, UNTOUCHED, c / 16);
    return b;
}

static void bufs_free(struct expanded_bufs *b)
{
    free(b->e.u);
    free(b->e.d);
    free(b->e.m);
    free(b->e.s);
}

/// The formula of dtype.h in double, where every step is exact; rounded once.
static float expanded_value(const struct dtype_info *t, const struct expanded *e, int64_t i)
{
    const double d = (double)e->d[i / 32] * (t->sub16 ? e->s[i / 16] : 1);
    const double m = !t->has_min ? 0 : (double)e->m[t->sub16 ? i / 16 : i / 32];
    return (float)(d * (e->u[i] - t->zero) - m);
}

static void check_blocks(const struct dtype_info *t, const uint8_t *blocks, int64_t n)
{
    const size_t bytes = (size_t)(n / t->block * t->block_bytes);
    uint8_t *src = xmalloc(bytes + 1); // at an odd address
    float *x = xmalloc((size_t)n * sizeof *x);
    memcpy(src + 1, blocks, bytes);
    t->to_f32(x, src + 1, n);

    if (t->quantized) {
        struct expanded_bufs b = bufs_new(n);
        t->expand(&b.e, src + 1, n);
        for (int64_t i = 0; i < n; i++) {
            const float want = expanded_value(t, &b.e, i);
            if (x[i] != want && !same(x[i], want))
                fail_msg("%s: number %d is %a, expanded %a", t->name, (int)i, (double)x[i],
                         (double)want);
        }
        for (int64_t i = 0; !t->has_min && i < n / 16 * 4; i++)
            assert_int_equal(((const uint8_t *)b.e.m)[i], UNTOUCHED);
        for (int64_t i = 0; !t->sub16 && i < n / 16; i++)
            assert_int_equal(b.e.s[i], UNTOUCHED);
        bufs_free(&b);
    }
    free(x);
    free(src);
}

static void expanded_form_is_exactly_the_numbers_for_any_bytes(void **state)
{
    (void)state;
    EACH_FORMAT(t)
    {
        const int64_t n = 256 * 40;
        const size_t bytes = (size_t)(n / t->block * t->block_bytes);
        uint8_t *p = xmalloc(bytes);
        uint64_t seed = type_id + 1;
        for (int round = 0; round < 10; round++) {
            for (size_t i = 0; i < bytes; i++)
                p[i] = round == 0 ? 0x00 : round == 1 ? 0xff : (uint8_t)next(&seed);
            check_blocks(t, p, n);
        }
        free(p);
    }
}

// --- numbers to blocks
// ------------------------------------------------------------------------------

/// Root mean square error over normal numbers, relative to them: no worse than the usual
/// quantizers.
static void rounding_errors_are_small(void **state)
{
    (void)state;
    static const struct {
        enum dtype t;
        double bound;
    } want[] = {
        { DTYPE_F32, 0 },       { DTYPE_F16, 3e-4 },     { DTYPE_BF16, 2e-3 },
        { DTYPE_Q4_0, 0.088 },  { DTYPE_Q4_1, 0.080 },   { DTYPE_Q5_0, 0.044 },
        { DTYPE_Q5_1, 0.039 },  { DTYPE_Q8_0, 0.0056 },  { DTYPE_Q2_K, 0.28 },
        { DTYPE_Q3_K, 0.148 },  { DTYPE_Q4_K, 0.073 },   { DTYPE_Q5_K, 0.037 },
        { DTYPE_Q6_K, 0.0180 }, { DTYPE_IQ4_NL, 0.075 }, { DTYPE_IQ4_XS, 0.076 },
        { DTYPE_MXFP4, 0.114 },
    };
    enum { N = 256 * 64 };
    static float x[N], y[N];
    static uint8_t p[4 * N];
    uint64_t seed = 7;
    for (int i = 0; i < N; i++)
        x[i] = 0.02f * normal(&seed);
    for (size_t k = 0; k < ARRAY_LEN(want); k++) {
        const struct dtype_info *t = dtype_info(want[k].t);
        double error = 0, size = 0;
        t->from_f32(p, x, N);
        t->to_f32(y, p, N);
        for (int i = 0; i < N; i++) {
            error += ((double)x[i] - (double)y[i]) * ((double)x[i] - (double)y[i]);
            size += (double)x[i] * (double)x[i];
        }
        if (sqrt(error / size) > want[k].bound)
            fail_msg("%s: relative error %.5f", t->name, sqrt(error / size));
    }
}

/// Rows with all numbers equal, with one number that is not 0, of positive numbers only.
static void odd_rows_come_back_close(void **state)
{
    (void)state;
    EACH_FORMAT(t)
    {
        if (type_id == DTYPE_I32)
            continue;
        for (int kind = 0; kind < 5; kind++) {
            float x[256], y[256];
            uint8_t p[1024];
            uint64_t seed = 3;
            float top = 0;
            for (int i = 0; i < 256; i++) {
                x[i] = kind == 0   ? 0
                       : kind == 1 ? 0.75f
                       : kind == 2 ? -0.75f
                       : kind == 3 ? (i == 77 ? -3.0f : 0)
                                   : 1.0f + 0.5f * (float)(next(&seed) % 1000) / 1000;
                top = fabsf(x[i]) > top ? fabsf(x[i]) : top;
            }
            t->from_f32(p, x, 256);
            t->to_f32(y, p, 256);
            for (int i = 0; i < 256; i++)
                if (fabsf(x[i] - y[i]) > 0.25f * top)
                    fail_msg("%s, kind %d: %g became %g", t->name, kind, (double)x[i],
                             (double)y[i]);
        }
    }
}

static void any_floats_give_finite_blocks(void **state)
{
    (void)state;
    EACH_FORMAT(t)
    {
        if (!t->quantized)
            continue;
        uint64_t seed = 11 + type_id;
        for (int round = 0; round < 200; round++) {
            float x[256], y[256];
            uint8_t p[256 * 2];
            for (int i = 0; i < 256; i++) {
                const uint32_t r = (uint32_t)next(&seed);
                static const float odd[] = { INFINITY, -INFINITY, NAN, 3.4e38f,
                                             -3.4e38f, 1e-45f,    0,   -1e-38f };
                memcpy(&x[i], &r, sizeof r);
                if (round % 2)
                    x[i] = odd[r % (round % 4 == 1 ? ARRAY_LEN(odd) : 1 + (unsigned)round % 8)];
            }
            t->from_f32(p, x, 256);
            t->to_f32(y, p, 256);
            for (int i = 0; i < 256; i++)
                if (!isfinite(y[i]))
                    fail_msg("%s: %g became %g", t->name, (double)x[i], (double)y[i]);
        }
    }
}

static void blocks_do_not_touch_their_neighbours(void **state)
{
    (void)state;
    EACH_FORMAT(t)
    {
        uint64_t seed = 5;
        float x[3 * 256];
        uint8_t all[3 * 1024 + 1], one[1024];
        for (int i = 0; i < 3 * t->block; i++)
            x[i] = normal(&seed);
        const size_t bytes = (size_t)t->block_bytes;
        all[3 * bytes] = UNTOUCHED;
        t->from_f32(all, x, 3 * t->block);
        assert_int_equal(all[3 * bytes], UNTOUCHED);
        for (int b = 0; b < 3; b++) {
            t->from_f32(one, x + b * t->block, t->block);
            assert_memory_equal(all + (size_t)b * bytes, one, bytes);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_format_is_in_the_table_under_its_gguf_id),
        cmocka_unit_test(unknown_and_retired_ids_are_not_known),
        cmocka_unit_test(names_are_found_in_any_case),
        cmocka_unit_test(row_bytes_count_blocks),
        cmocka_unit_test(numbers_are_those_of_an_independent_implementation),
        cmocka_unit_test(expanded_form_is_exactly_the_numbers_for_any_bytes),
        cmocka_unit_test(rounding_errors_are_small),
        cmocka_unit_test(odd_rows_come_back_close),
        cmocka_unit_test(any_floats_give_finite_blocks),
        cmocka_unit_test(blocks_do_not_touch_their_neighbours),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
