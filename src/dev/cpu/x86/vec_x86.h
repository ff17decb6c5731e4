// vec_x86.h - the levels of x86. Private to this folder.

#ifndef SNUG_VEC_X86_H
#define SNUG_VEC_X86_H

struct vec_fns;
void vec_fns_avx2(struct vec_fns *f);
void vec_fns_avx512(struct vec_fns *f);

#endif
