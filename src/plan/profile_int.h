// profile_int.h - the table of profiles, and devices from files. Private to plan/.

#ifndef SNUG_PROFILE_INT_H
#define SNUG_PROFILE_INT_H

#include "plan/profile.h"

extern const struct profile profile_table[];
extern const int profile_table_n;

/// Appends one device. Errors: ERR_ARG out is full.
MUST_CHECK bool profile_add(struct dev_info *out, int *n, int max, const struct dev_info *info,
                            struct err *e);
/// Appends the devices of a file.
MUST_CHECK bool profile_add_file(struct dev_info *out, int *n, int max, const char *path,
                                 struct err *e);

#endif
