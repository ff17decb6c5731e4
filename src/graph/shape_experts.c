// shape_experts.c - rules of the operations for mixtures of experts and for heads with matrices of
// their own (shape.c has the others).

#include "graph/graph_int.h"

static bool is_matrix(const struct tensor *w, int n_dims, struct err *why)
{
    if (w->role == ROLE_WEIGHT && w->n_dims <= n_dims && w->type != DTYPE_I32)
        return true;
    return err_set(why, ERR_FORMAT, "%s is not a matrix", w->name);
}

bool shape_route(const struct node *n, struct tensor *out, struct err *why)
{
    const struct tensor *x = n->src[0], *bias = n->src[ROUTE_BIAS];
    const struct route_args *a = &n->args.route;
    if (!need_row_length(x, a->n_experts, "logits", why) ||
        (bias && !need_vec(bias, a->n_experts, "bias", why)))
        return false;
    if (a->k < 1 || a->k > a->n_experts)
        return err_set(why, ERR_FORMAT, "%d of %d experts", a->k, a->n_experts);
    if (a->n_groups > 1) {
        int size = a->n_experts / a->n_groups;
        if (a->n_experts % a->n_groups != 0 || a->n_groups_used < 1 ||
            a->n_groups_used > a->n_groups || a->group_top < 1 || a->group_top > size ||
            (int64_t)a->n_groups_used * size < a->k)
            return err_set(why, ERR_FORMAT,
                           "%d experts, %d used, of %d of %d groups by their best %d", a->n_experts,
                           a->k, a->n_groups_used, a->n_groups, a->group_top);
    }
    set_shape_2d(out, dim_fixed(a->k), x->d[1]);
    return true;
}

/// A dimension d and n times that.
static bool is_times(struct dim d, struct dim times, int64_t n)
{
    return dim_eq(dim_times(d, n), times);
}

bool shape_experts(const struct node *n, struct tensor *out, struct err *why)
{
    const struct tensor *x = n->src[0], *w = n->src[1], *ids = n->src[2],
                        *bias = n->src[EXPERTS_BIAS];
    if (!is_matrix(w, 3, why) || !need_row_length(x, w->d[0].n, "x", why))
        return false;
    if (ids->type != DTYPE_I32 || ids->role != ROLE_TEMP)
        return err_set(why, ERR_FORMAT, "%s are not ids of experts", ids->name);
    const int64_t k = ids->d[0].n;
    if (!dim_eq(x->d[1], ids->d[1]) && !is_times(ids->d[1], x->d[1], k))
        return err_set(why, ERR_FORMAT, "x (%s) and the ids do not have the same tokens", x->name);
    if (bias && (bias->role != ROLE_WEIGHT || dtype_info(bias->type)->quantized ||
                 bias->type == DTYPE_I32 || bias->n_dims > 2 || !dim_eq(bias->d[0], w->d[1]) ||
                 !dim_eq(bias->d[1], w->d[2])))
        return err_set(why, ERR_FORMAT, "bias (%s) does not fit %s", bias->name, w->name);
    set_shape_2d(out, w->d[1], dim_times(ids->d[1], k));
    return true;
}

bool shape_expert_sum(const struct node *n, struct tensor *out, struct err *why)
{
    const struct tensor *y = n->src[0], *weights = n->src[1], *res = n->src[EXPERT_SUM_RES];
    if (!need_rows(y, "y", why) || !need_rows(weights, "weights", why))
        return false;
    if (!is_times(weights->d[1], y->d[1], weights->d[0].n))
        return err_set(why, ERR_FORMAT, "y (%s) does not have a row for each weight", y->name);
    set_shape_2d(out, y->d[0], weights->d[1]);
    return !res || need_same_shape(out, res, why);
}

bool shape_heads(const struct node *n, struct tensor *out, struct err *why)
{
    const struct tensor *x = n->src[0], *w = n->src[1];
    const struct heads_args *a = &n->args.heads;
    if (!is_matrix(w, 3, why))
        return false;
    if (a->n_heads < 1 || a->n_in < 1 || a->n_out < 1)
        return err_set(why, ERR_FORMAT, "%d heads of %d to %d", a->n_heads, a->n_in, a->n_out);
    const int64_t all = w->d[1].n * w->d[2].n, rows = a->transposed ? a->n_in : a->n_out;
    if (w->d[0].n != (a->transposed ? a->n_out : a->n_in) || a->row0 < 0 || a->row_step < 0 ||
        a->row0 > all - rows ||
        (a->row_step > 0 && a->n_heads - 1 > (all - rows - a->row0) / a->row_step))
        return err_set(why, ERR_FORMAT, "%s does not have %d matrices of %d to %d", w->name,
                       a->n_heads, a->n_in, a->n_out);
    if (!need_row_length(x, (int64_t)a->n_heads * a->n_in, "x", why))
        return false;
    set_shape_2d(out, dim_fixed((int64_t)a->n_heads * a->n_out), x->d[1]);
    return true;
}

bool shape_slice(const struct node *n, struct tensor *out, struct err *why)
{
    const struct tensor *x = n->src[0];
    const int width = n->args.slice.width, at = n->args.slice.at, len = n->args.slice.len;
    if (!need_rows(x, "x", why))
        return false;
    if (width < 1 || x->d[0].n % width != 0 || len < 1 || at < 0 || at > width - len)
        return err_set(why, ERR_FORMAT, "rows of %lld (%s): %d from %d of each %d",
                       (long long)x->d[0].n, x->name, len, at, width);
    set_shape_2d(out, dim_fixed(x->d[0].n / width * len), x->d[1]);
    return true;
}

bool shape_concat(const struct node *n, struct tensor *out, struct err *why)
{
    const struct tensor *a = n->src[0], *b = n->src[1];
    const int len_a = n->args.concat.len_a, len_b = n->args.concat.len_b;
    if (!need_rows(a, "a", why) || !need_rows(b, "b", why))
        return false;
    if (len_a < 1 || len_b < 1 || a->d[0].n % len_a != 0 || b->d[0].n % len_b != 0 ||
        a->d[0].n / len_a != b->d[0].n / len_b || !dim_eq(a->d[1], b->d[1]))
        return err_set(why, ERR_FORMAT,
                       "rows of %lld by %d (%s) and of %lld by %d (%s) do not join",
                       (long long)a->d[0].n, len_a, a->name, (long long)b->d[0].n, len_b, b->name);
    set_shape_2d(out, dim_fixed(a->d[0].n + b->d[0].n), a->d[1]);
    return true;
}
