"""Between the router and the server: three hosts by network namespaces, a real Postfix as the server, and what it saw."""
import base64
import json
import os
import re
import signal
import socket
import time

import pytest
from lab.backend import Backend
from lab.knot import Knot
from lab.netns import (CLIENT, CLIENT2, CLIENT_V6, GATEWAY_INSIDE, GATEWAY_INSIDE_V6, GATEWAY_OUTSIDE, INTERNET, INTERNET_V6, SERVER, SERVER2,
                       SERVER_V6, Network)
from lab.postfix import Postfix
from lab.relay import taken_of
from lab.smtp import Client, insecure, mail
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
def gateway(lab, net, names):
    """Makes gateways on the host between."""
    def make(backends=(f"{SERVER}:25",), **kw):
        return lab(backends, dns=names.server, host=net.gateway, **kw)

    return make


LISTENERS = """
listener in { address = "0.0.0.0:25" transparent = yes }
listener in6 { address = "[::]:25" transparent = yes }
"""
OUTBOUND = """
listener out { address = "127.0.0.1:2500" transparent = yes intercept = 25 direction = outbound tls = off }
listener out6 { address = "[::1]:2500" transparent = yes intercept = 25 direction = outbound tls = off }
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
        assert b"gate.example" in c.sock.getpeercert(True)
        assert "8BITMIME" in c.ehlo("mail.sender.example").keywords()
        assert all(r.code == 250 for r in c.envelope("alice@sender.example", "bob@example.com"))
        assert c.data_block(mail(subject="inline")).code == 250
    server.wait_log(rf"client=unknown\[{source}\]", since)
    server.wait_log(rf"TLS connection established from unknown\[{source}\]", since)
    line = g.verdict("accept")
    assert line["client"] == source and line["backend"] == ("b1" if ":" in host else "b0")
    message = server.wait_message("bob@example.com")
    seen = rb"Received: from mail\.sender\.example \(unknown \[(IPv6:)?" + re.escape(source).encode() + rb"\]\)\s[^:]*by server\.example\.com "
    assert re.search(seen, message), message


def test_filtered(net, server, inline):
    """What is bad does not arrive, whoever it was addressed to."""
    g = inline()
    since = end_of(server)
    with net.world.call(Client, 25, source=CLIENT, host=SERVER) as c:
        assert c.message("villain@sender.example", "bob@example.com", mail(subject="bad")).code == 250
    g.verdict("quarantine")
    assert "from=<villain@sender.example>" not in server.log(1 << 30)[since:]
    with net.world.call(Client, 25, source=CLIENT, host=SERVER) as c:
        c.ehlo()
        assert c.envelope("alice@sender.example", "a@elsewhere.example")[0].code == 550


@FAMILIES
def test_no_open_relay(net, server, inline, source, host):
    """Where the server relays for the gateway's network, and the gateway speaks in the clients' names."""
    inline(policy="accept\n", conf=f'relay_networks = {{ "{SERVER}", "{SERVER_V6}" }} limits {{ errors = 10000 }}')
    since = end_of(server)
    with net.world.call(Client, 25, source=source, host=host) as c:
        taken = taken_of(c)
    assert not taken, taken
    assert "world.example" not in server.log(1 << 30)[since:]


def test_the_server_refuses(net, server, inline):
    """Its own word on a recipient reaches the client."""
    inline()
    with net.world.call(Client, 25, source=CLIENT, host=SERVER) as c:
        c.ehlo()
        reply = c.envelope("alice@sender.example", "nobody@example.com")[0]
        assert reply.code == 550 and "nobody@example.com" in reply.text


def test_one_client_among_others(net, server, inline):
    """Two clients at once, from the same port of theirs, and one of them twice: each is seen for himself."""
    inline(workers=2)           # ports that the kernel gives to nobody by itself
    since = end_of(server)

    def client(source, port):
        return net.world.call(Client, 25, source=source, host=SERVER, source_port=port)

    with client(CLIENT, 20000) as a, client(CLIENT2, 20000) as b, client(CLIENT, 20001) as c:
        for i, each in enumerate((a, b, c)):
            each.ehlo(f"mail{i}.sender.example")
            assert each.envelope("alice@sender.example", "bob@example.com")[0].code == 250
        for i, each in enumerate((c, b, a)):
            assert each.data_block(mail(subject=f"number {i}")).code == 250
    server.wait_log(r"(?s)(status=sent.*){3}", since)
    log = server.log(1 << 30)[since:]
    for i, source in enumerate((CLIENT, CLIENT2, CLIENT)):
        # There may be more of "client=": a session that is not used for a second is given to others, and its recipients are asked for again.
        (queued,) = set(re.findall(rf"(\w+): message-id=<number\.{2 - i}@", log))
        assert f"{queued}: client=unknown[{source}]" in log


def test_reload_with_open_connections(net, server, inline):
    """Those that are open go on as they are, those that come find the new workers; the sockets of both are the parent's."""
    g = inline()
    with net.world.call(Client, 25, source=CLIENT, host=SERVER) as c:
        c.ehlo()
        assert c.envelope("alice@sender.example", "bob@example.com")[0].code == 250
        mark = g.mark()
        g.process.send(signal.SIGHUP)
        g.wait_line("event=reload what=done", mark)
        with net.world.call(Client, 25, source=CLIENT, host=SERVER) as d:
            assert d.message("alice@sender.example", "carol@example.com", mail()).code == 250
        assert c.data_block(mail(subject="across")).code == 250
        assert c.message("alice@sender.example", "bob@example.com", mail(subject="once more")).code == 250
    server.wait_message("bob@example.com", 2)
    assert any(b"across" in p.read_bytes() for p in server.messages("bob@example.com"))
    server.wait_message("carol@example.com")


def test_no_more_sessions_than_the_server_takes(net, server, inline):
    """max_sessions holds for sessions in the clients' names, too."""
    g = inline(backends=[f"{SERVER}:25"], listeners=LISTENERS.split("\n")[1], backend_options="max_sessions = 1 max_sessions_wait = 100ms",
               conf="limits { transactions = 10000 }")
    g.wait_line("event=backend .*state=up")
    with net.world.call(Client, 25, source=CLIENT, host=SERVER) as a, net.world.call(Client, 25, source=CLIENT2, host=SERVER) as b:
        a.ehlo()
        b.ehlo()
        while True:
            begun = time.monotonic()
            if a.envelope("alice@sender.example", "bob@example.com")[0].code == 250:        # else it is the probe's
                code = b.envelope("alice@sender.example", "bob@example.com")[0].code
                b.expect("RSET", 250)
                if code == 451:
                    break
                assert time.monotonic() - begun > 1     # what is not used for a second is given to others
            a.expect("RSET", 250)
        assert a.data_block(mail()).code == 250
        while b.envelope("alice@sender.example", "bob@example.com")[0].code == 451:     # until that session has said its goodbye
            b.expect("RSET", 250)


def test_to_the_gateway_itself(net, server, inline):
    """No loop: whoever connects to the gateway's own address is served as without interception."""
    inline()
    since = end_of(server)
    with net.world.call(Client, 25, source=CLIENT, host=GATEWAY_OUTSIDE) as c:
        assert c.message("alice@sender.example", "bob@example.com", mail()).code == 250
    server.wait_log(rf"client=unknown\[{GATEWAY_INSIDE}\]", since)


@pytest.mark.parametrize("source, far", [(SERVER, INTERNET), (SERVER_V6, INTERNET_V6)], ids=["ipv4", "ipv6"])
def test_outbound(net, server, inline, certificates, source, far):
    """The server's own mail: its original destination sees the server's address and HELO, and TLS that the gateway has opened."""
    g = inline(listeners=LISTENERS + OUTBOUND, conf='relay_networks = { "198.51.100.0/24", "2001:db8:5::/64" }')
    keywords = ("SIZE 1000000", "8BITMIME", "STARTTLS")
    with net.world.call(Backend, host=far, port=25, tls=certificates.self_signed, keywords=keywords) as internet:
        with net.server.call(Client, 25, source=source, host=far) as c:
            offered = c.ehlo("server.example.com").keywords()
            assert "STARTTLS" not in offered and "8BITMIME" in offered
            assert all(r.code == 250 for r in c.envelope("bob@example.com", "far@elsewhere.example", "away@other.example"))
            assert c.data_block(mail(sender="bob@example.com", to="far@elsewhere.example", subject="out")).code == 250
        message = internet.wait_messages(1)[0]
        # one session, or two of a client that has been slow
        assert message.session.tls and len(internet.messages) == 1 and {s.peer[0] for s in internet.sessions} == {source}
        assert "EHLO server.example.com" in message.session.commands
        assert message.to == ["far@elsewhere.example", "away@other.example"]
    line = g.verdict("accept")
    assert line["backend"] == (f"[{far}]:25" if ":" in far else f"{far}:25")


def test_outbound_only_for_our_own(net, inline):
    """A stranger who gets as far as the outbound listener relays nothing."""
    inline(listeners=LISTENERS + OUTBOUND, conf='relay_networks = { "198.51.100.25/32" }')
    net.gateway.sh(f"""nft insert rule inet gatepost prerouting ip saddr {SERVER2} tcp dport 25 tproxy ip to 127.0.0.1:2500 meta mark set 0x2525 accept""")
    with net.world.call(Backend, host=INTERNET, port=25) as internet:
        c = net.server.call(Client, 25, source=SERVER2, host=INTERNET)
        with c:
            assert c.greeting.code == 554
        assert not internet.sessions


def test_bypass(net, server, inline):
    """Networks in `bypass` are not taken in at all: the server's own greeting and certificate, and nothing in our log."""
    g = inline(listeners=LISTENERS + OUTBOUND, conf=f'relay_networks = {{ "{SERVER}/32" }} bypass = {{ "{CLIENT2}/32", "{INTERNET}/32" }}')
    since, mark = end_of(server), g.mark()
    with net.world.call(Client, 25, source=CLIENT2, host=SERVER) as c:
        assert "server.example.com" in c.greeting.text
        c.ehlo()
        c.starttls()
        assert b"backend.example" in c.sock.getpeercert(True)
        assert c.message("alice@sender.example", "bob@example.com", mail(subject="bad")).code == 250
    server.wait_log(rf"client=unknown\[{CLIENT2}\]", since)
    with net.world.call(Backend, host=INTERNET, port=25) as internet:
        with net.server.call(Client, 25, source=SERVER, host=INTERNET) as c:
            assert "backend.example" in c.greeting.text
        internet.wait(lambda: internet.sessions and internet.sessions[0].peer[0] == SERVER)
    with net.world.call(Client, 25, source=CLIENT, host=SERVER) as c:
        assert "gate.example" in c.greeting.text
    assert CLIENT2 not in g.process.output(mark) and "bypassed" not in g.process.output(mark)


def test_bypass_that_arrives(net, server, inline):
    """Rules that are older than the configuration: what should have passed by is passed on untouched."""
    g = inline()
    g.write_conf(conf=f'bypass = {{ "{CLIENT2}/32" }}')
    mark, since = g.mark(), end_of(server)
    g.process.send(signal.SIGHUP)
    g.wait_line("event=reload what=done", mark)
    with net.world.call(Client, 25, source=CLIENT2, host=SERVER) as c:
        assert "server.example.com" in c.greeting.text
        c.ehlo()
        c.starttls()
        assert b"backend.example" in c.sock.getpeercert(True)
        assert c.message("alice@sender.example", "bob@example.com", mail(subject="bad")).code == 250
        c.expect("QUIT", 221)
    assert f"client={CLIENT2}" in g.wait_line("event=bypassed", mark)
    server.wait_log(rf"client=unknown\[{CLIENT2}\]", since)


def bypassed(inline, **kw):
    """Connections of CLIENT2 pass untouched, through the gateway: its rules are older than the configuration."""
    g = inline()
    g.write_conf(**kw)
    mark = g.mark()
    g.process.send(signal.SIGHUP)
    g.wait_line("event=reload what=done", mark)
    return g


def test_bypass_and_stop(net, server, inline):
    """Who is in the middle of a message when Gatepost stops comes to its end."""
    g = bypassed(inline, conf=f'bypass = {{ "{CLIENT2}/32" }}')
    with net.world.call(Client, 25, source=CLIENT2, host=SERVER) as c:
        c.ehlo()
        c.expect("MAIL FROM:<alice@sender.example>", 250)
        c.expect("RCPT TO:<bob@example.com>", 250)
        c.expect("DATA", 354)
        g.process.send(signal.SIGTERM)
        g.wait_line("event=stop what=draining")
        for _ in range(15):
            c.send(b"a line\r\n")
            time.sleep(0.1)
        c.expect(".", 250)
        assert c.closed()
    assert g.process.wait() == 0
    g.wait_line(rf"event=bypassed .*client={CLIENT2} .*end=")


def test_bypass_of_who_has_vanished(net, server, inline):
    """Sessions without a limit: a connection that nothing moves on has an end all the same."""
    g = bypassed(inline, conf=f'bypass = {{ "{CLIENT2}/32" }} timeouts {{ session = 0 command = 3s backend_dot = 3s }}')
    with net.world.call(Client, 25, source=CLIENT2, host=SERVER) as c:
        assert "server.example.com" in c.greeting.text
        g.wait_line(r"event=bypassed .*end=idle")


@FAMILIES
def test_answers_that_go_elsewhere(net, server, inline, source, host):
    """The server's route to its clients does not lead through us: said once with the route to add, counted, and the mail is deferred."""
    own = LISTENERS.strip().split("\n")[":" in host]
    g = inline(backends=[f"[{host}]:25" if ":" in host else f"{host}:25"], listeners=own, backend_options="connect_timeout = 1s")
    test = ("routes", "-c", str(g.conf_path), "--test")
    live = ("check", "-c", str(g.conf_path), "--live")
    assert b"come back through this machine" in g.command(*test).stdout
    assert b"  ok    it sees each client's own address" in g.command(*live, check=False).stdout
    net.routes_elsewhere()
    try:
        for _ in range(2):
            with net.world.call(Client, 25, source=source, host=host) as c:
                assert c.message("alice@sender.example", "bob@example.com", mail()).code == 451
        line = g.wait_line("event=return-route")
        via = GATEWAY_INSIDE_V6 if ":" in host else GATEWAY_INSIDE
        assert f"route replace default via {via}" in line
        assert len(re.findall("event=return-route", g.process.output())) == 1
        assert json.loads(g.command("status", "-c", str(g.conf_path)).stdout)["unreturned"] >= 2
        done = g.command(*test, check=False) if ":" not in host else None      # it takes its time
        assert not done or done.returncode == 1 and f"route replace default via {via}".encode() in done.stdout
        assert not done or b"  FAIL  its answers to clients' addresses do not come back" in g.command(*live, check=False).stdout
    finally:
        net.routes_back()
    with net.world.call(Client, 25, source=source, host=host) as c:
        assert c.message("alice@sender.example", "bob@example.com", mail()).code == 250


def test_nobody_listens(net, server, inline):
    """While Gatepost is down nothing passes unchecked, unless the site wants that."""
    g = inline()
    g.stop()
    with pytest.raises(ConnectionRefusedError):
        net.world.call(Client, 25, source=CLIENT, host=SERVER)
    net.gateway.sh(g.command("routes", "-c", str(g.conf_path), "--pass-when-down").stdout.decode())
    with net.world.call(Client, 25, source=CLIENT, host=SERVER) as c:
        assert "server.example.com" in c.greeting.text
    g.start()


def test_capability(net, server, gateway, tmp_path):
    """CAP_NET_RAW is enough, in the sandbox; without it the start says what is missing, and so does a reload."""
    g = gateway(BOTH, listeners=LISTENERS, conf='user = "nobody"', binary=os.environ.get("GATEPOST_PLAIN"),
                wrap=["setpriv", "--bounding-set=-net_admin"], policy=POLICY)
    net.gateway.sh(g.command("routes", "-c", str(g.conf_path)).stdout.decode())
    try:
        with net.world.call(Client, 25, source=CLIENT, host=SERVER) as c:
            assert c.message("alice@sender.example", "bob@example.com", mail()).code == 250
        server.wait_message("bob@example.com")
    finally:
        net.gateway.sh(g.command("routes", "--undo").stdout.decode())
    other = tmp_path / "other.conf"
    other.write_text(g.conf_path.read_text().replace(str(g.state), str(tmp_path / "other")).replace('0.0:25"', '0.0:26"'))
    done = net.gateway.run(["setpriv", "--bounding-set=-net_admin,-net_raw", g.binary, "run", "-c", other], check=False)
    assert done.returncode == 1 and "listener in: transparent = yes needs the capability CAP_NET_RAW" in done.stderr


def test_check_and_what_mends_it(net, gateway):
    """Whatever is missing on the machine is said with its command; each command makes the line go away."""
    g = gateway(BOTH, listeners=LISTENERS)
    host = net.gateway

    def lines():
        done = g.command("check", "-c", str(g.conf_path), check=False)
        assert done.returncode == 0
        return [line.split("inline: ", 1)[1] for line in done.stderr.decode().splitlines() if "inline: " in line]

    def command(line):
        found = re.search(r": ((ip|sysctl|gatepost) .*)", line)
        return found[1].replace("gatepost", g.binary, 1) if found[2] == "gatepost" else found[1]

    said = lines()
    assert [line for line in said if "IPv4: no routing rule" in line] and [line for line in said if "IPv6: no routing rule" in line]
    assert "nothing is taken in yet" in said[-1]
    host.sh(command(said[-1]))
    assert lines() == []
    for harm, word in (("ip rule del fwmark 0x2525", "IPv4: no routing rule"), ("ip -6 rule del fwmark 0x2525", "IPv6: no routing rule"),
                       ("ip route flush table 2525", "IPv4: no local route"), ("ip -6 route flush table 2525", "IPv6: no local route"),
                       ("sysctl -q -w net.ipv4.ip_forward=0", "IPv4: this machine does not forward"),
                       ("sysctl -q -w net.ipv6.conf.all.forwarding=0", "IPv6: this machine does not forward"),
                       ("sysctl -q -w net.ipv4.conf.wan.src_valid_mark=1", "the mark takes part"),
                       ("sysctl -q -w net.ipv4.conf.wan.rp_filter=1", "rp_filter of wan is strict"),
                       ("nft delete table inet gatepost", "nothing is taken in yet")):
        host.sh(harm)
        said = lines()
        assert len(said) == 1 and word in said[0], (harm, said)
        host.sh(command(said[0]))
        assert lines() == [], harm
    host.sh("sysctl -q -w net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.wan.rp_filter=0")
    host.sh(g.command("routes", "--undo").stdout.decode())
    done = host.run(["setpriv", "--bounding-set=-net_admin,-net_raw", g.binary, "check", "-c", g.conf_path], check=False)
    assert done.returncode == 1 and "CAP_NET_RAW is missing" in done.stderr


@pytest.mark.parametrize("port", [587, 465])
def test_submission(net, inline, certificates, port):
    """A user's session with the server is from the user's own address, under TLS from the first octet where the port is for that."""
    done = {"AUTH": b"235 2.7.0 welcome\r\n"}
    kw = dict(host=SERVER, tls=certificates.self_signed, keywords=("8BITMIME", "STARTTLS", "AUTH PLAIN"), script=done)
    ports = [net.server.call(Backend, port=587, **kw)] + ([net.server.call(Backend, port=465, implicit=True, **kw)] if port == 465 else [])
    try:
        g = inline(backends=[f"{SERVER}:587"], listeners=f'listener users {{ address = "0.0.0.0:{port}" transparent = yes }}')
        g.wait_line("event=backend .*state=up")
        c = net.world.call(Client, port, source=CLIENT, host=SERVER, greeting=False)
        with c:
            if port == 465:
                c.sock = insecure().wrap_socket(c.sock, server_hostname="gate.example")
            c.reply()
            c.ehlo("laptop.example.com")
            if port == 587:
                c.starttls()
            assert "AUTH" in c.ehlo("laptop.example.com").keywords()
            c.expect("AUTH PLAIN " + base64.b64encode(b"\0bob\0secret").decode(), 235)
            assert c.envelope("bob@example.com", "far@elsewhere.example")[0].code == 250
            assert c.data_block(mail(sender="bob@example.com", to="far@elsewhere.example")).code == 250
        session = ports[-1].wait_messages(1)[0].session
        assert session.peer[0] == CLIENT and session.tls and "EHLO laptop.example.com" in session.commands
    finally:
        for each in ports:
            each.stop()


def test_a_password_is_for_one_server(net, inline):
    """A server that is none of the backends any more is still taken in: who logs in there does not tell another one his password."""
    kw = dict(port=587, keywords=("8BITMIME", "AUTH PLAIN"), script={"AUTH": b"235 2.7.0 welcome\r\n"})
    there, here = (net.server.call(Backend, host=host, **kw) for host in (SERVER, SERVER2))
    try:
        g = inline(backends=[f"{SERVER2}:587"], listeners='listener users { address = "0.0.0.0:587" transparent = yes }')
        g.write_conf(backends=[f"{SERVER}:587"])
        g.process.send(signal.SIGHUP)
        g.wait_line("event=reload what=done")
        with net.world.call(Client, 587, source=CLIENT, host=SERVER2) as c:
            c.ehlo()
            c.starttls()
            c.ehlo()
            c.expect("AUTH PLAIN " + base64.b64encode(b"\0bob\0secret").decode(), 454)
        assert f"destination={SERVER2}:587" in g.wait_line("event=login-elsewhere")
        assert not any(line.startswith("AUTH") for b in (there, here) for s in b.sessions for line in s.commands)
    finally:
        there.stop()
        here.stop()


def test_any_other_port(net, inline):
    """protocol = tcp: passed through, from the client's own address to where it wanted to go."""
    web = net.server.call(socket.create_server, (SERVER, 80))
    web.settimeout(30)
    g = inline(backends=[f"{SERVER}:25"], listeners='listener web { address = "0.0.0.0:80" protocol = tcp transparent = yes backends = { b0 } }')
    with web, net.world.call(socket.create_connection, (SERVER, 80), 30, (CLIENT, 0)) as c:
        s, peer = web.accept()
        assert peer[0] == CLIENT
        with s:
            c.sendall(b"GET /\r\n")
            assert s.recv(100) == b"GET /\r\n"
            s.sendall(b"hello")
            assert c.recv(100) == b"hello"
    assert f"address={SERVER}:80" in g.wait_line("event=tcp")


def test_the_server_turns_the_client_away(net, inline):
    """Its connection filter sees the client, and so the client hears what it has to say."""
    def greet(session, line):
        return b"554 5.7.1 not you\r\n" if session.peer[0] == CLIENT else None

    with net.server.call(Backend, host=SERVER, port=26, script={"CONNECT": greet}):
        g = inline(backends=[f"{SERVER}:26"], listeners='listener in { address = "0.0.0.0:26" transparent = yes }')
        g.wait_line("event=backend .*state=up")
        with net.world.call(Client, 26, source=CLIENT, host=SERVER) as c:
            c.ehlo()
            assert c.envelope("alice@sender.example", "bob@example.com")[0].lines == ["554 5.7.1 not you"]
        with net.world.call(Client, 26, source=CLIENT2, host=SERVER) as c:
            assert c.message("alice@sender.example", "bob@example.com", mail()).code == 250


def test_no_proxy_header_inline(net, inline):
    """The server sees the client himself; PROXY headers are for the connections from the gateway's own address, as its settings say."""
    heads = []

    def greet(session, line):
        if session.peer[0] == GATEWAY_INSIDE:
            heads.append(session.read())

    with net.server.call(Backend, host=SERVER, port=26, script={"CONNECT": greet}) as server:
        g = inline(backends=[f"{SERVER}:26"], backend_options="proxy = v1", listeners='listener in { address = "0.0.0.0:26" transparent = yes }')
        g.wait_line("event=backend .*state=up")
        with net.world.call(Client, 26, source=CLIENT, host=SERVER) as c:
            assert c.message("alice@sender.example", "bob@example.com", mail()).code == 250
        assert server.wait_messages(1)[0].session.peer[0] == CLIENT and heads[0].startswith(b"PROXY ")


def test_spool_of_a_server_that_is_away(net, inline):
    """spool = yes holds inline, too; what waited comes from the gateway's own address, since its client has gone."""
    server = net.server.call(Backend, host=SERVER, port=26)
    try:
        g = inline(backends=[f"{SERVER}:26"], listeners='listener in { address = "0.0.0.0:26" transparent = yes }',
                   backend_options="spool = yes probe_interval = 1s connect_timeout = 3s", conf="recipients { verify = none }")
        g.wait_line("event=backend .*state=up")
        server.stop()
        g.wait_line("event=backend .*state=away")
        with net.world.call(Client, 26, source=CLIENT, host=SERVER) as c:
            assert c.message("alice@sender.example", "bob@example.com", mail(subject="later")).code == 250
        g.wait_line("event=spooled")
        net.server.call(server.listen)
        message = server.wait_messages(1)[0]
        assert message.session.peer[0] == GATEWAY_INSIDE and b"later" in message.data
    finally:
        server.stop()


def test_a_server_that_is_silent(net, inline):
    """Nobody waits twice for it in one transaction."""
    g = inline(backends=[f"{SERVER}:27"], listeners='listener in { address = "0.0.0.0:27" transparent = yes }',
               backend_options="connect_timeout = 300ms", conf="recipients { verify = none }")
    net.server.sh("nft add table inet silent; nft add chain inet silent in '{ type filter hook input priority 0; }'; nft add rule inet silent in tcp dport 27 drop")
    try:
        with net.world.call(Client, 27, source=CLIENT, host=SERVER) as c:
            c.ehlo()
            assert {r.code for r in c.envelope("alice@sender.example", *(f"user{i}@example.com" for i in range(20)))} == {451}
        g.wait_line("event=destination")
        g.process.send(signal.SIGHUP)
        g.wait_line("event=reload")             # what was said before is read by then
        assert len(re.findall("event=destination", g.process.output())) == 1
    finally:
        net.server.sh("nft delete table inet silent")


FIREWALL = """nft -f - <<'END'
table inet firewall {
	chain input {
		type filter hook input priority filter; policy drop;
		iif lo accept
		ct state invalid drop
		meta mark 0x2525 accept
		ct state established,related accept
		meta l4proto icmpv6 accept
	}
	chain forward {
		type filter hook forward priority filter; policy drop;
		ct state established,related accept
	}
	chain output {
		type filter hook output priority filter; policy accept;
		ct state invalid drop
	}
}
END
"""


def test_behind_a_firewall(net, server, inline):
    """With connection tracking, and everything closed but what bears the mark."""
    inline()
    net.gateway.sh(FIREWALL)
    try:
        for source, host in ((CLIENT, SERVER), (CLIENT_V6, SERVER_V6)):
            with net.world.call(Client, 25, source=source, host=host) as c:
                assert c.message("alice@sender.example", "bob@example.com", mail()).code == 250
        server.wait_message("bob@example.com", 2)
    finally:
        net.gateway.sh("nft delete table inet firewall")


def test_outbound_to_nobody(net, inline):
    """The destination is connected to before the greeting: a sender goes on to the next server of the domain, as without a gateway."""
    inline(listeners=LISTENERS + OUTBOUND, conf='relay_networks = { "198.51.100.0/24" }')
    with net.server.call(Client, 25, source=SERVER, host=INTERNET) as c:
        assert c.greeting.lines == [f"421 4.4.1 {INTERNET}:25 does not answer"]
        assert c.closed()
