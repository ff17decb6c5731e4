// args.c - one table of flags for all commands.

#include "cli/cli.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum flag_kind { F_BOOL, F_INT, F_I64, F_U64, F_FLOAT, F_STR, F_KV, F_MIB, F_GOAL, F_SHARES };

struct flag {
    const char *name, *arg, *help;
    unsigned group; // 0: every command
    enum flag_kind kind;
    size_t at; // of the field in struct cli_args
    double lo, hi;
};

#define AT(field) offsetof(struct cli_args, field)

// clang-format off
static const struct flag flags[] = {
    { "--ctx",            "N",       "context in tokens (the training length, at most 4096)", FLAGS_ENGINE, F_I64, AT(eng.ctx), 1, 1 << 30 },
    { "--micro-batch",    "N",       "tokens computed at once (512)",               FLAGS_ENGINE, F_INT,   AT(eng.micro_batch), 1, 1 << 16 },
    { "--slots",          "N",       "sequences at once (1)",                       FLAGS_ENGINE, F_INT,   AT(eng.slots), 1, 1024 },
    { "--threads",        "N",       "CPU threads (all cores)",                     FLAGS_ENGINE | FLAGS_PROBE, F_INT,   AT(eng.threads), 1, 1024 },
    { "--pin",            NULL,      "bind threads to cores",                       FLAGS_ENGINE | FLAGS_PROBE, F_BOOL,  AT(eng.pin), 0, 0 },
    { "--kv",             "TYPE",    "f16, q8_0, f32, or auto: f16 unless q8_0 saves a device (f16)", FLAGS_ENGINE, F_KV, AT(eng.kv), 0, 0 },
    { "--on",             "DEVICES", "cpu, sim:512 (MiB), sim:k80x2; plan also: k80x2,3090 or box.json", FLAGS_ENGINE | FLAGS_PROBE, F_STR, AT(eng.on), 0, 0 },
    { "--free",           "MIB,...", "free on each device of --on (all)",           FLAGS_PLAN | FLAGS_BENCH | FLAGS_PROBE, F_STR, AT(eng.free_mib), 0, 0 },
    { "--reserve",        "MIB",     "kept free on each device (0)",                FLAGS_ENGINE, F_MIB,   AT(eng.reserve_bytes), 0, 1 << 30 },
    { "--goal",           "GOAL",    "fewest (devices), speed, context or slots (fewest)", FLAGS_ENGINE, F_GOAL, AT(eng.goal), 0, 0 },
    { "--num-gpu",        "N",       "blocks on devices other than the host's",     FLAGS_ENGINE, F_INT,   AT(eng.num_gpu), 0, 1 << 20 },
    { "--main-gpu",       "N",       "the device to use where one is enough",       FLAGS_ENGINE, F_INT,   AT(eng.main_gpu), 0, 63 },
    { "--tensor-split",   "A,B,...", "shares of the blocks, one a device",          FLAGS_ENGINE, F_SHARES, AT(tensor_split), 0, 0 },
    { "--exact",          NULL,      "float32 activations and KV: the reference path", FLAGS_ENGINE, F_BOOL, AT(eng.exact), 0, 0 },
    { "--no-mmap",        NULL,      "read the file into memory",                   FLAGS_ENGINE, F_BOOL,  AT(eng.no_mmap), 0, 0 },
    { "--plan",           "FILE",    "execute this plan (snug plan --json --full), or refuse", FLAGS_RUN | FLAGS_BENCH | FLAGS_LOGITS, F_STR, AT(eng.plan_path), 0, 0 },
    { "--no-vision",      NULL,      "leave out a model's vision tower",            FLAGS_ENGINE, F_BOOL,  AT(eng.no_vision), 0, 0 },
    { "--seed",           "N",       "same seed, same answer",                      FLAGS_ENGINE | FLAGS_SAMPLE, F_U64, AT(sample.seed), 0, 0 },
    { "--temp",           "X",       "temperature, 0 = greedy (0.8)",               FLAGS_SAMPLE, F_FLOAT, AT(sample.temperature), 0, 100 },
    { "--top-k",          "N",       "0 = off (40)",                                FLAGS_SAMPLE, F_INT,   AT(sample.top_k), 0, 1 << 30 },
    { "--top-p",          "X",       "1 = off (0.9)",                               FLAGS_SAMPLE, F_FLOAT, AT(sample.top_p), 0, 1 },
    { "--min-p",          "X",       "0 = off (0)",                                 FLAGS_SAMPLE, F_FLOAT, AT(sample.min_p), 0, 1 },
    { "--typical-p",      "X",       "1 = off (1)",                                 FLAGS_SAMPLE, F_FLOAT, AT(sample.typical_p), 0, 1 },
    { "--repeat-penalty", "X",       "1 = off",                                     FLAGS_SAMPLE, F_FLOAT, AT(sample.repeat_penalty), 0, 100 },
    { "--presence-penalty",  "X",    "0 = off",                                     FLAGS_SAMPLE, F_FLOAT, AT(sample.presence_penalty), -100, 100 },
    { "--frequency-penalty", "X",    "0 = off",                                     FLAGS_SAMPLE, F_FLOAT, AT(sample.frequency_penalty), -100, 100 },
    { "--repeat-last-n",  "N",       "tokens the penalties look at, -1 = context (64)", FLAGS_SAMPLE, F_INT, AT(sample.repeat_last_n), -1, 1 << 30 },
    { "--mirostat",       "N",       "0 or 2",                                      FLAGS_SAMPLE, F_INT,   AT(sample.mirostat), 0, 2 },
    { "--mirostat-tau",   "X",       "target surprise in nats (5)",                 FLAGS_SAMPLE, F_FLOAT, AT(sample.mirostat_tau), 0, 100 },
    { "--mirostat-eta",   "X",       "learning rate (0.1)",                         FLAGS_SAMPLE, F_FLOAT, AT(sample.mirostat_eta), 0, 1 },
    { "--num-predict",    "N",       "tokens of an answer at most, -1 = no limit",  FLAGS_RUN,    F_INT,   AT(n_predict), -1, 1 << 30 },
    { "--system",         "TEXT",    "system message of the chat",                  FLAGS_RUN,    F_STR,   AT(system), 0, 0 },
    { "--raw",            NULL,      "no chat format: go on with the text as it is", FLAGS_RUN,   F_BOOL,  AT(raw), 0, 0 },
    { "--verbose",        NULL,      "timings behind the answer",                   FLAGS_RUN,    F_BOOL,  AT(verbose), 0, 0 },
    { "--prompt",         "N",       "tokens of the prompt (512), 0 = none",        FLAGS_BENCH,  F_INT,   AT(bench_prompt), 0, 1 << 24 },
    { "--gen",            "N",       "tokens decoded (128), 0 = none",              FLAGS_BENCH,  F_INT,   AT(bench_gen), 0, 1 << 24 },
    { "--depth",          "N",       "tokens already in the context (0)",           FLAGS_BENCH,  F_INT,   AT(bench_depth), 0, 1 << 24 },
    { "--reps",           "N",       "repetitions (5)",                             FLAGS_BENCH,  F_INT,   AT(bench_reps), 1, 1000 },
    { "--tokens",         "FILE",    "token ids separated by white space",          FLAGS_LOGITS, F_STR,   AT(tokens_path), 0, 0 },
    { "--out",            "FILE",    "float32 [tokens][vocab]",                     FLAGS_LOGITS, F_STR,   AT(out_path), 0, 0 },
    { "--greedy",         "N",       "go on with N greedy tokens and print them (0)", FLAGS_LOGITS, F_INT, AT(greedy), 0, 1 << 20 },
    { "--no-special",     NULL,      "special tokens in the text are plain text",   FLAGS_TOK,    F_BOOL,  AT(no_special), 0, 0 },
    { "--no-bos",         NULL,      "add nothing to the text",                     FLAGS_TOK,    F_BOOL,  AT(no_bos), 0, 0 },
    { "--keys",           NULL,      "all keys",                                    FLAGS_SHOW,   F_BOOL,  AT(keys), 0, 0 },
    { "--tensors",        NULL,      "all tensors",                                 FLAGS_SHOW,   F_BOOL,  AT(tensors), 0, 0 },
    { "--graph",          NULL,      "the graph, node by node",                     FLAGS_SHOW,   F_BOOL,  AT(graph), 0, 0 },
    { "--why",            "N",       "why block N is where it is, what moving it costs", FLAGS_PLAN, F_INT, AT(why), 0, 1 << 20 },
    { "--max-ctx",        NULL,      "largest context by devices, KV type and slots", FLAGS_PLAN, F_BOOL, AT(max_ctx), 0, 0 },
    { "--diff",           NULL,      "what differs between two plans saved with --json", FLAGS_PLAN, F_BOOL, AT(diff), 0, 0 },
    { "--svg",            "FILE",    "the plan as a picture",                       FLAGS_PLAN,   F_STR,   AT(svg_path), 0, 0 },
    { "--llama-cpp",      NULL,      "the same placement as flags of llama.cpp",    FLAGS_PLAN,   F_BOOL,  AT(llama_cpp), 0, 0 },
    { "--full",           NULL,      "every slot and step; with --json also suggestions beside a plan that fits",                         FLAGS_PLAN,   F_BOOL,  AT(full), 0, 0 },
    { "--again",          NULL,      "measure anew",                                FLAGS_PROBE,  F_BOOL,  AT(again), 0, 0 },
    { "--json",           NULL,      "the result as JSON",                          FLAGS_JSON,   F_BOOL,  AT(json), 0, 0 },
    { "--help",           NULL,      "this",                                        0,            F_BOOL,  AT(help), 0, 0 },
};
// clang-format on

void flags_help(FILE *f, unsigned groups)
{
    for (size_t i = 0; i < ARRAY_LEN(flags); i++) {
        const struct flag *fl = &flags[i];
        if (fl->group && !(fl->group & groups))
            continue;
        char left[48];
        snprintf(left, sizeof(left), "%s %s", fl->name, fl->arg ? fl->arg : "");
        fprintf(f, "  %-24s %s\n", left, fl->help);
    }
}

static bool bad_number(const struct flag *fl, const char *v, struct err *e)
{
    char shown[64];
    return err_set(e, ERR_ARG, "%s takes a number from %.10g to %.10g, not %s", fl->name, fl->lo,
                   fl->hi, err_bytes(shown, sizeof(shown), v, strlen(v)));
}

static bool parse_int(const struct flag *fl, const char *v, int64_t *out, struct err *e)
{
    char *end;
    errno = 0;
    long long n = strtoll(v, &end, 10);
    if (end == v || *end || errno || (double)n < fl->lo || (double)n > fl->hi)
        return bad_number(fl, v, e);
    *out = n;
    return true;
}

static bool parse_kv(struct cli_args *a, const char *v, struct err *e)
{
    static const struct {
        const char *name;
        enum dtype t;
    } kinds[] = { { "f16", DTYPE_F16 }, { "q8_0", DTYPE_Q8_0 }, { "f32", DTYPE_F32 } };
    if (strcmp(v, "auto") == 0) {
        a->eng.kv_open = true;
        return true;
    }
    for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
        if (!strcmp(v, kinds[i].name)) {
            a->eng.kv = kinds[i].t;
            a->eng.kv_set = true;
            return true;
        }
    }
    char shown[64];
    return err_set(e, ERR_ARG, "--kv takes f16, q8_0, f32 or auto, not %s",
                   err_bytes(shown, sizeof(shown), v, strlen(v)));
}

static bool parse_goal(struct cli_args *a, const char *v, struct err *e)
{
    for (int g = GOAL_FEWEST; g <= GOAL_SLOTS; g++) {
        if (!strcmp(v, place_goal_name((enum place_goal)g))) {
            a->eng.goal = (enum place_goal)g;
            return true;
        }
    }
    char shown[64];
    return err_set(e, ERR_ARG, "--goal takes fewest, speed, context or slots, not %s",
                   err_bytes(shown, sizeof(shown), v, strlen(v)));
}

/// "3,1": shares, which need not sum to anything. The last place stays 0.
static bool parse_shares(struct cli_args *a, const char *v, struct err *e)
{
    const char *p = v;
    char *end, shown[64];
    double sum = 0;
    int n = 0;
    for (;; p = end + 1) {
        double x = strtod(p, &end);
        bool ok = end != p && isfinite(x) && x >= 0 && x <= 1e9 && (*end == ',' || !*end);
        if (!ok || n + 1 == (int)ARRAY_LEN(a->tensor_split))
            return err_set(e, ERR_ARG, "--tensor-split takes up to %d shares like 3,1, not %s",
                           (int)ARRAY_LEN(a->tensor_split) - 1,
                           err_bytes(shown, sizeof(shown), v, strlen(v)));
        a->tensor_split[n++] = x;
        sum += x;
        if (!*end)
            break;
    }
    if (sum <= 0)
        return err_set(e, ERR_ARG, "--tensor-split: every share is 0");
    a->eng.tensor_split = a->tensor_split;
    a->eng.n_tensor_split = n;
    return true;
}

static bool flag_set(struct cli_args *a, const struct flag *fl, const char *v, struct err *e)
{
    void *at = (char *)a + fl->at;
    int64_t n = 0;
    char *end;
    switch (fl->kind) {
    case F_BOOL:
        *(bool *)at = true;
        return true;
    case F_INT:
        if (!parse_int(fl, v, &n, e))
            return false;
        *(int *)at = (int)n;
        a->eng.num_gpu_set = a->eng.num_gpu_set || at == &a->eng.num_gpu;
        a->eng.main_gpu_set = a->eng.main_gpu_set || at == &a->eng.main_gpu;
        return true;
    case F_I64:
        return parse_int(fl, v, (int64_t *)at, e);
    case F_MIB:
        if (!parse_int(fl, v, &n, e))
            return false;
        *(uint64_t *)at = (uint64_t)n << 20;
        return true;
    case F_U64:
        errno = 0;
        *(uint64_t *)at = strtoull(v, &end, 10);
        if (end == v || *end || errno)
            return err_set(e, ERR_ARG, "%s takes a whole number", fl->name);
        if (at == &a->sample.seed)
            a->seed_set = true;
        return true;
    case F_FLOAT: {
        double x = strtod(v, &end);
        if (end == v || *end || !isfinite(x) || x < fl->lo || x > fl->hi)
            return bad_number(fl, v, e);
        *(float *)at = (float)x;
        return true;
    }
    case F_STR:
        *(const char **)at = v;
        return true;
    case F_KV:
        return parse_kv(a, v, e);
    case F_GOAL:
        return parse_goal(a, v, e);
    case F_SHARES:
        return parse_shares(a, v, e);
    }
    return true;
}

static const struct flag *flag_find(const char *name, size_t n)
{
    for (size_t i = 0; i < ARRAY_LEN(flags); i++)
        if (strlen(flags[i].name) == n && !memcmp(flags[i].name, name, n))
            return &flags[i];
    return NULL;
}

/// One "--flag", "--flag value" or "--flag=value". *i moves past what was used.
static bool parse_flag(struct cli_args *a, const struct command *c, int *i, int argc, char **argv,
                       struct err *e)
{
    const char *s = argv[*i];
    const char *eq = strchr(s, '=');
    size_t n = eq ? (size_t)(eq - s) : strlen(s);
    const struct flag *fl =
        n == 2 && !memcmp(s, "-h", 2) ? flag_find("--help", 6) : flag_find(s, n);
    char shown[64];
    if (!fl)
        return err_set(e, ERR_ARG, "no such flag: %s ('snug help %s' lists them)",
                       err_bytes(shown, sizeof(shown), s, n), c->name);
    if (fl->group && !(fl->group & c->groups))
        return err_set(e, ERR_ARG, "%s is not a flag of this command ('snug help %s' lists them)",
                       fl->name, c->name);
    const char *v = NULL;
    if (fl->kind == F_BOOL) {
        if (eq)
            return err_set(e, ERR_ARG, "%s takes no value", fl->name);
    } else if (eq) {
        v = eq + 1;
    } else {
        if (*i + 1 >= argc)
            return err_set(e, ERR_ARG, "%s needs a value: %s %s", fl->name, fl->name, fl->arg);
        v = argv[++*i];
    }
    return flag_set(a, fl, v, e);
}

bool args_parse(struct cli_args *a, const struct command *c, int argc, char **argv, struct err *e)
{
    memset(a, 0, sizeof(*a));
    a->sample = sample_opts_default();
    a->eng.use_probe = true;
    a->eng.open = model_open;
    a->n_predict = -1;
    a->why = -1;
    a->bench_prompt = 512;
    a->bench_gen = 128;
    a->bench_reps = 5;
    bool only_pos = false;
    for (int i = 0; i < argc; i++) {
        if (!only_pos && !strcmp(argv[i], "--")) {
            only_pos = true;
        } else if (!only_pos && argv[i][0] == '-' && argv[i][1]) {
            if (!parse_flag(a, c, &i, argc, argv, e))
                return false;
        } else if (a->n_pos == c->max_pos) {
            return err_set(e, ERR_ARG, "too many arguments: snug %s %s", c->name, c->usage);
        } else {
            a->pos[a->n_pos++] = argv[i];
        }
    }
    if (a->help)
        return true;
    if (a->n_pos < c->min_pos)
        return err_set(e, ERR_ARG, "missing argument: snug %s %s", c->name, c->usage);
    if (a->eng.exact && !a->eng.kv_set)
        a->eng.kv = DTYPE_F32;
    return true;
}
