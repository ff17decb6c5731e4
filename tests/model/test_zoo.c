// Published models: what the zoo lists of each becomes a head, and the graph built from it must
// account for every tensor, every byte and every layer's cache.

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <dirent.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "model/model.h"
#include "support/gguf_make.h"

static const char *zoo(void)
{
    const char *dir = getenv("SNUG_ZOO");
    return dir ? dir : "../shared/zoo";
}

static const char *str(const json_t *o, const char *key)
{
    const char *s = json_string_value(json_object_get(o, key));
    return s ? s : "";
}

static void put_array(struct gguf_make *m, const char *key, const char *type, const json_t *v)
{
    enum { MOST = 300 }; // of a synthetic vocabulary: the head need not be long
    size_t n =
        json_is_array(v) ? json_array_size(v) : (size_t)json_integer_value(json_object_get(v, "n"));
    n = n < MOST ? n : MOST;
    if (strcmp(type, "arr:str") == 0) {
        const char *text[MOST];
        for (size_t i = 0; i < n; i++)
            text[i] = json_is_array(v) ? json_string_value(json_array_get(v, i)) : "x";
        gm_strs(m, key, n, text);
    } else {
        int32_t word[MOST];
        bool is_float = strcmp(type, "arr:f32") == 0;
        for (size_t i = 0; i < n; i++)
            word[i] = json_is_array(v) ? (int32_t)json_number_value(json_array_get(v, i)) : 0;
        gm_arr(m, key, is_float ? GGUF_F32 : GGUF_I32, n, word, n * 4);
    }
}

static void put_key(struct gguf_make *m, const json_t *row)
{
    const char *key = json_string_value(json_array_get(row, 0)),
               *type = json_string_value(json_array_get(row, 1));
    const json_t *v = json_array_get(row, 2);
    if (strncmp(type, "arr:", 4) == 0)
        put_array(m, key, type, v);
    else if (strcmp(type, "str") == 0)
        gm_str(m, key, json_is_string(v) ? json_string_value(v) : "filler");
    else if (strcmp(type, "bool") == 0)
        gm_bool(m, key, json_is_true(v));
    else if (strcmp(type, "f32") == 0)
        gm_f32(m, key, (float)json_number_value(v));
    else
        gm_i64(m, key, json_integer_value(v));
}

static void put_tensor(struct gguf_make *m, const char *name, const json_t *shape, const char *type,
                       uint64_t *offset)
{
    enum dtype t;
    uint64_t ne[4] = { 1, 1, 1, 1 };
    for (size_t i = 0; i < json_array_size(shape); i++)
        ne[i] = (uint64_t)json_integer_value(json_array_get(shape, i));
    assert_true(dtype_by_name(&t, type));
    gm_info(m, name, t, (uint32_t)json_array_size(shape), ne, *offset);
    *offset += align_up_u64(dtype_row_bytes(t, (int64_t)ne[0]) * ne[1] * ne[2] * ne[3], 32);
}

/// "0-8,11,14": each of these in the place of {i}.
static void put_layers(struct gguf_make *m, const json_t *t, const char *type, const char *layers,
                       uint64_t *offset)
{
    const char *name = str(t, "name"), *mark = strstr(name, "{i}");
    while (*layers) {
        char *end;
        long a = strtol(layers, &end, 10), b = *end == '-' ? strtol(end + 1, &end, 10) : a;
        for (long i = a; i <= b; i++) {
            char full[96];
            snprintf(full, sizeof full, "%.*s%ld%s", (int)(mark - name), name, i, mark + 3);
            put_tensor(m, full, json_object_get(t, "shape"), type, offset);
        }
        layers = *end == ',' ? end + 1 : end;
    }
}

static void make_head(struct gguf_make *m, const json_t *doc)
{
    json_t *g = json_object_get(doc, "gguf"), *types;
    size_t i;
    json_t *row;
    const char *type;
    json_t *layers;
    uint64_t offset = 0;
    gm_init(m);
    json_array_foreach(json_object_get(g, "kv"), i, row) put_key(m, row);
    json_array_foreach(json_object_get(g, "tensors"), i, row)
    {
        if (!strstr(str(row, "name"), "{i}"))
            put_tensor(m, str(row, "name"), json_object_get(row, "shape"), str(row, "type"),
                       &offset);
        else if ((types = json_object_get(row, "types")) != NULL)
            json_object_foreach(types, type, layers)
                put_layers(m, row, type, json_string_value(layers), &offset);
        else
            put_layers(m, row, str(row, "type"), str(row, "layers"), &offset);
    }
}

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
    make_head(&make, doc);
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

static int is_json(const struct dirent *d)
{
    size_t n = strlen(d->d_name);
    return n > 5 && strcmp(d->d_name + n - 5, ".json") == 0;
}

static void every_published_model_is_accounted_for(void **state)
{
    (void)state;
    struct dirent **list = NULL;
    int n = scandir(zoo(), &list, is_json, alphasort), ours = 0;
    if (n <= 0) {
        printf("SKIP every_published_model_is_accounted_for: no models in %s\n", zoo());
        skip();
    }
    for (int i = 0; i < n; i++) {
        char path[512];
        snprintf(path, sizeof path, "%s/%s", zoo(), list[i]->d_name);
        ours += check_model(path);
        free(list[i]);
    }
    free(list);
    assert_int_equal(ours, n);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_published_model_is_accounted_for),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
