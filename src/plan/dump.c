// dump.c - every value and step of a plan, for golden tests and `snug plan --full`.

#include "plan/plan_int.h"

#include <inttypes.h>

static bool dump_values(const struct plan *p, struct buf *out)
{
    for (int i = 0; i < p->n_values; i++) {
        const struct value *v = &p->value[i];
        const struct slot *s = &v->slot;
        bool ok = buf_printf(out, "value %d %s %s dev %d %s %" PRIu64 "+%" PRIu64 " steps %d-%d", i,
                             v->t != NULL ? v->t->name : "-", dtype_info(v->format)->name, s->dev,
                             s->mapped ? "mapped" : arena_kind_name(s->arena), s->offset, s->bytes,
                             v->first_step, v->last_step);
        if (v->alias >= 0)
            ok = ok && buf_printf(out, " takes %d", v->alias);
        if (!ok || !buf_addz(out, "\n"))
            return false;
    }
    return true;
}

static bool dump_steps(const struct plan *p, struct buf *out)
{
    for (int i = 0; i < p->n_steps; i++) {
        const struct step *s = &p->step[i];
        bool ok = buf_printf(out, "step %d dev %d %s%s:", i, s->dev,
                             s->kernel != NULL ? s->kernel->name : "copy", s->sync ? " sync" : "");
        for (int k = 0; k < NODE_SRC; k++)
            ok = ok && (s->src[k] < 0 ? buf_addz(out, " -") : buf_printf(out, " %d", s->src[k]));
        ok = ok && buf_addz(out, " ->");
        for (int k = 0; k < NODE_DST; k++)
            ok = ok && (s->dst[k] < 0 || buf_printf(out, " %d", s->dst[k]));
        if (s->scratch >= 0)
            ok = ok && buf_printf(out, " scratch %d", s->scratch);
        if (!ok || !buf_addz(out, "\n"))
            return false;
    }
    return true;
}

bool plan_dump(const struct plan *p, struct buf *out)
{
    bool ok = plan_table(p, out) && dump_values(p, out) && dump_steps(p, out);

    return ok && buf_printf(out, "hash %016" PRIx64 "\n", p->hash);
}
