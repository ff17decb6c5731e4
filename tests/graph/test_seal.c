// Building, sealing, folding, dumping: over a small table of weights.

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "graph/graph.h"

static const struct {
    const char *name;
    struct weight_info info;
} weights[] = {
    { "embd", { DTYPE_Q8_0, 2, { 64, 100, 1, 1 }, 0 } },
    { "norm", { DTYPE_F32, 1, { 64, 1, 1, 1 }, 1 } },
    { "w1.weight", { DTYPE_Q4_0, 2, { 64, 64, 1, 1 }, 2 } },
    { "w2.weight", { DTYPE_F16, 2, { 64, 64, 1, 1 }, 3 } },
    { "bias", { DTYPE_F32, 1, { 64, 1, 1, 1 }, 4 } },
    { "qkv.weight", { DTYPE_F16, 2, { 64, 192, 1, 1 }, 5 } },
    { "head_norm", { DTYPE_F32, 1, { 16, 1, 1, 1 }, 6 } },
    { "factors", { DTYPE_F32, 1, { 8, 1, 1, 1 }, 7 } },
    { "half", { DTYPE_F16, 1, { 64, 1, 1, 1 }, 8 } },
    { "ints", { DTYPE_I32, 2, { 64, 64, 1, 1 }, 9 } },
    { "filters", { DTYPE_F16, 4, { 2, 2, 3, 5 }, 10 } },
};

static bool find(void *ctx, const char *name, struct weight_info *out)
{
    (void)ctx;
    for (size_t i = 0; i < ARRAY_LEN(weights); i++)
        if (strcmp(weights[i].name, name) == 0) {
            *out = weights[i].info;
            return true;
        }
    return false;
}

static struct gb *begin(void)
{
    return gb_new((struct weight_source){ find, NULL });
}

static struct tensor *embed(struct gb *b)
{
    gb_part(b, PART_EMBED, -1);
    struct tensor *x = gb_embed(b, gb_input(b, IN_TOKENS), gb_mat(b, 64, 100, "embd"), 1);
    gb_part(b, PART_BLOCK, 0);
    return x;
}

static struct tensor *w(struct gb *b, int i)
{
    return gb_mat(b, 64, 64, "w%d.weight", i);
}

static void head(struct gb *b, struct tensor *x)
{
    gb_part(b, PART_HEAD, -1);
    gb_logits(
        b, gb_matmul(b, gb_rows(b, x, gb_input(b, IN_OUT_IDS)), gb_mat(b, 64, 100, "embd"), NULL));
}

static struct graph *sealed(struct gb *b)
{
    struct err e = { 0 };
    struct graph *g;
    if (!graph_seal(&g, b, &e))
        fail_msg("%s", e.msg);
    return g;
}

static void refused(struct gb *b, const char *words)
{
    struct err e = { 0 };
    struct graph *g;
    assert_false(graph_seal(&g, b, &e));
    assert_null(g);
    assert_true(e.code == ERR_FORMAT || e.code == ERR_UNSUPPORTED);
    if (!strstr(e.msg, words))
        fail_msg("'%s' does not say '%s'", e.msg, words);
}

static int count(const struct graph *g, enum op op)
{
    int n = 0;
    for (int i = 0; i < graph_n_nodes(g); i++)
        n += graph_node(g, i)->op == op;
    return n;
}

static const struct rope_freq freq = { .rot = 16, .base = 10000, .linear = 1, .mscale = 1 };

/// A whole small block with everything in it: what the dump and hash tests change one value of.
static struct graph *block_graph(float eps, int window, enum act act, float base)
{
    struct gb *b = begin();
    struct tensor *x = embed(b);
    struct rope_freq f = freq;
    f.base = base;
    struct tensor *h = gb_rmsnorm(b, x, gb_vec(b, 64, "norm"), eps);
    struct tensor *t = gb_rope_table(b, &f, NULL);
    struct tensor *q =
        gb_rope(b, gb_matmul(b, h, gb_mat_rows(b, 64, 64, 0, 192, "qkv.weight"), NULL), t, 16, 16,
                ROPE_NORM);
    struct tensor *k =
        gb_rope(b, gb_matmul(b, h, gb_mat_rows(b, 64, 64, 64, 192, "qkv.weight"), NULL), t, 16, 16,
                ROPE_NORM);
    struct tensor *v = gb_matmul(b, h, gb_mat_rows(b, 64, 64, 128, 192, "qkv.weight"), NULL);
    h = gb_attn(b, q, k, v,
                &(struct attn_args){ .n_heads = 4,
                                     .n_kv_heads = 4,
                                     .head_dim = 16,
                                     .head_dim_v = 16,
                                     .window = window,
                                     .scale = 0.25f });
    x = gb_add(b, x, gb_matmul(b, h, w(b, 1), NULL));
    h = gb_glu(b, gb_matmul(b, x, w(b, 1), NULL), gb_matmul(b, x, w(b, 2), NULL), act);
    x = gb_add(b, x, gb_rmsnorm(b, h, gb_vec(b, 64, "norm"), eps));
    head(b, x);
    return sealed(b);
}

static void add_is_folded_into_the_matmul_that_feeds_only_it(void **state)
{
    (void)state;
    struct gb *b = begin();
    struct tensor *x = embed(b);
    head(b, gb_add(b, x, gb_matmul(b, x, w(b, 1), gb_vec(b, 64, "bias"))));
    struct graph *g = sealed(b);
    assert_int_equal(count(g, OP_ADD), 0);
    assert_int_equal(graph_n_nodes(g), 4);
    const struct node *m = graph_node(g, 1);
    assert_int_equal(m->op, OP_MATMUL);
    assert_ptr_equal(m->src[MATMUL_RES], graph_node(g, 0)->dst[0]);
    assert_ptr_equal(graph_node(g, 2)->src[0], m->dst[0]);
    graph_free(g);
}

static void add_is_folded_into_a_norm_either_way_round(void **state)
{
    (void)state;
    for (int swap = 0; swap < 2; swap++) {
        struct gb *b = begin();
        struct tensor *x = embed(b);
        struct tensor *h = gb_rmsnorm(b, x, gb_vec(b, 64, "norm"), 0);
        head(b, swap ? gb_add(b, h, x) : gb_add(b, x, h));
        struct graph *g = sealed(b);
        assert_int_equal(count(g, OP_ADD), 0);
        assert_ptr_equal(graph_node(g, 1)->src[NORM_RES], graph_node(g, 0)->dst[0]);
        graph_free(g);
    }
}

static void add_stays_when_its_source_is_read_elsewhere_too(void **state)
{
    (void)state;
    struct gb *b = begin();
    struct tensor *x = embed(b);
    struct tensor *h = gb_matmul(b, x, w(b, 1), NULL);
    struct tensor *sum = gb_add(b, x, h); // the order of a call's arguments is the compiler's
    head(b, gb_add(b, sum, gb_matmul(b, h, w(b, 2), NULL)));
    struct graph *g = sealed(b);
    assert_int_equal(count(g, OP_ADD), 1); // x + h stays, the sum with the second product is folded
    graph_free(g);

    b = begin();
    x = embed(b);
    h = gb_matmul(b, x, w(b, 1), NULL);
    head(b, gb_add(b, h, h));
    g = sealed(b);
    assert_int_equal(count(g, OP_ADD), 1);
    graph_free(g);
}

static void add_never_reads_what_is_made_later(void **state)
{
    (void)state;
    struct gb *b = begin();
    struct tensor *x = embed(b);
    struct tensor *h1 = gb_matmul(b, x, w(b, 1), NULL);
    struct tensor *h2 = gb_matmul(b, x, w(b, 2), NULL);
    head(b, gb_add(b, h1, h2));
    struct graph *g = sealed(b);
    assert_int_equal(count(g, OP_ADD), 0);
    assert_null(graph_node(g, 1)->src[MATMUL_RES]);
    assert_ptr_equal(graph_node(g, 2)->src[MATMUL_RES], graph_node(g, 1)->dst[0]);
    graph_free(g);
}

static void every_node_reads_only_what_came_before(void **state)
{
    (void)state;
    struct graph *g = block_graph(1e-5f, 0, ACT_SILU, 10000);
    bool made[64] = { false };
    for (int i = 0; i < graph_n_nodes(g); i++) {
        const struct node *n = graph_node(g, i);
        assert_int_equal(n->id, i);
        for (int s = 0; s < NODE_SRC; s++)
            if (n->src[s] && (n->src[s]->role == ROLE_TEMP || n->src[s]->role == ROLE_OUTPUT))
                assert_true(made[n->src[s]->id]);
        for (int d = 0; d < NODE_DST; d++)
            if (n->dst[d])
                made[n->dst[d]->id] = true;
    }
    for (int i = 0; i < graph_n_tensors(g); i++)
        assert_int_equal(graph_tensor(g, i)->id, i);
    graph_free(g);
}

static void what_the_logits_do_not_need_is_dropped(void **state)
{
    (void)state;
    struct gb *b = begin();
    struct tensor *x = embed(b);
    gb_matmul(b, x, w(b, 1), NULL); // for nobody
    gb_attn(b, x, x, x,
            &(struct attn_args){
                .n_heads = 4, .n_kv_heads = 4, .head_dim = 16, .head_dim_v = 16, .scale = 1 });
    head(b, x);
    struct graph *g = sealed(b);
    assert_int_equal(graph_n_nodes(g), 3);
    assert_int_equal(graph_n_tensors(g),
                     7); // ids, table, x, rows' ids, rows, the head's table, logits
    assert_null(graph_input(g, IN_POS));
    assert_non_null(graph_input(g, IN_TOKENS));
    graph_free(g);
}

static void a_tied_matrix_is_two_tensors_of_one_source(void **state)
{
    (void)state;
    struct gb *b = begin();
    head(b, embed(b));
    struct graph *g = sealed(b);
    const struct tensor *table = graph_node(g, 0)->src[1], *matrix = graph_node(g, 2)->src[1];
    assert_ptr_not_equal(table, matrix);
    assert_int_equal(table->source, matrix->source);
    assert_true(table->rows_used);
    assert_false(matrix->rows_used);
    assert_int_equal(graph_part(g, table->part)->kind, PART_EMBED);
    assert_int_equal(graph_part(g, matrix->part)->kind, PART_HEAD);
    graph_free(g);
}

static void fused_rows_are_tensors_of_their_own(void **state)
{
    (void)state;
    struct graph *g = block_graph(1e-5f, 0, ACT_SILU, 10000);
    int seen = 0;
    for (int i = 0; i < graph_n_tensors(g); i++) {
        const struct tensor *t = graph_tensor(g, i);
        if (strcmp(t->name, "qkv.weight") == 0) {
            assert_int_equal(t->row0, 64 * seen);
            assert_int_equal(t->d[1].n, 64);
            seen++;
        }
    }
    assert_int_equal(seen, 3);
    graph_free(g);
}

static void equal_rope_tables_are_made_once_and_shared(void **state)
{
    (void)state;
    struct gb *b = begin();
    struct tensor *x = embed(b);
    struct rope_freq other = freq;
    other.base = 1e6f;
    struct tensor *a = gb_rope_table(b, &freq, NULL);
    assert_ptr_equal(gb_rope_table(b, &freq, NULL), a);
    assert_ptr_not_equal(gb_rope_table(b, &other, NULL), a);
    struct tensor *f0 = gb_rope_table(b, &freq, gb_vec(b, 8, "factors"));
    assert_ptr_not_equal(f0, a);
    gb_part(b, PART_BLOCK, 1);
    assert_ptr_equal(gb_rope_table(b, &freq, gb_vec(b, 8, "factors")), f0);
    x = gb_rope(b, x, f0, 16, 16, ROPE_NEOX);
    head(b, x);
    struct graph *g = sealed(b);
    assert_int_equal(count(g, OP_ROPE_TABLE), 1);
    for (int i = 0; i < graph_n_nodes(g); i++)
        if (graph_node(g, i)->op == OP_ROPE_TABLE) {
            assert_int_equal(graph_node(g, i)->part, 0);
            assert_int_equal(graph_node(g, i)->src[1]->part, 0);
            assert_int_equal(graph_part(g, 0)->kind, PART_SHARED);
        }
    graph_free(g);
}

static void the_page_table_is_for_layers_without_a_window(void **state)
{
    (void)state;
    struct graph *all = block_graph(1e-5f, 0, ACT_SILU, 10000),
                 *win = block_graph(1e-5f, 32, ACT_SILU, 10000);
    assert_non_null(graph_input(all, IN_PAGE_TABLE));
    assert_null(graph_input(win, IN_PAGE_TABLE));
    for (int i = 0; i < graph_n_nodes(win); i++)
        if (graph_node(win, i)->op == OP_ATTN) {
            assert_int_equal(graph_node(win, i)->src[1]->d[3].sym, SYM_WINDOW_PAGES);
            assert_int_equal(graph_node(win, i)->src[1]->d[3].arg, 32);
        }
    graph_free(all);
    graph_free(win);
}

static struct graph *with_vision(bool held)
{
    struct gb *b = begin();
    gb_part(b, PART_VISION, -1);
    struct tensor *filters = gb_filters(b, 2, 3, 5, "filters"), *v = gb_vec(b, 64, "norm");
    if (held) {
        gb_hold(b, filters);
        gb_hold(b, v);
    }
    head(b, embed(b));
    return sealed(b);
}

static void a_weight_that_is_held_stays_though_nothing_reads_it(void **state)
{
    (void)state;
    struct graph *g = with_vision(true), *without = with_vision(false);
    const int n = graph_n_tensors(without);
    assert_int_equal(graph_n_tensors(g), n + 2);
    const struct tensor *filters = graph_tensor(g, n), *v = graph_tensor(g, n + 1);
    assert_string_equal(filters->name, "filters");
    assert_int_equal(filters->d[0].n, 2 * 2 * 3);
    assert_int_equal(filters->d[1].n, 5);
    assert_int_equal(tensor_bytes(filters, &(struct dims){ 0 }), 2 * 2 * 2 * 3 * 5);
    assert_string_equal(v->name, "norm");
    assert_true(filters->held && v->held && !filters->rows_used && !v->rows_used);
    assert_int_equal(graph_part(g, v->part)->kind, PART_VISION);
    assert_int_equal(graph_n_nodes(g), graph_n_nodes(without));
    assert_int_not_equal(graph_hash(g), graph_hash(without));
    graph_free(g);
    graph_free(without);

    struct gb *b = begin();
    gb_part(b, PART_VISION, -1);
    gb_hold(b, gb_filters(b, 2, 4, 5, "filters"));
    head(b, embed(b));
    refused(b, "tensor filters: shape [2, 2, 4, 5] expected, the file has [2, 2, 3, 5]");
}

static void any_change_of_a_node_changes_the_hash(void **state)
{
    (void)state;
    struct graph *g[] = {
        block_graph(1e-5f, 0, ACT_SILU, 10000), block_graph(1e-5f, 0, ACT_SILU, 10000),
        block_graph(2e-5f, 0, ACT_SILU, 10000), block_graph(1e-5f, 32, ACT_SILU, 10000),
        block_graph(1e-5f, 0, ACT_GELU, 10000), block_graph(1e-5f, 0, ACT_SILU, 10000.001f),
    };
    assert_int_equal(graph_hash(g[0]), graph_hash(g[1]));
    for (size_t i = 1; i < ARRAY_LEN(g); i++)
        for (size_t j = i + 1; j < ARRAY_LEN(g); j++)
            assert_int_not_equal(graph_hash(g[i]), graph_hash(g[j]));
    for (size_t i = 0; i < ARRAY_LEN(g); i++)
        graph_free(g[i]);
}

static void the_dump_is_a_line_a_thing(void **state)
{
    (void)state;
    struct gb *b = begin();
    struct tensor *x = embed(b);
    head(b, gb_add(b, x, gb_matmul(b, x, w(b, 1), NULL)));
    struct graph *g = sealed(b);
    struct buf text;
    buf_init(&text, 1 << 20);
    assert_true(graph_dump(g, &text));
    assert_string_equal(text.p, "part 0 shared\n"
                                "part 1 embed\n"
                                "part 2 blk.0\n"
                                "part 3 head\n"
                                "tensor 0 input in.tokens I32 [tokens] part 0\n"
                                "tensor 1 weight embd Q8_0 [64, 100] part 1 source 0 row0 0 rows\n"
                                "tensor 2 temp embed.embed F32 [64, tokens] part 1\n"
                                "tensor 3 weight w1.weight Q4_0 [64, 64] part 2 source 2 row0 0\n"
                                "tensor 4 temp blk.0.add F32 [64, tokens] part 2\n"
                                "tensor 5 input in.out_ids I32 [outputs] part 0\n"
                                "tensor 6 temp head.rows F32 [64, outputs] part 3\n"
                                "tensor 7 weight embd Q8_0 [64, 100] part 3 source 0 row0 0\n"
                                "tensor 8 output embd F32 [100, outputs] part 3\n"
                                "node 0 embed (0, 1) -> 2 1 part 1\n"
                                "node 1 matmul (2, 3, -, 2) -> 4 part 2\n"
                                "node 2 rows (4, 5) -> 6 part 3\n"
                                "node 3 matmul (6, 7) -> 8 part 3\n"
                                "logits 8\n");
    buf_done(&text);
    buf_init(&text, 100);
    assert_false(graph_dump(g, &text));
    buf_done(&text);
    graph_free(g);
}

static void a_weight_of_another_shape_is_named_with_both_shapes(void **state)
{
    (void)state;
    struct gb *b = begin();
    struct tensor *x = embed(b);
    x = gb_matmul(b, x, gb_mat(b, 64, 65, "w%d.weight", 1), NULL);
    for (int i = 0; i < 100; i++) // all of this is harmless
        x = gb_add(b,
                   gb_rmsnorm(b, gb_matmul(b, x, gb_mat(b, 3, 5, "no.%d", i), NULL),
                              gb_vec(b, 9, "no"), 0),
                   x);
    head(b, x);
    refused(b, "tensor w1.weight: shape [64, 65] expected, the file has [64, 64]");
}

static void the_first_error_is_the_one_reported(void **state)
{
    (void)state;
    struct gb *b = begin();
    gb_mat(b, 64, 64, "absent.%d", 7);
    gb_fail(b, ERR_UNSUPPORTED, "another");
    head(b, embed(b));
    refused(b, "tensor absent.7 is missing");

    b = begin();
    gb_fail(b, ERR_UNSUPPORTED, "experts of %s", "this kind");
    head(b, embed(b));
    refused(b, "experts of this kind");

    refused(begin(), "no result");
}

static void types_that_cannot_be_used_are_refused(void **state)
{
    (void)state;
    struct gb *b = begin();
    head(b, gb_rmsnorm(b, embed(b), gb_vec(b, 64, "half"), 0));
    refused(b, "tensor half: numbers of type F16, expected F32");
    b = begin();
    head(b, gb_matmul(b, embed(b), gb_mat(b, 64, 64, "ints"), NULL));
    refused(b, "tensor ints: numbers of type I32");
    b = begin();
    gb_mat_rows(b, 64, 64, 129, 192, "qkv.weight");
    refused(b, "make no sense");
    b = begin();
    gb_mat(b, 64, 0, "w1.weight");
    refused(b, "make no sense");
}

typedef struct tensor *wrong_fn(struct gb *b, struct tensor *x);

static struct tensor *wrong_table(struct gb *b, struct tensor *x)
{
    return gb_embed(b, gb_input(b, IN_TOKENS), x, 1);
}
static struct tensor *wrong_ids(struct gb *b, struct tensor *x)
{
    return gb_rows(b, x, gb_input(b, IN_TOKENS));
}
static struct tensor *wrong_x_of_matmul(struct gb *b, struct tensor *x)
{
    (void)x;
    return gb_matmul(b, gb_rope_table(b, &freq, NULL), w(b, 1), NULL);
}
static struct tensor *wrong_matrix(struct gb *b, struct tensor *x)
{
    return gb_matmul(b, x, x, NULL);
}
static struct tensor *wrong_bias(struct gb *b, struct tensor *x)
{
    return gb_matmul(b, x, w(b, 1), gb_vec(b, 16, "head_norm"));
}
static struct tensor *wrong_norm(struct gb *b, struct tensor *x)
{
    (void)x;
    return gb_rmsnorm(b, gb_rope_table(b, &freq, NULL), gb_vec(b, 64, "norm"), 0);
}
static struct tensor *wrong_rot(struct gb *b, struct tensor *x)
{
    (void)x;
    return gb_rope_table(b, &(struct rope_freq){ .rot = 7 }, NULL);
}
static struct tensor *wrong_factors(struct gb *b, struct tensor *x)
{
    (void)x;
    return gb_rope_table(b, &freq, gb_vec(b, 16, "head_norm"));
}
static struct tensor *wrong_head_dim(struct gb *b, struct tensor *x)
{
    return gb_rope(b, x, gb_rope_table(b, &freq, NULL), 24, 16, ROPE_NORM);
}
static struct tensor *wrong_rotated(struct gb *b, struct tensor *x)
{
    return gb_rope(b, x, gb_rope_table(b, &freq, NULL), 8, 16, ROPE_NORM);
}
static struct tensor *wrong_sum(struct gb *b, struct tensor *x)
{
    return gb_add(b, x, gb_rows(b, x, gb_input(b, IN_OUT_IDS)));
}
static struct tensor *wrong_groups(struct gb *b, struct tensor *x)
{
    return gb_attn(
        b, x, x, x,
        &(struct attn_args){ .n_heads = 4, .n_kv_heads = 3, .head_dim = 16, .head_dim_v = 16 });
}
static struct tensor *no_heads(struct gb *b, struct tensor *x)
{
    return gb_attn(
        b, x, x, x,
        &(struct attn_args){ .n_heads = 4, .n_kv_heads = 0, .head_dim = 16, .head_dim_v = 16 });
}
static struct tensor *twice_a_block(struct gb *b, struct tensor *x)
{
    const struct attn_args a = { .n_heads = 4, .n_kv_heads = 4, .head_dim = 16, .head_dim_v = 16 };
    return gb_attn(b, gb_attn(b, x, x, x, &a), x, x, &a);
}

static void shapes_that_do_not_fit_are_refused(void **state)
{
    (void)state;
    static const struct {
        wrong_fn *fn;
        const char *words;
    } cases[] = {
        { wrong_table, "not a table" },
        { wrong_ids, "not the input" },
        { wrong_x_of_matmul, "rows of 16, expected 64" },
        { wrong_matrix, "not a matrix" },
        { wrong_bias, "length 16, expected 64" },
        { wrong_norm, "not whole groups" },
        { wrong_rot, "not a positive even number" },
        { wrong_factors, "length 16, expected 8" },
        { wrong_head_dim, "heads of 24" },
        { wrong_rotated, "16 rotated" },
        { wrong_sum, "dimension 1 differs" },
        { wrong_groups, "expected 48" },
        { no_heads, "0 key heads" },
        { twice_a_block, "attends twice" },
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct gb *b = begin();
        struct tensor *x = cases[i].fn(b, embed(b));
        head(b, x);
        refused(b, cases[i].words);
    }
}

static void operations_are_found_by_name(void **state)
{
    (void)state;
    for (int i = 0; i < OP_COUNT; i++) {
        enum op op = OP_COUNT;
        assert_true(op_by_name(&op, op_info((enum op)i)->name));
        assert_int_equal(op, i);
    }
    enum op op;
    assert_false(op_by_name(&op, "nothing"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(add_is_folded_into_the_matmul_that_feeds_only_it),
        cmocka_unit_test(add_is_folded_into_a_norm_either_way_round),
        cmocka_unit_test(add_stays_when_its_source_is_read_elsewhere_too),
        cmocka_unit_test(add_never_reads_what_is_made_later),
        cmocka_unit_test(every_node_reads_only_what_came_before),
        cmocka_unit_test(what_the_logits_do_not_need_is_dropped),
        cmocka_unit_test(a_tied_matrix_is_two_tensors_of_one_source),
        cmocka_unit_test(fused_rows_are_tensors_of_their_own),
        cmocka_unit_test(equal_rope_tables_are_made_once_and_shared),
        cmocka_unit_test(the_page_table_is_for_layers_without_a_window),
        cmocka_unit_test(a_weight_that_is_held_stays_though_nothing_reads_it),
        cmocka_unit_test(any_change_of_a_node_changes_the_hash),
        cmocka_unit_test(the_dump_is_a_line_a_thing),
        cmocka_unit_test(a_weight_of_another_shape_is_named_with_both_shapes),
        cmocka_unit_test(the_first_error_is_the_one_reported),
        cmocka_unit_test(types_that_cannot_be_used_are_refused),
        cmocka_unit_test(shapes_that_do_not_fit_are_refused),
        cmocka_unit_test(operations_are_found_by_name),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
