// build_experts.c - builders of the operations for mixtures of experts and for heads with matrices
// of their own (build.c has the others).

#include "graph/graph_int.h"

struct routed gb_route(struct gb *b, struct tensor *logits, struct tensor *bias,
                       const struct route_args *a)
{
    struct node n = { .op = OP_ROUTE, .part = b->part, .src = { logits, bias }, .args.route = *a };
    if (gb_failed(b))
        return (struct routed){ &b->dummy, &b->dummy };
    char part[32], name[64];
    snprintf(name, sizeof name, "%s.route_ids", part_text(part, b->g->part[b->part]));
    struct tensor *ids = gb_tensor(b, ROLE_TEMP, DTYPE_I32, name);
    set_shape_2d(ids, dim_fixed(a->k), logits->d[1]);
    n.dst[1] = ids;
    return (struct routed){ gb_node(b, &n), ids };
}

struct tensor *gb_experts(struct gb *b, struct tensor *x, struct tensor *w, struct tensor *ids,
                          struct tensor *bias)
{
    return gb_node(b,
                   &(struct node){ .op = OP_EXPERTS, .part = b->part, .src = { x, w, ids, bias } });
}

struct tensor *gb_expert_sum(struct gb *b, struct tensor *y, struct tensor *weights)
{
    return gb_node(b,
                   &(struct node){ .op = OP_EXPERT_SUM, .part = b->part, .src = { y, weights } });
}

struct tensor *gb_heads(struct gb *b, struct tensor *x, struct tensor *w,
                        const struct heads_args *a)
{
    return gb_node(
        b, &(struct node){ .op = OP_HEADS, .part = b->part, .src = { x, w }, .args.heads = *a });
}

struct tensor *gb_slice(struct gb *b, struct tensor *x, int width, int at, int len)
{
    return gb_node(
        b, &(struct node){
               .op = OP_SLICE, .part = b->part, .src = { x }, .args.slice = { width, at, len } });
}

struct tensor *gb_concat(struct gb *b, struct tensor *a, int len_a, struct tensor *c, int len_c)
{
    return gb_node(b, &(struct node){ .op = OP_CONCAT,
                                      .part = b->part,
                                      .src = { a, c },
                                      .args.concat = { len_a, len_c } });
}
