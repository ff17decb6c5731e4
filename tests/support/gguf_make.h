// gguf_make.h - GGUF files for tests, bytes exactly as asked for: well-formed by default, malformed
// where a test changes a field or writes bytes of its own.
//
//     struct gguf_make m;
//     gm_init(&m);
//     gm_str(&m, "general.architecture", "llama");
//     gm_tensor(&m, "token_embd.weight", DTYPE_F32, 2, (uint64_t[]){ 32, 4 });
//     const struct gm_bytes *file = gm_finish(&m);
//     ... file->p, file->n ...
//     gm_done(&m);

#ifndef TESTS_GGUF_MAKE_H
#define TESTS_GGUF_MAKE_H

#include "gguf/gguf.h"

struct gm_bytes {
    uint8_t *p;
    size_t n, cap;
};
void gm_put(struct gm_bytes *b, const void *p, size_t n);
void gm_put_u8(struct gm_bytes *b, uint8_t v);
void gm_put_u16(struct gm_bytes *b, uint16_t v);
void gm_put_u32(struct gm_bytes *b, uint32_t v);
void gm_put_u64(struct gm_bytes *b, uint64_t v);
void gm_put_f32(struct gm_bytes *b, float v);
void gm_put_str(struct gm_bytes *b, const char *z); // length, text
void gm_put_zeros(struct gm_bytes *b, size_t n);

struct gguf_make {
    char magic[4];         // what the header will say: change it
    uint32_t version;      // 3
    uint64_t n_tensors;    // counted by gm_tensor...
    uint64_t n_keys;       // counted by gm_key...
    uint32_t alignment;    // of the data, 32; no key is written for it
    struct gm_bytes keys;  // to append raw bytes to
    struct gm_bytes infos; // the directory
    struct gm_bytes data;  // tensors' bytes
    struct gm_bytes file;  // after gm_finish()
    size_t data_at;        // in it
};
void gm_init(struct gguf_make *m);
void gm_done(struct gguf_make *m);

/// Name and type of a key, counted; its value is put into m->keys by the caller.
void gm_key(struct gguf_make *m, const char *name, uint32_t type);
void gm_u8(struct gguf_make *m, const char *name, uint8_t v);
void gm_u16(struct gguf_make *m, const char *name, uint16_t v);
void gm_u32(struct gguf_make *m, const char *name, uint32_t v);
void gm_i32(struct gguf_make *m, const char *name, int32_t v);
void gm_u64(struct gguf_make *m, const char *name, uint64_t v);
void gm_i64(struct gguf_make *m, const char *name, int64_t v);
void gm_f32(struct gguf_make *m, const char *name, float v);
void gm_f64(struct gguf_make *m, const char *name, double v);
void gm_bool(struct gguf_make *m, const char *name, bool v);
void gm_str(struct gguf_make *m, const char *name, const char *v);
/// `n` numbers of `bytes` in all.
void gm_arr(struct gguf_make *m, const char *name, uint32_t type, uint64_t n, const void *p,
            size_t bytes);
void gm_strs(struct gguf_make *m, const char *name, uint64_t n, const char *const *v);

/// A tensor with its data, a pattern that differs from tensor to tensor; returns its offset.
/// `type` is a number format of this build.
uint64_t gm_tensor(struct gguf_make *m, const char *name, uint32_t type, uint32_t n_dims,
                   const uint64_t *ne);
/// The same with bytes of the caller's (NULL: zeroes), `bytes` as they say.
uint64_t gm_tensor_data(struct gguf_make *m, const char *name, uint32_t type, uint32_t n_dims,
                        const uint64_t *ne, const void *p, size_t bytes);
/// Only an entry of the directory, as the arguments say.
void gm_info(struct gguf_make *m, const char *name, uint32_t type, uint32_t n_dims,
             const uint64_t *ne, uint64_t offset);

/// Header, keys, directory, padding, data: m->file. May be called again after changes.
const struct gm_bytes *gm_finish(struct gguf_make *m);
/// gm_finish() into a file; ends the process with a message on failure.
void gm_write(struct gguf_make *m, const char *path);
void gm_write_bytes(const char *path, const void *p, size_t n);

/// gguf_open_mem() of gm_finish().
MUST_CHECK bool gm_open(struct gguf **out, struct gguf_make *m, struct err *e);

/// A new folder below $TMPDIR, and it removed with the files in it. free() what gm_dir returns.
char *gm_dir(void);
void gm_dir_remove(const char *dir);

#endif
