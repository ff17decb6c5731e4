// cpu.c - the CPU as a device: host memory, a pool of threads, tables of kernels.

#include "dev/cpu/cpu_int.h"
#include "dev/cpu/host.h"
#include "dev/cpu/pool.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { PAGE = 4096 };
#define MEMORY_NS                                                                                  \
    100000000 // what was read of the system's memory holds so long: a search asks often

struct cpu_dev {
    struct dev dev;
    unsigned features;
    int threads;
    bool sealed;
    struct cpu_fns fns;
    struct pool *pool;
    struct dev_info as; // what it was told to say
    struct host_memory memory;
    int64_t memory_at; // when it was read, 0: never
};

static struct cpu_dev *cpu_of(struct dev *d)
{
    return (struct cpu_dev *)(void *)d;
}

void cpu_fns_init(struct cpu_fns *f, unsigned features)
{
    memset(f, 0, sizeof *f);
    matmul_fns_init(&f->mm, features);
    vec_fns_init(&f->vec, features);
}

static struct host_memory memory_of(struct cpu_dev *c)
{
    int64_t now = clock_ns();

    if (c->memory_at == 0 || now - c->memory_at > MEMORY_NS) {
        c->memory = host_memory();
        c->memory_at = now;
    }
    return c->memory;
}

static void cpu_info(struct dev *d, struct dev_info *out)
{
    const struct host_memory m = memory_of(cpu_of(d));
    const struct dev_info *as = &cpu_of(d)->as;

    *out = (struct dev_info){
        .name = "cpu",
        .kind = DEV_KIND_CPU,
        .in_place = true,
        .capacity_bytes = as->capacity_bytes != 0 ? as->capacity_bytes : m.all_bytes,
        .free_bytes = as->free_bytes != 0 ? as->free_bytes : m.free_bytes,
        .granule_bytes = PAGE,
        .max_threads = cpu_of(d)->threads,
        .bytes_per_s = as->bytes_per_s,
        .ops_per_s = as->ops_per_s,
        .link_bytes_per_s = as->link_bytes_per_s,
        .step_ns = as->step_ns,
        .hop_ns = as->hop_ns,
        .speed_assumed = as->speed_assumed,
    };
}

static const struct kernel *find_in(const struct cpu_kernel *k, unsigned features,
                                    const struct node *n, const struct dims *max, bool exact)
{
    for (; k->kernel != NULL; k++)
        if (k->kernel->op == n->op && (k->needs & ~features) == 0 &&
            k->kernel->accepts(n, max, exact))
            return k->kernel;
    return NULL;
}

static const struct kernel *cpu_find(struct dev *d, const struct node *n, const struct dims *max,
                                     bool exact)
{
    unsigned features = cpu_of(d)->features;
    static const struct cpu_kernel *const tables[] = { cpu_matmul_kernels, cpu_vec_kernels,
                                                       cpu_expert_kernels };
    const struct kernel *k = NULL;

    for (size_t i = 0; i < ARRAY_LEN(tables) && k == NULL; i++)
        k = find_in(tables[i], features, n, max, exact);
    return k;
}

static const struct kernel *cpu_convert(struct dev *d, enum dtype to)
{
    (void)d;
    return to == DTYPE_A8 ? &cpu_convert_a8 : NULL;
}

/// Straight from the system: zeroed, aligned to a page, given back whole. Small pages: the first
/// token touches some kilobytes of each layer's keys and values, and huge ones would be cleared
/// whole for it.
static bool cpu_alloc(struct dev *d, uint64_t bytes, struct dev_mem *out, struct err *e)
{
    char shown[32];

    *out = (struct dev_mem){ 0 };
    if (cpu_of(d)->sealed)
        return err_set(e, ERR_DEVICE, "cpu: sealed, refuses %s", fmt_bytes(shown, bytes));
    if (bytes == 0)
        return true;
    bytes = align_up_u64(bytes, PAGE);
    void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED)
        return err_set(e, ERR_NOMEM, "cpu: the system has no %s", fmt_bytes(shown, bytes));
    *out = (struct dev_mem){ p, bytes };
    return true;
}

static void cpu_release(struct dev *d, struct dev_mem *m)
{
    (void)d;
    if (m->p != NULL)
        munmap(m->p, m->bytes);
    *m = (struct dev_mem){ 0 };
}

static bool cpu_copy(struct dev *d, void *dst, const void *src, uint64_t bytes, struct err *e)
{
    (void)d;
    (void)e;
    if (bytes != 0)
        memcpy(dst, src, bytes);
    return true;
}

static bool cpu_run(struct dev *d, const struct launch *l, int n, struct err *e)
{
    (void)e;
    ASSERT(cpu_of(d)->pool != NULL);
    pool_run(cpu_of(d)->pool, l, n);
    return true;
}

/// What runs is complete when run returns.
static bool cpu_wait(struct dev *d, struct err *e)
{
    (void)d;
    (void)e;
    return true;
}

static void cpu_seal(struct dev *d)
{
    cpu_of(d)->sealed = true;
}

static void cpu_free(struct dev *d)
{
    pool_free(cpu_of(d)->pool);
    free(d);
}

static const struct dev_ops cpu_ops = {
    .info = cpu_info,
    .find = cpu_find,
    .convert = cpu_convert,
    .alloc = cpu_alloc,
    .release = cpu_release,
    .write = cpu_copy,
    .read = cpu_copy,
    .run = cpu_run,
    .wait = cpu_wait,
    .seal = cpu_seal,
    .free = cpu_free,
};

bool cpu_dev_new(struct dev **out, const struct cpu_opts *o, struct err *e)
{
    struct cpu_dev *c = xcalloc(1, sizeof *c);

    *out = NULL;
    c->dev.ops = &cpu_ops;
    c->features = cpu_features(o->features);
    c->threads = o->threads > 0 ? o->threads : host_cores();
    cpu_fns_init(&c->fns, c->features);
    if (!o->plan_only && !pool_new(&c->pool, c->threads, o->pin, &c->fns, e)) {
        free(c);
        return err_add(e, "cpu");
    }
    *out = &c->dev;
    return true;
}

const char *cpu_dev_features(struct dev *d)
{
    unsigned f = cpu_of(d)->features;

    if ((f & CPU_AVX512) != 0)
        return "avx2 avx512";
    return (f & CPU_AVX2) != 0 ? "avx2" : "c";
}

int cpu_dev_threads(struct dev *d)
{
    return cpu_of(d)->threads;
}

int cpu_dev_cores(void)
{
    return host_cores();
}

void cpu_dev_model(char *out, size_t n)
{
    host_cpu_name(out, n);
}

void cpu_dev_describe(struct dev *d, const struct dev_info *as)
{
    cpu_of(d)->as = *as;
}

void dev_free(struct dev *d)
{
    if (d != NULL)
        d->ops->free(d);
}
