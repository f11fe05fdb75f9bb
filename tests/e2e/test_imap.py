"""IMAP through the gateway before the login, with a real Dovecot and with servers that follow a script."""
import pytest
from lab import sasl
from lab.imapserver import CAPS, ImapServer
from lab.wire import Closed, Imap


@pytest.fixture
def imap_server():
    """Makes scripted servers."""
    made = []

    def make(*args, **kw):
        made.append(ImapServer(*args, **kw))
        return made[-1]

    yield make
    for s in made:
        s.stop()


@pytest.fixture
def gate(access_gate):
    """A gateway for IMAP before a server, a scripted one or the Dovecot."""
    def make(server, **kw):
        return access_gate({"imap": server.port} if isinstance(server, ImapServer) else server.ports, kinds=("imap", "imaps"), **kw)
    return make


USER, PASSWORD = "alice", "wonder land"          # of the Dovecot


def words(c):
    """Of CAPABILITY."""
    out = c.ok(b"cap CAPABILITY")
    assert out.startswith(b"* CAPABILITY ")
    return out[len(b"* CAPABILITY "):out.index(b"\r\n")].split(b" ")


# every way to log in, to a Dovecot

def quoted(text):
    return b'"' + text.encode().replace(b"\\", b"\\\\").replace(b'"', b'\\"') + b'"'


def test_login_forms(gate, mailserver):
    g = gate(mailserver)
    user, password = USER, PASSWORD
    u, p = user.encode(), password.encode()
    forms = [
        (b"a LOGIN " + u + b" " + quoted(password),),
        (b"a login " + quoted(user) + b" " + quoted(password) + b" ",),
        (b"a LOGIN {%d+}\r\n%s {%d+}\r\n%s" % (len(u), u, len(p), p),),
        (b"a LOGIN {%d}" % len(u), u + b" {%d}" % len(p), p),
        (b"a LOGIN " + u + b" {%d}" % len(p), p),
        (b"a LOGIN {%d+}\r\n%s " % (len(u), u) + quoted(password),),
    ]
    for kind in ("imap", "imaps"):
        for form in forms:
            with Imap(g.ports[kind], tls=kind == "imaps") as c:
                mark = g.mark()
                assert b"a OK [CAPABILITY " in c.ok(*form)
                assert b"* LIST" in c.ok(b'b LIST "" "*"')
                assert b"* BYE" in c.ok(b"c LOGOUT")
                line = g.wait_line(rf"event=login .*user={user}\b", mark)
                assert "result=ok" in line and "mechanism=LOGIN" in line and "protocol=imap" in line
            g.wait_line(rf"event=imap .*user={user} .*in=25 ", mark)


@pytest.mark.parametrize("initial", [False, True])
def test_mechanisms(gate, mailserver, initial):
    g = gate(mailserver)
    user, password = USER, PASSWORD
    for mechanism in ("PLAIN", "LOGIN", "SCRAM-SHA-1", "SCRAM-SHA-256", *(() if initial else ("CRAM-MD5", "DIGEST-MD5"))):
        with Imap(g.ports["imap"]) as c:
            mark = g.mark()
            assert b"a OK" in c.authenticate(b"a", mechanism, sasl.steps(mechanism, user, password), initial), mechanism
            c.ok(b"b NAMESPACE")
            assert f"mechanism={mechanism}" in g.wait_line(rf"event=login result=ok .*user={user}\b", mark)
