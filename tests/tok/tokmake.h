// tokmake.h - vocabularies of a few tokens, written as tests want them.
//
//     struct tokmake v = { .model = "gpt2", .pre = "gpt-2" };
//     tm_bytes(&v);                                 // the 256 bytes, ids 0 to 255
//     tm_token(&v, "\u0120a", TM_NORMAL, 0);
//     tm_merge(&v, "\u0120 a");
//     struct tok *t = tm_open(&v, &e);

#ifndef TESTS_TOK_TM_H
#define TESTS_TOK_TM_H

#include "support/gguf_make.h"
#include "tok/tok.h"

enum { TM_NORMAL = 1, TM_UNKNOWN, TM_CONTROL, TM_USER, TM_UNUSED, TM_BYTE };

struct tokmake {
    const char *model, *pre, *name; // NULL: no such key
    const char **token;
    int32_t *type;
    float *score;
    int n, cap;
    const char **merge;
    int n_merges, merges_cap;
    struct arena a;
    struct gguf_make more; // keys to come after, by tm_keys()
    bool has_more;
};

int tm_token(struct tokmake *v, const char *text, int type, double score); // copies text; its id
void tm_merge(struct tokmake *v, const char *line);
/// A merge and the token that it makes; its id.
int tm_make(struct tokmake *v, const char *left, const char *right);
/// The 256 bytes in GPT-2's alphabet.
void tm_bytes(struct tokmake *v);
/// <unk> <s> </s> and the 256 byte tokens of SentencePiece: ids 0 to 258.
void tm_spm_bytes(struct tokmake *v);
/// A byte in GPT-2's alphabet; terminated.
void tm_map(char out[4], unsigned byte);
/// To add keys with gm_...().
struct gguf_make *tm_keys(struct tokmake *v);
/// NULL if tok_new() refuses it. Frees what `v` holds.
struct tok *tm_open(struct tokmake *v, struct err *e);

#endif
