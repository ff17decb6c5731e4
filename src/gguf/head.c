// head.c - the head of a file: header, keys, directory of tensors.
//
// Walked twice by the same code: first in the mapping, which says where the head ends and whether
// all of it is there; then in a copy of our own, and only that walk keeps anything. So nothing is
// allocated before the bytes that ask for it were seen, and whoever rewrites the file meanwhile
// changes nothing that was checked.

#include "gguf/gguf_int.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__,
               "arrays are used as they lie in the file");

enum {
    HEADER_BYTES = 24,                    // magic, version, two counts
    MIN_KEY_BYTES = 8 + 1 + 4 + 1,        // length, one letter, type, a byte
    MIN_TENSOR_BYTES = 8 + 1 + 4 + 4 + 8, // length, one letter, no dimensions, type, offset
    MAX_KEY_NAME = (1 << 16) - 1,
    MAX_TENSOR_NAME = 63,
};

struct walk {
    struct reader r;
    struct part *part;
    struct err *e;
    uint64_t full;      // bytes of the whole file, of which only the beginning may be in `r`
    bool keep;          // the second walk
    const char *item;   // what we are in, for messages: "key", "tensor", NULL
    int i;              // its number
    struct str name;    // and name, where known
    uint64_t n_strings; // in arrays so far
    int gap;            // of the copy: the next one
    uint64_t skipped;   // of the copy: bytes of the file that were left out before `r.at`
    const struct value *arch;
};

// Bytes of one value; 0 where that is not fixed.
static const uint8_t type_bytes[GGUF_TYPE_COUNT] = {
    [GGUF_U8] = 1,  [GGUF_I8] = 1,   [GGUF_U16] = 2, [GGUF_I16] = 2, [GGUF_U32] = 4, [GGUF_I32] = 4,
    [GGUF_F32] = 4, [GGUF_BOOL] = 1, [GGUF_U64] = 8, [GGUF_I64] = 8, [GGUF_F64] = 8,
};

bool gguf_bad_at(struct err *e, enum err_code code, const struct part *p, uint64_t at,
                 const char *fmt, ...)
{
    char text[512];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    return err_set(e, code, "%s: byte %" PRIu64 ": %s", p->path, at, text);
}

/// The same, with the key or tensor that is being read.
PRINTF_LIKE(4, 5)
static bool bad(struct walk *w, enum err_code code, uint64_t at, const char *fmt, ...)
{
    char text[256], name[80];
    va_list ap;

    at += w->skipped;
    va_start(ap, fmt);
    vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    if (w->item == NULL)
        return gguf_bad_at(w->e, code, w->part, at, "%s", text);
    if (w->name.p == NULL)
        return gguf_bad_at(w->e, code, w->part, at, "%s %d: %s", w->item, w->i, text);
    return gguf_bad_at(w->e, code, w->part, at, "%s %d \"%s\": %s", w->item, w->i,
                       err_bytes(name, sizeof(name), w->name.p, w->name.n), text);
}

static uint64_t left(const struct walk *w)
{
    return w->full - w->r.at;
}

/// Of that, what is here.
static uint64_t here(const struct walk *w)
{
    return w->r.n - w->r.at;
}

/// The next `bytes` are not here. If the file has them, the part says up to where they are needed.
static bool cut(struct walk *w, const char *field, uint64_t bytes)
{
    if (bytes <= left(w)) {
        w->part->need = w->r.at + bytes;
        return bad(w, ERR_FORMAT, w->r.at,
                   "%s: %" PRIu64 " bytes needed, but only the first %" PRIu64
                   " bytes of the file are here",
                   field, bytes, w->r.n);
    }
    return bad(w, ERR_FORMAT, w->r.at,
               "%s: %" PRIu64 " bytes needed, but the file has %" PRIu64 " more", field, bytes,
               left(w));
}

static bool get_u32(struct walk *w, const char *field, uint32_t *out)
{
    return read_u32(&w->r, out) || cut(w, field, 4);
}

static bool get_u64(struct walk *w, const char *field, uint64_t *out)
{
    return read_u64(&w->r, out) || cut(w, field, 8);
}

static bool get_str(struct walk *w, const char *field, struct str *out)
{
    uint64_t at = w->r.at, n;
    const uint8_t *p;

    if (!get_u64(w, field, &n))
        return false;
    if (n > left(w))
        return bad(w, ERR_FORMAT, at,
                   "%s: length %" PRIu64 ", but the file has %" PRIu64 " bytes more", field, n,
                   left(w));
    if (!read_bytes(&w->r, n, &p))
        return cut(w, field, n);
    *out = (struct str){ (const char *)p, (size_t)n };
    return true;
}

/// A name of a key or tensor: something that can be printed, compared and looked up.
static bool get_name(struct walk *w, uint64_t max, struct str *out)
{
    uint64_t at = w->r.at;
    struct str s;

    if (!get_str(w, "name", &s))
        return false;
    if (s.n == 0)
        return bad(w, ERR_FORMAT, at, "name: length 0");
    if (s.n > max)
        return bad(w, ERR_FORMAT, at, "name: length %zu, more than %" PRIu64, s.n, max);
    for (size_t i = 0; i < s.n;) {
        uint32_t c;
        if (s.p[i] >= 0x20 && s.p[i] < 0x7f) { // most of them
            i++;
            continue;
        }
        size_t len = gguf_utf8_char(s.p + i, s.n - i, &c);
        if (len == 0 || !gguf_printable(c))
            return bad(w, ERR_FORMAT, at + 8 + i, "name: byte 0x%02x is no text",
                       (unsigned)(unsigned char)s.p[i]);
        i += len;
    }
    *out = s;
    return true;
}

static bool get_type(struct walk *w, const char *field, enum gguf_type *out)
{
    uint64_t at = w->r.at;
    uint32_t type;

    if (!get_u32(w, field, &type))
        return false;
    if (type >= GGUF_TYPE_COUNT)
        return bad(w, ERR_FORMAT, at, "%s: %" PRIu32 " is no type of GGUF", field, type);
    *out = (enum gguf_type)type;
    return true;
}

// --- values
// -----------------------------------------------------------------------------------------

static bool check_bools(struct walk *w, const uint8_t *p, uint64_t n)
{
    for (uint64_t i = 0; i < n; i++) {
        if (p[i] > 1)
            return bad(w, ERR_FORMAT, w->r.at - n + i, "value: %u is neither 0 nor 1 (bool)",
                       (unsigned)p[i]);
    }
    return true;
}

static bool get_scalar(struct walk *w, struct value *v)
{
    uint8_t bytes = type_bytes[v->type];
    const uint8_t *p;
    uint64_t bits = 0;

    if (!read_bytes(&w->r, bytes, &p))
        return cut(w, "value", bytes);
    memcpy(&bits, p, bytes);
    v->u = bits;
    if (v->type == GGUF_I8 || v->type == GGUF_I16 || v->type == GGUF_I32) {
        unsigned unused = 64 - 8 * (unsigned)bytes;
        v->i = (int64_t)(bits << unused) >> unused;
    } else if (v->type == GGUF_F32) {
        memcpy(&v->f, p, sizeof(v->f));
    } else if (v->type == GGUF_BOOL) {
        return check_bools(w, p, 1);
    }
    return true;
}

/// String `i` of an array is not there: why.
static bool bad_string(struct walk *w, uint64_t i)
{
    uint64_t n;

    if (here(w) < 8)
        return cut(w, "string of array", 8);
    memcpy(&n, w->r.p + w->r.at, 8);
    if (n > left(w) - 8)
        return bad(w, ERR_FORMAT, w->r.at,
                   "string %" PRIu64 " of array: length %" PRIu64 ", but the file has %" PRIu64
                   " bytes more",
                   i, n, left(w) - 8);
    return cut(w, "string of array", 8 + n);
}

/// From length to length: half a million of them, so nothing else is done.
static bool pass_strings(struct walk *w, uint64_t count)
{
    const uint8_t *p = w->r.p;
    uint64_t at = w->r.at, end = w->r.n, n;

    for (uint64_t i = 0; i < count; i++) {
        bool ok = end - at >= 8;
        if (ok) {
            memcpy(&n, p + at, 8);
            ok = n <= end - at - 8;
        }
        if (!ok) {
            w->r.at = at;
            return bad_string(w, i);
        }
        at += 8 + n;
    }
    w->r.at = at;
    return true;
}

static bool list_strings(struct walk *w, struct str *out, uint64_t count)
{
    for (uint64_t i = 0; i < count; i++) {
        uint64_t n;
        if (here(w) < 8)
            return bad_string(w, i);
        memcpy(&n, w->r.p + w->r.at, 8);
        if (n > here(w) - 8)
            return bad_string(w, i);
        out[i] = (struct str){ (const char *)w->r.p + w->r.at + 8, (size_t)n };
        w->r.at += 8 + n;
    }
    return true;
}

/// The elements of an array of strings. This is most of a head: a quarter of a million tokens.
static bool get_strings(struct walk *w, struct value *v)
{
    struct str *out = NULL;

    w->n_strings += v->n; // at most the file's bytes / 8 are added: no overflow
    if (w->n_strings > MAX_STRINGS)
        return bad(w, ERR_UNSUPPORTED, w->r.at - 8,
                   "array count: %" PRIu64 ", more than %d strings", v->n, MAX_STRINGS);
    if (w->keep) {
        out = xmalloc((size_t)v->n * sizeof(*out));
        w->part->strs =
            xrealloc(w->part->strs, (size_t)(w->part->n_strs + 1) * sizeof(*w->part->strs));
        w->part->strs[w->part->n_strs++] = out;
    }
    v->str = out;
    return out != NULL ? list_strings(w, out, v->n) : pass_strings(w, v->n);
}

/// Moves an array's elements down to where they are aligned: at most 7 bytes, over its own count,
/// which was read. Only in the copy.
static const void *align_elements(struct walk *w, const uint8_t *p, uint64_t bytes,
                                  uint8_t elem_bytes)
{
    uint8_t *from = w->part->copy + (p - w->r.p);
    uint8_t *to = from - (uintptr_t)from % elem_bytes;

    if (to != from)
        memmove(to, from, (size_t)bytes);
    return to;
}

static bool is_vocabulary(struct str key)
{
    static const char prefix[] = "tokenizer.";

    return key.n >= sizeof(prefix) - 1 && memcmp(key.p, prefix, sizeof(prefix) - 1) == 0;
}

/// The first walk found elements here, which the copy does not have. The copy was made after it:
/// type and count have to be those that were seen.
static bool skip_gap(struct walk *w, const struct value *v)
{
    const struct gap *gap = &w->part->gap[w->gap++];

    if (gap->at != w->r.at + w->skipped || gap->n != v->n || gap->elem != v->elem)
        return bad(w, ERR_FORMAT, w->r.at, "array: the file changed while it was read");
    w->skipped += gap->bytes;
    return true;
}

static bool get_elements(struct walk *w, struct value *v, uint64_t count_at)
{
    const uint8_t *p;
    uint8_t elem_bytes = type_bytes[v->elem];
    uint8_t at_least = v->elem == GGUF_STR ? 8 : elem_bytes;
    if (v->n > left(w) / at_least)
        return bad(w, ERR_FORMAT, count_at,
                   "array count: %" PRIu64 " elements of %u bytes or more, but the "
                   "file has %" PRIu64 " bytes more",
                   v->n, (unsigned)at_least, left(w));
    if (v->elem == GGUF_STR)
        return get_strings(w, v);
    uint64_t bytes = v->n * elem_bytes; // fits: no more than left()
    if (!read_bytes(&w->r, bytes, &p))
        return cut(w, "array", bytes);
    if (v->elem == GGUF_BOOL && !check_bools(w, p, v->n))
        return false;
    v->data = w->keep ? align_elements(w, p, bytes, elem_bytes) : NULL;
    return true;
}

static bool get_array(struct walk *w, struct value *v)
{
    struct part *p = w->part;
    uint64_t at = w->r.at;

    if (!get_type(w, "array type", &v->elem))
        return false;
    if (v->elem == GGUF_ARR)
        return bad(w, ERR_UNSUPPORTED, at, "array type: an array of arrays");
    at = w->r.at;
    if (!get_u64(w, "array count", &v->n))
        return false;
    bool vocabulary = is_vocabulary(w->name);
    if (w->keep && p->no_vocab && vocabulary && w->gap < p->n_gaps)
        return skip_gap(w, v);
    uint64_t from = w->r.at;
    if (!get_elements(w, v, at))
        return false;
    if (!w->keep && vocabulary && p->n_gaps < MAX_GAPS)
        p->gap[p->n_gaps++] = (struct gap){ from, w->r.at - from, v->n, v->elem };
    return true;
}

static bool get_value(struct walk *w, struct value *v)
{
    struct str s;

    *v = (struct value){ 0 };
    if (!get_type(w, "type", &v->type))
        return false;
    if (v->type == GGUF_ARR)
        return get_array(w, v);
    if (v->type != GGUF_STR)
        return get_scalar(w, v);
    if (!get_str(w, "value", &s))
        return false;
    v->text = s.p;
    v->n = s.n;
    return true;
}

// --- the walk
// ---------------------------------------------------------------------------------------

/// The file formats before GGUF, by their first four bytes as a number.
static const char *old_format(uint32_t magic)
{
    switch (magic) {
    case 0x67676d6c:
        return "GGML (2022)";
    case 0x67676d66:
        return "GGMF (2023)";
    case 0x67676a74:
        return "GGJT (2023)";
    case 0x67676c61:
        return "GGLA, a LoRA adapter (2023)";
    default:
        return NULL;
    }
}

static bool walk_magic(struct walk *w)
{
    uint32_t magic, version;
    char seen[20];

    if (!get_u32(w, "magic", &magic))
        return false;
    if (memcmp(w->r.p, "GGUF", 4) != 0) {
        if (old_format(magic) != NULL)
            return bad(w, ERR_UNSUPPORTED, 0, "magic: this is %s; only GGUF is read",
                       old_format(magic));
        return bad(w, ERR_FORMAT, 0, "magic: \"%s\" is not \"GGUF\"",
                   err_bytes(seen, sizeof(seen), w->r.p, 4));
    }
    if (!get_u32(w, "version", &version))
        return false;
    w->part->version = version;
    if (version == 2 || version == 3)
        return true;
    if (version == 1)
        return bad(w, ERR_UNSUPPORTED, 4,
                   "version: 1 is not read (32-bit lengths, used in August 2023 only)");
    if ((version & 0xffff) == 0 && version != 0)
        return bad(w, ERR_UNSUPPORTED, 4,
                   "version: 0x%08" PRIx32 ", a big-endian file; only little "
                   "endian is read",
                   version);
    return bad(w, version == 0 ? ERR_FORMAT : ERR_UNSUPPORTED, 4,
               "version: %" PRIu32 ", but only 2 and 3 are read", version);
}

/// A count from the header: there must be room for so many, and a limit.
static bool get_count(struct walk *w, const char *field, uint64_t at_least, uint64_t limit,
                      int *out)
{
    uint64_t at = w->r.at, n;

    if (!get_u64(w, field, &n))
        return false;
    uint64_t room = w->full > HEADER_BYTES ? w->full - HEADER_BYTES : 0;
    if (n > room / at_least)
        return bad(w, ERR_FORMAT, at,
                   "%s: %" PRIu64 ", but a file of %" PRIu64 " bytes holds at most %" PRIu64, field,
                   n, w->full, room / at_least);
    if (n > limit)
        return bad(w, ERR_UNSUPPORTED, at, "%s: %" PRIu64 ", more than %" PRIu64, field, n, limit);
    *out = (int)n;
    return true;
}

static bool walk_keys(struct walk *w, int n_keys)
{
    struct part *p = w->part;

    w->item = "key";
    for (w->i = 0; w->i < n_keys; w->i++) {
        uint64_t at = w->r.at, before = w->skipped;
        struct str name;
        struct value v;

        w->name = (struct str){ 0 };
        if (!get_name(w, MAX_KEY_NAME, &name))
            return false;
        w->name = name;
        if (!get_value(w, &v))
            return false;
        if (w->keep) {
            p->key_names[w->i] = name;
            p->values[w->i] = v;
            p->key_at[w->i] = (uint32_t)(at + before);
            p->n_keys = w->i + 1;
        }
    }
    w->item = NULL;
    return true;
}

static bool walk_tensors(struct walk *w, int n_tensors, bool is_gptoss)
{
    struct part *p = w->part;

    w->item = "tensor";
    for (w->i = 0; w->i < n_tensors; w->i++) {
        struct entry en = { 0 };
        uint64_t dims[4] = { 1, 1, 1, 1 };
        uint32_t n_dims, type;
        struct err why;

        w->name = (struct str){ 0 };
        if (!get_name(w, MAX_TENSOR_NAME, &en.name))
            return false;
        w->name = en.name;
        uint64_t at = w->r.at;
        if (!get_u32(w, "dimensions", &n_dims))
            return false;
        if (n_dims > 4)
            return bad(w, ERR_FORMAT, at, "dimensions: %" PRIu32 ", more than 4", n_dims);
        for (uint32_t d = 0; d < n_dims; d++) {
            if (!get_u64(w, "dimension", &dims[d]))
                return false;
        }
        if (!get_u32(w, "type", &type))
            return false;
        en.at = (uint32_t)(w->r.at + w->skipped);
        if (!get_u64(w, "offset", &en.t.offset))
            return false;
        if (!w->keep)
            continue;
        if (!gguf_tensor_shape(&en.t, dims, n_dims, type, is_gptoss, &why))
            return bad(w, why.code, at, "%s", why.msg);
        p->tensors[w->i] = en;
        p->n_tensors = w->i + 1;
    }
    w->item = NULL;
    return true;
}

/// A power of two from 8 (the spec: a multiple of 8), 32 where the key is missing.
static bool find_alignment(struct part *p, struct err *e)
{
    int i = gguf_index_find(&p->keys, str_of("general.alignment"));

    p->alignment = 32;
    if (i < 0)
        return true;
    const struct value *v = &p->values[i];
    if (v->type != GGUF_U32)
        return gguf_bad_at(e, ERR_FORMAT, p, p->key_at[i],
                           "key %d \"general.alignment\": type %d instead of u32", i, (int)v->type);
    if (v->u < 8 || v->u > MAX_ALIGNMENT || (v->u & (v->u - 1)) != 0)
        return gguf_bad_at(e, ERR_FORMAT, p, p->key_at[i],
                           "key %d \"general.alignment\": %" PRIu64
                           " is no power of two from 8 to %d",
                           i, v->u, MAX_ALIGNMENT);
    p->alignment = v->u;
    return true;
}

static bool index_keys(struct part *p, uint64_t seed, struct err *e)
{
    char name[80];
    int twice;

    if (gguf_index_make(&p->keys, p->key_names, p->n_keys, seed, &twice))
        return true;
    return gguf_bad_at(e, ERR_FORMAT, p, p->key_at[twice], "key %d \"%s\": it is there twice",
                       twice,
                       err_bytes(name, sizeof(name), p->key_names[twice].p, p->key_names[twice].n));
}

static bool walk_head(struct walk *w, uint64_t seed)
{
    static const struct value none = { 0 };
    struct part *p = w->part;
    const struct value *arch = w->arch;
    int n_tensors, n_keys;

    if (!walk_magic(w) ||
        !get_count(w, "tensor count", MIN_TENSOR_BYTES, MAX_TENSORS, &n_tensors) ||
        !get_count(w, "key count", MIN_KEY_BYTES, MAX_KEYS, &n_keys))
        return false;
    if (w->keep) {
        p->key_names = xcalloc((size_t)n_keys, sizeof(*p->key_names));
        p->values = xcalloc((size_t)n_keys, sizeof(*p->values));
        p->key_at = xcalloc((size_t)n_keys, sizeof(*p->key_at));
        p->tensors = xcalloc((size_t)n_tensors, sizeof(*p->tensors));
    }
    if (!walk_keys(w, n_keys))
        return false;
    if (w->keep) {
        if (!index_keys(p, seed, w->e) || !find_alignment(p, w->e))
            return false;
        if (arch == NULL)
            arch = gguf_part_value(p, "general.architecture");
    }
    if (arch == NULL)
        arch = &none;
    bool is_gptoss =
        arch->type == GGUF_STR && str_is((struct str){ arch->text, arch->n }, "gptoss");
    return walk_tensors(w, n_tensors, is_gptoss);
}

/// Puts a 0 behind each name and text: there lies the next field's first byte, which was read.
static void terminate(struct part *p)
{
    uint8_t *copy = p->copy;
    const char *base = (const char *)copy;

    for (int i = 0; i < p->n_keys; i++) {
        const struct value *v = &p->values[i];
        copy[p->key_names[i].p - base + (ptrdiff_t)p->key_names[i].n] = 0;
        if (v->type == GGUF_STR)
            copy[v->text - base + (ptrdiff_t)v->n] = 0;
        if (v->type != GGUF_ARR || v->elem != GGUF_STR || v->str == NULL)
            continue;
        for (uint64_t k = 0; k < v->n; k++)
            copy[v->str[k].p - base + (ptrdiff_t)v->str[k].n] = 0;
    }
    for (int i = 0; i < p->n_tensors; i++) {
        copy[p->tensors[i].name.p - base + (ptrdiff_t)p->tensors[i].name.n] = 0;
        p->tensors[i].t.name = p->tensors[i].name.p;
    }
}

static struct walk first_walk(struct part *p, struct err *e)
{
    p->n_gaps = 0;
    return (struct walk){
        .r = { .p = p->map.p, .n = p->map.bytes }, .full = gguf_part_full(p), .part = p, .e = e
    };
}

bool gguf_head_end(struct part *p, uint64_t *end, struct err *e)
{
    struct walk look = first_walk(p, e);

    p->need = 0;
    bool ok = walk_head(&look, 0);
    *end = ok ? look.r.at : p->need;
    return ok || p->need != 0;
}

/// Copies the head, with or without its gaps, and hashes it, piece by piece: with them it is the
/// same number.
static void copy_head(struct part *p)
{
    uint64_t gaps = 0, at = 0;
    uint8_t *to;

    for (int i = 0; i < p->n_gaps; i++)
        gaps += p->gap[i].bytes;
    p->left_out = p->no_vocab ? gaps : 0;
    p->copy = to = xmalloc((size_t)(p->head_bytes - p->left_out) + 1); // a last text's 0
    p->hash = 0;
    for (int i = 0; i <= p->n_gaps; i++) {
        uint64_t end = i < p->n_gaps ? p->gap[i].at : p->head_bytes;
        memcpy(to, p->map.p + at, (size_t)(end - at));
        p->hash = hash_bytes(to, (size_t)(end - at), p->hash);
        to += end - at;
        at = end;
        if (i == p->n_gaps)
            break;
        uint64_t bytes = p->gap[i].bytes;
        const uint8_t *elements = p->map.p + at;
        if (!p->no_vocab) {
            elements = memcpy(to, elements, (size_t)bytes);
            to += bytes;
        }
        p->hash = hash_bytes(elements, (size_t)bytes, p->hash);
        at += bytes;
    }
}

bool gguf_head_read(struct part *p, const struct value *arch, uint64_t seed, struct err *e)
{
    struct walk look = first_walk(p, e);

    if (!walk_head(&look, seed))
        return false;
    if (look.r.at > MAX_HEAD_BYTES)
        return gguf_bad_at(e, ERR_UNSUPPORTED, p, look.r.at, "a head of more than %d bytes",
                           MAX_HEAD_BYTES);
    p->head_bytes = look.r.at;
    copy_head(p);
    if (p->mapped) // megabytes, where the vocabulary is large
        map_forget(&p->map, p->head_bytes);

    uint64_t kept = p->head_bytes - p->left_out;
    struct walk keep = { .r = { .p = p->copy, .n = kept },
                         .full = kept,
                         .part = p,
                         .e = e,
                         .keep = true,
                         .arch = arch };
    if (!walk_head(&keep, seed))
        return false;
    terminate(p);
    return true;
}

const struct value *gguf_part_value(const struct part *p, const char *name)
{
    int i = gguf_index_find(&p->keys, str_of(name));

    return i < 0 ? NULL : &p->values[i];
}

void gguf_part_done(struct part *p)
{
    if (p->mapped)
        map_close(&p->map);
    for (int i = 0; i < p->n_strs; i++)
        free(p->strs[i]);
    free(p->strs);
    free(p->tensors);
    free(p->key_names);
    free(p->values);
    free(p->key_at);
    gguf_index_done(&p->keys);
    free(p->copy);
    free(p->path);
    *p = (struct part){ 0 };
}
