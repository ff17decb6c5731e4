"""The reports that this project started from, as plans: f16 keys and values, default settings."""
import pytest
from conftest import ROOT, mkmodel, snug, snug_json


@pytest.fixture(scope="module")
def head(tmp_path_factory):
    made = {}

    def make(name):
        if name not in made:
            made[name] = mkmodel(tmp_path_factory.mktemp("zoo") / f"{name}.gguf", "--shape",
                                 ROOT / f"tests/data/zoo/{name}.json", "--holes")
        return made[name]
    return make


def plan(path, on, ctx=4096, *flags):
    j = snug_json("plan", path, "--on", on, "--ctx", ctx, "--threads", 2, *flags)
    assert j["fits"] and j["kv_type"] == "f16"
    for d in j["devices"]:
        assert d["planned_bytes"] <= d["free_bytes"] or d["free_bytes"] is None
    return j


def used(j):
    return [d for d in j["devices"] if d["planned_bytes"] > 0]


@pytest.mark.parametrize("on", ["k80x1", "k80x2"])
def test_gemma3_12b_fits_one_die(head, on):
    j = plan(head("gemma3-12b"), on)
    assert j["devices_used"] == 1 and j["micro_batch"] == 512 and j["minimal"]["devices"] == 1


def test_deepseek_r1_14b_fits_one_die(head):
    j = plan(head("deepseek-r1-14b"), "k80x2")
    assert j["devices_used"] == 1 and len(used(j)) == 1
    j = plan(head("deepseek-r1-14b"), "k80x2", 16384)  # with the embedding on the host
    assert j["devices_used"] == 1


def test_a_context_of_two_dies_is_near_even_and_proved(head):
    j = plan(head("deepseek-r1-14b"), "k80x2", 24576)
    a, b = (d["planned_bytes"] for d in used(j))
    assert j["devices_used"] == 2 and abs(a - b) < 400 << 20  # a block and its part of the context
    assert "needs 2 devices" in j["minimal"]["proof"][0]


def test_gpt_oss_20b_needs_two_dies(head):
    j = plan(head("gpt-oss-20b"), "k80x2", 8192)
    a, b = (d["planned_bytes"] for d in used(j))
    assert j["devices_used"] == 2 and abs(a - b) < 600 << 20
    assert "lacks" in j["minimal"]["proof"][0]


def test_deepseek_r1_32b_changes_its_number_of_dies_where_the_driver_takes_too_much(head):
    path = head("deepseek-r1-32b")
    devices = [plan(path, "k80x4", 16384, "--free", ",".join([str(mib)] * 4))["devices_used"]
               for mib in (11441, 11441 - 3, 11441 - 4)]  # 102 MiB of them are the driver's
    assert devices == [2, 2, 3]


def test_llama_70b_leaves_the_small_card_out(head):
    j = plan(head("llama3.1-70b"), "3090,3090,3060", 8192)
    assert [d["name"] for d in used(j)] == ["3090 #0", "3090 #1"]


def test_a_large_context_on_two_dies_is_executed_as_simulation(tmp_path):
    """Real weights in the same way: a small model over two dies that are too small for it alone."""
    path = mkmodel(tmp_path / "m.gguf", "--arch", "qwen2", "--layers", "8", "--embd", "256", "--type", "Q4_0", "--random")
    whole = snug_json("plan", path, "--on", "sim:4096MiB", "--ctx", 2048, "--micro-batch", 64)
    mib = whole["devices"][0]["planned_bytes"] * 2 // 3 >> 20
    one = snug("run", path, "--raw", "--temp", 0, "--num-predict", 8, "--ctx", 2048, "--micro-batch", 64, "one two three")
    two = snug("run", path, "--raw", "--temp", 0, "--num-predict", 8, "--ctx", 2048, "--micro-batch", 64, "--on",
               f"sim:{mib}MiB,sim:{mib}MiB", "one two three")
    assert one.returncode == two.returncode == 0 and one.stdout == two.stdout, two.stderr
