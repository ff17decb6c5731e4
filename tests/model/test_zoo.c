// Published models: what the zoo lists of each becomes a head, and the graph built from it must
// account for every tensor, every byte and every layer's cache.

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "model/model.h"
#include "support/zoo.h"

static void sum_known(void *ctx, int tensor, bool known)
{
    uint64_t *bytes = ctx;
    (void)tensor;
    assert_true(known);
    bytes[0]++;
}

/// Each tensor of the file is used, or known as not ours; each row of it by one weight of the
/// graph, or by two where the embedding is the head, too.
static void check_weights(const struct model *m, const struct graph *g, const struct gguf *f)
{
    const struct dims v = {
        .n_tokens = 1, .n_outputs = 1, .n_slots = 1, .n_ctx = 64, .max_tokens = 1, .kv = DTYPE_F16
    };
    uint64_t n_unused = 0, n_used = 0;
    uint64_t *bytes = xcalloc((size_t)gguf_n_tensors(f), sizeof *bytes);
    model_unused(m, g, f, sum_known, &n_unused);
    for (int i = 0; i < graph_n_tensors(g); i++) {
        const struct tensor *t = graph_tensor(g, i);
        if (t->role != ROLE_WEIGHT)
            continue;
        const struct gguf_tensor *in = gguf_tensor(f, t->source);
        uint64_t row = dtype_row_bytes(in->type, (int64_t)in->ne[0]);
        bool again = m->tied && strcmp(t->name, "token_embd.weight") == 0;
        assert_string_equal(t->name, in->name);
        assert_int_equal(bytes[t->source],
                         again && !t->rows_used ? in->bytes : (uint64_t)t->row0 * row);
        bytes[t->source] = (uint64_t)t->row0 * row + tensor_bytes(t, &v);
    }
    for (int i = 0; i < gguf_n_tensors(f); i++) {
        assert_true(bytes[i] == 0 || bytes[i] == gguf_tensor(f, i)->bytes);
        assert_true(bytes[i] > 0 || strncmp(gguf_tensor(f, i)->name, "v.", 2) != 0);
        n_used += bytes[i] > 0;
    }
    assert_int_equal(n_used + n_unused, gguf_n_tensors(f));
    free(bytes);
}

/// What one token takes in each layer: keys and values, or the latent that both come from.
static void check_cache(const struct graph *g, const json_t *kv)
{
    const json_t *latent = json_object_get(kv, "mla_cell_bytes_per_layer_f16");
    int64_t cell =
        json_integer_value(latent ? latent : json_object_get(kv, "cell_bytes_per_layer_f16"));
    int64_t layers = 0, windows = 0, window = json_integer_value(json_object_get(kv, "window"));
    for (int i = 0; i < graph_n_nodes(g); i++) {
        const struct node *n = graph_node(g, i);
        if (n->op != OP_ATTN)
            continue;
        uint64_t page = state_head_bytes(n->src[1], DTYPE_F16);
        if (!attn_shares_keys(n))
            page += state_head_bytes(n->src[2], DTYPE_F16);
        assert_int_equal(page * (uint64_t)n->args.attn.n_kv_heads, cell * KV_PAGE_TOKENS);
        layers++;
        windows += n->args.attn.window > 0;
        if (n->args.attn.window > 0)
            assert_int_equal(n->args.attn.window, window);
    }
    assert_int_equal(layers, json_integer_value(json_object_get(kv, "layers")));
    assert_int_equal(windows, json_integer_value(json_object_get(kv, "window_layers")));
}

static bool check_model(const char *path)
{
    json_error_t je;
    json_t *doc = json_load_file(path, 0, &je);
    struct gguf_make make;
    struct gguf *f = NULL;
    struct model *m = NULL;
    struct graph *g = NULL;
    struct err e = { 0 };
    if (!doc)
        fail_msg("%s: %s", path, je.text);
    (void)zoo_head(&make, doc);
    const struct gm_bytes *b = gm_finish(&make);
    if (!gguf_open_mem(&f, b->p, b->n, path, &(struct gguf_opts){ .head_only = true }, &e))
        fail_msg("%s: %s", path, e.msg);
    bool ours = model_read(&m, f, &e);
    if (!ours && e.code != ERR_UNSUPPORTED)
        fail_msg("%s: %s", path, e.msg);
    if (ours) {
        if (!model_graph(&g, m, f, &e))
            fail_msg("%s: %s", path, e.msg);
        assert_int_equal(m->tied, json_is_true(json_object_get(doc, "tied_embeddings")));
        check_weights(m, g, f);
        check_cache(g, json_object_get(doc, "kv_cache"));
    }
    graph_free(g);
    model_free(m);
    gguf_close(f);
    gm_done(&make);
    json_decref(doc);
    return ours;
}

static void every_published_model_is_accounted_for(void **state)
{
    (void)state;
    char **paths = zoo_paths();
    for (int i = 0; paths[i]; i++)
        assert_true(check_model(paths[i]));
    zoo_paths_free(paths);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_published_model_is_accounted_for),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
