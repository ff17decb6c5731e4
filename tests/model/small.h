// small.h - a complete model of two layers with one thing changed: what the catalogue's rows on
// models are made of.

#ifndef TESTS_MODEL_SMALL_H
#define TESTS_MODEL_SMALL_H

#include "model/model.h"
#include "support/gguf_make.h"

enum {
    SMALL_EMBD = 64,
    SMALL_HEADS = 4,
    SMALL_KV = 2,
    SMALL_HEAD = 16,
    SMALL_FF = 96,
    SMALL_VOCAB = 40,
    SMALL_LAYERS = 2
};

/// What is different; all zero: nothing, the model is well-formed.
struct small {
    const char *arch; // "llama" (also NULL) or "gemma3"
    bool untied, factors, biases;
    const char *drop_key;                                   // without the architecture's prefix
    void (*put_key)(struct gguf_make *m, const char *name); // puts a value of its own for...
    const char *key; // ... this key: instead of the usual one, or added
    const char *drop_tensor;
    const char *swap[2]; // these two have each other's shape
    const char *transpose;
    const char *retype;       // has ...
    enum dtype type;          // ... this type
    const char *extra_tensor; // a vector of 8 more
};

/// The file as bytes in `m`, which is to be gm_done().
void small_make(struct gguf_make *m, const struct small *s);
/// gguf_open, model_read and model_graph in one; false with the first error. Nothing is left
/// behind.
bool small_builds(const struct small *s, struct err *e);
/// The same, but hands out what was read. small_close() it.
struct small_model {
    struct gguf_make make;
    struct gguf *gguf;
    struct model *model;
    struct graph *graph;
};
bool small_open(struct small_model *out, const struct small *s, struct err *e);
void small_close(struct small_model *m);

#endif
