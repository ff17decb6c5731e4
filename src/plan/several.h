// several.h - models that are to be loaded at the same time on the same devices.
//
// Each has a process of its own, so each pays for its driver's context on the devices that it uses.

#ifndef SNUG_SEVERAL_H
#define SNUG_SEVERAL_H

#include "plan/place.h"

enum { SEVERAL_MOST = 8, SEVERAL_ALL_ORDERS = 4 };

struct several_model {
    const char *name; // printable; borrowed
    const struct graph *g;
    const struct weight_place *w;
    struct limits lim;
    struct place_opts o;
};

/// Models that fit together: bit i is model i.
struct several_set {
    uint32_t models;
    int order[SEVERAL_MOST]; // in which they are placed, each into what the others left
    int n;
    uint64_t weights; // bytes of all its models
};

struct several {
    int n_models, n_devs;
    /// The sets that fit and to which no further model can be added; the best first: most models,
    /// then most bytes of weights, then the models given first. None: not one fits alone.
    struct several_set set[1 << SEVERAL_MOST];
    int n_sets;
    struct plan *plan[SEVERAL_MOST]; // of set[0]; NULL: not in it
    struct placement placement[SEVERAL_MOST];
    struct err alone[SEVERAL_MOST]; // of models that do not even fit alone: why
    struct dev_info *dev;           // [n_devs] as they were
    struct view *views;             // what plans borrow
    struct dev **view_devs;
};

/// Which of the models fit together, and where. Does not depend on the order in which they are
/// given: up to four are tried in every order, more in order of their size. *out is the caller's,
/// on success: several_free(). Errors: ERR_ARG too many models; others of plan_make().
MUST_CHECK bool several_find(struct several **out, const struct several_model *m, int n,
                             struct dev *const *devs, int n_devs, struct err *e);
void several_free(struct several *s); // NULL is fine
/// Bytes of model `i` on a device, its driver's context with them; 0 where it is not.
uint64_t several_bytes(const struct several *s, int i, int dev);

/// Which fit together, a table of models and devices that sums to the byte, what to unload.
bool several_table(const struct several *s, const struct several_model *m, struct buf *out);
bool several_json(const struct several *s, const struct several_model *m, struct buf *out);

#endif
