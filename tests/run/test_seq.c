// test_seq.c - what is kept of a conversation is exactly what would have been computed again.

#include "run/tiny.h"
#include "run/vectors.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { CTX = 512, BATCH = 16 };

static const char *const arch[] = { "llama", "gemma3" };

static void open_both(struct engine en[2], int slots)
{
    const struct engine_opts o = { .ctx = CTX, .micro_batch = BATCH, .threads = 1, .slots = slots };

    for (int a = 0; a < 2; a++)
        tiny_open(&en[a], arch[a], true, &o);
}

static void eval(struct seq *s, const int32_t *id, int n)
{
    struct err e = { 0 };

    if (!seq_eval(s, id, n, NULL, NULL, &e))
        fail_msg("%s", e.msg);
}

/// Logits behind `n` tokens, from an engine that has seen nothing else.
static void fresh_logits(float out[TINY_VOCAB], const char *name, const int32_t *id, int n)
{
    const struct engine_opts o = { .ctx = CTX, .micro_batch = 64, .threads = 1 };
    struct engine en;
    struct seq *s;
    struct err e = { 0 };

    tiny_open(&en, name, true, &o);
    assert_true(seq_new(&s, en.kv, &e));
    eval(s, id, n);
    memcpy(out, inst_logits(en.inst, 0), TINY_VOCAB * sizeof(float));
    seq_free(s);
    engine_close(&en);
}

static void assert_logits(const struct engine *en, const char *name, const int32_t *id, int n)
{
    float want[TINY_VOCAB];

    fresh_logits(want, name, id, n);
    assert_memory_equal(inst_logits(en->inst, 0), want, sizeof(want));
}

static void going_on_from_a_kept_prefix_gives_the_same_bits(void **state)
{
    static const int past[] = { 40, 100, 300, 450 };
    struct engine en[2];
    int32_t id[CTX], other[CTX];
    int kept_some = 0, dropped = 0;

    (void)state;
    tiny_tokens(id, CTX, 1);
    open_both(en, 1);
    for (int a = 0; a < 2; a++)
        for (size_t i = 0; i < ARRAY_LEN(past); i++)
            for (int back = 1; back < past[i]; back += 1 + back / 2) {
                struct seq *s;
                struct err e = { 0 };
                int n = past[i] - back;
                assert_true(seq_new(&s, en[a].kv, &e));
                eval(s, id, past[i]);
                int kept = seq_keep(s, n);
                assert_true(kept == n || kept == 0);
                assert_int_equal(seq_n_past(s), kept);
                if (a == 0)
                    assert_int_equal(kept, n); // nothing is ever lost without windows
                kept_some += kept > 0;
                dropped += kept == 0;
                memcpy(other, id, (size_t)n * sizeof(*id));
                tiny_tokens(other + n, 20, 2);
                eval(s, other + kept, n + 20 - kept);
                assert_logits(&en[a], arch[a], other, n + 20);
                seq_free(s);
            }
    assert_true(kept_some > 20 && dropped > 5);
    engine_close(&en[0]);
    engine_close(&en[1]);
}

/// The ring of a window of 48 with batches of 16 is 2 pages: exactly the positions of the last 128
/// are there.
static void a_window_keeps_exactly_as_far_back_as_it_can(void **state)
{
    struct engine en[2];
    int32_t id[CTX];
    struct err e = { 0 };

    (void)state;
    tiny_tokens(id, CTX, 3);
    open_both(en, 1);
    int64_t ring = kv_slot_pages(TINY_WINDOW, &inst_plan(en[1].inst)->max) * KV_PAGE_TOKENS;
    assert_int_equal(ring, 128);
    for (int n_past = 120; n_past < 300; n_past += 59)
        for (int n = n_past - 90; n < n_past; n++) {
            struct seq *s;
            assert_true(seq_new(&s, en[1].kv, &e));
            eval(s, id, n_past);
            int first_needed = n - TINY_WINDOW + 1 > 0 ? n - TINY_WINDOW + 1 : 0;
            bool there = first_needed >= n_past - ring;
            assert_int_equal(seq_keep(s, n), there ? n : 0);
            seq_free(s);
        }
    engine_close(&en[0]);
    engine_close(&en[1]);
}

static void what_was_lost_stays_lost_after_keeping(void **state)
{
    struct engine en[2];
    int32_t id[CTX];
    struct seq *s;
    struct err e = { 0 };

    (void)state;
    tiny_tokens(id, CTX, 4);
    open_both(en, 1);
    assert_true(seq_new(&s, en[1].kv, &e));
    eval(s, id, 300); // positions below 172 are overwritten
    assert_int_equal(seq_keep(s, 250), 250);
    eval(s, id + 250, 5);                  // which brings nothing back
    assert_int_equal(seq_keep(s, 218), 0); // 218 - 47 = 171
    eval(s, id, 300);
    assert_int_equal(seq_keep(s, 250), 250);
    assert_int_equal(seq_keep(s, 219), 219);
    eval(s, id + 219, 20);
    assert_logits(&en[1], "gemma3", id, 239);
    assert_int_equal(seq_keep(s, 0), 0);
    eval(s, id, 10);
    assert_int_equal(seq_keep(s, 5), 5); // a fresh start has lost nothing
    seq_free(s);
    engine_close(&en[0]);
    engine_close(&en[1]);
}

static void a_full_context_goes_on_after_a_shift(void **state)
{
    struct engine en[2];
    int32_t id[CTX], want[CTX];

    (void)state;
    tiny_tokens(id, CTX, 5);
    open_both(en, 1);
    for (int a = 0; a < 2; a++) {
        struct seq *s;
        struct err e = { 0 };
        assert_true(seq_new(&s, en[a].kv, &e));
        eval(s, id, CTX);
        assert_false(seq_eval(s, id, 1, NULL, NULL, &e));
        assert_int_equal(e.code, ERR_NOFIT);
        assert_int_equal(seq_n_past(s), CTX);
        assert_true(seq_shift(s, 12, &e));
        int drop = (CTX - 12) / 2, left = CTX - drop;
        memcpy(want, id, 12 * sizeof(*id));
        memcpy(want + 12, id + 12 + drop, (size_t)(left - 12) * sizeof(*id));
        assert_int_equal(seq_n_past(s), left);
        assert_memory_equal(seq_tokens(s), want, (size_t)left * sizeof(*id));
        assert_logits(&en[a], arch[a], want, left);
        eval(s, id, 1);
        want[left] = id[0];
        assert_logits(&en[a], arch[a], want, left + 1);
        assert_false(seq_shift(s, left + 1, &e));
        assert_int_equal(e.code, ERR_ARG);
        seq_free(s);
    }
    engine_close(&en[0]);
    engine_close(&en[1]);
}

static void slots_and_pages_are_given_back(void **state)
{
    struct engine en[2];
    struct seq *s[3], *no;
    struct err e = { 0 };
    int32_t id[CTX];

    (void)state;
    tiny_tokens(id, CTX, 6);
    open_both(en, 3);
    for (int round = 0; round < 4; round++) {
        for (int i = 0; i < 3; i++)
            assert_true(seq_new(&s[i], en[0].kv, &e));
        assert_false(seq_new(&no, en[0].kv, &e));
        assert_int_equal(e.code, ERR_NOFIT);
        for (int i = 0; i < 3; i++) // every slot may be full at once
            eval(s[(i + round) % 3], id, CTX - i);
        assert_logits(&en[0], "llama", id, CTX - 2);
        for (int i = 0; i < 3; i++)
            seq_free(s[(i + 2 * round) % 3]);
    }
    engine_close(&en[0]);
    engine_close(&en[1]);
}

static void the_common_prefix_is_counted(void **state)
{
    struct engine en[2];
    struct seq *s;
    struct err e = { 0 };
    const int32_t id[6] = { 1, 2, 3, 4, 5, 6 }, other[6] = { 1, 2, 3, 9, 5, 6 };

    (void)state;
    open_both(en, 1);
    assert_true(seq_new(&s, en[0].kv, &e));
    assert_int_equal(seq_common_prefix(s, id, 6), 0);
    eval(s, id, 5);
    assert_int_equal(seq_common_prefix(s, id, 6), 5);
    assert_int_equal(seq_common_prefix(s, id, 2), 2);
    assert_int_equal(seq_common_prefix(s, other, 6), 3);
    seq_free(s);
    engine_close(&en[0]);
    engine_close(&en[1]);
}

struct watch {
    int calls, last, stop_at;
};

static bool watch(void *ctx, int done, int total)
{
    struct watch *w = ctx;

    assert_true(done > w->last && done <= total);
    w->last = done;
    return ++w->calls != w->stop_at;
}

static void progress_is_told_and_can_stop(void **state)
{
    struct engine en[2];
    struct seq *s;
    struct err e = { 0 };
    struct watch w = { 0 };
    int32_t id[100];

    (void)state;
    tiny_tokens(id, 100, 7);
    open_both(en, 1);
    assert_true(seq_new(&s, en[0].kv, &e));
    assert_true(seq_eval(s, id, 100, watch, &w, &e));
    assert_true(w.calls == 7 && w.last == 100);
    seq_keep(s, 0);
    w = (struct watch){ .stop_at = 3 };
    assert_false(seq_eval(s, id, 100, watch, &w, &e));
    assert_int_equal(e.code, ERR_CANCELLED);
    assert_int_equal(seq_n_past(s), 3 * BATCH);
    eval(s, id + 3 * BATCH, 100 - 3 * BATCH); // what was done counts
    assert_logits(&en[0], "llama", id, 100);
    assert_false(seq_eval(s, id, 0, NULL, NULL, &e));
    seq_free(s);
    engine_close(&en[0]);
    engine_close(&en[1]);
}

static void an_unknown_token_changes_nothing(void **state)
{
    struct engine en[2];
    struct seq *s;
    struct err e = { 0 };
    int32_t id[40], bad = TINY_VOCAB;

    (void)state;
    tiny_tokens(id, 40, 8);
    open_both(en, 1);
    assert_true(seq_new(&s, en[1].kv, &e));
    eval(s, id, 20);
    assert_false(seq_eval(s, &bad, 1, NULL, NULL, &e));
    assert_int_equal(e.code, ERR_ARG);
    assert_false(seq_eval_each(&s, &bad, 1, &e));
    assert_int_equal(seq_n_past(s), 20);
    eval(s, id + 20, 20);
    assert_logits(&en[1], "gemma3", id, 40);
    seq_free(s);
    engine_close(&en[0]);
    engine_close(&en[1]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(going_on_from_a_kept_prefix_gives_the_same_bits),
        cmocka_unit_test(a_window_keeps_exactly_as_far_back_as_it_can),
        cmocka_unit_test(what_was_lost_stays_lost_after_keeping),
        cmocka_unit_test(a_full_context_goes_on_after_a_shift),
        cmocka_unit_test(slots_and_pages_are_given_back),
        cmocka_unit_test(the_common_prefix_is_counted),
        cmocka_unit_test(progress_is_told_and_can_stop),
        cmocka_unit_test(an_unknown_token_changes_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
