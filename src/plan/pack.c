// pack.c - lifetimes to offsets: offline greedy packing in several orders, the best of them.
//
// The problem is dynamic storage allocation, NP-hard in general; on the operations of language
// models greedy by size reaches the lower bound (Pisarchyk & Lee, arXiv:2001.03288, describe the
// heuristic). The bound, peak live bytes, is handed out beside the result, so a gap is seen, never
// guessed.

#include "plan/plan_int.h"

#include <stdlib.h>
#include <string.h>

/// Tried one after another until one reaches the bound. What lives long, or where memory is
/// tightest, leaves fewer choices, so it is placed early.
enum order { BY_SIZE, BY_PEAK, BY_LENGTH, N_ORDERS };

enum { PROMOTIONS = 12 }; // further tries with each order

struct item {
    uint64_t key[3]; // larger first, the first one first
    int id;
};

static int cmp_item(const void *a, const void *b)
{
    const struct item *x = a, *y = b;

    for (int k = 0; k < 3; k++)
        if (x->key[k] != y->key[k])
            return x->key[k] > y->key[k] ? -1 : 1;
    return x->id < y->id ? -1 : x->id > y->id;
}

static struct item item_of(const struct span *s, int id, enum order o, const uint64_t *live)
{
    uint64_t length = (uint64_t)(s->last - s->first), peak = 0;

    switch (o) {
    case BY_SIZE:
        return (struct item){ { s->bytes, 0, 0 }, id };
    case BY_LENGTH:
        return (struct item){ { length, s->bytes, 0 }, id };
    case BY_PEAK:
    case N_ORDERS:
        break;
    }
    for (int t = s->first; t <= s->last; t++)
        peak = live[t] > peak ? live[t] : peak;
    return (struct item){ { peak, length, s->bytes }, id };
}

/// Spans that have a place, listed by the stretches of steps that they live in, so that only
/// neighbours in time are looked at.
struct table {
    const struct span *s;
    int *head;           // [stretches] index of an entry, -1: none
    struct entry *entry; // [n_entries]
    int n_entries;
    struct neighbour *near; // [n] alive together with the one to be placed, by offset
};
enum { STRETCH = 32 }; // steps
struct entry {
    int id, next;
};
struct neighbour {
    uint64_t offset, end;
};

static int neighbours(const struct table *t, const struct span *x)
{
    int n = 0;

    for (int b = x->first / STRETCH; b <= x->last / STRETCH; b++)
        for (int e = t->head[b]; e >= 0; e = t->entry[e].next) {
            const struct span *y = &t->s[t->entry[e].id];
            // One that lives in several stretches counts in the first that both are in.
            int both = y->first > x->first ? y->first : x->first;
            if (y->last < x->first || x->last < y->first || both / STRETCH != b)
                continue;
            int at = n++;
            for (; at > 0 && t->near[at - 1].offset > y->offset; at--)
                t->near[at] = t->near[at - 1];
            t->near[at] = (struct neighbour){ y->offset, y->offset + y->bytes };
        }
    return n;
}

static void list(struct table *t, int id)
{
    for (int b = t->s[id].first / STRETCH; b <= t->s[id].last / STRETCH; b++) {
        t->entry[t->n_entries] = (struct entry){ id, t->head[b] };
        t->head[b] = t->n_entries++;
    }
}

/// Puts spans one by one into the smallest gap that holds them, among those placed that live at the
/// same time.
static uint64_t place_in_order(struct span *s, const struct item *item, int n, int n_steps,
                               struct table *t)
{
    uint64_t top = 0;

    t->n_entries = 0;
    memset(t->head, 0xff, (size_t)(n_steps / STRETCH + 1) * sizeof(*t->head));
    for (int k = 0; k < n; k++) {
        struct span *x = &s[item[k].id];
        uint64_t end = 0, best = UINT64_MAX, best_gap = UINT64_MAX;
        int n_near = neighbours(t, x);

        for (int i = 0; i < n_near; i++) {
            const struct neighbour *y = &t->near[i];
            if (y->offset >= end && y->offset - end >= x->bytes && y->offset - end < best_gap) {
                best = end;
                best_gap = y->offset - end;
            }
            end = y->end > end ? y->end : end;
        }
        x->offset = best != UINT64_MAX ? best : end;
        top = x->offset + x->bytes > top ? x->offset + x->bytes : top;
        list(t, item[k].id);
    }
    return top;
}

static struct table table_new(const struct span *s, int n, int n_steps)
{
    size_t entries = 0;

    for (int i = 0; i < n; i++)
        entries += (size_t)(s[i].last / STRETCH - s[i].first / STRETCH + 1);
    return (struct table){
        .s = s,
        .head = xcalloc((size_t)(n_steps / STRETCH + 1), sizeof(int)),
        .entry = xcalloc(entries + 1, sizeof(struct entry)),
        .near = xcalloc((size_t)n + 1, sizeof(struct neighbour)),
    };
}

static void table_free(struct table *t)
{
    free(t->head);
    free(t->entry);
    free(t->near);
}

/// Live bytes at each step; returns the peak.
static uint64_t live_bytes(uint64_t *live, const struct span *s, int n, int n_steps)
{
    uint64_t peak = 0;

    for (int i = 0; i < n; i++) { // differences first, modulo 2^64
        ASSERT(s[i].bytes % SLOT_ALIGN == 0 && s[i].first >= 0 && s[i].first <= s[i].last &&
               s[i].last < n_steps);
        live[s[i].first] += s[i].bytes;
        live[s[i].last + 1] -= s[i].bytes;
    }
    for (int t = 0; t < n_steps; t++) {
        live[t] += t > 0 ? live[t - 1] : 0;
        peak = live[t] > peak ? live[t] : peak;
    }
    return peak;
}

/// What sticks out most is placed first in the next try.
static void promote_top(const struct span *s, struct item *item, uint64_t top)
{
    int k = 0;

    while (s[item[k].id].offset + s[item[k].id].bytes != top)
        k++;
    struct item x = item[k];
    memmove(item + 1, item, (size_t)k * sizeof(*item));
    item[0] = x;
}

static void keep_if_better(const struct span *s, int n, uint64_t top, uint64_t *best_top,
                           uint64_t *best)
{
    if (top >= *best_top)
        return;
    *best_top = top;
    for (int i = 0; i < n; i++)
        best[i] = s[i].offset;
}

uint64_t pack_spans(struct span *s, int n, int n_steps, uint64_t *bound)
{
    struct item *item = xcalloc((size_t)n + 1, sizeof(*item));
    struct table t = table_new(s, n, n_steps);
    uint64_t *best = xcalloc((size_t)n + 1, sizeof(*best));
    uint64_t *live = xcalloc((size_t)n_steps + 1, sizeof(*live));
    uint64_t best_top = n == 0 ? 0 : UINT64_MAX;

    *bound = live_bytes(live, s, n, n_steps);
    for (enum order o = BY_SIZE; o < N_ORDERS && best_top > *bound; o++) {
        for (int i = 0; i < n; i++)
            item[i] = item_of(&s[i], i, o, live);
        qsort(item, (size_t)n, sizeof(*item), cmp_item);
        uint64_t top = place_in_order(s, item, n, n_steps, &t);
        keep_if_better(s, n, top, &best_top, best);
        for (int i = 0; i < PROMOTIONS && best_top > *bound; i++) {
            promote_top(s, item, top);
            top = place_in_order(s, item, n, n_steps, &t);
            keep_if_better(s, n, top, &best_top, best);
        }
    }
    for (int i = 0; i < n; i++)
        s[i].offset = best[i];
    free(live);
    free(best);
    table_free(&t);
    free(item);
    return best_top;
}
