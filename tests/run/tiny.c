// tiny.c - see tiny.h.

#include "run/tiny.h"

#include "run/vectors.h"
#include "support/gguf_make.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { EMBD = 256, HEADS = 4, KV_HEADS = 2, HEAD_DIM = 64, FF = 512 };

static uint64_t next(uint64_t *state)
{
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    return *state >> 33;
}

/// About normal, of variance 1.
static float normal(uint64_t *state)
{
    double sum = 0;

    for (int i = 0; i < 6; i++)
        sum += (double)next(state) / (double)(1u << 31);
    return (float)((sum - 3) * sqrt(2));
}

struct writer {
    struct gguf_make m;
    uint64_t rng;
    bool quantized;
};

static void tensor(struct writer *w, const char *name, int il, enum dtype type, int64_t cols,
                   int64_t rows, float mean, float spread)
{
    char full[96];
    uint64_t row_bytes;

    if (!w->quantized)
        type = DTYPE_F32;
    row_bytes = dtype_row_bytes(type, cols);
    uint8_t *data = xmalloc(row_bytes * (size_t)rows);
    float *x = xmalloc((size_t)cols * sizeof(float));
    for (int64_t r = 0; r < rows; r++) {
        for (int64_t i = 0; i < cols; i++)
            x[i] = mean + spread * normal(&w->rng);
        dtype_info(type)->from_f32(data + (uint64_t)r * row_bytes, x, cols);
    }
    if (il < 0)
        snprintf(full, sizeof(full), "%s", name);
    else
        snprintf(full, sizeof(full), "blk.%d.%s", il, name);
    gm_tensor_data(&w->m, full, type, rows > 1 ? 2 : 1,
                   (uint64_t[]){ (uint64_t)cols, (uint64_t)rows }, data, row_bytes * (size_t)rows);
    free(x);
    free(data);
}

static void matrix(struct writer *w, const char *name, int il, enum dtype type, int64_t cols,
                   int64_t rows)
{
    tensor(w, name, il, type, cols, rows, 0, 1 / sqrtf((float)cols));
}

static void norm(struct writer *w, const char *name, int il, int64_t n)
{
    tensor(w, name, il, DTYPE_F32, n, 1, 1, 0.1f);
}

static void keys(struct writer *w, const char *arch)
{
    static const struct {
        const char *name;
        uint32_t value;
    } number[] = {
        { "block_count", TINY_LAYERS },
        { "context_length", 32768 },
        { "embedding_length", EMBD },
        { "feed_forward_length", FF },
        { "attention.head_count", HEADS },
        { "attention.head_count_kv", KV_HEADS },
        { "attention.key_length", HEAD_DIM },
        { "attention.value_length", HEAD_DIM },
        { "attention.sliding_window", TINY_WINDOW },
    };
    char name[96];
    size_t n = ARRAY_LEN(number) - (strcmp(arch, "gemma3") != 0);

    gm_str(&w->m, "general.architecture", arch);
    for (size_t i = 0; i < n; i++) {
        snprintf(name, sizeof(name), "%s.%s", arch, number[i].name);
        gm_u32(&w->m, name, number[i].value);
    }
    snprintf(name, sizeof(name), "%s.attention.layer_norm_rms_epsilon", arch);
    gm_f32(&w->m, name, 1e-5f);
}

static void write_model(const char *path, const char *arch, bool quantized)
{
    struct writer w = { .rng = 42, .quantized = quantized };
    bool gemma = strcmp(arch, "gemma3") == 0;

    gm_init(&w.m);
    keys(&w, arch);
    matrix(&w, "token_embd.weight", -1, DTYPE_Q6_K, EMBD, TINY_VOCAB);
    for (int il = 0; il < TINY_LAYERS; il++) {
        norm(&w, "attn_norm.weight", il, EMBD);
        matrix(&w, "attn_q.weight", il, DTYPE_Q8_0, EMBD, HEADS * HEAD_DIM);
        matrix(&w, "attn_k.weight", il, DTYPE_Q4_K, EMBD, KV_HEADS * HEAD_DIM);
        matrix(&w, "attn_v.weight", il, DTYPE_Q6_K, EMBD, KV_HEADS * HEAD_DIM);
        matrix(&w, "attn_output.weight", il, DTYPE_Q5_0, HEADS * HEAD_DIM, EMBD);
        norm(&w, "ffn_norm.weight", il, EMBD);
        matrix(&w, "ffn_gate.weight", il, il % 2 == 0 ? DTYPE_Q4_K : DTYPE_Q4_1, EMBD, FF);
        matrix(&w, "ffn_up.weight", il, il % 2 == 0 ? DTYPE_Q4_K : DTYPE_F16, EMBD, FF);
        matrix(&w, "ffn_down.weight", il, il % 2 == 0 ? DTYPE_Q6_K : DTYPE_Q4_0, FF, EMBD);
        if (gemma) {
            norm(&w, "attn_q_norm.weight", il, HEAD_DIM);
            norm(&w, "attn_k_norm.weight", il, HEAD_DIM);
            norm(&w, "post_attention_norm.weight", il, EMBD);
            norm(&w, "post_ffw_norm.weight", il, EMBD);
        } else {
            tensor(&w, "attn_q.bias", il, DTYPE_F32, HEADS * HEAD_DIM, 1, 0, 0.1f);
        }
    }
    norm(&w, "output_norm.weight", -1, EMBD);
    if (!gemma)
        matrix(&w, "output.weight", -1, DTYPE_Q8_0, EMBD, TINY_VOCAB);
    gm_write(&w.m, path);
    gm_done(&w.m);
}

static char *dir; // of this process's models

static void remove_dir(void)
{
    gm_dir_remove(dir);
    free(dir);
}

const char *tiny_model(const char *arch, bool quantized)
{
    static char path[1024];

    if (dir == NULL) {
        dir = gm_dir();
        atexit(remove_dir);
    }
    snprintf(path, sizeof(path), "%s/%s-%s.gguf", dir, arch, quantized ? "q" : "f32");
    if (access(path, R_OK) != 0)
        write_model(path, arch, quantized);
    return path;
}

void tiny_tokens(int32_t *out, int n, uint64_t seed)
{
    for (int i = 0; i < n; i++)
        out[i] = (int32_t)(next(&seed) % TINY_VOCAB);
}

void tiny_open(struct engine *en, const char *arch, bool quantized, const struct engine_opts *o)
{
    open_engine(en, tiny_model(arch, quantized), o);
}
