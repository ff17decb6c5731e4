// route.c - definition of ROUTE (docs/numerics.md, "Experts"): which experts a token goes to, and
// with which weights. Softmax before or after the choice, sigmoid (arXiv:2412.19437,
// section 2.1.2), groups (arXiv:2405.04434, section 2.2.3).

#include <math.h>

#include "dev/cpu/experts.h"
#include "dev/cpu/team.h"
#include "dev/cpu/vmath.h"

enum { CHAINS = 16 };

/// Working space of a thread: [n_experts] each.
struct work {
    float *p, *c; // scores, and those for choosing
    float *top;   // of one group, largest first
    float *score; // of the groups
    bool *out;    // chosen, or in a group that is not used
};

static uint64_t work_bytes(const struct route_args *r)
{
    return align_up_u64((uint64_t)r->n_experts * (4 * sizeof(float) + sizeof(bool)), 64);
}

static uint64_t route_scratch(const struct node *n, const struct dims *max, int threads)
{
    (void)max;
    return (uint64_t)threads * work_bytes(&n->args.route);
}

static void softmax(float *p, int n)
{
    float m = -INFINITY, chain[CHAINS] = { 0 };

    for (int e = 0; e < n; e++)
        m = p[e] > m ? p[e] : m;
    for (int e = 0; e < n; e++) {
        p[e] = vm_exp(p[e] - m);
        chain[e % CHAINS] += p[e];
    }
    float sum = chain[0];
    for (int c = 1; c < CHAINS; c++)
        sum += chain[c];
    for (int e = 0; e < n; e++)
        p[e] = p[e] / sum;
}

static void scores(const struct route_args *r, const struct work *w, const float *logits,
                   const float *bias)
{
    for (int e = 0; e < r->n_experts; e++)
        w->p[e] = logits[e] == logits[e] ? logits[e] : -INFINITY;
    if (r->kind == ROUTE_SOFTMAX)
        softmax(w->p, r->n_experts);
    for (int e = 0; r->kind == ROUTE_SIGMOID && e < r->n_experts; e++)
        w->p[e] = vm_sigmoid(w->p[e]);
    for (int e = 0; e < r->n_experts; e++) {
        w->c[e] = bias != NULL ? w->p[e] + bias[e] : w->p[e];
        if (w->c[e] != w->c[e])
            w->c[e] = -INFINITY;
        w->out[e] = false;
    }
}

/// The sum of a group's `top` largest, largest first.
static float group_score(const float *c, int size, int top, float *best)
{
    float sum = 0;
    int n = 0;

    for (int e = 0; e < size; e++) {
        int at = n < top ? n++ : top;
        for (; at > 0 && c[e] > best[at - 1]; at--)
            if (at < top)
                best[at] = best[at - 1];
        if (at < top)
            best[at] = c[e];
    }
    for (int i = 0; i < n; i++)
        sum = sum + best[i];
    return sum;
}

/// Groups that are not among the best are out.
static void choose_groups(const struct route_args *r, const struct work *w)
{
    const int size = r->n_experts / r->n_groups;
    float *score = w->score;

    for (int g = 0; g < r->n_groups; g++)
        score[g] = group_score(w->c + g * size, size, r->group_top, w->top);
    for (int g = 0; g < r->n_groups; g++) {
        int better = 0;
        for (int i = 0; i < r->n_groups; i++)
            better += score[i] > score[g] || (score[i] == score[g] && i < g);
        for (int e = 0; better >= r->n_groups_used && e < size; e++)
            w->out[g * size + e] = true;
    }
}

/// The best that is not out.
static int best_left(const struct work *w, int n)
{
    int best = -1;

    for (int e = 0; e < n; e++)
        if (!w->out[e] && (best < 0 || w->c[e] > w->c[best]))
            best = e;
    return best;
}

static void weigh(const struct route_args *r, float *weight)
{
    float sum = 0;

    if (r->kind == ROUTE_SOFTMAX_SELECTED) {
        const float m = weight[0];
        for (int j = 0; j < r->k; j++) {
            weight[j] = vm_exp(weight[j] - m);
            sum = sum + weight[j];
        }
        for (int j = 0; j < r->k; j++)
            weight[j] = weight[j] / sum;
    }
    if (r->norm) {
        sum = 0;
        for (int j = 0; j < r->k; j++)
            sum = sum + weight[j];
        if (r->kind == ROUTE_SIGMOID)
            sum = sum + 1e-20f;
        for (int j = 0; j < r->k; j++)
            weight[j] = weight[j] / sum;
    }
    for (int j = 0; j < r->k; j++)
        weight[j] = weight[j] * r->scale;
}

static void route(const struct route_args *r, const struct work *w, const float *logits,
                  const float *bias, float *weight, int32_t *id)
{
    scores(r, w, logits, bias);
    if (r->n_groups > 1)
        choose_groups(r, w);
    for (int j = 0; j < r->k; j++) {
        id[j] = best_left(w, r->n_experts);
        weight[j] = w->p[id[j]];
        w->out[id[j]] = true;
    }
    weigh(r, weight);
}

static void route_run(const struct run_args *a, struct team *t)
{
    const struct route_args *r = &a->node->args.route;
    float *mine = (float *)(void *)((char *)a->scratch + (uint64_t)team_i(t) * work_bytes(r));
    const int n = r->n_experts;
    const struct work w = { mine, mine + n, mine + 2 * n, mine + 3 * n, (bool *)(mine + 4 * n) };

    for (int64_t i; (i = team_next(t, tensor_rows(a->node->dst[0], a->now))) >= 0;)
        route(r, &w, (const float *)a->src[0] + i * n, a->src[ROUTE_BIAS],
              (float *)a->dst[0] + i * r->k, (int32_t *)a->dst[1] + i * r->k);
}

static bool route_accepts(const struct node *n, const struct dims *max, bool exact)
{
    (void)max;
    (void)exact;
    return n->src[0]->type == DTYPE_F32;
}

const struct kernel cpu_ref_route = {
    .name = "route",
    .op = OP_ROUTE,
    .accepts = route_accepts,
    .act = DTYPE_F32,
    .scratch_bytes = route_scratch,
    .run = route_run,
};
