// test_queue.c - what comes out next, against looking through all that is in.

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "base/base.h"
#include "tok/queue.h"

static uint64_t random_state;

static uint32_t any(uint32_t n)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return (uint32_t)(random_state >> 11) % n;
}

enum { MAX_IN = 3000 };

/// Pushes and pops at random; few orders, so that lists are long, and many, so that they collide.
static void run(size_t word, uint32_t orders, uint32_t positions)
{
    static uint64_t in[MAX_IN];
    struct queue q = { 0 };
    uint32_t order, at;

    for (int round = 0; round < 3; round++) { // it is used again and again
        size_t n = 0;

        queue_start(&q, word);
        for (int step = 0; step < 6000; step++) {
            size_t best = 0;

            if (n < MAX_IN && (n == 0 || any(5) < 3)) {
                // Most in order of position, as merging does.
                order = any(orders);
                at = any(4) ? (uint32_t)step % positions : any(positions);
                in[n++] = (uint64_t)order << 32 | at;
                queue_push(&q, order, at);
                continue;
            }
            for (size_t i = 1; i < n; i++)
                if (in[i] < in[best])
                    best = i;
            assert_true(queue_pop(&q, &order, &at));
            assert_int_equal((uint64_t)order << 32 | at, in[best]);
            in[best] = in[--n];
        }
        while (n-- > 0)
            assert_true(queue_pop(&q, &order, &at));
        assert_false(queue_pop(&q, &order, &at));
    }
    queue_done(&q);
}

static void the_smallest_order_then_the_first_position_comes_out(void **state)
{
    const size_t words[] = { 100, 1 << 20 }; // without lists, with lists

    (void)state;
    for (size_t w = 0; w < ARRAY_LEN(words); w++)
        for (uint64_t seed = 1; seed <= 4; seed++) {
            random_state = seed * 0x9e3779b97f4a7c15u;
            run(words[w], 3, 100000);
            run(words[w], 50, 100000);
            run(words[w], 60000, 100000);
            run(words[w], 4, 40);
            run(words[w], UINT32_MAX, UINT32_MAX);
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_smallest_order_then_the_first_position_comes_out),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
