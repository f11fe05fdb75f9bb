"""What cannot be delivered while the client waits: kept, delivered later and in order, and what the sender hears of it."""
import collections
import email
import email.policy
import quopri
import random
import re
import signal
import socket
import threading
import time

import dkim
import pytest

from lab.backend import hang_up
from lab.load import Load, kill
from lab.process import WAIT_S
from lab.sign import KEY, public_key
from lab.smtp import Client, Closed, mail

ZONE = """
one.example MX 10 mx.one.example
mx.one.example A 127.0.0.11
two.example MX 10 mx.two.example
mx.two.example A 127.0.0.12
credible.example MX 10 mx.credible.example
mx.credible.example A 127.0.0.13
credible.example TXT "v=spf1 ip4:127.0.0.31 -all"
"""
STRANGER, CREDIBLE = "127.0.0.9", "127.0.0.31"


@pytest.fixture
def gate(lab, world, backend):
    """A gateway whose clients on 127.0.0.1 may relay; g.server is the server behind it."""
    def make(spool='retry_min = "300ms" retry_max = "300ms"', conf="", outbound="", backends=None, **kw):
        server = None if backends else backend()
        conf = (f'relay_networks = {{ "127.0.0.1" }} outbound {{ port = {world.port25} never = {{ none }} bench = "0s" {outbound} }}'
                f' spool {{ {spool} }} {conf}')
        g = lab(backends or [server.port], dns=world.server, conf=conf, **{"policy": "accept\n", **kw})
        g.server = server
        return g

    return make


def send(g, to, sender="user@example.com", source="127.0.0.1", mail_params="", rcpt_params="", **kw):
    """The reply to a message; to: an address, or several."""
    with Client(g.port, source=source) as c:
        c.ehlo()
        c.expect(f"MAIL FROM:<{sender}>{mail_params}", 250)
        for one in [to] if isinstance(to, str) else to:
            c.expect(f"RCPT TO:<{one}>{rcpt_params}", 250)
        return c.data_block(mail(sender, "x@one.example", **kw))


def spooled(g):
    """Ids of what is in the spool."""
    return sorted(p.stem for p in (g.state / "spool").glob("*.json"))


def wait_empty(g):
    end = time.monotonic() + WAIT_S
    while spooled(g):
        assert time.monotonic() < end, f"still in the spool: {spooled(g)}"
        time.sleep(0.02)


class Dsn:
    """A notification as Python's email package reads it."""

    def __init__(self, message):
        self.mail, self.rcpts = message.mail, message.rcpts
        self.whole = email.message_from_bytes(message.data, policy=email.policy.SMTP)
        assert self.whole.get_content_type() == "multipart/report" and not self.whole.defects
        self.words, self.status, *self.original = self.whole.get_payload()
        self.message, *self.recipients = self.status.get_payload()

    def of(self, address):
        return next(r for r in self.recipients if r["Final-Recipient"] == f"rfc822; {address}")


def dsn(server, count=1):
    return Dsn(server.wait_messages(count)[count - 1])


def test_two_next_hops(gate, host):
    one, two, g = host(11), host(12), gate()
    reply = send(g, ["x@one.example", "y@two.example", "bob@example.com"], subject="to three")
    assert reply.code == 250
    id_ = re.search(r"kept for delivery as (\S+)", reply.text)[1]
    for server, to in ((one, "x@one.example"), (two, "y@two.example"), (g.server, "bob@example.com")):
        message = server.wait_messages(1)[0]
        assert message.to == [to] and b"Subject: to three" in message.data
        assert message.data.count(b"by gate.example (Gatepost)") == 1
        assert f"spool={id_}" in g.wait_line(rf"event=spool result=delivered .*<{to}>")
    assert one.messages[0].data == two.messages[0].data
    assert g.verdict("spool")["reply"].startswith("250")
    wait_empty(g)


def test_large(gate, host):
    """One that outgrew the memory, with lines that begin with dots."""
    one, two, g = host(11), host(12), gate()
    body = "".join(f".{i} {'x' * 60}\r\n" for i in range(50_000))
    assert send(g, ["x@one.example", "y@two.example"], body=body).code == 250
    for server in (one, two):
        assert server.wait_messages(1)[0].data.endswith(b"\r\n\r\n" + body.encode())
    wait_empty(g)


def test_more_recipients_than_are_kept_at_once(gate):
    """The rest is for another transaction: the message is not put off for ever."""
    g = gate(conf="limits { recipients = 3000 }", spool='retry_min = "1h" retry_max = "1h"')
    with Client(g.port) as c:
        c.ehlo()
        c.expect("MAIL FROM:<user@example.com>", 250)
        for at in range(0, 2010, 67):
            c.send("".join(f"RCPT TO:<u{n}@one.example>\r\n" for n in range(at, at + 67)).encode())
            assert [c.reply().code for _ in range(67)] == [250 if n < 2000 else 452 for n in range(at, at + 67)]
        assert "kept for delivery" in c.data_block(mail("user@example.com", "x@one.example")).text
    assert len(spooled(g)) == 1


def test_one_refuses(gate, host):
    """Our own user hears of it by the server behind, in words and in a form that programs read."""
    one, g = host(11), gate()
    host(12, users=[])
    spool_id = re.search(r"as (\S+)", send(g, ["x@one.example", "y@two.example"], subject="for both").text)[1]
    one.wait_messages(1)
    d = dsn(g.server)
    assert d.mail.startswith("MAIL FROM:<>") and d.rcpts[0].startswith("RCPT TO:<user@example.com> NOTIFY=NEVER")
    assert d.whole["To"] == "user@example.com" and d.whole["Auto-Submitted"] == "auto-replied"
    words = " ".join(d.words.get_content().split())
    assert "<y@two.example>" in words and "no such user here" in words and "Check the address, and send your message again." in words
    assert spool_id in words
    assert len(d.recipients) == 1
    r = d.of("y@two.example")
    assert r["Action"] == "failed" and r["Status"] == "5.1.1" and "550 5.1.1 no such user here" in r["Diagnostic-Code"]
    assert r["Remote-MTA"] == "dns; mx.two.example"
    assert d.original[0].get_content_type() == "text/rfc822-headers" and "for both" in d.original[0].get_content()
    wait_empty(g)


def test_parameters_from_end_to_end(gate, host):
    """Passed on to who offers DSN; honoured where he does not, and by ourselves."""
    one, g = host(11), gate()
    two = host(12, keywords=["SIZE 50000000", "8BITMIME"])
    reply = send(g, ["x@one.example", "y@two.example"], mail_params=" RET=FULL ENVID=QQ+2B314",
                 rcpt_params=" NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;some+40where.example")
    assert reply.code == 250
    message = one.wait_messages(1)[0]
    assert "RET=FULL" in message.mail and "ENVID=QQ+2B314" in message.mail
    assert message.rcpts == ["RCPT TO:<x@one.example> NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;some+40where.example"]
    assert two.wait_messages(1)[0].rcpts == ["RCPT TO:<y@two.example>"]
    d = dsn(g.server)
    assert d.message["Original-Envelope-Id"] == "QQ+314" and len(d.recipients) == 1
    r = d.of("y@two.example")
    assert r["Action"] == "relayed" and r["Status"].startswith("2.") and r["Original-Recipient"] == "rfc822; some@where.example"
    wait_empty(g)
    two.users = []
    assert send(g, ["x@one.example", "y@two.example"], mail_params=" RET=FULL", body="all of it\r\n").code == 250
    d = dsn(g.server, 2)
    assert d.original[0].get_content_type() == "message/rfc822" and "all of it" in d.original[0].get_payload(0).get_content()
    wait_empty(g)
    mark = g.mark()
    assert send(g, ["x@one.example", "y@two.example"], rcpt_params=" NOTIFY=NEVER").code == 250
    g.wait_line(r"event=spool result=failed .*<y@two.example>", mark)
    wait_empty(g)
    assert len(g.server.messages) == 2


def test_success_in_session(gate, host):
    """Handed to a server that sends no notifications: that is what the sender hears."""
    host(11, keywords=["SIZE 50000000"])
    host(12)
    g = gate()
    reply = send(g, "x@one.example", mail_params=" ENVID=q1", rcpt_params=" NOTIFY=SUCCESS ORCPT=rfc822;who+40x.example")
    assert reply.code == 250 and "kept for delivery" not in reply.text
    d = dsn(g.server)
    r = d.of("x@one.example")
    assert d.message["Original-Envelope-Id"] == "q1" and r["Action"] == "relayed" and r["Original-Recipient"] == "rfc822; who@x.example"
    assert send(g, "x@one.example", rcpt_params=" NOTIFY=FAILURE").code == 250
    assert send(g, "y@two.example", rcpt_params=" NOTIFY=SUCCESS").code == 250
    assert send(g, "x@one.example", sender="", rcpt_params=" NOTIFY=SUCCESS").code == 250
    assert send(g, "x@one.example", mail_params=" ENVID=q2", rcpt_params=" NOTIFY=SUCCESS").code == 250
    assert dsn(g.server, 2).message["Original-Envelope-Id"] == "q2"
    wait_empty(g)
    assert len(g.server.messages) == 2


def test_internationalized(gate, host):
    """RFC 6533: by SMTPUTF8 to who writes with it."""
    host(11)
    host(12, users=[])
    g = gate()
    assert send(g, ["x@one.example", "j\u00fcrg@two.example"], sender="\u00e4nn@example.com", mail_params=" SMTPUTF8 RET=FULL").code == 250
    message = g.server.wait_messages(1)[0]
    assert "SMTPUTF8" in message.mail and message.to == ["\u00e4nn@example.com"]
    whole = email.message_from_bytes(message.data, policy=email.policy.SMTPUTF8)
    assert whole["Content-Type"].params["report-type"] == "global-delivery-status"
    parts = message.data.split(b"--" + whole.get_boundary().encode())
    assert len(parts) == 5 and b"Content-Type: message/global\r\n" in parts[3]
    assert "<j\u00fcrg@two.example>" in whole.get_payload()[0].get_content()
    status = quopri.decodestring(parts[2].partition(b"\r\n\r\n")[2]).decode()
    assert "Final-Recipient: utf-8; j\u00fcrg@two.example\r\nAction: failed\r\nStatus: 5.1.1\r\n" in status
    wait_empty(g)


def test_signed(gate, host):
    """What leaves the spool has its signature still; a notification is signed, too."""
    def verify(message):
        return dkim.verify(message.data, dnsfunc=lambda name, timeout=5: f"v=DKIM1; k=rsa; p={public_key()}".encode())

    one = host(11)
    host(12, users=[])
    g = gate(conf=f'dkim_sign example.com {{ keys = {{ "sel={KEY}" }} }}')
    assert send(g, ["x@one.example", "y@two.example"]).code == 250
    assert verify(one.wait_messages(1)[0])
    message = g.server.wait_messages(1)[0]
    assert message.data.startswith(b"DKIM-Signature:") and verify(message)
    assert dsn(g.server).of("y@two.example")["Action"] == "failed"
    wait_empty(g)


def test_a_next_hop_that_is_down(gate, host):
    """Kept, and delivered in order when it is back."""
    g = gate('retry_min = "300ms" retry_max = "300ms" deliveries = 1')
    for i in range(6):
        assert "kept for delivery" in send(g, "x@one.example", subject=f"number {i}").text
    assert len(spooled(g)) == 6
    g.wait_line(r"event=spool result=later .*route=\"mx one.example\"")
    one = host(11)
    assert [re.search(rb"Subject: number (\d)", m.data)[1] for m in one.wait_messages(6)] == [b"%d" % i for i in range(6)]
    wait_empty(g)


def test_a_next_hop_that_is_slow(gate, host):
    """It has its time, then the recipient is taken and the message goes to the spool."""
    go = threading.Event()
    one = host(11, script={"RCPT": lambda *_: None if go.wait(10 * WAIT_S) else hang_up()()})
    g = gate(outbound='wait = "1s"')
    assert "kept for delivery" in send(g, "x@one.example").text         # it has said nothing yet
    go.set()
    one.wait_messages(1)
    wait_empty(g)


def test_a_next_hop_that_goes_away(gate, host):
    """It took the recipient, and nothing of the message."""
    one, g = host(11), gate()
    with Client(g.port) as c:
        c.ehlo()
        c.expect("MAIL FROM:<user@example.com>", 250)
        c.expect("RCPT TO:<x@one.example>", 250)
        one.stop()
        assert "kept for delivery" in c.data_block(mail()).text
    one.listen()
    one.wait_messages(1)
    wait_empty(g)


def test_a_next_hop_that_went_away_after_the_end(gate, host):
    """It may have the message: the client hears 451, and comes again."""
    host(11, script={".": hang_up()})
    g = gate()
    assert send(g, "x@one.example").code == 451
    assert not spooled(g)


def test_a_next_hop_that_drops_the_line(gate, host):
    """From the spool: it is delivered again, as nobody knows whether it was."""
    def once(*_):
        one.script.clear()
        hang_up()()

    one, g = host(11, script={".": once}), gate()
    host(12)
    assert send(g, ["x@one.example", "y@two.example"]).code == 250
    assert "after the end of the message" in g.wait_line(r"event=spool result=later .*<x@one.example>")
    assert len(one.wait_messages(2)) == 2
    g.wait_line(r"event=spool result=delivered .*<x@one.example>")
    wait_empty(g)


def test_a_retry_is_not_kept_twice(gate, host):
    """RFC 1047: who has not heard that it is kept sends it again; each of the next hops gets it once."""
    one, two, g = host(11), host(12), gate()
    to = ["x@one.example", "y@two.example"]
    with Client(g.port) as c:
        c.ehlo()
        c.envelope("user@example.com", *to)
        c.expect("DATA", 354)
        c.send(mail("user@example.com", "x@one.example") + b".\r\n")
        assert c.sock.recv(1, socket.MSG_PEEK)          # unread when the socket is closed: that is a reset
    g.wait_line('event=ledger .*what="the client did not hear')
    assert send(g, to).code == 250
    g.verdict("accept", "ledger=retry")
    assert "kept for delivery" in send(g, to).text        # on purpose
    for server in (one, two):
        server.wait_messages(2)
    wait_empty(g)
    assert len(one.messages) == len(two.messages) == 2


def test_a_word_of_the_next_hop_is_passed_on(gate, host):
    """It says 4xx or 5xx to our client's face: nothing for the spool."""
    host(11, script={"RCPT": b"450 4.2.0 greylisted\r\n"})
    g = gate()
    with Client(g.port) as c:
        c.ehlo()
        c.expect("MAIL FROM:<user@example.com>", 250)
        assert "greylisted" in c.expect("RCPT TO:<x@one.example>", 450).text
        assert c.cmd("RCPT TO:<y@two.example>").code == 250     # nobody there: the spool
    assert not spooled(g)


def test_full(gate):
    """452: the sender keeps it."""
    g = gate('retry_min = "1h" retry_max = "1h" max_messages = 1')
    assert send(g, "x@one.example").code == 250
    reply = send(g, "x@one.example")
    assert reply.code == 452 and "4.3.1" in reply.text
    assert len(spooled(g)) == 1


def test_shown_in_the_history(gate, host):
    host(11)
    host(12, users=[])
    g = gate()
    reply = send(g, ["x@one.example", "y@two.example"])
    assert reply.code == 250
    wait_empty(g)
    end = time.monotonic() + WAIT_S
    while not all(word in (shown := g.command("history", "-c", str(g.conf_path), check=False).stdout.decode()) for word in ("spool-failed", "spool-delivered")):
        assert time.monotonic() < end, shown
        time.sleep(0.05)
    found = g.command("history", "-c", str(g.conf_path), "--verdict", "spool-failed").stdout.decode()
    assert "y@two.example" in found and "x@one.example" not in found
    code = re.search(r"\((\S+)\)", reply.text)[1]
    explained = g.command("explain", "-c", str(g.conf_path), code).stdout.decode()
    assert "spool-failed" in explained and "no such user here" in explained and "accept" in explained, explained
    replayed = g.command("replay", "-c", str(g.conf_path)).stdout.decode()
    assert re.search(r"^ *2  verdicts on recipients", replayed, re.M) and "without the policy's verdict" not in replayed, replayed


def test_no_stranger_is_spooled_for(gate):
    g = gate()
    with Client(g.port, source=STRANGER) as c:
        c.ehlo()
        c.expect("MAIL FROM:<a@sender.example>", 250)
        c.expect("RCPT TO:<x@one.example>", 550)
    g.server.stop()
    with Client(g.port, source=STRANGER) as c:
        c.ehlo()
        c.expect("MAIL FROM:<a@sender.example>", 250)
        c.expect("RCPT TO:<bob@example.com>", 451)


def test_no_bounce_of_a_bounce(gate, host):
    """Neither of what came with a null return path, nor of a notification of our own."""
    g = gate()
    g.server.users = []
    mark = g.mark()
    assert send(g, ["x@one.example", "y@two.example"], sender="").code == 250
    assert send(g, ["x@one.example", "y@two.example"]).code == 250
    host(11, users=[])
    host(12, users=[])
    for name in ("x@one.example", "y@two.example"):
        g.wait_line(rf"event=spool result=failed .*from=<> to=<{name}>", mark)
    g.wait_line(r"event=spool result=failed .*<user@example.com>", mark)
    wait_empty(g)
    assert not g.server.messages and not g.quarantined()


def test_the_end_of_its_life(gate, host):
    """The sender hears what was said last."""
    host(11, script={"RCPT": b"450 4.2.0 come back later\r\n"})
    g = gate('retry_min = "500ms" retry_max = "500ms" life = "2s"')
    assert send(g, ["y@two.example", "x@one.example"]).code == 250
    found = {}
    for i in (1, 2):
        d = dsn(g.server, i)
        found.update({r["Final-Recipient"].partition("; ")[2]: r for r in d.recipients})
        assert "Send it again later" in " ".join(d.words.get_content().split())
    assert found["x@one.example"]["Status"] == "4.4.7" and "450 4.2.0 come back later" in found["x@one.example"]["Diagnostic-Code"]
    assert found["y@two.example"]["Status"] == "4.4.7" and found["y@two.example"]["Action"] == "failed"
    # who was not there has said nothing
    assert "Remote-MTA" in found["x@one.example"] and found["x@one.example"]["Diagnostic-Code"].startswith("smtp;")
    assert "Remote-MTA" not in found["y@two.example"] and found["y@two.example"]["Diagnostic-Code"].startswith("x-gatepost;")
    wait_empty(g)


def test_told_of_a_delay(gate, host):
    """Once; and delivered all the same."""
    g = gate('retry_min = "300ms" retry_max = "300ms" delay_notice = "1s"')
    assert send(g, ["x@one.example"]).code == 250
    d = dsn(g.server)
    r = d.of("x@one.example")
    assert r["Action"] == "delayed" and r["Status"].startswith("4.") and r["Will-Retry-Until"]
    assert "need not send it again" in " ".join(d.words.get_content().split())
    g.wait_line(r"event=spool result=later .*<x@one.example>", g.mark())
    host(11).wait_messages(1)
    wait_empty(g)
    assert len(g.server.messages) == 1


def inbound(gate, lab, **kw):
    """A gateway that spools for its server, which is away."""
    g = gate(backend_options="spool = yes", conf='recipients { verify = none }', **kw)
    g.wait_line(r"name=b0 .*state=up")          # cut in the midst of a first look, it is not away yet
    g.server.stop()
    return g


def test_inbound(gate, lab, host):
    g = inbound(gate, lab)
    for i in range(5):
        assert "kept for delivery" in send(g, "bob@example.com", "a@sender.example", STRANGER, subject=f"number {i}").text
    assert len(spooled(g)) == 5
    g.server.listen()
    got = [re.search(rb"Subject: number (\d)", m.data)[1] for m in g.server.wait_messages(5)]
    assert got == [b"%d" % i for i in range(5)]
    wait_empty(g)


@pytest.mark.parametrize("verify, known, unknown", [("file", 250, 550), ("backend", 451, 451)])
def test_inbound_for_known_users(gate, tmp_path, verify, known, unknown):
    (tmp_path / "users").write_text("bob@example.com\n")
    g = gate(backend_options="spool = yes", conf=f'recipients {{ verify = {verify} file = "{tmp_path}/users" }}')
    g.wait_line(r"name=b0 .*state=up")
    g.server.stop()
    with Client(g.port, source=STRANGER) as c:
        c.ehlo()
        c.expect("MAIL FROM:<a@sender.example>", 250)
        c.expect("RCPT TO:<eve@example.com>", unknown)
        c.expect("RCPT TO:<bob@example.com>", known)
        if known == 250:
            c.expect("RCPT TO:<eve@example.com>", unknown)
            assert "kept for delivery" in c.data_block(mail()).text


def test_inbound_in_the_clients_name(gate, backend):
    """A server that is told who the client is, is told so later, too."""
    server = backend(keywords=["XCLIENT ADDR HELO"], script={"XCLIENT": b"220 backend.example ESMTP\r\n"})
    g = gate(backends=[server.port], backend_options="xclient = yes spool = yes", conf="recipients { verify = none }")
    g.wait_line(r"name=b0 .*state=up")          # cut in the midst of a first look, it is not away yet
    server.stop()
    assert "kept for delivery" in send(g, "bob@example.com", "a@sender.example", STRANGER).text
    server.listen()
    assert "XCLIENT ADDR=127.0.0.9 HELO=client.example" in server.wait_messages(1)[0].session.commands
    wait_empty(g)


def test_inbound_gone_between_rcpt_and_data(gate):
    g = gate(backend_options="spool = yes")
    with Client(g.port, source=STRANGER) as c:
        c.ehlo()
        c.expect("MAIL FROM:<a@sender.example>", 250)
        c.expect("RCPT TO:<bob@example.com>", 250)
        g.server.stop()
        assert "kept for delivery" in c.data_block(mail()).text
    g.server.listen()
    g.server.wait_messages(1)
    wait_empty(g)


def test_inbound_for_postfix(gate, postfix):
    g = gate(backends=[postfix.port], backend_options="spool = yes", conf="recipients { verify = none }")
    since = len(postfix.log(1 << 30))
    assert "kept for delivery" not in send(g, "bob@example.com", "a@sender.example", STRANGER, subject="number 0").text
    postfix.pause()
    for i in range(1, 4):
        assert "kept for delivery" in send(g, "bob@example.com", "a@sender.example", STRANGER, subject=f"number {i}").text
    postfix.resume()
    postfix.wait_message("bob@example.com", 4)
    # as they came to it: its own deliveries to the mailbox go side by side, and so do those who write its log
    for i in range(4):
        postfix.wait_log(rf"message-id=<number\.{i}@sender\.example>", since)
    assert re.findall(r"message-id=<number\.(\d)@sender\.example>", postfix.log(1 << 30)[since:]) == ["0", "1", "2", "3"]
    wait_empty(g)


def test_inbound_refused_later(gate, lab, host):
    """Only a credible return path is told; what has none is kept for a person to look at."""
    g = inbound(gate, lab)
    world = host(13)
    assert send(g, "nobody@example.com", "a@credible.example", CREDIBLE).code == 250
    assert send(g, "nobody@example.com", "a@credible.example", STRANGER).code == 250
    assert send(g, "nobody@example.com", "", CREDIBLE).code == 250
    g.server.users = []
    g.server.listen()
    d = dsn(world)
    assert d.of("nobody@example.com")["Action"] == "failed" and d.rcpts[0].startswith("RCPT TO:<a@credible.example>")
    wait_empty(g)
    assert len(g.quarantined()) == 2 and len(world.messages) == 1
    shown = g.command("quarantine", "show", "-c", str(g.conf_path), g.quarantined()[0].stem).stdout.decode()
    assert "no such user here" in shown and "spool" in shown


def test_inbound_is_judged(gate, lab):
    g = inbound(gate, lab, policy='reject if header.subject ~ /spam/\nquarantine if header.subject ~ /hold/\naccept\n')
    assert send(g, "bob@example.com", "a@sender.example", STRANGER, subject="spam").code == 550
    assert send(g, "bob@example.com", "a@sender.example", STRANGER, subject="hold").code == 250
    assert not spooled(g) and len(g.quarantined()) == 1


def test_etrn(gate, lab):
    """From the server's own network; what waits is tried at once."""
    g = inbound(gate, lab, spool='retry_min = "1h" retry_max = "1h"')
    assert send(g, "bob@example.com", "a@sender.example", STRANGER).code == 250
    g.wait_line(r"event=spool result=later")
    with Client(g.port, source=STRANGER) as c:
        assert "ETRN" not in c.ehlo().keywords()
        c.expect("ETRN example.com", 502)
    with Client(g.port) as c:
        c.expect("ETRN example.com", 503)
        assert "ETRN" in c.ehlo().keywords()
        for verb in ("TURN", "ATRN example.com"):
            c.expect(verb, 502)
        c.expect("ETRN", 501)
        c.expect("ETRN a b", 501)
        c.expect("ETRN other.example", 459)
        c.expect("ETRN #mx", 251)
        mark = g.mark()
        c.etrn("example.com")
        g.wait_line(r"event=spool result=later", mark)
        g.server.listen()
        c.etrn("@com")
        g.server.wait_messages(1)
        wait_empty(g)
        assert c.expect("ETRN #backend", 251)


def names(server):
    return collections.Counter(re.search(rb"Subject: name (\S+)", m.data)[1].decode() for m in server.messages)


def test_kills(gate, host, capsys):
    """kill -9 of worker and keeper in turn, under load: what was answered 250 arrives at both, perhaps twice."""
    one, two = host(11), host(12)
    g = gate(workers=2)
    chance, killed = random.Random(4), 0

    def attempt(name, k):
        """Each has two next hops, so that it goes to the spool."""
        try:
            return send(g, ["x@one.example", "y@two.example"], subject=f"name {name}")
        except AssertionError:
            raise Closed from None      # put off before the data

    with Load(attempt, 4) as load:
        for _ in range(3):
            for name in sorted(n for n in g.children() if n.startswith("gp-worker") or n == "gp-spool"):
                load.more(chance.randrange(3, 10))
                kill(g, name)
                killed += 1
        load.more(10)
    wait_empty(g)
    want = set(load.acknowledged)
    lost = [n for s in (one, two) for n in want - set(names(s))]
    twice = sum(n - 1 for s in (one, two) for n in names(s).values())
    with capsys.disabled():
        print(f"\n{killed} killed, {len(want)} messages acknowledged for two recipients each, {len(lost)} lost, {twice} delivered again")
    assert not lost and killed >= 9


def test_reload(gate, host):
    """What is being delivered when the configuration changes is finished, and what waits goes on."""
    go = threading.Event()
    one = host(11, script={".": lambda *_: go.wait(10 * WAIT_S) and None})
    two, g = host(12), gate()
    mark = g.mark()
    assert send(g, ["x@one.example", "y@two.example"]).code == 250
    two.wait_messages(1)
    one.wait_messages(1)
    g.process.send(signal.SIGHUP)
    g.wait_line(r"event=reload|generation", mark)
    assert send(g, ["x@one.example", "y@two.example"]).code == 250
    go.set()
    two.wait_messages(2)
    one.wait_messages(2)
    wait_empty(g)
    assert len(one.messages) == 2 and len(two.messages) == 2
