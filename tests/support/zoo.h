// zoo.h - published models as tests/data/zoo lists them: heads without data, or files whose weights
// are a hole.

#ifndef TESTS_ZOO_H
#define TESTS_ZOO_H

#include "support/gguf_make.h"

#include <jansson.h>

/// Paths of all lists, in order of their names, NULL at the end. zoo_paths_free() them.
char **zoo_paths(void);
void zoo_paths_free(char **paths);

/// Keys and directory as a list has them, with a vocabulary of at most 300 tokens: gm_finish() is
/// next. Returns how many bytes the tensors would take behind the head.
uint64_t zoo_head(struct gguf_make *m, const json_t *doc);
/// The whole file at `path`, as long as the real one's tensors make it: all its weights are zeros
/// in a hole, so that it takes a few KiB.
void zoo_write(const char *list, const char *path);

#endif
