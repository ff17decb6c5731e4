"""A plan as JSON: what is in it, `snug verify`, and --plan, which executes exactly that plan or refuses."""
import json, re

import pytest
from conftest import ROOT, mkmodel, snug, snug_json

LINES = "weights kv state scratch staging handover graphs rounding driver reserve".split()
NAMES = "context slots micro_batch kv_type".split()
# devices that a model does not fit one of
SPLIT = {name: ["--on", ",".join([size] * 3), "--micro-batch", 16] for name, size in [("llama", "sim:1"), ("gemma3", "sim:2")]}
# what may differ between two runs: time it took, bytes that others left free
PASSING = {"plan_ms", "digest"}


@pytest.fixture
def plan_of(tmp_path, models):
    """Writes a whole plan of a model; returns the path."""
    def write(name, *flags):
        p = snug("plan", models[name], "--json", "--full", *flags)
        assert p.returncode == 0, p.stdout + p.stderr
        path = tmp_path / "plan.json"
        path.write_text(p.stdout)
        return path
    return write


def without_time(j):
    j = {k: v for k, v in j.items() if k not in PASSING}
    for d in [*j["devices"], j["host"].get("device", {})]:
        d.pop("free_bytes", None)
    return j


# --- the JSON -----------------------------------------------------------------------------------------

@pytest.mark.parametrize("on", ["cpu", "sim:64", "sim:64,sim:64", "sim:2,sim:2,sim:2"])
def test_every_field_is_there_and_sums(models, on):
    j = snug_json("plan", models["gemma3"], "--on", on, "--ctx", 300, "--micro-batch", 16)
    for key in ["fits", "goal", "fingerprint", "devices_used", "max_context", "predicted_tps", "suggestions", "plan_ms", *NAMES]:
        assert key in j, key
    assert j["fits"] is True and j["context"] == 320
    assert len(j["devices"]) == on.count(",") + 1  # the host stands under "host"
    assert j["minimal"]["devices"] == j["devices_used"] >= 1 and isinstance(j["minimal"]["proof"], list)
    assert {"capacity_bytes", "mapped", "pinned", "heap", "parts"} <= set(j["host"])
    for d in j["devices"]:
        assert set(LINES) <= set(d["bytes"]) and all(isinstance(n, int) for n in d["bytes"].values())
        assert d["planned_bytes"] == sum(d["bytes"].values()) <= d["free_bytes"]
        assert {"name", "capacity_bytes", "granule_bytes", "blocks", "parts", "ms_per_token"} <= set(d)
        if not d["parts"]:
            assert d["planned_bytes"] == 0 and d["blocks"] is None
    parts = [p for d in j["devices"] for p in d["parts"]]
    assert len(parts) == len(set(parts)) and "head" in parts + j["host"]["parts"]


def test_driver_and_reserve_are_lines(models):
    j = snug_json("plan", models["llama"], "--on", "k80x2", "--ctx", 256, "--reserve", 7)
    used, unused = j["devices"]
    assert used["bytes"]["reserve"] == 7 << 20 and used["bytes"]["driver"] > 60 << 20
    assert sum(unused["bytes"].values()) == 0 and unused["name"] == "k80 #1"


def test_slots_lie_in_arenas_and_apart(plan_of):
    j = json.loads(plan_of("llama", "--on", "sim:1,sim:1", "--ctx", 256).read_text())
    size = {(a["device"], a["arena"]): a["bytes"] for a in j["arenas"]}
    slots = [t for t in j["tensors"] if t["arena"] != "mapped"]
    for t in slots:
        assert t["offset"] + t["bytes"] <= size[t["device"], t["arena"]]
    for i, a in enumerate(slots):
        for b in slots[:i]:
            together = a["first_step"] <= b["last_step"] and b["first_step"] <= a["last_step"]
            overlap = a["offset"] < b["offset"] + b["bytes"] and b["offset"] < a["offset"] + a["bytes"]
            if together and overlap and (a["device"], a["arena"]) == (b["device"], b["arena"]):
                assert j["tensors"][a["alias"]] is b  # one takes over the other's slot


# --- verify -------------------------------------------------------------------------------------------

@pytest.mark.parametrize("name", ["llama", "gemma3"])
@pytest.mark.parametrize("flags", [["--on", "cpu"], ["--on", "sim:64"], None, ["--on", "sim:2,cpu"],
                                   ["--on", "k80x2"], ["--kv", "q8_0", "--slots", 3, "--on", "sim:64"], ["--exact"]])
def test_plans_are_verified(plan_of, models, name, flags):
    path = plan_of(name, "--ctx", 256, *(flags or SPLIT[name]))
    p = snug("verify", path, models[name])
    assert p.returncode == 0, p.stdout + p.stderr
    assert p.stdout.count("verified: ") >= 7 and "wrong" not in p.stdout
    j = snug_json("verify", path, models[name])
    assert j["verified"] is True and j["wrong"] == 0 and len(j["lines"]) == j["checks"] + j["open"]


@pytest.mark.parametrize("change, says", [
    (lambda j: j["devices"][0]["bytes"].update(kv=1), "devices[0].bytes.kv: 1, it is "),
    (lambda j: j["tensors"][5].update(bytes=64), "tensors[5].bytes: 64, "),
    (lambda j: j["tensors"].pop(), "refused or wrong"),
    (lambda j: j["assignment"][1].update(part="block 99"), "assignment[1].part"),
    (lambda j: j.update(context=512), "bytes"),
])
def test_a_changed_plan_is_not(plan_of, models, change, says):
    path = plan_of("llama", "--on", "sim:64", "--ctx", 256)
    j = json.loads(path.read_text())
    change(j)
    path.write_text(json.dumps(j))
    p = snug("verify", path, models["llama"])
    assert p.returncode == 1
    assert says in p.stdout or says == "refused or wrong" and ("wrong" in p.stdout or p.stderr)


def test_verify_refuses_what_is_no_plan(tmp_path, models):
    for text in ["", "{}", "[1]", '{"fits": true', '{"steps": 3}']:
        path = tmp_path / "p.json"
        path.write_text(text)
        p = snug("verify", path, models["llama"])
        assert p.returncode == 1 and "p.json" in p.stderr
    short = tmp_path / "short.json"
    short.write_text(snug("plan", models["llama"], "--json").stdout)
    assert "--full" in snug("verify", short, models["llama"]).stderr
    assert snug("verify", tmp_path / "none.json", models["llama"]).returncode == 1


ZOO = sorted((ROOT / "tests/data/zoo").glob("*.json"))


@pytest.mark.parametrize("on", ["h100", "k80x4"])
@pytest.mark.parametrize("shape", ZOO, ids=lambda p: p.stem)
def test_plans_of_published_models_are_verified(tmp_path, shape, on):
    model = mkmodel(tmp_path / "m.gguf", "--shape", shape, "--holes")
    p = snug("plan", model, "--json", "--full", "--on", on)
    if p.returncode != 0:
        assert json.loads(p.stdout)["fits"] is False  # h100: 120B and 70B with its context; k80x4: 70B
        return
    path = tmp_path / "plan.json"
    path.write_text(p.stdout)
    p = snug("verify", path, model)
    assert p.returncode == 0, p.stdout + p.stderr
    assert "not verified: minimality" not in p.stdout


# --- --plan -------------------------------------------------------------------------------------------

def run(path, model, *flags):
    return snug("run", model, "once upon", "--plan", path, "--temp", 0, "--num-predict", 4, *flags)


@pytest.mark.parametrize("flags", [["--on", "sim:64,sim:64"], SPLIT["llama"], ["--on", "cpu"],
                                   ["--kv", "q8_0", "--slots", 2, "--micro-batch", 16, "--on", "sim:64"]])
def test_a_plan_is_executed(plan_of, models, flags):
    path = plan_of("llama", "--ctx", 256, *flags)
    plan = json.loads(path.read_text())
    p = run(path, models["llama"], "--json", "--verbose")
    assert p.returncode == 0, p.stdout + p.stderr
    j = json.loads(p.stdout)
    want = snug_json("run", models["llama"], "once upon", "--temp", 0, "--num-predict", 4, "--ctx", 256, *flags)
    assert j["response"] == want["response"]
    for d, m in zip(plan["devices"], j["memory"]["devices"]):
        taken = d["planned_bytes"] - d["bytes"]["driver"] - d["bytes"]["reserve"]
        assert m["name"] == d["name"] and m["planned_bytes"] == m["reserved_bytes"] == m["high_water_bytes"] == taken
        for a in m["arenas"]:
            assert a["planned_bytes"] == a["high_water_bytes"] == d["bytes"][a["arena"]]
    # the flags that it was made with may be said again
    assert run(path, models["llama"], *flags, "--ctx", 256).returncode == 0


def test_bench_takes_a_plan(plan_of, models):
    path = plan_of("llama", "--ctx", 256, "--on", "sim:64")
    j = snug_json("bench", models["llama"], "--plan", path, "--prompt", 32, "--gen", 4, "--reps", 1)
    assert j["decode_tps"] > 0
    p = snug("bench", models["llama"], "--plan", path, "--prompt", 300, "--gen", 4, "--reps", 1)
    assert p.returncode == 1 and "context" in p.stderr


@pytest.mark.parametrize("flags, says", [
    (["--ctx", 100], "--ctx: 256 in the plan, 100 asked"),
    (["--micro-batch", 8], "--micro-batch: "),
    (["--slots", 2], "--slots: 1 in the plan, 2 asked"),
    (["--kv", "q8_0"], "--kv: F16 in the plan, Q8_0 asked"),
    (["--on", "sim:64,sim:65"], "devices[1] (sim1).capacity_bytes: 67108864 in the plan, 68157440 here"),
    (["--on", "sim:64"], "devices: 3 in the plan, 2 here"),
    (["--exact"], "--exact"),
    (["--threads", 3], ".threads: "),
])
def test_another_machine_or_wish_is_refused(plan_of, models, flags, says):
    path = plan_of("llama", "--ctx", 256, "--on", "sim:64,sim:64", "--threads", 2)
    p = run(path, models["llama"], *flags)
    assert p.returncode == 1 and says in p.stderr, p.stderr


@pytest.mark.parametrize("change, says", [
    (lambda j: j["made_by"].update(version="0.0.9"), "another build: made_by.version: 0.0.9 in the plan"),
    (lambda j: j["made_by"].update(plan="0" * 16), "made_by.plan: 0000000000000000 in the plan"),
    (lambda j: j["arenas"][0].update(bytes=64), "arenas[0].bytes: 64 in the plan"),
    (lambda j: j["tensors"][9].update(offset=64000), "64000 in the plan"),
    (lambda j: j["steps"][3].update(kernel="magic"), "steps[3].kernel: magic in the plan"),
    (lambda j: j["assignment"][2].update(device=1), " in the plan, "),
    (lambda j: j["devices"][0]["bytes"].update(kv=7), "devices[0] (sim0).bytes.kv: 7 in the plan"),
    (lambda j: j.update(goal="speed"), "digest: the plan was changed after it was written"),
])
def test_a_changed_plan_is_not_executed(plan_of, models, change, says):
    path = plan_of("llama", "--ctx", 256, "--on", "sim:64,sim:64")
    j = json.loads(path.read_text())
    change(j)
    path.write_text(json.dumps(j))
    p = run(path, models["llama"])
    assert p.returncode == 1 and says in p.stderr, p.stderr


def test_another_model_is_refused(plan_of, models, tmp_path):
    path = plan_of("llama", "--ctx", 256, "--on", "sim:64")
    assert run(path, models["gemma3"]).returncode == 1
    other = mkmodel(tmp_path / "other.gguf", "--arch", "llama", "--type", "Q4_0", "--tok", "bpe", "--seed", 1, "--ctx", 999)
    p = run(path, other)
    assert p.returncode == 1 and "the plan is for another model: made_by.model" in p.stderr


def test_a_restart_gives_the_same_plan(plan_of):
    flags = ["--ctx", 256, *SPLIT["gemma3"]]
    first = plan_of("gemma3", *flags).read_text()
    second = plan_of("gemma3", *flags).read_text()
    a, b = json.loads(first), json.loads(second)
    assert a["fingerprint"] == b["fingerprint"] and without_time(a) == without_time(b)
    bytes_of = [re.sub(r'"(plan_ms|digest|free_bytes)": [^,}\n]*', "", text) for text in (first, second)]
    assert bytes_of[0] == bytes_of[1]
