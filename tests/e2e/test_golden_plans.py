"""Plans of all published models on machines that people own, as text that is reviewed: a change in bytes shows in its diff.

    SNUG_GOLDEN=write pytest tests/e2e/test_golden_plans.py     writes tests/data/plans/MODEL.txt anew

A line a device: blocks, then the bytes of each arena. Plain C kernels and two threads, so that the machine does not matter;
the speeds of the CPU are the assumed ones.
"""
import json, os

import pytest
from conftest import ROOT, mkmodel, snug

ZOO = sorted((ROOT / "tests/data/zoo").glob("*.json"))
MACHINES = ["k80x1", "k80x2", "k80x4", "3090", "3060,cpu", "3090x3,3060", "h100"]
SAME = {"SNUG_CPU": "c", "SNUG_PROBE": "off"}


def spans(blocks):
    """[0, 1, 2, 5] -> 0-2,5"""
    out = []
    for b in blocks:
        if out and out[-1][1] == b - 1:
            out[-1][1] = b
        else:
            out.append([b, b])
    return ",".join(f"{a}-{b}" if a != b else str(a) for a, b in out)


def parts(d):
    of = {"block": [], "experts": []}
    other = []
    for p in d["parts"]:
        kind, _, n = p.partition(" ")
        if n:
            of[kind].append(int(n))
        else:
            other.append(kind)
    text = [f"{kind} {spans(n)}" for kind, n in of.items() if n]
    return " + ".join(text + other)


def describe(machine, ctx, p):
    j = json.loads(p.stdout)
    if not j["fits"]:
        return [f"{machine} {ctx}: does not fit"]
    out = [f"{machine} {ctx}: {j['devices_used']} of {sum(d['name'] != 'cpu' for d in j['devices'])} devices, "
           f"micro-batch {j['micro_batch']}, up to {j['max_context']} tokens"]
    for d in j["devices"]:
        b = d["bytes"]
        if not d["parts"]:
            continue
        left = "" if d["name"] == "cpu" else f", {d['free_bytes'] - d['planned_bytes']} left"
        lines = " ".join(f"{k} {b[k]}" for k in ("weights", "kv", "scratch", "input", "handover", "rounding", "driver") if b[k])
        mapped = f" mapped {d['mapped_bytes']}" if d.get("mapped_bytes") else ""
        out.append(f"  {d['name']}: {parts(d)}: {lines}{mapped}{left}")
    return out


@pytest.mark.parametrize("shape", ZOO, ids=lambda p: p.stem)
def test_plans_are_the_reviewed_ones(tmp_path, shape):
    path, lines = mkmodel(tmp_path / "model.gguf", "--shape", shape, "--holes"), []
    for machine in MACHINES:
        for ctx in (4096, 32768):
            p = snug("plan", path, "--on", machine, "--ctx", ctx, "--threads", 2, "--json", env=SAME)
            lines += describe(machine, ctx, p)
    text, golden = "\n".join(lines) + "\n", ROOT / "tests/data/plans" / (shape.stem + ".txt")
    if os.environ.get("SNUG_GOLDEN") == "write":
        golden.write_text(text)
    assert text == golden.read_text()
