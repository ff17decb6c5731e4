// run.c - snug run: one answer, a pipe, or a chat.

#include "cli/cli.h"

#include <editline/readline.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { MAX_STDIN = 16 << 20 };

struct session {
    struct cli_args *a;
    struct engine en;
    struct chat *chat;
    struct buf out; // --json collects the answer
};

static bool print_text(void *ctx, const char *p, size_t n)
{
    struct session *s = ctx;
    if (s->a->json)
        return buf_add(&s->out, p, n);
    return fwrite(p, 1, n, stdout) == n && fflush(stdout) == 0;
}

static double per_s(int n, int64_t ns)
{
    return ns > 0 ? n * 1e9 / (double)ns : 0;
}

static void print_stats(const struct session *s, const struct chat_stats *st)
{
    int computed = st->n_prompt - st->n_cached;
    int decoded =
        st->n_output > 0 ? st->n_output - 1 : 0; // the first token comes from the prompt's logits
    fprintf(stderr, "\nload     %10.1f ms\n", (double)s->en.load_ns / 1e6);
    fprintf(stderr, "prompt   %10.1f ms  %6d tokens (%d of them known)  %8.1f tokens/s\n",
            (double)st->prompt_ns / 1e6, st->n_prompt, st->n_cached,
            per_s(computed, st->prompt_ns));
    fprintf(stderr, "answer   %10.1f ms  %6d tokens  %8.1f tokens/s  (%s)\n",
            (double)st->decode_ns / 1e6, st->n_output, per_s(decoded, st->decode_ns), st->stop);
}

static bool print_json(struct session *s, const struct chat_stats *st)
{
    struct buf b;
    buf_init(&b, 256 << 20);
    bool ok =
        buf_addz(&b, "{\"response\": ") && buf_json_text(&b, s->out.p ? s->out.p : "", s->out.n) &&
        buf_printf(&b,
                   ", \"done_reason\": \"%s\", \"prompt_tokens\": %d, \"cached_tokens\": %d, "
                   "\"output_tokens\": %d, "
                   "\"load_ms\": %.3f, \"prompt_ms\": %.3f, \"decode_ms\": %.3f",
                   st->stop, st->n_prompt, st->n_cached, st->n_output, (double)s->en.load_ns / 1e6,
                   (double)st->prompt_ns / 1e6, (double)st->decode_ns / 1e6);
    if (ok && s->a->verbose)
        ok = buf_addz(&b, ", \"memory\": ") && inst_memory_json(s->en.inst, &b);
    ok = ok && buf_addz(&b, "}\n") && fwrite(b.p, 1, b.n, stdout) == b.n;
    buf_done(&b);
    return ok;
}

static bool answer(struct session *s, struct err *e)
{
    struct chat_stats st;
    interrupt_clear();
    buf_reset(&s->out);
    if (!s->a->seed_set)
        s->a->sample.seed = (uint64_t)clock_ns() ^ ((uint64_t)time(NULL) << 32);
    if (!chat_answer(s->chat, &s->a->sample, s->a->n_predict, print_text, s, &st, e))
        return false;
    if (s->a->json)
        return print_json(s, &st) || err_set(e, ERR_IO, "writing the answer failed");
    printf("\n");
    if (s->a->verbose)
        print_stats(s, &st);
    return true;
}

// --- interactive
// --------------------------------------------------------------------------------------

static void chat_help(void)
{
    printf("  /set system TEXT        system message of this chat\n"
           "  /set temperature X      also top_k, top_p, min_p, seed, num_predict, repeat_penalty\n"
           "  /set verbose            timings behind each answer (/set quiet: none)\n"
           "  /show                   model, context, settings\n"
           "  /clear                  start again\n"
           "  /bye                    leave (also Ctrl-D)\n"
           "  \"\"\"                     begins and ends a message of several lines\n"
           "  Ctrl-C                  stops the answer\n");
}

static bool set_number(struct session *s, const char *name, const char *value)
{
    struct cli_args *a = s->a;
    struct sample_opts o = a->sample;
    char *end;
    double x = strtod(value, &end);
    if (end == value || *end) {
        printf("%s takes a number\n", name);
        return true;
    }
    if (!strcmp(name, "temperature"))
        o.temperature = (float)x;
    else if (!strcmp(name, "top_k"))
        o.top_k = (int)x;
    else if (!strcmp(name, "top_p"))
        o.top_p = (float)x;
    else if (!strcmp(name, "min_p"))
        o.min_p = (float)x;
    else if (!strcmp(name, "repeat_penalty"))
        o.repeat_penalty = (float)x;
    else if (!strcmp(name, "num_predict"))
        a->n_predict = (int)x;
    else if (!strcmp(name, "seed")) {
        o.seed = strtoull(value, NULL, 10);
        a->seed_set = true;
    } else
        return false;
    struct err e = { 0 };
    if (!sample_opts_check(&o, tok_n_vocab(s->en.tok), &e))
        printf("%s\n", e.msg);
    else
        a->sample = o;
    return true;
}

static void chat_set(struct session *s, char *rest)
{
    char *name = strtok(rest, " ");
    char *value = strtok(NULL, "");
    if (name && !strcmp(name, "verbose"))
        s->a->verbose = true;
    else if (name && !strcmp(name, "quiet"))
        s->a->verbose = false;
    else if (name && !strcmp(name, "system"))
        chat_set_system(s->chat, value);
    else if (!name || !value || !set_number(s, name, value))
        chat_help();
}

static void chat_show(struct session *s)
{
    const struct model *m = s->en.model;
    char b[32];
    uint64_t bytes = 0;
    for (int d = 0; d < s->en.n_devs; d++)
        bytes += plan_device_bytes(s->en.plan, d) + s->en.plan->dev[d].mapped_bytes;
    printf("  model        %s (%s, %d layers, %d wide, %d tokens in its vocabulary)\n", m->name,
           m->arch_name, m->n_layers, m->n_embd, m->n_vocab);
    printf("  context      %lld tokens, %d messages so far\n", (long long)s->en.plan->max.n_ctx,
           chat_n_messages(s->chat));
    printf("  memory       %s\n", fmt_bytes(b, bytes));
    printf("  temperature  %g   top_k %d   top_p %g   min_p %g\n", (double)s->a->sample.temperature,
           s->a->sample.top_k, (double)s->a->sample.top_p, (double)s->a->sample.min_p);
}

/// False: leave.
static bool chat_command(struct session *s, char *line)
{
    if (!strcmp(line, "/bye") || !strcmp(line, "/exit") || !strcmp(line, "/quit"))
        return false;
    if (!strcmp(line, "/clear")) {
        chat_clear(s->chat);
        printf("forgotten\n");
    } else if (!strncmp(line, "/set ", 5)) {
        chat_set(s, line + 5);
    } else if (!strncmp(line, "/show", 5)) {
        chat_show(s);
    } else {
        chat_help();
    }
    return true;
}

/// Reads a message: one line, or several between """. False at the end of input.
static bool read_message(struct buf *msg)
{
    bool many = false;
    buf_reset(msg);
    for (;;) {
        char *line = readline(many ? "... " : ">>> ");
        if (!line)
            return false;
        char *text = line;
        if (!many && !strncmp(text, "\"\"\"", 3)) {
            many = true;
            text += 3;
        }
        char *end = many ? strstr(text, "\"\"\"") : NULL;
        if (end)
            *end = 0;
        bool ok = buf_addz(msg, text) && (!many || end || buf_addz(msg, "\n"));
        if (*line)
            add_history(line);
        free(line);
        if (!ok || !many || end)
            return ok;
    }
}

static bool converse(struct session *s, struct err *e)
{
    struct buf msg;
    buf_init(&msg, MAX_STDIN);
    printf("%s, %lld tokens of context. /? for help.\n", s->en.model->name,
           (long long)s->en.plan->max.n_ctx);
    while (read_message(&msg)) {
        if (msg.n == 0)
            continue;
        if (msg.p[0] == '/') {
            if (!chat_command(s, msg.p))
                break;
            continue;
        }
        struct err le = { 0 };
        if (!chat_add(s->chat, ROLE_USER, msg.p, msg.n, &le) || !answer(s, &le))
            fail(s->a, &le); // this message failed; the next one may work
    }
    buf_done(&msg);
    (void)e;
    return true;
}

// --- one answer
// ---------------------------------------------------------------------------------------

/// Standard input when it is no terminal: up to MAX_STDIN bytes.
static bool read_stdin(struct buf *out, struct err *e)
{
    char chunk[65536];
    if (isatty(STDIN_FILENO))
        return true;
    for (;;) {
        ssize_t n = read(STDIN_FILENO, chunk, sizeof(chunk));
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return true; // closed: nothing was piped
        if (n == 0)
            return true;
        if (!buf_add(out, chunk, (size_t)n))
            return err_set(e, ERR_ARG, "standard input is longer than %d MiB", MAX_STDIN >> 20);
    }
}

static bool one_answer(struct session *s, struct err *e)
{
    struct buf prompt;
    bool ok = false;
    buf_init(&prompt, MAX_STDIN + (1 << 20));
    if (s->a->n_pos > 1 && !buf_addz(&prompt, s->a->pos[1])) {
        err_set(e, ERR_ARG, "the prompt is longer than %d MiB", MAX_STDIN >> 20);
        goto done;
    }
    if (s->a->n_pos > 1 && !isatty(STDIN_FILENO) && !buf_addz(&prompt, "\n\n"))
        goto done;
    size_t before = prompt.n;
    if (!read_stdin(&prompt, e))
        goto done;
    if (prompt.n == before && s->a->n_pos > 1) // nothing was piped: the prompt as it was typed
        prompt.n = strlen(s->a->pos[1]);
    if (prompt.n == 0) {
        err_set(e, ERR_ARG, "no prompt: snug run MODEL \"prompt\", or pipe text in");
        goto done;
    }
    ok = chat_add(s->chat, ROLE_USER, prompt.p, prompt.n, e) && answer(s, e);
done:
    buf_done(&prompt);
    return ok;
}

int cmd_run(struct cli_args *a)
{
    struct session s = { .a = a };
    struct err e = { 0 };
    struct progress p;
    bool ok = false;
    buf_init(&s.out, 64 << 20);
    interrupt_catch();
    progress_start(&p, "loading", NULL);
    bool opened = engine_open(&s.en, a->pos[0], &a->eng, progress_update, &p, &e);
    progress_end(&p);
    if (!opened)
        goto done;
    s.chat = chat_new(&s.en, &e);
    if (!s.chat || !sample_opts_check(&a->sample, tok_n_vocab(s.en.tok), &e))
        goto done;
    if (a->raw)
        chat_set_raw(s.chat);
    chat_set_system(s.chat, a->system);
    ok = a->n_pos == 1 && term_interactive() && !a->json ? converse(&s, &e) : one_answer(&s, &e);
done:
    chat_free(s.chat);
    if (opened)
        engine_close(&s.en);
    buf_done(&s.out);
    return ok ? 0 : fail(a, &e);
}
