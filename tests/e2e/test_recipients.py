"""Each recipient gets a true reply: what the backend, a call-out or a file says of it, and verdicts that differ at the end of data."""
import json
import re
import time

import pytest

from lab.backend import Held, hang_up
from lab.process import WAIT_S, free_port
from lab.smtp import Client, mail

SPLIT = """
defer later: if header.subject ~ /defer/ and rcpt = "dave@example.com"
quarantine hold: if header.subject ~ /hold/ and rcpt = "carol@example.com"
reject no: "550 5.7.1 nothing of this for erin" if header.subject ~ /refuse/ and rcpt = "erin@example.com"
reject all: "550 5.7.1 nothing of this for anybody" if header.subject ~ /never/
accept
"""
ALL = ["bob@example.com", "carol@example.com", "dave@example.com", "erin@example.com"]


def send(g, subject, rcpts, sender="a@sender.example"):
    with Client(g.port) as c:
        return c.message(sender, rcpts, mail(subject=subject))


def kept(g):
    """The metadata of each quarantined message, by id."""
    return [json.loads(p.with_suffix(".json").read_text()) for p in g.quarantined()]


# verdicts that differ at the end of data

def test_delivered_for_some_and_quarantined_for_the_others(lab, backend):
    server = backend()
    g = lab([server.port], policy=SPLIT)
    assert send(g, "hold", ALL).code == 250
    assert server.messages[0].to == ["bob@example.com", "dave@example.com", "erin@example.com"]
    assert [r["address"] for r in kept(g)[0]["envelope"]["rcpt"]] == ["carol@example.com"]
    assert g.verdict("accept")["to"] == "<bob@example.com>,<dave@example.com>,<erin@example.com>"
    assert g.verdict("quarantine")["to"] == "<carol@example.com>"
    # the transaction there held four: it was begun anew with exactly three
    said = [c.split(" ")[0] for c in server.messages[0].session.commands]
    assert said.count("RCPT") == 7


def test_refused_for_some_is_quarantined_for_them(lab, backend):
    """One reply for all cannot be 550 for one: it is kept for that one, never dropped."""
    server = backend()
    g = lab([server.port], policy=SPLIT)
    assert send(g, "refuse and hold", ALL).code == 250
    assert server.messages[0].to == ["bob@example.com", "dave@example.com"]
    assert sorted(r["address"] for m in kept(g) for r in m["envelope"]["rcpt"]) == ["carol@example.com", "erin@example.com"]


def test_a_defer_for_some_defers_all(lab, backend):
    server = backend()
    g = lab([server.port], policy=SPLIT)
    reply = send(g, "defer refuse hold", ALL)
    assert reply.code == 451
    assert server.messages == [] and g.quarantined() == []
    assert all("DATA" not in s.commands for s in server.sessions)


def test_refused_for_all_is_refused(lab, backend):
    server = backend()
    g = lab([server.port], policy=SPLIT)
    assert send(g, "never", ALL).code == 550
    assert send(g, "refuse", "erin@example.com").code == 550
    assert server.messages == [] and g.quarantined() == []


def test_quarantined_for_all_asks_the_backend_for_nothing(lab, backend):
    server = backend()
    g = lab([server.port], policy=SPLIT)
    reply = send(g, "hold", "carol@example.com")
    assert reply.code == 250 and server.messages == []
    assert g.quarantined()[0].read_bytes() == mail(subject="hold")


def test_the_backend_refuses_while_others_are_to_be_kept(lab, backend):
    """Nobody has it: neither the server nor the quarantine."""
    server = backend({".": b"451 4.3.0 not now\r\n"})
    g = lab([server.port], policy=SPLIT)
    assert send(g, "hold", ALL).code == 451
    assert g.quarantined() == []


# the backend's word on each

def test_replies_pass_through_one_by_one(lab, backend):
    def rcpt(session, line):
        if "full@" in line:
            return b"452 4.2.2 mailbox full\r\n"
        if "moved@" in line:
            return b"551 5.1.6 moved away\r\n"
        return None

    server = backend({"RCPT": rcpt}, users=["bob@example.com", "carol@example.com", "full@example.com", "moved@example.com"])
    g = lab([server.port])
    with Client(g.port) as c:
        c.ehlo()
        replies = c.envelope("a@sender.example", "bob@example.com", "nobody@example.com", "full@example.com", "moved@example.com",
                             "carol@example.com")
        assert [str(r) for r in replies] == ["250 2.1.5 ok", "550 5.1.1 no such user here", "452 4.2.2 mailbox full",
                                             "551 5.1.6 moved away", "250 2.1.5 ok"]
        assert c.data_block(mail()).code == 250
    assert server.messages[0].to == ["bob@example.com", "carol@example.com"]


def test_354_comes_after_the_results(lab, backend):
    held = Held()
    server = backend({"RCPT": held})
    g = lab([server.port])
    with Client(g.port) as c:
        c.ehlo()
        c.send(b"MAIL FROM:<a@sender.example>\r\nRCPT TO:<bob@example.com>\r\nDATA\r\n")
        assert held.reached.wait(WAIT_S)
        held.reply = b"550 5.1.1 nobody here\r\n"
        held.go.set()
        assert [c.reply().code for _ in range(3)] == [250, 550, 554]


@pytest.mark.parametrize("step", ["DATA", "."])
def test_what_the_backend_says_to_the_data_is_passed_on(lab, backend, step):
    server = backend({step: b"554 5.6.0 content not liked\r\n"})
    g = lab([server.port])
    reply = send(g, "disliked", "bob@example.com")
    line = g.verdict("backend-refused")
    assert reply.code == 554 and reply.text.startswith("5.6.0 content not liked")
    assert f"({line['sid']}-1)" in reply.text
    server.script[step] = b"452 4.3.1 disk full\r\n"
    assert send(g, "later", "bob@example.com").code == 452


@pytest.mark.parametrize("step", ["RCPT", "DATA"])
def test_a_session_that_has_had_its_share_of_errors(lab, backend, step):
    """Domino counts refused recipients, and says 421 to what comes next: those who are there do not suffer for it."""
    def count(session, line):
        session.refused = getattr(session, "refused", 0) + ("nobody" in line)
        if session.refused > 1 and line.startswith(step) and "nobody" not in line:
            hang_up(b"421 4.7.0 too many errors\r\n")()
    server = backend({"RCPT": count, "DATA": count}, users=["bob@example.com", "carol@example.com"])
    g = lab([server.port], backend_options="reuse = no")
    with Client(g.port) as c:
        c.ehlo()
        replies = c.envelope("a@sender.example", "carol@example.com", "nobody1@example.com", "nobody2@example.com", "bob@example.com")
        assert [r.code for r in replies] == [250, 550, 550, 250]
        assert c.data_block(mail()).code == 250
    assert sorted(t for m in server.messages for t in m.to) == ["bob@example.com", "carol@example.com"]
    assert not re.search("name=b0 .*state=away", g.process.output())


def test_250_only_after_the_backends(lab, backend):
    held = Held()
    server = backend({".": held})
    g = lab([server.port])
    with Client(g.port) as c:
        c.ehlo()
        c.envelope("a@sender.example", "bob@example.com")
        c.expect("DATA", 354)
        c.send(mail() + b".\r\n")
        assert held.reached.wait(WAIT_S)
        c.sock.settimeout(0.3)
        with pytest.raises(TimeoutError):
            c.line()
        c.sock.settimeout(WAIT_S)
        held.go.set()
        assert c.reply().code == 250


def test_a_reply_that_differs_the_second_time(lab, backend):
    """The session went between RCPT and DATA; now one of two is refused: nobody has it, and the client comes again."""
    server = backend()
    g = lab([server.port])
    with Client(g.port) as c:
        c.ehlo()
        c.envelope("a@sender.example", "bob@example.com", "carol@example.com")
        server.script["RCPT"] = lambda s, line: b"550 5.1.1 gone\r\n" if "carol" in line else None
        server.cut("a@sender.example")
        reply = c.data_block(mail())
        assert reply.code == 451, reply
    assert server.messages == []
    g.wait_line("event=backend-differs")


def test_lost_after_the_dot_is_perhaps_delivered(lab, backend):
    server = backend({".": hang_up()})
    g = lab([server.port])
    assert send(g, "once", "bob@example.com").code == 451
    assert g.verdict("perhaps-delivered")["to"] == "<bob@example.com>"
    server.script.clear()
    assert send(g, "once", "bob@example.com").code == 250
    assert len(server.messages) == 2        # the first of which it may have thrown away


def test_a_bounce_has_one_recipient(lab, backend):
    server = backend()
    g = lab([server.port])
    with Client(g.port) as c:
        c.ehlo()
        one, two = c.envelope("", "bob@example.com", "carol@example.com")
        assert one.code == 250 and (two.code, two.text[:5]) == (452, "4.5.3")


# who is known, asked elsewhere

def callout_conf(source, more=""):
    return f'recipients {{ verify = callout callout = "127.0.0.1:{source}" {more} }}'


def rcpt(g, *addresses):
    with Client(g.port) as c:
        c.ehlo()
        return [r.code for r in c.envelope("a@sender.example", *addresses)]


def asked(source, who):
    return sum(c.startswith(f"RCPT TO:<{who}@") for s in source.sessions for c in s.commands)


def test_callouts_are_cached_and_can_be_cleared(lab, backend):
    source, server = backend(users=["bob@example.com"]), backend()
    g = lab([server.port], conf=callout_conf(source.port))
    for _ in range(2):
        assert rcpt(g, "bob@example.com", "nobody@example.com") == [250, 550]
    assert asked(source, "bob") == 1 and asked(source, "nobody") == 1
    assert all("MAIL FROM:<>" in c for s in source.sessions for c in s.commands if c.startswith("MAIL"))
    # a user that is new: known once the command has cleared what was cached
    source.users.append("nobody@example.com")
    assert rcpt(g, "nobody@example.com") == [550]
    g.command("recipients", "-c", str(g.conf_path), "clear", "nobody@example.com")
    assert rcpt(g, "nobody@example.com", "bob@example.com") == [250, 250]
    assert asked(source, "bob") == 1
    g.command("recipients", "-c", str(g.conf_path), "clear")
    assert rcpt(g, "bob@example.com") == [250]
    assert asked(source, "bob") == 2


def test_what_is_cached_outlives_a_restart(lab, backend):
    source, server = backend(users=["bob@example.com"]), backend()
    g = lab([server.port], conf=callout_conf(source.port))
    assert rcpt(g, "bob@example.com", "nobody@example.com") == [250, 550]
    assert g.stop() == 0
    g.start()
    assert rcpt(g, "bob@example.com", "nobody@example.com") == [250, 550]
    assert asked(source, "bob") == 1 and asked(source, "nobody") == 1


def test_cached_for_a_second(lab, backend):
    source, server = backend(users=[]), backend()
    g = lab([server.port], conf=callout_conf(source.port, 'negative = "1s"'))
    assert rcpt(g, "new@example.com") == [550]
    source.users.append("new@example.com")
    end = time.monotonic() + WAIT_S
    while time.monotonic() < end:
        if rcpt(g, "new@example.com") == [250]:
            return
    raise AssertionError("the negative answer does not end")


def test_an_accept_all_source_is_noticed(lab, backend):
    source, server = backend(), backend(users=["bob@example.com"])
    g = lab([server.port], conf=callout_conf(source.port))
    assert rcpt(g, "bob@example.com") == [250]
    g.wait_line(r"event=recipient .*domain=example.com .*at random")
    # its word is worth nothing: the backend decides
    assert rcpt(g, "nobody@example.com") == [550]
    g = lab([server.port])
    server.users = None
    assert rcpt(g, "bob@example.com") == [250]
    g.wait_line(r"event=recipient .*source=b0 .*at random")


def test_a_source_that_is_away_is_no_verdict(lab, backend):
    server = backend(users=["bob@example.com"])
    g = lab([server.port], conf=callout_conf(free_port()))
    assert rcpt(g, "bob@example.com", "nobody@example.com") == [250, 550]
    g.wait_line(r"event=recipient .*state=away")
    for script in ({"MAIL": b"550 5.7.1 no null sender here\r\n"}, {"RCPT": b"550 5.7.1 relaying denied\r\n"}, {"RCPT": b"2x0 huh\r\n"}):
        source = backend(script)
        g = lab([server.port], conf=callout_conf(source.port))
        assert rcpt(g, "bob@example.com") == [250], script


def test_postmaster_is_never_asked_about(lab, backend):
    source, server = backend(users=[]), backend()
    g = lab([server.port], conf=callout_conf(source.port))
    assert rcpt(g, "Postmaster@example.com", "nobody@example.com") == [250, 550]
    assert asked(source, "Postmaster") == 0


def test_a_file_says_who_is_known(lab, backend, tmp_path):
    path = tmp_path / "recipients"
    path.write_text("# users\nbob@example.com\nCarol@Example.com\n@all.example\n")
    server = backend()
    g = lab([server.port], conf=f'recipients {{ verify = file file = "{path}" }}', domains=("example.com", "all.example"))
    assert rcpt(g, "bob@example.com", "BOB@EXAMPLE.COM", "carol@example.com", "x@all.example", "nobody@example.com",
                "postmaster@example.com") == [250, 250, 250, 250, 550, 250]
