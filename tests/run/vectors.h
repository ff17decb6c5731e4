// vectors.h - for tests in this folder: where models and reference logits are, and how far two
// logits are apart.

#ifndef SNUG_TEST_VECTORS_H
#define SNUG_TEST_VECTORS_H

#include "run/run.h"

/// Under $SNUG_VECTORS, else ../shared/vectors; under $SNUG_CACHE, else ~/.cache/snug. A static
/// buffer each.
const char *vectors_path(const char *fmt, ...) PRINTF_LIKE(1, 2);
const char *cache_path(const char *fmt, ...) PRINTF_LIKE(1, 2);
/// Whether the file is there; if not, prints SKIP with `test`'s name. The caller then calls skip().
bool have_file(const char *test, const char *path);

int read_ids(const char *path, int32_t *out, int max); // whitespace-separated; how many
float *read_f32(const char *path, size_t n);           // exactly n of them; free()

/// As ../oracle/nmse.py of the vectors: normalised squared error, KL(reference || got), agreement
/// of the best.
struct score {
    int n;
    double nmse, kl_mean, kl_max, top1;
};
double log_sum_exp(const float *x, int n,
                   int *best); // and the index of the largest, the first among equals
struct score score_rows(const float *ref, const float *got, int n, int n_vocab);

/// Opens or fails the test.
void open_engine(struct engine *en, const char *path, const struct engine_opts *o);
/// Logits of all tokens from an empty sequence: [n][n_vocab], free(). `chunk`: tokens a call of
/// seq_eval_all, 0: all.
float *eval_all(struct engine *en, const int32_t *id, int n, int chunk);

#endif
