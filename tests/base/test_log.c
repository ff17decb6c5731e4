// test_log.c - what reaches stderr, and at which level.

#include "base/base.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char said[8192];

/// Runs `f` with stderr in a temporary file; what it said is in `said`.
static void listen_to(void (*f)(void))
{
    FILE *tmp = tmpfile();
    int keep = dup(STDERR_FILENO);

    assert_non_null(tmp);
    dup2(fileno(tmp), STDERR_FILENO);
    f();
    dup2(keep, STDERR_FILENO);
    close(keep);
    rewind(tmp);
    said[fread(said, 1, sizeof(said) - 1, tmp)] = 0;
    fclose(tmp);
}

static void say_one_of_each(void)
{
    log_msg(LOG_ERROR, "e");
    log_msg(LOG_WARN, "w");
    log_msg(LOG_INFO, "i");
    log_msg(LOG_DEBUG, "d");
}

static void say_two_lines(void)
{
    log_msg(LOG_ERROR, "one\ntwo\x1b[31m");
}

static void say_too_much(void)
{
    char big[6000];

    memset(big, 'x', sizeof(big));
    big[sizeof(big) - 1] = 0;
    log_msg(LOG_ERROR, "%s", big);
}

static void the_environment_sets_the_first_level(void **state)
{
    (void)state;
    setenv("SNUG_LOG", "info", 1); // read once: this test is the first to log
    listen_to(say_one_of_each);
    assert_string_equal(said, "snug: error: e\nsnug: warn: w\nsnug: info: i\n");
}

static void a_level_set_hides_what_is_above_it(void **state)
{
    (void)state;
    log_level_set(LOG_ERROR);
    listen_to(say_one_of_each);
    assert_string_equal(said, "snug: error: e\n");
    log_level_set(LOG_DEBUG);
    listen_to(say_one_of_each);
    assert_string_equal(said, "snug: error: e\nsnug: warn: w\nsnug: info: i\nsnug: debug: d\n");
}

static void a_message_is_one_line_of_bounded_length(void **state)
{
    (void)state;
    listen_to(say_two_lines);
    assert_string_equal(said, "snug: error: one two [31m\n");
    listen_to(say_too_much);
    assert_true(strlen(said) < 2100);
    assert_ptr_equal(strchr(said, '\n'), said + strlen(said) - 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_environment_sets_the_first_level),
        cmocka_unit_test(a_level_set_hides_what_is_above_it),
        cmocka_unit_test(a_message_is_one_line_of_bounded_length),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
