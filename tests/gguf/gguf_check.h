// gguf_check.h - what the tests of this folder say in one line: this file opens, that one is
// refused.

#ifndef TESTS_GGUF_CHECK_H
#define TESTS_GGUF_CHECK_H

#include "support/gguf_make.h"

/// An opened file, in memory of exactly its size, so that a byte read behind it is seen.
struct opened {
    struct gguf *g;
    uint8_t *bytes;
    size_t n;
};
/// Fails the test if it does not open.
struct opened gguf_opens(struct gguf_make *m);
struct opened gguf_opens_with(struct gguf_make *m, const struct gguf_opts *opts);
void opened_done(struct opened *o); // closes it

/// Fails the test unless m's file is refused with `code` and a message that has "byte " and all of
/// `texts` (separated by |) in it, from memory and from a file.
void gguf_refused(struct gguf_make *m, enum err_code code, const char *texts);
void gguf_refused_bytes(const void *p, size_t n, const struct gguf_opts *opts, enum err_code code,
                        const char *texts);

/// Two keys and two tensors.
void gguf_small(struct gguf_make *m);
/// Reads everything that the accessors offer, a sum of it: for sanitizers and for comparisons.
uint64_t gguf_walk_all(const struct gguf *g);

#endif
