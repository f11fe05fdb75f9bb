"""Filters that ask daemons beside us for a score: the real rspamd and the real spamd; and several scanners at once."""
import contextlib
import os
import socket
import threading

import pytest

from lab.clamd import CLAMD, WORD, Clamd
from lab.process import WAIT_S, free_port
from lab.rspamd import RSPAMD, Rspamd
from lab.smtp import Client, mail
from lab.spamd import SPAMD, Spamd

needs_rspamd = pytest.mark.skipif(not os.path.exists(RSPAMD), reason="rspamd is not installed")
needs_spamd = pytest.mark.skipif(not os.path.exists(SPAMD), reason="spamd is not installed")
needs_clamd = pytest.mark.skipif(not os.path.exists(CLAMD), reason="clamav-daemon is not installed")
SPAM = mail(body="GATEPOST-SPAM-TEST\r\n")


@pytest.fixture(scope="module")
def rspamd(scratch):
    server = Rspamd(scratch / "rspamd")
    yield server
    server.stop()


@pytest.fixture(scope="module")
def spamd(scratch):
    server = Spamd(scratch / "spamd")
    yield server
    server.stop()


def send(g, message, sender="alice@sender.example", to="bob@example.com"):
    with Client(g.port) as c:
        return c.message(sender, to, message)


@needs_rspamd
def test_rspamd(lab, backend, rspamd):
    """Score, action and symbols; who sends, from where and to whom is told; its own skipping."""
    b = backend()
    g = lab([b.port], conf=f'rspamd {{ address = {{ "{rspamd.address}" }} }}', policy="""
reject spam: "550 5.7.1 spam" if rspamd.action = reject and rspamd.score >= 15 and rspamd.symbols = GATEPOST_REJECT
tag all-told: header "X-Told: yes" if rspamd.symbols = TOLD_IP_127_0_0_1 and rspamd.symbols = TOLD_HELO and rspamd.symbols = TOLD_FROM and rspamd.symbols = TOLD_QUEUE_ID
tag null: header "X-Null: yes" if rspamd.symbols = TOLD_NULL
tag two: header "X-Two: yes" if rspamd.symbols = TOLD_RCPTS_2
tag skipped: header "X-Scan: skipped" if rspamd.skipped
quarantine perhaps: if rspamd.action = add_header and rspamd.score = 6 and rspamd.required = 15
accept
""")
    assert send(g, mail(body="GATEPOST-REJECT-TEST\r\n")).code == 550
    line = g.verdict("reject")
    assert "rspamd.action=reject" in line["facts"] and "rspamd.score=" in line["facts"], line
    assert send(g, SPAM).code == 250
    assert len(g.quarantined()) == 1
    assert send(g, mail(), to=["bob@example.com", "carol@example.com"]).code == 250
    assert send(g, mail(), sender="").code == 250
    b.wait_messages(2)
    two, null = (m.data for m in b.messages[-2:])
    assert b"X-Told: yes" in two and b"X-Two: yes" in two and b"X-Null" not in two and b"X-Scan" not in two
    assert b"X-Null: yes" in null and b"X-Two" not in null


@needs_rspamd
def test_rspamd_refuses(lab, backend, rspamd):
    """A message beyond its own max_message: it says so, by HTTP, and is there all the same."""
    b = backend()
    big = mail(body=("y" * 76 + "\r\n") * 20000)
    g = lab([b.port], conf=f'rspamd {{ address = {{ "{rspamd.address}" }} away = pass }}', policy='tag away: header "X-Scan: away" if rspamd.away\naccept\n')
    assert send(g, big).code == 250
    assert b"X-Scan: away" in b.messages[-1].data
    assert send(g, mail()).code == 250
    assert b"X-Scan" not in b.messages[-1].data
    g = lab([b.port], conf=f'rspamd {{ address = {{ "{rspamd.address}" }} max_size = 1M }}', policy='tag skipped: header "X-Scan: skipped" if rspamd.skipped\naccept\n')
    assert send(g, big).code == 250
    assert b"X-Scan: skipped" in b.messages[-1].data


@needs_spamd
def test_spamd(lab, backend, spamd):
    b = backend()
    g = lab([b.port], conf=f'spamd {{ address = {{ "{spamd.address}" }} user = mail max_size = 20K }}', policy="""
reject spam: "550 5.7.1 spam" if spamd.spam and spamd.score >= spamd_limit and spamd.symbols = GATEPOST_TEST
tag ham: header "X-Ham: yes" if spamd.score = -1 and spamd.threshold = 5 and spamd.symbols = GATEPOST_HAM
tag skipped: header "X-Scan: skipped" if spamd.skipped
accept
""".replace("spamd_limit", "6"))
    assert send(g, SPAM).code == 550
    assert "spamd.score=6" in g.verdict("reject")["facts"]
    assert send(g, mail(subject="ham")).code == 250
    assert b"X-Ham: yes" in b.messages[-1].data
    assert send(g, mail(body="GATEPOST-SPAM-TEST\r\n" + ("y" * 76 + "\r\n") * 300)).code == 250
    assert b"X-Scan: skipped" in b.messages[-1].data


@pytest.mark.parametrize("kind", [pytest.param("rspamd", marks=needs_rspamd), pytest.param("spamd", marks=needs_spamd)])
def test_away_and_hung(lab, backend, scratch, kind):
    """Hung, then killed, then back: put off, or let through, as the configuration says."""
    server = (Rspamd if kind == "rspamd" else Spamd)(scratch / f"{kind}-away")
    b = backend()
    section = f'{kind} {{ address = {{ "{server.address}" }} timeout = 500ms connect_timeout = 300ms away = %s }}'
    policy = f'tag away: header "X-Scan: away" if {kind}.away\nreject spam: "550 5.7.1 spam" if {kind}.symbols = GATEPOST_TEST\naccept\n'
    try:
        defers, passes = (lab([b.port], conf=section % away, policy=policy) for away in ("defer", "pass"))
        while send(passes, SPAM).code != 550:          # the first one may take it longer
            pass
        server.freeze()
        assert send(defers, mail()).code == 451
        assert send(passes, SPAM).code == 250
        assert b"X-Scan: away" in b.messages[-1].data
        server.thaw()
        server.kill()
        for _ in range(3):                             # one that it had taken when it died is no refused connection yet
            assert send(defers, mail()).code == 451
            assert send(passes, SPAM).code == 250
        for g in (defers, passes):
            g.wait_line(f"event=daemon name={kind} .*state=away")
        server.start()
        for g in (defers, passes):
            while send(g, SPAM).code != 550:
                pass
    finally:
        server.stop()


@needs_rspamd
def test_explain(lab, backend, rspamd):
    """The command asks all that there are, whether or not a rule does, and says who did not answer in time."""
    slow = Slow()
    try:
        g = lab([backend().port], conf=f'rspamd {{ address = {{ "{rspamd.address}" }} }}\nspamd {{ address = {{ "127.0.0.1:{slow.port}" }} timeout = 500ms }}\n',
                policy='reject if rspamd.action = reject\naccept\n')
        facts = g.explain_json(mail(body="GATEPOST-REJECT-TEST\r\n"))[0]["facts"]
        assert facts["rspamd.action"] == "reject" and "GATEPOST_REJECT" in facts["rspamd.symbols"], facts
        assert facts["spamd.away"] is True and "spamd.skipped" in facts, facts
    finally:
        slow.close()


class Slow:
    """Takes connections and says nothing; tells when so many are there at once."""

    def __init__(self):
        self.port = free_port()
        self.listener = socket.create_server(("127.0.0.1", self.port))
        self.changed = threading.Condition()
        self.peers = []
        threading.Thread(target=self.run, daemon=True).start()

    def run(self):
        while True:
            try:
                peer = self.listener.accept()[0]
            except OSError:
                return
            with self.changed:
                self.peers.append(peer)
                self.changed.notify_all()

    def wait(self, count):
        with self.changed:
            assert self.changed.wait_for(lambda: len(self.peers) >= count, WAIT_S)

    def close(self):
        for s in (*self.peers, self.listener):
            s.close()


def test_side_by_side(lab, backend):
    """A message that three are to look at is before all of them at once; a client that leaves meanwhile is no trouble."""
    slow = Slow()
    try:
        address = f'address = {{ "127.0.0.1:{slow.port}" }} timeout = 60s'
        g = lab([backend().port], conf=f"clamd {{ {address} }}\nrspamd {{ {address} }}\nspamd {{ {address} }}\n",
                policy='reject if virus\nreject if rspamd.action = reject\nreject if spamd.spam\naccept\n')
        with Client(g.port) as c:
            c.ehlo()
            c.envelope("alice@sender.example", "bob@example.com")
            c.expect("DATA", 354)
            c.send(mail() + b".\r\n")
            slow.wait(3)
        slow.close()
    finally:
        slow.close()


@pytest.mark.parametrize("kind, answer", [
    ("clamd", b"1: stream: O"), ("clamd", b"stream: OK\0"), ("clamd", b"1: stream: OK"),
    ("rspamd", b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n{\"score\":1"), ("rspamd", b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"),
    ("rspamd", b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n"), ("rspamd", b"+OK\r\n"),
    ("spamd", b"SPAMD/1.1 0 EX_OK\r\nContent-length: 50\r\nSpam: False ; 0.0 / 5.0\r\n\r\nA,B"), ("spamd", b"SPAMD/1.1 0 EX_OK\r\n"), ("spamd", b"220 hello\r\n")])
def test_cut_and_rubbish(lab, backend, kind, answer):
    """A reply that is cut, or none: never taken for a clean message."""
    listener = socket.create_server(("127.0.0.1", free_port()))

    def serve():
        while True:
            try:
                peer = listener.accept()[0]
            except OSError:
                return
            data = b""
            with peer, contextlib.suppress(OSError):
                while b"A line." not in data and (more := peer.recv(65536)):
                    data += more
                peer.sendall(answer)

    threading.Thread(target=serve, daemon=True).start()
    facts = {"clamd": "virus", "rspamd": "rspamd.action = reject", "spamd": "spamd.spam"}
    g = lab([backend().port], conf=f'{kind} {{ address = {{ "127.0.0.1:{listener.getsockname()[1]}" }} timeout = 20s }}', policy=f"reject if {facts[kind]}\naccept\n")
    try:
        assert send(g, mail()).code == 451
    finally:
        listener.close()


@needs_clamd
@needs_rspamd
def test_both(lab, backend, scratch, rspamd):
    """Two workers, two scanners, many messages at once: each gets the answer that is its own."""
    clamd = Clamd(scratch / "both")
    try:
        g = lab([backend().port], workers=2, conf=f'clamd {{ address = {{ "{clamd.unix}" }} max_connections = 2 }}\nrspamd {{ address = {{ "{rspamd.address}" }} }}\n',
                policy='reject virus: "550 5.7.1 malware" if virus\nreject spam: "554 5.7.1 spam" if rspamd.symbols = GATEPOST_TEST\naccept\n')
        kinds = ((mail(), 250), (SPAM, 554), (mail(body=WORD.decode() + "\r\n"), 550), (mail(body=WORD.decode() + " GATEPOST-SPAM-TEST\r\n"), 550))
        wrong = []

        def client(n):
            for i in range(8):
                message, code = kinds[(i + n) % 4]
                got = send(g, message).code
                if got != code:
                    wrong.append((got, code))

        threads = [threading.Thread(target=client, args=(n,)) for n in range(8)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        assert not wrong
    finally:
        clamd.stop()
