// log.c - messages to stderr: one line each, written at once so that threads do not mix.

#include "base/base.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char *const level_names[] = { "error", "warn", "info", "debug" };
static _Atomic int level = -1; // until the first use

/// The level in force; SNUG_LOG is read once, when nobody has set one.
static int level_now(void)
{
    int now = atomic_load(&level);

    if (now >= 0)
        return now;
    now = LOG_WARN;
    const char *s = getenv("SNUG_LOG");
    for (int i = 0; s != NULL && i < (int)ARRAY_LEN(level_names); i++)
        if (strcmp(s, level_names[i]) == 0)
            now = i;
    atomic_store(&level, now);
    return now;
}

void log_level_set(enum log_level l)
{
    atomic_store(&level, (int)l);
}

void log_msg(enum log_level l, const char *fmt, ...)
{
    char line[2048];
    va_list ap;

    if ((int)l > level_now())
        return;
    int head = snprintf(line, sizeof(line), "snug: %s: ", level_names[l]);
    va_start(ap, fmt);
    vsnprintf(line + head, sizeof(line) - (size_t)head - 1, fmt, ap); // leaves room for the newline
    va_end(ap);
    size_t n = strlen(line);
    for (size_t i = 0; i < n; i++)
        if ((unsigned char)line[i] < 0x20 || line[i] == 0x7f)
            line[i] = ' ';
    line[n] = '\n';
    ssize_t done = write(STDERR_FILENO, line, n + 1);
    (void)done; // nowhere left to say so
}
