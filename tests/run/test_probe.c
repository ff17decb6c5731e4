// test_probe.c - speeds are measured with a model's kernels, kept, and found again by what they
// were measured on.

#include "dev/cpu/host.h"
#include "run/probe.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static char cache[] = "/tmp/snug-probe-XXXXXX";

static struct dev *open_cpu(int threads)
{
    struct dev *cpu;
    struct err e = { 0 };

    assert_true(cpu_dev_new(&cpu, &(struct cpu_opts){ .threads = threads }, &e));
    return cpu;
}

static char *cache_file(void)
{
    return xasprintf("%s/deep/er/probe.json", cache);
}

static int set_up(void **state)
{
    (void)state;
    char *dir = mkdtemp(cache) != NULL ? xasprintf("%s/deep/er", cache) : NULL;
    int rc = dir != NULL ? setenv("SNUG_CACHE_DIR", dir, 1) : -1;

    free(dir);
    return rc;
}

static int tear_down(void **state)
{
    char *text = xasprintf("rm -r %s", cache);
    int rc = system(text);

    (void)state;
    free(text);
    return rc;
}

static struct probe made_up(struct dev *cpu, double speed)
{
    struct probe p;

    probe_describe(&p, cpu);
    p.info = (struct dev_info){ .name = "cpu",
                                .in_place = true,
                                .capacity_bytes = 1000,
                                .granule_bytes = 4096,
                                .max_threads = 1,
                                .bytes_per_s = speed,
                                .ops_per_s = 3e9,
                                .link_bytes_per_s = 4e9,
                                .step_ns = 5,
                                .hop_ns = 6 };
    p.copy_bytes_per_s = 7e9;
    return p;
}

static void figures_are_kept_for_a_machine_and_its_threads(void **state)
{
    struct dev *one = open_cpu(1), *two = open_cpu(2);
    struct probe p = made_up(one, 2e9), q;
    struct err e = { 0 };

    (void)state;
    assert_false(probe_load(&q, one)); // there is no such file
    assert_int_equal(q.threads, 1);
    assert_true(strlen(q.cpu) > 0 && q.cores >= 1);
    if (!probe_save(&p, &e))
        fail_msg("%s", e.msg);
    assert_true(probe_load(&q, one));
    assert_true(q.info.bytes_per_s == 2e9 && q.info.ops_per_s == 3e9 && q.info.step_ns == 5 &&
                q.info.hop_ns == 6 && q.copy_bytes_per_s == 7e9);
    assert_false(probe_load(&q, two)); // other threads
    p = made_up(two, 9e9);
    assert_true(probe_save(&p, &e));
    p = made_up(one, 8e9);
    assert_true(probe_save(&p, &e)); // anew
    assert_true(probe_load(&q, two) && q.info.bytes_per_s == 9e9);
    assert_true(probe_load(&q, one) && q.info.bytes_per_s == 8e9);
    dev_free(one);
    dev_free(two);
}

static void the_file_does_not_grow_without_end(void **state)
{
    struct dev *cpu = open_cpu(1);
    struct err e = { 0 };
    struct probe p = made_up(cpu, 1e9), q;
    char *path = cache_file(), *text;
    size_t n;

    (void)state;
    for (int i = 0; i < 50; i++) {
        p.threads = 100 + i; // other machines
        assert_true(probe_save(&p, &e));
    }
    p = made_up(cpu, 1.5e9);
    assert_true(probe_save(&p, &e));
    assert_true(probe_load(&q, cpu) && q.info.bytes_per_s == 1.5e9);
    assert_true(file_read(&text, &n, path, 16 << 10, &e));
    free(text);
    free(path);
    dev_free(cpu);
}

static void a_broken_file_is_as_none(void **state)
{
    static const char *const broken[] = {
        "", "[", "{}", "5", "{\"devices\": 5}", "{\"devices\": [5, null, {}]}", "\xff\xfe"
    };
    struct dev *cpu = open_cpu(1);
    struct err e = { 0 };
    char *path = cache_file();

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(broken); i++) {
        struct probe p = made_up(cpu, 2e9), q;
        FILE *f = fopen(path, "w");
        assert_non_null(f);
        fputs(broken[i], f);
        fclose(f);
        assert_false(probe_load(&q, cpu));
        assert_true(probe_save(&p, &e));
        assert_true(probe_load(&q, cpu));
    }
    free(path);
    dev_free(cpu);
}

static void no_place_to_keep_it_is_an_error(void **state)
{
    struct dev *cpu = open_cpu(1);
    struct probe p = made_up(cpu, 2e9);
    struct err e = { 0 };
    char *dir = xstrdup(getenv("SNUG_CACHE_DIR"));

    (void)state;
    setenv("SNUG_CACHE_DIR", "/proc/nowhere", 1);
    assert_false(probe_save(&p, &e));
    assert_int_equal(e.code, ERR_IO);
    assert_non_null(strstr(e.msg, "/proc/nowhere/probe.json"));
    setenv("SNUG_CACHE_DIR", dir, 1);
    free(dir);
    dev_free(cpu);
}

/// Bounds that any machine and any build keep.
static void a_measurement_is_plausible(void **state)
{
    struct dev *cpu = open_cpu(2);
    struct probe p, q;
    struct err e = { 0 };

    (void)state;
    if (!probe_measure(&p, cpu, &e))
        fail_msg("%s", e.msg);
    assert_true(p.info.bytes_per_s > 1e7 && p.info.bytes_per_s < 1e13);
    assert_true(p.info.ops_per_s > 1e7 && p.info.ops_per_s < 1e14);
    assert_true(p.info.step_ns >= 100 && p.info.step_ns < 100 * 1000 * 1000);
    assert_true(p.info.hop_ns > 0 && p.info.link_bytes_per_s > 1e7);
    assert_true(p.copy_bytes_per_s > p.info.link_bytes_per_s && !p.info.speed_assumed);
    assert_true(probe_save(&p, &e) && probe_load(&q, cpu)); // nothing of it is out of bounds
    assert_true(q.info.step_ns == p.info.step_ns);
    dev_free(cpu);
}

static void processors_have_names(void **state)
{
    static const struct {
        const char *text, *name;
    } good[] = {
        { "processor\t: 0\nvendor_id\t: AuthenticAMD\nmodel name\t: AMD EPYC 9654\n\n"
          "model name\t: another\n",
          "AMD EPYC 9654" },
        { "processor\t: 0\nCPU implementer\t: 0x41\nCPU part\t: 0xd0c\n\n", "0x41 0xd0c" },
        { "model name\t: \x1b[31mred\n", "?[31mred" },
        { "nothing\n", "unknown" },
        { "", "unknown" },
        { "model name", "unknown" },
    };
    char *path = xasprintf("%s/cpuinfo", cache), name[16];

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(good); i++) {
        FILE *f = fopen(path, "w");
        assert_non_null(f);
        fputs(good[i].text, f);
        fclose(f);
        host_cpu_name_in(path, name, sizeof(name));
        assert_string_equal(name, good[i].name);
    }
    host_cpu_name_in("/nowhere", name, sizeof(name));
    assert_string_equal(name, "unknown");
    free(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(figures_are_kept_for_a_machine_and_its_threads),
        cmocka_unit_test(the_file_does_not_grow_without_end),
        cmocka_unit_test(a_broken_file_is_as_none),
        cmocka_unit_test(no_place_to_keep_it_is_an_error),
        cmocka_unit_test(a_measurement_is_plausible),
        cmocka_unit_test(processors_have_names),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
