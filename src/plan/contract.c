// contract.c - a plan in a file as a contract: it is made again from what the file says it was made
// of, and must come out the same, to the last slot and kernel. Whoever runs that, runs the file's.

#include "plan/file.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

void plan_file_limits(const struct plan_file *f, struct limits *lim)
{
    *lim = (struct limits){
        .micro_batch = f->micro_batch,
        .outputs = f->outputs,
        .slots = f->slots,
        .ctx = f->context,
        .kv = f->kv,
        .exact = f->exact,
        .reserve_bytes = f->reserve,
        .guard_bytes = f->guard,
    };
}

bool plan_file_assign(const struct plan_file *f, const struct graph *g, struct assign *a,
                      struct err *e)
{
    char name[32], shown[64];

    if (f->n_parts != graph_n_parts(g) - 1)
        return err_set(e, ERR_ARG, "assignment: %d parts in the plan, %d here", f->n_parts,
                       graph_n_parts(g) - 1);
    for (int i = 0; i < f->n_parts; i++)
        if (strcmp(f->part[i], plan_part_name(name, graph_part(g, i + 1))) != 0)
            return err_set(e, ERR_ARG, "assignment[%d].part: %s in the plan, %s here", i,
                           err_bytes(shown, sizeof(shown), f->part[i], strlen(f->part[i])), name);
    a->n_parts = f->n_parts + 1;
    a->dev = xcalloc((size_t)a->n_parts, sizeof(*a->dev));
    for (int i = 0; i < f->n_parts; i++)
        a->dev[i + 1] = f->part_dev[i];
    return true;
}

// --- the first difference
// -------------------------------------------------------------------------

/// What may differ: how free a device was, what was predicted and advised, how long it took.
static bool is_bound(const char *key)
{
    return strcmp(key, "free_bytes") != 0 && strcmp(key, "ms_per_token") != 0;
}

static const char *value_text(char out[96], const json_t *v)
{
    char *text = v != NULL ? json_dumps(v, JSON_ENCODE_ANY | JSON_COMPACT) : NULL;

    if (text == NULL)
        snprintf(out, 96, "nothing");
    else if (json_is_string(v))
        err_bytes(out, 96, json_string_value(v), json_string_length(v));
    else
        snprintf(out, 96, "%.40s%s", text, strlen(text) > 40 ? "..." : "");
    free(text);
    return out;
}

static bool differ(const char *path, const json_t *file, const json_t *here, struct err *e)
{
    char a[96], b[96];

    return err_set(e, ERR_ARG, "%s: %s in the plan, %s here", path, value_text(a, file),
                   value_text(b, here));
}

/// The name of the slot, so that a difference in tensors[123] says something.
static const char *name_of(char out[96], const json_t *v)
{
    const json_t *name = json_object_get(v, "name");

    out[0] = '\0';
    if (json_is_string(name)) {
        char shown[80];
        snprintf(
            out, 96, " (%s)",
            err_bytes(shown, sizeof(shown), json_string_value(name), json_string_length(name)));
    }
    return out;
}

static bool same(const char *path, const json_t *file, const json_t *here, struct err *e);

static bool same_object(const char *path, const json_t *file, const json_t *here, struct err *e)
{
    const char *key;
    json_t *v;
    char at[256];

    json_object_foreach((json_t *)(uintptr_t)here, key, v)
    {
        snprintf(at, sizeof(at), "%s%s%s", path, path[0] != '\0' ? "." : "", key);
        if (is_bound(key) && !same(at, json_object_get(file, key), v, e))
            return false;
    }
    json_object_foreach((json_t *)(uintptr_t)file, key, v)
    {
        char shown[64];
        snprintf(at, sizeof(at), "%s.%s", path, err_bytes(shown, sizeof(shown), key, strlen(key)));
        if (json_object_get(here, key) == NULL)
            return differ(at, v, NULL, e);
    }
    return true;
}

static bool same_array(const char *path, const json_t *file, const json_t *here, struct err *e)
{
    size_t n = json_array_size(file), m = json_array_size(here);
    char at[256], name[96];

    for (size_t i = 0; i < n && i < m; i++) {
        const json_t *a = json_array_get(file, i), *b = json_array_get(here, i);
        snprintf(at, sizeof(at), "%s[%zu]%s", path, i, name_of(name, b));
        if (!same(at, a, b, e))
            return false;
    }
    return n == m || err_set(e, ERR_ARG, "%s: %zu in the plan, %zu here", path, n, m);
}

static bool same(const char *path, const json_t *file, const json_t *here, struct err *e)
{
    if (json_is_object(file) && json_is_object(here))
        return same_object(path, file, here, e);
    if (json_is_array(file) && json_is_array(here))
        return same_array(path, file, here, e);
    return json_equal(file, here) || differ(path, file, here, e);
}

/// The cause before what follows from it.
static bool same_plans(const json_t *file, const json_t *here, struct err *e)
{
    static const char *const in_order[] = { "devices", "context",     "slots",       "micro_batch",
                                            "kv_type", "exact",       "asked",       "assignment",
                                            "arenas",  "tensors",     "steps",       "logits",
                                            "made_by", "fingerprint", "devices_used" };
    const json_t *by_file = json_object_get(file, "made_by"),
                 *by_here = json_object_get(here, "made_by");

    if (!same("made_by.model", json_object_get(by_file, "model"), json_object_get(by_here, "model"),
              e))
        return err_add(e, "the plan is for another model");
    if (!same("made_by.version", json_object_get(by_file, "version"),
              json_object_get(by_here, "version"), e))
        return err_add(e, "the plan was made by another build");
    for (size_t i = 0; i < ARRAY_LEN(in_order); i++)
        if (!same(in_order[i], json_object_get(file, in_order[i]),
                  json_object_get(here, in_order[i]), e))
            return false;
    const json_t *ha = json_object_get(file, "host"), *hb = json_object_get(here, "host");
    return same("host.staging", json_object_get(ha, "staging"), json_object_get(hb, "staging"), e);
}

bool plan_file_holds(const struct plan_file *f, const struct plan *p, const struct plan_extra *x,
                     struct err *e)
{
    struct plan_extra full = *x;
    struct buf text;
    bool ok = false;

    full.full = true;
    full.on = f->on[0] != '\0' ? f->on : NULL; // devices are compared, not how they were named
    buf_init(&text, PLAN_FILE_MAX);
    if (!plan_json(p, &full, &text)) {
        err_set(e, ERR_NOMEM, "the plan is longer than %d MiB", PLAN_FILE_MAX >> 20);
        goto done;
    }
    json_t *here = json_loadb(text.p, text.n, 0, NULL);
    ok = same_plans(f->json, here, e);
    json_decref(here);
    if (ok && f->digest != f->digest_here)
        ok = err_set(e, ERR_ARG,
                     "digest: the plan was changed after it was written (%016" PRIx64
                     " stands in it, %016" PRIx64 " is right)",
                     f->digest, f->digest_here);
done:
    buf_done(&text);
    return ok;
}
