// tok_int.h - what the files of this folder share.
//
//   vocab.c    reads a file's keys into struct tok
//   names.c    tokens known by their text: those that end a generation, fill-in-the-middle marks
//   table.c    texts to ids, pairs of ids to merges
//   special.c  finds control and user-defined tokens in a text
//   merge.c    one word to ids
//   queue.c    which pair of a word merges next
//   encode.c   a text to ids: special tokens, words, a cache of words
//   decode.c   ids to text
//   pre.c, scan.c, uni.c    words and characters; they know no vocabulary

#ifndef SNUG_TOK_INT_H
#define SNUG_TOK_INT_H

#include "gguf/gguf.h"
#include "tok/pre.h"
#include "tok/queue.h"
#include "tok/tok.h"

#define NO_ID UINT32_MAX

// Far above all real vocabularies. Not limits of the format: passing one is "unsupported".
enum {
    MAX_TOKENS = 1 << 22,
    MAX_MERGES = 1 << 24,
    MAX_KEY_BYTES = 1 << 14, // longer tokens are there, but no word becomes one
};

/// What kind of token it is. The first six are those of the file, as bits.
enum tok_attr {
    ATTR_UNKNOWN = 1,
    ATTR_UNUSED = 2,
    ATTR_NORMAL = 4,
    ATTR_CONTROL = 8,
    ATTR_USER = 16,
    ATTR_BYTE = 32,
    ATTR_RSTRIP = 64, // swallows the white space after it
    ATTR_EOG = 128,
    ATTR_HIDDEN = ATTR_UNKNOWN | ATTR_CONTROL, // found and printed only when asked for
    ATTR_SPECIAL = ATTR_HIDDEN | ATTR_USER,    // taken out of the text before words are cut
};

/// Many byte strings one behind the other: string i is p[at[i]] up to p[at[i + 1]].
struct texts {
    char *p;
    uint32_t *at;
};

/// Texts to ids. A slot holds an id and some bits of the text's hash, so that a text that is not
/// there is seldom compared; NO_ID where empty.
struct table {
    uint32_t *slot;
    uint32_t mask; // slots - 1, a power of two
    uint32_t id_mask;
};

/// Two neighbours that become one token. The first line of the file has rank 0 and goes first.
struct merge {
    uint32_t left, right, id;
};

/// Special tokens sorted by their bytes, for one walk down instead of one search each.
struct specials {
    uint32_t *id;
    uint32_t n;
    uint32_t first[257]; // where those that begin with a byte begin
    uint32_t longest;    // bytes
};

struct tok {
    int n;
    bool spm;    // scores instead of merges
    bool spaced; // U+2581 for spaces, characters instead of bytes, <0xXX> for what is no token
    bool space_prefix;
    bool add_bos, add_eos;
    bool clean_spaces, whole_words;
    const struct pre *pre; // NULL for spm
    int32_t bos, eos, unk;
    uint64_t seed; // of the tables: nobody can write a file whose texts all collide
    char kind[40];

    uint8_t *attr;         // enum tok_attr
    struct texts text;     // what words are compared with
    struct texts piece;    // what is printed; the same memory where that is the same
    struct table table;    // of those that words can become
    uint32_t byte_id[256]; // the token for a byte that is in no other; NO_ID

    struct merge *merge; // BPE, by rank
    struct table pairs;
    uint32_t *order; // SPM: smaller goes first

    uint32_t longest;      // bytes of the longest text in `table`
    uint32_t char_id[128]; // the tokens that are one ASCII character; NO_ID

    struct specials all, user;
    bool cut_after[256]; // a U+2581 begins a new word after this byte: no token goes across
};

static inline struct str texts_get(const struct texts *t, uint32_t i)
{
    return (struct str){ t->p + t->at[i], t->at[i + 1] - t->at[i] };
}

// --- table.c

uint64_t text_hash(const void *p, size_t n, uint64_t seed);
/// Makes room for `n` entries with ids below `n_ids`.
void table_init(struct table *t, uint32_t n, uint32_t n_ids);
/// Enters an id, its text's hash being h. Where two texts are equal the first stays.
void table_add_text(struct table *t, const struct texts *texts, uint32_t id, uint64_t h);
uint32_t table_find_text(const struct table *t, const struct texts *texts, const void *p, size_t n,
                         uint64_t seed);
/// The same where the hash is known.
uint32_t table_find_hashed(const struct table *t, const struct texts *texts, const void *p,
                           size_t n, uint64_t h);
/// For look-ups that come soon: most of a look-up's time is waiting for memory.
void table_prefetch(const struct table *t, uint64_t h);
void table_prefetch_pair(const struct table *t, uint32_t left, uint32_t right, uint64_t seed);
/// The rank (index in `m`) of a pair; NO_ID where there is none.
uint32_t table_find_pair(const struct table *t, const struct merge *m, uint32_t left,
                         uint32_t right, uint64_t seed);
/// Enters m[rank]; false if there is an equal pair already.
bool table_add_pair(struct table *t, const struct merge *m, uint32_t rank, uint64_t seed);

// --- names.c

/// What a token's text says about it, whatever the file says.
enum name_kind {
    NAME_EOG = 1,       // ends a generation
    NAME_FIM = 2,       // a fill-in-the-middle mark: control
    NAME_FIM_PAD = 4,   // the first of its kind ends a generation
    NAME_FIM_REPO = 8,  // as well
    NAME_FIM_FILE = 16, // as well
    NAME_SHOWN = 32,    // gpt-oss: printed always
    NAME_END = 64,      // <|end|>: no end where others are there
    NAME_RETURN = 128,
    NAME_CALL = 256,
    NAME_FLUSH = 512,
    NAME_S = 1024, // </s>: a normal token where one of the next is there
    NAME_NOT_S = 2048,
};
unsigned name_kind(struct str text);

// --- special.c

void specials_init(struct specials *s, const struct tok *t, const struct texts *raw,
                   bool user_only);
void specials_done(struct specials *s);
/// The longest one that begins at p and has at most `n` bytes; its bytes, 0 if there is none.
uint32_t specials_at(const struct specials *s, const struct texts *raw, const uint8_t *p, size_t n,
                     uint32_t *id);

// --- merge.c

/// Working space of one call of tok_encode(), kept from word to word.
struct merge_space {
    uint32_t *mem;
    size_t cap;
    struct queue queue;
};
void merge_space_done(struct merge_space *s);

/// Appends the ids of one word.
void merge_word(const struct tok *t, struct merge_space *s, const uint8_t *p, size_t n,
                struct tok_ids *out);

static inline void ids_push(struct tok_ids *ids, uint32_t id)
{
    if (ids->n == ids->cap) {
        ids->cap = ids->cap ? ids->cap * 2 : 64;
        ids->id = xrealloc(ids->id, ids->cap * sizeof(*ids->id));
    }
    ids->id[ids->n++] = (int32_t)id;
}

#endif
