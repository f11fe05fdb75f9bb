"""
Sessions of IMAP and POP3 in which octets are lost, doubled, changed, and others come in between, on both sides, with and without a scan: whatever is
said, no process dies, no sanitizer speaks, and a good client is served. The same mutations in each run.
"""
import base64
import concurrent.futures
import errno
import random

import pytest
from lab.gateway import Gateway
from lab.mailscript import ImapScript, Pop3Script
from lab.process import free_port
from lab.wire import Imap, Pop3, Wire

SESSIONS = 160
PIECES = [
    b"\r\n", b"\n", b"\r", b"\0", b" ", b"=", b'"', b"\\", b"(", b")", b"*", b"+ ", b"]", b"\xff", b"a" * 300, b"{5}", b"{5+}\r\nalice", b"{4294967296}",
    b"{0}\r\n", b"{0+}\r\n", b"+OK", b"-ERR", b" OK ", b" NO ", b" BAD ", b"* BYE x\r\n", b"* PREAUTH hi\r\n", b"* CAPABILITY IMAP4rev1 COMPRESS=DEFLATE\r\n",
    b"[CAPABILITY ", b'* ID ("a" {3}\r\nabc)\r\n', b".\r\n", b"\r\n.\r\n", b"<1.2@x>", b"[XCLIENT]", b"AUTHENTICATE ", b"LOGIN ", b"STARTTLS\r\n", b"STLS\r\n",
    b"CAPA\r\n", b"AUTH PLAIN ", b"* 1 FETCH (BODY[] {3}\r\nabc)\r\n", b"BODY[]", b"DONE\r\n",
]
PLAIN = base64.b64encode(b"\0alice\0secret")
MESSAGE = b"Subject: x\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\nhi\r\n--b--\r\n"
SAID = {
    "imap": [
        b"a CAPABILITY\r\nb NOOP\r\nc LOGIN alice secret\r\nd SELECT INBOX\r\ne LOGOUT\r\n",
        b'a ID ("name" "x" "version" NIL)\r\nc LOGIN {5+}\r\nalice {6+}\r\nsecret\r\ne LOGOUT\r\n', b"a AUTHENTICATE PLAIN " + PLAIN + b"\r\ne LOGOUT\r\n",
        b"a AUTHENTICATE PLAIN\r\n" + PLAIN + b"\r\ne LOGOUT\r\n", b'a LOGIN "al\\"ice" {6}\r\nsecret\r\nb STARTTLS\r\n',
        b"c LOGIN alice secret\r\nd SELECT INBOX\r\ne FETCH 1:* (UID FLAGS BODY.PEEK[])\r\nf UID FETCH 1:3 (RFC822.SIZE BODY[1.MIME] BODY[TEXT]<0.10>)\r\n"
        b"g IDLE\r\nDONE\r\nh APPEND INBOX {3+}\r\nabc\r\ni COMPRESS DEFLATE\r\nj LOGOUT\r\n",
    ],
    "pop3": [
        b"CAPA\r\nUSER alice\r\nPASS secret\r\nSTAT\r\nRETR 1\r\nQUIT\r\n", b"AUTH\r\nAUTH PLAIN " + PLAIN + b"\r\nQUIT\r\n", b"AUTH PLAIN\r\n" + PLAIN + b"\r\nQUIT\r\n",
        b"APOP alice 0123456789abcdef0123456789abcdef\r\nUIDL\r\nTOP 1 2\r\nLIST\r\nDELE 1\r\nQUIT\r\n", b"LANG\r\nUTF8\r\nSTLS\r\n",
        b"USER alice\r\nPASS secret\r\nSTAT\r\nLIST\r\nUIDL\r\nRETR 1\r\nTOP 1 0\r\nRETR 2\r\nDELE 1\r\nQUIT\r\n",
    ],
}


def mutated(octets, rng):
    out = bytearray(octets)
    for _ in range(rng.choice((1, 1, 2, 3, 6))):
        at, kind = rng.randrange(len(out) + 1), rng.random()
        if kind < 0.4:
            out[at:at] = rng.choice(PIECES)
        elif kind < 0.65:
            del out[at:at + rng.choice((1, 2, 5, 20))]
        elif kind < 0.85:
            out[at:at + 1] = bytes((rng.randrange(256),))
        else:
            begin = rng.randrange(len(out) + 1)
            out[at:at] = out[begin:begin + 30]
    return bytes(out)


class Mutating:
    """Every so often an answer is mutated; at most one in a session, so that it gets somewhere."""
    rng, rate = random.Random(7), 0

    def spoilt(self, conn, octets):
        if not octets or getattr(conn, "spoilt", False) or self.rng.random() >= self.rate:
            return octets
        conn.spoilt = True
        return mutated(octets, self.rng)

    def hello(self, conn):
        return self.spoilt(conn, super().hello(conn))

    def answer(self, conn, words):
        return self.spoilt(conn, self.mail(words) or super().answer(conn, words))


class MutatingImap(Mutating, ImapScript):
    def mail(self, words):
        verb = words[1].upper() if len(words) > 1 else b""
        if verb in (b"FETCH", b"UID"):
            return (b"* 1 FETCH (UID 1 FLAGS () RFC822.SIZE %d BODY[] {%d}\r\n%b)\r\n* 2 FETCH (ENVELOPE (NIL \"x\" NIL NIL NIL NIL NIL NIL NIL NIL) UID 2 "
                    b"BODY[1]<0> \"hi\")\r\n%b OK done\r\n" % (len(MESSAGE), len(MESSAGE), MESSAGE, words[0]))
        if verb == b"SELECT":
            return b"* 3 EXISTS\r\n* 0 RECENT\r\n* OK [UIDVALIDITY 7] x\r\n* OK [UIDNEXT 9] x\r\n%b OK [READ-WRITE] in\r\n" % words[0]
        return b"+ idling\r\n" if verb == b"IDLE" else None


class MutatingPop3(Mutating, Pop3Script):
    def mail(self, words):
        verb = words[0].upper() if words else b""
        return {
            b"RETR": b"+OK %d octets\r\n%b.\r\n" % (len(MESSAGE), MESSAGE), b"TOP": b"+OK\r\n%b.\r\n" % MESSAGE, b"STAT": b"+OK 1 %d\r\n" % len(MESSAGE),
            b"UIDL": b"+OK\r\n1 abc\r\n2 def\r\n.\r\n" if len(words) == 1 else b"+OK 1 abc\r\n", b"LIST": b"+OK\r\n1 %d\r\n.\r\n" % len(MESSAGE),
        }.get(verb)


SERVER = {"imap": MutatingImap, "pop3": MutatingPop3}


@pytest.fixture(scope="module")
def site(tmp_path_factory, dns):
    servers, ports, text = {kind: make() for kind, make in SERVER.items()}, {}, []
    for kind, server in servers.items():
        text.append(f'backend {kind} {{ address = "127.0.0.1:{server.port}" protocol = {kind} tls = off }}')
        for scan in ("no", "yes"):
            port = ports[kind, scan] = free_port()
            text.append(f'listener {kind}{scan} {{ address = "127.0.0.1:{port}" protocol = {kind} backends = {{ "{kind}" }} scan = {scan} '
                        f"login_timeout = 1s idle_timeout = 1s }}")
    try:
        with Gateway(tmp_path_factory.mktemp("gate"), [9], dns=dns.server, conf="\n".join(text)) as g:
            g.servers, g.access = servers, ports
            yield g
    finally:
        for server in servers.values():
            server.stop()


def converse(port, said, pieces, half):
    try:
        with Wire(port, timeout=3) as c:
            while said:
                c.send(said[:pieces])
                said = said[pieces:]
            if half:
                c.half_close()
            c.rest()
    except (BrokenPipeError, ConnectionResetError, TimeoutError):
        pass                    # where messages are scanned, a server may take minutes for an answer
    except OSError as e:
        if e.errno != errno.ENOTCONN:   # of half_close() where it has been reset by then
            raise


@pytest.mark.parametrize("scan", ["no", "yes"])
@pytest.mark.parametrize("kind", SAID)
@pytest.mark.parametrize("side", ["client", "server"])
def test_mutated(site, kind, scan, side):
    rng = random.Random(f"{kind} {scan} {side}")
    mark = site.mark()
    site.servers[kind].rate = 0.3 if side == "server" else 0
    with concurrent.futures.ThreadPoolExecutor(40) as pool:
        sessions = []
        for _ in range(SESSIONS):
            said = rng.choice(SAID[kind])
            said = mutated(said, rng) if side == "client" else said
            sessions.append(pool.submit(converse, site.access[kind, scan], said, rng.choice((1, 10, 10000)), rng.random() < 0.7))
        for s in sessions:
            s.result()
    site.servers[kind].rate = 0
    site.servers[kind].play()   # an end to what still waits for it
    with (Imap if kind == "imap" else Pop3)(site.access[kind, scan]) as c:
        c.send(SAID[kind][0])
        assert c.rest()
    output = site.process.output(mark)
    assert "event=died" not in output and "Sanitizer" not in output and "runtime error" not in output, output[-20000:]
