"""IMAP with scan = yes, before a real Dovecot: messages are judged on their way to the client, and every octet of those kept back is a notice's."""
import base64
import re
import select
import shutil
import signal
import socket
import ssl
import struct
import subprocess
import threading
import time

import pytest
from lab.imapserver import Hangup
from lab.mailserver import PASSWORD
from lab.process import WAIT_S
from lab.wire import Closed, Imap

POLICY = """
quarantine exe: if direction = retrieval and attachment.extension in (exe)
accept
"""
PROGRAM = b"TVqQAAMAAAAEAAAA//8AALgAAAAAAAAAQAAAAAAAAAAAAAAA"
QUOTED = '"' + PASSWORD.replace("\\", "\\\\").replace('"', '\\"') + '"'
NOTICE = b"keeps this message from being shown"


def clean(subject="hello", size=0):
    return (b"From: a@x.example\r\nTo: b@example.com\r\nSubject: %b\r\nMessage-ID: <%b@x.example>\r\nMIME-Version: 1.0\r\n"
            b"Content-Type: multipart/alternative; boundary=aa\r\n\r\n--aa\r\nContent-Type: text/plain\r\n\r\none\r\n--aa\r\n"
            b"Content-Type: text/html\r\nContent-Transfer-Encoding: base64\r\n\r\nPGI+b25lPC9iPg==\r\n--aa--\r\n"
            % (subject.encode(), subject.encode()) + b"0123456789abcde\r\n" * (size // 17))


def evil(subject="invoice", size=3000, name="invoice.exe"):
    return (b"Return-Path: <m@evil.example>\r\nFrom: m@evil.example\r\nTo: b@example.com\r\nSubject: %b\r\nMessage-ID: <%b@evil.example>\r\n"
            b"MIME-Version: 1.0\r\nContent-Type: multipart/mixed;\r\n\tboundary=\"bb\"\r\n\r\n--bb\r\nContent-Type: text/plain\r\n\r\nsee the secret invoice\r\n"
            b"--bb\r\nContent-Type: application/octet-stream; name=\"%b\"\r\nContent-Transfer-Encoding: base64\r\n\r\n"
            % (subject.encode(), subject.encode(), name.encode()) + b"\r\n".join([PROGRAM] * (size // 50)) + b"\r\n--bb--\r\n")


def is_original(octets):
    return PROGRAM in octets or b"secret invoice" in octets or base64.b64decode(PROGRAM) in octets


@pytest.fixture
def gate(access_gate, mailserver):
    """A gateway before Dovecot; .server is it, .user has these messages."""
    def make(*messages, policy=POLICY, options="scan = yes", **kw):
        g = access_gate(mailserver.ports, options, "tls = off", kinds=("imap", "imaps"), policy=policy, **kw)
        g.server, g.user = mailserver, mailserver.add()
        for m in messages:
            mailserver.deliver(g.user, m)
        return g
    return make


def login(port, user, tls=False, select=b"INBOX"):
    c = Imap(port, tls=tls)
    c.ok(f"l LOGIN {user} {QUOTED}".encode())
    if select:
        c.ok(b"s SELECT " + select)
    return c


def open_box(g, kind="imap", **kw):
    return login(g.ports[kind], g.user, tls=kind == "imaps", **kw)


def direct(g, **kw):
    return login(g.server.ports["imap"], g.user, **kw)


def contents(answer):
    """{(number, item): octets} of the FETCH responses in what was heard."""
    out, at = {}, 0
    while m := re.compile(rb"\* (\d+) FETCH \(").search(answer, at):
        at = m.end()
        while answer[at:at + 1] != b")":
            m2 = re.compile(rb" ?([A-Z0-9.]+(?:\[[^]]*\])?(?:<\d+>)?) ").match(answer, at)
            assert m2, answer[at:at + 100]
            at = m2.end()
            if m3 := re.compile(rb"~?\{(\d+)\}\r\n").match(answer, at):
                at = m3.end() + int(m3[1])
                value = answer[m3.end():at]
            elif answer[at:at + 1] == b'"':
                end = answer.index(b'"', at + 1)
                value, at = answer[at + 1:end], end + 1
            elif answer[at:at + 1] == b"(":
                depth, end = 0, at
                while True:
                    depth += {b"(": 1, b")": -1}.get(answer[end:end + 1], 0)
                    end += 1
                    if not depth:
                        break
                value, at = answer[at:end], end
            else:
                m3 = re.compile(rb"[^ )]+").match(answer, at)
                value, at = m3[0], m3.end()
            out[int(m[1]), m2[1].decode()] = value
    return out


def fetch(c, what, number=1):
    """One item of one message."""
    got = {k[1]: v for k, v in contents(c.ok(b"f FETCH %d (%b)" % (number, what.encode()))).items() if k[0] == number and (k[1] != "FLAGS" or what == "FLAGS")}
    assert len(got) == 1, got
    return got.popitem()[1]


def untimed(answer):
    """Dovecot tells how long it took."""
    return re.sub(rb" \(\d+\.\d+ \+ .*?secs\)\.\r\n\Z", b"\r\n", answer)


def scanned(g, count):
    """So many messages have been looked at, and no more: the line of a login behind them shows it."""
    other = g.server.add()          # nobody else's line is taken for it
    login(g.ports["imap"], other, select=None).close()
    g.wait_line(rf"event=login result=ok .*user={other}\b")
    assert sum("event=retrieval " in line for line in g.process.lines) == count


# what is clean

def test_clean_is_as_without_gateway(gate):
    g = gate(clean(), clean("large", 300000), b"Subject: x\r\n\r\n", b"no header\r\n", evil(name="a.txt"))
    commands = [b"1:* (UID FLAGS INTERNALDATE RFC822.SIZE ENVELOPE BODYSTRUCTURE)", b"1:* BODY.PEEK[]", b"2:3 (BODY.PEEK[TEXT] BODY.PEEK[HEADER])",
                b"1 (BODY.PEEK[1] BODY.PEEK[2] BODY.PEEK[2.MIME] BODY.PEEK[3])", b"2 BODY.PEEK[]<100.70000>", b"* RFC822.HEADER",
                b"1:* (BODY.PEEK[HEADER.FIELDS (Subject \"To\")])", b"1 (BINARY.PEEK[1] BINARY.SIZE[1])", b"1,3 FAST", b"1 RFC822.TEXT", b"1 (FLAGS)",
                b"4:1 BODY[]<0.10>"]
    with open_box(g, select=None) as c, direct(g, select=None) as d:
        c.ok(b"e EXAMINE INBOX")
        d.ok(b"e EXAMINE INBOX")
        for what in commands:
            for uid in (b"", b"UID "):
                if uid:
                    what = re.sub(rb"^\S+", b"1:*", what)
                command = b"a %bFETCH " % uid + what
                assert untimed(c.cmd(command)) == untimed(d.cmd(command)), what
    scanned(g, 5)


def test_second_fetch_does_not_scan_again(gate):
    g = gate(clean(), evil())
    for kind in ("imap", "imaps", "imap"):
        with open_box(g, kind) as c:
            c.ok(b"a FETCH 1:2 BODY.PEEK[]")
            c.ok(b"b UID FETCH 1:* (BODY.PEEK[1] UID)")
    scanned(g, 2)


@pytest.mark.parametrize("implicit", [False, True], ids=["starttls", "implicit"])
def test_tls_behind(access_gate, mailserver, certificates, implicit):
    """The server's leg encrypted: the same octets, both ways, much of them at once."""
    to = {"imap": mailserver.ports["imaps" if implicit else "imap"]}
    g = access_gate(to, "scan = yes", f'tls = required tls_ca = "{certificates.ca}" tls_name = "backend.example"' + " implicit_tls = yes" * implicit,
                    kinds=("imap",), policy=POLICY)
    user, big, bad = mailserver.add(), clean("big", 3_000_000), evil(size=200000)
    for m in (big, bad, clean()):
        mailserver.deliver(user, m)
    with login(g.ports["imap"], user) as c:
        got = contents(c.ok(b"f FETCH 1:3 BODY.PEEK[]"))
        assert got[1, "BODY[]"] == big and got[3, "BODY[]"] == clean()
        assert NOTICE in got[2, "BODY[]"] and len(got[2, "BODY[]"]) == len(bad) and not is_original(got[2, "BODY[]"])
        c.ok(b"a APPEND INBOX {%d+}\r\n" % len(big) + big)
        assert fetch(c, "BODY.PEEK[]", 4) == big
        c.send(b"i IDLE\r\n")
        assert c.line().startswith(b"+")
        mailserver.deliver(user, bad)
        while b"EXISTS" not in c.line():
            pass
        c.send(b"DONE\r\n")
        c.until(b"i")
        assert not is_original(fetch(c, "BODY.PEEK[]<100.3000>", 5))
        c.ok(b"z LOGOUT")
    assert re.search(r" backend_tls=TLSv1", g.wait_line("event=imap .*end=closed"))


# what is convicted

def test_convicted(gate):
    original = evil()
    g = gate(clean(), original)
    with open_box(g) as c, direct(g) as d:
        size = int(fetch(c, "RFC822.SIZE", 2))
        body = fetch(c, "BODY.PEEK[]", 2)
        assert len(body) == size == len(original) and NOTICE in body and not is_original(body)
        assert g.quarantined()[0].stem.encode() in body
        assert body.startswith(b"Return-Path: <m@evil.example>\r\nFrom: m@evil.example\r\n") and b"\r\nX-ntent-Type: multipart/mixed" in body
        assert fetch(c, "BODY[HEADER]", 2) + fetch(c, "BODY[TEXT]", 2) == body
        assert fetch(c, "RFC822.HEADER", 2) + fetch(c, "RFC822.TEXT", 2) == body == fetch(c, "RFC822", 2)
        shown = fetch(c, "BINARY.PEEK[]", 2)
        assert len(shown) == len(fetch(d, "BINARY.PEEK[]", 2)) and NOTICE in shown and not is_original(shown)
        # what the server says of it
        for what in ("BODYSTRUCTURE", "ENVELOPE", "BODY.PEEK[HEADER.FIELDS (Content-Type Subject)]", "BODY[2.MIME]", "BINARY.SIZE[2]", "INTERNALDATE"):
            assert fetch(c, what, 2) == fetch(d, what, 2), what
        # its parts are as long as they were, and in their own encoding
        for part in ("1", "2"):
            shown, true = fetch(c, f"BODY.PEEK[{part}]", 2), fetch(d, f"BODY.PEEK[{part}]", 2)
            assert len(shown) == len(true) and not is_original(shown) and shown != true
        decoded = base64.b64decode(fetch(c, "BODY.PEEK[2]", 2).replace(b"\r\n", b"").rstrip(b"=")[:1600])
        assert NOTICE in decoded
        shown = fetch(c, "BINARY[2]", 2)
        assert NOTICE in shown and len(shown) == len(fetch(d, "BINARY[2]", 2))
        # the message beside it
        assert fetch(c, "BODY.PEEK[]", 1) == clean()
        assert fetch(d, "BODY.PEEK[]", 2) == original
    scanned(g, 2)


def test_partial(gate):
    g = gate(evil(size=9000))
    with open_box(g) as c:
        for what in ("BODY.PEEK[]", "BODY.PEEK[TEXT]", "BODY.PEEK[HEADER]", "BODY.PEEK[2]", "BODY.PEEK[1]", "BINARY.PEEK[2]"):
            whole = fetch(c, what)
            for step in (1, 97, 1000) if len(whole) < 500 else (511, 4096):
                parts = [fetch(c, f"{what}<{at}.{step}>") for at in range(0, len(whole), step)]
                assert b"".join(parts) == whole, (what, step)
        assert fetch(c, "BODY.PEEK[]<100000.10>") == b""


def test_first_question_is_a_part(gate):
    """No way around: whatever is asked for first, the verdict comes before."""
    for what in ("BODY.PEEK[2]", "BODY.PEEK[]<200.50>", "BINARY.PEEK[2]<5.100>", "BODY.PEEK[TEXT]<500.7>", "RFC822.TEXT", "BODY[1]"):
        g = gate(evil())
        with open_box(g, "imaps") as c, direct(g) as d:
            shown = fetch(c, what)
            true = fetch(d, what)
            assert shown != true and len(shown) == len(true) and not is_original(shown)


def test_header_alone_is_not_scanned(gate):
    g = gate(evil())
    with open_box(g) as c, direct(g) as d:
        assert fetch(c, "BODY.PEEK[HEADER]") == fetch(d, "BODY.PEEK[HEADER]")
        scanned(g, 0)
        fetch(c, "BODY.PEEK[1]")
        assert b"\r\nX-ntent-Type" in fetch(c, "BODY.PEEK[HEADER]")
    scanned(g, 1)


def test_header_beyond_its_limit(gate):
    """Nobody has looked at it: held back, and the messages beside it are shown."""
    huge = b"Subject: large\r\nX-Long: " + b"a" * 300 * 1024 + b"\r\n" + evil()
    g = gate(clean(), huge, clean("third"))
    with open_box(g) as c, direct(g) as d:
        got = contents(c.ok(b"a FETCH 1:3 BODY.PEEK[]"))
        assert got[1, "BODY[]"] == clean() and got[3, "BODY[]"] == clean("third")
        shown = got[2, "BODY[]"]
        assert NOTICE in shown and len(shown) == len(fetch(d, "BODY.PEEK[]", 2)) and not is_original(shown)
        assert fetch(c, "BODY.PEEK[]<307200.2000>", 2) == shown[307200:309200]


def test_seen(gate):
    g = gate(evil(), evil("b"))
    with open_box(g) as c:
        fetch(c, "BODY.PEEK[]", 1)
        assert b"\\Seen" not in fetch(c, "FLAGS", 1)
        assert b"\\Seen" in c.ok(b"a FETCH 2 BODY[]")
        assert b"\\Seen" in fetch(c, "FLAGS", 2)


def test_nested_and_bare(gate):
    """A message in a message, and one that is nothing but the attachment."""
    inner = evil("inner")
    outer = (b"Subject: outer\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=oo\r\n\r\n--oo\r\n\r\nhello\r\n"
             b"--oo\r\nContent-Type: message/rfc822\r\n\r\n" + inner + b"\r\n--oo--\r\n")
    bare = b"Subject: bare\r\nContent-Type: application/x; name=a.exe\r\nContent-Transfer-Encoding: base64\r\n\r\n" + b"\r\n".join([PROGRAM] * 60) + b"\r\n"
    g = gate(outer, bare)
    with open_box(g) as c, direct(g) as d:
        for what in ("BODY.PEEK[]", "BODY.PEEK[2]", "BODY.PEEK[2.2]", "BODY.PEEK[2.HEADER]", "BODY.PEEK[2.TEXT]", "BODY.PEEK[2.1]", "BODY.PEEK[1]"):
            shown, true = fetch(c, what, 1), fetch(d, what, 1)
            assert len(shown) == len(true) and shown != true and not is_original(shown), what
        assert b"\r\n" in base64.b64decode(fetch(c, "BODY.PEEK[2.2]", 1).replace(b"\r\n", b"")[:800])
        assert NOTICE in base64.b64decode(fetch(c, "BODY.PEEK[1]", 2).replace(b"\r\n", b"")[:1600])
        assert NOTICE in fetch(c, "BODY.PEEK[TEXT]", 2)


# many, and at once

def test_one_of_many(gate):
    messages = [clean(f"m{i}") for i in range(200)]
    messages[123] = evil()
    g = gate(*messages)
    with open_box(g) as c, direct(g) as d:
        got = contents(c.ok(b"a UID FETCH 1:* (UID BODY.PEEK[])"))
        assert got.pop((124, "BODY[]")).count(NOTICE) == 1
        want = contents(d.ok(b"a UID FETCH 1:* (UID BODY.PEEK[])"))
        del want[124, "BODY[]"]
        assert got == want
    scanned(g, 200)


def test_pipelined(gate):
    g = gate(clean(), evil(), clean("third"))
    with open_box(g) as c:
        c.send(b"".join(b"p%d FETCH %d (BODY.PEEK[] BODY.PEEK[2])\r\nq%d NOOP\r\nr%d FETCH %d FLAGS\r\n" % (i, i % 3 + 1, i, i, i % 3 + 1) for i in range(30)))
        for i in range(30):
            got = contents(c.until(b"p%d" % i))
            assert (NOTICE in got[i % 3 + 1, "BODY[]"]) == (i % 3 == 1) and not is_original(got[i % 3 + 1, "BODY[2]"])
            # Dovecot may answer these the other way round
            heard = [c.response() for _ in range(3)]
            assert {h[:h.index(b" ")] for h in heard} == {b"*", b"q%d" % i, b"r%d" % i} and any(b"FLAGS" in h for h in heard)


def test_expunge_between(gate):
    """Messages go in another session, before and while their neighbours are fetched."""
    g = gate(*[clean(f"m{i}") for i in range(20)], evil(), clean("last"))
    with open_box(g) as c, direct(g) as d:
        assert NOTICE in fetch(c, "BODY.PEEK[]", 21)
        d.ok(b"a STORE 3:5 +FLAGS (\\Deleted)")
        d.ok(b"b EXPUNGE")
        # their numbers hold until the server may say so
        got = contents(c.cmd(b"a FETCH 1:22 BODY.PEEK[]"))
        assert NOTICE in got[21, "BODY[]"] and got[22, "BODY[]"] == clean("last")
        assert c.ok(b"b NOOP").count(b"EXPUNGE") == 3
        assert NOTICE in fetch(c, "BODY.PEEK[]", 18)
        d.ok(b"a STORE 1 +FLAGS (\\Deleted)")
        d.ok(b"b EXPUNGE")
        got = contents(c.cmd(b"a UID FETCH 1:* (BODY.PEEK[])"))
        assert [k for k, v in got.items() if NOTICE in v] and not any(is_original(v) for v in got.values())
        assert sum(v == clean("last") for v in got.values()) == 1


def test_what_arrives_meanwhile_is_not_mistaken(gate):
    """A message that comes while the others are looked at is not in the answer, rather than as one that was not checked."""
    g = gate(clean())
    with open_box(g) as c:
        for i in range(10):
            g.server.deliver(g.user, clean(f"n{i}"))
            for what in (b"UID FETCH 1:*", b"UID FETCH 1:4294967295", b"FETCH 1:*"):
                got = {k: v for k, v in contents(c.ok(b"a " + what + b" (BODY.PEEK[])")).items() if k[1] == "BODY[]"}
                assert got and not any(NOTICE in v for v in got.values())
        end = time.monotonic() + WAIT_S
        while len(contents(c.ok(b"a FETCH 1:* FLAGS"))) < 11:       # one that came within a tick of the clock is seen a little later
            assert time.monotonic() < end, "the last one is not there"
            c.ok(b"n NOOP")
        assert len(contents(c.ok(b"a FETCH 1:* BODY.PEEK[]"))) == 11


def test_sets_that_name_nothing(gate):
    g = gate(clean())
    with open_box(g) as c, direct(g) as d:
        assert c.ok(b"a UID FETCH 90000:90010 BODY.PEEK[]").startswith(b"a OK")
        for what in (b"FETCH 7 BODY.PEEK[]", b"FETCH 2:9 BODY.PEEK[]", b"FETCH 1 (BODY.PEEK[]", b"FETCH 0 BODY[]", b"UID FETCH x BODY[]", b"FETCH 1"):
            status = c.cmd(b"a " + what)[:5].split()[:2]
            assert status in ([b"a", b"NO"], [b"a", b"BA"], [b"a", b"BAD"], d.cmd(b"a " + what)[:5].split()[:2]), what
        c.ok(b"u UNSELECT")
        assert c.cmd(b"a FETCH 1 BODY[]").startswith(b"a BAD")
        assert c.ok(b"s SELECT INBOX")
        assert c.ok(b"a SEARCH RETURN (SAVE) ALL")
        assert contents(c.ok(b"a FETCH $ BODY.PEEK[]"))[1, "BODY[]"] == clean()


# the rest of the dialogue

def test_idle(gate):
    g = gate(clean())
    with open_box(g) as c:
        for _ in range(2):
            c.send(b"i IDLE\r\n")
            assert c.line().startswith(b"+")
            g.server.deliver(g.user, evil("fresh"))
            while b"EXISTS" not in c.line():
                pass
            c.send(b"DONE\r\n")
            c.until(b"i")
        assert NOTICE in fetch(c, "BODY.PEEK[]", 2)
        c.send(b"i IDLE\r\nDONE\r\nf FETCH 3 BODY.PEEK[]\r\ni IDLE\r\n")
        assert NOTICE in c.until(b"f")
        c.send(b"j FETCH 1 BODY[]\r\n")         # no end of an IDLE
        assert b"* BAD" in c.until(b"*")
        c.send(b"DONE\r\nk NOOP\r\n")
        c.until(b"k")


@pytest.mark.parametrize("kind", ["imap", "imaps"])
def test_append(gate, kind):
    g = gate()
    message = clean("big", 5_000_000)
    with open_box(g, kind) as c:
        c.ok(b"a APPEND INBOX (\\Seen) {%d+}\r\n" % len(message) + message)
        c.ok(b"b APPEND INBOX {%d}" % len(message), message)
        # refused before it came: it does not come
        assert c.cmd(b"c APPEND nowhere {%d}" % len(message)).startswith(b"c NO")
        assert c.ok(b"d NOOP")
        # two in one, and pipelined with a FETCH behind it
        c.send(b"e APPEND INBOX {%d+}\r\n" % len(message) + message + b" {3+}\r\nx\r\n\r\nf FETCH 1 BODY.PEEK[]\r\n")
        c.until(b"e")
        assert contents(c.until(b"f"))[1, "BODY[]"] == message
        assert len(contents(c.ok(b"g FETCH 1:* RFC822.SIZE"))) == 4


def test_literals_of_names(gate):
    """SELECT with its mailbox as a literal of both kinds, and in quotes: one mailbox, one verdict."""
    g = gate(evil())
    with open_box(g, select=None) as c:
        for command in ((b"s SELECT {5}", b"inbox"), (b"s EXAMINE {5+}\r\nINBOX (CONDSTORE)",), (b"s SELECT \"Inbox\"",)):
            c.ok(*command)
            assert NOTICE in fetch(c, "BODY.PEEK[]")
        assert b"s NO" in c.cmd(b"s SELECT {7}", b"nowhere")
        assert c.cmd(b"a FETCH 1 BODY[]").startswith(b"a BAD")
    scanned(g, 1)


def test_mailboxes_and_copies(gate):
    g = gate(evil(), clean())
    with open_box(g) as c:
        c.ok(b"a CREATE other")
        c.ok(b"a COPY 1:2 other")
        c.ok(b"a SELECT other")
        assert NOTICE in fetch(c, "BODY.PEEK[]", 1) and fetch(c, "BODY.PEEK[]", 2) == clean()
        c.send(b"a SELECT INBOX\r\nb FETCH 2 BODY.PEEK[]\r\nc SELECT other\r\nd FETCH 1 BODY.PEEK[]\r\n")
        assert contents(c.until(b"b"))[2, "BODY[]"] == clean()
        assert NOTICE in c.until(b"d")


def test_what_is_not_offered(gate):
    g = gate(clean())
    with open_box(g) as c:
        caps = c.ok(b"a CAPABILITY").split()
        assert b"COMPRESS=DEFLATE" not in caps and b"QRESYNC" not in caps and b"NOTIFY" not in caps and b"IDLE" in caps and b"BINARY" in caps
        for command in (b"COMPRESS DEFLATE", b"NOTIFY NONE", b"URLFETCH x", b"GENURLAUTH x INTERNAL", b"UNAUTHENTICATE", b"XSHOW 1", b"STARTTLS",
                        b"LOGIN x {3+}\r\nabc", b"UID CONVERT 1", b"AUTHENTICATE PLAIN"):
            assert c.cmd(b"b " + command).startswith(b"b BAD"), command
        assert b"CONDSTORE" in c.ok(b"c ENABLE CONDSTORE QRESYNC") and b"QRESYNC" not in c.ok(b"c ENABLE QRESYNC X")
        assert b"d BAD" in c.cmd(b"d SELECT INBOX (QRESYNC (1 1))")
        assert b"\nFETCH" not in c.ok(b"e NOOP")


def test_lines_that_hide_lines(gate):
    """What one of us would take for another line: refused, and the session is in step."""
    g = gate(evil())
    with open_box(g) as c:
        for line in (b"a NOOP\nb FETCH 1 BODY[]\r\n", b"a NOOP\rb FETCH 1 BODY[]\r\n", b"a NOOP\0 FETCH 1 BODY[]\r\n", b"a NOOP {3+}\nabc\r\n"):
            c.send(line)
            heard = c.ok(b"z NOOP")         # the other half of the first is a line of its own
            assert b" BAD " in heard and not is_original(heard)
        c.send(b"a NOOP {40+}\r\nb FETCH 1 BODY[]\r\nc FETCH 1 BODY[]\r\n1234\r\nz NOOP\r\n")
        assert not is_original(c.until(b"z"))


def test_literals_that_nobody_wants(gate):
    """A server that refuses a line takes what follows it for commands: it does not follow."""
    g = gate(evil(), clean())
    with open_box(g) as c:
        hidden = b"h SELECT other\r\nh FETCH 1 BODY[]\r\n"
        c.ok(b"a CREATE other")
        for line in (b"LANGUAGE", b"SETACL INBOX", b"NOOP", b"NOOP x", b'LIST "" "x', b"CREATE (", b"COPY 1 other"):
            c.send(b"a %b {%d+}\r\n%b\r\nz NOOP\r\n" % (line, len(hidden), hidden))
            heard = c.until(b"z")
            assert heard.count(b"\r\n") == 2 and heard.startswith(b"a "), heard
        # two literals, of which the first is not wanted
        c.send(b"a NOOP {3+}\r\nabc {%d+}\r\n%b\r\nz NOOP\r\n" % (len(hidden), hidden))
        assert c.until(b"z").count(b"\r\n") == 2
        assert contents(c.ok(b"f FETCH 2 BODY.PEEK[]"))[2, "BODY[]"] == clean()
        # one that is wanted: the client hears no plus
        assert c.ok(b"a STATUS {5+}\r\nINBOX (MESSAGES)").startswith(b"* STATUS INBOX (MESSAGES 2)")


def test_too_much(gate):
    g = gate(clean())
    with open_box(g) as c:
        c.send(b"a SEARCH " + b"x" * 70000)
        assert b"* BYE" in c.rest()
    with open_box(g) as c:
        c.send(b"a FOO\r\n" * 100)
        assert b"* BYE" in c.rest()
    with open_box(g) as c:
        c.send(b"a LOGIN {4294967296+}\r\n")
        assert c.line().startswith(b"a BAD")
    with open_box(g) as c:
        c.send(b"a FETCH 1 (BODY.PEEK[])\r\n")
        c.half_close()
        assert b"a OK" in c.rest() or True
    g.wait_line("event=imap .*end=")


# verdicts change

def test_convicted_after_delivery(gate):
    g = gate(clean("recalled"), clean("other"), policy="accept\n")
    with open_box(g) as c:
        assert fetch(c, "BODY.PEEK[]") == clean("recalled")
    mark = g.mark()
    g.policy_path.write_text('quarantine recalled: if direction = retrieval and message.id in ("<recalled@x.example>")\naccept\n')
    g.process.send(signal.SIGHUP)
    g.wait_line("event=reload what=done", mark)
    with open_box(g) as c:
        assert NOTICE in fetch(c, "BODY.PEEK[1]", 1) + fetch(c, "BODY.PEEK[]", 1)
        assert fetch(c, "BODY.PEEK[]", 2) == clean("other")


def test_reload(gate):
    """A session goes on, but by the old policy it is shown no message."""
    g = gate(clean("recalled"), policy="accept\n")
    with open_box(g) as c:
        c.send(b"i IDLE\r\n")
        assert c.line().startswith(b"+")
        mark = g.mark()
        g.policy_path.write_text('quarantine recalled: if direction = retrieval and message.id in ("<recalled@x.example>")\naccept\n')
        g.process.send(signal.SIGHUP)
        g.wait_line("event=reload what=done", mark)
        c.send(b"DONE\r\n")
        c.until(b"i")
        assert fetch(c, "RFC822.SIZE") == b"%d" % len(clean("recalled"))
        c.send(b"f FETCH 1 BODY.PEEK[]\r\n")
        assert c.rest().startswith(b"* BYE [UNAVAILABLE]")
    with open_box(g) as c:
        assert NOTICE in fetch(c, "BODY.PEEK[]")


def test_stop(gate):
    """Who is at rest hears BYE; what is under way is finished."""
    g = gate(clean("large", 3_000_000))
    with open_box(g) as c, open_box(g) as d:
        c.send(b"i IDLE\r\n")
        assert c.line().startswith(b"+")
        d.send(b"f FETCH 1 BODY.PEEK[]\r\n")
        d.read(1)
        g.process.send(signal.SIGTERM)
        assert contents(b"*" + d.until(b"f"))[1, "BODY[]"] == clean("large", 3_000_000)
        assert b"* BYE [UNAVAILABLE]" in c.rest() and b"* BYE [UNAVAILABLE]" in d.rest()


def send_hearing(c, data):
    """Send it all, and hear meanwhile what comes: in one thread, since a socket with TLS is not for two."""
    later, left = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError), memoryview(data)
    timeout = c.sock.gettimeout()
    c.sock.setblocking(False)
    while left:
        try:
            left = left[c.sock.send(left[:65536]):]
        except later:
            pass
        try:
            assert c.more()
        except later:
            select.select([c.sock], [c.sock] if left else [], [], timeout)
    c.sock.settimeout(timeout)


def test_both_ways_at_once(gate):
    """A client that sends much while it receives much."""
    g = gate(*[clean(f"m{i}", 200000) for i in range(20)])
    message = clean("big", 6_000_000)
    for kind in ("imap", "imaps"):
        with open_box(g, kind) as c:
            send_hearing(c, b"e FETCH 1:* (ENVELOPE BODYSTRUCTURE)\r\nf FETCH 1:20 BODY.PEEK[]\r\ng FETCH 1:* ENVELOPE\r\na APPEND INBOX {%d+}\r\n"
                         % len(message) + message + b"\r\nh FETCH 1:20 BODY.PEEK[]\r\n")
            for tag in (b"e", b"f", b"g", b"a", b"h"):
                heard = c.until(tag)
                assert (tag + b" OK") in heard[-300:]
            assert len(contents(heard)) >= 20


# servers that are none of ours

def scripted(access_gate, server):
    return access_gate({"imap": server.port}, "scan = yes", "tls = off", kinds=("imap",), policy=POLICY)


SELECTED = b"* 3 EXISTS\r\n* OK [UIDVALIDITY 7] x\r\nTAG OK [READ-WRITE] done\r\n"


def mailbox(messages, quoted=False):
    """FETCH and UID FETCH of it, the UID of message n being n + 100."""
    def step(session, tag, words):
        m = re.match(rb"(UID )?FETCH ([\d:,]+) \(?(.*?)\)?\Z", words)
        numbers = []
        for part in m[2].split(b","):
            lo, _, hi = part.partition(b":")
            numbers += [int(x) - (100 if m[1] else 0) for x in range(int(lo), int(hi or lo) + 1)]
        out = b""
        for n in numbers:
            if not 1 <= n <= len(messages):
                continue
            items = [b"UID %d" % (n + 100)]
            if b"BODY" in m[3]:
                text = messages[n - 1]
                items.insert(0, b'BODY[] "%b"' % text if quoted else b"BODY[] {%d}\r\n%b" % (len(text), text))
            out += b"* %d FETCH (%b)\r\n" % (n, b" ".join(items))
        return out + b"TAG OK done\r\n"
    return step


def test_unasked_content_is_replaced(access_gate, imap_server):
    shown = b"* 1 FETCH (UID 101 BODY[] {%d}\r\n%b BODY[TEXT] \"the secret invoice\" FLAGS (\\Seen) BODY[HEADER] {2}\r\n\r\n)\r\n" % (len(evil()), evil())
    s = imap_server(script={"SELECT": SELECTED, "NOOP": shown + b"TAG OK done\r\n", "FETCH": mailbox([clean()]),
                            "IDLE": b"+ idling\r\n" + shown})
    g = scripted(access_gate, s)
    with login(g.ports["imap"], "anna") as c:
        out = c.ok(b"a NOOP")
        got = contents(out)
        assert len(got[1, "BODY[]"]) == len(evil()) and not is_original(out) and got[1, "FLAGS"] == b"(\\Seen)"
        assert len(got[1, "BODY[TEXT]"]) == len("the secret invoice") and got[1, "BODY[HEADER]"] == b"\r\n"
        # in the answer to a FETCH of another message, too
        s.script["FETCH"] = lambda session, tag, words: (shown if tag == b"b" else b"") + mailbox([clean(), clean()])(session, tag, words)
        out = c.ok(b"b FETCH 2 BODY.PEEK[]")
        assert contents(out)[2, "BODY[]"] == clean() and not is_original(out)
    g.wait_line("event=imap-unchecked")


def test_accounts_are_kept_apart(access_gate, imap_server):
    """Who logs in for others: the same UID and UIDVALIDITY in the mailboxes of two."""
    s = imap_server(script={"SELECT": SELECTED, "AUTHENTICATE": b"TAG OK in\r\n"})
    g = scripted(access_gate, s)
    for who, message in ((b"abc", clean()), (b"def", evil())):
        s.script["FETCH"] = mailbox([message])
        with Imap(g.ports["imap"]) as c:
            c.ok(b"l AUTHENTICATE PLAIN " + base64.b64encode(who + b"\0master\0x"))
            c.ok(b"s SELECT INBOX")
            assert contents(c.ok(b"a FETCH 1 BODY[]"))[1, "BODY[]"] == clean() if message == clean() else not is_original(c.ok(b"a FETCH 1 BODY[]"))


def test_quoted_content(access_gate, imap_server):
    text = b'Subject: x \\"y\\\\'
    s = imap_server(script={"SELECT": SELECTED, "FETCH": mailbox([text, b"", b"x"], quoted=True)})
    g = access_gate({"imap": s.port}, "scan = yes", "tls = off", kinds=("imap",), policy="quarantine x: if message.size > 5\naccept\n")
    with login(g.ports["imap"], "anna") as c:
        out = c.ok(b"a FETCH 1:3 BODY[]")
        assert b'BODY[] "x"' in out and b'BODY[] ""' in out
        m = re.search(rb'BODY\[\] "((?:[^"\\]|\\.)*)" UID 101', out)
        assert m and len(m[1]) == len(text), out


def odd(access_gate, imap_server, fetch_answer):
    s = imap_server(script={"SELECT": SELECTED, "FETCH": fetch_answer})
    g = scripted(access_gate, s)
    c = login(g.ports["imap"], "anna")
    c.send(b"a FETCH 1 BODY[]\r\n")
    return g, c


@pytest.mark.parametrize("answer", [
    b"* 1 FETCH (UID 101 BODY[] {5+}\r\nhello)\r\nTAG OK done\r\n", b"* 1 FETCH (UID\r\nTAG OK done\r\n", b"hello\r\n", b"* 1 FETCH(BODY[] {3}\r\nabc)\r\n",
    b"* OK x\nTAG OK done\r\n", b"* 1 FETCH (BODY[] {18446744073709551615}\r\n", b"* X {3\r\nTAG OK {3}\r\n+\n"])
def test_nonsense(access_gate, imap_server, answer):
    g, c = odd(access_gate, imap_server, answer)
    with c:
        assert b"* BYE [UNAVAILABLE]" in c.rest()
    g.wait_line('event=imap .*end="backend lost"')


def test_endless_plus(access_gate, imap_server):
    s = imap_server(script={"SELECT": SELECTED, "APPEND": b"+ " + b"x" * 40000})
    s.literals = False
    g = scripted(access_gate, s)
    with login(g.ports["imap"], "anna") as c:
        c.send(b"a APPEND INBOX {3}\r\n")
        assert c.rest().startswith(b"* BYE [UNAVAILABLE]")


def test_answers_about_others(access_gate, imap_server):
    """What is scanned is what was asked for: the content of another message does not acquit this one."""
    step = mailbox([evil(), clean(), clean()])
    s = imap_server(script={"SELECT": SELECTED})
    s.script["FETCH"] = lambda session, tag, words: (mailbox([clean()]) if b"BODY.PEEK[]" in words and tag != b"a" else step)(session, tag, words).replace(
        b"* 1 FETCH (BODY[]", b"* 2 FETCH (BODY[]").replace(b"UID 101)", b"UID 102)" if b"BODY" in words else b"UID 101)")
    g = scripted(access_gate, s)
    with login(g.ports["imap"], "anna") as c:
        assert c.cmd(b"a FETCH 1 BODY.PEEK[]").startswith(b"a NO [UNAVAILABLE]")


def test_another_message_in_its_place(access_gate, imap_server):
    """A server that numbers its messages otherwise than it said."""
    s = imap_server(script={"SELECT": SELECTED})
    s.script["FETCH"] = lambda session, tag, words: mailbox([clean()])(session, tag, words).replace(b"UID 101", b"UID 105" if b"BODY" in words else b"UID 101")
    g = scripted(access_gate, s)
    with login(g.ports["imap"], "anna") as c:
        assert c.cmd(b"a FETCH 1 BODY.PEEK[]").startswith(b"a NO [UNAVAILABLE]")


NEWS = b"* 2 FETCH (FLAGS (\\Seen))\r\n"


def test_news_in_answers(access_gate, imap_server):
    """What others do with messages meanwhile is told to the client, and is no answer to what the gateway asks."""
    step = mailbox([clean(), clean(), evil()])
    def told(session, tag, words):
        return step(session, tag, words).replace(b"TAG", NEWS + b"TAG")

    s = imap_server(script={"SELECT": SELECTED, "FETCH": told, "UID": told})
    g = scripted(access_gate, s)
    with login(g.ports["imap"], "anna") as c:
        for command in (b"FETCH 1", b"UID FETCH 101", b"FETCH 3", b"UID FETCH 103"):
            out = c.ok(b"a " + command + b" (BODY.PEEK[])")
            assert NEWS in out and (NOTICE in out) == (b"3" in command) and not is_original(out)


@pytest.mark.parametrize("at", [b"NOOP", b"(UID)", b"BODY.PEEK[]"])
def test_news_in_two_parts(access_gate, imap_server, at):
    """A response that began before a question of the gateway's own is the client's to its end."""
    step = mailbox([clean(), clean()])

    def parts(session, tag, words):
        answer = b"TAG OK done\r\n" if words == b"NOOP" else step(session, tag, words)
        if at not in words or tag == b"a":
            return answer
        session.send((answer + NEWS[:18]).replace(b"TAG", tag))
        select.select([session.sock], [], [], 0.3)      # who asks now does not wait for the rest
        return NEWS[18:]

    s = imap_server(script={"SELECT": SELECTED, "NOOP": parts, "FETCH": parts})
    g = scripted(access_gate, s)
    with login(g.ports["imap"], "anna") as c:
        c.send(b"n NOOP\r\na FETCH 1 BODY.PEEK[]\r\n")
        out = c.until(b"a")
        assert out.count(NEWS) == 1 and contents(out.replace(NEWS, b""))[1, "BODY[]"] == clean()


@pytest.mark.parametrize("after", [b"a", b"GP"])
def test_content_behind_an_answer(access_gate, imap_server, after):
    """It is shown while the FETCH is done, and goes on when that is forgotten."""
    step, go, text = mailbox([evil(), evil()]), threading.Event(), evil()

    def parts(session, tag, words):
        answer = step(session, tag, words)
        if not tag.startswith(after) or after == b"GP" and b"BODY" not in words:
            return answer
        session.send((answer + b"* 1 FETCH (BODY[] {%d}\r\n%b" % (len(text), text[:1500])).replace(b"TAG", tag))
        assert go.wait(WAIT_S) or after == b"GP"
        return text[1500:] + b")\r\n"

    s = imap_server(script={"SELECT": SELECTED, "FETCH": parts})
    g = scripted(access_gate, s)
    if after == b"GP":
        go.set()
    with login(g.ports["imap"], "anna") as c:
        c.send(b"a FETCH 1 BODY.PEEK[]\r\n")
        out = c.until(b"a")
        go.set()
        out += c.ok(b"n NOOP")
        assert out.count(NOTICE) >= 2 and not is_original(out) and b"secret" not in out


def test_server_goes(access_gate, imap_server):
    for at in (b"(UID)", b"BODY.PEEK[]"):
        def step(session, tag, words, at=at):
            if at in words:
                session.sock.close()
                return b""
            return mailbox([clean()])(session, tag, words)
        s = imap_server(script={"SELECT": SELECTED, "FETCH": step})
        g = scripted(access_gate, s)
        with login(g.ports["imap"], "anna") as c:
            mark = g.mark()
            c.send(b"a FETCH 1 BODY.PEEK[]\r\n")
            assert c.rest().startswith(b"* BYE [UNAVAILABLE]")
        g.wait_line('event=imap .*end="backend lost" why="before an answer"', mark)


@pytest.mark.parametrize("whose", [b"a", b"GP"])
def test_server_goes_in_the_middle(access_gate, imap_server, whose):
    """Of a message that the client has begun to hear nothing can be said; of one that only the gateway hears it can."""
    def step(session, tag, words):
        answer = mailbox([clean("large", 100000)])(session, tag, words)
        if b"BODY" in words and tag.startswith(whose):
            session.send(answer[:70000])
            session.sock.close()
        return answer

    s = imap_server(script={"SELECT": SELECTED, "FETCH": step})
    g = scripted(access_gate, s)
    with login(g.ports["imap"], "anna") as c:
        c.send(b"a FETCH 1 BODY.PEEK[]\r\n")
        heard = c.rest()
    assert len(heard) == 70000 if whose == b"a" else heard.startswith(b"* BYE [UNAVAILABLE]")
    g.wait_line('event=imap .*end="backend lost" why="in the middle of a response"')


def test_server_goes_at_rest(access_gate, imap_server):
    """It says BYE, or the gateway does."""
    bye = b"* BYE for today\r\n"
    for words in (b"", bye):
        def step(session, tag, _, words=words):
            session.send(tag + b" OK\r\n" + words)
            session.sock.close()

        s = imap_server(script={"SELECT": SELECTED, "NOOP": step})
        g = scripted(access_gate, s)
        with login(g.ports["imap"], "anna") as c:
            c.ok(b"n NOOP")
            heard = c.rest()
            assert heard == words if words else heard.startswith(b"* BYE [UNAVAILABLE]")
        g.wait_line("event=imap .*end=closed" + ("" if words else ' why="by the server, without BYE"'))


STATES = {
    "which": (b"(UID)", b"a FETCH 1 BODY.PEEK[]\r\n"), "taken_in": (b"(UID BODY.PEEK[])", b"a FETCH 1 BODY.PEEK[]\r\n"),
    "details": (b"(UID BODY.PEEK[HEADER])", b"a FETCH 1 BODY.PEEK[]<10.700>\r\n"), "shown": (b"1 BODY.PEEK[]", b"a FETCH 1 BODY.PEEK[]\r\n"),
    "literal": (b"APPEND", b"a APPEND INBOX {5}\r\n"), "literal_plus": (b"APPEND", b"a APPEND INBOX {5+}\r\nhello\r\n"), "idle": (b"IDLE", b"a IDLE\r\n"),
}


@pytest.mark.parametrize("how", ["stop", "client", "server"])
def test_in_each_state(access_gate, imap_server, how):
    """A stop, a client that resets, and a server that closes, wherever a session is."""
    go, there, heard = threading.Event(), threading.Semaphore(0), {}
    step = mailbox([evil()])

    def stuck(session, tag, words):
        state = next(c.split()[2] for c in session.commands if b" LOGIN " in c).decode()
        answer = b"* 1 FETCH (BODY[HEADER] {4}\r\na: " if b"HEADER]" in words else step(session, tag, words) if b"FETCH" in words else b""
        if STATES[state][0] not in words:
            return answer
        session.send(answer[:len(answer) // 2])
        there.release()
        go.wait(2 * WAIT_S)
        raise Hangup

    s = imap_server(script={"SELECT": SELECTED} | dict.fromkeys(["FETCH", "APPEND", "IDLE"], stuck))
    s.literals = False
    g = scripted(access_gate, s)
    clients = [login(g.ports["imap"], state) for state in STATES]
    for c, (_, command) in zip(clients, STATES.values()):
        c.send(command)
    for _ in STATES:
        assert there.acquire(timeout=WAIT_S)
    if how == "client":
        for c in clients:
            c.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            c.close()
        ends = ["reset by the client"]
    elif how == "stop":
        g.process.send(signal.SIGTERM)
        ends = ["shutting down"]
    else:
        go.set()
        ends = ["backend lost", "reset by the backend"]
    if how != "client":
        for c, state in zip(clients, STATES):
            heard[state] = c.rest()
            c.close()
        assert [state for state in STATES if b"* BYE [UNAVAILABLE]" not in heard[state]] == ["shown"]
        assert not any(is_original(h) for h in heard.values())
    for state in STATES:
        line = g.wait_line(rf"event=imap .*user={state} ")
        assert any(f'end="{end}"' in line for end in ends), line
    go.set()


# clients

@pytest.mark.skipif(not shutil.which("mbsync"), reason="no mbsync (Debian: isync)")
def test_mbsync(gate, tmp_path):
    messages = [clean(f"m{i}", 100 * i) for i in range(20)]
    messages[7] = evil()
    g = gate(*messages)
    box = tmp_path / "box"
    box.mkdir()
    (tmp_path / "rc").write_text(f"""
IMAPAccount gate
Host 127.0.0.1
Port {g.ports["imap"]}
User {g.user}
Pass {QUOTED}
SSLType None
AuthMechs LOGIN

IMAPStore far
Account gate

MaildirStore near
Path {box}/
Inbox {box}/INBOX

Channel all
Far :far:
Near :near:
Patterns INBOX
Create Near
Sync Pull
SyncState {tmp_path}/state-
""")
    done = subprocess.run(["mbsync", "-c", str(tmp_path / "rc"), "-a"], capture_output=True, timeout=60, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    got = {re.search(rb"Subject: (\S+)", f.read_bytes())[1]: f.read_bytes() for f in (box / "INBOX").glob("*/*")}
    assert len(got) == 20
    shown = got.pop(b"invoice")
    assert b"from being shown" in shown and not is_original(shown)
    for i in set(range(20)) - {7}:
        assert re.sub(rb"X-TUID: .*\n", b"", got[b"m%d" % i]) == messages[i].replace(b"\r\n", b"\n")


def test_closed_is_noticed(gate):
    g = gate(clean())
    with open_box(g) as c:
        c.ok(b"a LOGOUT")
        with pytest.raises(Closed):
            c.line()
    g.wait_line(rf"event=imap .*user={g.user} .*end=closed")
