// place.h - which device gets which part.

#ifndef SNUG_PLACE_H
#define SNUG_PLACE_H

#include "plan/plan.h"

/// Finds the assignment with the fewest devices that holds everything (in the order given among
/// equals; blocks contiguous, as even as the sizes allow when several are needed), each try being a
/// plan_make(). *out is the caller's. Errors: ERR_NOFIT with the best try's numbers and the
/// smallest change that would help.
MUST_CHECK bool place_find(struct plan **out, const struct graph *g, const struct weight_place *w,
                           const struct limits *lim, struct dev *const *devs, int n_devs,
                           struct err *e);

/// Blocks spread evenly over all devices, in order: embedding with the first, head with the last.
/// free(a->dev).
void assign_even(struct assign *a, const struct graph *g, int n_devs);

#endif
