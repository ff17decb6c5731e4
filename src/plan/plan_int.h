// plan_int.h - private to plan/: what its files share.

#ifndef SNUG_PLAN_INT_H
#define SNUG_PLAN_INT_H

#include "plan/plan.h"

enum { SLOT_ALIGN = 64 };

/// Bytes that must be there from step `first` to step `last`, both included.
struct span {
    int first, last;
    uint64_t bytes;
    uint64_t offset; // out
};
/// Packs spans so that those alive at the same step do not overlap. Sizes are multiples of
/// SLOT_ALIGN. Returns the bytes of the whole and, in *bound, the peak of live bytes.
uint64_t pack_spans(struct span *s, int n, int n_steps, uint64_t *bound);

/// plan_make() as far as costs need it: steps, values, their sizes and lives. Nothing has an
/// address, and devices have no bytes.
MUST_CHECK bool plan_sketch(struct plan **out, const struct graph *g, const struct weight_place *w,
                            const struct assign *a, const struct limits *lim,
                            struct dev *const *devs, int n_devs, struct err *e);

/// Bytes of a tensor in a format: A8 for activations made ready for a quantized product, else its
/// own.
uint64_t format_bytes(const struct tensor *t, enum dtype format, const struct dims *v);
/// What a tensor is stored as when no kernel asks for another format.
enum dtype natural_format(const struct tensor *t, const struct dims *v);

/// Whether kernels of `op` may write dst[0] over source `i` (the promise is stated at kernel.run in
/// dev.h).
bool op_in_place(enum op op, int i);

// time.c
/// Bytes of weights that a step reads for one token.
uint64_t step_read_bytes(const struct step *s, const struct dims *max);
/// Predicted nanoseconds of handing one row of a tensor over to a device.
int64_t hop_time_ns(const struct tensor *t, const struct dev_info *dev, const struct dims *max);
/// Predicted nanoseconds of a step for one token on the device where it runs (of a copy: arrives).
int64_t step_ns(const struct step *s, const struct value *value, const struct dev_info *dev,
                const struct dims *max);

/// Bytes of a device that a plan may use: what is free, less the reserve. UINT64_MAX: no limit.
uint64_t plan_room(const struct plan_dev *d, const struct limits *lim);
/// True where all devices hold their part.
bool plan_holds(const struct plan *p);
/// "sim0 lacks 1.2 MiB (...)" for the worst device, as ERR_NOFIT. Returns false.
bool plan_lacks(const struct plan *p, struct err *e);

struct question;
/// Of the question's devices, those that are not the host's.
int question_n_devices(const struct question *q);
/// The question on the `k` of these with most room, in their order, and on the host for rows alone.
/// What fits on any k devices fits on these where devices differ in nothing but room. free(*devs).
struct question question_on_largest(const struct question *q, int k, struct dev ***devs);

/// Appends the smallest changes that would make it fit to the message of `e`.
void advise_error(struct err *e, const struct question *q);

/// Looks for single changes of the limits that make `fits` true and appends them to the message of
/// `e`.
typedef bool fits_fn(void *ctx, const struct limits *lim);
void suggest_limits(const struct limits *lim, fits_fn *fits, void *ctx, struct err *e);

#endif
