// cohere2.c - Command R7B and A (arXiv:2504.00698): Command R, where three layers with a window and
// rope are followed by one that sees everything and knows no positions.

#include "model/model_int.h"

static void read(struct model *m, struct layer *layer, struct keys *k)
{
    command_r_read(m, layer, k);
    key_int(k, "attention.sliding_window", 1, 1 << 30);
    key_windows(k, layer, m->n_layers, 0, 4);
    for (int il = 0; il < m->n_layers; il++)
        if (layer[il].window == 0)
            layer[il].rope.rot = 0;
}

const struct arch arch_cohere2 = {
    .name = "cohere2", .read = read, .graph = command_r_graph, .unused = no_tensors
};
