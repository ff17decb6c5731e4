// test_bits.c - every architecture, run in every way: the same bits whatever the batch, the
// threads, the devices and how parts are spread over them; nothing outside its slot; every byte as
// planned.

#include "model/made.h"
#include "run/vectors.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { N = 80, VOCAB = MADE_VOCAB, SLOTS = 3, MAX_DEVS = 5 }; // with the host

/// Windows and contexts are shorter than the prompt; types as mixed as files have them.
static const char *const models[] = {
    "--arch llama --type Q4_K_M --layers 4 --heads 8 --kv-heads 2",
    "--arch llama --type Q4_0 --embd 128 --experts 5 --experts-used 2",
    "--arch mistral3 --type Q5_1 --embd 128 --orig-ctx 32",
    "--arch gemma2 --type Q4_K_M --layers 4 --window 24 --head-dim 96",
    "--arch gemma3 --type Q4_K_M --layers 6 --window 24 --vision",
    "--arch qwen2 --type Q4_K_M --layers 3 --tied",
    "--arch olmo2 --type Q4_K_M --layers 4 --window 24",
    "--arch granite --type Q4_K_M --layers 3 --kv-heads 1",
    "--arch qwen3 --type Q6_K --head-dim 96",
    "--arch qwen3moe --type Q4_K_M --layers 3 --experts 9 --experts-used 3",
    "--arch phi3 --type Q4_K_M --rope-dim 48",
    "--arch phi3 --type Q8_0 --embd 128 --rope-factors --orig-ctx 64",
    "--arch command-r --type Q5_K --qk-norm",
    "--arch cohere2 --type Q4_K_M --layers 5 --window 24",
    "--arch gpt-oss --type MXFP4 --layers 4 --window 24 --experts 7 --experts-used 3",
    "--arch gptoss --type MXFP4 --layers 3 --window 24 --experts 7 --experts-used 3",
    "--arch deepseek2 --type Q4_K_M --layers 4 --experts 8 --groups 4 --groups-used 2 --shared 2",
    "--arch deepseek2 --type Q8_0 --layers 3 --embd 128 --old-mla",
    "--arch deepseek2 --type F32 --embd 72 --heads 3 --head-dim 28 --rope-dim 12",
};

/// A way to run.
struct way {
    int micro_batch, threads;
    int n_devs; // simulated; 0: on the CPU itself
    enum {
        RUNS,    // parts one after another, about as many on each device
        IN_TURN, // dealt out to the devices in turn
        ROWS,    // in runs, the embedding with the host's CPU
        EXPERTS, // embedding and experts with the host
        BLOCKS,  // the first half of the blocks with the host, the rest in runs
    } spread;
    uint64_t guard_bytes;
};
static const struct way ways[] = {
    { 7, 1, 0, RUNS, 0 },      { 33, 3, 0, RUNS, 64 },    { 80, 2, 2, RUNS, 64 },
    { 24, 2, 2, IN_TURN, 64 }, { 80, 1, 3, RUNS, 64 },    { 40, 2, 4, IN_TURN, 0 },
    { 40, 2, 2, ROWS, 64 },    { 33, 2, 2, EXPERTS, 64 }, { 80, 1, 1, BLOCKS, 64 },
};

struct kind {
    bool exact;
    enum dtype kv;
};

// --- a model, loaded in some way
// ----------------------------------------------------------------------

struct file {
    struct made m;
    struct weight_place *places;
};

static void file_open(struct file *f, const char *path)
{
    made_open(&f->m, path);
    int n = gguf_n_tensors(f->m.gguf);
    f->places = xcalloc((size_t)n, sizeof *f->places);
    for (int i = 0; i < n; i++) {
        const struct gguf_tensor *t = gguf_tensor(f->m.gguf, i);
        f->places[i] = (struct weight_place){ t->file, t->offset, t->bytes };
    }
}

static void file_close(struct file *f)
{
    free(f->places);
    made_close(&f->m);
}

struct loaded {
    struct engine en; // model, inst and kv only
    struct dev *cpu, *dev[MAX_DEVS];
    struct plan *plan;
    int n_devs;
};

static void spread(struct assign *a, const struct graph *g, const struct way *w, int n_devs)
{
    const int host = w->n_devs;

    assign_even(a, g, n_devs);
    for (int i = 1; i < a->n_parts; i++) {
        const struct part *p = graph_part(g, i);
        if (w->spread == IN_TURN)
            a->dev[i] = i % n_devs;
        if ((w->spread >= ROWS && p->kind == PART_EMBED) ||
            (w->spread == EXPERTS && p->kind == PART_EXPERTS) ||
            (w->spread == BLOCKS && p->kind != PART_HEAD && i < a->n_parts / 2))
            a->dev[i] = host;
    }
}

static void load(struct loaded *l, const struct file *f, const struct way *w, struct kind kind,
                 int slots)
{
    const struct limits lim = { .micro_batch = w->micro_batch,
                                .outputs = w->micro_batch,
                                .slots = slots,
                                .ctx = 128,
                                .kv = kind.kv,
                                .exact = kind.exact,
                                .guard_bytes = w->guard_bytes };
    struct err e = { 0 };
    struct assign a;
    *l = (struct loaded){ .n_devs = w->n_devs };
    const int n_devs = w->n_devs > 0 ? w->n_devs : 1;
    const bool host = w->spread >= ROWS;
    if (!cpu_dev_new(&l->cpu, &(struct cpu_opts){ .threads = w->threads }, &e))
        fail_msg("%s", e.msg);
    l->dev[0] = l->cpu;
    for (int i = 0; i < w->n_devs; i++)
        l->dev[i] = sim_dev_new(
            &(struct sim_opts){ .name = "sim", .capacity_bytes = 1 << 30, .cpu = l->cpu });
    if (host)
        l->dev[n_devs] = l->cpu;
    spread(&a, f->m.graph, w, n_devs);
    if (!plan_make(&l->plan, f->m.graph, f->places, &a, &lim, l->dev, n_devs + host, &e) ||
        !plan_check(l->plan, &e) ||
        !inst_load(&l->en.inst, l->plan, f->m.gguf, l->dev, NULL, NULL, &e))
        fail_msg("%s", e.msg); // inst_load compares what was allocated with the plan
    l->en.model = f->m.model;
    l->en.kv = kv_pool_new(l->en.inst);
    free(a.dev);
}

static void unload(struct loaded *l)
{
    kv_pool_free(l->en.kv);
    inst_free(l->en.inst);
    plan_free(l->plan);
    for (int i = 0; i < l->n_devs; i++)
        dev_free(l->dev[i]);
    dev_free(l->cpu);
}

static void nothing_allocated_since(const struct loaded *l)
{
    for (int i = 0; i < l->n_devs; i++) {
        struct sim_stats s;
        sim_dev_stats(l->dev[i], &s);
        assert_int_equal(s.allocs_after_seal, 0);
    }
}

/// Logits of all of `id`: [N][VOCAB], free().
static float *run(const struct file *f, const struct way *w, struct kind kind, const int32_t *id)
{
    struct loaded l;
    load(&l, f, w, kind, 1);
    float *got = eval_all(&l.en, id, N, 0);
    nothing_allocated_since(&l);
    unload(&l);
    return got;
}

// --- the ways compared
// --------------------------------------------------------------------------------

static int32_t token(int seq, int i)
{
    return (int32_t)(((unsigned)i * 2654435761u + (unsigned)seq * 40503u) >> 7) % VOCAB;
}

static void check_bits(const char *args, const float *want, const float *got)
{
    for (int i = 0; i < N * VOCAB; i++)
        if (want[i] != want[i] || memcmp(&want[i], &got[i], sizeof *want) != 0)
            fail_msg("%s: token %d, logit %d: %a, %a", args, i / VOCAB, i % VOCAB, (double)want[i],
                     (double)got[i]);
}

static void compare_ways(const char *args, const struct file *f)
{
    static const struct kind kinds[] = { { false, DTYPE_F16 },
                                         { false, DTYPE_Q8_0 },
                                         { true, DTYPE_F32 } };
    int32_t id[N];
    for (int i = 0; i < N; i++)
        id[i] = token(0, i);
    for (size_t k = 0; k < ARRAY_LEN(kinds); k++) {
        const struct way one = { k == 0 ? 1 : 5, 1, 0, RUNS, 0 };
        float *want = run(f, &one, kinds[k], id);
        for (size_t i = k == 0 ? 0 : 3; i < (k == 0 ? ARRAY_LEN(ways) : 4); i++) {
            float *got = run(f, &ways[i], kinds[k], id);
            check_bits(args, want, got);
            free(got);
        }
        free(want);
    }
}

/// Several sequences at different places, one token of each in a batch.
static void compare_sequences(const char *args, const struct file *f)
{
    const struct way one = { 40, 1, 0, RUNS, 0 }, both = { 32, 2, 2, ROWS, 0 };
    const struct kind kind = { false, DTYPE_F16 };
    struct loaded l;
    struct seq *seq[SLOTS];
    struct err e = { 0 };
    int32_t id[SLOTS][N];
    float *want[SLOTS];
    for (int s = 0; s < SLOTS; s++) {
        for (int i = 0; i < N; i++)
            id[s][i] = token(s, i);
        want[s] = run(f, &one, kind, id[s]);
    }
    load(&l, f, &both, kind, SLOTS);
    for (int s = 0; s < SLOTS; s++)
        assert_true(seq_new(&seq[s], l.en.kv, &e) &&
                    seq_eval(seq[s], id[s], 5 + 25 * s, NULL, NULL, &e));
    for (int step = 0; step < 8; step++) {
        int32_t now[SLOTS];
        for (int s = 0; s < SLOTS; s++)
            now[s] = id[s][seq_n_past(seq[s])];
        assert_true(seq_eval_each(seq, now, SLOTS, &e));
        for (int s = 0; s < SLOTS; s++)
            if (memcmp(inst_logits(l.en.inst, s),
                       want[s] + (size_t)(seq_n_past(seq[s]) - 1) * VOCAB,
                       VOCAB * sizeof(float)) != 0)
                fail_msg("%s: sequence %d of several, step %d", args, s, step);
    }
    nothing_allocated_since(&l);
    for (int s = 0; s < SLOTS; s++) {
        seq_free(seq[s]);
        free(want[s]);
    }
    unload(&l);
}

static void for_each_model(const char *test, void (*fn)(const char *args, const struct file *f))
{
    if (!can_make(test))
        skip();
    for (size_t i = 0; i < ARRAY_LEN(models); i++) {
        struct file f;
        file_open(&f, make_model("%s", models[i]));
        fn(models[i], &f);
        file_close(&f);
    }
}

static void every_architecture_gives_the_same_bits_however_it_is_run(void **state)
{
    (void)state;
    for_each_model(__func__, compare_ways);
}

static void every_architecture_keeps_sequences_apart(void **state)
{
    (void)state;
    for_each_model(__func__, compare_sequences);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_architecture_gives_the_same_bits_however_it_is_run),
        cmocka_unit_test(every_architecture_keeps_sequences_apart),
    };
    log_level_set(LOG_ERROR);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
