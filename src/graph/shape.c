// shape.c - what each operation demands of its sources, and the shape of what it makes.

#include "graph/graph_int.h"

static const struct dim ONE = { 1, SYM_ONE, 0 };

struct dim dim_fixed(int64_t n)
{
    return (struct dim){ n, SYM_ONE, 0 };
}

struct dim dim_times(struct dim d, int64_t n)
{
    d.n *= n;
    return d;
}

void set_shape_2d(struct tensor *out, struct dim cols, struct dim rows)
{
    out->n_dims = 2;
    out->d[0] = cols;
    out->d[1] = rows;
    out->d[2] = out->d[3] = ONE;
}

bool need_rows(const struct tensor *t, const char *what, struct err *why)
{
    if (t->type == DTYPE_F32 && t->n_dims <= 2 && t->d[0].sym == SYM_ONE && t->role != ROLE_INPUT)
        return true;
    return err_set(why, ERR_FORMAT, "%s (%s) must be rows of float32", what, t->name);
}

bool need_vec(const struct tensor *t, int64_t n, const char *what, struct err *why)
{
    if (t->type == DTYPE_F32 && t->n_dims == 1 && t->d[0].sym == SYM_ONE && t->d[0].n == n)
        return true;
    char d[48];
    return err_set(why, ERR_FORMAT, "%s (%s) has length %s, expected %lld", what, t->name,
                   dim_text(d, t->d[0]), (long long)n);
}

static bool is_input(const struct tensor *t, enum sym sym, const char *what, struct err *why)
{
    if (t->role == ROLE_INPUT && t->type == DTYPE_I32 && t->d[0].sym == sym)
        return true;
    return err_set(why, ERR_FORMAT, "%s (%s) is not the input it should be", what, t->name);
}

bool need_same_shape(const struct tensor *a, const struct tensor *b, struct err *why)
{
    for (int i = 0; i < 4; i++) {
        if (dim_eq(a->d[i], b->d[i]))
            continue;
        char ta[48], tb[48];
        return err_set(why, ERR_FORMAT, "dimension %d differs: %s has %s, %s has %s", i, a->name,
                       dim_text(ta, a->d[i]), b->name, dim_text(tb, b->d[i]));
    }
    return true;
}

bool need_row_length(const struct tensor *t, int64_t n, const char *what, struct err *why)
{
    if (!need_rows(t, what, why))
        return false;
    if (t->d[0].n == n)
        return true;
    return err_set(why, ERR_FORMAT, "%s (%s) has rows of %lld, expected %lld", what, t->name,
                   (long long)t->d[0].n, (long long)n);
}

bool shape_embed(const struct node *n, struct tensor *out, struct err *why)
{
    const struct tensor *ids = n->src[0], *table = n->src[1];
    if (!is_input(ids, SYM_TOKENS, "ids", why))
        return false;
    if (table->role != ROLE_WEIGHT || table->n_dims > 2)
        return err_set(why, ERR_FORMAT, "%s is not a table of rows", table->name);
    set_shape_2d(out, table->d[0], ids->d[0]);
    return true;
}

bool shape_rope_table(const struct node *n, struct tensor *out, struct err *why)
{
    int rot = n->args.freq.rot;
    if (!is_input(n->src[0], SYM_TOKENS, "positions", why))
        return false;
    if (rot < 2 || rot % 2 != 0)
        return err_set(why, ERR_FORMAT, "%d rotated dimensions: not a positive even number", rot);
    for (int i = ROPE_FACTORS; i <= ROPE_LONG; i++)
        if (n->src[i] && !need_vec(n->src[i], rot / 2, "rope factors", why))
            return false;
    if (n->args.freq.grow > 0 && n->args.freq.grow_every < 1)
        return err_set(why, ERR_FORMAT, "growing every %d positions", n->args.freq.grow_every);
    if ((n->args.freq.long_from > 0) != (n->src[ROPE_LONG] != NULL))
        return err_set(why, ERR_FORMAT, "long factors from a context of %d on",
                       n->args.freq.long_from);
    set_shape_2d(out, dim_fixed(rot), n->src[0]->d[0]);
    return true;
}

/// One weight for all groups of a row, or [groups][n] of them.
static bool need_norm_weight(const struct tensor *w, int n, int64_t row, struct err *why)
{
    if (w->type == DTYPE_F32 && w->role == ROLE_WEIGHT && w->n_dims == 2 && w->d[0].n == n &&
        w->d[1].n == row / n)
        return true;
    return need_vec(w, n, "weight", why);
}

static bool shape_norm(const struct node *n, struct tensor *out, struct err *why)
{
    const struct tensor *x = n->src[0];
    if (!need_rows(x, "x", why) || n->args.norm.n <= 0 ||
        !need_norm_weight(n->src[1], n->args.norm.n, x->d[0].n, why))
        return false;
    if (x->d[0].n % n->args.norm.n != 0)
        return err_set(why, ERR_FORMAT, "rows of %lld (%s) are not whole groups of %d",
                       (long long)x->d[0].n, x->name, n->args.norm.n);
    set_shape_2d(out, x->d[0], x->d[1]);
    return true;
}

bool shape_rmsnorm(const struct node *n, struct tensor *out, struct err *why)
{
    const struct tensor *res = n->src[NORM_RES];
    return shape_norm(n, out, why) && (!res || need_same_shape(n->src[0], res, why));
}

bool shape_layernorm(const struct node *n, struct tensor *out, struct err *why)
{
    const struct tensor *bias = n->src[LAYERNORM_BIAS];
    return shape_norm(n, out, why) && (!bias || need_vec(bias, n->args.norm.n, "bias", why));
}

bool shape_matmul(const struct node *n, struct tensor *out, struct err *why)
{
    const struct tensor *x = n->src[0], *w = n->src[1];
    const struct tensor *bias = n->src[MATMUL_BIAS], *res = n->src[MATMUL_RES];
    if (w->role != ROLE_WEIGHT || w->n_dims > 2)
        return err_set(why, ERR_FORMAT, "%s is not a matrix", w->name);
    if (!need_row_length(x, w->d[0].n, "x", why))
        return false;
    if (bias && !need_vec(bias, w->d[1].n, "bias", why))
        return false;
    set_shape_2d(out, w->d[1], x->d[1]);
    return !res || need_same_shape(out, res, why);
}

bool shape_rope(const struct node *n, struct tensor *out, struct err *why)
{
    const struct tensor *x = n->src[0], *table = n->src[1];
    int head_dim = n->args.rope.head_dim, rot = n->args.rope.rot;
    if (!need_rows(x, "x", why) || !need_row_length(table, rot, "table", why))
        return false;
    if (head_dim <= 0 || rot > head_dim || x->d[0].n % head_dim != 0)
        return err_set(why, ERR_FORMAT, "rows of %lld (%s), heads of %d, %d rotated",
                       (long long)x->d[0].n, x->name, head_dim, rot);
    if (!dim_eq(x->d[1], table->d[1]))
        return err_set(why, ERR_FORMAT, "x (%s) and the table do not have the same tokens",
                       x->name);
    set_shape_2d(out, x->d[0], x->d[1]);
    return true;
}

/// What KV_STORE and ATTN have in common: pages as the arguments say, from source `at` on: k, v,
/// pos, seq.
static bool shape_pages(const struct node *n, int at, const struct tensor *table, struct err *why)
{
    const struct tensor *k = n->src[at], *v = n->src[at + 1];
    int kv = n->args.attn.n_kv_heads;
    if (k->role != ROLE_STATE || v->role != ROLE_STATE || k->d[0].n != n->args.attn.head_dim ||
        (v == k ? v->d[0].n < n->args.attn.head_dim_v : v->d[0].n != n->args.attn.head_dim_v) ||
        n->args.attn.head_dim_v <= 0 || k->d[2].n != kv || v->d[2].n != kv ||
        !dim_eq(k->d[3], v->d[3]))
        return err_set(why, ERR_FORMAT, "pages %s, %s do not fit the heads", k->name, v->name);
    if (!is_input(n->src[at + 2], SYM_TOKENS, "positions", why) ||
        !is_input(n->src[at + 3], SYM_TOKENS, "slots", why))
        return false;
    if ((n->args.attn.window > 0) != (table == NULL))
        return err_set(why, ERR_FORMAT, "a page table is for layers without a window");
    return !table || is_input(table, SYM_SLOT_PAGES, "page table", why);
}

bool shape_kv_store(const struct node *n, struct tensor *out, struct err *why)
{
    (void)out;
    int kv = n->args.attn.n_kv_heads;
    return need_row_length(n->src[0], (int64_t)kv * n->args.attn.head_dim, "k", why) &&
           (store_shares_keys(n) ||
            need_row_length(n->src[1], (int64_t)kv * n->args.attn.head_dim_v, "v", why)) &&
           shape_pages(n, 2, n->src[STORE_TABLE], why);
}

bool shape_attn(const struct node *n, struct tensor *out, struct err *why)
{
    const struct tensor *q = n->src[0], *sinks = n->src[ATTN_SINKS];
    int heads = n->args.attn.n_heads, kv = n->args.attn.n_kv_heads;
    if (kv <= 0 || heads <= 0 || heads % kv != 0)
        return err_set(why, ERR_FORMAT, "%d heads do not share %d key heads evenly", heads, kv);
    if (!need_row_length(q, (int64_t)heads * n->args.attn.head_dim, "q", why) ||
        !shape_pages(n, 1, n->src[ATTN_TABLE], why) ||
        (sinks && !need_vec(sinks, heads, "sinks", why)))
        return false;
    set_shape_2d(out, dim_fixed((int64_t)heads * n->args.attn.head_dim_v), q->d[1]);
    return true;
}

bool shape_glu(const struct node *n, struct tensor *out, struct err *why)
{
    const struct tensor *x = n->src[0];
    if (n->src[GLU_UP])
        return shape_add(n, out, why);
    if (!need_rows(x, "x", why))
        return false;
    if (x->d[0].n % 2 != 0)
        return err_set(why, ERR_FORMAT, "rows of %lld (%s) are not pairs", (long long)x->d[0].n,
                       x->name);
    set_shape_2d(out, dim_fixed(x->d[0].n / 2), x->d[1]);
    return true;
}

bool shape_add(const struct node *n, struct tensor *out, struct err *why)
{
    return shape_same(n, out, why) && need_rows(n->src[1], "b", why) &&
           need_same_shape(n->src[0], n->src[1], why);
}

bool shape_same(const struct node *n, struct tensor *out, struct err *why)
{
    if (!need_rows(n->src[0], "x", why))
        return false;
    set_shape_2d(out, n->src[0]->d[0], n->src[0]->d[1]);
    return true;
}

bool shape_rows(const struct node *n, struct tensor *out, struct err *why)
{
    const struct tensor *x = n->src[0], *ids = n->src[1];
    if (!need_rows(x, "x", why) || !is_input(ids, SYM_OUTPUTS, "ids", why))
        return false;
    set_shape_2d(out, x->d[0], ids->d[0]);
    return true;
}
