// cli.h - private to cli/: commands, their flags, and the terminal.

#ifndef SNUG_CLI_H
#define SNUG_CLI_H

#include "base/base.h"
#include "run/run.h"

/// What a command line said. Fields that a command does not take are refused by name.
struct cli_args {
    const char *pos[8]; // positional arguments
    int n_pos;
    struct engine_opts eng;
    struct sample_opts sample;
    bool seed_set, temp_set;
    bool json, verbose, help, full, keys, tensors, graph, no_special, no_bos, raw;
    bool again;         // probe
    int n_predict;      // run: -1 until the end of the answer
    const char *system; // run
    int bench_prompt, bench_gen, bench_depth, bench_reps;
    int why; // plan: -1: not asked
    bool max_ctx, diff, llama_cpp;
    const char *svg_path;
    double tensor_split[65]; // eng.tensor_split is this, where it was given
    const char *tokens_path, *out_path;
    int greedy;
};

enum flag_group {
    FLAGS_ENGINE = 1,
    FLAGS_SAMPLE = 2,
    FLAGS_RUN = 4,
    FLAGS_BENCH = 8,
    FLAGS_LOGITS = 16,
    FLAGS_JSON = 32,
    FLAGS_TOK = 64,
    FLAGS_SHOW = 128,
    FLAGS_PLAN = 256,
    FLAGS_PROBE = 512
};

struct command {
    const char *name;
    const char *usage; // behind "snug NAME "
    const char *what;  // one line
    unsigned groups;   // which flags it takes
    int min_pos, max_pos;
    int (*run)(struct cli_args *a); // exit status
};
extern const struct command commands[]; // ends with a NULL name
const struct command *command_find(const char *name);

/// Parses everything behind the command's name. Errors: ERR_ARG with the flag, the value, what is
/// allowed.
MUST_CHECK bool args_parse(struct cli_args *out, const struct command *c, int argc, char **argv,
                           struct err *e);
void flags_help(FILE *f, unsigned groups);

int cmd_run(struct cli_args *a);
int cmd_plan(struct cli_args *a);
int cmd_verify(struct cli_args *a);
int plan_several(const struct cli_args *a);             // several.c
const char *model_name(char out[64], const char *path); // of a file, printable
/// Prints and frees a report, or the error; returns the exit status.
int print_report(const struct cli_args *a, struct buf *b, bool ok, struct err *e);
int cmd_show(struct cli_args *a);
int cmd_probe(struct cli_args *a);
int cmd_bench(struct cli_args *a);
int cmd_logits(struct cli_args *a);
int cmd_tokenize(struct cli_args *a);
int cmd_detokenize(struct cli_args *a);

// --- models (remote.c)
// ------------------------------------------------------------------------------

/// A file here, or, where the head is enough, one elsewhere: a URL, hf.co/USER/REPO[:QUANT], or
/// the name that `ollama run` knows it by. What is here comes first. Errors: as gguf_open and
/// net_resolve.
MUST_CHECK bool model_open(struct gguf **out, const char *name, const struct gguf_opts *o,
                           struct err *e);

// --- terminal (term.c)
// ----------------------------------------------------------------------------

/// Prints "snug: message" (or {"error": ...} with --json) and returns the exit status 1.
int fail(const struct cli_args *a, const struct err *e);
bool term_colour(FILE *f);   // a tty, and NO_COLOR is not set
bool term_interactive(void); // stdin and stdout are ttys

/// A bar on stderr for work that lasts longer than half a second; nothing when stderr is no tty.
struct progress {
    const char *what;
    const char *unit; // NULL: bytes
    int64_t start_ns, last_ns;
    bool shown;
};
void progress_start(struct progress *p, const char *what, const char *unit);
bool progress_update(void *progress, uint64_t done, uint64_t total); // false after Ctrl-C
void progress_end(struct progress *p);

/// Ctrl-C: the first press raises the flag, which stops what is going on; a second one within it
/// ends the program.
void interrupt_catch(void);
bool interrupted(void);
void interrupt_clear(void);

/// Appends white-space separated token ids. Errors: ERR_ARG with `where` and the byte.
MUST_CHECK bool ids_parse(struct tok_ids *ids, const char *text, const char *where, struct err *e);

// --- chat (chat.c)
// --------------------------------------------------------------------------------

struct chat; // a conversation: messages, and what of them is in the engine
enum role_kind { ROLE_SYSTEM, ROLE_USER, ROLE_ASSISTANT };

struct chat *chat_new(struct engine *en, struct err *e); // NULL on error
void chat_free(struct chat *c);
enum chat_format chat_format(const struct chat *c);
void chat_set_raw(struct chat *c);                      // no format: the text as it is
void chat_clear(struct chat *c);                        // keeps the system message
void chat_set_system(struct chat *c, const char *text); // "" or NULL: none
MUST_CHECK bool chat_add(struct chat *c, enum role_kind role, const char *text, size_t n,
                         struct err *e);
int chat_n_messages(const struct chat *c);

struct chat_stats {
    int n_prompt, n_cached, n_output;
    int64_t prompt_ns, decode_ns;
    const char *stop; // "stop", "length", "cancelled"
};
/// Writes text of the answer as it comes; return false to stop.
typedef bool chat_text_fn(void *ctx, const char *p, size_t n);
/// Answers the messages so far, adds the answer to them. `n_predict` < 0: until the model ends it.
/// Without a chat format the messages' texts are one text that is gone on with.
MUST_CHECK bool chat_answer(struct chat *c, const struct sample_opts *so, int n_predict,
                            chat_text_fn *fn, void *ctx, struct chat_stats *st, struct err *e);

#endif
