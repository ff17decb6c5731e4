// test_vision.c - a vision tower in the model's own file: weights that are placed and loaded to the
// byte, or left out, and that change nothing else.

#include "model/made.h"
#include "run/run_int.h"
#include "run/vectors.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

enum { N = 70, VOCAB = MADE_VOCAB };
static const char args[] = "--arch gemma3 --type Q4_K_M --window 24 --vision";

static const char *made_or_skip(const char *test)
{
    if (!can_make(test))
        skip();
    return make_model("%s", args);
}

static bool of_tower(const char *name)
{
    return strncmp(name, "v.", 2) == 0 || strncmp(name, "mm.", 3) == 0;
}

static void count_unused(void *ctx, int tensor, bool known)
{
    int *n = ctx;
    (void)tensor;
    assert_true(known);
    ++*n;
}

// --- the graph
// ----------------------------------------------------------------------------------------

static int vision_part(const struct graph *g)
{
    for (int i = 0; i < graph_n_parts(g); i++)
        if (graph_part(g, i)->kind == PART_VISION)
            return i;
    return -1;
}

static void a_tower_is_a_part_of_weights_alone(void **state)
{
    (void)state;
    struct made m;
    int n_unused = 0, n_tower = 0;
    made_open(&m, made_or_skip(__func__));
    const int part = vision_part(m.graph);
    int *used = xcalloc((size_t)gguf_n_tensors(m.gguf), sizeof *used);
    assert_int_equal(part, 1); // what comes out of it goes into the embedding's rows
    for (int i = 0; i < graph_n_tensors(m.graph); i++) {
        const struct tensor *t = graph_tensor(m.graph, i);
        if (t->role != ROLE_WEIGHT)
            continue;
        assert_int_equal(t->held, of_tower(t->name));
        assert_int_equal(t->part == part, of_tower(t->name));
        used[t->source]++;
    }
    for (int i = 0; i < gguf_n_tensors(m.gguf); i++)
        if (of_tower(gguf_tensor(m.gguf, i)->name)) {
            assert_int_equal(used[i], 1);
            n_tower++;
        }
    assert_int_equal(n_tower, 39);
    for (int i = 0; i < graph_n_nodes(m.graph); i++)
        assert_int_not_equal(graph_node(m.graph, i)->part, part);
    model_unused(m.model, m.graph, m.gguf, count_unused, &n_unused);
    assert_int_equal(n_unused, 0);
    free(used);
    made_close(&m);
}

/// Also that of a file without one: nothing else moves.
static void without_its_tower_a_model_has_the_graph_of_its_text(void **state)
{
    (void)state;
    struct made with, text;
    struct graph *g;
    struct err e = { 0 };
    int n_unused = 0;
    made_open(&with, made_or_skip(__func__));
    model_drop_vision(with.model);
    assert_true(model_graph(&g, with.model, with.gguf, &e));
    assert_int_equal(vision_part(g), -1);
    model_unused(with.model, g, with.gguf, count_unused, &n_unused);
    assert_int_equal(n_unused, 39);
    made_open(&text, make_model("--arch gemma3 --type Q4_K_M --window 24"));
    assert_int_equal(graph_hash(g), graph_hash(text.graph));
    assert_int_not_equal(graph_hash(g), graph_hash(with.graph));
    graph_free(g);
    made_close(&with);
    made_close(&text);
}

// --- plan and load
// ------------------------------------------------------------------------------------

static struct engine_opts usual(const char *on, bool no_vision)
{
    return (struct engine_opts){ .on = on, .ctx = 128, .micro_batch = 32, .no_vision = no_vision };
}

/// Bytes of the tower's tensors, each as long as a slot.
static uint64_t tower_bytes(const struct gguf *g, uint64_t align)
{
    uint64_t sum = 0;
    for (int i = 0; i < gguf_n_tensors(g); i++)
        if (of_tower(gguf_tensor(g, i)->name))
            sum += align_up_u64(gguf_tensor(g, i)->bytes, align);
    return sum;
}

static void a_plan_without_the_tower_is_smaller_by_it_to_the_byte(void **state)
{
    (void)state;
    const char *path = made_or_skip(__func__);
    struct engine with, text;
    for (int sim = 0; sim < 2; sim++) {
        const char *on = sim ? "sim:64" : "cpu";
        struct engine_opts a = usual(on, false), b = usual(on, true);
        a.plan_only = b.plan_only = true;
        open_engine(&with, path, &a);
        open_engine(&text, path, &b);
        const struct plan_dev *x = &with.plan->dev[0], *y = &text.plan->dev[0];
        const uint64_t bytes = tower_bytes(with.gguf, sim ? 64 : 1);
        assert_true(bytes > 100000);
        if (sim) {
            assert_int_equal(x->arena_bytes[ARENA_WEIGHTS], y->arena_bytes[ARENA_WEIGHTS] + bytes);
            assert_int_equal(x->total_bytes - x->rounding_bytes,
                             y->total_bytes - y->rounding_bytes + bytes);
        } else {
            assert_int_equal(x->mapped_bytes, y->mapped_bytes + bytes);
            assert_int_equal(x->total_bytes, y->total_bytes);
        }
        for (int k = 0; k < ARENA_COUNT; k++)
            if (k != ARENA_WEIGHTS)
                assert_int_equal(x->arena_bytes[k], y->arena_bytes[k]);
        engine_close(&with);
        engine_close(&text);
    }
}

static void check_loaded(const struct engine *en)
{
    for (int d = 0; d < en->n_devs; d++) {
        struct sim_stats s;
        if (en->dev[d] == en->cpu)
            continue;
        sim_dev_stats(en->dev[d], &s);
        assert_int_equal(inst_device_bytes(en->inst, d), plan_device_bytes(en->plan, d));
        assert_int_equal(s.bytes_now, plan_device_bytes(en->plan, d));
        assert_int_equal(s.allocs_after_seal, 0);
    }
}

/// The tower's weights are in the device as the file has them. Returns how many there are.
static int check_tower(const struct engine *en)
{
    struct err e = { 0 };
    int n = 0;
    for (int i = 0; i < en->plan->n_values; i++) {
        const struct value *v = &en->plan->value[i];
        if (v->t == NULL || !v->t->held)
            continue;
        struct dev *dev = en->dev[v->slot.dev];
        uint8_t *got = xmalloc(v->slot.bytes);
        assert_int_equal(v->slot.bytes, gguf_tensor(en->gguf, v->t->source)->bytes);
        assert_true(dev->ops->read(dev, got, inst_address(en->inst, i), v->slot.bytes, &e));
        assert_memory_equal(got, gguf_data(en->gguf, v->t->source), v->slot.bytes);
        free(got);
        n++;
    }
    return n;
}

static void a_tower_is_loaded_as_planned_and_changes_no_logit(void **state)
{
    (void)state;
    static const char *const on[] = { "sim:64", "sim:2,sim:2,sim:2,sim:64", "cpu" };
    int32_t id[N];
    for (int i = 0; i < N; i++)
        id[i] = (int32_t)((unsigned)i * 2654435761u >> 7) % VOCAB;
    for (size_t k = 0; k < ARRAY_LEN(on); k++) {
        float *logits[3];
        for (int i = 0; i < 3; i++) { // with it, left out, a file without
            const char *path = i < 2 ? made_or_skip(__func__)
                                     : make_model("--arch gemma3 --type Q4_K_M --window 24");
            const struct engine_opts o = usual(on[k], i == 1);
            struct engine en;
            open_engine(&en, path, &o);
            logits[i] = eval_all(&en, id, N, 0);
            if (strcmp(on[k], "cpu") != 0)
                check_loaded(&en);
            assert_int_equal(check_tower(&en), i == 0 ? 39 : 0);
            engine_close(&en);
        }
        assert_memory_equal(logits[0], logits[1], N * VOCAB * sizeof(float));
        assert_memory_equal(logits[0], logits[2], N * VOCAB * sizeof(float));
        for (int i = 0; i < 3; i++)
            free(logits[i]);
    }
}

/// A device may have the tower and nothing else, and the check of plans misses no weight of it.
static void a_tower_may_have_a_device_of_its_own(void **state)
{
    (void)state;
    const struct limits lim = {
        .micro_batch = 32, .outputs = 1, .slots = 1, .ctx = 128, .kv = DTYPE_F16
    };
    struct engine en;
    struct plan *p;
    struct inst *in = NULL;
    struct err e = { 0 };
    struct assign a;
    const char *path = made_or_skip(__func__);
    const struct engine_opts o = usual("sim:64,sim:64", false);
    open_engine(&en, path, &o); // for its devices: the second is not used
    assign_even(&a, en.graph, 1);
    a.dev[vision_part(en.graph)] = 1;
    struct dev *two[2];
    for (int i = 0; i < 2; i++)
        two[i] = sim_dev_new(
            &(struct sim_opts){ .name = "sim", .capacity_bytes = 64 << 20, .cpu = en.cpu });
    if (!plan_make(&p, en.graph, en.places, &a, &lim, two, 2, &e) || !plan_check(p, &e) ||
        !inst_load(&in, p, en.gguf, two, NULL, NULL, &e))
        fail_msg("%s", e.msg);
    assert_true(p->dev[1].used);
    assert_int_equal(p->dev[1].arena_bytes[ARENA_WEIGHTS], tower_bytes(en.gguf, 64));
    assert_int_equal(p->dev[1].total_bytes - p->dev[1].rounding_bytes, tower_bytes(en.gguf, 64));
    assert_int_equal(p->host_staging_bytes, p->value[p->logits].slot.bytes); // no copies

    struct plan less = *p;
    less.n_values--; // values that are held come last
    assert_false(plan_check(&less, &e));
    assert_non_null(strstr(e.msg, "is nowhere on device 1"));
    inst_free(in);
    plan_free(p);
    for (int i = 0; i < 2; i++)
        dev_free(two[i]);
    free(a.dev);
    engine_close(&en);
}

// --- where it does not work
// ---------------------------------------------------------------------------

static void a_tower_that_is_not_as_expected_can_be_left_out(void **state)
{
    (void)state;
    static const char name[] = "v.blk.1.mlp.fc1.weight";
    const char *path = made_or_skip(__func__);
    struct engine_opts o = usual("cpu", false);
    struct engine en;
    struct err e = { 0 };
    char *bytes;
    size_t n;
    assert_true(file_read(&bytes, &n, path, 64 << 20, &e));
    char *at = memmem(bytes, n, name, sizeof name - 1);
    assert_non_null(at);
    at[6] = '7';
    FILE *f = fopen(path, "wb");
    assert_true(f && fwrite(bytes, 1, n, f) == n && fclose(f) == 0);
    free(bytes);

    assert_false(engine_open(&en, path, &o, NULL, NULL, &e));
    assert_int_equal(e.code, ERR_FORMAT);
    assert_non_null(strstr(e.msg, name));
    assert_non_null(strstr(e.msg, "--no-vision"));
    o.no_vision = true;
    open_engine(&en, path, &o);
    engine_close(&en);
}

static void a_tower_that_is_too_much_is_named_as_that(void **state)
{
    (void)state;
    const char *path = made_or_skip(__func__);
    struct engine_opts o = usual("sim:8", false);
    struct engine en;
    struct err e = { 0 };
    o.plan_only = true;
    for (o.ctx = 1024; engine_open(&en, path, &o, NULL, NULL, &e); o.ctx += KV_PAGE_TOKENS)
        engine_close(&en); // a page is smaller than the tower
    engine_close(&en);     // left open for questions
    assert_int_equal(e.code, ERR_NOFIT);
    assert_non_null(strstr(e.msg, "; --no-vision makes it fit"));
    o.no_vision = true;
    open_engine(&en, path, &o);
    engine_close(&en);
    o.ctx *= 4;
    assert_false(engine_open(&en, path, &o, NULL, NULL, &e));
    engine_close(&en);
    assert_null(strstr(e.msg, "--no-vision"));
    o.no_vision = false;
    assert_false(engine_open(&en, path, &o, NULL, NULL, &e));
    engine_close(&en);
    assert_null(strstr(e.msg, "--no-vision"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_tower_is_a_part_of_weights_alone),
        cmocka_unit_test(without_its_tower_a_model_has_the_graph_of_its_text),
        cmocka_unit_test(a_plan_without_the_tower_is_smaller_by_it_to_the_byte),
        cmocka_unit_test(a_tower_is_loaded_as_planned_and_changes_no_logit),
        cmocka_unit_test(a_tower_may_have_a_device_of_its_own),
        cmocka_unit_test(a_tower_that_is_not_as_expected_can_be_left_out),
        cmocka_unit_test(a_tower_that_is_too_much_is_named_as_that),
    };
    log_level_set(LOG_ERROR);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
