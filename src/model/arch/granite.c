// granite.c - Granite 3 and the dense ones of Granite 4 (ibm-granite/granite-3.0-language-models,
// arXiv:2408.13359): Llama with four scales, of the embedding, of q.k, of what each half of a block
// adds and of the logits, which are divided by theirs. A file may say that positions turn nothing.

#include "model/model_int.h"

static void read(struct model *m, struct layer *layer, struct keys *k)
{
    llama_read(m, layer, k);
    m->embd_scale = key_float_or(k, "embedding_scale", 0, 1e6f, 0);
    if (m->embd_scale == 0)
        m->embd_scale = 1;
    m->residual_scale = key_float_or(k, "residual_scale", 0, 1e3f, 0);
    m->logit_scale = 1 / key_float(k, "logit_scale", 1e-6f, 1e6f);
    if (!key_bool_or(k, "rope.scaling.finetuned", true))
        for (int il = 0; il < m->n_layers; il++)
            layer[il].rope.rot = 0;
}

const struct arch arch_granite = {
    .name = "granite", .read = read, .graph = llama_graph, .unused = no_tensors
};
