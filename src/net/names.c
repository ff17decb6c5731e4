// names.c - names of models as people write them, to URLs of files.
//
//   hf.co/USER/REPO[:QUANT]         the listing of the repository, then the file whose name has
//   QUANT [HOST/][NAMESPACE/]MODEL[:TAG]  the manifest in the registry, then its layer with the
//   model
//
// Both are asked as their own clients do: https://huggingface.co/docs/hub/ollama and
// ollama/ollama server/images.go.

#include "net/net_int.h"

#include <ctype.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define HF_HOST       "https://huggingface.co"
#define REGISTRY_HOST "https://registry.ollama.ai"
#define QUANT         "Q4_K_M"
#define MANIFEST_TYPE "application/vnd.docker.distribution.manifest.v2+json"
#define LAYER_TYPE    "application/vnd.ollama.image."

enum {
    PART_MOST = 80,    // bytes of a namespace, model or tag (ollama/ollama types/model/name.go)
    HOST_MOST = 350,   // of a host
    HF_PART_MOST = 96, // of a user or repository
    HF_TAG_MOST = 150, // a file's name may stand there
    LISTING_MOST = 8 << 20,  // a thousand files have 400 KiB
    MANIFEST_MOST = 1 << 20, // a real one has 1 KiB
    SPLIT_MOST = 1024,
    LISTED_MOST = 6, // files that a message names
};

// --- what a name looks like
// -----------------------------------------------------------------------

static bool starts(const char *s, const char *with)
{
    return strncasecmp(s, with, strlen(with)) == 0;
}

static bool ends(const char *s, const char *with)
{
    size_t n = strlen(s), m = strlen(with);

    return n >= m && strcasecmp(s + n - m, with) == 0;
}

static bool letter(char c)
{
    return isalnum((unsigned char)c) || c == '_';
}

/// Copies [p, p + n) to `out` if it is 1 to `most` bytes of letters, digits and `more`.
static bool take_part(char *out, const char *p, size_t n, size_t most, const char *more)
{
    if (n == 0 || n > most || !letter(p[0]))
        return false;
    for (size_t i = 0; i < n; i++)
        if (!letter(p[i]) && strchr(more, p[i]) == NULL)
            return false;
    memcpy(out, p, n);
    out[n] = 0;
    return true;
}

/// Up to four parts between slashes; how many there are, 0 if too many.
static int cut_parts(struct str part[4], const char *text)
{
    int n = 0;

    for (const char *p = text;; p++) {
        size_t len = strcspn(p, "/");
        if (n == 4)
            return 0;
        part[n++] = (struct str){ p, len };
        p += len;
        if (*p == 0)
            return n;
    }
}

/// MODEL[:TAG], the last part of any name.
static bool take_model(struct net_name *out, struct str s, size_t model_most, size_t tag_most)
{
    size_t n = 0;

    while (n < s.n && s.p[n] != ':')
        n++;
    return take_part(out->model, s.p, n, model_most, "-.") &&
           (n == s.n || take_part(out->tag, s.p + n + 1, s.n - n - 1, tag_most, "-."));
}

static bool parse_hf(struct net_name *out, const char *text)
{
    struct str part[4];

    return cut_parts(part, text) == 2 &&
           take_part(out->space, part[0].p, part[0].n, HF_PART_MOST - 1, "-.") &&
           take_model(out, part[1], HF_PART_MOST, HF_TAG_MOST);
}

/// A host that is one: "models/llama/8b" is a path.
static bool take_host(struct net_name *out, struct str s)
{
    return take_part(out->host, s.p, s.n, HOST_MOST, "-.:") &&
           (strpbrk(out->host, ".:") != NULL || strcmp(out->host, "localhost") == 0);
}

static bool parse_registry(struct net_name *out, const char *text)
{
    struct str part[4];
    int n = cut_parts(part, text);

    if (n < 1 || n > 3 || !take_model(out, part[n - 1], PART_MOST, PART_MOST))
        return false;
    if (n == 3 && !take_host(out, part[0]))
        return false;
    if (n == 1)
        strcpy(out->space, "library");
    else if (!take_part(out->space, part[n - 2].p, part[n - 2].n, PART_MOST, "-"))
        return false;
    if (out->tag[0] == 0)
        strcpy(out->tag, "latest");
    return true;
}

/// Behind "hf.co/" in any spelling; NULL if it is not that.
static const char *behind_hf(const char *text)
{
    static const char *const hosts[] = { "hf.co/", "huggingface.co/", "www.huggingface.co/" };

    for (size_t i = 0; i < ARRAY_LEN(hosts); i++)
        if (starts(text, hosts[i]))
            return text + strlen(hosts[i]);
    return NULL;
}

/// The page of a model, as it stands in a browser's address bar, is the model.
static void parse_url(struct net_name *out, const char *text)
{
    struct net_name name = { 0 };
    const char *at = strstr(text, "://") + 3, *hf = behind_hf(at);

    out->kind = NET_URL;
    if (hf != NULL && parse_hf(&name, hf))
        name.kind = NET_HF;
    else if (starts(at, "ollama.com/") && parse_registry(&name, at + strlen("ollama.com/")) &&
             strchr(at + strlen("ollama.com/"), '/') != NULL)
        name.kind = NET_REGISTRY;
    if (name.kind != NET_NONE && starts(text, "https://"))
        *out = name;
}

void net_name_parse(struct net_name *out, const char *text)
{
    const char *hf = behind_hf(text);

    *out = (struct net_name){ 0 };
    if (strchr("/.~", text[0]) != NULL) // also ""
        return;
    if (strstr(text, "://") != NULL) {
        parse_url(out, text);
        return;
    }
    struct net_name name = { 0 };
    if (hf != NULL && parse_hf(&name, hf))
        name.kind = NET_HF;
    else if (hf == NULL && !ends(text, ".gguf") && !ends(text, ".json") &&
             parse_registry(&name, text))
        name.kind = NET_REGISTRY;
    else
        return;
    *out = name;
}

enum net_kind net_kind(const char *name)
{
    struct net_name n;

    net_name_parse(&n, name);
    return n.kind == NET_NONE && behind_hf(name) != NULL ? NET_HF : n.kind;
}

// --- models of one file or several
// ----------------------------------------------------------------

/// Where "-00001-of-00002.gguf" begins in the path of `url` (before a query), and of how many; 0 if
/// its name does not end so.
static int split_of(const char *url, size_t *at)
{
    size_t n = strcspn(url, "?#"), tail = strlen("-00001-of-00002.gguf");
    int part, count, used = 0;

    if (n <= tail)
        return 0;
    *at = n - tail;
    if (sscanf(url + *at, "-%5d-of-%5d.gguf%n", &part, &count, &used) != 2 || used != (int)tail ||
        strspn(url + *at + 1, "0123456789") != 5 || strspn(url + *at + 10, "0123456789") != 5)
        return 0;
    return part >= 1 && part <= count && count <= SPLIT_MOST ? count : 0;
}

void net_model_of_url(struct net_model *out, const char *url)
{
    size_t at = 0;
    int count = split_of(url, &at);

    *out = (struct net_model){ .n_files = count > 0 ? count : 1 };
    out->file = xcalloc((size_t)out->n_files, sizeof(*out->file));
    for (int i = 0; i < out->n_files; i++)
        out->file[i].url = count > 0 ? xasprintf("%.*s-%05d-of-%05d.gguf%s", (int)at, url, i + 1,
                                                 count, url + at + strlen("-00001-of-00002.gguf"))
                                     : xstrdup(url);
}

void net_model_done(struct net_model *m)
{
    for (int i = 0; i < m->n_files; i++)
        net_file_done(&m->file[i]);
    free(m->file);
    *m = (struct net_model){ 0 };
}

// --- a listing of a repository
// --------------------------------------------------------------------

struct listed {
    const char *path;
    uint64_t bytes;
};

static const char *file_name(const char *path)
{
    const char *slash = strrchr(path, '/');

    return slash != NULL ? slash + 1 : path;
}

/// A model's only or first file: not a later part, not a projector or an adapter beside it.
static bool is_model(const char *path)
{
    size_t at = 0;
    int count = split_of(path, &at);

    return ends(path, ".gguf") && strstr(path, "..") == NULL &&
           strcasestr(file_name(path), "mmproj") == NULL &&
           (count == 0 || strncmp(path + at, "-00001-", 7) == 0);
}

/// Whether `tag` stands in the path as a word: "Q4_K" is not in "model-Q4_K_M.gguf".
static bool has_word(const char *path, const char *tag)
{
    size_t n = strlen(tag);

    for (const char *p = path; (p = strcasestr(p, tag)) != NULL; p++)
        if ((p == path || !isalnum((unsigned char)p[-1])) && !letter(p[n]))
            return true;
    return false;
}

static bool is_tagged(const char *path, const char *tag)
{
    const char *name = file_name(path);

    if (ends(tag, ".gguf"))
        return strcasecmp(name, tag) == 0;
    return has_word(path, tag) ||
           (strlen(name) == strlen(tag) + 5 && starts(name, tag)); // its name without .gguf
}

/// Of two that match, the plainer: "UD-Q4_K_XL" is not what "Q4_K_XL" asks for.
static bool better(const struct listed *a, const struct listed *b)
{
    size_t n = strlen(a->path), m = strlen(b->path);

    return n != m ? n < m : strcmp(a->path, b->path) < 0;
}

static json_t *load_json(const char *json, size_t n, const char *who, struct err *e)
{
    json_error_t why;
    json_t *root = json_loadb(json, n, JSON_REJECT_DUPLICATES, &why);

    if (root == NULL)
        err_set(e, ERR_FORMAT, "%s: the answer is no JSON at byte %d", who, why.position);
    return root;
}

static bool read_listed(struct listed *out, json_t *item)
{
    json_t *path = json_object_get(item, "path"), *size = json_object_get(item, "size");
    const char *type = json_string_value(json_object_get(item, "type"));

    if (!json_is_string(path) || strlen(json_string_value(path)) != json_string_length(path) ||
        (type != NULL && strcmp(type, "file") != 0))
        return false;
    *out = (struct listed){ .path = json_string_value(path) };
    if (json_is_integer(size) && json_integer_value(size) > 0)
        out->bytes = (uint64_t)json_integer_value(size);
    return true;
}

/// Everything in a path but letters, digits, - . _ ~ and / as %XX.
static char *url_of(const char *base, const char *path)
{
    size_t n = strlen(base), most = n + 3 * strlen(path) + 1;
    char *url = xmalloc(most), *p = url + n;

    memcpy(url, base, n);
    for (; *path; path++) {
        if (letter(*path) || strchr("-.~/", *path) != NULL)
            *p++ = *path;
        else
            p += snprintf(p, 4, "%%%02X", (unsigned)(unsigned char)*path);
    }
    *p = 0;
    return url;
}

/// There are models, but not this one: what there is.
static bool no_such_file(json_t *root, const char *tag, const char *who, struct err *e)
{
    struct listed f;
    struct buf names;
    char shown[160];
    size_t i, n = 0;
    json_t *item;

    buf_init(&names, 1 << 16);
    json_array_foreach(root, i, item)
    {
        if (!read_listed(&f, item) || !is_model(f.path))
            continue;
        const char *name = file_name(f.path);
        if (n++ < LISTED_MOST && !buf_printf(&names, "%s%s", n == 1 ? "" : ", ",
                                             err_bytes(shown, 100, name, strlen(name))))
            break;
    }
    if (n == 0)
        err_set(e, ERR_NOTFOUND, "%s: there is no GGUF file in it", who);
    else
        err_set(e, ERR_NOTFOUND,
                "%s: no file with %s in its name; put one of these behind a colon: %s%s", who,
                err_bytes(shown, sizeof(shown), tag, strlen(tag)), names.p,
                n > LISTED_MOST ? ", ..." : "");
    buf_done(&names);
    return false;
}

/// Lengths of the parts, as far as the listing has them.
static void add_sizes(struct net_model *m, json_t *root, const char *base)
{
    struct listed f;
    size_t i;
    json_t *item;

    json_array_foreach(root, i, item)
    {
        if (!read_listed(&f, item) || !ends(f.path, ".gguf"))
            continue;
        char *url = url_of(base, f.path);
        for (int k = 0; k < m->n_files; k++)
            if (strcmp(m->file[k].url, url) == 0)
                m->file[k].bytes = f.bytes;
        free(url);
    }
}

bool net_pick_listed(struct net_model *out, const char *json, size_t n, const char *tag,
                     const char *base, const char *who, struct err *e)
{
    json_t *root = load_json(json, n, who, e), *item;
    const char *wanted = *tag ? tag : QUANT;
    struct listed f, best = { 0 }, only = { 0 };
    size_t i, models = 0;

    *out = (struct net_model){ 0 };
    if (root == NULL)
        return false;
    json_array_foreach(root, i, item)
    {
        if (!read_listed(&f, item) || !is_model(f.path))
            continue;
        models++;
        only = f;
        if (is_tagged(f.path, wanted) && (best.path == NULL || better(&f, &best)))
            best = f;
    }
    if (best.path == NULL && models == 1 && *tag == 0)
        best = only;
    bool ok = best.path != NULL ||
              (json_is_array(root) ? no_such_file(root, wanted, who, e)
                                   : err_set(e, ERR_FORMAT, "%s: the answer is no listing", who));
    if (ok) {
        char *url = url_of(base, best.path);
        net_model_of_url(out, url);
        free(url);
        add_sizes(out, root, base);
    }
    json_decref(root);
    return ok;
}

// --- a manifest
// -----------------------------------------------------------------------------------

/// "sha256:" and 64 digits, nothing that would lead elsewhere.
static bool is_digest(const char *s)
{
    return s != NULL && strncmp(s, "sha256:", 7) == 0 && strlen(s) == 71 &&
           strspn(s + 7, "0123456789abcdef") == 64;
}

static bool read_layer(struct net_model *out, json_t *layer, const char *base, const char *who,
                       struct err *e)
{
    const char *type = json_string_value(json_object_get(layer, "mediaType"));
    const char *digest = json_string_value(json_object_get(layer, "digest"));
    json_int_t size = json_integer_value(json_object_get(layer, "size"));

    if (type == NULL || !starts(type, LAYER_TYPE))
        return true;
    type += strlen(LAYER_TYPE);
    bool beside = strcmp(type, "projector") == 0 || strcmp(type, "adapter") == 0;
    if (!beside && strcmp(type, "model") != 0)
        return true;
    if (!is_digest(digest) || size <= 0)
        return err_set(e, ERR_FORMAT, "%s: a layer without digest or size", who);
    if (beside) {
        out->beside_bytes += (uint64_t)size < INT64_MAX / 64 ? (uint64_t)size : 0;
        return true;
    }
    if (out->n_files > 0)
        return err_set(e, ERR_UNSUPPORTED, "%s: a model of several files", who);
    out->file = xcalloc(1, sizeof(*out->file));
    out->n_files = 1;
    out->file[0] =
        (struct net_file){ .url = xasprintf("%s%s", base, digest), .bytes = (uint64_t)size };
    return true;
}

bool net_pick_layer(struct net_model *out, const char *json, size_t n, const char *base,
                    const char *who, struct err *e)
{
    json_t *root = load_json(json, n, who, e), *layer;
    size_t i;
    bool ok = true;

    *out = (struct net_model){ 0 };
    if (root == NULL)
        return false;
    json_array_foreach(json_object_get(root, "layers"), i, layer)
    {
        ok = ok && read_layer(out, layer, base, who, e);
    }
    json_decref(root);
    if (ok && out->n_files == 0)
        ok = err_set(e, ERR_UNSUPPORTED, "%s: no GGUF file among its layers", who);
    if (!ok)
        net_model_done(out);
    return ok;
}

// --- asking
// ---------------------------------------------------------------------------------------

/// From the environment, without slashes at its end; a host's address without a scheme is https.
static char *endpoint(const char *variable, const char *usual)
{
    const char *s = variable != NULL ? getenv(variable) : NULL;
    char *url;

    if (s == NULL || *s == 0)
        s = usual;
    url = xasprintf("%s%s", strstr(s, "://") != NULL ? "" : "https://", s);
    for (size_t n = strlen(url); n > 0 && url[n - 1] == '/'; n--)
        url[n - 1] = 0;
    return url;
}

static bool resolve_hf(struct net *n, const struct net_name *name, struct net_model *out,
                       struct err *e)
{
    char *at = endpoint("HF_ENDPOINT", HF_HOST);
    char *api =
        xasprintf("%s/api/models/%s/%s/tree/main?recursive=true", at, name->space, name->model);
    char *base = xasprintf("%s/%s/%s/resolve/main/", at, name->space, name->model);
    struct buf reply;

    buf_init(&reply, LISTING_MOST);
    bool ok =
        net_text(n, api, "application/json", &reply, e) &&
        net_pick_listed(out, reply.p != NULL ? reply.p : "", reply.n, name->tag, base, api, e);
    buf_done(&reply);
    free(base);
    free(api);
    free(at);
    return ok;
}

static bool resolve_registry(struct net *n, const struct net_name *name, struct net_model *out,
                             struct err *e)
{
    char *at = *name->host ? endpoint(NULL, name->host) : endpoint("SNUG_REGISTRY", REGISTRY_HOST);
    char *url = xasprintf("%s/v2/%s/%s/manifests/%s", at, name->space, name->model, name->tag);
    char *base = xasprintf("%s/v2/%s/%s/blobs/", at, name->space, name->model);
    struct buf reply;

    buf_init(&reply, MANIFEST_MOST);
    bool ok = net_text(n, url, MANIFEST_TYPE, &reply, e) &&
              net_pick_layer(out, reply.p != NULL ? reply.p : "", reply.n, base, url, e);
    buf_done(&reply);
    free(base);
    free(url);
    free(at);
    return ok;
}

/// Of a file's page on Hugging Face, the file.
static void resolve_url(struct net_model *out, const char *url)
{
    const char *blob = strstr(url, "/blob/");
    char *file = behind_hf(strstr(url, "://") + 3) != NULL && blob != NULL
                     ? xasprintf("%.*s/resolve/%s", (int)(blob - url), url, blob + strlen("/blob/"))
                     : xstrdup(url);

    net_model_of_url(out, file);
    free(file);
}

bool net_resolve(struct net *n, const char *name, struct net_model *out, struct err *e)
{
    struct net_name parsed;
    char shown[200];

    *out = (struct net_model){ 0 };
    net_name_parse(&parsed, name);
    err_bytes(shown, sizeof(shown), name, strlen(name));
    switch (parsed.kind) {
    case NET_HF:
        return resolve_hf(n, &parsed, out, e);
    case NET_REGISTRY:
        return resolve_registry(n, &parsed, out, e);
    case NET_URL:
        if (!starts(name, "https://") && !starts(name, "http://"))
            return err_set(e, ERR_ARG, "%s: only https and http are known", shown);
        resolve_url(out, name);
        return true;
    case NET_NONE:
    default:
        return err_set(e, ERR_ARG, "%s: names are hf.co/USER/REPO[:QUANT] or MODEL[:TAG]", shown);
    }
}
