// test_logits.c - real models against the logits of float32 arithmetic, beside what llama.cpp
// reaches. Runs as released: under the sanitizers it would take too long.

#include "run/vectors.h"

#include <jansson.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

enum { CTX = 2048, PROMPTS = 8 };

/// One vector file: logits of some positions of a prompt, the largest of each.
struct prompt {
    json_t *root, *positions, *ids, *logits, *lse;
    int32_t token[CTX];
    int n_tokens;
};

static json_t *array(const json_t *o, const char *key)
{
    json_t *a = json_object_get(o, key);

    assert_true(json_is_array(a));
    return a;
}

static int int_at(const json_t *a, size_t i)
{
    assert_true(json_is_integer(json_array_get(a, i)));
    return (int)json_integer_value(json_array_get(a, i));
}

static double real_at(const json_t *a, size_t i)
{
    assert_true(json_is_number(json_array_get(a, i)));
    return json_number_value(json_array_get(a, i));
}

static void prompt_open(struct prompt *p, const char *model, int n)
{
    p->root = json_load_file(vectors_path("logits/%s-%d.json", model, n), 0, NULL);
    assert_non_null(p->root);
    p->positions = array(p->root, "positions");
    p->ids = array(p->root, "top_ids");
    p->logits = array(p->root, "top_logits");
    p->lse = array(p->root, "logsumexp");
    const json_t *tokens = array(p->root, "tokens");
    p->n_tokens = (int)json_array_size(tokens);
    assert_true(p->n_tokens > 0 && p->n_tokens <= CTX);
    for (int i = 0; i < p->n_tokens; i++)
        p->token[i] = int_at(tokens, (size_t)i);
}

/// Adds position number `at` of the prompt to the score: KL over the listed tokens and the rest as
/// one outcome.
static void add_position(struct score *s, double *num, double *den, const struct prompt *p,
                         size_t at, const float *row, int n_vocab)
{
    const json_t *ids = json_array_get(p->ids, at), *logits = json_array_get(p->logits, at);
    int best, first = 0;
    double lse = log_sum_exp(row, n_vocab, &best), ref_lse = real_at(p->lse, at);
    double kl = 0, rest_a = 1, rest_b = 1;

    for (size_t i = 0; i < json_array_size(ids); i++) {
        double la = real_at(logits, i) - ref_lse, lb = (double)row[int_at(ids, i)] - lse;
        if (real_at(logits, i) > real_at(logits, (size_t)first))
            first = (int)i;
        kl += exp(la) * (la - lb);
        rest_a -= exp(la);
        rest_b -= exp(lb);
        *num += (la - lb) * (la - lb);
        *den += la * la;
    }
    rest_a = fmax(rest_a, 1e-6);
    rest_b = fmax(rest_b, 1e-6);
    kl += rest_a * log(rest_a / rest_b);
    assert_true(isfinite(kl));
    s->n++;
    s->kl_mean += kl;
    s->kl_max = fmax(s->kl_max, kl);
    s->top1 += best == int_at(ids, (size_t)first);
}

/// Evaluates the prompt with logits of the listed positions alone.
static struct score score_prompt(struct engine *en, const struct prompt *p)
{
    const struct plan *plan = inst_plan(en->inst);
    static int32_t pos[CTX], slot[CTX], out[CTX], table[CTX];
    struct score s = { 0 };
    double num = 0, den = 0;
    size_t listed = 0;
    struct err e = { 0 };

    for (int i = 0; i < CTX; i++) {
        pos[i] = table[i] = i;
        slot[i] = 0;
    }
    for (int at = 0; at < p->n_tokens;) {
        int n = plan->lim.micro_batch < p->n_tokens - at ? plan->lim.micro_batch : p->n_tokens - at,
            n_out = 0;
        for (size_t i = listed;
             i < json_array_size(p->positions) && int_at(p->positions, i) < at + n; i++)
            out[n_out++] = int_at(p->positions, i) - at;
        struct batch b = { n, p->token + at, pos + at, slot, n_out, out, table };
        if (!inst_eval(en->inst, &b, &e))
            fail_msg("%s", e.msg);
        for (int i = 0; i < n_out; i++)
            add_position(&s, &num, &den, p, listed++, inst_logits(en->inst, i), en->model->n_vocab);
        at += n;
    }
    assert_int_equal(listed, json_array_size(p->positions));
    s.kl_mean /= s.n;
    s.top1 /= s.n;
    s.nmse = num / den;
    return s;
}

/// Fed the reference's own continuation: how often the best token is another where the reference
/// was sure.
static int disagreements(struct engine *en, const struct prompt *p, int *n_sure)
{
    const json_t *greedy = json_object_get(p->root, "greedy");
    const json_t *ids = array(greedy, "ids"), *gaps = array(greedy, "gaps");
    int wrong = 0, best;
    struct seq *s;
    struct err e = { 0 };

    if (!seq_new(&s, en->kv, &e) || !seq_eval(s, p->token, p->n_tokens, NULL, NULL, &e))
        fail_msg("%s", e.msg);
    for (size_t i = 0; i < json_array_size(ids); i++) {
        int32_t next = int_at(ids, i);
        log_sum_exp(inst_logits(en->inst, 0), en->model->n_vocab, &best);
        if (real_at(gaps, i) > 0.5) {
            ++*n_sure;
            wrong += best != next;
        }
        if (i + 1 < json_array_size(ids) && !seq_eval(s, &next, 1, NULL, NULL, &e))
            fail_msg("%s", e.msg);
    }
    seq_free(s);
    return wrong;
}

static void compare(const char *test, const char *model, const char *file)
{
    static struct prompt p;
    struct engine en;
    const struct engine_opts o = { .ctx = CTX, .outputs = 512 };
    double ours = 0, peer = 0;
    int wrong = 0, sure = 0;

    if (!have_file(test, vectors_path("logits/peer.json")) ||
        !have_file(test, cache_path("models/%s", file)))
        skip();
    json_t *peers = json_load_file(vectors_path("logits/peer.json"), 0, NULL);
    open_engine(&en, cache_path("models/%s", file), &o);
    for (int n = 1; n <= PROMPTS; n++) {
        char key[64];
        snprintf(key, sizeof(key), "%s-%d", model, n);
        prompt_open(&p, model, n);
        assert_int_equal(json_integer_value(json_object_get(p.root, "n_vocab")), en.model->n_vocab);
        struct score s = score_prompt(&en, &p);
        double kl = json_number_value(json_object_get(json_object_get(peers, key), "kl_mean"));
        print_message("%s (%d tokens): n %d, nmse %.3e, kl mean %.3e max %.3e, top1 %.4f; "
                      "llama.cpp's kl mean %.3e\n",
                      key, p.n_tokens, s.n, s.nmse, s.kl_mean, s.kl_max, s.top1, kl);
        assert_true(kl > 0);
        ours += s.kl_mean / PROMPTS;
        peer += kl / PROMPTS;
        wrong += disagreements(&en, &p, &sure);
        json_decref(p.root);
    }
    print_message("%s: mean kl %.4e, llama.cpp %.4e, ratio %.3f; %d of %d sure tokens differ\n",
                  model, ours, peer, ours / peer, wrong, sure);
    json_decref(peers);
    engine_close(&en);
    assert_true(ours <= 1.05 * peer);
    assert_true(sure > 100);
    assert_int_equal(wrong, 0);
}

static void smollm2_is_no_further_from_float32_than_llama_cpp(void **state)
{
    (void)state;
    compare("smollm2_is_no_further_from_float32_than_llama_cpp", "smollm2",
            "SmolLM2-135M-Instruct.Q4_1.gguf");
}

static void gemma3_is_no_further_from_float32_than_llama_cpp(void **state)
{
    (void)state;
    compare("gemma3_is_no_further_from_float32_than_llama_cpp", "gemma3-270m",
            "gemma-3-270m-q4_k_m.gguf");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(smollm2_is_no_further_from_float32_than_llama_cpp),
        cmocka_unit_test(gemma3_is_no_further_from_float32_than_llama_cpp),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
