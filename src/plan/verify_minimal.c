// verify_minimal.c - that no fewer devices hold the model, proved again.
//
// A device holds a run of parts in the model's order. For every set of devices, one smaller than
// the plan's: from the start, all places that a run on one of them can reach, then on another, and
// so on. If none of the sets reaches the end, fewer do not do. First with weights and KV alone,
// which no stage can be without; where these do not decide it, with the costs that the plan states
// for each stage, after these were held against the first and against the plan's own stages. These
// come with the embedding on a device and, where there is a host, with it there.

#include "plan/verify_int.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_SETS = 1 << 16, MAX_CLASSES = 64 };

/// Devices that cannot be told apart: how many, and how far each gets from each start.
struct alike {
    uint64_t room, granule;
    int table, count;
    int *reach; // [n + 1] the last unit that a run from here can end before
};

struct proof {
    struct verifier *v;
    const struct file_stages *s; // NULL: weights and KV alone
    int n;                       // units
    int *unit;                   // [n_parts] of the graph, -1: not to be placed
    uint64_t *least;             // [from * (n + 1) + to] weights and KV, without rounding
    struct alike c[MAX_CLASSES];
    int n_classes;
    int64_t sets; // looked at
};

/// Stated, or the parts that no in-place device has.
static void find_units(struct proof *p)
{
    const struct plan_file *f = p->v->f;
    int n_parts = graph_n_parts(p->v->g);

    p->n = p->s != NULL ? p->s->n_units : 0;
    p->unit = xcalloc((size_t)n_parts, sizeof(*p->unit));
    p->unit[0] = -1;
    for (int i = 1; i < n_parts; i++) {
        if (p->s != NULL)
            p->unit[i] = p->s->unit_of[i];
        else
            p->unit[i] = f->dev[f->part_dev[i - 1]].in_place ? -1 : p->n++;
    }
}

static bool counted(const struct tensor *const *seen, int n, const struct tensor *t)
{
    for (int i = 0; i < n; i++)
        if (seen[i]->source == t->source && seen[i]->row0 == t->row0)
            return true;
    return false;
}

/// For each start, adds unit after unit; a matrix that is there already costs nothing.
static void find_least(struct proof *p)
{
    const struct graph *g = p->v->g;
    int n_tensors = graph_n_tensors(g), width = p->n + 1;
    const struct tensor **twin = xcalloc((size_t)n_tensors + 1, sizeof(struct tensor *));
    uint64_t *own = xcalloc((size_t)width, sizeof(*own)); // of a unit, without the twins
    int n_twins = 0;

    for (int i = 0; i < n_tensors; i++) {
        const struct tensor *t = graph_tensor(g, i);
        int u = p->unit[t->part];
        if (u < 0 || (t->role != ROLE_WEIGHT && t->role != ROLE_STATE))
            continue;
        bool shared = false;
        for (int k = 0; k < n_tensors && t->role == ROLE_WEIGHT && !shared; k++) {
            const struct tensor *o = graph_tensor(g, k);
            shared =
                k != i && o->role == ROLE_WEIGHT && o->source == t->source && o->row0 == t->row0;
        }
        if (shared)
            twin[n_twins++] = t;
        else
            own[u] +=
                verify_up(verify_bytes(p->v, t, t->role == ROLE_STATE ? p->v->f->kv : t->type), 64);
    }
    p->least = xcalloc((size_t)width * (size_t)width, sizeof(*p->least));
    for (int from = 0; from < p->n; from++) {
        const struct tensor *seen[64];
        int n_seen = 0;
        uint64_t sum = 0;
        for (int to = from + 1; to <= p->n; to++) {
            sum += own[to - 1];
            for (int k = 0; k < n_twins; k++)
                if (p->unit[twin[k]->part] == to - 1 && n_seen < 64 &&
                    !counted(seen, n_seen, twin[k])) {
                    seen[n_seen++] = twin[k];
                    sum += verify_up(verify_bytes(p->v, twin[k], twin[k]->type), 64);
                }
            p->least[from * width + to] = sum;
        }
    }
    free(own);
    free(twin);
}

static uint64_t room_of(const struct plan_file *f, const struct file_dev *d)
{
    uint64_t taken = d->driver + f->reserve;

    if (d->free == UINT64_MAX)
        return UINT64_MAX;
    return d->free > taken ? d->free - taken : 0;
}

static void find_classes(struct proof *p)
{
    const struct plan_file *f = p->v->f;

    for (int d = 0; d < f->n_devs; d++) {
        struct alike x = { .room = room_of(f, &f->dev[d]),
                           .granule = f->dev[d].granule,
                           .table = p->s != NULL ? p->s->table_of[d] : -1,
                           .count = 1 };
        int c = 0;
        if (f->dev[d].in_place)
            continue;
        while (c < p->n_classes &&
               (p->c[c].room != x.room || p->c[c].granule != x.granule || p->c[c].table != x.table))
            c++;
        if (c < p->n_classes) {
            p->c[c].count++;
        } else {
            x.reach = xcalloc((size_t)p->n + 1, sizeof(int));
            p->c[p->n_classes++] = x;
        }
    }
}

static uint64_t cost(const struct proof *p, const struct alike *c, int from, int to)
{
    int at = from * (p->n + 1) + to;

    return p->s == NULL ? p->least[at] : c->table >= 0 ? p->s->bytes[c->table][at] : 0;
}

/// More units never take less, so the first that does not fit ends it.
static void find_reach(struct proof *p)
{
    for (int c = 0; c < p->n_classes; c++)
        for (int from = 0; from <= p->n; from++) {
            int to = from;
            while (to < p->n && cost(p, &p->c[c], from, to + 1) <= p->c[c].room)
                to++;
            p->c[c].reach[from] = to;
        }
}

/// Sets are numbered by how many of each class they have. -1: too many of them.
static int count_sets(const struct proof *p)
{
    int64_t n = 1;

    for (int c = 0; c < p->n_classes; c++) {
        n *= p->c[c].count + 1;
        if (n > MAX_SETS)
            return -1;
    }
    return (int)n;
}

/// Where a device of class `c` gets from what `before` has reached.
static void go_on(const struct proof *p, int c, const bool *before, bool *here)
{
    for (int i = 0; i <= p->n; i++)
        for (int j = i; before[i] && j <= p->c[c].reach[i]; j++)
            here[j] = true;
}

/// Whether any `k` devices reach the end.
static bool some_set_holds(struct proof *p, int k)
{
    int n_sets = count_sets(p), width = p->n + 1;
    bool *to = xcalloc((size_t)n_sets * (size_t)width, sizeof(*to)); // [set][reached]
    bool found = false;

    p->sets = 0;
    to[0] = true;
    for (int s = 0; s < n_sets && !found; s++) { // smaller ones have smaller numbers
        int rest = s, size = 0, step = 1;
        for (int c = 0; c < p->n_classes; c++) {
            int have = rest % (p->c[c].count + 1);
            if (have > 0)
                go_on(p, c, to + (size_t)(s - step) * (size_t)width,
                      to + (size_t)s * (size_t)width);
            rest /= p->c[c].count + 1;
            size += have;
            step *= p->c[c].count + 1;
        }
        p->sets += size == k;
        found = size <= k && to[(size_t)s * (size_t)width + (size_t)p->n];
    }
    free(to);
    return found;
}

/// Whether these are the stages of this plan's kind: the host has the same parts.
static bool is_own(const struct proof *p)
{
    for (int i = 1; i < graph_n_parts(p->v->g); i++)
        if (p->v->f->dev[p->v->f->part_dev[i - 1]].in_place != (p->unit[i] < 0))
            return false;
    return true;
}

/// Parts in order, in units without a gap; only an embedding may be on the host.
static void check_units(struct proof *p)
{
    int at = -1;

    for (int i = 1; i < graph_n_parts(p->v->g); i++) {
        int u = p->unit[i];
        bool embed = graph_part(p->v->g, i)->kind == PART_EMBED;
        if (u < 0 ? !embed : u < at || u > at + 1)
            verify_wrong(p->v, "minimal.stages.unit_of[%d]: %d is not in the order of parts", i, u);
        at = u > at ? u : at;
    }
    if (at != p->n - 1)
        verify_wrong(p->v, "minimal.stages.unit_of: %d units, costs are of %d", at + 1, p->n);
}

/// What device `d` was planned to take, beside what is stated for its units. Stated costs have
/// scratch at the peak of its live bytes, which a packing may miss.
static void check_own_stage(struct proof *p, int d)
{
    const struct file_dev *x = &p->v->f->dev[d];
    int from = p->n, to = -1, t = p->s->table_of[d];

    for (int i = 1; i < graph_n_parts(p->v->g); i++)
        if (p->v->f->part_dev[i - 1] == d) {
            from = p->unit[i] < from ? p->unit[i] : from;
            to = p->unit[i] + 1 > to ? p->unit[i] + 1 : to;
        }
    if (to < 0)
        return;
    uint64_t is = x->planned - x->line[FILE_DRIVER] - x->line[FILE_RESERVE];
    uint64_t above =
        verify_up(x->line[ARENA_SCRATCH], x->granule) - verify_up(x->scratch_bound, x->granule);
    if (p->s->bytes[t][from * (p->n + 1) + to] != is - above)
        verify_wrong(p->v,
                     "minimal.stages: units %d to %d on device %d: %" PRIu64
                     " bytes, planned are %" PRIu64,
                     from, to - 1, d, p->s->bytes[t][from * (p->n + 1) + to], is - above);
}

/// The stated costs are those of this plan's own stages, and none is below what it must hold.
static bool check_stages(struct proof *p)
{
    const struct plan_file *f = p->v->f;
    int before = p->v->out->n_wrong, width = p->n + 1;

    check_units(p);
    for (int d = 0; d < f->n_devs && p->v->out->n_wrong == before; d++) {
        int t = p->s->table_of[d];
        if (f->dev[d].in_place)
            continue;
        if (t < 0) {
            verify_wrong(p->v, "minimal.stages.table_of[%d]: the device has no table", d);
            continue;
        }
        if (is_own(p))
            check_own_stage(p, d);
        for (int a = 0; a < p->n; a++)
            for (int b = a + 1; b <= p->n; b++)
                if (p->s->bytes[t][a * width + b] < p->least[a * width + b])
                    verify_wrong(p->v,
                                 "minimal.stages: units %d to %d on device %d: less than "
                                 "their weights and KV",
                                 a, b - 1, d);
    }
    return p->v->out->n_wrong == before;
}

/// Blocks or experts: more than rows of the embedding.
static bool host_has_a_share(const struct plan_file *f, const struct graph *g)
{
    for (int i = 1; i < graph_n_parts(g); i++)
        if (graph_part(g, i)->kind != PART_EMBED && f->dev[f->part_dev[i - 1]].in_place)
            return true;
    return false;
}

enum answer { NONE_HOLDS, SOME_HOLD, NOT_TOLD };

/// Whether any `k` devices hold these stages; *sets: how many unlike sets there are.
static enum answer some_hold(struct verifier *v, const struct file_stages *s, int k, int64_t *sets)
{
    struct proof p = { .v = v, .s = s };
    enum answer a = NOT_TOLD;

    find_units(&p);
    find_least(&p);
    find_classes(&p);
    if (count_sets(&p) < 0) {
        verify_open(v, "minimality: more than %d sets of unlike devices", MAX_SETS);
    } else if (s == NULL || check_stages(&p)) {
        find_reach(&p);
        a = some_set_holds(&p, k) ? SOME_HOLD : NONE_HOLDS;
    }
    *sets = p.sets;
    for (int c = 0; c < p.n_classes; c++)
        free(p.c[c].reach);
    free(p.unit);
    free(p.least);
    return a;
}

/// All parts on devices must be among the stages stated, and the embedding on a host if there is
/// one.
static bool has_all_variants(const struct verifier *v)
{
    bool host = false, all = false, without = false;

    for (int d = 0; d < v->f->n_devs; d++)
        host = host || v->f->dev[d].in_place;
    for (int i = 0; i < v->f->n_stages; i++) {
        bool embed = true;
        for (int k = 1; k < graph_n_parts(v->g); k++)
            if (graph_part(v->g, k)->kind == PART_EMBED && v->f->stages[i].unit_of[k] < 0)
                embed = false;
        all = all || embed;
        without = without || !embed;
    }
    return all && (without || !host);
}

static void prove(struct verifier *v, int k)
{
    int64_t sets;
    enum answer a = some_hold(v, NULL, k, &sets);

    if (a == NONE_HOLDS)
        verify_fine(v,
                    "minimal: %d devices; of %" PRId64 " unlike sets of %d none holds "
                    "weights and KV alone",
                    k + 1, sets, k);
    if (a != SOME_HOLD)
        return;
    if (!has_all_variants(v)) {
        verify_wrong(v,
                     "minimal.proved: %d devices hold weights and KV, and the plan states no "
                     "costs of stages that would rule them out",
                     k);
        return;
    }
    for (int i = 0; i < v->f->n_stages; i++) {
        a = some_hold(v, &v->f->stages[i], k, &sets);
        if (a == SOME_HOLD)
            verify_wrong(v, "minimal.devices: %d, by the costs that it states %d would do", k + 1,
                         k);
        if (a != NONE_HOLDS)
            return;
    }
    verify_fine(v,
                "minimal: %d devices; of %" PRId64 " unlike sets of %d none holds the "
                "stages at the costs stated",
                k + 1, sets, k);
}

void verify_minimal(struct verifier *v)
{
    int used = 0;

    for (int d = 0; d < v->f->n_devs; d++)
        used += !v->f->dev[d].in_place && v->f->dev[d].planned > 0;
    if (used <= 1 && !(used == 1 && host_has_a_share(v->f, v->g))) {
        if (v->f->proved)
            verify_fine(v, "minimal: one device");
        else
            verify_wrong(v, "minimal.proved: false, and one device is all there is");
        return;
    }
    if (host_has_a_share(v->f, v->g)) {
        verify_open(v, "minimality: the host has a share, so the devices hold what they can");
        return;
    }
    if (!v->f->proved) {
        verify_open(v, "minimality: the plan does not say that fewer devices would not do");
        return;
    }
    prove(v, used - 1);
}
