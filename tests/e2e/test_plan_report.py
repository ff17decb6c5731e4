"""snug plan for people: one screen, reasons, pictures, other programs' flags. What it offers is taken."""
import json, re, shlex
import xml.etree.ElementTree as xml

import pytest
from conftest import ROOT, mkmodel, snug, snug_json

PAGE = 64


@pytest.fixture(scope="module")
def zoo(tmp_path_factory):
    """name -> path of a true head with a hole for weights."""
    d, made = tmp_path_factory.mktemp("zoo"), {}

    def get(name):
        if name not in made:
            made[name] = mkmodel(d / f"{name}.gguf", "--shape", ROOT / f"tests/data/zoo/{name}.json", "--holes")
        return made[name]
    return get


def screen(*args):
    p = snug("plan", *args)
    assert p.returncode == 0, p.stderr
    return p.stdout


# --- one screen ---------------------------------------------------------------------------------------

@pytest.mark.parametrize("name, args", [
    ("gemma3-12b", ["--on", "k80x2"]),
    ("gemma3-12b", ["--on", "sim:6000,sim:6000"]),
    ("deepseek-r1-14b", ["--on", "k80x2", "--ctx", 32768]),
    ("deepseek-r1-32b", ["--on", "k80x4", "--ctx", 16384]),
    ("gpt-oss-20b", ["--on", "k80x2", "--ctx", 8192]),
    ("llama3.1-70b", ["--on", "3090,3090,3060", "--ctx", 8192]),
    ("gpt-oss-120b", ["--on", "sim:3060,cpu"]),
])
def test_up_to_two_devices_fit_one_screen(zoo, name, args):
    lines = screen(zoo(name), *args).splitlines()
    assert len(lines) <= 24
    assert all(len(line) <= 100 and line == line.rstrip() for line in lines)
    assert not any("\x1b" in line for line in lines)


def test_a_k80_question_is_answered_in_the_first_line(zoo):
    text = screen(zoo("gemma3-12b"), "--on", "k80x2")
    first, j = text.splitlines()[0], snug_json("plan", zoo("gemma3-12b"), "--on", "k80x2")
    assert first.startswith("gemma3-12b fits on k80 #0 alone: ") and "1 of 2 devices used" in first
    assert re.search(r"about [\d.]+ tokens/s", first)
    assert f"here up to {j['max_context']:,} tokens".replace(",", " ") in text
    device = j["devices"][0]
    for line in ("weights", "kv", "scratch", "input", "driver"):
        row = next(r for r in text.splitlines() if r[2:].startswith(line + " "))
        assert f" {device['bytes'][line]:,} ".replace(",", " ") in row
    total = next(r for r in text.splitlines() if r.startswith("= total"))
    assert f" {device['planned_bytes']:,} ".replace(",", " ") in total


@pytest.mark.parametrize("on", ["k80x4", "k80x8", "h100", "3060x6"])
def test_columns_sum_to_the_byte_however_many_there_are(zoo, on):
    args = ["--on", on, "--ctx", 8192, "--reserve", 10]
    text, devices = screen(zoo("llama3.1-70b"), *args), snug_json("plan", zoo("llama3.1-70b"), *args)["devices"]
    used = [d for d in devices if d["planned_bytes"] and not d["name"] == "cpu"]
    rows, sums, totals = set(used[0]["bytes"]), [], []
    for line in text.splitlines():
        cells = re.split(r"  +", line[2:])  # exact numbers have single spaces, MiB and GiB a point or a unit
        numbers = [int(c.replace(" ", "")) for c in cells[1:] if re.fullmatch(r"\d{1,3}( \d{3})*", c)]
        if line.startswith(" " * 13):  # a table begins
            sums.append([0] * len(re.findall(r"#\d+", line)))
        elif cells[0] in rows:
            sums[-1] = [a + b for a, b in zip(sums[-1], numbers, strict=True)]
        elif line.startswith("= total"):
            totals += numbers
            assert numbers == sums[-1]
    assert totals == [d["planned_bytes"] for d in used]


def test_the_readme_shows_what_is_printed(zoo):
    shown = re.search(r"    \$ snug plan gemma3-12b.gguf --on k80x2\n((?:    .*\n)+)", (ROOT / "README.md").read_text())[1]
    assert re.sub("^    ", "", shown, flags=re.M) == screen(zoo("gemma3-12b"), "--on", "k80x2")


def test_full_keeps_every_slot_and_step(models):
    text = screen(models["llama"], "--full", "--ctx", 128)
    assert "\nvalue 0 " in text and "\nstep 0 " in text and "\nhash " in text


def test_the_largest_context_is_the_largest(zoo):
    args = ["plan", zoo("gemma3-12b"), "--on", "k80", "--micro-batch", 512]
    most = snug_json(*args)["max_context"]
    assert snug_json(*args, "--ctx", most)["fits"] is True
    p = snug(*args, "--ctx", most + PAGE)
    assert p.returncode == 1 and "k80 #0 lacks" in p.stderr


# --- what is offered fits -----------------------------------------------------------------------------

@pytest.mark.parametrize("name, args", [
    ("gemma3-12b", ["--on", "k80", "--ctx", 131072]),
    ("gemma3-12b", ["--on", "sim:8300"]),
    ("deepseek-r1-14b", ["--on", "sim:9000", "--ctx", 16384, "--slots", 2]),
])
def test_what_is_offered_instead_fits(zoo, name, args):
    p = snug("plan", zoo(name), *args)
    assert p.returncode == 1 and "lacks" in p.stderr
    offers = re.findall(r"^(?:instead|or) +((?:--\S+ \S+ ?)+?)  ", p.stderr, re.M)
    assert offers
    for flags in offers:
        rest = list(map(str, args))
        for flag in shlex.split(flags)[::2]:
            if flag in rest:
                del rest[rest.index(flag):rest.index(flag) + 2]
        assert snug_json("plan", zoo(name), *rest, *shlex.split(flags))["fits"] is True

    q = snug("plan", zoo(name), *args, "--json")
    j = json.loads(q.stdout)
    assert q.returncode == 1 and j["fits"] is False
    assert {s["change"] for s in j["suggestions"]} & {"context", "kv"}


def test_memory_to_free_is_enough_and_a_mib_less_is_not(zoo):
    p = snug("plan", zoo("deepseek-r1-14b"), "--on", "k80", "--free", 8800, "--micro-batch", 512, "--json")
    s = next(s for s in json.loads(p.stdout)["suggestions"] if s["change"] == "free")
    mib = int(re.match(r"(\d+) MiB on k80 #0", s["value"])[1])
    for free, fits in ((8800 + mib, 0), (8800 + mib - 1, 1)):
        assert snug("plan", zoo("deepseek-r1-14b"), "--on", "k80", "--free", free,
                    "--micro-batch", 512).returncode == fits


def test_a_model_that_is_too_large_gets_devices_and_another_file(zoo):
    err = snug("plan", zoo("llama3.1-70b"), "--on", "k80x3").stderr
    assert re.search(r"1 more like k80 #2 +fits on 4 devices", err)
    assert re.search(r"quantization \S+ .*estimate of another file", err)


# --- reasons ------------------------------------------------------------------------------------------

def test_why_a_block_is_where_it_is(zoo):
    args = ["plan", zoo("llama3.1-70b"), "--on", "3090,3090,3060"]
    first = snug_json(*args)["devices"][1]["blocks"][0]
    text = snug(*args, "--why", first).stdout
    assert text.startswith(f"block {first} is on 3090 #1")
    assert f"ends with block {first - 1}: 3090 #0" in text
    assert re.search(r"to 3090 #0 +fits, .* left there", text)
    assert re.search(r"to 3060 #0 +fits, .*cop(y|ies) a batch more; .* ms a token slower", text)
    p = snug(*args, "--why", 80)
    assert p.returncode == 1 and "blocks 0 to 79" in p.stderr


def test_every_cell_of_the_matrix_is_the_largest(zoo):
    path = zoo("gemma3-12b")
    cells = snug_json("plan", path, "--on", "k80x2", "--max-ctx")["max_context"]
    assert len(cells) == 2 * 2 * 4
    text = screen(path, "--on", "k80x2", "--max-ctx")
    for c in cells:
        shown = f"{c['context']:,}".replace(",", " ") if c["context"] else "-"
        assert shown in text
    for c in (cells[0], cells[6], cells[11]):
        args = ["plan", path, "--on", f"k80x{c['devices']}", "--kv", c["kv_type"], "--slots", c["slots"],
                "--micro-batch", 512]
        assert snug(*args, "--ctx", c["context"]).returncode == 0
        assert snug(*args, "--ctx", c["context"] + PAGE).returncode == 1


def test_diff_names_the_lines_that_moved(zoo, tmp_path):
    a, b = tmp_path / "a.json", tmp_path / "b.json"
    for path, ctx in ((a, 4096), (b, 8192)):
        path.write_text(snug("plan", zoo("gemma3-12b"), "--on", "k80x2", "--ctx", ctx, "--json").stdout)
    text = screen("--diff", a, b)
    assert re.search(r"^  context +4 096 -> 8 192$", text, re.M)
    assert re.search(r"^  kv +792 723 456 -> 1 061 158 912 +\+256 MiB$", text, re.M)
    assert "k80 #0" in text and "weights" not in text and "k80 #1" not in text
    assert screen("--diff", a, a) == "the same plan\n"


@pytest.mark.parametrize("bad, word", [
    ("{", "no JSON"),
    ("[]", "no plan"),
    ('{"devices": 3}', "no plan"),
    ("[" * 5000, "no JSON"),
])
def test_diff_refuses_what_is_no_plan(tmp_path, bad, word):
    path = tmp_path / "bad.json"
    path.write_text(bad)
    p = snug("plan", "--diff", path, path)
    assert p.returncode == 1 and word in p.stderr
    assert snug("plan", "--diff", path).returncode == 1


def test_diff_prints_nothing_unescaped(tmp_path):
    for name, ctx in (("a", 1), ("b", 2)):
        (tmp_path / f"{name}.json").write_text(json.dumps(
            {"context": ctx, "kv_type": "\x1b[31m" + name, "host": {"\x07bell": ctx}, "max_context": [ctx, "x"],
             "devices": [{"name": "\x1b]0;" + name, "bytes": {"\x1bkv": ctx, "deep": [[ctx]]}}, ctx]}))
    p = snug("plan", "--diff", tmp_path / "a.json", tmp_path / "b.json")
    assert p.returncode == 0 and "\\x1b" in p.stdout
    assert not set(p.stdout) & {"\x1b", "\x07"}


# --- pictures and other programs ----------------------------------------------------------------------

@pytest.mark.parametrize("name, on", [("gemma3-12b", "k80x2"), ("gpt-oss-120b", "3060,cpu"), ("smollm2-135m", "cpu")])
def test_the_picture_is_xml_without_anything_active(zoo, tmp_path, name, on):
    path = tmp_path / "p.svg"
    assert screen(zoo(name), "--on", on, "--svg", path).strip() == str(path)
    root = xml.parse(path).getroot()
    kinds = {e.tag.split("}")[1] for e in root.iter()}
    assert kinds <= {"svg", "title", "text", "rect", "path"}
    assert not any(k.startswith("on") or "href" in k for e in root.iter() for k in e.attrib)
    assert root.find("{*}title").text == name
    width = float(root.get("width"))
    for e in root.iter("{*}rect"):
        assert float(e.get("x")) + float(e.get("width")) <= width


def test_a_picture_that_cannot_be_written_is_an_error(models, tmp_path):
    p = snug("plan", models["llama"], "--svg", tmp_path / "no/p.svg")
    assert p.returncode == 1 and "cannot write" in p.stderr


def shares(text):
    """What llama.cpp makes of the flags: layers of each device, the first of them."""
    ngl = int(re.search(r"-ngl (\d+)", text)[1])
    ts = [int(n) for n in re.search(r"-ts ([\d,]+)", text)[1].split(",")]
    assert sum(ts) == ngl
    ends = [sum(ts[:i + 1]) / ngl for i in range(len(ts))]
    return [next(d for d, e in enumerate(ends) if e > i / ngl) for i in range(ngl)]


def test_llama_cpp_puts_the_same_blocks_on_the_same_devices(zoo):
    args = ["plan", zoo("llama3.1-70b"), "--on", "3090,3090,3060", "--ctx", 8192]
    text, j = snug(*args, "--llama-cpp").stdout, snug_json(*args)
    where = shares(text)
    assert "-dev CUDA0,CUDA1" in text and "-c 8192" in text and "-ctk f16" in text and "not in this plan's proof" in text
    for d in (0, 1):
        first, last = j["devices"][d]["blocks"]
        assert {where[il] for il in range(first, last + 1)} == {d}
    assert len(where) == 81 and where[80] == 1  # the output


def test_llama_cpp_keeps_experts_on_the_cpu(zoo):
    args = ["plan", zoo("gpt-oss-120b"), "--on", "3060,cpu"]
    text, j = snug(*args, "--llama-cpp").stdout, snug_json(*args)
    parts = next(d for d in j["devices"] if d["name"] == "cpu")["parts"]
    kept = [int(p.split()[1]) for p in parts if p.startswith("experts ")]
    pattern = re.search(r"-ot '(.*)=CPU'", text)[1]
    for il in range(36):
        for kind in ("up", "down", "gate"):
            assert bool(re.search(pattern, f"blk.{il}.ffn_{kind}_exps.weight")) == (il in kept)
        assert not re.search(pattern, f"blk.{il}.attn_output.weight")


# --- several models -----------------------------------------------------------------------------------

def test_models_that_fit_together_are_said_in_any_order(zoo):
    names = ["gemma3-12b", "llama3.1-8b", "smollm2-135m"]
    one, other = (snug("plan", *map(zoo, order), "--on", "k80x2") for order in (names, names[::-1]))
    assert one.returncode == other.returncode == 0
    assert "gemma3-12b, llama3.1-8b and smollm2-135m fit together" in one.stdout
    j = snug_json("plan", *map(zoo, names), "--on", "k80x2")
    k = snug_json("plan", *map(zoo, names[::-1]), "--on", "k80x2")
    by = [{d["name"]: {m["name"]: m["bytes"] for m in d["models"]} for d in x["devices"]} for x in (j, k)]
    assert j["together"] is True and by[0] == by[1]
    for d in j["devices"]:
        assert d["total_bytes"] == sum(m["bytes"] for m in d["models"])


def test_models_that_do_not_fit_together_say_which_do(zoo):
    p = snug("plan", zoo("gemma3-12b"), zoo("deepseek-r1-14b"), zoo("smollm2-135m"), "--on", "k80")
    assert p.returncode == 1 and "do not fit together" in p.stdout
    assert "best      deepseek-r1-14b and smollm2-135m; without gemma3-12b" in p.stdout
    assert "or        gemma3-12b and smollm2-135m; without deepseek-r1-14b" in p.stdout


def test_one_broken_file_among_several_is_named(zoo, tmp_path):
    bad = tmp_path / "bad.gguf"
    bad.write_bytes(b"GGUF")
    p = snug("plan", zoo("smollm2-135m"), bad)
    assert p.returncode == 1 and "bad.gguf" in p.stderr


# --- constraints --------------------------------------------------------------------------------------

@pytest.mark.parametrize("args, word", [
    (["--goal", "cheap"], "fewest, speed, context or slots"),
    (["--tensor-split", "1,x"], "shares like 3,1"),
    (["--tensor-split", "0,0"], "every share is 0"),
    (["--tensor-split", "-1,2"], "shares like 3,1"),
    (["--num-gpu", "-1"], "number"),
])
def test_constraints_that_make_no_sense_are_refused(models, args, word):
    p = snug("plan", models["llama"], *args)
    assert p.returncode == 2 and word in p.stderr


def test_shares_are_one_a_device(models):
    p = snug("plan", models["llama"], "--on", "sim:64,sim:64", "--tensor-split", "1,2,3")
    assert p.returncode == 1 and "3 shares for 2 devices" in p.stderr


def test_num_gpu_keeps_the_first_blocks_with_the_host(zoo):
    j = snug_json("plan", zoo("llama3.1-8b"), "--on", "3060,cpu", "--num-gpu", 20)
    assert [d["blocks"] for d in j["devices"]] == [[12, 31], [0, 11]]
    text = snug("plan", zoo("llama3.1-8b"), "--on", "3060,cpu", "--num-gpu", 20, "--llama-cpp").stdout
    assert "-ngl 21 " in text


def test_the_longest_context_is_a_goal(zoo):
    j = snug_json("plan", zoo("gemma3-12b"), "--on", "k80", "--goal", "context")
    assert j["goal"] == "context" and 4096 < j["context"] <= 131072
