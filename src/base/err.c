// err.c - error values and the one way to show bytes from outside.

#include "base/base.h"

#include <stdlib.h>
#include <string.h>

void assert_failed(const char *what, const char *file, int line)
{
    fprintf(stderr, "snug: %s:%d: broken promise: %s\n", file, line, what);
    abort();
}

bool err_set(struct err *e, enum err_code code, const char *fmt, ...)
{
    char msg[sizeof(e->msg)]; // the arguments may point into e->msg
    va_list ap;

    if (e == NULL)
        return false;
    va_start(ap, fmt);
    vsnprintf(msg, sizeof(msg), fmt, ap);
    va_end(ap);
    memcpy(e->msg, msg, sizeof(msg));
    e->code = code;
    return false;
}

bool err_add(struct err *e, const char *fmt, ...)
{
    char context[sizeof(e->msg)];
    char msg[2 * sizeof(e->msg) + 2];
    va_list ap;

    if (e == NULL)
        return false;
    va_start(ap, fmt);
    vsnprintf(context, sizeof(context), fmt, ap);
    va_end(ap);
    snprintf(msg, sizeof(msg), "%s: %s", context, e->msg);
    memcpy(e->msg, msg, sizeof(e->msg) - 1); // a message too long loses its end
    e->msg[sizeof(e->msg) - 1] = 0;
    return false;
}

const char *err_code_name(enum err_code code)
{
    static const char *const names[] = {
        [ERR_NONE] = "none",         [ERR_ARG] = "arg",
        [ERR_FORMAT] = "format",     [ERR_UNSUPPORTED] = "unsupported",
        [ERR_NOTFOUND] = "notfound", [ERR_IO] = "io",
        [ERR_NOMEM] = "nomem",       [ERR_NOFIT] = "nofit",
        [ERR_DEVICE] = "device",     [ERR_CANCELLED] = "cancelled",
    };
    _Static_assert(ARRAY_LEN(names) == ERR_CANCELLED + 1, "a name for each code");

    return (size_t)code < ARRAY_LEN(names) ? names[code] : "unknown";
}

/// Writes byte `c` as it may stand in a message, at most 4 characters; returns how many.
static size_t escape_byte(char out[5], unsigned char c)
{
    if (c == '"' || c == '\\')
        return (size_t)snprintf(out, 5, "\\%c", c);
    if (c >= 0x20 && c < 0x7f)
        return (size_t)snprintf(out, 5, "%c", c);
    return (size_t)snprintf(out, 5, "\\x%02x", c);
}

const char *err_bytes(char *out, size_t out_bytes, const void *p, size_t n)
{
    static const char dots[] = "...";
    const unsigned char *in = p;
    size_t at = 0;
    size_t fits = 0; // the longest end after which the dots still fit

    ASSERT(out_bytes > 0);
    for (size_t i = 0; i < n; i++) {
        char one[5];
        size_t len = escape_byte(one, in[i]);

        if (at + len >= out_bytes) {
            size_t n_dots = out_bytes - 1 - fits < 3 ? out_bytes - 1 - fits : 3;
            memcpy(out + fits, dots, n_dots);
            out[fits + n_dots] = 0;
            return out;
        }
        memcpy(out + at, one, len);
        at += len;
        if (at + sizeof(dots) <= out_bytes)
            fits = at;
    }
    out[at] = 0;
    return out;
}
