// probe.c - snug probe: how fast this machine is, or what is known of others.

#include "run/probe.h"
#include "cli/cli.h"
#include "plan/profile.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

// Where the measurement had less of the cores, its figures are not the machine's.
#define SHARE_BUSY 0.85

/// The CPU's figures: kept ones, unless --again, or new ones, which are kept.
static bool probe_cpu(struct probe *p, const struct cli_args *a, struct dev *cpu, struct err *e)
{
    if (!a->again && probe_load(p, cpu))
        return true;
    if (!probe_measure(p, cpu, e))
        return false;
    struct err why = { 0 };
    if (!probe_save(p, &why))
        log_msg(LOG_WARN, "not kept: %s", why.msg);
    return true;
}

static void print_speeds(const struct dev_info *d)
{
    printf("  weights   %8.1f GB/s read by decoding\n", d->bytes_per_s / 1e9);
    printf("  prompts   %8.1f billion multiply-adds a second\n", d->ops_per_s / 1e9);
    printf("  link      %8.1f GB/s to and from the host\n", d->link_bytes_per_s / 1e9);
    printf("  a step    %8.1f us, a copy from another device %.1f us\n", (double)d->step_ns / 1e3,
           (double)d->hop_ns / 1e3);
}

static void print_device(const struct dev_info *d)
{
    char all[32], free_now[32], driver[32], granule[32];

    printf("%s\n", d->name);
    printf("  memory    %s, %s free", fmt_bytes(all, d->capacity_bytes),
           fmt_bytes(free_now, d->free_bytes));
    if (d->driver_bytes > 0)
        printf("; its driver takes %s", fmt_bytes(driver, d->driver_bytes));
    printf("; granule %s\n", fmt_bytes(granule, d->granule_bytes));
    print_speeds(d);
}

static void print_cpu(const struct probe *p)
{
    print_device(&p->info);
    printf("  %s, %d core%s, %d thread%s, %s\n", p->cpu, p->cores, p->cores == 1 ? "" : "s",
           p->threads, p->threads == 1 ? "" : "s", p->features);
    printf("  Q4_K %.1f GB/s, Q8_0 %.1f GB/s; memcpy reads and writes %.1f GB/s\n",
           p->q4_k_bytes_per_s / 1e9, p->q8_0_bytes_per_s / 1e9, p->copy_bytes_per_s / 1e9);
    if (p->cpu_share < SHARE_BUSY)
        printf("  others used the machine meanwhile (%.0f %% of its time was ours): 'snug probe "
               "--again' when it is quiet\n",
               100 * p->cpu_share);
}

static void print_json(json_t *list)
{
    json_t *all = json_object();
    char *text;

    json_object_set(all, "devices", list);
    text = json_dumps(all, JSON_INDENT(1) | JSON_PRESERVE_ORDER | JSON_REAL_PRECISION(6));
    if (text != NULL)
        puts(text);
    free(text);
    json_decref(all);
}

/// What the system says of the CPU, with the speeds that were measured.
static void put_together(struct probe *p, struct dev_info info)
{
    info.bytes_per_s = p->info.bytes_per_s;
    info.ops_per_s = p->info.ops_per_s;
    info.link_bytes_per_s = p->info.link_bytes_per_s;
    info.step_ns = p->info.step_ns;
    info.hop_ns = p->info.hop_ns;
    info.speed_assumed = false;
    p->info = info;
}

static bool probe_one(const struct cli_args *a, struct engine *en, struct dev *d, json_t *list,
                      struct err *e)
{
    struct dev_info info;
    struct probe p;

    d->ops->info(d, &info);
    if (d != en->cpu) {
        if (!a->json)
            print_device(&info);
        json_array_append_new(list, profile_to_json(&info));
        return true;
    }
    if (!probe_cpu(&p, a, d, e))
        return false;
    put_together(&p, info);
    if (!a->json)
        print_cpu(&p);
    json_array_append_new(list, probe_to_json(&p));
    return true;
}

int cmd_probe(struct cli_args *a)
{
    struct engine en = { 0 };
    struct err e = { 0 };

    a->eng.measure = true;
    a->eng.plan_only = true; // devices that are not here have figures, too
    bool ok = devices_open(&en, &a->eng, &e);
    json_t *list = json_array();
    for (int i = 0; i < en.n_devs && ok; i++)
        ok = probe_one(a, &en, en.dev[i], list, &e);
    if (ok && a->json)
        print_json(list);
    json_decref(list);
    engine_close(&en);
    return ok ? 0 : fail(a, &e);
}
