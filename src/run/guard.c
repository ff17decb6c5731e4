// guard.c - the executor's strict form, for plans with guard bytes: one step at a time.
//
// When a temporary comes to life, it is filled with NaN and the bytes on both sides of it with a
// pattern; after every step the patterns of all that live are compared; when its life ends, it is
// filled with NaN again. So a kernel that writes past its result, reads what it never wrote, or a
// plan that ends a life too early shows in the very step.

#include "run/run_int.h"

#include <string.h>

enum { FILL_BYTES = 4096 };

static uint64_t guard_bytes(const struct inst *in)
{
    return align_up_u64(in->plan->lim.guard_bytes, 64);
}

static bool is_temporary(const struct value *v)
{
    return v->slot.arena == ARENA_SCRATCH || v->slot.arena == ARENA_HANDOVER;
}

/// The guard behind a slot begins at the next multiple of 64.
static uint8_t *behind(const struct inst *in, int v)
{
    return (uint8_t *)inst_address(in, v) + align_up_u64(in->plan->value[v].slot.bytes, 64);
}

static bool fill_nan(struct inst *in, int v, struct err *e)
{
    const struct slot *s = &in->plan->value[v].slot;
    struct dev *d = in->devs[s->dev];
    uint8_t *at = inst_address(in, v), nan[FILL_BYTES];

    memset(nan, 0xff, sizeof(nan));
    for (uint64_t i = 0; i < s->bytes; i += FILL_BYTES) {
        uint64_t n = s->bytes - i < FILL_BYTES ? s->bytes - i : FILL_BYTES;
        if (!d->ops->write(d, at + i, nan, n, e))
            return false;
    }
    return true;
}

/// A value that takes over another's slot brings no bytes of its own.
static bool begin_lives(struct inst *in, int step, struct err *e)
{
    uint64_t g = guard_bytes(in);

    for (int v = 0; v < in->plan->n_values; v++) {
        const struct value *x = &in->plan->value[v];
        struct dev *d = in->devs[x->slot.dev];
        if (!is_temporary(x) || x->first_step != step || x->alias >= 0)
            continue;
        if (!fill_nan(in, v, e) ||
            !d->ops->write(d, (uint8_t *)inst_address(in, v) - g, in->guard_text, g, e) ||
            !d->ops->write(d, behind(in, v), in->guard_text, g, e))
            return false;
    }
    return true;
}

static bool is_taken_over(const struct plan *p, int v)
{
    for (int i = v + 1; i < p->n_values; i++)
        if (p->value[i].alias == v)
            return true;
    return false;
}

static bool end_lives(struct inst *in, int step, struct err *e)
{
    for (int v = 0; v < in->plan->n_values; v++) {
        const struct value *x = &in->plan->value[v];
        if (is_temporary(x) && x->last_step == step && !is_taken_over(in->plan, v) &&
            !fill_nan(in, v, e))
            return false;
    }
    return true;
}

static bool intact(struct inst *in, int v, const uint8_t *at, const char *side, int step,
                   struct err *e)
{
    const struct value *x = &in->plan->value[v];
    struct dev *d = in->devs[x->slot.dev];
    uint8_t now[256];
    uint64_t g = guard_bytes(in);

    for (uint64_t i = 0; i < g; i += sizeof(now)) {
        uint64_t n = g - i < sizeof(now) ? g - i : sizeof(now);
        if (!d->ops->read(d, now, at + i, n, e))
            return false;
        if (memcmp(now, in->guard_text, n) != 0) {
            const struct step *s = &in->plan->step[step];
            return err_set(e, ERR_DEVICE, "step %d (%s) wrote %s of value %d (%s)", step,
                           s->kernel != NULL ? s->kernel->name : "copy", side, v,
                           x->t != NULL ? x->t->name : "working space");
        }
    }
    return true;
}

static bool check_guards(struct inst *in, int step, struct err *e)
{
    for (int v = 0; v < in->plan->n_values; v++) {
        const struct value *x = &in->plan->value[v];
        if (!is_temporary(x) || step < x->first_step || step > x->last_step)
            continue;
        const uint8_t *front = (const uint8_t *)inst_address(in, v) - guard_bytes(in);
        if (!intact(in, v, front, "in front", step, e) ||
            !intact(in, v, behind(in, v), "behind the end", step, e))
            return false;
    }
    return true;
}

bool guard_run(struct inst *in, const struct program *pr, struct err *e)
{
    for (int i = 0; i < in->plan->n_steps; i++) {
        const struct step *s = &in->plan->step[i];
        struct dev *d = in->devs[s->dev];
        if (!begin_lives(in, i, e))
            return false;
        if (pr->kept[i]) {
            bool ok = s->kernel == NULL ? exec_copy(in, s, e)
                                        : d->ops->run(d, &pr->launch[pr->launch_of[i]], 1, e) &&
                                              d->ops->wait(d, e);
            if (!ok || !check_guards(in, i, e))
                return false;
        }
        if (!end_lives(in, i, e))
            return false;
    }
    return true;
}
