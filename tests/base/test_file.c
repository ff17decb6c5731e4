// test_file.c - whole files, and everything that is not one.

#include "base/base.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char dir[64];

static int make_dir(void **state)
{
    (void)state;
    strcpy(dir, "/tmp/snug-test-file-XXXXXX");
    return mkdtemp(dir) != NULL ? 0 : -1;
}

static int remove_dir(void **state)
{
    (void)state;
    return rmdir(dir);
}

/// A path in the test's own folder; borrowed until the next call.
static const char *in_dir(const char *name)
{
    static char path[128];

    snprintf(path, sizeof(path), "%s/%s", dir, name);
    return path;
}

static const char *write_file(const char *name, const void *p, size_t n)
{
    const char *path = in_dir(name);
    FILE *f = fopen(path, "wb");

    assert_non_null(f);
    assert_int_equal(fwrite(p, 1, n, f), n);
    assert_int_equal(fclose(f), 0);
    return path;
}

static void a_file_is_the_same_mapped_and_read(void **state)
{
    (void)state;
    char big[70001];

    for (size_t i = 0; i < sizeof(big); i++)
        big[i] = (char)(i * 31);
    const char *path = write_file("big", big, sizeof(big));
    for (int use_mmap = 0; use_mmap < 2; use_mmap++) {
        struct map m;
        struct err e = { 0 };
        assert_true(map_file(&m, path, use_mmap, &e));
        assert_int_equal(m.bytes, sizeof(big));
        assert_memory_equal(m.p, big, sizeof(big));
        assert_int_equal(m.own, !use_mmap);
        map_close(&m);
        assert_null(m.p);
        map_close(&m); // twice is fine
    }
    unlink(path);
}

/// Pages of this process in memory.
static long resident_pages(void)
{
    char *text;
    size_t n;
    long all, resident;
    struct err e;

    assert_true(file_read(&text, &n, "/proc/self/statm", 4096, &e));
    assert_int_equal(sscanf(text, "%ld %ld", &all, &resident), 2);
    free(text);
    return resident;
}

static void what_is_forgotten_leaves_memory_and_the_rest_stays(void **state)
{
    (void)state;
    enum { BYTES = 8 << 20, FORGET = BYTES - 5000 };
    char *big = xmalloc(BYTES);

    for (size_t i = 0; i < BYTES; i++)
        big[i] = (char)(i * 31 + i / 4096);
    const char *path = write_file("big", big, BYTES);
    for (int use_mmap = 0; use_mmap < 2; use_mmap++) {
        struct map m;
        struct err e = { 0 };
        assert_true(map_file(&m, path, use_mmap, &e));
        assert_memory_equal(m.p, big, BYTES); // all of it is in memory now
        long before = resident_pages();
        map_forget(&m, 100); // less than a page
        map_forget(&m, FORGET);
        assert_true(resident_pages() < before - 1000);
        assert_memory_equal(m.p + FORGET, big + FORGET, BYTES - FORGET);
        if (use_mmap)
            assert_memory_equal(m.p, big, BYTES);
        map_close(&m);
    }
    unlink(path);
    free(big);
}

static void data_ends_where_a_hole_reaches_the_end(void **state)
{
    (void)state;
    char text[10000];
    struct map m;
    struct err e = { 0 };

    memset(text, 'x', sizeof(text));
    const char *path = write_file("sparse", text, sizeof(text));
    assert_true(map_file(&m, path, true, &e));
    assert_int_equal(m.data_end, sizeof(text));
    map_close(&m);

    assert_int_equal(truncate(path, 1 << 30), 0);
    assert_true(map_file(&m, path, true, &e));
    assert_int_equal(m.bytes, 1 << 30);
    assert_true(m.data_end >= sizeof(text));
    if (m.data_end < m.bytes) // else this file system knows no holes
        for (uint64_t i = m.data_end; i < m.data_end + (1 << 16); i++)
            assert_int_equal(m.p[i], 0);
    map_close(&m);

    FILE *f = fopen(path, "r+b"); // data behind the hole: it is not the end any more
    assert_true(f != NULL && fseek(f, -1, SEEK_END) == 0 && fputc('x', f) == 'x' && fclose(f) == 0);
    assert_true(map_file(&m, path, true, &e));
    assert_int_equal(m.data_end, m.bytes);
    map_close(&m);
    unlink(path);
}

static void an_empty_file_maps_to_no_bytes(void **state)
{
    (void)state;
    const char *path = write_file("empty", "", 0);

    for (int use_mmap = 0; use_mmap < 2; use_mmap++) {
        struct map m;
        struct err e = { 0 };
        assert_true(map_file(&m, path, use_mmap, &e));
        assert_int_equal(m.bytes, 0);
        assert_non_null(m.p);
        map_close(&m);
    }
    unlink(path);
}

static void a_missing_file_says_so_with_its_name(void **state)
{
    (void)state;
    struct map m;
    struct err e = { 0 };
    char *p;
    size_t n;

    assert_false(map_file(&m, in_dir("miss\ning"), true, &e));
    assert_int_equal(e.code, ERR_NOTFOUND);
    assert_non_null(strstr(e.msg, "miss\\x0aing: No such file"));
    assert_null(m.p);
    map_close(&m);
    assert_false(file_read(&p, &n, in_dir("missing"), 10, &e));
    assert_int_equal(e.code, ERR_NOTFOUND);
    assert_null(p);
}

static void a_directory_is_refused(void **state)
{
    (void)state;
    struct map m;
    struct err e = { 0 };
    char *p;
    size_t n;

    assert_false(map_file(&m, dir, true, &e));
    assert_int_equal(e.code, ERR_IO);
    assert_non_null(strstr(e.msg, "is a directory"));
    assert_false(map_file(&m, dir, false, &e));
    assert_int_equal(e.code, ERR_IO);
    assert_false(file_read(&p, &n, dir, 10, &e));
    assert_int_equal(e.code, ERR_IO);
}

static void a_fifo_is_refused_without_waiting_for_a_writer(void **state)
{
    (void)state;
    const char *path = in_dir("fifo");
    struct map m;
    struct err e = { 0 };

    assert_int_equal(mkfifo(path, 0600), 0);
    assert_false(map_file(&m, path, true, &e));
    assert_int_equal(e.code, ERR_IO);
    assert_non_null(strstr(e.msg, "not a regular file"));
    unlink(path);
}

static void file_read_takes_up_to_its_maximum(void **state)
{
    (void)state;
    const char *path = write_file("ten", "0123456789", 10);
    struct err e = { 0 };
    char *p;
    size_t n;

    assert_true(file_read(&p, &n, path, 10, &e));
    assert_int_equal(n, 10);
    assert_string_equal(p, "0123456789");
    free(p);
    assert_false(file_read(&p, &n, path, 9, &e));
    assert_int_equal(e.code, ERR_FORMAT);
    assert_non_null(strstr(e.msg, "longer than 9 bytes"));
    assert_null(p);
    unlink(path);
}

static void file_read_of_nothing_is_an_empty_string(void **state)
{
    (void)state;
    const char *path = write_file("none", "", 0);
    struct err e = { 0 };
    char *p;
    size_t n;

    assert_true(file_read(&p, &n, path, 0, &e));
    assert_int_equal(n, 0);
    assert_string_equal(p, "");
    free(p);
    unlink(path);
}

static void file_read_takes_what_has_no_size_beforehand(void **state)
{
    (void)state;
    struct err e = { 0 };
    char *p;
    size_t n;

    assert_true(file_read(&p, &n, "/proc/self/status", 1 << 20, &e));
    assert_true(n > 0);
    assert_int_equal(strlen(p), n);
    free(p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_file_is_the_same_mapped_and_read),
        cmocka_unit_test(what_is_forgotten_leaves_memory_and_the_rest_stays),
        cmocka_unit_test(data_ends_where_a_hole_reaches_the_end),
        cmocka_unit_test(an_empty_file_maps_to_no_bytes),
        cmocka_unit_test(a_missing_file_says_so_with_its_name),
        cmocka_unit_test(a_directory_is_refused),
        cmocka_unit_test(a_fifo_is_refused_without_waiting_for_a_writer),
        cmocka_unit_test(file_read_takes_up_to_its_maximum),
        cmocka_unit_test(file_read_of_nothing_is_an_empty_string),
        cmocka_unit_test(file_read_takes_what_has_no_size_beforehand),
    };
    return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
