// plan.c - snug plan: where every byte will be, before anything is loaded.

#include "cli/cli.h"

int cmd_plan(struct cli_args *a)
{
    struct engine en;
    struct err e = { 0 };
    struct buf b;
    a->eng.plan_only = true;
    if (!engine_open(&en, a->pos[0], &a->eng, NULL, NULL, &e))
        return fail(a, &e);
    buf_init(&b, 256 << 20);
    bool ok = a->json ? plan_json(en.plan, &b) : plan_table(en.plan, &b);
    if (ok && a->full && !a->json)
        ok = plan_dump(en.plan, &b);
    if (ok)
        fwrite(b.p, 1, b.n, stdout);
    else
        err_set(&e, ERR_NOMEM, "the report is longer than 256 MiB");
    buf_done(&b);
    engine_close(&en);
    return ok ? 0 : fail(a, &e);
}
