// several.c - snug plan A B C: which of them fit together.

#include "plan/several.h"
#include "cli/cli.h"

enum { REPORT_MOST = 1 << 20 };

/// All heads, each with what is to be planned for it. The devices are the first one's.
static bool open_all(struct engine *en, struct several_model *m, char (*name)[64],
                     const struct cli_args *a, struct err *e)
{
    for (int i = 0; i < a->n_pos; i++) {
        bool ok = engine_open(&en[i], a->pos[i], &a->eng, NULL, NULL, e);
        if (!ok && en[i].asked.g == NULL)
            return false;
        const struct question *q = &en[i].asked;
        m[i] = (struct several_model){
            .name = model_name(name[i], a->pos[i]), .g = q->g, .w = q->w, .lim = q->lim, .o = q->o
        };
    }
    *e = (struct err){ 0 };
    return true;
}

int plan_several(const struct cli_args *a)
{
    struct engine en[SEVERAL_MOST] = { 0 };
    struct several_model m[SEVERAL_MOST];
    char name[SEVERAL_MOST][64];
    struct several *s = NULL;
    struct err e = { 0 };
    struct buf b;

    buf_init(&b, REPORT_MOST);
    bool ok = a->n_pos <= SEVERAL_MOST ||
              err_set(&e, ERR_ARG, "at most %d models are planned together", SEVERAL_MOST);
    ok = ok && open_all(en, m, name, a, &e) &&
         several_find(&s, m, a->n_pos, en[0].dev, en[0].n_devs, &e);
    bool all = ok && s->n_sets > 0 && s->set[0].n == a->n_pos;
    ok = ok && (a->json ? several_json(s, m, &b) : several_table(s, m, &b));
    int status = print_report(a, &b, ok, &e);
    several_free(s);
    for (int i = 0; i < a->n_pos && i < SEVERAL_MOST; i++)
        engine_close(&en[i]);
    return ok && !all ? 1 : status;
}
