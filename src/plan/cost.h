// cost.h - what a stage of units costs on a device, without planning each one. Private to plan/.
//
// Units are what the search moves: vision tower and embedding, then each block with its experts,
// then the head. One real plan of all units on one device is taken apart: weights and KV add up;
// what several units share (inputs, a tied matrix, rope tables) counts once a stage; scratch is the
// peak of live bytes over the units of the stage, of which the first gets its input by hand-over
// instead of finding it in scratch. test_cost.c compares with plans of stages, byte for byte.

#ifndef SNUG_COST_H
#define SNUG_COST_H

#include "plan/plan.h"
#include "plan/search.h"

/// What the units are. Parts that the host keeps are in none.
struct units {
    int n;
    int n_parts;
    int *of; // [n_parts]; -1: PART_SHARED, or with the host
};
/// `on_host[part]`: not to be placed. free(u->of).
void units_of(struct units *u, const struct graph *g, const bool *on_host);

/// Costs of all stages of one device, experts with their blocks.
struct costs {
    int n; // units
    // [from * (n + 1) + to], from < to; UINT64_MAX where the plan could not be made
    uint64_t *bytes;   // all arenas, each rounded to the granule
    uint64_t *scratch; // of these, as they are
    int64_t *ns;
};

/// Takes `p` apart, which has all units on device `dev`. costs_done() when it has served.
void costs_from_plan(struct costs *c, const struct plan *p, int dev, const struct units *u);
/// Of a device that cannot run the model.
void costs_impossible(struct costs *c, const struct units *u);
void costs_done(struct costs *c);

#endif
