// experts.c - the table of kernels for mixtures of experts and for heads with matrices of their
// own.

#include "dev/cpu/experts.h"

#include "dev/cpu/cpu_int.h"

const struct cpu_kernel cpu_expert_kernels[] = {
    { &cpu_ref_route, 0 },
    { &cpu_ref_experts_a8, 0 },
    { &cpu_ref_experts_f32, 0 },
    { &cpu_ref_expert_sum, 0 },
    { &cpu_ref_heads_a8, 0 },
    { &cpu_ref_heads_f32, 0 },
    { &cpu_ref_heads_transposed, 0 },
    { &cpu_slice, 0 },
    { &cpu_concat, 0 },
    { NULL, 0 },
};
