// vec.c - the table of kernels that are not matrix products, and what they share.

#include "dev/cpu/cpu_int.h"

#include <string.h>

/// Plain C first; then each level that is there overwrites what it does better.
void vec_fns_init(struct vec_fns *f, unsigned features)
{
    *f = (struct vec_fns){
        .a8 = ref_a8,
        .rmsnorm = ref_rmsnorm,
        .layernorm = ref_layernorm,
        .glu = ref_glu,
        .add = ref_add,
        .scale = ref_scale,
        .softcap = ref_softcap,
        .rope = ref_rope,
        .to_f16 = ref_to_f16,
    };
#if defined(__x86_64__)
    vec_fns_init_x86(f, features);
#else
    (void)features;
#endif
}

const struct cpu_kernel cpu_vec_kernels[] = {
    { &cpu_rope_table, 0 },
    { &cpu_rmsnorm, 0 },
    { &cpu_layernorm, 0 },
    { &cpu_rope, 0 },
    { &cpu_kv_store, 0 },
    { &cpu_attn, CPU_AVX2 },
    { &cpu_ref_attn, 0 },
    { &cpu_glu, 0 },
    { &cpu_add, 0 },
    { &cpu_scale, 0 },
    { &cpu_softcap, 0 },
    { &cpu_rows, 0 },
    { NULL, 0 },
};

bool node_is_f32(const struct node *n)
{
    for (int i = 0; i < NODE_SRC; i++) {
        const struct tensor *t = n->src[i];
        if (t != NULL && t->role != ROLE_STATE && t->role != ROLE_INPUT && t->type != DTYPE_F32)
            return false;
    }
    return true;
}

struct a8_part a8_part_at(void *row, int64_t n, int64_t i)
{
    int8_t *q = row;
    float *d = (float *)(void *)(q + n);

    return (struct a8_part){
        .q = q + i,
        .d = d + i / 32,
        .s = d + n / 32 + i / 32,
        .sum = (int32_t *)(void *)(d + n / 16) + i / 16,
    };
}

/// An index should hold this many numbers: taking one costs some tens of nanoseconds.
enum { SHARE_NUMBERS = 4096 };

struct share share_rows(int64_t rows, int64_t len, bool split, int threads)
{
    struct share s = { .rows = rows, .len = len, .per = 1, .parts = 1 };

    if (split && len >= 2 * SHARE_PART) {
        s.parts = (len + SHARE_PART - 1) / SHARE_PART;
        s.n = rows * s.parts;
        return s;
    }
    if (len < SHARE_NUMBERS && len > 0)
        s.per = SHARE_NUMBERS / len;
    const int64_t fair = rows / (4 * threads); // not so many that some threads get none
    if (s.per > fair)
        s.per = fair > 1 ? fair : 1;
    s.n = (rows + s.per - 1) / s.per;
    return s;
}

struct share_span share_at(const struct share *s, int64_t index)
{
    struct share_span at = { .i1 = s->len };

    if (s->parts > 1) {
        at.row0 = index / s->parts;
        at.row1 = at.row0 + 1;
        at.i0 = index % s->parts * SHARE_PART;
        if (at.i0 + SHARE_PART < s->len)
            at.i1 = at.i0 + SHARE_PART;
        return at;
    }
    at.row0 = index * s->per;
    at.row1 = at.row0 + s->per < s->rows ? at.row0 + s->per : s->rows;
    return at;
}
