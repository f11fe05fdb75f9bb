"""Another program in the running parent (SIGUSR2), and another configuration (SIGHUP): under load, and no session is lost."""
import contextlib
import os
import pathlib
import pwd
import shutil
import signal
import socket
import struct
import threading
import time

import pytest

from lab import gateway
from lab.dovecot import children as children_of
from lab.imapserver import ImapServer
from lab.lines import Lines
from lab.load import Load
from lab.process import WAIT_S, free_port
from lab.smtp import Client, Closed, mail
from lab.wire import Closed as WireClosed
from lab.wire import Imap

PLAIN = os.environ.get("GATEPOST_PLAIN", gateway.BINARY)
POLICY = "quarantine kept: if header.subject ~ /kept/\naccept\n"


def program(path, version=None, channel=None, of=PLAIN):
    """Another version of the program, put where the path is as a package manager would: by renaming."""
    text = pathlib.Path(of).read_bytes()
    if version:
        at = text.index(b"gatepost version: ") + len(b"gatepost version: ")
        end = text.index(b"\0", at)
        text = text[:at] + version.encode().ljust(end - at)[:end - at] + text[end:]
    if channel:
        at = text.index(b"gatepost channel:\0") + 20
        text = text[:at] + struct.pack("I", channel) + text[at + 4:]
    new = path.with_name(path.name + ".new")
    new.write_bytes(text)
    new.chmod(0o755)
    new.rename(path)
    return path


@pytest.fixture
def gate(lab, tmp_path):
    """Makes gateways from a program of their own, whose file is .path."""
    def make(backends, of=PLAIN, **kw):
        path = program(tmp_path / "bin-gatepost", of=of)
        kw.setdefault("policy", POLICY)
        g = lab(backends, binary=str(path), **kw)
        g.path = path
        return g
    return make


def after(g, number, pattern, **kw):
    mark = g.mark()
    g.process.send(number)
    g.wait_line(pattern, mark, **kw)
    return g.process.output(mark)


def upgrade(g):
    said = after(g, signal.SIGUSR2, r'event=upgrade what="?(done|REFUSED|THE NEW)')
    assert "what=done" in said, said
    return said


def reload(g):
    said = after(g, signal.SIGHUP, r'event=reload what="?(done|refused)')
    assert "what=done" in said, said


def refused(g):
    said = after(g, signal.SIGUSR2, r'event=upgrade what="?(done|REFUSED)')
    assert "REFUSED: the running program goes on" in said, said
    return said


def fds(pid):
    return len(os.listdir(f"/proc/{pid}/fd"))


def wait_for(condition, what):
    end = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < end, what
        time.sleep(0.01)


# everybody who can be inside

class House:
    """A gateway for SMTP, IMAP and another protocol, its servers, and sessions at every stage."""

    def __init__(self, gate, server):
        self.go = threading.Event()
        self.imap = ImapServer(script={"STREAM": self.stream, "IDLE": b"+ idling\r\n"})
        self.lines = Lines(greeting=b"")
        self.imap_port, self.tcp_port = free_port(), free_port()
        self.server = server
        self.g = gate([server.port], workers=2, conf=f"""
listener imap {{ address = "127.0.0.1:{self.imap_port}" protocol = imap backends = {{ "to_imap" }} }}
backend to_imap {{ address = "127.0.0.1:{self.imap.port}" protocol = imap }}
listener other {{ address = "127.0.0.1:{self.tcp_port}" protocol = tcp backends = {{ "to_other" }} }}
backend to_other {{ address = "127.0.0.1:{self.lines.port}" }}
limits {{ sessions_per_client = 1000 }}
""")
        self.said = []

    def stop(self):
        self.go.set()
        self.imap.stop()
        self.lines.stop()

    def stream(self, session, tag, words):
        n = 0
        while not self.go.wait(0.005):
            n += 1
            session.send(b"* %d EXISTS\r\n" % n)
        return b"* LAST %d\r\nTAG OK done\r\n" % n

    def smtp(self, tls=False):
        c = Client(self.g.port)
        c.ehlo()
        if tls:
            c.starttls()
            c.ehlo()
        return c

    def inside(self, name):
        """Sessions of all kinds, each a function that brings it to its end and says what is wrong."""
        def message(c, kind):
            text = mail(subject=f"{name} {kind}")
            c.envelope("a@sender.example", "bob@example.com")
            self.said.append(f"{name} {kind}")
            return text

        def idle(c, kind):
            def finish():
                assert c.data_block(message(c, kind)).code == 250
                assert c.cmd("QUIT").code == 221
                c.close()
            return finish

        def later(c, kind):
            def finish():           # a handshake with a key of the former program's key process
                c.starttls()
                c.ehlo()
                assert c.data_block(message(c, kind)).code == 250
                c.close()
            return finish

        def data(c, kind):
            text = message(c, kind)
            c.expect("DATA", 354)
            c.send(text[:40])

            def finish():
                c.send(text[40:] + b".\r\n")
                assert c.reply().code == 250
                c.close()
            return finish

        def bdat(c, kind):
            text = message(c, kind)
            c.send(b"BDAT 30\r\n" + text[:30])
            assert c.reply().code == 250
            c.send(b"BDAT %d LAST\r\n" % (len(text) - 30) + text[30:60])

            def finish():
                c.send(text[60:])
                assert c.reply().code == 250
                c.close()
            return finish

        def idling(c):
            c.ok(b"a LOGIN ann pass")
            c.send(b"i IDLE\r\n")
            assert c.line().startswith(b"+")

            def finish():
                c.send(b"DONE\r\n")
                c.send(b"n NOOP\r\n")
                while not (line := c.line()).startswith(b"n OK"):
                    assert line
                c.close()
            return finish

        def fetching(c):
            c.ok(b"a LOGIN ann pass")
            c.send(b"s STREAM\r\n")
            assert c.line() == b"* 1 EXISTS\r\n"

            def finish():
                n = 1
                while (line := c.line()).startswith(b"* ") and b"LAST" not in line:
                    n += 1
                    assert line == b"* %d EXISTS\r\n" % n
                assert line == b"* LAST %d\r\n" % n and c.line().startswith(b"s OK")
                c.close()
            return finish

        def other():
            sock = socket.create_connection(("127.0.0.1", self.tcp_port), timeout=WAIT_S)
            file = sock.makefile("rwb")

            def say(word):
                file.write(word + b"\n")
                file.flush()
                assert file.readline() == b"= " + word + b"\n"
            def finish():
                say(b"after")
                file.close()
                sock.close()
            say(b"before")
            return finish

        return {"idle": idle(self.smtp(), "idle"), "idle kept": idle(self.smtp(), "idle kept"), "tls": idle(self.smtp(True), "tls"), "tls later": later(self.smtp(), "tls later"),
                "data": data(self.smtp(), "data"), "data tls": data(self.smtp(True), "data tls"), "data kept": data(self.smtp(), "data kept"),
                "bdat": bdat(self.smtp(), "bdat"), "idling": idling(Imap(self.imap_port)), "fetching": fetching(Imap(self.imap_port)), "other": other()}

    def everything_once(self, names):
        """Each of these is at the server or in the quarantine, once."""
        arrived = [m.data for m in self.server.messages] + [p.read_bytes() for p in self.g.quarantined()]
        found = [line[9:].decode() for data in arrived for line in data.split(b"\r\n") if line.startswith(b"Subject: ")]
        wrong = {n: found.count(n) for n in names if found.count(n) != 1}
        assert not wrong, wrong


class Strict(Load):
    """Nothing is forgiven: each attempt makes a connection, and is answered 250."""

    def __init__(self, port, senders):
        super().__init__(self.one, senders)
        self.port, self.lost = port, []

    def one(self, name, k):
        try:
            with Client(self.port) as c:
                reply = c.message("a@sender.example", "bob@example.com", mail(subject=name + (" kept" if k % 2 else "")))
                if reply.code != 250:
                    self.lost.append((name, repr(reply)))
                return reply
        except (Closed, OSError) as e:
            self.lost.append((name, repr(e)))
            raise


@pytest.fixture
def house(gate, backend):
    h = House(gate, backend())
    yield h
    h.stop()


@pytest.mark.parametrize("change", ["upgrade", "reload"])
def test_nobody_is_lost(house, change):
    g, pid = house.g, house.g.process.pid
    sessions, children = {}, set()
    with Strict(g.port, 4) as load:
        for n in range(3):
            sessions.update({(n, kind): finish for kind, finish in house.inside(f"round {n}").items()})
            children |= set(g.children().values())
            load.each()
            if change == "upgrade":
                program(g.path, f"0.{n + 2}")
                upgrade(g)
                assert os.readlink(f"/proc/{pid}/exe") == str(g.path)
            else:
                reload(g)
            load.each()
    assert load.lost == [], load.lost
    house.go.set()
    for at, finish in sessions.items():
        try:
            finish()
        except (Closed, WireClosed, OSError, AssertionError) as e:
            raise AssertionError(f"{at}: {e!r}") from e
    house.everything_once(house.said + [n + (" kept" if int(n[1:].partition("-")[0]) % 2 else "") for n in load.acknowledged])
    assert g.process.pid == pid and g.process.proc.poll() is None
    if change == "upgrade":
        # whoever was of a former program ends with its last session
        former = children - set(g.children().values())
        wait_for(lambda: not former & set(children_of(pid)), "children of the former programs remain")
        assert not {"gp-worker 1", "gp-worker 2", "gp-state", "gp-store", "gp-history", "gp-spool"} - set(g.children())


def test_twenty_times(gate, backend):
    """The same process, with the same sockets, and no more descriptors than before; the command waits for it and says what it was."""
    server = backend()
    g = gate([server.port])
    pid, begun, names = g.process.pid, fds(g.process.pid), set(g.children())
    for n in range(19):
        program(g.path, "0.%d" % (n % 10))
        upgrade(g)
    program(g.path, "9.9")
    done = g.command("upgrade", "-c", str(g.conf_path))
    assert done.stdout == f"gatepost 0.8 goes on as 9.9, process {pid}\n".encode()
    status = g.command("status", "-c", str(g.conf_path)).stdout.decode()
    assert '"version": "9.9"' in status and '"restarts": 0' in status and '"upgrades_refused": 0' in status
    wait_for(lambda: set(g.children()) == names and fds(pid) <= begun, (g.children(), fds(pid), begun))
    assert pathlib.Path(f"/proc/{pid}/comm").read_text() == "gatepost\n"
    with Client(g.port) as c:
        assert c.message("a@sender.example", "bob@example.com", mail()).code == 250


# what is no program for us

def broken(g, how):
    if how == "gone":
        g.path.unlink()
    elif how == "not executable":
        program(g.path).chmod(0o644)
    elif how == "a directory":
        g.path.unlink()
        g.path.mkdir()
    elif how == "no program":
        g.path.with_name("x").write_bytes(b"\0" * 1000)
        g.path.with_name("x").chmod(0o755)
        g.path.with_name("x").rename(g.path)
    elif how == "another program":
        shutil.copy("/bin/false", g.path.with_name("x"))
        g.path.with_name("x").rename(g.path)
    elif how == "one that likes everything":
        shutil.copy("/bin/true", g.path.with_name("x"))
        g.path.with_name("x").rename(g.path)
    elif how == "a wrong configuration":
        program(g.path)
        g.conf_path.write_text(g.conf_path.read_text() + "nonsense = 1\n")


WHY = {"gone": "No such file", "not executable": "not executable", "a directory": "not executable", "no program": "status 126",
       "another program": "status 1", "one that likes everything": "does not say that it can take over", "a wrong configuration": "gatepost.conf:"}


def test_what_cannot_take_over_is_refused(gate, backend):
    server = backend()
    g = gate([server.port])
    pid, begun, good = g.process.pid, fds(g.process.pid), g.conf_path.read_text()
    with Client(g.port) as c:
        c.ehlo()
        for how, why in WHY.items():
            broken(g, how)
            assert why in refused(g), how
            assert c.cmd("NOOP").code == 250, how
            if how == "a directory":
                g.path.rmdir()
        g.conf_path.write_text(good)
        shutil.copy("/bin/false", g.path)
        done = g.command("-c", "exit 0", check=False)           # /bin/false, whatever it is told
        assert done.returncode == 1
        g.binary = PLAIN
        done = g.command("upgrade", "-c", str(g.conf_path), check=False)
        assert done.returncode == 1 and b"refused" in done.stderr
        wait_for(lambda: fds(pid) <= begun, (fds(pid), begun, [os.readlink(f"/proc/{pid}/fd/{n}") for n in os.listdir(f"/proc/{pid}/fd")]))
        program(g.path)
        upgrade(g)
        assert c.message("a@sender.example", "bob@example.com", mail()).code == 250
    assert len(server.messages) == 1


def test_a_configuration_that_turns_bad_in_between(gate, backend):
    """The former workers go on with what they have; a good one at last, and the new program is there."""
    server = backend()
    g = gate([server.port])
    good, bad = g.conf_path.read_text(), g.conf_path.with_name("bad")
    end = time.monotonic() + WAIT_S
    while time.monotonic() < end:
        bad.write_text(good + "nonsense = 1\n")
        mark = g.mark()
        g.process.send(signal.SIGUSR2)
        g.wait_line("can take over", mark)
        bad.rename(g.conf_path)
        said = g.wait_line(r'event=upgrade what="?(done|REFUSED|THE NEW)', mark)
        if "NO CONFIGURATION" in said:
            break
        g.conf_path.write_text(good)            # too late: once more
    assert "NO CONFIGURATION" in said, said
    old = g.children()
    for name in ("one", "two kept"):
        with Client(g.port) as c:
            assert c.message("a@sender.example", "bob@example.com", mail(subject=name)).code == 250
    assert "NO CONFIGURATION" in after(g, signal.SIGHUP, "NO CONFIGURATION")
    assert g.children() == old
    g.conf_path.write_text(good)
    after(g, signal.SIGHUP, "event=upgrade what=done")
    with Client(g.port) as c:
        assert c.message("a@sender.example", "bob@example.com", mail(subject="three")).code == 250
    wait_for(lambda: not set(g.children().values()) & set(old.values()), "former processes remain")
    assert (len(server.messages), len(g.quarantined())) == (2, 1)


# what else may happen

def test_a_worker_is_killed_meanwhile(gate, backend):
    """Its sessions are lost, nobody else's; the upgrade comes to its end."""
    server = backend()
    g = gate([server.port], workers=2)
    for kill_at in ("is tried", "is executed", "takes over"):
        mark = g.mark()
        victim = g.children()["gp-worker 1"]
        g.process.send(signal.SIGUSR2)
        g.wait_line(kill_at, mark)
        with contextlib.suppress(ProcessLookupError):
            os.kill(victim, signal.SIGKILL)
        g.wait_line("event=upgrade what=done", mark)
        for i in range(4):
            with Client(g.port) as c:
                assert c.message("a@sender.example", "bob@example.com", mail()).code == 250
    assert len(server.messages) == 12


def test_the_service_manager(gate, backend):
    """It is told of a reload, and has its watchdog from the same process; systemctl kill without --kill-whom=main does no harm."""
    g = gate([backend().port], env={"WATCHDOG_USEC": "400000"})
    told = []

    def listen():
        """All the time: the kernel keeps only some for who does not listen, and the watchdog's fill that."""
        for word in ("RELOADING=1", "READY=1", "WATCHDOG=1"):
            g.wait_notify(word)
            told.append(word)

    with Client(g.port) as c:
        c.ehlo()
        manager = threading.Thread(target=listen, daemon=True)
        manager.start()
        for pid in g.children().values():
            os.kill(pid, signal.SIGUSR2)
        upgrade(g)
        manager.join()
        assert told == ["RELOADING=1", "READY=1", "WATCHDOG=1"]
        assert c.cmd("NOOP").code == 250


def test_another_language(gate, backend):
    """Processes that could misread each other never meet: who is inside comes to an end, who comes meanwhile waits, and no message is lost."""
    server = backend()
    g = gate([server.port], conf="timeouts { drain_stop = 20s }")
    with Client(g.port) as idle, Client(g.port) as busy:
        idle.ehlo()
        busy.ehlo()
        busy.envelope("a@sender.example", "bob@example.com")
        busy.expect("DATA", 354)
        program(g.path, "0.2", channel=7)
        mark = g.mark()
        g.process.send(signal.SIGUSR2)
        assert idle.reply().code == 421
        g.wait_line("speak another language than ours: their sessions", mark)
        with Client(g.port, greeting=False) as waiting:
            busy.send(mail(subject="begun before") + b".\r\n")
            assert busy.reply().code == 250
            assert busy.cmd("NOOP").code == 421
            busy.close()
            idle.close()
            g.wait_line("event=upgrade what=done", mark)
            assert waiting.reply().code == 220
            assert waiting.message("a@sender.example", "bob@example.com", mail(subject="kept")).code == 250
    assert b"begun before" in server.messages[0].data and len(g.quarantined()) == 1


@pytest.mark.skipif(os.geteuid() != 0 or "GATEPOST_PLAIN" not in os.environ, reason="needs root and a plain build (GATEPOST_PLAIN)")
def test_as_nobody_in_an_empty_root(gate, backend):
    server = backend()
    g = gate([server.port], conf='user = "nobody"', workers=2)
    nobody = str(pwd.getpwnam("nobody").pw_uid)
    with Client(g.port) as c:
        c.ehlo()
        for n in range(2):
            program(g.path, f"0.{n + 2}")
            upgrade(g)
        assert c.message("a@sender.example", "bob@example.com", mail(subject="inside")).code == 250
    for name, pid in g.children().items():
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):        # one of before, with its last session
            status = pathlib.Path(f"/proc/{pid}/status").read_text()
            assert set(next(line for line in status.splitlines() if line.startswith("Uid:")).split()[1:]) == {nobody}, name
    with Client(g.port) as c:
        assert c.message("a@sender.example", "bob@example.com", mail(subject="kept")).code == 250
    assert (len(server.messages), len(g.quarantined())) == (1, 1)


def test_under_the_sanitizers(gate, backend):
    g = gate([backend().port], of=gateway.BINARY)
    with Client(g.port) as c:
        c.ehlo()
        upgrade(g)
        assert c.message("a@sender.example", "bob@example.com", mail(subject="kept")).code == 250
    assert len(g.quarantined()) == 1
