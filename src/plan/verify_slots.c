// verify_slots.c - every tensor that the graph needs has a place of its size, from the right bytes
// of the file, inside its arena, and shares no byte with what lives at the same time.

#include "plan/verify_int.h"

#include "model/model.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

// --- sizes
// ----------------------------------------------------------------------------------------

/// Pages of one sequence. A layer with a window keeps what a whole micro-batch can see, and the
/// first of these positions may be the last of its page.
static uint64_t slot_pages(const struct plan_file *f, int window)
{
    uint64_t all = ((uint64_t)f->context + 63) / 64;
    uint64_t seen = (uint64_t)window + (uint64_t)f->micro_batch - 1;
    uint64_t ring = 1 + (seen - 1 + 63) / 64;

    return window > 0 && ring < all ? ring : all;
}

static uint64_t extent(const struct plan_file *f, struct dim d)
{
    uint64_t n = (uint64_t)d.n, slots = (uint64_t)f->slots;

    switch (d.sym) {
    case SYM_ONE:
        return n;
    case SYM_TOKENS:
        return n * (uint64_t)f->micro_batch;
    case SYM_OUTPUTS:
        return n * (uint64_t)f->outputs;
    case SYM_PAGES:
        return n * slots * slot_pages(f, 0);
    case SYM_WINDOW_PAGES:
        return n * slots * slot_pages(f, d.arg);
    case SYM_SLOT_PAGES:
        return n * slot_pages(f, 0);
    case SYM_SLOTS:
        return n * slots;
    case SYM_COUNT:
        break;
    }
    return 0;
}

/// Of 64 tokens of one head. q8_0 has a float16 for every 32 numbers, begun ones too.
static uint64_t page_head_bytes(uint64_t head_dim, enum dtype kv)
{
    if (kv == DTYPE_F32)
        return 64 * 4 * head_dim;
    if (kv == DTYPE_F16)
        return 64 * 2 * head_dim;
    return 64 * (head_dim + 2 * ((head_dim + 31) / 32));
}

uint64_t verify_bytes(const struct verifier *v, const struct tensor *t, enum dtype format)
{
    const struct dtype_info *info = dtype_info(format);
    uint64_t rows = extent(v->f, t->d[1]) * extent(v->f, t->d[2]) * extent(v->f, t->d[3]);
    uint64_t cols = extent(v->f, t->d[0]);

    if (t->role == ROLE_STATE)
        return page_head_bytes((uint64_t)t->d[0].n, format) * extent(v->f, t->d[2]) *
               extent(v->f, t->d[3]);
    if (format == DTYPE_A8)
        return rows * (cols / 2 * 3);
    return rows * (cols / (uint64_t)info->block * (uint64_t)info->block_bytes);
}

static const char *slot_name(const struct verifier *v, int i, char out[64])
{
    return err_bytes(out, 64, v->f->slot[i].name, strlen(v->f->slot[i].name));
}

static bool may_have(const struct verifier *v, const struct tensor *t, enum dtype format)
{
    if (t->role == ROLE_STATE)
        return format == v->f->kv;
    return format == t->type ||
           (t->role == ROLE_TEMP && format == DTYPE_A8 && t->type == DTYPE_F32 && !v->f->exact);
}

static enum arena_kind arena_of(const struct verifier *v, const struct tensor *t, int i)
{
    switch (t->role) {
    case ROLE_WEIGHT:
        return ARENA_WEIGHTS;
    case ROLE_STATE:
        return ARENA_KV;
    case ROLE_INPUT:
    case ROLE_OUTPUT:
        return ARENA_INPUT;
    case ROLE_TEMP:
        break;
    }
    return v->f->slot[i].arena == ARENA_HANDOVER ? ARENA_HANDOVER : ARENA_SCRATCH;
}

/// What the file's directory says of a weight, of which the slot may be some rows.
static void check_source(struct verifier *v, int i, const struct tensor *t)
{
    const struct file_slot *s = &v->f->slot[i];
    const struct gguf_tensor *d = gguf_tensor(v->file, t->source);
    uint64_t rows = (uint64_t)(t->d[1].n * t->d[2].n * t->d[3].n);
    uint64_t all = d->ne[1] * d->ne[2] * d->ne[3];
    uint64_t row = all > 0 ? d->bytes / all : 0;
    char name[64];

    // A vector, or filters that are used as a matrix, have other rows: they are used whole.
    uint64_t bytes = rows < all && (uint64_t)t->d[0].n == d->ne[0] ? rows * row : d->bytes;
    uint64_t offset = d->offset + (bytes < d->bytes ? (uint64_t)t->row0 * row : 0);
    if (s->format != d->type || s->bytes != bytes)
        verify_wrong(v, "tensors[%d].bytes: %" PRIu64 " of %s (%s), the file has %" PRIu64 " of %s",
                     i, s->bytes, slot_name(v, i, name), dtype_info(s->format)->name, bytes,
                     dtype_info(d->type)->name);
    if (s->file != d->file || s->file_offset != offset)
        verify_wrong(v,
                     "tensors[%d].file_offset: %s is in file %d at %" PRIu64 ", not %d at %" PRIu64,
                     i, slot_name(v, i, name), d->file, offset, s->file, s->file_offset);
    if (s->mapped && s->offset != offset)
        verify_wrong(v, "tensors[%d].offset: %" PRIu64 ", it is mapped at %" PRIu64, i, s->offset,
                     offset);
    if (s->mapped != v->f->dev[s->dev].in_place)
        verify_wrong(v, "tensors[%d].arena: %s on a device that %s", i,
                     s->mapped ? "mapped" : "weights",
                     s->mapped ? "cannot use the mapping" : "uses the mapping");
}

static void check_slot(struct verifier *v, int i)
{
    const struct file_slot *s = &v->f->slot[i];
    const struct tensor *t = verify_tensor(v, i);
    char name[64];

    if (t == NULL) {
        if (s->tensor >= 0)
            verify_wrong(v, "tensors[%d].tensor: there is no %d in the graph", i, s->tensor);
        else if (s->arena != ARENA_SCRATCH || s->mapped || s->format != DTYPE_F32 ||
                 s->alias >= 0 || s->file >= 0 || strcmp(s->name, "(working space)") != 0)
            verify_wrong(v, "tensors[%d].arena: working space is plain scratch", i);
        return;
    }
    if (strcmp(s->name, t->name) != 0)
        verify_wrong(v, "tensors[%d].name: \"%s\", the graph's is %s", i, slot_name(v, i, name),
                     t->name);
    if (!may_have(v, t, s->format))
        verify_wrong(v, "tensors[%d].format: %s cannot be %s", i, t->name,
                     dtype_info(s->format)->name);
    else if (s->bytes != verify_bytes(v, t, s->format))
        verify_wrong(v, "tensors[%d].bytes: %" PRIu64 ", %s has %" PRIu64, i, s->bytes, t->name,
                     verify_bytes(v, t, s->format));
    if (s->arena != arena_of(v, t, i) || (s->mapped && t->role != ROLE_WEIGHT))
        verify_wrong(v, "tensors[%d].arena: %s is in %s", i, t->name, arena_kind_name(s->arena));
    if (t->role == ROLE_WEIGHT)
        check_source(v, i, t);
    else if (s->file >= 0)
        verify_wrong(v, "tensors[%d].file: %s is not in the file", i, t->name);
}

// --- once a device, and where its part is
// ---------------------------------------------------------

struct held {
    int dev, source, slot;
    int64_t row0, rows;
};

static int cmp_held(const void *a, const void *b)
{
    const struct held *x = a, *y = b;

    if (x->dev != y->dev)
        return x->dev < y->dev ? -1 : 1;
    if (x->source != y->source)
        return x->source < y->source ? -1 : 1;
    return x->row0 < y->row0 ? -1 : x->row0 > y->row0;
}

/// The same rows of a file's tensor twice on one device are bytes too many.
static void check_once(struct verifier *v)
{
    struct held *h = xcalloc((size_t)v->f->n_slots + 1, sizeof(*h));
    int n = 0;

    for (int i = 0; i < v->f->n_slots; i++) {
        const struct tensor *t = verify_tensor(v, i);
        if (t != NULL && t->role == ROLE_WEIGHT)
            h[n++] = (struct held){ v->f->slot[i].dev, t->source, i, t->row0,
                                    t->d[1].n * t->d[2].n * t->d[3].n };
    }
    qsort(h, (size_t)n, sizeof(*h), cmp_held);
    for (int i = 1; i < n; i++)
        if (h[i].dev == h[i - 1].dev && h[i].source == h[i - 1].source &&
            h[i].row0 < h[i - 1].row0 + h[i - 1].rows)
            verify_wrong(v, "tensors[%d]: rows of %s are on device %d twice", h[i].slot,
                         graph_tensor(v->g, v->f->slot[h[i].slot].tensor)->name, h[i].dev);
    free(h);
}

static bool same_weight(const struct tensor *a, const struct tensor *b)
{
    return a->role == ROLE_WEIGHT && b->role == ROLE_WEIGHT && a->source == b->source &&
           a->row0 == b->row0 && a->d[0].n == b->d[0].n && a->d[1].n == b->d[1].n &&
           a->d[2].n == b->d[2].n;
}

static bool is_on(const struct verifier *v, const struct tensor *t, int dev)
{
    for (int i = 0; i < v->f->n_slots; i++) {
        const struct tensor *u = v->f->slot[i].dev == dev ? verify_tensor(v, i) : NULL;
        if (u != NULL && (u == t || same_weight(u, t)))
            return true;
    }
    return false;
}

/// Weights and states stay with their part; the shared part's are looked for where steps read them.
static void check_there(struct verifier *v)
{
    for (int i = 0; i < graph_n_tensors(v->g); i++) {
        const struct tensor *t = graph_tensor(v->g, i);
        int dev = verify_part_dev(v, t->part);
        if (dev >= 0 && (t->role == ROLE_WEIGHT || t->role == ROLE_STATE) && !is_on(v, t, dev))
            verify_wrong(v, "tensors: %s is missing on device %d", t->name, dev);
    }
    for (int i = 0; i < v->f->n_slots; i++) {
        const struct tensor *t = verify_tensor(v, i);
        int n = 0;
        if (t == NULL || t->role == ROLE_WEIGHT || t->role == ROLE_TEMP)
            continue;
        for (int k = 0; k < i; k++)
            n += v->f->slot[k].tensor == t->id && v->f->slot[k].dev == v->f->slot[i].dev;
        if (n > 0)
            verify_wrong(v, "tensors[%d]: %s is on device %d twice", i, t->name, v->f->slot[i].dev);
    }
}

struct unused {
    int n, known;
};

static void count_unused(void *ctx, int tensor, bool known)
{
    struct unused *u = ctx;

    (void)tensor;
    u->n++;
    u->known += known;
}

static void say_weights(struct verifier *v)
{
    struct unused u = { 0 };
    uint64_t weights = 0, kv = 0;
    int n = 0;

    model_unused(v->m, v->g, v->file, count_unused, &u);
    for (int i = 0; i < v->f->n_slots; i++) {
        const struct file_slot *s = &v->f->slot[i];
        n += s->arena == ARENA_WEIGHTS;
        weights += s->arena == ARENA_WEIGHTS ? s->bytes : 0;
        kv += s->arena == ARENA_KV ? s->bytes : 0;
    }
    verify_fine(v,
                "coverage and sizes: %d weights of %" PRIu64
                " bytes as in the file's directory, each once a device; %" PRIu64 " bytes of kv",
                n, weights, kv);
    if (u.n > 0)
        verify_fine(v, "unused: %d tensors of the file, %d of them by the architecture's word", u.n,
                    u.known);
}

// --- bounds and overlap
// ---------------------------------------------------------------------------

static const struct file_arena *find_arena(const struct plan_file *f, int dev,
                                           enum arena_kind arena)
{
    for (int i = 0; i < f->n_arenas; i++)
        if (f->arena[i].dev == dev && f->arena[i].arena == arena)
            return &f->arena[i];
    return NULL;
}

static uint64_t guard_of(const struct plan_file *f, const struct file_slot *s)
{
    return s->arena == ARENA_SCRATCH || s->arena == ARENA_HANDOVER ? verify_up(f->guard, 64) : 0;
}

static void check_bounds(struct verifier *v, int i)
{
    const struct file_slot *s = &v->f->slot[i];
    const struct file_arena *a = find_arena(v->f, s->dev, s->arena);
    uint64_t guard = guard_of(v->f, s), end;
    char name[64];

    if (s->mapped) {
        end =
            s->file >= 0 && s->file < gguf_n_files(v->file) ? gguf_file_bytes(v->file, s->file) : 0;
        if (s->offset > end || s->bytes > end - s->offset)
            verify_wrong(v, "tensors[%d].offset: %s ends behind its file", i,
                         slot_name(v, i, name));
        return;
    }
    end = a != NULL ? a->bytes : 0;
    if (s->offset % 64 != 0)
        verify_wrong(v, "tensors[%d].offset: %" PRIu64 " is no multiple of 64", i, s->offset);
    if (s->offset < guard || s->offset > end || verify_up(s->bytes, 64) + guard > end - s->offset)
        verify_wrong(v,
                     "tensors[%d].offset: %s at %" PRIu64 " + %" PRIu64 " is outside the %" PRIu64
                     " bytes of %s on device %d",
                     i, slot_name(v, i, name), s->offset, s->bytes, end, arena_kind_name(s->arena),
                     s->dev);
}

bool verify_same_memory(const struct file_slot *a, const struct file_slot *b)
{
    if (a->mapped || b->mapped || a->dev != b->dev || a->arena != b->arena)
        return false;
    return a->offset < b->offset + b->bytes && b->offset < a->offset + a->bytes;
}

struct placed {
    int dev, arena, slot;
    uint64_t offset;
};

static int cmp_place(const void *a, const void *b)
{
    const struct placed *x = a, *y = b;

    if (x->dev != y->dev)
        return x->dev < y->dev ? -1 : 1;
    if (x->arena != y->arena)
        return x->arena < y->arena ? -1 : 1;
    if (x->offset != y->offset)
        return x->offset < y->offset ? -1 : 1;
    return x->slot < y->slot ? -1 : 1;
}

/// Two at the same time in the same place: only where the later takes over the earlier's slot.
static void check_pair(struct verifier *v, int a, int b)
{
    const struct file_slot *x = &v->f->slot[a], *y = &v->f->slot[b];
    bool same_place = x->offset == y->offset && x->bytes == y->bytes;
    char first[64], second[64];

    if (x->last < y->first || y->last < x->first)
        return;
    if (same_place && (x->alias == b || y->alias == a))
        return;
    verify_wrong(v,
                 "tensors[%d].offset: %s at %" PRIu64 " + %" PRIu64
                 " and tensors[%d] %s at %" PRIu64 " + %" PRIu64
                 " in %s of device %d are alive together",
                 a, slot_name(v, a, first), x->offset, x->bytes, b, slot_name(v, b, second),
                 y->offset, y->bytes, arena_kind_name(x->arena), x->dev);
}

static int check_overlap(struct verifier *v)
{
    const struct plan_file *f = v->f;
    struct placed *at = xcalloc((size_t)f->n_slots + 1, sizeof(*at));
    int n = 0, pairs = 0;

    for (int i = 0; i < f->n_slots; i++) {
        const struct file_slot *s = &f->slot[i];
        if (!s->mapped)
            at[n++] = (struct placed){ s->dev, (int)s->arena, i, s->offset };
    }
    qsort(at, (size_t)n, sizeof(*at), cmp_place);
    for (int i = 0; i < n; i++) {
        const struct file_slot *x = &f->slot[at[i].slot];
        uint64_t end = x->offset + verify_up(x->bytes, 64) + 2 * guard_of(f, x);
        for (int k = i + 1; k < n; k++) {
            if (at[k].dev != at[i].dev || at[k].arena != at[i].arena || at[k].offset >= end)
                break;
            check_pair(v, at[i].slot, at[k].slot);
            pairs++;
        }
    }
    free(at);
    return pairs;
}

/// An arena is one whole: what it holds for good fills it, what comes and goes reaches its end.
static void check_arenas(struct verifier *v)
{
    for (int i = 0; i < v->f->n_arenas; i++) {
        const struct file_arena *a = &v->f->arena[i];
        uint64_t sum = 0, top = 0;
        for (int k = 0; k < v->f->n_slots; k++) {
            const struct file_slot *s = &v->f->slot[k];
            if (s->mapped || s->dev != a->dev || s->arena != a->arena)
                continue;
            uint64_t end = s->offset + verify_up(s->bytes, 64) + guard_of(v->f, s);
            sum += verify_up(s->bytes, 64);
            top = end > top ? end : top;
        }
        bool temporary = a->arena == ARENA_SCRATCH || a->arena == ARENA_HANDOVER;
        if (a->bytes != (temporary ? top : sum))
            verify_wrong(
                v, "arenas[%d].bytes: %" PRIu64 " of %s on device %d, its tensors take %" PRIu64, i,
                a->bytes, arena_kind_name(a->arena), a->dev, temporary ? top : sum);
        if (a->reserved != verify_up(a->bytes, v->f->dev[a->dev].granule))
            verify_wrong(v,
                         "arenas[%d].reserved_bytes: %" PRIu64 ", in granules of %" PRIu64
                         " it is %" PRIu64,
                         i, a->reserved, v->f->dev[a->dev].granule,
                         verify_up(a->bytes, v->f->dev[a->dev].granule));
        if (find_arena(v->f, a->dev, a->arena) != a)
            verify_wrong(v, "arenas[%d]: %s of device %d a second time", i,
                         arena_kind_name(a->arena), a->dev);
    }
}

/// Peak of the bytes alive: what no packing can be below. Those that hand on a slot are one.
static uint64_t peak(const struct plan_file *f, int dev)
{
    uint64_t *live = xcalloc((size_t)f->n_steps + 2, sizeof(*live)), now = 0, most = 0;
    int *first = xcalloc((size_t)f->n_slots + 1, sizeof(*first));
    int *last = xcalloc((size_t)f->n_slots + 1, sizeof(*last));

    for (int i = 0; i < f->n_slots; i++) {
        const struct file_slot *s = &f->slot[i];
        int root = i;
        if (s->dev != dev || s->arena != ARENA_SCRATCH)
            continue;
        for (int hops = 0; f->slot[root].alias >= 0 && hops < f->n_slots; hops++)
            root = f->slot[root].alias;
        if (root == i || s->first < first[root])
            first[root] = s->first;
        if (root == i || s->last > last[root])
            last[root] = s->last;
    }
    for (int i = 0; i < f->n_slots; i++) {
        const struct file_slot *s = &f->slot[i];
        if (s->dev != dev || s->arena != ARENA_SCRATCH || s->alias >= 0)
            continue;
        live[first[i]] += verify_up(s->bytes, 64) + 2 * guard_of(f, s);
        live[last[i] + 1] -= verify_up(s->bytes, 64) + 2 * guard_of(f, s);
    }
    for (int i = 0; i < f->n_steps; i++) {
        now += live[i]; // differences wrap around and back
        most = now > most ? now : most;
    }
    free(first);
    free(last);
    free(live);
    return most;
}

static void check_peaks(struct verifier *v)
{
    for (int d = 0; d < v->f->n_devs; d++) {
        uint64_t p = peak(v->f, d), arena = v->f->dev[d].line[ARENA_SCRATCH];
        if (p != v->f->dev[d].scratch_bound)
            verify_wrong(
                v, "devices[%d].scratch_bound: %" PRIu64 ", the peak of live bytes is %" PRIu64, d,
                v->f->dev[d].scratch_bound, p);
        else if (arena > 0)
            verify_fine(v,
                        "packing: scratch of device %d is %" PRIu64 " bytes, %" PRIu64
                        " above the peak of live bytes",
                        d, arena, arena - p);
    }
}

void verify_slots(struct verifier *v)
{
    int before = v->out->n_wrong;

    for (int i = 0; i < v->f->n_slots; i++)
        check_slot(v, i);
    check_once(v);
    check_there(v);
    if (v->out->n_wrong == before)
        say_weights(v);
    before = v->out->n_wrong;
    for (int i = 0; i < v->f->n_slots; i++)
        check_bounds(v, i);
    check_arenas(v);
    int pairs = check_overlap(v);
    if (v->out->n_wrong == before)
        verify_fine(v,
                    "bounds and overlap: %d tensors inside %d arenas, %d pairs share bytes, none "
                    "at the same time",
                    v->f->n_slots, v->f->n_arenas, pairs);
    check_peaks(v);
}
