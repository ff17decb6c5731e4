// net.h - what is elsewhere: names of models to URLs, and ranges of files by HTTP.
//
// libcurl is opened when the first URL is, not when the program starts: linked, it costs each start
// 5 ms. Certificates are checked (SSL_CERT_FILE names other roots), redirects from https stay
// https, proxies are taken from the environment (https_proxy, no_proxy), nothing waits longer than
// SNUG_NET_TIMEOUT seconds (30) for the next byte. No credentials are read or sent.

#ifndef SNUG_NET_H
#define SNUG_NET_H

#include "base/base.h"

struct net; // one thread at a time; keeps its connections

/// Called at least once a second while something is waited for; false cancels it.
typedef bool net_progress_fn(void *ctx, uint64_t done, uint64_t total);

/// Errors: ERR_UNSUPPORTED there is no libcurl here.
MUST_CHECK bool net_open(struct net **out, net_progress_fn *progress, void *ctx, struct err *e);
void net_close(struct net *n); // NULL is fine

/// A whole reply, at most out->max bytes of it. `accept` is a media type, or NULL.
/// Errors name the URL, the status and what to do: ERR_NOTFOUND (401 and 404), ERR_IO,
/// ERR_UNSUPPORTED (longer than that), ERR_CANCELLED.
MUST_CHECK bool net_text(struct net *n, const char *url, const char *accept, struct buf *out,
                         struct err *e);

/// One file to be read in ranges. Starts as { .url = ... }; net_file_done() frees both URLs.
struct net_file {
    char *url;
    char *direct;   // where redirects led to
    uint64_t bytes; // of the whole file; 0: not known yet. Where it is, another length is an error
};
/// The bytes from `from` on, `want` of them or up to the file's end, to `p`; *got of them. Servers
/// that do not know ranges work too: what comes before is skipped, the rest not waited for.
/// Errors: as net_text; ERR_FORMAT a reply that is not what was asked for, or a file that changed.
MUST_CHECK bool net_read(struct net *n, struct net_file *f, uint64_t from, uint64_t want, void *p,
                         uint64_t *got, struct err *e);
void net_file_done(struct net_file *f);

// --- names (names.c)
// ------------------------------------------------------------------------------

enum net_kind {
    NET_NONE,     // a path
    NET_URL,      // https://..., http://...; of pages of models on the two sites below, the model
    NET_HF,       // hf.co/USER/REPO[:QUANT]: HF_ENDPOINT (https://huggingface.co)
    NET_REGISTRY, // [HOST/][NAMESPACE/]MODEL[:TAG]: SNUG_REGISTRY (https://registry.ollama.ai)
};
/// What `name` looks like; whether there is such a file is the caller's question. Names that begin
/// with a dot, a slash or a tilde, or end in .gguf, are paths.
enum net_kind net_kind(const char *name);

/// A model's files in order, more than one where it is split.
struct net_model {
    int n_files;
    struct net_file *file;
    uint64_t beside_bytes; // of a registry's model: projector and adapters, files of their own
};
/// Asks where the model is; files themselves are not touched. net_model_done() it.
/// Errors: as net_text; ERR_ARG a name that is none; ERR_FORMAT a reply that makes no sense.
MUST_CHECK bool net_resolve(struct net *n, const char *name, struct net_model *out, struct err *e);
void net_model_done(struct net_model *m);

#endif
