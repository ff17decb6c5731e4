// bench.c - snug bench: tokens per second on the path that `run` takes, beside what the memory can
// do.

#include "cli/cli.h"
#include "run/probe.h"

#include <stdlib.h>
#include <string.h>

struct bench {
    struct engine en;
    struct seq *seq;
    int32_t *token; // prompt and depth
    int reps;
    double *prompt_tps, *decode_tps; // [reps]
    double first_token_ms, copy_bytes_per_s;
};

/// Bytes that one token reads: weights of matrices and vectors, and the stored keys and values.
static double bytes_per_token(const struct plan *p, int depth)
{
    double sum = 0;
    for (int i = 0; i < p->n_values; i++) {
        const struct tensor *t = p->value[i].t;
        if (t && t->role == ROLE_WEIGHT && !t->rows_used && !t->held)
            sum += (double)p->value[i].slot.bytes;
        if (t && t->role == ROLE_STATE) {
            int window = t->d[3].arg;
            int64_t seen = window > 0 && window < depth ? window : depth;
            sum += (double)state_head_bytes(t, p->max.kv) * (double)t->d[2].n * (double)seen /
                   KV_PAGE_TOKENS;
        }
    }
    return sum;
}

// --- measuring
// ----------------------------------------------------------------------------------------

static bool decode(struct bench *b, int n, struct err *e)
{
    int n_vocab = b->en.model->n_vocab;
    for (int i = 0; i < n; i++) {
        int32_t id = logits_argmax(inst_logits(b->en.inst, 0), n_vocab);
        if (interrupted())
            return err_set(e, ERR_CANCELLED, "interrupted");
        if (!seq_eval(b->seq, &id, 1, NULL, NULL, e))
            return false;
    }
    return true;
}

/// One repetition: `depth` tokens first, then the prompt timed, then decoding timed.
static bool repetition(struct bench *b, const struct cli_args *a, int r, struct err *e)
{
    seq_keep(b->seq, 0);
    if (a->bench_depth > 0 && !seq_eval(b->seq, b->token, a->bench_depth, NULL, NULL, e))
        return false;
    int64_t t0 = clock_ns();
    if (a->bench_prompt > 0 &&
        !seq_eval(b->seq, b->token + a->bench_depth, a->bench_prompt, NULL, NULL, e))
        return false;
    int64_t t1 = clock_ns();
    if (a->bench_gen > 0) {
        seq_keep(b->seq, a->bench_depth > 0 ? a->bench_depth : 0);
        if (seq_n_past(b->seq) != a->bench_depth ||
            a->bench_depth == 0) { // a window lost it, or there is none
            seq_keep(b->seq, 0);
            if (!seq_eval(b->seq, b->token, a->bench_depth > 0 ? a->bench_depth : 1, NULL, NULL, e))
                return false;
        }
        int64_t t2 = clock_ns();
        if (!decode(b, a->bench_gen, e))
            return false;
        b->decode_tps[r] = a->bench_gen * 1e9 / (double)(clock_ns() - t2);
    }
    b->prompt_tps[r] = a->bench_prompt > 0 ? a->bench_prompt * 1e9 / (double)(t1 - t0) : 0;
    return true;
}

static int by_value(const void *x, const void *y)
{
    double a = *(const double *)x, b = *(const double *)y;
    return (a > b) - (a < b);
}

static double median(const double *sorted, int n)
{
    return n % 2 ? sorted[n / 2] : 0.5 * (sorted[n / 2 - 1] + sorted[n / 2]);
}

static bool report(struct bench *b, const struct cli_args *a)
{
    int n = b->reps;
    int threads = cpu_dev_threads(b->en.cpu);
    double *p = b->prompt_tps, *d = b->decode_tps;
    qsort(p, (size_t)n, sizeof(*p), by_value);
    qsort(d, (size_t)n, sizeof(*d), by_value);
    double read = median(d, n) * bytes_per_token(b->en.plan, a->bench_depth + a->bench_gen / 2);
    if (a->json) {
        struct buf o;
        buf_init(&o, 1 << 20);
        bool ok =
            buf_addz(&o, "{\"model\": ") && buf_json_text(&o, a->pos[0], strlen(a->pos[0])) &&
            buf_printf(&o,
                       ", \"cpu\": \"%s\", \"threads\": %d, \"depth\": %d, \"prompt\": %d, "
                       "\"gen\": %d, \"prompt_tps\": %.3f, "
                       "\"prompt_tps_min\": %.3f, \"prompt_tps_max\": %.3f, \"decode_tps\": %.3f, "
                       "\"decode_tps_min\": %.3f, "
                       "\"decode_tps_max\": %.3f, \"load_ms\": %.3f, \"first_token_ms\": %.3f, "
                       "\"bytes_per_s\": %.0f, "
                       "\"copy_bytes_per_s\": %.0f}\n",
                       cpu_dev_features(b->en.cpu), threads, a->bench_depth, a->bench_prompt,
                       a->bench_gen, median(p, n), p[0], p[n - 1], median(d, n), d[0], d[n - 1],
                       (double)b->en.load_ns / 1e6, b->first_token_ms, read, b->copy_bytes_per_s);
        if (ok)
            fwrite(o.p, 1, o.n, stdout);
        buf_done(&o);
        return ok;
    }
    printf("%s on %d thread%s (%s), %d times\n", a->pos[0], threads, threads == 1 ? "" : "s",
           cpu_dev_features(b->en.cpu), n);
    if (a->bench_prompt > 0)
        printf("  prompt  %5d tokens at %-5d  %8.1f tokens/s  (%.1f to %.1f)\n", a->bench_prompt,
               a->bench_depth, median(p, n), p[0], p[n - 1]);
    if (a->bench_gen > 0)
        printf("  decode  %5d tokens at %-5d  %8.1f tokens/s  (%.1f to %.1f)  reads %.1f GB/s; the "
               "machine copies %.1f GB/s\n",
               a->bench_gen, a->bench_depth, median(d, n), d[0], d[n - 1], read / 1e9,
               b->copy_bytes_per_s / 1e9);
    printf("  load    %.1f ms, first token of one token %.1f ms\n", (double)b->en.load_ns / 1e6,
           b->first_token_ms);
    return true;
}

static bool enough(int64_t need, int64_t ctx, struct err *e)
{
    return need <= ctx ||
           err_set(e, ERR_ARG,
                   "--depth and --prompt or --gen need a context of %lld tokens, --ctx is %lld",
                   (long long)need, (long long)ctx);
}

int cmd_bench(struct cli_args *a)
{
    struct bench b = { .reps = a->bench_reps };
    struct err e = { 0 };
    bool opened = false, ok = false;
    interrupt_catch();
    int64_t need = (int64_t)a->bench_depth +
                   (a->bench_prompt > a->bench_gen + 1 ? a->bench_prompt : a->bench_gen + 1);
    if (!a->eng.ctx && !a->eng.plan_path)
        a->eng.ctx = need;
    if (a->eng.ctx && !enough(need, a->eng.ctx, &e))
        goto done;
    opened = engine_open(&b.en, a->pos[0], &a->eng, NULL, NULL, &e);
    if (!opened || !enough(need, b.en.plan->max.n_ctx, &e) || !seq_new(&b.seq, b.en.kv, &e))
        goto done;
    size_t n = (size_t)a->bench_depth + (size_t)a->bench_prompt + 1;
    b.token = xcalloc(n, sizeof(*b.token));
    uint32_t x = 1;
    for (size_t i = 0; i < n; i++) {
        x = x * 1664525u + 1013904223u; // Numerical Recipes' generator: any tokens will do
        b.token[i] = (int32_t)((uint64_t)x * (uint64_t)b.en.model->n_vocab >> 32);
    }
    b.prompt_tps = xcalloc((size_t)b.reps, sizeof(double));
    b.decode_tps = xcalloc((size_t)b.reps, sizeof(double));
    int64_t t0 = clock_ns();
    if (!seq_eval(b.seq, b.token, 1, NULL, NULL, &e))
        goto done;
    b.first_token_ms = (double)(clock_ns() - t0) / 1e6;
    for (int r = 0; r < b.reps; r++)
        if (!repetition(&b, a, r, &e))
            goto done;
    b.copy_bytes_per_s = probe_copy(cpu_dev_threads(b.en.cpu));
    ok = report(&b, a);
done:
    seq_free(b.seq);
    free(b.token);
    free(b.prompt_tps);
    free(b.decode_tps);
    if (opened)
        engine_close(&b.en);
    return ok ? 0 : fail(a, &e);
}
