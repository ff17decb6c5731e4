// tokenize.c - snug tokenize, snug detokenize: text to ids and back, also with vocabulary-only
// files.

#include "cli/cli.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { MAX_INPUT = 1 << 30 };

static bool open_tok(struct gguf **g, struct tok **t, const char *path, struct err *e)
{
    struct gguf_opts o = { .head_only = true };
    *t = NULL;
    if (!model_open(g, path, &o, e))
        return false;
    return tok_new(t, *g, e);
}

static bool read_all(struct buf *out, struct err *e)
{
    static char chunk[1 << 16];
    for (;;) {
        ssize_t n = read(STDIN_FILENO, chunk, sizeof(chunk));
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return err_set(e, ERR_IO, "reading standard input: %s", strerror(errno));
        if (n == 0)
            return true;
        if (!buf_add(out, chunk, (size_t)n))
            return err_set(e, ERR_ARG, "standard input is longer than %d MiB", MAX_INPUT >> 20);
    }
}

static void print_ids(const struct cli_args *a, const struct tok_ids *ids)
{
    if (a->json)
        printf("{\"tokens\": [");
    for (size_t i = 0; i < ids->n; i++)
        printf("%s%d", i ? (a->json ? ", " : " ") : "", ids->id[i]);
    printf(a->json ? "]}\n" : "\n");
}

int cmd_tokenize(struct cli_args *a)
{
    struct gguf *g = NULL;
    struct tok *t = NULL;
    struct tok_ids ids = { 0 };
    struct err e = { 0 };
    struct buf in;
    buf_init(&in, MAX_INPUT);
    unsigned flags = (a->no_special ? 0 : TOK_PARSE_SPECIAL) | (a->no_bos ? 0 : TOK_ADD_SPECIAL);
    bool ok = open_tok(&g, &t, a->pos[0], &e) && read_all(&in, &e) &&
              tok_encode(t, in.p ? in.p : "", in.n, flags, &ids, &e);
    if (ok)
        print_ids(a, &ids);
    buf_done(&in);
    tok_ids_done(&ids);
    tok_free(t);
    gguf_close(g);
    return ok ? 0 : fail(a, &e);
}

int cmd_detokenize(struct cli_args *a)
{
    struct gguf *g = NULL;
    struct tok *t = NULL;
    struct tok_ids ids = { 0 };
    struct err e = { 0 };
    struct buf in, out;
    buf_init(&in, MAX_INPUT);
    buf_init(&out, MAX_INPUT);
    bool ok = open_tok(&g, &t, a->pos[0], &e) && read_all(&in, &e) &&
              ids_parse(&ids, in.p ? in.p : "", "standard input", &e);
    for (size_t i = 0; ok && i < ids.n; i++)
        if (ids.id[i] < 0 || ids.id[i] >= tok_n_vocab(t))
            ok = err_set(&e, ERR_ARG, "token id %d is outside of the vocabulary of %d", ids.id[i],
                         tok_n_vocab(t));
    if (ok && !tok_decode(t, ids.id, ids.n, true, &out))
        ok = err_set(&e, ERR_ARG, "the text is longer than %d MiB", MAX_INPUT >> 20);
    if (ok && out.n)
        fwrite(out.p, 1, out.n, stdout);
    buf_done(&in);
    buf_done(&out);
    tok_ids_done(&ids);
    tok_free(t);
    gguf_close(g);
    return ok ? 0 : fail(a, &e);
}

bool ids_parse(struct tok_ids *ids, const char *text, const char *where, struct err *e)
{
    const char *p = text;
    for (;;) {
        p += strspn(p, " \t\r\n");
        if (!*p)
            return true;
        char *end;
        errno = 0;
        long id = strtol(p, &end, 10);
        char shown[32];
        if (end == p || errno || id < INT32_MIN || id > INT32_MAX ||
            (*end && !strchr(" \t\r\n", *end)))
            return err_set(e, ERR_ARG, "%s, byte %zu: %s is not a token id", where,
                           (size_t)(p - text),
                           err_bytes(shown, sizeof(shown), p, strcspn(p, " \t\r\n")));
        if (ids->n == ids->cap) {
            ids->cap = ids->cap ? ids->cap * 2 : 256;
            ids->id = xrealloc(ids->id, ids->cap * sizeof(*ids->id));
        }
        ids->id[ids->n++] = (int32_t)id;
        p = end;
    }
}
