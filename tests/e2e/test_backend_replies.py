"""Odd replies of the backend at each step: a proper 4xx for the client, that session not used again, nothing made up."""
import pytest

from lab.backend import Held, hang_up
from lab.smtp import Client, mail


def waits(step):
    """A short one for a reply that may not come, before the test grows old; all others come, be the machine as slow as it likes."""
    name = {"CONNECT": "greeting", "EHLO": "helo", ".": "dot"}.get(step, step.lower())
    return f'timeouts {{ backend_{name} = "3s" }}'


# What a backend might say where a plain reply is due.
ODD = {
    "letters": b"2x0 huh\r\n",
    "999": b"999 what\r\n",
    "number alone": b"25\r\n",
    "1xx": b"150 wait\r\n",
    "354": b"354 go on\r\n",
    "cut off": hang_up(b"250 2.0"),
    "cut off, continued": hang_up(b"250-2.0.0 yes\r\n"),
    "closed": hang_up(),
    "bare lf": b"250 ok\n250 ok\r\n",
    "nul": b"250 o\0k\r\n",
    "two at once": b"250 2.0.0 ok\r\n250 2.0.0 ok\r\n",
    "refused and then not": b"550 no\r\n250 2.0.0 ok\r\n",
    "codes that differ": b"250-ok\r\n550 no\r\n",
    "long line": b"250 " + b"x" * 5000 + b"\r\n",
    "endless": b"250-more\r\n" * 600 + b"250 end\r\n",
    "silence": b"",
}
BRIEF = ("letters", "354", "cut off", "closed", "two at once", "silence")

UP = r"name=b0 .*state=up"


@pytest.fixture
def site(lab, backend):
    def make(conf="", options=""):
        server = backend()
        g = lab([server.port], conf=conf, backend_options=f'probe_interval = "1h" {options}')
        g.wait_line(UP)
        return g, server
    return make


@pytest.fixture
def odd(site):
    return site()


def sender(subject):
    return subject.replace(" ", "-").replace(",", "") + "@sender.example"


def transaction(g, subject):
    """The replies to RCPT and to the end of data, as far as it comes. Its line of the log is the one with the sender of that subject."""
    with Client(g.port) as c:
        return c.message(sender(subject), "bob@example.com", mail(subject=subject))


def recovers(g, server, name, mark):
    """What comes next is delivered, by another session than the odd one; an absence of the backend is waited for first."""
    if "state=away" in g.process.output(mark):
        g.wait_line(UP, mark)
    count = len(server.messages)
    assert transaction(g, f"after {name}").code == 250, name
    assert len(server.messages) == count + 1 and not server.messages[-1].session.odd, name


@pytest.mark.parametrize("step", ["MAIL", "RCPT", "DATA"])
def test_an_odd_reply_before_the_data(site, step):
    g, server = site(waits(step))
    for name, reply in ODD.items():
        if (step == "DATA" and name == "354") or (name in ("refused and then not", "silence", "nul") and step == "MAIL"):
            continue
        mark = g.mark()
        server.script[step] = reply
        answer = transaction(g, name)
        assert answer.code == 451, (name, answer)
        g.verdict(pattern=f"<{sender(name)}>", since=mark)      # whether the backend is away now stands above it
        assert server.messages == [] or server.messages[-1].data.find(f"Subject: {name}\r\n".encode()) < 0
        server.script.clear()
        if name in BRIEF:
            recovers(g, server, name, mark)
        elif "state=away" in g.process.output(mark):
            g.wait_line(UP, mark)


def test_an_odd_reply_after_the_data(site):
    """The backend may have the message: the client hears 451 all the same, and the log says so."""
    g, server = site(waits("."))
    for name, reply in ODD.items():
        mark = g.mark()
        server.script["."] = reply
        answer = transaction(g, name)
        assert answer.code == 451, (name, answer)
        line = g.verdict("perhaps-delivered", f"<{sender(name)}>", since=mark)
        assert line["reply"].startswith("451 ")
        server.script.clear()
        if name in BRIEF:
            recovers(g, server, name, mark)
        elif "state=away" in g.process.output(mark):
            g.wait_line(UP, mark)
    # tried again, it is delivered again
    count = len(server.messages)
    assert transaction(g, "two at once").code == 250
    assert len(server.messages) == count + 1


@pytest.mark.parametrize("step", ["CONNECT", "EHLO"])
def test_an_odd_reply_before_mail(lab, backend, step):
    """The backend is away then, with the reason in the log, and comes back by itself."""
    for name in ("letters", "354", "cut off", "two at once", "codes that differ", "long line", "endless", "silence"):
        server = backend({step: ODD[name]})
        g = lab([server.port], conf=waits(step))
        g.wait_line(r"name=b0 .*state=away")
        assert transaction(g, name).code == 451, name
        assert server.mail_sessions() == [], name
        if name == "letters":
            server.script.clear()
            g.wait_line(UP)
            assert transaction(g, name).code == 250
        g.stop()


def test_a_refusing_greeting(lab, backend):
    for code in (421, 554):
        server = backend({"CONNECT": b"%d not now\r\n" % code})
        g = lab([server.port])
        assert "not now" in g.wait_line(r"name=b0 .*state=away")
        assert transaction(g, "refused").code == 451


def test_ehlo_refused_helo_taken(lab, backend):
    """An old server: what it cannot do is not offered, and mail goes through."""
    server = backend({"EHLO": b"500 5.5.1 what?\r\n"})
    g = lab([server.port])
    g.wait_line(UP)
    with Client(g.port) as c:
        assert not {"8BITMIME", "SMTPUTF8", "DSN"} & set(c.ehlo().keywords())
        c.expect("MAIL FROM:<a@sender.example> SIZE=1000", 250)
        c.expect("RCPT TO:<bob@example.com>", 250)
        assert c.data_block(mail()).code == 250
    assert server.messages[0].mail == "MAIL FROM:<a@sender.example>"


@pytest.mark.parametrize("name", ["letters", "two at once", "closed", "silence", "550"])
def test_an_odd_reply_to_rset_costs_the_session_only(site, name):
    """Before an idle session is used again it gets RSET: one that does not answer well is replaced, and nobody notices."""
    g, server = site(options='connect_timeout = "3s"' if name == "silence" else "")
    assert transaction(g, "first").code == 250
    server.script["RSET"] = b"550 no\r\n" if name == "550" else ODD[name]
    assert transaction(g, "second").code == 250
    first, second = server.messages
    assert first.session is not second.session
    server.wait(lambda: not first.session.open)


@pytest.mark.parametrize("name", ["letters", "two at once", "closed", "silence"])
def test_an_odd_reply_to_quit_changes_nothing(lab, backend, name):
    server = backend({"QUIT": ODD[name]})
    g = lab([server.port], conf=waits("QUIT"), backend_options="reuse = no")
    for i in range(3):
        assert transaction(g, f"message {i}").code == 250
    assert len(server.messages) == 3
    server.wait(lambda: server.now_open == 0)


def test_a_reply_that_nobody_asked_for(odd):
    """Said while the session is idle: it is never taken for the answer to the next command."""
    g, server = odd
    assert transaction(g, "first").code == 250
    session = server.messages[0].session
    session.sock.sendall(b"250 2.0.0 unasked\r\n")
    assert transaction(g, "second").code == 250
    assert server.messages[1].session is not session
    # and within a transaction: between RCPT and DATA
    with Client(g.port) as c:
        c.ehlo()
        c.envelope("a@sender.example", "bob@example.com")
        while not (bad := next((s for s in server.sessions if s.open and s.rcpts and "<a@sender.example>" in s.mail), None)):
            c.expect("RSET", 250)           # who takes a second, as we do on a busy machine, gives the session to others
            c.envelope("a@sender.example", "bob@example.com")
        bad.sock.sendall(b"354 unasked\r\n")
        reply = c.data_block(mail(subject="third"))
    assert reply.code == 250 and server.messages[-1].session is not bad
    assert b"third" in server.messages[-1].data


def test_a_reply_before_the_end_of_the_data(odd):
    """Taken for the reply to the end, it would lose the message."""
    g, server = odd
    server.script["DATA"] = b"354 go on\r\n250 2.0.0 kept already\r\n"
    assert transaction(g, "early").code == 451
    assert server.messages == []


def test_421_closes_the_backends_session_not_ours(odd):
    g, server = odd
    for step in ("MAIL", "RCPT", "DATA", "."):
        mark = g.mark()
        server.script[step] = hang_up(b"421 4.3.2 going down\r\n")
        with Client(g.port) as c:
            assert c.message("a@sender.example", "bob@example.com", mail()).code == 451, step
            assert c.cmd("NOOP").code == 250
        server.script.clear()
        g.wait_line(UP, mark)
    assert transaction(g, "after").code == 250


def test_long_and_foreign_text_of_a_refusal(odd):
    """It is cut and cleaned, not turned into days of 451."""
    g, server = odd
    server.script["RCPT"] = b"550 5.1.1 no\xff\x1b[31m " + b"x" * 3000 + b"\r\n"
    answer = transaction(g, "refused")
    assert answer.code == 550 and answer.text.startswith("5.1.1 no??[31m x")
    assert all(len(line) <= 510 for line in answer.lines)
    server.script["RCPT"] = b"".join(b"550-5.1.1 line %d\r\n" % i for i in range(99)) + b"550 5.1.1 end\r\n"
    assert transaction(g, "refused").code == 550


def test_slower_than_the_budget(lab, backend):
    """The client does not wait for ever at the dot: 451, and the log says what may have happened."""
    held = Held()
    server = backend({".": held})
    g = lab([server.port], conf='timeouts { backend_dot_budget = "5s" }')         # from the end of the message on, checks and all
    g.wait_line(UP)
    assert transaction(g, "slow").code == 451
    g.verdict("perhaps-delivered")
    held.go.set()
    server = backend({"RCPT": b""})
    g = lab([server.port], conf='timeouts { backend_budget = "1s" }')
    g.wait_line(UP)
    assert transaction(g, "slow at RCPT").code == 451
    g.verdict("backend-deferred")
