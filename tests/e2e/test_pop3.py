"""POP3 before the login: what is passed on, what is the gateway's own, what is refused; with a real Dovecot, and with servers that follow a script."""
import base64
import hashlib
import poplib
import re
import ssl
import time

import pytest
from lab import sasl
from lab.gateway import parse_logfmt
from lab.mailserver import PASSWORD
from lab.pop3_server import CAPA, Pop3Server
from lab.process import WAIT_S
from lab.wire import Closed, Pop3

SECRET = "Sesame-0pen-Tr0ub4dor-xyzzy"


def b64(text):
    return base64.b64encode(text.encode()).decode()


def plain(user, password=PASSWORD):
    return b64(f"\0{user}\0{password}").encode()


@pytest.fixture
def gate(access_gate, mailserver):
    """A gateway before Dovecot; .server is it, .direct(): a client of the server itself."""
    def make(options="", **kw):
        g = access_gate(mailserver.ports, options, kw.pop("backend_options", "tls = off"), kinds=("pop3", "pop3s"), **kw)
        g.server = mailserver
        g.user = mailserver.add()
        return g
    return make


@pytest.fixture
def scripted(access_gate):
    """A gateway before a server with a script, which is .server."""
    made = []

    def make(script=None, options="", backend_options="tls = off", conf="", **kw):
        server = Pop3Server(script, **kw)
        made.append(server)
        g = access_gate({"pop3": server.port}, options, backend_options, kinds=("pop3", "pop3s"), conf=conf)
        g.server = server
        return g
    yield make
    for s in made:
        s.stop()


def session_end(g, since=0):
    return parse_logfmt(g.wait_line("event=pop3 ", since))


# what a session of Dovecot's is like

def test_greeting_and_capa_are_the_servers(gate):
    g = gate(more={"pop3": "tls = off"})
    with Pop3(g.ports["pop3"]) as through, Pop3(g.server.ports["pop3"]) as direct:
        assert re.sub(rb"<.*>", b"<>", through.greeting) == re.sub(rb"\[XCLIENT\] ", b"", re.sub(rb"<.*>", b"<>", direct.greeting))
        assert b"<" in through.greeting
        want = direct.ok(b"CAPA", lines=True).replace(b"STLS\r\n", b"")
        assert through.ok(b"CAPA", lines=True) == want
        assert through.cmd(b"QUIT") == direct.cmd(b"QUIT")
        assert through.rest() == b""
    assert session_end(g)["end"] == "closed"


def test_stls_is_ours(gate):
    g = gate()
    with Pop3(g.ports["pop3"]) as c:
        assert b"\r\nSTLS\r\n" in c.ok(b"CAPA", lines=True)
        c.starttls()
        assert b"STLS" not in c.ok(b"CAPA", lines=True)
        assert c.cmd(b"STLS") == b"-ERR TLS has begun already\r\n"
        c.ok(b"USER " + g.user.encode())
        c.ok(b"PASS " + PASSWORD.encode())
        assert c.ok(b"STAT") == b"+OK 0 0\r\n"
        c.ok(b"QUIT")
        c.rest()
    line = parse_logfmt(g.wait_line("event=login .*result=ok"))
    assert (line["user"], line["protocol"], line["mechanism"], line["tls"]) == (g.user, "pop3", "USER", "TLSv1.3")
    end = session_end(g)
    assert (end["user"], end["tls"], end["backend"], end["end"]) == (g.user, "TLSv1.3", "to_pop3", "closed")


@pytest.mark.parametrize("initial", [False, True])
def test_every_mechanism(gate, initial):
    g = gate()
    kind = "pop3s" if initial else "pop3"
    for mechanism in ("PLAIN", "LOGIN", "CRAM-MD5", "DIGEST-MD5", "SCRAM-SHA-1", "SCRAM-SHA-256"):
        if initial and mechanism in ("CRAM-MD5", "DIGEST-MD5"):
            continue                    # the server begins
        with Pop3(g.ports[kind], tls=kind == "pop3s") as c:
            mark = g.mark()
            answer = c.authenticate(mechanism, sasl.steps(mechanism, g.user, PASSWORD, "pop"), initial)
            assert answer.startswith(b"+OK"), (mechanism, answer)
            assert c.ok(b"STAT") == b"+OK 0 0\r\n"
            line = parse_logfmt(g.wait_line("event=login .*result=ok", mark))
            assert (line["user"], line["mechanism"]) == (g.user, mechanism)


def test_apop(gate):
    g = gate()
    with Pop3(g.ports["pop3"]) as c:
        timestamp = re.search(rb"<[^>]+>", c.greeting)[0]
        digest = hashlib.md5(timestamp + PASSWORD.encode()).hexdigest()
        assert c.cmd(b"APOP " + g.user.encode() + b" " + hashlib.md5(b"wrong").hexdigest().encode()).startswith(b"-ERR [AUTH]")
        c.ok(f"APOP {g.user} {digest}".encode())
        c.ok(b"STAT")
    assert parse_logfmt(g.wait_line("event=login .*result=failed"))["mechanism"] == "APOP"


def test_poplib(gate):
    g = gate()
    message = b"From: a@x.example\r\nSubject: hello\r\n\r\n.one\r\n..two\r\nthree\r\n"
    g.server.deliver(g.user, message)
    for make in (lambda: poplib.POP3("127.0.0.1", g.ports["pop3"], timeout=30),
                 lambda: poplib.POP3_SSL("127.0.0.1", g.ports["pop3s"], timeout=30, context=ssl._create_unverified_context())):
        c = make()
        if not isinstance(c, poplib.POP3_SSL):
            c.stls(ssl._create_unverified_context())
        c.user(g.user)
        c.pass_(PASSWORD)
        assert b"\r\n".join(c.retr(1)[1]) + b"\r\n" == message
        c.quit()


def test_pipelined_before_the_login(gate):
    g = gate()
    user = g.user.encode()
    with Pop3(g.ports["pop3"]) as c:
        c.send(b"CAPA\r\nUSER nobody\r\nPASS wrong\r\nUSER " + user + b"\r\nPASS " + PASSWORD.encode() + b"\r\nSTAT\r\nNOOP\r\nQUIT\r\n")
        assert c.answer(lines=True).startswith(b"+OK")
        assert c.answer().startswith(b"+OK") and c.answer().startswith(b"-ERR [AUTH]")
        assert [c.answer()[:3] for _ in range(5)] == [b"+OK"] * 5
        assert c.rest() == b""


def remembered(pid, needles):
    """Where one of them lies in the memory of a process, or None."""
    with open(f"/proc/{pid}/maps") as maps, open(f"/proc/{pid}/mem", "rb") as memory:
        for m in maps:
            start, end = (int(x, 16) for x in m.split()[0].split("-"))
            if "rw" in m.split()[1] and "[v" not in m:
                memory.seek(start)
                octets = memory.read(end - start)
                if any(n in octets for n in needles):
                    return m
    return None


def test_passwords_are_not_kept(gate):
    g = gate()
    with Pop3(g.ports["pop3"]) as c:
        c.ok(b"USER " + g.user.encode())
        assert c.cmd(b"PASS " + SECRET.encode()).startswith(b"-ERR")
        assert c.cmd(b"AUTH PLAIN " + plain(g.user, SECRET)).startswith(b"-ERR")
        assert c.authenticate("LOGIN", sasl.login(g.user, SECRET)).startswith(b"-ERR")
        c.cmd(b"PASS " + SECRET.encode() + b"\x01")
        c.cmd(b"AUTH PLAIN " + plain(g.user, SECRET) + b"!")
        pid = g.children()["gp-worker 1"]
        g.wait_line("event=login .*result=failed .*mechanism=LOGIN")
        log = g.process.output()
        assert SECRET not in log and b64(SECRET) not in log and plain(g.user, SECRET).decode() not in log
        # nor in the worker's memory, where it can be looked at (the sanitizers' shadow is too large)
        if not g.binary.endswith("san/gatepost"):
            needles = [SECRET.encode(), plain(g.user, SECRET)[4:]]
            end = time.monotonic() + WAIT_S     # the last answer comes before the last line has been wiped
            while (where := remembered(pid, needles)) and time.monotonic() < end:
                time.sleep(0.05)
            assert not where, where


# plaintext = refuse

def test_no_password_in_clear(gate):
    g = gate("plaintext = refuse")
    with Pop3(g.ports["pop3"]) as c:
        capa = c.ok(b"CAPA", lines=True)
        assert b"\r\nUSER\r\n" not in capa and b"\r\nSTLS\r\n" in capa
        assert re.search(rb"\r\nSASL ([^\r]*)", capa)[1].split() == [m.encode() for m in ("CRAM-MD5", "DIGEST-MD5", "SCRAM-SHA-1", "SCRAM-SHA-256")]
        for line in (b"USER " + g.user.encode(), b"PASS x", b"AUTH PLAIN", b"AUTH PLAIN " + plain(g.user), b"AUTH LOGIN"):
            assert c.cmd(line) == b"-ERR logins are refused here without encryption\r\n", line
        for mechanism in (f"user={g.user} mechanism=USER", "mechanism=PLAIN", "mechanism=LOGIN"):
            g.wait_line(f'event=login result=broken-off protocol=pop3 .*listener=pop3 {mechanism} .*code="no password without TLS"')
        assert c.authenticate("CRAM-MD5", sasl.cram_md5(g.user, "wrong")).startswith(b"-ERR [AUTH]")
        c.starttls()
        assert b"\r\nUSER\r\n" in c.ok(b"CAPA", lines=True)
        c.ok(b"AUTH PLAIN " + plain(g.user))


# STLS and what is said around it

def test_said_behind_stls(scripted):
    g = scripted()
    with Pop3(g.ports["pop3"]) as c:
        c.send(b"STLS\r\nUSER mallory\r\n")
        assert c.rest() == b""
    assert "before the TLS handshake" in session_end(g)["why"]
    assert g.server.commands() == []


def test_what_was_said_before_is_forgotten(scripted):
    g = scripted()
    with Pop3(g.ports["pop3"]) as c:
        c.ok(b"USER mallory")
        c.starttls()
        assert c.cmd(b"PASS x") == b"-ERR USER first\r\n"


def test_a_server_without_capa(scripted):
    g = scripted(capa=None)
    with Pop3(g.ports["pop3"]) as c:
        assert c.ok(b"CAPA", lines=True) == b"+OK\r\nTOP\r\nUIDL\r\nUSER\r\nSTLS\r\n.\r\n"
        c.starttls()
        assert c.cmd(b"CAPA") == b"-ERR what?\r\n"
        c.ok(b"USER anna")
        c.ok(b"PASS x")


# the server's leg

def test_tls_to_the_server(gate, certificates):
    for options in (f'tls = required tls_ca = "{certificates.ca}" tls_name = "backend.example"', "tls = opportunistic"):
        g = gate(backend_options=options)
        with Pop3(g.ports["pop3"]) as c:
            assert (b"<" in c.greeting) == ("opportunistic" in options)         # APOP's timestamp came in clear
            mark = g.server.mark()
            c.ok(b"USER " + g.user.encode())
            c.ok(b"PASS " + PASSWORD.encode())
            assert "TLS" in g.server.wait_line(f"pop3-login: .*Login: user=<{g.user}>", mark)
            c.ok(b"QUIT")


def test_the_server_has_no_stls(scripted, certificates):
    g = scripted(backend_options=f'tls = required tls_ca = "{certificates.ca}"')
    with Pop3(g.ports["pop3"]) as c:
        assert c.greeting.startswith(b"-ERR [SYS/TEMP]") and c.rest() == b""
    assert "STLS" in session_end(g)["why"]
    assert g.server.commands() == [b"CAPA"]
    g = scripted(backend_options="tls = opportunistic")
    with Pop3(g.ports["pop3"]) as c:
        c.ok(b"USER anna")


def test_a_handshake_that_fails(scripted, certificates):
    """What the client said under TLS does not go to a server in clear because somebody breaks a handshake."""
    g = scripted({"STLS": lambda s, line: s.send(b"+OK go\r\n")}, tls=certificates.signed, backend_options="tls = opportunistic")
    with Pop3(g.ports["pop3s"], tls=True) as c:
        c.ok(b"USER anna")
        assert c.cmd(b"PASS " + SECRET.encode()).startswith(b"-ERR [SYS/TEMP] the mail server behind cannot be reached under TLS")
        assert c.cmd(b"AUTH PLAIN " + plain("anna", SECRET)).startswith(b"-ERR [SYS/TEMP]")
    assert not any(SECRET.encode() in line or line.startswith(b"AUTH") for s in g.server.sessions for line in s.commands)
    with Pop3(g.ports["pop3"]) as c:
        c.ok(b"USER anna")
        c.ok(b"PASS " + SECRET.encode())


def test_said_before_the_handshake(scripted, certificates):
    """Response injection: a server that says more than its +OK."""
    g = scripted({"STLS": b"+OK go\r\n+OK logged in\r\n"}, tls=certificates.signed, backend_options="tls = opportunistic")
    with Pop3(g.ports["pop3"]) as c:
        assert c.greeting.startswith(b"-ERR [SYS/TEMP]") and c.rest() == b""
    assert "injection" in session_end(g)["why"] and g.server.commands() == [b"CAPA", b"STLS"]


def test_the_client_is_told_of(gate, scripted):
    g = gate(backend_options="tls = off xclient = yes")
    with Pop3(g.ports["pop3"], source="127.0.0.77") as c:
        assert b"XCLIENT" not in c.greeting and b"XCLIENT" not in c.ok(b"CAPA", lines=True)
        mark = g.server.mark()
        c.ok(b"USER " + g.user.encode())
        c.ok(b"PASS " + PASSWORD.encode())
        assert "rip=127.0.0.77" in g.server.wait_line(f"pop3-login: .*Login: user=<{g.user}>", mark)
    g = scripted(backend_options="tls = off xclient = yes")     # one that does not take it
    with Pop3(g.ports["pop3"]) as c:
        c.ok(b"USER anna")
    assert g.server.commands() == [b"USER anna"]


# users of different servers

@pytest.fixture
def routed(access_gate, tmp_path):
    """A gateway before two servers, .one and .two; anna's mail lies on the second."""
    made = []

    def make(script=None, options=""):
        one, two = (Pop3Server(script, greeting=b"+OK %b <1.2@lab.example>\r\n" % n, capa=(*CAPA, b"UTF8", b"LANG", b"SASL PLAIN LOGIN CRAM-MD5 DIGEST-MD5"))
                    for n in (b"one", b"two"))
        made.extend((one, two))
        users = tmp_path / "users"
        users.write_text("anna two\nbert to_pop3\n")
        g = access_gate({"pop3": one.port}, options, "tls = off", kinds=("pop3", "pop3s"), conf=f"""
backend two {{ address = "127.0.0.1:{two.port}" protocol = pop3 tls = off }}
user_map = "{users}"
""")
        g.one, g.two = one, two
        return g
    yield make
    for s in made:
        s.stop()


def test_routed(routed):
    g = routed()
    with Pop3(g.ports["pop3"]) as c:
        assert c.greeting == b"+OK one\r\n"
        capa = c.ok(b"CAPA", lines=True)
        assert b"UTF8" not in capa and b"LANG" not in capa and b"SASL PLAIN LOGIN\r\n" in capa and b"MD5" not in capa
        assert c.cmd(b"UTF8").startswith(b"-ERR") and c.cmd(b"APOP anna " + b"0" * 32).startswith(b"-ERR")
        assert c.cmd(b"AUTH CRAM-MD5").startswith(b"-ERR")
        c.ok(b"USER anna")
        assert c.ok(b"PASS x") == b"+OK logged in\r\n"
    assert g.one.commands() == [b"CAPA"] and g.two.commands() == [b"USER anna", b"PASS x"]
    assert parse_logfmt(g.wait_line("event=login "))["backend"] == "two"
    with Pop3(g.ports["pop3"]) as c:
        c.ok(b"USER bert")
        c.ok(b"PASS x")
    assert g.one.commands() == [b"USER bert", b"PASS x"]


@pytest.mark.parametrize("mechanism, initial, said", [
    ("PLAIN", True, [b"AUTH PLAIN " + plain("anna")]), ("PLAIN", False, [b"AUTH PLAIN", plain("anna")]),
    ("LOGIN", True, [b"AUTH LOGIN YW5uYQ==", b64(PASSWORD).encode()]), ("LOGIN", False, [b"AUTH LOGIN", b"YW5uYQ==", b64(PASSWORD).encode()]),
])
def test_routed_mechanisms(routed, mechanism, initial, said):
    def auth(session, line):
        for _ in said[1:]:
            session.send(b"+ \r\n")
            session.commands.append(session.read())
        return b"+OK welcome\r\n"
    g = routed({"AUTH": auth})
    with Pop3(g.ports["pop3"]) as c:
        assert c.authenticate(mechanism, sasl.steps(mechanism, "anna", PASSWORD), initial) == b"+OK welcome\r\n"
        c.ok(b"NOOP")
    assert g.two.commands() == [*said, b"NOOP"] and g.one.commands() == []


def test_routed_nowhere(routed):
    g = routed({"USER": b"-ERR no such user\r\n"})
    with Pop3(g.ports["pop3"]) as c:
        c.ok(b"USER anna")
        assert c.cmd(b"PASS x") == b"-ERR no such user\r\n"
        assert c.cmd(b"AUTH PLAIN =") == b"-ERR the user's name cannot be read\r\n"
        g.two.stop()
        c.ok(b"USER anna")
        assert c.cmd(b"PASS x").startswith(b"-ERR")
    with Pop3(g.ports["pop3"]) as c:
        c.ok(b"USER anna")
        assert c.cmd(b"PASS x").startswith(b"-ERR [SYS/TEMP]") and c.rest() == b""


GREETINGS = (
    (b"-ERR [SYS/TEMP] full\r\n", b"-ERR [SYS/TEMP] full\r\n", "full"),
    (b"-ERR go away\r\n", b"-ERR go away\r\n", "go away"),
    (b"220 mx.example ESMTP\r\n", b"-ERR [SYS/TEMP]", "220 mx"),
    (b"* OK IMAP4rev1\r\n", b"-ERR [SYS/TEMP]", "IMAP4rev1"),
    (b"+ PDE+\r\n", b"-ERR [SYS/TEMP]", "greets with"),
    (b"+OK hi\n", b"-ERR [SYS/TEMP]", "+OK hi"),
    (b"+OK " + b"x" * 20000 + b"\r\n", b"-ERR [SYS/TEMP]", "without end"),
    (b"\0\r\n", b"-ERR [SYS/TEMP]", "greets with"),
)


def test_greetings(scripted):
    g = scripted()
    for g.server.greeting, want, why in GREETINGS:
        mark = g.mark()
        with Pop3(g.ports["pop3"]) as c:
            assert c.greeting.startswith(want) and c.rest() == b"", why
        assert why in session_end(g, mark)["why"]


def test_no_server(access_gate):
    g = access_gate({"pop3": 9}, kinds=("pop3",))
    with Pop3(g.ports["pop3"]) as c:
        assert c.greeting == b"-ERR [SYS/TEMP] the mail server behind does not answer, try again later\r\n"
    assert session_end(g)["end"] == "no backend"


NONSENSE = (
    ({"PASS": b"hello\r\n"}, [b"USER a", b"PASS b"], "hello"),
    ({"PASS": b"+ PDE+\r\n"}, [b"USER a", b"PASS b"], "challenge"),
    ({"PASS": b"+OK\n"}, [b"USER a", b"PASS b"], "the server said"),
    ({"PASS": lambda s, line: None}, [b"USER a", b"PASS b"], "closed"),
    ({"USER": b"+OK\r\n+OK\r\n"}, [b"USER a", b"PASS b"], "unasked"),
    ({"CAPA": b"+OK\r\n" + b"X\r\n" * 2000 + b".\r\n"}, [b"CAPA"], "without end"),
    ({"CAPA": b"+OK\r\nTOP\nUIDL\r\n.\r\n"}, [b"CAPA"], "a list with"),
    ({"AUTH": b"+ \xff\xff\r\n"}, [b"AUTH PLAIN"], "not base64"),
    ({"AUTH": b"+ " + b"A" * 20000 + b"\r\n"}, [b"AUTH PLAIN"], "without end"),
)


def test_servers_that_talk_nonsense(scripted):
    g = scripted()
    for g.server.script, said, why in NONSENSE:
        mark = g.mark()
        with Pop3(g.ports["pop3"]) as c:
            for line in said[:-1]:
                c.ok(line)
            assert c.cmd(said[-1]).startswith(b"-ERR [SYS/TEMP]") and c.rest() == b"", why
        assert why in session_end(g, mark)["why"]


def test_a_dialogue_without_end(scripted):
    def more(session, line):
        for _ in range(40):
            session.send(b"+ QUFB\r\n")
            if session.read() == b"*":
                break
        return b"-ERR\r\n"
    g = scripted({"AUTH": more})
    with Pop3(g.ports["pop3"]) as c:
        c.send(b"AUTH CRAM-MD5\r\n")
        for _ in range(16):
            assert c.line() == b"+ QUFB\r\n"
            c.send(b"\r\n")
        assert c.line().startswith(b"-ERR [SYS/TEMP]") and c.rest() == b""


def test_results_of_a_login(scripted):
    g = scripted()
    for reply, result, code in ((b"-ERR [AUTH] no\r\n", "failed", "AUTH"), (b"-ERR no\r\n", "failed", None), (b"-ERR Server Unavailable. 21\r\n", "unavailable", None),
                                (b"-ERR [AUTH] temporarily unavailable\r\n", "failed", "AUTH"), (b"-ERR [IN-USE] no\r\n", "unavailable", "IN-USE"),
                                (b"-ERR [SYS/TEMP] no\r\n", "unavailable", "SYS/TEMP"), (b"-ERR [LOGIN-DELAY] no\r\n", "unavailable", "LOGIN-DELAY")):
        mark = g.mark()
        g.server.script["PASS"] = reply
        with Pop3(g.ports["pop3"]) as c:
            c.ok(b"USER anna")
            assert c.cmd(b"PASS x") == reply
        line = parse_logfmt(g.wait_line("event=login ", mark))
        assert (line["result"], line.get("code"), line["user"]) == (result, code, "anna")
    mark = g.mark()
    g.server.script["USER"] = b"-ERR never heard of\r\n"
    with Pop3(g.ports["pop3"]) as c:
        assert c.cmd(b"USER anna") == b"-ERR never heard of\r\n"
        assert c.cmd(b"PASS x") == b"-ERR USER first\r\n"
    assert parse_logfmt(g.wait_line("event=login ", mark))["result"] == "failed"


# what clients may say

def test_commands_pass_as_they_are(scripted):
    g = scripted()
    with Pop3(g.ports["pop3"]) as c:
        c.ok("uSeR  Ännä/Büro ".encode())
        c.ok(b"pass  \xe9\t b ")
    assert g.server.commands() == ["uSeR  Ännä/Büro ".encode(), b"pass  \xe9\t b "]
    assert parse_logfmt(g.wait_line("event=login "))["user"].encode("latin-1").decode() == "Ännä/Büro"


def test_mechanisms(scripted):
    capa = (*CAPA, b"SASL EXTERNAL PLAIN NTLM SCRAM-SHA-256-PLUS SCRAM-SHA-256", b"XCLIENT", b"UTF8 USER", b"LANG")
    g = scripted({"AUTH": lambda s, line: b"+OK\r\nPLAIN\r\nEXTERNAL\r\nNTLM\r\n.\r\n" if line == b"AUTH" else b"-ERR\r\n",
                  "UTF8": b"+OK\r\n", "LANG": b"+OK\r\nen\r\nde Deutsch\r\n.\r\n"}, capa=capa)
    with Pop3(g.ports["pop3s"], tls=True) as c:
        assert c.ok(b"CAPA", lines=True) == b"+OK list\r\n" + b"\r\n".join(
            (*CAPA, b"SASL PLAIN SCRAM-SHA-256", b"UTF8 USER", b"LANG", b".", b""))
        assert c.ok(b"AUTH", lines=True) == b"+OK\r\nPLAIN\r\n.\r\n"
        for m in (b"EXTERNAL =", b"NTLM", b"SCRAM-SHA-256-PLUS", b"MAGIC"):
            assert c.cmd(b"AUTH " + m) == b"-ERR this mechanism is not offered\r\n", m
        c.ok(b"UTF8")
        assert c.ok(b"LANG", lines=True) == b"+OK\r\nen\r\nde Deutsch\r\n.\r\n"
    assert g.server.commands() == [b"CAPA", b"AUTH", b"UTF8", b"LANG"]


def test_a_token_that_is_refused(scripted):
    """The server says so in a challenge: who breaks off then has made his guess."""
    def auth(session, line):
        session.send(b"+ eyJzdGF0dXMiOiI0MDAifQ==\r\n")
        return b"-ERR no\r\n" if session.read() == b"*" else b"-ERR [AUTH] no\r\n"
    g = scripted({"AUTH": auth})
    token = b64("user=anna\1auth=Bearer x\1\1").encode()
    for last in (b"*", b"!", b"", None):
        mark = g.mark()
        with Pop3(g.ports["pop3"]) as c:
            c.send(b"AUTH XOAUTH2 " + token + b"\r\n")
            assert c.line() == b"+ eyJzdGF0dXMiOiI0MDAifQ==\r\n"
            if last is not None:
                assert c.cmd(last).startswith(b"-ERR")
        line = parse_logfmt(g.wait_line("event=login ", mark))
        assert (line["result"], line["user"], line["mechanism"]) == ("failed", "anna", "XOAUTH2"), last


def test_cancelled(scripted):
    def auth(session, line):
        session.send(b"+ \r\n")
        session.commands.append(session.read())
        return b"-ERR cancelled, then\r\n" if session.commands[-1] == b"*" else b"+OK\r\n"
    g = scripted({"AUTH": auth})
    for line, want in ((b"*", b"-ERR authentication cancelled\r\n"), (b"!!!", b"-ERR not base64\r\n"), (b"A" * 20000, b"-ERR line too long\r\n")):
        with Pop3(g.ports["pop3"]) as c:
            assert c.cmd(b"AUTH PLAIN") == b"+ \r\n"
            assert c.cmd(line) == want
            c.ok(b"USER anna")
        assert g.server.commands() == [b"AUTH PLAIN", b"*", b"USER anna"]
    assert parse_logfmt(g.wait_line("event=login "))["result"] == "broken-off"


@pytest.mark.parametrize("between", [b"AUTH PLAIN " + b64("\0anna\0x").encode(), b"APOP anna c4c9334bac560ecc979e58001b3e22fb"])
def test_another_name_between_user_and_pass(scripted, between):
    """Whose password it would be is the server's to guess: it is counted as nobody's, and not asked."""
    g = scripted({"AUTH": b"-ERR no\r\n", "APOP": b"-ERR no\r\n"})
    with Pop3(g.ports["pop3"]) as c:
        c.ok(b"USER bob")
        assert c.cmd(between) == b"-ERR no\r\n"
        assert c.cmd(b"PASS x") == b"-ERR USER first\r\n"
        c.ok(b"USER bob")
        c.ok(b"PASS x")
    assert g.server.commands() == [b"USER bob", between, b"USER bob", b"PASS x"]


def test_a_mechanism_that_is_refused_does_not_count(scripted):
    g = scripted({"AUTH": b"-ERR [AUTH] Unsupported authentication mechanism.\r\n"})
    with Pop3(g.ports["pop3"]) as c:
        for line, result in ((b"AUTH CRAM-MD5", "unavailable"), (b"AUTH PLAIN " + b64("\0anna\0x").encode(), "failed")):
            mark = g.mark()
            assert c.cmd(line).startswith(b"-ERR [AUTH]")
            assert parse_logfmt(g.wait_line("event=login ", mark))["result"] == result


REFUSED = (
    (b"STAT", b"not before the login"), (b"RETR 1", b"not before the login"), (b"XTND XMIT", b"unknown"), (b"XCLIENT ADDR=192.0.2.1", b"unknown"),
    (b"", b"unknown"), (b"USER", b"arguments"), (b"PASS x", b"USER first"), (b"USER a\0b", b"octets"), (b"USER a\rb", b"octets"), (b"\xff", b"octets"),
    (b"USER " + b"x" * 1100, b"too long"), (b"USER " + b"x" * 100000, b"too long"), (b"AUTH PLAIN " + b"A" * 13000, b"too long"),
    (b"AUTH PLAIN x", b"arguments"), (b"CAPA all", b"arguments"), (b"STLS x", b"arguments"), (b"APOP a b", b"arguments"),
)


def test_refused(scripted):
    g = scripted()
    for line, want in REFUSED:
        with Pop3(g.ports["pop3"]) as c:
            reply = c.cmd(line)
            assert reply.startswith(b"-ERR ") and want in reply, line
            c.send(b"USER a\nQUIT\r\n")
            assert c.line() == b"-ERR lines end with CR LF\r\n"
            c.ok(b"QUIT")
        assert g.server.commands() == [b"QUIT"]


def test_too_many_errors(scripted):
    g = scripted()
    with Pop3(g.ports["pop3"]) as c:
        c.send(b"HUH\r\n" * 30)
        answers = c.rest().splitlines()
    assert len(answers) == 11 and answers[-1] == b"-ERR too many errors"
    assert session_end(g)["why"] == "too many errors"
    with Pop3(g.ports["pop3"]) as c:
        assert c.cmd(b"POST / HTTP/1.1") == b"-ERR this is a mail server\r\n"
        assert c.rest() == b""


def test_time_for_a_login(scripted):
    g = scripted(options="login_timeout = 4s")
    with Pop3(g.ports["pop3"]) as user:
        user.ok(b"USER a")
        user.ok(b"PASS b")
        with Pop3(g.ports["pop3"]) as c:
            assert c.line() == b"-ERR no login in time\r\n" and c.rest() == b""
        assert session_end(g)["end"] == "login timeout"
        user.ok(b"NOOP")                # who came before, and has logged in, has all the time


def test_half_closed(scripted):
    """A client that says all it has to say, and then ends."""
    g = scripted()
    with Pop3(g.ports["pop3"]) as c:
        c.send(b"USER a\r\nPASS b\r\nNOOP\r\nQUIT\r\n")
        c.half_close()
        assert c.rest() == b"+OK\r\n+OK logged in\r\n+OK\r\n+OK bye\r\n"
    with Pop3(g.ports["pop3"]) as c:
        c.send(b"USER a\r\nPASS")
        c.half_close()
        assert c.rest() == b"+OK\r\n"


def test_the_client_goes_in_the_middle(scripted):
    """The server hears nothing that it could take for the answer to a challenge."""
    def auth(session, line):
        session.send(b"+ \r\n")
        session.commands.append(session.read())
        return None
    g = scripted({"AUTH": auth})
    c = Pop3(g.ports["pop3"])
    assert c.cmd(b"AUTH PLAIN") == b"+ \r\n"
    c.close()
    assert g.server.sessions[-1].over.wait(WAIT_S)
    assert g.server.commands() == [b"AUTH PLAIN", b""]
    assert parse_logfmt(g.wait_line("event=login "))["result"] == "broken-off"


def test_closed_while_we_wait(scripted):
    """A server that gives up: what it says then answers no command, and is no failure of a user's."""
    g = scripted({"USER": lambda s, line: s.send(b"+OK\r\n-ERR gone\r\n")})
    with Pop3(g.ports["pop3"]) as c:
        c.ok(b"USER a")
        assert g.server.sessions[-1].over.wait(WAIT_S)
        assert c.cmd(b"PASS b").startswith(b"-ERR [SYS/TEMP]")
        with pytest.raises(Closed):
            c.line()
    assert parse_logfmt(g.wait_line("event=login "))["result"] == "unavailable"
