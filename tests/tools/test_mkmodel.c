// test_mkmodel.c - the models that other tests stand on: files that open, with weights as they
// should be. Whether an architecture's keys and tensors are right is for tests/model to say.

#include "gguf/gguf.h"
#include "support/gguf_make.h"

#include <math.h>
#include <setjmp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

static const char tool[] = "build/tools/mkmodel";

static char *make(const char *dir, const char *args)
{
    char *path = xasprintf("%s/m.gguf", dir);
    char *command = xasprintf("%s %s %s", tool, args, path);
    const int status = system(command);
    if (status != 0)
        fail_msg("%s: status %d", command, status);
    free(command);
    return path;
}

static struct gguf *open_made(const char *dir, const char *args)
{
    struct gguf *g;
    struct err e = { 0 };
    char *path = make(dir, args);
    if (!gguf_open(&g, path, NULL, &e))
        fail_msg("%s: %s", args, e.msg);
    free(path);
    return g;
}

static int setup(void **state)
{
    struct stat s;
    if (stat(tool, &s) == 0)
        *state = gm_dir();
    return 0;
}

static int teardown(void **state)
{
    if (*state)
        gm_dir_remove(*state);
    free(*state);
    return 0;
}

static const char *dir_or_skip(void **state, const char *test)
{
    if (!*state) {
        print_message("SKIP %s: no %s\n", test, tool);
        skip();
    }
    return *state;
}

static void every_architecture_opens_and_its_vocabulary_fits_its_matrices(void **state)
{
    static const char *const archs[] = { "llama", "gemma3",    "gemma2",  "qwen2",
                                         "qwen3", "qwen3moe",  "gpt-oss", "deepseek2",
                                         "phi3",  "command-r", "cohere2" };
    const char *dir = dir_or_skip(state, __func__);
    for (size_t i = 0; i < ARRAY_LEN(archs); i++) {
        for (int spm = 0; spm < 2; spm++) {
            char *args = xasprintf("--arch %s --type Q4_K_M --random --tok %s", archs[i],
                                   spm ? "spm" : "bpe");
            struct gguf *g = open_made(dir, args);
            uint64_t n = 0;
            const struct str *tokens = gguf_arr_strs(g, "tokenizer.ggml.tokens", &n);
            const int embd = gguf_find_tensor(g, "token_embd.weight");
            assert_non_null(tokens);
            assert_true(embd >= 0 && gguf_tensor(g, embd)->ne[1] == n);
            for (uint64_t a = 0; a < n; a++)
                for (uint64_t b = a + 1; b < n; b++)
                    assert_false(str_eq(tokens[a], tokens[b]));
            gguf_close(g);
            free(args);
        }
    }
}

/// Standard deviation of a matrix's first numbers, times the root of its row length: about 1.
static double spread(const struct gguf *g, int i)
{
    enum { N = 4096 };
    float x[N];
    const struct gguf_tensor *t = gguf_tensor(g, i);
    double sum = 0;
    dtype_info(t->type)->to_f32(x, gguf_data(g, i), N);
    for (int k = 0; k < N; k++)
        sum += (double)x[k] * (double)x[k];
    return sqrt(sum / N * (double)t->ne[0]);
}

static void weights_of_every_type_keep_activations_near_1(void **state)
{
    const char *dir = dir_or_skip(state, __func__);
    for (uint32_t t = 0; t < DTYPE_A8; t++) {
        for (int random = 0; dtype_known(t) && t != DTYPE_I32 && random < 2; random++) {
            char *args = xasprintf("--arch llama --layers 1 --type %s%s",
                                   dtype_info((enum dtype)t)->name, random ? " --random" : "");
            struct gguf *g = open_made(dir, args);
            const int i = gguf_find_tensor(g, "blk.0.ffn_up.weight");
            assert_true(i >= 0);
            assert_int_equal(gguf_tensor(g, i)->type, t);
            const double s = spread(g, i);
            if (s < 0.7 || s > 1.3)
                fail_msg("%s: %.3f", args, s);
            gguf_close(g);
            free(args);
        }
    }
}

static void rows_that_are_no_whole_blocks_fall_back_to_smaller_ones(void **state)
{
    const char *dir = dir_or_skip(state, __func__);
    static const struct {
        const char *args;
        enum dtype want;
    } rows[] = {
        { "--type Q4_K --embd 96", DTYPE_Q5_0 }, { "--type Q5_K --embd 96", DTYPE_Q5_1 },
        { "--type Q6_K --embd 96", DTYPE_Q8_0 }, { "--type Q3_K --embd 96", DTYPE_IQ4_NL },
        { "--type Q4_K --embd 72", DTYPE_F16 },  { "--type Q8_0 --embd 72", DTYPE_F16 },
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        char *args = xasprintf("--arch llama --layers 1 --head-dim 32 %s", rows[i].args);
        struct gguf *g = open_made(dir, args);
        assert_int_equal(gguf_tensor(g, gguf_find_tensor(g, "token_embd.weight"))->type,
                         rows[i].want);
        gguf_close(g);
        free(args);
    }
}

static void the_same_arguments_give_the_same_bytes(void **state)
{
    const char *dir = dir_or_skip(state, __func__);
    struct err e = { 0 };
    char *bytes[3];
    size_t n[3];
    for (int i = 0; i < 3; i++) {
        char *path =
            make(dir, i < 2 ? "--arch gemma3 --type Q8_0" : "--arch gemma3 --type Q8_0 --seed 2");
        assert_true(file_read(&bytes[i], &n[i], path, 1 << 28, &e));
        free(path);
    }
    assert_int_equal(n[0], n[1]);
    assert_memory_equal(bytes[0], bytes[1], n[0]);
    assert_int_equal(n[0], n[2]);
    assert_memory_not_equal(bytes[0], bytes[2], n[0]);
    for (int i = 0; i < 3; i++)
        free(bytes[i]);
}

static int by_text(const void *a, const void *b)
{
    const struct str *x = a, *y = b;
    const int order = memcmp(x->p, y->p, x->n < y->n ? x->n : y->n);
    return order != 0 ? order : (x->n > y->n) - (x->n < y->n);
}

static void a_shape_has_the_vocabulary_and_the_merges_of_its_model(void **state)
{
    const char *dir = dir_or_skip(state, __func__);
    struct gguf *g =
        open_made(dir, "--shape tests/data/zoo/llama3.2-1b.json --layers 1 --all-merges --holes");
    uint64_t n_tokens, n_merges, at = 0;
    const struct str *token = gguf_arr_strs(g, "tokenizer.ggml.tokens", &n_tokens);
    const struct str *merge = gguf_arr_strs(g, "tokenizer.ggml.merges", &n_merges);

    assert_int_equal(n_tokens, 128256);
    assert_int_equal(n_merges, 280147);
    // Merges are in the order of the tokens that they make, all but the control tokens and bytes.
    for (uint64_t i = 0; i < n_merges && at < n_tokens; i++) {
        const char *cut = memchr(merge[i].p, ' ', merge[i].n);
        const size_t n_left = (size_t)(cut - merge[i].p), n_right = merge[i].n - n_left - 1;
        while (at < n_tokens &&
               !(token[at].n == n_left + n_right && memcmp(token[at].p, merge[i].p, n_left) == 0 &&
                 memcmp(token[at].p + n_left, cut + 1, n_right) == 0))
            at++;
    }
    assert_int_equal(at, n_tokens); // the merges behind the last token make none

    struct str *sorted = xmalloc(n_tokens * sizeof *sorted);
    memcpy(sorted, token, n_tokens * sizeof *sorted);
    qsort(sorted, n_tokens, sizeof *sorted, by_text);
    for (uint64_t i = 1; i < n_tokens; i++)
        assert_int_not_equal(by_text(&sorted[i - 1], &sorted[i]), 0);
    free(sorted);
    gguf_close(g);
}

static void bad_arguments_are_refused(void **state)
{
    (void)dir_or_skip(state, __func__);
    static const char *const bad[] = { "",
                                       "--arch llama",
                                       "--arch nope /dev/null",
                                       "--arch llama --type Q9 /dev/null",
                                       "--arch llama --heads 3 --kv-heads 2 /dev/null",
                                       "--arch llama --layers -1 /dev/null",
                                       "--arch llama --layers",
                                       "--shape /nonexistent /dev/null" };
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        char *command = xasprintf("%s %s >/dev/null 2>&1", tool, bad[i]);
        const int status = system(command);
        if (status == 0 || status > 2 << 8)
            fail_msg("%s: status %d", command, status);
        free(command);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_architecture_opens_and_its_vocabulary_fits_its_matrices),
        cmocka_unit_test(weights_of_every_type_keep_activations_near_1),
        cmocka_unit_test(rows_that_are_no_whole_blocks_fall_back_to_smaller_ones),
        cmocka_unit_test(the_same_arguments_give_the_same_bytes),
        cmocka_unit_test(a_shape_has_the_vocabulary_and_the_merges_of_its_model),
        cmocka_unit_test(bad_arguments_are_refused),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
