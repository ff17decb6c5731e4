// vision.c - the tower that sees images, where a model's own file holds one: SigLIP
// (arXiv:2303.15343) as in Gemma 3, by the names of ollama/ollama,
// model/models/gemma3/model_vision.go. Its weights are placed and loaded; images are not run yet,
// so that no node reads them.

#include <string.h>

#include "model/model_int.h"

static bool has_tower(const struct gguf *g)
{
    for (int i = 0; i < gguf_n_tensors(g); i++)
        if (strncmp(gguf_tensor(g, i)->name, "v.", 2) == 0)
            return true;
    return false;
}

/// Keys and tensors both make a tower: a file that has but one of them is a text model.
void vision_read(struct model *m, struct keys *k)
{
    struct vision *v = &m->vision;
    if (!key_is(k, "vision.block_count") || !has_tower(k->g))
        return;
    v->n_layers = (int)key_int(k, "vision.block_count", 1, MAX_LAYERS);
    v->n_embd = (int)key_int(k, "vision.embedding_length", 1, MAX_EMBD);
    v->n_ff = (int)key_int(k, "vision.feed_forward_length", 1, MAX_FF);
    v->n_channels = (int)key_int_or(k, "vision.num_channels", 1, MAX_CHANNELS, 3);
    int image = (int)key_int(k, "vision.image_size", 1, MAX_IMAGE);
    v->patch = (int)key_int(k, "vision.patch_size", 1, image);
    v->n_patches = (image / v->patch) * (image / v->patch);
}

static void vec(struct gb *b, int n, const char *name)
{
    gb_hold(b, gb_vec(b, n, "%s", name));
}

static void linear(struct gb *b, int il, const char *name, int cols, int rows)
{
    gb_hold(b, gb_mat(b, cols, rows, "v.blk.%d.%s.weight", il, name));
    gb_hold(b, gb_vec(b, rows, "v.blk.%d.%s.bias", il, name));
}

static void norm(struct gb *b, int il, const char *name, int n)
{
    gb_hold(b, gb_vec(b, n, "v.blk.%d.%s.weight", il, name));
    gb_hold(b, gb_vec(b, n, "v.blk.%d.%s.bias", il, name));
}

static void block(struct gb *b, const struct vision *v, int il)
{
    norm(b, il, "layer_norm1", v->n_embd);
    linear(b, il, "attn_q", v->n_embd, v->n_embd);
    linear(b, il, "attn_k", v->n_embd, v->n_embd);
    linear(b, il, "attn_v", v->n_embd, v->n_embd);
    linear(b, il, "attn_output", v->n_embd, v->n_embd);
    norm(b, il, "layer_norm2", v->n_embd);
    linear(b, il, "mlp.fc1", v->n_embd, v->n_ff);
    linear(b, il, "mlp.fc2", v->n_ff, v->n_embd);
}

void vision_graph(struct gb *b, const struct model *m)
{
    const struct vision *v = &m->vision;
    if (v->n_layers == 0)
        return;
    gb_part(b, PART_VISION, -1);
    gb_hold(b, gb_filters(b, v->patch, v->n_channels, v->n_embd, "v.patch_embedding.weight"));
    vec(b, v->n_embd, "v.patch_embedding.bias");
    gb_hold(b, gb_mat(b, v->n_embd, v->n_patches, "v.position_embedding.weight"));
    for (int il = 0; il < v->n_layers; il++)
        block(b, v, il);
    vec(b, v->n_embd, "v.post_layernorm.weight");
    vec(b, v->n_embd, "v.post_layernorm.bias");
    vec(b, v->n_embd, "mm.mm_soft_emb_norm.weight");
    // A row for each of the tower's numbers: to be multiplied from the other side.
    gb_hold(b, gb_mat(b, m->n_embd, v->n_embd, "mm.mm_input_projection.weight"));
}
