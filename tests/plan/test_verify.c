// test_verify.c - `snug verify` passes what the planner made, and nothing that was changed.
//
// The code under test shares none with the planner. The mutation test changes every kind of field
// of good plans and counts what is caught: by the file's digest (all), and with a digest made anew,
// by what the checks know (all but what is still a good plan).

#include "plan/file.h"
#include "plan/place.h"
#include "run/rig.h"
#include "run/tiny.h"

#include <jansson.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { MAX_DEVS = 4 };

/// A plan of a tiny model, as text.
struct made {
    struct rig rig;
    struct dev *dev[MAX_DEVS];
    int n_devs;
    struct plan *plan;
    struct buf text;
};

static const struct limits usual = {
    .micro_batch = 32, .outputs = 1, .slots = 2, .ctx = 200, .kv = DTYPE_F16
};

/// On `n` simulated devices and, where `host`, the CPU behind them, which has the embedding.
static void make_sized(struct made *m, const char *arch, const struct limits *lim, int n, bool host,
                       const struct plan_extra *more, uint64_t capacity)
{
    static const char *const name[] = { "sim0", "sim1", "sim2" };
    struct plan_extra x = more != NULL ? *more : (struct plan_extra){ 0 };
    struct assign a;
    struct err e = { 0 };

    *m = (struct made){ .n_devs = n + host };
    rig_open(&m->rig, tiny_model(arch, true));
    for (int i = 0; i < n; i++)
        m->dev[i] = sim_dev_new(
            &(struct sim_opts){ .name = name[i], .capacity_bytes = capacity, .cpu = m->rig.cpu });
    if (host)
        m->dev[n] = m->rig.cpu;
    assign_even(&a, m->rig.graph, n > 0 ? n : 1);
    if (host && n > 0)
        a.dev[1] = n; // the embedding
    if (!plan_make(&m->plan, m->rig.graph, m->rig.places, &a, lim, m->dev, m->n_devs, &e))
        fail_msg("%s", e.msg);
    free(a.dev);
    x.full = true;
    x.file = m->rig.gguf;
    buf_init(&m->text, 16 << 20);
    assert_true(plan_json(m->plan, &x, &m->text));
}

static void make(struct made *m, const char *arch, const struct limits *lim, int n, bool host,
                 const struct plan_extra *more)
{
    make_sized(m, arch, lim, n, host, more, 64 << 20);
}

static void done(struct made *m)
{
    buf_done(&m->text);
    plan_free(m->plan);
    for (int i = 0; i < m->n_devs; i++)
        if (m->dev[i] != m->rig.cpu)
            dev_free(m->dev[i]);
    rig_close(&m->rig);
}

/// Errors found in `text`; 1 where it cannot be read. `other_digest`: whether its digest is wrong
/// or it cannot be read; then it is checked as if it were right.
static int wrongs(const struct made *m, const char *text, bool *other_digest, struct verdict *v)
{
    struct plan_file *f;
    struct err e = { 0 };

    *v = (struct verdict){ 0 };
    buf_init(&v->lines, 1 << 16);
    if (!plan_file_parse(&f, text, strlen(text), &e)) {
        assert_true(buf_printf(&v->lines, "refused: %s\n", e.msg));
        *other_digest = true;
        return 1;
    }
    *other_digest = f->digest != f->digest_here;
    f->digest = f->digest_here;
    plan_file_verify(v, f, m->rig.gguf, m->rig.model, m->rig.graph);
    plan_file_free(f);
    return v->n_wrong;
}

static void passes(const struct made *m, const char *must_say)
{
    struct verdict v;
    bool changed;

    if (wrongs(m, m->text.p, &changed, &v) > 0 || changed || strstr(v.lines.p, must_say) == NULL)
        fail_msg("%s", v.lines.p);
    buf_done(&v.lines);
}

// --- what is right
// --------------------------------------------------------------------------------

static void every_plan_of_the_planner_is_verified(void **state)
{
    static const char *const arch[] = { "llama", "gemma3" };
    static const enum dtype kv[] = { DTYPE_F16, DTYPE_Q8_0, DTYPE_F32 };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(arch); i++)
        for (size_t k = 0; k < ARRAY_LEN(kv); k++)
            for (int n = 0; n <= 3; n++)
                for (int host = n == 0; host < 2; host++) {
                    struct limits lim = usual;
                    struct made m;
                    lim.kv = kv[k];
                    lim.exact = k == 2;
                    lim.guard_bytes = n == 2 ? 100 : 0;
                    lim.ctx = 64 << (2 * n);
                    lim.micro_batch = 7 + 20 * n;
                    lim.reserve_bytes = 1000;
                    make(&m, arch[i], &lim, n, host,
                         &(struct plan_extra){ .host_added = host && n > 0 });
                    passes(&m, "coverage of nodes");
                    done(&m);
                }
}

static void another_model_is_refused(void **state)
{
    struct made m, other;
    struct verdict v;
    bool changed;

    (void)state;
    make(&m, "llama", &usual, 1, false, NULL);
    make(&other, "gemma3", &usual, 1, false, NULL);
    assert_true(wrongs(&m, other.text.p, &changed, &v) > 0);
    assert_non_null(strstr(v.lines.p, "the plan is for another model"));
    buf_done(&v.lines);
    done(&other);
    done(&m);
}

// --- what is wrong
// --------------------------------------------------------------------------------

static void a_wrong_digest_is_said(void **state)
{
    struct made m;
    struct verdict v = { 0 };
    struct plan_file *f;

    (void)state;
    make(&m, "llama", &usual, 1, false, NULL);
    assert_true(plan_file_parse(&f, m.text.p, m.text.n, NULL));
    f->digest ^= 1;
    buf_init(&v.lines, 1 << 16);
    plan_file_verify(&v, f, m.rig.gguf, m.rig.model, m.rig.graph);
    assert_int_equal(v.n_wrong, 1);
    assert_non_null(strstr(v.lines.p, "wrong: digest: "));
    buf_done(&v.lines);
    plan_file_free(f);
    done(&m);
}

/// Mutations of one field: what was tried, caught by the digest, caught without it.
struct tally {
    const char *field;
    int tried, digest, checks;
};

struct mutator {
    const struct made *m;
    json_t *top;
    struct tally *tally;
};

static void try_one(struct mutator *u)
{
    char *text = json_dumps(u->top, JSON_COMPACT);
    bool other_digest;
    struct verdict v;

    u->tally->tried++;
    u->tally->checks += wrongs(u->m, text, &other_digest, &v) > 0;
    u->tally->digest += other_digest;
    buf_done(&v.lines);
    free(text);
}

/// Other values of a field: numbers a little off, texts longer, truths turned around, gone.
static void mutate(struct mutator *u, json_t *o, const char *key)
{
    static const json_int_t off[] = { 1, -1, 64 };
    json_t *was = json_incref(json_object_get(o, key));

    for (size_t i = 0; json_is_integer(was) && i < ARRAY_LEN(off); i++) {
        json_object_set_new(o, key, json_integer(json_integer_value(was) + off[i]));
        try_one(u);
    }
    if (json_is_boolean(was)) {
        json_object_set_new(o, key, json_boolean(!json_is_true(was)));
        try_one(u);
    }
    if (json_is_string(was)) {
        json_object_set_new(o, key, json_sprintf("%sx", json_string_value(was)));
        try_one(u);
    }
    if (json_is_array(was) && json_array_size(was) > 0) {
        json_t *shorter = json_copy(was);
        json_array_remove(shorter, json_array_size(was) - 1);
        json_object_set_new(o, key, shorter);
        try_one(u);
        json_t *other = json_deep_copy(was), *first = json_array_get(other, 0);
        if (json_is_integer(first)) {
            json_array_set_new(other, 0, json_integer(json_integer_value(first) + 1));
            json_object_set(o, key, other);
            try_one(u);
        }
        json_decref(other);
    }
    json_object_del(o, key);
    try_one(u);
    json_object_set_new(o, key, was);
}

static void list_each(struct mutator *u, const char *list, const char *key, int stride)
{
    json_t *a = json_object_get(u->top, list);
    int seen = 0;

    for (size_t i = 0; i < json_array_size(a); i++) {
        json_t *o = json_array_get(a, i);
        if (json_object_get(o, key) != NULL && seen++ % stride == 0)
            mutate(u, o, key);
    }
}

/// An element gone, and an element twice.
static void list_itself(struct mutator *u, const char *list, int stride)
{
    json_t *was = json_incref(json_object_get(u->top, list));

    for (size_t i = 0; i < json_array_size(was); i += (size_t)stride) {
        json_t *a = json_copy(was);
        json_array_remove(a, i);
        json_object_set_new(u->top, list, a);
        try_one(u);
        a = json_copy(was);
        json_array_insert(a, i, json_array_get(was, i));
        json_object_set_new(u->top, list, a);
        try_one(u);
    }
    json_object_set_new(u->top, list, was);
}

static json_t *at(json_t *o, const char *path)
{
    char part[32];
    int used;

    for (; sscanf(path, "%31[^.]%n", part, &used) == 1; path += used + (path[used] == '.'))
        o = part[0] >= '0' && part[0] <= '9' ? json_array_get(o, (size_t)atoi(part))
                                             : json_object_get(o, part);
    return o;
}

/// "list[].key", "list[]" or "object.key".
static void field(const struct made *m, struct tally *t, int stride)
{
    json_t *top = json_loads(m->text.p, 0, NULL);
    struct mutator u = { .m = m, .top = top, .tally = t };
    const char *bracket = strstr(t->field, "[]"), *dot = strrchr(t->field, '.');
    char head[64];

    snprintf(head, sizeof(head), "%.*s",
             (int)(bracket != NULL ? bracket - t->field
                   : dot != NULL   ? dot - t->field
                                   : 0),
             t->field);
    if (bracket != NULL && bracket[2] == '.')
        list_each(&u, head, bracket + 3, stride);
    else if (bracket != NULL)
        list_itself(&u, head, stride);
    else
        mutate(&u, at(top, head), dot != NULL ? dot + 1 : t->field);
    json_decref(top);
}

/// Fields whose every change is wrong by itself.
static const char *const strict[] = {
    "tensors[]",
    "tensors[].name",
    "tensors[].device",
    "tensors[].arena",
    "tensors[].bytes",
    "tensors[].first_step",
    "tensors[].last_step",
    "tensors[].tensor",
    "tensors[].format",
    "tensors[].file",
    "tensors[].file_offset",
    "steps[]",
    "steps[].device",
    "steps[].op",
    "steps[].node",
    "steps[].src",
    "steps[].dst",
    "steps[].scratch",
    "arenas[]",
    "arenas[].device",
    "arenas[].arena",
    "arenas[].bytes",
    "arenas[].reserved_bytes",
    "assignment[]",
    "assignment[].part",
    "assignment[].device",
    "devices[]",
    "devices[].name",
    "devices[].capacity_bytes",
    "devices[].granule_bytes",
    "devices[].driver_bytes",
    "devices[].planned_bytes",
    "devices[].mapped_bytes",
    "devices[].scratch_bound",
    "devices[].weights_padding_bytes",
    "devices[].parts",
    "devices[].blocks",
    "devices[].bytes",
    "devices.0.bytes.weights",
    "devices.0.bytes.kv",
    "devices.0.bytes.state",
    "devices.0.bytes.scratch",
    "devices.0.bytes.staging",
    "devices.0.bytes.handover",
    "devices.0.bytes.input",
    "devices.0.bytes.graphs",
    "devices.0.bytes.rounding",
    "devices.0.bytes.driver",
    "devices.0.bytes.reserve",
    "host.mapped",
    "host.pinned",
    "host.heap",
    "host.staging",
    "host.parts",
    "fits",
    "context",
    "slots",
    "micro_batch",
    "kv_type",
    "fingerprint",
    "devices_used",
    "made_by.version",
    "made_by.model",
    "made_by.graph",
    "made_by.plan",
    "asked.outputs",
    "asked.reserve_bytes",
    "asked.guard_bytes",
    "logits",
    "minimal.devices",
    "minimal.proved",
};

/// Fields of which some changes leave a good plan: a temporary may lie elsewhere where there is
/// room, a wait too many costs time alone, a float32 kernel may also be "exact".
static const char *const loose[] = {
    "tensors[].offset",     "tensors[].alias",   "steps[].sync", "steps[].kernel",
    "devices[].free_bytes", "devices[].threads", "exact",        "asked.no_vision"
};

/// Claims that cannot be worked out again: the digest alone stands for them.
static const char *const claims[] = { "goal",          "max_context", "predicted_tps",
                                      "minimal.proof", "suggestions", "host.capacity_bytes" };

static void sum_up(const char *kind, const struct tally *all, int n, struct tally *sum)
{
    for (int i = 0; i < n; i++) {
        sum->tried += all[i].tried;
        sum->digest += all[i].digest;
        sum->checks += all[i].checks;
    }
    print_message("%s: %d changes, %d caught by digest, %d without it\n", kind, sum->tried,
                  sum->digest, sum->checks);
}

static void every_change_is_caught(void **state)
{
    static struct tally a[ARRAY_LEN(strict)], b[ARRAY_LEN(loose)], c[ARRAY_LEN(claims)];
    const struct limits lim = { .micro_batch = 32,
                                .outputs = 1,
                                .slots = 2,
                                .ctx = 200,
                                .kv = DTYPE_F16,
                                .reserve_bytes = 4096 };
    const struct placement why = { .n_proof = 1, .proof = { "because" }, .minimal = false };
    struct tally sum = { 0 }, sum_loose = { 0 }, sum_claims = { 0 };

    (void)state;
    for (int round = 0; round < 2; round++) { // one device, two with the host
        struct made m;
        make(&m, round == 1 ? "gemma3" : "llama", &lim, round + 1, round == 1,
             &(struct plan_extra){ .why = &why, .host_added = round == 1, .max_context = 4096 });
        passes(&m, "coverage");
        for (size_t i = 0; i < ARRAY_LEN(strict); i++) {
            bool many =
                strncmp(strict[i], "tensors", 7) == 0 || strncmp(strict[i], "steps", 5) == 0;
            a[i].field = strict[i];
            field(&m, &a[i], many ? 47 + 60 * round : 1);
        }
        for (size_t i = 0; i < ARRAY_LEN(loose); i++) {
            b[i].field = loose[i];
            field(&m, &b[i], loose[i][0] == 't' || loose[i][0] == 's' ? 13 + 40 * round : 1);
        }
        for (size_t i = 0; i < ARRAY_LEN(claims); i++) {
            c[i].field = claims[i];
            field(&m, &c[i], 1);
        }
        done(&m);
    }
    for (size_t i = 0; i < ARRAY_LEN(a); i++)
        if (a[i].tried == 0 || a[i].checks < a[i].tried)
            print_message("  %s: %d of %d without the digest\n", a[i].field, a[i].checks,
                          a[i].tried);
    for (size_t i = 0; i < ARRAY_LEN(b); i++)
        print_message("  %s: %d of %d without the digest\n", b[i].field, b[i].checks, b[i].tried);
    sum_up("places, sizes, steps and sums", a, ARRAY_LEN(a), &sum);
    sum_up("what may still be a good plan", b, ARRAY_LEN(b), &sum_loose);
    sum_up("claims", c, ARRAY_LEN(c), &sum_claims);
    assert_true(sum.tried > 600);
    assert_int_equal(sum.checks, sum.tried);
    assert_int_equal(sum.digest, sum.tried);
    assert_int_equal(sum_loose.digest, sum_loose.tried);
    assert_int_equal(sum_claims.digest, sum_claims.tried);
}

// --- that fewer do not do
// -------------------------------------------------------------------------

/// Costs of all stages, each from a plan of its own: what comes before and behind is elsewhere.
/// free(*bytes).
static struct stage_costs find_costs(const char *arch, uint64_t **bytes)
{
    static int unit_of[64], table_of[MAX_DEVS];
    static uint64_t *table[1];
    struct made m;
    struct assign a;
    struct plan *p;

    make(&m, arch, &usual, 3, false, NULL);
    int n = graph_n_parts(m.rig.graph) - 1;
    table[0] = xcalloc((size_t)((n + 1) * (n + 1)), sizeof(uint64_t));
    *bytes = table[0];
    assign_even(&a, m.rig.graph, 3);
    for (int from = 0; from < n; from++)
        for (int to = from + 1; to <= n; to++) {
            for (int i = 0; i < n; i++)
                a.dev[i + 1] = i < from ? 1 : i < to ? 0 : 2;
            assert_true(plan_make(&p, m.rig.graph, m.rig.places, &a, &usual, m.dev, 3, NULL));
            table[0][from * (n + 1) + to] = plan_device_bytes(p, 0);
            plan_free(p);
        }
    free(a.dev);
    for (int i = 0; i <= n; i++)
        unit_of[i] = i - 1;
    done(&m);
    return (struct stage_costs){ NULL, n, unit_of, 1, table_of, table };
}

/// What verify says of a plan on two devices of this capacity that claims to be minimal.
static void proof_says(const char *arch, uint64_t capacity, const struct stage_costs *stages,
                       int n_wrong, const char *says)
{
    const struct placement why = { .minimal = true };
    struct made m;
    struct verdict v;
    bool changed;

    make_sized(&m, arch, &usual, 2, false, &(struct plan_extra){ .why = &why, .stages = stages },
               capacity);
    if (wrongs(&m, m.text.p, &changed, &v) != n_wrong || strstr(v.lines.p, says) == NULL)
        fail_msg("expected %d wrong and \"%s\":\n%s", n_wrong, says, v.lines.p);
    buf_done(&v.lines);
    done(&m);
}

static void minimality_is_proved_again(void **state)
{
    static const char *const arch[] = { "llama", "gemma3" }; // apart; tied

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(arch); i++) {
        uint64_t *bytes;
        const struct stage_costs costs = find_costs(arch[i], &bytes);
        int n = costs.n_units;
        uint64_t all = bytes[n], *one = &bytes[2 * (n + 1) + 4], was = *one;

        // Half of it is less than weights and KV: no need for the table.
        proof_says(arch[i], all * 3 / 5, NULL, 0,
                   "minimal: 2 devices; of 1 unlike sets of 1 none "
                   "holds weights and KV alone");
        proof_says(arch[i], all, NULL, 1, "states no costs of stages");
        // One byte short: scratch decides.
        proof_says(arch[i], all - 1, NULL, 1, "states no costs of stages");
        proof_says(arch[i], all - 1, &costs, 0, "none holds the stages at the costs stated");
        proof_says(arch[i], all, &costs, 1, "by the costs that it states 1 would do");
        // Lies: a stage below what it must hold, and the plan's own stage.
        *one = 64;
        proof_says(arch[i], all - 1, &costs, 1, "less than their weights and KV");
        *one = was;
        bytes[n / 2] += 64;
        proof_says(arch[i], all - 1, &costs, 1, "bytes, planned are");
        free(bytes);
    }
}

/// What the planner writes down as costs of stages: those of plans, with a host and without.
static void the_planners_own_costs_are_accepted(void **state)
{
    static const char *const arch[] = { "llama", "gemma3" };
    const struct placement why = { .minimal = true };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(arch); i++)
        for (int host = 0; host < 2; host++) {
            uint64_t *bytes, room;
            struct made m;
            const struct stage_costs costs = find_costs(arch[i], &bytes);
            int n = costs.n_units;
            // One byte less than all, and with a host than all but the embedding: of a tied one the
            // table is with the head in any case, and what is handed over is more.
            room = (host && bytes[2 * n + 1] < bytes[n] ? bytes[2 * n + 1] : bytes[n]) - 1;
            free(bytes);
            make_sized(&m, arch[i], &usual, 2, host, NULL, room);
            struct stage_costs *own = stage_costs_of(m.plan);
            done(&m);
            make_sized(&m, arch[i], &usual, 2, host,
                       &(struct plan_extra){ .why = &why, .stages = own, .host_added = host },
                       room);
            passes(&m, "none holds the stages at the costs stated");
            stage_costs_free(own);
            done(&m);
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_plan_of_the_planner_is_verified),
        cmocka_unit_test(another_model_is_refused),
        cmocka_unit_test(a_wrong_digest_is_said),
        cmocka_unit_test(minimality_is_proved_again),
        cmocka_unit_test(the_planners_own_costs_are_accepted),
        cmocka_unit_test(every_change_is_caught),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
