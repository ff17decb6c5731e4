// kv.c - the plan's KV pages, handed out to sequences.
//
// Layers that keep everything share one page table; layers with a window use a ring of pages that
// is theirs by slot, so there is nothing to hand out for them.

#include "run/kv.h"

#include <stdlib.h>

static void find_windows(struct kv_pool *kv, const struct plan *p)
{
    const struct graph *g = p->graph;

    kv->window = xcalloc((size_t)graph_n_nodes(g), sizeof(*kv->window));
    for (int i = 0; i < graph_n_nodes(g); i++) {
        const struct node *n = graph_node(g, i);
        int w = n->op == OP_ATTN ? n->args.attn.window : 0;
        bool known = w == 0;
        for (int k = 0; k < kv->n_windows; k++)
            known = known || kv->window[k].window == w;
        if (!known)
            kv->window[kv->n_windows++] =
                (struct kv_window){ w, kv_slot_pages(w, &p->max) * KV_PAGE_TOKENS };
    }
}

struct kv_pool *kv_pool_new(struct inst *in)
{
    const struct plan *p = inst_plan(in);
    struct kv_pool *kv = xcalloc(1, sizeof(*kv));
    size_t batch = (size_t)p->lim.micro_batch;

    kv->in = in;
    kv->n_slots = p->lim.slots;
    kv->n_ctx = p->max.n_ctx;
    kv->slot_pages = kv_slot_pages(0, &p->max);
    kv->n_free = kv->n_slots * kv->slot_pages;
    kv->table = xcalloc((size_t)kv->n_free, sizeof(*kv->table));
    kv->free_page = xcalloc((size_t)kv->n_free, sizeof(*kv->free_page));
    kv->taken = xcalloc((size_t)kv->n_slots, sizeof(*kv->taken));
    kv->pos = xcalloc(batch, sizeof(*kv->pos));
    kv->slot = xcalloc(batch, sizeof(*kv->slot));
    kv->output = xcalloc(batch, sizeof(*kv->output));
    for (int64_t i = 0; i < kv->n_free; i++) {
        kv->table[i] = -1;
        kv->free_page[i] = (int32_t)(kv->n_free - 1 - i); // the first page is on top
    }
    find_windows(kv, p);
    return kv;
}

void kv_pool_free(struct kv_pool *kv)
{
    if (kv == NULL)
        return;
    free(kv->table);
    free(kv->free_page);
    free(kv->taken);
    free(kv->window);
    free(kv->pos);
    free(kv->slot);
    free(kv->output);
    free(kv);
}

void kv_resize(struct kv_pool *kv, int slot, int64_t n)
{
    int32_t *row = kv->table + slot * kv->slot_pages;
    int64_t pages = (n + KV_PAGE_TOKENS - 1) / KV_PAGE_TOKENS;

    ASSERT(pages <= kv->slot_pages);
    for (int64_t t = 0; t < pages; t++)
        if (row[t] < 0) {
            ASSERT(kv->n_free > 0);
            row[t] = kv->free_page[--kv->n_free];
        }
    for (int64_t t = kv->slot_pages - 1; t >= pages; t--)
        if (row[t] >= 0) {
            kv->free_page[kv->n_free++] = row[t];
            row[t] = -1;
        }
}
