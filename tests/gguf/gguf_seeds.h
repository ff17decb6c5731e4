// gguf_seeds.h - small files to start fuzzing from: each feature of the format once, well-formed
// and broken. SNUG_SEED_DIR=DIR build/tests/gguf/test_seeds writes them.

#ifndef TESTS_GGUF_SEEDS_H
#define TESTS_GGUF_SEEDS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/// `good`: opens. The bytes are gone after the call.
typedef void gguf_seed_fn(void *arg, const char *name, bool good, const uint8_t *p, size_t n);
void gguf_seeds(gguf_seed_fn *each, void *arg);

#endif
