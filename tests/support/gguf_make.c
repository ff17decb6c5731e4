// gguf_make.c - writes GGUF files for tests (ggml-org/ggml docs/gguf.md). Independent of the reader
// but for the sizes of number formats.

#include "support/gguf_make.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static _Noreturn void fail(const char *what, const char *path)
{
    perror(path);
    fprintf(stderr, "test files: %s %s\n", what, path);
    exit(1);
}

void gm_put(struct gm_bytes *b, const void *p, size_t n)
{
    if (b->n + n > b->cap) {
        b->cap = 2 * (b->n + n);
        b->p = xrealloc(b->p, b->cap);
    }
    if (n > 0)
        memcpy(b->p + b->n, p, n);
    b->n += n;
}

void gm_put_u8(struct gm_bytes *b, uint8_t v)
{
    gm_put(b, &v, sizeof(v));
}

void gm_put_u16(struct gm_bytes *b, uint16_t v)
{
    gm_put(b, &v, sizeof(v));
}

void gm_put_u32(struct gm_bytes *b, uint32_t v)
{
    gm_put(b, &v, sizeof(v));
}

void gm_put_u64(struct gm_bytes *b, uint64_t v)
{
    gm_put(b, &v, sizeof(v));
}

void gm_put_f32(struct gm_bytes *b, float v)
{
    gm_put(b, &v, sizeof(v));
}

void gm_put_str(struct gm_bytes *b, const char *z)
{
    gm_put_u64(b, strlen(z));
    gm_put(b, z, strlen(z));
}

void gm_put_zeros(struct gm_bytes *b, size_t n)
{
    static const uint8_t zeros[256];

    for (; n > sizeof(zeros); n -= sizeof(zeros))
        gm_put(b, zeros, sizeof(zeros));
    gm_put(b, zeros, n);
}

void gm_init(struct gguf_make *m)
{
    *m = (struct gguf_make){ .magic = "GGUF", .version = 3, .alignment = 32 };
}

void gm_done(struct gguf_make *m)
{
    free(m->keys.p);
    free(m->infos.p);
    free(m->data.p);
    free(m->file.p);
    *m = (struct gguf_make){ 0 };
}

// --- keys
// -------------------------------------------------------------------------------------------

void gm_key(struct gguf_make *m, const char *name, uint32_t type)
{
    gm_put_str(&m->keys, name);
    gm_put_u32(&m->keys, type);
    m->n_keys++;
}

void gm_u8(struct gguf_make *m, const char *name, uint8_t v)
{
    gm_key(m, name, GGUF_U8);
    gm_put(&m->keys, &v, sizeof(v));
}

void gm_u16(struct gguf_make *m, const char *name, uint16_t v)
{
    gm_key(m, name, GGUF_U16);
    gm_put(&m->keys, &v, sizeof(v));
}

void gm_u32(struct gguf_make *m, const char *name, uint32_t v)
{
    gm_key(m, name, GGUF_U32);
    gm_put(&m->keys, &v, sizeof(v));
}

void gm_i32(struct gguf_make *m, const char *name, int32_t v)
{
    gm_key(m, name, GGUF_I32);
    gm_put(&m->keys, &v, sizeof(v));
}

void gm_u64(struct gguf_make *m, const char *name, uint64_t v)
{
    gm_key(m, name, GGUF_U64);
    gm_put(&m->keys, &v, sizeof(v));
}

void gm_i64(struct gguf_make *m, const char *name, int64_t v)
{
    gm_key(m, name, GGUF_I64);
    gm_put(&m->keys, &v, sizeof(v));
}

void gm_f32(struct gguf_make *m, const char *name, float v)
{
    gm_key(m, name, GGUF_F32);
    gm_put(&m->keys, &v, sizeof(v));
}

void gm_f64(struct gguf_make *m, const char *name, double v)
{
    gm_key(m, name, GGUF_F64);
    gm_put(&m->keys, &v, sizeof(v));
}

void gm_bool(struct gguf_make *m, const char *name, bool v)
{
    gm_key(m, name, GGUF_BOOL);
    gm_put_u8(&m->keys, v);
}

void gm_str(struct gguf_make *m, const char *name, const char *v)
{
    gm_key(m, name, GGUF_STR);
    gm_put_str(&m->keys, v);
}

static void array(struct gguf_make *m, const char *name, uint32_t type, uint64_t n)
{
    gm_key(m, name, GGUF_ARR);
    gm_put_u32(&m->keys, type);
    gm_put_u64(&m->keys, n);
}

void gm_arr(struct gguf_make *m, const char *name, uint32_t type, uint64_t n, const void *p,
            size_t bytes)
{
    array(m, name, type, n);
    gm_put(&m->keys, p, bytes);
}

void gm_strs(struct gguf_make *m, const char *name, uint64_t n, const char *const *v)
{
    array(m, name, GGUF_STR, n);
    for (uint64_t i = 0; i < n; i++)
        gm_put_str(&m->keys, v[i]);
}

// --- tensors
// ----------------------------------------------------------------------------------------

void gm_info(struct gguf_make *m, const char *name, uint32_t type, uint32_t n_dims,
             const uint64_t *ne, uint64_t offset)
{
    gm_put_str(&m->infos, name);
    gm_put_u32(&m->infos, n_dims);
    for (uint32_t d = 0; d < n_dims; d++)
        gm_put_u64(&m->infos, ne[d]);
    gm_put_u32(&m->infos, type);
    gm_put_u64(&m->infos, offset);
    m->n_tensors++;
}

uint64_t gm_tensor_data(struct gguf_make *m, const char *name, uint32_t type, uint32_t n_dims,
                        const uint64_t *ne, const void *p, size_t bytes)
{
    uint64_t offset = m->data.n;

    gm_info(m, name, type, n_dims, ne, offset);
    if (p != NULL)
        gm_put(&m->data, p, bytes);
    else
        gm_put_zeros(&m->data, bytes);
    gm_put_zeros(&m->data, (m->alignment - m->data.n % m->alignment) % m->alignment);
    return offset;
}

uint64_t gm_tensor(struct gguf_make *m, const char *name, uint32_t type, uint32_t n_dims,
                   const uint64_t *ne)
{
    uint64_t rows = 1;

    for (uint32_t d = 1; d < n_dims; d++)
        rows *= ne[d];
    size_t bytes =
        (size_t)(rows * dtype_row_bytes((enum dtype)type, n_dims > 0 ? (int64_t)ne[0] : 1));
    uint8_t *p = xmalloc(bytes);
    for (size_t i = 0; i < bytes; i++)
        p[i] = (uint8_t)(i * 7 + m->n_tensors * 31 + 1);
    uint64_t offset = gm_tensor_data(m, name, type, n_dims, ne, p, bytes);
    free(p);
    return offset;
}

// --- the file
// ---------------------------------------------------------------------------------------

const struct gm_bytes *gm_finish(struct gguf_make *m)
{
    struct gm_bytes *f = &m->file;

    f->n = 0;
    gm_put(f, m->magic, 4);
    gm_put_u32(f, m->version);
    gm_put_u64(f, m->n_tensors);
    gm_put_u64(f, m->n_keys);
    gm_put(f, m->keys.p, m->keys.n);
    gm_put(f, m->infos.p, m->infos.n);
    gm_put_zeros(f, (m->alignment - f->n % m->alignment) % m->alignment);
    m->data_at = f->n;
    gm_put(f, m->data.p, m->data.n);
    return f;
}

void gm_write_bytes(const char *path, const void *p, size_t n)
{
    FILE *f = fopen(path, "wb");

    if (f == NULL)
        fail("cannot write", path);
    if (fwrite(p, 1, n, f) != n || fclose(f) != 0)
        fail("cannot write", path);
}

void gm_write(struct gguf_make *m, const char *path)
{
    const struct gm_bytes *f = gm_finish(m);

    gm_write_bytes(path, f->p, f->n);
}

bool gm_open(struct gguf **out, struct gguf_make *m, struct err *e)
{
    const struct gm_bytes *f = gm_finish(m);

    return gguf_open_mem(out, f->p, f->n, "test.gguf", NULL, e);
}

char *gm_dir(void)
{
    const char *tmp = getenv("TMPDIR");
    char *dir = xasprintf("%s/snug-test-XXXXXX", tmp != NULL && tmp[0] != 0 ? tmp : "/tmp");

    if (mkdtemp(dir) == NULL)
        fail("cannot make", dir);
    return dir;
}

void gm_dir_remove(const char *dir)
{
    DIR *d = opendir(dir);
    struct dirent *f;

    if (d == NULL)
        fail("cannot read", dir);
    while ((f = readdir(d)) != NULL) {
        char *path = xasprintf("%s/%s", dir, f->d_name);
        if (strcmp(f->d_name, ".") != 0 && strcmp(f->d_name, "..") != 0 && unlink(path) != 0)
            rmdir(path);
        free(path);
    }
    closedir(d);
    rmdir(dir);
}
