// vectors.c - see vectors.h.

#include "run/vectors.h"

#include <math.h>
#include <setjmp.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static PRINTF_LIKE(5, 0) const char *under(char *out, size_t n, const char *root,
                                           const char *fallback, const char *fmt, va_list ap)
{
    int at = snprintf(out, n, "%s%s/", root != NULL ? root : "", root != NULL ? "" : fallback);

    vsnprintf(out + at, n - (size_t)at, fmt, ap);
    return out;
}

const char *vectors_path(const char *fmt, ...)
{
    static char path[1024];
    va_list ap;

    va_start(ap, fmt);
    under(path, sizeof(path), getenv("SNUG_VECTORS"), "../shared/vectors", fmt, ap);
    va_end(ap);
    return path;
}

const char *cache_path(const char *fmt, ...)
{
    static char path[1024];
    char home[512];
    va_list ap;

    snprintf(home, sizeof(home), "%s/.cache/snug", getenv("HOME") != NULL ? getenv("HOME") : "");
    va_start(ap, fmt);
    under(path, sizeof(path), getenv("SNUG_CACHE"), home, fmt, ap);
    va_end(ap);
    return path;
}

bool have_file(const char *test, const char *path)
{
    if (access(path, R_OK) == 0)
        return true;
    printf("SKIP %s: %s is not here\n", test, path);
    return false;
}

int read_ids(const char *path, int32_t *out, int max)
{
    FILE *f = fopen(path, "re");
    int n = 0;

    assert_non_null(f);
    while (n < max && fscanf(f, "%d", &out[n]) == 1)
        n++;
    fclose(f);
    return n;
}

float *read_f32(const char *path, size_t n)
{
    FILE *f = fopen(path, "re");
    float *x = xmalloc((n + 1) * sizeof(float));

    assert_non_null(f);
    assert_int_equal(fread(x, sizeof(float), n + 1, f), n);
    fclose(f);
    return x;
}

double log_sum_exp(const float *x, int n, int *best)
{
    double sum = 0;

    *best = 0;
    for (int i = 1; i < n; i++)
        *best = x[i] > x[*best] ? i : *best;
    for (int i = 0; i < n; i++)
        sum += exp((double)x[i] - (double)x[*best]);
    return (double)x[*best] + log(sum);
}

struct score score_rows(const float *ref, const float *got, int n, int n_vocab)
{
    struct score s = { .n = n };
    double num = 0, den = 0;

    for (int t = 0; t < n; t++) {
        const float *a = ref + (size_t)t * (size_t)n_vocab, *b = got + (size_t)t * (size_t)n_vocab;
        int best_a, best_b;
        double la = log_sum_exp(a, n_vocab, &best_a), lb = log_sum_exp(b, n_vocab, &best_b), kl = 0;
        for (int i = 0; i < n_vocab; i++) {
            double x = (double)a[i], y = (double)b[i];
            num += (x - y) * (x - y);
            den += x * x;
            kl += exp(x - la) * ((x - la) - (y - lb));
        }
        s.kl_mean += kl / n;
        s.kl_max = kl > s.kl_max ? kl : s.kl_max;
        s.top1 += (best_a == best_b) / (double)n;
    }
    s.nmse = num / den;
    return s;
}

void open_engine(struct engine *en, const char *path, const struct engine_opts *o)
{
    struct err e = { 0 };

    log_level_set(LOG_ERROR); // the tiny models' vocabulary is none, which is said each time
    if (!engine_open(en, path, o, NULL, NULL, &e))
        fail_msg("%s", e.msg);
}

struct rows {
    float *to;
    int n_vocab;
};

static bool take_row(void *ctx, int index, const float *logits)
{
    const struct rows *r = ctx;

    memcpy(r->to + (size_t)index * (size_t)r->n_vocab, logits, (size_t)r->n_vocab * sizeof(float));
    return true;
}

float *eval_all(struct engine *en, const int32_t *id, int n, int chunk)
{
    struct rows r = { .n_vocab = en->model->n_vocab };
    float *out = xmalloc((size_t)n * (size_t)r.n_vocab * sizeof(float));
    struct seq *s;
    struct err e = { 0 };

    if (!seq_new(&s, en->kv, &e))
        fail_msg("%s", e.msg);
    for (int at = 0; at < n;) {
        int now = chunk > 0 && chunk < n - at ? chunk : n - at;
        r.to = out + (size_t)at * (size_t)r.n_vocab;
        if (!seq_eval_all(s, id + at, now, take_row, &r, &e))
            fail_msg("%s", e.msg);
        at += now;
    }
    seq_free(s);
    return out;
}
