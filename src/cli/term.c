// term.c - errors, progress, colour, Ctrl-C, JSON strings.

#include "cli/cli.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static volatile sig_atomic_t n_interrupts;

int fail(const struct cli_args *a, const struct err *e)
{
    if (a && a->json) {
        struct buf b;
        buf_init(&b, 1 << 16);
        bool ok = buf_addz(&b, "{\"error\": ") && json_string(&b, e->msg, strlen(e->msg)) &&
                  buf_printf(&b, ", \"code\": \"%s\"}\n", err_code_name(e->code));
        if (ok)
            fwrite(b.p, 1, b.n, stdout);
        buf_done(&b);
        return 1;
    }
    bool colour = term_colour(stderr);
    fprintf(stderr, "%ssnug:%s %s\n", colour ? "\033[31m" : "", colour ? "\033[0m" : "", e->msg);
    return 1;
}

bool term_colour(FILE *f)
{
    return isatty(fileno(f)) && !getenv("NO_COLOR");
}

bool term_interactive(void)
{
    return isatty(STDIN_FILENO) && isatty(STDOUT_FILENO);
}

void progress_start(struct progress *p, const char *what, const char *unit)
{
    *p = (struct progress){ .what = what, .unit = unit, .start_ns = clock_ns() };
}

bool progress_update(void *ctx, uint64_t done, uint64_t total)
{
    struct progress *p = ctx;
    int64_t now = clock_ns();
    if (interrupted())
        return false;
    if (!isatty(STDERR_FILENO) || now - p->start_ns < 500000000 || now - p->last_ns < 50000000 ||
        total == 0)
        return true;
    p->last_ns = now;
    p->shown = true;
    enum { WIDTH = 30 };
    int full = (int)((double)done / (double)total * WIDTH);
    char bar[WIDTH * 3 + 1];
    size_t n = 0;
    for (int i = 0; i < WIDTH; i++) {
        memcpy(bar + n, i < full ? "\u2588" : "\u2591", 3);
        n += 3;
    }
    bar[n] = 0;
    char a[32], b[32];
    if (p->unit)
        fprintf(stderr, "\r%s %s %3.0f%%  %s of %s %s ", p->what, bar,
                100.0 * (double)done / (double)total, fmt_count(a, done), fmt_count(b, total),
                p->unit);
    else
        fprintf(stderr, "\r%s %s %3.0f%%  %s of %s ", p->what, bar,
                100.0 * (double)done / (double)total, fmt_bytes(a, done), fmt_bytes(b, total));
    fflush(stderr);
    return true;
}

void progress_end(struct progress *p)
{
    if (p->shown)
        fprintf(stderr, "\r\033[K");
    p->shown = false;
}

static void on_interrupt(int sig)
{
    (void)sig;
    if (++n_interrupts > 1)
        _exit(130);
}

void interrupt_catch(void)
{
    struct sigaction sa;
    memset(&sa, 0, sizeof(sa));
    sa.sa_handler = on_interrupt;
    sa.sa_flags = SA_RESTART;
    sigaction(SIGINT, &sa, NULL);
}

bool interrupted(void)
{
    return n_interrupts > 0;
}

void interrupt_clear(void)
{
    n_interrupts = 0;
}

/// Length of the UTF-8 character at p, or 0 if it is none (overlong, surrogate, cut, too large).
static size_t utf8_len(const unsigned char *p, size_t n)
{
    if (p[0] < 0x80)
        return 1;
    size_t len = p[0] >= 0xF0 ? 4 : p[0] >= 0xE0 ? 3 : 2;
    if (p[0] < 0xC2 || p[0] > 0xF4 || n < len)
        return 0;
    for (size_t i = 1; i < len; i++)
        if ((p[i] & 0xC0) != 0x80)
            return 0;
    if ((p[0] == 0xE0 && p[1] < 0xA0) || (p[0] == 0xED && p[1] > 0x9F) ||
        (p[0] == 0xF0 && p[1] < 0x90) || (p[0] == 0xF4 && p[1] > 0x8F))
        return 0;
    return len;
}

bool json_string(struct buf *b, const char *p, size_t n)
{
    if (!buf_addz(b, "\""))
        return false;
    for (size_t i = 0; i < n;) {
        unsigned char c = (unsigned char)p[i];
        size_t len = utf8_len((const unsigned char *)p + i, n - i);
        bool ok;
        if (c == '"' || c == '\\')
            ok = buf_printf(b, "\\%c", c);
        else if (c == '\n')
            ok = buf_addz(b, "\\n");
        else if (c < 0x20 || c == 0x7f)
            ok = buf_printf(b, "\\u%04x", c);
        else if (len == 0)
            ok = buf_addz(b, "\uFFFD");
        else
            ok = buf_add(b, p + i, len);
        if (!ok)
            return false;
        i += len ? len : 1;
    }
    return buf_addz(b, "\"");
}
