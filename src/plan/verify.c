// verify.c - a plan in a file, checked from the outside: the model it is for, who has which part,
// and every line of every device's sum.

#include "plan/verify_int.h"

#include "model/model.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_WRONG = 12 }; // said; more are counted

// --- findings
// -------------------------------------------------------------------------------------

__attribute__((format(printf, 3, 0))) static void say(struct verifier *v, const char *kind,
                                                      const char *fmt, va_list ap)
{
    char text[512];

    vsnprintf(text, sizeof(text), fmt, ap);
    if (!buf_printf(&v->out->lines, "%s: %s\n", kind, text))
        return; // full: the counts still say it
}

void verify_wrong(struct verifier *v, const char *fmt, ...)
{
    va_list ap;

    if (v->out->n_wrong++ >= MAX_WRONG)
        return;
    va_start(ap, fmt);
    say(v, "wrong", fmt, ap);
    va_end(ap);
}

void verify_fine(struct verifier *v, const char *fmt, ...)
{
    va_list ap;

    v->out->n_verified++;
    va_start(ap, fmt);
    say(v, "verified", fmt, ap);
    va_end(ap);
}

void verify_open(struct verifier *v, const char *fmt, ...)
{
    va_list ap;

    v->out->n_open++;
    va_start(ap, fmt);
    say(v, "not verified", fmt, ap);
    va_end(ap);
}

const struct tensor *verify_tensor(const struct verifier *v, int slot)
{
    int t = v->f->slot[slot].tensor;

    return t >= 0 && t < graph_n_tensors(v->g) ? graph_tensor(v->g, t) : NULL;
}

int verify_part_dev(const struct verifier *v, int part)
{
    return part > 0 ? v->f->part_dev[part - 1] : -1;
}

// --- the model
// ------------------------------------------------------------------------------------

static uint64_t own_fingerprint(const struct plan_file *f)
{
    uint64_t h = hash_bytes(f->version, strlen(f->version) + 1, f->plan);

    h = hash_bytes(&f->model, sizeof(f->model), h);
    for (int d = 0; d < f->n_devs; d++) {
        const struct file_dev *x = &f->dev[d];
        uint64_t n[] = { x->capacity, x->granule, x->driver };
        h = hash_bytes(x->name, strlen(x->name), h);
        h = hash_bytes(n, sizeof(n), h);
    }
    return h;
}

static void check_model(struct verifier *v)
{
    const struct plan_file *f = v->f;
    int before = v->out->n_wrong;

    if (f->model != gguf_fingerprint(v->file))
        verify_wrong(v,
                     "made_by.model: the plan is for another model: %016" PRIx64
                     ", this file's head is %016" PRIx64,
                     f->model, gguf_fingerprint(v->file));
    if (f->graph != graph_hash(v->g))
        verify_wrong(v, "made_by.graph: %016" PRIx64 ", this model's is %016" PRIx64, f->graph,
                     graph_hash(v->g));
    if (f->fingerprint != own_fingerprint(f))
        verify_wrong(v, "fingerprint: %016" PRIx64 ", of what the plan says it is %016" PRIx64,
                     f->fingerprint, own_fingerprint(f));
    if (f->digest != f->digest_here)
        verify_wrong(v,
                     "digest: %016" PRIx64 ", of what the plan says it is %016" PRIx64
                     ": it was changed after it was written",
                     f->digest, f->digest_here);
    if (v->out->n_wrong == before)
        verify_fine(v,
                    "model head %016" PRIx64 ", fingerprint %016" PRIx64 ", unchanged since it was "
                    "written",
                    f->model, f->fingerprint);
    if (strcmp(f->version, SNUG_VERSION) != 0)
        verify_open(v, "made_by.version: another build made the plan, this one is " SNUG_VERSION);
}

// --- the parts
// ------------------------------------------------------------------------------------

static bool named(const char *const *list, int n, const char *name)
{
    for (int i = 0; i < n; i++)
        if (strcmp(list[i], name) == 0)
            return true;
    return false;
}

static void check_dev_parts(struct verifier *v, int d)
{
    const struct file_dev *x = &v->f->dev[d];
    int n = 0, first = -1, last = -1;

    for (int i = 1; i < graph_n_parts(v->g); i++) {
        const struct part *p = graph_part(v->g, i);
        if (verify_part_dev(v, i) != d)
            continue;
        n++;
        if (!named(x->part, x->n_parts, v->f->part[i - 1]))
            verify_wrong(v, "devices[%d].parts: %s is assigned to it and missing there", d,
                         v->f->part[i - 1]);
        if (p->kind == PART_BLOCK) {
            first = first < 0 ? p->il : first;
            last = p->il;
        }
    }
    if (n != x->n_parts)
        verify_wrong(v, "devices[%d].parts: %d, assigned to it are %d", d, x->n_parts, n);
    if (first != x->first_block || last != x->last_block)
        verify_wrong(v, "devices[%d].blocks: %d to %d, assigned to it are %d to %d", d,
                     x->first_block, x->last_block, first, last);
}

static void check_host_parts(struct verifier *v)
{
    int n = 0;

    for (int i = 0; i < v->f->n_parts; i++) {
        if (!v->f->dev[v->f->part_dev[i]].in_place)
            continue;
        n++;
        if (!named(v->f->host_part, v->f->n_host_parts, v->f->part[i]))
            verify_wrong(v, "host.parts: %s is assigned to it and missing there", v->f->part[i]);
    }
    if (n != v->f->n_host_parts)
        verify_wrong(v, "host.parts: %d, assigned to it are %d", v->f->n_host_parts, n);
}

/// False: the assignment is not of this graph, and nothing else can be told.
static bool check_parts(struct verifier *v)
{
    const struct plan_file *f = v->f;
    int before = v->out->n_wrong, n = graph_n_parts(v->g) - 1;
    char name[32], shown[64];

    if (f->n_parts != n)
        verify_wrong(v, "assignment: %d parts, the model has %d", f->n_parts, n);
    for (int i = 0; i < n && i < f->n_parts; i++) {
        const struct part *p = graph_part(v->g, i + 1);
        if (strcmp(f->part[i], plan_part_name(name, p)) != 0)
            verify_wrong(v, "assignment[%d].part: \"%s\", the model's is %s", i,
                         err_bytes(shown, sizeof(shown), f->part[i], strlen(f->part[i])), name);
    }
    if (v->out->n_wrong > before)
        return false;
    for (int d = 0; d < f->n_devs; d++)
        check_dev_parts(v, d);
    check_host_parts(v);
    if (v->out->n_wrong == before)
        verify_fine(v, "coverage of parts: %d of %d on a device", n, n);
    return true;
}

// --- the sums
// -------------------------------------------------------------------------------------

static bool is_used(const struct plan_file *f, int d)
{
    for (int i = 0; i < f->n_parts; i++)
        if (f->part_dev[i] == d)
            return true;
    for (int i = 0; i < f->n_steps; i++)
        if (f->step[i].dev == d)
            return true;
    return false;
}

static void expect(struct verifier *v, int d, const char *what, uint64_t stated, uint64_t is)
{
    if (stated != is)
        verify_wrong(v, "devices[%d].%s: %" PRIu64 ", it is %" PRIu64, d, what, stated, is);
}

static void check_lines(struct verifier *v, int d)
{
    const struct plan_file *f = v->f;
    const struct file_dev *x = &f->dev[d];
    uint64_t arena[ARENA_COUNT] = { 0 }, rounding = 0, sum = 0;
    bool used = is_used(f, d);
    char key[32];

    for (int i = 0; i < f->n_arenas; i++)
        if (f->arena[i].dev == d) {
            arena[f->arena[i].arena] += f->arena[i].bytes;
            rounding += verify_up(f->arena[i].bytes, x->granule) - f->arena[i].bytes;
        }
    for (int l = 0; l < FILE_COUNT; l++) {
        uint64_t is = l < ARENA_COUNT      ? arena[l]
                      : l == FILE_ROUNDING ? rounding
                      : l == FILE_DRIVER   ? (used ? x->driver : 0)
                      : l == FILE_RESERVE  ? (used && x->free != UINT64_MAX ? f->reserve : 0)
                                           : 0;
        snprintf(key, sizeof(key), "bytes.%s", file_line_name(l));
        expect(v, d, key, x->line[l], is);
        sum += x->line[l];
    }
    expect(v, d, "planned_bytes", x->planned, sum);
    if (x->free != UINT64_MAX && sum > x->free)
        verify_wrong(v,
                     "devices[%d].planned_bytes: %" PRIu64 " of %" PRIu64 " free: it does not fit",
                     d, sum, x->free);
    if (x->capacity != UINT64_MAX && (x->free == UINT64_MAX || x->free > x->capacity))
        verify_wrong(v, "devices[%d].free_bytes: more than the capacity of %" PRIu64, d,
                     x->capacity);
}

static void check_lines_of_slots(struct verifier *v, int d)
{
    uint64_t mapped = 0, padding = 0;

    for (int i = 0; i < v->f->n_slots; i++) {
        const struct file_slot *s = &v->f->slot[i];
        if (s->dev != d || s->arena != ARENA_WEIGHTS)
            continue;
        mapped += s->mapped ? s->bytes : 0;
        padding += s->mapped ? 0 : verify_up(s->bytes, 64) - s->bytes;
    }
    expect(v, d, "mapped_bytes", v->f->dev[d].mapped, mapped);
    expect(v, d, "weights_padding_bytes", v->f->dev[d].padding, padding);
}

static void check_host(struct verifier *v)
{
    const struct plan_file *f = v->f;
    uint64_t mapped = 0, heap = f->host_staging;

    for (int d = 0; d < f->n_devs; d++) {
        const struct file_dev *x = &f->dev[d];
        mapped += x->mapped;
        if (x->in_place)
            heap += x->planned - x->line[FILE_DRIVER] - x->line[FILE_RESERVE];
    }
    if (f->host_mapped != mapped)
        verify_wrong(v, "host.mapped: %" PRIu64 ", it is %" PRIu64, f->host_mapped, mapped);
    if (f->host_heap != heap)
        verify_wrong(v, "host.heap: %" PRIu64 ", it is %" PRIu64, f->host_heap, heap);
    if (f->host_pinned != 0)
        verify_wrong(v, "host.pinned: %" PRIu64 ", nothing is pinned", f->host_pinned);
}

static void check_used(struct verifier *v)
{
    int used = 0, in_place = 0;

    for (int d = 0; d < v->f->n_devs; d++) {
        used += is_used(v->f, d) && !v->f->dev[d].in_place;
        in_place += is_used(v->f, d) && v->f->dev[d].in_place;
    }
    used = used > 0 ? used : in_place;
    if (v->f->devices_used != used)
        verify_wrong(v, "devices_used: %d, it is %d", v->f->devices_used, used);
    if (v->f->minimal != used)
        verify_wrong(v, "minimal.devices: %d, used are %d", v->f->minimal, used);
}

static void check_sums(struct verifier *v)
{
    int before = v->out->n_wrong;
    uint64_t planned = 0;

    for (int d = 0; d < v->f->n_devs; d++) {
        check_lines(v, d);
        check_lines_of_slots(v, d);
        planned += v->f->dev[d].planned;
    }
    check_host(v);
    check_used(v);
    if (!v->f->fits)
        verify_wrong(v, "fits: false, so it is no plan to hold on to");
    if (v->f->context % KV_PAGE_TOKENS != 0)
        verify_wrong(v, "context: %" PRId64 " is not whole pages of %d", v->f->context,
                     KV_PAGE_TOKENS);
    if (v->out->n_wrong == before)
        verify_fine(v,
                    "sums: arenas + rounding + driver + reserve = %" PRIu64
                    " bytes planned, within what is free on each of %d device%s",
                    planned, v->f->n_devs, v->f->n_devs == 1 ? "" : "s");
}

void plan_file_verify(struct verdict *out, const struct plan_file *f, const struct gguf *file,
                      const struct model *m, const struct graph *g)
{
    struct verifier v = { out, f, file, m, g };

    check_model(&v);
    if (!check_parts(&v))
        return;
    verify_slots(&v);
    verify_steps(&v);
    check_sums(&v);
    verify_minimal(&v);
}
