// sample.c - from logits to the next token.
//
// The steps and their order are those of llama.cpp's default chain (ggml-org/llama.cpp,
// common/sampling.cpp and src/llama-sampling.cpp), which Ollama's options describe:
//     bias, penalties, top_k, typical_p, top_p, min_p, temperature, draw
// or, with mirostat 2 (arXiv:2007.14966): bias, penalties, temperature, mirostat. Unlike there,
// penalties work with mirostat too. Temperature 0 takes the best logit after bias and penalties.
//
// Random numbers: SplitMix64 (Steele, Lea, Flood: Fast splittable pseudorandom number generators,
// 2014), one for each token drawn; state = seed at the start.

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "run/logits.h"

enum {
    MAX_LAST_N = 1 << 20,
    HEAP_TOP_K = 1024, // above, counting beats a heap
};

/// The last tokens, and how often each is among them.
struct history {
    bool on;
    int32_t *ring; // NULL: everything is remembered
    int n, cap, at;
    int32_t *count;   // [n_vocab]
    int32_t *present; // ids with a count above 0, in no order
    int32_t *place;   // [n_vocab] index in `present`
    int n_present;
};

struct sampler {
    struct sample_opts o;
    struct logit_bias *bias;
    int n_vocab;
    uint64_t random;
    double mu; // mirostat: the surprise allowed, in bits
    struct history h;
    float *logits;     // after bias and penalties; NULL where there are none
    struct cand *cand; // [n_vocab] or [top_k]
};

struct sample_opts sample_opts_default(void)
{
    return (struct sample_opts){
        .temperature = 0.8f,
        .top_k = 40,
        .top_p = 0.9f,
        .min_p = 0,
        .typical_p = 1,
        .repeat_penalty = 1.1f,
        .repeat_last_n = 64,
        .mirostat_tau = 5,
        .mirostat_eta = 0.1f,
    };
}

// --- options
// --------------------------------------------------------------------------------------

static bool in_range(const char *name, double v, double min, double max, struct err *e)
{
    if (v >= min && v <= max) // NaN is in no range
        return true;
    return err_set(e, ERR_ARG, "%s must be from %g to %g", name, min, max);
}

static bool bias_ok(const struct sample_opts *o, int n_vocab, struct err *e)
{
    if (o->n_bias < 0 || o->n_bias > n_vocab)
        return err_set(e, ERR_ARG, "logit_bias must have at most one entry a token (%d)", n_vocab);
    for (int i = 0; i < o->n_bias; i++) {
        if (o->bias[i].id < 0 || o->bias[i].id >= n_vocab)
            return err_set(e, ERR_ARG, "logit_bias: there is no token %d", (int)o->bias[i].id);
        if (!in_range("logit_bias", (double)o->bias[i].bias, -1e6, 1e6, e))
            return false;
    }
    return true;
}

bool sample_opts_check(const struct sample_opts *o, int n_vocab, struct err *e)
{
    if (o->mirostat != 0 && o->mirostat != 2)
        return err_set(e, ERR_ARG, "mirostat must be 0 or 2");
    return in_range("temperature", (double)o->temperature, 0, 100, e) &&
           in_range("top_k", o->top_k, 0, INT32_MAX, e) &&
           in_range("top_p", (double)o->top_p, 0, 1, e) &&
           in_range("min_p", (double)o->min_p, 0, 1, e) &&
           in_range("typical_p", (double)o->typical_p, 0, 1, e) &&
           in_range("repeat_penalty", (double)o->repeat_penalty, (double)0.01f, 100, e) &&
           in_range("presence_penalty", (double)o->presence_penalty, -100, 100, e) &&
           in_range("frequency_penalty", (double)o->frequency_penalty, -100, 100, e) &&
           in_range("repeat_last_n", o->repeat_last_n, -1, MAX_LAST_N, e) &&
           in_range("mirostat_tau", (double)o->mirostat_tau, 0, 100, e) &&
           in_range("mirostat_eta", (double)o->mirostat_eta, 0, 10, e) && bias_ok(o, n_vocab, e);
}

// --- history of the penalties
// ---------------------------------------------------------------------

static void history_init(struct history *h, const struct sample_opts *o, int n_vocab)
{
    h->on = o->repeat_last_n != 0 &&
            (o->repeat_penalty != 1 || o->presence_penalty != 0 || o->frequency_penalty != 0);
    if (!h->on)
        return;
    if (o->repeat_last_n > 0) {
        h->cap = o->repeat_last_n;
        h->ring = xcalloc((size_t)h->cap, sizeof *h->ring);
    }
    h->count = xcalloc((size_t)n_vocab, sizeof *h->count);
    h->present = xcalloc((size_t)n_vocab, sizeof *h->present);
    h->place = xcalloc((size_t)n_vocab, sizeof *h->place);
}

static void history_done(struct history *h)
{
    free(h->ring);
    free(h->count);
    free(h->present);
    free(h->place);
}

static void history_drop(struct history *h, int32_t id)
{
    if (--h->count[id] > 0)
        return;
    int32_t last = h->present[--h->n_present];
    h->present[h->place[id]] = last;
    h->place[last] = h->place[id];
}

static void history_add(struct history *h, int32_t id)
{
    if (h->ring) {
        if (h->n == h->cap)
            history_drop(h, h->ring[h->at]);
        else
            h->n++;
        h->ring[h->at] = id;
        h->at = (h->at + 1) % h->cap;
    }
    if (h->count[id] == INT32_MAX)
        return;
    if (h->count[id]++ == 0) {
        h->place[id] = h->n_present;
        h->present[h->n_present++] = id;
    }
}

// --- the sampler
// ----------------------------------------------------------------------------------

struct sampler *sampler_new(const struct sample_opts *o, int n_vocab)
{
    ASSERT(n_vocab > 0);
    struct sampler *s = xcalloc(1, sizeof *s);
    s->o = *o;
    s->n_vocab = n_vocab;
    s->random = o->seed;
    s->mu = 2 * (double)o->mirostat_tau;
    s->bias = xcalloc((size_t)o->n_bias + 1, sizeof *s->bias);
    for (int i = 0; i < o->n_bias; i++)
        s->bias[i] = o->bias[i];
    s->o.bias = s->bias;
    history_init(&s->h, o, n_vocab);
    if (o->n_bias > 0 || s->h.on)
        s->logits = xmalloc((size_t)n_vocab * sizeof *s->logits);
    bool few = o->mirostat == 0 && o->top_k > 0 && o->top_k <= HEAP_TOP_K && o->top_k < n_vocab;
    s->cand = xcalloc((size_t)(few ? o->top_k : n_vocab), sizeof *s->cand);
    return s;
}

void sampler_free(struct sampler *s)
{
    if (!s)
        return;
    history_done(&s->h);
    free(s->bias);
    free(s->logits);
    free(s->cand);
    free(s);
}

void sampler_accept(struct sampler *s, int32_t id)
{
    if (s->h.on && id >= 0 && id < s->n_vocab)
        history_add(&s->h, id);
}

/// Uniform in [0, 1).
static double draw_number(struct sampler *s)
{
    uint64_t z = s->random += 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    z ^= z >> 31;
    return (double)(z >> 11) * 0x1p-53;
}

static const float *biased(struct sampler *s, const float *logits)
{
    if (!s->logits)
        return logits;
    memcpy(s->logits, logits, (size_t)s->n_vocab * sizeof *logits);
    for (int i = 0; i < s->o.n_bias; i++)
        s->logits[s->bias[i].id] += s->bias[i].bias;
    for (int i = 0; i < s->h.n_present; i++) {
        int32_t id = s->h.present[i];
        float *x = &s->logits[id];
        *x = *x > 0 ? *x / s->o.repeat_penalty : *x * s->o.repeat_penalty;
        *x -= (float)s->h.count[id] * s->o.frequency_penalty + s->o.presence_penalty;
    }
    return s->logits;
}

/// All tokens, or the top_k best (then sorted). Returns how many.
static int candidates(struct sampler *s, const float *logits, int top_k)
{
    struct cand *c = s->cand;
    int n = s->n_vocab;
    if (top_k > 0 && top_k <= HEAP_TOP_K && top_k < n) {
        logits_best(c, top_k, logits, n);
        return top_k;
    }
    for (int i = 0; i < n; i++) {
        float x = logit_of(logits[i]);
        c[i] = (struct cand){ .key = x, .logit = x, .id = i };
    }
    if (top_k > 0 && top_k < n) {
        cands_front(c, n, top_k);
        n = top_k;
    }
    return n;
}

/// Weights relative to the best, at a temperature; returns their sum, which is at least 1.
static double weigh(struct cand *c, int n, float temperature)
{
    float max = c[0].logit;
    double sum = 0;
    for (int i = 1; i < n; i++)
        max = c[i].logit > max ? c[i].logit : max;
    for (int i = 0; i < n; i++) {
        c[i].p = expf((c[i].logit - max) / temperature);
        sum += (double)c[i].p;
    }
    return sum;
}

/// How many of the best by key it takes for their weights to reach `mass`; those are in front,
/// sorted.
static int reach(struct cand *c, int n, double mass)
{
    for (int m = 64;; m = m < n / 8 ? m * 8 : n) {
        int sorted = cands_front(c, n, m < n ? m : n);
        double sum = 0;
        for (int i = 0; i < sorted; i++) {
            sum += (double)c[i].p;
            if (sum >= mass)
                return i + 1;
        }
        if (sorted == n)
            return n;
    }
}

/// Keeps the tokens whose surprise is closest to the expected one (arXiv:2202.00666).
static int keep_typical(struct cand *c, int n, float p)
{
    double sum = weigh(c, n, 1), entropy = 0;
    for (int i = 0; i < n; i++)
        if (c[i].p > 0)
            entropy -= (double)c[i].p / sum * log((double)c[i].p / sum);
    for (int i = 0; i < n; i++)
        c[i].key = c[i].p > 0 ? -(float)fabs(-log((double)c[i].p / sum) - entropy) : -INFINITY;
    n = reach(c, n, (double)p * sum);
    for (int i = 0; i < n; i++)
        c[i].key = c[i].logit;
    return n;
}

static int keep_top_p(struct cand *c, int n, float p)
{
    return reach(c, n, (double)p * weigh(c, n, 1));
}

/// Keeps what is at least `p` times as likely as the best.
static int keep_min_p(struct cand *c, int n, float p)
{
    int kept = 0;
    weigh(c, n, 1);
    for (int i = 0; i < n; i++)
        if (c[i].p >= p)
            c[kept++] = c[i];
    return kept;
}

/// One of the candidates, each as likely as its weight.
static const struct cand *draw(struct sampler *s, const struct cand *c, int n, double sum)
{
    double at = draw_number(s) * sum, so_far = 0;
    const struct cand *last = c;
    for (int i = 0; i < n; i++) {
        if (c[i].p <= 0)
            continue;
        last = &c[i];
        so_far += (double)c[i].p;
        if (so_far > at)
            break;
    }
    return last;
}

/// Leaves out what would surprise by more than mu bits, and corrects mu by what came.
static int32_t next_mirostat(struct sampler *s, struct cand *c, int n)
{
    double sum = weigh(c, n, s->o.temperature), rest = 0;
    double least = sum * exp2(-s->mu); // weight of a surprise of mu
    int kept = 0;
    for (int i = 0; i < n; i++)
        if ((double)c[i].p >= least || c[i].p >= 1) {
            rest += (double)c[i].p;
            c[kept++] = c[i];
        }
    const struct cand *next = draw(s, c, kept, rest);
    double surprise = -log2((double)next->p / rest);
    s->mu -= (double)s->o.mirostat_eta * (surprise - (double)s->o.mirostat_tau);
    return next->id;
}

int32_t sampler_next(struct sampler *s, const float *logits)
{
    const struct sample_opts *o = &s->o;
    logits = biased(s, logits);
    int32_t best = logits_argmax(logits, s->n_vocab);
    if (o->temperature == 0 || isinf(logit_of(logits[best])))
        return best;
    if (o->mirostat == 2)
        return next_mirostat(s, s->cand, candidates(s, logits, 0));

    struct cand *c = s->cand;
    int n = candidates(s, logits, o->top_k);
    if (o->typical_p < 1)
        n = keep_typical(c, n, o->typical_p);
    if (o->top_p < 1)
        n = keep_top_p(c, n, o->top_p);
    if (o->min_p > 0)
        n = keep_min_p(c, n, o->min_p);
    double sum = weigh(c, n, o->temperature);
    return draw(s, c, n, sum)->id;
}
