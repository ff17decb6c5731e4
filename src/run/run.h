// run.h - a plan made real, and what runs on it.
//
//   struct inst      arenas and weights of a plan; evaluates batches. The only owner of device
//   memory. struct seq       one conversation: its KV pages and the tokens in them. struct sampler
//   from logits to the next token. struct engine    all of it from a path and options, for commands
//   and workers.
// One thread at a time uses an inst and its seqs.

#ifndef SNUG_RUN_H
#define SNUG_RUN_H

#include "base/base.h"
#include "dev/dev.h"
#include "gguf/gguf.h"
#include "graph/graph.h"
#include "model/model.h"
#include "plan/place.h"
#include "plan/plan.h"
#include "tok/tok.h"

// --- inst
// -----------------------------------------------------------------------------------------

struct inst;

/// Progress of a load in bytes of weights; return false to cancel.
typedef bool load_progress_fn(void *ctx, uint64_t done, uint64_t total);

/// Reserves all arenas on all devices first, then loads weights, then seals the devices and
/// compares what was allocated with the plan (ERR_DEVICE if they differ by a byte). Borrows
/// everything given. Errors: ERR_NOMEM device and bytes; ERR_FORMAT tensor data missing from the
/// file; ERR_CANCELLED.
MUST_CHECK bool inst_load(struct inst **out, const struct plan *p, const struct gguf *g,
                          struct dev *const *devs, load_progress_fn *progress, void *ctx,
                          struct err *e);
void inst_free(struct inst *in);
const struct plan *inst_plan(const struct inst *in);

/// Planned and really allocated bytes of a device: equal, or the load failed.
uint64_t inst_device_bytes(const struct inst *in, int dev);

/// One arena: as planned, as the device gave it in its granules, and as far as it is used.
struct memory_line {
    uint64_t planned, reserved, high_water;
};
struct memory_line inst_memory(const struct inst *in, int dev, enum arena_kind arena);
/// All of them, as an object: "devices" with their "arenas", and "host".
bool inst_memory_json(const struct inst *in, struct buf *out);

struct batch {
    int n_tokens; // 1 .. micro_batch
    const int32_t *token, *pos,
        *slot;             // [n_tokens]; tokens of one sequence are adjacent and in order of pos
    int n_outputs;         // 0 .. outputs
    const int32_t *output; // [n_outputs] indices into the batch, ascending
    const int32_t *page_table; // [slots][slot pages]
};
/// Runs one batch; logits are valid until the next. Allocates nothing.
/// Errors: ERR_ARG a token id, position or slot out of range (checked here, not in kernels);
/// ERR_DEVICE.
MUST_CHECK bool inst_eval(struct inst *in, const struct batch *b, struct err *e);
const float *inst_logits(const struct inst *in, int output); // [n_vocab]
int inst_n_outputs(const struct inst *in);                   // of the last batch

// --- seq
// ------------------------------------------------------------------------------------------

struct kv_pool; // hands out the plan's pages; one per inst
struct kv_pool *kv_pool_new(struct inst *in);
void kv_pool_free(struct kv_pool *kv);

struct seq;
/// Takes a free slot. Errors: ERR_NOFIT all slots are taken.
MUST_CHECK bool seq_new(struct seq **out, struct kv_pool *kv, struct err *e);
void seq_free(struct seq *s);                   // gives slot and pages back
int seq_n_past(const struct seq *s);            // tokens whose K and V are stored
const int32_t *seq_tokens(const struct seq *s); // [n_past]

/// Keeps the first `n` tokens. Layers with a window may have lost what is needed to go on from
/// there: then everything is dropped and n_past is 0. Returns n_past.
int seq_keep(struct seq *s, int n);

/// Called between micro-batches: tokens done of all; return false to stop.
typedef bool seq_progress_fn(void *ctx, int done, int total);

/// Appends tokens, in micro-batches. Logits of the last one are in inst_logits(in, 0).
/// A full context is not an error here but in the caller's hands: ERR_NOFIT says how many tokens
/// fit.
MUST_CHECK bool seq_eval(struct seq *s, const int32_t *token, int n, seq_progress_fn *progress,
                         void *ctx, struct err *e);
/// As seq_eval, and hands out the logits of every token, in order.
typedef bool seq_logits_fn(void *ctx, int index, const float *logits);
MUST_CHECK bool seq_eval_all(struct seq *s, const int32_t *token, int n, seq_logits_fn *fn,
                             void *ctx, struct err *e);
/// One token for each of several sequences of one pool, in one batch: logits of s[i] are
/// inst_logits(in, i). No sequence twice; at most as many as outputs were planned for. On an error
/// none has moved.
MUST_CHECK bool seq_eval_each(struct seq *const *s, const int32_t *token, int n, struct err *e);
/// A full context that is to go on: keeps the first `n_keep` tokens and the newer half of the rest,
/// computed again.
MUST_CHECK bool seq_shift(struct seq *s, int n_keep, struct err *e);
/// Of the tokens given, how many are a prefix of what is stored: prompts of a chat share their
/// beginning.
int seq_common_prefix(const struct seq *s, const int32_t *token, int n);

// --- sampler
// --------------------------------------------------------------------------------------

struct logit_bias {
    int32_t id;
    float bias;
};
/// Meanings and order of steps as in llama.cpp and Ollama; 0 or the neutral value switches a step
/// off.
struct sample_opts {
    float temperature;       // 0: greedy
    int top_k;               // 0: off
    float top_p;             // 1: off
    float min_p;             // 0: off
    float typical_p;         // 1: off
    float repeat_penalty;    // 1: off
    float presence_penalty;  // 0: off
    float frequency_penalty; // 0: off
    int repeat_last_n;       // window of the penalties; -1: the whole context, 0: off
    int mirostat;            // 0 or 2
    float mirostat_tau, mirostat_eta;
    const struct logit_bias *bias;
    int n_bias;
    uint64_t seed;
};
struct sample_opts sample_opts_default(void); // Ollama's: 0.8, 40, 0.9, ...
/// Every field has a range; out of range is ERR_ARG naming it.
MUST_CHECK bool sample_opts_check(const struct sample_opts *o, int n_vocab, struct err *e);

struct sampler;
struct sampler *sampler_new(const struct sample_opts *o, int n_vocab); // copies the options
void sampler_free(struct sampler *s);
/// The next token. Deterministic for equal options, logits and history. `logits` are not changed.
/// Equal logits: the lowest id wins.
int32_t sampler_next(struct sampler *s, const float *logits);
void sampler_accept(struct sampler *s,
                    int32_t id); // adds to the history of the penalties (prompt tokens too)

struct token_logprob {
    int32_t id;
    float logprob;
};
/// Log-probabilities (of the plain softmax) of the n best tokens, best first, ties by id.
void logits_top(const float *logits, int n_vocab, struct token_logprob *out, int n);
float logits_logprob(const float *logits, int n_vocab, int32_t id);
int32_t logits_argmax(const float *logits, int n_vocab);

// --- engine
// ---------------------------------------------------------------------------------------

struct engine_opts {
    int64_t ctx;     // 0: the training length, at most 4096
    int micro_batch; // 0: 512, at most ctx
    int outputs;     // 0: slots
    int slots;       // 0: 1
    int threads;     // 0: all
    bool pin;
    enum dtype kv; // DTYPE_F16; --exact makes it F32 unless kv_set
    bool kv_set;
    bool kv_open; // f16, or q8_0 where the plan is better for it
    bool exact, no_mmap;
    enum place_goal goal;
    bool num_gpu_set, main_gpu_set; // Ollama's options: blocks on other devices than the host's,
    int num_gpu, main_gpu;          // and the device that is taken where one is enough
    const double *tensor_split;     // shares of the blocks, of devices as `on` lists them, and one
    int n_tensor_split;             // 0 behind them; NULL: any
    bool no_vision;                 // leave out the tower that sees images
    uint64_t reserve_bytes;
    const char *on;       // "cpu", "sim:64,sim:k80x2", ...; NULL: cpu
    const char *free_mib; // what is free on each of them, "10240,11000"; NULL: all
    bool use_probe;       // predict with what was measured on this machine; false: assumed speeds
    bool measure;         // with plan_only: devices can be run all the same
    bool plan_only;       // stop after the plan: the file may be partial
    /// From a model's name to its file, elsewhere too; NULL: gguf_open.
    bool (*open)(struct gguf **out, const char *name, const struct gguf_opts *o, struct err *e);
    const char *plan_path; // execute this plan (snug plan --json --full) or refuse; NULL: search
};
struct engine {
    struct gguf *gguf;
    struct model *model;
    struct tok *tok; // NULL where the file has no vocabulary, or none that we can read
    struct graph *graph;
    struct dev **dev; // devices to place on
    int n_devs;
    bool host_added;             // the last device is the host, for rows of the embedding alone
    struct dev *cpu;             // the threads below simulated devices
    struct weight_place *places; // what the plan knows of the file
    struct question asked;       // what was planned for; g NULL: that was not reached
    struct plan *plan;
    struct placement placement; // why it is this plan
    struct inst *inst;          // NULL when plan_only
    struct kv_pool *kv;
    int64_t load_ns;
};
/// With plan_only, where no plan fits (ERR_NOFIT) the engine stays open without one, so that it can
/// be asked what would: engine_close() it then, too.
MUST_CHECK bool engine_open(struct engine *en, const char *path, const struct engine_opts *o,
                            load_progress_fn *progress, void *ctx, struct err *e);
void engine_close(struct engine *en);
/// Opens what --on and --free say (devices.c): "cpu", "sim:SIZE_MIB", "sim:PROFILE[xN]" and, for
/// plans alone, "PROFILE[xN]" and "FILE.json". "sim:3060" is the card, "sim:3060MiB" a size.
/// Errors: ERR_ARG says what is allowed; those of reading a file.
MUST_CHECK bool devices_open(struct engine *en, const struct engine_opts *o, struct err *e);

#endif
