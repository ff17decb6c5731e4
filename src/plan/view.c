// view.c - see view.h.

#include "plan/view.h"

static const struct view *view_of(struct dev *d)
{
    return (const struct view *)(const void *)d;
}

static struct dev *under(struct dev *d)
{
    return view_of(d)->under;
}

static void view_info(struct dev *d, struct dev_info *out)
{
    *out = view_of(d)->info;
}

static const struct kernel *view_find(struct dev *d, const struct node *n, const struct dims *max,
                                      bool exact)
{
    return under(d)->ops->find(under(d), n, max, exact);
}

static const struct kernel *view_convert(struct dev *d, enum dtype to)
{
    return under(d)->ops->convert(under(d), to);
}

static const struct dev_ops view_ops = { .info = view_info,
                                         .find = view_find,
                                         .convert = view_convert };

void view_init(struct view *v, struct dev *d)
{
    *v = (struct view){ .dev.ops = &view_ops, .under = d };
    d->ops->info(d, &v->info);
}
