// tiny.h - models of a few hundred kilobytes with random weights, made where a test needs one.

#ifndef SNUG_TEST_TINY_H
#define SNUG_TEST_TINY_H

#include "run/run.h"

enum { TINY_VOCAB = 300, TINY_LAYERS = 6, TINY_WINDOW = 48 };

/// "llama" (biases on q, output apart) or "gemma3" (windows, norms on all sides, tied). Matrices of
/// mixed quantized types, or all F32. Returns the path of the same file for the same arguments,
/// made at first call, removed at exit.
const char *tiny_model(const char *arch, bool quantized);

/// Reproducible token ids.
void tiny_tokens(int32_t *out, int n, uint64_t seed);

/// Opens or fails the test.
void tiny_open(struct engine *en, const char *arch, bool quantized, const struct engine_opts *o);

#endif
