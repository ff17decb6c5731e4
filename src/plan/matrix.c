// matrix.c - the largest context for each number of devices, type of keys and values, and slots.

#include "plan/plan_int.h"
#include "plan/report.h"

#include <inttypes.h>
#include <stdlib.h>

static const int slots[] = { 1, 2, 4, 8 };
static const enum dtype types[] = { DTYPE_F16, DTYPE_Q8_0 };
enum { N_SLOTS = ARRAY_LEN(slots), N_TYPES = ARRAY_LEN(types) };

struct row {
    int n_devs;
    int64_t ctx[N_TYPES][N_SLOTS];
};

static int64_t largest(const struct question *q, enum dtype kv, int n)
{
    struct question t = *q;

    t.lim.kv = kv;
    t.lim.slots = n;
    t.lim.outputs = q->lim.outputs == q->lim.slots ? n : q->lim.outputs;
    if (t.lim.outputs > t.lim.micro_batch)
        t.lim.outputs = t.lim.micro_batch;
    t.o.open_kv = t.o.open_micro_batch = false;
    return advise_max_context_anywhere(&t, 0);
}

/// One row for each number of devices, at most; the last is of all. free() it.
static struct row *make_rows(const struct question *q, int *n)
{
    struct row *rows = xcalloc((size_t)q->n_devs, sizeof(*rows));

    *n = 0;
    for (int k = 1; k <= question_n_devices(q) || *n == 0; k++) {
        struct row *r = &rows[(*n)++];
        struct dev **devs = NULL;
        struct question sub = question_n_devices(q) > 0 ? question_on_largest(q, k, &devs) : *q;
        r->n_devs = question_n_devices(q) > 0 ? k : 0;
        for (int t = 0; t < N_TYPES; t++)
            for (int s = 0; s < N_SLOTS; s++)
                r->ctx[t][s] = largest(&sub, types[t], slots[s]);
        free(devs);
    }
    return rows;
}

bool report_max_ctx(const struct question *q, bool json, struct buf *out)
{
    char text[32];
    int n;
    struct row *rows = make_rows(q, &n);
    bool ok =
        json ? buf_addz(out, "{\"max_context\": [")
             : buf_printf(out, "largest context of each slot, exactly; micro-batch %d\n%-10s%s\n",
                          q->lim.micro_batch, "",
                          "       kv f16                                      kv q8_0");

    if (!json) {
        ok = ok && buf_printf(out, "%-10s", "devices");
        for (int t = 0; t < N_TYPES; t++)
            for (int s = 0; s < N_SLOTS; s++)
                ok = ok && buf_printf(out, " %4d slot%s", slots[s], slots[s] == 1 ? " " : "s");
        ok = ok && buf_addz(out, "\n");
    }
    for (int i = 0; i < n; i++) {
        if (!json)
            ok = ok && (rows[i].n_devs > 0 ? buf_printf(out, "%-10d", rows[i].n_devs)
                                           : buf_printf(out, "%-10s", "host"));
        for (int t = 0; t < N_TYPES; t++)
            for (int s = 0; s < N_SLOTS; s++) {
                int64_t ctx = rows[i].ctx[t][s];
                if (json)
                    ok = ok && buf_printf(out,
                                          "%s\n  {\"devices\": %d, \"kv_type\": \"%s\", "
                                          "\"slots\": %d, \"context\": %" PRId64 "}",
                                          i + t + s > 0 ? "," : "", rows[i].n_devs,
                                          kv_type_name(types[t]), slots[s], ctx);
                else
                    ok = ok &&
                         buf_printf(out, " %10s", ctx > 0 ? fmt_count(text, (uint64_t)ctx) : "-");
            }
        ok = ok && (json || buf_addz(out, "\n"));
    }
    free(rows);
    return ok && (!json || buf_addz(out, "\n]}\n"));
}
