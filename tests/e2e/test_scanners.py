"""Filters that ask daemons beside us: the real clamd, over TCP and its socket, while it dies, hangs, refuses and moves."""
import os
import pathlib
import signal
import subprocess

import pytest

from lab.clamd import CLAMD, EICAR, WORD, Clamd
from lab.gateway import BINARY
from lab.mailserver import PASSWORD
from lab.pop3_server import Pop3Server
from lab.smtp import Client, mail
from lab.wire import Pop3

PLAIN = os.environ.get("GATEPOST_PLAIN", BINARY)
needs_clamd = pytest.mark.skipif(not os.path.exists(CLAMD), reason="clamav-daemon is not installed")
VIRUS = """
reject virus: "550 5.7.1 malware" if virus
tag away: header "X-Scan: away" if clamd.away
tag skipped: header "X-Scan: skipped" if clamd.skipped
accept
"""
INFECTED = mail(body=f"look at this: {WORD.decode()}\r\n")


@pytest.fixture(scope="module")
def clamd(scratch):
    server = Clamd(scratch / "clamd")
    yield server
    server.stop()


def section(*addresses, **options):
    return (f'clamd {{ address = {{ {", ".join(f"{chr(34)}{a}{chr(34)}" for a in addresses)} }} ' +
            " ".join(f"{k} = {v}" for k, v in options.items()) + " }")


def send(g, message, **kw):
    with Client(g.port, **kw) as c:
        return c.message("alice@sender.example", "bob@example.com", message)


@needs_clamd
@pytest.mark.parametrize("way", ["unix", "address"])
def test_virus(lab, backend, clamd, way):
    """What it finds is refused, with its name in the log; the connection serves for the next message; attachments it decodes by itself."""
    b = backend()
    g = lab([b.port], conf=section(getattr(clamd, way)), policy=VIRUS)
    assert send(g, INFECTED).code == 550
    line = g.verdict("reject")
    assert "virus.name=Gatepost-Test.UNOFFICIAL" in line["facts"], line
    assert send(g, mail()).code == 250
    assert send(g, mail(body=EICAR.decode() + "\r\n")).code == 550
    encoded = subprocess.run(["base64"], input=b"MZ" + WORD, capture_output=True, check=True).stdout.decode().replace("\n", "\r\n")
    attached = mail(extra="MIME-Version: 1.0\r\nContent-Type: application/octet-stream\r\nContent-Transfer-Encoding: base64\r\n", body=encoded)
    assert send(g, attached).code == 550
    b.wait_messages(1)
    assert b"X-Scan" not in b.messages[0].data


@needs_clamd
def test_away_and_back(lab, backend, scratch):
    """Killed: put off, or let through, as the configuration says; said once; as soon as it is back mail goes on."""
    server = Clamd(scratch / "away")
    b = backend()
    try:
        defers = lab([b.port], conf=section(server.unix), policy=VIRUS)
        passes = lab([b.port], conf=section(server.unix, away="pass"), policy=VIRUS)
        for g in (defers, passes):
            assert send(g, mail()).code == 250
        server.kill()
        for _ in range(2):
            assert send(defers, mail()).code == 451
            assert send(passes, INFECTED).code == 250
        assert b"X-Scan: away" in b.messages[-1].data
        for g in (defers, passes):
            g.wait_line("event=daemon name=clamd .*state=away")
            assert g.process.output().count("state=away") == 1
        server.start()
        for g in (defers, passes):
            while send(g, INFECTED).code != 550:        # it is left alone for a second
                pass
            g.wait_line("event=daemon name=clamd .*state=up")
    finally:
        server.stop()


@needs_clamd
def test_hung(lab, backend, scratch):
    """It takes connections and says nothing: the time limit ends that, for the message, and after some for all until it answers again."""
    server = Clamd(scratch / "hung")
    try:
        g = lab([backend().port], conf=section(server.address, timeout="300ms"), policy=VIRUS)
        while send(g, mail()).code != 250:              # the first one may take it longer
            pass
        mark = g.mark()
        server.freeze()
        for _ in range(3):
            assert send(g, mail()).code == 451
        g.wait_line("event=daemon name=clamd .*state=away .*does not answer", mark)
        server.thaw()
        while send(g, INFECTED).code != 550:
            pass
        g.wait_line("event=daemon name=clamd .*state=up", mark)
    finally:
        server.stop()


@needs_clamd
def test_too_large(lab, backend, clamd):
    """Beyond our bound it is not sent; beyond clamd's own it says so. Either way the message is not put off for ever, and a rule can tell."""
    b = backend()
    big = mail(body="x" * 70 + "\r\n" + ("y" * 76 + "\r\n") * 40000 + WORD.decode() + "\r\n")
    for bound, address in (("1M", clamd.unix), ("25M", clamd.unix), ("25M", clamd.address)):
        g = lab([b.port], conf=section(address, max_size=bound), policy=VIRUS)
        assert send(g, big).code == 250
        assert b"X-Scan: skipped" in b.messages[-1].data
        assert send(g, INFECTED).code == 550
        assert "state=away" not in g.process.output()


@needs_clamd
def test_only_if_asked(lab, backend, scratch):
    """A message that a rule above has decided, or that no rule asks about, is not shown to anybody."""
    server = Clamd(scratch / "asked", conf="LogVerbose yes\nLogClean yes\n")
    b = backend()
    try:
        rules = 'accept friends: if header.subject ~ /friend/\n' + VIRUS
        g = lab([b.port], conf=section(server.unix), policy=rules)
        nobody = lab([b.port], conf=section(server.unix), policy="accept\n")
        assert send(g, mail(subject="friend", body=WORD.decode() + "\r\n")).code == 250
        assert send(nobody, INFECTED).code == 250
        assert "instream" not in server.process.output()
        assert send(g, mail()).code == 250
        server.process.wait_line(r"instream\(.*OK")
        mark = server.process.mark()
        with Client(g.port) as c:               # two recipients, one scan
            assert c.message("alice@sender.example", ["bob@example.com", "carol@example.com"], INFECTED).code == 550
        server.process.wait_line("FOUND", mark)
        assert server.process.output(mark).count("instream(") == 1
    finally:
        server.stop()


@needs_clamd
def test_stand_in(lab, backend, scratch, clamd):
    """Two addresses: the second takes over, no message waits for the first."""
    server = Clamd(scratch / "first")
    try:
        g = lab([backend().port], conf=section(server.unix, clamd.address), policy=VIRUS, workers=2)
        assert send(g, INFECTED).code == 550
        server.kill()
        for _ in range(6):
            assert send(g, INFECTED).code == 550
            assert send(g, mail()).code == 250
    finally:
        server.stop()


@needs_clamd
def test_reload(lab, backend, scratch, clamd):
    """A configuration with another socket: new sessions ask there; a session of before goes on with its own."""
    server = Clamd(scratch / "before")
    try:
        g = lab([backend().port], conf=section(server.unix), policy=VIRUS)
        with Client(g.port) as old:
            assert old.message("alice@sender.example", "bob@example.com", mail()).code == 250
            g.write_conf(conf=section(clamd.unix))
            mark = g.mark()
            g.process.send(signal.SIGHUP)
            g.wait_line("event=reload what=done", mark)
            assert send(g, INFECTED).code == 550
            old.send(b"RSET\r\n")
            assert old.reply().code == 250
            assert old.message("alice@sender.example", "bob@example.com", INFECTED).code == 550
        server.kill()
        assert send(g, INFECTED).code == 550
    finally:
        server.stop()


@needs_clamd
def test_fetched(access_gate, clamd):
    """Of mail that users fetch the rules can ask, too: a notice is shown in place of the message."""
    server = Pop3Server(None, messages=(INFECTED, mail()))
    g = access_gate({"pop3": server.port}, "scan = yes", "tls = off", kinds=("pop3",), conf=section(clamd.unix), policy="quarantine virus: if virus\naccept\n")
    try:
        with Pop3(g.ports["pop3"]) as c:
            c.ok(b"USER anna")
            c.ok(b"PASS " + PASSWORD.encode())
            assert WORD not in c.ok(b"RETR 1", lines=True)
            assert b"A line." in c.ok(b"RETR 2", lines=True)
        assert "virus.name=Gatepost-Test.UNOFFICIAL" in g.wait_line("event=retrieval .*verdict=notice")
    finally:
        server.stop()


@needs_clamd
def test_explain(lab, backend, clamd):
    """The command that shows what would be asks the scanner, too; check says who is asked by no rule."""
    g = lab([backend().port], conf=section(clamd.unix), policy=VIRUS)
    facts = g.explain_json(INFECTED)[0]["facts"]
    assert facts["virus"] is True and facts["virus.name"] == "Gatepost-Test.UNOFFICIAL", facts
    g.policy_path.write_text("accept\n")
    assert b"clamd: no rule of the policy asks for virus" in g.command("check", "-c", str(g.conf_path), check=False).stderr


@needs_clamd
@pytest.mark.skipif(os.geteuid() != 0, reason="only root has something to give up")
@pytest.mark.skipif(b"__asan_init" in pathlib.Path(PLAIN).read_bytes(), reason="needs the plain binary")
def test_confined(lab, backend, scratch):
    """A worker in its sandbox, and a socket that is the user's of clamd alone, in a directory that nobody else may enter."""
    server = Clamd(scratch / "confined", user="clamav", mode="600")
    os.chmod(server.dir, 0o700)
    try:
        g = lab([backend().port], conf=section(server.unix) + '\nuser = nobody\nkeeper_user = daemon\nkey_user = mail\n', policy=VIRUS, binary=PLAIN, workers=2)
        for _ in range(4):
            assert send(g, INFECTED).code == 550
            assert send(g, mail()).code == 250
    finally:
        server.stop()
