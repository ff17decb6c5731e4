#!/usr/bin/env python3
"""bench/tok.c for llama.cpp: peer_tokens.py BIN VOCABULARY.gguf TEXT IDS

BIN is the folder of libllama.so that tools/build-peer.sh built. Writes the ids of the text as int32 to IDS and
prints JSON: bytes, tokens, and the processor seconds of one llama_tokenize() after another that is not counted.
"""
import ctypes as c, json, os, sys, time


class ModelParams(c.Structure):
    """llama_model_params of the version that tools/fetch.py pins (include/llama.h)."""
    _fields_ = [("devices", c.c_void_p), ("tensor_buft_overrides", c.c_void_p), ("n_gpu_layers", c.c_int32),
                ("split_mode", c.c_int), ("load_mode", c.c_int), ("lazy_mode", c.c_int), ("main_gpu", c.c_int32),
                ("tensor_split", c.c_void_p), ("progress_callback", c.c_void_p), ("progress_callback_data", c.c_void_p),
                ("kv_overrides", c.c_void_p), ("vocab_only", c.c_bool), ("check_tensors", c.c_bool),
                ("use_extra_bufts", c.c_bool), ("no_host", c.c_bool), ("no_alloc", c.c_bool), ("load_mtp", c.c_bool)]


LOG = c.CFUNCTYPE(None, c.c_int, c.c_char_p, c.c_void_p)
quiet = LOG(lambda level, text, data: None)


def open_vocab(folder, path):
    for name in ("libggml-base.so", "libggml-cpu.so", "libggml.so"):
        c.CDLL(os.path.join(folder, name), c.RTLD_GLOBAL)
    lib = c.CDLL(os.path.join(folder, "libllama.so"))
    lib.llama_model_default_params.restype = ModelParams
    lib.llama_model_load_from_file.restype = c.c_void_p
    lib.llama_model_load_from_file.argtypes = [c.c_char_p, ModelParams]
    lib.llama_model_get_vocab.restype = c.c_void_p
    lib.llama_model_get_vocab.argtypes = [c.c_void_p]
    lib.llama_tokenize.restype = c.c_int32
    lib.llama_tokenize.argtypes = [c.c_void_p, c.c_char_p, c.c_int32, c.c_void_p, c.c_int32, c.c_bool, c.c_bool]
    lib.llama_log_set(quiet, None)
    lib.llama_backend_init()
    params = lib.llama_model_default_params()
    params.vocab_only = True
    model = lib.llama_model_load_from_file(path.encode(), params)
    if not model:
        sys.exit(f"llama.cpp cannot open {path}")
    return lib, lib.llama_model_get_vocab(model)


def main():
    folder, path, text_path, ids_path = sys.argv[1:]
    lib, vocab = open_vocab(folder, path)
    with open(text_path, "rb") as f:
        text = f.read()
    ids = (c.c_int32 * (len(text) + 8))()
    for _ in range(2):
        start = time.process_time()
        n = lib.llama_tokenize(vocab, text, len(text), ids, len(ids), False, False)
        seconds = time.process_time() - start
    if n < 0:
        sys.exit(f"llama_tokenize gave {n}")
    with open(ids_path, "wb") as f:
        f.write(memoryview(ids).cast("B")[:4 * n])
    print(json.dumps({"bytes": len(text), "tokens": n, "seconds": {"1": seconds}}))


if __name__ == "__main__":
    main()
