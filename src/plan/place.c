// place.c - the search over assignments: the fewest devices that hold everything.
//
// Parts stay in order and contiguous. For k devices, the k with most free memory (earlier ones
// first among equals), in the order given: each is filled with as many parts as fit, tried by real
// plans; if that places everything, the same k devices are filled evenly instead where that fits
// too.

#include "plan/place.h"
#include "plan/plan_int.h"

#include <stdlib.h>
#include <string.h>

struct searcher {
    const struct graph *g;
    const struct weight_place *w;
    struct limits lim;
    struct dev *const *devs;
    int n_devs, n_parts;
    struct dev_info *info;
    int *pick; // [k] devices in use, ascending
    int k;
    struct assign a;
    struct plan *best; // the last plan of a search: the result, or what shows the shortfall
    struct err *e;
    bool failed; // plan_make() itself said no: there is no point in trying on
};

void assign_even(struct assign *a, const struct graph *g, int n_devs)
{
    int n = graph_n_parts(g);

    a->n_parts = n;
    a->dev = xcalloc((size_t)n, sizeof(*a->dev));
    for (int i = 1; i < n; i++)
        a->dev[i] = (int)((int64_t)(i - 1) * n_devs / (n - 1));
}

static struct plan *try_plan(struct searcher *s)
{
    struct plan *p = NULL;

    if (!s->failed && !plan_make(&p, s->g, s->w, &s->a, &s->lim, s->devs, s->n_devs, s->e))
        s->failed = true;
    return p;
}

static void keep_plan(struct searcher *s, struct plan *p)
{
    plan_free(s->best);
    s->best = p;
}

/// Whether device pick[at] holds parts [from, to), those behind being on the next device.
static bool stage_fits(struct searcher *s, int at, int from, int to)
{
    int d = s->pick[at], rest = at + 1 < s->k ? s->pick[at + 1] : d;

    for (int i = from; i < s->n_parts; i++)
        s->a.dev[i] = i < to ? d : rest;
    struct plan *p = try_plan(s);
    bool ok = p != NULL && p->dev[d].total_bytes <= plan_room(&p->dev[d], &s->lim);
    if (p != NULL)
        keep_plan(s, p);
    return ok;
}

/// Fills each device with as many parts as it holds. A part of a range that fits, fits: so halving
/// finds the most.
static bool fill_greedily(struct searcher *s)
{
    int from = 1;

    for (int at = 0; at < s->k && from < s->n_parts; at++) {
        int low = from, high = s->n_parts; // [from, low) fits
        if (at + 1 == s->k)
            return stage_fits(s, at, from, s->n_parts) && plan_holds(s->best);
        while (low < high) {
            int mid = low + (high - low + 1) / 2;
            if (stage_fits(s, at, from, mid))
                low = mid;
            else
                high = mid - 1;
        }
        for (int i = from; i < low; i++)
            s->a.dev[i] = s->pick[at];
        from = low;
    }
    struct plan *p = try_plan(s);
    if (p == NULL)
        return false;
    keep_plan(s, p);
    return plan_holds(p);
}

/// Bytes that stay where a part is: its weights and its KV pages.
static uint64_t *part_bytes(const struct searcher *s)
{
    uint64_t *bytes = xcalloc((size_t)s->n_parts, sizeof(*bytes));
    struct dims max = s->best->max;

    for (int i = 0; i < graph_n_tensors(s->g); i++) {
        const struct tensor *t = graph_tensor(s->g, i);
        if (t->role == ROLE_WEIGHT || t->role == ROLE_STATE)
            bytes[t->part] += tensor_bytes(t, &max);
    }
    return bytes;
}

/// Cuts the parts so that no device holds more than `level` of its room; false if some are left
/// over.
static bool cut_at(struct searcher *s, const uint64_t *bytes, double level)
{
    int from = 1;

    for (int at = 0; at < s->k; at++) {
        const struct plan_dev d = { .info = s->info[s->pick[at]] };
        double room = level * (double)plan_room(&d, &s->lim), sum = 0;
        while (from < s->n_parts && sum + (double)bytes[from] <= room) {
            sum += (double)bytes[from];
            s->a.dev[from++] = s->pick[at];
        }
    }
    return from == s->n_parts;
}

/// Replaces a greedy result by an even one on the same devices, if that fits.
static void even_out(struct searcher *s)
{
    uint64_t *bytes = part_bytes(s);
    double low = 0, high = 1;

    for (int i = 0; i < 40; i++) {
        double mid = (low + high) / 2;
        if (cut_at(s, bytes, mid))
            high = mid;
        else
            low = mid;
    }
    if (cut_at(s, bytes, high)) {
        struct plan *p = try_plan(s);
        if (p != NULL && plan_holds(p))
            keep_plan(s, p);
        else
            plan_free(p);
    }
    free(bytes);
}

/// The k devices with most room, the earlier one among equals.
static void pick_devices(struct searcher *s)
{
    bool *taken = xcalloc((size_t)s->n_devs, sizeof(*taken));

    for (int n = 0; n < s->k; n++) {
        int most = -1;
        for (int d = 0; d < s->n_devs; d++)
            if (!taken[d] && (most < 0 || s->info[d].free_bytes > s->info[most].free_bytes))
                most = d;
        taken[most] = true;
    }
    for (int d = 0, n = 0; d < s->n_devs; d++)
        if (taken[d])
            s->pick[n++] = d;
    free(taken);
}

static bool search_fewest(struct searcher *s)
{
    for (int d = 0; d < s->n_devs && !s->failed; d++) { // one: the first that holds it
        s->k = 1;
        s->pick[0] = d;
        if (fill_greedily(s))
            return true;
    }
    int most = s->n_devs < s->n_parts - 1 ? s->n_devs : s->n_parts - 1;
    for (s->k = 2; s->k <= most && !s->failed; s->k++) {
        pick_devices(s);
        if (fill_greedily(s)) {
            even_out(s);
            return true;
        }
    }
    return false;
}

static bool found_with(void *ctx, const struct limits *lim)
{
    struct searcher s = *(const struct searcher *)ctx;

    s.lim = *lim;
    s.best = NULL;
    s.failed = false;
    s.e = NULL;
    bool ok = search_fewest(&s);
    plan_free(s.best);
    return ok;
}

bool place_find(struct plan **out, struct placement *why, const struct graph *g,
                const struct weight_place *w, const struct limits *lim, const struct place_opts *o,
                struct dev *const *devs, int n_devs, struct err *e)
{
    (void)why, (void)o;
    struct searcher s = { .g = g, .w = w, .lim = *lim, .devs = devs, .n_devs = n_devs, .e = e };

    *out = NULL;
    ASSERT(n_devs > 0);
    s.n_parts = graph_n_parts(g);
    s.info = xcalloc((size_t)n_devs, sizeof(*s.info));
    s.pick = xcalloc((size_t)n_devs, sizeof(*s.pick));
    s.a = (struct assign){ s.n_parts, xcalloc((size_t)s.n_parts, sizeof(int)) };
    for (int d = 0; d < n_devs; d++)
        devs[d]->ops->info(devs[d], &s.info[d]);
    bool ok = search_fewest(&s);
    if (ok) {
        *out = s.best;
    } else {
        if (!s.failed) {
            plan_lacks(s.best, e);
            suggest_limits(lim, found_with, &s, e);
        }
        plan_free(s.best);
    }
    free(s.a.dev);
    free(s.pick);
    free(s.info);
    return ok;
}
