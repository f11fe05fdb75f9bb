"""Rules on the parts of a message: names in every form, nested messages, structures that are malformed."""
import json

import pytest

from lab.smtp import Client

POLICY = """
quarantine programs: if attachment.extension in (exe, js, lnk)
reject bomb: "550 5.6.0 nested too deeply" if mime.depth >= 20 and mime.broken
accept
"""


def mixed(*parts):
    body = "".join(f"--b\r\n{p}\r\n" for p in parts)
    return f"Content-Type: multipart/mixed;\r\n boundary=\"b\"\r\n\r\npreamble\r\n{body}--b--\r\n"


def message(content):
    return ("From: a@sender.example\r\nTo: bob@example.com\r\nSubject: parts\r\nMIME-Version: 1.0\r\n" + content).encode()


def attached(disposition, kind="application/octet-stream"):
    return f"Content-Type: {kind}\r\nContent-Disposition: attachment; {disposition}\r\nContent-Transfer-Encoding: base64\r\n\r\nTVo=\r\n"


TEXT = "Content-Type: text/plain\r\n\r\nhello\r\n"


@pytest.fixture
def g(lab, backend):
    return lab([backend().port], policy=POLICY)


def send(g, content):
    with Client(g.port) as c:
        return c.message("a@sender.example", "bob@example.com", message(content))


@pytest.mark.parametrize("part", [
    attached("filename=invoice.pdf.EXE"),
    attached("filename=\"my invoice.exe. \""),
    attached("filename*0=\"invoice.e\";\r\n filename*1=\"xe\""),
    attached("filename*=gb18030''%B7%A2%C6%B1.lnk"),
    attached("filename=x.txt", "text/plain; name=\"=?utf-8?B?5Y+R56WoLmpz?=\""),
    "Content-Type: message/rfc822\r\n\r\nSubject: inner\r\n" + mixed(TEXT, attached("filename=a.js")).replace("--b", "--c").replace('"b"', '"c"'),
], ids=["upper", "quoted", "segments", "rfc2231", "encoded word", "message within"])
def test_programs_are_kept(g, part):
    assert send(g, mixed(TEXT, part)).code == 250
    (path,) = g.quarantined()
    record = json.loads(path.with_suffix(".json").read_text())
    assert set(record["facts"]["attachment.extension"]) & {"exe", "js", "lnk"}
    assert g.verdict("quarantine")["rule"] == "programs"


def test_other_mail_goes_through(g):
    assert send(g, mixed(TEXT, attached("filename=exe.pdf", "application/pdf"))).code == 250
    assert send(g, "\r\nfilename=a.exe\r\n").code == 250
    assert g.quarantined() == []


def test_a_nest_is_bounded(g):
    reply = send(g, "Content-Type: message/rfc822\r\n\r\n" * 5000)
    assert reply.code == 550 and "nested too deeply" in reply.text
    assert send(g, mixed(TEXT)).code == 250
