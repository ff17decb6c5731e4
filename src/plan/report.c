// report.c - the plan for people and for programs.

#include "plan/plan_int.h"

#include <inttypes.h>
#include <string.h>

enum { BAR_CELLS = 60 };

// --- for people
// -----------------------------------------------------------------------------------

static bool line(struct buf *out, const char *name, uint64_t bytes, const char *remark)
{
    char exact[32], round[32];

    return buf_printf(out, "  %-10s %18s  %12s%s%s\n", name, fmt_count(exact, bytes),
                      fmt_bytes(round, bytes), remark[0] != '\0' ? "   " : "", remark);
}

static uint64_t weight_bytes(const struct plan *p, int part)
{
    uint64_t sum = 0;

    for (int i = 0; i < graph_n_tensors(p->graph); i++) {
        const struct tensor *t = graph_tensor(p->graph, i);
        if (t->role == ROLE_WEIGHT && t->part == part)
            sum += tensor_bytes(t, &p->max);
    }
    return sum;
}

static void parts_text(char *out, size_t n, const struct plan *p, int d)
{
    int first = -1, last = -1;
    size_t at = 0;
    char size[32];

    out[0] = '\0';
    for (int i = 1; i < p->n_parts; i++) {
        const struct part *part = graph_part(p->graph, i);
        if (p->part_dev[i] != d)
            continue;
        if (part->kind == PART_BLOCK) {
            first = first < 0 ? part->il : first;
            last = part->il;
            continue;
        }
        if (part->kind == PART_EMBED && at < n)
            at += (size_t)snprintf(out + at, n - at, "embedding, ");
        if (part->kind == PART_VISION && at < n) // it cannot run yet: say what it takes
            at += (size_t)snprintf(out + at, n - at, "vision tower (%s), ",
                                   fmt_bytes(size, weight_bytes(p, i)));
    }
    if (first >= 0 && at < n)
        at += (size_t)snprintf(out + at, n - at, "blocks %d-%d, ", first, last);
    for (int i = 1; i < p->n_parts; i++)
        if (p->part_dev[i] == d && graph_part(p->graph, i)->kind == PART_HEAD && at < n)
            at += (size_t)snprintf(out + at, n - at, "head, ");
    if (at >= 2 && at <= n)
        out[at - 2] = '\0';
}

/// To scale of the device's capacity; of all that is used where there is no limit, or where most of
/// it is the file.
static bool bar(struct buf *out, const struct plan_dev *d)
{
    static const char *const cell[ARENA_COUNT] = { "█", "▓", "▒", "░", "░" };
    uint64_t all = d->total_bytes + d->mapped_bytes, sum = 0;
    int drawn = 0;

    if (d->info.capacity_bytes != UINT64_MAX && !d->info.in_place)
        all = d->info.capacity_bytes;
    if (all == 0)
        return true;
    bool ok = buf_addz(out, "  |");
    for (int a = 0; a < ARENA_COUNT; a++) {
        sum += d->arena_bytes[a] + (a == ARENA_WEIGHTS ? d->mapped_bytes : 0);
        int upto = (int)((double)sum / (double)all * BAR_CELLS + 0.5);
        for (; drawn < upto && drawn < BAR_CELLS; drawn++)
            ok = ok && buf_addz(out, cell[a]);
    }
    for (; drawn < BAR_CELLS; drawn++)
        ok = ok && buf_addz(out, " ");
    return ok && buf_addz(out, "|  █ weights ▓ kv ▒ scratch ░ input, handover\n");
}

static bool device_table(const struct plan *p, int i, struct buf *out)
{
    const struct plan_dev *d = &p->dev[i];
    char text[160], size[32];

    if (!d->used)
        return buf_printf(out, "%s: not used\n\n", d->info.name);
    parts_text(text, sizeof(text), p, i);
    bool ok = buf_printf(out, "%s: %s\n", d->info.name, text) && bar(out, d);
    for (int a = 0; a < ARENA_COUNT; a++) {
        text[0] = '\0';
        if (a == ARENA_SCRATCH && d->arena_bytes[a] == d->scratch_bound)
            snprintf(text, sizeof(text), "= peak of live bytes, no packing is smaller");
        else if (a == ARENA_SCRATCH)
            snprintf(text, sizeof(text), "%s above the peak of live bytes",
                     fmt_bytes(size, d->arena_bytes[a] - d->scratch_bound));
        ok = ok && line(out, arena_kind_name((enum arena_kind)a), d->arena_bytes[a], text);
    }
    snprintf(text, sizeof(text), "granule of %s", fmt_bytes(size, d->info.granule_bytes));
    ok = ok && line(out, "rounding", d->rounding_bytes, text) &&
         line(out, "total", d->total_bytes, "");
    if (d->mapped_bytes > 0)
        ok = ok && line(out, "mapped", d->mapped_bytes,
                        "weights used in the file's mapping, not allocated");
    if (d->info.capacity_bytes != UINT64_MAX)
        ok = ok && line(out, "capacity", d->info.capacity_bytes, "");
    if (d->info.free_bytes != UINT64_MAX) {
        if (p->lim.reserve_bytes > 0)
            ok = ok && line(out, "reserved", p->lim.reserve_bytes, "--reserve");
        uint64_t room = plan_room(d, &p->lim);
        if (room >= d->total_bytes)
            ok = ok && line(out, "left", room - d->total_bytes, "");
        else
            ok = ok && line(out, "lacking", d->total_bytes - room, "does not fit");
    }
    return ok && buf_addz(out, "\n");
}

static const char *kv_name(enum dtype kv)
{
    return kv == DTYPE_F16 ? "f16" : kv == DTYPE_F32 ? "f32" : "q8_0";
}

bool plan_table(const struct plan *p, struct buf *out)
{
    bool ok = buf_printf(out, "context %lld, micro-batch %d, slots %d, kv %s%s\n\n",
                         (long long)p->max.n_ctx, p->lim.micro_batch, p->lim.slots,
                         kv_name(p->lim.kv), p->lim.exact ? ", exact" : "");

    for (int d = 0; d < p->n_devs; d++)
        ok = ok && device_table(p, d, out);
    if (p->host_staging_bytes > 0)
        ok = ok && buf_addz(out, "host\n") &&
             line(out, "staging", p->host_staging_bytes, "copies between devices, logits");
    return ok;
}

// --- for programs
// ---------------------------------------------------------------------------------

static bool json_parts(const struct plan *p, int d, struct buf *out)
{
    static const char *const kind[] = {
        [PART_SHARED] = "shared",   [PART_EMBED] = "embedding", [PART_BLOCK] = "block",
        [PART_EXPERTS] = "experts", [PART_HEAD] = "head",       [PART_VISION] = "vision",
    };
    int first = -1, last = -1;
    bool ok = buf_addz(out, "\"parts\": ["), any = false;

    for (int i = 1; i < p->n_parts; i++) {
        const struct part *part = graph_part(p->graph, i);
        if (p->part_dev[i] != d)
            continue;
        if (part->kind == PART_BLOCK) {
            first = first < 0 ? part->il : first;
            last = part->il;
        }
        ok = ok && buf_printf(out, "%s\"%s", any ? ", " : "", kind[part->kind]);
        ok = ok && (part->il < 0 || buf_printf(out, " %d", part->il)) && buf_addz(out, "\"");
        any = true;
    }
    ok = ok && buf_addz(out, "], \"blocks\": ");
    return ok && (first < 0 ? buf_addz(out, "null") : buf_printf(out, "[%d, %d]", first, last));
}

static bool json_limit(struct buf *out, const char *key, uint64_t bytes)
{
    return bytes == UINT64_MAX ? buf_printf(out, "\"%s\": null, ", key)
                               : buf_printf(out, "\"%s\": %" PRIu64 ", ", key, bytes);
}

/// What the alignment of slots adds to the weights of a device.
static uint64_t weight_padding(const struct plan *p, int dev)
{
    uint64_t sum = 0;

    for (int i = 0; i < p->n_values; i++) {
        const struct slot *s = &p->value[i].slot;
        if (s->dev == dev && s->arena == ARENA_WEIGHTS && !s->mapped)
            sum += align_up_u64(s->bytes, SLOT_ALIGN) - s->bytes;
    }
    return sum;
}

static bool json_device(const struct plan *p, int i, struct buf *out)
{
    const struct plan_dev *d = &p->dev[i];
    uint64_t reserve = d->used && d->info.free_bytes != UINT64_MAX ? p->lim.reserve_bytes : 0;
    bool ok = buf_printf(out, "%s\n    {\"name\": \"%s\", ", i > 0 ? "," : "", d->info.name);

    ok = ok && json_limit(out, "capacity_bytes", d->info.capacity_bytes) &&
         json_limit(out, "free_bytes", d->info.free_bytes);
    ok = ok && buf_printf(out,
                          "\"reserve_bytes\": %" PRIu64 ", \"planned_bytes\": %" PRIu64
                          ", \"granule_bytes\": %" PRIu64 ", \"mapped_bytes\": %" PRIu64
                          ", \"scratch_bound\": %" PRIu64 ", \"weights_padding_bytes\": %" PRIu64
                          ", \"bytes\": {",
                          reserve, d->total_bytes, d->info.granule_bytes, d->mapped_bytes,
                          d->scratch_bound, weight_padding(p, i));
    for (int a = 0; a < ARENA_COUNT; a++)
        ok = ok && buf_printf(out, "\"%s\": %" PRIu64 ", ", arena_kind_name((enum arena_kind)a),
                              d->arena_bytes[a]);
    ok = ok && buf_printf(out, "\"rounding\": %" PRIu64 "}, ", d->rounding_bytes);
    return ok && json_parts(p, i, out) && buf_addz(out, "}");
}

bool plan_json(const struct plan *p, struct buf *out)
{
    uint64_t mapped = 0;
    int used = 0;

    for (int d = 0; d < p->n_devs; d++) {
        mapped += p->dev[d].mapped_bytes;
        used += p->dev[d].used;
    }
    bool ok =
        buf_printf(out,
                   "{\n  \"fits\": %s, \"context\": %lld, \"slots\": %d, \"micro_batch\": %d, "
                   "\"kv_type\": \"%s\", \"exact\": %s,\n  \"fingerprint\": \"%016" PRIx64
                   "\", \"devices_used\": %d,\n  \"host\": {\"mapped\": %" PRIu64
                   ", \"heap\": %" PRIu64 "},\n  \"devices\": [",
                   plan_holds(p) ? "true" : "false", (long long)p->max.n_ctx, p->lim.slots,
                   p->lim.micro_batch, kv_name(p->lim.kv), p->lim.exact ? "true" : "false", p->hash,
                   used, mapped, p->host_staging_bytes);
    for (int d = 0; d < p->n_devs; d++)
        ok = ok && json_device(p, d, out);
    return ok && buf_addz(out, "\n  ]\n}\n");
}

// --- for tests
// ------------------------------------------------------------------------------------

static bool dump_values(const struct plan *p, struct buf *out)
{
    for (int i = 0; i < p->n_values; i++) {
        const struct value *v = &p->value[i];
        const struct slot *s = &v->slot;
        bool ok = buf_printf(out, "value %d %s %s dev %d %s %" PRIu64 "+%" PRIu64 " steps %d-%d", i,
                             v->t != NULL ? v->t->name : "-", dtype_info(v->format)->name, s->dev,
                             s->mapped ? "mapped" : arena_kind_name(s->arena), s->offset, s->bytes,
                             v->first_step, v->last_step);
        if (v->alias >= 0)
            ok = ok && buf_printf(out, " takes %d", v->alias);
        if (!ok || !buf_addz(out, "\n"))
            return false;
    }
    return true;
}

static bool dump_steps(const struct plan *p, struct buf *out)
{
    for (int i = 0; i < p->n_steps; i++) {
        const struct step *s = &p->step[i];
        bool ok = buf_printf(out, "step %d dev %d %s%s:", i, s->dev,
                             s->kernel != NULL ? s->kernel->name : "copy", s->sync ? " sync" : "");
        for (int k = 0; k < NODE_SRC; k++)
            ok = ok && (s->src[k] < 0 ? buf_addz(out, " -") : buf_printf(out, " %d", s->src[k]));
        ok = ok && buf_addz(out, " ->");
        for (int k = 0; k < NODE_DST; k++)
            ok = ok && (s->dst[k] < 0 || buf_printf(out, " %d", s->dst[k]));
        if (s->scratch >= 0)
            ok = ok && buf_printf(out, " scratch %d", s->scratch);
        if (!ok || !buf_addz(out, "\n"))
            return false;
    }
    return true;
}

bool plan_dump(const struct plan *p, struct buf *out)
{
    bool ok = plan_table(p, out) && dump_values(p, out) && dump_steps(p, out);

    return ok && buf_printf(out, "hash %016" PRIx64 "\n", p->hash);
}
