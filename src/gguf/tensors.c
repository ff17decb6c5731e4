// tensors.c - what a directory of tensors promises, checked: sizes, places, no overlaps.
//
// All products and sums of numbers from the file go through the checked functions of base.

#include "gguf/gguf_int.h"

#include <inttypes.h>
#include <stdlib.h>

// Names of all types ever given out (ggml-org/ggml include/ggml.h), for messages: dtype.h knows
// only those that this build can compute with.
static const char *const type_names[] = {
    [4] = "Q4_2, retired in 2023",
    [5] = "Q4_3, retired in 2023",
    [9] = "Q8_1",
    [15] = "Q8_K",
    [16] = "IQ2_XXS",
    [17] = "IQ2_XS",
    [18] = "IQ3_XXS",
    [19] = "IQ1_S",
    [21] = "IQ3_S",
    [22] = "IQ2_S",
    [24] = "I8",
    [25] = "I16",
    [27] = "I64",
    [28] = "F64",
    [29] = "IQ1_M",
    [31] = "Q4_0_4_4, retired in 2024",
    [32] = "Q4_0_4_8, retired in 2024",
    [33] = "Q4_0_8_8, retired in 2024",
    [34] = "TQ1_0",
    [35] = "TQ2_0",
    [36] = "IQ4_NL_4_4, retired in 2024",
    [37] = "IQ4_NL_4_8, retired in 2024",
    [38] = "IQ4_NL_8_8, retired in 2024",
    [40] = "NVFP4",
};

enum { GPTOSS_MXFP4 = 4 }; // ollama/ollama's first gpt-oss files, architecture "gptoss"

static bool shape_type(struct gguf_tensor *t, uint32_t type, bool is_gptoss, struct err *why)
{
    if (type == GPTOSS_MXFP4 && is_gptoss) {
        t->type = DTYPE_MXFP4_PAIRS;
        return true;
    }
    if (type >= DTYPE_A8 || !dtype_known(type)) {
        if (type < ARRAY_LEN(type_names) && type_names[type] != NULL)
            return err_set(why, ERR_UNSUPPORTED, "type: %" PRIu32 " (%s) is not supported", type,
                           type_names[type]);
        return err_set(why, ERR_UNSUPPORTED, "type: %" PRIu32 " is not known", type);
    }
    t->type = (enum dtype)type;
    return true;
}

bool gguf_tensor_shape(struct gguf_tensor *t, const uint64_t *dims, uint32_t n_dims, uint32_t type,
                       bool is_gptoss, struct err *why)
{
    const uint64_t max_row = (uint64_t)1 << 40; // what dtype_row_bytes() takes
    uint64_t n = 1, rows = 1;

    if (!shape_type(t, type, is_gptoss, why))
        return false;
    for (uint32_t d = 0; d < 4; d++) {
        t->ne[d] = d < n_dims ? dims[d] : 1;
        if (t->ne[d] == 0)
            return err_set(why, ERR_FORMAT, "dimension %" PRIu32 ": 0", d);
        if (!mul_u64(&n, n, t->ne[d]) || n > (uint64_t)INT64_MAX)
            return err_set(why, ERR_FORMAT,
                           "dimension %" PRIu32 ": %" PRIu64
                           ", with those before it more than 2^63 numbers",
                           d, t->ne[d]);
        if (d > 0)
            rows *= t->ne[d]; // no more than n
    }
    t->n_dims = n_dims == 0 ? 1 : (int)n_dims; // none: a single number
    if (t->ne[0] > max_row)
        return err_set(why, ERR_FORMAT, "dimension 0: a row of %" PRIu64 " numbers", t->ne[0]);
    const struct dtype_info *info = dtype_info(t->type);
    if (t->ne[0] % (uint64_t)info->block != 0)
        return err_set(why, ERR_FORMAT,
                       "dimension 0: %" PRIu64 " is no multiple of %d, the block of %s", t->ne[0],
                       info->block, info->name);
    if (!mul_u64(&t->bytes, rows, dtype_row_bytes(t->type, (int64_t)t->ne[0])))
        return err_set(why, ERR_FORMAT, "dimensions: more than 2^64 bytes");
    return true;
}

/// "tensor 3 "name": " for messages; returns `out`.
static const char *label(char out[100], const struct part *p, int i)
{
    char name[72];

    snprintf(out, 100, "tensor %d \"%s\"", i,
             err_bytes(name, sizeof(name), p->tensors[i].name.p, p->tensors[i].name.n));
    return out;
}

static bool place(struct part *p, int i, bool head_only, struct err *e)
{
    struct entry *en = &p->tensors[i];
    uint64_t offset = en->t.offset, end;
    char who[100];

    if (offset % p->alignment != 0)
        return gguf_bad_at(e, ERR_FORMAT, p, en->at,
                           "%s: offset: %" PRIu64 " is no multiple of %" PRIu64 ", the alignment",
                           label(who, p, i), offset, p->alignment);
    if (!add_u64(&en->t.offset, p->data_at, offset) || !add_u64(&end, en->t.offset, en->t.bytes) ||
        end > MAX_FILE_BYTES)
        return gguf_bad_at(e, ERR_FORMAT, p, en->at,
                           "%s: offset: %" PRIu64 " and %" PRIu64 " bytes of data end above 2^63",
                           label(who, p, i), offset, en->t.bytes);
    if (end > gguf_part_full(p) && (!head_only || p->full != 0))
        return gguf_bad_at(e, ERR_FORMAT, p, en->at,
                           "%s: offset: data from %" PRIu64 " to %" PRIu64
                           ", but the file has %" PRIu64 " bytes",
                           label(who, p, i), en->t.offset, end, gguf_part_full(p));
    if (end > p->bytes)
        p->bytes = end;
    return true;
}

static int by_offset(const void *a, const void *b)
{
    const struct entry *x = *(const struct entry *const *)a, *y = *(const struct entry *const *)b;

    if (x->t.offset != y->t.offset)
        return x->t.offset < y->t.offset ? -1 : 1;
    return x < y ? -1 : x > y;
}

/// Tensors may lie in any order and with gaps, but no byte may belong to two.
static bool check_overlaps(const struct part *p, struct err *e)
{
    const struct entry **order = xmalloc((size_t)p->n_tensors * sizeof(const struct entry *));
    char one[100], two[100];
    bool ok = true;

    for (int i = 0; i < p->n_tensors; i++)
        order[i] = &p->tensors[i];
    if (p->n_tensors > 0)
        qsort(order, (size_t)p->n_tensors, sizeof(const struct entry *), by_offset);
    for (int k = 1; k < p->n_tensors && ok; k++) {
        const struct entry *a = order[k - 1], *b = order[k];
        if (a->t.offset + a->t.bytes > b->t.offset)
            ok = gguf_bad_at(e, ERR_FORMAT, p, b->at,
                             "%s: offset: data from %" PRIu64 " lies in that of %s, "
                             "which ends at %" PRIu64,
                             label(one, p, (int)(b - p->tensors)), b->t.offset,
                             label(two, p, (int)(a - p->tensors)), a->t.offset + a->t.bytes);
    }
    free(order);
    return ok;
}

bool gguf_tensors_place(struct part *p, bool head_only, struct err *e)
{
    p->bytes = gguf_part_full(p);
    p->data_at = align_up_u64(p->head_bytes, p->alignment); // both small
    if (p->n_tensors == 0 && p->data_at > p->bytes)
        p->data_at = p->bytes; // a vocabulary, not padded
    for (int i = 0; i < p->n_tensors; i++) {
        if (!place(p, i, head_only, e))
            return false;
    }
    return check_overlaps(p, e);
}
