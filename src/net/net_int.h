// net_int.h - the parts of names.c that need no network, for its tests.

#ifndef SNUG_NET_INT_H
#define SNUG_NET_INT_H

#include "net/net.h"

/// A name in its parts, each terminated.
struct net_name {
    enum net_kind kind;
    char host[352]; // of a registry: "" is the usual one
    char space[96]; // user or namespace
    char model[128];
    char tag[160]; // "" where none was given
};
/// NET_NONE: it is none; NET_URL: only `kind` is set.
void net_name_parse(struct net_name *out, const char *text);

/// The files of the model `tag` (a quantization, or a file's name; "" is Q4_K_M, or the only one)
/// in a listing of a repository, as URLs below `base`. `who` is for messages.
MUST_CHECK bool net_pick_listed(struct net_model *out, const char *json, size_t n, const char *tag,
                                const char *base, const char *who, struct err *e);
/// The model's layer of a manifest, as a URL below `base`.
MUST_CHECK bool net_pick_layer(struct net_model *out, const char *json, size_t n, const char *base,
                               const char *who, struct err *e);
/// The files of a split model, one of whose names ends in -0000K-of-0000N.gguf; of others, the
/// file itself.
void net_model_of_url(struct net_model *out, const char *url);

#endif
