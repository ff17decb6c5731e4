// json.c - the plan for programs. docs/plan-json.md says what each field means.
//
// With `full` it is all that is needed to check the plan without this program (snug verify) and to
// execute exactly it (--plan); then it ends in a digest of itself.

#include "gguf/gguf.h"
#include "plan/file.h"
#include "plan/place.h"
#include "plan/plan_int.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

struct writer {
    const struct plan *p; // NULL: there is none
    const struct plan_extra *x;
    struct buf *out;
};

static const char *kv_name(enum dtype kv)
{
    return kv == DTYPE_F16 ? "f16" : kv == DTYPE_F32 ? "f32" : "q8_0";
}

const char *plan_part_name(char out[32], const struct part *part)
{
    static const char *const kind[] = {
        [PART_SHARED] = "shared",   [PART_EMBED] = "embedding", [PART_BLOCK] = "block",
        [PART_EXPERTS] = "experts", [PART_HEAD] = "head",       [PART_VISION] = "vision",
    };

    if (part->il < 0)
        snprintf(out, 32, "%s", kind[part->kind]);
    else
        snprintf(out, 32, "%s %d", kind[part->kind], part->il);
    return out;
}

static bool text(struct buf *out, const char *key, const char *value)
{
    return buf_printf(out, "\"%s\": ", key) && buf_json_text(out, value, strlen(value));
}

/// Unlimited is null.
static bool limit(struct buf *out, const char *key, uint64_t bytes)
{
    return bytes == UINT64_MAX ? buf_printf(out, "\"%s\": null, ", key)
                               : buf_printf(out, "\"%s\": %" PRIu64 ", ", key, bytes);
}

/// The device that only stands under "host".
static bool is_added(const struct writer *w, int d)
{
    return w->x->host_added && d == w->p->n_devs - 1;
}

/// As "tensors" and the like name a device: its index in "devices", -1 for an added host.
static int dev_index(const struct writer *w, int d)
{
    return d >= 0 && is_added(w, d) ? -1 : d;
}

uint64_t plan_fingerprint(const struct plan *p, const struct gguf *file)
{
    uint64_t h = hash_bytes(SNUG_VERSION, sizeof(SNUG_VERSION), p->hash);
    uint64_t model = file != NULL ? gguf_fingerprint(file) : 0;

    h = hash_bytes(&model, sizeof(model), h);
    for (int d = 0; d < p->n_devs; d++) {
        const struct dev_info *i = &p->dev[d].info;
        uint64_t n[] = { i->capacity_bytes, i->granule_bytes, i->driver_bytes };
        h = hash_bytes(i->name, strlen(i->name), h);
        h = hash_bytes(n, sizeof(n), h);
    }
    return h;
}

// --- devices
// --------------------------------------------------------------------------------------

/// "parts" of the devices that `pick` says, each once.
static bool parts(const struct writer *w, const bool *pick)
{
    const struct plan *p = w->p;
    char name[32];
    bool ok = buf_addz(w->out, "\"parts\": ["), any = false;

    for (int i = 1; i < p->n_parts && ok; i++) {
        if (!pick[p->part_dev[i]])
            continue;
        ok = buf_printf(w->out, "%s\"%s\"", any ? ", " : "",
                        plan_part_name(name, graph_part(p->graph, i)));
        any = true;
    }
    return ok && buf_addz(w->out, "]");
}

static bool blocks(const struct writer *w, int d)
{
    int first = -1, last = -1;

    for (int i = 1; i < w->p->n_parts; i++) {
        const struct part *part = graph_part(w->p->graph, i);
        if (w->p->part_dev[i] != d || part->kind != PART_BLOCK)
            continue;
        first = first < 0 ? part->il : first;
        last = part->il;
    }
    return first < 0 ? buf_addz(w->out, "\"blocks\": null")
                     : buf_printf(w->out, "\"blocks\": [%d, %d]", first, last);
}

/// What the alignment of slots adds to the weights of a device.
static uint64_t weight_padding(const struct plan *p, int d)
{
    uint64_t sum = 0;

    for (int i = 0; i < p->n_values; i++) {
        const struct slot *s = &p->value[i].slot;
        if (s->dev == d && s->arena == ARENA_WEIGHTS && !s->mapped)
            sum += align_up_u64(s->bytes, SLOT_ALIGN) - s->bytes;
    }
    return sum;
}

/// All that the device will have lost, and its lines. Recurrent state, staging on the device and
/// graphs of launches are lines without bytes: no model and no device here has them.
static bool bytes(const struct writer *w, int d)
{
    const struct plan_dev *p = &w->p->dev[d];
    uint64_t driver = p->used ? p->info.driver_bytes : 0;
    uint64_t reserve = p->used && p->info.free_bytes != UINT64_MAX ? w->p->lim.reserve_bytes : 0;
    const uint64_t *a = p->arena_bytes;

    return buf_printf(w->out,
                      "\"planned_bytes\": %" PRIu64 ", \"bytes\": {\"weights\": %" PRIu64
                      ", \"kv\": %" PRIu64 ", \"state\": 0, \"scratch\": %" PRIu64
                      ", \"staging\": 0, \"handover\": %" PRIu64 ", \"input\": %" PRIu64
                      ", \"graphs\": 0, \"rounding\": %" PRIu64 ", \"driver\": %" PRIu64
                      ", \"reserve\": %" PRIu64 "}, \"mapped_bytes\": %" PRIu64
                      ", \"scratch_bound\": %" PRIu64 ", \"weights_padding_bytes\": %" PRIu64 ", ",
                      p->total_bytes + driver + reserve, a[ARENA_WEIGHTS], a[ARENA_KV],
                      a[ARENA_SCRATCH], a[ARENA_HANDOVER], a[ARENA_INPUT], p->rounding_bytes,
                      driver, reserve, p->mapped_bytes, p->scratch_bound, weight_padding(w->p, d));
}

static bool device(const struct writer *w, int d)
{
    const struct plan_dev *p = &w->p->dev[d];
    bool *pick = xcalloc((size_t)w->p->n_devs, sizeof(*pick));

    pick[d] = true;
    bool ok = buf_addz(w->out, "{") && text(w->out, "name", p->info.name) &&
              buf_addz(w->out, ", ") && limit(w->out, "capacity_bytes", p->info.capacity_bytes) &&
              limit(w->out, "free_bytes", p->info.free_bytes) &&
              buf_printf(w->out,
                         "\"granule_bytes\": %" PRIu64 ", \"driver_bytes\": %" PRIu64
                         ", \"threads\": %d, \"in_place\": %s, ",
                         p->info.granule_bytes, p->info.driver_bytes, p->info.max_threads,
                         p->info.in_place ? "true" : "false") &&
              bytes(w, d) && blocks(w, d) && buf_addz(w->out, ", ") && parts(w, pick) &&
              buf_printf(w->out, ", \"ms_per_token\": %.6f}", (double)p->ns_per_token / 1e6);
    free(pick);
    return ok;
}

/// The machine around the devices: weights used in mappings, and all that is allocated there.
static bool host(const struct writer *w)
{
    const struct plan *p = w->p;
    uint64_t mapped = 0, heap = p->host_staging_bytes;
    bool *pick = xcalloc((size_t)p->n_devs, sizeof(*pick));

    for (int d = 0; d < p->n_devs; d++) {
        pick[d] = p->dev[d].info.in_place;
        mapped += p->dev[d].mapped_bytes;
        heap += pick[d] ? p->dev[d].total_bytes : 0;
    }
    bool ok =
        buf_addz(w->out, "  \"host\": {") &&
        limit(w->out, "capacity_bytes", w->x->host_bytes > 0 ? w->x->host_bytes : UINT64_MAX) &&
        buf_printf(w->out,
                   "\"mapped\": %" PRIu64 ", \"pinned\": 0, \"heap\": %" PRIu64
                   ", \"staging\": %" PRIu64 ", ",
                   mapped, heap, p->host_staging_bytes) &&
        parts(w, pick);
    if (ok && w->x->host_added)
        ok = buf_addz(w->out, ",\n    \"device\": ") && device(w, p->n_devs - 1);
    free(pick);
    return ok && buf_addz(w->out, "},\n");
}

static bool devices(const struct writer *w)
{
    int n = w->p->n_devs - w->x->host_added;
    bool ok = buf_addz(w->out, "  \"devices\": [");

    for (int d = 0; d < n && ok; d++)
        ok = buf_addz(w->out, d > 0 ? ",\n    " : "\n    ") && device(w, d);
    return ok && buf_addz(w->out, "\n  ],\n");
}

// --- why
// ------------------------------------------------------------------------------------------

static int devices_used(const struct plan *p)
{
    int used = 0, in_place = 0;

    for (int d = 0; d < p->n_devs; d++) {
        used += p->dev[d].used && !p->dev[d].info.in_place;
        in_place += p->dev[d].used && p->dev[d].info.in_place;
    }
    return used > 0 ? used : in_place;
}

static bool stage_table(const struct writer *w, const struct stage_costs *s, int t)
{
    bool ok = buf_addz(w->out, t > 0 ? ",\n      [" : "\n      [");

    for (int from = 0; from < s->n_units && ok; from++) {
        ok = buf_addz(w->out, from > 0 ? ", [" : "[");
        for (int to = from + 1; to <= s->n_units && ok; to++) {
            uint64_t n = s->bytes[t][from * (s->n_units + 1) + to];
            ok = buf_addz(w->out, to > from + 1 ? ", " : "") &&
                 (n == UINT64_MAX ? buf_addz(w->out, "null") : buf_printf(w->out, "%" PRIu64, n));
        }
        ok = ok && buf_addz(w->out, "]");
    }
    return ok && buf_addz(w->out, "]");
}

/// bytes[table][from][to - from - 1] of the stage of units [from, to).
static bool stages(const struct writer *w, const struct stage_costs *s)
{
    bool ok = buf_addz(w->out, "{\"unit_of\": [");

    for (int i = 0; i < w->p->n_parts && ok; i++)
        ok = buf_printf(w->out, "%s%d", i > 0 ? ", " : "", s->unit_of[i]);
    ok = ok && buf_addz(w->out, "], \"table_of\": [");
    for (int d = 0; d < w->p->n_devs && ok; d++)
        ok = buf_printf(w->out, "%s%d", d > 0 ? ", " : "", s->table_of[d]);
    ok = ok && buf_addz(w->out, "], \"bytes\": [");
    for (int t = 0; t < s->n_tables && ok; t++)
        ok = stage_table(w, s, t);
    return ok && buf_addz(w->out, "]}");
}

static bool minimal(const struct writer *w)
{
    const struct placement *why = w->x->why;
    int n = devices_used(w->p);
    bool ok = buf_printf(w->out, "  \"minimal\": {\"devices\": %d, \"proved\": %s, \"proof\": [", n,
                         (why != NULL && why->minimal) || n == 1 ? "true" : "false");

    for (int i = 0; why != NULL && i < why->n_proof && ok; i++)
        ok = buf_addz(w->out, i > 0 ? ", " : "") &&
             buf_json_text(w->out, why->proof[i], strlen(why->proof[i]));
    ok = ok && buf_addz(w->out, "]");
    if (!w->x->full || w->x->stages == NULL)
        return ok && buf_addz(w->out, "},\n");
    ok = ok && buf_addz(w->out, ",\n    \"stages\": [");
    for (const struct stage_costs *v = w->x->stages; v != NULL && ok; v = v->next)
        ok = stages(w, v) && buf_addz(w->out, v->next != NULL ? ", " : "]");
    return ok && buf_addz(w->out, "},\n");
}

static bool suggestions(const struct writer *w)
{
    bool ok = buf_addz(w->out, "  \"suggestions\": [");

    for (int i = 0; i < w->x->n_suggestions && ok; i++) {
        const struct suggestion *s = &w->x->suggestion[i];
        ok = buf_addz(w->out, i > 0 ? ",\n    {" : "\n    {") &&
             text(w->out, "change", s->change) && buf_addz(w->out, ", ") &&
             text(w->out, "value", s->value) && buf_addz(w->out, ", ") &&
             text(w->out, "flag", s->flag) && buf_addz(w->out, ", ") &&
             text(w->out, "effect", s->effect) && buf_addz(w->out, "}");
    }
    return ok && buf_addz(w->out, "],\n");
}

static bool head(const struct writer *w)
{
    static const char *const goal[] = { [GOAL_FEWEST] = "fewest",
                                        [GOAL_SPEED] = "speed",
                                        [GOAL_CONTEXT] = "context",
                                        [GOAL_SLOTS] = "slots" };
    const struct plan *p = w->p;
    const struct placement *why = w->x->why;
    bool fits = w->x->error == NULL && plan_holds(p);

    bool ok = buf_printf(w->out, "  \"fits\": %s, ", fits ? "true" : "false");
    if (w->x->error != NULL)
        ok = ok && text(w->out, "error", w->x->error) && buf_addz(w->out, ",\n  ");
    ok = ok &&
         buf_printf(w->out,
                    "\"context\": %lld, \"slots\": %d, \"micro_batch\": %d, \"kv_type\": \"%s\", "
                    "\"exact\": %s,\n  \"goal\": \"%s\", \"fingerprint\": \"%016" PRIx64
                    "\", \"devices_used\": %d,\n",
                    (long long)p->max.n_ctx, p->lim.slots, p->lim.micro_batch, kv_name(p->lim.kv),
                    p->lim.exact ? "true" : "false", goal[why != NULL ? why->goal : GOAL_FEWEST],
                    plan_fingerprint(p, w->x->file), devices_used(p));
    if (why != NULL && why->micro_batch_why[0] != '\0')
        ok = ok && buf_addz(w->out, "  ") &&
             text(w->out, "micro_batch_why", why->micro_batch_why) && buf_addz(w->out, ",\n");
    return ok;
}

static bool outlook(const struct writer *w)
{
    int64_t ns = w->x->why != NULL ? w->x->why->predicted_ns : 0;
    bool ok = w->x->max_context > 0
                  ? buf_printf(w->out, "  \"max_context\": %lld, ", (long long)w->x->max_context)
                  : buf_addz(w->out, "  \"max_context\": null, ");

    for (int d = 0; d < w->p->n_devs && (w->x->why == NULL || w->x->why->predicted_ns == 0); d++)
        ns += w->p->dev[d].ns_per_token;
    return ok && (ns > 0 ? buf_printf(w->out, "\"predicted_tps\": %.6f,\n", 1e9 / (double)ns)
                         : buf_addz(w->out, "\"predicted_tps\": null,\n"));
}

// --- everything: for snug verify and --plan
// -------------------------------------------------------

static bool asked(const struct writer *w)
{
    const struct plan *p = w->p;

    bool ok = buf_printf(w->out,
                         "  \"made_by\": {\"version\": \"%s\", \"model\": \"%016" PRIx64
                         "\", \"graph\": \"%016" PRIx64 "\", \"plan\": \"%016" PRIx64
                         "\"},\n  \"asked\": {",
                         SNUG_VERSION, w->x->file != NULL ? gguf_fingerprint(w->x->file) : 0,
                         graph_hash(p->graph), p->hash);
    if (w->x->on != NULL)
        ok = ok && text(w->out, "on", w->x->on) && buf_addz(w->out, ", ");
    return ok && buf_printf(w->out,
                            "\"outputs\": %d, \"reserve_bytes\": %" PRIu64
                            ", \"guard_bytes\": %" PRIu64 ", \"no_vision\": %s},\n",
                            p->lim.outputs, p->lim.reserve_bytes, p->lim.guard_bytes,
                            w->x->no_vision ? "true" : "false");
}

static bool assignment(const struct writer *w)
{
    char name[32];
    bool ok = buf_addz(w->out, "  \"assignment\": [");

    for (int i = 1; i < w->p->n_parts && ok; i++)
        ok = buf_printf(
            w->out, "%s{\"part\": \"%s\", \"device\": %d}", i > 1 ? ",\n    " : "\n    ",
            plan_part_name(name, graph_part(w->p->graph, i)), dev_index(w, w->p->part_dev[i]));
    return ok && buf_addz(w->out, "\n  ],\n");
}

static bool arenas(const struct writer *w)
{
    bool ok = buf_addz(w->out, "  \"arenas\": ["), any = false;

    for (int d = 0; d < w->p->n_devs; d++)
        for (int a = 0; a < ARENA_COUNT && ok; a++) {
            uint64_t n = w->p->dev[d].arena_bytes[a], g = w->p->dev[d].info.granule_bytes;
            if (n == 0)
                continue;
            ok = buf_printf(w->out,
                            "%s{\"device\": %d, \"arena\": \"%s\", \"bytes\": %" PRIu64
                            ", \"reserved_bytes\": %" PRIu64 "}",
                            any ? ",\n    " : "\n    ", dev_index(w, d),
                            arena_kind_name((enum arena_kind)a), n, align_up_u64(n, g));
            any = true;
        }
    return ok && buf_addz(w->out, "\n  ],\n");
}

static bool weight_source(const struct writer *w, const struct tensor *t)
{
    const struct weight_place *f = &w->p->places[t->source];
    uint64_t row = dtype_row_bytes(t->type, t->d[0].n);

    return buf_printf(w->out, ", \"file\": %d, \"file_offset\": %" PRIu64, f->file,
                      f->offset + (uint64_t)t->row0 * row);
}

/// One slot. `alias`: the tensor whose memory it takes over on purpose, at that one's last use.
static bool slot(const struct writer *w, int i)
{
    const struct value *v = &w->p->value[i];
    const char *name = v->t != NULL ? v->t->name : "(working space)";

    bool ok =
        buf_addz(w->out, i > 0 ? ",\n    {" : "\n    {") && text(w->out, "name", name) &&
        buf_printf(
            w->out,
            ", \"device\": %d, \"arena\": \"%s\", \"offset\": %" PRIu64 ", \"bytes\": %" PRIu64
            ", \"first_step\": %d, \"last_step\": %d, \"tensor\": %d, \"format\": \"%s\"",
            dev_index(w, v->slot.dev), v->slot.mapped ? "mapped" : arena_kind_name(v->slot.arena),
            v->slot.offset, v->slot.bytes, v->first_step, v->last_step,
            v->t != NULL ? v->t->id : -1, dtype_info(v->format)->name);
    if (v->alias >= 0)
        ok = ok && buf_printf(w->out, ", \"alias\": %d", v->alias);
    if (v->t != NULL && v->t->role == ROLE_WEIGHT)
        ok = ok && weight_source(w, v->t);
    return ok && buf_addz(w->out, "}");
}

static bool indices(const struct writer *w, const char *key, const int *v, int n)
{
    bool ok = buf_printf(w->out, ", \"%s\": [", key);

    while (n > 0 && v[n - 1] < 0)
        n--;
    for (int i = 0; i < n && ok; i++)
        ok = buf_printf(w->out, "%s%d", i > 0 ? ", " : "", v[i]);
    return ok && buf_addz(w->out, "]");
}

/// `src`, `dst` and `scratch` are indices into "tensors", -1 where the operation has none.
static bool step(const struct writer *w, int i)
{
    const struct plan *p = w->p;
    const struct step *s = &p->step[i];
    bool convert = s->kernel != NULL && s->dst[0] >= 0 && p->value[s->dst[0]].t != s->node->dst[0];
    const char *op = s->kernel == NULL ? "copy" : convert ? "convert" : op_info(s->node->op)->name;

    bool ok = buf_printf(w->out, "%s{\"device\": %d, \"op\": \"%s\", ",
                         i > 0 ? ",\n    " : "\n    ", dev_index(w, s->dev), op);
    if (s->kernel != NULL)
        ok = ok && text(w->out, "kernel", s->kernel->name) && buf_addz(w->out, ", ");
    return ok &&
           buf_printf(w->out, "\"node\": %d, \"sync\": %s", s->node != NULL ? s->node->id : -1,
                      s->sync ? "true" : "false") &&
           indices(w, "src", s->src, NODE_SRC) && indices(w, "dst", s->dst, NODE_DST) &&
           buf_printf(w->out, ", \"scratch\": %d}", s->scratch);
}

static bool everything(const struct writer *w)
{
    bool ok = asked(w) && assignment(w) && arenas(w) && buf_addz(w->out, "  \"tensors\": [");

    for (int i = 0; i < w->p->n_values && ok; i++)
        ok = slot(w, i);
    ok = ok && buf_addz(w->out, "\n  ],\n  \"steps\": [");
    for (int i = 0; i < w->p->n_steps && ok; i++)
        ok = step(w, i);
    return ok && buf_printf(w->out, "\n  ],\n  \"logits\": %d,\n", w->p->logits);
}

// --- the whole
// ------------------------------------------------------------------------------------

static bool end(const struct writer *w)
{
    return buf_printf(w->out, "  \"plan_ms\": %.3f\n}\n", (double)w->x->plan_ns / 1e6);
}

/// Without a plan there is only the reason.
static bool no_plan(const struct writer *w)
{
    return buf_addz(w->out, "{\n  \"fits\": false, ") &&
           text(w->out, "error", w->x->error != NULL ? w->x->error : "") &&
           buf_addz(w->out, ",\n") && suggestions(w) && end(w);
}

bool plan_json(const struct plan *p, const struct plan_extra *x, struct buf *out)
{
    static const struct plan_extra none;
    const struct writer w = { .p = p, .x = x != NULL ? x : &none, .out = out };
    size_t start = out->n;

    if (p == NULL)
        return no_plan(&w);
    bool ok = buf_addz(out, "{\n") && head(&w) && minimal(&w) && outlook(&w) && host(&w) &&
              devices(&w) && suggestions(&w);
    if (!w.x->full)
        return ok && end(&w);
    ok = ok && everything(&w) && end(&w);
    return ok && plan_file_seal(out, start);
}
