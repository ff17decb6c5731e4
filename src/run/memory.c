// memory.c - what a load took, line by line, beside what was planned.
//
// Reserved is what the device says it gave; the high-water mark is how far weights were written and
// launches reach, by the addresses that really stand in them.

#include "run/run_int.h"

#include <inttypes.h>
#include <string.h>

/// `p` is where a value's bytes are about to be.
static void touch(struct inst *in, int value, const void *p)
{
    const struct slot *s = &in->plan->value[value].slot;
    bool guarded = s->arena == ARENA_SCRATCH || s->arena == ARENA_HANDOVER;
    uint64_t *high = &in->high[s->dev][s->arena];

    if (s->mapped)
        return;
    uint64_t at = (uint64_t)((const uint8_t *)p - (const uint8_t *)in->mem[s->dev][s->arena].p);
    uint64_t end = at + align_up_u64(s->bytes, 64);
    if (guarded)
        end += align_up_u64(in->plan->lim.guard_bytes, 64);
    *high = end > *high ? end : *high;
}

static void touch_launch(struct inst *in, const struct step *s, const struct run_args *a)
{
    for (int i = 0; i < NODE_SRC; i++)
        if (s->src[i] >= 0)
            touch(in, s->src[i], a->src[i]);
    for (int i = 0; i < NODE_DST; i++)
        if (s->dst[i] >= 0)
            touch(in, s->dst[i], a->dst[i]);
    if (s->scratch >= 0)
        touch(in, s->scratch, a->scratch);
}

static void find_high_water(struct inst *in)
{
    const struct plan *p = in->plan;

    for (int i = 0; i < p->n_values; i++)
        if (p->value[i].t != NULL && p->value[i].t->role == ROLE_WEIGHT)
            touch(in, i, inst_address(in, i)); // where load.c has written it
    for (int i = 0; i < p->n_steps; i++) {
        const struct step *s = &p->step[i];
        if (s->kernel != NULL) {
            touch_launch(in, s, &in->full.launch[in->full.launch_of[i]].args);
            continue;
        }
        touch(in, s->src[0], inst_address(in, s->src[0]));
        touch(in, s->dst[0], inst_address(in, s->dst[0]));
    }
}

struct memory_line inst_memory(const struct inst *in, int dev, enum arena_kind arena)
{
    return (struct memory_line){ in->plan->dev[dev].arena_bytes[arena], in->mem[dev][arena].bytes,
                                 in->high[dev][arena] };
}

bool memory_compare(struct inst *in, struct err *e)
{
    find_high_water(in);
    for (int d = 0; d < in->plan->n_devs; d++)
        for (int a = 0; a < ARENA_COUNT; a++) {
            struct memory_line m = inst_memory(in, d, (enum arena_kind)a);
            uint64_t granules = align_up_u64(m.planned, in->plan->dev[d].info.granule_bytes);
            if (m.reserved != granules || m.high_water != m.planned)
                return err_set(e, ERR_DEVICE,
                               "%s, %s: %" PRIu64 " bytes planned, %" PRIu64
                               " in whole granules; %" PRIu64 " allocated, used up to %" PRIu64,
                               in->plan->dev[d].info.name, arena_kind_name((enum arena_kind)a),
                               m.planned, granules, m.reserved, m.high_water);
        }
    return true;
}

static bool line_json(const struct memory_line *m, struct buf *out)
{
    return buf_printf(out,
                      "\"planned_bytes\": %" PRIu64 ", \"reserved_bytes\": %" PRIu64
                      ", \"high_water_bytes\": %" PRIu64,
                      m->planned, m->reserved, m->high_water);
}

/// Planned with its rounding, so that planned is reserved.
static bool device_json(const struct inst *in, int d, struct buf *out)
{
    const struct plan_dev *p = &in->plan->dev[d];
    struct memory_line all = { p->total_bytes, inst_device_bytes(in, d), p->rounding_bytes };
    bool ok = buf_addz(out, d > 0 ? ",\n    {\"name\": " : "\n    {\"name\": ") &&
              buf_json_text(out, p->info.name, strlen(p->info.name)),
         any = false;

    for (int a = 0; a < ARENA_COUNT; a++)
        all.high_water += in->high[d][a];
    ok = ok && buf_addz(out, ", ") && line_json(&all, out) &&
         buf_printf(
             out, ", \"rounding_bytes\": %" PRIu64 ", \"mapped_bytes\": %" PRIu64 ", \"arenas\": [",
             p->rounding_bytes, p->mapped_bytes);
    for (int a = 0; a < ARENA_COUNT && ok; a++) {
        struct memory_line m = inst_memory(in, d, (enum arena_kind)a);
        if (m.planned == 0)
            continue;
        ok = buf_printf(out, "%s{\"arena\": \"%s\", ", any ? ", " : "",
                        arena_kind_name((enum arena_kind)a)) &&
             line_json(&m, out) && buf_addz(out, "}");
        any = true;
    }
    return ok && buf_addz(out, "]}");
}

bool inst_memory_json(const struct inst *in, struct buf *out)
{
    uint64_t staging = in->plan->host_staging_bytes;
    bool ok = buf_addz(out, "{\"devices\": [");

    for (int d = 0; d < in->plan->n_devs && ok; d++)
        ok = device_json(in, d, out);
    return ok && buf_printf(out, "],\n  \"host\": {\"staging_bytes\": %" PRIu64 "}}", staging);
}
