// test_pre.c - the scanners against the models' own expressions, run by PCRE2; and their time.

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include "base/base.h"
#include "tok/pre.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#define GPT2         "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+"
#define CONTRACTIONS "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
#define SPACES       "\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"
#define UPPER        "[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]"
#define LOWER        "[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]"
#define CASED(after)                                                                               \
    "[^\\r\\n\\p{L}\\p{N}]?" UPPER "*" LOWER "+" after "|[^\\r\\n\\p{L}\\p{N}]?" UPPER "+" LOWER   \
    "*" after
#define CL(start, letters, n, not, tail)                                                           \
    start "[^\\r\\n\\p{L}\\p{N}]?" letters "+|" n "| ?[^\\s" not "]+" tail "|" SPACES
#define LN "\\p{L}\\p{N}"

/// Names of scanners that differ, with the expressions of their tokenizer.json. ASCII case folding
/// only: PCRE2 would also take U+017F for an s.
static const struct {
    const char *name;
    const char *expr[PRE_STAGES];
} known[] = {
    { "gpt-2", { GPT2 } },
    { "smollm", { "\\p{N}", GPT2 } },
    { "default", { "[\\p{P}\\$\\+<=>\\^~\\|]+", GPT2, "\\p{N}+", "[0-9][0-9][0-9]" } },
    { "falcon", { "[\\p{P}\\$\\+<=>\\^~\\|`]+", GPT2, "[0-9][0-9][0-9]" } },
    { "llama-bpe", { CL(CONTRACTIONS "|", "\\p{L}", "\\p{N}{1,3}", LN, "[\\r\\n]*") } },
    { "qwen2", { CL(CONTRACTIONS "|", "\\p{L}", "\\p{N}", LN, "[\\r\\n]*") } },
    { "qwen35",
      { CL(CONTRACTIONS "|", "[\\p{L}\\p{M}]", "\\p{N}", "\\p{L}\\p{M}\\p{N}", "[\\r\\n]*") } },
    { "minicpm5", { "\\p{N}{1,3}", CL(CONTRACTIONS "|", "\\p{L}", "\\p{N}+", LN, "[\\r\\n]*") } },
    { "ufakzeka", { CL("", "\\p{L}", "\\p{N}", LN, "[\\r\\n]*") } },
    { "seed-coder", { CL(CONTRACTIONS "|", "\\p{L}", "\\p{N}{1}", LN "\\r\\n", "") } },
    { "bailingmoe",
      { "'(?i:[sdmt]|ll|ve|re)|[^\\r\\n\\p{L}\\p{N}]?+\\p{L}+|\\p{N}| "
        "?[^\\s\\p{L}\\p{N}]++[\\r\\n]*"
        "|\\s*[\\r\\n]|\\s+(?!\\S)|\\s+" } },
    { "laguna", { "[^\\n]+|[\\n]+", CL(CONTRACTIONS "|", "\\p{L}", "\\p{N}", LN, "[\\r\\n]*") } },
    { "tekken", { CASED("") "|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|" SPACES } },
    { "gpt-4o",
      { CASED(CONTRACTIONS "?") "|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|" SPACES } },
    { "deepseek-coder",
      { "[\\r\\n]", "\\s?\\p{L}+", "\\s?\\p{P}+", "[\u4e00-\u9fa5\u0800-\u4e00\uac00-\ud7ff]+",
        "\\p{N}" } },
    { "deepseek-llm",
      { "[\\r\\n]",
        "\\s?[A-Za-z\u00b5\u00c0-\u00d6\u00d8-\u00f6\u00f8-\u01ba\u01bc-\u01bf\u01c4-\u0293\u0295-"
        "\u02af\u0370-\u0373\u0376\u0377\u037b-\u037d\u037f\u0386\u0388-\u038a\u038c\u038e-\u03a1"
        "\u03a3-\u03f5\u03f7-\u0481\u048a-\u052f\u0531-\u0556\u10a0-\u10c5\u13a0-\u13f5\u13f8-"
        "\u13fd\u1c90-\u1cba\u1cbd-\u1cbf\u1d00-\u1d2b\u1d6b-\u1d77\u1d79-\u1d9a\u1e00-\u1f15"
        "\u1f18-\u1f1d\u1f20-\u1f45\u1f48-\u1f4d\u1f50-\u1f57\u1f59\u1f5b\u1f5d\u1f5f-\u1f7d"
        "\u1f80-\u1fb4\u1fb6-\u1fbc\u1fbe\u1fc2-\u1fc4\u1fc6-\u1fcc\u1fd0-\u1fd3\u1fd6-\u1fdb"
        "\u1fe0-\u1fec\u1ff2-\u1ff4\u1ff6-\u1ffc\u2102\u2107\u210a-\u2113\u2115\u2119-\u211d"
        "\u2124\u2126\u2128\u212a-\u212d\u212f-\u2134\u2139\u213c-\u213f\u2145-\u2149\u214e\u2183"
        "\u2184\u2c00-\u2c7b\u2c7e-\u2ce4\u2ceb-\u2cee\u2cf2\u2cf3\ua640-\ua66d\ua680-\ua69b"
        "\ua722-\ua76f\ua771-\ua787\ua78b-\ua78e\uab70-\uabbf\ufb00-\ufb06\ufb13-\ufb17\uff21-"
        "\uff3a\uff41-\uff5a\U00010400-\U0001044f\U000104b0-\U000104d3\U000104d8-\U000104fb"
        "\U00010c80-\U00010cb2\U00010cc0-\U00010cf2\U000118a0-\U000118df\U0001e900-\U0001e943]+",
        "\\s?[!-/:-~\uff01-\uff0f\uff1a-\uff5e\u2018-\u201f\u3000-\u3002]+", "\\s+$",
        "[\u4e00-\u9fa5\u0800-\u4e00\uac00-\ud7ff]+", "\\p{N}+" } },
    { "deepseek-v3",
      { "\\p{N}{1,3}", "[\u4e00-\u9fa5\u3040-\u309f\u30a0-\u30ff]+",
        "[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+"
        "|[^\\r\\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+| ?[\\p{P}\\p{S}]+[\\r\\n]*|" SPACES } },
    { "bloom", { " ?[^(\\s|.,!?\u2026\u3002\uff0c\u3001\u0964\u06d4\u060c)]+" } },
    { "viking", { " ?[^(\\s|.,!?\u2026\u3002\uff0c\u3001\u0964\u06d4\u060c)]+", "\\p{N}" } },
    { "gemma4", { "[^\\n]+|[\\n]+" } },
};

/// Characters of every class and script the expressions name, and words and blanks.
static const char *const bits[] = {
    "a",          "B",          "the",
    "I",          " ",          "  ",
    "   ",        "\n",         "\r\n",
    "\t",         "\v",         "'s",
    "'LL",        "'Ve",        "'",
    "1",          "22",         "333",
    "4567",       "\u0663",     "\u00e9",
    "\u00c9",     "\u00df",     "\u01c5",
    "\u4e2d",     "\u6587",     "\u3042",
    "\u30ab",     "\uac00",     "\U0001f600",
    "\U0001f3fd", "\u200d",     "\u0301",
    "\u093f",     "\u0e31",     "\u2167",
    "\u00b2",     "\u20ac",     "$",
    "+",          "<",          "=",
    "(",          ")",          "!",
    "...",        ",",          ".",
    "\u3002",     "\u3001",     "\u3000",
    "\u00a0",     "\u2028",     "\xc2\x85",
    "_",          "-",          "/",
    "//",         "\\",         "\x01",
    "\x7f",       "\u0378",     "\u0130",
    "\u02b0",     "\u00aa",     "\u0903",
    "\u2018",     "\u2019",     "\u2026",
    "\u01f2",     "\ufb01",     "\uff21",
    "\uff41",     "\uff0b",     "\u00b7",
    "\u0627",     "\u06d4",     "\u060c",
    "\u0964",     "`",          "^",
    "|",          "~",          "#",
    "{",          "]",          ";",
    "\"",         "?",          "@",
    "HTTPServer", "camelCase",  "\u00c9t\u00e9",
    "\u0e01",     "\U00020000", "\u9fa5",
    "\u9fff",     "\u30fc",     "\U0001d400",
    "\u05d0",     "\u1c80",     "\u0378",
    "\ue000",
};

static uint64_t random_state;

static uint32_t any(uint32_t n)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return (uint32_t)(random_state >> 11) % n;
}

/// Ends of pieces, counted from the text's beginning.
struct ends {
    size_t at[4096];
    size_t n;
};

static pcre2_code *compile(const char *expr)
{
    int code;
    PCRE2_SIZE at;
    pcre2_code *re = pcre2_compile((PCRE2_SPTR)expr, PCRE2_ZERO_TERMINATED, PCRE2_UTF | PCRE2_UCP,
                                   &code, &at, NULL);

    if (!re)
        fail_msg("expression: error %d at %zu: %s", code, (size_t)at, expr);
    return re;
}

/// Cuts every piece of `in` at the matches of `re`.
static void cut(const pcre2_code *re, const char *text, const struct ends *in, struct ends *out)
{
    pcre2_match_data *m = pcre2_match_data_create(4, NULL);
    size_t from = 0;

    out->n = 0;
    for (size_t i = 0; i < in->n; from = in->at[i++]) {
        PCRE2_SPTR piece = (PCRE2_SPTR)text + from;
        size_t n = in->at[i] - from, at = 0;

        while (at < n && pcre2_match(re, piece, n, at, 0, m, NULL) > 0) {
            const PCRE2_SIZE *v = pcre2_get_ovector_pointer(m);

            if (v[0] > at)
                out->at[out->n++] = from + v[0];
            out->at[out->n++] = from + v[1];
            at = v[1];
        }
        if (at < n)
            out->at[out->n++] = in->at[i];
    }
    pcre2_match_data_free(m);
}

static void scan(const char *name, const char *text, size_t n, struct ends *out)
{
    const struct pre *pre = pre_find(name, strlen(name));
    struct pre_words w;
    const uint8_t *word, *next = (const uint8_t *)text;
    size_t n_word;

    assert_non_null(pre);
    out->n = 0;
    pre_start(&w, pre, next, n);
    while (pre_next(&w, &word, &n_word)) {
        assert_ptr_equal(word, next);
        assert_true(n_word > 0);
        next = word + n_word;
        out->at[out->n++] = (size_t)(next - (const uint8_t *)text);
    }
    assert_ptr_equal(next, text + n);
}

static size_t random_text(char *text, size_t max)
{
    uint32_t n = 1 + any(any(10) ? 16 : 100);
    size_t len = 0;

    while (n-- > 0) {
        const char *b = bits[any(ARRAY_LEN(bits))];

        for (uint32_t k = any(8) ? 1 : 1 + any(5); k > 0 && len + strlen(b) < max; k--) {
            memcpy(text + len, b, strlen(b));
            len += strlen(b);
        }
    }
    return len;
}

static void words_are_those_of_the_models_expressions(void **state)
{
    const int rounds = 600;
    static struct ends want, got, next;
    char text[2048], shown[2048];

    (void)state;
    for (size_t k = 0; k < ARRAY_LEN(known); k++) {
        pcre2_code *re[PRE_STAGES] = { NULL };

        for (int s = 0; s < PRE_STAGES && known[k].expr[s]; s++)
            re[s] = compile(known[k].expr[s]);
        for (int i = 0; i < rounds; i++) {
            size_t n;

            random_state = ((uint64_t)i + 1) * 0x9e3779b97f4a7c15u;
            n = random_text(text, sizeof(text));
            if (n == 0)
                continue;
            want = (struct ends){ .at = { n }, .n = 1 };
            for (int s = 0; s < PRE_STAGES && re[s]; s++) {
                cut(re[s], text, &want, &next);
                want = next;
            }
            scan(known[k].name, text, n, &got);
            if (got.n != want.n || memcmp(got.at, want.at, got.n * sizeof(got.at[0])) != 0) {
                size_t d = 0;

                while (d < got.n && d < want.n && got.at[d] == want.at[d])
                    d++;
                fail_msg("%s, round %d, piece %zu ends at %zu, not %zu: \"%s\"", known[k].name, i,
                         d, d < got.n ? got.at[d] : 0, d < want.n ? want.at[d] : 0,
                         err_bytes(shown, sizeof(shown), text, n));
            }
        }
        for (int s = 0; s < PRE_STAGES; s++)
            pcre2_code_free(re[s]);
    }
}

static double cpu_ms(void)
{
    struct timespec t;

    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

static double walk_ms(const struct pre *pre, const char *text, size_t n)
{
    double best = 1e9;

    for (int i = 0; i < 3; i++) {
        double start = cpu_ms();
        struct pre_words w;
        const uint8_t *word;
        size_t n_word, sum = 0;

        pre_start(&w, pre, (const uint8_t *)text, n);
        while (pre_next(&w, &word, &n_word))
            sum += n_word;
        assert_int_equal(sum, n);
        best = cpu_ms() - start < best ? cpu_ms() - start : best;
    }
    return best;
}

/// Catalogue T-01.
static void t01_time_is_linear_in_runs_of_one_class(void **state)
{
    static const char *const unit[] = { "A",       "a",       " ",      ".",      "\n",
                                        " \n",     "\u4e2d",  "\u0301", "us",     "1",
                                        "aB",      "\u4e2dA", "'",      "\u3000", "\u0378",
                                        " \u3000", "A\u0301", "11a" };
    const size_t n = 64 << 10;
    char *text = xmalloc(2 * n);

    (void)state;
    for (size_t u = 0; u < ARRAY_LEN(unit); u++) {
        size_t len = strlen(unit[u]), fit = n / len * len;

        for (size_t i = 0; i < 2 * fit; i++)
            text[i] = unit[u][i % len];
        for (size_t k = 0; k < ARRAY_LEN(known); k++) {
            const struct pre *pre = pre_find(known[k].name, strlen(known[k].name));
            double once = 0, twice = 0;
            int tries = 0;

            do { // on a busy machine a measurement can be wrong, not five
                once = walk_ms(pre, text, fit);
                twice = walk_ms(pre, text, 2 * fit);
            } while (twice > 2.5 * once + 0.1 && ++tries < 5);
            if (tries == 5 || twice > 200)
                fail_msg("%s on \"%s\": %.2f ms, twice as much %.2f ms", pre->name, unit[u], once,
                         twice);
        }
    }
    free(text);
}

static void names_are_matched_as_a_whole(void **state)
{
    (void)state;
    assert_non_null(pre_find("qwen2", 5));
    assert_null(pre_find("qwen", 4));
    assert_null(pre_find("qwen2x", 6));
    assert_null(pre_find("", 0));
    assert_null(pre_find("qwen2\0", 6));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(words_are_those_of_the_models_expressions),
        cmocka_unit_test(t01_time_is_linear_in_runs_of_one_class),
        cmocka_unit_test(names_are_matched_as_a_whole),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
