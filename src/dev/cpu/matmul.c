// matmul.c - the kernels of matrix products on the CPU: who does which rows, and where things lie in scratch.

#include "dev/cpu/cpu_int.h"

void matmul_fns_init(struct matmul_fns *f, unsigned features)
{
    (void)features;
    *f = (struct matmul_fns){ 0 };
}

const struct cpu_kernel cpu_matmul_kernels[] = {
    { &cpu_ref_matmul_a8, 0 },
    { &cpu_ref_matmul_f32, 0 },
    { &cpu_ref_embed, 0 },
    { NULL, 0 },
};
