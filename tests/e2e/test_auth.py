"""AUTH is passed through, step by step, to a backend that follows a script: what goes across, what is refused, what is lost, what is never kept."""
import base64
import json
import os
import time

import pytest
from lab.backend import KEYWORDS, Backend, Held, hang_up
from lab.gateway import parse_logfmt
from lab.memory import memory, secrets
from lab.process import WAIT_S, free_port
from lab.smtp import Client, Closed, insecure, mail

PASSWORD = "Sesame-0pen-Tr0ub4dor-xyzzy"
OFFER = (*KEYWORDS, "AUTH PLAIN LOGIN CRAM-MD5 XOAUTH2 NTLM GSSAPI DIGEST-MD5 EXTERNAL SCRAM-SHA-256 SCRAM-SHA-256-PLUS", "AUTH=LOGIN PLAIN",
         "XEXCH50", "X-EXPS GSSAPI NTLM LOGIN", "X-ANONYMOUSTLS", "XSHADOW", "X-LINK2STATE", "X-RDST")
LISTENERS = """
listener smtp {{ address = "127.0.0.1:{0}" }}
listener submission {{ address = "127.0.0.1:{1}" direction = submission }}
listener submissions {{ address = "127.0.0.1:{2}" direction = submission tls = implicit }}
"""


def b64(text):
    return base64.b64encode(text.encode() if isinstance(text, str) else text).decode()


def plain(user="ann", password=PASSWORD):
    return b64(f"\0{user}\0{password}")


def asking(*steps, end=b"235 2.7.0 welcome\r\n"):
    """The backend's side of a dialogue: each step is a challenge; what the client answers is in `session.said`."""
    def step(session, line):
        session.said = [line]
        for challenge in steps:
            session.sock.sendall(challenge if isinstance(challenge, bytes) else f"334 {challenge}\r\n".encode())
            session.said.append(session.read().decode("latin-1"))
            if session.said[-1] == "*":
                return b"501 5.7.0 cancelled\r\n"
        return end
    return step


@pytest.fixture
def gate(lab, backend):
    """A gateway with the three listeners before a scripted backend, which it has seen: what that offers is known. Both as attributes."""
    def make(conf="", step=asking(), listeners=LISTENERS, **kw):
        b = backend({"AUTH": step, **kw.pop("script", {})}, keywords=kw.pop("keywords", OFFER))
        ports = [free_port() for _ in range(3)]
        g = lab([b.port], listeners=listeners.format(*ports), conf=conf, **kw)
        g.smtp, g.submission, g.submissions = ports
        g.backend = b
        g.wait_line("event=backend .*state=up")
        return g
    return make


class Implicit(Client):
    """TLS from the first octet."""

    def __init__(self, port, **kw):
        super().__init__(port, greeting=False, **kw)
        self.sock = insecure().wrap_socket(self.sock, server_hostname="gate.example")
        self.greeting = self.reply()


def submit(g, **kw):
    c = Client(g.submission, **kw)
    c.ehlo()
    c.starttls()
    c.ehlo()
    return c


def logged_in(g, **kw):
    c = submit(g, **kw)
    c.expect(f"AUTH PLAIN {plain()}", 235)
    return c


def auth_sessions(g):
    return [s for s in g.backend.sessions if any(c.startswith("AUTH") for c in s.commands)]


# what is offered

def test_never_in_clear_text(gate):
    g = gate()
    with Client(g.submission) as c:
        assert not any(k.startswith("AUTH") for k in c.ehlo().keywords())
        assert c.cmd(f"AUTH PLAIN {plain()}").lines == ["538 5.7.11 encryption is needed for a login"]
        assert c.cmd("MAIL FROM:<ann@example.com>").lines == ["530 5.7.0 STARTTLS first"]
        c.starttls()
        c.expect(f"AUTH PLAIN {plain()}", 503)          # EHLO first
        assert c.ehlo().keywords()["AUTH"] == "PLAIN LOGIN CRAM-MD5 DIGEST-MD5 SCRAM-SHA-256 XOAUTH2"
        assert c.cmd("MAIL FROM:<ann@example.com>").lines == ["530 5.7.0 authentication required"]
    assert auth_sessions(g) == []


def test_only_what_is_on_the_list(gate):
    g = gate()
    with Implicit(g.submissions, source="127.0.0.2") as c:      # not the backend's own address, which is offered ETRN
        reply = c.ehlo()
        assert sorted(reply.keywords()) == sorted(
            ["PIPELINING", "SIZE", "8BITMIME", "SMTPUTF8", "DSN", "AUTH", "AUTH=PLAIN", "ENHANCEDSTATUSCODES", "CHUNKING", "PRDR", "LIMITS"])
        assert "AUTH" in c.expect("HELP", 214).text and "STARTTLS" not in c.cmd("HELP").text
        for word in ("EXTERNAL =", "SCRAM-SHA-256-PLUS", "NTLM", "GSSAPI", "SCRAM-SHA-1", "KERBEROS_V4"):
            assert c.cmd(f"AUTH {word}").code == 504, word
        for line in ("XEXCH50 1 2", "X-EXPS NTLM", "X-ANONYMOUSTLS", "XSHADOW x"):
            assert c.cmd(line).code == 500
    with Client(g.smtp) as c:                           # port 25 does not, unless the site says so
        assert not {k for k in c.ehlo().keywords() if k.startswith(("AUTH", "X"))}
        c.starttls()
        assert not {k for k in c.ehlo().keywords() if k.startswith(("AUTH", "X"))}
        assert "AUTH" not in c.expect("HELP", 214).text
        c.expect(f"AUTH PLAIN {plain()}", 502)
        c.expect("AUTH EXTERNAL =", 502)
    assert auth_sessions(g) == []


def test_offered_as_the_site_says(gate):
    g = gate(conf='auth { inbound = yes plaintext = yes mechanisms = { "LOGIN", "NTLM", "GSSAPI", "OAUTHBEARER" } }')
    for port in (g.smtp, g.submission):
        with Client(port) as c:
            assert c.ehlo().keywords()["AUTH"] == "LOGIN NTLM GSSAPI"
    with Client(g.smtp) as c:
        c.ehlo()
        c.expect(f"AUTH LOGIN {b64('ann')}", 235)
        assert c.message("ann@example.com", "bob@elsewhere.example", mail()).code == 250
        c.starttls()                                    # RFC 3207 4.2: the login is forgotten, too
        c.ehlo()
        assert c.envelope("ann@example.com", "bob@elsewhere.example")[0].code == 550
    g.backend.wait_messages(1)


def test_login_belongs_to_ehlo(gate):
    g = gate()
    with Implicit(g.submissions) as c:
        c.expect("HELO client.example", 250)
        c.expect(f"AUTH PLAIN {plain()}", 503)


def test_facts(gate):
    """Rules know who sends, and where he came in; in the log there is the user, too."""
    g = gate(policy="""
reject "550 5.7.1 no printer" if auth.user = printer and sender != printer@example.com
reject "550 5.7.1 not here" if listener = submissions and auth.mechanism = PLAIN
reject "550 5.7.1 stranger" if direction = outbound and not client.relay
accept all: if true
""")
    with submit(g) as c:
        c.expect(f"AUTH PLAIN {plain(user='printer')}", 235)
        assert "no printer" in c.message("ann@example.com", "bob@elsewhere.example", mail()).text
        c.expect("RSET", 250)
        assert c.message("printer@example.com", "bob@elsewhere.example", mail()).code == 250
        assert g.verdict("accept", "rule=all")["user"] == "printer"
    with Implicit(g.submissions) as c:
        c.ehlo()
        c.expect(f"AUTH PLAIN {plain()}", 235)
        assert "not here" in c.message("ann@example.com", "bob@elsewhere.example", mail()).text
    with Implicit(g.submissions) as c:
        c.ehlo()
        c.expect(f"AUTH LOGIN {b64('ann')}", 235)
        assert c.message("ann@example.com", "bob@elsewhere.example", mail()).code == 250
    for extra, rule in ((["--user", "printer"], "no printer"), (["--user", "ann", "--listener", "submissions"], "not here"),
                        (["--user", "ann", "--listener", "submission"], "accept")):
        assert rule in g.explain(mail(), to="bob@elsewhere.example", extra=extra)
    assert g.command("explain", "-c", str(g.conf_path), "--client", "192.0.2.1", "--helo", "x", "--from", "<>", "--to", "a@example.com",
                     "--listener", "nowhere", "/dev/null", check=False).returncode == 1


def test_a_server_on_port_465(lab, certificates):
    """It speaks TLS from the first octet there, and so do we."""
    server = Backend({"AUTH": asking()}, keywords=OFFER, host="127.0.0.2", port=465, tls=certificates.signed, implicit=True)
    try:
        port = free_port()
        g = lab(["127.0.0.2:465"], listeners=f'listener submissions {{ address = "127.0.0.1:{port}" direction = submission tls = implicit }}',
                backend_options=f'tls = required tls_name = "backend.example" tls_ca = "{certificates.ca}"')
        g.wait_line("event=backend .*state=up")
        with Implicit(port) as c:
            c.ehlo()
            c.expect(f"AUTH PLAIN {plain()}", 235)
            assert c.message("ann@example.com", "bob@example.com", mail()).code == 250
        assert not any("STARTTLS" in s.commands for s in server.sessions)
        g.stop()
    finally:
        server.stop()


# the dialogue

def test_plain_through_both_ports(gate):
    g = gate()
    with logged_in(g) as c:
        assert "AUTH" not in c.ehlo().keywords()
        assert c.message("ann@example.com", ["bob@example.com", "eve@elsewhere.example"], mail(sender="ann@example.com")).code == 250
        c.expect(f"AUTH PLAIN {plain()}", 503)
        c.expect("MAIL FROM:<ann@example.com>", 250)
        c.expect(f"AUTH PLAIN {plain()}", 503)
        c.expect("RSET", 250)
        assert c.message("ann@example.com", "eve@elsewhere.example", mail(subject="second")).code == 250
        c.expect("QUIT", 221)
    with Implicit(g.submissions) as c:
        c.ehlo()
        c.expect(f"auth plain {plain()}", 235)
        assert c.message("ann@example.com", "bob@[192.0.2.1]", mail(subject="third")).code == 250
    messages = g.backend.wait_messages(3)
    first, second = auth_sessions(g)
    assert [m.session for m in messages] == [first, first, second]
    assert messages[0].to == ["bob@example.com", "eve@elsewhere.example"]
    assert first.said == [f"AUTH PLAIN {plain()}"] and second.said == [f"AUTH PLAIN {plain()}"]
    g.backend.wait(lambda: not first.open and not second.open, "both sessions to end with the clients'")
    line = parse_logfmt(g.wait_line("event=login"))
    assert (line["result"], line["user"], line["mechanism"], line["listener"], line["client"]) == ("ok", "ann", "PLAIN", "submission", "127.0.0.1")
    assert line["protocol"] == "smtp"
    assert b"with ESMTPSA" in messages[0].data.split(b"\r\n\r\n")[0]


@pytest.mark.parametrize("mechanism,challenges,answers", [
    ("PLAIN", [""], [plain()]),
    ("LOGIN", [b64("Username:"), b64("Password:")], [b64("ann"), b64(PASSWORD)]),
    ("CRAM-MD5", [b64("<1896.697170952@postoffice.example>")], [b64("ann b913a602c7eda7a495b4e6e7334d3890")]),
    ("SCRAM-SHA-256", ["", b64("r=abc,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"), b64("v=xyz=")],
     [b64("n,,n=ann,r=abc"), b64("c=biws,r=abc,p=secret="), ""]),
    ("NTLM", [b"334 ntlm supported\r\n", b64(b"NTLMSSP\0\2" + bytes(6000))], [b64(b"NTLMSSP\0\1\0\0\0"), b64(bytes(8800))]),
    ("GSSAPI", [b"334\r\n", b64(bytes(9000)), b64(bytes(30)), ""], [b64(bytes(9000)), "", b64(bytes(30)), b64("x")]),
])
def test_steps_go_across(gate, mechanism, challenges, answers):
    g = gate(step=asking(*challenges), conf='auth { mechanisms = { "PLAIN", "LOGIN", "CRAM-MD5", "SCRAM-SHA-256", "NTLM", "GSSAPI" } }')
    with submit(g) as c:
        reply = c.expect(f"AUTH {mechanism}", 334)
        for challenge, answer in zip(challenges, answers):
            want = challenge.decode()[4:].strip() if isinstance(challenge, bytes) else challenge
            assert reply.code == 334 and reply.text == want
            reply = c.cmd(answer)
        assert reply.lines == ["235 2.7.0 welcome"]
        assert c.message("ann@example.com", "bob@example.com", mail()).code == 250
    assert auth_sessions(g)[0].said == [f"AUTH {mechanism}", *answers]


def test_xoauth2_that_fails(gate):
    """The error comes as a challenge; the client says an empty line, and hears 535."""
    error = b64(json.dumps({"status": "401", "schemes": "bearer"}))
    g = gate(step=asking(error, end=b"535-5.7.8 Username and Password not accepted.\r\n535 5.7.8 Learn more\r\n"))
    token = b64(f"user=ann@example.com\x01auth=Bearer {PASSWORD}\x01\x01")
    with submit(g) as c:
        assert c.cmd(f"AUTH XOAUTH2 {token}").text == error
        assert c.cmd("").lines == ["535-5.7.8 Username and Password not accepted.", "535 5.7.8 Learn more"]
        c.expect("MAIL FROM:<ann@example.com>", 530)
    assert auth_sessions(g)[0].said == [f"AUTH XOAUTH2 {token}", ""]
    line = parse_logfmt(g.wait_line("event=login"))
    assert (line["result"], line["user"], line["code"], line["failures"]) == ("failed", "ann@example.com", "535", "1")


@pytest.mark.parametrize("end", ["*", None])
def test_a_refused_token_counts(gate, end):
    """Whoever breaks off after the challenge that says so has made his guess."""
    g = gate(step=asking(b64('{"status":"401"}'), end=b"535 5.7.8 no\r\n"))
    token = b64(f"user=ann\x01auth=Bearer {PASSWORD}\x01\x01")
    with submit(g) as c:
        c.expect(f"AUTH XOAUTH2 {token}", 334)
        if end:
            c.expect(end, 501)
    line = parse_logfmt(g.wait_line("event=login"))
    assert (line["result"], line["user"], line["failures"], line["account_failures"]) == ("failed", "ann", "1", "1")


@pytest.mark.parametrize("end", ["*", "", None])
def test_a_refused_proof_counts(gate, end):
    """The same of a proof, which a server may refuse in a challenge (RFC 5802: e=invalid-proof)."""
    g = gate(step=asking(b64("r=xy,s=QQ==,i=4096"), b64("e=invalid-proof"), end=b"535 5.7.8 no\r\n"))
    with submit(g) as c:
        c.expect("AUTH SCRAM-SHA-256 " + b64("n,,n=ann,r=x"), 334)
        c.expect(b64("c=biws,r=xy,p=QQ=="), 334)
        if end is not None:
            assert c.cmd(end).code in (501, 535)
    line = parse_logfmt(g.wait_line("event=login"))
    assert (line["result"], line["user"], line["failures"]) == ("failed", "ann", "1")
    with submit(g) as c:                                # who gives up before has not
        mark = g.mark()
        c.expect("AUTH SCRAM-SHA-256 " + b64("n,,n=ann,r=x"), 334)
        c.expect("*", 501)
        assert "result=broken-off" in g.wait_line("event=login", mark)


@pytest.mark.parametrize("said,heard", [
    (b"535 no\r\n", "535 5.7.8 no"),
    (b"454 Temporary\r\n", "454 4.7.0 Temporary"),
    (b"432 4.7.12 change your password\r\n", "432 4.7.12 change your password"),
    (b"534 too weak\r\n", "534 5.7.9 too weak"),
    (b"421 4.3.2 bye\r\n", "454 4.7.0 the mail server behind is closing, try again later"),
    (b"250 2.0.0 whatever\r\n", "454 4.7.0 the mail server behind is confused, try again later"),
    (b"354 go on\r\n", "454 4.7.0 the mail server behind does not answer, try again later"),
    (b"334-two\r\n334 lines\r\n", "454 4.7.0 the mail server behind does not answer, try again later"),
    (b"334 \x01\x02\r\n", "454 4.7.0 the mail server behind does not answer, try again later"),
    (b"235 ok\r\n250 and more\r\n", "454 4.7.0 the mail server behind does not answer, try again later"),
    (b"334 " + b"A" * 20000 + b"\r\n", "454 4.7.0 the mail server behind does not answer, try again later"),
])
def test_what_the_backend_says(gate, said, heard):
    g = gate(step=asking(end=said))
    with submit(g) as c:
        assert c.cmd(f"AUTH PLAIN {plain()}").lines == [heard]
        c.expect("MAIL FROM:<ann@example.com>", 530)
        g.backend.script["AUTH"] = asking()
        c.expect(f"AUTH PLAIN {plain()}", 235)          # the next attempt is one of its own


@pytest.mark.parametrize("line,code", [
    ("*", 501), ("no base64", 501), ("QQ", 501), ("=", 501), ("Q" * 12289, 500), ("Q" * 12284, 501), (b64("\0ann\0" + "x" * 9208), 235), (b"QQ==\n", None), ("QQ== ", 501), (b"QQ\0=", 501),
])
def test_wrong_steps(gate, line, code):
    g = gate(step=asking(""))
    with submit(g) as c:
        c.expect("AUTH PLAIN", 334)
        if code is None:
            c.send(line)
            assert c.reply().code == 501
        else:
            c.expect(line, code)
        said = auth_sessions(g)[0]
        g.backend.wait(lambda: len(said.said) == 2, "the line, or its end")
        assert said.said[1] == ("*" if code != 235 else line)
        c.expect("MAIL FROM:<ann@example.com>", 250 if code == 235 else 530)
        if code == 235:
            return
        for command in ("AUTH", "AUTH PLAIN a b", f"AUTH PLAIN {plain()}=", "AUTH PLAIN *"):
            c.expect(command, 501)
        c.expect("NOOP " + "x" * 3000, 500)              # only AUTH may be so long
        c.expect("AUTH PLAIN " + "x" * 13000, 500)
        g.backend.script["AUTH"] = asking()
        c.expect("AUTH PLAIN " + plain(password="x" * 6000), 235)


def test_login_begins_with_a_name(gate):
    """An empty one is no name yet for many servers, which then ask for it: the user would be nobody in the log and for the rates."""
    g = gate(step=asking(b64("Username:"), b64("Password:")))
    with submit(g) as c:
        c.expect("AUTH LOGIN =", 501)
        assert auth_sessions(g) == []
        c.expect("AUTH LOGIN", 334)
        c.expect(b64("ann"), 334)
        c.expect(b64(PASSWORD), 235)
    assert parse_logfmt(g.wait_line("event=login"))["user"] == "ann"


@pytest.mark.parametrize("conf, code", [("", 454), ("auth { plaintext = yes }", 235)])
def test_no_password_where_tls_fails(gate, conf, code):
    """Opportunistic TLS with the server is for mail; the server is well, and mail goes on in clear text."""
    g = gate(conf, keywords=("STARTTLS", *OFFER), script={"STARTTLS": b"220 2.0.0 go\r\n250 this is no handshake\r\n"})
    with submit(g) as c:
        c.expect(f"AUTH PLAIN {plain()}", code)
    assert bool(auth_sessions(g)) == (code == 235)
    with Client(g.smtp) as c:
        assert c.message("x@sender.example", "bob@example.com", mail()).code == 250


def test_a_dialogue_without_end(gate):
    g = gate(step=asking(*["QQ=="] * 40))
    with submit(g) as c:
        reply, n = c.cmd("AUTH PLAIN"), 0
        while reply.code == 334:
            n += 1
            reply = c.cmd("")
        assert reply.code == 454 and n == 16


@pytest.mark.parametrize("mechanism,first,lines", [("LOGIN", "ann", 2), ("PLAIN", "\0ann\0x", 1), ("SCRAM-SHA-256", "n,,n=ann,r=x", 3)])
def test_asked_for_more(gate, mechanism, first, lines):
    """Who is asked once more could say another name, which the backend would believe and we would not know."""
    g = gate(step=asking(*["QQ=="] * 40))
    with submit(g) as c:
        c.expect(f"AUTH {mechanism}", 334)
        for i in range(lines):
            c.expect(b64(first if i == 0 else "x"), 334)
        c.expect(b64(first.replace("ann", "bob")), 501)
        c.expect("MAIL FROM:<ann@example.com>", 530)


# what is lost

def test_no_backend(gate):
    g = gate()
    with submit(g) as c:
        g.backend.stop()
        c.expect(f"AUTH PLAIN {plain()}", 454)
        c.expect("MAIL FROM:<ann@example.com>", 530)
        mark = g.mark()
        g.backend.listen()
        g.wait_line("event=backend .*state=up", mark)
        c.expect(f"AUTH PLAIN {plain()}", 235)


def test_backend_lost_in_the_dialogue(gate):
    g = gate(step=asking(""))
    g.backend.script["AUTH"] = lambda s, line: s.sock.sendall(b"334 \r\n") or s.read() and hang_up()(s, line)
    with submit(g) as c:
        c.expect("AUTH PLAIN", 334)
        assert c.cmd(plain()).lines == ["454 4.7.0 the mail server behind does not answer, try again later"]
        g.backend.script["AUTH"] = hang_up()
        c.expect(f"AUTH PLAIN {plain()}", 454)
        g.backend.script["AUTH"] = asking()
        c.expect(f"AUTH PLAIN {plain()}", 235)
        assert c.message("ann@example.com", "bob@example.com", mail()).code == 250


def test_client_lost_in_the_dialogue(gate):
    g = gate(step=asking(""))
    with submit(g) as c:
        c.expect("AUTH PLAIN", 334)
    g.backend.wait(lambda: not auth_sessions(g)[0].open, "the session to end")
    assert auth_sessions(g)[0].said == ["AUTH PLAIN"]        # a QUIT there would be tried as a password


def test_lost_between_transactions(gate):
    g = gate()
    with logged_in(g) as c:
        assert c.message("ann@example.com", "bob@example.com", mail()).code == 250
        session = auth_sessions(g)[0]
        g.backend.cut()
        g.backend.wait(lambda: not session.open, "the session to end")
        assert c.cmd("MAIL FROM:<ann@example.com>").lines == [
            "421 4.4.2 the session with the mail server behind is lost, please log in again"]
        assert c.closed()


@pytest.mark.parametrize("when", ["before RCPT", "before DATA", "at the dot"])
def test_lost_inside_a_transaction(gate, when):
    """451 for the message, 421 for the session; nothing goes to the backend as nobody."""
    g = gate()
    with logged_in(g) as c:
        def cut():
            session = auth_sessions(g)[0]
            g.backend.cut()
            g.backend.wait(lambda: not session.open, "the session to end")
        c.expect("MAIL FROM:<ann@example.com>", 250)
        c.expect("RCPT TO:<bob@example.com>", 250)
        if when == "before RCPT":
            cut()
            c.expect("RCPT TO:<carol@elsewhere.example>", 451)
            c.expect("RSET", 250)
        elif when == "before DATA":
            cut()
            assert c.data_block(mail()).code == 451
        else:
            g.backend.script["."] = hang_up()
            assert c.data_block(mail()).code == 451
        c.expect("MAIL FROM:<ann@example.com>", 421)
        assert c.closed()
    for s in g.backend.mail_sessions():
        assert "MAIL FROM:<>" in s.commands or any(line.startswith("AUTH") for line in s.commands)


def test_a_slow_user_keeps_the_session(gate):
    """Others' sessions are given back after a second; this one is of use to its user alone."""
    g = gate()
    with logged_in(g) as c:
        c.expect("MAIL FROM:<ann@example.com>", 250)
        c.expect("RCPT TO:<bob@example.com>", 250)
        time.sleep(1.3)
        assert c.data_block(mail()).code == 250
    assert [x for x in auth_sessions(g)[0].commands if x == "RSET"] == []


def test_sessions_of_others_are_not_used(gate):
    """An idle session that mail from outside has left is nobody's to log in."""
    g = gate(backend_options="max_sessions = 1 probe_interval = 60m")
    with Client(g.smtp) as c:
        assert c.message("x@sender.example", "bob@example.com", mail()).code == 250
        c.expect("QUIT", 221)
    with logged_in(g) as c:
        assert c.message("ann@example.com", "bob@example.com", mail()).code == 250
        stranger, user = [m.session for m in g.backend.wait_messages(2)]
        assert stranger is not user and not stranger.odd
    g.backend.wait(lambda: g.backend.now_open == 0, "the user's session to end")


# who fails

TICK_S = 0.02           # of the clock by which the gateway's timers run: they may end so much early
GUARD = 'auth { slow_after = 2 slow_by = "300ms" refuse_after = 4 refuse_for = "15m" }'


def test_slowed_then_refused(gate):
    g = gate(conf=GUARD, step=asking(end=b"535 5.7.8 no\r\n"))
    took = []
    with submit(g) as c:
        for _ in range(4):
            start = time.monotonic()
            c.expect(f"AUTH PLAIN {plain(password='wrong')}", 535)
            took.append(time.monotonic() - start)
        asked = len(auth_sessions(g))
        assert asked == 4 and took[2] >= 0.3 - TICK_S and took[3] >= 0.6 - TICK_S
        assert c.cmd(f"AUTH PLAIN {plain()}").lines == ["421 4.7.0 too many failed logins, try again later"]
        assert c.closed()
    with submit(g) as c:
        c.expect(f"AUTH PLAIN {plain()}", 421)
    assert len(auth_sessions(g)) == asked               # no password was tried
    g.backend.script["AUTH"] = asking()
    with submit(g, source="127.0.0.2") as c:            # somebody else
        c.expect(f"AUTH PLAIN {plain()}", 235)
    g.wait_line("event=login result=ok")
    lines = [parse_logfmt(x) for x in g.process.lines if "event=login" in x]
    assert [x["result"] for x in lines] == ["failed"] * 4 + ["refused"] * 2 + ["ok"]
    assert [x.get("failures") for x in lines] == ["1", "2", "3", "4", "4", "4", None]
    assert [x.get("delayed_ms") for x in lines] == [None, None, "300", "600", None, None, None]


def test_success_clears(gate):
    g = gate(conf=GUARD, step=asking(end=b"535 5.7.8 no\r\n"))
    with submit(g) as c:
        for _ in range(2):
            c.expect(f"AUTH PLAIN {plain(password='wrong')}", 535)
        g.backend.script["AUTH"] = asking()
        c.expect(f"AUTH PLAIN {plain()}", 235)
    g.backend.script["AUTH"] = asking(end=b"535 5.7.8 no\r\n")
    with submit(g) as c:
        mark = g.mark()
        c.expect(f"AUTH PLAIN {plain(password='wrong')}", 535)
        assert parse_logfmt(g.wait_line("event=login", mark))["failures"] == "1"


def test_many_guesses_at_once(gate):
    """A failure is known when the server has said so; until then those that come behind it wait."""
    g = gate(conf="auth { slow_after = 0 refuse_after = 3 }", step=Held(b"535 5.7.8 no\r\n"))
    held, clients = g.backend.script["AUTH"], [submit(g) for _ in range(12)]
    for c in clients:
        c.send(f"AUTH PLAIN {plain(password='wrong')}\r\n".encode())
    g.backend.wait(lambda: len(auth_sessions(g)) >= 3, "guesses")
    with submit(g, source="127.0.0.2") as c:        # others wait for nobody
        g.backend.script["AUTH"] = asking()
        c.expect(f"AUTH PLAIN {plain()}", 235)
    g.backend.script["AUTH"] = held
    held.go.set()
    codes = sorted(c.reply().code for c in clients)
    assert len(auth_sessions(g)) - 1 == codes.count(535) <= 5 and codes.count(421) >= 7, codes
    for c in clients:
        c.close()


def test_only_the_password_counts(gate):
    """A mechanism that is refused, a cancelled dialogue, a backend that is away: no guess was made."""
    g = gate(conf='auth { refuse_after = 1 }', step=asking(end=b"504 5.5.4 not this one\r\n"))
    with submit(g) as c:
        c.expect(f"AUTH PLAIN {plain()}", 504)
        g.backend.script["AUTH"] = asking(end=b"454 4.7.0 later\r\n")
        c.expect(f"AUTH PLAIN {plain()}", 454)
        g.backend.script["AUTH"] = asking("", end=b"535 5.7.8 no\r\n")
        c.expect("AUTH PLAIN", 334)
        c.expect("*", 501)
        c.expect("AUTH PLAIN", 334)
        c.expect(plain(), 535)
        c.expect("AUTH PLAIN", 334)
        c.expect(plain(), 421)                          # before the password goes to the server
    assert auth_sessions(g)[-1].said == ["AUTH PLAIN", "*"]


# what is kept of it

def test_nothing_is_kept(gate):
    """The password is in no line of the log, in no file, and in no process's memory while its user is still there."""
    plain_binary = os.environ.get("GATEPOST_PLAIN")
    long = PASSWORD * 100           # so that what comes after it does not cover it by chance
    g = gate(step=asking(""), binary=plain_binary)
    with submit(g) as c, Implicit(g.submissions) as d:
        c.expect("AUTH PLAIN", 334)
        c.expect(plain(password=long), 235)
        assert c.message("ann@example.com", "bob@example.com", mail()).code == 250
        g.backend.script["AUTH"] = asking(b64("Username:"), b64("Password:"), end=b"535 5.7.8 no\r\n")
        d.ehlo()
        d.expect("AUTH LOGIN", 334)
        d.expect(b64("ann"), 334)
        d.expect(b64(long), 535)
        d.expect(f"AUTH LOGIN {b64('ann')}", 334)
        d.expect(f"{b64(long)}!", 501)
        d.expect(f"AUTH FOO {plain(password=long)}", 504)
        d.expect(plain(), 500)
        g.backend.script["AUTH"] = asking()
        d.expect(f"AUTH PLAIN {plain(password=long)}", 235)
        wanted = secrets(PASSWORD)
        if plain_binary:
            for name, pid in {**g.children(), "parent": g.process.pid}.items():
                for block in memory(pid):
                    for secret in wanted:
                        assert secret not in block, f"{name}: ...{block[max(0, block.find(secret) - 60):][:200]!r}"
    g.stop()                # files that come and go, as SQLite's do, are there or not
    for path in g.dir.rglob("*"):
        if path.is_file():
            assert not any(s in path.read_bytes() for s in wanted), path
    assert not any(s.decode() in line for line in g.process.lines for s in wanted)


def test_names_are_cleaned(gate):
    """PITFALLS: a name with a line end must not come out as two lines anywhere."""
    g = gate()
    with submit(g) as c:
        for name in ("ann\r\nRSET", "ann\0bob", "", "x" * 256):
            c.expect(f"AUTH PLAIN {plain(user=name)}", 501)
        c.expect("AUTH XOAUTH2 " + b64("user=ann\1user=bob\1auth=Bearer x\1\1"), 501)
        assert not auth_sessions(g)
    g.backend.script["AUTH"] = asking("bm9uY2U9IngiCg==")
    with submit(g) as c:
        c.expect("AUTH DIGEST-MD5", 334)
        c.expect(b64('foo=",username="ann"=x,USERNAME="bob"'), 501)
        assert auth_sessions(g)[0].said[1] == "*"
    g.backend.script["AUTH"] = asking()
    with submit(g) as c:
        mark = g.mark()
        c.expect(f"AUTH PLAIN {plain(user='m' + chr(252) + 'ller event=x')}", 235)
        assert "event=x" in g.wait_line("event=login .*user=", mark)


def test_closed_while_slowed(gate):
    g = gate(conf='auth { slow_after = 1 slow_by = "30s" }', step=asking(end=b"535 5.7.8 no\r\n"))
    with submit(g) as c:
        c.expect(f"AUTH PLAIN {plain()}", 535)
        c.send(f"AUTH PLAIN {plain()}\r\n".encode())
    with pytest.raises(Closed), submit(g) as c:
        c.send(f"AUTH PLAIN {plain()}\r\n".encode())
        assert g.stop() == 0
        c.reply()
        raise Closed
    assert len(auth_sessions(g)) == 1       # it was not waited for until it had its turn


def test_backend_changes(gate):
    """After an upgrade it offers something else: that is one line, and clients are offered accordingly."""
    g = gate(backend_options="probe_interval = 1s", workers=2)
    for worker in (1, 2):
        g.wait_line(rf"worker {worker}\]: event=backend .*state=up")
    # One assignment, so that no EHLO is answered by half of each.
    g.backend.keywords = [k for k in g.backend.keywords if k not in ("DSN", "AUTH=LOGIN PLAIN") and not k.startswith("AUTH ")] + [
        "AUTH LOGIN GSSAPI", "XNEW"]
    line = parse_logfmt(g.wait_line("event=backend-changed"))
    assert line["name"] == "b0" and line["went"] == "DSN AUTH=PLAIN AUTH=CRAM-MD5 AUTH=DIGEST-MD5 AUTH=XOAUTH2 AUTH=SCRAM-SHA-256 AUTH=NTLM"
    end = time.monotonic() + WAIT_S
    while True:
        with Implicit(g.submissions) as c:
            offered = c.ehlo().keywords()
        if offered.get("AUTH") == "LOGIN" and "DSN" not in offered or time.monotonic() > end:
            break
    assert offered["AUTH"] == "LOGIN" and not {"DSN", "XNEW"} & set(offered)
    assert len([x for x in g.process.lines if "event=backend-changed" in x]) == 1


def test_held_backend(gate):
    """A backend that takes its time holds up nobody else."""
    held = Held(b"235 2.7.0 ok\r\n")
    g = gate(step=held)
    with submit(g) as c:
        c.send(f"AUTH PLAIN {plain()}\r\n".encode())
        assert held.reached.wait(WAIT_S)
        with Client(g.smtp) as d:
            assert d.message("x@sender.example", "bob@example.com", mail()).code == 250
        held.go.set()
        assert c.reply().code == 235
