// term.c - errors, progress, colour, Ctrl-C.

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
        bool ok = buf_addz(&b, "{\"error\": ") && buf_json_text(&b, e->msg, strlen(e->msg)) &&
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
