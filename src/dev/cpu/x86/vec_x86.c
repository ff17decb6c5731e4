// vec_x86.c - which instruction set does what, on x86.

#include "dev/cpu/cpu_int.h"

void vec_fns_init_x86(struct vec_fns *f, unsigned features)
{
    (void)f;
    (void)features;
}
