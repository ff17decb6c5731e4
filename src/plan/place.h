// place.h - which device gets which part, and why no fewer would do.
//
//   cost.c    what a stage of blocks costs on each kind of device, from real plans of one device
//   search.c  the exact search over cuts and sets of devices
//   place.c   both together: limits that were left open, the host's share, experts; the proof
//   advise.c  what else would fit: largest context, smallest changes, neighbours

#ifndef SNUG_PLACE_H
#define SNUG_PLACE_H

#include "plan/plan.h"

/// What comes first. All: then least predicted time, largest slack, lowest order of devices.
enum place_goal {
    GOAL_FEWEST,  // fewest devices, then the largest micro-batch
    GOAL_SPEED,   // least time a token, on as many devices as it takes
    GOAL_CONTEXT, // the longest context, at most what the model was trained with
    GOAL_SLOTS,   // the most sequences at once, at most 64
};
const char *place_goal_name(enum place_goal g); // "fewest", ...

/// What the caller leaves to the search, and what it insists on (Ollama's options).
struct place_opts {
    enum place_goal goal;
    bool open_micro_batch; // limits.micro_batch may be made smaller, halves down to 16
    bool open_kv;          // limits.kv may become q8_0, where that saves a device or more fits
    int64_t ctx_train;     // bound of GOAL_CONTEXT; 0: none
    bool no_advice;        // the error of a search without result does not say what would help
    bool host_rows_only;   // the device that works in place may hold the embedding table, no more
    int num_gpu;           // blocks on devices other than the host's, from the last; -1: any
    int main_gpu;          // the device that is used first where one is enough; -1: any
    const double *tensor_split; // [n_devs] shares of the blocks; NULL: any
};
extern const struct place_opts place_any; // GOAL_FEWEST, everything else as the limits say

/// What the search says besides the plan.
struct placement {
    enum place_goal goal;
    int devices;  // used, the host not counted
    bool minimal; // proved that fewer do not hold it (GOAL_FEWEST)
    int n_proof;  // sentences, one a line of the certificate
    char proof[4][240];
    int micro_batch_asked, micro_batch; // asked: 0 where it was open
    char micro_batch_why[160];
    int64_t predicted_ns; // a token at the start of a context, all devices; 0: unknown
};

/// Finds the assignment that is best by `o->goal` (NULL: place_any). Every device in `devs` may be
/// used. A device that works in place (the host's CPU) holds parts only when the others together
/// cannot hold all of them, or where it is the only one; the embedding table, of which single rows
/// are read, is there whenever a device would need a copy for itself. *out is the caller's.
/// Errors: ERR_NOFIT with the best try's numbers and the smallest change that would help.
MUST_CHECK bool place_find(struct plan **out, struct placement *why, const struct graph *g,
                           const struct weight_place *w, const struct limits *lim,
                           const struct place_opts *o, struct dev *const *devs, int n_devs,
                           struct err *e);

/// Blocks spread evenly over all devices, in order: embedding with the first, head with the last.
/// free(a->dev).
void assign_even(struct assign *a, const struct graph *g, int n_devs);

// --- advise.c -----------------------------------------------------------------------------------

/// The model and machine that questions are asked about.
struct question {
    const struct graph *g;
    const struct weight_place *w;
    struct limits lim;
    struct place_opts o;
    struct dev *const *devs;
    int n_devs;
};

/// The largest context, in whole pages, with which `p`'s assignment still fits; 0: none. Exact: one
/// page more does not fit. At most `most` tokens (0: 2^22).
int64_t advise_max_context(const struct plan *p, int64_t most);
/// The same over all assignments.
int64_t advise_max_context_anywhere(const struct question *q, int64_t most);

/// One change that would make a plan fit, or its price.
struct suggestion {
    char change[24];  // "context", "kv", "micro_batch", "slots", "free", "device", "quantization"
    char value[48];   // "8192", "q8_0", "312.4 MiB on k80 #0"
    char flag[64];    // what to type: "--ctx 8192"; "" where there is nothing
    char effect[120]; // "fits with 12.0 MiB left", "1 device instead of 2, 6.1 instead of 5.5 t/s"
};
/// No fit: the smallest changes that make it fit, the least painful first. Fit: neighbours on the
/// Pareto front (a device fewer or more, q8_0, other micro-batches). Returns how many, at most max.
int advise(struct suggestion *out, int max, const struct question *q, const struct plan *fits);

#endif
