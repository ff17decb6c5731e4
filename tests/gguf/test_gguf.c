// test_gguf.c - files on disk: opened, split, partial, rewritten; and real ones.

#include "gguf/gguf_check.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <fcntl.h>
#include <glob.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define DIMS(...)                                                                                  \
    (uint64_t[])                                                                                   \
    {                                                                                              \
        __VA_ARGS__                                                                                \
    }

// --- opening
// ----------------------------------------------------------------------------------------

static void mapped_and_read_files_are_the_same(void **state)
{
    (void)state;
    char *dir = gm_dir(), *path = xasprintf("%s/m.gguf", dir);
    struct gguf_make m;
    struct gguf *mapped, *read;
    struct err e = { 0 };
    uint64_t n;

    gguf_small(&m);
    gm_write(&m, path);
    assert_true(gguf_open(&mapped, path, NULL, &e));
    assert_true(gguf_open(&read, path, &(struct gguf_opts){ .no_mmap = true }, &e));
    assert_string_equal(gguf_path(mapped), path);
    assert_true(gguf_walk_all(mapped) == gguf_walk_all(read));
    assert_non_null(gguf_file_map(mapped, 0, &n));
    assert_int_equal(n, m.file.n);
    assert_memory_equal(gguf_file_map(read, 0, &n), m.file.p, m.file.n);
    gguf_close(mapped);
    gguf_close(read);
    gm_done(&m);
    gm_dir_remove(dir);
    free(dir);
    free(path);
}

static void what_is_no_file_is_refused(void **state)
{
    (void)state;
    char *dir = gm_dir(), *path = xasprintf("%s/none.gguf", dir);
    struct gguf *g;
    struct err e = { 0 };

    assert_false(gguf_open(&g, path, NULL, &e));
    assert_int_equal(e.code, ERR_NOTFOUND);
    assert_null(g);
    assert_false(gguf_open(&g, dir, NULL, &e));
    assert_int_equal(e.code, ERR_IO);
    gm_write_bytes(path, "", 0);
    assert_false(gguf_open(&g, path, NULL, &e));
    assert_int_equal(e.code, ERR_FORMAT);
    assert_false(gguf_open(&g, path, &(struct gguf_opts){ .no_mmap = true }, &e));
    assert_int_equal(e.code, ERR_FORMAT);
    gguf_close(NULL);
    gm_dir_remove(dir);
    free(dir);
    free(path);
}

static void an_error_is_not_needed(void **state)
{
    (void)state;
    struct gguf *g;

    assert_false(gguf_open_mem(&g, "GGUF\3\0\0\0", 8, "x", NULL, NULL));
    assert_false(gguf_open(&g, "/nowhere/at/all", NULL, NULL));
}

static void the_fingerprint_is_that_of_keys_and_directory(void **state)
{
    (void)state;
    struct gguf_make m;

    gguf_small(&m);
    struct opened a = gguf_opens(&m);
    m.data.p[0] ^= 1; // another weight
    struct opened b = gguf_opens(&m);
    m.infos.p[m.infos.n - 8] ^= 32; // another place: it overlaps, so only the head is asked
    m.keys.p[m.keys.n - 1] ^= 1;
    m.infos.p[m.infos.n - 8] ^= 32;
    struct opened c = gguf_opens(&m);
    assert_true(gguf_fingerprint(a.g) == gguf_fingerprint(b.g));
    assert_true(gguf_fingerprint(a.g) != gguf_fingerprint(c.g));
    opened_done(&a);
    opened_done(&b);
    opened_done(&c);
    gm_done(&m);
}

// --- without the vocabulary
// ---------------------------------------------------------------------------

static void a_vocabulary_that_is_not_kept_leaves_types_and_lengths(void **state)
{
    (void)state;
    static const char *const names[] = { "tokenizer.ggml.tokens", "tokenizer.ggml.scores",
                                         "plain" };
    const struct gguf_opts none = { .no_vocab = true };
    struct gguf_make m;
    struct gguf_arr a, b;
    struct str text;
    int64_t i;
    uint64_t n;
    struct buf shown;

    gguf_small(&m);
    gm_strs(&m, names[0], 4, (const char *[]){ "a", "", "long enough", "\xff" });
    gm_str(&m, "tokenizer.ggml.model", "gpt2");
    gm_arr(&m, names[1], GGUF_F32, 3, (float[]){ 1, 2, 3 }, 12);
    gm_arr(&m, names[2], GGUF_I32, 3, (int32_t[]){ 1, 2, 3 }, 12);
    struct opened all = gguf_opens(&m), o = gguf_opens_with(&m, &none);
    assert_true(gguf_fingerprint(all.g) == gguf_fingerprint(o.g));
    assert_int_equal(gguf_data_offset(all.g, 0), gguf_data_offset(o.g, 0));
    for (int t = 0; t < gguf_n_tensors(all.g); t++) {
        assert_string_equal(gguf_tensor(all.g, t)->name, gguf_tensor(o.g, t)->name);
        assert_int_equal(gguf_tensor(all.g, t)->offset, gguf_tensor(o.g, t)->offset);
    }
    for (size_t k = 0; k < ARRAY_LEN(names); k++) {
        assert_true(gguf_get_arr(all.g, names[k], &a) && gguf_get_arr(o.g, names[k], &b));
        assert_true(a.type == b.type && a.n == b.n);
    }
    assert_true(gguf_arr_i64(&b, 2, &i) && i == 3); // others are kept
    assert_true(gguf_get_arr(o.g, names[1], &b) && b.data == NULL && !gguf_arr_i64(&b, 0, &i));
    assert_null(gguf_arr_strs(o.g, names[0], &n));
    assert_null(gguf_arr_str(o.g, names[0], 0).p);
    assert_true(gguf_get_str(o.g, "tokenizer.ggml.model", &text) && str_is(text, "gpt2"));
    buf_init(&shown, 1 << 10);
    assert_true(gguf_key_text(o.g, gguf_find_key(o.g, names[0]), &shown));
    assert_int_equal(shown.n, strlen("[...] (4 elements)"));
    assert_memory_equal(shown.p, "[...] (4 elements)", shown.n);
    buf_done(&shown);
    gguf_walk_all(o.g);
    opened_done(&all);
    opened_done(&o);
    gm_done(&m);
}

static void a_vocabulary_that_is_not_kept_is_checked_and_errors_name_the_place(void **state)
{
    (void)state;
    const struct gguf_opts none = { .no_vocab = true };
    struct err kept = { 0 }, left = { 0 };
    struct gguf *g;
    struct gguf_make m;

    for (int round = 0; round < 3; round++) {
        gguf_small(&m);
        gm_strs(&m, "tokenizer.ggml.tokens", 2, (const char *[]){ "a", "bc" });
        if (round == 0)
            m.keys.p[m.keys.n - 10] = 77; // the last string's length
        else if (round == 1)
            gm_str(&m, "general.architecture", "twice");
        else
            gm_tensor(&m, "token_embd.weight", DTYPE_F32, 2, (uint64_t[]){ 32, 3 });
        const struct gm_bytes *f = gm_finish(&m);
        assert_false(gguf_open_mem(&g, f->p, f->n, "x", NULL, &kept));
        assert_false(gguf_open_mem(&g, f->p, f->n, "x", &none, &left));
        assert_string_equal(kept.msg, left.msg);
        gm_done(&m);
    }
}

// --- G-25: split files
// ------------------------------------------------------------------------------

enum { PARTS = 3 };

struct split {
    char *dir;
    struct gguf_make part[PARTS]; // written by split_open()
    char *first;
};

static void split_keys(struct gguf_make *m, int no, int count, int total)
{
    gm_u16(m, "split.no", (uint16_t)no);
    gm_u16(m, "split.count", (uint16_t)count);
    gm_i32(m, "split.tensors.count", total);
}

static char *part_path(const struct split *s, int i)
{
    return xasprintf("%s/model-%05d-of-%05d.gguf", s->dir, i + 1, PARTS);
}

/// Three files, two tensors each; `odd` is a part whose split keys the caller writes (-1: none).
static void split_make(struct split *s, int odd)
{
    s->dir = gm_dir();
    s->first = part_path(s, 0);
    for (int i = 0; i < PARTS; i++) {
        struct gguf_make *m = &s->part[i];
        gm_init(m);
        if (i == 0)
            gm_str(m, "general.architecture", "llama");
        if (i != odd)
            split_keys(m, i, PARTS, 2 * PARTS);
        for (int t = 0; t < 2; t++) {
            char name[16];
            snprintf(name, sizeof(name), "t%d", 2 * i + t);
            gm_tensor(m, name, DTYPE_F32, 1, DIMS(8));
        }
    }
}

static void split_write(struct split *s)
{
    for (int i = 0; i < PARTS; i++) {
        char *path = part_path(s, i);
        gm_write(&s->part[i], path);
        free(path);
    }
}

static void split_done(struct split *s)
{
    for (int i = 0; i < PARTS; i++)
        gm_done(&s->part[i]);
    gm_dir_remove(s->dir);
    free(s->dir);
    free(s->first);
}

/// What is in the folder is refused with `code` and all of `texts`.
static void split_refused(const char *path, enum err_code code, const char *text)
{
    struct gguf *g;
    struct err e = { 0 };

    assert_false(gguf_open(&g, path, NULL, &e));
    if (e.code != code || strstr(e.msg, text) == NULL)
        fail_msg("not %s \"%s\" but %s: %s", err_code_name(code), text, err_code_name(e.code),
                 e.msg);
}

static void g25_the_parts_of_a_split_file_are_one(void **state)
{
    (void)state;
    struct split s;
    struct gguf *g;
    struct err e = { 0 };
    struct str arch;

    split_make(&s, -1);
    split_write(&s);
    if (!gguf_open(&g, s.first, NULL, &e))
        fail_msg("%s", e.msg);
    assert_int_equal(gguf_n_files(g), PARTS);
    assert_int_equal(gguf_n_tensors(g), 2 * PARTS);
    for (int i = 0; i < 2 * PARTS; i++) {
        const struct gguf_tensor *t = gguf_tensor(g, i);
        uint64_t n;
        assert_int_equal(t->name[1], '0' + i);
        assert_int_equal(t->file, i / 2);
        assert_int_equal(t->offset, s.part[i / 2].data_at + (uint64_t)(i % 2) * 32);
        assert_ptr_equal(gguf_data(g, i), (const uint8_t *)gguf_file_map(g, i / 2, &n) + t->offset);
        assert_int_equal(gguf_find_tensor(g, t->name), i);
    }
    assert_true(gguf_get_str(g, "general.architecture", &arch)); // keys are those of the first
    assert_int_equal(gguf_n_keys(g), 4);
    gguf_walk_all(g);
    gguf_close(g);
    split_done(&s);
}

static void g25_a_first_file_without_tensors_and_parts_of_their_own_alignment_are_read(void **state)
{
    (void)state;
    struct split s;
    struct gguf *g;
    struct err e = { 0 };

    split_make(&s, -1);
    for (int i = 0; i < 2; i++) {
        gm_done(&s.part[i]);
        gm_init(&s.part[i]);
        split_keys(&s.part[i], i, PARTS, i == 0 ? 3 : -1);
    }
    // What only the first one says counts there; the second one has its own alignment.
    s.part[1].n_keys--;
    s.part[1].keys.n -= 8 + strlen("split.tensors.count") + 4 + 4;
    gm_u32(&s.part[1], "general.alignment", 64);
    s.part[1].alignment = 64;
    gm_tensor(&s.part[1], "only", DTYPE_F32, 1, DIMS(1));
    split_write(&s);
    if (!gguf_open(&g, s.first, NULL, &e))
        fail_msg("%s", e.msg);
    assert_int_equal(gguf_n_tensors(g), 3);
    assert_int_equal(gguf_tensor(g, 0)->file, 1);
    assert_int_equal(gguf_tensor(g, 0)->offset % 64, 0);
    gguf_close(g);
    split_done(&s);
}

static void g25_a_missing_part_is_not_found(void **state)
{
    (void)state;
    struct split s;

    split_make(&s, -1);
    split_write(&s);
    char *second = part_path(&s, 1);
    unlink(second);
    split_refused(s.first, ERR_NOTFOUND, "file 2 of 3");
    assert_int_equal(mkdir(second, 0700), 0);
    split_refused(s.first, ERR_IO, "file 2 of 3");
    free(second);
    split_done(&s);
}

static void g25_parts_may_be_links_to_files_only(void **state)
{
    (void)state;
    struct split s;
    struct gguf *g;
    struct err e = { 0 };

    split_make(&s, -1);
    split_write(&s);
    char *second = part_path(&s, 1), *blob = xasprintf("%s/blob", s.dir);
    assert_int_equal(rename(second, blob), 0);
    assert_int_equal(symlink("blob", second), 0); // as download caches keep them
    assert_true(gguf_open(&g, s.first, NULL, &e));
    gguf_close(g);
    unlink(second);
    assert_int_equal(symlink(".", second), 0);
    split_refused(s.first, ERR_IO, "directory");
    unlink(second);
    assert_int_equal(symlink("/dev/zero", second), 0);
    split_refused(s.first, ERR_IO, "regular");
    unlink(second);
    assert_int_equal(symlink("nowhere", second), 0);
    split_refused(s.first, ERR_NOTFOUND, "file 2 of 3");
    free(second);
    free(blob);
    split_done(&s);
}

static void g25_a_later_part_is_not_opened_alone(void **state)
{
    (void)state;
    struct split s;

    split_make(&s, -1);
    split_write(&s);
    char *second = part_path(&s, 1);
    split_refused(second, ERR_FORMAT, "open the first file");
    free(second);
    split_done(&s);
}

static void g25_parts_that_disagree_are_refused(void **state)
{
    (void)state;
    static const struct {
        int part;
        int no, count, total;
        const char *text;
    } cases[] = {
        { 0, 0, 2, 6, "split.count" },                     // fewer than its name says
        { 0, 0, 65535, 6, "split.count" },                 // no such files
        { 0, 5, 1, 6, "split.no\": 5, split.count is 1" }, // beyond its count
        { 0, 3, 3, 6, "split.no\": 3, split.count is 3" },
        { 0, 0, 3, 5, "split.tensors.count" },
        { 0, 0, 3, -1, "split.tensors.count" },
        { 1, 2, 3, 6, "split.no" },
        { 1, 0, 3, 6, "split.no" },
        { 1, 1, 2, 6, "split.count" },
        { 2, 2, 0, 6, "split.count" },
    };

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct split s;
        split_make(&s, cases[i].part);
        split_keys(&s.part[cases[i].part], cases[i].no, cases[i].count, cases[i].total);
        split_write(&s);
        split_refused(s.first, cases[i].count > 1024 ? ERR_UNSUPPORTED : ERR_FORMAT, cases[i].text);
        split_done(&s);
    }
}

static void g25_parts_without_split_keys_are_refused(void **state)
{
    (void)state;
    for (int odd = 0; odd < PARTS; odd++) {
        struct split s;
        split_make(&s, odd);
        split_write(&s);
        split_refused(s.first, ERR_FORMAT,
                      odd == 0 ? "split.count\": missing" : "split.no\": missing");
        split_done(&s);
    }
}

static void g25_split_keys_of_other_types_are_refused(void **state)
{
    (void)state;
    for (int kind = 0; kind < 4; kind++) {
        struct split s;
        split_make(&s, 0);
        gm_u16(&s.part[0], "split.no", 0);
        if (kind == 0)
            gm_str(&s.part[0], "split.count", "3");
        else if (kind == 1)
            gm_f32(&s.part[0], "split.count", 3);
        else if (kind == 2)
            gm_i32(&s.part[0], "split.count", -3);
        else
            gm_bool(&s.part[0], "split.count", true);
        split_write(&s);
        split_refused(s.first, ERR_FORMAT, "\"split.count\": not a whole number");
        split_done(&s);
    }
}

static void g25_split_keys_of_other_types_in_any_part_are_refused(void **state)
{
    (void)state;
    for (int odd = 0; odd < PARTS; odd++) {
        for (int kind = 0; kind < 3; kind++) {
            static const char *const names[] = { "split.no", "split.count", "split.tensors.count" };
            struct split s;
            if (kind == 2 && odd != 0)
                continue; // what the first file says counts
            split_make(&s, odd);
            for (int k = 0; k < 3; k++) {
                if (k == kind)
                    gm_f64(&s.part[odd], names[k], 3);
                else
                    gm_u64(&s.part[odd], names[k],
                           k == 0   ? (uint64_t)odd
                           : k == 1 ? PARTS
                                    : 2 * PARTS);
            }
            split_write(&s);
            split_refused(s.first, ERR_FORMAT, names[kind]);
            split_refused(s.first, ERR_FORMAT, "not a whole number");
            split_done(&s);
        }
    }
}

static void g25_too_many_tensors_in_all_files_are_unsupported(void **state)
{
    (void)state;
    struct split s;

    split_make(&s, -1);
    for (int i = 0; i < PARTS; i++) {
        for (int t = 0; t < 22000; t++) {
            char name[32];
            snprintf(name, sizeof(name), "blk.%d.%d", i, t);
            gm_tensor_data(&s.part[i], name, DTYPE_F32, 1, DIMS(8), NULL, 32);
        }
    }
    split_write(&s);
    split_refused(s.first, ERR_UNSUPPORTED, "66006 tensors in all files, more than 65536");
    split_done(&s);
}

static void g25_the_same_tensor_in_two_parts_is_refused(void **state)
{
    (void)state;
    struct split s;

    split_make(&s, -1);
    gm_done(&s.part[2]);
    gm_init(&s.part[2]);
    split_keys(&s.part[2], 2, PARTS, 2 * PARTS);
    gm_tensor(&s.part[2], "t4", DTYPE_F32, 1, DIMS(8));
    gm_tensor(&s.part[2], "t1", DTYPE_F32, 1, DIMS(8));
    split_write(&s);
    split_refused(s.first, ERR_FORMAT, "tensor \"t1\": it is there twice");
    split_done(&s);
}

static void g25_a_part_of_another_architecture_is_refused(void **state)
{
    (void)state;
    struct split s;
    struct gguf *g;
    struct err e = { 0 };

    split_make(&s, -1);
    gm_str(&s.part[1], "general.architecture", "llama");
    split_write(&s);
    assert_true(gguf_open(&g, s.first, NULL, &e));
    gguf_close(g);
    gm_str(&s.part[2], "general.architecture", "qwen3");
    split_write(&s);
    split_refused(s.first, ERR_FORMAT, "00003-of-00003.gguf: byte ");
    split_refused(s.first, ERR_FORMAT, "general.architecture");
    split_done(&s);
    for (int odd = 0; odd < 3; odd++) { // a number here, a number there, only here
        split_make(&s, -1);
        gm_done(&s.part[0]);
        gm_init(&s.part[0]);
        split_keys(&s.part[0], 0, PARTS, 2 * PARTS);
        if (odd == 0)
            gm_str(&s.part[0], "general.architecture", "llama");
        else if (odd == 1)
            gm_u32(&s.part[0], "general.architecture", 1);
        if (odd == 0)
            gm_u32(&s.part[1], "general.architecture", 1);
        else
            gm_str(&s.part[1], "general.architecture", "llama");
        split_write(&s);
        split_refused(s.first, ERR_FORMAT, "general.architecture\": not that of the first file");
        split_done(&s);
    }
}

static void g25_a_bad_part_is_refused_with_its_own_name(void **state)
{
    (void)state;
    struct split s;

    split_make(&s, -1);
    s.part[1].data.n = 20;
    split_write(&s);
    split_refused(s.first, ERR_FORMAT, "model-00002-of-00003.gguf: byte ");
    split_done(&s);
}

static void open_named(const char *file, int no, int count, bool ok, const char *text)
{
    char *dir = gm_dir(), *path = xasprintf("%s/%s", dir, file);
    struct gguf_make m;
    struct gguf *g;
    struct err e = { 0 };

    gguf_small(&m);
    if (count >= 0)
        split_keys(&m, no, count, 2);
    gm_write(&m, path);
    if (ok != gguf_open(&g, path, NULL, &e))
        fail_msg("%s: %s", file, e.msg);
    if (ok)
        gguf_close(g);
    else if (strstr(e.msg, text) == NULL)
        fail_msg("no \"%s\" in: %s", text, e.msg);
    gm_done(&m);
    gm_dir_remove(dir);
    free(dir);
    free(path);
}

static void g25_names_and_counts_belong_together(void **state)
{
    (void)state;
    open_named("m.gguf", 0, 0, true, NULL); // what joined files keep
    open_named("m.gguf", 9, 0, true, NULL);
    open_named("m.gguf", 0, 1, true, NULL);
    open_named("m-00001-of-00001.gguf", 0, 1, true, NULL);
    open_named("m-00001-of-00001.gguf", 0, -1, true, NULL);
    open_named("m.gguf", 5, 1, false, "split.no");
    open_named("m.gguf", 0, 3, false, "split.count\": 3, so its name must end in -00001-of-");
    open_named("m-00001-of-00003.bin", 0, 3, false, "split.count");
    open_named("m-0001-of-0003.gguf", 0, 3, false, "split.count");
    open_named("m-00001-of-00004.gguf", 0, 3, false, "split.count");
    open_named("m-00000-of-00003.gguf", 0, 3, false, "split.count");
    open_named("m-00001-of-00003.gguf", 0, 0, false, "its name says 3");
    open_named("-00001-of-00003.gguf", 0, -1, false, "its name says 3");
    open_named("m-00001_of_00003.gguf", 0, -1, true, NULL);
    open_named("m-0001-of-00003.gguf", 0, -1, true, NULL);
    open_named("m-0000x-of-00003.gguf", 0, -1, true, NULL);
    open_named("00001-of-00003.gguf", 0, -1, true, NULL); // not such a name
}

static void g25_heads_of_parts_may_be_all_there_is(void **state)
{
    (void)state;
    struct split s;
    struct gguf *g;
    struct err e = { 0 };

    split_make(&s, -1);
    s.part[1].data.n = 33;
    split_write(&s);
    assert_true(gguf_open(&g, s.first, &(struct gguf_opts){ .head_only = true }, &e));
    assert_true(gguf_head_only(g));
    assert_non_null(gguf_data(g, 2));
    assert_null(gguf_data(g, 3));
    assert_int_equal(gguf_file_bytes(g, 1), s.part[1].data_at + 64);
    gguf_close(g);
    split_done(&s);
}

static void g25_a_split_file_in_memory_is_unsupported(void **state)
{
    (void)state;
    struct gguf_make m;
    struct gguf *g;
    struct err e = { 0 };

    gguf_small(&m);
    split_keys(&m, 0, 2, 4);
    assert_false(gm_open(&g, &m, &e));
    assert_int_equal(e.code, ERR_UNSUPPORTED);
    gm_done(&m);
    gguf_small(&m);
    gm_f32(&m, "split.count", 2);
    assert_false(gm_open(&g, &m, &e));
    assert_int_equal(e.code, ERR_FORMAT);
    gm_done(&m);
}

static void g25_type_4_in_a_later_part_of_gptoss_is_mxfp4(void **state)
{
    (void)state;
    struct split s;
    struct gguf *g;
    struct err e = { 0 };

    split_make(&s, -1);
    gm_done(&s.part[0]);
    gm_init(&s.part[0]);
    gm_str(&s.part[0], "general.architecture", "gptoss");
    split_keys(&s.part[0], 0, PARTS, 5);
    gm_tensor_data(&s.part[1], "x", 4, 1, DIMS(32), NULL, 17);
    split_write(&s);
    if (!gguf_open(&g, s.first, NULL, &e))
        fail_msg("%s", e.msg);
    assert_int_equal(gguf_tensor(g, gguf_find_tensor(g, "x"))->type, DTYPE_MXFP4_PAIRS);
    gguf_close(g);
    split_done(&s);
}

// --- G-26: files that change
// ------------------------------------------------------------------------

static void g26_rewriting_the_head_after_opening_changes_nothing(void **state)
{
    (void)state;
    char *dir = gm_dir(), *path = xasprintf("%s/m.gguf", dir);
    struct gguf_make m;
    struct gguf *g;
    struct err e = { 0 };

    gguf_small(&m);
    gm_strs(&m, "strs", 3, (const char *[]){ "a", "", "long enough" });
    gm_arr(&m, "u32s", GGUF_U32, 3, (uint32_t[]){ 1, 2, 3 }, 12);
    gm_write(&m, path);
    assert_true(gguf_open(&g, path, NULL, &e));
    uint64_t before = gguf_walk_all(g);
    int status;
    pid_t child = fork();
    if (child == 0) { // another process, through the same pages
        int fd = open(path, O_RDWR);
        char ff[24];
        memset(ff, 0xff, sizeof(ff));
        for (size_t at = 0; at < m.data_at; at += sizeof(ff)) {
            size_t n = m.data_at - at < sizeof(ff) ? m.data_at - at : sizeof(ff);
            if (pwrite(fd, ff, n, (off_t)at) != (ssize_t)n)
                _exit(1);
        }
        _exit(0);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    uint64_t n;
    assert_int_equal(*(const uint8_t *)gguf_file_map(g, 0, &n), 0xff); // it did arrive
    assert_true(gguf_walk_all(g) == before);
    gguf_close(g);
    gm_done(&m);
    gm_dir_remove(dir);
    free(dir);
    free(path);
}

static void g26_a_head_rewritten_while_it_is_opened_is_safe(void **state)
{
    (void)state;
    struct gguf_make m;
    int n_ok = 0, status;

    gguf_small(&m);
    gm_strs(&m, "strs", 3, (const char *[]){ "a", "", "long enough" });
    gm_arr(&m, "u32s", GGUF_U32, 3, (uint32_t[]){ 1, 2, 3 }, 12);
    gm_strs(&m, "tokenizer.ggml.tokens", 3, (const char *[]){ "a", "", "long enough" });
    gm_arr(&m, "tokenizer.ggml.token_type", GGUF_I32, 3, (int32_t[]){ 1, 2, 3 }, 12);
    const struct gm_bytes *f = gm_finish(&m);
    uint8_t *shared = mmap(NULL, f->n, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_true(shared != MAP_FAILED);
    memcpy(shared, f->p, f->n);
    pid_t parent = getpid(), child = fork();
    if (child == 0) { // turns one byte round and back, somewhere else each time
        volatile uint8_t *p = shared;
        for (uint64_t i = 0; getppid() == parent; i++) {
            size_t at = (size_t)(hash_bytes(&i, sizeof(i), 1) % m.data_at);
            uint8_t was = f->p[at];
            p[at] = (uint8_t)hash_bytes(&i, sizeof(i), 2);
            for (volatile int k = 0; k < 200; k++)
                ;
            p[at] = was;
        }
        _exit(0);
    }
    for (int i = 0; i < 20000; i++) {
        struct gguf *g;
        struct err e = { 0 };
        if (!gguf_open_mem(&g, shared, f->n, "x", &(struct gguf_opts){ .no_vocab = i % 2 != 0 },
                           &e))
            continue;
        n_ok++;
        gguf_walk_all(g);
        gguf_close(g);
    }
    kill(child, SIGKILL);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(n_ok > 0);
    munmap(shared, f->n);
    gm_done(&m);
}

// --- real files
// -------------------------------------------------------------------------------------

/// A file of the cache; NULL and a line that says so where it is missing.
static char *cached(const char *name)
{
    const char *cache = getenv("SNUG_CACHE"), *home = getenv("HOME");
    char *path = cache != NULL ? xasprintf("%s/%s", cache, name)
                               : xasprintf("%s/.cache/snug/%s", home != NULL ? home : "", name);

    if (access(path, R_OK) == 0)
        return path;
    free(path);
    return NULL;
}

static void real_gemma3_opens_and_says_what_it_is(void **state)
{
    (void)state;
    char *path = cached("models/gemma-3-270m-q4_k_m.gguf");
    struct gguf *g;
    struct err e = { 0 };
    uint32_t u;
    uint64_t n;
    struct str s;
    int64_t best = INT64_MAX;

    if (path == NULL) {
        printf("SKIP real_gemma3_opens_and_says_what_it_is: no models/gemma-3-270m-q4_k_m.gguf\n");
        skip();
    }
    for (int i = 0; i < 3; i++) {
        int64_t t = clock_ns();
        if (!gguf_open(&g, path, NULL, &e))
            fail_msg("%s", e.msg);
        t = clock_ns() - t;
        best = t < best ? t : best;
        if (i < 2)
            gguf_close(g);
    }
    printf("gemma-3-270m opened in %.1f ms\n", (double)best / 1e6);
    assert_true(best <
                200 * 1000000); // the bar of 30 ms is for a quiet machine, without sanitizers
    assert_true(gguf_get_str(g, "general.architecture", &s) && str_is(s, "gemma3"));
    assert_true(gguf_get_u32(g, "gemma3.block_count", &u) && u == 18);
    const struct str *tokens = gguf_arr_strs(g, "tokenizer.ggml.tokens", &n);
    assert_int_equal(n, 262144);
    assert_string_equal(tokens[2].p, "<bos>");
    assert_int_equal(gguf_n_tensors(g), 236);
    assert_true(gguf_find_tensor(g, "blk.17.ffn_down.weight") >= 0);
    assert_int_equal(gguf_data_offset(g, 0), 6525120);
    assert_int_equal(gguf_file_bytes(g, 0), 253113024);
    uint64_t end = 0;
    for (int i = 0; i < gguf_n_tensors(g); i++) {
        const struct gguf_tensor *t = gguf_tensor(g, i);
        end = t->offset + t->bytes > end ? t->offset + t->bytes : end;
    }
    assert_int_equal(align_up_u64(end, 32), 253113024);
    gguf_close(g);
    free(path);
}

static void real_vocabularies_open(void **state)
{
    (void)state;
    char *dir = cached("vocabs");
    glob_t files;
    struct err e = { 0 };

    if (dir == NULL) {
        printf("SKIP real_vocabularies_open: no vocabs\n");
        skip();
    }
    char *pattern = xasprintf("%s/*.gguf", dir);
    assert_int_equal(glob(pattern, 0, NULL, &files), 0);
    for (size_t i = 0; i < files.gl_pathc; i++) {
        struct gguf *g;
        uint64_t n;
        if (!gguf_open(&g, files.gl_pathv[i], NULL, &e))
            fail_msg("%s", e.msg);
        assert_int_equal(gguf_n_tensors(g), 0);
        assert_non_null(gguf_arr_strs(g, "tokenizer.ggml.tokens", &n));
        assert_true(n > 10000);
        gguf_walk_all(g);
        gguf_close(g);
    }
    globfree(&files);
    free(pattern);
    free(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(mapped_and_read_files_are_the_same),
        cmocka_unit_test(what_is_no_file_is_refused),
        cmocka_unit_test(an_error_is_not_needed),
        cmocka_unit_test(the_fingerprint_is_that_of_keys_and_directory),
        cmocka_unit_test(a_vocabulary_that_is_not_kept_leaves_types_and_lengths),
        cmocka_unit_test(a_vocabulary_that_is_not_kept_is_checked_and_errors_name_the_place),
        cmocka_unit_test(g25_the_parts_of_a_split_file_are_one),
        cmocka_unit_test(
            g25_a_first_file_without_tensors_and_parts_of_their_own_alignment_are_read),
        cmocka_unit_test(g25_a_missing_part_is_not_found),
        cmocka_unit_test(g25_parts_may_be_links_to_files_only),
        cmocka_unit_test(g25_a_later_part_is_not_opened_alone),
        cmocka_unit_test(g25_parts_that_disagree_are_refused),
        cmocka_unit_test(g25_parts_without_split_keys_are_refused),
        cmocka_unit_test(g25_split_keys_of_other_types_are_refused),
        cmocka_unit_test(g25_split_keys_of_other_types_in_any_part_are_refused),
        cmocka_unit_test(g25_too_many_tensors_in_all_files_are_unsupported),
        cmocka_unit_test(g25_the_same_tensor_in_two_parts_is_refused),
        cmocka_unit_test(g25_a_part_of_another_architecture_is_refused),
        cmocka_unit_test(g25_a_bad_part_is_refused_with_its_own_name),
        cmocka_unit_test(g25_names_and_counts_belong_together),
        cmocka_unit_test(g25_heads_of_parts_may_be_all_there_is),
        cmocka_unit_test(g25_a_split_file_in_memory_is_unsupported),
        cmocka_unit_test(g25_type_4_in_a_later_part_of_gptoss_is_mxfp4),
        cmocka_unit_test(g26_rewriting_the_head_after_opening_changes_nothing),
        cmocka_unit_test(g26_a_head_rewritten_while_it_is_opened_is_safe),
        cmocka_unit_test(real_gemma3_opens_and_says_what_it_is),
        cmocka_unit_test(real_vocabularies_open),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
