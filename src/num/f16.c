// f16.c - half precision and bfloat16 to float and back, for any machine.

#include "num/num_int.h"

/// IEEE 754 binary16. Shifts exponent and mantissa into place and corrects the bias; a subnormal
/// becomes a float with one bit too many, which a subtraction takes off. NaNs become quiet, as
/// vcvtph2ps makes them.
float f16_to_f32(uint16_t h)
{
    const uint32_t exp_mask = 0x7c00u << 13;
    uint32_t x = (uint32_t)(h & 0x7fff) << 13;
    uint32_t exp = x & exp_mask;

    x += (127u - 15) << 23;
    if (exp == exp_mask) {
        x += (128u - 16) << 23;
        x |= (x & 0x7fffff) != 0 ? 0x400000 : 0;
    } else if (exp == 0) {
        x = f32_bits(f32_of_bits(x + (1u << 23)) - f32_of_bits(113u << 23));
    }
    return f32_of_bits(x | (uint32_t)(h & 0x8000) << 16);
}

uint16_t f32_to_f16(float f)
{
    uint32_t x = f32_bits(f);
    const uint32_t sign = x >> 16 & 0x8000;

    x &= 0x7fffffff;
    if (x > 0x7f800000) // NaN: quiet, top of the payload kept
        return (uint16_t)(sign | 0x7e00 | (x >> 13 & 0x3ff));
    if (x >= 0x47800000) // 2^16 and more
        return (uint16_t)(sign | 0x7c00);
    if (x < 0x38800000) { // below 2^-14: 0.5f has steps of 2^-24, the step of f16's subnormals
        uint32_t sum = f32_bits(f32_of_bits(x) + 0.5f);
        return (uint16_t)(sign | (sum - f32_bits(0.5f)));
    }
    x -= (127u - 15) << 23;
    x += 0xfff + (x >> 13 & 1); // what is past 65504 carries into the exponent: infinity
    return (uint16_t)(sign | x >> 13);
}

float bf16_to_f32(uint16_t h)
{
    return f32_of_bits((uint32_t)h << 16);
}

uint16_t f32_to_bf16(float f)
{
    uint32_t x = f32_bits(f);

    if ((x & 0x7fffffff) > 0x7f800000)
        return (uint16_t)(x >> 16 | 0x40);
    return (uint16_t)((x + 0x7fff + (x >> 16 & 1)) >> 16);
}
