// qwen3moe.c - Qwen 3 with experts (arXiv:2505.09388): Qwen 3, whose feed-forward halves are chosen
// for each token by a softmax over all experts.

#include "model/model_int.h"

static void read(struct model *m, struct layer *layer, struct keys *k)
{
    key_int(k, "expert_count", 1, MAX_EXPERTS);
    if (!key_is(k, "expert_feed_forward_length")) // then feed_forward_length is that of all used
        for (int il = 0; il < m->n_layers; il++)
            layer[il].n_ff /= m->route.k > 0 ? m->route.k : 1;
    llama_read(m, layer, k);
    m->rope_kind = ROPE_NEOX;
    m->qk_norm = QK_NORM_ALIKE;
}

const struct arch arch_qwen3moe = {
    .name = "qwen3moe", .read = read, .graph = llama_graph, .unused = no_tensors, .experts = true
};
