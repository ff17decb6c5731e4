// run_int.h - private to run/: an instance from the inside.

#ifndef SNUG_RUN_INT_H
#define SNUG_RUN_INT_H

#include "plan/file.h"
#include "run/run.h"

/// Launches that one device runs in a row, or (n == 0) the plan's copy step `copy`.
struct segment {
    int dev;
    int first, n; // of program.launch
    int copy;
};

/// The plan's steps as lists that devices take whole: each device's steps up to the next copy that
/// it is part of.
struct program {
    struct launch *launch;
    struct segment *seg;
    int n_segs;
    int *launch_of; // [n_steps] index in launch, -1: a copy, or left out
    bool *kept;     // [n_steps]
};

struct inst {
    const struct plan *plan;
    const struct gguf *g;
    struct dev *const *devs;            // the plan's
    struct dev_mem (*mem)[ARENA_COUNT]; // [n_devs]
    uint64_t (*high)[ARENA_COUNT];      // [n_devs] bytes that are used, from the start of each
    struct dims now;                    // launches point here
    struct program full;
    struct program silent; // without the steps that only make logits
    uint8_t *staging;      // host buffer of plan.host_staging_bytes
    const float *logits;   // where the host reads them
    int64_t n_vocab_in, n_vocab_out;
    int64_t n_pages;     // of layers that keep everything
    int n_outputs;       // of the last batch
    uint8_t *guard_text; // 0xa5 ..., where the plan has guards
};

/// The address of a value, as its device sees it.
void *inst_address(const struct inst *in, int value);

// memory.c: after exec_init(). Errors: ERR_DEVICE a line is not what was planned.
MUST_CHECK bool memory_compare(struct inst *in, struct err *e);

// exec.c
void exec_init(struct inst *in); // after all addresses are known
void exec_done(struct inst *in);

// guard.c: the same steps one at a time, with the bytes around every temporary checked after each.
MUST_CHECK bool guard_run(struct inst *in, const struct program *p, struct err *e);
MUST_CHECK bool exec_copy(struct inst *in, const struct step *s, struct err *e);

// follow.c: a plan from a file instead of one that is searched for.
/// Reads o->plan_path and fills in the options that were not given. *out is the caller's, on errors
/// too; o borrows from it. Errors: ERR_ARG a flag says something else.
MUST_CHECK bool follow_read(struct plan_file **out, struct engine_opts *o, struct err *e);
/// Makes the plan again: en->plan is it, or the error names what differs.
MUST_CHECK bool follow_plan(struct engine *en, const struct plan_file *f,
                            const struct engine_opts *o, struct err *e);

#endif
