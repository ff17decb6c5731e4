"""Devices that are not here: planned for by name, executed when simulated, described by files."""
import json

import pytest
from conftest import snug, snug_json

K80 = 11441 << 20


def test_a_k80_is_planned_for_by_name(models):
    j = snug_json("plan", models["gemma3"], "--on", "k80x2")
    a, b = j["devices"][:2]
    assert [d["name"] for d in (a, b)] == ["k80 #0", "k80 #1"]
    assert a["capacity_bytes"] == b["capacity_bytes"] == K80
    assert a["granule_bytes"] == 2 << 20 and a["bytes"]["driver"] == 102 << 20
    assert j["fits"] and j["devices_used"] == 1 and b["planned_bytes"] == 0
    assert a["planned_bytes"] == sum(a["bytes"].values()) and a["ms_per_token"] > 0


def test_a_plan_for_others_is_the_same_each_time(models):
    args = ("plan", models["llama"], "--on", "3090,rtx3060")
    a, b = snug_json(*args), snug_json(*args)
    assert a["devices"] == b["devices"] and a["fingerprint"] == b["fingerprint"]


def test_what_is_free_is_said(models):
    d = snug_json("plan", models["llama"], "--on", "k80x2", "--free", "10240,11000")["devices"]
    assert [x["free_bytes"] for x in d[:2]] == [10240 << 20, 11000 << 20]
    assert d[0]["capacity_bytes"] == K80
    p = snug("plan", models["llama"], "--on", "k80", "--free", "1,2")
    assert p.returncode == 1 and "--free has more numbers" in p.stderr


def test_only_simulated_ones_execute(models):
    p = snug("run", models["llama"], "Hi", "--on", "k80x2")
    assert p.returncode == 1 and "sim:k80x2" in p.stderr
    args = ("run", models["llama"], "Hi", "--raw", "--temp", "0", "--num-predict", "5")
    assert snug(*args, "--on", "sim:k80x2").stdout == snug(*args).stdout


@pytest.mark.parametrize("on, word", [("a100", "a100-40 a100-80"), ("3091", "3090"), ("k80x0", "k80"), ("/nowhere/x.json", "/nowhere/x.json")])
def test_unknown_devices_are_refused_with_what_was_meant(models, on, word):
    p = snug("plan", models["llama"], "--on", on)
    assert p.returncode == 1 and word in p.stderr


def test_a_report_of_probe_is_a_machine(models, tmp_path):
    box = tmp_path / "box.json"
    box.write_text(snug("probe", "--on", "sim:k80,sim:3090", "--json").stdout)
    a, b = (snug_json("plan", models["llama"], "--on", on)["devices"] for on in (box, "k80,3090"))
    assert a == b
    devices = json.loads(box.read_text())["devices"]
    del devices[1]["capacity_bytes"]
    box.write_text(json.dumps(devices))
    p = snug("plan", models["llama"], "--on", box)
    assert p.returncode == 1 and "box.json: devices[1].capacity_bytes: is missing" in p.stderr


def test_a_probe_is_kept_and_used(models, tmp_path):
    env = {"SNUG_CACHE_DIR": str(tmp_path), "SNUG_PROBE": ""}
    first = snug_json("probe", env=env)["devices"][0]
    assert first["bytes_per_s"] > 0 and first["step_ns"] > 0 and not first["speed_assumed"]
    assert first == {**snug_json("probe", env=env)["devices"][0], "free_bytes": first["free_bytes"]}
    kept = json.loads((tmp_path / "probe.json").read_text())
    kept["devices"][0]["bytes_per_s"] = 1000000  # slow, as a plan must notice
    (tmp_path / "probe.json").write_text(json.dumps(kept))
    slow = snug_json("plan", models["llama"], env=env)["predicted_tps"]
    assumed = snug_json("plan", models["llama"], env={**env, "SNUG_PROBE": "off"})["predicted_tps"]
    assert slow < assumed / 100


def test_probe_says_what_it_measured(tmp_path):
    p = snug("probe", env={"SNUG_CACHE_DIR": str(tmp_path)})
    assert p.returncode == 0 and "GB/s" in p.stdout and "memcpy" in p.stdout
    assert "k80 #0" in snug("probe", "--on", "k80").stdout
