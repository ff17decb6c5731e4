// mem.c - heap memory for sizes of our own making: there is no sensible way on without it, so a
// failure ends the process. Sizes from outside are bounded before they come here.

#include "base/base.h"

#include <stdlib.h>
#include <string.h>

static _Noreturn void out_of_memory(size_t bytes)
{
    fprintf(stderr, "snug: out of host memory (%zu bytes asked)\n", bytes);
    exit(1);
}

void *xmalloc(size_t bytes)
{
    void *p = malloc(bytes != 0 ? bytes : 1);

    if (p == NULL)
        out_of_memory(bytes);
    return p;
}

void *xcalloc(size_t n, size_t bytes)
{
    size_t all;

    if (__builtin_mul_overflow(n, bytes, &all))
        out_of_memory(SIZE_MAX);
    void *p = calloc(all != 0 ? all : 1, 1);
    if (p == NULL)
        out_of_memory(all);
    return p;
}

void *xrealloc(void *p, size_t bytes)
{
    void *q = realloc(p, bytes != 0 ? bytes : 1);

    if (q == NULL)
        out_of_memory(bytes);
    return q;
}

char *xstrdup(const char *s)
{
    size_t n = strlen(s) + 1;

    return memcpy(xmalloc(n), s, n);
}

char *xasprintf(const char *fmt, ...)
{
    char *s;
    va_list ap;

    va_start(ap, fmt);
    int n = vasprintf(&s, fmt, ap);
    va_end(ap);
    if (n < 0)
        out_of_memory(0);
    return s;
}

void *xaligned(size_t bytes)
{
    void *p = NULL;

    if (posix_memalign(&p, 64, bytes != 0 ? bytes : 1) != 0)
        out_of_memory(bytes);
    return p;
}
