// test_heap.c - G-17, G-02 ...: what a file asks for is not allocated before its bytes were seen.
//
// Counts the heap: by the sanitizer's hooks where there is one, else by functions of our own in
// front of glibc's.

#include "gguf/gguf_check.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <malloc.h>
#include <stdlib.h>
#include <string.h>

#ifndef __has_feature
#define __has_feature(x) 0
#endif
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__) ||                               \
    __has_feature(address_sanitizer) || __has_feature(thread_sanitizer) ||                         \
    __has_feature(memory_sanitizer)
#define SANITIZED 1
#else
#define SANITIZED 0
#endif

static bool counting;
static uint64_t asked; // bytes since counting began; what is freed is not taken off

static void count(size_t bytes)
{
    if (counting)
        asked += bytes;
}

#if SANITIZED
int __sanitizer_install_malloc_and_free_hooks(void (*on_malloc)(const volatile void *, size_t),
                                              void (*on_free)(const volatile void *));

static void on_malloc(const volatile void *p, size_t bytes)
{
    (void)p;
    count(bytes);
}

static void on_free(const volatile void *p)
{
    (void)p;
}

static void start_hooks(void)
{
    if (__sanitizer_install_malloc_and_free_hooks(on_malloc, on_free) == 0)
        abort();
}
#else
void *__libc_malloc(size_t n);
void *__libc_calloc(size_t n, size_t bytes);
void *__libc_realloc(void *p, size_t bytes);
// Take the place of glibc's in this program.
__attribute__((visibility("default"))) void *malloc(size_t n)
{
    count(n);
    return __libc_malloc(n);
}
__attribute__((visibility("default"))) void *calloc(size_t n, size_t bytes)
{
    count(n * bytes);
    return __libc_calloc(n, bytes);
}
__attribute__((visibility("default"))) void *realloc(void *p, size_t bytes)
{
    count(bytes);
    return __libc_realloc(p, bytes);
}

static void start_hooks(void)
{
}
#endif

/// Bytes of heap that opening these bytes asks for, in all.
static uint64_t cost(const void *p, size_t n, bool head_only, bool *ok)
{
    struct gguf *g;
    struct err e = { 0 };

    asked = 0;
    counting = true;
    *ok = gguf_open_mem(&g, p, n, "x", &(struct gguf_opts){ .head_only = head_only }, &e);
    counting = false;
    gguf_close(g);
    return asked;
}

static uint64_t cost_of(struct gguf_make *m, bool *ok)
{
    const struct gm_bytes *f = gm_finish(m);

    return cost(f->p, f->n, false, ok);
}

static void the_counter_counts(void **state)
{
    (void)state;
    struct gguf_make m;
    bool ok;

    gguf_small(&m);
    uint64_t n = cost_of(&m, &ok);
    assert_true(ok && n > 200 && n < 4096);
    gm_done(&m);
}

static void g17_numbers_that_ask_for_memory_get_none(void **state)
{
    (void)state;
    static const uint64_t counts[] = { (uint64_t)1 << 20, (uint64_t)1 << 36, (uint64_t)1 << 40,
                                       (uint64_t)1 << 60, (uint64_t)1 << 63, UINT64_MAX };

    for (size_t i = 0; i < ARRAY_LEN(counts); i++) {
        for (int kind = 0; kind < 6; kind++) {
            struct gguf_make m;
            bool ok;
            gm_init(&m);
            if (kind == 0) {
                gm_key(&m, "k", GGUF_STR);
                gm_put_u64(&m.keys, counts[i]);
            } else if (kind == 1) {
                gm_arr(&m, "k", GGUF_U8, counts[i], NULL, 0);
            } else if (kind == 2) {
                gm_arr(&m, "k", GGUF_STR, counts[i], NULL, 0);
            } else if (kind == 3) {
                m.n_keys = counts[i];
            } else if (kind == 4) {
                m.n_tensors = counts[i];
            } else {
                gm_put_u64(&m.keys, counts[i]);
                m.n_keys = 1;
            }
            gm_put_zeros(&m.data, 100);
            assert_true(cost_of(&m, &ok) < 1024);
            assert_false(ok);
            gm_done(&m);
        }
    }
}

static void g17_large_counts_over_a_large_file_that_ends_early_get_none(void **state)
{
    (void)state;
    struct gguf_make m;
    bool ok;

    gm_init(&m); // a million strings said, a million there but for the last one's bytes
    gm_arr(&m, "k", GGUF_STR, 1000001, NULL, 0);
    gm_put_zeros(&m.keys, 8 * 1000000);
    gm_put_u64(&m.keys, 1000000);
    assert_true(cost_of(&m, &ok) < 1024);
    assert_false(ok);
    gm_done(&m);
    gm_init(&m); // 65536 keys said, as many minus one there
    for (int i = 0; i < (1 << 16) - 1; i++) {
        char name[8];
        snprintf(name, sizeof(name), "%d", i);
        gm_u8(&m, name, 0);
    }
    m.n_keys++;
    gm_put_u64(&m.keys, 1000000);
    assert_true(cost_of(&m, &ok) < 1024);
    assert_false(ok);
    gm_done(&m);
}

static void what_opens_costs_a_small_multiple_of_its_head(void **state)
{
    (void)state;
    struct gguf_make m;
    bool ok;

    gm_init(&m); // the worst: empty strings, of which each takes 8 bytes in the file
    gm_arr(&m, "k", GGUF_STR, 100000, NULL, 0);
    gm_put_zeros(&m.keys, 8 * 100000);
    uint64_t n = cost_of(&m, &ok);
    assert_true(ok && n < 4 * m.keys.n);
    gm_done(&m);
    gm_init(&m); // and keys with nothing in them
    for (int i = 0; i < 50000; i++) {
        char name[8];
        snprintf(name, sizeof(name), "%d", i);
        gm_u8(&m, name, 0);
    }
    n = cost_of(&m, &ok);
    assert_true(ok && n < 10 * m.keys.n);
    gm_done(&m);
}

static void tensor_data_costs_nothing(void **state)
{
    (void)state;
    struct gguf_make m;
    bool ok;

    gm_init(&m);
    gm_tensor_data(&m, "t", DTYPE_F32, 1, (uint64_t[]){ 1 << 20 }, NULL, 4 << 20);
    assert_true(cost_of(&m, &ok) < 4096);
    assert_true(ok);
    m.data.n = 0;
    const struct gm_bytes *f = gm_finish(&m);
    assert_true(cost(f->p, f->n, true, &ok) < 4096);
    assert_true(ok);
    gm_done(&m);
}

static void heads_above_the_limits_are_refused_before_they_cost(void **state)
{
    (void)state;
    struct gguf_make m;
    bool ok;
    struct gguf *g;
    struct err e = { 0 };

    gm_init(&m); // more strings than any vocabulary
    gm_arr(&m, "k", GGUF_STR, (1 << 23) + 1, NULL, 0);
    gm_put_zeros(&m.keys, 8 * ((1 << 23) + 1));
    assert_true(cost_of(&m, &ok) < 1024);
    assert_false(ok);
    assert_false(gm_open(&g, &m, &e));
    assert_int_equal(e.code, ERR_UNSUPPORTED);
    gm_done(&m);
    gm_init(&m); // a head larger than any
    gm_arr(&m, "k", GGUF_U8, 128 << 20, NULL, 0);
    gm_put_zeros(&m.keys, 128 << 20);
    assert_true(cost_of(&m, &ok) < 1024);
    assert_false(ok);
    assert_false(gm_open(&g, &m, &e));
    assert_int_equal(e.code, ERR_UNSUPPORTED);
    gm_done(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_counter_counts),
        cmocka_unit_test(g17_numbers_that_ask_for_memory_get_none),
        cmocka_unit_test(g17_large_counts_over_a_large_file_that_ends_early_get_none),
        cmocka_unit_test(what_opens_costs_a_small_multiple_of_its_head),
        cmocka_unit_test(tensor_data_costs_nothing),
        cmocka_unit_test(heads_above_the_limits_are_refused_before_they_cost),
    };
    start_hooks();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
