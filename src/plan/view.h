// view.h - a device seen with other free bytes than it reports. Private to plan/.

#ifndef SNUG_VIEW_H
#define SNUG_VIEW_H

#include "dev/dev.h"

/// Plans can be made for it; nothing can be allocated or run on it. Plans borrow it.
struct view {
    struct dev dev;
    struct dev *under;
    struct dev_info info;
};
/// As `under`, which must outlive it, is now. `info` may be changed afterwards.
void view_init(struct view *v, struct dev *under);

#endif
