// matmul.h - matrix products on the CPU: their kernels, and the inner functions that differ by
// instruction set.
//
// The definition is ref/matmul.c. The kernels in matmul.c share the work out and call the functions
// below, which give the same bits (docs/numerics.md):
//
//   gemv   few tokens: weights are used where they are, row by row, at the speed of memory
//   gemm   many tokens: 16 weight rows at a time are expanded once (struct dtype_info),
//   interleaved,
//          then multiplied with all tokens of the batch, which were packed once
//
// Quantized weights ("a8") have 8 chains by groups of 32, float weights ("f32") 16 chains.

#ifndef SNUG_CPU_MATMUL_H
#define SNUG_CPU_MATMUL_H

#include "dev/dev.h"
#include "num/dtype.h"

enum {
    MM_ROWS = 16,         // weight rows of a tile: the lanes of a gemm
    MM_CHAINS = 8,        // of a quantized product
    MM_FLOAT_CHAINS = 16, // of a float product
    MM_GEMV_TOKENS = 4,   // a gemv takes at most so many
    MM_FEW_TOKENS = 16,   // so many are a gemv's work, some at a time, at most
    MM_GEMV_ROWS = 8,     // and works on so many rows at a time
    MM_TYPES = DTYPE_COUNT,
};

/// Sizes of a product for given values of the symbols.
struct mm_shape {
    int64_t rows, cols, tokens;
    enum dtype type;
};
struct mm_shape mm_shape(const struct node *n, const struct dims *v);

/// Where results go: y[t * stride + r] = sum + bias[r] + res[t * stride + r]. All at the first row
/// and token.
struct mm_out {
    float *y;
    int64_t stride;
    const float *bias, *res; // NULL where the node has none
};

// --- gemv -----------------------------------------------------------------------------------

/// 256 activations as a gemv takes them; what is past the end of a row is zero. The orders are the
/// format's: that in which its numbers are unpacked, and that in which its sums come out, for two
/// rows side by side.
struct gemv_x {
    int8_t q[256];
    float d[2 * MM_CHAINS], s[2 * MM_CHAINS];
    int32_t zero[2 * MM_CHAINS]; // -zero * sum of the group
    int16_t half[2 * MM_CHAINS]; // sum of each half of a group, in natural order
    uint8_t unused[32];
};
_Static_assert(sizeof(struct gemv_x) == 512, "gemv_x");

static inline int64_t gemv_blocks(int64_t cols)
{
    return (cols + 255) / 256;
}

struct gemv_args {
    const struct dtype_info *type;
    void (*expand)(const struct expanded *dst, const void *src, int64_t n);
    const uint8_t *w;       // first row
    int64_t w_bytes;        // of a row
    const struct gemv_x *x; // [n_tokens][gemv_blocks(cols)], from `prepare`
    int64_t n_rows, cols;
    int n_tokens;
    struct mm_out out;
};

/// For one format and instruction set.
struct gemv {
    void (*prepare)(struct gemv_x *dst, struct a8_row x, int64_t cols, int zero);
    void (*run)(const struct gemv_args *a);
};

// --- gemm of expanded weights ---------------------------------------------------------------
//
// Groups lie chain by chain: all groups of chain 0 in order, then those of chain 1, ... For each:
//
//   a tile (MM_ROWS rows)   u8 u[8][rows][4]; f32 d[rows];
//                           with a minimum: f32 -m[rows], or -m[2][rows] where sub16;
//                           where sub16: i32 s[2][rows]
//   a block (T tokens)      s8 q[8][T][4]; f32 d[T];
//                           with a minimum: f32 s[T], or d * sum of each half [2][T] where sub16;
//                           else: i32 -zero * sum of the group [T], or of halves [2][T] where sub16

/// What a group's data are, by format. No format has both a zero and a minimum.
struct gemm_kind {
    bool sub16, has_min;
    uint8_t zero;
};
static inline int64_t gemm_w_bytes(struct gemm_kind k) // of a group in a tile
{
    return MM_ROWS * 4 * (8 + 1 + (k.has_min ? k.sub16 ? 2 : 1 : 0) + (k.sub16 ? 2 : 0));
}
static inline int64_t gemm_x_bytes(struct gemm_kind k, int tokens) // of a group in a block
{
    return tokens * 4 * (8 + 1 + (k.sub16 ? 2 : 1));
}

struct gemm_args {
    struct gemm_kind kind;
    const void *w; // a tile
    const void *x; // a block of `block` tokens
    int64_t n_groups;
    int block;            // tokens of the block, a multiple of 4
    int n_rows, n_tokens; // that have a result
    struct mm_out out;
};

struct gemm {
    int block, block_sub16; // most tokens of a block, a multiple of 4
    /// A block of `block` tokens of which the first n are there; the others hold anything.
    void (*pack)(void *dst, const struct a8_row *rows, int n, int block, int64_t cols,
                 struct gemm_kind kind);
    /// `n_rows` expanded rows, one after another in `rows`, to a tile; rows that lack
    /// hold anything.
    void (*interleave)(void *tile, const struct expanded *rows, int n_rows, int64_t cols,
                       struct gemm_kind kind);
    void (*run)(const struct gemm_args *a);
};

// What kernels of products of many tokens share (gemm.c).

struct gemm_kind gemm_kind(enum dtype type);
int gemm_block(const struct gemm *g, struct gemm_kind k); // most tokens of a block
static inline int64_t gemm_padded(int64_t tokens)         // with those that fill up the last block
{
    return (tokens + 3) / 4 * 4;
}
int gemm_tiles(int64_t cols, struct gemm_kind k); // how many are expanded together
/// A thread's own: `mine` has gemm_thread_bytes, for the tiles and the rows that become one.
struct matmul_fns;
struct gemm_work {
    const struct gemm *gemm;
    struct gemm_kind kind;
    int64_t cols, w_bytes; // of a row
    void (*expand)(const struct expanded *dst, const void *src, int64_t n);
    uint8_t *tiles, *rows;
};
uint64_t gemm_thread_bytes(int64_t cols, struct gemm_kind k);
struct gemm_work gemm_work(const struct matmul_fns *f, enum dtype type, int64_t cols, void *mine);
/// Rows [from, to) of w become the thread's tiles: at most gemm_tiles times MM_ROWS.
void gemm_expand(const struct gemm_work *g, const uint8_t *w, int64_t from, int64_t to);
/// The tiles' n_rows rows times a packed block of n tokens. `out`: at the first of both.
void gemm_block_times(const struct gemm_work *g, int64_t n_rows, const void *x, int n,
                      const struct mm_out *out);

// --- float32 activations -------------------------------------------------------------------------

struct dots_args {
    enum dtype type;  // of w: F32, F16, BF16
    const uint8_t *w; // rows, one after another
    const float *x;   // tokens, one after another
    int64_t n_rows, n_tokens, cols;
    struct mm_out out;
};

struct matmul_fns {
    int few_tokens; // up to so many are a gemv's: expanding rows for them costs more
    void (*dots)(const struct dots_args *a);
    const struct gemv *gemv[MM_TYPES];
    const struct gemm *gemm;
    void (*expand[MM_TYPES])(const struct expanded *dst, const void *src,
                             int64_t n); // faster than dtype_info's; may be NULL
};

void gemm_pack_c(void *dst, const struct a8_row *rows, int n, int block, int64_t cols,
                 struct gemm_kind kind);

/// Plain C has none of the other functions: ref/ does its work. Each level that is there adds what
/// it does better.
void matmul_fns_init(struct matmul_fns *f, unsigned features);
void matmul_fns_init_avx2(struct matmul_fns *f);
void matmul_fns_init_avx512(struct matmul_fns *f);

/// x as two A8 rows: what 8 bits hold of it, and of what is left.
struct a8_part;
typedef void a8_fn(struct a8_part dst, const float *x, int64_t n);
void mm_split(void *hi, void *lo, const float *x, int64_t n, a8_fn *a8);
/// All rows of src[0] split, in scratch: [2][tokens] A8 rows, hi first. Ends with a phase.
void mm_split_all(const struct run_args *a, struct team *team, a8_fn *a8);
uint64_t mm_split_bytes(const struct mm_shape *s);

// The definition, for the other operations that are products (ref/matmul.c): one output, and a
// row's expanded form in working space of so many bytes.
float ref_dot_a8(const struct dtype_info *t, const struct expanded *w, struct a8_row x, int64_t n);
float ref_dot_f32(const float *w, const float *x, int64_t n);
uint64_t ref_expanded_bytes(int64_t cols);
struct expanded ref_expanded_at(void *p, int64_t cols);

extern const struct kernel cpu_matmul_a8;      // needs AVX2
extern const struct kernel cpu_matmul_precise; // needs AVX2
extern const struct kernel cpu_matmul_f32;     // needs AVX2
extern const struct kernel cpu_ref_matmul_a8;  // quantized weights
extern const struct kernel cpu_ref_matmul_precise;
extern const struct kernel cpu_ref_matmul_f32; // float weights, and every format where exact
extern const struct kernel cpu_ref_embed;

#endif
