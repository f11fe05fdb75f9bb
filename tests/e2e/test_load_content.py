"""
What is made to be expensive, in the plain program: lines, headers, archives, MIME, answers of the DNS. Memory stays within its bound, and a good client's
message gets through within twice its usual time. `make soak` runs these at full size (LOAD=full).
"""
import base64
import io
import threading
import time
import zipfile

import pytest

from lab.attackers import Attackers
from lab.hostile_dns import HostileDns
from lab.measure import compare, memory_mib
from lab.smtp import Client, Closed, mail
from test_load import gate, of_size, priority, say, sink     # noqa: F401  (fixtures)

BOUND_MIB = 300
ENVELOPE = "EHLO x.example\r\nMAIL FROM:<a@x.example>\r\nRCPT TO:<bob@example.com>\r\n"
DATA = ENVELOPE + "DATA\r\n"

# What is said once, and then again and again.
POURED = {
    "line": ("", "x" * 65536),
    "nothing": ("", "\r\n" * 20000),
    "noop": ("", "NOOP\r\n" * 10000),
    "ehlo": ("", "EHLO x\r\n" * 8000),
    "rcpt": (ENVELOPE, "RCPT TO:<bob@example.com>\r\n" * 2000),
    "bdat": (ENVELOPE, "BDAT 1\r\nx" * 5000),
    "header": (DATA + "Subject: ", "x" * 65536),
    "fields": (DATA, "X-Many: y\r\n" * 6000),
    "folds": (DATA + "Subject: x\r\n", " y\r\n" * 16000),
    "data": (DATA + "Subject: x\r\n\r\n", "A line of text that does not end the message.\r\n" * 1400),
    "data line": (DATA + "Subject: x\r\n\r\n", "x" * 65536),
    "deaf": ("", "HELP\r\n" * 10000),           # and what is answered is never read
}


@pytest.mark.parametrize("kind", POURED)
def test_poured(gate, request, kind):    # noqa: F811
    head, body = POURED[kind]
    g, good, usual = gate("errors = 10000")
    with Attackers("pour", g.port, of_size(20, 500), processes=2, head=head, body=body, deaf=kind == "deaf") as a:
        a.wait("ready", 1)
        a.wait("bytes", of_size(1 << 20, 1 << 26), timeout=120)
        took = compare(good, usual)
        held = memory_mib(g)
        say(request, held_mib=held, poured_mib=a.figures()["bytes"] / 1048576, usual_ms=took[0], then_ms=took[1], ended=a.figures()["ended"])
        assert held < BOUND_MIB


def zip_of(*files):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as z:
        for name, data in files:
            z.writestr(name, data)
    return out.getvalue()


def bomb(depth, width):
    """Archives in archives, at the bottom zeros: a hundred kilobytes that are petabytes."""
    data = zip_of(("zeros", b"\0" * (64 << 20)))
    for level in range(depth):
        data = zip_of(*((f"{level}-{i}.zip", data) for i in range(width)))
    return data


def attached(data, name="a.zip", kind="application/zip"):
    return ("MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b\r\n",
            f'--b\r\nContent-Type: {kind}; name="{name}"\r\nContent-Disposition: attachment; filename="{name}"\r\nContent-Transfer-Encoding: base64\r\n\r\n'
            + base64.encodebytes(data).decode().replace("\n", "\r\n") + "--b--\r\n")


def nested(depth):
    """multipart in multipart."""
    head = "MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b0\r\n"
    body = "".join(f"--b{i}\r\nContent-Type: multipart/mixed; boundary=b{i + 1}\r\n\r\n" for i in range(depth))
    return head, body + f"--b{depth}\r\n\r\nthe end\r\n"


def parts(count, text="Content-Type: application/x-y; name=f.exe\r\n\r\nx\r\n"):
    return "MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b\r\n", f"--b\r\n{text}" * count + "--b--\r\n"


CONTENT = {
    "nested zip": lambda: attached(bomb(3, 16)),
    "zip of zeros": lambda: attached(zip_of(*((f"z{i}", b"\0" * (16 << 20)) for i in range(10)))),
    "zip of names": lambda: attached(zip_of(*((f"{'n' * 200}{i}", b"") for i in range(20000)))),
    "parts": lambda: parts(10000),
    "messages in messages": lambda: ("MIME-Version: 1.0\r\nContent-Type: message/rfc822\r\n", "Content-Type: message/rfc822\r\n\r\n" * 1000 + "end\r\n"),
    "depth": lambda: nested(1000),
    "boundaries that are prefixes": lambda: ("MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=" + "-" * 60 + "\r\n", ("-" * 70 + "\r\n") * 20000),
    "parameters": lambda: ("MIME-Version: 1.0\r\nContent-Type: multipart/mixed; " + "; ".join(f"x*{i}=y" for i in range(5000)) + "; boundary=b\r\n", "x\r\n"),
    "base64 of nothing": lambda: ("MIME-Version: 1.0\r\nContent-Type: text/html\r\nContent-Transfer-Encoding: base64\r\n", "AAAA====\r\n" * 200000),
    "html": lambda: ("MIME-Version: 1.0\r\nContent-Type: text/html\r\n", "<a href=<<<&#x;&amp" * 100 + "\r\n" + "<div>\r\n" * 200000),
    "encoded words": lambda: ("Subject: " + "=?utf-8?q?a?= " * 10000 + "\r\n", "x\r\n"),
    "comments": lambda: ("From: " + "(" * 100000 + "\r\n", "x\r\n"),
    "signatures": lambda: ("".join(f"DKIM-Signature: v=1; a=rsa-sha256; d=chain-3-{i}.evil.example; s=s; h=from; bh={'A' * 43}=; b={'A' * 342}==\r\n"
                                   for i in range(300)), "x\r\n" * 100000),
}
CONTENT_POLICY = """
quarantine programs: if attachment.extension in (exe, scr, js) or archive.extension in (exe, scr, js)
quarantine locked: if archive.encrypted
quarantine words: if body matches "(a+)+b" or header subject matches "(x+x+)+y"
reject if dmarc = fail and dmarc.policy = reject
accept
"""


class Senders:
    """The same message again and again, by several at a time."""

    def __init__(self, port, octets, count=4):
        self.port, self.octets, self.sent, self.codes = port, octets, 0, {}
        self.over = threading.Event()
        self.threads = [threading.Thread(target=self.send, args=(i,), daemon=True) for i in range(count)]

    def send(self, i):
        while not self.over.is_set():
            try:
                with Client(self.port, source=f"127.{i + 2}.0.1") as c:
                    reply = c.message("a@evil.example", "bob@example.com", self.octets)
                self.codes[reply.code] = self.codes.get(reply.code, 0) + 1
                self.sent += 1
            except (Closed, OSError):
                pass
            self.over.wait(0.02)

    def __enter__(self):
        for t in self.threads:
            t.start()
        return self

    def __exit__(self, *_):
        self.over.set()
        for t in self.threads:
            t.join(60)


@pytest.mark.parametrize("kind", CONTENT)
def test_content(gate, request, kind):   # noqa: F811
    extra, body = CONTENT[kind]()
    g, good, usual = gate(policy=CONTENT_POLICY)
    with Senders(g.port, mail(sender="a@evil.example", extra=extra, body=body)) as s:
        end = time.monotonic() + 60
        while s.sent < of_size(1, 20) and time.monotonic() < end:
            time.sleep(0.05)
        took = compare(good, usual, factor=2.0)
        held = memory_mib(g)
        say(request, held_mib=held, sent=s.sent, codes=s.codes, usual_ms=took[0], then_ms=took[1])
        assert s.sent
        assert held < BOUND_MIB


@pytest.fixture
def hostile():
    server = HostileDns()
    yield server
    server.stop()


DNS_POLICY = """
reject if spf = fail and dmarc = fail and dmarc.policy = reject
quarantine if client.fcrdns = fail and spf = permerror
accept
"""


@pytest.mark.parametrize("kind", ["chain-100", "loop-1", "big", "spf", "drip", "cut", "silent", "many", "fan", "lame", "mx"])
def test_dns(gate, hostile, request, kind):  # noqa: F811
    """Senders whose domains are answered for by somebody who means ill."""
    g, good, usual = gate(dns=hostile.server, policy=DNS_POLICY, dns_conf="")
    over = threading.Event()
    sent = [0]

    def attack(i):
        n = 0
        while not over.is_set():
            n += 1
            domain = f"{kind}-{i}x{n}.evil.example"
            try:
                with Client(g.port, source=f"127.{i + 2}.{n % 250}.9", timeout=120) as c:
                    c.message(f"a@{domain}", "bob@example.com", mail(sender=f"a@{domain}"), helo=domain)
                    sent[0] += 1
            except (Closed, OSError, AssertionError):
                pass

    threads = [threading.Thread(target=attack, args=(i,), daemon=True) for i in range(of_size(16, 64))]
    for t in threads:
        t.start()
    try:
        time.sleep(of_size(0.5, 10))
        took = compare(good, usual)
        held = memory_mib(g)
        say(request, held_mib=held, sent=sent[0], asked=hostile.process.output().rpartition("asked ")[2].split("\n")[0], usual_ms=took[0], then_ms=took[1])
        assert held < BOUND_MIB
    finally:
        over.set()
        for t in threads:
            t.join(30)
