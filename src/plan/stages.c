// stages.c - the figures that a proof of minimality stands on, to be written beside a plan.

#include "plan/cost.h"
#include "plan/plan_int.h"

#include <stdlib.h>

static bool same_table(const struct plan *p, int a, int b)
{
    const struct dev_info *x = &p->dev[a].info, *y = &p->dev[b].info;

    return p->devs[a]->ops == p->devs[b]->ops && x->kind == y->kind &&
           x->granule_bytes == y->granule_bytes && x->max_threads == y->max_threads;
}

static int find_host(const struct plan *p)
{
    for (int d = 0; d < p->n_devs; d++)
        if (p->dev[d].info.in_place)
            return d;
    return -1;
}

/// From one plan that has all units on device `d`; impossible where there is none.
static uint64_t *make_table(const struct plan *p, int d, int host, const struct units *u)
{
    struct assign a = { p->n_parts, xcalloc((size_t)p->n_parts, sizeof(int)) };
    struct plan *all = NULL;
    struct costs c;

    for (int i = 0; i < p->n_parts; i++)
        a.dev[i] = u->of[i] >= 0 ? d : host;
    if (plan_make(&all, p->graph, p->places, &a, &p->lim, p->devs, p->n_devs, NULL))
        costs_from_plan(&c, all, d, u);
    else
        costs_impossible(&c, u);
    plan_free(all);
    free(a.dev);
    uint64_t *bytes = c.bytes;
    c.bytes = NULL;
    costs_done(&c);
    return bytes;
}

static struct stage_costs *variant(const struct plan *p, int host, bool embed_on_host)
{
    struct stage_costs *s = xcalloc(1, sizeof(*s));
    bool *on_host = xcalloc((size_t)p->n_parts, sizeof(*on_host));
    struct units u;

    for (int i = 0; i < p->n_parts; i++)
        on_host[i] = embed_on_host && graph_part(p->graph, i)->kind == PART_EMBED;
    units_of(&u, p->graph, on_host);
    free(on_host);
    s->n_units = u.n;
    s->unit_of = u.of;
    s->table_of = xcalloc((size_t)p->n_devs, sizeof(*s->table_of));
    s->bytes = xcalloc((size_t)p->n_devs, sizeof(*s->bytes));
    for (int d = 0; d < p->n_devs; d++) {
        s->table_of[d] = -1;
        for (int b = 0; b < d && s->table_of[d] < 0 && !p->dev[d].info.in_place; b++)
            if (same_table(p, b, d))
                s->table_of[d] = s->table_of[b];
        if (s->table_of[d] >= 0 || p->dev[d].info.in_place)
            continue;
        s->table_of[d] = s->n_tables;
        s->bytes[s->n_tables++] = make_table(p, d, host, &u);
    }
    return s;
}

struct stage_costs *stage_costs_of(const struct plan *p)
{
    int host = find_host(p);
    struct stage_costs *s = variant(p, host, false);

    if (host >= 0)
        s->next = variant(p, host, true);
    return s;
}

void stage_costs_free(struct stage_costs *s)
{
    while (s != NULL) {
        struct stage_costs *next = s->next;
        for (int t = 0; t < s->n_tables; t++)
            free(s->bytes[t]);
        free(s->bytes);
        free(s->table_of);
        free(s->unit_of);
        free(s);
        s = next;
    }
}
