"""Every wait ends. Timeouts of a second or two, and the gateway's own word for each end."""
import select
import threading
import time

import pytest

from lab.process import WAIT_S
from lab.recorder import Recorder
from lab.smtp import Client, Closed, insecure, mail


@pytest.fixture(scope="module")
def recorder():
    with Recorder() as r:
        yield r


def last_words(c):
    """The replies until the end."""
    out = []
    try:
        while True:
            out.append(c.reply().code)
    except Closed as e:
        assert e.args[0] == b""
    return out


def begun(g, begin):
    """A session as far as begin(c) brings it. On a busy machine that may take longer than the gateway listens: then once more."""
    end = time.monotonic() + WAIT_S
    while True:
        c = Client(g.port)
        try:
            begin(c)
            return c
        except (AssertionError, Closed, OSError):
            c.close()
            if time.monotonic() > end:
                raise


def trickle(c, octet, pause=0.2, most=60):
    """One octet at a time until the gateway says something; how many went."""
    for n in range(int(most / pause)):
        if select.select([c.sock], [], [], pause)[0]:
            return n
        c.send(octet)
    raise AssertionError("the gateway listens for ever")


def test_silence(lab, recorder):
    """Silent before EHLO, after it, in a transaction, in half a command, inside TLS, in DATA and in a chunk: 421, all at once."""
    g = lab([recorder.port], conf='timeouts { command = "1s" data = "1s" }')

    def begin(c, name):
        if name == "greeting":
            return
        c.ehlo()
        if name == "tls":
            c.starttls(insecure())
            c.ehlo()
        if name in ("mail", "rcpt", "data", "chunk"):
            c.expect("MAIL FROM:<a@sender.example>", 250)
        if name in ("rcpt", "data", "chunk"):
            c.expect("RCPT TO:<bob@example.com>", 250)
        if name == "half":
            c.send(b"NOO")
        if name == "data":
            c.expect("DATA", 354)
            c.send(b"Message-ID: <1@sender.example>\r\nSubject: half\r\n")
        if name == "chunk":
            c.send(b"BDAT 1000\r\nSubject: half\r\n")

    clients = {name: begun(g, lambda c, name=name: begin(c, name)) for name in ("greeting", "ehlo", "mail", "rcpt", "half", "tls", "data", "chunk")}
    ends = {}

    def listen(name, c):
        ends[name] = last_words(c)

    threads = [threading.Thread(target=listen, args=item) for item in clients.items()]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert ends == {name: [421] for name in clients}
    g.wait_line("verdict=none reason=timeout")
    assert not recorder.taken


def test_one_octet_at_a_time_is_one_command(lab, recorder):
    """The command's time is for the whole line, whatever trickles in."""
    g = lab([recorder.port], conf='timeouts { command = "1s" }')
    with begun(g, Client.ehlo) as c:
        trickle(c, b"x")
        assert last_words(c) == [421]


def test_slow_loris_in_data(lab, recorder):
    """Each block comes in time, but the message never ends: it has a budget of its own. So has a chunk."""
    g = lab([recorder.port], conf='timeouts { command = "30s" data = "5s" transaction = "2s" }')
    for begin in ("DATA", "BDAT 100000"):
        with Client(g.port) as c:
            c.ehlo()
            c.envelope("a@sender.example", "bob@example.com")
            begun_s = time.monotonic()
            if begin == "DATA":
                c.expect(begin, 354)
            else:
                c.send(begin.encode() + b"\r\n")
            assert trickle(c, b"x") >= 1
            assert last_words(c) == [421] and time.monotonic() - begun_s > 1.9


def test_the_session_has_a_budget(lab, recorder):
    g = lab([recorder.port], conf='timeouts { command = "60s" session = "2s" }')
    begun = time.monotonic()
    with Client(g.port) as c:
        c.ehlo()
        with pytest.raises(Closed):
            while time.monotonic() - begun < WAIT_S:
                reply = c.cmd("NOOP")
                if reply.code == 421:
                    assert reply.text.startswith("4.4.2")
                    raise Closed
                select.select([c.sock], [], [], 0.05)
    assert time.monotonic() - begun >= 1.9


def test_a_message_given_up_gives_its_time_back(lab, recorder):
    """After BDAT and RSET the session has its own time again."""
    recorder.empty()
    g = lab([recorder.port], conf='timeouts { transaction = "3s" command = "60s" }', policy="accept\n")
    with Client(g.port) as c:
        c.ehlo()
        c.envelope("a@sender.example", "bob@example.com")
        c.send(b"BDAT 3\r\nabc")
        assert c.reply().code == 250
        c.expect("RSET", 250)
        assert not select.select([c.sock], [], [], 3.5)[0]
        assert c.message("a@sender.example", "bob@example.com", mail()).code == 250


def test_a_slow_client_keeps_no_backend_session(lab):
    """max_sessions = 1: somebody who stalls between RCPT and DATA, or in DATA, does not keep others out."""
    with Recorder() as r:
        g = lab([r.port], backend_options="max_sessions = 1", policy="accept\n")
        with Client(g.port) as stalled, Client(g.port) as slow, Client(g.port) as good:
            stalled.ehlo()
            assert stalled.envelope("stalled@sender.example", "bob@example.com")[0].code == 250
            slow.ehlo()
            assert slow.envelope("slow@sender.example", "bob@example.com")[0].code == 250
            slow.expect("DATA", 354)
            slow.send(mail(subject="slow")[:50])
            assert good.message("good@sender.example", "bob@example.com", mail(subject="good")).code == 250     # while both others stall
            slow.send(mail(subject="slow")[50:] + b".\r\n")
            assert slow.reply().code == 250             # recipients are asked for anew
            assert stalled.data_block(mail(subject="stalled")).code == 250
        assert sorted(t.original for t in r.taken) == sorted(mail(subject=s) for s in ("good", "slow", "stalled"))
        for t in r.taken:
            assert len(t.rcpts) == 1


def test_a_client_that_reads_nothing(lab, recorder):
    """Its replies fill its window; it holds a bounded amount of memory, and others go on."""
    recorder.empty()
    g = lab([recorder.port], conf="limits { errors = 10000 line = 64K }", policy="accept\n")
    with Client(g.port) as deaf:
        deaf.sock.setblocking(False)
        sent = 0
        try:
            while sent < 64 << 20:
                sent += deaf.sock.send(b"NOOP\r\n" * 10000)
        except BlockingIOError:
            pass
        assert sent < 64 << 20, "the gateway reads on though nobody takes its replies"
        with Client(g.port) as good:
            assert good.message("a@sender.example", "bob@example.com", mail()).code == 250
