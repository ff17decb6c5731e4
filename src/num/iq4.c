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

uint8_t iq4_nearest(float v)
{
    int q = 0;
    for (int k = 0; k < 15; k++)
        q += v > 0.5f * (float)(levels[k] + levels[k + 1]);
    return (uint8_t)q;
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
            float xv = 0, vv = 0;
            for (int i = 0; i < 32; i++) {
                const float v = (float)levels[iq4_nearest(x[i] * id)];
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
