// remote.c - a model by any name: a file here, or the head of one elsewhere.
//
// Of what is elsewhere only the head is fetched, in ranges that double: the head says how far it
// goes only as it is read, and with a start of 1 MiB at most twice of it is ever read.

#include "cli/cli.h"
#include "net/net.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    FIRST_BYTES = 1 << 20,  // of a model's first file, which has the vocabulary
    LATER_BYTES = 64 << 10, // of the others
    HEADS_MOST = 64 << 20,  // of all of them, in memory; the largest head known has 17 MiB
};

struct head {
    uint8_t *p;
    uint64_t n;
};

static bool is_here(const char *name)
{
    struct stat st;

    return stat(name, &st) == 0;
}

static bool is_remote(const char *name)
{
    return net_kind(name) != NET_NONE && !is_here(name);
}

/// Fetches until `want` bytes are here, or all of the file.
static bool extend(struct head *h, struct net *net, struct net_file *f, uint64_t want,
                   struct err *e)
{
    uint64_t got;

    h->p = xrealloc(h->p, (size_t)want);
    bool ok = net_read(net, f, h->n, want - h->n, h->p + h->n, &got, e);
    h->n += got;
    return ok;
}

static bool fetch_head(struct head *h, struct net *net, struct net_file *f, uint64_t first,
                       uint64_t most, struct err *e)
{
    uint64_t want = first, need;
    char shown[400];

    for (;;) {
        if (!extend(h, net, f, want < most ? want : most, e))
            return false;
        struct gguf_head head = { .name = f->url, .p = h->p, .n = h->n, .file_bytes = f->bytes };
        if (!gguf_head_need(&head, &need, e))
            return false;
        if (need <= h->n)
            return true;
        if (need > most)
            return err_set(
                e, ERR_UNSUPPORTED, "%s: a head of at least %" PRIu64 " bytes, more than %d MiB",
                err_bytes(shown, sizeof(shown), f->url, strlen(f->url)), need, HEADS_MOST >> 20);
        want = need > 2 * h->n ? need : 2 * h->n;
    }
}

static bool fetch_heads(struct gguf **out, struct net *net, const struct net_model *m,
                        uint64_t *fetched, struct err *e)
{
    struct head *h = xcalloc((size_t)m->n_files, sizeof(*h));
    struct gguf_head *head = xcalloc((size_t)m->n_files, sizeof(*head));
    bool ok = true;

    *fetched = 0;
    for (int i = 0; ok && i < m->n_files; i++) {
        ok = fetch_head(&h[i], net, &m->file[i], i == 0 ? FIRST_BYTES : LATER_BYTES,
                        HEADS_MOST - *fetched, e);
        *fetched += h[i].n;
        head[i] = (struct gguf_head){ m->file[i].url, h[i].p, h[i].n, m->file[i].bytes };
    }
    ok = ok && gguf_open_heads(out, head, m->n_files, e);
    for (int i = 0; i < m->n_files; i++)
        free(h[i].p);
    free(head);
    free(h);
    return ok;
}

/// What was read of how much, for those who watch; and what the plan does not hold.
static void say_fetched(const struct net_model *m, uint64_t fetched)
{
    uint64_t bytes = 0;
    char a[32], b[32];

    for (int i = 0; i < m->n_files; i++)
        bytes += m->file[i].bytes;
    if (isatty(STDERR_FILENO))
        fprintf(stderr, "read %s of %s: the head\n", fmt_bytes(a, fetched), fmt_bytes(b, bytes));
    if (m->beside_bytes > 0)
        log_msg(LOG_WARN, "its projector or adapter, %s in a file of its own, is not looked at",
                fmt_bytes(a, m->beside_bytes));
}

static bool open_remote(struct gguf **out, const char *name, struct err *e)
{
    struct progress bar;
    struct net *net;
    struct net_model m = { 0 };
    uint64_t fetched;

    *out = NULL;
    progress_start(&bar, "reading the head", NULL);
    bool ok = net_open(&net, progress_update, &bar, e) && net_resolve(net, name, &m, e) &&
              fetch_heads(out, net, &m, &fetched, e);
    progress_end(&bar);
    if (ok)
        say_fetched(&m, fetched);
    net_model_done(&m);
    net_close(net);
    return ok;
}

bool model_open(struct gguf **out, const char *name, const struct gguf_opts *o, struct err *e)
{
    char shown[400];

    if (!is_remote(name))
        return gguf_open(out, name, o, e);
    if (!o->head_only) {
        *out = NULL;
        return err_set(e, ERR_NOTFOUND,
                       "there is no file %s here; 'snug plan' and 'snug show' read the head of one "
                       "elsewhere, to run a model its file has to be here",
                       err_bytes(shown, sizeof(shown), name, strlen(name)));
    }
    if (open_remote(out, name, e))
        return true;
    return net_kind(name) == NET_REGISTRY && e->code == ERR_NOTFOUND
               ? err_add(e, "no file %s here, nor such a model elsewhere",
                         err_bytes(shown, sizeof(shown), name, strlen(name)))
               : false;
}
