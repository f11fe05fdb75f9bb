"""`gatepost quarantine search`: what is kept is found by its words, in the charsets that mail comes in, beside the running gateway."""
import base64
import json
import os
import quopri
import signal
import sqlite3
import subprocess
import time

import pytest

from lab.load import kill
from lab.smtp import Client, mail

POLICY = """
quarantine hold: if header.subject ~ /hold/
accept
"""


def send(g, subject="hold", body=b"", charset="utf-8", encoding="8bit", sender="a@sender.example", to="carol@example.com", coded_subject=None):
    text = body if isinstance(body, bytes) else body.encode(charset)
    if encoding == "base64":
        text = base64.encodebytes(text).replace(b"\n", b"\r\n")
    elif encoding == "quoted-printable":
        text = quopri.encodestring(text.replace(b"\r\n", b"\n")).replace(b"\n", b"\r\n")
    words = f" =?{charset}?B?{base64.b64encode(coded_subject.encode(charset)).decode()}?=" if coded_subject else ""
    head = mail(sender=sender, to=to, subject=f"hold {subject}{words}", body="",
                extra=f"MIME-Version: 1.0\r\nContent-Type: text/plain; charset={charset}\r\nContent-Transfer-Encoding: {encoding}\r\n")
    with Client(g.port) as c:
        assert c.message(sender, [to], head + text + b"\r\n").code == 250


def search(g, *argv, status=0):
    done = subprocess.run([g.binary, "quarantine", "search", "-c", str(g.conf_path), *argv], capture_output=True, timeout=120)
    assert done.returncode == status, (done.returncode, done.stdout, done.stderr)
    return done


def behind(g):
    done = subprocess.run([g.binary, "quarantine", "search", "-c", str(g.conf_path), "--json", "hold"], capture_output=True, timeout=120)
    return b"full-text index" in done.stderr


def settled(g):
    """The keeper makes words of a message when it has answered for it: wait until none is left."""
    until = time.monotonic() + 60
    while behind(g):
        assert time.monotonic() < until, "the full-text index does not come up to date"
        time.sleep(0.05)


def found(g, *argv):
    """Subjects without the word that holds them."""
    return [m["subject"].split()[1] for m in json.loads(search(g, "--json", *argv).stdout)]


@pytest.fixture
def gateway(lab, backend):
    return lab([backend().port], policy=POLICY)


def test_charsets(gateway):
    g = gateway
    send(g, "zh", "我们公司在北京市开具增值税发票。\r\n", "gb18030", coded_subject="付款通知")
    send(g, "ja", "東京の請求書を送付します。\r\nガイド\r\n", "iso-2022-jp", "7bit", coded_subject="ご案内")
    send(g, "ko", "세금계산서를 발행하였습니다.\r\n", "euc-kr", "base64", coded_subject="서울특별시")
    send(g, "de", "Die Versandgebühren der Abschlagsrechnung für die Straße betragen 12,50.\r\n", "iso-8859-1", "quoted-printable",
         coded_subject="Zweite Mahnung")
    settled(g)
    for asked, want in (
            ("发票", "zh"), ("北京", "zh"), ("税", "zh"), ("付款", "zh"), ("增值税发票", "zh"), ("subject:付款", "zh"),
            ("東京", "ja"), ("請求書", "ja"), ("ガイド", "ja"), ("ｶﾞｲﾄﾞ", "ja"), ("案内", "ja"),
            ("세금", "ko"), ("발행", "ko"), ("서울", "ko"),
            ("gebühr", "de"), ("GEBÜHREN", "de"), ("gebuehr", "de"), ("gebu\u0308hr", "de"), ("rechnung", "de"), ("versand", "de"),
            ("strasse", "de"), ("mahnung", "de"), ("12,50", "de"), ("subject:mahn", "de")):
        assert found(g, asked) == [want], asked
    for nothing in ("上海", "发京", "大阪", "부산", "gebüro", "rechnungs-mahnung", "subject:发票"):
        assert found(g, nothing) == [], nothing


def test_terms_and_filters(gateway):
    g = gateway
    send(g, "one", "annual invoice, draft\r\n", sender="anna@firma.example", to="bob@example.com")
    send(g, "two", "invoice, annual\r\n", sender="ben@firma.example", to="carol@example.com")
    send(g, "three", "invoice\r\n", sender="anna@other.example", to="carol@example.com")
    settled(g)
    for argv, want in (
            (["invoice"], ["three", "two", "one"]),
            (["invoice", "annual"], ["two", "one"]),
            (["annual invoice"], ["one"]),
            (['"annual invoice"'], ["one"]),
            (["invoice", "-draft"], ["three", "two"]),
            (["invoice", "-annual invoice"], ["three", "two"]),
            (["from:anna"], ["three", "one"]),
            (["from:firma.example", "to:carol@example.com"], ["two"]),
            (["to:anna"], []),
            (["--to", "carol@example.com", "invoice"], ["three", "two"]),
            (["invoice", "--from", "anna@firma.example"], ["one"]),
            (["--from", "firma.example", "invoice", "--limit", "1"], ["two"]),
            (["invoice", "--fact", "rcpt.count=1"], ["three", "two", "one"]),
            (["invoice", "--fact", "rcpt.count=2"], []),
            (["--until", "1h", "invoice"], []),
            (["--", "invoice", "-draft"], ["three", "two"])):
        assert found(g, *argv) == want, argv
    lines = search(g, "invoice").stdout.decode().splitlines()
    assert lines[0].startswith("ID") and len(lines) == 4 and "hold three" in lines[1]
    for argv, word in (([], b"no words"), (["-draft"], b"must be there"), (["..."], b"no word in it"), (["--limit", "x", "a"], b"--limit"),
                       (["--nope", "a"], b"nope"), (["\x1b!"], b"\\x1b")):
        done = search(g, *argv, status=1)
        assert word in done.stderr and b"\x1b" not in done.stderr, argv
    for asked in ("\" OR 1=1 --", "NEAR(invoice draft)", "w:invoice", "invoice*", "{a}^b", "a' OR 'a'='a"):
        assert found(g, asked, "qqqq") == [], asked
    assert found(g, "INVOICE*") == ["three", "two", "one"]


def test_killed_while_it_indexes(gateway):
    """kill -9 of the store keeper amid its work, again and again: in the end all is found, each once."""
    g = gateway
    for i in range(30):
        send(g, f"n{i}", f"Versandgebühren 发票 wort{i} " + " ".join(f"w{k}x{i}" for k in range(800)) + "\r\n")
        if i % 10 == 9:
            kill(g, "gp-store")
    settled(g)
    assert sorted(found(g, "发票")) == sorted(f"n{i}" for i in range(30))
    assert len(found(g, "gebühr")) == 30
    assert found(g, "wort17") == ["n17"]


def test_deleted_and_made_again(gateway):
    """What is deleted leaves the index; reindex makes it again, beside the keeper and without it."""
    g = gateway
    for i in range(3):
        send(g, f"n{i}", f"Versandgebühren 发票 nur{i}da\r\n")
    settled(g)
    ids = {m["subject"].split()[1]: m["id"] for m in json.loads(search(g, "--json", "发票").stdout)}
    g.command("quarantine", "delete", "-c", str(g.conf_path), ids["n1"])
    assert found(g, "发票") == ["n2", "n0"] and found(g, "nur1da") == []
    with sqlite3.connect(g.state / "quarantine" / "search.db") as db:
        assert db.execute("SELECT count(*) FROM doc").fetchone() == (2,)
        assert db.execute("SELECT count(*) FROM words WHERE words MATCH '\"nur1da\"'").fetchone() == (0,)
        assert db.execute("SELECT count(*) FROM words WHERE words MATCH '\"nur2da\"'").fetchone() == (1,)
    db.close()
    g.command("quarantine", "reindex", "-c", str(g.conf_path))
    assert found(g, "gebühr") == ["n2", "n0"]
    g.stop()
    done = g.command("quarantine", "reindex", "-c", str(g.conf_path))
    assert b"full-text" in done.stdout
    assert found(g, "gebühr") == ["n2", "n0"]


def test_without_the_gateway_and_damaged(gateway):
    """The index is read as it is, told to be behind or damaged where it is, and made good by the next start."""
    g = gateway
    send(g, "a", "Versandgebühren\r\n")
    settled(g)
    g.stop()
    assert found(g, "gebühr") == ["a"]
    db = g.state / "quarantine" / "search.db"
    for f in g.state.joinpath("quarantine").glob("search.db-*"):
        f.unlink()
    db.write_bytes(b"\x5a" * 8192)
    assert b"damaged" in search(g, "gebühr", status=1).stderr
    g.start()
    settled(g)
    assert found(g, "gebühr") == ["a"]
    g.stop()
    db.unlink()
    assert b"no full-text index" in search(g, "gebühr", status=1).stderr
    g.start()
    settled(g)
    assert found(g, "gebühr") == ["a"]


def test_behind_is_said(gateway):
    g = gateway
    send(g, "a", "Versandgebühren\r\n")
    settled(g)
    keeper, until = g.children()["gp-store"], time.monotonic() + 60
    while True:
        os.kill(keeper, signal.SIGSTOP)
        try:
            with sqlite3.connect(g.state / "quarantine" / "search.db", timeout=0) as db:
                db.execute("DELETE FROM note")
            db.close()
            assert behind(g)
            break
        except sqlite3.OperationalError as e:       # it was stopped at work in there
            assert "locked" in str(e) and time.monotonic() < until, e
        finally:
            os.kill(keeper, signal.SIGCONT)
        time.sleep(0.05)
    settled(g)
