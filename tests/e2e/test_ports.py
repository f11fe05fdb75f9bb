"""A whole site on the real ports: each with the defaults that its number has, its own servers, and rules that know where mail came in."""
import re
import socket

import pytest
from lab.backend import KEYWORDS, Backend
from lab.gateway import Gateway
from lab.lines import Lines
from lab.netns import CLIENT, GATEWAY_INSIDE, GATEWAY_OUTSIDE, INTERNET, SERVER, Network
from lab.smtp import Client, insecure, mail

LISTENERS = f"""
listener smtp        {{ address = "{GATEWAY_OUTSIDE}:25" }}
listener other       {{ address = "{GATEWAY_OUTSIDE}:2525" }}
listener submission  {{ address = "{GATEWAY_OUTSIDE}:587" backends = {{ "clients" }} }}
listener submissions {{ address = "{GATEWAY_OUTSIDE}:465" backends = {{ "clients" }} }}
listener inside      {{ address = "{GATEWAY_INSIDE}:25" direction = outbound }}
listener web         {{ address = "{GATEWAY_OUTSIDE}:80" protocol = tcp backends = {{ "web" }} }}
listener webs        {{ address = "{GATEWAY_OUTSIDE}:443" protocol = tcp backends = {{ "webs" }} }}
listener pop2        {{ address = "{GATEWAY_OUTSIDE}:109" protocol = tcp backends = {{ "pop2" }} }}
"""
CONF = f"""
relay_networks = {{ "{SERVER}" }}
outbound {{ via = {{ "{INTERNET}:25" }} }}
backend clients {{ address = "{SERVER}:587" }}
backend web  {{ address = "{SERVER}:80" }}
backend webs {{ address = "{SERVER}:443" }}
backend pop2 {{ address = "{SERVER}:109" }}
"""
POLICY = """
log "in by smtp" if listener = smtp
log "in by other" if listener = other
log "in by submission" if listener in (submission, submissions) and auth.user = ann
log "our own goes out" if listener = inside and direction = outbound
reject only-for-strangers: if direction = inbound and header.subject = refused
accept
"""


@pytest.fixture(scope="module")
def site(scratch, certificates):
    """Servers behind and far away, and the gateway between; the servers as attributes of the network."""
    with Network() as net:
        opened = []

        def server(kind, where, *args, **kw):
            opened.append(where.call(kind, *args, **kw))
            return opened[-1]

        auth = {"AUTH": b"235 2.7.0 welcome\r\n"}
        net.main = server(Backend, net.server, host=SERVER, port=25)
        net.clients = server(Backend, net.server, auth, host=SERVER, port=587, tls=certificates.self_signed,
                             keywords=(*KEYWORDS, "STARTTLS", "AUTH PLAIN LOGIN"))
        net.internet = server(Backend, net.world, host=INTERNET, port=25)
        for port, greeting in ((80, b""), (443, b""), (109, b"+ POP2 server.example.com\r\n")):
            server(Lines, net.server, greeting, lambda line, port=port: b"%d: %s" % (port, line), port, host=SERVER)
        try:
            with Gateway(scratch / "ports", [f"{SERVER}:25"], host=net.gateway, listeners=LISTENERS, conf=CONF, policy=POLICY) as net.gate:
                for name in ("b0", "clients"):
                    net.gate.wait_line(f"event=backend name={name} .*state=up")
                yield net
        finally:
            for each in opened:
                each.stop()


def client(net, port):
    """Of the world, at this port; the greeting has been read."""
    c = net.world.call(Client, port, source=CLIENT, host=GATEWAY_OUTSIDE, greeting=False)
    if port == 465:
        c.sock = insecure().wrap_socket(c.sock, server_hostname="gate.example")
    assert c.reply().code == 220
    return c


def test_each_server_is_asked_once(site):
    """Two listeners lead to the one for clients: it is probed, and said to be there, as one."""
    assert len(re.findall("event=backend name=clients ", site.gate.process.output())) == 1
    assert len(site.clients.sessions) == 1


@pytest.mark.parametrize("port, name", [(25, "smtp"), (2525, "other")])
def test_inbound(site, port, name):
    """For the world: STARTTLS and no login; mail for the site's domains, judged as strangers' mail, to the server for that."""
    mark = site.gate.mark()
    with client(site, port) as c:
        offered = c.ehlo().keywords()
        assert "STARTTLS" in offered and "AUTH" not in offered
        c.starttls()
        assert "AUTH" not in c.ehlo().keywords()
        assert c.envelope("a@sender.example", "x@elsewhere.example")[0].code == 550
        c.expect("RSET", 250)
        assert c.message("a@sender.example", "bob@example.com", mail(subject="refused")).code == 550
        assert c.message("a@sender.example", "bob@example.com", mail(subject=f"by {name}")).code == 250
    assert f"in by {name}" in site.gate.wait_line("verdict=accept", mark)
    assert site.main.messages[-1].to == ["bob@example.com"]


@pytest.mark.parametrize("port, tls", [(587, "-tls"), (465, "-tlsc")])
def test_submission(site, port, tls):
    """For users: TLS, then the login, then mail to anywhere, in their own session with the server for clients."""
    with client(site, port) as c:
        offered = c.ehlo().keywords()
        assert ("STARTTLS" in offered) == (port == 587) and ("AUTH" in offered) == (port == 465)
        assert c.cmd("MAIL FROM:<ann@example.com>").code == 530
    mark = site.gate.mark()
    done = site.world.run(["swaks", "--server", GATEWAY_OUTSIDE, "--port", port, tls, "--auth", "PLAIN", "--auth-user", "ann", "--auth-password", "secret",
                           "--ehlo", "laptop.example.com", "--from", "ann@example.com", "--to", "x@elsewhere.example", "--header", "Subject: refused"])
    assert "235 2.7.0" in done.stdout
    assert "in by submission" in site.gate.wait_line("verdict=accept", mark)
    assert site.clients.messages[-1].to == ["x@elsewhere.example"] and site.clients.messages[-1].session.tls


def test_outbound(site):
    """For our own server: to the world; nobody else is served at that door."""
    mark = site.gate.mark()
    with site.server.call(Client, 25, source=SERVER, host=GATEWAY_INSIDE) as c:
        assert c.message("bob@example.com", "x@elsewhere.example", mail(sender="bob@example.com", subject="refused")).code == 250
    assert "our own goes out" in site.gate.wait_line("verdict=accept", mark)
    assert site.internet.messages[-1].to == ["x@elsewhere.example"]
    with site.world.call(Client, 25, source=CLIENT, host=GATEWAY_INSIDE) as c:
        assert c.greeting.code == 554


@pytest.mark.parametrize("port, greeting", [(80, b""), (443, b""), (109, b"+ POP2 server.example.com\r\n")])
def test_any_other(site, port, greeting):
    """Web mail and POP2 (RFC 937), where the server speaks first."""
    with site.world.call(socket.create_connection, (GATEWAY_OUTSIDE, port), 30, (CLIENT, 0)) as s, s.makefile("rb") as f:
        if greeting:
            assert f.readline() == greeting
        s.sendall(b"HELO ann secret\r\n")
        assert f.readline() == b"%d: HELO ann secret\r\n" % port
