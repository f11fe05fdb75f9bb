"""TLS towards the Internet: opportunistic, DANE in a signed zone, MTA-STS with policies from a real web server."""
import http.server
import os
import random
import ssl
import threading

import pytest

from lab.backend import KEYWORDS, Backend, hang_up
from lab.certificates import Certificates, tlsa
from lab.gateway import BINARY, Gateway
from lab.knot import Knot
from lab.postfix import Postfix
from lab.process import free_port
from lab.smtp import Client, mail

HOSTS = {name: f"127.0.0.{n}" for n, name in enumerate(("right", "wrong", "ta", "unusable", "bogus", "postfix", "mx"), 41)}
# Port 443 is where policies are fetched: an address that no other test has.
WEB = "127.{}.{}.{}".format(*(random.randint(2, 250) for _ in range(3)))
STS = ("enforce", "testing", "none", "nopage", "page", "moved", "elsewhere", "badname")


def zone_signed(port, cert, ca):
    lines = []
    for name, address in HOSTS.items():
        lines += [f"{name}.dane.example MX 10 mx-{name}.dane.example", f"mx-{name}.dane.example A {address}"]
    at = f"_{port}._tcp.mx-"
    lines += [
        f"{at}right.dane.example TLSA {tlsa(3, 1, cert)}",
        f"{at}wrong.dane.example TLSA {tlsa(3, 1, ca)}",
        f"{at}postfix.dane.example TLSA {tlsa(3, 0, cert)}",
        f"{at}ta.dane.example TLSA {tlsa(2, 0, ca)}",
        f"{at}unusable.dane.example TLSA {tlsa(1, 1, cert)}",
        # A delegation whose DS fits no key: what is below is bogus.
        "_tcp.mx-bogus.dane.example NS ns.root",
        f"_tcp.mx-bogus.dane.example DS 1 13 2 {'ab' * 32}",
        "two.dane.example MX 10 mx-wrong.dane.example", "two.dane.example MX 20 mx-right.dane.example",
        "cname.dane.example MX 10 other.dane.example", "other.dane.example CNAME mx-right.dane.example",
    ]
    return "\n".join(lines)


def zone_plain(port, cert):
    lines = [f"_{port}._tcp.mx.plain.example TLSA {tlsa(3, 1, cert)}", "plain.example MX 10 mx.plain.example", f"mx.plain.example A {HOSTS['mx']}"]
    for d in STS:
        lines += [f"{d}.example MX 10 mx.{d}.example", f"mx.{d}.example A {HOSTS['mx']}", f"mta-sts.{d}.example A {WEB}", f"_mta-sts.{d}.example TXT \"v=STSv1; id=1\""]
    return "\n".join(lines)


class PolicyServer:
    """https on port 443 of an address: {host: (status, type, text)}."""

    def __init__(self, certificate):
        pages = self.pages = {}
        self.asked = asked = []

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                asked.append((self.headers["Host"], self.path))
                status, kind, text = pages.get(self.headers["Host"], (404, "text/plain", "nothing here"))
                self.send_response(status)
                self.send_header("Content-Type", kind)
                self.send_header("Location", "https://mta-sts.enforce.example/.well-known/mta-sts.txt")
                self.send_header("Content-Length", len(text))
                self.end_headers()
                self.wfile.write(text.encode())

            def log_message(self, *_):
                pass

        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*certificate)
        self.server = http.server.ThreadingHTTPServer((WEB, 443), Handler)
        self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def stop(self):
        if self.server:
            self.server.shutdown()
            self.server.server_close()
        self.server = None


class World:
    def __init__(self, directory):
        self.port = free_port()
        self.certificates = c = Certificates(directory / "certificates", "mx.enforce.example")
        self.good = c.sign("good", *(f"mx.{d}.example" for d in STS))
        self.ta = c.sign("ta", "mx-ta.dane.example")
        self.ta[0].write_text(self.ta[0].read_text() + c.ca.read_text())        # the anchor comes with it
        self.expired = c.sign("expired", *(f"mx.{d}.example" for d in STS), expired=True)
        self.web = c.sign("web", *(f"mta-sts.{d}.example" for d in STS if d != "badname"))
        self.knot = Knot(directory / "world", zone_plain(self.port, c.self_signed[0]),
                         signed={"dane.example": zone_signed(self.port, c.self_signed[0], c.ca)})
        self.anchors = directory / "anchors"
        self.anchors.write_text(self.knot.anchors())


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    w = World(tmp_path_factory.mktemp("world"))
    yield w
    w.knot.stop()


@pytest.fixture
def web(world):
    if os.geteuid() != 0:
        pytest.skip("port 443 is root's")
    server = PolicyServer(world.web)
    yield server
    server.stop()


@pytest.fixture
def host(world):
    made = []

    def make(name, certificate=None, **kw):
        kw.setdefault("keywords", (*KEYWORDS, "STARTTLS") if certificate else KEYWORDS)
        made.append(Backend(host=HOSTS[name], port=world.port, tls=certificate, **kw))
        return made[-1]

    yield make
    for b in made:
        b.stop()


def settings(world, outbound="", conf=""):
    options = f'port = {world.port} never = {{ none }} bench = 0 reuse_idle = 0 tls_ca = "{world.certificates.ca}" {outbound}'
    return dict(dns=world.knot.server, conf=f'relay_networks = {{ "127.0.0.1" }} outbound {{ {options} }} {conf}', policy="accept\n",
                dns_conf=f'dnssec = yes trust_anchor = "{world.anchors}"')


@pytest.fixture
def gate(lab, world, backend):
    def make(outbound="", conf=""):
        return lab([backend().port], **settings(world, outbound, conf))

    return make


def send(g, to):
    with Client(g.port) as c:
        return c.message("user@example.com", to, mail("user@example.com", to))


def policy(mode, mx, age=86400):
    return 200, "text/plain; charset=utf-8", f"version: STSv1\r\nmode: {mode}\r\nmx: {mx}\r\nmax_age: {age}\r\n"


def test_dane_authenticates(gate, host, world):
    """The key that the record names, whatever the certificate says of names; a CA that it names; the name that a CNAME leads to."""
    c = world.certificates
    right, ta = host("right", c.self_signed), host("ta", world.ta)
    g = gate()
    for domain, server in (("right", right), ("ta", ta), ("cname", right)):
        mark = g.mark()
        assert send(g, f"x@{domain}.dane.example").code == 250
        assert g.verdict("accept", since=mark)["backend.tls"] == "TLSv1.3 dane"
        assert server.sessions[-1].tls


def test_dane_refuses(gate, host, world):
    """Another key, no TLS, a CA's certificate for another name: not used, never in plain text; the next host is."""
    c = world.certificates
    wrong, bare, ta = host("wrong", c.self_signed), host("right"), host("ta", world.good)
    g = gate()
    for domain in ("wrong", "right", "ta"):
        reply = send(g, f"x@{domain}.dane.example")
        assert reply.code == 451 and "4.7.5" in reply.text, reply
        g.wait_line(rf"event=outbound-tls domain={domain}.dane.example .*by=DANE")
    assert not wrong.messages and not bare.messages and not ta.messages
    assert not any(s.mail for s in wrong.sessions + bare.sessions + ta.sessions)
    bare.stop()
    right = host("right", c.self_signed)
    assert send(g, "x@two.dane.example").code == 250
    assert right.messages[0].to == ["x@two.dane.example"]


def test_dane_that_cannot_be_told(gate, host, world):
    """A forged lookup: not used. Records that are of no use: TLS, whoever it is."""
    bogus = host("bogus", world.certificates.self_signed)
    unusable = host("unusable", world.certificates.self_signed)
    g = gate()
    reply = send(g, "x@bogus.dane.example")
    assert reply.code == 250 and "kept" in reply.text       # the DNS may know better later
    assert "bogus" in g.wait_line("event=outbound-tls domain=bogus.dane.example .*not used.*TLSA")
    assert not bogus.sessions
    assert send(g, "x@unusable.dane.example").code == 250
    assert g.verdict("accept")["backend.tls"] == "TLSv1.3 none"
    unusable.stop()
    host("unusable")
    assert send(g, "x@unusable.dane.example").code == 451


def test_dane_only_where_it_is_secure(gate, host, world):
    """Records in a zone that nobody signs say nothing; nor does anything with dane = no."""
    plain = host("mx")
    g = gate()
    assert send(g, "x@plain.example").code == 250
    assert g.verdict("accept")["backend.tls"] == "off"
    assert plain.messages
    wrong = host("wrong", world.certificates.self_signed)
    g = gate("dane = no")
    assert send(g, "x@wrong.dane.example").code == 250
    assert g.verdict("accept")["backend.tls"] == "TLSv1.3 none"
    assert wrong.messages


def test_to_a_real_postfix(gate, world, scratch):
    cert, key = world.certificates.self_signed
    postfix = Postfix(scratch / "outbound-tls-postfix", domains=("postfix.dane.example",), listen=[f"{HOSTS['postfix']}:{world.port}"],
                      smtpd_tls_security_level="encrypt", smtpd_tls_cert_file=cert, smtpd_tls_key_file=key, smtpd_tls_loglevel="1")
    try:
        g = gate()
        assert send(g, "bob@postfix.dane.example").code == 250
        assert g.verdict("accept")["backend.tls"] == "TLSv1.3 dane"
        postfix.wait_message("bob@postfix.dane.example")
        postfix.wait_log("TLS connection established from .*TLSv1.3")
    finally:
        postfix.stop()


def test_from_the_spool(gate, host, world):
    """What waits there goes out no other way."""
    right, wrong = host("right", world.certificates.self_signed), host("wrong", world.certificates.self_signed)
    g = gate()
    assert send(g, ["x@right.dane.example", "x@wrong.dane.example"]).code == 250
    g.wait_line('event=spool result=delivered .*to=<x@right.dane.example> .*backend.tls="TLSv1.3 dane"')
    g.wait_line("event=spool result=(?!delivered).*to=<x@wrong.dane.example>.* 4.7.5 ")
    assert right.messages and not wrong.messages


def test_opportunistic(gate, host, world):
    """TLS where it works; a handshake that fails is followed by plain text, and said."""
    server = host("mx", world.good)
    g = gate("mta_sts = no")
    assert send(g, "x@enforce.example").code == 250
    assert g.verdict("accept")["backend.tls"] == "TLSv1.3 pkix"
    server.script["STARTTLS"] = hang_up(b"220 go\r\n")
    mark = g.mark()
    assert send(g, "x@enforce.example").code == 250
    assert g.verdict("accept", since=mark)["backend.tls"] == "off"
    g.wait_line(r"event=outbound-tls domain=enforce.example .*in plain text", mark)


def test_configured(gate, host, world):
    """tls of the section, and of single domains."""
    server = host("mx", world.certificates.self_signed)
    g = gate("mta_sts = no tls = required", conf="tls_policy page.example { tls = verified } tls_policy none.example { tls = off }")
    for domain, code, tls in (("enforce", 250, "TLSv1.3 none"), ("page", 451, None), ("none", 250, "off")):
        mark = g.mark()
        assert send(g, f"x@{domain}.example").code == code
        if tls:
            assert g.verdict("accept", since=mark)["backend.tls"] == tls
    server.script["EHLO"] = b"250 mx.example\r\n"
    reply = send(g, "x@enforce.example")
    assert reply.code == 451 and "4.7.5" in reply.text and "STARTTLS" in reply.text


def test_mta_sts_enforced(gate, host, world, web):
    web.pages["mta-sts.enforce.example"] = policy("enforce", "*.enforce.example")
    server = host("mx", world.good)
    g = gate()
    assert send(g, "x@enforce.example").code == 250
    assert g.verdict("accept")["backend.tls"] == "TLSv1.3 mta-sts"
    assert web.asked == [("mta-sts.enforce.example", "/.well-known/mta-sts.txt")]
    for certificate, why in ((world.certificates.self_signed, "self-signed"), (world.expired, "expired"), (None, "STARTTLS")):
        server.stop()
        server = host("mx", certificate)
        reply = send(g, "x@enforce.example")
        assert reply.code == 451 and "4.7.5" in reply.text and why in reply.text, reply
        assert not server.messages
    assert len(web.asked) == 1                          # it is known


def test_mta_sts_names_another_host(gate, host, world, web):
    web.pages["mta-sts.enforce.example"] = policy("enforce", "mail.enforce.example")
    server = host("mx", world.good)
    g = gate()
    reply = send(g, "x@enforce.example")
    assert reply.code == 451 and "4.7.5" in reply.text and "does not name the host mx.enforce.example" in reply.text
    assert not server.sessions


def test_mta_sts_testing_and_none(gate, host, world, web):
    web.pages["mta-sts.testing.example"] = policy("testing", "mx.testing.example")
    web.pages["mta-sts.none.example"] = policy("none", "mx.none.example")
    host("mx", world.certificates.self_signed)
    g = gate()
    assert send(g, "x@testing.example").code == 250
    assert "the certificate is not right" in g.wait_line(r"event=outbound-tls domain=testing.example .*testing mode")
    assert send(g, "x@none.example").code == 250


def test_policies_that_are_none(gate, host, world, web):
    """A page that is missing, is no text, has moved, or comes with another's certificate is no policy."""
    web.pages["mta-sts.page.example"] = (200, "text/html", policy("enforce", "mail.page.example")[2])
    web.pages["mta-sts.moved.example"] = (301, "text/plain", policy("enforce", "mail.moved.example")[2])
    web.pages["mta-sts.badname.example"] = policy("enforce", "mail.badname.example")
    host("mx", world.certificates.self_signed)
    g = gate()
    for domain, why in (("nopage", "status 404"), ("page", "text/html"), ("moved", "status 301"), ("badname", "ostname mismatch")):
        assert send(g, f"x@{domain}.example").code == 250
        assert why in g.wait_line(rf"event=mta-sts domain={domain}.example .*cannot be fetched")


def test_a_policy_outlives_its_host_and_us(gate, host, world, web):
    """It is kept over a restart, while its host is away, and when what is fetched next is none; then a new one replaces it."""
    web.pages["mta-sts.elsewhere.example"] = policy("enforce", "mail.elsewhere.example")
    server = host("mx", world.good)
    g = gate()
    assert send(g, "x@elsewhere.example").code == 451
    web.stop()
    g.stop()
    g.start()
    assert send(g, "x@elsewhere.example").code == 451
    records = world.knot.records
    world.knot.change(records.replace('_mta-sts.elsewhere.example TXT "v=STSv1; id=1"', '_mta-sts.elsewhere.example TXT "v=STSv1; id=2"'))
    g.stop()
    g.start()                                           # with it the cache of the DNS
    assert send(g, "x@elsewhere.example").code == 451
    g.wait_line(r"event=mta-sts domain=elsewhere.example .*the one of before goes on")
    assert not server.sessions
    again = PolicyServer(world.web)
    try:
        again.pages["mta-sts.elsewhere.example"] = policy("enforce", "mx.elsewhere.example")
        g.stop()
        g.start()
        assert send(g, "x@elsewhere.example").code == 250
        assert g.verdict("accept")["backend.tls"] == "TLSv1.3 mta-sts"
    finally:
        again.stop()
        world.knot.change(records)


def test_in_the_sandbox(world, web, host, backend, scratch):
    """As another user in an empty root: CAs and anchors are there already, policies are fetched."""
    web.pages["mta-sts.enforce.example"] = policy("enforce", "mx.enforce.example")
    host("mx", world.good)
    host("right", world.certificates.self_signed)
    g = Gateway(scratch / "outbound-tls", [backend().port], **settings(world), binary=os.environ.get("GATEPOST_PLAIN") or BINARY)
    g.conf_path.write_text(g.conf_path.read_text().replace("workers =", 'user = "nobody"\nworkers ='))
    with g:
        for domain, tls in (("enforce.example", "TLSv1.3 mta-sts"), ("right.dane.example", "TLSv1.3 dane")):
            mark = g.mark()
            assert send(g, f"x@{domain}").code == 250
            assert g.verdict("accept", since=mark)["backend.tls"] == tls
