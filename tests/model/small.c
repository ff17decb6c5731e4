// small.c - writes the model of small.h.

#include "model/small.h"

#include <string.h>

static bool is(const char *a, const char *b)
{
    return a && strcmp(a, b) == 0;
}

static void full_name(char full[96], const struct small *s, const char *name)
{
    bool plain = strchr(name, '.') &&
                 (strncmp(name, "general.", 8) == 0 || strncmp(name, "tokenizer.", 10) == 0);
    snprintf(full, 96, "%s%s%s", plain ? "" : s->arch ? s->arch : "llama", plain ? "" : ".", name);
}

/// True where the usual value is to be written: neither dropped nor put differently (at the end).
static bool usual(const struct small *s, const char *name, char full[96])
{
    full_name(full, s, name);
    return !is(s->drop_key, name) && !is(s->key, name);
}

static void put_int(struct gguf_make *m, const struct small *s, const char *name, uint32_t v)
{
    char full[96];
    if (usual(s, name, full))
        gm_u32(m, full, v);
}

static void put_float(struct gguf_make *m, const struct small *s, const char *name, float v)
{
    char full[96];
    if (usual(s, name, full))
        gm_f32(m, full, v);
}

static void put_str(struct gguf_make *m, const struct small *s, const char *name, const char *v)
{
    char full[96];
    if (usual(s, name, full))
        gm_str(m, full, v);
}

static void put_tokens(struct gguf_make *m, const struct small *s)
{
    char text[SMALL_VOCAB][8], full[96];
    const char *tokens[SMALL_VOCAB];
    for (int i = 0; i < SMALL_VOCAB; i++) {
        snprintf(text[i], sizeof text[i], "t%d", i);
        tokens[i] = text[i];
    }
    if (usual(s, "tokenizer.ggml.tokens", full))
        gm_strs(m, full, SMALL_VOCAB, tokens);
}

static void put_keys(struct gguf_make *m, const struct small *s)
{
    bool gemma = is(s->arch, "gemma3");
    char full[96];
    put_str(m, s, "general.architecture", s->arch ? s->arch : "llama");
    put_str(m, s, "general.name", "Small");
    put_int(m, s, "block_count", SMALL_LAYERS);
    put_int(m, s, "context_length", 256);
    put_int(m, s, "embedding_length", SMALL_EMBD);
    put_int(m, s, "feed_forward_length", SMALL_FF);
    put_int(m, s, "attention.head_count", SMALL_HEADS);
    put_int(m, s, "attention.head_count_kv", SMALL_KV);
    put_float(m, s, "attention.layer_norm_rms_epsilon", 1e-5f);
    put_float(m, s, "rope.freq_base", 10000);
    put_int(m, s, "vocab_size", SMALL_VOCAB);
    if (gemma) {
        put_int(m, s, "attention.key_length", SMALL_HEAD);
        put_int(m, s, "attention.value_length", SMALL_HEAD);
        put_int(m, s, "attention.sliding_window", 32);
    }
    put_tokens(m, s);
    put_int(m, s, "tokenizer.ggml.eos_token_id", 2);
    if (s->key) {
        full_name(full, s, s->key);
        s->put_key(m, full);
    }
}

struct shape {
    uint32_t n_dims;
    uint64_t ne[2];
};

struct entry {
    char name[64];
    struct shape shape;
};

struct list {
    struct entry e[64];
    int n;
};

static void add(struct list *l, const char *name, int il, uint32_t n_dims, uint64_t ne0,
                uint64_t ne1)
{
    struct entry *e = &l->e[l->n++];
    if (il < 0)
        snprintf(e->name, sizeof e->name, "%s", name);
    else
        snprintf(e->name, sizeof e->name, "blk.%d.%s", il, name);
    e->shape = (struct shape){ n_dims, { ne0, ne1 } };
}

static void list_tensors(struct list *l, const struct small *s)
{
    bool gemma = is(s->arch, "gemma3");
    add(l, "token_embd.weight", -1, 2, SMALL_EMBD, SMALL_VOCAB);
    add(l, "output_norm.weight", -1, 1, SMALL_EMBD, 1);
    if (s->untied)
        add(l, "output.weight", -1, 2, SMALL_EMBD, SMALL_VOCAB);
    if (s->factors)
        add(l, "rope_freqs.weight", -1, 1, SMALL_HEAD / 2, 1);
    for (int il = 0; il < SMALL_LAYERS; il++) {
        add(l, "attn_norm.weight", il, 1, SMALL_EMBD, 1);
        add(l, "attn_q.weight", il, 2, SMALL_EMBD, SMALL_HEADS * SMALL_HEAD);
        add(l, "attn_k.weight", il, 2, SMALL_EMBD, SMALL_KV * SMALL_HEAD);
        add(l, "attn_v.weight", il, 2, SMALL_EMBD, SMALL_KV * SMALL_HEAD);
        add(l, "attn_output.weight", il, 2, SMALL_HEADS * SMALL_HEAD, SMALL_EMBD);
        add(l, "ffn_norm.weight", il, 1, SMALL_EMBD, 1);
        add(l, "ffn_gate.weight", il, 2, SMALL_EMBD, SMALL_FF);
        add(l, "ffn_up.weight", il, 2, SMALL_EMBD, SMALL_FF);
        add(l, "ffn_down.weight", il, 2, SMALL_FF, SMALL_EMBD);
        if (s->biases)
            add(l, "attn_q.bias", il, 1, SMALL_HEADS * SMALL_HEAD, 1);
        if (gemma) {
            add(l, "attn_q_norm.weight", il, 1, SMALL_HEAD, 1);
            add(l, "attn_k_norm.weight", il, 1, SMALL_HEAD, 1);
            add(l, "post_attention_norm.weight", il, 1, SMALL_EMBD, 1);
            add(l, "post_ffw_norm.weight", il, 1, SMALL_EMBD, 1);
        }
    }
    if (s->extra_tensor)
        add(l, s->extra_tensor, -1, 1, 8, 1);
}

static struct entry *find(struct list *l, const char *name)
{
    for (int i = 0; i < l->n; i++)
        if (is(name, l->e[i].name))
            return &l->e[i];
    return NULL;
}

void small_make(struct gguf_make *m, const struct small *s)
{
    struct list l = { .n = 0 };
    gm_init(m);
    put_keys(m, s);
    list_tensors(&l, s);
    struct entry *a = find(&l, s->swap[0]), *b = find(&l, s->swap[1]), *t = find(&l, s->transpose);
    if (a && b) {
        struct shape old = a->shape;
        a->shape = b->shape;
        b->shape = old;
    }
    if (t)
        t->shape = (struct shape){ 2, { t->shape.ne[1], t->shape.ne[0] } };
    for (int i = 0; i < l.n; i++) {
        enum dtype type = is(s->retype, l.e[i].name) ? s->type : DTYPE_F32;
        if (is(s->drop_tensor, l.e[i].name))
            continue;
        if (l.e[i].shape.ne[0] % (uint64_t)dtype_info(type)->block == 0)
            gm_tensor(m, l.e[i].name, type, l.e[i].shape.n_dims, l.e[i].shape.ne);
        else // no such row exists: the reader is to say so
            gm_info(m, l.e[i].name, type, l.e[i].shape.n_dims, l.e[i].shape.ne, m->data.n);
    }
}

bool small_open(struct small_model *out, const struct small *s, struct err *e)
{
    memset(out, 0, sizeof *out);
    small_make(&out->make, s);
    if (gm_open(&out->gguf, &out->make, e) && model_read(&out->model, out->gguf, e) &&
        model_graph(&out->graph, out->model, out->gguf, e))
        return true;
    small_close(out);
    return false;
}

void small_close(struct small_model *m)
{
    graph_free(m->graph);
    model_free(m->model);
    gguf_close(m->gguf);
    gm_done(&m->make);
    memset(m, 0, sizeof *m);
}

bool small_builds(const struct small *s, struct err *e)
{
    struct small_model m;
    if (!small_open(&m, s, e))
        return false;
    small_close(&m);
    return true;
}
