// fuzz_num.c - blocks of any bytes, in every format: no access out of range, nothing undefined, and
// blocks made of any numbers are finite.

#include "num/dtype.h"

#include "base/base.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void fuzz_blocks(const struct dtype_info *t, const uint8_t *p, size_t size)
{
    const size_t n_blocks = size / (size_t)t->block_bytes;
    const size_t n = n_blocks * (size_t)t->block;
    if (n_blocks == 0)
        return;
    float *x = xmalloc(n * sizeof *x);
    t->to_f32(x, p, (int64_t)n);
    if (t->quantized) {
        struct expanded e = { xmalloc(n), xmalloc(n / 32 * 4), xmalloc(n / 16 * 4),
                              xmalloc(n / 16) };
        t->expand(&e, p, (int64_t)n);
        free(e.u);
        free(e.d);
        free(e.m);
        free(e.s);
    }
    free(x);
}

static void fuzz_numbers(const struct dtype_info *t, const uint8_t *p, size_t size)
{
    const size_t n_blocks = size / sizeof(float) / (size_t)t->block;
    const size_t n = n_blocks * (size_t)t->block;
    if (n_blocks == 0)
        return;
    float *x = xmalloc(n * sizeof *x);
    uint8_t *blocks = xmalloc(n_blocks * (size_t)t->block_bytes);
    memcpy(x, p, n * sizeof *x);
    t->from_f32(blocks, x, (int64_t)n);
    t->to_f32(x, blocks, (int64_t)n);
    for (size_t i = 0; t->quantized && i < n; i++)
        ASSERT(isfinite(x[i]));
    free(blocks);
    free(x);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0 || !dtype_known(data[0] & 63))
        return 0;
    const struct dtype_info *t = dtype_info((enum dtype)(data[0] & 63));
    if (data[0] & 64)
        fuzz_blocks(t, data + 1, size - 1);
    else
        fuzz_numbers(t, data + 1, size - 1);
    return 0;
}
