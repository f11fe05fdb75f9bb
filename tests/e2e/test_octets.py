"""What the client sent and what the backend got, octet for octet; BDAT's corners."""
import re

import pytest

from lab.recorder import Recorder
from lab.smtp import Client, mail

HEAD = b"From: <a@sender.example>\r\nTo: <bob@example.com>\r\nSubject: s\r\n"
MESSAGES = {
    "plain": mail(),
    "lines of 997": HEAD + b"\r\n" + b"x" * 997 + b"\r\n",
    "lines of 998": HEAD + b"\r\n" + b"x" * 998 + b"\r\n",
    "lines of 999": HEAD + b"\r\n" + b"x" * 999 + b"\r\n",
    "lines of 10,000": HEAD + b"\r\n" + b"x" * 10000 + b"\r\nshort\r\n" + b"y" * 65536 + b"\r\n",
    "long header line": HEAD + b"X-Long: " + b"h" * 10000 + b"\r\n\r\nbody\r\n",
    "Bcc and Return-Path": b"Return-Path: <x@sender.example>\r\n" + HEAD + b"Bcc: <carol@example.com>\r\nReturn-Path: <y@sender.example>\r\n\r\nbody\r\n",
    "trailing blanks": HEAD + b"X: y \t \r\n\r\nline \t\r\n \r\n\t\r\nlast  \r\n",
    "empty lines at the end": HEAD + b"\r\nbody\r\n\r\n\r\n\r\n",
    "empty body": HEAD + b"\r\n",
    "header only": HEAD,
    "8-bit header and body": HEAD + "X-Name: \u00e4\u00f6\u00fc\r\n\r\n\u4e2d\u6587\r\n".encode() + b"\xff\xfe\x80\r\n",
    "control characters": HEAD + b"\r\n" + bytes(c for c in range(1, 256) if c not in (10, 13)) + b"\r\n",
    "dots": HEAD + b"\r\n.\r\n..\r\n...\r\n.x\r\n. \r\n\r\n.\r\n",
    "From line in the body": HEAD + b"\r\nFrom here on\r\n>From there\r\n",
    "field names oddly written": b"FROM : <a@sender.example>\r\nsubject:nothing\r\nx_y!: z\r\nEmpty:\r\n\r\nbody\r\n",
    "folded oddly": HEAD + b"X-Folded: a\r\n \t b\r\n\tc \r\n  d\r\n\r\nbody\r\n",
}
# The gateway puts an empty line below its own fields where the message has no header: all that came is body then.
NO_HEADER = {
    "no header": b"just text\r\nmore\r\n",
    "empty line first": b"\r\nbody\r\n",
    "From_ line first": b"From a@sender.example Sun Nov 22 10:00:00 2026\r\n" + HEAD + b"\r\nbody\r\n",
    "nothing at all": b"",
    "header cut off by a line that is no field": HEAD + b"this is no field\r\n\r\nbody\r\n",
}


@pytest.fixture(scope="module")
def recorder():
    with Recorder() as r:
        yield r


@pytest.fixture
def g(lab, recorder):
    recorder.empty()
    return lab([recorder.port], policy="accept\n")


def bdat(c, *chunks):
    for i, chunk in enumerate(chunks):
        c.send(f"BDAT {len(chunk)}{' LAST' if i == len(chunks) - 1 else ''}\r\n".encode() + chunk)
    return [c.reply().code for _ in chunks]


def test_messages_arrive_as_they_were_sent(g, recorder):
    with Client(g.port) as c:
        c.ehlo()
        for name, message in MESSAGES.items():
            for by in ("DATA", "BDAT"):
                c.expect("MAIL FROM:<a@sender.example> BODY=8BITMIME", 250)
                c.expect("RCPT TO:<bob@example.com>", 250)
                assert c.data_block(message).code == 250 if by == "DATA" else bdat(c, message[:7], message[7:], b"") == [250] * 3
                t = recorder.taken[-1]
                assert t.original == message, (name, by)
                assert b"BODY=8BITMIME" in t.mail
                assert not [a for a in t.added if not a.startswith(("Received:", "Authentication-Results:"))], t.added
                assert sum(a.startswith("Received:") for a in t.added) == 1


BARE = HEAD + b"\r\nmail ends\n.\nMAIL FROM:<evil@example.com>\r.\r\nRCPT TO:<x@world.example>\n\r\nend\r\n"


@pytest.mark.parametrize("way", ["upstream", "spool", "spool, no CHUNKING"])
def test_outbound(lab, way):
    """Our own users' mail leaves as it came, in session or from the spool; what the spool reads back is known by its bare line ends again."""
    rcpts = ["x@world.example"] + (["bob@example.com"] if "spool" in way else [])
    with Recorder(*([("8BITMIME",)] if "no CHUNKING" in way else [])) as r:
        g = lab([r.port], policy="accept\n", conf=f'relay_networks = {{ "127.0.0.1" }} outbound {{ via = {{ "127.0.0.1:{r.port}" }} tls = off }}')
        with Client(g.port) as c:
            c.ehlo()
            for name, message in {**MESSAGES, "bare": BARE}.items():
                before = len(r.taken)
                c.expect("MAIL FROM:<bob@example.com> BODY=8BITMIME", 250)
                for rcpt in rcpts:
                    c.expect(f"RCPT TO:<{rcpt}>", 250)
                assert bdat(c, message[:7], message[7:], b"") == [250] * 3
                r.wait(before + len(rcpts))
                for t in r.taken[before:]:
                    if name == "bare" and "no CHUNKING" in way:
                        assert t.how == "DATA" and not re.search(rb"\r(?!\n)|(?<!\r)\n", t.wire) and not re.search(rb"\r\n\.\r\n", t.wire)
                        assert t.original == re.sub(rb"\r\n|\r|\n", b"\r\n", message)
                    else:
                        assert t.original == message, name
                    assert sum(a.startswith("Received:") for a in t.added) == 1
                assert len(r.taken) == before + len(rcpts)
        assert all(b"evil" not in command for command in r.commands)


def test_messages_without_header(g, recorder):
    with Client(g.port) as c:
        c.ehlo()
        for name, message in NO_HEADER.items():
            for by in ("DATA", "BDAT"):
                before = len(recorder.taken)
                c.envelope("a@sender.example", "bob@example.com")
                if by == "BDAT":
                    assert bdat(c, message) == [250], name
                else:
                    c.expect("DATA", 354)
                    c.send(message + b".\r\n")
                    assert c.reply().code == 250, name
                assert len(recorder.taken) == before + 1
                assert recorder.taken[-1].original in (message, b"\r\n" + message,
                                                       message.replace(b"this is", b"\r\nthis is")), (name, by, recorder.taken[-1].octets)


def test_nul_is_refused_with_the_reason(g, recorder):
    with Client(g.port) as c:
        c.ehlo()
        for octets in (HEAD + b"\r\n\0\r\n", HEAD + b"X: \0\r\n\r\nbody\r\n", b"\0", HEAD + b"\r\n" + b"x" * 300000 + b"\0text after\r\n"):
            for by in ("DATA", "BDAT"):
                c.envelope("a@sender.example", "bob@example.com")
                if by == "DATA":
                    reply = c.data_block(octets)
                else:
                    c.send(f"BDAT {len(octets)} LAST\r\n".encode() + octets)
                    reply = c.reply()
                assert reply.code == 550 and "NUL" in reply.text, reply
                assert re.search(r"\([0-9a-f]{10}-\d+\)$", reply.text), "the sender's postmaster can quote an id"
    assert not recorder.taken


def test_thirty_megabytes(g, recorder):
    """Memory holds 256 KiB of it, the rest lies in a file without a name."""
    lines = b"".join(b"%074d\r\n" % i for i in range(1000))
    message = HEAD + b"\r\n" + lines * 420 + b".last\r\n"
    assert len(message) > 30 << 20
    with Client(g.port) as c:
        for by in ("DATA", "BDAT"):
            c.ehlo()
            c.envelope("a@sender.example", "bob@example.com")
            assert c.data_block(message).code == 250 if by == "DATA" else bdat(c, message[:1 << 20], message[1 << 20:]) == [250] * 2
            assert recorder.taken.pop().original == message
    g.stop()                        # no file comes or goes while they are looked at
    assert not [p for p in g.state.rglob("*") if p.is_file() and p.stat().st_size > 1 << 20]


def test_bdat_out_of_place_eats_its_octets(g, recorder):
    with Client(g.port) as c:
        c.ehlo()
        c.send(b"BDAT 6\r\nRSET\r\nNOOP\r\n")
        assert [c.reply().code, c.reply().code] == [503, 250]
        c.expect("MAIL FROM:<a@sender.example>", 250)
        c.send(b"BDAT 20 LAST\r\nRCPT TO:<x@y.z>\r\n\r\n\r\nNOOP\r\n")
        reply, noop = c.reply(), c.reply()
        assert reply.code in (503, 554) and noop.code in (250, 500)
        c.expect("RSET", 250)
    with Client(g.port) as c:                           # a refused recipient and pipelined chunks
        c.ehlo()
        c.send(b"MAIL FROM:<a@sender.example>\r\nRCPT TO:<x@elsewhere.example>\r\nBDAT 6\r\nNOOP\r\nBDAT 6 LAST\r\nQUIT\r\nNOOP\r\n")
        assert [c.reply().code for _ in range(5)] == [250, 550, 554, 554, 250]


def test_bdat_and_other_commands(g, recorder):
    with Client(g.port) as c:
        c.ehlo()
        c.envelope("a@sender.example", "bob@example.com")
        assert bdat(c, b"") == [250]                    # LAST with 0: an empty message
        c.envelope("a@sender.example", "bob@example.com")
        c.send(b"BDAT 3\r\nX: ")
        assert c.reply().code == 250
        for command in ("DATA", "MAIL FROM:<b@sender.example>", "RCPT TO:<carol@example.com>", "EHLO client.example", "STARTTLS"):
            c.expect(command, 503)
        c.expect("NOOP", 250)
        assert bdat(c, b"y\r\n\r\n") == [250]           # and the message is whole
        assert recorder.taken[-1].original == b"X: y\r\n\r\n" and len(recorder.taken[-1].rcpts) == 1
        c.envelope("a@sender.example", "bob@example.com")
        c.send(b"BDAT 3\r\nX: ")
        assert c.reply().code == 250
        c.expect("RSET", 250)
        c.send(b"BDAT 4 LAST\r\nNOOP")
        assert c.reply().code == 503
        c.envelope("a@sender.example", "bob@example.com")
        assert c.data_block(mail()).code == 250         # nothing of the chunks is left
        assert recorder.taken[-1].original == mail()
    assert len(recorder.taken) == 3


def test_bdat_oversize(lab, recorder):
    recorder.empty()
    g = lab([recorder.port], policy="accept\n", conf="limits { message_size = 100K header_size = 64K }")
    with Client(g.port) as c:
        c.ehlo()
        c.envelope("a@sender.example", "bob@example.com")
        piece = HEAD + b"\r\n" + b"x" * 60000
        c.send(b"".join(b"BDAT %d%s\r\n" % (len(piece), last) + piece for last in (b"", b"", b" LAST")) + b"NOOP\r\n")
        assert [c.reply().code for _ in range(4)] == [250, 552, 503, 250]
        c.envelope("a@sender.example", "bob@example.com")
        c.send(b"BDAT 99999999999 LAST\r\n")
        assert c.reply().code == 552
        assert c.closed()
    assert not recorder.taken


@pytest.mark.parametrize("chunking", [True, False])
def test_bare_lf_in_chunks(lab, chunking):
    message = HEAD + b"\r\nlf\n.\nafter\n..\r\ncr\r.\rend"
    with Recorder(("SIZE 1000000", "8BITMIME", *(["CHUNKING"] if chunking else []))) as r:
        g = lab([r.port], policy="accept\n")
        with Client(g.port) as c:
            c.ehlo()
            c.envelope("a@sender.example", "bob@example.com")
            assert bdat(c, message[:-20], message[-20:]) == [250, 250]
        t = r.wait()
        if chunking:
            assert t.how == "BDAT" and t.original == message
        else:
            assert t.how == "DATA" and t.original == re.sub(rb"\r\n|\r|\n", b"\r\n", message) + b"\r\n"


def test_bare_lf_by_data(lab, recorder):
    """Normalised and re-dotted, the same for every backend."""
    recorder.empty()
    g = lab([recorder.port], policy="accept\n")
    with Client(g.port) as c:
        c.ehlo()
        c.envelope("a@sender.example", "bob@example.com")
        c.expect("DATA", 354)
        c.send((HEAD + b"\r\n").replace(b"\r\n", b"\n") + b"body\nmore\n\r\n.\r\n")
        assert c.reply().code == 250
    assert recorder.wait().original == HEAD + b"\r\nbody\r\nmore\r\n\r\n"


def test_at_a_real_postfix(lab, postfix):
    """Bodies that a Maildir can hold: octet for octet there too, but for its line ends."""
    g = lab([postfix.port], policy="accept\n")
    names = [n for n in MESSAGES if n not in ("header only", "control characters", "field names oddly written", "long header line")]
    with Client(g.port) as c:
        c.ehlo()
        for n, name in enumerate(names, 1):
            c.expect("MAIL FROM:<a@sender.example> BODY=8BITMIME", 250)
            c.expect("RCPT TO:<bob@example.com>", 250)
            assert c.data_block(MESSAGES[name]).code == 250
            got = postfix.wait_message("bob@example.com", count=n)
            body = MESSAGES[name].split(b"\r\n\r\n", 1)[1]
            assert got.split(b"\n\n", 1)[1] == body.replace(b"\r\n", b"\n"), name
