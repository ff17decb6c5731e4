// scan.h - one expression of a pre-tokenizer, as a function.

#ifndef SNUG_TOK_SCAN_H
#define SNUG_TOK_SCAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/// An expression: a scanner and what it is to look for. Which fields count is said at each scanner.
struct stage {
    /// The end of the piece that begins at p: a match, or what lies before the next one. p < end.
    const uint8_t *(*scan)(const struct stage *s, const uint8_t *p, const uint8_t *end);
    uint32_t set;               // classes (uni.h)
    const uint32_t (*range)[2]; // and code points, ascending
    unsigned n_ranges;
    unsigned max;      // numbers: so many digits at a time, 0 for all
    uint32_t letters;  // of a word
    uint32_t no_start; // cannot stand before a word
    uint32_t no_punct; // ends a run of punctuation
    const char *tail;  // ASCII that may follow a run of punctuation
    bool space;        // one white space may come first
    bool contractions; // 's 't 're 've 'm 'll 'd in any case are pieces of their own
    bool cased;        // words end where small letters are followed by capitals
    bool suffixes;     // contractions stay with their word
};

/// GPT-2: 's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+
const uint8_t *scan_gpt2(const struct stage *s, const uint8_t *p, const uint8_t *end);

/// cl100k and its many children:
///   (?i:'s|'t|'re|'ve|'m|'ll|'d)                    contractions
///   |[^\r\n no_start]?[letters]+                    or, where cased, the two forms of o200k
///   |\p{N}{1,max}
///   | ?[^no_punct]+[tail]*
///   |\s*[\r\n]+|\s+(?!\S)|\s+
const uint8_t *scan_words(const struct stage *s, const uint8_t *p, const uint8_t *end);

/// DeepSeek V3, the last of its three:
///   [ASCII punctuation][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*
///   |\s*[\r\n]+|\s+(?!\S)|\s+
const uint8_t *scan_deepseek3(const struct stage *s, const uint8_t *p, const uint8_t *end);

const uint8_t *scan_numbers(const struct stage *s, const uint8_t *p,
                            const uint8_t *end); // \p{N}{1,max}
const uint8_t *scan_set(const struct stage *s, const uint8_t *p,
                        const uint8_t *end); // \s?[set range]+
const uint8_t *scan_not_set(const struct stage *s, const uint8_t *p,
                            const uint8_t *end); //  ?[^set range]+
const uint8_t *scan_newline(const struct stage *s, const uint8_t *p, const uint8_t *end); // [\r\n]
const uint8_t *scan_lines(const struct stage *s, const uint8_t *p,
                          const uint8_t *end); // [^\n]+|[\n]+
const uint8_t *scan_trailing(const struct stage *s, const uint8_t *p, const uint8_t *end); // \s+$
const uint8_t *scan_triples(const struct stage *s, const uint8_t *p,
                            const uint8_t *end); // [0-9]{3}

#endif
