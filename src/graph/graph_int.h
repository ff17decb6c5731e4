// graph_int.h - what the files of this folder share: the sealed graph and the builder behind it.

#ifndef SNUG_GRAPH_INT_H
#define SNUG_GRAPH_INT_H

#include "graph/graph.h"

struct graph {
    struct arena mem; // owns everything that is pointed to
    struct tensor **tensor;
    int n_tensors;
    struct node **node;
    int n_nodes;
    struct part *part;
    int n_parts;
    struct tensor *input[IN_COUNT];
    struct tensor *logits;
    uint64_t hash;
};

/// A graph in the making: the same lists, growing, and the first error.
struct gb {
    struct graph *g;
    int cap_tensors, cap_nodes, cap_parts, cap_older;
    int newest[256]; // weights in chains by the last byte of their source: number + 1, 0: none
    int *older;      // [n_tensors] the one before it in its chain
    int part;        // what is written now belongs to it
    struct weight_source ws;
    struct err err;
    struct tensor dummy; // stands for every result after the first error
};

/// Checks the sources of a node against its operation and gives the shape of its result: out->d,
/// n_dims. False with the reason in `why`. A node without a new tensor (KV_STORE) leaves `out`
/// alone.
typedef bool shape_rule(const struct node *n, struct tensor *out, struct err *why);

struct op_row {
    struct op_info info;
    shape_rule *shape;
};
const struct op_row *op_row(enum op op);

shape_rule shape_embed, shape_rope_table, shape_rmsnorm, shape_layernorm, shape_matmul, shape_rope,
    shape_kv_store, shape_attn, shape_glu, shape_add, shape_same, shape_rows;
shape_rule shape_route, shape_experts, shape_expert_sum, shape_heads, shape_slice, shape_concat;

// What rules are made of (shape.c). `what` is how the message names the tensor.

struct dim dim_fixed(int64_t n);
struct dim dim_times(struct dim d, int64_t n);
void set_shape_2d(struct tensor *out, struct dim cols, struct dim rows);
/// Rows of float32, of a fixed length: what all maths works on.
bool need_rows(const struct tensor *t, const char *what, struct err *why);
bool need_row_length(const struct tensor *t, int64_t n, const char *what, struct err *why);
bool need_vec(const struct tensor *t, int64_t n, const char *what, struct err *why);
bool need_same_shape(const struct tensor *a, const struct tensor *b, struct err *why);

/// hash.c: of a graph that is otherwise sealed. Graphs of different texts (graph_dump) differ here.
uint64_t graph_hash_of(const struct graph *g);

// What builders are made of (build.c).

bool gb_failed(const struct gb *b);
struct tensor *gb_tensor(struct gb *b, enum role role, enum dtype type, const char *name);
/// Checks the node by its operation's rule, adds it, and returns its result: dst[0], made here
/// where it is NULL. NULL for a node without a new tensor.
struct tensor *gb_node(struct gb *b, const struct node *proto);

bool dim_eq(struct dim a, struct dim b);
const char *dim_text(char out[48], struct dim d); // "4096", "tokens", "4*tokens", "window(512)"

const char *part_text(char out[32], struct part p); // "shared", "blk.3", "head"

#endif
