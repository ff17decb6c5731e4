// svg.c - a plan as a picture that people can post: a bar per device to scale, with its blocks.
//
// Plain shapes and text: no scripts, links, fonts or styles from elsewhere. No background, and
// colours that are readable on white as well as on black.

#include "plan/plan_int.h"
#include "plan/report.h"

#include <string.h>

enum { WIDTH = 960, MARGIN = 24, TOP = 92, BAR = 40, ROW = 104 };

static const char ink[] = "#7d8590", edge[] = "#8b949e";

static const struct {
    const char *fill, *text;
} look[ROW_COUNT] = {
    [ROW_WEIGHTS] = { "#4184e4", "weights" }, [ROW_KV] = { "#46954a", "keys and values" },
    [ROW_SCRATCH] = { "#c69026", "scratch" }, [ROW_INPUT] = { "#39c5cf", "input, handover" },
    [ROW_HANDOVER] = { "#39c5cf", NULL },     [ROW_ROUNDING] = { "#39c5cf", NULL },
    [ROW_DRIVER] = { "#986ee2", "driver" },   [ROW_RESERVE] = { "#e5534b", "reserve" },
};

static bool xml_text(struct buf *out, const char *p)
{
    bool ok = true;

    for (; *p != '\0' && ok; p++) {
        if (*p == '&')
            ok = buf_addz(out, "&amp;");
        else if (*p == '<')
            ok = buf_addz(out, "&lt;");
        else if (*p == '>')
            ok = buf_addz(out, "&gt;");
        else if ((unsigned char)*p < 0x20 || (unsigned char)*p >= 0x7f)
            ok = buf_addz(out, "?");
        else
            ok = buf_add(out, p, 1);
    }
    return ok;
}

static bool text_at(struct buf *out, double x, double y, int size, const char *anchor,
                    const char *weight, const char *text)
{
    return buf_printf(out,
                      "<text x=\"%.1f\" y=\"%.1f\" font-size=\"%d\" text-anchor=\"%s\" "
                      "font-weight=\"%s\">",
                      x, y, size, anchor, weight) &&
           xml_text(out, text) && buf_addz(out, "</text>\n");
}

static bool box(struct buf *out, double x, double y, double w, double h, const char *fill)
{
    return w <= 0 || buf_printf(out,
                                "<rect x=\"%.2f\" y=\"%.1f\" width=\"%.2f\" height=\"%.1f\" "
                                "fill=\"%s\"/>\n",
                                x, y, w, h, fill);
}

/// What the bar is to scale of.
static uint64_t bar_bytes(const struct plan *p, int dev)
{
    const struct plan_dev *d = &p->dev[dev];

    if (d->info.capacity_bytes == UINT64_MAX || d->info.in_place)
        return plan_rows_total(p, dev) + d->mapped_bytes;
    return d->info.capacity_bytes;
}

/// Weights of one part on a device.
static uint64_t part_bytes(const struct plan *p, int dev, int part)
{
    uint64_t sum = 0;

    for (int v = 0; v < p->n_values; v++) {
        const struct value *x = &p->value[v];
        if (x->slot.dev == dev && x->slot.arena == ARENA_WEIGHTS && x->t != NULL &&
            x->t->part == part)
            sum += align_up_u64(x->slot.bytes, SLOT_ALIGN);
    }
    return sum;
}

/// The segment of weights: a line behind each part, so that blocks are seen.
static bool part_lines(const struct plan *p, int dev, double x, double y, double scale,
                       struct buf *out)
{
    uint64_t sum = 0;
    bool ok = true;

    for (int i = 1; i < p->n_parts; i++) {
        if (p->part_dev[i] != dev)
            continue;
        sum += part_bytes(p, dev, i);
        ok = ok && buf_printf(out,
                              "<path d=\"M%.2f %.1fv%d\" stroke=\"#fff\" stroke-opacity=\"0.55\" "
                              "stroke-width=\"0.7\"/>\n",
                              x + (double)sum * scale, y, BAR);
    }
    return ok;
}

static bool device(const struct plan *p, int dev, double y, struct buf *out)
{
    const struct plan_dev *d = &p->dev[dev];
    uint64_t all = bar_bytes(p, dev), used = plan_rows_total(p, dev);
    double width = WIDTH - 2 * MARGIN, x = MARGIN, scale = all > 0 ? width / (double)all : 0;
    char text[192], a[32], b[32], parts[128];
    bool ok = text_at(out, MARGIN, y - 8, 14, "start", "bold", d->info.name);

    if (d->info.capacity_bytes == UINT64_MAX || d->info.in_place)
        snprintf(text, sizeof(text), "%s allocated, %s mapped from the file", fmt_bytes(a, used),
                 fmt_bytes(b, d->mapped_bytes));
    else
        snprintf(text, sizeof(text), "%s of %s", fmt_bytes(a, used), fmt_bytes(b, all));
    int64_t left = plan_left(p, dev);
    if (d->used && left != INT64_MAX)
        snprintf(text + strlen(text), sizeof(text) - strlen(text), ", %s %s",
                 fmt_bytes(a, (uint64_t)(left < 0 ? -left : left)), left < 0 ? "short" : "free");
    ok =
        ok && text_at(out, WIDTH - MARGIN, y - 8, 13, "end", "normal", d->used ? text : "not used");
    for (int r = 0; r < ROW_COUNT; r++) {
        uint64_t bytes = plan_row_bytes(p, dev, (enum plan_row)r);
        bytes += r == ROW_WEIGHTS ? d->mapped_bytes : 0;
        double w = (double)bytes * scale;
        w = x + w > WIDTH - MARGIN ? WIDTH - MARGIN - x : w; // where it does not fit
        ok = ok && box(out, x, y, w, BAR, look[r].fill);
        if (r == ROW_WEIGHTS && d->used)
            ok = ok && part_lines(p, dev, x, y, scale, out);
        x += w;
    }
    ok = ok && buf_printf(out,
                          "<rect x=\"%d\" y=\"%.1f\" width=\"%.0f\" height=\"%d\" fill=\"none\" "
                          "stroke=\"%s\" rx=\"2\"/>\n",
                          MARGIN, y, width, BAR, edge);
    text[0] = '\0';
    if (d->used && d->ns_per_token > 0)
        snprintf(text, sizeof(text), "; %.1f ms a token", (double)d->ns_per_token / 1e6);
    if (!d->used)
        return ok;
    char under[320];
    snprintf(under, sizeof(under), "%s%s", plan_parts_text(parts, sizeof(parts), p, dev), text);
    return ok && text_at(out, MARGIN, y + BAR + 18, 13, "start", "normal", under);
}

static bool legend(const struct plan *p, double y, struct buf *out)
{
    double x = MARGIN;
    bool ok = true;

    for (int r = 0; r < ROW_COUNT; r++) {
        bool any = false;
        for (int d = 0; d < p->n_devs; d++)
            any = any || plan_row_bytes(p, d, (enum plan_row)r) > 0 ||
                  (r == ROW_WEIGHTS && p->dev[d].mapped_bytes > 0);
        if (look[r].text == NULL || !any)
            continue;
        ok = ok && box(out, x, y - 11, 12, 12, look[r].fill) &&
             text_at(out, x + 18, y, 13, "start", "normal", look[r].text);
        x += 40 + 7.2 * (double)strlen(look[r].text);
    }
    ok = ok && buf_printf(out,
                          "<rect x=\"%.1f\" y=\"%.1f\" width=\"12\" height=\"12\" fill=\"none\" "
                          "stroke=\"%s\"/>\n",
                          x, y - 11, edge);
    return ok && text_at(out, x + 18, y, 13, "start", "normal", "free") &&
           text_at(out, WIDTH - MARGIN, y, 13, "end", "normal", "planned by snug, to the byte");
}

/// Of the host only where blocks or experts are with it.
static bool has_bar(const struct plan *p, int dev)
{
    return plan_has_column(p, dev) || (!p->dev[dev].used && !p->dev[dev].info.in_place);
}

bool report_svg(const struct report *r, struct buf *out)
{
    const struct plan *p = r->plan;
    char text[320], ctx[32], parts[128];
    int n_bars = 0;

    for (int d = 0; d < p->n_devs; d++)
        n_bars += has_bar(p, d);
    int height = TOP + ROW * n_bars + 24;
    bool ok = buf_printf(out,
                         "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%d\" height=\"%d\" "
                         "viewBox=\"0 0 %d %d\" font-family=\"system-ui, sans-serif\" "
                         "fill=\"%s\">\n<title>",
                         WIDTH, height, WIDTH, height, ink) &&
              xml_text(out, r->name) && buf_addz(out, "</title>\n");

    ok = ok && text_at(out, MARGIN, 32, 20, "start", "bold", r->name);
    snprintf(text, sizeof(text), "context %s, %d slot%s, kv %s, micro-batch %d",
             fmt_count(ctx, (uint64_t)p->max.n_ctx), p->lim.slots, p->lim.slots == 1 ? "" : "s",
             kv_type_name(p->lim.kv), p->lim.micro_batch);
    for (int d = 0; d < p->n_devs; d++)
        if (p->dev[d].used && !has_bar(p, d))
            snprintf(text + strlen(text), sizeof(text) - strlen(text), "; on the host: %s",
                     plan_parts_text(parts, sizeof(parts), p, d));
    ok = ok && text_at(out, MARGIN, 54, 14, "start", "normal", text);
    int64_t ns = plan_token_ns(p);
    if (ns > 0) {
        snprintf(text, sizeof(text), "about %.3g tokens/s", 1e9 / (double)ns);
        ok = ok && text_at(out, WIDTH - MARGIN, 54, 14, "end", "normal", text);
    }
    for (int d = 0, at = TOP; d < p->n_devs; d++) {
        if (!has_bar(p, d))
            continue;
        ok = ok && device(p, d, at, out);
        at += ROW;
    }
    return ok && legend(p, TOP + ROW * n_bars + 4, out) && buf_addz(out, "</svg>\n");
}
