// fuzz_model.c - any head as a model: what is accepted has sane dimensions and a graph with a
// plan's sizes.
//
//     make MODE=fuzz fuzz
//     mkdir corpus && SNUG_SEED_DIR=corpus build/tests/model/test_model
//     build/fuzz/fuzz_model -max_len=8192 corpus

#include <stdlib.h>

#include "gguf/gguf.h"
#include "model/model.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

#define CHECK(x) ((x) ? (void)0 : abort())

static void check_graph(const struct graph *g)
{
    const struct dims v = { .n_tokens = 512,
                            .n_outputs = 512,
                            .n_slots = 64,
                            .n_ctx = 1 << 30,
                            .max_tokens = 512,
                            .kv = DTYPE_F32 };
    struct buf text;
    for (int i = 0; i < graph_n_tensors(g); i++) {
        const struct tensor *t = graph_tensor(g, i);
        CHECK(tensor_bytes(t, &v) > 0 && tensor_bytes(t, &v) < UINT64_C(1) << 62);
    }
    buf_init(&text, 64 << 20);
    CHECK(graph_dump(g, &text));
    buf_done(&text);
}

static void ignore(void *ctx, int tensor, bool known)
{
    (void)ctx, (void)tensor, (void)known;
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
    struct gguf *f;
    struct model *m;
    struct graph *g;
    struct err e = { 0 };
    if (!gguf_open_mem(&f, p, n, "fuzz", &(struct gguf_opts){ .head_only = true }, &e))
        return 0;
    (void)model_chat_format(f);
    if (model_read(&m, f, &e)) {
        CHECK(m->n_layers > 0 && m->n_embd > 0 && m->n_vocab > 0 && m->n_ctx_train > 0);
        for (int i = 0; i < m->n_layers; i++)
            CHECK(m->layer[i].n_heads % m->layer[i].n_kv_heads == 0 && m->layer[i].rope.base > 1);
        if (model_graph(&g, m, f, &e)) {
            check_graph(g);
            model_unused(m, g, f, ignore, NULL);
            graph_free(g);
        }
        model_free(m);
    }
    for (const char *c = e.msg; *c; c++)
        CHECK((unsigned char)*c >= 0x20 && (unsigned char)*c < 0x7f);
    gguf_close(f);
    return 0;
}
