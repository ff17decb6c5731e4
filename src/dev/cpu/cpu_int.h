// cpu_int.h - private to dev/cpu and dev/sim: features, and the tables of kernels.

#ifndef SNUG_CPU_INT_H
#define SNUG_CPU_INT_H

#include "dev/cpu/matmul.h"
#include "dev/cpu/team.h"
#include "dev/cpu/vec.h"
#include "dev/dev.h"

enum cpu_feature {
    CPU_AVX2 = 1,   // with FMA and F16C
    CPU_AVX512 = 2, // F, BW, VL, DQ, VNNI, VBMI; implies CPU_AVX2
};
/// What this machine has and SNUG_CPU (or `mask`, if not NULL: "c,avx2,...") allows.
unsigned cpu_features(const char *mask);

/// Inner functions by feature level: plain C first, then each level that is there overwrites what
/// it does better.
struct cpu_fns {
    struct matmul_fns mm; // matmul.h
    struct vec_fns vec;   // vec.h: norms, activation functions, rope, attention
};
void cpu_fns_init(struct cpu_fns *f, unsigned features);

/// A kernel and the features it needs. Tables are best first and end with a NULL kernel; every
/// operation has one in plain C (needs 0) from ref/.
struct cpu_kernel {
    const struct kernel *kernel;
    unsigned needs;
};
extern const struct cpu_kernel cpu_matmul_kernels[]; // matmul.c: MATMUL, EMBED
extern const struct cpu_kernel cpu_vec_kernels[];    // vec.c: the rest, but for
extern const struct cpu_kernel
    cpu_expert_kernels[]; // experts.c: ROUTE, EXPERTS, EXPERT_SUM, HEADS, SLICE, CONCAT
extern const struct kernel
    cpu_convert_a8; // F32 rows -> A8 rows; src[0], dst[0]; node: the consumer

#endif
