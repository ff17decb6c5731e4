// What a file may not say about a model: the catalogue's rows M-01 ... M-09 that concern keys and
// tensors.

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "model/small.h"

typedef void put_fn(struct gguf_make *m, const char *name);

#define PUT(fn, call)                                                                              \
    static void fn(struct gguf_make *m, const char *name)                                          \
    {                                                                                              \
        call;                                                                                      \
    }
PUT(text_2, gm_str(m, name, "2"))
PUT(text_nasty, gm_str(m, name, "\x1b[31m\"\xff%s%n"))
PUT(bool_true, gm_bool(m, name, true))
PUT(array_2, gm_arr(m, name, GGUF_U32, 2, (const uint32_t[]){ 2, 2 }, 8))
PUT(array_3, gm_arr(m, name, GGUF_U32, 3, (const uint32_t[]){ 2, 2, 2 }, 12))
PUT(array_1, gm_arr(m, name, GGUF_U32, 1, (const uint32_t[]){ 2 }, 4))
PUT(array_0_2, gm_arr(m, name, GGUF_U32, 2, (const uint32_t[]){ 0, 2 }, 8))
PUT(array_u8, gm_arr(m, name, GGUF_U8, 2, (const uint8_t[]){ 2, 2 }, 2))
PUT(array_f32, gm_arr(m, name, GGUF_F32, 2, (const float[]){ 2.5f, NAN }, 8))
PUT(array_text, gm_strs(m, name, 2, (const char *const[]){ "2", "2" }))
PUT(array_4_2, gm_arr(m, name, GGUF_I32, 2, (const int32_t[]){ 4, 2 }, 8))
PUT(flags_0_1, gm_arr(m, name, GGUF_BOOL, 2, (const uint8_t[]){ 0, 1 }, 2))
PUT(zero, gm_u32(m, name, 0))
PUT(one, gm_u32(m, name, 1))
PUT(two, gm_u32(m, name, 2))
PUT(three, gm_u32(m, name, 3))
PUT(four, gm_u32(m, name, 4))
PUT(eight, gm_u32(m, name, 8))
PUT(forty, gm_u32(m, name, SMALL_VOCAB))
PUT(forty_one, gm_u32(m, name, SMALL_VOCAB + 1))
PUT(thirty_nine, gm_u32(m, name, SMALL_VOCAB - 1))
PUT(n_513, gm_u32(m, name, 513))
PUT(n_1025, gm_u32(m, name, 1025))
PUT(n_100000, gm_u32(m, name, 100000))
PUT(n_2_20, gm_u32(m, name, 1 << 20))
PUT(n_2_31, gm_u32(m, name, UINT32_C(1) << 31))
PUT(n_max, gm_u32(m, name, UINT32_MAX))
PUT(n_2_63, gm_u64(m, name, UINT64_C(1) << 63))
PUT(minus_one, gm_i32(m, name, -1))
PUT(float_2, gm_f32(m, name, 2))
PUT(f_nan, gm_f32(m, name, NAN))
PUT(f_inf, gm_f32(m, name, INFINITY))
PUT(f_minus_zero, gm_f32(m, name, -0.0f))
PUT(f_tiny, gm_f32(m, name, 1e-42f))
PUT(f_negative, gm_f32(m, name, -1e-5f))
PUT(f_1e38, gm_f32(m, name, 1e38f))
PUT(f_8, gm_f32(m, name, 8))
PUT(f_30, gm_f32(m, name, 30))
PUT(t_linear, gm_str(m, name, "linear"))
PUT(t_yarn, gm_str(m, name, "yarn"))
PUT(t_none, gm_str(m, name, "none"))
PUT(t_gpt, gm_str(m, name, "gpt\n99"))
PUT(name_nasty, gm_str(m, name, "a\tb\"c\x01"))

static void refused(const struct small *s, enum err_code code, const char *word)
{
    struct err e = { 0 };
    if (small_builds(s, &e))
        fail_msg("accepted, but should name %s", word);
    if (e.code != code || !strstr(e.msg, word))
        fail_msg("'%s' does not name '%s'", e.msg, word);
    for (const char *p = e.msg; *p; p++)
        if ((unsigned char)*p < 0x20 || (unsigned char)*p > 0x7e)
            fail_msg("an unescaped byte in '%s'", e.msg);
}

static void key_refused(const char *arch, const char *key, put_fn *put, const char *word)
{
    refused(&(struct small){ .arch = arch, .key = key, .put_key = put }, ERR_FORMAT, word);
}

static void accepted(const struct small *s)
{
    struct err e = { 0 };
    if (!small_builds(s, &e))
        fail_msg("refused: %s", e.msg);
}

static void the_small_models_are_well_formed(void **state)
{
    (void)state;
    accepted(&(struct small){ 0 });
    accepted(&(struct small){ .untied = true, .factors = true, .biases = true });
    accepted(&(struct small){ .arch = "gemma3" });
    accepted(&(struct small){ .arch = "gemma3", .untied = true, .biases = true });
}

static void m01_block_count_must_be_a_positive_number(void **state)
{
    (void)state;
    put_fn *const bad[] = {
        text_2, text_nasty, bool_true, array_2, zero, minus_one, float_2, n_2_63
    };
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        key_refused("llama", "block_count", bad[i], "llama.block_count");
        key_refused("gemma3", "block_count", bad[i], "gemma3.block_count");
    }
}

static void m02_block_count_is_bounded_before_anything_is_sized_by_it(void **state)
{
    (void)state;
    put_fn *const bad[] = { n_513, n_100000, n_max };
    static const char *const without[] = { NULL, "attention.head_count", "feed_forward_length",
                                           "attention.sliding_window" };
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        for (size_t j = 0; j < ARRAY_LEN(without); j++)
            refused(&(struct small){ .arch = "gemma3",
                                     .key = "block_count",
                                     .put_key = bad[i],
                                     .drop_key = without[j] },
                    ERR_FORMAT, "gemma3.block_count");
    // within bounds, but more than there is
    refused(&(struct small){ .key = "block_count", .put_key = three }, ERR_FORMAT,
            "blk.2.attn_norm.weight is missing");
}

static void m03_expert_counts_are_checked_and_refused_by_name(void **state)
{
    (void)state;
    key_refused("llama", "expert_count", n_1025, "llama.expert_count");
    key_refused("llama", "expert_count", n_max, "llama.expert_count");
    key_refused("llama", "expert_count", text_2, "llama.expert_count");
    key_refused("llama", "expert_count", eight, "llama.expert_used_count"); // which is missing
    accepted(&(struct small){ .key = "expert_count", .put_key = zero });
}

static void m03_used_experts(put_fn *used, enum err_code code, const char *word)
{
    struct gguf_make m;
    struct gguf *g = NULL;
    struct model *model = NULL;
    struct err e = { 0 };
    small_make(&m, &(struct small){ .arch = "gemma3", .key = "expert_count", .put_key = eight });
    used(&m, "gemma3.expert_used_count");
    assert_true(gm_open(&g, &m, &e));
    assert_false(model_read(&model, g, &e));
    assert_int_equal(e.code, code);
    assert_non_null(strstr(e.msg, word));
    gguf_close(g);
    gm_done(&m);
}

static void m03_used_experts_are_one_to_all(void **state)
{
    (void)state;
    m03_used_experts(zero, ERR_FORMAT, "expert_used_count");
    m03_used_experts(forty, ERR_FORMAT, "expert_used_count");
    m03_used_experts(two, ERR_UNSUPPORTED, "8 experts");
}

/// The tensors are llama's: reading the keys fails before any is asked for.
static void what_an_architecture_needs_beyond_the_common_keys_is_named(void **state)
{
    (void)state;
    static const struct {
        const char *arch, *word;
    } missing[] = {
        { "qwen3moe", "qwen3moe.expert_count" },
        { "gpt-oss", "gpt-oss.attention.sliding_window" },
        { "gptoss", "gptoss.attention.sliding_window" },
        { "deepseek2", "deepseek2.attention.kv_lora_rank" },
        { "command-r", "command-r.attention.layer_norm_epsilon" },
        { "cohere2", "cohere2.attention.layer_norm_epsilon" },
        { "granite", "granite.logit_scale" },
    };
    for (size_t i = 0; i < ARRAY_LEN(missing); i++)
        refused(&(struct small){ .arch = missing[i].arch }, ERR_FORMAT, missing[i].word);
    key_refused("granite", "logit_scale", zero, "granite.logit_scale");
    accepted(&(struct small){ .arch = "granite", .key = "logit_scale", .put_key = f_8 });
    accepted(&(struct small){ .arch = "mistral", .untied = true });
    accepted(&(struct small){ .arch = "qwen2", .biases = true });
    accepted(&(struct small){
        .arch = "mistral3", .key = "attention.temperature_scale", .put_key = f_8 });
    key_refused("mistral3", "attention.temperature_scale", text_2, "temperature_scale");
}

static void m04_heads_divide_what_they_divide(void **state)
{
    (void)state;
    static const char *const archs[] = { "llama", "gemma3" };
    for (size_t i = 0; i < 2; i++) {
        key_refused(archs[i], "attention.head_count", zero, "attention.head_count");
        key_refused(archs[i], "attention.head_count", n_max, "attention.head_count");
        key_refused(archs[i], "attention.head_count_kv", zero, "attention.head_count_kv");
        key_refused(archs[i], "attention.head_count_kv", three, "attention.head_count");
        key_refused(archs[i], "attention.head_count_kv", eight, "attention.head_count");
        key_refused(archs[i], "attention.key_length", zero, "attention.key_length");
        key_refused(archs[i], "attention.key_length", n_max, "attention.key_length");
        key_refused(archs[i], "attention.value_length", zero, "attention.value_length");
        key_refused(archs[i], "feed_forward_length", zero, "feed_forward_length");
        key_refused(archs[i], "embedding_length", zero, "embedding_length");
        key_refused(archs[i], "embedding_length", n_2_31, "embedding_length");
    }
    key_refused("llama", "attention.head_count", three, "head_count"); // 64 = 3 * 21 + 1
    key_refused("llama", "attention.key_length", three, "not an even number");
    key_refused("llama", "rope.dimension_count", zero, "rope.dimension_count");
    key_refused("llama", "rope.dimension_count", forty,
                "rope.dimension_count"); // above the head's 16
    key_refused("llama", "attention.key_length", eight,
                "attn_q.weight"); // a fine number that no tensor fits
}

static void m05_arrays_of_other_types_are_not_read_as_numbers(void **state)
{
    (void)state;
    key_refused("llama", "attention.head_count", array_f32, "attention.head_count");
    key_refused("llama", "attention.head_count", array_text, "attention.head_count");
    key_refused("llama", "attention.head_count", array_1, "1 values for 2 layers");
    key_refused("llama", "attention.head_count", array_3, "3 values for 2 layers");
    key_refused("llama", "feed_forward_length", array_0_2, "value 0");
    key_refused("llama", "tokenizer.ggml.tokens", array_u8, "tokenizer.ggml.tokens");
    key_refused("llama", "tokenizer.ggml.tokens", array_2, "tokenizer.ggml.tokens");
    key_refused("gemma3", "attention.sliding_window_pattern", array_2, "value 0");
    key_refused("gemma3", "attention.sliding_window_pattern", array_1, "1 values for 2 layers");
    key_refused("gemma3", "attention.sliding_window_pattern", zero, "sliding_window_pattern");
    accepted(&(struct small){ .key = "attention.head_count_kv", .put_key = array_u8 });
}

static void m07_special_tokens_are_tokens(void **state)
{
    (void)state;
    static const char *const keys[] = { "tokenizer.ggml.eos_token_id",
                                        "tokenizer.ggml.bos_token_id",
                                        "tokenizer.ggml.padding_token_id",
                                        "tokenizer.ggml.fim_pre_token_id" };
    put_fn *const bad[] = { forty, n_max, minus_one, text_2, float_2, array_2, n_2_63 };
    for (size_t i = 0; i < ARRAY_LEN(keys); i++) {
        for (size_t j = 0; j < ARRAY_LEN(bad); j++)
            key_refused("llama", keys[i], bad[j], keys[i]);
        accepted(&(struct small){ .key = keys[i], .put_key = thirty_nine });
    }
}

/// Of every tensor: whether the model does without it.
static bool optional_tensor(const char *name)
{
    return strcmp(name, "output.weight") == 0 || strcmp(name, "rope_freqs.weight") == 0 ||
           strstr(name, ".bias");
}

static int each_tensor(const struct small *base,
                       void (*fn)(const struct small *base, const struct gguf_tensor *t))
{
    struct small_model m;
    struct err e = { 0 };
    assert_true(small_open(&m, base, &e));
    int n = gguf_n_tensors(m.gguf);
    for (int i = 0; i < n; i++)
        fn(base, gguf_tensor(m.gguf, i));
    small_close(&m);
    return n;
}

static const struct small whole[] = {
    { .arch = "llama", .untied = true, .factors = true, .biases = true },
    { .arch = "gemma3", .biases = true }
};

static void delete_tensor(const struct small *base, const struct gguf_tensor *t)
{
    struct small s = *base;
    s.drop_tensor = t->name;
    if (optional_tensor(t->name))
        accepted(&s);
    else
        refused(&s, ERR_FORMAT, t->name);
}

static void transpose_tensor(const struct small *base, const struct gguf_tensor *t)
{
    struct small s = *base;
    s.transpose = t->name;
    if (t->n_dims == 1 || t->ne[0] != t->ne[1]) // a square one cannot be told
        refused(&s, ERR_FORMAT, strcmp(t->name, "token_embd.weight") == 0 ? "64 rows" : t->name);
}

static void retype_tensor(const struct small *base, const struct gguf_tensor *t)
{
    for (int type = 0; type < 64; type++) {
        struct small s = *base;
        struct err e = { 0 };
        if (!dtype_known((uint32_t)type))
            continue;
        s.retype = t->name;
        s.type = (enum dtype)type;
        bool fits = t->ne[0] % (uint64_t)dtype_info(s.type)->block == 0;
        bool good = fits && (s.type == DTYPE_F32 || (t->n_dims == 2 && s.type != DTYPE_I32));
        if (small_builds(&s, &e) != good)
            fail_msg("%s as %s: %s", t->name, dtype_info(s.type)->name, good ? e.msg : "accepted");
        if (!good)
            assert_non_null(strstr(e.msg, t->name));
    }
}

static void m08_every_deleted_transposed_or_retyped_tensor_is_named(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(whole); i++) {
        assert_true(each_tensor(&whole[i], delete_tensor) > 20);
        each_tensor(&whole[i], transpose_tensor);
        each_tensor(&whole[i], retype_tensor);
    }
}

static const struct gguf_tensor *swapped_with;

static void swap_tensors(const struct small *base, const struct gguf_tensor *t)
{
    struct small s = *base;
    struct err e = { 0 };
    s.swap[0] = swapped_with->name;
    s.swap[1] = t->name;
    bool same = memcmp(swapped_with->ne, t->ne, sizeof t->ne) == 0;
    if (small_builds(&s, &e) != same)
        fail_msg("%s and %s: %s", s.swap[0], s.swap[1], same ? e.msg : "accepted");
}

static void m08_no_two_tensors_of_other_shapes_can_be_swapped(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(whole); i++) {
        struct small_model m;
        struct err e = { 0 };
        assert_true(small_open(&m, &whole[i], &e));
        for (int t = 0; t < gguf_n_tensors(m.gguf); t += 3) {
            swapped_with = gguf_tensor(m.gguf, t);
            each_tensor(&whole[i], swap_tensors);
        }
        small_close(&m);
    }
}

static void m08_every_deleted_key_is_named_or_has_a_default(void **state)
{
    (void)state;
    static const struct {
        const char *key;
        bool llama, gemma; // does without
    } keys[] = {
        { "general.architecture", false, false },
        { "general.name", true, true },
        { "block_count", false, false },
        { "context_length", false, false },
        { "embedding_length", false, false },
        { "feed_forward_length", false, false },
        { "attention.head_count", false, false },
        { "attention.layer_norm_rms_epsilon", false, true },
        { "rope.freq_base", true, true },
        { "vocab_size", true, true },
        { "tokenizer.ggml.tokens", true, true },
        { "tokenizer.ggml.eos_token_id", true, true },
        { "attention.key_length", true, true },
        { "attention.value_length", true, true },
        { "attention.sliding_window", true, true },
    };
    for (size_t i = 0; i < ARRAY_LEN(keys); i++)
        for (int gemma = 0; gemma < 2; gemma++) {
            struct small s = { .arch = gemma ? "gemma3" : "llama", .drop_key = keys[i].key };
            if (gemma ? keys[i].gemma : keys[i].llama)
                accepted(&s);
            else
                refused(&s, ERR_FORMAT, keys[i].key);
        }
    // as many key heads as heads is the default: then the tensors do not fit
    refused(&(struct small){ .drop_key = "attention.head_count_kv" }, ERR_FORMAT,
            "blk.0.attn_k.weight");
}

static void m09_contexts_and_vocabularies_are_bounded_and_agree(void **state)
{
    (void)state;
    key_refused("llama", "context_length", zero, "context_length");
    key_refused("llama", "context_length", n_2_31, "context_length");
    key_refused("llama", "context_length", n_max, "context_length");
    key_refused("llama", "vocab_size", forty_one, "vocab_size");
    key_refused("llama", "vocab_size", thirty_nine, "vocab_size");
    key_refused("llama", "vocab_size", n_max, "vocab_size");
    key_refused("llama", "embedding_length", n_2_20, "embedding_length");

    struct gguf_make m;
    struct gguf *g = NULL;
    struct model *model = NULL;
    struct err e = { 0 };
    const char *tokens[SMALL_VOCAB + 1];
    for (int i = 0; i <= SMALL_VOCAB; i++)
        tokens[i] = "t";
    small_make(&m, &(struct small){ .drop_key = "tokenizer.ggml.tokens" });
    gm_strs(&m, "tokenizer.ggml.tokens", SMALL_VOCAB + 1, tokens);
    assert_true(gm_open(&g, &m, &e));
    assert_false(model_read(&model, g, &e));
    assert_non_null(strstr(e.msg, "41 tokens"));
    gguf_close(g);
    gm_done(&m);
}

static void g24_numbers_that_are_none_are_refused(void **state)
{
    (void)state;
    put_fn *const bad[] = { f_nan, f_inf, f_minus_zero, f_tiny, f_negative, f_1e38, text_2 };
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        key_refused("llama", "rope.freq_base", bad[i], "rope.freq_base");
        key_refused("gemma3", "rope.local.freq_base", bad[i], "rope.local.freq_base");
    }
    put_fn *const bad_eps[] = { f_nan, f_inf, f_negative, f_1e38, text_2, array_2 };
    for (size_t i = 0; i < ARRAY_LEN(bad_eps); i++)
        key_refused("llama", "attention.layer_norm_rms_epsilon", bad_eps[i],
                    "layer_norm_rms_epsilon");
    put_fn *const bad_factor[] = { f_nan, f_inf, f_tiny, f_negative, f_1e38, text_2 };
    for (size_t i = 0; i < ARRAY_LEN(bad_factor); i++)
        key_refused("llama", "rope.scaling.factor", bad_factor[i], "rope.scaling.factor");
    key_refused("llama", "rope.scaling.type", two, "rope.scaling.type");
    refused(&(struct small){ .key = "rope.scaling.type", .put_key = t_gpt }, ERR_UNSUPPORTED,
            "gpt\\");
    accepted(&(struct small){ .key = "rope.scaling.factor", .put_key = zero });
}

static void unknown_architectures_are_named_and_the_known_ones_listed(void **state)
{
    (void)state;
    refused(&(struct small){ .key = "general.architecture", .put_key = t_gpt }, ERR_UNSUPPORTED,
            "gpt\\");
    refused(&(struct small){ .key = "general.architecture", .put_key = text_2 }, ERR_UNSUPPORTED,
            "known: llama, mistral, ");
    refused(&(struct small){ .key = "general.architecture", .put_key = text_nasty },
            ERR_UNSUPPORTED, "not known");
    refused(&(struct small){ .key = "general.architecture", .put_key = two }, ERR_FORMAT,
            "general.architecture");
    assert_string_equal(model_arch_name(0), "llama");
    assert_null(model_arch_name(99));
    assert_null(model_arch_name(-1));
}

// --- what is read
// ---------------------------------------------------------------------------------

static void open_small(struct small_model *m, const struct small *s)
{
    struct err e = { 0 };
    if (!small_open(m, s, &e))
        fail_msg("%s", e.msg);
}

static void names_are_escaped(void **state)
{
    (void)state;
    struct small_model m;
    open_small(&m, &(struct small){ .key = "general.name", .put_key = name_nasty });
    for (const char *p = m.model->name; *p; p++)
        assert_in_range((unsigned char)*p, 0x20, 0x7e);
    assert_string_equal(m.model->arch_name, "llama");
    small_close(&m);
}

static void heads_may_differ_by_layer(void **state)
{
    (void)state;
    struct err e = { 0 };
    assert_false(small_builds(
        &(struct small){ .key = "attention.head_count_kv", .put_key = array_4_2 }, &e));
    assert_non_null(
        strstr(e.msg, "blk.0.attn_k.weight: shape [64, 64] expected, the file has [64, 32]"));
}

static void rope_scaling_is_read(void **state)
{
    (void)state;
    struct small_model m;
    open_small(&m, &(struct small){ .key = "rope.scaling.factor", .put_key = f_8 });
    assert_true(m.model->layer[1].rope.linear == 8 && m.model->layer[1].rope.yarn_orig_ctx == 0);
    small_close(&m);
    open_small(&m, &(struct small){ .key = "rope.scale_linear", .put_key = f_8 });
    assert_true(m.model->layer[0].rope.linear == 8);
    small_close(&m);
    open_small(&m, &(struct small){ .key = "rope.scaling.type", .put_key = t_yarn });
    const struct rope_freq *f = &m.model->layer[0].rope;
    assert_true(f->linear == 1 && f->yarn_orig_ctx == 256 && f->yarn_factor == 1 &&
                f->yarn_ext == 1 && f->yarn_attn == 1 && f->yarn_beta_fast == 32 &&
                f->yarn_beta_slow == 1 && f->mscale == 1);
    small_close(&m);
    put_fn *const plain[] = { t_none, t_linear };
    for (size_t i = 0; i < ARRAY_LEN(plain); i++) {
        open_small(&m, &(struct small){ .key = "rope.scaling.type", .put_key = plain[i] });
        assert_true(m.model->layer[0].rope.linear == 1 && m.model->layer[0].rope.mscale == 1);
        small_close(&m);
    }
}

/// Keys alone, several at once: what model_read makes of them. model_free() it.
static struct model *read_keys(const struct small *s, void (*more)(struct gguf_make *m))
{
    struct gguf_make m;
    struct gguf *g = NULL;
    struct model *model = NULL;
    struct err e = { 0 };
    small_make(&m, s);
    if (more)
        more(&m);
    if (!gm_open(&g, &m, &e) || !model_read(&model, g, &e))
        fail_msg("%s", e.msg);
    gguf_close(g);
    gm_done(&m);
    return model;
}

static void yarn_keys(struct gguf_make *m)
{
    gm_f32(m, "llama.rope.scaling.factor", 4);
    gm_f32(m, "llama.rope.scaling.attn_factor", 0.5f);
    gm_u32(m, "llama.rope.scaling.original_context_length", 100);
    gm_f32(m, "llama.rope.scaling.yarn_ext_factor", 0.75f);
    gm_f32(m, "llama.rope.scaling.yarn_attn_factor", 3);
    gm_f32(m, "llama.rope.scaling.yarn_beta_fast", 24);
    gm_f32(m, "llama.rope.scaling.yarn_beta_slow", 2);
}

static void linear_keys(struct gguf_make *m)
{
    gm_f32(m, "llama.rope.scale_linear", 2); // the newer key wins
    gm_f32(m, "llama.rope.scaling.attn_factor", 0.5f);
}

static void every_scaling_key_has_its_place(void **state)
{
    (void)state;
    struct model *m =
        read_keys(&(struct small){ .key = "rope.scaling.type", .put_key = t_yarn }, yarn_keys);
    const struct rope_freq *f = &m->layer[1].rope;
    assert_true(f->yarn_factor == 4 && f->yarn_attn == 1.5f && f->yarn_orig_ctx == 100 &&
                f->yarn_ext == 0.75f);
    assert_true(f->yarn_beta_fast == 24 && f->yarn_beta_slow == 2 && f->linear == 1 &&
                f->mscale == 1);
    model_free(m);
    m = read_keys(&(struct small){ .key = "rope.scaling.factor", .put_key = f_8 }, linear_keys);
    assert_true(m->layer[0].rope.linear == 8 && m->layer[0].rope.mscale == 0.5f);
    model_free(m);
}

PUT(n_26, gm_u32(m, name, 26))
PUT(n_34, gm_u32(m, name, 34))
PUT(n_62, gm_u32(m, name, 62))

static void a_softcap(struct gguf_make *m)
{
    gm_f32(m, "gemma3.final_logit_softcapping", 30);
}

static void two_heads(struct gguf_make *m)
{
    gm_u32(m, "gemma3.attention.head_count", 2);
}

static void a_factor(struct gguf_make *m)
{
    gm_f32(m, "gemma3.rope.scaling.factor", 3);
}

/// What early files leave out, or have wrong, follows from the number of layers.
static void gemma3_sizes_are_known_by_their_layers(void **state)
{
    (void)state;
    const struct small b1 = { .arch = "gemma3", .key = "block_count", .put_key = n_26 };
    const struct small b4 = {
        .arch = "gemma3", .key = "block_count", .put_key = n_34, .drop_key = "rope.freq_base"
    };
    const struct small b27 = {
        .arch = "gemma3", .key = "block_count", .put_key = n_62, .drop_key = "attention.head_count"
    };
    struct model *m = read_keys(&b1, a_softcap);
    assert_true(m->logit_softcap == 0 && m->layer[5].rope.linear == 1);
    model_free(m);
    m = read_keys(&b4, a_softcap);
    assert_true(m->logit_softcap == 30);
    assert_true(m->layer[4].window == 32 && m->layer[4].rope.linear == 1 &&
                m->layer[4].rope.base == 10000);
    assert_true(m->layer[5].window == 0 && m->layer[5].rope.linear == 8 &&
                m->layer[5].rope.base == 1e6f);
    assert_true(m->attn_scale == 0.25f); // 1 / sqrt(key_length)
    model_free(m);
    m = read_keys(&b4, a_factor);
    assert_true(m->layer[5].rope.linear == 3 && m->layer[4].rope.linear == 1);
    model_free(m);
    m = read_keys(&b27, two_heads);
    assert_true(fabsf(m->attn_scale - 1 / sqrtf(32)) < 1e-7f); // 64 numbers, 2 heads
    model_free(m);
}

static void gemma3_windows_follow_the_pattern(void **state)
{
    (void)state;
    struct small_model m;
    open_small(&m, &(struct small){ .arch = "gemma3" }); // every sixth sees all: neither of two
    assert_int_equal(m.model->layer[0].window, 32);
    assert_int_equal(m.model->layer[1].window, 32);
    assert_true(m.model->layer[0].rope.base == 10000);
    assert_true(fabsf(m.model->attn_scale - 0.25f) < 1e-7f && m.model->embd_scale == 8);
    small_close(&m);
    open_small(&m, &(struct small){ .arch = "gemma3",
                                    .key = "attention.sliding_window_pattern",
                                    .put_key = flags_0_1 });
    assert_int_equal(m.model->layer[0].window, 0);
    assert_int_equal(m.model->layer[1].window, 32);
    small_close(&m);
    open_small(&m, &(struct small){ .arch = "gemma3",
                                    .key = "attention.sliding_window_pattern",
                                    .put_key = two });
    assert_int_equal(m.model->layer[0].window, 32);
    assert_int_equal(m.model->layer[1].window, 0);
    small_close(&m);
    open_small(&m, &(struct small){ .arch = "gemma3",
                                    .key = "attention.sliding_window_pattern",
                                    .put_key = one });
    assert_int_equal(m.model->layer[0].window, 0);
    small_close(&m);
    open_small(
        &m, &(struct small){ .arch = "gemma3", .key = "final_logit_softcapping", .put_key = f_30 });
    assert_true(m.model->logit_softcap == 30);
    small_close(&m);
}

struct seen {
    const struct gguf *g;
    int known, unknown;
};

static void note_unused(void *ctx, int tensor, bool known)
{
    struct seen *s = ctx;
    (void)gguf_tensor(s->g, tensor);
    s->known += known;
    s->unknown += !known;
}

static void unused_tensors_are_reported_and_known_ones_marked(void **state)
{
    (void)state;
    static const struct {
        const char *arch, *tensor;
        int known, unknown;
    } cases[] = {
        { "llama", NULL, 0, 0 },
        { "llama", "blk.1.attn_rot_embd", 1, 0 },
        { "llama", "v.patch_embedding.bias", 0, 1 },
        { "gemma3", "v.patch_embedding.bias", 1, 0 },
        { "gemma3", "mm.mm_soft_emb_norm.weight", 1, 0 },
        { "gemma3", "blk.2.attn_norm.weight", 0, 1 },
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct small_model m;
        open_small(&m, &(struct small){ .arch = cases[i].arch, .extra_tensor = cases[i].tensor });
        struct seen s = { .g = m.gguf };
        model_unused(m.model, m.graph, m.gguf, note_unused, &s);
        assert_int_equal(s.known, cases[i].known);
        assert_int_equal(s.unknown, cases[i].unknown);
        small_close(&m);
    }
}

static void nothing_needs_an_err(void **state)
{
    (void)state;
    assert_false(small_builds(&(struct small){ .key = "block_count", .put_key = zero }, NULL));
    assert_false(small_builds(&(struct small){ .drop_tensor = "blk.1.ffn_up.weight" }, NULL));
    accepted(&(struct small){ .key = "attention.head_count", .put_key = four });
}

/// With SNUG_SEED_DIR set: heads to begin from for fuzz_model.
static void heads_are_seeds_for_the_fuzzer(void **state)
{
    (void)state;
    static const struct small seeds[] = {
        { 0 },
        { .untied = true, .factors = true, .biases = true },
        { .arch = "gemma3" },
        { .key = "rope.scaling.type", .put_key = t_yarn },
        { .key = "attention.head_count_kv", .put_key = array_u8 },
        { .arch = "gemma3", .key = "attention.sliding_window_pattern", .put_key = flags_0_1 },
    };
    const char *dir = getenv("SNUG_SEED_DIR");
    for (size_t i = 0; i < ARRAY_LEN(seeds) && dir; i++) {
        struct gguf_make m;
        char path[512];
        small_make(&m, &seeds[i]);
        const struct gm_bytes *b = gm_finish(&m);
        snprintf(path, sizeof path, "%s/model-%zu", dir, i);
        gm_write_bytes(path, b->p, m.data_at);
        gm_done(&m);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_small_models_are_well_formed),
        cmocka_unit_test(m01_block_count_must_be_a_positive_number),
        cmocka_unit_test(m02_block_count_is_bounded_before_anything_is_sized_by_it),
        cmocka_unit_test(m03_expert_counts_are_checked_and_refused_by_name),
        cmocka_unit_test(m03_used_experts_are_one_to_all),
        cmocka_unit_test(what_an_architecture_needs_beyond_the_common_keys_is_named),
        cmocka_unit_test(m04_heads_divide_what_they_divide),
        cmocka_unit_test(m05_arrays_of_other_types_are_not_read_as_numbers),
        cmocka_unit_test(m07_special_tokens_are_tokens),
        cmocka_unit_test(m08_every_deleted_transposed_or_retyped_tensor_is_named),
        cmocka_unit_test(m08_no_two_tensors_of_other_shapes_can_be_swapped),
        cmocka_unit_test(m08_every_deleted_key_is_named_or_has_a_default),
        cmocka_unit_test(m09_contexts_and_vocabularies_are_bounded_and_agree),
        cmocka_unit_test(g24_numbers_that_are_none_are_refused),
        cmocka_unit_test(unknown_architectures_are_named_and_the_known_ones_listed),
        cmocka_unit_test(names_are_escaped),
        cmocka_unit_test(heads_may_differ_by_layer),
        cmocka_unit_test(rope_scaling_is_read),
        cmocka_unit_test(every_scaling_key_has_its_place),
        cmocka_unit_test(gemma3_windows_follow_the_pattern),
        cmocka_unit_test(gemma3_sizes_are_known_by_their_layers),
        cmocka_unit_test(unused_tensors_are_reported_and_known_ones_marked),
        cmocka_unit_test(nothing_needs_an_err),
        cmocka_unit_test(heads_are_seeds_for_the_fuzzer),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
