// test_merge.c - merging, against doing it by hand: at each step look at all pairs of the word.

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "tok/tokmake.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static uint64_t random_state;

static uint32_t any(uint32_t n)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return (uint32_t)(random_state >> 11) % n;
}

enum { MAX_VOCAB = 400, MAX_PARTS = 64 };

/// The same vocabulary as the tokenizer has, kept simply.
struct plain {
    char text[MAX_VOCAB][64];
    float score[MAX_VOCAB];
    int id[MAX_VOCAB];
    int n;
    struct {
        int left, right, to; // indices
    } merge[MAX_VOCAB];
    int n_merges;
    bool spm;
};

static int find(const struct plain *p, const char *text, size_t n)
{
    for (int i = 0; i < p->n; i++)
        if (strlen(p->text[i]) == n && memcmp(p->text[i], text, n) == 0)
            return i;
    return -1;
}

/// The rank (or minus the score) of the pair that begins with part i; HUGE_VAL if it does not
/// merge.
static double pair(const struct plain *p, const char *text, const size_t *at, size_t parts,
                   size_t i)
{
    int to;

    if (i + 2 > parts)
        return HUGE_VAL;
    if (p->spm) {
        to = find(p, text + at[i], at[i + 2] - at[i]);
        return to < 0 ? HUGE_VAL : -(double)p->score[to];
    }
    for (int m = 0; m < p->n_merges; m++) {
        const char *l = p->text[p->merge[m].left], *r = p->text[p->merge[m].right];

        if (strlen(l) == at[i + 1] - at[i] && strlen(r) == at[i + 2] - at[i + 1] &&
            memcmp(l, text + at[i], strlen(l)) == 0 && memcmp(r, text + at[i + 1], strlen(r)) == 0)
            return m;
    }
    return HUGE_VAL;
}

/// Ids of a word by the definition. Returns how many.
static size_t by_hand(const struct plain *p, const char *text, size_t n, int32_t *out)
{
    size_t *at = xcalloc(n + 2, sizeof(*at));
    double *rank = xcalloc(n + 2, sizeof(*rank));
    size_t parts = n;

    for (size_t i = 0; i <= n; i++)
        at[i] = i;
    for (size_t i = 0; i < n; i++)
        rank[i] = pair(p, text, at, parts, i);
    for (;;) {
        size_t best = 0;

        for (size_t i = 1; i < parts; i++)
            if (rank[i] < rank[best])
                best = i;
        if (isinf(rank[best]))
            break;
        memmove(at + best + 1, at + best + 2, (parts - best - 1) * sizeof(*at));
        memmove(rank + best + 1, rank + best + 2, (parts - best - 1) * sizeof(*rank));
        parts--;
        rank[best] = pair(p, text, at, parts, best);
        if (best > 0)
            rank[best - 1] = pair(p, text, at, parts, best - 1);
    }
    for (size_t i = 0; i < parts; i++)
        out[i] = p->id[find(p, text + at[i], at[i + 1] - at[i])];
    free(at);
    free(rank);
    return parts;
}

static void add(struct plain *p, const char *text, int id, float score)
{
    snprintf(p->text[p->n], sizeof(p->text[0]), "%s", text);
    p->score[p->n] = score;
    p->id[p->n++] = id;
}

/// A vocabulary over the letters a to d. Its merges need not be in the order in which a trained one
/// has them, and its scores are few, so that equal ones and later ones that go first are common.
static struct tok *random_vocab(struct plain *p, bool spm)
{
    struct tokmake v = { .model = spm ? "llama" : "gpt2", .pre = spm ? NULL : "gpt-2" };
    struct err e = { 0 };
    struct tok *t;
    int n = 5 + (int)any(60);

    *p = (struct plain){ .spm = spm };
    if (spm) {
        tm_spm_bytes(&v);
        gm_bool(tm_keys(&v), "tokenizer.ggml.add_space_prefix", false);
        for (char c = 'a'; c <= 'd'; c++)
            add(p, (char[]){ c, 0 }, tm_token(&v, (char[]){ c, 0 }, TM_NORMAL, -100), -100);
    } else {
        tm_bytes(&v);
        for (char c = 'a'; c <= 'd'; c++)
            add(p, (char[]){ c, 0 }, c, 0);
    }
    while (n-- > 0) {
        int left = (int)any((uint32_t)p->n), right = (int)any((uint32_t)p->n);
        float score = -(float)any(12);
        char text[128];

        snprintf(text, sizeof(text), "%s%s", p->text[left], p->text[right]);
        if (strlen(text) > 20)
            continue;
        if (!spm) {
            p->merge[p->n_merges].left = left;
            p->merge[p->n_merges++].right = right;
        }
        if (find(p, text, strlen(text)) < 0)
            add(p, text, tm_token(&v, text, TM_NORMAL, (double)score), score);
    }
    // Shuffled: ranks say nothing about what was made of what.
    for (int i = p->n_merges - 1; i > 0; i--) {
        int j = (int)any((uint32_t)i + 1);
        int left = p->merge[i].left, right = p->merge[i].right;

        p->merge[i] = p->merge[j];
        p->merge[j].left = left;
        p->merge[j].right = right;
    }
    for (int i = 0; i < p->n_merges; i++) {
        char line[160];

        snprintf(line, sizeof(line), "%s %s", p->text[p->merge[i].left],
                 p->text[p->merge[i].right]);
        tm_merge(&v, line);
    }
    if (!spm && p->n_merges == 0)
        tm_merge(&v, "a a");
    t = tm_open(&v, &e);
    if (!t)
        fail_msg("%s", e.msg);
    return t;
}

static void compare(const struct plain *p, const struct tok *t, size_t n)
{
    char *text = xmalloc(n + 1);
    int32_t *want = xcalloc(n + 1, sizeof(*want));
    struct tok_ids ids = { 0 };
    size_t n_want;
    uint32_t letters = 1 + any(4);

    for (size_t i = 0; i < n; i++)
        text[i] = (char)('a' + any(letters));
    n_want = by_hand(p, text, n, want);
    assert_true(tok_encode(t, text, n, 0, &ids, NULL));
    if (ids.n != n_want || memcmp(ids.id, want, n_want * sizeof(*want)) != 0)
        fail_msg("%s: %zu ids, not %zu: %.100s", p->spm ? "spm" : "bpe", ids.n, n_want, text);
    tok_ids_done(&ids);
    free(text);
    free(want);
}

static void words_merge_as_by_hand(void **state)
{
    static struct plain p;

    (void)state;
    for (uint64_t seed = 1; seed <= 120; seed++) {
        struct tok *t;

        random_state = seed * 0x9e3779b97f4a7c15u;
        t = random_vocab(&p, seed % 2);
        for (size_t n = 1; n < 40; n++)
            compare(&p, t, n);
        compare(&p, t, 100 + any(200));
        tok_free(t);
    }
}

/// Above 8192 symbols the queue has lists.
static void very_long_words_merge_as_by_hand(void **state)
{
    static struct plain p;

    (void)state;
    for (uint64_t seed = 1; seed <= 8; seed++) {
        struct tok *t;

        random_state = seed * 0x9e3779b97f4a7c15u;
        t = random_vocab(&p, seed % 2);
        compare(&p, t, 8200 + any(2000));
        tok_free(t);
    }
}

static double cpu_ms(void)
{
    struct timespec t;

    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

static double encode_ms(const struct tok *t, const char *text, size_t n, size_t *n_ids)
{
    struct tok_ids ids = { 0 };
    double start = cpu_ms();

    assert_true(tok_encode(t, text, n, 0, &ids, NULL));
    *n_ids = ids.n;
    tok_ids_done(&ids);
    return cpu_ms() - start;
}

/// Tokens a, aa, aaaa, ... : every pair merges, again and again.
static struct tok *doubling_vocab(bool spm)
{
    struct tokmake v = { .model = spm ? "llama" : "gpt2", .pre = spm ? NULL : "qwen2" };
    struct err e = { 0 };
    struct tok *t;
    char text[65] = "a";

    if (spm) {
        tm_spm_bytes(&v);
        tm_token(&v, "a", TM_NORMAL, -1);
    } else {
        tm_bytes(&v);
    }
    for (size_t n = 1; n < 64; n *= 2) {
        if (!spm)
            tm_make(&v, text, text);
        memset(text, 'a', 2 * n);
        text[2 * n] = 0;
        if (spm)
            tm_token(&v, text, TM_NORMAL, -2 - (double)n);
    }
    t = tm_open(&v, &e);
    if (!t)
        fail_msg("%s", e.msg);
    return t;
}

/// Catalogue T-02: n log n, also where all symbols of the word merge.
static void t02_one_long_word_takes_n_log_n(void **state)
{
    const size_t n = 1 << 20;
    char *text = xmalloc(2 * n);

    (void)state;
    memset(text, 'a', 2 * n);
    for (int spm = 0; spm < 2; spm++) {
        struct tok *t = doubling_vocab(spm);
        double once = 0, twice = 0;
        size_t n_once, n_twice;
        int tries = 0;

        do {
            once = encode_ms(t, text, n, &n_once);
            twice = encode_ms(t, text, 2 * n, &n_twice);
        } while (twice > 2.5 * once && ++tries < 5);
        if (tries == 5)
            fail_msg("1 MiB %.0f ms, 2 MiB %.0f ms", once, twice);
        assert_in_range(n_twice, 2 * n / 64, 2 * n / 64 + 8);
        printf("one word: 1 MiB %.0f ms, 2 MiB %.0f ms\n", once, twice);
        tok_free(t);
    }
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(words_merge_as_by_hand),
        cmocka_unit_test(very_long_words_merge_as_by_hand),
        cmocka_unit_test(t02_one_long_word_takes_n_log_n),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
