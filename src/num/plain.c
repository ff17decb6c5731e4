// plain.c - formats without blocks: F32, F16, BF16, I32. Little endian, any alignment.

#include "num/num_int.h"

#include <math.h>

static void f32_copy_out(float *dst, const void *src, int64_t n)
{
    memcpy(dst, src, (size_t)n * sizeof *dst);
}

static void f32_copy_in(void *dst, const float *src, int64_t n)
{
    memcpy(dst, src, (size_t)n * sizeof *src);
}

const struct dtype_info dtype_f32 = {
    .name = "F32",
    .block = 1,
    .block_bytes = 4,
    .to_f32 = f32_copy_out,
    .from_f32 = f32_copy_in,
};

static void f16_row_to_f32(float *dst, const void *src, int64_t n)
{
    const uint8_t *p = src;
    for (int64_t i = 0; i < n; i++)
        dst[i] = get_f16(p + 2 * i);
}

static void f16_row_from_f32(void *dst, const float *src, int64_t n)
{
    uint8_t *p = dst;
    for (int64_t i = 0; i < n; i++)
        put_u16(p + 2 * i, f32_to_f16(src[i]));
}

const struct dtype_info dtype_f16 = {
    .name = "F16",
    .block = 1,
    .block_bytes = 2,
    .to_f32 = f16_row_to_f32,
    .from_f32 = f16_row_from_f32,
};

static void bf16_row_to_f32(float *dst, const void *src, int64_t n)
{
    const uint8_t *p = src;
    for (int64_t i = 0; i < n; i++)
        dst[i] = f32_of_bits((uint32_t)get_u16(p + 2 * i) << 16);
}

static void bf16_row_from_f32(void *dst, const float *src, int64_t n)
{
    uint8_t *p = dst;
    for (int64_t i = 0; i < n; i++)
        put_u16(p + 2 * i, f32_to_bf16(src[i]));
}

const struct dtype_info dtype_bf16 = {
    .name = "BF16",
    .block = 1,
    .block_bytes = 2,
    .to_f32 = bf16_row_to_f32,
    .from_f32 = bf16_row_from_f32,
};

static void i32_row_to_f32(float *dst, const void *src, int64_t n)
{
    const uint8_t *p = src;
    for (int64_t i = 0; i < n; i++)
        dst[i] = (float)(int32_t)get_u32(p + 4 * i);
}

/// Half to even; outside the range of I32 the nearest end of it, NaN the lowest.
static void i32_row_from_f32(void *dst, const float *src, int64_t n)
{
    uint8_t *p = dst;
    for (int64_t i = 0; i < n; i++) {
        double x = rint((double)src[i]);
        x = x > -2147483648.0 ? x : -2147483648.0;
        x = x < 2147483647.0 ? x : 2147483647.0;
        uint32_t v = (uint32_t)(int32_t)x;
        put_u16(p + 4 * i, v & 0xffff);
        put_u16(p + 4 * i + 2, v >> 16);
    }
}

const struct dtype_info dtype_i32 = {
    .name = "I32",
    .block = 1,
    .block_bytes = 4,
    .to_f32 = i32_row_to_f32,
    .from_f32 = i32_row_from_f32,
};
