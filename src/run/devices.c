// devices.c - the devices that --on asks for: the CPU, and simulated ones of given sizes or with
// the figures of a profile.

#include "plan/profile.h"
#include "run/probe.h"
#include "run/run.h"

#include <stdlib.h>
#include <string.h>

enum { MAX_DEVICES = 64 };

/// What was asked for, in order; the one with `in_place` is the CPU.
struct wanted {
    struct dev_info info[MAX_DEVICES];
    int n, n_sizes; // of them, simulated by size alone
};

// --- --on ----------------------------------------------------------------------------------------

static bool bad_item(const char *p, size_t n, struct err *e)
{
    char text[64];

    err_set(e, ERR_ARG, "\"%s\"", err_bytes(text, sizeof(text), p, n));
    return false;
}

static bool is_sim(const char *p, size_t n)
{
    return n >= 4 && memcmp(p, "sim:", 4) == 0;
}

/// "512" -> 512 MiB
static bool parse_mib(const char *p, size_t n, uint64_t *bytes)
{
    uint64_t mib = 0;

    if (n < 1 || n > 8)
        return false;
    for (size_t i = 0; i < n; i++) {
        if (p[i] < '0' || p[i] > '9')
            return false;
        mib = mib * 10 + (uint64_t)(p[i] - '0');
    }
    *bytes = mib << 20;
    return true;
}

/// "512", or "3060MiB", as 3060 alone is a card.
static bool parse_size(const char *p, size_t n, uint64_t *bytes)
{
    if (n > 3 && memcmp(p + n - 3, "MiB", 3) == 0)
        n -= 3;
    return parse_mib(p, n, bytes) && *bytes > 0;
}

static bool add_cpu(struct wanted *w, const char *p, size_t n, struct err *e)
{
    for (int i = 0; i < w->n; i++)
        if (w->info[i].in_place)
            return bad_item(p, n, e);
    w->info[w->n++] = (struct dev_info){ .name = "cpu", .in_place = true };
    return true;
}

/// A simulated device of a size alone is as fast as the CPU that runs its kernels.
static void add_size(struct wanted *w, uint64_t bytes, const struct dev_info *cpu)
{
    struct dev_info *d = &w->info[w->n++];

    *d = *cpu;
    d->in_place = false;
    d->capacity_bytes = d->free_bytes = bytes;
    d->granule_bytes = 0; // the simulation's own
    d->driver_bytes = 0;
    snprintf(d->name, sizeof(d->name), "sim%d", w->n_sizes++);
}

/// Devices with a profile's or a file's figures. Those that are the host's processor keep its name.
static bool add_described(struct wanted *w, const char *p, size_t n, struct err *e)
{
    int first = w->n, cpus = 0;

    if (!profile_devices(w->info, &w->n, MAX_DEVICES, p, n, e))
        return false;
    for (int i = 0; i < w->n; i++) {
        cpus += w->info[i].in_place;
        if (i >= first && w->info[i].in_place)
            snprintf(w->info[i].name, sizeof(w->info[i].name), "cpu");
    }
    return cpus <= 1 || err_set(e, ERR_ARG, "there is one host with one processor, not %d", cpus);
}

static bool add_item(struct wanted *w, const char *p, size_t n, const struct dev_info *cpu,
                     struct err *e)
{
    bool sim = is_sim(p, n);
    uint64_t bytes;

    if (w->n == MAX_DEVICES)
        return err_set(e, ERR_ARG, "more than %d devices", MAX_DEVICES);
    if (n == 3 && memcmp(p, "cpu", 3) == 0)
        return add_cpu(w, p, n, e);
    if (sim && profile_find(p + 4, n - 4) == NULL && parse_size(p + 4, n - 4, &bytes)) {
        add_size(w, bytes, cpu);
        return true;
    }
    return add_described(w, sim ? p + 4 : p, sim ? n - 4 : n, e);
}

/// What is no device of this machine, and is not simulated, can only be planned for.
static bool check_here(const char *p, size_t n, bool plan_only, struct err *e)
{
    char text[64];

    if (plan_only || is_sim(p, n) || (n == 3 && memcmp(p, "cpu", 3) == 0))
        return true;
    err_bytes(text, sizeof(text), p, n);
    return err_set(e, ERR_ARG,
                   "--on %s: there is no such GPU here; --on sim:%s executes on a simulated one, "
                   "'snug plan' plans for it",
                   text, text);
}

static bool parse_on(struct wanted *w, const char *p, const struct dev_info *cpu, bool plan_only,
                     struct err *e)
{
    for (;; p++) {
        size_t n = strcspn(p, ",");
        if (!add_item(w, p, n, cpu, e)) {
            if (e != NULL && e->code == ERR_ARG)
                err_add(e, "--on takes a comma list of cpu (once), sim:SIZE_MIB, sim:PROFILE[xN] "
                           "and, for plans, PROFILE[xN] and FILE.json");
            return false;
        }
        if (!check_here(p, n, plan_only, e))
            return false;
        p += n;
        if (*p == '\0')
            return true;
    }
}

// --- --free --------------------------------------------------------------------------------------

static bool parse_free(struct wanted *w, const char *p, struct err *e)
{
    char text[64], all[32];
    uint64_t bytes;

    for (int i = 0;; i++, p++) {
        size_t n = strcspn(p, ",");
        err_bytes(text, sizeof(text), p, n);
        if (i == w->n)
            return err_set(e, ERR_ARG, "--free has more numbers than there are devices (%d)", w->n);
        if (!parse_mib(p, n, &bytes))
            return err_set(e, ERR_ARG,
                           "--free takes a comma list of MiB, one for each device; \"%s\" is none",
                           text);
        if (bytes > w->info[i].capacity_bytes && w->info[i].capacity_bytes != 0)
            return err_set(e, ERR_ARG, "--free %s: %s has %s in all", text, w->info[i].name,
                           fmt_bytes(all, w->info[i].capacity_bytes));
        w->info[i].free_bytes = bytes;
        p += n;
        if (*p == '\0')
            return true;
    }
}

// --- devices -------------------------------------------------------------------------------------

/// Speeds as measured, or assumed.
static void describe_cpu(struct dev *cpu, bool use_probe)
{
    struct dev_info info = { 0 };
    struct probe p;

    probe_assume(&info, cpu_dev_threads(cpu));
    if (use_probe && probe_load(&p, cpu))
        info = p.info;
    info.capacity_bytes = info.free_bytes = 0; // as the system says now
    cpu_dev_describe(cpu, &info);
}

/// What a list or a file says of the CPU, over what is known of it.
static void describe_cpu_as(struct dev *cpu, const struct dev_info *as)
{
    struct dev_info info;

    cpu->ops->info(cpu, &info);
    if (as->bytes_per_s > 0)
        info = *as;
    info.capacity_bytes = as->capacity_bytes;
    info.free_bytes = as->free_bytes;
    cpu_dev_describe(cpu, &info);
}

static struct dev *open_sim(const struct dev_info *as, struct dev *cpu)
{
    return sim_dev_new(&(struct sim_opts){ .name = as->name,
                                           .capacity_bytes = as->capacity_bytes,
                                           .granule_bytes = as->granule_bytes,
                                           .like = as,
                                           .taken_bytes = as->capacity_bytes - as->free_bytes,
                                           .cpu = cpu });
}

bool devices_open(struct engine *en, const struct engine_opts *o, struct err *e)
{
    const char *probe = getenv("SNUG_PROBE");
    struct wanted *w;
    struct dev_info cpu;

    if (!cpu_dev_new(&en->cpu,
                     &(struct cpu_opts){ .threads = o->threads,
                                         .pin = o->pin,
                                         .plan_only = o->plan_only && !o->measure },
                     e))
        return false;
    describe_cpu(en->cpu, o->use_probe && (probe == NULL || strcmp(probe, "off") != 0));
    en->cpu->ops->info(en->cpu, &cpu);
    w = xcalloc(1, sizeof(*w));
    bool ok = parse_on(w, o->on != NULL ? o->on : "cpu", &cpu, o->plan_only, e) &&
              (o->free_mib == NULL || parse_free(w, o->free_mib, e));
    en->dev = xcalloc(MAX_DEVICES, sizeof(struct dev *));
    for (int i = 0; i < w->n && ok; i++) {
        if (w->info[i].in_place)
            describe_cpu_as(en->cpu, &w->info[i]);
        en->dev[en->n_devs++] = w->info[i].in_place ? en->cpu : open_sim(&w->info[i], en->cpu);
    }
    free(w);
    return ok;
}
