// host.c - cores and memory of this process. A container sees its own limits at the root of
// /sys/fs/cgroup (Linux Documentation/admin-guide/cgroup-v2.rst); outside of one those files are
// not there.

#include "dev/cpu/host.h"

#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct host_files files = {
    .meminfo = "/proc/meminfo",
    .cpu_max = "/sys/fs/cgroup/cpu.max",
    .memory_max = "/sys/fs/cgroup/memory.max",
    .memory_now = "/sys/fs/cgroup/memory.current",
    .stat = "/sys/fs/cgroup/memory.stat",
};

/// The number behind `name` at the start of a line ("" for the first line); false if there is none.
static bool number_in(const char *path, const char *name, uint64_t *out)
{
    FILE *f = fopen(path, "re");
    const size_t n = strlen(name);
    char line[256], *end = NULL;

    if (f == NULL)
        return false;
    while (end == NULL && fgets(line, sizeof line, f) != NULL)
        if (strncmp(line, name, n) == 0 && strspn(line + n, " \t0123456789") > 0) {
            *out = strtoull(line + n, &end, 10);
            end = end == line + n ? NULL : end;
        }
    fclose(f);
    return end != NULL;
}

/// Time in each period that may be used, in cores, rounded up.
static int cores_by_time(const char *path, int most)
{
    FILE *f = fopen(path, "re");
    double time, period;
    int cores = most;

    if (f == NULL)
        return most;
    if (fscanf(f, "%lf %lf", &time, &period) == 2 && time > 0 && period > 0 &&
        time / period < most) {
        cores = (int)(time / period);
        cores += (double)cores < time / period;
    }
    fclose(f);
    return cores;
}

int host_cores_by(const struct host_files *f, int affinity)
{
    return cores_by_time(f->cpu_max, affinity > 0 ? affinity : 1);
}

int host_cores(void)
{
    cpu_set_t set;
    const bool known = sched_getaffinity(0, sizeof set, &set) == 0;

    return host_cores_by(&files, known ? CPU_COUNT(&set) : 1);
}

struct host_memory host_memory_by(const struct host_files *f)
{
    struct host_memory m = { UINT64_MAX, UINT64_MAX };
    uint64_t all, free, now, cached;

    if (number_in(f->meminfo, "MemTotal:", &all) && number_in(f->meminfo, "MemAvailable:", &free))
        m = (struct host_memory){ all * 1024, free * 1024 };
    if (!number_in(f->memory_max, "", &all) || !number_in(f->memory_now, "", &now) ||
        all >= m.all_bytes)
        return m;
    if (!number_in(f->stat, "inactive_file ", &cached)) // is given back when asked for
        cached = 0;
    now -= cached < now ? cached : now;
    free = now < all ? all - now : 0;
    m.all_bytes = all;
    m.free_bytes = free < m.free_bytes ? free : m.free_bytes;
    return m;
}

struct host_memory host_memory(void)
{
    return host_memory_by(&files);
}

/// Adds what stands behind the colon of a line, in plain letters.
static void add_value(char *out, size_t n, const char *line)
{
    const char *p = strchr(line, ':');
    size_t at = strlen(out);

    if (p == NULL)
        return;
    p += 1 + strspn(p + 1, " \t");
    if (at > 0 && at + 1 < n)
        out[at++] = ' ';
    for (; *p != '\0' && *p != '\n' && at + 1 < n; p++)
        out[at++] = *p >= ' ' && *p <= '~' ? *p : '?';
    out[at] = '\0';
}

/// x86 has a name, others numbers for the maker and the part.
void host_cpu_name_in(const char *cpuinfo, char *out, size_t n)
{
    static const char *const lines[] = { "model name", "CPU implementer", "CPU part", "cpu\t" };
    FILE *file = fopen(cpuinfo, "re");
    char line[256];

    out[0] = '\0';
    while (file != NULL && fgets(line, sizeof line, file) != NULL && line[0] != '\n') // one core
        for (size_t i = 0; i < sizeof lines / sizeof lines[0]; i++)
            if (strncmp(line, lines[i], strlen(lines[i])) == 0)
                add_value(out, n, line);
    if (file != NULL)
        fclose(file);
    if (out[0] == '\0')
        snprintf(out, n, "unknown");
}

void host_cpu_name(char *out, size_t n)
{
    host_cpu_name_in("/proc/cpuinfo", out, n);
}
