"""What a person reads, whatever it is written in: rules on decoded text, and the quarantine's record of it."""
import base64
import json

import pytest

from lab.smtp import Client, mail

POLICY = """
quarantine due: if header.subject ~ /请求|請求|逾期|просрочен/ or header.to ~ /Jürgen/
reject raw: if header.subject.raw ~ /=\\?x-no/ and header.subject ~ /^plain/
accept
"""


def word(charset, text):
    return f"=?{charset}?B?{base64.b64encode(text.encode(charset)).decode()}?="


@pytest.fixture
def g(lab, backend):
    return lab([backend().port], policy=POLICY)


def send(g, message):
    with Client(g.port) as c:
        return c.message("a@sender.example", "bob@example.com", message)


@pytest.mark.parametrize("charset,text", [
    ("gb18030", "发票已逾期"), ("big5", "發票已逾期"), ("iso-2022-jp", "請求書のご確認"), ("euc-jp", "請求書"), ("shift_jis", "請求書"),
    ("koi8-r", "Счёт просрочен"), ("windows-1251", "Счёт просрочен"), ("utf-8", "发票已逾期")])
def test_a_rule_reads_the_subject(g, charset, text):
    message = mail(subject="SUBJECT").replace(b"SUBJECT", word(charset, text).encode(), 1)
    assert send(g, message).code == 250
    (path,) = g.quarantined()
    assert path.read_bytes() == message
    record = json.loads(path.with_suffix(".json").read_text())
    assert record["message"]["subject"] == text
    assert record["facts"]["header.subject"] == text
    assert g.verdict("quarantine")["rule"] == "due"


def test_a_character_split_across_words_and_lines(g):
    octets = "发票已逾期".encode("gb2312")
    words = "\r\n ".join(f"=?gb2312?B?{base64.b64encode(octets[i:i + 3]).decode()}?=" for i in range(0, len(octets), 3))
    assert send(g, mail(subject="SUBJECT").replace(b"SUBJECT", words.encode(), 1)).code == 250
    assert len(g.quarantined()) == 1


def test_text_that_says_no_charset(g):
    assert send(g, mail(subject="SUBJECT").replace(b"SUBJECT", "发票已逾期".encode("gbk"), 1)).code == 250
    assert send(g, mail(to="=?iso-8859-1?q?J=FCrgen?= <bob@example.com>")).code == 250
    assert len(g.quarantined()) == 2


def test_a_charset_that_nobody_knows(g):
    assert send(g, mail(subject="=?x-no-charset?q?plain_=FF?=")).code == 550
    assert send(g, mail(subject="=?x-no-charset?b?!!!?=")).code == 250
    assert g.quarantined() == []
