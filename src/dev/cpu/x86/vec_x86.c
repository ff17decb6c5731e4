// vec_x86.c - which instruction set does what, on x86.

#include "dev/cpu/x86/vec_x86.h"

#include "dev/cpu/cpu_int.h"

void vec_fns_init_x86(struct vec_fns *f, unsigned features)
{
    if ((features & CPU_AVX2) == 0)
        return;
    vec_fns_avx2(f);

    if ((features & CPU_AVX512) == 0)
        return;
    vec_fns_avx512(f);
}
