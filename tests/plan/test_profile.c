// test_profile.c - every profile is sane and found by the names people use; files are checked.

#include "plan/profile.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>
#include <jansson.h>

static void every_profile_is_sane(void **state)
{
    (void)state;
    assert_true(profile_count() >= 50);
    for (int i = 0; i < profile_count(); i++) {
        const struct profile *p = profile_at(i);
        const struct dev_info *d = &p->info;
        if (d->capacity_bytes >= UINT64_C(1) << 41 || d->capacity_bytes < UINT64_C(4) << 30 ||
            d->free_bytes != d->capacity_bytes || d->driver_bytes < 60 << 20 ||
            d->driver_bytes > d->capacity_bytes / 16 || d->granule_bytes != 2 << 20)
            fail_msg("%s: bytes", p->name);
        if (!(d->bytes_per_s > 0 && d->bytes_per_s < p->peak_bytes_per_s) ||
            !(d->ops_per_s > 0 && d->ops_per_s < p->peak_ops_per_s) || p->peak_bytes_per_s > 1e13 ||
            d->link_bytes_per_s < 1e9 || d->step_ns <= 0 || d->hop_ns <= 0 || !d->speed_assumed)
            fail_msg("%s: speeds", p->name);
        if (p->title == NULL || p->source == NULL || strlen(p->source) < 10 || p->cc_major < 3 ||
            strchr(p->source, '\n') != NULL)
            fail_msg("%s: source", p->name);
    }
}

/// docs/profiles.md is what people read.
static void the_page_has_every_profile(void **state)
{
    char *page;
    size_t n;
    struct err e = { 0 };

    (void)state;
    if (!file_read(&page, &n, "docs/profiles.md", 1 << 20, &e))
        fail_msg("%s", e.msg);
    for (int i = 0; i < profile_count(); i++) {
        const struct profile *p = profile_at(i);
        char *row = xasprintf(
            "\n| `%s` | %s | %d.%d | %llu %c | %llu %c | %.0f |", p->name, p->title, p->cc_major,
            p->cc_minor, (unsigned long long)p->info.capacity_bytes >> 20,
            provenance_name(p->total_from)[0], (unsigned long long)p->info.driver_bytes >> 20,
            provenance_name(p->driver_from)[0], p->peak_bytes_per_s / 1e9);
        if (strstr(page, row) == NULL || strstr(page, p->source) == NULL)
            fail_msg("not in docs/profiles.md: %s", row);
        free(row);
    }
    free(page);
}

static void names_are_unique_and_found(void **state)
{
    (void)state;
    for (int i = 0; i < profile_count(); i++) {
        const struct profile *p = profile_at(i);
        for (const char *c = p->name; *c; c++)
            assert_true((*c >= 'a' && *c <= 'z') || (*c >= '0' && *c <= '9') || *c == '-');
        assert_ptr_equal(profile_find(p->name, strlen(p->name)), p); // and no other before it
    }
}

static void the_names_of_the_issue_are_known(void **state)
{
    static const char *const names[] = {
        "k80",  "k40",    "m40-12",  "m40-24",  "p4",      "p40",  "p100",   "1060-6", "1070",
        "1080", "1080ti", "t4",      "v100-16", "v100-32", "2060", "2070",   "2080",   "2080ti",
        "3050", "3060",   "3060ti",  "3070",    "3080",    "3090", "3090ti", "4060",   "4070",
        "4080", "4090",   "5060",    "5070",    "5080",    "5090", "a2",     "a10",    "a40",
        "l4",   "l40s",   "a100-40", "a100-80", "h100",    "h200", "b200",
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        if (profile_find(names[i], strlen(names[i])) == NULL)
            fail_msg("%s", names[i]);
    assert_int_equal(profile_find("k80", 3)->info.capacity_bytes, UINT64_C(11441) << 20);
}

static void names_are_found_as_people_write_them(void **state)
{
    static const struct {
        const char *written, *name;
    } good[] = {
        { "K80", "k80" },          { "rtx3090", "3090" },
        { "RTX 3090", "3090" },    { "RTX-3090-Ti", "3090ti" },
        { "Tesla K80", "k80" },    { "NVIDIA GeForce GTX 1080 Ti", "1080ti" },
        { "nvidia_l40s", "l40s" }, { "A100 80", "a100-80" },
    };
    static const char *const bad[] = { "", "x", "rtx", "a100", "3095", "k80 ", "\x01k80", "k80x2" };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(good); i++) {
        const struct profile *p = profile_find(good[i].written, strlen(good[i].written));
        assert_non_null(p);
        assert_string_equal(p->name, good[i].name);
    }
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        if (strcmp(bad[i], "k80 ") != 0) // blanks do not count
            assert_null(profile_find(bad[i], strlen(bad[i])));
}

static bool devices(struct dev_info *out, int *n, int max, const char *item, struct err *e)
{
    return profile_devices(out, n, max, item, strlen(item), e);
}

static void equal_devices_are_numbered(void **state)
{
    struct dev_info d[8];
    struct err e = { 0 };
    int n = 0;

    (void)state;
    assert_true(devices(d, &n, 8, "k80x2", &e));
    assert_true(devices(d, &n, 8, "3090", &e));
    assert_true(devices(d, &n, 8, "K80X3", &e));
    assert_true(devices(d, &n, 8, "3090ti", &e));
    assert_int_equal(n, 7);
    assert_string_equal(d[0].name, "k80 #0");
    assert_string_equal(d[1].name, "k80 #1");
    assert_string_equal(d[2].name, "3090 #0");
    assert_string_equal(d[5].name, "k80 #4");
    assert_string_equal(d[6].name, "3090ti #0");
    assert_false(devices(d, &n, 8, "k80x2", &e)); // one too many
    assert_int_equal(e.code, ERR_ARG);
}

static void what_is_not_known_names_what_is_near(void **state)
{
    static const struct {
        const char *item, *near;
    } bad[] = {
        { "a100", "profiles: a100-40 a100-80" },
        { "3091", "3090" },
        { "k80x0", "k80" },
        { "k80x100", "k80" },
        { "k80x", "k80" },
        { "x2", "profiles: a2" },
        { "quite something else", "k80 k40 m40-12" },
        { "", "k80" },
        { "\x1b[31m", "\\x1b" },
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct dev_info d[8];
        struct err e = { 0 };
        int n = 0;
        assert_false(devices(d, &n, 8, bad[i].item, &e));
        assert_int_equal(e.code, ERR_ARG);
        assert_int_equal(n, 0);
        if (strstr(e.msg, bad[i].near) == NULL)
            fail_msg("%s: %s", bad[i].item, e.msg);
    }
}

// --- files ---------------------------------------------------------------------------------------

static bool from_file(struct dev_info *out, int *n, const char *text, struct err *e)
{
    char path[] = "/tmp/snug-devices-XXXXXX.json";
    int fd = mkstemps(path, 5);

    assert_true(fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text));
    close(fd);
    bool ok = devices(out, n, 8, path, e);
    unlink(path);
    return ok;
}

static void devices_come_from_files(void **state)
{
    struct dev_info d[8];
    struct err e = { 0 };
    int n = 0;

    (void)state;
    assert_true(from_file(d, &n,
                          "{\"devices\": [{\"name\": \"box\", \"capacity_bytes\": 1073741824}, "
                          "{\"name\": \"box\", \"capacity_bytes\": 4096, \"free_bytes\": 1000, "
                          "\"granule_bytes\": 1, \"driver_bytes\": 96, \"bytes_per_s\": 1e11, "
                          "\"step_ns\": 3, \"kind\": \"cpu\", \"comment\": [1]}]}",
                          &e));
    assert_int_equal(n, 2);
    assert_string_equal(d[0].name, "box");
    assert_int_equal(d[0].free_bytes, 1 << 30);
    assert_int_equal(d[0].granule_bytes, 2 << 20);
    assert_int_equal(d[0].kind, DEV_KIND_CUDA);
    assert_string_equal(d[1].name, "box #1");
    assert_int_equal(d[1].free_bytes, 1000);
    assert_int_equal(d[1].driver_bytes, 96);
    assert_true(d[1].bytes_per_s == 1e11 && d[1].step_ns == 3 && d[1].kind == DEV_KIND_CPU);
    assert_true(from_file(d, &n, "[{\"name\": \"b\", \"capacity_bytes\": 1}]", &e));
    assert_int_equal(n, 3);
}

static void a_device_comes_back_as_it_was_written(void **state)
{
    struct err e = { 0 };

    (void)state;
    for (int i = 0; i < profile_count(); i++) {
        struct dev_info in = profile_at(i)->info, out;
        snprintf(in.name, sizeof(in.name), "%s", profile_at(i)->name);
        json_t *o = profile_to_json(&in);
        assert_true(profile_from_json(&out, o, "x", &e));
        json_t *again = profile_to_json(&out);
        assert_true(json_equal(o, again));
        assert_int_equal(out.capacity_bytes, in.capacity_bytes);
        assert_int_equal(out.driver_bytes, in.driver_bytes);
        json_decref(o);
        json_decref(again);
    }
}

static void every_field_of_a_file_is_checked(void **state)
{
    static const struct {
        const char *fields, *word;
    } bad[] = {
        { "\"capacity_bytes\": 1", "name: is missing" },
        { "\"name\": \"a\"", "capacity_bytes: is missing" },
        { "\"name\": \"\", \"capacity_bytes\": 1", "name" },
        { "\"name\": 5, \"capacity_bytes\": 1", "name" },
        { "\"name\": \"a\\u001b[31m\", \"capacity_bytes\": 1", "name" },
        { "\"name\": \"0123456789012345678901234567890123456789012345678901234567890123\", "
          "\"capacity_bytes\": 1",
          "name" },
        { "\"name\": \"a\", \"capacity_bytes\": 0", "capacity_bytes" },
        { "\"name\": \"a\", \"capacity_bytes\": -1", "capacity_bytes" },
        { "\"name\": \"a\", \"capacity_bytes\": 1.5", "capacity_bytes" },
        { "\"name\": \"a\", \"capacity_bytes\": 9000000000000000000", "capacity_bytes" },
        { "\"name\": \"a\", \"capacity_bytes\": \"1\"", "capacity_bytes" },
        { "\"name\": \"a\", \"capacity_bytes\": 5, \"free_bytes\": 6", "free_bytes" },
        { "\"name\": \"a\", \"capacity_bytes\": 5, \"driver_bytes\": 6", "driver_bytes" },
        { "\"name\": \"a\", \"capacity_bytes\": 5, \"granule_bytes\": 3", "granule_bytes" },
        { "\"name\": \"a\", \"capacity_bytes\": 5, \"granule_bytes\": 0", "granule_bytes" },
        { "\"name\": \"a\", \"capacity_bytes\": 5, \"bytes_per_s\": -1", "bytes_per_s" },
        { "\"name\": \"a\", \"capacity_bytes\": 5, \"step_ns\": 1.5", "step_ns" },
        { "\"name\": \"a\", \"capacity_bytes\": 5, \"kind\": \"tpu\"", "kind" },
        { "\"name\": \"a\", \"capacity_bytes\": 5, \"in_place\": 1", "in_place" },
        { "\"name\": \"a\", \"name\": \"b\", \"capacity_bytes\": 5", "no JSON" },
    };
    static const char *const whole[] = { "",    "[",      "5",   "[]", "{}", "{\"devices\": 5}",
                                         "[5]", "[null]", "\xff" };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct dev_info d[8];
        struct err e = { 0 };
        int n = 0;
        char *text = xasprintf("[{\"name\": \"ok\", \"capacity_bytes\": 1}, {%s}]", bad[i].fields);
        assert_false(from_file(d, &n, text, &e));
        assert_int_equal(e.code, ERR_FORMAT);
        if (strstr(e.msg, bad[i].word) == NULL || strstr(e.msg, ".json") == NULL)
            fail_msg("%s: %s", bad[i].fields, e.msg);
        free(text);
    }
    for (size_t i = 0; i < ARRAY_LEN(whole); i++) {
        struct dev_info d[8];
        struct err e = { 0 };
        int n = 0;
        assert_false(from_file(d, &n, whole[i], &e));
        assert_int_equal(e.code, ERR_FORMAT);
    }
    struct dev_info d[8];
    struct err e = { 0 };
    int n = 0;
    assert_false(devices(d, &n, 8, "/nowhere/box.json", &e));
    assert_int_equal(e.code, ERR_NOTFOUND);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_profile_is_sane),
        cmocka_unit_test(the_page_has_every_profile),
        cmocka_unit_test(names_are_unique_and_found),
        cmocka_unit_test(the_names_of_the_issue_are_known),
        cmocka_unit_test(names_are_found_as_people_write_them),
        cmocka_unit_test(equal_devices_are_numbered),
        cmocka_unit_test(what_is_not_known_names_what_is_near),
        cmocka_unit_test(devices_come_from_files),
        cmocka_unit_test(a_device_comes_back_as_it_was_written),
        cmocka_unit_test(every_field_of_a_file_is_checked),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
