// table.c - texts to ids and pairs to merges: open addressing in 32-bit slots.
//
// A vocabulary of 262,144 texts takes 2 MiB of slots, which a core's cache can hold; the hash bits
// in each slot make the look-up of what is not there, the usual case while merging, one memory
// access.

#include "tok/tok_int.h"

#include <stdlib.h>
#include <string.h>

/// Folds the 128-bit product, so that every input bit reaches every output bit.
static inline uint64_t fold(uint64_t a, uint64_t b)
{
    unsigned __int128 r = (unsigned __int128)a * b;

    return (uint64_t)r ^ (uint64_t)(r >> 64);
}

#define K1 UINT64_C(0x9e3779b97f4a7c15)
#define K2 UINT64_C(0x6a09e667f3bcc909)

/// Up to 8 bytes as a number; two reads that may overlap instead of a loop.
static inline uint64_t tail_bytes(const uint8_t *p, size_t n)
{
    uint32_t a, b;

    if (n >= 4) {
        memcpy(&a, p, 4);
        memcpy(&b, p + n - 4, 4);
        return (uint64_t)a << 32 | b;
    }
    return n ? (uint64_t)p[0] << 16 | (uint64_t)p[n >> 1] << 8 | p[n - 1] : 0;
}

uint64_t text_hash(const void *bytes, size_t n, uint64_t seed)
{
    const uint8_t *p = bytes;
    uint64_t h = seed ^ (n * K1);
    uint64_t w;

    for (; n > 8; n -= 8, p += 8) {
        memcpy(&w, p, 8);
        h = fold(h ^ w, K2 | 1) + w;
    }
    return fold(h ^ tail_bytes(p, n), K1);
}

static inline uint64_t pair_hash(uint32_t left, uint32_t right, uint64_t seed)
{
    return fold(((uint64_t)left << 32 | right) ^ seed, K1);
}

void table_init(struct table *t, uint32_t n, uint32_t n_ids)
{
    uint32_t slots = 16, ids = 1;

    while (slots < n + n / 2)
        slots *= 2;
    while (ids < n_ids + 1) // the id of all ones means empty
        ids *= 2;
    t->mask = slots - 1;
    t->id_mask = ids - 1;
    t->slot = xmalloc(slots * sizeof(*t->slot));
    memset(t->slot, 0xff, slots * sizeof(*t->slot));
}

/// The slot a hash begins at, and the bits it leaves there.
static inline uint32_t home(const struct table *t, uint64_t h)
{
    return (uint32_t)h & t->mask;
}

static inline uint32_t tag(const struct table *t, uint64_t h)
{
    return (uint32_t)(h >> 32) & ~t->id_mask;
}

/// memcmp() == 0 without a call: texts are short.
static inline bool same_bytes(const uint8_t *a, const uint8_t *b, size_t n)
{
    uint64_t x, y;

    for (; n > 8; n -= 8, a += 8, b += 8) {
        memcpy(&x, a, 8);
        memcpy(&y, b, 8);
        if (x != y)
            return false;
    }
    return tail_bytes(a, n) == tail_bytes(b, n);
}

static inline bool text_is(const struct texts *texts, uint32_t id, const void *p, size_t n)
{
    struct str s = texts_get(texts, id);

    return s.n == n && same_bytes((const uint8_t *)s.p, p, n);
}

void table_add_text(struct table *t, const struct texts *texts, uint32_t id, uint64_t h)
{
    struct str s = texts_get(texts, id);
    uint32_t i = home(t, h), bits = tag(t, h);

    for (; t->slot[i] != NO_ID; i = (i + 1) & t->mask)
        if ((t->slot[i] & ~t->id_mask) == bits && text_is(texts, t->slot[i] & t->id_mask, s.p, s.n))
            return;
    t->slot[i] = bits | id;
}

uint32_t table_find_hashed(const struct table *t, const struct texts *texts, const void *p,
                           size_t n, uint64_t h)
{
    uint32_t i = home(t, h), bits = tag(t, h);

    for (; t->slot[i] != NO_ID; i = (i + 1) & t->mask)
        if ((t->slot[i] & ~t->id_mask) == bits && text_is(texts, t->slot[i] & t->id_mask, p, n))
            return t->slot[i] & t->id_mask;
    return NO_ID;
}

uint32_t table_find_text(const struct table *t, const struct texts *texts, const void *p, size_t n,
                         uint64_t seed)
{
    return table_find_hashed(t, texts, p, n, text_hash(p, n, seed));
}

void table_prefetch(const struct table *t, uint64_t h)
{
    __builtin_prefetch(&t->slot[home(t, h)]);
}

void table_prefetch_pair(const struct table *t, uint32_t left, uint32_t right, uint64_t seed)
{
    table_prefetch(t, pair_hash(left, right, seed));
}

static inline bool pair_is(const struct merge *m, uint32_t left, uint32_t right)
{
    return m->left == left && m->right == right;
}

bool table_add_pair(struct table *t, const struct merge *m, uint32_t rank, uint64_t seed)
{
    uint64_t h = pair_hash(m[rank].left, m[rank].right, seed);
    uint32_t i = home(t, h), bits = tag(t, h);

    for (; t->slot[i] != NO_ID; i = (i + 1) & t->mask)
        if ((t->slot[i] & ~t->id_mask) == bits &&
            pair_is(&m[t->slot[i] & t->id_mask], m[rank].left, m[rank].right))
            return false;
    t->slot[i] = bits | rank;
    return true;
}

uint32_t table_find_pair(const struct table *t, const struct merge *m, uint32_t left,
                         uint32_t right, uint64_t seed)
{
    uint64_t h = pair_hash(left, right, seed);
    uint32_t i = home(t, h), bits = tag(t, h);

    for (; t->slot[i] != NO_ID; i = (i + 1) & t->mask)
        if ((t->slot[i] & ~t->id_mask) == bits && pair_is(&m[t->slot[i] & t->id_mask], left, right))
            return t->slot[i] & t->id_mask;
    return NO_ID;
}
