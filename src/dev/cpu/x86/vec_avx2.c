// vec_avx2.c - inner functions of vec.h with vectors of 8 floats.

#include "dev/cpu/x86/vf_avx2.h"

#define FN(name) name##_avx2
#include "dev/cpu/x86/vec_body.h"
