// keys.c - hyperparameters of an architecture: found, of the right type, in range.

#include <math.h>
#include <string.h>

#include "model/model_int.h"

enum { KEY_BYTES = 128 };

static const char *full_name(char out[KEY_BYTES], const struct keys *k, const char *name)
{
    snprintf(out, KEY_BYTES, "%s.%s", k->arch, name);
    return out;
}

void key_fail(struct keys *k, enum err_code code, const char *fmt, ...)
{
    if (!k->ok)
        return;
    char msg[sizeof k->e->msg];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(msg, sizeof msg, fmt, ap);
    va_end(ap);
    k->ok = err_set(k->e, code, "%s", msg);
}

bool key_is(const struct keys *k, const char *name)
{
    char full[KEY_BYTES];
    return gguf_find_key(k->g, full_name(full, k, name)) >= 0;
}

bool key_is_array(const struct keys *k, const char *name)
{
    char full[KEY_BYTES];
    int i = gguf_find_key(k->g, full_name(full, k, name));
    return i >= 0 && gguf_key_type(k->g, i) == GGUF_ARR;
}

/// Says what the key is, cut short, and what it should be.
static void complain(struct keys *k, const char *name, const char *expected)
{
    char full[KEY_BYTES];
    struct buf text;
    int i = gguf_find_key(k->g, full_name(full, k, name));
    buf_init(&text, 80);
    if (i < 0)
        key_fail(k, ERR_FORMAT, "there is no key %s (%s expected)", full, expected);
    else if (!gguf_key_text(k->g, i, &text) && !text.p)
        key_fail(k, ERR_FORMAT, "key %s is not %s", full, expected);
    else
        key_fail(k, ERR_FORMAT, "key %s is %s, not %s", full, text.p, expected);
    buf_done(&text);
}

int64_t key_int(struct keys *k, const char *name, int64_t min, int64_t max)
{
    char full[KEY_BYTES], expected[96];
    int64_t v;
    if (gguf_get_i64(k->g, full_name(full, k, name), &v) && v >= min && v <= max)
        return v;
    snprintf(expected, sizeof expected, "a whole number from %lld to %lld", (long long)min,
             (long long)max);
    complain(k, name, expected);
    return min;
}

int64_t key_int_or(struct keys *k, const char *name, int64_t min, int64_t max, int64_t or)
{
    return key_is(k, name) ? key_int(k, name, min, max) : or ;
}

float key_float(struct keys *k, const char *name, float min, float max)
{
    char full[KEY_BYTES], expected[96];
    float v;
    if (gguf_get_f32(k->g, full_name(full, k, name), &v) && v >= min && v <= max) // NaN is neither
        return v;
    snprintf(expected, sizeof expected, "a number from %g to %g", (double)min, (double)max);
    complain(k, name, expected);
    return min;
}

float key_float_or(struct keys *k, const char *name, float min, float max, float or)
{
    return key_is(k, name) ? key_float(k, name, min, max) : or ;
}

bool key_bool_or(struct keys *k, const char *name, bool or)
{
    char full[KEY_BYTES];
    bool v = or ;
    if (key_is(k, name) && !gguf_get_bool(k->g, full_name(full, k, name), &v))
        complain(k, name, "true or false");
    return v;
}

void key_layers(struct keys *k, const char *name, int min, int max, int *out, int n_layers)
{
    char full[KEY_BYTES];
    struct gguf_arr arr;
    if (!gguf_get_arr(k->g, full_name(full, k, name), &arr)) {
        int v = (int)key_int(k, name, min, max);
        for (int i = 0; i < n_layers; i++)
            out[i] = v;
        return;
    }
    if (arr.n != (uint64_t)n_layers) {
        key_fail(k, ERR_FORMAT, "key %s has %llu values for %d layers", full,
                 (unsigned long long)arr.n, n_layers);
        return;
    }
    for (int i = 0; i < n_layers; i++) {
        int64_t v;
        if (!gguf_arr_i64(&arr, (uint64_t)i, &v) || v < min || v > max) {
            key_fail(k, ERR_FORMAT, "key %s: value %d is not a whole number from %d to %d", full, i,
                     min, max);
            return;
        }
        out[i] = (int)v;
    }
}

void key_layers_or(struct keys *k, const char *name, int min, int max, int *out, int n_layers)
{
    if (key_is(k, name))
        key_layers(k, name, min, max, out, n_layers);
}

/// attention.sliding_window_pattern, or layers whose number + 1 is not a multiple of `period`.
static void read_flags(struct keys *k, int *flag, int n_layers, int period)
{
    static const char pattern[] = "attention.sliding_window_pattern";
    if (key_is_array(k, pattern)) {
        key_layers(k, pattern, 0, 1, flag, n_layers);
        return;
    }
    int64_t every = key_int_or(k, pattern, 1, 1 << 20, period);
    for (int il = 0; il < n_layers; il++)
        flag[il] = (il + 1) % every != 0;
}

void key_windows(struct keys *k, struct layer *layer, int n_layers, int window, int period)
{
    int flag[MAX_LAYERS] = { 0 };
    window = (int)key_int_or(k, "attention.sliding_window", 0, 1 << 30, window);
    read_flags(k, flag, n_layers, period);
    for (int il = 0; il < n_layers; il++)
        layer[il].window = flag[il] ? window : 0;
}

static struct str key_scaling(struct keys *k, const char *otherwise)
{
    struct str type = str_of(otherwise);
    char full[KEY_BYTES];
    if (key_is(k, "rope.scaling.type") &&
        !gguf_get_str(k->g, full_name(full, k, "rope.scaling.type"), &type))
        complain(k, "rope.scaling.type", "text");
    return type;
}

static void read_yarn(struct keys *k, struct rope_freq *f, float factor, float attn,
                      int64_t n_ctx_train)
{
    f->mscale = 1;
    f->yarn_orig_ctx =
        (int)key_int_or(k, "rope.scaling.original_context_length", 1, 1 << 30, n_ctx_train);
    f->yarn_factor = factor;
    f->yarn_ext = key_float_or(k, "rope.scaling.yarn_ext_factor", 0, 1e3f, 1);
    f->yarn_attn = attn * key_float_or(k, "rope.scaling.yarn_attn_factor", 1e-3f, 1e3f, 1);
    f->yarn_beta_fast = key_float_or(k, "rope.scaling.yarn_beta_fast", 1e-3f, 1e6f, 32);
    f->yarn_beta_slow = key_float_or(k, "rope.scaling.yarn_beta_slow", 1e-3f, 1e6f, 1);
}

/// Names, defaults and meanings as in ggml-org/llama.cpp, src/llama-model.cpp and
/// src/llama-context.cpp.
struct rope_freq key_rope(struct keys *k, int rot, float base, int64_t n_ctx_train,
                          const char *scaling)
{
    struct rope_freq f = { .linear = 1 };
    char full[KEY_BYTES];

    f.rot = (int)key_int_or(k, "rope.dimension_count", 2, rot, rot);
    if (f.rot % 2 != 0)
        key_fail(k, ERR_FORMAT, "%d rotated dimensions (rope.dimension_count): not an even number",
                 f.rot);
    f.base = key_float_or(k, "rope.freq_base", 1.5f, 1e12f, base);

    struct str type = key_scaling(k, scaling);
    float factor = key_float_or(k, "rope.scale_linear", 0, 1e6f, 0);
    factor = key_float_or(k, "rope.scaling.factor", 0, 1e6f, factor);
    f.mscale = key_float_or(k, "rope.scaling.attn_factor", 1e-3f, 1e3f, 1);
    if (factor == 0)
        factor = 1;
    if (factor < 1e-3f)
        complain(k, "rope.scaling.factor", "0 or a number from 0.001");

    if (str_is(type, "linear") || str_is(type, "longrope")) {
        f.linear = factor;
    } else if (str_is(type, "yarn")) {
        read_yarn(k, &f, factor, f.mscale, n_ctx_train);
    } else if (!str_is(type, "none")) {
        char shown[64];
        key_fail(k, ERR_UNSUPPORTED, "key %s: unknown kind %s (linear, yarn, longrope, none)",
                 full_name(full, k, "rope.scaling.type"),
                 err_bytes(shown, sizeof shown, type.p, type.n));
    }
    return f;
}

/// As ggml-org/llama.cpp numbers them, from 1.
static const enum route_kind route_kinds[] = { ROUTE_SOFTMAX, ROUTE_SIGMOID,
                                               ROUTE_SOFTMAX_SELECTED };

static void read_router(struct keys *k, struct route_args *r)
{
    if (key_is(k, "expert_gating_func"))
        r->kind = route_kinds[key_int(k, "expert_gating_func", 1, ARRAY_LEN(route_kinds)) - 1];
    r->norm = key_bool_or(k, "expert_weights_norm", r->norm);
    r->scale = key_float_or(k, "expert_weights_scale", 0, 1e6f, 1);
    if (r->scale == 0)
        r->scale = 1;
    r->n_groups = (int)key_int_or(k, "expert_group_count", 0, r->n_experts, 0);
    if (r->n_groups <= 1)
        return;
    r->n_groups_used = (int)key_int(k, "expert_group_used_count", 1, r->n_groups);
    r->group_top = r->kind == ROUTE_SIGMOID ? 2 : 1; // as they were trained: DeepSeek V3, V2
}

void key_experts(struct keys *k, struct model *m, struct layer *layer, int first)
{
    int n_ff[MAX_LAYERS];
    for (int il = 0; il < m->n_layers; il++)
        n_ff[il] = layer[il].n_ff;
    key_layers_or(k, "expert_feed_forward_length", 1, MAX_FF, n_ff, m->n_layers);
    for (int il = first; il < m->n_layers; il++)
        layer[il].n_ff_exp = n_ff[il];
    read_router(k, &m->route);
}

void key_no_temperature(struct keys *k)
{
    if (key_float_or(k, "attention.temperature_scale", 0, 1e3f, 0) != 0)
        key_fail(k, ERR_UNSUPPORTED, "key %s.attention.temperature_scale is not supported",
                 k->arch);
}
