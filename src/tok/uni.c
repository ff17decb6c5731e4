// uni.c - reading and repairing UTF-8.

#include "tok/uni.h"

#include <string.h>

uint32_t utf8_put(uint8_t *out, uint32_t c)
{
    if (c < 0x80) {
        out[0] = (uint8_t)c;
        return 1;
    }
    if (c < 0x800) {
        out[0] = (uint8_t)(0xc0 | c >> 6);
        out[1] = (uint8_t)(0x80 | (c & 0x3f));
        return 2;
    }
    if (c < 0x10000) {
        out[0] = (uint8_t)(0xe0 | c >> 12);
        out[1] = (uint8_t)(0x80 | (c >> 6 & 0x3f));
        out[2] = (uint8_t)(0x80 | (c & 0x3f));
        return 3;
    }
    out[0] = (uint8_t)(0xf0 | c >> 18);
    out[1] = (uint8_t)(0x80 | (c >> 12 & 0x3f));
    out[2] = (uint8_t)(0x80 | (c >> 6 & 0x3f));
    out[3] = (uint8_t)(0x80 | (c & 0x3f));
    return 4;
}

/// A lead byte with its continuation bytes, in whatever length: the character's bytes, or 0.
static uint32_t get_any(const uint8_t *p, size_t n, uint32_t *c)
{
    uint32_t len;

    if (p[0] >= 0x80 && (p[0] < 0xc0 || p[0] >= 0xf8))
        return 0;
    len = utf8_len(p[0]);
    if (len > n)
        return 0;
    for (uint32_t i = 1; i < len; i++)
        if ((p[i] & 0xc0) != 0x80)
            return 0;
    *c = utf8_get(p, &len);
    return *c < 0x110000 ? len : 0;
}

/// The fewest bytes that hold c.
static uint32_t shortest(uint32_t c)
{
    return c < 0x80 ? 1 : c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
}

size_t utf8_good(const uint8_t *p, size_t n)
{
    size_t at = 0;

    while (at < n) {
        uint64_t eight;
        uint32_t c, len;

        if (n - at >= 8) {
            memcpy(&eight, p + at, 8);
            if ((eight & 0x8080808080808080u) == 0) {
                at += 8;
                continue;
            }
        }
        len = get_any(p + at, n - at, &c);
        if (len == 0 || len != shortest(c))
            break;
        at += len;
    }
    return at;
}

size_t utf8_repair(uint8_t *out, const uint8_t *p, size_t n)
{
    uint8_t *o = out;

    for (size_t at = 0; at < n;) {
        uint32_t c = 0xfffd;
        uint32_t len = get_any(p + at, n - at, &c);

        o += utf8_put(o, len ? c : 0xfffd);
        at += len ? len : 1;
    }
    return (size_t)(o - out);
}

enum utf8_step utf8_step(const uint8_t *held, int n, uint8_t b)
{
    // The second byte's range follows from the first (Unicode 15, table 3-7).
    uint8_t lo = 0x80, hi = 0xbf;

    if (n == 0)
        return b < 0x80 ? UTF8_WHOLE : b >= 0xc2 && b <= 0xf4 ? UTF8_MORE : UTF8_BAD;
    if (n == 1) {
        lo = held[0] == 0xe0 ? 0xa0 : held[0] == 0xf0 ? 0x90 : 0x80;
        hi = held[0] == 0xed ? 0x9f : held[0] == 0xf4 ? 0x8f : 0xbf;
    }
    if (b < lo || b > hi)
        return UTF8_BAD;
    return (uint32_t)n + 1 == utf8_len(held[0]) ? UTF8_WHOLE : UTF8_MORE;
}
