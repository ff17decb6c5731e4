// test_exec.c - the same bits whatever the batch, the threads, the devices; nothing outside its
// slot; nothing allocated.

#include "run/tiny.h"
#include "run/vectors.h"

#include <malloc.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { N = 150 };

static const char *const arch[] = { "llama", "gemma3" };

static float *logits_with(const char *name, bool quantized, const struct engine_opts *o,
                          const int32_t *id, int n, int chunk)
{
    struct engine en;

    tiny_open(&en, name, quantized, o);
    float *l = eval_all(&en, id, n, chunk);
    engine_close(&en);
    return l;
}

static void assert_same_bits(const float *a, const float *b, int n)
{
    size_t bytes = (size_t)n * TINY_VOCAB * sizeof(float);

    for (size_t i = 0; i < bytes / sizeof(float); i++)
        assert_true(a[i] == a[i]); // no NaN of uninitialised memory
    assert_memory_equal(a, b, bytes);
}

/// Compares all of `o` against one thread, one device, one token at a time.
static void compare_bits(struct engine_opts *o, int n_opts, bool exact, enum dtype kv)
{
    int32_t id[N];

    tiny_tokens(id, N, 1);
    for (size_t a = 0; a < ARRAY_LEN(arch); a++) {
        struct engine_opts one = {
            .ctx = 256, .micro_batch = 1, .threads = 1, .exact = exact, .kv = kv, .kv_set = true
        };
        float *want = logits_with(arch[a], true, &one, id, N, 0);
        for (int i = 0; i < n_opts; i++) {
            o[i].ctx = 256;
            o[i].exact = exact;
            o[i].kv = kv;
            o[i].kv_set = true;
            o[i].outputs = o[i].micro_batch;
            float *got = logits_with(arch[a], true, &o[i], id, N, 0);
            assert_same_bits(want, got, N);
            free(got);
        }
        free(want);
    }
}

static void bits_do_not_depend_on_the_micro_batch(void **state)
{
    struct engine_opts o[] = { { .micro_batch = 7, .threads = 1 },
                               { .micro_batch = 64, .threads = 1 },
                               { .micro_batch = 256, .threads = 2 } };

    (void)state;
    compare_bits(o, ARRAY_LEN(o), false, DTYPE_F16);
    compare_bits(o, ARRAY_LEN(o), false, DTYPE_Q8_0);
    compare_bits(o, ARRAY_LEN(o), true, DTYPE_F32);
}

static void bits_do_not_depend_on_the_threads(void **state)
{
    struct engine_opts o[] = { { .micro_batch = 1, .threads = 2 },
                               { .micro_batch = 64, .threads = 2 },
                               { .micro_batch = 64, .threads = 3 } };

    (void)state;
    compare_bits(o, ARRAY_LEN(o), false, DTYPE_F16);
}

static void bits_do_not_depend_on_the_devices(void **state)
{
    struct engine_opts o[] = {
        { .micro_batch = 64, .threads = 2, .on = "sim:64" },
        { .micro_batch = 33, .threads = 2, .on = "sim:3,sim:3" },
        { .micro_batch = 64, .threads = 1, .on = "sim:2,sim:2,sim:2" },
        { .micro_batch = 64, .threads = 2, .on = "sim:2,sim:2,sim:2,sim:2" },
        { .micro_batch = 64, .threads = 2, .on = "cpu" },
    };

    (void)state;
    compare_bits(o, ARRAY_LEN(o), false, DTYPE_F16);
}

static void bits_do_not_depend_on_the_context_planned_for(void **state)
{
    struct engine_opts small = { .ctx = 192, .threads = 2, .micro_batch = 64, .outputs = 64 },
                       large = small;
    int32_t id[N];

    (void)state;
    large.ctx = 8192;
    tiny_tokens(id, N, 2);
    for (size_t a = 0; a < ARRAY_LEN(arch); a++) {
        float *x = logits_with(arch[a], true, &small, id, N, 0),
              *y = logits_with(arch[a], true, &large, id, N, 0);
        assert_same_bits(x, y, N);
        free(x);
        free(y);
    }
}

// --- by hand: plans with guards, several slots
// ------------------------------------------------------

/// What an engine is made of, with a plan of our own.
struct rig {
    struct gguf *gguf;
    struct model *model;
    struct graph *graph;
    struct dev *cpu, *dev[4];
    struct weight_place *places;
    struct plan *plan;
    struct inst *inst;
    int n_devs;
};

static void rig_open(struct rig *r, const char *path, const struct limits *lim, int n_devs)
{
    struct err e = { 0 };
    struct assign a;

    *r = (struct rig){ .n_devs = n_devs };
    if (!gguf_open(&r->gguf, path, NULL, &e) || !model_read(&r->model, r->gguf, &e) ||
        !model_graph(&r->graph, r->model, r->gguf, &e) ||
        !cpu_dev_new(&r->cpu, &(struct cpu_opts){ .threads = 2 }, &e))
        fail_msg("%s", e.msg);
    int n = gguf_n_tensors(r->gguf);
    r->places = xcalloc((size_t)n, sizeof(*r->places));
    for (int i = 0; i < n; i++) {
        const struct gguf_tensor *t = gguf_tensor(r->gguf, i);
        r->places[i] = (struct weight_place){ t->file, t->offset, t->bytes };
    }
    for (int i = 0; i < n_devs; i++)
        r->dev[i] = sim_dev_new(
            &(struct sim_opts){ .name = "sim", .capacity_bytes = 1 << 30, .cpu = r->cpu });
    assign_even(&a, r->graph, n_devs);
    if (!plan_make(&r->plan, r->graph, r->places, &a, lim, r->dev, n_devs, &e) ||
        !plan_check(r->plan, &e) || !inst_load(&r->inst, r->plan, r->gguf, r->dev, NULL, NULL, &e))
        fail_msg("%s", e.msg);
    free(a.dev);
}

static void rig_close(struct rig *r)
{
    inst_free(r->inst);
    plan_free(r->plan);
    for (int i = 0; i < r->n_devs; i++)
        dev_free(r->dev[i]);
    dev_free(r->cpu);
    free(r->places);
    graph_free(r->graph);
    model_free(r->model);
    gguf_close(r->gguf);
}

static void guards_are_intact_after_every_step(void **state)
{
    int32_t id[N];

    (void)state;
    tiny_tokens(id, N, 3);
    for (int i = 0; i < 8; i++) {
        struct limits lim = { .micro_batch = 40,
                              .outputs = 40,
                              .slots = 1,
                              .ctx = 192,
                              .kv = DTYPE_F16,
                              .guard_bytes = 64 };
        struct engine_opts plain = { .ctx = 192, .micro_batch = 40, .outputs = 40, .threads = 2 };
        struct rig r;
        lim.exact = plain.exact = (i & 2) != 0;
        lim.kv = plain.kv = (i & 4) != 0 ? DTYPE_Q8_0 : DTYPE_F16;
        plain.kv_set = true;
        rig_open(&r, tiny_model(arch[i & 1], true), &lim, 1 + i % 3);
        struct engine en = { .model = r.model, .inst = r.inst, .kv = kv_pool_new(r.inst) };
        float *got = eval_all(&en, id, N, 0),
              *want = logits_with(arch[i & 1], true, &plain, id, N, 0);
        assert_same_bits(want, got, N); // NaN before and after each life, and the same bits
        free(got);
        free(want);
        kv_pool_free(en.kv);
        rig_close(&r);
    }
}

static void sequences_in_one_batch_do_not_see_each_other(void **state)
{
    enum { SLOTS = 3, LEN = 70 };
    const struct engine_opts o = { .ctx = 128, .slots = SLOTS, .micro_batch = 32, .threads = 2 };
    int32_t id[SLOTS][LEN];

    (void)state;
    for (int s = 0; s < SLOTS; s++)
        tiny_tokens(id[s], LEN, 10 + (uint64_t)s);
    for (size_t a = 0; a < ARRAY_LEN(arch); a++) {
        struct engine en;
        struct seq *seq[SLOTS];
        struct err e = { 0 };
        float *want[SLOTS];
        for (int s = 0; s < SLOTS; s++) {
            struct engine_opts alone = { .ctx = 128, .micro_batch = 1, .threads = 1 };
            want[s] = logits_with(arch[a], true, &alone, id[s], LEN, 0);
        }
        tiny_open(&en, arch[a], true, &o);
        for (int s = 0; s < SLOTS; s++) // prompts of different lengths, then all in step
            assert_true(seq_new(&seq[s], en.kv, &e) &&
                        seq_eval(seq[s], id[s], 5 + 11 * s, NULL, NULL, &e));
        for (int step = 0; step < 30; step++) {
            int32_t now[SLOTS];
            for (int s = 0; s < SLOTS; s++)
                now[s] = id[s][seq_n_past(seq[s])];
            assert_true(seq_eval_each(seq, now, SLOTS, &e));
            for (int s = 0; s < SLOTS; s++)
                assert_memory_equal(inst_logits(en.inst, s),
                                    want[s] + (size_t)(seq_n_past(seq[s]) - 1) * TINY_VOCAB,
                                    TINY_VOCAB * sizeof(float));
        }
        for (int s = 0; s < SLOTS; s++) {
            seq_free(seq[s]);
            free(want[s]);
        }
        engine_close(&en);
    }
}

/// All tokens of two prompts and a decode step in one batch, with logits picked here and there.
static void a_mixed_batch_gives_each_its_own(void **state)
{
    const struct limits lim = {
        .micro_batch = 32, .outputs = 4, .slots = 3, .ctx = 128, .kv = DTYPE_F16
    };
    int32_t id[3][16], token[32], pos[32], slot[32], table[6] = { 4, -1, 1, -1, 3, -1 };
    struct engine_opts alone = { .ctx = 128, .micro_batch = 1, .threads = 1 };
    struct err e = { 0 };
    struct rig r;

    (void)state;
    rig_open(&r, tiny_model("gemma3", true), &lim, 2);
    for (int s = 0; s < 3; s++)
        tiny_tokens(id[s], 16, 20 + (uint64_t)s);
    struct batch first = { 9,
                           id[2],
                           (int32_t[]){ 0, 1, 2, 3, 4, 5, 6, 7, 8 },
                           (int32_t[]){ 2, 2, 2, 2, 2, 2, 2, 2, 2 },
                           0,
                           NULL,
                           table };
    assert_true(inst_eval(r.inst, &first, &e));
    int n = 0;
    for (int s = 2; s >= 0; s--) // slot 2 goes on at 9; 1 and 0 begin
        for (int i = s == 2 ? 9 : 0; i < (s == 2 ? 10 : s == 1 ? 13 : 7); i++, n++) {
            token[n] = id[s][i];
            pos[n] = i;
            slot[n] = s;
        }
    struct batch b = { n, token, pos, slot, 3, (int32_t[]){ 0, 5, n - 1 }, table };
    if (!inst_eval(r.inst, &b, &e))
        fail_msg("%s", e.msg);
    for (int i = 0; i < 3; i++) {
        int t = b.output[i];
        float *want = logits_with("gemma3", true, &alone, id[slot[t]], 16, 0);
        assert_memory_equal(inst_logits(r.inst, i), want + pos[t] * TINY_VOCAB,
                            TINY_VOCAB * sizeof(float));
        free(want);
    }
    rig_close(&r);
}

static void batches_that_make_no_sense_are_refused(void **state)
{
    const struct limits lim = {
        .micro_batch = 8, .outputs = 2, .slots = 2, .ctx = 64, .kv = DTYPE_F16
    };
    int32_t token[9] = { 0 }, pos[9], slot[9] = { 0 }, out[3] = { 0, 1, 2 }, table[2] = { 0, 1 };
    struct rig r;

    (void)state;
    rig_open(&r, tiny_model("llama", false), &lim, 1);
    for (int i = 0; i < 9; i++)
        pos[i] = i;
    const struct batch good = { 4, token, pos, slot, 2, out, table };
    for (int i = 0; i < 13; i++) {
        struct err e = { 0 };
        struct batch b = good;
        int32_t bad[9] = { 0, 1, 2, 3 };
        switch (i) {
        case 0:
            b.n_tokens = 0;
            break;
        case 1:
            b.n_tokens = 9;
            break;
        case 2:
            b.n_outputs = 3;
            break;
        case 3:
            b.token = (bad[1] = TINY_VOCAB, bad);
            break;
        case 4:
            b.token = (bad[1] = -1, bad);
            break;
        case 5:
            b.pos = (bad[0] = 61, bad[1] = 62, bad[2] = 63, bad[3] = 64, bad);
            break;
        case 6:
            b.pos = (bad[2] = 7, bad);
            break;
        case 7:
            b.slot = (bad[0] = bad[1] = bad[2] = 0, bad[3] = 2, bad);
            break;
        case 8:
            b.slot = (bad[0] = 0, bad[1] = 1, bad[2] = bad[3] = 0, bad);
            break;
        case 9:
            b.output = (bad[0] = 1, bad[1] = 1, bad);
            break;
        case 10:
            b.output = (bad[1] = 4, bad);
            break;
        case 11:
            b.page_table = (bad[0] = 2, bad);
            break;
        default:
            b.page_table = (bad[0] = -1, bad);
            break;
        }
        assert_false(inst_eval(r.inst, &b, &e));
        assert_int_equal(e.code, ERR_ARG);
        assert_int_equal(inst_n_outputs(r.inst), 0);
    }
    struct err e = { 0 };
    assert_true(inst_eval(r.inst, &good, &e));
    rig_close(&r);
}

static void a_thousand_tokens_allocate_nothing(void **state)
{
    enum { TOKENS = 1000 };
    const struct engine_opts o = {
        .ctx = 1200,
        .micro_batch = 32,
        .threads = 2,
        .on = "sim:8,sim:3,sim:3",
    };
    struct engine en;
    struct seq *s;
    struct sim_stats before[3], after[3];
    struct err e = { 0 };
    int32_t id[TOKENS];

    (void)state;
    tiny_tokens(id, TOKENS, 4);
    tiny_open(&en, "gemma3", true, &o);
    assert_true(seq_new(&s, en.kv, &e) && seq_eval(s, id, 100, NULL, NULL, &e));
    for (int d = 0; d < 3; d++)
        sim_dev_stats(en.dev[d], &before[d]);
    struct mallinfo2 host = mallinfo2();
    for (int i = 0; i < TOKENS; i++)
        assert_true(seq_eval(s, &id[i], 1, NULL, NULL, &e));
    struct mallinfo2 now = mallinfo2();
    assert_true(now.uordblks == host.uordblks && now.hblkhd == host.hblkhd);
    for (int d = 0; d < 3; d++) {
        sim_dev_stats(en.dev[d], &after[d]);
        assert_memory_equal(&before[d], &after[d], sizeof(before[d]));
        assert_int_equal(after[d].allocs_after_seal, 0);
    }
    seq_free(s);
    engine_close(&en);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bits_do_not_depend_on_the_micro_batch),
        cmocka_unit_test(bits_do_not_depend_on_the_threads),
        cmocka_unit_test(bits_do_not_depend_on_the_devices),
        cmocka_unit_test(bits_do_not_depend_on_the_context_planned_for),
        cmocka_unit_test(guards_are_intact_after_every_step),
        cmocka_unit_test(sequences_in_one_batch_do_not_see_each_other),
        cmocka_unit_test(a_mixed_batch_gives_each_its_own),
        cmocka_unit_test(batches_that_make_no_sense_are_refused),
        cmocka_unit_test(a_thousand_tokens_allocate_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
