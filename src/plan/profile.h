// profile.h - devices that are not here: what a plan needs to know of them, and where it is from.

#ifndef SNUG_PROFILE_H
#define SNUG_PROFILE_H

#include "dev/dev.h"

/// Where a figure comes from.
enum provenance {
    FIGURE_MEASURED,  // on such a device, by us or reported with a source
    FIGURE_PUBLISHED, // the maker's
    FIGURE_ASSUMED,
};

/// One device (of a K80: one die). The figures that a plan calculates with are `info`'s.
struct profile {
    char name[32];           // "k80"
    const char *title;       // "Tesla K80, one die"
    int cc_major, cc_minor;  // compute capability
    struct dev_info info;    // name is filled in by profile_devices()
    enum provenance total_from, driver_from, granule_from, bandwidth_from, compute_from, link_from;
    const char *source;      // one line: which documents or measurements
};

int profile_count(void);
const struct profile *profile_at(int i); // in the order of the table
/// By name without regard to case; NULL if there is none.
const struct profile *profile_find(const char *name, size_t n);

/// The devices that one item of --on stands for: "k80", "k80x2" (two dies), "3090", FILE.json (an
/// array of objects with the fields of the report of `snug probe`). Appends up to `max` infos to out
/// with names "k80 #0", "k80 #1", numbered from the devices of that kind already in out[0 .. *n).
/// Errors: ERR_ARG names the item, and the profiles nearest to it; ERR_FORMAT of a file: the field.
MUST_CHECK bool profile_devices(struct dev_info *out, int *n, int max, const char *item, size_t len,
                                struct err *e);

#endif
