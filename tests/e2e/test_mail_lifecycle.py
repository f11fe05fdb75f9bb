"""Sessions of IMAP and POP3 when the gateway stops, reloads or loses a worker: in each of their phases."""
import signal
import socket
import threading

import pytest
from lab.gateway import parse_logfmt
from lab.imapserver import ImapServer
from lab.process import WAIT_S
from lab.wire import Imap, Wire


class Stage:
    """A server that is slow where a test wants it so: LOGIN SLOW is answered when .go is set, STREAM goes on until then."""

    def __init__(self):
        self.go, self.asked, self.streaming = threading.Event(), threading.Event(), threading.Event()
        self.server = ImapServer(script={"LOGIN": self.login, "STREAM": self.stream})

    def login(self, session, tag, words):
        if b"SLOW" in words:
            self.asked.set()
            assert self.go.wait(WAIT_S)

    def stream(self, session, tag, words):
        n = 0
        while not self.go.wait(0.01) or n < 20:
            n += 1
            session.send(b"* %d EXISTS\r\n" % n)
            if n == 10:
                self.streaming.set()
        return b"* LAST %d\r\nTAG OK done\r\n" % n


@pytest.fixture
def stage():
    s = Stage()
    yield s
    s.go.set()
    s.server.stop()


@pytest.fixture
def gate(access_gate, stage):
    return access_gate({"imap": stage.server.port}, kinds=("imap", "imaps"))


def phases(g, stage):
    """One session in each: {phase: client}."""
    out = {"hello": Wire(g.ports["imaps"]), "greeted": Imap(g.ports["imap"]), "tls": Imap(g.ports["imaps"], tls=True), "dialogue": Imap(g.ports["imap"])}
    out["half hello"] = Wire(g.ports["imaps"])
    out["half hello"].send(b"\x16\x03\x01\x02\x00\x01")
    out["dialogue"].send(b"a AUTHENTICATE PLAIN\r\n")
    assert out["dialogue"].line().startswith(b"+")
    out["literal"] = Imap(g.ports["imap"])
    out["literal"].send(b"a LOGIN {5}\r\n")
    assert out["literal"].line().startswith(b"+")
    out["asking"] = Imap(g.ports["imap"])
    out["asking"].send(b"a LOGIN SLOW pass\r\n")
    assert stage.asked.wait(WAIT_S)
    for name, kind in (("idle", "imap"), ("idle tls", "imaps"), ("stream", "imap"), ("stream tls", "imaps")):
        out[name] = Imap(g.ports[kind], tls=kind == "imaps")
        out[name].ok(b"a LOGIN ann pass")
        if name.startswith("stream"):
            stage.streaming.clear()
            out[name].send(b"s STREAM\r\n")
            assert stage.streaming.wait(WAIT_S)
    return out


def ended(c):
    c.sock.settimeout(WAIT_S)
    try:
        return c.rest()
    except (ConnectionError, OSError) as e:
        assert not isinstance(e, socket.timeout)
        return b""


def whole(c):
    """The stream, to its end."""
    out = c.until(b"s").split(b"\r\n")
    last = int(out[-3].split()[-1])
    assert out[:-3] == [b"* %d EXISTS" % n for n in range(1, last + 1)]


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGHUP], ids=["stop", "reload"])
def test_in_each_phase(gate, stage, how):
    """Where bytes flow they flow to their end; at a stop the others end at once, and their server's connections with them; each has its line."""
    g, mark = gate, gate.mark()
    all_of_them = phases(g, stage)
    g.process.send(how)
    g.wait_line("event=stop" if how == signal.SIGTERM else 'event=reload what="?done', mark)
    if how == signal.SIGTERM:
        for name, c in all_of_them.items():
            if not name.startswith("stream"):
                said = ended(c)
                assert (b"BYE" in said) == (name not in ("hello", "half hello", "idle", "idle tls")), (name, said)
    else:
        all_of_them["greeted"].ok(b"l LOGIN ann pass")
        all_of_them["idle tls"].ok(b"n NOOP")
    stage.go.set()
    for name in ("stream", "stream tls"):
        whole(all_of_them[name])
        all_of_them[name].close()
    for c in all_of_them.values():
        c.close()
    if how == signal.SIGTERM:
        assert g.process.wait() == 0
        lines = [parse_logfmt(x) for x in g.process.lines[mark:] if "event=imap " in x]
        ends = sorted((x["end"], x.get("user", "")) for x in lines)
        closed = ends.count(("closed", "ann"))      # the streams, unless their client has taken a second for it
        assert closed <= 2
        assert ends == [*[("closed", "ann")] * closed, *[("shutting down", "")] * 5, *[("shutting down", "ann")] * (4 - closed), *[("tls failed", "")] * 2], ends
    stage.server.wait(lambda: not any(s.open for s in stage.server.sessions))


def test_a_worker_dies(access_gate, stage):
    """Its sessions end, and the places that they held are free."""
    g = access_gate({"imap": stage.server.port}, kinds=("imap", "imaps"), backend_options="max_sessions = 9", options="max_connections = 9")
    clients = list(phases(g, stage).values())
    with Imap(g.ports["imap"]) as c:
        assert b"BYE [UNAVAILABLE]" in c.greeting
    g.kill_child("gp-worker 1")
    for c in clients:
        ended(c)
    for _ in range(9):
        clients.append(Imap(g.ports["imap"]))
        clients[-1].ok(b"a LOGIN ann pass")
    for c in clients:
        c.close()
