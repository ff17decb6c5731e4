// clock.c - time that never goes back.

#include "base/base.h"

#include <time.h>

int64_t clock_ns(void)
{
    struct timespec t;
    int failed = clock_gettime(CLOCK_MONOTONIC, &t);

    ASSERT(failed == 0);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}
