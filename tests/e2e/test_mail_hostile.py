"""Hostile clients and servers of IMAP and POP3: refused with the protocol's own word, bounded, logged, and nobody else is harmed."""
import base64
import itertools
import os
import re
import resource
import selectors
import socket
import struct
import subprocess
import time

import pytest
from lab.backend import Hangup, hang_up
from lab.gateway import BINARY, Gateway, parse_logfmt
from lab.lines import Lines
from lab.mailscript import ImapScript, Pop3Script
from lab.process import WAIT_S, free_port
from lab.wire import Closed, Imap, Pop3, Wire

IMAP, POP3 = "imap", "pop3"
SCRIPT = {IMAP: ImapScript, POP3: Pop3Script}
CLIENT = {IMAP: Imap, POP3: Pop3}
STARTTLS = {IMAP: b"s STARTTLS\r\n", POP3: b"STLS\r\n"}
LOGIN = {IMAP: b"l LOGIN alice secret\r\n", POP3: b"USER alice\r\nPASS secret\r\n"}
# Each client has an address of its own, by which its line is known.
SOURCES = (f"127.10.{n >> 8 & 255}.{n & 255}" for n in itertools.count(1))
NOOP = {IMAP: b"n NOOP\r\n", POP3: b"CAPA\r\n"}
LOGOUT = {IMAP: b"z LOGOUT\r\n", POP3: b"QUIT\r\n"}


class Site:
    """
    A gateway before a scripted server of each protocol: listeners that wait long, `quick` ones with login_timeout = 1s, `tls` ones whose server has to
    speak TLS, and `scan` ones, where messages are scanned.
    """

    def __init__(self, directory, certificates, dns, **kw):
        self.servers = {kind: SCRIPT[kind]() for kind in (IMAP, POP3)}
        self.tls = certificates.signed
        self.ports, text = {}, []
        for kind, server in self.servers.items():
            for leg, options in ("", "login_timeout = 20s"), ("quick", "login_timeout = 1s"), ("tls", "login_timeout = 20s"), ("scan", "scan = yes idle_timeout = 5s"):
                port = self.ports[kind, leg] = free_port()
                text.append(f'listener {kind}{leg} {{ address = "127.0.0.1:{port}" protocol = {kind} backends = {{ "{leg}{kind}" }} '
                            f"max_connections = 20000 max_per_client = 1000 {options} }}")
                tls = f'tls = required tls_ca = "{certificates.ca}" tls_name = "backend.example"' if leg == "tls" else "tls = off"
                text.append(f'backend {leg}{kind} {{ address = "127.0.0.1:{server.port}" protocol = {kind} max_sessions = 20000 {tls} }}')
        self.gateway = Gateway(directory, [9], dns=dns.server, conf="\n".join(text), **kw)

    def __enter__(self):
        self.gateway.start()
        return self

    def __exit__(self, *error):
        try:
            self.gateway.__exit__(*error)
        finally:
            for server in self.servers.values():
                server.stop()


@pytest.fixture(scope="module")
def site(tmp_path_factory, certificates, dns):
    with Site(tmp_path_factory.mktemp("gate"), certificates, dns) as site:
        yield site


@pytest.fixture(scope="module")
def plain_site(tmp_path_factory, certificates, dns):
    """What sanitizers set aside is no measure of memory."""
    with Site(tmp_path_factory.mktemp("plain"), certificates, dns, binary=os.environ.get("GATEPOST_PLAIN") or BINARY) as site:
        yield site


class Gate:
    """One protocol of a site: a listener, the server behind it, the gateway's lines."""

    def __init__(self, site, kind, leg=""):
        self.kind, self.port = kind, site.ports[kind, leg]
        self.gateway, self.server = site.gateway, site.servers[kind]
        self.mark, self.wait_line = self.gateway.mark, self.gateway.wait_line

    def said(self, since):
        return self.gateway.process.output(since)


def gates():
    """Makes gates; what the server did is forgotten then. At the end a good client is served as ever, and no worker has died."""
    def fixture(site):
        made = []

        def make(kind, leg="", **script):
            g = Gate(site, kind, leg)
            g.server.play(**script)
            made.append((g, g.mark()))
            return g, g.server
        yield make
        for g, mark in made:
            errors = list(g.server.errors)
            g.server.play()
            good_client(Gate(site, g.kind))
            assert "event=died" not in g.said(mark), g.said(mark)
            assert not errors, errors
    return fixture


@pytest.fixture
def gate(site):
    yield from gates()(site)


@pytest.fixture
def plain_gate(plain_site):
    yield from gates()(plain_site)


@pytest.fixture(params=[IMAP, POP3])
def kind(request):
    return request.param


def connect(g, **kw):
    return CLIENT[g.kind](g.port, source=next(SOURCES), **kw)


def wire(g, **kw):
    """A client that hears nothing by itself, not even the greeting."""
    return Wire(g.port, source=next(SOURCES), **kw)


def good_client(g):
    """Comes, logs in, goes; how long it took."""
    begun = time.monotonic()
    with connect(g) as c:
        c.send(LOGIN[g.kind] + LOGOUT[g.kind])
        assert re.search(rb"(?m)^(l OK|\+OK done)", c.rest())
    return time.monotonic() - begun


def at_once(g):
    """How long a good client takes: if the machine has something else to do just then, the next one's."""
    took = min(good_client(g) for _ in range(5))
    assert took < 2
    return took


def refused(kind, line):
    return bool(re.match(rb"\S+ (BAD|NO) " if kind == IMAP else rb"-ERR ", line))


def worker_kib(g):
    pid = next(p for name, p in g.gateway.children().items() if "worker" in name)
    with open(f"/proc/{pid}/statm") as f:
        return int(f.read().split()[1]) * resource.getpagesize() // 1024


def last_line(g, client):
    """The line of a session's end: of this one alone."""
    return parse_logfmt(g.wait_line(rf"event={g.kind} .*client={re.escape(client.source)} "))


# what is said in clear before TLS

def test_starttls_injection_by_the_client(gate, kind):
    """What comes along with STARTTLS was said by anybody: the session is dropped, and none of it is done, in clear or under TLS."""
    g, server = gate(kind)
    for piece in (NOOP[kind], LOGIN[kind], b"x", b"\r\n", b"\x16\x03\x01"):
        with connect(g) as c:
            c.send(STARTTLS[kind] + piece)
            answer = c.rest()
            assert answer.count(b"\r\n") <= 1 and b"l OK" not in answer, answer
        line = last_line(g, c)
        assert "STARTTLS" in line["why"] or "STLS" in line["why"] or "TLS" in line["why"], line
    assert not any(b"alice" in line for line in server.heard)
    good_client(g)


def test_clear_text_in_place_of_the_handshake(gate, kind):
    g, server = gate(kind)
    with connect(g) as c:
        c.send(STARTTLS[kind])
        assert b"OK" in c.line()
        c.send(LOGIN[kind])
        assert b"OK" not in c.rest()
    assert last_line(g, c)["end"]
    assert not any(b"alice" in line for line in server.heard)
    good_client(g)


def test_all_before_tls_is_forgotten(gate, kind):
    """A user that was named in clear, and STARTTLS itself, once it was done."""
    g, server = gate(kind)
    with connect(g) as c:
        if kind == POP3:
            c.ok(b"USER mallory")
            c.starttls()
            assert c.cmd(b"PASS secret").startswith(b"-ERR")
            assert b"STLS" not in c.ok(b"CAPA", lines=True)
            assert c.cmd(b"STLS").startswith(b"-ERR")
        else:
            c.starttls()
            assert b"STARTTLS" not in c.ok(b"a CAPABILITY")
            assert refused(kind, c.cmd(b"b STARTTLS"))
        c.send(LOGIN[kind] + LOGOUT[kind])
        assert b"OK" in c.rest()
    assert not any(line.upper().startswith(b"PASS") for line in server.heard[:1])


def test_starttls_injection_by_the_server(gate, certificates, kind):
    """Octets behind its OK, before the handshake, are not its own under TLS (CVE-2011-0411): the session ends, and none of them reaches the client."""
    asked = []

    def inject(conn, words):
        asked.append(words)
        conn.send((words[0] + b" OK begin\r\n* CAPABILITY IMAP4rev1 EVIL\r\n") if kind == IMAP else b"+OK begin\r\n+OK EVIL\r\n")
        conn.begin_tls()
    g, server = gate(kind, "tls", on={"STARTTLS": inject, "STLS": inject}, tls=certificates.signed)
    with wire(g) as c:
        c.send(LOGIN[kind])
        heard = c.rest()
    assert b"EVIL" not in heard and b"OK done" not in heard and unavailable(kind, heard), heard
    assert last_line(g, c)["end"]
    assert asked and not any(b"alice" in line for line in server.heard)


def unavailable(kind, heard):
    return re.search(rb"(?m)^(\* BYE |-ERR )" if kind == IMAP else rb"(?m)^-ERR ", heard)


def test_capabilities_of_the_clear_leg_are_not_kept(gate, certificates, kind):
    """What the server offered before TLS may have been somebody else's."""
    def greet(conn):
        return server.hello(conn).replace(b"PLAIN", b"EVIL")

    def caps(conn, words):
        told = server.caps(conn)
        told = told if conn.in_tls else told.replace(b"PLAIN", b"EVIL")
        return b"* CAPABILITY %b\r\n%b OK\r\n" % (told, words[0]) if kind == IMAP else b"+OK\r\n%b\r\n.\r\n" % told
    g, server = gate(kind, "tls", on={"CAPABILITY": caps, "CAPA": caps}, tls=certificates.signed, greeting=greet)
    with connect(g) as c:
        told = c.greeting + (c.ok(b"a CAPABILITY") if kind == IMAP else c.ok(b"CAPA", lines=True))
        assert b"EVIL" not in told and b"PLAIN" in told, told


def test_a_server_without_tls_where_it_is_required(gate, kind):
    """It does not offer it (or somebody has taken the word out): no password goes there."""
    g, server = gate(kind, "tls")
    with wire(g) as c:
        c.send(LOGIN[kind])
        assert unavailable(kind, c.rest())
    assert not any(b"alice" in line for line in server.heard)


def test_starttls_refused_by_the_server(gate, certificates, kind):
    """It offers TLS and does not do it: NO, a clear answer where the handshake should be, or none at all."""
    no = {IMAP: b"gp NO not now\r\n", POP3: b"-ERR not now\r\n"}[kind]

    def stop(last):
        def step(conn, words):
            conn.send((words[0] + b" OK begin\r\n" if kind == IMAP else b"+OK begin\r\n"))
            conn.sock.recv(1)
            raise Hangup(last)
        return step
    for step in (no, hang_up(), stop(b""), stop(b"gp OK done\r\n+OK done\r\n"), stop(b"\x15\x03\x01\0\x02\x02\x28")):
        g, server = gate(kind, "tls", on={"STARTTLS": step, "STLS": step}, tls=certificates.signed)
        with wire(g) as c:
            c.send(LOGIN[kind])
            assert unavailable(kind, c.rest())
        assert not any(b"alice" in line for line in server.heard)


def test_preauth(gate, certificates):
    """A session that is somebody's already: never a client's, and STARTTLS could not be asked for in it."""
    for leg, tls in ("", None), ("tls", certificates.signed):
        g, server = gate(IMAP, leg, greeting=b"* PREAUTH [CAPABILITY IMAP4rev1] welcome back\r\n", tls=tls)
        with wire(g) as c:
            c.send(b"a SELECT INBOX\r\n")
            heard = c.rest()
        assert heard.startswith(b"* BYE") and b"PREAUTH" not in heard.split(b"\r\n")[0][:12], heard
        assert "PREAUTH" in g.wait_line("PREAUTH")
        assert not any(b"SELECT" in line for line in server.heard)


# before login

BAD_IMAP = {
    "no tag": b" NOOP\r\n", "tag alone": b"a\r\n", "empty": b"\r\n", "bare LF": b"a NOOP\n", "bare CR": b"a NOOP\rb NOOP\r\n", "NUL": b"a NO\0OP\r\n",
    "NUL at the end": b"a NOOP\0\r\n", "8 bit": b"a N\xf6OP\r\n", "8-bit tag": b"\xff\xfe NOOP\r\n", "tag with +": b"+ NOOP\r\n", "long tag": b"a" * 5000 + b" NOOP\r\n",
    "unknown": b"a XYZZY\r\n", "not yet": b"a SELECT INBOX\r\n", "append": b"a APPEND INBOX {5+}\r\nhello\r\n", "argument": b"a CAPABILITY now\r\n",
    "one argument": b"a LOGIN alice\r\n", "three": b"a LOGIN alice secret more\r\n", "open quote": b'a LOGIN "alice secret\r\n',
    "CR in quotes": b'a LOGIN "al\rice" secret\r\n', "NUL in quotes": b'a LOGIN "al\0ice" secret\r\n', "backslash": b'a LOGIN "al\\ice" secret\r\n',
    "lines in a literal": b"a LOGIN {10+}\r\nal\r\nb NOOP secret\r\n", "lines in a password": b"a LOGIN alice {8+}\r\nx\r\nb NOO\r\n",
    "NUL in a literal": b"a LOGIN {5+}\r\nal\0ic secret\r\n", "behind a literal": b"a LOGIN {5+}\r\nalicesecret\r\n", "HTTP": b"GET / HTTP/1.1\r\n", "no base64": b"a AUTHENTICATE PLAIN !!!\r\n",
    "mechanism": b"a AUTHENTICATE EXTERNAL =\r\n", "long mechanism": b"a AUTHENTICATE " + b"X" * 4000 + b"\r\n", "literal for a mechanism": b"a AUTHENTICATE {5+}\r\nPLAIN\r\n",
    "literal size": b"a LOGIN {} x\r\n", "negative": b"a LOGIN {-1}\r\n", "hex": b"a LOGIN {0x5}\r\n", "8 of them": b"a LOGIN " + b"{1+}\r\nx" * 9 + b"\r\n",
    "id": b'a ID ("name")\r\n', "id depth": b"a ID " + b"(" * 1000 + b"\r\n", "compress": b"a COMPRESS DEFLATE\r\n",
}
LITERALS = {
    "4 GiB": b"4294967296", "4 GiB - 1": b"4294967295", "2 GiB": b"2147483648", "2^63": b"9223372036854775808", "2^64": b"18446744073709551616", "2^64 + 5": b"18446744073709551621",
    "twenty nines": b"9" * 20, "nines": b"9" * 3000, "100 MB": b"100000000",
}
BAD_POP3 = {
    "empty": b"\r\n", "bare LF": b"CAPA\n", "bare CR": b"CAPA\rCAPA\r\n", "NUL": b"CA\0PA\r\n", "NUL at the end": b"CAPA\0\r\n", "8 bit": b"C\xc4PA\r\n", "unknown": b"XYZZY\r\n",
    "not yet": b"STAT\r\n", "RETR": b"RETR 1\r\n", "PASS first": b"PASS secret\r\n", "USER alone": b"USER\r\n", "NUL in a name": b"USER al\0ice\r\n", "CR in a name": b"USER al\rice\r\n",
    "long name": b"USER " + b"a" * 5000 + b"\r\n", "APOP": b"APOP alice\r\n", "APOP digest": b"APOP alice nonsense\r\n", "mechanism": b"AUTH EXTERNAL =\r\n",
    "no base64": b"AUTH PLAIN !!!\r\n", "HTTP": b"GET / HTTP/1.1\r\n", "XCLIENT": b"XCLIENT ADDR=192.0.2.1 PORT=1\r\n",
}


def test_bad_commands(gate, kind):
    """Each is refused with BAD or -ERR, and none of it goes to the server."""
    g, server = gate(kind)
    for name, raw in (BAD_IMAP if kind == IMAP else BAD_POP3).items():
        heard = len(server.heard)
        with connect(g) as c:
            c.send(raw)
            line = c.line()
            assert refused(kind, line) or line.startswith(b"* BYE") or line.startswith(b"* BAD"), f"{name}: {line!r}"
            assert len(line) < 300 and line.isascii() and b"\0" not in line, f"{name}: {line!r}"
        said = b"".join(server.heard[heard:])
        assert not re.search(rb"secret|XYZZY|SELECT|APPEND|STAT|RETR|GET|alice|XCLIENT|COMPRESS|EXTERNAL|\0", said), f"{name}: {said!r}"
    good_client(g)


def test_huge_literals(gate):
    """BAD at once to those that ask, and no + ; what is announced with LITERAL+ cannot be told from commands: the session ends, too."""
    g, server = gate(IMAP)
    for name, size in LITERALS.items():
        for before in (b"a LOGIN ", b"a LOGIN alice ", b'a ID ("name" ', b"a XYZZY ", b"a AUTHENTICATE "):
            with connect(g) as c:
                c.send(before + b"{" + size + b"}\r\n")
                assert re.match(rb"a BAD|\* BAD", line := c.line()), f"{name}: {line!r}"
                c.ok(b"b CAPABILITY")
        with connect(g) as c:
            c.send(b"a LOGIN {" + size + b"+}\r\nalice secret\r\nl LOGIN alice secret\r\n")
            heard = c.rest()
            assert b"BAD" in heard and b"l OK" not in heard and not re.search(rb"(?m)^\+", heard), f"{name}: {heard!r}"
    assert not any(b"alice" in line for line in server.heard)
    good_client(g)


def test_endless_lines(plain_gate, kind):
    """A client that never ends its line is cut off long before it has sent all, and nothing of it is kept."""
    g, server = plain_gate(kind)
    good_client(g)
    before = worker_kib(g)
    starts = (b"a LOGIN ", b"a", b'a LOGIN "', b'a ID ("name" "', b"a AUTHENTICATE PLAIN ") if kind == IMAP else (b"USER ", b"A", b"AUTH PLAIN ", b"PASS ")
    for start in starts:
        with connect(g) as c:
            sent = 0
            try:
                c.send(start)
                while sent < 64 << 20:
                    c.send(b"x" * 65536)
                    sent += 65536
                heard = c.rest()
            except (BrokenPipeError, ConnectionResetError):
                heard = b""
            assert sent < 64 << 20, f"{start!r}: all was taken, {heard!r}"
        assert last_line(g, c)["end"]
    assert worker_kib(g) - before < 4096
    assert not any(b"xxxx" in line for line in server.heard)
    good_client(g)


def test_a_long_line_is_refused_by_words(gate, kind):
    g, _ = gate(kind)
    for length in (2000, 10000, 20000, 100000):
        with connect(g) as c:
            c.send((b"a LOGIN " if kind == IMAP else b"USER ") + b"x" * length + b"\r\n")
            line = c.line()
            assert refused(kind, line) or length > 12288 and line.startswith(b"* BYE"), line


def test_too_many_errors(gate, kind):
    """Nobody tries commands for ever."""
    g, server = gate(kind)
    with connect(g) as c:
        with pytest.raises((Closed, BrokenPipeError, ConnectionResetError)):
            for i in range(2000):
                c.send(b"x XYZZY\r\n" if kind == IMAP else b"XYZZY\r\n")
                c.line()
        assert i < 200
    assert last_line(g, c)["end"]
    good_client(g)


def test_pipelined_before_login(gate, kind):
    """Answered in order, each once; and what follows the login is the server's to answer."""
    g, server = gate(kind)
    with connect(g) as c:
        if kind == IMAP:
            c.send(b"a NOOP\r\nb CAPABILITY\r\nc XYZZY\r\nd NOOP\r\ne LOGIN {5+}\r\nalice {6+}\r\nsecret\r\nf SELECT INBOX\r\ng LOGOUT\r\n")
            tags = [line.split()[0] for line in c.rest().split(b"\r\n") if line and not line.startswith(b"*")]
            assert tags == [b"a", b"b", b"c", b"d", b"e", b"f", b"g"]
        else:
            c.send(b"CAPA\r\nXYZZY\r\nUSER alice\r\nPASS secret\r\nSTAT\r\nQUIT\r\n")
            lines = c.rest().split(b"\r\n")
            assert [line[:4] for line in lines[lines.index(b".") + 1:-1]] == [b"-ERR", b"+OK ", b"+OK ", b"+OK ", b"+OK "], lines


# octets in values

def test_names_that_hold_lines(gate, kind):
    """CR, LF and NUL in the name within base64 (PLAIN) reach no line of the log, and no command; what goes to the server is base64 as it came."""
    g, server = gate(kind)
    begun = g.mark()
    for name in (b"al\r\nevent=login evil", b"al\nice", b"al\rice", b"\xff\xfe", b"al\x1b[31mice", b'al" user="evil', b"a" * 3000):
        first = base64.b64encode(b"\0" + name + b"\0secret")
        with connect(g) as c:
            c.send((b"a AUTHENTICATE PLAIN " if kind == IMAP else b"AUTH PLAIN ") + first + b"\r\n" + LOGOUT[kind])
            c.rest()
    output = g.said(begun)
    assert not re.search(r"(?m)^event=login evil|^ice|\x1b|\xff", output)
    for line in output.split("\n"):
        assert parse_logfmt(line).get("user") != "evil", line
    assert "secret" not in output
    for line in server.heard:
        assert b"ice" not in line and b"evil" not in line and b"\x1b" not in line, line
    good_client(g)


def test_a_clients_id_is_not_believed(gate):
    """x-originating-ip and its like are the gateway's to say."""
    g, server = gate(IMAP)
    with connect(g) as c:
        c.cmd(b'a ID ("name" "x" "x-originating-ip" "192.0.2.1" "X-Originating-Port" "1" "x-forward-user" "root" "x-session-id" "1" "x-proxy-ttl" "9" "x-connected-ip" "192.0.2.2")')
        c.cmd(b'b ID ("x-originating-ip" {9+}\r\n192.0.2.3)')
        c.cmd(b'c ID ({16+}\r\nx-originating-ip "192.0.2.4")')
    said = b"".join(server.heard).lower()
    assert b"192.0.2." not in said and b"x-" not in said, said


# half-closed, cut, silent

def test_half_closed_by_the_client(gate, kind):
    """It has said all it wants to say, and reads on: it gets its answers."""
    g, server = gate(kind)
    with connect(g) as c:
        c.send(NOOP[kind] + LOGIN[kind] + LOGOUT[kind])
        c.half_close()
        heard = c.rest()
        assert (b"z OK" in heard and b"l OK" in heard) if kind == IMAP else heard.endswith(b"+OK bye\r\n"), heard
    with connect(g) as c:
        c.half_close()
        c.rest()
    server.wait(lambda: all(conn.ended for conn in server.conns))
    good_client(g)


def test_cut_by_the_client(gate, kind):
    """By RST, at any octet of a login: the server's connection does not stay."""
    g, server = gate(kind)
    whole = b"a AUTHENTICATE PLAIN\r\n" if kind == IMAP else b"AUTH PLAIN\r\n"
    whole += base64.b64encode(b"\0alice\0secret") + b"\r\n"
    for i in range(0, len(whole) + 1, 5):
        with connect(g) as c:
            c.send(whole[:i])
            c.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    server.wait(lambda: all(conn.ended for conn in server.conns))
    good_client(g)


def test_half_closed_by_the_server(gate, kind):
    """After the login: what it has sent arrives, and then the end."""
    def half(conn, words):
        conn.send(words[0] + b" OK in\r\n* 1 EXISTS\r\n" if kind == IMAP else b"+OK in\r\n+OK more\r\n")
        conn.half_close()
        conn.rest()
    g, server = gate(kind, on={"LOGIN": half, "PASS": half})
    with connect(g) as c:
        c.send(LOGIN[kind])
        heard = c.rest()
        assert (b"* 1 EXISTS\r\n" if kind == IMAP else b"+OK more\r\n") in heard
    assert last_line(g, c)["end"]


def test_the_login_takes_too_long(gate, kind):
    """login_timeout is for all of it, however busy the client is."""
    g, server = gate(kind, "quick")
    begun = time.monotonic()
    with connect(g) as slow, connect(g) as busy, connect(g) as half:
        half.send(b"a LOG" if kind == IMAP else b"US")
        try:
            while time.monotonic() < begun + 10:
                busy.cmd(b"n NOOP") if kind == IMAP else busy.cmd(b"CAPA", lines=True)
                time.sleep(0.05)
        except (Closed, OSError):
            pass
        for c in (slow, half, busy):
            c.rest()
    assert time.monotonic() - begun < 8
    server.wait(lambda: all(conn.ended for conn in server.conns))
    good_client(g)


# servers

def endless(octets):
    def step(conn, *_):
        sent = 0
        while sent < 64 << 20:
            conn.send(octets * (65536 // len(octets)))
            sent += 65536
        conn.wrong.append("all was taken")
    return step


def dribble(piece):
    """A bit now and then, for half a minute."""
    def step(conn, *_):
        for _ in range(150):
            conn.send(piece)
            time.sleep(0.2)
    return step


GREETINGS = {
    "SMTP": b"220 mail.example ESMTP\r\n", "HTTP": b"HTTP/1.1 400 Bad Request\r\n\r\n", "TLS": b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03" + bytes(500), "binary": bytes(range(256)) * 20 + b"\r\n",
    "empty": b"\r\n", "NUL": b"* OK\0ready\r\n+OK\0\r\n", "NUL within": {IMAP: b"* OK rea\0dy\r\n", POP3: b"+OK rea\0dy\r\n"}, "CR within": {IMAP: b"* OK rea\rdy\r\n", POP3: b"+OK rea\rdy\r\n"}, "bare LF": b"* OK ready\n+OK ready\n", "endless": endless(b"x"), "cut": hang_up(b"* O"), "nothing": hang_up(),
    "long": b"* OK " + b"x" * 100000 + b"\r\n",
}


def test_greetings(gate, kind):
    """A server that greets with nonsense is away: the client is told so, and nothing of it reaches the client."""
    for name, greeting in GREETINGS.items():
        g, server = gate(kind, "quick", greeting=greeting[kind] if isinstance(greeting, dict) else greeting)
        with wire(g) as c:
            heard = c.rest()
        assert len(heard) < 1000 and heard.startswith(b"* BYE " if kind == IMAP else b"-ERR ") and heard.count(b"\r\n") == 1 and heard.isascii(), f"{name}: {heard[:1000]!r}"
        assert last_line(g, c)["end"] and len(server.conns) >= 1, name


def test_refusing_greeting(gate, kind):
    """A server that greets with a refusal: the client hears one."""
    g, _ = gate(kind, greeting=hang_up(b"* BYE [UNAVAILABLE] too busy\r\n" if kind == IMAP else b"-ERR [SYS/TEMP] too busy\r\n"))
    with wire(g) as c:
        assert c.rest().startswith(b"* BYE" if kind == IMAP else b"-ERR")


def test_a_server_that_never_answers(gate, kind):
    """Or never comes to an end: login_timeout is for all of it."""
    hello, nothing = SCRIPT[kind].hello, lambda conn, *_: None
    scripts = [
        (lambda _, conn: None, nothing), (hello, nothing), (lambda _, conn: dribble(b"*")(conn), nothing), (hello, dribble(b"+")),
        (hello, dribble(b"* OK still here\r\n" if kind == IMAP else b"+OK\r\n")),
    ]
    rest = iter(scripts)

    def greeting(conn):
        greet, conn.step = next(rest)
        return greet(server, conn)
    g, server = gate(kind, "quick", greeting=greeting, on={"*": lambda conn, words: conn.step(conn)})
    begun = time.monotonic()
    clients = []
    for i in range(len(scripts)):
        clients.append(wire(g))
        server.wait(lambda: len(server.conns) > i)
        clients[-1].send(NOOP[kind] + LOGIN[kind])
    for i, c in enumerate(clients):
        with c:
            heard = c.rest()
        assert b"OK done" not in heard, (i, heard)
    assert time.monotonic() - begun < 10


UNSOLICITED = {
    IMAP: {"tagged before": b"* OK [CAPABILITY IMAP4rev1 AUTH=PLAIN] hi\r\nl OK LOGIN completed\r\n", "plus before": b"* OK hi\r\n+ go on\r\n", "many": b"* OK hi\r\n" + b"l OK in\r\n" * 50},
    POP3: {"twice": b"+OK hi <1.2@x>\r\n+OK\r\n+OK logged in\r\n", "plus": b"+OK hi\r\n+ \r\n", "many": b"+OK hi\r\n" + b"+OK in\r\n" * 50},
}


def test_unsolicited_replies(gate, kind):
    """Answers to nothing are not taken for the login's: the session ends, and the password stays here."""
    for name, greeting in UNSOLICITED[kind].items():
        g, server = gate(kind, greeting=greeting)
        with wire(g) as c:
            first = c.line()
            time.sleep(0.1)         # so that all of the server's words are there
            try:
                c.send(LOGIN[kind])
                heard = first + c.rest()
            except OSError:
                heard = first
            assert b"in\r\n" not in heard and b"LOGIN completed" not in heard and b"+ " not in heard, f"{name}: {heard!r}"
        assert not any(b"secret" in line for line in server.heard), name
        line = last_line(g, c)
        assert "user" not in line, line


ANSWERS_IMAP = {
    "wrong tag": b"x OK in\r\n", "nonsense": b"what?\r\n", "binary": bytes(range(1, 32)) * 10 + b"\r\n", "NUL": b"l O\0K in\r\n", "NUL within": b"l OK i\0n\r\n", "CR within": b"l OK i\rn\r\n", "untagged NUL": b"* OK i\0n\r\nl OK in\r\n", "bare LF": b"l OK in\n", "long": b"l OK " + b"x" * 200000 + b"\r\n",
    "endless": endless(b"x"), "endless untagged": endless(b"* OK still here\r\n"), "literal": b"* BAD {4294967296}\r\nx", "literal+": b"* OK {99999999999999999999+}\r\n", "hang up": hang_up(), "cut": hang_up(b"l O"),
    "plus": b"+ more\r\n", "BYE": hang_up(b"* BYE go away\r\n"), "CAPABILITY": b"* CAPABILITY" + b" X" * 50000 + b"\r\nl OK in\r\n",
}
ANSWERS_POP3 = {
    "nonsense": b"what?\r\n", "binary": bytes(range(1, 32)) * 10 + b"\r\n", "NUL": b"+O\0K in\r\n", "NUL within": b"+OK i\0n\r\n", "CR within": b"+OK i\rn\r\n", "bare LF": b"+OK in\n", "long": b"+OK " + b"x" * 200000 + b"\r\n", "endless": endless(b"x"),
    "hang up": hang_up(), "cut": hang_up(b"+O"), "plus": b"+ more\r\n", "+OKAY": b"+OKAY\r\n",
}


def test_answers_to_a_login(plain_gate, kind):
    """Nonsense in answer to LOGIN or PASS logs nobody in, and takes no memory; the client hears a refusal, or the end."""
    for name, answer in (ANSWERS_IMAP if kind == IMAP else ANSWERS_POP3).items():
        g, server = plain_gate(kind, "quick", on={"LOGIN" if kind == IMAP else "PASS": answer})
        before = worker_kib(g)
        with connect(g) as c:
            c.send(LOGIN[kind])
            heard = c.rest()
        assert not re.search(rb"(?m)^l OK" if kind == IMAP else rb"(?m)^\+OK (?!done)", heard), f"{name}: {heard[:300]!r}"
        assert len(heard) < 2 << 20, name
        line = last_line(g, c)
        assert "user" not in line, line
        assert worker_kib(g) - before < 4096, name


def test_capa_without_end(plain_gate):
    for answer in (endless(b"x"), endless(b"XEVIL\r\n"), lambda conn, _: conn.send(b"+OK\r\n") or endless(b"XEVIL\r\n")(conn), b"+OK\r\nNUL\0\r\n.\r\n"):
        g, _ = plain_gate(POP3, "quick", on={"CAPA": answer})
        before = worker_kib(g)
        with wire(g) as c:
            c.line()
            try:
                c.send(b"CAPA\r\n")
                assert len(c.rest()) < 1 << 20
            except OSError:
                pass
        assert worker_kib(g) - before < 4096


def test_a_client_that_does_not_read(plain_gate, kind):
    """After the login: what the server has to say waits with the server."""
    g, server = plain_gate(kind, on={"LOGIN" if kind == IMAP else "PASS": endless(b"l OK done\r\n" if kind == IMAP else b"+OK done\r\n")})
    before = worker_kib(g)
    with connect(g) as c:
        c.send(LOGIN[kind])
        c.line()
        time.sleep(0.3)
        assert worker_kib(g) - before < 4096
    server.wait(lambda: all(conn.ended for conn in server.conns))


# where messages are scanned

SELECTED = b"* 1 EXISTS\r\n* 0 RECENT\r\n* OK [UIDVALIDITY 7] x\r\n* OK [UIDNEXT 2] x\r\n"


def flood(head, octets, count=32 << 20):
    """So much, and then the connection is closed."""
    def step(conn, *_):
        conn.send(head)
        for _ in range(count // 65536):
            conn.send(octets * (65536 // len(octets)))
        raise Hangup()
    return step


FLOODS = {
    IMAP: {
        "literal of 4 GiB": flood(b"* 1 FETCH (UID 1 BODY[] {4294967296}\r\n", b"x" * 1024), "header without end": flood(b"* 1 FETCH (UID 1 BODY[] {1000000000}\r\n", b"X-A: b\r\n"),
        "field without end": flood(b"* 1 FETCH (UID 1 BODY[] {1000000000}\r\nSubject: ", b" x"), "line": flood(b"* 1 FETCH (UID 1 ", b"x"), "quoted": flood(b'* 1 FETCH (UID 1 BODY[] "', b"x"),
        "depth": flood(b"* 1 FETCH (UID 1 BODYSTRUCTURE ", b"("), "flags": flood(b"* 1 FETCH (UID 1 FLAGS (", b"\\Seen "), "untagged": flood(b"", b"* 1 EXISTS\r\n"),
        "messages": flood(b"", b'* 1 FETCH (UID 1 BODY[1] "hi")\r\n', 1 << 20), "expunged": flood(b"", b"* 1 EXPUNGE\r\n", 1 << 20), "exists": flood(b"* 4294967295 EXISTS\r\n", b"* 1 FETCH (UID 1)\r\n", 1 << 20),
    },
    POP3: {
        "message": flood(b"+OK\r\nSubject: x\r\n\r\n", b"x" * 62 + b"\r\n"), "line": flood(b"+OK\r\nSubject: x\r\n\r\n", b"x"), "header": flood(b"+OK\r\n", b"X-A: b\r\n"), "answer": flood(b"+OK ", b"x"),
    },
}


def test_floods_where_messages_are_scanned(plain_gate, kind):
    """What a server says without end is not kept without end; nobody is given what could not be judged."""
    for name, step in FLOODS[kind].items():
        def fetch(conn, words):
            """The flood is the message, or what is said of it before."""
            if first or b"BODY" in b" ".join(words):
                return step(conn)
            return b"* 1 FETCH (UID 1)\r\n" + words[0] + b" OK done\r\n"
        for first in (True, False) if kind == IMAP else (True,):
            on = {"FETCH": fetch, "SELECT": lambda conn, words: SELECTED + words[0] + b" OK in\r\n"} if kind == IMAP else {"RETR": step, "UIDL": b"+OK 1 abc\r\n"}
            g, server = plain_gate(kind, "scan", on=on)
            before = worker_kib(g)
            with connect(g) as c:
                c.send(LOGIN[kind] + (b"s SELECT INBOX\r\nf FETCH 1 (BODY.PEEK[])\r\n" if kind == IMAP else b"RETR 1\r\n") + LOGOUT[kind])
                heard = c.rest()
            assert b"xxxx" not in heard and b"X-A" not in heard and b'"hi"' not in heard, f"{name}: {heard[:1000]!r}"
            assert worker_kib(g) - before < 8192, name
    assert int(subprocess.run(["du", "-sb", g.gateway.state], capture_output=True, text=True).stdout.split()[0]) < 64 << 20


# crowds

def many(g, count, first, lines=1):
    """Connections that stay, each having heard a greeting and said this."""
    port, socks = g.port, []
    waiting = selectors.DefaultSelector()
    for i in range(count):
        sock = socket.create_connection(("127.0.0.1", port), timeout=WAIT_S, source_address=(f"127.0.{1 + i // 250}.{i % 250 + 1}", 0))
        sock.sendall(first)
        waiting.register(sock, selectors.EVENT_READ)
        socks.append(sock)
    end = time.monotonic() + 60
    while waiting.get_map():
        assert time.monotonic() < end, f"{len(waiting.get_map())} were not greeted"
        for key, _ in waiting.select(1):
            data = key.fileobj.recv(4096)
            assert data.startswith((b"* OK", b"+OK")), data
            waiting.unregister(key.fileobj)
    waiting.close()
    return socks


def descriptors(count):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < count:
        pytest.skip(f"{count} descriptors are needed, {hard} allowed")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, count), hard))


def imap_lines(line):
    words = line.split()
    if len(words) > 1 and words[1].upper() == b"LOGOUT":
        return None
    return (words or [b"*"])[0] + b" OK done\r\n"


def pop3_lines(line):
    if line.upper().startswith(b"QUIT"):
        return None
    return b"+OK done\r\n.\r\n" if line.upper().startswith(b"CAPA") else b"+OK done\r\n"


def test_a_good_client_among_bad_ones(access_gate, kind):
    """1,000 who stop within a command, 5,000 who say nothing, 1,000 who are logged in and idle, and 500 who stop within a TLS handshake."""
    descriptors(16000)
    with Lines(b"* OK [CAPABILITY IMAP4rev1 AUTH=PLAIN] ready\r\n" if kind == IMAP else b"+OK ready\r\n", imap_lines if kind == IMAP else pop3_lines) as server:
        g = access_gate({kind: server.port}, options="max_connections = 20000 max_per_client = 1000", backend_options="tls = off max_sessions = 20000",
                        kinds=(kind, kind + "s"), binary=os.environ.get("GATEPOST_PLAIN") or BINARY)
        g.kind, g.port, g.gateway = kind, g.ports[kind], g
        socks = []
        try:
            good_client(g)
            before = worker_kib(g)
            socks += many(g, 1000, b"a LOGIN al" if kind == IMAP else b"USER al")
            socks += many(g, 5000, b"")
            each = (worker_kib(g) - before) / 6000
            took = at_once(g)
            print(f"{kind}: {each:.1f} KiB each before login, a good client in {took * 1000:.0f} ms")
            socks += many(g, 1000, LOGIN[kind])
            for _ in range(500):
                socks.append(socket.create_connection(("127.0.0.1", g.ports[kind + "s"]), timeout=WAIT_S))
                socks[-1].sendall(b"\x16\x03\x01\x02\0\x01")
            with CLIENT[kind](g.ports[kind + "s"], tls=True) as c:
                c.send(LOGIN[kind] + LOGOUT[kind])
                assert b"OK done" in c.rest()
            at_once(g)
            assert each < 32
        finally:
            for s in socks:
                s.close()
        good_client(g)
        assert "event=died" not in g.process.output()


def test_too_many_of_one_client(access_gate, kind):
    """Who is one too many hears the protocol's own word for it."""
    with SCRIPT[kind]() as server:
        g = access_gate({kind: server.port}, options="max_per_client = 3", backend_options="tls = off", kinds=(kind,))
        conns = [CLIENT[kind](g.ports[kind]) for _ in range(3)]
        with Wire(g.ports[kind]) as c:
            assert c.rest().startswith(b"* BYE [UNAVAILABLE]" if kind == IMAP else b"-ERR [")
        for c in conns:
            c.close()
