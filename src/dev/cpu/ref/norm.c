// norm.c - definition of RMSNORM and LAYERNORM (docs/numerics.md, "Norms").

#include "dev/cpu/vec.h"

#include <math.h>

enum { CHAINS = 16 };

static float sum_of(const float chain[CHAINS])
{
    float sum = chain[0];

    for (int c = 1; c < CHAINS; c++)
        sum += chain[c];
    return sum;
}

/// Root mean square normalization (arXiv:1910.07467).
void ref_rmsnorm(float *y, const float *x, const float *w, int64_t n, float eps)
{
    float chain[CHAINS] = { 0 };

    for (int64_t i = 0; i < n; i++)
        chain[i % CHAINS] = fmaf(x[i], x[i], chain[i % CHAINS]);
    const float r = 1.0f / sqrtf(sum_of(chain) / (float)n + eps);
    for (int64_t i = 0; i < n; i++)
        y[i] = (x[i] * r) * w[i];
}

/// Layer normalization (arXiv:1607.06450).
void ref_layernorm(float *y, const float *x, const float *w, const float *bias, int64_t n,
                   float eps)
{
    float total[CHAINS] = { 0 }, square[CHAINS] = { 0 };

    for (int64_t i = 0; i < n; i++)
        total[i % CHAINS] += x[i];
    const float mean = sum_of(total) / (float)n;
    for (int64_t i = 0; i < n; i++)
        square[i % CHAINS] = fmaf(x[i] - mean, x[i] - mean, square[i % CHAINS]);
    const float r = 1.0f / sqrtf(sum_of(square) / (float)n + eps);
    for (int64_t i = 0; i < n; i++) {
        y[i] = ((x[i] - mean) * r) * w[i];
        if (bias != NULL)
            y[i] += bias[i];
    }
}
