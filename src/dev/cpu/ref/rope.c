// rope.c - definition of ROPE_TABLE and ROPE: rotary position embedding (arXiv:2104.09864,
// section 3.4).

#include "dev/cpu/vec.h"

#include <math.h>

/// YaRN (arXiv:2309.00071, section 3.2): the pair that turns `beta` times in the original context.
static double yarn_pair(const struct rope_freq *f, double beta)
{
    const double two_pi = 6.283185307179586;

    return f->rot * log(f->yarn_orig_ctx / (beta * two_pi)) / (2 * log((double)f->base));
}

/// How much of pair i keeps its own frequency: 1 for those that turn fast, 0 for the slow ones.
static double yarn_keeps(const struct rope_freq *f, int i)
{
    double low = floor(yarn_pair(f, (double)f->yarn_beta_fast));
    double high = ceil(yarn_pair(f, (double)f->yarn_beta_slow));

    low = fmax(low, 0);
    high = fmin(high, f->rot - 1);
    const double y = (i - low) / fmax(0.001, high - low);
    return 1 - fmin(1, fmax(0, y));
}

/// Row of the table for one position: [rot / 2][2] cos, sin. Kept pairs and the longer attention of
/// YaRN as in ggml-org/llama.cpp, ggml/src/ggml-cpu/ops.cpp, rope_yarn.
void ref_rope_table(float *table, int32_t pos, const struct rope_freq *f, const float *factors)
{
    const bool yarn = f->yarn_orig_ctx > 0;
    double m = (double)f->mscale;

    if (yarn) {
        m *= (double)f->yarn_attn;
        if (f->yarn_ext != 0)
            m *= 1 + 0.1 * log((double)f->yarn_factor);
    }
    if (f->grow > 0)
        m *= 1 + (double)f->grow * log(1 + (double)(pos / f->grow_every));
    for (int i = 0; i < f->rot / 2; i++) {
        double own = pos * pow((double)f->base, -2.0 * i / f->rot);
        if (factors != NULL)
            own /= (double)factors[i];
        double angle = own / (double)f->linear;
        if (yarn) {
            const double keep = f->yarn_ext != 0 ? yarn_keeps(f, i) * (double)f->yarn_ext : 0;
            angle = own / (double)f->yarn_factor * (1 - keep) + own * keep;
        }
        table[2 * i] = (float)(cos(angle) * m);
        table[2 * i + 1] = (float)(sin(angle) * m);
    }
}

void ref_rope(float *y, const float *x, const float *table, int rot, enum rope_kind kind)
{
    for (int i = 0; i < rot / 2; i++) {
        const int i0 = kind == ROPE_NORM ? 2 * i : i;
        const int i1 = kind == ROPE_NORM ? 2 * i + 1 : i + rot / 2;
        const float c = table[2 * i], s = table[2 * i + 1], x0 = x[i0], x1 = x[i1];
        y[i0] = fmaf(x0, c, -(x1 * s));
        y[i1] = fmaf(x0, s, x1 * c);
    }
}
