// plan.c - snug plan: where every byte will be, before anything is loaded.

#include "cli/cli.h"
#include "plan/report.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

enum { REPORT_MOST = 256 << 20, SUGGESTIONS = 8, NEIGHBOURS = 3 };

const char *model_name(char out[64], const char *path)
{
    const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;
    size_t n = strstr(path, "://") != NULL ? strcspn(name, "?#") : strlen(name);

    if (n > 5 && !strcmp(name + n - 5, ".gguf"))
        n -= 5;
    return err_bytes(out, 64, name, n);
}

int print_report(const struct cli_args *a, struct buf *b, bool ok, struct err *e)
{
    if (ok)
        fwrite(b->p, 1, b->n, stdout);
    else if (e->code == ERR_NONE)
        err_set(e, ERR_NOMEM, "the report is longer than %d MiB", REPORT_MOST >> 20);
    buf_done(b);
    return ok ? 0 : fail(a, e);
}

static int plan_diff(struct cli_args *a)
{
    struct err e = { 0 };
    struct buf b;

    buf_init(&b, REPORT_MOST);
    bool ok = a->n_pos == 2 ? report_diff(a->pos[0], a->pos[1], &b, &e)
                            : err_set(&e, ERR_ARG, "--diff takes two plans: A.json B.json");
    return print_report(a, &b, ok, &e);
}

static bool write_file(const char *path, const struct buf *b, struct err *e)
{
    FILE *f = fopen(path, "w");

    if (f == NULL)
        return err_set(e, ERR_IO, "cannot write %s: %s", path, strerror(errno));
    bool ok = fwrite(b->p, 1, b->n, f) == b->n;
    ok = fclose(f) == 0 && ok;
    return ok || err_set(e, ERR_IO, "cannot write %s: %s", path, strerror(errno));
}

/// What is said of an engine's plan, in the way that was asked for.
static bool say_plan(const struct cli_args *a, const struct engine *en, struct plan_extra *x,
                     struct buf *out, struct err *e)
{
    char name[64];
    struct suggestion more[NEIGHBOURS];
    struct report r = { .plan = en->plan,
                        .why = &en->placement,
                        .name = model_name(name, a->pos[0]),
                        .ctx_train = en->model->n_ctx_train,
                        .more = more,
                        .colour = term_colour(stdout) };

    if (a->why >= 0)
        return report_why(en->plan, a->why, out, e);
    if (a->llama_cpp)
        return report_llamacpp(en->plan, gguf_path(en->gguf), out);
    if (a->svg_path != NULL)
        return report_svg(&r, out) && write_file(a->svg_path, out, e) &&
               (buf_reset(out), buf_printf(out, "%s\n", a->svg_path));
    r.max_ctx = advise_max_context(en->plan, 0);
    if (!a->json || a->full) // each is a search of its own: programs that ask for bytes need none
        r.n_more = advise(more, NEIGHBOURS, &en->asked, en->plan);
    if (a->json) {
        x->suggestion = more;
        x->n_suggestions = r.n_more;
        x->max_context = r.max_ctx;
        struct stage_costs *stages =
            a->full && en->placement.devices > 1 ? stage_costs_of(en->plan) : NULL;
        x->stages = stages;
        bool ok = plan_json(en->plan, x, out);
        stage_costs_free(stages);
        return ok;
    }
    return report_screen(&r, out) &&
           (!a->full || (buf_addz(out, "\n") && plan_dump(en->plan, out)));
}

/// There is no plan: what would make one, the least painful change first.
static int say_no_fit(const struct cli_args *a, const struct engine *en, struct plan_extra *x,
                      struct err *e)
{
    struct suggestion s[SUGGESTIONS];
    char text[64];
    struct buf b;
    int n = advise(s, SUGGESTIONS, &en->asked, NULL);

    if (a->json) {
        x->suggestion = s;
        x->n_suggestions = n;
        x->error = e->msg;
        buf_init(&b, REPORT_MOST);
        if (plan_json(NULL, x, &b))
            fwrite(b.p, 1, b.n, stdout);
        buf_done(&b);
        return 1;
    }
    fail(a, e);
    for (int i = 0; i < n; i++) {
        snprintf(text, sizeof(text), "%s %s", s[i].change, s[i].value);
        fprintf(stderr, "%-8s %-28s %s\n", i == 0 ? "instead" : "or",
                s[i].flag[0] ? s[i].flag : text, s[i].effect);
    }
    if (n == 0)
        fprintf(stderr,
                "no context, KV type, micro-batch or number of slots makes it fit: a smaller "
                "model would\n");
    return 1;
}

int cmd_plan(struct cli_args *a)
{
    struct engine en;
    struct err e = { 0 };
    struct buf b;
    int64_t start = clock_ns();

    if (a->diff)
        return plan_diff(a);
    a->eng.plan_only = true;
    if (a->n_pos > 1)
        return plan_several(a);
    bool found = engine_open(&en, a->pos[0], &a->eng, NULL, NULL, &e);
    if (!found && en.asked.g == NULL)
        return fail(a, &e);
    struct plan_extra x = { .why = &en.placement,
                            .plan_ns = clock_ns() - start,
                            .full = a->full,
                            .host_added = en.host_added,
                            .file = en.gguf,
                            .on = a->eng.on,
                            .no_vision = a->eng.no_vision };
    int status;
    buf_init(&b, REPORT_MOST);
    if (a->max_ctx) { // of all contexts, whether the one asked for fits or not
        e = (struct err){ 0 };
        status = print_report(a, &b, report_max_ctx(&en.asked, a->json, &b), &e);
    } else if (found) {
        bool ok = say_plan(a, &en, &x, &b, &e);
        status = print_report(a, &b, ok, &e);
    } else {
        status = say_no_fit(a, &en, &x, &e);
    }
    engine_close(&en);
    return status;
}
