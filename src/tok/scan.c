// scan.c - the expressions of pre-tokenizers, each a scanner that looks at every character a fixed
// number of times.
//
// Why not a regular expression engine: those that backtrack recurse or give up on long runs, and
// these few shapes are most of what models use (catalogue: T-01).

#include "tok/scan.h"

#include "tok/uni.h"

#include <string.h>

/// Class of the character at p and its length; IS(END) behind the text.
static inline uint32_t look(const uint8_t *p, const uint8_t *end, uint32_t *len)
{
    if (p >= end) {
        *len = 0;
        return IS(END);
    }
    return uni_set(utf8_get(p, len));
}

/// The end of the run of `set` at p.
static inline const uint8_t *run_of(const uint8_t *p, const uint8_t *end, uint32_t set)
{
    uint32_t len = 0;

    while (p < end && (uni_set(utf8_get(p, &len)) & set))
        p += len;
    return p;
}

static inline bool is_newline(uint8_t b)
{
    return b == '\n' || b == '\r';
}

/// \s*[\r\n]+ (if `newlines`) |\s+(?!\S)|\s+ where there is white space at p.
static const uint8_t *white(const uint8_t *p, const uint8_t *end, bool newlines)
{
    const uint8_t *e = p, *last = p, *newline = NULL;
    uint32_t len;

    while (look(e, end, &len) & IS(WS)) {
        last = e;
        if (is_newline(*e))
            newline = e + 1;
        e += len;
    }
    if (newlines && newline)
        return newline;
    return e < end && last > p ? last : e; // the last one belongs to what follows
}

/// Length of the contraction at p, 0 if there is none.
static size_t contraction(const uint8_t *p, const uint8_t *end, bool any_case)
{
    const uint8_t fold = any_case ? 0x20 : 0;
    uint8_t a, b;

    if (end - p < 2 || p[0] != '\'')
        return 0;
    a = p[1] | fold;
    if (a == 's' || a == 't' || a == 'm' || a == 'd')
        return 2;
    if (end - p < 3)
        return 0;
    b = p[2] | fold;
    return ((a == 'r' || a == 'v') && b == 'e') || (a == 'l' && b == 'l') ? 3 : 0;
}

const uint8_t *scan_gpt2(const struct stage *s, const uint8_t *p, const uint8_t *end)
{
    const uint8_t *q = p + (*p == ' ');
    uint32_t len;
    uint32_t set = look(q, end, &len);
    size_t n = contraction(p, end, false);

    (void)s;
    if (n)
        return p + n;
    if (set & IS_L)
        return run_of(q + len, end, IS_L);
    if (set & IS(N))
        return run_of(q + len, end, IS(N));
    if (!(set & (IS(WS) | IS(END))))
        return run_of(q + len, end, ~(IS(WS) | IS_L | IS(N)));
    return white(p, end, false);
}

/// [capitals]*[small]+ at p; NULL if it does not match. Some classes are in both sets, so what the
/// first part took may have to be given back, at most to the last character that can be small.
static const uint8_t *capitals_small(const uint8_t *p, const uint8_t *end)
{
    const uint8_t *back = NULL;
    uint32_t len, set;

    while ((set = look(p, end, &len)) & IS_UPPER) {
        p += len;
        if (set & IS_LOWER)
            back = p;
    }
    return set & IS_LOWER ? run_of(p, end, IS_LOWER) : back;
}

/// o200k's two forms of a word, with X = [^\r\n\p{L}\p{N}]:
///   X?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+
///   X?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*
/// NULL if there is no word at p.
static const uint8_t *cased_word(const struct stage *s, const uint8_t *p, const uint8_t *end)
{
    uint32_t len;
    bool start = !(look(p, end, &len) & s->no_start) && !is_newline(*p);
    const uint8_t *e = start ? capitals_small(p + len, end) : NULL;

    if (!e)
        e = capitals_small(p, end);
    if (!e && start && (look(p + len, end, &len) & IS_UPPER)) // no small letter: capitals alone
        e = run_of(p + utf8_len(*p), end, IS_UPPER);
    if (!e && (look(p, end, &len) & IS_UPPER))
        e = run_of(p, end, IS_UPPER);
    if (e && s->suffixes)
        e += contraction(e, end, true);
    return e;
}

/// [^\r\n no_start]?[letters]+ at p; NULL if there is no word.
static const uint8_t *word(const struct stage *s, const uint8_t *p, const uint8_t *end)
{
    uint32_t len, next_len;
    uint32_t set = look(p, end, &len);

    if (set & s->letters)
        return run_of(p + len, end, s->letters);
    if ((set & s->no_start) || is_newline(*p))
        return NULL;
    if (look(p + len, end, &next_len) & s->letters)
        return run_of(p + len + next_len, end, s->letters);
    return NULL;
}

static const uint8_t *digits(const uint8_t *p, const uint8_t *end, unsigned max)
{
    uint32_t len;

    if (max == 0)
        return run_of(p, end, IS(N));
    for (unsigned i = 0; i < max && (look(p, end, &len) & IS(N)); i++)
        p += len;
    return p;
}

const uint8_t *scan_words(const struct stage *s, const uint8_t *p, const uint8_t *end)
{
    size_t n = s->contractions ? contraction(p, end, true) : 0;
    const uint8_t *e, *q = p + (*p == ' ');
    uint32_t len, set;

    if (n)
        return p + n;
    e = s->cased ? cased_word(s, p, end) : word(s, p, end);
    if (e)
        return e;
    set = look(p, end, &len);
    if (set & IS(N))
        return digits(p, end, s->max);
    if (!(look(q, end, &len) & (s->no_punct | IS(END)))) {
        q = run_of(q + len, end, ~s->no_punct);
        while (q < end && *q && strchr(s->tail, *q))
            q++;
        return q;
    }
    if (set & IS(WS))
        return white(p, end, true);
    return p + utf8_len(*p);
}

static inline bool is_letter(uint8_t b)
{
    return (uint8_t)((b | 0x20) - 'a') < 26;
}

/// The match at p; NULL if there is none.
static const uint8_t *deepseek3_at(const struct stage *s, const uint8_t *p, const uint8_t *end)
{
    const uint8_t *e, *q = p + (*p == ' ');
    uint32_t len;
    uint32_t set = look(p, end, &len);

    if (*p < 0x80 && (set & (IS(P) | IS(S))) && p + 1 < end && is_letter(p[1])) {
        for (e = p + 2; e < end && is_letter(*e);)
            e++;
        return e;
    }
    if ((e = word(s, p, end)) != NULL)
        return e;
    if (look(q, end, &len) & (IS(P) | IS(S))) {
        for (q = run_of(q + len, end, IS(P) | IS(S)); q < end && is_newline(*q);)
            q++;
        return q;
    }
    return set & IS(WS) ? white(p, end, true) : NULL;
}

const uint8_t *scan_deepseek3(const struct stage *s, const uint8_t *p, const uint8_t *end)
{
    const uint8_t *e = deepseek3_at(s, p, end);

    if (e)
        return e;
    for (p += utf8_len(*p); p < end && !deepseek3_at(s, p, end);)
        p += utf8_len(*p);
    return p;
}

const uint8_t *scan_numbers(const struct stage *s, const uint8_t *p, const uint8_t *end)
{
    const uint8_t *e = digits(p, end, s->max);

    return e > p ? e : run_of(p, end, ~IS(N));
}

/// Is the character at p in the stage's set?
static bool in_set(const struct stage *s, const uint8_t *p, const uint8_t *end, uint32_t *len)
{
    unsigned lo = 0, hi = s->n_ranges;
    uint32_t c;

    if (p >= end)
        return false;
    c = utf8_get(p, len);
    if (uni_set(c) & s->set)
        return true;
    while (lo < hi) {
        unsigned mid = (lo + hi) / 2;

        if (c > s->range[mid][1])
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo < s->n_ranges && c >= s->range[lo][0];
}

static const uint8_t *run_in_set(const struct stage *s, const uint8_t *p, const uint8_t *end,
                                 bool in)
{
    uint32_t len;

    while (p < end && in_set(s, p, end, &len) == in)
        p += len;
    return p;
}

/// The match of \s?[set]+ at p; p if there is none.
static const uint8_t *set_at(const struct stage *s, const uint8_t *p, const uint8_t *end)
{
    uint32_t len, next_len;

    if (s->space && (look(p, end, &len) & IS(WS)) && in_set(s, p + len, end, &next_len))
        return run_in_set(s, p + len + next_len, end, true);
    return in_set(s, p, end, &len) ? run_in_set(s, p + len, end, true) : p;
}

const uint8_t *scan_set(const struct stage *s, const uint8_t *p, const uint8_t *end)
{
    const uint8_t *e = set_at(s, p, end);
    uint32_t len, next_len;

    if (e > p)
        return e;
    // Up to the next match, without finding out how long that is.
    for (p += utf8_len(*p); p < end; p += len) {
        if (in_set(s, p, end, &len))
            break;
        if (s->space && (look(p, end, &len) & IS(WS)) && in_set(s, p + len, end, &next_len))
            break;
    }
    return p;
}

const uint8_t *scan_not_set(const struct stage *s, const uint8_t *p, const uint8_t *end)
{
    const uint8_t *q = p + (*p == ' ');
    const uint8_t *e = run_in_set(s, q, end, false);
    uint32_t len;

    if (e > q)
        return e;
    for (p += utf8_len(*p); p < end; p += len) {
        q = p + (*p == ' ');
        if (q < end && !in_set(s, q, end, &len))
            break;
        len = utf8_len(*p);
    }
    return p;
}

const uint8_t *scan_newline(const struct stage *s, const uint8_t *p, const uint8_t *end)
{
    (void)s;
    if (is_newline(*p))
        return p + 1;
    while (p < end && !is_newline(*p))
        p++;
    return p;
}

const uint8_t *scan_lines(const struct stage *s, const uint8_t *p, const uint8_t *end)
{
    const uint8_t *e;

    (void)s;
    if (*p == '\n') {
        while (p < end && *p == '\n')
            p++;
        return p;
    }
    e = memchr(p, '\n', (size_t)(end - p));
    return e ? e : end;
}

const uint8_t *scan_trailing(const struct stage *s, const uint8_t *p, const uint8_t *end)
{
    const uint8_t *tail = end;
    uint32_t len;

    (void)s;
    while (tail > p) {
        const uint8_t *last = tail - 1;

        while (last > p && (*last & 0xc0) == 0x80)
            last--;
        if (!(look(last, end, &len) & IS(WS)))
            break;
        tail = last;
    }
    return tail > p ? tail : end;
}

const uint8_t *scan_triples(const struct stage *s, const uint8_t *p, const uint8_t *end)
{
    int in_row = 0; // digits just before q

    (void)s;
    for (const uint8_t *q = p; q < end; q++) {
        in_row = (uint8_t)(*q - '0') < 10 ? in_row + 1 : 0;
        if (in_row == 3)
            return q - 2 == p ? p + 3 : q - 2;
    }
    return end;
}
