// exec.c - runs the plan's steps, as they are, at the planned addresses. Allocates nothing.
//
// The lists of launches are made once, when the model is loaded; a batch changes only the numbers
// in inst.now, which all launches point to.

#include "run/run_int.h"

#include <stdlib.h>
#include <string.h>

// --- programs
// -------------------------------------------------------------------------------------

/// Whether a step works on rows of logits alone.
static bool makes_outputs(const struct plan *p, const struct step *s)
{
    const struct tensor *t = s->dst[0] >= 0 ? p->value[s->dst[0]].t : NULL;

    return t != NULL && (t->d[0].sym == SYM_OUTPUTS || t->d[1].sym == SYM_OUTPUTS);
}

static struct launch make_launch(const struct inst *in, const struct step *s, bool sync)
{
    const struct plan *p = in->plan;
    struct launch l = {
        .kernel = s->kernel,
        .args = { .node = s->node, .now = &in->now, .exact = p->lim.exact },
        .sync = sync,
    };

    for (int i = 0; i < NODE_SRC; i++)
        if (s->src[i] >= 0)
            l.args.src[i] = inst_address(in, s->src[i]);
    for (int i = 0; i < NODE_DST; i++)
        if (s->dst[i] >= 0)
            l.args.dst[i] = inst_address(in, s->dst[i]);
    if (s->scratch >= 0)
        l.args.scratch = inst_address(in, s->scratch);
    l.args.src0 = s->src[0] >= 0 ? p->value[s->src[0]].format : DTYPE_F32;
    l.args.dst0 = s->dst[0] >= 0 ? p->value[s->dst[0]].format : DTYPE_F32;
    return l;
}

/// Appends the steps [from[dev], to) of one device as a segment.
static void flush(struct inst *in, struct program *pr, int dev, int *from, int to, int *n_launches)
{
    struct segment seg = { .dev = dev, .first = *n_launches, .copy = -1 };
    bool sync = false; // of steps left out, handed on to the next

    for (int i = from[dev]; i < to; i++) {
        const struct step *s = &in->plan->step[i];
        if (s->dev != dev || s->kernel == NULL)
            continue;
        sync = sync || s->sync;
        if (!pr->kept[i])
            continue;
        pr->launch[*n_launches] = make_launch(in, s, sync);
        pr->launch_of[i] = (*n_launches)++;
        sync = false;
    }
    from[dev] = to;
    seg.n = *n_launches - seg.first;
    if (seg.n > 0)
        pr->seg[pr->n_segs++] = seg;
}

static void program_init(struct inst *in, struct program *pr, bool with_outputs)
{
    const struct plan *p = in->plan;
    int *from = xcalloc((size_t)p->n_devs, sizeof(*from));
    int n_launches = 0;

    pr->launch = xcalloc((size_t)p->n_steps, sizeof(*pr->launch));
    pr->seg = xcalloc((size_t)(p->n_steps + p->n_devs), sizeof(*pr->seg));
    pr->launch_of = xcalloc((size_t)p->n_steps, sizeof(*pr->launch_of));
    pr->kept = xcalloc((size_t)p->n_steps, sizeof(*pr->kept));
    for (int i = 0; i < p->n_steps; i++) {
        pr->kept[i] = with_outputs || !makes_outputs(p, &p->step[i]);
        pr->launch_of[i] = -1;
    }
    for (int i = 0; i < p->n_steps; i++) {
        const struct step *s = &p->step[i];
        if (s->kernel != NULL || !pr->kept[i])
            continue;
        int source = p->value[s->src[0]].slot.dev;
        flush(in, pr, source, from, i, &n_launches);
        flush(in, pr, s->dev, from, i, &n_launches);
        pr->seg[pr->n_segs++] = (struct segment){ .dev = source, .copy = i };
    }
    for (int d = 0; d < p->n_devs; d++)
        flush(in, pr, d, from, p->n_steps, &n_launches);
    free(from);
}

static void program_done(struct program *pr)
{
    free(pr->launch);
    free(pr->seg);
    free(pr->launch_of);
    free(pr->kept);
}

void exec_init(struct inst *in)
{
    const struct plan *p = in->plan;
    const struct value *logits = &p->value[p->logits];

    program_init(in, &in->full, true);
    program_init(in, &in->silent, false);
    in->logits = p->dev[logits->slot.dev].info.in_place ? (const float *)inst_address(in, p->logits)
                                                        : (const float *)(const void *)in->staging;
    if (p->lim.guard_bytes > 0) {
        in->guard_text = xmalloc(align_up_u64(p->lim.guard_bytes, 64));
        memset(in->guard_text, 0xa5, align_up_u64(p->lim.guard_bytes, 64));
    }
}

void exec_done(struct inst *in)
{
    program_done(&in->full);
    program_done(&in->silent);
    free(in->guard_text);
}

// --- a batch
// --------------------------------------------------------------------------------------

/// The page table's row of one sequence, as far as its tokens reach.
static bool check_pages(const struct inst *in, const struct batch *b, int slot, int last_pos,
                        struct err *e)
{
    const struct plan *p = in->plan;
    int64_t per_slot = kv_slot_pages(0, &p->max);

    if (graph_input(p->graph, IN_PAGE_TABLE) == NULL)
        return true;
    for (int64_t t = 0; t <= last_pos / KV_PAGE_TOKENS; t++) {
        int32_t page = b->page_table[slot * per_slot + t];
        if (page < 0 || page >= in->n_pages)
            return err_set(e, ERR_ARG, "slot %d has page %d for tile %lld; there are %lld pages",
                           slot, page, (long long)t, (long long)in->n_pages);
    }
    return true;
}

static bool check_batch(const struct inst *in, const struct batch *b, struct err *e)
{
    const struct plan *p = in->plan;

    if (b->n_tokens < 1 || b->n_tokens > p->lim.micro_batch)
        return err_set(e, ERR_ARG, "%d tokens in a batch, 1 to %d are planned", b->n_tokens,
                       p->lim.micro_batch);
    if (b->n_outputs < 0 || b->n_outputs > p->lim.outputs)
        return err_set(e, ERR_ARG, "%d outputs of a batch, 0 to %d are planned", b->n_outputs,
                       p->lim.outputs);
    for (int i = 0; i < b->n_tokens; i++) {
        bool goes_on = i > 0 && b->slot[i] == b->slot[i - 1];
        bool last = i + 1 == b->n_tokens || b->slot[i + 1] != b->slot[i];
        if (b->token[i] < 0 || b->token[i] >= in->n_vocab_in)
            return err_set(e, ERR_ARG, "token id %d is not in the vocabulary of %lld", b->token[i],
                           (long long)in->n_vocab_in);
        if (b->slot[i] < 0 || b->slot[i] >= p->lim.slots)
            return err_set(e, ERR_ARG, "slot %d of %d", b->slot[i], p->lim.slots);
        if (b->pos[i] < 0 || b->pos[i] >= p->max.n_ctx)
            return err_set(e, ERR_ARG, "position %d in a context of %lld", b->pos[i],
                           (long long)p->max.n_ctx);
        if (goes_on && b->pos[i] != b->pos[i - 1] + 1)
            return err_set(e, ERR_ARG, "position %d follows %d", b->pos[i], b->pos[i - 1]);
        for (int k = 0; !goes_on && k < i; k++)
            if (b->slot[k] == b->slot[i])
                return err_set(e, ERR_ARG, "the tokens of slot %d are not adjacent", b->slot[i]);
        if (last && !check_pages(in, b, b->slot[i], b->pos[i], e))
            return false;
    }
    for (int i = 0; i < b->n_outputs; i++)
        if (b->output[i] < 0 || b->output[i] >= b->n_tokens ||
            (i > 0 && b->output[i] <= b->output[i - 1]))
            return err_set(e, ERR_ARG, "output %d is token %d of %d", i, b->output[i], b->n_tokens);
    return true;
}

static bool write_inputs(struct inst *in, const struct batch *b, struct err *e)
{
    const struct plan *p = in->plan;
    const int32_t *data[IN_COUNT] = {
        [IN_TOKENS] = b->token,
        [IN_POS] = b->pos,
        [IN_SEQ] = b->slot,
        [IN_OUT_IDS] = b->output,
        [IN_PAGE_TABLE] = b->page_table,
    };

    for (int d = 0; d < p->n_devs; d++)
        for (int i = 0; i < IN_COUNT; i++) {
            int v = p->input[d * IN_COUNT + i];
            if (v < 0)
                continue;
            uint64_t bytes = tensor_bytes(p->value[v].t, &in->now);
            if (bytes > 0 &&
                !in->devs[d]->ops->write(in->devs[d], inst_address(in, v), data[i], bytes, e))
                return false;
        }
    return true;
}

/// Through host memory. Both ends are complete before and after.
bool exec_copy(struct inst *in, const struct step *s, struct err *e)
{
    const struct value *from = &in->plan->value[s->src[0]];
    struct dev *a = in->devs[from->slot.dev], *b = in->devs[s->dev];
    uint64_t bytes = tensor_bytes(from->t, &in->now);

    return a->ops->wait(a, e) &&
           a->ops->read(a, in->staging, inst_address(in, s->src[0]), bytes, e) &&
           b->ops->wait(b, e) &&
           b->ops->write(b, inst_address(in, s->dst[0]), in->staging, bytes, e);
}

static bool run_program(struct inst *in, const struct program *pr, struct err *e)
{
    for (int i = 0; i < pr->n_segs; i++) {
        const struct segment *seg = &pr->seg[i];
        struct dev *d = in->devs[seg->dev];
        bool ok = seg->copy >= 0 ? exec_copy(in, &in->plan->step[seg->copy], e)
                                 : d->ops->run(d, &pr->launch[seg->first], seg->n, e);
        if (!ok)
            return false;
    }
    for (int i = 0; i < in->plan->n_devs; i++)
        if (in->plan->dev[i].used && !in->devs[i]->ops->wait(in->devs[i], e))
            return false;
    return true;
}

static bool read_logits(struct inst *in, struct err *e)
{
    const struct value *v = &in->plan->value[in->plan->logits];
    struct dev *d = in->devs[v->slot.dev];

    if (in->plan->dev[v->slot.dev].info.in_place)
        return true;
    return d->ops->read(d, in->staging, inst_address(in, in->plan->logits),
                        tensor_bytes(v->t, &in->now), e);
}

bool inst_eval(struct inst *in, const struct batch *b, struct err *e)
{
    const struct program *pr = b->n_outputs > 0 ? &in->full : &in->silent;

    in->n_outputs = 0;
    if (!check_batch(in, b, e))
        return false;
    in->now.n_tokens = b->n_tokens;
    in->now.n_outputs = b->n_outputs;
    if (!write_inputs(in, b, e))
        return false;
    if (!(in->guard_text != NULL ? guard_run(in, pr, e) : run_program(in, pr, e)))
        return false;
    if (b->n_outputs > 0 && !read_logits(in, e))
        return false;
    in->n_outputs = b->n_outputs;
    return true;
}

const float *inst_logits(const struct inst *in, int output)
{
    ASSERT(output >= 0 && output < in->n_outputs);
    return in->logits + output * in->n_vocab_out;
}

int inst_n_outputs(const struct inst *in)
{
    return in->n_outputs;
}
