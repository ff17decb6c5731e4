// kv.h - private to run/: pages and slots behind the sequences.

#ifndef SNUG_KV_H
#define SNUG_KV_H

#include "run/run.h"

/// A kind of layer that forgets: sees `window` tokens, keeps `ring` (window, micro-batch, rounded
/// to pages).
struct kv_window {
    int window;
    int64_t ring;
};

struct kv_pool {
    struct inst *in;
    int n_slots, n_windows;
    int64_t slot_pages, n_ctx;
    int32_t *table;     // [slots][slot pages], -1: no page
    int32_t *free_page; // a stack
    int64_t n_free;
    bool *taken; // [slots]
    struct kv_window *window;
    int32_t *pos, *slot, *output; // [micro-batch], a batch in the making
};

/// Gives slot `slot` pages for tokens [0, n), or takes those behind them away. Pages are enough for
/// all slots.
void kv_resize(struct kv_pool *kv, int slot, int64_t n);

#endif
