// profile_file.c - devices as JSON: what `snug probe --json` prints and `--on FILE.json` reads.

#include "plan/profile_int.h"

#include <ctype.h>
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { FILE_BYTES = 256 << 10 }; // of a file, at most
#define MOST_BYTES (INT64_C(1) << 46)

enum field_kind { FIELD_NAME, FIELD_KIND, FIELD_BOOL, FIELD_U64, FIELD_I64, FIELD_INT, FIELD_REAL };

static const struct field {
    const char *name;
    enum field_kind kind;
    bool needed;
    double lo, hi;
    size_t at;
} fields[] = {
#define F(kind, name, needed, lo, hi)                                                              \
    {                                                                                              \
#name, kind, needed, lo, hi, offsetof(struct dev_info, name)                               \
    }
    F(FIELD_NAME, name, true, 0, 0),
    F(FIELD_KIND, kind, false, 0, 0),
    F(FIELD_BOOL, in_place, false, 0, 0),
    F(FIELD_U64, capacity_bytes, true, 1, (double)MOST_BYTES),
    F(FIELD_U64, free_bytes, false, 0, (double)MOST_BYTES),
    F(FIELD_U64, granule_bytes, false, 1, 0x1p30),
    F(FIELD_INT, max_threads, false, 1, 4096),
    F(FIELD_U64, driver_bytes, false, 0, 0x1p40),
    F(FIELD_REAL, bytes_per_s, false, 0, 1e15),
    F(FIELD_REAL, ops_per_s, false, 0, 1e18),
    F(FIELD_REAL, link_bytes_per_s, false, 0, 1e15),
    F(FIELD_I64, step_ns, false, 0, 1e9),
    F(FIELD_I64, hop_ns, false, 0, 1e9),
    F(FIELD_BOOL, speed_assumed, false, 0, 0),
#undef F
};

/// Unlimited is as much as a file may say.
static json_t *bytes_json(uint64_t bytes)
{
    return json_integer(bytes < MOST_BYTES ? (json_int_t)bytes : MOST_BYTES);
}

json_t *profile_to_json(const struct dev_info *info)
{
    json_t *o = json_object();

    for (size_t i = 0; i < ARRAY_LEN(fields); i++) {
        const struct field *f = &fields[i];
        const void *at = (const char *)info + f->at;
        json_t *v = NULL;
        switch (f->kind) {
        case FIELD_NAME:
            v = json_string(at);
            break;
        case FIELD_KIND:
            v = json_string(*(const enum dev_kind *)at == DEV_KIND_CUDA ? "cuda" : "cpu");
            break;
        case FIELD_BOOL:
            v = json_boolean(*(const bool *)at);
            break;
        case FIELD_U64:
            v = bytes_json(*(const uint64_t *)at);
            break;
        case FIELD_I64:
            v = json_integer(*(const int64_t *)at);
            break;
        case FIELD_INT:
            v = json_integer(*(const int *)at);
            break;
        case FIELD_REAL:
            v = json_integer((json_int_t)llround(*(const double *)at));
            break;
        }
        json_object_set_new(o, f->name, v);
    }
    return o;
}

static bool bad_field(const struct field *f, const char *where, const char *what, struct err *e)
{
    return err_set(e, ERR_FORMAT, "%s.%s: %s", where, f->name, what);
}

/// Names go into messages and tables as they are, so only what is harmless there is allowed.
static bool read_name(char *out, size_t size, const json_t *v)
{
    static const char also[] = " #._:()+-";
    size_t n = json_string_length(v);

    if (!json_is_string(v) || n == 0 || n >= size)
        return false;
    for (size_t i = 0; i < n; i++) {
        char c = json_string_value(v)[i];
        if (c == '\0' || (!isalnum((unsigned char)c) && strchr(also, c) == NULL))
            return false;
    }
    memcpy(out, json_string_value(v), n + 1);
    return true;
}

static bool read_number(void *at, const struct field *f, const json_t *v, const char *where,
                        struct err *e)
{
    double x = json_number_value(v);
    char what[80];

    if (!(f->kind == FIELD_REAL ? json_is_number(v) : json_is_integer(v)) ||
        !(x >= f->lo && x <= f->hi)) {
        snprintf(what, sizeof(what), "a %snumber from %.0f to %.0f is expected",
                 f->kind == FIELD_REAL ? "" : "whole ", f->lo, f->hi);
        return bad_field(f, where, what, e);
    }
    if (f->kind == FIELD_REAL)
        *(double *)at = x;
    else if (f->kind == FIELD_INT)
        *(int *)at = (int)json_integer_value(v);
    else if (f->kind == FIELD_I64)
        *(int64_t *)at = json_integer_value(v);
    else
        *(uint64_t *)at = (uint64_t)json_integer_value(v);
    return true;
}

static bool read_field(struct dev_info *out, const struct field *f, const json_t *v,
                       const char *where, struct err *e)
{
    void *at = (char *)out + f->at;
    const char *text = json_string_value(v);

    switch (f->kind) {
    case FIELD_NAME:
        return read_name(at, sizeof(out->name), v) ||
               bad_field(f, where,
                         "a text of up to 63 plain letters, digits and \" #._:()+-\" is expected",
                         e);
    case FIELD_KIND:
        if (text == NULL || (strcmp(text, "cpu") != 0 && strcmp(text, "cuda") != 0))
            return bad_field(f, where, "\"cpu\" or \"cuda\" is expected", e);
        *(enum dev_kind *)at = strcmp(text, "cuda") == 0 ? DEV_KIND_CUDA : DEV_KIND_CPU;
        return true;
    case FIELD_BOOL:
        if (!json_is_boolean(v))
            return bad_field(f, where, "true or false is expected", e);
        *(bool *)at = json_is_true(v);
        return true;
    case FIELD_U64:
    case FIELD_I64:
    case FIELD_INT:
    case FIELD_REAL:
        return read_number(at, f, v, where, e);
    }
    return false;
}

static const struct field *field_named(const char *name)
{
    for (size_t i = 0; i < ARRAY_LEN(fields); i++)
        if (strcmp(fields[i].name, name) == 0)
            return &fields[i];
    ASSERT(false);
    return NULL;
}

bool profile_from_json(struct dev_info *out, const json_t *o, const char *where, struct err *e)
{
    *out = (struct dev_info){ .kind = DEV_KIND_CUDA, .granule_bytes = 2 << 20, .max_threads = 1 };
    if (!json_is_object(o))
        return err_set(e, ERR_FORMAT, "%s: an object is expected", where);
    for (size_t i = 0; i < ARRAY_LEN(fields); i++) {
        const json_t *v = json_object_get(o, fields[i].name);
        if (v == NULL && fields[i].needed)
            return bad_field(&fields[i], where, "is missing", e);
        if (v != NULL && !read_field(out, &fields[i], v, where, e))
            return false;
    }
    if (json_object_get(o, "free_bytes") == NULL)
        out->free_bytes = out->capacity_bytes;
    if (out->free_bytes > out->capacity_bytes)
        return bad_field(field_named("free_bytes"), where, "is more than capacity_bytes", e);
    if (out->driver_bytes > out->capacity_bytes)
        return bad_field(field_named("driver_bytes"), where, "is more than capacity_bytes", e);
    if ((out->granule_bytes & (out->granule_bytes - 1)) != 0)
        return bad_field(field_named("granule_bytes"), where, "is not a power of two", e);
    return true;
}

/// Two of a name are told apart by a number.
static void number_name(struct dev_info *info, const struct dev_info *others, int n)
{
    char name[sizeof(info->name)];
    int same = 0;

    snprintf(name, sizeof(name), "%.*s", (int)sizeof(name) - 8, info->name);
    for (int i = 0; i < n; i++)
        if (strcmp(others[i].name, info->name) == 0)
            snprintf(info->name, sizeof(info->name), "%.48s #%d", name, ++same);
}

static bool add_list(struct dev_info *out, int *n, int max, const json_t *list, const char *path,
                     struct err *e)
{
    char where[224];
    struct dev_info info;

    if (json_is_object(list))
        list = json_object_get(list, "devices");
    if (!json_is_array(list) || json_array_size(list) == 0)
        return err_set(e, ERR_FORMAT,
                       "%s: a list of devices, or an object with a list \"devices\", is expected",
                       path);
    for (size_t i = 0; i < json_array_size(list); i++) {
        snprintf(where, sizeof(where), "%s: devices[%d]", path, (int)i);
        if (!profile_from_json(&info, json_array_get(list, i), where, e))
            return false;
        number_name(&info, out, *n);
        if (!profile_add(out, n, max, &info, e))
            return false;
    }
    return true;
}

bool profile_add_file(struct dev_info *out, int *n, int max, const char *path, struct err *e)
{
    char *text, shown[192];
    size_t bytes;
    json_error_t je;

    err_bytes(shown, sizeof(shown), path, strlen(path));
    if (!file_read(&text, &bytes, path, FILE_BYTES, e))
        return false;
    json_t *list = json_loadb(text, bytes, JSON_REJECT_DUPLICATES, &je);
    bool ok = list != NULL ? add_list(out, n, max, list, shown, e)
                           : err_set(e, ERR_FORMAT, "%s: no JSON, line %d column %d", shown,
                                     je.line, je.column);
    json_decref(list);
    free(text);
    return ok;
}
