// plan.h - where every byte of a loaded model will be.
//
// A plan is pure arithmetic over a graph: it touches no device and allocates no device memory.
// The loader allocates exactly what it says; the executor uses exactly the addresses it says.
// Same inputs, same plan, byte for byte.

#ifndef SNUG_PLAN_H
#define SNUG_PLAN_H

#include "dev/dev.h"
#include "graph/graph.h"

/// What the plan is for.
struct limits {
    int micro_batch; // tokens in one batch, at most
    int outputs;     // rows of logits of one batch, at most
    int slots;       // sequences at once
    int64_t ctx;     // tokens of one sequence; rounded up to whole pages
    enum dtype kv;   // DTYPE_F16, DTYPE_Q8_0, DTYPE_F32
    bool exact;      // float32 activations and kernels that take them
    uint64_t
        reserve_bytes;    // kept free on each device with a capacity; the user's number, default 0
    uint64_t guard_bytes; // checked bytes on both sides of every temporary, rounded up to 64; 0 but
                          // in tests
};

/// Which device runs each part of the graph: dev[part], indices into the devices given. dev[0]
/// (PART_SHARED) is ignored: shared nodes are made on every device that uses them.
struct assign {
    int n_parts;
    int *dev;
};

enum arena_kind {
    ARENA_WEIGHTS, // in file order
    ARENA_KV,
    ARENA_SCRATCH,  // activations and kernels' working space, packed by lifetime
    ARENA_INPUT,    // token ids, positions, page table, ... and the logits on their way out
    ARENA_HANDOVER, // activations that come from another device
    ARENA_COUNT
};
const char *arena_kind_name(enum arena_kind k); // "weights", "kv", ...

/// A place: on device `dev` at `offset` in an arena, or, where `mapped`, in the mapping of split
/// file `file`.
struct slot {
    int dev;
    bool mapped;
    enum arena_kind arena;
    int file;
    uint64_t offset, bytes; // bytes: what the tensor needs; slots start at multiples of 64
};

/// A tensor on a device in a format. Lives from first_step to last_step, both included
/// (inputs, weights, states, logits: always). Steps that run without a sync between them count as
/// one moment, so lives begin and end with such groups.
struct value {
    const struct tensor *t; // NULL: a kernel's working space
    enum dtype format;
    struct slot slot;
    int first_step, last_step;
    int alias; // a value whose slot this one takes over in place, at its last use; -1: none
};

/// One kernel run, or one copy between devices (kernel NULL, src[0] -> dst[0]).
struct step {
    int dev; // of a copy: where it arrives
    const struct kernel *kernel;
    const struct node *node; // of a conversion: the node it is for
    int src[NODE_SRC];       // indices of values, -1: none
    int dst[NODE_DST];
    int scratch; // index of a value, -1: none
    bool sync;   // must wait for what came before on this device
};

struct plan_dev {
    struct dev_info info;
    uint64_t arena_bytes[ARENA_COUNT]; // as allocated by the loader: exact sizes
    uint64_t rounding_bytes;           // what the granule adds to them
    uint64_t total_bytes;              // sum of both: what the device will have lost after the load
    uint64_t mapped_bytes;             // weights used in place: page cache, not allocated
    uint64_t scratch_bound;            // peak of live bytes: no packing can be smaller
    uint64_t read_bytes;  // weights read for one token: of experts, those that it goes to
    int64_t ns_per_token; // predicted for one token at the start of a context; 0: speed unknown
    bool used;
};

struct plan {
    const struct graph *graph;         // borrowed
    const struct weight_place *places; // borrowed, as given
    struct dev *const *devs;           // borrowed, as given
    struct limits lim;
    struct dims max;
    int n_devs, n_parts, n_values, n_steps;
    const struct plan_dev *dev;
    const int *part_dev; // [n_parts], -1 for PART_SHARED
    const struct value *value;
    const struct step *step;
    const int *input; // [n_devs][IN_COUNT] value of each input on each device, -1 where unused
    int logits;       // value
    uint64_t host_staging_bytes; // host buffer for copies and for logits read back (0 when all is
                                 // on one in-place device)
    uint64_t hash;               // of everything above: two equal plans have equal hashes
    struct arena mem;
};

/// File offsets of weights, so that the plan can place them in file order and in mappings. Index:
/// tensor.source.
struct weight_place {
    int file;
    uint64_t offset, bytes; // of the whole tensor
};

/// Lays out `g` with its parts assigned by `a`. Deterministic. *out is the caller's: plan_free().
/// Does not compare with free bytes: plan_fits() does.
/// Errors: ERR_UNSUPPORTED a device has no kernel for a node assigned to it (names both).
MUST_CHECK bool plan_make(struct plan **out, const struct graph *g, const struct weight_place *w,
                          const struct assign *a, const struct limits *lim, struct dev *const *devs,
                          int n_devs, struct err *e);
void plan_free(struct plan *p); // NULL is fine

/// True where every device holds its bytes plus the reserve. Else ERR_NOFIT: which device lacks how
/// much, and the smallest change found that helps (context, micro-batch, KV type).
MUST_CHECK bool plan_fits(const struct plan *p, struct err *e);

/// Bytes on device `dev`, all arenas and rounding. Logs, `snug plan` and the loader print this
/// number.
uint64_t plan_device_bytes(const struct plan *p, int dev);

/// Recomputes coverage, bounds, overlap in time and address with code of its own. For tests and
/// `snug verify`.
MUST_CHECK bool plan_check(const struct plan *p, struct err *e);

// report.c: the plan for people and programs.
bool plan_table(const struct plan *p,
                struct buf *out); // a table that sums to the byte, a bar per device
bool plan_dump(const struct plan *p, struct buf *out); // every value and step: golden tests

// json.c: the plan for programs; docs/plan-json.md has the fields.
struct placement;  // place.h
struct suggestion; // place.h
struct gguf;

/// The figures that a proof of minimality stands on: what stages of units cost on each device.
struct stage_costs {
    struct stage_costs *next; // the same with other parts on the host; NULL: that is all
    int n_units;
    int *unit_of;     // [n_parts]; -1: on the host
    int n_tables;     // devices of one kind share one
    int *table_of;    // [n_devs]; -1: none
    uint64_t **bytes; // [n_tables][from * (n_units + 1) + to]: arenas and rounding
};
/// Of `p`'s model and limits on `p`'s devices: with the embedding on one of them and, where there
/// is a host, with it there. stage_costs_free().
struct stage_costs *stage_costs_of(const struct plan *p);
void stage_costs_free(struct stage_costs *s); // NULL is fine

/// What its JSON says besides the plan. All of it may be 0 or NULL.
struct plan_extra {
    const struct placement *why;
    const struct suggestion *suggestion;
    int n_suggestions;
    int64_t max_context; // 0: not known
    int64_t plan_ns;
    uint64_t host_bytes; // memory of the host; 0: not known
    const char *error;   // why it does not fit
    bool host_added;     // the last device is the host's, which --on did not name
    bool full;           // with every slot and step: what `snug verify` and --plan read
    // of full ones
    const struct gguf *file;
    const char *on; // as it was typed; NULL: nothing was
    bool no_vision;
    const struct stage_costs *stages;
};
/// `p` NULL: there is no plan, and `x->error` says why.
bool plan_json(const struct plan *p, const struct plan_extra *x, struct buf *out);

#endif
