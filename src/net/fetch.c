// fetch.c - HTTP by libcurl, opened at run time: a whole text, or a range of a file.

#include "net/net.h"

#define CURL_DISABLE_DEPRECATION // options of strings instead of bits came with 7.85
#include <curl/curl.h>
#include <dlfcn.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum {
    REDIRECTS_MOST = 5,
    ERROR_PAGE_MOST = 64 << 10, // read to the end of it, so that the connection can be used again
    TIMEOUT_SECONDS = 30,
    REQUEST_SECONDS_MOST = 1800, // nothing here is longer than 64 MiB
    TRICKLE_BYTES = 16,          // a second; fewer is nothing
    BROKEN_MOST = 8,             // replies that end early, of one range
};

struct lib {
    CURLcode (*global_init)(long);
    void (*global_cleanup)(void);
    CURL *(*easy_init)(void);
    void (*easy_cleanup)(CURL *);
    void (*easy_reset)(CURL *);
    CURLcode (*setopt)(CURL *, CURLoption, ...);
    CURLcode (*perform)(CURL *);
    CURLcode (*getinfo)(CURL *, CURLINFO, ...);
    const char *(*strerror)(CURLcode);
    struct curl_slist *(*slist_append)(struct curl_slist *, const char *);
    void (*slist_free_all)(struct curl_slist *);
};

static const struct {
    const char *name;
    size_t at;
} symbols[] = {
    { "curl_global_init", offsetof(struct lib, global_init) },
    { "curl_global_cleanup", offsetof(struct lib, global_cleanup) },
    { "curl_easy_init", offsetof(struct lib, easy_init) },
    { "curl_easy_cleanup", offsetof(struct lib, easy_cleanup) },
    { "curl_easy_reset", offsetof(struct lib, easy_reset) },
    { "curl_easy_setopt", offsetof(struct lib, setopt) },
    { "curl_easy_perform", offsetof(struct lib, perform) },
    { "curl_easy_getinfo", offsetof(struct lib, getinfo) },
    { "curl_easy_strerror", offsetof(struct lib, strerror) },
    { "curl_slist_append", offsetof(struct lib, slist_append) },
    { "curl_slist_free_all", offsetof(struct lib, slist_free_all) },
};

struct net {
    struct lib lib;
    CURL *curl;
    net_progress_fn *progress;
    void *ctx;
    long timeout; // seconds
};

/// One request and what came of it.
struct request {
    struct net *net;
    const char *url;  // as it is named in messages
    struct buf *text; // either this
    uint8_t *p;       // or this, with room for `want`
    uint64_t from, want, got;
    uint64_t skip;    // bytes of the file still to come before `from`
    uint64_t dropped; // of an error's page
    int status;       // of the last reply
    bool has_range;   // Content-Range
    uint64_t range_from, range_total;
    int64_t length; // Content-Length, -1: not said
    bool begun;     // there was a body
    bool enough;    // ended by us, with all that was wanted
    bool other_range, too_long, cancelled, is_page;
};

// --- the library
// ----------------------------------------------------------------------------------

/// Stays open until the program ends: what is below it does not like to be unloaded.
static bool lib_open(struct lib *lib, struct err *e)
{
    void *so = dlopen("libcurl.so.4", RTLD_NOW | RTLD_LOCAL);

    if (so == NULL)
        so = dlopen("libcurl-gnutls.so.4", RTLD_NOW | RTLD_LOCAL);
    if (so == NULL)
        return err_set(e, ERR_UNSUPPORTED,
                       "URLs need libcurl, which is not here: install libcurl4 (Debian, Ubuntu)");
    for (size_t i = 0; i < ARRAY_LEN(symbols); i++) {
        void *f = dlsym(so, symbols[i].name);
        if (f == NULL)
            return err_set(e, ERR_UNSUPPORTED, "libcurl has no %s", symbols[i].name);
        memcpy((char *)lib + symbols[i].at, &f, sizeof(f));
    }
    return true;
}

static bool read_timeout(long *out, struct err *e)
{
    const char *s = getenv("SNUG_NET_TIMEOUT");
    char *end, shown[64];

    *out = TIMEOUT_SECONDS;
    if (s == NULL || *s == 0)
        return true;
    *out = strtol(s, &end, 10);
    if (*end == 0 && *out >= 1 && *out <= REQUEST_SECONDS_MOST)
        return true;
    return err_set(e, ERR_ARG, "SNUG_NET_TIMEOUT takes seconds from 1 to %d, not %s",
                   REQUEST_SECONDS_MOST, err_bytes(shown, sizeof(shown), s, strlen(s)));
}

bool net_open(struct net **out, net_progress_fn *progress, void *ctx, struct err *e)
{
    struct net *n = xcalloc(1, sizeof(*n));

    *out = NULL;
    n->progress = progress;
    n->ctx = ctx;
    if (!read_timeout(&n->timeout, e) || !lib_open(&n->lib, e)) {
        free(n);
        return false;
    }
    if (n->lib.global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK ||
        (n->curl = n->lib.easy_init()) == NULL) {
        free(n);
        return err_set(e, ERR_IO, "libcurl does not start");
    }
    *out = n;
    return true;
}

void net_close(struct net *n)
{
    if (n == NULL)
        return;
    n->lib.easy_cleanup(n->curl);
    n->lib.global_cleanup();
    free(n);
}

// --- a reply as it comes
// --------------------------------------------------------------------------

/// The value of header `name` in a line, without white space; false if it is another header.
static bool header_is(struct str line, const char *name, struct str *value)
{
    size_t n = strlen(name);

    if (line.n <= n || strncasecmp(line.p, name, n) != 0 || line.p[n] != ':')
        return false;
    *value = (struct str){ line.p + n + 1, line.n - n - 1 };
    while (value->n > 0 && strchr(" \t", value->p[0]) != NULL)
        value->p++, value->n--;
    while (value->n > 0 && strchr(" \t\r\n", value->p[value->n - 1]) != NULL)
        value->n--;
    return true;
}

/// Digits at the beginning of `s`, which moves behind them.
static bool take_number(struct str *s, uint64_t *out)
{
    uint64_t v = 0;
    size_t n = 0;

    for (; n < s->n && s->p[n] >= '0' && s->p[n] <= '9'; n++) {
        if (v > (uint64_t)INT64_MAX / 10 - 1)
            return false;
        v = v * 10 + (uint64_t)(s->p[n] - '0');
    }
    *out = v;
    s->p += n;
    s->n -= n;
    return n > 0;
}

static bool take(struct str *s, const char *what)
{
    size_t n = strlen(what);

    if (s->n < n || strncasecmp(s->p, what, n) != 0)
        return false;
    s->p += n;
    s->n -= n;
    return true;
}

static size_t on_header(char *p, size_t size, size_t count, void *ctx)
{
    struct request *r = ctx;
    struct str line = { p, size * count }, v;
    uint64_t status, last, length;

    if (take(&line, "HTTP/")) { // the reply to the last redirect is what counts
        r->has_range = r->is_page = false;
        r->length = -1;
        while (line.n > 0 && line.p[0] != ' ')
            line.p++, line.n--;
        r->status =
            take(&line, " ") && take_number(&line, &status) && status < 1000 ? (int)status : 0;
    } else if (header_is(line, "content-range", &v)) {
        r->has_range = take(&v, "bytes ") && take_number(&v, &r->range_from) && take(&v, "-") &&
                       take_number(&v, &last) && take(&v, "/") && take_number(&v, &r->range_total);
    } else if (header_is(line, "content-length", &v)) {
        if (take_number(&v, &length))
            r->length = (int64_t)length;
    } else if (header_is(line, "content-type", &v)) {
        r->is_page = take(&v, "text/html");
    }
    return size * count;
}

static size_t on_file_body(struct request *r, const char *p, size_t n)
{
    if (!r->begun && r->status == 200)
        r->skip = r->from; // ranges are not known there
    r->begun = true;
    if (r->status == 206 && (!r->has_range || r->range_from != r->from)) {
        r->other_range = true;
        return 0;
    }
    size_t skip = r->skip < n ? (size_t)r->skip : n;
    r->skip -= skip;
    uint64_t room = r->want - r->got;
    size_t used = n - skip < room ? n - skip : (size_t)room;
    if (used > 0)
        memcpy(r->p + r->got, p + skip, used);
    r->got += used;
    if (skip + used == n)
        return n;
    r->enough = true;
    return 0;
}

static size_t on_body(char *p, size_t size, size_t count, void *ctx)
{
    struct request *r = ctx;
    size_t n = size * count;

    if (r->status != 200 && r->status != 206)
        return (r->dropped += n) > ERROR_PAGE_MOST ? 0 : n;
    if (r->text == NULL)
        return on_file_body(r, p, n);
    r->too_long = !buf_add(r->text, p, n);
    return r->too_long ? 0 : n;
}

static int on_progress(void *ctx, curl_off_t d_total, curl_off_t d_now, curl_off_t u_total,
                       curl_off_t u_now)
{
    struct request *r = ctx;

    (void)d_total, (void)d_now, (void)u_total, (void)u_now;
    if (r->net->progress == NULL)
        return 0;
    r->cancelled = !r->net->progress(r->net->ctx, r->from + r->got, r->from + r->want);
    return r->cancelled;
}

// --- a request
// ------------------------------------------------------------------------------------

static CURLcode perform(struct request *r, const char *url, const char *accept, const char *range,
                        char error[CURL_ERROR_SIZE])
{
    const struct lib *l = &r->net->lib;
    CURL *c = r->net->curl;
    char line[128];
    struct curl_slist *headers = NULL;
    bool tls = strncasecmp(url, "https:", 6) == 0;
    const char *roots = getenv("SSL_CERT_FILE");

    snprintf(line, sizeof(line), "Accept: %s", accept != NULL ? accept : "*/*");
    headers = l->slist_append(headers, line);
    l->easy_reset(c); // keeps connections
    l->setopt(c, CURLOPT_URL, url);
    l->setopt(c, CURLOPT_USERAGENT, "snug/" SNUG_VERSION);
    l->setopt(c, CURLOPT_HTTPHEADER, headers);
    l->setopt(c, CURLOPT_PROTOCOLS, (long)(CURLPROTO_HTTP | CURLPROTO_HTTPS));
    l->setopt(c, CURLOPT_REDIR_PROTOCOLS,
              (long)(tls ? CURLPROTO_HTTPS : CURLPROTO_HTTP | CURLPROTO_HTTPS));
    l->setopt(c, CURLOPT_FOLLOWLOCATION, 1L);
    l->setopt(c, CURLOPT_MAXREDIRS, (long)REDIRECTS_MOST);
    l->setopt(c, CURLOPT_NOSIGNAL, 1L);
    l->setopt(c, CURLOPT_CONNECTTIMEOUT, r->net->timeout);
    l->setopt(c, CURLOPT_LOW_SPEED_LIMIT, (long)TRICKLE_BYTES);
    l->setopt(c, CURLOPT_LOW_SPEED_TIME, r->net->timeout);
    l->setopt(c, CURLOPT_TIMEOUT, (long)REQUEST_SECONDS_MOST);
    l->setopt(c, CURLOPT_HEADERFUNCTION, on_header);
    l->setopt(c, CURLOPT_HEADERDATA, r);
    l->setopt(c, CURLOPT_WRITEFUNCTION, on_body);
    l->setopt(c, CURLOPT_WRITEDATA, r);
    l->setopt(c, CURLOPT_NOPROGRESS, 0L);
    l->setopt(c, CURLOPT_XFERINFOFUNCTION, on_progress);
    l->setopt(c, CURLOPT_XFERINFODATA, r);
    l->setopt(c, CURLOPT_ERRORBUFFER, error);
    if (range != NULL)
        l->setopt(c, CURLOPT_RANGE, range);
    if (roots != NULL && *roots != 0)
        l->setopt(c, CURLOPT_CAINFO, roots);
    error[0] = 0;
    CURLcode code = l->perform(c);
    l->slist_free_all(headers);
    return code;
}

/// A URL for messages: whatever is in it, and not endless. Signatures of CDNs are never shown.
static const char *shown(char out[400], const char *url)
{
    return err_bytes(out, 400, url, strlen(url));
}

static bool bad_status(const struct request *r, struct err *e)
{
    static const struct {
        int status;
        enum err_code code;
        const char *what;
    } known[] = {
        { 401, ERR_NOTFOUND,
          "not there, or only for those who log in: download it, and plan the file" },
        { 403, ERR_NOTFOUND, "not for everybody: download it, and plan the file" },
        { 404, ERR_NOTFOUND, "not there: check the name" },
        { 410, ERR_NOTFOUND, "no longer there" },
        { 416, ERR_FORMAT, "it is empty, or became shorter: try again" },
        { 429, ERR_IO, "too many requests: wait a little" },
        { 451, ERR_NOTFOUND, "withheld for legal reasons" },
    };
    enum err_code code = ERR_IO;
    const char *what = r->status >= 500 ? "the server has trouble: try again later"
                                        : "not an answer that is expected: check the name";
    char name[400];

    for (size_t i = 0; i < ARRAY_LEN(known); i++) {
        if (known[i].status == r->status) {
            code = known[i].code;
            what = known[i].what;
        }
    }
    return err_set(e, code, "%s: HTTP status %d, %s", shown(name, r->url), r->status, what);
}

static bool bad_transfer(const struct request *r, CURLcode code, const char *error, struct err *e)
{
    const char *hint = "";
    char name[400], why[300];

    if (code == CURLE_COULDNT_RESOLVE_HOST)
        hint = "; check the name, the network, or https_proxy";
    else if (code == CURLE_COULDNT_CONNECT)
        hint = "; check the network, or https_proxy";
    else if (code == CURLE_PEER_FAILED_VERIFICATION)
        hint = "; its certificate is not trusted (SSL_CERT_FILE names other roots)";
    else if (code == CURLE_SSL_CACERT_BADFILE)
        hint = "; install ca-certificates, or set SSL_CERT_FILE";
    else if (code == CURLE_OPERATION_TIMEDOUT)
        hint = "; try again, or set SNUG_NET_TIMEOUT to more seconds";
    else if (code == CURLE_UNSUPPORTED_PROTOCOL && r->status >= 300 && r->status < 400)
        hint = "; it redirects to something that is not as safe";
    else if (code == CURLE_TOO_MANY_REDIRECTS)
        hint = "; it redirects in circles";
    if (*error == 0)
        error = r->net->lib.strerror(code);
    return err_set(e, ERR_IO, "%s: %s%s", shown(name, r->url),
                   err_bytes(why, sizeof(why), error, strlen(error)), hint);
}

/// True when the reply is one that can be used, whole or (*broken) not.
static bool send_request(struct request *r, const char *url, const char *accept, const char *range,
                         bool *broken, struct err *e)
{
    char error[CURL_ERROR_SIZE], name[400];
    CURLcode code = perform(r, url, accept, range, error);

    *broken = false;
    if (r->cancelled)
        return err_set(e, ERR_CANCELLED, "%s: stopped", shown(name, r->url));
    if (r->too_long)
        return err_set(e, ERR_UNSUPPORTED, "%s: an answer of more than %zu bytes",
                       shown(name, r->url), r->text->max);
    if (r->other_range)
        return err_set(e, ERR_FORMAT, "%s: not the bytes that were asked for", shown(name, r->url));
    bool good = r->status == 200 || r->status == 206;
    if (r->status >= 400 || (code == CURLE_OK && !good))
        return bad_status(r, e);
    if (code == CURLE_OK || r->enough)
        return true;
    *broken = good && r->text == NULL && r->got > 0;
    return *broken || bad_transfer(r, code, error, e);
}

bool net_text(struct net *n, const char *url, const char *accept, struct buf *out, struct err *e)
{
    struct request r = { .net = n, .url = url, .text = out, .length = -1 };
    bool broken;

    return send_request(&r, url, accept, NULL, &broken, e) &&
           (r.status == 200 || bad_status(&r, e));
}

// --- ranges of a file
// -----------------------------------------------------------------------------

/// How long the file is, by what the reply says: the same each time.
static bool check_length(struct net_file *f, const struct request *r, bool broken, struct err *e)
{
    uint64_t total = 0;
    char name[400];

    if (r->status == 206)
        total = r->range_total;
    else if (r->length >= 0)
        total = (uint64_t)r->length;
    else if (!r->enough && !broken)
        total = r->from - r->skip + r->got; // it came to its end
    else
        return err_set(e, ERR_UNSUPPORTED, "%s: the server does not say how long it is",
                       shown(name, r->url));
    if (r->is_page && r->from == 0)
        return err_set(e, ERR_FORMAT, "%s: this is a web page, not a file: copy the download link",
                       shown(name, r->url));
    if (r->from + r->got > total)
        return err_set(e, ERR_FORMAT,
                       "%s: the server says it is %" PRIu64 " bytes long, and sends more",
                       shown(name, r->url), total);
    if (f->bytes != 0 && f->bytes != total)
        return err_set(e, ERR_FORMAT,
                       "%s: %" PRIu64 " bytes long, but %" PRIu64
                       " were expected: it changed, or was cut",
                       shown(name, r->url), total, f->bytes);
    f->bytes = total;
    return true;
}

/// Redirects led somewhere: the next range is asked for there.
static void keep_direct(struct net *n, struct net_file *f)
{
    char *url = NULL;

    if (f->direct == NULL && n->lib.getinfo(n->curl, CURLINFO_EFFECTIVE_URL, &url) == CURLE_OK &&
        url != NULL && strcmp(url, f->url) != 0)
        f->direct = xstrdup(url);
}

static bool read_once(struct net *n, struct net_file *f, struct request *r, bool *broken,
                      struct err *e)
{
    char range[64];

    snprintf(range, sizeof(range), "%" PRIu64 "-%" PRIu64, r->from, r->from + r->want - 1);
    if (!send_request(r, f->direct != NULL ? f->direct : f->url, NULL, range, broken, e))
        return false;
    keep_direct(n, f);
    return check_length(f, r, *broken, e);
}

bool net_read(struct net *n, struct net_file *f, uint64_t from, uint64_t want, void *p,
              uint64_t *got, struct err *e)
{
    char name[400];
    int breaks = 0;

    *got = 0;
    while (*got < want && (f->bytes == 0 || from + *got < f->bytes)) {
        struct request r = { .net = n,
                             .url = f->url,
                             .p = (uint8_t *)p + *got,
                             .from = from + *got,
                             .want = want - *got,
                             .length = -1 };
        bool broken;
        if (!read_once(n, f, &r, &broken, e))
            return false;
        *got += r.got;
        if (f->bytes == 0)
            return err_set(e, ERR_FORMAT, "%s: it is empty", shown(name, f->url));
        if (*got < want && from + *got < f->bytes && (r.got == 0 || ++breaks > BROKEN_MOST))
            return err_set(e, ERR_IO, "%s: the connection broke at byte %" PRIu64 ": try again",
                           shown(name, f->url), from + *got);
    }
    return true;
}

void net_file_done(struct net_file *f)
{
    free(f->url);
    free(f->direct);
    *f = (struct net_file){ 0 };
}
