"""Received, loops, Authentication-Results; what CR, LF and NUL in values do not do."""
import re

import pytest

from lab.gateway import parse_logfmt
from lab.process import free_port
from lab.recorder import Recorder, unfold
from lab.smtp import Client, insecure, mail


@pytest.fixture(scope="module")
def recorder():
    with Recorder() as r:
        yield r


@pytest.fixture
def g(lab, recorder):
    recorder.empty()
    return lab([recorder.port], policy="accept\n", conf="limits { hops = 12 }")


def send(g, message, helo="client.example"):
    with Client(g.port) as c:
        return c.message("a@sender.example", "bob@example.com", message, helo=helo)


def test_one_received_below_the_results(g, recorder):
    assert send(g, mail()).code == 250
    names = [line.split(":")[0] for line in recorder.wait().added]
    assert names == ["Authentication-Results", "Received"]
    line = recorder.taken[0].added[1]
    assert re.fullmatch(r"Received: from client\.example \(\S+ \[127\.0\.0\.1\]\) by gate\.example \(Gatepost\) with ESMTP id [0-9a-f]{10}-1 "
                        r"for <bob@example\.com>; \w{3}, \d\d? \w{3} \d{4} \d\d:\d\d:\d\d \+0000", line), line
    assert g.verdict()["sid"] in line


OURS = "Received: from x (y [192.0.2.1]){0}by{0}{1}{0}(Gatepost) with ESMTP id 1; Sun, 22 Nov 2026 10:00:00 +0000\r\n"


def test_loops(g, recorder):
    other = "Received: from x by y.example; Sun, 22 Nov 2026 10:00:00 +0000\r\n"
    for name, extra, code in (
            ("once", OURS.format(" ", "gate.example"), 250),
            ("twice", OURS.format(" ", "gate.example") * 2, 554),
            ("refolded and in capitals", OURS.format("\r\n\t", "GATE.EXAMPLE") + OURS.format("  ", "gate.example").replace("Received", "RECEIVED"), 554),
            ("another Gatepost", OURS.format(" ", "othergate.example") * 3, 250),
            ("another name behind ours", OURS.format(" ", "gate.example.org") * 3, 250),
            ("twelve hops", other * 12, 250),
            ("thirteen hops", other * 13, 554),
            ("not in the header", "\r\n" + other * 20, 250)):
        reply = send(g, mail(extra=extra))
        assert reply.code == code, (name, reply)
        if code == 554:
            assert reply.text.startswith("5.4.6")


RESULTS = [     # is it ours, the field
    (True, "Authentication-Results: gate.example; spf=pass"),
    (True, "authentication-RESULTS:gate.example;spf=pass"),
    (True, "Authentication-Results: GATE.Example; spf=pass"),
    (True, "Authentication-Results: gate.example 1; spf=pass"),
    (True, "Authentication-Results: (a (nested) comment) gate.example (another); spf=pass"),
    (True, "Authentication-Results:\r\n\tgate.example;\r\n\tspf=pass"),
    (True, "Authentication-Results: (\r\n x)\r\n \"gate.example\"; spf=pass"),
    (True, "Authentication-Results: \"gate\\.example\"; spf=pass"),
    (True, "Authentication-Results: gate.example"),
    (True, "Authentication-Results : gate.example; spf=pass"),
    (False, "Authentication-Results: other.example; spf=pass"),
    (False, "Authentication-Results: gate.example.org; spf=pass"),
    (False, "Authentication-Results: agate.example; spf=pass"),
    (False, "Authentication-Results: (gate.example) other.example; spf=pass"),
    (False, "Authentication-Results: other.example; x=gate.example"),
    (False, "X-Authentication-Results: gate.example; spf=pass"),
    (False, "Authentication-Results-Old: gate.example; spf=pass"),
    (False, "ARC-Authentication-Results: i=1; gate.example; spf=pass"),
]


def test_forged_results_are_removed_and_no_others(g, recorder):
    extra = "".join(f"{field}\r\nX-Between: {n}\r\n" for n, (_, field) in enumerate(RESULTS))
    assert send(g, mail(extra=extra)).code == 250
    kept = "".join(f"{'' if ours else field + chr(13) + chr(10)}X-Between: {n}\r\n" for n, (ours, field) in enumerate(RESULTS))
    assert recorder.wait().original == mail(extra=kept)


def test_a_helo_is_only_a_word(g, recorder):
    """Whatever it holds, the Received field keeps its form and the log its lines."""
    for helo in ("a)b(c", "x\\y", '"quoted"', "<b>html</b>", "a;b", "%s%n%x", "x' OR 1=1", "[127.0.0.1]", "a\tb", "x" * 250, "=?utf-8?q?=0D=0AX?="):
        mark, before = g.mark(), len(recorder.taken)
        assert send(g, mail(), helo=helo).code == 250, helo
        t = recorder.taken[before]
        assert t.original == mail(), helo
        received = t.added[-1]
        assert re.match(r"Received: from [A-Za-z0-9.\-_:\[\]?]+ \(\S+ \[127\.0\.0\.1\]\) by gate\.example ", received), received
        assert len(t.added) == 2
        line = g.wait_line("verdict=accept", since=mark)
        assert parse_logfmt(line)["helo"] == re.split(r"[ \t]", helo)[0]


def test_values_stay_in_their_lines(g, recorder):
    """Controls and 8-bit octets in what is logged are escaped; one event stays one line, and keys cannot be forged."""
    for msgid in (b"<a\x0b\x0c\x1b[31mred@x>", b"<x verdict=reject client=192.0.2.1@y>", b'<q"uote\\@x>', b"\x01\x02\x7f\x80\xff",
                  b"<folded\r\n verdict=reject@x>", b"=?utf-8?q?=0D=0Averdict=3Dreject?="):
        mark = g.mark()
        assert send(g, b"Message-ID: " + msgid + b"\r\nFrom: <a@sender.example>\r\n\r\nbody\r\n").code == 250
        line = g.wait_line("verdict=", since=mark)
        fields = parse_logfmt(line)
        assert fields["verdict"] == "accept" and fields["client"] == "127.0.0.1", line
        assert re.fullmatch(r"[ -~]*", line), line
        assert not [x for x in g.process.output(mark).splitlines() if x.startswith(("verdict", " verdict"))]


def test_encoded_values_reach_no_command(g, recorder):
    """ENVID and ORCPT in xtext go on as xtext; quoted local parts with escapes as one word; nothing becomes a second command."""
    with Client(g.port) as c:
        c.ehlo()
        c.cmd("MAIL FROM:<a@sender.example> RET=HDRS ENVID=x+0D+0ARSET")
        c.cmd("RCPT TO:<bob@example.com> ORCPT=rfc822;bob+0D+0ADATA@example.com")
        c.cmd('RCPT TO:<"a\\ b\\"c"@example.com>')
        c.cmd(b'RCPT TO:<"a\rQUIT"@example.com>')
        c.cmd(b'RCPT TO:<"a\0b"@example.com>')
        c.cmd("RCPT TO:<bob@example.com>")
        c.data_block(mail())
    recorder.wait()
    verbs = [command.split()[0] for command in recorder.commands]
    assert set(verbs) <= {b"EHLO", b"MAIL", b"RCPT", b"DATA", b"RSET", b"QUIT", b"NOOP"}
    assert verbs.count(b"DATA") == 1
    assert all(re.fullmatch(rb"[ -~]+\r\n", command) for command in recorder.commands), recorder.commands


def test_headers_made_from_values(lab, recorder):
    """From domains and DKIM values with odd octets, in Authentication-Results: one field, well-formed, no second one."""
    recorder.empty()
    g = lab([recorder.port], policy="accept\n")
    message = (b"From: <a@sender.example>\r\nDKIM-Signature: v=1; a=rsa-sha256; d=x\"y;(z.example; s=\xff\x01s; bh=AA==; h=from; b=AAAA\"\r\n"
               b"DKIM-Signature: v=1; a=rsa-sha256; d=evil.example\r\n\t; s=s; bh=AA==; h=from; b=\r\n X-Injected: yes\r\n\r\nbody\r\n")
    assert send(g, message, helo="cl(ient\"").code == 250
    t = recorder.wait()
    assert t.original == message
    assert [line.split(":")[0] for line in t.added] == ["Authentication-Results", "Received"], t.added
    assert all(re.fullmatch(r"[ -~]*", line) for line in t.added)
    assert unfold(t.octets[:len(t.octets) - len(message)]) == t.added


def test_observe_mode(lab, recorder):
    """Everything runs, nothing is refused, the line says what would have been; relaying is refused all the same."""
    recorder.empty()
    g = lab([recorder.port], conf='mode = "observe"', policy='reject if spf = none\naccept\n')
    with Client(g.port) as c:
        c.ehlo()
        one, two = c.envelope("a@sender.example", "bob@example.com", "x@elsewhere.example")
        assert (one.code, two.code) == (250, 550)
        assert c.data_block(mail()).code == 250
    v = g.verdict("accept")
    assert v["would"] == "reject"
    assert recorder.wait().original == mail()


def test_every_refusal_can_be_traced(lab, recorder):
    """The id in the reply is in exactly the log line that says why."""
    g = lab([recorder.port], policy='reject "550 5.7.1 not by you" if helo = "bad.example"\nreject "554 5.7.1 no" if from.domain = "evil.example"\naccept\n')
    with Client(g.port) as c:
        c.ehlo("bad.example")
        at_rcpt = c.envelope("a@sender.example", "bob@example.com")[0]
        assert at_rcpt.code == 550
    with Client(g.port) as c:
        at_end = c.message("a@sender.example", "bob@example.com", mail("x@evil.example"))
        assert at_end.code == 554
    for reply in (at_rcpt, at_end):
        tx = re.search(r"\(([0-9a-f]{10})-(\d+)\)$", reply.text)
        assert tx, reply
        v = parse_logfmt(g.wait_line(rf"verdict=reject .*sid={tx[1]} tx={tx[2]} "))
        assert v["rule"] and v["reply"] == f"{reply.code} {reply.text}"


CLIENT_HEADER = 'client_header = "X-Gatepost-Client"\n'


def test_client_header(lab, recorder):
    """The site's own field tells the server who the client was; nobody else's of that name arrives, released mail's included."""
    recorder.empty()
    g = lab([recorder.port], policy='quarantine if header.subject = hold\naccept\n', conf=CLIENT_HEADER)
    forged = "X-Gatepost-Client: 10.0.0.1\r\nx-gatepost-client:\r\n 10.0.0.2\r\n"
    for subject in ("hello", "hold"):
        assert send(g, mail(subject=subject, extra=forged)).code == 250
    (held,) = g.quarantined()
    g.command("quarantine", "release", "-c", str(g.conf_path), held.stem)
    recorder.wait(2)
    for taken in recorder.taken:
        fields = [line for line in unfold(taken.octets.split(b"\r\n\r\n")[0] + b"\r\n") if line.lower().startswith("x-gatepost")]
        assert fields == ["X-Gatepost-Client: 127.0.0.1"]
    assert taken.octets.startswith(b"X-Gatepost-Client: 127.0.0.1\r\nFrom: ")


def test_received_of_every_listener(lab, recorder):
    """What was spoken, and who the client is: plain, STARTTLS, implicit TLS, IPv6, HELO."""
    recorder.empty()
    v6, tls = free_port(), free_port()
    g = lab([recorder.port], policy="accept\n", conf=f"""
listener v6 {{ address = "[::1]:{v6}" }}
listener tls {{ address = "127.0.0.1:{tls}" tls = implicit }}
""")

    def one(connect, first="EHLO client.example", starttls=False, rcpts=("bob@example.com",)):
        with connect as c:
            if starttls:
                c.ehlo()
                c.starttls()
            c.expect(first, 250)
            c.envelope("alice@sender.example", *rcpts)
            assert c.data_block(mail()).code == 250
            c.expect("QUIT", 221)           # so that the next one is no retry of this
        line = next(f for f in recorder.wait(len(recorder.taken) or 1).added if f.startswith("Received"))
        recorder.empty()
        return re.sub(r" id [^; ]+|; .*", "", line)

    assert one(Client(g.port), "HELO old_pc") == \
        "Received: from old_pc (unknown [127.0.0.1]) by gate.example (Gatepost) with SMTP for <bob@example.com>"
    assert one(Client(g.port), "EHLO [127.0.0.1]", rcpts=("bob@example.com", "carol@example.com")) == \
        "Received: from [127.0.0.1] (unknown [127.0.0.1]) by gate.example (Gatepost) with ESMTP"
    assert re.fullmatch(r"Received: from client\.example \(unknown \[127\.0\.0\.1\]\) \(using TLSv1\.3 with cipher \S+\) "
                        r"by gate\.example \(Gatepost\) with ESMTPS for <bob@example\.com>", one(Client(g.port), starttls=True))
    assert re.fullmatch(r"Received: from client\.example \((unknown|localhost) \[IPv6:::1\]\) by gate\.example \(Gatepost\) with ESMTP "
                        r"for <bob@example\.com>", one(Client(v6, source="::1", host="::1")))
    inside = Client(tls, greeting=False)
    inside.sock = insecure().wrap_socket(inside.sock, server_hostname="gate.example")
    assert inside.reply().code == 220
    assert " with ESMTPS for " in one(inside)
