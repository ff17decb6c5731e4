// test_tensors.c - sizes, bounds and overlaps of the directory of tensors. Ids as in test_head.c.

#include "gguf/gguf_check.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#define DIMS(...)                                                                                  \
    (uint64_t[])                                                                                   \
    {                                                                                              \
        __VA_ARGS__                                                                                \
    }

enum { TYPE_I8 = 24, TYPE_I16 = 25 }; // types of the format that this program has no use for

static const uint64_t two_31 = (uint64_t)1 << 31;
static const uint64_t two_40 = (uint64_t)1 << 40;
static const uint64_t two_62 = (uint64_t)1 << 62;
static const uint64_t two_63 = (uint64_t)1 << 63;

/// One tensor of this shape, over 1 KiB of data.
static void refused_shape(uint32_t type, uint32_t n_dims, const uint64_t *ne, enum err_code code,
                          const char *texts)
{
    struct gguf_make m;

    gm_init(&m);
    gm_info(&m, "t", type, n_dims, ne, 0);
    gm_put_zeros(&m.data, 1024);
    gguf_refused(&m, code, texts);
    gm_done(&m);
}

// --- G-09: dimensions of 0
// --------------------------------------------------------------------------

static void g09_dimensions_of_0_are_refused(void **state)
{
    (void)state;
    refused_shape(DTYPE_F32, 2, DIMS(32, 0), ERR_FORMAT, "byte 33: tensor 0 \"t\": dimension 1: 0");
    refused_shape(DTYPE_F32, 1, DIMS(0), ERR_FORMAT, "tensor 0 \"t\": dimension 0: 0");
    refused_shape(DTYPE_F32, 4, DIMS(1, 1, 0, 1), ERR_FORMAT, "tensor 0 \"t\": dimension 2: 0");
    refused_shape(DTYPE_F32, 4, DIMS(two_63, 0, two_63, 2), ERR_FORMAT, "dimension 0: |2^63");
}

// --- G-10, G-11, G-13: sums that wrap
// ---------------------------------------------------------------

/// Tensors of these sizes one after the other, with offsets that are the wrapping sum.
static void refused_sums(uint32_t type, uint64_t bytes_each, int n, const uint64_t *dims,
                         enum err_code code, const char *texts)
{
    struct gguf_make m;
    uint64_t sum = 0;

    gm_init(&m);
    for (int i = 0; i < n; i++) {
        char name[8];
        snprintf(name, sizeof(name), "t%d", i);
        gm_info(&m, name, type, 1, &dims[i], sum);
        sum += (dims[i] * bytes_each + 31) / 32 * 32;
    }
    gm_info(&m, "small", DTYPE_F32, 1, DIMS(8), sum);
    gm_put_zeros(&m.data, 1024);
    gguf_refused(&m, code, texts);
    gm_done(&m);
}

static void g10_sizes_whose_sum_wraps_are_refused(void **state)
{
    (void)state;
    refused_sums(TYPE_I8, 1, 4, DIMS(two_62, two_62, two_62, two_62), ERR_UNSUPPORTED,
                 "\"t0\": type");
    refused_sums(DTYPE_F16, 2, 4, DIMS(two_62, two_62, two_62, two_62), ERR_FORMAT, "\"t0\"");
}

static void g11_sizes_whose_sum_almost_wraps_are_refused(void **state)
{
    (void)state;
    refused_sums(TYPE_I8, 1, 4, DIMS(two_62, two_62, two_62, two_62 - 512), ERR_UNSUPPORTED,
                 "\"t0\"");
    refused_sums(DTYPE_F16, 2, 4, DIMS(two_62, two_62, two_62, two_62 - 512), ERR_FORMAT, "\"t0\"");
}

static void g13_sizes_that_wrap_when_padded_are_refused(void **state)
{
    (void)state;
    refused_shape(TYPE_I16, 1, DIMS(two_63 - 8), ERR_UNSUPPORTED, "I16");
    refused_shape(TYPE_I8, 1, DIMS(two_63 - 1), ERR_UNSUPPORTED, "I8");
    refused_shape(DTYPE_F16, 1, DIMS(two_63 - 8), ERR_FORMAT, "a row of 9223372036854775800");
    refused_shape(DTYPE_F16, 2, DIMS(8, (two_63 - 8) / 8), ERR_FORMAT,
                  "18446744073709551600 bytes");
    refused_shape(DTYPE_F16, 2, DIMS(1, two_63 - 1), ERR_FORMAT, "18446744073709551614 bytes");
    refused_shape(DTYPE_F16, 1, DIMS(two_63), ERR_FORMAT, "2^63 numbers");
}

// --- G-12: products that wrap
// -----------------------------------------------------------------------

static void g12_bytes_that_wrap_are_refused(void **state)
{
    (void)state;
    refused_shape(DTYPE_F32, 2, DIMS(two_31, two_31), ERR_FORMAT, "2^64 bytes");
    refused_shape(DTYPE_F32, 2, DIMS(1024, ((uint64_t)1 << 52) + 1), ERR_FORMAT, "2^64 bytes");
    refused_shape(DTYPE_F32, 4, DIMS(1 << 16, 1 << 16, 1 << 16, 1 << 16), ERR_FORMAT,
                  "2^63 numbers");
    refused_shape(DTYPE_F32, 2, DIMS(UINT64_MAX, UINT64_MAX), ERR_FORMAT, "2^63 numbers");
    refused_shape(DTYPE_F32, 2, DIMS(two_40 + 1, 1), ERR_FORMAT, "a row of 1099511627777");
    refused_shape(DTYPE_Q8_0, 2, DIMS(two_40, 1 << 20), ERR_FORMAT,
                  "data from 96 to 1224979098644775008");
    refused_shape(DTYPE_Q8_0, 2, DIMS(two_40, (1 << 23) - 1), ERR_FORMAT, "end above 2^63");
}

// --- G-14: ranges beyond the file
// -------------------------------------------------------------------

static void g14_data_beyond_the_file_is_refused(void **state)
{
    (void)state;
    struct gguf_make m;

    gm_init(&m);
    gm_tensor_data(&m, "t", DTYPE_F16, 2, DIMS(512, 2), NULL, 32);
    gguf_refused(&m, ERR_FORMAT,
                 "byte 57: tensor 0 \"t\": offset: data from 96 to 2144, but the file has 128");
    gm_done(&m);
}

static void g14_offsets_beyond_the_file_are_refused(void **state)
{
    (void)state;
    static const uint64_t bad[] = { 1024,
                                    32 * 31 + 32,
                                    (uint64_t)1 << 40,
                                    ((uint64_t)1 << 63) - 32,
                                    (uint64_t)1 << 63,
                                    UINT64_MAX - 31,
                                    UINT64_MAX - 95 };

    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct gguf_make m;
        gm_init(&m);
        gm_info(&m, "t", DTYPE_F32, 1, DIMS(8), bad[i]);
        gm_put_zeros(&m.data, 1024);
        gguf_refused(&m, ERR_FORMAT, "byte 49: tensor 0 \"t\": offset: ");
        const struct gm_bytes *f = gm_finish(&m);
        if (bad[i] >= two_63 - 32) // not even where data may be missing
            gguf_refused_bytes(f->p, f->n, &(struct gguf_opts){ .head_only = true }, ERR_FORMAT,
                               "2^63");
        gm_done(&m);
    }
}

static void g14_data_up_to_the_last_byte_is_read(void **state)
{
    (void)state;
    struct gguf_make m;

    gm_init(&m);
    gm_info(&m, "t", DTYPE_F32, 1, DIMS(7), 1024);
    gm_put_zeros(&m.data, 1024 + 28);
    struct opened o = gguf_opens(&m);
    assert_ptr_equal((const uint8_t *)gguf_data(o.g, 0) + 28, o.bytes + o.n);
    gguf_walk_all(o.g);
    opened_done(&o);
    m.data.n--;
    gguf_refused(&m, ERR_FORMAT,
                 "byte 49: tensor 0 \"t\": offset: data from 1088 to 1116, but the file has 1115");
    gm_done(&m);
}

// --- G-21: types, alignment, overlaps, order
// --------------------------------------------------------

static void g21_unknown_tensor_types_are_unsupported_and_named(void **state)
{
    (void)state;
    static const uint32_t bad[] = { 40, 41, 63, 64, 65, 255, 0x80000000, UINT32_MAX };

    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        refused_shape(bad[i], 1, DIMS(256), ERR_UNSUPPORTED, "byte 33: tensor 0 \"t\": type: ");
    for (uint32_t type = 0; type < 300; type++) {
        if (!dtype_known(type))
            refused_shape(type, 1, DIMS(256), ERR_UNSUPPORTED, "tensor 0 \"t\": type: ");
    }
}

static void g21_retired_tensor_types_are_unsupported_and_named(void **state)
{
    (void)state;
    static const uint32_t bad[] = { 4, 5, 31, 32, 33, 36, 37, 38 };

    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        refused_shape(bad[i], 1, DIMS(256), ERR_UNSUPPORTED, "tensor 0 \"t\": type: |retired");
}

static void g21_all_types_of_this_program_are_read(void **state)
{
    (void)state;
    struct gguf_make m;
    int n = 0;

    gm_init(&m);
    for (uint32_t type = 0; type < DTYPE_A8; type++) {
        if (dtype_known(type)) {
            gm_tensor(&m, dtype_info((enum dtype)type)->name, type, 3, DIMS(512, 3, 2));
            n++;
        }
    }
    assert_true(n > 10);
    struct opened o = gguf_opens(&m);
    assert_int_equal(gguf_n_tensors(o.g), n);
    for (int i = 0; i < n; i++) {
        const struct gguf_tensor *t = gguf_tensor(o.g, i);
        const struct dtype_info *info = dtype_info(t->type);
        assert_string_equal(t->name, info->name);
        assert_int_equal(t->bytes, 512 / info->block * info->block_bytes * 6);
        assert_int_equal(*(const uint8_t *)gguf_data(o.g, i), (i * 31 + 1) & 0xff);
    }
    opened_done(&o);
    gm_done(&m);
}

static void g21_offsets_that_are_not_aligned_are_refused(void **state)
{
    (void)state;
    static const uint64_t bad[] = { 1, 8, 16, 31, 33, 48 };

    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct gguf_make m;
        gm_init(&m);
        gm_info(&m, "t", DTYPE_F32, 1, DIMS(8), bad[i]);
        gm_put_zeros(&m.data, 1024);
        gguf_refused(&m, ERR_FORMAT, "byte 49: tensor 0 \"t\": offset: |is no multiple of 32");
        gm_done(&m);
    }
}

static void g21_tensors_that_overlap_are_refused(void **state)
{
    (void)state;
    static const uint64_t second[] = { 0, 32, 64, 96 }; // the first one is from 0 to 100

    for (size_t i = 0; i < ARRAY_LEN(second); i++) {
        struct gguf_make m;
        gm_init(&m);
        gm_info(&m, "far", DTYPE_F32, 1, DIMS(8), 512);
        gm_info(&m, "one", DTYPE_F32, 1, DIMS(25), 0);
        gm_info(&m, "two", DTYPE_F32, 1, DIMS(8), second[i]);
        gm_put_zeros(&m.data, 1024);
        gguf_refused(&m, ERR_FORMAT, "tensor 2 \"two\": offset: |tensor 1 \"one\"");
        gm_done(&m);
    }
    struct gguf_make m; // one inside the other, with a third between their beginnings
    gm_init(&m);
    gm_info(&m, "in", DTYPE_F32, 1, DIMS(8), 512);
    gm_info(&m, "between", DTYPE_F32, 1, DIMS(8), 64);
    gm_info(&m, "big", DTYPE_F32, 1, DIMS(200), 0);
    gm_put_zeros(&m.data, 1024);
    gguf_refused(&m, ERR_FORMAT, "lies in that of tensor 2 \"big\"");
    gm_done(&m);
}

static void g21_tensors_in_any_order_and_with_gaps_are_read(void **state)
{
    (void)state;
    struct gguf_make m;

    gm_init(&m);
    gm_info(&m, "last", DTYPE_F32, 1, DIMS(8), 992);
    gm_info(&m, "first", DTYPE_F32, 1, DIMS(8), 64);
    gm_info(&m, "middle", DTYPE_F32, 1, DIMS(8), 96);
    gm_put_zeros(&m.data, 1024);
    struct opened o = gguf_opens(&m);
    assert_int_equal(gguf_tensor(o.g, 0)->offset, m.data_at + 992);
    assert_int_equal(gguf_tensor(o.g, 1)->offset, m.data_at + 64);
    assert_int_equal(gguf_tensor(o.g, 2)->offset, m.data_at + 96);
    gguf_walk_all(o.g);
    opened_done(&o);
    gm_done(&m);
}

static void g21_a_tensor_name_twice_is_refused(void **state)
{
    (void)state;
    struct gguf_make m;

    gguf_small(&m);
    gm_tensor(&m, "token_embd.weight", DTYPE_F32, 1, DIMS(8));
    gguf_refused(&m, ERR_FORMAT, "tensor \"token_embd.weight\": it is there twice");
    gm_done(&m);
}

/// Tensors at random places against a map of bytes.
static void overlaps_are_found_exactly(void **state)
{
    (void)state;
    uint64_t seed = 1;
    int n_good = 0;

    for (int round = 0; round < 2000; round++) {
        struct gguf_make m;
        bool used[64] = { false }, clash = false;
        gm_init(&m);
        for (int i = 0; i < 4; i++) {
            char name[8];
            seed = hash_bytes(&round, sizeof(round), seed);
            uint64_t at = seed % 48, n = 1 + (seed >> 32) % 16;
            snprintf(name, sizeof(name), "t%d", i);
            gm_info(&m, name, DTYPE_F32, 1, DIMS(n * 8), at * 32);
            for (uint64_t k = at; k < at + n; k++) {
                clash = clash || used[k];
                used[k] = true;
            }
        }
        gm_put_zeros(&m.data, 64 * 32);
        const struct gm_bytes *f = gm_finish(&m);
        struct gguf *g;
        struct err e = { 0 };
        assert_int_equal(gguf_open_mem(&g, f->p, f->n, "x", NULL, &e), !clash);
        n_good += !clash;
        gguf_close(g);
        gm_done(&m);
    }
    assert_true(n_good > 20 && n_good < 1900);
}

static void many_tensors_are_checked_in_little_time(void **state)
{
    (void)state;
    struct gguf_make m;
    enum { N = 1 << 16 };

    gm_init(&m);
    for (uint64_t i = 0; i < N; i++) {
        char name[32];
        snprintf(name, sizeof(name), "blk.%d.weight", (int)i);
        gm_info(&m, name, DTYPE_F32, 1, DIMS(8), (i * 40503 % N) * 32); // in no order
    }
    gm_put_zeros(&m.data, (size_t)N * 32);
    int64_t t = clock_ns();
    struct opened o = gguf_opens(&m);
    t = clock_ns() - t;
    assert_int_equal(gguf_n_tensors(o.g), N);
    assert_true(t < 1000000000);
    opened_done(&o);
    gm_done(&m);
}

// --- G-22: rows and blocks
// --------------------------------------------------------------------------

static void g22_rows_that_are_not_whole_blocks_are_refused(void **state)
{
    (void)state;
    refused_shape(
        DTYPE_Q4_0, 2, DIMS(31, 2), ERR_FORMAT,
        "byte 33: tensor 0 \"t\": dimension 0: 31 is no multiple of 32, the block of Q4_0");
    refused_shape(DTYPE_Q4_K, 2, DIMS(255, 2), ERR_FORMAT,
                  "dimension 0: 255 |256, the block of Q4_K");
    refused_shape(DTYPE_Q4_K, 2, DIMS(128, 2), ERR_FORMAT, "dimension 0: 128"); // the whole is 256
    refused_shape(DTYPE_MXFP4, 1, DIMS(16), ERR_FORMAT, "dimension 0: 16");
}

// --- MXFP4 under its first number
// -------------------------------------------------------------------

static void mxfp4_is_type_4_only_in_files_of_gptoss(void **state)
{
    (void)state;
    static const char *const others[] = { "gpt-oss", "gptos", "gptoss2", "" };
    struct gguf_make m;

    gm_init(&m);
    gm_str(&m, "general.architecture", "gptoss");
    gm_tensor_data(&m, "t", 4, 2, DIMS(64, 3), NULL, 2 * 17 * 3);
    struct opened o = gguf_opens(&m);
    assert_int_equal(gguf_tensor(o.g, 0)->type, DTYPE_MXFP4_PAIRS);
    assert_int_equal(gguf_tensor(o.g, 0)->bytes, 2 * 17 * 3);
    opened_done(&o);
    gm_done(&m);
    for (size_t i = 0; i < ARRAY_LEN(others); i++) {
        gm_init(&m);
        gm_str(&m, "general.architecture", others[i]);
        gm_tensor_data(&m, "t", 4, 2, DIMS(64, 3), NULL, 2 * 17 * 3);
        gguf_refused(&m, ERR_UNSUPPORTED, "tensor 0 \"t\": type: 4 (Q4_2, retired");
        gm_done(&m);
    }
    gm_init(&m);
    gm_arr(&m, "general.architecture", GGUF_U8, 6, "gptoss", 6);
    gm_tensor_data(&m, "t", 4, 2, DIMS(64, 3), NULL, 2 * 17 * 3);
    gguf_refused(&m, ERR_UNSUPPORTED, "type: 4");
    gm_done(&m);
}

// --- partial files
// ----------------------------------------------------------------------------------

static void a_head_alone_says_where_everything_will_be(void **state)
{
    (void)state;
    const struct gguf_opts head_only = { .head_only = true };
    struct gguf_make m;

    gguf_small(&m);
    const struct gm_bytes *f = gm_finish(&m);
    size_t head = 24 + m.keys.n + m.infos.n, first_end = m.data_at + 32 * 3 * 4;
    for (size_t n = head; n <= f->n; n++) {
        struct gguf *g;
        struct err e = { 0 };
        assert_true(gguf_open_mem(&g, f->p, n, "x", &head_only, &e));
        const struct gguf_tensor *t = gguf_tensor(g, 1);
        assert_int_equal(t->offset, first_end);
        assert_int_equal(gguf_data_offset(g, 0), m.data_at);
        uint64_t end = t->offset + t->bytes;
        assert_int_equal(gguf_head_only(g), n < end);
        assert_int_equal(gguf_file_bytes(g, 0), n < end ? end : n);
        assert_int_equal(gguf_data(g, 0) != NULL, n >= first_end);
        assert_int_equal(gguf_data(g, 1) != NULL, n >= end);
        gguf_close(g);
    }
    gm_done(&m);
}

static void a_head_of_exabytes_costs_nothing(void **state)
{
    (void)state;
    struct gguf_make m;

    gm_init(&m);
    gm_info(&m, "t", DTYPE_F32, 2, DIMS(two_40, 1 << 20), 0);
    struct opened o = gguf_opens_with(&m, &(struct gguf_opts){ .head_only = true });
    assert_int_equal(gguf_tensor(o.g, 0)->bytes, two_62);
    assert_int_equal(gguf_file_bytes(o.g, 0), two_62 + m.data_at);
    assert_null(gguf_data(o.g, 0));
    opened_done(&o);
    gm_done(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(g09_dimensions_of_0_are_refused),
        cmocka_unit_test(g10_sizes_whose_sum_wraps_are_refused),
        cmocka_unit_test(g11_sizes_whose_sum_almost_wraps_are_refused),
        cmocka_unit_test(g12_bytes_that_wrap_are_refused),
        cmocka_unit_test(g13_sizes_that_wrap_when_padded_are_refused),
        cmocka_unit_test(g14_data_beyond_the_file_is_refused),
        cmocka_unit_test(g14_offsets_beyond_the_file_are_refused),
        cmocka_unit_test(g14_data_up_to_the_last_byte_is_read),
        cmocka_unit_test(g21_unknown_tensor_types_are_unsupported_and_named),
        cmocka_unit_test(g21_retired_tensor_types_are_unsupported_and_named),
        cmocka_unit_test(g21_all_types_of_this_program_are_read),
        cmocka_unit_test(g21_offsets_that_are_not_aligned_are_refused),
        cmocka_unit_test(g21_tensors_that_overlap_are_refused),
        cmocka_unit_test(g21_tensors_in_any_order_and_with_gaps_are_read),
        cmocka_unit_test(g21_a_tensor_name_twice_is_refused),
        cmocka_unit_test(overlaps_are_found_exactly),
        cmocka_unit_test(many_tensors_are_checked_in_little_time),
        cmocka_unit_test(g22_rows_that_are_not_whole_blocks_are_refused),
        cmocka_unit_test(mxfp4_is_type_4_only_in_files_of_gptoss),
        cmocka_unit_test(a_head_alone_says_where_everything_will_be),
        cmocka_unit_test(a_head_of_exabytes_costs_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
