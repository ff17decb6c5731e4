// several.c - see several.h. A walk over orders of models: each is placed by the usual search into
// what those before it left free. Orders share their beginnings, so four models take 64 searches.

#include "plan/several.h"
#include "plan/report.h"
#include "plan/view.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/// How good an order of one set is: fewer devices, then less time for a token of each.
struct cost {
    int devices;
    int64_t ns;
};

struct walk {
    const struct several_model *m;
    int n, n_devs;
    struct several_set best[1 << SEVERAL_MOST]; // by set; n 0: none that fits
    struct cost cost[1 << SEVERAL_MOST];
    uint64_t weights[SEVERAL_MOST];
    int by_size[SEVERAL_MOST];
    struct err *alone;
    int order[SEVERAL_MOST];
    struct err *e;
    bool failed;
};

static uint64_t weights_of(const struct several_model *m)
{
    struct dims max = { .n_tokens = 1, .n_outputs = 1, .n_slots = 1, .n_ctx = 64, .max_tokens = 1 };
    uint64_t sum = 0;

    for (int i = 0; i < graph_n_tensors(m->g); i++)
        if (graph_tensor(m->g, i)->role == ROLE_WEIGHT)
            sum += tensor_bytes(graph_tensor(m->g, i), &max);
    return sum;
}

/// What a plan takes of a device for good. The reserve is not each model's.
static uint64_t taken(const struct plan *p, int dev)
{
    return plan_rows_total(p, dev) - plan_row_bytes(p, dev, ROW_RESERVE);
}

static void take(struct view *v, struct dev **devs, int n_devs, struct dev *const *from,
                 const struct plan *p)
{
    for (int d = 0; d < n_devs; d++) {
        view_init(&v[d], from[d]);
        devs[d] = &v[d].dev;
        uint64_t bytes = p != NULL ? taken(p, d) : 0;
        if (v[d].info.free_bytes != UINT64_MAX)
            v[d].info.free_bytes -= bytes;
    }
}

static bool better(const struct cost *a, const struct cost *b)
{
    return a->devices != b->devices ? a->devices < b->devices : a->ns < b->ns;
}

static void keep(struct walk *w, uint32_t set, int n, const struct cost *c)
{
    struct several_set *s = &w->best[set];

    if (s->n > 0 && !better(c, &w->cost[set]))
        return;
    *s = (struct several_set){ .models = set, .n = n };
    for (int i = 0; i < n; i++) {
        s->order[i] = w->order[i];
        s->weights += w->weights[w->order[i]];
    }
    w->cost[set] = *c;
}

static int devices_used(const struct plan *p)
{
    int n = 0;

    for (int d = 0; d < p->n_devs; d++)
        n += p->dev[d].used;
    return n;
}

/// Adds every model that may come next, at `from` or later in the order of sizes, to the n placed.
static void step(struct walk *w, uint32_t set, int n, int from, const struct cost *so_far,
                 struct dev *const *devs)
{
    struct view *views = xcalloc((size_t)w->n_devs, sizeof(*views));
    struct dev **next = xcalloc((size_t)w->n_devs, sizeof(*next));

    for (int k = w->n <= SEVERAL_ALL_ORDERS ? 0 : from; k < w->n && !w->failed; k++) {
        int i = w->by_size[k];
        const struct several_model *m = &w->m[i];
        struct plan *p;
        struct err why = { 0 };
        if (set & 1u << i)
            continue;
        if (!place_find(&p, NULL, m->g, m->w, &m->lim, &m->o, devs, w->n_devs,
                        n == 0 ? &why : NULL)) {
            if (n == 0 && why.code != ERR_NOFIT)
                w->failed = !err_set(w->e, why.code, "%s: %s", m->name, why.msg);
            if (n == 0)
                w->alone[i] = why;
            continue;
        }
        struct cost c = { so_far->devices + devices_used(p), so_far->ns + plan_token_ns(p) };
        w->order[n] = i;
        keep(w, set | 1u << i, n + 1, &c);
        take(views, next, w->n_devs, devs, p);
        plan_free(p);
        step(w, set | 1u << i, n + 1, k + 1, &c, next);
    }
    free(next);
    free(views);
}

static int cmp_set(const void *a, const void *b)
{
    const struct several_set *x = a, *y = b;

    if (x->n != y->n)
        return x->n > y->n ? -1 : 1;
    if (x->weights != y->weights)
        return x->weights > y->weights ? -1 : 1;
    for (int i = 0; i < SEVERAL_MOST; i++)
        if ((x->models ^ y->models) & 1u << i)
            return x->models & 1u << i ? -1 : 1;
    return 0;
}

/// Those of which no set that fits holds more.
static void maximal(struct several *s, const struct walk *w)
{
    for (uint32_t a = 1; a < 1u << w->n; a++) {
        bool more = false;
        for (uint32_t b = 1; b < 1u << w->n && !more; b++)
            more = b != a && (a & b) == a && w->best[b].n > 0;
        if (w->best[a].n > 0 && !more)
            s->set[s->n_sets++] = w->best[a];
    }
    qsort(s->set, (size_t)s->n_sets, sizeof(s->set[0]), cmp_set);
}

static bool place_best(struct several *s, const struct several_model *m, struct dev *const *devs,
                       struct err *e)
{
    const struct several_set *set = &s->set[0];
    size_t n_devs = (size_t)s->n_devs;

    s->views = xcalloc(n_devs * (size_t)set->n, sizeof(*s->views));
    s->view_devs = xcalloc(n_devs * (size_t)set->n, sizeof(*s->view_devs));
    for (int k = 0; k < set->n; k++) {
        int i = set->order[k];
        struct dev **now = s->view_devs + n_devs * (size_t)k;
        take(s->views + n_devs * (size_t)k, now, s->n_devs, k == 0 ? devs : now - n_devs,
             k == 0 ? NULL : s->plan[set->order[k - 1]]);
        if (!place_find(&s->plan[i], &s->placement[i], m[i].g, m[i].w, &m[i].lim, &m[i].o, now,
                        s->n_devs, e))
            return false;
    }
    return true;
}

bool several_find(struct several **out, const struct several_model *m, int n,
                  struct dev *const *devs, int n_devs, struct err *e)
{
    *out = NULL;
    if (n < 1 || n > SEVERAL_MOST)
        return err_set(e, ERR_ARG, "%d models at once: 1 to %d are planned together", n,
                       SEVERAL_MOST);
    struct several *s = xcalloc(1, sizeof(*s));
    struct walk *w = xcalloc(1, sizeof(*w));
    *w = (struct walk){ .m = m, .n = n, .n_devs = n_devs, .alone = s->alone, .e = e };
    s->n_models = n;
    s->n_devs = n_devs;
    s->dev = xcalloc((size_t)n_devs, sizeof(*s->dev));
    for (int d = 0; d < n_devs; d++)
        devs[d]->ops->info(devs[d], &s->dev[d]);
    for (int i = 0; i < n; i++) {
        int at = i;
        w->weights[i] = weights_of(&m[i]);
        for (; at > 0 && w->weights[w->by_size[at - 1]] < w->weights[i]; at--)
            w->by_size[at] = w->by_size[at - 1];
        w->by_size[at] = i;
    }
    step(w, 0, 0, 0, &(struct cost){ 0 }, devs);
    bool ok = !w->failed;
    if (ok)
        maximal(s, w);
    if (ok && s->n_sets > 0)
        ok = place_best(s, m, devs, e);
    free(w);
    if (ok)
        *out = s;
    else
        several_free(s);
    return ok;
}

void several_free(struct several *s)
{
    if (s == NULL)
        return;
    for (int i = 0; i < s->n_models; i++)
        plan_free(s->plan[i]);
    free(s->view_devs);
    free(s->views);
    free(s->dev);
    free(s);
}

uint64_t several_bytes(const struct several *s, int i, int dev)
{
    return s->plan[i] != NULL ? taken(s->plan[i], dev) : 0;
}

// --- for people and programs ---------------------------------------------------------------------

static uint64_t reserve(const struct several *s, const struct several_model *m, int dev)
{
    uint64_t most = 0;

    for (int i = 0; i < s->n_models; i++)
        if (s->plan[i] != NULL && s->dev[dev].free_bytes != UINT64_MAX)
            most = m[i].lim.reserve_bytes > most ? m[i].lim.reserve_bytes : most;
    return most;
}

static uint64_t total(const struct several *s, const struct several_model *m, int dev)
{
    uint64_t sum = 0;

    for (int i = 0; i < s->n_models; i++)
        sum += several_bytes(s, i, dev);
    return sum > 0 ? sum + reserve(s, m, dev) : 0;
}

/// "a, b and c": those in the set, or those that are not.
static bool names(const struct several *s, const struct several_model *m, uint32_t set,
                  struct buf *out)
{
    int left = 0, n = 0;
    bool ok = true;

    for (int i = 0; i < s->n_models; i++)
        left += (set >> i & 1) != 0;
    for (int i = 0; i < s->n_models; i++) {
        if (!(set >> i & 1))
            continue;
        ok = ok && buf_printf(out, "%s%s", n == 0 ? "" : n + 1 == left ? " and " : ", ", m[i].name);
        n++;
    }
    return ok;
}

static bool row(const struct several *s, const char *name, const uint64_t *bytes, struct buf *out)
{
    char exact[32], size[32];
    bool ok = buf_printf(out, "%-24.24s", name);

    for (int d = 0; d < s->n_devs; d++) {
        if (bytes[d] == UINT64_MAX)
            ok = ok && buf_printf(out, " %25s", "no limit");
        else if (s->n_devs <= 2)
            ok = ok && buf_printf(out, " %15s %9s", fmt_count(exact, bytes[d]),
                                  fmt_bytes(size, bytes[d]));
        else
            ok = ok && buf_printf(out, " %15s", fmt_count(exact, bytes[d]));
    }
    return ok && buf_addz(out, "\n");
}

static bool table(const struct several *s, const struct several_model *m, struct buf *out)
{
    uint64_t *bytes = xcalloc((size_t)s->n_devs, sizeof(*bytes)), any = 0;
    bool ok = buf_printf(out, "%-24s", "");

    for (int d = 0; d < s->n_devs; d++)
        ok = ok && buf_printf(out, s->n_devs <= 2 ? " %25s" : " %15s", s->dev[d].name);
    ok = ok && buf_addz(out, "\n");
    for (int i = 0; i < s->n_models; i++) {
        if (s->plan[i] == NULL)
            continue;
        for (int d = 0; d < s->n_devs; d++)
            bytes[d] = several_bytes(s, i, d);
        ok = ok && row(s, m[i].name, bytes, out);
    }
    for (int d = 0; d < s->n_devs; d++)
        any |= bytes[d] = total(s, m, d) > 0 ? reserve(s, m, d) : 0;
    ok = ok && (any == 0 || row(s, "reserve", bytes, out));
    for (int d = 0; d < s->n_devs; d++)
        bytes[d] = total(s, m, d);
    ok = ok && row(s, "= total", bytes, out);
    for (int d = 0; d < s->n_devs; d++)
        bytes[d] =
            s->dev[d].free_bytes == UINT64_MAX ? UINT64_MAX : s->dev[d].free_bytes - bytes[d];
    ok = ok && row(s, "free", bytes, out);
    free(bytes);
    return ok;
}

bool several_table(const struct several *s, const struct several_model *m, struct buf *out)
{
    uint32_t all = (1u << s->n_models) - 1;
    char text[128];
    bool ok = names(s, m, all, out);

    if (s->n_sets > 0 && s->set[0].models == all)
        ok = ok && buf_addz(out, s->n_models == 1 ? " fits\n" : " fit together\n");
    else
        ok = ok && buf_addz(out, s->n_models == 1 ? " does not fit\n" : " do not fit together\n");
    for (int k = 0; k < s->n_sets && s->set[0].models != all; k++) {
        ok = ok && buf_addz(out, k == 0 ? "best      " : "or        ") &&
             names(s, m, s->set[k].models, out) && buf_addz(out, "; without ") &&
             names(s, m, all & ~s->set[k].models, out) && buf_addz(out, "\n");
    }
    for (int i = 0; i < s->n_models; i++)
        if (s->alone[i].code != ERR_NONE)
            ok = ok && buf_printf(out, "alone     %s: %s\n", m[i].name, s->alone[i].msg);
    if (s->n_sets == 0)
        return ok;
    ok = ok && buf_addz(out, "\n") && table(s, m, out) && buf_addz(out, "\n");
    for (int i = 0; i < s->n_models; i++)
        for (int d = 0; d < s->n_devs && s->plan[i] != NULL; d++)
            if (s->plan[i]->dev[d].used)
                ok = ok && buf_printf(out, "%-24.24s %s: %s\n", m[i].name, s->dev[d].name,
                                      plan_parts_text(text, sizeof(text), s->plan[i], d));
    return ok;
}

static bool json_names(const struct several *s, const struct several_model *m, uint32_t set,
                       struct buf *out)
{
    bool first = true, ok = buf_addz(out, "[");

    for (int i = 0; i < s->n_models; i++) {
        if (!(set >> i & 1))
            continue;
        ok = ok && buf_addz(out, first ? "" : ", ") &&
             buf_json_text(out, m[i].name, strlen(m[i].name));
        first = false;
    }
    return ok && buf_addz(out, "]");
}

bool several_json(const struct several *s, const struct several_model *m, struct buf *out)
{
    uint32_t all = (1u << s->n_models) - 1;
    bool ok = buf_printf(out, "{\n  \"together\": %s,\n  \"sets\": [",
                         s->n_sets > 0 && s->set[0].models == all ? "true" : "false");

    for (int k = 0; k < s->n_sets; k++)
        ok = ok && buf_printf(out, "%s\n    {\"models\": ", k > 0 ? "," : "") &&
             json_names(s, m, s->set[k].models, out) && buf_addz(out, ", \"without\": ") &&
             json_names(s, m, all & ~s->set[k].models, out) && buf_addz(out, "}");
    ok = ok && buf_addz(out, "],\n  \"devices\": [");
    for (int d = 0; d < s->n_devs; d++) {
        bool first = true;
        ok = ok && buf_printf(out, "%s\n    {\"name\": ", d > 0 ? "," : "") &&
             buf_json_text(out, s->dev[d].name, strlen(s->dev[d].name)) &&
             buf_addz(out, ", \"models\": [");
        for (int i = 0; i < s->n_models; i++) {
            if (several_bytes(s, i, d) == 0)
                continue;
            ok = ok && buf_addz(out, first ? "{\"name\": " : ", {\"name\": ") &&
                 buf_json_text(out, m[i].name, strlen(m[i].name)) &&
                 buf_printf(out, ", \"bytes\": %" PRIu64 "}", several_bytes(s, i, d));
            first = false;
        }
        ok = ok && buf_printf(out, "], \"reserve_bytes\": %" PRIu64 ", \"total_bytes\": %" PRIu64,
                              total(s, m, d) > 0 ? reserve(s, m, d) : 0, total(s, m, d));
        if (s->dev[d].free_bytes != UINT64_MAX)
            ok = ok && buf_printf(out, ", \"left_bytes\": %" PRIu64,
                                  s->dev[d].free_bytes - total(s, m, d));
        ok = ok && buf_addz(out, "}");
    }
    return ok && buf_addz(out, "]\n}\n");
}
