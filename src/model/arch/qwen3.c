// qwen3.c - Qwen 3, dense (arXiv:2505.09388): as Qwen 2.5, with a norm of each head of q and k in
// the place of their biases.

#include "model/model_int.h"

static void read(struct model *m, struct layer *layer, struct keys *k)
{
    llama_read(m, layer, k);
    m->rope_kind = ROPE_NEOX;
    m->qk_norm = QK_NORM_ALIKE;
}

const struct arch arch_qwen3 = {
    .name = "qwen3", .read = read, .graph = llama_graph, .unused = no_tensors
};
