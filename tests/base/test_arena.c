// test_arena.c - many small objects freed in one call.

#include "base/base.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

static void objects_are_zeroed_aligned_and_apart(void **state)
{
    (void)state;
    struct arena a = { 0 };
    unsigned char *p[400];
    uint64_t asked = 0;

    // Sizes up to 20 KiB: some share a block, some get their own.
    for (size_t i = 0; i < ARRAY_LEN(p); i++) {
        size_t n = i * 53 % 20480;
        p[i] = arena_alloc(&a, n);
        assert_int_equal((uintptr_t)p[i] % 16, 0);
        for (size_t j = 0; j < n; j++)
            assert_int_equal(p[i][j], 0);
        memset(p[i], (int)i, n);
        asked += n;
    }
    for (size_t i = 0; i < ARRAY_LEN(p); i++)
        for (size_t j = 0; j < i * 53 % 20480; j++)
            assert_int_equal(p[i][j], (unsigned char)i);
    assert_int_equal(a.bytes, asked);
    arena_done(&a);
    assert_null(a.head);
    assert_int_equal(a.bytes, 0);
}

static void a_large_object_leaves_the_block_in_use(void **state)
{
    (void)state;
    struct arena a = { 0 };
    char *first = arena_alloc(&a, 16);

    arena_alloc(&a, 1 << 20);
    assert_ptr_equal(arena_alloc(&a, 16), first + 16);
    arena_done(&a);
}

static void strings_live_in_the_arena(void **state)
{
    (void)state;
    struct arena a = { 0 };

    assert_string_equal(arena_strdup(&a, "abc"), "abc");
    assert_string_equal(arena_strdup(&a, ""), "");
    assert_string_equal(arena_printf(&a, "%d/%s", 3, "x"), "3/x");
    arena_done(&a);
    arena_done(&a); // twice is fine
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(objects_are_zeroed_aligned_and_apart),
        cmocka_unit_test(a_large_object_leaves_the_block_in_use),
        cmocka_unit_test(strings_live_in_the_arena),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
