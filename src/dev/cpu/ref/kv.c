// kv.c - definition of how 32 numbers become q8_0 in a KV page (docs/numerics.md, "Attention", last
// lines).

#include "dev/cpu/vec.h"

#include <math.h>

/// Writes n <= 32 numbers, `step` apart, and returns their scale as f16.
uint16_t ref_q8_0(int8_t *q, int64_t step, const float *x, int n)
{
    float top = 0; // NaN counts as 0

    for (int i = 0; i < n; i++)
        top = fabsf(x[i]) > top ? fabsf(x[i]) : top;
    const uint16_t scale = f32_to_f16(fminf(top / 127.0f, 65504.0f));
    const float s = f16_to_f32(scale), inverse = s > 0 ? 1.0f / s : 0.0f;
    for (int i = 0; i < n; i++) {
        const float r = rintf(x[i] * inverse);
        q[i * step] = (int8_t)(isfinite(r) ? fmaxf(-127, fminf(127, r)) : 0);
    }
    return scale;
}
