// test_vectors.c - tiny models against reference logits.

#include "run/vectors.h"

#include <jansson.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { MAX_IDS = 256 };

/// Evaluates `folder`/`name`.gguf on its tokens.txt; scored against `name`.f32.
static struct score score_model(const char *folder, const char *name, bool exact)
{
    struct engine en;
    int32_t id[MAX_IDS];
    struct engine_opts o = { .ctx = 256, .outputs = 64, .threads = 2, .exact = exact };
    int n = read_ids(vectors_path("%s/tokens.txt", folder), id, MAX_IDS);

    open_engine(&en, vectors_path("%s/%s.gguf", folder, name), &o);
    float *ref =
        read_f32(vectors_path("%s/%s.f32", folder, name), (size_t)n * (size_t)en.model->n_vocab);
    float *got = eval_all(&en, id, n, 0);
    struct score s = score_rows(ref, got, n, en.model->n_vocab);
    print_message("%s/%s%s: nmse %.3e, kl mean %.3e max %.3e, top1 %.4f\n", folder, name,
                  exact ? " --exact" : "", s.nmse, s.kl_mean, s.kl_max, s.top1);
    free(ref);
    free(got);
    engine_close(&en);
    return s;
}

static const char *const tiny[] = { "llama-dense", "gemma3-dense",  "qwen2-dense",
                                    "qwen3-dense", "deepseek2-moe", "gpt-oss-moe" };

static void tiny_float_models_match_with_exact(void **state)
{
    (void)state;
    if (!have_file("tiny_float_models_match_with_exact", vectors_path("tiny/llama-dense.gguf")))
        skip();
    for (size_t i = 0; i < ARRAY_LEN(tiny); i++)
        assert_true(score_model("tiny", tiny[i], true).nmse <= 1e-8);
}

static const char *const quant[] = { "llama-BF16", "llama-F16",  "llama-Q8_0",
                                     "llama-Q6_K", "llama-Q4_0", "llama-Q4_K_M" };

static void quantized_models_match_with_exact(void **state)
{
    (void)state;
    if (!have_file("quantized_models_match_with_exact", vectors_path("quants/peer.json")))
        skip();
    for (size_t i = 0; i < ARRAY_LEN(quant); i++)
        assert_true(score_model("quants", quant[i], true).nmse <= 1e-8);
}

static void without_exact_no_further_off_than_the_peer(void **state)
{
    (void)state;
    if (!have_file("without_exact_no_further_off_than_the_peer", vectors_path("quants/peer.json")))
        skip();
    json_t *peer = json_load_file(vectors_path("quants/peer.json"), 0, NULL);
    assert_non_null(peer);
    for (size_t i = 0; i < ARRAY_LEN(quant); i++) {
        double bar = json_number_value(json_object_get(json_object_get(peer, quant[i]), "kl_mean"));
        struct score s = score_model("quants", quant[i], false);
        print_message("    %.3f of the peer's\n", s.kl_mean / bar);
        assert_true(bar > 0 && s.kl_mean <= 1.05 * bar);
    }
    json_decref(peer);
}

/// Lines "index id gap logit" behind a first line "prompt tokens, vocabulary": what the reference
/// goes on with.
static void tiny_models_go_on_as_the_reference_does(void **state)
{
    const struct engine_opts o = { .ctx = 256, .threads = 1, .exact = true };

    (void)state;
    if (!have_file("tiny_models_go_on_as_the_reference_does",
                   vectors_path("tiny/llama-dense.gguf")))
        skip();
    for (size_t i = 0; i < ARRAY_LEN(tiny); i++) {
        struct engine en;
        struct seq *s;
        struct err e = { 0 };
        int32_t id[MAX_IDS];
        int n = read_ids(vectors_path("tiny/tokens.txt"), id, MAX_IDS), index, next, compared = 0;
        double gap, logit;
        FILE *f = fopen(vectors_path("tiny/%s.greedy.txt", tiny[i]), "re");
        assert_non_null(f);
        assert_int_equal(fscanf(f, "%*d %*d"), 0);
        open_engine(&en, vectors_path("tiny/%s.gguf", tiny[i]), &o);
        assert_true(seq_new(&s, en.kv, &e) && seq_eval(s, id, n, NULL, NULL, &e));
        while (fscanf(f, "%d %d %lf %lf", &index, &next, &gap, &logit) == 4) {
            const float *l = inst_logits(en.inst, 0);
            int best = 0;
            for (int k = 1; k < en.model->n_vocab; k++)
                best = l[k] > l[best] ? k : best;
            if (gap > 0.01) {
                assert_int_equal(best, next);
                compared++;
            }
            assert_true(seq_eval(s, &next, 1, NULL, NULL, &e));
        }
        assert_true(compared > 10);
        fclose(f);
        seq_free(s);
        engine_close(&en);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tiny_float_models_match_with_exact),
        cmocka_unit_test(quantized_models_match_with_exact),
        cmocka_unit_test(without_exact_no_further_off_than_the_peer),
        cmocka_unit_test(tiny_models_go_on_as_the_reference_does),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
