// tok.h - one vocabulary: text to token ids, and back.
//
// Kinds: byte-level BPE ("gpt2") with a pre-tokenizer named by tokenizer.ggml.pre, and
// SentencePiece BPE with scores and byte fallback ("llama"). Time is linear or n log n in the text,
// whatever it is; nothing recurses. Immutable after tok_new(), so it can be used from many threads
// at once.

#ifndef SNUG_TOK_H
#define SNUG_TOK_H

#include "base/base.h"

struct gguf;
struct tok;

/// Reads the vocabulary keys of `g`. On success *out is the caller's.
/// Errors: ERR_FORMAT names the key; ERR_UNSUPPORTED an unknown model or pre-tokenizer.
MUST_CHECK bool tok_new(struct tok **out, const struct gguf *g, struct err *e);
void tok_free(struct tok *t);

enum tok_flags {
    TOK_ADD_SPECIAL = 1,   // BOS / EOS as the file asks
    TOK_PARSE_SPECIAL = 2, // control tokens written in the text become those tokens
};

struct tok_ids {
    int32_t *id;
    size_t n, cap;
};
void tok_ids_done(struct tok_ids *ids);

/// Appends the ids of `text` (any bytes, also invalid UTF-8 and zeros) to *out.
/// What the vocabulary cannot express becomes its unknown token, or is left out where there is
/// none. Errors: ERR_ARG text above 1 GiB.
MUST_CHECK bool tok_encode(const struct tok *t, const char *text, size_t n, unsigned flags,
                           struct tok_ids *out, struct err *e);

/// A part of a text: `n` bytes, and whether control tokens may be written in it.
struct tok_span {
    size_t n;
    bool plain; // text from a user: only user-defined tokens are found in it
};

/// The same for a text whose parts are not equally trusted, one behind the other: words and
/// user-defined tokens go across their borders, so that the ids are those of the text as a whole;
/// control tokens do not. Of the flags only TOK_ADD_SPECIAL counts.
MUST_CHECK bool tok_encode_spans(const struct tok *t, const char *text, const struct tok_span *span,
                                 size_t n_spans, unsigned flags, struct tok_ids *out,
                                 struct err *e);

/// The bytes one token stands for; control tokens give their text when `special`, else nothing.
/// Borrowed; {NULL,0} for ids out of range. Tokens of byte kind give one byte.
struct str tok_piece(const struct tok *t, int32_t id, bool special);

/// Text of a sequence, as the reference detokenizer writes it (a leading space that encoding put
/// there is taken off). False when `out` reached its maximum.
MUST_CHECK bool tok_decode(const struct tok *t, const int32_t *id, size_t n, bool special,
                           struct buf *out);

/// Streaming: adds one token's bytes and hands out those that are complete UTF-8; an incomplete
/// character waits for the next token, an impossible one comes out as U+FFFD.
struct tok_stream {
    char held[8];
    int n_held;
    bool started; // the first piece loses the space that encoding added
    bool lead;    // strip that space (set for spm with add_space_prefix)
};
MUST_CHECK bool tok_stream_add(struct tok_stream *s, const struct tok *t, int32_t id, bool special,
                               struct buf *out);
MUST_CHECK bool tok_stream_end(struct tok_stream *s, struct buf *out);

int tok_n_vocab(const struct tok *t);
int32_t tok_bos(const struct tok *t); // -1 where there is none
int32_t tok_eos(const struct tok *t);
bool tok_is_eog(const struct tok *t,
                int32_t id); // ends a generation: eos, eot, eom, <end_of_turn>, ...
bool tok_is_control(const struct tok *t, int32_t id);
bool tok_adds_bos(const struct tok *t);
bool tok_adds_space(const struct tok *t); // encoding puts a space before the text: tok_stream.lead
/// Id of the token whose text is exactly `text`, or -1. SentencePiece's spaces are U+2581.
int32_t tok_find(const struct tok *t, const char *text, size_t n);
const char *tok_kind(const struct tok *t); // "bpe/smollm", "spm": for show

#endif
