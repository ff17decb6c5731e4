// plan.c - from a graph and an assignment to the address of every byte.
//
//   1 kernels   one for each node on each device that runs it; which activations exist as A8 alone
//   2 steps     nodes in order, with the conversions and copies between devices that they need
//   3 groups    which steps wait (sync), and who may take over a dying value's slot
//   4 slots     lifetimes of whole groups, packed; weights in file order; the rest one after
//   another
//
// Everything is decided here, once. The loader and the executor only follow.

#include "plan/plan_int.h"

#include <stdlib.h>
#include <string.h>

/// A plan being made.
struct maker {
    const struct graph *g;
    const struct weight_place *places;
    struct dev *const *devs;
    struct limits lim;
    struct dims max;
    bool sketch; // no addresses
    int n_devs, n_parts, n_nodes, n_tensors;
    struct arena tmp;
    struct plan_dev *dev;
    int *part_dev;
    int *producer; // [n_tensors] node, -1: none
    int *canon;    // [n_tensors] the first tensor that is the same rows of the same file tensor
    const struct kernel **kernel; // [n_nodes][n_devs], NULL: not run there
    bool *direct;                 // [n_tensors] written as A8 by its producer, never as F32
    int *plain, *a8;              // [n_tensors][n_devs] values, -1: not there (yet)
    struct value *value;
    int n_values, cap_values;
    struct step *step;
    int n_steps, cap_steps;
    int *group_first, *group_last; // [n_steps] the steps that run without a sync between them
    uint64_t staging_bytes;
    struct err *e;
};

enum dtype natural_format(const struct tensor *t, const struct dims *v)
{
    return t->role == ROLE_STATE ? v->kv : t->type;
}

uint64_t format_bytes(const struct tensor *t, enum dtype format, const struct dims *v)
{
    if (format != DTYPE_A8)
        return tensor_bytes(t, v);
    int64_t cols = dim_value(t->d[0], v);
    ASSERT(cols % 32 == 0);
    return (uint64_t)tensor_rows(t, v) * (uint64_t)(cols / 2 * 3);
}

/// Those whose last pass over an element reads the source right before it writes the same place.
bool op_in_place(enum op op, int i)
{
    switch (op) {
    case OP_MATMUL:
        return i == MATMUL_RES;
    case OP_ADD:
    case OP_GLU:
        return i < 2;
    case OP_SCALE:
    case OP_SOFTCAP:
        return i == 0;
    case OP_EXPERT_SUM:
        return i == EXPERT_SUM_RES;
    case OP_EMBED:
    case OP_ROPE_TABLE:
    case OP_RMSNORM:
    case OP_LAYERNORM:
    case OP_ROPE:
    case OP_KV_STORE:
    case OP_ATTN:
    case OP_ROWS:
    case OP_ROUTE:
    case OP_EXPERTS:
    case OP_HEADS:
    case OP_SLICE:
    case OP_CONCAT:
    case OP_COUNT:
        break;
    }
    return false;
}

static const struct kernel **kernel_at(const struct maker *m, int node, int dev)
{
    return &m->kernel[node * m->n_devs + dev];
}

static bool is_shared(const struct maker *m, const struct node *n)
{
    return graph_part(m->g, n->part)->kind == PART_SHARED;
}

// --- 1 kernels
// ------------------------------------------------------------------------------------

static bool no_kernel(const struct maker *m, const struct node *n, int d)
{
    const struct tensor *w = NULL;

    for (int i = 0; i < NODE_SRC && w == NULL; i++)
        if (n->src[i] != NULL && n->src[i]->role == ROLE_WEIGHT)
            w = n->src[i];
    if (w == NULL)
        return err_set(m->e, ERR_UNSUPPORTED, "%s has no kernel for %s", m->dev[d].info.name,
                       op_info(n->op)->name);
    return err_set(m->e, ERR_UNSUPPORTED, "%s has no kernel for %s of %s (%s)", m->dev[d].info.name,
                   op_info(n->op)->name, w->name, dtype_info(w->type)->name);
}

/// Shared nodes run wherever something that runs there reads them; others where their part is.
static bool find_kernels(struct maker *m)
{
    bool *needed = arena_alloc(&m->tmp, (size_t)(m->n_nodes * m->n_devs));

    for (int i = m->n_nodes - 1; i >= 0; i--) {
        const struct node *n = graph_node(m->g, i);
        if (!is_shared(m, n))
            needed[i * m->n_devs + m->part_dev[n->part]] = true;
        for (int d = 0; d < m->n_devs; d++) {
            if (!needed[i * m->n_devs + d])
                continue;
            *kernel_at(m, i, d) = m->devs[d]->ops->find(m->devs[d], n, &m->max, m->lim.exact);
            if (*kernel_at(m, i, d) == NULL)
                return no_kernel(m, n, d);
            m->dev[d].used = true;
            for (int s = 0; s < NODE_SRC; s++) {
                int from = n->src[s] != NULL ? m->producer[n->src[s]->id] : -1;
                if (from >= 0 && is_shared(m, graph_node(m->g, from)))
                    needed[from * m->n_devs + d] = true;
            }
        }
    }
    return true;
}

/// An activation exists as A8 alone where its kernel can write that and nobody reads anything else
/// of it.
static void find_direct(struct maker *m)
{
    for (int t = 0; t < m->n_tensors; t++) {
        int p = m->producer[t];
        const struct node *n = p >= 0 ? graph_node(m->g, p) : NULL;
        m->direct[t] = n != NULL && !is_shared(m, n) && n->dst[0]->id == t &&
                       n->dst[0]->role == ROLE_TEMP &&
                       (*kernel_at(m, p, m->part_dev[n->part]))->writes_a8;
    }
    bool *read = arena_alloc(&m->tmp, (size_t)m->n_tensors);
    for (int i = 0; i < m->n_nodes; i++) {
        const struct node *n = graph_node(m->g, i);
        for (int s = 0; s < NODE_SRC; s++) {
            int t = n->src[s] != NULL ? n->src[s]->id : -1;
            if (t < 0 || !m->direct[t])
                continue;
            int d = m->part_dev[graph_node(m->g, m->producer[t])->part];
            const struct kernel *k = *kernel_at(m, i, d);
            read[t] = true;
            m->direct[t] = s == 0 && !is_shared(m, n) && k != NULL && k->act == DTYPE_A8;
        }
    }
    for (int t = 0; t < m->n_tensors; t++)
        m->direct[t] = m->direct[t] && read[t];
}

// --- 2 steps
// --------------------------------------------------------------------------------------

static int add_value(struct maker *m, const struct tensor *t, enum dtype format, int dev,
                     enum arena_kind arena, uint64_t bytes)
{
    if (m->n_values == m->cap_values) {
        m->cap_values = m->cap_values > 0 ? 2 * m->cap_values : 256;
        m->value = xrealloc(m->value, (size_t)m->cap_values * sizeof(*m->value));
    }
    m->value[m->n_values] = (struct value){
        .t = t,
        .format = format,
        .slot = { .dev = dev,
                  .arena = arena,
                  .file = -1,
                  .bytes = bytes,
                  .mapped = arena == ARENA_WEIGHTS && m->dev[dev].info.in_place },
        .first_step = -1,
        .last_step = -1,
        .alias = -1,
    };
    return m->n_values++;
}

static struct step *add_step(struct maker *m, int dev, const struct kernel *k, const struct node *n)
{
    if (m->n_steps == m->cap_steps) {
        m->cap_steps = m->cap_steps > 0 ? 2 * m->cap_steps : 256;
        m->step = xrealloc(m->step, (size_t)m->cap_steps * sizeof(*m->step));
    }
    struct step *s = &m->step[m->n_steps++];
    *s = (struct step){ .dev = dev, .kernel = k, .node = n, .scratch = -1 };
    for (int i = 0; i < NODE_SRC; i++)
        s->src[i] = -1;
    for (int i = 0; i < NODE_DST; i++)
        s->dst[i] = -1;
    return s;
}

static void add_scratch(struct maker *m, struct step *s)
{
    const struct kernel *k = s->kernel;
    uint64_t bytes = 0;

    if (k->scratch_bytes != NULL)
        bytes = k->scratch_bytes(s->node, &m->max, m->dev[s->dev].info.max_threads);
    if (bytes > 0)
        s->scratch = add_value(m, NULL, DTYPE_F32, s->dev, ARENA_SCRATCH, bytes);
}

/// The value of `t` on device `d`, in its own format: made at first mention, by a copy if it is
/// from elsewhere.
static int plain_value(struct maker *m, const struct tensor *t, int d)
{
    int *at = &m->plain[m->canon[t->id] * m->n_devs + d];
    enum arena_kind arena = ARENA_INPUT;

    if (*at >= 0)
        return *at;
    switch (t->role) {
    case ROLE_WEIGHT:
        arena = ARENA_WEIGHTS;
        break;
    case ROLE_STATE:
        arena = ARENA_KV;
        break;
    case ROLE_INPUT:
    case ROLE_OUTPUT:
        arena = ARENA_INPUT;
        break;
    case ROLE_TEMP:
        arena = ARENA_HANDOVER;
        break;
    }
    enum dtype format = natural_format(t, &m->max);
    uint64_t bytes = tensor_bytes(t, &m->max);
    if (arena != ARENA_HANDOVER)
        return *at = add_value(m, t, format, d, arena, bytes);

    int home = m->part_dev[graph_node(m->g, m->producer[t->id])->part];
    int from = m->plain[t->id * m->n_devs + home];
    ASSERT(home != d && from >= 0); // the graph is in order, so it was made before
    *at = add_value(m, t, format, d, arena, bytes);
    struct step *s = add_step(m, d, NULL, NULL);
    s->src[0] = from;
    s->dst[0] = *at;
    if (bytes > m->staging_bytes)
        m->staging_bytes = bytes;
    return *at;
}

/// The value of `t` as A8, converted once for all its readers on this device.
static bool a8_value(struct maker *m, int *out, const struct tensor *t, int d,
                     const struct node *reader)
{
    int *at = &m->a8[t->id * m->n_devs + d];

    if (*at < 0) {
        const struct kernel *k = m->devs[d]->ops->convert(m->devs[d], DTYPE_A8);
        if (k == NULL)
            return err_set(m->e, ERR_UNSUPPORTED, "%s cannot convert activations to A8",
                           m->dev[d].info.name);
        int from = plain_value(m, t, d);
        *at = add_value(m, t, DTYPE_A8, d, ARENA_SCRATCH, format_bytes(t, DTYPE_A8, &m->max));
        struct step *s = add_step(m, d, k, reader);
        s->src[0] = from;
        s->dst[0] = *at;
        add_scratch(m, s);
    }
    *out = *at;
    return true;
}

static bool add_node(struct maker *m, const struct node *n, int d)
{
    const struct kernel *k = *kernel_at(m, n->id, d);
    int src[NODE_SRC], dst[NODE_DST];

    for (int i = 0; i < NODE_SRC; i++) {
        src[i] = -1;
        if (n->src[i] == NULL)
            continue;
        if (i == 0 && k->act == DTYPE_A8) {
            if (!a8_value(m, &src[i], n->src[i], d, n))
                return false;
        } else {
            src[i] = plain_value(m, n->src[i], d);
        }
    }
    for (int i = 0; i < NODE_DST; i++) {
        const struct tensor *t = n->dst[i];
        dst[i] = -1;
        if (t == NULL)
            continue;
        if (t->role != ROLE_TEMP) {
            dst[i] = plain_value(m, t, d);
            continue;
        }
        enum dtype format = m->direct[t->id] ? DTYPE_A8 : natural_format(t, &m->max);
        dst[i] = add_value(m, t, format, d, ARENA_SCRATCH, format_bytes(t, format, &m->max));
        (format == DTYPE_A8 ? m->a8 : m->plain)[t->id * m->n_devs + d] = dst[i];
    }
    struct step *s = add_step(m, d, k, n);
    memcpy(s->src, src, sizeof(src));
    memcpy(s->dst, dst, sizeof(dst));
    add_scratch(m, s);
    return true;
}

/// Weights that are there whether a step reads them or not.
static void add_held(struct maker *m)
{
    for (int i = 0; i < m->n_tensors; i++) {
        const struct tensor *t = graph_tensor(m->g, i);
        if (!t->held)
            continue;
        m->dev[m->part_dev[t->part]].used = true;
        (void)plain_value(m, t, m->part_dev[t->part]);
    }
}

static bool add_steps(struct maker *m)
{
    for (int i = 0; i < m->n_nodes; i++)
        for (int d = 0; d < m->n_devs; d++)
            if (*kernel_at(m, i, d) != NULL && !add_node(m, graph_node(m->g, i), d))
                return false;
    add_held(m);
    return true;
}

// --- 3 groups
// -------------------------------------------------------------------------------------

/// When a value was last read and written: the number of the group, over all devices.
struct touch {
    int read, written, last_use; // last_use: the last step that reads it
};

static bool waits(const struct touch *t, const struct step *s, int group)
{
    for (int i = 0; i < NODE_SRC; i++)
        if (s->src[i] >= 0 && t[s->src[i]].written == group)
            return true;
    for (int i = 0; i < NODE_DST; i++)
        if (s->dst[i] >= 0 && (t[s->dst[i]].written == group || t[s->dst[i]].read == group))
            return true;
    return false;
}

static void mark(struct touch *t, const struct step *s, int group)
{
    for (int i = 0; i < NODE_SRC; i++)
        if (s->src[i] >= 0)
            t[s->src[i]].read = group;
    for (int i = 0; i < NODE_DST; i++)
        if (s->dst[i] >= 0)
            t[s->dst[i]].written = group;
}

/// A temporary that is read here for the last time hands its slot on to the result, where the
/// operation allows it. Not if another step of the same group reads it too: that would need a sync
/// of its own.
static void take_over(struct maker *m, const struct touch *t, int at, int group)
{
    const struct step *s = &m->step[at];
    struct value *y = s->dst[0] >= 0 ? &m->value[s->dst[0]] : NULL;

    if (y == NULL || y->slot.arena != ARENA_SCRATCH ||
        y->t != s->node->dst[0]) // a conversion's is the source
        return;
    for (int i = 0; i < NODE_SRC; i++) {
        int v = s->src[i];
        if (v < 0 || !op_in_place(s->node->op, i))
            continue;
        const struct value *x = &m->value[v];
        bool once = true;
        for (int k = 0; k < NODE_SRC; k++)
            once = once && (k == i || s->src[k] != v);
        if (once && x->slot.arena == ARENA_SCRATCH && x->format == y->format &&
            x->slot.bytes == y->slot.bytes && t[v].last_use == at && t[v].read != group &&
            t[v].written != group) {
            y->alias = v;
            return;
        }
    }
}

static void find_groups(struct maker *m)
{
    struct touch *t = arena_alloc(&m->tmp, (size_t)m->n_values * sizeof(*t));
    int *group = arena_alloc(&m->tmp, (size_t)m->n_devs * sizeof(*group));
    int *step_group = arena_alloc(&m->tmp, (size_t)m->n_steps * sizeof(*step_group));
    int n_groups = m->n_devs; // 0 .. n_devs-1: the first of each device

    for (int v = 0; v < m->n_values; v++)
        t[v] = (struct touch){ -1, -1, -1 };
    for (int d = 0; d < m->n_devs; d++)
        group[d] = d;
    for (int i = 0; i < m->n_steps; i++)
        for (int k = 0; k < NODE_SRC; k++)
            if (m->step[i].src[k] >= 0)
                t[m->step[i].src[k]].last_use = i;

    for (int i = 0; i < m->n_steps; i++) {
        struct step *s = &m->step[i];
        if (s->kernel == NULL) { // the executor waits for both ends
            step_group[i] = n_groups++;
            group[m->value[s->src[0]].slot.dev] = n_groups++;
            group[s->dev] = n_groups++;
            continue;
        }
        s->sync = waits(t, s, group[s->dev]);
        if (s->sync)
            group[s->dev] = n_groups++;
        step_group[i] = group[s->dev];
        take_over(m, t, i, group[s->dev]);
        mark(t, s, group[s->dev]);
    }

    int *first = arena_alloc(&m->tmp, (size_t)n_groups * sizeof(*first));
    int *last = arena_alloc(&m->tmp, (size_t)n_groups * sizeof(*last));
    for (int i = m->n_steps - 1; i >= 0; i--)
        first[step_group[i]] = i;
    for (int i = 0; i < m->n_steps; i++)
        last[step_group[i]] = i;
    m->group_first = arena_alloc(&m->tmp, (size_t)m->n_steps * sizeof(int));
    m->group_last = arena_alloc(&m->tmp, (size_t)m->n_steps * sizeof(int));
    for (int i = 0; i < m->n_steps; i++) {
        m->group_first[i] = first[step_group[i]];
        m->group_last[i] = last[step_group[i]];
    }
}

static void live_at(struct maker *m, int v, int step)
{
    if (v < 0)
        return;
    struct value *x = &m->value[v];
    if (x->first_step < 0 || m->group_first[step] < x->first_step)
        x->first_step = m->group_first[step];
    if (m->group_last[step] > x->last_step)
        x->last_step = m->group_last[step];
}

static bool is_temporary(const struct value *v)
{
    return v->slot.arena == ARENA_SCRATCH || v->slot.arena == ARENA_HANDOVER;
}

static void find_lives(struct maker *m)
{
    for (int i = 0; i < m->n_steps; i++) {
        const struct step *s = &m->step[i];
        for (int k = 0; k < NODE_SRC; k++)
            live_at(m, s->src[k], i);
        for (int k = 0; k < NODE_DST; k++)
            live_at(m, s->dst[k], i);
        live_at(m, s->scratch, i);
    }
    for (int v = 0; v < m->n_values; v++) {
        struct value *x = &m->value[v];
        if (!is_temporary(x)) {
            x->first_step = 0;
            x->last_step = m->n_steps - 1;
        }
    }
}

// --- 4 slots
// --------------------------------------------------------------------------------------

/// Temporaries of one arena. A value and those that take over its slot are one span.
static void pack_arena(struct maker *m, int d, enum arena_kind arena)
{
    struct span *span = xcalloc((size_t)m->n_values, sizeof(*span));
    int *of = xcalloc((size_t)m->n_values, sizeof(*of));
    uint64_t guard = align_up_u64(m->lim.guard_bytes, SLOT_ALIGN), bound;
    int n = 0;

    for (int v = 0; v < m->n_values; v++) {
        const struct value *x = &m->value[v];
        if (x->slot.dev != d || x->slot.arena != arena)
            continue;
        if (x->alias <
            0) { // aliases come after what they take over: values are in order of their steps
            of[v] = n++;
            span[of[v]] = (struct span){ x->first_step, x->last_step,
                                         align_up_u64(x->slot.bytes, SLOT_ALIGN) + 2 * guard, 0 };
            continue;
        }
        of[v] = of[x->alias];
        struct span *s = &span[of[v]];
        s->first = x->first_step < s->first ? x->first_step : s->first;
        s->last = x->last_step > s->last ? x->last_step : s->last;
    }
    m->dev[d].arena_bytes[arena] = pack_spans(span, n, m->n_steps, &bound);
    if (arena == ARENA_SCRATCH)
        m->dev[d].scratch_bound = bound;
    for (int v = 0; v < m->n_values; v++) {
        struct slot *s = &m->value[v].slot;
        if (s->dev == d && s->arena == arena)
            s->offset = span[of[v]].offset + guard;
    }
    free(of);
    free(span);
}

static uint64_t file_offset(const struct maker *m, const struct tensor *t)
{
    return m->places[t->source].offset + (uint64_t)t->row0 * dtype_row_bytes(t->type, t->d[0].n);
}

struct weight_ref {
    int file, value;
    uint64_t offset;
};

static int cmp_weight(const void *a, const void *b)
{
    const struct weight_ref *x = a, *y = b;

    if (x->file != y->file)
        return x->file < y->file ? -1 : 1;
    if (x->offset != y->offset)
        return x->offset < y->offset ? -1 : 1;
    return x->value < y->value ? -1 : x->value > y->value;
}

static void put(struct maker *m, struct slot *s)
{
    uint64_t *end = &m->dev[s->dev].arena_bytes[s->arena];

    s->offset = *end;
    *end += align_up_u64(s->bytes, SLOT_ALIGN);
}

static void put_weights(struct maker *m, int d)
{
    struct weight_ref *w = xcalloc((size_t)m->n_values, sizeof(*w));
    int n = 0;

    for (int v = 0; v < m->n_values; v++) {
        const struct value *x = &m->value[v];
        if (x->slot.dev == d && x->slot.arena == ARENA_WEIGHTS)
            w[n++] = (struct weight_ref){ m->places[x->t->source].file, v, file_offset(m, x->t) };
    }
    qsort(w, (size_t)n, sizeof(*w), cmp_weight);
    for (int i = 0; i < n; i++) {
        struct slot *s = &m->value[w[i].value].slot;
        if (s->mapped) {
            s->file = w[i].file;
            s->offset = w[i].offset;
            m->dev[d].mapped_bytes += s->bytes;
        } else {
            put(m, s);
        }
    }
    free(w);
}

static void put_all(struct maker *m)
{
    for (int v = 0; v < m->n_values; v++)
        if (m->value[v].slot.arena == ARENA_KV || m->value[v].slot.arena == ARENA_INPUT)
            put(m, &m->value[v].slot);
    for (int d = 0; d < m->n_devs; d++) {
        struct plan_dev *p = &m->dev[d];
        put_weights(m, d);
        pack_arena(m, d, ARENA_SCRATCH);
        pack_arena(m, d, ARENA_HANDOVER);
        for (int a = 0; a < ARENA_COUNT; a++) {
            uint64_t rounded = align_up_u64(p->arena_bytes[a], p->info.granule_bytes);
            p->rounding_bytes += rounded - p->arena_bytes[a];
            p->total_bytes += rounded;
        }
    }
}

// --- the whole
// ------------------------------------------------------------------------------------

static void mix(uint64_t *h, uint64_t x)
{
    *h = (*h ^ x) * 0x9e3779b97f4a7c15u;
    *h ^= *h >> 32;
}

/// Of what the plan says, without addresses of this process and without what devices have free just
/// now.
static uint64_t plan_hash(const struct plan *p)
{
    uint64_t h = graph_hash(p->graph);

    mix(&h, (uint64_t)p->max.n_tokens);
    mix(&h, (uint64_t)p->max.n_outputs);
    mix(&h, (uint64_t)p->max.n_slots);
    mix(&h, (uint64_t)p->max.n_ctx);
    mix(&h, (uint64_t)p->max.kv);
    mix(&h, p->lim.exact);
    mix(&h, p->lim.guard_bytes);
    for (int i = 0; i < p->n_parts; i++)
        mix(&h, (uint64_t)p->part_dev[i]);
    for (int i = 0; i < p->n_devs; i++) {
        const struct plan_dev *d = &p->dev[i];
        h = hash_bytes(d->info.name, strlen(d->info.name), h);
        for (int a = 0; a < ARENA_COUNT; a++)
            mix(&h, d->arena_bytes[a]);
        mix(&h, d->total_bytes);
        mix(&h, d->mapped_bytes);
    }
    for (int i = 0; i < p->n_values; i++) {
        const struct value *v = &p->value[i];
        mix(&h, (uint64_t)(v->t != NULL ? v->t->id : -1));
        mix(&h, (uint64_t)v->format << 32 | (uint64_t)v->slot.arena << 16 | (uint64_t)v->slot.dev);
        mix(&h, v->slot.offset);
        mix(&h, v->slot.bytes);
        mix(&h, (uint64_t)v->first_step << 32 | (uint64_t)v->last_step);
    }
    for (int i = 0; i < p->n_steps; i++) {
        const struct step *s = &p->step[i];
        if (s->kernel != NULL)
            h = hash_bytes(s->kernel->name, strlen(s->kernel->name), h);
        mix(&h, (uint64_t)(s->node != NULL ? s->node->id : -1));
        for (int k = 0; k < NODE_SRC; k++)
            mix(&h, (uint64_t)s->src[k]);
        for (int k = 0; k < NODE_DST; k++)
            mix(&h, (uint64_t)s->dst[k]);
        mix(&h, (uint64_t)s->scratch << 1 | s->sync);
    }
    mix(&h, p->host_staging_bytes);
    return h;
}

static bool bad_limits(const struct limits *lim, struct err *e)
{
    if (lim->micro_batch < 1 || lim->slots < 1 || lim->ctx < 1)
        return err_set(e, ERR_ARG, "micro-batch %d, slots %d and context %lld must be at least 1",
                       lim->micro_batch, lim->slots, (long long)lim->ctx);
    if (lim->ctx > INT32_MAX / 2 / lim->slots)
        return err_set(e, ERR_ARG, "context %lld times %d slots is more than %d tokens",
                       (long long)lim->ctx, lim->slots, INT32_MAX / 2);
    if (lim->outputs < 0 || lim->outputs > lim->micro_batch)
        return err_set(e, ERR_ARG, "%d outputs of a micro-batch of %d", lim->outputs,
                       lim->micro_batch);
    if (lim->kv != DTYPE_F16 && lim->kv != DTYPE_F32 && lim->kv != DTYPE_Q8_0)
        return err_set(e, ERR_ARG, "the KV cache is stored as f16, q8_0 or f32");
    return true;
}

/// Tensors that are the same rows of the same tensor of the file are one: they are found in chains
/// by that tensor, of one or a few.
static void find_canons(struct maker *m)
{
    int n_sources = 0;

    for (int t = 0; t < m->n_tensors; t++)
        if (graph_tensor(m->g, t)->source >= n_sources)
            n_sources = graph_tensor(m->g, t)->source + 1;
    int *last = arena_alloc(&m->tmp, (size_t)n_sources * sizeof(int) + 1);
    int *before = arena_alloc(&m->tmp, (size_t)m->n_tensors * sizeof(int));
    for (int i = 0; i < n_sources; i++)
        last[i] = -1;
    for (int t = 0; t < m->n_tensors; t++) {
        const struct tensor *x = graph_tensor(m->g, t);
        if (x->role != ROLE_WEIGHT)
            continue;
        for (int u = last[x->source]; u >= 0; u = before[u]) {
            const struct tensor *y = graph_tensor(m->g, u);
            if (y->row0 == x->row0 && memcmp(x->d, y->d, sizeof(x->d)) == 0)
                m->canon[t] = m->canon[u];
        }
        before[t] = last[x->source];
        last[x->source] = t;
    }
}

static void init_tables(struct maker *m)
{
    size_t per_dev = (size_t)(m->n_tensors * m->n_devs) * sizeof(int);

    m->producer = arena_alloc(&m->tmp, (size_t)m->n_tensors * sizeof(int));
    m->canon = arena_alloc(&m->tmp, (size_t)m->n_tensors * sizeof(int));
    m->direct = arena_alloc(&m->tmp, (size_t)m->n_tensors);
    m->kernel = arena_alloc(&m->tmp, (size_t)(m->n_nodes * m->n_devs) * sizeof(*m->kernel));
    m->plain = memset(arena_alloc(&m->tmp, per_dev), 0xff, per_dev);
    m->a8 = memset(arena_alloc(&m->tmp, per_dev), 0xff, per_dev);
    for (int t = 0; t < m->n_tensors; t++) {
        m->producer[t] = -1;
        m->canon[t] = t;
    }
    find_canons(m);
    for (int i = 0; i < m->n_nodes; i++) {
        const struct node *n = graph_node(m->g, i);
        for (int k = 0; k < NODE_DST; k++)
            if (n->dst[k] != NULL && n->dst[k]->role != ROLE_STATE)
                m->producer[n->dst[k]->id] = i;
    }
}

static void init_devs(struct maker *m)
{
    m->dev = arena_alloc(&m->tmp, (size_t)m->n_devs * sizeof(*m->dev));
    for (int d = 0; d < m->n_devs; d++) {
        struct dev_info *i = &m->dev[d].info;
        m->devs[d]->ops->info(m->devs[d], i);
        if (i->granule_bytes == 0)
            i->granule_bytes = 1;
        ASSERT((i->granule_bytes & (i->granule_bytes - 1)) == 0);
    }
}

static void *keep(struct arena *a, const void *p, size_t n, size_t bytes)
{
    void *q = arena_alloc(a, n * bytes);

    return n > 0 ? memcpy(q, p, n * bytes) : q;
}

static void predict(struct maker *m)
{
    for (int i = 0; i < m->n_steps; i++) {
        const struct step *s = &m->step[i];
        struct plan_dev *d = &m->dev[s->dev];
        if (d->info.bytes_per_s <= 0)
            continue;
        d->read_bytes += step_read_bytes(s, &m->max);
        d->ns_per_token += step_ns(s, m->value, &d->info, &m->max);
    }
}

static struct plan *finish(const struct maker *m)
{
    struct plan *p = xcalloc(1, sizeof(*p));
    int *input = arena_alloc(&p->mem, (size_t)(m->n_devs * IN_COUNT) * sizeof(int));
    const struct tensor *logits = graph_logits(m->g);
    int head = m->part_dev[graph_node(m->g, m->producer[logits->id])->part];

    p->graph = m->g;
    p->places = m->places;
    p->lim = m->lim;
    p->max = m->max;
    p->n_devs = m->n_devs;
    p->n_parts = m->n_parts;
    p->n_values = m->n_values;
    p->n_steps = m->n_steps;
    p->devs = keep(&p->mem, m->devs, (size_t)m->n_devs, sizeof(*m->devs));
    p->dev = keep(&p->mem, m->dev, (size_t)m->n_devs, sizeof(*m->dev));
    p->part_dev = keep(&p->mem, m->part_dev, (size_t)m->n_parts, sizeof(*m->part_dev));
    p->value = keep(&p->mem, m->value, (size_t)m->n_values, sizeof(*m->value));
    p->step = keep(&p->mem, m->step, (size_t)m->n_steps, sizeof(*m->step));
    for (int d = 0; d < m->n_devs; d++)
        for (int in = 0; in < IN_COUNT; in++) {
            const struct tensor *t = graph_input(m->g, (enum input)in);
            input[d * IN_COUNT + in] = t != NULL ? m->plain[t->id * m->n_devs + d] : -1;
        }
    p->input = input;
    p->logits = m->plain[logits->id * m->n_devs + head];
    p->host_staging_bytes = m->staging_bytes;
    if (!p->dev[head].info.in_place && p->value[p->logits].slot.bytes > p->host_staging_bytes)
        p->host_staging_bytes = p->value[p->logits].slot.bytes;
    p->hash = m->sketch ? 0 : plan_hash(p);
    return p;
}

static bool make(struct plan **out, const struct graph *g, const struct weight_place *w,
                 const struct assign *a, const struct limits *lim, struct dev *const *devs,
                 int n_devs, bool sketch, struct err *e)
{
    struct maker m = { .g = g, .places = w, .devs = devs, .lim = *lim, .n_devs = n_devs, .e = e };
    bool ok = false;

    m.sketch = sketch;

    *out = NULL;
    if (!bad_limits(lim, e))
        return false;
    ASSERT(n_devs > 0 && a->n_parts == graph_n_parts(g));
    m.max = (struct dims){
        .n_tokens = lim->micro_batch,
        .n_outputs = lim->outputs,
        .n_slots = lim->slots,
        .n_ctx = (lim->ctx + KV_PAGE_TOKENS - 1) / KV_PAGE_TOKENS * KV_PAGE_TOKENS,
        .max_tokens = lim->micro_batch,
        .kv = lim->kv,
    };
    m.n_parts = graph_n_parts(g);
    m.n_nodes = graph_n_nodes(g);
    m.n_tensors = graph_n_tensors(g);
    m.part_dev = arena_alloc(&m.tmp, (size_t)m.n_parts * sizeof(int));
    m.part_dev[0] = -1;
    for (int i = 1; i < m.n_parts; i++) {
        ASSERT(a->dev[i] >= 0 && a->dev[i] < n_devs);
        m.part_dev[i] = a->dev[i];
    }
    init_tables(&m);
    init_devs(&m);
    if (!find_kernels(&m))
        goto done;
    find_direct(&m);
    if (!add_steps(&m))
        goto done;
    find_groups(&m);
    find_lives(&m);
    if (!m.sketch) {
        put_all(&m);
        predict(&m);
    }
    *out = finish(&m);
    ok = true;
done:
    free(m.value);
    free(m.step);
    arena_done(&m.tmp);
    return ok;
}

bool plan_make(struct plan **out, const struct graph *g, const struct weight_place *w,
               const struct assign *a, const struct limits *lim, struct dev *const *devs,
               int n_devs, struct err *e)
{
    return make(out, g, w, a, lim, devs, n_devs, false, e);
}

bool plan_sketch(struct plan **out, const struct graph *g, const struct weight_place *w,
                 const struct assign *a, const struct limits *lim, struct dev *const *devs,
                 int n_devs, struct err *e)
{
    return make(out, g, w, a, lim, devs, n_devs, true, e);
}

void plan_free(struct plan *p)
{
    if (p == NULL)
        return;
    arena_done(&p->mem);
    free(p);
}

uint64_t plan_device_bytes(const struct plan *p, int dev)
{
    ASSERT(dev >= 0 && dev < p->n_devs);
    return p->dev[dev].total_bytes;
}

const char *arena_kind_name(enum arena_kind k)
{
    static const char *const name[ARENA_COUNT] = { "weights", "kv", "scratch", "input",
                                                   "handover" };

    return name[k];
}
