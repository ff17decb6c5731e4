"""The plan of every published model beside a script that knows only the layout rules and the file's head.

Three sources must agree to the byte: the plan, tools/plan_bytes.py, and what is publicly known of the model's tensors.
"""
import json, subprocess, sys

import pytest
from conftest import ROOT, mkmodel, snug_json

ZOO = sorted((ROOT / "tests/data/zoo").glob("*.json"))


def plan_bytes(path, *args):
    p = subprocess.run([sys.executable, str(ROOT / "tools/plan_bytes.py"), "--json", *map(str, args), str(path)],
                       capture_output=True, text=True)
    assert p.returncode == 0, p.stderr
    return json.loads(p.stdout)


@pytest.fixture(scope="module")
def skeleton(tmp_path_factory):
    """Makes the file that a list describes, with a hole for weights; one at a time."""
    path = tmp_path_factory.mktemp("zoo") / "model.gguf"
    return lambda shape: mkmodel(path, "--shape", shape, "--holes")


def check(path, tensor_bytes, *flags):
    j, own = snug_json("plan", path, "--on", "sim:400000", *flags), plan_bytes(path, *flags)
    d = j["devices"][0]
    assert (d["bytes"]["weights"], d["bytes"]["kv"]) == (own["weights_bytes"], own["kv_bytes"]), flags
    assert j["host"]["mapped"] == own["host_bytes"]
    assert d["weights_padding_bytes"] == own["padding_bytes"]
    assert j["context"] == own["context"]
    assert own["tensor_bytes"] + own["unused_bytes"] == tensor_bytes  # what is left out has a name
    return own


@pytest.mark.parametrize("shape", ZOO, ids=lambda p: p.stem)
def test_plan_is_what_the_rules_say(skeleton, shape):
    doc = json.loads(shape.read_text())
    path = skeleton(shape)
    for ctx in (4096, 32768):
        for kv in ("f16", "q8_0"):
            own = check(path, doc["summary"]["tensor_bytes"], "--ctx", ctx, "--kv", kv)
    assert own["unused_bytes"] == 0  # of these files, every tensor is used
    check(path, doc["summary"]["tensor_bytes"], "--ctx", 1000, "--kv", "f32", "--micro-batch", 33, "--slots", 3)


@pytest.mark.parametrize("name", ["gemma3-4b", "gemma3-12b"])
def test_a_tower_left_out_is_named(skeleton, name):
    shape = ROOT / f"tests/data/zoo/{name}.json"
    own = check(skeleton(shape), json.loads(shape.read_text())["summary"]["tensor_bytes"], "--no-vision")
    assert set(own["unused"]) == {"v.*", "mm.*"}


ARCHS = ["llama", "mistral3", "granite", "gemma2", "gemma3", "qwen2", "qwen3", "qwen3moe", "olmo2", "phi3", "command-r",
         "cohere2", "gpt-oss", "deepseek2"]
SPECIAL = ["llama --rope-freqs", "llama --experts 4", "llama --head-dim 40", "command-r --qk-norm", "phi3 --rope-factors",
           "phi3 --type F16 --embd 72 --ffn 42", "phi3 --type F16 --embd 72 --heads 3 --kv-heads 1 --head-dim 10",
           "deepseek2 --old-mla", "deepseek2 --direct-q --tied", "gemma3 --vision"]
WINDOWS = [a + " --window 100 --layers 7" for a in ARCHS]


@pytest.mark.parametrize("what", ARCHS + [a + " --tied --head-dim 96" for a in ARCHS if a != "deepseek2"] + SPECIAL + WINDOWS)
def test_rules_hold_for_every_architecture(tmp_path, what):
    path = mkmodel(tmp_path / "m.gguf", "--type", "Q4_0", "--random", "--arch", *what.split())
    for micro_batch in (29, 30, 31):  # with a window of 100, 30 is the last that needs three pages
        own = plan_bytes(path, "--ctx", 2048)
        check(path, own["tensor_bytes"] + own["unused_bytes"], "--kv", "q8_0", "--ctx", 777, "--micro-batch", micro_batch,
              "--slots", 2)


@pytest.mark.parametrize("shape", ZOO, ids=lambda p: p.stem)
def test_weights_are_the_buffers_that_llama_cpp_prints(skeleton, shape):
    """A full offload without row padding, in MiB of two decimals; a tied table is on its device only, there on the host too."""
    doc = json.loads(shape.read_text())
    j, s = snug_json("plan", skeleton(shape), "--on", "sim:400000"), doc["summary"]
    device = j["devices"][0]["bytes"]["weights"] - j["devices"][0]["weights_padding_bytes"]
    assert device / 2**20 == pytest.approx(s["full_offload_plain_mib"], abs=0.006)
    if not doc["tied_embeddings"]:
        assert j["host"]["mapped"] / 2**20 == pytest.approx(s["full_offload_host_mib"], abs=0.006)
