// pre.h - pre-tokenizers: how text is cut into words before byte pairs are merged.
//
// A pre-tokenizer is a list of expressions. The first cuts the text, each further one cuts the
// pieces of the one before; what lies between two matches is a piece too. The expressions are those
// of the models' own tokenizer.json files; here they are scanners written by hand: one pass, no
// stack.

#ifndef SNUG_TOK_PRE_H
#define SNUG_TOK_PRE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PRE_STAGES 6

struct stage;

enum pre_flags {
    PRE_WHOLE_WORDS = 1,  // a word that is a token is that token, whatever the merges say
    PRE_CLEAN_SPACES = 2, // decoding takes out the spaces before punctuation
    PRE_ADD_BOS = 4,      // where the file does not say
    PRE_SPACED = 8,       // spaces are U+2581, bytes are not mapped: SentencePiece's alphabet
};

struct pre {
    const char *name; // tokenizer.ggml.pre
    unsigned flags;
    const struct stage *stage[PRE_STAGES];
};

/// NULL if there is none of that name. Names are matched as a whole.
const struct pre *pre_find(const char *name, size_t n);

/// Walks the words of [at, end): text that went through utf8_repair().
struct pre_words {
    const struct pre *pre;
    const uint8_t *at;
    const uint8_t *end[PRE_STAGES + 1]; // of the text, then of the current piece of each stage
};
void pre_start(struct pre_words *w, const struct pre *pre, const uint8_t *text, size_t n);
/// The next word: never empty. False at the end.
bool pre_next(struct pre_words *w, const uint8_t **word, size_t *n);

#endif
