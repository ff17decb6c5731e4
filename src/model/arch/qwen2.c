// qwen2.c - Qwen 2 and 2.5, DeepSeek-R1-Distill-Qwen (arXiv:2407.10671): Llama with biases on q, k
// and v, which are used where the file has them, and rope over halves of a head.

#include "model/model_int.h"

static void read(struct model *m, struct layer *layer, struct keys *k)
{
    llama_read(m, layer, k);
    m->rope_kind = ROPE_NEOX;
}

const struct arch arch_qwen2 = {
    .name = "qwen2", .read = read, .graph = llama_graph, .unused = no_tensors
};
