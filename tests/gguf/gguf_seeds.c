// gguf_seeds.c - see gguf_seeds.h.

#include "gguf/gguf_seeds.h"

#include "support/gguf_make.h"

#include <stdlib.h>
#include <string.h>

#define DIMS(...)                                                                                  \
    (uint64_t[])                                                                                   \
    {                                                                                              \
        __VA_ARGS__                                                                                \
    }

static void model(struct gguf_make *m)
{
    gm_init(m);
    gm_str(m, "general.architecture", "llama");
    gm_u32(m, "llama.block_count", 1);
    gm_f32(m, "llama.rope.freq_base", 10000);
    gm_bool(m, "tokenizer.ggml.add_bos_token", true);
    gm_strs(m, "tokenizer.ggml.tokens", 3, (const char *[]){ "<s>", "", "ab" });
    gm_arr(m, "tokenizer.ggml.scores", GGUF_F32, 3, (float[]){ 0, -1, -2 }, 12);
    gm_arr(m, "tokenizer.ggml.token_type", GGUF_I32, 3, (int32_t[]){ 3, 1, 1 }, 12);
    gm_tensor(m, "token_embd.weight", DTYPE_F16, 2, DIMS(8, 3));
    gm_tensor(m, "blk.0.attn_q.weight", DTYPE_Q4_0, 2, DIMS(32, 2));
    gm_tensor(m, "output_norm.weight", DTYPE_F32, 1, DIMS(8));
}

static void scalars(struct gguf_make *m)
{
    gm_init(m);
    gm_u8(m, "u8", 8);
    gm_key(m, "i8", GGUF_I8);
    gm_put_u8(&m->keys, 0x80);
    gm_u16(m, "u16", 16);
    gm_key(m, "i16", GGUF_I16);
    gm_put_u16(&m->keys, 0x8000);
    gm_i32(m, "i32", -32);
    gm_u64(m, "u64", UINT64_MAX);
    gm_i64(m, "i64", INT64_MIN);
    gm_f64(m, "f64", 0.1);
}

static void arrays(struct gguf_make *m)
{
    static const uint32_t types[] = { GGUF_U8,  GGUF_I8,  GGUF_U16, GGUF_I16, GGUF_U32, GGUF_I32,
                                      GGUF_F32, GGUF_U64, GGUF_I64, GGUF_F64, GGUF_BOOL };
    static const size_t sizes[] = { 1, 1, 2, 2, 4, 4, 4, 8, 8, 8, 1 };
    static const uint8_t ones[16] = { 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1 };
    char name[3] = "a0";

    gm_init(m);
    for (size_t i = 0; i < ARRAY_LEN(types); i++, name[1]++)
        gm_arr(m, name, types[i], 16 / sizes[i], ones, 16);
    gm_strs(m, "none", 0, NULL);
}

static void all_formats(struct gguf_make *m)
{
    gm_init(m);
    for (uint32_t type = 0; type < DTYPE_A8; type++) {
        if (dtype_known(type))
            gm_tensor(m, dtype_info((enum dtype)type)->name, type, 1,
                      DIMS((uint64_t)dtype_info((enum dtype)type)->block));
    }
}

static void shapes(struct gguf_make *m)
{
    gm_init(m);
    gm_u32(m, "general.alignment", 8);
    m->alignment = 8;
    gm_tensor(m, "0", DTYPE_F32, 0, NULL);
    gm_tensor(m, "1", DTYPE_F32, 1, DIMS(3));
    gm_tensor(m, "4", DTYPE_F32, 4, DIMS(1, 2, 3, 2));
}

/// What the names of this table say is done to the model above.
static const char *const broken[] = {
    "magic", "version 1", "big endian", "keys",   "tensors",      "alignment",
    "split", "twice",     "bool",       "nested", "unknown type", "retired type",
    "block", "zero",      "overlap",    "beyond", "wrap",         "text",
};

static void breaks(struct gguf_make *m, const char *how)
{
    if (strcmp(how, "magic") == 0)
        m->magic[0] = 'g';
    else if (strcmp(how, "version 1") == 0)
        m->version = 1;
    else if (strcmp(how, "big endian") == 0)
        m->version = 3u << 24;
    else if (strcmp(how, "keys") == 0)
        m->n_keys = (uint64_t)1 << 60;
    else if (strcmp(how, "tensors") == 0)
        m->n_tensors = UINT64_MAX;
    else if (strcmp(how, "alignment") == 0)
        gm_u32(m, "general.alignment", 0);
    else if (strcmp(how, "split") == 0)
        gm_u16(m, "split.count", 3);
    else if (strcmp(how, "twice") == 0)
        gm_u8(m, "llama.block_count", 1);
    else if (strcmp(how, "bool") == 0)
        gm_arr(m, "b", GGUF_BOOL, 2, "\1\2", 2);
    else if (strcmp(how, "nested") == 0)
        gm_arr(m, "n", GGUF_ARR, 1, "\4\0\0\0\0\0\0\0\0\0\0\0", 12);
    else if (strcmp(how, "unknown type") == 0)
        gm_info(m, "x", 99, 1, DIMS(32), 512);
    else if (strcmp(how, "retired type") == 0)
        gm_info(m, "x", 4, 1, DIMS(32), 512);
    else if (strcmp(how, "block") == 0)
        gm_info(m, "x", DTYPE_Q4_0, 1, DIMS(31), 512);
    else if (strcmp(how, "zero") == 0)
        gm_info(m, "x", DTYPE_F32, 2, DIMS(4, 0), 512);
    else if (strcmp(how, "overlap") == 0)
        gm_info(m, "x", DTYPE_F32, 1, DIMS(1), 0);
    else if (strcmp(how, "beyond") == 0)
        gm_info(m, "x", DTYPE_F32, 1, DIMS(64), (uint64_t)1 << 40);
    else if (strcmp(how, "wrap") == 0)
        gm_info(m, "x", DTYPE_F32, 2, DIMS((uint64_t)1 << 31, (uint64_t)1 << 31), 512);
    else
        gm_u8(m, "\x1b[2J\xff", 1);
}

static void give(gguf_seed_fn *each, void *arg, const char *name, bool good, struct gguf_make *m)
{
    const struct gm_bytes *f = gm_finish(m);

    each(arg, name, good, f->p, f->n);
    gm_done(m);
}

void gguf_seeds(gguf_seed_fn *each, void *arg)
{
    static const struct {
        const char *name;
        void (*make)(struct gguf_make *m);
    } good[] = {
        { "empty", gm_init }, { "model", model },         { "scalars", scalars },
        { "arrays", arrays }, { "formats", all_formats }, { "shapes", shapes },
    };
    struct gguf_make m;

    for (size_t i = 0; i < ARRAY_LEN(good); i++) {
        good[i].make(&m);
        give(each, arg, good[i].name, true, &m);
    }
    model(&m);
    m.version = 2;
    give(each, arg, "version 2", true, &m);
    gm_init(&m);
    gm_str(&m, "general.architecture", "gptoss");
    gm_tensor_data(&m, "x", 4, 1, DIMS(32), NULL, 17);
    give(each, arg, "gptoss", true, &m);
    for (size_t i = 0; i < ARRAY_LEN(broken); i++) {
        model(&m);
        breaks(&m, broken[i]);
        give(each, arg, broken[i], false, &m);
    }
}
