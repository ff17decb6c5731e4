// gguf_int.h - what the files of this folder share.
//
// Opening a file, in order:
//   head.c    walks the head in the mapping (where does it end? is it all there?), copies it into
//             memory of our own, walks the copy again and keeps what it finds. Everything offered
//             later is in that copy, so nothing can change after it was checked. For a plan, the
//             elements of the vocabulary's arrays, nearly all of a head, are left out of the copy.
//   tensors.c checks what the directory says: sizes, bounds, overlaps.
//   gguf.c    does that for each file of a split one, and joins their tensors.

#ifndef SNUG_GGUF_INT_H
#define SNUG_GGUF_INT_H

#include "gguf/gguf.h"

// Far above all real files (the largest head known has 17 MiB, 2 million strings, 100 keys), and
// low enough that a hostile file costs little. Not limits of the format, so passing one is
// "unsupported".
enum {
    MAX_KEYS = 1 << 16,
    MAX_TENSORS = 1 << 16,
    MAX_FILES = 1024,
    MAX_HEAD_BYTES = 128 << 20,
    MAX_STRINGS = 1 << 23, // of one head's arrays, all together
    MAX_ALIGNMENT = 1 << 20,
    MAX_GAPS = 8, // there are four or five; behind that arrays are kept
};
#define MAX_FILE_BYTES ((uint64_t)INT64_MAX) // offsets of the system are signed

/// A key's value. Text, numbers of arrays and the strs are in the head's copy or in `strs`.
struct value {
    enum gguf_type type;
    enum gguf_type elem; // of an array
    uint64_t n;          // bytes of a string, elements of an array
    union {
        uint64_t u; // U8 ... U64, BOOL
        int64_t i;  // I8 ... I64
        float f;
        double d;
        const char *text;      // STR
        const void *data;      // ARR of anything but STR
        const struct str *str; // ARR of STR
    };
};

/// Names to numbers: open addressing, half empty at least, with a seed that nobody can know.
struct index {
    const struct str *names; // borrowed
    struct index_slot *slots;
    uint32_t mask; // slots - 1, a power of two
    uint64_t seed;
};
/// Builds the table of `n` names. If two are equal: false, *twice is the later one.
bool gguf_index_make(struct index *ix, const struct str *names, int n, uint64_t seed, int *twice);
int gguf_index_find(const struct index *ix, struct str name); // -1 if it is not there
void gguf_index_done(struct index *ix);
uint64_t gguf_index_seed(void);

/// A tensor of one file while it is checked.
struct entry {
    struct gguf_tensor t;
    struct str name;
    uint32_t at; // of its offset field in the head
};

/// The elements of an array of the vocabulary, as the first walk found them.
struct gap {
    uint64_t at, bytes; // in the file
    uint64_t n;
    enum gguf_type elem;
};

/// One file.
struct part {
    char *path; // for messages: as given, escaped
    struct map map;
    bool mapped;    // the map is ours to close
    uint64_t full;  // bytes of the file where the map is only its beginning, else 0
    uint64_t need;  // set where reading a head failed: it goes on at least to here
    uint64_t bytes; // as it should be
    uint8_t *copy;  // of the head, without the gaps where the vocabulary is not kept
    uint64_t head_bytes;
    bool no_vocab;
    int n_gaps;
    struct gap gap[MAX_GAPS];
    uint64_t left_out; // bytes of all gaps that are not in the copy
    uint64_t hash;     // of the head
    uint64_t data_at;
    uint64_t alignment;

    int n_keys;
    struct str *key_names;
    struct value *values;
    uint32_t *key_at; // where each key begins
    struct index keys;

    int n_tensors;
    struct entry *tensors; // until they are joined
    struct str **strs;     // one allocation for each array of strings
    int n_strs;
    uint32_t version;
};

struct gguf {
    char *path; // as given
    int n_parts;
    struct part *parts;
    int n_tensors;
    struct gguf_tensor *tensors;
    struct str *tensor_names;
    struct index tensor_index;
    uint64_t seed;
    bool head_only;
};

/// Reads the head of `p->map`: all but the tensors' bounds. `arch` is the first file's
/// architecture; NULL for the first file itself.
MUST_CHECK bool gguf_head_read(struct part *p, const struct value *arch, uint64_t seed,
                               struct err *e);
/// Where the head of `p->map` ends, or, where more of it is needed, how far at least it goes.
MUST_CHECK bool gguf_head_end(struct part *p, uint64_t *end, struct err *e);
uint64_t gguf_part_full(const struct part *p); // bytes of the whole file
void gguf_part_done(struct part *p);
/// The value of `name` in this file; NULL if there is none.
const struct value *gguf_part_value(const struct part *p, const char *name);
/// Any integer that is not negative; false otherwise.
bool gguf_value_u64(const struct value *v, uint64_t *out);

/// Type, dimensions and size of a tensor as the file has them (`dims` of n_dims, `type`), checked,
/// into `t`. On failure says why, without the place, which the caller knows.
MUST_CHECK bool gguf_tensor_shape(struct gguf_tensor *t, const uint64_t *dims, uint32_t n_dims,
                                  uint32_t type, bool is_gptoss, struct err *why);
/// Makes offsets absolute; checks alignment, bounds (unless data may be missing) and overlaps.
MUST_CHECK bool gguf_tensors_place(struct part *p, bool head_only, struct err *e);

/// False, with "FILE: byte AT: " in front of the message.
bool gguf_bad_at(struct err *e, enum err_code code, const struct part *p, uint64_t at,
                 const char *fmt, ...) PRINTF_LIKE(5, 6);

/// Length of the valid UTF-8 character at p, 0 if it is none (RFC 3629), its code point to *out.
size_t gguf_utf8_char(const char *p, size_t n, uint32_t *out);
/// May be shown as it is: no controls, nothing that turns text round.
bool gguf_printable(uint32_t code_point);

#endif
