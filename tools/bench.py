#!/usr/bin/env python3
"""Measures build/snug (or $SNUG) beside its peers (llama.cpp; gguf-parser-go) and against the bars of docs/STATUS.md.

    ./dev bench [--peer] [--rounds N] [--models LIST] [--parts LIST] [--threads N] [--json FILE]

Parts (all by default):
  speed   tokens/s of a prompt of 512 and of 64 decoded tokens; rounds of both programs take turns, medians
  first   wall time of a whole process from its start to the first byte of its answer, files cached
  busy    decode speed with one core taken by a process that spins, against the speed before and after
  memory  peak resident set of `snug run` against mapped file + planned bytes
  tokens  MB of text a second read into tokens, by vocabulary; processor time of one thread, the same text and ids
  plan    processor time of `snug plan --json` and of gguf-parser-go's estimate, head of the file included; and of the
          search for a placement alone
Without --peer only snug is measured, and bars that are ratios show the plain figure.
Everything measured goes into FILE (default build/bench.json).
"""
import argparse, glob, json, os, statistics, subprocess, sys, tempfile, time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
CACHE = os.environ.get("SNUG_CACHE", os.path.expanduser("~/.cache/snug"))
SNUG = os.environ.get("SNUG", os.path.join(ROOT, "build", "snug"))
PEER = os.path.join(CACHE, "peer", "bin", "llama-bench")
TOK = os.path.join(ROOT, "build", "bench", "tok")
PEER_TOK = [sys.executable, os.path.join(ROOT, "tools", "peer_tokens.py"), os.path.dirname(PEER)]
# file, and the bars: prompt and decode at least, first token at most, as ratios to the peer
MODELS = {
    "smollm2": ("SmolLM2-135M-Instruct.Q4_1.gguf", 1.5, 1.0, 0.2),
    "gemma3": ("gemma-3-270m-q4_k_m.gguf", 1.5, 1.0, 0.2),
    "llama1b": ("llama3.2-1b-shape.gguf", 1.2, 1.0, 0.2),
    # random weights, made by tools/make-shapes.sh
    "qwen0.5b": ("qwen2.5-0.5b-shape.gguf", 1.2, 1.0, 0.2),
    "gemma1b": ("gemma3-1b-shape.gguf", 1.2, 1.0, 0.2),
    "gptoss2l": ("gpt-oss-20b-2l-shape.gguf", 1.2, 1.0, 0.2),
}
VOCABS = {
    "llama-bpe": "vocabs/ggml-vocab-llama-bpe.gguf",
    "qwen2": "vocabs/ggml-vocab-qwen2.gguf",
    "llama-spm": "vocabs/ggml-vocab-llama-spm.gguf",
    "gemma3": "models/gemma-3-270m-q4_k_m.gguf",
}
TOKENS_BAR = 3.0
PEER_PLAN = os.path.join(CACHE, "peer", "bin", "peer-plan")
MKMODEL = os.path.join(ROOT, "build", "tools", "mkmodel")
SEARCH = os.path.join(ROOT, "build", "tests", "plan", "test_search")
PLANNED = ("llama3.1-70b", "gpt-oss-120b")  # the two largest of tests/data/zoo
PLAN_ON, PLAN_DEVICES = "3090x4", 4
PLAN_ROUNDS = 15
PLAN_BAR = 3.0  # times less than the peer
SEARCH_BARS = {"8 equal": 1.0, "12 unlike": 50.0}  # ms
TEXT_BYTES, TEXT_TIMES = 900000, (1, 4, 16)
LINEAR_BAR = 1.3
BUSY_BAR = 0.40
MEMORY_SLACK = 24 << 20
PROMPT, GEN = 512, 64


def out_of(cmd):
    p = subprocess.run(cmd, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    if p.returncode != 0:
        sys.exit(f"{' '.join(cmd)}: failed with {p.returncode}\n{p.stderr[-2000:]}")
    return p.stdout


def snug_speed(path, threads, prompt=PROMPT, gen=GEN):
    r = json.loads(out_of([SNUG, "bench", path, "--prompt", str(prompt), "--gen", str(gen), "--reps", "1",
                           "--threads", str(threads), "--json"]))
    return {"prompt": r["prompt_tps"], "decode": r["decode_tps"]}


def peer_speed(path, threads, prompt=PROMPT, gen=GEN):
    rows = json.loads(out_of([PEER, "-m", path, "-p", str(prompt), "-n", str(gen), "-t", str(threads), "-r", "1",
                              "-o", "json"]))
    return {"prompt" if row["n_prompt"] else "decode": row["avg_ts"] for row in rows}


def snug_first(path, threads):
    """Seconds from the start of the process to the first byte of the answer."""
    start = time.perf_counter()
    p = subprocess.Popen([SNUG, "run", path, "--raw", "--temp", "0", "--num-predict", "1", "--threads", str(threads),
                          "a"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    p.stdout.read(1)
    seconds = time.perf_counter() - start
    p.stdout.close()
    p.wait()
    return seconds


def peer_first(path, threads):
    """A whole llama-bench that evaluates one token and ends: it prints nothing earlier."""
    start = time.perf_counter()
    out_of([PEER, "-m", path, "-p", "1", "-n", "0", "-t", str(threads), "-r", "1", "--no-warmup", "-o", "json"])
    return time.perf_counter() - start


def progress(text):
    if sys.stderr.isatty():
        print(f"\r{text:40s}\r", end="", file=sys.stderr, flush=True)


def alternate(rounds, programs):
    """{name: [result of each round]}; the programs take turns, so that a slow minute hits them all."""
    got = {name: [] for name in programs}
    for i in range(rounds):
        for name, measure in programs.items():
            progress(f"  round {i + 1}/{rounds} {name}")
            got[name].append(measure())
    progress("")
    return got


def med(rows, key=None):
    return statistics.median(row[key] if key else row for row in rows)


def verdict(value, bar, at_least):
    return "meets" if (value >= bar if at_least else value <= bar) else "MISSES"


def line(model, what, snug, peer, bar, at_least, unit):
    text = f"{model:9s} {what:8s} snug {snug:9.2f} {unit}"
    if peer is not None:
        ratio = snug / peer
        text += f"   llama.cpp {peer:9.2f} {unit}   ratio {ratio:5.2f}   bar {'>=' if at_least else '<='} {bar:.2f}  " \
                f"{verdict(ratio, bar, at_least)}"
    print(text, flush=True)


def part_speed(model, path, args):
    programs = {"snug": lambda: snug_speed(path, args.threads)}
    if args.peer:
        programs["peer"] = lambda: peer_speed(path, args.threads)
    got = alternate(args.rounds, programs)
    for key, bar in (("prompt", MODELS[model][1]), ("decode", MODELS[model][2])):
        line(model, key, med(got["snug"], key), med(got["peer"], key) if args.peer else None, bar, True, "t/s")
    return got


def part_first(model, path, args):
    programs = {"snug": lambda: snug_first(path, args.threads)}
    if args.peer:
        programs["peer"] = lambda: peer_first(path, args.threads)
    for measure in programs.values():
        measure()  # the file comes into the page cache
    got = alternate(args.rounds, programs)
    line(model, "first", 1e3 * med(got["snug"]), 1e3 * med(got["peer"]) if args.peer else None, MODELS[model][3], False,
         "ms ")
    return got


def part_busy(model, path, args):
    cores = sorted(os.sched_getaffinity(0))
    programs = {"snug": lambda: snug_speed(path, args.threads, 0)["decode"]}
    if args.peer:
        programs["peer"] = lambda: peer_speed(path, args.threads, 0)["decode"]
    quiet = alternate(args.rounds, programs)
    spinner = subprocess.Popen([sys.executable, "-c", "while True: pass"],
                               preexec_fn=lambda: os.sched_setaffinity(0, {cores[-1]}))
    try:
        busy = alternate(args.rounds, programs)
    finally:
        spinner.kill()
        spinner.wait()
    again = alternate(args.rounds, programs)
    for name in programs:
        kept = med(busy[name]) / med(quiet[name] + again[name])
        text = f"{model:9s} busy     {name:9s} {med(busy[name]):9.2f} t/s of {med(quiet[name] + again[name]):9.2f} quiet"
        text += f"   keeps {kept:5.2f}"
        print(text + (f"   bar >= {BUSY_BAR:.2f}  {verdict(kept, BUSY_BAR, True)}" if name == "snug" else ""), flush=True)
    return {"quiet": quiet, "busy": busy, "again": again}


def part_memory(model, path, args):
    got = {}
    for flags in ([], ["--no-mmap"]):
        cmd = [SNUG, "run", path, "--raw", "--temp", "0", "--num-predict", "64", "--threads", str(args.threads), "--json",
               "--verbose", *flags, "word " * 700]  # more than one micro-batch
        p = subprocess.Popen(cmd, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        answer = json.loads(p.stdout.read())
        _, status, usage = os.wait4(p.pid, 0)
        p.returncode = status
        planned = sum(d["planned_bytes"] for d in answer["memory"]["devices"])
        limit = os.path.getsize(path) + planned + MEMORY_SLACK
        peak = usage.ru_maxrss * 1024
        name = "no-mmap" if flags else "mmap"
        print(f"{model:9s} memory   {name:9s} peak {peak / 2**20:9.1f} MiB   file + {planned / 2**20:.1f} MiB planned + 24 MiB"
              f" = {limit / 2**20:9.1f} MiB   {verdict(peak, limit, False)}", flush=True)
        got[name] = {"peak_bytes": peak, "planned_bytes": planned, "limit_bytes": limit}
    return got


def bench_text():
    """TEXT_BYTES of English and code from this checkout: a page of text, a file of code, in turns."""
    # Tables of numbers are no code.
    code = sorted(set(glob.glob(os.path.join(ROOT, "src", "**", "*.c"), recursive=True)) -
                  set(glob.glob(os.path.join(ROOT, "src", "**", "*_table.c"), recursive=True)))
    english = [os.path.join(ROOT, "README.md"), *sorted(glob.glob(os.path.join(ROOT, "docs", "*.md")))]
    text, i = b"", 0
    while len(text) < TEXT_BYTES:
        for path in (english[i % len(english)], code[i % len(code)]):
            with open(path, "rb") as f:
                text += f.read()
        i += 1
    return text[:TEXT_BYTES].decode(errors="ignore").encode()  # no half character at the end


def part_tokens(args):
    if not os.path.exists(TOK):
        sys.exit(f"{TOK} is not there: `./dev bench` builds it")
    report = {}
    with tempfile.TemporaryDirectory() as d:
        text, ours, theirs = (os.path.join(d, name) for name in ("text", "snug", "peer"))
        with open(text, "wb") as f:
            f.write(bench_text())
        for name, file in VOCABS.items():
            path = os.path.join(CACHE, file)
            if not os.path.exists(path):
                print(f"{name:9s} not measured: {path} is not there (./dev fetch)")
                continue
            programs = {"snug": lambda: json.loads(out_of([TOK, path, text, ours, *map(str, TEXT_TIMES)]))}
            if args.peer:
                programs["peer"] = lambda: json.loads(out_of([*PEER_TOK, path, text, theirs]))
            got = alternate(args.rounds, programs)
            if args.peer and open(ours, "rb").read() != open(theirs, "rb").read():
                sys.exit(f"{name}: snug and llama.cpp read different tokens from the same text")
            report[name] = got
            print_tokens(name, got)
    return report


def print_tokens(name, got):
    seconds = {k: statistics.median(r["seconds"][str(k)] for r in got["snug"]) for k in TEXT_TIMES}
    mb = got["snug"][0]["bytes"] / 1e6
    peer = mb / statistics.median(r["seconds"]["1"] for r in got["peer"]) if "peer" in got else None
    line(name, "tokens", mb / seconds[1], peer, TOKENS_BAR, True, "MB/s")
    off = max(max(x, 1 / x) for x in (seconds[k] / k / seconds[1] for k in TEXT_TIMES))
    times = ", ".join(f"{k}x {seconds[k] / k * 1e3:.1f} ms" for k in TEXT_TIMES)
    print(f"{name:9s} linear   each {mb:.1f} MB of {times}   off by {off:5.2f}   bar <= {LINEAR_BAR:.2f}  "
          f"{verdict(off, LINEAR_BAR, False)}", flush=True)


def cpu_ms(cmd):
    """Milliseconds of processor time of a whole process, in it and for it."""
    with tempfile.TemporaryFile() as said:
        p = subprocess.Popen(cmd, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=said)
        _, p.returncode, usage = os.wait4(p.pid, 0)
        if p.returncode != 0:
            said.seek(0)
            sys.exit(f"{' '.join(cmd)}: failed\n{said.read()[-2000:].decode(errors='replace')}")
    return 1e3 * (usage.ru_utime + usage.ru_stime)


def part_plan(args):
    report = {"cpu_ms": {}, "search_ms": part_search()}
    peer = args.peer and os.path.exists(PEER_PLAN)
    if args.peer and not peer:
        print(f"plan      without gguf-parser-go: {PEER_PLAN} is not there (./dev bench --peer builds it with go)")
    with tempfile.TemporaryDirectory() as d:
        for name in PLANNED:
            path = os.path.join(d, name + ".gguf")
            out_of([MKMODEL, "--shape", os.path.join(ROOT, "tests", "data", "zoo", name + ".json"), "--all-merges",
                    "--holes", path])
            programs = {"snug": lambda: cpu_ms([SNUG, "plan", path, "--on", PLAN_ON, "--json"])}
            if peer:
                programs["peer"] = lambda: cpu_ms([PEER_PLAN, path, str(PLAN_DEVICES)])
            for measure in programs.values():
                measure()  # the head comes into the page cache
            got = report["cpu_ms"][name] = alternate(PLAN_ROUNDS, programs)
            text = f"{name:13s} plan on {PLAN_ON}   snug {med(got['snug']):7.2f} ms"
            if peer:
                ratio = med(got["peer"]) / med(got["snug"])
                text += f"   gguf-parser-go {med(got['peer']):7.2f} ms   ratio {ratio:5.2f}   bar >= {PLAN_BAR:.2f}  " \
                        f"{verdict(ratio, PLAN_BAR, True)}"
            print(text, flush=True)
            os.unlink(path)
    return report


def part_search():
    """The slowest of the many searches that the test of the search times, for each bar; each the best of three."""
    if not os.path.exists(SEARCH):
        print(f"search    not measured: {os.path.relpath(SEARCH)} is not there (./dev test plan/test_search)")
        return {}
    best, slowest = {}, {}
    for row in "".join(out_of([SEARCH, "--bench"]) for _ in range(3)).splitlines():
        # "fewest    8 equal  devices x  82,  70 % of all room:     0.008 ms,  7 stages"
        what, _, took = row.rpartition(":")
        best[what] = min(best.get(what, 1e9), float(took.split()[0]))
    for what, took in best.items():
        for devices in SEARCH_BARS:
            if f" {devices} " in what:
                slowest[devices] = max(slowest.get(devices, 0.0), took)
    for devices, bar in SEARCH_BARS.items():
        if devices not in slowest:
            sys.exit(f"{SEARCH} --bench: nothing of {devices} devices")
        print(f"search        {devices + ' devices':17s} at most {slowest[devices]:7.3f} ms   bar <= {bar:.2f} ms  "
              f"{verdict(slowest[devices], bar, False)}", flush=True)
    return slowest


PARTS = {"speed": part_speed, "first": part_first, "busy": part_busy, "memory": part_memory}  # of each model
ONCE = {"tokens": part_tokens, "plan": part_plan}
ALL_PARTS = [*PARTS, *ONCE]


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--peer", action="store_true")
    ap.add_argument("--rounds", type=int, default=5)
    ap.add_argument("--models", default=",".join(MODELS))
    ap.add_argument("--parts", default=",".join(ALL_PARTS))
    ap.add_argument("--threads", type=int, default=2)
    ap.add_argument("--json", default=os.path.join(ROOT, "build", "bench.json"))
    args = ap.parse_args()
    parts, models = args.parts.split(","), args.models.split(",")
    for name in [*parts, *models]:
        if name not in ALL_PARTS and name not in MODELS:
            ap.error(f"no part or model {name}; parts: {' '.join(ALL_PARTS)}; models: {' '.join(MODELS)}")
    if args.peer and parts != ["plan"] and not os.path.exists(PEER):
        sys.exit(f"{PEER} is not there: `./dev bench --peer` builds it")

    load = os.getloadavg()[0]
    if load > 0.3:
        print(f"other programs run here (load {load:.1f}): what follows compares badly", file=sys.stderr)
    report = {"load": load, "threads": args.threads, "rounds": args.rounds, "prompt": PROMPT, "gen": GEN, "models": {}}
    for part in [part for part in ONCE if part in parts]:
        report[part] = ONCE[part](args)
        parts.remove(part)
    for model in models if parts else []:
        path = os.path.join(CACHE, "models", MODELS[model][0])
        if not os.path.exists(path):
            print(f"{model:9s} not measured: {path} is not there (./dev fetch)")
            continue
        report["models"][model] = {part: PARTS[part](model, path, args) for part in parts}
    os.makedirs(os.path.dirname(os.path.abspath(args.json)), exist_ok=True)
    with open(args.json, "w") as f:
        json.dump(report, f, indent=1)
    print(f"written to {os.path.relpath(args.json)}")


if __name__ == "__main__":
    main()
