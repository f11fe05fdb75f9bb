"""IMAP through the gateway before the login, with a real Dovecot and with servers that follow a script."""
import fcntl
import os
import struct
import termios
import time

import pytest
from lab import sasl
from lab.backend import Hangup
from lab.gateway import parse_logfmt
from lab.imapserver import CAPS, ImapServer
from lab.memory import memory, secrets
from lab.process import WAIT_S
from lab.wire import Imap, b64


@pytest.fixture
def gate(access_gate):
    """A gateway for IMAP before a server, a scripted one or the Dovecot."""
    def make(server, **kw):
        return access_gate({"imap": server.port} if isinstance(server, ImapServer) else server.ports, **{"kinds": ("imap", "imaps"), **kw})
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


def test_refused_and_again(gate, mailserver):
    g = gate(mailserver)
    with Imap(g.ports["imap"]) as c:
        mark = g.mark()
        assert b"a NO [AUTHENTICATIONFAILED]" in c.cmd(b"a LOGIN alice wrong")
        line = g.wait_line("event=login ", mark)
        assert "result=failed" in line and "code=AUTHENTICATIONFAILED" in line and "wrong" not in line
        assert b"b BAD" in c.cmd(b"b AUTHENTICATE PLAIN", lambda _: b"*\r\n")
        c.ok(b"c LOGIN alice " + quoted(PASSWORD))
        c.ok(b"d SELECT INBOX")


def test_refusals_that_are_no_failures(gate, imap_server):
    """By their code, or, where there is none, by their words; but not by the client's tag."""
    server = imap_server()
    g = gate(server)
    for n, (tag, answer, result) in enumerate((
            (b"a", b"NO [UNAVAILABLE] no", "unavailable"), (b"a", b"NO Server Unavailable. 15", "unavailable"), (b"a", b"NO Temporary problem", "unavailable"),
            (b"a", b"NO LOGIN failed.", "failed"), (b"unavailable", b"NO LOGIN failed.", "failed"),
            (b"a", b"NO [ALERT] temporarily unavailable", "failed"), (b"a", b"BAD unavailable", "broken-off"))):
        mark = g.mark()
        server.script["LOGIN"] = b"TAG " + answer + b"\r\n"
        with Imap(g.ports["imap"]) as c:
            assert c.cmd(tag + b" LOGIN ann%d pw" % n) == tag + b" " + answer + b"\r\n"
        assert parse_logfmt(g.wait_line("event=login ", mark))["result"] == result, (tag, answer)


def test_pipelined(gate, mailserver):
    """Commands before the login and behind it in one piece; each is answered, in order."""
    g = gate(mailserver)
    with Imap(g.ports["imap"]) as c:
        c.send(b"a NOOP\r\nb CAPABILITY\r\nc LOGIN {5+}\r\nalice " + quoted(PASSWORD) + b"\r\nd SELECT INBOX\r\ne IDLE\r\n")
        for tag in (b"a", b"b", b"c", b"d"):
            assert tag + b" OK" in c.until(tag)
        assert c.line().startswith(b"+")
        c.send(b"DONE\r\nf LOGOUT\r\n")
        assert b"e OK" in c.until(b"e") and b"f OK" in c.until(b"f")


# what the server hears

def test_said_as_the_client_said_it(gate, imap_server):
    server = imap_server()
    g = gate(server)
    forms = [b'LOGIN ann pass', b'login "ann" "a b\\"c\\\\"', b'LOGIN "ann" pass]', 'LOGIN "жук" "é"'.encode(), b'LOGIN {3+}\r\nann "x{3}"',
             b"LOGIN ann {2+}\r\n\xff\xfe", b"AUTHENTICATE plain AGFubgBz"]
    for form in forms:
        with Imap(g.ports["imap"]) as c:
            c.ok(b"Tag.7 " + form)
    assert server.commands == forms


def test_literals_for_a_server_that_has_none(gate, imap_server):
    server = imap_server(caps=b"IMAP4rev1")
    g = gate(server)
    with Imap(g.ports["imap"]) as c:
        c.ok(b"a LOGIN {3+}\r\nann {4+}\r\npass")
    assert server.commands == [b"LOGIN {3}\r\nann {4}\r\npass"]
    with Imap(g.ports["imap"]) as c:
        c.ok(b"a LOGIN {3}", b"ann {0+}\r\n")
    assert server.commands[1:] == [b"LOGIN {3}\r\nann {0}\r\n"]


def test_literal_refused_by_the_server(gate, imap_server):
    server = imap_server(caps=b"IMAP4rev1")
    g = gate(server)
    server.literals = False
    server.script["LOGIN"] = b"TAG NO [AUTHENTICATIONFAILED] not this one\r\n"
    with Imap(g.ports["imap"]) as c:
        c.send(b"a LOGIN {3+}\r\nann {4+}\r\npass\r\nb NOOP\r\n")
        assert c.line() == b"a NO [AUTHENTICATIONFAILED] not this one\r\n"
        assert c.line() == b"b OK done\r\n"
    assert server.commands == [b"LOGIN {3}", b"NOOP"]


def test_logged_in_without_a_password(gate, imap_server):
    """A server that says OK before it has heard the password talks nonsense: what follows would be read as a command."""
    server = imap_server(caps=b"IMAP4rev1", script={"LOGIN": b"TAG OK already\r\n"})
    server.literals = False
    with Imap(gate(server).ports["imap"]) as c:
        c.send(b"a LOGIN ann {4}\r\n")
        assert c.line() == b"+ go on\r\n"
        c.send(b"pass\r\n")
        assert c.line().startswith(b"* BYE [UNAVAILABLE]")
    assert server.commands == [b"LOGIN ann {4}"]


def test_initial_response_for_a_server_that_takes_none(gate, imap_server):
    server = imap_server(caps=b"IMAP4rev1 AUTH=PLAIN")
    g = gate(server)
    with Imap(g.ports["imap"]) as c:
        c.ok(b"a AUTHENTICATE PLAIN AGFubgBz")
    assert server.commands == [b"AUTHENTICATE PLAIN"] and server.sessions[0].response == b"AGFubgBz\r\n"
    server.script["AUTHENTICATE"] = b"+ cXVlc3Rpb24=\r\n"
    server.script["*"] = b"a BAD cancelled\r\n"
    server.script[""] = b"a BAD cancelled\r\n"
    with Imap(g.ports["imap"]) as c:
        assert c.cmd(b"a AUTHENTICATE PLAIN AGFubgBz") == b"a BAD this mechanism has no initial response\r\n"
        c.ok(b"b NOOP")


def test_empty_initial_response(gate, imap_server):
    for caps, heard in ((CAPS, [b"AUTHENTICATE X-OURS ="]), (b"IMAP4rev1", [b"AUTHENTICATE X-OURS"])):
        server = imap_server(caps=caps)
        with Imap(gate(server).ports["imap"]) as c:
            c.ok(b"a AUTHENTICATE X-OURS =")
        assert server.commands == heard
        assert getattr(server.sessions[0], "response", b"\r\n") == b"\r\n"


def test_steps_of_a_dialogue(gate, imap_server):
    """Each line as it came; and a dialogue without end is ended."""
    def endless(session, tag, words):
        session.said = []
        while True:
            session.send(b"+ " + b"QUJD" * 1000 + b"\r\n")
            session.said.append(session.line())
            if session.said[-1] == b"*\r\n":
                return b"TAG BAD cancelled\r\n"
    server = imap_server(script={"AUTHENTICATE": endless})
    g = gate(server)
    with Imap(g.ports["imap"]) as c:
        c.send(b"a AUTHENTICATE X-OURS\r\n")
        for _ in range(16):
            assert c.line() == b"+ " + b"QUJD" * 1000 + b"\r\n"
            c.send(b"RUZH" * 3000 + b"\r\n")
        assert c.line() == b"a NO [UNAVAILABLE] the dialogue does not end\r\n"
        assert server.sessions[0].said == [b"RUZH" * 3000 + b"\r\n"] * 16 + [b"*\r\n"]
        for line, words in ((b"no base64\r\n", b"BAD this is not base64"), (b"QUJD\n", b"BAD lines end"), (b"A" * 12300 + b"\r\n", b"BAD the line is too long")):
            c.send(b"b AUTHENTICATE X-OURS\r\n")
            c.line()
            c.send(line)
            assert c.line().startswith(b"b " + words)
            assert server.sessions[0].said == [b"*\r\n"]


# what is offered

def test_capabilities_of_dovecot(gate, mailserver):
    g = gate(mailserver)
    with Imap(mailserver.ports["imap"]) as direct, Imap(g.ports["imap"]) as c:
        assert b" AUTH=PLAIN" in c.greeting and direct.greeting.split(b"]")[1] == c.greeting.split(b"]")[1]
        assert words(c) == words(direct)
        c.starttls()
        assert words(c) == [w for w in words(direct) if w != b"STARTTLS"]
    with Imap(g.ports["imaps"], tls=True) as c:
        assert b"STARTTLS" not in c.greeting and b"STARTTLS" not in words(c) and b"AUTH=PLAIN" in words(c)


def test_starttls_for_a_server_that_has_none(gate, imap_server):
    server = imap_server()
    g = gate(server)
    with Imap(g.ports["imap"]) as c:
        assert c.greeting == b"* OK [CAPABILITY " + CAPS.replace(b" AUTH=PLAIN", b" STARTTLS AUTH=PLAIN") + b"] scripted\r\n"
        assert b"STARTTLS" in words(c)
        c.starttls()
        assert words(c) == CAPS.split(b" ")
        assert c.cmd(b"x STARTTLS") == b"x BAD there is TLS already\r\n"
        c.ok(b"a LOGIN ann pass")
    assert server.commands == [b"CAPABILITY", b"CAPABILITY", b"LOGIN ann pass"]


def test_capabilities_wherever_they_come(gate, imap_server):
    more = b"IMAP4rev1 STARTTLS XFOO=1 AUTH=EXTERNAL AUTH=GSSAPI AUTH=SCRAM-SHA-256-PLUS AUTH=PLAIN AUTH=X-OURS COMPRESS=DEFLATE LOGINDISABLED"
    less = b"IMAP4rev1 XFOO=1 AUTH=PLAIN AUTH=X-OURS COMPRESS=DEFLATE LOGINDISABLED"
    offer = b"[CAPABILITY " + more + b"]"
    server = imap_server(greeting=b"* OK " + offer + b" hello\r\n", script={
        "NOOP": b"* CAPABILITY " + more + b"\r\n* OK still here\r\nTAG OK " + offer + b" noop\r\n",
        "LOGIN": b"* capability " + more + b"\r\nTAG OK " + offer + b" in\r\n",
        "SELECT": b"* OK " + offer + b" after\r\nTAG OK done\r\n",
    })
    g = gate(server, options="tls = off", backend_options="tls = off", kinds=("imap",))
    with Imap(g.ports["imap"]) as c:
        assert c.greeting == b"* OK [CAPABILITY " + less + b"] hello\r\n"
        assert c.cmd(b"a NOOP") == b"* CAPABILITY " + less + b"\r\n* OK still here\r\na OK [CAPABILITY " + less + b"] noop\r\n"
        assert c.cmd(b"a STARTTLS") == b"a BAD STARTTLS is not offered here\r\n"
        for mechanism in (b"EXTERNAL =", b"GSSAPI", b"SCRAM-SHA-256-PLUS", b"NTLM"):
            assert c.cmd(b"a AUTHENTICATE " + mechanism) == b"a NO this mechanism is not offered here\r\n"
        assert c.cmd(b"a LOGIN ann pass") == b"* capability " + less + b"\r\na OK [CAPABILITY " + less + b"] in\r\n"
        assert c.cmd(b"a SELECT x").startswith(b"* OK " + offer)                # from here on octets flow as they are


def test_plaintext_refused(gate, imap_server):
    server = imap_server(caps=b"IMAP4rev1 AUTH=PLAIN AUTH=CRAM-MD5 AUTH=LOGIN AUTH=XOAUTH2 AUTH=PLAIN-CLIENTTOKEN AUTH=SCRAM-SHA-512 AUTH=OAUTHBEARER")
    g = gate(server, options="plaintext = refuse")
    with Imap(g.ports["imap"]) as c:
        shown = b"IMAP4rev1 STARTTLS AUTH=CRAM-MD5 AUTH=SCRAM-SHA-512 LOGINDISABLED"
        assert c.greeting == b"* OK [CAPABILITY " + shown + b"] scripted\r\n" and words(c) == shown.split(b" ")
        assert c.cmd(b"a LOGIN ann pass") == b"a NO [PRIVACYREQUIRED] no password without TLS\r\n"
        assert c.cmd(b"a AUTHENTICATE PLAIN AGFubgBz") == b"a NO [PRIVACYREQUIRED] no password without TLS\r\n"
        assert c.cmd(b"a AUTHENTICATE XOAUTH2") == b"a NO [PRIVACYREQUIRED] no password without TLS\r\n"
        assert c.cmd(b"a AUTHENTICATE PLAIN-CLIENTTOKEN") == b"a NO this mechanism is not offered here\r\n"
        for words_ in (b"{3}", b"ann {4}"):             # a password that may not come is not asked for
            assert c.cmd(b"a LOGIN " + words_) == b"a NO [PRIVACYREQUIRED] no password without TLS\r\n"
        c.starttls()
        assert b"LOGINDISABLED" not in words(c) and b"AUTH=PLAIN" in words(c)
        c.ok(b"a LOGIN ann pass")
    assert server.commands == [b"CAPABILITY"] * 3 + [b"LOGIN ann pass"]


def test_literals_where_the_server_takes_no_login(gate, imap_server):
    server = imap_server(caps=b"IMAP4rev1 LOGINDISABLED AUTH=CRAM-MD5", script={"LOGIN": b"TAG NO it said so\r\n"})
    g = gate(server)
    with Imap(g.ports["imap"]) as c:
        assert c.cmd(b"a LOGIN ann {4}") == b"a NO [PRIVACYREQUIRED] LOGIN is disabled\r\n"
        assert c.cmd(b"a LOGIN ann pass") == b"a NO it said so\r\n"
    assert server.commands == [b"LOGIN ann pass"]


# TLS with the server

def test_server_tls(gate, imap_server, certificates):
    tls, ca = certificates.self_signed, f'tls_name = "backend.example" tls_ca = "{certificates.ca}"'
    cases = [   # the server's certificate, its capabilities, tls = of the backend; whether there is TLS, whether a login gets there
        (None, CAPS, "off", False, True),
        (tls, CAPS + b" STARTTLS", "off", False, True),
        (None, CAPS, "opportunistic", False, True),
        (tls, CAPS + b" STARTTLS", "opportunistic", True, True),
        (certificates.signed, CAPS + b" STARTTLS", f"required {ca}", True, True),
        (tls, CAPS + b" STARTTLS", f"required {ca}", False, False),
        (None, CAPS, f"required {ca}", False, False),
    ]
    for cert, caps, how, secure, there in cases:
        server = imap_server(tls=cert, caps=caps)
        g = gate(server, backend_options=f"tls = {how}")
        with Imap(g.ports["imap"]) as c:
            if there:
                assert c.greeting.endswith(b"] scripted\r\n") and c.greeting.startswith(b"* OK [CAPABILITY IMAP4rev1 "), how
                c.ok(b"a LOGIN ann pass")
                assert server.sessions[-1].tls == secure, how
            else:
                assert c.greeting == b"* BYE [UNAVAILABLE] the mail server behind does not answer, try again later\r\n", how
                assert c.rest() == b""
                assert all(b"LOGIN" not in x for x in server.commands)


def test_server_implicit(gate, imap_server, certificates):
    server = imap_server(tls=certificates.signed, implicit=True)
    g = gate(server, backend_options=f'implicit_tls = yes tls = required tls_name = "backend.example" tls_ca = "{certificates.ca}"')
    with Imap(g.ports["imap"]) as c:
        c.ok(b"a LOGIN ann pass")
    assert server.sessions[0].tls and server.commands == [b"LOGIN ann pass"]


def test_capabilities_anew_under_tls(gate, imap_server, certificates):
    """What was said in clear is forgotten: its capabilities, and other codes of the greeting."""
    server = imap_server(tls=certificates.self_signed, greeting=b"* OK [CAPABILITY IMAP4rev1 XCLEAR STARTTLS] words [here]\r\n")
    g = gate(server)
    with Imap(g.ports["imap"]) as c:
        assert c.greeting == b"* OK [CAPABILITY " + CAPS.replace(b" AUTH=PLAIN", b" STARTTLS AUTH=PLAIN") + b"] words [here]\r\n"
    server.greeting = b"* OK [ALERT] call 555-1234\r\n"
    with Imap(g.ports["imap"]) as c:
        assert c.greeting == b"* OK call 555-1234\r\n"
    assert server.commands == [b"STARTTLS", b"CAPABILITY", b"STARTTLS"]


def test_injected_behind_starttls(gate, imap_server, certificates):
    server = imap_server(tls=certificates.signed, caps=CAPS + b" STARTTLS", script={"STARTTLS": b"TAG OK begin\r\n* CAPABILITY IMAP4rev1 XEVIL\r\n"})
    g = gate(server, backend_options=f'tls = required tls_name = "backend.example" tls_ca = "{certificates.ca}"')
    with Imap(g.ports["imap"]) as c:
        assert c.greeting == b"* BYE [UNAVAILABLE] the mail server behind does not answer, try again later\r\n"


def test_injected_before_tls_of_the_client(gate, imap_server):
    g = gate(imap_server())
    with Imap(g.ports["imap"]) as c:
        mark = g.mark()
        c.send(b"a STARTTLS\r\nb LOGIN evil evil\r\n")
        assert c.rest() == b""
        g.wait_line("event=imap .*bytes came before", mark)


# servers that cannot be used

def test_greetings_that_are_none(gate, imap_server):
    server = imap_server()
    g = gate(server)
    for greeting, words in (
        (b"* PREAUTH [CAPABILITY IMAP4rev1] welcome\r\n", "PREAUTH"),
        (b"* FLAGS (x)\r\n", "nonsense"),
        (b"220 mx.example ESMTP\r\n", "nonsense"),
        (b"+OK pop3\r\n", "nonsense"),
        (b"a OK hello\r\n", "nonsense"),
        (b"* OK hello\n", "nonsense"),
        (b"* OK he\0llo\r\n", "nonsense"),
        (b"* OK he\x1b[2Jllo\r\n", "nonsense"),
        (b"* OK " + b"x" * 20000 + b"\r\n", "greeting"),
        (b"\r\n", "nonsense"),
    ):
        server.greeting, mark = greeting, g.mark()
        with Imap(g.ports["imap"]) as c:
            assert c.greeting + c.rest() == b"* BYE [UNAVAILABLE] the mail server behind does not answer, try again later\r\n"
        assert words in g.wait_line('event=imap .*end="no backend"', mark)


def test_bye_is_passed_on(gate, imap_server):
    server = imap_server(greeting=b"* BYE [ALERT] not today\r\n")
    g = gate(server)
    with Imap(g.ports["imap"]) as c:
        assert c.greeting + c.rest() == b"* BYE [ALERT] not today\r\n"
    server.greeting = b"* OK hello\r\n"

    def bye(s, *_):
        s.send(b"* BYE had enough\r\n")
        s.sock.close()
    server.script["NOOP"] = bye
    with Imap(g.ports["imap"]) as c:
        c.send(b"a NOOP\r\n")
        assert c.rest() == b"* BYE had enough\r\n"


def test_no_server(gate, imap_server):
    server = imap_server()
    server.stop()
    g = gate(server)
    with Imap(g.ports["imap"]) as c:
        assert c.greeting == b"* BYE [UNAVAILABLE] the mail server behind does not answer, try again later\r\n"


def test_answers_that_are_none(gate, imap_server):
    server = imap_server()
    g = gate(server)
    for answer in (
        b"b OK of another command\r\n", b"220 ok\r\n", b"TAG YES\r\n", b"TAG\r\n", b"* PREAUTH in\r\n", b"TAG OK bare LF\n", b"* OK NUL\0\r\nTAG OK\r\n",
        b"* OK one of many\r\n" * 100, b"TAG OK " + b"x" * 20000 + b"\r\n", b"+ what more\r\n",
    ):
        server.script["NOOP"], mark = answer, g.mark()
        with Imap(g.ports["imap"]) as c:
            c.send(b"a NOOP\r\n")
            rest = c.rest()
            assert rest.endswith(b"* BYE [UNAVAILABLE] the mail server behind cannot be understood\r\n") and b"a OK" not in rest
            assert len(rest) < 10000
        g.wait_line('event=imap .*end="backend lost"', mark)


def arrived(sock):
    """What was sent is where the other end can read it."""
    end = time.monotonic() + WAIT_S
    while struct.unpack("i", fcntl.ioctl(sock, termios.TIOCOUTQ, bytes(4)))[0]:
        assert time.monotonic() < end, "the other end's kernel does not take it"
        time.sleep(0.001)


@pytest.mark.parametrize("later", [False, True])
def test_an_answer_that_nobody_asked_for(gate, imap_server, later):
    """It lies there when the command comes that it would be the answer to, with the last answer or behind it."""
    server = imap_server(script={"NOOP": b"TAG OK done\r\n" + (b"" if later else b"a OK you are in\r\n")})
    g = gate(server)
    with Imap(g.ports["imap"]) as c:
        c.ok(b"z NOOP")
        if later:
            server.sessions[-1].send(b"a OK you are in\r\n")
            arrived(server.sessions[-1].sock)
        c.send(b"a LOGIN ann pass\r\n")
        assert c.rest() == b"* BYE [UNAVAILABLE] the mail server behind cannot be understood\r\n"
    assert server.commands == [b"NOOP"]


# clients that cannot be understood

def test_refused_commands(gate, imap_server):
    server = imap_server()
    g = gate(server)
    for line, answer in (
        (b"a SELECT INBOX", b"a BAD unknown command, or none before a login"),
        (b"a COMPRESS DEFLATE", b"a BAD unknown command, or none before a login"),
        (b"a APPEND x {5+}\r\nhello", b"a BAD unknown command, or none before a login"),
        (b"a APPEND x {5}", b"a BAD unknown command, or none before a login"),
        (b"a LOGIN ann {4294967296}", b"a BAD a literal is too long"),
        (b"a LOGIN ann \"x\0\"", b"* BAD NUL in a command"),
        (b"a LOGIN ann \xff", b"a BAD malformed command"),
        (b"a LOGIN ann {3+}\r\na\r\n", b"a BAD line ends in a name or a password"),
        (b"a LOGIN {6+}\r\nann\r\nb x", b"a BAD line ends in a name or a password"),
        (b"a LOGIN \"a\tn\" x", b"a NO [AUTHENTICATIONFAILED] this is no name of a user"),
        (b"GET / HTTP/1.1", b"GET BAD unknown command, or none before a login"),
        (b"", b"* BAD a command begins with a tag"),
    ):
        with Imap(g.ports["imap"]) as c:
            c.send(line + b"\r\n")
            assert c.line() == answer + b"\r\n"
            c.ok(b"b NOOP")
    assert set(server.commands) == {b"NOOP"}


def test_ends_at_once(gate, imap_server):
    g = gate(imap_server())
    for line, answer in (
        (b"a LOGIN ann {4294967296+}\r\n", b"a BAD a literal is too long\r\n* BYE a literal is too long\r\n"),
        (b"a LOGIN ann {99999999999999999999999+}\r\n", b"a BAD a literal is too long\r\n* BYE a literal is too long\r\n"),
        (b"a LOGIN ann " + b"x" * 100000 + b"\r\n", b"* BYE the line is too long\r\n"),
        (b"nonsense\r\n" * 10, b"nonsense BAD a tag and no command\r\n" * 10 + b"* BYE too many errors\r\n"),
    ):
        with Imap(g.ports["imap"]) as c:
            c.send(line)
            assert c.rest() == answer


def test_too_slow(gate, imap_server):
    g = gate(imap_server(), options="login_timeout = 4s")
    with Imap(g.ports["imap"]) as c, Imap(g.ports["imap"]) as d:
        c.send(b"a NOOP\r\nb LOG")
        d.send(b"a AUTHENTICATE PLAIN\r\n")
        assert c.rest() == b"a OK done\r\n* BYE the login took too long\r\n"
        assert d.rest() == b"+ \r\n* BYE the login took too long\r\n"
    g.wait_line("event=imap .*end=idle")


def test_gone_in_the_middle(gate, imap_server):
    g = gate(imap_server())
    for words in (b"", b"a LOGIN ann {3}\r\n", b"a AUTHENTICATE PLAIN\r\n", b"a LOGIN ann pass"):
        mark = g.mark()
        with Imap(g.ports["imap"]) as c:
            c.send(words)
            if words.endswith(b"\n"):
                c.line()
            c.half_close()
            c.rest()
        g.wait_line("event=imap ", mark)


# ID

def test_id_of_the_client(gate, imap_server):
    server = imap_server()
    g = gate(server)
    with Imap(g.ports["imap"]) as c:
        assert c.cmd(b'a ID ("name" "mutt")') == b'* ID ("name" "scripted")\r\na OK done\r\n'
        c.ok(b'a ID ("name" "mutt" "X-Originating-IP" "192.0.2.1" "os" NIL "x-proxy-ttl" "1" "x-connected-port" "1" "x-session-ext-id" "x" "x-forward-a" "b")')
        c.ok(b'a ID ({16+}\r\nx-originating-ip {3+}\r\n::1 "name" {4+}\r\na"\\b)')
        c.ok(b'a ID ("x-originating-ip" "192.0.2.1")')
        c.ok(b"a id nil")
    assert server.commands == [b'ID ("name" "mutt")', b'ID ("name" "mutt" "os" NIL)', b'ID ("name" "a\\"\\\\b")', b"ID NIL", b"id nil"]


def test_id_with_literals_of_the_server(gate, imap_server):
    server = imap_server(script={"ID": b'* ID ("name" {8}\r\na\r\n{9}\r\n "x" "y")\r\nTAG OK done\r\n'})
    g = gate(server)
    with Imap(g.ports["imap"]) as c:
        c.send(b"a ID NIL\r\n")
        assert c.until(b"a") == b'* ID ("name" {8}\r\na\r\n{9}\r\n "x" "y")\r\na OK done\r\n'


def test_id_of_ours(gate, mailserver):
    """Dovecot believes it, and not what the client says."""
    g = gate(mailserver, backend_options="xclient = yes")
    mark = mailserver.mark()
    with Imap(g.ports["imap"], source="127.0.0.9") as c:
        assert c.greeting.startswith(b"* OK [CAPABILITY ") and b"Dovecot" in c.greeting
        c.ok(b'a ID ("x-originating-ip" "192.0.2.66")')
        c.ok(b"b LOGIN alice " + quoted(PASSWORD))
        mailserver.wait_line(r"Login: user=<alice>,.* rip=127\.0\.0\.9,", mark)     # others of hers may be logged only now


# users of several servers

@pytest.fixture
def routed(gate, imap_server, tmp_path):
    """A gateway before two servers: ann belongs to the second; gone to one that is away."""
    here, there, away = imap_server(), imap_server(caps=b"IMAP4rev1 AUTH=PLAIN AUTH=LOGIN"), imap_server()
    away.stop()
    (tmp_path / "users").write_text("ann there\ngone away\n")
    backends = "".join(f'backend {name} {{ address = "127.0.0.1:{s.port}" protocol = imap }}\n' for name, s in (("there", there), ("away", away)))
    g = gate(here, conf=f'user_map = "{tmp_path / "users"}"\n{backends}')
    g.here, g.there = here, there
    return g


def test_routed_by_name(routed):
    """What the client hears does not hang on where it belongs; what the servers hear does."""
    g = routed
    forms = [
        ((b"a LOGIN ann pass",), [b"LOGIN ann pass"], None),
        ((b"a LOGIN {3}", b"ann {4+}\r\npass"), [b"LOGIN {3}\r\nann {4}\r\npass"], None),
        ((b"a AUTHENTICATE PLAIN " + b64(b"\0ann\0pass"),), [b"AUTHENTICATE PLAIN"], b64(b"\0ann\0pass")),
        ((b"a AUTHENTICATE PLAIN", lambda said: said == b"+ \r\n" and b64(b"\0ann\0pass") + b"\r\n"), [b"AUTHENTICATE PLAIN"], b64(b"\0ann\0pass")),
        ((b"a AUTHENTICATE LOGIN", lambda said: said == b"+ VXNlcm5hbWU6\r\n" and b64(b"ann") + b"\r\n"), [b"AUTHENTICATE LOGIN"], b64(b"ann")),
    ]
    for form, heard, response in forms:
        before, sessions = len(g.there.commands), len(g.there.sessions)
        with Imap(g.ports["imap"]) as c:
            assert c.ok(*form).startswith(b"a OK ")
            c.ok(b"b SELECT x")
        assert g.there.commands[before:] == [*heard, b"SELECT x"] and len(g.there.sessions) == sessions + 1
        assert response is None or g.there.sessions[-1].response == response + b"\r\n"
    assert g.here.commands == []
    with Imap(g.ports["imap"]) as c:
        c.ok(b"a LOGIN bob pass")
        assert g.here.commands == [b"LOGIN bob pass"]


def test_routed_to_nobody(routed):
    g = routed
    g.here.script["LOGIN"] = b"TAG NO [AUTHENTICATIONFAILED] no\r\n"
    with Imap(g.ports["imap"]) as c:
        assert b" AUTH=PLAIN" in c.greeting
        assert c.cmd(b"a LOGIN gone pass") == b"a NO [UNAVAILABLE] the mail server behind does not answer, try again later\r\n"
        assert c.cmd(b"b CAPABILITY").startswith(b"* CAPABILITY IMAP4rev1")            # there is a server again
        for form in ((b"c AUTHENTICATE PLAIN AAAA",), (b"c AUTHENTICATE PLAIN", lambda _: b64(b"\0a\nb\0pass") + b"\r\n")):
            assert c.cmd(*form) == b"c BAD this is not base64, or no name\r\n"
        assert c.cmd(b"d AUTHENTICATE PLAIN", lambda _: b"*\r\n") == b"d BAD authentication cancelled\r\n"
        assert c.cmd(b"e LOGIN gone pass") == b"e NO [UNAVAILABLE] the mail server behind does not answer, try again later\r\n"
        assert c.cmd(b"f LOGOUT") == b"* BYE logging out\r\nf OK done\r\n"
    assert g.there.commands == [] and g.here.commands == [b"CAPABILITY"]


# passwords

def test_a_token_that_is_refused_counts(gate, imap_server):
    """Also where the client breaks off instead of hearing NO."""
    def refuse(session, tag, words):
        session.send(b"+ " + b64(b'{"status":"401"}') + b"\r\n")
        return b"TAG BAD cancelled\r\n" if session.line() == b"*\r\n" else b"TAG NO [AUTHENTICATIONFAILED] no\r\n"
    g = gate(imap_server(script={"AUTHENTICATE": refuse}, caps=CAPS + b" AUTH=XOAUTH2"), conf="auth { slow_after = 100 }")
    token = b"a AUTHENTICATE XOAUTH2 " + b64(b"user=ann\1auth=Bearer x\1\1")
    for answer in (b"\r\n", b"*\r\n", b"?\r\n", None):
        with Imap(g.ports["imap"]) as c:
            mark = g.mark()
            if answer:
                assert b"a OK" not in c.cmd(token, lambda _: answer)
            else:
                c.send(token + b"\r\n")
                c.line()
        line = g.wait_line("event=login ", mark)
        assert "result=failed" in line and "user=ann" in line and "mechanism=XOAUTH2" in line


@pytest.mark.parametrize("last", [b"\r\n", b"*\r\n", b"?\r\n", None])
def test_a_proof_that_is_refused_counts(gate, imap_server, last):
    """So it is where a server says in a challenge what it thinks of the proof (RFC 5802: e=invalid-proof)."""
    def refuse(session, tag, words):
        session.send(b"+ " + b64(b"r=xy,s=QQ==,i=4096") + b"\r\n")
        if session.line() == b"*\r\n":
            return b"TAG NO cancelled\r\n"
        session.send(b"+ " + b64(b"e=invalid-proof") + b"\r\n")
        return b"TAG BAD cancelled\r\n" if session.line() == b"*\r\n" else b"TAG NO [AUTHENTICATIONFAILED] no\r\n"
    g = gate(imap_server(script={"AUTHENTICATE": refuse}, caps=CAPS + b" AUTH=SCRAM-SHA-1"), conf="auth { slow_after = 100 }")
    first, proof = b"a AUTHENTICATE SCRAM-SHA-1 " + b64(b"n,,n=ann,r=x") + b"\r\n", b64(b"c=biws,r=xy,p=QQ==") + b"\r\n"
    with Imap(g.ports["imap"]) as c:
        mark = g.mark()
        for line in (first, proof):
            c.send(line)
            assert c.line().startswith(b"+ ")
        if last:
            c.send(last)
            assert not c.line().startswith(b"a OK")
    line = g.wait_line("event=login ", mark)
    assert "result=failed" in line and "user=ann" in line
    with Imap(g.ports["imap"]) as c:                    # who gives up before has not
        mark = g.mark()
        c.send(first)
        c.line()
        c.send(b"*\r\n")
        assert c.line() == b"a NO cancelled\r\n"
    assert "result=broken-off" in g.wait_line("event=login ", mark)


def test_a_mechanism_that_is_refused_does_not_count(gate, imap_server):
    g = gate(imap_server(script={"AUTHENTICATE": b"TAG NO [ALERT] Unsupported authentication mechanism.\r\n"}, caps=CAPS), conf="auth { slow_after = 100 }")
    with Imap(g.ports["imap"]) as c:
        for line, result in ((b"a AUTHENTICATE CRAM-MD5", "unavailable"), (b"a AUTHENTICATE PLAIN " + b64(b"\0ann\0x"), "failed")):
            mark = g.mark()
            assert c.cmd(line).startswith(b"a NO [ALERT]")
            assert f"result={result}" in g.wait_line("event=login ", mark)


def test_passwords_do_not_leave_tls(gate, imap_server, certificates):
    """What was said under TLS does not go on in clear because a handshake fails on the way."""
    def cut(session, tag, _):
        session.send(tag + b" OK begin\r\n")
        raise Hangup
    server = imap_server(caps=CAPS + b" STARTTLS", script={"STARTTLS": cut})
    g = gate(server, conf='auth { slow_after = 100 }')
    with Imap(g.ports["imap"]) as c:
        c.starttls()
        for words in (b"LOGIN ann pass", b"AUTHENTICATE PLAIN " + b64(b"\0ann\0pass")):
            assert b"a NO [UNAVAILABLE] the mail server behind cannot be reached under TLS" in c.cmd(b"a " + words)
    assert not any(b"pass" in x or b"PLAIN" in x for x in server.commands)
    g = gate(server, conf='auth { plaintext = yes }')
    with Imap(g.ports["imap"]) as c:
        c.starttls()
        c.ok(b"a LOGIN ann pass")


def test_nothing_is_kept(gate, imap_server):
    """The password is in no line of the log, and in no process's memory while its user is still there."""
    plain_binary = os.environ.get("GATEPOST_PLAIN")
    password = "Sesame-0pen-Tr0ub4dor-xyzzy"
    long = (password * 50).encode()         # so that what comes after it does not cover it by chance
    no = b"TAG NO [AUTHENTICATIONFAILED] no\r\n"
    server = imap_server(caps=CAPS.replace(b" SASL-IR", b"").replace(b" LITERAL+", b""))
    g = gate(server, binary=plain_binary, conf="auth { slow_after = 100 }")
    with Imap(g.ports["imap"]) as c, Imap(g.ports["imaps"], tls=True) as d:
        for client in (c, d):
            server.script = {"LOGIN": no}
            client.cmd(b"a LOGIN ann " + long)
            client.cmd(b"a LOGIN ann {%d}" % len(long), long)
            client.cmd(b"a LOGIN ann {%d+}\r\n%s" % (len(long), long))
            client.cmd(b"a LOGIN ann \"%s\" extra" % long)
            client.cmd(b"a AUTHENTICATE FOO-PLUS " + b64(b"\0ann\0" + long))
            assert client.authenticate(b"a", "X-OURS", [lambda _: long]).startswith(b"a OK")
            client.ok(b"n NOOP")                # it has done with what came before
        wanted = secrets(password)
        if plain_binary:
            for name, pid in {**g.children(), "parent": g.process.pid}.items():
                for block in memory(pid):
                    for secret in wanted:
                        assert secret not in block, f"{name}: ...{block[max(0, block.find(secret) - 60):][:200]!r}"
    assert len([x for x in server.commands if x.startswith(b"LOGIN")]) == 6
    assert not any(s.decode() in line for line in g.process.lines for s in wanted)
