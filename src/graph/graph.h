// graph.h - a model's computation as data: tensors, nodes, parts. No memory, no device.
//
// Built once by the architecture (model/arch/NAME.c) through the gb_ functions, sealed, then
// immutable and read by the planner, the placer, the loader and the executor. Sizes may be symbols;
// `struct dims` gives them values: bounds when planning, actual counts when running.

#ifndef SNUG_GRAPH_H
#define SNUG_GRAPH_H

#include "base/base.h"
#include "num/dtype.h"

// --- sizes
// ----------------------------------------------------------------------------------------

enum { KV_PAGE_TOKENS = 64 };

enum sym {
    SYM_ONE,
    SYM_TOKENS,       // tokens in a batch
    SYM_OUTPUTS,      // rows of logits wanted
    SYM_PAGES,        // KV pages of a layer that keeps everything: slots * ceil(ctx / 64)
    SYM_WINDOW_PAGES, // KV pages of a layer with a window of `arg` tokens: slots * the pages that
                      // window + micro-batch touch
    SYM_SLOT_PAGES,   // ceil(ctx / 64): one row of the page table
    SYM_SLOTS,
    SYM_COUNT
};

/// A size: n times the value of the symbol.
struct dim {
    int64_t n;
    enum sym sym;
    int32_t arg; // SYM_WINDOW_PAGES: the window in tokens
};

/// Values of the symbols. As bounds: what a plan is for. As actual counts: n_tokens and n_outputs
/// of this batch, the other members as planned.
struct dims {
    int n_tokens;
    int n_outputs;
    int n_slots;
    int64_t n_ctx;
    int max_tokens; // the planned micro-batch (window pages depend on it, whatever the batch)
    enum dtype kv;  // DTYPE_F16, DTYPE_F32 or DTYPE_Q8_0: what ROLE_STATE tensors are stored as
};

int64_t dim_value(struct dim d, const struct dims *v);
/// Pages that one sequence needs in a layer with this window (0: none, keeps everything).
int64_t kv_slot_pages(int window, const struct dims *v);

// --- tensors and nodes
// ----------------------------------------------------------------------------

enum role {
    ROLE_INPUT,  // filled by the host before a batch
    ROLE_WEIGHT, // from the file
    ROLE_STATE,  // KV pages: outlives the batch
    ROLE_TEMP,
    ROLE_OUTPUT, // read by the host after a batch
};

/// d[0] is the row length (fastest). Unused dimensions are 1. Temporaries are always contiguous.
struct tensor {
    int id; // index in graph
    const char *name;
    enum role role;
    enum dtype type; // of a ROLE_STATE tensor: see dims.kv
    int n_dims;
    struct dim d[4];
    int part;     // weights and states: the part that uses it (first, if several do)
    int source;   // weights: index in the file's directory, else -1
    int64_t row0; // weights: first row used of the file's tensor (fused matrices); rows d[1] * d[2]
                  // follow
    bool held;    // a ROLE_WEIGHT that is loaded with its part even where no node reads it
    bool rows_used; // a ROLE_WEIGHT that only gathers rows (embedding)
                    // A matrix used by two parts (tied embedding) is two tensors of one source.
};

/// State tensors: d = { head_dim, 64, n_kv_heads, pages }. K pages lie
/// [pages][heads][head_dim][64], V pages [pages][heads][64][head_dim]. q8_0: the int8 values in
/// that order, then, per page and head, [ceil(head_dim / 32)][64] f16 scales for both K and V.
uint64_t state_head_bytes(const struct tensor *t, enum dtype kv); // of one page and head
uint64_t tensor_bytes(const struct tensor *t, const struct dims *v);
int64_t tensor_rows(const struct tensor *t, const struct dims *v); // product of d[1..3]

enum op {
    OP_EMBED,      // ids, table -> x            rows of the table as f32, times args.f.scale
    OP_ROPE_TABLE, // pos [, factors] [, long]   -> table [tokens][rot / 2][2] f32: cos, sin; as a
                   // tensor, rows of rot
    OP_RMSNORM,    // x, weight [, residual]     over each group of args.norm.n values of a row
    OP_LAYERNORM,  // x, weight [, bias]
    OP_MATMUL,     // x, w [, bias] [, residual] y[t][r] = sum_k w[r][k] x[t][k]
    OP_ROPE,       // x, table
    OP_KV_STORE,   // k, v, kpages, vpages, pos, seq [, table]: writes dst = kpages, vpages (no new
                 // tensor) The values may be the first numbers of the keys: then v is k, vpages is
                 // kpages, dst is kpages alone.
    OP_ATTN, // q, kpages, vpages, pos, seq [, table] [, sinks]; no table where there is a window
    OP_GLU, // gate [, up]                act(gate) * up; without up, x has rows of (gate, up) pairs
    OP_ADD, // a, b                       same shape
    OP_SCALE,   // x                          x * args.f.scale
    OP_SOFTCAP, // x                          c * tanh(x / c)
    OP_ROWS,    // x, ids -> x[ids]           selects the rows that get logits
    OP_ROUTE,   // logits [, bias] -> weights f32, ids i32, both [tokens][k]: the experts of each
                // token, best first
    OP_EXPERTS, // x, w, ids [, bias]         w [n][rows][cols], bias [n][rows]: row t * k + j is
                // expert ids[t][j]'s product with row t of x, or with row t * k + j where x has so
                // many; [tokens * k][rows]
    OP_EXPERT_SUM, // y, weights [, residual]    sum_j weights[t][j] y[t * k + j]
    OP_HEADS,      // x, w                       each head's part of a row times a matrix of its own
    OP_SLICE,      // x                          of each group of `width` numbers, `len` from `at`
    OP_CONCAT,     // a, b                       head by head, len_a numbers of a, then len_b of b
    OP_COUNT
};

enum act {
    ACT_SILU,
    ACT_GELU,
    ACT_SWIGLU_OAI
};                                       // the last with its limit: docs/numerics.md, "Experts"
enum rope_kind { ROPE_NORM, ROPE_NEOX }; // pairs (2i, 2i+1); pairs (i, i + rot/2)

/// Frequencies of a rope: theta_i = base^(-2i/rot), divided by factor[i] where the file has a
/// tensor of factors, by `linear`, or by yarn (arXiv:2309.00071) where yarn_orig_ctx > 0.
struct rope_freq {
    int rot; // dimensions rotated
    float base;
    float linear;      // position divisor ("linear" scaling), 1 = none
    int yarn_orig_ctx; // 0: no yarn
    float yarn_factor, yarn_ext, yarn_attn, yarn_beta_fast, yarn_beta_slow;
    float mscale; // multiplies cos and sin, 1 = none
    float grow;   // > 0: cos and sin at position p times 1 + grow * ln(1 + floor(p / grow_every)),
                  // for queries that
    int grow_every; // are to be sharper the more there is to look at
    int long_from;  // > 0: planned contexts of more tokens take the long factors (longrope,
                    // arXiv:2402.13753)
};

enum route_kind {
    ROUTE_SOFTMAX,          // over all, then the k largest
    ROUTE_SOFTMAX_SELECTED, // the k largest, then over these
    ROUTE_SIGMOID,
};
/// Which experts a token goes to, and with which weights.
struct route_args {
    int n_experts, k;
    enum route_kind kind;
    bool norm;   // weights are divided by their sum
    float scale; // then multiplied with this
    int n_groups, n_groups_used,
        group_top; // n_groups <= 1: none. The score of a group: the sum of its `group_top` best
};

/// y[h][o] = sum_i w[row0 + h * row_step + o][i] x[h][i]; transposed: sum_i w[row0 + h * row_step +
/// i][o] x[h][i].
struct heads_args {
    int n_heads, n_in, n_out;
    int64_t row0, row_step;
    bool transposed;
};

union op_args {
    struct {
        float scale;
    } f; // EMBED, SCALE, SOFTCAP (the cap)
    struct {
        int n;
        float eps;
    } norm;
    struct rope_freq freq; // ROPE_TABLE
    struct {
        bool precise; // quantized weights take activations of 16 bits instead of 8
                      // (docs/numerics.md)
    } matmul;
    struct {
        int head_dim, rot;
        enum rope_kind kind;
    } rope;
    struct {
        int n_heads, n_kv_heads, head_dim, head_dim_v;
        int window;           // tokens visible including itself; 0 = all
        float scale, softcap; // softcap 0 = none
    } attn;                   // also KV_STORE
    struct {
        enum act act;
    } glu;
    struct route_args route;
    struct heads_args heads;
    struct {
        int width, at, len;
    } slice;
    struct {
        int len_a, len_b;
    } concat;
};

enum { NODE_SRC = 7, NODE_DST = 2 };

struct node {
    int id;
    enum op op;
    const struct tensor *src[NODE_SRC]; // optional ones may be NULL, in the order named at enum op
    const struct tensor *dst[NODE_DST];
    union op_args args;
    int part;
};

struct op_info {
    const char *name;
    int n_src, n_opt; // sources that must be there, and optional ones behind them
};
const struct op_info *op_info(enum op op);
bool op_by_name(enum op *out, const char *name);

// Optional sources have fixed places (src[n_src], src[n_src + 1], ...):
enum {
    MATMUL_BIAS = 2,
    MATMUL_RES = 3,
    NORM_RES = 2,
    LAYERNORM_BIAS = 2,
    STORE_TABLE = 6,
    ATTN_TABLE = 5,
    ATTN_SINKS = 6
};
enum {
    ROPE_FACTORS = 1,
    ROPE_LONG = 2,
    GLU_UP = 1,
    ROUTE_BIAS = 1,
    EXPERTS_BIAS = 3,
    EXPERT_SUM_RES = 2
};
/// Of a KV_STORE: whether the values are the first head_dim_v numbers of the keys.
static inline bool store_shares_keys(const struct node *n)
{
    return n->src[3] == n->src[2];
}
/// Of an ATTN.
static inline bool attn_shares_keys(const struct node *n)
{
    return n->src[2] == n->src[1];
}

// --- parts: what the placer moves
// -----------------------------------------------------------------

enum part_kind {
    PART_SHARED, // inputs and what is cheap to make on every device that needs it (rope tables)
    PART_EMBED,
    PART_BLOCK,
    PART_EXPERTS,
    PART_HEAD,
    PART_VISION, // the tower that sees images
};
/// What names it belongs to it: nodes, weights, states. It may have weights alone (tensor.held).
struct part {
    enum part_kind kind;
    int il; // block number, -1 where it has none
};

// --- the graph
// ------------------------------------------------------------------------------------

/// A graph, sealed. Nodes are in the order of execution. Inputs by fixed id:
enum input {
    IN_TOKENS,     // i32 [tokens]
    IN_POS,        // i32 [tokens] position in the token's own sequence
    IN_SEQ,        // i32 [tokens] slot of the token's sequence
    IN_OUT_IDS,    // i32 [outputs] which tokens get logits
    IN_PAGE_TABLE, // i32 [slots][slot pages]: page of each tile, for layers that keep everything.
                   // Layers with a window use page slot * w + t mod w, w = kv_slot_pages(window):
                   // no table.
    IN_COUNT
};

struct graph;
int graph_n_tensors(const struct graph *g);
const struct tensor *graph_tensor(const struct graph *g, int id);
int graph_n_nodes(const struct graph *g);
const struct node *graph_node(const struct graph *g, int i);
int graph_n_parts(const struct graph *g);
const struct part *graph_part(const struct graph *g, int i); // part 0 is PART_SHARED
const struct tensor *graph_input(const struct graph *g,
                                 enum input in);          // NULL if the graph does not use it
const struct tensor *graph_logits(const struct graph *g); // ROLE_OUTPUT [outputs][vocab]
uint64_t graph_hash(const struct graph *g);
/// One line a tensor and a node, stable: for tests and `snug show --graph`.
bool graph_dump(const struct graph *g, struct buf *out);
void graph_free(struct graph *g);

// --- building
// -------------------------------------------------------------------------------------

/// Where weights come from: asked by name, once each. Returns false if there is none.
struct weight_info {
    enum dtype type;
    int n_dims;
    uint64_t ne[4];
    int source; // index in the directory
};
struct weight_source {
    bool (*find)(void *ctx, const char *name, struct weight_info *out);
    void *ctx;
};

/// The builder keeps its first error and goes on harmlessly (with well-formed dummies), so that the
/// maths needs no checks; graph_seal() reports it. All returned tensors belong to the graph.
struct gb;
struct gb *gb_new(struct weight_source ws);
/// Seals and frees the builder. Folds ADD into a MATMUL, RMSNORM or EXPERT_SUM that feeds only it
/// (as its residual). Errors: ERR_FORMAT a weight missing, of another shape (names it, says
/// expected and actual), twice the same name with two shapes.
MUST_CHECK bool graph_seal(struct graph **out, struct gb *b, struct err *e);

/// Nodes and weights that follow belong to this part (created at first mention).
void gb_part(struct gb *b, enum part_kind kind, int il);
struct tensor *gb_input(struct gb *b, enum input in);
/// A weight by name (printf), with the shape that the maths expects; a vector must be float32. The
/// same part asking again gets the same tensor, another part one of its own. `gb_has` asks without
/// using it.
struct tensor *gb_vec(struct gb *b, int64_t n, const char *fmt, ...) PRINTF_LIKE(3, 4);
struct tensor *gb_mat(struct gb *b, int64_t cols, int64_t rows, const char *fmt, ...)
    PRINTF_LIKE(4, 5);
/// Rows [row0, row0 + rows) of a matrix with `all` rows: one of several fused ones.
struct tensor *gb_mat_rows(struct gb *b, int64_t cols, int64_t rows, int64_t row0, int64_t all,
                           const char *fmt, ...) PRINTF_LIKE(6, 7);
/// [n][rows][cols]; a 2-D one is gb_mat's. Biases of experts are matrices [n][rows], of a type that
/// is not quantized.
struct tensor *gb_mat3(struct gb *b, int64_t cols, int64_t rows, int64_t n, const char *fmt, ...)
    PRINTF_LIKE(5, 6);
/// Filters [rows][channels][side][side] as a matrix: a row is all that one of them has for a patch.
struct tensor *gb_filters(struct gb *b, int64_t side, int64_t channels, int64_t rows,
                          const char *fmt, ...) PRINTF_LIKE(5, 6);
bool gb_has(struct gb *b, const char *fmt, ...) PRINTF_LIKE(2, 3);
/// Keeps a weight in the graph that no node reads: it is placed and loaded with its part (not the
/// shared one).
void gb_hold(struct gb *b, struct tensor *w);

struct tensor *gb_embed(struct gb *b, struct tensor *ids, struct tensor *table, float scale);
struct tensor *
gb_rope_table(struct gb *b, const struct rope_freq *f,
              struct tensor *factors); // factors may be NULL; equal ones are made once
/// With two sets of factors: see rope_freq.long_from.
struct tensor *gb_rope_table_long(struct gb *b, const struct rope_freq *f, struct tensor *factors,
                                  struct tensor *long_factors);
/// Groups of w's length (its rows' length where it has one row for each group).
struct tensor *gb_rmsnorm(struct gb *b, struct tensor *x, struct tensor *w, float eps);
struct tensor *gb_layernorm(struct gb *b, struct tensor *x, struct tensor *w, struct tensor *bias,
                            float eps);
struct tensor *gb_matmul(struct gb *b, struct tensor *x, struct tensor *w,
                         struct tensor *bias); // bias may be NULL
struct tensor *gb_matmul_precise(struct gb *b, struct tensor *x, struct tensor *w,
                                 struct tensor *bias); // for the logits: few rows, large effect
struct tensor *gb_rope(struct gb *b, struct tensor *x, struct tensor *table, int head_dim, int rot,
                       enum rope_kind kind);
struct attn_args {
    int n_heads, n_kv_heads, head_dim, head_dim_v, window;
    float scale, softcap;
    struct tensor *sinks; // [n_heads] or NULL
    int il;               // names the KV state
};
/// Stores k and v of this batch in the layer's pages, then attends. q [tokens][heads * head_dim].
/// v NULL: the values are the first head_dim_v numbers of each key, and only keys are stored.
struct tensor *gb_attn(struct gb *b, struct tensor *q, struct tensor *k, struct tensor *v,
                       const struct attn_args *a);
struct tensor *gb_glu(struct gb *b, struct tensor *gate, struct tensor *up,
                      enum act act); // up NULL: gate has pairs
struct tensor *gb_add(struct gb *b, struct tensor *a, struct tensor *c);
struct tensor *gb_scale(struct gb *b, struct tensor *x, float s);
struct tensor *gb_softcap(struct gb *b, struct tensor *x, float cap);
struct tensor *gb_rows(struct gb *b, struct tensor *x, struct tensor *ids);
struct routed {
    struct tensor *weights, *ids;
};
struct routed gb_route(struct gb *b, struct tensor *logits, struct tensor *bias,
                       const struct route_args *a); // bias may be NULL
struct tensor *gb_experts(struct gb *b, struct tensor *x, struct tensor *w, struct tensor *ids,
                          struct tensor *bias);
struct tensor *gb_expert_sum(struct gb *b, struct tensor *y, struct tensor *weights);
struct tensor *gb_heads(struct gb *b, struct tensor *x, struct tensor *w,
                        const struct heads_args *a);
struct tensor *gb_slice(struct gb *b, struct tensor *x, int width, int at, int len);
struct tensor *gb_concat(struct gb *b, struct tensor *a, int len_a, struct tensor *c, int len_c);
void gb_logits(struct gb *b, struct tensor *x); // the graph's result
void gb_fail(struct gb *b, enum err_code code, const char *fmt, ...) PRINTF_LIKE(3, 4);

#endif
