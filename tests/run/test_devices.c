// test_devices.c - what --on and --free say becomes devices, or an error that says what is allowed.

#include "run/run.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static void open_devices(struct engine *en, const struct engine_opts *o)
{
    struct err e = { 0 };

    *en = (struct engine){ 0 };
    if (!devices_open(en, o, &e))
        fail_msg("%s: %s", o->on, e.msg);
}

static struct dev_info info_of(const struct engine *en, int d)
{
    struct dev_info info;

    en->dev[d]->ops->info(en->dev[d], &info);
    return info;
}

static void refused(const struct engine_opts *o, enum err_code code, const char *word)
{
    struct engine en = { 0 };
    struct err e = { 0 };

    assert_false(devices_open(&en, o, &e));
    if (e.code != code || strstr(e.msg, word) == NULL)
        fail_msg("%s: %s", o->on, e.msg);
    engine_close(&en);
}

static void profiles_become_simulated_devices(void **state)
{
    const struct engine_opts o = { .on = "sim:k80x2,cpu,sim:3060MiB,sim:3060,sim:7", .threads = 1 };
    struct engine en;

    (void)state;
    open_devices(&en, &o);
    assert_int_equal(en.n_devs, 6);
    struct dev_info k80 = info_of(&en, 1), card = info_of(&en, 4), size = info_of(&en, 5);
    assert_string_equal(k80.name, "k80 #1");
    assert_int_equal(k80.capacity_bytes, UINT64_C(11441) << 20);
    assert_int_equal(k80.free_bytes, k80.capacity_bytes);
    assert_int_equal(k80.granule_bytes, 2 << 20);
    assert_int_equal(k80.driver_bytes, 102 << 20);
    assert_true(k80.bytes_per_s > 7e10 && k80.step_ns > 0 && k80.speed_assumed && !k80.in_place);
    assert_ptr_equal(en.dev[2], en.cpu);
    assert_string_equal(card.name, "3060 #0");
    assert_string_equal(info_of(&en, 3).name, "sim0"); // 3060 alone is a card
    assert_int_equal(info_of(&en, 3).capacity_bytes, UINT64_C(3060) << 20);
    assert_string_equal(size.name, "sim1");
    assert_int_equal(size.capacity_bytes, 7 << 20);
    assert_int_equal(size.driver_bytes, 0);
    assert_true(size.bytes_per_s == info_of(&en, 2).bytes_per_s); // the CPU's kernels run there
    engine_close(&en);
}

static void what_is_not_here_can_only_be_planned_for(void **state)
{
    const struct engine_opts run = { .on = "k80x2", .threads = 1 },
                             plan = { .on = "k80x2,3090", .threads = 1, .plan_only = true };
    struct engine en;

    (void)state;
    refused(&run, ERR_ARG, "sim:k80x2 executes on a simulated one");
    open_devices(&en, &plan);
    assert_int_equal(en.n_devs, 3);
    engine_close(&en);
}

static void free_memory_is_what_was_said(void **state)
{
    const struct engine_opts o = { .on = "sim:k80x2,cpu,sim:100",
                                   .free_mib = "10240,11000,512",
                                   .threads = 1 };
    struct engine en;
    struct dev_mem m;
    struct err e = { 0 };

    (void)state;
    open_devices(&en, &o);
    assert_int_equal(info_of(&en, 0).capacity_bytes, UINT64_C(11441) << 20);
    assert_int_equal(info_of(&en, 0).free_bytes, UINT64_C(10240) << 20);
    assert_int_equal(info_of(&en, 1).free_bytes, UINT64_C(11000) << 20);
    assert_int_equal(info_of(&en, 2).free_bytes, 512 << 20);
    assert_int_equal(info_of(&en, 3).free_bytes, 100 << 20); // not said: all
    // The simulation gives no more than is free, less the driver's.
    assert_false(en.dev[0]->ops->alloc(en.dev[0], UINT64_C(10139) << 20, &m, &e));
    assert_int_equal(e.code, ERR_NOMEM);
    assert_true(en.dev[0]->ops->alloc(en.dev[0], UINT64_C(10138) << 20, &m, &e));
    en.dev[0]->ops->release(en.dev[0], &m);
    engine_close(&en);
}

static void wrong_free_memory_is_refused(void **state)
{
    static const char *const bad[] = { "",   "x",   "1,",  ",1",   "1,2,3",    "11442",
                                       "-1", "1.5", "1e3", "1, 2", "999999999" };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        const struct engine_opts o = { .on = "sim:k80x2", .free_mib = bad[i], .threads = 1 };
        refused(&o, ERR_ARG, "--free");
    }
}

static void a_file_describes_devices_and_the_host(void **state)
{
    static const char text[] =
        "[{\"name\": \"box\", \"capacity_bytes\": 1073741824, \"bytes_per_s\": 5e10},"
        " {\"name\": \"their cpu\", \"kind\": \"cpu\", \"in_place\": true, \"capacity_bytes\": "
        "8589934592, \"free_bytes\": 4294967296, \"bytes_per_s\": 7e9, \"step_ns\": 11}]";
    char path[] = "/tmp/snug-box-XXXXXX.json";
    int fd = mkstemps(path, 5);
    const struct engine_opts plan = { .on = path, .threads = 1, .plan_only = true },
                             run = { .on = path, .threads = 1 };
    struct engine en;

    (void)state;
    assert_true(fd >= 0 && write(fd, text, sizeof(text) - 1) == sizeof(text) - 1);
    close(fd);
    open_devices(&en, &plan);
    assert_int_equal(en.n_devs, 2);
    struct dev_info cpu = info_of(&en, 1);
    assert_ptr_equal(en.dev[1], en.cpu);
    assert_string_equal(cpu.name, "cpu");
    assert_int_equal(cpu.capacity_bytes, UINT64_C(8) << 30);
    assert_int_equal(cpu.free_bytes, UINT64_C(4) << 30);
    assert_true(cpu.bytes_per_s == 7e9 && cpu.step_ns == 11 && cpu.in_place);
    engine_close(&en);
    refused(&run, ERR_ARG, "no such GPU here");
    char *two = xasprintf("%s,%s", path, path);
    refused(&(struct engine_opts){ .on = two, .threads = 1, .plan_only = true }, ERR_ARG,
            "one processor");
    free(two);
    unlink(path);
}

static void nobody_is_asked_how_fast_this_machine_is(void **state)
{
    const struct engine_opts one = { .threads = 1 }, two = { .threads = 2 };
    struct engine a, b;

    (void)state;
    open_devices(&a, &one); // without use_probe: the same on every machine
    open_devices(&b, &two);
    assert_true(info_of(&a, 0).bytes_per_s == 20e9 && info_of(&a, 0).speed_assumed);
    assert_true(info_of(&b, 0).ops_per_s == 2 * info_of(&a, 0).ops_per_s);
    engine_close(&a);
    engine_close(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(profiles_become_simulated_devices),
        cmocka_unit_test(what_is_not_here_can_only_be_planned_for),
        cmocka_unit_test(free_memory_is_what_was_said),
        cmocka_unit_test(wrong_free_memory_is_refused),
        cmocka_unit_test(a_file_describes_devices_and_the_host),
        cmocka_unit_test(nobody_is_asked_how_fast_this_machine_is),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
