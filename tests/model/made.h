// made.h - models that tools/mkmodel makes for tests.

#ifndef TESTS_MODEL_MADE_H
#define TESTS_MODEL_MADE_H

#include "model/model.h"

enum { MADE_VOCAB = 96 };

/// Whether there is a mkmodel ($SNUG_TOOLS, else build/tools); if not, prints SKIP with `test`'s
/// name. The caller then calls skip().
bool can_make(const char *test);
/// The path of a model that mkmodel makes of these arguments, without a vocabulary: valid until the
/// next one is made.
const char *make_model(const char *fmt, ...) PRINTF_LIKE(1, 2);

/// A file up to its graph. Opens or fails the test.
struct made {
    struct gguf *gguf;
    struct model *model;
    struct graph *graph;
};
void made_open(struct made *m, const char *path);
void made_close(struct made *m);

#endif
