#!/usr/bin/env python3
"""Writes src/tok/uni_table.c: the class of every code point, as the pre-tokenizers ask for it.

    tools/gen_unicode.py > src/tok/uni_table.c

The Unicode version is that of the Python that runs it; it is named in the file's first line.
"""
import unicodedata

BLOCK = 256
# As enum uni_cat in uni.h: the letter's low five bits are the value.
LETTER = {"Lu": "a", "Ll": "b", "Lt": "c", "Lm": "d", "Lo": "e", "M": "f", "N": "g", "P": "h", "S": "i"}
SPACE, OTHER = "j", "k"
CONTROL_SPACES = {9, 10, 11, 12, 13, 0x85}  # White_Space beside the separators


def letter(c):
    cat = unicodedata.category(chr(c))
    if c in CONTROL_SPACES or cat[0] == "Z":
        return SPACE
    return LETTER.get(cat) or LETTER.get(cat[0]) or OTHER


def main():
    blocks, index = [], []
    for at in range(0, 0x110000, BLOCK):
        b = "".join(letter(c) for c in range(at, at + BLOCK))
        if b not in blocks:
            blocks.append(b)
        index.append(blocks.index(b))
    assert len(blocks) <= 256
    print(f"// uni_table.c - made by tools/gen_unicode.py from Unicode {unicodedata.unidata_version}; not written by hand.")
    print('\n#include "tok/uni.h"\n\n// clang-format off')
    print(f"const uint8_t uni_index[{len(index)}] = {{")
    for i in range(0, len(index), 24):
        print("    " + ",".join(str(x) for x in index[i : i + 24]) + ",")
    print(f"}};\n\nconst char uni_block[{len(blocks)}][{BLOCK}] = {{")
    for b in blocks:
        for i in range(0, BLOCK, 64):
            print(f'    "{b[i:i+64]}"' + ("," if i + 64 == BLOCK else ""))
    print("};\n// clang-format on")


main()
