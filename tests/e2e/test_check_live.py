"""gatepost check --live: one page about a site, with real Postfix servers, names of a zone of our own, and what is wrong with each."""
import json
import os
import re
import socket
import ssl
import subprocess
import threading
import time

import pytest

from lab.backend import Backend
from lab.certificates import openssl
from lab.clamd import CLAMD, Clamd
from lab.gateway import BINARY, ROOT
from lab.knot import Knot
from lab.postfix import Postfix
from lab.process import free_port, wait_for_port
from lab.rspamd import RSPAMD, Rspamd
from lab.slapd import BASE, PASSWORD, USER, Slapd, user
from lab.spamd import SPAMD, Spamd
from lab.smtp import Client, mail
from personas import Domino9, Exchange2019, ExchangeTransport

PLAIN = os.environ.get("GATEPOST_PLAIN", str(ROOT / "build" / "gatepost"))

ZONE = """
gate.example A 203.0.113.25
25.113.0.203.in-addr.arpa PTR gate.example.
other.example A 203.0.113.26
26.113.0.203.in-addr.arpa PTR pool-26.isp.example.
example.com MX 10 gate.example.
example.com TXT "v=spf1 ip4:203.0.113.25 -all"
away.example MX 10 mx.cloud.example.
mx.cloud.example A 203.0.113.99
away.example TXT "v=spf1 ip4:198.51.100.1 -all"
2.0.0.127.well.dnsbl.example A 127.0.0.2
*.wild.dnsbl.example A 127.0.0.2
2.0.0.127.refuses.dnsbl.example A 127.255.255.254
1.0.0.127.refuses.dnsbl.example A 127.255.255.254
"""


@pytest.fixture(scope="module")
def zone(scratch):
    server = Knot(scratch / "live-knot", ZONE)
    yield server
    server.stop()


@pytest.fixture(scope="module")
def verifying(scratch, certificates):
    """One Postfix with three ports: as it should be, taking anybody (all), behind a PROXY header (proxied)."""
    every, proxied = free_port(), free_port()
    services = (f"127.0.0.1:{every} inet n - n - - smtpd -o virtual_mailbox_maps=static:all/\n"
                f"127.0.0.1:{proxied} inet n - n - - smtpd -o smtpd_upstream_proxy_protocol=haproxy -o smtpd_upstream_proxy_timeout=1s\n")
    p = Postfix(scratch / "live-postfix", services=services, smtpd_tls_security_level="may", smtpd_tls_cert_file=str(certificates.signed[0]),
                smtpd_tls_key_file=str(certificates.signed[1]), smtpd_authorized_xclient_hosts="127.0.0.0/8")
    p.all, p.proxied = every, proxied
    for port in (every, proxied):
        wait_for_port(port)
    yield p
    p.stop()


@pytest.fixture
def live(zone, tmp_path):
    """live(backends, ...): the page as {subject: [(level, text)]}."""
    def run(backends, *, code=0, conf="", hostname="gate.example", domains=("example.com",), listeners=None, args=(), binary=PLAIN):
        path = tmp_path / "gatepost.conf"
        (tmp_path / "policy.conf").write_text("accept\n")
        names = ", ".join(f'"{d}"' for d in domains)
        path.write_text(f"""
hostname = {hostname}
domains = {{ {names} }}
state_dir = "{tmp_path / "state"}"
policy = "{tmp_path / "policy.conf"}"
{listeners or f'listener smtp {{ address = "127.0.0.1:{free_port()}" }}'}
dns {{ forward = {{ "{zone.server}" }} dnssec = no timeout = 30s }}
{backends}
{conf}
""")
        r = subprocess.run([binary, "check", "-c", str(path), "--live", "--json", *args], capture_output=True, text=True, timeout=300)
        assert "Sanitizer" not in r.stderr and "runtime error" not in r.stderr, r.stderr
        page = json.loads(r.stdout)
        found = {s["subject"]: [(f["level"], f["text"]) for f in s["found"]] for s in page["subjects"]}
        assert r.returncode == code and page["FAIL"] == sum(level == "FAIL" for lines in found.values() for level, _ in lines), r.stdout + r.stderr
        return found
    return run


def said(lines, level, pattern):
    assert any(at == level and re.search(pattern, text) for at, text in lines), (level, pattern, lines)


def backend(port, options=""):
    return f'backend main {{ address = "127.0.0.1:{port}" {options} }}'


# --- servers ---

def test_a_good_site(live, verifying, certificates):
    options = f'tls = required tls_name = backend.example tls_ca = "{certificates.ca}" xclient = yes'
    found = live(backend(verifying.port, options), binary=BINARY)
    main = found["backend main"]
    said(main, "ok", r"127\.0\.0\.1:\d+ answers after \d+ ms as server\.example\.com: EHLO SIZE=\d+ 8BITMIME")
    said(main, "ok", r"TLS: TLSv1\.3 with \S+, its certificate is verified")
    said(main, "warn", r"its certificate is for backend\.example, from Lab CA, expires in (29|30) days: renew it; sha256:[0-9a-f]{64}")
    said(main, "ok", "example.com: it refuses who does not exist: 550")
    said(main, "ok", "offers XCLIENT to us")
    said(main, "ok", "takes 21 sessions from us at once")
    said(found["name gate.example"], "ok", "203.0.113.25 is called gate.example, too")
    said(found["domain example.com"], "ok", "MX leads to us")
    said(found["domain example.com"], "ok", "SPF: mail from 203.0.113.25 passes")
    said(found["this machine"], "ok", "no gateway runs")
    said(found["this machine"], "ok", r"listeners' ports are free \(1\)")
    # nothing but questions
    assert not re.search(r"cleanup\[|qmgr\[\d+\]: .*from=", (verifying.dir / "log").read_text())


def test_accept_all(live, verifying):
    said(live(backend(verifying.all))["backend main"], "warn", r"example\.com: an address that nobody has is taken \(accept-all\)")
    found = live(backend(verifying.all), conf=f'recipients {{ verify = callout callout = "127.0.0.1:{verifying.all}" }}', code=1)
    said(found["recipients"], "FAIL", "accept-all")
    said(found["backend main"], "ok", "is not asked for recipients")


def test_callout_that_knows(live, verifying):
    found = live(backend(verifying.port), conf=f'recipients {{ verify = callout callout = "127.0.0.1:{verifying.port}" }}')
    said(found["recipients"], "ok", "refuses who does not exist")
    found = live(backend(verifying.port), conf=f'recipients {{ verify = callout callout = "127.0.0.1:{free_port()}" }}', code=1)
    said(found["recipients"], "FAIL", "where recipients are asked for: connect")


def test_a_closed_port(live):
    said(live(backend(free_port()), code=1)["backend main"], "FAIL", r"127\.0\.0\.1:\d+: connect: Connection refused")


@pytest.fixture
def scripted():
    made = []

    def start(*a, **kw):
        made.append(Backend(*a, **kw))
        return made[-1]
    yield start
    for b in made:
        b.stop()


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")
def test_certificates(live, scripted, certificates, tmp_path):
    """Expired, of another name, near its end, pinned; and TLS that does not come about."""
    expired = certificates.sign("live-expired", "backend.example", expired=True)
    server = scripted(keywords=("STARTTLS", "8BITMIME"), tls=expired)
    trusts = f'tls = required tls_ca = "{certificates.ca}" tls_name = backend.example'
    main = live(backend(server.port, trusts), code=1)["backend main"]
    said(main, "FAIL", "TLS handshake: certificate has expired")
    said(main, "FAIL", r"its certificate \(.*, from Lab CA\) EXPIRED \d+ days ago")
    said(live(backend(server.port))["backend main"], "warn", "EXPIRED .* nobody looks at that here")
    pin = subprocess.run(["openssl", "x509", "-in", str(expired[0]), "-noout", "-fingerprint", "-sha256"], capture_output=True, text=True).stdout
    pin = "sha256:" + pin.strip().partition("=")[2]
    main = live(backend(server.port, f'tls = required tls_pin = {{ "{pin}" }}'))["backend main"]
    said(main, "ok", "its certificate is pinned")
    main = live(backend(server.port, f'tls = required tls_pin = {{ "sha256:{"00" * 32}" }}'), code=1)["backend main"]
    said(main, "FAIL", pin.replace(":", "").lower().replace("sha256", "sha256:") + ", which is none of tls_pin")
    server.context.maximum_version = ssl.TLSVersion.TLSv1_1
    said(live(backend(server.port))["backend main"], "warn", "TLS fails, and mail goes there in clear text .*tls_min")
    assert server.mail_sessions() == [] or not server.messages
    soon, key = tmp_path / "soon.pem", tmp_path / "soon.key"
    openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", key, "-out", soon, "-days", 5, "-subj", "/CN=x",
            "-addext", "subjectAltName=DNS:gate.example,DNS:sni.example")
    found = live(backend(scripted().port), conf=f'tls {{ certificate = "{soon}" key = "{key}" }}\n'
                 f'sni imap.example {{ certificate = "{soon}" key = "{key}" }}', code=1)
    said(found["this machine"], "warn", "our certificate is for x, from x, expires in [45] days: renew it")
    said(found["this machine"], "FAIL", "the certificate of sni imap.example does not carry the name imap.example")


def test_servers_that_are_peculiar(live, scripted):
    main = live(backend(scripted(keywords=("SIZE 1000",), limit=3).port))["backend main"]
    said(main, "warn", "8BITMIME")
    said(main, "warn", "offers no TLS")
    said(main, "warn", "sees this gateway as the client of all mail")
    said(main, "warn", r"session 4 at once fails: .*max_sessions = 3")
    server = scripted({"RCPT": b"451 4.7.1 later\r\n"})
    main = live(backend(server.port, "xclient = yes max_sessions = 2"), code=1)["backend main"]
    said(main, "FAIL", "does not offer XCLIENT to us")
    said(main, "warn", "not clear: 451")
    said(main, "ok", "takes 2 sessions")
    main = live(backend(server.port), conf="client_header = X-Client")["backend main"]
    said(main, "ok", "header field X-Client")


def test_exchange(live, certificates):
    """Its front end takes anybody, and 20 sessions; port 2525 knows who exists, and takes its time to say so."""
    users = ("bob@example.com",)
    front, transport = Exchange2019(users, tls=certificates.self_signed), ExchangeTransport(users, tarpit_s=2.7)
    try:
        callout = f'recipients {{ verify = callout callout = "127.0.0.1:{transport.port}" }}'
        main = live(backend(front.port))["backend main"]
        said(main, "warn", "accept-all.*Exchange refuses them on its port 2525")
        said(main, "warn", r"session 2[01] at once fails: .*421 4\.3\.2 .*max_sessions = (20|19)")
        found = live(backend(front.port, "max_sessions = 10"), conf=callout)
        said(found["recipients"], "ok", "refuses who does not exist: 550 5.1.10")
        said(found["recipients"], "warn", r"waits (2[6-9]|[3-9]\d|\d\d\d)\d\d ms before it refuses a recipient.*TarpitInterval")
        said(found["backend main"], "ok", "takes 10 sessions")
        assert front.messages == transport.messages == []
    finally:
        front.stop()
        transport.stop()


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")
def test_domino_9(live, scratch):
    key, cert = scratch / "live-rsa.key", scratch / "live-rsa.pem"
    openssl("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", key, "-out", cert, "-days", 100, "-subj", "/CN=domino.example.com")
    server = Domino9(("bob@example.com",), tls=(cert, key))
    try:
        said(live(backend(server.port))["backend main"], "warn", "TLS fails, and mail goes there in clear text")
        said(live(backend(server.port, "tls_min = 1.0 tls_security_level = 0"))["backend main"], "ok", "TLS: TLSv1 with AES256-SHA")
    finally:
        server.stop()


def test_proxy(live, verifying):
    """A Postfix that expects the header, one that does not."""
    for version in ("v1", "v2"):
        said(live(backend(verifying.proxied, f"proxy = {version}"))["backend main"], "ok", "takes the PROXY header")
    said(live(backend(verifying.port, "proxy = v2"), code=1)["backend main"], "FAIL", "without a PROXY header it answers")
    said(live(backend(verifying.proxied), code=1)["backend main"], "FAIL", r"127\.0\.0\.1:")


def test_mailboxes(live, mailserver, certificates):
    ports = mailserver.ports
    servers = "\n".join(f'backend {k} {{ address = "127.0.0.1:{ports[k]}" protocol = {k.rstrip("s")} implicit_tls = {"yes" if k.endswith("s") else "no"} '
                        f'tls = required tls_name = backend.example tls_ca = "{certificates.ca}" }}' for k in ("imap", "imaps", "pop3", "pop3s"))
    found = live(backend(free_port()) + servers, code=1)
    for k in ("imap", "imaps", "pop3", "pop3s"):
        said(found[f"backend {k}"], "ok", "TLS: TLSv1.3")
        said(found[f"backend {k}"], "ok", r"answers: (\* OK|\+OK)")


# --- beside us ---

@pytest.mark.skipif(not os.path.exists(CLAMD), reason="clamav-daemon is not installed")
def test_clamd(live, scripted, tmp_path):
    """A daemon whose signatures have no date (they are the tests' own); a scripted one with old ones and with new ones; and none."""
    def section(address):
        return f'clamd {{ address = "{address}" }}'

    b = backend(scripted().port)
    clamd = Clamd(tmp_path / "clamd")
    try:
        said(live(b, conf=section(clamd.unix))["daemon clamd"], "warn", r"clamd\.ctl: ClamAV [0-9.]+.*no date")
    finally:
        clamd.stop()
    for days, level in ((2, "ok"), (40, "warn")):
        date = time.strftime("%a %b %d %H:%M:%S %Y", time.localtime(time.time() - days * 86400 - 60))
        with socket.create_server(("127.0.0.1", 0)) as s:
            threading.Thread(target=version, args=(s, f"ClamAV 1.4.3/27650/{date}"), daemon=True).start()
            found = live(b, conf=f'clamd {{ address = {{ "127.0.0.1:{s.getsockname()[1]}", "127.0.0.1:{free_port()}" }} }}', code=1)["daemon clamd"]
        said(found, level, f"27650/.*: its signatures are {days} days old")
        said(found, "FAIL", "mail that needs it is deferred")


def version(server, words):
    with server.accept()[0] as c:
        c.recv(100)
        c.sendall(words.encode() + b"\0")
        c.recv(100)


@pytest.mark.skipif(not (os.path.exists(RSPAMD) and os.path.exists(SPAMD)), reason="rspamd or spamd is not installed")
def test_rspamd_and_spamd(live, scripted, scratch):
    """Each says that it is well; another's port is none of theirs."""
    rspamd, spamd, b = Rspamd(scratch / "live-rspamd"), Spamd(scratch / "live-spamd"), backend(scripted().port)
    try:
        found = live(b, conf=f'rspamd {{ address = "{rspamd.address}" }}\nspamd {{ address = "{spamd.address}" }}')
        said(found["daemon rspamd"], "ok", r"answers: HTTP/1\.\d 200")
        said(found["daemon spamd"], "ok", r"answers: SPAMD/\S+ 0 PONG")
        found = live(b, conf=f'rspamd {{ address = "{spamd.address}" }}\nspamd {{ address = "{rspamd.address}" }}', code=1)
        said(found["daemon rspamd"], "FAIL", "it answers what no rspamd says|does not answer")
        said(found["daemon spamd"], "FAIL", "it answers what no spamd says|does not answer")
    finally:
        rspamd.stop()
        spamd.stop()


def test_directory(live, scripted, tmp_path):
    slapd = Slapd(tmp_path / "slapd", user("anna"))
    secret = tmp_path / "password"
    try:
        for password, base, code, level, words in ((PASSWORD, BASE, 0, "ok", f"lets us in, and shows us {BASE}"), ("wrong", BASE, 1, "FAIL", "redentials"),
                                                   (PASSWORD, f"ou=nowhere,{BASE}", 1, "FAIL", "does not show us ou=nowhere"),
                                                   ("\n" + PASSWORD, BASE, 1, "FAIL", "its first line is no password")):
            secret.write_text(password + "\n")
            secret.chmod(0o600)
            found = live(backend(scripted().port), code=code, conf="recipients { verify = directory }\n"
                         f'directory ad {{ server = {{ "{slapd.url()}" }} base = "{base}" bind_dn = "{USER}" password_file = "{secret}" tls = off }}')
            said(found["directory ad"], level, words)
            assert PASSWORD not in str(found)
    finally:
        slapd.stop()


def test_domains_with_servers_of_their_own(live, scripted):
    """Each is asked for its own domains alone."""
    one, two = scripted(), scripted()
    found = live(backend(one.port) + f'\nbackend two {{ address = "127.0.0.1:{two.port}" }}\ndomain away.example {{ backends = {{ two }} }}',
                 domains=("example.com", "away.example"), code=1)
    for name, its, other in (("backend main", "example.com", "away.example"), ("backend two", "away.example", "example.com")):
        said(found[name], "warn", f"{its}: an address that nobody has is taken")
        assert not any(text.startswith(other) for _, text in found[name])


# --- names, lists, this machine ---

def test_names(live, scripted):
    b = backend(scripted().port)
    found = live(b, hostname="other.example", domains=("away.example",), code=1)
    said(found["name other.example"], "warn", "203.0.113.26 is called pool-26.isp.example, and we say other.example")
    said(found["domain away.example"], "warn", "its MX leads to mx.cloud.example, not to other.example")
    said(found["domain away.example"], "FAIL", r'SPF: your own mail from 203.0.113.26 is "fail".*gatepost advise away.example')
    said(live(b, hostname="nowhere.example", code=1)["name nowhere.example"], "FAIL", "has no address")


def test_many_domains(live, scripted):
    """The first twenty, and a word of the others."""
    found = live(backend(scripted().port), domains=[f"d{i:02}.example" for i in range(23)], code=1)
    assert sum(s.startswith("domain ") for s in found) == 20
    said(found["name gate.example"], "ok", "3 more domains are not looked at")


def test_lists(live, scripted):
    zones = "".join(f"dnsbl {z}.dnsbl.example {{ weight = 1 }}\n" for z in ("well", "wild", "refuses", "nothing"))
    lists = live(backend(scripted().port), conf=zones, code=1)["dnsbl"]
    said(lists, "ok", "well.dnsbl.example answers as it should")
    said(lists, "FAIL", "wild.dnsbl.example counts nothing: it lists everything")
    said(lists, "FAIL", r"refuses.dnsbl.example refuses to answer this resolver \(127.255.255.x\)")
    said(lists, "FAIL", "nothing.dnsbl.example counts nothing")


def test_a_port_that_is_taken_and_a_redis_that_is_not_there(live, scripted):
    server = scripted()
    found = live(backend(scripted().port), listeners=f'listener smtp {{ address = "127.0.0.1:{server.port}" }}', code=1,
                 conf=f'state_store redis {{ address = "127.0.0.1:{free_port()}" }}')
    said(found["this machine"], "FAIL", "Address already in use")
    said(found["this machine"], "FAIL", "state store does not answer")


def test_while_it_runs(lab, backend):
    """As people read it, beside mail."""
    server = backend()
    g = lab([server.port])
    r = g.command("check", "-c", str(g.conf_path), "--live", check=False)
    page = r.stdout.decode() if isinstance(r.stdout, bytes) else r.stdout
    assert "  ok    the gateway runs, version" in page and "the state store answers" in page and "\x1b" not in page
    assert re.search(r"^\d+ ok, \d+ warn, \d+ FAIL$", page, re.M)
    assert server.messages == []
    with Client(g.port) as c:
        assert c.message("a@sender.example", "bob@example.com", mail()).code == 250


def test_usage(tmp_path):
    r = subprocess.run([PLAIN, "check", "--json"], capture_output=True, text=True)
    assert r.returncode == 1 and "--json goes with --live" in r.stderr
