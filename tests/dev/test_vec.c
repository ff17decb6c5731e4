// test_vec.c - what is not a matrix product: every instruction set gives the bits of plain C; the
// polynomials are as exact as promised; every operation has a plain C kernel.

#include "dev/cpu/cpu_int.h"
#include "dev/cpu/vmath.h"

#include <setjmp.h>
#include <stdlib.h>

#include <cmocka.h>

// --- numbers, guarded memory ---------------------------------------------------------------------

static uint64_t rng = 88172645463325252u;

static uint32_t random_u32(void)
{
    rng ^= rng << 13;
    rng ^= rng >> 7;
    rng ^= rng << 17;
    return (uint32_t)(rng >> 32);
}

static float random_f32(float most)
{
    return ((float)(random_u32() >> 8) / 8388608.0f - 1.0f) * most;
}

/// Mostly ordinary numbers; `odd`: also zeros, denormals, infinities, NaN and any bits.
static float random_number(bool odd)
{
    static const float special[] = { 0, -0.0f, 1e-42f, -1e-40f, 3e38f, INFINITY, -INFINITY, NAN };
    const uint32_t kind = random_u32() % 64;

    if (!odd || kind >= 10)
        return random_f32(8);
    if (kind < 8)
        return special[kind];
    uint32_t bits = random_u32();
    float f;
    memcpy(&f, &bits, sizeof f);
    return f;
}

enum { GUARD = 64 };

/// n bytes with guards around, at an address that is only a multiple of 4.
struct guarded {
    unsigned char *all, *p;
    size_t n;
};

static struct guarded guarded_new(size_t n)
{
    struct guarded g = { .n = n };

    g.all = malloc(n + 2 * GUARD);
    g.p = g.all + GUARD - 12;
    memset(g.all, 0xa5, n + 2 * GUARD);
    return g;
}

static void guarded_done(struct guarded *g)
{
    for (unsigned char *p = g->all; p < g->all + g->n + 2 * GUARD; p++)
        if ((p < g->p || p >= g->p + g->n) && *p != 0xa5)
            fail_msg("a guard byte at %td was written", p - g->p);
    free(g->all);
}

static float *floats(struct guarded *g, int64_t n, bool odd)
{
    *g = guarded_new((size_t)n * sizeof(float));
    float *p = (float *)(void *)g->p;
    for (int64_t i = 0; i < n; i++)
        p[i] = random_number(odd);
    return p;
}

/// Bit for bit; one NaN is as good as another.
static void same_floats(const float *a, const float *b, int64_t n, const char *what)
{
    for (int64_t i = 0; i < n; i++)
        if (memcmp(&a[i], &b[i], sizeof a[i]) != 0 && !(a[i] != a[i] && b[i] != b[i]))
            fail_msg("%s, %lld numbers: [%lld] %a, expected %a", what, (long long)n, (long long)i,
                     (double)a[i], (double)b[i]);
}

// --- every level against plain C -----------------------------------------------------------------

static const struct {
    const char *mask;
    unsigned needs;
} levels[] = { { "c", 0 }, { "c,avx2", CPU_AVX2 }, { "c,avx2,avx512", CPU_AVX512 } };

/// Calls back with the functions of each level that this machine has.
static void at_each_level(void (*check)(const struct vec_fns *c, const struct vec_fns *f,
                                        int64_t n))
{
    static const int64_t sizes[] = { 1,  2,  7,  8,  15,  16,  17,  31,   32,  33,
                                     63, 64, 65, 96, 127, 160, 576, 1000, 4100 };
    struct cpu_fns c, f;

    cpu_fns_init(&c, 0);
    for (size_t l = 1; l < ARRAY_LEN(levels); l++) {
        const unsigned have = cpu_features(levels[l].mask);
        if ((have & levels[l].needs) != levels[l].needs)
            continue;
        cpu_fns_init(&f, have);
        for (size_t i = 0; i < ARRAY_LEN(sizes); i++)
            for (int round = 0; round < 8; round++)
                check(&c.vec, &f.vec, sizes[i]);
    }
}

static void check_norms(const struct vec_fns *c, const struct vec_fns *f, int64_t n)
{
    struct guarded gx, gw, gb, gy, gz;
    const float *x = floats(&gx, n, random_u32() % 4 == 0), *w = floats(&gw, n, false);
    const float *b = random_u32() % 2 ? floats(&gb, n, false) : (floats(&gb, 1, false), NULL);
    float *y = floats(&gy, n, false), *z = floats(&gz, n, false);

    c->rmsnorm(y, x, w, n, 1e-5f);
    f->rmsnorm(z, x, w, n, 1e-5f);
    same_floats(z, y, n, "rmsnorm");
    c->layernorm(y, x, w, b, n, 1e-5f);
    f->layernorm(z, x, w, b, n, 1e-5f);
    same_floats(z, y, n, "layernorm");
    guarded_done(&gx), guarded_done(&gw), guarded_done(&gb), guarded_done(&gy), guarded_done(&gz);
}

static void norms_have_the_bits_of_plain_c(void **state)
{
    (void)state;
    at_each_level(check_norms);
}

static void check_elements(const struct vec_fns *c, const struct vec_fns *f, int64_t n)
{
    struct guarded ga, gb, gy, gz;
    const float *a = floats(&ga, n, true), *b = floats(&gb, n, true);
    float *y = floats(&gy, n, false), *z = floats(&gz, n, false);
    const float k = random_f32(30);

    c->glu(y, a, b, n, ACT_SILU), f->glu(z, a, b, n, ACT_SILU);
    same_floats(z, y, n, "silu");
    c->glu(y, a, b, n, ACT_GELU), f->glu(z, a, b, n, ACT_GELU);
    same_floats(z, y, n, "gelu");
    c->add(y, a, b, n), f->add(z, a, b, n);
    same_floats(z, y, n, "add");
    c->scale(y, a, n, k), f->scale(z, a, n, k);
    same_floats(z, y, n, "scale");
    c->softcap(y, a, n, k), f->softcap(z, a, n, k);
    same_floats(z, y, n, "softcap");
    memcpy(z, a, (size_t)n * sizeof *z);
    f->softcap(z, z, n, k);
    same_floats(z, y, n, "softcap in place");
    guarded_done(&ga), guarded_done(&gb), guarded_done(&gy), guarded_done(&gz);
}

static void elements_have_the_bits_of_plain_c(void **state)
{
    (void)state;
    at_each_level(check_elements);
}

static void check_rope(const struct vec_fns *c, const struct vec_fns *f, int64_t n)
{
    struct guarded gx, gt, gy, gz;
    const int rot = (int)(n + 1) / 2 * 2;
    const float *x = floats(&gx, rot, false), *t = floats(&gt, rot, false);
    float *y = floats(&gy, rot, false), *z = floats(&gz, rot, false);

    for (enum rope_kind kind = ROPE_NORM; kind <= ROPE_NEOX; kind++) {
        c->rope(y, x, t, rot, kind), f->rope(z, x, t, rot, kind);
        same_floats(z, y, rot, "rope");
        memcpy(z, x, (size_t)rot * sizeof *z);
        f->rope(z, z, t, rot, kind);
        same_floats(z, y, rot, "rope in place");
    }
    guarded_done(&gx), guarded_done(&gt), guarded_done(&gy), guarded_done(&gz);
}

static void rope_has_the_bits_of_plain_c(void **state)
{
    (void)state;
    at_each_level(check_rope);
}

static void check_formats(const struct vec_fns *c, const struct vec_fns *f, int64_t n)
{
    struct guarded gx, gy, gz, gv;
    float *x = floats(&gx, (n + 31) / 32 * 32, random_u32() % 2);
    const size_t half = (size_t)n * sizeof(uint16_t), row = (size_t)(n + 31) / 32 * 48;
    float *v = floats(&gv, n, false);
    const float tiny =
        random_u32() % 3 ? 1 : ldexpf(1, -110 - (int)(random_u32() % 40)); // d is denormal

    for (int64_t i = 0; i < (n + 31) / 32 * 32; i++)
        x[i] *= tiny;
    gy = guarded_new(half), gz = guarded_new(half);
    c->to_f16((uint16_t *)(void *)gy.p, x, n), f->to_f16((uint16_t *)(void *)gz.p, x, n);
    for (int64_t i = 0; i < n; i++)
        if (x[i] == x[i])
            assert_memory_equal(gz.p + 2 * i, gy.p + 2 * i, 2);
    f->from_f16(v, (const uint16_t *)(void *)gy.p, n);
    for (int64_t i = 0; i < n; i++) {
        const float e = f16_to_f32(((const uint16_t *)(void *)gy.p)[i]);
        same_floats(v + i, &e, 1, "from_f16");
    }
    guarded_done(&gy), guarded_done(&gz);

    gy = guarded_new(row), gz = guarded_new(row);
    c->a8(a8_part_at(gy.p, (int64_t)row / 48 * 32, 0), x, (int64_t)row / 48 * 32);
    f->a8(a8_part_at(gz.p, (int64_t)row / 48 * 32, 0), x, (int64_t)row / 48 * 32);
    const struct a8_row a = a8_row_at(gy.p, (int64_t)row / 48 * 32),
                        b = a8_row_at(gz.p, (int64_t)row / 48 * 32);
    assert_memory_equal(b.q, a.q, row / 48 * 32);
    assert_memory_equal(b.sum, a.sum, row / 48 * 8);
    same_floats(b.d, a.d, (int64_t)row / 48, "a8 d");
    same_floats(b.s, a.s, (int64_t)row / 48, "a8 s");

    guarded_done(&gy), guarded_done(&gz);
    guarded_done(&gx), guarded_done(&gv);
}

static void formats_have_the_bits_of_plain_c(void **state)
{
    (void)state;
    at_each_level(check_formats);
}

/// A row in parts is the row, and is what num/ makes of it.
static void a8_row_in_parts_is_the_whole_row(void **state)
{
    struct guarded gx, gy, gz;
    const float *x = floats(&gx, 320, true);

    (void)state;
    gy = guarded_new(480), gz = guarded_new(480);
    dtype_info(DTYPE_A8)->from_f32(gy.p, x, 320);
    for (int i = 0; i < 320; i += 64)
        ref_a8(a8_part_at(gz.p, 320, i), x + i, 64);
    assert_memory_equal(gz.p, gy.p, 480);
    guarded_done(&gx), guarded_done(&gy), guarded_done(&gz);
}

// --- how exact -----------------------------------------------------------------------------------

/// Largest error of y beside the exact `is`, in units of the last place of `is`.
static double ulps(float y, double is)
{
    int e;

    frexp(is, &e);
    return fabs((double)y - is) / ldexp(1, (e > -125 ? e : -125) - 24);
}

static void exp_and_friends_are_exact_to_a_few_ulp(void **state)
{
    double worst_exp = 0, worst_tanh = 0, worst_silu = 0, worst_gelu = 0;

    (void)state;
    for (int i = -873000; i <= 887000; i++) {
        const float x = (float)i * 1e-4f + 3e-6f * (float)(i % 7);
        const double e = exp((double)x), d = (double)x;
        const double u = 0.7978845608028654 * (d + 0.044715 * d * d * d);
        if (x > -87.33f && x < 88.72f)
            worst_exp = fmax(worst_exp, ulps(vm_exp(x), e));
        worst_tanh = fmax(worst_tanh, ulps(vm_tanh(x), tanh(d)));
        if (x > -80)
            worst_silu = fmax(worst_silu, ulps(vm_silu(x), d / (1 + exp(-d))));
        if (x > -4)
            worst_gelu = fmax(worst_gelu, ulps(vm_gelu(x), d / (1 + exp(-2 * u))));
    }
    printf("worst error in ulp: exp %.3f, tanh %.3f, silu %.3f, gelu %.3f\n", worst_exp, worst_tanh,
           worst_silu, worst_gelu);
    assert_true(worst_exp < 1.0);
    assert_true(worst_tanh < 2.0);
    assert_true(worst_silu < 3.5);
    assert_true(worst_gelu <
                20.0); // of a value near 0 for x = -4: e^-20 from an argument rounded once
}

static void exp_and_friends_know_their_ends(void **state)
{
    (void)state;
    assert_true(vm_exp(0) == 1 && vm_exp(-0.0f) == 1);
    assert_true(vm_exp(-88) == 0 && vm_exp(-INFINITY) == 0);
    assert_true(vm_exp(89) == INFINITY && vm_exp(INFINITY) == INFINITY);
    assert_true(vm_exp(88.72f) < INFINITY && vm_exp(-87.33f) > 0);
    assert_true(isnan(vm_exp(NAN)) && isnan(vm_tanh(NAN)) && isnan(vm_silu(NAN)));
    assert_true(vm_tanh(INFINITY) == 1 && vm_tanh(-INFINITY) == -1 && vm_tanh(20) == 1);
    assert_true(vm_tanh(0) == 0 && signbit(vm_tanh(-0.0f)) && vm_tanh(1e-40f) == 1e-40f);
    assert_true(vm_silu(0) == 0 && vm_gelu(0) == 0 && vm_gelu(30) == 30 && vm_silu(-200) == 0);
}

// --- rope tables ---------------------------------------------------------------------------------

static void rope_table_turns_by_position_and_scales(void **state)
{
    const struct rope_freq plain = { .rot = 8, .base = 10000, .linear = 1, .mscale = 1 };
    const float factors[4] = { 1, 2, 4, 8 };
    struct rope_freq f = plain;
    float a[8], b[8];

    (void)state;
    ref_rope_table(a, 0, &plain, NULL);
    for (int i = 0; i < 4; i++)
        assert_true(a[2 * i] == 1 && a[2 * i + 1] == 0);
    ref_rope_table(a, 7, &plain, NULL);
    assert_true(a[0] == (float)cos(7.0) && a[1] == (float)sin(7.0));
    assert_true(fabs((double)a[2] - cos(0.7)) < 1e-7 && fabs((double)a[7] - sin(0.007)) < 1e-9);

    f.linear = 4; // position 28 looks like 7
    ref_rope_table(b, 28, &f, NULL);
    same_floats(b, a, 8, "linear");
    ref_rope_table(b, 7, &plain, factors);
    assert_true(b[0] == a[0] && fabs((double)b[3] - sin(0.35)) < 1e-7);
}

/// Fast pairs keep their angle, slow ones turn `factor` times slower, and all are longer.
static void rope_table_knows_yarn(void **state)
{
    const struct rope_freq f = { .rot = 128,
                                 .base = 10000,
                                 .linear = 1,
                                 .mscale = 1,
                                 .yarn_orig_ctx = 4096,
                                 .yarn_factor = 8,
                                 .yarn_ext = 1,
                                 .yarn_attn = 1,
                                 .yarn_beta_fast = 32,
                                 .yarn_beta_slow = 1 };
    const double m = 1 + 0.1 * log(8.0), slow = 100 * pow(10000, -126.0 / 128) / 8;
    float a[128];

    (void)state;
    ref_rope_table(a, 100, &f, NULL);
    assert_true(fabs((double)a[0] - m * cos(100.0)) < 1e-6 &&
                fabs((double)a[1] - m * sin(100.0)) < 1e-6);
    assert_true(fabs((double)a[126] - m * cos(slow)) < 1e-6 &&
                fabs((double)a[127] - m * sin(slow)) < 1e-6);
}

// --- sharing out ---------------------------------------------------------------------------------

static void shares_cover_every_number_once(void **state)
{
    static unsigned char seen[300 * 5000];

    (void)state;
    for (int round = 0; round < 400; round++) {
        const int64_t rows = random_u32() % 300, len = 1 + random_u32() % 5000;
        const struct share s = share_rows(rows, len, random_u32() % 2, 1 + (int)(random_u32() % 9));
        memset(seen, 0, (size_t)(rows * len));
        for (int64_t k = 0; k < s.n; k++) {
            const struct share_span at = share_at(&s, k);
            assert_true(at.i0 % 32 == 0);
            for (int64_t r = at.row0; r < at.row1; r++)
                for (int64_t i = at.i0; i < at.i1; i++)
                    seen[r * len + i]++;
        }
        for (int64_t i = 0; i < rows * len; i++)
            assert_int_equal(seen[i], 1);
    }
}

// --- speed ---------------------------------------------------------------------------------------

#define BENCH(what, n, call)                                                                       \
    do {                                                                                           \
        int64_t best = INT64_MAX;                                                                  \
        for (int round = 0; round < 20; round++) {                                                 \
            const int64_t t0 = clock_ns();                                                         \
            for (int k = 0; k < 200; k++)                                                          \
                call;                                                                              \
            const int64_t ns = clock_ns() - t0;                                                    \
            best = ns < best ? ns : best;                                                          \
        }                                                                                          \
        printf("  %-10s %5d numbers: %8.1f ns\n", what, n, (double)best / 200);                    \
    } while (0)

static void bench(void)
{
    enum { N = 576, M = 1536 };
    static float x[M], w[M], y[M], t[64];
    static _Alignas(64) unsigned char row[M * 3 / 2];
    static uint16_t h[M];
    struct cpu_fns all;

    for (int i = 0; i < M; i++)
        x[i] = random_f32(4), w[i] = random_f32(1);
    for (size_t l = 0; l < ARRAY_LEN(levels); l++) {
        const unsigned have = cpu_features(levels[l].mask);
        const struct vec_fns *f = &all.vec;
        if ((have & levels[l].needs) != levels[l].needs)
            continue;
        cpu_fns_init(&all, have);
        printf("%s\n", levels[l].mask);
        BENCH("rmsnorm", N, f->rmsnorm(y, x, w, N, 1e-5f));
        BENCH("silu", M, f->glu(y, x, w, M, ACT_SILU));
        BENCH("gelu", M, f->glu(y, x, w, M, ACT_GELU));
        BENCH("add", N, f->add(y, x, w, N));
        BENCH("softcap", M, f->softcap(y, x, M, 30));
        BENCH("rope", 64, f->rope(y, x, t, 64, ROPE_NEOX));
        BENCH("to_f16", N, f->to_f16(h, x, N));
        BENCH("a8", M, f->a8(a8_part_at(row, M, 0), x, M));
    }
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(norms_have_the_bits_of_plain_c),
        cmocka_unit_test(elements_have_the_bits_of_plain_c),
        cmocka_unit_test(rope_has_the_bits_of_plain_c),
        cmocka_unit_test(formats_have_the_bits_of_plain_c),
        cmocka_unit_test(a8_row_in_parts_is_the_whole_row),
        cmocka_unit_test(exp_and_friends_are_exact_to_a_few_ulp),
        cmocka_unit_test(exp_and_friends_know_their_ends),
        cmocka_unit_test(rope_table_turns_by_position_and_scales),
        cmocka_unit_test(rope_table_knows_yarn),
        cmocka_unit_test(shares_cover_every_number_once),
    };

    if (argc > 1 && strcmp(argv[1], "--bench") == 0) {
        bench();
        return 0;
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
