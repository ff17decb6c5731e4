// test_index.c - names found in constant time, whatever a file chose as names.

#include "gguf/gguf_check.h"
#include "gguf/gguf_int.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { N = 1 << 16 };

/// Of this process, so that a busy machine fails nothing.
static int64_t cpu_ns(void)
{
    struct timespec t;

    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static void finds_every_name_and_no_other(void **state)
{
    (void)state;
    static const int sizes[] = { 0, 1, 2, 3, 4, 5, 7, 8, 9, 100, 1023, 1024, 1025 };

    for (size_t s = 0; s < ARRAY_LEN(sizes); s++) {
        int n = sizes[s], twice;
        struct arena a = { 0 };
        struct str *names = xcalloc((size_t)n + 1, sizeof(*names));
        struct index ix;
        for (int i = 0; i < n; i++)
            names[i] = str_of(arena_printf(&a, "blk.%d.weight", i));
        assert_true(gguf_index_make(&ix, names, n, gguf_index_seed(), &twice));
        for (int i = 0; i < n; i++) {
            assert_int_equal(gguf_index_find(&ix, str_of(arena_printf(&a, "blk.%d.weight", i))), i);
            assert_int_equal(gguf_index_find(&ix, str_of(arena_printf(&a, "blk.%d.weigh", i))), -1);
        }
        assert_int_equal(gguf_index_find(&ix, str_of("")), -1);
        gguf_index_done(&ix);
        free(names);
        arena_done(&a);
    }
}

static void says_which_name_is_there_twice(void **state)
{
    (void)state;
    const struct str names[] = { { "a", 1 }, { "b", 1 }, { "ab", 2 }, { "b", 1 }, { "a", 1 } };
    struct index ix;
    int twice = -1;

    assert_false(gguf_index_make(&ix, names, 5, 7, &twice));
    assert_int_equal(twice, 3);
    gguf_index_done(&ix);
}

struct hashed {
    uint64_t hash;
    uint32_t i;
};

static int by_hash(const void *a, const void *b)
{
    const struct hashed *x = a, *y = b;

    return x->hash < y->hash ? -1 : x->hash > y->hash;
}

static struct str numbered(char out[16], uint32_t i)
{
    snprintf(out, 16, "name %08x", (unsigned)i);
    return str_of(out);
}

/// Two names that fall into the same slot of a table of two with the same 32 bits beside them;
/// among 400000 there are about nine such pairs.
static void names_of_equal_hash_are_told_apart(void **state)
{
    (void)state;
    enum { TRIED = 400000 };
    struct hashed *all = xmalloc(TRIED * sizeof(*all));
    char one[16], two[16];
    int n_pairs = 0, twice;

    for (uint32_t i = 0; i < TRIED; i++) {
        struct str s = numbered(one, i);
        uint64_t hash = hash_bytes(s.p, s.n, 1);
        all[i] = (struct hashed){ (hash >> 32) << 1 | (hash & 1), i };
    }
    qsort(all, TRIED, sizeof(*all), by_hash);
    for (int k = 1; k < TRIED; k++) {
        struct index ix;
        struct str name = numbered(one, all[k - 1].i);
        if (all[k].hash != all[k - 1].hash)
            continue;
        n_pairs++;
        assert_true(gguf_index_make(&ix, &name, 1, 1, &twice));
        assert_int_equal(gguf_index_find(&ix, name), 0);
        assert_int_equal(gguf_index_find(&ix, numbered(two, all[k].i)), -1);
        gguf_index_done(&ix);
    }
    assert_true(n_pairs > 0);
    free(all);
}

static void each_opening_has_a_seed_of_its_own(void **state)
{
    (void)state;
    uint64_t a = gguf_index_seed(), b = gguf_index_seed(), c = gguf_index_seed();

    assert_true(a != b || b != c);
}

static void g23_65536_keys_with_a_long_common_beginning_open_in_200_ms(void **state)
{
    (void)state;
    struct gguf_make m;
    char name[220];

    gm_init(&m);
    memset(name, 'p', sizeof(name));
    for (int i = 0; i < N; i++) {
        snprintf(name + 200, 20, "%08d", i);
        gm_u8(&m, name, (uint8_t)i);
    }
    gm_finish(&m);
    int64_t t = cpu_ns();
    struct opened o = gguf_opens(&m);
    t = cpu_ns() - t;
    assert_int_equal(gguf_n_keys(o.g), N);
    snprintf(name + 200, 20, "%08d", N - 1);
    assert_int_equal(gguf_find_key(o.g, name), N - 1);
    printf("%.1f ms\n", (double)t / 1e6);
    assert_true(t < 200 * 1000000);
    opened_done(&o);
    gm_done(&m);
}

static void g23_the_last_of_65536_keys_twice_is_refused_in_200_ms(void **state)
{
    (void)state;
    struct gguf_make m;
    char name[220];

    gm_init(&m);
    memset(name, 'p', sizeof(name));
    for (int i = 0; i < N; i++) {
        snprintf(name + 200, 20, "%08d", i == N - 1 ? 0 : i);
        gm_u8(&m, name, 0);
    }
    const struct gm_bytes *f = gm_finish(&m);
    int64_t t = cpu_ns();
    gguf_refused_bytes(f->p, f->n, NULL, ERR_FORMAT, "key 65535 |it is there twice");
    t = cpu_ns() - t;
    printf("%.1f ms\n", (double)t / 1e6);
    assert_true(t < 200 * 1000000);
    gm_done(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(finds_every_name_and_no_other),
        cmocka_unit_test(says_which_name_is_there_twice),
        cmocka_unit_test(names_of_equal_hash_are_told_apart),
        cmocka_unit_test(each_opening_has_a_seed_of_its_own),
        cmocka_unit_test(g23_65536_keys_with_a_long_common_beginning_open_in_200_ms),
        cmocka_unit_test(g23_the_last_of_65536_keys_twice_is_refused_in_200_ms),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
