// base.h - what every folder may use: errors, memory, checked arithmetic, files, time, log.
//
// Nothing here knows what a model is. Nothing here keeps global state but the log level.

#ifndef SNUG_BASE_H
#define SNUG_BASE_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#define SNUG_VERSION "0.1.0"

#define MUST_CHECK        __attribute__((warn_unused_result))
#define PRINTF_LIKE(a, b) __attribute__((format(printf, a, b)))
#define ARRAY_LEN(a)      (sizeof(a) / sizeof((a)[0]))

/// Stays on in release builds. For promises between our own functions, never for bytes from
/// outside.
#define ASSERT(x) ((x) ? (void)0 : assert_failed(#x, __FILE__, __LINE__))
_Noreturn void assert_failed(const char *what, const char *file, int line);

// --- errors -------------------------------------------------------------------------------------

enum err_code {
    ERR_NONE,
    ERR_ARG,         // the caller asked for something that makes no sense
    ERR_FORMAT,      // bytes from outside are malformed
    ERR_UNSUPPORTED, // well-formed, but not something this build can do
    ERR_NOTFOUND,
    ERR_IO,
    ERR_NOMEM, // host memory, or a device's allocator said no
    ERR_NOFIT, // a plan does not fit the devices it was given
    ERR_DEVICE,
    ERR_CANCELLED,
};

/// A code for programs and a message for people. Starts as { 0 }; the first err_set wins nothing
/// special: each call overwrites. Messages hold no unescaped bytes from outside (see err_bytes()).
struct err {
    enum err_code code;
    char msg[1024];
};

/// Sets the error and returns false, so that `return err_set(...)` is one line. `e` may be NULL.
bool err_set(struct err *e, enum err_code code, const char *fmt, ...) PRINTF_LIKE(3, 4);
/// Puts "context: " in front of the message; returns false.
bool err_add(struct err *e, const char *fmt, ...) PRINTF_LIKE(2, 3);
const char *err_code_name(enum err_code code); // "format", "nofit", ... for --json

/// Escapes at most `n` bytes from outside for a message ("\x00", quotes, non-ASCII); cuts with
/// "..." Returns `out`, always terminated.
const char *err_bytes(char *out, size_t out_bytes, const void *p, size_t n);

// --- checked arithmetic: sizes that come from a file
// ----------------------------------------------

/// False (and *out untouched) on overflow.
MUST_CHECK bool mul_u64(uint64_t *out, uint64_t a, uint64_t b);
MUST_CHECK bool add_u64(uint64_t *out, uint64_t a, uint64_t b);
/// Rounds up to a multiple of `align`, a power of two. align_up_u64 asserts there is no overflow.
MUST_CHECK bool align_up_checked_u64(uint64_t *out, uint64_t a, uint64_t align);
uint64_t align_up_u64(uint64_t a, uint64_t align);

// --- memory
// ---------------------------------------------------------------------------------------

/// xmalloc family: for sizes of our own making; out of memory ends the process with a message.
/// Sizes from outside are bounded before they come here. free() releases.
void *xmalloc(size_t bytes);
void *xcalloc(size_t n, size_t bytes); // zeroed, product checked
void *xrealloc(void *p, size_t bytes);
char *xstrdup(const char *s);
char *xasprintf(const char *fmt, ...) PRINTF_LIKE(1, 2);
/// 64-byte aligned; free() releases.
void *xaligned(size_t bytes);

/// Many small objects, freed in one call. Not thread safe.
struct arena {
    struct arena_block *head;
    uint64_t bytes; // handed out
};
void *arena_alloc(struct arena *a, size_t bytes); // zeroed, 16-byte aligned
char *arena_strdup(struct arena *a, const char *s);
char *arena_printf(struct arena *a, const char *fmt, ...) PRINTF_LIKE(2, 3);
void arena_done(struct arena *a);

/// Bytes with a length, borrowed.
struct str {
    const char *p;
    size_t n;
};
struct str str_of(const char *z);
bool str_eq(struct str a, struct str b);
bool str_is(struct str a, const char *z);

/// Grows up to a maximum. buf_add* return false when the maximum would be passed (buf unchanged).
struct buf {
    char *p; // always terminated by a 0 that is not counted, once anything was added
    size_t n, cap, max;
};
void buf_init(struct buf *b, size_t max);
MUST_CHECK bool buf_add(struct buf *b, const void *p, size_t n);
MUST_CHECK bool buf_addz(struct buf *b, const char *z);
MUST_CHECK bool buf_printf(struct buf *b, const char *fmt, ...) PRINTF_LIKE(2, 3);
void buf_reset(struct buf *b); // keeps the memory
void buf_done(struct buf *b);

// --- bounded reader over bytes from outside
// -------------------------------------------------------

/// Reads little-endian values; every function returns false at the end instead of reading past it,
/// and then leaves `at` where it was, so that the caller can say at which offset.
struct reader {
    const uint8_t *p;
    uint64_t n, at;
};
MUST_CHECK bool read_u8(struct reader *r, uint8_t *out);
MUST_CHECK bool read_u16(struct reader *r, uint16_t *out);
MUST_CHECK bool read_u32(struct reader *r, uint32_t *out);
MUST_CHECK bool read_u64(struct reader *r, uint64_t *out);
MUST_CHECK bool read_bytes(struct reader *r, uint64_t n, const uint8_t **out); // borrowed

// --- files
// ----------------------------------------------------------------------------------------

/// A read-only view of a file. `own` is set when the bytes were read into memory (--no-mmap).
struct map {
    const uint8_t *p;
    uint64_t bytes;
    uint64_t data_end; // from here on a sparse file is one hole: zeros that need not be read
    bool own;
};
/// Errors: ERR_NOTFOUND, ERR_IO (with the path and the system's reason). Regular files only.
MUST_CHECK bool map_file(struct map *m, const char *path, bool use_mmap, struct err *e);
void map_close(struct map *m);
/// The first `n` bytes will not be read again: their whole pages leave the resident set. A mapping
/// would read them from the file once more, bytes in memory (`own`) are lost.
void map_forget(const struct map *m, uint64_t n);
/// Whole file into memory, refused above `max` bytes; terminated by an uncounted 0. free(*out).
MUST_CHECK bool file_read(char **out, size_t *n, const char *path, size_t max, struct err *e);

// --- time, log, text
// ------------------------------------------------------------------------------

int64_t clock_ns(void); // monotonic

enum log_level { LOG_ERROR, LOG_WARN, LOG_INFO, LOG_DEBUG };
void log_level_set(enum log_level l); // default LOG_WARN; SNUG_LOG=debug|info|warn|error
void log_msg(enum log_level l, const char *fmt, ...) PRINTF_LIKE(2, 3); // one line to stderr

/// "12.3 MiB", "1.20 GiB", "512 B"; always the same unit rule everywhere. Returns `out`.
const char *fmt_bytes(char out[32], uint64_t bytes);
/// "1 234 567": for exact bytes in tables. Returns `out`.
const char *fmt_count(char out[32], uint64_t n);

/// As a JSON string, quoted; bytes that are not UTF-8 become U+FFFD.
MUST_CHECK bool buf_json_text(struct buf *b, const char *p, size_t n);

// --- hash
// -----------------------------------------------------------------------------------------

uint64_t hash_bytes(const void *p, size_t n, uint64_t seed); // not cryptographic; seeded

#endif
