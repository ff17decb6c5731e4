// graph.c - reading a sealed graph, and writing it down as text.

#include <stdlib.h>

#include "graph/graph_int.h"

int graph_n_tensors(const struct graph *g)
{
    return g->n_tensors;
}

const struct tensor *graph_tensor(const struct graph *g, int id)
{
    ASSERT(id >= 0 && id < g->n_tensors);
    return g->tensor[id];
}

int graph_n_nodes(const struct graph *g)
{
    return g->n_nodes;
}

const struct node *graph_node(const struct graph *g, int i)
{
    ASSERT(i >= 0 && i < g->n_nodes);
    return g->node[i];
}

int graph_n_parts(const struct graph *g)
{
    return g->n_parts;
}

const struct part *graph_part(const struct graph *g, int i)
{
    ASSERT(i >= 0 && i < g->n_parts);
    return &g->part[i];
}

const struct tensor *graph_input(const struct graph *g, enum input in)
{
    ASSERT((unsigned)in < IN_COUNT);
    return g->input[in];
}

const struct tensor *graph_logits(const struct graph *g)
{
    return g->logits;
}

uint64_t graph_hash(const struct graph *g)
{
    return g->hash;
}

void graph_free(struct graph *g)
{
    if (!g)
        return;
    free(g->tensor);
    free(g->node);
    free(g->part);
    arena_done(&g->mem);
    free(g);
}

// --- as text: everything that is part of the computation, so that equal text means equal graphs
// ---

static bool dump_tensor(const struct tensor *t, struct buf *out)
{
    static const char *const roles[] = {
        [ROLE_INPUT] = "input", [ROLE_WEIGHT] = "weight", [ROLE_STATE] = "state",
        [ROLE_TEMP] = "temp",   [ROLE_OUTPUT] = "output",
    };
    const char *type = t->role == ROLE_STATE ? "kv" : dtype_info(t->type)->name;
    if (!buf_printf(out, "tensor %d %s %s %s [", t->id, roles[t->role], t->name, type))
        return false;
    for (int i = 0; i < t->n_dims; i++) {
        char d[48];
        if (!buf_printf(out, "%s%s", i ? ", " : "", dim_text(d, t->d[i])))
            return false;
    }
    if (!buf_printf(out, "] part %d", t->part))
        return false;
    if (t->role == ROLE_WEIGHT &&
        !buf_printf(out, " source %d row0 %lld%s%s", t->source, (long long)t->row0,
                    t->rows_used ? " rows" : "", t->held ? " held" : ""))
        return false;
    return buf_addz(out, "\n");
}

static bool dump_args(const struct node *n, struct buf *out)
{
    const union op_args *a = &n->args;
    const struct rope_freq *f = &a->freq;
    const struct route_args *r = &a->route;
    static const char *const acts[] = {
        [ACT_SILU] = "silu", [ACT_GELU] = "gelu", [ACT_SWIGLU_OAI] = "swiglu_oai"
    };
    static const char *const routes[] = { [ROUTE_SOFTMAX] = "softmax",
                                          [ROUTE_SOFTMAX_SELECTED] = "softmax_selected",
                                          [ROUTE_SIGMOID] = "sigmoid" };
    char from[32] = "", grow[48] = "";
    switch (n->op) {
    case OP_EMBED:
    case OP_SCALE:
    case OP_SOFTCAP:
        return buf_printf(out, " %.9g", (double)a->f.scale);
    case OP_ROPE_TABLE:
        if (f->long_from > 0)
            snprintf(from, sizeof from, " long from %d", f->long_from);
        if (f->grow > 0)
            snprintf(grow, sizeof grow, " grow %.9g every %d", (double)f->grow, f->grow_every);
        return buf_printf(
            out, " rot %d base %.9g linear %.9g yarn %d %.9g %.9g %.9g %.9g %.9g mscale %.9g%s%s",
            f->rot, (double)f->base, (double)f->linear, f->yarn_orig_ctx, (double)f->yarn_factor,
            (double)f->yarn_ext, (double)f->yarn_attn, (double)f->yarn_beta_fast,
            (double)f->yarn_beta_slow, (double)f->mscale, from, grow);
    case OP_RMSNORM:
    case OP_LAYERNORM:
        return buf_printf(out, " n %d eps %.9g", a->norm.n, (double)a->norm.eps);
    case OP_ROPE:
        return buf_printf(out, " head %d rot %d %s", a->rope.head_dim, a->rope.rot,
                          a->rope.kind == ROPE_NORM ? "norm" : "neox");
    case OP_KV_STORE:
    case OP_ATTN:
        return buf_printf(out, " heads %d/%d of %d/%d window %d scale %.9g softcap %.9g",
                          a->attn.n_heads, a->attn.n_kv_heads, a->attn.head_dim, a->attn.head_dim_v,
                          a->attn.window, (double)a->attn.scale, (double)a->attn.softcap);
    case OP_GLU:
        return buf_printf(out, " %s", acts[a->glu.act]);
    case OP_ROUTE:
        return buf_printf(out, " %d of %d %s%s scale %.9g groups %d of %d top %d", r->k,
                          r->n_experts, routes[r->kind], r->norm ? " norm" : "", (double)r->scale,
                          r->n_groups_used, r->n_groups, r->group_top);
    case OP_HEADS:
        return buf_printf(out, " %d of %d to %d rows %lld + %lld%s", a->heads.n_heads,
                          a->heads.n_in, a->heads.n_out, (long long)a->heads.row0,
                          (long long)a->heads.row_step, a->heads.transposed ? " transposed" : "");
    case OP_SLICE:
        return buf_printf(out, " %d from %d of %d", a->slice.len, a->slice.at, a->slice.width);
    case OP_CONCAT:
        return buf_printf(out, " %d %d", a->concat.len_a, a->concat.len_b);
    case OP_MATMUL:
        return !a->matmul.precise || buf_addz(out, " precise");
    case OP_EXPERTS:
    case OP_EXPERT_SUM:
    case OP_ADD:
    case OP_ROWS:
    case OP_COUNT:
        break;
    }
    return true;
}

static bool dump_node(const struct node *n, struct buf *out)
{
    int last = NODE_SRC - 1;
    while (last > 0 && !n->src[last])
        last--;
    if (!buf_printf(out, "node %d %s (", n->id, op_info(n->op)->name))
        return false;
    for (int i = 0; i <= last; i++)
        if (!(n->src[i] ? buf_printf(out, "%s%d", i ? ", " : "", n->src[i]->id)
                        : buf_printf(out, "%s-", i ? ", " : "")))
            return false;
    if (!buf_printf(out, ") -> %d", n->dst[0]->id))
        return false;
    if (n->dst[1] && !buf_printf(out, ", %d", n->dst[1]->id))
        return false;
    return dump_args(n, out) && buf_printf(out, " part %d\n", n->part);
}

bool graph_dump(const struct graph *g, struct buf *out)
{
    for (int i = 0; i < g->n_parts; i++) {
        char name[32];
        if (!buf_printf(out, "part %d %s\n", i, part_text(name, g->part[i])))
            return false;
    }
    for (int i = 0; i < g->n_tensors; i++)
        if (!dump_tensor(g->tensor[i], out))
            return false;
    for (int i = 0; i < g->n_nodes; i++)
        if (!dump_node(g->node[i], out))
            return false;
    return buf_printf(out, "logits %d\n", g->logits->id);
}
