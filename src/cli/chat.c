// chat.c - a conversation with a loaded model: messages to tokens, tokens to text.
//
// What people typed is encoded without recognizing special tokens, so text cannot forge a turn; the
// marks around it are encoded with them. Only what differs from the tokens already in the engine is
// computed.

#include "cli/cli.h"

#include <stdlib.h>
#include <string.h>

enum { MAX_TEXT = 64 << 20, N_KEEP = 4 };

struct message {
    enum role_kind role;
    char *text;
    size_t n;
};

struct chat {
    struct engine *en;
    struct seq *seq;
    enum chat_format format;
    char *system;
    struct message *msg;
    int n_msg, cap_msg;
};

struct chat *chat_new(struct engine *en, struct err *e)
{
    struct chat *c = xcalloc(1, sizeof(*c));
    c->en = en;
    c->format = model_chat_format(en->gguf);
    if (!en->tok)
        err_set(e, ERR_FORMAT,
                "%s has no vocabulary (tokenizer.ggml.tokens): text cannot be made into tokens",
                gguf_path(en->gguf));
    if (!en->tok || !seq_new(&c->seq, en->kv, e)) {
        chat_free(c);
        return NULL;
    }
    return c;
}

void chat_clear(struct chat *c)
{
    for (int i = 0; i < c->n_msg; i++)
        free(c->msg[i].text);
    c->n_msg = 0;
}

void chat_free(struct chat *c)
{
    if (!c)
        return;
    chat_clear(c);
    seq_free(c->seq);
    free(c->msg);
    free(c->system);
    free(c);
}

enum chat_format chat_format(const struct chat *c)
{
    return c->format;
}

void chat_set_raw(struct chat *c)
{
    c->format = CHAT_NONE;
}

int chat_n_messages(const struct chat *c)
{
    return c->n_msg;
}

void chat_set_system(struct chat *c, const char *text)
{
    free(c->system);
    c->system = text && *text ? xstrdup(text) : NULL;
}

bool chat_add(struct chat *c, enum role_kind role, const char *text, size_t n, struct err *e)
{
    if (n > MAX_TEXT)
        return err_set(e, ERR_ARG, "a message of %zu bytes is longer than the %d that are allowed",
                       n, MAX_TEXT);
    if (c->n_msg == c->cap_msg) {
        c->cap_msg = c->cap_msg ? c->cap_msg * 2 : 16;
        c->msg = xrealloc(c->msg, (size_t)c->cap_msg * sizeof(*c->msg));
    }
    char *copy = xmalloc(n + 1);
    memcpy(copy, text, n);
    copy[n] = 0;
    c->msg[c->n_msg++] = (struct message){ role, copy, n };
    return true;
}

static void drop_message(struct chat *c, int i)
{
    free(c->msg[i].text);
    memmove(&c->msg[i], &c->msg[i + 1], (size_t)(c->n_msg - i - 1) * sizeof(*c->msg));
    c->n_msg--;
}

// --- messages to tokens
// -------------------------------------------------------------------------------

/// The whole conversation as one text, in parts: marks may hold control tokens, what people wrote
/// may not.
struct script {
    struct buf text;
    struct tok_span *span;
    size_t n, cap;
    bool ok;
};

static void part(struct script *x, const char *p, size_t n, bool plain)
{
    if (x->n == x->cap) {
        x->cap = x->cap ? 2 * x->cap : 32;
        x->span = xrealloc(x->span, x->cap * sizeof(*x->span));
    }
    x->ok = x->ok && buf_add(&x->text, p, n);
    x->span[x->n++] = (struct tok_span){ n, plain };
}

static void mark(struct script *x, const char *z)
{
    part(x, z, strlen(z), false);
}

static void text(struct script *x, const char *p, size_t n)
{
    part(x, p, n, true);
}

static void write_chatml(struct script *x, const struct chat *c)
{
    static const char *const names[] = { "system", "user", "assistant" };
    if (c->system) {
        mark(x, "<|im_start|>system\n");
        text(x, c->system, strlen(c->system));
        mark(x, "<|im_end|>\n");
    }
    for (int i = 0; i < c->n_msg; i++) {
        char head[48];
        snprintf(head, sizeof(head), "<|im_start|>%s\n", names[c->msg[i].role]);
        mark(x, head);
        text(x, c->msg[i].text, c->msg[i].n);
        mark(x, "<|im_end|>\n");
    }
    mark(x, "<|im_start|>assistant\n");
}

/// Gemma has no system role: it goes in front of the first message (google's own template does the
/// same).
static void write_gemma(struct script *x, const struct chat *c)
{
    for (int i = 0; i < c->n_msg; i++) {
        mark(x,
             c->msg[i].role == ROLE_ASSISTANT ? "<start_of_turn>model\n" : "<start_of_turn>user\n");
        if (i == 0 && c->system) {
            text(x, c->system, strlen(c->system));
            text(x, "\n\n", 2);
        }
        text(x, c->msg[i].text, c->msg[i].n);
        mark(x, "<end_of_turn>\n");
    }
    mark(x, "<start_of_turn>model\n");
}

/// Ids of what is added before and behind a text: an EOS behind it would end the answer before it
/// began.
static bool encode(const struct chat *c, struct tok_ids *ids, struct err *e)
{
    struct script x = { .ok = true };
    struct tok_ids added = { 0 };
    const struct tok *t = c->en->tok;
    ids->n = 0;
    buf_init(&x.text, 2 * (size_t)MAX_TEXT);
    switch (c->format) {
    case CHAT_CHATML:
        write_chatml(&x, c);
        break;
    case CHAT_GEMMA:
        write_gemma(&x, c);
        break;
    case CHAT_NONE:
        for (int i = 0; i < c->n_msg; i++)
            text(&x, c->msg[i].text, c->msg[i].n);
        break;
    }
    bool ok =
        x.ok || err_set(e, ERR_ARG, "the conversation is longer than %d MiB", 2 * MAX_TEXT >> 20);
    ok = ok && tok_encode(t, "", 0, TOK_ADD_SPECIAL, &added, e) &&
         tok_encode_spans(t, x.text.p ? x.text.p : "", x.span, x.n, TOK_ADD_SPECIAL, ids, e);
    size_t n_behind = added.n - (added.n > 0 && tok_adds_bos(t));
    if (ok && ids->n >= n_behind)
        ids->n -= n_behind;
    tok_ids_done(&added);
    buf_done(&x.text);
    free(x.span);
    return ok;
}

/// Encodes; leaves out the oldest messages while the whole does not fit the context.
static bool encode_fitting(struct chat *c, struct tok_ids *ids, struct err *e)
{
    int64_t ctx = c->en->plan->max.n_ctx;
    for (;;) {
        if (!encode(c, ids, e))
            return false;
        if ((int64_t)ids->n < ctx)
            return ids->n > 0 || err_set(e, ERR_ARG, "the prompt is empty");
        if (c->n_msg <= 1)
            return err_set(
                e, ERR_NOFIT,
                "the prompt has %zu tokens and the context holds %lld: use --ctx %zu or more",
                ids->n, (long long)ctx, ids->n + 256);
        drop_message(c, 0);
        if (c->n_msg > 1 && c->msg[0].role == ROLE_ASSISTANT)
            drop_message(c, 0);
    }
}

// --- tokens to text
// -----------------------------------------------------------------------------------

struct answer {
    struct chat *c;
    struct sampler *sampler;
    struct tok_stream stream;
    struct buf piece, all;
    chat_text_fn *fn;
    void *ctx;
};

static bool emit(struct answer *a)
{
    if (a->piece.n == 0)
        return true;
    bool go_on = a->fn(a->ctx, a->piece.p, a->piece.n);
    if (!buf_add(&a->all, a->piece.p, a->piece.n))
        go_on = false;
    buf_reset(&a->piece);
    return go_on;
}

/// One token after the other until the end of the answer. Sets st->stop.
static bool generate(struct answer *a, int n_predict, struct chat_stats *st, struct err *e)
{
    struct engine *en = a->c->en;
    int64_t ctx = en->plan->max.n_ctx;
    int64_t limit = n_predict >= 0 ? n_predict : 10 * ctx;
    st->stop = "length";
    while (st->n_output < limit) {
        int32_t id = sampler_next(a->sampler, inst_logits(en->inst, 0));
        sampler_accept(a->sampler, id);
        st->n_output++;
        if (tok_is_eog(en->tok, id)) {
            st->stop = "stop";
            break;
        }
        if (!tok_stream_add(&a->stream, en->tok, id, false, &a->piece) || !emit(a) ||
            interrupted()) {
            st->stop = "cancelled";
            break;
        }
        if (st->n_output == limit)
            break;
        if (seq_n_past(a->c->seq) >= ctx && !seq_shift(a->c->seq, N_KEEP, e))
            return false;
        if (!seq_eval(a->c->seq, &id, 1, NULL, NULL, e))
            return false;
    }
    return true;
}

static bool prompt_progress(void *ctx, int done, int total)
{
    return progress_update(ctx, (uint64_t)done, (uint64_t)total);
}

static bool eval_prompt(struct chat *c, const struct tok_ids *ids, struct sampler *sampler,
                        struct chat_stats *st, struct err *e)
{
    int n = (int)ids->n;
    int common = seq_common_prefix(c->seq, ids->id, n);
    if (common == n)
        common = n - 1; // the last token's logits are wanted
    common = seq_keep(c->seq, common);
    st->n_prompt = n;
    st->n_cached = common;
    for (int i = 0; i < n; i++)
        sampler_accept(sampler, ids->id[i]);
    struct progress p;
    progress_start(&p, "reading prompt", "tokens");
    bool ok = seq_eval(c->seq, ids->id + common, n - common, prompt_progress, &p, e);
    progress_end(&p);
    return ok;
}

bool chat_answer(struct chat *c, const struct sample_opts *so, int n_predict, chat_text_fn *fn,
                 void *ctx, struct chat_stats *st, struct err *e)
{
    struct tok_ids ids = { 0 };
    struct answer a = { .c = c, .fn = fn, .ctx = ctx };
    bool ok = false;
    memset(st, 0, sizeof(*st));
    buf_init(&a.piece, 1 << 20);
    buf_init(&a.all, MAX_TEXT);
    if (!encode_fitting(c, &ids, e))
        goto done;
    a.sampler = sampler_new(so, tok_n_vocab(c->en->tok));
    int64_t t0 = clock_ns();
    if (!eval_prompt(c, &ids, a.sampler, st, e))
        goto done;
    int64_t t1 = clock_ns();
    st->prompt_ns = t1 - t0;
    if (!generate(&a, n_predict, st, e))
        goto done;
    if (!tok_stream_end(&a.stream, &a.piece) || !emit(&a))
        st->stop = "cancelled";
    st->decode_ns = clock_ns() - t1;
    ok = chat_add(c, ROLE_ASSISTANT, a.all.p ? a.all.p : "", a.all.n, e);
done:
    tok_ids_done(&ids);
    sampler_free(a.sampler);
    buf_done(&a.piece);
    buf_done(&a.all);
    return ok;
}
