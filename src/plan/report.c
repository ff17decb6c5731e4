// report.c - a plan on one screen: the answer first, then where each byte is, then why and what
// else.

#include "plan/report.h"
#include "plan/plan_int.h"

#include <inttypes.h>
#include <string.h>

enum { COLUMNS = 100, LINES = 24, BAR_MOST = 50, BAR_LEAST = 20, LABEL = 13 };

// --- lines ---------------------------------------------------------------------------------------

static const struct {
    const char *name, *cell, *colour;
} lines[ROW_COUNT] = {
    [ROW_WEIGHTS] = { "weights", "█", "34" },   [ROW_KV] = { "kv", "▓", "32" },
    [ROW_SCRATCH] = { "scratch", "▒", "33" },   [ROW_INPUT] = { "input", "░", "36" },
    [ROW_HANDOVER] = { "handover", "░", "36" }, [ROW_ROUNDING] = { "rounding", "░", "36" },
    [ROW_DRIVER] = { "driver", "▞", "35" },     [ROW_RESERVE] = { "reserve", "×", "31" },
};

const char *plan_row_name(enum plan_row l)
{
    return lines[l].name;
}

uint64_t plan_row_bytes(const struct plan *p, int dev, enum plan_row l)
{
    const struct plan_dev *d = &p->dev[dev];

    if (!d->used)
        return 0;
    switch (l) {
    case ROW_WEIGHTS:
    case ROW_KV:
    case ROW_SCRATCH:
    case ROW_INPUT:
    case ROW_HANDOVER:
        return d->arena_bytes[l];
    case ROW_ROUNDING:
        return d->rounding_bytes;
    case ROW_DRIVER:
        return d->info.driver_bytes;
    case ROW_RESERVE:
        return d->info.free_bytes != UINT64_MAX ? p->lim.reserve_bytes : 0;
    case ROW_COUNT:
        break;
    }
    return 0;
}

uint64_t plan_rows_total(const struct plan *p, int dev)
{
    uint64_t sum = 0;

    for (int l = 0; l < ROW_COUNT; l++)
        sum += plan_row_bytes(p, dev, (enum plan_row)l);
    return sum;
}

int64_t plan_left(const struct plan *p, int dev)
{
    uint64_t all = p->dev[dev].info.free_bytes;

    return all == UINT64_MAX ? INT64_MAX : (int64_t)all - (int64_t)plan_rows_total(p, dev);
}

int64_t plan_token_ns(const struct plan *p)
{
    int64_t sum = 0;

    for (int d = 0; d < p->n_devs; d++) {
        if (p->dev[d].used && p->dev[d].ns_per_token <= 0)
            return 0;
        sum += p->dev[d].used ? p->dev[d].ns_per_token : 0;
    }
    return sum;
}

const char *kv_type_name(enum dtype kv)
{
    return kv == DTYPE_F16 ? "f16" : kv == DTYPE_F32 ? "f32" : "q8_0";
}

// --- parts ---------------------------------------------------------------------------------------

static void add_text(char *out, size_t n, const char *text)
{
    size_t at = strlen(out);

    snprintf(out + at, n - at, "%s", text);
}

static uint64_t part_weights(const struct plan *p, int part)
{
    uint64_t sum = 0;

    for (int i = 0; i < graph_n_tensors(p->graph); i++) {
        const struct tensor *t = graph_tensor(p->graph, i);
        if (t->role == ROLE_WEIGHT && t->part == part)
            sum += tensor_bytes(t, &p->max);
    }
    return sum;
}

/// ", blocks 0-3,7": the numbers of one kind of part on a device.
static void add_range(char *out, size_t n, const struct plan *p, int dev, enum part_kind kind,
                      const char *name)
{
    char text[48];
    int last = -2, first = -2, n_ranges = 0;

    for (int i = 1; i <= p->n_parts; i++) {
        const struct part *part = i < p->n_parts ? graph_part(p->graph, i) : NULL;
        if (part != NULL && (part->kind != kind || p->part_dev[i] != dev))
            continue;
        if (part != NULL && part->il == last + 1) {
            last = part->il;
            continue;
        }
        if (first >= 0) {
            snprintf(text, sizeof(text), first == last ? "%s%s%d" : "%s%s%d-%d",
                     n_ranges > 0     ? ","
                     : out[0] != '\0' ? ", "
                                      : "",
                     n_ranges > 0 ? "" : name, first, last);
            add_text(out, n, text);
            n_ranges++;
        }
        if (part != NULL)
            first = last = part->il;
    }
}

/// Whether the experts on a device are not just those of its blocks.
static bool experts_apart(const struct plan *p, int dev)
{
    int block_dev = -1;

    for (int i = 1; i < p->n_parts; i++) { // a block comes before its experts
        const struct part *part = graph_part(p->graph, i);
        block_dev = part->kind == PART_BLOCK ? p->part_dev[i] : block_dev;
        if (part->kind == PART_EXPERTS && p->part_dev[i] != block_dev &&
            (block_dev == dev || p->part_dev[i] == dev))
            return true;
    }
    return false;
}

const char *plan_parts_text(char *out, size_t n, const struct plan *p, int dev)
{
    char size[32];

    out[0] = '\0';
    for (int i = 1; i < p->n_parts; i++) {
        enum part_kind kind = graph_part(p->graph, i)->kind;
        if (p->part_dev[i] != dev || (kind != PART_EMBED && kind != PART_VISION))
            continue;
        if (out[0] != '\0')
            add_text(out, n, ", ");
        add_text(out, n, kind == PART_EMBED ? "embedding" : "vision tower ");
        if (kind == PART_VISION) // it cannot run yet: say what it takes
            add_text(out, n, fmt_bytes(size, part_weights(p, i)));
    }
    add_range(out, n, p, dev, PART_BLOCK, "blocks ");
    if (experts_apart(p, dev))
        add_range(out, n, p, dev, PART_EXPERTS, "experts of ");
    for (int i = 1; i < p->n_parts; i++)
        if (p->part_dev[i] == dev && graph_part(p->graph, i)->kind == PART_HEAD)
            add_text(out, n, out[0] != '\0' ? ", head" : "head");
    return out;
}

/// A host that only keeps rows at hand (the embedding table) for other devices is in the line below
/// the table; every other device that is used has a bar and a column.
static bool only_rows(const struct plan *p, int dev)
{
    bool others = false, blocks = false;

    for (int i = 1; i < p->n_parts; i++) {
        enum part_kind kind = graph_part(p->graph, i)->kind;
        bool rows = kind == PART_EMBED || kind == PART_VISION;
        others = others || (!rows && p->part_dev[i] != dev);
        blocks = blocks || (!rows && p->part_dev[i] == dev);
    }
    return p->dev[dev].used && p->dev[dev].info.in_place && others && !blocks;
}

bool plan_has_column(const struct plan *p, int dev)
{
    return p->dev[dev].used && !only_rows(p, dev);
}

// --- bars ----------------------------------------------------------------------------------------

static bool paint(struct buf *out, bool colour, const char *code, const char *text)
{
    return colour ? buf_printf(out, "\033[%sm%s\033[0m", code, text) : buf_addz(out, text);
}

/// To scale of the device's capacity; of all that is used where there is no limit.
static bool bar(const struct plan *p, int dev, int cells, bool colour, struct buf *out)
{
    const struct plan_dev *d = &p->dev[dev];
    uint64_t all = d->info.capacity_bytes, sum = 0;
    int drawn = 0;
    bool ok = buf_addz(out, "|");

    if (all == UINT64_MAX || d->info.in_place)
        all = plan_rows_total(p, dev) + d->mapped_bytes;
    for (int l = 0; l < ROW_COUNT && all > 0; l++) {
        sum += plan_row_bytes(p, dev, (enum plan_row)l);
        sum += l == ROW_WEIGHTS ? d->mapped_bytes : 0;
        int upto = (int)((double)sum / (double)all * cells + 0.5);
        char run[4 * BAR_MOST + 1] = "";
        for (; drawn < upto && drawn < cells; drawn++)
            add_text(run, sizeof(run), lines[l].cell);
        ok = ok && (run[0] == '\0' || paint(out, colour, lines[l].colour, run));
    }
    return ok && buf_printf(out, "%*s|", cells - drawn, "");
}

static int percent(const struct plan *p, int dev)
{
    uint64_t all = p->dev[dev].info.capacity_bytes;

    return all == 0 ? 0 : (int)(100.0 * (double)plan_rows_total(p, dev) / (double)all + 0.5);
}

static bool bars(const struct plan *p, bool colour, struct buf *out)
{
    char text[128];
    int name = 0, parts = 0;
    bool ok = true;

    for (int d = 0; d < p->n_devs; d++) {
        if (!plan_has_column(p, d))
            continue;
        int n = (int)strlen(p->dev[d].info.name),
            m = (int)strlen(plan_parts_text(text, sizeof(text), p, d));
        name = n > name ? n : name;
        parts = m > parts ? m : parts;
    }
    int cells = COLUMNS - name - parts - (int)strlen(" || 100 %  ");
    cells = cells < BAR_LEAST ? BAR_LEAST : cells > BAR_MOST ? BAR_MOST : cells;
    for (int d = 0; d < p->n_devs; d++) {
        if (!plan_has_column(p, d))
            continue;
        ok = ok && buf_printf(out, "%-*s ", name, p->dev[d].info.name) &&
             bar(p, d, cells, colour, out);
        ok = ok && (p->dev[d].info.capacity_bytes == UINT64_MAX || p->dev[d].info.in_place
                        ? buf_addz(out, "  ")
                        : buf_printf(out, " %3d %%  ", percent(p, d)));
        ok = ok && buf_printf(out, "%s\n", plan_parts_text(text, sizeof(text), p, d));
    }
    return ok;
}

// --- the table -----------------------------------------------------------------------------------

/// Some of the used devices as columns.
struct columns {
    const struct plan *p;
    const int *dev;
    int n;
    bool wide; // each number also in MiB or GiB
    bool colour;
};

static bool any_line(const struct columns *c, enum plan_row l)
{
    bool any = false;

    for (int i = 0; i < c->n; i++)
        any = any || plan_row_bytes(c->p, c->dev[i], l) > 0;
    return any;
}

static bool cell(const struct columns *c, uint64_t bytes, struct buf *out)
{
    char exact[32], round[32];

    return c->wide ? buf_printf(out, "  %15s %9s", fmt_count(exact, bytes), fmt_bytes(round, bytes))
                   : buf_printf(out, "  %15s", fmt_count(exact, bytes));
}

static bool text_cell(const struct columns *c, const char *text, struct buf *out)
{
    return buf_printf(out, c->wide ? "  %25s" : "  %15s", text);
}

static bool label(struct buf *out, const char *glyph, const char *name)
{
    return buf_printf(out, "%s %-*s", glyph, LABEL - 2, name);
}

/// What is said behind a line where there is room for it.
static void remark(const struct columns *c, enum plan_row l, char out[96])
{
    const struct plan_dev *d = &c->p->dev[c->dev[0]];
    uint64_t above = 0;
    char size[32];

    out[0] = '\0';
    if (l == ROW_SCRATCH && c->n <= 2) {
        for (int i = 0; i < c->n; i++)
            above += c->p->dev[c->dev[i]].arena_bytes[ARENA_SCRATCH] -
                     c->p->dev[c->dev[i]].scratch_bound;
        if (above == 0)
            snprintf(out, 96, "= peak of live bytes");
        else
            snprintf(out, 96, "%s above peak of live", fmt_bytes(size, above));
    } else if (c->n > 1 || !c->wide) {
        return;
    } else if (l == ROW_ROUNDING) {
        snprintf(out, 96, "allocated in units of %s", fmt_bytes(size, d->info.granule_bytes));
    } else if (l == ROW_KV) {
        snprintf(out, 96, "%lld tokens x %d, %s", (long long)c->p->max.n_ctx, c->p->lim.slots,
                 kv_type_name(c->p->lim.kv));
    } else if (l == ROW_INPUT) {
        snprintf(out, 96, "token ids, page table, logits");
    } else if (l == ROW_DRIVER) {
        snprintf(out, 96, "context and modules");
    }
}

static bool left_row(const struct columns *c, bool lacking, struct buf *out)
{
    bool any = false, ok = true;

    for (int i = 0; i < c->n; i++) {
        int64_t left = plan_left(c->p, c->dev[i]);
        any = any || (left != INT64_MAX && (left < 0) == lacking);
    }
    if (!any)
        return true;
    ok = label(out, lacking ? "!" : " ", lacking ? "lacking" : "free");
    for (int i = 0; i < c->n; i++) {
        int64_t left = plan_left(c->p, c->dev[i]);
        if (left == INT64_MAX || (left < 0) != lacking)
            ok = ok && text_cell(c, left == INT64_MAX ? "no limit" : "", out);
        else
            ok = ok && cell(c, (uint64_t)(lacking ? -left : left), out);
    }
    return ok && buf_addz(out, "\n");
}

/// Memory of the device that others hold.
static bool others_row(const struct columns *c, struct buf *out)
{
    bool any = false, ok = true;

    for (int i = 0; i < c->n; i++) {
        const struct dev_info *d = &c->p->dev[c->dev[i]].info;
        any = any || (d->capacity_bytes != UINT64_MAX && d->free_bytes < d->capacity_bytes &&
                      !d->in_place);
    }
    if (!any)
        return true;
    ok = label(out, " ", "others'");
    for (int i = 0; i < c->n; i++) {
        const struct dev_info *d = &c->p->dev[c->dev[i]].info;
        ok = ok && cell(c, d->capacity_bytes - d->free_bytes, out);
    }
    return ok && buf_addz(out, "\n");
}

static bool mapped_row(const struct columns *c, struct buf *out)
{
    uint64_t all = 0;

    for (int i = 0; i < c->n; i++)
        all += c->p->dev[c->dev[i]].mapped_bytes;
    if (all == 0)
        return true;
    bool ok = label(out, " ", "mapped");
    for (int i = 0; i < c->n; i++)
        ok = ok && cell(c, c->p->dev[c->dev[i]].mapped_bytes, out);
    return ok && buf_addz(out, c->n <= 2 ? "  of the file, not allocated\n" : "\n");
}

/// Predicted time of a token, and the bytes that it cannot do without reading.
static bool time_rows(const struct columns *c, int64_t all_ns, struct buf *out)
{
    char text[64], size[32];
    bool ok = true;

    if (all_ns == 0)
        return true;
    ok = label(out, " ", "ms a token");
    for (int i = 0; i < c->n; i++) {
        int64_t ns = c->p->dev[c->dev[i]].ns_per_token;
        snprintf(text, sizeof(text), "%.1f, %2.0f %%", (double)ns / 1e6,
                 100.0 * (double)ns / (double)all_ns);
        ok = ok && text_cell(c, text, out);
    }
    ok = ok && buf_addz(out, "\n") && label(out, " ", "reads");
    for (int i = 0; i < c->n; i++) {
        const struct plan_dev *d = &c->p->dev[c->dev[i]];
        fmt_bytes(size, d->read_bytes);
        if (c->wide)
            snprintf(text, sizeof(text), "%s at %.0f GB/s", size, d->info.bytes_per_s / 1e9);
        else
            snprintf(text, sizeof(text), "%s", size);
        ok = ok && text_cell(c, text, out);
    }
    if (c->n == 1 && c->wide) { // the roofline
        const struct plan_dev *d = &c->p->dev[c->dev[0]];
        ok = ok &&
             buf_printf(out, "  %.1f ms of it", 1e3 * (double)d->read_bytes / d->info.bytes_per_s);
    }
    return ok && buf_addz(out, "\n");
}

static bool table(const struct columns *c, struct buf *out)
{
    char text[96];
    bool ok = buf_printf(out, "%*s", LABEL, "");

    for (int i = 0; i < c->n; i++)
        ok = ok && text_cell(c, c->p->dev[c->dev[i]].info.name, out);
    ok = ok && buf_addz(out, "\n");
    for (int l = 0; l < ROW_COUNT; l++) {
        if (!any_line(c, (enum plan_row)l))
            continue;
        ok = ok && paint(out, c->colour, lines[l].colour, lines[l].cell) &&
             label(out, "", lines[l].name);
        for (int i = 0; i < c->n; i++)
            ok = ok && cell(c, plan_row_bytes(c->p, c->dev[i], (enum plan_row)l), out);
        remark(c, (enum plan_row)l, text);
        ok = ok && buf_printf(out, "%s%s\n", text[0] != '\0' ? "  " : "", text);
    }
    ok = ok && label(out, "=", "total");
    for (int i = 0; i < c->n; i++)
        ok = ok && cell(c, plan_rows_total(c->p, c->dev[i]), out);
    return ok && buf_addz(out, "\n") && left_row(c, false, out) && left_row(c, true, out) &&
           others_row(c, out) && mapped_row(c, out) && time_rows(c, plan_token_ns(c->p), out);
}

static bool tables(const struct plan *p, bool colour, struct buf *out)
{
    enum { WIDE = 3, NARROW = 5 };
    struct columns c = { .p = p, .colour = colour };
    int dev[NARROW], n_used = 0;
    bool ok = true;

    for (int d = 0; d < p->n_devs; d++)
        n_used += plan_has_column(p, d);
    c.wide = n_used <= WIDE;
    c.dev = dev;
    for (int d = 0; d < p->n_devs; d++) {
        if (!plan_has_column(p, d))
            continue;
        dev[c.n++] = d;
        n_used--;
        if (n_used > 0 && c.n < (c.wide ? WIDE : NARROW))
            continue;
        ok = ok && table(&c, out);
        c.n = 0;
    }
    return ok;
}

/// Bytes of the first `n` columns of a text.
static size_t bytes_of(const char *text, size_t n)
{
    size_t i = 0;

    for (; text[i] != '\0'; i++)
        if (((unsigned char)text[i] & 0xc0) != 0x80 && n-- == 0)
            break;
    return i;
}

/// Text in lines of COLUMNS, of which the first has `used` already; the others begin at LABEL.
static bool flow(struct buf *out, size_t used, const char *text)
{
    bool ok = true;

    for (;; used = LABEL) {
        size_t n = bytes_of(text, used < COLUMNS ? COLUMNS - used : 0);
        if (text[n] != '\0') {
            while (n > 0 && text[n] != ' ')
                n--;
            n = n > 0 ? n : strcspn(text, " ");
        }
        ok = ok && buf_add(out, text, n) && buf_addz(out, "\n");
        text += n + strspn(text + n, " ");
        if (*text == '\0')
            return ok;
        ok = ok && buf_printf(out, "%*s", LABEL, "");
    }
}

static bool wrapped(struct buf *out, const char *name, const char *text)
{
    return buf_printf(out, "%-*s", LABEL, name) && flow(out, LABEL, text);
}

/// Memory of the host: of its own device where that has no column, for copies, and the mapping.
static bool host_line(const struct plan *p, struct buf *out)
{
    uint64_t mapped = 0;
    char text[256] = "", more[128], exact[32], size[32];

    for (int d = 0; d < p->n_devs; d++) {
        mapped += p->dev[d].mapped_bytes;
        if (!only_rows(p, d))
            continue;
        add_text(text, sizeof(text), plan_parts_text(more, sizeof(more), p, d));
        snprintf(more, sizeof(more), " (%s)", fmt_count(exact, p->dev[d].total_bytes));
        add_text(text, sizeof(text), more);
    }
    if (p->host_staging_bytes > 0) {
        snprintf(more, sizeof(more), "%scopies (%s)", text[0] != '\0' ? ", " : "",
                 fmt_count(exact, p->host_staging_bytes));
        add_text(text, sizeof(text), more);
    }
    if (text[0] != '\0')
        add_text(text, sizeof(text), " bytes");
    if (mapped > 0) {
        snprintf(more, sizeof(more), "%s%s of the file mapped", text[0] != '\0' ? ", " : "",
                 fmt_bytes(size, mapped));
        add_text(text, sizeof(text), more);
    }
    return text[0] == '\0' || wrapped(out, "host", text);
}

bool plan_table(const struct plan *p, struct buf *out)
{
    return bars(p, false, out) && tables(p, false, out) && host_line(p, out);
}

// --- the screen ----------------------------------------------------------------------------------

static bool headline(const struct report *r, struct buf *out)
{
    const struct plan *p = r->plan;
    int n_shown = 0, n_devs = 0, n_used = 0, n_with_limit = 0, seen = 0;
    int64_t least = INT64_MAX, ns = plan_token_ns(p);
    char size[32], names[160] = "", text[320] = "", part[96];

    for (int d = 0; d < p->n_devs; d++) {
        n_devs += !p->dev[d].info.in_place;
        n_shown += plan_has_column(p, d);
        n_used += p->dev[d].used && !p->dev[d].info.in_place;
        int64_t left = plan_has_column(p, d) ? plan_left(p, d) : INT64_MAX;
        n_with_limit += left != INT64_MAX;
        least = left < least ? left : least;
    }
    for (int d = 0; d < p->n_devs && n_shown <= 4; d++) {
        if (!plan_has_column(p, d))
            continue;
        add_text(names, sizeof(names), seen == 0 ? "" : seen + 1 == n_shown ? " and " : ", ");
        add_text(names, sizeof(names), p->dev[d].info.name);
        seen++;
    }
    if (n_shown > 4)
        snprintf(names, sizeof(names), "%d devices", n_shown);
    bool fits = plan_holds(p);
    snprintf(text, sizeof(text), "%s %s%s", fits ? "fits on" : "does not fit on", names,
             n_shown == 1 && n_devs > 1 ? " alone" : "");
    if (least != INT64_MAX) {
        snprintf(part, sizeof(part), ": %s%s %s", n_with_limit > 1 && least >= 0 ? "≥ " : "",
                 fmt_bytes(size, (uint64_t)(least < 0 ? -least : least)),
                 least < 0 ? "short" : "left");
        add_text(text, sizeof(text), part);
    }
    if (n_devs > 0) {
        snprintf(part, sizeof(part), "; %d of %d device%s used", n_used, n_devs,
                 n_devs == 1 ? "" : "s");
        add_text(text, sizeof(text), part);
    }
    if (ns > 0) {
        snprintf(part, sizeof(part), "; about %.3g tokens/s", 1e9 / (double)ns);
        add_text(text, sizeof(text), part);
    }
    return paint(out, r->colour, fits ? "1;32" : "1;31", r->name) && buf_addz(out, " ") &&
           flow(out, strlen(r->name) + 1, text);
}

static bool limits_line(const struct report *r, struct buf *out)
{
    const struct limits *lim = &r->plan->lim;
    char text[320], ctx[32];

    snprintf(text, sizeof(text), "context %s, %d slot%s, kv %s, micro-batch %d%s%s%s%s",
             fmt_count(ctx, (uint64_t)r->plan->max.n_ctx), lim->slots, lim->slots == 1 ? "" : "s",
             kv_type_name(lim->kv), lim->micro_batch,
             r->why != NULL && r->why->micro_batch_why[0] != '\0' ? " (" : "",
             r->why != NULL ? r->why->micro_batch_why : "",
             r->why != NULL && r->why->micro_batch_why[0] != '\0' ? ")" : "",
             lim->exact ? ", exact" : "");
    return wrapped(out, "with", text);
}

static bool context_line(const struct report *r, struct buf *out)
{
    char text[160], most[32], train[32];

    if (r->max_ctx <= 0)
        return true;
    fmt_count(most, (uint64_t)r->max_ctx);
    fmt_count(train, (uint64_t)r->ctx_train);
    if (r->ctx_train > 0 && r->max_ctx >= r->ctx_train)
        snprintf(text, sizeof(text), "here up to %s tokens: more than the %s it was trained for",
                 most, train);
    else if (r->ctx_train > 0)
        snprintf(text, sizeof(text), "here up to %s tokens, exactly; trained for %s", most, train);
    else
        snprintf(text, sizeof(text), "here up to %s tokens, exactly", most);
    return wrapped(out, "context", text);
}

static int count_lines(const struct buf *b)
{
    int n = 0;

    for (size_t i = 0; i < b->n; i++)
        n += b->p[i] == '\n';
    return n;
}

bool report_screen(const struct report *r, struct buf *out)
{
    enum { NEIGHBOURS_LEAST = 2 };
    char text[256];
    bool ok = headline(r, out) && limits_line(r, out) && bars(r->plan, r->colour, out) &&
              tables(r->plan, r->colour, out) && host_line(r->plan, out);

    for (int i = 0; r->why != NULL && i < r->why->n_proof; i++)
        ok = ok && wrapped(out, i == 0 ? "proof" : "", r->why->proof[i]);
    ok = ok && context_line(r, out);
    for (int i = 0; i < r->n_more; i++) {
        const struct suggestion *s = &r->more[i];
        if (ok && !r->all && i >= NEIGHBOURS_LEAST && count_lines(out) >= LINES)
            break;
        snprintf(text, sizeof(text), "%s%s%s: %s", s->flag[0] != '\0' ? s->flag : s->change,
                 s->flag[0] != '\0' ? "" : " ", s->flag[0] != '\0' ? "" : s->value, s->effect);
        ok = ok && wrapped(out, i == 0 ? "or" : "", text);
    }
    return ok;
}
