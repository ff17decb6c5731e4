// vec_avx512.c - inner functions of vec.h with vectors of 16 floats.

#include "dev/cpu/x86/vf_avx512.h"

#define FN(name) name##_avx512
#include "dev/cpu/x86/vec_body.h"
