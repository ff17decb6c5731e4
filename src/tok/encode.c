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

/// A tok_span by its end.
struct part {
    size_t end;
    bool plain;
};

struct enc {
    const struct tok *t;
    struct tok_ids *out;
    struct merge_space space;
    const uint8_t *text;    // what `last` and spans count in
    size_t last;            // up to here it is done
    struct part *part;      // of the text
    size_t n_parts, i_part; // and the one that was asked for last
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

/// The part that byte `at` is in.
static struct part part_at(struct enc *c, size_t at)
{
    while (c->i_part > 0 && at < c->part[c->i_part - 1].end)
        c->i_part--;
    while (at >= c->part[c->i_part].end)
        c->i_part++;
    return c->part[c->i_part];
}

static void todo_push(struct enc *c, struct span s)
{
    if (c->n_todo == c->todo_cap) {
        c->todo_cap = c->todo_cap ? c->todo_cap * 2 : 64;
        c->todo = xrealloc(c->todo, c->todo_cap * sizeof(*c->todo));
    }
    c->todo[c->n_todo++] = s;
}

/// The longest special token at `at` that ends at `to` or before; its bytes, 0 if there is none.
/// What is looked for goes forward but for steps back inside one run of overlapping tokens.
static uint32_t special_at(struct enc *c, size_t at, size_t to, uint32_t *id)
{
    const struct tok *t = c->t;
    const uint8_t *p = c->text + at;
    uint32_t len, control, control_id;
    struct part part;

    if (t->all.first[*p] == t->all.first[*p + 1])
        return 0;
    part = part_at(c, at);
    if (!part.plain && part.end >= to)
        return specials_at(&t->all, &t->text, p, to - at, id);
    len = specials_at(&t->user, &t->text, p, to - at, id);
    if (part.plain)
        return len;
    control = specials_at(&t->all, &t->text, p, part.end - at, &control_id);
    if (control > len)
        *id = control_id;
    return control > len ? control : len;
}

/// Special tokens that overlap: the longest is taken first, of equals the first, then what is left
/// and right of it. Each step to the left makes the bound smaller, so the spans are few.
static void take_overlapping(struct enc *c, size_t n, size_t from, size_t to)
{
    todo_push(c, (struct span){ from, to, c->t->all.longest, NO_ID });
    while (c->n_todo > 0) {
        struct span x = c->todo[--c->n_todo];
        struct span best = { .longest = 0 };

        if (x.id != NO_ID) {
            take_special(c, n, x.from, x.to, x.id);
            continue;
        }
        for (size_t at = x.from; at < x.to && best.longest < x.longest; at++) {
            uint32_t id;
            uint32_t len = special_at(c, at, x.to, &id);

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
static size_t overlap_end(struct enc *c, size_t n, size_t from, size_t to)
{
    for (size_t at = from + 1; at < to; at++) {
        uint32_t id;
        uint32_t len = special_at(c, at, n, &id);

        if (at + len > to)
            to = at + len;
    }
    return to;
}

static void encode_text(struct enc *c, size_t n)
{
    size_t at = 0;

    while (at < n) {
        uint32_t id;
        uint32_t len = special_at(c, at, n, &id);
        size_t end;

        if (len == 0) {
            at++;
            continue;
        }
        end = len == c->t->all.longest ? at + len : overlap_end(c, n, at, at + len);
        if (end == at + len)
            take_special(c, n, at, end, id);
        else
            take_overlapping(c, n, at, end);
        at = end > c->last ? end : c->last;
    }
    if (c->last < n)
        encode_plain(c, c->text + c->last, n - c->last);
}

/// For BPE: bad UTF-8 becomes U+FFFD, in each part for itself. Returns memory to free, NULL where
/// the text is good. *part are the parts of what comes out.
static uint8_t *repaired(const uint8_t **text, size_t *n, struct part *part, size_t n_parts)
{
    size_t from = 0, bad = 0, to = 0;
    uint8_t *mem;

    for (size_t i = 0; i < n_parts; from = part[i++].end) {
        size_t len = part[i].end - from;

        bad += len - utf8_good(*text + from, len);
    }
    if (bad == 0)
        return NULL;
    mem = xmalloc(*n + 2 * bad);
    from = 0;
    for (size_t i = 0; i < n_parts; i++) {
        size_t len = part[i].end - from, good = utf8_good(*text + from, len);

        memcpy(mem + to, *text + from, good);
        to += good + utf8_repair(mem + to + good, *text + from + good, len - good);
        from = part[i].end;
        part[i].end = to;
    }
    *n = to;
    *text = mem;
    return mem;
}

bool tok_encode(const struct tok *t, const char *text, size_t n, unsigned flags,
                struct tok_ids *out, struct err *e)
{
    struct tok_span span = { .n = n, .plain = !(flags & TOK_PARSE_SPECIAL) };

    return tok_encode_spans(t, text, &span, 1, flags, out, e);
}

bool tok_encode_spans(const struct tok *t, const char *text, const struct tok_span *span,
                      size_t n_spans, unsigned flags, struct tok_ids *out, struct err *e)
{
    struct enc c = { .t = t, .out = out, .text = (const uint8_t *)text, .n_parts = n_spans };
    uint8_t *mem = NULL;
    size_t n = 0;

    for (size_t i = 0; i < n_spans; i++) {
        if (span[i].n > MAX_TEXT - n)
            return err_set(e, ERR_ARG, "text too long: at most 1 GiB can be tokenized at once");
        n += span[i].n;
    }
    c.part = xmalloc((n_spans + 1) * sizeof(*c.part));
    for (size_t i = 0, end = 0; i < n_spans; i++) {
        end += span[i].n;
        c.part[i] = (struct part){ .end = end, .plain = span[i].plain };
    }
    if (!t->spm)
        mem = repaired(&c.text, &n, c.part, n_spans);
    c.words = c.text;
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
    free(c.part);
    free(mem);
    return true;
}

void tok_ids_done(struct tok_ids *ids)
{
    free(ids->id);
    *ids = (struct tok_ids){ 0 };
}
