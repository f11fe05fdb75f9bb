"""tests/run.py itself, over a tree of its own: who ends it ends all that it runs, and what waits its turn never begins."""
import os
import shutil
import signal
import subprocess
import sys
import time

import pytest

from lab.gateway import ROOT
from lab.process import WAIT_S

PROGRAM = """#!/bin/sh
echo $$ >{begun}/$$
sleep 600 &
echo $! >{begun}/$!
wait
"""


def until(what):
    end = time.monotonic() + WAIT_S
    while not (found := what()):
        assert time.monotonic() < end
        time.sleep(0.02)
    return found


def alive(pid):
    try:
        with open(f"/proc/{pid}/stat") as f:
            return f.read().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("part", ["unit", "valgrind"])
def test_ended(tmp_path, part, number):
    begun, programs = tmp_path / "begun", tmp_path / "build" / "tests" / "unit"
    for directory in (begun, programs, tmp_path / "tests" / "unit"):
        directory.mkdir(parents=True)
    shutil.copy(ROOT / "tests" / "run.py", tmp_path / "tests" / "run.py")
    for i in range(8):
        (tmp_path / "tests" / "unit" / f"test_{i}.c").touch()
        (programs / f"test_{i}").write_text(PROGRAM.format(begun=begun))
        (programs / f"test_{i}").chmod(0o755)
    fake = tmp_path / "valgrind"        # the programs here are no programs to it
    fake.write_text('#!/bin/sh\nfor last; do :; done\nexec "$last"\n')
    fake.chmod(0o755)
    text = (tmp_path / "tests" / "run.py").read_text()
    assert "/usr/bin/valgrind" in text
    (tmp_path / "tests" / "run.py").write_text(text.replace("/usr/bin/valgrind", str(fake)))
    # A shell starts with SIGINT ignored what it is to run in the background.
    run = subprocess.Popen([sys.executable, "tests/run.py", part, "--variant", ".", "--jobs", "2"], cwd=tmp_path, stdout=subprocess.PIPE,
                           stderr=subprocess.STDOUT, start_new_session=True, preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN))
    try:
        until(lambda: len(os.listdir(begun)) == 4)
        run.send_signal(number)
        assert run.wait(WAIT_S) != 0
        assert len(os.listdir(begun)) == 4
        until(lambda: not any(map(alive, os.listdir(begun))))
    finally:
        for pid in [run.pid, *map(int, os.listdir(begun))]:
            if alive(pid):
                os.kill(pid, signal.SIGKILL)
        run.communicate()
