"""
Many who want nothing good: memory stays within its bound, a good client's message gets through within twice its usual time, and strangers hear 421
before that. The plain program: a sanitizer's memory and time say nothing. `make soak` runs these at full size (LOAD=full).
"""
import os
import time

import pytest

from lab.attackers import Attackers
from lab.measure import compare, memory_mib, status
from lab.smtp import Client

FULL = os.environ.get("LOAD") == "full"


def of_size(short, full):
    return full if FULL else short


def say(request, **figures):
    """What was measured, for the log of the run."""
    print(f"\n{request.node.name}: " + ", ".join(f"{k} {v:.0f}" if isinstance(v, float) else f"{k} {v}" for k, v in figures.items()))


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "starttls"])
def test_idle(load_gate, request, tls):
    g, good, usual = load_gate()
    before = memory_mib(g)
    with Attackers("idle", g.port, of_size(2000, 5000), processes=2, tls=tls) as a:
        a.wait("ready", 2, timeout=300)
        took = compare(good, usual)
        held = memory_mib(g)
        say(request, before_mib=before, held_mib=held, sessions=a.figures()["open"], usual_ms=took[0], then_ms=took[1])
        assert a.figures()["open"] == of_size(2000, 5000)
        assert held < 200
    assert good.busy == 0


def test_slow_clients(load_gate, request):
    g, good, usual = load_gate("sessions = 30000")
    with Attackers("slow", g.port, of_size(1000, 10000), processes=2) as a:
        a.wait("ready", 2, timeout=300)
        a.wait("bytes", of_size(2000, 100000), timeout=300)
        took = compare(good, usual)
        say(request, held_mib=memory_mib(g), sessions=a.figures()["open"], usual_ms=took[0], then_ms=took[1])
        assert memory_mib(g) < 400
        assert a.figures()["open"] >= of_size(1000, 10000) * 0.9
    assert good.busy == 0


def test_flood_of_connects(load_gate, request):
    """Who comes is served, or hears 421; either way the good client is not slowed."""
    g, good, usual = load_gate()
    with Attackers("flood", g.port, 1000, processes=2) as a:
        a.wait("tried", of_size(2000, 100000), timeout=300)
        began, tried = time.monotonic(), a.figures()["tried"]
        took = compare(good, usual)
        rate = (a.figures()["tried"] - tried) / (time.monotonic() - began)
        f = a.figures()
        say(request, connects_a_second=rate, greeted=f["greeted"], busy=f["busy"], held_mib=memory_mib(g), usual_ms=took[0], then_ms=took[1])
        assert memory_mib(g) < 200
    assert good.busy == 0


def test_strangers_are_turned_away_first(load_gate, request):
    """Of 400 sessions strangers get 300 to 360; then they hear 421, and who is known or one of ours still comes in. Nobody inside is slower for it."""
    g, good, usual = load_gate('sessions = 400 shed_lag = "10s"', conf='relay_networks = { "127.0.0.1" }')
    with Attackers("idle", g.port, 500, pace=0.1, step=20, gently=True) as a:
        a.wait("busy", 50, timeout=120)
        inside = status(g)["limits"]["smtp_sessions"]
        took = compare(good, usual)
        with Client(g.port, source="127.0.0.1") as ours:
            ours.ehlo()
        told = status(g)["load"]
        say(request, inside=inside, busy=a.figures()["busy"], percent=told["percent"], usual_ms=took[0], then_ms=took[1])
        assert 300 <= inside <= 364 and 75 <= told["percent"] <= 91
        assert told["turned_away"] >= 50 and told["turned_away_wanted"] == 0
    assert good.busy == 0
    assert g.process.output().count('what="new connections are turned away" why=sessions') <= 2         # one for each worker
    g.wait_line('event=load what="nobody is turned away any more" .* strangers=')
