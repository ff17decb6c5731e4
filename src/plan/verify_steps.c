// verify_steps.c - replays the steps: every node runs once, on the device of its part, in order, on
// values that are there and untouched since they were written; and each value is said to live from
// the first to the last moment at which a step needs it.

#include "plan/verify_int.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

struct replay {
    struct verifier *v;
    const struct plan_file *f;
    bool *intact;      // [n_slots] holds what belongs there
    bool *used;        // [n_slots]
    int *first, *last; // [n_slots] steps
    int *group;        // [n_steps] what runs without a wait between
    struct dev *cpu;   // whose kernels can be asked; NULL: none
    int known, unknown;
    int at; // step
};

static void step_wrong(struct replay *r, const char *what, int slot)
{
    const struct file_step *s = &r->f->step[r->at];
    char op[40], name[64];

    err_bytes(op, sizeof(op), s->op, strlen(s->op));
    if (slot < 0)
        verify_wrong(r->v, "steps[%d] (%s): %s", r->at, op, what);
    else
        verify_wrong(
            r->v, "steps[%d] (%s): %s: tensors[%d] %s", r->at, op, what, slot,
            err_bytes(name, sizeof(name), r->f->slot[slot].name, strlen(r->f->slot[slot].name)));
}

/// Sources, then results, then working space. Returns how many.
static int operands(const struct file_step *s, int out[NODE_SRC + NODE_DST + 1], int *n_read)
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

// --- what a step is
// -------------------------------------------------------------------------------

/// The same rows of the same tensor of the file are one value on a device, whatever part reads it.
static bool stands_for(const struct tensor *have, const struct tensor *t)
{
    return have == t ||
           (have != NULL && have->role == ROLE_WEIGHT && t->role == ROLE_WEIGHT &&
            have->source == t->source && have->row0 == t->row0 && have->d[0].n == t->d[0].n &&
            have->d[1].n == t->d[1].n && have->d[2].n == t->d[2].n);
}

/// Operations whose kernels read an element for the last time before they write the same place
/// (dev.h, kernel.run), and the sources for which that holds.
static bool may_lie_on(const char *op, int src)
{
    static const struct {
        const char *op;
        unsigned sources;
    } rows[] = { { "matmul", 1u << MATMUL_RES },
                 { "expert_sum", 1u << EXPERT_SUM_RES },
                 { "add", 3 },
                 { "glu", 3 },
                 { "scale", 1 },
                 { "softcap", 1 } };

    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        if (strcmp(rows[i].op, op) == 0)
            return rows[i].sources >> src & 1;
    return false;
}

static void check_copy(struct replay *r, const struct file_step *s)
{
    if (s->src[0] < 0 || s->dst[0] < 0 || s->node >= 0 || s->scratch >= 0 || s->sync) {
        step_wrong(r, "a copy has one source and one result", -1);
        return;
    }
    const struct file_slot *from = &r->f->slot[s->src[0]], *to = &r->f->slot[s->dst[0]];
    if (from->tensor < 0 || from->tensor != to->tensor || from->format != to->format ||
        from->dev == to->dev || to->dev != s->dev || to->arena != ARENA_HANDOVER)
        step_wrong(r, "not a copy of one tensor to this device", s->dst[0]);
    if (from->bytes > r->f->host_staging)
        step_wrong(r, "longer than the host's staging buffer", s->src[0]);
}

static void check_operand(struct replay *r, int slot, const struct tensor *want, bool a8_allowed)
{
    const struct file_step *s = &r->f->step[r->at];

    if (slot < 0 || want == NULL) {
        if ((slot < 0) != (want == NULL))
            step_wrong(r, "an operand is missing, or one too many", slot);
        return;
    }
    const struct file_slot *x = &r->f->slot[slot];
    const struct tensor *have = verify_tensor(r->v, slot);
    if (have == NULL || !stands_for(have, want))
        step_wrong(r, "not the operand that the graph has", slot);
    else if (x->dev != s->dev)
        step_wrong(r, "on another device", slot);
    else if (x->format == DTYPE_A8 && !a8_allowed)
        step_wrong(r, "as A8 where numbers are needed", slot);
}

/// What the kernel itself says, where this machine would choose the same one.
static void ask_kernel(struct replay *r, const struct file_step *s, const struct node *n,
                       bool convert)
{
    const struct plan_file *f = r->f;
    const struct dims max = { .n_tokens = f->micro_batch,
                              .n_outputs = f->outputs,
                              .n_slots = f->slots,
                              .n_ctx = f->context,
                              .max_tokens = f->micro_batch,
                              .kv = f->kv };
    const struct kernel *k = NULL;

    if (r->cpu != NULL)
        k = convert ? r->cpu->ops->convert(r->cpu, DTYPE_A8)
                    : r->cpu->ops->find(r->cpu, n, &max, f->exact);
    if (k == NULL || strcmp(k->name, s->kernel) != 0) {
        r->unknown++;
        return;
    }
    r->known++;
    uint64_t need =
        k->scratch_bytes != NULL ? k->scratch_bytes(n, &max, f->dev[s->dev].threads) : 0;
    uint64_t have = s->scratch >= 0 ? f->slot[s->scratch].bytes : 0;
    if (have != need)
        verify_wrong(r->v, "steps[%d].scratch: %" PRIu64 " bytes, %s needs %" PRIu64, r->at, have,
                     k->name, need);
    if (!convert && s->src[0] >= 0 && f->slot[s->src[0]].format == DTYPE_A8 && k->act != DTYPE_A8)
        step_wrong(r, "its kernel takes numbers, not A8", s->src[0]);
    if (!convert && s->src[0] >= 0 && f->slot[s->src[0]].format != DTYPE_A8 && k->act == DTYPE_A8)
        step_wrong(r, "its kernel takes A8", s->src[0]);
    if (!convert && s->dst[0] >= 0 && f->slot[s->dst[0]].format == DTYPE_A8 && !k->writes_a8)
        step_wrong(r, "its kernel does not write A8", s->dst[0]);
}

static void check_node(struct replay *r, const struct file_step *s)
{
    const struct node *n = graph_node(r->v->g, s->node);

    if (strcmp(s->op, op_info(n->op)->name) != 0) {
        step_wrong(r, op_info(n->op)->name, -1);
        return;
    }
    for (int i = 0; i < NODE_SRC; i++)
        check_operand(r, s->src[i], n->src[i], i == 0);
    for (int i = 0; i < NODE_DST; i++)
        check_operand(r, s->dst[i], n->dst[i], i == 0);
    ask_kernel(r, s, n, false);
}

static void check_convert(struct replay *r, const struct file_step *s)
{
    const struct node *n = graph_node(r->v->g, s->node);

    if (s->src[0] < 0 || s->dst[0] < 0 || s->src[1] >= 0 || s->dst[1] >= 0) {
        step_wrong(r, "a conversion has one source and one result", -1);
        return;
    }
    const struct file_slot *from = &r->f->slot[s->src[0]], *to = &r->f->slot[s->dst[0]];
    if (from->tensor != to->tensor || n->src[0] == NULL || to->tensor != n->src[0]->id ||
        from->format != DTYPE_F32 || to->format != DTYPE_A8 || from->dev != s->dev ||
        to->dev != s->dev)
        step_wrong(r, "not a conversion of what its reader needs", s->dst[0]);
    int next = r->at + 1;
    while (next < r->f->n_steps &&
           (r->f->step[next].kernel[0] == '\0' || r->f->step[next].dev != s->dev ||
            strcmp(r->f->step[next].op, "convert") == 0))
        next++;
    if (next == r->f->n_steps || r->f->step[next].node != s->node)
        step_wrong(r, "not followed by the node that it is for", -1);
    ask_kernel(r, s, n, true);
}

static void check_kind(struct replay *r, const struct file_step *s)
{
    if (s->scratch >= 0 && (r->f->slot[s->scratch].tensor >= 0 ||
                            r->f->slot[s->scratch].dev != s->dev || r->used[s->scratch]))
        step_wrong(r, "not working space of its own", s->scratch);
    if (s->kernel[0] == '\0') {
        if (strcmp(s->op, "copy") != 0)
            step_wrong(r, "has no kernel", -1);
        else
            check_copy(r, s);
    } else if (s->node < 0 || s->node >= graph_n_nodes(r->v->g)) {
        step_wrong(r, "no such node", -1);
    } else if (strcmp(s->op, "convert") == 0) {
        check_convert(r, s);
    } else {
        check_node(r, s);
    }
}

// --- what it does to memory
// -----------------------------------------------------------------------

/// A result may lie on a source that it takes over, and on nothing else of the same step.
static void check_lies(struct replay *r, const struct file_step *s, const int *v, int n, int n_read)
{
    for (int i = n_read; i < n; i++)
        for (int k = 0; k < n; k++) {
            const struct file_slot *x = &r->f->slot[v[i]], *y = &r->f->slot[v[k]];
            bool allowed = k < n_read && i == n_read && x->alias == v[k];
            if (v[k] == v[i] || !verify_same_memory(x, y))
                continue;
            for (int j = 0; j < NODE_SRC; j++)
                allowed = allowed && (s->src[j] != v[k] || may_lie_on(s->op, j));
            if (!allowed)
                step_wrong(r, "lies on another operand", v[i]);
        }
}

static void run(struct replay *r, const struct file_step *s)
{
    int v[NODE_SRC + NODE_DST + 1], n_read, n = operands(s, v, &n_read);

    for (int i = 0; i < n; i++) {
        const struct file_slot *x = &r->f->slot[v[i]];
        r->used[v[i]] = true;
        if (r->at < x->first || r->at > x->last)
            step_wrong(r, "used outside the life that is stated", v[i]);
        if (i < n_read && !r->intact[v[i]])
            step_wrong(r, "read before it is written, or after it was overwritten", v[i]);
    }
    check_lies(r, s, v, n, n_read);
    for (int i = n_read; i < n; i++) {
        for (int k = 0; k < r->f->n_slots; k++)
            if (k != v[i] && verify_same_memory(&r->f->slot[k], &r->f->slot[v[i]]))
                r->intact[k] = false;
        r->intact[v[i]] = true;
    }
}

// --- order and waiting
// ----------------------------------------------------------------------------

static void find_groups(struct replay *r)
{
    const struct plan_file *f = r->f;
    int *now = xcalloc((size_t)f->n_devs, sizeof(*now)), n = f->n_devs;

    for (int d = 0; d < f->n_devs; d++)
        now[d] = d;
    for (int i = 0; i < f->n_steps; i++) {
        const struct file_step *s = &f->step[i];
        if (s->kernel[0] == '\0') { // both ends wait for a copy
            r->group[i] = n++;
            now[s->dev] = n++;
            if (s->src[0] >= 0)
                now[f->slot[s->src[0]].dev] = n++;
            continue;
        }
        if (s->sync)
            now[s->dev] = n++;
        r->group[i] = now[s->dev];
    }
    free(now);
}

/// Within a group, steps may run in any order: none may touch what another writes.
static void check_waits(struct replay *r)
{
    const struct plan_file *f = r->f;
    int a[NODE_SRC + NODE_DST + 1], b[NODE_SRC + NODE_DST + 1], a_read, b_read;

    for (r->at = 0; r->at < f->n_steps; r->at++) {
        int na = operands(&f->step[r->at], a, &a_read);
        bool clash = false;
        for (int i = r->at - 1; i >= 0 && !clash; i--) {
            if (r->group[i] != r->group[r->at]) {
                if (f->step[i].dev == f->step[r->at].dev)
                    break;
                continue;
            }
            int nb = operands(&f->step[i], b, &b_read);
            for (int x = 0; x < na; x++)
                for (int y = 0; y < nb; y++)
                    clash = clash ||
                            ((x >= a_read || y >= b_read) &&
                             (a[x] == b[y] || verify_same_memory(&f->slot[a[x]], &f->slot[b[y]])));
        }
        if (clash)
            step_wrong(r, "sync is false, and a step before it touches the same bytes", -1);
    }
}

/// Whole groups: from the first step of the one that first needs it to the last of the last.
static void check_lives(struct replay *r)
{
    const struct plan_file *f = r->f;
    int n_groups = f->n_devs + 3 * f->n_steps + 1, v[NODE_SRC + NODE_DST + 1], n_read;
    int *begin = xcalloc((size_t)n_groups, sizeof(*begin));
    int *end = xcalloc((size_t)n_groups, sizeof(*end));

    for (int i = 0; i < f->n_slots; i++)
        r->first[i] = f->n_steps;
    for (int i = f->n_steps - 1; i >= 0; i--)
        begin[r->group[i]] = i;
    for (int i = 0; i < f->n_steps; i++)
        end[r->group[i]] = i;
    for (int i = 0; i < f->n_steps; i++) {
        int n = operands(&f->step[i], v, &n_read), b = begin[r->group[i]], e = end[r->group[i]];
        for (int k = 0; k < n; k++) {
            r->first[v[k]] = b < r->first[v[k]] ? b : r->first[v[k]];
            r->last[v[k]] = e > r->last[v[k]] ? e : r->last[v[k]];
        }
    }
    for (int i = 0; i < f->n_slots; i++) {
        const struct file_slot *s = &f->slot[i];
        bool temporary = s->arena == ARENA_SCRATCH || s->arena == ARENA_HANDOVER;
        int first = temporary ? r->first[i] : 0, last = temporary ? r->last[i] : f->n_steps - 1;
        if (s->first != first)
            verify_wrong(r->v, "tensors[%d].first_step: %d, it is needed from %d", i, s->first,
                         first);
        if (s->last != last)
            verify_wrong(r->v, "tensors[%d].last_step: %d, it is needed until %d", i, s->last,
                         last);
    }
    free(begin);
    free(end);
}

// --- coverage
// -------------------------------------------------------------------------------------

static void count_node(struct replay *r, int node, const int *runs)
{
    const struct node *n = graph_node(r->v->g, node);
    int want = verify_part_dev(r->v, n->part), all = 0;

    for (int d = 0; d < r->f->n_devs; d++) {
        int k = runs[node * r->f->n_devs + d];
        all += k;
        if (want < 0 ? k > 1 : k != (d == want))
            verify_wrong(r->v, "steps: node %d (%s) runs %d times on device %d", node,
                         op_info(n->op)->name, k, d);
    }
    if (all == 0)
        verify_wrong(r->v, "steps: node %d (%s) never runs", node, op_info(n->op)->name);
}

static void check_coverage(struct replay *r)
{
    const struct plan_file *f = r->f;
    int n_nodes = graph_n_nodes(r->v->g), before = -1;
    int *runs = xcalloc((size_t)n_nodes * (size_t)f->n_devs + 1, sizeof(*runs));

    for (r->at = 0; r->at < f->n_steps; r->at++) {
        const struct file_step *s = &f->step[r->at];
        if (s->kernel[0] == '\0' || s->node < 0 || s->node >= n_nodes ||
            strcmp(s->op, "convert") == 0)
            continue;
        runs[s->node * f->n_devs + s->dev]++;
        if (s->node < before)
            step_wrong(r, "before a node that comes first", -1);
        before = s->node;
    }
    for (int i = 0; i < n_nodes; i++)
        count_node(r, i, runs);
    free(runs);
}

/// Nothing is held for nobody.
static void check_used(struct replay *r)
{
    for (int i = 0; i < r->f->n_slots; i++) {
        const struct tensor *t = verify_tensor(r->v, i);
        if (!r->used[i] && (t == NULL || !t->held))
            verify_wrong(r->v, "tensors[%d]: no step uses it", i);
    }
}

static void check_logits(struct replay *r)
{
    const struct plan_file *f = r->f;
    const struct file_slot *s = &f->slot[f->logits];
    uint64_t staging = f->dev[s->dev].in_place ? 0 : s->bytes;

    if (verify_tensor(r->v, f->logits) != graph_logits(r->v->g) || !r->intact[f->logits])
        verify_wrong(r->v, "logits: tensors[%d] does not hold them at the end", f->logits);
    for (int i = 0; i < f->n_steps; i++)
        if (f->step[i].kernel[0] == '\0' && f->step[i].src[0] >= 0 &&
            f->slot[f->step[i].src[0]].bytes > staging)
            staging = f->slot[f->step[i].src[0]].bytes;
    if (f->host_staging != staging)
        verify_wrong(r->v, "host.staging: %" PRIu64 ", the longest copy is %" PRIu64,
                     f->host_staging, staging);
}

static void replay(struct replay *r)
{
    const struct plan_file *f = r->f;

    for (int i = 0; i < f->n_slots; i++) {
        const struct tensor *t = verify_tensor(r->v, i);
        r->intact[i] =
            t != NULL && (t->role == ROLE_INPUT || t->role == ROLE_WEIGHT || t->role == ROLE_STATE);
    }
    for (r->at = 0; r->at < f->n_steps; r->at++) {
        check_kind(r, &f->step[r->at]);
        run(r, &f->step[r->at]);
    }
}

void verify_steps(struct verifier *v)
{
    const struct plan_file *f = v->f;
    size_t n = (size_t)f->n_slots + 1;
    struct replay r = { .v = v,
                        .f = f,
                        .intact = xcalloc(n, sizeof(bool)),
                        .used = xcalloc(n, sizeof(bool)),
                        .first = xcalloc(n, sizeof(int)),
                        .last = xcalloc(n, sizeof(int)),
                        .group = xcalloc((size_t)f->n_steps + 1, sizeof(int)) };
    int before = v->out->n_wrong;

    if (!cpu_dev_new(&r.cpu, &(struct cpu_opts){ .threads = 1 }, NULL))
        r.cpu = NULL;
    replay(&r);
    find_groups(&r);
    check_waits(&r);
    check_lives(&r);
    check_coverage(&r);
    check_used(&r);
    check_logits(&r);
    if (v->out->n_wrong == before)
        verify_fine(v,
                    "coverage of nodes: %d, each where its part is, on operands that are there; "
                    "%d steps, lives and waits as stated",
                    graph_n_nodes(v->g), f->n_steps);
    if (r.known > 0 && v->out->n_wrong == before)
        verify_fine(v, "working space: as %d kernels ask for it", r.known);
    if (r.unknown > 0)
        verify_open(v, "working space of %d kernels, which this machine would not choose",
                    r.unknown);
    dev_free(r.cpu);
    free(r.intact);
    free(r.used);
    free(r.first);
    free(r.last);
    free(r.group);
}
