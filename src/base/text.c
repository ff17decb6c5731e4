// text.c - numbers of bytes for people: one rule everywhere.

#include "base/base.h"

#include <inttypes.h>
#include <string.h>

const char *fmt_bytes(char out[32], uint64_t bytes)
{
    static const char *const units[] = { "B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB" };
    double v = (double)bytes;
    size_t u = 0;

    if (bytes < 1024) {
        snprintf(out, 32, "%" PRIu64 " B", bytes);
        return out;
    }
    // Three digits; the limits are those at which rounding would give one more.
    while (v >= 1023.5 && u + 1 < ARRAY_LEN(units)) {
        v /= 1024;
        u++;
    }
    snprintf(out, 32, "%.*f %s", v < 9.995 ? 2 : v < 99.95 ? 1 : 0, v, units[u]);
    return out;
}

const char *fmt_count(char out[32], uint64_t n)
{
    char digits[24];
    int len = snprintf(digits, sizeof(digits), "%" PRIu64, n);
    char *at = out;

    for (int i = 0; i < len; i++) {
        if (i > 0 && (len - i) % 3 == 0)
            *at++ = ' ';
        *at++ = digits[i];
    }
    *at = 0;
    return out;
}
