// test_part_heads.c - heads fetched elsewhere: how far they go, and what is known of them.

#include "gguf/gguf_check.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

/// The first `n` bytes in memory of exactly that size, so that a byte read behind them is seen.
static struct gguf_head head_of(const struct gguf_make *m, uint64_t n)
{
    uint8_t *p = xmalloc((size_t)n + (n == 0));

    memcpy(p, m->file.p, (size_t)n);
    return (struct gguf_head){ .name = "h", .p = p, .n = n, .file_bytes = m->file.n };
}

static void from_any_beginning_the_head_is_reached_and_never_passed(void **state)
{
    struct gguf_make m;
    struct opened whole;
    struct err e = { 0 };
    (void)state;

    gguf_small(&m);
    whole = gguf_opens(&m);
    uint64_t end = gguf_data_offset(whole.g, 0);
    for (uint64_t n = 0; n <= m.file.n; n++) {
        struct gguf_head h = head_of(&m, n);
        uint64_t need;
        if (!gguf_head_need(&h, &need, &e))
            fail_msg("%s", e.msg);
        assert_true(need <= end);
        assert_true(n < end - 31 || need <= n || n < end);
        struct gguf *g = NULL;
        assert_int_equal(gguf_open_heads(&g, &h, 1, &e), need <= n);
        free((void *)(uintptr_t)h.p); // was copied
        if (need <= n) {
            assert_true(gguf_head_only(g));
            assert_true(gguf_fingerprint(g) == gguf_fingerprint(whole.g));
            assert_int_equal(gguf_file_bytes(g, 0), m.file.n);
            assert_int_equal(gguf_n_tensors(g), gguf_n_tensors(whole.g));
            assert_int_equal(gguf_tensor(g, 1)->offset, gguf_tensor(whole.g, 1)->offset);
            assert_null(gguf_data(g, 0));
        }
        gguf_close(g);
    }
    opened_done(&whole);
    gm_done(&m);
}

static void a_file_that_is_shorter_than_its_tensors_is_refused(void **state)
{
    struct gguf_make m;
    struct err e = { 0 };
    struct gguf *g;
    uint64_t need;
    (void)state;

    gguf_small(&m);
    gm_finish(&m);
    struct gguf_head h = head_of(&m, m.file.n - 64);
    h.file_bytes = h.n;
    assert_true(gguf_head_need(&h, &need, &e) && need <= h.n);
    assert_false(gguf_open_heads(&g, &h, 1, &e));
    assert_int_equal(e.code, ERR_FORMAT);
    assert_non_null(strstr(e.msg, "but the file has"));
    assert_null(g);
    h.n = h.file_bytes = 40; // in the middle of the head
    assert_false(gguf_head_need(&h, &need, &e));
    assert_int_equal(e.code, ERR_FORMAT);
    free((void *)(uintptr_t)h.p);
    gm_done(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(from_any_beginning_the_head_is_reached_and_never_passed),
        cmocka_unit_test(a_file_that_is_shorter_than_its_tensors_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
