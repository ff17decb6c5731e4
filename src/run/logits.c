// logits.c - the best logits, and log-probabilities.

#include "run/logits.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { LANES = 16 };

/// Whether any of 16 logits is above `x`: written so that it becomes a few vector instructions.
static bool any_above(const float *logits, float x)
{
    int above = 0;
    for (int j = 0; j < LANES; j++)
        above |= logits[j] > x;
    return above != 0;
}

int32_t logits_argmax(const float *logits, int n_vocab)
{
    float best = -INFINITY;
    int32_t id = 0;
    for (int i = 0; i < n_vocab; i += LANES) {
        int n = n_vocab - i < LANES ? n_vocab - i : LANES;
        if (n == LANES && !any_above(logits + i, best))
            continue;
        for (int j = 0; j < n; j++)
            if (logits[i + j] > best) {
                best = logits[i + j];
                id = i + j;
            }
    }
    return id;
}

static bool better(const struct cand *a, const struct cand *b)
{
    return a->key > b->key || (a->key == b->key && a->id < b->id);
}

static int by_key(const void *pa, const void *pb)
{
    const struct cand *a = pa, *b = pb;
    return better(a, b) ? -1 : better(b, a) ? 1 : 0;
}

/// Lets the candidate at `i` sink in a heap with the worst on top.
static void sink(struct cand *heap, int n, int i)
{
    struct cand c = heap[i];
    for (int child; (child = 2 * i + 1) < n; i = child) {
        if (child + 1 < n && better(&heap[child], &heap[child + 1]))
            child++;
        if (better(&heap[child], &c))
            break;
        heap[i] = heap[child];
    }
    heap[i] = c;
}

static struct cand cand_of(const float *logits, int32_t id)
{
    float x = logit_of(logits[id]);
    return (struct cand){ .key = x, .logit = x, .id = id };
}

/// A heap of the best so far; blocks of logits without a better one are passed over at once. Ids
/// only grow, so an equal logit is never better.
void logits_best(struct cand *out, int n, const float *logits, int n_vocab)
{
    ASSERT(n > 0 && n <= n_vocab);
    for (int i = 0; i < n; i++)
        out[i] = cand_of(logits, i);
    for (int i = n / 2 - 1; i >= 0; i--)
        sink(out, n, i);
    for (int i = n; i < n_vocab;) {
        if (n_vocab - i >= LANES && !any_above(logits + i, out[0].key)) {
            i += LANES;
            continue;
        }
        int end = n_vocab - i < LANES ? n_vocab : i + LANES;
        for (; i < end; i++)
            if (logits[i] > out[0].key) {
                out[0] = cand_of(logits, i);
                sink(out, n, 0);
            }
    }
    qsort(out, (size_t)n, sizeof *out, by_key);
}

/// The top 12 bits of a float, in the order of the floats.
static unsigned bucket_of(float key)
{
    uint32_t u;
    memcpy(&u, &key, sizeof u);
    u = u >> 31 ? ~u : u | 0x80000000u;
    return u >> 20;
}

/// Counts keys by their top bits to find a bound that lets at least m through, and sorts those.
int cands_front(struct cand *c, int n, int m)
{
    int count[1 << 12] = { 0 }, front = 0, reach = 0;
    unsigned bound = ARRAY_LEN(count);
    for (int i = 0; i < n; i++)
        count[bucket_of(c[i].key)]++;
    while (reach < m)
        reach += count[--bound];
    for (int i = 0; i < n; i++)
        if (bucket_of(c[i].key) >= bound) {
            struct cand t = c[front];
            c[front++] = c[i];
            c[i] = t;
        }
    qsort(c, (size_t)front, sizeof *c, by_key);
    return front;
}

/// Logarithm of the sum of exp(logits): what is to be subtracted. Infinite only where nothing else
/// makes sense.
static double log_sum_exp(const float *logits, int n_vocab)
{
    double max = (double)logit_of(logits[logits_argmax(logits, n_vocab)]), sum = 0;
    if (isinf(max))
        return max;
    for (int i = 0; i < n_vocab; i++)
        sum += exp((double)logit_of(logits[i]) - max);
    return max + log(sum);
}

static float logprob(float logit, double lse)
{
    if (isinf(lse))
        return lse > 0 && isinf(logit) && logit > 0 ? 0 : -INFINITY;
    return (float)((double)logit - lse);
}

void logits_top(const float *logits, int n_vocab, struct token_logprob *out, int n)
{
    int found = n < n_vocab ? n : n_vocab;
    for (int i = 0; i < n; i++)
        out[i] = (struct token_logprob){ -1, -INFINITY };
    if (found <= 0)
        return;
    double lse = log_sum_exp(logits, n_vocab);
    struct cand *best = xcalloc((size_t)found, sizeof *best);
    logits_best(best, found, logits, n_vocab);
    for (int i = 0; i < found; i++)
        out[i] = (struct token_logprob){ best[i].id, logprob(best[i].logit, lse) };
    free(best);
}

float logits_logprob(const float *logits, int n_vocab, int32_t id)
{
    return logprob(logit_of(logits[id]), log_sum_exp(logits, n_vocab));
}
