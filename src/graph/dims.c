// dims.c - values of symbolic sizes, and the bytes that follow from them.

#include "graph/graph_int.h"

static int64_t pages_of(int64_t tokens)
{
    return (tokens + KV_PAGE_TOKENS - 1) / KV_PAGE_TOKENS;
}

/// A batch of n tokens from position p needs the positions p - window + 1 ... p + n - 1: window - 1
/// + n in a row, which at worst begin with the last place of a page. Tile t then lies in page t mod
/// w.
int64_t kv_slot_pages(int window, const struct dims *v)
{
    int64_t all = pages_of(v->n_ctx);
    if (window <= 0)
        return all;
    int64_t reach = (int64_t)window - 1 + v->max_tokens;
    int64_t w = 1 + pages_of(reach - 1);
    return w < all ? w : all;
}

int64_t dim_value(struct dim d, const struct dims *v)
{
    switch (d.sym) {
    case SYM_ONE:
        return d.n;
    case SYM_TOKENS:
        return d.n * v->n_tokens;
    case SYM_OUTPUTS:
        return d.n * v->n_outputs;
    case SYM_PAGES:
        return d.n * v->n_slots * kv_slot_pages(0, v);
    case SYM_WINDOW_PAGES:
        return d.n * v->n_slots * kv_slot_pages(d.arg, v);
    case SYM_SLOT_PAGES:
        return d.n * kv_slot_pages(0, v);
    case SYM_SLOTS:
        return d.n * v->n_slots;
    case SYM_COUNT:
        break;
    }
    assert_failed("a symbol without a value", __FILE__, __LINE__);
}

int64_t tensor_rows(const struct tensor *t, const struct dims *v)
{
    return dim_value(t->d[1], v) * dim_value(t->d[2], v) * dim_value(t->d[3], v);
}

uint64_t state_head_bytes(const struct tensor *t, enum dtype kv)
{
    ASSERT(t->role == ROLE_STATE);
    uint64_t head_dim = (uint64_t)t->d[0].n;
    uint64_t numbers = head_dim * KV_PAGE_TOKENS;
    if (kv == DTYPE_F32)
        return numbers * 4;
    if (kv == DTYPE_F16)
        return numbers * 2;
    ASSERT(kv == DTYPE_Q8_0);
    return numbers + (head_dim + 31) / 32 * KV_PAGE_TOKENS * 2;
}

uint64_t tensor_bytes(const struct tensor *t, const struct dims *v)
{
    if (t->role == ROLE_STATE)
        return state_head_bytes(t, v->kv) *
               (uint64_t)(dim_value(t->d[2], v) * dim_value(t->d[3], v));
    return dtype_row_bytes(t->type, dim_value(t->d[0], v)) * (uint64_t)tensor_rows(t, v);
}

bool dim_eq(struct dim a, struct dim b)
{
    return a.n == b.n && a.sym == b.sym && (a.sym != SYM_WINDOW_PAGES || a.arg == b.arg);
}

const char *dim_text(char out[48], struct dim d)
{
    static const char *const names[SYM_COUNT] = {
        [SYM_ONE] = "",
        [SYM_TOKENS] = "tokens",
        [SYM_OUTPUTS] = "outputs",
        [SYM_PAGES] = "pages",
        [SYM_WINDOW_PAGES] = "window_pages",
        [SYM_SLOT_PAGES] = "slot_pages",
        [SYM_SLOTS] = "slots",
    };
    char arg[16] = "";
    if (d.sym == SYM_WINDOW_PAGES)
        snprintf(arg, sizeof arg, "(%d)", d.arg);
    if (d.sym == SYM_ONE)
        snprintf(out, 48, "%lld", (long long)d.n);
    else if (d.n == 1)
        snprintf(out, 48, "%s%s", names[d.sym], arg);
    else
        snprintf(out, 48, "%lld*%s%s", (long long)d.n, names[d.sym], arg);
    return out;
}
