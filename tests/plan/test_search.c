// test_search.c - the search over cuts and sets of devices, against trying everything.
//
// `--bench` times it.

#include "plan/search.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { DEVS = 6, UNITS = 12, TABLES = 4, CELLS = (UNITS + 1) * (UNITS + 1) };

static uint64_t next_random(uint64_t *state)
{
    uint64_t z = *state += UINT64_C(0x9e3779b97f4a7c15);

    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

/// 0 .. n-1
static int draw(uint64_t *state, int n)
{
    return (int)(next_random(state) % (uint64_t)n);
}

static bool holds(const struct search *s, int dev, int from, int to)
{
    uint64_t bytes = s->table[s->dev[dev].table].bytes[from * (s->n_units + 1) + to];

    return bytes != UINT64_MAX && bytes <= s->dev[dev].room;
}

static uint64_t slack_of(const struct search *s, int dev, int from, int to)
{
    uint64_t room = s->dev[dev].room;

    return room == UINT64_MAX
               ? room
               : room - s->table[s->dev[dev].table].bytes[from * (s->n_units + 1) + to];
}

static int64_t ns_of(const struct search *s, int dev, int from, int to)
{
    return s->table[s->dev[dev].table].ns[from * (s->n_units + 1) + to];
}

// --- trying everything --------------------------------------------------------------------------

struct brute {
    const struct search *s;
    struct search_result at, best; // at.ns and at.slack are those of the stages so far
    bool found;
};

/// Whether `a` comes first; both are whole.
static bool comes_first(const struct search_result *a, const struct search_result *b,
                        enum search_goal goal)
{
    if (goal == SEARCH_FEWEST && a->n_stages != b->n_stages)
        return a->n_stages < b->n_stages;
    if (a->ns != b->ns)
        return a->ns < b->ns;
    if (a->n_stages != b->n_stages)
        return a->n_stages < b->n_stages;
    if (a->slack != b->slack)
        return a->slack > b->slack;
    for (int k = 0; k < a->n_stages; k++) {
        if (a->stage[k].dev != b->stage[k].dev)
            return a->stage[k].dev < b->stage[k].dev;
        if (a->stage[k].to != b->stage[k].to)
            return a->stage[k].to > b->stage[k].to;
    }
    return false;
}

static void try_rest(struct brute *b, uint32_t used, int from)
{
    const struct search *s = b->s;
    struct search_result *at = &b->at;
    int most = s->exact_devs > 0 ? s->exact_devs : s->n_devs;

    if (from == s->n_units && from > 0 && (s->max_devs == 0 || at->n_stages <= s->max_devs) &&
        (s->exact_devs == 0 || at->n_stages == s->exact_devs) &&
        (!b->found || comes_first(at, &b->best, s->goal))) {
        b->found = true;
        b->best = *at;
    }
    for (int d = s->n_devs - 1; d >= 0 && at->n_stages < most; d--) {
        if (used >> d & 1)
            continue;
        for (int to = from + 1; to <= s->n_units; to++) {
            int64_t ns = at->ns;
            uint64_t slack = at->slack;
            if (!holds(s, d, from, to))
                continue;
            at->stage[at->n_stages++] = (struct search_stage){ d, from, to };
            at->ns += ns_of(s, d, from, to);
            if (slack_of(s, d, from, to) < slack)
                at->slack = slack_of(s, d, from, to);
            try_rest(b, used | UINT32_C(1) << d, to);
            at->n_stages--;
            at->ns = ns;
            at->slack = slack;
        }
    }
}

/// Positions reached with exactly the devices of each set.
static void try_reach(const struct search *s, uint32_t *reached, uint32_t used, int from)
{
    reached[used] |= UINT32_C(1) << from;
    for (int d = 0; d < s->n_devs; d++)
        for (int to = from + 1; to <= s->n_units && !(used >> d & 1); to++)
            if (holds(s, d, from, to))
                try_reach(s, reached, used | UINT32_C(1) << d, to);
}

static uint32_t reached_within(const uint32_t *reached, uint32_t devs)
{
    uint32_t all = 0;

    for (uint32_t used = 0; used <= devs; used++)
        if ((used & ~devs) == 0)
            all |= reached[used];
    return all;
}

/// Of sets with as many of each kind, the one with the lowest devices.
static bool lowest_of_its_kind(const struct search *s, uint32_t devs)
{
    for (int d = 0; d < s->n_devs; d++)
        for (int e = 0; e < d; e++)
            if ((devs >> d & 1) && !(devs >> e & 1) && s->dev[d].table == s->dev[e].table &&
                s->dev[d].room == s->dev[e].room)
                return false;
    return true;
}

static struct search_reach brute_reach(const struct search *s, const uint32_t *reached, int n_devs)
{
    struct search_reach best = { .last_dev = -1, .lacks = UINT64_MAX };

    for (uint32_t devs = 0; devs < UINT32_C(1) << s->n_devs; devs++) {
        if (__builtin_popcount(devs) != n_devs || !lowest_of_its_kind(s, devs))
            continue;
        uint32_t all = reached_within(reached, devs);
        struct search_reach r = { 0, devs, -1, 31 - __builtin_clz(all), UINT64_MAX };
        if (r.units == s->n_units)
            r.lacks = 0;
        for (int d = s->n_devs - 1; d >= 0 && r.units < s->n_units; d--) {
            uint32_t begins = reached_within(reached, devs & ~(UINT32_C(1) << d));
            for (int from = 0; from <= r.units && (devs >> d & 1); from++) {
                uint64_t bytes =
                    s->table[s->dev[d].table].bytes[from * (s->n_units + 1) + r.units + 1];
                uint64_t lacks = bytes == UINT64_MAX ? bytes : bytes - s->dev[d].room;
                if ((begins >> from & 1) && lacks <= r.lacks) {
                    r.lacks = lacks;
                    r.last_dev = d;
                }
            }
        }
        int n = best.n_sets + 1;
        if (n == 1 || r.units > best.units || (r.units == best.units && r.lacks < best.lacks))
            best = r;
        best.n_sets = n;
    }
    return best;
}

// --- random chains ------------------------------------------------------------------------------

struct made {
    struct search s;
    struct search_dev dev[DEVS];
    struct search_table table[TABLES];
    uint64_t bytes[TABLES][CELLS];
    int64_t ns[TABLES][CELLS];
};

/// Weights add, scratch is the largest, sums are rounded up, and a stage in the middle takes over
/// what the one before it computed: so the part of a range may need more than the range.
static void make_bytes(uint64_t *bytes, int n, uint64_t unit, uint64_t *rng)
{
    uint64_t weight[UNITS], scratch[UNITS], handed[UNITS];
    uint64_t fixed = unit * (uint64_t)draw(rng, 8), granule = unit * (UINT64_C(1) << draw(rng, 5));
    bool additive = draw(rng, 3) == 0, walls = draw(rng, 4) == 0, any = draw(rng, 4) == 0;
    bool spiky = draw(rng, 3) == 0; // some hold what is between spikes, not the spikes

    for (int i = 0; i < n; i++) {
        weight[i] = draw(rng, 5) == 0 ? 0 : unit * (uint64_t)draw(rng, 20);
        if (spiky)
            weight[i] = unit * (draw(rng, 2) == 0 ? 40 : 1);
        scratch[i] = additive ? 0 : unit * (uint64_t)draw(rng, 16);
        handed[i] = additive || i == 0 ? 0 : unit * (uint64_t)draw(rng, 30);
    }
    for (int from = 0; from < n; from++) {
        uint64_t sum = fixed, most = 0;
        int wall = walls ? from + draw(rng, n + 1) : n;
        for (int to = from + 1; to <= n; to++) {
            sum += any ? unit * (uint64_t)draw(rng, 20) : weight[to - 1];
            most = scratch[to - 1] > most ? scratch[to - 1] : most;
            uint64_t *b = &bytes[from * (n + 1) + to];
            *b = (sum + granule - 1) / granule * granule + most + handed[from];
            if (to > wall)
                *b = UINT64_MAX;
            assert_true(to == from + 1 || *b >= b[-1]);
        }
    }
}

static void make_ns(int64_t *ns, const uint64_t *bytes, int n, uint64_t *rng)
{
    int kind = draw(rng, 5), speed = 1 + draw(rng, 4), hop = draw(rng, 3);
    int64_t scale = draw(rng, 8) == 0 ? INT64_C(1) << 45 : 1;

    for (int from = 0; from < n; from++)
        for (int to = from + 1; to <= n; to++) {
            int64_t *t = &ns[from * (n + 1) + to];
            if (bytes[from * (n + 1) + to] == UINT64_MAX)
                *t = draw(rng, 2) == 0 ? INT64_MAX : 0; // means nothing
            else if (kind == 0)
                *t = 0;
            else if (kind == 1)
                *t = draw(rng, 3) * scale;
            else if (kind == 2)
                *t = draw(rng, 1000) * scale;
            else
                *t = ((to - from) * speed + (from > 0 ? hop : 0)) * scale;
        }
}

static uint64_t make_room(const struct made *m, int table, uint64_t *rng)
{
    const uint64_t *bytes = m->bytes[table];
    int n = m->s.n_units, from = draw(rng, n), to = from + 1 + draw(rng, n - from);
    uint64_t some = bytes[from * (n + 1) + to];

    switch (draw(rng, 8)) {
    case 0:
        return UINT64_MAX;
    case 1:
        return 0;
    case 2:
        return some == UINT64_MAX || some == 0 ? 0 : some - 1;
    case 3:
        return bytes[1 + draw(rng, n)] / 2;
    default:
        return some;
    }
}

static uint64_t larger(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

static void make(struct made *m, uint64_t seed)
{
    static const int most_units[DEVS + 1] = { 0, UNITS, UNITS, UNITS, UNITS, 10, 8 };
    uint64_t rng = seed, unit = draw(&rng, 8) == 0 ? UINT64_C(1) << 52 : 1;
    int n_devs = 1 + draw(&rng, draw(&rng, 2) == 0 ? DEVS : 4);
    int n = 1 + draw(&rng, most_units[n_devs]);

    *m = (struct made){ .s = { .n_units = n,
                               .n_devs = n_devs,
                               .n_tables = 1 + draw(&rng, TABLES),
                               .dev = m->dev,
                               .table = m->table,
                               .goal = draw(&rng, 2) == 0 ? SEARCH_FEWEST : SEARCH_FASTEST } };
    if (draw(&rng, 3) == 0)
        m->s.max_devs = draw(&rng, n_devs + 2);
    if (draw(&rng, 3) == 0)
        m->s.exact_devs = draw(&rng, 2) == 0 ? n_devs : draw(&rng, n_devs + 2);
    for (int t = 0; t < m->s.n_tables; t++) {
        for (int i = 0; i < CELLS; i++) { // what no stage is
            m->bytes[t][i] = 0;
            m->ns[t][i] = INT64_MIN;
        }
        m->table[t] = (struct search_table){ m->bytes[t], m->ns[t] };
        if (t > 0 && draw(&rng, 4) == 0) { // another table that says the same
            memcpy(m->bytes[t], m->bytes[t - 1], sizeof(m->bytes[t]));
            memcpy(m->ns[t], m->ns[t - 1], sizeof(m->ns[t]));
            continue;
        }
        make_bytes(m->bytes[t], n, unit, &rng);
        make_ns(m->ns[t], m->bytes[t], n, &rng);
    }
    bool roomy = draw(&rng, 3) == 0;
    for (int d = 0; d < n_devs; d++) {
        int table = draw(&rng, m->s.n_tables);
        m->dev[d] = (struct search_dev){ table, make_room(m, table, &rng) };
        if (roomy)
            m->dev[d].room = larger(m->dev[d].room, make_room(m, table, &rng));
        if (d > 0 && draw(&rng, 3) == 0)
            m->dev[d] = m->dev[draw(&rng, d)];
    }
}

static void assert_same(const struct search_result *a, const struct search_result *b)
{
    assert_int_equal(a->n_stages, b->n_stages);
    assert_true(a->ns == b->ns);
    assert_true(a->slack == b->slack);
    for (int k = 0; k < a->n_stages; k++) {
        assert_int_equal(a->stage[k].dev, b->stage[k].dev);
        assert_int_equal(a->stage[k].from, b->stage[k].from);
        assert_int_equal(a->stage[k].to, b->stage[k].to);
    }
}

static void search_finds_what_trying_everything_finds(void **state)
{
    int n_found = 0, n_by_count[DEVS + 1] = { 0 };

    (void)state;
    for (uint64_t seed = 1; seed <= 20000; seed++) {
        struct made m;
        struct search_result r;
        make(&m, seed);
        struct brute b = { .s = &m.s, .at = { .slack = UINT64_MAX } };
        try_rest(&b, 0, 0);
        bool found = search_find(&r, &m.s);
        if (found != b.found)
            print_message("seed %d\n", (int)seed);
        assert_int_equal(found, b.found);
        assert_same(&r, &b.best);
        n_found += found;
        n_by_count[r.n_stages]++;
    }
    print_message("20000 chains, %d of them fit; by devices", n_found);
    for (int k = 1; k <= DEVS; k++) {
        print_message(" %d", n_by_count[k]);
        assert_true(n_by_count[k] > 0);
    }
    print_message("\n");
    assert_true(n_found > 5000 && n_found < 15000);
}

static void reach_is_that_of_trying_everything(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 5000; seed++) {
        struct made m;
        uint32_t reached[1 << DEVS] = { 0 };
        make(&m, seed);
        try_reach(&m.s, reached, 0, 0);
        for (int n_devs = 0; n_devs <= m.s.n_devs + 1; n_devs++) {
            struct search_reach r, b = brute_reach(&m.s, reached, n_devs);
            search_reach(&r, &m.s, n_devs);
            assert_int_equal(r.n_sets, b.n_sets);
            assert_int_equal(r.devs, b.devs);
            assert_int_equal(r.last_dev, b.last_dev);
            assert_int_equal(r.units, b.units);
            assert_true(r.lacks == b.lacks);
        }
    }
}

static void reach_of_one_less_than_fewest_ends_before_the_end(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 2000; seed++) {
        struct made m;
        struct search_result r;
        struct search_reach why;
        make(&m, seed);
        m.s.goal = SEARCH_FEWEST;
        m.s.max_devs = m.s.exact_devs = 0;
        if (!search_find(&r, &m.s))
            continue;
        search_reach(&why, &m.s, r.n_stages);
        assert_true(why.units == m.s.n_units && why.lacks == 0 && why.last_dev == -1);
        search_reach(&why, &m.s, r.n_stages - 1);
        assert_true(why.units < m.s.n_units && why.lacks > 0 && why.n_sets > 0);
    }
}

// --- chains of the usual length -----------------------------------------------------------------

enum { LONG_UNITS = 82 };

/// One device's view of a long chain; the view of every device costs alike, but for its speed.
static struct search_table make_long(int n, int mb_per_s, bool wild, uint64_t seed)
{
    size_t cells = (size_t)(n + 1) * (size_t)(n + 1);
    uint64_t *bytes = calloc(cells, sizeof(*bytes)), rng = 7, wild_rng = seed;
    int64_t *ns = calloc(cells, sizeof(*ns));
    uint64_t weight[SEARCH_UNITS];

    for (int i = 0; i < n; i++)
        weight[i] = (UINT64_C(150) << 20) + ((uint64_t)draw(&rng, 100) << 20);
    for (int from = 0; from < n; from++) {
        uint64_t sum = 0;
        for (int to = from + 1; to <= n; to++) {
            sum += weight[to - 1];
            int64_t t = (int64_t)(sum >> 20) * 1000000 / mb_per_s * 1000 + (from > 0 ? 20000 : 0);
            bytes[from * (n + 1) + to] = sum + (UINT64_C(300) << 20) + (from > 0 ? 4 << 20 : 0);
            ns[from * (n + 1) + to] = wild ? draw(&wild_rng, 1000000) : t;
        }
    }
    return (struct search_table){ bytes, ns };
}

struct chain {
    struct search s;
    struct search_dev dev[SEARCH_DEVS];
    struct search_table table[SEARCH_DEVS];
};

/// `percent`: the bytes of the whole chain, of the room of all devices.
static void make_chain(struct chain *c, int n_devs, int n_units, bool unlike, bool wild,
                       int percent)
{
    *c = (struct chain){ .s = { .n_units = n_units,
                                .n_devs = n_devs,
                                .n_tables = unlike ? n_devs : 1,
                                .dev = c->dev,
                                .table = c->table } };
    for (int t = 0; t < c->s.n_tables; t++)
        c->table[t] = make_long(n_units, unlike ? 83000 + 25000 * t : 480000, wild, (uint64_t)t);
    uint64_t all = c->table[0].bytes[n_units] / 100 * 100 / (uint64_t)percent * 100, shares = 0;
    for (int d = 0; d < n_devs; d++)
        shares += unlike ? 8 + (uint64_t)d * 5 % 13 : 1;
    for (int d = 0; d < n_devs; d++)
        c->dev[d] = (struct search_dev){ unlike ? d : 0,
                                         all / shares * (unlike ? 8 + (uint64_t)d * 5 % 13 : 1) };
}

static void free_chain(struct chain *c)
{
    for (int t = 0; t < c->s.n_tables; t++) {
        free((void *)(uintptr_t)c->table[t].bytes);
        free((void *)(uintptr_t)c->table[t].ns);
    }
}

static void assert_sound(const struct search *s, const struct search_result *r)
{
    int64_t ns = 0;
    uint64_t slack = UINT64_MAX;
    uint32_t used = 0;

    for (int k = 0; k < r->n_stages; k++) {
        const struct search_stage *g = &r->stage[k];
        assert_int_equal(g->from, k == 0 ? 0 : r->stage[k - 1].to);
        assert_true(g->from < g->to && !(used >> g->dev & 1) && holds(s, g->dev, g->from, g->to));
        used |= UINT32_C(1) << g->dev;
        ns += ns_of(s, g->dev, g->from, g->to);
        if (slack_of(s, g->dev, g->from, g->to) < slack)
            slack = slack_of(s, g->dev, g->from, g->to);
    }
    assert_int_equal(r->stage[r->n_stages - 1].to, s->n_units);
    assert_true(ns == r->ns && slack == r->slack);
}

static void devices_counted_and_devices_named_give_the_same(void **state)
{
    (void)state;
    for (int percent = 30; percent <= 80; percent += 25)
        for (int goal = SEARCH_FEWEST; goal <= SEARCH_FASTEST; goal++) {
            struct chain c;
            struct search_result counted, named;
            make_chain(&c, 6, LONG_UNITS, false, percent == 55, percent);
            c.s.goal = (enum search_goal)goal;
            assert_true(search_find(&counted, &c.s));
            assert_sound(&c.s, &counted);

            size_t bytes = (LONG_UNITS + 1) * (LONG_UNITS + 1) * sizeof(uint64_t);
            for (int d = 1; d < 6; d++) { // tables of their own, that say the same
                uint64_t *b = malloc(bytes);
                int64_t *ns = malloc(bytes);
                memcpy(b, c.table[0].bytes, bytes);
                memcpy(ns, c.table[0].ns, bytes);
                c.table[d] = (struct search_table){ b, ns };
                c.dev[d].table = d;
            }
            c.s.n_tables = 6;
            assert_true(search_find(&named, &c.s));
            assert_same(&counted, &named);
            free_chain(&c);
        }
}

static void an_order_of_devices_changes_no_time_and_no_slack(void **state)
{
    (void)state;
    for (int exact = 0; exact <= 5; exact += 5) {
        struct chain c;
        struct search_result r, turned;
        make_chain(&c, 7, LONG_UNITS, true, false, 70);
        c.s.exact_devs = exact;
        assert_true(search_find(&r, &c.s));
        assert_sound(&c.s, &r);
        for (int d = 0; d < 3; d++) {
            struct search_dev t = c.dev[d];
            c.dev[d] = c.dev[6 - d];
            c.dev[6 - d] = t;
        }
        assert_true(search_find(&turned, &c.s));
        assert_sound(&c.s, &turned);
        assert_int_equal(r.n_stages, turned.n_stages);
        assert_true(r.ns == turned.ns && r.slack == turned.slack);
        free_chain(&c);
    }
}

static void the_same_question_has_the_same_answer(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 500; seed++) {
        struct made m, again;
        struct search_result a, b;
        struct search_reach ra, rb;
        make(&m, seed);
        void *between = malloc(seed * 100); // so that the second search has other memory
        memset(between, 0xa5, seed * 100);
        search_find(&a, &m.s);
        free(between);
        make(&again, seed);
        search_find(&b, &again.s);
        assert_same(&a, &b);
        search_reach(&ra, &m.s, 2);
        search_reach(&rb, &again.s, 2);
        assert_true(ra.n_sets == rb.n_sets && ra.devs == rb.devs && ra.last_dev == rb.last_dev &&
                    ra.units == rb.units && ra.lacks == rb.lacks);
    }
}

// --- by hand ------------------------------------------------------------------------------------

/// Bytes and times of three units: from 0 to 1 2 3, from 1 to 2 3, from 2 to 3.
static void fill_three(uint64_t bytes[16], int64_t ns[16], const uint64_t b[6], const int64_t t[6])
{
    int k = 0;

    for (int from = 0; from < 3; from++)
        for (int to = from + 1; to <= 3; to++, k++) {
            bytes[from * 4 + to] = b[k];
            ns[from * 4 + to] = t[k];
        }
}

static void a_cut_behind_the_longest_stage_may_not_do(void **state)
{
    // Two devices hold units 0-1 and 2, but not with what is handed over in front of unit 2.
    static const uint64_t b[6] = { 4, 8, 12, 4, 8, 9 };
    static const int64_t t[6] = { 1, 2, 3, 1, 2, 1 };
    uint64_t bytes[16] = { 0 };
    int64_t ns[16] = { 0 };
    struct search_dev dev[3] = { { 0, 8 }, { 0, 8 }, { 0, 8 } };
    struct search_table table = { bytes, ns };
    struct search s = { .n_units = 3, .n_devs = 3, .n_tables = 1, .dev = dev, .table = &table };
    struct search_result r;
    struct search_reach why;

    (void)state;
    fill_three(bytes, ns, b, t);
    assert_true(search_find(&r, &s));
    assert_int_equal(r.n_stages, 2);
    assert_int_equal(r.stage[0].to, 1);
    assert_true(r.ns == 3 && r.slack == 0);
    search_reach(&why, &s, 1);
    assert_true(why.n_sets == 1 && why.units == 2 && why.lacks == 4 && why.devs == 1);
}

static void equal_devices_are_used_in_the_order_given(void **state)
{
    static const uint64_t b[6] = { 1, 2, 3, 1, 2, 1 };
    static const int64_t t[6] = { 0, 0, 0, 0, 0, 0 };
    uint64_t bytes[16] = { 0 };
    int64_t ns[16] = { 0 };
    struct search_dev dev[4] = { { 0, 0 }, { 0, 2 }, { 0, 0 }, { 0, 2 } };
    struct search_table table = { bytes, ns };
    struct search s = { .n_units = 3, .n_devs = 4, .n_tables = 1, .dev = dev, .table = &table };
    struct search_result r;

    (void)state;
    fill_three(bytes, ns, b, t);
    assert_true(search_find(&r, &s));
    assert_true(r.n_stages == 2 && r.stage[0].dev == 1 && r.stage[1].dev == 3);
    assert_int_equal(r.stage[0].to, 2); // as good as 1, and longer
}

static void what_no_device_holds_is_not_found(void **state)
{
    static const uint64_t b[6] = { 1, UINT64_MAX, UINT64_MAX, UINT64_MAX, UINT64_MAX, 1 };
    static const int64_t t[6] = { 1, 1, 1, 1, 1, 1 };
    uint64_t bytes[16] = { 0 };
    int64_t ns[16] = { 0 };
    struct search_dev dev[2] = { { 0, UINT64_MAX }, { 0, UINT64_MAX } };
    struct search_table table = { bytes, ns };
    struct search s = { .n_units = 3, .n_devs = 2, .n_tables = 1, .dev = dev, .table = &table };
    struct search_result r;
    struct search_reach why;

    (void)state;
    fill_three(bytes, ns, b, t);
    assert_false(search_find(&r, &s));
    assert_int_equal(r.n_stages, 0);
    search_reach(&why, &s, 2);
    assert_true(why.units == 1 && why.lacks == UINT64_MAX && why.last_dev == 0 && why.n_sets == 1);
    s.n_units = 0;
    assert_false(search_find(&r, &s));
    s.n_devs = 0;
    assert_false(search_find(&r, &s));
}

static void the_longest_chain_goes_over_the_most_devices(void **state)
{
    enum { N = SEARCH_UNITS, W = SEARCH_UNITS + 1 };
    uint64_t *bytes = calloc(W * W, sizeof(*bytes));
    int64_t *ns = calloc(W * W, sizeof(*ns));
    struct search_dev dev[SEARCH_DEVS];
    struct search_table table = { bytes, ns };
    struct search s = {
        .n_units = N, .n_devs = SEARCH_DEVS, .n_tables = 1, .dev = dev, .table = &table
    };
    struct search_result r;
    struct search_reach why;

    (void)state;
    for (int from = 0; from < N; from++)
        for (int to = from + 1; to <= N; to++)
            bytes[from * W + to] = (uint64_t)(to - from);
    for (int d = 0; d < SEARCH_DEVS; d++)
        dev[d] = (struct search_dev){ 0, 16 };
    assert_true(search_find(&r, &s));
    assert_int_equal(r.n_stages, 16); // 15 * 16 + 15
    for (int k = 0; k < 16; k++)
        assert_true(r.stage[k].dev == k && r.stage[k].to == (k < 15 ? 16 * k + 16 : N));
    search_reach(&why, &s, 15);
    assert_true(why.units == 240 && why.lacks == 1 && why.last_dev == 0 && why.devs == 0x7fff);
    free(bytes);
    free(ns);
}

// --- time ---------------------------------------------------------------------------------------

static void time_chain(const char *name, int n_devs, int n_units, bool unlike, bool wild,
                       int percent, enum search_goal goal, int exact)
{
    struct chain c;
    struct search_result r = { 0 };
    int64_t best = INT64_MAX;

    make_chain(&c, n_devs, n_units, unlike, wild, percent);
    c.s.goal = goal;
    c.s.exact_devs = exact;
    for (int k = 0; k < (n_devs > 12 ? 2 : 10); k++) {
        int64_t start = clock_ns();
        (void)search_find(&r, &c.s);
        int64_t took = clock_ns() - start;
        best = took < best ? took : best;
    }
    printf("%-8s %2d %-6s devices x %3d, %3d %% of all room%s: %9.3f ms, %2d stages\n", name,
           n_devs, unlike ? "unlike" : "equal", n_units, percent, wild ? ", wild times" : "",
           (double)best / 1e6, r.n_stages);
    free_chain(&c);
}

static void bench(void)
{
    static const int percent[] = { 95, 90, 70, 50, 30, 15, 5, 1 };

    for (int unlike = 0; unlike < 2; unlike++)
        for (int wild = 0; wild < 2; wild++)
            for (size_t k = 0; k < ARRAY_LEN(percent); k++) {
                int n = unlike ? 12 : 8;
                time_chain("fewest", n, 82, unlike, wild, percent[k], SEARCH_FEWEST, 0);
                time_chain("fastest", n, 82, unlike, wild, percent[k], SEARCH_FASTEST, 0);
                time_chain("exact 1/2", n, 82, unlike, wild, percent[k], SEARCH_FEWEST, n / 2);
                time_chain("exact all", n, 82, unlike, wild, percent[k], SEARCH_FEWEST, n);
            }
    for (size_t k = 1; k < ARRAY_LEN(percent); k += 2) {
        time_chain("fewest", 16, 82, true, false, percent[k], SEARCH_FEWEST, 0);
        time_chain("fastest", 16, 82, true, false, percent[k], SEARCH_FASTEST, 0);
    }
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(search_finds_what_trying_everything_finds),
        cmocka_unit_test(reach_is_that_of_trying_everything),
        cmocka_unit_test(reach_of_one_less_than_fewest_ends_before_the_end),
        cmocka_unit_test(devices_counted_and_devices_named_give_the_same),
        cmocka_unit_test(an_order_of_devices_changes_no_time_and_no_slack),
        cmocka_unit_test(the_same_question_has_the_same_answer),
        cmocka_unit_test(a_cut_behind_the_longest_stage_may_not_do),
        cmocka_unit_test(equal_devices_are_used_in_the_order_given),
        cmocka_unit_test(what_no_device_holds_is_not_found),
        cmocka_unit_test(the_longest_chain_goes_over_the_most_devices),
    };

    if (argc > 1 && strcmp(argv[1], "--bench") == 0) {
        bench();
        return 0;
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
