// load.c - a plan made real: arenas, weights, and the proof that nothing else was taken.

#include "run/run_int.h"

#include <stdlib.h>

enum { WRITE_BYTES = 16 << 20 }; // between two calls of the progress function

void *inst_address(const struct inst *in, int value)
{
    const struct slot *s = &in->plan->value[value].slot;
    uint64_t bytes;

    if (!s->mapped)
        return (uint8_t *)in->mem[s->dev][s->arena].p + s->offset;
    const uint8_t *map = gguf_file_map(in->g, s->file, &bytes);
    // Kernels read weights only; the type of run_args.src is const again.
    return (void *)((uintptr_t)map + s->offset);
}

/// All arenas of all devices, before any work is put into one of them.
static bool reserve(struct inst *in, struct err *e)
{
    const struct plan *p = in->plan;

    for (int d = 0; d < p->n_devs; d++)
        for (int a = 0; a < ARENA_COUNT; a++) {
            uint64_t bytes = p->dev[d].arena_bytes[a];
            if (bytes > 0 && !in->devs[d]->ops->alloc(in->devs[d], bytes, &in->mem[d][a], e))
                return err_add(e, "%s (%llu bytes)", arena_kind_name((enum arena_kind)a),
                               (unsigned long long)bytes);
        }
    return true;
}

/// Where a weight's bytes lie in the file: NULL if they are not (all) there.
static const uint8_t *weight_data(const struct gguf *g, const struct tensor *t, uint64_t bytes)
{
    const uint8_t *data = gguf_data(g, t->source);
    uint64_t skip = (uint64_t)t->row0 * dtype_row_bytes(t->type, t->d[0].n);
    uint64_t all = gguf_tensor(g, t->source)->bytes;

    return data == NULL || skip > all || bytes > all - skip ? NULL : data + skip;
}

/// Bytes from `data` to where the data of its file ends; 0 in the hole behind, which is all zeros.
static uint64_t bytes_to_read(const struct gguf *g, const struct tensor *t, const uint8_t *data)
{
    int file = gguf_tensor(g, t->source)->file;
    uint64_t bytes, end = gguf_data_end(g, file);
    uint64_t at = (uint64_t)(data - (const uint8_t *)gguf_file_map(g, file, &bytes));

    return at < end ? end - at : 0;
}

/// The next *n bytes of a weight from `at` on: a copy of what the file has, or all that is a hole.
static bool load_piece(struct inst *in, int value, const uint8_t *data, uint64_t at, uint64_t *n,
                       struct err *e)
{
    const struct value *v = &in->plan->value[value];
    struct dev *dev = in->devs[v->slot.dev];
    uint8_t *to = (uint8_t *)inst_address(in, value) + at;
    uint64_t there = bytes_to_read(in->g, v->t, data + at);

    *n = v->slot.bytes - at;
    if (there == 0 && dev->ops->zero != NULL)
        return dev->ops->zero(dev, to, *n, e);
    if (there > 0 && there < *n)
        *n = there;
    if (*n > WRITE_BYTES)
        *n = WRITE_BYTES;
    return dev->ops->write(dev, to, data + at, *n, e);
}

static bool check_mapped(const struct inst *in, const struct value *v, const uint8_t *data,
                         struct err *e)
{
    uint64_t bytes;
    const uint8_t *map = gguf_file_map(in->g, v->slot.file, &bytes);

    if (map == NULL || v->slot.offset > bytes || v->slot.bytes > bytes - v->slot.offset ||
        map + v->slot.offset != data)
        return err_set(e, ERR_FORMAT, "tensor %s is not in the file where the plan has it",
                       v->t->name);
    return true;
}

static bool load_weights(struct inst *in, load_progress_fn *progress, void *ctx, struct err *e)
{
    const struct plan *p = in->plan;
    uint64_t total = 0, done = 0;

    for (int i = 0; i < p->n_values; i++)
        if (p->value[i].slot.arena == ARENA_WEIGHTS && !p->value[i].slot.mapped)
            total += p->value[i].slot.bytes;
    for (int i = 0; i < p->n_values; i++) {
        const struct value *v = &p->value[i];
        if (v->slot.arena != ARENA_WEIGHTS)
            continue;
        const uint8_t *data = weight_data(in->g, v->t, v->slot.bytes);
        if (data == NULL)
            return err_set(e, ERR_FORMAT, "tensor %s: its data is missing from the file",
                           v->t->name);
        if (v->slot.mapped) {
            if (!check_mapped(in, v, data, e))
                return false;
            continue;
        }
        uint64_t n;
        for (uint64_t at = 0; at < v->slot.bytes; at += n) {
            if (!load_piece(in, i, data, at, &n, e))
                return err_add(e, "loading %s", v->t->name);
            done += n;
            if (progress != NULL && !progress(ctx, done, total))
                return err_set(e, ERR_CANCELLED, "loading was cancelled");
        }
    }
    return true;
}

static void note_sizes(struct inst *in)
{
    const struct graph *g = in->plan->graph;

    for (int i = 0; i < graph_n_nodes(g); i++) {
        const struct node *n = graph_node(g, i);
        if (n->op == OP_EMBED)
            in->n_vocab_in = n->src[1]->d[1].n;
    }
    in->n_vocab_out = graph_logits(g)->d[0].n;
    in->n_pages = in->plan->lim.slots * kv_slot_pages(0, &in->plan->max);
}

bool inst_load(struct inst **out, const struct plan *p, const struct gguf *g,
               struct dev *const *devs, load_progress_fn *progress, void *ctx, struct err *e)
{
    struct inst *in = xcalloc(1, sizeof(*in));

    *out = NULL;
    in->plan = p;
    in->g = g;
    in->devs = devs;
    in->now = p->max;
    in->mem = xcalloc((size_t)p->n_devs, sizeof(*in->mem));
    in->high = xcalloc((size_t)p->n_devs, sizeof(*in->high));
    note_sizes(in);
    if (!reserve(in, e) || !load_weights(in, progress, ctx, e))
        goto fail;
    for (int d = 0; d < p->n_devs; d++)
        devs[d]->ops->seal(devs[d]);
    in->staging = xaligned(p->host_staging_bytes);
    exec_init(in);
    if (!memory_compare(in, e))
        goto fail;
    *out = in;
    return true;

fail:
    inst_free(in);
    return false;
}

void inst_free(struct inst *in)
{
    if (in == NULL)
        return;
    for (int d = 0; d < in->plan->n_devs; d++)
        for (int a = 0; a < ARENA_COUNT; a++)
            if (in->mem[d][a].p != NULL)
                in->devs[d]->ops->release(in->devs[d], &in->mem[d][a]);
    exec_done(in);
    free(in->staging);
    free(in->mem);
    free(in->high);
    free(in);
}

const struct plan *inst_plan(const struct inst *in)
{
    return in->plan;
}

uint64_t inst_device_bytes(const struct inst *in, int dev)
{
    uint64_t sum = 0;

    for (int a = 0; a < ARENA_COUNT; a++)
        sum += in->mem[dev][a].bytes;
    return sum;
}
