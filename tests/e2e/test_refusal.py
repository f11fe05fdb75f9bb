"""A refusal says in words which check failed, and nothing of the site's own rules; classes, scores and the time of day, to the record."""
import json

import pytest

from lab.smtp import Client, mail

RULES = [
    ("reject secret-label: if spf = fail and sender in (bank.example)", "127.0.0.7", "x@bank.example",
     "5.7.23 refused by policy; SPF: the record of bank.example (v=spf1 ip4:192.0.2.1 -all) does not allow 127.0.0.7 ("),
    ('reject "550 5.7.1 not today" if spf = fail', "127.0.0.7", "x@bank.example",
     "5.7.1 not today; SPF: the record of bank.example (v=spf1 ip4:192.0.2.1 -all) does not allow 127.0.0.7 ("),
    ("score +5 if client.fcrdns != pass\nreject if score >= 5", "127.0.0.7", "x@sender.example",
     "5.7.25 refused by policy; 127.0.0.7 has no reverse name (PTR) ("),
    ('reject "listed" if dnsbl.score >= 5', "127.0.0.66", "x@sender.example", "5.7.1 listed; 127.0.0.66 is listed by dnsbl.example (127.0.0.2) ("),
    ("defer if helo.bare", "127.0.0.7", "x@sender.example",
     "4.7.1 deferred by policy, try again later; your greeting pc is not the full name of a host ("),
    ("reject if sender in (sender.example) and not tls", "127.0.0.7", "x@sender.example", "5.7.1 refused by policy ("),
]


@pytest.mark.parametrize("rule,source,sender,said", RULES)
def test_the_failed_check_is_named(lab, backend, rule, source, sender, said):
    g = lab([backend().port], policy=rule + "\naccept\n", conf='dnsbl "dnsbl.example" { weight = 5 }')
    g.wait_line("dnsbl.example")
    with Client(g.port, source=source) as c:
        c.ehlo("pc" if "bare" in rule else "client.example")
        c.expect(f"MAIL FROM:<{sender}>", 250)
        reply = c.cmd("RCPT TO:<bob@example.com>")
    assert reply.text.startswith(said), reply
    assert len(reply.text) < 450 and "secret" not in reply.text and "score" not in reply.text


def test_signature_and_policy_of_the_author(lab, backend):
    g = lab([backend().port], policy="reject if dkim != pass and dmarc = fail\naccept\n")
    with Client(g.port) as c:
        reply = c.message("x@sender.example", "bob@example.com", mail("billing@bank.example"))
    assert reply.code == 550
    assert reply.text.startswith("5.7.26 refused by policy; DKIM: the message has no signature; DMARC: neither SPF nor DKIM vouches for "
                                 "bank.example, and the policy of bank.example is quarantine ("), reply


def test_class_score_and_time_are_recorded(lab, backend):
    g = lab([backend().port], policy="""
class board = recipients { "bob@example.com" }
class staff = recipients { example.com }
class others = recipients { other.example }
score hello: +2 if header.subject ~ /hello/
score -1 if class != others
score +4 if class = others
quarantine if class = board and score >= 1 and time >= 00:00 and time.weekday in (mon, tue, wed, thu, fri, sat, sun)
accept
""")
    with Client(g.port) as c:
        assert c.message("x@sender.example", "bob@example.com", mail(subject="hello")).code == 250
    g.verdict("quarantine")
    record = json.loads(g.quarantined()[0].with_suffix(".json").read_text())
    facts = record["facts"]
    assert facts["class"] == ["board", "staff"] and facts["score"] == 1
    assert len(facts["time"]) == 5 and facts["time"][2] == ":" and facts["time.weekday"] in ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
    with Client(g.port) as c:
        assert c.message("x@sender.example", "bob@example.com", mail(subject="other")).code == 250
    assert g.verdict("accept")["to"] == "<bob@example.com>"
