// fake.h - for tests of the planner: devices that only talk, and graphs of all shapes.

#ifndef SNUG_TEST_FAKE_H
#define SNUG_TEST_FAKE_H

#include "plan/place.h"
#include "plan/plan.h"

/// A device whose kernels are never run. Kernels of quantized products take A8; norms, GLU and
/// attention can write it.
struct fake_dev {
    struct dev dev;
    struct dev_info info;
    bool no_rope; // has no kernel for OP_ROPE
};
void fake_dev_init(struct fake_dev *f, const char *name, uint64_t free_bytes);

/// Weights by name: "m7.12.64x96" is a matrix of type 12 with 64 columns and 96 rows, "v7.64" a
/// vector; 7 is its index in the file. Every weight is there.
struct weight_source fake_weights(void);
/// Where weights lie in a file of `n` tensors: in order, each 1 MiB apart.
struct weight_place *fake_places(int n);
enum { FAKE_WEIGHTS = 4096 };

/// A decoder as architectures write it: norm, q k v, rope, attention, residuals, GLU.
struct shape {
    int n_blocks, n_embd, n_heads, n_kv_heads, head_dim, n_ff, n_vocab;
    int window;      // of every second block
    enum dtype type; // of matrices
    bool post_norm;  // norms behind attention and feed-forward
    bool tied;
    bool softcap;
};
struct graph *fake_decoder(const struct shape *s);
/// Operations in any order on any earlier result, reproducibly.
struct graph *fake_random(uint64_t seed);

/// 0 .. n-1
uint32_t fake_rand(uint64_t *state, uint32_t n);

#endif
