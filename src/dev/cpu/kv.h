// kv.h - the KV pages of one layer, as kernels see them. Layout: graph/graph.h. Private to dev/cpu.

#ifndef SNUG_CPU_KV_H
#define SNUG_CPU_KV_H

#include "graph/graph.h"

struct kv_view {
    enum dtype type;
    int dim_k, dim_v, n_kv_heads;
    bool shared; // the values are the first dim_v numbers of the keys: v is k
    uint8_t *k, *v;
    uint64_t k_bytes, v_bytes; // of one page and head
    const int32_t *table;      // NULL: a ring of pages
    int64_t slot_pages;
};
/// Of a KV_STORE or ATTN node; k, v, table are the addresses of its sources, kt, vt their tensors.
/// Where these are one, v is ignored.
struct kv_view kv_view(const struct node *n, const struct dims *now, void *k, void *v,
                       const struct tensor *kt, const struct tensor *vt, const int32_t *table);
bool kv_type_known(enum dtype kv);

/// Where the keys (values) of tile `tile` of a slot and of one head begin.
static inline uint8_t *kv_head_at(uint8_t *base, uint64_t head_bytes, const struct kv_view *kv,
                                  int slot, int64_t tile, int head)
{
    const int64_t page = kv->table != NULL ? kv->table[slot * kv->slot_pages + tile]
                                           : slot * kv->slot_pages + tile % kv->slot_pages;

    return base + (uint64_t)(page * kv->n_kv_heads + head) * head_bytes;
}

static inline uint8_t *kv_keys(const struct kv_view *kv, int slot, int64_t tile, int head)
{
    return kv_head_at(kv->k, kv->k_bytes, kv, slot, tile, head);
}

static inline uint8_t *kv_values(const struct kv_view *kv, int slot, int64_t tile, int head)
{
    return kv_head_at(kv->v, kv->v_bytes, kv, slot, tile, head);
}

/// q8_0: scales lie behind the 64 * dim numbers, [ceil(dim / 32)][64].
static inline uint16_t *kv_q8_scales(uint8_t *head, int dim)
{
    return (uint16_t *)(void *)(head + KV_PAGE_TOKENS * dim);
}

#endif
