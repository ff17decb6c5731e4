// follow.c - an engine that executes a plan from a file, or says what differs.
//
// Flags that were not given are the file's; those that were must say the same.

#include "run/run_int.h"

#include <stdlib.h>

static bool flag_differs(struct err *e, const char *flag, int64_t file, int64_t here)
{
    return err_set(e, ERR_ARG, "%s: %lld in the plan, %lld asked", flag, (long long)file,
                   (long long)here);
}

/// Contexts are whole pages in plans.
static int64_t whole_pages(int64_t ctx)
{
    return (ctx + KV_PAGE_TOKENS - 1) / KV_PAGE_TOKENS * KV_PAGE_TOKENS;
}

static bool check_flags(const struct plan_file *f, const struct engine_opts *o, struct err *e)
{
    if (o->ctx > 0 && whole_pages(o->ctx) != f->context)
        return flag_differs(e, "--ctx", f->context, o->ctx);
    if (o->micro_batch > 0 && o->micro_batch != f->micro_batch)
        return flag_differs(e, "--micro-batch", f->micro_batch, o->micro_batch);
    if (o->slots > 0 && o->slots != f->slots)
        return flag_differs(e, "--slots", f->slots, o->slots);
    if (o->outputs > f->outputs)
        return flag_differs(e, "outputs", f->outputs, o->outputs);
    if (o->reserve_bytes > 0 && o->reserve_bytes != f->reserve)
        return flag_differs(e, "--reserve in bytes", (int64_t)f->reserve,
                            (int64_t)o->reserve_bytes);
    if (o->kv_set && o->kv != f->kv)
        return err_set(e, ERR_ARG, "--kv: %s in the plan, %s asked", dtype_info(f->kv)->name,
                       dtype_info(o->kv)->name);
    if (o->exact && !f->exact)
        return err_set(e, ERR_ARG, "--exact: the plan is not");
    if (o->no_vision && !f->no_vision)
        return err_set(e, ERR_ARG, "--no-vision: the plan has the tower");
    return true;
}

bool follow_read(struct plan_file **out, struct engine_opts *o, struct err *e)
{
    struct plan_file *f;

    if (!plan_file_read(out, o->plan_path, e))
        return false;
    f = *out;
    if (!check_flags(f, o, e))
        return err_add(e, "--plan");
    o->no_vision = f->no_vision;
    o->exact = f->exact;
    if (o->on == NULL && f->on[0] != '\0')
        o->on = f->on;
    for (int d = 0; d < f->n_devs && o->threads == 0; d++)
        o->threads = f->dev[d].threads;
    return true;
}

/// Everything of the file that says how many and which, before the plan is made again: devices are
/// indices in it.
static bool check_devices(const struct engine *en, const struct plan_file *f, struct err *e)
{
    if (f->n_devs != en->n_devs)
        return err_set(e, ERR_ARG, "devices: %d in the plan, %d here", f->n_devs, en->n_devs);
    return true;
}

bool follow_plan(struct engine *en, const struct plan_file *f, const struct engine_opts *o,
                 struct err *e)
{
    const struct plan_extra x = { .file = en->gguf,
                                  .no_vision = o->no_vision,
                                  .host_added = f->dev[f->n_devs - 1].host };
    struct assign a = { 0 };
    struct limits lim;

    plan_file_limits(f, &lim);
    bool ok = check_devices(en, f, e) && plan_file_assign(f, en->graph, &a, e) &&
              plan_make(&en->plan, en->graph, en->places, &a, &lim, en->dev, en->n_devs, e) &&
              plan_file_holds(f, en->plan, &x, e) && plan_fits(en->plan, e);
    free(a.dev);
    return ok || err_add(e, "--plan");
}
