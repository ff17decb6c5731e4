// test_mem.c - the heap functions that cannot fail.

#include "base/base.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static void zero_bytes_are_still_an_object(void **state)
{
    (void)state;
    void *a = xmalloc(0), *b = xcalloc(0, 8), *c = xaligned(0), *d = xrealloc(NULL, 0);

    assert_non_null(a);
    assert_non_null(b);
    assert_non_null(c);
    assert_non_null(d);
    free(a);
    free(b);
    free(c);
    free(d);
}

static void xcalloc_zeroes_and_xrealloc_keeps(void **state)
{
    (void)state;
    unsigned char *p = xcalloc(10, 10);

    for (int i = 0; i < 100; i++)
        assert_int_equal(p[i], 0);
    memset(p, 7, 100);
    p = xrealloc(p, 100000);
    for (int i = 0; i < 100; i++)
        assert_int_equal(p[i], 7);
    free(p);
}

static void strings_are_copied_and_formatted(void **state)
{
    (void)state;
    char *a = xstrdup("hello"), *b = xasprintf("%s-%d", "x", 42);

    assert_string_equal(a, "hello");
    assert_string_equal(b, "x-42");
    free(a);
    free(b);
}

static void xaligned_gives_64_byte_alignment(void **state)
{
    (void)state;
    for (size_t n = 1; n < 300; n += 37) {
        void *p = xaligned(n);
        assert_int_equal((uintptr_t)p % 64, 0);
        memset(p, 1, n);
        free(p);
    }
}

/// The exit status of a child that runs `f`, with what it says thrown away.
static int exit_of(void (*f)(void))
{
    int status = 0;
    pid_t pid = fork();

    assert_true(pid >= 0);
    if (pid == 0) {
        if (freopen("/dev/null", "w", stderr) == NULL)
            _exit(99);
        f();
        _exit(0);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return WIFSIGNALED(status) ? -WTERMSIG(status) : WEXITSTATUS(status);
}

static void calloc_too_much(void)
{
    free(xcalloc(SIZE_MAX / 2 + 1, 2)); // wraps to 0
}

static void break_a_promise(void)
{
    ASSERT(1 + 1 == 3);
}

static void an_overflowing_product_ends_the_process_with_1(void **state)
{
    (void)state;
    assert_int_equal(exit_of(calloc_too_much), 1);
}

static void a_broken_promise_aborts_in_every_build(void **state)
{
    (void)state;
    assert_int_not_equal(exit_of(break_a_promise), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(zero_bytes_are_still_an_object),
        cmocka_unit_test(xcalloc_zeroes_and_xrealloc_keeps),
        cmocka_unit_test(strings_are_copied_and_formatted),
        cmocka_unit_test(xaligned_gives_64_byte_alignment),
        cmocka_unit_test(an_overflowing_product_ends_the_process_with_1),
        cmocka_unit_test(a_broken_promise_aborts_in_every_build),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
