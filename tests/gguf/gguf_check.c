// gguf_check.c - see gguf_check.h.

#include "gguf/gguf_check.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

struct opened gguf_opens_with(struct gguf_make *m, const struct gguf_opts *opts)
{
    const struct gm_bytes *f = gm_finish(m);
    struct opened o = { .n = f->n };
    struct err e = { 0 };

    o.bytes = xmalloc(f->n);
    memcpy(o.bytes, f->p, f->n);
    if (!gguf_open_mem(&o.g, o.bytes, o.n, "test.gguf", opts, &e))
        fail_msg("refused: %s", e.msg);
    return o;
}

struct opened gguf_opens(struct gguf_make *m)
{
    return gguf_opens_with(m, NULL);
}

void opened_done(struct opened *o)
{
    gguf_close(o->g);
    free(o->bytes);
    *o = (struct opened){ 0 };
}

static void check_message(const struct err *e, enum err_code code, const char *texts)
{
    char *copy = xstrdup(texts), *save = NULL;

    if (e->code != code)
        fail_msg("%s instead of %s: %s", err_code_name(e->code), err_code_name(code), e->msg);
    if (strstr(e->msg, "byte ") == NULL)
        fail_msg("no offset: %s", e->msg);
    for (char *t = strtok_r(copy, "|", &save); t != NULL; t = strtok_r(NULL, "|", &save)) {
        if (strstr(e->msg, t) == NULL)
            fail_msg("no \"%s\" in: %s", t, e->msg);
    }
    for (const char *p = e->msg; *p != 0; p++) {
        if (*p < 0x20 || *p > 0x7e)
            fail_msg("byte 0x%02x unescaped in: %s", (unsigned)(unsigned char)*p, e->msg);
    }
    free(copy);
}

void gguf_refused_bytes(const void *p, size_t n, const struct gguf_opts *opts, enum err_code code,
                        const char *texts)
{
    uint8_t *exact = malloc(n); // of exactly this size, so that a byte read behind it is seen
    struct gguf *g = (struct gguf *)(uintptr_t)1;
    struct err e = { 0 };

    if (n > 0)
        memcpy(exact, p, n);
    if (gguf_open_mem(&g, exact, n, "test.gguf", opts, &e))
        fail_msg("opened, though it should say: %s", texts);
    assert_null(g);
    check_message(&e, code, texts);
    assert_int_equal(strncmp(e.msg, "test.gguf: ", 11), 0);
    free(exact);
}

void gguf_refused(struct gguf_make *m, enum err_code code, const char *texts)
{
    const struct gm_bytes *f = gm_finish(m);
    char *dir = gm_dir(), *path = xasprintf("%s/m.gguf", dir);
    struct gguf *g;
    struct err e = { 0 };

    gguf_refused_bytes(f->p, f->n, NULL, code, texts);
    gm_write(m, path);
    assert_false(gguf_open(&g, path, NULL, &e));
    check_message(&e, code, texts);
    assert_non_null(strstr(e.msg, "/m.gguf: "));
    gm_dir_remove(dir);
    free(dir);
    free(path);
}

void gguf_small(struct gguf_make *m)
{
    gm_init(m);
    gm_str(m, "general.architecture", "llama");
    gm_u32(m, "llama.block_count", 2);
    gm_tensor(m, "token_embd.weight", DTYPE_F32, 2, (uint64_t[]){ 32, 3 });
    gm_tensor(m, "blk.0.attn_q.weight", DTYPE_Q4_0, 2, (uint64_t[]){ 64, 2 });
}

static uint64_t walk_key(const struct gguf *g, int k)
{
    const char *name = gguf_key_name(g, k);
    uint64_t h = hash_bytes(name, strlen(name), (uint64_t)gguf_key_type(g, k)), n;
    uint32_t u;
    int64_t i;
    float f;
    bool b;
    struct str s;
    struct gguf_arr a;
    struct buf text;

    assert_int_equal(gguf_find_key(g, name), k);
    if (gguf_get_u32(g, name, &u))
        h += u;
    if (gguf_get_i64(g, name, &i))
        h += (uint64_t)i;
    if (gguf_get_f32(g, name, &f))
        h += hash_bytes(&f, sizeof(f), 1);
    if (gguf_get_bool(g, name, &b))
        h += b;
    if (gguf_get_str(g, name, &s)) {
        assert_int_equal(s.p[s.n], 0);
        h += hash_bytes(s.p, s.n, 2);
    }
    if (gguf_get_arr(g, name, &a)) {
        for (uint64_t j = 0; j < a.n; j++) {
            double d;
            h += gguf_arr_i64(&a, j, &i) ? (uint64_t)i : 0;
            h += gguf_arr_f64(&a, j, &d) ? hash_bytes(&d, sizeof(d), 3) : 0;
        }
    }
    const struct str *all = gguf_arr_strs(g, name, &n);
    for (uint64_t j = 0; all != NULL && j < n; j++) {
        assert_int_equal(all[j].p[all[j].n], 0);
        h = hash_bytes(all[j].p, all[j].n, h);
    }
    buf_init(&text, 1 << 16);
    assert_true(gguf_key_text(g, k, &text));
    h = hash_bytes(text.p, text.n, h);
    buf_done(&text);
    return h;
}

uint64_t gguf_walk_all(const struct gguf *g)
{
    uint64_t h = gguf_version(g) + gguf_fingerprint(g) + (uint64_t)gguf_n_files(g);

    for (int k = 0; k < gguf_n_keys(g); k++)
        h = 3 * h + walk_key(g, k);
    for (int i = 0; i < gguf_n_tensors(g); i++) {
        const struct gguf_tensor *t = gguf_tensor(g, i);
        const void *data = gguf_data(g, i);
        assert_int_equal(gguf_find_tensor(g, t->name), i);
        h = hash_bytes(t->name, strlen(t->name), h) + t->offset + t->bytes + t->ne[0] * t->ne[3];
        if (data != NULL)
            h = hash_bytes(data, t->bytes, h);
    }
    return h;
}
