// pre.c - the pre-tokenizers by name, and the walk over their words.

#include "tok/pre.h"

#include "tok/scan.h"
#include "tok/uni.h"

#include <string.h>

// Letters with a capital and a small form, as DeepSeek's first models wrote them down.
// clang-format off
static const uint32_t cased_letters[][2] = {
    { 0x41, 0x5a }, { 0x61, 0x7a }, { 0xb5, 0xb5 }, { 0xc0, 0xd6 }, { 0xd8, 0xf6 }, { 0xf8, 0x1ba },
    { 0x1bc, 0x1bf }, { 0x1c4, 0x293 }, { 0x295, 0x2af }, { 0x370, 0x373 }, { 0x376, 0x376 },
    { 0x377, 0x377 }, { 0x37b, 0x37d }, { 0x37f, 0x37f }, { 0x386, 0x386 }, { 0x388, 0x38a },
    { 0x38c, 0x38c }, { 0x38e, 0x3a1 }, { 0x3a3, 0x3f5 }, { 0x3f7, 0x481 }, { 0x48a, 0x52f },
    { 0x531, 0x556 }, { 0x10a0, 0x10c5 }, { 0x13a0, 0x13f5 }, { 0x13f8, 0x13fd },
    { 0x1c90, 0x1cba }, { 0x1cbd, 0x1cbf }, { 0x1d00, 0x1d2b }, { 0x1d6b, 0x1d77 },
    { 0x1d79, 0x1d9a }, { 0x1e00, 0x1f15 }, { 0x1f18, 0x1f1d }, { 0x1f20, 0x1f45 },
    { 0x1f48, 0x1f4d }, { 0x1f50, 0x1f57 }, { 0x1f59, 0x1f59 }, { 0x1f5b, 0x1f5b },
    { 0x1f5d, 0x1f5d }, { 0x1f5f, 0x1f7d }, { 0x1f80, 0x1fb4 }, { 0x1fb6, 0x1fbc },
    { 0x1fbe, 0x1fbe }, { 0x1fc2, 0x1fc4 }, { 0x1fc6, 0x1fcc }, { 0x1fd0, 0x1fd3 },
    { 0x1fd6, 0x1fdb }, { 0x1fe0, 0x1fec }, { 0x1ff2, 0x1ff4 }, { 0x1ff6, 0x1ffc },
    { 0x2102, 0x2102 }, { 0x2107, 0x2107 }, { 0x210a, 0x2113 }, { 0x2115, 0x2115 },
    { 0x2119, 0x211d }, { 0x2124, 0x2124 }, { 0x2126, 0x2126 }, { 0x2128, 0x2128 },
    { 0x212a, 0x212d }, { 0x212f, 0x2134 }, { 0x2139, 0x2139 }, { 0x213c, 0x213f },
    { 0x2145, 0x2149 }, { 0x214e, 0x214e }, { 0x2183, 0x2183 }, { 0x2184, 0x2184 },
    { 0x2c00, 0x2c7b }, { 0x2c7e, 0x2ce4 }, { 0x2ceb, 0x2cee }, { 0x2cf2, 0x2cf2 },
    { 0x2cf3, 0x2cf3 }, { 0xa640, 0xa66d }, { 0xa680, 0xa69b }, { 0xa722, 0xa76f },
    { 0xa771, 0xa787 }, { 0xa78b, 0xa78e }, { 0xab70, 0xabbf }, { 0xfb00, 0xfb06 },
    { 0xfb13, 0xfb17 }, { 0xff21, 0xff3a }, { 0xff41, 0xff5a }, { 0x10400, 0x1044f },
    { 0x104b0, 0x104d3 }, { 0x104d8, 0x104fb }, { 0x10c80, 0x10cb2 }, { 0x10cc0, 0x10cf2 },
    { 0x118a0, 0x118df }, { 0x1e900, 0x1e943 },
};
// clang-format on

static const uint32_t wide_punct[][2] = {
    { '!', '/' },       { ':', '~' },       { 0x2018, 0x201f },
    { 0x3000, 0x3002 }, { 0xff01, 0xff0f }, { 0xff1a, 0xff5e },
};
static const uint32_t east_asian[][2] = { { 0x800, 0x9fa5 }, { 0xac00, 0xd7ff } };
static const uint32_t han_kana[][2] = { { 0x3040, 0x30ff }, { 0x4e00, 0x9fa5 } };
// (|.,!?)… and the full stops and commas of Chinese, Hindi, Urdu and Arabic
static const uint32_t bloom_stops[][2] = {
    { '!', '!' },     { '(', ')' },       { ',', ',' },       { '.', '.' },
    { '?', '?' },     { '|', '|' },       { 0x60c, 0x60c },   { 0x6d4, 0x6d4 },
    { 0x964, 0x964 }, { 0x2026, 0x2026 }, { 0x3001, 0x3002 }, { 0xff0c, 0xff0c },
};
static const uint32_t ascii_signs[][2] = {
    { '$', '$' }, { '+', '+' }, { '<', '>' }, { '^', '^' }, { '|', '|' }, { '~', '~' },
};
static const uint32_t falcon_signs[][2] = {
    { '$', '$' }, { '+', '+' }, { '<', '>' }, { '^', '^' },
    { '`', '`' }, { '|', '|' }, { '~', '~' },
};

#define RANGES(r) .range = r, .n_ranges = sizeof(r) / sizeof((r)[0])

static const struct stage gpt2 = { .scan = scan_gpt2 };
static const struct stage digit = { .scan = scan_numbers, .max = 1 };
static const struct stage digits3 = { .scan = scan_numbers, .max = 3 };
static const struct stage numbers = { .scan = scan_numbers };
static const struct stage triples = { .scan = scan_triples };
static const struct stage lines = { .scan = scan_lines };
static const struct stage newline = { .scan = scan_newline };
static const struct stage trailing = { .scan = scan_trailing };
static const struct stage punct = { .scan = scan_set, .set = IS(P), RANGES(ascii_signs) };
static const struct stage falcon_punct = { .scan = scan_set, .set = IS(P), RANGES(falcon_signs) };
static const struct stage llm_letters = { .scan = scan_set, .space = true, RANGES(cased_letters) };
static const struct stage llm_punct = { .scan = scan_set, .space = true, RANGES(wide_punct) };
static const struct stage llm_asian = { .scan = scan_set, RANGES(east_asian) };
static const struct stage coder_letters = { .scan = scan_set, .space = true, .set = IS_L };
static const struct stage coder_punct = { .scan = scan_set, .space = true, .set = IS(P) };
static const struct stage v3_asian = { .scan = scan_set, RANGES(han_kana) };
static const struct stage v3_words = {
    .scan = scan_deepseek3,
    .letters = IS_L | IS(M),
    .no_start = IS_L | IS(P) | IS(S),
};
static const struct stage bloom = { .scan = scan_not_set, .set = IS(WS), RANGES(bloom_stops) };

/// cl100k's form: what a word is of, what may follow punctuation, and what differs from there.
#define WORDS(of, after, ...)                                                                      \
    {                                                                                              \
        .scan = scan_words, .letters = (of), .no_start = IS_L | IS(N),                             \
        .no_punct = IS(WS) | IS(N) | (of), .tail = (after), __VA_ARGS__                            \
    }
static const struct stage llama3 = WORDS(IS_L, "\r\n", .contractions = true, .max = 3);
static const struct stage qwen2 = WORDS(IS_L, "\r\n", .contractions = true, .max = 1);
static const struct stage qwen35 = WORDS(IS_L | IS(M), "\r\n", .contractions = true, .max = 1);
static const struct stage minicpm5 = WORDS(IS_L, "\r\n", .contractions = true, .max = 0);
static const struct stage seed = WORDS(IS_L, "", .contractions = true, .max = 1);
static const struct stage ufakzeka = WORDS(IS_L, "\r\n", .max = 1);
static const struct stage tekken = WORDS(IS_L, "\r\n/", .cased = true, .max = 1);
static const struct stage gpt4o = WORDS(IS_L, "\r\n/", .cased = true, .suffixes = true, .max = 3);

#define WHOLE  PRE_WHOLE_WORDS
#define CLEAN  PRE_CLEAN_SPACES
#define BOS    PRE_ADD_BOS
#define SPACED PRE_SPACED

// clang-format off
static const struct pre pres[] = {
    { "default",           CLEAN,                 { &punct, &gpt2, &numbers, &triples } },
    { "gpt-2",             CLEAN,                 { &gpt2 } },
    { "phi-2",             CLEAN,                 { &gpt2 } },
    { "mpt",               CLEAN,                 { &gpt2 } },
    { "olmo",              CLEAN,                 { &gpt2 } },
    { "jais",              CLEAN,                 { &gpt2 } },
    { "gigachat",          CLEAN,                 { &gpt2 } },
    { "exaone4",           CLEAN,                 { &gpt2 } },
    { "a.x-4.0",           CLEAN,                 { &gpt2 } },
    { "mellum",            CLEAN,                 { &gpt2 } },
    { "trillion",          0,                     { &gpt2 } },
    { "granite-docling",   0,                     { &gpt2 } },
    { "smollm",            0,                     { &digit, &gpt2 } },
    { "command-r",         0,                     { &digit, &gpt2 } },
    { "starcoder",         CLEAN,                 { &digit, &gpt2 } },
    { "refact",            CLEAN,                 { &digit, &gpt2 } },
    { "codeshell",         CLEAN,                 { &digit, &gpt2 } },
    { "exaone",            CLEAN,                 { &digit, &gpt2 } },
    { "minerva-7b",        CLEAN,                 { &digit, &gpt2 } },
    { "mellum2",           CLEAN,                 { &digit, &gpt2 } },
    { "falcon",            CLEAN,                 { &falcon_punct, &gpt2, &triples } },
    { "llama-bpe",         WHOLE | CLEAN | BOS,   { &llama3 } },
    { "llama3",            WHOLE | CLEAN | BOS,   { &llama3 } },
    { "llama-v3",          WHOLE | CLEAN | BOS,   { &llama3 } },
    { "falcon3",           WHOLE | CLEAN | BOS,   { &llama3 } },
    { "falcon-h1",         WHOLE | CLEAN | BOS,   { &llama3 } },
    { "pixtral",           WHOLE | CLEAN | BOS,   { &llama3 } },
    { "midm-2.0",          WHOLE | CLEAN | BOS,   { &llama3 } },
    { "lfm2",              WHOLE | CLEAN | BOS,   { &llama3 } },
    { "dbrx",              CLEAN,                 { &llama3 } },
    { "smaug-bpe",         CLEAN,                 { &llama3 } },
    { "chatglm-bpe",       CLEAN,                 { &llama3 } },
    { "glm4",              WHOLE | CLEAN,         { &llama3 } },
    { "glm5",              WHOLE | CLEAN,         { &llama3 } },
    { "minicpm5",          WHOLE | CLEAN,         { &digits3, &minicpm5 } },
    { "qwen2",             0,                     { &qwen2 } },
    { "deepseek-r1-qwen",  0,                     { &qwen2 } },
    { "kormo",             0,                     { &qwen2 } },
    { "megrez",            CLEAN,                 { &qwen2 } },
    { "stablelm2",         CLEAN,                 { &qwen2 } },
    { "hunyuan",           0,                     { &qwen2 } },
    { "grok-2",            0,                     { &qwen2 } },
    { "solar-open",        0,                     { &qwen2 } },
    { "bailingmoe",        0,                     { &qwen2 } },
    { "bailingmoe2",       0,                     { &qwen2 } },
    { "llada-moe",         0,                     { &qwen2 } },
    { "laguna",            0,                     { &lines, &qwen2 } },
    { "qwen35",            0,                     { &qwen35 } },
    { "seed-coder",        0,                     { &seed } },
    { "ufakzeka",          0,                     { &ufakzeka } },
    { "tekken",            WHOLE | BOS,           { &tekken } },
    { "gpt-4o",            0,                     { &gpt4o } },
    { "llama4",            0,                     { &gpt4o } },
    { "kanana2",           0,                     { &gpt4o } },
    { "minimax-m2",        0,                     { &gpt4o } },
    { "deepseek-llm",      0,                     { &newline, &llm_letters, &llm_punct, &trailing, &llm_asian, &numbers } },
    { "deepseek-coder",    0,                     { &newline, &coder_letters, &coder_punct, &llm_asian, &digit } },
    { "deepseek-v3",       0,                     { &digits3, &v3_asian, &v3_words } },
    { "hunyuan-dense",     0,                     { &digits3, &v3_asian, &v3_words } },
    { "joyai-llm",         0,                     { &digits3, &v3_asian, &v3_words } },
    { "hy_v4",             0,                     { &digits3, &v3_asian, &v3_words } },
    { "bloom",             CLEAN,                 { &bloom } },
    { "gpt3-finnish",      CLEAN,                 { &bloom } },
    { "poro-chat",         0,                     { &bloom } },
    { "viking",            0,                     { &bloom, &digit } },
    { "gemma4",            CLEAN | BOS | SPACED,  { &lines } },
    { "sarvam-moe",        SPACED,                { &lines } },
};
// clang-format on

const struct pre *pre_find(const char *name, size_t n)
{
    for (size_t i = 0; i < sizeof(pres) / sizeof(pres[0]); i++)
        if (strlen(pres[i].name) == n && memcmp(pres[i].name, name, n) == 0)
            return &pres[i];
    return NULL;
}

void pre_start(struct pre_words *w, const struct pre *pre, const uint8_t *text, size_t n)
{
    w->pre = pre;
    w->at = text;
    w->end[0] = text + n;
    for (int i = 1; i <= PRE_STAGES; i++)
        w->end[i] = text;
}

bool pre_next(struct pre_words *w, const uint8_t **word, size_t *n)
{
    const uint8_t *at = w->at;
    int i = 0;

    if (at == w->end[0])
        return false;
    // A stage whose piece is used up cuts the next one from the piece of the stage before it.
    for (; i < PRE_STAGES && w->pre->stage[i]; i++)
        if (w->end[i + 1] == at)
            w->end[i + 1] = w->pre->stage[i]->scan(w->pre->stage[i], at, w->end[i]);
    *word = at;
    *n = (size_t)(w->end[i] - at);
    w->at = w->end[i];
    return true;
}
