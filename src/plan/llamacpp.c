// llamacpp.c - a plan as llama.cpp's flags.
//
// There (src/llama-model.cpp, load_tensors) the embedding stays on the host. The last `ngl` of
// blocks + 1 layers, the output being one, are shared out in order: layer i of n goes to the first
// device whose cumulated share of -ts is more than i / n. Whole numbers of layers as shares,
// summed, compare exactly. What that cannot say, -ot does, tensor by tensor.

#include "plan/report.h"

#include <string.h>

/// Where layers are: blocks, then the output.
struct layers {
    int n; // blocks + 1
    int dev[512];
    int experts[512]; // -1: with the block
};

static bool find_layers(struct layers *l, const struct plan *p)
{
    *l = (struct layers){ .n = 1 };
    for (int i = 1; i < p->n_parts; i++)
        if (graph_part(p->graph, i)->il >= l->n - 1)
            l->n = graph_part(p->graph, i)->il + 2;
    if (l->n > (int)ARRAY_LEN(l->dev))
        return false;
    for (int i = 0; i < l->n; i++)
        l->experts[i] = -1;
    for (int i = 1; i < p->n_parts; i++) {
        const struct part *part = graph_part(p->graph, i);
        if (part->kind == PART_BLOCK)
            l->dev[part->il] = p->part_dev[i];
        else if (part->kind == PART_HEAD)
            l->dev[l->n - 1] = p->part_dev[i];
        else if (part->kind == PART_EXPERTS)
            l->experts[part->il] = p->part_dev[i];
    }
    for (int i = 0; i < l->n; i++)
        if (l->experts[i] == l->dev[i])
            l->experts[i] = -1;
    return true;
}

static bool on_host(const struct plan *p, int dev)
{
    return p->dev[dev].info.in_place;
}

/// As CUDA counts them: the devices that are not the host's, in order.
static int cuda_number(const struct plan *p, int dev)
{
    int n = 0;

    for (int d = 0; d < dev; d++)
        n += !on_host(p, d);
    return n;
}

/// "(3|4|5)": block numbers for which `here` says yes, behind `open`; *n of them.
static bool add_blocks(const struct layers *l, const bool *here, struct buf *out)
{
    bool first = true, ok = true;

    for (int i = 0; i + 1 < l->n; i++) {
        if (!here[i])
            continue;
        ok = ok && buf_printf(out, "%s%d", first ? "" : "|", i);
        first = false;
    }
    return ok;
}

/// -ot for blocks or experts that -ngl and -ts do not put where the plan has them.
static bool overrides(const struct plan *p, const struct layers *l, int first_gpu, struct buf *out)
{
    bool ok = true;

    for (int d = 0; d < p->n_devs; d++) {
        bool block[512] = { false }, experts[512] = { false }, any = false, any_experts = false;
        char name[24] = "CPU";
        if (!on_host(p, d))
            snprintf(name, sizeof(name), "CUDA%d", cuda_number(p, d));
        for (int i = 0; i + 1 < l->n; i++) {
            any |= block[i] = i >= first_gpu && on_host(p, l->dev[i]) && l->dev[i] == d;
            any_experts |= experts[i] = l->experts[i] == d;
        }
        if (any)
            ok = ok && buf_addz(out, " \\\n  -ot 'blk\\.(") && add_blocks(l, block, out) &&
                 buf_printf(out, ")\\.=%s'", name);
        if (any_experts)
            ok = ok && buf_addz(out, " \\\n  -ot 'blk\\.(") && add_blocks(l, experts, out) &&
                 buf_printf(out, ")\\.ffn_(up|down|gate|gate_up)_exps=%s'", name);
    }
    return ok;
}

/// In single quotes.
static bool quoted(const char *path, struct buf *out)
{
    bool ok = buf_addz(out, "'");

    for (; *path != '\0'; path++)
        ok = ok && (*path == '\'' ? buf_addz(out, "'\\''") : buf_add(out, path, 1));
    return ok && buf_addz(out, "'");
}

static bool say_split(const struct plan *p, const struct layers *l, int first_gpu, struct buf *out)
{
    int order[512], count[512], n = 0;
    bool ok = true;

    for (int i = first_gpu; i < l->n; i++) {
        // A layer of the host's in between counts for the device before: -ot takes its weights
        // away.
        int d = on_host(p, l->dev[i]) && n > 0 ? order[n - 1] : l->dev[i];
        if (n == 0 || order[n - 1] != d) {
            order[n] = d;
            count[n++] = 0;
        }
        count[n - 1]++;
    }
    ok = buf_printf(out, " \\\n  -ngl %d", l->n - first_gpu);
    if (n == 0)
        return ok;
    ok = ok && buf_addz(out, " -sm layer -dev ");
    for (int i = 0; i < n; i++)
        ok = ok && buf_printf(out, "%sCUDA%d", i > 0 ? "," : "", cuda_number(p, order[i]));
    ok = ok && buf_addz(out, " -ts ");
    for (int i = 0; i < n; i++)
        ok = ok && buf_printf(out, "%s%d", i > 0 ? "," : "", count[i]);
    return ok;
}

bool report_llamacpp(const struct plan *p, const char *path, struct buf *out)
{
    const char *kv = kv_type_name(p->lim.kv);
    struct layers l;
    int first_gpu = 0;

    if (!find_layers(&l, p))
        return false;
    while (first_gpu < l.n && on_host(p, l.dev[first_gpu]))
        first_gpu++;
    bool ok =
        buf_addz(out, strstr(path, "://") != NULL ? "llama-server -mu " : "llama-server -m ") &&
        quoted(path, out) && say_split(p, &l, first_gpu, out) && overrides(p, &l, first_gpu, out);
    if (first_gpu < l.n && on_host(p, l.dev[l.n - 1]))
        ok = ok && buf_addz(out, " \\\n  -ot '^output(_norm)?\\.=CPU'");
    // Its context is that of all slots together.
    ok = ok && buf_printf(out, " \\\n  -c %lld -np %d -ub %d -fa on -ctk %s -ctv %s -fit off\n",
                          (long long)p->max.n_ctx * p->lim.slots, p->lim.slots, p->lim.micro_batch,
                          kv, kv);
    return ok &&
           buf_addz(out, "# The same blocks on the same devices. What llama.cpp allocates beyond "
                         "weights and KV (compute\n# buffers, its CUDA context) is its own: it is "
                         "not in this plan's proof, and may not fit.\n");
}
