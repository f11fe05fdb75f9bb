"""gatepost report: aggregate reports in the manner of those who send them, and what is made of them.

The samples are written here, each with one peculiarity of a reporter; where it was seen stands beside it.
"""
import gzip
import io
import json
import os
import pathlib
import pty
import struct
import subprocess
import sys
import zipfile
import zlib
from email.message import EmailMessage
from xml.sax.saxutils import escape

import pytest

from lab import gateway
from lab.knot import Knot

PLAIN = os.environ.get("GATEPOST_PLAIN", gateway.BINARY)
BEGIN, DAY = 1795219200, 86400        # 2026-11-21


def row(ip, count, dkim="fail", spf="fail", disposition="none", header_from="example.org", reason="", auth="", ids=""):
    return (f"<record><row><source_ip>{ip}</source_ip><count>{count}</count><policy_evaluated><disposition>{disposition}</disposition>"
            f"<dkim>{dkim}</dkim><spf>{spf}</spf>{reason}</policy_evaluated></row><identifiers>{ids}<header_from>{header_from}</header_from></identifiers>"
            f"<auth_results>{auth}</auth_results></record>")


def dkim(domain, result="pass", selector="s1"):
    return f"<dkim><domain>{domain}</domain><selector>{selector}</selector><result>{result}</result></dkim>"


def spf(domain, result="pass", scope="<scope>mfrom</scope>"):
    return f"<spf><domain>{domain}</domain>{scope}<result>{result}</result></spf>"


def report(rows, org="reporter.example", ident="1", domain="example.org", p="none", begin=BEGIN, end=BEGIN + DAY - 1, policy="<pct>100</pct>", head="<feedback>",
           tail="</feedback>", declaration='<?xml version="1.0" encoding="UTF-8" ?>\n', meta=""):
    return (f"{declaration}{head}<report_metadata><org_name>{escape(org)}</org_name><email>dmarc@{org}</email>{meta}<report_id>{ident}</report_id>"
            f"<date_range><begin>{begin}</begin><end>{end}</end></date_range></report_metadata><policy_published><domain>{domain}</domain><adkim>r</adkim>"
            f"<aspf>r</aspf><p>{p}</p><sp>{p}</sp>{policy}</policy_published>{''.join(rows)}{tail}").encode()


def zipped(name, content):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as z:
        z.writestr(name, content)
    return out.getvalue()


def streamed_zip(name, content):
    """Made without going back: sizes behind the data, as Java's ZipOutputStream does."""
    packed = zlib.compressobj(9, zlib.DEFLATED, -15)
    data = packed.compress(content) + packed.flush()
    crc, name = zlib.crc32(content), name.encode()
    local = b"PK\3\4" + struct.pack("<HHHHHIIIHH", 20, 8, 8, 0, 0, 0, 0, 0, len(name), 0) + name
    after = b"PK\7\10" + struct.pack("<III", crc, len(data), len(content))
    central = b"PK\1\2" + struct.pack("<HHHHHHIIIHHHHHII", 20, 20, 8, 8, 0, 0, crc, len(data), len(content), len(name), 0, 0, 0, 0, 0, 0) + name
    at = len(local) + len(data) + len(after)
    return local + data + after + central + b"PK\5\6" + struct.pack("<HHHHIIH", 0, 0, 1, 1, len(central), at, 0)


def mail(content, maintype, subtype, filename, text=True):
    m = EmailMessage()
    m["From"], m["To"], m["Subject"] = "dmarc@reporter.example", "dmarc@example.org", "Report Domain: example.org Submitter: reporter.example Report-ID: 1"
    if text:
        m.set_content("This is a DMARC aggregate report.\n")
        m.add_alternative("<html><p>This is a <b>DMARC</b> aggregate report.</html>", subtype="html")
        m.add_attachment(content, maintype=maintype, subtype=subtype, filename=filename)
    else:
        m.set_content(content, maintype=maintype, subtype=subtype, filename=filename)
    return m.as_bytes()


def run(*args, binary=gateway.BINARY, stdin=b""):
    return subprocess.run([binary, "report", *map(str, args)], capture_output=True, input=stdin, timeout=60)


def read(tmp_path, content, *options, name="report"):
    path = tmp_path / name
    path.write_bytes(content)
    return run(*options, path)


GOOD = [row("192.0.2.7", 5, "pass", "pass", auth=dkim("example.org") + spf("example.org"))]
GOOGLE = report(GOOD, org="google.com", meta="<extra_contact_info>https://support.google.com/a/answer/2466580</extra_contact_info>",
                policy="<pct>100</pct><np>none</np>")
# version, xsd and xsi declared, envelope_to, the next day's first second as end (parsedmarc's samples: protection.outlook.com)
MICROSOFT = report([row("192.0.2.7", 5, "pass", "pass", auth=dkim("example.org") + spf("example.org"),
                        ids="<envelope_to>hotmail.example</envelope_to><envelope_from>example.org</envelope_from>")], org="Outlook.com",
                   head='<feedback xmlns:xsd="http://www.w3.org/2001/XMLSchema" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance">\n<version>1.0</version>',
                   declaration='<?xml version="1.0"?>\n', policy="<pct>100</pct><fo>0</fo>", end=BEGIN + DAY)
RFC9990 = report(GOOD, org="gmx.example", head='<feedback xmlns="urn:ietf:params:xml:ns:dmarc-2.0">', policy="<testing>n</testing>",
                 meta='<extra_contact_info lang="de">x</extra_contact_info>')
KINDS = {
    "google: the message is the zip": mail(zipped("google.com!example.org!1.xml", GOOGLE), "application", "zip", "google.com!example.org!1.zip", text=False),
    "microsoft: gzip beside text and HTML": mail(gzip.compress(MICROSOFT), "application", "gzip", "protection.outlook.com!example.org!1!2.xml.gz"),
    # parsedmarc #208, modoboa-dmarc #7: x-gzip of Yahoo, AOL and others
    "yahoo: x-gzip": mail(gzip.compress(report(GOOD, org="Yahoo")), "application", "x-gzip", "yahoo.com!example.org!1!2.xml.gz"),
    # dmarcts-report-parser #121, Open-Report-Parser #12: a zip with sizes behind the data, sent as application/gzip
    "mimecast: a zip that is called gzip": mail(streamed_zip("mimecast.org!example.org!1.xml", report(GOOD, org="mimecast.org")), "application", "gzip", "x.xml.gz"),
    # parsedmarc #607
    "not packed": mail(report(GOOD), "text", "xml", "x!example.org!1!2.xml"),
    # parsedmarc #69
    "no line end behind the declaration": report(GOOD, declaration='<?xml version="1.0" encoding="utf-8"?>'),
    # dmarc-metrics-exporter #53: GMX
    "RFC 9990": gzip.compress(RFC9990),
    # parsedmarc #18: IKEA; never closed
    "a schema around it": report(GOOD, head='<xs:schema xmlns:xs="http://www.w3.org/2001/XMLSchema" targetNamespace="http://dmarc.org/dmarc-xml/0.1"><feedback>'),
    # parsedmarc #122
    "octets that are no UTF-8": report(GOOD, meta="<extra_contact_info>https://r.example/@@</extra_contact_info>").replace(b"@@", b"\x91x\x92"),
    "words in capitals": report([row("192.0.2.7", 5, "Pass", "PASS", "None", auth=dkim("example.org", "Pass") + spf("example.org", "PASS", ""))]),
    "a gzip called xml": gzip.compress(GOOGLE),
    "From_ of a mailbox": b"From dmarc@reporter.example Sat Nov 21 00:00:00 2026\n" + mail(gzip.compress(GOOGLE), "application", "gzip", "x.xml.gz"),
}


@pytest.mark.parametrize("content", KINDS.values(), ids=KINDS)
def test_reporters(tmp_path, content):
    done = read(tmp_path, content, "--json")
    assert (done.returncode, done.stderr) == (0, b"")
    (d,) = json.loads(done.stdout)["domains"]
    assert (d["domain"], d["messages"], d["passed"], d["failed"]) == ("example.org", 5, 5, 0)
    (source,) = d["sources"]
    assert (source["ip"], source["rows"][0]["class"], source["rows"][0]["dkim"][0]["selector"]) == ("192.0.2.7", "pass", "s1")


def test_a_message_within_a_message(tmp_path):
    """dmarcts-report-parser #122: what a server handed on as an attachment."""
    inner = mail(zipped("a.xml", GOOGLE), "application", "zip", "a.zip", text=False)
    outer = (b"From: postmaster@example.org\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=xx\r\n\r\n--xx\r\n\r\nsee below\r\n"
             b"--xx\r\nContent-Type: message/rfc822\r\n\r\n" + inner + b"\r\n--xx--\r\n")
    done = read(tmp_path, outer, "--json")
    assert done.returncode == 0 and json.loads(done.stdout)["domains"][0]["messages"] == 5


LIES = [
    row("198.51.100.4", 40, auth=dkim("mailer.example") + spf("bounce.mailer.example")),
    row("198.51.100.5", 7, "pass", "fail", auth=dkim("example.org") + spf("forwarder.example")),
    row("198.51.100.6", 6, "fail", "pass", auth=spf("example.org")),
    row("198.51.100.7", 4, reason="<reason><type>mailing_list</type><comment>list of ours</comment></reason>", auth=dkim("example.org", "fail") + spf("list.example")),
    row("198.51.100.8", 3, auth=dkim("example.org", "permerror") + spf("example.org", "fail")),
    row("203.0.113.9", 2, disposition="reject", auth=spf("example.org", "hardfail")),          # dmarc-report-viewer #21
    row("203.0.113.10", 1, auth=spf("example.org", "temperror")),
    row("2001:db8::1", 50, "pass", "pass", auth=dkim("example.org") + spf("example.org")),
]


def test_words(tmp_path):
    done = read(tmp_path, report(LIES))
    text = " ".join(done.stdout.decode().split())
    assert (done.returncode, done.stderr) == (0, b"")
    for words in [
        "reported by reporter.example <dmarc@reporter.example>, 2026-11-21 00:00 to 2026-11-21 23:59 UTC: 113 messages",
        "policy they saw: p=none, sp=none, DKIM relaxed, SPF relaxed",
        "113 messages: 63 passed (55.7 %), 50 failed",
        "2 refused, 0 put aside, nothing with 111",
        "with p=quarantine what failed (50) would have been put aside, with p=reject refused, but for some of the 4 that came by forwarders and lists.",
        "Of what failed, 43 may be yours",
        "DKIM of mailer.example (s1) passes, not aligned; SPF of bounce.mailer.example passes, not aligned",
        "let it sign with DKIM for your domain, or use an envelope sender below it",
        "DKIM carries it although SPF does not: forwarded mail",
        "SPF alone carries it",
        "the reporter: mailing_list (list of ours)",
        "It has a signature of your domain that fails",
        "a server that you forgot",
        "could not look something up",
    ]:
        assert words in text, words
    order = [line.split(": ")[0].strip() for line in done.stdout.decode().splitlines() if line.startswith("  ") and ("198.51" in line or "2001:" in line or "203.0" in line)]
    assert order == ["2001:db8::1", "198.51.100.4", "198.51.100.5", "198.51.100.6", "198.51.100.7", "198.51.100.8", "203.0.113.9", "203.0.113.10"]
    done = read(tmp_path, report(LIES), "--json")
    classes = {s["ip"]: s["rows"][0]["class"] for s in json.loads(done.stdout)["domains"][0]["sources"]}
    assert classes == {"2001:db8::1": "pass", "198.51.100.4": "other-domain", "198.51.100.5": "pass-dkim", "198.51.100.6": "pass-spf", "198.51.100.7": "forwarded",
                       "198.51.100.8": "broken-signature", "203.0.113.9": "nothing", "203.0.113.10": "dns"}


def test_several_are_added_up(tmp_path):
    names = []
    for i, (content, name) in enumerate([
        (report(LIES, ident="a"), "a.xml"), (gzip.compress(report(LIES, ident="b", begin=BEGIN + DAY, end=BEGIN + 2 * DAY - 1, p="reject")), "b.xml.gz"),
        (report(LIES, ident="a"), "again.xml"), (report(GOOD, ident="a", domain="Example.COM"), "other.xml"), (report(GOOD, domain="EXAMPLE.com", ident="x"), "c"),
    ]):
        (tmp_path / name).write_bytes(content)
        names.append(tmp_path / name)
    done = run("--json", *names)
    assert done.returncode == 0
    one, two = json.loads(done.stdout)["domains"]
    assert (one["domain"], one["messages"], one["duplicates"], len(one["reports"])) == ("example.org", 226, 1, 2)
    assert (two["domain"].lower(), two["messages"], len(two["sources"])) == ("example.com", 10, 1)
    assert one["sources"][0] == {**one["sources"][0], "ip": "2001:db8::1", "messages": 100, "passed": 100} and len(one["sources"][0]["rows"]) == 1
    words = " ".join(run(*names).stdout.decode().split())
    assert "policy they saw: p=none" in words and "policy they saw: p=reject" in words and "1 report came twice and counted once" in words
    assert "p=reject asks that what failed (100) is refused, but for some of the 8 that came by forwarders and lists" in words
    assert run("-", stdin=names[1].read_bytes()).returncode == 0


def test_many_sources(tmp_path):
    rows = [row(f"10.0.{i // 250}.{i % 250}", 1, auth=spf("example.org", "fail")) for i in range(3000)]
    content = gzip.compress(report(rows))
    assert b"and 2950 more sources with 2950 messages, 2950 failed" in read(tmp_path, content).stdout
    assert read(tmp_path, content, "--all").stdout.count(b"10.0.") == 3000


def test_what_a_report_says_does_nothing_to_a_terminal(tmp_path):
    """Escapes as numeric references and as octets, everywhere where text is shown."""
    evil = "&#x9b;31m&#x202e;&#10;  passed: all&#13;" + "x" * 5000
    content = report([row("192.0.2.7", 5, header_from=evil, reason=f"<reason><type>other</type><comment>{evil}</comment></reason>",
                          auth=dkim(evil, "fail", evil) + spf(evil, "fail"))], org="@@", meta=f"<error>{evil}</error>", domain=evil).replace(b"@@", evil.encode())
    for options in ([], ["--json"]):
        done = read(tmp_path, content + b"", *options)
        assert done.returncode == 0, done.stderr
        assert not set(done.stdout) & (set(range(32)) - {10}) and b"\x7f" not in done.stdout
        if not options:
            text = done.stdout.decode()
            assert "\u202e" not in text and "\x9b" not in text and not any(line.startswith("  passed: all") for line in text.splitlines())
            assert max(map(len, text.splitlines())) < 4000
    name = "x\x1b[31m\n.xml"
    (tmp_path / name).write_bytes(b"unused")
    done = run(tmp_path / name)
    assert done.returncode == 1 and b"\x1b" not in done.stderr and done.stderr.count(b"\n") == 1


BAD = {
    "yahoo, may 2023": (gzip.compress(b"unused"), "line 1: syntax error"),                    # parsedmarc #409
    # dmarc-report-viewer #21: an end tag without its beginning
    "kddi": (report(GOOD, ident="20250421").replace(b"20250421</report_id>", b"20250421/report_id>"), "line 2: mismatched tag"),
    "cut off": (GOOGLE[:-40], "it ends in the middle"),
    "gzip cut off": (gzip.compress(GOOGLE)[:-20], "it cannot be unpacked"),
    "nothing": (b"", "it is empty"),
    "a picture": (b"\x89PNG\r\n", "it is neither XML"),
    "a message without one": (mail(b"\x89PNG", "image", "png", "x.png"), "the message carries no report"),
    "a billion laughs": (b'<!DOCTYPE x [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;">]><feedback>&b;</feedback>', "declares a document type"),
    "a file of ours": (b'<!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]><feedback><report_metadata><org_name>&a;</org_name></report_metadata></feedback>',
                       "declares a document type"),
    "a bomb": (gzip.compress(b"<feedback>" + b" " * (20 << 20), 9), "it unpacks to more than any report has"),
    "a bomb in a zip": (zipped("a.xml", b"<feedback>" + b" " * (20 << 20)), "it unpacks to more than any report has"),
    "too large": (b"<feedback>" + b" " * (64 << 20), "it is larger than any report may be"),
}


@pytest.mark.parametrize("content, why", BAD.values(), ids=BAD)
def test_what_is_no_report(tmp_path, content, why):
    done = read(tmp_path, content)
    assert (done.returncode, done.stdout) == (1, b"")
    assert done.stderr.startswith(f"gatepost report: {tmp_path}/report: ".encode()) and why in done.stderr.decode() and done.stderr.count(b"\n") == 1


def test_an_encrypted_zip(tmp_path):
    (tmp_path / "a.xml").write_bytes(GOOGLE)
    subprocess.run(["bsdtar", "-a", "-cf", "r.zip", "--options", "zip:encryption=zipcrypt", "--passphrase", "x", "a.xml"], cwd=tmp_path, check=True)
    done = run(tmp_path / "r.zip")
    assert (done.returncode, done.stdout) == (1, b"") and done.stderr.endswith(b"r.zip: it is encrypted\n")


def test_good_ones_beside_bad_ones(tmp_path):
    (tmp_path / "good").write_bytes(GOOGLE)
    (tmp_path / "bad").write_bytes(b"unused")
    done = run("--json", tmp_path / "bad", tmp_path / "good", tmp_path / "none", tmp_path)
    told = json.loads(done.stdout)
    assert done.returncode == 1 and told["domains"][0]["messages"] == 5 and len(told["wrong"]) == 3
    assert [pathlib.Path(w["file"]).name for w in told["wrong"]] == ["bad", "none", tmp_path.name]
    assert "No such file" in told["wrong"][1]["why"]
    both = io.BytesIO()
    with zipfile.ZipFile(both, "w") as z:
        z.writestr("a.xml", GOOGLE)
        z.writestr("b.xml", "<feedback>")
        z.writestr("c.xml", report(GOOD, ident="c"))
    done = read(tmp_path, both.getvalue(), "--json")
    assert done.returncode == 1 and json.loads(done.stdout)["domains"][0]["messages"] == 10 and len(json.loads(done.stdout)["wrong"]) == 1


def test_the_plain_program_and_its_sandbox(tmp_path):
    """System calls are limited in the plain build."""
    for content in (mail(zipped("a.xml", GOOGLE), "application", "zip", "a.zip"), gzip.compress(GOOGLE), GOOGLE):
        (tmp_path / "r").write_bytes(content)
        done = run(tmp_path / "r", binary=PLAIN)
        assert (done.returncode, done.stderr) == (0, b"") and b"5 messages: 5 passed" in done.stdout


ZONE = """
4.100.51.198.in-addr.arpa PTR out.mailer.example.
1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa PTR \\027\\09131mred.example.
"""


def test_names_where_they_are_asked_for(tmp_path, scratch):
    zone = Knot(scratch / "report-knot", ZONE)
    try:
        (tmp_path / "r").write_bytes(report(LIES))
        conf = tmp_path / "gatepost.conf"
        conf.write_text(f'hostname = gate.example\ndomains = {{ example.org }}\nbackend b {{ address = "127.0.0.1:25" }}\n'
                        f'dns {{ forward = {{ "{zone.server}" }} dnssec = no }}\n')
        done = run("--names", "-c", conf, tmp_path / "r")
        assert done.returncode == 0, done.stderr
        assert b"  198.51.100.4 (out.mailer.example): 40 messages, 40 failed\n" in done.stdout and b"  198.51.100.5: 7 messages" in done.stdout
        assert b"\x1b" not in done.stdout and b"  2001:db8::1 (" in done.stdout
        told = json.loads(run("--names", "--json", "-c", conf, tmp_path / "r").stdout)
        assert {s["name"] for s in told["domains"][0]["sources"]} >= {"out.mailer.example", None}
        done = run("--names", "-c", tmp_path / "none", tmp_path / "r")
        assert done.returncode == 1 and b"No such file" in done.stderr and b"113 messages" in done.stdout
    finally:
        zone.stop()


def test_json_costs_no_memory_of_its_own(tmp_path):
    """Many sources, and many rows of one source: written while it is made, with all of it there."""
    many = 6000
    rows = [row(f"10.0.{i >> 8}.{i & 255}", 1, auth=dkim("example.org", "fail")) for i in range(many)]
    rows += [row("192.0.2.1", 2, auth=dkim("example.org", "fail", f"sel{i}")) for i in range(many)]
    (tmp_path / "r").write_bytes(report(rows, ident="1"))
    (tmp_path / "none").mkdir()

    def most(*options):
        """The largest of its memory, in KiB, and what it said. A small process starts it: one counts as its own what it had before exec, as a copy of ours."""
        tell = "import resource, subprocess, sys; p = subprocess.run(sys.argv[1:]); print(p.returncode, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss, file=sys.stderr)"
        with open(tmp_path / "out", "wb") as out:
            done = subprocess.run([sys.executable, "-c", tell, PLAIN, "report", *options, str(tmp_path / "r"), str(tmp_path / "none")], stdout=out, stderr=subprocess.PIPE)
        status, kib = done.stderr.split()[-2:]
        assert status == b"1", done.stderr      # a directory is no report
        return int(kib), (tmp_path / "out").read_bytes()

    (words, _), (as_json, text) = most(), most("--json")
    told = json.loads(text)
    (d,), (wrong,) = told["domains"], told["wrong"]
    by = {s["ip"]: s for s in d["sources"]}
    assert d["messages"] == 3 * many and len(by) == many + 1 and by["192.0.2.1"]["messages"] == 2 * many and wrong["file"].endswith("none")
    assert {r["dkim"][0]["selector"] for r in by["192.0.2.1"]["rows"]} == {f"sel{i}" for i in range(many)}
    assert as_json < words + 8000, (words, as_json)         # 50 MB more, when it was made as a whole


def test_a_full_disk(tmp_path):
    (tmp_path / "r").write_bytes(GOOGLE)
    with open("/dev/full", "wb") as full:
        for options in ([], ["--json"]):
            done = subprocess.run([gateway.BINARY, "report", *options, str(tmp_path / "r")], stdout=full, stderr=subprocess.PIPE)
            assert done.returncode == 1 and done.stderr == b"gatepost report: output: No space left on device\n"


def test_colours_on_a_terminal_only(tmp_path):
    (tmp_path / "r").write_bytes(report(LIES))
    assert b"\x1b" not in run(tmp_path / "r").stdout
    for env, coloured in ({}, True), ({"NO_COLOR": "1"}, False):
        us, them = pty.openpty()
        with subprocess.Popen([gateway.BINARY, "report", str(tmp_path / "r")], stdout=them, env={**os.environ, "TERM": "xterm", **env}) as p:
            os.close(them)
            seen = b""
            try:
                while chunk := os.read(us, 65536):
                    seen += chunk
            except OSError:
                pass
            os.close(us)
            assert p.wait(30) == 0
        assert (b"\x1b[" in seen) == coloured
