// encode.c - a text to ids.
//
//   bytes -> (BPE: repaired UTF-8) -> special tokens and the text between them -> words -> ids
//
// Words come again and again, so each call remembers where it met a word before and copies its ids.

#include "tok/tok_int.h"

#include "tok/uni.h"

#include <stdlib.h>
#include <string.h>

#define MAX_TEXT ((size_t)1 << 30)

enum {
    REMEMBER_BYTES = 64, // longer words seldom come again
    REMEMBER_FROM = 256, // bytes of text that make it worth while
    MAX_REMEMBERED = 1 << 14,
};

/// A word met before: where it is in the text, and where its ids are in the result.
struct met {
    uint32_t hash, at, ids;
    uint16_t n, n_ids;
};

/// A part of the text in which special tokens are looked for, or (id not NO_ID) one that was found.
struct span {
    size_t from, to;
    uint32_t longest; // no longer one is in here
    uint32_t id;
};

struct enc {
    const struct tok *t;
    struct tok_ids *out;
    struct merge_space space;
    const uint8_t *text; // what `last` and spans count in
    size_t last;         // up to here it is done
    const struct specials *specials;
    struct span *todo;
    size_t n_todo, todo_cap;
    uint8_t *spaced; // text between special tokens with its spaces written as U+2581
    size_t n_spaced, spaced_cap;
    const uint8_t *words; // what `met` counts in: the text, or `spaced`
    struct met *met;
    uint32_t met_mask;
};

static void encode_word(struct enc *c, const uint8_t *p, size_t n)
{
    size_t before = c->out->n;
    struct met *m;
    uint64_t h;

    if (!c->met || n > REMEMBER_BYTES) {
        merge_word(c->t, &c->space, p, n, c->out);
        return;
    }
    h = text_hash(p, n, c->t->seed);
    m = &c->met[(uint32_t)h & c->met_mask];
    if (m->n == n && m->hash == (uint32_t)(h >> 32) && memcmp(c->words + m->at, p, n) == 0) {
        for (uint32_t i = 0; i < m->n_ids; i++)
            ids_push(c->out, (uint32_t)c->out->id[m->ids + i]);
        return;
    }
    merge_word(c->t, &c->space, p, n, c->out);
    if (c->out->n <= UINT32_MAX)
        *m = (struct met){ .hash = (uint32_t)(h >> 32),
                           .at = (uint32_t)(p - c->words),
                           .ids = (uint32_t)before,
                           .n = (uint16_t)n,
                           .n_ids = (uint16_t)(c->out->n - before) };
}

/// Cuts [p, end) where no token can go across: before U+2581, after most bytes.
static void encode_spaced(struct enc *c, const uint8_t *p, const uint8_t *end)
{
    const uint8_t *q = p;

    while (q < end) {
        uint32_t len = utf8_len(*q);

        if (q > p && *q == 0xe2 && end - q >= 3 && q[1] == 0x96 && q[2] == 0x81 &&
            c->t->cut_after[q[-1]]) {
            encode_word(c, p, (size_t)(q - p));
            p = q;
        }
        q += len < (size_t)(end - q) ? len : (size_t)(end - q);
    }
    if (p < end)
        encode_word(c, p, (size_t)(end - p));
}

/// Writes a text behind c->spaced with U+2581 for spaces; returns where it begins.
static size_t write_spaced(struct enc *c, const uint8_t *p, size_t n, bool prefix)
{
    size_t from = c->n_spaced;
    uint8_t *o;

    if (c->spaced_cap - from < 3 * (n + 1)) {
        c->spaced_cap =
            2 * c->spaced_cap > from + 3 * (n + 1) ? 2 * c->spaced_cap : from + 3 * (n + 1);
        c->spaced = xrealloc(c->spaced, c->spaced_cap);
    }
    o = c->spaced + from;
    if (prefix) {
        memcpy(o, "\xe2\x96\x81", 3);
        o += 3;
    }
    for (size_t i = 0; i < n; i++) {
        if (p[i] != ' ') {
            *o++ = p[i];
            continue;
        }
        memcpy(o, "\xe2\x96\x81", 3);
        o += 3;
    }
    c->n_spaced = (size_t)(o - c->spaced);
    c->words = c->spaced;
    return from;
}

/// Text between special tokens.
static void encode_plain(struct enc *c, const uint8_t *p, size_t n)
{
    struct pre_words w;
    const uint8_t *word;
    size_t n_word;

    if (c->t->spaced) {
        size_t from = write_spaced(c, p, n, c->t->spm && c->t->space_prefix);

        p = c->spaced + from;
        n = c->n_spaced - from;
        if (c->t->spm) {
            encode_spaced(c, p, p + n);
            return;
        }
    }
    pre_start(&w, c->t->pre, p, n);
    while (pre_next(&w, &word, &n_word)) {
        if (c->t->spaced)
            encode_spaced(c, word, word + n_word);
        else
            encode_word(c, word, n_word);
    }
}

static bool is_space(uint8_t b)
{
    return b == ' ' || (b >= '\t' && b <= '\r');
}

/// A special token at [from, to): what is before it, then itself.
static void take_special(struct enc *c, size_t n, size_t from, size_t to, uint32_t id)
{
    if (from < c->last)
        return; // in the white space that another swallowed
    if (from > c->last)
        encode_plain(c, c->text + c->last, from - c->last);
    ids_push(c->out, id);
    if (c->t->attr[id] & ATTR_RSTRIP)
        while (to < n && is_space(c->text[to]))
            to++;
    c->last = to;
}

static void todo_push(struct enc *c, struct span s)
{
    if (c->n_todo == c->todo_cap) {
        c->todo_cap = c->todo_cap ? c->todo_cap * 2 : 64;
        c->todo = xrealloc(c->todo, c->todo_cap * sizeof(*c->todo));
    }
    c->todo[c->n_todo++] = s;
}

/// Special tokens that overlap: the longest is taken first, of equals the first, then what is left
/// and right of it. Each step to the left makes the bound smaller, so the spans are few.
static void take_overlapping(struct enc *c, size_t n, size_t from, size_t to)
{
    const struct specials *s = c->specials;

    todo_push(c, (struct span){ from, to, s->longest, NO_ID });
    while (c->n_todo > 0) {
        struct span x = c->todo[--c->n_todo];
        struct span best = { .longest = 0 };

        if (x.id != NO_ID) {
            take_special(c, n, x.from, x.to, x.id);
            continue;
        }
        for (size_t at = x.from; at < x.to && best.longest < x.longest; at++) {
            uint32_t id;
            uint32_t len = specials_at(s, &c->t->text, c->text + at, x.to - at, &id);

            if (len > best.longest)
                best = (struct span){ at, at + len, len, id };
        }
        if (best.longest == 0)
            continue;
        if (best.to < x.to)
            todo_push(c, (struct span){ best.to, x.to, best.longest, NO_ID });
        todo_push(c, best);
        if (best.from > x.from)
            todo_push(c, (struct span){ x.from, best.from, best.longest - 1, NO_ID });
    }
}

/// The end of the special tokens that overlap the one at [from, to), one with another.
static size_t overlap_end(const struct enc *c, size_t n, size_t from, size_t to)
{
    for (size_t at = from + 1; at < to; at++) {
        uint32_t id;
        uint32_t len = specials_at(c->specials, &c->t->text, c->text + at, n - at, &id);

        if (at + len > to)
            to = at + len;
    }
    return to;
}

static void encode_text(struct enc *c, size_t n)
{
    const struct specials *s = c->specials;
    size_t at = 0;

    while (s->n > 0 && at < n) {
        uint32_t id;
        uint32_t len = s->first[c->text[at]] == s->first[c->text[at] + 1]
                           ? 0
                           : specials_at(s, &c->t->text, c->text + at, n - at, &id);
        size_t end;

        if (len == 0) {
            at++;
            continue;
        }
        end = len == s->longest ? at + len : overlap_end(c, n, at, at + len);
        if (end == at + len)
            take_special(c, n, at, end, id);
        else
            take_overlapping(c, n, at, end);
        at = end > c->last ? end : c->last;
    }
    if (c->last < n)
        encode_plain(c, c->text + c->last, n - c->last);
}

/// For BPE: bad UTF-8 becomes U+FFFD. Returns memory to free, NULL where the text is good.
static uint8_t *repaired(const uint8_t **text, size_t *n)
{
    size_t good = utf8_good(*text, *n);
    uint8_t *mem;

    if (good == *n)
        return NULL;
    mem = xmalloc(good + 3 * (*n - good));
    memcpy(mem, *text, good);
    *n = good + utf8_repair(mem + good, *text + good, *n - good);
    *text = mem;
    return mem;
}

bool tok_encode(const struct tok *t, const char *text, size_t n, unsigned flags,
                struct tok_ids *out, struct err *e)
{
    struct enc c = { .t = t, .out = out, .text = (const uint8_t *)text };
    uint8_t *mem = NULL;

    if (n > MAX_TEXT)
        return err_set(e, ERR_ARG, "text of %zu bytes: at most 1 GiB can be tokenized at once", n);
    if (!t->spm)
        mem = repaired(&c.text, &n);
    c.words = c.text;
    c.specials = flags & TOK_PARSE_SPECIAL ? &t->all : &t->user;
    if (n >= REMEMBER_FROM) {
        uint32_t slots = 64;

        while (slots < MAX_REMEMBERED && slots < n / 8)
            slots *= 2;
        c.met = xcalloc(slots, sizeof(*c.met));
        c.met_mask = slots - 1;
    }
    if ((flags & TOK_ADD_SPECIAL) && t->add_bos)
        ids_push(out, (uint32_t)t->bos);
    encode_text(&c, n);
    if ((flags & TOK_ADD_SPECIAL) && t->add_eos)
        ids_push(out, (uint32_t)t->eos);
    merge_space_done(&c.space);
    free(c.met);
    free(c.todo);
    free(c.spaced);
    free(mem);
    return true;
}

void tok_ids_done(struct tok_ids *ids)
{
    free(ids->id);
    *ids = (struct tok_ids){ 0 };
}
