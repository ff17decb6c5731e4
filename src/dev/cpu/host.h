// host.h - what the system grants this process: cores and memory. Private to dev/cpu.

#ifndef SNUG_CPU_HOST_H
#define SNUG_CPU_HOST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/// Cores that this process may run on, by its affinity and, in a container, by its share of time.
int host_cores(void);

/// The processor's name by the system, or "unknown".
void host_cpu_name(char *out, size_t n);
void host_cpu_name_in(const char *cpuinfo, char *out, size_t n); // /proc/cpuinfo

struct host_memory {
    uint64_t all_bytes, free_bytes; // of the machine or of the container; UINT64_MAX: unknown
};
struct host_memory host_memory(void);

/// The same with files of other names, for tests: a missing file says nothing.
struct host_files {
    const char *meminfo;                        // /proc/meminfo
    const char *cpu_max;                        // "MICROSECONDS|max PERIOD"
    const char *memory_max, *memory_now, *stat; // bytes; memory.stat
};
int host_cores_by(const struct host_files *f, int affinity);
struct host_memory host_memory_by(const struct host_files *f);

#endif
