// gguf.h - a model file, opened and checked: keys and a directory of tensors.
//
// Spec: ggml-org/ggml docs/gguf.md. Versions 2 and 3, little endian. Everything from the file is
// checked before it is offered here (tests/gguf: catalogue G-01 ... G-26); after gguf_open() no
// accessor can fail on the file's bytes, only say "no such key" or "not that type".
// All keys, strings and arrays are copied out of the file (a rewrite of it changes nothing), tensor
// data is read from the mapping.

#ifndef SNUG_GGUF_H
#define SNUG_GGUF_H

#include "base/base.h"
#include "num/dtype.h"

struct gguf;

enum gguf_type { // value types, ids as in the file
    GGUF_U8,
    GGUF_I8,
    GGUF_U16,
    GGUF_I16,
    GGUF_U32,
    GGUF_I32,
    GGUF_F32,
    GGUF_BOOL,
    GGUF_STR,
    GGUF_ARR,
    GGUF_U64,
    GGUF_I64,
    GGUF_F64,
    GGUF_TYPE_COUNT
};

struct gguf_opts {
    bool no_mmap;   // read the file into memory instead
    bool head_only; // tensor data may be missing: for planning from a partial file
    bool no_vocab;  // arrays of "tokenizer." are checked, of which only types and lengths are kept
};

/// One tensor of the directory. `ne[0]` is the row length (fastest), unused dimensions are 1.
struct gguf_tensor {
    const char *name; // valid UTF-8 or escaped, terminated, < 64 bytes
    enum dtype type;
    int n_dims; // 1..4
    uint64_t ne[4];
    int file;        // index of the split file
    uint64_t offset; // from the start of that file
    uint64_t bytes;  // exact, unpadded
};

/// Opens `path` and, when its name ends in -00001-of-0000N.gguf, the other parts beside it.
/// opts may be NULL. On success *out is the caller's: gguf_close() it.
/// Errors: ERR_FORMAT with file, byte offset and field; ERR_UNSUPPORTED (version, big endian, a
/// tensor type we do not know); ERR_NOTFOUND, ERR_IO.
MUST_CHECK bool gguf_open(struct gguf **out, const char *path, const struct gguf_opts *opts,
                          struct err *e);
/// The same from memory: for fuzzing, tests, heads fetched elsewhere. `p` must outlive it. Splits
/// are refused.
MUST_CHECK bool gguf_open_mem(struct gguf **out, const void *p, uint64_t n, const char *name,
                              const struct gguf_opts *opts, struct err *e);
void gguf_close(struct gguf *g); // NULL is fine

/// The beginning of a file that is elsewhere.
struct gguf_head {
    const char *name; // for messages, and gguf_path() of the first
    const void *p;    // the first n bytes
    uint64_t n;
    uint64_t file_bytes; // of the whole file, n or more
};
/// How many bytes from the beginning have to be here for the head to be read: at most `n` if it is
/// all here; else as far as can be seen, which may not be all. Never more than `file_bytes`.
/// Errors: ERR_FORMAT, ERR_UNSUPPORTED a head that no more bytes would mend.
MUST_CHECK bool gguf_head_need(const struct gguf_head *h, uint64_t *need, struct err *e);
/// Opens the `n` files of a model, in order, by their heads alone, which are copied. Data that
/// would end behind `file_bytes` is an error: such a file was cut.
MUST_CHECK bool gguf_open_heads(struct gguf **out, const struct gguf_head *head, int n,
                                struct err *e);

const char *gguf_path(const struct gguf *g);
int gguf_n_files(const struct gguf *g);
uint64_t gguf_file_bytes(const struct gguf *g,
                         int file); // as it should be, when only the head is there
uint64_t gguf_data_offset(const struct gguf *g,
                          int file); // where tensor data begins: the head's size
uint32_t gguf_version(const struct gguf *g);
bool gguf_head_only(const struct gguf *g); // some tensor data is missing
/// Hash of the head(s): keys and directory, for fingerprints.
uint64_t gguf_fingerprint(const struct gguf *g);

// Tensors, in file order.
int gguf_n_tensors(const struct gguf *g);
const struct gguf_tensor *gguf_tensor(const struct gguf *g, int i);
int gguf_find_tensor(const struct gguf *g, const char *name); // index or -1; O(1)
/// The tensor's bytes in the mapping; NULL where the data is missing.
const void *gguf_data(const struct gguf *g, int i);
/// Where the data of a file with a hole at its end (a sparse one) ends: from there on it is zeros,
/// which need not be read. Of others, how long they are.
uint64_t gguf_data_end(const struct gguf *g, int file);
/// The whole mapping of one split file: for devices that use it in place.
const void *gguf_file_map(const struct gguf *g, int file, uint64_t *bytes);

// Keys, in file order.
int gguf_n_keys(const struct gguf *g);
const char *gguf_key_name(const struct gguf *g, int i);
enum gguf_type gguf_key_type(const struct gguf *g, int i);
int gguf_find_key(const struct gguf *g, const char *name); // index or -1; O(1)

/// By name. False where the key is missing, or not of a fitting type: any integer type that fits
/// for u32/i64, f32 or f64 (or an integer) for f32; *out is then untouched.
bool gguf_get_u32(const struct gguf *g, const char *name, uint32_t *out);
bool gguf_get_i64(const struct gguf *g, const char *name, int64_t *out);
bool gguf_get_f32(const struct gguf *g, const char *name, float *out);
bool gguf_get_bool(const struct gguf *g, const char *name, bool *out);
bool gguf_get_str(const struct gguf *g, const char *name,
                  struct str *out); // borrowed; also 0-terminated behind n

/// Arrays. Element type GGUF_STR: use gguf_arr_str; bool is one byte each, 0 or 1. Of an array that
/// was not kept (no_vocab) there are type and length, and no elements: NULL, {NULL,0}, false.
struct gguf_arr {
    enum gguf_type type;
    uint64_t n;
    const void *data; // n elements, host byte order, aligned; NULL for strings, or not kept
};
bool gguf_get_arr(const struct gguf *g, const char *name, struct gguf_arr *out);
struct str gguf_arr_str(const struct gguf *g, const char *name,
                        uint64_t i); // {NULL,0} if there is none
/// All strings of an array at once: pointer to n strs, borrowed. NULL if not a string array.
const struct str *gguf_arr_strs(const struct gguf *g, const char *name, uint64_t *n);
/// One element as a number, any numeric or bool type. False if out of range or not a number.
bool gguf_arr_i64(const struct gguf_arr *a, uint64_t i, int64_t *out);
bool gguf_arr_f64(const struct gguf_arr *a, uint64_t i, double *out);

/// A key's value as short text for `snug show`: strings quoted and escaped, long arrays cut.
/// False when `out` is full (what fits is there).
bool gguf_key_text(const struct gguf *g, int i, struct buf *out);

#endif
