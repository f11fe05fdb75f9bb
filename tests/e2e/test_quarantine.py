"""The quarantine: what is kept and how, that 250 comes after it is on the disk and never before, and that it is never in the way of clean mail."""
import contextlib
import json
import os
import shutil
import signal
import sqlite3

import pytest

from lab.process import WAIT_S
from lab.smtp import Client, Closed, mail

POLICY = """
quarantine hold: if header.subject ~ /hold/ and rcpt = "carol@example.com"
accept
"""
PLAIN = os.environ.get("GATEPOST_PLAIN")


def send(g, subject, *rcpts, body="A line.\r\n"):
    with Client(g.port) as c:
        return c.message("a@sender.example", rcpts, mail(subject=subject, body=body))


def metadata(path):
    return json.loads(path.with_suffix(".json").read_text())


def test_what_is_kept(lab, backend):
    g = lab([backend().port], policy=POLICY)
    message = mail(subject="hold\xe9", body="8-bit: \xff\x80\r\n.dot\r\n\r\n \t\r\n").decode().encode("latin-1")
    with Client(g.port, source="127.0.0.25") as c:
        c.ehlo()
        c.starttls()
        c.ehlo("mail.good.example")
        c.expect("MAIL FROM:<a+b@sender.example> BODY=8BITMIME RET=HDRS ENVID=x", 250)
        c.expect("RCPT TO:<carol@example.com> NOTIFY=NEVER", 250)
        assert c.data_block(message).code == 250
    (path,) = g.quarantined()
    assert path.read_bytes() == message
    assert path.stat().st_mode & 0o077 == 0
    m = metadata(path)
    assert m["client"]["ip"] == "127.0.0.25" and m["client"]["helo"] == "mail.good.example" and m["client"]["tls"]
    assert m["envelope"]["from"] == "a+b@sender.example"
    assert {"BODY=8BITMIME", "RET=HDRS", "ENVID=x"} <= set(m["envelope"]["params"].split(" "))
    assert m["envelope"]["rcpt"] == [{"address": "carol@example.com", "params": "NOTIFY=NEVER"}]
    assert m["verdict"]["action"] == "quarantine" and m["verdict"]["rule"]["name"] == "hold"
    assert m["facts"]["rcpt"] == "carol@example.com"
    line = g.verdict("quarantine")
    assert line["quarantine"] == path.stem and line["rule"] == "hold"
    with sqlite3.connect(f"file:{g.state}/quarantine/quarantine.db?mode=ro", uri=True) as db:
        assert db.execute("SELECT id, bytes, sender FROM message").fetchall() == [(path.stem, len(message), "a+b@sender.example")]
        assert db.execute("SELECT address FROM party WHERE role = 'to'").fetchall() == [("@example.com",), ("carol@example.com",)]
        assert db.execute("SELECT address FROM party WHERE role = 'from' AND address LIKE '@%'").fetchall()
    db.close()


def test_no_250_while_the_keeper_is_silent(lab, backend):
    """Frozen, it answers nothing: neither does the gateway say 250. Then it dies: 451, and the message that comes again is kept."""
    g = lab([backend().port], policy=POLICY)
    keeper = g.children()["gp-store"]
    with Client(g.port) as c:
        c.ehlo()
        c.envelope("a@sender.example", "carol@example.com")
        c.expect("DATA", 354)
        os.kill(keeper, signal.SIGSTOP)
        c.send(mail(subject="hold") + b".\r\n")
        c.sock.settimeout(0.5)
        with pytest.raises(TimeoutError):
            c.line()
        # clean mail flows beside it
        assert send(g, "clean", "bob@example.com").code == 250
        c.sock.settimeout(WAIT_S)
        g.kill_child("gp-store")
        reply = c.reply()
        assert reply.code in (451, 250) and (reply.code == 451 or g.quarantined()), reply
    assert send(g, "hold", "carol@example.com").code == 250
    assert g.quarantined()


def test_the_worker_dies_before_the_250(lab, backend):
    """The client has heard nothing, and comes again: at least one copy, nothing lost; no 250 was said."""
    g = lab([backend().port], policy=POLICY)
    keeper = g.children()["gp-store"]
    with Client(g.port) as c:
        c.ehlo()
        c.envelope("a@sender.example", "carol@example.com")
        c.expect("DATA", 354)
        os.kill(keeper, signal.SIGSTOP)
        c.send(mail(subject="hold") + b".\r\n")
        c.sock.settimeout(0.3)
        with pytest.raises(TimeoutError):
            c.line()
        c.sock.settimeout(WAIT_S)
        g.kill_child("gp-worker 1")
        with pytest.raises(Closed):
            c.line()
    os.kill(keeper, signal.SIGCONT)
    assert send(g, "hold", "carol@example.com").code == 250
    assert all(p.read_bytes() == mail(subject="hold") for p in g.quarantined())


@pytest.mark.skipif(not shutil.which("strace") or not PLAIN, reason="needs strace and a plain build (GATEPOST_PLAIN)")
@pytest.mark.parametrize("call", ["fsync", "linkat"])
def test_killed_at_each_step_of_keeping(lab, backend, call):
    """kill -9 of the store keeper at its nth fsync or link: whoever heard 250 finds his message, whole, after the restart."""
    g = lab([backend().port], policy=POLICY, binary=PLAIN)
    acknowledged = killed = 0
    for n in range(1, 6):
        keeper = g.children()["gp-store"]
        mark = g.mark()
        tracer = Tracer(keeper, call, n)
        reply = send(g, "hold", "carol@example.com")
        acknowledged += reply.code == 250
        tracer.stop()
        if reply.code != 250:
            g.wait_line(r"event=died .*store keeper", mark)
            assert reply.code == 451, (call, n, reply)
            killed += 1
        assert send(g, "hold", "carol@example.com").code == 250
        acknowledged += 1
        whole = [p for p in g.quarantined() if p.with_suffix(".json").exists()]
        assert len(whole) >= acknowledged, (call, n)
        assert all(p.read_bytes() == mail(subject="hold") and metadata(p)["envelope"] for p in whole)
    assert killed >= 2


class Tracer:
    """strace on a process that kills it at the nth call."""

    def __init__(self, pid, call, n):
        from lab.process import Process
        self.process = Process(["strace", "-f", "-p", str(pid), "-e", f"trace={call}", "-e", f"inject={call}:signal=SIGKILL:when={n}"])
        self.process.wait_line("attached")

    def stop(self):
        self.process.stop(signal.SIGINT)


def small_disk(tmp_path):
    """The first gateway's state lies on 6 MB, in a mount namespace that ends with it."""
    state = tmp_path / "gate0" / "state"
    state.mkdir(parents=True)
    return ("unshare", "-m", "--propagation", "private", "sh", "-c", f'mount -t tmpfs -o size=6m none "{state}" && exec "$0" "$@"')


def free(path):
    room = os.statvfs(path)
    return room.f_bavail * room.f_bsize


@pytest.mark.skipif(os.geteuid() != 0, reason="a small file system needs root")
def test_disk_full(lab, backend, tmp_path):
    """What is to be kept hears 452, before anybody else of that message has it; clean mail flows."""
    server = backend()
    g = lab([server.port], policy=POLICY, wrap=small_disk(tmp_path))
    big = "x" * 78 + "\r\n"
    assert send(g, "hold", "carol@example.com", body=big * 100).code == 250
    # within the namespace, through a process that lives there
    inside = f"/proc/{g.process.pid}/root{g.state}"
    with open(f"{inside}/ballast", "wb", buffering=0) as f:
        while (more := free(inside) - 64 * 1024) > 0:
            with contextlib.suppress(OSError):          # the keepers write, too
                f.write(b"\0" * more)
    for _ in range(2):
        assert send(g, "hold", "bob@example.com", "carol@example.com", body=big * 2000).code == 452
    assert server.messages == []
    assert send(g, "hold", "carol@example.com", body=big * 2000).code == 452
    assert send(g, "clean", "bob@example.com", body=big * 2000).code == 250
    # too big for memory, and no room for its file on disk
    for body in (big * 20000, big * 30000):
        assert send(g, "clean", "bob@example.com", body=body).code == 250
        assert server.messages[-1].data.endswith(body.encode())
    assert send(g, "hold", "carol@example.com", body=big * 20000).code == 452
    assert send(g, "hold", "bob@example.com", "carol@example.com", body=big * 20000).code == 452
    assert len(server.messages) == 3
    os.unlink(f"{inside}/ballast")
    assert send(g, "hold", "bob@example.com", "carol@example.com", body=big * 2000).code == 250
    assert send(g, "hold", "carol@example.com", body=big * 20000).code == 250
    assert len(server.messages) == 4


@pytest.mark.skipif(os.geteuid() != 0, reason="a small file system needs root")
def test_not_an_octet_left(lab, backend, tmp_path):
    """Nothing can be written, not even the keepers' databases: they live, clean mail of any size flows, and all goes on once there is space."""
    server = backend()
    g = lab([server.port], policy='greylist if sender = "grey@sender.example"\n' + POLICY, conf='greylist { delay = "1s" auto_passes = 0 }',
            wrap=small_disk(tmp_path))
    inside = f"/proc/{g.process.pid}/root{g.state}"
    assert send(g, "clean", "bob@example.com").code == 250
    children = g.children()
    with open(f"{inside}/ballast", "wb", buffering=0) as f, pytest.raises(OSError):
        while True:
            f.write(b"\0" * 512)
    big = ("x" * 78 + "\r\n") * 26000
    for body in ("A line.\r\n", big, "A line.\r\n", big):
        assert send(g, "clean", "bob@example.com", body=body).code == 250
        assert server.messages[-1].data.endswith(body.encode())
        assert send(g, "hold", "carol@example.com", body=body).code == 452
    with Client(g.port) as c:
        c.ehlo()
        assert 400 <= c.envelope("grey@sender.example", "bob@example.com")[0].code < 500
    assert g.children() == children
    assert g.quarantined() == []
    os.unlink(f"{inside}/ballast")
    for body in ("A line.\r\n", big):
        assert send(g, "hold", "carol@example.com", body=body).code == 250
    with Client(g.port) as c:
        c.ehlo()                        # another triplet: the first may have been known after all
        assert c.envelope("grey@sender.example", "dave@example.com")[0].code == 451
    assert send(g, "clean", "bob@example.com", body=big).code == 250
    assert g.children() == children


def test_a_big_message_is_kept_whole(lab, backend):
    g = lab([backend().port], policy=POLICY)
    body = ("y" * 998 + "\r\n") * 3000
    assert send(g, "hold", "carol@example.com", body=body).code == 250
    assert g.quarantined()[0].read_bytes() == mail(subject="hold", body=body)
