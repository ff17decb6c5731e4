// tok.c - speed of reading text: seconds of encoding a file's text, and this text several times
// over.
//
//   tok VOCABULARY.gguf TEXT IDS TIMES...
//
// Writes the ids of the text once as int32 to IDS, so that they can be compared with those of
// another program, and prints JSON: bytes, tokens and, for each TIMES, the processor seconds of
// encoding the text that often in a row.

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "gguf/gguf.h"
#include "tok/tok.h"

static double cpu_seconds(void)
{
    struct timespec t;

    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/// Encodes `n` bytes from nothing, growing the ids as it goes, as every caller does.
static bool encode(const struct tok *t, const char *text, size_t n, struct tok_ids *ids,
                   double *seconds, struct err *e)
{
    *ids = (struct tok_ids){ 0 };
    const double start = cpu_seconds();
    if (!tok_encode(t, text, n, 0, ids, e))
        return false;
    *seconds = cpu_seconds() - start;
    return true;
}

static bool write_ids(const char *path, const struct tok_ids *ids, struct err *e)
{
    FILE *f = fopen(path, "wb");
    const bool ok = f && fwrite(ids->id, sizeof *ids->id, ids->n, f) == ids->n;

    if ((f && fclose(f) != 0) || !ok)
        return err_set(e, ERR_IO, "cannot write %s", path);
    return true;
}

static bool measure(const struct tok *t, const char *text, size_t n, const char *out, int n_times,
                    char **times, struct err *e)
{
    struct tok_ids ids;
    double seconds = 0;

    if (!encode(t, text, n, &ids, &seconds, e) || !write_ids(out, &ids, e)) // and warms up
        return false;
    printf("{\"bytes\": %zu, \"tokens\": %zu, \"seconds\": {", n, ids.n);
    tok_ids_done(&ids);
    for (int i = 0; i < n_times; i++) {
        const size_t k = strtoul(times[i], NULL, 10);
        char *all = xmalloc(k * n + 1);
        for (size_t j = 0; j < k; j++)
            memcpy(all + j * n, text, n);
        const bool ok = encode(t, all, k * n, &ids, &seconds, e);
        free(all);
        tok_ids_done(&ids);
        if (!ok)
            return false;
        printf("%s\"%zu\": %.6f", i ? ", " : "", k, seconds);
    }
    printf("}}\n");
    return true;
}

int main(int argc, char **argv)
{
    struct gguf *g = NULL;
    struct tok *t = NULL;
    struct err e = { 0 };
    char *text = NULL;
    size_t n;

    if (argc < 5) {
        fprintf(stderr, "usage: tok VOCABULARY.gguf TEXT IDS TIMES...\n");
        return 2;
    }
    const bool ok = gguf_open(&g, argv[1], &(struct gguf_opts){ .head_only = true }, &e) &&
                    tok_new(&t, g, &e) && file_read(&text, &n, argv[2], 1 << 30, &e) &&
                    measure(t, text, n, argv[3], argc - 4, argv + 4, &e);
    if (!ok)
        fprintf(stderr, "tok: %s\n", e.msg);
    free(text);
    tok_free(t);
    gguf_close(g);
    return !ok;
}
