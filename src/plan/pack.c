// pack.c - lifetimes to offsets: offline greedy packing in several orders, the best of them.
//
// The problem is dynamic storage allocation, NP-hard in general; on the operations of language
// models greedy by size reaches the lower bound (Pisarchyk & Lee, arXiv:2001.03288, describe the
// heuristic). The bound, peak live bytes, is handed out beside the result, so a gap is seen, never
// guessed.

#include "plan/plan_int.h"

#include <stdlib.h>

enum order { BY_SIZE, BY_AREA, BY_START, N_ORDERS };

struct item {
    uint64_t key; // larger first
    int id;
};

static int cmp_item(const void *a, const void *b)
{
    const struct item *x = a, *y = b;

    if (x->key != y->key)
        return x->key > y->key ? -1 : 1;
    return x->id < y->id ? -1 : x->id > y->id;
}

static uint64_t order_key(const struct span *s, enum order o, int n_steps)
{
    switch (o) {
    case BY_SIZE:
        return s->bytes;
    case BY_AREA: // in units of the alignment, so that no product overflows
        return s->bytes / SLOT_ALIGN * (uint64_t)(s->last - s->first + 1);
    case BY_START:
    case N_ORDERS:
        break;
    }
    return (uint64_t)(n_steps - s->first);
}

/// Puts spans one by one into the smallest gap that holds them, among those placed that live at the
/// same time.
static uint64_t place_in_order(struct span *s, const struct item *item, int n, int *by_offset)
{
    uint64_t top = 0;
    int n_placed = 0;

    for (int k = 0; k < n; k++) {
        struct span *x = &s[item[k].id];
        uint64_t end = 0, best = UINT64_MAX, best_gap = UINT64_MAX;

        for (int i = 0; i < n_placed; i++) {
            const struct span *y = &s[by_offset[i]];
            if (y->last < x->first || x->last < y->first)
                continue;
            if (y->offset >= end && y->offset - end >= x->bytes && y->offset - end < best_gap) {
                best = end;
                best_gap = y->offset - end;
            }
            if (y->offset + y->bytes > end)
                end = y->offset + y->bytes;
        }
        x->offset = best != UINT64_MAX ? best : end;
        if (x->offset + x->bytes > top)
            top = x->offset + x->bytes;

        int at = n_placed++;
        for (; at > 0 && s[by_offset[at - 1]].offset > x->offset; at--)
            by_offset[at] = by_offset[at - 1];
        by_offset[at] = item[k].id;
    }
    return top;
}

static uint64_t peak_live(const struct span *s, int n, int n_steps)
{
    int64_t *change = xcalloc((size_t)n_steps + 1, sizeof(*change));
    int64_t live = 0, peak = 0;

    for (int i = 0; i < n; i++) {
        ASSERT(s[i].bytes % SLOT_ALIGN == 0 && s[i].first >= 0 && s[i].first <= s[i].last &&
               s[i].last < n_steps);
        change[s[i].first] += (int64_t)s[i].bytes;
        change[s[i].last + 1] -= (int64_t)s[i].bytes;
    }
    for (int t = 0; t < n_steps; t++) {
        live += change[t];
        peak = live > peak ? live : peak;
    }
    free(change);
    return (uint64_t)peak;
}

uint64_t pack_spans(struct span *s, int n, int n_steps, uint64_t *bound)
{
    struct item *item = xcalloc((size_t)n, sizeof(*item));
    int *by_offset = xcalloc((size_t)n, sizeof(*by_offset));
    uint64_t *best = xcalloc((size_t)n, sizeof(*best));
    uint64_t best_top = UINT64_MAX;

    *bound = peak_live(s, n, n_steps);
    for (enum order o = BY_SIZE; o < N_ORDERS && best_top > *bound; o++) {
        for (int i = 0; i < n; i++)
            item[i] = (struct item){ order_key(&s[i], o, n_steps), i };
        qsort(item, (size_t)n, sizeof(*item), cmp_item);
        uint64_t top = place_in_order(s, item, n, by_offset);
        if (top < best_top) {
            best_top = top;
            for (int i = 0; i < n; i++)
                best[i] = s[i].offset;
        }
    }
    for (int i = 0; i < n; i++)
        s[i].offset = best[i];
    free(best);
    free(by_offset);
    free(item);
    return n == 0 ? 0 : best_top;
}
