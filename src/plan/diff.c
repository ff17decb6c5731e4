// diff.c - two plans saved with `snug plan --json`, and the lines that differ.

#include "plan/report.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

enum { FILE_MOST = 256 << 20, LISTED = 40 };

static json_t *load(const char *path, struct err *e)
{
    char *text, shown[200];
    size_t n;
    json_error_t why;

    if (!file_read(&text, &n, path, FILE_MOST, e))
        return NULL;
    json_t *o = json_loadb(text, n, JSON_REJECT_DUPLICATES, &why);
    free(text);
    if (o == NULL) {
        err_set(e, ERR_FORMAT, "%s is no JSON: line %d: %s", path, why.line,
                err_bytes(shown, sizeof(shown), why.text, strlen(why.text)));
        return NULL;
    }
    if (json_is_array(json_object_get(o, "devices")))
        return o;
    err_set(e, ERR_FORMAT, "%s is no plan that `snug plan --json` has written: no \"devices\"",
            path);
    json_decref(o);
    return NULL;
}

/// A number, string or list of these as one line; "-" where there is none.
static const char *text_of(char *out, size_t n, const json_t *v)
{
    if (json_is_integer(v)) {
        char digits[32];
        json_int_t i = json_integer_value(v);
        snprintf(out, n, "%s%s", i < 0 ? "-" : "", fmt_count(digits, (uint64_t)llabs(i)));
    } else if (json_is_real(v)) {
        snprintf(out, n, "%.4g", json_real_value(v));
    } else if (json_is_string(v)) {
        err_bytes(out, n, json_string_value(v), json_string_length(v));
    } else if (json_is_boolean(v)) {
        snprintf(out, n, "%s", json_is_true(v) ? "yes" : "no");
    } else if (json_is_array(v) && json_array_size(v) == 2 &&
               json_is_integer(json_array_get(v, 0)) && json_is_integer(json_array_get(v, 1))) {
        snprintf(out, n, "%lld-%lld", (long long)json_integer_value(json_array_get(v, 0)),
                 (long long)json_integer_value(json_array_get(v, 1)));
    } else {
        snprintf(out, n, json_is_array(v) ? "%zu items" : "-", json_array_size(v));
    }
    return out;
}

struct differ {
    struct buf *out;
    int n;
    bool ok;
};

/// "  kv   792 723 456 -> 396 361 728   -378 MiB"
static void line(struct differ *d, const char *name, const json_t *a, const json_t *b, bool bytes)
{
    char x[80], y[80], size[32];

    if (a == b || json_equal(a, b) || (json_is_null(a) && b == NULL) ||
        (json_is_null(b) && a == NULL))
        return;
    d->n++;
    d->ok = d->ok && buf_printf(d->out, "  %-14s %18s -> %s", name, text_of(x, sizeof(x), a),
                                text_of(y, sizeof(y), b));
    if (bytes && json_is_integer(a) && json_is_integer(b)) {
        json_int_t was = json_integer_value(a), is = json_integer_value(b);
        uint64_t by = is > was ? (uint64_t)is - (uint64_t)was : (uint64_t)was - (uint64_t)is;
        d->ok = d->ok && buf_printf(d->out, "%*s %c%s", (int)(strlen(y) < 18 ? 18 - strlen(y) : 0),
                                    "", is > was ? '+' : '-', fmt_bytes(size, by));
    }
    d->ok = d->ok && buf_addz(d->out, "\n");
}

static const char *name_of(char out[64], const json_t *dev)
{
    const char *s = json_string_value(json_object_get(dev, "name"));

    return s != NULL ? err_bytes(out, 64, s, strlen(s)) : "?";
}

/// The keys of `a`, then those that only `b` has.
static void all_keys(struct differ *d, const json_t *a, const json_t *b, const char *prefix)
{
    const json_t *from[] = { a, b };
    char shown[64], name[80];

    for (int i = 0; i < 2; i++) {
        const char *key;
        json_t *v;
        void *at;
        json_t *o = (json_t *)(uintptr_t)from[i]; // jansson's iterators take no const
        for (at = json_object_iter(o); at != NULL; at = json_object_iter_next(o, at)) {
            key = json_object_iter_key(at);
            v = json_object_iter_value(at);
            if (i == 1 && json_object_get(a, key) != NULL)
                continue;
            snprintf(name, sizeof(name), "%s%s", prefix,
                     err_bytes(shown, sizeof(shown), key, strlen(key)));
            line(d, name, i == 0 ? v : NULL, i == 0 ? json_object_get(b, key) : v, true);
        }
    }
}

static void device(struct differ *d, const json_t *a, const json_t *b)
{
    static const char *const fields[] = { "capacity_bytes", "free_bytes",   "granule_bytes",
                                          "mapped_bytes",   "ms_per_token", "blocks" };
    char name[64], other[64];
    size_t at = d->out->n;
    int n = d->n;

    name_of(name, a != NULL ? a : b);
    name_of(other, b != NULL ? b : a);
    d->ok = d->ok && buf_printf(d->out, "%s%s%s%s\n", name, strcmp(name, other) != 0 ? " -> " : "",
                                strcmp(name, other) != 0 ? other : "",
                                a == NULL   ? ": only in the second"
                                : b == NULL ? ": only in the first"
                                            : "");
    if (a == NULL || b == NULL) {
        d->n++;
        return;
    }
    d->n += strcmp(name, other) != 0;
    for (size_t i = 0; i < ARRAY_LEN(fields); i++)
        line(d, fields[i], json_object_get(a, fields[i]), json_object_get(b, fields[i]),
             strstr(fields[i], "bytes") != NULL);
    all_keys(d, json_object_get(a, "bytes"), json_object_get(b, "bytes"), "");
    line(d, "planned", json_object_get(a, "planned_bytes"), json_object_get(b, "planned_bytes"),
         true);
    if (d->n == n && d->ok) { // the same: not even its name
        d->out->n = at;
        d->out->p[at] = '\0';
    }
}

/// Tensors that are elsewhere, of plans saved with --full.
static void tensors(struct differ *d, const json_t *a, const json_t *b)
{
    static const char *const fields[] = { "device", "arena", "offset", "bytes" };
    json_t *was = json_object();
    size_t i, n = json_array_size(a);
    int moved = 0, shown = 0;
    char name[80];

    for (i = 0; i < n; i++) {
        json_t *t = json_array_get(a, i), *s = json_object_get(t, "name");
        if (json_is_string(s) && json_object_get(was, json_string_value(s)) == NULL)
            json_object_set(was, json_string_value(s), t);
    }
    for (i = 0; i < json_array_size(b); i++) {
        const json_t *t = json_array_get(b, i);
        const char *s = json_string_value(json_object_get(t, "name"));
        const json_t *o = s != NULL ? json_object_get(was, s) : NULL;
        bool same = o != NULL;
        for (size_t f = 0; f < ARRAY_LEN(fields) && same; f++)
            same = json_equal(json_object_get(o, fields[f]), json_object_get(t, fields[f])) != 0;
        if (s == NULL || same)
            continue;
        moved++;
        if (shown == LISTED)
            continue;
        shown++;
        if (shown == 1)
            d->ok = d->ok && buf_addz(d->out, "tensors\n");
        d->ok = d->ok && buf_printf(d->out, "  %s%s\n", err_bytes(name, sizeof(name), s, strlen(s)),
                                    o == NULL ? " is new" : "");
        for (size_t f = 0; f < ARRAY_LEN(fields) && o != NULL; f++)
            line(d, fields[f], json_object_get(o, fields[f]), json_object_get(t, fields[f]),
                 f == 3);
    }
    d->n += moved;
    if (moved > shown)
        d->ok = d->ok && buf_printf(d->out, "  and %d more\n", moved - shown);
    json_decref(was);
}

bool report_diff(const char *path_a, const char *path_b, struct buf *out, struct err *e)
{
    static const char *const fields[] = { "fits",        "context",      "slots",
                                          "micro_batch", "kv_type",      "exact",
                                          "goal",        "devices_used", "predicted_tps",
                                          "max_context", "fingerprint" };
    struct differ d = { .out = out, .ok = true };
    json_t *a = load(path_a, e), *b = a != NULL ? load(path_b, e) : NULL;

    if (b == NULL) {
        json_decref(a);
        return false;
    }
    for (size_t i = 0; i < ARRAY_LEN(fields); i++)
        line(&d, fields[i], json_object_get(a, fields[i]), json_object_get(b, fields[i]), false);
    json_t *da = json_object_get(a, "devices"), *db = json_object_get(b, "devices");
    size_t n =
        json_array_size(da) > json_array_size(db) ? json_array_size(da) : json_array_size(db);
    for (size_t i = 0; i < n; i++)
        device(&d, json_array_get(da, i), json_array_get(db, i));
    size_t at = out->n;
    int before = d.n;
    d.ok = d.ok && buf_addz(out, "host\n");
    all_keys(&d, json_object_get(a, "host"), json_object_get(b, "host"), "");
    if (d.n == before && d.ok) {
        out->n = at;
        out->p[at] = '\0';
    }
    tensors(&d, json_object_get(a, "tensors"), json_object_get(b, "tensors"));
    if (d.n == 0)
        d.ok = d.ok && buf_addz(out, "the same plan\n");
    json_decref(a);
    json_decref(b);
    return d.ok || err_set(e, ERR_NOMEM, "the report is too long");
}
