// team.h - the threads that run a kernel together, seen from inside the kernel.
//
// A device's `run` hands a list of launches to a persistent pool; every thread walks the list. Work
// inside a launch is shared by taking indices from a counter, so a thread that lost its core holds
// up one index, not half of the work. Waiting threads spin for some microseconds, then sleep.

#ifndef SNUG_TEAM_H
#define SNUG_TEAM_H

#include <stdbool.h>
#include <stdint.h>

struct team; // one per thread and run

int team_i(const struct team *t); // this thread, 0 .. n-1
int team_n(const struct team *t);

/// The next of `n` indices of this launch's current phase, or -1 when all are taken. Every thread
/// calls it until -1. `n` must be the same in all threads. Results must not depend on who takes
/// which.
int64_t team_next(struct team *t, int64_t n);

/// Waits for all threads of the team, then starts a new phase of the same launch (a new counter).
void team_phase(struct team *t);

/// Kernel functions for this device's features (cpu_int.h).
const struct cpu_fns *team_fns(const struct team *t);

/// One thread, no pool: for tests and tools that call a kernel's run directly.
struct team_solo {
    _Alignas(64) unsigned char opaque[256];
};
struct team *team_solo_init(struct team_solo *s, const struct cpu_fns *fns);
/// Before each run with the same team_solo.
void team_solo_reset(struct team_solo *s);

#endif
