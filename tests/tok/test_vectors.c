// test_vectors.c - every vocabulary against the reference's answers: ids, pieces, bytes, text.
//
//     test_vectors            the tests
//     test_vectors --bench    MB/s of encoding, and ms of tok_new(), for each vocabulary

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "tok/vectors.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

static const char *const all[] = {
    "smollm2",        "gemma3-270m", "llama-bpe", "qwen2",  "gpt-2",     "deepseek-llm",
    "deepseek-coder", "r1-7b",       "llama-spm", "phi-3",  "command-r", "qwen35",
    "gemma-4",        "falcon",      "starcoder", "refact", "mpt",       "baichuan",
};

/// One vocabulary while its vectors are checked.
struct check {
    const char *name;
    const struct tok *t;
    int n_bad, n_cases, n_pieces, n_free;
};

static void complain(struct check *c, const char *what, const char *text, size_t n)
{
    char shown[200];

    if (c->n_bad++ < 20)
        fprintf(stderr, "%s: %s: \"%s\"\n", c->name, what,
                err_bytes(shown, sizeof(shown), text, n));
}

static size_t from_hex(char *out, const char *hex)
{
    size_t n = strlen(hex) / 2;

    for (size_t i = 0; i < n; i++) {
        unsigned v;

        sscanf(hex + 2 * i, "%2x", &v);
        out[i] = (char)v;
    }
    return n;
}

/// The bytes under `key` or, as hex, under `key`_hex; NULL if neither is there. free() it.
static char *bytes_of(const json_t *j, const char *key, size_t *n)
{
    char hex_key[32], *out;
    const json_t *v = json_object_get(j, key);

    if (json_is_string(v)) {
        *n = json_string_length(v);
        out = xmalloc(*n + 1);
        memcpy(out, json_string_value(v), *n);
        return out;
    }
    snprintf(hex_key, sizeof(hex_key), "%s_hex", key);
    v = json_object_get(j, hex_key);
    if (!json_is_string(v))
        return NULL;
    out = xmalloc(json_string_length(v) + 1);
    *n = from_hex(out, json_string_value(v));
    return out;
}

static bool same_ids(const struct tok_ids *ids, const json_t *want)
{
    if (!json_is_array(want) || ids->n != json_array_size(want))
        return false;
    for (size_t i = 0; i < ids->n; i++)
        if (ids->id[i] != json_integer_value(json_array_get(want, i)))
            return false;
    return true;
}

static bool flag(const json_t *c, const char *key)
{
    return json_is_true(json_object_get(c, key));
}

static void check_piece(struct check *c, const json_t *p)
{
    int32_t id = (int32_t)json_integer_value(json_object_get(p, "id"));
    int64_t attr = json_integer_value(json_object_get(p, "attr"));
    size_t n = 0, n_hidden = 0;
    char *want = bytes_of(p, "bytes", &n), *hidden = bytes_of(p, "hidden", &n_hidden);
    struct str got = tok_piece(c->t, id, true), got_hidden = tok_piece(c->t, id, false);

    c->n_pieces++;
    if (!str_eq(got, (struct str){ want, n }))
        complain(c, "piece", want, n);
    if (!str_eq(got_hidden, (struct str){ hidden ? hidden : want, hidden ? n_hidden : n }))
        complain(c, "hidden piece", want, n);
    if (tok_is_control(c->t, id) != ((attr & 8) != 0))
        complain(c, "control", want, n);
    free(want);
    free(hidden);
}

/// A stream of the ids gives the same bytes as all at once, up to the first that is not UTF-8.
static void check_stream(struct check *c, const struct tok_ids *ids, const struct buf *bytes)
{
    struct tok_stream s = { .n_held = 0 };
    struct buf got;
    size_t same = 0;

    buf_init(&got, 1 << 24);
    for (size_t i = 0; i < ids->n; i++)
        assert_true(tok_stream_add(&s, c->t, ids->id[i], true, &got));
    assert_true(tok_stream_end(&s, &got));
    while (same < bytes->n && same < got.n && bytes->p[same] == got.p[same])
        same++;
    if ((same < bytes->n || same < got.n) &&
        (same + 3 > got.n || memcmp(got.p + same, "\xef\xbf\xbd", 3) != 0))
        complain(c, "stream", bytes->p, bytes->n);
    buf_done(&got);
}

static void check_decoding(struct check *c, const json_t *v, const struct tok_ids *ids,
                           const char *text, size_t n)
{
    size_t n_bytes = n, n_detok;
    char *bytes = bytes_of(v, "bytes", &n_bytes), *detok;
    const char *want = bytes ? bytes : text;
    struct buf got;

    buf_init(&got, 1 << 24);
    for (size_t i = 0; i < ids->n; i++) {
        struct str p = tok_piece(c->t, ids->id[i], true);

        if (p.n)
            assert_true(buf_add(&got, p.p, p.n));
    }
    if (!str_eq((struct str){ got.p, got.n }, (struct str){ want, n_bytes }))
        complain(c, "bytes", text, n);
    check_stream(c, ids, &got);

    n_detok = n_bytes;
    detok = bytes_of(v, "detok", &n_detok);
    buf_reset(&got);
    assert_true(tok_decode(c->t, ids->id, ids->n, true, &got));
    if (!str_eq((struct str){ got.p, got.n }, (struct str){ detok ? detok : want, n_detok }))
        complain(c, "detok", text, n);
    buf_done(&got);
    free(bytes);
    free(detok);
}

static void check_case(struct check *c, const json_t *v)
{
    size_t n = 0, repeat = (size_t)json_integer_value(json_object_get(v, "repeat"));
    char *text = bytes_of(v, "text", &n);
    struct tok_ids ids = { 0 };
    unsigned flags = (flag(v, "add_special") ? TOK_ADD_SPECIAL : 0) |
                     (flag(v, "parse_special") ? TOK_PARSE_SPECIAL : 0);

    if (!text) {
        const char *hex = json_string_value(json_object_get(v, "hex"));

        assert_non_null(hex);
        text = xmalloc(strlen(hex) + 1);
        n = from_hex(text, hex);
    }
    if (repeat > 1) {
        text = xrealloc(text, n * repeat + 1);
        for (size_t i = 1; i < repeat; i++)
            memcpy(text + i * n, text, n);
        n *= repeat;
    }
    assert_true(tok_encode(c->t, text, n, flags, &ids, NULL));
    c->n_cases++;
    if (json_object_get(v, "error")) {
        c->n_free++; // the reference throws; any answer will do
    } else if (!same_ids(&ids, json_object_get(v, "ids"))) {
        complain(c, "ids", text, n);
    } else {
        check_decoding(c, v, &ids, text, n);
    }
    tok_ids_done(&ids);
    free(text);
}

static void check_info(struct check *c, const json_t *info)
{
    const json_t *eog = json_object_get(info, "eog");
    size_t n_eog = 0;

    assert_int_equal(tok_n_vocab(c->t), json_integer_value(json_object_get(info, "n_tokens")));
    assert_int_equal(tok_bos(c->t), json_integer_value(json_object_get(info, "bos")));
    assert_int_equal(tok_eos(c->t), json_integer_value(json_object_get(info, "eos")));
    assert_int_equal(tok_adds_bos(c->t), json_integer_value(json_object_get(info, "add_bos")));
    for (int i = 0; i < tok_n_vocab(c->t); i++)
        n_eog += tok_is_eog(c->t, i);
    assert_int_equal(n_eog, json_array_size(eog));
    for (size_t i = 0; i < n_eog; i++)
        assert_true(tok_is_eog(c->t, (int32_t)json_integer_value(json_array_get(eog, i))));
}

static void answers_are_the_reference_s(void **state)
{
    struct check c = { .name = *state };
    char why[512];
    struct tok *t;
    json_t *j;
    const json_t *v;
    size_t i;

    if (!vocab_open(&t, c.name, why)) {
        printf("SKIP %s: %s\n", c.name, why);
        skip();
    }
    j = vectors_open(c.name);
    assert_non_null(j);
    c.t = t;
    check_info(&c, json_object_get(j, "info"));
    json_array_foreach(json_object_get(j, "pieces"), i, v) check_piece(&c, v);
    json_array_foreach(json_object_get(j, "cases"), i, v) check_case(&c, v);
    printf("%-16s %-20s %d cases, %d pieces, %d differ\n", c.name, tok_kind(t), c.n_cases,
           c.n_pieces, c.n_bad);
    json_decref(j);
    tok_free(t);
    assert_int_equal(c.n_bad, 0);
}

/// About 0.9 MB of English and code: the file $SNUG_BENCH_TEXT, or the vectors' own again and
/// again.
static char *bench_text(size_t *n)
{
    const char *path = getenv("SNUG_BENCH_TEXT");
    char *text = NULL;
    struct err e;

    if (path && file_read(&text, n, path, 64 << 20, &e))
        return text;
    *n = 0;
    text = xmalloc(1 << 20);
    for (size_t round = 0; *n < 900000; round++) {
        json_t *j = vectors_open(round % 2 ? "gpt-2" : "llama-spm");
        const json_t *v;
        size_t i;

        json_array_foreach(json_object_get(j, "cases"), i, v)
        {
            const char *kind = json_string_value(json_object_get(v, "kind"));
            const json_t *s = json_object_get(v, "text");

            if (strcmp(kind, "prose") != 0 && strcmp(kind, "code") != 0)
                continue;
            if (*n + json_string_length(s) >= 900000)
                break;
            memcpy(text + *n, json_string_value(s), json_string_length(s));
            *n += json_string_length(s);
        }
        json_decref(j);
        if (round > 2000)
            break;
    }
    return text;
}

/// Of this thread: the machine may have other things to do.
static int64_t cpu_ns(void)
{
    struct timespec t;

    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static int bench(void)
{
    size_t n;
    char *text = bench_text(&n);

    printf("%-16s %8s %8s %10s   %zu bytes of text, best of 5\n", "", "new ms", "MB/s", "tokens",
           n);
    for (size_t v = 0; v < ARRAY_LEN(all); v++) {
        struct tok_ids ids = { 0 };
        int64_t load = INT64_MAX, run = INT64_MAX;
        struct tok *t;
        char why[512];

        if (!vocab_open(&t, all[v], why)) {
            printf("SKIP %s: %s\n", all[v], why);
            continue;
        }
        for (int i = 0; i < 5; i++) {
            int64_t start = cpu_ns(), took;

            ids.n = 0;
            if (!tok_encode(t, text, n, 0, &ids, NULL))
                return 1;
            took = cpu_ns() - start;
            run = took < run ? took : run;
        }
        tok_free(t);
        if (strcmp(all[v], "r1-7b") != 0)
            load = vocab_load_ns(all[v]);
        printf("%-16s %8.1f %8.1f %10zu\n", all[v], load == INT64_MAX ? 0.0 : (double)load / 1e6,
               (double)n / 1e6 / ((double)run / 1e9), ids.n);
        tok_ids_done(&ids);
    }
    free(text);
    return 0;
}

int main(int argc, char **argv)
{
    struct CMUnitTest tests[ARRAY_LEN(all)];

    if (argc > 1 && strcmp(argv[1], "--bench") == 0)
        return bench();
    for (size_t i = 0; i < ARRAY_LEN(all); i++)
        tests[i] =
            (struct CMUnitTest){ all[i], answers_are_the_reference_s, NULL, NULL, xstrdup(all[i]) };
    int failed = _cmocka_run_group_tests("vectors", tests, ARRAY_LEN(tests), NULL, NULL);
    for (size_t i = 0; i < ARRAY_LEN(all); i++)
        free(tests[i].initial_state);
    return failed;
}
