"""gatepost advise: a good domain and bad ones, in a zone of its own."""
import json
import subprocess

import pytest

from lab.gateway import BINARY
from lab.knot import Knot

ZONE = """
good.example MX 10 mail.good.example.
mail.good.example A 203.0.113.25
25.113.0.203.in-addr.arpa PTR mail.good.example.
good.example TXT "v=spf1 ip4:203.0.113.25 -all"
_dmarc.good.example TXT "v=DMARC1; p=reject; rua=mailto:d@good.example"

bad.example MX 10 mail.bad.example.
mail.bad.example CNAME host.bad.example.
host.bad.example A 10.0.0.5
bad.example TXT "v=spf1 include:nowhere.example ptr +all"
bad.example TXT "v=spf1 -all"
_dmarc.bad.example TXT "v=DMARC1; p=none"
_mta-sts.bad.example TXT "v=STSv1; id=1"

silent.example MX 0 .
silent.example TXT "v=spf1 -all"
_dmarc.silent.example TXT "v=DMARC1; p=reject; rua=mailto:d@good.example"

rude.example MX 10 mail.good.example.
rude.example TXT "v=spf1 \\027[31mred -all"
"""


@pytest.fixture(scope="module")
def zone(scratch):
    server = Knot(scratch / "advise-knot", ZONE)
    yield server
    server.stop()


@pytest.fixture
def advise(zone, tmp_path):
    key = tmp_path / "good.pem"

    def run(*args, code, conf=True, extra="", timeout="30s"):
        path = tmp_path / "gatepost.conf"
        path.write_text(f"""
hostname = gate.example
domains = {{ good.example }}
backend b {{ address = "127.0.0.1:25" }}
dns {{ forward = {{ "{zone.server}" }} dnssec = no timeout = {timeout} }}
{extra}
""")
        r = subprocess.run([BINARY, "advise", *(("-c", str(path)) if conf else ()), *args], capture_output=True, text=True)
        assert r.returncode == code, r.stdout + r.stderr
        assert "Sanitizer" not in r.stderr and "runtime error" not in r.stderr, r.stderr
        return r.stdout

    run.key = key
    return run


def test_a_good_domain(advise, zone):
    made = subprocess.run([BINARY, "dkim-key", "-o", str(advise.key), "good.example", "sel"], capture_output=True, text=True, check=True).stdout
    section = f'dkim_sign good.example {{ keys = {{ "sel={advise.key}" }} }}\noutbound {{ source = {{ "203.0.113.25" }} }}'
    out = advise("good.example", code=2, extra=section)
    assert "bad   DKIM     sel._domainkey.good.example: there is no such record" in out
    record = made.split("zone file:\n\n")[1].split(" )\n")[0].replace("\n", " ") + " )"
    zone.change(ZONE + record)
    try:
        out = advise("Good.Example", code=1, extra=section)
    finally:
        zone.change(ZONE)
    lines = out.splitlines()
    assert [line.split()[:2] for line in lines if not line.startswith("ok")] == [["warn", "MTA-STS"]], out
    for words in ("ok    MX       10 mail.good.example, 203.0.113.25", "ok    SPF      one record, that ends in -all",
                  "ok    SPF      mail from 203.0.113.25 passes", "ok    DKIM     sel._domainkey.good.example: RSA key of 2048 bits",
                  "ok    DMARC    _dmarc.good.example asks receivers to reject", "ok    PTR      203.0.113.25 is mail.good.example"):
        assert words in out, (words, out)
    assert "\033" not in out


def test_bad_domains(advise):
    out = advise("bad.example", "--address", "203.0.113.99", code=2)
    for words in ("warn  MX       mail.bad.example is an alias", "bad   MX       mail.bad.example has the address 10.0.0.5",
                  "bad   SPF      there are 2 records", "warn  DKIM", "warn  DMARC    _dmarc.bad.example asks receivers to do nothing",
                  "bad   PTR      203.0.113.99 has no name", "bad   MTA-STS  the record is there, but no policy"):
        assert words in out, (words, out)
    out = advise("nowhere.example", code=2)
    assert "there is no domain nowhere.example" in out
    # Bytes of the DNS do nothing to a terminal.
    out = advise("rude.example", code=2)
    assert "\033" not in out and "bad   SPF" in out


def test_a_domain_without_mail(advise):
    out = advise("silent.example", code=1)
    assert [line.split()[:2] for line in out.splitlines() if not line.startswith("ok")] == [["warn", "DKIM"]], out


def test_json(advise):
    said = json.loads(advise("good.example", "--json", "--selector", "nosuch", "--address", "203.0.113.26", code=2))
    assert said["domain"] == "good.example" and said["worst"] == "bad"
    assert {"level", "subject", "text"} == set(said["advice"][0])
    bad = [(a["subject"], a["text"]) for a in said["advice"] if a["level"] == "bad"]
    assert any(s == "DKIM" and "nosuch._domainkey.good.example" in t for s, t in bad)
    assert any(s == "SPF" and "your own mail from 203.0.113.26 is \"fail\"" in t for s, t in bad)


def test_the_dns_is_away(advise, zone):
    zone.freeze()
    try:
        out = advise("good.example", code=1, timeout="300ms")
    finally:
        zone.thaw()
    assert out.count("the DNS gives no answer") >= 3 and "bad" not in out


@pytest.mark.parametrize("args", [(), ("com",), ("a b.example",), ("good.example", "other.example"), ("--address", "nonsense", "good.example"),
                                  ("--nonsense", "good.example"), ("--selector",), ("-c", "/nowhere/gatepost.conf", "good.example")])
def test_wrong_questions(advise, args):
    advise(*args, code=3, conf="-c" not in args)


def test_help(advise):
    assert "Exit status" in advise("--help", code=0)
