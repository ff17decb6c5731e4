// place.c - the search over assignments: limits that were left open, devices into classes, costs
// into tables, stages into parts, and the sentences that say why.
//
// The result is a real plan. Costs are lower bounds of what plans take (cost.h), so that nothing
// that fits is missed; where a plan takes more, because its scratch could not be packed to the
// bound, the device's room shrinks by the difference and the search goes on.

#include "plan/place.h"

#include "plan/place_int.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum { MICRO_BATCH_LEAST = 16, SLOTS_MOST = 64, TRIES = 16 };

const struct place_opts place_any = { .num_gpu = -1, .main_gpu = -1 };

const char *place_goal_name(enum place_goal g)
{
    static const char *const name[] = { "fewest", "speed", "context", "slots" };

    return name[g];
}

void assign_even(struct assign *a, const struct graph *g, int n_devs)
{
    int n = graph_n_parts(g);

    a->n_parts = n;
    a->dev = xcalloc((size_t)n, sizeof(*a->dev));
    for (int i = 1; i < n; i++)
        a->dev[i] = (int)((int64_t)(i - 1) * n_devs / (n - 1));
}

// --- what is given -------------------------------------------------------------------------------

uint64_t placer_room(const struct placer *s, int d)
{
    const struct plan_dev p = { .info = s->info[d] };

    return plan_room(&p, &s->lim);
}

/// Whether a table of costs made for one serves the other: everything but its name and memory.
static bool same_class(const struct placer *s, int a, int b)
{
    struct dev_info x = s->info[a], y = s->info[b];

    if (s->devs[a]->ops != s->devs[b]->ops || s->devs[a]->ops->find != s->devs[b]->ops->find)
        return false;
    return x.kind == y.kind && x.in_place == y.in_place && x.granule_bytes == y.granule_bytes &&
           x.max_threads == y.max_threads && x.bytes_per_s == y.bytes_per_s &&
           x.ops_per_s == y.ops_per_s && x.link_bytes_per_s == y.link_bytes_per_s &&
           x.step_ns == y.step_ns && x.hop_ns == y.hop_ns;
}

static void find_classes(struct placer *s)
{
    s->n_classes = 0;
    for (int d = 0; d < s->n_devs; d++) {
        s->class_of[d] = -1;
        for (int b = 0; b < d && s->class_of[d] < 0; b++)
            if (same_class(s, b, d))
                s->class_of[d] = s->class_of[b];
        if (s->class_of[d] < 0) {
            s->class_dev[s->n_classes] = d;
            s->class_of[d] = s->n_classes++;
        }
    }
}

/// The embedding table and the output matrix are one tensor of the file.
static bool is_tied(const struct graph *g)
{
    int embed = -1, head = -2;

    for (int i = 0; i < graph_n_tensors(g); i++) {
        const struct tensor *t = graph_tensor(g, i);
        if (t->role != ROLE_WEIGHT || t->n_dims < 2)
            continue;
        enum part_kind k = graph_part(g, t->part)->kind;
        embed = k == PART_EMBED && t->rows_used ? t->source : embed;
        head = k == PART_HEAD ? t->source : head;
    }
    return embed == head;
}

static int block_count(const struct graph *g)
{
    int n = 0;

    for (int i = 0; i < graph_n_parts(g); i++)
        n += graph_part(g, i)->kind == PART_BLOCK;
    return n;
}

/// What the host keeps in this variant. Of blocks with `num_gpu`: all but the last so many.
static void choose_host_parts(struct placer *s, bool embed, bool experts)
{
    int keep = s->o->num_gpu >= 0 && s->host >= 0 ? s->n_blocks - s->o->num_gpu : 0;

    for (int i = 0; i < s->n_parts; i++) {
        const struct part *p = graph_part(s->g, i);
        bool early = keep > 0 && (p->kind == PART_EMBED || p->kind == PART_VISION ||
                                  (p->il >= 0 && p->il < keep));
        bool all = keep >= s->n_blocks && keep > 0 && p->kind != PART_SHARED;
        s->on_host[i] = early || all || (embed && p->kind == PART_EMBED) ||
                        (experts && p->kind == PART_EXPERTS);
    }
}

// --- costs ---------------------------------------------------------------------------------------

/// A sketch of a plan with all units on `dev`; NULL and s->e where it has no kernels for it.
struct plan *placer_plan_on(struct placer *s, const struct units *u, int dev)
{
    struct plan *p = NULL;

    for (int i = 0; i < s->n_parts; i++)
        s->a.dev[i] = u->of[i] >= 0 || s->host < 0 ? dev : s->host;
    if (!plan_sketch(&p, s->g, s->w, &s->a, &s->lim, s->devs, s->n_devs, s->e))
        return NULL;
    return p;
}

void tables_done(struct tables *t)
{
    for (int c = 0; c < t->n; c++)
        costs_done(&t->costs[c]);
    free(t->units.of);
    *t = (struct tables){ 0 };
}

/// Costs for each class of device; classes without kernels have a table of impossible stages, and
/// so has the host where it gets none.
static bool make_tables(struct placer *s, struct tables *t, bool with_host)
{
    bool any = false;

    *t = (struct tables){ .n = s->n_classes };
    units_of(&t->units, s->g, s->on_host);
    for (int c = 0; c < t->n; c++) {
        bool wanted = with_host || s->class_dev[c] != s->host;
        struct plan *p = wanted ? placer_plan_on(s, &t->units, s->class_dev[c]) : NULL;
        if (p != NULL) {
            costs_from_plan(&t->costs[c], p, s->class_dev[c], &t->units);
            any = true;
        } else {
            costs_impossible(&t->costs[c], &t->units);
        }
        plan_free(p);
    }
    return any;
}

static bool same_limits(const struct limits *a, const struct limits *b)
{
    return a->micro_batch == b->micro_batch && a->outputs == b->outputs && a->slots == b->slots &&
           a->ctx == b->ctx && a->kv == b->kv && a->exact == b->exact;
}

/// Tables for devices with or without the embedding, made or kept; NULL: no device has the kernels.
static const struct tables *tables_for(struct placer *s, bool embed_on_host, bool with_host)
{
    const int most = sizeof(s->kept) / sizeof(s->kept[0]);

    choose_host_parts(s, embed_on_host, false);
    for (int i = 0; i < s->n_kept && i < most; i++)
        if (s->kept[i].embed_on_host == embed_on_host && (s->kept[i].with_host || !with_host) &&
            same_limits(&s->kept[i].lim, &s->lim))
            return &s->kept[i].t;
    struct kept_tables *k = &s->kept[s->n_kept % most];
    tables_done(&k->t);
    k->lim = s->lim;
    k->embed_on_host = embed_on_host;
    k->with_host = with_host;
    if (!make_tables(s, &k->t, with_host)) {
        tables_done(&k->t);
        k->lim = (struct limits){ 0 };
        return NULL;
    }
    s->n_kept++;
    return &k->t;
}

/// Devices, in the order in which equal ones are taken, that may be used: without the host's.
static int usable(const struct placer *s, int *out, bool with_host)
{
    int n = 0;

    for (int d = 0; d < s->n_devs && n < SEARCH_DEVS; d++)
        if (d != s->host || with_host)
            out[n++] = d;
    return n;
}

bool placer_search(struct placer *s, struct search_result *out, const struct tables *t,
                   enum search_goal goal, bool with_host, int exact)
{
    struct search_dev dev[SEARCH_DEVS];
    struct search_table table[SEARCH_DEVS];
    int id[SEARCH_DEVS];
    struct search q = { .n_units = t->units.n,
                        .n_tables = t->n,
                        .dev = dev,
                        .table = table,
                        .goal = goal,
                        .exact_devs = exact };

    q.n_devs = usable(s, id, with_host);
    for (int c = 0; c < t->n; c++)
        table[c] = (struct search_table){ t->costs[c].bytes, t->costs[c].ns };
    for (int i = 0; i < q.n_devs; i++) {
        uint64_t room = placer_room(s, id[i]);
        uint64_t less = s->penalty[id[i]];
        dev[i] = (struct search_dev){ s->class_of[id[i]], room == UINT64_MAX ? room
                                                          : room > less      ? room - less
                                                                             : 0 };
    }
    *out = (struct search_result){ 0 };
    if (q.n_units == 0) // the host keeps everything
        return true;
    if (q.n_devs == 0 || !search_find(out, &q))
        return false;
    for (int i = 0; i < out->n_stages; i++)
        out->stage[i].dev = id[out->stage[i].dev];
    return true;
}

static void assign_stages(struct placer *s, const struct units *u, const struct search_result *r)
{
    for (int i = 0; i < s->n_parts; i++) {
        s->a.dev[i] = s->host >= 0 ? s->host : 0;
        for (int k = 0; k < r->n_stages; k++)
            if (u->of[i] >= r->stage[k].from && u->of[i] < r->stage[k].to && u->of[i] >= 0)
                s->a.dev[i] = r->stage[k].dev;
    }
}

/// The plan of s->a, kept as the best try. True if it fits; else the rooms of devices where it
/// takes more than it may are smaller by the difference.
bool placer_try(struct placer *s)
{
    struct plan *p = NULL;

    if (!plan_make(&p, s->g, s->w, &s->a, &s->lim, s->devs, s->n_devs, s->e))
        return false;
    plan_free(s->best);
    s->best = p;
    for (int d = 0; d < s->n_devs; d++) {
        uint64_t room = placer_room(s, d);
        if (p->dev[d].used && p->dev[d].total_bytes > room)
            s->penalty[d] += p->dev[d].total_bytes - room;
    }
    return plan_holds(p);
}

/// Searches and plans until a plan keeps what its costs promised.
static bool find_with_tables(struct placer *s, const struct tables *t, enum search_goal goal,
                             bool with_host, int exact)
{
    struct search_result r;

    memset(s->penalty, 0, sizeof(s->penalty));
    for (int i = 0; i < TRIES && placer_search(s, &r, t, goal, with_host, exact); i++) {
        s->n_stages = r.n_stages;
        if (s->by_costs)
            return true;
        assign_stages(s, &t->units, &r);
        if (placer_try(s))
            return true;
    }
    return false;
}

// --- why no fewer --------------------------------------------------------------------------------

/// "k80 #0", "k80 #0 and k80 #1", ... from a set of devices
static void set_text(char *out, size_t n, const struct placer *s, const int *id, uint32_t devs)
{
    size_t at = 0;
    int left = __builtin_popcount(devs);

    out[0] = '\0';
    for (int i = 0; i < SEARCH_DEVS && at < n; i++)
        if ((devs >> i & 1) != 0)
            at += (size_t)snprintf(out + at, n - at, "%s%s", s->info[id[i]].name,
                                   --left > 1  ? ", "
                                   : left == 1 ? " and "
                                               : "");
}

static void unit_text(char *out, size_t n, const struct placer *s, const struct units *u, int unit)
{
    for (int i = 0; i < s->n_parts; i++) {
        const struct part *p = graph_part(s->g, i);
        if (u->of[i] != unit)
            continue;
        if (p->kind == PART_BLOCK)
            snprintf(out, n, "block %d", p->il);
        else
            snprintf(out, n, "%s", p->kind == PART_HEAD ? "the head" : "the embedding");
        if (p->kind == PART_BLOCK)
            return;
    }
}

static void prove(struct placer *s, const struct tables *t)
{
    struct search_dev dev[SEARCH_DEVS];
    struct search_table table[SEARCH_DEVS];
    struct search_reach reach;
    int id[SEARCH_DEVS];
    struct search q = { .n_units = t->units.n, .n_tables = t->n, .dev = dev, .table = table };
    char set[160], unit[32] = "", lacks[32];

    if (s->n_stages < 2) {
        snprintf(s->why->proof[s->why->n_proof++], sizeof(s->why->proof[0]),
                 "%d device%s: no fewer can hold anything", s->n_stages,
                 s->n_stages == 1 ? "" : "s");
        s->why->minimal = true;
        return;
    }
    q.n_devs = usable(s, id, false);
    for (int c = 0; c < t->n; c++)
        table[c] = (struct search_table){ t->costs[c].bytes, t->costs[c].ns };
    for (int i = 0; i < q.n_devs; i++)
        dev[i] = (struct search_dev){ s->class_of[id[i]], placer_room(s, id[i]) };
    search_reach(&reach, &q, s->n_stages - 1);
    if (reach.units >= q.n_units)
        return; // fewer would do by their costs, but no plan of theirs was packed so tightly
    set_text(set, sizeof(set), s, id, reach.devs);
    unit_text(unit, sizeof(unit), s, &t->units, reach.units);
    snprintf(s->why->proof[s->why->n_proof++], sizeof(s->why->proof[0]),
             "needs %d devices: of %d set%s of %d, %s hold%s most, and lack%s %s (%" PRIu64
             " bytes) for %s",
             s->n_stages, reach.n_sets, reach.n_sets == 1 ? "" : "s (equal ones counted once)",
             s->n_stages - 1, set, s->n_stages == 2 ? "s" : "", s->n_stages == 2 ? "s" : "",
             fmt_bytes(lacks, reach.lacks), reach.lacks, unit);
    s->why->minimal = true;
}

// --- one set of limits ---------------------------------------------------------------------------

/// Ollama's tensor_split: blocks by shares, whatever fits.
static bool find_split(struct placer *s)
{
    double sum = 0, upto = 0;
    struct tables t;
    int id[SEARCH_DEVS], n = usable(s, id, false), from = 0;
    struct search_result r = { 0 };

    choose_host_parts(s, s->host >= 0, false);
    t = (struct tables){ 0 };
    units_of(&t.units, s->g, s->on_host);
    for (int i = 0; i < n; i++)
        sum += s->o->tensor_split[id[i]];
    for (int i = 0; i < n && sum > 0; i++) {
        upto += s->o->tensor_split[id[i]];
        int to = (int)(upto / sum * t.units.n + 0.5);
        if (to > from)
            r.stage[r.n_stages++] = (struct search_stage){ id[i], from, to };
        from = to > from ? to : from;
    }
    assign_stages(s, &t.units, &r);
    s->n_stages = r.n_stages;
    tables_done(&t);
    return placer_try(s);
}

/// On devices alone; the embedding's rows may come from the host. With one device a tied table
/// costs nothing there, so it stays.
static bool find_on_devices(struct placer *s, enum search_goal goal, bool proof)
{
    const struct tables *t;
    bool found = false;

    if (s->host < 0 || is_tied(s->g)) {
        t = tables_for(s, false, false);
        if (t == NULL)
            return false;
        found = find_with_tables(s, t, goal, false, s->host < 0 ? 0 : 1);
    }
    if (!found && s->host >= 0) {
        t = tables_for(s, true, false);
        found = t != NULL && find_with_tables(s, t, goal, false, 0);
    }
    if (found && proof)
        prove(s, t);
    return found;
}

/// With blocks or experts on the host: what is fastest by the predicted time.
static bool find_beside_host(struct placer *s)
{
    if (s->host < 0 || s->o->host_rows_only)
        return false;
    s->beside_host = true;
    if (place_experts(s))
        return true;
    const struct tables *t = tables_for(s, true, true);
    return t != NULL && find_with_tables(s, t, SEARCH_FASTEST, true, 0);
}

/// Everything on the one device there is, or on main_gpu if it is enough.
static bool find_on_one(struct placer *s, int d)
{
    for (int i = 0; i < s->n_parts; i++)
        s->a.dev[i] = d;
    s->n_stages = 1;
    return placer_try(s);
}

static bool find(struct placer *s, const struct limits *lim, bool proof)
{
    s->lim = *lim;
    s->why->n_proof = 0;
    s->why->minimal = false;
    s->beside_host = false;
    memset(s->penalty, 0, sizeof(s->penalty));
    if (s->n_devs == 1)
        return find_on_one(s, 0);
    if (s->o->tensor_split != NULL)
        return find_split(s);
    if (s->o->main_gpu >= 0 && s->o->main_gpu < s->n_devs && find_on_one(s, s->o->main_gpu))
        return true;
    if (s->o->goal == GOAL_SPEED && s->host >= 0 && !s->o->host_rows_only &&
        find_beside_host(s)) // with the host among the devices
        return true;
    return find_on_devices(s, s->o->goal == GOAL_SPEED ? SEARCH_FASTEST : SEARCH_FEWEST, proof) ||
           find_beside_host(s);
}

// --- limits that were left open ------------------------------------------------------------------

static struct limits with_micro_batch(const struct limits *lim, int n)
{
    struct limits l = *lim;

    l.micro_batch = n;
    l.outputs = l.outputs < n ? l.outputs : n;
    return l;
}

static bool fits(struct placer *s, const struct limits *lim)
{
    struct err *e = s->e;
    s->e = NULL;
    s->by_costs = true;
    bool ok = find(s, lim, false);
    s->by_costs = false;
    s->e = e;
    return ok;
}

/// The largest micro-batch that needs no more devices than the smallest one does.
static bool open_micro_batch(struct placer *s, struct limits *lim)
{
    int devices, most = lim->micro_batch, n = most;
    struct limits least =
        with_micro_batch(lim, most < MICRO_BATCH_LEAST ? most : MICRO_BATCH_LEAST);

    if (fits(s, lim) && (s->n_stages == 1 || s->beside_host)) {
        snprintf(s->why->micro_batch_why, sizeof(s->why->micro_batch_why), "the largest%s",
                 s->beside_host ? "" : "; one device holds it");
        return true;
    }
    if (!fits(s, &least))
        return false;
    devices = s->n_stages;
    for (; n > least.micro_batch; n /= 2) {
        struct limits l = with_micro_batch(lim, n);
        if (fits(s, &l) && s->n_stages == devices)
            break;
    }
    n = n < least.micro_batch ? least.micro_batch : n;
    *lim = with_micro_batch(lim, n);
    if (n == most)
        snprintf(s->why->micro_batch_why, sizeof(s->why->micro_batch_why),
                 "the largest; none needs fewer than %d devices", devices);
    else
        snprintf(s->why->micro_batch_why, sizeof(s->why->micro_batch_why),
                 "the largest with %d device%s; %d would need more", devices,
                 devices == 1 ? "" : "s", 2 * n);
    return true;
}

/// The most of a limit for which anything fits: pages of context, or slots.
static bool most_of(struct placer *s, struct limits *lim, int64_t high, bool context)
{
    int64_t low = 0;
    struct limits l = *lim;

    while (low < high) {
        int64_t mid = low + (high - low + 1) / 2;
        if (context)
            l.ctx = mid * KV_PAGE_TOKENS;
        else
            l.slots = (int)mid;
        if (!context)
            l.outputs = l.slots < l.micro_batch ? l.slots : l.micro_batch;
        if (fits(s, &l))
            low = mid;
        else
            high = mid - 1;
    }
    if (low == 0)
        return false;
    if (context)
        lim->ctx = low * KV_PAGE_TOKENS;
    else
        lim->slots = (int)low;
    if (!context)
        lim->outputs = lim->slots < lim->micro_batch ? lim->slots : lim->micro_batch;
    return true;
}

static bool find_limits_with(struct placer *s, struct limits *lim)
{
    bool ok = true;

    if (s->o->goal == GOAL_CONTEXT) {
        int64_t most = s->o->ctx_train > 0 ? s->o->ctx_train : 1 << 22;
        struct limits l = s->o->open_micro_batch ? with_micro_batch(lim, MICRO_BATCH_LEAST) : *lim;
        ok = most_of(s, &l, (most + KV_PAGE_TOKENS - 1) / KV_PAGE_TOKENS, true);
        lim->ctx = ok ? l.ctx : lim->ctx;
    } else if (s->o->goal == GOAL_SLOTS) {
        ok = most_of(s, lim, SLOTS_MOST, false);
    }
    if (ok && s->o->open_micro_batch)
        ok = open_micro_batch(s, lim);
    return ok;
}

/// With KV as asked, or as q8_0 where that holds what did not fit, takes fewer devices, or serves
/// the goal better.
static bool find_limits(struct placer *s, struct limits *lim)
{
    struct limits small = *lim;
    bool ok = find_limits_with(s, lim);

    if (!s->o->open_kv || lim->kv == DTYPE_Q8_0 || lim->exact)
        return ok;
    ok = ok && fits(s, lim); // says how many devices
    int devices = s->n_stages;
    bool beside = s->beside_host;
    struct placement why = *s->why;
    small.kv = DTYPE_Q8_0;
    if (find_limits_with(s, &small) && fits(s, &small) &&
        (!ok || s->n_stages < devices || (beside && !s->beside_host) || small.ctx > lim->ctx ||
         small.slots > lim->slots)) {
        *lim = small;
        return true;
    }
    *s->why = why;
    return ok;
}

// --- all of it -----------------------------------------------------------------------------------

/// By real plans: what is suggested must hold.
/// Limits that were left open were chosen by costs; the plan may want a smaller micro-batch.
static bool find_open(struct placer *s, struct limits *lim)
{
    while (!find(s, lim, true)) {
        if (!s->o->open_micro_batch || lim->micro_batch <= MICRO_BATCH_LEAST)
            return false;
        *lim = with_micro_batch(lim, lim->micro_batch / 2);
    }
    return true;
}

static void describe(struct placer *s)
{
    struct placement *why = s->why;

    why->goal = s->o->goal;
    why->devices = 0;
    why->predicted_ns = 0;
    why->micro_batch = s->best->lim.micro_batch;
    for (int d = 0; d < s->n_devs; d++) {
        const struct plan_dev *p = &s->best->dev[d];
        why->devices += p->used && (d != s->host || s->n_devs == 1);
        why->predicted_ns += p->ns_per_token;
    }
    for (int d = 0; d < s->n_devs; d++)
        if (s->best->dev[d].used && s->best->dev[d].info.bytes_per_s <= 0)
            why->predicted_ns = 0; // of one device nothing is known
}

static void placer_init(struct placer *s)
{
    s->n_parts = graph_n_parts(s->g);
    s->n_blocks = block_count(s->g);
    s->host = -1;
    s->a = (struct assign){ s->n_parts, xcalloc((size_t)s->n_parts, sizeof(int)) };
    s->on_host = xcalloc((size_t)s->n_parts, sizeof(bool));
    s->info = xcalloc((size_t)s->n_devs, sizeof(*s->info));
    for (int d = 0; d < s->n_devs; d++) {
        s->devs[d]->ops->info(s->devs[d], &s->info[d]);
        if (s->info[d].in_place && s->n_devs > 1)
            s->host = d;
    }
    find_classes(s);
}

bool place_find(struct plan **out, struct placement *why, const struct graph *g,
                const struct weight_place *w, const struct limits *lim, const struct place_opts *o,
                struct dev *const *devs, int n_devs, struct err *e)
{
    struct placement unsaid;
    struct placer s = { .g = g,
                        .w = w,
                        .o = o != NULL ? o : &place_any,
                        .devs = devs,
                        .n_devs = n_devs,
                        .why = why != NULL ? why : &unsaid,
                        .e = e };
    struct limits l = *lim;

    *out = NULL;
    ASSERT(n_devs > 0);
    if (n_devs > SEARCH_DEVS + 1)
        return err_set(e, ERR_ARG, "%d devices; plans are made for at most %d", n_devs,
                       SEARCH_DEVS);
    *s.why =
        (struct placement){ .micro_batch_asked = s.o->open_micro_batch ? 0 : lim->micro_batch };
    placer_init(&s);
    bool ok = find_limits(&s, &l) && find_open(&s, &l);
    if (ok) {
        describe(&s);
        *out = s.best;
    } else {
        if (s.best == NULL || plan_holds(s.best)) { // nothing was ever planned with these limits
            int n = n_devs - (s.host >= 0);
            s.lim = *lim;
            for (int i = 0; i < s.n_parts; i++) { // evenly, nothing with the host
                s.a.dev[i] = (int)((int64_t)i * n / s.n_parts);
                s.a.dev[i] += s.host >= 0 && s.a.dev[i] >= s.host;
            }
            (void)placer_try(&s);
        }
        if (s.best != NULL && !plan_holds(s.best)) {
            struct plan *best = s.best;
            s.best = NULL;
            plan_lacks(best, e);
            if (e != NULL && !s.o->no_advice)
                advise_error(e, &(struct question){ g, w, *lim, *s.o, devs, n_devs });
            plan_free(best);
        } else if (s.best != NULL) {
            err_set(e, ERR_NOFIT,
                    "no placement fits that keeps to num-gpu, main-gpu and tensor-split");
        }
        plan_free(s.best);
    }
    for (size_t i = 0; i < sizeof(s.kept) / sizeof(s.kept[0]); i++)
        tables_done(&s.kept[i].t);
    free(s.a.dev);
    free(s.on_host);
    free(s.info);
    return ok;
}
