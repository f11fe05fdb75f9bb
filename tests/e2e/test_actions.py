"""What the policy's actions do to a message that is delivered: header fields, copies, redirects, notes; discard; recipients with different effects."""
import email

import pytest

from lab.backend import Held
from lab.process import WAIT_S
from lab.smtp import Client, mail


def send(g, rcpts, subject="hello", extra=""):
    with Client(g.port) as c:
        return c.message("alice@sender.example", rcpts, mail(subject=subject, extra=extra))


def fields(message, name):
    return email.message_from_bytes(message.data).get_all(name, [])


def refuse(address, reply):
    """A step RCPT that refuses one address."""
    return lambda s, line: reply if f"<{address}>" in line else None


def test_header_fields(lab, backend):
    server = backend()
    g = lab([server.port], policy="""
add header "X-Checked: yes"
remove header "X-Spam-Flag"
tag "[EXTERNAL] "
log "seen by the test"
log "and again"
accept
""")
    assert send(g, ["bob@example.com"], extra="X-Spam-Flag: YES\r\nx-spam-FLAG:\r\n\tno\r\nX-Spam-Flags: stays\r\n").code == 250
    (m,) = server.messages
    assert fields(m, "X-Checked") == ["yes"] and fields(m, "X-Spam-Flag") == [] and fields(m, "X-Spam-Flags") == ["stays"]
    assert fields(m, "Subject") == ["[EXTERNAL] hello"]
    assert m.data.endswith(b"\r\n\r\nA line.\r\n")
    assert g.verdict("accept")["note"] == "seen by the test; and again"


def test_copy(lab, backend):
    server = backend()
    g = lab([server.port], policy='copy to "archive@other.example"\ncopy to "second@other.example" if rcpt = "carol@example.com"\naccept')
    assert send(g, ["bob@example.com", "carol@example.com"]).code == 250
    (m,) = server.messages
    assert m.to == ["bob@example.com", "carol@example.com", "archive@other.example", "second@other.example"]
    assert m.rcpts[2].endswith(" NOTIFY=NEVER")
    line = g.verdict("accept", "carol")
    assert line["to"] == "<carol@example.com>" and line["copy"] == "archive@other.example,second@other.example"


@pytest.mark.parametrize("reply", [b"550 5.1.1 no such archive\r\n", b"451 4.3.0 archive is full\r\n", b"421 4.3.2 closing\r\n"])
def test_a_copy_that_is_refused_holds_up_nobody(lab, backend, reply):
    server = backend({"RCPT": refuse("archive@other.example", reply)})
    g = lab([server.port], policy='copy to "archive@other.example"\ncopy to "second@other.example"\naccept')
    assert send(g, ["bob@example.com"]).code == 250
    (m,) = server.messages
    assert m.to == ["bob@example.com"] + (["second@other.example"] if reply[:3] != b"421" else [])
    g.wait_line("event=copy-failed .*copy=archive@other.example")


def test_a_copy_beyond_what_a_transaction_holds(lab, backend):
    """Two deliveries of two each, to a server that takes two recipients at a time: asked for all at once they are three."""
    server = backend({"RCPT": lambda s, line: b"452 4.5.3 too many recipients\r\n" if len(s.rcpts) == 2 else None})
    g = lab([server.port], policy="""
tag "[A] " if rcpt = "anna@example.com"
copy to "archive@other.example" if rcpt = "anna@example.com"
accept
""")
    assert send(g, ["anna@example.com", "bob@example.com"]).code == 250
    assert [m.to for m in server.messages] == [["anna@example.com", "archive@other.example"], ["bob@example.com"]]


def test_a_backend_that_hangs_up_at_a_copy(lab, backend):
    def step(s, line):
        if "archive" in line:
            s.sock.close()
        return None

    server = backend({"RCPT": step})
    g = lab([server.port], policy='copy to "archive@other.example"\naccept')
    assert send(g, ["bob@example.com"]).code == 250
    (m,) = server.messages
    assert m.to == ["bob@example.com"]
    g.wait_line("event=copy-failed .*copy=archive@other.example")


def test_redirect(lab, backend):
    server = backend()
    g = lab([server.port], policy='redirect to "carol@example.com" if rcpt = "bob@example.com"\naccept')
    assert send(g, ["bob@example.com", "dave@example.com"]).code == 250
    (m,) = server.messages
    assert m.to == ["dave@example.com", "carol@example.com"]
    line = g.verdict("accept", "redirect=")
    assert line["to"] == "<bob@example.com>" and line["redirect"] == "carol@example.com"
    assert "redirect" not in g.verdict("accept", "dave")


def test_a_redirect_that_is_refused(lab, backend):
    server = backend({"RCPT": refuse("gone@example.com", b"550 5.1.1 no such user\r\n")})
    g = lab([server.port], policy='redirect to "gone@example.com" if rcpt = "bob@example.com"\naccept')
    assert send(g, ["bob@example.com", "dave@example.com"]).code == 451
    g.wait_line("event=redirect-refused .*to=bob@example.com redirect=gone@example.com")
    assert server.messages == []


def test_discard(lab, backend):
    server = backend()
    g = lab([server.port], policy='discard spam: if header.subject = "junk" and rcpt != "carol@example.com"\naccept')
    assert send(g, ["bob@example.com"], "junk").code == 250
    line = g.verdict("discard")
    assert line["rule"] == "spam" and line["reply"].startswith("250 ")
    assert send(g, ["bob@example.com", "carol@example.com"], "junk").code == 250
    (m,) = server.messages
    assert m.to == ["carol@example.com"]
    assert g.quarantined() == []
    assert g.verdict("accept")["to"] == "<carol@example.com>"


GROUPS = """
tag "[A] " if rcpt = "a@example.com"
tag "[B] " if rcpt in ("b@example.com", "b2@example.com")
accept
"""


def test_recipients_with_different_effects(lab, backend):
    server = backend()
    g = lab([server.port], policy=GROUPS)
    assert send(g, ["b@example.com", "a@example.com", "c@example.com", "b2@example.com"]).code == 250
    assert [(m.to, fields(m, "Subject")) for m in server.messages] == [
        (["b@example.com", "b2@example.com"], ["[B] hello"]), (["a@example.com"], ["[A] hello"]), (["c@example.com"], ["hello"])]
    assert len({m.session.number for m in server.messages}) == 1


def test_all_groups_are_asked_for_before_anybody_has_it(lab, backend):
    server = backend({"RCPT": refuse("gone@example.com", b"550 5.1.1 no such user\r\n")})
    g = lab([server.port], policy=GROUPS.replace("accept", 'redirect to "gone@example.com" if rcpt = "c@example.com"\naccept'))
    assert send(g, ["a@example.com", "b@example.com", "c@example.com"]).code == 451
    assert server.messages == []


def test_the_first_group_fails(lab, backend):
    server = backend({".": b"554 5.6.0 not that\r\n"})
    g = lab([server.port], policy=GROUPS)
    reply = send(g, ["a@example.com", "b@example.com"])
    assert reply.code == 554 and "not that" in reply.text
    assert len(server.messages) == 1        # offered once, and refused


def test_observe_mode_does_nothing_of_it(lab, backend):
    server = backend()
    g = lab([server.port], conf='mode = "observe"', policy=GROUPS.replace("accept", """
copy to "x@example.com"
redirect to "y@example.com"
add header "X-A: 1"
remove header "X-B"
log "a word"
discard"""))
    assert send(g, ["a@example.com", "b@example.com"], extra="X-B: 1\r\n").code == 250
    (m,) = server.messages
    assert m.to == ["a@example.com", "b@example.com"] and fields(m, "Subject") == ["hello"]
    assert fields(m, "X-A") == [] and fields(m, "X-B") == ["1"]
    line = g.verdict("accept", "would=discard")
    assert line["note"] == "a word" and "redirect" not in line and "copy" not in line


def test_quarantine_waits_for_the_deliveries(lab, backend):
    """Two groups and one whom it is kept from: named in the store once both have it."""
    server = backend()
    held = Held()
    g = lab([server.port], policy=GROUPS.replace("accept", 'quarantine if rcpt = "q@example.com"\naccept'))
    server.script["."] = held
    with Client(g.port) as c:
        c.ehlo()
        c.envelope("alice@sender.example", "a@example.com", "q@example.com", "b@example.com")
        c.expect("DATA", 354)
        c.send(mail() + b".\r\n")
        assert held.reached.wait(WAIT_S)
        assert g.quarantined() == []
        held.go.set()
        assert c.reply().code == 250
    assert len(server.messages) == 2 and len(g.quarantined()) == 1


def test_postfix_as_the_server(lab, postfix):
    g = lab([postfix.port], policy="""
copy to "carol@example.com"
redirect to "postmaster@example.com" if rcpt = "bob@example.com"
add header "X-Way: by bob"
accept
""")
    assert send(g, ["bob@example.com"], "copied and redirected").code == 250
    for address in ("carol@example.com", "postmaster@example.com"):
        m = email.message_from_bytes(postfix.wait_message(address))
        assert m["X-Way"] == "by bob" and m["Subject"] == "copied and redirected"
    assert postfix.messages("bob@example.com") == []


def test_postfix_refuses_the_copy(lab, postfix):
    g = lab([postfix.port], policy='copy to "nobody@example.com"\naccept')
    assert send(g, ["bob@example.com"]).code == 250
    assert postfix.wait_message("bob@example.com")
    g.wait_line("event=copy-failed .*reply=\"550 ")
