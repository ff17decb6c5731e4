// fits.c - whether a plan fits, what is missing if not, and the smallest change that helps.

#include "plan/plan_int.h"

#include <inttypes.h>
#include <string.h>

uint64_t plan_room(const struct plan_dev *d, const struct limits *lim)
{
    if (d->info.free_bytes == UINT64_MAX)
        return UINT64_MAX;
    uint64_t taken = lim->reserve_bytes + d->info.driver_bytes;
    return d->info.free_bytes > taken ? d->info.free_bytes - taken : 0;
}

bool plan_holds(const struct plan *p)
{
    for (int d = 0; d < p->n_devs; d++)
        if (p->dev[d].used && p->dev[d].total_bytes > plan_room(&p->dev[d], &p->lim))
            return false;
    return true;
}

bool plan_lacks(const struct plan *p, struct err *e)
{
    uint64_t worst = 0;
    int at = 0;

    for (int d = 0; d < p->n_devs; d++) {
        uint64_t room = plan_room(&p->dev[d], &p->lim);
        if (p->dev[d].used && p->dev[d].total_bytes > room &&
            p->dev[d].total_bytes - room > worst) {
            worst = p->dev[d].total_bytes - room;
            at = d;
        }
    }
    const struct plan_dev *d = &p->dev[at];
    char lack[32], need[32], have[32], reserve[64] = "";
    fmt_bytes(lack, worst);
    fmt_bytes(need, d->total_bytes);
    fmt_bytes(have, d->info.free_bytes);
    if (p->lim.reserve_bytes > 0) {
        char r[32];
        snprintf(reserve, sizeof(reserve), ", of which %s are reserved",
                 fmt_bytes(r, p->lim.reserve_bytes));
    }
    return err_set(e, ERR_NOFIT,
                   "%s lacks %s (%" PRIu64 " bytes): the plan needs %s, %s are free%s",
                   d->info.name, lack, worst, need, have, reserve);
}

// --- suggestions
// ----------------------------------------------------------------------------------

static void suggest(struct err *e, int *n, const char *text)
{
    size_t at = strlen(e->msg);

    snprintf(e->msg + at, sizeof(e->msg) - at, "%s%s", *n == 0 ? "; it would fit with " : ", or ",
             text);
    ++*n;
}

/// The largest context in whole pages that fits, 0: none.
static int64_t largest_ctx(struct limits lim, fits_fn *fits, void *ctx)
{
    int64_t low = 0, high = (lim.ctx - 1) / KV_PAGE_TOKENS; // pages: low fits, high may

    while (low < high) {
        int64_t mid = low + (high - low + 1) / 2;
        lim.ctx = mid * KV_PAGE_TOKENS;
        if (fits(ctx, &lim))
            low = mid;
        else
            high = mid - 1;
    }
    return low * KV_PAGE_TOKENS;
}

void suggest_limits(const struct limits *lim, fits_fn *fits, void *ctx, struct err *e)
{
    struct limits try = *lim;
    char text[64];
    int n = 0;

    if (e == NULL)
        return;
    for (try.micro_batch = lim->micro_batch / 2; try.micro_batch >= 16; try.micro_batch /= 2) {
        try.outputs = lim->outputs < try.micro_batch ? lim->outputs : try.micro_batch;
        if (fits(ctx, &try)) {
            snprintf(text, sizeof(text), "--micro-batch %d", try.micro_batch);
            suggest(e, &n, text);
            break;
        }
    }
    try = *lim;
    try.kv = lim->kv == DTYPE_F32 ? DTYPE_F16 : DTYPE_Q8_0;
    if (try.kv != lim->kv && fits(ctx, &try))
        suggest(e, &n, try.kv == DTYPE_F16 ? "--kv f16" : "--kv q8_0");
    int64_t fit = largest_ctx(*lim, fits, ctx);
    if (fit > 0) {
        snprintf(text, sizeof(text), "--ctx %lld", (long long)fit);
        suggest(e, &n, text);
    }
    if (n > 0)
        return;
    try = *lim;
    try.kv = DTYPE_Q8_0;
    try.micro_batch = lim->micro_batch < 16 ? lim->micro_batch : 16;
    try.outputs = lim->outputs < try.micro_batch ? lim->outputs : try.micro_batch;
    fit = largest_ctx(try, fits, ctx);
    if (fit > 0) {
        snprintf(text, sizeof(text), "--micro-batch %d --kv q8_0 --ctx %lld", try.micro_batch,
                 (long long)fit);
        suggest(e, &n, text);
    } else {
        size_t at = strlen(e->msg);
        snprintf(e->msg + at, sizeof(e->msg) - at,
                 "; no context, micro-batch or KV type makes it fit: a smaller model or more "
                 "memory would");
    }
}

static bool same_assignment_fits(void *ctx, const struct limits *lim)
{
    const struct plan *p = ctx;
    struct plan *q;
    struct arena tmp = { 0 };
    struct assign a = { p->n_parts, arena_alloc(&tmp, (size_t)p->n_parts * sizeof(int)) };
    bool ok = false;

    memcpy(a.dev, p->part_dev, (size_t)p->n_parts * sizeof(int));
    if (plan_make(&q, p->graph, p->places, &a, lim, p->devs, p->n_devs, NULL))
        ok = plan_holds(q);
    plan_free(q);
    arena_done(&tmp);
    return ok;
}

bool plan_fits(const struct plan *p, struct err *e)
{
    if (plan_holds(p))
        return true;
    plan_lacks(p, e);
    struct plan copy = *p; // the callback takes no const
    suggest_limits(&p->lim, same_assignment_fits, &copy, e);
    return false;
}
