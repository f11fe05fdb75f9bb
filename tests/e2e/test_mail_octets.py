"""
What a client hears by way of the gateway is what it hears from the server itself, octet for octet.

Scripted sessions run twice, each with its own copy of the same mailbox. Only what the server draws anew each time is masked: challenges,
nonces, and the milliseconds that Dovecot names.
"""
import concurrent.futures
import hashlib
import random
import re

import pytest
from lab import sasl
from lab.mailserver import PASSWORD
from lab.wire import Imap, Pop3, b64

QUOTED = b'"won\\"der \\\\land"'
MECHANISMS = ["PLAIN", "LOGIN", "CRAM-MD5", "DIGEST-MD5", "SCRAM-SHA-1", "SCRAM-SHA-256"]
FIRST = {"PLAIN", "SCRAM-SHA-1", "SCRAM-SHA-256"}       # the client speaks first
RANDOM = random.Random(5)
DATE = b'"17-Jul-1996 02:44:25 -0700"'


def octets(length, longest=5000):
    """Lines of everything but NUL, CR and LF, some long, many with a dot first."""
    table = bytes(b if b not in (0, 10, 13) else b + 64 for b in range(256))
    out = bytearray()
    while len(out) < length:
        line = RANDOM.randbytes(min(RANDOM.choice((0, 1, 70, 998, longest)), length - len(out))).translate(table)
        out += (b"." if RANDOM.random() < 0.2 else b"") + line + b"\r\n"
    return bytes(out[:length - 2]) + b"\r\n"


BIG = b"Subject: big\r\nContent-Type: application/octet-stream\r\n\r\n" + octets(1 << 20)
APPENDED = b"Subject: appended\r\n\r\n" + octets(5 << 20)
MESSAGES = [
    b"From: a@sender.example\r\nSubject: plain\r\n\r\nA line.\r\n",
    b"Subject: =?utf-8?q?gr=C3=BC=C3=9Fe?=\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n"
    b"--b\r\nContent-Type: text/plain; charset=utf-8\r\n\r\ngr\xc3\xbc\xc3\x9fe {5}\r\n--b\r\nContent-Type: image/png\r\nContent-Transfer-Encoding: base64\r\n\r\n"
    + b64(octets(3000)) + b"\r\n--b--\r\n",
    BIG,
    b"Subject: dots\r\n\r\n.\r\n..\r\n...\r\na1 OK\r\n* BYE\r\n+OK\r\n-ERR\r\n",
]


@pytest.fixture(scope="module")
def template(mailserver):
    user = mailserver.add()
    for m in MESSAGES:
        mailserver.deliver(user, m)
    mailserver.deliver(user, MESSAGES[0], "Folder")
    for box in ("INBOX", "Folder"):
        with mailserver.imap(user) as c:
            c.select(box)
            c.fetch("1:*", "(FLAGS ENVELOPE BODYSTRUCTURE RFC822.SIZE)")
    return user


# the legs: the listener, whether the client says STARTTLS, how the gateway goes on, and whether both legs are alike; where they are not, the server
# itself says some things at other places

LEGS = {
    "clear": ("", False, "tls = off", True),
    "clear-tls": ("", False, "tls = required", False),
    "starttls": ("", True, "tls = off", False),
    "starttls-tls": ("", True, "tls = required", True),
    "implicit": ("s", False, "tls = off", False),
    "implicit-tls": ("s", False, "implicit_tls = yes tls = required", True),
    "scan": ("", False, "tls = off", True),             # mail that the policy accepts
}


@pytest.fixture(params=LEGS)
def leg(request):
    return request.param


class Pair:
    """Both ways to the same server."""

    def __init__(self, mailserver, template, gate, kind, starttls, alike, scan=False):
        self.server, self.template, self.gate = mailserver, template, gate
        self.ports = (mailserver.ports[kind], gate.ports[kind])
        self.tls, self.starttls, self.alike, self.scan = kind.endswith("s"), starttls, alike, scan
        self.protocol = Imap if kind.startswith("imap") else Pop3

    def wire(self, port):
        c = self.protocol(port, tls=self.tls)
        if self.starttls:
            c.starttls()
        return c

    def heard(self, script, port):
        user = self.server.copy(self.template)
        with self.wire(port) as c:
            script(c, user, self.server)
            c.rest()
            self.server.empty(user)
            return bytes(c.heard)

    def same(self, scripts):
        """All of them side by side, each by both ways."""
        with concurrent.futures.ThreadPoolExecutor(12) as pool:
            for direct, through, script in [(*(pool.submit(self.heard, script, port) for port in self.ports), script) for script in scripts]:
                self.compare(script, *(masked(heard.result(), self.alike, self.scan) for heard in (direct, through)))

        assert not self.scan or "event=retrieval verdict=pass" in self.gate.process.output()

    @staticmethod
    def compare(script, direct, through):
        if direct != through:
            at = next((i for i, (a, b) in enumerate(zip(direct, through)) if a != b), min(len(direct), len(through)))
            raise AssertionError(f"{script.__name__}: octet {at} of {len(direct)}, {len(through)}:\n"
                                 f"server:  {direct[max(0, at - 300):at + 300]!r}\ngateway: {through[max(0, at - 300):at + 300]!r}")


def masked(heard, alike, scan):
    """
    What is drawn anew: the time in POP3's greeting, SASL challenges, how long a command took. And what is the gateway's own to say: the word for
    STARTTLS, which is with it alone, and that nobody but the gateway may tell the server who the client is; that a dialogue was
    cancelled, and that a literal may come. Where messages are scanned, what would blind the scan is neither offered nor done.
    """
    if scan:
        heard = re.sub(rb"CAPABILITY IMAP4rev1[^]\r]*", b"CAPABILITY", heard)
        heard = re.sub(rb"(?m)^(-ERR|b3 BAD) [^\r]*unknown command[^\r]*\r", rb"\1 unknown command\r", heard, flags=re.I)
    heard = re.sub(rb"(?m)^(tls OK|\+OK) begin TLS.*\r\n", b"", heard, count=1, flags=re.I)
    heard = heard.replace(b"+OK [XCLIENT] ", b"+OK ", 1)
    heard = re.sub(rb"(?m)^\+ (OK|go on)\r$", b"+\r", heard)
    heard = re.sub(rb"(?m)^-ERR authentication (cancelled|aborted by client\.)\r", b"-ERR cancelled\r", heard, flags=re.I)
    heard = re.sub(rb" <[0-9a-f]+\.\d+\.[0-9a-f]+\.[^>\r\n]*@[^>\r\n]*>", b" <TIME>", heard, count=1)
    heard = re.sub(rb"(?m)^\+ [A-Za-z0-9+/]{24,}=*\r$", b"+ CHALLENGE\r", heard)
    heard = re.sub(rb" \(\d+\.\d{3} \+ \d+\.\d{3}( \+ \d+\.\d{3})? secs\)", b"", heard)
    if not alike:
        heard = heard.replace(b" <TIME>", b"", 1)                               # a challenge in clear is not for a session under TLS
        heard = re.sub(rb"(?m)^(\* CAPABILITY ([^\r]*)\r\n)?(\w+) OK (\[CAPABILITY ([^]\r]*)\] )?Logged in\.?\r\n", rb"* CAPABILITY \2\5\r\n\3 OK Logged in\r\n", heard, count=1)
        heard = re.sub(rb"(STLS\r\n|STARTTLS )", b"", heard)
    return heard


def pair(mailserver, template, access_gate, certificates, leg, protocol):
    suffix, starttls, backend_options, alike = LEGS[leg]
    to = mailserver.ports[protocol + ("s" if "implicit" in backend_options else "")]
    if "required" in backend_options:
        backend_options += f' tls_ca = "{certificates.ca}" tls_name = "backend.example"'
    gate = access_gate({protocol: to}, backend_options=backend_options, options="scan = yes" if leg == "scan" else "", policy="accept\n")
    return Pair(mailserver, template, gate, protocol + suffix, starttls, alike, leg == "scan")


# IMAP: each script is one session

def imap_login(c, user):
    c.ok(b"in LOGIN %b %b" % (user.encode(), QUOTED))


def imap_everyday(c, user, server):
    c.ok(b"a1 CAPABILITY")
    c.ok(b"a2 NOOP")
    c.ok(b'a3 ID ("name" "scripted client" "version" NIL)')
    imap_login(c, user)
    c.ok(b"a4 CAPABILITY")
    c.ok(b'a5 LIST "" "*"')
    c.ok(b"a6 SELECT INBOX")
    c.ok(b"a7 FETCH 1:* (FLAGS UID INTERNALDATE RFC822.SIZE ENVELOPE BODYSTRUCTURE)")
    assert len(c.ok(b"a8 FETCH 1:* (BODY.PEEK[])")) > len(BIG)
    c.ok(b"a9 UID FETCH 1:* (BODY[1] BODY.PEEK[HEADER.FIELDS (SUBJECT)] BODY.PEEK[]<100.5000>)")
    c.ok(b'b1 SEARCH SUBJECT {4+}\r\nplai')
    c.ok(b'b2 SEARCH SUBJECT {4}', b"dots")
    c.cmd(b"b3 NOT-A-COMMAND")
    c.ok(b"b4 STORE 1 +FLAGS (\\Deleted)")
    c.ok(b"b5 EXPUNGE")
    c.ok(b"b6 STATUS Folder (MESSAGES UIDNEXT UNSEEN)")
    c.cmd(b"b8 SELECT Missing")
    c.ok(b"b9 LOGOUT")


def imap_append(c, user, server):
    imap_login(c, user)
    c.ok(b"a1 APPEND INBOX (\\Seen) %b {%d}" % (DATE, len(APPENDED)), APPENDED)
    c.ok(b"a2 APPEND Folder () %b {%d+}\r\n%b" % (DATE, len(APPENDED), APPENDED))
    c.ok(b"a3 SELECT INBOX")
    assert APPENDED in c.ok(b"a4 FETCH * (UID INTERNALDATE RFC822.SIZE BODY.PEEK[])")
    c.ok(b"a5 EXAMINE Folder")
    assert APPENDED in c.ok(b"a6 FETCH * (RFC822)")
    c.ok(b"a7 LOGOUT")


def imap_idle(c, user, server):
    imap_login(c, user)
    c.ok(b"a1 SELECT INBOX")
    c.send(b"a2 IDLE\r\n")
    assert c.line().startswith(b"+ ")
    server.deliver(user, MESSAGES[0])
    assert c.line() == b"* %d EXISTS\r\n" % (len(MESSAGES) + 1)
    assert b"RECENT" in c.line()
    c.send(b"DONE\r\n")
    c.until(b"a2")
    c.ok(b"a3 FETCH * (BODY[TEXT])")
    c.ok(b"a4 LOGOUT")


def imap_pipelined(c, user, server):
    """All in one piece, the login among it. Dovecot does several commands side by side, but not if one of them is a SELECT."""
    message = b"Subject: pipelined\r\n\r\n"
    c.send(b"a1 CAPABILITY\r\na2 NOOP\r\na3 LOGIN %b %b\r\n" % (user.encode(), QUOTED)
           + b"a4 SELECT INBOX\r\na5 FETCH 1,2,4 (BODY.PEEK[])\r\na6 EXAMINE Folder\r\na7 APPEND Folder %b {%d+}\r\n%b\r\n" % (DATE, len(message), message)
           + b"a8 SELECT INBOX\r\na9 UID SEARCH ALL\r\nb1 LOGOUT\r\n")


def imap_literals(c, user, server):
    """A login in synchronising literals, after ones that fail."""
    assert b" NO " in c.cmd(b"a1 LOGIN nobody wrong")
    assert b" NO " in c.cmd(b"a2 LOGIN {6}", b'nobody "wrong"')
    c.ok(b"a3 LOGIN {%d}" % len(user), b"%b {%d}" % (user.encode(), len(PASSWORD)), PASSWORD.encode())
    c.ok(b"a4 SELECT {5+}\r\nINBOX")
    c.ok(b"a5 LOGOUT")


def imap_literals_plus(c, user, server):
    assert b" NO " in c.cmd(b"a1 LOGIN {6+}\r\nnobody {5+}\r\nwrong")
    c.ok(b"a2 LOGIN {%d+}\r\n%b {%d+}\r\n%b" % (len(user), user.encode(), len(PASSWORD), PASSWORD.encode()))
    c.ok(b"a3 LOGOUT")


def imap_small_steps(c, user, server):
    """One octet a packet."""
    for octet in b"a1 NOOP\r\na2 LOGIN %b {%d}\r\n" % (user.encode(), len(PASSWORD)):
        c.send(bytes((octet,)))
    c.until(b"a1")
    assert c.line().startswith(b"+")
    for octet in PASSWORD.encode() + b"\r\n":
        c.send(bytes((octet,)))
    c.until(b"a2")
    c.ok(b"a3 LOGOUT")


def imap_compress(c, user, server):
    imap_login(c, user)
    c.ok(b"a1 COMPRESS DEFLATE")
    c.compress()
    c.ok(b"a2 SELECT INBOX")
    assert BIG in c.ok(b"a3 FETCH 3 (BODY.PEEK[])")
    c.ok(b"a4 APPEND Folder %b {%d+}\r\n%b" % (DATE, len(BIG), BIG))
    c.ok(b"a5 LOGOUT")


def imap_cancelled(c, user, server):
    """An AUTHENTICATE that is given up, one of an unknown mechanism, a wrong password, and then the right one."""
    assert re.match(rb"a1 (NO|BAD)", c.cmd(b"a1 AUTHENTICATE PLAIN", b"*"))
    assert b"a2 NO" in c.authenticate(b"a2", "PLAIN", sasl.plain(user, "wrong"))
    imap_login(c, user)
    c.ok(b"a3 LOGOUT")


def imap_mechanism(mechanism, initial):
    def script(c, user, server):
        assert re.search(rb"(?m)^a1 OK", c.authenticate(b"a1", mechanism, sasl.steps(mechanism, user, PASSWORD), initial))
        c.ok(b"a2 SELECT INBOX")
        c.ok(b"a3 LOGOUT")
    script.__name__ = f"{mechanism} initial={initial}"
    return script


IMAP = [imap_everyday, imap_idle, imap_pipelined, imap_append, imap_literals, imap_literals_plus, imap_small_steps, imap_compress, imap_cancelled]


def mechanisms(leg):
    """All of them on one leg, some on the others."""
    return MECHANISMS if leg == "clear" else ["PLAIN", "SCRAM-SHA-256"]


def test_imap(mailserver, template, access_gate, certificates, leg):
    p = pair(mailserver, template, access_gate, certificates, leg, "imap")
    scripts = IMAP if leg in ("clear", "implicit-tls", "scan") else IMAP[:3]
    p.same([s for s in scripts if s is not imap_compress or leg != "scan"]
           + [imap_mechanism(m, initial) for m in mechanisms(leg) for initial in (False, True) if not initial or m in FIRST | {"LOGIN"}])


# POP3

def pop3_login(c, user):
    c.ok(b"USER %b" % user.encode())
    c.ok(b"PASS %b" % PASSWORD.encode())


def pop3_everyday(c, user, server):
    c.ok(b"CAPA", lines=True)
    pop3_login(c, user)
    c.ok(b"CAPA", lines=True)
    c.ok(b"STAT")
    c.ok(b"LIST", lines=True)
    c.ok(b"LIST 3")
    c.ok(b"UIDL", lines=True)
    c.ok(b"UIDL 2")
    for i in range(len(MESSAGES)):
        c.ok(b"RETR %d" % (i + 1), lines=True)
        c.ok(b"TOP %d 2" % (i + 1), lines=True)
    c.cmd(b"RETR 99")
    c.cmd(b"NONSENSE")
    c.ok(b"NOOP")
    c.ok(b"DELE 1")
    c.ok(b"DELE 2")
    c.ok(b"RSET")
    c.ok(b"DELE 4")
    c.cmd(b"RETR 4")
    c.ok(b"QUIT")


def pop3_pipelined(c, user, server):
    """All but QUIT, after which Dovecot may close before it has said all under TLS."""
    c.send(b"CAPA\r\nUSER %b\r\nPASS %b\r\n" % (user.encode(), PASSWORD.encode())
           + b"STAT\r\nUIDL\r\nRETR 1\r\nRETR 2\r\nRETR 3\r\nRETR 4\r\nTOP 1 0\r\nDELE 1\r\n")
    while not c.line().startswith(b"+OK Marked"):
        pass
    c.ok(b"QUIT")


def pop3_failures(c, user, server):
    c.ok(b"USER nobody")
    assert c.cmd(b"PASS wrong").startswith(b"-ERR")
    assert c.authenticate("PLAIN", sasl.plain(user, "wrong")).startswith(b"-ERR")
    c.send(b"AUTH PLAIN\r\n")
    assert c.line().startswith(b"+ ")
    assert c.cmd(b"*").startswith(b"-ERR")
    pop3_login(c, user)
    c.ok(b"QUIT")


def pop3_apop(c, user, server):
    time = re.search(rb"<[^>]+>", c.greeting)[0]
    c.ok(b"APOP %b %b" % (user.encode(), hashlib.md5(time + PASSWORD.encode()).hexdigest().encode()))
    c.ok(b"STAT")
    c.ok(b"QUIT")


def pop3_quit(c, user, server):
    c.ok(b"QUIT")


def pop3_mechanism(mechanism, initial):
    def script(c, user, server):
        assert c.authenticate(mechanism, sasl.steps(mechanism, user, PASSWORD, "pop"), initial).startswith(b"+OK")
        c.ok(b"STAT")
        c.ok(b"QUIT")
    script.__name__ = f"{mechanism} initial={initial}"
    return script


POP3 = [pop3_everyday, pop3_pipelined, pop3_apop, pop3_failures, pop3_quit]


def test_pop3(mailserver, template, access_gate, certificates, leg):
    p = pair(mailserver, template, access_gate, certificates, leg, "pop3")
    scripts = POP3 if leg in ("clear", "implicit-tls", "scan") else POP3[:3]
    if LEGS[leg][2] == "tls = required":        # what was said in clear is not for a session under TLS: no time, no APOP
        p.alike = False
        scripts = [s for s in scripts if s is not pop3_apop]
        with p.wire(p.ports[1]) as c:
            assert b"<" not in c.greeting
    p.same(scripts
           + [pop3_mechanism(m, initial) for m in mechanisms(leg) for initial in (False, True) if not initial or m in FIRST])
