"""
Both legs of POP3 and IMAP sessions: TLS towards clients and servers, which certificate and which server a client gets (SNI, the map of users), what the
server is told of the client, and the client's own address inline; with real Dovecots.
"""
import contextlib
import signal
import socket
import ssl
import time

import pytest
from lab.certificates import Certificates
from lab.gateway import parse_logfmt
from lab.lines import Lines
from lab.mailserver import USERS, Mailserver
from lab.netns import CLIENT, CLIENT_V6, GATEWAY_OUTSIDE, SERVER, SERVER_V6, Network
from lab.process import WAIT_S, Process, free_port
from lab.smtp import Client, insecure
from lab.wire import Closed, Imap, Pop3

TWO = {**USERS, "dave@example.com": "dave"}
KINDS = pytest.mark.parametrize("kind", ["imap", "pop3"])


@pytest.fixture(scope="module")
def bare(scratch):
    """A server that knows no TLS at all."""
    with Mailserver(scratch / "legs-bare", users=TWO, conf="login_greeting = bare") as server:
        yield server


@pytest.fixture(scope="module")
def other(scratch, certificates):
    """One more server, which says another greeting; both have the same users."""
    with Mailserver(scratch / "legs-other", users=TWO, tls=certificates.signed, trusted="127.0.0.0/8", conf="login_greeting = other") as server:
        yield server


@pytest.fixture(scope="module")
def named(scratch):
    """Certificates for the names that clients ask for; .site is the one of section tls."""
    c = Certificates(scratch / "legs-names", "gate.example")
    c.site = c.sign("site", "gate.example")
    c.imap = c.sign("imap", "imap.example.org")
    c.star = c.sign("star", "*.example.net")
    return c


def connect(kind, port, tls=False, **kw):
    return (Imap if kind.startswith("imap") else Pop3)(port, tls, **kw)


def login(c, user="alice", password="wonder land"):
    """By the plainest means of its protocol; then something that only who is in can ask."""
    if isinstance(c, Imap):
        c.ok(b"l LOGIN %s \"%s\"" % (user.encode(), password.encode()))
        assert b"INBOX" in c.ok(b'i LIST "" INBOX')
    else:
        c.ok(b"USER " + user.encode())
        c.ok(b"PASS " + password.encode())
        c.ok(b"STAT")
    return c


def subject(c):
    """The names of the certificate that the client was shown."""
    der = c.sock.getpeercert(True)
    for name in ("gate.example", "imap.example.org", "*.example.net", "new.example.org"):
        if name.encode() in der:
            return name
    raise AssertionError(ssl.DER_cert_to_PEM_cert(der))


def end_line(g, kind, since=0, pattern=""):
    return parse_logfmt(g.wait_line(rf"event={kind} .*{pattern}", since))


# --- TLS with the client ---

@KINDS
def test_implicit_before_a_server_without(bare, access_gate, kind):
    """From the first octet, where the server has none; and the server hears nothing of it."""
    g = access_gate(bare.ports)
    with connect(kind, g.ports[kind + "s"], tls=True) as c:
        assert b"bare" in c.greeting
        login(c)
    line = end_line(g, kind)
    assert line["tls"] == "TLSv1.3" and line["backend"] == f"to_{kind}" and "backend_tls" not in line


@KINDS
def test_starttls_before_a_server_without(bare, access_gate, kind):
    g = access_gate(bare.ports)
    with connect(kind, g.ports[kind]) as c:
        word = b"STARTTLS" if kind == "imap" else b"STLS"
        caps = (lambda: c.ok(b"c CAPABILITY")) if kind == "imap" else (lambda: c.ok(b"CAPA", lines=True))
        assert word in caps()
        c.starttls()
        assert word not in caps()
        login(c)
    assert end_line(g, kind)["tls"] == "TLSv1.3"


def test_old_clients_of_tls(bare, access_gate):
    """TLS 1.2 as well, and nothing older."""
    g = access_gate(bare.ports, kinds=("imaps",))
    context = insecure()
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    with socket.create_connection(("127.0.0.1", g.ports["imaps"])) as s, context.wrap_socket(s) as t:
        assert t.recv(100).startswith(b"* OK") and t.version() == "TLSv1.2"


# --- TLS with the server ---

TRUSTED = 'tls = required tls_ca = "{ca}" tls_name = "backend.example"'


@KINDS
def test_implicit_behind(mailserver, access_gate, certificates, kind):
    """A client in clear, a server on 993 or 995 whose certificate is verified."""
    g = access_gate({kind: mailserver.ports[kind + "s"]}, backend_options=TRUSTED.format(ca=certificates.ca) + " implicit_tls = yes")
    mark = mailserver.mark()
    with connect(kind, g.ports[kind]) as c:
        login(c)
    assert "TLS" in mailserver.wait_line(r"Login: user=<alice>", mark)
    assert end_line(g, kind)["backend_tls"] == "TLSv1.3"


@KINDS
@pytest.mark.parametrize("tls", [TRUSTED, "tls = opportunistic", "tls = off"], ids=["required", "opportunistic", "off"])
def test_starttls_behind(mailserver, access_gate, certificates, kind, tls):
    g = access_gate({kind: mailserver.ports[kind]}, backend_options=tls.format(ca=certificates.ca))
    mark = mailserver.mark()
    with connect(kind, g.ports[kind]) as c:
        login(c)
    line = mailserver.wait_line(r"Login: user=<alice>", mark)
    assert ("TLS" in line) == (tls != "tls = off")
    assert end_line(g, kind).get("backend_tls") == (None if tls == "tls = off" else "TLSv1.3")


@KINDS
@pytest.mark.parametrize("implicit", [False, True], ids=["starttls", "implicit"])
@pytest.mark.parametrize("wrong", ["name", "ca"])
def test_required_and_refused(mailserver, access_gate, certificates, named, kind, implicit, wrong):
    """A certificate of another name, or of an unknown CA: nobody's password goes there, and the log says why."""
    options = (f'tls = required tls_ca = "{named.ca if wrong == "ca" else certificates.ca}" '
               f'tls_name = "{"other.example" if wrong == "name" else "backend.example"}" implicit_tls = {"yes" if implicit else "no"}')
    g = access_gate({kind: mailserver.ports[kind + ("s" if implicit else "")]}, backend_options=options)
    mark = mailserver.mark()
    with connect(kind, g.ports[kind], timeout=20) as c, contextlib.suppress(Closed):
        assert (b"* BYE [UNAVAILABLE]" if kind == "imap" else b"-ERR [SYS/TEMP]") in c.greeting + c.rest()
    line = parse_logfmt(g.wait_line("event=backend-tls"))
    assert line["backend"] == f"to_{kind}" and ("ostname mismatch" if wrong == "name" else "certificate") in line["why"]
    assert "TLS: " in end_line(g, kind)["why"]
    assert not any("user=<alice>" in text for text in mailserver.process.lines[mark:])
    g.wait_line(rf"event=backend name=to_{kind} .*state=away")


@KINDS
def test_required_where_there_is_none(bare, access_gate, kind):
    """STARTTLS that the server does not offer, or that somebody on the way has taken out."""
    g = access_gate(bare.ports, backend_options="tls = required")
    with connect(kind, g.ports[kind]) as c, contextlib.suppress(Closed):
        assert (b"* BYE [UNAVAILABLE]" if kind == "imap" else b"-ERR [SYS/TEMP]") in c.greeting + c.rest()
    assert ("STARTTLS" if kind == "imap" else "STLS") in end_line(g, kind)["why"]


def scripted(kind, after_starttls=b""):
    """A server that says it does TLS; what it says behind its OK, and then nothing more."""
    def imap(line):
        tag, verb = line.split()[:2]
        if verb == b"CAPABILITY":
            return b"* CAPABILITY IMAP4rev1 STARTTLS\r\n" + tag + b" OK\r\n"
        return (b"" if b"\0" in line else tag + b" OK\r\n" + (after_starttls if verb == b"STARTTLS" else b"")) if tag.isalnum() else b""

    def pop3(line):
        if line.startswith(b"CAPA"):
            return b"+OK\r\nUSER\r\nSTLS\r\n.\r\n"
        return b"+OK\r\n" + (after_starttls if line.startswith(b"STLS") else b"") if line[:4].isalpha() else b""

    if kind == "imap":
        return Lines(b"* OK [CAPABILITY IMAP4rev1 STARTTLS] ready\r\n", imap)
    return Lines(b"+OK ready\r\n", pop3)


@KINDS
@pytest.mark.parametrize("tls", ["opportunistic", "required"])
def test_response_injection(access_gate, kind, tls):
    """What a server, or somebody on the way, says behind its OK to STARTTLS: the session ends, nothing of it is believed, and nothing goes on in clear."""
    with scripted(kind, b"* OK injected\r\n+OK injected\r\n") as server:
        g = access_gate({kind: server.port}, backend_options=f"tls = {tls}")
        with connect(kind, g.ports[kind], timeout=20) as c, contextlib.suppress(Closed):
            assert b"injected" not in c.greeting + c.rest()
        assert "response injection" in g.wait_line("event=backend-tls")
        assert "injection" in end_line(g, kind)["why"]
        assert len(server.peers) == 1


@KINDS
def test_opportunistic_and_broken(access_gate, kind):
    """A handshake that fails: once more, in clear. But what a client has said under TLS, its password, does not go there."""
    with scripted(kind) as server:
        g = access_gate({kind: server.port}, backend_options="tls = opportunistic connect_timeout = 2s")
        with connect(kind, g.ports[kind]) as c:
            if kind == "imap":
                c.ok(b"a LOGIN alice secret")
            else:
                c.ok(b"USER alice")
                c.ok(b"PASS secret")
        assert any(b"alice" in line for line in server.heard) and len(server.peers) == 2
        g.wait_line(rf"event=backend-tls .*backend=to_{kind} ")
        del server.heard[:]
        with connect(kind, g.ports[kind + "s"], tls=True) as c, contextlib.suppress(Closed):
            if kind == "imap":
                assert b"a NO" in c.cmd(b"a LOGIN alice secret")
            else:
                c.send(b"USER alice\r\nPASS secret\r\n")
                assert b"-ERR" in c.line() + c.line()
        assert not any(b"secret" in line for line in server.heard)


# --- which certificate, which server ---

def sni_conf(named, *more):
    return f"""
tls {{ certificate = "{named.site[0]}" key = "{named.site[1]}" }}
sni "IMAP.example.org" {{ certificate = "{named.imap[0]}" key = "{named.imap[1]}" backends = {{ "other_imap", "other_pop3" }} }}
sni "*.example.net" {{ certificate = "{named.star[0]}" key = "{named.star[1]}" }}
""" + "\n".join(more)


def others(other, options=""):
    return "\n".join(f'backend other_{p} {{ address = "127.0.0.1:{other.ports[p]}" protocol = {p} {options} }}' for p in ("imap", "pop3"))


NAMES = [("imap.example.org", "imap.example.org", True), ("Imap.EXAMPLE.org", "imap.example.org", True), ("mail.example.net", "*.example.net", False),
         ("a.b.example.net", "gate.example", False), ("gate.example", "gate.example", False), (None, "gate.example", False)]


@KINDS
def test_sni_picks_certificate_and_server(bare, other, access_gate, named, kind):
    g = access_gate(bare.ports, conf=sni_conf(named, others(other)))
    for asked, shown, elsewhere in NAMES:
        with connect(kind, g.ports[kind + "s"], tls=True, server_name=asked) as c:
            assert subject(c) == shown, asked
            assert (b"other" if elsewhere else b"bare") in c.greeting, asked
            login(c)
    assert end_line(g, kind)["backend"] == f"other_{kind}"


@KINDS
def test_sni_with_starttls(bare, other, access_gate, named, kind):
    """The name comes when the server has greeted already: the certificate is of that name, and so is the server that the login goes to."""
    g = access_gate(bare.ports, conf=sni_conf(named, others(other)))
    with connect(kind, g.ports[kind]) as c:
        assert b"bare" in c.greeting
        c.starttls(server_name="imap.example.org")
        assert subject(c) == "imap.example.org"
        login(c)
    assert end_line(g, kind, pattern="user=alice")["backend"] == f"other_{kind}"


def test_sni_for_smtp(bare, lab, backend, named):
    """The same certificates for STARTTLS and TLS from the first octet on SMTP's listeners."""
    port = free_port()
    server = backend()
    g = lab([server.port], conf=sni_conf(named, f'backend other_imap {{ address = "127.0.0.1:{bare.ports["imap"]}" protocol = imap }}',
                                         f'backend other_pop3 {{ address = "127.0.0.1:{bare.ports["pop3"]}" protocol = pop3 }}',
                                         f'listener smtps {{ address = "127.0.0.1:{port}" tls = implicit backends = {{ "b0" }} }}'))
    for asked, shown, _ in NAMES:
        with Client(g.port) as c:
            c.ehlo()
            c.expect("STARTTLS", 220)
            c.sock = insecure().wrap_socket(c.sock, server_hostname=asked)
            assert subject(c) == shown
            assert c.ehlo().code == 250
        with Client(port, greeting=False) as c:
            c.sock = insecure().wrap_socket(c.sock, server_hostname=asked)
            assert subject(c) == shown and c.reply().code == 220


def test_certificates_are_reloaded(bare, access_gate, named):
    g = access_gate(bare.ports, kinds=("imaps",), conf=sni_conf(named, *(f'backend other_{p} {{ address = "127.0.0.1:9" protocol = {p} }}' for p in ("imap", "pop3"))))
    cert, key = named.sign("new", "new.example.org")
    g.write_conf(conf=g.settings["conf"] + f'\nsni "new.example.org" {{ certificate = "{cert}" key = "{key}" }}')
    with connect("imap", g.ports["imaps"], tls=True, server_name="new.example.org") as c:
        assert subject(c) == "gate.example"
    g.process.send(signal.SIGHUP)
    g.wait_line("event=reload what=done")
    with connect("imap", g.ports["imaps"], tls=True, server_name="new.example.org") as c:
        assert subject(c) == "new.example.org"


def test_check_tells_of_certificates(lab, backend, named):
    """gatepost check: one that does not carry its name, and one that has expired."""
    expired = named.sign("expired", "old.example.org", expired=True)
    g = lab([backend().port], conf=f"""
sni "pop.example.org" {{ certificate = "{named.imap[0]}" key = "{named.imap[1]}" }}
sni "old.example.org" {{ certificate = "{expired[0]}" key = "{expired[1]}" }}
""")
    said = g.command("check", "-c", str(g.conf_path)).stderr.decode()
    assert "sni pop.example.org: the certificate does not carry the name pop.example.org" in said
    assert "sni old.example.org: the certificate has expired on Jan  1" in said


# --- the map of users ---

@pytest.fixture
def mapped(bare, other, access_gate, tmp_path):
    """A gateway whose users lie on two servers: nobody said, on `bare`."""
    path = tmp_path / "users.map"
    path.write_text("# user or domain   backends\nBOB other_imap other_pop3\n@example.com other_imap other_pop3\ncarol@example.com to_imap to_pop3\n")
    g = access_gate(bare.ports, conf=f'user_map = "{path}"\n' + others(other))
    g.map = path
    return g


@KINDS
def test_user_map(bare, other, mapped, kind):
    for user, password, there in (("alice", "wonder land", bare), ("bob", "builder", other), ("carol@example.com", "christmas", bare),
                                  ("dave@example.com", "dave", other), ("dave@EXAMPLE.com", "dave", other)):
        mark = there.mark()
        with connect(kind, mapped.ports[kind]) as c:
            login(c, user, password)
        there.wait_line(rf"(?i){kind}-login: (Info: )?Login: user=<{user}>", mark)


@KINDS
def test_user_map_by_sasl(bare, other, mapped, kind):
    """The name is in the first line of PLAIN; mechanisms that say it later, or hang on the greeting, are not offered."""
    from lab import sasl
    mark = other.mark()
    with connect(kind, mapped.ports[kind]) as c:
        offered = c.ok(b"c CAPABILITY") if kind == "imap" else c.ok(b"CAPA", lines=True)
        assert b"PLAIN" in offered and b"CRAM-MD5" not in offered and b"DIGEST-MD5" not in offered
        assert kind == "imap" or b"<" not in c.greeting
        steps = sasl.plain("bob", "builder")
        answer = c.authenticate(b"a", "PLAIN", steps) if kind == "imap" else c.authenticate("PLAIN", steps)
        assert b"OK" in answer
    other.wait_line(r"Login: user=<bob>", mark)


def test_user_map_is_reloaded(bare, other, mapped):
    mapped.map.write_text("nobody other_imap\n")
    mapped.process.send(signal.SIGHUP)
    mapped.wait_line("event=reload what=done")
    mark = bare.mark()
    with connect("imap", mapped.ports["imap"]) as c:
        login(c, "bob", "builder")
    bare.wait_line(r"Login: user=<bob>", mark)
    since = mapped.mark()
    mapped.map.write_text("bob nowhere\n")
    mapped.process.send(signal.SIGHUP)
    assert f"{mapped.map}:1: " in mapped.wait_line("event=reload .*nowhere", since)
    mark = bare.mark()
    with connect("imap", mapped.ports["imap"]) as c:        # as before
        login(c, "bob", "builder")
    bare.wait_line(r"Login: user=<bob>", mark)


# --- what the server is told ---

@pytest.mark.parametrize("version", ["v1", "v2"])
@pytest.mark.parametrize("kind, behind", [("imap", "imap_proxy"), ("imap", "imaps_proxy"), ("pop3", "pop3_proxy"), ("pop3", "pop3s_proxy")])
def test_proxy(mailserver, access_gate, version, kind, behind):
    """The header comes before everything, TLS included; the server's log has the client's address."""
    g = access_gate({kind: mailserver.ports[behind]}, backend_options=f"proxy = {version} implicit_tls = {'yes' if 's_' in behind else 'no'}")
    mark = mailserver.mark()
    with connect(kind, g.ports[kind], source="127.0.0.9") as c:
        login(c)
    line = mailserver.wait_line(r"Login: user=<alice>", mark)
    assert "rip=127.0.0.9," in line and ("TLS" in line or "s_" not in behind)


@KINDS
@pytest.mark.parametrize("tls", ["tls = off", "tls = opportunistic"])
def test_xclient(mailserver, access_gate, kind, tls):
    """xclient = yes: XCLIENT of POP3, ID of IMAP, to a server that believes us."""
    g = access_gate(mailserver.ports, backend_options=f"xclient = yes {tls}")
    mark = mailserver.mark()
    with connect(kind, g.ports[kind], source="127.0.0.8") as c:
        login(c)
    line = mailserver.wait_line(r"Login: user=<alice>", mark)
    sid = end_line(g, kind)["sid"]
    assert "rip=127.0.0.8," in line and f"session=<{sid}>" in line


@KINDS
@pytest.mark.parametrize("how", ["xclient = yes", "proxy = v2"])
def test_told_by_a_balancer(mailserver, access_gate, kind, how):
    """A load balancer before us, IPv6: whom it names is whom the server behind us sees."""
    g = access_gate({kind: mailserver.ports[kind + ("_proxy" if "proxy" in how else "")]}, options='proxy_from = { "127.0.0.1" }', backend_options=how)
    mark = mailserver.mark()
    with connect(kind, g.ports[kind], first=b"PROXY TCP6 2001:db8::7 2001:db8::1 51234 143\r\n") as c:
        login(c)
    assert "rip=2001:db8::7," in mailserver.wait_line(r"Login: user=<alice>", mark)
    line = end_line(g, kind)
    assert line["client"] == "2001:db8::7" and line["via"] == "127.0.0.1"


@KINDS
def test_xclient_is_not_told_unasked(mailserver, access_gate, kind):
    g = access_gate(mailserver.ports)
    mark = mailserver.mark()
    with connect(kind, g.ports[kind], source="127.0.0.8") as c:
        login(c)
    assert "rip=127.0.0.1," in mailserver.wait_line(r"Login: user=<alice>", mark)


def test_a_client_does_not_say_who_it_is(mailserver, access_gate):
    """A client's own ID with the words that the server would believe."""
    g = access_gate(mailserver.ports)
    mark = mailserver.mark()
    with connect("imap", g.ports["imap"]) as c:
        c.ok(b'x ID ("name" "mutt" "x-originating-ip" "192.0.2.99" "X-Session-ID" "forged" "x-connected-ip" "192.0.2.98")')
        login(c)
    line = mailserver.wait_line(r"Login: user=<alice>", mark)
    assert "192.0.2.9" not in line and "forged" not in line


# --- a server that is away ---

def test_away_and_back(scratch, bare, access_gate):
    """Said once for all listeners that lead there, and once when it is back; meanwhile another one serves."""
    with Mailserver(scratch / "legs-first", conf="login_greeting = first") as first:
        g = access_gate({"imap": first.ports["imap"]}, kinds=("imap",), backend_options="priority = 1", conf=f"""
backend second {{ address = "127.0.0.1:{bare.ports["imap"]}" protocol = imap priority = 2 }}
listener both {{ address = "127.0.0.1:{(both := free_port())}" protocol = imap backends = {{ "to_imap", "second" }} }}
""")
        for port in (g.ports["imap"], both):
            assert b"first" in connect("imap", port).greeting
        first.stop()
        assert b"bare" in connect("imap", both).greeting
        with connect("imap", g.ports["imap"]) as c, contextlib.suppress(Closed):
            assert b"* BYE [UNAVAILABLE]" in c.greeting + c.rest()
        assert b"bare" in connect("imap", both).greeting
        g.wait_line("event=backend name=to_imap .*state=away")
        lines = [line for line in g.process.lines if "event=backend name=to_imap" in line]
        assert len(lines) == 1 and "name=to_imap" in lines[0] and "state=away" in lines[0], lines
        first.process = Process(["/usr/sbin/dovecot", "-F", "-c", str(first.dir / "dovecot.conf")])
        first.wait_up(lambda: b"first" in greeting(first.ports["imap"]))
        with connect("imap", g.ports["imap"]) as c:         # nobody else is left there: it is tried at once
            assert b"first" in c.greeting
        assert b"first" in connect("imap", both).greeting
        g.wait_line("event=backend .*state=up")
        g.wait_line("event=backend .*state=up", 0)
        assert len([line for line in g.process.lines if "event=backend " in line and "state=up" in line]) == 1


def greeting(port):
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=5) as s:
            return s.recv(200)
    except OSError:
        return b""


def test_max_sessions(bare, access_gate):
    """Over all workers; who comes then hears that it is full."""
    g = access_gate({"imap": bare.ports["imap"]}, kinds=("imap",), backend_options="max_sessions = 2", workers=2)
    open_ones = [connect("imap", g.ports["imap"]) for _ in range(2)]
    assert all(b"bare" in c.greeting for c in open_ones)
    with connect("imap", g.ports["imap"]) as c, contextlib.suppress(Closed):
        assert b"* BYE [UNAVAILABLE]" in c.greeting + c.rest()
    open_ones.pop().close()
    end = time.monotonic() + WAIT_S
    while b"bare" not in connect("imap", g.ports["imap"]).greeting:
        assert time.monotonic() < end


# --- inline ---

@pytest.fixture(scope="module")
def net():
    with Network() as network:
        yield network


@pytest.fixture(scope="module")
def far(net, scratch, certificates):
    """A Dovecot on the server's own addresses, at the standard ports."""
    standard = "\n".join(f"service {p}-login {{\n inet_listener {p}_std {{\n port = {port}\n }}\n inet_listener {p}s_std {{\n port = {tls}\n ssl = yes\n }}\n}}"
                         for p, port, tls in (("imap", 143, 993), ("pop3", 110, 995)))
    server = net.server.call(Mailserver, scratch / "legs-inline", tls=certificates.signed, conf=f"listen = 127.0.0.1, {SERVER}, {SERVER_V6}\n{standard}")
    yield server
    server.stop()


PORTS = {"imap": 143, "imaps": 993, "pop3": 110, "pop3s": 995}


@pytest.fixture
def inline(net, lab):
    made = []

    def make(conf):
        listeners = "\n".join(f'listener {k}{f} {{ address = "{a}:{p}" transparent = yes }}' for k, p in PORTS.items()
                              for f, a in (("4", "0.0.0.0"), ("6", "[::]")))
        g = lab([], listeners=listeners, host=net.gateway, conf=conf, dns=None)
        net.gateway.sh(g.command("routes", "-c", str(g.conf_path)).stdout.decode())
        made.append(g)
        return g

    yield make
    for g in made:
        net.gateway.sh(g.command("routes", "--undo").stdout.decode())


def backends(options, ports=(143, 110)):
    return "\n".join(f'backend s{p}{f} {{ address = "{a}:{p}" {options} }}' for p in ports for f, a in (("4", SERVER), ("6", f"[{SERVER_V6}]")))


@pytest.mark.parametrize("kind", PORTS)
@pytest.mark.parametrize("source, host", [(CLIENT, SERVER), (CLIENT_V6, SERVER_V6)], ids=["ipv4", "ipv6"])
def test_inline(net, far, inline, certificates, source, host, kind):
    """Addressed to the server, served by the gateway; the server sees the client's own address, under TLS as its settings say, on the standard ports."""
    g = inline(backends(TRUSTED.format(ca=certificates.ca)))
    mark = far.mark()
    with net.world.call(connect, kind, PORTS[kind], tls=kind.endswith("s"), source=source, host=host) as c:
        if kind.endswith("s"):
            assert b"gate.example" in c.sock.getpeercert(True)
        login(c)
    line = far.wait_line(r"Login: user=<alice>", mark)
    assert f"rip={source}," in line and "TLS" in line, line
    end = end_line(g, kind.rstrip("s"))
    assert end["client"] == source and end["backend_tls"] == "TLSv1.3" and end["backend"].startswith("s")


def test_inline_to_others(net, far, inline):
    """A server that is none of the backends any more is taken in by the rules that are still there: TLS as the client's, else as it offers it."""
    g = inline(backends(""))
    g.write_conf(conf=backends("").replace(SERVER, "198.51.100.99").replace(SERVER_V6, "2001:db8:5::99"))
    g.process.send(signal.SIGHUP)
    g.wait_line("event=reload what=done")
    for kind, tls in (("imaps", "TLSv1.3"), ("pop3s", "TLSv1.3"), ("imap", "TLSv1.3"), ("pop3", "TLSv1.3")):
        since, mark = g.mark(), far.mark()
        with net.world.call(connect, kind, PORTS[kind], tls=kind.endswith("s"), source=CLIENT, host=SERVER) as c:
            login(c)
        assert f"rip={CLIENT}," in far.wait_line(r"Login: user=<alice>", mark)
        line = end_line(g, kind.rstrip("s"), since)
        assert line["backend"] == "destination" and line["backend_tls"] == tls


def test_inline_addressed_to_the_gateway(net, far, inline):
    """Who connects to the gateway itself gets the listener's backends, as from anywhere."""
    g = inline(backends("tls = off", ports=(143, 110)))
    with net.world.call(connect, "imap", 143, source=CLIENT, host=GATEWAY_OUTSIDE) as c:
        login(c)
    assert end_line(g, "imap")["backend"] in ("s1434", "s1436")
