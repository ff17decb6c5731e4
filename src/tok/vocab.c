// vocab.c - reads a file's keys into struct tok.
//
// Everything is built at once, in a few large pieces of memory: the first prompt needs it all.
// Malformed merges and tokens that cannot be reached are passed over; what makes the vocabulary
// useless is an error.

#include "tok/tok_int.h"

#include "tok/uni.h"

#include <stdlib.h>
#include <string.h>

#define SPACE_MARK "\xe2\x96\x81" // U+2581, SentencePiece's space

/// What is read from the file and not kept.
struct source {
    const struct gguf *g;
    const struct str *tokens;
    const struct str *merges;
    uint32_t n_merges;
    const uint8_t *is_key; // one for each token: words can become it
};

static bool bad_key(struct err *e, const char *key, const char *why)
{
    return err_set(e, ERR_FORMAT, "tokenizer.ggml.%s: %s", key, why);
}

/// Model and pre-tokenizer.
static bool read_kind(struct tok *t, const struct gguf *g, struct err *e)
{
    struct str model, pre = str_of("default");
    char shown[80];

    if (!gguf_get_str(g, "tokenizer.ggml.model", &model))
        return bad_key(e, "model", "missing, or not a string");
    if (str_is(model, "llama")) {
        t->spm = t->spaced = true;
        strcpy(t->kind, "spm");
        return true;
    }
    if (str_is(model, "gemma4"))
        pre = str_of("gemma4");
    else if (!str_is(model, "gpt2"))
        return err_set(e, ERR_UNSUPPORTED, "tokenizer.ggml.model: unknown kind of tokenizer \"%s\"",
                       err_bytes(shown, sizeof(shown), model.p, model.n));
    else
        gguf_get_str(g, "tokenizer.ggml.pre", &pre);
    t->pre = pre_find(pre.p, pre.n);
    if (!t->pre)
        return err_set(e, ERR_UNSUPPORTED, "tokenizer.ggml.pre: unknown pre-tokenizer \"%s\"",
                       err_bytes(shown, sizeof(shown), pre.p, pre.n));
    t->spaced = (t->pre->flags & PRE_SPACED) != 0;
    t->whole_words = (t->pre->flags & PRE_WHOLE_WORDS) != 0;
    t->clean_spaces = (t->pre->flags & PRE_CLEAN_SPACES) != 0;
    snprintf(t->kind, sizeof(t->kind), "bpe/%s", t->pre->name);
    return true;
}

static bool read_arrays(struct tok *t, struct source *s, struct err *e)
{
    uint64_t n = 0, n_merges = 0, bytes = 0;
    struct gguf_arr merges;

    s->tokens = gguf_arr_strs(s->g, "tokenizer.ggml.tokens", &n);
    if (!s->tokens || n == 0)
        return bad_key(e, "tokens", "missing, empty, or not an array of strings");
    if (n > MAX_TOKENS)
        return err_set(e, ERR_UNSUPPORTED, "tokenizer.ggml.tokens: more than %d", MAX_TOKENS);
    for (uint64_t i = 0; i < n; i++)
        bytes += s->tokens[i].n;
    if (bytes > INT32_MAX)
        return err_set(e, ERR_UNSUPPORTED, "tokenizer.ggml.tokens: more than 2 GiB of text");
    t->n = (int)n;
    if (t->spm)
        return true;
    if (!gguf_get_arr(s->g, "tokenizer.ggml.merges", &merges) || merges.type != GGUF_STR)
        return bad_key(e, "merges", "missing, or not an array of strings");
    s->merges = gguf_arr_strs(s->g, "tokenizer.ggml.merges", &n_merges);
    if (n_merges > MAX_MERGES)
        return err_set(e, ERR_UNSUPPORTED, "tokenizer.ggml.merges: more than %d", MAX_MERGES);
    s->n_merges = (uint32_t)n_merges;
    return true;
}

/// Token types of the file, as bits.
static bool read_types(struct tok *t, const struct gguf *g, struct err *e)
{
    static const uint8_t bit[] = { 0,         ATTR_NORMAL, ATTR_UNKNOWN, ATTR_CONTROL,
                                   ATTR_USER, ATTR_UNUSED, ATTR_BYTE };
    struct gguf_arr a;

    t->attr = xcalloc((size_t)t->n, 1);
    if (gguf_find_key(g, "tokenizer.ggml.token_type") < 0) {
        memset(t->attr, ATTR_NORMAL, (size_t)t->n);
        return true;
    }
    if (!gguf_get_arr(g, "tokenizer.ggml.token_type", &a) || a.n < (uint64_t)t->n)
        return bad_key(e, "token_type", "not an array with a number for each token");
    for (int i = 0; i < t->n; i++) {
        int64_t v;

        if (!gguf_arr_i64(&a, (uint64_t)i, &v))
            return bad_key(e, "token_type", "not an array of integers");
        t->attr[i] = v >= 0 && v < (int64_t)ARRAY_LEN(bit) ? bit[v] : 0;
    }
    return true;
}

/// A token's id from the file. What is out of range counts as not there.
static int32_t id_key(const struct tok *t, const struct gguf *g, const char *key, int32_t otherwise)
{
    uint32_t id;

    if (gguf_get_u32(g, key, &id) && id < (uint32_t)t->n)
        return (int32_t)id;
    return otherwise >= 0 && otherwise < t->n ? otherwise : -1;
}

static void ends_generation(struct tok *t, int32_t id)
{
    if (id >= 0)
        t->attr[id] |= ATTR_EOG;
}

/// The token of a fill-in-the-middle kind: what the file says, else the first of that name.
static void fim_ends(struct tok *t, const struct gguf *g, const char *key, int32_t by_name)
{
    ends_generation(t, id_key(t, g, key, by_name));
}

/// Goes by the tokens' texts where the file's types and keys are known not to tell.
static void read_names(struct tok *t, const struct source *s)
{
    int32_t pad = -1, repo = -1, file = -1, end = -1, close_s = -1;
    unsigned seen = 0;

    for (int32_t i = 0; i < t->n; i++) {
        unsigned kind = name_kind(s->tokens[i]);

        if (!kind)
            continue;
        seen |= kind;
        if (kind & (NAME_EOG | NAME_FIM))
            t->attr[i] |= ATTR_CONTROL;
        if (kind & NAME_EOG)
            t->attr[i] |= ATTR_EOG;
        if (kind & NAME_SHOWN)
            t->attr[i] = ATTR_USER;
        if ((kind & NAME_FIM_PAD) && pad < 0)
            pad = i;
        if ((kind & NAME_FIM_REPO) && repo < 0)
            repo = i;
        if ((kind & NAME_FIM_FILE) && file < 0)
            file = i;
        if (kind & NAME_END)
            end = i;
        if (kind & NAME_S)
            close_s = i;
    }
    fim_ends(t, s->g, "tokenizer.ggml.fim_pad_token_id", pad);
    fim_ends(t, s->g, "tokenizer.ggml.fim_rep_token_id", repo);
    fim_ends(t, s->g, "tokenizer.ggml.fim_sep_token_id", file);
    ends_generation(t, t->eos);
    ends_generation(t, id_key(t, s->g, "tokenizer.ggml.eot_token_id", -1));
    ends_generation(t, id_key(t, s->g, "tokenizer.ggml.eom_token_id", -1));

    // gpt-oss and solar-open end a message with <|end|> and go on; Gemma 4 and PLaMo use </s> as
    // text.
    if (end >= 0 && (seen & NAME_CALL) && (seen & (NAME_RETURN | NAME_FLUSH)))
        t->attr[end] = ATTR_USER;
    if (close_s >= 0 && (seen & NAME_NOT_S))
        t->attr[close_s] = ATTR_NORMAL;
}

/// Phi-3 swallows white space after its marks. Only the model's name says so.
static void read_rstrip(struct tok *t, const struct source *s)
{
    struct str name;
    bool phi3 = false;

    if (!gguf_get_str(s->g, "general.name", &name))
        return;
    for (size_t i = 0; i + 4 <= name.n && !phi3; i++)
        phi3 = strncasecmp(name.p + i, "phi3", 4) == 0 ||
               (i + 5 <= name.n && strncasecmp(name.p + i, "phi-3", 5) == 0);
    if (!phi3)
        return;
    for (int i = 0; i < t->n; i++) {
        struct str text = s->tokens[i];

        if ((t->attr[i] & ATTR_SPECIAL) && !str_is(text, "<unk>") && !str_is(text, "<s>") &&
            !str_is(text, "<|endoftext|>"))
            t->attr[i] |= ATTR_RSTRIP;
    }
}

static void read_specials(struct tok *t, const struct gguf *g)
{
    const char *prefix = "tokenizer.ggml.add_space_prefix";

    t->bos = id_key(t, g, "tokenizer.ggml.bos_token_id", t->spm ? 1 : -1);
    t->eos = id_key(t, g, "tokenizer.ggml.eos_token_id", t->spm ? 2 : -1);
    t->unk = id_key(t, g, "tokenizer.ggml.unknown_token_id", t->spm ? 0 : -1);
    if (t->unk >= 0 && !(t->attr[t->unk] & ATTR_UNKNOWN))
        t->unk = -1; // often <|endoftext|>, which must not come from a text
    t->space_prefix = t->spm;
    t->add_bos = t->spm || (t->pre->flags & PRE_ADD_BOS);
    gguf_get_bool(g, prefix, &t->space_prefix);
    gguf_get_bool(g, "tokenizer.ggml.add_bos_token", &t->add_bos);
    gguf_get_bool(g, "tokenizer.ggml.add_eos_token", &t->add_eos);
    if (t->pre && str_is(str_of(t->pre->name), "gemma4"))
        t->add_bos = true; // early files say otherwise
    t->add_bos = t->add_bos && t->bos >= 0;
    t->add_eos = t->add_eos && t->eos >= 0;
}

// --- texts

/// The byte that GPT-2's alphabet writes as code point `c`; 256 if none. Printable bytes stand for
/// themselves, the 68 others for U+0100 and up, in order (openai/gpt-2 src/encoder.py).
static unsigned mapped_byte(uint32_t c)
{
    if ((c >= 0x21 && c <= 0x7e) || (c >= 0xa1 && c <= 0xff && c != 0xad))
        return c;
    if (c < 0x100 || c >= 0x144)
        return 256;
    c -= 0x100;
    return c < 0x21 ? c : c < 0x21 + 0x22 ? c - 0x21 + 0x7f : 0xad;
}

/// Out of GPT-2's alphabet. Returns the number of bytes, or SIZE_MAX if it is not in it.
static size_t unmap(char *out, const char *text, size_t n)
{
    size_t o = 0;

    for (size_t i = 0; i < n; o++) {
        uint8_t c = (uint8_t)text[i];
        unsigned b = 256;

        if (c >= 0x21 && c <= 0x7e) {
            b = c;
            i++;
        } else if (c >= 0xc2 && c < 0xc6 && i + 1 < n && ((uint8_t)text[i + 1] & 0xc0) == 0x80) {
            b = mapped_byte((c & 0x1fu) << 6 | ((uint8_t)text[i + 1] & 0x3fu));
            i += 2;
        }
        if (b > 255)
            return SIZE_MAX;
        out[o] = (char)b;
    }
    return o;
}

/// Copies `n` bytes with U+2581 turned into spaces; returns bytes written.
static size_t unspace(char *out, const char *text, size_t n)
{
    size_t o = 0;

    if (!memchr(text, SPACE_MARK[0], n)) {
        memcpy(out, text, n);
        return n;
    }
    for (size_t i = 0; i < n; o++) {
        bool mark = text[i] == SPACE_MARK[0] && n - i >= 3 && memcmp(text + i, SPACE_MARK, 3) == 0;

        out[o] = mark ? ' ' : text[i];
        i += mark ? 3 : 1;
    }
    return o;
}

/// Which bytes come before U+2581 inside a token.
static void note_cuts(struct tok *t, struct str text)
{
    const char *end = text.p + text.n, *p = text.n ? text.p + 1 : end;

    for (; end - p >= 3 && (p = memchr(p, SPACE_MARK[0], (size_t)(end - p) - 2)) != NULL; p++)
        if (memcmp(p, SPACE_MARK, 3) == 0)
            t->cut_after[(uint8_t)p[-1]] = false;
}

/// "<0x0A>" is 10; -1 for all else.
static int byte_of_text(struct str text)
{
    int v = 0;

    if (text.n != 6 || memcmp(text.p, "<0x", 3) != 0 || text.p[5] != '>')
        return -1;
    for (int i = 3; i < 5; i++) {
        char c = text.p[i];

        v *= 16;
        if (c >= '0' && c <= '9')
            v += c - '0';
        else if (c >= 'A' && c <= 'F')
            v += c - 'A' + 10;
        else if (c >= 'a' && c <= 'f')
            v += c - 'a' + 10;
        else
            return -1;
    }
    return v;
}

/// Fills texts and pieces; says in `is_key` which tokens words can become.
static void read_texts(struct tok *t, const struct source *s, const uint8_t *type, uint8_t *is_key)
{
    size_t bytes = 0, at = 0, piece_at = 0;

    for (int i = 0; i < t->n; i++)
        bytes += s->tokens[i].n;
    t->text.p = xmalloc(bytes + 1);
    t->text.at = xmalloc(((size_t)t->n + 1) * sizeof(uint32_t));
    t->piece = t->text;
    if (t->spaced) {
        t->piece.p = xmalloc(bytes + (size_t)t->n + 1);
        t->piece.at = xmalloc(((size_t)t->n + 1) * sizeof(uint32_t));
    }
    for (int i = 0; i < t->n; i++) {
        struct str raw = s->tokens[i];
        bool special = (t->attr[i] & ATTR_SPECIAL) != 0;
        char *out = t->text.p + at;
        size_t n = raw.n;
        int b;

        is_key[i] = n > 0 && n <= MAX_KEY_BYTES && !(type[i] & (ATTR_HIDDEN | ATTR_BYTE)) &&
                    !((type[i] & ATTR_USER) && (t->attr[i] & ATTR_HIDDEN));
        if (!t->spaced) {
            n = unmap(out, raw.p, raw.n);
            is_key[i] = is_key[i] && n != SIZE_MAX;
        }
        if (t->spaced || special || n == SIZE_MAX) {
            if (n != raw.n)
                is_key[i] = 0;
            n = raw.n;
            memcpy(out, raw.p, n);
        }
        t->text.at[i] = (uint32_t)at;
        at += n;
        if (!t->spaced)
            continue;

        t->piece.at[i] = (uint32_t)piece_at;
        b = byte_of_text(raw);
        if (b >= 0 && (t->byte_id[b] == NO_ID || (t->attr[i] & ATTR_BYTE)))
            t->byte_id[b] = (uint32_t)i;
        if (b >= 0 && (t->attr[i] & ATTR_BYTE)) {
            t->piece.p[piece_at++] = (char)b;
        } else if (special) {
            memcpy(t->piece.p + piece_at, raw.p, n);
            piece_at += n;
        } else {
            piece_at += unspace(t->piece.p + piece_at, raw.p, n);
        }
        if (is_key[i])
            note_cuts(t, raw);
    }
    t->text.at[t->n] = (uint32_t)at;
    if (t->spaced)
        t->piece.at[t->n] = (uint32_t)piece_at;
}

/// Tables are filled so many entries at a time: their memory is asked for well before it is needed.
enum { AHEAD = 64 };

/// Tables of texts, and the tokens of single bytes and characters.
static void make_tables(struct tok *t, const uint8_t *is_key)
{
    const uint32_t n = (uint32_t)t->n;
    uint64_t h[AHEAD];

    table_init(&t->table, n, n);
    for (uint32_t at = 0; at < n; at += AHEAD) {
        for (uint32_t i = at; i < n && i < at + AHEAD; i++) {
            struct str s = texts_get(&t->text, i);

            h[i - at] = text_hash(s.p, s.n, t->seed);
            table_prefetch(&t->table, h[i - at]);
            if (is_key[i] && s.n > t->longest)
                t->longest = (uint32_t)s.n;
        }
        for (uint32_t i = at; i < n && i < at + AHEAD; i++)
            if (is_key[i])
                table_add_text(&t->table, &t->text, i, h[i - at]);
    }
    for (unsigned b = 0; b < 256; b++) {
        uint8_t c = (uint8_t)b;
        uint32_t id = table_find_text(&t->table, &t->text, &c, 1, t->seed);

        if (b < 128)
            t->char_id[b] = id;
        if (t->byte_id[b] == NO_ID)
            t->byte_id[b] = id;
    }
}

// --- merges and scores

/// A line of the file, "left right", cut in two: left and right without the space between them.
struct line {
    const char *p;
    uint32_t n_left, n_right;
    uint64_t h_left, h_right;
};

/// False where the line has no two parts in the vocabulary's alphabet, or is above `max` bytes.
static bool cut_line(const struct tok *t, struct str text, size_t max, char *out, struct line *l)
{
    // The first byte may be a space that belongs to the left part.
    const char *cut = text.n > 1 ? memchr(text.p + 1, ' ', text.n - 1) : NULL;
    size_t n_left, n_right;

    if (!cut || text.n > max)
        return false;
    n_left = (size_t)(cut - text.p);
    n_right = text.n - n_left - 1;
    if (t->spaced) {
        memcpy(out, text.p, n_left);
        memcpy(out + n_left, cut + 1, n_right);
    } else {
        n_left = unmap(out, text.p, n_left);
        if (n_left == SIZE_MAX)
            return false;
        n_right = unmap(out + n_left, cut + 1, n_right);
        if (n_right == SIZE_MAX)
            return false;
    }
    *l = (struct line){ .p = out, .n_left = (uint32_t)n_left, .n_right = (uint32_t)n_right };
    l->h_left = text_hash(out, n_left, t->seed);
    l->h_right = text_hash(out + n_left, n_right, t->seed);
    return n_left > 0 && n_right > 0;
}

/// The three ids of a line; false where one is not in the vocabulary. `guess` is the token after
/// that of the line before: most files have their tokens in the order of the merges that make them.
static bool find_merge(const struct tok *t, const struct line *l, uint32_t guess, struct merge *m)
{
    const char *right = l->p + l->n_left;
    size_t n = l->n_left + l->n_right;
    struct str next = { NULL, 0 };

    m->left = table_find_hashed(&t->table, &t->text, l->p, l->n_left, l->h_left);
    m->right = table_find_hashed(&t->table, &t->text, right, l->n_right, l->h_right);
    if (m->left == NO_ID || m->right == NO_ID)
        return false;
    if (guess < (uint32_t)t->n)
        next = texts_get(&t->text, guess);
    if (next.n == n && memcmp(next.p, l->p, n) == 0)
        m->id = guess;
    else
        m->id = table_find_text(&t->table, &t->text, l->p, n, t->seed);
    return m->id != NO_ID;
}

static void read_merges(struct tok *t, const struct source *s)
{
    // Longer lines make no token: a byte takes at most two in the file's alphabet.
    const size_t max = 2 * (size_t)t->longest + 1;
    uint32_t n = 0, guess = 0;
    struct line line[AHEAD];
    char *mem = xmalloc(AHEAD * max);

    t->merge = xmalloc(((size_t)s->n_merges + 1) * sizeof(*t->merge));
    table_init(&t->pairs, s->n_merges, s->n_merges);
    for (uint32_t at = 0; at < s->n_merges; at += AHEAD) {
        uint32_t n_lines = 0, first = n;

        for (uint32_t i = at; i < s->n_merges && i < at + AHEAD; i++) {
            struct line *l = &line[n_lines];

            if (!cut_line(t, s->merges[i], max, mem + n_lines * max, l))
                continue;
            table_prefetch(&t->table, l->h_left);
            table_prefetch(&t->table, l->h_right);
            n_lines++;
        }
        for (uint32_t i = 0; i < n_lines; i++) {
            if (!find_merge(t, &line[i], guess, &t->merge[n]))
                continue;
            guess = t->merge[n].id + 1;
            table_prefetch_pair(&t->pairs, t->merge[n].left, t->merge[n].right, t->seed);
            n++;
        }
        for (uint32_t i = first, end = n; i < end; i++) { // less those that were there before
            t->merge[first] = t->merge[i];
            first += table_add_pair(&t->pairs, t->merge, first, t->seed);
            n = first;
        }
    }
    free(mem);
}

/// A score as a number that is smaller the earlier it goes; never NO_ID.
static uint32_t order_of(float score)
{
    uint32_t bits;

    if (!(score == score)) // not a number: last
        return NO_ID - 1;
    score += 0.0f; // one zero only
    memcpy(&bits, &score, sizeof(bits));
    return bits & 0x80000000u ? bits : ~(bits | 0x80000000u);
}

static bool read_scores(struct tok *t, const struct gguf *g, struct err *e)
{
    struct gguf_arr a;

    t->order = xcalloc((size_t)t->n, sizeof(*t->order));
    if (gguf_find_key(g, "tokenizer.ggml.scores") < 0)
        return true;
    if (!gguf_get_arr(g, "tokenizer.ggml.scores", &a) || a.n < (uint64_t)t->n)
        return bad_key(e, "scores", "not an array with a number for each token");
    for (int i = 0; i < t->n; i++) {
        double v;

        if (!gguf_arr_f64(&a, (uint64_t)i, &v))
            return bad_key(e, "scores", "not an array of numbers");
        t->order[i] = order_of((float)v);
    }
    return true;
}

bool tok_new(struct tok **out, const struct gguf *g, struct err *e)
{
    struct tok *t = xcalloc(1, sizeof(*t));
    struct source s = { .g = g };
    uint8_t *type = NULL, *is_key = NULL;
    struct texts raw;

    *out = NULL;
    t->bos = t->eos = t->unk = -1;
    t->seed = (uint64_t)clock_ns() ^ (uint64_t)(uintptr_t)t << 20;
    memset(t->cut_after, 1, sizeof(t->cut_after));
    memset(t->byte_id, 0xff, sizeof(t->byte_id));
    if (!read_kind(t, g, e) || !read_arrays(t, &s, e) || !read_types(t, g, e))
        goto fail;
    type = xmalloc((size_t)t->n);
    is_key = xmalloc((size_t)t->n);
    memcpy(type, t->attr, (size_t)t->n);
    read_specials(t, g);
    read_names(t, &s);
    read_rstrip(t, &s);
    read_texts(t, &s, type, is_key);
    make_tables(t, is_key);
    if (!t->spm)
        read_merges(t, &s);
    else if (!read_scores(t, g, e))
        goto fail;
    raw = t->text;
    specials_init(&t->all, t, &raw, false);
    specials_init(&t->user, t, &raw, true);
    free(type);
    free(is_key);
    *out = t;
    return true;

fail:
    free(type);
    free(is_key);
    tok_free(t);
    return false;
}

void tok_free(struct tok *t)
{
    if (!t)
        return;
    if (t->piece.p != t->text.p) {
        free(t->piece.p);
        free(t->piece.at);
    }
    free(t->text.p);
    free(t->text.at);
    free(t->attr);
    free(t->table.slot);
    free(t->pairs.slot);
    free(t->merge);
    free(t->order);
    specials_done(&t->all);
    specials_done(&t->user);
    free(t);
}
