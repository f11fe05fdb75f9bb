"""Private keys: one process has them, signs with them, and is missed by nobody when it dies."""
import base64
import hashlib
import os
import pathlib
import re
import signal
import ssl
import subprocess
import threading
import time

import dkim
import pytest

from lab.certificates import Certificates, openssl
from lab.memory import memory
from lab.process import WAIT_S
from lab.recorder import Recorder
from lab.smtp import Client, insecure, mail

OURS = "127.0.0.9"
FROM = "alice@example.com"
HEAD = f"From: {FROM}\r\nTo: <bob@example.com>\r\nSubject: s\r\nDate: Sun, 22 Nov 2026 10:00:00 +0000\r\n"
PLAIN = os.environ.get("GATEPOST_PLAIN")
KINDS = {"rsa": ["rsa:2048"], "p384": ["ec", "-pkeyopt", "ec_paramgen_curve:P-384"], "ed25519": ["ed25519"]}


def certificate(directory, kind, name):
    """(certificate, key) of that kind of key."""
    directory.mkdir(parents=True, exist_ok=True)
    cert, key = directory / f"{name}.pem", directory / f"{name}.key"
    openssl("req", "-x509", "-newkey", *KINDS[kind], "-nodes", "-keyout", key, "-out", cert, "-days", 30, "-subj", f"/CN={name}",
            "-addext", f"subjectAltName=DNS:{name}")
    return cert, key


def public(key, kind):
    der = subprocess.run(["openssl", "pkey", "-in", str(key), "-pubout", "-outform", "DER"], check=True, capture_output=True).stdout
    return f"v=DKIM1; k={kind}; p={base64.b64encode(der if kind == 'rsa' else der[-32:]).decode()}".encode()


class Keys:
    """All kinds of keys, and the configuration that names them."""

    def __init__(self, directory):
        self.dir = directory
        self.cert, self.key = certificate(directory, "rsa", "mx.example")
        self.sni = {"p384.example": certificate(directory, "p384", "p384.example"), "ed.example": certificate(directory, "ed25519", "ed.example")}
        self.own = Certificates(directory / "own")
        self.dkim = {"sel": directory / "sel.pem", "ed": directory / "ed.pem"}
        openssl("genpkey", "-algorithm", "rsa", "-pkeyopt", "rsa_keygen_bits:2048", "-out", self.dkim["sel"])
        openssl("genpkey", "-algorithm", "ed25519", "-out", self.dkim["ed"])
        self.arc = directory / "arc.pem"
        openssl("genpkey", "-algorithm", "rsa", "-pkeyopt", "rsa_keygen_bits:2048", "-out", self.arc)
        for path in (*self.dkim.values(), self.arc):
            path.chmod(0o600)
        self.records = {b"sel._domainkey.example.com.": public(self.dkim["sel"], "rsa"), b"ed._domainkey.example.com.": public(self.dkim["ed"], "ed25519")}

    def conf(self, **changes):
        paths = dict(certificate=self.cert, key=self.key, ca_certificate=self.own.ca, ca_key=self.own.ca.parent / "ca.key", **changes)
        tls = " ".join(f'{name} = "{path}"' for name, path in paths.items())
        sni = "".join(f'sni "{name}" {{ certificate = "{c}" key = "{k}" }}\n' for name, (c, k) in self.sni.items())
        signs = ", ".join(f'"{s}={path}"' for s, path in self.dkim.items())
        seals = f'arc_seal example.com {{ selector = arc key = "{self.arc}" when = always }}\n'
        return f'tls {{ {tls} }}\n{sni}relay_networks = {{ "{OURS}/32" }}\ndkim_sign example.com {{ keys = {{ {signs} }} }}\n{seals}'

    def files(self):
        return [self.key, *(k for _, k in self.sni.values()), self.own.ca.parent / "ca.key", *self.dkim.values(), self.arc]


@pytest.fixture
def keys(tmp_path):
    return Keys(tmp_path / "keys")


@pytest.fixture
def recorder():
    with Recorder() as r:
        yield r


@pytest.fixture
def gate(lab, recorder, keys):
    def make(**kw):
        kw.setdefault("policy", "accept\n")
        return lab([recorder.port], conf=keys.conf(), **kw)
    return make


def shown(client, name=None):
    """The certificate of a handshake, DER."""
    client.ehlo()
    client.expect("STARTTLS", 220)
    client.sock = insecure().wrap_socket(client.sock, server_hostname=name)
    return client.sock.getpeercert(binary_form=True)


def der(cert):
    return ssl.PEM_cert_to_DER_cert(pathlib.Path(cert).read_text())


def sign(g, recorder, keys, subject="s"):
    """A message of ours, as it arrives: with two good signatures."""
    recorder.empty()
    with Client(g.port, source=OURS) as c:
        c.ehlo()
        assert c.message(FROM, "bob@example.com", (HEAD + f"Comments: {subject}\r\n\r\nHello\r\n").encode()).code == 250
    message = recorder.wait().octets
    for i in range(2):
        assert dkim.DKIM(message).verify(idx=i, dnsfunc=lambda name, **_: keys.records[name.encode() if isinstance(name, str) else name])
    assert message.count(b"DKIM-Signature:") == 2
    return message


def seal(g, recorder):
    """One from outside, as it arrives: sealed."""
    recorder.empty()
    with Client(g.port) as c:
        c.ehlo()
        assert c.message("carol@example.org", "bob@example.com", (HEAD.replace(FROM, "carol@example.org") + "\r\nHello\r\n").encode()).code == 250
    assert recorder.wait().octets.count(b"ARC-Seal:") == 1


# what is where

def integers(data):
    """The integers and octet strings of a private key, as openssl pkey -traditional writes it."""
    out, at = [], 0
    while at < len(data):
        tag, n = data[at], data[at + 1]
        at += 2
        if n & 0x80:
            size, n = n & 0x7f, int.from_bytes(data[at:at + (n & 0x7f)], "big")
            at += size
        if tag & 0x20:
            out += integers(data[at:at + n]) if tag == 0x30 else []
        elif tag in (2, 4):
            out.append(data[at:at + n].lstrip(b"\0"))
        at += n
    return out


def secret_bytes(path):
    """What of a key nobody else may have: its secret numbers, either way round, and the lines of its PEM text."""
    text = pathlib.Path(path).read_text()
    raw = subprocess.run(["openssl", "pkey", "-in", str(path), "-outform", "DER", "-traditional"], check=True, capture_output=True).stdout
    numbers = [n for n in integers(raw) if len(n) >= 24]     # one number of 256 begins with a zero octet, and is shorter by that here
    if len(numbers) > 3:            # RSA: n is public
        numbers = numbers[1:]
    else:                           # the scalar, or the seed
        numbers = [n[-48:] if len(n) >= 48 else n[-32:] for n in numbers[:1]]
    lines = [line for line in text.splitlines() if not line.startswith("-")]
    body = [line for line in lines if len(line) == 64][-6:] or lines
    out = [n[:32] for n in numbers] + [n[::-1][:32] for n in numbers] + [line.encode() for line in body]
    assert len(out) > len(body) and all(len(o) >= 24 for o in out), (path, [len(o) for o in out])
    return out


def held(pid, secrets):
    """Of {name: byte strings}: the names of which the process has any in its memory."""
    data = b"".join(p for chunk in memory(pid) for p in (chunk[i:i + 4096] for i in range(0, len(chunk), 4096)) if p.count(0) < 4096)
    assert len(data) > 100000
    return {name for name, all_of_it in secrets.items() if any(s in data for s in all_of_it)}


@pytest.mark.skipif(os.geteuid() != 0 or not PLAIN, reason="only root can look into other processes, and not where the sanitizer's memory is")
def test_nobody_else_has_them(gate, recorder, keys):
    g = gate(binary=PLAIN, workers=2)
    secrets = {path.name: secret_bytes(path) for path in keys.files()}

    def use():
        for name in (None, *keys.sni):
            with Client(g.port) as c:
                shown(c, name)
        sign(g, recorder, keys)
        seal(g, recorder)

    def search():
        return {who: held(pid, secrets) for who, pid in {"parent": g.process.pid, **g.children()}.items()}

    use()
    for when in ("at the start", "after a reload"):
        holders = search()
        found = holders.pop("gp-keys")
        assert found == set(secrets), when
        assert all(not has for has in holders.values()), (when, holders)
        if when == "at the start":
            # A key may stand in the certificate's file.
            keys.cert.write_text(keys.cert.read_text() + keys.key.read_text())
            mark = g.mark()
            g.process.send(signal.SIGHUP)
            g.wait_line("event=reload what=done", mark)
            former_gone(g, 2)
            use()


@pytest.mark.skipif(os.geteuid() != 0 or not PLAIN, reason="only root can look into other processes")
def test_self_signed(lab, recorder):
    """Made at the first start, by a process that has gone: neither the parent nor a worker has it."""
    g = lab([recorder.port], policy="accept\n", binary=PLAIN)
    with Client(g.port) as c:
        assert shown(c) == der(g.state / "tls/cert.pem")
    secrets = {"self": secret_bytes(g.state / "tls/key.pem")}
    for who, pid in {"parent": g.process.pid, **g.children()}.items():
        assert bool(held(pid, secrets)) == (who == "gp-keys"), who
    status = pathlib.Path(f"/proc/{g.children()['gp-keys']}/limits").read_text()
    assert re.search(r"Max core file size +0 +0 ", status)


# what it is used for

def test_certificates_and_signatures(gate, recorder, keys):
    g = gate()
    for name, cert in ((None, keys.cert), ("other.example", keys.cert), *((n, c) for n, (c, _) in keys.sni.items())):
        with Client(g.port) as c:
            assert shown(c, name) == der(cert), name
            assert c.message("a@sender.example", "bob@example.com", mail(subject="x")).code == 250
    sign(g, recorder, keys)


def test_reload(gate, recorder, keys):
    """A new certificate in the files of the old one, as it is renewed everywhere: an old session is shown the old one, by the process that still has its key."""
    g = gate()
    old = der(keys.cert)
    with Client(g.port) as inside:
        inside.ehlo()
        first = g.children()["gp-keys"]
        new_cert, new_key = certificate(keys.dir / "new", "rsa", "mx.example")
        keys.cert.write_text(new_cert.read_text())
        keys.key.write_text(new_key.read_text())
        mark = g.mark()
        g.process.send(signal.SIGHUP)
        g.wait_line("event=reload what=done", mark)
        with Client(g.port) as c:
            assert shown(c) == der(new_cert)
        assert shown(inside) == old
        assert inside.message("a@sender.example", "bob@example.com", mail(subject="old")).code == 250
        assert pathlib.Path(f"/proc/{first}").exists()
        with Client(g.port) as second:          # of the new generation, and as old as that
            second.ehlo()
            # The old generation's process dies: the key of its certificate is in no file any more, and the others still serve.
            mark = g.mark()
            os.kill(first, signal.SIGKILL)
            g.wait_line("cannot be used any more.*file=.*mx.example.key", mark)
            assert shown(second) == der(new_cert)
    sign(g, recorder, keys)
    former_gone(g, 1)


def of_name(g, name):
    """How many children are called so, or so and a number."""
    n = 0
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            stat = pathlib.Path(f"/proc/{pid}/stat").read_text()
        except OSError:
            continue
        n += re.search(rf"\({name}( \d+)?\)", stat) is not None and int(stat.rpartition(")")[2].split()[1]) == g.process.pid
    return n


def former_gone(g, workers):
    """After a reload: the workers of before have ended, and after the last of them their key process."""
    end = time.monotonic() + WAIT_S
    while (left := (of_name(g, "gp-worker"), of_name(g, "gp-keys"))) != (workers, 1):
        assert time.monotonic() < end, f"workers, key processes: {left}"
        time.sleep(0.02)


# when it is not there

def await_keys(g):
    end = time.monotonic() + WAIT_S
    while "gp-keys" not in g.children():
        assert time.monotonic() < end, g.process.output()
        time.sleep(0.02)


def meanwhile(g, work):
    """work() begins while the key process stands still; that is killed; work() comes to its end all the same."""
    out = []
    pid = g.children()["gp-keys"]
    os.kill(pid, signal.SIGSTOP)
    t = threading.Thread(target=lambda: out.append(work()))
    t.start()
    time.sleep(0.2)
    assert t.is_alive(), "it did not wait for the key process"
    mark = g.mark()
    os.kill(pid, signal.SIGKILL)
    g.wait_line(f"event=died process=\"key process\" pid={pid} ", mark)
    t.join(WAIT_S)
    assert out, "it did not come to an end"
    return out[0]


def test_killed_in_a_handshake(gate, keys):
    g = gate()
    for name in (None, "ed.example"):
        with Client(g.port) as c:
            want = der(keys.sni[name][0] if name else keys.cert)
            assert meanwhile(g, lambda: shown(c, name)) == want
            assert c.message("a@sender.example", "bob@example.com", mail(subject="x")).code == 250


def test_killed_while_it_signs(gate, recorder, keys):
    g = gate()
    assert b"Hello" in meanwhile(g, lambda: sign(g, recorder, keys))


def test_killed_again_and_again(gate, recorder, keys):
    """Nobody loses a handshake or a message."""
    g = gate(workers=2)
    done, over, problems = [], threading.Event(), []

    def visit():
        while not over.is_set():
            try:
                with Client(g.port, source=OURS) as c:
                    shown(c)
                    c.ehlo()
                    assert c.message(FROM, "bob@example.com", (HEAD + f"Message-ID: <{len(done)}@x>\r\n\r\nHello\r\n").encode()).code == 250
                done.append(1)
            except Exception as e:
                problems.append(repr(e))

    visitors = [threading.Thread(target=visit) for _ in range(3)]
    for t in visitors:
        t.start()
    for _ in range(4):
        before = len(done)
        await_keys(g)
        g.kill_child("gp-keys")
        deadline = time.monotonic() + WAIT_S
        while len(done) < before + 6 and not problems and time.monotonic() < deadline:
            time.sleep(0.02)
    over.set()
    for t in visitors:
        t.join(WAIT_S)
    assert not problems and len(done) >= 24
    assert all(m.octets.count(b"DKIM-Signature:") == 2 for m in recorder.taken)


# what is wrong

def test_wrong_keys(gate, lab, recorder, keys):
    """At the check, at the start, at a reload: with the line of the configuration; and the configuration of before goes on."""
    g = gate()
    good = {path: path.read_bytes() for path in keys.files()}
    other = certificate(keys.dir / "other", "rsa", "other.example")[1].read_bytes()
    rows = (
        (keys.key, other, r"gatepost.conf:\d+: tls: the private key does not belong to the certificate"),
        (keys.key, b"hello\n", r"gatepost.conf:\d+: tls: the private key cannot be read"),
        (keys.key, None, r"gatepost.conf:\d+: key: \S+mx.example.key: No such file or directory"),
        (keys.sni["ed.example"][1], other, r"gatepost.conf:\d+: sni ed.example: the private key does not belong to the certificate"),
        (keys.own.ca.parent / "ca.key", other, r"gatepost.conf:\d+: tls: the key does not belong to the CA's certificate"),
        (keys.own.ca.parent / "ca.key", None, r"gatepost.conf:\d+: ca_key: \S+ca.key: No such file or directory"),
        (keys.dkim["sel"], b"hello\n", r"gatepost.conf:\d+: keys: \S+sel.pem: it is no private key in PEM form"),
        (keys.dkim["ed"], None, r"gatepost.conf:\d+: keys: \S+ed.pem: No such file or directory"),
    )
    for path, content, words in rows:
        path.unlink() if content is None else path.write_bytes(content)
        out = g.command("check", "-c", str(g.conf_path), check=False)
        assert out.returncode == 1 and re.search(words, out.stderr.decode()), (words, out.stderr)
        mark = g.mark()
        g.process.send(signal.SIGHUP)
        assert re.search(words, g.wait_line("event=reload error=", mark).replace('\\"', '"')), words
        g.wait_line("refused: the configuration of before goes on", mark)
        path.write_bytes(good[path])
        path.chmod(0o600)
    with Client(g.port) as c:
        assert shown(c) == der(keys.cert)
    sign(g, recorder, keys)
    assert hashlib.sha256(keys.key.read_bytes()) .digest() == hashlib.sha256(good[keys.key]).digest()
    keys.key.write_bytes(other)
    out = g.command("run", "-c", str(g.conf_path), check=False)
    assert out.returncode == 1 and re.search(rows[0][2], out.stderr.decode())
