// build.c - the builder: one function an operation, none of which fails.
//
// The first error sticks; from then on every function returns the dummy at once, so that an
// architecture's maths reads on without checks. graph_seal() (seal.c) reports it.

#include <stdlib.h>
#include <string.h>

#include "graph/graph_int.h"

static const struct dim ONE = { 1, SYM_ONE, 0 };

bool gb_failed(const struct gb *b)
{
    return b->err.code != ERR_NONE;
}

/// Room for one more pointer or part in a list that doubles.
static void *grown(void *list, int n, int *cap, size_t each)
{
    if (n < *cap)
        return list;
    *cap = *cap ? *cap * 2 : 64;
    return xrealloc(list, (size_t)*cap * each);
}

struct gb *gb_new(struct weight_source ws)
{
    struct gb *b = xcalloc(1, sizeof *b);
    b->g = xcalloc(1, sizeof *b->g);
    b->ws = ws;
    b->dummy = (struct tensor){ .name = "(nothing)", .role = ROLE_TEMP, .source = -1, .n_dims = 1 };
    for (int i = 0; i < 4; i++)
        b->dummy.d[i] = ONE;
    gb_part(b, PART_SHARED, -1);
    return b;
}

void gb_fail(struct gb *b, enum err_code code, const char *fmt, ...)
{
    if (gb_failed(b))
        return;
    char msg[sizeof b->err.msg];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(msg, sizeof msg, fmt, ap);
    va_end(ap);
    err_set(&b->err, code, "%s", msg);
}

void gb_part(struct gb *b, enum part_kind kind, int il)
{
    struct graph *g = b->g;
    for (b->part = 0; b->part < g->n_parts; b->part++)
        if (g->part[b->part].kind == kind && g->part[b->part].il == il)
            return;
    g->part = grown(g->part, g->n_parts, &b->cap_parts, sizeof *g->part);
    g->part[g->n_parts++] = (struct part){ kind, il };
}

const char *part_text(char out[32], struct part p)
{
    static const char *const kinds[] = {
        [PART_SHARED] = "shared",   [PART_EMBED] = "embed", [PART_BLOCK] = "blk",
        [PART_EXPERTS] = "experts", [PART_HEAD] = "head",   [PART_VISION] = "vision",
    };
    if (p.il < 0)
        snprintf(out, 32, "%s", kinds[p.kind]);
    else
        snprintf(out, 32, "%s.%d", kinds[p.kind], p.il);
    return out;
}

struct tensor *gb_tensor(struct gb *b, enum role role, enum dtype type, const char *name)
{
    struct graph *g = b->g;
    struct tensor *t = arena_alloc(&g->mem, sizeof *t);
    t->id = g->n_tensors;
    t->name = arena_strdup(&g->mem, name);
    t->role = role;
    t->type = type;
    t->n_dims = 1;
    t->part = b->part;
    t->source = -1;
    for (int i = 0; i < 4; i++)
        t->d[i] = ONE;
    g->tensor = grown(g->tensor, g->n_tensors, &b->cap_tensors, sizeof(struct tensor *));
    g->tensor[g->n_tensors++] = t;
    return t;
}

// --- inputs and weights -------------------------------------------------------------------------

struct tensor *gb_input(struct gb *b, enum input in)
{
    static const struct {
        const char *name;
        enum sym d0, d1;
    } inputs[IN_COUNT] = {
        [IN_TOKENS] = { "in.tokens", SYM_TOKENS, SYM_ONE },
        [IN_POS] = { "in.pos", SYM_TOKENS, SYM_ONE },
        [IN_SEQ] = { "in.seq", SYM_TOKENS, SYM_ONE },
        [IN_OUT_IDS] = { "in.out_ids", SYM_OUTPUTS, SYM_ONE },
        [IN_PAGE_TABLE] = { "in.page_table", SYM_SLOT_PAGES, SYM_SLOTS },
    };
    if (gb_failed(b))
        return &b->dummy;
    if (!b->g->input[in]) {
        struct tensor *t = gb_tensor(b, ROLE_INPUT, DTYPE_I32, inputs[in].name);
        t->part = 0;
        t->d[0].sym = inputs[in].d0;
        t->d[1].sym = inputs[in].d1;
        t->n_dims = inputs[in].d1 == SYM_ONE ? 1 : 2;
        b->g->input[in] = t;
    }
    return b->g->input[in];
}

static void shape_text(char out[128], const uint64_t ne[4])
{
    int n = 4, at = 0;
    while (n > 1 && ne[n - 1] == 1)
        n--;
    for (int i = 0; i < n; i++)
        at += snprintf(out + at, 128 - (size_t)at, "%s%llu", i ? ", " : "[",
                       (unsigned long long)ne[i]);
    snprintf(out + at, 128 - (size_t)at, "]");
}

/// A name longer than GGUF allows cannot be in the file: cut ones are only ever looked for in vain.
enum { NAME_BYTES = 128 };

/// A tensor of the file with this shape exactly; of its rows, [row0, row0 + rows) are used. The
/// same rows asked for again by the same part are the same tensor; another part gets its own, since
/// it may live elsewhere.
static struct tensor *weight(struct gb *b, const char *name, int n_dims, const uint64_t expected[4],
                             int64_t row0, int64_t rows)
{
    if (gb_failed(b))
        return &b->dummy;
    struct weight_info w = { .ne = { 1, 1, 1, 1 } };
    if (!b->ws.find(b->ws.ctx, name, &w)) {
        gb_fail(b, ERR_FORMAT, "tensor %s is missing", name);
        return &b->dummy;
    }
    if (memcmp(w.ne, expected, sizeof w.ne) != 0) {
        char want[128], have[128];
        shape_text(want, expected);
        shape_text(have, w.ne);
        gb_fail(b, ERR_FORMAT, "tensor %s: shape %s expected, the file has %s", name, want, have);
        return &b->dummy;
    }
    const struct dtype_info *type = dtype_info(w.type);
    if (!type || w.type == DTYPE_I32 || w.type == DTYPE_A8 ||
        (n_dims == 1 && w.type != DTYPE_F32)) {
        gb_fail(b, ERR_UNSUPPORTED, "tensor %s: numbers of type %s, expected %s", name,
                type ? type->name : "(unknown)", n_dims == 1 ? "F32" : "a type for matrices");
        return &b->dummy;
    }
    int *newest = &b->newest[w.source & 255];
    for (int i = *newest; i > 0; i = b->older[i - 1]) {
        struct tensor *t = b->g->tensor[i - 1];
        if (t->source == w.source && t->part == b->part && t->row0 == row0 && t->n_dims == n_dims &&
            (n_dims == 1 || t->d[1].n == rows))
            return t;
    }
    struct tensor *t = gb_tensor(b, ROLE_WEIGHT, w.type, name);
    while (b->cap_older < b->g->n_tensors)
        b->older = grown(b->older, b->cap_older, &b->cap_older, sizeof *b->older);
    b->older[t->id] = *newest;
    *newest = t->id + 1;
    t->n_dims = n_dims;
    t->source = w.source;
    t->row0 = row0;
    t->d[0].n = (int64_t)expected[0];
    if (n_dims > 1)
        t->d[1].n = rows;
    if (n_dims > 2)
        t->d[2].n = (int64_t)expected[2];
    return t;
}

#define NAMED(name, fmt)                                                                           \
    char name[NAME_BYTES];                                                                         \
    va_list ap;                                                                                    \
    va_start(ap, fmt);                                                                             \
    vsnprintf(name, sizeof name, fmt, ap);                                                         \
    va_end(ap)

bool gb_has(struct gb *b, const char *fmt, ...)
{
    NAMED(name, fmt);
    struct weight_info w;
    return !gb_failed(b) && b->ws.find(b->ws.ctx, name, &w);
}

static bool sizes_ok(struct gb *b, const char *name, int64_t cols, int64_t rows, int64_t row0,
                     int64_t all)
{
    if (cols > 0 && rows > 0 && row0 >= 0 && row0 <= all - rows)
        return true;
    gb_fail(b, ERR_FORMAT, "tensor %s: rows %lld to %lld of %lld, %lld long, make no sense", name,
            (long long)row0, (long long)(row0 + rows), (long long)all, (long long)cols);
    return false;
}

struct tensor *gb_vec(struct gb *b, int64_t n, const char *fmt, ...)
{
    NAMED(name, fmt);
    if (!sizes_ok(b, name, n, 1, 0, 1))
        return &b->dummy;
    return weight(b, name, 1, (uint64_t[4]){ (uint64_t)n, 1, 1, 1 }, 0, 1);
}

struct tensor *gb_mat(struct gb *b, int64_t cols, int64_t rows, const char *fmt, ...)
{
    NAMED(name, fmt);
    if (!sizes_ok(b, name, cols, rows, 0, rows))
        return &b->dummy;
    return weight(b, name, 2, (uint64_t[4]){ (uint64_t)cols, (uint64_t)rows, 1, 1 }, 0, rows);
}

struct tensor *gb_mat_rows(struct gb *b, int64_t cols, int64_t rows, int64_t row0, int64_t all,
                           const char *fmt, ...)
{
    NAMED(name, fmt);
    if (!sizes_ok(b, name, cols, rows, row0, all))
        return &b->dummy;
    return weight(b, name, 2, (uint64_t[4]){ (uint64_t)cols, (uint64_t)all, 1, 1 }, row0, rows);
}

struct tensor *gb_mat3(struct gb *b, int64_t cols, int64_t rows, int64_t n, const char *fmt, ...)
{
    NAMED(name, fmt);
    if (!sizes_ok(b, name, cols, rows, 0, rows) || !sizes_ok(b, name, cols, n, 0, n))
        return &b->dummy;
    return weight(b, name, 3, (uint64_t[4]){ (uint64_t)cols, (uint64_t)rows, (uint64_t)n, 1 }, 0,
                  rows);
}

struct tensor *gb_filters(struct gb *b, int64_t side, int64_t channels, int64_t rows,
                          const char *fmt, ...)
{
    NAMED(name, fmt);
    if (!sizes_ok(b, name, side, rows, 0, rows) || !sizes_ok(b, name, side, channels, 0, channels))
        return &b->dummy;
    struct tensor *t =
        weight(b, name, 2,
               (uint64_t[4]){ (uint64_t)side, (uint64_t)side, (uint64_t)channels, (uint64_t)rows },
               0, rows);
    if (!gb_failed(b))
        t->d[0].n = side * side * channels; // not more than the file has
    return t;
}

void gb_hold(struct gb *b, struct tensor *w)
{
    if (gb_failed(b))
        return;
    ASSERT(w->role == ROLE_WEIGHT && w->part > 0);
    w->held = true;
}

// --- nodes --------------------------------------------------------------------------------------

/// What a temporary is called: after the weight that makes it, or after its operation.
static const char *temp_name(char out[NAME_BYTES], const struct gb *b, const struct node *n)
{
    const struct op_info *op = op_info(n->op);
    if (n->op == OP_MATMUL || n->op == OP_EXPERTS || n->op == OP_HEADS) {
        const char *w = n->src[1]->name;
        size_t len = strlen(w), tail = strlen(".weight");
        if (len > tail && strcmp(w + len - tail, ".weight") == 0)
            len -= tail;
        snprintf(out, NAME_BYTES, "%.*s", (int)len, w);
    } else {
        char part[32];
        snprintf(out, NAME_BYTES, "%s.%s", part_text(part, b->g->part[n->part]), op->name);
    }
    return out;
}

struct tensor *gb_node(struct gb *b, const struct node *proto)
{
    const struct op_row *row = op_row(proto->op);
    struct graph *g = b->g;
    if (gb_failed(b))
        return &b->dummy;
    for (int i = 0; i < row->info.n_src; i++)
        ASSERT(proto->src[i]);

    char name[NAME_BYTES];
    struct tensor shape = b->dummy;
    struct err why = { 0 };
    temp_name(name, b, proto);
    if (!row->shape(proto, &shape, &why)) {
        gb_fail(b, ERR_FORMAT, "%s: %s: %s", name, row->info.name, why.msg);
        return &b->dummy;
    }
    struct node *n = arena_alloc(&g->mem, sizeof *n);
    *n = *proto;
    n->id = g->n_nodes;
    if (!n->dst[0]) {
        struct tensor *t = gb_tensor(b, ROLE_TEMP, DTYPE_F32, name);
        t->part = n->part;
        t->n_dims = shape.n_dims;
        memcpy(t->d, shape.d, sizeof t->d);
        n->dst[0] = t;
    }
    g->node = grown(g->node, g->n_nodes, &b->cap_nodes, sizeof(struct node *));
    g->node[g->n_nodes++] = n;
    return proto->dst[0] ? NULL : g->tensor[g->n_tensors - 1];
}

struct tensor *gb_embed(struct gb *b, struct tensor *ids, struct tensor *table, float scale)
{
    return gb_node(
        b, &(struct node){
               .op = OP_EMBED, .part = b->part, .src = { ids, table }, .args.f.scale = scale });
}

static bool freq_eq(const struct rope_freq *a, const struct rope_freq *b)
{
    return a->rot == b->rot && a->base == b->base && a->linear == b->linear &&
           a->yarn_orig_ctx == b->yarn_orig_ctx && a->yarn_factor == b->yarn_factor &&
           a->yarn_ext == b->yarn_ext && a->yarn_attn == b->yarn_attn &&
           a->yarn_beta_fast == b->yarn_beta_fast && a->yarn_beta_slow == b->yarn_beta_slow &&
           a->mscale == b->mscale && a->long_from == b->long_from && a->grow == b->grow &&
           a->grow_every == b->grow_every;
}

static bool same_factors(const struct tensor *a, const struct tensor *b)
{
    return a ? b && a->source == b->source : !b;
}

/// Tables belong to the shared part, with their factors: every device that needs one makes its own.
struct tensor *gb_rope_table_long(struct gb *b, const struct rope_freq *f, struct tensor *factors,
                                  struct tensor *long_factors)
{
    struct graph *g = b->g;
    if (gb_failed(b))
        return &b->dummy;
    for (int i = 0; i < g->n_nodes; i++) {
        const struct node *n = g->node[i];
        if (n->op == OP_ROPE_TABLE && freq_eq(&n->args.freq, f) &&
            same_factors(n->src[ROPE_FACTORS], factors) &&
            same_factors(n->src[ROPE_LONG], long_factors))
            return g->tensor[n->dst[0]->id];
    }
    if (factors)
        factors->part = 0;
    if (long_factors)
        long_factors->part = 0;
    return gb_node(b, &(struct node){ .op = OP_ROPE_TABLE,
                                      .part = 0,
                                      .src = { gb_input(b, IN_POS), factors, long_factors },
                                      .args.freq = *f });
}

struct tensor *gb_rope_table(struct gb *b, const struct rope_freq *f, struct tensor *factors)
{
    return gb_rope_table_long(b, f, factors, NULL);
}

static int norm_length(const struct tensor *w)
{
    return w->d[0].n <= INT32_MAX ? (int)w->d[0].n : 0;
}

struct tensor *gb_rmsnorm(struct gb *b, struct tensor *x, struct tensor *w, float eps)
{
    return gb_node(b, &(struct node){ .op = OP_RMSNORM,
                                      .part = b->part,
                                      .src = { x, w },
                                      .args.norm = { norm_length(w), eps } });
}

struct tensor *gb_layernorm(struct gb *b, struct tensor *x, struct tensor *w, struct tensor *bias,
                            float eps)
{
    return gb_node(b, &(struct node){ .op = OP_LAYERNORM,
                                      .part = b->part,
                                      .src = { x, w, bias },
                                      .args.norm = { norm_length(w), eps } });
}

struct tensor *gb_matmul(struct gb *b, struct tensor *x, struct tensor *w, struct tensor *bias)
{
    return gb_node(b, &(struct node){ .op = OP_MATMUL, .part = b->part, .src = { x, w, bias } });
}

struct tensor *gb_matmul_precise(struct gb *b, struct tensor *x, struct tensor *w,
                                 struct tensor *bias)
{
    return gb_node(b, &(struct node){ .op = OP_MATMUL,
                                      .part = b->part,
                                      .src = { x, w, bias },
                                      .args.matmul.precise = true });
}

struct tensor *gb_rope(struct gb *b, struct tensor *x, struct tensor *table, int head_dim, int rot,
                       enum rope_kind kind)
{
    return gb_node(b, &(struct node){ .op = OP_ROPE,
                                      .part = b->part,
                                      .src = { x, table },
                                      .args.rope = { head_dim, rot, kind } });
}

static struct tensor *pages(struct gb *b, const char *which, int head_dim,
                            const struct attn_args *a)
{
    char name[NAME_BYTES];
    snprintf(name, sizeof name, "blk.%d.%s_pages", a->il, which);
    for (int i = 0; i < b->g->n_tensors; i++)
        if (b->g->tensor[i]->role == ROLE_STATE && strcmp(b->g->tensor[i]->name, name) == 0)
            gb_fail(b, ERR_FORMAT, "block %d attends twice", a->il);
    if (head_dim <= 0 || a->n_kv_heads <= 0)
        gb_fail(b, ERR_FORMAT, "block %d: %d key heads of %d", a->il, a->n_kv_heads, head_dim);
    if (gb_failed(b))
        return &b->dummy;
    struct tensor *t = gb_tensor(b, ROLE_STATE, DTYPE_F16, name);
    t->n_dims = 4;
    t->d[0].n = head_dim;
    t->d[1].n = KV_PAGE_TOKENS;
    t->d[2].n = a->n_kv_heads;
    t->d[3] = a->window > 0 ? (struct dim){ 1, SYM_WINDOW_PAGES, a->window }
                            : (struct dim){ 1, SYM_PAGES, 0 };
    return t;
}

struct tensor *gb_attn(struct gb *b, struct tensor *q, struct tensor *k, struct tensor *v,
                       const struct attn_args *a)
{
    if (gb_failed(b))
        return &b->dummy;
    struct tensor *kp = pages(b, "k", a->head_dim, a);
    struct tensor *vp = v ? pages(b, "v", a->head_dim_v, a) : kp;
    struct tensor *pos = gb_input(b, IN_POS), *seq = gb_input(b, IN_SEQ);
    struct tensor *table = a->window > 0 ? NULL : gb_input(b, IN_PAGE_TABLE);
    struct node n = { .part = b->part };
    n.args.attn.n_heads = a->n_heads;
    n.args.attn.n_kv_heads = a->n_kv_heads;
    n.args.attn.head_dim = a->head_dim;
    n.args.attn.head_dim_v = a->head_dim_v;
    n.args.attn.window = a->window;
    n.args.attn.scale = a->scale;
    n.args.attn.softcap = a->softcap;

    struct node store = n, attn = n;
    store.op = OP_KV_STORE;
    memcpy(store.src, (const struct tensor *[NODE_SRC]){ k, v ? v : k, kp, vp, pos, seq, table },
           sizeof store.src);
    store.dst[0] = kp;
    store.dst[1] = v ? vp : NULL;
    gb_node(b, &store);

    attn.op = OP_ATTN;
    memcpy(attn.src, (const struct tensor *[NODE_SRC]){ q, kp, vp, pos, seq, table, a->sinks },
           sizeof attn.src);
    return gb_node(b, &attn);
}

struct tensor *gb_glu(struct gb *b, struct tensor *gate, struct tensor *up, enum act act)
{
    return gb_node(
        b,
        &(struct node){ .op = OP_GLU, .part = b->part, .src = { gate, up }, .args.glu.act = act });
}

struct tensor *gb_add(struct gb *b, struct tensor *a, struct tensor *c)
{
    return gb_node(b, &(struct node){ .op = OP_ADD, .part = b->part, .src = { a, c } });
}

struct tensor *gb_scale(struct gb *b, struct tensor *x, float s)
{
    return gb_node(
        b, &(struct node){ .op = OP_SCALE, .part = b->part, .src = { x }, .args.f.scale = s });
}

struct tensor *gb_softcap(struct gb *b, struct tensor *x, float cap)
{
    return gb_node(
        b, &(struct node){ .op = OP_SOFTCAP, .part = b->part, .src = { x }, .args.f.scale = cap });
}

struct tensor *gb_rows(struct gb *b, struct tensor *x, struct tensor *ids)
{
    return gb_node(b, &(struct node){ .op = OP_ROWS, .part = b->part, .src = { x, ids } });
}

void gb_logits(struct gb *b, struct tensor *x)
{
    if (gb_failed(b))
        return;
    if (b->g->logits || x->role != ROLE_TEMP || x->d[1].sym != SYM_OUTPUTS) {
        gb_fail(b, ERR_FORMAT, "%s cannot be the graph's result", x->name);
        return;
    }
    x->role = ROLE_OUTPUT;
    b->g->logits = x;
}
