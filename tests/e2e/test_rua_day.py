"""What a day's mail becomes in aggregate reports (RFC 9990): real messages through the gateway, DNS of their own, and the report that is made from the history."""
import collections
import os
import pathlib
import re
import signal
import sqlite3
import subprocess
import time
import xml.etree.ElementTree as ElementTree

import dkim
import pytest

from lab.clock import Clock
from lab.process import WAIT_S
from lab.sign import KEY, key_record, signed
from lab.smtp import Client, mail

SCHEMA = pathlib.Path(__file__).resolve().parents[1] / "conformance" / "dmarc" / "rfc9990.xsd"
NS = "{urn:ietf:params:xml:ns:dmarc-2.0}"
GOOD, BAD, OTHER = "127.0.0.25", "127.0.0.30", "127.0.0.31"

ZONE = f"""
strict.example TXT "v=spf1 ip4:{GOOD} -all"
_dmarc.strict.example TXT "v=DMARC1; p=reject; sp=quarantine; aspf=s; fo=1:d; rua=mailto:d@strict.example!10m,mailto:e@strict.example"
sub.strict.example TXT "v=spf1 ip4:{GOOD} -all"
sel._domainkey.strict.example TXT {key_record()}
tested.example TXT "v=spf1 ip4:{GOOD} -all"
_dmarc.tested.example TXT "v=DMARC1; p=reject; t=y; rua=mailto:d@tested.example"
open.example TXT "v=spf1 ip4:{GOOD} -all"
_dmarc.open.example TXT "v=DMARC1; p=none"
other.example TXT "v=spf1 ip4:{OTHER} -all"
sel._domainkey.list.example TXT {key_record()}
"""

POLICY = """
accept ours: if direction in (outbound, internal)
reject virus: "550 5.7.1 malware" if header.subject ~ /virus/
defer later: "451 4.7.1 later" if header.subject ~ /later/
accept let-in: if header.subject ~ /let in/
accept forwarded: if dmarc = fail and arc.sealer in ("list.example")
reject refused: if dmarc = fail and dmarc.policy = reject
quarantine held: if dmarc = fail and dmarc.policy = quarantine
quarantine dave: if rcpt = "dave@example.com"
accept
"""

CONF = """
dmarc { rua = yes rua_from = "reports@gate.example" rua_org = "Gate & Sons" rua_spread = 20h }
relay_networks = { "127.0.0.40/32" }
"""


@pytest.fixture
def clock(tmp_path):
    """By which no day ends while a test runs."""
    clock = Clock(tmp_path / "clock")
    clock.keep_clear(86400)
    return clock


def send(g, author, subject="hello", source=GOOD, sender=None, rcpt="bob@example.com", sign=None, listed=False):
    message = mail(author, subject=subject)
    if sign:
        message = signed(message, domain=sign)
    if listed:          # changed, and sealed, by a mailing list
        message = message.replace(b"Subject: ", b"Subject: [list] ")
        message = b"Authentication-Results: list.example; dmarc=pass header.from=strict.example\r\n" + message
        message = b"".join(dkim.arc_sign(message, b"sel", b"list.example", KEY.read_bytes(), b"list.example", include_headers=[b"from", b"subject"])) + message
    with Client(g.port, source=source) as c:
        return c.message(author if sender is None else sender, rcpt, message)


def recorded(g, count):
    """Records come to the disk at their own pace."""
    end = time.monotonic() + WAIT_S
    while True:
        out = g.command("history", "-c", str(g.conf_path), "--json", "--limit", "0", check=False).stdout
        if len(re.findall(rb'"code":', out)) >= count:
            return
        assert time.monotonic() < end, out.decode()
        time.sleep(0.02)


def made(g, domain, day="today", check=True):
    done = g.command("report", "make", "-c", str(g.conf_path), domain, day, check=False)
    if check:
        assert done.returncode == 0, done.stderr.decode()
    return done


def report(g, domain, tmp_path, day="today"):
    """The report as a tree, valid by the schema."""
    path = tmp_path / "report.xml"
    path.write_bytes(made(g, domain, day).stdout)
    subprocess.run(["xmllint", "--noout", "--nonet", "--schema", str(SCHEMA), str(path)], check=True, capture_output=True)
    return ElementTree.parse(path).getroot()


def text(element, path):
    found = element.find("/".join(NS + p for p in path.split("/")))
    return None if found is None else found.text or ""


def rows(tree):
    """{what is said of the messages: how many}"""
    out = collections.Counter()
    for record in tree.findall(f"{NS}record"):
        reasons = [f"{text(r, 'type')}({text(r, 'comment')})" for r in record.findall(f"{NS}row/{NS}policy_evaluated/{NS}reason")]
        dkim = [f"dkim:{text(d, 'domain')}/{text(d, 'selector')}={text(d, 'result')}" for d in record.findall(f"{NS}auth_results/{NS}dkim")]
        said = [text(record, "row/source_ip"), text(record, "row/policy_evaluated/disposition"),
                "dkim=" + text(record, "row/policy_evaluated/dkim"), "spf=" + text(record, "row/policy_evaluated/spf"), *reasons,
                text(record, "identifiers/header_from"), text(record, "identifiers/envelope_from") or "-", *dkim,
                f"spf:{text(record, 'auth_results/spf/domain')}={text(record, 'auth_results/spf/result')}"]
        out[" ".join(said)] += int(text(record, "row/count"))
    return dict(out)


def test_a_day_of_mail(lab, backend, world, tmp_path, clock):
    g = lab([backend().port], dns=world.server, conf=CONF, policy=POLICY, env=clock.env)
    begin = int(clock.now()) // 86400 * 86400
    assert send(g, "a@strict.example", sign="strict.example").code == 250                                   # both
    assert send(g, "a@strict.example").code == 250                                                          # SPF alone
    assert send(g, "a@strict.example", subject="a virus").code == 550                                       # the same to DMARC
    assert send(g, "a@strict.example", rcpt=["bob@example.com", "carol@example.com", "dave@example.com"]).code == 250   # one message, partly held
    assert send(g, "a@strict.example", source=OTHER, sender="x@other.example", sign="strict.example").code == 250       # DKIM alone
    assert send(g, "a@strict.example", source=BAD).code == 550                                              # neither
    assert send(g, "a@strict.example", source=BAD).code == 550
    assert send(g, "a@strict.example", source=BAD, subject="let in").code == 250
    assert send(g, "a@strict.example", source=BAD, subject="a virus").code == 550                            # refused before DMARC was asked for
    assert send(g, "a@strict.example", source=BAD, subject="later").code == 451                             # will come again
    assert send(g, "a@sub.strict.example", sender="b@strict.example").code == 250                           # aspf=s: not aligned; sp: held
    assert send(g, "a@sub.strict.example").code == 250                                                      # equal
    assert send(g, "a@strict.example", source=OTHER, sender="x@other.example").code == 550                   # SPF passes, for another
    assert send(g, "a@strict.example", source=OTHER, sender="x@other.example", sign="strict.example", listed=True).code == 250      # neither, but ARC
    assert send(g, "a@strict.example", source="127.0.0.40").code == 250                                     # ours
    assert send(g, "a@tested.example", source=BAD).code == 250
    assert send(g, "a@open.example", source=BAD).code == 250
    assert send(g, "a@other.example", source=BAD).code == 250                                               # no record
    recorded(g, 19)
    tree = report(g, "strict.example", tmp_path)
    local = "local_policy(accepted by rules here)"
    assert rows(tree) == {
        f"{GOOD} pass dkim=pass spf=pass strict.example strict.example dkim:strict.example/sel=pass spf:strict.example=pass": 1,
        f"{GOOD} pass dkim=fail spf=pass strict.example strict.example spf:strict.example=pass": 3,
        f"{OTHER} pass dkim=pass spf=fail strict.example other.example dkim:strict.example/sel=pass spf:other.example=pass": 1,
        f"{BAD} reject dkim=fail spf=fail strict.example strict.example spf:strict.example=fail": 3,
        f"{BAD} none dkim=fail spf=fail {local} strict.example strict.example spf:strict.example=fail": 1,
        f"{GOOD} quarantine dkim=fail spf=fail sub.strict.example strict.example spf:strict.example=pass": 1,
        f"{GOOD} pass dkim=fail spf=pass sub.strict.example sub.strict.example spf:sub.strict.example=pass": 1,
        f"{OTHER} reject dkim=fail spf=fail strict.example other.example spf:other.example=pass": 1,
        f"{OTHER} none dkim=fail spf=fail local_policy(arc=pass as[1].d=list.example) strict.example other.example "
        "dkim:strict.example/sel=fail spf:other.example=pass": 1,
    }
    assert {p: text(tree, p) for p in ("report_metadata/org_name", "report_metadata/email", "report_metadata/report_id", "report_metadata/date_range/begin",
                                       "report_metadata/date_range/end", "report_metadata/error")} == {
        "report_metadata/org_name": "Gate & Sons", "report_metadata/email": "reports@gate.example",
        "report_metadata/report_id": f"{begin}.strict.example@gate.example", "report_metadata/date_range/begin": str(begin),
        "report_metadata/date_range/end": str(begin + 86399), "report_metadata/error": None}
    assert {e.tag.removeprefix(NS): e.text for e in tree.find(f"{NS}policy_published")} == {
        "domain": "strict.example", "discovery_method": "treewalk", "p": "reject", "sp": "quarantine", "adkim": "r", "aspf": "s", "testing": "n", "fo": "1:d"}
    tree = report(g, "tested.example", tmp_path)
    assert rows(tree) == {f"{BAD} quarantine dkim=fail spf=fail policy_test_mode(None) tested.example tested.example spf:tested.example=fail": 1}
    assert text(tree, "policy_published/testing") == "y"
    # Whether a report was asked for plays no part here; where there is no record there is none.
    assert rows(report(g, "open.example", tmp_path)) == {f"{BAD} none dkim=fail spf=fail open.example open.example spf:open.example=fail": 1}
    for domain, day, what in (("other.example", "today", "no mail of that day"), ("strict.example", "yesterday", "no mail of that day"),
                              ("strict..example", "today", "no domain"), ("strict.example", "20261122", "no day"), ("strict.example", "2026-02-30x", "no day"), ("strict.example", "2026-02-30", "no day")):
        refused = made(g, domain, day, check=False)
        assert refused.returncode == 1 and what in refused.stderr.decode() and not refused.stdout, (domain, refused)
    # Another program of ours reads it.
    read = g.command("report", str(tmp_path / "report.xml"), check=False)
    assert read.returncode == 0 and b"open.example" in read.stdout, read


def test_a_retry_is_the_same_message(lab, backend, world, tmp_path, clock):
    """Some had it at the first attempt, the others at the second."""
    servers = [backend(), backend()]
    g = lab([s.port for s in servers], domains=("example.com", "example.org"), dns=world.server, policy=POLICY, env=clock.env,
            conf=CONF + 'domain "example.org" { backends = { "b1" } }\n')
    servers[1].script["."] = servers[1].script["BDAT"] = b"451 4.3.0 not now\r\n"
    message = mail("a@strict.example")
    for code in (451, 250):
        with Client(g.port, source=GOOD) as c:
            assert c.message("a@strict.example", ["bob@example.com", "carol@example.org"], message).code == code
        servers[1].script.clear()
    assert len(servers[0].messages) == 1
    recorded(g, 4)
    assert list(rows(report(g, "strict.example", tmp_path)).values()) == [1]
    assert "retry of" in g.command("history", "-c", str(g.conf_path), "-v", "--to", "carol@example.org").stdout.decode()


def test_nothing_is_asked_without_it(lab, backend, world, clock):
    """Without rua = yes a message that a rule refuses before DMARC is asked for costs no DMARC."""
    g = lab([backend().port], dns=world.server, policy=POLICY, env=clock.env)
    assert send(g, "a@strict.example", source=BAD, subject="a virus").code == 550
    recorded(g, 1)
    assert made(g, "strict.example", check=False).returncode == 1


def earlier(data, by_ms):
    """A record of the history, whose second member is its moment: seven bits an octet, the low ones first, the sign in the lowest (history_record.h)."""
    end = next(i for i in range(1, len(data)) if data[i] < 128) + 1
    number = sum((octet & 127) << 7 * i for i, octet in enumerate(data[1:end])) - 2 * by_ms
    octets = []
    while number >= 128:
        octets.append(number & 127 | 128)
        number >>= 7
    return data[:1] + bytes([*octets, number]) + data[end:]


def yesterday(g):
    """What is recorded has happened a day earlier."""
    day_ms = 86400000
    g.stop()
    with sqlite3.connect(g.state / "history" / "history.db") as db:
        for number, data in db.execute("SELECT id, data FROM record").fetchall():
            db.execute("UPDATE record SET at = at - ?, data = ? WHERE id = ?", (day_ms, earlier(data, day_ms), number))
    db.close()


def reports(g):
    db = sqlite3.connect(g.state / "history" / "history.db")
    try:
        return {domain: fate for domain, fate in db.execute("SELECT domain, fate FROM report")}, [d for d, in db.execute("SELECT day FROM report_day")]
    finally:
        db.close()


def test_the_keeper_reads_a_day_that_is_over(lab, backend, world, tmp_path, clock):
    """It is read once, whatever is killed; and a database from before has its records read, and lost none."""
    g = lab([backend().port], dns=world.server, conf=CONF, policy=POLICY, env=clock.env)
    for _ in range(3):
        assert send(g, "a@strict.example").code == 250
    assert send(g, "a@open.example").code == 250
    assert send(g, "a@tested.example", source=BAD).code == 250
    recorded(g, 5)
    yesterday(g)
    with sqlite3.connect(g.state / "history" / "history.db") as db:
        db.execute("DROP TABLE report")
        db.execute("DROP TABLE report_day")
    db.close()
    g.start()
    line = g.wait_line(r'event=rua-day .*records=5 reports=2')
    os.kill(g.children()["gp-history"], signal.SIGKILL)
    g.wait_line(r"event=died")
    found, days = reports(g)
    assert set(found) == {"strict.example", "tested.example"}
    assert re.search(r"day=(\S+)", line)[1] in [time.strftime("%Y-%m-%d", time.gmtime(day * 86400)) for day in days]
    assert set(rows(report(g, "strict.example", tmp_path, "yesterday")).values()) == {3}
    assert send(g, "a@strict.example").code == 250
    recorded(g, 6)
