// search.c - exact search over cuts and sets of devices.
//
// Fewest devices: what all or some of a set of devices hold of the chain's front, they hold of it
// cut shorter too, since bytes never shrink with the end of a stage. So one position says all that
// a set reaches, even where a part of a range that fits does not fit. Sets are taken in order of
// size until one reaches the end.
//
// Best way, the number of devices being known or bounded: a dynamic programme over (set of devices,
// position), forward for the least time; backward over what is on a fastest way for the fewest
// stages and the most slack behind it; then from the front the lowest device, then the longest
// stage. Times add, and a rest with more slack never makes a whole with less: so the best rest of
// each position is all that the best whole can need.

#include "plan/search.h"

#include <stdlib.h>
#include <string.h>

/// More than any sum of times; two of them can be added.
#define NO_WAY (INT64_MAX / 2)

/// Devices that are alike, in the order given; a set holds the first so many of them.
struct group {
    const uint64_t *bytes;
    const int64_t *ns;
    uint64_t room;
    int n, dev[SEARCH_DEVS];
    int step;                      // set + step: the set with one device of this group more
    uint8_t end[SEARCH_UNITS + 1]; // stages from i end at i + 1 to end[i]; i: none fits
    uint8_t far[SEARCH_UNITS + 1]; // the furthest end of any that begins at 0 to i
};

/// Sets of devices are numbers with one digit a group, the count: 2^n for n unlike devices, n + 1
/// for n alike.
struct sets {
    int n_units, n_groups, n;
    struct group group[SEARCH_DEVS];
    int *by_size;               // sets in order of size
    int *rank;                  // where a set is in by_size
    int first[SEARCH_DEVS + 2]; // of each size, in by_size
    uint8_t *reach;             // of each set: all or some of it hold as many units as that
};

static int least_of(int a, int b)
{
    return a < b ? a : b;
}

// --- sets of devices ----------------------------------------------------------------------------

static uint64_t stage_bytes(const struct group *g, int n_units, int from, int to)
{
    return g->bytes[from * (n_units + 1) + to];
}

static bool fits(const struct group *g, int n_units, int from, int to)
{
    uint64_t bytes = stage_bytes(g, n_units, from, to);

    return bytes != UINT64_MAX && bytes <= g->room;
}

static void find_ends(struct group *g, int n_units)
{
    for (int i = 0; i < n_units; i++) {
        int lo = i, hi = n_units;
        while (lo < hi) {
            int mid = (lo + hi + 1) / 2;
            if (fits(g, n_units, i, mid))
                lo = mid;
            else
                hi = mid - 1;
        }
        g->end[i] = (uint8_t)lo;
    }
    g->end[n_units] = (uint8_t)n_units;
    for (int i = 0; i <= n_units; i++)
        g->far[i] = i > 0 && g->far[i - 1] > g->end[i] ? g->far[i - 1] : g->end[i];
}

static void group_devices(struct sets *x, const struct search *s)
{
    for (int d = 0; d < s->n_devs; d++) {
        ASSERT(s->dev[d].table >= 0 && s->dev[d].table < s->n_tables);
        const struct search_table *t = &s->table[s->dev[d].table];
        int k = 0;

        while (k < x->n_groups && (x->group[k].bytes != t->bytes || x->group[k].ns != t->ns ||
                                   x->group[k].room != s->dev[d].room))
            k++;
        struct group *g = &x->group[k];
        if (k == x->n_groups) {
            x->n_groups++;
            *g = (struct group){ .bytes = t->bytes, .ns = t->ns, .room = s->dev[d].room };
            find_ends(g, s->n_units);
        }
        g->dev[g->n++] = d;
    }
}

/// How many devices of `g` are in `set`.
static int count_of(const struct group *g, int set)
{
    return set / g->step % (g->n + 1);
}

static void sets_init(struct sets *x, const struct search *s)
{
    ASSERT(s->n_units >= 0 && s->n_units <= SEARCH_UNITS);
    ASSERT(s->n_devs >= 0 && s->n_devs <= SEARCH_DEVS);
    *x = (struct sets){ .n_units = s->n_units, .n = 1 };
    group_devices(x, s);
    for (int g = 0; g < x->n_groups; g++) {
        x->group[g].step = x->n;
        x->n *= x->group[g].n + 1;
    }
    x->by_size = xmalloc((size_t)x->n * sizeof(*x->by_size));
    x->rank = xmalloc((size_t)x->n * sizeof(*x->rank));
    x->reach = xcalloc((size_t)x->n, sizeof(*x->reach));

    int *size = xcalloc((size_t)x->n, sizeof(*size)), at[SEARCH_DEVS + 2];
    for (int set = 0; set < x->n; set++) {
        for (int g = 0; g < x->n_groups; g++)
            size[set] += count_of(&x->group[g], set);
        x->first[size[set] + 1]++;
    }
    for (int k = 0; k <= SEARCH_DEVS; k++) {
        x->first[k + 1] += x->first[k];
        at[k] = x->first[k];
    }
    for (int set = 0; set < x->n; set++) {
        x->rank[set] = at[size[set]]++;
        x->by_size[x->rank[set]] = set;
    }
    free(size);
}

static void sets_done(struct sets *x)
{
    free(x->by_size);
    free(x->rank);
    free(x->reach);
}

/// Finds what sets of `size` devices reach, those of one less being known; returns the furthest.
static int reach_size(struct sets *x, int size)
{
    int furthest = 0;

    for (int r = x->first[size]; r < x->first[size + 1]; r++) {
        int set = x->by_size[r];
        for (int k = 0; k < x->n_groups; k++) {
            const struct group *g = &x->group[k];
            if (count_of(g, set) > 0 && g->far[x->reach[set - g->step]] > x->reach[set])
                x->reach[set] = g->far[x->reach[set - g->step]];
        }
        furthest = x->reach[set] > furthest ? x->reach[set] : furthest;
    }
    return furthest;
}

// --- ways ---------------------------------------------------------------------------------------

struct range {
    int lo, hi;
};

/// Ways over the chain by `least` to `most` devices. Rows of positions, one for each set of devices
/// in order of size; a cell is a position with the set before it.
struct ways {
    const struct sets *x;
    int least, most;
    size_t row;           // cells in one
    int64_t all;          // time of the fastest
    int64_t *need;        // rows by size of the set: no rest takes less
    int64_t *ns;          // least time before a position, or NO_WAY
    uint64_t *slack;      // of the best rest of a fastest way: fewest stages, then most slack
    uint8_t *n_stages;    // of the same; NONE: no fastest way goes here
    struct range *on_way; // of each row; outside there is NONE
};

enum { NONE = UINT8_MAX };

/// One device more for a set: of which group, and the rank and the first cell of the set that then
/// is.
struct more {
    const struct group *g;
    int rank;
    size_t row;
};

static int list_more(struct more *m, const struct ways *y, int rank)
{
    const struct sets *x = y->x;
    int n = 0, set = x->by_size[rank];

    for (int k = 0; k < x->n_groups; k++)
        if (count_of(&x->group[k], set) < x->group[k].n) {
            int r = x->rank[set + x->group[k].step];
            m[n++] = (struct more){ &x->group[k], r, (size_t)r * y->row };
        }
    return n;
}

/// Bounds the rests from below: as if a device could be used again and again. NO_WAY where even so
/// the number of stages or a device's room forbids it.
static void find_needs(struct ways *y)
{
    const struct sets *x = y->x;
    int n = x->n_units, row = n + 1;
    size_t cells = (size_t)(y->most + 1) * y->row;
    int64_t *by = xmalloc(cells * sizeof(*by)); // exactly so many stages

    y->need = xmalloc(cells * sizeof(*y->need));
    for (size_t i = 0; i < cells; i++)
        by[i] = y->need[i] = NO_WAY;
    by[n] = 0;
    for (int k = 1; k <= y->most; k++)
        for (int g = 0; g < x->n_groups; g++)
            for (int from = 0; from < n; from++) {
                const int64_t *ns = x->group[g].ns + from * row, *rest = by + (k - 1) * row;
                int64_t best = by[k * row + from];
                for (int to = from + 1; to <= x->group[g].end[from]; to++)
                    best = ns[to] + rest[to] < best ? ns[to] + rest[to] : best;
                by[k * row + from] = best;
            }
    for (int size = 0; size <= y->most; size++)
        for (int k = size < y->least ? y->least - size : 0; k <= y->most - size; k++)
            for (int i = 0; i <= n; i++)
                if (by[k * row + i] < y->need[size * row + i])
                    y->need[size * row + i] = by[k * row + i];
    free(by);
}

/// Lowers the times at which stages from `i` to at most `end` are done.
static void lower(int64_t *then, const int64_t *stage, int64_t before, int i, int end)
{
    for (int to = i + 1; to <= end; to++) {
        int64_t t = before + stage[to];
        then[to] = t < then[to] ? t : then[to];
    }
}

/// Forward. No stage begins where the whole would be slower than the fastest that is known.
static void find_times(struct ways *y)
{
    const struct sets *x = y->x;
    int n = x->n_units;
    size_t cells = (size_t)x->first[y->most + 1] * y->row;
    const int64_t *need = y->need;
    struct more more[SEARCH_DEVS];

    y->all = NO_WAY - 1;
    y->ns = xmalloc(cells * sizeof(*y->ns));
    for (size_t i = 0; i < cells; i++)
        y->ns[i] = NO_WAY;
    y->ns[0] = 0;
    for (int size = 0; size < y->most; size++, need += y->row) {
        int last = n; // with enough units behind for the stages that must follow
        while (last > 0 && need[y->row + (size_t)last] >= NO_WAY)
            last--;
        for (int r = x->first[size]; r < x->first[size + 1]; r++) {
            const int64_t *at = y->ns + (size_t)r * y->row;
            int n_more = list_more(more, y, r);
            for (int i = 0; i < n; i++)
                for (int k = 0; k < n_more && at[i] + need[i] <= y->all; k++) {
                    const struct group *g = more[k].g;
                    int64_t *then = y->ns + more[k].row;
                    lower(then, g->ns + (size_t)i * y->row, at[i], i, least_of(g->end[i], last));
                    if (then[n] < y->all)
                        y->all = then[n];
                }
        }
    }
}

struct rest {
    int n_stages;
    uint64_t slack;
};

static bool better(struct rest a, struct rest b)
{
    return a.n_stages != b.n_stages ? a.n_stages < b.n_stages : a.slack > b.slack;
}

/// The best rest that begins with the stage [from, to) on the device more, if that is on a fastest
/// way: they have the least time in front of each of their positions, so equal times tell.
static struct rest rest_by(const struct ways *y, const struct more *m, int64_t before, int from,
                           int to)
{
    size_t cell = m->row + (size_t)to, stage = (size_t)from * y->row + (size_t)to;

    if (y->n_stages[cell] == NONE || before + m->g->ns[stage] != y->ns[cell])
        return (struct rest){ NONE, 0 };
    uint64_t slack = m->g->room == UINT64_MAX ? UINT64_MAX : m->g->room - m->g->bytes[stage];
    return (struct rest){ y->n_stages[cell] + 1, slack < y->slack[cell] ? slack : y->slack[cell] };
}

/// Where a stage from `from` on, on the device more, may end on a fastest way.
static struct range ends_of(const struct ways *y, const struct more *m, int from)
{
    struct range to = y->on_way[m->rank];

    if (to.lo <= from)
        to.lo = from + 1;
    if (to.hi > m->g->end[from])
        to.hi = m->g->end[from];
    return to;
}

static void put_rest(struct ways *y, int rank, int at, struct rest r)
{
    size_t cell = (size_t)rank * y->row + (size_t)at;
    struct range *on = &y->on_way[rank];

    y->n_stages[cell] = (uint8_t)r.n_stages;
    y->slack[cell] = r.slack;
    on->lo = at; // they come from behind
    if (on->hi < at)
        on->hi = at;
}

/// Backward over the positions of fastest ways.
static void find_rests(struct ways *y)
{
    const struct sets *x = y->x;
    int n = x->n_units, n_sets = x->first[y->most + 1];
    size_t cells = (size_t)n_sets * y->row;
    struct more more[SEARCH_DEVS];

    y->slack = xmalloc(cells * sizeof(*y->slack));
    y->n_stages = xmalloc(cells * sizeof(*y->n_stages));
    memset(y->n_stages, NONE, cells * sizeof(*y->n_stages));
    y->on_way = xmalloc((size_t)n_sets * sizeof(*y->on_way));
    for (int size = y->most; size >= 0; size--)
        for (int r = x->first[size]; r < x->first[size + 1]; r++) {
            const int64_t *at = y->ns + (size_t)r * y->row, *need = y->need + size * (n + 1);
            int n_more = 0;

            y->on_way[r] = (struct range){ n + 1, -1 };
            if (at[n] == y->all)
                put_rest(y, r, n, (struct rest){ 0, UINT64_MAX });
            if (size < y->most)
                n_more = list_more(more, y, r);
            for (int i = n - 1; i >= 0; i--) {
                struct rest best = { NONE, 0 };
                for (int k = 0; k < n_more && at[i] + need[i] <= y->all; k++) {
                    struct range end = ends_of(y, &more[k], i);
                    for (int to = end.lo; to <= end.hi; to++) {
                        struct rest rest = rest_by(y, &more[k], at[i], i, to);
                        best = better(rest, best) ? rest : best;
                    }
                }
                if (best.n_stages != NONE)
                    put_rest(y, r, i, best);
            }
        }
}

/// From the front: the lowest device, then the longest stage that has as good a rest as any.
static void walk(struct search_result *out, const struct ways *y)
{
    int n = y->x->n_units, rank = 0, from = 0;
    struct more more[SEARCH_DEVS];

    *out = (struct search_result){ .ns = y->all, .slack = y->slack[0] };
    for (int left = y->n_stages[0]; left > 0; left--) {
        int n_more = list_more(more, y, rank), next = -1;
        struct search_stage stage = { SEARCH_DEVS, from, 0 };
        int64_t before = y->ns[(size_t)rank * y->row + (size_t)from];

        for (int k = 0; k < n_more; k++) {
            int dev = more[k].g->dev[count_of(more[k].g, y->x->by_size[rank])];
            struct range end = ends_of(y, &more[k], from);
            for (int to = end.hi; to >= end.lo && dev < stage.dev; to--) {
                struct rest rest = rest_by(y, &more[k], before, from, to);
                if (rest.n_stages != left || rest.slack < out->slack)
                    continue;
                stage = (struct search_stage){ dev, from, to };
                next = more[k].rank;
            }
        }
        ASSERT(next >= 0);
        out->stage[out->n_stages++] = stage;
        rank = next;
        from = stage.to;
    }
    ASSERT(from == n);
}

static bool find_best(struct search_result *out, const struct sets *x, int least, int most)
{
    struct ways y = { .x = x, .least = least, .most = most, .row = (size_t)x->n_units + 1 };

    find_needs(&y);
    find_times(&y);
    bool found = y.all < NO_WAY - 1;
    if (found) {
        find_rests(&y);
        walk(out, &y);
    }
    free(y.need);
    free(y.ns);
    free(y.slack);
    free(y.n_stages);
    free(y.on_way);
    return found;
}

bool search_find(struct search_result *out, const struct search *s)
{
    struct sets x;
    int most = least_of(s->n_devs, s->n_units), fewest = 1;
    bool found = false;

    *out = (struct search_result){ 0 };
    if (s->max_devs > 0)
        most = least_of(most, s->max_devs);
    if (s->exact_devs > most)
        return false;
    if (s->exact_devs > 0)
        most = s->exact_devs;
    sets_init(&x, s);
    while (fewest <= most && reach_size(&x, fewest) < s->n_units)
        fewest++;
    if (fewest <= most) {
        if (s->exact_devs > 0)
            fewest = most;
        else if (s->goal == SEARCH_FEWEST)
            most = fewest;
        found = find_best(out, &x, fewest, most);
    }
    sets_done(&x);
    return found;
}

// --- why fewer do not do ------------------------------------------------------------------------

/// The lowest devices that make up `set`.
static uint32_t devices_of(const struct sets *x, int set)
{
    uint32_t devs = 0;

    for (int k = 0; k < x->n_groups; k++)
        for (int i = count_of(&x->group[k], set) - 1; i >= 0; i--)
            devs |= UINT32_C(1) << x->group[k].dev[i];
    return devs;
}

/// What the device of `set` with the least lack would lack for unit `units`, the others holding all
/// before its stage.
static void find_lack(struct search_reach *e, const struct sets *x, int set)
{
    for (int k = 0; k < x->n_groups; k++) {
        const struct group *g = &x->group[k];
        if (count_of(g, set) == 0)
            continue;
        for (int i = 0; i <= x->reach[set - g->step]; i++) {
            uint64_t bytes = stage_bytes(g, x->n_units, i, e->units + 1);
            uint64_t lacks = bytes == UINT64_MAX ? UINT64_MAX : bytes - g->room;
            if (lacks > e->lacks ||
                (lacks == e->lacks && e->last_dev >= 0 && g->dev[0] >= e->last_dev))
                continue;
            e->lacks = lacks;
            e->last_dev = g->dev[0];
        }
    }
}

static bool nearer(const struct search_reach *a, const struct search_reach *b)
{
    if (a->units != b->units)
        return a->units > b->units;
    return a->lacks != b->lacks ? a->lacks < b->lacks : a->devs < b->devs;
}

void search_reach(struct search_reach *out, const struct search *s, int n_devs)
{
    struct sets x;

    *out = (struct search_reach){ .last_dev = -1, .lacks = UINT64_MAX };
    if (n_devs < 0 || n_devs > s->n_devs)
        return;
    sets_init(&x, s);
    for (int k = 1; k <= n_devs; k++)
        reach_size(&x, k);
    for (int r = x.first[n_devs]; r < x.first[n_devs + 1]; r++) {
        int set = x.by_size[r];
        struct search_reach e = {
            .devs = devices_of(&x, set), .last_dev = -1, .units = x.reach[set], .lacks = UINT64_MAX
        };
        if (e.units == x.n_units)
            e.lacks = 0;
        else
            find_lack(&e, &x, set);
        if (out->n_sets++ == 0 || nearer(&e, out)) {
            e.n_sets = out->n_sets;
            *out = e;
        }
    }
    sets_done(&x);
}
