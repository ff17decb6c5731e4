// vectors.h - the vocabularies that tests use, and the reference answers for them.

#ifndef TESTS_TOK_VECTORS_H
#define TESTS_TOK_VECTORS_H

#include "gguf/gguf.h"
#include "tok/tok.h"

#include <jansson.h>

/// A vocabulary by its vector's name: from the cache, or rebuilt from one that is there. On success
/// *t is the caller's, else *why says what is missing.
bool vocab_open(struct tok **t, const char *name, char why[512]);

/// Nanoseconds of CPU that tok_new() takes for it, best of three; the file is there.
int64_t vocab_load_ns(const char *name);

/// tests/data/tokenizer/NAME.json, or that of $SNUG_VECTORS; NULL if it is not there.
json_t *vectors_open(const char *name);

/// A file of the cache: $SNUG_CACHE or ~/.cache/snug.
void cache_path(char out[512], const char *file);

#endif
