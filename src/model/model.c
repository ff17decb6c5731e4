// model.c - from keys to struct model, and from struct model to the graph.

#include <fnmatch.h>
#include <stdlib.h>
#include <string.h>

#include "model/model_int.h"

static const struct arch *read_arch(struct model *m, const struct gguf *g, struct err *e)
{
    struct str name;
    char shown[64];
    if (!gguf_get_str(g, "general.architecture", &name)) {
        err_set(e, ERR_FORMAT, "there is no key general.architecture (text expected)");
        return NULL;
    }
    err_bytes(shown, sizeof shown, name.p, name.n);
    m->arch_name = arena_strdup(&m->mem, shown);
    const struct arch *arch = name.n < sizeof shown ? arch_find(shown) : NULL;
    if (arch)
        return arch;

    struct buf known;
    buf_init(&known, 512);
    bool room = true;
    for (int i = 0; model_arch_name(i) && room; i++)
        room = buf_printf(&known, "%s%s", i ? ", " : "", model_arch_name(i));
    err_set(e, ERR_UNSUPPORTED, "architecture %s is not known (known: %s)", shown, known.p);
    buf_done(&known);
    return NULL;
}

/// Heads may differ from layer to layer, their length does not: without a key it follows from the
/// first.
static void read_layers(struct model *m, struct layer *layer, struct keys *k)
{
    int n = m->n_layers, heads[MAX_LAYERS], kv_heads[MAX_LAYERS], ff[MAX_LAYERS];
    for (int i = 0; i < n; i++)
        heads[i] = ff[i] = 1;
    key_layers(k, "attention.head_count", 1, MAX_HEADS, heads, n);
    memcpy(kv_heads, heads, sizeof heads);
    key_layers_or(k, "attention.head_count_kv", 1, MAX_HEADS, kv_heads, n);
    key_layers(k, "feed_forward_length", 1, MAX_FF, ff, n);

    int even = m->n_embd / heads[0];
    if (!key_is(k, "attention.key_length") && (m->n_embd % heads[0] != 0 || even > MAX_HEAD_DIM))
        key_fail(k, ERR_FORMAT,
                 "embedding_length %d cannot be cut into %d heads (%s.attention.head_count) of at "
                 "most %d",
                 m->n_embd, heads[0], k->arch, MAX_HEAD_DIM);
    int head_dim = (int)key_int_or(k, "attention.key_length", 1, MAX_HEAD_DIM, even);
    int head_dim_v = (int)key_int_or(k, "attention.value_length", 1, MAX_HEAD_DIM, even);
    const char *scaling = m->arch->rope_scaling ? m->arch->rope_scaling : "linear";
    struct rope_freq rope = key_rope(k, head_dim, 10000, m->n_ctx_train, scaling);

    for (int i = 0; i < n; i++) {
        if (heads[i] % kv_heads[i] != 0)
            key_fail(k, ERR_FORMAT,
                     "layer %d: %d heads (%s.attention.head_count) do not share %d key heads "
                     "(head_count_kv) evenly",
                     i, heads[i], k->arch, kv_heads[i]);
        layer[i] = (struct layer){
            .n_heads = heads[i],
            .n_kv_heads = kv_heads[i],
            .head_dim = head_dim,
            .head_dim_v = head_dim_v,
            .n_ff = ff[i],
            .rope = rope,
        };
    }
}

/// How many experts, and how many of them a token uses; the rest is the architecture's.
static void read_experts(struct model *m, struct keys *k)
{
    int n = (int)key_int_or(k, "expert_count", 0, MAX_EXPERTS, 0);
    if (n == 0)
        return;
    m->route = (struct route_args){ .n_experts = n, .norm = true, .scale = 1 };
    m->route.k = (int)key_int(k, "expert_used_count", 1, n);
    if (!m->arch->experts)
        key_fail(k, ERR_UNSUPPORTED,
                 "architecture %s with %d experts (%s.expert_count) is not supported", k->arch, n,
                 k->arch);
}

/// The embedding's rows are the vocabulary; what the keys say must agree with them.
static void read_vocab(struct model *m, struct keys *k)
{
    int embd = gguf_find_tensor(k->g, "token_embd.weight");
    if (embd < 0) {
        key_fail(k, ERR_FORMAT, "tensor token_embd.weight is missing");
        return;
    }
    uint64_t rows = gguf_tensor(k->g, embd)->ne[1];
    if (rows < 1 || rows > MAX_VOCAB) {
        key_fail(k, ERR_FORMAT, "tensor token_embd.weight has %llu rows, expected 1 to %d",
                 (unsigned long long)rows, MAX_VOCAB);
        return;
    }
    m->n_vocab = (int)rows;
    m->tied = gguf_find_tensor(k->g, "output.weight") < 0;
    int64_t said = key_int_or(k, "vocab_size", 1, MAX_VOCAB, m->n_vocab);
    if (said != m->n_vocab)
        key_fail(k, ERR_FORMAT, "key %s.vocab_size is %lld, but token_embd.weight has %d rows",
                 k->arch, (long long)said, m->n_vocab);
    struct gguf_arr tokens = { .n = 0 }; // which a plan does not keep
    if (gguf_find_key(k->g, "tokenizer.ggml.tokens") >= 0 &&
        (!gguf_get_arr(k->g, "tokenizer.ggml.tokens", &tokens) || tokens.type != GGUF_STR))
        key_fail(k, ERR_FORMAT, "key tokenizer.ggml.tokens is not an array of texts");
    if (tokens.n > rows)
        key_fail(k, ERR_FORMAT,
                 "%llu tokens (tokenizer.ggml.tokens), but token_embd.weight has %d rows",
                 (unsigned long long)tokens.n, m->n_vocab);
}

/// Every tokenizer.ggml.*_token_id is a token.
static void check_special_ids(const struct model *m, struct keys *k)
{
    static const char head[] = "tokenizer.ggml.", tail[] = "_token_id";
    for (int i = 0; i < gguf_n_keys(k->g); i++) {
        const char *name = gguf_key_name(k->g, i);
        size_t n = strlen(name);
        int64_t id;
        if (strncmp(name, head, sizeof head - 1) != 0 || n < sizeof tail ||
            strcmp(name + n - (sizeof tail - 1), tail) != 0)
            continue;
        char shown[96];
        err_bytes(shown, sizeof shown, name, n);
        if (!gguf_get_i64(k->g, name, &id))
            key_fail(k, ERR_FORMAT, "key %s is not a whole number", shown);
        else if (id < 0 || id >= m->n_vocab)
            key_fail(k, ERR_FORMAT, "key %s is %lld, but there are %d tokens", shown, (long long)id,
                     m->n_vocab);
    }
}

static bool read_model(struct model *m, const struct gguf *g, struct err *e)
{
    m->arch = read_arch(m, g, e);
    if (!m->arch)
        return false;
    struct keys k = { .g = g, .arch = m->arch->name, .e = e, .ok = true };
    struct str name;
    char shown[256] = "";
    if (gguf_get_str(g, "general.name", &name))
        err_bytes(shown, sizeof shown, name.p, name.n);
    m->name = arena_strdup(&m->mem, shown);

    m->n_layers = (int)key_int(&k, "block_count", 1, MAX_LAYERS);
    m->n_embd = (int)key_int(&k, "embedding_length", 1, MAX_EMBD);
    m->n_ctx_train = key_int(&k, "context_length", 1, MAX_CTX);
    m->n_ctx_orig =
        key_int_or(&k, "rope.scaling.original_context_length", 1, MAX_CTX, m->n_ctx_train);
    m->embd_scale = m->logit_scale = 1;
    m->rope_kind = ROPE_NORM;
    struct layer *layer = arena_alloc(&m->mem, (size_t)m->n_layers * sizeof *layer);
    m->layer = layer;
    read_experts(m, &k);
    read_layers(m, layer, &k);
    read_vocab(m, &k);
    if (k.ok)
        check_special_ids(m, &k);
    if (k.ok)
        m->arch->read(m, layer, &k);
    return k.ok;
}

bool model_read(struct model **out, const struct gguf *g, struct err *e)
{
    struct err local; // there must be one to keep the first error in
    struct model *m = xcalloc(1, sizeof *m);
    *out = NULL;
    if (!read_model(m, g, e ? e : &local)) {
        model_free(m);
        return false;
    }
    *out = m;
    return true;
}

void model_free(struct model *m)
{
    if (!m)
        return;
    arena_done(&m->mem);
    free(m);
}

void model_drop_vision(struct model *m)
{
    m->vision = (struct vision){ 0 };
}

// --- graph
// ----------------------------------------------------------------------------------------

struct file {
    const struct gguf *g;
};

static bool find_weight(void *ctx, const char *name, struct weight_info *out)
{
    const struct gguf *g = ((const struct file *)ctx)->g;
    int i = gguf_find_tensor(g, name);
    if (i < 0)
        return false;
    const struct gguf_tensor *t = gguf_tensor(g, i);
    *out = (struct weight_info){ .type = t->type, .n_dims = t->n_dims, .source = i };
    memcpy(out->ne, t->ne, sizeof out->ne);
    return true;
}

bool model_graph(struct graph **out, const struct model *m, const struct gguf *g, struct err *e)
{
    struct file f = { g };
    struct gb *b = gb_new((struct weight_source){ find_weight, &f });
    m->arch->graph(b, m);
    return graph_seal(out, b, e);
}

static bool is_known(const struct arch *arch, const char *name)
{
    for (const char *const *p = arch->unused; *p; p++)
        if (fnmatch(*p, name, 0) == 0)
            return true;
    return false;
}

void model_unused(const struct model *m, const struct graph *g, const struct gguf *f,
                  model_unused_fn *fn, void *ctx)
{
    int n = gguf_n_tensors(f);
    bool *used = xcalloc((size_t)n + 1, sizeof *used);
    for (int i = 0; i < graph_n_tensors(g); i++)
        if (graph_tensor(g, i)->source >= 0)
            used[graph_tensor(g, i)->source] = true;
    for (int i = 0; i < n; i++)
        if (!used[i])
            fn(ctx, i, is_known(m->arch, gguf_tensor(f, i)->name));
    free(used);
}
