// json.c - a string as JSON, whatever its bytes are.

#include "base/base.h"

/// Length of the UTF-8 character at p, or 0 if it is none (overlong, surrogate, cut, too large).
static size_t utf8_len(const unsigned char *p, size_t n)
{
    if (p[0] < 0x80)
        return 1;
    size_t len = p[0] >= 0xF0 ? 4 : p[0] >= 0xE0 ? 3 : 2;
    if (p[0] < 0xC2 || p[0] > 0xF4 || n < len)
        return 0;
    for (size_t i = 1; i < len; i++)
        if ((p[i] & 0xC0) != 0x80)
            return 0;
    if ((p[0] == 0xE0 && p[1] < 0xA0) || (p[0] == 0xED && p[1] > 0x9F) ||
        (p[0] == 0xF0 && p[1] < 0x90) || (p[0] == 0xF4 && p[1] > 0x8F))
        return 0;
    return len;
}

bool buf_json_text(struct buf *b, const char *p, size_t n)
{
    if (!buf_addz(b, "\""))
        return false;
    for (size_t i = 0; i < n;) {
        unsigned char c = (unsigned char)p[i];
        size_t len = utf8_len((const unsigned char *)p + i, n - i);
        bool ok;
        if (c == '"' || c == '\\')
            ok = buf_printf(b, "\\%c", c);
        else if (c == '\n')
            ok = buf_addz(b, "\\n");
        else if (c < 0x20 || c == 0x7f)
            ok = buf_printf(b, "\\u%04x", c);
        else if (len == 0)
            ok = buf_addz(b, "\uFFFD");
        else
            ok = buf_add(b, p + i, len);
        if (!ok)
            return false;
        i += len ? len : 1;
    }
    return buf_addz(b, "\"");
}
