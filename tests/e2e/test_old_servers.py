"""Servers of old: protocols and suites that are no longer there by default, certificates known by a fingerprint, TLS that fails."""
import hashlib
import json
import ssl
import subprocess

import pytest

from lab.gateway import parse_logfmt
from lab.smtp import Client, mail

pytestmark = pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")

AWAY = r"event=backend name=b0 .*state=away"


def transaction(g, subject="hello"):
    with Client(g.port) as c:
        return c.message("a@sender.example", "bob@example.com", mail(subject=subject))


@pytest.fixture
def old(backend, tmp_path):
    """old(version, ciphers): a server with an RSA key that speaks just that."""
    cert, key = tmp_path / "rsa.pem", tmp_path / "rsa.key"
    subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", key, "-out", cert, "-days", "2", "-subj", "/CN=backend.example",
                    "-addext", "subjectAltName=DNS:backend.example"], check=True, capture_output=True)

    def start(version=None, ciphers="ALL:@SECLEVEL=0", **kw):
        server = backend(keywords=("STARTTLS", "8BITMIME"), tls=(cert, key), **kw)
        server.context.set_ciphers(ciphers)
        server.context.minimum_version = ssl.TLSVersion.TLSv1
        server.context.maximum_version = version or ssl.TLSVersion.TLSv1_3
        server.ca = cert
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


@pytest.mark.parametrize("version, ciphers, options, works", [
    (ssl.TLSVersion.TLSv1, "ALL:@SECLEVEL=0", "", False),
    (ssl.TLSVersion.TLSv1, "ALL:@SECLEVEL=0", "tls_min = 1.0", False),
    (ssl.TLSVersion.TLSv1, "ALL:@SECLEVEL=0", "tls_security_level = 0", False),
    (ssl.TLSVersion.TLSv1, "ALL:@SECLEVEL=0", "tls_min = 1.1 tls_security_level = 0", False),
    (ssl.TLSVersion.TLSv1, "ALL:@SECLEVEL=0", "tls_min = 1.0 tls_security_level = 0", True),
    (ssl.TLSVersion.TLSv1, RSA, "tls_min = 1.0 tls_security_level = 0", True),
    (ssl.TLSVersion.TLSv1_1, "ALL:@SECLEVEL=0", "tls_min = 1.1 tls_security_level = 0", True),
    (ssl.TLSVersion.TLSv1_2, RSA, "", False),
    (ssl.TLSVersion.TLSv1_2, RSA, 'tls_ciphers = "ECDHE+AESGCM:AES"', True),
    (ssl.TLSVersion.TLSv1_2, "ALL", "tls_min = 1.3", False),
])
def test_old_protocols(lab, old, version, ciphers, options, works):
    """With tls = required: either as the options say, or not at all."""
    server = old(version, ciphers)
    g = lab([server.port], backend_options=f'tls = required tls_name = "backend.example" tls_ca = "{server.ca}" connect_timeout = 2s {options}')
    assert transaction(g).code == (250 if works else 451)
    if works:
        assert server.messages[0].session.sock.version() == {ssl.TLSVersion.TLSv1: "TLSv1", ssl.TLSVersion.TLSv1_1: "TLSv1.1"}.get(version, "TLSv1.2")
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
    assert len([line for line in g.process.lines if "event=backend-tls" in line]) == 1
    assert "in clear text" in g.wait_line("event=backend-tls")
    shown = status(g)["tls_failed"]
    assert [s["backend"] for s in shown] == ["b0"] and shown[0]["sessions"] >= 4 and shown[0]["since_s"] > 0


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
