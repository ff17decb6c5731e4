"""The commands: what they print, what they refuse, and that they refuse it well."""
import json, os, pty, signal, struct, subprocess, time

import pytest
from conftest import CACHE, SNUG, mkmodel, snug, snug_json


def tokens(path, ids):
    path.write_text(" ".join(map(str, ids)))
    return path


# --- help and flags -----------------------------------------------------------------------------------

def test_help_lists_every_command():
    p = snug("help")
    assert p.returncode == 0
    for name in "run plan show bench logits tokenize detokenize".split():
        assert "snug " + name in p.stdout


@pytest.mark.parametrize("name", "run plan show bench logits tokenize detokenize".split())
def test_every_command_has_short_help(name):
    p = snug(name, "--help")
    assert p.returncode == 0 and 0 < len(p.stdout.splitlines()) < 48


def test_version_is_one_line():
    assert snug("--version").stdout.startswith("snug ")


@pytest.mark.parametrize("args, word", [
    (["run"], "missing argument"),
    (["run", "a.gguf", "b", "c"], "too many"),
    (["run", "a.gguf", "--nonsense"], "--nonsense"),
    (["run", "a.gguf", "--ctx"], "needs a value"),
    (["run", "a.gguf", "--ctx", "many"], "number"),
    (["run", "a.gguf", "--ctx", "0"], "number"),
    (["plan", "a.gguf", "--kv", "q3"], "f16, q8_0, f32 or auto"),
    (["show", "a.gguf", "--temp", "1"], "not a flag of this command"),
    (["nonsense"], "no command"),
])
def test_wrong_command_lines_are_refused_by_name(args, word):
    p = snug(*args)
    assert p.returncode == 2 and word in p.stderr


def test_missing_file_says_so():
    p = snug("run", "/nowhere/x.gguf", "hi")
    assert p.returncode == 1 and "/nowhere/x.gguf" in p.stderr


def test_errors_are_json_when_asked(tmp_path):
    bad = tmp_path / "bad.gguf"
    bad.write_bytes(b"GGUF")
    p = snug("show", bad, "--json")
    assert p.returncode == 1
    assert json.loads(p.stdout)["code"] == "format"


def test_no_such_device_says_what_there_is(models):
    p = snug("plan", models["llama"], "--on", "toaster")
    assert p.returncode == 1 and "sim:" in p.stderr


# --- show, plan ---------------------------------------------------------------------------------------

@pytest.mark.parametrize("name", ["llama", "gemma3"])
def test_show_tells_dimensions_and_uses_every_tensor(models, name):
    p = snug("show", models[name], "--keys", "--tensors", "--graph")
    assert p.returncode == 0
    assert name in p.stdout and "token_embd.weight" in p.stdout and "not used" not in p.stdout
    j = snug_json("show", models[name])
    assert j["architecture"] == name and j["runs"] is True


@pytest.mark.parametrize("name", ["llama", "gemma3"])
@pytest.mark.parametrize("on", ["cpu", "sim:64", "sim:64,sim:64"])
def test_plan_sums_to_the_byte(models, name, on):
    j = snug_json("plan", models[name], "--on", on, "--ctx", 256)
    assert j["fits"] is True
    for d in j["devices"]:
        assert d["planned_bytes"] == sum(d["bytes"].values())


def test_plan_is_the_same_twice(models):
    a, b = (snug_json("plan", models["gemma3"]) for _ in range(2))
    for j in (a, b):
        j.pop("plan_ms", None)
        for d in j["devices"]:  # what else takes memory of this machine is not the plan's
            d.pop("free_bytes")
    assert a == b


def test_plan_that_does_not_fit_says_what_is_missing(models):
    p = snug("plan", models["llama"], "--on", "sim:1", "--ctx", 4096)
    text = p.stdout + p.stderr
    assert "sim0" in text and ("short" in text or "lacks" in text or "not fit" in text)


def test_plan_works_on_the_head_of_a_file(models, tmp_path):
    whole = models["llama"].read_bytes()
    part = tmp_path / "part.gguf"
    part.write_bytes(whole[:len(whole) * 3 // 4])
    p = snug("plan", part, "--json", "--ctx", 256)
    q = snug("plan", models["llama"], "--json", "--ctx", 256)
    assert p.returncode == 0, p.stderr
    a, b = json.loads(p.stdout), json.loads(q.stdout)
    assert [d["planned_bytes"] for d in a["devices"]] == [d["planned_bytes"] for d in b["devices"]]
    assert snug("run", part, "hi").returncode == 1  # but it does not run


def test_a_vision_tower_is_shown_planned_and_left_out(tmp_path):
    path = mkmodel(tmp_path / "v.gguf", "--arch", "gemma3", "--type", "Q8_0", "--tok", "spm", "--vision")
    shown = snug("show", path).stdout
    assert "vision tower    39 tensors" in shown and "images are not run yet" in shown and "not used" not in shown
    tower = snug_json("show", path)["vision"]
    assert tower["tensors"] == 39 and tower["runs"] is False

    on = ["--on", "sim:64", "--ctx", 256]
    both = [snug_json("plan", path, *on, *flags)["devices"][0] for flags in ([], ["--no-vision"])]
    assert both[0]["parts"] == ["vision", *both[1]["parts"]]
    less = both[0]["bytes"]["weights"] - both[1]["bytes"]["weights"]
    assert tower["bytes"] <= less < tower["bytes"] + 39 * 64
    assert "vision tower 118 KiB, embedding" in snug("plan", path, *on).stdout
    assert "vision" not in snug("plan", path, *on, "--no-vision").stdout

    answers = {snug("run", path, "hello", "--temp", 0, "--num-predict", 8, *on, *flags).stdout
               for flags in ([], ["--no-vision"])}
    assert len(answers) == 1


# --- tokenize, logits ---------------------------------------------------------------------------------

@pytest.mark.parametrize("name", ["llama", "gemma3"])
def test_text_survives_tokenize_and_detokenize(models, name):
    text = "Hello, wörld! 123\n\ttabs  and 日本 \U0001f600 end"
    ids = snug("tokenize", models[name], "--no-bos", stdin=text).stdout
    assert snug("detokenize", models[name], stdin=ids).stdout == text


def test_special_tokens_can_be_plain_text(models):
    a = snug("tokenize", models["llama"], "--no-bos", stdin="<|im_end|>").stdout.split()
    b = snug("tokenize", models["llama"], "--no-bos", "--no-special", stdin="<|im_end|>").stdout.split()
    assert len(a) == 1 and len(b) > 1


@pytest.mark.parametrize("text", ["1 2 x", "1 99999999999", "-1"])
def test_detokenize_refuses_what_is_no_id(models, text):
    p = snug("detokenize", models["llama"], stdin=text)
    assert p.returncode == 1 and p.stderr.startswith("snug: ")


def test_logits_writes_one_row_a_token_and_greedy_goes_on(models, tmp_path):
    ids, out = tokens(tmp_path / "t.txt", range(3, 20)), tmp_path / "l.f32"
    p = snug("logits", models["llama"], "--tokens", ids, "--out", out, "--greedy", 5)
    assert p.returncode == 0, p.stderr
    n_vocab = snug_json("show", models["llama"])["vocabulary"]
    data = out.read_bytes()
    assert len(data) == 17 * n_vocab * 4 and len(p.stdout.split()) == 5
    last = struct.unpack("<%df" % n_vocab, data[-4 * n_vocab:])
    assert max(range(n_vocab), key=lambda i: last[i]) == int(p.stdout.split()[0])


@pytest.mark.parametrize("flags", [["--micro-batch", 1], ["--micro-batch", 7], ["--threads", 1], ["--on", "sim:64"],
                                   ["--on", "sim:64,sim:64"], ["--no-mmap"], ["--ctx", 2048], ["--slots", 2]])
@pytest.mark.parametrize("name", ["llama", "gemma3"])
def test_logits_do_not_depend_on_how_they_are_computed(models, tmp_path, name, flags):
    ids = tokens(tmp_path / "t.txt", [i % 200 + 3 for i in range(90)])
    a, b = tmp_path / "a.f32", tmp_path / "b.f32"
    assert snug("logits", models[name], "--tokens", ids, "--out", a).returncode == 0
    p = snug("logits", models[name], "--tokens", ids, "--out", b, *flags)
    assert p.returncode == 0, p.stderr
    assert a.read_bytes() == b.read_bytes()


def test_token_id_out_of_range_is_refused_by_number(models, tmp_path):
    p = snug("logits", models["llama"], "--tokens", tokens(tmp_path / "t.txt", [1, 2, 10**6]))
    assert p.returncode == 1 and "1000000" in p.stderr


# --- run, bench ---------------------------------------------------------------------------------------

@pytest.mark.parametrize("name", ["llama", "gemma3"])
def test_run_answers_the_same_for_a_seed(models, name):
    args = ["run", models[name], "Once upon a time", "--num-predict", 20, "--seed", 7]
    a, b = snug(*args), snug(*args)
    assert a.returncode == 0, a.stderr
    assert a.stdout == b.stdout and len(a.stdout) > 1


def test_run_reads_a_pipe_and_prints_timings(models):
    p = snug("run", models["llama"], "summarise", "--num-predict", 4, "--verbose", stdin="some text\n")
    assert p.returncode == 0 and "tokens/s" in p.stderr
    j = snug_json("run", models["llama"], "--num-predict", 4, "--temp", 0, "--verbose", stdin="some text\n")
    assert j["output_tokens"] <= 4
    for d in j["memory"]["devices"]:
        assert d["planned_bytes"] == d["reserved_bytes"] == d["high_water_bytes"]
        assert all(a["planned_bytes"] == a["high_water_bytes"] <= a["reserved_bytes"] for a in d["arenas"])


def test_run_without_a_prompt_says_how(models):
    p = snug("run", models["llama"], stdin="")
    assert p.returncode == 1 and "prompt" in p.stderr


def test_prompt_longer_than_the_context_names_the_flag(models):
    p = snug("run", models["llama"], "word " * 2000, "--ctx", 64)
    assert p.returncode == 1 and "--ctx" in p.stderr


def test_answer_goes_on_when_the_context_is_full(models):
    for name in ("llama", "gemma3"):
        p = snug("run", models[name], "a b c", "--ctx", 64, "--num-predict", 200, "--raw", "--json", "--temp", 1, "--seed", 3)
        assert p.returncode == 0, p.stderr
        j = json.loads(p.stdout)
        assert j["done_reason"] in ("length", "stop")


def test_bench_reports_what_it_promises(models):
    j = snug_json("bench", models["llama"], "--prompt", 32, "--gen", 4, "--reps", 2, "--depth", 8)
    for key in ("prompt_tps", "decode_tps", "prompt_tps_min", "prompt_tps_max", "decode_tps_min", "decode_tps_max", "load_ms",
                "first_token_ms", "bytes_per_s", "copy_bytes_per_s", "threads", "depth", "model", "cpu"):
        assert key in j
    assert 0 < j["prompt_tps_min"] <= j["prompt_tps"] <= j["prompt_tps_max"]


# --- the chat on a terminal ---------------------------------------------------------------------------

class Terminal:
    """snug run on a pseudo-terminal."""

    def __init__(self, *args):
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.environ["TERM"] = "dumb"
            os.execv(SNUG, [SNUG, *map(str, args)])
        self.text = ""

    def wait_for(self, what, timeout=60):
        end = time.time() + timeout
        at = len(self.text)
        os.set_blocking(self.fd, False)
        while time.time() < end:
            try:
                self.text += os.read(self.fd, 65536).decode("utf-8", "replace")
            except BlockingIOError:
                time.sleep(0.01)
            except OSError:
                break
            if what in self.text[at:]:
                return self.text[at:]
        raise AssertionError("no %r in %r" % (what, self.text[at:]))

    def type(self, text):
        os.write(self.fd, text.encode())

    def close(self):
        try:
            os.kill(self.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        os.waitpid(self.pid, 0)
        os.close(self.fd)


@pytest.fixture
def terminal(models):
    t = Terminal("run", models["llama"], "--num-predict", 8, "--seed", 1)
    t.wait_for(">>> ")
    yield t
    t.close()


def test_chat_answers_keeps_history_and_leaves(terminal):
    for line in ("hello\n", "and again\n"):
        terminal.type(line)
        terminal.wait_for(">>> ")
    terminal.type("/show\n")
    assert "4 messages" in terminal.wait_for(">>> ")
    terminal.type("/clear\n")
    terminal.wait_for(">>> ")
    terminal.type("/show\n")
    assert "0 messages" in terminal.wait_for(">>> ")
    terminal.type("/bye\n")
    assert os.waitpid(terminal.pid, 0)[1] == 0
    terminal.pid = os.fork() or os._exit(0)  # something for close() to reap


def test_chat_takes_several_lines_and_settings(terminal):
    terminal.type('"""first line\n')
    terminal.wait_for("... ")
    terminal.type('second line"""\n')
    terminal.wait_for(">>> ")
    terminal.type("/set temperature 0\n")
    terminal.wait_for(">>> ")
    terminal.type("/set temperature 1000\n")
    assert "temperature" in terminal.wait_for(">>> ")
    terminal.type("/show\n")
    assert "temperature  0" in terminal.wait_for(">>> ")


def test_control_c_stops_the_answer_not_the_program(models):
    t = Terminal("run", models["llama"], "--seed", 1, "--ctx", 4096, "--num-predict", 100000, "--raw")
    try:
        t.wait_for(">>> ")
        t.type("tell me a story\n")
        time.sleep(0.5)
        os.kill(t.pid, signal.SIGINT)
        t.wait_for(">>> ", timeout=20)
        t.type("/bye\n")
        assert os.waitpid(t.pid, 0)[1] == 0
        t.pid = os.fork() or os._exit(0)
    finally:
        t.close()


# --- a real model -------------------------------------------------------------------------------------

def test_smollm2_knows_a_capital(smollm2):
    p = snug("run", smollm2, "What is the capital of France? Answer with one word.", "--temp", 0, "--num-predict", 16)
    assert p.returncode == 0, p.stderr
    assert "Paris" in p.stdout


@pytest.mark.parametrize("file", ["SmolLM2-135M-Instruct.Q4_1.gguf", "gemma-3-270m-q4_k_m.gguf"])
@pytest.mark.parametrize("flags", [[], ["--no-mmap"]])
def test_resident_memory_is_file_plus_plan_plus_24_mib(file, flags):
    path = CACHE / "models" / file
    if not path.exists():
        pytest.skip(f"{file} is not in the cache: ./dev fetch")
    planned = sum(d["planned_bytes"] for d in snug_json("plan", path)["devices"])
    p = subprocess.Popen([SNUG, "run", str(path), "Tell me about Rome.", "--num-predict", "64", *flags],
                         stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, p.returncode, usage = os.wait4(p.pid, 0)
    assert p.returncode == 0
    assert usage.ru_maxrss * 1024 <= path.stat().st_size + planned + (24 << 20)
