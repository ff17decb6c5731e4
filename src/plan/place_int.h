// place_int.h - a search for a placement, shared by place.c and place_experts.c. Private to plan/.

#ifndef SNUG_PLACE_INT_H
#define SNUG_PLACE_INT_H

#include "plan/cost.h"
#include "plan/place.h"
#include "plan/plan_int.h"

enum { PLACE_DEVS = SEARCH_DEVS + 1 }; // with the host

/// Costs by class of device.
struct tables {
    struct units units;
    struct costs costs[PLACE_DEVS];
    int n;
};

/// Tables that were made last, and what for: the same are asked for while limits are tried.
struct kept_tables {
    struct limits lim;
    bool embed_on_host, with_host;
    struct tables t;
};

struct placer {
    const struct graph *g;
    const struct weight_place *w;
    const struct place_opts *o;
    struct limits lim; // of the try that goes on
    struct dev *const *devs;
    int n_devs, n_parts, n_blocks;
    struct dev_info *info;
    int host; // the device that works in place beside others, -1: none
    int n_classes, class_of[PLACE_DEVS], class_dev[PLACE_DEVS]; // devices that cost the same
    uint64_t penalty[PLACE_DEVS]; // what plans took beyond their costs
    bool *on_host;                // [n_parts]
    struct assign a;
    int n_stages;
    bool beside_host; // of the last try: blocks or experts are with the host
    bool by_costs;    // whether something fits is all that is asked: costs say it, no plan is made
    struct kept_tables kept[4];
    int n_kept;
    struct plan *best; // the last plan: the result, or what shows the shortfall
    struct placement *why;
    struct err *e;
};

void tables_done(struct tables *t);

uint64_t placer_room(const struct placer *s, int d);
struct plan *placer_plan_on(struct placer *s, const struct units *u, int dev);
bool placer_try(struct placer *s);
bool placer_search(struct placer *s, struct search_result *out, const struct tables *t,
                   enum search_goal goal, bool with_host, int exact);

/// Dense parts, KV and shared experts on devices, as many experts there as is fastest, the others
/// with the host. False where there are no experts, or the dense parts do not fit.
bool place_experts(struct placer *s);

#endif
