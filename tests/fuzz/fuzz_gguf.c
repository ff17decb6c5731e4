// fuzz_gguf.c - opens any bytes as a model file and reads all that it then offers.
//
//     make MODE=fuzz fuzz
//     mkdir corpus && SNUG_SEED_DIR=corpus build/tests/gguf/test_seeds
//     build/fuzz/fuzz_gguf -max_len=1024 corpus
//
// The mutator below knows where counts, lengths and types are likely to stand; what it changes
// there are the numbers at which sizes wrap.

#include "gguf/gguf.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);
size_t LLVMFuzzerMutate(uint8_t *p, size_t n, size_t max);
size_t LLVMFuzzerCustomMutator(uint8_t *p, size_t n, size_t max, unsigned seed);

#define CHECK(x) ((x) ? (void)0 : abort())

static volatile uint64_t sink; // what was read is used

static void read_bytes_of(const void *p, uint64_t n)
{
    uint64_t sum = 0;

    for (uint64_t i = 0; i < n; i++)
        sum += ((const uint8_t *)p)[i];
    sink += sum;
}

static void read_array(const struct gguf *g, const char *name)
{
    struct gguf_arr a;
    uint64_t n = 0;
    int64_t i64;
    double f64;

    if (!gguf_get_arr(g, name, &a))
        return;
    for (uint64_t i = 0; i <= a.n; i++) {
        bool is_i64 = gguf_arr_i64(&a, i, &i64);
        bool is_f64 = gguf_arr_f64(&a, i, &f64);
        CHECK(i < a.n || (!is_i64 && !is_f64));
        CHECK(is_f64 || !is_i64);
    }
    const struct str *s = gguf_arr_strs(g, name, &n);
    bool may_be_left_out = strncmp(name, "tokenizer.", 10) == 0;
    CHECK((s != NULL) == (a.type == GGUF_STR) || (s == NULL && may_be_left_out));
    CHECK(s == NULL || n == a.n);
    for (uint64_t i = 0; i < n; i++) {
        CHECK(s[i].p[s[i].n] == 0);
        read_bytes_of(s[i].p, s[i].n);
        CHECK(gguf_arr_str(g, name, i).p == s[i].p);
    }
    CHECK(gguf_arr_str(g, name, a.n).p == NULL);
}

static void read_key(const struct gguf *g, int k)
{
    const char *name = gguf_key_name(g, k);
    struct buf text;
    struct str s;
    uint32_t u32;
    int64_t i64;
    float f32;
    bool b;

    CHECK(name[0] != 0 && gguf_find_key(g, name) == k);
    CHECK(gguf_key_type(g, k) < GGUF_TYPE_COUNT);
    if (gguf_get_u32(g, name, &u32))
        CHECK(gguf_get_i64(g, name, &i64) && i64 == (int64_t)u32);
    if (gguf_get_i64(g, name, &i64))
        CHECK(gguf_get_f32(g, name, &f32));
    if (gguf_get_bool(g, name, &b))
        CHECK(!gguf_get_f32(g, name, &f32));
    if (gguf_get_str(g, name, &s)) {
        CHECK(s.p[s.n] == 0);
        read_bytes_of(s.p, s.n);
    }
    read_array(g, name);
    buf_init(&text, 512);
    if (gguf_key_text(g, k, &text))
        CHECK(text.n > 0);
    for (size_t i = 0; i < text.n; i++)
        CHECK((unsigned char)text.p[i] >= 0x20 && text.p[i] != 0x7f);
    buf_done(&text);
}

static void read_tensor(const struct gguf *g, int i, uint64_t file_bytes)
{
    const struct gguf_tensor *t = gguf_tensor(g, i);
    const struct dtype_info *info = dtype_info(t->type);
    const void *data = gguf_data(g, i);

    CHECK(t->name[0] != 0 && strlen(t->name) < 64 && gguf_find_tensor(g, t->name) == i);
    CHECK(info != NULL && t->n_dims >= 1 && t->n_dims <= 4);
    CHECK(t->ne[0] % (uint64_t)info->block == 0);
    CHECK((unsigned __int128)(t->ne[0] / (uint64_t)info->block) * (uint64_t)info->block_bytes *
              t->ne[1] * t->ne[2] * t->ne[3] ==
          t->bytes);
    CHECK(t->bytes > 0 && t->offset >= gguf_data_offset(g, 0));
    CHECK(t->offset + t->bytes > t->offset && t->offset + t->bytes <= gguf_file_bytes(g, 0));
    CHECK((data != NULL) == (t->offset + t->bytes <= file_bytes));
    CHECK(data != NULL || gguf_head_only(g));
    if (data != NULL)
        read_bytes_of(data, t->bytes);
}

/// Without its vocabulary a file opens or fails in the same way, and is the same otherwise.
static void open_without_vocabulary(const uint8_t *p, size_t n, bool head_only,
                                    const struct gguf *all, const struct err *why)
{
    const struct gguf_opts opts = { .head_only = head_only, .no_vocab = true };
    struct err e = { 0 };
    struct gguf *g = NULL;

    CHECK(gguf_open_mem(&g, p, n, "fuzz", &opts, &e) == (all != NULL));
    CHECK(all != NULL || strcmp(e.msg, why->msg) == 0);
    if (all == NULL)
        return;
    CHECK(gguf_fingerprint(g) == gguf_fingerprint(all));
    CHECK(gguf_n_tensors(g) == gguf_n_tensors(all) && gguf_n_keys(g) == gguf_n_keys(all));
    for (int k = 0; k < gguf_n_keys(g); k++)
        read_key(g, k);
    for (int i = 0; i < gguf_n_tensors(g); i++)
        read_tensor(g, i, n);
    gguf_close(g);
}

static void open_and_read(const uint8_t *p, size_t n, bool head_only)
{
    const struct gguf_opts opts = { .head_only = head_only };
    struct err e = { 0 };
    struct gguf *g = NULL;

    if (!gguf_open_mem(&g, p, n, "fuzz", &opts, &e)) {
        CHECK(g == NULL && (e.code == ERR_FORMAT || e.code == ERR_UNSUPPORTED));
        CHECK(strncmp(e.msg, "fuzz: ", 6) == 0);
        for (const char *c = e.msg; *c != 0; c++)
            CHECK(*c >= 0x20 && *c < 0x7f);
        open_without_vocabulary(p, n, head_only, NULL, &e);
        return;
    }
    CHECK(head_only || !gguf_head_only(g));
    CHECK(gguf_version(g) == 2 || gguf_version(g) == 3);
    CHECK(gguf_n_files(g) == 1);
    for (int k = 0; k < gguf_n_keys(g); k++)
        read_key(g, k);
    for (int i = 0; i < gguf_n_tensors(g); i++)
        read_tensor(g, i, n);
    sink += gguf_fingerprint(g);
    open_without_vocabulary(p, n, head_only, g, NULL);
    gguf_close(g);
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
    open_and_read(p, n, n % 2 != 0);
    return 0;
}

size_t LLVMFuzzerCustomMutator(uint8_t *p, size_t n, size_t max, unsigned seed)
{
    static const uint64_t odd[] = { 0,
                                    1,
                                    2,
                                    4,
                                    8,
                                    16,
                                    31,
                                    32,
                                    33,
                                    63,
                                    64,
                                    255,
                                    256,
                                    1 << 16,
                                    (1ull << 31) - 1,
                                    1ull << 31,
                                    (1ull << 32) - 1,
                                    1ull << 32,
                                    1ull << 40,
                                    1ull << 60,
                                    1ull << 61,
                                    1ull << 62,
                                    (1ull << 63) - 1,
                                    1ull << 63,
                                    UINT64_MAX - 31,
                                    UINT64_MAX - 7,
                                    UINT64_MAX };

    if (n < 24 || seed % 4 != 0)
        return LLVMFuzzerMutate(p, n, max);
    uint64_t r = hash_bytes(&seed, sizeof(seed), 1);
    uint64_t v = odd[r % ARRAY_LEN(odd)];
    size_t width = r >> 20 & 1 ? 8 : 4, at = (size_t)((r >> 24) % (n - 7));
    if ((r >> 21 & 3) == 0)
        at = 8 + 8 * (size_t)(r >> 60 & 1); // one of the counts
    memcpy(p + at, &v, width);
    return n;
}
