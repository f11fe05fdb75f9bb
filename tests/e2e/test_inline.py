"""Between the router and the server: three hosts by network namespaces, a real Postfix as the server, and what it saw."""
import re

import pytest
from lab.gateway import Gateway
from lab.knot import Knot
from lab.netns import CLIENT, CLIENT_V6, GATEWAY_INSIDE, GATEWAY_OUTSIDE, SERVER, SERVER_V6, Network
from lab.postfix import Postfix
from lab.smtp import Client, mail
from lab.zones import ZONES


@pytest.fixture(scope="module")
def net():
    with Network() as network:
        yield network


@pytest.fixture(scope="module")
def server_shared(net, scratch, certificates):
    cert, key = certificates.signed
    postfix = Postfix(scratch / "inline-postfix", host=net.server, listen=[f"{SERVER}:25", f"[{SERVER_V6}]:25"], inet_protocols="all",
                      mynetworks=f"127.0.0.0/8 {SERVER}/32", smtpd_tls_security_level="may", smtpd_tls_cert_file=cert, smtpd_tls_key_file=key,
                      smtpd_tls_loglevel="1", smtpd_delay_reject="yes", notify_classes="")
    yield postfix
    postfix.stop()


@pytest.fixture
def server(server_shared):
    server_shared.empty()
    return server_shared


@pytest.fixture(scope="module")
def names(net, scratch):
    knot = Knot(scratch / "inline-knot", ZONES, host=net.gateway)
    yield knot
    knot.stop()


@pytest.fixture
def gateway(net, names, tmp_path):
    """Makes gateways on the host between; their ends are checked as those of `lab` are."""
    made = []

    def make(backends=(f"{SERVER}:25",), **kw):
        g = Gateway(tmp_path / f"gate{len(made)}", backends, dns=names.server, host=net.gateway, **kw).start()
        made.append(g)
        return g

    yield make
    problems = []
    for g in made:
        status, output = g.stop(), g.process.output()
        if status != 0 or any(w in output for w in ("Sanitizer", "runtime error:")):
            problems.append(f"exit status {status}:\n{output[-20000:]}")
    assert not problems, "\n".join(problems)


LISTENERS = """
listener in { address = "0.0.0.0:25" transparent = yes }
listener in6 { address = "[::]:25" transparent = yes }
"""
OUTBOUND = f"""
listener out {{ address = "127.0.0.1:2500" transparent = yes intercept = 25 direction = outbound tls = off }}
listener out6 {{ address = "[::1]:2500" transparent = yes intercept = 25 direction = outbound tls = off }}
"""
BOTH = (f"{SERVER}:25", f"[{SERVER_V6}]:25")
POLICY = "quarantine if header.subject = bad\naccept\n"


@pytest.fixture
def inline(net, gateway):
    """Makes gateways with the interception that `gatepost routes` prints; it is removed as `--undo` says."""
    made = []

    def make(backends=BOTH, listeners=LISTENERS, routes=(), **kw):
        kw.setdefault("policy", POLICY)
        g = gateway(backends, listeners=listeners, **kw)
        net.gateway.sh(g.command("routes", "-c", str(g.conf_path), *routes).stdout.decode())
        made.append(g)
        return g

    yield make
    for g in made:
        net.gateway.sh(g.command("routes", "--undo").stdout.decode())
    assert net.gateway.run(["nft", "list", "tables"]).stdout == ""
    assert "0x2525" not in net.gateway.run(["ip", "rule"]).stdout + net.gateway.run(["ip", "-6", "rule"]).stdout


def end_of(server):
    return len(server.log(1 << 30))


FAMILIES = pytest.mark.parametrize("source, host", [(CLIENT, SERVER), (CLIENT_V6, SERVER_V6)], ids=["ipv4", "ipv6"])


def test_nothing_between(net, server):
    """The lab itself: without a gateway the server sees the clients, over both families."""
    for source, host in ((CLIENT, SERVER), (CLIENT_V6, SERVER_V6)):
        since = len(server.log(1 << 30))
        with net.world.call(Client, 25, source=source, host=host) as c:
            c.ehlo()
        server.wait_log(rf"connect from unknown\[{source}\]", since)


def test_in_front_by_address(net, server, gateway):
    """Not inline: the gateway's own address, which is what the server sees."""
    gateway(listeners=f'listener smtp {{ address = "{GATEWAY_OUTSIDE}:25" }}')
    since = len(server.log(1 << 30))
    with net.world.call(Client, 25, source=CLIENT, host=GATEWAY_OUTSIDE) as c:
        assert c.message("alice@sender.example", "bob@example.com", mail()).code == 250
    server.wait_log(rf"client=unknown\[{GATEWAY_INSIDE}\]", since)


@FAMILIES
def test_the_server_sees_the_client(net, server, inline, source, host):
    """Addressed to the server, served by the gateway; the server has the client's own address and HELO in its log, under TLS again."""
    g = inline()
    since = end_of(server)
    with net.world.call(Client, 25, source=source, host=host) as c:
        assert "gate.example" in c.greeting.text
        assert "STARTTLS" in c.ehlo("mail.sender.example").keywords()
        c.starttls()
        assert "8BITMIME" in c.ehlo("mail.sender.example").keywords()
        assert all(r.code == 250 for r in c.envelope("alice@sender.example", "bob@example.com"))
        assert c.data_block(mail(subject="inline")).code == 250
    server.wait_log(rf"client=unknown\[{source}\]", since)
    server.wait_log(rf"TLS connection established from unknown\[{source}\]", since)
    line = g.verdict("accept")
    assert line["client"] == source and line["backend"] == ("b1" if ":" in host else "b0")
    message = server.wait_message("bob@example.com")
    assert re.search(rb"Received: from mail.sender.example [^\r\n]*" + re.escape(source).encode(), message), message


def test_filtered(net, server, inline):
    """What is bad does not arrive, whoever it was addressed to."""
    g = inline()
    since = end_of(server)
    with net.world.call(Client, 25, source=CLIENT, host=SERVER) as c:
        assert c.message("alice@sender.example", "bob@example.com", mail(subject="bad")).code == 250
    g.verdict("quarantine")
    assert "from=<alice@sender.example>" not in server.log(1 << 30)[since:]
    with net.world.call(Client, 25, source=CLIENT, host=SERVER) as c:
        c.ehlo()
        assert c.envelope("alice@sender.example", "a@elsewhere.example")[0].code == 550


def test_the_server_refuses(net, server, inline):
    """Its own word on a recipient reaches the client."""
    inline()
    with net.world.call(Client, 25, source=CLIENT, host=SERVER) as c:
        c.ehlo()
        reply = c.envelope("alice@sender.example", "nobody@example.com")[0]
        assert reply.code == 550 and "nobody@example.com" in reply.text
