"""List files that change under a running gateway: read again, handed to the workers, nobody disturbed."""
import os
import signal
import threading
import time

import pytest

from lab.smtp import Client, Closed, mail

POLICY = """
list bad = file "bad.txt"
list also = file "bad.txt"
reject bad: "550 5.7.1 on the list" if sender in bad and sender in also
accept allowed: if sender in allowed
reject other: "550 5.7.1 not allowed" if sender.domain = careful.example
accept
"""


def replace(path, text):
    """As an editor does: written beside it, renamed over it."""
    new = path.with_suffix(".new")
    new.write_text(text)
    os.rename(new, path)


def reload(g):
    mark = g.mark()
    g.process.send(signal.SIGHUP)
    g.wait_line(r'event=reload what="?(done|refused)', mark)
    return g.process.output(mark)


class Lists:
    def __init__(self, lab, backend, text="a.example\n", **kw):
        self.g = lab([backend().port], policy="accept\n", **kw)
        self.bad = self.g.dir / "bad.txt"
        self.allowed = self.g.dir / "allowed.txt"
        self.bad.write_text(text)
        before = self.pids()
        self.g.policy_path.write_text(POLICY)
        assert "what=done" in reload(self.g)
        end = time.monotonic() + 30
        while set(self.pids().values()) & set(before.values()):         # those of before go
            assert time.monotonic() < end
        self.workers = self.pids()

    def pids(self):
        return {n: p for n, p in self.g.children().items() if n.startswith("gp-worker")}

    def changed(self, how):
        """Do it and wait until the workers have it."""
        mark = self.g.mark()
        how()
        return self.g.wait_line(r'event=list what="?(read again|refused)', mark)


@pytest.fixture
def lists(lab, backend):
    return Lists(lab, backend)


def code(client, sender):
    reply = client.cmd(f"MAIL FROM:<{sender}>")
    assert reply.code == 250
    reply = client.cmd("RCPT TO:<bob@example.com>")
    client.expect("RSET", 250)
    return reply.code


def test_every_way_to_change_a_file(lists):
    """In place, appended, renamed over; a session that is open sees it at its next transaction, and its worker is the same."""
    with Client(lists.g.port) as c:
        c.ehlo()
        assert (code(c, "u@a.example"), code(c, "u@b.example")) == (550, 250)
        line = lists.changed(lambda: lists.bad.write_text("b.example\n"))
        assert "entries=1" in line
        assert (code(c, "u@a.example"), code(c, "u@b.example")) == (250, 550)
        with lists.bad.open("a") as f:
            lists.changed(lambda: (f.write("/^x[0-9]+@/\n"), f.flush()))
        assert (code(c, "x12@c.example"), code(c, "u@b.example"), code(c, "x@c.example")) == (550, 550, 250)
        lists.changed(lambda: replace(lists.bad, "u@c.example\n"))
        assert (code(c, "u@c.example"), code(c, "u@b.example")) == (550, 250)
        lists.changed(lambda: replace(lists.bad, ""))
        assert code(c, "u@c.example") == 250
    assert lists.pids() == lists.workers


def test_errors_keep_the_old_one(lists):
    with Client(lists.g.port) as c:
        c.ehlo()
        mark = lists.g.mark()
        assert "refused" in lists.changed(lambda: lists.bad.write_text("b.example\n  192.0.2.1/24\n/a(/\n"))
        said = lists.g.process.output(mark)
        assert "bad.txt:2:3: 192.0.2.1/24 has bits set" in said and "bad.txt:3:4: missing closing parenthesis" in said
        assert (code(c, "u@a.example"), code(c, "u@b.example")) == (550, 250)
        lists.changed(lambda: lists.bad.write_text("b.example\n"))
        assert (code(c, "u@a.example"), code(c, "u@b.example")) == (250, 550)
    assert lists.pids() == lists.workers


def test_a_file_goes_and_comes(lists):
    mark = lists.g.mark()
    lists.bad.unlink()
    lists.g.wait_line('event=list .*the file is gone.*bad.txt', mark)
    with Client(lists.g.port) as c:
        c.ehlo()
        assert code(c, "u@a.example") == 550
        lists.changed(lambda: lists.bad.write_text("b.example\n"))
        assert (code(c, "u@a.example"), code(c, "u@b.example")) == (250, 550)
    assert lists.g.process.output(mark).count("the file is gone") == 1


def test_a_class_of_recipients(lists):
    g = lists.g
    staff = g.dir / "staff.txt"
    staff.write_text("bob@example.com\n")
    g.policy_path.write_text('class staff = recipients file "staff.txt"\nreject "550 5.7.1 not for staff" if class = staff\naccept\n')
    assert "what=done" in reload(g)
    with Client(g.port) as c:
        c.ehlo()
        assert code(c, "u@a.example") == 550
        lists.changed(lambda: replace(staff, "carol@example.com\n"))
        assert code(c, "u@a.example") == 250


def test_links_and_directories(lists):
    """What a configuration tool does: the directory behind a link is exchanged."""
    g = lists.g
    for name in ("one", "two"):
        (g.dir / name).mkdir()
        (g.dir / name / "bad.txt").write_text(f"{name}.example\n")
    (g.dir / "now").symlink_to("one")
    lists.changed(lambda: (lists.bad.unlink(), lists.bad.symlink_to("now/bad.txt")))
    with Client(g.port) as c:
        c.ehlo()
        assert (code(c, "u@one.example"), code(c, "u@two.example")) == (550, 250)
        (g.dir / "next").symlink_to("two")
        lists.changed(lambda: os.rename(g.dir / "next", g.dir / "now"))
        assert (code(c, "u@one.example"), code(c, "u@two.example")) == (250, 550)


def test_allowed_appears_later(lists):
    with Client(lists.g.port) as c:
        c.ehlo()
        assert (code(c, "u@careful.example"), code(c, "v@careful.example")) == (550, 550)
        lists.changed(lambda: lists.allowed.write_text("u@careful.example  # by hand\n"))
        assert (code(c, "u@careful.example"), code(c, "v@careful.example")) == (250, 550)
        with lists.allowed.open("a") as f:
            lists.changed(lambda: (f.write("v@careful.example\n"), f.flush()))
        assert code(c, "v@careful.example") == 250
    assert lists.pids() == lists.workers


def test_a_worker_that_is_started_again_has_the_present_list(lists):
    lists.changed(lambda: lists.bad.write_text("b.example\n"))
    lists.g.kill_child("gp-worker 1")
    with Client(lists.g.port) as c:
        c.ehlo()
        assert (code(c, "u@a.example"), code(c, "u@b.example")) == (250, 550)


def test_all_workers_and_those_that_drain(lab, backend):
    """Also a session that a reload has left with a worker of before sees the new list."""
    lists = Lists(lab, backend, workers=3)
    clients = [Client(lists.g.port) for _ in range(12)]
    for c in clients:
        c.ehlo()
    assert "what=done" in reload(lists.g)
    clients += [Client(lists.g.port) for _ in range(12)]
    for c in clients[12:]:
        c.ehlo()
    lists.changed(lambda: lists.bad.write_text("b.example\n"))
    for c in clients:
        assert (code(c, "u@a.example"), code(c, "u@b.example")) == (250, 550)
        c.close()


def test_changes_under_load(lab, backend):
    """A large list changes while sessions ask, a reload comes and a worker dies: nobody hears anything but what some list says, and in the
    end all say the same."""
    lists = Lists(lab, backend, workers=2)
    many = "".join(f"host{i}.bulk.example\n" for i in range(100000))
    stop, said = threading.Event(), []

    def ask():
        while not stop.is_set():
            try:
                with Client(lists.g.port) as c:
                    c.ehlo()
                    said.extend(code(c, "u@host7.bulk.example") for _ in range(10))
            except (Closed, OSError):           # of the worker that dies
                said.append("closed")

    asking = [threading.Thread(target=ask) for _ in range(3)]
    for t in asking:
        t.start()
    try:
        for i in range(4):
            lists.changed(lambda: replace(lists.bad, many if i % 2 == 0 else "a.example\n"))
            if i == 1:
                assert "what=done" in reload(lists.g)
            if i == 2:
                lists.g.kill_child("gp-worker 2")
        lists.changed(lambda: replace(lists.bad, "final.example\n" + many))
    finally:
        stop.set()
        for t in asking:
            t.join()
    assert {250, 550} <= set(said) <= {250, 550, "closed"} and said.count("closed") <= len(asking)
    for _ in range(8):
        with Client(lists.g.port) as c:
            c.ehlo()
            assert (code(c, "u@final.example"), code(c, "u@host99999.bulk.example"), code(c, "u@a.example")) == (550, 550, 250)


def test_half_written_files_are_not_read(lists):
    """A writer that goes on is waited for: what is read is the whole."""
    mark = lists.g.mark()
    gap, last = 0, time.monotonic()
    with lists.bad.open("w") as f, Client(lists.g.port) as c:
        c.ehlo()
        for i in range(40):
            f.write("u@")               # no entry as it is
            f.flush()
            time.sleep(0.05)            # a slow writer: longer than a look in all
            f.write(f"d{i}.example\n")
            f.flush()
            gap, last = max(gap, time.monotonic() - last), time.monotonic()
        lists.g.wait_line(r'event=list what="read again".* entries=40', mark)
        assert (code(c, "u@a.example"), code(c, "u@d39.example")) == (250, 550)
    # a machine so busy that the writer was not is no fault of the gateway
    assert gap > 0.25 or 'event=list what="refused' not in lists.g.process.output(mark)


def test_a_wrong_list_or_policy_refuses_the_reload(lists):
    """SIGHUP reads everything: one error anywhere, with its file and line, and what runs goes on."""
    g = lists.g
    lists.changed(lambda: lists.bad.write_text("b.example\nnot an entry\n"))
    said = reload(g)
    assert "bad.txt:2:1: not an entry is no entry" in said and 'what="refused' in said
    lists.changed(lambda: lists.bad.write_text("a.example\n"))
    lists.changed(lambda: lists.allowed.write_text("x y\n"))
    said = reload(g)
    assert "allowed.txt:1:1: x y is no entry" in said and 'what="refused' in said
    lists.changed(lambda: lists.allowed.write_text("x@y.example\n"))
    g.policy_path.write_text(POLICY + "accept if nothing = 1\n")
    said = reload(g)
    assert f"policy.conf:{len(POLICY.splitlines()) + 1}:11: no fact is named" in said and 'what="refused' in said
    assert lists.pids() == lists.workers
    with Client(g.port) as c:
        assert c.message("u@c.example", "bob@example.com", mail("u@c.example")).code == 250
        assert code(c, "u@a.example") == 550
