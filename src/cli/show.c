// show.c - snug show: what is in a file, and what of it is used.

#include "cli/cli.h"

#include <string.h>

struct unused {
    struct buf *out;
    const struct gguf *g;
    int n, n_known;
};

static void count_unused(void *ctx, int tensor, bool known)
{
    struct unused *u = ctx;
    (void)tensor;
    u->n++;
    u->n_known += known;
}

struct file_view {
    struct gguf *g;
    struct model *m; // NULL: vocabulary only, or an architecture that this build does not know
    struct graph *graph;
    struct err why; // why there is no model or graph
};

/// What is in the file for the tower that sees images.
struct tower {
    int tensors;
    uint64_t bytes;
};

static struct tower find_tower(const struct file_view *v)
{
    struct tower t = { 0 };
    for (int i = 0; v->graph && i < graph_n_tensors(v->graph); i++) {
        const struct tensor *x = graph_tensor(v->graph, i);
        if (x->role == ROLE_WEIGHT && graph_part(v->graph, x->part)->kind == PART_VISION) {
            t.tensors++;
            t.bytes += gguf_tensor(v->g, x->source)->bytes;
        }
    }
    return t;
}

struct format_sum {
    int tensors;
    uint64_t bytes, numbers;
};

static uint64_t sum_formats(const struct gguf *g, struct format_sum sum[DTYPE_COUNT],
                            uint64_t *numbers)
{
    uint64_t bytes = 0;
    *numbers = 0;
    memset(sum, 0, sizeof(*sum) * DTYPE_COUNT);
    for (int i = 0; i < gguf_n_tensors(g); i++) {
        const struct gguf_tensor *t = gguf_tensor(g, i);
        uint64_t n = t->ne[0] * t->ne[1] * t->ne[2] * t->ne[3];
        sum[t->type].tensors++;
        sum[t->type].bytes += t->bytes;
        sum[t->type].numbers += n;
        bytes += t->bytes;
        *numbers += n;
    }
    return bytes;
}

static bool layers_text(struct buf *b, const struct model *m)
{
    int windowed = 0, window = 0;
    for (int i = 0; i < m->n_layers; i++) {
        windowed += m->layer[i].window > 0;
        if (m->layer[i].window > 0)
            window = m->layer[i].window;
    }
    const struct layer *l = &m->layer[0];
    bool ok = buf_printf(
        b,
        "  layers        %d: %d heads, %d of them for keys and values, %d wide; feed-forward %d\n",
        m->n_layers, l->n_heads, l->n_kv_heads, l->head_dim, l->n_ff);
    if (ok && windowed)
        ok = buf_printf(b, "  window        %d tokens in %d of the layers\n", window, windowed);
    return ok;
}

static bool show_text(struct buf *b, const struct file_view *v)
{
    const struct gguf *g = v->g;
    struct format_sum sum[DTYPE_COUNT];
    uint64_t numbers, bytes = sum_formats(g, sum, &numbers);
    char s[32], c[32], shown[256];
    struct str arch = { "", 0 };
    gguf_get_str(g, "general.architecture", &arch);
    bool ok = buf_printf(b, "%s\n  GGUF          version %u, %d keys, %d tensors, %d file%s%s\n",
                         gguf_path(g), gguf_version(g), gguf_n_keys(g), gguf_n_tensors(g),
                         gguf_n_files(g), gguf_n_files(g) == 1 ? "" : "s",
                         gguf_head_only(g) ? " (tensor data missing)" : "");
    ok = ok &&
         buf_printf(b, "  architecture  %s\n", err_bytes(shown, sizeof(shown), arch.p, arch.n));
    if (v->m) {
        ok = ok && (!*v->m->name || buf_printf(b, "  name          %s\n", v->m->name));
        ok = ok && buf_printf(b, "  parameters    %.2f M\n", (double)numbers / 1e6);
        ok = ok && buf_printf(b, "  width         %d, vocabulary %d, trained for %lld tokens\n",
                              v->m->n_embd, v->m->n_vocab, (long long)v->m->n_ctx_train);
        ok = ok && layers_text(b, v->m);
    }
    if (!v->graph)
        ok = ok && buf_printf(b, "  cannot run    %s\n", v->why.msg);
    for (int t = 0; ok && t < DTYPE_COUNT; t++)
        if (sum[t].tensors)
            ok = buf_printf(b, "  %-12s  %4d tensors  %10s  %15s bytes  %5.2f bits a number\n",
                            dtype_info((enum dtype)t)->name, sum[t].tensors,
                            fmt_bytes(s, sum[t].bytes), fmt_count(c, sum[t].bytes),
                            8.0 * (double)sum[t].bytes / (double)sum[t].numbers);
    ok = ok && buf_printf(b, "  all                         %10s  %15s bytes\n",
                          fmt_bytes(s, bytes), fmt_count(c, bytes));
    struct tower tower = find_tower(v);
    if (ok && tower.tensors)
        ok = buf_printf(b,
                        "  vision tower  %4d tensors  %10s  %15s bytes  images are not run yet; "
                        "--no-vision leaves it out\n",
                        tower.tensors, fmt_bytes(s, tower.bytes), fmt_count(c, tower.bytes));
    if (ok && v->graph) {
        struct unused u = { .g = g };
        model_unused(v->m, v->graph, g, count_unused, &u);
        if (u.n)
            ok =
                buf_printf(b, "  not used      %d tensors, %d of them knowingly\n", u.n, u.n_known);
    }
    return ok;
}

static bool show_keys(struct buf *b, const struct gguf *g)
{
    bool ok = buf_addz(b, "\nkeys\n");
    for (int i = 0; ok && i < gguf_n_keys(g); i++)
        ok = buf_printf(b, "  %-44s ", gguf_key_name(g, i)) && gguf_key_text(g, i, b) &&
             buf_addz(b, "\n");
    return ok;
}

static bool show_tensors(struct buf *b, const struct gguf *g)
{
    bool ok = buf_addz(b, "\ntensors\n");
    char c[32];
    for (int i = 0; ok && i < gguf_n_tensors(g); i++) {
        const struct gguf_tensor *t = gguf_tensor(g, i);
        ok = buf_printf(b, "  %-40s %-7s %6llu", t->name, dtype_info(t->type)->name,
                        (unsigned long long)t->ne[0]);
        for (int d = 1; ok && d < t->n_dims; d++)
            ok = buf_printf(b, " x %llu", (unsigned long long)t->ne[d]);
        ok = ok && buf_printf(b, "  %s bytes\n", fmt_count(c, t->bytes));
    }
    return ok;
}

static bool json_keys(struct buf *b, const struct gguf *g)
{
    bool ok = buf_addz(b, ", \"keys\": {");
    struct buf text;
    buf_init(&text, 1 << 20);
    for (int i = 0; ok && i < gguf_n_keys(g); i++) {
        buf_reset(&text);
        if (!gguf_key_text(g, i, &text))
            continue;
        ok = buf_addz(b, i ? ", " : "") &&
             buf_json_text(b, gguf_key_name(g, i), strlen(gguf_key_name(g, i))) &&
             buf_addz(b, ": ") && buf_json_text(b, text.p ? text.p : "", text.n);
    }
    buf_done(&text);
    return ok && buf_addz(b, "}");
}

static bool json_tensors(struct buf *b, const struct gguf *g)
{
    bool ok = buf_addz(b, ", \"tensors\": [");
    for (int i = 0; ok && i < gguf_n_tensors(g); i++) {
        const struct gguf_tensor *t = gguf_tensor(g, i);
        ok = buf_addz(b, i ? ", {\"name\": " : "{\"name\": ") &&
             buf_json_text(b, t->name, strlen(t->name)) &&
             buf_printf(b, ", \"type\": \"%s\", \"bytes\": %llu, \"shape\": [",
                        dtype_info(t->type)->name, (unsigned long long)t->bytes);
        for (int d = 0; ok && d < t->n_dims; d++)
            ok = buf_printf(b, "%s%llu", d ? ", " : "", (unsigned long long)t->ne[d]);
        ok = ok && buf_addz(b, "]}");
    }
    return ok && buf_addz(b, "]");
}

static bool show_json(struct buf *b, const struct file_view *v)
{
    struct format_sum sum[DTYPE_COUNT];
    uint64_t numbers, bytes = sum_formats(v->g, sum, &numbers);
    bool ok =
        buf_addz(b, "{\"file\": ") && buf_json_text(b, gguf_path(v->g), strlen(gguf_path(v->g))) &&
        buf_printf(b,
                   ", \"version\": %u, \"parameters\": %llu, \"tensor_bytes\": %llu, \"runs\": %s",
                   gguf_version(v->g), (unsigned long long)numbers, (unsigned long long)bytes,
                   v->graph ? "true" : "false");
    if (ok && v->m)
        ok = buf_addz(b, ", \"architecture\": ") &&
             buf_json_text(b, v->m->arch_name, strlen(v->m->arch_name)) &&
             buf_printf(
                 b, ", \"embedding\": %d, \"vocabulary\": %d, \"layers\": %d, \"context\": %lld",
                 v->m->n_embd, v->m->n_vocab, v->m->n_layers, (long long)v->m->n_ctx_train);
    struct tower tower = find_tower(v);
    if (ok && tower.tensors)
        ok = buf_printf(b, ", \"vision\": {\"tensors\": %d, \"bytes\": %llu, \"runs\": false}",
                        tower.tensors, (unsigned long long)tower.bytes);
    if (ok && !v->graph)
        ok = buf_addz(b, ", \"why_not\": ") && buf_json_text(b, v->why.msg, strlen(v->why.msg));
    return ok && json_keys(b, v->g) && json_tensors(b, v->g) && buf_addz(b, "}\n");
}

int cmd_show(struct cli_args *a)
{
    struct file_view v = { 0 };
    struct gguf_opts o = { .head_only = true };
    struct err e = { 0 };
    struct buf b;
    buf_init(&b, 256 << 20);
    if (!model_open(&v.g, a->pos[0], &o, &e))
        return fail(a, &e);
    if (model_read(&v.m, v.g, &v.why) && !model_graph(&v.graph, v.m, v.g, &v.why))
        v.graph = NULL;
    bool ok = a->json ? show_json(&b, &v) : show_text(&b, &v);
    if (!a->json) {
        ok = ok && (!a->keys || show_keys(&b, v.g));
        ok = ok && (!a->tensors || show_tensors(&b, v.g));
        ok =
            ok && (!a->graph || !v.graph || (buf_addz(&b, "\ngraph\n") && graph_dump(v.graph, &b)));
    }
    if (ok)
        fwrite(b.p, 1, b.n, stdout);
    else
        err_set(&e, ERR_NOMEM, "the report is longer than 256 MiB");
    buf_done(&b);
    graph_free(v.graph);
    model_free(v.m);
    gguf_close(v.g);
    return ok ? 0 : fail(a, &e);
}
