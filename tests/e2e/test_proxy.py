"""Behind a load balancer: HAProxy says by the PROXY protocol who the client is."""
import re
import socket
import ssl
import time

import pytest

from lab.haproxy import BALANCER, HAProxy
from lab.process import WAIT_S, free_port
from lab.smtp import Client, Closed, insecure, mail

POLICY = """
reject "550 5.7.1 not you" if client.ip = 127.0.0.66
accept
"""
SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"


@pytest.fixture
def proxied(lab):
    """Makes a gateway with a listener, at g.proxied, whose connections from BALANCER begin with a header."""
    def make(port, options="", conf="", **kw):
        at = free_port()
        g = lab([port], policy=kw.pop("policy", POLICY), conf=f"""
listener proxied {{ address = "127.0.0.1:{at}" proxy_from = {{ "{BALANCER}" }} {options} }}
{conf}
""", **kw)
        g.proxied = at
        return g
    return make


class Raw(Client):
    """From the balancer's address, with these octets first."""
    def __init__(self, port, first, source=BALANCER):
        super().__init__(port, source=source, greeting=False)
        self.send(first)


@pytest.mark.parametrize("version", ["send-proxy", "send-proxy-v2"])
@pytest.mark.parametrize("tls", [False, True], ids=["plain", "starttls"])
def test_the_client_is_the_one_behind(proxied, postfix, tmp_path, version, tls):
    """In the verdict line, in facts, in Received; before TLS as within."""
    g = proxied(postfix.port)
    with HAProxy(tmp_path / "haproxy", {"mx": (g.proxied, version)}) as balancer:
        with Client(balancer.port["mx"], source="127.0.0.7") as c:
            if tls:
                c.ehlo()
                c.starttls(insecure())
            assert c.message("alice@sender.example", "bob@example.com", mail()).code == 250
            c.expect("QUIT", 221)
        line = g.verdict("accept")
        assert line["client"] == "127.0.0.7"
        text = postfix.wait_message("bob@example.com").decode()
        assert re.search(r"from client\.example \(\S+ \[127\.0\.0\.7\]\)", text)
        with Client(balancer.port["mx"], source="127.0.0.66") as c:
            c.ehlo()
            c.expect("MAIL FROM:<alice@sender.example>", 250)
            c.expect("RCPT TO:<bob@example.com>", 550)
        assert g.verdict("reject")["client"] == "127.0.0.66"


def test_implicit_tls(proxied, postfix, tmp_path):
    """The header comes before the handshake; the two may share a segment."""
    g = proxied(postfix.port, "tls = implicit")
    with HAProxy(tmp_path / "haproxy", {"mx": (g.proxied, "send-proxy-v2")}) as balancer:
        with Client(balancer.port["mx"], source="127.0.0.7", greeting=False) as c:
            c.sock = insecure().wrap_socket(c.sock, server_hostname="gate.example")
            assert c.reply().code == 220
            assert c.message("alice@sender.example", "bob@example.com", mail()).code == 250
    assert g.verdict("accept")["client"] == "127.0.0.7"
    assert b"with ESMTPS id" in postfix.wait_message("bob@example.com")
    inside, outside = ssl.MemoryBIO(), ssl.MemoryBIO()
    with Client(g.proxied, source=BALANCER, greeting=False) as c:
        tls = insecure().wrap_bio(inside, outside, server_hostname="gate.example")
        with pytest.raises(ssl.SSLWantReadError):
            tls.do_handshake()
        c.send(b"PROXY TCP4 192.0.2.7 198.51.100.1 51234 465\r\n" + outside.read())
        assert c.sock.recv(1) == b"\x16"        # ServerHello


def test_ipv6(proxied, postfix):
    """A client of the other family than the balancer's own connection."""
    g = proxied(postfix.port)
    with Raw(g.proxied, b"PROXY TCP6 2001:db8::7 2001:db8::1 51234 25\r\n") as c:
        assert c.reply().code == 220
        assert c.message("alice@sender.example", "bob@example.com", mail()).code == 250
    assert g.verdict("accept")["client"] == "2001:db8::7"
    assert b"[IPv6:2001:db8::7]" in postfix.wait_message("bob@example.com")


def test_each_client_has_its_limit(proxied, postfix, tmp_path):
    """Not the balancer, which brings all of them."""
    g = proxied(postfix.port, conf="limits { sessions_per_client = 2 }")
    with HAProxy(tmp_path / "haproxy", {"mx": (g.proxied, "send-proxy-v2")}) as balancer:
        port = balancer.port["mx"]
        inside = [Client(port, source=f"127.0.0.{n}") for n in (7, 7, 9, 9, 10)]
        assert [c.greeting.code for c in inside] == [220] * 5
        with Client(port, source="127.0.0.7") as c:
            assert c.greeting.code == 421
        g.wait_line(r'event=limit what=sessions client=127\.0\.0\.7 .*action=refused listener=proxied')
        for c in inside:
            c.close()


def test_health_checks_are_quiet(proxied, postfix, tmp_path):
    """HAProxy finds it well, by LOCAL and by UNKNOWN, with and without words of SMTP; nothing is said of it in the log."""
    g = proxied(postfix.port)
    g.wait_line("event=backend .*state=up")
    g.wait_line("event=ready")
    mark = g.mark()
    checks = {"v2": "send-proxy-v2 check", "v1": "send-proxy check"}
    with HAProxy(tmp_path / "haproxy", {name: (g.proxied, options) for name, options in checks.items()}) as balancer:
        for name, port in balancer.port.items():
            with Client(port, source="127.0.0.7") as c:
                assert c.greeting.code == 220
        end, rows = time.monotonic() + WAIT_S, []
        while not rows or not all(r[17] == "UP" and r[36] == "L4OK" for r in rows):
            assert time.monotonic() < end, rows
            time.sleep(0.05)
            with socket.socket(socket.AF_UNIX) as stats:
                stats.connect(str(tmp_path / "haproxy" / "stats"))
                stats.sendall(b"show stat\n")
                table = stats.makefile().read()
            rows = [r.split(",") for r in table.splitlines() if r.split(",")[1:2] == ["gate"]]
    for first in (b"PROXY UNKNOWN\r\n", SIGNATURE + b"\x20\0\0\0"):
        with Raw(g.proxied, first) as c:
            assert c.reply().code == 220
            c.ehlo()
            c.expect("QUIT", 221)
    assert not re.search("event=", g.process.output(mark))


def test_what_a_balancer_cannot_name_does_not_relay(proxied, postfix):
    """Although the balancer itself might."""
    g = proxied(postfix.port, conf=f'relay_networks = {{ "{BALANCER}/32", "192.0.2.7/32" }}')
    for first, code in ((b"PROXY UNKNOWN\r\n", 550), (b"PROXY TCP4 192.0.2.8 127.0.0.1 1 25\r\n", 550), (b"PROXY TCP4 192.0.2.7 127.0.0.1 1 25\r\n", 0)):
        with Raw(g.proxied, first) as c:
            assert c.reply().code == 220
            c.ehlo()
            c.expect("MAIL FROM:<alice@sender.example>", 250)
            reply = c.cmd("RCPT TO:<somebody@elsewhere.invalid>")
            assert (reply.code == code and "relaying" in reply.text) if code else "relaying" not in reply.text


def test_what_a_balancer_cannot_name_is_no_relay(proxied, postfix):
    """Although the balancer's network is one of trusted relays: XCLIENT and Received fields of such a client mean nothing."""
    g = proxied(postfix.port, conf=f'trusted_relays = {{ "{BALANCER}", "192.0.2.7" }}')
    for first, code in ((b"PROXY UNKNOWN\r\n", 502), (SIGNATURE + b"\x20\0\0\0", 502), (b"PROXY TCP4 192.0.2.8 127.0.0.1 1 25\r\n", 502),
                        (b"PROXY TCP4 192.0.2.7 127.0.0.1 1 25\r\n", 220)):
        with Raw(g.proxied, first) as c:
            assert c.reply().code == 220
            assert ("XCLIENT" in c.ehlo().keywords()) == (code == 220)
            c.expect("XCLIENT ADDR=127.0.0.25", code)


@pytest.mark.parametrize("first", [b"EHLO client.example\r\n", b"PROXY TCP4 192.0.2.7 198.51.100.1 0 70000\r\n", SIGNATURE + b"\x31\x11\0\x0c" + bytes(12),
                                   b"PROXY " + b"x" * 200, b"\x16\x03\1"])
def test_a_balancer_without_a_header(proxied, postfix, first):
    """Closed without a word, and logged."""
    g = proxied(postfix.port)
    with Raw(g.proxied, first) as c:
        with pytest.raises(Closed):
            c.reply()
    g.wait_line(rf'event=turned-away client={re.escape(BALANCER)} reason="it does not begin with a PROXY header" listener=proxied')


def test_a_header_from_elsewhere(proxied, postfix):
    """Is a bad command: nobody tells us that he is somebody else."""
    g = proxied(postfix.port)
    for port, source in ((g.port, BALANCER), (g.proxied, "127.0.0.9")):
        with Raw(port, b"PROXY TCP4 192.0.2.7 198.51.100.1 51234 25\r\n", source) as c:
            assert c.reply().code == 220
            assert c.reply().code == 500
            assert c.message("alice@sender.example", "bob@example.com", mail()).code == 250
        g.verdict("accept", f"client={re.escape(source)} ")


def test_octet_by_octet(proxied, postfix):
    """The header comes in pieces, and what follows it in the same one; it is no early talk."""
    g = proxied(postfix.port, policy='reject "550 5.7.1 early" if client.early_talker\naccept')
    for first in (b"PROXY TCP4 192.0.2.7 198.51.100.1 51234 25\r\n",
                  SIGNATURE + b"\x21\x11\0\x10" + socket.inet_aton("192.0.2.7") + bytes(8) + b"\4\0\1x"):
        with Client(g.proxied, source=BALANCER, greeting=False) as c:
            for i in range(len(first)):
                c.send(first[i:i + 1])
            assert c.reply().code == 220
            assert c.message("alice@sender.example", "bob@example.com", mail()).code == 250
        assert g.verdict("accept")["client"] == "192.0.2.7"
