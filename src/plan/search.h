// search.h - a chain of units cut into stages, one device each: fewest devices, then least time.
//
// Knows nothing of models: tables of bytes and times go in, stages come out. Exact: no assignment
// of contiguous ranges to distinct devices is better in the order stated at `struct search_goal`.
// Method: dynamic programmes over sets of devices, equal ones counted instead of named. Time and
// memory grow with the number of sets: 9 for 8 equal devices, 4096 for 12 unlike ones.

#ifndef SNUG_SEARCH_H
#define SNUG_SEARCH_H

#include "base/base.h"

enum { SEARCH_DEVS = 16, SEARCH_UNITS = 255 };

/// A device: room for the stage that it takes, and which tables say what a stage costs on it.
/// Devices with the same table and room are interchangeable, and are used in the order given.
struct search_dev {
    int table;
    uint64_t room; // UINT64_MAX: no limit
};

/// Costs of the stage of units [from, to), from < to <= n_units, at [from * (n_units + 1) + to].
/// Bytes never shrink as `to` grows; as `from` shrinks they may. UINT64_MAX: impossible.
/// Times are whole nanoseconds, so that equal is equal; a hop into the stage is part of it. They
/// are not negative, and the longest n_devs of them add up to less than INT64_MAX / 4. What is
/// impossible may have any time.
struct search_table {
    const uint64_t *bytes;
    const int64_t *ns;
};

enum search_goal {
    SEARCH_FEWEST,  // fewest devices, then least time, then largest slack, then lowest order
    SEARCH_FASTEST, // least time, then fewest devices, then largest slack, then lowest order
};
// Slack: of the stages, the least of room minus bytes; devices without a limit do not count
// (UINT64_MAX if none does). Lowest order: stage by stage from unit 0, the lower device first, then
// the longer stage.

struct search {
    int n_units, n_devs, n_tables; // at most SEARCH_UNITS, SEARCH_DEVS
    const struct search_dev *dev;
    const struct search_table *table;
    enum search_goal goal;
    int max_devs;   // 0: all
    int exact_devs; // 0: any number; otherwise no other, and nothing fits if it passes max_devs
};

struct search_stage {
    int dev, from, to;
};
struct search_result {
    int n_stages; // 0: nothing fits
    struct search_stage stage[SEARCH_DEVS];
    int64_t ns;
    uint64_t slack;
};

/// False when no assignment fits; *out then has n_stages 0. Allocates and frees what it needs.
bool search_find(struct search_result *out, const struct search *s);

/// Why fewer do not do: of all sets of `n_devs` devices (equal ones counted once), how many there
/// are, and the one that holds the longest prefix with all or some of its devices, and the bytes
/// that its device with the least lack would need to hold one unit more behind what the others
/// hold. Of several such sets that with the least lack, then the lowest `devs`. The limits max_devs
/// and exact_devs play no part.
struct search_reach {
    int n_sets;     // 0: there are not so many devices
    uint32_t devs;  // bit d: device d; of equal ones the lowest
    int last_dev;   // the device that would have to take unit `units` too; -1: all are held
    int units;      // units [0, units) are held, all of them if == n_units
    uint64_t lacks; // bytes; 0 if all are held, UINT64_MAX if no room would do
};
void search_reach(struct search_reach *out, const struct search *s, int n_devs);

#endif
