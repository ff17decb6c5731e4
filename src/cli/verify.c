// verify.c - snug verify: a plan from a file, checked against its model by code that plans nothing.

#include "cli/cli.h"
#include "plan/file.h"

#include <stdlib.h>
#include <string.h>

/// The lines as an array, and whether all is well.
static bool verdict_json(const struct verdict *v, struct buf *out)
{
    bool ok = buf_printf(out,
                         "{\"verified\": %s, \"checks\": %d, \"wrong\": %d, \"open\": %d, "
                         "\"lines\": [",
                         v->n_wrong == 0 ? "true" : "false", v->n_verified, v->n_wrong, v->n_open);
    const char *p = v->lines.p != NULL ? v->lines.p : "";

    for (bool first = true; *p != '\0' && ok; first = false) {
        size_t n = strcspn(p, "\n");
        ok = buf_addz(out, first ? "\n  " : ",\n  ") && buf_json_text(out, p, n);
        p += n + (p[n] == '\n');
    }
    return ok && buf_addz(out, "\n]}\n");
}

static bool verify(struct verdict *v, const char *plan, const char *model, struct err *e)
{
    const struct gguf_opts head = { .head_only = true };
    struct plan_file *f;
    struct gguf *file = NULL;
    struct model *m = NULL;
    struct graph *g = NULL;
    bool ok = plan_file_read(&f, plan, e) && model_open(&file, model, &head, e) &&
              model_read(&m, file, e);

    if (ok && f->no_vision)
        model_drop_vision(m);
    ok = ok && model_graph(&g, m, file, e);
    if (ok)
        plan_file_verify(v, f, file, m, g);
    graph_free(g);
    model_free(m);
    gguf_close(file);
    plan_file_free(f);
    return ok;
}

int cmd_verify(struct cli_args *a)
{
    struct verdict v = { 0 };
    struct err e = { 0 };
    struct buf out;

    buf_init(&v.lines, 1 << 20);
    buf_init(&out, 2 << 20);
    bool ok = verify(&v, a->pos[0], a->pos[1], &e);
    if (ok && a->json)
        ok = verdict_json(&v, &out);
    else if (ok)
        ok = v.lines.n == 0 || buf_add(&out, v.lines.p, v.lines.n);
    if (ok && out.n > 0)
        fwrite(out.p, 1, out.n, stdout);
    if (ok && !a->json && v.n_wrong > 0)
        printf("%d wrong\n", v.n_wrong);
    buf_done(&out);
    buf_done(&v.lines);
    return !ok ? fail(a, &e) : v.n_wrong > 0;
}
