"""STARTTLS towards the client: injection (CVE-2011-0411), versions, certificates."""
import contextlib
import socket
import ssl
import subprocess

import pytest

from lab.recorder import Recorder
from lab.smtp import Client, insecure, mail


@pytest.fixture(scope="module")
def recorder():
    with Recorder() as r:
        yield r


def only(version):
    context = insecure()
    context.set_ciphers("DEFAULT:@SECLEVEL=0")
    context.minimum_version = context.maximum_version = version
    return context


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1_1")
def test_versions(lab, recorder):
    g = lab([recorder.port], policy="accept\n")
    for version, name in ((ssl.TLSVersion.TLSv1_2, "TLSv1.2"), (ssl.TLSVersion.TLSv1_3, "TLSv1.3")):
        recorder.empty()
        with Client(g.port) as c:
            c.ehlo()
            c.starttls(only(version))
            assert c.sock.version() == name
            assert c.message("a@sender.example", "bob@example.com", mail(subject=name)).code == 250
        received = next(line for line in recorder.wait().added if line.startswith("Received:"))
        assert f"(using {name} with cipher " in received and " with ESMTPS id " in received
    with Client(g.port) as c:
        c.ehlo()
        with pytest.raises((ssl.SSLError, ConnectionResetError)):
            c.starttls(only(ssl.TLSVersion.TLSv1_1))
    g.wait_line("tls-failed")


def test_commands_behind_starttls_end_the_session(lab, recorder):
    g = lab([recorder.port])
    for injected in (b"EHLO evil.example\r\n", b"RSET\r\n", b"MAIL FROM:<x@evil.example>\r\nRCPT TO:<bob@example.com>\r\n", b"Q", b"\r\n"):
        recorder.empty()
        with Client(g.port) as c:
            c.ehlo()
            c.send(b"STARTTLS\r\n" + injected)
            assert c.closed()
            assert c.data == b"", "not even the 220"
        g.wait_line("starttls-injection")
    assert not any(b"evil" in command for command in recorder.commands)


def test_plaintext_after_the_220_is_no_command(lab, recorder):
    """What comes before the ClientHello but after the command is a broken handshake, nothing more."""
    g = lab([recorder.port])
    with Client(g.port) as c:
        c.ehlo()
        c.expect("STARTTLS", 220)
        c.send(b"MAIL FROM:<x@evil.example>\r\n")
        assert c.closed()
        assert b"250" not in c.data


def test_all_is_forgotten_after_the_handshake(lab, recorder):
    g = lab([recorder.port])
    with Client(g.port) as c:
        c.ehlo()
        c.expect("MAIL FROM:<x@sender.example>", 250)
        c.expect("STARTTLS", 503)                       # not in a transaction
        c.expect("RSET", 250)
        c.starttls()
        c.expect("MAIL FROM:<x@sender.example>", 503)   # EHLO is forgotten
        assert "STARTTLS" not in c.ehlo().keywords()
        c.expect("STARTTLS", 503)
        c.expect("RCPT TO:<bob@example.com>", 503)      # and there is no MAIL
        c.expect("MAIL FROM:<x@sender.example>", 250)
    with Client(g.port) as c:
        c.ehlo()
        c.expect("STARTTLS now", 501)


def test_pipelining_inside_tls(lab, recorder):
    g = lab([recorder.port], policy="accept\n")
    recorder.empty()
    with Client(g.port) as c:
        c.ehlo()
        c.starttls()
        c.send(b"EHLO client.example\r\nMAIL FROM:<a@sender.example>\r\nRCPT TO:<bob@example.com>\r\nDATA\r\n"
               + mail(subject="pipelined") + b".\r\nQUIT\r\n")
        assert [c.reply().code for _ in range(6)] == [250, 250, 250, 354, 250, 221]
    assert recorder.wait().original == mail(subject="pipelined")


def certificate(path, name):
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2", "-subj", f"/CN={name}",
                    "-addext", f"subjectAltName=DNS:{name}", "-keyout", path / "key.pem", "-out", path / "cert.pem"],
                   check=True, capture_output=True)
    return path / "cert.pem", path / "key.pem"


def test_certificate_from_files(lab, recorder, tmp_path):
    cert, key = certificate(tmp_path, "gate.example")
    g = lab([recorder.port], conf=f'tls {{ certificate = "{cert}" key = "{key}" }}')
    context = ssl.create_default_context(cafile=cert)
    with Client(g.port) as c:
        c.ehlo()
        c.starttls(context)                             # verified: the name and the chain
        c.ehlo()


def test_self_signed_certificate_stays_the_same(lab, recorder):
    g = lab([recorder.port])

    def shown():
        with Client(g.port) as c:
            c.ehlo()
            c.starttls()
            return c.sock.getpeercert(binary_form=True)

    before = shown()
    assert before == shown()
    text = subprocess.run(["openssl", "x509", "-inform", "DER", "-noout", "-subject", "-ext", "subjectAltName"], input=before,
                          capture_output=True, check=True).stdout
    assert b"gate.example" in text
    assert g.stop() == 0
    g.start()
    assert shown() == before


def test_not_offered(lab, recorder):
    g = lab([recorder.port], conf="tls { offer = no }")
    with Client(g.port) as c:
        assert "STARTTLS" not in c.ehlo().keywords()
        c.expect("STARTTLS", 502)
        c.expect("NOOP", 250)


def test_handshake_that_breaks_off(lab, recorder):
    """The others live on."""
    g = lab([recorder.port])
    for junk in (b"", b"\x16", b"\x16\x03\x01\x02\x00\x01", b"\x16\x03\x01\xff\xff" + b"\0" * 200, b"GET / HTTP/1.0\r\n\r\n"):
        with Client(g.port) as c:
            c.ehlo()
            c.expect("STARTTLS", 220)
            if junk:
                c.send(junk)
            with contextlib.suppress(OSError):          # it has closed already
                c.sock.shutdown(socket.SHUT_WR)
            assert c.closed()
    with Client(g.port) as c:
        c.ehlo()
        c.starttls()
        c.ehlo()
