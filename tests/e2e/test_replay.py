"""A new policy is tried on the mail of the past: what would change, what cannot be known, and nothing asked of the network."""
import json
import subprocess

import pytest

from lab.recorder import Recorder
from lab.smtp import Client, mail

POLICY = """
list partners = { partner.example }
accept if sender in partners
reject helo: "550 5.7.1 not you" if helo = bad.example
score +3 if header.subject ~ /(?i)invoice/
quarantine if score >= 3
tag "[X] " if not tls
accept
"""
MESSAGES = [  # sender, recipients, greeting, subject
    ("alice@sender.example", ["bob@example.com"], "client.example", "hello"),
    ("alice@sender.example", ["bob@example.com", "carol@example.com"], "client.example", "your invoice"),
    ("eve@sender.example", ["bob@example.com"], "bad.example", "never seen"),
    ("paul@partner.example", ["bob@example.com"], "client.example", "invoice of a partner"),
    ("alice@sender.example", ["carol@example.com"], "client.example", "\033]0;title\007 \u4e2d"),
]


@pytest.fixture(scope="module")
def past(scratch, dns):
    """A gateway that has seen the messages, and has stopped."""
    from lab.gateway import Gateway

    with Recorder() as r, Gateway(scratch / "replay", [r.port], dns=dns.server, policy=POLICY) as g:
        for sender, rcpts, helo, subject in MESSAGES:
            with Client(g.port) as c:
                c.ehlo(helo)
                assert c.cmd(f"MAIL FROM:<{sender}>").code == 250
                replies = [c.cmd(f"RCPT TO:<{to}>").code for to in rcpts]
                if 250 not in replies:
                    continue
                assert c.data_block(mail(sender, rcpts[0], subject)).code == 250
    return g


def replay(g, policy=None, *options, prefix=()):
    extra = []
    if policy is not None:
        path = g.dir / "new.conf"
        path.write_text(policy)
        extra = ["--policy", str(path)]
    return subprocess.run([*prefix, g.binary, "replay", "-c", str(g.conf_path), *extra, *options], capture_output=True, timeout=120)


def as_json(g, policy=None, *options):
    done = replay(g, policy, "--json", *options)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_the_same_policy_changes_nothing(past):
    out = as_json(past)
    assert (out["verdicts"], out["same"], out["changed"], out["cannot_be_known"]) == (6, 6, 0, 0), out
    assert out["changes"] == out["unknown"] == []


def test_what_would_change(past):
    out = as_json(past, POLICY.replace("score >= 3", "score >= 4").replace("accept if sender in partners", "discard if sender in partners"))
    changes = {(c["from"], c["to"]): c for c in out["changes"]}
    assert set(changes) == {("quarantine", "accept"), ("accept", "discard")}, out
    freed = changes["quarantine", "accept"]
    assert freed["count"] == 2 and freed["rule"]["text"] == "accept"
    assert {e["to"] for e in freed["examples"]} == {"bob@example.com", "carol@example.com"}
    assert freed["examples"][0]["subject"] == "your invoice" and freed["examples"][0]["client"] == "127.0.0.1"
    assert changes["accept", "discard"]["rule"]["line"] == 3 and changes["accept", "discard"]["count"] == 1
    assert out["same"] == 3


def test_what_cannot_be_known_is_said(past):
    """Who was refused at RCPT has sent no subject; a fact that nobody had asked for was not looked up."""
    out = as_json(past, "quarantine x: if header.subject ~ /never/\nreject if attachment.name ~ /exe/\naccept\n")
    missing = {(u["from"], u["missing"]): u for u in out["unknown"]}
    assert missing["reject", "header.subject"]["why"] == "the transaction ended before it was known"
    assert missing["reject", "header.subject"]["rule"]["name"] == "x"
    assert missing["accept", "attachment.name"]["why"] == "nobody had asked for it"
    assert out["cannot_be_known"] == 6 and out["changed"] == 0, out


def test_text_is_for_a_terminal(past):
    out = replay(past, "reject all:\n", "--all").stdout.decode()
    assert "accept -> reject, by all" in out and "<alice@sender.example> -> <carol@example.com>" in out
    assert "\033" not in out and "\007" not in out and "\\x1b]0;title\\x07 \u4e2d" in out
    assert "       6  verdicts on recipients" in out and "       5  would change" in out


def test_time(past):
    assert as_json(past, None, "--since", "1h")["records"] == 5
    assert as_json(past, None, "--until", "1h")["records"] == 0
    done = replay(past, None, "--since", "soon")
    assert done.returncode == 1 and b"no moment" in done.stderr


def test_the_network_is_not_asked(past):
    """In a network namespace without as much as a loopback the answer is the same."""
    policy = "reject if dnsbl.score > 0 or spf = fail\naccept\n"
    here, there = replay(past, policy), replay(past, policy, prefix=("unshare", "-n"))
    assert here.returncode == there.returncode == 0, there.stderr
    assert here.stdout == there.stdout and b"cannot be known" in here.stdout


def test_the_allow_list_counts(past):
    allowed = past.dir / "allowed.txt"
    allowed.write_text("sender.example\n")
    try:
        out = as_json(past, POLICY.replace("sender in partners", "sender in allowed or sender in partners"))
    finally:
        allowed.unlink()
    changes = {(c["from"], c["to"]): c["count"] for c in out["changes"]}
    assert changes == {("quarantine", "accept"): 2, ("reject", "accept"): 1}, out


def test_errors(past):
    done = replay(past, "accept if nothing = 1\n")
    assert done.returncode == 1 and b"new.conf:1:11" in done.stderr and b"no fact is named" in done.stderr
    done = replay(past, None, "--policy", "/nonexistent")
    assert done.returncode == 1 and b"/nonexistent" in done.stderr
    done = subprocess.run([past.binary, "replay", "--help"], capture_output=True)
    assert done.returncode == 0 and b"usage: gatepost replay" in done.stdout


def test_what_costs_nothing_is_recorded_unasked(lab):
    """A policy without a question leaves a record of which another one can ask about envelope, greeting and header."""
    with Recorder() as r:
        g = lab([r.port], policy="accept\n")
        with Client(g.port) as c:
            assert c.message("alice@sender.example", "bob@example.com", mail(subject="hello")).code == 250
        g.stop()
        out = as_json(g, 'quarantine if header.subject ~ /hello/ and sender.domain = sender.example and not tls and from.count = 1 '
                         'and helo ~ /client/ and message.size > 10\naccept\n')
    assert (out["changed"], out["cannot_be_known"]) == (1, 0), out
