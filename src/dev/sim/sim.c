// sim.c - a device of any size, simulated: memory of its own, the CPU's kernels and threads.
//
// Made to catch what a real device would punish later, or never:
//   - its memory is inaccessible but inside run, write and read; copies must lie within one
//   allocation
//   - every allocation ends at an inaccessible page (to the 64 bytes that slots are aligned to)
//   - fresh memory is filled with 0xff: NaN as a float of any width, -1 as an index
//   - every byte is counted in granules, any allocation can be made to fail, none is given after
//   seal

#include "dev/dev.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { SIM_GRANULE = 256, SIM_ALIGN = 64, POISON = 0xff };

/// map .. p is slack in front, p .. map + map_bytes is what was asked for, behind it one page that
/// nobody may touch.
struct sim_mem {
    uint8_t *map, *p;
    size_t map_bytes;
    uint64_t asked, counted;
    struct sim_mem *next;
};

struct sim_dev {
    struct dev dev;
    struct sim_opts o;
    char name[64];
    struct sim_mem *mem;
    struct sim_stats stats;
    int tries; // calls of alloc
    bool sealed;
};

static struct sim_dev *sim_of(struct dev *d)
{
    return (struct sim_dev *)(void *)d;
}

static size_t page_bytes(void)
{
    return (size_t)sysconf(_SC_PAGESIZE);
}

static void protect(const struct sim_mem *m, bool open)
{
    int rc = mprotect(m->map, m->map_bytes, open ? PROT_READ | PROT_WRITE : PROT_NONE);

    ASSERT(rc == 0);
}

static void sim_info(struct dev *d, struct dev_info *out)
{
    const struct sim_dev *s = sim_of(d);
    struct dev_info cpu;

    s->o.cpu->ops->info(s->o.cpu, &cpu);
    *out = (struct dev_info){
        .kind = cpu.kind,
        .capacity_bytes = s->o.capacity_bytes,
        .free_bytes = s->o.capacity_bytes - s->stats.bytes_now,
        .granule_bytes = s->o.granule_bytes,
        .max_threads = cpu.max_threads,
        .bytes_per_s = s->o.bytes_per_s,
    };
    memcpy(out->name, s->name, sizeof(out->name));
}

static const struct kernel *sim_find(struct dev *d, const struct node *n, const struct dims *max,
                                     bool exact)
{
    struct dev *cpu = sim_of(d)->o.cpu;

    return cpu->ops->find(cpu, n, max, exact);
}

static const struct kernel *sim_convert(struct dev *d, enum dtype to)
{
    struct dev *cpu = sim_of(d)->o.cpu;

    return cpu->ops->convert(cpu, to);
}

static bool map_memory(struct sim_mem *m)
{
    size_t page = page_bytes();

    m->map_bytes = align_up_u64(m->asked, page);
    m->map = mmap(NULL, m->map_bytes + page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
                  -1, 0);
    if (m->map == MAP_FAILED)
        return false;
    m->p = m->map + m->map_bytes - align_up_u64(m->asked, SIM_ALIGN);
    protect(m, true);
    memset(m->map, POISON, m->map_bytes);
    protect(m, false);
    return true;
}

static bool sim_alloc(struct dev *d, uint64_t bytes, struct dev_mem *out, struct err *e)
{
    struct sim_dev *s = sim_of(d);
    char need[32], have[32];
    uint64_t counted;

    *out = (struct dev_mem){ 0 };
    s->tries++;
    if (s->sealed) {
        s->stats.allocs_after_seal++;
        return err_set(e, ERR_DEVICE, "%s is sealed: no more memory", s->name);
    }
    if (bytes == 0)
        return true;
    if (!align_up_checked_u64(&counted, bytes, s->o.granule_bytes) ||
        counted > s->o.capacity_bytes - s->stats.bytes_now || s->tries == s->o.fail_alloc)
        return err_set(e, ERR_NOMEM, "%s: %s asked, %s free", s->name, fmt_bytes(need, bytes),
                       fmt_bytes(have, s->o.capacity_bytes - s->stats.bytes_now));
    struct sim_mem *m = xcalloc(1, sizeof(*m));
    m->asked = bytes;
    m->counted = counted;
    if (!map_memory(m)) {
        free(m);
        return err_set(e, ERR_NOMEM, "%s: the host has no %s", s->name, fmt_bytes(need, bytes));
    }
    m->next = s->mem;
    s->mem = m;
    s->stats.allocs++;
    s->stats.bytes_now += counted;
    if (s->stats.bytes_now > s->stats.bytes_peak)
        s->stats.bytes_peak = s->stats.bytes_now;
    *out = (struct dev_mem){ m->p, counted };
    return true;
}

static void sim_release(struct dev *d, struct dev_mem *mem)
{
    struct sim_dev *s = sim_of(d);
    struct sim_mem **at = &s->mem;

    if (mem->p == NULL)
        return;
    while (*at != NULL && (*at)->p != mem->p)
        at = &(*at)->next;
    struct sim_mem *m = *at;
    ASSERT(m != NULL); // it must be this device's own
    *at = m->next;
    munmap(m->map, m->map_bytes + page_bytes());
    s->stats.bytes_now -= m->counted;
    s->stats.frees++;
    free(m);
    *mem = (struct dev_mem){ 0 };
}

/// The allocation that holds all of [p, p + bytes), or NULL.
static const struct sim_mem *holder(const struct sim_dev *s, const void *p, uint64_t bytes)
{
    uintptr_t at = (uintptr_t)p;

    for (const struct sim_mem *m = s->mem; m != NULL; m = m->next) {
        uintptr_t start = (uintptr_t)m->p;
        if (at >= start && at - start <= m->asked && bytes <= m->asked - (at - start))
            return m;
    }
    return NULL;
}

static bool copy(struct sim_dev *s, void *dst, const void *src, const void *own, uint64_t bytes,
                 struct err *e)
{
    const struct sim_mem *m = holder(s, own, bytes);

    if (m == NULL)
        return err_set(e, ERR_DEVICE, "%s: copy of %llu bytes outside its memory", s->name,
                       (unsigned long long)bytes);
    if (bytes == 0)
        return true;
    protect(m, true);
    memcpy(dst, src, bytes);
    protect(m, false);
    return true;
}

static bool sim_write(struct dev *d, void *dst, const void *src, uint64_t bytes, struct err *e)
{
    return copy(sim_of(d), dst, src, dst, bytes, e);
}

static bool sim_read(struct dev *d, void *dst, const void *src, uint64_t bytes, struct err *e)
{
    return copy(sim_of(d), dst, src, src, bytes, e);
}

static bool sim_run(struct dev *d, const struct launch *l, int n, struct err *e)
{
    struct sim_dev *s = sim_of(d);
    struct dev *cpu = s->o.cpu;

    for (const struct sim_mem *m = s->mem; m != NULL; m = m->next)
        protect(m, true);
    bool ok = cpu->ops->run(cpu, l, n, e) && cpu->ops->wait(cpu, e);
    for (const struct sim_mem *m = s->mem; m != NULL; m = m->next)
        protect(m, false);
    return ok;
}

static bool sim_wait(struct dev *d, struct err *e)
{
    (void)d;
    (void)e;
    return true; // run returns when all is done
}

static void sim_seal(struct dev *d)
{
    sim_of(d)->sealed = true;
}

static void sim_free(struct dev *d)
{
    struct sim_dev *s = sim_of(d);

    ASSERT(s->mem == NULL); // whoever allocated must have released
    free(s);
}

static const struct dev_ops sim_ops = {
    .info = sim_info,
    .find = sim_find,
    .convert = sim_convert,
    .alloc = sim_alloc,
    .release = sim_release,
    .write = sim_write,
    .read = sim_read,
    .run = sim_run,
    .wait = sim_wait,
    .seal = sim_seal,
    .free = sim_free,
};

struct dev *sim_dev_new(const struct sim_opts *o)
{
    struct sim_dev *s = xcalloc(1, sizeof(*s));

    ASSERT(o->cpu != NULL && (o->granule_bytes & (o->granule_bytes - 1)) == 0);
    s->dev.ops = &sim_ops;
    s->o = *o;
    if (s->o.granule_bytes == 0)
        s->o.granule_bytes = SIM_GRANULE;
    snprintf(s->name, sizeof(s->name), "%s", o->name != NULL ? o->name : "sim");
    return &s->dev;
}

void sim_dev_stats(const struct dev *d, struct sim_stats *out)
{
    ASSERT(d->ops == &sim_ops);
    *out = ((const struct sim_dev *)(const void *)d)->stats;
}
