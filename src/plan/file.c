// file.c - reads a plan that was written as JSON. Nothing in it is believed: every field must be
// there and of its kind, every index in range, every number bounded; what they mean is checked
// elsewhere.

#include "plan/file.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_FILE_DEVS = 64, MAX_NAME = 256, MAX_UNITS = 256 };
static const uint64_t max_bytes = UINT64_C(1) << 60; // sums of a few million stay below 2^64

/// The object that is read, how to call it, and where its strings go.
struct from {
    const json_t *o;
    const char *where; // "devices[1]", "" at the top
    struct arena *mem;
    struct err *e;
};

const char *file_line_name(int line)
{
    static const char *const more[] = {
        [FILE_STATE - ARENA_COUNT] = "state",   [FILE_STAGING - ARENA_COUNT] = "staging",
        [FILE_GRAPHS - ARENA_COUNT] = "graphs", [FILE_ROUNDING - ARENA_COUNT] = "rounding",
        [FILE_DRIVER - ARENA_COUNT] = "driver", [FILE_RESERVE - ARENA_COUNT] = "reserve",
    };

    return line < ARENA_COUNT ? arena_kind_name((enum arena_kind)line) : more[line - ARENA_COUNT];
}

// --- fields
// ---------------------------------------------------------------------------------------

static bool bad(const struct from *f, const char *key, const char *what)
{
    return err_set(f->e, ERR_FORMAT, "%s%s%s: %s", f->where, f->where[0] != '\0' ? "." : "", key,
                   what);
}

static bool get_i64(const struct from *f, const char *key, int64_t lo, int64_t hi, int64_t *out)
{
    const json_t *v = json_object_get(f->o, key);
    char what[96];

    if (json_is_integer(v) && json_integer_value(v) >= lo && json_integer_value(v) <= hi) {
        *out = json_integer_value(v);
        return true;
    }
    snprintf(what, sizeof(what), "a whole number from %" PRId64 " to %" PRId64 " must be there", lo,
             hi);
    return bad(f, key, what);
}

static bool get_int(const struct from *f, const char *key, int lo, int hi, int *out)
{
    int64_t v;

    if (!get_i64(f, key, lo, hi, &v))
        return false;
    *out = (int)v;
    return true;
}

static bool get_u64(const struct from *f, const char *key, uint64_t *out)
{
    int64_t v;

    if (!get_i64(f, key, 0, (int64_t)max_bytes, &v))
        return false;
    *out = (uint64_t)v;
    return true;
}

/// null: UINT64_MAX
static bool get_limit(const struct from *f, const char *key, uint64_t *out)
{
    if (!json_is_null(json_object_get(f->o, key)))
        return get_u64(f, key, out);
    *out = UINT64_MAX;
    return true;
}

static bool get_bool(const struct from *f, const char *key, bool *out)
{
    const json_t *v = json_object_get(f->o, key);

    if (!json_is_boolean(v))
        return bad(f, key, "true or false must be there");
    *out = json_is_true(v);
    return true;
}

/// Short ones, without zero bytes (jansson refuses these), owned by f->mem.
static bool get_text(const struct from *f, const char *key, const char **out)
{
    const json_t *v = json_object_get(f->o, key);

    if (!json_is_string(v) || json_string_length(v) >= MAX_NAME)
        return bad(f, key, "a text of less than 256 bytes must be there");
    *out = arena_strdup(f->mem, json_string_value(v));
    return true;
}

static bool get_hex(const struct from *f, const char *key, uint64_t *out)
{
    const char *s, *digits = "0123456789abcdef";

    if (!get_text(f, key, &s))
        return false;
    if (strlen(s) != 16 || strspn(s, digits) != 16)
        return bad(f, key, "16 hexadecimal digits must be there");
    *out = strtoull(s, NULL, 16);
    return true;
}

static bool get_object(const struct from *f, const char *key, struct from *out)
{
    *out = *f;
    out->o = json_object_get(f->o, key);
    out->where = f->where[0] != '\0' ? arena_printf(f->mem, "%s.%s", f->where, key) : key;
    return json_is_object(out->o) || bad(f, key, "an object must be there");
}

/// The elements of an array: at most `most`.
static bool get_array(const struct from *f, const char *key, int most, const json_t **out, int *n)
{
    char what[64];

    *out = json_object_get(f->o, key);
    *n = (int)json_array_size(*out);
    if (json_is_array(*out) && json_array_size(*out) <= (size_t)most)
        return true;
    snprintf(what, sizeof(what), "an array of at most %d must be there", most);
    return bad(f, key, what);
}

/// Element i of an array of objects. The name is made when it is needed only: there are thousands.
static bool element(const struct from *f, const char *key, const json_t *array, int i,
                    char where[64], struct from *out)
{
    snprintf(where, 64, "%s[%d]", key, i);
    *out = *f;
    out->o = json_array_get(array, (size_t)i);
    out->where = where;
    return json_is_object(out->o) || bad(out, "", "an object must be there");
}

static bool get_texts(const struct from *f, const char *key, int *n, const char ***out)
{
    const json_t *a;

    if (!get_array(f, key, 1 << 16, &a, n))
        return false;
    *out = arena_alloc(f->mem, (size_t)(*n + 1) * sizeof(**out));
    for (int i = 0; i < *n; i++) {
        const json_t *v = json_array_get(a, (size_t)i);
        if (!json_is_string(v) || json_string_length(v) >= MAX_NAME)
            return bad(f, key, "texts of less than 256 bytes must be there");
        (*out)[i] = arena_strdup(f->mem, json_string_value(v));
    }
    return true;
}

/// Whole numbers from -1 to hi - 1; missing ones at the end are -1.
static bool get_indices(const struct from *f, const char *key, int *out, int n, int hi)
{
    const json_t *a;
    int there;

    if (!get_array(f, key, n, &a, &there))
        return false;
    for (int i = 0; i < n; i++) {
        const json_t *v = i < there ? json_array_get(a, (size_t)i) : NULL;
        json_int_t x = v != NULL ? json_integer_value(v) : -1;
        if ((v != NULL && !json_is_integer(v)) || x < -1 || x >= hi)
            return bad(f, key, "an index is out of range");
        out[i] = (int)x;
    }
    return true;
}

// --- devices
// --------------------------------------------------------------------------------------

static bool read_blocks(const struct from *f, struct file_dev *d)
{
    const json_t *v = json_object_get(f->o, "blocks");

    d->first_block = d->last_block = -1;
    if (json_is_null(v))
        return true;
    const json_t *a = json_array_get(v, 0), *b = json_array_get(v, 1);
    if (json_array_size(v) != 2 || !json_is_integer(a) || !json_is_integer(b) ||
        json_integer_value(a) < 0 || json_integer_value(a) > json_integer_value(b) ||
        json_integer_value(b) > INT32_MAX)
        return bad(f, "blocks", "null or [first, last] must be there");
    d->first_block = (int)json_integer_value(a);
    d->last_block = (int)json_integer_value(b);
    return true;
}

static bool read_dev(const struct from *f, struct file_dev *d)
{
    struct from b;

    if (!get_text(f, "name", &d->name) || !get_limit(f, "capacity_bytes", &d->capacity) ||
        !get_limit(f, "free_bytes", &d->free) || !get_u64(f, "granule_bytes", &d->granule) ||
        !get_u64(f, "driver_bytes", &d->driver) ||
        !get_int(f, "threads", 0, 1 << 16, &d->threads) || !get_bool(f, "in_place", &d->in_place) ||
        !get_u64(f, "planned_bytes", &d->planned) || !get_u64(f, "mapped_bytes", &d->mapped) ||
        !get_u64(f, "scratch_bound", &d->scratch_bound) ||
        !get_u64(f, "weights_padding_bytes", &d->padding) || !read_blocks(f, d) ||
        !get_texts(f, "parts", &d->n_parts, &d->part) || !get_object(f, "bytes", &b))
        return false;
    if (d->granule == 0 || (d->granule & (d->granule - 1)) != 0)
        return bad(f, "granule_bytes", "a power of two must be there");
    for (int i = 0; i < FILE_COUNT; i++)
        if (!get_u64(&b, file_line_name(i), &d->line[i]))
            return false;
    return json_object_size(b.o) == FILE_COUNT || bad(f, "bytes", "has a line that is not known");
}

static bool read_devs(const struct from *f, struct plan_file *p)
{
    struct from host, d;
    const json_t *a;
    char where[64];
    int n;

    if (!get_object(f, "host", &host) || !get_array(f, "devices", MAX_FILE_DEVS, &a, &n))
        return false;
    bool added = json_object_get(host.o, "device") != NULL;
    p->n_devs = n + added;
    p->dev = arena_alloc(f->mem, (size_t)(p->n_devs + 1) * sizeof(*p->dev));
    for (int i = 0; i < n; i++)
        if (!element(f, "devices", a, i, where, &d) || !read_dev(&d, &p->dev[i]))
            return false;
    if (added && (!get_object(&host, "device", &d) || !read_dev(&d, &p->dev[n])))
        return false;
    if (added)
        p->dev[n].host = true;
    if (p->n_devs == 0)
        return bad(f, "devices", "there is none");
    return get_u64(&host, "mapped", &p->host_mapped) && get_u64(&host, "pinned", &p->host_pinned) &&
           get_u64(&host, "heap", &p->host_heap) && get_u64(&host, "staging", &p->host_staging) &&
           get_texts(&host, "parts", &p->n_host_parts, &p->host_part);
}

/// -1 stands for the host where it is not in "devices".
static bool get_dev(const struct from *f, const struct plan_file *p, int *out)
{
    bool added = p->dev[p->n_devs - 1].host;

    if (!get_int(f, "device", added ? -1 : 0, p->n_devs - 1 - added, out))
        return false;
    if (*out < 0)
        *out = p->n_devs - 1;
    return true;
}

// --- lists
// ----------------------------------------------------------------------------------------

static bool read_assignment(const struct from *f, struct plan_file *p)
{
    const json_t *a;
    char where[64];
    struct from at;

    if (!get_array(f, "assignment", 1 << 16, &a, &p->n_parts))
        return false;
    p->part = arena_alloc(f->mem, (size_t)(p->n_parts + 1) * sizeof(*p->part));
    p->part_dev = arena_alloc(f->mem, (size_t)(p->n_parts + 1) * sizeof(*p->part_dev));
    for (int i = 0; i < p->n_parts; i++)
        if (!element(f, "assignment", a, i, where, &at) || !get_text(&at, "part", &p->part[i]) ||
            !get_dev(&at, p, &p->part_dev[i]))
            return false;
    return true;
}

static bool get_arena(const struct from *f, enum arena_kind *out, bool *mapped)
{
    const char *name;

    if (!get_text(f, "arena", &name))
        return false;
    *mapped = strcmp(name, "mapped") == 0;
    *out = ARENA_WEIGHTS;
    for (int k = 0; k < ARENA_COUNT; k++)
        if (strcmp(name, arena_kind_name((enum arena_kind)k)) == 0) {
            *out = (enum arena_kind)k;
            return true;
        }
    return *mapped || bad(f, "arena", "there is no such arena");
}

static bool read_arenas(const struct from *f, struct plan_file *p)
{
    const json_t *a;
    char where[64];
    struct from at;
    bool mapped;

    if (!get_array(f, "arenas", MAX_FILE_DEVS * ARENA_COUNT, &a, &p->n_arenas))
        return false;
    p->arena = arena_alloc(f->mem, (size_t)(p->n_arenas + 1) * sizeof(*p->arena));
    for (int i = 0; i < p->n_arenas; i++) {
        struct file_arena *x = &p->arena[i];
        if (!element(f, "arenas", a, i, where, &at) || !get_dev(&at, p, &x->dev) ||
            !get_arena(&at, &x->arena, &mapped) || !get_u64(&at, "bytes", &x->bytes) ||
            !get_u64(&at, "reserved_bytes", &x->reserved))
            return false;
        if (mapped)
            return bad(&at, "arena", "what is mapped is no arena");
    }
    return true;
}

/// Those of files, and A8, which only kernels make.
static bool get_format(const struct from *f, enum dtype *out)
{
    const char *name;

    if (!get_text(f, "format", &name))
        return false;
    for (int t = 0; t < DTYPE_COUNT; t++) {
        const struct dtype_info *info = dtype_info((enum dtype)t);
        if (info != NULL && strcmp(name, info->name) == 0) {
            *out = (enum dtype)t;
            return true;
        }
    }
    return bad(f, "format", "there is no such format");
}

static bool read_slot(const struct from *f, const struct plan_file *p, struct file_slot *s)
{
    s->alias = s->file = -1;
    if (!get_text(f, "name", &s->name) || !get_dev(f, p, &s->dev) ||
        !get_arena(f, &s->arena, &s->mapped) || !get_u64(f, "offset", &s->offset) ||
        !get_u64(f, "bytes", &s->bytes) ||
        !get_int(f, "first_step", 0, p->n_steps - 1, &s->first) ||
        !get_int(f, "last_step", 0, p->n_steps - 1, &s->last) ||
        !get_int(f, "tensor", -1, INT32_MAX, &s->tensor) || !get_format(f, &s->format))
        return false;
    if (json_object_get(f->o, "alias") != NULL &&
        !get_int(f, "alias", 0, p->n_slots - 1, &s->alias))
        return false;
    return json_object_get(f->o, "file") == NULL ||
           (get_int(f, "file", 0, 1 << 16, &s->file) && get_u64(f, "file_offset", &s->file_offset));
}

static bool read_step(const struct from *f, const struct plan_file *p, struct file_step *s)
{
    s->kernel = "";
    return get_dev(f, p, &s->dev) && get_text(f, "op", &s->op) &&
           (json_object_get(f->o, "kernel") == NULL || get_text(f, "kernel", &s->kernel)) &&
           get_int(f, "node", -1, INT32_MAX, &s->node) && get_bool(f, "sync", &s->sync) &&
           get_indices(f, "src", s->src, NODE_SRC, p->n_slots) &&
           get_indices(f, "dst", s->dst, NODE_DST, p->n_slots) &&
           get_int(f, "scratch", -1, p->n_slots - 1, &s->scratch);
}

static bool read_lists(const struct from *f, struct plan_file *p)
{
    const json_t *slots, *steps;
    char where[64];
    struct from at;

    if (!read_assignment(f, p) || !read_arenas(f, p) ||
        !get_array(f, "tensors", 1 << 20, &slots, &p->n_slots) ||
        !get_array(f, "steps", 1 << 20, &steps, &p->n_steps))
        return false;
    p->slot = arena_alloc(f->mem, (size_t)(p->n_slots + 1) * sizeof(*p->slot));
    p->step = arena_alloc(f->mem, (size_t)(p->n_steps + 1) * sizeof(*p->step));
    for (int i = 0; i < p->n_slots; i++)
        if (!element(f, "tensors", slots, i, where, &at) || !read_slot(&at, p, &p->slot[i]))
            return false;
    for (int i = 0; i < p->n_steps; i++)
        if (!element(f, "steps", steps, i, where, &at) || !read_step(&at, p, &p->step[i]))
            return false;
    return get_int(f, "logits", 0, p->n_slots - 1, &p->logits);
}

// --- stages
// ---------------------------------------------------------------------------------------

static bool read_stage_row(const struct from *f, const json_t *row, int n, uint64_t *out)
{
    if (!json_is_array(row) || json_array_size(row) != (size_t)n)
        return bad(f, "bytes", "a row has another length than units are left");
    for (int i = 0; i < n; i++) {
        const json_t *v = json_array_get(row, (size_t)i);
        json_int_t x = json_integer_value(v);
        if (!json_is_null(v) && (!json_is_integer(v) || x < 0 || x > (json_int_t)max_bytes))
            return bad(f, "bytes", "a row has something else than bytes");
        out[i] = json_is_null(v) ? UINT64_MAX : (uint64_t)x;
    }
    return true;
}

static bool read_stage_table(const struct from *f, const json_t *table, struct file_stages *s,
                             uint64_t *out)
{
    int n = (int)json_array_size(table);

    if (!json_is_array(table) || n < 1 || n > MAX_UNITS || (s->n_units > 0 && s->n_units != n))
        return bad(f, "bytes", "a table has no row for each unit");
    s->n_units = n;
    for (int from = 0; from < n; from++)
        if (!read_stage_row(f, json_array_get(table, (size_t)from), n - from,
                            out + from * (n + 1) + from + 1))
            return false;
    return true;
}

static bool read_stages(const struct from *f, const struct plan_file *p, struct file_stages *s)
{
    const json_t *tables;

    if (!get_array(f, "bytes", MAX_FILE_DEVS, &tables, &s->n_tables))
        return false;
    s->bytes = arena_alloc(f->mem, (size_t)(s->n_tables + 1) * sizeof(*s->bytes));
    for (int t = 0; t < s->n_tables; t++) {
        const json_t *table = json_array_get(tables, (size_t)t);
        size_t n = json_array_size(table) < MAX_UNITS ? json_array_size(table) : MAX_UNITS;
        s->bytes[t] = arena_alloc(f->mem, (n + 1) * (n + 1) * sizeof(uint64_t));
        if (!read_stage_table(f, table, s, s->bytes[t]))
            return false;
    }
    s->unit_of = arena_alloc(f->mem, (size_t)(p->n_parts + 1) * sizeof(int));
    s->table_of = arena_alloc(f->mem, (size_t)p->n_devs * sizeof(int));
    return get_indices(f, "unit_of", s->unit_of, p->n_parts + 1, s->n_units) &&
           get_indices(f, "table_of", s->table_of, p->n_devs, s->n_tables);
}

static bool read_minimal(const struct from *f, struct plan_file *p)
{
    const json_t *proof, *list;
    struct from m, at;
    char where[64];
    int n;

    if (!get_object(f, "minimal", &m) || !get_int(&m, "devices", 0, MAX_FILE_DEVS, &p->minimal) ||
        !get_bool(&m, "proved", &p->proved) || !get_array(&m, "proof", 1000, &proof, &n))
        return false;
    if (json_object_get(m.o, "stages") == NULL)
        return true;
    if (!get_array(&m, "stages", 2, &list, &p->n_stages))
        return false;
    p->stages = arena_alloc(f->mem, 2 * sizeof(*p->stages));
    for (int i = 0; i < p->n_stages; i++)
        if (!element(&m, "minimal.stages", list, i, where, &at) ||
            !read_stages(&at, p, &p->stages[i]))
            return false;
    return true;
}

// --- the whole
// ------------------------------------------------------------------------------------

static bool read_head(const struct from *f, struct plan_file *p)
{
    const char *kv;
    struct from by, asked;

    if (!get_bool(f, "fits", &p->fits) || !get_i64(f, "context", 1, INT32_MAX, &p->context) ||
        !get_int(f, "slots", 1, 1 << 16, &p->slots) ||
        !get_int(f, "micro_batch", 1, 1 << 20, &p->micro_batch) || !get_text(f, "kv_type", &kv) ||
        !get_bool(f, "exact", &p->exact) || !get_hex(f, "fingerprint", &p->fingerprint) ||
        !get_int(f, "devices_used", 0, MAX_FILE_DEVS, &p->devices_used) ||
        !get_object(f, "made_by", &by) || !get_text(&by, "version", &p->version) ||
        !get_hex(&by, "model", &p->model) || !get_hex(&by, "graph", &p->graph) ||
        !get_hex(&by, "plan", &p->plan) || !get_object(f, "asked", &asked) ||
        !get_int(&asked, "outputs", 0, 1 << 20, &p->outputs) ||
        !get_u64(&asked, "reserve_bytes", &p->reserve) ||
        !get_u64(&asked, "guard_bytes", &p->guard) ||
        !get_bool(&asked, "no_vision", &p->no_vision) || !get_hex(f, "digest", &p->digest))
        return false;
    if (p->context > INT32_MAX / 2 / p->slots || p->outputs > p->micro_batch)
        return bad(f, "context", "context, slots and outputs that no plan has");
    p->on = "";
    if (json_object_get(asked.o, "on") != NULL && !get_text(&asked, "on", &p->on))
        return false;
    bool known = dtype_by_name(&p->kv, kv) &&
                 (p->kv == DTYPE_F16 || p->kv == DTYPE_F32 || p->kv == DTYPE_Q8_0);
    return known || bad(f, "kv_type", "f16, q8_0 or f32 must be there");
}

static uint64_t digest_of(const json_t *j)
{
    json_t *copy = json_copy((json_t *)(uintptr_t)j); // shallow: members are only taken out

    json_object_del(copy, "digest");
    json_object_del(copy, "plan_ms");
    char *text = json_dumps(copy, JSON_COMPACT | JSON_SORT_KEYS);
    uint64_t h = text != NULL ? hash_bytes(text, strlen(text), 0) : 0;
    free(text);
    json_decref(copy);
    return h;
}

static json_t *parse(const char *p, size_t n, struct err *e)
{
    json_error_t je;
    char shown[128];
    json_t *j = json_loadb(p, n, JSON_REJECT_DUPLICATES, &je);

    if (j == NULL)
        err_set(e, ERR_FORMAT, "no JSON: line %d: %s", je.line,
                err_bytes(shown, sizeof(shown), je.text, strlen(je.text)));
    return j;
}

bool plan_file_seal(struct buf *out, size_t start)
{
    json_t *j = parse(out->p + start, out->n - start, NULL);

    if (j == NULL)
        return false;
    while (out->n > start && out->p[out->n - 1] != '}') // reopened for one field more
        out->n--;
    out->n--;
    while (out->n > start && out->p[out->n - 1] == '\n')
        out->n--;
    bool ok = buf_printf(out, ",\n  \"digest\": \"%016" PRIx64 "\"\n}\n", digest_of(j));
    json_decref(j);
    return ok;
}

bool plan_file_parse(struct plan_file **out, const char *p, size_t n, struct err *e)
{
    struct plan_file *f = xcalloc(1, sizeof(*f));
    json_t *j = parse(p, n, e);
    struct from top = { .o = j, .where = "", .mem = &f->mem, .e = e };
    bool ok = j != NULL;

    *out = NULL;
    f->json = j;
    if (ok && json_object_get(j, "steps") == NULL)
        ok = err_set(e, ERR_FORMAT, "not a whole plan: `snug plan --json --full` writes one");
    ok = ok && read_head(&top, f) && read_devs(&top, f) && read_lists(&top, f) &&
         read_minimal(&top, f);
    if (!ok) {
        plan_file_free(f);
        return false;
    }
    f->digest_here = digest_of(j);
    *out = f;
    return true;
}

bool plan_file_read(struct plan_file **out, const char *path, struct err *e)
{
    char *text, shown[128];
    size_t n;

    *out = NULL;
    if (!file_read(&text, &n, path, PLAN_FILE_MAX, e))
        return false;
    bool ok = plan_file_parse(out, text, n, e) ||
              err_add(e, "%s", err_bytes(shown, sizeof(shown), path, strlen(path)));
    free(text);
    return ok;
}

void plan_file_free(struct plan_file *f)
{
    if (f == NULL)
        return;
    json_decref(f->json);
    arena_done(&f->mem);
    free(f);
}
