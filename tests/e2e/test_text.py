"""Rules on what a message says, whatever it is written in and however it was sent; and the quarantine's record of it."""
import base64
import json
import quopri

import pytest

from lab.smtp import Client

POLICY = """
quarantine due: if text ~ /请求|請求|逾期|청구|просрочен|Jürgen|invoice\\s+overdue/
tag "[LONG] " if text.cut
accept
"""


@pytest.fixture
def g(lab, backend):
    g = lab([backend().port], policy=POLICY)
    return g


def send(g, content):
    head = b"From: a@sender.example\r\nTo: bob@example.com\r\nSubject: text\r\nMIME-Version: 1.0\r\n"
    with Client(g.port) as c:
        return c.message("a@sender.example", "bob@example.com", head + content)


def part(octets, charset, encoding, kind="text/plain"):
    if encoding == "base64":
        octets = base64.encodebytes(octets).replace(b"\n", b"\r\n")
    elif encoding == "quoted-printable":
        octets = quopri.encodestring(octets).replace(b"\n", b"\r\n")
    return (f"Content-Type: {kind}; charset={charset}\r\nContent-Transfer-Encoding: {encoding}\r\n\r\n").encode() + octets + b"\r\n"


def kept(g):
    (path,) = g.quarantined()
    return json.loads(path.with_suffix(".json").read_text())


@pytest.mark.parametrize("encoding", ["base64", "quoted-printable", "8bit"])
@pytest.mark.parametrize("charset,text", [
    ("gb18030", "发票已逾期"), ("big5", "發票已逾期"), ("iso-2022-jp", "請求書のご確認"), ("euc-kr", "청구서가 도착했습니다"),
    ("windows-1251", "Счёт просрочен"), ("windows-1252", "Grüße, Jürgen"), ("koi8-r", "Счёт просрочен"), ("utf-8", "发票已逾期")])
def test_a_rule_reads_the_text(g, charset, text, encoding):
    assert send(g, part(f"one {text} two\n".encode(charset), charset, encoding)).code == 250
    record = kept(g)
    assert record["facts"]["text"] == [f"one {text} two"]
    assert record["text"].splitlines() == ["a@sender.example", "bob@example.com", "text", f"one {text} two"]
    assert g.verdict("quarantine")["rule"] == "due"


def test_html_is_read_as_it_is_seen(g):
    html = "<style>p{}</style><p>in<b></b>v<!-- x -->oi&#99;e<span style='display:none'>xyz</span>&nbsp;<br>over<i>due</i>"
    parts = b"Content-Type: multipart/alternative; boundary=b\r\n\r\n--b\r\n" + part(b"hello", "utf-8", "7bit") + \
        b"--b\r\n" + part(html.encode(), "utf-8", "base64", "text/html") + b"--b--\r\n"
    assert send(g, parts).code == 250
    assert kept(g)["facts"]["text"] == ["hello", "invoice\noverdue\nxyz"]


def test_the_record_is_bounded_and_mail_with_much_text_goes_through(g, backend):
    noise = b"".join(b"--b\r\n" + part(("word " * 20000 + "\n").encode(), "utf-8", "base64") for _ in range(8))
    head = b"Content-Type: multipart/mixed; boundary=b\r\n\r\n"
    assert send(g, head + noise + b"--b--\r\n").code == 250
    assert g.quarantined() == []
    first = b"--b\r\n" + part("逾期".encode(), "utf-8", "base64")
    assert send(g, head + first + noise + b"--b--\r\n").code == 250
    record = kept(g)
    assert len(record["text"].encode()) <= 64 * 1024
    assert record["facts"]["text.cut"] is True and record["why"]["text.cut"] == "a part with more text than is kept"
