"""Heads that lie, through `snug plan`: one line that names the file and the place, little memory, no crash.

The catalogue's rows are tests of src/gguf and src/model; these are the ones that could cost memory or time."""
import os, struct, subprocess, sys

import pytest
from conftest import SNUG, mkmodel

MEMORY = 64 << 20
CHILD = """import os, resource, subprocess, sys
p = subprocess.run(sys.argv[1:], capture_output=True, text=True, timeout=20)
print(p.returncode, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
sys.stderr.write(p.stderr)"""


def head(n_tensors=0, n_keys=0, body=b"", version=3):
    return b"GGUF" + struct.pack("<IQQ", version, n_tensors, n_keys) + body


def text(s, n=None):
    return struct.pack("<Q", len(s) if n is None else n) + s


def key(name, kind, value):
    return text(name) + struct.pack("<I", kind) + value


ARRAY, STRING, U32, U64 = 9, 8, 4, 10
LLAMA = key(b"general.architecture", STRING, text(b"llama"))
BIG = (1 << 64) - 1
HEADS = {
    "tensors without end": head(BIG, 1, LLAMA),
    "many tensors": head(1 << 40, 1, LLAMA),
    "keys without end": head(0, BIG, LLAMA),
    "many keys": head(0, 1 << 33, LLAMA * 100),
    "a name without end": head(0, 1, text(b"abc", BIG)),
    "a name of a GiB": head(0, 1, text(b"abc", 1 << 30)),
    "a string without end": head(0, 1, text(b"general.name") + struct.pack("<I", STRING) + text(b"x", BIG - 7)),
    "an array without end": head(0, 2, LLAMA + key(b"a", ARRAY, struct.pack("<IQ", U32, BIG))),
    "an array of 2^61 numbers": head(0, 2, LLAMA + key(b"a", ARRAY, struct.pack("<IQ", U64, 1 << 61))),
    "an array of a billion strings": head(0, 2, LLAMA + key(b"a", ARRAY, struct.pack("<IQ", STRING, 10**9))),
    "arrays in arrays": head(0, 2, LLAMA + key(b"a", ARRAY, struct.pack("<IQ", ARRAY, 1 << 40) * 1000)),
    "a type that is none": head(0, 1, text(b"a") + struct.pack("<I", 77)),
    "dimensions that overflow": head(1, 1, LLAMA + text(b"token_embd.weight") + struct.pack("<IQQQQIQ", 4, *[1 << 32] * 4, 0, 0)),
    "a dimension of 0": head(1, 1, LLAMA + text(b"token_embd.weight") + struct.pack("<IQQIQ", 2, 0, 5, 0, 0)),
    "five dimensions": head(1, 1, LLAMA + text(b"t") + struct.pack("<I", 5) + bytes(60)),
    "an offset behind everything": head(1, 1, LLAMA + text(b"t") + struct.pack("<IQIQ", 1, 32, 0, BIG - 31)),
    "blocks without end": head(0, 2, LLAMA + key(b"llama.block_count", U32, struct.pack("<I", 2**32 - 1))),
    "nothing but magic": b"GGUF",
    "another version": head(version=1 << 24),
    "an empty file": b"",
}


@pytest.mark.parametrize("what", HEADS)
def test_a_head_that_lies_is_refused_in_little_memory(tmp_path, what):
    path = tmp_path / "lies.gguf"
    path.write_bytes(HEADS[what])
    p = subprocess.run([sys.executable, "-c", CHILD, SNUG, "plan", path, "--on", "k80x2"], capture_output=True, text=True)
    code, memory_kib = map(int, p.stdout.split())
    assert code == 1 and len(p.stderr.splitlines()) == 1 and "lies.gguf" in p.stderr, p.stderr
    if "asan" not in SNUG:
        assert memory_kib << 10 <= MEMORY


@pytest.mark.parametrize("name,value", [("llama.block_count", 2**31 - 1), ("llama.attention.head_count", 0),
                                        ("llama.embedding_length", 2**32 - 1), ("llama.feed_forward_length", 2**31),
                                        ("llama.attention.head_count_kv", 7)])
def test_a_key_that_lies_is_named(tmp_path, name, value):
    path = mkmodel(tmp_path / "lies.gguf", "--arch", "llama")
    data = bytearray(path.read_bytes())
    at = data.index(name.encode() + struct.pack("<I", U32)) + len(name) + 4
    data[at:at + 4] = struct.pack("<I", value)
    path.write_bytes(data)
    p = subprocess.run([SNUG, "plan", path, "--on", "k80x2"], capture_output=True, text=True, timeout=20)
    assert p.returncode == 1 and len(p.stderr.splitlines()) == 1 and "lies.gguf" in p.stderr, p.stderr
    assert name.split(".")[-1] in p.stderr or "blk.0." in p.stderr or "token_embd" in p.stderr, p.stderr  # or the tensor that does not agree
