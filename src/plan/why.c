// why.c - why a block sits where it does: what it takes, what its neighbours' devices have left,
// and what moving it would change. Every move is planned.

#include "plan/plan_int.h"
#include "plan/report.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

struct block_bytes {
    uint64_t weights, experts, kv;
    int n_weights;
};

static struct block_bytes bytes_of(const struct plan *p, int il)
{
    struct block_bytes b = { 0 };

    for (int v = 0; v < p->n_values; v++) {
        const struct value *x = &p->value[v];
        if (x->t == NULL || (x->t->role != ROLE_WEIGHT && x->t->role != ROLE_STATE))
            continue;
        const struct part *part = graph_part(p->graph, x->t->part);
        if (part->il != il)
            continue;
        if (x->t->role == ROLE_STATE)
            b.kv += x->slot.bytes;
        else if (part->kind == PART_EXPERTS)
            b.experts += x->slot.bytes;
        else
            b.weights += x->slot.bytes;
        b.n_weights += x->t->role == ROLE_WEIGHT;
    }
    return b;
}

static int find_part(const struct plan *p, enum part_kind kind, int il)
{
    for (int i = 1; i < p->n_parts; i++)
        if (graph_part(p->graph, i)->kind == kind && graph_part(p->graph, i)->il == il)
            return i;
    return -1;
}

/// The same plan with a block's parts on another device; NULL where it cannot run there.
static struct plan *moved(const struct plan *p, int il, int dev)
{
    struct assign a = { p->n_parts, xcalloc((size_t)p->n_parts, sizeof(int)) };
    struct plan *q = NULL;

    for (int i = 1; i < p->n_parts; i++)
        a.dev[i] = graph_part(p->graph, i)->il == il ? dev : p->part_dev[i];
    bool ok = plan_make(&q, p->graph, p->places, &a, &p->lim, p->devs, p->n_devs, NULL);
    free(a.dev);
    return ok ? q : NULL;
}

/// All that its devices will have lost, drivers too.
static uint64_t all_bytes(const struct plan *p)
{
    uint64_t sum = 0;

    for (int d = 0; d < p->n_devs; d++)
        sum += plan_rows_total(p, d);
    return sum;
}

static int n_copies(const struct plan *p)
{
    int n = 0;

    for (int i = 0; i < p->n_steps; i++)
        n += p->step[i].kernel == NULL;
    return n;
}

/// "fits, 1.2 GiB left there; 12.0 MiB more in all, 2 copies a token more, 0.12 ms slower"
static bool say_move(const struct plan *p, const struct plan *q, int dev, struct buf *out)
{
    const char *name = p->dev[dev].info.name;
    int64_t left = plan_left(q, dev), ns = plan_token_ns(p), ns_there = plan_token_ns(q);
    char size[32];
    bool ok = buf_printf(out, "  to %-10s ", name);

    if (left < 0)
        return ok && buf_printf(out, "does not fit: %s lacks %s (%" PRId64 " bytes)\n", name,
                                fmt_bytes(size, (uint64_t)-left), -left);
    ok = ok && (left == INT64_MAX
                    ? buf_addz(out, "fits")
                    : buf_printf(out, "fits, %s left there", fmt_bytes(size, (uint64_t)left)));
    uint64_t was = all_bytes(p), is = all_bytes(q);
    if (is != was)
        ok =
            ok && buf_printf(out, "; %s %s in all", fmt_bytes(size, is > was ? is - was : was - is),
                             is > was ? "more" : "less");
    int copies = n_copies(q) - n_copies(p);
    if (copies != 0)
        ok = ok && buf_printf(out, "; %d cop%s a batch %s", abs(copies),
                              abs(copies) == 1 ? "y" : "ies", copies > 0 ? "more" : "less");
    if (ns > 0 && ns_there > 0)
        ok = ok && buf_printf(out, "; %.3f ms a token %s", (double)llabs(ns_there - ns) / 1e6,
                              ns_there > ns   ? "slower"
                              : ns_there < ns ? "faster"
                                              : "apart");
    return ok && buf_addz(out, "\n");
}

/// The sentence that answers: the device before is full, or one device is enough, or it is shared
/// out.
static bool say_because(const struct plan *p, int il, int dev, struct buf *out)
{
    char text[128], size[32], need[32];
    int before = il > 0 ? find_part(p, PART_BLOCK, il - 1) : -1;
    int prev = before > 0 ? p->part_dev[before] : dev, n_used = 0;

    for (int d = 0; d < p->n_devs; d++)
        n_used += p->dev[d].used && !p->dev[d].info.in_place;
    if (n_used <= 1 && prev == dev)
        return buf_printf(out, "  because %s holds all of it: no second device is needed\n",
                          p->dev[dev].info.name);
    if (prev == dev)
        return buf_printf(out,
                          "  because %s holds %s, one stage in a row: each change of device is a "
                          "copy\n",
                          p->dev[dev].info.name, plan_parts_text(text, sizeof(text), p, dev));
    struct plan *q = moved(p, il, prev);
    if (q == NULL)
        return buf_printf(out, "  because %s cannot run it\n", p->dev[prev].info.name);
    int64_t left = plan_left(p, prev), after = plan_left(q, prev);
    plan_free(q);
    bool ok = buf_printf(out, "  because the stage before ends with block %d: %s (%s)", il - 1,
                         p->dev[prev].info.name, plan_parts_text(text, sizeof(text), p, prev));
    if (left == INT64_MAX)
        return ok && buf_addz(out, " has no limit\n");
    ok = ok && buf_printf(out, "\n          has %s left, and block %d would take %s there",
                          fmt_bytes(size, left > 0 ? (uint64_t)left : 0), il,
                          fmt_bytes(need, (uint64_t)(left - after)));
    return ok && (after < 0 ? buf_printf(out, ": %s too much\n", fmt_bytes(size, (uint64_t)-after))
                            : buf_addz(out, ": it could be there too, see below\n"));
}

bool report_why(const struct plan *p, int block, struct buf *out, struct err *e)
{
    int part = find_part(p, PART_BLOCK, block), experts = find_part(p, PART_EXPERTS, block),
        last = -1;
    char exact[32], size[32], text[128];

    for (int i = 1; i < p->n_parts; i++)
        last = graph_part(p->graph, i)->il > last ? graph_part(p->graph, i)->il : last;
    if (part < 0)
        return err_set(e, ERR_ARG, "--why %d: the model has blocks 0 to %d", block, last);
    int dev = p->part_dev[part];
    struct block_bytes b = bytes_of(p, block);
    bool ok = buf_printf(out, "block %d is on %s", block, p->dev[dev].info.name);
    if (experts >= 0 && p->part_dev[experts] != dev)
        ok = ok && buf_printf(out, ", its experts on %s", p->dev[p->part_dev[experts]].info.name);
    ok = ok && buf_printf(out, ", with %s\n", plan_parts_text(text, sizeof(text), p, dev));
    ok = ok && buf_printf(out, "  takes   %s bytes (%s) of weights in %d tensors",
                          fmt_count(exact, b.weights), fmt_bytes(size, b.weights), b.n_weights);
    if (b.experts > 0)
        ok = ok && buf_printf(out, ", %s (%s) of experts", fmt_count(exact, b.experts),
                              fmt_bytes(size, b.experts));
    ok = ok && buf_printf(out, ", %s (%s) of keys and values\n", fmt_count(exact, b.kv),
                          fmt_bytes(size, b.kv));
    ok = ok && say_because(p, block, dev, out);
    if (p->n_devs > 1)
        ok = ok && buf_printf(out, "moved alone, with all else in place\n");
    for (int d = 0; d < p->n_devs; d++) {
        if (d == dev && (experts < 0 || p->part_dev[experts] == dev))
            continue;
        struct plan *q = moved(p, block, d);
        if (q == NULL)
            ok = ok && buf_printf(out, "  to %-10s has no kernel for it\n", p->dev[d].info.name);
        else
            ok = ok && say_move(p, q, d, out);
        plan_free(q);
    }
    return ok || err_set(e, ERR_NOMEM, "the report is too long");
}
