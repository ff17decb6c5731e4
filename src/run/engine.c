// engine.c - from a path and options to a model that answers.

#include "run/run_int.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

enum { CTX_DEFAULT = 4096, MICRO_BATCH_DEFAULT = 512 };

// --- limits --------------------------------------------------------------------------------------

static bool make_limits(struct limits *lim, const struct engine_opts *o, const struct model *m,
                        struct err *e)
{
    int64_t ctx = o->ctx;

    if (o->ctx < 0 || o->micro_batch < 0 || o->slots < 0 || o->outputs < 0)
        return err_set(e, ERR_ARG, "context, micro-batch, slots and outputs cannot be negative");
    if (ctx == 0)
        ctx = m->n_ctx_train > 0 && m->n_ctx_train < CTX_DEFAULT ? m->n_ctx_train : CTX_DEFAULT;
    int64_t micro_batch = o->micro_batch > 0 ? o->micro_batch : MICRO_BATCH_DEFAULT;
    *lim = (struct limits){
        .micro_batch = (int)(micro_batch < ctx ? micro_batch : ctx),
        .slots = o->slots > 0 ? o->slots : 1,
        .ctx = ctx,
        .kv = o->kv_set  ? o->kv
              : o->exact ? DTYPE_F32
                         : DTYPE_F16,
        .exact = o->exact,
        .reserve_bytes = o->reserve_bytes,
    };
    lim->outputs = o->outputs > 0 ? o->outputs : lim->slots;
    if (lim->outputs > lim->micro_batch)
        lim->outputs = lim->micro_batch;
    return true;
}

static struct weight_place *find_places(const struct gguf *g)
{
    int n = gguf_n_tensors(g);
    struct weight_place *w = xcalloc((size_t)n, sizeof(*w));

    for (int i = 0; i < n; i++) {
        const struct gguf_tensor *t = gguf_tensor(g, i);
        w[i] = (struct weight_place){ t->file, t->offset, t->bytes };
    }
    return w;
}

// --- the vocabulary ------------------------------------------------------------------------------

/// Read by a thread of its own while the rest is planned and loaded: it takes as long.
struct vocabulary {
    const struct gguf *gguf;
    struct tok *tok;
    struct err e;
    bool ok, started;
    pthread_t thread;
};

/// A vocabulary that we cannot read does not keep the model from being planned, or fed with token
/// ids.
static void *read_vocabulary(void *arg)
{
    struct vocabulary *v = arg;

    v->ok = gguf_find_key(v->gguf, "tokenizer.ggml.model") < 0 ||
            tok_new(&v->tok, v->gguf, &v->e) || v->e.code == ERR_UNSUPPORTED;
    return NULL;
}

static void vocabulary_start(struct vocabulary *v, const struct gguf *g)
{
    *v = (struct vocabulary){ .gguf = g };
    v->started = pthread_create(&v->thread, NULL, read_vocabulary, v) == 0;
    if (!v->started)
        (void)read_vocabulary(v);
}

static bool vocabulary_end(struct vocabulary *v, struct tok **out, struct err *e)
{
    if (v->started)
        pthread_join(v->thread, NULL);
    *out = v->tok;
    if (!v->ok)
        return err_set(e, v->e.code, "%s", v->e.msg);
    if (v->e.code == ERR_UNSUPPORTED)
        log_msg(LOG_WARN, "token ids only: %s", v->e.msg);
    return true;
}

// --- the engine ----------------------------------------------------------------------------------

/// The model's graph without its vision tower; NULL where there is no tower, or no such graph.
static struct graph *graph_without_vision(struct engine *en)
{
    struct graph *g = NULL;

    if (en->model->vision.n_layers == 0)
        return NULL;
    model_drop_vision(en->model);
    return model_graph(&g, en->model, en->gguf, NULL) ? g : NULL;
}

/// A tower that is not as expected does not keep the text model from being used.
static bool make_graph(struct engine *en, struct err *e)
{
    if (model_graph(&en->graph, en->model, en->gguf, e))
        return true;
    struct graph *g = graph_without_vision(en);
    if (g != NULL)
        err_add(e, "vision tower, which --no-vision leaves out");
    graph_free(g);
    return false;
}

/// The host is there in any case, and reads rows of an embedding table from the file's mapping.
static void add_host(struct engine *en)
{
    for (int d = 0; d < en->n_devs; d++)
        if (en->dev[d] == en->cpu)
            return;
    en->dev = xrealloc(en->dev, (size_t)(en->n_devs + 1) * sizeof(*en->dev));
    en->dev[en->n_devs++] = en->cpu;
    en->host_added = true;
}

static struct place_opts place_opts_of(const struct engine *en, const struct engine_opts *o)
{
    return (struct place_opts){
        .goal = o->goal,
        .open_micro_batch = o->micro_batch == 0,
        .open_kv = o->kv_open,
        .ctx_train = en->model->n_ctx_train,
        .no_advice = o->plan_only, // the caller asks for more of it
        .host_rows_only = en->host_added,
        .num_gpu = o->num_gpu_set ? o->num_gpu : -1,
        .main_gpu = o->main_gpu_set ? o->main_gpu : -1,
        .tensor_split = o->tensor_split,
    };
}

static void suggest_no_vision(struct engine *en, const struct limits *lim,
                              const struct place_opts *po, struct err *e)
{
    struct graph *g = e != NULL && e->code == ERR_NOFIT ? graph_without_vision(en) : NULL;
    struct plan *p = NULL;

    if (g != NULL && place_find(&p, NULL, g, en->places, lim, po, en->dev, en->n_devs, NULL)) {
        size_t at = strlen(e->msg);
        snprintf(e->msg + at, sizeof(e->msg) - at, "; --no-vision makes it fit");
    }
    plan_free(p);
    graph_free(g);
}

/// What the file describes. Errors name it.
static bool read_model(struct engine *en, const struct engine_opts *o, const char *path,
                       struct err *e)
{
    char name[512];
    bool ok = model_read(&en->model, en->gguf, e);

    if (ok && o->no_vision)
        model_drop_vision(en->model);
    return (ok && make_graph(en, e)) ||
           err_add(e, "%s", err_bytes(name, sizeof(name), path, strlen(path)));
}

static bool open_model(struct engine *en, const struct engine_opts *o, const char *path,
                       struct err *e)
{
    if (!read_model(en, o, path, e) || !devices_open(en, o, e))
        return false;
    add_host(en);
    en->places = find_places(en->gguf);
    return true;
}

static bool find_plan(struct engine *en, const struct engine_opts *o, const char *path,
                      struct err *e)
{
    struct limits lim;

    if (!open_model(en, o, path, e) || !make_limits(&lim, o, en->model, e))
        return false;
    struct place_opts po = place_opts_of(en, o);
    if (o->tensor_split != NULL && o->n_tensor_split != en->n_devs - en->host_added)
        return err_set(e, ERR_ARG, "--tensor-split has %d shares for %d devices", o->n_tensor_split,
                       en->n_devs - en->host_added);
    en->asked = (struct question){
        .g = en->graph, .w = en->places, .lim = lim, .o = po, .devs = en->dev, .n_devs = en->n_devs
    };
    if (place_find(&en->plan, &en->placement, en->graph, en->places, &lim, &po, en->dev, en->n_devs,
                   e))
        return true;
    suggest_no_vision(en, &lim, &po, e);
    return false;
}

/// The plan in a file, or none.
static bool read_plan(struct engine *en, const struct engine_opts *o, const char *path,
                      struct err *e)
{
    struct engine_opts own = *o;
    struct plan_file *f = NULL;
    bool ok =
        follow_read(&f, &own, e) && open_model(en, &own, path, e) && follow_plan(en, f, &own, e);

    plan_file_free(f);
    return ok;
}

static bool plan_and_load(struct engine *en, const struct engine_opts *o, const char *path,
                          load_progress_fn *progress, void *ctx, struct err *e)
{
    if (!(o->plan_path != NULL ? read_plan(en, o, path, e) : find_plan(en, o, path, e)))
        return false;
    if (o->plan_only)
        return true;
    if (!inst_load(&en->inst, en->plan, en->gguf, en->dev, progress, ctx, e))
        return false;
    en->kv = kv_pool_new(en->inst);
    return true;
}

bool engine_open(struct engine *en, const char *path, const struct engine_opts *o,
                 load_progress_fn *progress, void *ctx, struct err *e)
{
    int64_t start = clock_ns();
    struct gguf_opts go = { .no_mmap = o->no_mmap,
                            .head_only = o->plan_only,
                            .no_vocab = o->plan_only };
    struct vocabulary v;
    struct err why = { 0 };

    *en = (struct engine){ 0 };
    bool ok = (o->open != NULL ? o->open : gguf_open)(&en->gguf, path, &go, e);
    if (ok && o->plan_only) {
        ok = plan_and_load(en, o, path, progress, ctx, e);
    } else if (ok) {
        vocabulary_start(&v, en->gguf);
        ok = plan_and_load(en, o, path, progress, ctx, e);
        ok = vocabulary_end(&v, &en->tok, ok ? e : &why) && ok;
    }
    bool can_be_asked = o->plan_only && en->asked.g != NULL && e != NULL && e->code == ERR_NOFIT;
    if (!ok && !can_be_asked)
        engine_close(en);
    en->load_ns = clock_ns() - start;
    return ok;
}

void engine_close(struct engine *en)
{
    kv_pool_free(en->kv);
    inst_free(en->inst);
    plan_free(en->plan);
    free(en->places);
    for (int i = 0; i < en->n_devs; i++)
        if (en->dev[i] != en->cpu)
            dev_free(en->dev[i]);
    free(en->dev);
    dev_free(en->cpu);
    graph_free(en->graph);
    tok_free(en->tok);
    model_free(en->model);
    gguf_close(en->gguf);
    *en = (struct engine){ 0 };
}
