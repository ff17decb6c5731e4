// matmul_avx512.c - which function of the AVX-512 level does what.

#include "dev/cpu/x86/x86.h"

void matmul_fns_init_avx512(struct matmul_fns *f)
{
    for (int i = 0; i < MM_TYPES; i++)
        f->gemv[i] = &gemv_expand_avx512;
    f->gemv[DTYPE_Q4_0] = &gemv_q4_0_avx512;
    f->gemv[DTYPE_Q4_1] = &gemv_q4_1_avx512;
    f->gemv[DTYPE_Q5_0] = &gemv_q5_0_avx512;
    f->gemv[DTYPE_Q5_1] = &gemv_q5_1_avx512;
    f->gemv[DTYPE_Q8_0] = &gemv_q8_0_avx512;
    f->gemv[DTYPE_Q4_K] = &gemv_q4_k_avx512;
    f->gemv[DTYPE_Q5_K] = &gemv_q5_k_avx512;
    f->gemv[DTYPE_Q6_K] = &gemv_q6_k_avx512;
    f->gemv[DTYPE_IQ4_NL] = &gemv_iq4_nl_avx512;
    f->gemv[DTYPE_MXFP4] = &gemv_mxfp4_avx512;
    f->gemv[DTYPE_MXFP4_PAIRS] = &gemv_mxfp4_pairs_avx512;
    f->few_tokens = MM_FEW_TOKENS;
    f->dots = dots_avx512;
    f->gemm = &gemm_avx512;
}
