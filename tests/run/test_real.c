// test_real.c - promises kept with real models: plan == allocation, and the same bits however a
// prompt is computed. Runs as released: under the sanitizers it would take too long.

#include "run/rig.h"
#include "run/tiny.h"
#include "run/vectors.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { N_PROMPT = 530, N_MORE = 4 };

static const char smollm2[] = "models/SmolLM2-135M-Instruct.Q4_1.gguf",
                  gemma3[] = "models/gemma-3-270m-q4_k_m.gguf";

static const char *model_or_skip(const char *test, const char *file)
{
    if (!have_file(test, cache_path("%s", file)))
        skip();
    return cache_path("%s", file);
}

static void smollm2_takes_exactly_what_was_planned(void **state)
{
    (void)state;
    compare_all_loads(model_or_skip("smollm2_takes_exactly_what_was_planned", smollm2));
}

static void gemma3_takes_exactly_what_was_planned(void **state)
{
    (void)state;
    compare_all_loads(model_or_skip("gemma3_takes_exactly_what_was_planned", gemma3));
}

/// Logits behind a prompt that is longer than every micro-batch and window, and behind some greedy
/// tokens more: [1 + N_MORE][n_vocab].
static float *last_logits(const char *path, struct engine_opts o, int *n_vocab)
{
    static int32_t id[N_PROMPT];
    struct engine en;
    struct seq *s;
    struct err e = { 0 };

    o.ctx = 1024;
    open_engine(&en, path, &o);
    tiny_tokens(id, N_PROMPT, 7);
    *n_vocab = en.model->n_vocab;
    const size_t row = (size_t)*n_vocab;
    float *out = malloc((1 + N_MORE) * row * sizeof *out);
    if (!seq_new(&s, en.kv, &e) || !seq_eval(s, id, N_PROMPT, NULL, NULL, &e))
        fail_msg("%s", e.msg);
    for (int i = 0; i <= N_MORE; i++) {
        memcpy(out + (size_t)i * row, inst_logits(en.inst, 0), row * sizeof *out);
        int32_t next = logits_argmax(inst_logits(en.inst, 0), *n_vocab);
        if (i < N_MORE && !seq_eval(s, &next, 1, NULL, NULL, &e))
            fail_msg("%s", e.msg);
    }
    seq_free(s);
    engine_close(&en);
    return out;
}

/// `two`, `three`: devices so small that the model needs as many.
static void compare_ways(const char *path, const char *two, const char *three)
{
    const struct engine_opts ways[] = {
        { .micro_batch = 1, .threads = 2 },
        { .micro_batch = 7, .threads = 1 },
        { .micro_batch = 64, .threads = 2 },
        { .micro_batch = 512, .threads = 1 },
        { .micro_batch = 512, .threads = 2, .on = "sim:1024" },
        { .micro_batch = 512, .threads = 2, .on = two },
        { .micro_batch = 64, .threads = 2, .on = three },
        { .micro_batch = 512, .threads = 2, .no_mmap = true },
    };
    int n_vocab;
    float *want =
        last_logits(path, (struct engine_opts){ .micro_batch = 512, .threads = 2 }, &n_vocab);

    for (size_t i = 0; i < ARRAY_LEN(ways); i++) {
        float *got = last_logits(path, ways[i], &n_vocab);
        assert_memory_equal(want, got, (1 + N_MORE) * (size_t)n_vocab * sizeof *got);
        free(got);
    }
    free(want);
}

static void smollm2_gives_the_same_bits_in_every_way(void **state)
{
    (void)state;
    compare_ways(model_or_skip("smollm2_gives_the_same_bits_in_every_way", smollm2),
                 "sim:100,sim:100", "sim:70,sim:70,sim:70");
}

static void gemma3_gives_the_same_bits_in_every_way(void **state)
{
    (void)state;
    compare_ways(model_or_skip("gemma3_gives_the_same_bits_in_every_way", gemma3),
                 "sim:250,sim:250", "sim:190,sim:190,sim:190");
}

/// The path of `run` and `bench` (logits of the last token alone, whole micro-batches) against that
/// of `logits` (every row).
static void the_benched_path_gives_the_bits_of_logits(void **state)
{
    const struct engine_opts all = { .ctx = 1024, .micro_batch = 64, .outputs = 64 };
    static int32_t id[N_PROMPT];
    struct engine en;
    int n_vocab;

    (void)state;
    const char *path = model_or_skip("the_benched_path_gives_the_bits_of_logits", smollm2);
    float *want = last_logits(path, (struct engine_opts){ 0 }, &n_vocab);
    tiny_tokens(id, N_PROMPT, 7);
    open_engine(&en, path, &all);
    float *rows = eval_all(&en, id, N_PROMPT, 0);
    assert_memory_equal(want, rows + (size_t)(N_PROMPT - 1) * (size_t)n_vocab,
                        (size_t)n_vocab * sizeof *want);
    engine_close(&en);
    free(rows);
    free(want);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(smollm2_takes_exactly_what_was_planned),
        cmocka_unit_test(gemma3_takes_exactly_what_was_planned),
        cmocka_unit_test(smollm2_gives_the_same_bits_in_every_way),
        cmocka_unit_test(gemma3_gives_the_same_bits_in_every_way),
        cmocka_unit_test(the_benched_path_gives_the_bits_of_logits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
