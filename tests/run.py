"""Runs the parts of the tests, counts their cases, and closes with one line: N passed, N failed, N skipped.

    run.py unit conformance fuzz e2e [--seconds N]

A unit test is a cmocka program, a conformance run prints "name: N passed, N failed, N skipped", a fuzz target is one case, the end-to-end
tests are pytest's. Output is shown for what fails, and always for conformance, whose tables are worth reading.
"""
import argparse
import os
import pathlib
import re
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parents[1]
SAN = ROOT / "build" / "san"
FUZZ = ROOT / "build" / "fuzz"
FUZZ_RUNS = 50000
COUNT = re.compile(r"^(?:\S+: )?(\d+) passed, (\d+) failed(?:, (\d+) skipped)?", re.M)

ENV = dict(os.environ, ASAN_OPTIONS="abort_on_error=0:detect_stack_use_after_return=0",
           UBSAN_OPTIONS="print_stacktrace=1:halt_on_error=1", PYTHONDONTWRITEBYTECODE="1", LC_ALL="C.UTF-8")


class Sum:
    def __init__(self):
        self.passed = self.failed = self.skipped = 0
        self.notes = []

    def add(self, passed, failed, skipped=0):
        self.passed += passed
        self.failed += failed
        self.skipped += skipped


def run(argv, timeout, **kw):
    """Exit status and output; a timeout is a failure that says so."""
    try:
        done = subprocess.run(argv, cwd=ROOT, env=ENV, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                              stdin=subprocess.DEVNULL, timeout=timeout, **kw)
        return done.returncode, done.stdout.decode("utf-8", "replace")
    except subprocess.TimeoutExpired as e:
        return -1, (e.stdout or b"").decode("utf-8", "replace") + f"\n{argv[0]}: no end after {timeout} s\n"


def say(text):
    print(text, flush=True)


def unit(total, _args):
    for program in sorted((SAN / "tests" / "unit").glob("test_*")):
        if program.suffix:
            continue
        start = time.monotonic()
        status, out = run([str(program)], 300)
        passed = len(re.findall(r"^\[       OK \]", out, re.M))
        failed = len(re.findall(r"^\[  FAILED  \] [^\s:]+$", out, re.M)) // 2
        skipped = re.findall(r"^\[  SKIPPED \] (\S+)$", out, re.M)
        if status != 0 and not failed:
            failed = 1
        total.add(passed, failed, len(set(skipped)))
        total.notes += [f"{program.name}: {name}" for name in sorted(set(skipped))]
        say(f"{program.name:28} {passed:4} passed {failed:3} failed   {time.monotonic() - start:5.1f} s")
        if failed:
            say(out)


def conformance(total, _args):
    for program in sorted((SAN / "tests" / "conformance").glob("run_*")):
        if program.suffix:
            continue
        status, out = run([str(program)], 600)
        say(f"== {program.name}\n{out.rstrip()}")
        rows = COUNT.findall(out)
        for passed, failed, skipped in rows:
            total.add(int(passed), int(failed), int(skipped or 0))
            if skipped and int(skipped):
                total.notes.append(f"{program.name}: {skipped} cases, reason in its output above")
        if status != 0 and not any(int(f) for _, f, _ in rows) or not rows:
            total.add(0, 1)
            say(f"{program.name}: exit status {status}")


def fuzz(total, args):
    for program in sorted((FUZZ / "tests" / "fuzz").glob("fuzz_*")):
        if program.suffix:
            continue
        name = program.name[len("fuzz_"):]
        corpus = ROOT / "tests" / "fuzz" / "corpus" / name
        work = FUZZ / "corpus" / name
        work.mkdir(parents=True, exist_ok=True)
        bound = [f"-max_total_time={args.seconds}"] if args.seconds else [f"-runs={FUZZ_RUNS}"]
        argv = [str(program), *bound, "-timeout=20", "-rss_limit_mb=2048", "-print_final_stats=1",
                f"-artifact_prefix={FUZZ}/", str(work)] + ([str(corpus)] if corpus.is_dir() else [])
        start = time.monotonic()
        status, out = run(argv, (args.seconds or 200) + 120)
        runs = re.search(r"number_of_executed_units:\s*(\d+)", out)
        good = status == 0 and runs and (args.seconds or int(runs[1]) >= FUZZ_RUNS)
        total.add(1, 0) if good else total.add(0, 1)
        say(f"{program.name:28} {runs[1] if runs else '?':>8} inputs   {time.monotonic() - start:5.1f} s{'' if good else '   FAILED'}")
        if not good:
            say(out[-8000:])


def e2e(total, args):
    argv = ["/usr/bin/python3", "-m", "pytest", "-q", "-rs", "-p", "no:cacheprovider", "--durations=8", "tests/e2e", *args.pytest]
    ENV.setdefault("GATEPOST", str(SAN / "gatepost"))
    ENV.setdefault("GATEPOST_PLAIN", str(ROOT / "build" / "gatepost"))
    status, out = run(argv, 1800)
    say(out.rstrip())
    last = [line for line in out.splitlines() if re.search(r"\b(passed|failed|error|skipped)\b.* in ", line)]
    counts = dict((word, int(n)) for n, word in re.findall(r"(\d+) (passed|failed|errors?|skipped)", last[-1] if last else ""))
    failed = counts.get("failed", 0) + counts.get("error", 0) + counts.get("errors", 0)
    if status != 0 and not failed:
        failed = 1
    total.add(counts.get("passed", 0), failed, counts.get("skipped", 0))
    total.notes += [line for line in out.splitlines() if line.startswith("SKIPPED")]


PARTS = {"unit": unit, "conformance": conformance, "fuzz": fuzz, "e2e": e2e}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("parts", nargs="+", choices=PARTS)
    parser.add_argument("--seconds", type=int, default=0, help="fuzz each target that long instead of 50,000 inputs")
    parser.add_argument("--pytest", action="append", default=[], help="one more argument for pytest")
    args = parser.parse_args()
    total = Sum()
    start = time.monotonic()
    for part in args.parts:
        say(f"\n---- {part}")
        begin = time.monotonic()
        PARTS[part](total, args)
        say(f"---- {part}: {time.monotonic() - begin:.0f} s")
    if total.notes:
        say("\nskipped:")
        for note in total.notes:
            say(f"  {note}")
    say(f"\nin {time.monotonic() - start:.0f} s")
    say(f"{total.passed} passed, {total.failed} failed, {total.skipped} skipped")
    sys.exit(1 if total.failed else 0)


if __name__ == "__main__":
    main()
