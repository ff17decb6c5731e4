// write.c - a GGUF file, version 3 (ggml-org/ggml docs/gguf.md).

#include "mkmodel/mkmodel.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { ALIGNMENT = 32 };

void out_init(struct out *o)
{
    *o = (struct out){ 0 };
    buf_init(&o->keys, (size_t)1 << 30);
}

void out_done(struct out *o)
{
    buf_done(&o->keys);
    free(o->tensor);
}

void out_raw(struct out *o, const void *p, size_t n)
{
    ASSERT(buf_add(&o->keys, p, n)); // this host's byte order, which is the file's: little endian
}

static void raw_u32(struct out *o, uint32_t v)
{
    out_raw(o, &v, sizeof v);
}

static void raw_u64(struct out *o, uint64_t v)
{
    out_raw(o, &v, sizeof v);
}

void out_raw_str(struct out *o, const char *z)
{
    raw_u64(o, strlen(z));
    out_raw(o, z, strlen(z));
}

static void key(struct out *o, const char *name, enum gguf_type type)
{
    out_raw_str(o, name);
    raw_u32(o, type);
    o->n_keys++;
}

void out_u32(struct out *o, const char *name, uint32_t v)
{
    key(o, name, GGUF_U32);
    raw_u32(o, v);
}

void out_f32(struct out *o, const char *name, float v)
{
    key(o, name, GGUF_F32);
    out_raw(o, &v, sizeof v);
}

void out_bool(struct out *o, const char *name, bool v)
{
    key(o, name, GGUF_BOOL);
    out_raw(o, &(uint8_t){ v }, 1);
}

void out_str(struct out *o, const char *name, const char *v)
{
    key(o, name, GGUF_STR);
    out_raw_str(o, v);
}

void out_arr(struct out *o, const char *name, enum gguf_type type, uint64_t n)
{
    key(o, name, GGUF_ARR);
    raw_u32(o, type);
    raw_u64(o, n);
}

static uint64_t rows(const struct out_tensor *t)
{
    uint64_t n = 1;
    for (int i = 1; i < t->n_dims; i++)
        n *= t->ne[i];
    return n;
}

static uint64_t tensor_bytes(const struct out_tensor *t)
{
    return rows(t) * dtype_row_bytes(t->type, (int64_t)t->ne[0]);
}

void out_tensor(struct out *o, enum dtype type, enum fill fill, const uint64_t ne[4],
                const char *name)
{
    if (o->n_tensors == o->cap) {
        o->cap = o->cap ? 2 * o->cap : 64;
        o->tensor = xrealloc(o->tensor, (size_t)o->cap * sizeof *o->tensor);
    }
    struct out_tensor *t = &o->tensor[o->n_tensors++];
    *t = (struct out_tensor){ .type = type, .fill = fill, .offset = o->data_bytes };
    ASSERT(strlen(name) < sizeof t->name);
    memcpy(t->name, name, strlen(name));
    while (t->n_dims < 4 && ne[t->n_dims] != 0) {
        t->ne[t->n_dims] = ne[t->n_dims];
        t->n_dims++;
    }
    o->data_bytes = align_up_u64(o->data_bytes + tensor_bytes(t), ALIGNMENT);
}

void out_joined(struct out *o, const char *prefix, const struct out_join *j)
{
    struct out_tensor *t = &o->tensor[o->n_tensors - 1];
    t->n_from = j->n;
    t->in_turn = j->in_turn;
    for (int i = 0; i < j->n; i++) {
        char *name = xasprintf("%s%s", prefix, j->from[i]);
        ASSERT(strlen(name) < sizeof t->from[i]);
        memcpy(t->from[i], name, strlen(name) + 1);
        free(name);
        t->from_rows[i] = (uint64_t)j->rows[i];
    }
}

/// The number of a type in files: one that is ours alone has another there.
static uint32_t type_in_file(enum dtype t)
{
    return t == DTYPE_MXFP4_PAIRS ? 4 : (uint32_t)t;
}

static void write_head(struct out *o, FILE *f)
{
    struct out head;
    out_init(&head);
    out_raw(&head, "GGUF", 4);
    raw_u32(&head, 3);
    raw_u64(&head, (uint64_t)o->n_tensors);
    raw_u64(&head, o->n_keys);
    out_raw(&head, o->keys.p, o->keys.n);
    for (int i = 0; i < o->n_tensors; i++) {
        const struct out_tensor *t = &o->tensor[i];
        out_raw_str(&head, t->name);
        raw_u32(&head, (uint32_t)t->n_dims);
        for (int k = 0; k < t->n_dims; k++)
            raw_u64(&head, t->ne[k]);
        raw_u32(&head, type_in_file(t->type));
        raw_u64(&head, t->offset);
    }
    while (head.keys.n % ALIGNMENT != 0)
        out_raw(&head, "", 1);
    fwrite(head.keys.p, 1, head.keys.n, f);
    out_done(&head);
}

/// A tensor has its own random numbers, by name: more layers leave the first ones as they were.
static uint64_t name_seed(const char *name, uint64_t seed)
{
    uint64_t h = 0xcbf29ce484222325u ^ seed; // FNV-1a
    for (; *name; name++)
        h = (h ^ (uint8_t)*name) * 0x100000001b3u;
    return h;
}

static void write_padding(const struct out_tensor *t, FILE *f)
{
    static const uint8_t zeros[ALIGNMENT];
    fwrite(zeros, 1, align_up_u64(tensor_bytes(t), ALIGNMENT) - tensor_bytes(t), f);
}

/// Row r of a joined tensor, of the `all` that repeat: which one's, and which row of it.
static uint64_t source_row(const struct out_tensor *t, uint64_t r, int *from)
{
    if (t->in_turn) {
        *from = (int)(r % (uint64_t)t->n_from);
        return r / (uint64_t)t->n_from;
    }
    for (*from = 0; r >= t->from_rows[*from]; ++*from)
        r -= t->from_rows[*from];
    return r;
}

/// All of each source is made, then rows are picked. A vector's rows, and those of biases, are
/// single numbers.
static void write_joined(const struct out_tensor *t, FILE *f, uint64_t seed)
{
    const bool numbers = t->fill != FILL_MATRIX;
    const uint64_t cols = numbers ? 1 : t->ne[0], all = numbers ? t->ne[0] : t->ne[1];
    const uint64_t times = numbers ? rows(t) : t->n_dims > 2 ? t->ne[2] : 1;
    const uint64_t row_bytes = numbers ? sizeof(float) : dtype_row_bytes(t->type, (int64_t)cols);
    uint8_t *p[JOIN_MOST];

    for (int i = 0; i < t->n_from; i++) {
        struct rng r = { name_seed(t->from[i], seed) };
        const uint64_t n = t->from_rows[i] * times;
        p[i] = xmalloc(n * row_bytes);
        fill_numbers(p[i], t->type, t->fill, cols, n * cols, &r);
    }
    for (uint64_t k = 0; k < times * all; k++) {
        int i;
        const uint64_t row = source_row(t, k % all, &i);
        fwrite(p[i] + (k / all * t->from_rows[i] + row) * row_bytes, row_bytes, 1, f);
    }
    for (int i = 0; i < t->n_from; i++)
        free(p[i]);
    write_padding(t, f);
}

static void write_tensor(const struct out_tensor *t, FILE *f, uint64_t seed, bool random)
{
    const uint64_t cols = t->ne[0], n_rows = rows(t),
                   row_bytes = dtype_row_bytes(t->type, (int64_t)cols);
    const uint64_t step = n_rows * cols <= 1 << 20 ? n_rows : 1 + (1 << 20) / cols;
    const bool blocks = random && t->fill == FILL_MATRIX && dtype_info(t->type)->quantized;
    struct rng r = { name_seed(t->name, seed) };
    uint8_t *p = xmalloc(step * row_bytes);

    for (uint64_t at = 0; at < n_rows; at += step) {
        const uint64_t n = step < n_rows - at ? step : n_rows - at;
        if (blocks)
            fill_random(p, t->type, cols, n * cols, &r);
        else
            fill_numbers(p, t->type, t->fill, cols, n * cols, &r);
        fwrite(p, row_bytes, n, f);
    }
    free(p);
    write_padding(t, f);
}

bool out_write_holes(struct out *o, const char *path, struct err *e)
{
    FILE *f = fopen(path, "wb");
    if (!f)
        return err_set(e, ERR_IO, "%s: %s", path, strerror(errno));
    write_head(o, f);
    const long at = ftell(f);
    const bool bad =
        at < 0 || fflush(f) != 0 || ftruncate(fileno(f), at + (off_t)o->data_bytes) != 0;
    if (fclose(f) != 0 || bad)
        return err_set(e, ERR_IO, "writing %s: %s", path, strerror(errno));
    return true;
}

bool out_write(struct out *o, const char *path, uint64_t seed, bool random, struct err *e)
{
    FILE *f = fopen(path, "wb");
    if (!f)
        return err_set(e, ERR_IO, "%s: %s", path, strerror(errno));
    write_head(o, f);
    for (int i = 0; i < o->n_tensors && !ferror(f); i++)
        if (o->tensor[i].n_from > 0)
            write_joined(&o->tensor[i], f, seed);
        else
            write_tensor(&o->tensor[i], f, seed, random);

    const bool bad = ferror(f) != 0;
    if (fclose(f) != 0 || bad)
        return err_set(e, ERR_IO, "writing %s: %s", path, strerror(errno));
    return true;
}
