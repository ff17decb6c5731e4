// test_files.c - what files of each architecture must have, and how models differ.

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "gguf/gguf.h"
#include "model/made.h"

// --- one tensor missing, or of another shape
// ----------------------------------------------------------

/// The bytes of a file, where a name or a dimension can be changed in place.
struct bytes {
    char *p;
    size_t n;
};

static bool builds(const struct bytes *b, struct err *e)
{
    struct gguf *f = NULL;
    struct model *m = NULL;
    struct graph *g = NULL;
    bool ok = gguf_open_mem(&f, (const uint8_t *)b->p, b->n, "made", NULL, e) &&
              model_read(&m, f, e) && model_graph(&g, m, f, e);
    graph_free(g);
    model_free(m);
    gguf_close(f);
    return ok;
}

/// Where the directory has the name: it is preceded by its length.
static char *find_name(const struct bytes *b, const char *name)
{
    uint64_t len = strlen(name);
    char want[128];
    memcpy(want, &len, sizeof len);
    memcpy(want + sizeof len, name, len);
    char *at = memmem(b->p, b->n, want, sizeof len + len);
    assert_non_null(at);
    return at + sizeof len;
}

/// What a file may lack.
static bool is_optional(const char *name)
{
    static const char *const may[] = { "output.weight", "rope_freqs.weight",
                                       "blk.0.attn_q_norm.weight" };
    for (size_t i = 0; i < ARRAY_LEN(may); i++)
        if (strcmp(name, may[i]) == 0)
            return true;
    return strstr(name, ".bias") != NULL;
}

/// The message names the tensor, or the one that would be in its place: of the same block.
static void check_named(const char *args, const char *name, const struct err *e)
{
    const char *dot = strncmp(name, "blk.", 4) == 0 ? strchr(name + 4, '.') : NULL;
    char block[16];
    snprintf(block, sizeof block, "%.*s", dot ? (int)(dot - name) : 15, name);
    if (e->code != ERR_FORMAT || !strstr(e->msg, block))
        fail_msg("%s, %s: %s", args, name, e->msg);
}

static void without(const char *args, const struct bytes *b, const char *name, bool optional)
{
    struct err e = { 0 };
    char *last = find_name(b, name) + strlen(name) - 1, old = *last;
    *last = '_';
    if (!builds(b, &e))
        check_named(args, name, &e);
    else if (!optional)
        fail_msg("%s is not needed by %s", name, args);
    *last = old;
}

static void transposed(const char *args, const struct bytes *b, const struct gguf_tensor *t)
{
    struct err e = { 0 };
    char *ne = find_name(b, t->name) + strlen(t->name) + 4;
    uint64_t was[2], turned[2] = { t->ne[1], t->ne[0] };
    if (t->n_dims < 2 || t->ne[0] == t->ne[1])
        return;
    memcpy(was, ne, sizeof was);
    assert_memory_equal(was, t->ne, sizeof was);
    memcpy(ne, turned, sizeof turned);
    if (builds(b, &e))
        fail_msg("%s of %s may be transposed", t->name, args);
    if (strcmp(t->name, "token_embd.weight") != 0) // its rows are the vocabulary
        check_named(args, t->name, &e);
    memcpy(ne, was, sizeof was);
}

static void change_each_tensor(const char *args)
{
    struct err e = { 0 };
    struct bytes b;
    struct gguf *f;
    const char *path = make_model("--arch %s --embd 48 --heads 4 --head-dim 16 --ffn 28", args);
    if (!file_read(&b.p, &b.n, path, 64 << 20, &e) || !gguf_open(&f, path, NULL, &e))
        fail_msg("%s: %s", args, e.msg);
    for (int t = 0; t < gguf_n_tensors(f); t++) {
        const char *name = gguf_tensor(f, t)->name;
        without(args, &b, name, is_optional(name));
        transposed(args, &b, gguf_tensor(f, t));
    }
    gguf_close(f);
    free(b.p);
}

static void every_tensor_is_needed_and_has_one_shape(void **state)
{
    static const char *const more[] = { "llama --experts 3 --rope-freqs",
                                        "phi3 --rope-factors",
                                        "command-r --qk-norm",
                                        "deepseek2 --old-mla",
                                        "deepseek2 --direct-q",
                                        "gemma3 --vision" };
    (void)state;
    if (!can_make(__func__))
        skip();
    for (int i = 0; model_arch_name(i); i++)
        if (strcmp(model_arch_name(i), "mistral") != 0) // llama by another name
            change_each_tensor(model_arch_name(i));
    for (size_t i = 0; i < ARRAY_LEN(more); i++)
        change_each_tensor(more[i]);
}

// --- how models differ
// -------------------------------------------------------------------------------

static int count(const struct graph *g, enum op op)
{
    int n = 0;
    for (int i = 0; i < graph_n_nodes(g); i++)
        n += graph_node(g, i)->op == op;
    return n;
}

static void made_or_skip(struct made *m, const char *test, const char *args)
{
    if (!can_make(test))
        skip();
    made_open(m, make_model("%s", args));
}

static void phi3_has_the_window_of_its_key_unless_that_is_the_whole_context(void **state)
{
    (void)state;
    struct made m;
    made_or_skip(&m, __func__, "--arch phi3 --window 48 --ctx 128");
    for (int il = 0; il < m.model->n_layers; il++)
        assert_int_equal(m.model->layer[il].window, 48);
    made_close(&m);
    made_or_skip(&m, __func__, "--arch phi3 --window 128 --ctx 128");
    for (int il = 0; il < m.model->n_layers; il++)
        assert_int_equal(m.model->layer[il].window, 0);
    made_close(&m);
}

static void phi3_takes_long_factors_from_the_context_it_was_first_trained_for(void **state)
{
    (void)state;
    struct made m;
    made_or_skip(&m, __func__, "--arch phi3 --rope-factors --orig-ctx 64");
    for (int i = 0; i < graph_n_nodes(m.graph); i++) {
        const struct node *n = graph_node(m.graph, i);
        if (n->op != OP_ROPE_TABLE)
            continue;
        assert_string_equal(n->src[ROPE_FACTORS]->name, "rope_factors_short.weight");
        assert_string_equal(n->src[ROPE_LONG]->name, "rope_factors_long.weight");
        assert_int_equal(n->args.freq.long_from, 64);
        assert_true(n->args.freq.mscale == 1.19f);
    }
    assert_int_equal(count(m.graph, OP_ROPE_TABLE), 1);
    made_close(&m);
}

static void cohere2_turns_the_layers_with_a_window_only(void **state)
{
    (void)state;
    struct made m;
    made_or_skip(&m, __func__, "--arch cohere2 --layers 8 --window 32");
    for (int il = 0; il < 8; il++) {
        bool all = il % 4 == 3;
        assert_int_equal(m.model->layer[il].window, all ? 0 : 32);
        assert_int_equal(m.model->layer[il].rope.rot > 0, !all);
    }
    assert_int_equal(count(m.graph, OP_ROPE), 6 * 2);
    made_close(&m);
}

static void gemma2_27b_is_known_by_its_layers(void **state)
{
    (void)state;
    struct made m;
    made_or_skip(&m, __func__, "--arch gemma2 --layers 46 --embd 64 --heads 4 --head-dim 24");
    assert_true(fabsf(m.model->attn_scale - 1 / sqrtf(16)) < 1e-7f);
    assert_int_equal(m.model->layer[0].window, 64);
    assert_int_equal(m.model->layer[1].window, 0);
    made_close(&m);
    made_or_skip(&m, __func__, "--arch gemma2 --layers 4 --embd 64 --heads 4 --head-dim 24");
    assert_true(fabsf(m.model->attn_scale - 1 / sqrtf(24)) < 1e-7f);
    made_close(&m);
}

/// However the file has its matrices, a token's cache is one latent and one rotated key.
static void deepseek2_caches_one_latent(void **state)
{
    static const char *const args[] = { "--old-mla", "--direct-q", "" };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(args); i++) {
        struct made m;
        if (!can_make(__func__))
            skip();
        made_open(&m, make_model("--arch deepseek2 %s --heads 4 --rank 48 --head-dim 40 "
                                 "--rope-dim 16 --head-dim-v 20",
                                 args[i]));
        for (int k = 0; k < graph_n_nodes(m.graph); k++) {
            const struct node *n = graph_node(m.graph, k);
            if (n->op != OP_ATTN)
                continue;
            assert_true(attn_shares_keys(n));
            assert_int_equal(n->src[1]->d[0].n, 48 + 16);
            assert_int_equal(n->src[1]->d[2].n, 1);
            assert_int_equal(n->args.attn.head_dim_v, 48);
        }
        made_close(&m);
    }
}

static void experts_are_parts_of_their_own(void **state)
{
    (void)state;
    struct made m;
    made_or_skip(&m, __func__, "--arch deepseek2 --layers 4 --lead 2 --shared 2");
    int n_parts = 0;
    for (int i = 0; i < graph_n_parts(m.graph); i++)
        n_parts += graph_part(m.graph, i)->kind == PART_EXPERTS;
    assert_int_equal(n_parts, 2);
    for (int i = 0; i < graph_n_tensors(m.graph); i++) {
        const struct tensor *t = graph_tensor(m.graph, i);
        if (t->role == ROLE_WEIGHT)
            assert_int_equal(graph_part(m.graph, t->part)->kind == PART_EXPERTS,
                             strstr(t->name, "_exps.") != NULL);
    }
    made_close(&m);
}

static void granite_scales_what_each_half_adds(void **state)
{
    (void)state;
    struct made m;
    made_or_skip(&m, __func__, "--arch granite --layers 3");
    assert_int_equal(count(m.graph, OP_SCALE), 3 * 2 + 1);
    assert_int_equal(count(m.graph, OP_ROPE), 3 * 2);
    assert_true(m.model->embd_scale == 1.5f && m.model->attn_scale == 0.4f);
    assert_true(m.model->residual_scale == 0.6f && m.model->logit_scale == 1 / 0.7f);
    made_close(&m);
    made_or_skip(&m, __func__, "--arch granite --no-rope");
    assert_int_equal(count(m.graph, OP_ROPE), 0);
    made_close(&m);
}

static void growing_queries_have_a_table_of_their_own(void **state)
{
    (void)state;
    struct made m;
    made_or_skip(&m, __func__, "--arch mistral3 --orig-ctx 64 --grow");
    assert_int_equal(count(m.graph, OP_ROPE_TABLE), 2);
    made_close(&m);
    made_or_skip(&m, __func__, "--arch mistral3 --orig-ctx 64");
    assert_int_equal(count(m.graph, OP_ROPE_TABLE), 1);
    made_close(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_tensor_is_needed_and_has_one_shape),
        cmocka_unit_test(phi3_has_the_window_of_its_key_unless_that_is_the_whole_context),
        cmocka_unit_test(phi3_takes_long_factors_from_the_context_it_was_first_trained_for),
        cmocka_unit_test(cohere2_turns_the_layers_with_a_window_only),
        cmocka_unit_test(gemma2_27b_is_known_by_its_layers),
        cmocka_unit_test(deepseek2_caches_one_latent),
        cmocka_unit_test(experts_are_parts_of_their_own),
        cmocka_unit_test(granite_scales_what_each_half_adds),
        cmocka_unit_test(growing_queries_have_a_table_of_their_own),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
