// embed.c - rows of a table as float32, times a factor: token embeddings.

#include "dev/cpu/matmul.h"
#include "dev/cpu/team.h"

static bool accepts(const struct node *n, const struct dims *max, bool exact)
{
    const struct dtype_info *t = dtype_info(n->src[1]->type);
    (void)max;
    (void)exact;

    return t != NULL && t->to_f32 != NULL;
}

static void run(const struct run_args *a, struct team *team)
{
    const struct tensor *table = a->node->src[1];
    const struct dtype_info *t = dtype_info(table->type);
    const int64_t n_ids = tensor_rows(a->node->dst[0], a->now), n_rows = tensor_rows(table, a->now);
    const int64_t cols = dim_value(table->d[0], a->now);
    const uint64_t row_bytes = dtype_row_bytes(table->type, cols);
    const float scale = a->node->args.f.scale;
    const int32_t *ids = a->src[0];

    for (int64_t i; (i = team_next(team, n_ids)) >= 0;) {
        float *y = (float *)a->dst[0] + i * cols;
        ASSERT(ids[i] >= 0 && ids[i] < n_rows);
        t->to_f32(y, (const uint8_t *)a->src[1] + (uint64_t)ids[i] * row_bytes, cols);
        for (int64_t k = 0; k < cols; k++)
            y[k] = y[k] * scale;
    }
}

const struct kernel cpu_ref_embed = {
    .name = "ref_embed",
    .op = OP_EMBED,
    .accepts = accepts,
    .act = DTYPE_F32,
    .run = run,
};
