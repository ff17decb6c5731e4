// logits.c - snug logits: what the model answers to given token ids, as numbers.

#include "cli/cli.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct sink {
    FILE *f; // NULL: only count
    int n_vocab;
    struct progress p;
    int total;
};

static bool write_row(void *ctx, int index, const float *logits)
{
    struct sink *s = ctx;
    if (s->f && fwrite(logits, sizeof(float), (size_t)s->n_vocab, s->f) != (size_t)s->n_vocab)
        return false;
    return progress_update(&s->p, (uint64_t)index + 1, (uint64_t)s->total);
}

static bool greedy(struct engine *en, struct seq *s, int32_t id, const struct cli_args *a,
                   struct err *e)
{
    printf(a->json ? "{\"greedy\": [" : "");
    for (int i = 0; i < a->greedy; i++) {
        printf("%s%d", i ? (a->json ? ", " : " ") : "", id);
        if (i + 1 == a->greedy)
            break;
        if (!seq_eval(s, &id, 1, NULL, NULL, e))
            return false;
        id = logits_argmax(inst_logits(en->inst, 0), en->model->n_vocab);
    }
    printf(a->json ? "]}\n" : "\n");
    return true;
}

static bool evaluate(struct engine *en, const struct tok_ids *ids, const struct cli_args *a,
                     struct err *e)
{
    struct seq *s = NULL;
    struct sink sink = { .n_vocab = en->model->n_vocab, .total = (int)ids->n };
    bool ok = false;
    if (!seq_new(&s, en->kv, e))
        return false;
    if (a->out_path && !(sink.f = fopen(a->out_path, "wb"))) {
        err_set(e, ERR_IO, "writing %s: %s", a->out_path, strerror(errno));
        goto done;
    }
    progress_start(&sink.p, "evaluating", "tokens");
    ok = a->out_path ? seq_eval_all(s, ids->id, (int)ids->n, write_row, &sink, e)
                     : seq_eval(s, ids->id, (int)ids->n, NULL, NULL, e);
    progress_end(&sink.p);
    if (sink.f && fclose(sink.f) != 0 && ok)
        ok = err_set(e, ERR_IO, "writing %s: %s", a->out_path, strerror(errno));
    // The last row is still in place: seq_eval_all hands rows out in order.
    if (ok && a->greedy > 0) {
        const float *last = inst_logits(en->inst, inst_n_outputs(en->inst) - 1);
        ok = greedy(en, s, logits_argmax(last, en->model->n_vocab), a, e);
    }
done:
    seq_free(s);
    return ok;
}

int cmd_logits(struct cli_args *a)
{
    struct engine en;
    struct tok_ids ids = { 0 };
    struct err e = { 0 };
    char *text = NULL;
    size_t n;
    bool opened = false, ok = false;
    interrupt_catch();
    if (!a->tokens_path) {
        err_set(&e, ERR_ARG, "--tokens FILE is missing: token ids separated by white space");
        goto done;
    }
    if (!file_read(&text, &n, a->tokens_path, 64 << 20, &e) ||
        !ids_parse(&ids, text, a->tokens_path, &e))
        goto done;
    if (ids.n == 0) {
        err_set(&e, ERR_ARG, "%s has no token ids", a->tokens_path);
        goto done;
    }
    if (!a->eng.micro_batch)
        a->eng.micro_batch =
            64; // every row has logits: 64 rows of a large vocabulary are enough at once
    if (!a->eng.ctx)
        a->eng.ctx = (int64_t)ids.n + a->greedy;
    a->eng.outputs = a->out_path ? a->eng.micro_batch : 1;
    opened = engine_open(&en, a->pos[0], &a->eng, NULL, NULL, &e);
    ok = opened && evaluate(&en, &ids, a, &e);
done:
    if (opened)
        engine_close(&en);
    free(text);
    tok_ids_done(&ids);
    return ok ? 0 : fail(a, &e);
}
