// gpt-oss.c - gpt-oss 20b and 120b (arXiv:2508.10925): every other layer sees a window of 128, each
// head may look at nothing (a sink), biases everywhere, experts chosen before their softmax.
//
// "gptoss": the files that Ollama made (ollama/ollama, convert/convert_gptoss.go). The first ones
// keep the published checkpoint's fused matrices and names.

#include <math.h>

#include "model/model_int.h"

static void read(struct model *m, struct layer *layer, struct keys *k)
{
    m->rope_kind = ROPE_NEOX;
    m->act = ACT_SWIGLU_OAI;
    m->sinks = true;
    m->norm_eps = key_float(k, "attention.layer_norm_rms_epsilon", 0, 0.1f);
    m->attn_scale = 1 / sqrtf((float)layer[0].head_dim);
    key_int(k, "attention.sliding_window", 1, 1 << 30);
    key_windows(k, layer, m->n_layers, 0, 2);
    key_int(k, "expert_count", 1, MAX_EXPERTS);
    m->route.kind = ROUTE_SOFTMAX_SELECTED;
    m->route.norm = false; // it sums to 1 already
    m->gate_up_pairs = true;
    key_experts(k, m, layer, 0);
}

static struct tensor *block(struct gb *b, const struct model *m, int il, struct tensor *x)
{
    const char *second = blk_name(b, il, "post_attention_norm", "ffn_norm");
    x = gb_add(b, x, blk_attn(b, m, il, blk_norm(b, m, il, x, "attn_norm")));
    x = blk_outputs(b, m, il, x);
    return gb_add(b, x, blk_ffn(b, m, il, blk_norm(b, m, il, x, second)));
}

static void graph(struct gb *b, const struct model *m)
{
    blk_model(b, m, block);
}

const struct arch arch_gpt_oss = { .name = "gpt-oss",
                                   .read = read,
                                   .graph = graph,
                                   .unused = no_tensors,
                                   .experts = true,
                                   .rope_scaling = "yarn" };
const struct arch arch_gptoss = { .name = "gptoss",
                                  .read = read,
                                  .graph = graph,
                                  .unused = no_tensors,
                                  .experts = true,
                                  .rope_scaling = "yarn" };
