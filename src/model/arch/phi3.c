// phi3.c - Phi 3, 3.5 and 4 (arXiv:2404.14219, arXiv:2412.08905): Llama with q, k, v in one matrix
// and gate and up in another; long contexts by two sets of rope factors (arXiv:2402.13753).

#include "model/model_int.h"

static void read(struct model *m, struct layer *layer, struct keys *k)
{
    llama_read(m, layer, k);
    m->rope_kind = ROPE_NEOX;
    m->fused_ffn = true;
    key_windows(k, layer, m->n_layers, 0, ALL_LAYERS);
    for (int il = 0; il < m->n_layers; il++) // many files give the whole context as the window
        if (layer[il].window >= m->n_ctx_train)
            layer[il].window = 0;
}

const struct arch arch_phi3 = {
    .name = "phi3", .read = read, .graph = llama_graph, .unused = no_tensors
};
