// mxfp4_pairs.c - MXFP4 with numbers 2 i and 2 i + 1 in byte i, where MXFP4 has i and i + 16.
//
// The order of the published checkpoint, kept as it was in ollama/ollama's first gpt-oss files:
// there it is type 4, architecture gptoss (ollama/ollama, ml/backend/ggml/ggml.go, turns it while
// loading). Everything else is as in mxfp4.c.

#include "num/num_int.h"

enum { BLOCK_BYTES = 17 };

static void expand(const struct expanded *dst, const void *src, int64_t n)
{
    dtype_mxfp4.expand(dst, src, n);
    for (int64_t i = 0; i < n; i += 32) {
        uint8_t u[32];
        memcpy(u, dst->u + i, sizeof u);
        for (int j = 0; j < 16; j++) {
            dst->u[i + 2 * j] = u[j];
            dst->u[i + 2 * j + 1] = u[j + 16];
        }
    }
}

static void to_f32(float *dst, const void *src, int64_t n)
{
    num_expanded_to_f32(&dtype_mxfp4_pairs, dst, src, n);
}

static void from_f32(void *dst, const float *src, int64_t n)
{
    uint8_t *block = dst;
    for (int64_t i = 0; i < n; i += 32, block += BLOCK_BYTES) {
        float x[32];
        for (int j = 0; j < 16; j++) {
            x[j] = src[i + 2 * j];
            x[j + 16] = src[i + 2 * j + 1];
        }
        dtype_mxfp4.from_f32(block, x, 32);
    }
}

const struct dtype_info dtype_mxfp4_pairs = {
    .name = "MXFP4_PAIRS",
    .block = 32,
    .block_bytes = BLOCK_BYTES,
    .quantized = true,
    .zero = 128,
    .to_f32 = to_f32,
    .from_f32 = from_f32,
    .expand = expand,
};
