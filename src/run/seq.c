// seq.c - one conversation: which tokens are stored, and what may be kept of them.

#include "run/kv.h"

#include <stdlib.h>
#include <string.h>

struct seq {
    struct kv_pool *kv;
    int slot, n_past;
    int32_t *token; // [n_ctx]
    int64_t *lost;  // for each kind of window: positions below this are overwritten
};

bool seq_new(struct seq **out, struct kv_pool *kv, struct err *e)
{
    int slot = 0;

    *out = NULL;
    while (slot < kv->n_slots && kv->taken[slot])
        slot++;
    if (slot == kv->n_slots)
        return err_set(e, ERR_NOFIT, "all %d sequences that were planned for are in use (--slots)",
                       kv->n_slots);
    struct seq *s = xcalloc(1, sizeof(*s));
    s->kv = kv;
    s->slot = slot;
    s->token = xcalloc((size_t)kv->n_ctx, sizeof(*s->token));
    s->lost = xcalloc((size_t)kv->n_windows, sizeof(*s->lost));
    kv->taken[slot] = true;
    *out = s;
    return true;
}

void seq_free(struct seq *s)
{
    if (s == NULL)
        return;
    kv_resize(s->kv, s->slot, 0);
    s->kv->taken[s->slot] = false;
    free(s->token);
    free(s->lost);
    free(s);
}

int seq_n_past(const struct seq *s)
{
    return s->n_past;
}

const int32_t *seq_tokens(const struct seq *s)
{
    return s->token;
}

/// Position p of a ring is overwritten by p + ring. To go on at n, positions n - window + 1 ... n -
/// 1 must be there.
int seq_keep(struct seq *s, int n)
{
    const struct kv_pool *kv = s->kv;

    if (n >= s->n_past)
        return s->n_past;
    n = n < 0 ? 0 : n;
    for (int i = 0; i < kv->n_windows; i++) {
        int64_t first = (int64_t)n - kv->window[i].window + 1;
        if ((first > 0 ? first : 0) < s->lost[i])
            n = 0;
    }
    if (n == 0)
        memset(s->lost, 0, (size_t)kv->n_windows * sizeof(*s->lost));
    s->n_past = n;
    kv_resize(s->kv, s->slot, n);
    return n;
}

int seq_common_prefix(const struct seq *s, const int32_t *token, int n)
{
    int same = 0;

    while (same < n && same < s->n_past && s->token[same] == token[same])
        same++;
    return same;
}

/// Keys of positions below `end` were written, or may have been: what they overwrote is gone.
static void overwritten(struct seq *s, int end)
{
    for (int i = 0; i < s->kv->n_windows; i++) {
        int64_t lost = end - s->kv->window[i].ring;
        s->lost[i] = lost > s->lost[i] ? lost : s->lost[i];
    }
}

static void stored(struct seq *s, const int32_t *token, int n)
{
    memcpy(s->token + s->n_past, token, (size_t)n * sizeof(*token));
    s->n_past += n;
    overwritten(s, s->n_past);
}

/// One micro-batch with logits of its last `n_outputs` tokens.
static bool eval_chunk(struct seq *s, const int32_t *token, int n, int n_outputs, struct err *e)
{
    struct kv_pool *kv = s->kv;
    struct batch b = {
        .n_tokens = n,
        .token = token,
        .pos = kv->pos,
        .slot = kv->slot,
        .n_outputs = n_outputs,
        .output = kv->output,
        .page_table = kv->table,
    };

    for (int i = 0; i < n; i++) {
        kv->pos[i] = s->n_past + i;
        kv->slot[i] = s->slot;
    }
    for (int i = 0; i < n_outputs; i++)
        kv->output[i] = n - n_outputs + i;
    kv_resize(kv, s->slot, s->n_past + n);
    if (!inst_eval(kv->in, &b, e)) {
        kv_resize(kv, s->slot, s->n_past);
        overwritten(s, s->n_past + n);
        return false;
    }
    stored(s, token, n);
    return true;
}

static bool has_room(const struct seq *s, int n, struct err *e)
{
    int64_t room = s->kv->n_ctx - s->n_past;

    if (n <= room)
        return true;
    return err_set(e, ERR_NOFIT, "%d tokens, but only %lld more fit the context of %lld", n,
                   (long long)room, (long long)s->kv->n_ctx);
}

bool seq_eval(struct seq *s, const int32_t *token, int n, seq_progress_fn *progress, void *ctx,
              struct err *e)
{
    int most = inst_plan(s->kv->in)->lim.micro_batch;

    if (n < 1)
        return err_set(e, ERR_ARG, "no tokens to evaluate");
    if (!has_room(s, n, e))
        return false;
    for (int done = 0; done < n;) {
        int now = n - done < most ? n - done : most;
        if (!eval_chunk(s, token + done, now, done + now == n, e))
            return false;
        done += now;
        if (progress != NULL && !progress(ctx, done, n) && done < n)
            return err_set(e, ERR_CANCELLED, "stopped after %d of %d tokens", done, n);
    }
    return true;
}

bool seq_eval_all(struct seq *s, const int32_t *token, int n, seq_logits_fn *fn, void *ctx,
                  struct err *e)
{
    int most = inst_plan(s->kv->in)->lim.outputs; // at most the micro-batch

    if (most < 1)
        return err_set(e, ERR_ARG, "no logits were planned for");
    if (!has_room(s, n, e))
        return false;
    for (int done = 0; done < n;) {
        int now = n - done < most ? n - done : most;
        if (!eval_chunk(s, token + done, now, now, e))
            return false;
        for (int i = 0; i < now; i++)
            if (!fn(ctx, done + i, inst_logits(s->kv->in, i)))
                return err_set(e, ERR_CANCELLED, "stopped after %d of %d tokens", done + i, n);
        done += now;
    }
    return true;
}

bool seq_eval_each(struct seq *const *s, const int32_t *token, int n, struct err *e)
{
    struct kv_pool *kv = n > 0 ? s[0]->kv : NULL;

    if (kv == NULL || n > inst_plan(kv->in)->lim.outputs)
        return err_set(e, ERR_ARG, "%d sequences at once", n);
    for (int i = 0; i < n; i++) {
        ASSERT(s[i]->kv == kv);
        if (!has_room(s[i], 1, e))
            return false;
    }
    for (int i = 0; i < n; i++) {
        kv->pos[i] = s[i]->n_past;
        kv->slot[i] = s[i]->slot;
        kv->output[i] = i;
        kv_resize(kv, s[i]->slot, s[i]->n_past + 1);
    }
    struct batch b = { n, token, kv->pos, kv->slot, n, kv->output, kv->table };
    bool ok = inst_eval(kv->in, &b, e);
    for (int i = 0; i < n; i++) {
        if (ok) {
            stored(s[i], &token[i], 1);
        } else {
            kv_resize(kv, s[i]->slot, s[i]->n_past);
            overwritten(s[i], s[i]->n_past + 1);
        }
    }
    return ok;
}

bool seq_shift(struct seq *s, int n_keep, struct err *e)
{
    int n = s->n_past;

    if (n_keep < 0 || n_keep >= n)
        return err_set(e, ERR_ARG, "cannot keep %d of %d tokens", n_keep, n);
    int drop = (n - n_keep + 1) / 2, left = n - drop;
    int32_t *token = xmalloc((size_t)left * sizeof(*token));
    memcpy(token, s->token, (size_t)n_keep * sizeof(*token));
    memcpy(token + n_keep, s->token + n_keep + drop, (size_t)(left - n_keep) * sizeof(*token));
    int kept = seq_keep(s, n_keep);
    bool ok = left == kept || seq_eval(s, token + kept, left - kept, NULL, NULL, e);
    free(token);
    return ok;
}
