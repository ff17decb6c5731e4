// gguf.c - opening: one file, or the files of a split one; the tensors of all of them.

#include "gguf/gguf_int.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

static const struct gguf_opts no_opts;

static char *escaped(const char *path)
{
    char out[512];

    return xstrdup(err_bytes(out, sizeof(out), path, strlen(path)));
}

static bool read_part(struct part *p, const struct value *arch, uint64_t seed, bool head_only,
                      struct err *e)
{
    return gguf_head_read(p, arch, seed, e) && gguf_tensors_place(p, head_only, e);
}

// --- split files
// ------------------------------------------------------------------------------------

/// The end of a split file's name, as ggml-org/llama.cpp tools/gguf-split writes it: both counted
/// from 1, with at least five digits.
struct split_name {
    size_t stem; // bytes before "-00001-of-"
    unsigned no, count;
};

/// The digits that end at `*end`, five of them, read backwards; `*end` moves in front of them.
static bool five_digits(const char *s, size_t *end, unsigned *out)
{
    if (*end < 5)
        return false;
    *end -= 5;
    *out = 0;
    for (size_t i = 0; i < 5; i++) {
        if (s[*end + i] < '0' || s[*end + i] > '9')
            return false;
        *out = *out * 10 + (unsigned)(s[*end + i] - '0');
    }
    return true;
}

static bool before(const char *s, size_t *end, const char *what)
{
    size_t n = strlen(what);

    if (*end < n || memcmp(s + *end - n, what, n) != 0)
        return false;
    *end -= n;
    return true;
}

static bool parse_split_name(const char *path, struct split_name *out)
{
    size_t end = strlen(path);
    bool ok = before(path, &end, ".gguf") && five_digits(path, &end, &out->count) &&
              before(path, &end, "-of-") && five_digits(path, &end, &out->no) &&
              before(path, &end, "-");

    out->stem = end;
    return ok;
}

/// A whole number of the split keys; false and an error if it is there but is none.
static bool split_key(const struct part *p, const char *name, uint64_t missing, uint64_t *out,
                      struct err *e)
{
    const struct value *v = gguf_part_value(p, name);

    *out = missing;
    if (v == NULL || gguf_value_u64(v, out))
        return true;
    int i = (int)(v - p->values);
    return gguf_bad_at(e, ERR_FORMAT, p, p->key_at[i], "key %d \"%s\": not a whole number from 0",
                       i, name);
}

static bool bad_key(struct err *e, const struct part *p, const char *name, uint64_t is,
                    const char *why, uint64_t should)
{
    int i = gguf_index_find(&p->keys, str_of(name));

    if (i < 0)
        return gguf_bad_at(e, ERR_FORMAT, p, p->head_bytes, "key \"%s\": missing, %s %" PRIu64,
                           name, why, should);
    return gguf_bad_at(e, ERR_FORMAT, p, p->key_at[i], "key %d \"%s\": %" PRIu64 ", %s %" PRIu64, i,
                       name, is, why, should);
}

/// How many files the first one says there are. 0, which merged files keep, means one as well.
static bool split_count(const struct part *first, uint64_t *count, struct err *e)
{
    uint64_t no;

    if (!split_key(first, "split.count", 0, count, e))
        return false;
    if (*count == 0) {
        *count = 1;
        return true;
    }
    if (!split_key(first, "split.no", 0, &no, e))
        return false;
    if (no >= *count)
        return bad_key(e, first, "split.no", no, "split.count is", *count);
    if (*count > MAX_FILES)
        return gguf_bad_at(e, ERR_UNSUPPORTED, first,
                           first->key_at[gguf_index_find(&first->keys, str_of("split.count"))],
                           "key \"split.count\": %" PRIu64 ", more than %d files", *count,
                           MAX_FILES);
    if (no != 0)
        return bad_key(e, first, "split.no", no, "open the first file, which has", 0);
    return true;
}

/// Part `i` has to say that it is that, of as many, of the same model.
static bool check_later_part(const struct gguf *g, int i, struct err *e)
{
    const struct part *p = &g->parts[i];
    const struct value *first = gguf_part_value(&g->parts[0], "general.architecture");
    const struct value *arch = gguf_part_value(p, "general.architecture");
    uint64_t no, count;

    if (!split_key(p, "split.no", UINT64_MAX, &no, e) ||
        !split_key(p, "split.count", UINT64_MAX, &count, e))
        return false;
    if (no != (uint64_t)i)
        return bad_key(e, p, "split.no", no, "but its name says", (uint64_t)i);
    if (count != (uint64_t)g->n_parts)
        return bad_key(e, p, "split.count", count, "but the first file has", (uint64_t)g->n_parts);
    if (arch == NULL)
        return true;
    if (first == NULL || arch->type != GGUF_STR || first->type != GGUF_STR ||
        !str_eq((struct str){ arch->text, arch->n }, (struct str){ first->text, first->n }))
        return gguf_bad_at(e, ERR_FORMAT, p, p->key_at[arch - p->values],
                           "key \"general.architecture\": not that of the first file");
    return true;
}

static bool open_later_parts(struct gguf *g, const struct split_name *name,
                             const struct gguf_opts *o, struct err *e)
{
    for (int i = 1; i < g->n_parts; i++) {
        struct part *p = &g->parts[i];
        char *path =
            xasprintf("%.*s-%05d-of-%05u.gguf", (int)name->stem, g->path, i + 1, name->count);
        p->path = escaped(path);
        p->no_vocab = o->no_vocab;
        p->mapped = map_file(&p->map, path, !o->no_mmap, e);
        free(path);
        if (!p->mapped)
            return err_add(e, "file %d of %d", i + 1, g->n_parts);
        if (!read_part(p, gguf_part_value(&g->parts[0], "general.architecture"), g->seed,
                       o->head_only, e) ||
            !check_later_part(g, i, e))
            return false;
    }
    return true;
}

// --- all files
// --------------------------------------------------------------------------------------

/// The directories of all files become one.
static bool join_tensors(struct gguf *g, struct err *e)
{
    uint64_t n = 0;
    int at = 0, twice;
    char name[80];

    for (int f = 0; f < g->n_parts; f++)
        n += (uint64_t)g->parts[f].n_tensors;
    if (n > MAX_TENSORS)
        return err_set(e, ERR_UNSUPPORTED, "%s: %" PRIu64 " tensors in all files, more than %d",
                       g->parts[0].path, n, MAX_TENSORS);
    g->tensors = xcalloc((size_t)n, sizeof(*g->tensors));
    g->tensor_names = xcalloc((size_t)n, sizeof(*g->tensor_names));
    for (int f = 0; f < g->n_parts; f++) {
        struct part *p = &g->parts[f];
        for (int i = 0; i < p->n_tensors; i++, at++) {
            g->tensors[at] = p->tensors[i].t;
            g->tensors[at].file = f;
            g->tensor_names[at] = p->tensors[i].name;
        }
        if (p->bytes > p->map.bytes)
            g->head_only = true;
    }
    g->n_tensors = at;
    if (!gguf_index_make(&g->tensor_index, g->tensor_names, at, g->seed, &twice)) {
        const struct part *p = &g->parts[g->tensors[twice].file];
        struct str s = g->tensor_names[twice];
        return gguf_bad_at(
            e, ERR_FORMAT, p, (uint64_t)((const uint8_t *)s.p - p->copy) + p->left_out,
            "tensor \"%s\": it is there twice", err_bytes(name, sizeof(name), s.p, s.n));
    }
    for (int f = 0; f < g->n_parts; f++) {
        free(g->parts[f].tensors);
        g->parts[f].tensors = NULL;
    }
    return true;
}

/// Says how many tensors all files have; writers before it was added leave it out.
static bool check_total(const struct gguf *g, struct err *e)
{
    uint64_t total;

    if (g->n_parts == 1)
        return true;
    if (!split_key(&g->parts[0], "split.tensors.count", (uint64_t)g->n_tensors, &total, e))
        return false;
    if (total != (uint64_t)g->n_tensors)
        return bad_key(e, &g->parts[0], "split.tensors.count", total, "but the files have",
                       (uint64_t)g->n_tensors);
    return true;
}

static struct gguf *new_gguf(const char *path)
{
    struct gguf *g = xcalloc(1, sizeof(*g));

    g->path = xstrdup(path);
    g->seed = gguf_index_seed();
    g->n_parts = 1;
    g->parts = xcalloc(1, sizeof(*g->parts));
    g->parts[0].path = escaped(path);
    return g;
}

static bool open_all(struct gguf *g, const struct gguf_opts *o, struct err *e)
{
    struct split_name name = { 0 };
    struct part *first = &g->parts[0];
    uint64_t count;

    first->no_vocab = o->no_vocab;
    first->mapped = map_file(&first->map, g->path, !o->no_mmap, e);
    if (!first->mapped || !read_part(first, NULL, g->seed, o->head_only, e) ||
        !split_count(first, &count, e))
        return false;
    bool named = parse_split_name(g->path, &name);
    if (count > 1 && (!named || name.no != 1 || name.count != count))
        return bad_key(
            e, first, "split.count", count,
            "so its name must end in -00001-of-, the count with five digits and .gguf:", count);
    if (count == 1 && named && name.count > 1)
        return bad_key(e, first, "split.count", count, "but its name says", name.count);
    if (count > 1) {
        g->parts = xrealloc(g->parts, (size_t)count * sizeof(*g->parts));
        memset(g->parts + 1, 0, (size_t)(count - 1) * sizeof(*g->parts));
        g->n_parts = (int)count;
        if (!open_later_parts(g, &name, o, e))
            return false;
    }
    return join_tensors(g, e) && check_total(g, e);
}

bool gguf_open(struct gguf **out, const char *path, const struct gguf_opts *opts, struct err *e)
{
    struct gguf *g = new_gguf(path);

    *out = NULL;
    if (!open_all(g, opts != NULL ? opts : &no_opts, e)) {
        gguf_close(g);
        return false;
    }
    *out = g;
    return true;
}

bool gguf_open_mem(struct gguf **out, const void *p, uint64_t n, const char *name,
                   const struct gguf_opts *opts, struct err *e)
{
    struct gguf *g = new_gguf(name);
    struct part *first = &g->parts[0];
    uint64_t count = 1;

    *out = NULL;
    first->map = (struct map){ .p = p, .bytes = n, .data_end = n };
    first->no_vocab = opts != NULL && opts->no_vocab;
    bool ok = read_part(first, NULL, g->seed, opts != NULL && opts->head_only, e) &&
              split_count(first, &count, e);
    if (ok && count > 1)
        ok =
            err_set(e, ERR_UNSUPPORTED, "%s: split into %" PRIu64 " files, which are not in memory",
                    first->path, count);
    if (!ok || !join_tensors(g, e)) {
        gguf_close(g);
        return false;
    }
    *out = g;
    return true;
}

// --- heads fetched elsewhere
// ------------------------------------------------------------------------------------

uint64_t gguf_part_full(const struct part *p)
{
    return p->full != 0 ? p->full : p->map.bytes;
}

static struct part part_of_head(const struct gguf_head *h)
{
    ASSERT(h->n <= h->file_bytes);
    return (struct part){ .path = escaped(h->name),
                          .map = { .p = h->p, .bytes = h->n },
                          .full = h->file_bytes };
}

bool gguf_head_need(const struct gguf_head *h, uint64_t *need, struct err *e)
{
    struct part p = part_of_head(h);
    bool ok = gguf_head_end(&p, need, e);

    gguf_part_done(&p);
    return ok;
}

static bool open_heads(struct gguf *g, const struct gguf_head *head, struct err *e)
{
    const struct part *first = &g->parts[0];
    uint64_t count = 0;

    for (int i = 0; i < g->n_parts; i++) {
        struct part *p = &g->parts[i];
        const struct value *arch = i > 0 ? gguf_part_value(first, "general.architecture") : NULL;
        *p = part_of_head(&head[i]);
        bool ok = read_part(p, arch, g->seed, true, e);
        p->map = (struct map){ 0 }; // the head was copied
        if (!ok || (i == 0 && !split_count(p, &count, e)) || (i > 0 && !check_later_part(g, i, e)))
            return false;
        if (count != (uint64_t)g->n_parts)
            return bad_key(e, first, "split.count", count, "but the files at hand are",
                           (uint64_t)g->n_parts);
    }
    return join_tensors(g, e) && check_total(g, e);
}

bool gguf_open_heads(struct gguf **out, const struct gguf_head *head, int n, struct err *e)
{
    struct gguf *g = new_gguf(head[0].name);

    ASSERT(n > 0);
    *out = NULL;
    gguf_part_done(&g->parts[0]);
    g->parts = xrealloc(g->parts, (size_t)n * sizeof(*g->parts));
    memset(g->parts, 0, (size_t)n * sizeof(*g->parts));
    g->n_parts = n;
    if (!open_heads(g, head, e)) {
        gguf_close(g);
        return false;
    }
    *out = g;
    return true;
}

void gguf_close(struct gguf *g)
{
    if (g == NULL)
        return;
    for (int f = 0; f < g->n_parts; f++)
        gguf_part_done(&g->parts[f]);
    gguf_index_done(&g->tensor_index);
    free(g->tensor_names);
    free(g->tensors);
    free(g->parts);
    free(g->path);
    free(g);
}

// --- accessors
// --------------------------------------------------------------------------------------

const char *gguf_path(const struct gguf *g)
{
    return g->path;
}

int gguf_n_files(const struct gguf *g)
{
    return g->n_parts;
}

uint64_t gguf_file_bytes(const struct gguf *g, int file)
{
    ASSERT(file >= 0 && file < g->n_parts);
    return g->parts[file].bytes;
}

uint64_t gguf_data_offset(const struct gguf *g, int file)
{
    ASSERT(file >= 0 && file < g->n_parts);
    return g->parts[file].data_at;
}

uint32_t gguf_version(const struct gguf *g)
{
    return g->parts[0].version;
}

bool gguf_head_only(const struct gguf *g)
{
    return g->head_only;
}

uint64_t gguf_fingerprint(const struct gguf *g)
{
    uint64_t h = (uint64_t)g->n_parts;

    for (int f = 0; f < g->n_parts; f++)
        h = hash_bytes(&g->parts[f].hash, sizeof(g->parts[f].hash), h);
    return h;
}

int gguf_n_tensors(const struct gguf *g)
{
    return g->n_tensors;
}

const struct gguf_tensor *gguf_tensor(const struct gguf *g, int i)
{
    ASSERT(i >= 0 && i < g->n_tensors);
    return &g->tensors[i];
}

int gguf_find_tensor(const struct gguf *g, const char *name)
{
    return gguf_index_find(&g->tensor_index, str_of(name));
}

const void *gguf_data(const struct gguf *g, int i)
{
    const struct gguf_tensor *t = gguf_tensor(g, i);
    const struct map *m = &g->parts[t->file].map;

    return t->offset + t->bytes <= m->bytes ? m->p + t->offset : NULL;
}

uint64_t gguf_data_end(const struct gguf *g, int file)
{
    ASSERT(file >= 0 && file < g->n_parts);
    return g->parts[file].map.data_end;
}

const void *gguf_file_map(const struct gguf *g, int file, uint64_t *bytes)
{
    ASSERT(file >= 0 && file < g->n_parts);
    *bytes = g->parts[file].map.bytes;
    return g->parts[file].map.p;
}
