// elem.c - definition of GLU, ADD, SCALE, SOFTCAP, and of the conversions to A8 and to f16.

#include "dev/cpu/vec.h"
#include "dev/cpu/vmath.h"

/// Gated linear unit (arXiv:2002.05202).
void ref_glu(float *y, const float *gate, const float *up, int64_t n, enum act act)
{
    for (int64_t i = 0; i < n; i++)
        y[i] = act == ACT_SWIGLU_OAI
                   ? vm_swiglu_oai(gate[i], up[i])
                   : (act == ACT_SILU ? vm_silu(gate[i]) : vm_gelu(gate[i])) * up[i];
}

void ref_add(float *y, const float *a, const float *b, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        y[i] = a[i] + b[i];
}

void ref_scale(float *y, const float *x, int64_t n, float s)
{
    for (int64_t i = 0; i < n; i++)
        y[i] = x[i] * s;
}

void ref_softcap(float *y, const float *x, int64_t n, float cap)
{
    for (int64_t i = 0; i < n; i++)
        y[i] = cap * vm_tanh(x[i] / cap);
}

void ref_to_f16(uint16_t *dst, const float *x, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        dst[i] = f32_to_f16(x[i]);
}

/// Group by group as num/a8.c does it.
void ref_a8(struct a8_part dst, const float *x, int64_t n)
{
    for (int64_t g = 0; g < n / 32; g++) {
        _Alignas(4) uint8_t row[48];
        dtype_info(DTYPE_A8)->from_f32(row, x + 32 * g, 32);
        const struct a8_row r = a8_row_at(row, 32);
        memcpy(dst.q + 32 * g, r.q, 32);
        dst.d[g] = r.d[0];
        dst.s[g] = r.s[0];
        dst.sum[2 * g] = r.sum[0];
        dst.sum[2 * g + 1] = r.sum[1];
    }
}
