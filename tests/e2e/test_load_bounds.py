"""
Memory, open files and a late loop as what becomes scarce: strangers hear 421 first, whom the site wants still comes in, who is inside stays, and mail goes on.
Sessions as the reason: test_load.py. The plain program.
"""
import contextlib
import os
import signal
import time

import pytest

from lab.attackers import Attackers
from lab.gateway import parse_logfmt
from lab.measure import memory_mib, status
from lab.smtp import Client, mail

TOTAL_MIB, OURS = 64, "127.1.0.9"       # who is near (attackers.py) is one of ours, too
WANTED = 'relay_networks = { "127.1.0.0/16" }'
GOOD = "127.0.0.25"


@pytest.fixture
def gate(lab, load_sink):
    """Two workers, which know GOOD by its mail."""
    def make(limits, conf="", workers=2, **kw):
        g = lab([load_sink], binary=os.environ.get("GATEPOST_PLAIN"), policy="accept\n", workers=workers,
                conf=f"limits {{ sessions_per_client = 10000 transactions = 100000 {limits} }} {WANTED} {conf}", **kw)
        assert message(g, GOOD) == 250
        return g
    return make


def message(g, source):
    """The code of the answer that decides."""
    with Client(g.port, source=source, timeout=60) as c:
        return c.greeting.code if c.greeting.code != 220 else c.message("alice@good.example", "bob@example.com", mail()).code


def until(what, seconds=120):
    """What is asked may be refused meanwhile: a crowd may overshoot between two looks, and what it had in memory is given back now and then."""
    end = time.monotonic() + seconds
    while not (found := what()):
        assert time.monotonic() < end
        time.sleep(0.05)
    return found


def begun(g, why):
    return parse_logfmt(g.wait_line(rf'event=load what="new connections are turned away" why="?{why}"? '))


@pytest.mark.skipif("build/cov" in os.environ.get("GATEPOST", ""), reason="the counters of the coverage build take a part of the memory")
def test_memory(gate, record_property):
    """Of 64 MiB strangers get to 90 %, ours near the bound, where no message is begun any more. What all processes have of their own stays
    below it throughout (programs and lists are files, and do not count)."""
    g = gate(f'memory_total = {TOTAL_MIB}M shed_lag = "10s"')
    highest = [memory_mib(g, "Pss_Anon")]

    def held():
        highest.append(memory_mib(g, "Pss_Anon"))
        return highest[-1]

    with Client(g.port, source=OURS, timeout=60) as inside, Attackers("idle", g.port, 6000, processes=2, pace=0.1, step=20, gently=True) as strangers:
        inside.ehlo()
        strangers.wait("busy", 300)
        begun(g, "memory")
        told = status(g)["load"]
        assert told["turned_away_wanted"] == 0 and held() < TOTAL_MIB
        inside.expect("NOOP", 250)
        until(lambda: message(g, GOOD) == 250)
        until(lambda: message(g, OURS) == 250)
        sessions = strangers.figures()["open"]
        with Attackers("idle", g.port, 6000, near=True, pace=0.1, step=20, gently=True) as ours:
            until(lambda: held() and inside.cmd("MAIL FROM:<a@good.example>").code == 452 or inside.cmd("RSET").code != 250)
            inside.expect("NOOP", 250)
            ours.alive()
        told = status(g)["load"]
        assert told["messages_deferred"] >= 1 and told["memory_total"] == TOTAL_MIB << 20
    # They have gone: mail goes on, at first that of those who are known.
    until(lambda: message(g, GOOD) == 250)
    held()
    record_property("count", f"memory_total = {TOTAL_MIB}M: strangers turned away with {sessions} sessions inside; {highest[0]:.0f} MiB at first, {max(highest):.0f} at most")
    assert max(highest) < TOTAL_MIB
    until(lambda: message(g, OURS) == 250)


def test_descriptors(gate):
    g = gate('sessions = 5000 shed_lag = "10s"', workers=1, wrap=("prlimit", "--nofile=400:400"))
    with Client(g.port, source="127.9.9.9") as inside, Attackers("idle", g.port, 600, pace=0.1, step=20, gently=True) as a:
        a.wait("busy", 50, 120)
        begun(g, "descriptors")
        assert 230 <= a.figures()["open"] <= 362
        until(lambda: message(g, GOOD) == 250)
        until(lambda: message(g, OURS) == 250)
        inside.ehlo()
        told = status(g)["load"]
        assert told["turned_away"] >= 50 and told["turned_away_wanted"] * 10 <= told["turned_away"]
    until(lambda: message(g, "127.8.8.8") == 250)


def test_lag(gate):
    """The worker's loop comes late, again and again: it is stopped. None of those inside loses anything, and ours come in all the time."""
    g = gate('shed_lag = "300ms"', workers=1)
    worker = g.children()["gp-worker 1"]
    with contextlib.ExitStack() as stack:
        inside = stack.enter_context(Attackers("idle", g.port, 150))
        before = inside.wait("ready")["ended"]          # who was turned away, and came again
        more = stack.enter_context(Attackers("flood", g.port, 100))
        end = time.monotonic() + 60
        while more.figures()["busy"] < 30:
            assert time.monotonic() < end, more.figures()
            os.kill(worker, signal.SIGSTOP)
            time.sleep(0.5)
            os.kill(worker, signal.SIGCONT)
            time.sleep(0.05)
        begun(g, "lag")
        assert message(g, OURS) == 250 and message(g, GOOD) == 250
        figures = inside.figures()
        assert (figures["open"], figures["ended"]) == (150, before), figures
        told = status(g)["load"]
        assert told["turned_away"] >= 30 and told["turned_away_wanted"] == 0
    until(lambda: message(g, "127.8.8.8") == 250)
