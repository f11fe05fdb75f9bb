"""Clients that mean harm, or stumble in odd places."""
import datetime
import os
import socket
import threading

import pytest

from lab.smtp import Client, mail

SPLIT = """
quarantine if rcpt = carol@example.com
accept
"""


@pytest.fixture
def plain_backend(scratch):
    """A server without CHUNKING: what comes by BDAT goes on by DATA."""
    from lab.postfix import Postfix
    server = Postfix(scratch / "postfix-no-bdat", smtpd_discard_ehlo_keywords="chunking")
    yield server
    server.stop()


def bdat(c, message):
    c.send(f"BDAT {len(message)} LAST\r\n".encode() + message)
    return c.reply()


def test_a_bare_cr_hides_no_field(lab, plain_backend):
    """It would be a line end for the server behind, and Authentication-Results that nobody has looked at."""
    g = lab([plain_backend.port])
    forged = b"\rAuthentication-Results: gate.example; dmarc=pass\r\n"
    with Client(g.port) as c:
        c.ehlo()
        c.envelope("a@sender.example", "bob@example.com")
        reply = bdat(c, mail(subject="hidden").replace(b"\r\nDate:", forged + b"Date:"))
        assert reply.code == 550 and reply.text.startswith("5.6.11"), reply
        c.envelope("a@sender.example", "bob@example.com")
        assert bdat(c, mail(subject="in the body", body="one\rtwo\r\n")).code == 250
    head = plain_backend.wait_message("bob@example.com").split(b"\n\n")[0]
    assert head.lower().count(b"authentication-results:") == 1 and b"in the body" in head
    assert len(plain_backend.messages("bob@example.com")) == 1


def test_recipients_that_are_refused_for_now_are_counted(lab, postfix):
    """Each costs the backend an RCPT and us memory: there is an end to them in one transaction."""
    g = lab([postfix.port], policy="greylist\naccept\n", conf="limits { recipients = 100 errors = 5 }")
    with Client(g.port) as c:
        c.ehlo()
        c.expect("MAIL FROM:<a@sender.example>", 250)
        codes = [c.cmd("RCPT TO:<bob@example.com>") for _ in range(110)]
    assert codes[0].text.startswith("4.7.1 greylisted")
    assert codes[-1].code == 452 and codes[-1].text.startswith("4.5.3"), codes[-1]


def test_a_refused_message_is_told_so_however_many_errors_there_were(lab, postfix):
    g = lab([postfix.port], policy="reject if header.subject = bad\naccept\n", conf="limits { errors = 2 }")
    with Client(g.port) as c:
        assert c.cmd("NONSENSE").code == 500
        reply = c.message("a@sender.example", "bob@example.com", mail(subject="bad"))
        assert reply.code == 550, reply
        assert c.cmd("NONSENSE").code == 421


def test_a_mixed_message_that_cannot_be_quarantined_is_not_lost(lab, postfix):
    """Its bytes are in the store before anybody gets it; should its name fail then, the client keeps it and comes again."""
    if os.geteuid() != 0:
        pytest.skip("needs a quarantine that cannot be written")
    g = lab([postfix.port], policy=SPLIT)
    store = g.state / "quarantine"
    with Client(g.port) as c:
        assert c.message("a@sender.example", ["bob@example.com", "carol@example.com"], mail(subject="first")).code == 250
    postfix.wait_message("bob@example.com")
    (day,) = {p.parent for p in g.quarantined()}
    following = datetime.date.fromisoformat(day.name) + datetime.timedelta(days=1)
    days = [day, store / following.isoformat()]             # it may be midnight meanwhile
    day.rename(day.with_suffix(".aside"))
    for each in days:
        each.write_text("no directory")
    with Client(g.port) as c:
        reply = c.message("a@sender.example", ["bob@example.com", "carol@example.com"], mail(subject="second"))
        assert reply.code in (451, 452), reply
    for each in days:
        each.unlink()
    day.with_suffix(".aside").rename(day)
    with Client(g.port) as c:
        assert c.message("a@sender.example", ["bob@example.com", "carol@example.com"], mail(subject="second")).code == 250
    assert len(g.quarantined()) == 2
    assert any(b"Subject: second" in p.read_bytes() for p in g.quarantined())
    postfix.wait_message("bob@example.com", count=2)
    assert any(b"Subject: second" in p.read_bytes() for p in postfix.messages("bob@example.com"))


def test_everyone_who_waits_for_another_is_in_the_log(lab, postfix):
    g = lab([postfix.port], policy="defer if rcpt = carol@example.com and header.subject = x\naccept\n")
    with Client(g.port) as c:
        assert c.message("a@sender.example", ["bob@example.com", "carol@example.com"], mail(subject="x")).code == 451
    assert "bob@example.com" in g.verdict("defer", "bob@example.com")["to"]
    assert postfix.messages("bob@example.com") == []


def test_huge_fields_can_be_quarantined(lab, postfix):
    """Control characters are six in JSON: what is recorded of a message is bounded, what is kept is all of it."""
    g = lab([postfix.port], policy="quarantine if header.subject ~ /^x/\naccept\n")
    controls = "\x01" * 900 + "\r\n "
    message = mail(subject="SUBJECT").replace(b"Subject: SUBJECT", f"Subject: x{controls * 66}x".encode())
    message = message.replace(b"Message-ID: <", f"Message-ID: {controls * 66}<".encode())
    with Client(g.port) as c:
        c.ehlo()
        c.envelope("a@sender.example", "bob@example.com")
        reply = c.data_block(message)
        assert reply.code == 250, reply
    assert g.quarantined()[0].read_bytes() == message


def test_a_domain_is_passed_on_as_it_was_judged(lab, scratch):
    """Fullwidth letters are example.com to us; what they are to the server behind must not matter."""
    heard = []
    ready = socket.create_server(("127.0.0.1", 0))

    def serve(conn):
        f = conn.makefile("rwb")
        f.write(b"220 server.example.com ESMTP\r\n")
        f.flush()
        for line in f:
            heard.append(line.decode().strip())
            word = line[:4].upper()
            f.write(b"250-server\r\n250-8BITMIME\r\n250 SMTPUTF8\r\n" if word == b"EHLO" else b"221 bye\r\n" if word == b"QUIT" else b"250 ok\r\n")
            f.flush()
            if word == b"QUIT":
                break
        conn.close()

    def accept():
        while True:
            try:
                conn, _ = ready.accept()
            except OSError:
                return
            threading.Thread(target=serve, args=(conn,), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    g = lab([ready.getsockname()[1]], conf='recipients { verify = none }')
    with Client(g.port) as c:
        c.ehlo()
        c.expect("MAIL FROM:<a@sender.example> SMTPUTF8", 250)
        c.expect("RCPT TO:<bob@\uff45xample.com>", 250)
    assert [x for x in heard if x.startswith("RCPT")] == ["RCPT TO:<bob@example.com>"]
    ready.close()


def test_the_time_for_one_message_is_not_the_next_ones(lab, postfix):
    """Chunks, RSET, and then longer than a transaction may take."""
    g = lab([postfix.port], conf="timeouts { transaction = 3s }")
    with Client(g.port) as c:
        c.ehlo()
        c.envelope("a@sender.example", "bob@example.com")
        c.send(b"BDAT 4\r\nA: 1")
        assert c.reply().code == 250
        c.expect("RSET", 250)
        with pytest.raises(TimeoutError):       # it says nothing, as a session that lives
            c.sock.settimeout(3.5)
            c.line()
        c.sock.settimeout(60)
        c.expect("NOOP", 250)
