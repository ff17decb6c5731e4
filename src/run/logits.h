// logits.h - the best of many logits, without sorting all of them. Private to this folder.

#ifndef SNUG_RUN_LOGITS_H
#define SNUG_RUN_LOGITS_H

#include "run/run.h"

/// A token that may be next. Better: the greater key, then the lower id.
struct cand {
    float key;   // what is compared: the logit, or what a step of sampling puts here
    float logit; // never NaN
    float p;     // weight, relative to the best one's
    int32_t id;
};

/// A NaN is the least likely of all.
static inline float logit_of(float x)
{
    return x == x ? x : -__builtin_inff();
}

/// The `n` best of all logits, best first. n <= n_vocab.
void logits_best(struct cand *out, int n, const float *logits, int n_vocab);

/// Moves the best to the front, sorted: at least `m` of them (m <= n). Returns how many are sorted.
/// Linear in n where few keys are alike; never worse than n log n.
int cands_front(struct cand *c, int n, int m);

#endif
