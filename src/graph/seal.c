// seal.c - from what an architecture wrote to the graph that everybody reads.

#include <stdlib.h>

#include "graph/graph_int.h"

/// For each tensor (by id): how many sources read it, and which node makes it (-1: none).
struct uses {
    int *readers;
    int *maker;
};

static void count_uses(const struct graph *g, struct uses *u)
{
    u->readers = xcalloc((size_t)g->n_tensors + 1, sizeof *u->readers);
    u->maker = xcalloc((size_t)g->n_tensors + 1, sizeof *u->maker);
    for (int i = 0; i < g->n_tensors; i++)
        u->maker[i] = -1;
    for (int i = 0; i < g->n_nodes; i++) {
        for (int s = 0; s < NODE_SRC; s++)
            if (g->node[i]->src[s])
                u->readers[g->node[i]->src[s]->id]++;
        for (int d = 0; d < NODE_DST; d++)
            if (g->node[i]->dst[d] && g->node[i]->dst[d]->role != ROLE_STATE)
                u->maker[g->node[i]->dst[d]->id] = i;
    }
}

static int residual_place(enum op op)
{
    return op == OP_MATMUL       ? MATMUL_RES
           : op == OP_RMSNORM    ? NORM_RES
           : op == OP_EXPERT_SUM ? EXPERT_SUM_RES
                                 : -1;
}

/// Lets the maker of `x` add `other` itself, if x is for this ADD alone and `other` is there in
/// time.
static bool fold_into(struct graph *g, const struct uses *u, int add, const struct tensor *x,
                      const struct tensor *other)
{
    int m = u->maker[x->id];
    if (m < 0 || x == other || u->readers[x->id] != 1 || u->maker[other->id] >= m)
        return false;
    struct node *n = g->node[m];
    int place = residual_place(n->op);
    if (place < 0 || n->src[place] || n->part != g->node[add]->part)
        return false;
    const struct tensor *sum = g->node[add]->dst[0];
    n->src[place] = other;
    n->dst[0] = sum;
    u->maker[sum->id] = m;
    u->maker[x->id] = -1;
    return true;
}

/// Folds each ADD that can be into what feeds it. Sums are commutative, so the bits stay the same.
static void fold_adds(struct graph *g)
{
    struct uses u;
    int kept = 0;
    count_uses(g, &u);
    for (int i = 0; i < g->n_nodes; i++) {
        const struct node *n = g->node[i];
        if (n->op == OP_ADD && (fold_into(g, &u, i, n->src[0], n->src[1]) ||
                                fold_into(g, &u, i, n->src[1], n->src[0])))
            g->node[i] = NULL;
    }
    for (int i = 0; i < g->n_nodes; i++)
        if (g->node[i])
            g->node[kept++] = g->node[i];
    g->n_nodes = kept;
    free(u.readers);
    free(u.maker);
}

/// Gives the next number to a tensor at its first mention.
static void take(struct graph *g, struct tensor **list, bool *needed, const struct tensor *t)
{
    if (!t || !needed[t->id])
        return;
    list[g->n_tensors++] = g->tensor[t->id];
    needed[t->id] = false;
}

/// Tensors in the order in which nodes mention them, whatever the order they were asked for in: C
/// leaves the order of a call's arguments to the compiler, and equal graphs must be equal. Those
/// that are held, and none mentions, come last.
static void number_tensors(struct graph *g, bool *needed)
{
    const int n = g->n_tensors;
    struct tensor **list = xcalloc((size_t)n + 1, sizeof(struct tensor *));
    g->n_tensors = 0;
    for (int i = 0; i < g->n_nodes; i++) {
        for (int s = 0; s < NODE_SRC; s++)
            take(g, list, needed, g->node[i]->src[s]);
        for (int d = 0; d < NODE_DST; d++)
            take(g, list, needed, g->node[i]->dst[d]);
    }
    for (int i = 0; i < n; i++)
        if (g->tensor[i]->held)
            take(g, list, needed, g->tensor[i]);
    for (int i = 0; i < g->n_tensors; i++)
        list[i]->id = i;
    free(g->tensor);
    g->tensor = list;
}

/// Drops what the logits do not need: nodes, then tensors that no node mentions and that are not
/// held. Numbers the rest anew.
static void drop_dead(struct graph *g)
{
    bool *needed = xcalloc((size_t)g->n_tensors + 1, sizeof *needed);
    bool *live = xcalloc((size_t)g->n_nodes + 1, sizeof *live);
    needed[g->logits->id] = true;
    for (int i = 0; i < g->n_tensors; i++)
        needed[i] |= g->tensor[i]->held;
    for (int i = g->n_nodes - 1; i >= 0; i--) {
        const struct node *n = g->node[i];
        for (int d = 0; d < NODE_DST; d++)
            live[i] |= n->dst[d] && needed[n->dst[d]->id];
        for (int s = 0; live[i] && s < NODE_SRC; s++)
            if (n->src[s])
                needed[n->src[s]->id] = true;
        for (int d = 0; live[i] && d < NODE_DST; d++)
            if (n->dst[d])
                needed[n->dst[d]->id] = true;
    }
    int kept = 0;
    for (int i = 0; i < g->n_nodes; i++)
        if (live[i]) {
            g->node[i]->id = kept;
            g->node[kept++] = g->node[i];
        }
    g->n_nodes = kept;

    for (int i = 0; i < IN_COUNT; i++)
        if (g->input[i] && !needed[g->input[i]->id])
            g->input[i] = NULL;
    number_tensors(g, needed);
    free(needed);
    free(live);
}

/// A weight of which only rows are gathered: every reader is an EMBED, as its table.
static void mark_rows_used(struct graph *g)
{
    bool *multiplied = xcalloc((size_t)g->n_tensors + 1, sizeof *multiplied);
    for (int i = 0; i < g->n_nodes; i++)
        for (int s = 0; s < NODE_SRC; s++)
            if (g->node[i]->src[s] && g->node[i]->op != OP_EMBED)
                multiplied[g->node[i]->src[s]->id] = true;
    for (int i = 0; i < g->n_tensors; i++)
        g->tensor[i]->rows_used =
            g->tensor[i]->role == ROLE_WEIGHT && !multiplied[i] && !g->tensor[i]->held;
    free(multiplied);
}

bool graph_seal(struct graph **out, struct gb *b, struct err *e)
{
    struct graph *g = b->g;
    *out = NULL;
    if (!g->logits)
        gb_fail(b, ERR_FORMAT, "the graph has no result");
    if (b->err.code != ERR_NONE) {
        err_set(e, b->err.code, "%s", b->err.msg);
        graph_free(g);
        free(b->older);
        free(b);
        return false;
    }
    free(b->older);
    free(b);
    fold_adds(g);
    drop_dead(g);
    mark_rows_used(g);
    g->hash = graph_hash_of(g);
    *out = g;
    return true;
}
