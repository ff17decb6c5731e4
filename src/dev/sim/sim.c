// sim.c - a device of any size, simulated: memory of its own, the CPU's kernels and threads.
//
// Made to catch what a real device would punish later, or never:
//   - its memory is inaccessible but inside run, write and read; copies must lie within one
//   allocation
//   - every allocation ends at an inaccessible page (to the 64 bytes that slots are aligned to)
//   - fresh memory is full of 0xff: NaN as a float of any width, -1 as an index
//   - every byte is counted in granules, any allocation can be made to fail, none is given after
//   seal
//
// Fresh memory is a view of one small file, again and again: pages become the device's own where
// they are written. So it takes what is used of it from the host, and a plan for 80 GiB can be
// loaded on a machine that has 8.

#include "dev/dev.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum {
    SIM_GRANULE = 256,
    SIM_ALIGN = 64,
    POISON = 0xff,
    // Of the file, at most. A process may have 65 530 mappings: 1 TiB of simulated memory.
    POISON_BYTES = 16 << 20,
};

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
    struct dev_info like; // zero where none was given
    enum dev_kind kind;   // of the CPU that does its work, as its threads
    int threads;
    char name[64];
    struct sim_mem *mem;
    struct sim_stats stats;
    int poison_fd; // -1: not made yet
    size_t poison_bytes;
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

/// Opens or closes the pages that hold [p, p + bytes).
static void protect(const void *p, uint64_t bytes, bool open)
{
    uintptr_t start = (uintptr_t)p / page_bytes() * page_bytes();
    uintptr_t end = align_up_u64((uintptr_t)p + bytes, page_bytes());
    int rc = mprotect((void *)start, end - start, open ? PROT_READ | PROT_WRITE : PROT_NONE);

    ASSERT(rc == 0);
}

static void protect_all(const struct sim_dev *s, bool open)
{
    for (const struct sim_mem *m = s->mem; m != NULL; m = m->next)
        protect(m->map, m->map_bytes, open);
}

static void sim_info(struct dev *d, struct dev_info *out)
{
    const struct sim_dev *s = sim_of(d);

    *out = (struct dev_info){
        .kind = s->kind,
        .capacity_bytes = s->o.capacity_bytes,
        .free_bytes = s->o.capacity_bytes - s->o.taken_bytes - s->stats.bytes_now,
        .granule_bytes = s->o.granule_bytes,
        .max_threads = s->threads,
    };
    memcpy(out->name, s->name, sizeof(out->name));
    out->driver_bytes = s->like.driver_bytes;
    out->bytes_per_s = s->like.bytes_per_s;
    out->ops_per_s = s->like.ops_per_s;
    out->link_bytes_per_s = s->like.link_bytes_per_s;
    out->step_ns = s->like.step_ns;
    out->hop_ns = s->like.hop_ns;
    out->speed_assumed = s->like.speed_assumed;
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

/// The file of poison is as long as the longest allocation needs, up to POISON_BYTES.
static bool make_poison(struct sim_dev *s, size_t bytes)
{
    uint8_t text[4096];

    memset(text, POISON, sizeof(text));
    if (s->poison_fd < 0)
        s->poison_fd = memfd_create("poison", MFD_CLOEXEC);
    while (s->poison_bytes < bytes && s->poison_bytes < POISON_BYTES) {
        ssize_t n = pwrite(s->poison_fd, text, sizeof(text), (off_t)s->poison_bytes);
        if (n <= 0)
            return false;
        s->poison_bytes += (size_t)n;
    }
    return true;
}

static bool map_memory(struct sim_dev *s, struct sim_mem *m)
{
    size_t page = page_bytes();
    bool ok = true;

    m->map_bytes = align_up_u64(m->asked, page);
    if (!make_poison(s, m->map_bytes))
        return false;
    m->map = mmap(NULL, m->map_bytes + page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
                  -1, 0);
    if (m->map == MAP_FAILED)
        return false;
    for (size_t at = 0; at < m->map_bytes && ok; at += POISON_BYTES) {
        size_t n = m->map_bytes - at < POISON_BYTES ? m->map_bytes - at : POISON_BYTES;
        ok = mmap(m->map + at, n, PROT_NONE, MAP_PRIVATE | MAP_FIXED | MAP_NORESERVE, s->poison_fd,
                  0) != MAP_FAILED;
    }
    if (!ok)
        munmap(m->map, m->map_bytes + page);
    m->p = m->map + m->map_bytes - align_up_u64(m->asked, SIM_ALIGN);
    return ok;
}

/// What is left for arenas. A device that is used has its driver's bytes taken from the start.
static uint64_t room(const struct sim_dev *s)
{
    uint64_t taken = s->o.taken_bytes + s->like.driver_bytes + s->stats.bytes_now;

    return taken < s->o.capacity_bytes ? s->o.capacity_bytes - taken : 0;
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
    if (!align_up_checked_u64(&counted, bytes, s->o.granule_bytes) || counted > room(s) ||
        s->tries == s->o.fail_alloc)
        return err_set(e, ERR_NOMEM, "%s: %s asked, %s free", s->name, fmt_bytes(need, bytes),
                       fmt_bytes(have, room(s)));
    struct sim_mem *m = xcalloc(1, sizeof(*m));
    m->asked = bytes;
    m->counted = counted;
    if (!map_memory(s, m)) {
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

static bool check_own(const struct sim_dev *s, const void *own, uint64_t bytes, struct err *e)
{
    return holder(s, own, bytes) != NULL ||
           err_set(e, ERR_DEVICE, "%s: copy of %llu bytes outside its memory", s->name,
                   (unsigned long long)bytes);
}

static bool copy(struct sim_dev *s, void *dst, const void *src, const void *own, uint64_t bytes,
                 struct err *e)
{
    if (!check_own(s, own, bytes, e))
        return false;
    if (bytes == 0)
        return true;
    protect(own, bytes, true);
    memcpy(dst, src, bytes);
    protect(own, bytes, false);
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

/// Whole pages become fresh ones of the system's, which are zero and take nothing until written.
static bool sim_zero(struct dev *d, void *dst, uint64_t bytes, struct err *e)
{
    uint8_t *p = dst;

    if (!check_own(sim_of(d), p, bytes, e))
        return false;
    if (bytes == 0)
        return true;
    uint64_t front = align_up_u64((uintptr_t)p, page_bytes()) - (uintptr_t)p;
    uint64_t back = ((uintptr_t)p + bytes) % page_bytes();
    if (bytes <= front + back) {
        front = bytes;
        back = 0;
    }
    protect(p, bytes, true);
    memset(p, 0, front);
    memset(p + bytes - back, 0, back);
    protect(p, bytes, false);
    if (front + back < bytes &&
        mmap(p + front, bytes - front - back, PROT_NONE,
             MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_NORESERVE, -1, 0) == MAP_FAILED)
        return err_set(e, ERR_NOMEM, "%s: the host cannot map zeros", sim_of(d)->name);
    return true;
}

static bool sim_run(struct dev *d, const struct launch *l, int n, struct err *e)
{
    struct sim_dev *s = sim_of(d);
    struct dev *cpu = s->o.cpu;

    protect_all(s, true);
    bool ok = cpu->ops->run(cpu, l, n, e) && cpu->ops->wait(cpu, e);
    protect_all(s, false);
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
    if (s->poison_fd >= 0)
        close(s->poison_fd);
    free(s);
}

static const struct dev_ops sim_ops = {
    .info = sim_info,
    .find = sim_find,
    .convert = sim_convert,
    .alloc = sim_alloc,
    .release = sim_release,
    .write = sim_write,
    .zero = sim_zero,
    .read = sim_read,
    .run = sim_run,
    .wait = sim_wait,
    .seal = sim_seal,
    .free = sim_free,
};

struct dev *sim_dev_new(const struct sim_opts *o)
{
    struct sim_dev *s = xcalloc(1, sizeof(*s));
    struct dev_info cpu;

    ASSERT(o->cpu != NULL && (o->granule_bytes & (o->granule_bytes - 1)) == 0);
    s->dev.ops = &sim_ops;
    s->poison_fd = -1;
    s->o = *o;
    if (s->o.granule_bytes == 0)
        s->o.granule_bytes = SIM_GRANULE;
    if (o->like != NULL)
        s->like = *o->like;
    s->o.like = NULL;
    o->cpu->ops->info(o->cpu, &cpu);
    s->kind = cpu.kind;
    s->threads = cpu.max_threads;
    ASSERT(s->like.driver_bytes <= s->o.capacity_bytes && s->o.taken_bytes <= s->o.capacity_bytes);
    snprintf(s->name, sizeof(s->name), "%s", o->name != NULL ? o->name : "sim");
    return &s->dev;
}

void sim_dev_stats(const struct dev *d, struct sim_stats *out)
{
    ASSERT(d->ops == &sim_ops);
    *out = ((const struct sim_dev *)(const void *)d)->stats;
}
