#!/usr/bin/env python3
"""Reference logits of the families' tiny models, by llama.cpp: what tests/model/test_families.c compares with.

    tools/make-reference.py [--tools build/tools] [NAME...]

tests/data/families/table.json lists the models as arguments of tools/mkmodel; tokens.txt has the
prompt, of which a model takes the first `tokens`. Written beside them:

    NAME.f32         float32, little endian, [24][96]: logits of the last tokens
    NAME-SEED.f32    quantized models: logits of 50 tokens, of the same weights as float32
    peer.json        quantized models: KL of llama.cpp's own logits with the quantized file from these,
                     the mean over tokens and seeds

Needs the Python packages llama-cpp-python (any with llama_model_quantize) and numpy. Tests do not.
"""
import argparse, ctypes, json, os, pathlib, random, subprocess, sys, tempfile

os.environ.setdefault("OMP_NUM_THREADS", "1")
import numpy as np
import llama_cpp as L

DATA = pathlib.Path(__file__).resolve().parents[1] / "tests/data/families"
VOCAB, ROWS, TOKENS, TOKENS_QUANTIZED, SEEDS, PROMPT = 96, 24, 40, 50, 4, 128


def prompt():
    r = random.Random(4)
    ids = [r.randrange(VOCAB) for _ in range(PROMPT)]
    (DATA / "tokens.txt").write_text("\n".join(" ".join(map(str, ids[i:i + 16])) for i in range(0, PROMPT, 16)) + "\n")
    return ids


def logits(path, ids):
    """[len(ids)][VOCAB]: no flash attention, float32 cache, one thread."""
    model = L.llama_model_load_from_file(str(path).encode(), L.llama_model_default_params())
    if not model:
        sys.exit(f"{path}: llama.cpp does not load it")
    p = L.llama_context_default_params()
    p.n_ctx = len(ids) + 1
    p.n_batch = p.n_ubatch = len(ids)
    p.n_threads = p.n_threads_batch = 1
    p.flash_attn_type = p.type_k = p.type_v = 0
    p.swa_full = True
    ctx = L.llama_init_from_model(model, p)
    batch = L.llama_batch_init(len(ids), 0, 1)
    batch.n_tokens = len(ids)
    for i, t in enumerate(ids):
        batch.token[i], batch.pos[i], batch.n_seq_id[i], batch.seq_id[i][0], batch.logits[i] = t, i, 1, 0, 1
    if L.llama_decode(ctx, batch) != 0:
        sys.exit(f"{path}: llama.cpp does not evaluate it")
    out = np.stack([np.ctypeslib.as_array(L.llama_get_logits_ith(ctx, i), shape=(VOCAB,)) for i in range(len(ids))])
    L.llama_batch_free(batch)
    L.llama_free(ctx)
    L.llama_model_free(model)
    return out.copy()


def to_float(path, out):
    p = L.llama_model_quantize_default_params()
    p.ftype, p.allow_requantize, p.nthread = 0, True, 1  # LLAMA_FTYPE_ALL_F32
    if L.llama_model_quantize(str(path).encode(), str(out).encode(), ctypes.byref(p)) != 0:
        sys.exit(f"{path}: llama.cpp does not make it float32")


def kl_mean(ref, got):
    def log_p(x):
        x = x.astype(np.float64)
        x -= x.max(-1, keepdims=True)
        return x - np.log(np.exp(x).sum(-1, keepdims=True))
    a, b = log_p(ref), log_p(got)
    return float((np.exp(a) * (a - b)).sum(-1).mean())


def main():
    a = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    a.add_argument("names", nargs="*")
    a.add_argument("--tools", default="build/tools")
    a = a.parse_args()
    quiet = L.llama_log_callback(lambda level, text, _: level == 4 and sys.stderr.write(text.decode(errors="replace")))
    L.llama_log_set(quiet, ctypes.c_void_p(0))
    L.llama_backend_init()

    table, ids = json.loads((DATA / "table.json").read_text()), prompt()
    peer_path = DATA / "peer.json"
    peer = json.loads(peer_path.read_text()) if peer_path.exists() else {}
    with tempfile.TemporaryDirectory() as d:
        made, exact = pathlib.Path(d) / "made.gguf", pathlib.Path(d) / "exact.gguf"

        def make(m, seed):
            subprocess.run([f"{a.tools}/mkmodel", *m["args"].split(), "--tok", "none", "--vocab", str(VOCAB),
                            "--seed", str(seed), made], check=True)

        for m in table["models"]:
            if not a.names or m["name"] in a.names:
                make(m, 1)
                logits(made, ids[:m.get("tokens", TOKENS)])[-ROWS:].astype("<f4").tofile(DATA / f"{m['name']}.f32")
                print(m["name"])
        for m in table["quantized"]:
            if a.names and m["name"] not in a.names:
                continue
            kl = []
            for seed in range(1, m.get("seeds", SEEDS) + 1):
                make(m, seed)
                to_float(made, exact)
                ref = logits(exact, ids[:TOKENS_QUANTIZED])
                ref.astype("<f4").tofile(DATA / f"{m['name']}-{seed}.f32")
                kl.append(kl_mean(ref, logits(made, ids[:TOKENS_QUANTIZED])))
            peer[m["name"]] = sum(kl) / len(kl)
            print(m["name"], "llama.cpp's KL %.3e" % peer[m["name"]])
    peer_path.write_text(json.dumps(peer, indent=0, sort_keys=True) + "\n")


main()
