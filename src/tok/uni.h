// uni.h - UTF-8 and the classes of code points that pre-tokenizers ask for.

#ifndef SNUG_TOK_UNI_H
#define SNUG_TOK_UNI_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/// Unicode general categories, joined where no expression tells them apart. White space is a class
/// of its own (the property White_Space), so every code point has exactly one.
enum uni_cat {
    UNI_END, // behind the text: in no set
    UNI_LU,
    UNI_LL,
    UNI_LT,
    UNI_LM,
    UNI_LO,
    UNI_M,
    UNI_N,
    UNI_P,
    UNI_S,
    UNI_WS,
    UNI_OTHER,
};

/// Sets of classes: bit masks.
#define IS(cat)  (1u << UNI_##cat)
#define IS_L     (IS(LU) | IS(LL) | IS(LT) | IS(LM) | IS(LO))
#define IS_UPPER (IS(LU) | IS(LT) | IS(LM) | IS(LO) | IS(M)) // can be in a word's capital part
#define IS_LOWER (IS(LL) | IS(LM) | IS(LO) | IS(M))          // can be in its small part

extern const uint8_t uni_index[4352];
extern const char uni_block[][256];

/// The class of `c` (< 0x110000) as a set of one.
static inline uint32_t uni_set(uint32_t c)
{
    return 1u << (uni_block[uni_index[c >> 8]][c & 255] & 31);
}

/// Bytes of the character that begins with byte `b`, going by `b` alone; 1 for what begins none.
static inline uint32_t utf8_len(uint8_t b)
{
    return b < 0xc0 ? 1 : b < 0xe0 ? 2 : b < 0xf0 ? 3 : 4;
}

/// The character at p, of text that went through utf8_repair(); *len is its bytes.
static inline uint32_t utf8_get(const uint8_t *p, uint32_t *len)
{
    if (p[0] < 0x80) {
        *len = 1;
        return p[0];
    }
    if (p[0] < 0xe0) {
        *len = 2;
        return (p[0] & 0x1fu) << 6 | (p[1] & 0x3fu);
    }
    if (p[0] < 0xf0) {
        *len = 3;
        return (p[0] & 0x0fu) << 12 | (p[1] & 0x3fu) << 6 | (p[2] & 0x3fu);
    }
    *len = 4;
    return (p[0] & 0x07u) << 18 | (p[1] & 0x3fu) << 12 | (p[2] & 0x3fu) << 6 | (p[3] & 0x3fu);
}

/// Writes `c` (< 0x110000) in its shortest form; returns its bytes, at most 4.
uint32_t utf8_put(uint8_t *out, uint32_t c);

/// Length of the part of [p, p + n) that utf8_get() can read as it is: whole characters in their
/// shortest form below 0x110000. Surrogates count as characters: byte-level BPE carries them
/// through.
size_t utf8_good(const uint8_t *p, size_t n);

/// Writes `n` bytes so that all of them are such characters: forms that are too long become the
/// character they mean, other bad bytes U+FFFD each. `out` has room for 3 * n. Returns bytes
/// written.
size_t utf8_repair(uint8_t *out, const uint8_t *p, size_t n);

/// What a stream of bytes does next, for output that must be valid UTF-8 at all times (surrogates
/// are not): `n` bytes are held, b comes after them.
enum utf8_step { UTF8_MORE, UTF8_WHOLE, UTF8_BAD };
enum utf8_step utf8_step(const uint8_t *held, int n, uint8_t b);

#endif
