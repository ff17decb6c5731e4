// The graphs of real files: the tiny models and those that are there; and what differs between
// architectures.

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "gguf/gguf.h"
#include "model/small.h"

struct opened {
    struct gguf *gguf;
    struct model *model;
    struct graph *graph;
};

/// False where the file is not there: then the test is skipped.
static bool open_file(struct opened *o, const char *test, const char *dir_env, const char *dir,
                      const char *name)
{
    char path[512];
    struct err e = { 0 };
    const char *env = getenv(dir_env);
    snprintf(path, sizeof path, "%s/%s", env ? env : dir, name);
    memset(o, 0, sizeof *o);
    if (!gguf_open(&o->gguf, path, &(struct gguf_opts){ .head_only = true }, &e)) {
        if (e.code != ERR_NOTFOUND)
            fail_msg("%s", e.msg);
        printf("SKIP %s: %s is not there\n", test, path);
        return false;
    }
    if (!model_read(&o->model, o->gguf, &e) || !model_graph(&o->graph, o->model, o->gguf, &e))
        fail_msg("%s: %s", path, e.msg);
    return true;
}

static bool open_tiny(struct opened *o, const char *test, const char *name)
{
    return open_file(o, test, "SNUG_VECTORS", "../shared/vectors", name);
}

static bool open_cached(struct opened *o, const char *test, const char *name)
{
    char dir[256];
    snprintf(dir, sizeof dir, "%s/.cache/snug", getenv("HOME") ? getenv("HOME") : "");
    return open_file(o, test, "SNUG_CACHE", dir, name);
}

static void close_file(struct opened *o)
{
    graph_free(o->graph);
    model_free(o->model);
    gguf_close(o->gguf);
}

static void none_unused(void *ctx, int tensor, bool known)
{
    const struct opened *o = ctx;
    (void)known;
    fail_msg("%s is not used", gguf_tensor(o->gguf, tensor)->name);
}

static int count(const struct graph *g, enum op op)
{
    int n = 0;
    for (int i = 0; i < graph_n_nodes(g); i++)
        n += graph_node(g, i)->op == op;
    return n;
}

static const struct node *nth(const struct graph *g, enum op op, int n)
{
    for (int i = 0; i < graph_n_nodes(g); i++)
        if (graph_node(g, i)->op == op && n-- == 0)
            return graph_node(g, i);
    fail_msg("no such node");
    return NULL;
}

static void tiny_llama_uses_every_tensor_of_its_file(void **state)
{
    (void)state;
    struct opened o;
    if (!open_tiny(&o, __func__, "tiny/llama-dense.gguf"))
        skip();
    model_unused(o.model, o.graph, o.gguf, none_unused, &o);
    assert_int_equal(count(o.graph, OP_MATMUL), 2 * 7 + 1);
    assert_int_equal(count(o.graph, OP_ADD), 0); // both residual sums are in the products
    assert_int_equal(count(o.graph, OP_ROPE_TABLE), 1);
    assert_string_equal(nth(o.graph, OP_ROPE_TABLE, 0)->src[1]->name, "rope_freqs.weight");
    const struct node *out = nth(o.graph, OP_MATMUL, 3);
    assert_string_equal(out->src[1]->name, "blk.0.attn_output.weight");
    assert_non_null(out->src[MATMUL_BIAS]);
    assert_non_null(out->src[MATMUL_RES]);
    assert_int_equal(nth(o.graph, OP_ROPE, 0)->args.rope.kind, ROPE_NORM);
    close_file(&o);
}

static void tiny_gemma3_uses_every_tensor_of_its_file(void **state)
{
    (void)state;
    struct opened o;
    if (!open_tiny(&o, __func__, "tiny/gemma3-dense.gguf"))
        skip();
    model_unused(o.model, o.graph, o.gguf, none_unused, &o);
    assert_int_equal(count(o.graph, OP_ADD), 0); // in the norms behind each half
    assert_int_equal(nth(o.graph, OP_ATTN, 0)->args.attn.window, 32);
    assert_int_equal(nth(o.graph, OP_ATTN, 1)->args.attn.window, 0);
    assert_int_equal(nth(o.graph, OP_ROPE, 0)->args.rope.kind, ROPE_NEOX);
    assert_int_equal(nth(o.graph, OP_GLU, 0)->args.glu.act, ACT_GELU);
    assert_true(nth(o.graph, OP_EMBED, 0)->args.f.scale == 16);
    close_file(&o);
}

static void gemma3_270m_has_two_ropes_and_a_tied_head(void **state)
{
    (void)state;
    struct opened o;
    if (!open_cached(&o, __func__, "models/gemma-3-270m-q4_k_m.gguf"))
        skip();
    model_unused(o.model, o.graph, o.gguf, none_unused, &o);
    assert_true(o.model->tied);
    assert_int_equal(model_chat_format(o.gguf), CHAT_NONE); // a base model
    assert_int_equal(count(o.graph, OP_ROPE_TABLE), 2);
    for (int il = 0; il < 18; il++) {
        bool all = (il + 1) % 6 == 0;
        assert_int_equal(nth(o.graph, OP_ATTN, il)->args.attn.window, all ? 0 : 512);
        assert_true(o.model->layer[il].rope.base == (all ? 1e6f : 10000.0f));
    }
    assert_true(fabsf(o.model->attn_scale - 1.0f / 16) < 1e-7f);
    close_file(&o);
}

static void smollm2_speaks_chatml(void **state)
{
    (void)state;
    struct opened o;
    if (!open_cached(&o, __func__, "models/SmolLM2-135M-Instruct.Q4_1.gguf"))
        skip();
    model_unused(o.model, o.graph, o.gguf, none_unused, &o);
    assert_int_equal(model_chat_format(o.gguf), CHAT_CHATML);
    assert_int_equal(o.model->n_vocab, 49152);
    assert_int_equal(graph_n_parts(o.graph), 1 + 1 + 30 + 1);
    close_file(&o);
}

// --- over small models
// ----------------------------------------------------------------------------

static void gemma_template(struct gguf_make *m, const char *name)
{
    gm_str(m, name, "{{ bos_token }}<start_of_turn>user\n");
}
static void other_template(struct gguf_make *m, const char *name)
{
    gm_str(m, name, "[INST] {{ prompt }} [/INST]");
}
static void number_template(struct gguf_make *m, const char *name)
{
    gm_u32(m, name, 7);
}

static void the_chat_format_is_told_by_the_template(void **state)
{
    (void)state;
    static const struct {
        void (*put)(struct gguf_make *m, const char *name);
        enum chat_format want;
    } cases[] = { { gemma_template, CHAT_GEMMA },
                  { other_template, CHAT_NONE },
                  { number_template, CHAT_NONE } };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct small_model m;
        struct err e = { 0 };
        assert_true(small_open(
            &m, &(struct small){ .key = "tokenizer.chat_template", .put_key = cases[i].put }, &e));
        assert_int_equal(model_chat_format(m.gguf), cases[i].want);
        small_close(&m);
    }
}

/// What is behind the last attention works on the rows that get logits alone.
static void the_last_feed_forward_sees_output_rows_only(void **state)
{
    (void)state;
    static const char *const archs[] = { "llama", "gemma3" };
    for (int i = 0; i < 2; i++) {
        struct small_model m;
        struct err e = { 0 };
        assert_true(small_open(&m, &(struct small){ .arch = archs[i] }, &e));
        assert_int_equal(nth(m.graph, OP_GLU, 0)->dst[0]->d[1].sym, SYM_TOKENS);
        assert_int_equal(nth(m.graph, OP_GLU, 1)->dst[0]->d[1].sym, SYM_OUTPUTS);
        assert_int_equal(count(m.graph, OP_ROWS), 1);
        assert_int_equal(graph_logits(m.graph)->d[0].n, SMALL_VOCAB);
        small_close(&m);
    }
}

static void block_parts_hold_their_own_weights_and_pages(void **state)
{
    (void)state;
    struct small_model m;
    struct err e = { 0 };
    assert_true(small_open(&m, &(struct small){ .factors = true }, &e));
    for (int i = 0; i < graph_n_tensors(m.graph); i++) {
        const struct tensor *t = graph_tensor(m.graph, i);
        const struct part *p = graph_part(m.graph, t->part);
        int il = -1;
        if (t->role == ROLE_INPUT || strcmp(t->name, "rope_freqs.weight") == 0)
            assert_int_equal(p->kind, PART_SHARED);
        else if ((t->role == ROLE_WEIGHT || t->role == ROLE_STATE) &&
                 sscanf(t->name, "blk.%d.", &il) == 1)
            assert_true(p->kind == PART_BLOCK && p->il == il);
    }
    small_close(&m);
}

/// The same file twice: the same graph. Another value in its keys: another.
static void the_hash_is_that_of_the_computation(void **state)
{
    (void)state;
    static const struct small variants[] = { { 0 },
                                             { 0 },
                                             { .biases = true },
                                             { .factors = true },
                                             { .untied = true },
                                             { .key = "tokenizer.chat_template",
                                               .put_key = gemma_template },
                                             { .drop_key = "rope.freq_base" } };
    uint64_t h[ARRAY_LEN(variants)];
    for (size_t i = 0; i < ARRAY_LEN(variants); i++) {
        struct small_model m;
        struct err e = { 0 };
        assert_true(small_open(&m, &variants[i], &e));
        h[i] = graph_hash(m.graph);
        small_close(&m);
    }
    assert_int_equal(h[0], h[1]);
    assert_int_equal(h[0], h[5]); // how one talks to it changes nothing
    assert_int_equal(h[0], h[6]); // 10000 is the default
    for (size_t i = 2; i < 5; i++)
        assert_int_not_equal(h[0], h[i]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tiny_llama_uses_every_tensor_of_its_file),
        cmocka_unit_test(tiny_gemma3_uses_every_tensor_of_its_file),
        cmocka_unit_test(gemma3_270m_has_two_ropes_and_a_tied_head),
        cmocka_unit_test(smollm2_speaks_chatml),
        cmocka_unit_test(the_chat_format_is_told_by_the_template),
        cmocka_unit_test(the_last_feed_forward_sees_output_rows_only),
        cmocka_unit_test(block_parts_hold_their_own_weights_and_pages),
        cmocka_unit_test(the_hash_is_that_of_the_computation),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
