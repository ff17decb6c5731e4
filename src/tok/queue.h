// queue.h - which pair of a word merges next: the smallest order, and of those the first in the
// word.

#ifndef SNUG_TOK_QUEUE_H
#define SNUG_TOK_QUEUE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct queue_lists;

/// Holds (order, position) as one number, order first. May hold pairs that are no more: whoever
/// takes them out has to look. Zeroed is empty; queue_done() at the end.
struct queue {
    uint64_t *heap;
    size_t n, cap;
    struct queue_lists *lists;
    bool use_lists;
};

/// Empties it for a word of `n` symbols.
void queue_start(struct queue *q, size_t n);
void queue_push(struct queue *q, uint32_t order, uint32_t at);
/// The next one; false when it is empty.
bool queue_pop(struct queue *q, uint32_t *order, uint32_t *at);
void queue_done(struct queue *q);

#endif
