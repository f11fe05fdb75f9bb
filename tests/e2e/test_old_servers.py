"""Servers of old: protocols and suites that are no longer there by default, certificates known by a fingerprint, TLS that fails."""
import base64
import contextlib
import hashlib
import json
import re
import ssl
import subprocess

import pytest

from lab.gateway import parse_logfmt
from lab.lines import Lines
from lab.postfix import Postfix
from lab.process import free_port
from lab.smtp import Client, mail
from lab.wire import Closed, Imap, Pop3

pytestmark = pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")

AWAY = r"event=backend name=b0 .*state=away"


def transaction(g, subject="hello"):
    with Client(g.port) as c:
        return c.message("a@sender.example", "bob@example.com", mail(subject=subject))


@pytest.fixture(scope="module")
def rsa(scratch):
    """(certificate, key); servers of old have no other kind."""
    cert, key = scratch / "old-rsa.pem", scratch / "old-rsa.key"
    subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", key, "-out", cert, "-days", "2", "-subj", "/CN=backend.example",
                    "-addext", "subjectAltName=DNS:backend.example"], check=True, capture_output=True)
    return cert, key


@pytest.fixture
def old(backend, rsa):
    """old(version, ciphers): a server with an RSA key that speaks just that."""
    def start(version=None, ciphers="ALL:@SECLEVEL=0", more=(), script=None):
        server = backend(script, keywords=("STARTTLS", "8BITMIME", *more), tls=rsa)
        server.context.set_ciphers(ciphers)
        server.context.minimum_version = ssl.TLSVersion.TLSv1
        server.context.maximum_version = version or ssl.TLSVersion.TLSv1_3
        server.ca = rsa[0]
        return server
    return start


def fingerprint(cert, key=False):
    der = ssl.PEM_cert_to_DER_cert(open(cert).read())
    if key:
        pem = subprocess.run(["openssl", "x509", "-in", str(cert), "-pubkey", "-noout"], check=True, capture_output=True).stdout
        der = subprocess.run(["openssl", "pkey", "-pubin", "-outform", "DER"], input=pem, check=True, capture_output=True).stdout
    return f"sha256{'-key' if key else ''}:{hashlib.sha256(der).hexdigest()}"


# --- old protocols ---

RSA = "AES128-SHA:@SECLEVEL=0"


# Each option by itself is held to what it does in tests/unit/test_tls_peer.c.
@pytest.mark.parametrize("version, ciphers, options, works", [
    (ssl.TLSVersion.TLSv1, RSA, "tls_min = 1.1 tls_security_level = 0", False),
    (ssl.TLSVersion.TLSv1, RSA, "tls_min = 1.0 tls_security_level = 0", True),
    (ssl.TLSVersion.TLSv1_2, RSA, "", False),
    (ssl.TLSVersion.TLSv1_2, RSA, 'tls_ciphers = "ECDHE+AESGCM:AES"', True),
])
def test_old_protocols(lab, old, version, ciphers, options, works):
    """With tls = required: either as the options say, or not at all."""
    server = old(version, ciphers)
    g = lab([server.port], backend_options=f'tls = required tls_name = "backend.example" tls_ca = "{server.ca}" {options}')
    assert transaction(g).code == (250 if works else 451)
    if works:
        assert server.messages[0].session.sock.version() == ("TLSv1" if version == ssl.TLSVersion.TLSv1 else "TLSv1.2")
    else:
        assert "TLS handshake" in g.wait_line(AWAY)
        assert server.mail_sessions() == []


def test_check_says_what_is_weaker(lab, old):
    server = old()
    g = lab([server.port], backend_options='tls_min = 1.0 tls_security_level = 0')
    out = g.command("check", "-c", str(g.conf_path))
    assert out.returncode == 0
    for words in ("tls_min = 1.0: whoever is in the way", "tls_security_level = 0: keys and signatures of any strength"):
        assert words in out.stderr.decode()


# --- fingerprints ---

def test_pins(lab, backend, certificates):
    """No CA, no name, no date: what is pinned is enough, and nothing else is."""
    expired = certificates.sign("expired", "elsewhere.example", expired=True)
    for cert, pins, works in (
            (certificates.self_signed, [fingerprint(certificates.self_signed[0])], True),
            (expired, [fingerprint(certificates.signed[0]), fingerprint(expired[0], key=True)], True),
            (certificates.signed, [fingerprint(certificates.self_signed[0])], False)):
        server = backend(keywords=("STARTTLS", "8BITMIME"), tls=cert)
        g = lab([server.port], backend_options="tls = required tls_pin = { %s }" % ", ".join(f'"{p}"' for p in pins))
        assert transaction(g).code == (250 if works else 451)
        assert len(server.messages) == works and all(m.session.tls for m in server.messages)
        if not works:
            assert f"{fingerprint(cert[0])}, which is none of tls_pin" in parse_logfmt(g.wait_line(AWAY))["why"]
            # what the log says is what the file wants
            g = lab([server.port], backend_options=f'tls = required tls_pin = {{ "{fingerprint(cert[0])}" }}')
            assert transaction(g).code == 250


# --- TLS that fails ---

def status(g):
    return json.loads(g.command("status", "-c", str(g.conf_path)).stdout)


def test_retry_in_clear_is_remembered(lab, old):
    """One session pays for the handshake that fails; the log says so once, and the status shows it."""
    server = old(ssl.TLSVersion.TLSv1)
    g = lab([server.port], backend_options="reuse = no")
    g.wait_line(r"event=backend name=b0 .*state=up")
    for i in range(4):
        assert transaction(g, f"no {i}").code == 250
    assert len(server.messages) == 4 and not any(m.session.tls for m in server.messages)
    assert sum("STARTTLS" in s.commands for s in server.sessions) == 1
    assert "in clear text" in g.wait_line("event=backend-tls")
    assert len([line for line in g.process.lines if "event=backend-tls" in line]) == 1
    assert status(g)["backends"] == [{"backend": "b0", "state": "up", "up": 1, "away": 0}]
    shown = status(g)["tls_failed"]
    assert [s["backend"] for s in shown] == ["b0"] and shown[0]["sessions"] >= 4 and shown[0]["since_s"] > 0
    # what another configuration has no use for is forgotten
    g.write_conf(backend_options="reuse = no tls = off")
    g.reload()
    assert transaction(g).code == 250
    assert status(g)["tls_failed"] == []


def test_nothing_is_remembered_where_tls_works(lab, old):
    server = old()
    g = lab([server.port], backend_options="reuse = no")
    for i in range(2):
        assert transaction(g, f"no {i}").code == 250
    assert all(m.session.tls for m in server.messages) and len(server.messages) == 2
    assert status(g)["tls_failed"] == []


@pytest.mark.parametrize("pinned", [False, True])
def test_required_is_never_in_clear(lab, old, pinned):
    server = old(ssl.TLSVersion.TLSv1)
    how = f'tls_pin = {{ "{fingerprint(server.ca)}" }}' if pinned else f'tls_name = "backend.example" tls_ca = "{server.ca}"'
    g = lab([server.port], backend_options=f"tls = required {how}")
    for _ in range(2):
        assert transaction(g).code == 451
    assert server.mail_sessions() == []


def test_a_password_does_not_go_the_way_of_mail(lab, old):
    """Mail goes in clear text by what is remembered; who logs in gets TLS tried, and is refused as long as it fails."""
    server = old(ssl.TLSVersion.TLSv1, script={"AUTH": b"235 2.7.0 welcome\r\n"}, more=("AUTH PLAIN",))
    port = free_port()
    g = lab([server.port], backend_options="reuse = no", listeners=f'listener submission {{ address = "127.0.0.1:{port}" direction = submission }}\n'
            'listener smtp { address = "127.0.0.1:%d" }' % free_port())
    g.wait_line("event=backend-tls")
    for tries in (1, 2):
        with Client(port) as c:
            c.starttls()
            c.ehlo()
            c.expect("AUTH PLAIN " + base64.b64encode(b"\0ann\0secret").decode(), 454)
        g.wait_line("TLS failed: no password goes there")
        assert sum("STARTTLS" in s.commands for s in server.sessions) == 1 + tries
    assert not any(command.startswith("AUTH") for s in server.sessions for command in s.commands)
    # now it can
    server.context.maximum_version = ssl.TLSVersion.TLSv1_3
    with Client(port) as c:
        c.starttls()
        c.ehlo()
        c.expect("AUTH PLAIN " + base64.b64encode(b"\0ann\0secret").decode(), 235)
    assert any(s.tls and any(command.startswith("AUTH") for command in s.commands) for s in server.sessions)
    g.wait_line("event=backend-tls .*TLS works again")
    assert status(g)["tls_failed"] == []


def broken(kind):
    """A server that says it does TLS, and then nothing of the kind."""
    def imap(line):
        tag, verb = line.split()[:2]
        if verb == b"CAPABILITY":
            return b"* CAPABILITY IMAP4rev1 STARTTLS\r\n" + tag + b" OK\r\n"
        return b"" if b"\0" in line else tag + b" OK\r\n" if tag.isalnum() else b""

    def pop3(line):
        if line.startswith(b"CAPA"):
            return b"+OK\r\nUSER\r\nSTLS\r\n.\r\n"
        return b"+OK\r\n" if line[:4].isalpha() else b""

    return Lines(*((b"* OK [CAPABILITY IMAP4rev1 STARTTLS] ready\r\n", imap) if kind == "imap" else (b"+OK ready\r\n", pop3)))


def login(c):
    if isinstance(c, Imap):
        return c.cmd(b"a LOGIN alice secret")
    return c.cmd(b"USER alice") + c.cmd(b"PASS secret")


@pytest.mark.parametrize("kind", ["imap", "pop3"])
def test_users_in_clear_do_not_pay_each_time(access_gate, kind):
    """Nor does their server's failure go on to those who come by TLS: for them it is tried again, and no password of theirs goes there in clear."""
    make = Imap if kind == "imap" else Pop3
    word = b"STARTTLS" if kind == "imap" else b"STLS"
    with broken(kind) as server:
        g = access_gate({kind: server.port}, backend_options="tls = opportunistic connect_timeout = 3s")
        for peers in (2, 3, 4):
            with make(g.ports[kind]) as c:
                assert b"OK" in login(c)
            assert len(server.peers) == peers and sum(word in line for line in server.heard) == 1
        g.wait_line("event=backend-tls")
        assert len([line for line in g.process.lines if "event=backend-tls" in line]) == 1
        assert [s["backend"] for s in status(g)["tls_failed"]] == [f"to_{kind}"]
        before = len(server.heard)
        with make(g.ports[kind]) as c, contextlib.suppress(Closed):
            c.starttls()
            assert b"OK" not in login(c).replace(b"+OK", b"", 1 if kind == "pop3" else 0)
        later = server.heard[before:]
        assert sum(word in line for line in later) == 1 and not any(b"secret" in line for line in later)


# --- other people's servers ---

@pytest.mark.parametrize("options, works", [("", False), ("tls_min = 1.0 tls_security_level = 0", True)])
def test_postfix_of_old(lab, old_postfix, options, works):
    g = lab([old_postfix.port], backend_options=f'tls = required tls_name = "backend.example" tls_ca = "{old_postfix.ca}" {options}', domains=("example.com",))
    with Client(g.port) as c:
        assert c.message("a@sender.example", "bob@example.com", mail(subject="to an old one")).code == (250 if works else 451)


@pytest.fixture(scope="module")
def old_postfix(scratch, certificates):
    p = Postfix(scratch / "old-postfix", smtpd_tls_security_level="encrypt", smtpd_tls_cert_file=str(certificates.signed[0]),
                smtpd_tls_key_file=str(certificates.signed[1]), smtpd_tls_protocols="TLSv1", smtpd_tls_mandatory_protocols="TLSv1",
                tls_high_cipherlist="ALL:@SECLEVEL=0", tls_medium_cipherlist="ALL:@SECLEVEL=0", smtpd_tls_mandatory_ciphers="high")
    p.ca = certificates.ca
    yield p
    p.stop()


@pytest.mark.parametrize("options, says", [("", "FAIL.*TLS handshake"), ("tls_min = 1.0 tls_security_level = 0", r"answers: \* OK old")])
def test_s_server_as_imaps(rsa, backend, lab, options, says):
    """OpenSSL's own test server, which says what it is fed."""
    port = free_port()
    s = subprocess.Popen(["openssl", "s_server", "-tls1", "-cipher", "ALL:@SECLEVEL=0", "-cert", rsa[0], "-key", rsa[1], "-accept", f"127.0.0.1:{port}"],
                         stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    try:
        while b"ACCEPT" not in s.stdout.readline():
            assert s.poll() is None
        s.stdin.write(b"* OK old\r\n")
        s.stdin.flush()
        g = lab([backend().port], conf=f'listener imap {{ address = "127.0.0.1:{free_port()}" protocol = imap }}\nbackend old {{ protocol = imap '
                f'address = "127.0.0.1:{port}" implicit_tls = yes tls = required tls_name = "backend.example" tls_ca = "{rsa[0]}" {options} }}')
        page = g.command("check", "-c", str(g.conf_path), "--live", "--json", check=False).stdout
        found = next(s["found"] for s in json.loads(page)["subjects"] if s["subject"] == "backend old")
        assert any(re.search(says, f'{f["level"]} {f["text"]}') for f in found), found
    finally:
        s.stdin.close()
        s.stdout.close()
        s.terminate()
        s.wait(10)
