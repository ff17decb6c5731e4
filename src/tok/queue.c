// queue.c - a heap, and for very long words lists in front of it.
//
// A word of ten million symbols makes a heap that is larger than any cache. But merging goes
// through the word from left to right for one order after another, so most pairs of an order come
// in order of position: they are put at the end of a list of that order, and only what comes out of
// turn, or has an order whose place is taken by another, goes to the heap.

#include "tok/queue.h"

#include "base/base.h"

#include <stdlib.h>

enum {
    LONG_WORD = 1 << 13, // symbols; below, the heap is in the cache
    N_LISTS = 1 << 12,
};
#define NONE UINT32_MAX

struct list {
    uint32_t order;
    uint32_t head, tail; // nodes; head NONE: unused
    uint32_t last;       // position at the tail
};

struct node {
    uint32_t at, next;
};

struct queue_lists {
    struct list list[N_LISTS];
    uint64_t active[N_LISTS]; // a heap of (order, index of its list)
    size_t n_active;
    struct node *node;
    size_t n_nodes, cap;
    uint32_t free; // nodes to use again
};

static void heap_push(uint64_t *heap, size_t n, uint64_t v)
{
    while (n > 0 && heap[(n - 1) / 2] > v) {
        heap[n] = heap[(n - 1) / 2];
        n = (n - 1) / 2;
    }
    heap[n] = v;
}

/// Takes out heap[0]; `n` were there.
static void heap_pop(uint64_t *heap, size_t n)
{
    uint64_t v = heap[--n];
    size_t i = 0;

    for (size_t child; (child = 2 * i + 1) < n; i = child) {
        if (child + 1 < n && heap[child + 1] < heap[child])
            child++;
        if (heap[child] >= v)
            break;
        heap[i] = heap[child];
    }
    heap[i] = v;
}

void queue_start(struct queue *q, size_t n)
{
    q->n = 0;
    q->use_lists = n > LONG_WORD;
    if (!q->use_lists)
        return;
    if (!q->lists)
        q->lists = xcalloc(1, sizeof(*q->lists));
    for (size_t i = 0; i < N_LISTS; i++)
        q->lists->list[i].head = NONE;
    q->lists->n_active = 0;
    q->lists->n_nodes = 0;
    q->lists->free = NONE;
}

void queue_done(struct queue *q)
{
    if (q->lists)
        free(q->lists->node);
    free(q->lists);
    free(q->heap);
}

static uint32_t node_new(struct queue_lists *l, uint32_t at)
{
    uint32_t i = l->free;

    if (i != NONE) {
        l->free = l->node[i].next;
    } else {
        if (l->n_nodes == l->cap) {
            l->cap = l->cap ? l->cap * 2 : LONG_WORD;
            l->node = xrealloc(l->node, l->cap * sizeof(*l->node));
        }
        i = (uint32_t)l->n_nodes++;
    }
    l->node[i] = (struct node){ .at = at, .next = NONE };
    return i;
}

/// False where the pair has to go to the heap.
static bool lists_push(struct queue_lists *l, uint32_t order, uint32_t at)
{
    uint32_t i = (order * 0x9e3779b1u) >> 20; // the upper 12 bits: N_LISTS
    struct list *x = &l->list[i];
    uint32_t node;

    if (x->head != NONE && (x->order != order || at <= x->last))
        return false;
    node = node_new(l, at);
    if (x->head == NONE) {
        x->order = order;
        x->head = node;
        heap_push(l->active, l->n_active++, (uint64_t)order << 32 | i);
    } else {
        l->node[x->tail].next = node;
    }
    x->tail = node;
    x->last = at;
    return true;
}

void queue_push(struct queue *q, uint32_t order, uint32_t at)
{
    if (q->use_lists && lists_push(q->lists, order, at))
        return;
    if (q->n == q->cap) {
        q->cap = q->cap ? q->cap * 2 : 256;
        q->heap = xrealloc(q->heap, q->cap * sizeof(*q->heap));
    }
    heap_push(q->heap, q->n++, (uint64_t)order << 32 | at);
}

/// The list with the smallest order; NULL if all are empty.
static struct list *first_list(struct queue *q)
{
    if (!q->use_lists || q->lists->n_active == 0)
        return NULL;
    return &q->lists->list[(uint32_t)q->lists->active[0]];
}

bool queue_pop(struct queue *q, uint32_t *order, uint32_t *at)
{
    struct list *x = first_list(q);
    struct queue_lists *l = q->lists;

    if (x) {
        uint32_t node = x->head;
        uint64_t v = (uint64_t)x->order << 32 | l->node[node].at;

        if (q->n == 0 || v <= q->heap[0]) {
            *order = x->order;
            *at = l->node[node].at;
            x->head = l->node[node].next;
            l->node[node].next = l->free;
            l->free = node;
            if (x->head == NONE)
                heap_pop(l->active, l->n_active--);
            return true;
        }
    }
    if (q->n == 0)
        return false;
    *order = (uint32_t)(q->heap[0] >> 32);
    *at = (uint32_t)q->heap[0];
    heap_pop(q->heap, q->n--);
    return true;
}
