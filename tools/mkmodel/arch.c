// arch.c - the keys and tensors that files of each architecture have. A new one: a row in `archs`,
// and a flag where it has something of its own.

#include "mkmodel/mkmodel.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum has {
    VOCAB_SIZE = 1 << 0, // key vocab_size
    ROPE_DIM = 1 << 1,   // key rope.dimension_count
    HEAD_DIM = 1 << 2,   // keys attention.key_length and value_length, always
    QKV_BIAS = 1 << 3,
    QK_NORM = 1 << 4,
    POST_NORMS = 1 << 5,  // a norm after attention and after the feed-forward half, too
    FUSED = 1 << 6,       // attn_qkv, and ffn_up holds gate and up
    ALWAYS_TIED = 1 << 7, // no output.weight
    PARALLEL = 1 << 8,    // one norm before both halves
    LAYER_NORM = 1 << 9,  // key attention.layer_norm_epsilon
    MOE = 1 << 10,
    SINKS = 1 << 11,   // attention sinks, biases everywhere, ffn_norm called otherwise: gpt-oss
    MLA = 1 << 12,     // latent attention, shared experts, dense first layer: deepseek2
    BPE = 1 << 13,     // usual vocabulary; else SentencePiece
    OLD_OSS = 1 << 14, // names and fused matrices of the first gpt-oss files
    MAY_MOE = 1 << 15, // MOE where experts are asked for
    NO_PRE_NORMS = 1 << 16, // norms behind each half only
    QK_NORM_ALL = 1 << 17,  // one norm over all heads
};

struct arch {
    const char *name;
    unsigned has;
    float rope_base; // 0: no key
    float eps;
    int layers;      // by default: one round of the pattern
    int window;      // by default, so that tests reach it; 0: no key
    const char *pre; // tokenizer.ggml.pre for byte-level BPE
    void (*more_keys)(struct out *o, const char *arch, const struct params *p);
};

static void put_u32(struct out *o, const char *arch, const char *key, int v)
{
    char *name = xasprintf("%s.%s", arch, key);
    out_u32(o, name, (uint32_t)v);
    free(name);
}

static void put_f32(struct out *o, const char *arch, const char *key, float v)
{
    char *name = xasprintf("%s.%s", arch, key);
    out_f32(o, name, v);
    free(name);
}

static void put_str(struct out *o, const char *arch, const char *key, const char *v)
{
    char *name = xasprintf("%s.%s", arch, key);
    out_str(o, name, v);
    free(name);
}

static void gemma2_keys(struct out *o, const char *arch, const struct params *p)
{
    (void)p;
    put_f32(o, arch, "attn_logit_softcapping", 50);
    put_f32(o, arch, "final_logit_softcapping", 30);
}

static void gpt_oss_keys(struct out *o, const char *arch, const struct params *p)
{
    (void)p;
    put_str(o, arch, "rope.scaling.type", "yarn");
    put_f32(o, arch, "rope.scaling.factor", 32);
    put_u32(o, arch, "rope.scaling.original_context_length", 4096);
}

static void deepseek2_keys(struct out *o, const char *arch, const struct params *p)
{
    put_u32(o, arch, "leading_dense_block_count", p->lead);
    put_u32(o, arch, "expert_shared_count", p->shared);
    if (p->groups > 0) {
        put_u32(o, arch, "expert_group_count", p->groups);
        put_u32(o, arch, "expert_group_used_count", p->groups_used);
    }
    put_str(o, arch, "rope.scaling.type", "yarn");
    put_f32(o, arch, "rope.scaling.factor", 40);
    put_u32(o, arch, "rope.scaling.original_context_length", 4096);
}

static void phi3_keys(struct out *o, const char *arch, const struct params *p)
{
    put_u32(o, arch, "rope.scaling.original_context_length", p->orig_ctx);
    if (p->rope_factors)
        put_f32(o, arch, "rope.scaling.attn_factor", 1.19f);
}

/// Stretched 16 times, without the sharper attention that goes with it, or one that grows.
static void mistral3_keys(struct out *o, const char *arch, const struct params *p)
{
    put_str(o, arch, "rope.scaling.type", "yarn");
    put_f32(o, arch, "rope.scaling.factor", 16);
    put_u32(o, arch, "rope.scaling.original_context_length", p->orig_ctx);
    put_f32(o, arch, "rope.scaling.yarn_log_multiplier", 1);
    if (p->grow)
        put_f32(o, arch, "attention.temperature_scale", 0.1f);
}

static void gptoss_keys(struct out *o, const char *arch, const struct params *p)
{
    (void)p;
    put_f32(o, arch, "rope.scaling.factor", 32);
    put_u32(o, arch, "rope.scaling.original_context_length", 4096);
}

static void command_r_keys(struct out *o, const char *arch, const struct params *p)
{
    (void)p;
    put_f32(o, arch, "logit_scale", 0.0625f);
    put_str(o, arch, "rope.scaling.type", "none");
}

static void cohere2_keys(struct out *o, const char *arch, const struct params *p)
{
    (void)p;
    put_f32(o, arch, "logit_scale", 0.25f);
    put_str(o, arch, "rope.scaling.type", "none");
}

/// Not the 12, 0.22, 1 / head_dim and 8 of real files: with these, a tiny model is its embedding,
/// and what its blocks do wrong cannot be seen.
static void granite_keys(struct out *o, const char *arch, const struct params *p)
{
    put_f32(o, arch, "embedding_scale", 1.5f);
    put_f32(o, arch, "residual_scale", 0.6f);
    put_f32(o, arch, "attention.scale", 0.4f);
    put_f32(o, arch, "logit_scale", 0.7f);
    char *name = xasprintf("%s.rope.scaling.finetuned", arch);
    if (p->no_rope)
        out_bool(o, name, false);
    free(name);
}

// clang-format off
static const struct arch archs[] = {
    { "llama",     VOCAB_SIZE | ROPE_DIM | MAY_MOE | BPE, 10000, 1e-5f, 2, 0, "smollm", NULL },
    { "mistral3",  VOCAB_SIZE | ROPE_DIM | HEAD_DIM | BPE, 1e6f, 1e-5f, 2, 0, "tekken", mistral3_keys },
    { "olmo2",     QK_NORM_ALL | POST_NORMS | NO_PRE_NORMS | BPE, 500000, 1e-6f, 4, 0, "dbrx", NULL },
    { "granite",   VOCAB_SIZE | ROPE_DIM | BPE, 10000, 1e-5f, 2, 0, "refact", granite_keys },
    { "gemma3",    HEAD_DIM | QK_NORM | POST_NORMS | ALWAYS_TIED, 1e6f, 1e-6f, 6, 64, "default", NULL },
    { "gemma2",    HEAD_DIM | POST_NORMS | ALWAYS_TIED, 0, 1e-6f, 2, 64, "default", gemma2_keys },
    { "qwen2",     QKV_BIAS | BPE, 1e6f, 1e-6f, 2, 0, "qwen2", NULL },
    { "qwen3",     HEAD_DIM | QK_NORM | BPE, 1e6f, 1e-6f, 2, 0, "qwen2", NULL },
    { "qwen3moe",  HEAD_DIM | QK_NORM | MOE | BPE, 1e6f, 1e-6f, 2, 0, "qwen2", NULL },
    { "gpt-oss",   HEAD_DIM | QKV_BIAS | SINKS | MOE | BPE, 150000, 1e-5f, 2, 64, "gpt-4o", gpt_oss_keys },
    { "gptoss",    HEAD_DIM | QKV_BIAS | SINKS | OLD_OSS | MOE | BPE, 150000, 1e-5f, 2, 64, "gpt-4o", gptoss_keys },
    { "deepseek2", VOCAB_SIZE | ROPE_DIM | MLA | MOE | BPE, 10000, 1e-6f, 2, 0, "deepseek-llm", deepseek2_keys },
    { "phi3",      ROPE_DIM | FUSED, 10000, 1e-5f, 2, 0, "dbrx", phi3_keys },
    { "command-r", PARALLEL | LAYER_NORM | ALWAYS_TIED | BPE, 8e6f, 1e-5f, 2, 0, "command-r", command_r_keys },
    { "cohere2",   VOCAB_SIZE | ROPE_DIM | HEAD_DIM | PARALLEL | LAYER_NORM | ALWAYS_TIED | BPE,
                   50000, 1e-5f, 4, 64, "command-r", cohere2_keys },
};
// clang-format on

const char *arch_name(int i)
{
    return i >= 0 && i < (int)ARRAY_LEN(archs) ? archs[i].name : NULL;
}

// --- types
// ------------------------------------------------------------------------------------------

/// What decides the type of a matrix when types are mixed.
enum role { ROLE_PLAIN, ROLE_V, ROLE_DOWN, ROLE_QKV, ROLE_HEAD, ROLE_EXPERTS };

struct job {
    struct out *o;
    const struct arch *a;
    unsigned has;
    struct params p; // defaults filled in
    enum dtype type;
    enum dtype experts_type; // if not F32, which is 0
    bool mix_m;              // Q4_K_M
    int il;                  // block, -1 outside
};

/// Where a row is no whole number of blocks, as llama.cpp falls back; then F16.
static enum dtype fitting(enum dtype t, uint64_t cols)
{
    if (cols % (uint64_t)dtype_info(t)->block == 0)
        return t;
    if (dtype_info(t)->block == 256)
        return fitting(t == DTYPE_Q4_K   ? DTYPE_Q5_0
                       : t == DTYPE_Q5_K ? DTYPE_Q5_1
                       : t == DTYPE_Q6_K ? DTYPE_Q8_0
                                         : DTYPE_IQ4_NL,
                       cols);
    return DTYPE_F16;
}

static enum dtype matrix_type(const struct job *j, enum role role, uint64_t cols)
{
    enum dtype t = j->type;
    if (role == ROLE_EXPERTS && j->experts_type != DTYPE_F32)
        return j->experts_type;
    if (t == DTYPE_MXFP4 && (j->has & MOE) && role != ROLE_EXPERTS)
        t = DTYPE_Q8_0;
    if (j->mix_m) {
        const int n = j->p.layers, i = j->il;
        const bool more_bits = i < n / 8 || i >= 7 * n / 8 || (i - n / 8) % 3 == 2;
        if (role == ROLE_HEAD || ((role == ROLE_V || role == ROLE_DOWN) && more_bits))
            t = DTYPE_Q6_K;
        else if (role == ROLE_QKV)
            t = DTYPE_Q5_K;
    }
    return fitting(t, cols);
}

/// general.file_type, as llama.cpp numbers mixtures.
static int file_type(const struct job *j)
{
    static const struct {
        enum dtype t;
        int id;
    } ids[] = { { DTYPE_F16, 1 },   { DTYPE_Q4_0, 2 },    { DTYPE_Q4_1, 3 },  { DTYPE_Q8_0, 7 },
                { DTYPE_Q5_0, 8 },  { DTYPE_Q5_1, 9 },    { DTYPE_Q2_K, 10 }, { DTYPE_Q3_K, 11 },
                { DTYPE_Q4_K, 14 }, { DTYPE_Q5_K, 16 },   { DTYPE_Q6_K, 18 }, { DTYPE_IQ4_NL, 25 },
                { DTYPE_BF16, 32 }, { DTYPE_IQ4_XS, 30 }, { DTYPE_MXFP4, 38 } };
    if (j->mix_m)
        return 15;
    for (size_t i = 0; i < ARRAY_LEN(ids); i++)
        if (ids[i].t == j->type)
            return ids[i].id;
    return 0;
}

// --- tensors
// ----------------------------------------------------------------------------------------

static void tensor(const struct job *j, enum dtype t, enum fill fill, const char *name, int n0,
                   int n1, int n2)
{
    const uint64_t ne[4] = { (uint64_t)n0, (uint64_t)n1, (uint64_t)n2 };
    char *full = j->il < 0 ? xstrdup(name) : xasprintf("blk.%d.%s", j->il, name);
    out_tensor(j->o, t, fill, ne, full);
    free(full);
}

static void norm(const struct job *j, const char *name, int n)
{
    tensor(j, DTYPE_F32, FILL_NORM, name, n, 0, 0);
}

static void bias(const struct job *j, const char *name, int n0, int n1)
{
    tensor(j, DTYPE_F32, FILL_BIAS, name, n0, n1, 0);
}

static void matrix(const struct job *j, enum role role, const char *name, int cols, int rows)
{
    tensor(j, matrix_type(j, role, (uint64_t)cols), FILL_MATRIX, name, cols, rows, 0);
}

/// One matrix for each expert, or for each head.
static void matrices(const struct job *j, const char *name, int cols, int rows, int n)
{
    tensor(j, matrix_type(j, ROLE_EXPERTS, (uint64_t)cols), FILL_MATRIX, name, cols, rows, n);
}

/// Latent attention: keys and values come out of one vector of `rank` numbers a token; rope_dim of
/// a head's dimensions carry the position. Without old_mla as in DeepSeek-R1, with it as in the
/// first files of DeepSeek-V2-Lite: queries direct, one matrix for keys and values.
static void mla(const struct job *j)
{
    const struct params *p = &j->p;
    const int rank = p->rank, rope = p->rope_dim, nope = p->head_dim - rope, v = p->head_dim_v;

    if (p->direct_q) {
        matrix(j, ROLE_PLAIN, "attn_q.weight", p->embd, p->heads * p->head_dim);
    } else {
        matrix(j, ROLE_PLAIN, "attn_q_a.weight", p->embd, rank);
        norm(j, "attn_q_a_norm.weight", rank);
        matrix(j, ROLE_PLAIN, "attn_q_b.weight", rank, p->heads * p->head_dim);
    }
    matrix(j, ROLE_PLAIN, "attn_kv_a_mqa.weight", p->embd, rank + rope);
    norm(j, "attn_kv_a_norm.weight", rank);
    if (p->old_mla) {
        matrix(j, ROLE_PLAIN, "attn_kv_b.weight", rank, p->heads * (nope + v));
    } else {
        matrices(j, "attn_k_b.weight", nope, rank, p->heads);
        matrices(j, "attn_v_b.weight", rank, v, p->heads);
    }
    matrix(j, ROLE_PLAIN, "attn_output.weight", p->heads * v, p->embd);
}

/// Of the last tensor: it has the numbers of these.
static void joined(const struct job *j, const struct out_join *from)
{
    char prefix[32];
    (void)snprintf(prefix, sizeof prefix, "blk.%d.", j->il);
    out_joined(j->o, prefix, from);
}

/// q, k, v one behind the other, and the names that go with it.
static void old_oss_attention(const struct job *j, int q, int kv)
{
    const int embd = j->p.embd, heads = j->p.heads;

    matrix(j, ROLE_QKV, "attn_qkv.weight", embd, q + 2 * kv);
    joined(j, &(struct out_join){ .n = 3,
                                  .from = { "attn_q.weight", "attn_k.weight", "attn_v.weight" },
                                  .rows = { q, kv, kv } });
    bias(j, "attn_qkv.bias", q + 2 * kv, 0);
    joined(j, &(struct out_join){ .n = 3,
                                  .from = { "attn_q.bias", "attn_k.bias", "attn_v.bias" },
                                  .rows = { q, kv, kv } });
    matrix(j, ROLE_PLAIN, "attn_out.weight", q, embd);
    joined(j, &(struct out_join){ .n = 1, .from = { "attn_output.weight" }, .rows = { embd } });
    bias(j, "attn_out.bias", embd, 0);
    joined(j, &(struct out_join){ .n = 1, .from = { "attn_output.bias" }, .rows = { embd } });
    bias(j, "attn_sinks", heads, 0);
    joined(j, &(struct out_join){ .n = 1, .from = { "attn_sinks.weight" }, .rows = { heads } });
}

static void attention(const struct job *j)
{
    const struct params *p = &j->p;
    const int q = p->heads * p->head_dim, kv = p->kv_heads * p->head_dim;

    if (j->has & OLD_OSS) {
        old_oss_attention(j, q, kv);
        return;
    }
    if (j->has & FUSED) {
        matrix(j, ROLE_QKV, "attn_qkv.weight", p->embd, q + 2 * kv);
    } else {
        matrix(j, ROLE_PLAIN, "attn_q.weight", p->embd, q);
        matrix(j, ROLE_PLAIN, "attn_k.weight", p->embd, kv);
        matrix(j, ROLE_V, "attn_v.weight", p->embd, kv);
    }
    if (j->has & QKV_BIAS) {
        bias(j, "attn_q.bias", q, 0);
        bias(j, "attn_k.bias", kv, 0);
        bias(j, "attn_v.bias", kv, 0);
    }
    if (j->has & QK_NORM) {
        norm(j, "attn_q_norm.weight", p->head_dim);
        norm(j, "attn_k_norm.weight", p->head_dim);
    }
    if (j->has & QK_NORM_ALL) {
        norm(j, "attn_q_norm.weight", q);
        norm(j, "attn_k_norm.weight", kv);
    }
    if (p->qk_norm) { // one for each head
        tensor(j, DTYPE_F32, FILL_NORM, "attn_q_norm.weight", p->head_dim, p->heads, 0);
        tensor(j, DTYPE_F32, FILL_NORM, "attn_k_norm.weight", p->head_dim, p->kv_heads, 0);
    }
    matrix(j, ROLE_PLAIN, "attn_output.weight", q, p->embd);
    if (j->has & SINKS) {
        bias(j, "attn_output.bias", p->embd, 0);
        bias(j, "attn_sinks.weight", p->heads, 0);
    }
}

static void experts(const struct job *j)
{
    const struct params *p = &j->p;
    const int ff = p->expert_ffn, shared = ff * p->shared;

    tensor(j, DTYPE_F32, FILL_MATRIX, "ffn_gate_inp.weight", p->embd, p->experts, 0);
    matrices(j, "ffn_gate_exps.weight", p->embd, ff, p->experts);
    matrices(j, "ffn_up_exps.weight", p->embd, ff, p->experts);
    matrices(j, "ffn_down_exps.weight", ff, p->embd, p->experts);
    if (j->has & SINKS) {
        bias(j, "ffn_gate_inp.bias", p->experts, 0);
        bias(j, "ffn_gate_exps.bias", ff, p->experts);
        bias(j, "ffn_up_exps.bias", ff, p->experts);
        bias(j, "ffn_down_exps.bias", p->embd, p->experts);
    }
    if (j->has & MLA) {
        if (!p->old_mla)
            bias(j, "exp_probs_b.bias", p->experts, 0);
        matrix(j, ROLE_PLAIN, "ffn_gate_shexp.weight", p->embd, shared);
        matrix(j, ROLE_PLAIN, "ffn_up_shexp.weight", p->embd, shared);
        matrix(j, ROLE_DOWN, "ffn_down_shexp.weight", shared, p->embd);
    }
}

/// Rows of gate and up in turn.
static void old_oss_experts(const struct job *j)
{
    const struct params *p = &j->p;
    const int ff = p->expert_ffn;

    tensor(j, DTYPE_F32, FILL_MATRIX, "ffn_gate_inp.weight", p->embd, p->experts, 0);
    bias(j, "ffn_gate_inp.bias", p->experts, 0);
    matrices(j, "ffn_gate_up_exps.weight", p->embd, 2 * ff, p->experts);
    joined(j, &(struct out_join){ .in_turn = true,
                                  .n = 2,
                                  .from = { "ffn_gate_exps.weight", "ffn_up_exps.weight" },
                                  .rows = { ff, ff } });
    bias(j, "ffn_gate_up_exps.bias", 2 * ff, p->experts);
    joined(j, &(struct out_join){ .in_turn = true,
                                  .n = 2,
                                  .from = { "ffn_gate_exps.bias", "ffn_up_exps.bias" },
                                  .rows = { ff, ff } });
    matrices(j, "ffn_down_exps.weight", ff, p->embd, p->experts);
    bias(j, "ffn_down_exps.bias", p->embd, p->experts);
}

static void feed_forward(const struct job *j)
{
    const struct params *p = &j->p;

    if (j->has & FUSED) {
        matrix(j, ROLE_PLAIN, "ffn_up.weight", p->embd, 2 * p->ffn);
    } else {
        matrix(j, ROLE_PLAIN, "ffn_gate.weight", p->embd, p->ffn);
        matrix(j, ROLE_PLAIN, "ffn_up.weight", p->embd, p->ffn);
    }
    matrix(j, ROLE_DOWN, "ffn_down.weight", p->ffn, p->embd);
}

static void block(const struct job *j)
{
    const unsigned has = j->has;
    const int embd = j->p.embd;

    if (!(has & NO_PRE_NORMS))
        norm(j, "attn_norm.weight", embd);
    if (has & MLA)
        mla(j);
    else
        attention(j);
    if (has & POST_NORMS)
        norm(j, "post_attention_norm.weight", embd);
    if (!(has & (PARALLEL | NO_PRE_NORMS)))
        norm(j, has & SINKS && !(has & OLD_OSS) ? "post_attention_norm.weight" : "ffn_norm.weight",
             embd);
    if (has & OLD_OSS) {
        joined(j, &(struct out_join){
                      .n = 1, .from = { "post_attention_norm.weight" }, .rows = { embd } });
        old_oss_experts(j);
    } else if ((has & MOE) && j->il >= j->p.lead)
        experts(j);
    else
        feed_forward(j);
    if (has & POST_NORMS)
        norm(j, "post_ffw_norm.weight", embd);
}

// --- a vision tower, as in gemma3
// ------------------------------------------------------------------

/// 4 patches of 3 colours, two blocks.
enum { TOWER_LAYERS = 2, TOWER_EMBD = 40, TOWER_FF = 72, PATCH = 14, IMAGE = 2 * PATCH };

static void tower_keys(const struct job *j)
{
    const char *a = j->a->name;
    put_u32(j->o, a, "mm.tokens_per_image", 4);
    put_u32(j->o, a, "vision.attention.head_count", 2);
    put_f32(j->o, a, "vision.attention.layer_norm_epsilon", 1e-6f);
    put_u32(j->o, a, "vision.block_count", TOWER_LAYERS);
    put_u32(j->o, a, "vision.embedding_length", TOWER_EMBD);
    put_u32(j->o, a, "vision.feed_forward_length", TOWER_FF);
    put_u32(j->o, a, "vision.image_size", IMAGE);
    put_u32(j->o, a, "vision.num_channels", 3);
    put_u32(j->o, a, "vision.patch_size", PATCH);
}

/// A weight and its bias, "v.blk.IL.NAME"; cols 0: of a norm.
static void tower_pair(const struct job *j, int il, const char *name, int cols, int rows)
{
    const uint64_t matrix[4] = { (uint64_t)cols, (uint64_t)rows }, vector[4] = { (uint64_t)rows };
    char *weight = xasprintf("v.blk.%d.%s.weight", il, name);
    char *shift = xasprintf("v.blk.%d.%s.bias", il, name);
    if (cols > 0)
        out_tensor(j->o, DTYPE_F16, FILL_MATRIX, matrix, weight);
    else
        out_tensor(j->o, DTYPE_F32, FILL_NORM, vector, weight);
    out_tensor(j->o, DTYPE_F32, FILL_BIAS, vector, shift);
    free(shift);
    free(weight);
}

static void tower(const struct job *j)
{
    const uint64_t filters[4] = { PATCH, PATCH, 3, TOWER_EMBD };

    out_tensor(j->o, DTYPE_F16, FILL_MATRIX, filters, "v.patch_embedding.weight");
    bias(j, "v.patch_embedding.bias", TOWER_EMBD, 0);
    tensor(j, DTYPE_F16, FILL_MATRIX, "v.position_embedding.weight", TOWER_EMBD, 4, 0);
    for (int il = 0; il < TOWER_LAYERS; il++) {
        tower_pair(j, il, "layer_norm1", 0, TOWER_EMBD);
        tower_pair(j, il, "attn_q", TOWER_EMBD, TOWER_EMBD);
        tower_pair(j, il, "attn_k", TOWER_EMBD, TOWER_EMBD);
        tower_pair(j, il, "attn_v", TOWER_EMBD, TOWER_EMBD);
        tower_pair(j, il, "attn_output", TOWER_EMBD, TOWER_EMBD);
        tower_pair(j, il, "layer_norm2", 0, TOWER_EMBD);
        tower_pair(j, il, "mlp.fc1", TOWER_EMBD, TOWER_FF);
        tower_pair(j, il, "mlp.fc2", TOWER_FF, TOWER_EMBD);
    }
    norm(j, "v.post_layernorm.weight", TOWER_EMBD);
    bias(j, "v.post_layernorm.bias", TOWER_EMBD, 0);
    tensor(j, DTYPE_F16, FILL_MATRIX, "mm.mm_input_projection.weight", j->p.embd, TOWER_EMBD, 0);
    norm(j, "mm.mm_soft_emb_norm.weight", TOWER_EMBD);
}

// --- all tensors
// --------------------------------------------------------------------------------------

static void tensors(struct job *j, int n_vocab)
{
    const struct params *p = &j->p;
    const bool tied = p->tied || ((j->has & ALWAYS_TIED) && !p->untied);

    j->il = -1;
    matrix(j, tied ? ROLE_HEAD : ROLE_PLAIN, "token_embd.weight", p->embd, n_vocab);
    norm(j, "output_norm.weight", p->embd);
    if (!tied)
        matrix(j, ROLE_HEAD, "output.weight", p->embd, n_vocab);
    if (p->rope_freqs)
        tensor(j, DTYPE_F32, FILL_ONES, "rope_freqs.weight", p->head_dim / 2, 0, 0);
    if (p->rope_factors) {
        norm(j, "rope_factors_long.weight", p->rope_dim / 2);
        norm(j, "rope_factors_short.weight", p->rope_dim / 2);
    }
    for (j->il = 0; j->il < p->layers; j->il++)
        block(j);
    j->il = -1;
    if (p->vision)
        tower(j);
}

// --- keys
// -------------------------------------------------------------------------------------------

static void mla_keys(const struct job *j)
{
    const char *a = j->a->name;
    const struct params *p = &j->p;

    put_u32(j->o, a, "attention.kv_lora_rank", p->rank);
    if (!p->direct_q)
        put_u32(j->o, a, "attention.q_lora_rank", p->rank);
    if (p->old_mla) {
        put_u32(j->o, a, "attention.head_count_kv", p->heads);
        put_u32(j->o, a, "attention.key_length", p->head_dim);
        put_u32(j->o, a, "attention.value_length", p->head_dim_v);
        put_u32(j->o, a, "expert_gating_func", 1);
        put_f32(j->o, a, "expert_weights_scale", 1);
        put_f32(j->o, a, "rope.scaling.yarn_log_multiplier", 0.0707f);
    } else {
        put_u32(j->o, a, "attention.head_count_kv", 1);
        put_u32(j->o, a, "attention.key_length", p->rank + p->rope_dim);
        put_u32(j->o, a, "attention.value_length", p->rank);
        put_u32(j->o, a, "attention.key_length_mla", p->head_dim);
        put_u32(j->o, a, "attention.value_length_mla", p->head_dim_v);
        put_u32(j->o, a, "expert_gating_func", 2);
        put_f32(j->o, a, "expert_weights_scale", 2.5f);
        char *name = xasprintf("%s.expert_weights_norm", a);
        out_bool(j->o, name, true);
        free(name);
        put_f32(j->o, a, "rope.scaling.yarn_log_multiplier", 0.1f);
    }
}

static void attention_keys(const struct job *j)
{
    const char *a = j->a->name;
    const struct params *p = &j->p;

    put_u32(j->o, a, "attention.head_count", p->heads);
    if (j->has & MLA) {
        mla_keys(j);
    } else {
        put_u32(j->o, a, "attention.head_count_kv", p->kv_heads);
        if ((j->has & HEAD_DIM) || p->head_dim * p->heads != p->embd) {
            put_u32(j->o, a, "attention.key_length", p->head_dim);
            put_u32(j->o, a, "attention.value_length", p->head_dim);
        }
    }
    put_f32(j->o, a,
            j->has & LAYER_NORM ? "attention.layer_norm_epsilon"
                                : "attention.layer_norm_rms_epsilon",
            j->a->eps);
    if (p->window != 0)
        put_u32(j->o, a, "attention.sliding_window", p->window);
    if (j->a->rope_base != 0)
        put_f32(j->o, a, "rope.freq_base", j->a->rope_base);
    if (j->has & ROPE_DIM)
        put_u32(j->o, a, "rope.dimension_count", p->rope_dim);
}

static void model_keys(const struct job *j)
{
    const char *a = j->a->name;
    const struct params *p = &j->p;
    out_str(j->o, "general.architecture", a);
    out_str(j->o, "general.type", "model");
    out_str(j->o, "general.name", "Tiny model"); // readers take hints from names: give none
    put_u32(j->o, a, "block_count", p->layers);
    put_u32(j->o, a, "context_length", p->ctx);
    put_u32(j->o, a, "embedding_length", p->embd);
    put_u32(j->o, a, "feed_forward_length", p->ffn);
    attention_keys(j);
    if (j->has & MOE) {
        put_u32(j->o, a, "expert_count", p->experts);
        put_u32(j->o, a, "expert_used_count", p->experts_used);
        put_u32(j->o, a, "expert_feed_forward_length", p->expert_ffn);
    }
    if (p->vision)
        tower_keys(j);
    if (j->a->more_keys)
        j->a->more_keys(j->o, a, p);
    out_u32(j->o, "general.quantization_version", 2);
    out_u32(j->o, "general.file_type", (uint32_t)file_type(j));
}

static int bpe_keys(const struct job *j)
{
    static const struct special special[] = {
        { 0, "<|endoftext|>" },
        { 1, "<|im_start|>" },
        { 2, "<|im_end|>" },
    };
    out_str(j->o, "tokenizer.ggml.model", "gpt2");
    out_str(j->o, "tokenizer.ggml.pre", strcmp(j->a->pre, "default") ? j->a->pre : "gpt-2");
    const int n = vocab_write(j->o, TOK_BPE, j->p.vocab, 0, special, ARRAY_LEN(special));
    out_u32(j->o, "tokenizer.ggml.bos_token_id", 0);
    out_u32(j->o, "tokenizer.ggml.eos_token_id", 2);
    out_u32(j->o, "tokenizer.ggml.padding_token_id", 0);
    out_bool(j->o, "tokenizer.ggml.add_bos_token", false);
    out_bool(j->o, "tokenizer.ggml.add_eos_token", false);
    out_str(j->o, "tokenizer.chat_template", chat_template_chatml);
    return n;
}

/// SentencePiece vocabularies differ in their control tokens.
struct spm {
    const char *arch; // a prefix of its name
    struct special special[9];
    int bos, eos, unk;
    bool no_space_prefix;
    const char *template;
};
static const struct spm spms[] = {
    { "gemma",
      { { 0, "<pad>" },
        { 1, "<eos>" },
        { 2, "<bos>" },
        { 3, "<unk>" },
        { 4, "<start_of_turn>" },
        { 5, "<end_of_turn>" } },
      2,
      1,
      3,
      true,
      chat_template_gemma },
    { "phi3",
      { { 0, "<unk>" },
        { 1, "<s>" },
        { 2, "</s>" },
        { 3, "<|endoftext|>" },
        { 4, "<|assistant|>" },
        { 5, "<|end|>" },
        { 6, "<|user|>" },
        { 7, "<|system|>" } },
      1,
      3,
      0,
      false,
      chat_template_phi3 },
    { "",
      { { 0, "<unk>" }, { 1, "<s>" }, { 2, "</s>" }, { 3, "<|im_start|>" }, { 4, "<|im_end|>" } },
      1,
      2,
      0,
      false,
      chat_template_chatml },
};

static int spm_keys(const struct job *j)
{
    const struct spm *s = spms;
    while (strncmp(j->a->name, s->arch, strlen(s->arch)) != 0)
        s++;
    int n_special = 0;
    while (s->special[n_special].text)
        n_special++;

    out_str(j->o, "tokenizer.ggml.model", "llama");
    out_str(j->o, "tokenizer.ggml.pre", "default");
    const int n = vocab_write(j->o, TOK_SPM, j->p.vocab, 0, s->special, n_special);
    out_u32(j->o, "tokenizer.ggml.bos_token_id", (uint32_t)s->bos);
    out_u32(j->o, "tokenizer.ggml.eos_token_id", (uint32_t)s->eos);
    out_u32(j->o, "tokenizer.ggml.unknown_token_id", (uint32_t)s->unk);
    out_u32(j->o, "tokenizer.ggml.padding_token_id", 0);
    out_bool(j->o, "tokenizer.ggml.add_bos_token", true);
    out_bool(j->o, "tokenizer.ggml.add_eos_token", false);
    if (s->no_space_prefix)
        out_bool(j->o, "tokenizer.ggml.add_space_prefix", false);
    out_str(j->o, "tokenizer.chat_template", s->template);
    return n;
}

static int tok_keys(const struct job *j)
{
    if (j->p.tok == TOK_BPE)
        return bpe_keys(j);
    if (j->p.tok == TOK_SPM)
        return spm_keys(j);
    out_str(j->o, "tokenizer.ggml.model", "none");
    return j->p.vocab;
}

// --- all of it
// --------------------------------------------------------------------------------------

static int or_else(int given, int otherwise)
{
    return given != 0 ? given : otherwise;
}

static void fill_defaults(struct params *p, const struct arch *a)
{
    p->layers = or_else(p->layers, a->layers);
    p->embd = or_else(p->embd, 256);
    p->heads = or_else(p->heads, 4);
    p->kv_heads = or_else(p->kv_heads, p->heads % 2 == 0 ? p->heads / 2 : p->heads);
    p->head_dim = or_else(p->head_dim, or_else(p->embd / p->heads, 1));
    p->ffn = or_else(p->ffn, 2 * p->embd);
    p->vocab = or_else(p->vocab, 512);
    p->window = or_else(p->window, a->window);
    p->ctx = or_else(p->ctx, 1024);
    p->experts = or_else(p->experts, 4);
    p->experts_used = or_else(p->experts_used, 2);
    p->expert_ffn = or_else(p->expert_ffn, p->ffn);
    p->shared = or_else(p->shared, 1);
    p->orig_ctx = or_else(p->orig_ctx, 4096);
    const bool latent = (a->has & MLA) != 0;
    p->lead = or_else(p->lead, latent);
    p->rank = or_else(p->rank, p->embd / 2);
    p->rope_dim = or_else(p->rope_dim, latent ? p->head_dim / 2 : p->head_dim);
    p->head_dim_v = or_else(p->head_dim_v, latent ? p->head_dim - p->rope_dim : p->head_dim);
    p->groups_used = or_else(p->groups_used, p->groups > 1 ? p->groups - 1 : 1);
    p->direct_q |= p->old_mla;
    if (!p->tok_given)
        p->tok = a->has & BPE ? TOK_BPE : TOK_SPM;
}

static bool read_type(struct job *j, const char *name)
{
    j->mix_m = strcasecmp(name, "Q4_K_M") == 0;
    return dtype_by_name(&j->type, j->mix_m ? "Q4_K" : name) && j->type != DTYPE_I32;
}

bool arch_write(struct out *o, const struct params *p, struct err *e)
{
    struct job j = { .o = o, .p = *p };
    for (size_t i = 0; i < ARRAY_LEN(archs); i++)
        if (strcmp(archs[i].name, p->arch) == 0)
            j.a = &archs[i];
    if (!j.a)
        return err_set(e, ERR_ARG, "unknown architecture \"%s\"", p->arch);
    if (!read_type(&j, p->type))
        return err_set(e, ERR_ARG, "unknown type \"%s\"", p->type);
    j.has = j.a->has;
    if ((j.has & MAY_MOE) && p->experts > 0)
        j.has |= MOE;
    if ((j.has & OLD_OSS) && j.type == DTYPE_MXFP4)
        j.experts_type = DTYPE_MXFP4_PAIRS;
    fill_defaults(&j.p, j.a);
    if (j.p.heads % j.p.kv_heads != 0 || j.p.head_dim % 2 != 0 || j.p.experts_used > j.p.experts)
        return err_set(e, ERR_ARG,
                       "heads must be a multiple of kv-heads, head-dim even, "
                       "experts-used at most experts");

    model_keys(&j);
    const int n_vocab = tok_keys(&j);
    if ((j.has & VOCAB_SIZE) || j.p.tok == TOK_NONE)
        put_u32(o, j.a->name, "vocab_size", n_vocab);
    tensors(&j, n_vocab);
    return true;
}
