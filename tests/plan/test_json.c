// test_json.c - the plan for programs: every field that is promised, sums to the byte, and what was
// written is read back.

#include "plan/fake.h"
#include "plan/file.h"

#include <jansson.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { DEVS = 3 };

struct fixture {
    struct fake_dev fake[DEVS];
    struct dev *dev[DEVS];
    struct weight_place *places;
    struct graph *g;
    struct plan *p;
};

static int setup(void **state)
{
    static const char *const name[DEVS] = { "a \"quoted\" \\ one", "b\xff\n", "c" };
    const struct shape s = { .n_blocks = 4,
                             .n_embd = 64,
                             .n_heads = 2,
                             .n_kv_heads = 1,
                             .head_dim = 32,
                             .n_ff = 192,
                             .n_vocab = 256,
                             .type = DTYPE_Q8_0 };
    const struct limits lim = { .micro_batch = 16,
                                .outputs = 1,
                                .slots = 1,
                                .ctx = 1000,
                                .kv = DTYPE_F16,
                                .reserve_bytes = 12345 };
    struct fixture *f = xcalloc(1, sizeof(*f));
    struct assign a;

    for (int i = 0; i < DEVS; i++) {
        fake_dev_init(&f->fake[i], name[i], i == 1 ? UINT64_MAX : 8 << 20);
        f->fake[i].info.driver_bytes = 1000;
        f->dev[i] = &f->fake[i].dev;
    }
    f->places = fake_places(FAKE_WEIGHTS);
    f->g = fake_decoder(&s);
    assign_even(&a, f->g, 2);
    assert_true(plan_make(&f->p, f->g, f->places, &a, &lim, f->dev, DEVS, NULL));
    free(a.dev);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;

    plan_free(f->p);
    graph_free(f->g);
    free(f->places);
    free(f);
    return 0;
}

static json_t *json_of(const struct plan *p, const struct plan_extra *x)
{
    struct buf out;
    json_error_t e;

    buf_init(&out, 16 << 20);
    assert_true(plan_json(p, x, &out));
    json_t *o = json_loadb(out.p, out.n, JSON_REJECT_DUPLICATES, &e);
    if (o == NULL)
        fail_msg("line %d: %s\n%s", e.line, e.text, out.p);
    buf_done(&out);
    return o;
}

static json_int_t number(const json_t *o, const char *key)
{
    if (!json_is_integer(json_object_get(o, key)))
        fail_msg("%s is no whole number", key);
    return json_integer_value(json_object_get(o, key));
}

static void has(const json_t *o, const char *keys)
{
    char name[32];
    int used;

    for (; sscanf(keys, "%31s%n", name, &used) == 1; keys += used)
        if (json_object_get(o, name) == NULL)
            fail_msg("%s is missing", name);
}

static void every_promised_field_is_there(void **state)
{
    struct fixture *f = *state;
    json_t *o = json_of(f->p, NULL), *d;
    size_t i;

    has(o, "fits context slots micro_batch kv_type devices host goal fingerprint devices_used "
           "minimal max_context predicted_tps suggestions plan_ms");
    has(json_object_get(o, "host"), "capacity_bytes mapped pinned heap parts");
    has(json_object_get(o, "minimal"), "devices proof");
    json_array_foreach(json_object_get(o, "devices"), i, d)
    {
        has(d, "name capacity_bytes planned_bytes free_bytes granule_bytes bytes blocks parts "
               "ms_per_token");
        has(json_object_get(d, "bytes"), "weights kv state scratch staging handover graphs "
                                         "rounding driver reserve");
    }
    json_decref(o);
    const struct plan_extra full = { .full = true };
    o = json_of(f->p, &full);
    json_array_foreach(json_object_get(o, "tensors"), i, d)
        has(d, "name device arena offset bytes first_step last_step");
    assert_int_equal(i, f->p->n_values);
    has(o, "arenas assignment steps digest");
    json_decref(o);
}

static void planned_bytes_are_the_sum_of_the_lines(void **state)
{
    struct fixture *f = *state;
    json_t *o = json_of(f->p, NULL), *dev, *n;
    const char *key;
    size_t i;

    assert_true(json_is_true(json_object_get(o, "fits")));
    assert_int_equal(number(o, "context"), 1024); // whole pages
    assert_int_equal(number(o, "micro_batch"), 16);
    assert_int_equal(number(o, "devices_used"), 2);
    assert_string_equal(json_string_value(json_object_get(o, "kv_type")), "f16");
    assert_int_equal(json_array_size(json_object_get(o, "devices")), DEVS);
    json_array_foreach(json_object_get(o, "devices"), i, dev)
    {
        json_int_t sum = 0;
        json_object_foreach(json_object_get(dev, "bytes"), key, n) sum += json_integer_value(n);
        assert_int_equal(number(dev, "planned_bytes"), sum);
        // b has no limit, c is not used
        json_int_t driver = i < 2 ? 1000 : 0, reserve = i == 0 ? 12345 : 0;
        assert_int_equal(number(json_object_get(dev, "bytes"), "driver"), driver);
        assert_int_equal(number(json_object_get(dev, "bytes"), "reserve"), reserve);
        assert_int_equal(sum, (json_int_t)plan_device_bytes(f->p, (int)i) + driver + reserve);
        assert_int_equal(json_array_size(json_object_get(dev, "parts")), i < 2 ? 3 : 0);
        assert_true(i < 2 || sum == 0);
    }
    json_decref(o);
}

static void names_are_escaped(void **state)
{
    struct fixture *f = *state;
    struct suggestion s = { "con\"text", "\x01", "--ctx", "\xff" };
    struct placement why = { .n_proof = 1 };
    const struct plan_extra x = { .why = &why,
                                  .suggestion = &s,
                                  .n_suggestions = 1,
                                  .error = "\"no\"",
                                  .full = true,
                                  .on = "sim:\"1\"" };

    snprintf(why.proof[0], sizeof(why.proof[0]), "\"because\"\n");
    json_t *o = json_of(f->p, &x);
    const json_t *d = json_array_get(json_object_get(o, "devices"), 0);
    assert_string_equal(json_string_value(json_object_get(d, "name")), "a \"quoted\" \\ one");
    const json_t *p = json_object_get(json_object_get(o, "minimal"), "proof");
    assert_string_equal(json_string_value(json_array_get(p, 0)), "\"because\"\n");
    json_decref(o);
}

static void without_a_plan_it_says_why(void **state)
{
    (void)state;
    json_t *o = json_of(NULL, &(struct plan_extra){ .error = "too \"large\"", .plan_ns = 1500000 });

    assert_true(json_is_false(json_object_get(o, "fits")));
    assert_string_equal(json_string_value(json_object_get(o, "error")), "too \"large\"");
    assert_true(json_real_value(json_object_get(o, "plan_ms")) == 1.5);
    json_decref(o);
}

/// The best try, where nothing fits: its numbers, and that it does not.
static void a_plan_that_does_not_fit_says_so(void **state)
{
    struct fixture *f = *state;
    json_t *o = json_of(f->p, &(struct plan_extra){ .error = "a lacks 1 byte" });

    assert_true(json_is_false(json_object_get(o, "fits")));
    assert_int_equal(json_array_size(json_object_get(o, "devices")), DEVS);
    json_decref(o);
}

/// A host that was not asked for by name is no device of the list: -1 stands for it.
static void an_added_host_stands_under_host(void **state)
{
    struct fixture *f = *state;
    struct plan_file *file;
    struct buf out;
    struct err e = { 0 };
    const struct plan_extra x = { .full = true, .host_added = true };
    struct assign a;
    struct plan *p;

    f->fake[2].info.in_place = true;
    assign_even(&a, f->g, DEVS);
    assert_true(plan_make(&p, f->g, f->places, &a, &f->p->lim, f->dev, DEVS, NULL));
    f->fake[2].info.in_place = false;
    json_t *o = json_of(p, &x);
    const json_t *host = json_object_get(o, "host");
    assert_int_equal(json_array_size(json_object_get(o, "devices")), 2);
    assert_int_equal(number(o, "devices_used"), 2);
    assert_int_equal(json_array_size(json_object_get(host, "parts")), 2);
    assert_true(number(host, "mapped") > 0);
    assert_int_equal(number(host, "heap"), p->host_staging_bytes + p->dev[2].total_bytes);
    json_decref(o);

    buf_init(&out, 16 << 20);
    assert_true(plan_json(p, &x, &out));
    if (!plan_file_parse(&file, out.p, out.n, &e))
        fail_msg("%s", e.msg);
    assert_int_equal(file->n_devs, 3);
    assert_true(file->dev[2].host);
    for (int i = 0; i < p->n_values; i++)
        assert_int_equal(file->slot[i].dev, p->value[i].slot.dev);
    plan_file_free(file);
    buf_done(&out);
    plan_free(p);
    free(a.dev);
}

static void what_is_written_is_read_back(void **state)
{
    struct fixture *f = *state;
    const struct plan *p = f->p;
    struct plan_file *file;
    struct err e = { 0 };
    struct buf out;

    buf_init(&out, 16 << 20);
    assert_true(plan_json(p, &(struct plan_extra){ .full = true, .on = "x" }, &out));
    if (!plan_file_parse(&file, out.p, out.n, &e))
        fail_msg("%s", e.msg);
    assert_true(file->digest == file->digest_here);
    assert_true(file->context == 1024 && file->reserve == 12345 && file->kv == DTYPE_F16);
    assert_true(file->n_slots == p->n_values && file->n_steps == p->n_steps);
    for (int i = 0; i < p->n_values; i++) {
        const struct file_slot *s = &file->slot[i];
        const struct value *v = &p->value[i];
        assert_true(s->offset == v->slot.offset && s->bytes == v->slot.bytes);
        assert_true(s->first == v->first_step && s->last == v->last_step && s->alias == v->alias);
        assert_true(s->tensor == (v->t != NULL ? v->t->id : -1) && s->format == v->format);
    }
    for (int i = 0; i < p->n_steps; i++)
        assert_memory_equal(file->step[i].src, p->step[i].src, sizeof(p->step[i].src));
    struct assign a;
    assert_true(plan_file_assign(file, f->g, &a, &e));
    assert_memory_equal(a.dev + 1, p->part_dev + 1, (size_t)(p->n_parts - 1) * sizeof(int));
    free(a.dev);
    plan_file_free(file);
    buf_done(&out);
}

/// Cut anywhere, or with a byte changed, it is refused or read; nothing else happens.
static void broken_files_are_refused(void **state)
{
    struct fixture *f = *state;
    struct plan_file *file;
    struct buf out;
    uint64_t seed = 1;

    buf_init(&out, 16 << 20);
    assert_true(plan_json(f->p, &(struct plan_extra){ .full = true }, &out));
    for (size_t n = 0; n + 2 < out.n; n += 97) {
        struct err e = { 0 };
        assert_false(plan_file_parse(&file, out.p, n, &e));
        assert_int_equal(e.code, ERR_FORMAT);
    }
    for (int i = 0; i < 2000; i++) {
        size_t at = fake_rand(&seed, (uint32_t)out.n);
        char was = out.p[at];
        out.p[at] = (char)(i % 3 == 0 ? '9' : (int)fake_rand(&seed, 256));
        if (plan_file_parse(&file, out.p, out.n, NULL))
            assert_true(out.p[at] == was || file->digest != file->digest_here ||
                        strchr(" \n0123456789.", was) != NULL);
        plan_file_free(file);
        out.p[at] = was;
    }
    buf_done(&out);
}

static void a_full_buffer_is_said(void **state)
{
    struct fixture *f = *state;

    for (size_t max = 16; max < 16384; max *= 4)
        for (int full = 0; full < 2; full++) {
            struct buf out;
            buf_init(&out, full ? max : max / 4);
            assert_false(plan_json(f->p, &(struct plan_extra){ .full = full }, &out));
            buf_done(&out);
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_promised_field_is_there),
        cmocka_unit_test(planned_bytes_are_the_sum_of_the_lines),
        cmocka_unit_test(names_are_escaped),
        cmocka_unit_test(without_a_plan_it_says_why),
        cmocka_unit_test(a_plan_that_does_not_fit_says_so),
        cmocka_unit_test(an_added_host_stands_under_host),
        cmocka_unit_test(what_is_written_is_read_back),
        cmocka_unit_test(broken_files_are_refused),
        cmocka_unit_test(a_full_buffer_is_said),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
