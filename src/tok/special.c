// special.c - finding control and user-defined tokens in a text.
//
// They are sorted by their bytes. Walking down a text narrows the range of those that begin with
// what was read; at each depth the one that ends there, if any, is the first of the range.

#include "tok/tok_int.h"

#include "tok/uni.h"

#include <stdlib.h>
#include <string.h>

struct item {
    struct str text;
    uint32_t id;
};

static int by_text(const void *a, const void *b)
{
    const struct item *x = a, *y = b;
    int d = memcmp(x->text.p, y->text.p, x->text.n < y->text.n ? x->text.n : y->text.n);

    if (d == 0)
        d = (x->text.n > y->text.n) - (x->text.n < y->text.n);
    return d ? d : (x->id > y->id) - (x->id < y->id);
}

void specials_init(struct specials *s, const struct tok *t, const struct texts *raw, bool user_only)
{
    uint32_t n = 0;
    struct item *item = xmalloc((size_t)t->n * sizeof(*item));

    for (uint32_t id = 0; id < (uint32_t)t->n; id++) {
        struct str text = texts_get(raw, id);

        if (!(t->attr[id] & (user_only ? ATTR_USER : ATTR_SPECIAL)) || text.n == 0)
            continue;
        if (user_only && (t->attr[id] & ATTR_HIDDEN))
            continue;
        if (utf8_good((const uint8_t *)text.p, text.n) != text.n)
            continue; // would cut the text inside a character
        item[n++] = (struct item){ text, id };
    }
    qsort(item, n, sizeof(*item), by_text);

    s->n = n;
    s->longest = 0;
    s->id = xmalloc((n + 1) * sizeof(*s->id));
    for (uint32_t i = 0, b = 0; i <= n; i++) {
        // Every first byte up to this one's begins here, if not before.
        for (uint32_t last = i < n ? (uint8_t)item[i].text.p[0] : 256; b <= last; b++)
            s->first[b] = i;
        if (i == n)
            break;
        s->id[i] = item[i].id;
        if (item[i].text.n > s->longest)
            s->longest = (uint32_t)item[i].text.n;
    }
    free(item);
}

void specials_done(struct specials *s)
{
    free(s->id);
}

static inline uint8_t byte_at(const struct specials *s, const struct texts *raw, uint32_t i,
                              uint32_t depth)
{
    return (uint8_t)texts_get(raw, s->id[i]).p[depth];
}

/// The first of [lo, hi) whose byte at `depth` is not below b; all are longer than depth.
static uint32_t lower(const struct specials *s, const struct texts *raw, uint32_t lo, uint32_t hi,
                      uint32_t depth, unsigned b)
{
    while (lo < hi) {
        uint32_t mid = lo + (hi - lo) / 2;

        if (byte_at(s, raw, mid, depth) < b)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

uint32_t specials_at(const struct specials *s, const struct texts *raw, const uint8_t *p, size_t n,
                     uint32_t *id)
{
    uint32_t lo, hi, depth, found = 0;

    if (n == 0)
        return 0;
    lo = s->first[p[0]];
    hi = s->first[p[0] + 1];
    for (depth = 1; lo < hi; depth++) {
        if (texts_get(raw, s->id[lo]).n == depth) {
            found = depth;
            *id = s->id[lo];
            while (lo < hi && texts_get(raw, s->id[lo]).n == depth)
                lo++; // and its equals
        }
        if (depth == n || lo == hi)
            break;
        if (byte_at(s, raw, lo, depth) == p[depth] && byte_at(s, raw, hi - 1, depth) == p[depth])
            continue; // all that are left go on so
        lo = lower(s, raw, lo, hi, depth, p[depth]);
        hi = lower(s, raw, lo, hi, depth, p[depth] + 1u);
    }
    return found;
}
