"""Slower before refused: each kind of limit, of a network and of the whole site; and the errors of one session, by POP3 and IMAP as by SMTP."""
import contextlib
import time

import pytest

from lab.backend import Backend
from lab.gateway import parse_logfmt
from lab.pop3_server import Pop3Server
from lab.smtp import Client, mail
from lab.wire import Closed, Wire
from test_limits import BAD, EARLY, GOOD, limits, nobody, status

SLOW_MS, LEAST_S = 240, 0.06     # of the steps before the limit at least one takes so long
TEXT = mail(body=("x" * 70 + "\r\n") * 900)


def command(text):
    return lambda c: c.cmd(text).code


def message(c):
    """MAIL, and the rest if it is taken."""
    began = time.monotonic()
    code = c.cmd("MAIL FROM:<a@sender.example>").code
    took = time.monotonic() - began
    if code == 250:
        c.expect("RCPT TO:<bob@example.com>", 250)
        assert c.data_block(TEXT).code == 250
    return code, took


# What is done again and again: the limit, what begins each session, a step, what is heard at last.
STEPS = {
    "commands": (24, (), command("NOOP"), 421),
    "errors": (8, (), command("WHAT"), 421),
    "recipients": (8, ("MAIL FROM:<a@sender.example>",), command("RCPT TO:<bob@example.com>"), 450),
    "unknown_recipients": (8, ("MAIL FROM:<a@sender.example>",), command("RCPT TO:<x@example.com>"), 421),
    "messages": (6, (), message, 450),
    "bytes": ("384K", (), message, 450),
}


def timed(step, client):
    began = time.monotonic()
    result = step(client)
    return result if isinstance(result, tuple) else (result, time.monotonic() - began)


def until_refused(step, clients):
    """Codes, and how long each took, of steps by turns."""
    codes, took = [], []
    while len(codes) < 60:
        code, seconds = timed(step, clients[len(codes) % len(clients)])
        codes.append(code)
        took.append(seconds)
        if code in (421, 450):
            break
    return codes, took


def told(g, what):
    """The actions on that limit, in their order; whether of a client."""
    g.wait_line(f"event=limit what={what} ")
    found = [parse_logfmt(line) for line in g.process.output().splitlines() if f"event=limit what={what} " in line]
    return [x["action"] for x in found], any("client" in x for x in found)


@pytest.fixture
def server():
    b = Backend({"RCPT": nobody})
    yield b
    b.stop()


@pytest.mark.parametrize("whose", ["client_limits", "site_limits"])
@pytest.mark.parametrize("what", STEPS)
def test_slower_then_refused(lab, server, what, whose):
    limit, before, step, last = STEPS[what]
    conf = limits(whose, period="1h", slow_from=50, slow_max=f"{SLOW_MS}ms", **{what: limit})
    site = whose == "site_limits"
    g = lab([server.port], policy="accept\n", conf=conf + ("\n" + limits() if site else ""))
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(Client(g.port, source=a)) for a in (("127.0.2.1", "127.0.2.2") if site else (BAD,))]
        for c in clients:
            c.ehlo()
            for words in before:
                c.expect(words, 250)
        codes, took = until_refused(step, clients)
        assert codes[-1] == last and len(codes) >= 5, codes
        assert max(took[:-1]) > LEAST_S, took
        if not site:
            with Client(g.port, source=GOOD) as c:
                assert c.message("a@sender.example", "bob@example.com", mail()).code == 250
    actions, of_client = told(g, what)
    assert actions[0] == "slow" and of_client != site, actions
    s = status(g)
    assert s["slowed"][what] >= 2 and s["refused"][what] == 1


@pytest.mark.parametrize("kind", ["imap", "pop3"])
def test_errors_of_one_session(access_gate, imap_server, kind):
    """Ten, and the last ones are answered later."""
    pop3 = Pop3Server()
    server = imap_server() if kind == "imap" else pop3
    g = access_gate({kind: server.port}, backend_options="tls = off", kinds=(kind,), conf=limits(period="1h", errors=1000, slow_max="400ms"))
    took = []
    with Wire(g.ports[kind], source=BAD) as c, contextlib.suppress(Closed):
        c.line()
        while len(took) < 12:
            began = time.monotonic()
            c.send(b"a WHAT\r\n" if kind == "imap" else b"WHAT\r\n")
            c.line()
            took.append(time.monotonic() - began)
    pop3.stop()
    assert all(t >= EARLY * ms / 1000 for t, ms in zip(took[6:10], (80, 160, 240, 320))), took
    assert g.wait_line(rf"event={kind} .*too many errors")
