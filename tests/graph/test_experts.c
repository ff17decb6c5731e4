// test_experts.c - graphs with experts, with heads that have matrices of their own, with values in
// keys, with long rope factors: shapes, what is folded, what is refused.

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
    { "router", { DTYPE_F32, 2, { 64, 8, 1, 1 }, 1 } },
    { "router.bias", { DTYPE_F32, 1, { 8, 1, 1, 1 }, 2 } },
    { "up.weight", { DTYPE_MXFP4, 3, { 64, 96, 8, 1 }, 3 } },
    { "up.bias", { DTYPE_BF16, 2, { 96, 8, 1, 1 }, 4 } },
    { "down.weight", { DTYPE_MXFP4, 3, { 96, 64, 8, 1 }, 5 } },
    { "pairs.weight", { DTYPE_MXFP4, 3, { 64, 192, 8, 1 }, 6 } },
    { "heads.weight", { DTYPE_Q8_0, 2, { 32, 80, 1, 1 }, 7 } },
    { "heads3.weight", { DTYPE_F16, 3, { 16, 20, 4, 1 }, 8 } },
    { "short", { DTYPE_F32, 1, { 8, 1, 1, 1 }, 9 } },
    { "long", { DTYPE_F32, 1, { 8, 1, 1, 1 }, 10 } },
    { "few.bias", { DTYPE_F32, 2, { 96, 7, 1, 1 }, 11 } },
    { "q8.bias", { DTYPE_Q8_0, 2, { 96, 8, 1, 1 }, 12 } },
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

static void head(struct gb *b, struct tensor *x)
{
    gb_part(b, PART_HEAD, -1);
    x = x->d[1].sym == SYM_OUTPUTS ? x : gb_rows(b, x, gb_input(b, IN_OUT_IDS));
    gb_logits(b, gb_matmul(b, x, gb_mat(b, 64, 100, "embd"), NULL));
}

static struct graph *sealed(struct gb *b)
{
    struct err e = { 0 };
    struct graph *g;
    if (!graph_seal(&g, b, &e))
        fail_msg("%s", e.msg);
    return g;
}

static const struct node *node_of(const struct graph *g, enum op op)
{
    for (int i = 0; i < graph_n_nodes(g); i++)
        if (graph_node(g, i)->op == op)
            return graph_node(g, i);
    return NULL;
}

static void shape_is(const struct tensor *t, int64_t cols, int64_t rows, enum sym sym)
{
    assert_int_equal(t->d[0].n, cols);
    assert_int_equal(t->d[0].sym, SYM_ONE);
    assert_int_equal(t->d[1].n, rows);
    assert_int_equal(t->d[1].sym, sym);
}

static const struct route_args route = { 8, 2, ROUTE_SOFTMAX, true, 1, 0, 0, 0 };

static struct routed routed(struct gb *b, struct tensor *x)
{
    struct tensor *logits = gb_matmul(b, x, gb_mat(b, 64, 8, "router"), NULL);
    return gb_route(b, logits, gb_vec(b, 8, "router.bias"), &route);
}

/// A mixture of two of eight, on the rows that get logits, added to x.
static struct graph *mixture(bool same_part)
{
    struct gb *b = begin();
    struct tensor *x = gb_rows(b, embed(b), gb_input(b, IN_OUT_IDS));
    struct routed r = routed(b, x);
    gb_part(b, PART_EXPERTS, 0);
    struct tensor *up = gb_mat3(b, 64, 96, 8, "up.weight");
    struct tensor *h = gb_experts(b, x, up, r.ids, gb_mat(b, 96, 8, "up.bias"));
    h = gb_glu(b, h, h, ACT_SILU);
    h = gb_experts(b, h, gb_mat3(b, 96, 64, 8, "down.weight"), r.ids, NULL);
    h = gb_expert_sum(b, h, r.weights);
    if (!same_part)
        gb_part(b, PART_BLOCK, 0);
    head(b, gb_add(b, x, h));
    return sealed(b);
}

static void a_token_has_a_row_for_each_of_its_experts(void **state)
{
    (void)state;
    struct graph *g = mixture(true);
    const struct node *r = node_of(g, OP_ROUTE);
    shape_is(r->dst[0], 2, 1, SYM_OUTPUTS);
    shape_is(r->dst[1], 2, 1, SYM_OUTPUTS);
    assert_int_equal(r->dst[1]->type, DTYPE_I32);
    const struct node *up = node_of(g, OP_EXPERTS);
    shape_is(up->dst[0], 96, 2, SYM_OUTPUTS);
    assert_int_equal(up->src[1]->d[2].n, 8);
    assert_ptr_equal(up->src[2], r->dst[1]);
    assert_int_equal(graph_part(g, up->src[1]->part)->kind, PART_EXPERTS);
    shape_is(node_of(g, OP_GLU)->dst[0], 96, 2, SYM_OUTPUTS);
    shape_is(node_of(g, OP_EXPERT_SUM)->dst[0], 64, 1, SYM_OUTPUTS);
    struct dims v = { .n_tokens = 9, .n_outputs = 5, .n_slots = 1, .n_ctx = 64, .max_tokens = 9 };
    assert_int_equal(tensor_bytes(up->dst[0], &v), 5 * 2 * 96 * 4);
    assert_int_equal(tensor_bytes(r->dst[1], &v), 5 * 2 * 4);
    assert_int_equal(tensor_bytes(up->src[1], &v), 8 * 96 * 2 * 17);
    graph_free(g);
}

static void add_is_folded_into_the_sum_of_experts_of_its_part(void **state)
{
    (void)state;
    struct graph *g = mixture(true);
    assert_null(node_of(g, OP_ADD));
    const struct node *s = node_of(g, OP_EXPERT_SUM);
    assert_ptr_equal(s->src[EXPERT_SUM_RES], node_of(g, OP_ROWS)->dst[0]);
    graph_free(g);
    g = mixture(false);
    assert_non_null(node_of(g, OP_ADD));
    graph_free(g);
}

static void pairs_become_rows_of_half_the_length(void **state)
{
    (void)state;
    struct gb *b = begin();
    struct tensor *x = embed(b);
    struct routed r = routed(b, x);
    struct tensor *h = gb_experts(b, x, gb_mat3(b, 64, 192, 8, "pairs.weight"), r.ids, NULL);
    h = gb_glu(b, h, NULL, ACT_SWIGLU_OAI);
    h = gb_experts(b, h, gb_mat3(b, 96, 64, 8, "down.weight"), r.ids, NULL);
    head(b, gb_expert_sum(b, h, r.weights));
    struct graph *g = sealed(b);
    shape_is(node_of(g, OP_GLU)->dst[0], 96, 2, SYM_TOKENS);
    graph_free(g);
}

static void values_in_keys_need_one_state(void **state)
{
    (void)state;
    struct gb *b = begin();
    struct tensor *x = embed(b);
    struct tensor *k = gb_slice(b, x, 64, 0, 20);
    struct tensor *q = gb_concat(b, gb_slice(b, x, 16, 0, 12), 12, gb_slice(b, x, 16, 8, 8), 8);
    x = gb_attn(b, q, k, NULL,
                &(struct attn_args){
                    .n_heads = 4, .n_kv_heads = 1, .head_dim = 20, .head_dim_v = 16, .scale = 1 });
    head(b, x);
    struct graph *g = sealed(b);
    int states = 0;
    for (int i = 0; i < graph_n_tensors(g); i++)
        states += graph_tensor(g, i)->role == ROLE_STATE;
    assert_int_equal(states, 1);
    const struct node *store = node_of(g, OP_KV_STORE), *attn = node_of(g, OP_ATTN);
    assert_true(store_shares_keys(store) && attn_shares_keys(attn));
    assert_null(store->dst[1]);
    shape_is(attn->dst[0], 64, 1, SYM_TOKENS);
    shape_is(attn->src[0], 80, 1, SYM_TOKENS);
    assert_int_equal(attn->src[1]->d[0].n, 20);
    graph_free(g);
}

static void each_head_has_its_rows_of_a_matrix(void **state)
{
    (void)state;
    struct gb *b = begin();
    struct tensor *x = embed(b); // 2 heads of 32 to 24, from rows 8 and 48
    struct tensor *w = gb_mat(b, 32, 80, "heads.weight");
    x = gb_heads(b, x, w, &(struct heads_args){ 2, 32, 24, 8, 40, false });
    shape_is(x, 48, 1, SYM_TOKENS);
    x = gb_slice(b, x, 12, 2, 10);
    shape_is(x, 40, 1, SYM_TOKENS);
    x = gb_heads(b, x, gb_mat3(b, 16, 20, 4, "heads3.weight"),
                 &(struct heads_args){ 4, 10, 16, 10, 20, true });
    shape_is(x, 64, 1, SYM_TOKENS);
    head(b, x);
    graph_free(sealed(b));
}

static struct graph *roped(int long_from, const char *far)
{
    struct gb *b = begin();
    struct tensor *x = embed(b);
    struct rope_freq f = {
        .rot = 16, .base = 10000, .linear = 1, .mscale = 1, .long_from = long_from
    };
    for (int i = 0; i < 2; i++) {
        struct tensor *near = gb_vec(b, 8, "short");
        struct tensor *table =
            gb_rope_table_long(b, &f, near, far ? gb_vec(b, 8, "%s", far) : NULL);
        x = gb_rope(b, x, table, 16, 16, ROPE_NEOX);
        gb_part(b, PART_BLOCK, 1);
    }
    head(b, x);
    return sealed(b);
}

static void both_sets_of_factors_are_shared_and_part_of_the_table(void **state)
{
    (void)state;
    struct graph *g = roped(4096, "long"), *other = roped(4096, "short"), *none = roped(0, NULL);
    const struct node *n = node_of(g, OP_ROPE_TABLE);
    int tables = 0;
    for (int i = 0; i < graph_n_nodes(g); i++)
        tables += graph_node(g, i)->op == OP_ROPE_TABLE;
    assert_int_equal(tables, 1);
    assert_int_equal(n->src[ROPE_FACTORS]->part, 0);
    assert_int_equal(n->src[ROPE_LONG]->part, 0);
    assert_int_not_equal(graph_hash(g), graph_hash(other));
    assert_int_not_equal(graph_hash(g), graph_hash(none));
    graph_free(g);
    graph_free(other);
    graph_free(none);
}

typedef struct tensor *wrong_fn(struct gb *b, struct tensor *x);

static struct tensor *routed_as(struct gb *b, struct tensor *x, struct route_args a)
{
    struct tensor *logits = gb_matmul(b, x, gb_mat(b, 64, 8, "router"), NULL);
    return gb_route(b, logits, NULL, &a).weights;
}
static struct tensor *too_many(struct gb *b, struct tensor *x)
{
    return routed_as(b, x, (struct route_args){ .n_experts = 8, .k = 9 });
}
static struct tensor *none_used(struct gb *b, struct tensor *x)
{
    return routed_as(b, x, (struct route_args){ .n_experts = 8, .k = 0 });
}
static struct tensor *wrong_count(struct gb *b, struct tensor *x)
{
    return routed_as(b, x, (struct route_args){ .n_experts = 9, .k = 1 });
}
static struct tensor *few_groups(struct gb *b, struct tensor *x)
{
    return routed_as(
        b, x,
        (struct route_args){
            .n_experts = 8, .k = 3, .n_groups = 4, .n_groups_used = 1, .group_top = 1 });
}
static struct tensor *uneven_groups(struct gb *b, struct tensor *x)
{
    return routed_as(
        b, x,
        (struct route_args){
            .n_experts = 8, .k = 2, .n_groups = 3, .n_groups_used = 3, .group_top = 1 });
}
static struct tensor *wrong_length(struct gb *b, struct tensor *x)
{
    return gb_experts(b, x, gb_mat3(b, 96, 64, 8, "down.weight"), routed(b, x).ids, NULL);
}
static struct tensor *weights_as_ids(struct gb *b, struct tensor *x)
{
    return gb_experts(b, x, gb_mat3(b, 64, 96, 8, "up.weight"), routed(b, x).weights, NULL);
}
static struct tensor *wrong_bias(struct gb *b, struct tensor *x)
{
    return gb_experts(b, x, gb_mat3(b, 64, 96, 8, "up.weight"), routed(b, x).ids,
                      gb_mat(b, 96, 7, "few.bias"));
}
static struct tensor *quantized_bias(struct gb *b, struct tensor *x)
{
    return gb_experts(b, x, gb_mat3(b, 64, 96, 8, "up.weight"), routed(b, x).ids,
                      gb_mat(b, 96, 8, "q8.bias"));
}
static struct tensor *other_tokens(struct gb *b, struct tensor *x)
{
    struct routed r = routed(b, x);
    return gb_experts(b, gb_rows(b, x, gb_input(b, IN_OUT_IDS)), gb_mat3(b, 64, 96, 8, "up.weight"),
                      r.ids, NULL);
}
static struct tensor *sum_of_tokens(struct gb *b, struct tensor *x)
{
    return gb_expert_sum(b, x, routed(b, x).weights);
}
static struct tensor *heads_past_the_end(struct gb *b, struct tensor *x)
{
    return gb_heads(b, x, gb_mat(b, 32, 80, "heads.weight"),
                    &(struct heads_args){ 2, 32, 40, 1, 40, false });
}
static struct tensor *heads_of_a_lie(struct gb *b, struct tensor *x)
{
    return gb_heads(b, x, gb_mat(b, 32, 80, "heads.weight"),
                    &(struct heads_args){ INT32_MAX, 32, 1, 0, INT64_MAX / 2, false });
}
static struct tensor *heads_too_short(struct gb *b, struct tensor *x)
{
    return gb_heads(b, x, gb_mat(b, 32, 80, "heads.weight"),
                    &(struct heads_args){ 1, 32, 40, 0, 0, false });
}
static struct tensor *slice_past_the_end(struct gb *b, struct tensor *x)
{
    return gb_slice(b, x, 16, 10, 7);
}
static struct tensor *slice_uneven(struct gb *b, struct tensor *x)
{
    return gb_slice(b, x, 20, 0, 4);
}
static struct tensor *concat_uneven(struct gb *b, struct tensor *x)
{
    return gb_concat(b, x, 16, x, 32);
}
static struct tensor *odd_pairs(struct gb *b, struct tensor *x)
{
    return gb_glu(b, gb_slice(b, x, 64, 0, 63), NULL, ACT_SILU);
}
static struct tensor *long_without_a_length(struct gb *b, struct tensor *x)
{
    struct rope_freq f = { .rot = 16, .base = 10000, .linear = 1, .mscale = 1 };
    struct tensor *table = gb_rope_table_long(b, &f, gb_vec(b, 8, "short"), gb_vec(b, 8, "long"));
    return gb_rope(b, x, table, 16, 16, ROPE_NEOX);
}
static struct tensor *values_longer_than_keys(struct gb *b, struct tensor *x)
{
    return gb_attn(
        b, x, x, NULL,
        &(struct attn_args){
            .n_heads = 4, .n_kv_heads = 4, .head_dim = 16, .head_dim_v = 17, .scale = 1 });
}

static void what_does_not_fit_is_refused(void **state)
{
    (void)state;
    static const struct {
        wrong_fn *fn;
        const char *words;
    } cases[] = {
        { too_many, "9 of 8 experts" },
        { none_used, "0 of 8 experts" },
        { wrong_count, "rows of 8, expected 9" },
        { few_groups, "1 of 4 groups" },
        { uneven_groups, "3 of 3 groups" },
        { wrong_length, "rows of 64, expected 96" },
        { weights_as_ids, "not ids" },
        { wrong_bias, "does not fit" },
        { quantized_bias, "does not fit" },
        { other_tokens, "the same tokens" },
        { sum_of_tokens, "a row for each weight" },
        { heads_past_the_end, "does not have 2 matrices" },
        { heads_of_a_lie, "does not have 2147483647 matrices" },
        { heads_too_short, "rows of 64, expected 32" },
        { slice_past_the_end, "7 from 10 of each 16" },
        { slice_uneven, "4 from 0 of each 20" },
        { concat_uneven, "do not join" },
        { odd_pairs, "not pairs" },
        { long_without_a_length, "long factors" },
        { values_longer_than_keys, "do not fit the heads" },
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct gb *b = begin();
        struct tensor *x = cases[i].fn(b, embed(b));
        struct err e = { 0 };
        struct graph *g;
        head(b, x);
        assert_false(graph_seal(&g, b, &e));
        if (!strstr(e.msg, cases[i].words))
            fail_msg("case %zu: '%s' does not say '%s'", i, e.msg, cases[i].words);
    }
}

static void a_3d_weight_has_its_three_sizes(void **state)
{
    (void)state;
    struct gb *b = begin();
    struct err e = { 0 };
    struct graph *g;
    gb_mat3(b, 64, 96, 7, "up.weight");
    head(b, embed(b));
    assert_false(graph_seal(&g, b, &e));
    assert_non_null(strstr(e.msg, "shape [64, 96, 7] expected, the file has [64, 96, 8]"));
}

static void the_dump_tells_all_there_is(void **state)
{
    (void)state;
    struct graph *g = mixture(true);
    struct buf text;
    buf_init(&text, 1 << 20);
    assert_true(graph_dump(g, &text));
    assert_non_null(strstr(
        text.p, " route (6, 7) -> 8, 9 2 of 8 softmax norm scale 1 groups 0 of 0 top 0 part"));
    assert_non_null(strstr(text.p, " weight up.weight MXFP4 [64, 96, 8] part 3"));
    assert_non_null(strstr(text.p, " temp up F32 [96, 2*outputs] part 3"));
    buf_done(&text);
    graph_free(g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_token_has_a_row_for_each_of_its_experts),
        cmocka_unit_test(add_is_folded_into_the_sum_of_experts_of_its_part),
        cmocka_unit_test(pairs_become_rows_of_half_the_length),
        cmocka_unit_test(values_in_keys_need_one_state),
        cmocka_unit_test(each_head_has_its_rows_of_a_matrix),
        cmocka_unit_test(both_sets_of_factors_are_shared_and_part_of_the_table),
        cmocka_unit_test(what_does_not_fit_is_refused),
        cmocka_unit_test(a_3d_weight_has_its_three_sizes),
        cmocka_unit_test(the_dump_tells_all_there_is),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
