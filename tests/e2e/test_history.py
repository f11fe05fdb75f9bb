"""The history: what happened to the mail from X to Y, asked each way; and that it is never in the way of mail."""
import datetime
import fcntl
import json
import os
import re
import signal
import sqlite3
import subprocess
import time

import pytest

from lab.process import WAIT_S
from lab.smtp import Client, mail

DNSBL = 'dnsbl "dnsbl.example" { weight = 5 }\n'
POLICY = """
reject     if dnsbl.score >= 5
reject     spoofed: "550 5.7.1 spoofed sender" if from.domain = "bank.example"
quarantine hold: if header.subject ~ /hold/
accept     if rcpt = "nobody-else@example.com"
accept
"""


def command(g, *args):
    return g.command("history", "-c", str(g.conf_path), *args, check=False)


def ask(g, *args):
    answer = command(g, "--json", *args)
    assert not answer.stderr, answer.stderr.decode()
    return json.loads(answer.stdout)


def find(g, *args, count=1):
    """What is recorded, once it is so many: the keeper writes at its own pace."""
    end = time.monotonic() + WAIT_S
    while len(found := ask(g, *args)) < count:
        assert time.monotonic() < end, found
        time.sleep(0.02)
    assert len(found) == count
    return found


def send(g, subject, rcpt="bob@example.com", sender="alice@sender.example", source="127.0.0.1", header_from=None):
    with Client(g.port, source=source) as c:
        return c.message(sender, rcpt, mail(header_from or sender, subject=subject))


def day_of(record):
    return datetime.date.fromtimestamp(record["time"])


def on_one_day(questions):
    """(day, the answers to questions(day)), which are asked again if it was midnight meanwhile."""
    while True:
        day = datetime.date.today()
        answers = questions(day)
        if datetime.date.today() == day:
            return day, answers


def code_of(reply):
    return re.search(r"\((\w+-\d+)\)", reply.text)[1]


@pytest.fixture
def lived(lab, backend):
    """A gateway to which some things have happened. The name of each is its subject."""
    server = backend()
    g = lab([server.port], conf=DNSBL, policy=POLICY)
    g.wait_line(r"zone=dnsbl\.example state=well", timeout=2 * WAIT_S)       # one that is silent at the first look is asked again a minute later
    replies = {
        "hello": send(g, "hello"),
        "second": send(g, "second", rcpt=["bob@example.com", "Carol@Example.com"], source="127.0.0.25"),
        "spoof": send(g, "spoof", header_from="billing@bank.example"),
        "on hold": send(g, "on hold", rcpt="dave@example.com"),
        "listed": send(g, "listed", source="127.0.0.66"),
        "relay": send(g, "relay", rcpt="x@elsewhere.example"),
        "null": send(g, "null", sender="", header_from="daemon@sender.example"),
    }
    with Client(g.port) as c:
        c.ehlo()
        c.envelope("alice@sender.example", "bob@example.com")
        c.expect("DATA", 354)
        c.send(b"Subject: half\r\n\r\nhalf of")
    find(g, count=8)
    return g, replies


def test_what_happened_to_the_mail_from_x_to_y(lived):
    g, replies = lived
    (r,) = find(g, "--from", "alice@sender.example", "--to", "carol@example.com")
    assert ask(g, "--from", "alice@sender.example", "--to", "carol@example.com", "--on", day_of(r).isoformat()) == [r]
    assert r["verdict"] == "accept" and r["subject"] == "second" and r["to"] == ["bob@example.com", "Carol@example.com"]
    assert r["client"] == "127.0.0.25" and r["from"] == "alice@sender.example" and r["helo"] == "client.example"
    assert r["message_id"] == "<second@sender.example>" and r["bytes"] > 100
    assert r["reply"].endswith(f'({r["code"]})') and r["code"] in replies["second"].text
    assert r["policy"]["action"] == "accept" and r["policy"]["text"] == "accept" and r["policy"]["line"] == 6
    assert r["ms"]["all"] >= r["ms"]["backend"] >= 0 and r["stage"] == "data" and r["backend"] == "b0"
    assert r["facts"]["header.subject"] == "second" and r["facts"]["from.domain"] == "sender.example"
    line = command(g, "--from", "alice@sender.example", "--to", "carol@example.com").stdout.decode()
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d  \w+-1 +accept +127.0.0.25 +<alice@sender.example> -> "
                        r"<bob@example.com>, <Carol@example.com>  by line 6\n", line), line


FILTERS = [
    (("--to", "bob@example.com"), {"hello", "second", "spoof", "null", "half", None}),
    (("--to", "@example.com", "--verdict", "accept"), {"hello", "second", "null"}),
    (("--to", "example.com", "--verdict", "accept"), {"hello", "second", "null"}),
    (("--to", "@elsewhere.example"), {None}),
    (("--from", "<>"), {"null"}),
    (("--from", "daemon@sender.example"), {"null"}),
    (("--from", "@bank.example"), {"spoof"}),
    (("--client", "127.0.0.25"), {"second"}),
    (("--message-id", "hello@sender.example"), {"hello"}),
    (("--message-id", "<hello@sender.example>"), {"hello"}),
    (("--verdict", "quarantine"), {"on hold"}),
    (("--verdict", "client-gone"), {"half"}),
    (("--rule", "spoofed"), {"spoof"}),
    (("--verdict", "reject", "--client", "127.0.0.1"), {"spoof", None}),
]


def test_each_filter(lived):
    g, _ = lived
    for args, subjects in FILTERS:
        found = ask(g, *args)
        assert {r["subject"] for r in found} == subjects, args
        assert [r["time"] for r in found] == sorted((r["time"] for r in found), reverse=True)


def test_times(lived):
    g, _ = lived
    everything = ask(g)

    def questions(day):
        tomorrow = (day + datetime.timedelta(days=1)).isoformat()
        return [ask(g, *args) for args in (("--on", "today"), ("--since", "today"), ("--since", "today", "--until", tomorrow), ("--on", "yesterday"), ("--since", tomorrow))]

    day, (on, since, between, yesterday, later) = on_one_day(questions)
    assert on == since == between == [r for r in everything if day_of(r) == day]
    assert yesterday == [r for r in everything if day_of(r) < day] and later == []
    assert ask(g, "--since", "1h") == everything and len(everything) == 8 and ask(g, "--until", "1h") == []
    some = command(g, "--json", "--limit", "3")
    assert len(json.loads(some.stdout)) == 3 and b"more than 3" in some.stderr


def test_refused_at_rcpt(lived):
    """By a DNS list: the facts that decided are there, with what the list said; no message was seen."""
    g, replies = lived
    (r,) = ask(g, "--client", "127.0.0.66")
    assert r["verdict"] == "reject" and r["stage"] == "rcpt" and r["message_id"] is None
    assert r["facts"]["dnsbl.score"] == 5 and r["facts"]["dnsbl.zones"] == ["dnsbl.example"]
    assert r["policy"]["rule"] == "line 2" and r["policy"]["text"] == "reject if dnsbl.score >= 5"
    assert r["reply"].split(" ", 1)[1] == replies["listed"].text or r["code"] in replies["listed"].text
    assert "dnsbl" in r["filters"]
    (r,) = ask(g, "--to", "x@elsewhere.example")
    assert r["verdict"] == "reject" and r["policy"]["rule"] is None and "relaying denied" in r["reply"]


def test_what_other_rules_did(lab, backend):
    """What was put on trial, noted and changed is recorded; what a quarantined message would have got is not."""
    g = lab([backend().port], policy="""
observe reject strict: if spf != pass
log watched: "on the list" if sender = "alice@sender.example"
tag external: "[EXT] "
quarantine hold: if header.subject ~ /hold/
""")
    send(g, "hello", sender="carol@sender.example")
    send(g, "on hold")
    held, passed = find(g, count=2)
    assert passed["notes"] == ["tag external: [EXT] ", "observe strict: reject"]
    assert held["notes"] == ["log watched: on the list", "observe strict: reject"]
    shown = command(g, "-v", held["code"]).stdout.decode()
    assert re.search(r"^  rules, too +log watched: on the list\n {17}observe strict: reject$", shown, re.M), shown


def test_the_servers_refusal(lab, backend):
    server = backend()
    server.script["RCPT"] = b"550 5.1.1 no such user\r\n"
    g = lab([server.port], policy="accept\n")
    assert send(g, "to nobody").code == 550
    (r,) = find(g, "--verdict", "backend-refused")
    assert r["reply"].startswith("550 5.1.1 no such user") and r["backend"] == "b0" and r["to"] == ["bob@example.com"]


def test_quarantine_id(lived):
    g, _ = lived
    (r,) = ask(g, "--verdict", "quarantine")
    assert r["quarantine"] == g.quarantined()[0].stem and r["policy"]["rule"] == "hold"
    assert ask(g, "--quarantine", r["quarantine"]) == [r]
    assert f"kept as {r['quarantine']}" in command(g, "--quarantine", r["quarantine"]).stdout.decode()


def test_explain_the_code_in_a_reply(lived):
    """Whatever the sender's postmaster quotes: the code, the session, or the whole reply."""
    g, replies = lived
    code = code_of(replies["spoof"])
    for text in (code, f"({code})", f"550 {replies['spoof'].text}", code.upper()):
        out = g.command("explain", "-c", str(g.conf_path), text).stdout.decode()
        assert f"{code}  reject\n" in out
        assert 'policy         reject by spoofed (line 3): reject spoofed: "550 5.7.1 spoofed sender" if from.domain = "bank.example"\n' in out
        assert re.search(r"from\.domain +bank\.example\n", out) and "reply          550 5.7.1 spoofed sender" in out
        assert re.search(r"subject +spoof\n", out) and "client         127.0.0.1, HELO client.example\n" in out
    (r,) = json.loads(g.command("explain", "-c", str(g.conf_path), "--json", code).stdout)
    assert r["code"] == code
    assert command(g, "-v", code).stdout == g.command("explain", "-c", str(g.conf_path), code).stdout
    assert [x["code"] for x in ask(g, code.split("-")[0])] == [code]


def test_nothing_found_and_wrong_questions(lived):
    g, _ = lived
    assert (none := command(g, "--from", "nobody@nowhere.example")).returncode == 1 and not none.stdout and b"nothing" in none.stderr
    assert (none := command(g, "--json", "--from", "nobody@nowhere.example")).returncode == 1 and json.loads(none.stdout) == []
    explained = g.command("explain", "-c", str(g.conf_path), "0123456789-1", check=False)
    assert explained.returncode == 1 and b"nothing" in explained.stderr
    for args in (("--client", "mail.example"), ("--verdict", "rejected"), ("--since", "someday"), ("--limit", "-1"), ("--limit", "many"), ("no code",), ("a", "b"),
                 ("--nonsense",)):
        wrong = command(g, *args)
        assert wrong.returncode == 1 and wrong.stderr and not wrong.stdout


def test_what_comes_from_outside_does_nothing_to_a_terminal(lab, backend):
    g = lab([backend().port], policy="accept\n")
    with Client(g.port) as c:
        c.cmd("EHLO evil\x1b[31m")
        c.ehlo("evil.example")
        c.envelope("alice@sender.example", "bob@example.com")
        assert c.data_block(b"Subject: =?utf-8?Q?=1b[2J=E2=80=AEgo?=\r\nMessage-ID: <a\x1b[0m@x>\r\n\r\nx\r\n").code == 250
    find(g)
    for args in ((), ("-v",)):
        out = command(g, *args).stdout
        assert b"\x1b" not in out and "\u202e".encode() not in out and b"bob@example.com" in out


def test_a_pager_does_not_hold_on_to_the_store(lived):
    """Output that nobody reads yet: the write-ahead log can be emptied all the same."""
    g, _ = lived
    pager, out = os.pipe()
    fcntl.fcntl(out, fcntl.F_SETPIPE_SZ, 4096)
    p = subprocess.Popen([g.binary, "history", "-c", str(g.conf_path), "-v"], stdout=out)
    os.close(out)
    try:
        os.read(pager, 1)
        send(g, "meanwhile")
        find(g, "--message-id", find(g, count=9)[0]["message_id"])
        db = sqlite3.connect(g.state / "history" / "history.db", timeout=5)
        end = time.monotonic() + WAIT_S
        while db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]:
            assert time.monotonic() < end, "somebody reads it"
            time.sleep(0.02)
        db.close()
        assert p.poll() is None
    finally:
        os.close(pager)
        p.wait(WAIT_S)


def test_the_keeper_dies(lab, backend):
    """Again and again, between messages and while one is under way: mail is not touched, and what comes later is recorded."""
    g = lab([backend().port], policy=POLICY)
    assert send(g, "before").code == 250
    find(g)
    for i in range(3):
        with Client(g.port) as c:
            c.ehlo()
            c.envelope("alice@sender.example", "bob@example.com")
            end = time.monotonic() + WAIT_S
            while "gp-history" not in g.children():     # it is started again, a little later each time
                assert time.monotonic() < end, g.process.output()
                time.sleep(0.02)
            g.kill_child("gp-history")
            assert c.data_block(mail(subject=f"meanwhile {i}")).code == 250
        assert send(g, f"after {i}").code == 250
    found = find(g, "--message-id", "<after.2@sender.example>")
    assert found[0]["verdict"] == "accept"
    assert find(g, "--message-id", "<before@sender.example>")


def test_the_keeper_is_stuck(lab, backend):
    """It takes nothing any more. Mail goes on at full speed; what was held for it arrives when it goes on."""
    g = lab([backend().port], policy=POLICY)
    keeper = g.children()["gp-history"]
    os.kill(keeper, signal.SIGSTOP)
    try:
        with Client(g.port) as c:
            c.ehlo()
            for i in range(50):
                c.envelope("alice@sender.example", "bob@example.com")
                assert c.data_block(mail(subject=f"n {i}")).code == 250
    finally:
        os.kill(keeper, signal.SIGCONT)
    find(g, "--to", "bob@example.com", count=50)


def test_the_disk_is_full_or_the_file_damaged(lab, backend):
    """Mail flows; the file is moved aside; later records are there."""
    g = lab([backend().port], policy=POLICY)
    assert send(g, "before").code == 250
    find(g)
    g.stop()
    path = g.state / "history" / "history.db"
    for part in path.parent.iterdir():
        part.write_bytes(b"rubbish" * 2000)
    with type(g)(g.dir, g.settings["backends"], dns=g.settings["dns"], policy=POLICY) as again:
        again.wait_line("event=history .*moved aside")
        assert send(again, "after").code == 250
        find(again, "--message-id", "after@sender.example")
        assert list(path.parent.glob("history.db.damaged-*"))


def test_not_recorded(lab, backend):
    g = lab([backend().port], policy=POLICY, conf="history { record = no }")
    assert send(g, "hello").code == 250
    g.verdict()
    g.conf_path.write_text(g.conf_path.read_text().replace("record = no", "record = yes"))
    mark = g.mark()
    g.process.send(signal.SIGHUP)
    g.wait_line("event=reload what=done", mark)
    assert send(g, "later").code == 250
    assert find(g)[0]["subject"] == "later"


def test_kept_for_so_long(lab, backend):
    """A reload with a shorter time: the keeper removes what is older, without a restart."""
    g = lab([backend().port], policy=POLICY)
    assert send(g, "hello").code == 250
    find(g)
    with sqlite3.connect(g.state / "history" / "history.db") as db:
        db.execute("UPDATE record SET at = at - 3600 * 1000")
    db.close()
    keeper = g.children()["gp-history"]
    g.conf_path.write_text(g.conf_path.read_text() + 'history { keep = "30m" }\n')
    g.process.send(signal.SIGHUP)
    end = time.monotonic() + WAIT_S
    while ask_rows(g):
        assert time.monotonic() < end
        time.sleep(0.05)
    assert g.children()["gp-history"] == keeper


def ask_rows(g):
    with sqlite3.connect(g.state / "history" / "history.db") as db:
        (n,) = db.execute("SELECT count(*) FROM record").fetchone()
    db.close()
    return n


def test_stopped_at_once_nothing_is_lost(lab, backend):
    """Records that are on their way when the gateway is told to end are written first."""
    g = lab([backend().port], policy=POLICY)
    with Client(g.port) as c:
        c.ehlo()
        for i in range(20):
            c.envelope("alice@sender.example", "bob@example.com")
            assert c.data_block(mail(subject=f"n {i}")).code == 250
        c.cmd("QUIT")
    g.stop()
    assert len(ask(g)) == 20
