"""`make run`: what conf/demo/run.sh starts, and that the commands it prints do what it says of them."""
import os
import pathlib
import re
import shutil
import subprocess
import time

import pytest

from lab import gateway
from lab.process import WAIT_S, Process, free_port

BUILD = pathlib.Path(gateway.BINARY).resolve().parent


@pytest.fixture
def demo():
    """It runs; and a function that runs the one command among those it prints in which the pattern is found."""
    if not BUILD.is_relative_to(gateway.ROOT):
        pytest.skip("the program is of another place")
    place = pathlib.Path("build") / f"demo-test-{os.getpid()}"
    env = {**os.environ, "BUILD": str(BUILD.relative_to(gateway.ROOT)), "DEMO": str(place), "PORT": str(free_port()), "SINK_PORT": str(free_port())}
    shell = Process(["sh", str(gateway.ROOT / "conf/demo/run.sh")], env=env)

    def command(pattern, status=0, **replace):
        (line,) = [x for x in shell.output().splitlines() if x.startswith("  ") and re.search(pattern, x)]
        for name, value in replace.items():
            line = line.replace(name, value)
        done = subprocess.run(["sh", "-c", line], cwd=gateway.ROOT, capture_output=True, text=True, timeout=60)
        assert status is None or done.returncode == status, (line, done)
        return done.stdout

    try:
        shell.wait_line("event=backend name=server .*state=up")
        yield shell, command, gateway.ROOT / place
    finally:
        shell.stop()
        shutil.rmtree(gateway.ROOT / place, ignore_errors=True)


def test_the_commands_it_prints(demo):
    shell, command, place = demo
    command("genuine.eml")
    shell.wait_line("verdict=accept .*from=<alice@good.example>")
    command("-T.*mailing-list.eml")
    sealed = shell.wait_line("verdict=accept .*from=<garden-bounces@lists.example>")
    assert "dkim=fail" in sealed and "dmarc=fail" in sealed and "arc=pass" in sealed, sealed
    explained = command("gatepost explain .*mailing-list.eml")
    assert re.search(r"^  arc\.dmarc_sealers +lists\.example$", explained, re.M) and re.search(r"^  dmarc +fail ", explained, re.M), explained
    assert re.search(r"false +quarantine dmarc-failed: .*\(arc\.dmarc_sealers is \"lists\.example\"\)$", explained, re.M) and "verdict: accept" in explained, explained
    command("-T.*forgery.eml")
    shell.wait_line("verdict=quarantine rule=dmarc-failed")
    command("invoice.eml")
    shell.wait_line("verdict=quarantine rule=programs .*observed=\"invoice: quarantine\"")
    command("listed.eml", status=55)
    shell.wait_line("verdict=reject rule=listed")
    assert len(list((place / "Maildir/new").iterdir())) == 2
    command("dave@far.example")
    shell.wait_line("verdict=accept .*to=<dave@far.example>")
    (sent,) = [x for x in (place / "Maildir/new").iterdir() if b"The drawings" in x.read_bytes()]
    assert b"DKIM-Signature: v=1; a=rsa-sha256;" in sent.read_bytes()
    sent.unlink()
    command("erin@away.example")
    shell.wait_line("event=spool result=later .*mx.away.example")
    assert "mx away.example" in command("spool list")
    end = time.monotonic() + WAIT_S
    while len(command("history -c \\S+$", status=None).splitlines()) < 7:  # written at the keeper's own pace
        assert time.monotonic() < end
        time.sleep(0.05)
    assert "observe invoice: quarantine" in command("history .* -v")
    assert len(command("quarantine list").splitlines()) == 3
    end = time.monotonic() + WAIT_S
    while not (found := command("quarantine search").splitlines()):
        assert time.monotonic() < end
        time.sleep(0.05)
    name = found[-1].split()[0]
    assert "invoice-4711" in command("quarantine show", ID=name)
    assert "released" in command("quarantine release", ID=name)
    assert len(list((place / "Maildir/new").iterdir())) == 3
    changes = command("replay")
    assert "1  quarantine -> accept" in changes and "1  accept -> quarantine" in changes, changes
    assert "verdict: quarantine, by dmarc-failed" in command("gatepost explain.*forgery.eml")
    (line,) = [x for x in shell.output().splitlines() if "kill -HUP" in x]
    subprocess.run(["sh", "-c", line[line.index("kill -HUP"):]], cwd=gateway.ROOT, check=True, timeout=60)
    shell.wait_line("event=reload what=done")
    assert shell.stop() in (0, 143)
