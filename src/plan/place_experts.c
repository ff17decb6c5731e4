// place_experts.c - a model of experts beside the host: which of them the devices keep.
//
// Dense parts, KV and shared experts are on devices. For each stage and device the experts of its
// blocks compete for the room that is left: a 0/1 knapsack, the value of a block's experts being
// the time that they save. Blocks come in few kinds (bytes, value), so that counting how many of
// each kind is kept tries everything. The search over stages then finds the best cuts with the best
// knapsacks inside, so both are exact together.

#include "plan/place_int.h"

#include <stdlib.h>
#include <string.h>

enum { KINDS = 6 };

struct kind {
    uint64_t bytes;
    int64_t gain;
    int n; // in the stage looked at
};

struct pack {
    struct placer *s;
    struct tables dense, full, mixed; // mixed: one table a device
    int n;                            // units
    uint64_t *bytes;                  // [n] of a unit's experts
    int64_t *host_ns;                 // [n] their time with the host
    struct kind kind[KINDS];
    int n_kinds;
    int *kind_of; // [n] -1: no experts
};

static size_t cell(const struct pack *p, int from, int to)
{
    return (size_t)from * (size_t)(p->n + 1) + (size_t)to;
}

/// The best counts of kinds from `k` on in `room` bytes; returns the gain.
static int64_t fill(const struct kind *kind, int k, int n_kinds, uint64_t room, int *count)
{
    int64_t best = -1;
    int best_count[KINDS] = { 0 }, tried[KINDS];

    if (k == n_kinds)
        return 0;
    int most = kind[k].bytes == 0 || room / kind[k].bytes > (uint64_t)kind[k].n
                   ? kind[k].n
                   : (int)(room / kind[k].bytes);
    int least = k == n_kinds - 1 ? most : 0; // of the last kind as many as there is room for
    for (int i = most; i >= least; i--) {
        int64_t gain = i * kind[k].gain +
                       fill(kind, k + 1, n_kinds, room - (uint64_t)i * kind[k].bytes, tried);
        if (gain > best) {
            best = gain;
            memcpy(best_count, tried, sizeof(tried));
            best_count[k] = i;
        }
    }
    memcpy(count, best_count, sizeof(best_count));
    return best;
}

/// Room for experts in a stage: what dense parts leave, less what running any of them costs beside
/// their weights. False: not even the dense parts fit.
static bool room_for_experts(const struct pack *p, int d, int from, int to, uint64_t *room)
{
    int c = p->s->class_of[d];
    uint64_t all = placer_room(p->s, d), dense = p->dense.costs[c].bytes[cell(p, from, to)];
    uint64_t less = p->s->penalty[d];
    uint64_t full = p->full.costs[c].bytes[cell(p, from, to)], sum = dense;

    if (dense == UINT64_MAX || full == UINT64_MAX)
        return false;
    for (int l = from; l < to; l++)
        sum += p->bytes[l];
    uint64_t rest = full > sum ? full - sum : 0; // scratch and rounding
    rest += p->s->info[d].granule_bytes;
    if (all == UINT64_MAX) {
        *room = UINT64_MAX / 4;
        return true;
    }
    all = all > less ? all - less : 0;
    *room = all > dense + rest ? all - dense - rest : 0;
    return all >= dense;
}

static int64_t best_counts(const struct pack *p, int d, int from, int to, int *count)
{
    struct kind kind[KINDS];
    uint64_t room;

    if (!room_for_experts(p, d, from, to, &room))
        return -1;
    memcpy(kind, p->kind, sizeof(kind));
    for (int k = 0; k < p->n_kinds; k++)
        kind[k].n = 0;
    for (int l = from; l < to; l++)
        if (p->kind_of[l] >= 0)
            kind[p->kind_of[l]].n++;
    return fill(kind, 0, p->n_kinds, room, count);
}

/// Bytes and times of each unit's experts, and their kinds. The value is what the host would take,
/// less what a device takes; of unlike devices the first says.
static bool find_kinds(struct pack *p, const struct plan *dense)
{
    const struct placer *s = p->s;
    int c = s->class_of[s->host == 0 ? 1 : 0];

    for (int i = 0; i < graph_n_tensors(s->g); i++) {
        const struct tensor *t = graph_tensor(s->g, i);
        if (t->role == ROLE_WEIGHT && graph_part(s->g, t->part)->kind == PART_EXPERTS &&
            p->full.units.of[t->part] >= 0)
            p->bytes[p->full.units.of[t->part]] +=
                align_up_u64(tensor_bytes(t, &dense->max), SLOT_ALIGN);
    }
    for (int i = 0; i < dense->n_steps; i++) {
        const struct step *x = &dense->step[i];
        if (x->node == NULL || x->dev != s->host ||
            graph_part(s->g, x->node->part)->kind != PART_EXPERTS)
            continue;
        struct dev_info info = s->info[s->host];
        if (info.bytes_per_s <= 0)
            info.bytes_per_s = 20e9;
        p->host_ns[p->full.units.of[x->node->part]] += step_ns(x, dense->value, &info, &dense->max);
    }
    for (int l = 0; l < p->n; l++) {
        p->kind_of[l] = -1;
        if (p->bytes[l] == 0)
            continue;
        int64_t gain = p->host_ns[l] + p->dense.costs[c].ns[cell(p, l, l + 1)] -
                       p->full.costs[c].ns[cell(p, l, l + 1)];
        gain = gain > 0 ? gain : 0;
        int k = 0;
        while (k < p->n_kinds && (p->kind[k].bytes != p->bytes[l] || p->kind[k].gain != gain))
            k++;
        if (k == KINDS)
            return false; // no published model has so many; the search by blocks serves
        p->kind[k] = (struct kind){ p->bytes[l], gain, 0 };
        p->n_kinds = k == p->n_kinds ? k + 1 : p->n_kinds;
        p->kind_of[l] = k;
    }
    return p->n_kinds > 0;
}

/// A table for each device: bytes of the dense parts, time with the best experts.
static void mix(struct pack *p)
{
    size_t all = (size_t)(p->n + 1) * (size_t)(p->n + 1);

    p->mixed = (struct tables){ .n = p->s->n_devs };
    for (int d = 0; d < p->s->n_devs; d++) {
        struct costs *m = &p->mixed.costs[d];
        const struct costs *dense = &p->dense.costs[p->s->class_of[d]];
        *m = (struct costs){ p->n, xcalloc(all, sizeof(uint64_t)), NULL,
                             xcalloc(all, sizeof(int64_t)) };
        memset(m->bytes, 0xff, all * sizeof(uint64_t));
        for (int from = 0; d != p->s->host && from < p->n; from++) {
            int64_t host = 0;
            for (int to = from + 1; to <= p->n; to++) {
                int count[KINDS];
                int64_t gain = best_counts(p, d, from, to, count);
                host += p->host_ns[to - 1];
                if (gain < 0)
                    break;
                int64_t ns = dense->ns[cell(p, from, to)] + host - gain;
                m->bytes[cell(p, from, to)] = dense->bytes[cell(p, from, to)];
                m->ns[cell(p, from, to)] = ns > 0 ? ns : 0;
            }
        }
    }
}

/// Dense parts by stages; of each kind the last blocks of a stage keep their experts on the device,
/// since late blocks of a prompt use fewer of them.
static void assign_experts(struct pack *p, const struct search_result *r)
{
    struct placer *s = p->s;

    for (int i = 0; i < s->n_parts; i++)
        s->a.dev[i] = s->host;
    for (int k = 0; k < r->n_stages; k++) {
        const struct search_stage *st = &r->stage[k];
        int count[KINDS] = { 0 };
        (void)best_counts(p, st->dev, st->from, st->to, count);
        for (int l = st->from; l < st->to; l++) {
            bool keep = p->kind_of[l] >= 0 && count[p->kind_of[l]] > 0;
            if (keep)
                count[p->kind_of[l]]--;
            for (int i = 0; i < s->n_parts; i++)
                if (p->full.units.of[i] == l && (keep || graph_part(s->g, i)->kind != PART_EXPERTS))
                    s->a.dev[i] = st->dev;
        }
    }
}

static bool search_mixed(struct pack *p, struct search_result *r)
{
    int class_of[PLACE_DEVS];
    struct placer *s = p->s;

    memcpy(class_of, s->class_of, sizeof(class_of));
    for (int d = 0; d < s->n_devs; d++)
        s->class_of[d] = d;
    p->mixed.units.n = p->n;
    bool ok = placer_search(s, r, &p->mixed, SEARCH_FASTEST, false, 0);
    memcpy(s->class_of, class_of, sizeof(class_of));
    return ok;
}

static void make_costs(struct pack *p, struct tables *t, bool experts_with_host, struct plan **keep)
{
    struct placer *s = p->s;

    for (int i = 0; i < s->n_parts; i++) {
        enum part_kind k = graph_part(s->g, i)->kind;
        s->on_host[i] = k == PART_EMBED || (experts_with_host && k == PART_EXPERTS);
    }
    *t = (struct tables){ .n = s->n_classes };
    units_of(&t->units, s->g, s->on_host);
    for (int c = 0; c < t->n; c++) {
        struct plan *plan =
            s->class_dev[c] == s->host ? NULL : placer_plan_on(s, &t->units, s->class_dev[c]);
        if (plan == NULL)
            costs_impossible(&t->costs[c], &t->units);
        else
            costs_from_plan(&t->costs[c], plan, s->class_dev[c], &t->units);
        if (keep != NULL && *keep == NULL)
            *keep = plan;
        else
            plan_free(plan);
    }
}

static bool has_experts(const struct graph *g)
{
    for (int i = 0; i < graph_n_parts(g); i++)
        if (graph_part(g, i)->kind == PART_EXPERTS)
            return true;
    return false;
}

bool place_experts(struct placer *s)
{
    struct pack p = { .s = s };
    struct plan *dense = NULL;
    struct search_result r;
    bool ok = false;

    if (!has_experts(s->g))
        return false;
    make_costs(&p, &p.full, false, NULL);
    make_costs(&p, &p.dense, true, &dense);
    p.n = p.full.units.n;
    p.bytes = xcalloc((size_t)p.n + 1, sizeof(*p.bytes));
    p.host_ns = xcalloc((size_t)p.n + 1, sizeof(*p.host_ns));
    p.kind_of = xcalloc((size_t)p.n + 1, sizeof(*p.kind_of));
    memset(s->penalty, 0, sizeof(s->penalty));
    if (dense != NULL && p.dense.units.n == p.n && find_kinds(&p, dense))
        for (int i = 0; i < 8 && !ok; i++) {
            mix(&p);
            bool found = search_mixed(&p, &r);
            if (found && s->by_costs) {
                ok = true;
                s->n_stages = r.n_stages;
            } else if (found) {
                assign_experts(&p, &r);
                ok = placer_try(s);
                s->n_stages = r.n_stages;
            }
            for (int d = 0; d < p.mixed.n; d++)
                costs_done(&p.mixed.costs[d]);
            if (!found)
                break;
        }
    plan_free(dense);
    tables_done(&p.full);
    tables_done(&p.dense);
    free(p.bytes);
    free(p.host_ns);
    free(p.kind_of);
    return ok;
}
