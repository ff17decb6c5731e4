// test_tok.c - what a vocabulary does with odd files and odd texts; special tokens; streams.

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "tok/tokmake.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static struct tok *open_or_fail(struct tokmake *v)
{
    struct err e = { 0 };
    struct tok *t = tm_open(v, &e);

    if (!t)
        fail_msg("%s", e.msg);
    return t;
}

static void refuse(struct tokmake *v, enum err_code code, const char *part)
{
    struct err e = { 0 };

    assert_null(tm_open(v, &e));
    assert_int_equal(e.code, code);
    if (!strstr(e.msg, part))
        fail_msg("no \"%s\" in: %s", part, e.msg);
}

/// The text must give these ids; the last is -1.
static void expect(const struct tok *t, const char *text, size_t n, unsigned flags,
                   const int32_t *want)
{
    struct tok_ids ids = { 0 };
    size_t n_want = 0;

    while (want[n_want] >= 0)
        n_want++;
    assert_true(tok_encode(t, text, n, flags, &ids, NULL));
    for (size_t i = 0; i < ids.n || i < n_want; i++)
        if (i >= n_want || i >= ids.n || ids.id[i] != want[i])
            fail_msg("\"%s\" id %zu of %zu: %d, not %d", text, i, ids.n,
                     i < ids.n ? (int)ids.id[i] : -1, i < n_want ? (int)want[i] : -1);
    tok_ids_done(&ids);
}

#define EXPECT(t, text, flags, ...)                                                                \
    expect(t, text, strlen(text), flags, (const int32_t[]){ __VA_ARGS__, -1 })

/// Encoding and decoding must give the text again.
static void round_trip(const struct tok *t, const char *text, size_t n)
{
    struct tok_ids ids = { 0 };
    struct buf b;

    buf_init(&b, 1 << 26);
    assert_true(tok_encode(t, text, n, 0, &ids, NULL));
    for (size_t i = 0; i < ids.n; i++) {
        struct str s = tok_piece(t, ids.id[i], true);

        assert_in_range(ids.id[i], 0, tok_n_vocab(t) - 1);
        if (s.n)
            assert_true(buf_add(&b, s.p, s.n));
    }
    assert_int_equal(b.n, n);
    if (n)
        assert_memory_equal(b.p, text, n);
    buf_done(&b);
    tok_ids_done(&ids);
}

// --- files

static void files_without_a_key_say_which(void **state)
{
    struct tokmake v = { .model = NULL };

    (void)state;
    tm_bytes(&v);
    refuse(&v, ERR_FORMAT, "tokenizer.ggml.model");

    v = (struct tokmake){ .model = "gpt2", .pre = "gpt-2" };
    refuse(&v, ERR_FORMAT, "tokenizer.ggml.tokens");

    v = (struct tokmake){ .model = "gpt2", .pre = "gpt-2" };
    tm_bytes(&v);
    refuse(&v, ERR_FORMAT, "tokenizer.ggml.merges");
}

static void unknown_kinds_are_named_and_escaped(void **state)
{
    struct tokmake v = { .model = "bert" };

    (void)state;
    tm_bytes(&v);
    refuse(&v, ERR_UNSUPPORTED, "\"bert\"");

    v = (struct tokmake){ .model = "gpt2", .pre = "new\n\x1b[31m" };
    tm_bytes(&v);
    tm_merge(&v, "a b");
    refuse(&v, ERR_UNSUPPORTED, "new\\x0a\\x1b[31m");
}

static void short_arrays_are_refused(void **state)
{
    static const char *const tokens[] = { "a", "b", "c" };
    static const int32_t types[] = { 1, 1 };
    static const float scores[] = { 0, 0 };
    struct tokmake v = { .model = "llama" };

    (void)state;
    gm_strs(tm_keys(&v), "tokenizer.ggml.tokens", 3, tokens);
    gm_arr(tm_keys(&v), "tokenizer.ggml.token_type", GGUF_I32, 2, types, sizeof(types));
    refuse(&v, ERR_FORMAT, "tokenizer.ggml.token_type");

    v = (struct tokmake){ .model = "llama" };
    gm_strs(tm_keys(&v), "tokenizer.ggml.tokens", 3, tokens);
    gm_arr(tm_keys(&v), "tokenizer.ggml.scores", GGUF_F32, 2, scores, sizeof(scores));
    refuse(&v, ERR_FORMAT, "tokenizer.ggml.scores");

    v = (struct tokmake){ .model = "llama" };
    gm_strs(tm_keys(&v), "tokenizer.ggml.tokens", 3, tokens);
    gm_str(tm_keys(&v), "tokenizer.ggml.scores", "high");
    refuse(&v, ERR_FORMAT, "tokenizer.ggml.scores");
}

static void ids_out_of_range_count_as_not_there(void **state)
{
    struct tokmake v = { .model = "gpt2", .pre = "llama-bpe" };
    struct tok *t;

    (void)state;
    tm_bytes(&v);
    tm_make(&v, "a", "b");
    gm_u32(tm_keys(&v), "tokenizer.ggml.bos_token_id", 257);
    gm_u32(tm_keys(&v), "tokenizer.ggml.eos_token_id", UINT32_MAX);
    gm_u32(tm_keys(&v), "tokenizer.ggml.eot_token_id", 1000);
    t = open_or_fail(&v);
    assert_int_equal(tok_bos(t), -1);
    assert_int_equal(tok_eos(t), -1);
    assert_false(tok_adds_bos(t));
    EXPECT(t, "ab", TOK_ADD_SPECIAL, 256);
    for (int32_t id = -2; id < 400; id += id < 0 || id > 255 ? 1 : 255) {
        assert_false(tok_is_eog(t, id));
        if (id < 0 || id > 256)
            assert_null(tok_piece(t, id, true).p);
    }
    assert_null(tok_piece(t, INT32_MIN, true).p);
    assert_null(tok_piece(t, INT32_MAX, true).p);
    tok_free(t);
    tok_free(NULL);
}

/// Catalogue T-03: counts are size_t, and a text that could make 2^31 ids is refused before it is
/// read.
static void t03_text_above_a_gib_is_refused(void **state)
{
    const size_t sizes[] = { ((size_t)1 << 30) + 1, (size_t)1 << 31, ((size_t)1 << 32) + 1,
                             SIZE_MAX };
    struct tokmake v = { .model = "gpt2", .pre = "gpt-2" };
    struct tok_ids ids = { 0 };
    struct tok *t;

    (void)state;
    tm_bytes(&v);
    tm_make(&v, "a", "b");
    t = open_or_fail(&v);
    for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
        struct err e = { 0 };

        assert_false(tok_encode(t, "x", sizes[i], 0, &ids, &e));
        assert_int_equal(e.code, ERR_ARG);
        assert_int_equal(ids.n, 0);
    }
    { // nor one in parts
        const struct tok_span parts[] = { { 1, true }, { (size_t)1 << 30, true } };

        assert_false(tok_encode_spans(t, "x", parts, 2, 0, &ids, NULL));
    }
    tok_ids_done(&ids);
    tok_free(t);
}

/// Catalogue T-06: what only looks like a byte token is none.
static void t06_byte_tokens_are_two_hex_digits(void **state)
{
    static const char *const odd[] = { "<0x-1>",  "<0x100>", "<0x>",  "<0xG0>",
                                       "<0x0x1>", "<0x 5>",  "<0x5>", "<0x+5>" };
    struct tokmake v = { .model = "llama" };
    struct tok *t;
    int first;

    (void)state;
    tm_token(&v, "<unk>", TM_UNKNOWN, 0);
    tm_token(&v, "<s>", TM_CONTROL, 0);
    tm_token(&v, "</s>", TM_CONTROL, 0);
    tm_token(&v, "<0x41>", TM_BYTE, 0);
    tm_token(&v, "<0x4a>", TM_BYTE, 0);
    first = v.n;
    for (size_t i = 0; i < ARRAY_LEN(odd); i++)
        tm_token(&v, odd[i], TM_BYTE, 0);
    gm_bool(tm_keys(&v), "tokenizer.ggml.add_space_prefix", false);
    t = open_or_fail(&v);
    EXPECT(t, "A", 0, 3);
    EXPECT(t, "J", 0, 4);
    EXPECT(t, "\x05", 0, 0); // no such byte: unknown
    assert_true(str_is(tok_piece(t, 3, false), "A"));
    assert_true(str_is(tok_piece(t, 4, false), "J"));
    for (size_t i = 0; i < ARRAY_LEN(odd); i++)
        assert_true(str_is(tok_piece(t, first + (int32_t)i, false), odd[i]));
    tok_free(t);
}

/// Catalogue T-07: empty tokens, one NUL, equal tokens, no UTF-8, no byte fallback.
static void t07_odd_vocabularies_load(void **state)
{
    struct tok_ids ids = { 0 };

    (void)state;
    for (int spm = 0; spm < 2; spm++) {
        static const char *const tokens[] = { "",  "a",        "a",     "\xff\xfe", "\u2581a",
                                              "b", "\xe2\x96", "<|x|>", "<|x|>",    "" };
        static const int32_t types[] = { 1, 1, 1, 1, 1, 1, 1, 3, 4, 3 };
        static const float scores[] = { 0, 0, 0, 0, 0, 0, 0, 0, 0, 0 };
        static const char *const merges[] = { "a b" };
        struct tokmake v = { .model = spm ? "llama" : "gpt2", .pre = "gpt-2" };
        struct gguf_make *m = tm_keys(&v);
        struct tok *t;

        gm_strs(m, "tokenizer.ggml.tokens", ARRAY_LEN(tokens), tokens);
        gm_arr(m, "tokenizer.ggml.token_type", GGUF_I32, ARRAY_LEN(types), types, sizeof(types));
        gm_arr(m, "tokenizer.ggml.scores", GGUF_F32, ARRAY_LEN(scores), scores, sizeof(scores));
        gm_strs(m, "tokenizer.ggml.merges", 1, merges);
        t = open_or_fail(&v);
        assert_int_equal(tok_find(t, "a", 1), 1);
        assert_int_equal(tok_find(t, "", 0), -1);
        assert_int_equal(tok_find(t, "zzz", 3), -1);
        ids.n = 0; // c is in no token
        assert_true(tok_encode(t, "abc \xff\xfe \0 <|x|>", 14, TOK_PARSE_SPECIAL, &ids, NULL));
        for (size_t i = 0; i < ids.n; i++)
            assert_in_range(ids.id[i], 0, 9);
        tok_free(t);
    }
    tok_ids_done(&ids);
}

/// Special tokens that are half a character are never found: they would cut the text inside one.
static void t07_special_tokens_do_not_cut_characters(void **state)
{
    static const char *const pres[] = { "gpt-2", "qwen2", "gpt-4o", "deepseek-v3", "default" };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(pres); i++) {
        struct tokmake v = { .model = "gpt2", .pre = pres[i] };
        struct tok_ids ids = { 0 };
        struct tok *t;
        char *tight = xmalloc(8); // so that a byte too far is seen

        tm_bytes(&v);
        tm_merge(&v, "a b");
        tm_token(&v, "\xbd", TM_USER, 0);
        tm_token(&v, "\xbd\xa0", TM_CONTROL, 0);
        tm_token(&v, "\xf0\x9f", TM_USER, 0);
        t = open_or_fail(&v);
        memcpy(tight, "\u4f60a\U0001f600", 8);
        assert_true(tok_encode(t, tight, 8, TOK_PARSE_SPECIAL, &ids, NULL));
        for (size_t k = 0; k < ids.n; k++)
            assert_in_range(ids.id[k], 0, 255);
        tok_ids_done(&ids);
        tok_free(t);
        free(tight);
    }
}

/// A token that is one NUL, and texts with zeros in them.
static void t07_zeros_are_bytes_as_others(void **state)
{
    struct tokmake v = { .model = "gpt2", .pre = "llama-bpe" };
    struct tok *t;
    int32_t two;

    (void)state;
    tm_bytes(&v);
    two = tm_make(&v, "\u0100", "\u0100"); // 0 in GPT-2's alphabet
    t = open_or_fail(&v);
    expect(t, "\0\0a", 3, 0, (const int32_t[]){ two, 'a', -1 });
    assert_int_equal(tok_piece(t, 0, true).n, 1);
    assert_int_equal(tok_piece(t, two, true).n, 2);
    assert_int_equal(tok_find(t, "\0\0", 2), two);
    round_trip(t, "a\0b\0\0 c", 7);
    tok_free(t);
}

/// Catalogue T-08: merges without a space, with two, of unknown tokens, twice, in a circle.
static void t08_malformed_merges_are_passed_over(void **state)
{
    struct tokmake v = { .model = "gpt2", .pre = "gpt-2" };
    struct tok *t;
    int32_t ab, abc;

    (void)state;
    tm_bytes(&v);
    tm_merge(&v, "");
    tm_merge(&v, " ");
    tm_merge(&v, "  ");
    tm_merge(&v, "ab");
    tm_merge(&v, "a  b");
    tm_merge(&v, "a ");
    tm_merge(&v, " a");
    tm_merge(&v, "zz a");
    tm_merge(&v, "a zz");
    tm_merge(&v, "x y"); // makes what is no token
    tm_merge(&v, "\u4e2d a");
    tm_merge(&v, "\xff\xfe a");
    ab = tm_make(&v, "a", "b");
    tm_merge(&v, "a b");
    abc = tm_make(&v, "ab", "c");
    tm_merge(&v, "ab c");
    t = open_or_fail(&v);
    EXPECT(t, "ab", 0, ab);
    EXPECT(t, "abc", 0, abc);
    EXPECT(t, "xy", 0, 'x', 'y');
    tok_free(t);
}

/// T-08 as well: very many merges, most of them useless.
static void t08_many_merges_load(void **state)
{
    struct tokmake v = { .model = "gpt2", .pre = "gpt-2" };
    struct tok *t;
    int32_t ab;

    (void)state;
    tm_bytes(&v);
    for (int i = 0; i < 300000; i++)
        tm_merge(&v, i % 3 ? "q w" : "e r t y");
    ab = tm_make(&v, "a", "b");
    t = open_or_fail(&v);
    EXPECT(t, "ab", 0, ab);
    tok_free(t);
}

// --- special tokens

static void control_tokens_in_a_text_are_text_unless_asked_for(void **state)
{
    struct tokmake v = { .model = "gpt2", .pre = "gpt-2" };
    struct tok *t;
    int32_t end, user;

    (void)state;
    tm_bytes(&v);
    tm_merge(&v, "a b");
    end = tm_token(&v, "<|im_end|>", TM_CONTROL, 0);
    user = tm_token(&v, "[user]", TM_USER, 0);
    t = open_or_fail(&v);
    EXPECT(t, "a<|im_end|>[user]b", TOK_PARSE_SPECIAL, 'a', end, user, 'b');
    EXPECT(t, "<|im_end|>[user]", 0, '<', '|', 'i', 'm', '_', 'e', 'n', 'd', '|', '>', user);
    EXPECT(t, "<|im_end|", TOK_PARSE_SPECIAL, '<', '|', 'i', 'm', '_', 'e', 'n', 'd', '|');
    assert_true(tok_is_eog(t, end));
    assert_true(tok_is_control(t, end));
    assert_false(tok_is_control(t, user));
    assert_true(str_is(tok_piece(t, end, true), "<|im_end|>"));
    assert_int_equal(tok_piece(t, end, false).n, 0);
    assert_true(str_is(tok_piece(t, user, false), "[user]"));
    assert_int_equal(tok_find(t, "<|im_end|>", 10), end);
    assert_int_equal(tok_find(t, "<|im_end|", 9), -1);
    tok_free(t);
}

static void spans(const struct tok *t, const char *text, const struct tok_span *span, size_t n,
                  const int32_t *want)
{
    struct tok_ids ids = { 0 };
    size_t n_want = 0;

    while (want[n_want] >= 0)
        n_want++;
    assert_true(tok_encode_spans(t, text, span, n, 0, &ids, NULL));
    assert_int_equal(ids.n, n_want);
    if (n_want)
        assert_memory_equal(ids.id, want, n_want * sizeof(*want));
    tok_ids_done(&ids);
}

static void control_tokens_do_not_reach_into_what_users_wrote(void **state)
{
    struct tokmake v = { .model = "gpt2", .pre = "gpt-2" };
    struct tok *t;
    int32_t end, user, ab;

    (void)state;
    tm_bytes(&v);
    ab = tm_make(&v, "a", "b");
    end = tm_token(&v, "<e>", TM_CONTROL, 0);
    user = tm_token(&v, "[u]", TM_USER, 0);
    t = open_or_fail(&v);
#define SPANS(text, ...)                                                                           \
    spans(t, text, (const struct tok_span[]){ __VA_ARGS__ },                                       \
          sizeof((const struct tok_span[]){ __VA_ARGS__ }) / sizeof(struct tok_span), want)
    {
        const int32_t want[] = { end, '<', 'e', '>', end, -1 };
        SPANS("<e><e><e>", { 3, false }, { 3, true }, { 3, false });
    }
    { // neither half inside, nor whole from outside
        const int32_t want[] = { '<', 'e', '>', '<', 'e', '>', -1 };
        SPANS("<e><e>", { 1, false }, { 3, true }, { 2, false });
        SPANS("<e><e>", { 2, false }, { 1, true }, { 1, false }, { 0, true }, { 2, false });
    }
    { // words and user-defined tokens go across
        const int32_t want[] = { ab, user, ab, -1 };
        SPANS("ab[u]ab", { 1, false }, { 2, true }, { 3, false }, { 1, true });
        SPANS("ab[u]ab", { 0, false }, { 7, true });
    }
    { // each part is repaired for itself
        const int32_t want[] = { 'a', 0xef, 0xbf, 0xbd, 0xef, 0xbf, 0xbd, end, -1 };
        SPANS("a\xc3\xa9<e>", { 2, true }, { 4, false });
    }
    {
        const int32_t want[] = { -1 };
        spans(t, "", NULL, 0, want);
    }
#undef SPANS
    tok_free(t);
}

/// By definition: each token in turn, longest first, is searched for from left to right in what is
/// not taken yet.
static size_t taken_by_hand(const char *const *token, size_t n_tokens, const char *text,
                            int32_t *out)
{
    size_t n = strlen(text), n_out = 0;
    int owner[256] = { 0 };
    bool starts[256] = { false };

    for (size_t len = 9; len > 0; len--)
        for (size_t at = 0; at + len <= n; at++)
            for (size_t k = 0; k < n_tokens; k++) {
                bool open = strlen(token[k]) == len && memcmp(text + at, token[k], len) == 0;

                for (size_t i = at; open && i < at + len; i++)
                    open = owner[i] == 0;
                if (!open)
                    continue;
                for (size_t i = at; i < at + len; i++)
                    owner[i] = 256 + (int)k;
                starts[at] = true;
            }
    for (size_t i = 0; i < n; i++)
        if (owner[i] == 0)
            out[n_out++] = (uint8_t)text[i];
        else if (starts[i])
            out[n_out++] = owner[i];
    return n_out;
}

static void overlapping_special_tokens_go_longest_first(void **state)
{
    static const char *const token[] = {
        "aa", "aab", "ba", "abab", "bbbb", "b", "abcab", "cccccc"
    };
    struct tokmake v = { .model = "gpt2", .pre = "gpt-2" };
    struct tok *t;
    uint64_t r = 1;

    (void)state;
    tm_bytes(&v);
    tm_merge(&v, "x y");
    for (size_t i = 0; i < ARRAY_LEN(token); i++)
        tm_token(&v, token[i], TM_USER, 0);
    t = open_or_fail(&v);
    for (int round = 0; round < 3000; round++) {
        char text[64];
        int32_t want[65];
        size_t n = 1 + (size_t)round % 40;

        for (size_t i = 0; i < n; i++) {
            r = r * 6364136223846793005u + 1442695040888963407u;
            text[i] = "aabbc"[(r >> 33) % 5];
        }
        text[n] = 0;
        want[taken_by_hand(token, ARRAY_LEN(token), text, want)] = -1;
        expect(t, text, n, 0, want);
    }
    tok_free(t);
}

static void phi3_s_marks_swallow_the_white_space_after_them(void **state)
{
    for (int phi = 0; phi < 2; phi++) {
        struct tokmake v = { .model = "llama", .name = phi ? "My PHI-3 mini" : "Other" };
        struct tok *t;
        int32_t user, end, x;

        tm_spm_bytes(&v);
        user = tm_token(&v, "<|user|>", TM_CONTROL, 0);
        end = tm_token(&v, "<|endoftext|>", TM_CONTROL, 0);
        x = tm_token(&v, "x", TM_NORMAL, 0);
        gm_bool(tm_keys(&v), "tokenizer.ggml.add_space_prefix", false);
        t = open_or_fail(&v);
        if (phi)
            EXPECT(t, "<|user|> \n\tx", TOK_PARSE_SPECIAL, user, x);
        else
            EXPECT(t, "<|user|>\nx", TOK_PARSE_SPECIAL, user, 13, x);
        EXPECT(t, "<|endoftext|>\nx", TOK_PARSE_SPECIAL, end, 13, x);
        EXPECT(t, "x<|user|>", TOK_PARSE_SPECIAL, x, user);
        tok_free(t);
    }
    (void)state;
}

static void bos_and_eos_are_added_as_the_file_asks(void **state)
{
    for (int i = 0; i < 8; i++) {
        struct tokmake v = { .model = i & 4 ? "llama" : "gpt2", .pre = "gpt-2" };
        struct tok_ids ids = { 0 };
        struct tok *t;
        bool bos = i & 1, eos = i & 2;

        if (i & 4) {
            tm_spm_bytes(&v);
        } else {
            tm_bytes(&v);
            tm_merge(&v, "a b");
            gm_u32(tm_keys(&v), "tokenizer.ggml.bos_token_id", 1);
            gm_u32(tm_keys(&v), "tokenizer.ggml.eos_token_id", 2);
        }
        gm_bool(tm_keys(&v), "tokenizer.ggml.add_bos_token", bos);
        gm_bool(tm_keys(&v), "tokenizer.ggml.add_eos_token", eos);
        t = open_or_fail(&v);
        assert_int_equal(tok_adds_bos(t), bos);
        assert_true(tok_is_eog(t, 2));
        assert_true(tok_encode(t, "", 0, TOK_ADD_SPECIAL, &ids, NULL));
        assert_int_equal(ids.n, bos + eos);
        if (bos)
            assert_int_equal(ids.id[0], 1);
        if (eos)
            assert_int_equal(ids.id[ids.n - 1], 2);
        ids.n = 0;
        assert_true(tok_encode(t, "", 0, 0, &ids, NULL));
        assert_int_equal(ids.n, 0);
        tok_ids_done(&ids);
        tok_free(t);
    }
    (void)state;
}

/// gpt-oss ends a message with <|end|> and goes on; it ends with <|return|> or <|call|>.
static void an_end_that_is_none_is_known(void **state)
{
    struct tokmake v = { .model = "gpt2", .pre = "gpt-4o" };
    struct tok *t;
    int32_t end, ret, call, channel;

    (void)state;
    tm_bytes(&v);
    tm_merge(&v, "a b");
    end = tm_token(&v, "<|end|>", TM_CONTROL, 0);
    ret = tm_token(&v, "<|return|>", TM_CONTROL, 0);
    call = tm_token(&v, "<|call|>", TM_CONTROL, 0);
    channel = tm_token(&v, "<|channel|>", TM_CONTROL, 0);
    t = open_or_fail(&v);
    assert_false(tok_is_eog(t, end));
    assert_true(tok_is_eog(t, ret));
    assert_true(tok_is_eog(t, call));
    assert_true(str_is(tok_piece(t, channel, false), "<|channel|>"));
    tok_free(t);
}

// --- SentencePiece

static struct tok *spm_words(bool prefix)
{
    struct tokmake v = { .model = "llama" };

    tm_spm_bytes(&v);
    tm_token(&v, "\u2581", TM_NORMAL, -5);       // 259
    tm_token(&v, "a", TM_NORMAL, -6);            // 260
    tm_token(&v, "\u2581a", TM_NORMAL, -1);      // 261
    tm_token(&v, "\u2581\u2581", TM_NORMAL, -2); // 262
    tm_token(&v, "<t>", TM_USER, 0);             // 263
    gm_bool(tm_keys(&v), "tokenizer.ggml.add_space_prefix", prefix);
    return open_or_fail(&v);
}

static void a_space_comes_before_each_text_if_the_file_asks(void **state)
{
    struct tok *with = spm_words(true), *without = spm_words(false);

    (void)state;
    assert_true(tok_adds_space(with));
    assert_false(tok_adds_space(without));
    EXPECT(with, "a", 0, 261);
    EXPECT(without, "a", 0, 260);
    EXPECT(with, "a<t>a", 0, 261, 263, 261);
    EXPECT(without, "a<t>a", 0, 260, 263, 260);
    EXPECT(with, "<t>", 0, 263);
    EXPECT(with, " a a", 0, 259, 261, 261); // "_a" goes before "__"
    EXPECT(with, "  ", 0, 262, 259);
    EXPECT(with, "\n\xff", 0, 259, 13, 258);
    tok_free(with);
    tok_free(without);
}

static void decoding_takes_off_the_space_that_encoding_put_there(void **state)
{
    static const int32_t ids[] = { 261, 261, 263 };
    struct tok *t = spm_words(true);
    struct tok_stream s = { .lead = true };
    struct buf b;

    (void)state;
    buf_init(&b, 100);
    assert_true(tok_decode(t, ids, 3, false, &b));
    assert_string_equal(b.p, "a a<t>");
    buf_reset(&b);
    for (size_t i = 0; i < 3; i++)
        assert_true(tok_stream_add(&s, t, ids[i], false, &b));
    assert_true(tok_stream_end(&s, &b));
    assert_string_equal(b.p, "a a<t>");
    buf_reset(&b);
    s = (struct tok_stream){ .lead = false };
    assert_true(tok_stream_add(&s, t, 261, false, &b));
    assert_string_equal(b.p, " a");
    buf_done(&b);

    buf_init(&b, 3);
    assert_false(tok_decode(t, ids, 3, false, &b));
    buf_done(&b);
    tok_free(t);
}

// --- streams

static void a_stream_holds_back_what_is_not_whole(void **state)
{
    static const struct {
        const char *in; // one token a byte
        const char *out[9];
    } cases[] = {
        { "a\xc3\xa9", { "a", "", "\u00e9" } },
        { "\xf0\x9f\x98\x80!", { "", "", "", "\U0001f600", "!" } },
        { "\xffz", { "\ufffd", "z" } },
        { "\xe4\xbd"
          "a",
          { "", "",
            "\ufffd"
            "a" } }, // one for the part that was begun
        { "\xe4\xe4\xbd\xa0", { "", "\ufffd", "", "\u4f60" } },
        { "\xc0\xaf", { "\ufffd", "\ufffd" } },               // too long a form
        { "\xed\xa0\x80", { "", "\ufffd\ufffd", "\ufffd" } }, // a surrogate
        { "\xf4\x90", { "", "\ufffd\ufffd" } },
        { "\xe4\xbd", { "", "", "\ufffd" } }, // the end comes after
    };
    struct tokmake v = { .model = "gpt2", .pre = "gpt-2" };
    struct tok *t;
    struct buf b;

    (void)state;
    tm_bytes(&v);
    tm_merge(&v, "a b");
    t = open_or_fail(&v);
    buf_init(&b, 100);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct tok_stream s = { .n_held = 0 };
        size_t n = strlen(cases[i].in);

        for (size_t k = 0; k < n; k++) {
            buf_reset(&b);
            assert_true(tok_stream_add(&s, t, (uint8_t)cases[i].in[k], true, &b));
            assert_int_equal(b.n, strlen(cases[i].out[k]));
            assert_memory_equal(b.p ? b.p : "", cases[i].out[k], b.n);
        }
        buf_reset(&b);
        assert_true(tok_stream_end(&s, &b));
        assert_int_equal(b.n, cases[i].out[n] ? strlen(cases[i].out[n]) : 0);
        assert_int_equal(s.n_held, 0);
    }
    buf_done(&b);
    tok_free(t);
}

// --- texts

static struct tok *english_vocab(const char *pre)
{
    static const char *const words[] = { "t h",
                                         "th e",
                                         "\u0120 the",
                                         "i n",
                                         "in g",
                                         "\u0120 a",
                                         "a n",
                                         "an d",
                                         "\u0120a nd",
                                         "\u0120 \u0120",
                                         "\u0120\u0120 \u0120\u0120",
                                         "e r",
                                         "o n" };
    struct tokmake v = { .model = "gpt2", .pre = pre };

    tm_bytes(&v);
    for (size_t i = 0; i < ARRAY_LEN(words); i++) {
        const char *space = strchr(words[i], ' ');
        char left[32];

        snprintf(left, sizeof(left), "%.*s", (int)(space - words[i]), words[i]);
        tm_make(&v, left, space + 1);
    }
    return open_or_fail(&v);
}

static void any_bytes_come_back_where_the_vocabulary_has_them(void **state)
{
    static const char *const pres[] = { "gpt-2",        "llama-bpe", "qwen2",  "smollm",
                                        "deepseek-llm", "tekken",    "gpt-4o", "deepseek-coder",
                                        "deepseek-v3",  "default" };
    char text[600];
    uint64_t r = 7;

    (void)state;
    for (size_t k = 0; k < ARRAY_LEN(pres); k++) {
        struct tok *t = english_vocab(pres[k]);

        for (int round = 0; round < 200; round++) {
            size_t n = 0;

            while (n < 500) {
                r = r * 6364136223846793005u + 1442695040888963407u;
                switch ((r >> 33) % 6) {
                case 0:
                    text[n++] = (char)((r >> 40) % 128); // any ASCII, also zeros
                    break;
                case 1:
                    memcpy(text + n, "\U0001f600\u597d", 7);
                    n += 7;
                    break;
                default:
                    memcpy(text + n, &"the and   ing \n 12"[(r >> 40) % 12], 6);
                    n += 6;
                }
            }
            round_trip(t, text, n);
        }
        tok_free(t);
    }
}

/// A long text remembers its words; the result must be that of its parts.
static void remembered_words_give_the_same_ids(void **state)
{
    struct tok *t = english_vocab("qwen2");
    struct tok_ids whole = { 0 }, parts = { 0 };
    struct buf b;
    uint64_t r = 3;

    (void)state;
    buf_init(&b, 1 << 20);
    for (int i = 0; i < 20000; i++) {
        char word[32];
        size_t before = b.n;

        r = r * 6364136223846793005u + 1442695040888963407u;
        snprintf(word, sizeof(word), " w%xand%c", (unsigned)(r >> 40) % 3000,
                 'a' + (int)(r >> 33) % 3);
        for (char *p = word; *p; p++)
            *p = (char)(*p >= '0' && *p <= '9' ? *p - '0' + 'g' : *p); // one word, no digits
        assert_true(buf_addz(&b, word));
        assert_true(tok_encode(t, b.p + before, b.n - before, 0, &parts, NULL));
    }
    assert_true(tok_encode(t, b.p, b.n, 0, &whole, NULL));
    assert_int_equal(whole.n, parts.n);
    assert_memory_equal(whole.id, parts.id, whole.n * sizeof(*whole.id));
    tok_ids_done(&whole);
    tok_ids_done(&parts);
    buf_done(&b);
    tok_free(t);
}

static double encode_ms(const struct tok *t, const char *text, size_t n)
{
    struct tok_ids ids = { 0 };
    struct timespec a, b;

    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &a);
    assert_true(tok_encode(t, text, n, TOK_PARSE_SPECIAL, &ids, NULL));
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &b);
    tok_ids_done(&ids);
    return (double)(b.tv_sec - a.tv_sec) * 1e3 + (double)(b.tv_nsec - a.tv_nsec) / 1e6;
}

/// Catalogue T-01, from text to ids: also where special tokens overlap in runs.
static void t01_time_is_linear_in_runs(void **state)
{
    static const char *const unit[] = { "A",  " ", ".",    "\n", "\u4e2d", "\u0301",
                                        "us", "<", "<|im", " a", "\xff" };
    const size_t n = 128 << 10;
    char *text = xmalloc(2 * n);

    (void)state;
    for (int spm = 0; spm < 2; spm++) {
        struct tokmake v = { .model = spm ? "llama" : "gpt2", .pre = "qwen2" };
        struct tok *t;
        char run[64] = "";

        if (spm) {
            tm_spm_bytes(&v);
            tm_token(&v, "\u2581", TM_NORMAL, -3);
            tm_token(&v, "\u2581a", TM_NORMAL, -1);
            tm_token(&v, "us", TM_NORMAL, -2);
        } else {
            tm_bytes(&v);
            tm_make(&v, "u", "s");
            tm_make(&v, "us", "us");
        }
        tm_token(&v, "<|im_end|>", TM_CONTROL, 0);
        for (int i = 0; i < 24; i++) { // as Gemma has for newlines
            strcat(run, "\n");
            tm_token(&v, run, TM_USER, 0);
        }
        strcat(run, "but not alone"); // so that the longest of the run is not the longest of all
        tm_token(&v, run, TM_USER, 0);
        t = open_or_fail(&v);
        for (size_t u = 0; u < ARRAY_LEN(unit); u++) {
            size_t len = strlen(unit[u]), fit = n / len * len;
            double once, twice;
            int tries = 0;

            for (size_t i = 0; i < 2 * fit; i++)
                text[i] = unit[u][i % len];
            do {
                once = encode_ms(t, text, fit);
                twice = encode_ms(t, text, 2 * fit);
            } while (twice > 2.5 * once + 1 && ++tries < 5);
            if (tries == 5 || twice > 2000)
                fail_msg("%s \"%s\": %.1f ms, twice as much %.1f ms", spm ? "spm" : "bpe", unit[u],
                         once, twice);
        }
        tok_free(t);
    }
    free(text);
}

struct worker {
    const struct tok *t;
    const char *text;
    size_t n;
    struct tok_ids ids;
};

static void *encode_often(void *arg)
{
    struct worker *w = arg;

    for (int i = 0; i < 20; i++) {
        w->ids.n = 0;
        if (!tok_encode(w->t, w->text, w->n, TOK_PARSE_SPECIAL, &w->ids, NULL))
            return w;
    }
    return NULL;
}

static void many_threads_share_one_vocabulary(void **state)
{
    struct tok *t = english_vocab("llama-bpe");
    char text[4000];
    struct worker w[4];
    pthread_t thread[4];

    (void)state;
    for (size_t i = 0; i < sizeof(text); i++)
        text[i] = "the and  ing\n"[i * i % 13];
    for (size_t i = 0; i < 4; i++) {
        w[i] = (struct worker){ .t = t, .text = text, .n = sizeof(text) };
        assert_int_equal(pthread_create(&thread[i], NULL, encode_often, &w[i]), 0);
    }
    for (size_t i = 0; i < 4; i++) {
        void *failed;

        pthread_join(thread[i], &failed);
        assert_null(failed);
        assert_int_equal(w[i].ids.n, w[0].ids.n);
        assert_memory_equal(w[i].ids.id, w[0].ids.id, w[0].ids.n * sizeof(int32_t));
    }
    for (size_t i = 0; i < 4; i++)
        tok_ids_done(&w[i].ids);
    tok_free(t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(files_without_a_key_say_which),
        cmocka_unit_test(unknown_kinds_are_named_and_escaped),
        cmocka_unit_test(short_arrays_are_refused),
        cmocka_unit_test(ids_out_of_range_count_as_not_there),
        cmocka_unit_test(t03_text_above_a_gib_is_refused),
        cmocka_unit_test(t06_byte_tokens_are_two_hex_digits),
        cmocka_unit_test(t07_odd_vocabularies_load),
        cmocka_unit_test(t07_special_tokens_do_not_cut_characters),
        cmocka_unit_test(t07_zeros_are_bytes_as_others),
        cmocka_unit_test(t08_malformed_merges_are_passed_over),
        cmocka_unit_test(t08_many_merges_load),
        cmocka_unit_test(control_tokens_in_a_text_are_text_unless_asked_for),
        cmocka_unit_test(control_tokens_do_not_reach_into_what_users_wrote),
        cmocka_unit_test(overlapping_special_tokens_go_longest_first),
        cmocka_unit_test(phi3_s_marks_swallow_the_white_space_after_them),
        cmocka_unit_test(bos_and_eos_are_added_as_the_file_asks),
        cmocka_unit_test(an_end_that_is_none_is_known),
        cmocka_unit_test(a_space_comes_before_each_text_if_the_file_asks),
        cmocka_unit_test(decoding_takes_off_the_space_that_encoding_put_there),
        cmocka_unit_test(a_stream_holds_back_what_is_not_whole),
        cmocka_unit_test(any_bytes_come_back_where_the_vocabulary_has_them),
        cmocka_unit_test(remembered_words_give_the_same_ids),
        cmocka_unit_test(t01_time_is_linear_in_runs),
        cmocka_unit_test(many_threads_share_one_vocabulary),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
