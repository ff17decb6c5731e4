// main.c - the command line: finds the command, parses its flags, runs it.

#include "cli/cli.h"

#include <string.h>

static int cmd_help(struct cli_args *a);

// clang-format off
const struct command commands[] = {
    { "run",        "MODEL.gguf [\"prompt\"]",  "answer a prompt, or chat",
      FLAGS_ENGINE | FLAGS_SAMPLE | FLAGS_RUN | FLAGS_JSON, 1, 2, cmd_run },
    { "plan",       "MODEL ...",                "where every byte will be, before anything is loaded",
      FLAGS_ENGINE | FLAGS_JSON | FLAGS_PLAN, 1, 8, cmd_plan },
    { "verify",     "PLAN.json MODEL",          "check a plan (plan --json --full) without the planner",
      FLAGS_JSON, 2, 2, cmd_verify },
    { "show",       "MODEL",                    "dimensions, formats, keys and tensors of a file",
      FLAGS_JSON | FLAGS_SHOW, 1, 1, cmd_show },
    { "probe",      "",                         "how fast this machine is: measured once, and kept",
      FLAGS_PROBE | FLAGS_JSON, 0, 0, cmd_probe },
    { "bench",      "MODEL.gguf",               "tokens per second, against the machine's memory speed",
      FLAGS_ENGINE | FLAGS_BENCH | FLAGS_JSON, 1, 1, cmd_bench },
    { "logits",     "MODEL.gguf",               "evaluate token ids, write logits",
      FLAGS_ENGINE | FLAGS_LOGITS | FLAGS_JSON, 1, 1, cmd_logits },
    { "tokenize",   "MODEL < text",             "text to token ids",
      FLAGS_TOK | FLAGS_JSON, 1, 1, cmd_tokenize },
    { "detokenize", "MODEL.gguf < ids",         "token ids to text",
      0, 1, 1, cmd_detokenize },
    { "help",       "[COMMAND]",                "this, or a command's flags",
      0, 0, 1, cmd_help },
    { NULL, NULL, NULL, 0, 0, 0, NULL },
};
// clang-format on

const struct command *command_find(const char *name)
{
    for (const struct command *c = commands; c->name; c++)
        if (!strcmp(c->name, name))
            return c;
    return NULL;
}

static void print_commands(FILE *f)
{
    fprintf(
        f,
        "snug runs GGUF language models, and knows where every byte will be before it loads.\n\n");
    for (const struct command *c = commands; c->name; c++)
        fprintf(f, "  snug %-10s %-24s %s\n", c->name, c->usage, c->what);
    fprintf(f, "\n'snug help COMMAND' lists its flags. 'snug --version' prints %s.\n",
            SNUG_VERSION);
}

/// For commands that read heads alone: MODEL, not MODEL.gguf.
static const char model_help[] =
    "\nMODEL is a file, or of one elsewhere the head, which alone is fetched:\n"
    "  https://HOST/PATH.gguf     a URL, also http\n"
    "  hf.co/USER/REPO[:QUANT]    the file with QUANT in its name (Q4_K_M), from HF_ENDPOINT\n"
    "  NAME[:TAG]                 as 'ollama run' knows it, from SNUG_REGISTRY\n"
    "Also from the environment: SNUG_NET_TIMEOUT (30 seconds), SSL_CERT_FILE, https_proxy, "
    "no_proxy\n";

static void print_command(FILE *f, const struct command *c)
{
    const char *model = strstr(c->usage, "MODEL");

    fprintf(f, "snug %s %s\n\n  %s\n\n", c->name, c->usage, c->what);
    flags_help(f, c->groups);
    if (model != NULL && strncmp(model, "MODEL.gguf", 10) != 0)
        fputs(model_help, f);
}

static int cmd_help(struct cli_args *a)
{
    if (a->n_pos == 0) {
        print_commands(stdout);
        return 0;
    }
    const struct command *c = command_find(a->pos[0]);
    if (!c) {
        fprintf(stderr, "snug: there is no command '%s'; 'snug help' lists them\n", a->pos[0]);
        return 2;
    }
    print_command(stdout, c);
    return 0;
}

int main(int argc, char **argv)
{
    if (argc < 2) {
        print_commands(stderr);
        return 2;
    }
    const char *name = argv[1];
    if (!strcmp(name, "--version") || !strcmp(name, "-v")) {
        printf("snug %s\n", SNUG_VERSION);
        return 0;
    }
    if (!strcmp(name, "--help") || !strcmp(name, "-h")) {
        print_commands(stdout);
        return 0;
    }
    const struct command *c = command_find(name);
    if (!c) {
        char shown[64];
        fprintf(stderr, "snug: there is no command %s; 'snug help' lists them\n",
                err_bytes(shown, sizeof(shown), name, strlen(name)));
        return 2;
    }
    struct cli_args a;
    struct err e = { 0 };
    if (!args_parse(&a, c, argc - 2, argv + 2, &e)) {
        fprintf(stderr, "snug %s: %s\n", c->name, e.msg);
        return 2;
    }
    if (a.help) {
        print_command(stdout, c);
        return 0;
    }
    return c->run(&a);
}
