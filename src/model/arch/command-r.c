// command-r.c - Command R and R+ (CohereForAI/c4ai-command-r-v01): both halves of a block read the
// same norm of its input; layer norms without bias; the logits are scaled.

#include <math.h>

#include "model/model_int.h"

void command_r_read(struct model *m, struct layer *layer, struct keys *k)
{
    m->norm = NORM_LAYER;
    m->norm_eps = key_float(k, "attention.layer_norm_epsilon", 0, 0.1f);
    m->attn_scale = 1 / sqrtf((float)layer[0].head_dim);
    m->logit_scale = key_float_or(k, "logit_scale", 0, 1e3f, 1);
    if (m->logit_scale == 0)
        m->logit_scale = 1;
    if (gguf_find_tensor(k->g, "blk.0.attn_q_norm.weight") >= 0)
        m->qk_norm = QK_NORM_EACH; // R+
}

static struct tensor *block(struct gb *b, const struct model *m, int il, struct tensor *x)
{
    struct tensor *h = blk_norm(b, m, il, x, "attn_norm");
    x = blk_outputs(b, m, il, gb_add(b, x, blk_attn(b, m, il, h)));
    return gb_add(b, x, blk_ffn(b, m, il, blk_outputs(b, m, il, h)));
}

void command_r_graph(struct gb *b, const struct model *m)
{
    blk_model(b, m, block);
}

const struct arch arch_command_r = {
    .name = "command-r", .read = command_r_read, .graph = command_r_graph, .unused = no_tensors
};
