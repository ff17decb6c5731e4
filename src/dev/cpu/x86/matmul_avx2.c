// matmul_avx2.c - which function of the AVX2 level does what.

#include "dev/cpu/x86/x86.h"

void matmul_fns_init_avx2(struct matmul_fns *f)
{
    for (int i = 0; i < MM_TYPES; i++)
        f->gemv[i] = &gemv_expand_avx2;
    f->few_tokens = MM_GEMV_TOKENS;
    f->dots = dots_avx2;
    expand_fns_avx2(f);
    f->gemm = &gemm_avx2;
}
