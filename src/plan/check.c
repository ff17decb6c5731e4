// check.c - whether a plan keeps its promises, found out the slow way.
//
// Shares no code with what makes plans: it replays the steps with its own idea of which bytes
// belong to whom. Brute force over pairs; for tests and `snug verify`.

#include "plan/plan_int.h"

#include <inttypes.h>
#include <stdlib.h>

struct check {
    const struct plan *p;
    struct err *e;
    bool *intact;     // [n_values] holds what its step wrote
    const char *what; // of the step looked at, for messages
    int at;
};

static const char *value_name(const struct value *v)
{
    return v->t != NULL ? v->t->name : "(scratch)";
}

static bool bad(const struct check *c, const char *why, const struct value *v)
{
    return err_set(c->e, ERR_ARG,
                   "plan: step %d (%s): %s: %s on device %d at %" PRIu64 " + %" PRIu64, c->at,
                   c->what, why, value_name(v), v->slot.dev, v->slot.offset, v->slot.bytes);
}

static bool same_memory(const struct slot *a, const struct slot *b)
{
    if (a->bytes == 0 || b->bytes == 0 || a->mapped != b->mapped)
        return false;
    if (a->mapped ? a->file != b->file : a->dev != b->dev || a->arena != b->arena)
        return false;
    return a->offset < b->offset + b->bytes && b->offset < a->offset + a->bytes;
}

static bool same_place(const struct slot *a, const struct slot *b)
{
    return a->dev == b->dev && a->arena == b->arena && a->mapped == b->mapped &&
           a->offset == b->offset && a->bytes == b->bytes;
}

/// The same rows of the same tensor of the file: on one device they are one value.
static bool same_weight(const struct tensor *a, const struct tensor *b)
{
    return a->role == ROLE_WEIGHT && b->role == ROLE_WEIGHT && a->source == b->source &&
           a->row0 == b->row0 && a->d[0].n == b->d[0].n && a->d[1].n == b->d[1].n;
}

static bool stands_for(const struct value *v, const struct tensor *t)
{
    return v->t == t || (v->t != NULL && same_weight(v->t, t));
}

// --- slots
// ----------------------------------------------------------------------------------------

static uint64_t bytes_in(const struct value *v, const struct dims *max)
{
    uint64_t n = 1;

    for (int i = 1; i < 4; i++)
        n *= (uint64_t)dim_value(v->t->d[i], max);
    uint64_t cols = (uint64_t)dim_value(v->t->d[0], max);
    if (v->t->role == ROLE_STATE)
        return state_head_bytes(v->t, max->kv) * n / KV_PAGE_TOKENS;
    if (v->format == DTYPE_A8)
        return n * (cols + 2 * sizeof(float) * cols / 32 + sizeof(int32_t) * cols / 16);
    const struct dtype_info *t = dtype_info(v->format);
    return n * cols / (uint64_t)t->block * (uint64_t)t->block_bytes;
}

static bool check_slot(struct check *c, const struct value *v)
{
    const struct plan *p = c->p;
    const struct slot *s = &v->slot;

    c->what = "slots";
    if (s->dev < 0 || s->dev >= p->n_devs)
        return bad(c, "no such device", v);
    if (v->t != NULL && s->bytes != bytes_in(v, &p->max))
        return bad(c, "not the size of its tensor", v);
    if (s->mapped)
        return (v->t->role == ROLE_WEIGHT && p->dev[s->dev].info.in_place) ||
               bad(c, "mapped, but not a weight used in place", v);
    if (s->offset % 64 != 0)
        return bad(c, "not at a multiple of 64", v);
    uint64_t end = p->dev[s->dev].arena_bytes[s->arena];
    if (s->offset > end || s->bytes > end - s->offset)
        return bad(c, "outside its arena", v);
    return true;
}

static bool check_sums(struct check *c)
{
    for (int d = 0; d < c->p->n_devs; d++) {
        const struct plan_dev *p = &c->p->dev[d];
        uint64_t sum = 0, exact = 0;
        for (int a = 0; a < ARENA_COUNT; a++) {
            uint64_t g = p->info.granule_bytes;
            sum += (p->arena_bytes[a] + g - 1) / g * g;
            exact += p->arena_bytes[a];
        }
        if (sum != p->total_bytes || exact + p->rounding_bytes != sum)
            return err_set(c->e, ERR_ARG, "plan: the lines of device %d do not add up", d);
        if (p->scratch_bound > p->arena_bytes[ARENA_SCRATCH])
            return err_set(c->e, ERR_ARG, "plan: the scratch of device %d is below its bound", d);
        if (!p->used && sum != 0)
            return err_set(c->e, ERR_ARG, "plan: device %d is unused and holds something", d);
    }
    return true;
}

/// Values alive at the same step share no byte, except one that takes over another's slot.
static bool check_overlap(struct check *c)
{
    const struct plan *p = c->p;

    c->what = "overlap";
    for (int i = 0; i < p->n_values; i++) {
        const struct value *a = &p->value[i];
        for (int j = i + 1; j < p->n_values; j++) {
            const struct value *b = &p->value[j];
            if (a->last_step < b->first_step || b->last_step < a->first_step)
                continue;
            if (a->slot.mapped || !same_memory(&a->slot, &b->slot))
                continue;
            if (b->alias == i && same_place(&a->slot, &b->slot))
                continue;
            return bad(c, value_name(a), b);
        }
    }
    return true;
}

// --- steps
// ----------------------------------------------------------------------------------------

static bool check_source(struct check *c, const struct step *s, int i, const struct tensor *t,
                         enum dtype format)
{
    const struct plan *p = c->p;

    if ((t == NULL) != (s->src[i] < 0))
        return err_set(c->e, ERR_ARG, "plan: step %d (%s): source %d missing or too many", c->at,
                       c->what, i);
    if (t == NULL)
        return true;
    const struct value *v = &p->value[s->src[i]];
    if (!stands_for(v, t) || v->slot.dev != s->dev)
        return bad(c, "not the source it should be", v);
    if (v->format != format)
        return bad(c, "in the wrong format", v);
    return true;
}

static enum dtype plain_format(const struct plan *p, const struct tensor *t)
{
    return t != NULL && t->role == ROLE_STATE ? p->max.kv : t != NULL ? t->type : DTYPE_F32;
}

static bool check_scratch(struct check *c, const struct step *s)
{
    uint64_t need = 0;

    if (s->kernel->scratch_bytes != NULL)
        need = s->kernel->scratch_bytes(s->node, &c->p->max, c->p->dev[s->dev].info.max_threads);
    if (need == 0 ? s->scratch >= 0 : s->scratch < 0 || c->p->value[s->scratch].slot.bytes < need)
        return err_set(c->e, ERR_ARG, "plan: step %d (%s): working space is not as asked", c->at,
                       c->what);
    return true;
}

static bool check_node_step(struct check *c, const struct step *s)
{
    const struct plan *p = c->p;
    const struct node *n = s->node;

    if (s->kernel->op != n->op || !s->kernel->accepts(n, &p->max, p->lim.exact))
        return err_set(c->e, ERR_ARG, "plan: step %d: %s does not run %s", c->at, s->kernel->name,
                       c->what);
    for (int i = 0; i < NODE_SRC; i++) {
        bool a8 = i == 0 && s->kernel->act == DTYPE_A8;
        if (!check_source(c, s, i, n->src[i], a8 ? DTYPE_A8 : plain_format(p, n->src[i])))
            return false;
    }
    for (int i = 0; i < NODE_DST; i++) {
        if ((n->dst[i] == NULL) != (s->dst[i] < 0))
            return err_set(c->e, ERR_ARG, "plan: step %d (%s): result %d missing", c->at, c->what,
                           i);
        if (n->dst[i] == NULL)
            continue;
        const struct value *v = &p->value[s->dst[i]];
        if (v->t != n->dst[i] || v->slot.dev != s->dev)
            return bad(c, "not the result it should be", v);
        if (v->format != plain_format(p, v->t) &&
            !(v->format == DTYPE_A8 && i == 0 && s->kernel->writes_a8))
            return bad(c, "a format its kernel cannot write", v);
    }
    return true;
}

static bool check_copy(struct check *c, const struct step *s)
{
    if (s->src[0] < 0 || s->dst[0] < 0)
        return err_set(c->e, ERR_ARG, "plan: step %d: a copy of nothing", c->at);
    const struct value *from = &c->p->value[s->src[0]], *to = &c->p->value[s->dst[0]];
    if (from->t != to->t || from->format != to->format || to->slot.dev != s->dev ||
        from->slot.dev == s->dev)
        return bad(c, "not a copy between devices", to);
    if (from->slot.bytes > c->p->host_staging_bytes)
        return bad(c, "larger than the staging buffer", to);
    return true;
}

static bool is_convert(const struct check *c, const struct step *s)
{
    return s->kernel != NULL && s->dst[0] >= 0 && s->node != NULL &&
           c->p->value[s->dst[0]].t != s->node->dst[0];
}

static bool check_convert(struct check *c, const struct step *s)
{
    const struct value *to = &c->p->value[s->dst[0]];

    if (s->src[0] < 0 || c->p->value[s->src[0]].t != to->t || to->t != s->node->src[0])
        return bad(c, "a conversion of something else", to);
    if (to->format != DTYPE_A8 || c->p->value[s->src[0]].format != DTYPE_F32 ||
        to->slot.dev != s->dev || c->p->value[s->src[0]].slot.dev != s->dev)
        return bad(c, "a conversion between the wrong formats", to);
    return true;
}

/// All values that a step mentions: sources, then results, then working space. Returns how many.
static int mentioned(const struct step *s, int out[NODE_SRC + NODE_DST + 1], int *n_read)
{
    int n = 0;

    for (int i = 0; i < NODE_SRC; i++)
        if (s->src[i] >= 0)
            out[n++] = s->src[i];
    *n_read = n;
    for (int i = 0; i < NODE_DST; i++)
        if (s->dst[i] >= 0)
            out[n++] = s->dst[i];
    if (s->scratch >= 0)
        out[n++] = s->scratch;
    return n;
}

/// Replays what the step reads and overwrites.
static bool check_data(struct check *c, const struct step *s)
{
    const struct plan *p = c->p;
    int v[NODE_SRC + NODE_DST + 1], n_read, n = mentioned(s, v, &n_read);

    for (int i = 0; i < n; i++) {
        const struct value *x = &p->value[v[i]];
        if (c->at < x->first_step || c->at > x->last_step)
            return bad(c, "used outside its life", x);
        if (i < n_read && !c->intact[v[i]])
            return bad(c, "read before it is written, or after it was overwritten", x);
    }
    for (int i = n_read; i < n; i++) {
        const struct value *x = &p->value[v[i]];
        for (int k = 0; k < n;
             k++) { // a kernel's result may lie on a source only where that is allowed
            const struct value *y = &p->value[v[k]];
            if (v[k] == v[i] || !same_memory(&x->slot, &y->slot))
                continue;
            bool allowed =
                i == n_read && k < n_read && x->alias == v[k] && same_place(&x->slot, &y->slot);
            for (int j = 0; allowed && j < NODE_SRC; j++)
                allowed = s->src[j] != v[k] || op_in_place(s->node->op, j);
            if (!allowed)
                return bad(c, "lies on another operand", x);
        }
        for (int k = 0; k < p->n_values; k++)
            if (k != v[i] && same_memory(&p->value[k].slot, &x->slot))
                c->intact[k] = false;
        c->intact[v[i]] = true;
    }
    return true;
}

/// Nothing since the last sync on this device may touch bytes that this step writes, or write what
/// it reads.
static bool check_sync(struct check *c, const struct step *s)
{
    const struct plan *p = c->p;
    int a[NODE_SRC + NODE_DST + 1], b[NODE_SRC + NODE_DST + 1], a_read, b_read;
    int na = mentioned(s, a, &a_read);

    if (s->kernel == NULL || s->sync)
        return true;
    for (int i = c->at - 1; i >= 0; i--) {
        const struct step *t = &p->step[i];
        bool copy_here =
            t->kernel == NULL && (t->dev == s->dev || p->value[t->src[0]].slot.dev == s->dev);
        if (copy_here)
            return true;
        if (t->dev != s->dev || t->kernel == NULL)
            continue;
        int nb = mentioned(t, b, &b_read);
        for (int x = 0; x < na; x++)
            for (int y = 0; y < nb; y++)
                if ((x >= a_read || y >= b_read) &&
                    same_memory(&p->value[a[x]].slot, &p->value[b[y]].slot))
                    return bad(c, "does not wait for an earlier step", &p->value[a[x]]);
        if (t->sync)
            return true;
    }
    return true;
}

static bool check_step(struct check *c, const struct step *s)
{
    if (s->kernel == NULL) {
        c->what = "copy";
        if (!check_copy(c, s))
            return false;
    } else {
        bool convert = is_convert(c, s);
        c->what = convert ? "convert" : op_info(s->node->op)->name;
        if (!(convert ? check_convert(c, s) : check_node_step(c, s)) || !check_scratch(c, s))
            return false;
    }
    return check_data(c, s) && check_sync(c, s);
}

// --- coverage
// -------------------------------------------------------------------------------------

/// Every node runs once where its part is; shared ones at most once on each device.
static bool check_coverage(struct check *c)
{
    const struct plan *p = c->p;
    int n_nodes = graph_n_nodes(p->graph);
    int *runs = xcalloc((size_t)(n_nodes * p->n_devs), sizeof(*runs));
    bool ok = true;

    for (int i = 0; i < p->n_steps; i++)
        if (p->step[i].kernel != NULL && !is_convert(c, &p->step[i]))
            runs[p->step[i].node->id * p->n_devs + p->step[i].dev]++;
    for (int i = 0; i < n_nodes && ok; i++) {
        const struct node *n = graph_node(p->graph, i);
        bool shared = graph_part(p->graph, n->part)->kind == PART_SHARED;
        int sum = 0;
        for (int d = 0; d < p->n_devs; d++) {
            int want = d == p->part_dev[n->part];
            sum += runs[i * p->n_devs + d];
            if (shared ? runs[i * p->n_devs + d] > 1 : runs[i * p->n_devs + d] != want)
                ok = err_set(c->e, ERR_ARG, "plan: node %d (%s) runs %d times on device %d", i,
                             op_info(n->op)->name, runs[i * p->n_devs + d], d);
        }
        if (ok && sum == 0)
            ok = err_set(c->e, ERR_ARG, "plan: node %d (%s) never runs", i, op_info(n->op)->name);
    }
    free(runs);
    return ok;
}

/// Weights that are held are on the device of their part, read or not.
static bool check_held(struct check *c)
{
    const struct plan *p = c->p;

    for (int i = 0; i < graph_n_tensors(p->graph); i++) {
        const struct tensor *t = graph_tensor(p->graph, i);
        bool there = !t->held;
        for (int v = 0; v < p->n_values && !there; v++)
            there = p->value[v].slot.dev == p->part_dev[t->part] && stands_for(&p->value[v], t);
        if (!there)
            return err_set(c->e, ERR_ARG, "plan: %s is nowhere on device %d", t->name,
                           p->part_dev[t->part]);
    }
    return true;
}

bool plan_check(const struct plan *p, struct err *e)
{
    struct check c = { .p = p, .e = e, .what = "", .at = -1 };
    bool ok = check_sums(&c) && check_coverage(&c) && check_held(&c);

    for (int i = 0; i < p->n_values && ok; i++)
        ok = check_slot(&c, &p->value[i]);
    ok = ok && check_overlap(&c);

    c.intact = xcalloc((size_t)p->n_values + 1, sizeof(*c.intact));
    for (int i = 0; i < p->n_values; i++) {
        const struct tensor *t = p->value[i].t;
        c.intact[i] =
            t != NULL && (t->role == ROLE_INPUT || t->role == ROLE_WEIGHT || t->role == ROLE_STATE);
    }
    for (c.at = 0; c.at < p->n_steps && ok; c.at++)
        ok = check_step(&c, &p->step[c.at]);
    if (ok &&
        (p->logits < 0 || !c.intact[p->logits] || p->value[p->logits].t != graph_logits(p->graph)))
        ok = err_set(e, ERR_ARG, "plan: the logits are not there at the end");
    free(c.intact);
    return ok;
}
