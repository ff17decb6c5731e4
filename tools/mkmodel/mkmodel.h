// mkmodel.h - what the parts of mkmodel share: a GGUF file in the making, and what to make.

#ifndef SNUG_MKMODEL_H
#define SNUG_MKMODEL_H

#include "base/base.h"
#include "gguf/gguf.h"

// --- the file (write.c)
// ---------------------------------------------------------------------------

/// What a tensor's numbers are.
enum fill {
    FILL_MATRIX, // normal, so that a row times a vector of size 1 has size 1
    FILL_NORM,   // about 1
    FILL_BIAS,   // about 0
    FILL_ONES,
};

/// A tensor made of several, each with the numbers that it would have alone: one behind the other,
/// or their rows in turn. A row here is one number of a vector.
enum { JOIN_MOST = 3 };
struct out_join {
    bool in_turn;
    int n;
    const char *from[JOIN_MOST];
    int rows[JOIN_MOST];
};

struct out_tensor {
    char name[64];
    char from[JOIN_MOST][64]; // whose numbers it has; n_from 0: its own
    uint64_t from_rows[JOIN_MOST];
    int n_from;
    bool in_turn;
    enum dtype type;
    enum fill fill;
    int n_dims;
    uint64_t ne[4];
    uint64_t offset;
};

struct out {
    struct buf keys;
    uint64_t n_keys;
    struct out_tensor *tensor;
    int n_tensors, cap;
    uint64_t data_bytes;
};
void out_init(struct out *o);
void out_done(struct out *o);

void out_u32(struct out *o, const char *key, uint32_t v);
void out_f32(struct out *o, const char *key, float v);
void out_bool(struct out *o, const char *key, bool v);
void out_str(struct out *o, const char *key, const char *v);
/// Begins an array of `n` values, which follow by out_raw() or out_raw_str().
void out_arr(struct out *o, const char *key, enum gguf_type type, uint64_t n);
void out_raw(struct out *o, const void *p, size_t n);
void out_raw_str(struct out *o, const char *z);

/// Adds to the directory. Dimensions of 0 are not there; `ne[0]` is the row.
void out_tensor(struct out *o, enum dtype type, enum fill fill, const uint64_t ne[4],
                const char *name);

/// The last tensor added is to be joined from others. Of one: has its numbers, under another name.
void out_joined(struct out *o, const char *prefix, const struct out_join *j);

/// The whole file; tensors are made while they are written. With `random`, quantized blocks are
/// random bytes with sensible scales instead of numbers rounded: 20 times faster.
MUST_CHECK bool out_write(struct out *o, const char *path, uint64_t seed, bool random,
                          struct err *e);
/// The same file, in which all tensors together are one hole: it reads as zeros and takes no room.
MUST_CHECK bool out_write_holes(struct out *o, const char *path, struct err *e);

// --- numbers (fill.c)
// -------------------------------------------------------------------------------

struct rng {
    uint64_t s;
};
uint64_t rng_next(struct rng *r);
float rng_normal(struct rng *r);

/// `n` numbers (whole blocks) of a row of `cols`, as bytes.
void fill_numbers(uint8_t *dst, enum dtype type, enum fill fill, uint64_t cols, uint64_t n,
                  struct rng *r);
/// The same for matrices of quantized types, without rounding any number.
void fill_random(uint8_t *dst, enum dtype type, uint64_t cols, uint64_t n, struct rng *r);

// --- vocabularies (vocab.c)
// -------------------------------------------------------------------------

enum tok_kind { TOK_NONE, TOK_BPE, TOK_SPM };

struct special {
    int id; // -1: the first that is free
    const char *text;
};
/// Writes tokenizer.ggml.tokens, .token_type and .merges or .scores: the specials at their ids, 256
/// bytes, common pieces of English, and unused tokens up to `n`; with `n_merges`, words instead,
/// and so many merges. Returns the number of tokens.
int vocab_write(struct out *o, enum tok_kind kind, int n, int n_merges,
                const struct special *special, int n_special);

// --- what to make
// -----------------------------------------------------------------------------------

struct params {
    const char *arch;
    const char *type; // a number format, or "Q4_K_M"
    enum tok_kind tok;
    bool tok_given, tied, untied, rope_freqs, rope_factors, qk_norm, old_mla, direct_q, grow,
        no_rope, vision;
    // 0: the architecture's default
    int layers, embd, heads, kv_heads, head_dim, head_dim_v, rope_dim, ffn, expert_ffn, vocab;
    int window, ctx, orig_ctx, experts, experts_used, groups, groups_used, shared, lead, rank;
};

/// A tiny model with the keys and tensors that files of the architecture have (arch.c).
MUST_CHECK bool arch_write(struct out *o, const struct params *p, struct err *e);
const char *arch_name(int i); // NULL at the end

/// A real model's shape: keys and tensors as a JSON file lists them (zoo.c). `layers`: only the
/// first ones, if not 0. `merges`: as many as the file lists, not a few.
MUST_CHECK bool zoo_write(struct out *o, const char *path, int layers, bool merges, struct err *e);

extern const char chat_template_chatml[], chat_template_gemma[], chat_template_phi3[];

#endif
