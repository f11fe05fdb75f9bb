"""Runs the parts of the tests, counts their cases, and closes with one line: N passed, N failed, N skipped.

    run.py unit conformance fuzz e2e [--seconds N] [--jobs N] [--only WORD]

A case is a cmocka test, a case of a conformance suite, a fuzz target, a pytest test. A conformance program closes with exactly one line
"name: N passed, N failed, N skipped", its tables above that are for reading; "skipped: ..." lines say what and why. Output is shown for
what fails, and always for conformance. Programs run side by side, one for each processor, from the top of the tree, with a TMPDIR that
goes when all is done; pytest's tests two for each, since they wait more than they work.
"""
import argparse
import concurrent.futures
import contextlib
import os
import pathlib
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parents[1]
PLAIN = ROOT / "build"
FUZZ = PLAIN / "fuzz"
PATIENCE = 1200                  # seconds, with a program that takes some, or a few minutes on a machine that has much else to do
FUZZ_RUNS = 10000
FUZZ_RUNS_SLOW = 800             # a whole session each, a file with all that it names, ...
FUZZ_SLOW = {"arc_sealer", "archive_answer", "charset", "conf", "control", "far_names", "mime_param", "regex", "release"}

CLOSING = re.compile(r"^[a-z0-9-]+: (\d+) passed, (\d+) failed, (\d+) skipped$", re.M)
FAILED = re.compile(r"^\[  FAILED  \] (\w+)$", re.M)
REASON = re.compile(r"^\s*skipped: (.+)$", re.M)
# What a sanitizer says is a failure, whatever the exit status was (a child's may have been thrown away).
SANITIZER = re.compile(r"ERROR: (?:Address|Leak)Sanitizer|runtime error: ")

ENV = dict(os.environ, ASAN_OPTIONS="abort_on_error=0:detect_stack_use_after_return=0",
           UBSAN_OPTIONS="print_stacktrace=1:halt_on_error=1", PYTHONDONTWRITEBYTECODE="1", LC_ALL="C.UTF-8")


class Sum:
    def __init__(self):
        self.passed = self.failed = self.skipped = 0
        self.notes = []
        self.names = []

    def add(self, passed, failed, skipped=0, notes=(), names=()):
        """names: of what has failed, so that the last lines tell it."""
        self.passed += passed
        self.failed += failed
        self.skipped += skipped
        self.notes += notes
        self.names += names if failed else ()


RUNNING, OVER = set(), threading.Event()        # children; nothing more is begun


def end(child):
    for number in (signal.SIGINT, signal.SIGKILL):
        try:
            os.killpg(child.pid, number)
            child.communicate(timeout=20)
            return
        except subprocess.TimeoutExpired:
            continue
        except ProcessLookupError:
            return


def run(argv, timeout):
    """Exit status, output, seconds. What does not end in time is ended, with its children, and has failed."""
    begin = time.monotonic()
    if not os.access(argv[0], os.X_OK):
        return -1, f"{argv[0]} is not built\n", 0
    if OVER.is_set():
        return -1, "", 0
    child = subprocess.Popen(argv, cwd=ROOT, env=ENV, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                             start_new_session=True)
    RUNNING.add(child)
    if OVER.is_set():                   # meanwhile
        os.killpg(child.pid, signal.SIGKILL)
    late = ""
    try:
        for number in (signal.SIGINT, signal.SIGKILL, None):    # pytest ends its servers on the first
            try:
                out = child.communicate(timeout=timeout)[0]
                break
            except subprocess.TimeoutExpired:
                late = f"\n{argv[0]}: no end after {timeout} s\n"
                os.killpg(child.pid, number)
                timeout = 20
    except BaseException:               # we are to end: it does, too
        end(child)
        raise
    finally:
        RUNNING.discard(child)
    return -1 if late else child.returncode, out.decode("utf-8", "replace") + late, time.monotonic() - begin


def say(text):
    print(text, flush=True)


def programs(directory, prefix, only):
    """The programs that have a source: not those that an older tree has left behind."""
    kind = directory.name
    names = sorted(p.stem for p in (ROOT / "tests" / kind).glob(f"{prefix}*.c") if only in p.stem)
    return [directory / name for name in names]


def side_by_side(args, work, items):
    """The results of work(item), in the order of the items, as they come."""
    with concurrent.futures.ThreadPoolExecutor(args.jobs) as pool:
        try:
            yield from zip(items, pool.map(work, items))
        except BaseException:           # we are to end: what runs does, too, and what waits its turn never begins
            OVER.set()
            pool.shutdown(wait=False, cancel_futures=True)
            for child in list(RUNNING):
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(child.pid, signal.SIGKILL)
            raise


def cmocka(program):
    """Tests that passed, names of those that were skipped, number of the failed (or never run), output."""
    status, out, _ = run([str(program)], PATIENCE)
    announced = sum(int(n) for n in re.findall(r"^\[=+\] Running (\d+) test\(s\)", out, re.M))
    passed = re.findall(r"^\[       OK \] (\S+)$", out, re.M)
    skipped = set(re.findall(r"^\[  SKIPPED \] (\S+)$", out, re.M))
    failed = announced - len(passed) - len(skipped)
    if failed <= 0 and (status != 0 or not announced or failed < 0 or SANITIZER.search(out)):
        failed = 1
    return passed, skipped, failed, out


def unit_program(program):
    """A test that the sanitizers' memory makes senseless (what a task costs) runs in the plain build as well."""
    begin = time.monotonic()
    passed, skipped, failed, out = cmocka(program)
    plain = PLAIN / "tests" / "unit" / program.name
    again = set()
    if skipped and plain.exists():
        good, _, more, text = cmocka(plain)
        again = skipped & set(good)
        if more:
            failed += more
            out += f"\nin the plain build:\n{text}"
        skipped -= again
    return len(passed) + len(again), failed, sorted(skipped), len(again), out, time.monotonic() - begin


def unit(total, args):
    for program, result in side_by_side(args, unit_program, programs(PLAIN / args.variant / "tests" / "unit", "test_", args.only)):
        passed, failed, skipped, again, out, seconds = result
        reasons = "; ".join(REASON.findall(out)) or "no reason given, or not for the sanitizers and not built plain"
        total.add(passed, failed, len(skipped), [f"{program.name}: {name} ({reasons})" for name in skipped],
                  [f"{program.name}: {name}" for name in sorted(set(FAILED.findall(out))) or ["no end, or a sanitizer's complaint"]])
        say(f"{program.name:24} {passed:4} passed {failed:3} failed {len(skipped):3} skipped {seconds:6.1f} s"
            + (f"   ({again} of them in the plain build)" if again else ""))
        if failed:
            say(out)


def valgrind(total, args):
    """Unit tests of the plain build: memory read that was not written, too, which the address sanitizer does not see.

    Leaks are not counted here: LeakSanitizer does so in the same programs of "unit", where children of a moment may end as they are."""
    argv = ["/usr/bin/valgrind", "-q", "--error-exitcode=99", "--leak-check=no", "--trace-children=no", f"--suppressions={ROOT}/tests/valgrind.supp"]
    ENV["UNDER_VALGRIND"] = "1"

    def work(program):
        return run([*argv, str(program)], 1800)

    for program, (status, out, seconds) in side_by_side(args, work, programs(PLAIN / "tests" / "unit", "test_", args.only)):
        wrong = status != 0 or re.search(r"^==\d+== ", out, re.M)
        skipped = sorted(set(re.findall(r"^\[  SKIPPED \] (\S+)$", out, re.M)))
        reasons = "; ".join(REASON.findall(out)) or "measures memory, stack or time, which are valgrind's here"
        if not wrong and not re.search(r"^\[       OK \]", out, re.M):
            total.add(0, 0, 1, [f"{program.name} ({reasons})"])
            say(f"{program.name:24} {seconds:6.1f} s   skipped")
            continue
        total.add(int(not wrong), int(bool(wrong)), len(skipped), [f"{program.name}: {name} ({reasons})" for name in skipped], [program.name])
        say(f"{program.name:24} {seconds:6.1f} s{'   FAILED' if wrong else ''}")
        if wrong:
            say(out[-8000:])


def conformance(total, args):
    def work(program):
        return run([str(program)], PATIENCE)

    for program, (status, out, _) in side_by_side(args, work, programs(PLAIN / args.variant / "tests" / "conformance", "run_", args.only)):
        say(f"== {program.name}\n{out.rstrip()}")
        closing = CLOSING.findall(out)
        if len(closing) != 1:
            total.add(0, 1, names=[program.name])
            say(f"{program.name}: FAILED: {len(closing)} closing lines, exit status {status}")
            continue
        passed, failed, skipped = (int(n) for n in closing[0])
        told = skipped and REASON.search(out)           # all of it needs what is not here, and it says so
        if not failed and (status != 0 or not (passed or told) or SANITIZER.search(out)):
            failed = 1
            say(f"{program.name}: FAILED: exit status {status}, {passed} passed")
        reasons = REASON.findall(out) or ["says not why"]
        total.add(passed, failed, skipped, [f"{program.name}: {r}" for r in reasons] if skipped else [],
                  [program.name])


def fuzz_program(program, seconds):
    """Whether it went well, inputs, seeds, output, seconds. The short run starts from the seeds alone and is always the same."""
    name = program.name[len("fuzz_"):]
    seeds = ROOT / "tests" / "fuzz" / "corpus" / name
    count = sum(1 for p in seeds.iterdir() if p.is_file()) if seeds.is_dir() else 0
    few = FUZZ_RUNS_SLOW if name.startswith("session_") or name in FUZZ_SLOW else FUZZ_RUNS
    found = FUZZ / "corpus" / name
    bound = [f"-max_total_time={seconds}"]
    if not seconds:
        found = FUZZ / "short" / name
        shutil.rmtree(found, ignore_errors=True)
        bound = [f"-runs={few}", "-seed=1"]
    found.mkdir(parents=True, exist_ok=True)
    status, out, took = run([str(program), *bound, "-timeout=60", "-rss_limit_mb=2048", "-print_final_stats=1",
                             f"-artifact_prefix={FUZZ}/{name}-", str(found), *([str(seeds)] if count else [])], seconds + PATIENCE)
    runs = re.search(r"number_of_executed_units:\s*(\d+)", out)
    runs = int(runs[1]) if runs else 0
    read = re.search(rf"INFO:\s+(\d+) files found in {re.escape(str(seeds))}$", out, re.M)
    good = status == 0 and runs >= (1 if seconds else few) and count > 0 and read is not None and int(read[1]) == count
    if not count:
        out += f"\nno seeds in {seeds}\n"
    shutil.rmtree(FUZZ / "short" / name, ignore_errors=True)
    return good, runs, count, out, took


def fuzz(total, args):
    def work(program):
        return fuzz_program(program, args.seconds)

    for program, (good, runs, seeds, out, took) in side_by_side(args, work, programs(FUZZ / "tests" / "fuzz", "fuzz_", args.only)):
        total.add(int(good), int(not good), names=[program.name])
        say(f"{program.name:24} {runs:9} inputs from {seeds:3} seeds {took:6.1f} s{'' if good else '   FAILED'}")
        if not good:
            say(out[-8000:])


def e2e(total, args):
    argv = ["/usr/bin/python3", "-m", "pytest", "-q", "-rsfE", "-p", "no:cacheprovider", "--durations=12", "-n", str(args.jobs * 2), "--dist", "loadgroup",
            f"--basetemp={ENV['TMPDIR']}/e2e"]
    argv += ["-k", args.only] if args.only else []
    ENV.setdefault("GATEPOST", str(PLAIN / args.variant / "gatepost"))
    ENV.setdefault("GATEPOST_PLAIN", str(PLAIN / "gatepost"))
    counted = pathlib.Path(ENV["TMPDIR"]) / "counts"
    ENV["COUNTS"] = str(counted)
    status, out, _ = run([*argv, *args.pytest, "tests/e2e"], 1800 + float(os.environ.get("FAULT_SECONDS", "1800" if "GATEPOST_FAULT" in os.environ else "0")))
    say(out.rstrip())
    if counted.exists():
        say("\ncounted:\n" + counted.read_text().rstrip())
    last = re.findall(r"^(?:=+ )?(\d+ (?:passed|failed|skipped|errors?)\b.*) in [\d.]+s", out, re.M)
    counts = {word.rstrip("s") if word == "errors" else word: int(n)
              for n, word in re.findall(r"(\d+) (passed|failed|errors?|skipped)", last[-1] if last else "")}
    failed = counts.get("failed", 0) + counts.get("error", 0)
    if not failed and (status != 0 or not counts.get("passed")):
        failed = 1
    total.add(counts.get("passed", 0), failed, counts.get("skipped", 0),
              [line for line in out.splitlines() if line.startswith("SKIPPED")],
              re.findall(r"^(?:FAILED|ERROR) (\S+)", out, re.M) or ["e2e"])


PARTS = {"unit": unit, "conformance": conformance, "fuzz": fuzz, "e2e": e2e, "valgrind": valgrind}


def place():
    """For temporary files: short, since a socket's path has 107 bytes, and one that the users of servers can enter. TMPDIR, if it is such."""
    wanted = os.path.realpath(tempfile.gettempdir())
    for path in (wanted, "/tmp", "/var/tmp"):
        if len(path) <= 24 and all(os.stat(p).st_mode & 1 for p in [path, *pathlib.Path(path).parents]):
            return path
    return wanted


def cpu():
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("parts", nargs="+", choices=PARTS)
    parser.add_argument("--seconds", type=int, default=0, help=f"fuzz each target that long instead of {FUZZ_RUNS} inputs")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="programs that run side by side")
    parser.add_argument("--variant", default="san", help="the build directory below build/ whose unit tests and gateway are run")
    parser.add_argument("--only", default="", help="programs and tests with that word in their names")
    parser.add_argument("--pytest", action="append", default=[], help="one more argument for pytest")
    args = parser.parse_args()
    total = Sum()
    start = time.monotonic()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    # What a shell starts in the background ignores it, and hands that down: pytest would not be asked to end, but killed with its servers left.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    with tempfile.TemporaryDirectory(prefix="gp-", ignore_cleanup_errors=True, dir=place()) as tmp:
        os.chmod(tmp, 0o755)    # the servers of the lab have users of their own; and short: a socket's path has 107 bytes
        ENV["TMPDIR"] = tmp
        for part in args.parts:
            say(f"\n---- {part}")
            begin, used, before = time.monotonic(), cpu(), total.passed + total.failed
            PARTS[part](total, args)
            if total.passed + total.failed == before:
                say(f"{part}: FAILED: nothing has run")
                total.add(0, 1, names=[part])
            say(f"---- {part}: {time.monotonic() - begin:.0f} s, {cpu() - used:.0f} s of CPU")
    if total.notes:
        say("\nskipped:")
        for note in total.notes:
            say(f"  {note}")
    if total.names:
        say("\nfailed:")
        for name in total.names:
            say(f"  {name}")
    say(f"\nin {time.monotonic() - start:.0f} s")
    say(f"{total.passed} passed, {total.failed} failed, {total.skipped} skipped")
    sys.exit(1 if total.failed else 0)


if __name__ == "__main__":
    main()
