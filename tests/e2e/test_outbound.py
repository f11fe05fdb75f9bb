"""Mail of our own goes out: by the MX of the recipient's domain or an upstream, in session; what is said where it cannot."""
import base64
import json
import re
import socket
import threading
import time

import pytest

from lab.backend import KEYWORDS, Backend, Held, hang_up
from lab.postfix import Postfix
from lab.process import WAIT_S, free_port
from lab.smtp import Client, mail

ZONE = """
one.example MX 10 mx1.one.example
mx1.one.example A 127.0.0.11
three.example MX 30 c.three.example
three.example MX 10 a.three.example
three.example MX 20 b.three.example
a.three.example A 127.0.0.21
b.three.example A 127.0.0.22
c.three.example A 127.0.0.23
six.example MX 10 mx.six.example
mx.six.example AAAA ::1
mx.six.example A 127.0.0.11
implicit.example A 127.0.0.11
null.example MX 0 .
nohost.example MX 10 gone.nohost.example
loop.example MX 10 gate.example
gate.example A 127.0.0.1
loopaddress.example MX 10 mx.loopaddress.example
mx.loopaddress.example A 127.0.0.1
backup.example MX 5 mx1.one.example
backup.example MX 10 gate.example
alias.example CNAME one.example
backend.example A 127.0.0.1
postfix.example MX 10 mx.postfix.example
mx.postfix.example A 127.0.0.51
xn--mller-kva.example MX 10 mx1.one.example
"""
STRANGER = "127.0.0.9"


@pytest.fixture
def gate(lab, world, backend):
    """A gateway whose clients on 127.0.0.1 may relay; g.server is the server behind it."""
    def make(outbound="", conf="", server=(), **kw):
        server = backend(*server)
        options = outbound if "via" in outbound else f"port = {world.port25} {'' if 'never' in outbound else 'never = { none }'} {outbound}"
        conf = f'relay_networks = {{ "127.0.0.1" }} outbound {{ {options} }} {conf}'
        g = lab([server.port], dns=world.server, conf=conf, **{"policy": "accept\n", **kw})
        g.server = server
        return g

    return make


def send(g, to, sender="user@example.com", source="127.0.0.1", port=None, **kw):
    with Client(port or g.port, source=source) as c:
        return c.message(sender, to, mail(sender, "x@one.example", **kw))


def test_by_mx(gate, host):
    remote, g = host(), gate()
    reply = send(g, "x@one.example")
    assert reply.code == 250 and "kept" in reply.text         # the next hop's own word
    assert remote.messages[0].to == ["x@one.example"]
    assert b"by gate.example (Gatepost)" in remote.messages[0].data
    line = g.verdict("accept")
    assert line["backend"] == "mx1.one.example[127.0.0.11]"
    assert not g.server.messages


def test_accepted_domains_go_to_the_server_behind(gate):
    g = gate()
    assert send(g, "bob@example.com").code == 250
    assert g.server.messages[0].to == ["bob@example.com"]


def test_no_stranger_relays(gate, host):
    remote, g = host(), gate()
    assert send(g, "x@one.example", source=STRANGER).code == 550
    assert send(g, "bob@example.com", source=STRANGER).code == 250
    assert not remote.sessions


NOWHERE = [
    ("x@null.example", 556, "5.1.10"),
    ("x@gone.example", 550, "5.1.2"),
    ("x@nohost.example", 550, "5.4.4"),
    ("x@loop.example", 554, "5.4.6"),
    ("x@loopaddress.example", 554, "5.4.6"),
    ("x@[127.0.0.1]", 554, "5.4.6"),
]


def test_nowhere(gate, world):
    g = gate(conf=f'listener here {{ address = "127.0.0.1:{world.port25}" }}')
    for to, code, text in NOWHERE:
        reply = send(g, to)
        assert reply.code == code and text in reply.text and re.search(r" \([0-9a-f]{10}-1\)$", reply.text), (to, reply)


def test_literal(gate, host):
    remote, g = host(), gate()
    assert send(g, "x@[127.0.0.11]").code == 250
    assert remote.messages[0].to == ["x@[127.0.0.11]"]
    assert "kept for delivery" in send(g, "x@[IPv6:::1]").text          # nobody listens there
    g.wait_line(r'event=spool result=later .*route="mx \[ipv6:::1\]"')


def test_without_an_mx_the_domain_itself(gate, host):
    remote, g = host(), gate()
    assert send(g, "x@implicit.example").code == 250
    assert send(g, "x@alias.example").code == 250
    assert [m.to for m in remote.messages] == [["x@implicit.example"], ["x@alias.example"]]


def test_in_order_of_preference(gate, host):
    """Who is not there, greets with 421 or 554, or hangs up is passed over, and left alone by the next message."""
    b = host(22, script={"CONNECT": hang_up(b"421 4.3.2 busy\r\n")})
    c = host(23)
    g = gate()
    assert send(g, "x@three.example").code == 250
    assert c.messages[0].to == ["x@three.example"] and len(b.sessions) == 1
    assert "Connection refused" in g.wait_line(r"event=outbound-host host=a.three.example")
    assert "421 4.3.2 busy" in g.wait_line(r"event=outbound-host host=b.three.example")
    a = host(21)
    assert send(g, "x@three.example").code == 250
    assert not a.sessions and len(b.sessions) == 1 and len(c.messages) == 2


def test_all_refuse(gate, host):
    host(11, script={"CONNECT": hang_up(b"554 5.3.2 no mail here\r\n")})
    g = gate()
    assert "kept for delivery" in send(g, "x@one.example").text
    line = g.wait_line(r"event=spool result=later .*to=<x@one.example>")
    assert "451 4.4.1" in line and "554 5.3.2 no mail here" in line


def test_six_before_four(gate, world):
    with Backend(host="127.0.0.11", port=world.port25) as four, six_backend(world.port25) as six:
        g = gate()
        assert send(g, "x@six.example").code == 250
        assert len(six.messages) == 1 and not four.sessions
    with Backend(host="127.0.0.11", port=world.port25) as four:
        g = gate('source = { "127.0.0.1" }')
        assert send(g, "x@six.example").code == 250
        assert len(four.messages) == 1 and four.sessions[0].peer[0] == "127.0.0.1"


def six_backend(port):
    class Six(Backend):
        def listen(self):
            self.listener = socket.create_server((self.host, self.port), family=socket.AF_INET6)
            threading.Thread(target=self._accept, args=(self.listener,), daemon=True).start()

    return Six(host="::1", port=port)


def test_source_address(gate, host):
    remote, g = host(), gate('source = { "127.0.0.77" }')
    assert send(g, "x@one.example").code == 250
    assert remote.messages[0].session.peer[0] == "127.0.0.77"


def test_never(gate, host):
    """By default no MX leads to an address of every host's own."""
    remote, g = host(), gate('never = { "127.0.0.8/29" }')
    for to in ("x@one.example", "x@[127.0.0.11]"):
        reply = send(g, to)
        assert reply.code == 550 and "5.4.4" in reply.text
    assert not remote.sessions


def test_the_next_hop_is_asked(gate, host):
    """Each recipient's reply, and the message's, is that of the next hop."""
    remote, g = host(users=["x@one.example"]), gate()
    with Client(g.port) as c:
        c.ehlo()
        replies = c.envelope("user@example.com", "nobody@one.example", "x@one.example")
        assert [r.code for r in replies] == [550, 250] and "no such user here" in replies[0].text
        remote.script["."] = b"554 5.6.0 I do not like it\r\n"
        reply = c.data_block(mail())
    assert reply.code == 554 and "I do not like it" in reply.text
    remote.script["RCPT"] = b"451 4.7.1 greylisted\r\n"
    reply = send(g, "x@one.example")
    assert reply.code == 451 and "greylisted" in reply.text


def test_another_way_is_the_spool(gate, host):
    remote, g = host(), gate()
    with Client(g.port) as c:
        c.ehlo()
        codes = [r.code for r in c.envelope("user@example.com", "x@gone.example", "x@one.example", "y@one.example")]
        assert codes == [550, 250, 250]
        assert "kept for delivery" not in c.data_block(mail()).text
        assert remote.messages[0].to == ["x@one.example", "y@one.example"]
        codes = [r.code for r in c.envelope("user@example.com", "x@one.example", "y@one.example", "x@implicit.example", "bob@example.com")]
        assert codes == [250] * 4
        assert "kept for delivery" in c.data_block(mail()).text
    assert sorted(m.to for m in remote.wait_messages(3)[1:]) == [["x@implicit.example"], ["x@one.example", "y@one.example"]]
    assert g.server.wait_messages(1)[0].to == ["bob@example.com"]


def test_session_is_used_again(gate, host):
    remote, g = host(), gate("reuse_idle = 5m")
    with Client(g.port) as c:
        c.ehlo()
        for _ in range(3):
            assert c.envelope("user@example.com", "x@one.example")[0].code == 250
            assert c.data_block(mail()).code == 250
    assert len(remote.messages) == 3 and len(remote.sessions) == remote.now_open == 1


def test_an_idle_session_is_closed(gate, host):
    remote, g = host(), gate("reuse_idle = 500ms")
    assert send(g, "x@one.example").code == 250
    remote.wait(lambda: not remote.now_open, "the idle session is closed")


def test_lost_after_the_end_of_data(gate, host):
    """Perhaps delivered: 451, and the log says so."""
    remote, g = host(script={".": hang_up()}), gate()
    assert send(g, "x@one.example").code == 451
    assert len(remote.messages) == 1
    assert g.verdict("perhaps-delivered")["to"] == "<x@one.example>"


def test_dns_that_fails(gate, host, world):
    remote, g = host(), gate(dns_conf="timeout = 500ms")
    world.freeze()
    try:
        reply = send(g, "x@one.example")
        assert "kept for delivery" in reply.text and not remote.sessions       # from the thaw on it may be delivered
    finally:
        world.thaw()


def test_what_the_next_hop_does_not_offer(gate, host):
    """8BITMIME: passed as it is. DSN: not asked for. SMTPUTF8: it cannot be done."""
    remote, g = host(keywords=["SIZE 1000"]), gate()
    with Client(g.port) as c:
        assert {"8BITMIME", "SMTPUTF8", "DSN"} <= set(c.ehlo().keywords())
        c.expect("MAIL FROM:<user@example.com> BODY=8BITMIME RET=HDRS ENVID=q1", 250)
        c.expect("RCPT TO:<x@one.example> NOTIFY=NEVER", 250)
        assert c.data_block(mail(body="gr\u00fcn\r\n")).code == 250
        c.expect("MAIL FROM:<user@example.com> SIZE=5000", 250)
        remote.script["MAIL"] = b"552 5.3.4 too large\r\n"
        assert c.expect("RCPT TO:<x@one.example>", 552)
        c.expect("RSET", 250)
        del remote.script["MAIL"]
        c.expect("MAIL FROM:<user@example.com> SMTPUTF8", 250)
        assert "5.6.7" in c.expect("RCPT TO:<x@one.example>", 553).text
    assert "gr\u00fcn".encode() in remote.messages[0].data
    assert remote.messages[0].mail.split(" SIZE")[0] == "MAIL FROM:<user@example.com>"
    assert remote.messages[0].rcpts == ["RCPT TO:<x@one.example>"]


def test_dsn_is_asked_of_who_offers_it(gate, host):
    remote, g = host(), gate()
    with Client(g.port) as c:
        c.ehlo()
        c.expect("MAIL FROM:<user@example.com> RET=HDRS ENVID=q1", 250)
        c.expect("RCPT TO:<x@one.example> NOTIFY=FAILURE,DELAY ORCPT=rfc822;x@one.example", 250)
        assert c.data_block(mail()).code == 250
    assert "RET=HDRS" in remote.messages[0].mail and "ENVID=q1" in remote.messages[0].mail
    assert "NOTIFY=FAILURE,DELAY" in remote.messages[0].rcpts[0]


def test_idn(gate, host):
    remote, g = host(), gate()
    with Client(g.port) as c:
        c.ehlo()
        c.expect("MAIL FROM:<user@example.com> SMTPUTF8", 250)
        c.expect("RCPT TO:<x@m\u00fcller.example>", 250)
        assert c.data_block(mail()).code == 250
    assert remote.messages[0].to == ["x@xn--mller-kva.example"]


def test_via(gate, backend):
    first, second = backend(), backend()
    first.stop()
    g = gate(f'via = {{ "127.0.0.1:{first.port}", "127.0.0.1:{second.port}" }}')
    with Client(g.port) as c:
        c.ehlo()
        assert [r.code for r in c.envelope("user@example.com", "x@one.example", "y@gone.example", "z@one.example")] == [250, 250, 250]
        assert c.data_block(mail()).code == 250
    assert second.messages[0].to == ["x@one.example", "y@gone.example", "z@one.example"]
    second.stop()
    assert "kept for delivery" in send(g, "x@one.example").text
    assert "451 4.4.1" in g.wait_line(r"event=spool result=later .*route=upstream")


def test_via_ourselves(gate):
    """The site's mistake, for the site to mend: the mail waits."""
    port = free_port()
    g = gate(f'via = {{ "127.0.0.1:{port}" }}', conf=f'listener here {{ address = "127.0.0.1:{port}" }}')
    reply = send(g, "x@one.example")
    assert reply.code == 451 and "4.3.5" in reply.text


def test_limit_per_destination(gate, host):
    held = Held()
    remote, g = host(script={".": held}), gate("max_sessions = 1 max_sessions_wait = 100ms")
    with Client(g.port) as first:
        first.ehlo()
        first.envelope("user@example.com", "x@one.example")
        first.expect("DATA", 354)
        first.send(mail() + b".\r\n")
        assert held.reached.wait(WAIT_S)
        assert "kept for delivery" in send(g, "y@one.example").text
        remote.script.clear()
        held.go.set()
        assert first.reply().code == 250
    assert remote.wait_messages(2)[1].to == ["y@one.example"]


def test_outbound_listener_serves_its_own(gate, host):
    port = free_port()
    remote, g = host(), gate(conf=f'listener out {{ address = "127.0.0.1:{port}" direction = outbound }}')
    with Client(port, source=STRANGER) as c:
        assert c.greeting.code == 554
        assert c.closed()
    assert "listener=out" in g.wait_line("event=turned-away")
    assert send(g, "x@one.example", port=port).code == 250
    assert send(g, "bob@example.com", port=port).code == 250
    assert len(remote.messages) == len(g.server.messages) == 1



NO_CHECKS = """
log "direction" if direction = outbound
reject "550 5.7.1 spf" if spf in (fail, softfail, neutral, pass, permerror) or spf.helo != none or dkim != none or dmarc != none
reject "550 5.7.1 client" if dnsbl.score > 0 or client.fcrdns != pass or helo.resolves != yes or helo.bare or helo.syntax = bad or helo.ours
greylist
accept
"""


def test_checks_for_strangers_do_not_apply(gate, host):
    """And nothing is asked of the DNS for them, but where the mail goes."""
    remote = host()
    g = gate(policy=NO_CHECKS, conf="dnsbl bl.example { }")
    with Client(g.port) as c:
        c.ehlo("localhost")
        assert c.envelope("user@example.com", "x@one.example")[0].code == 250
        assert c.data_block(mail()).code == 250
    line = g.verdict("accept")
    assert "spf=none" in line["facts"] and "greylist=pass" in line["facts"]
    assert b"Authentication-Results" not in remote.messages[0].data
    assert send(g, "bob@example.com").code == 250
    assert send(g, "bob@example.com", source=STRANGER).code != 250


def test_nor_to_users_who_have_logged_in(gate):
    """Whatever was found out before they did."""
    ports = [free_port() for _ in range(2)]
    g = gate(server=({"AUTH": b"235 2.7.0 ok\r\n"}, (*KEYWORDS, "AUTH PLAIN")), policy=NO_CHECKS, conf=f"""listener submission {{ address = "127.0.0.1:{ports[0]}" direction = submission }}
listener both {{ address = "127.0.0.1:{ports[1]}" }} auth {{ inbound = yes }} dnsbl bl.example {{ }}""")
    for port in ports:
        with Client(port, source=STRANGER) as c:
            c.ehlo("localhost")
            c.starttls()
            c.ehlo("localhost")
            if port == ports[1]:
                c.envelope("user@example.com", "bob@example.com")
                assert c.data_block(mail()).code == 550
            c.expect("AUTH PLAIN AHVzZXIAc2VjcmV0", 235)
            assert c.envelope("user@example.com", "x@one.example")[0].code == 250
            assert c.data_block(mail(subject=f"by {port}")).code == 250
    assert [m.to for m in g.server.wait_messages(2)] == [["x@one.example"]] * 2


def test_direction(gate, host):
    host()
    g = gate(policy="""
reject "550 5.7.1 outbound" if direction = outbound and header.subject ~ /outbound/
reject "550 5.7.1 internal" if direction = internal and header.subject ~ /internal/
reject "550 5.7.1 inbound" if direction = inbound and header.subject ~ /inbound/
accept
""")
    for word, to, source in (("outbound", "x@one.example", "127.0.0.1"), ("internal", "bob@example.com", "127.0.0.1"),
                             ("inbound", "bob@example.com", STRANGER)):
        for subject in ("outbound", "internal", "inbound"):
            reply = send(g, to, source=source, subject=subject)
            assert (reply.code == 550 and word in reply.text) if subject == word else reply.code == 250


def test_whom_our_user_writes_to_is_known(gate, host):
    remote, g = host(), gate(policy='reject "550 5.7.1 unknown" if not sender.known and direction = inbound\naccept\n')
    assert send(g, "bob@example.com", sender="x@one.example", source=STRANGER).code == 550
    assert send(g, "X+tag@one.example").code == 250
    assert send(g, "bob@example.com", sender="x@one.example", source=STRANGER).code == 250
    remote.script["."] = b"554 5.6.0 no\r\n"
    assert send(g, "y@one.example").code == 554
    assert send(g, "bob@example.com", sender="y@one.example", source=STRANGER).code == 550


def test_what_rules_add_goes_its_own_way(gate, host):
    """A copy to a mailbox of ours, and mail that is redirected there, do not go where the recipient's mail goes."""
    remote, g = host(), gate(policy="""
copy to "archive@example.com" if direction = outbound
copy to "audit@implicit.example" if direction = outbound
redirect to "held@example.com" if direction = outbound and rcpt = "secret@one.example"
accept
""")
    with Client(g.port) as c:
        c.ehlo()
        assert [r.code for r in c.envelope("user@example.com", "x@one.example", "secret@one.example")] == [250, 250]
        assert c.data_block(mail()).code == 250
    assert sorted(t for m in g.server.wait_messages(2) for t in m.to) == ["archive@example.com", "held@example.com"]
    assert sorted(t for m in remote.wait_messages(2) for t in m.to) == ["audit@implicit.example", "x@one.example"]
    # a copy holds up nobody's mail, a redirect is as good as the recipient
    g.server.script["RCPT"] = b"550 5.1.1 no such user here\r\n"
    assert send(g, "x@one.example").code == 250
    assert "copy=archive@example.com" in g.wait_line("event=copy-failed")
    remote.wait_messages(4)
    assert send(g, "secret@one.example").code == 451
    assert len(remote.messages) == 4


class Provider:
    """Says whether somebody may send: script entry AUTH."""

    def __init__(self, user, password):
        self.answers = [base64.b64encode(x).decode() for x in (b"\0" + user + b"\0" + password, user, password)]
        self.step = 0

    def __call__(self, session, line):
        plain, user, password = self.answers
        if line == "AUTH LOGIN":
            session.sock.sendall(b"334 VXNlcm5hbWU6\r\n")
            assert session.read().decode() == user
            session.sock.sendall(b"334 UGFzc3dvcmQ6\r\n")
            return b"235 2.7.0 ok\r\n" if session.read().decode() == password else b"535 5.7.8 no\r\n"
        return b"235 2.7.0 ok\r\n" if line == "AUTH PLAIN " + plain else b"535 5.7.8 no\r\n"


@pytest.mark.parametrize("auth", ["PLAIN LOGIN", "LOGIN"])
def test_via_a_provider_that_wants_a_password(gate, backend, certificates, tmp_path, auth):
    provider = backend(keywords=["STARTTLS", f"AUTH {auth}"], tls=certificates.signed, script={"AUTH": Provider(b"site", b"s3cret word")})
    password = tmp_path / "password"
    password.write_text("s3cret word\n")
    conf = f'via = {{ "backend.example:{provider.port}" }} tls_ca = "{certificates.ca}" username = site password_file = "{password}"'
    g = gate(conf)
    assert send(g, "x@one.example").code == 250
    assert provider.messages[0].session.tls
    password.write_text("another\n")
    g = gate(conf)
    reply = send(g, "x@one.example")
    assert reply.code == 451 and "535 5.7.8 no" in reply.text
    # Nor is the next one kept for days: the site is told, until it is mended.
    reply = send(g, "x@one.example")
    assert reply.code == 451 and "4.7.8" in reply.text and "535 5.7.8 no" in reply.text
    assert "another" not in g.process.output() and len(provider.messages) == 1


def test_via_port_465(gate, certificates, tmp_path):
    """TLS from the first octet, verified as elsewhere: the password is for one host."""
    password = tmp_path / "password"
    password.write_text("s3cret word\n")
    conf = f'tls_ca = "{certificates.ca}" username = site password_file = "{password}"'
    with Backend(keywords=["AUTH PLAIN"], tls=certificates.signed, script={"AUTH": Provider(b"site", b"s3cret word")}, port=465, implicit=True) as b:
        assert send(gate(f'via = {{ "backend.example:465" }} {conf}'), "x@one.example").code == 250
        assert b.messages[0].session.tls
        reply = send(gate(f'via = {{ "127.0.0.1:465" }} {conf}'), "x@one.example")
        assert reply.code == 451 and not any(c.startswith("AUTH") for s in b.sessions[1:] for c in s.commands)


@pytest.mark.parametrize("keywords, tls, asked", [
    (["AUTH PLAIN"], None, "TLS is required"),
    (["STARTTLS", "AUTH PLAIN"], "self_signed", "certificate"),
    (["STARTTLS", "AUTH CRAM-MD5"], "signed", "neither AUTH PLAIN nor LOGIN"),
])
def test_no_password_for_who_is_not_the_provider(gate, backend, certificates, tmp_path, keywords, tls, asked):
    other = backend(keywords=keywords, tls=tls and getattr(certificates, tls))
    password = tmp_path / "password"
    password.write_text("s3cret word\n")
    g = gate(f'via = {{ "backend.example:{other.port}" }} tls_ca = "{certificates.ca}" username = site password_file = "{password}"')
    reply = send(g, "x@one.example")
    assert reply.code == 451 and asked in reply.text
    assert not any(c.startswith("AUTH") for s in other.sessions for c in s.commands)


def test_postfix_on_both_sides(gate, host, world, scratch):
    """One Postfix that uses us as its smarthost, and is the mail server of a domain of the world."""
    port = free_port()
    remote = host()
    g = gate(conf=f'listener out {{ address = "127.0.0.1:{port}" direction = outbound }}')
    server = Postfix(scratch / "postfix-outbound", domains=("postfix.example",), listen=[f"127.0.0.51:{world.port25}"], relayhost=f"[127.0.0.1]:{port}",
                     smtp_bind_address="127.0.0.1", smtpd_recipient_restrictions="permit_mynetworks, reject_unauth_destination",
                     bounce_notice_recipient="postmaster@postfix.example", smtp_tls_security_level="may")
    try:
        assert send(g, "bob@postfix.example", subject="to postfix").code == 250
        got = server.wait_message("bob@postfix.example")
        assert b"Subject: to postfix" in got and b"by gate.example (Gatepost)" in got
        assert send(g, "nobody@postfix.example").code == 550
        with Client(world.port25, host="127.0.0.51") as c:
            assert c.message("bob@postfix.example", ["x@one.example", "y@implicit.example"], mail(subject="from postfix")).code == 250
        remote.wait_messages(1)
        assert b"Subject: from postfix" in remote.messages[0].data
        # what is refused for good is bounced by the server itself, to its own user, at once
        with Client(world.port25, host="127.0.0.51") as c:
            assert c.message("bob@postfix.example", "z@null.example", mail(subject="refused")).code == 250
        assert b"556 5.1.10" in server.wait_message("bob@postfix.example", 2)
    finally:
        server.stop()


def test_what_was_held_back_is_released_to_where_it_goes(gate, host):
    remote, g = host(), gate(policy='quarantine if direction in (outbound, internal)\naccept\n')
    for to, server in (("x@one.example", remote), ("bob@example.com", g.server)):
        assert send(g, to, subject=f"for {to}").code == 250
        kept = g.verdict("quarantine", to)["quarantine"]
        out = g.command("quarantine", "release", "-c", str(g.conf_path), kept).stdout.decode()
        assert "released" in out, out
        assert server.wait_messages(1)[0].to == [to]
    assert send(g, "x@null.example").code == 556
    remote.script["RCPT"] = b"550 5.1.1 gone meanwhile\r\n"
    out = g.command("quarantine", "release", "-c", str(g.conf_path), "--again", g.verdict("quarantine", "x@one")["quarantine"], check=False)
    assert b"550 5.1.1 gone meanwhile" in out.stdout and out.returncode != 0


def test_forwarded_there_and_back_again_is_no_loop(gate, host):
    host()
    g = gate()
    ours = "Received: from x (y [192.0.2.1]) by gate.example (Gatepost) with ESMTP id 1; Sun, 22 Nov 2026 10:00:00 +0000\r\n"
    assert send(g, "x@one.example", extra=ours * 3).code == 250
    reply = send(g, "x@one.example", extra=ours * 4)
    assert reply.code == 554 and "5.4.6" in reply.text


def test_our_server_may_have_many_users_who_mistype(gate, host):
    """What others refuse is no error of its: the session goes on."""
    host(users=["x@one.example"])
    g = gate(conf="limits { errors = 3 }")
    with Client(g.port) as c:
        c.ehlo()
        c.expect("MAIL FROM:<user@example.com>", 250)
        for i in range(6):
            c.expect(f"RCPT TO:<nobody{i}@one.example>", 550)
        c.expect("RCPT TO:<x@one.example>", 250)


def test_explain(gate):
    g = gate()
    text = g.explain(mail(), client="127.0.0.1", to="x@one.example")
    assert re.search(r"direction +outbound", text) and re.search(r"spf +none .*one of ours", text) and "relaying denied" not in text
    assert "relaying denied" in g.explain(mail(), client="192.0.2.1", to="x@one.example")


def test_history_and_replay_know_the_direction(gate, host):
    host()
    g = gate()
    for to, source in (("x@one.example", "127.0.0.1"), ("bob@example.com", "127.0.0.1"), ("bob@example.com", STRANGER)):
        assert send(g, to, source=source, subject=f"{to} {source}").code == 250
    policy = g.dir / "new.conf"
    for word in ("outbound", "internal", "inbound"):
        policy.write_text(f"reject if direction = {word}\naccept\n")
        end = time.monotonic() + WAIT_S     # the history is written a little later
        while (out := json.loads(g.command("replay", "-c", str(g.conf_path), "--policy", str(policy), "--json").stdout))["verdicts"] < 3:
            assert time.monotonic() < end, out
            time.sleep(0.05)
        assert (out["verdicts"], out["changed"], out["cannot_be_known"]) == (3, 1, 0), out


@pytest.mark.parametrize("words", ["452 4.5.3 too many recipients", "452 too many"])
def test_more_recipients_than_the_next_hop_takes_at_once(gate, host, words):
    def rcpt(session, line):
        return words.encode() + b"\r\n" if len(session.rcpts) == 2 else None

    remote, g = host(script={"RCPT": rcpt}), gate()
    with Client(g.port) as c:
        c.ehlo()
        assert [r.code for r in c.envelope("user@example.com", *(f"x{i}@one.example" for i in range(5)))] == [250] * 5
        assert "kept for delivery" in c.data_block(mail()).text
    assert sorted(to for m in remote.wait_messages(3) for to in m.to) == [f"x{i}@one.example" for i in range(5)]


def test_a_mailbox_that_is_full_is_none_of_these(gate, host):
    remote, g = host(script={"RCPT": lambda session, line: b"452 4.2.2 mailbox full\r\n" if "full" in line else None}), gate()
    with Client(g.port) as c:
        c.ehlo()
        assert [r.code for r in c.envelope("user@example.com", "x@one.example", "full@one.example")] == [250, 452]
        assert "kept for delivery" not in c.data_block(mail()).text
    assert remote.messages[0].to == ["x@one.example"]
