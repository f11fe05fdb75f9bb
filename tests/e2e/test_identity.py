"""The server behind learns who the client is: by the PROXY protocol, by XCLIENT. Postfix's own log says what it saw."""
import itertools
import re
import socket
import threading
import time

import pytest

from lab.postfix import Postfix
from lab.process import WAIT_S, free_port
from lab.smtp import Client, mail

POLICY = "quarantine if header.subject = hold\naccept\n"
WITH_NAME = "accept if client.fcrdns = pass and client.rdns = nobody.invalid\naccept\n"     # so that the name is looked up
MX = "127.0.0.25"                       # mail.good.example, both ways
SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"


class Seen:
    """What a Postfix has logged since: a process of its own writes that down, which need not be done when a message is in its mailbox."""

    def __init__(self, postfix):
        self.postfix = postfix
        self.at = len(postfix.log(1 << 30))

    def wait(self, pattern):
        return self.postfix.wait_log(pattern, self.at)

    def clients(self, *expected):
        """
        name[address]:port of those who sent something, one after the other, as Postfix saw them. One may be there twice in a row: the gateway gives a session
        that its client does not use for a second to others, and asks again when the message is there.
        """
        end = time.monotonic() + WAIT_S
        while (found := [c for c, _ in itertools.groupby(re.findall(r": client=(\S+?)(?:, |\n)", self.text()))]) != list(expected):
            assert time.monotonic() < end, found
            time.sleep(0.02)

    def text(self):
        return self.postfix.log(1 << 30)[self.at:]


UNWELCOME = "smtpd_client_restrictions = check_client_access inline:{127.0.0.66=reject}"
SERVICES = """
127.0.0.1:{proxy} inet n - n - - smtpd
    -o smtpd_upstream_proxy_protocol=haproxy -o smtpd_peername_lookup=yes -o smtpd_delay_reject=no -o {{ {unwelcome} }}
127.0.0.1:{xclient} inet n - n - - smtpd
    -o smtpd_authorized_xclient_hosts=127.0.0.1 -o {{ {unwelcome} }}
127.0.0.1:{postscreen} inet n - n - 1 postscreen
    -o postscreen_upstream_proxy_protocol=haproxy -o {{ postscreen_access_list = permit_mynetworks cidr:{{{{203.0.113.66 reject}}}} }}
    -o postscreen_denylist_action=enforce -o postscreen_greet_wait=1s -o {{ mynetworks = 127.0.0.0/8 192.0.2.0/24 }}
smtpd pass - - n - - smtpd
dnsblog unix - - n - 0 dnsblog
tlsproxy unix - - n - 0 tlsproxy
"""


class Behind:
    """One port of the Postfix."""

    def __init__(self, postfix, port):
        self.postfix, self.port, self.dir = postfix, port, postfix.dir

    def __getattr__(self, name):
        return getattr(self.postfix, name)


@pytest.fixture(scope="module")
def postfixes(scratch):
    """One Postfix with a port for each way to tell it."""
    ports = {name: free_port() for name in ("proxy", "xclient", "postscreen")}
    server = Postfix(scratch / "postfix-identity", smtpd_client_port_logging="yes", services=SERVICES.format(unwelcome=UNWELCOME, **ports))
    yield {name: Behind(server, port) for name, port in ports.items()}
    server.stop()


@pytest.fixture
def postfix_proxy(postfixes):
    postfixes["proxy"].empty()
    return postfixes["proxy"]


@pytest.fixture
def postfix_xclient(postfixes):
    postfixes["xclient"].empty()
    return postfixes["xclient"]


@pytest.fixture
def postfix_postscreen(postfixes):
    """The port is postscreen's, which hands a connection to smtpd with what it was told."""
    postfixes["postscreen"].empty()
    return postfixes["postscreen"]


def send(g, source=MX, helo="mail.good.example", count=1, subject="hello"):
    """Messages of one session; the port that it came from."""
    with Client(g.port, source=source) as c:
        c.ehlo(helo)
        for _ in range(count):
            assert [r.code for r in c.envelope("alice@good.example", "bob@example.com")] == [250]
            assert c.data_block(mail("alice@good.example", subject=subject)).code == 250
        return c.sock.getsockname()[1]


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_proxy(lab, postfix_proxy, version):
    """Address and port, and the client's HELO; in Received, too. The probes are LOCAL: from us."""
    p = postfix_proxy
    g = lab([p.port], backend_options=f"proxy = {version}", policy=POLICY)
    g.wait_line("event=backend .*state=up")
    seen = Seen(p)
    port = send(g, count=2)
    raw = p.wait_message("bob@example.com", 2).decode()
    seen.clients(f"unknown[{MX}]:{port}")
    assert re.search(rf"Received: from mail\.good\.example \(\S+ \[{re.escape(MX)}\]\)", raw)
    p.wait_log(rf"disconnect from unknown\[{re.escape(MX)}\]", seen.at)


def test_proxy_is_of_one_client(lab, postfix_proxy):
    """No session that spoke for one client is used for another."""
    p = postfix_proxy
    g = lab([p.port], backend_options="proxy = v2", policy=POLICY)
    seen = Seen(p)
    ports = [(n, send(g, source=f"127.0.0.{n}", helo="client.example")) for n in (7, 9, 7, 10)]
    p.wait_message("bob@example.com", 4)
    seen.clients(*(f"unknown[127.0.0.{n}]:{port}" for n, port in ports))


def test_a_client_who_is_not_welcome_there(lab, postfix_proxy):
    """The server's words about this client are told to him; the server is well, and others go on."""
    p = postfix_proxy
    g = lab([p.port], backend_options="proxy = v1", policy=POLICY)
    g.wait_line("event=backend .*state=up")
    mark = g.mark()
    for _ in range(3):
        with Client(g.port, source="127.0.0.66") as c:
            c.ehlo()
            c.expect("MAIL FROM:<alice@sender.example>", 250)
            reply = c.cmd("RCPT TO:<bob@example.com>")
            assert reply.code == 554 and "127.0.0.66" in reply.text, reply
        send(g, source="127.0.0.7", helo="client.example")
    assert "state=away" not in g.process.output(mark)


def test_a_server_that_does_not_expect_it(lab, postfix):
    """Takes the header for a command: the probe shows it, nothing is lost."""
    g = lab([postfix.port], backend_options="proxy = v2", policy=POLICY)
    g.wait_line("event=backend .*state=away")
    with Client(g.port) as c:
        c.ehlo()
        c.expect("MAIL FROM:<alice@sender.example>", 250)
        c.expect("RCPT TO:<bob@example.com>", 451)


def test_xclient(lab, postfix_xclient):
    """Name, address, port, protocol and HELO of each client, one transaction after the other."""
    p = postfix_xclient
    g = lab([p.port], backend_options="xclient = yes", policy=WITH_NAME)
    g.wait_line("event=backend .*state=up")
    seen = Seen(p)
    port = send(g, count=2)
    other = send(g, source="127.0.0.7", helo="client.example")
    p.wait_message("bob@example.com", 3)
    raw = "".join(m.read_text() for m in p.messages("bob@example.com"))
    seen.clients(f"mail.good.example[{MX}]:{port}", f"unknown[127.0.0.7]:{other}")
    assert "Received: from client.example (unknown [127.0.0.7])" in raw
    assert "proto=ESMTP helo=<mail.good.example>" in seen.text() or "helo=<mail.good.example>" not in seen.text()


def test_xclient_not_welcome_there(lab, postfix_xclient):
    g = lab([postfix_xclient.port], backend_options="xclient = yes", policy=POLICY)
    with Client(g.port, source="127.0.0.66") as c:
        c.ehlo()
        c.expect("MAIL FROM:<alice@sender.example>", 250)
        reply = c.expect("RCPT TO:<bob@example.com>", 554)
        assert "127.0.0.66" in reply.text
    assert "state=away" not in g.process.output()


def test_xclient_that_is_not_offered(lab, postfix):
    """Said once; the mail goes without."""
    g = lab([postfix.port], backend_options="xclient = yes", policy=POLICY)
    send(g)
    send(g, source="127.0.0.7")
    assert "does not learn" in g.wait_line("event=backend .*xclient=")
    assert g.process.output().count("does not learn") == 1
    postfix.wait_message("bob@example.com", 2)


def test_who_is_told_what(lab, backend):
    """Probes say LOCAL and no client; each transaction its own header or XCLIENT, with what the client had told us."""
    b = backend()
    b.keywords.append("XCLIENT NAME ADDR PORT PROTO HELO LOGIN DESTADDR")
    b.script["XCLIENT"] = b"220 backend.example ESMTP\r\n"
    g = lab([b.port], backend_options="xclient = yes", policy=WITH_NAME)
    port = send(g)
    with Client(g.port, source="127.0.0.7") as c:
        assert c.cmd("HELO old").code == 250
        c.envelope("alice@sender.example", "bob@example.com")
        assert c.data_block(mail()).code == 250
        other = c.sock.getsockname()[1]
    told = {MX: f"XCLIENT NAME=mail.good.example ADDR={MX} PORT={port} PROTO=ESMTP HELO=mail.good.example",
            "127.0.0.7": f"XCLIENT NAME=[UNAVAILABLE] ADDR=127.0.0.7 PORT={other} PROTO=SMTP HELO=old"}
    for helo, line in zip(("mail.good.example", "old"), told.values()):
        # It may have had an idle session, that of the question whether all recipients are taken; and a second one, had it been slow.
        sessions = [[c for c in s.commands if c.startswith(("XCLIENT", "EHLO", "MAIL"))] for s in b.sessions if line in s.commands]
        assert sessions
        for said in sessions:
            at = said.index(line)
            assert said[0] == "EHLO gate.example" and said[at + 1] == f"EHLO {helo}" and said[at + 2].startswith("MAIL FROM:<a")
            assert not any(c.startswith(("XCLIENT", "MAIL FROM:<a")) for c in said[:at] + said[at + 3:])
    probes = [s for s in b.sessions if not any(c.startswith("MAIL FROM:<a") for c in s.commands)]
    assert probes and not any(c.startswith("XCLIENT") for s in probes for c in s.commands)


class FirstOctets:
    """A server that keeps what its connections begin with, and goes."""

    def __init__(self):
        self.first = []
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self):
        while True:
            try:
                sock, _ = self.listener.accept()
            except OSError:
                return
            sock.settimeout(10)
            self.first.append(sock.recv(4096))
            sock.close()


@pytest.mark.parametrize("version, octets", [("v1", rb"PROXY TCP4 127\.0\.0\.1 127\.0\.0\.1 \d+ %d\r\n"), ("v2", re.escape(SIGNATURE) + rb"\x20\0\0\0")])
def test_probes_are_ours(lab, version, octets):
    """LOCAL; in version 1 our own ends, since Postfix does not take UNKNOWN."""
    server = FirstOctets()
    g = lab([server.port], backend_options=f"proxy = {version}")
    g.wait_line("event=backend .*state=away")
    server.listener.close()
    assert re.fullmatch(octets.replace(b"%d", b"%d" % server.port), server.first[0], re.S)


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_release(lab, postfix_proxy, version):
    """What comes out of the quarantine comes from its client, whose port nobody remembers."""
    p = postfix_proxy
    g = lab([p.port], backend_options=f"proxy = {version}", policy=POLICY)
    send(g, subject="hold")
    (held,) = g.quarantined()
    seen = Seen(p)
    g.command("quarantine", "release", "-c", str(g.conf_path), held.stem)
    raw = p.wait_message("bob@example.com").decode()
    assert re.search(rf"Received: from mail\.good\.example \(\S+ \[{re.escape(MX)}\]\)", raw)
    seen.wait(rf"client=\S+\[{re.escape(MX)}\]")


def test_before_a_login(lab, backend):
    """Whoever logs in does so from his own address: the server's own count of failures is about him."""
    b = backend({"AUTH": b"235 2.7.0 welcome\r\n", "XCLIENT": b"220 backend.example ESMTP\r\n"})
    b.keywords += ["AUTH PLAIN", "XCLIENT NAME ADDR PORT PROTO HELO LOGIN"]
    port = free_port()
    g = lab([b.port], backend_options="xclient = yes", policy=POLICY,
            conf=f'listener submission {{ address = "127.0.0.1:{port}" direction = submission }}')
    g.wait_line("event=backend .*state=up")
    with Client(port, source="127.0.0.7") as c:
        c.ehlo()
        c.starttls()
        c.ehlo("pc.example")
        c.expect("AUTH PLAIN AGFubgBzZXNhbWU=", 235)
        here = c.sock.getsockname()[1]
        c.envelope("ann@example.com", "bob@example.com")
        assert c.data_block(mail("ann@example.com")).code == 250
    (message,) = b.wait_messages(1)
    said = [c.split(" ")[0] for c in message.session.commands]
    assert said[:4] == ["EHLO", "XCLIENT", "EHLO", "AUTH"]
    assert message.session.commands[1].endswith(f"ADDR=127.0.0.7 PORT={here} PROTO=ESMTP HELO=pc.example")


def test_postscreen(lab, postfix_postscreen):
    """Its log has the client; whom it turns away hears its words."""
    p = postfix_postscreen
    balancer, port = "127.0.0.8", free_port()
    g = lab([p.port], backend_options="proxy = v2", policy=POLICY,
            conf=f'listener told {{ address = "127.0.0.1:{port}" proxy_from = {{ "{balancer}" }} }}')
    g.wait_line("event=backend .*state=up")
    seen = Seen(p)

    def client(ip):
        c = Client(port, source=balancer, greeting=False)
        c.send(f"PROXY TCP4 {ip} 198.51.100.1 51234 25\r\n".encode())
        assert c.reply().code == 220
        c.ehlo()
        return c, c.envelope("alice@sender.example", "bob@example.com")

    c, replies = client("192.0.2.7")
    with c:
        assert [r.code for r in replies] == [250]
        assert c.data_block(mail()).code == 250
    p.wait_message("bob@example.com")
    seen.wait(r"postscreen\S* CONNECT from \[192\.0\.2\.7\]:51234")
    seen.clients("unknown[192.0.2.7]:51234")
    c, replies = client("203.0.113.66")
    with c:
        assert [r.code for r in replies] == [550]
    assert "state=away" not in g.process.output()
