// buf.c - borrowed bytes with a length, and a buffer that grows up to a maximum.

#include "base/base.h"

#include <stdlib.h>
#include <string.h>

struct str str_of(const char *z)
{
    return (struct str){ z, strlen(z) };
}

bool str_eq(struct str a, struct str b)
{
    return a.n == b.n && (a.n == 0 || memcmp(a.p, b.p, a.n) == 0);
}

bool str_is(struct str a, const char *z)
{
    return str_eq(a, str_of(z));
}

void buf_init(struct buf *b, size_t max)
{
    ASSERT(max < SIZE_MAX / 2);
    *b = (struct buf){ .max = max };
}

/// Makes room for `n` more bytes and the terminator.
static bool reserve(struct buf *b, size_t n)
{
    if (n > b->max - b->n)
        return false;
    size_t need = b->n + n + 1;
    if (need <= b->cap)
        return true;
    size_t cap = b->cap < 64 ? 64 : b->cap * 2;
    if (cap > b->max + 1)
        cap = b->max + 1;
    if (cap < need)
        cap = need;
    b->p = xrealloc(b->p, cap);
    b->cap = cap;
    return true;
}

bool buf_add(struct buf *b, const void *p, size_t n)
{
    if (!reserve(b, n))
        return false;
    if (n != 0)
        memcpy(b->p + b->n, p, n);
    b->n += n;
    b->p[b->n] = 0;
    return true;
}

bool buf_addz(struct buf *b, const char *z)
{
    return buf_add(b, z, strlen(z));
}

bool buf_printf(struct buf *b, const char *fmt, ...)
{
    va_list ap, again;

    va_start(ap, fmt);
    va_copy(again, ap);
    int n = vsnprintf(NULL, 0, fmt, ap);
    va_end(ap);
    ASSERT(n >= 0);
    bool ok = reserve(b, (size_t)n);
    if (ok) {
        vsnprintf(b->p + b->n, (size_t)n + 1, fmt, again);
        b->n += (size_t)n;
    }
    va_end(again);
    return ok;
}

void buf_reset(struct buf *b)
{
    b->n = 0;
    if (b->p != NULL)
        b->p[0] = 0;
}

void buf_done(struct buf *b)
{
    free(b->p);
    *b = (struct buf){ .max = b->max };
}
