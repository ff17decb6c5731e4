// hash.c - one number for a graph: all that its text (graph_dump) says goes into it, as numbers.
// Text would cost as much as planning itself.

#include "graph/graph_int.h"

#include <string.h>

/// Numbers that are hashed together.
struct numbers {
    int64_t v[32];
    size_t n;
};

static void add(struct numbers *x, int64_t v)
{
    ASSERT(x->n < ARRAY_LEN(x->v));
    x->v[x->n++] = v;
}

static void add_float(struct numbers *x, float f)
{
    uint32_t bits;

    memcpy(&bits, &f, sizeof(bits));
    add(x, bits);
}

static uint64_t mixed(const struct numbers *x, uint64_t h)
{
    return hash_bytes(x->v, x->n * sizeof(x->v[0]), h);
}

static uint64_t hash_tensor(const struct tensor *t, uint64_t h)
{
    struct numbers x;
    bool weight = t->role == ROLE_WEIGHT;

    x.n = 0;
    add(&x, t->id);
    add(&x, t->role);
    add(&x, t->role == ROLE_STATE ? -1 : (int64_t)t->type); // a state's is a limit of the plan
    add(&x, t->part);
    add(&x, weight ? t->source : -1);
    add(&x, weight ? t->row0 : 0);
    add(&x, weight ? t->rows_used + 2 * t->held : 0);
    for (int i = 0; i < t->n_dims; i++) {
        add(&x, t->d[i].n);
        add(&x, (int64_t)t->d[i].sym);
        add(&x, t->d[i].arg);
    }
    return hash_bytes(t->name, strlen(t->name), mixed(&x, h));
}

static void add_freq(struct numbers *x, const struct rope_freq *f)
{
    const float floats[] = { f->base,           f->linear,    f->yarn_factor,
                             f->yarn_ext,       f->yarn_attn, f->yarn_beta_fast,
                             f->yarn_beta_slow, f->mscale,    f->grow };

    add(x, f->rot);
    add(x, f->yarn_orig_ctx);
    add(x, f->grow_every);
    add(x, f->long_from);
    for (size_t i = 0; i < ARRAY_LEN(floats); i++)
        add_float(x, floats[i]);
}

static void add_route(struct numbers *x, const struct route_args *r)
{
    const int ints[] = { r->n_experts,     r->k,        (int)r->kind, r->norm,
                         r->n_groups_used, r->n_groups, r->group_top };

    for (size_t i = 0; i < ARRAY_LEN(ints); i++)
        add(x, ints[i]);
    add_float(x, r->scale);
}

static void add_args(struct numbers *x, const struct node *n)
{
    const union op_args *a = &n->args;

    switch (n->op) {
    case OP_EMBED:
    case OP_SCALE:
    case OP_SOFTCAP:
        add_float(x, a->f.scale);
        break;
    case OP_ROPE_TABLE:
        add_freq(x, &a->freq);
        break;
    case OP_RMSNORM:
    case OP_LAYERNORM:
        add(x, a->norm.n);
        add_float(x, a->norm.eps);
        break;
    case OP_ROPE:
        add(x, a->rope.head_dim);
        add(x, a->rope.rot);
        add(x, (int64_t)a->rope.kind);
        break;
    case OP_KV_STORE:
    case OP_ATTN:
        add(x, a->attn.n_heads);
        add(x, a->attn.n_kv_heads);
        add(x, a->attn.head_dim);
        add(x, a->attn.head_dim_v);
        add(x, a->attn.window);
        add_float(x, a->attn.scale);
        add_float(x, a->attn.softcap);
        break;
    case OP_GLU:
        add(x, (int64_t)a->glu.act);
        break;
    case OP_ROUTE:
        add_route(x, &a->route);
        break;
    case OP_HEADS:
        add(x, a->heads.n_heads);
        add(x, a->heads.n_in);
        add(x, a->heads.n_out);
        add(x, a->heads.row0);
        add(x, a->heads.row_step);
        add(x, a->heads.transposed);
        break;
    case OP_SLICE:
        add(x, a->slice.len);
        add(x, a->slice.at);
        add(x, a->slice.width);
        break;
    case OP_CONCAT:
        add(x, a->concat.len_a);
        add(x, a->concat.len_b);
        break;
    case OP_MATMUL:
        add(x, a->matmul.precise);
        break;
    case OP_EXPERTS:
    case OP_EXPERT_SUM:
    case OP_ADD:
    case OP_ROWS:
    case OP_COUNT:
        break;
    }
}

static uint64_t hash_node(const struct node *n, uint64_t h)
{
    struct numbers x;

    x.n = 0;
    add(&x, n->id);
    add(&x, (int64_t)n->op);
    add(&x, n->part);
    for (int i = 0; i < NODE_SRC; i++)
        add(&x, n->src[i] != NULL ? n->src[i]->id : -1);
    for (int i = 0; i < NODE_DST; i++)
        add(&x, n->dst[i] != NULL ? n->dst[i]->id : -1);
    add_args(&x, n);
    return mixed(&x, h);
}

uint64_t graph_hash_of(const struct graph *g)
{
    uint64_t h = 0;

    for (int i = 0; i < g->n_parts; i++) {
        const int64_t part[] = { (int64_t)g->part[i].kind, g->part[i].il };
        h = hash_bytes(part, sizeof(part), h);
    }
    for (int i = 0; i < g->n_tensors; i++)
        h = hash_tensor(g->tensor[i], h);
    for (int i = 0; i < g->n_nodes; i++)
        h = hash_node(g->node[i], h);
    return h + (uint64_t)g->logits->id;
}
