"""Smuggling (CVE-2023-51764 and its like): whatever stands around the dot, the mail behind it never becomes a message of its own."""
import itertools
import re

import pytest

from lab.recorder import Recorder
from lab.smtp import Client, Closed

EOL = {"CRLF": b"\r\n", "LF": b"\n", "CR": b"\r", "CRCRLF": b"\r\r\n", "LFCR": b"\n\r", "CRLFCR": b"\r\n\r", "LFLF": b"\n\n", "NUL": b"\r\n\0"}
DOTS = {"dot": b".", "two-dots": b"..", "dot-blank": b". ", "dot-nul": b".\0"}
VARIANTS = [(f"{a}-{d}-{b}", EOL[a] + DOTS[d] + EOL[b]) for a, d, b in itertools.product(EOL, DOTS, EOL)]

# These hold CRLF.CRLF octet for octet: they end the data, and what follows are this client's commands.
ENDS_RIGHTLY = {name for name, octets in VARIANTS if b"\r\n.\r\n" in octets}

MUST_CLOSE = ["LF-dot-LF", "LF-dot-CRLF", "CRLF-dot-LF", "LF-dot-CR", "CR-dot-LF", "CR-dot-CR", "CR-dot-CRLF", "CRLF-dot-CR",
              "CRLF-dot-CRCRLF", "CRCRLF-dot-CRCRLF", "LFCR-dot-CRLF", "CRLFCR-dot-CRLF", "LFLF-dot-LF", "CRLF-dot-LFLF"]

SECOND = (b"MAIL FROM:<smuggler@evil.example>\r\nRCPT TO:<carol@example.com>\r\nDATA\r\n"
          b"From: <smuggler@evil.example>\r\nSubject: smuggled\r\n\r\nsmuggled\r\n.\r\nQUIT\r\n")


def first(name):
    return f"From: <a@sender.example>\r\nTo: <bob@example.com>\r\nSubject: outer {name}\r\nMessage-ID: <{name}@sender.example>\r\n\r\nouter".encode()


def begin(g):
    c = Client(g.port)
    c.ehlo()
    c.envelope("a@sender.example", "bob@example.com")
    return c


def replies(c):
    """Codes until the gateway closes."""
    out = []
    try:
        while True:
            out.append(c.reply().code)
    except Closed:
        return out


def send_by_data(g, octets, singly=False):
    with begin(g) as c:
        c.expect("DATA", 354)
        try:
            for piece in ([octets[i:i + 1] for i in range(len(octets))] if singly else [octets]):
                c.send(piece)
        except (ConnectionResetError, BrokenPipeError):
            pass                                        # it was closed, and rightly
        return replies(c)


def send_by_bdat(g, octets):
    with begin(g) as c:
        c.send(f"BDAT {len(octets)} LAST\r\n".encode() + octets + b"QUIT\r\n")
        return replies(c)


@pytest.fixture(scope="module", params=["normalise", "refuse"])
def mode(request):
    return request.param


def gateway(lab, mode, *backends):
    return lab(backends, conf=f'smtp {{ bare_lf = "{mode}" }}\nlimits {{ sessions_per_client = 1000 }}', policy="accept\n")


def test_data_at_a_real_postfix(lab, postfix, mode):
    g = gateway(lab, mode, postfix.port)
    taken = {}
    for name, middle in VARIANTS:
        if name in ENDS_RIGHTLY:
            continue
        got = send_by_data(g, first(name) + middle + SECOND)
        assert got in ([250, 221], [550, 221], [550]), (name, got)
        if name in MUST_CLOSE:
            assert got == [550], (name, got)
        if got[0] == 250:
            taken[name] = middle
    assert taken, "no variant was harmless: the test tests nothing"
    check_at_postfix(postfix, taken)


def test_bdat_at_a_real_postfix(lab, postfix, mode):
    g = gateway(lab, mode, postfix.port)
    taken = {}
    for name, middle in VARIANTS:
        got = send_by_bdat(g, first(name) + middle + SECOND)
        assert got in ([250, 221], [550, 221]), (name, got)
        assert (got[0] == 550) == (b"\0" in middle), (name, got)
        if got[0] == 250:
            taken[name] = middle
    check_at_postfix(postfix, taken)


def check_at_postfix(postfix, taken):
    """As many messages as were acknowledged, each whole, and none of the smuggler's."""
    postfix.wait_message("bob@example.com", count=len(taken))
    found = [p.read_bytes() for p in postfix.messages("bob@example.com")]
    assert len(found) == len(taken)
    subjects = {re.search(rb"^Subject: outer (\S+)$", m, re.M)[1].decode() for m in found}
    assert subjects == set(taken)
    for m in found:
        assert m.count(b"Return-Path:") == 1 and m.count(b"MAIL FROM:<smuggler@evil.example>") == 1, m
    assert postfix.messages("carol@example.com") == []
    assert "from=<smuggler@evil.example>" not in (postfix.dir / "log").read_text(errors="replace")


@pytest.mark.parametrize("chunking", [False, True])
def test_octets_on_the_wire(lab, mode, chunking):
    """By DATA no bare CR or LF leaves, and no dot stands alone; by BDAT all octets are as they were."""
    with Recorder(("SIZE 104857600", "8BITMIME", *(["CHUNKING"] if chunking else []))) as r:
        g = gateway(lab, mode, r.port)
        for by in (send_by_data, send_by_bdat):
            for name, middle in VARIANTS:
                if name in ENDS_RIGHTLY and by == send_by_data:
                    continue
                before = len(r.taken)
                octets = first(name) + middle + SECOND
                got = by(g, octets)
                assert len(r.taken) - before == (got[0] == 250), (name, got)
                if got[0] != 250:
                    continue
                t = r.taken[-1]
                assert t.mail.startswith(b"MAIL FROM:<a@sender.example>") and len(t.rcpts) == 1
                if t.how == "DATA":
                    assert not re.search(rb"\r(?!\n)|(?<!\r)\n", t.wire), (name, t.wire)
                    assert not re.search(rb"(^|\r\n)\.(\r\n|$)", t.wire), (name, t.wire)
                elif by == send_by_bdat:
                    assert t.original == octets, name
        assert all(b"evil" not in command for command in r.commands)


def test_in_single_octets(lab, postfix):
    """Each octet in a segment of its own: the decoder's states, not luck with buffers."""
    g = gateway(lab, "normalise", postfix.port)
    wanted = dict(VARIANTS)
    for name in MUST_CLOSE:
        assert send_by_data(g, first(name)[-8:] + wanted[name] + SECOND, singly=True) == [550], name
    g.verdict("none", "reason=smuggling")


def test_dot_at_the_beginning(lab, postfix):
    """The message may be empty: the CRLF of the DATA command is its first."""
    g = gateway(lab, "normalise", postfix.port)
    assert send_by_data(g, b".\r\nQUIT\r\n") == [250, 221]
    for octets in (b".\n", b".\r", b".\r\r\n", b"\n.\r\n", b"\r.\r\n"):
        assert send_by_data(g, octets + SECOND) == [550], octets
    assert "from=<smuggler@evil.example>" not in (postfix.dir / "log").read_text(errors="replace")
