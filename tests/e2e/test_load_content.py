"""
What is made to be expensive, in the plain program: lines, headers, archives, MIME, answers of the DNS. Memory stays within its bound, and a good client's
message gets through within twice its usual time. `make soak` runs these at full size (LOAD=full).
"""
import base64
import io
import zipfile

import pytest

from lab.attackers import Attackers
from lab.hostile_dns import HostileDns
from lab.measure import compare, memory_mib, preferred
from lab.smtp import mail
from test_load import FULL, of_size, say

BOUND_MIB = 300
ENVELOPES_MIB = 600             # 500 envelopes of 1,000 recipients each: 450 MiB, of 768 that memory_total is by default with two workers
ENVELOPE = "EHLO x.example\r\nMAIL FROM:<a@x.example>\r\nRCPT TO:<bob@example.com>\r\n"
DATA = ENVELOPE + "DATA\r\n"

# What is said once, and then again and again.
def some(table, *names):
    """The cases of the short form."""
    return list(table) if FULL else list(names)


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


@pytest.mark.parametrize("kind", some(POURED, "line", "noop"))
def test_poured(load_gate, request, kind):
    head, body = POURED[kind]
    g, good, usual = load_gate("errors = 10000")
    with Attackers("pour", g.port, of_size(20, 500), processes=2, head=head, body=body, deaf=kind == "deaf") as a:
        a.wait("ready", 1)
        a.wait("bytes", of_size(1 << 20, 1 << 26), timeout=120)
        took = compare(good, usual)
        held = memory_mib(g)
        say(request, held_mib=held, poured_mib=a.figures()["bytes"] / 1048576, usual_ms=took[0], then_ms=took[1], ended=a.figures()["ended"])
        assert held < (ENVELOPES_MIB if kind == "rcpt" else BOUND_MIB)


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
quarantine words: if text ~ /(a+)+b/ or header.subject ~ /(x+x+)+y/
reject if dmarc = fail and dmarc.policy = reject
accept
"""


@pytest.mark.parametrize("kind", some(CONTENT, "nested zip", "depth"))
def test_content(load_gate, request, tmp_path, kind):
    extra, body = CONTENT[kind]()
    path = tmp_path / "message"
    path.write_bytes(mail(sender="a@evil.example", extra=extra, body=body))
    g, good, usual = load_gate(policy=CONTENT_POLICY)
    with Attackers("mails", g.port, of_size(4, 32), processes=2, path=str(path)) as a:
        a.wait("sent", of_size(1, 20), timeout=200)
        took = compare(good, usual)
        held = memory_mib(g)
        f = a.figures()
        say(request, kib=path.stat().st_size // 1024, held_mib=held, sent=f["sent"], taken=f["said250"], usual_ms=took[0], then_ms=took[1])
        assert held < BOUND_MIB


@pytest.fixture
def hostile():
    server = HostileDns()
    preferred(server.process)
    yield server
    server.stop()


DNS_POLICY = """
reject if spf = fail and dmarc = fail and dmarc.policy = reject
quarantine if client.fcrdns = fail and spf = permerror
accept
"""


KINDS_OF_DNS = dict.fromkeys(["chain-100", "loop-1", "big", "spf", "drip", "cut", "silent", "many", "fan", "lame", "mx"])


@pytest.mark.parametrize("kind", some(KINDS_OF_DNS, "chain-100", "big"))
def test_dns(load_gate, hostile, request, tmp_path, kind):
    """Senders whose domains are answered for by somebody who means ill."""
    path = tmp_path / "message"
    path.write_bytes(mail(sender="a@DOMAIN"))
    g, good, usual = load_gate(dns=hostile.server, policy=DNS_POLICY)
    with Attackers("mails", g.port, of_size(16, 200), processes=2, path=str(path), domain=f"{kind}-%d.evil.example") as a:
        a.wait("ready", 2)
        asked = f"asked {of_size(100, 10000)}"
        hostile.process.wait_line(r"asked \d{%d,}" % len(asked.split()[1]), timeout=200)
        took = compare(good, usual)
        held = memory_mib(g)
        f = a.figures()
        say(request, held_mib=held, sent=f["sent"], taken=f["said250"], asked=hostile.process.output().rpartition("asked ")[2].split("\n")[0],
            usual_ms=took[0], then_ms=took[1])
        assert held < BOUND_MIB
