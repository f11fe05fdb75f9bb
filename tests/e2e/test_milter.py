"""Milters: what they hear, each verdict at each stage, each change, octet for octet; OpenDKIM; the same session through Postfix."""
import os
import pathlib
import pwd
import re
import time

import dkim
import pytest

from lab.backend import Backend, Held
from lab.gateway import parse_logfmt
from lab.measure import status
from lab.milter import Milter, OpenDKIM, program
from lab.postfix import Postfix
from lab.process import WAIT_S
from lab.recorder import Recorder
from lab.sign import KEY, public_key, signed
from lab.smtp import Client, mail

OURS = "127.0.0.9"
POLICY = """
reject milter: if milter.rcpt = reject or milter.action = reject
defer milter-later: if milter.rcpt = tempfail or milter.action = tempfail
quarantine milter-held: if milter.action in (quarantine, discard)
accept
"""
HEAD = b"From: alice@sender.example\r\nTo: bob@example.com\r\nSubject: hello\r\nX: 1\r\nX:  2\r\n\t folded\r\nX:3\r\n"
BODY = b"A line.\r\n.dot\r\n\xe9 octets\r\n"


@pytest.fixture(scope="module")
def binary(scratch):
    return program(scratch)


@pytest.fixture(scope="module", params=["inet", "unix"])
def shared(request, binary, scratch):
    with Milter(binary, scratch / f"milter-{request.param}", request.param) as m:
        yield m


@pytest.fixture
def milter(shared):
    shared.script()
    return shared


@pytest.fixture(scope="module")
def inet(binary, scratch):
    with Milter(binary, scratch / "milter-one") as m:
        yield m


@pytest.fixture
def one(inet):
    inet.script()
    return inet


@pytest.fixture(scope="module")
def recorder():
    with Recorder() as r:
        yield r


def section(m, name="scripted", options=""):
    return f'milter {name} {{ address = {{ "{m.socket}" }} {options} }}\n'


@pytest.fixture
def gate(lab, recorder):
    def make(*milters, options="", conf="", policy=POLICY, **kw):
        recorder.empty()
        text = "".join(section(m, f"m{i}", options) for i, m in enumerate(milters))
        return lab([recorder.port], conf=f'relay_networks = {{ "{OURS}/32" }}\n{text}{conf}', policy=policy, **kw)
    return make


def send(g, rcpts=("bob@example.com",), message=HEAD + b"\r\n" + BODY, sender="alice@sender.example", source="127.0.0.1"):
    with Client(g.port, source=source) as c:
        reply = c.message(sender, list(rcpts), message)
        c.cmd("QUIT")
        return reply


def addresses(recorder, count=1):
    return [re.search(rb"<(.*)>", r)[1].decode() for r in recorder.wait(count).rcpts]


def test_what_is_heard(gate, milter, recorder):
    g = gate(milter)
    with Client(g.port) as c:
        c.ehlo("client.example")
        c.expect("MAIL FROM:<alice@sender.example> SIZE=500", 250)
        assert not milter.heard()       # nobody is to be taken yet
        c.expect("RCPT TO:<bob@example.com>", 250)
        c.expect("RCPT TO:<nobody@elsewhere.example>", 550)
        c.expect("RCPT TO:<carol@example.com>", 250)
        assert c.data_block(HEAD + b"\r\n" + BODY).code == 250
        c.expect("QUIT", 221)
    heard = milter.heard("close")
    assert [h.what for h in heard] == ["connect", "helo", "mail", "rcpt", "rcpt", "data"] + ["header"] * 6 + ["eoh", "body", "eom", "close"]
    by = {h.what: h for h in heard}
    assert by["connect"].args == ["[127.0.0.1]", "127.0.0.1"] and by["helo"].args == ["client.example"]
    assert by["mail"].args == ["<alice@sender.example>", "SIZE=500"] and heard[3].args == ["<bob@example.com>"] and heard[4].args == ["<carol@example.com>"]
    assert [h.args for h in heard if h.what == "header"][3:] == [["X", "1"], ["X", " 2\n\t folded"], ["X", "3"]]
    assert by["body"].args[0].split()[0] == str(len(BODY))
    assert by["connect"].macros["j"] == "gate.example" and by["connect"].macros["{daemon_name}"] == "smtp" and by["connect"].macros["_"] == "unknown [127.0.0.1]"
    assert by["mail"].macros["{mail_addr}"] == "alice@sender.example" and by["mail"].macros["i"] and heard[4].macros["{rcpt_addr}"] == "carol@example.com"
    taken = recorder.wait()
    assert taken.original == HEAD + b"\r\n" + BODY


# Where, what the filter does there, and what the client hears and when.
VERDICTS = [
    ("connect", ("reject",), "rcpt", 550), ("connect", ("tempfail",), "rcpt", 451), ("connect", ("reply", "554", "5.7.9", "not you"), "rcpt", 554),
    ("helo", ("reject",), "rcpt", 550), ("helo", ("tempfail",), "rcpt", 451),
    ("mail", ("reject",), "rcpt", 550), ("mail", ("tempfail",), "rcpt", 451), ("mail", ("reply", "450", "4.2.0", "later"), "rcpt", 450),
    ("rcpt", ("reject",), "rcpt", 550), ("rcpt", ("tempfail",), "rcpt", 451), ("rcpt", ("reply", "550", "5.1.1", "no such user"), "rcpt", 550),
    ("data", ("reject",), "dot", 550), ("data", ("tempfail",), "dot", 451), ("header", ("reject",), "dot", 550), ("eoh", ("reject",), "dot", 550),
    ("body", ("tempfail",), "dot", 451), ("body", ("reply", "554", "5.6.0", "bad words"), "dot", 554), ("eom", ("reject",), "dot", 550),
    ("eom", ("reply", "552", "5.2.2", "100% full"), "dot", 552), ("eom", ("tempfail",), "dot", 451),
    ("connect", ("accept",), "dot", 250), ("mail", ("accept",), "dot", 250), ("rcpt", ("accept",), "dot", 250), ("header", ("accept",), "dot", 250), ("eom", ("accept",), "dot", 250),
    ("body", ("skip",), "dot", 250),
]


def test_verdicts(gate, one, recorder):
    g = gate(one)
    for moment, what, when, code in VERDICTS:
        # libmilter takes a '%' in a reply only doubled, and sends it so.
        one.script((moment, *(w.replace("%", "%%") for w in what)))
        with Client(g.port) as c:
            c.ehlo()
            c.expect("MAIL FROM:<alice@sender.example>", 250)
            reply = c.cmd("RCPT TO:<bob@example.com>")
            if when == "dot":
                assert reply.code == 250, (moment, what, reply)
                reply = c.data_block(HEAD + b"\r\n" + BODY)
            assert reply.code == code, (moment, what, reply)
            if what[0] == "reply":
                assert reply.text.startswith(f"{what[2]} {what[3]} ("), reply
    assert len(recorder.taken) == sum(code == 250 for *_, code in VERDICTS)


def test_a_recipient_alone(gate, one, recorder):
    """What is said of one recipient is his alone, at RCPT."""
    g = gate(one)
    one.script(("rcpt=carol@example.com", "reply", "550", "5.1.1", "carol has left"), ("rcpt=postmaster@example.com", "tempfail"))
    with Client(g.port) as c:
        c.ehlo()
        replies = c.envelope("alice@sender.example", "bob@example.com", "carol@example.com", "postmaster@example.com", "dave@example.com")
        # Postmaster is spared what is certain before the message (RFC 5321 4.5.1).
        assert [r.code for r in replies] == [250, 550, 250, 250] and replies[1].text.startswith("5.1.1 carol has left")
        assert c.data_block(mail()).code == 250
    line = g.verdict("reject")
    assert line["rule"] == "milter" and line["to"] == "<carol@example.com>" and "milter.name=m0" in line["facts"]
    assert addresses(recorder) == ["bob@example.com", "postmaster@example.com", "dave@example.com"]


# Changes, and what becomes of header and body.
X = b"From: alice@sender.example\r\nTo: bob@example.com\r\nSubject: hello\r\n"
CHANGES = [
    ([("eom", "addheader", "A", "b")], HEAD + b"A: b\r\n", BODY),
    ([("eom", "addheader", "A", "b\n\tc"), ("eom", "addheader", "B", "")], HEAD + b"A: b\r\n\tc\r\nB: \r\n", BODY),
    ([("eom", "insheader", 1, "A", "b")], b"A: b\r\n" + HEAD, BODY),
    ([("eom", "insheader", 2, "A", "b")], HEAD.replace(b"To:", b"A: b\r\nTo:"), BODY),
    ([("eom", "chgheader", 1, "Subject", "new")], HEAD.replace(b"hello", b"new"), BODY),
    ([("eom", "chgheader", 2, "x", "new")], X + b"X: 1\r\nx: new\r\nX:3\r\n", BODY),
    ([("eom", "chgheader", 1, "X", "")], X + b"X:  2\r\n\t folded\r\nX:3\r\n", BODY),
    ([("eom", "chgheader", 3, "X", ""), ("eom", "chgheader", 2, "X", ""), ("eom", "chgheader", 1, "X", "")], X, BODY),
    ([("eom", "chgheader", 5, "X", "4")], HEAD + b"X: 4\r\n", BODY),
    ([("eom", "replacebody", "new\r\nbody\r\n")], HEAD, b"new\r\nbody\r\n"),
    ([("eom", "replacebody", "new\r\n"), ("eom", "replacebody", ".\r\n"), ("eom", "addheader", "A", "b")], HEAD + b"A: b\r\n", b"new\r\n.\r\n"),
    ([("eom", "largebody", 2000)], HEAD, b"".join(bytes([97 + i % 26]) * 998 + b"\r\n" for i in range(2000))),
]


def test_changes(gate, milter, recorder):
    g = gate(milter)
    for i, (script, head, body) in enumerate(CHANGES):
        milter.script(*script)
        assert send(g).code == 250
        assert recorder.wait(i + 1).original == head + b"\r\n" + body, script
    facts, mark = [], 0
    for _ in CHANGES:
        line = g.wait_line("verdict=accept", mark)
        facts.append(parse_logfmt(line)["facts"])
        mark = g.process.lines.index(line, mark) + 1
    assert "milter.changes=m0 adds A" in facts[0] and "m0 inserts A" in facts[2] and "m0 deletes X" in facts[6] and "m0 replaces the body" in facts[9]


def test_a_large_message(gate, one, recorder):
    """From its file: the body is not copied for a header field more."""
    g = gate(one)
    one.script(("eom", "insheader", 1, "A", "b"))
    body = b"0123456789abcdef" * 62 + b"\r\n"
    message = HEAD + b"\r\n" + body * 3000
    assert send(g, message=message).code == 250
    assert recorder.wait().original == b"A: b\r\n" + message
    sizes = [int(h.args[0].split()[0]) for h in one.heard() if h.what == "body"]
    assert sum(sizes) == len(body) * 3000 and max(sizes) <= 65535


def test_envelope_changes(gate, one, recorder):
    g = gate(one)

    def result(*script, rcpts=("bob@example.com", "carol@example.com"), **kw):
        recorder.empty()
        one.script(*script)
        assert send(g, rcpts, **kw).code == 250
        return recorder.wait().mail, addresses(recorder)

    both = ["bob@example.com", "carol@example.com"]
    assert result(("eom", "addrcpt", "<dave@example.com>"))[1] == both + ["dave@example.com"]
    assert result(("eom", "addrcpt", "dave@example.com", "NOTIFY=NEVER"))[1] == both + ["dave@example.com"]
    assert b"RCPT TO:<dave@example.com> NOTIFY=NEVER\r\n" in recorder.wait().rcpts
    assert result(("eom", "delrcpt", "<bob@example.com>"))[1] == ["carol@example.com"]
    assert g.wait_line("event=milter-recipient-deleted .*bob@example.com")
    assert result(("eom", "delrcpt", "<bob@example.com>"), ("eom", "addrcpt", "<eve@example.com>"))[1] == ["carol@example.com", "eve@example.com"]
    assert result(("eom", "addrcpt", "<bob@example.com>"))[1] == both
    sender, rcpts = result(("eom", "chgfrom", "<other@sender.example>"))
    assert b"<other@sender.example>" in sender and rcpts == both
    assert b"<>" in result(("eom", "chgfrom", "<>"))[0]
    # A stranger's mail goes to no other domain, whoever names it.
    assert result(("eom", "addrcpt", "<x@elsewhere.example>"), ("eom", "addrcpt", "<a%elsewhere.example@example.com>"))[1] == both
    assert g.wait_line("event=milter-recipient-refused .*x@elsewhere.example.*relaying denied")
    assert g.wait_line("event=milter-recipient-refused .*a%elsewhere")
    # Nobody left: as if it were to be thrown away.
    recorder.empty()
    one.script(("eom", "delrcpt", "<bob@example.com>"))
    assert send(g).code == 250 and not recorder.taken
    assert "all recipients were deleted" in g.verdict("quarantine")["facts"]


def test_nobody_left(lab, gate, one, recorder):
    """Who is deleted, while all who were to get it instead may not: nothing is thrown away that policy lets through. Copies alone."""
    g = gate(one)
    one.script(("eom", "delrcpt", "<bob@example.com>"), ("eom", "addrcpt", "<x@elsewhere.example>"))
    assert send(g).code == 250 and addresses(recorder) == ["bob@example.com"]
    assert g.wait_line("event=milter-left-nobody")
    # Two are redirected to one address: it is the other's, too.
    g = gate(one, policy='redirect to "box@example.com"\n' + POLICY)
    one.script(("eom", "delrcpt", "<bob@example.com>"))
    assert send(g, rcpts=("bob@example.com", "carol@example.com")).code == 250 and addresses(recorder) == ["box@example.com"]
    one.script(("eom", "delrcpt", "<bob@example.com>"), ("eom", "addrcpt", "<dave@example.com>"))
    recorder.empty()
    assert send(g).code == 250 and addresses(recorder) == ["dave@example.com"]
    # A copy, to another server than theirs, is all that is left of one group; and one who was to have a copy is a recipient.
    g = lab([recorder.port, recorder.port], domains=("example.com", "other.example"), conf=section(one) + 'domain "other.example" { backends = { "b1" } }\n',
            policy='copy to "archive@other.example" if rcpt = "bob@example.com"\ntag "[X] " if rcpt = "bob@example.com"\n' + POLICY)
    for script, count in ((("delrcpt", "<bob@example.com>"),), 2), ((("delrcpt", "<bob@example.com>"), ("addrcpt", "<archive@other.example>")), 1):
        recorder.empty()
        one.script(*(("eom", *line) for line in script))
        reply = send(g, rcpts=("bob@example.com", "carol@example.com")[:count])
        assert reply.code == 250 and "2.0.0" in reply.text, reply
        assert sorted(addresses(recorder, n + 1)[0] for n in range(count)) == ["archive@other.example", "carol@example.com"][:count]
    assert b"NOTIFY=NEVER" not in recorder.wait().rcpts[0]


def test_quarantine_and_discard(gate, one, recorder):
    g = gate(one)
    one.script(("eom", "addheader", "X-Spam", "yes"), ("eom", "quarantine", "looks like spam"))
    assert send(g).code == 250
    line = g.verdict("quarantine")
    assert line["rule"] == "milter-held" and "milter.reason=looks like spam" in line["facts"] and not recorder.taken
    assert g.quarantined()[0].read_bytes() == HEAD + b"X-Spam: yes\r\n\r\n" + BODY
    for moment in ("mail", "rcpt", "header", "eom"):
        one.script((moment, "discard"))
        assert send(g).code == 250
    assert not recorder.taken and len(g.quarantined()) == 5


def test_each_sees_the_changes_before(gate, one, binary, tmp_path, recorder):
    with Milter(binary, tmp_path / "second", "unix") as second:
        g = gate(one, second)
        one.script(("eom", "chgheader", 1, "Subject", "first"), ("eom", "replacebody", "from the first\r\n"))
        second.script(("eom", "insheader", 1, "Second", "was here"))
        assert send(g).code == 250
        heard = second.heard("eom")
        assert ["Subject", "first"] in [h.args for h in heard if h.what == "header"]
        assert next(h for h in heard if h.what == "body").args[0].startswith("16 ")
        assert recorder.wait().original == b"Second: was here\r\n" + HEAD.replace(b"hello", b"first") + b"\r\nfrom the first\r\n"
        # Who refuses ends it.
        one.script(("eom", "reject"))
        second.script()
        assert send(g).code == 550
        assert "data" not in [h.what for h in second.heard("abort")]


def test_several_messages_in_a_session(gate, one, recorder):
    g = gate(one)
    with Client(g.port) as c:
        c.ehlo()
        for i in range(2):
            assert c.envelope("alice@sender.example", "bob@example.com")[0].code == 250
            assert c.data_block(mail(subject=f"number {i}")).code == 250
        c.envelope("alice@sender.example", "bob@example.com")
        c.expect("RSET", 250)
        c.envelope("other@sender.example", "bob@example.com")
        c.expect("QUIT", 221)
    what = [h.what for h in one.heard("close") if h.what != "header"]
    message = ["data", "eoh", "body", "eom"]
    assert what == ["connect", "helo"] + (["mail", "rcpt"] + message) * 2 + ["mail", "rcpt", "abort"] * 2 + ["close"]


def test_negotiated(gate, one, recorder):
    """What a filter does not want to hear, where it does not answer, blanks, other macros, refused recipients."""
    g = gate(one)
    steps = 0x1 | 0x2 | 0x80 | 0x4000 | 0x800 | 0x100000
    one.script(("negotiate", "steps", hex(steps)), ("negotiate", "symbols", 2, "{client_addr}"), ("eom", "addheader", "A", "  b"))
    with Client(g.port) as c:
        c.ehlo()
        replies = c.envelope("alice@sender.example", "bob@example.com", "x@elsewhere.example")
        assert [r.code for r in replies] == [250, 550]
        assert c.data_block(HEAD + b"\r\n" + BODY).code == 250
    heard = one.heard("close")
    assert [h.what for h in heard] == ["mail", "rcpt", "rcpt", "data"] + ["header"] * 6 + ["eoh", "body", "eom", "close"]
    assert "{client_addr}" in heard[0].macros and "{mail_addr}" not in heard[0].macros
    assert heard[2].args == ["<x@elsewhere.example>"] and heard[2].macros["{rcpt_mailer}"] == "error" and heard[2].macros["{rcpt_host}"] == "5.7.1"
    assert [h.args for h in heard if h.what == "header"][3:] == [["X", " 1"], ["X", "  2\n\t folded"], ["X", "3"]]
    assert recorder.wait().original == HEAD + b"A:  b\r\n\r\n" + BODY


@pytest.mark.parametrize("protocol", [2, 3, 4])
def test_old_versions(gate, one, recorder, protocol):
    g = gate(one, options=f"protocol = {protocol}")
    one.script(("eom", "addheader", "A", "b"))
    assert send(g).code == 250
    assert recorder.wait().original == HEAD + b"A: b\r\n\r\n" + BODY
    assert ("data" in [h.what for h in one.heard()]) == (protocol >= 4)


def test_away(gate, binary, tmp_path, recorder):
    m = Milter(binary, tmp_path / "m")
    g = gate(m)
    reply = send(g)
    assert reply.code == 451 and "milter.rcpt" in reply.text
    g = gate(m, options="away = pass")
    assert send(g).code == 250
    assert "milter.away=yes" in g.verdict("accept")["facts"]
    recorder.wait()
    # It dies in the middle of a message: with pass as if it were not there, unless it has begun to change it.
    with m:
        for moment, code in (("mail", 250), ("body", 250)):
            m.script((moment, "die"))
            assert send(g).code == code
            m.stop()
            m.start()
        g = gate(m, options="away = pass")      # the other one leaves it alone for a while now
        m.script(("eom", "addheader", "A", "b"), ("eom", "progress"), ("eom", "die"))
        assert send(g).code == 451
    assert all(b"\r\nA: b" not in t.octets for t in recorder.taken)


def until(g, daemon):
    """Its status says that of the one daemon there is."""
    end = time.monotonic() + WAIT_S
    while (found := status(g)["daemons"]) != [daemon]:
        assert time.monotonic() < end, found


def test_away_is_said_once(gate, binary, tmp_path):
    """When it goes, and when it is back; not with each message."""
    m = Milter(binary, tmp_path / "m")
    g = gate(m, options="away = pass")
    found = dict(daemon="m0", state="unknown", up=0, away=0, addresses_away=0, sessions=0)
    assert status(g)["daemons"] == [found]
    for _ in range(4):
        assert send(g).code == 250
    assert status(g)["daemons"] == [dict(found, state="away", away=1, addresses_away=1)]
    with m:
        end = time.monotonic() + WAIT_S
        while not m.heard():
            assert send(g).code == 250 and time.monotonic() < end
            time.sleep(0.1)
        g.wait_line("event=daemon .*state=up")
        told = status(g)["daemons"][0]
        assert dict(told, sessions=0) == dict(found, state="up", up=1) and told["sessions"] <= 1
        until(g, dict(told, sessions=0))        # the one of before has ended
        with Client(g.port) as c:
            c.ehlo()
            c.envelope("alice@sender.example", "bob@example.com")
            assert status(g)["daemons"][0]["sessions"] == 1
        g.kill_child("gp-worker 1")
        until(g, found)
    said = [line for line in g.process.output().splitlines() if "event=milter-failed" in line or "event=daemon " in line]
    assert len(said) == 2 and "name=m0" in said[0] and "state=away" in said[0] and "state=up" in said[1], said


def test_time(gate, one, recorder):
    """Each sign of life begins its time anew; without one it is over, long before the milter is."""
    g = gate(one, options="content_timeout = 3s")
    one.script(*[("eom", "wait", 700), ("eom", "progress")] * 5)
    assert send(g).code == 250
    g = gate(one, options="command_timeout = 700ms content_timeout = 700ms")
    for moment in ("mail", "rcpt", "eom"):
        one.script((moment, "wait", 600000))
        assert send(g).code == 451
    assert not recorder.taken


def test_one_time_for_the_answer(lab, binary, tmp_path):
    """
    A milter that never answers, then a server that never answers: both have what one message has, and the client hears of it within that. A quarter of it, in
    which the server gets the message, is long enough for a machine that has much else to do.
    """
    held = Held()
    with Backend({".": held}) as server, Milter(binary, tmp_path / "m") as m:
        g = lab([server.port], policy="accept\n", conf=section(m, options="away = pass content_timeout = 2m") + 'timeouts { backend_dot_budget = 12s }')
        m.script(("eom", "wait", 100000))
        before = time.monotonic()
        assert send(g).code == 451
        assert time.monotonic() - before < 60   # 2 minutes if each had its own
        held.go.set()
        g.verdict("perhaps-delivered")
        assert "event=milter-failed" in g.process.output()


def test_directions(gate, one, recorder):
    g = gate(one, options="directions = { outbound }")
    one.script(("connect", "reject"))
    assert send(g).code == 250
    assert not one.heard()


def test_observe(gate, one, recorder):
    g = gate(one, conf="mode = observe\n")
    one.script(("eom", "addheader", "A", "b"), ("eom", "reject"))
    assert send(g).code == 250
    assert recorder.wait().original == HEAD + b"\r\n" + BODY
    assert g.verdict("accept")["would"] == "reject"


# ---- OpenDKIM ----

def test_opendkim_signs(lab, scratch, recorder):
    key = scratch / "opendkim-key.pem"
    key.write_bytes(KEY.read_bytes())
    os.chown(key, pwd.getpwnam("opendkim").pw_uid, -1)
    key.chmod(0o600)
    recorder.empty()
    for where in ("inet", "local"):
        with OpenDKIM(scratch / f"opendkim-{where}", "s", f"RequireSafeKeys no\nDomain example.com\nSelector sel\nKeyFile {key}\nInternalHosts 127.0.0.0/8", where) as d:
            g = lab([recorder.port], conf=f'relay_networks = {{ "{OURS}/32" }}\nmilter dkim {{ address = {{ "{d.socket}" }} directions = {{ inbound }} }}', policy="accept\n")
            recorder.empty()
            assert send(g, sender="alice@example.com", message=mail(sender="alice@example.com", body="A line.\r\n" * 3000), source=OURS).code == 250
            octets = recorder.wait().octets
            assert octets.count(b"DKIM-Signature:") == 1
            assert dkim.verify(octets, dnsfunc=lambda name, timeout=5: f"v=DKIM1; k=rsa; p={public_key()}".encode())
            assert "dkim inserts DKIM-Signature" in g.verdict("accept")["facts"]


def test_opendkim_verifies(lab, dns, scratch, recorder):
    """Its Authentication-Results stay, and those that came in our name go."""
    (scratch / "dns-data").write_text(f"sel._domainkey.good.example v=DKIM1; k=rsa; p={public_key()}\n")
    with OpenDKIM(scratch / "opendkim-verify", "v", f"AuthservID gate.example\nTestDNSData {scratch}/dns-data") as d:
        g = lab([recorder.port], conf=f'milter dkim {{ address = {{ "{d.socket}" }} }}', policy="accept\n")
        recorder.empty()
        message = signed(mail(sender="alice@good.example"))
        forged = b"Authentication-Results: gate.example; dkim=pass header.d=forged.example\r\n"
        assert send(g, sender="alice@good.example", message=forged + message).code == 250
        original = recorder.wait().original
        assert b"forged" not in original and original.endswith(message)
        assert re.match(rb"Authentication-Results: gate\.example;\r\n\tdkim=pass", original), original[:300]


# ---- the same through Postfix ----

SESSIONS = [
    ("plain", (), HEAD + b"\r\n" + BODY),
    ("leading blanks", (("negotiate", "steps", "0x100000"),), HEAD + b"\r\n" + BODY),
    ("changes", (("eom", "addheader", "A", "b\n\tc"), ("eom", "insheader", 1, "B", "c"), ("eom", "chgheader", 2, "X", "new"), ("eom", "chgheader", 1, "X", "")),
     HEAD + b"\r\n" + BODY),
    ("deletions", (("eom", "chgheader", 1, "X", ""), ("eom", "chgheader", 1, "X", "")), HEAD + b"\r\n" + BODY),
    ("body", (("eom", "replacebody", "new\r\n.\r\nbody\r\n"), ("eom", "addheader", "A", "b")), HEAD + b"\r\n" + BODY),
    ("no header", (), b"\r\nbody alone\r\n"),
    ("no body", (), HEAD),
]


@pytest.fixture(scope="module")
def filtering(scratch, inet, recorder):
    """A Postfix that asks the same milter, and passes mail on to the recorder."""
    server = Postfix(scratch / "postfix-milter", virtual_mailbox_domains="", smtpd_milters=f"inet:127.0.0.1:{inet.port}", relay_domains="example.com", milter_default_action="tempfail",
                     relayhost="", transport_maps=f"inline:{{ {{ example.com = smtp:[127.0.0.1]:{recorder.port} }} }}", smtp_tls_security_level="none",
                     always_add_missing_headers="no", local_header_rewrite_clients="", smtpd_milter_maps="", services="relay unix - - n - - smtp\n")
    server.wait_log("disconnect from")          # who looked whether it listens: its smtpd asks the milter, too
    yield server
    server.stop()


def heard_in(m, port):
    with Client(port) as c:
        c.ehlo()
        c.expect("MAIL FROM:<alice@sender.example> SIZE=300", 250)
        c.expect("RCPT TO:<bob@example.com>", 250)
        c.expect("RCPT TO:<carol@example.com>", 250)
        yield c
        c.expect("QUIT", 221)
    yield m.heard("close")


def test_as_postfix_does(gate, one, filtering, recorder):
    """The same callbacks with the same arguments in the same order, the same macros, and the same message in the end."""
    g = gate(one)
    for name, script, message in SESSIONS:
        both = []
        for port in (filtering.port, g.port):
            recorder.empty()
            one.script(*script)
            steps = heard_in(one, port)
            assert next(steps).data_block(message).code == 250
            heard = next(steps)
            octets = recorder.wait().octets
            both.append((heard, octets))
        (theirs, their_octets), (ours, our_octets) = both
        assert [h.what for h in theirs] == [h.what for h in ours], name
        for a, b in zip(theirs, ours):
            if a.what == "connect":     # Postfix says "unknown" for no name, Sendmail and we the address in brackets
                assert a.args[1:] == b.args[1:]
            else:
                assert a.args == b.args, (name, a, b)
            own = {"j", "v", "i", "{daemon_name}", "{daemon_addr}", "{mail_host}", "{mail_mailer}", "{rcpt_host}", "{rcpt_mailer}"}
            assert {k: v for k, v in a.macros.items() if k not in own} == {k: v for k, v in b.macros.items() if k not in own}, (name, a)
            # Postfix gives a message its name with the first recipient, Sendmail and we with the sender.
            assert set(a.macros) ^ set(b.macros) <= ({"i"} if a.what in ("mail", "rcpt") else set()), (name, a, set(a.macros) ^ set(b.macros))
        assert cut(their_octets) == cut(our_octets), name


def cut(octets):
    """Without the lines that the two servers have added themselves."""
    head, _, body = octets.partition(b"\r\n\r\n")
    fields = re.split(rb"\r\n(?![ \t])", head)
    return [f for f in fields if not re.match(rb"(Received|Authentication-Results|Return-Path|Message-Id|Date):", f, re.I)], body


def test_what_is_shipped_makes_no_relay_bounce(gate, one):
    """By conf/policy.conf: what a milter rejects of a trusted relay's mail is kept; a stranger's is refused."""
    shipped = (pathlib.Path(__file__).resolve().parents[2] / "conf/policy.conf").read_text()
    g = gate(one, conf='trusted_relays = { "127.0.0.50" }\n', policy=shipped)
    field = b"Received: from mail.good.example (unknown [127.0.0.25])\r\n\tby relay.example.com (Postfix) with ESMTP id 1; x\r\n"
    message = HEAD.replace(b"sender.example", b"good.example") + b"\r\n" + BODY
    for moment, rule in (("eom", "milter-relayed"), ("rcpt", "milter-rcpt-relayed")):
        one.script((moment, "reject"))
        assert send(g, message=field + message, sender="alice@good.example", source="127.0.0.50").code == 250
        assert g.verdict("quarantine", f"rule={rule} ")["relay"] == "127.0.0.50"
        assert send(g, message=message, sender="alice@good.example", source="127.0.0.25").code == 550
    longest = re.search(r"quarantine relayed: (.*?)   \(", g.explain(message))[1]
    assert len(longest) > 500 and "..." not in longest, "it is shown whole"
