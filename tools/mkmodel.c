// mkmodel.c - makes GGUF files for tests and timing: tiny models of any architecture that snug
// knows, or the shape of a real model, with random weights. The same arguments give the same bytes.

#include "mkmodel/mkmodel.h"

#include <stdlib.h>
#include <string.h>

static void usage(FILE *f)
{
    fprintf(f,
            "mkmodel --arch NAME [--type TYPE] [--tok bpe|spm|none] [--seed N] [--random]\n"
            "        [--tied | --untied] [--rope-freqs] [--rope-factors] [--qk-norm] [--old-mla]\n"
            "        [--direct-q] [--grow] [--no-rope] [--layers N] [--embd N] [--heads N]\n"
            "        [--kv-heads N] [--head-dim N] [--head-dim-v N] [--rope-dim N] [--rank N]\n"
            "        [--ffn N] [--expert-ffn N] [--vocab N] [--window N] [--ctx N] [--orig-ctx N]\n"
            "        [--experts N] [--experts-used N] [--groups N] [--groups-used N] [--shared N]\n"
            "        [--lead N] [--vision]\n"
            "        OUT.gguf\n"
            "mkmodel --shape ZOO.json [--layers N] [--all-merges] [--seed N | --holes] OUT.gguf\n"
            "TYPE: a number format of GGUF, or Q4_K_M. --random: blocks of random bytes, faster.\n"
            "--holes: no weights, a hole of their length. --all-merges: as many as the shape has.\n"
            "Architectures:");
    for (int i = 0; arch_name(i); i++)
        fprintf(f, " %s", arch_name(i));
    fprintf(f, "\n");
}

static _Noreturn void bad_usage(const char *what, const char *arg)
{
    fprintf(stderr, "mkmodel: %s %s\n", what, arg);
    usage(stderr);
    exit(2);
}

struct args {
    struct params p;
    const char *shape, *path;
    uint64_t seed;
    bool random, holes, all_merges;
};

static uint64_t number(const char *name, const char *text, uint64_t max)
{
    char *end;
    const unsigned long long v = strtoull(text, &end, 10);
    if (end == text || *end != 0 || *text == '-' || v > max)
        bad_usage("not a number for", name);
    return v;
}

static enum tok_kind tok_kind(const char *name)
{
    static const char *const names[] = {
        [TOK_NONE] = "none", [TOK_BPE] = "bpe", [TOK_SPM] = "spm"
    };
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        if (strcmp(name, names[i]) == 0)
            return (enum tok_kind)i;
    bad_usage("unknown vocabulary", name);
}

/// An option without a value; false if `name` is none.
static bool flag(struct args *a, const char *name)
{
    const struct {
        const char *name;
        bool *to;
    } flags[] = { { "--tied", &a->p.tied },
                  { "--untied", &a->p.untied },
                  { "--rope-freqs", &a->p.rope_freqs },
                  { "--rope-factors", &a->p.rope_factors },
                  { "--qk-norm", &a->p.qk_norm },
                  { "--old-mla", &a->p.old_mla },
                  { "--direct-q", &a->p.direct_q },
                  { "--grow", &a->p.grow },
                  { "--no-rope", &a->p.no_rope },
                  { "--vision", &a->p.vision },
                  { "--random", &a->random },
                  { "--holes", &a->holes },
                  { "--all-merges", &a->all_merges } };
    for (size_t i = 0; i < ARRAY_LEN(flags); i++)
        if (strcmp(name, flags[i].name) == 0)
            return *flags[i].to = true;
    return false;
}

static void option(struct args *a, const char *name, const char *value)
{
    struct params *p = &a->p;
    const struct {
        const char *name;
        int *to;
    } numbers[] = {
        { "--layers", &p->layers },
        { "--embd", &p->embd },
        { "--heads", &p->heads },
        { "--kv-heads", &p->kv_heads },
        { "--ffn", &p->ffn },
        { "--head-dim", &p->head_dim },
        { "--head-dim-v", &p->head_dim_v },
        { "--rope-dim", &p->rope_dim },
        { "--rank", &p->rank },
        { "--expert-ffn", &p->expert_ffn },
        { "--orig-ctx", &p->orig_ctx },
        { "--groups", &p->groups },
        { "--groups-used", &p->groups_used },
        { "--shared", &p->shared },
        { "--lead", &p->lead },
        { "--vocab", &p->vocab },
        { "--window", &p->window },
        { "--ctx", &p->ctx },
        { "--experts", &p->experts },
        { "--experts-used", &p->experts_used },
    };
    if (!value)
        bad_usage("no value for", name);
    for (size_t i = 0; i < ARRAY_LEN(numbers); i++) {
        if (strcmp(name, numbers[i].name) == 0) {
            *numbers[i].to = (int)number(name, value, 1 << 24);
            return;
        }
    }
    if (strcmp(name, "--arch") == 0)
        p->arch = value;
    else if (strcmp(name, "--type") == 0)
        p->type = value;
    else if (strcmp(name, "--shape") == 0)
        a->shape = value;
    else if (strcmp(name, "--seed") == 0)
        a->seed = number(name, value, UINT64_MAX);
    else if (strcmp(name, "--tok") == 0) {
        p->tok = tok_kind(value);
        p->tok_given = true;
    } else
        bad_usage("unknown option", name);
}

int main(int argc, char **argv)
{
    struct args a = { .p = { .type = "F32" }, .seed = 1 };
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--help") == 0) {
            usage(stdout);
            return 0;
        }
        if (argv[i][0] != '-' && !a.path)
            a.path = argv[i];
        else if (argv[i][0] != '-')
            bad_usage("more than one file:", argv[i]);
        else if (!flag(&a, argv[i])) {
            option(&a, argv[i], argv[i + 1]);
            i++;
        }
    }
    if (!a.path || !a.p.arch == !a.shape)
        bad_usage("needs a file and one of", "--arch and --shape");

    struct out o;
    struct err e = { 0 };
    out_init(&o);
    const bool ok = (a.shape ? zoo_write(&o, a.shape, a.p.layers, a.all_merges, &e)
                             : arch_write(&o, &a.p, &e)) &&
                    (a.holes ? out_write_holes(&o, a.path, &e)
                             : out_write(&o, a.path, a.seed, a.random || a.shape, &e));
    out_done(&o);
    if (!ok)
        fprintf(stderr, "mkmodel: %s\n", e.msg);
    return ok ? 0 : 1;
}
