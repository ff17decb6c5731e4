// fuzz_tok.c - any text through three vocabularies that hold all bytes, and through vocabularies
// made of the input itself.
//
//     make MODE=fuzz fuzz
//     mkdir corpus && build/fuzz/fuzz_tok -max_len=2048 corpus
//
// Byte 0 chooses. For the built-in ones the rest is text: it must come back. Else the rest is
// tokens and merges up to a byte 0xfe, each ended by 0xfd, then text: nothing but sane ids is
// expected.

#include "gguf/gguf.h"
#include "tok/tok.h"
#include "tok/uni.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

#define CHECK(x) ((x) ? (void)0 : abort())

/// A file in the making.
struct file {
    uint8_t *p;
    size_t n;
};

static void put(struct file *f, const void *p, size_t n)
{
    f->p = xrealloc(f->p, f->n + n + 1);
    memcpy(f->p + f->n, p, n);
    f->n += n;
}

static void put_u32(struct file *f, uint32_t v)
{
    put(f, &v, 4);
}

static void put_u64(struct file *f, uint64_t v)
{
    put(f, &v, 8);
}

static void put_str(struct file *f, const char *p, size_t n)
{
    put_u64(f, n);
    put(f, p, n);
}

static void put_key(struct file *f, const char *key, uint32_t type)
{
    put_str(f, key, strlen(key));
    put_u32(f, type);
}

static void put_text(struct file *f, const char *key, const char *v)
{
    put_key(f, key, GGUF_STR);
    put_str(f, v, strlen(v));
}

static void put_array(struct file *f, const char *key, uint32_t type, uint64_t n)
{
    put_key(f, key, GGUF_ARR);
    put_u32(f, type);
    put_u64(f, n);
}

/// Strings, one behind the other, to become an array.
struct list {
    struct file f;
    uint64_t n;
    struct file types, scores;
};

static void list_add(struct list *l, const char *p, size_t n, uint32_t type, float score)
{
    put_str(&l->f, p, n);
    put_u32(&l->types, type);
    put(&l->scores, &score, sizeof(score));
    l->n++;
}

static void list_addz(struct list *l, const char *z, uint32_t type, float score)
{
    list_add(l, z, strlen(z), type, score);
}

static void list_done(struct list *l)
{
    free(l->f.p);
    free(l->types.p);
    free(l->scores.p);
    *l = (struct list){ .n = 0 };
}

/// NULL if the vocabulary is refused. Frees the lists.
static struct tok *make(const char *model, const char *pre, struct list *tokens,
                        struct list *merges)
{
    struct file f = { .n = 0 };
    struct gguf *g = NULL;
    struct tok *t = NULL;
    uint8_t no = 0;

    put(&f, "GGUF", 4);
    put_u32(&f, 3);
    put_u64(&f, 0);
    put_u64(&f, 8);
    put_text(&f, "general.architecture", "llama");
    put_text(&f, "tokenizer.ggml.model", model);
    put_text(&f, "tokenizer.ggml.pre", pre);
    put_array(&f, "tokenizer.ggml.tokens", GGUF_STR, tokens->n);
    put(&f, tokens->f.p ? (const void *)tokens->f.p : "", tokens->f.n);
    put_array(&f, "tokenizer.ggml.token_type", GGUF_I32, tokens->n);
    put(&f, tokens->types.p ? (const void *)tokens->types.p : "", tokens->types.n);
    put_array(&f, "tokenizer.ggml.scores", GGUF_F32, tokens->n);
    put(&f, tokens->scores.p ? (const void *)tokens->scores.p : "", tokens->scores.n);
    put_array(&f, "tokenizer.ggml.merges", GGUF_STR, merges->n);
    put(&f, merges->f.p ? (const void *)merges->f.p : "", merges->f.n);
    put_key(&f, "tokenizer.ggml.add_space_prefix", GGUF_BOOL);
    put(&f, &no, 1);
    if (gguf_open_mem(&g, f.p, f.n, "fuzz", NULL, NULL) && !tok_new(&t, g, NULL))
        t = NULL;
    gguf_close(g);
    free(f.p);
    list_done(tokens);
    list_done(merges);
    return t;
}

/// All bytes in GPT-2's alphabet, some words, marks and runs of newlines.
static struct tok *make_bpe(const char *pre)
{
    static const char *const parts[][2] = {
        { "a", "b" },
        { "ab", "ab" },
        { "b", "c" },
        { "a", "a" },
        { "aa", "aa" },
        { "aaaa", "aaaa" },
        { "\u0120", "a" },
        { "\u0120", "\u0120" },
        { "\u010a", "\u010a" },
        { "1", "2" },
        { "'", "s" },
        { "\u00e4", "\u00bd" },
        { "\u00e4\u00bd", "\u0142" },
        { "bc", "ab" },
        { "\u0120a", "ab" },
    };
    struct list tokens = { .n = 0 }, merges = { .n = 0 };
    char text[64];
    uint32_t next = 0x100;

    for (uint32_t b = 0; b < 256; b++) {
        bool itself = (b >= 0x21 && b <= 0x7e) || (b >= 0xa1 && b <= 0xff && b != 0xad);

        list_add(&tokens, text, utf8_put((uint8_t *)text, itself ? b : next++), 1, 0);
    }
    for (size_t i = 0; i < ARRAY_LEN(parts); i++) {
        snprintf(text, sizeof(text), "%s%s", parts[i][0], parts[i][1]);
        list_addz(&tokens, text, 1, 0);
        snprintf(text, sizeof(text), "%s %s", parts[i][0], parts[i][1]);
        list_addz(&merges, text, 0, 0);
    }
    list_addz(&tokens, "<|im_end|>", 3, 0);
    list_addz(&tokens, "<|im|>", 3, 0);
    list_addz(&tokens, "|><|", 4, 0);
    list_addz(&tokens, "\n\n\n", 4, 0);
    list_addz(&tokens, "\n\n\n\n\n", 4, 0);
    return make("gpt2", pre, &tokens, &merges);
}

static struct tok *make_spm(void)
{
    static const char *const words[] = { "a",      "b",       "ab",           "abab",
                                         "ba",     "aa",      "aaaa",         "aaaaaaaa",
                                         "\u2581", "\u2581a", "\u2581\u2581", "a\u2581",
                                         "\u4f60", "\n",      "<s>x" };
    struct list tokens = { .n = 0 }, merges = { .n = 0 };
    char text[16];

    list_addz(&tokens, "<unk>", 2, 0);
    list_addz(&tokens, "<s>", 3, 0);
    list_addz(&tokens, "</s>", 3, 0);
    for (unsigned b = 0; b < 256; b++) {
        snprintf(text, sizeof(text), "<0x%02X>", b);
        list_addz(&tokens, text, 6, 0);
    }
    for (size_t i = 0; i < ARRAY_LEN(words); i++)
        list_addz(&tokens, words[i], 1, -(float)(i * 7 % 10));
    return make("llama", "default", &tokens, &merges);
}

static void check_utf8(const struct buf *b)
{
    uint8_t held[8];
    int n = 0;

    for (size_t i = 0; i < b->n; i++) {
        enum utf8_step s = utf8_step(held, n, (uint8_t)b->p[i]);

        CHECK(s != UTF8_BAD);
        held[n++] = (uint8_t)b->p[i];
        if (s == UTF8_WHOLE)
            n = 0;
    }
    CHECK(n == 0);
}

/// What the pieces of the ids must give together; `all` when the vocabulary has every byte.
static void check_text(const struct tok *t, const struct tok_ids *ids, const uint8_t *p, size_t n,
                       bool spm)
{
    size_t good = utf8_good(p, n), n_want = 0;
    uint8_t *want = xmalloc(3 * n + 1);
    struct buf got;

    buf_init(&got, 1 << 24);
    for (size_t i = 0; i < ids->n; i++) {
        struct str s = tok_piece(t, ids->id[i], true);

        CHECK(s.n > 0 && buf_add(&got, s.p, s.n));
    }
    if (!spm) {
        n_want = utf8_repair(want, p, n);
    } else if (good == n) { // a bad byte may take spaces with it, as U+2581
        for (size_t i = 0; i < n; n_want++) {
            bool mark = n - i >= 3 && memcmp(p + i, "\u2581", 3) == 0;

            want[n_want] = mark ? ' ' : p[i];
            i += mark ? 3 : 1;
        }
    }
    if (!spm || good == n)
        CHECK(got.n == n_want && (n_want == 0 || memcmp(got.p, want, n_want) == 0));
    buf_done(&got);
    free(want);
}

static void check_one(const struct tok *t, const uint8_t *p, size_t n, unsigned flags,
                      struct tok_ids *ids)
{
    struct tok_stream s = { .lead = flags & 1 };
    struct buf b;

    ids->n = 0;
    CHECK(tok_encode(t, (const char *)p, n, flags, ids, NULL));
    buf_init(&b, 1 << 24);
    for (size_t i = 0; i < ids->n; i++) {
        CHECK(ids->id[i] >= 0 && ids->id[i] < tok_n_vocab(t));
        CHECK(tok_stream_add(&s, t, ids->id[i], flags & 2, &b));
    }
    CHECK(tok_stream_end(&s, &b));
    check_utf8(&b);
    buf_reset(&b);
    CHECK(tok_decode(t, ids->id, ids->n, flags & 2, &b));
    buf_done(&b);
}

/// A text cut anywhere gives the ids of the whole, if nothing in it is trusted or all of it is
/// plain.
static void check_spans(const struct tok *t, const uint8_t *p, size_t n, struct tok_ids *ids)
{
    struct tok_ids parts = { 0 };
    struct tok_span span[16];
    size_t n_spans = 0, left = n;

    if (utf8_good(p, n) != n)
        return;
    while (left > 0 && n_spans < ARRAY_LEN(span)) {
        size_t len = n_spans + 1 == ARRAY_LEN(span) ? left : 1 + p[n - left] % left;

        while (len < left && (p[n - left + len] & 0xc0) == 0x80)
            len++; // between characters
        span[n_spans++] = (struct tok_span){ len, true };
        left -= len;
    }
    ids->n = 0;
    CHECK(tok_encode(t, (const char *)p, n, 0, ids, NULL));
    CHECK(tok_encode_spans(t, (const char *)p, span, n_spans, 0, &parts, NULL));
    CHECK(parts.n == ids->n && (parts.n == 0 || memcmp(parts.id, ids->id, parts.n * 4) == 0));
    for (size_t i = 0; i < n_spans; i++)
        span[i].plain = i % 2;
    CHECK(tok_encode_spans(t, (const char *)p, span, n_spans, TOK_ADD_SPECIAL, &parts, NULL));
    tok_ids_done(&parts);
}

/// A vocabulary of the input's parts. What is left of it is text.
static struct tok *make_from(const uint8_t **p, size_t *n, bool spm, const char *pre)
{
    struct list tokens = { .n = 0 }, merges = { .n = 0 };
    const uint8_t *q = *p, *end = q + *n;

    while (q < end && *q != 0xfe && tokens.n < 300) {
        const uint8_t *from = q;
        const char *text;
        size_t len;

        while (q < end && *q != 0xfd && *q != 0xfe)
            q++;
        text = (const char *)from;
        len = (size_t)(q - from);
        if (memchr(from, ' ', len))
            list_add(&merges, text, len, 0, 0);
        else
            list_add(&tokens, text, len, len ? from[0] % 7u : 1,
                     len ? (float)(text[len - 1] % 5) : 0);
        if (q < end && *q == 0xfd)
            q++;
    }
    *n = (size_t)(end - q);
    *p = q;
    return make(spm ? "llama" : "gpt2", pre, &tokens, &merges);
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
    static const char *const pres[] = { "gpt-2",        "llama-bpe",      "qwen2",       "smollm",
                                        "deepseek-llm", "deepseek-coder", "deepseek-v3", "tekken",
                                        "gpt-4o",       "qwen35",         "default",     "falcon",
                                        "viking",       "gemma4" };
    static struct tok *fixed[ARRAY_LEN(pres) + 1];
    struct tok_ids ids = { 0 };
    size_t which;

    if (n == 0)
        return 0;
    which = p[0] & 0x7f;
    if (p[0] & 0x80) {
        struct tok *t;

        p++, n--;
        t = make_from(&p, &n, which % 2, pres[which % ARRAY_LEN(pres)]);
        for (unsigned flags = 0; t && flags < 4; flags++)
            check_one(t, p, n, flags, &ids);
        if (t)
            check_spans(t, p, n, &ids);
        tok_free(t);
        tok_ids_done(&ids);
        return 0;
    }
    which %= ARRAY_LEN(pres); // the last, gemma4, has another alphabet: SentencePiece instead
    if (!fixed[which])
        fixed[which] = which + 1 == ARRAY_LEN(pres) ? make_spm() : make_bpe(pres[which]);
    CHECK(fixed[which]);
    for (unsigned flags = 0; flags < 4; flags++) {
        check_one(fixed[which], p + 1, n - 1, flags, &ids);
        if (!(flags & TOK_ADD_SPECIAL))
            check_text(fixed[which], &ids, p + 1, n - 1, which + 1 == ARRAY_LEN(pres));
    }
    check_spans(fixed[which], p + 1, n - 1, &ids);
    tok_ids_done(&ids);
    return 0;
}
