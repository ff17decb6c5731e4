// merge.c - one word to ids: neighbours merge, the best pair of the word first.
//
// Byte pair encoding (arXiv:1508.07909) with the file's merges, and SentencePiece's variant of it,
// where any two neighbours that make a token may merge and its score says when.

#include "tok/tok_int.h"

#include "tok/uni.h"

#include <stdlib.h>
#include <string.h>

enum { SHORT_WORD = 32 }; // symbols, for which looking at all pairs each time is fastest

/// A word while it merges. Symbol i is the bytes from at[i] on.
struct word {
    const struct tok *t;
    const uint8_t *p;
    size_t n;
};

/// The order of merging the neighbours [from, mid) and [mid, to), and the token they become; NO_ID
/// if they do not merge.
static inline uint32_t pair_order(const struct word *w, uint32_t from, uint32_t to, uint32_t left,
                                  uint32_t right, uint32_t *id)
{
    const struct tok *t = w->t;
    uint32_t rank;

    if (t->spm) {
        if (to - from > t->longest)
            return NO_ID;
        *id = table_find_text(&t->table, &t->text, w->p + from, to - from, t->seed);
        return *id == NO_ID ? NO_ID : t->order[*id];
    }
    if (left == NO_ID || right == NO_ID)
        return NO_ID;
    rank = table_find_pair(&t->pairs, t->merge, left, right, t->seed);
    if (rank != NO_ID)
        *id = t->merge[rank].id;
    return rank;
}

/// The token of one character (or byte) before anything merges. SPM needs it only for what stays.
static inline uint32_t first_id(const struct tok *t, const uint8_t *p, size_t n)
{
    if (!t->spaced)
        return t->byte_id[*p];
    if (n == 1 && *p < 128)
        return t->char_id[*p];
    return table_find_text(&t->table, &t->text, p, n, t->seed);
}

/// Appends one symbol that stays. What is no token goes out as bytes.
static void put(const struct tok *t, const uint8_t *p, size_t n, uint32_t id, struct tok_ids *out)
{
    bool all = true;

    if (id == NO_ID && t->spm)
        id = first_id(t, p, n);
    if (id != NO_ID) {
        ids_push(out, id);
        return;
    }
    for (size_t i = 0; i < n; i++)
        all = all && t->byte_id[p[i]] != NO_ID;
    if (!all && t->unk >= 0) {
        ids_push(out, (uint32_t)t->unk);
        return;
    }
    for (size_t i = 0; i < n; i++)
        if (t->byte_id[p[i]] != NO_ID)
            ids_push(out, t->byte_id[p[i]]);
}

/// Bytes of the symbol that begins at p.
static inline uint32_t symbol_len(const struct tok *t, const uint8_t *p, size_t n)
{
    uint32_t len = t->spaced ? utf8_len(*p) : 1;

    return len < n ? len : (uint32_t)n;
}

static void merge_short(const struct word *w, uint32_t *at, uint32_t n, struct tok_ids *out)
{
    uint32_t id[SHORT_WORD], order[SHORT_WORD], to[SHORT_WORD];

    for (uint32_t i = 0; i < n; i++)
        id[i] = w->t->spm ? NO_ID : first_id(w->t, w->p + at[i], at[i + 1] - at[i]);
    for (uint32_t i = 0; i + 1 < n; i++)
        order[i] = pair_order(w, at[i], at[i + 2], id[i], id[i + 1], &to[i]);
    while (n > 1) {
        uint32_t best = 0, i;

        for (i = 1; i + 1 < n; i++)
            if (order[i] < order[best])
                best = i;
        if (order[best] == NO_ID)
            break;
        id[best] = to[best];
        n--;
        for (i = best + 1; i < n; i++) {
            at[i] = at[i + 1];
            id[i] = id[i + 1];
            order[i - 1] = order[i];
            to[i - 1] = to[i];
        }
        at[n] = at[n + 1];
        if (best > 0)
            order[best - 1] =
                pair_order(w, at[best - 1], at[best + 1], id[best - 1], id[best], &to[best - 1]);
        if (best + 1 < n)
            order[best] = pair_order(w, at[best], at[best + 2], id[best], id[best + 1], &to[best]);
    }
    for (uint32_t i = 0; i < n; i++)
        put(w->t, w->p + at[i], at[i + 1] - at[i], id[i], out);
}

/// Symbols of a long word as a chain. `at` has one more than there are symbols; order[i] is that of
/// the pair (i, next[i]), NO_ID if it does not merge or i is no more.
struct chain {
    uint32_t n;
    uint32_t *at, *id, *next, *prev, *order;
};

static uint32_t chain_end(const struct chain *c, uint32_t i)
{
    return c->at[c->next[i]];
}

/// Finds the order of the pair that begins with symbol i, and puts it in line.
static void chain_look(const struct word *w, struct chain *c, struct queue *q, uint32_t i)
{
    uint32_t to, right = c->next[i];

    c->order[i] = NO_ID;
    if (right >= c->n)
        return;
    c->order[i] = pair_order(w, c->at[i], chain_end(c, right), c->id[i], c->id[right], &to);
    if (c->order[i] != NO_ID)
        queue_push(q, c->order[i], i);
}

static void merge_long(const struct word *w, struct chain *c, struct queue *q, struct tok_ids *out)
{
    uint32_t order, i;

    queue_start(q, c->n);
    for (i = 0; i < c->n; i++) {
        c->next[i] = i + 1;
        c->prev[i] = i - 1; // NO_ID for the first
        c->id[i] = w->t->spm ? NO_ID : first_id(w->t, w->p + c->at[i], c->at[i + 1] - c->at[i]);
    }
    for (i = 0; i < c->n; i++)
        chain_look(w, c, q, i);
    while (queue_pop(q, &order, &i)) {
        uint32_t right, next;

        if (c->order[i] != order)
            continue; // merged meanwhile
        right = c->next[i];
        next = c->next[right];
        if (w->t->spm)
            pair_order(w, c->at[i], chain_end(c, right), NO_ID, NO_ID, &c->id[i]);
        else
            c->id[i] = w->t->merge[order].id;
        c->order[right] = NO_ID;
        c->next[i] = next;
        if (next < c->n)
            c->prev[next] = i;
        if (c->prev[i] != NO_ID)
            chain_look(w, c, q, c->prev[i]);
        chain_look(w, c, q, i);
    }
    for (i = 0; i < c->n; i = c->next[i])
        put(w->t, w->p + c->at[i], chain_end(c, i) - c->at[i], c->id[i], out);
}

void merge_space_done(struct merge_space *s)
{
    free(s->mem);
    queue_done(&s->queue);
}

/// Divides memory for at most `n` symbols.
static struct chain chain_in(struct merge_space *s, size_t n)
{
    struct chain c = { 0 };

    if (s->cap < n + 1) {
        s->cap = n + 1 < 1024 ? 1024 : n + 1;
        free(s->mem);
        s->mem = xmalloc(5 * s->cap * sizeof(*s->mem));
    }
    c.at = s->mem;
    c.id = c.at + s->cap;
    c.next = c.id + s->cap;
    c.prev = c.next + s->cap;
    c.order = c.prev + s->cap;
    return c;
}

void merge_word(const struct tok *t, struct merge_space *s, const uint8_t *p, size_t n,
                struct tok_ids *out)
{
    struct word w = { .t = t, .p = p, .n = n };
    uint32_t at[SHORT_WORD + 2];
    uint32_t len = 0, n_at = 0;
    struct chain c;

    if (t->whole_words || (t->spaced && !t->spm && *p == '\n')) {
        uint32_t id = n > t->longest ? NO_ID : table_find_text(&t->table, &t->text, p, n, t->seed);

        if (id != NO_ID) {
            ids_push(out, id);
            return;
        }
    }
    while (len < n && n_at < SHORT_WORD) {
        at[n_at++] = len;
        len += symbol_len(t, p + len, n - len);
    }
    if (len == n) {
        at[n_at] = len;
        merge_short(&w, at, n_at, out);
        return;
    }
    c = chain_in(s, n);
    for (len = 0; len < n; len += symbol_len(t, p + len, n - len))
        c.at[c.n++] = len;
    c.at[c.n] = (uint32_t)n;
    merge_long(&w, &c, &s->queue, out);
}
