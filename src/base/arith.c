// arith.c - arithmetic on sizes that come from a file: it says when the result does not fit.

#include "base/base.h"

bool mul_u64(uint64_t *out, uint64_t a, uint64_t b)
{
    uint64_t r;

    if (__builtin_mul_overflow(a, b, &r))
        return false;
    *out = r;
    return true;
}

bool add_u64(uint64_t *out, uint64_t a, uint64_t b)
{
    uint64_t r;

    if (__builtin_add_overflow(a, b, &r))
        return false;
    *out = r;
    return true;
}

bool align_up_checked_u64(uint64_t *out, uint64_t a, uint64_t align)
{
    uint64_t r;

    ASSERT(align != 0 && (align & (align - 1)) == 0);
    if (!add_u64(&r, a, align - 1))
        return false;
    *out = r & ~(align - 1);
    return true;
}

uint64_t align_up_u64(uint64_t a, uint64_t align)
{
    uint64_t r;
    bool ok = align_up_checked_u64(&r, a, align);

    ASSERT(ok);
    return r;
}
