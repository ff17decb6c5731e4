// probe.h - how fast this machine is: measured with the kernels that models run on, and kept.
//
//   probe.c        measures: decoder blocks, planned like any model's, on the CPU
//   probe_cache.c  keeps the figures of a processor, a number of threads and a build in a file

#ifndef SNUG_PROBE_H
#define SNUG_PROBE_H

#include "dev/dev.h"

struct probe {
    struct dev_info info; // with its speeds
    char cpu[64];         // "AMD EPYC 9654 96-Core Processor"
    char features[32];
    int cores, threads;
    double copy_bytes_per_s;                   // of memcpy, read and written
    double q4_k_bytes_per_s, q8_0_bytes_per_s; // weights that decoding reads
    double cpu_share; // of its threads' time that the measurement had: 1 where nothing else ran
};

/// Takes some seconds and 400 MiB, more where caches are large. `cpu` must not be in use.
/// Errors: ERR_NOMEM.
MUST_CHECK bool probe_measure(struct probe *out, struct dev *cpu, struct err *e);
/// Bytes read and written per second by memcpy in `threads` threads: the best of a few.
double probe_copy(int threads);

/// Processor, threads and features; no speeds.
void probe_describe(struct probe *out, struct dev *cpu);
/// Speeds of a CPU that nobody measured: the same everywhere, so that plans are.
void probe_assume(struct dev_info *out, int threads);
/// What was measured for this processor, its threads and this build; false if nothing was.
bool probe_load(struct probe *out, struct dev *cpu);
/// Errors: ERR_IO names the file.
MUST_CHECK bool probe_save(const struct probe *p, struct err *e);
/// Where: $SNUG_CACHE_DIR/probe.json, else $XDG_CACHE_HOME/snug/..., else ~/.cache/snug/...;
/// NULL if the environment names no place. free() it.
char *probe_path(void);
/// One device of the report of `snug probe`, as an object of jansson's; the caller's reference.
struct json_t;
struct json_t *probe_to_json(const struct probe *p);

#endif
