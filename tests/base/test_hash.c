// test_hash.c - the hash of tables: every byte, the length and the seed matter.

#include "base/base.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

static int compare(const void *a, const void *b)
{
    const uint64_t *x = a, *y = b;

    return *x < *y ? -1 : *x > *y;
}

static void strings_of_any_length_hash_apart(void **state)
{
    (void)state;
    enum { N = 200000 };
    uint64_t *h = xmalloc(N * sizeof(*h));
    char text[32];

    for (int i = 0; i < N; i++)
        h[i] = hash_bytes(text, (size_t)snprintf(text, sizeof(text), "%*d", i % 20, i), 1);
    qsort(h, N, sizeof(*h), compare);
    for (int i = 1; i < N; i++)
        assert_int_not_equal(h[i], h[i - 1]);
    free(h);
}

static void every_bit_of_the_input_matters(void **state)
{
    (void)state;
    unsigned char in[40] = { 0 };

    for (size_t n = 0; n <= sizeof(in); n++) {
        uint64_t zero = hash_bytes(in, n, 7);
        assert_int_not_equal(zero, hash_bytes(in, n, 8));
        if (n < sizeof(in))
            assert_int_not_equal(zero, hash_bytes(in, n + 1, 7)); // zeros, one more of them
        for (size_t bit = 0; bit < 8 * n; bit++) {
            in[bit / 8] ^= (unsigned char)(1u << bit % 8);
            assert_int_not_equal(zero, hash_bytes(in, n, 7));
            in[bit / 8] = 0;
        }
    }
    assert_int_equal(hash_bytes(in, 40, 7), hash_bytes(in, 40, 7));
}

static void table_slots_are_used_evenly(void **state)
{
    (void)state;
    int slot[256] = { 0 };
    char text[32];

    for (int i = 0; i < 256 * 100; i++) {
        int n = snprintf(text, sizeof(text), "blk.%d.weight", i);
        slot[hash_bytes(text, (size_t)n, 0) & 255]++;
    }
    for (int i = 0; i < 256; i++) // 100 expected, standard deviation 10
        assert_in_range(slot[i], 50, 150);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(strings_of_any_length_hash_apart),
        cmocka_unit_test(every_bit_of_the_input_matters),
        cmocka_unit_test(table_slots_are_used_evenly),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
