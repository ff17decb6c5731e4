// report.h - a plan for people: one screen, a picture, the reasons, and other programs' flags.

#ifndef SNUG_REPORT_H
#define SNUG_REPORT_H

#include "plan/place.h"

/// What a device's bytes are for. They sum to its total, which is what it will no longer have free.
enum plan_row {
    ROW_WEIGHTS, // the arenas first, in the order of enum arena_kind
    ROW_KV,
    ROW_SCRATCH,
    ROW_INPUT,
    ROW_HANDOVER,
    ROW_ROUNDING,
    ROW_DRIVER,  // context and modules, where it is used
    ROW_RESERVE, // the user's --reserve, on devices with a limit
    ROW_COUNT
};
const char *plan_row_name(enum plan_row l); // "weights", ...
/// Bytes of one line; 0 on devices that are not used.
uint64_t plan_row_bytes(const struct plan *p, int dev, enum plan_row l);
uint64_t plan_rows_total(const struct plan *p, int dev);
/// What is left of the free bytes; negative: lacking. INT64_MAX: no limit.
int64_t plan_left(const struct plan *p, int dev);
/// Predicted for one token at the start of a context, all devices; 0: a device's speed is unknown.
int64_t plan_token_ns(const struct plan *p);
/// "embedding, blocks 0-24, head": the parts on a device. Returns `out`.
const char *plan_parts_text(char *out, size_t n, const struct plan *p, int dev);
/// Whether a device is used for more than rows at hand for others (a host with the embedding
/// table).
bool plan_has_column(const struct plan *p, int dev);
const char *kv_type_name(enum dtype kv); // "f16", "q8_0", "f32"

/// What is said beside the plan's own numbers.
struct report {
    const struct plan *plan;
    const struct placement *why;   // NULL: made without a search
    const char *name;              // of the model; printable
    int64_t ctx_train;             // 0: unknown
    int64_t max_ctx;               // advise_max_context(); 0: not asked
    const struct suggestion *more; // neighbours
    int n_more;
    bool colour;
    bool all; // any number of lines; else what a screen of 24 holds
};
/// The answer in words, a bar per device, a table that sums to the byte, the proof, what else fits.
bool report_screen(const struct report *r, struct buf *out);

/// Why a block sits where it does, and what moving it would cost. Errors: ERR_ARG no such block.
MUST_CHECK bool report_why(const struct plan *p, int block, struct buf *out, struct err *e);

/// A picture: a bar per device to scale, title, legend, figures. XML without scripts or links.
bool report_svg(const struct report *r, struct buf *out);

/// The largest context for each number of devices, type of keys and values, and slots, as a table
/// or as JSON.
bool report_max_ctx(const struct question *q, bool json, struct buf *out);

/// The flags with which llama.cpp puts the same blocks on the same devices, and what is not equal.
/// `path`: of the model, quoted as a shell needs it.
bool report_llamacpp(const struct plan *p, const char *path, struct buf *out);

/// What differs between two plans saved with --json, line by line. Errors: ERR_NOTFOUND, ERR_IO;
/// ERR_FORMAT where a file is no such plan.
MUST_CHECK bool report_diff(const char *path_a, const char *path_b, struct buf *out, struct err *e);

#endif
