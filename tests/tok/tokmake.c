// tokmake.c - see tokmake.h.

#include "tok/tokmake.h"

#include <stdlib.h>
#include <string.h>

int tm_token(struct tokmake *v, const char *text, int type, double score)
{
    if (v->n == v->cap) {
        v->cap = v->cap ? v->cap * 2 : 512;
        v->token = xrealloc(v->token, (size_t)v->cap * sizeof(*v->token));
        v->type = xrealloc(v->type, (size_t)v->cap * sizeof(*v->type));
        v->score = xrealloc(v->score, (size_t)v->cap * sizeof(*v->score));
    }
    v->token[v->n] = arena_strdup(&v->a, text);
    v->type[v->n] = type;
    v->score[v->n] = (float)score;
    return v->n++;
}

void tm_merge(struct tokmake *v, const char *line)
{
    if (v->n_merges == v->merges_cap) {
        v->merges_cap = v->merges_cap ? v->merges_cap * 2 : 512;
        v->merge = xrealloc(v->merge, (size_t)v->merges_cap * sizeof(*v->merge));
    }
    v->merge[v->n_merges++] = arena_strdup(&v->a, line);
}

int tm_make(struct tokmake *v, const char *left, const char *right)
{
    tm_merge(v, arena_printf(&v->a, "%s %s", left, right));
    return tm_token(v, arena_printf(&v->a, "%s%s", left, right), TM_NORMAL, 0);
}

void tm_map(char out[4], unsigned byte)
{
    bool itself = (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte <= 0xff && byte != 0xad);
    unsigned c = byte;

    if (!itself) {
        c = 0x100;
        for (unsigned b = 0; b < byte; b++)
            c += !((b >= 0x21 && b <= 0x7e) || (b >= 0xa1 && b <= 0xff && b != 0xad));
    }
    memset(out, 0, 4);
    if (c < 0x80) {
        out[0] = (char)c;
    } else {
        out[0] = (char)(0xc0 | c >> 6);
        out[1] = (char)(0x80 | (c & 0x3f));
    }
}

void tm_bytes(struct tokmake *v)
{
    char text[4];

    for (unsigned b = 0; b < 256; b++) {
        tm_map(text, b);
        tm_token(v, text, TM_NORMAL, 0);
    }
}

void tm_spm_bytes(struct tokmake *v)
{
    char text[8];

    tm_token(v, "<unk>", TM_UNKNOWN, 0);
    tm_token(v, "<s>", TM_CONTROL, 0);
    tm_token(v, "</s>", TM_CONTROL, 0);
    for (unsigned b = 0; b < 256; b++) {
        snprintf(text, sizeof(text), "<0x%02X>", b);
        tm_token(v, text, TM_BYTE, 0);
    }
}

struct gguf_make *tm_keys(struct tokmake *v)
{
    if (!v->has_more)
        gm_init(&v->more);
    v->has_more = true;
    return &v->more;
}

struct tok *tm_open(struct tokmake *v, struct err *e)
{
    struct gguf_make *m = tm_keys(v);
    struct gguf *g = NULL;
    struct tok *t = NULL;

    gm_str(m, "general.architecture", "llama");
    if (v->name)
        gm_str(m, "general.name", v->name);
    if (v->model)
        gm_str(m, "tokenizer.ggml.model", v->model);
    if (v->pre)
        gm_str(m, "tokenizer.ggml.pre", v->pre);
    if (v->n) {
        size_t n = (size_t)v->n;

        gm_strs(m, "tokenizer.ggml.tokens", n, v->token);
        gm_arr(m, "tokenizer.ggml.token_type", GGUF_I32, n, v->type, n * sizeof(*v->type));
        gm_arr(m, "tokenizer.ggml.scores", GGUF_F32, n, v->score, n * sizeof(*v->score));
    }
    if (v->n_merges)
        gm_strs(m, "tokenizer.ggml.merges", (uint64_t)v->n_merges, v->merge);
    if (gm_open(&g, m, e) && !tok_new(&t, g, e))
        t = NULL;
    gguf_close(g);
    gm_done(m);
    arena_done(&v->a);
    free(v->token);
    free(v->type);
    free(v->score);
    free(v->merge);
    *v = (struct tokmake){ 0 };
    return t;
}
