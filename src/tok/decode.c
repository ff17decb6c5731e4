// decode.c - ids to text, all at once or token by token; and what is known of one token.

#include "tok/tok_int.h"

#include "tok/uni.h"

#include <string.h>

static bool in_range(const struct tok *t, int32_t id)
{
    return id >= 0 && id < t->n;
}

struct str tok_piece(const struct tok *t, int32_t id, bool special)
{
    const unsigned printed = ATTR_SPECIAL | ATTR_NORMAL | ATTR_BYTE;

    if (!in_range(t, id) || !(t->attr[id] & printed) || (!special && (t->attr[id] & ATTR_HIDDEN)))
        return (struct str){ NULL, 0 };
    return texts_get(&t->piece, (uint32_t)id);
}

/// Takes out the spaces that English tokenizers of old put before punctuation and contractions: the
/// clean_up_tokenization_spaces of Hugging Face transformers, in three passes as ggml-org/llama.cpp
/// has them. Returns the new length.
static size_t clean_spaces(char *p, size_t n)
{
    size_t o, i;

    if (n == 0)
        return 0;
    for (o = i = 1; i < n; i++) { // " ." " ," " !" " ?"
        if (p[i - 1] == ' ' && p[i] && strchr("?!.,", p[i]))
            o--;
        p[o++] = p[i];
    }
    n = o;
    for (o = i = 1; i < n; i++) { // " ' " loses both
        bool alone = p[i] == '\'' && i + 1 < n && p[i - 1] == ' ' && p[i + 1] == ' ';

        if (alone) {
            o--;
            p[++i] = '\0';
        }
        p[o++] = alone ? '\'' : p[i];
    }
    n = o;
    for (o = i = 1; i < n; i++) { // " 's" " 'm" " 're" " 've"
        if (p[i - 1] == ' ' && p[i] == '\'' && i + 1 < n) {
            char a = p[i + 1], b = i + 2 < n ? p[i + 2] : '\0';

            if (a == 's' || a == 'm' || ((a == 'r' || a == 'v') && b == 'e'))
                o--;
        }
        p[o++] = p[i];
    }
    return o;
}

bool tok_decode(const struct tok *t, const int32_t *id, size_t n, bool special, struct buf *out)
{
    size_t before = out->n;

    for (size_t i = 0; i < n; i++) {
        struct str s = tok_piece(t, id[i], special);

        if (i == 0 && t->space_prefix && s.n > 0 && s.p[0] == ' ')
            s = (struct str){ s.p + 1, s.n - 1 };
        if (s.n > 0 && !buf_add(out, s.p, s.n))
            return false;
    }
    if (t->clean_spaces && out->n > before) {
        out->n = before + clean_spaces(out->p + before, out->n - before);
        out->p[out->n] = '\0';
    }
    return true;
}

#define REPLACEMENT "\xef\xbf\xbd"

static bool stream_byte(struct tok_stream *s, uint8_t b, struct buf *out)
{
    uint8_t held[8];

    memcpy(held, s->held, sizeof(held));
    switch (utf8_step(held, s->n_held, b)) {
    case UTF8_MORE:
        s->held[s->n_held++] = (char)b;
        return true;
    case UTF8_WHOLE:
        s->held[s->n_held++] = (char)b;
        if (!buf_add(out, s->held, (size_t)s->n_held))
            return false;
        s->n_held = 0;
        return true;
    case UTF8_BAD:
        break;
    }
    if (!buf_add(out, REPLACEMENT, 3))
        return false;
    if (s->n_held == 0)
        return true;
    s->n_held = 0; // what was begun is bad; b may begin something
    return stream_byte(s, b, out);
}

bool tok_stream_add(struct tok_stream *s, const struct tok *t, int32_t id, bool special,
                    struct buf *out)
{
    struct str x = tok_piece(t, id, special);

    if (!s->started && s->lead && x.n > 0 && x.p[0] == ' ')
        x = (struct str){ x.p + 1, x.n - 1 };
    s->started = true;
    for (size_t i = 0; i < x.n; i++)
        if (!stream_byte(s, (uint8_t)x.p[i], out))
            return false;
    return true;
}

bool tok_stream_end(struct tok_stream *s, struct buf *out)
{
    bool held = s->n_held > 0;

    s->n_held = 0;
    return !held || buf_add(out, REPLACEMENT, 3);
}

int tok_n_vocab(const struct tok *t)
{
    return t->n;
}

int32_t tok_bos(const struct tok *t)
{
    return t->bos;
}

int32_t tok_eos(const struct tok *t)
{
    return t->eos;
}

bool tok_is_eog(const struct tok *t, int32_t id)
{
    return in_range(t, id) && (t->attr[id] & ATTR_EOG);
}

bool tok_is_control(const struct tok *t, int32_t id)
{
    return in_range(t, id) && (t->attr[id] & ATTR_CONTROL);
}

bool tok_adds_bos(const struct tok *t)
{
    return t->add_bos;
}

bool tok_adds_space(const struct tok *t)
{
    return t->space_prefix;
}

int32_t tok_find(const struct tok *t, const char *text, size_t n)
{
    uint32_t id;

    if (n > 0 && specials_at(&t->all, &t->text, (const uint8_t *)text, n, &id) == n)
        return (int32_t)id;
    id = table_find_text(&t->table, &t->text, text, n, t->seed);
    return id == NO_ID ? -1 : (int32_t)id;
}

const char *tok_kind(const struct tok *t)
{
    return t->kind;
}
