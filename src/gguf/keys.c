// keys.c - what the keys say, by the type the caller wants.

#include "gguf/gguf_int.h"

#include <float.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static const struct value *find(const struct gguf *g, const char *name)
{
    return gguf_part_value(&g->parts[0], name);
}

int gguf_n_keys(const struct gguf *g)
{
    return g->parts[0].n_keys;
}

const char *gguf_key_name(const struct gguf *g, int i)
{
    ASSERT(i >= 0 && i < gguf_n_keys(g));
    return g->parts[0].key_names[i].p;
}

enum gguf_type gguf_key_type(const struct gguf *g, int i)
{
    ASSERT(i >= 0 && i < gguf_n_keys(g));
    return g->parts[0].values[i].type;
}

int gguf_find_key(const struct gguf *g, const char *name)
{
    return gguf_index_find(&g->parts[0].keys, str_of(name));
}

// --- numbers
// ----------------------------------------------------------------------------------------

static bool is_signed(enum gguf_type t)
{
    return t == GGUF_I8 || t == GGUF_I16 || t == GGUF_I32 || t == GGUF_I64;
}

static bool is_unsigned(enum gguf_type t)
{
    return t == GGUF_U8 || t == GGUF_U16 || t == GGUF_U32 || t == GGUF_U64;
}

bool gguf_value_u64(const struct value *v, uint64_t *out)
{
    if (!is_unsigned(v->type) && !(is_signed(v->type) && v->i >= 0))
        return false;
    *out = v->u;
    return true;
}

/// Integers and bools that fit; floats that are whole and fit.
static bool number_i64(const struct value *v, int64_t *out)
{
    double d;

    if (is_signed(v->type)) {
        *out = v->i;
        return true;
    }
    if (is_unsigned(v->type) || v->type == GGUF_BOOL) {
        if (v->u > (uint64_t)INT64_MAX)
            return false;
        *out = (int64_t)v->u;
        return true;
    }
    if (v->type != GGUF_F32 && v->type != GGUF_F64)
        return false;
    d = v->type == GGUF_F32 ? (double)v->f : v->d;
    if (!(d >= -0x1p63 && d < 0x1p63) || d != (double)(int64_t)d)
        return false;
    *out = (int64_t)d;
    return true;
}

static bool number_f64(const struct value *v, double *out)
{
    if (v->type == GGUF_F32)
        *out = (double)v->f;
    else if (v->type == GGUF_F64)
        *out = v->d;
    else if (is_signed(v->type))
        *out = (double)v->i;
    else if (is_unsigned(v->type) || v->type == GGUF_BOOL)
        *out = (double)v->u;
    else
        return false;
    return true;
}

bool gguf_get_i64(const struct gguf *g, const char *name, int64_t *out)
{
    const struct value *v = find(g, name);

    return v != NULL && (is_signed(v->type) || is_unsigned(v->type)) && number_i64(v, out);
}

bool gguf_get_u32(const struct gguf *g, const char *name, uint32_t *out)
{
    const struct value *v = find(g, name);
    uint64_t u;

    if (v == NULL || !gguf_value_u64(v, &u) || u > UINT32_MAX)
        return false;
    *out = (uint32_t)u;
    return true;
}

bool gguf_get_f32(const struct gguf *g, const char *name, float *out)
{
    const struct value *v = find(g, name);
    double d;

    if (v == NULL || v->type == GGUF_BOOL || !number_f64(v, &d))
        return false;
    if (isfinite(d) && fabs(d) > (double)FLT_MAX)
        return false;
    *out = v->type == GGUF_F32 ? v->f : (float)d;
    return true;
}

bool gguf_get_bool(const struct gguf *g, const char *name, bool *out)
{
    const struct value *v = find(g, name);

    if (v == NULL || v->type != GGUF_BOOL)
        return false;
    *out = v->u != 0;
    return true;
}

bool gguf_get_str(const struct gguf *g, const char *name, struct str *out)
{
    const struct value *v = find(g, name);

    if (v == NULL || v->type != GGUF_STR)
        return false;
    *out = (struct str){ v->text, v->n };
    return true;
}

// --- arrays
// -----------------------------------------------------------------------------------------

bool gguf_get_arr(const struct gguf *g, const char *name, struct gguf_arr *out)
{
    const struct value *v = find(g, name);

    if (v == NULL || v->type != GGUF_ARR)
        return false;
    *out = (struct gguf_arr){ v->elem, v->n, v->elem == GGUF_STR ? NULL : v->data };
    return true;
}

const struct str *gguf_arr_strs(const struct gguf *g, const char *name, uint64_t *n)
{
    const struct value *v = find(g, name);

    if (v == NULL || v->type != GGUF_ARR || v->elem != GGUF_STR || v->str == NULL)
        return NULL;
    *n = v->n;
    return v->str;
}

struct str gguf_arr_str(const struct gguf *g, const char *name, uint64_t i)
{
    uint64_t n;
    const struct str *s = gguf_arr_strs(g, name, &n);

    return s != NULL && i < n ? s[i] : (struct str){ 0 };
}

/// Element `i` as if it were a key's own value; false past the end, and for strings.
static bool element(const struct gguf_arr *a, uint64_t i, struct value *v)
{
    *v = (struct value){ .type = a->type };
    if (i >= a->n || a->data == NULL)
        return false;
    switch (a->type) {
    case GGUF_U8:
    case GGUF_BOOL:
        v->u = ((const uint8_t *)a->data)[i];
        return true;
    case GGUF_I8:
        v->i = ((const int8_t *)a->data)[i];
        return true;
    case GGUF_U16:
        v->u = ((const uint16_t *)a->data)[i];
        return true;
    case GGUF_I16:
        v->i = ((const int16_t *)a->data)[i];
        return true;
    case GGUF_U32:
        v->u = ((const uint32_t *)a->data)[i];
        return true;
    case GGUF_I32:
        v->i = ((const int32_t *)a->data)[i];
        return true;
    case GGUF_F32:
        v->f = ((const float *)a->data)[i];
        return true;
    case GGUF_U64:
        v->u = ((const uint64_t *)a->data)[i];
        return true;
    case GGUF_I64:
        v->i = ((const int64_t *)a->data)[i];
        return true;
    case GGUF_F64:
        v->d = ((const double *)a->data)[i];
        return true;
    case GGUF_STR:
    case GGUF_ARR:
    case GGUF_TYPE_COUNT:
        break;
    }
    return false;
}

bool gguf_arr_i64(const struct gguf_arr *a, uint64_t i, int64_t *out)
{
    struct value v;

    return element(a, i, &v) && number_i64(&v, out);
}

bool gguf_arr_f64(const struct gguf_arr *a, uint64_t i, double *out)
{
    struct value v;

    return element(a, i, &v) && number_f64(&v, out);
}

// --- text for people
// --------------------------------------------------------------------------------

enum { TEXT_BYTES = 120, TEXT_ELEMENTS = 8 }; // shown of a string, of an array

/// In quotes, as in JSON but for bytes that are no UTF-8 (\xff); "..." where it is cut.
static bool add_text(struct buf *out, struct str s)
{
    if (!buf_addz(out, "\""))
        return false;
    for (size_t i = 0; i < s.n;) {
        uint32_t c;
        size_t len = gguf_utf8_char(s.p + i, s.n - i, &c);
        if (i + (len != 0 ? len : 1) > TEXT_BYTES)
            return buf_printf(out, "...\" (%zu bytes)", s.n);
        if (len == 0) {
            if (!buf_printf(out, "\\x%02x", (unsigned)(unsigned char)s.p[i++]))
                return false;
            continue;
        }
        bool ok;
        if (c == '"' || c == '\\')
            ok = buf_printf(out, "\\%c", (int)c);
        else if (c == '\n' || c == '\t' || c == '\r')
            ok = buf_addz(out, c == '\n' ? "\\n" : c == '\t' ? "\\t" : "\\r");
        else if (!gguf_printable(c))
            ok = buf_printf(out, "\\u%04" PRIx32, c);
        else
            ok = buf_add(out, s.p + i, len);
        if (!ok)
            return false;
        i += len;
    }
    return buf_addz(out, "\"");
}

/// With as few digits as say exactly this number.
static bool add_float(struct buf *out, double d, bool is_f32)
{
    char text[32];

    if (fabs(d) < 1e9 && d == floor(d))
        return buf_printf(out, "%.0f", d);
    for (int digits = 1; digits <= (is_f32 ? 9 : 17); digits++) {
        snprintf(text, sizeof(text), "%.*g", digits, d);
        if (is_f32 ? strtof(text, NULL) == (float)d : strtod(text, NULL) == d)
            break;
    }
    return buf_addz(out, text);
}

static bool add_value(struct buf *out, const struct value *v)
{
    if (is_signed(v->type))
        return buf_printf(out, "%" PRId64, v->i);
    if (is_unsigned(v->type))
        return buf_printf(out, "%" PRIu64, v->u);
    if (v->type == GGUF_BOOL)
        return buf_addz(out, v->u != 0 ? "true" : "false");
    if (v->type == GGUF_F32)
        return add_float(out, (double)v->f, true);
    if (v->type == GGUF_F64)
        return add_float(out, v->d, false);
    return add_text(out, (struct str){ v->text, v->n });
}

static bool add_array(struct buf *out, const struct value *v)
{
    struct gguf_arr a = { v->elem, v->n, v->elem == GGUF_STR ? NULL : v->data };

    if (!buf_addz(out, "["))
        return false;
    bool kept = v->elem == GGUF_STR ? v->str != NULL : v->data != NULL;
    if (!kept && v->n > 0)
        return buf_printf(out, "...] (%" PRIu64 " elements)", v->n);
    for (uint64_t i = 0; i < v->n; i++) {
        struct value one;
        if (i > 0 && !buf_addz(out, ", "))
            return false;
        if (i == TEXT_ELEMENTS)
            return buf_printf(out, "...] (%" PRIu64 " elements)", v->n);
        if (v->elem == GGUF_STR)
            one = (struct value){ .type = GGUF_STR, .text = v->str[i].p, .n = v->str[i].n };
        else if (!element(&a, i, &one))
            return false;
        if (!add_value(out, &one))
            return false;
    }
    return buf_addz(out, "]");
}

bool gguf_key_text(const struct gguf *g, int i, struct buf *out)
{
    ASSERT(i >= 0 && i < gguf_n_keys(g));
    const struct value *v = &g->parts[0].values[i];

    return v->type == GGUF_ARR ? add_array(out, v) : add_value(out, v);
}
