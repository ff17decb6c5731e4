// test_keys.c - values by the type that the caller wants, and as text.

#include "gguf/gguf_check.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/// A key of each type, and of each kind of array.
static void all_types(struct gguf_make *m)
{
    gm_init(m);
    gm_u8(m, "u8", 200);
    gm_key(m, "i8", GGUF_I8);
    gm_put_u8(&m->keys, (uint8_t)-3);
    gm_u16(m, "u16", 60000);
    gm_key(m, "i16", GGUF_I16);
    gm_put_u16(&m->keys, (uint16_t)-300);
    gm_u32(m, "u32", 4000000000u);
    gm_i32(m, "i32", -70000);
    gm_f32(m, "f32", 1e-5f);
    gm_bool(m, "bool", true);
    gm_str(m, "str", "text");
    gm_u64(m, "u64", UINT64_MAX);
    gm_i64(m, "i64", INT64_MIN);
    gm_f64(m, "f64", 0.1);
    gm_strs(m, "strs", 3, (const char *[]){ "one", "", "three" });
    gm_arr(m, "bools", GGUF_BOOL, 3, (uint8_t[]){ 1, 0, 1 }, 3);
    gm_arr(m, "u8s", GGUF_U8, 3, (uint8_t[]){ 0, 127, 255 }, 3);
    gm_arr(m, "i8s", GGUF_I8, 3, (int8_t[]){ 0, 127, -128 }, 3);
    gm_arr(m, "u16s", GGUF_U16, 2, (uint16_t[]){ 1, 65535 }, 4);
    gm_arr(m, "i16s", GGUF_I16, 2, (int16_t[]){ -32768, 32767 }, 4);
    gm_arr(m, "u32s", GGUF_U32, 2, (uint32_t[]){ 1, UINT32_MAX }, 8);
    gm_arr(m, "i32s", GGUF_I32, 2, (int32_t[]){ INT32_MIN, INT32_MAX }, 8);
    gm_arr(m, "f32s", GGUF_F32, 4, (float[]){ 0.5f, -2, NAN, INFINITY }, 16);
    gm_arr(m, "u64s", GGUF_U64, 2, (uint64_t[]){ 1, UINT64_MAX }, 16);
    gm_arr(m, "i64s", GGUF_I64, 2, (int64_t[]){ INT64_MIN, INT64_MAX }, 16);
    gm_arr(m, "f64s", GGUF_F64, 4, (double[]){ 0x1p63, -0x1p63, 0.5, 3 }, 32);
    gm_arr(m, "none", GGUF_U32, 0, NULL, 0);
    gm_strs(m, "no strs", 0, NULL);
}

static void integers_of_any_type_fit_or_are_refused(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        bool u32, i64;
        int64_t value;
    } cases[] = {
        { "u8", true, true, 200 },         { "i8", false, true, -3 },
        { "u16", true, true, 60000 },      { "i16", false, true, -300 },
        { "u32", true, true, 4000000000 }, { "i32", false, true, -70000 },
        { "u64", false, false, 0 },        { "i64", false, true, INT64_MIN },
        { "f32", false, false, 0 },        { "f64", false, false, 0 },
        { "bool", false, false, 0 },       { "str", false, false, 0 },
        { "strs", false, false, 0 },       { "u32s", false, false, 0 },
        { "not there", false, false, 0 },
    };
    struct gguf_make m;

    all_types(&m);
    struct opened o = gguf_opens(&m);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        uint32_t u = 0xdead;
        int64_t v = 0xdead;
        assert_int_equal(gguf_get_u32(o.g, cases[i].name, &u), cases[i].u32);
        assert_int_equal(u, cases[i].u32 ? (uint32_t)cases[i].value : 0xdead);
        assert_int_equal(gguf_get_i64(o.g, cases[i].name, &v), cases[i].i64);
        assert_int_equal(v, cases[i].i64 ? cases[i].value : 0xdead);
    }
    opened_done(&o);
    gm_done(&m);
}

static void floats_come_from_any_number(void **state)
{
    (void)state;
    struct gguf_make m;
    float f;

    all_types(&m);
    gm_f64(&m, "huge", 1e300);
    gm_f64(&m, "largest", (double)FLT_MAX);
    struct opened o = gguf_opens(&m);
    assert_true(gguf_get_f32(o.g, "f32", &f) && f == 1e-5f);
    assert_true(gguf_get_f32(o.g, "f64", &f) && f == 0.1f);
    assert_true(gguf_get_f32(o.g, "i8", &f) && f == -3);
    assert_true(gguf_get_f32(o.g, "u64", &f) && f == 0x1p64f);
    assert_true(gguf_get_f32(o.g, "largest", &f) && f == FLT_MAX);
    f = 7;
    assert_false(gguf_get_f32(o.g, "huge", &f));
    assert_false(gguf_get_f32(o.g, "bool", &f));
    assert_false(gguf_get_f32(o.g, "str", &f));
    assert_false(gguf_get_f32(o.g, "f32s", &f));
    assert_false(gguf_get_f32(o.g, "not there", &f));
    assert_true(f == 7);
    opened_done(&o);
    gm_done(&m);
}

static void bools_and_texts_are_only_themselves(void **state)
{
    (void)state;
    struct gguf_make m;

    all_types(&m);
    struct opened o = gguf_opens(&m);
    for (int k = 0; k < gguf_n_keys(o.g); k++) {
        const char *name = gguf_key_name(o.g, k);
        struct str s = { "unset", 5 };
        bool b = false;
        assert_int_equal(gguf_get_bool(o.g, name, &b), strcmp(name, "bool") == 0);
        assert_int_equal(b, strcmp(name, "bool") == 0);
        assert_int_equal(gguf_get_str(o.g, name, &s), strcmp(name, "str") == 0);
        assert_true(str_is(s, strcmp(name, "str") == 0 ? "text" : "unset"));
    }
    opened_done(&o);
    gm_done(&m);
}

static void keys_that_are_not_there_are_of_no_type(void **state)
{
    (void)state;
    struct gguf_make m;
    struct gguf_arr a;
    struct str s;
    uint64_t n;
    uint32_t u;
    int64_t i;
    float f;
    bool b;

    all_types(&m);
    struct opened o = gguf_opens(&m);
    assert_int_equal(gguf_find_key(o.g, ""), -1);
    assert_false(gguf_get_u32(o.g, "u", &u));
    assert_false(gguf_get_i64(o.g, "u", &i));
    assert_false(gguf_get_f32(o.g, "u", &f));
    assert_false(gguf_get_bool(o.g, "u", &b));
    assert_false(gguf_get_str(o.g, "u", &s));
    assert_false(gguf_get_arr(o.g, "u", &a));
    assert_null(gguf_arr_strs(o.g, "u", &n));
    assert_null(gguf_arr_str(o.g, "u", 0).p);
    opened_done(&o);
    gm_done(&m);
}

static void elements_are_numbers_where_they_fit(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        uint64_t i;
        bool is_i64;
        int64_t value;
        double f64;
    } cases[] = {
        { "bools", 0, true, 1, 1 },
        { "bools", 1, true, 0, 0 },
        { "u8s", 2, true, 255, 255 },
        { "i8s", 2, true, -128, -128 },
        { "u16s", 1, true, 65535, 65535 },
        { "i16s", 0, true, -32768, -32768 },
        { "u32s", 1, true, UINT32_MAX, 4294967295.0 },
        { "i32s", 0, true, INT32_MIN, -0x1p31 },
        { "f32s", 0, false, 0, 0.5 },
        { "f32s", 1, true, -2, -2 },
        { "f32s", 2, false, 0, (double)NAN },
        { "f32s", 3, false, 0, (double)INFINITY },
        { "u64s", 1, false, 0, 0x1p64 },
        { "i64s", 0, true, INT64_MIN, -0x1p63 },
        { "i64s", 1, true, INT64_MAX, 0x1p63 },
        { "f64s", 0, false, 0, 0x1p63 },
        { "f64s", 1, true, INT64_MIN, -0x1p63 },
        { "f64s", 2, false, 0, 0.5 },
        { "f64s", 3, true, 3, 3 },
    };
    struct gguf_make m;

    all_types(&m);
    struct opened o = gguf_opens(&m);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct gguf_arr a;
        int64_t v = 0xdead;
        double d = 0;
        assert_true(gguf_get_arr(o.g, cases[i].name, &a));
        assert_int_equal(gguf_arr_i64(&a, cases[i].i, &v), cases[i].is_i64);
        assert_int_equal(v, cases[i].is_i64 ? cases[i].value : 0xdead);
        assert_true(gguf_arr_f64(&a, cases[i].i, &d));
        assert_true(d == cases[i].f64 || (isnan(d) && isnan(cases[i].f64)));
    }
    opened_done(&o);
    gm_done(&m);
}

static void elements_end_with_the_array(void **state)
{
    (void)state;
    struct gguf_make m;

    all_types(&m);
    struct opened o = gguf_opens(&m);
    for (int k = 0; k < gguf_n_keys(o.g); k++) {
        const char *name = gguf_key_name(o.g, k);
        struct gguf_arr a;
        int64_t v;
        double d;
        if (!gguf_get_arr(o.g, name, &a))
            continue;
        assert_false(gguf_arr_i64(&a, a.n, &v));
        assert_false(gguf_arr_f64(&a, a.n, &d));
        assert_false(gguf_arr_i64(&a, UINT64_MAX, &v));
        assert_null(gguf_arr_str(o.g, name, a.n).p);
        assert_null(gguf_arr_str(o.g, name, UINT64_MAX).p);
    }
    opened_done(&o);
    gm_done(&m);
}

static void m05_an_array_is_never_read_as_another_type(void **state)
{
    (void)state;
    struct gguf_make m;
    struct gguf_arr a;
    uint64_t n = 0xdead;
    int64_t v;

    gm_init(&m);
    gm_arr(&m, "tokenizer.ggml.scores", GGUF_U8, 5, (uint8_t[]){ 1, 2, 3, 4, 5 }, 5);
    gm_arr(&m, "tokenizer.ggml.token_type", GGUF_U8, 5, (uint8_t[]){ 6, 7, 8, 9, 10 }, 5);
    gm_arr(&m, "tokenizer.ggml.tokens", GGUF_U32, 5, (uint32_t[]){ 1, 2, 3, 4, 5 }, 20);
    gm_str(&m, "tokenizer.ggml.merges", "a b");
    struct opened o = gguf_opens(&m);
    assert_true(gguf_get_arr(o.g, "tokenizer.ggml.scores", &a)); // the type comes with it
    assert_int_equal(a.type, GGUF_U8);
    assert_true(gguf_arr_i64(&a, 4, &v)); // and elements are read by it
    assert_int_equal(v, 5);
    assert_true(gguf_get_arr(o.g, "tokenizer.ggml.token_type", &a));
    assert_true(gguf_arr_i64(&a, 4, &v));
    assert_int_equal(v, 10);
    assert_null(gguf_arr_strs(o.g, "tokenizer.ggml.tokens", &n));
    assert_null(gguf_arr_strs(o.g, "tokenizer.ggml.merges", &n));
    assert_int_equal(n, 0xdead);
    assert_null(gguf_arr_str(o.g, "tokenizer.ggml.tokens", 0).p);
    assert_false(gguf_get_arr(o.g, "tokenizer.ggml.merges", &a));
    opened_done(&o);
    gm_done(&m);
    gm_init(&m);
    gm_strs(&m, "tokenizer.ggml.scores", 2, (const char *[]){ "12345678", "x" });
    o = gguf_opens(&m);
    assert_true(gguf_get_arr(o.g, "tokenizer.ggml.scores", &a));
    assert_int_equal(a.type, GGUF_STR);
    assert_null(a.data);
    assert_false(gguf_arr_i64(&a, 0, &v));
    opened_done(&o);
    gm_done(&m);
}

static void strings_of_arrays_come_one_by_one_and_all_at_once(void **state)
{
    (void)state;
    struct gguf_make m;
    uint64_t n;

    all_types(&m);
    struct opened o = gguf_opens(&m);
    const struct str *all = gguf_arr_strs(o.g, "strs", &n);
    assert_int_equal(n, 3);
    assert_string_equal(all[0].p, "one");
    assert_string_equal(all[1].p, "");
    assert_string_equal(all[2].p, "three");
    assert_ptr_equal(gguf_arr_str(o.g, "strs", 2).p, all[2].p);
    assert_non_null(gguf_arr_strs(o.g, "no strs", &n));
    assert_int_equal(n, 0);
    opened_done(&o);
    gm_done(&m);
}

static void check_text(const struct gguf *g, const char *name, const char *text)
{
    struct buf b;

    buf_init(&b, 4096);
    assert_true(gguf_key_text(g, gguf_find_key(g, name), &b));
    assert_string_equal(b.p, text);
    buf_done(&b);
}

static void text_of_values_is_short_and_exact(void **state)
{
    (void)state;
    struct gguf_make m;
    char full[200], cut[240];

    all_types(&m);
    gm_f32(&m, "million", 1e6f);
    gm_f32(&m, "third", 1.0f / 3);
    gm_f32(&m, "inf", -INFINITY);
    gm_arr(&m, "9", GGUF_U8, 9, "123456789", 9);
    gm_arr(&m, "8", GGUF_U8, 8, "12345678", 8);
    gm_str(&m, "odd", "\"\\\n\t\x01\xff\xe2\x80\xae\xc3\xa4 \x1b[31m");
    memset(full, 'x', sizeof(full));
    full[120] = 0;
    gm_str(&m, "120", full);
    full[119] = 0;
    char *umlaut = xasprintf("%s\xc3\xa4", full);
    gm_str(&m, "121", umlaut);
    free(umlaut);
    struct opened o = gguf_opens(&m);
    check_text(o.g, "u64", "18446744073709551615");
    check_text(o.g, "i64", "-9223372036854775808");
    check_text(o.g, "i8", "-3");
    check_text(o.g, "f32", "1e-05");
    check_text(o.g, "f64", "0.1");
    check_text(o.g, "million", "1000000");
    check_text(o.g, "third", "0.33333334");
    check_text(o.g, "inf", "-inf");
    check_text(o.g, "bool", "true");
    check_text(o.g, "str", "\"text\"");
    check_text(o.g, "strs", "[\"one\", \"\", \"three\"]");
    check_text(o.g, "bools", "[true, false, true]");
    check_text(o.g, "f32s", "[0.5, -2, nan, inf]");
    check_text(o.g, "none", "[]");
    check_text(o.g, "no strs", "[]");
    check_text(o.g, "8", "[49, 50, 51, 52, 53, 54, 55, 56]");
    check_text(o.g, "9", "[49, 50, 51, 52, 53, 54, 55, 56, ...] (9 elements)");
    check_text(o.g, "odd", "\"\\\"\\\\\\n\\t\\u0001\\xff\\u202eä \\u001b[31m\"");
    full[119] = 'x';
    snprintf(cut, sizeof(cut), "\"%s\"", full);
    check_text(o.g, "120", cut);
    full[119] = 0;
    snprintf(cut, sizeof(cut), "\"%s...\" (121 bytes)", full);
    check_text(o.g, "121", cut);
    opened_done(&o);
    gm_done(&m);
}

static void text_stops_where_the_buffer_is_full(void **state)
{
    (void)state;
    struct gguf_make m;

    all_types(&m);
    struct opened o = gguf_opens(&m);
    for (int k = 0; k < gguf_n_keys(o.g); k++) {
        struct buf all, part;
        buf_init(&all, 4096);
        assert_true(gguf_key_text(o.g, k, &all));
        for (size_t max = 0; max <= all.n; max++) {
            buf_init(&part, max);
            assert_int_equal(gguf_key_text(o.g, k, &part), max == all.n);
            assert_true(part.n <= max);
            if (part.n > 0)
                assert_memory_equal(part.p, all.p, part.n);
            buf_done(&part);
        }
        buf_done(&all);
    }
    opened_done(&o);
    gm_done(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(integers_of_any_type_fit_or_are_refused),
        cmocka_unit_test(floats_come_from_any_number),
        cmocka_unit_test(bools_and_texts_are_only_themselves),
        cmocka_unit_test(keys_that_are_not_there_are_of_no_type),
        cmocka_unit_test(elements_are_numbers_where_they_fit),
        cmocka_unit_test(elements_end_with_the_array),
        cmocka_unit_test(m05_an_array_is_never_read_as_another_type),
        cmocka_unit_test(strings_of_arrays_come_one_by_one_and_all_at_once),
        cmocka_unit_test(text_of_values_is_short_and_exact),
        cmocka_unit_test(text_stops_where_the_buffer_is_full),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
