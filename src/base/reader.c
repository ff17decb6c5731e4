// reader.c - a bounded reader of little-endian values. Offsets never pass the end, and a failed
// read moves nothing.

#include "base/base.h"

bool read_bytes(struct reader *r, uint64_t n, const uint8_t **out)
{
    ASSERT(r->at <= r->n);
    if (n > r->n - r->at)
        return false;
    *out = r->p + r->at;
    r->at += n;
    return true;
}

/// `n` bytes, at most 8, the first one lowest.
static bool read_le(struct reader *r, unsigned n, uint64_t *out)
{
    const uint8_t *p;
    uint64_t v = 0;

    if (!read_bytes(r, n, &p))
        return false;
    for (unsigned i = 0; i < n; i++)
        v |= (uint64_t)p[i] << (8 * i);
    *out = v;
    return true;
}

bool read_u8(struct reader *r, uint8_t *out)
{
    uint64_t v;

    if (!read_le(r, 1, &v))
        return false;
    *out = (uint8_t)v;
    return true;
}

bool read_u16(struct reader *r, uint16_t *out)
{
    uint64_t v;

    if (!read_le(r, 2, &v))
        return false;
    *out = (uint16_t)v;
    return true;
}

bool read_u32(struct reader *r, uint32_t *out)
{
    uint64_t v;

    if (!read_le(r, 4, &v))
        return false;
    *out = (uint32_t)v;
    return true;
}

bool read_u64(struct reader *r, uint64_t *out)
{
    return read_le(r, 8, out);
}
