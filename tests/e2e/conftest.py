"""End-to-end tests: the program as a user runs it, on tiny models that tools/mkmodel writes.

SNUG (default build/snug) is the program, SNUG_TOOLS (default build/tools) holds mkmodel.
"""
import json, os, pathlib, subprocess
import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
SNUG = os.environ.get("SNUG", str(ROOT / "build/snug"))
MKMODEL = os.path.join(os.environ.get("SNUG_TOOLS", str(ROOT / "build/tools")), "mkmodel")
os.environ.setdefault("SNUG_PROBE", "off")  # predicted times do not depend on what was measured here
CACHE = pathlib.Path(os.environ.get("SNUG_CACHE", os.path.expanduser("~/.cache/snug")))


def snug(*args, stdin="", timeout=120, env=None, raw=False):
    """Runs snug; returns the completed process, its output as text (bytes where raw)."""
    data = stdin if isinstance(stdin, bytes) else stdin.encode()
    p = subprocess.run([SNUG, *map(str, args)], input=data, capture_output=True, timeout=timeout,
                       env={**os.environ, **(env or {})})
    if not raw:
        p.stdout, p.stderr = p.stdout.decode("utf-8", "replace"), p.stderr.decode("utf-8", "replace")
    return p


def snug_json(*args, **kw):
    p = snug(*args, "--json", **kw)
    assert p.returncode == 0, p.stderr + p.stdout
    return json.loads(p.stdout)


def mkmodel(path, *args):
    subprocess.run([MKMODEL, *map(str, args), str(path)], check=True, capture_output=True)
    return path


@pytest.fixture(scope="session")
def models(tmp_path_factory):
    """name -> path: llama with a byte-level vocabulary, gemma3 with a sentencepiece one."""
    d = tmp_path_factory.mktemp("models")
    return {
        "llama": mkmodel(d / "llama.gguf", "--arch", "llama", "--type", "Q4_0", "--tok", "bpe", "--seed", 1),
        "gemma3": mkmodel(d / "gemma3.gguf", "--arch", "gemma3", "--type", "Q8_0", "--tok", "spm", "--seed", 2),
    }


@pytest.fixture(scope="session")
def smollm2():
    p = CACHE / "models/SmolLM2-135M-Instruct.Q4_1.gguf"
    if not p.exists():
        pytest.skip("SmolLM2 is not in the cache: ./dev fetch")
    return p
