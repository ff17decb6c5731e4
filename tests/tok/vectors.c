// vectors.c - opens vocabularies and vectors for tests.

#include "tok/vectors.h"

#include "support/gguf_make.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

void cache_path(char out[512], const char *file)
{
    const char *cache = getenv("SNUG_CACHE"), *home = getenv("HOME");

    if (cache)
        snprintf(out, 512, "%s/%s", cache, file);
    else
        snprintf(out, 512, "%s/.cache/snug/%s", home ? home : "", file);
}

json_t *vectors_open(const char *name)
{
    const char *dir = getenv("SNUG_VECTORS");
    char path[512];
    json_t *j;

    snprintf(path, sizeof(path), "tests/data/tokenizer/%s.json", name);
    j = json_load_file(path, JSON_ALLOW_NUL, NULL);
    if (j)
        return j;
    snprintf(path, sizeof(path), "%s/tokenizer/%s.json", dir ? dir : "../shared/vectors", name);
    return json_load_file(path, JSON_ALLOW_NUL, NULL);
}

/// DeepSeek-R1-Distill-Qwen has the words and merges of Qwen2 and special tokens of its own.
static bool rebuild_r1(struct tok **t, const struct gguf *qwen2, struct err *e)
{
    static const char *const special[] = {
        "<\uff5cend\u2581of\u2581sentence\uff5c>",
        "<\uff5cUser\uff5c>",
        "<\uff5cAssistant\uff5c>",
        "<\uff5cbegin\u2581of\u2581sentence\uff5c>",
        "<|EOT|>",
        "<think>",
        "</think>",
        "<|quad_start|>",
        "<|quad_end|>",
        "<|vision_start|>",
        "<|vision_end|>",
        "<|vision_pad|>",
        "<|image_pad|>",
        "<|video_pad|>",
        "<tool_call>",
        "</tool_call>",
        "<|fim_prefix|>",
        "<|fim_middle|>",
        "<|fim_suffix|>",
        "<|fim_pad|>",
        "<|repo_name|>",
        "<|file_sep|>",
    };
    enum { WORDS = 151643, N = 152064 };
    struct gguf_make m;
    struct gguf *g = NULL;
    uint64_t n, n_merges;
    const struct str *words = gguf_arr_strs(qwen2, "tokenizer.ggml.tokens", &n);
    const struct str *merges = gguf_arr_strs(qwen2, "tokenizer.ggml.merges", &n_merges);
    const char **text = xcalloc(N, sizeof(*text));
    const char **merge = xcalloc(n_merges, sizeof(*merge));
    int32_t *type = xcalloc(N, sizeof(*type));
    struct arena a = { 0 };
    bool ok;

    for (int i = 0; i < N; i++) {
        size_t s = (size_t)i - WORDS;

        type[i] = i < WORDS ? 1 : s < ARRAY_LEN(special) ? 3 : 5;
        if (i < WORDS)
            text[i] = arena_printf(&a, "%.*s", (int)words[i].n, words[i].p);
        else if (s < ARRAY_LEN(special))
            text[i] = special[s];
        else
            text[i] = arena_printf(&a, "[PAD%d]", i);
        if (strstr(text[i], "think>") == text[i] + strlen(text[i]) - 6 && i >= WORDS)
            type[i] = 4;
        if (i >= WORDS && strstr(text[i], "tool_call>"))
            type[i] = 4;
    }
    for (uint64_t i = 0; i < n_merges; i++)
        merge[i] = arena_printf(&a, "%.*s", (int)merges[i].n, merges[i].p);
    gm_init(&m);
    gm_str(&m, "general.architecture", "qwen2");
    gm_str(&m, "tokenizer.ggml.model", "gpt2");
    gm_str(&m, "tokenizer.ggml.pre", "deepseek-r1-qwen");
    gm_strs(&m, "tokenizer.ggml.tokens", N, text);
    gm_arr(&m, "tokenizer.ggml.token_type", GGUF_I32, N, type, N * sizeof(*type));
    gm_strs(&m, "tokenizer.ggml.merges", n_merges, merge);
    gm_u32(&m, "tokenizer.ggml.bos_token_id", WORDS + 3);
    gm_u32(&m, "tokenizer.ggml.eos_token_id", WORDS);
    gm_bool(&m, "tokenizer.ggml.add_bos_token", true);
    ok = gm_open(&g, &m, e) && tok_new(t, g, e);
    gguf_close(g);
    gm_done(&m);
    arena_done(&a);
    free(text);
    free(merge);
    free(type);
    return ok;
}

static bool source_open(struct gguf **g, const char *name, char why[512], struct err *e)
{
    struct gguf_opts opts = { .head_only = true };
    char file[128], path[512];

    if (strcmp(name, "smollm2") == 0)
        snprintf(file, sizeof(file), "models/SmolLM2-135M-Instruct.Q4_1.gguf");
    else if (strcmp(name, "gemma3-270m") == 0)
        snprintf(file, sizeof(file), "models/gemma-3-270m-q4_k_m.gguf");
    else
        snprintf(file, sizeof(file), "vocabs/ggml-vocab-%s.gguf",
                 strcmp(name, "r1-7b") == 0 ? "qwen2" : name);
    cache_path(path, file);
    if (access(path, R_OK) != 0) {
        snprintf(why, 512, "no %.490s", path);
        return false;
    }
    if (gguf_open(g, path, &opts, e))
        return true;
    snprintf(why, 512, "%.500s", e->msg);
    return false;
}

bool vocab_open(struct tok **t, const char *name, char why[512])
{
    struct gguf *g = NULL;
    struct err e = { 0 };
    bool ok;

    if (!source_open(&g, name, why, &e))
        return false;
    ok = strcmp(name, "r1-7b") == 0 ? rebuild_r1(t, g, &e) : tok_new(t, g, &e);
    if (!ok)
        snprintf(why, 512, "%.500s", e.msg);
    gguf_close(g);
    return ok;
}

static int64_t cpu_ns(void)
{
    struct timespec t;

    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

int64_t vocab_load_ns(const char *name)
{
    int64_t best = INT64_MAX;
    struct gguf *g = NULL;
    struct err e = { 0 };
    char why[512];

    if (!source_open(&g, name, why, &e))
        return best;
    for (int i = 0; i < 3; i++) {
        struct tok *t = NULL;
        int64_t start = cpu_ns(), took;

        if (!tok_new(&t, g, &e))
            break;
        took = cpu_ns() - start;
        best = took < best ? took : best;
        tok_free(t);
    }
    gguf_close(g);
    return best;
}
