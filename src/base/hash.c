// hash.c - a fast hash for tables and fingerprints; not cryptographic.

#include "base/base.h"

#include <string.h>

enum { LONG = 256 };

/// Folds the 128-bit product, so that every input bit reaches every output bit.
static uint64_t fold_mul(uint64_t a, uint64_t b)
{
    unsigned __int128 r = (unsigned __int128)a * b;

    return (uint64_t)r ^ (uint64_t)(r >> 64);
}

// 2^64 / golden ratio, and the fraction of sqrt(2): odd, about half of their bits set.
static const uint64_t k1 = 0x9e3779b97f4a7c15u, k2 = 0x6a09e667f3bcc909u;

static uint64_t add_word(uint64_t h, const unsigned char *in)
{
    uint64_t w;

    memcpy(&w, in, 8);
    return fold_mul(h ^ w ^ k1, k2) + (w ^ k2); // a factor of 0 alone would forget all before it
}

uint64_t hash_bytes(const void *p, size_t n, uint64_t seed)
{
    const unsigned char *in = p;
    uint64_t h = fold_mul(seed ^ k1, (uint64_t)n ^ k2) ^ seed;
    uint64_t w;

    if (n >= LONG) { // a product has to wait for the one before: four chains at once
        uint64_t a = h, b = h ^ k1, c = h ^ k2, d = ~h;
        for (; n >= 32; n -= 32, in += 32) {
            a = add_word(a, in);
            b = add_word(b, in + 8);
            c = add_word(c, in + 16);
            d = add_word(d, in + 24);
        }
        const uint64_t chains[4] = { a, b, c, d };
        for (size_t i = 0; i < 4; i++)
            h = add_word(h, (const unsigned char *)&chains[i]);
    }
    for (; n >= 8; n -= 8, in += 8)
        h = add_word(h, in);
    w = 0;
    if (n != 0)
        memcpy(&w, in, n);
    return fold_mul(fold_mul(h ^ w ^ k1, k2) + w, k1);
}
