// advise.c - what else would fit: the largest context, the smallest changes, neighbours.
//
// Whatever is offered was planned: the search was run with the change, and its plan holds. The one
// exception says so itself: other quantizations are other files, and their sizes estimates.

#include "plan/place.h"
#include "plan/plan_int.h"
#include "plan/report.h"
#include "plan/view.h"

#include <stdlib.h>
#include <string.h>

enum { CTX_MOST = 1 << 22, MICRO_BATCH_LEAST = 16, MICRO_BATCH_MOST = 2048 };

static int64_t page_limit(int slots, int64_t most)
{
    int64_t limit = INT32_MAX / 2 / slots;

    limit = most > 0 && most < limit ? most : limit;
    limit = most == 0 && limit > CTX_MOST ? CTX_MOST : limit;
    return limit / KV_PAGE_TOKENS;
}

/// The most pages in [1, high] for which `fits` says yes, which it does up to some number; 0: none.
typedef bool pages_fit_fn(const void *ctx, int64_t pages);
static int64_t most_pages(pages_fit_fn *fits, const void *ctx, int64_t high)
{
    int64_t low = 0;

    if (high > 0 && fits(ctx, high))
        return high;
    for (high--; low < high;) {
        int64_t mid = low + (high - low + 1) / 2;
        if (fits(ctx, mid))
            low = mid;
        else
            high = mid - 1;
    }
    return low;
}

// --- the largest context, same assignment --------------------------------------------------------

/// Of a plan with so many pages: what does not depend on the context is as in `p`.
static bool arithmetic_fits(const void *ctx, int64_t pages)
{
    const struct plan *p = ctx;
    struct dims max = p->max;
    bool ok = true;

    max.n_ctx = pages * KV_PAGE_TOKENS;
    for (int d = 0; d < p->n_devs && ok; d++) {
        const struct plan_dev *dev = &p->dev[d];
        uint64_t bytes[ARENA_COUNT], total = 0;
        if (!dev->used)
            continue;
        memcpy(bytes, dev->arena_bytes, sizeof(bytes));
        bytes[ARENA_KV] = bytes[ARENA_INPUT] = 0;
        for (int v = 0; v < p->n_values; v++) {
            const struct value *x = &p->value[v];
            if (x->slot.dev == d && (x->slot.arena == ARENA_KV || x->slot.arena == ARENA_INPUT))
                bytes[x->slot.arena] += align_up_u64(tensor_bytes(x->t, &max), SLOT_ALIGN);
        }
        for (int a = 0; a < ARENA_COUNT; a++)
            total += align_up_u64(bytes[a], dev->info.granule_bytes);
        ok = total <= plan_room(dev, &p->lim);
    }
    return ok;
}

/// Of a real plan.
static bool planned_fits(const void *ctx, int64_t pages)
{
    const struct plan *p = ctx;
    struct limits lim = p->lim;
    struct assign a = { p->n_parts, xcalloc((size_t)p->n_parts, sizeof(int)) };
    struct plan *q = NULL;

    memcpy(a.dev, p->part_dev, (size_t)p->n_parts * sizeof(int));
    lim.ctx = pages * KV_PAGE_TOKENS;
    bool ok = plan_make(&q, p->graph, p->places, &a, &lim, p->devs, p->n_devs, NULL);
    ok = ok && plan_holds(q);
    plan_free(q);
    free(a.dev);
    return ok;
}

/// Values that are packed have the same sizes and lives in both, so both are packed in the same
/// way.
static bool same_but_context(const struct plan *p, const struct plan *q)
{
    bool same = p->n_values == q->n_values && p->n_steps == q->n_steps;

    for (int v = 0; v < p->n_values && same; v++) {
        const struct value *x = &p->value[v], *y = &q->value[v];
        bool grows = x->slot.arena == ARENA_KV || x->slot.arena == ARENA_INPUT;
        same = x->t == y->t && x->slot.dev == y->slot.dev && x->slot.arena == y->slot.arena &&
               x->slot.mapped == y->slot.mapped && x->alias == y->alias &&
               x->first_step == y->first_step && x->last_step == y->last_step &&
               (grows || x->slot.bytes == y->slot.bytes);
    }
    return same;
}

/// Of a real plan, by arithmetic where its sketch says that this is exact.
static bool surely_fits(const struct plan *p, int64_t pages)
{
    struct limits lim = p->lim;
    struct assign a = { p->n_parts, xcalloc((size_t)p->n_parts, sizeof(int)) };
    struct plan *q = NULL;

    memcpy(a.dev, p->part_dev, (size_t)p->n_parts * sizeof(int));
    lim.ctx = pages * KV_PAGE_TOKENS;
    bool exact = plan_sketch(&q, p->graph, p->places, &a, &lim, p->devs, p->n_devs, NULL) &&
                 same_but_context(p, q);
    plan_free(q);
    free(a.dev);
    return exact ? arithmetic_fits(p, pages) : planned_fits(p, pages);
}

/// By arithmetic alone: of plans that are not made.
static int64_t max_context(const struct plan *p)
{
    return most_pages(arithmetic_fits, p, page_limit(p->lim.slots, 0)) * KV_PAGE_TOKENS;
}

int64_t advise_max_context(const struct plan *p, int64_t most)
{
    int64_t limit = page_limit(p->lim.slots, most);
    int64_t pages = most_pages(arithmetic_fits, p, limit);

    // Only KV pages and the page table grow with the context; two sketches make sure of it.
    bool sure =
        (pages == 0 || surely_fits(p, pages)) && (pages == limit || !surely_fits(p, pages + 1));
    if (!sure)
        pages = most_pages(planned_fits, p, limit);
    return pages * KV_PAGE_TOKENS;
}

// --- trying --------------------------------------------------------------------------------------

static struct plan *find(const struct question *q)
{
    struct plan *p;

    if (q->n_devs == 0 ||
        !place_find(&p, NULL, q->g, q->w, &q->lim, &q->o, q->devs, q->n_devs, NULL))
        return NULL;
    return p;
}

static bool found(const struct question *q)
{
    struct plan *p = find(q);

    plan_free(p);
    return p != NULL;
}

static void set_slots(struct limits *lim, int slots)
{
    if (lim->outputs == lim->slots)
        lim->outputs = slots;
    lim->slots = slots;
}

static void set_micro_batch(struct limits *lim, int n)
{
    lim->micro_batch = n;
    lim->outputs = lim->outputs < n ? lim->outputs : n;
}

/// The most pages, up to `high`, with which anything fits. Each plan that is found says how far its
/// assignment goes, and the search goes on behind that; where assignments are many, the rest is
/// halved.
static int64_t most_pages_anywhere(const struct question *q, int64_t high)
{
    enum { STEPS = 3 };
    struct question t = *q;
    int64_t low = 0;

    if (t.o.goal == GOAL_CONTEXT)
        t.o.goal = GOAL_FEWEST;
    if (t.o.open_micro_batch && t.lim.micro_batch > MICRO_BATCH_LEAST) // the smallest needs least
        set_micro_batch(&t.lim, MICRO_BATCH_LEAST);
    t.o.open_micro_batch = false;
    for (int n = 0; low < high; n++) {
        int64_t pages = n < STEPS ? low + 1 : low + (high - low + 1) / 2;
        t.lim.ctx = pages * KV_PAGE_TOKENS;
        struct plan *p = find(&t);
        if (p != NULL)
            low = advise_max_context(p, high * KV_PAGE_TOKENS) / KV_PAGE_TOKENS;
        else
            high = pages - 1;
        plan_free(p);
    }
    return low;
}

int64_t advise_max_context_anywhere(const struct question *q, int64_t most)
{
    return most_pages_anywhere(q, page_limit(q->lim.slots, most)) * KV_PAGE_TOKENS;
}

static bool limited(const struct dev_info *i)
{
    return !i->in_place;
}

static int n_limited_used(const struct plan *p)
{
    int n = 0;

    for (int d = 0; d < p->n_devs; d++)
        n += p->dev[d].used && limited(&p->dev[d].info);
    return n;
}

static bool host_used(const struct plan *p)
{
    for (int i = 1; i < p->n_parts; i++) {
        enum part_kind kind = graph_part(p->graph, i)->kind;
        if (p->dev[p->part_dev[i]].info.in_place && kind != PART_EMBED && kind != PART_VISION)
            return true;
    }
    return false;
}

struct question question_on_largest(const struct question *q, int k, struct dev ***devs)
{
    struct question sub = *q;
    bool *taken = xcalloc((size_t)q->n_devs, sizeof(*taken));
    uint64_t *room = xcalloc((size_t)q->n_devs, sizeof(*room));

    for (int d = 0; d < q->n_devs; d++) {
        struct plan_dev p = { .used = true };
        q->devs[d]->ops->info(q->devs[d], &p.info);
        taken[d] = !limited(&p.info);
        room[d] = plan_room(&p, &q->lim);
    }
    for (int n = 0; n < k; n++) {
        int most = -1;
        for (int d = 0; d < q->n_devs; d++)
            if (!taken[d] && (most < 0 || room[d] > room[most]))
                most = d;
        if (most >= 0)
            taken[most] = true;
    }
    *devs = xcalloc((size_t)q->n_devs, sizeof(**devs));
    sub.n_devs = 0;
    for (int d = 0; d < q->n_devs; d++)
        if (taken[d])
            (*devs)[sub.n_devs++] = q->devs[d];
    sub.devs = *devs;
    sub.o.host_rows_only = true;
    sub.o.tensor_split = NULL; // shares and numbers are of all devices
    sub.o.main_gpu = -1;
    free(room);
    free(taken);
    return sub;
}

int question_n_devices(const struct question *q)
{
    int n = 0;

    for (int d = 0; d < q->n_devs; d++) {
        struct dev_info i;
        q->devs[d]->ops->info(q->devs[d], &i);
        n += limited(&i);
    }
    return n;
}

// --- what is said --------------------------------------------------------------------------------

enum { MOST_FOUND = 24 };
struct list {
    struct suggestion s[MOST_FOUND];
    double pain[MOST_FOUND]; // what it costs the user, to rank by
    int n;
};

static void add(struct list *l, double pain, const struct suggestion *s)
{
    int at = l->n;

    if (l->n == MOST_FOUND)
        return;
    for (l->n++; at > 0 && l->pain[at - 1] > pain; at--) {
        l->s[at] = l->s[at - 1];
        l->pain[at] = l->pain[at - 1];
    }
    l->s[at] = *s;
    l->pain[at] = pain;
}

static uint64_t least_left(const struct plan *p)
{
    int64_t least = INT64_MAX;

    for (int d = 0; d < p->n_devs; d++) {
        int64_t left = p->dev[d].used ? plan_left(p, d) : INT64_MAX;
        least = left < least ? left : least;
    }
    return least == INT64_MAX ? UINT64_MAX : (uint64_t)least;
}

static void add_text(char *out, size_t n, const char *text)
{
    size_t at = strlen(out);

    snprintf(out + at, n - at, "%s%s", at > 0 ? ", " : "", text);
}

/// "1 device instead of 2, 12.0 MiB left, 6.1 instead of 5.5 tokens/s": a plan beside another, or
/// alone.
static void effect(char *out, size_t n, const struct plan *p, const struct plan *than)
{
    char text[64], size[32];
    int used = n_limited_used(p);

    out[0] = '\0';
    if (than == NULL || n_limited_used(than) != used) {
        if (than != NULL)
            snprintf(text, sizeof(text), "%d device%s instead of %d", used, used == 1 ? "" : "s",
                     n_limited_used(than));
        else if (used == 0)
            snprintf(text, sizeof(text), "fits on the host");
        else
            snprintf(text, sizeof(text), "fits on %d device%s", used, used == 1 ? "" : "s");
        add_text(out, n, text);
    }
    if (than != NULL && host_used(than) && !host_used(p))
        add_text(out, n, "nothing on the host");
    if (than != NULL && p->lim.slots != than->lim.slots) {
        snprintf(text, sizeof(text), "%d slots instead of %d", p->lim.slots, than->lim.slots);
        add_text(out, n, text);
    }
    uint64_t left = least_left(p);
    if (left != UINT64_MAX) {
        snprintf(text, sizeof(text), "%s left", fmt_bytes(size, left));
        add_text(out, n, text);
    }
    int64_t ns = plan_token_ns(p), ns_than = than != NULL ? plan_token_ns(than) : 0;
    if (ns > 0 && ns_than > 0 && (ns > ns_than + ns_than / 100 || ns < ns_than - ns_than / 100))
        snprintf(text, sizeof(text), "%.3g instead of %.3g tokens/s", 1e9 / (double)ns,
                 1e9 / (double)ns_than);
    else if (ns > 0 && than == NULL)
        snprintf(text, sizeof(text), "about %.3g tokens/s", 1e9 / (double)ns);
    else
        return;
    add_text(out, n, text);
}

/// Plans `q`; where that fits, the change is on the list with its effect.
static bool offer(struct list *l, double pain, const struct question *q, const struct plan *than,
                  struct suggestion s)
{
    struct plan *p = find(q);

    if (p == NULL)
        return false;
    if (s.effect[0] == '\0')
        effect(s.effect, sizeof(s.effect), p, than);
    add(l, pain, &s);
    plan_free(p);
    return true;
}

static double doublings(double from, double to)
{
    double n = 0;

    for (; from < to; from *= 2)
        n++;
    return n;
}

// --- no fit --------------------------------------------------------------------------------------

static void offer_micro_batch(struct list *l, const struct question *q, const struct plan *than)
{
    struct question t = *q;

    for (int n = q->lim.micro_batch / 2; n >= MICRO_BATCH_LEAST && !q->o.open_micro_batch; n /= 2) {
        struct suggestion s = { .change = "micro_batch" };
        set_micro_batch(&t.lim, n);
        snprintf(s.value, sizeof(s.value), "%d", n);
        snprintf(s.flag, sizeof(s.flag), "--micro-batch %d", n);
        if (offer(l, 1 + doublings(n, q->lim.micro_batch) / 2, &t, than, s))
            return;
    }
}

/// The next smaller types of keys and values, UINT: none.
static int smaller_kv(const struct question *q, enum dtype out[2])
{
    int n = 0;

    if (q->lim.kv == DTYPE_F32)
        out[n++] = DTYPE_F16;
    if (q->lim.kv != DTYPE_Q8_0 && !q->o.open_kv)
        out[n++] = DTYPE_Q8_0;
    return n;
}

static bool offer_kv(struct list *l, const struct question *q, const struct plan *than)
{
    enum dtype kv[2];

    for (int i = 0, n = smaller_kv(q, kv); i < n; i++) {
        struct question t = *q;
        struct suggestion s = { .change = "kv" };
        t.lim.kv = kv[i];
        snprintf(s.value, sizeof(s.value), "%s", kv_type_name(kv[i]));
        snprintf(s.flag, sizeof(s.flag), "--kv %s", kv_type_name(kv[i]));
        if (offer(l, 3 + i, &t, than, s))
            return true;
    }
    return false;
}

static void offer_slots(struct list *l, const struct question *q, const struct plan *than)
{
    int low = 0, high = q->lim.slots; // low slots fit, high do not
    struct question t = *q;
    struct suggestion s = { .change = "slots" };

    while (low + 1 < high) {
        int mid = low + (high - low) / 2;
        t.lim = q->lim;
        set_slots(&t.lim, mid);
        if (found(&t))
            low = mid;
        else
            high = mid;
    }
    if (low == 0)
        return;
    t.lim = q->lim;
    set_slots(&t.lim, low);
    snprintf(s.value, sizeof(s.value), "%d", low);
    snprintf(s.flag, sizeof(s.flag), "--slots %d", low);
    (void)offer(l, 3 + 3 * doublings(low, q->lim.slots), &t, than, s);
}

/// The most that can be kept free, in whole MiB.
static void offer_reserve(struct list *l, const struct question *q, const struct plan *than)
{
    uint64_t low = 0, high = q->lim.reserve_bytes >> 20; // low MiB fit; high do not
    struct question t = *q;
    struct suggestion s = { .change = "reserve" };
    char size[32];

    t.lim.reserve_bytes = 0;
    if (q->lim.reserve_bytes == 0 || !found(&t))
        return;
    while (low + 1 < high) {
        uint64_t mid = low + (high - low) / 2;
        t.lim.reserve_bytes = mid << 20;
        if (found(&t))
            low = mid;
        else
            high = mid;
    }
    t.lim.reserve_bytes = low << 20;
    snprintf(s.value, sizeof(s.value), "%s", fmt_bytes(size, low << 20));
    snprintf(s.flag, sizeof(s.flag), "--reserve %llu", (unsigned long long)low);
    (void)offer(l, 2, &t, than, s);
}

/// `with`: other changes already in `q`, as flags; "" where there are none.
static int64_t offer_context(struct list *l, double pain, const struct question *q, int64_t below,
                             const char *with, const struct plan *than)
{
    struct question t = *q;
    struct suggestion s = { .change = "context" };
    int64_t ctx = most_pages_anywhere(&t, (below - 1) / KV_PAGE_TOKENS) * KV_PAGE_TOKENS;

    if (ctx == 0)
        return 0;
    t.lim.ctx = ctx;
    if (t.lim.micro_batch > ctx)
        set_micro_batch(&t.lim, (int)ctx);
    snprintf(s.value, sizeof(s.value), "%lld", (long long)ctx);
    snprintf(s.flag, sizeof(s.flag), "%s%s--ctx %lld", with, with[0] != '\0' ? " " : "",
             (long long)ctx);
    offer(l, pain + 3 * doublings((double)ctx, (double)q->lim.ctx), &t, than, s);
    return ctx;
}

/// Everything as small as it goes. False where not even that fits.
static bool least_fits(const struct question *q)
{
    struct question t = *q;

    t.o.open_micro_batch = false;
    t.lim.ctx = KV_PAGE_TOKENS;
    t.lim.kv = DTYPE_Q8_0;
    set_slots(&t.lim, 1);
    if (t.lim.micro_batch > MICRO_BATCH_LEAST)
        set_micro_batch(&t.lim, MICRO_BATCH_LEAST);
    return found(&t);
}

static void offer_limits(struct list *l, const struct question *q, const struct plan *than)
{
    struct question t = *q;
    char with[48];

    offer_reserve(l, q, than);
    if (!least_fits(q))
        return;
    offer_micro_batch(l, q, than);
    bool kv = offer_kv(l, q, than);
    offer_slots(l, q, than);
    int64_t ctx = offer_context(l, 3, q, q->lim.ctx, "", than);
    if (!kv && q->lim.kv != DTYPE_Q8_0 && !q->o.open_kv && ctx < q->lim.ctx / 2) {
        t.lim.kv = DTYPE_Q8_0;
        offer_context(l, 6, &t, q->lim.ctx, "--kv q8_0", than);
    }
    if (l->n > 0)
        return;
    t = *q;
    t.lim.kv = DTYPE_Q8_0;
    if (t.lim.micro_batch > MICRO_BATCH_LEAST)
        set_micro_batch(&t.lim, MICRO_BATCH_LEAST);
    snprintf(with, sizeof(with), "--micro-batch %d --kv q8_0", t.lim.micro_batch);
    if (offer_context(l, 8, &t, q->lim.ctx + 1, with, than) > 0)
        return;
    set_slots(&t.lim, 1);
    snprintf(with, sizeof(with), "--slots 1 --micro-batch %d --kv q8_0", t.lim.micro_batch);
    offer_context(l, 10, &t, q->lim.ctx + 1, with, than);
}

/// Memory that others hold: how much of it on one device would be enough, in whole MiB.
static void offer_free(struct list *l, const struct question *q)
{
    struct view *views = xcalloc((size_t)q->n_devs, sizeof(*views));
    struct dev **devs = xcalloc((size_t)q->n_devs, sizeof(*devs));
    struct question t = *q;

    t.devs = devs;
    for (int d = 0; d < q->n_devs; d++) {
        view_init(&views[d], q->devs[d]);
        devs[d] = &views[d].dev;
    }
    for (int d = 0; d < q->n_devs; d++) {
        struct dev_info *i = &views[d].info;
        uint64_t is_free = i->free_bytes, low = 0, high = (i->capacity_bytes - is_free) >> 20;
        char size[32];
        if (!limited(i) || i->capacity_bytes == UINT64_MAX || is_free >= i->capacity_bytes)
            continue;
        i->free_bytes = is_free + (high << 20);
        if (!found(&t)) {
            i->free_bytes = is_free;
            continue;
        }
        while (low + 1 < high) { // `low` MiB more are not enough, `high` are
            uint64_t mid = low + (high - low) / 2;
            i->free_bytes = is_free + (mid << 20);
            if (found(&t))
                high = mid;
            else
                low = mid;
        }
        i->free_bytes = is_free + (high << 20);
        struct suggestion s = { .change = "free" };
        snprintf(s.value, sizeof(s.value), "%s on %.24s", fmt_bytes(size, high << 20), i->name);
        offer(l, 2 + (double)high / 256, &t, NULL, s);
        i->free_bytes = is_free;
    }
    free(devs);
    free(views);
}

/// More devices like the last one.
static void offer_devices(struct list *l, const struct question *q)
{
    enum { MORE = 8 };
    struct view *views = xcalloc((size_t)q->n_devs + MORE, sizeof(*views));
    struct dev **devs = xcalloc((size_t)q->n_devs + MORE, sizeof(*devs));
    struct question t = *q;
    int like = -1;

    t.devs = devs;
    t.o.tensor_split = NULL;
    for (int d = 0; d < q->n_devs; d++) {
        view_init(&views[d], q->devs[d]);
        devs[d] = &views[d].dev;
        like = limited(&views[d].info) && views[d].info.capacity_bytes != UINT64_MAX ? d : like;
    }
    for (int n = 0; n < MORE && like >= 0; n++) {
        struct suggestion s = { .change = "device" };
        struct view *v = &views[t.n_devs];
        view_init(v, q->devs[like]);
        snprintf(s.value, sizeof(s.value), "%d more like %.24s", n + 1, v->info.name);
        v->info.free_bytes = v->info.capacity_bytes;
        devs[t.n_devs++] = &v->dev;
        if (offer(l, 14 + 4 * n, &t, NULL, s))
            break;
    }
    free(devs);
    free(views);
}

// --- other quantizations -------------------------------------------------------------------------

/// Bits a weight over all of a model, of Llama 3.1 8B (ggml-org/llama.cpp
/// tools/quantize/README.md).
static const struct {
    const char *name;
    double bits;
} quants[] = {
    { "Q8_0", 8.5008 },   { "Q6_K", 6.5633 },   { "Q5_K_M", 5.7036 },  { "Q4_K_M", 4.8944 },
    { "IQ4_XS", 4.4597 }, { "Q3_K_M", 3.9960 }, { "IQ3_XXS", 3.2548 }, { "Q2_K", 3.1593 },
};

/// Bytes of a part's weights if its matrices were of so many bits, and of its keys and values.
static uint64_t *part_sizes(const struct plan *all, double bits)
{
    uint64_t *bytes = xcalloc((size_t)all->n_parts, sizeof(*bytes));

    for (int v = 0; v < all->n_values; v++) {
        const struct value *x = &all->value[v];
        uint64_t n = x->slot.bytes;
        if (x->slot.arena != ARENA_WEIGHTS && x->slot.arena != ARENA_KV)
            continue;
        if (x->slot.arena == ARENA_WEIGHTS && x->t->n_dims > 1) {
            uint64_t rows = (uint64_t)tensor_rows(x->t, &all->max);
            double less = (double)dim_value(x->t->d[0], &all->max) * (double)rows * bits / 8;
            n = less < (double)n ? (uint64_t)less : n;
        }
        bytes[x->t->part] += n;
    }
    return bytes;
}

static int cmp_room(const void *a, const void *b)
{
    const uint64_t *x = a, *y = b;

    return *x > *y ? -1 : *x < *y;
}

/// Devices that parts of these sizes fill, one after another; 0: they do not fit. *left: of the
/// last.
static int fill(const uint64_t *bytes, int n_parts, const uint64_t *room, int n_devs,
                uint64_t *left)
{
    int d = 0, on_d = 0;

    *left = n_devs > 0 ? room[0] : 0;
    for (int i = 1; i < n_parts; i++) {
        while (d < n_devs && bytes[i] > *left) {
            if (on_d == 0 || ++d == n_devs) // not even an empty one holds it
                return 0;
            *left = room[d];
            on_d = 0;
        }
        *left -= bytes[i];
        on_d++;
    }
    return d + 1;
}

static void offer_quantization(struct list *l, const struct question *q)
{
    struct plan *all = NULL;
    struct assign a = { graph_n_parts(q->g), NULL };
    uint64_t *room = xcalloc((size_t)q->n_devs, sizeof(*room)), weights = 0;
    int n = 0, host = 0;

    for (int d = 0; d < q->n_devs; d++) {
        struct plan_dev dev = { .used = true };
        q->devs[d]->ops->info(q->devs[d], &dev.info);
        host = limited(&dev.info) ? host : d;
        if (limited(&dev.info))
            room[n++] = plan_room(&dev, &q->lim);
    }
    a.dev = xcalloc((size_t)a.n_parts, sizeof(*a.dev));
    for (int i = 1; i < a.n_parts && n > 0; i++) // all on the first that is not the host's
        a.dev[i] = host == 0 && n < q->n_devs ? 1 : 0;
    if (n > 0 && plan_make(&all, q->g, q->w, &a, &q->lim, q->devs, q->n_devs, NULL)) {
        const struct plan_dev *d = &all->dev[a.dev[1]];
        uint64_t other = d->total_bytes - d->arena_bytes[ARENA_WEIGHTS] - d->arena_bytes[ARENA_KV];
        for (int i = 0; i < n; i++)
            room[i] = room[i] > other ? room[i] - other : 0;
        qsort(room, (size_t)n, sizeof(*room), cmp_room);
        weights = d->arena_bytes[ARENA_WEIGHTS];
    }
    for (size_t i = 0; i < ARRAY_LEN(quants) && all != NULL; i++) {
        uint64_t *bytes = part_sizes(all, quants[i].bits), sum = 0, left;
        char size[32], free_size[32];
        for (int k = 1; k < a.n_parts; k++)
            sum += bytes[k];
        sum -= all->dev[a.dev[1]].arena_bytes[ARENA_KV];
        int used = fill(bytes, a.n_parts, room, n, &left);
        free(bytes);
        if (used == 0 || sum > weights - weights / 20)
            continue;
        struct suggestion s = { .change = "quantization" };
        snprintf(s.value, sizeof(s.value), "%s", quants[i].name);
        snprintf(
            s.effect, sizeof(s.effect),
            "would fit on %d device%s, about %s left (estimate of another file: %s of weights)",
            used, used == 1 ? "" : "s", fmt_bytes(free_size, left), fmt_bytes(size, sum));
        add(l, 8 + 40 * (1 - (double)sum / (double)weights), &s);
        break;
    }
    plan_free(all);
    free(a.dev);
    free(room);
}

static void advise_no_fit(struct list *l, const struct question *q)
{
    offer_limits(l, q, NULL);
    offer_free(l, q);
    offer_devices(l, q);
    offer_quantization(l, q);
}

// --- neighbours ----------------------------------------------------------------------------------

/// Plans `q`, and offers the change where that takes fewer devices, or nothing on the host.
static bool offer_if_fewer(struct list *l, const struct question *q, const struct plan *fits,
                           struct suggestion s)
{
    struct plan *p = find(q);
    bool ok = p != NULL &&
              (n_limited_used(p) < n_limited_used(fits) || (host_used(fits) && !host_used(p)));

    if (ok) {
        effect(s.effect, sizeof(s.effect), p, fits);
        add(l, 0, &s);
    }
    plan_free(p);
    return ok;
}

/// A change with which one device less is enough, or nothing is left to the host: keys and values
/// in another type before a shorter context.
static void offer_fewer(struct list *l, const struct question *q, const struct plan *fits)
{
    struct suggestion kv = { .change = "kv", .value = "q8_0", .flag = "--kv q8_0" },
                      shorter = { .change = "context" };
    struct dev **devs;
    struct question t = *q;
    int n = n_limited_used(fits);
    bool host = host_used(fits);

    if ((n < 2 && !host) || question_n_devices(q) == 0)
        return;
    struct question sub = question_on_largest(q, host ? question_n_devices(q) : n - 1, &devs);
    bool any = least_fits(&sub);
    t.lim.kv = DTYPE_Q8_0;
    bool done = any && !q->o.open_kv && !q->lim.exact && offer_if_fewer(l, &t, fits, kv);
    int64_t pages = any && !done ? most_pages_anywhere(&sub, (q->lim.ctx - 1) / KV_PAGE_TOKENS) : 0;
    if (pages > 0) {
        t.lim.kv = q->lim.kv;
        t.lim.ctx = pages * KV_PAGE_TOKENS;
        if (t.lim.micro_batch > t.lim.ctx)
            set_micro_batch(&t.lim, (int)t.lim.ctx);
        snprintf(shorter.value, sizeof(shorter.value), "%lld", (long long)t.lim.ctx);
        snprintf(shorter.flag, sizeof(shorter.flag), "--ctx %lld", (long long)t.lim.ctx);
        (void)offer_if_fewer(l, &t, fits, shorter);
    }
    free(devs);
}

static void offer_speed(struct list *l, const struct question *q, const struct plan *fits)
{
    struct question t = *q;
    struct suggestion s = { .change = "goal", .value = "speed", .flag = "--goal speed" };

    t.o.goal = GOAL_SPEED;
    struct plan *p = q->o.goal == GOAL_FEWEST && plan_token_ns(fits) > 0 ? find(&t) : NULL;
    if (p != NULL && plan_token_ns(p) > 0 &&
        plan_token_ns(p) < plan_token_ns(fits) - plan_token_ns(fits) / 50) {
        effect(s.effect, sizeof(s.effect), p, fits);
        add(l, 1, &s);
    }
    plan_free(p);
}

/// More context than this placement holds: all that the model was trained for, or half of it, ...
static void offer_longer(struct list *l, const struct question *q, const struct plan *fits,
                         int64_t here)
{
    struct question t = *q;
    struct suggestion s = { .change = "context" };
    struct plan *p = NULL;

    if (n_limited_used(fits) == question_n_devices(q))
        return;
    for (t.lim.ctx = q->o.ctx_train; t.lim.ctx > here; t.lim.ctx /= 2)
        if ((p = find(&t)) != NULL)
            break;
    if (p == NULL)
        return;
    snprintf(s.value, sizeof(s.value), "%lld", (long long)t.lim.ctx);
    snprintf(s.flag, sizeof(s.flag), "--ctx %lld", (long long)t.lim.ctx);
    effect(s.effect, sizeof(s.effect), p, fits);
    add(l, 2, &s);
    plan_free(p);
}

static uint64_t arena_sum(const struct plan *p, enum arena_kind a)
{
    uint64_t sum = 0;

    for (int d = 0; d < p->n_devs; d++)
        sum += p->dev[d].arena_bytes[a];
    return sum;
}

static void offer_quantized_kv(struct list *l, const struct question *q, const struct plan *fits)
{
    struct question t = *q;
    struct suggestion s = { .change = "kv", .value = "q8_0", .flag = "--kv q8_0" };
    char text[80], size[32], ctx[32];

    t.lim.kv = DTYPE_Q8_0;
    struct plan *p = fits->lim.kv != DTYPE_Q8_0 && !fits->lim.exact ? find(&t) : NULL;
    if (p == NULL)
        return;
    uint64_t was = arena_sum(fits, ARENA_KV), is = arena_sum(p, ARENA_KV);
    if (n_limited_used(p) != n_limited_used(fits) || p->lim.slots != fits->lim.slots)
        effect(s.effect, sizeof(s.effect), p, fits);
    if (was > is) {
        snprintf(text, sizeof(text), "%s less", fmt_bytes(size, was - is));
        add_text(s.effect, sizeof(s.effect), text);
    }
    int64_t most = max_context(p);
    snprintf(text, sizeof(text), "context up to %s", fmt_count(ctx, (uint64_t)most));
    add_text(s.effect, sizeof(s.effect), text);
    add(l, 3, &s);
    plan_free(p);
}

static void offer_larger_batch(struct list *l, const struct question *q, const struct plan *fits)
{
    struct question t = *q;
    struct suggestion s = { .change = "micro_batch" };
    bool made_smaller = fits->lim.micro_batch < q->lim.micro_batch;
    int n = made_smaller ? q->lim.micro_batch : 2 * fits->lim.micro_batch;
    char text[80], size[32];

    if (n > MICRO_BATCH_MOST || n > fits->lim.ctx)
        return;
    t.lim.micro_batch = n;
    t.o.open_micro_batch = false;
    struct plan *p = find(&t);
    if (p == NULL)
        return;
    uint64_t more = arena_sum(p, ARENA_SCRATCH) - arena_sum(fits, ARENA_SCRATCH);
    snprintf(s.value, sizeof(s.value), "%d", n);
    snprintf(s.flag, sizeof(s.flag), "--micro-batch %d", n);
    effect(s.effect, sizeof(s.effect), p, fits);
    if (arena_sum(p, ARENA_SCRATCH) > arena_sum(fits, ARENA_SCRATCH)) {
        snprintf(text, sizeof(text), "for %s of scratch", fmt_bytes(size, more));
        add_text(s.effect, sizeof(s.effect), text);
    }
    add(l, made_smaller ? 1 : 4, &s);
    plan_free(p);
}

static void advise_neighbours(struct list *l, const struct question *q, const struct plan *fits)
{
    offer_fewer(l, q, fits);
    offer_speed(l, q, fits);
    offer_longer(l, q, fits, max_context(fits));
    offer_quantized_kv(l, q, fits);
    offer_larger_batch(l, q, fits);
}

int advise(struct suggestion *out, int max, const struct question *q, const struct plan *fits)
{
    struct list l = { .n = 0 };

    if (fits != NULL)
        advise_neighbours(&l, q, fits);
    else
        advise_no_fit(&l, q);
    int n = l.n < max ? l.n : max;
    for (int i = 0; i < n; i++)
        out[i] = l.s[i];
    return n;
}

void advise_error(struct err *e, const struct question *q)
{
    enum { NAMED = 3 };
    struct suggestion s[8];
    int n = advise(s, (int)ARRAY_LEN(s), q, NULL), named = 0;

    for (int i = 0; i < n && named < NAMED; i++) {
        size_t at = strlen(e->msg);
        if (s[i].flag[0] == '\0')
            continue;
        snprintf(e->msg + at, sizeof(e->msg) - at, "%s%s",
                 named == 0 ? "; it would fit with " : ", or ", s[i].flag);
        named++;
    }
    size_t at = strlen(e->msg);
    if (named == 0)
        snprintf(e->msg + at, sizeof(e->msg) - at,
                 "; no context, micro-batch or KV type makes it fit: a smaller model or more "
                 "memory would");
}
