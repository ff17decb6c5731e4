// test_pack.c - packing of lifetimes.

#include "plan/fake.h"
#include "plan/plan_int.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

enum { STEPS = 60, SPANS = 120 };

static int random_spans(struct span *s, uint64_t seed)
{
    int n = 1 + (int)fake_rand(&seed, SPANS);

    for (int i = 0; i < n; i++) {
        int first = (int)fake_rand(&seed, STEPS), len = (int)fake_rand(&seed, 8);
        s[i] = (struct span){ first, first + len < STEPS ? first + len : STEPS - 1,
                              64u * fake_rand(&seed, 100), 0 };
    }
    return n;
}

static void random_spans_do_not_overlap(void **state)
{
    struct span s[SPANS];
    double worst = 1, sum = 0;

    (void)state;
    for (uint64_t seed = 1; seed <= 200; seed++) {
        int n = random_spans(s, seed);
        uint64_t bound, top = 0, bytes = pack_spans(s, n, STEPS, &bound);
        for (int i = 0; i < n; i++) {
            top = s[i].offset + s[i].bytes > top ? s[i].offset + s[i].bytes : top;
            assert_int_equal(s[i].offset % 64, 0);
            for (int j = 0; j < i; j++)
                if (s[i].first <= s[j].last && s[j].first <= s[i].last)
                    assert_true(s[i].offset >= s[j].offset + s[j].bytes ||
                                s[j].offset >= s[i].offset + s[i].bytes);
        }
        assert_int_equal(bytes, top);
        assert_true(bytes >= bound);
        double ratio = bound > 0 ? (double)bytes / (double)bound : 1;
        worst = ratio > worst ? ratio : worst;
        sum += ratio;
    }
    print_message("bytes / bound over 200 random cases: mean %.3f, worst %.3f\n", sum / 200, worst);
    assert_true(sum / 200 < 1.05 && worst < 1.3);
}

static void the_bound_is_the_peak_of_live_bytes(void **state)
{
    struct span s[SPANS];

    (void)state;
    for (uint64_t seed = 1; seed <= 50; seed++) {
        int n = random_spans(s, seed);
        uint64_t bound, peak = 0;
        pack_spans(s, n, STEPS, &bound);
        for (int t = 0; t < STEPS; t++) {
            uint64_t live = 0;
            for (int i = 0; i < n; i++)
                live += s[i].first <= t && t <= s[i].last ? s[i].bytes : 0;
            peak = live > peak ? live : peak;
        }
        assert_int_equal(bound, peak);
    }
}

static void nothing_takes_no_bytes(void **state)
{
    struct span s = { 0, 0, 0, 99 };
    uint64_t bound = 1;

    (void)state;
    assert_int_equal(pack_spans(NULL, 0, 4, &bound), 0);
    assert_int_equal(bound, 0);
    assert_int_equal(pack_spans(&s, 1, 4, &bound), 0);
}

static void long_chains_reuse_two_places(void **state)
{
    struct span s[SPANS];
    uint64_t bound;

    (void)state;
    for (int i = 0; i < SPANS; i++)
        s[i] = (struct span){ i, i + 1, 640, 0 };
    assert_int_equal(pack_spans(s, SPANS, SPANS + 1, &bound), 1280);
    assert_int_equal(bound, 1280);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_spans_do_not_overlap),
        cmocka_unit_test(the_bound_is_the_peak_of_live_bytes),
        cmocka_unit_test(nothing_takes_no_bytes),
        cmocka_unit_test(long_chains_reuse_two_places),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
