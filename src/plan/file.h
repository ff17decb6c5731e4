// file.h - a plan as it stands in a file: what `snug plan --json --full` writes, read back.
//
//   json.c      writes it
//   file.c      reads it: every field there, of the right kind, every index in range
//   contract.c  holds a plan made here and now to it (--plan)
//   verify.c    checks it without the planner (snug verify)

#ifndef SNUG_PLAN_FILE_H
#define SNUG_PLAN_FILE_H

#include "plan/plan.h"

enum { PLAN_FILE_MAX = 256 << 20 };

/// "embedding", "block 3", ...
const char *plan_part_name(char out[32], const struct part *part);
/// Of the model's head, this build, the devices and the plan. `file` may be NULL.
uint64_t plan_fingerprint(const struct plan *p, const struct gguf *file);

/// The lines of a device's "bytes", in this order. The first are those of enum arena_kind.
enum file_line {
    FILE_STATE = ARENA_COUNT,
    FILE_STAGING,
    FILE_GRAPHS,
    FILE_ROUNDING,
    FILE_DRIVER,
    FILE_RESERVE,
    FILE_COUNT
};
const char *file_line_name(int line);

struct file_dev {
    const char *name;
    bool in_place;
    bool host;                 // the one under "host", which is not in "devices"
    uint64_t capacity, free;   // UINT64_MAX: not limited
    uint64_t granule, driver;  // what it has, used or not
    uint64_t line[FILE_COUNT]; // of "bytes"
    uint64_t planned, mapped, scratch_bound, padding;
    int threads;
    int first_block, last_block; // -1: none
    int n_parts;
    const char **part;
};

struct file_arena {
    int dev;
    enum arena_kind arena;
    uint64_t bytes, reserved;
};

struct file_slot {
    const char *name;
    int dev;
    bool mapped;
    enum arena_kind arena;
    uint64_t offset, bytes;
    int first, last; // steps
    int tensor;      // of the graph; -1: a kernel's working space
    enum dtype format;
    int alias; // -1: none
    int file;  // of weights; -1: no weight
    uint64_t file_offset;
};

struct file_step {
    int dev;
    const char *op, *kernel; // kernel "": a copy
    int node;                // -1: a copy
    bool sync;
    int src[NODE_SRC], dst[NODE_DST], scratch;
};

/// An element of minimal.stages.
struct file_stages {
    int n_units, n_tables;
    int *unit_of;     // [n_parts + 1], part 0 first
    int *table_of;    // [n_devs]
    uint64_t **bytes; // [n_tables][from * (n_units + 1) + to]
};

struct plan_file {
    struct arena mem; // owns all that is pointed to
    bool fits;
    int64_t context;
    int slots, micro_batch, outputs;
    enum dtype kv;
    bool exact, no_vision;
    uint64_t reserve, guard;
    const char *on, *version;                         // on "": --on was not given
    uint64_t fingerprint, model, graph, plan, digest; // digest: as it says
    uint64_t digest_here;                             // of what was read
    int devices_used, minimal;
    bool proved;
    int n_stages;
    struct file_stages *stages; // [n_stages]
    uint64_t host_mapped, host_pinned, host_heap, host_staging;
    int n_host_parts;
    const char **host_part;
    int n_devs, n_parts, n_arenas, n_slots, n_steps; // n_devs: with the host's, if it is not listed
    struct file_dev *dev;
    const char **part; // [n_parts] of "assignment": graph part i + 1
    int *part_dev;
    struct file_arena *arena;
    struct file_slot *slot;
    struct file_step *step;
    int logits;
    void *json; // json_t, as read
};

/// Errors: ERR_NOTFOUND, ERR_IO; ERR_FORMAT names the field and what it should be.
MUST_CHECK bool plan_file_read(struct plan_file **out, const char *path, struct err *e);
/// From text.
MUST_CHECK bool plan_file_parse(struct plan_file **out, const char *p, size_t n, struct err *e);
void plan_file_free(struct plan_file *f); // NULL is fine

/// Ends the JSON that stands in `out` from `start` on with a digest of all of it but plan_ms.
bool plan_file_seal(struct buf *out, size_t start);

// --- contract.c
// -----------------------------------------------------------------------------------

/// What the file says the plan was made with. a->dev is the caller's to free.
void plan_file_limits(const struct plan_file *f, struct limits *lim);
/// Errors: ERR_ARG the graph has other parts.
MUST_CHECK bool plan_file_assign(const struct plan_file *f, const struct graph *g, struct assign *a,
                                 struct err *e);
/// Whether `p`, made here of that assignment with these limits, is the plan in the file, byte for
/// byte. Errors: ERR_ARG names the first field that differs and both values.
MUST_CHECK bool plan_file_holds(const struct plan_file *f, const struct plan *p,
                                const struct plan_extra *x, struct err *e);

// --- verify.c
// -------------------------------------------------------------------------------------

/// What was found, in order. Lines begin with "verified: ", "wrong: " or "not verified: ".
struct verdict {
    struct buf lines; // the caller inits and frees it
    int n_verified, n_wrong, n_open;
};
struct model;
/// Checks a plan against a model with code of its own: shares none with what makes plans. Fields
/// that are wrong are counted in *out, and the first of each kind is said.
void plan_file_verify(struct verdict *out, const struct plan_file *f, const struct gguf *file,
                      const struct model *m, const struct graph *g);

#endif
