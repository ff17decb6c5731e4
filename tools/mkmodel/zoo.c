// zoo.c - the shape of a real model: keys and tensors as a JSON file lists them. The schema:
//     gguf.kv       [[key, type, value]]; a value { "synth": what, "n": N } is made here
//     gguf.tensors  [{ name, shape, type, layers }], or types { type: layers }; "{i}" in a name is
//                   the layer, layers are "0-3,7"

#include "mkmodel/mkmodel.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

static const char *text(const json_t *j, const char *key)
{
    const char *s = json_string_value(json_object_get(j, key));
    return s ? s : "";
}

// --- keys
// -------------------------------------------------------------------------------------------

static const json_t *find_key(const json_t *kv, const char *name)
{
    size_t i;
    json_t *row;
    json_array_foreach(kv, i, row)
    {
        const char *key = json_string_value(json_array_get(row, 0));
        if (key && strcmp(key, name) == 0)
            return json_array_get(row, 2);
    }
    return NULL;
}

static int token_id(const json_t *kv, const char *name)
{
    const json_t *v = find_key(kv, name);
    return v ? (int)json_integer_value(v) : -1;
}

static int synth_length(const json_t *v)
{
    return (int)json_integer_value(json_object_get(v, "n"));
}

/// A vocabulary of `n` tokens with control tokens where the keys say they are.
static void vocab(struct out *o, const json_t *kv, int n, bool merges)
{
    const char *model = json_string_value(find_key(kv, "tokenizer.ggml.model"));
    const bool bpe = !model || strcmp(model, "gpt2") == 0;
    const struct special want[] = {
        { token_id(kv, "tokenizer.ggml.eos_token_id"), bpe ? "<|im_end|>" : "<eos>" },
        { token_id(kv, "tokenizer.ggml.bos_token_id"), bpe ? "<|endoftext|>" : "<bos>" },
        { token_id(kv, "tokenizer.ggml.unknown_token_id"), "<unk>" },
        { token_id(kv, "tokenizer.ggml.padding_token_id"), bpe ? "<|pad|>" : "<pad>" },
        { n - 1, bpe ? "<|im_start|>" : "<start_of_turn>" },
        { n - 2, bpe ? "<|reserved|>" : "<end_of_turn>" },
    };
    struct special have[ARRAY_LEN(want)];
    int n_have = 0;
    for (size_t i = 0; i < ARRAY_LEN(want); i++) {
        bool taken = want[i].id < 0 || want[i].id >= n;
        for (int k = 0; k < n_have; k++)
            taken |= have[k].id == want[i].id;
        if (!taken)
            have[n_have++] = want[i];
    }
    const int n_merges = merges ? synth_length(find_key(kv, "tokenizer.ggml.merges")) : 0;
    vocab_write(o, bpe ? TOK_BPE : TOK_SPM, n, n_merges, have, n_have);
}

static void synth(struct out *o, const json_t *kv, const char *name, const json_t *v, bool merges)
{
    const char *what = text(v, "synth");
    if (strcmp(what, "tokens") == 0)
        vocab(o, kv, synth_length(v), merges); // and all that goes with them
    else if (strcmp(what, "filler") == 0)
        out_str(o, name, chat_template_chatml);
}

static void int_array(struct out *o, const char *name, const json_t *v)
{
    out_arr(o, name, GGUF_I32, json_array_size(v));
    for (size_t i = 0; i < json_array_size(v); i++) {
        const json_t *x = json_array_get(v, i);
        out_raw(o, &(int32_t){ json_is_true(x) ? 1 : (int32_t)json_integer_value(x) }, 4);
    }
}

static bool key(struct out *o, const json_t *kv, const char *name, const char *type,
                const json_t *v, bool merges, struct err *e)
{
    if (json_is_object(v))
        synth(o, kv, name, v, merges);
    else if (strcmp(type, "str") == 0 && json_is_string(v))
        out_str(o, name, json_string_value(v));
    else if (strcmp(type, "f32") == 0)
        out_f32(o, name, (float)json_number_value(v));
    else if (strcmp(type, "bool") == 0)
        out_bool(o, name, json_is_true(v));
    else if (strcmp(type, "u32") == 0)
        out_u32(o, name, (uint32_t)json_integer_value(v));
    else if (strcmp(type, "arr:f32") == 0) {
        out_arr(o, name, GGUF_F32, json_array_size(v));
        for (size_t i = 0; i < json_array_size(v); i++)
            out_raw(o, &(float){ (float)json_number_value(json_array_get(v, i)) }, 4);
    } else if (strcmp(type, "arr:str") == 0) {
        out_arr(o, name, GGUF_STR, json_array_size(v));
        for (size_t i = 0; i < json_array_size(v); i++) {
            const char *s = json_string_value(json_array_get(v, i));
            out_raw_str(o, s ? s : "");
        }
    } else if (strncmp(type, "arr:", 4) == 0)
        int_array(o, name, v);
    else
        return err_set(e, ERR_FORMAT, "key %s: type %s is not known here", name, type);
    return true;
}

// --- tensors
// ----------------------------------------------------------------------------------------

/// Whether layer `il` is in a list like "0-3,7".
static bool in_layers(const char *list, int il)
{
    while (*list) {
        char *end;
        const long a = strtol(list, &end, 10);
        const long b = *end == '-' ? strtol(end + 1, &end, 10) : a;
        if (end == list)
            return false;
        if (a <= il && il <= b)
            return true;
        list = *end == ',' ? end + 1 : end;
    }
    return false;
}

/// The type of an entry in layer `il`, or NULL where it has none there.
static const char *type_in_layer(const json_t *t, int il)
{
    json_t *types = json_object_get(t, "types");
    const char *type;
    json_t *layers;
    if (!types)
        return in_layers(text(t, "layers"), il) ? text(t, "type") : NULL;
    json_object_foreach(types, type, layers)
    {
        const char *list = json_string_value(layers);
        if (list && in_layers(list, il))
            return type;
    }
    return NULL;
}

static enum fill fill_of(const char *name)
{
    const char *end = strrchr(name, '.');
    if (strstr(name, "norm.weight"))
        return FILL_NORM;
    if ((end && strcmp(end, ".bias") == 0) || strstr(name, "sinks"))
        return FILL_BIAS;
    return strstr(name, "rope_freqs") ? FILL_ONES : FILL_MATRIX;
}

static bool tensor(struct out *o, const json_t *t, const char *type_name, int il, struct err *e)
{
    const char *pattern = text(t, "name"), *i = strstr(pattern, "{i}");
    const json_t *shape = json_object_get(t, "shape");
    char name[128];
    enum dtype type;
    uint64_t ne[4] = { 0 };

    if (i)
        (void)snprintf(name, sizeof name, "%.*s%d%s", (int)(i - pattern), pattern, il, i + 3);
    else
        (void)snprintf(name, sizeof name, "%s", pattern);
    if (!dtype_by_name(&type, type_name))
        return err_set(e, ERR_FORMAT, "tensor %s: type %s", name, type_name);
    if (strlen(name) > 63 || json_array_size(shape) < 1 || json_array_size(shape) > 4)
        return err_set(e, ERR_FORMAT, "tensor %s: name or shape", name);
    for (size_t k = 0; k < json_array_size(shape); k++) {
        const json_int_t n = json_integer_value(json_array_get(shape, k));
        if (n < 1 || n > 1 << 24)
            return err_set(e, ERR_FORMAT, "tensor %s: dimension %zu", name, k);
        ne[k] = (uint64_t)n;
    }
    if (ne[0] % (uint64_t)dtype_info(type)->block != 0)
        return err_set(e, ERR_FORMAT, "tensor %s: row of %d in blocks", name, (int)ne[0]);
    out_tensor(o, type, fill_of(name), ne, name);
    return true;
}

/// The tensors outside the blocks, then block by block.
static bool tensors(struct out *o, const json_t *list, int layers, struct err *e)
{
    size_t i;
    json_t *t;
    json_array_foreach(list, i, t)
    {
        if (!strstr(text(t, "name"), "{i}") && !tensor(o, t, text(t, "type"), -1, e))
            return false;
    }
    for (int vision = 0; vision < 2; vision++) {
        for (int il = 0; il < (vision ? 256 : layers); il++) {
            json_array_foreach(list, i, t)
            {
                const char *name = text(t, "name");
                const char *type = type_in_layer(t, il);
                if (!strstr(name, "{i}") || (strncmp(name, "v.", 2) == 0) != vision)
                    continue;
                if (type && !tensor(o, t, type, il, e))
                    return false;
            }
        }
    }
    return true;
}

// --- all of it
// --------------------------------------------------------------------------------------

static bool ends_with(const char *s, const char *end)
{
    const size_t n = strlen(s), m = strlen(end);
    return n >= m && strcmp(s + n - m, end) == 0;
}

bool zoo_write(struct out *o, const char *path, int layers, bool merges, struct err *e)
{
    json_error_t je;
    json_t *doc = json_load_file(path, 0, &je);
    if (!doc)
        return err_set(e, ERR_FORMAT, "%s:%d: %s", path, je.line, je.text);

    const json_t *gguf = json_object_get(doc, "gguf"), *kv = json_object_get(gguf, "kv");
    bool ok = true;
    int n_layers = 0;
    size_t i;
    json_t *row;
    json_array_foreach(kv, i, row)
    {
        const char *name = json_string_value(json_array_get(row, 0));
        const char *type = json_string_value(json_array_get(row, 1));
        json_t *v = json_array_get(row, 2);
        if (!name || !type || !v) {
            ok = err_set(e, ERR_FORMAT, "%s: key %zu", path, i);
            break;
        }
        if (ends_with(name, ".block_count") && !strstr(name, "vision")) {
            n_layers = (int)json_integer_value(v);
            if (layers != 0 && layers < n_layers)
                n_layers = layers;
            out_u32(o, name, (uint32_t)n_layers);
        } else if (!(ok = key(o, kv, name, type, v, merges, e))) {
            break;
        }
    }
    ok = ok && tensors(o, json_object_get(gguf, "tensors"), n_layers, e);
    json_decref(doc);
    return ok || err_add(e, "%s", path);
}
