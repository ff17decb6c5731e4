// Values of symbols, and bytes.

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "graph/graph.h"

static const struct dims small = {
    .n_tokens = 7, .n_outputs = 2, .n_slots = 3, .n_ctx = 1000, .max_tokens = 100, .kv = DTYPE_F16
};

static void symbols_have_their_values(void **state)
{
    (void)state;
    assert_int_equal(dim_value((struct dim){ 5, SYM_ONE, 0 }, &small), 5);
    assert_int_equal(dim_value((struct dim){ 4, SYM_TOKENS, 0 }, &small), 28);
    assert_int_equal(dim_value((struct dim){ 1, SYM_OUTPUTS, 0 }, &small), 2);
    assert_int_equal(dim_value((struct dim){ 1, SYM_SLOTS, 0 }, &small), 3);
    assert_int_equal(dim_value((struct dim){ 1, SYM_SLOT_PAGES, 0 }, &small), 16);
    assert_int_equal(dim_value((struct dim){ 1, SYM_PAGES, 0 }, &small), 48);
    assert_int_equal(dim_value((struct dim){ 1, SYM_WINDOW_PAGES, 32 }, &small), 3 * 4);
}

static int min_int(int a, int b)
{
    return a < b ? a : b;
}

/// Pages touched at worst, by trying every batch.
static int pages_by_force(int window, int max_tokens, int ctx)
{
    int worst = 0;
    for (int p = 0; p < ctx; p++) {
        int n = min_int(max_tokens, ctx - p);
        int first = p - window + 1 > 0 ? p - window + 1 : 0;
        int pages = (p + n - 1) / KV_PAGE_TOKENS - first / KV_PAGE_TOKENS + 1;
        if (pages > worst)
            worst = pages;
    }
    return worst;
}

static void window_pages_are_as_many_as_a_batch_can_touch_and_no_more(void **state)
{
    (void)state;
    for (int window = 1; window <= 300; window += window < 70 ? 1 : 13)
        for (int tokens = 1; tokens <= 200; tokens += tokens < 70 ? 3 : 31)
            for (int ctx = 64; ctx <= 1024; ctx += 64) {
                if (tokens > ctx)
                    continue;
                struct dims v = { .n_ctx = ctx, .max_tokens = tokens, .n_slots = 1 };
                int force = pages_by_force(window, tokens, ctx);
                assert_true(kv_slot_pages(window, &v) >= force);
                if (ctx >= window + tokens + KV_PAGE_TOKENS) // room for the worst position
                    assert_int_equal(kv_slot_pages(window, &v), force);
            }
}

static void window_pages_never_exceed_the_context(void **state)
{
    (void)state;
    struct dims v = { .n_ctx = 130, .max_tokens = 512, .n_slots = 1 };
    assert_int_equal(kv_slot_pages(0, &v), 3);
    assert_int_equal(kv_slot_pages(1024, &v), 3);
    assert_int_equal(kv_slot_pages(INT32_MAX, &v), 3);
    v.max_tokens = 1;
    assert_int_equal(kv_slot_pages(1, &v), 1); // one token that sees itself alone: one page
}

static void state_bytes_follow_the_kv_type(void **state)
{
    (void)state;
    struct tensor t = {
        .name = "k",
        .role = ROLE_STATE,
        .type = DTYPE_F16,
        .n_dims = 4,
        .d = { { 80, SYM_ONE, 0 }, { 64, SYM_ONE, 0 }, { 2, SYM_ONE, 0 }, { 1, SYM_PAGES, 0 } }
    };
    struct dims v = small;
    assert_int_equal(state_head_bytes(&t, DTYPE_F16), 80 * 64 * 2);
    assert_int_equal(state_head_bytes(&t, DTYPE_F32), 80 * 64 * 4);
    assert_int_equal(state_head_bytes(&t, DTYPE_Q8_0),
                     80 * 64 + 3 * 64 * 2); // 80 is 2.5 groups of 32
    assert_int_equal(tensor_bytes(&t, &v), 80 * 64 * 2 * 2 * 48);
    v.kv = DTYPE_Q8_0;
    assert_int_equal(tensor_bytes(&t, &v), (80 * 64 + 384) * 2 * 48);
}

static void tensor_bytes_count_whole_rows(void **state)
{
    (void)state;
    struct tensor x = {
        .name = "x",
        .role = ROLE_TEMP,
        .type = DTYPE_F32,
        .n_dims = 2,
        .d = { { 10, SYM_ONE, 0 }, { 1, SYM_TOKENS, 0 }, { 1, SYM_ONE, 0 }, { 1, SYM_ONE, 0 } }
    };
    struct tensor w = {
        .name = "w",
        .role = ROLE_WEIGHT,
        .type = DTYPE_Q4_K,
        .n_dims = 2,
        .d = { { 512, SYM_ONE, 0 }, { 9, SYM_ONE, 0 }, { 1, SYM_ONE, 0 }, { 1, SYM_ONE, 0 } }
    };
    assert_int_equal(tensor_rows(&x, &small), 7);
    assert_int_equal(tensor_bytes(&x, &small), 280);
    assert_int_equal(tensor_bytes(&w, &small), 9 * 2 * 144);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(symbols_have_their_values),
        cmocka_unit_test(window_pages_are_as_many_as_a_batch_can_touch_and_no_more),
        cmocka_unit_test(window_pages_never_exceed_the_context),
        cmocka_unit_test(state_bytes_follow_the_kv_type),
        cmocka_unit_test(tensor_bytes_count_whole_rows),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
