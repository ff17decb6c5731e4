// iq4.c - the uneven levels of IQ4_NL and IQ4_XS.

#include "num/num_int.h"

#include <math.h>

// ggml-common.h, kvalues_iq4nl. Denser near 0, where the weights are.
static const int8_t levels[16] = { -127, -104, -83, -65, -49, -35, -22, -10,
                                   1,    13,   25,  38,  53,  69,  89,  113 };

void iq4_unpack(uint8_t u[32], const uint8_t q[16])
{
    // levels + 128
    static const uint8_t shifted[16] = { 1,   24,  45,  63,  79,  93,  106, 118,
                                         129, 141, 153, 166, 181, 197, 217, 241 };
    for (int i = 0; i < 16; i++) {
        u[i] = shifted[q[i] & 15];
        u[i + 16] = shifted[q[i] >> 4];
    }
}

void iq4_nearest(uint8_t u[32], const float *x, float id)
{
    float v[32];
    int32_t q[32] = { 0 };
    for (int i = 0; i < 32; i++)
        v[i] = x[i] * id;
    for (int k = 0; k < 15; k++) {
        const float middle = 0.5f * (float)(levels[k] + levels[k + 1]);
        for (int i = 0; i < 32; i++)
            q[i] += v[i] > middle;
    }
    for (int i = 0; i < 32; i++)
        u[i] = (uint8_t)q[i];
}

float iq4_fit(const float *x)
{
    enum { STEPS = 9 };
    float top = 0;
    for (int i = 0; i < 32; i++)
        top = fabsf(x[i]) > fabsf(top) ? x[i] : top;
    if (top == 0)
        return 0;

    float d = top / (float)levels[0];
    float best = 0; // (sum x v)^2 / sum v^2: what the fit takes off the squared error
    for (int step = -STEPS; step <= STEPS; step++) {
        for (int end = 0; end < 16; end += 15) { // the largest number at either end
            const float id = (float)levels[end] * (1.0f + 0.015f * (float)step) / top;
            uint8_t u[32];
            float xv = 0, vv = 0;
            iq4_nearest(u, x, id);
            for (int i = 0; i < 32; i++) {
                const float v = (float)levels[u[i]];
                xv += x[i] * v;
                vv += v * v;
            }
            if (vv > 0 && xv * xv > best * vv) {
                best = xv * xv / vv;
                d = xv / vv;
            }
        }
    }
    return d;
}
