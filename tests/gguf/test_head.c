// test_head.c - headers, keys and values: well-formed and not. The ids are those of the catalogue
// of known vulnerabilities in readers of this format; beside each refusal, where it matters, stands
// what must be accepted.

#include "gguf/gguf_check.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <float.h>
#include <malloc.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static void reads_a_small_file(void **state)
{
    (void)state;
    struct gguf_make m;
    struct str s;
    uint32_t n;

    gguf_small(&m);
    struct opened o = gguf_opens(&m);
    assert_int_equal(gguf_version(o.g), 3);
    assert_int_equal(gguf_n_files(o.g), 1);
    assert_int_equal(gguf_n_keys(o.g), 2);
    assert_string_equal(gguf_key_name(o.g, 1), "llama.block_count");
    assert_true(gguf_get_str(o.g, "general.architecture", &s));
    assert_true(str_is(s, "llama"));
    assert_string_equal(s.p, "llama");
    assert_true(gguf_get_u32(o.g, "llama.block_count", &n));
    assert_int_equal(n, 2);
    assert_int_equal(gguf_n_tensors(o.g), 2);
    const struct gguf_tensor *t = gguf_tensor(o.g, 1);
    assert_string_equal(t->name, "blk.0.attn_q.weight");
    assert_int_equal(t->type, DTYPE_Q4_0);
    assert_int_equal(t->n_dims, 2);
    assert_int_equal(t->ne[0], 64);
    assert_int_equal(t->ne[1], 2);
    assert_int_equal(t->ne[2] * t->ne[3], 1);
    assert_int_equal(t->bytes, 2 * 2 * 18);
    assert_int_equal(t->offset, m.data_at + 32 * 3 * 4);
    assert_int_equal(gguf_data_offset(o.g, 0), m.data_at);
    assert_ptr_equal(gguf_data(o.g, 1), o.bytes + t->offset);
    assert_int_equal(gguf_find_tensor(o.g, "token_embd.weight"), 0);
    assert_int_equal(gguf_find_tensor(o.g, "token_embd.weigh"), -1);
    assert_int_equal(gguf_find_key(o.g, "llama.block_coun"), -1);
    assert_false(gguf_head_only(o.g));
    assert_int_equal(gguf_file_bytes(o.g, 0), o.n);
    gguf_walk_all(o.g);
    opened_done(&o);
    gm_done(&m);
}

static void reads_version_2(void **state)
{
    (void)state;
    struct gguf_make m;

    gguf_small(&m);
    m.version = 2;
    struct opened o = gguf_opens(&m);
    assert_int_equal(gguf_version(o.g), 2);
    opened_done(&o);
    gm_done(&m);
}

static void errors_say_file_offset_field_and_number(void **state)
{
    (void)state;
    struct gguf_make m;

    gguf_small(&m);
    gm_key(&m, "llama.odd", 77);
    gguf_refused(&m, ERR_FORMAT, "byte 119: key 2 \"llama.odd\": type: 77");
    gm_done(&m);
    gm_init(&m);
    gm_str(&m, "a", "b");
    gm_info(&m, "x\\\"", DTYPE_F32, 1, (uint64_t[]){ 0 }, 0);
    gguf_refused(&m, ERR_FORMAT, "tensor 0 \"x\\\\\\\"\": dimension 0: 0");
    gm_done(&m);
}

// --- G-01: short files
// ------------------------------------------------------------------------------

/// A value of each kind, two tensors; what of the file may be missing, its last tensor's padding,
/// is left out.
static void gm_rich(struct gguf_make *m)
{
    gguf_small(m);
    gm_u64(m, "u64", 1);
    gm_u8(m, "u8", 1);
    gm_bool(m, "bool", true);
    gm_arr(m, "u16s", GGUF_U16, 3, (uint16_t[]){ 1, 2, 3 }, 6);
    gm_strs(m, "strs", 3, (const char *[]){ "some text before the end", "", "more" });
    gm_arr(m, "bools", GGUF_BOOL, 2, (uint8_t[]){ 0, 1 }, 2);
    gm_finish(m);
    m->data.n -= 24;
}

static void g01_every_prefix_of_a_file_is_refused(void **state)
{
    (void)state;
    struct gguf_make m;

    gm_rich(&m);
    struct opened o = gguf_opens(&m);
    gguf_walk_all(o.g);
    opened_done(&o);
    const struct gm_bytes *f = gm_finish(&m);
    for (size_t n = 0; n < f->n; n++)
        gguf_refused_bytes(f->p, n, NULL, ERR_FORMAT, "test.gguf");
    gm_done(&m);
}

static void g01_a_magic_alone_is_refused(void **state)
{
    (void)state;
    gguf_refused_bytes("GGUF", 4, NULL, ERR_FORMAT, "byte 4: version");
    gguf_refused_bytes("", 0, NULL, ERR_FORMAT, "byte 0: magic");
}

static void g01_every_prefix_of_a_head_is_refused_as_head_too(void **state)
{
    (void)state;
    struct gguf_make m;

    gm_rich(&m);
    const struct gm_bytes *f = gm_finish(&m);
    size_t head = 24 + m.keys.n + m.infos.n;
    for (size_t n = 0; n < head; n++)
        gguf_refused_bytes(f->p, n, &(struct gguf_opts){ .head_only = true }, ERR_FORMAT,
                           "test.gguf");
    gm_done(&m);
}

// --- G-02, G-03: counts
// -----------------------------------------------------------------------------

static void refused_counts(uint64_t tensors, uint64_t keys, const char *text)
{
    struct gguf_make m;

    gguf_small(&m);
    gm_put_zeros(&m.data, 1024);
    if (tensors != 0)
        m.n_tensors = tensors;
    if (keys != 0)
        m.n_keys = keys;
    gguf_refused(&m, ERR_FORMAT, text);
    gm_done(&m);
}

static void g02_tensor_counts_beyond_the_file_are_refused(void **state)
{
    (void)state;
    refused_counts((uint64_t)1 << 60, 0, "byte 8: tensor count: 1152921504606846976");
    refused_counts((uint64_t)1 << 63, 0, "byte 8: tensor count");
    refused_counts(UINT64_MAX, 0, "byte 8: tensor count: 18446744073709551615");
    for (uint64_t record = 16; record <= 512; record += 8)
        refused_counts(UINT64_MAX / record + 1, 0, "byte 8: tensor count");
    refused_counts(3, 0, "tensor 2: name");
}

static void g03_key_counts_beyond_the_file_are_refused(void **state)
{
    (void)state;
    refused_counts(0, (uint64_t)1 << 60, "byte 16: key count");
    refused_counts(0, UINT64_MAX, "byte 16: key count");
    refused_counts(0, 1000, "byte 16: key count");
    struct gguf_make m;
    gm_init(&m);
    gm_u32(&m, "only", 1);
    m.n_keys = 1000;
    gm_put_zeros(&m.data, 1 << 16);
    gguf_refused(&m, ERR_FORMAT, "key 1: name: length 0");
    gm_done(&m);
}

static void counts_above_the_limits_are_unsupported(void **state)
{
    (void)state;
    struct gguf_make m;

    gm_init(&m);
    m.n_keys = (1 << 16) + 1;
    gm_put_zeros(&m.data, 1 << 21);
    gguf_refused(&m, ERR_UNSUPPORTED, "byte 16: key count: 65537, more than 65536");
    m.n_keys = 0;
    m.n_tensors = (1 << 16) + 1;
    gguf_refused(&m, ERR_UNSUPPORTED, "byte 8: tensor count: 65537, more than 65536");
    gm_done(&m);
}

// --- G-04, G-05, G-17: lengths
// ----------------------------------------------------------------------

static void refused_key_length(uint64_t n)
{
    struct gguf_make m;

    gm_init(&m);
    gm_put_u64(&m.keys, n);
    gm_put_zeros(&m.keys, 100);
    m.n_keys = 1;
    gguf_refused(&m, ERR_FORMAT, "byte 24: key 0: name: length");
    gm_done(&m);
}

static void g04_key_lengths_beyond_the_file_are_refused(void **state)
{
    (void)state;
    refused_key_length(UINT64_MAX);
    refused_key_length((uint64_t)1 << 63);
    refused_key_length(100 + 28 + 1); // with padding to 160
    refused_key_length(UINT64_MAX - 7);
    refused_key_length(UINT64_MAX - 31);
}

static void refused_text_length(uint64_t n)
{
    struct gguf_make m;

    gm_init(&m);
    gm_key(&m, "k", GGUF_STR);
    gm_put_u64(&m.keys, n);
    gguf_refused(&m, ERR_FORMAT, "byte 37: key 0 \"k\": value: length");
    gm_done(&m);
}

static void g04_text_lengths_beyond_the_file_are_refused(void **state)
{
    (void)state;
    refused_text_length(UINT64_MAX);
    refused_text_length((uint64_t)1 << 40);
    refused_text_length(20); // 19 bytes of padding
}

static void refused_array(uint32_t elem, uint64_t n, const char *text)
{
    struct gguf_make m;

    gm_init(&m);
    gm_arr(&m, "k", elem, n, NULL, 0);
    gm_put_zeros(&m.data, 40);
    gguf_refused(&m, ERR_FORMAT, text);
    gm_done(&m);
}

static void g05_array_counts_beyond_the_file_are_refused(void **state)
{
    (void)state;
    refused_array(GGUF_STR, ((uint64_t)1 << 60) + 1, "byte 41: key 0 \"k\": array count");
    refused_array(GGUF_U64, (uint64_t)1 << 61, "byte 41: key 0 \"k\": array count");
    refused_array(GGUF_U64, ((uint64_t)1 << 61) + 1, "array count");
    refused_array(GGUF_U32, ((uint64_t)1 << 62) + 1, "array count");
    refused_array(GGUF_U8, UINT64_MAX, "array count");
    refused_array(GGUF_U8, 56, "array count: 56"); // 15 + 40 are left
    refused_array(GGUF_STR, 7, "array count: 7");
}

static void g05_arrays_that_fill_the_file_are_read(void **state)
{
    (void)state;
    struct gguf_make m;
    struct gguf_arr a;
    int64_t last;

    gm_init(&m);
    gm_arr(&m, "k", GGUF_U64, 4, (uint64_t[]){ 1, 2, 3, 4 }, 32);
    const struct gm_bytes *f = gm_finish(&m);
    struct gguf *g;
    struct err e = { 0 };
    assert_true(gguf_open_mem(&g, f->p, 24 + m.keys.n, "x", NULL, &e)); // no padding either
    assert_true(gguf_get_arr(g, "k", &a));
    assert_int_equal(a.n, 4);
    assert_true(gguf_arr_i64(&a, 3, &last));
    assert_int_equal(last, 4);
    gguf_close(g);
    gm_done(&m);
}

static void g17_lengths_ask_for_no_memory_before_the_bytes_are_there(void **state)
{
    (void)state; // what was allocated: test_heap.c
    refused_array(GGUF_U8, (uint64_t)1 << 36, "array count");
    refused_text_length((uint64_t)1 << 40);
}

// --- G-06: dimensions
// -------------------------------------------------------------------------------

static void g06_more_than_four_dimensions_are_refused(void **state)
{
    (void)state;
    static const uint32_t counts[] = { 5, 8, 0x80000000, UINT32_MAX };

    for (size_t i = 0; i < ARRAY_LEN(counts); i++) {
        struct gguf_make m;
        gm_init(&m);
        gm_put_str(&m.infos, "t");
        gm_put_u32(&m.infos, counts[i]);
        gm_put_zeros(&m.infos, 200);
        m.n_tensors = 1;
        gguf_refused(&m, ERR_FORMAT, "byte 33: tensor 0 \"t\": dimensions: |more than 4");
        gm_done(&m);
    }
}

static void g06_four_dimensions_and_none_are_read(void **state)
{
    (void)state;
    struct gguf_make m;

    gm_init(&m);
    gm_tensor(&m, "four", DTYPE_F16, 4, (uint64_t[]){ 2, 3, 4, 5 });
    gm_tensor(&m, "none", DTYPE_F32, 0, NULL);
    struct opened o = gguf_opens(&m);
    assert_int_equal(gguf_tensor(o.g, 0)->n_dims, 4);
    assert_int_equal(gguf_tensor(o.g, 0)->bytes, 2 * 2 * 3 * 4 * 5);
    assert_int_equal(gguf_tensor(o.g, 1)->n_dims, 1);
    assert_int_equal(gguf_tensor(o.g, 1)->ne[0], 1);
    assert_int_equal(gguf_tensor(o.g, 1)->bytes, 4);
    opened_done(&o);
    gm_done(&m);
}

// --- G-07, G-08: half-read and empty files
// ----------------------------------------------------------

static void g07_an_end_inside_a_later_key_frees_only_what_is_there(void **state)
{
    (void)state;
    struct gguf_make m;

    mallopt(M_PERTURB, 0x5a); // glibc fills new memory with 0xa5
    gm_init(&m);
    gm_str(&m, "one", "text");
    gm_strs(&m, "two", 2, (const char *[]){ "a", "b" });
    gm_key(&m, "three", GGUF_ARR);
    m.n_keys = 8;
    gm_put_u32(&m.keys, GGUF_STR);
    gm_put_u64(&m.keys, 3);
    gm_put_str(&m.keys, "a");
    gm_put_u64(&m.keys, 100);
    gm_put_zeros(&m.data, 32);
    gguf_refused(&m, ERR_FORMAT, "key 2 \"three\": string 1 of array: length 100");
    // The second walk, which keeps things, fails late too: the eighth key is the second one again.
    gm_done(&m);
    gm_init(&m);
    for (int i = 0; i < 7; i++)
        gm_strs(&m, (const char *[]){ "a", "b", "c", "d", "e", "f", "b" }[i], 1,
                (const char *[]){ "text" });
    gm_tensor(&m, "t", DTYPE_F32, 1, (uint64_t[]){ 8 });
    gguf_refused(&m, ERR_FORMAT, "key 6 \"b\": it is there twice");
    gm_done(&m);
    mallopt(M_PERTURB, 0);
}

static void g08_files_without_keys_or_tensors_are_read(void **state)
{
    (void)state;
    struct gguf_make m;
    uint32_t u;

    gm_init(&m);
    struct opened o = gguf_opens(&m);
    assert_int_equal(gguf_n_keys(o.g), 0);
    assert_int_equal(gguf_n_tensors(o.g), 0);
    assert_int_equal(gguf_find_tensor(o.g, "t"), -1);
    assert_int_equal(gguf_find_key(o.g, "k"), -1);
    assert_false(gguf_get_u32(o.g, "k", &u));
    assert_int_equal(gguf_file_bytes(o.g, 0), 32);
    gguf_walk_all(o.g);
    opened_done(&o);
    gm_tensor(&m, "t", DTYPE_F32, 1, (uint64_t[]){ 8 });
    o = gguf_opens(&m);
    assert_int_equal(gguf_n_keys(o.g), 0);
    assert_int_equal(gguf_find_tensor(o.g, "t"), 0);
    gguf_walk_all(o.g);
    opened_done(&o);
    gm_done(&m);
}

// --- G-15, G-16: alignment
// --------------------------------------------------------------------------

static void g15_alignments_other_than_powers_of_two_are_refused(void **state)
{
    (void)state;
    static const uint32_t bad[] = { 0, 1, 3, 4, 7, 24, 31, 33, 1u << 21, 1u << 31, UINT32_MAX };

    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct gguf_make m;
        gguf_small(&m);
        gm_u32(&m, "general.alignment", bad[i]);
        gguf_refused(&m, ERR_FORMAT, "key 2 \"general.alignment\": |is no power of two");
        gm_done(&m);
    }
}

static void g15_powers_of_two_from_8_are_alignments(void **state)
{
    (void)state;
    for (uint32_t a = 8; a <= 1u << 20; a *= 2) {
        struct gguf_make m;
        gm_init(&m);
        gm_u32(&m, "general.alignment", a);
        m.alignment = a;
        gm_tensor(&m, "one", DTYPE_F32, 1, (uint64_t[]){ 1 });
        gm_tensor(&m, "two", DTYPE_F32, 1, (uint64_t[]){ 1 });
        struct opened o = gguf_opens(&m);
        assert_int_equal(gguf_data_offset(o.g, 0), m.data_at);
        assert_int_equal(gguf_tensor(o.g, 1)->offset, m.data_at + a);
        opened_done(&o);
        gm_done(&m);
    }
}

static void g16_alignment_of_another_type_is_refused(void **state)
{
    (void)state;
    for (int type = 0; type < 6; type++) {
        struct gguf_make m;
        gguf_small(&m);
        switch (type) {
        case 0:
            gm_i32(&m, "general.alignment", 32);
            break;
        case 1:
            gm_u64(&m, "general.alignment", 32);
            break;
        case 2:
            gm_str(&m, "general.alignment", "32");
            break;
        case 3:
            gm_arr(&m, "general.alignment", GGUF_U32, 1, (uint32_t[]){ 32 }, 4);
            break;
        case 4:
            gm_f32(&m, "general.alignment", 32);
            break;
        default:
            gm_bool(&m, "general.alignment", true);
            break;
        }
        gguf_refused(&m, ERR_FORMAT, "key 2 \"general.alignment\": type |instead of u32");
        gm_done(&m);
    }
}

// --- G-18, G-21: versions and magics
// ----------------------------------------------------------------

static void refused_version(uint32_t version, enum err_code code, const char *text)
{
    struct gguf_make m;

    gguf_small(&m);
    m.version = version;
    gguf_refused(&m, code, text);
    gm_done(&m);
}

static void g18_version_1_is_refused_by_name(void **state)
{
    (void)state;
    struct gguf_make m;

    refused_version(1, ERR_UNSUPPORTED, "byte 4: version: 1 is not read");
    gm_init(&m);
    m.version = 1;
    gm_put_zeros(&m.keys, 100); // a key of length 0
    m.n_keys = 1;
    gguf_refused(&m, ERR_UNSUPPORTED, "byte 4: version: 1");
    gm_done(&m);
}

static void g21_other_versions_are_refused(void **state)
{
    (void)state;
    refused_version(0, ERR_FORMAT, "byte 4: version: 0");
    refused_version(4, ERR_UNSUPPORTED, "byte 4: version: 4");
    refused_version(UINT32_MAX, ERR_UNSUPPORTED, "byte 4: version: 4294967295");
}

static void g21_big_endian_is_refused_by_name(void **state)
{
    (void)state;
    refused_version(3u << 24, ERR_UNSUPPORTED, "byte 4: version|big-endian");
    refused_version(2u << 24, ERR_UNSUPPORTED, "byte 4: version|big-endian");
}

static void g21_other_magics_are_refused(void **state)
{
    (void)state;
    static const char bad[][5] = { "gguf", "GGUf", "FUGG", "GGU\xff", "PK\3\4", "\"\\\n\x1b" };
    struct gguf_make m;

    gguf_small(&m);
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        memcpy(m.magic, bad[i], 4);
        gguf_refused(&m, ERR_FORMAT, "byte 0: magic: |is not \"GGUF\"");
    }
    memcpy(m.magic, "tjgg", 4);
    gguf_refused(&m, ERR_UNSUPPORTED, "byte 0: magic: this is GGJT");
    memcpy(m.magic, "lmgg", 4);
    gguf_refused(&m, ERR_UNSUPPORTED, "byte 0: magic: this is GGML");
    memcpy(m.magic, "fmgg", 4);
    gguf_refused(&m, ERR_UNSUPPORTED, "byte 0: magic: this is GGMF");
    memcpy(m.magic, "algg", 4);
    gguf_refused(&m, ERR_UNSUPPORTED, "byte 0: magic: this is GGLA");
    gm_done(&m);
}

// --- G-19, G-21: names
// ------------------------------------------------------------------------------

static void g19_an_empty_key_is_refused(void **state)
{
    (void)state;
    struct gguf_make m;

    gm_init(&m);
    gm_u8(&m, "", 1);
    assert_int_equal(24 + m.keys.n, 37); // the 37-byte file
    const struct gm_bytes *f = gm_finish(&m);
    gguf_refused_bytes(f->p, 37, NULL, ERR_FORMAT, "byte");
    gguf_refused_bytes(f->p, f->n, NULL, ERR_FORMAT, "byte 24: key 0: name: length 0");
    gm_done(&m);
}

static void g21_names_that_are_no_text_are_refused(void **state)
{
    (void)state;
    static const struct {
        const char *p;
        size_t n;
    } bad[] = {
        { "a\0b", 3 },         { "\0", 1 },           { "a\nb", 3 },     { "\x1b[31m", 5 },
        { "a\x7f", 2 },        { "\xff", 1 },         { "\xc3", 1 },     { "\xc0\x80", 2 },
        { "\xed\xa0\x80", 3 }, { "\xe2\x80\xae", 3 }, { "\xc2\x85", 2 }, { "\xf4\x90\x80\x80", 4 },
    };

    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct gguf_make m;
        gm_init(&m);
        gm_put_u64(&m.keys, bad[i].n);
        gm_put(&m.keys, bad[i].p, bad[i].n);
        gm_put_u32(&m.keys, GGUF_U32);
        gm_put_u32(&m.keys, 1);
        m.n_keys = 1;
        gguf_refused(&m, ERR_FORMAT, "key 0: name: byte 0x|is no text");
        gm_done(&m);
        gm_init(&m);
        gm_put_u64(&m.infos, bad[i].n);
        gm_put(&m.infos, bad[i].p, bad[i].n);
        gm_put_zeros(&m.infos, 64);
        m.n_tensors = 1;
        gguf_refused(&m, ERR_FORMAT, "tensor 0: name: byte 0x|is no text");
        gm_done(&m);
    }
}

static void g21_names_of_other_scripts_are_read(void **state)
{
    (void)state;
    struct gguf_make m;
    uint32_t v;

    gm_init(&m);
    gm_u32(&m, "llama.größe.大きさ", 7);
    gm_tensor(&m, "вес.weight", DTYPE_F32, 1, (uint64_t[]){ 1 });
    struct opened o = gguf_opens(&m);
    assert_true(gguf_get_u32(o.g, "llama.größe.大きさ", &v));
    assert_int_equal(v, 7);
    assert_int_equal(gguf_find_tensor(o.g, "вес.weight"), 0);
    opened_done(&o);
    gm_done(&m);
}

static void g21_tensor_names_have_1_to_63_bytes(void **state)
{
    (void)state;
    char name[66];

    memset(name, 'n', sizeof(name));
    for (size_t n = 63; n <= 65; n++) {
        struct gguf_make m;
        name[n] = 0;
        gm_init(&m);
        gm_tensor(&m, name, DTYPE_F32, 1, (uint64_t[]){ 1 });
        if (n == 63) {
            struct opened o = gguf_opens(&m);
            assert_int_equal(strlen(gguf_tensor(o.g, 0)->name), 63);
            opened_done(&o);
        } else {
            gguf_refused(&m, ERR_FORMAT, "byte 24: tensor 0: name: length 6|more than 63");
        }
        gm_done(&m);
        name[n] = 'n';
    }
    struct gguf_make m;
    gm_init(&m);
    gm_tensor(&m, "", DTYPE_F32, 1, (uint64_t[]){ 1 });
    gguf_refused(&m, ERR_FORMAT, "byte 24: tensor 0: name: length 0");
    gm_done(&m);
}

static void g21_key_names_have_up_to_65535_bytes(void **state)
{
    (void)state;
    char *name = xcalloc(65537, 1);

    for (size_t n = 65535; n <= 65536; n++) {
        struct gguf_make m;
        memset(name, 'k', n);
        gm_init(&m);
        gm_u32(&m, name, 1);
        if (n == 65535) {
            struct opened o = gguf_opens(&m);
            assert_int_equal(gguf_find_key(o.g, name), 0);
            opened_done(&o);
        } else {
            gguf_refused(&m, ERR_FORMAT, "byte 24: key 0: name: length 65536");
        }
        gm_done(&m);
    }
    free(name);
}

static void g21_a_key_twice_is_refused(void **state)
{
    (void)state;
    struct gguf_make m;

    gguf_small(&m);
    gm_u32(&m, "general.architecture", 1);
    gguf_refused(&m, ERR_FORMAT, "byte 102: key 2 \"general.architecture\": it is there twice");
    gm_done(&m);
}

static void g21_unknown_value_types_are_refused(void **state)
{
    (void)state;
    static const uint32_t bad[] = { 13, 14, 255, 0x80000000, UINT32_MAX };

    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct gguf_make m;
        gm_init(&m);
        gm_key(&m, "k", bad[i]);
        gm_put_zeros(&m.keys, 64);
        gguf_refused(&m, ERR_FORMAT, "byte 33: key 0 \"k\": type: |no type of GGUF");
        gm_done(&m);
        gm_init(&m);
        gm_arr(&m, "k", bad[i], 1, "\0\0\0\0\0\0\0", 8);
        gguf_refused(&m, ERR_FORMAT, "byte 37: key 0 \"k\": array type: |no type of GGUF");
        gm_done(&m);
        gm_init(&m);
        gm_arr(&m, "k", bad[i], 0, NULL, 0); // an empty array has a type too
        gguf_refused(&m, ERR_FORMAT, "array type: ");
        gm_done(&m);
    }
}

// --- G-20: arrays of arrays
// -------------------------------------------------------------------------

static void g20_arrays_of_arrays_are_refused_at_any_depth(void **state)
{
    (void)state;
    static const int depths[] = { 1, 2, 100000 };

    for (size_t i = 0; i < ARRAY_LEN(depths); i++) {
        struct gguf_make m;
        gm_init(&m);
        gm_key(&m, "k", GGUF_ARR);
        for (int d = 0; d < depths[i]; d++) {
            gm_put_u32(&m.keys, GGUF_ARR);
            gm_put_u64(&m.keys, 1);
        }
        gm_put_u32(&m.keys, GGUF_U8);
        gm_put_u64(&m.keys, 1);
        gm_put_u8(&m.keys, 1);
        gguf_refused(&m, ERR_UNSUPPORTED, "byte 37: key 0 \"k\": array type: an array of arrays");
        gm_done(&m);
    }
}

// --- G-24: bools and floats
// -------------------------------------------------------------------------

static void g24_bools_other_than_0_and_1_are_refused(void **state)
{
    (void)state;
    for (int v = 0; v < 256; v++) {
        struct gguf_make m;
        gm_init(&m);
        gm_key(&m, "k", GGUF_BOOL);
        gm_put_u8(&m.keys, (uint8_t)v);
        if (v > 1) {
            gguf_refused(&m, ERR_FORMAT, "byte 37: key 0 \"k\": value: |(bool)");
        } else {
            bool b = v == 0;
            struct opened o = gguf_opens(&m);
            assert_true(gguf_get_bool(o.g, "k", &b));
            assert_int_equal(b, v == 1);
            opened_done(&o);
        }
        gm_done(&m);
    }
    struct gguf_make m;
    gm_init(&m);
    gm_arr(&m, "k", GGUF_BOOL, 5, (uint8_t[]){ 0, 1, 1, 2, 0 }, 5);
    gguf_refused(&m, ERR_FORMAT, "byte 52: key 0 \"k\": value: 2 is neither");
    gm_done(&m);
}

static void g24_floats_come_as_they_are(void **state)
{
    (void)state;
    static const float values[] = {
        NAN, INFINITY, -INFINITY, -0.0f, FLT_TRUE_MIN, -FLT_MAX, -1e-5f
    };

    for (size_t i = 0; i < ARRAY_LEN(values); i++) {
        struct gguf_make m;
        float f = 1;
        gm_init(&m);
        gm_f32(&m, "f", values[i]);
        gm_f64(&m, "d", (double)values[i]);
        struct opened o = gguf_opens(&m);
        assert_true(gguf_get_f32(o.g, "f", &f));
        assert_memory_equal(&f, &values[i], sizeof(f));
        assert_true(gguf_get_f32(o.g, "d", &f));
        assert_memory_equal(&f, &values[i], sizeof(f));
        gguf_walk_all(o.g);
        opened_done(&o);
        gm_done(&m);
    }
}

// --- arrays lie aligned, texts end in 0
// -------------------------------------------------------------

static void arrays_of_any_type_are_aligned_wherever_they_lie(void **state)
{
    (void)state;
    static const uint32_t types[] = { GGUF_U8,  GGUF_I8,  GGUF_U16, GGUF_I16, GGUF_U32, GGUF_I32,
                                      GGUF_F32, GGUF_U64, GGUF_I64, GGUF_F64, GGUF_BOOL };
    static const size_t sizes[] = { 1, 1, 2, 2, 4, 4, 4, 8, 8, 8, 1 };
    char name[20] = "kkkkkkkkkk";

    for (size_t t = 0; t < ARRAY_LEN(types); t++) {
        for (size_t len = 1; len <= 9; len++) {
            uint8_t data[40];
            struct gguf_make m;
            struct gguf_arr a;
            struct str s;
            for (size_t i = 0; i < sizeof(data); i++)
                data[i] = types[t] == GGUF_BOOL ? i % 3 == 1 : (uint8_t)(i + 1);
            gm_init(&m);
            gm_strs(&m, "before", 1, (const char *[]){ "text" });
            gm_str(&m, "b", "b");
            name[len] = 0;
            gm_arr(&m, name, types[t], sizeof(data) / sizes[t], data, sizeof(data));
            name[len] = 'k';
            gm_str(&m, "after", "text");
            struct opened o = gguf_opens(&m);
            assert_true(gguf_get_arr(o.g, gguf_key_name(o.g, 2), &a));
            assert_int_equal(strlen(gguf_key_name(o.g, 2)), len);
            assert_int_equal((uintptr_t)a.data % sizes[t], 0);
            assert_int_equal(a.type, types[t]);
            assert_int_equal(a.n, sizeof(data) / sizes[t]);
            assert_memory_equal(a.data, data, sizeof(data));
            assert_string_equal(gguf_arr_str(o.g, "before", 0).p, "text");
            assert_true(gguf_get_str(o.g, "b", &s));
            assert_string_equal(s.p, "b");
            assert_true(gguf_get_str(o.g, "after", &s));
            assert_string_equal(s.p, "text");
            gguf_walk_all(o.g);
            opened_done(&o);
            gm_done(&m);
        }
    }
}

static void texts_may_hold_any_bytes(void **state)
{
    (void)state;
    struct gguf_make m;
    struct str s;

    gm_init(&m);
    gm_key(&m, "k", GGUF_STR);
    gm_put_u64(&m.keys, 5);
    gm_put(&m.keys, "a\0\xff\n\0", 5);
    gm_str(&m, "empty", "");
    gm_strs(&m, "list", 4, (const char *[]){ "", "\xc3", "", "" });
    struct opened o = gguf_opens(&m);
    assert_true(gguf_get_str(o.g, "k", &s));
    assert_int_equal(s.n, 5);
    assert_memory_equal(s.p, "a\0\xff\n\0\0", 6);
    assert_true(gguf_get_str(o.g, "empty", &s));
    assert_int_equal(s.n, 0);
    assert_int_equal(s.p[0], 0);
    assert_int_equal(gguf_arr_str(o.g, "list", 1).n, 1);
    assert_int_equal(gguf_arr_str(o.g, "list", 3).n, 0);
    gguf_walk_all(o.g);
    opened_done(&o);
    gm_done(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_a_small_file),
        cmocka_unit_test(reads_version_2),
        cmocka_unit_test(errors_say_file_offset_field_and_number),
        cmocka_unit_test(g01_every_prefix_of_a_file_is_refused),
        cmocka_unit_test(g01_a_magic_alone_is_refused),
        cmocka_unit_test(g01_every_prefix_of_a_head_is_refused_as_head_too),
        cmocka_unit_test(g02_tensor_counts_beyond_the_file_are_refused),
        cmocka_unit_test(g03_key_counts_beyond_the_file_are_refused),
        cmocka_unit_test(counts_above_the_limits_are_unsupported),
        cmocka_unit_test(g04_key_lengths_beyond_the_file_are_refused),
        cmocka_unit_test(g04_text_lengths_beyond_the_file_are_refused),
        cmocka_unit_test(g05_array_counts_beyond_the_file_are_refused),
        cmocka_unit_test(g05_arrays_that_fill_the_file_are_read),
        cmocka_unit_test(g06_more_than_four_dimensions_are_refused),
        cmocka_unit_test(g06_four_dimensions_and_none_are_read),
        cmocka_unit_test(g07_an_end_inside_a_later_key_frees_only_what_is_there),
        cmocka_unit_test(g08_files_without_keys_or_tensors_are_read),
        cmocka_unit_test(g15_alignments_other_than_powers_of_two_are_refused),
        cmocka_unit_test(g15_powers_of_two_from_8_are_alignments),
        cmocka_unit_test(g16_alignment_of_another_type_is_refused),
        cmocka_unit_test(g17_lengths_ask_for_no_memory_before_the_bytes_are_there),
        cmocka_unit_test(g18_version_1_is_refused_by_name),
        cmocka_unit_test(g19_an_empty_key_is_refused),
        cmocka_unit_test(g20_arrays_of_arrays_are_refused_at_any_depth),
        cmocka_unit_test(g21_other_versions_are_refused),
        cmocka_unit_test(g21_big_endian_is_refused_by_name),
        cmocka_unit_test(g21_other_magics_are_refused),
        cmocka_unit_test(g21_names_that_are_no_text_are_refused),
        cmocka_unit_test(g21_names_of_other_scripts_are_read),
        cmocka_unit_test(g21_tensor_names_have_1_to_63_bytes),
        cmocka_unit_test(g21_key_names_have_up_to_65535_bytes),
        cmocka_unit_test(g21_a_key_twice_is_refused),
        cmocka_unit_test(g21_unknown_value_types_are_refused),
        cmocka_unit_test(g24_bools_other_than_0_and_1_are_refused),
        cmocka_unit_test(g24_floats_come_as_they_are),
        cmocka_unit_test(arrays_of_any_type_are_aligned_wherever_they_lie),
        cmocka_unit_test(texts_may_hold_any_bytes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
