// fit.c - scales for quantizing: a short search, with least squares for the fine part.

#include "num/num_int.h"

#include <math.h>

enum { STEPS = 9 }; // candidates on each side of the plain one; a step is 0.1 of a level

float fit_symmetric(const float *x, int count, int n)
{
    float top = 0; // the number of the largest magnitude; it gets -n, where there is one level more
    for (int i = 0; i < count; i++)
        top = fabsf(x[i]) > fabsf(top) ? x[i] : top;
    if (top == 0)
        return 0;

    float d = -top / (float)n;
    float best = 0; // (sum x q)^2 / sum q^2: what the fit takes off the squared error
    for (int step = -STEPS; step <= STEPS; step++) {
        const float id = -((float)n + 0.1f * (float)step) / top;
        float xq = 0, qq = 0;
        for (int i = 0; i < count; i++) {
            const float q = (float)quantize(x[i], id, -n, n - 1);
            xq += x[i] * q;
            qq += q * q;
        }
        if (qq > 0 && xq * xq > best * qq) {
            best = xq * xq / qq;
            d = xq / qq;
        }
    }
    return d;
}

/// Sums over whole numbers q of one candidate.
struct sums {
    float x, q, xq, qq;
};

static struct sums affine_sums(uint8_t *q, const float *x, int count, int n, float id, float lo)
{
    struct sums s = { 0 };
    for (int i = 0; i < count; i++) {
        q[i] = (uint8_t)quantize(x[i] - lo, id, 0, n);
        s.x += x[i];
        s.q += q[i];
        s.xq += x[i] * (float)q[i];
        s.qq += (float)q[i] * (float)q[i];
    }
    return s;
}

void fit_affine(float *d, float *m, const float *x, int count, int n)
{
    float lo = 0, hi = x[0];
    for (int i = 0; i < count; i++) {
        lo = x[i] < lo ? x[i] : lo;
        hi = x[i] > hi ? x[i] : hi;
    }
    *m = -lo;
    *d = 0;
    if (!(hi > lo))
        return;
    *d = (hi - lo) / (float)n;

    float best = INFINITY;
    for (int step = -STEPS; step <= STEPS; step++) {
        uint8_t q[32];
        const float id = ((float)n + 0.1f * (float)step) / (hi - lo);
        const struct sums s = affine_sums(q, x, count, n, id, lo);
        const float det = (float)count * s.qq - s.q * s.q;
        if (!(det > 0))
            continue;
        float dd = ((float)count * s.xq - s.x * s.q) / det;
        float mm = (dd * s.q - s.x) / (float)count;
        if (mm < 0) { // not storable: the best fit without it
            mm = 0;
            dd = s.xq / s.qq;
        }
        float error = 0;
        for (int i = 0; i < count; i++) {
            const float e = x[i] - (dd * (float)q[i] - mm);
            error += e * e;
        }
        if (dd > 0 && error < best) {
            best = error;
            *d = dd;
            *m = mm;
        }
    }
}

float put_scales(int8_t *sc, uint8_t base[2], const float *d, int count, int n)
{
    float top = 0;
    for (int g = 0; g < count; g++)
        top = fabsf(d[g]) > fabsf(top) ? d[g] : top;

    const float b = put_f16(base, -top / (float)n);
    for (int g = 0; g < count; g++)
        sc[g] = (int8_t)quantize(d[g], inverse(b), -n, n - 1);
    return b;
}

float fit_scales16(int8_t sc[16], uint8_t base[2], const float *x, int n, int n_scale)
{
    float d[16];
    for (int g = 0; g < 16; g++)
        d[g] = fit_symmetric(x + 16 * g, 16, n);
    return put_scales(sc, base, d, 16, n_scale);
}
