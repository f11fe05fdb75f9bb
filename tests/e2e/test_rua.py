"""Aggregate reports of DMARC: when a day is over each domain that asks for it gets one, at addresses that may have it, and nobody else gets anything."""
import email
import email.policy
import gzip
import json
import os
import re
import socket
import sqlite3
import subprocess
import time
import unittest.mock
import xml.etree.ElementTree

import dkim
import pytest

from lab.clock import CLOCK, Clock
from lab.gateway import ROOT, parse_logfmt
from lab.process import WAIT_S
from lab.sign import KEY, public_key
from lab.smtp import Client, mail

PLAIN = os.environ.get("GATEPOST_PLAIN", str(ROOT / "build" / "gatepost"))
SCHEMA = ROOT / "tests" / "conformance" / "dmarc" / "rfc9990.xsd"
NAMESPACE = "{urn:ietf:params:xml:ns:dmarc-2.0}"
DAY = 86400
OURS = "127.0.0.9"
MANY = [f"d{i:02}.many.example" for i in range(40)]

ZONE = """
mx.one.example A 127.0.0.11
mx.two.example A 127.0.0.12
mx.three.example A 127.0.0.13

# to itself, to two addresses; and single failures, which nobody gets
one.example MX 10 mx.one.example
one.example TXT "v=spf1 ip4:127.0.0.1 -all"
_dmarc.one.example TXT "v=DMARC1; p=reject; rua=mailto:dmarc@one.example,mailto:b%2Bc@one.example!1m; ruf=mailto:ruf@one.example; fo=1"

# to others: one that allows it, at an address of its own choice; one that does not; one that names somebody else
reports.example MX 10 mx.two.example
victim.example MX 10 mx.three.example
_dmarc.asks.example TXT "v=DMARC1; p=none; rua=mailto:asks@reports.example, mailto:asks@victim.example, mailto:asks@wrong.example"
asks.example._report._dmarc.reports.example TXT "v=DMARC1; rua=mailto:real@reports.example"
asks.example._report._dmarc.wrong.example TXT "v=DMARC1; rua=mailto:x@victim.example"
wrong.example MX 10 mx.three.example

# nobody may be told of these
_dmarc.forbidden.example TXT "v=DMARC1; p=reject; rua=mailto:x@victim.example"
_dmarc.small.example TXT "v=DMARC1; p=none; rua=mailto:x@small.example!100"
small.example MX 10 mx.three.example
_dmarc.ruf.example TXT "v=DMARC1; p=reject; ruf=mailto:x@ruf.example"
ruf.example MX 10 mx.three.example
none.example MX 10 mx.three.example

# one of our own
_dmarc.example.com TXT "v=DMARC1; p=reject; rua=mailto:dmarc@example.com"

""" + "".join(f'{d} MX 10 mx.two.example\n_dmarc.{d} TXT "v=DMARC1; p=none; rua=mailto:dmarc@{d}"\n' for d in MANY)


POLICY = """
quarantine if dmarc = fail and dmarc.policy = reject
accept
"""


class Site:
    """A gateway whose clock the test moves; it begins at noon."""

    def __init__(self, lab, world, backend, clock, rua="yes", **kw):
        self.clock = clock
        self.today = int(time.time()) // DAY
        clock.move(self.today * DAY + DAY / 2 - time.time())
        self.server = backend()
        self.gate = lab([self.server.port], dns=world.server, binary=PLAIN, env=clock.env, workers=2, policy=POLICY, conf=f"""
relay_networks = {{ "{OURS}" }}
outbound {{ port = {world.port25} never = {{ none }} bench = "0s" }}
spool {{ retry_min = "300ms" retry_max = "300ms" }}
dkim_sign example.com {{ keys = {{ "sel={KEY}" }} }}
dmarc {{ rua = {rua} rua_from = "dmarc-reports@example.com" rua_org = "Example & Söhne" rua_contact = "https://example.com/mail" rua_spread = 0 }}""", **kw)

    def send(self, author, source="127.0.0.1", sender=None, to="bob@example.com", **kw):
        with Client(self.gate.port, source=source) as c:
            assert c.message(sender if sender is not None else f"x@{author}", to, mail(f"x@{author}", **kw)).code == 250

    def next_day(self, minutes=2):
        """The day is over. That the clock was set is noticed, and the workers that begin anew then look at once; a reload besides would be one in the midst of that."""
        self.gate.reload(lambda: self.clock.move((self.today + 1) * DAY + minutes * 60 - time.time()))

    def lines(self, event, since=0):
        return [parse_logfmt(line) for line in self.gate.process.output()[since:].splitlines() if f"event={event} " in line]

    def status(self):
        with socket.socket(socket.AF_UNIX) as s:
            s.connect(str(self.gate.state / "control"))
            s.sendall(b'{"cmd":"status"}\n')
            return json.loads(s.makefile().readline())

    def wait(self, condition, what):
        end = time.monotonic() + WAIT_S
        while not condition():
            assert time.monotonic() < end, f"{what}:\n{self.gate.process.output()}"
            time.sleep(0.05)


@pytest.fixture
def site(lab, world, backend, tmp_path):
    assert CLOCK.exists(), "make preloads"
    return lambda **kw: Site(lab, world, backend, Clock(tmp_path / "clock"), **kw)


def read(message):
    """(header, name of the file, the XML) of a report; it is one by the RFC's schema."""
    m = email.message_from_bytes(message.data, policy=email.policy.default)
    assert m.get_content_type() == "multipart/mixed"
    text, report = m.iter_parts()
    assert text.get_content_type() == "text/plain" and report.get_content_type() == "application/gzip"
    xml_text = gzip.decompress(report.get_content())
    subprocess.run(["xmllint", "--noout", "--nonet", "--schema", str(SCHEMA), "-"], input=xml_text, check=True, capture_output=True)
    return m, report.get_filename(), xml.etree.ElementTree.fromstring(xml_text.decode())


def find(root, path):
    return [e.text for e in root.findall("/".join(NAMESPACE + p for p in path.split("/")))]


def signed(octets, now):
    """By the clock of the gateway: at night its next day is further away than the hours that a signature may come from the future."""
    with unittest.mock.patch("dkim.time.time", lambda: now):
        return dkim.DKIM(octets, minkey=1024).verify(dnsfunc=lambda name, timeout=5: f"v=DKIM1; k=rsa; p={public_key()}".encode())


def test_reports(site, host):
    one, two, three = host(11), host(12), host(13)
    s = site()
    for i in range(3):
        s.send("one.example", subject=f"m{i}")
    s.send("one.example", source="127.0.0.2")
    s.send("sub.one.example", source="127.0.0.2", sender="")
    s.send("one.example", source=OURS)                  # ours: nobody's business
    for author in ("asks.example", "forbidden.example", "small.example", "ruf.example", "none.example", "example.com"):
        s.send(author)
    s.next_day()
    s.wait(lambda: len(s.lines("rua-sent")) + len(s.lines("rua-given-up")) == 5, "reports")
    assert {x["domain"] for x in s.lines("rua-given-up")} == {"forbidden.example", "small.example"}

    # the domain's own
    one.wait_messages(1)
    m, name, root = read(one.messages[0])
    assert sorted(one.messages[0].to) == ["b+c@one.example", "dmarc@one.example"]
    assert one.messages[0].mail.startswith("MAIL FROM:<>")
    assert m["from"] == "dmarc-reports@example.com" and m["auto-submitted"] == "auto-generated"
    begin = s.today * DAY
    ident = find(root, "report_metadata/report_id")[0]
    assert name == f"{ident.partition('@')[2]}!one.example!{begin}!{begin + DAY - 1}.xml.gz"
    assert m["subject"] == f"Report Domain: one.example Submitter: example.com Report-ID: <{ident}>"
    assert signed(one.messages[0].data, s.clock.now())
    assert find(root, "report_metadata/org_name") == ["Example & Söhne"] and find(root, "report_metadata/email") == ["dmarc-reports@example.com"]
    assert find(root, "report_metadata/extra_contact_info") == ["https://example.com/mail"]
    assert find(root, "report_metadata/date_range/begin") == [str(begin)]
    assert find(root, "policy_published/domain") == ["one.example"] and find(root, "policy_published/p") == ["reject"]
    rows = {(a, b): int(n) for a, b, n in zip(find(root, "record/row/source_ip"), find(root, "record/identifiers/header_from"), find(root, "record/row/count"))}
    assert rows == {("127.0.0.1", "one.example"): 3, ("127.0.0.2", "one.example"): 1, ("127.0.0.2", "sub.one.example"): 1}
    assert sorted(find(root, "record/row/policy_evaluated/spf")) == ["fail", "fail", "pass"]
    assert sorted(find(root, "record/row/policy_evaluated/disposition")) == ["pass", "quarantine", "quarantine"]
    assert "bob" not in xml.etree.ElementTree.tostring(root).decode()

    # to another host, at the address that it chooses; and one's own, to the server behind
    two.wait_messages(1)
    assert [m.to for m in two.messages] == [["real@reports.example"]]
    assert find(read(two.messages[0])[2], "policy_published/domain") == ["asks.example"]
    s.server.wait(lambda: any(m.to == ["dmarc@example.com"] for m in s.server.messages), "our own report")
    assert [m.to for m in s.server.messages].count(["dmarc@example.com"]) == 1
    assert not three.sessions
    s.wait(lambda: s.status()["reports"] == {"sent": 3, "given_up": 2}, "the counts")

    # once: a day later, by whoever begins anew, all that there is has been looked at
    s.gate.stop()
    s.clock.move((s.today + 2) * DAY + 120 - time.time())
    s.gate.start()
    s.gate.wait_line(f"event=rua-day day={time.strftime('%Y-%m-%d', time.gmtime((s.today + 1) * DAY))} records=[0-9]+ reports=0")
    s.wait(lambda: s.status()["spool"]["messages"] == 0, "the spool is empty")
    assert len(one.messages) == len(two.messages) == 1 and not three.sessions and not s.lines("rua-sent") and not s.lines("rua-given-up")


def test_nobody_there(site, host):
    """A report that is refused is nobody's business any more: no notification, to whomever."""
    host(11, script={"RCPT": b"550 5.1.1 no such user\r\n"})
    s = site()
    s.send("one.example")
    s.next_day()
    s.gate.wait_line("event=spool result=failed")
    s.wait(lambda: s.status()["spool"]["messages"] == 0, "the spool is empty")
    assert len(s.server.messages) == 1 and not any("notified" in x for x in s.lines("spool"))
    s.wait(lambda: s.status()["reports"] == {"sent": 1, "given_up": 0}, "the counts")


def test_killed(site, host):
    """Workers die while they send: each domain gets its report, and the one that was on its way perhaps twice, as the same message."""
    two = host(12)
    s = site()
    for d in MANY:
        s.send(d)
    s.next_day()
    s.wait(lambda: len(two.messages) >= 5, "some reports")
    for name in list(s.gate.children()):
        if name.startswith("gp-worker"):
            s.gate.kill_child(name)
    two.wait(lambda: {t for m in two.messages for t in m.to} == {f"dmarc@{d}" for d in MANY}, "a report for each domain")
    seen = {}
    for m in two.messages:
        seen.setdefault(m.to[0], set()).add(re.search(rb"\r\nMessage-ID: (<.*?>)\r\n", m.data)[1])
    assert all(len(ids) == 1 for ids in seen.values())
    assert len({min(ids) for ids in seen.values()}) == len(MANY)


def test_off(site, host):
    one = host(11)
    s = site(rua="no")
    s.send("one.example")
    s.next_day()
    db = sqlite3.connect(f"file:{s.gate.state}/history/history.db?mode=ro", uri=True)
    assert db.execute("SELECT count(*) FROM report_day").fetchone() == (0,)
    assert not one.sessions and not s.lines("rua-sent")
