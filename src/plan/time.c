// time.c - how long a plan's steps will take for one token: bytes read over speed of memory, and a
// constant for each step. At the start of a context, where KV is next to nothing.

#include "plan/plan_int.h"

static int64_t ns_for(double bytes, double bytes_per_s)
{
    return bytes_per_s > 0 ? (int64_t)(bytes / bytes_per_s * 1e9 + 0.5) : 0;
}

uint64_t step_read_bytes(const struct step *s, const struct dims *max)
{
    uint64_t sum = 0;

    for (int i = 0; s->node != NULL && i < NODE_SRC; i++) {
        const struct tensor *t = s->node->src[i];
        if (t == NULL || t->role != ROLE_WEIGHT || s->src[i] < 0)
            continue;
        uint64_t bytes = tensor_bytes(t, max);
        if (t->rows_used)
            bytes /= (uint64_t)tensor_rows(t, max);
        else if (s->node->op == OP_EXPERTS && i == 1) // w, and src[2] has the ids of k experts
            bytes = bytes / (uint64_t)t->d[2].n * (uint64_t)s->node->src[2]->d[0].n;
        sum += bytes;
    }
    return sum;
}

int64_t hop_time_ns(const struct tensor *t, const struct dev_info *dev, const struct dims *max)
{
    uint64_t rows = (uint64_t)tensor_rows(t, max); // of one token: one

    return dev->hop_ns +
           ns_for((double)(tensor_bytes(t, max) / (rows > 0 ? rows : 1)), dev->link_bytes_per_s);
}

int64_t step_ns(const struct step *s, const struct value *value, const struct dev_info *dev,
                const struct dims *max)
{
    if (s->kernel == NULL)
        return hop_time_ns(value[s->dst[0]].t, dev, max);
    return dev->step_ns + ns_for((double)step_read_bytes(s, max), dev->bytes_per_s);
}
