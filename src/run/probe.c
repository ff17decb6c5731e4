// probe.c - measures the CPU with decoders that exist only for it: weights are made up, the plan,
// the kernels and the lists that the device runs are those of a model.
//
// Time for a token is taken to be bytes of weights / speed + steps x time of a step (plan/time.c).
// Two decoders that read about as much tell these apart: one with few steps over wide matrices, one
// with many over narrow ones. A step's time is mostly that of threads that wait for each other and
// for the first bytes of the next matrix, not that of the work in it.

#include "run/probe.h"

#include "plan/plan.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

// --- memory --------------------------------------------------------------------------------------

enum { COPY_BYTES = 128 << 20, COPY_TIMES = 3, COPY_THREADS = 64 };

struct copy_job {
    char *dst;
    const char *src;
    size_t n;
};

static void *copy_run(void *p)
{
    struct copy_job *j = p;

    memcpy(j->dst, j->src, j->n);
    return NULL;
}

double probe_copy(int threads)
{
    char *buf = xmalloc(2 * (size_t)COPY_BYTES);
    pthread_t id[COPY_THREADS];
    struct copy_job job[COPY_THREADS];
    double best = 0;
    int n = threads < COPY_THREADS ? threads : COPY_THREADS;

    memset(buf, 1, 2 * (size_t)COPY_BYTES);
    for (int r = 0; r < COPY_TIMES; r++) {
        int64_t t0 = clock_ns();
        size_t part = (size_t)COPY_BYTES / (size_t)n;
        for (int i = 0; i < n; i++) {
            job[i] = (struct copy_job){ buf + COPY_BYTES + part * (size_t)i, buf + part * (size_t)i,
                                        part };
            if (i > 0 && pthread_create(&id[i], NULL, copy_run, &job[i]) != 0)
                n = i;
        }
        copy_run(&job[0]);
        for (int i = 1; i < n; i++)
            pthread_join(id[i], NULL);
        double speed = 2.0 * (double)part * n / ((double)(clock_ns() - t0) / 1e9);
        best = speed > best ? speed : best;
    }
    free(buf);
    return best;
}

// --- a decoder -----------------------------------------------------------------------------------

enum { HEAD_DIM = 64, MOST_WEIGHTS = 1024 };

struct shape {
    enum dtype type;
    int n_blocks, n_embd, n_ff, n_vocab, tokens;
};

struct decoder {
    struct weight_place place[MOST_WEIGHTS];
    bool is_vector[MOST_WEIGHTS];
    int n_weights;
    uint64_t bytes; // of all weights
    struct graph *graph;
    struct plan *plan;
    uint8_t *weights; // mapped
    struct dev *cpu;
    struct dev_mem arena[ARENA_COUNT];
    struct dims now;
    struct launch *list;
};

/// Names say what a weight is: "4096x512.12.7" is the 7th, a matrix of type 12; "4096.7" a vector.
static bool find_weight(void *ctx, const char *name, struct weight_info *out)
{
    struct decoder *d = ctx;
    long long cols, rows = 1;
    int type = DTYPE_F32, i = d->n_weights;

    if (i == MOST_WEIGHTS)
        return false;
    d->is_vector[i] = sscanf(name, "%lldx%lld.%d", &cols, &rows, &type) != 3;
    if (d->is_vector[i] && sscanf(name, "%lld", &cols) != 1)
        return false;
    *out = (struct weight_info){ .type = (enum dtype)type,
                                 .n_dims = d->is_vector[i] ? 1 : 2,
                                 .ne = { (uint64_t)cols, (uint64_t)rows, 1, 1 },
                                 .source = i };
    uint64_t bytes = dtype_row_bytes(out->type, cols) * (uint64_t)rows;
    d->place[i] = (struct weight_place){ 0, d->bytes, bytes };
    d->bytes += align_up_u64(bytes, 64);
    d->n_weights++;
    return true;
}

struct writer {
    struct gb *b;
    enum dtype type;
    int n;
};

static struct tensor *mat(struct writer *w, int64_t cols, int64_t rows)
{
    return gb_mat(w->b, cols, rows, "%lldx%lld.%d.%d", (long long)cols, (long long)rows,
                  (int)w->type, w->n++);
}

static struct tensor *norm(struct writer *w, struct tensor *x, int64_t n)
{
    return gb_rmsnorm(w->b, x, gb_vec(w->b, n, "%lld.%d", (long long)n, w->n++), 1e-5f);
}

static struct tensor *attention(struct writer *w, const struct shape *s, int il, struct tensor *h)
{
    const struct rope_freq f = { .rot = HEAD_DIM, .base = 10000, .linear = 1, .mscale = 1 };
    const struct attn_args a = { .n_heads = s->n_embd / HEAD_DIM,
                                 .n_kv_heads = s->n_embd / HEAD_DIM / 4,
                                 .head_dim = HEAD_DIM,
                                 .head_dim_v = HEAD_DIM,
                                 .scale = 0.125f,
                                 .il = il };
    struct tensor *table = gb_rope_table(w->b, &f, NULL);
    struct tensor *q = gb_matmul(w->b, h, mat(w, s->n_embd, s->n_embd), NULL);
    struct tensor *k = gb_matmul(w->b, h, mat(w, s->n_embd, s->n_embd / 4), NULL);
    struct tensor *v = gb_matmul(w->b, h, mat(w, s->n_embd, s->n_embd / 4), NULL);

    q = gb_rope(w->b, q, table, HEAD_DIM, HEAD_DIM, ROPE_NEOX);
    k = gb_rope(w->b, k, table, HEAD_DIM, HEAD_DIM, ROPE_NEOX);
    return gb_matmul(w->b, gb_attn(w->b, q, k, v, &a), mat(w, s->n_embd, s->n_embd), NULL);
}

/// The blocks of llama (arXiv:2302.13971) and a head, with a vocabulary of 8 on the way in.
static bool make_graph(struct decoder *d, const struct shape *s, struct err *e)
{
    struct writer w = { gb_new((struct weight_source){ find_weight, d }), s->type, 0 };

    gb_part(w.b, PART_EMBED, -1);
    struct tensor *x = gb_embed(w.b, gb_input(w.b, IN_TOKENS), mat(&w, s->n_embd, 8), 1);
    for (int il = 0; il < s->n_blocks; il++) {
        gb_part(w.b, PART_BLOCK, il);
        x = gb_add(w.b, x, attention(&w, s, il, norm(&w, x, s->n_embd)));
        struct tensor *h = norm(&w, x, s->n_embd);
        struct tensor *gate = gb_matmul(w.b, h, mat(&w, s->n_embd, s->n_ff), NULL);
        struct tensor *up = gb_matmul(w.b, h, mat(&w, s->n_embd, s->n_ff), NULL);
        h = gb_glu(w.b, gate, up, ACT_SILU);
        x = gb_add(w.b, x, gb_matmul(w.b, h, mat(&w, s->n_ff, s->n_embd), NULL));
    }
    gb_part(w.b, PART_HEAD, -1);
    x = norm(&w, gb_rows(w.b, x, gb_input(w.b, IN_OUT_IDS)), s->n_embd);
    gb_logits(w.b, gb_matmul_precise(w.b, x, mat(&w, s->n_embd, s->n_vocab), NULL));
    return graph_seal(&d->graph, w.b, e);
}

/// Small pages, as those of a file are. Vectors are ones; any bytes are a quantized matrix.
static bool make_weights(struct decoder *d, struct err *e)
{
    void *p = mmap(NULL, d->bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    if (p == MAP_FAILED)
        return err_set(e, ERR_NOMEM, "probe: no memory for %llu bytes",
                       (unsigned long long)d->bytes);
    (void)madvise(p, d->bytes, MADV_NOHUGEPAGE);
    d->weights = p;
    memset(p, 0x11, d->bytes);
    for (int i = 0; i < d->n_weights; i++)
        for (uint64_t k = 0; d->is_vector[i] && k < d->place[i].bytes; k += sizeof(float))
            *(float *)(void *)(d->weights + d->place[i].offset + k) = 1;
    return true;
}

static void *address(const struct decoder *d, int value)
{
    const struct slot *s = &d->plan->value[value].slot;

    return (s->mapped ? d->weights : (uint8_t *)d->arena[s->arena].p) + s->offset;
}

static struct launch make_launch(const struct decoder *d, const struct step *s)
{
    struct launch l = { .kernel = s->kernel,
                        .args = { .node = s->node, .now = &d->now },
                        .sync = s->sync };

    for (int i = 0; i < NODE_SRC; i++)
        l.args.src[i] = s->src[i] >= 0 ? address(d, s->src[i]) : NULL;
    for (int i = 0; i < NODE_DST; i++)
        l.args.dst[i] = s->dst[i] >= 0 ? address(d, s->dst[i]) : NULL;
    if (s->scratch >= 0)
        l.args.scratch = address(d, s->scratch);
    l.args.src0 = s->src[0] >= 0 ? d->plan->value[s->src[0]].format : DTYPE_F32;
    l.args.dst0 = s->dst[0] >= 0 ? d->plan->value[s->dst[0]].format : DTYPE_F32;
    return l;
}

/// Tokens 0 at positions 0, 1, ... of one sequence; pages in order.
static void set_inputs(struct decoder *d)
{
    static const enum input counting[] = { IN_POS, IN_PAGE_TABLE };

    for (size_t i = 0; i < ARRAY_LEN(counting); i++) {
        int v = d->plan->input[counting[i]];
        uint64_t n = v >= 0 ? d->plan->value[v].slot.bytes / sizeof(int32_t) : 0;
        for (uint64_t k = 0; k < n; k++)
            ((int32_t *)address(d, v))[k] = (int32_t)k;
    }
}

static bool make_plan(struct decoder *d, const struct shape *s, struct err *e)
{
    const struct limits lim = {
        .micro_batch = s->tokens, .outputs = 1, .slots = 1, .ctx = s->tokens, .kv = DTYPE_F16
    };
    struct assign a = { graph_n_parts(d->graph),
                        xcalloc((size_t)graph_n_parts(d->graph), sizeof(int)) };
    bool ok = plan_make(&d->plan, d->graph, d->place, &a, &lim, &d->cpu, 1, e);

    free(a.dev);
    return ok;
}

static bool decoder_init(struct decoder *d, struct dev *cpu, const struct shape *s, struct err *e)
{
    *d = (struct decoder){ .cpu = cpu };
    if (!make_graph(d, s, e) || !make_plan(d, s, e) || !make_weights(d, e))
        return false;
    for (int a = 0; a < ARENA_COUNT; a++)
        if (!cpu->ops->alloc(cpu, d->plan->dev[0].arena_bytes[a], &d->arena[a], e))
            return false;
    d->now = d->plan->max;
    set_inputs(d);
    d->list = xcalloc((size_t)d->plan->n_steps, sizeof(*d->list));
    for (int i = 0; i < d->plan->n_steps; i++)
        d->list[i] = make_launch(d, &d->plan->step[i]);
    return true;
}

static void decoder_done(struct decoder *d)
{
    for (int a = 0; a < ARENA_COUNT; a++)
        d->cpu->ops->release(d->cpu, &d->arena[a]);
    if (d->weights != NULL)
        munmap(d->weights, d->bytes);
    free(d->list);
    plan_free(d->plan);
    graph_free(d->graph);
}

// --- times ---------------------------------------------------------------------------------------

enum {
    ROUNDS = 101, // as many as there is time for
    LEAST_ROUNDS = 9,
    HOPS = 101,
    PROMPTS = 4,
    LEAST_STEP_NS = 100,
};
#define ROUNDS_NS INT64_C(2500000000)

static int by_time(const void *a, const void *b)
{
    const int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;

    return (x > y) - (x < y);
}

/// The lower quartile: others use the machine, too, but not always.
static double quartile(const int64_t *ns, int n)
{
    int64_t sorted[ROUNDS];

    ASSERT(n > 0 && n <= ROUNDS);
    memcpy(sorted, ns, (size_t)n * sizeof(ns[0]));
    qsort(sorted, (size_t)n, sizeof(ns[0]), by_time);
    return (double)sorted[n / 4];
}

/// Time that the process had, on all cores.
static int64_t cpu_time_ns(void)
{
    struct timespec t;

    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

/// Nanoseconds of the first n launches.
static int64_t time_list(const struct decoder *d, int n)
{
    const int64_t t0 = clock_ns();

    (void)d->cpu->ops->run(d->cpu, d->list, n, NULL);
    return clock_ns() - t0;
}

/// One token through a decoder, again and again.
struct timing {
    int64_t ns[ROUNDS];
    int n;
    double bytes;
    int steps;
};

enum { WIDE_Q4_K, WIDE_Q8_0, NARROW, N_DECODERS };

/// In turns, so that what else goes on slows down all of them, and none finds its weights, 100 MB
/// and more, in a cache. *share: see probe.cpu_share.
static bool time_decoders(struct timing *out, double *share, struct dev *cpu, struct err *e)
{
    static const struct shape shapes[N_DECODERS] = {
        [WIDE_Q4_K] = { DTYPE_Q4_K, 3, 2048, 8192, 8, 1 },
        [WIDE_Q8_0] = { DTYPE_Q8_0, 2, 2048, 8192, 8, 1 },
        [NARROW] = { DTYPE_Q4_K, 60, 512, 1536, 8, 1 },
    };
    struct decoder *d = xcalloc(N_DECODERS, sizeof(*d));
    bool ok = true;
    int n = 0;

    for (; n < N_DECODERS && ok; n++) {
        ok = decoder_init(&d[n], cpu, &shapes[n], e);
    }
    for (int i = 0; i < N_DECODERS && ok; i++) {
        out[i] = (struct timing){ .bytes = (double)d[i].plan->dev[0].read_bytes,
                                  .steps = d[i].plan->n_steps };
        (void)time_list(&d[i], d[i].plan->n_steps); // touches everything once
    }
    const int64_t start = clock_ns(), end = start + ROUNDS_NS, cpu_start = cpu_time_ns();
    for (int r = 0; ok && r < ROUNDS && (r < LEAST_ROUNDS || clock_ns() < end); r++)
        for (int i = 0; i < N_DECODERS; i++)
            out[i].ns[out[i].n++] = time_list(&d[i], d[i].plan->n_steps);
    *share =
        (double)(cpu_time_ns() - cpu_start) / (double)(clock_ns() - start) / cpu_dev_threads(cpu);
    while (n > 0)
        decoder_done(&d[--n]);
    free(d);
    return ok;
}

/// Multiply-adds a second of a prompt through one block.
static bool time_prompt(double *out, struct dev *cpu, struct err *e)
{
    const struct shape s = { DTYPE_Q4_K, 1, 2048, 8192, 8, 256 };
    const double products = 2.5 * s.n_embd * s.n_embd + 3.0 * s.n_embd * s.n_ff;
    struct decoder *d = xcalloc(1, sizeof(*d));
    int64_t ns[PROMPTS];
    bool ok = decoder_init(d, cpu, &s, e);

    for (int i = 0; i < PROMPTS && ok; i++)
        ns[i] = time_list(d, d->plan->n_steps);
    if (ok)
        *out = products * s.tokens / quartile(ns, PROMPTS) * 1e9;
    decoder_done(d);
    free(d);
    return ok;
}

/// What handing over to another device costs: a list of its own for each.
static bool time_hop(int64_t *out, struct dev *cpu, struct err *e)
{
    const struct shape s = { DTYPE_Q4_K, 1, 256, 256, 8, 1 };
    struct decoder *d = xcalloc(1, sizeof(*d));
    int64_t ns[HOPS];
    bool ok = decoder_init(d, cpu, &s, e);

    for (int i = 0; i < HOPS && ok; i++)
        ns[i] = time_list(d, 1);
    if (ok)
        *out = (int64_t)quartile(ns, HOPS);
    decoder_done(d);
    free(d);
    return ok;
}

/// What bytes do not explain of the narrow decoder's time.
static double step_time(const struct timing *wide, const struct timing *narrow)
{
    const double part = narrow->bytes / wide->bytes;
    const double ns = (quartile(narrow->ns, narrow->n) - part * quartile(wide->ns, wide->n)) /
                      (narrow->steps - part * wide->steps);

    return ns > LEAST_STEP_NS ? ns : LEAST_STEP_NS;
}

static double speed_of(const struct timing *t, double step_ns)
{
    return t->bytes / (quartile(t->ns, t->n) - t->steps * step_ns) * 1e9;
}

bool probe_measure(struct probe *out, struct dev *cpu, struct err *e)
{
    struct timing t[N_DECODERS];
    struct dev_info assumed = { 0 };

    probe_describe(out, cpu);
    probe_assume(&assumed, out->threads); // a plan counts what is read where speeds are known
    cpu_dev_describe(cpu, &assumed);
    cpu->ops->info(cpu, &out->info);
    out->info.speed_assumed = false;
    if (!time_decoders(t, &out->cpu_share, cpu, e) || !time_prompt(&out->info.ops_per_s, cpu, e) ||
        !time_hop(&out->info.hop_ns, cpu, e))
        return false;
    const double step_ns = step_time(&t[WIDE_Q4_K], &t[NARROW]);
    out->q4_k_bytes_per_s = speed_of(&t[WIDE_Q4_K], step_ns);
    out->q8_0_bytes_per_s = speed_of(&t[WIDE_Q8_0], step_ns);
    out->info.bytes_per_s = 2 / (1 / out->q4_k_bytes_per_s + 1 / out->q8_0_bytes_per_s);
    out->info.step_ns = (int64_t)step_ns;
    out->copy_bytes_per_s = probe_copy(out->threads);
    out->info.link_bytes_per_s = out->copy_bytes_per_s / 2;
    return true;
}
