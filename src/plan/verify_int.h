// verify_int.h - what the files of `snug verify` share. Nothing here is the planner's: sizes,
// lifetimes and proofs are worked out once more, from the graph, the file's directory and the plan
// as it was written down.
//
//   verify.c          the model, the parts, the sums
//   verify_slots.c    sizes, sources, bounds, overlap
//   verify_steps.c    every node runs where it should, on what it should, for as long as is stated
//   verify_minimal.c  that fewer devices do not do

#ifndef SNUG_VERIFY_INT_H
#define SNUG_VERIFY_INT_H

#include "gguf/gguf.h"
#include "plan/file.h"

struct verifier {
    struct verdict *out;
    const struct plan_file *f;
    const struct gguf *file;
    const struct model *m;
    const struct graph *g;
};

void verify_wrong(struct verifier *v, const char *fmt, ...) PRINTF_LIKE(2, 3);
void verify_fine(struct verifier *v, const char *fmt, ...) PRINTF_LIKE(2, 3);
void verify_open(struct verifier *v, const char *fmt, ...) PRINTF_LIKE(2, 3); // cannot be told here

/// The tensor of a slot; NULL for working space.
const struct tensor *verify_tensor(const struct verifier *v, int slot);
/// The device of a part, -1 for the shared one.
int verify_part_dev(const struct verifier *v, int part);
/// Bytes that a tensor takes in a format.
uint64_t verify_bytes(const struct verifier *v, const struct tensor *t, enum dtype format);
bool verify_same_memory(const struct file_slot *a, const struct file_slot *b);
static inline uint64_t verify_up(uint64_t n, uint64_t align)
{
    return (n + align - 1) / align * align;
}

// The checks, in order; each says what it found.
void verify_slots(struct verifier *v);
void verify_steps(struct verifier *v);
void verify_minimal(struct verifier *v);

#endif
