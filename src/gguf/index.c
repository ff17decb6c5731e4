// index.c - a hash table from names to their numbers.
//
// The names come from files, so whoever writes a file must not be able to choose where they fall:
// the hash is seeded anew at each opening. Slots keep half of the hash, so that long names with a
// common beginning are compared only when they are most likely equal.

#include "gguf/gguf_int.h"

#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

struct index_slot {
    uint32_t hash; // upper half; the lower one chose the slot
    int32_t i;     // -1: empty
};

uint64_t gguf_index_seed(void)
{
    uint64_t seed;

    if (getrandom(&seed, sizeof(seed), GRND_NONBLOCK) != (ssize_t)sizeof(seed))
        seed = (uint64_t)clock_ns() ^ (uint64_t)(uintptr_t)&seed; // early at boot, or forbidden
    return seed;
}

/// The slot that holds `name`, or the empty one where it belongs.
static struct index_slot *find(const struct index *ix, struct str name, uint64_t hash)
{
    uint32_t at = (uint32_t)hash & ix->mask;

    for (;; at = (at + 1) & ix->mask) {
        struct index_slot *s = &ix->slots[at];
        if (s->i < 0 || (s->hash == (uint32_t)(hash >> 32) && str_eq(ix->names[s->i], name)))
            return s;
    }
}

bool gguf_index_make(struct index *ix, const struct str *names, int n, uint64_t seed, int *twice)
{
    uint32_t n_slots = 2;

    while (n_slots < 2 * (uint32_t)n)
        n_slots *= 2;
    *ix = (struct index){ .names = names, .mask = n_slots - 1, .seed = seed };
    ix->slots = xmalloc(n_slots * sizeof(*ix->slots));
    for (uint32_t k = 0; k < n_slots; k++)
        ix->slots[k].i = -1;
    for (int i = 0; i < n; i++) {
        uint64_t hash = hash_bytes(names[i].p, names[i].n, seed);
        struct index_slot *s = find(ix, names[i], hash);
        if (s->i >= 0) {
            *twice = i;
            return false;
        }
        *s = (struct index_slot){ .hash = (uint32_t)(hash >> 32), .i = i };
    }
    return true;
}

int gguf_index_find(const struct index *ix, struct str name)
{
    return find(ix, name, hash_bytes(name.p, name.n, ix->seed))->i;
}

void gguf_index_done(struct index *ix)
{
    free(ix->slots);
    *ix = (struct index){ 0 };
}
