// pool.h - the threads of a CPU device: they live as long as it does and run its lists. Private to
// dev/cpu.

#ifndef SNUG_CPU_POOL_H
#define SNUG_CPU_POOL_H

#include "base/base.h"

struct launch;
struct cpu_fns;

/// A pool of `threads` threads, of which the caller of pool_run is the first. `fns` is borrowed.
/// Errors: ERR_NOMEM when the system gives no more threads.
struct pool;
MUST_CHECK bool pool_new(struct pool **out, int threads, bool pin, const struct cpu_fns *fns,
                         struct err *e);
/// Runs the list; it is complete on return. One caller at a time goes in, others wait.
void pool_run(struct pool *p, const struct launch *l, int n);
void pool_free(struct pool *p); // NULL is fine

#endif
