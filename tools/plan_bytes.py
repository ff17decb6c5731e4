#!/usr/bin/env python3
"""Weights and KV bytes that a plan must have on one device with memory of its own, from a file's head.

    plan_bytes.py [--ctx N] [--kv f16|q8_0|f32] [--micro-batch N] [--slots N] [--no-vision] [--json] MODEL.gguf

Written from the rules below alone, so that `snug plan --json --on sim:MIB` has something to be compared with
(tests/e2e/test_plan_bytes.py): it shares no code with the engine and knows no graph. Python's own library, only the head
of the file is read.

Rules (docs/plan.md says why they are so)

 1  Slots. What is on a device lies in slots that begin at multiples of 64: each takes its bytes, rounded up.
 2  Weights are stored as in the file. A tensor is a slot, even where it is used twice (an embedding that is the output
    matrix, too). A matrix of which several are made is a slot for each: `attn_qkv.weight` without a bias (queries, keys,
    values), and `ffn_up.weight` of phi3 (gate, up).
 3  Unused are, and so on no device:
      gemma3, mistral3    `v.*`, `mm.*`; but with gemma3's keys `vision.*` the tower is a part of the model (not with
                          --no-vision)
      deepseek2           `attn_k_b`, `attn_v_b` of a block that has `attn_kv_b`
      llama               `blk.N.attn_rot_embd`
 4  KV comes in pages of 64 tokens; the context is rounded up to whole ones. A layer has its pages for each slot
    (sequence), keys and values each. A layer with a window needs those that `window - 1 + micro-batch` tokens in a row
    can touch, 1 + ceil((window + micro-batch - 2) / 64), if these are fewer; the micro-batch is at most the context.
 5  Windows: `attention.sliding_window`, in the layers that `attention.sliding_window_pattern` flags, or in all but every
    n-th, where n is that key's number, else: gemma2 2, gpt-oss and gptoss 2, cohere2 4, olmo2 4, gemma3 6. phi3 has it in
    all layers, unless it is no shorter than the trained context. gemma2 has 4096 without a key. Other architectures: none.
 6  A page of one key head holds head_dim numbers a token: `attention.key_length`, of values `attention.value_length`, else
    the embedding's length divided by the heads of the first layer.
      f32  4 bytes a number     f16  2 bytes
      q8_0 1 byte, and 2 bytes a token for every 32 numbers of a head, begun ones too
 7  Latent attention (deepseek2): one key head of kv_lora_rank + rope.dimension_count numbers, and no values: they are the
    keys' first numbers.
"""
import argparse, fnmatch, json, struct, sys

PAGE, SLOT = 64, 64
# number format: (name, numbers in a block, bytes of a block), by its number in files
TYPES = {0: ("F32", 1, 4), 1: ("F16", 1, 2), 2: ("Q4_0", 32, 18), 3: ("Q4_1", 32, 20), 4: ("MXFP4 of gptoss", 32, 17),
         6: ("Q5_0", 32, 22), 7: ("Q5_1", 32, 24), 8: ("Q8_0", 32, 34), 10: ("Q2_K", 256, 84), 11: ("Q3_K", 256, 110),
         12: ("Q4_K", 256, 144), 13: ("Q5_K", 256, 176), 14: ("Q6_K", 256, 210), 20: ("IQ4_NL", 32, 18),
         23: ("IQ4_XS", 256, 136), 30: ("BF16", 1, 2), 39: ("MXFP4", 32, 17)}
KINDS = "BbHhIif?__Qqd"  # of keys' values: 8 is text, 9 an array
ARCHS = {"llama", "mistral", "mistral3", "granite", "gemma2", "gemma3", "qwen2", "qwen3", "qwen3moe", "olmo2", "phi3",
         "command-r", "cohere2", "gpt-oss", "gptoss", "deepseek2"}
EVERY = {"gemma2": 2, "gpt-oss": 2, "gptoss": 2, "cohere2": 4, "olmo2": 4, "gemma3": 6, "phi3": 1 << 30}


# --- the head ---------------------------------------------------------------------------------------

class Head:
    """Keys and directory: .keys {name: value}, .tensors [(name, shape, type)]. Long arrays are kept as their length."""

    def __init__(self, path):
        with open(path, "rb") as self.f:
            magic, version, n_tensors, n_keys = self.take("<4sIQQ")
            if magic != b"GGUF" or version not in (2, 3):
                sys.exit(f"{path}: not a GGUF file of version 2 or 3")
            self.keys = {}
            for _ in range(n_keys):
                name = self.text()
                self.keys[name] = self.value(self.take("<I")[0])
            self.tensors = []
            for _ in range(n_tensors):
                name, n = self.text(), self.take("<I")[0]
                shape = self.take(f"<{n}Q")
                self.tensors.append((name, shape, self.take("<IQ")[0]))

    def take(self, fmt):
        return struct.unpack(fmt, self.f.read(struct.calcsize(fmt)))

    def text(self):
        return self.f.read(self.take("<Q")[0]).decode("utf-8", "replace")

    def value(self, kind):
        if kind == 8:
            return self.text()
        if kind == 9:
            kind, n = self.take("<IQ")
            if kind == 8:
                for _ in range(n):
                    self.f.seek(self.take("<Q")[0], 1)
                return n
            return list(self.take(f"<{n}{KINDS[kind]}"))
        return self.take("<" + KINDS[kind])[0]


def padded(n):
    return (n + SLOT - 1) // SLOT * SLOT


def size(shape, kind):
    _, block, block_bytes = TYPES[kind]
    numbers = 1
    for n in shape:
        numbers *= n
    return numbers // block * block_bytes


# --- the model --------------------------------------------------------------------------------------

class Model:
    def __init__(self, head, vision):
        self.head, self.arch = head, head.keys["general.architecture"]
        if self.arch not in ARCHS:
            sys.exit(f"architecture {self.arch!r}: its rules are not known here")
        self.n_layers = self.key("block_count")
        self.names = {t[0] for t in head.tensors}
        self.vision = vision and self.arch == "gemma3" and self.key("vision.block_count", 0) > 0 and any(
            n.startswith("v.") for n in self.names)

    def key(self, name, *default):
        full = f"{self.arch}.{name}"
        return self.head.keys.get(full, *default) if default else self.head.keys[full]

    def of_layer(self, name, il, *default):
        v = self.key(name, *default)
        return v[il] if isinstance(v, list) else v

    # weights: rules 1 to 3

    def unused(self, name):
        patterns = []
        if self.arch in ("gemma3", "mistral3") and not self.vision:
            patterns = ["v.*", "mm.*"]
        elif self.arch == "llama":
            patterns = ["blk.*.attn_rot_embd"]
        elif self.arch == "deepseek2" and name.startswith("blk."):
            block = ".".join(name.split(".")[:2])
            if block + ".attn_kv_b.weight" in self.names:
                patterns = ["blk.*.attn_k_b.*", "blk.*.attn_v_b.*"]
        return next((p for p in patterns if fnmatch.fnmatchcase(name, p)), None)

    def heads(self, il):
        """Heads, key heads, numbers of a key, of a value."""
        n = self.of_layer("attention.head_count", il)
        even = self.key("embedding_length") // self.of_layer("attention.head_count", 0)
        return (n, self.of_layer("attention.head_count_kv", il, n), self.key("attention.key_length", even),
                self.key("attention.value_length", even))

    def pieces(self, name, shape):
        """How many rows each of the slots has that are made of a tensor."""
        rows = 1
        for n in shape[1:]:
            rows *= n
        if name.endswith(".attn_qkv.weight") and name[:-6] + "bias" not in self.names:
            n, n_kv, k, v = self.heads(int(name.split(".")[1]))
            return [n * k, n_kv * k, n_kv * v]
        if self.arch == "phi3" and name.endswith(".ffn_up.weight"):
            return [rows // 2, rows // 2]
        return [rows]

    def weights(self):
        out = {"tensor_bytes": 0, "padding_bytes": 0, "weights_bytes": 0, "host_bytes": 0, "unused_bytes": 0, "unused": {}}
        for name, shape, kind in self.head.tensors:
            slots = [rows * size(shape[:1], kind) for rows in self.pieces(name, shape)]
            pattern = self.unused(name)
            if pattern:
                out["unused_bytes"] += sum(slots)
                n, was = out["unused"].get(pattern, (0, 0))
                out["unused"][pattern] = (n + 1, was + sum(slots))
                continue
            out["tensor_bytes"] += sum(slots)
            if name == "token_embd.weight" and "output.weight" in self.names:
                out["host_bytes"] += sum(slots)
                continue
            out["weights_bytes"] += sum(map(padded, slots))
        out["padding_bytes"] = out["weights_bytes"] + out["host_bytes"] - out["tensor_bytes"]
        return out

    # KV: rules 4 to 7

    def window(self, il):
        if self.arch not in EVERY:
            return 0
        window = self.key("attention.sliding_window", 4096 if self.arch == "gemma2" else 0)
        if self.arch == "phi3" and window >= self.key("context_length"):
            return 0
        pattern = self.key("attention.sliding_window_pattern", EVERY[self.arch])
        flagged = pattern[il] if isinstance(pattern, list) else (il + 1) % pattern != 0
        return window if flagged else 0

    def stored(self, il):
        """(key heads, numbers a token in each) of what a layer keeps: keys, values."""
        _, n_kv, k, v = self.heads(il)
        if self.arch == "deepseek2":
            return [(1, self.key("attention.kv_lora_rank") + self.key("rope.dimension_count", k))]
        return [(n_kv, k), (n_kv, v)]

    def kv(self, ctx, kind, micro_batch, slots):
        pages = (ctx + PAGE - 1) // PAGE
        micro_batch = min(micro_batch, ctx)
        groups, total = {}, 0
        for il in range(self.n_layers):
            window = self.window(il)
            need = min(pages, 1 + (window + micro_batch - 2 + PAGE - 1) // PAGE) if window else pages
            page = sum(n * page_bytes(numbers, kind) for n, numbers in self.stored(il))
            n, _ = groups.get((window, need, page), (0, 0))
            groups[window, need, page] = n + 1, (n + 1) * slots * need * page
            total += padded(slots * need * page)
        return {"context": pages * PAGE, "kv_bytes": total,
                "layers": [{"window": w, "pages": need * slots, "page_bytes": page, "layers": n, "bytes": b}
                           for (w, need, page), (n, b) in sorted(groups.items())]}


def page_bytes(numbers, kind):
    if kind == "q8_0":
        return PAGE * (numbers + 2 * ((numbers + 31) // 32))
    return PAGE * numbers * {"f16": 2, "f32": 4}[kind]


def main():
    a = argparse.ArgumentParser(description="weights and KV bytes of a plan, from a file's head")
    a.add_argument("model")
    a.add_argument("--ctx", type=int, default=4096)
    a.add_argument("--kv", choices=["f16", "q8_0", "f32"], default="f16")
    a.add_argument("--micro-batch", type=int, default=512)
    a.add_argument("--slots", type=int, default=1)
    a.add_argument("--no-vision", action="store_true")
    a.add_argument("--json", action="store_true")
    a = a.parse_args()
    model = Model(Head(a.model), not a.no_vision)
    w, kv = model.weights(), model.kv(a.ctx, a.kv, a.micro_batch, a.slots)
    if a.json:
        return print(json.dumps({**w, **kv}))
    print(f"weights {w['weights_bytes']}: tensors {w['tensor_bytes'] - w['host_bytes']}, padding {w['padding_bytes']}")
    print(f"host {w['host_bytes']}: the embedding table in the file's mapping")
    for pattern, (n, size_) in w["unused"].items():
        print(f"  unused {pattern}: {n} tensors, {size_}")
    print(f"kv {kv['kv_bytes']}: context {kv['context']}, {a.kv}, micro-batch {a.micro_batch}, slots {a.slots}")
    for g in kv["layers"]:
        print(f"  {g['layers']} layers of {g['pages']} pages of {g['page_bytes']}: {g['bytes']}" +
              (f" (window {g['window']})" if g["window"] else ""))


if __name__ == "__main__":
    main()
