// The sampler against a slow one of its own: sort everything, step by step, exact probabilities.

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "run/run.h"

enum { N = 60 };

static uint64_t rnd_state;

static uint32_t rnd(void)
{
    rnd_state = rnd_state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(rnd_state >> 33);
}

static float rnd_float(float min, float max)
{
    return min + (max - min) * (float)(rnd() % 10000) / 9999;
}

static void random_logits(float *x, int n, uint64_t seed)
{
    rnd_state = seed;
    for (int i = 0; i < n; i++)
        x[i] = rnd_float(-8, 8);
}

/// Every step off, temperature 1.
static struct sample_opts plain(void)
{
    return (struct sample_opts){
        .temperature = 1, .top_p = 1, .typical_p = 1, .repeat_penalty = 1, .seed = 42
    };
}

// --- the slow sampler
// -----------------------------------------------------------------------------

struct slow {
    double logit, p;
    int id;
};

static int by_logit(const void *pa, const void *pb)
{
    const struct slow *a = pa, *b = pb;
    return a->logit > b->logit ? -1 : a->logit < b->logit ? 1 : a->id - b->id;
}

static void normalize(struct slow *c, int n, double temperature)
{
    double sum = 0;
    for (int i = 0; i < n; i++)
        sum += c[i].p = exp((c[i].logit - c[0].logit) / temperature);
    for (int i = 0; i < n; i++)
        c[i].p /= sum;
}

static int slow_typical(struct slow *c, int n, double p)
{
    double h = 0, mass = 0;
    struct slow kept[N];
    bool taken[N] = { false };
    int n_kept = 0;
    normalize(c, n, 1);
    for (int i = 0; i < n; i++)
        h -= c[i].p * log(c[i].p);
    while (n_kept < n && (n_kept == 0 || mass < p)) {
        int best = -1;
        for (int i = 0; i < n; i++)
            if (!taken[i] && (best < 0 || fabs(-log(c[i].p) - h) < fabs(-log(c[best].p) - h)))
                best = i;
        taken[best] = true;
        mass += c[best].p;
        kept[n_kept++] = c[best];
    }
    memcpy(c, kept, (size_t)n_kept * sizeof *c);
    qsort(c, (size_t)n_kept, sizeof *c, by_logit);
    return n_kept;
}

/// Exact probabilities of every token after all steps (no penalties).
static void exact(double *p, const float *logits, const struct sample_opts *o)
{
    struct slow c[N];
    int n = N;
    for (int i = 0; i < N; i++)
        c[i] = (struct slow){ (double)logits[i], 0, i };
    qsort(c, N, sizeof *c, by_logit);
    if (o->top_k > 0 && o->top_k < n)
        n = o->top_k;
    if (o->typical_p < 1)
        n = slow_typical(c, n, (double)o->typical_p);
    if (o->top_p < 1) {
        double mass = 0;
        int m = 0;
        normalize(c, n, 1);
        do
            mass += c[m++].p;
        while (m < n && mass < (double)o->top_p);
        n = m;
    }
    if (o->min_p > 0) {
        int m = 0;
        normalize(c, n, 1);
        while (m < n && c[m].p >= (double)o->min_p * c[0].p)
            m++;
        n = m;
    }
    normalize(c, n, (double)o->temperature);
    memset(p, 0, N * sizeof *p);
    for (int i = 0; i < n; i++)
        p[c[i].id] = c[i].p;
}

// --- distributions
// --------------------------------------------------------------------------------

/// Chi-square over `draws`; tokens expected less than 5 times are one class. Also: nothing
/// impossible is drawn.
static void check_distribution(const float *logits, const struct sample_opts *o, int draws)
{
    double p[N], chi = 0, rare_p = 0, rare_seen = 0;
    int seen[N] = { 0 }, classes = 0;
    exact(p, logits, o);
    struct sampler *s = sampler_new(o, N);
    for (int i = 0; i < draws; i++) {
        int32_t id = sampler_next(s, logits);
        assert_in_range(id, 0, N - 1);
        seen[id]++;
    }
    sampler_free(s);
    for (int i = 0; i < N; i++) {
        double want = p[i] * draws;
        if (p[i] == 0)
            assert_int_equal(seen[i], 0);
        if (want < 5) {
            rare_p += p[i];
            rare_seen += seen[i];
        } else {
            chi += (seen[i] - want) * (seen[i] - want) / want;
            classes++;
        }
    }
    if (rare_p * draws >= 5) {
        chi += (rare_seen - rare_p * draws) * (rare_seen - rare_p * draws) / (rare_p * draws);
        classes++;
    }
    double df = classes - 1;
    if (chi > df + 5 * sqrt(2 * df) + 10)
        fail_msg("chi-square %.1f for %.0f degrees of freedom", chi, df);
}

static void each_step_alone_gives_its_exact_distribution(void **state)
{
    (void)state;
    float logits[N];
    random_logits(logits, N, 1);
    struct sample_opts o[] = { plain(), plain(), plain(), plain(),
                               plain(), plain(), plain(), plain() };
    o[1].temperature = 0.5f;
    o[2].temperature = 3;
    o[3].top_k = 7;
    o[4].top_p = 0.6f;
    o[5].min_p = 0.05f;
    o[6].typical_p = 0.7f;
    o[7] = sample_opts_default();
    o[7].repeat_last_n = 0;
    for (size_t i = 0; i < ARRAY_LEN(o); i++)
        check_distribution(logits, &o[i], 20000);
}

static void all_steps_together_give_the_exact_distribution(void **state)
{
    (void)state;
    float logits[N];
    for (uint64_t seed = 1; seed <= 60; seed++) {
        struct sample_opts o = plain();
        random_logits(logits, N, seed);
        o.temperature = rnd_float(0.3f, 2);
        o.top_k = rnd() % 3 ? (int)(rnd() % (N + 5)) : 0;
        o.top_p = rnd() % 3 ? rnd_float(0.05f, 1) : 1;
        o.min_p = rnd() % 3 ? rnd_float(0, 0.2f) : 0;
        o.typical_p = rnd() % 3 ? rnd_float(0.05f, 1) : 1;
        o.seed = seed;
        check_distribution(logits, &o, 3000);
    }
}

/// The same maths where candidates are many: counting and growing prefixes instead of a heap.
static void a_large_vocabulary_keeps_exactly_the_nucleus(void **state)
{
    (void)state;
    enum { BIG = 20011 };
    float *logits = xcalloc(BIG, sizeof *logits);
    double sum = 0, mass = 0;
    int nucleus = 0;
    for (int i = 0; i < BIG; i++) { // descending by rank, ids scattered
        double x = -0.002 * i;
        logits[(i * 7919) % BIG] = (float)x;
        sum += exp(x);
    }
    while (mass < 0.9 * sum)
        mass += exp(-0.002 * nucleus++);
    struct sample_opts o = plain();
    o.top_p = 0.9f;
    struct sampler *s = sampler_new(&o, BIG);
    float least = 0;
    for (int i = 0; i < 400; i++) {
        float x = logits[sampler_next(s, logits)];
        least = x < least ? x : least;
        assert_true((double)x >= -0.002 * (nucleus + 1));
    }
    assert_true((double)least < -0.002 * nucleus * 0.8); // and its tail is reached
    sampler_free(s);

    o = plain();
    o.top_k = 2000; // more than a heap is used for
    o.temperature = 100;
    s = sampler_new(&o, BIG);
    bool *seen = xcalloc(BIG, sizeof *seen);
    int distinct = 0;
    for (int i = 0; i < 5000; i++) {
        int32_t id = sampler_next(s, logits);
        assert_true((double)logits[id] > -0.002 * 2000 + 0.001);
        distinct += !seen[id];
        seen[id] = true;
    }
    assert_true(distinct > 1700);
    sampler_free(s);
    free(seen);
    free(logits);
}

// --- greedy, ties, NaN
// ----------------------------------------------------------------------------

static void greedy_takes_the_best_and_of_equals_the_lowest_id(void **state)
{
    (void)state;
    float x[100];
    struct sample_opts o = plain();
    o.temperature = 0;
    struct sampler *s = sampler_new(&o, 100);
    for (int i = 0; i < 100; i++)
        x[i] = -1;
    assert_int_equal(sampler_next(s, x), 0);
    x[97] = x[63] = x[98] = 2;
    assert_int_equal(sampler_next(s, x), 63);
    assert_int_equal(logits_argmax(x, 100), 63);
    assert_int_equal(logits_argmax(x, 64), 63);
    assert_int_equal(logits_argmax(x, 63), 0);
    sampler_free(s);

    o.temperature = 1;
    o.top_k = 1;
    s = sampler_new(&o, 100);
    assert_int_equal(sampler_next(s, x), 63);
    sampler_free(s);
}

static void strange_logits_never_harm(void **state)
{
    (void)state;
    static const float odd[] = {
        NAN, -NAN, INFINITY, -INFINITY, 3e38f, -3e38f, 1e-45f, 0, -0.0f, 1
    };
    float x[N];
    for (uint64_t seed = 1; seed <= 3000; seed++) {
        rnd_state = seed;
        struct sample_opts o = plain();
        unsigned only = rnd() % 12; // some vectors are all of one kind
        for (int i = 0; i < N; i++)
            x[i] = only < ARRAY_LEN(odd) && seed % 3 == 0 ? odd[only] : odd[rnd() % ARRAY_LEN(odd)];
        o.temperature = rnd() % 4 ? rnd_float(0, 100) : 1e-40f;
        o.top_k = (int)(rnd() % (2 * N));
        o.top_p = rnd_float(0, 1);
        o.typical_p = rnd_float(0, 1);
        o.min_p = rnd_float(0, 1);
        o.repeat_penalty = rnd_float(0.01f, 100);
        o.presence_penalty = rnd_float(-100, 100);
        o.repeat_last_n = (int)(rnd() % 5) - 1;
        o.mirostat = rnd() % 2 ? 2 : 0;
        o.mirostat_tau = rnd_float(0, 100);
        o.mirostat_eta = rnd_float(0, 10);
        assert_true(sample_opts_check(&o, N, NULL));
        struct sampler *s = sampler_new(&o, N);
        for (int i = 0; i < 5; i++) {
            int32_t id = sampler_next(s, x);
            assert_in_range(id, 0, N - 1);
            sampler_accept(s, id);
        }
        sampler_free(s);
        struct token_logprob top[N];
        logits_top(x, N, top, N);
        for (int i = 0; i < N; i++)
            assert_true(top[i].logprob <= 0);
    }
}

static void nan_is_never_chosen_where_anything_else_can_be(void **state)
{
    (void)state;
    float x[N];
    struct sample_opts o = plain();
    for (int i = 0; i < N; i++)
        x[i] = i % 3 ? NAN : (float)(i % 7);
    for (int top_k = 0; top_k < N; top_k += 5) {
        o.top_k = top_k;
        struct sampler *s = sampler_new(&o, N);
        for (int i = 0; i < 200; i++)
            assert_int_equal(sampler_next(s, x) % 3, 0);
        sampler_free(s);
    }
}

// --- determinism
// ----------------------------------------------------------------------------------

static void equal_seeds_give_equal_tokens_and_others_do_not(void **state)
{
    (void)state;
    float x[N], copy[N];
    random_logits(x, N, 9);
    memcpy(copy, x, sizeof x);
    struct sample_opts o = sample_opts_default(), other = o;
    o.temperature = other.temperature = 2;
    other.seed = 1;
    struct sampler *a = sampler_new(&o, N), *b = sampler_new(&o, N), *c = sampler_new(&other, N);
    int differ = 0;
    for (int i = 0; i < 500; i++) {
        int32_t ia = sampler_next(a, x), ib = sampler_next(b, x), ic = sampler_next(c, x);
        assert_int_equal(ia, ib);
        differ += ia != ic;
        sampler_accept(a, ia);
        sampler_accept(b, ib);
        sampler_accept(c, ic);
    }
    assert_true(differ > 50);
    assert_memory_equal(x, copy, sizeof x); // the logits are not ours to change
    sampler_free(a);
    sampler_free(b);
    sampler_free(c);
}

static void a_seed_means_the_same_on_every_machine(void **state)
{
    (void)state;
    // Sixteen equal tokens: the id is the top four bits of the number drawn. Values of SplitMix64
    // from seed 0: e220a8397b1dcdaf 6e789e6aa1b965f4 06c45d188009454f f88bb8a8724c81ec
    // 1b39896a51a8749b
    static const int want[] = { 0xe, 0x6, 0x0, 0xf, 0x1 };
    float x[16] = { 0 };
    struct sample_opts o = plain();
    o.seed = 0;
    struct sampler *s = sampler_new(&o, 16);
    for (size_t i = 0; i < ARRAY_LEN(want); i++)
        assert_int_equal(sampler_next(s, x), want[i]);
    sampler_free(s);
}

// --- bias and penalties
// ---------------------------------------------------------------------------

static int32_t greedy_after(struct sample_opts o, const float *x, int n_vocab,
                            const int32_t *history, int n)
{
    o.temperature = 0;
    struct sampler *s = sampler_new(&o, n_vocab);
    for (int i = 0; i < n; i++)
        sampler_accept(s, history[i]);
    int32_t id = sampler_next(s, x);
    sampler_free(s);
    return id;
}

static void bias_is_added(void **state)
{
    (void)state;
    const float x[4] = { 1, 2, 3, 4 };
    struct logit_bias bias[] = { { 3, -2 }, { 0, 2.5f }, { 0, 0.1f } };
    struct sample_opts o = plain();
    o.bias = bias;
    o.n_bias = 2;
    assert_int_equal(greedy_after(o, x, 4, NULL, 0), 0);
    struct sampler *s = sampler_new(&o, 4);
    bias[0].bias = 1000; // options were copied
    o.temperature = 0;
    for (int i = 0; i < 20; i++)
        assert_in_range(sampler_next(s, x), 0, 3);
    sampler_free(s);
}

static void penalties_do_what_they_say(void **state)
{
    (void)state;
    const float x[4] = { 2.0f, 3.0f, 2.9f, -1.0f };
    const int32_t history[] = { 1, 1, 2 };
    struct sample_opts o = plain();
    o.repeat_last_n = 8;
    assert_int_equal(greedy_after(o, x, 4, history, 3), 1);
    o.presence_penalty = 0.5f; // 2, 2.5, 2.4
    assert_int_equal(greedy_after(o, x, 4, history, 3), 1);
    o.presence_penalty = 0;
    o.frequency_penalty = 0.1f; // 2, 2.8, 2.8: equal but for rounding
    o.frequency_penalty = 0.12f;
    assert_int_equal(greedy_after(o, x, 4, history, 3), 2);
    o.frequency_penalty = 0;
    o.repeat_penalty = 2; // 2, 1.5, 1.45
    assert_int_equal(greedy_after(o, x, 4, history, 3), 0);

    const float below[2] = { -1.0f, -1.5f }; // a negative logit is multiplied
    const int32_t zero[] = { 0 };
    assert_int_equal(greedy_after(o, below, 2, zero, 1), 1);
    o.repeat_penalty = 0.5f;
    const float even[2] = { -1.0f, -1.0f };
    const int32_t one[] = { 1 };
    assert_int_equal(greedy_after(o, even, 2, one, 1), 1);
}

static void penalties_see_the_last_n_tokens_only(void **state)
{
    (void)state;
    const float x[4] = { 2, 1.9f, 1.8f, 0 };
    const int32_t history[] = { 0, 0, 1, 3, 3, 3 };
    struct sample_opts o = plain();
    o.presence_penalty = 1;
    o.repeat_last_n = 4; // 1 3 3 3
    assert_int_equal(greedy_after(o, x, 4, history, 6), 0);
    o.repeat_last_n = 5; // 0 1 3 3 3
    assert_int_equal(greedy_after(o, x, 4, history, 6), 2);
    o.repeat_last_n = -1;
    assert_int_equal(greedy_after(o, x, 4, history, 6), 2);
    o.repeat_last_n = 0;
    assert_int_equal(greedy_after(o, x, 4, history, 6), 0);
}

/// The ring against counting anew each time.
static void the_history_counts_right(void **state)
{
    (void)state;
    enum { V = 7, STEPS = 400 };
    for (int last_n = 1; last_n <= 20; last_n++) {
        struct sample_opts o = plain();
        int32_t past[STEPS];
        o.temperature = 0;
        o.frequency_penalty = 0.37f;
        o.repeat_last_n = last_n;
        struct sampler *s = sampler_new(&o, V);
        rnd_state = (uint64_t)last_n;
        for (int i = 0; i < STEPS; i++) {
            float x[V], y[V];
            for (int t = 0; t < V; t++) {
                int count = 0;
                for (int j = i - last_n > 0 ? i - last_n : 0; j < i; j++)
                    count += past[j] == t;
                x[t] = rnd_float(-1, 1);
                y[t] = x[t] - ((float)count * 0.37f + 0);
            }
            assert_int_equal(sampler_next(s, x), logits_argmax(y, V));
            past[i] = (int32_t)(rnd() % V);
            sampler_accept(s, past[i]);
        }
        sampler_accept(s, -1); // no tokens: ignored
        sampler_accept(s, V);
        sampler_free(s);
    }
}

// --- mirostat
// -------------------------------------------------------------------------------------

static void mirostat_holds_the_surprise_it_is_asked_for(void **state)
{
    (void)state;
    enum { BIG = 500, STEPS = 2000 };
    float x[BIG];
    double p[BIG], sum = 0;
    for (int i = 0; i < BIG; i++) {
        x[i] = -1.1f * logf((float)(i + 1)); // Zipf: surprises of all sizes
        sum += exp((double)x[i]);
    }
    for (int i = 0; i < BIG; i++)
        p[i] = exp((double)x[i]) / sum;
    for (float tau = 1; tau <= 5; tau += 2) {
        struct sample_opts o = plain();
        o.mirostat = 2;
        o.mirostat_tau = tau;
        o.mirostat_eta = 0.1f;
        struct sampler *s = sampler_new(&o, BIG);
        double mu = 2 * (double)tau, mean = 0;
        for (int i = 0; i < STEPS; i++) {
            double rest = 0;
            for (int t = 0; t < BIG; t++)
                rest += t == 0 || p[t] >= exp2(-mu) ? p[t] : 0;
            int32_t id = sampler_next(s, x);
            assert_true(id == 0 || -log2(p[id]) <= mu + 1e-5);
            double surprise = -log2(p[id] / rest);
            mu -= 0.1 * (surprise - (double)tau);
            mean += surprise / STEPS;
        }
        sampler_free(s);
        assert_true(fabs(mean - (double)tau) < 0.1);
    }
}

// --- log-probabilities
// ----------------------------------------------------------------------------

static void log_probabilities_are_those_of_the_softmax(void **state)
{
    (void)state;
    float x[N];
    double sum = 0, total = 0;
    struct token_logprob top[N];
    random_logits(x, N, 77);
    x[10] = x[20] = 7.5f;
    for (int i = 0; i < N; i++)
        sum += exp((double)x[i]);
    logits_top(x, N, top, N);
    for (int i = 0; i < N; i++) {
        double want = (double)x[top[i].id] - log(sum);
        assert_true(fabs((double)top[i].logprob - want) < 1e-5);
        assert_true(top[i].logprob == logits_logprob(x, N, top[i].id));
        total += exp((double)top[i].logprob);
        if (i > 0)
            assert_true(top[i - 1].logprob > top[i].logprob ||
                        (x[top[i - 1].id] == x[top[i].id] && top[i - 1].id < top[i].id));
    }
    assert_true(fabs(total - 1) < 1e-5);

    struct token_logprob few[3];
    logits_top(x, N, few, 3);
    for (int i = 0; i < 3; i++)
        assert_int_equal(few[i].id, top[i].id);
    struct token_logprob more[N + 2];
    logits_top(x, N, more, N + 2); // more than there are: the rest is marked
    assert_int_equal(more[N + 1].id, -1);
    logits_top(x, N, more, 0);
}

static void large_logits_do_not_overflow(void **state)
{
    (void)state;
    const float x[3] = { 3e38f, 3e38f, -3e38f };
    struct token_logprob top[3];
    logits_top(x, 3, top, 3);
    assert_true(fabs((double)top[0].logprob + log(2.0)) < 1e-6 || top[0].logprob == 0);
    assert_true(top[2].logprob < -1e30f);
    const float inf[2] = { INFINITY, 0 };
    assert_true(logits_logprob(inf, 2, 0) == 0);
    assert_true(isinf(logits_logprob(inf, 2, 1)));
}

// --- options
// --------------------------------------------------------------------------------------

static void c13_every_option_has_a_range_and_is_named(void **state)
{
    (void)state;
    struct sample_opts ok = sample_opts_default();
    assert_true(sample_opts_check(&ok, N, NULL));
#define BAD(field, ...)                                                                            \
    do {                                                                                           \
        const double v[] = { __VA_ARGS__ };                                                        \
        for (size_t i = 0; i < ARRAY_LEN(v); i++) {                                                \
            struct sample_opts o = ok;                                                             \
            struct err e = { 0 };                                                                  \
            o.field = (__typeof__(o.field))v[i];                                                   \
            assert_false(sample_opts_check(&o, N, &e));                                            \
            assert_int_equal(e.code, ERR_ARG);                                                     \
            assert_non_null(strstr(e.msg, #field));                                                \
        }                                                                                          \
    } while (0)
    BAD(temperature, 999999, -1, (double)NAN, (double)INFINITY, -1e-30);
    BAD(top_k, -1, -2147483648.0);
    BAD(top_p, -1, 2, (double)NAN);
    BAD(min_p, -0.1, 1.1, (double)NAN);
    BAD(typical_p, -1, 1.5, (double)NAN);
    BAD(repeat_penalty, 0, -1, 1e30, (double)NAN);
    BAD(presence_penalty, -101, 1e30, (double)NAN);
    BAD(frequency_penalty, -101, 1e30, (double)NAN);
    BAD(repeat_last_n, -2, 2147483647.0);
    BAD(mirostat, 1, -1, 3);
    BAD(mirostat_tau, -1, (double)INFINITY, (double)NAN);
    BAD(mirostat_eta, -1, 11, (double)NAN);
#undef BAD
    struct sample_opts all = { .temperature = NAN, .top_k = -5, .top_p = 9, .repeat_penalty = 0 };
    assert_false(sample_opts_check(&all, N, NULL));
}

static void c14_bias_ids_are_tokens_and_not_too_many(void **state)
{
    (void)state;
    static const struct logit_bias bad[] = {
        { -1, 0 }, { N, 0 }, { INT32_MAX, 0 }, { 0, NAN }, { 0, INFINITY }
    };
    struct sample_opts o = sample_opts_default();
    struct err e = { 0 };
    o.n_bias = 1;
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        o.bias = &bad[i];
        assert_false(sample_opts_check(&o, N, &e));
        assert_non_null(strstr(e.msg, "logit_bias"));
    }
    o.bias = NULL;
    o.n_bias = N + 1;
    assert_false(sample_opts_check(&o, N, &e));
    o.n_bias = -1;
    assert_false(sample_opts_check(&o, N, &e));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_step_alone_gives_its_exact_distribution),
        cmocka_unit_test(all_steps_together_give_the_exact_distribution),
        cmocka_unit_test(a_large_vocabulary_keeps_exactly_the_nucleus),
        cmocka_unit_test(greedy_takes_the_best_and_of_equals_the_lowest_id),
        cmocka_unit_test(strange_logits_never_harm),
        cmocka_unit_test(nan_is_never_chosen_where_anything_else_can_be),
        cmocka_unit_test(equal_seeds_give_equal_tokens_and_others_do_not),
        cmocka_unit_test(a_seed_means_the_same_on_every_machine),
        cmocka_unit_test(bias_is_added),
        cmocka_unit_test(penalties_do_what_they_say),
        cmocka_unit_test(penalties_see_the_last_n_tokens_only),
        cmocka_unit_test(the_history_counts_right),
        cmocka_unit_test(mirostat_holds_the_surprise_it_is_asked_for),
        cmocka_unit_test(log_probabilities_are_those_of_the_softmax),
        cmocka_unit_test(large_logits_do_not_overflow),
        cmocka_unit_test(c13_every_option_has_a_range_and_is_named),
        cmocka_unit_test(c14_bias_ids_are_tokens_and_not_too_many),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
