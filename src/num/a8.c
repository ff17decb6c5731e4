// a8.c - activations in a quantized matrix product: struct a8_row. This is their definition
// (docs/numerics.md); a row is one call, since its arrays lie one after another.

#include "num/num_int.h"

#include <math.h>

static void expand(const struct expanded *dst, const void *src, int64_t n)
{
    const uint8_t *q = src;
    for (int64_t i = 0; i < n; i++)
        dst->u[i] = q[i] ^ 0x80; // int8 + 128
    memcpy(dst->d, q + n, (size_t)(n / 32) * sizeof(float));
}

static void to_f32(float *dst, const void *src, int64_t n)
{
    const uint8_t *q = src;
    for (int64_t i = 0; i < n; i++) {
        float d;
        memcpy(&d, q + n + i / 32 * (int64_t)sizeof d, sizeof d);
        dst[i] = d * (float)(int8_t)q[i];
    }
}

static void from_f32(void *dst, const float *src, int64_t n)
{
    uint8_t *q = dst;
    uint8_t *d = q + n, *s = d + n / 8, *sum = s + n / 8;

    for (int64_t g = 0; g < n / 32; g++) {
        const float *x = src + 32 * g;
        float top = 0; // NaN counts as 0
        for (int j = 0; j < 32; j++)
            top = fabsf(x[j]) > top ? fabsf(x[j]) : top;

        const float dd = top / 127, id = inverse(dd);
        int32_t sums[2] = { 0, 0 };
        for (int j = 0; j < 32; j++) {
            const float r = x[j] * id;
            const int v = isfinite(r) ? quantize(x[j], id, -127, 127) : 0;
            q[32 * g + j] = (uint8_t)v;
            sums[j / 16] += v;
        }
        const float ss = dd * (float)(sums[0] + sums[1]);
        memcpy(d + 4 * g, &dd, 4);
        memcpy(s + 4 * g, &ss, 4);
        memcpy(sum + 8 * g, sums, 8);
    }
}

const struct dtype_info dtype_a8 = {
    .name = "A8",
    .block = 32,
    .block_bytes = 48,
    .quantized = true,
    .zero = 128,
    .to_f32 = to_f32,
    .from_f32 = from_f32,
    .expand = expand,
};
