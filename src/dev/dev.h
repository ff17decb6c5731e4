// dev.h - what a place with memory and kernels must provide.
//
// Devices never decide sizes: the plan does. After dev_seal() a device refuses to allocate.

#ifndef SNUG_DEV_H
#define SNUG_DEV_H

#include "base/base.h"
#include "graph/graph.h"

struct dev;
struct team; // CPU kinds: the threads that run a kernel together (dev/cpu/team.h)

enum dev_kind {
    DEV_KIND_CPU,
    DEV_KIND_CUDA
}; // equal kinds give equal bits; a simulated GPU on CPU kernels is of kind CPU

struct dev_info {
    char name[64]; // "cpu", "sim0", "k80 #0"
    enum dev_kind kind;
    bool in_place;           // uses weights from the file's mapping: they take no memory of its own
    uint64_t capacity_bytes; // all of it; UINT64_MAX: not limited by the device
    uint64_t free_bytes;
    uint64_t granule_bytes; // every allocation is rounded up to this
    int max_threads;        // of a CPU; 1 elsewhere
    uint64_t driver_bytes;  // taken by opening the device (context, modules), of what is free;
                            // counted by plans that use it
    // What times are predicted with; 0: unknown.
    double bytes_per_s;      // at which kernels read weights and KV
    double ops_per_s;        // multiply-adds of a long prompt
    double link_bytes_per_s; // to and from the host
    int64_t step_ns;         // one kernel more
    int64_t hop_ns;          // one copy from another device more
    bool speed_assumed;      // these five are not measured on this device
};

/// What a kernel is run with. Addresses are the device's own, fixed when the model was loaded.
struct run_args {
    const struct node *node;
    const struct dims *now;    // actual counts of this batch
    const void *src[NODE_SRC]; // NULL where the node has none
    void *dst[NODE_DST];
    enum dtype src0; // format of src[0]: F32, or what kernel.act asked for
    enum dtype dst0; // format to write dst[0] in: F32, or DTYPE_A8 where kernel.writes_a8
    bool exact;      // the reference path: float32 activations
    void *scratch;
};

/// One way to run one operation on one kind of device. Kernels never allocate and never fail.
struct kernel {
    const char *name;
    enum op op;
    /// Whether it can run this node: types, shapes, `exact`.
    bool (*accepts)(const struct node *n, const struct dims *max, bool exact);
    enum dtype
        act; // format that src[0] must have: DTYPE_F32, or DTYPE_A8 (the plan adds the conversion)
    bool writes_a8; // can write dst[0] as DTYPE_A8 directly
    /// Working space in bytes for these bounds and threads; NULL: none. Asked by the plan alone.
    uint64_t (*scratch_bytes)(const struct node *n, const struct dims *max, int threads);
    /// dst[0] may be the very address of MATMUL's or EXPERT_SUM's residual, of a source of ADD or
    /// GLU, of the source of SCALE or SOFTCAP, where both are F32: an element of these is last read
    /// before the same place of dst[0] is written.
    void (*run)(const struct run_args *a, struct team *t);
};

/// One entry of the list that a device runs. `sync`: all that came before must be complete first.
struct launch {
    const struct kernel *kernel;
    struct run_args args;
    bool sync;
};

struct dev_mem {
    void *p; // the device's address
    uint64_t bytes;
};

struct dev_ops {
    void (*info)(struct dev *d, struct dev_info *out);
    /// Best kernel for a node, or NULL. `convert`: the kernel that turns F32 rows into `to`.
    const struct kernel *(*find)(struct dev *d, const struct node *n, const struct dims *max,
                                 bool exact);
    const struct kernel *(*convert)(struct dev *d, enum dtype to);
    bool (*alloc)(struct dev *d, uint64_t bytes, struct dev_mem *out,
                  struct err *e); // zeroed or poisoned, not defined
    void (*release)(struct dev *d, struct dev_mem *m);
    bool (*write)(struct dev *d, void *dst, const void *src, uint64_t bytes,
                  struct err *e); // host -> device
    /// Writes zeros, which stand for a hole in the file. NULL: they are copied like other weights.
    bool (*zero)(struct dev *d, void *dst, uint64_t bytes, struct err *e);
    bool (*read)(struct dev *d, void *dst, const void *src, uint64_t bytes,
                 struct err *e); // device -> host
    /// Runs a list in order. `step_done`, where set, is called between entries by tests' devices.
    bool (*run)(struct dev *d, const struct launch *l, int n, struct err *e);
    bool (*wait)(struct dev *d, struct err *e);
    void (*seal)(struct dev *d);
    void (*free)(struct dev *d);
};

struct dev {
    const struct dev_ops *ops;
};

struct cpu_opts {
    int threads; // 0: as many as there are cores this process may use
    bool pin;
    bool plan_only; // no threads are started, and nothing can be run
    const char *
        features; // SNUG_CPU: "c", "c,avx2", "c,avx2,avx512"; NULL: environment, else all there are
};
MUST_CHECK bool cpu_dev_new(struct dev **out, const struct cpu_opts *o, struct err *e);
const char *cpu_dev_features(struct dev *d); // "avx2 avx512" for show and bench
int cpu_dev_threads(struct dev *d);
int cpu_dev_cores(void);                 // that this process may use
void cpu_dev_model(char *out, size_t n); // "AMD EPYC 9654 96-Core Processor"
/// What info() is to say besides: speeds and, where they are not 0, capacity and free bytes.
void cpu_dev_describe(struct dev *d, const struct dev_info *as);

/// A device of given capacity that runs the CPU's kernels on memory of its own. Counts every byte;
/// memory is inaccessible outside kernels and copies; free and fresh memory is poisoned (NaN). It
/// takes as much of the host's memory as was written to it, zeros by `zero` not counted, so that
/// it may be larger than the host.
struct sim_opts {
    const char *name; // "sim0"
    uint64_t capacity_bytes;
    uint64_t granule_bytes;      // 0: 256; a power of two
    const struct dev_info *like; // NULL, or whose figures it reports: driver_bytes, speeds
    uint64_t taken_bytes;        // by others, of the capacity
    int fail_alloc;              // the n-th allocation fails (1 = first); 0: none does
    struct dev *cpu; // whose threads and kernels it uses; borrowed, may be shared by several
};
struct dev *sim_dev_new(const struct sim_opts *o);
struct sim_stats {
    uint64_t bytes_now, bytes_peak; // granules counted whole
    int allocs, allocs_after_seal;  // the latter are refused
    int frees;
};
void sim_dev_stats(const struct dev *d, struct sim_stats *out);

void dev_free(struct dev *d); // NULL is fine

#endif
