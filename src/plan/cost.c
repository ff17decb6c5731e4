// cost.c - a plan of all units on one device, taken apart into costs of stages.

#include "plan/cost.h"

#include "plan/plan_int.h"

#include <stdlib.h>
#include <string.h>

enum { SHARED_MAX = 64, TEMPS_MAX = 4 };

/// What a stage has once if any of its units uses it.
struct shared {
    enum arena_kind arena;
    uint64_t bytes;
    int value;
    int from; // of a temporary: the first unit in which it may be there
};

/// Temporaries of one slot: a value and those that take it over.
struct group {
    int first, last; // steps
    uint64_t bytes;
    int unit; // that makes it; -1: PART_SHARED
    int shared;
};

/// Peak of live bytes in the steps of a unit: until each shared temporary is read for the last time
/// there, in the order of these steps, and after all of them.
struct peaks {
    int n;
    int temp[TEMPS_MAX]; // index into taking.temp
    uint64_t peak[TEMPS_MAX + 1];
};

struct taking {
    const struct plan *p;
    const struct units *u;
    int dev, n;
    struct dev_info info;        // of the device, with a speed where it does not say one
    int *unit_first, *unit_last; // [n] steps; -1: none
    uint64_t *value_bit;         // [n_values] of shared[], 0: not shared
    int *step_unit;              // [n_steps] -1: shared, -2: not on this device
    int *value_unit; // [n_values] unit that makes or alone uses it; -1: shared, -2: elsewhere
    uint64_t *weights, *kv, *inputs; // [n] of one unit alone
    int64_t *ns;                     // [n]
    int64_t *entry_ns;               // [n] of what is handed over to it from the unit before
    struct peaks *own;               // [n] of scratch, without what is shared
    struct peaks *own_first;         // [n] the same where the unit is the first of a stage
    uint64_t *handed;       // [n] peak of the hand-over arena within the unit (experts elsewhere)
    uint64_t *handed_first; // [n] with what is handed over to the unit as the first of a stage
    int *group_end;         // [n_steps] the last step that runs with it, without a sync between
    int temp[TEMPS_MAX];    // shared[] that are temporaries
    int n_temps;
    uint64_t *uses; // [n] bit s: shared[s]
    struct shared shared[SHARED_MAX];
    int n_shared;
    struct group *group;
    int n_groups;
    int *group_of; // [n_values], -1: none
};

static void *table(size_t n, size_t bytes)
{
    return xcalloc(n > 0 ? n : 1, bytes);
}

// --- units ---------------------------------------------------------------------------------------

void units_of(struct units *u, const struct graph *g, const bool *on_host)
{
    int n_parts = graph_n_parts(g), last_il = -1;
    enum part_kind last = PART_SHARED;

    *u = (struct units){ .n_parts = n_parts, .of = table((size_t)n_parts, sizeof(int)) };
    for (int i = 0; i < n_parts; i++) {
        const struct part *part = graph_part(g, i);
        u->of[i] = -1;
        if (part->kind == PART_SHARED || (on_host != NULL && on_host[i]))
            continue;
        // The tower makes what the first block reads, experts what their block does: one unit.
        bool joins = u->n > 0 && (last == PART_VISION || (part->il >= 0 && part->il == last_il));
        u->of[i] = joins ? u->n - 1 : u->n++;
        last = part->kind;
        last_il = part->il;
    }
}

// --- who makes and uses what ---------------------------------------------------------------------

static int unit_of_node(const struct taking *t, const struct node *n)
{
    return n != NULL ? t->u->of[n->part] : -1;
}

static bool is_temp(const struct value *v)
{
    return v->slot.arena == ARENA_SCRATCH || v->slot.arena == ARENA_HANDOVER;
}

/// A step belongs to the unit of its node; a copy to the unit that reads the result, which follows.
static void find_step_units(struct taking *t)
{
    int next = -1;

    for (int i = t->p->n_steps - 1; i >= 0; i--) {
        const struct step *s = &t->p->step[i];
        t->step_unit[i] = -2;
        if (s->dev != t->dev)
            continue;
        t->step_unit[i] = s->kernel == NULL ? next : unit_of_node(t, s->node);
        if (s->kernel != NULL && t->step_unit[i] >= 0)
            next = t->step_unit[i];
    }
}

static int shared_item(struct taking *t, int value)
{
    for (int s = 0; s < t->n_shared; s++)
        if (t->shared[s].value == value)
            return s;
    if (t->n_shared == SHARED_MAX) // never seen; then it counts with its first unit
        return -1;
    const struct slot *slot = &t->p->value[value].slot;
    t->value_bit[value] = (uint64_t)1 << t->n_shared;
    t->shared[t->n_shared] =
        (struct shared){ slot->arena, slot->mapped ? 0 : align_up_u64(slot->bytes, SLOT_ALIGN),
                         value, 0 };
    return t->n_shared++;
}

/// Which units read each value, as far as it matters: the first one, and whether there are others.
static void find_value_units(struct taking *t)
{
    const struct plan *p = t->p;
    bool *more = table((size_t)p->n_values, sizeof(bool));
    int *user = table((size_t)p->n_values, sizeof(int));

    for (int v = 0; v < p->n_values; v++)
        user[v] = -2;
    for (int i = 0; i < p->n_steps; i++) {
        const struct step *s = &p->step[i];
        if (t->step_unit[i] == -2)
            continue;
        for (int k = 0; k < NODE_SRC + NODE_DST + 1; k++) {
            int v = k < NODE_SRC              ? s->src[k]
                    : k < NODE_SRC + NODE_DST ? s->dst[k - NODE_SRC]
                                              : s->scratch;
            if (v < 0)
                continue;
            if (user[v] == -2)
                user[v] = t->step_unit[i];
            else if (user[v] != t->step_unit[i])
                more[v] = true;
        }
    }
    for (int v = 0; v < p->n_values; v++) {
        const struct value *x = &p->value[v];
        t->value_unit[v] = user[v];
        if (x->slot.dev != t->dev) {
            t->value_unit[v] = -2;
        } else if (x->t != NULL && x->t->held && user[v] == -2) {
            t->value_unit[v] = t->u->of[x->t->part];
        } else if (!is_temp(x) && x->slot.arena != ARENA_KV && (more[v] || user[v] == -1)) {
            if (shared_item(t, v) >= 0)
                t->value_unit[v] = -1;
        } else if (is_temp(x) && user[v] == -1) { // made by a shared node
            (void)shared_item(t, v);
        }
    }
    free(user);
    free(more);
}

static uint64_t bit_of(const struct taking *t, int value)
{
    return value >= 0 ? t->value_bit[value] : 0;
}

/// Bits of what each unit uses. What shared nodes read is used by the readers of what they make:
/// nodes are in order, so one pass from the back finds it.
static void find_uses(struct taking *t)
{
    const struct plan *p = t->p;

    for (int i = 0; i < p->n_steps; i++)
        for (int k = 0; t->step_unit[i] >= 0 && k < NODE_SRC; k++)
            t->uses[t->step_unit[i]] |= bit_of(t, p->step[i].src[k]);
    for (int i = 0; i < p->n_steps; i++)
        for (int k = 0; t->step_unit[i] >= 0 && k < NODE_DST; k++)
            t->uses[t->step_unit[i]] |= bit_of(t, p->step[i].dst[k]);
    for (int i = p->n_steps - 1; i >= 0; i--) {
        const struct step *s = &p->step[i];
        uint64_t made = 0, read = 0;
        if (t->step_unit[i] != -1)
            continue;
        for (int k = 0; k < NODE_DST; k++)
            made |= bit_of(t, s->dst[k]);
        for (int k = 0; k < NODE_SRC; k++)
            read |= bit_of(t, s->src[k]);
        read |= bit_of(t, s->scratch);
        for (int l = 0; l < t->n; l++)
            if ((t->uses[l] & made) != 0)
                t->uses[l] |= read;
    }
}

static void add_up(struct taking *t)
{
    const struct plan *p = t->p;

    for (int v = 0; v < p->n_values; v++) {
        const struct slot *s = &p->value[v].slot;
        int l = t->value_unit[v];
        if (l < 0 || s->mapped)
            continue;
        uint64_t bytes = align_up_u64(s->bytes, SLOT_ALIGN);
        if (s->arena == ARENA_WEIGHTS)
            t->weights[l] += bytes;
        else if (s->arena == ARENA_KV)
            t->kv[l] += bytes;
        else if (s->arena == ARENA_INPUT)
            t->inputs[l] += bytes;
    }
    for (int i = 0; i < p->n_steps; i++)
        if (t->step_unit[i] >= 0)
            t->ns[t->step_unit[i]] += step_ns(&p->step[i], p->value, &t->info, &p->max);
}

// --- scratch -------------------------------------------------------------------------------------

static void find_groups_of_values(struct taking *t)
{
    const struct plan *p = t->p;

    for (int v = 0; v < p->n_values; v++) {
        const struct value *x = &p->value[v];
        t->group_of[v] = -1;
        if (t->value_unit[v] == -2 || x->slot.arena != ARENA_SCRATCH)
            continue;
        if (x->alias >= 0) {
            struct group *g = &t->group[t->group_of[v] = t->group_of[x->alias]];
            g->first = x->first_step < g->first ? x->first_step : g->first;
            g->last = x->last_step > g->last ? x->last_step : g->last;
            continue;
        }
        uint64_t guard = 2 * align_up_u64(p->lim.guard_bytes, SLOT_ALIGN);
        int shared = -1;
        for (int s = 0; s < t->n_shared; s++)
            if (t->shared[s].value == v)
                shared = s;
        t->group_of[v] = t->n_groups;
        t->group[t->n_groups++] = (struct group){ x->first_step, x->last_step,
                                                  align_up_u64(x->slot.bytes, SLOT_ALIGN) + guard,
                                                  t->value_unit[v], shared };
    }
}

/// Where a group begins for a stage that begins with unit l: what was made before is handed over,
/// and only what takes it over afterwards is in scratch. INT_MAX-like n_steps: never.
static int group_start(const struct taking *t, int group, int l)
{
    int start = t->p->n_steps;

    if (t->group[group].unit >= l)
        return t->group[group].first;
    for (int v = 0; v < t->p->n_values; v++)
        if (t->group_of[v] == group && t->value_unit[v] >= l && t->p->value[v].first_step < start)
            start = t->p->value[v].first_step;
    return start;
}

static void find_ranges(struct taking *t)
{
    for (int l = 0; l < t->n; l++)
        t->unit_first[l] = t->unit_last[l] = -1;
    for (int i = 0; i < t->p->n_steps; i++) {
        int l = t->step_unit[i];
        if (l >= 0) {
            t->unit_first[l] = t->unit_first[l] < 0 ? i : t->unit_first[l];
            t->unit_last[l] = i;
        }
    }
}

/// Peak of what `delta` adds up to, over steps [first, last]; *now is the sum before them and
/// after.
static uint64_t peak_from(const int64_t *delta, int first, int last, int64_t *now)
{
    int64_t peak = 0;

    for (int i = first; i <= last; i++) {
        *now += delta[i];
        peak = *now > peak ? *now : peak;
    }
    return (uint64_t)peak;
}

static uint64_t peak_of(const int64_t *delta, int first, int last)
{
    int64_t now = 0;

    for (int i = 0; i < first; i++)
        now += delta[i];
    return peak_from(delta, first, last, &now);
}

/// The last step of the unit [first, last] that a temporary is alive in if no later unit reads it.
static int last_read(const struct taking *t, int temp, int l, int first, int last)
{
    int at = first - 1;

    for (int i = first; i <= last; i++)
        for (int k = 0; k < NODE_SRC && t->step_unit[i] == l; k++)
            if (t->p->step[i].src[k] == t->shared[t->temp[temp]].value)
                at = t->group_end[i];
    return at < last ? at : last;
}

static void peaks_of(struct peaks *out, const struct taking *t, const int64_t *delta, int l,
                     int first, int last)
{
    int end[TEMPS_MAX], from = first;
    int64_t now = 0;

    for (int i = 0; i < first; i++)
        now += delta[i];
    *out = (struct peaks){ .n = t->n_temps };
    for (int k = 0; k < t->n_temps; k++) { // sorted by insertion: they are one or two
        int e = last_read(t, k, l, first, last), at = k;
        for (; at > 0 && end[at - 1] > e; at--) {
            end[at] = end[at - 1];
            out->temp[at] = out->temp[at - 1];
        }
        end[at] = e;
        out->temp[at] = k;
    }
    for (int k = 0; k <= out->n; k++) {
        int to = k < out->n ? end[k] : last;
        if (to >= from) {
            out->peak[k] = peak_from(delta, from, to, &now);
            from = to + 1;
        }
    }
}

/// Rope tables are made where the first block needs them.
static void find_beginnings(struct taking *t)
{
    for (int l = t->n - 1; l >= 0; l--) {
        int last = t->unit_last[l];
        for (int k = 0; k < t->n_temps; k++) {
            struct shared *s = &t->shared[t->temp[k]];
            if (last >= 0 && t->p->value[s->value].first_step <= last)
                s->from = l;
        }
    }
}

static void find_peaks(struct taking *t)
{
    size_t n = (size_t)t->p->n_steps + 1;
    int64_t *delta = table(n, sizeof(*delta)), *delta_first = table(n, sizeof(*delta_first));

    for (int g = 0; g < t->n_groups; g++)
        if (t->group[g].shared < 0) {
            delta[t->group[g].first] += (int64_t)t->group[g].bytes;
            delta[t->group[g].last + 1] -= (int64_t)t->group[g].bytes;
        }
    for (int l = 0; l < t->n; l++) {
        int first = t->unit_first[l], last = t->unit_last[l];
        if (last < 0)
            continue;
        memset(delta_first, 0, n * sizeof(*delta_first));
        for (int g = 0; g < t->n_groups; g++) {
            const struct group *x = &t->group[g];
            if (x->shared >= 0 || x->last < first || x->first > last)
                continue;
            int from = group_start(t, g, l);
            if (from > x->last)
                continue;
            delta_first[from] += (int64_t)x->bytes;
            delta_first[x->last + 1] -= (int64_t)x->bytes;
        }
        peaks_of(&t->own[l], t, delta, l, first, last);
        peaks_of(&t->own_first[l], t, delta_first, l, first, last);
    }
    free(delta);
    free(delta_first);
}

/// Steps of a device run together until one waits, or a copy comes.
static void find_group_ends(struct taking *t)
{
    int end = -1;

    for (int i = t->p->n_steps - 1; i >= 0; i--) {
        const struct step *s = &t->p->step[i];
        bool here = t->step_unit[i] != -2;
        bool leaves = s->kernel == NULL && t->p->value[s->src[0]].slot.dev == t->dev;
        if (here && s->kernel != NULL)
            end = end < 0 ? i : end;
        t->group_end[i] = here ? (s->kernel != NULL ? end : i) : -1;
        if ((here && (s->kernel == NULL || s->sync)) || leaves)
            end = -1;
    }
}

/// The last step of unit l that reads the tensor, to the end of its group.
static int last_use(const struct taking *t, const struct tensor *x, int l)
{
    int at = -1;

    for (int i = t->unit_first[l]; i >= 0 && i <= t->unit_last[l]; i++)
        for (int k = 0; k < NODE_SRC && t->step_unit[i] == l; k++)
            if (t->p->step[i].src[k] >= 0 && t->p->value[t->p->step[i].src[k]].t == x &&
                t->p->value[t->p->step[i].src[k]].format != DTYPE_A8)
                at = t->group_end[i];
    return at;
}

/// Hand-over within a unit: from experts that are elsewhere, and from the host. As the first of a
/// stage it gets tensors of earlier units too, in their own format: those from the graph, since on
/// one device there is no hand-over to look at.
struct entry {
    int unit, last;
    uint64_t bytes;
};

static int find_entries(struct taking *t, struct entry *out)
{
    const struct plan *p = t->p;
    const struct graph *g = p->graph;
    int n_tensors = graph_n_tensors(g), n = 0;
    int *maker = table((size_t)n_tensors, sizeof(int));
    int *seen = table((size_t)n_tensors, sizeof(int));
    uint64_t guard = 2 * align_up_u64(p->lim.guard_bytes, SLOT_ALIGN);

    for (int i = 0; i < n_tensors; i++)
        maker[i] = seen[i] = -1;
    for (int i = 0; i < graph_n_nodes(g); i++) {
        const struct node *node = graph_node(g, i);
        int l = t->u->of[node->part];
        for (int k = 0; k < NODE_SRC; k++) {
            const struct tensor *x = node->src[k];
            int from = x != NULL ? maker[x->id] : -1;
            if (from < 0 || l < 0 || seen[x->id] == l || t->u->of[from] < 0 || t->u->of[from] == l)
                continue; // what the host makes is handed over in any plan
            seen[x->id] = l;
            uint64_t bytes = tensor_bytes(x, &p->max);
            out[n++] =
                (struct entry){ l, last_use(t, x, l), align_up_u64(bytes, SLOT_ALIGN) + guard };
            t->entry_ns[l] += hop_time_ns(x, &t->info, &p->max);
        }
        for (int k = 0; k < NODE_DST; k++)
            if (node->dst[k] != NULL && node->dst[k]->role == ROLE_TEMP)
                maker[node->dst[k]->id] = node->part;
    }
    free(maker);
    free(seen);
    return n;
}

static void find_handed(struct taking *t)
{
    const struct plan *p = t->p;
    size_t n = (size_t)p->n_steps + 1;
    int64_t *delta = table(n, sizeof(*delta));
    struct entry *entry = table((size_t)graph_n_nodes(p->graph) * NODE_SRC, sizeof(*entry));
    int n_entries = find_entries(t, entry);
    uint64_t guard = 2 * align_up_u64(p->lim.guard_bytes, SLOT_ALIGN);

    for (int v = 0; v < p->n_values; v++) {
        const struct value *x = &p->value[v];
        if (x->slot.dev != t->dev || x->slot.arena != ARENA_HANDOVER || x->first_step < 0)
            continue;
        int64_t bytes = (int64_t)(align_up_u64(x->slot.bytes, SLOT_ALIGN) + guard);
        delta[x->first_step] += bytes;
        delta[x->last_step + 1] -= bytes;
    }
    for (int l = 0; l < t->n; l++) {
        int first = t->unit_first[l], last = t->unit_last[l];
        if (last < 0)
            continue;
        t->handed[l] = peak_of(delta, first, last);
        for (int sign = 1; sign >= -1; sign -= 2) { // in, and out again
            for (int i = 0; i < n_entries; i++)
                if (entry[i].unit == l) {
                    delta[first] += sign * (int64_t)entry[i].bytes;
                    delta[(entry[i].last < first ? last : entry[i].last) + 1] -=
                        sign * (int64_t)entry[i].bytes;
                }
            if (sign > 0)
                t->handed_first[l] = peak_of(delta, first, last);
        }
    }
    free(entry);
    free(delta);
}

// --- stages --------------------------------------------------------------------------------------

/// Own and shared temporaries of unit l; `later` are those that units of the stage behind it use.
static uint64_t unit_scratch(const struct taking *t, const struct peaks *own, int l, uint64_t later)
{
    uint64_t top = 0, guard = 2 * align_up_u64(t->p->lim.guard_bytes, SLOT_ALIGN);

    for (int k = 0; k <= own->n; k++) {
        uint64_t sum = own->peak[k];
        for (int i = 0; i < own->n; i++) {
            int s = t->temp[own->temp[i]];
            if (l >= t->shared[s].from &&
                ((later >> s & 1) != 0 || (i >= k && (t->uses[l] >> s & 1) != 0)))
                sum += t->shared[s].bytes + guard;
        }
        if (own->peak[k] > 0 && sum > top)
            top = sum;
    }
    return top;
}

/// Scratch of all stages that end with a unit: the most that any of their units takes, of which
/// shared temporaries live until their last reader in the stage.
static void fill_scratch(struct costs *c, const struct taking *t, int to)
{
    uint64_t later = 0, top = 0;

    for (int l = to - 1; l >= 0; l--) {
        uint64_t first = unit_scratch(t, &t->own_first[l], l, later);
        uint64_t own = unit_scratch(t, &t->own[l], l, later);
        c->scratch[(size_t)l * (size_t)(t->n + 1) + (size_t)to] = first > top ? first : top;
        top = own > top ? own : top;
        later |= t->uses[l];
    }
}

static void fill(struct costs *c, const struct taking *t, int from)
{
    uint64_t granule = t->p->dev[t->dev].info.granule_bytes, mask = 0;
    uint64_t arena[ARENA_COUNT] = { 0 };
    int64_t ns = t->entry_ns[from];

    for (int to = from + 1; to <= t->n; to++) {
        int l = to - 1;
        uint64_t bytes = 0;
        size_t at = (size_t)from * (size_t)(t->n + 1) + (size_t)to;
        arena[ARENA_WEIGHTS] += t->weights[l];
        arena[ARENA_KV] += t->kv[l];
        arena[ARENA_INPUT] += t->inputs[l];
        for (int s = 0; s < t->n_shared; s++)
            if ((t->uses[l] & ~mask) >> s & 1 && t->shared[s].arena != ARENA_SCRATCH)
                arena[t->shared[s].arena] += t->shared[s].bytes;
        mask |= t->uses[l];
        arena[ARENA_SCRATCH] = c->scratch[at];
        uint64_t handed = l == from ? t->handed_first[l] : t->handed[l];
        if (handed > arena[ARENA_HANDOVER])
            arena[ARENA_HANDOVER] = handed;
        for (int a = 0; a < ARENA_COUNT; a++)
            bytes += align_up_u64(arena[a], granule);
        ns += t->ns[l];
        c->bytes[at] = bytes;
        c->ns[at] = ns;
    }
}

void costs_from_plan(struct costs *c, const struct plan *p, int dev, const struct units *u)
{
    struct taking t = { .p = p, .u = u, .dev = dev, .n = u->n, .info = p->dev[dev].info };
    size_t n = (size_t)u->n, all = (n + 1) * (n + 1);

    if (t.info.bytes_per_s <= 0) // what matters is that the host is slower
        t.info.bytes_per_s = t.info.in_place ? 20e9 : 200e9;
    t.step_unit = table((size_t)p->n_steps, sizeof(int));
    t.value_unit = table((size_t)p->n_values, sizeof(int));
    t.group_of = table((size_t)p->n_values, sizeof(int));
    t.group = table((size_t)p->n_values, sizeof(*t.group));
    t.group_end = table((size_t)p->n_steps, sizeof(int));
    t.value_bit = table((size_t)p->n_values, sizeof(uint64_t));
    t.unit_first = table(2 * n, sizeof(int));
    t.unit_last = t.unit_first + n;
    t.own = table(2 * n, sizeof(*t.own));
    t.own_first = t.own + n;
    t.weights = table(6 * n, sizeof(*t.weights));
    t.kv = t.weights + n;
    t.inputs = t.weights + 2 * n;
    t.handed = t.weights + 3 * n;
    t.handed_first = t.weights + 4 * n;
    t.uses = t.weights + 5 * n;
    t.ns = table(2 * n, sizeof(*t.ns));
    t.entry_ns = t.ns + n;

    find_step_units(&t);
    find_ranges(&t);
    find_group_ends(&t);
    find_value_units(&t);
    find_uses(&t);
    add_up(&t);
    for (int k = 0; k < t.n_shared && t.n_temps < TEMPS_MAX; k++)
        if (t.shared[k].arena == ARENA_SCRATCH)
            t.temp[t.n_temps++] = k;
    find_beginnings(&t);
    find_groups_of_values(&t);
    find_peaks(&t);
    find_handed(&t);
    *c = (struct costs){ u->n, table(all, sizeof(uint64_t)), table(all, sizeof(uint64_t)),
                         table(all, sizeof(int64_t)) };
    for (int to = 1; to <= u->n; to++)
        fill_scratch(c, &t, to);
    for (int from = 0; from < u->n; from++)
        fill(c, &t, from);
    free(t.weights);
    free(t.ns);
    free(t.own);
    free(t.group_end);
    free(t.value_bit);
    free(t.unit_first);
    free(t.step_unit);
    free(t.value_unit);
    free(t.group_of);
    free(t.group);
}

void costs_impossible(struct costs *c, const struct units *u)
{
    size_t all = (size_t)(u->n + 1) * (size_t)(u->n + 1);

    *c = (struct costs){ u->n, table(all, sizeof(uint64_t)), table(all, sizeof(uint64_t)),
                         table(all, sizeof(int64_t)) };
    memset(c->bytes, 0xff, all * sizeof(uint64_t));
}

void costs_done(struct costs *c)
{
    free(c->bytes);
    free(c->scratch);
    free(c->ns);
    *c = (struct costs){ 0 };
}
