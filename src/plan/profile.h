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
const char *provenance_name(enum provenance p); // "measured", ...

/// One device (of a K80: one die). The figures that a plan calculates with are `info`'s. Its speeds
/// are the peaks below times what kernels are taken to reach of them (profile_table.c); step_ns and
/// hop_ns are always assumed.
struct profile {
    char name[32];                           // "k80"
    const char *title;                       // "Tesla K80, one die"
    int cc_major, cc_minor;                  // compute capability
    struct dev_info info;                    // name is filled in by profile_devices()
    double peak_bytes_per_s, peak_ops_per_s; // ops: multiply-adds
    enum provenance total_from, driver_from, granule_from;
    enum provenance bandwidth_from, compute_from, link_from; // of the peaks
    const char *source; // one line: which documents or measurements
};

int profile_count(void);
const struct profile *profile_at(int i); // in the order of the table
/// By name without regard to case, blanks and dashes, and with or without the maker's words in
/// front ("RTX 3090", "Tesla-K80"); NULL if there is none.
const struct profile *profile_find(const char *name, size_t n);

/// The devices that one item of --on stands for: "k80", "k80x2" (two dies), "3090", FILE.json (an
/// array of objects with the fields of the report of `snug probe`). Appends up to `max` infos to
/// out with names "k80 #0", "k80 #1", numbered from the devices of that kind already in out[0 ..
/// *n). One of a file with `in_place` stands for the host's processor. Errors: ERR_ARG names the
/// item, and the profiles nearest to it; ERR_FORMAT of a file: the field.
MUST_CHECK bool profile_devices(struct dev_info *out, int *n, int max, const char *item, size_t len,
                                struct err *e);

/// One device as an object of jansson's, as in FILE.json; the caller's reference.
struct json_t;
struct json_t *profile_to_json(const struct dev_info *i);
/// Every field is checked. Errors: ERR_FORMAT "WHERE.FIELD: ...".
MUST_CHECK bool profile_from_json(struct dev_info *out, const struct json_t *o, const char *where,
                                  struct err *e);

#endif
