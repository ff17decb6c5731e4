#!/usr/bin/env python3
"""Builds and runs every test; the last line is 'N passed, N failed', with ', N skipped' where any were.

    runtests.py [FILTER...]     only what has one of the filters in its path

Order: the rules of src/ (layers, headers), C tests under ASan+UBSan, tests of kernels again as released,
tests of threads under TSan, fuzz targets for a fixed number of executions, end-to-end tests by pytest.
A test here is one cmocka or pytest function, one fuzz target, one rule; a crash or a time-out is a
failed test. A skipped test says why in a line 'SKIP name: reason'. Called by `./dev test`.
"""
import concurrent.futures, glob, os, pty, re, select, shutil, signal, subprocess, sys, tempfile, time
import xml.etree.ElementTree as ET

os.chdir(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
JOBS = len(os.sched_getaffinity(0))
RELEASE_TOO = ["tests/num/", "tests/dev/", "tests/run/test_exec.c"]  # compiled code differs from the sanitizers'
RELEASE_ONLY = ["tests/run/test_logits.c"]  # real models: too slow under a sanitizer
# Under TSan.
THREADS = ["tests/dev/**/test_*team*.c", "tests/dev/**/test_*pool*.c", "tests/run/test_*exec*.c", "tests/run/test_*inst*.c"]
BINARY_SECONDS = 240
FUZZ_ARGS = ["-runs=200000"]  # a target says otherwise in a line '// libFuzzer: -runs=N ...'
ENV = {
    **os.environ,
    "ASAN_OPTIONS": "color=never:detect_leaks=1:strict_string_checks=1:detect_stack_use_after_return=1",
    "UBSAN_OPTIONS": "print_stacktrace=1",
    "TSAN_OPTIONS": "color=never:second_deadlock_stack=1",
}
# Sanitizers of this age lose their way where the kernel randomises addresses widely.
FIXED = ["setarch", "-R"] if shutil.which("setarch") and subprocess.run(
    ["setarch", "-R", "true"], capture_output=True).returncode == 0 else []

passed = 0
failed = []   # names
skipped = []  # (name, reason)


def say(text):
    print(text, flush=True)


def fail(name, output):
    failed.append(name)
    say(f"FAILED {name}")
    for line in output.split("Shadow bytes around")[0].rstrip().splitlines()[-60:]:
        say("    | " + line)


def make(mode, targets):
    """Builds as much as can be built; what could not is missing afterwards, and counts then."""
    if not targets:
        return
    start = time.time()
    p = subprocess.run(["make", "-s", "-k", f"-j{JOBS}", f"MODE={mode}", *targets], capture_output=True, text=True)
    say(f"built {mode}: {len(targets)} targets in {time.time() - start:.0f} s")
    lines = p.stderr.splitlines()
    if p.returncode != 0:
        fail(f"build {mode}", "\n".join(lines[:40]))
    elif lines:
        say("\n".join(lines))


def run(cmd, seconds):
    """(exit status, output) on a terminal of its own, so that both streams come in order and nothing is
    lost in a crash. The status is None after a time-out."""
    try:
        master, slave = pty.openpty()
    except OSError:  # a container without terminals
        master, slave = os.pipe()
    p = subprocess.Popen(cmd, stdin=subprocess.DEVNULL, stdout=slave, stderr=slave, env=ENV, start_new_session=True)
    os.close(slave)
    out, end = [], time.time() + seconds
    while time.time() < end:
        if select.select([master], [], [], 0.2)[0]:
            try:
                chunk = os.read(master, 65536)
            except OSError:  # the other end is closed
                break
            if not chunk:
                break
            out.append(chunk)
    late = time.time() >= end
    if late:
        os.killpg(p.pid, signal.SIGKILL)
    status = p.wait()
    os.close(master)
    text = b"".join(out).decode("utf-8", "replace").replace("\r\n", "\n")
    return (None, text + f"\nno end after {seconds} s") if late else (status, text)


def cmocka(binary, mode):
    """Runs one binary; ([passed], [(failed, output)], [(skipped, reason)], seconds)."""
    name = re.sub(r"^build/(asan/|tsan/)?tests/|test_", "", binary)
    if not os.path.exists(binary):
        return [], [(f"{mode} {name}", "it was not built")], [], 0
    start = time.time()
    status, out = run((FIXED if mode != "release" else []) + ["./" + binary], BINARY_SECONDS)
    good, bad, skip = [], [], []
    current, reason, since = None, None, []
    for line in out.splitlines():
        since.append(line)
        if m := re.match(r"SKIP ([^:]*): *(.*)", line):
            reason = m[2]
        elif m := re.match(r"\[ RUN +\] (.*)", line):
            current, reason, since = m[1], None, []
        elif current and (m := re.match(r"\[ +(OK|FAILED|SKIPPED|ERROR) +\]", line)):
            full = f"{mode} {name}.{current}"
            if m[1] == "OK":
                good.append(full)
            elif m[1] == "SKIPPED":
                skip.append((full, reason or "no reason given"))
            else:
                bad.append((full, "\n".join(since)))
            current = None
    if current:
        bad.append((f"{mode} {name}.{current}", "\n".join(since)))
    elif status != 0 and not bad:  # a leak, a race, a failed group set-up
        bad.append((f"{mode} {name}", out))
    elif not good and not bad and not skip:
        bad.append((f"{mode} {name}", "no test ran\n" + out))
    return good, bad, skip, time.time() - start


def c_tests(mode, sources, jobs):
    global passed
    root = "build/" if mode == "release" else f"build/{mode}/"
    binaries = [root + s[:-2] for s in sources]
    make(mode, binaries)
    with concurrent.futures.ThreadPoolExecutor(jobs) as pool:
        for binary, (good, bad, skip, seconds) in zip(binaries, pool.map(lambda b: cmocka(b, mode), binaries)):
            passed += len(good)
            skipped.extend(skip)
            say(f"{'FAIL' if bad else 'ok  '} {binary}  {len(good)} passed" +
                (f", {len(skip)} skipped" if skip else "") + f"  ({seconds:.1f} s)")
            for name, out in bad:
                fail(name, out)


def rule(name, cmd):
    global passed
    p = subprocess.run(cmd, capture_output=True, text=True)
    if p.returncode == 0:
        passed += 1
    else:
        fail(name, p.stdout + p.stderr)


def fuzz(sources):
    global passed
    make("fuzz", ["build/fuzz/" + os.path.basename(s)[:-2] for s in sources])

    def one(source):
        name = os.path.basename(source)[:-2]
        binary = "build/fuzz/" + name
        if not os.path.exists(binary):
            return None, "it was not built", 0
        args = list(FUZZ_ARGS)
        if m := re.search(r"^// libFuzzer: (.*)", open(source).read(), re.M):
            args = m[1].split()
        seeds = [d for d in [f"tests/fuzz/corpus/{name[5:]}"] if os.path.isdir(d)]
        with tempfile.TemporaryDirectory() as fresh:  # findings go to build/fuzz, new inputs nowhere
            start = time.time()
            status, out = run(FIXED + ["./" + binary, "-seed=1", "-artifact_prefix=build/fuzz/", "-print_final_stats=1",
                                       *args, fresh, *seeds], BINARY_SECONDS)
            return status, out, time.time() - start

    with concurrent.futures.ThreadPoolExecutor(JOBS) as pool:
        for source, (status, out, seconds) in zip(sources, pool.map(one, sources)):
            name = "fuzz " + os.path.basename(source)[5:-2]
            if status == 0:
                passed += 1
                n = re.search(r"number_of_executed_units: *(\d+)", out)
                say(f"ok   {name}  {n[1] if n else '?'} executions ({seconds:.1f} s)")
            else:
                fail(name, out)


def end_to_end(filters):
    global passed
    files = [f for f in sorted(glob.glob("tests/e2e/test_*.py")) if chosen(f, filters)]
    if not files:
        return
    if not os.path.exists("build/snug"):
        return fail("e2e", "build/snug was not built")
    start = time.time()
    with tempfile.TemporaryDirectory() as tmp:
        xml = os.path.join(tmp, "report.xml")
        status, out = run([sys.executable, "-m", "pytest", "-q", "--color=no", "--tb=short", "-p", "no:cacheprovider",
                           f"--junitxml={xml}", *files], 900)
        if not os.path.exists(xml):
            return fail("e2e", out)
        cases = list(ET.parse(xml).getroot().iter("testcase"))
    n_bad = 0
    for case in cases:
        name = "e2e " + case.get("classname", "").removeprefix("tests.e2e.test_") + "." + case.get("name", "")
        kinds = {child.tag: child for child in case}
        if bad := [kinds[k] for k in ("failure", "error") if k in kinds]:
            n_bad += 1
            fail(name, bad[0].text or bad[0].get("message", ""))
        elif "skipped" in kinds:
            skipped.append((name, kinds["skipped"].get("message", "no reason given")))
        else:
            passed += 1
    if status != 0 and n_bad == 0:
        fail("e2e", out)
    say(f"{'FAIL' if n_bad else 'ok  '} end to end: {len(cases)} tests ({time.time() - start:.1f} s)")


def chosen(path, filters):
    return not filters or any(f in path for f in filters)


def main():
    filters = sys.argv[1:]
    started = time.time()
    sources = sorted(glob.glob("tests/**/test_*.c", recursive=True))
    sources = [s for s in sources if chosen(s, filters)]
    threads = sorted({s for g in THREADS for s in glob.glob(g, recursive=True)} & set(sources))
    if not filters:
        make("release", ["all", "bench"])
        rule("rule layers", ["tools/layers.sh"])
        rule("rule headers", ["make", "-s", "headers"])
    released = [s for s in sources if "Runs as released" in open(s).read(1000)]  # too slow otherwise; they say so
    c_tests("asan", [s for s in sources if s not in released], JOBS)
    c_tests("release", [s for s in sources if s.startswith(tuple(RELEASE_TOO)) or s in released], 1)
    c_tests("tsan", threads, 1)
    fuzz([s for s in sorted(glob.glob("tests/fuzz/fuzz_*.c")) if chosen(s, filters)])
    if filters and any(chosen(f, filters) for f in glob.glob("tests/e2e/test_*.py")):
        make("release", ["all"])
    end_to_end(filters)

    say(f"\n{time.time() - started:.0f} s")
    for name, reason in skipped:
        say(f"skipped {name}: {reason}")
    for name in failed:
        say(f"failed {name}")
    say(f"{passed} passed, {len(failed)} failed" + (f", {len(skipped)} skipped" if skipped else ""))
    return 1 if failed or passed == 0 else 0


sys.exit(main())
