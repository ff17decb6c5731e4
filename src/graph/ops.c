// ops.c - one row an operation: its name, its sources, the rule for its shapes.

#include <string.h>

#include "graph/graph_int.h"

// The page table is optional: layers with a window do without.
// clang-format off
static const struct op_row rows[OP_COUNT] = {
    [OP_EMBED]      = { { "embed",      2, 0 }, shape_embed },
    [OP_ROPE_TABLE] = { { "rope_table", 1, 2 }, shape_rope_table },
    [OP_RMSNORM]    = { { "rmsnorm",    2, 1 }, shape_rmsnorm },
    [OP_LAYERNORM]  = { { "layernorm",  2, 1 }, shape_layernorm },
    [OP_MATMUL]     = { { "matmul",     2, 2 }, shape_matmul },
    [OP_ROPE]       = { { "rope",       2, 0 }, shape_rope },
    [OP_KV_STORE]   = { { "kv_store",   6, 1 }, shape_kv_store },
    [OP_ATTN]       = { { "attn",       5, 2 }, shape_attn },
    [OP_GLU]        = { { "glu",        1, 1 }, shape_glu },
    [OP_ADD]        = { { "add",        2, 0 }, shape_add },
    [OP_SCALE]      = { { "scale",      1, 0 }, shape_same },
    [OP_SOFTCAP]    = { { "softcap",    1, 0 }, shape_same },
    [OP_ROWS]       = { { "rows",       2, 0 }, shape_rows },
    [OP_ROUTE]      = { { "route",      1, 1 }, shape_route },
    [OP_EXPERTS]    = { { "experts",    3, 1 }, shape_experts },
    [OP_EXPERT_SUM] = { { "expert_sum", 2, 1 }, shape_expert_sum },
    [OP_HEADS]      = { { "heads",      2, 0 }, shape_heads },
    [OP_SLICE]      = { { "slice",      1, 0 }, shape_slice },
    [OP_CONCAT]     = { { "concat",     2, 0 }, shape_concat },
};
// clang-format on

const struct op_row *op_row(enum op op)
{
    ASSERT((unsigned)op < OP_COUNT && rows[op].shape);
    return &rows[op];
}

const struct op_info *op_info(enum op op)
{
    return &op_row(op)->info;
}

bool op_by_name(enum op *out, const char *name)
{
    for (int i = 0; i < OP_COUNT; i++)
        if (strcmp(rows[i].info.name, name) == 0) {
            *out = (enum op)i;
            return true;
        }
    return false;
}
