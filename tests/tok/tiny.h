// tiny.h - vocabularies of a few tokens, written as tests want them.
//
//     struct tiny v = { .model = "gpt2", .pre = "gpt-2" };
//     tiny_bytes(&v);                                 // the 256 bytes, ids 0 to 255
//     tiny_token(&v, "\u0120a", TINY_NORMAL, 0);
//     tiny_merge(&v, "\u0120 a");
//     struct tok *t = tiny_open(&v, &e);

#ifndef TESTS_TOK_TINY_H
#define TESTS_TOK_TINY_H

#include "support/gguf_make.h"
#include "tok/tok.h"

enum { TINY_NORMAL = 1, TINY_UNKNOWN, TINY_CONTROL, TINY_USER, TINY_UNUSED, TINY_BYTE };

struct tiny {
    const char *model, *pre, *name; // NULL: no such key
    const char **token;
    int32_t *type;
    float *score;
    int n, cap;
    const char **merge;
    int n_merges, merges_cap;
    struct arena a;
    struct gguf_make more; // keys to come after, by tiny_keys()
    bool has_more;
};

int tiny_token(struct tiny *v, const char *text, int type, double score); // copies text; its id
void tiny_merge(struct tiny *v, const char *line);
/// A merge and the token that it makes; its id.
int tiny_make(struct tiny *v, const char *left, const char *right);
/// The 256 bytes in GPT-2's alphabet.
void tiny_bytes(struct tiny *v);
/// <unk> <s> </s> and the 256 byte tokens of SentencePiece: ids 0 to 258.
void tiny_spm_bytes(struct tiny *v);
/// A byte in GPT-2's alphabet; terminated.
void tiny_map(char out[4], unsigned byte);
/// To add keys with gm_...().
struct gguf_make *tiny_keys(struct tiny *v);
/// NULL if tok_new() refuses it. Frees what `v` holds.
struct tok *tiny_open(struct tiny *v, struct err *e);

#endif
