// features.c - which instruction sets this machine has, and which of them are wanted.

#include "dev/cpu/cpu_int.h"

#include <stdlib.h>
#include <string.h>

#if defined(__x86_64__)
#include <cpuid.h>

/// Register sets that the system saves and restores: bits of XCR0.
static unsigned saved_state(void)
{
    unsigned lo, hi;

    __asm__ volatile("xgetbv" : "=a"(lo), "=d"(hi) : "c"(0));
    return lo;
}

/// Bits of cpuid leaf 1 (ecx) and leaf 7 (ebx, ecx): Intel SDM volume 2A, "CPUID".
static unsigned machine_features(void)
{
    const unsigned fma = 1u << 12, osxsave = 1u << 27, avx = 1u << 28, f16c = 1u << 29;
    const unsigned avx2 = 1u << 5, f = 1u << 16, dq = 1u << 17, bw = 1u << 30, vl = 1u << 31;
    const unsigned vbmi = 1u << 1, vnni = 1u << 11;
    const unsigned need1 = fma | osxsave | avx | f16c, need7b = f | dq | bw | vl,
                   need7c = vbmi | vnni;
    unsigned a, b, c, d, b7, c7;

    if (!__get_cpuid(1, &a, &b, &c, &d) || (c & need1) != need1)
        return 0;
    if (!__get_cpuid_count(7, 0, &a, &b7, &c7, &d) || (b7 & avx2) == 0)
        return 0;
    unsigned saved = saved_state();
    if ((saved & 0x6) != 0x6) // xmm, ymm
        return 0;
    if ((b7 & need7b) != need7b || (c7 & need7c) != need7c || (saved & 0xe6) != 0xe6) // masks, zmm
        return CPU_AVX2;
    return CPU_AVX2 | CPU_AVX512;
}
#else
static unsigned machine_features(void)
{
    return 0;
}
#endif

static const struct {
    const char *name;
    unsigned bits;
} names[] = {
    { "c", 0 },
    { "avx2", CPU_AVX2 },
    { "avx512", CPU_AVX2 | CPU_AVX512 },
};

static unsigned feature_bits(const char *name, size_t n)
{
    char shown[64];

    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        if (strlen(names[i].name) == n && memcmp(names[i].name, name, n) == 0)
            return names[i].bits;
    log_msg(LOG_WARN, "SNUG_CPU: %s is not one of c, avx2, avx512",
            err_bytes(shown, sizeof shown, name, n));
    return 0;
}

unsigned cpu_features(const char *mask)
{
    unsigned wanted = 0;

    if (mask == NULL)
        mask = getenv("SNUG_CPU");
    if (mask == NULL || mask[0] == 0)
        return machine_features();
    for (const char *p = mask; *p != 0;) {
        size_t n = strcspn(p, ",");
        wanted |= feature_bits(p, n);
        p += n + (p[n] == ',');
    }
    return wanted & machine_features();
}
