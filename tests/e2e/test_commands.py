"""The dialogue: one command, one reply; parsing, limits, what was refused and why."""
import socket
import time

import pytest

from lab.process import WAIT_S
from lab.recorder import Recorder
from lab.smtp import Client, Closed, mail


UP = "event=backend .*state=up"         # and what it offers is known


@pytest.fixture(scope="module")
def recorder():
    with Recorder() as r:
        yield r


@pytest.fixture
def g(lab, recorder):
    recorder.empty()
    return lab([recorder.port], policy="accept\n", conf="limits { errors = 200 }")


# command, the codes that are right; in a session after EHLO, each row by itself
ROWS = [
    ("NOOP", 250), ("NOOP with words", 250), ("noop", 250), ("RSET", 250), ("RSET now", 501), ("HELP", 214), ("HELP MAIL", 214),
    ("VRFY bob", 252), ("VRFY", 501), ("EXPN list", 502), ("EXPN", 501), ("ETRN example.com", (251, 502)), ("AUTH PLAIN AGEAYg==", 502),
    ("TURN", 502), ("SEND FROM:<a@sender.example>", 502), ("XCLIENT ADDR=192.0.2.1", 502), ("XFORWARD NAME=x", 502), ("XEXCH50 1 2", 500),
    ("PROXY TCP4 192.0.2.1 192.0.2.2 1 2", 500), ("", 500), (" ", 500), (" NOOP", 500), ("NO\x01OP", 500), (b"NOOP \xff", 250),
    (b"\x80\x81\x82", 500), (b"NOOP\0", 500), (b"NO\0OP", 500), (b"NOOP\r", 500), (b"RSET\rMAIL FROM:<a@b.example>", 500),
    ("MAILFROM:<a@sender.example>", 500), ("MAIL", 501), ("MAIL FROM", 501), ("MAIL FROM:", 501), ("MAIL TO:<a@sender.example>", 501),
    ("MAIL FROM:<a@sender.example>", 250), ("mail from:<a@sender.example>", 250), ("MAIL FROM: <a@sender.example>", 250),
    ("MAIL  FROM:   <a@sender.example>  ", 250), ("MAIL FROM:<>", 250), ("MAIL FROM:<@relay.example:a@sender.example>", 250),
    ("MAIL FROM:a@sender.example", 250), ('MAIL FROM:<"a b"@sender.example>', 250), ('MAIL FROM:<"a\\"b"@sender.example>', 250),
    ("MAIL FROM:<a@[192.0.2.1]>", 250), ("MAIL FROM:<a@[IPv6:2001:db8::1]>", 250), ("MAIL FROM:<a@[999.0.2.1]>", (501, 553)),
    ("MAIL FROM:<a>", (501, 553)), ("MAIL FROM:<a@>", (501, 553)), ("MAIL FROM:<@sender.example>", (501, 553)), ("MAIL FROM:<a@sender.example", (501, 553)),
    ("MAIL FROM:<a@sender..example>", (501, 553)), ("MAIL FROM:<a@-.example>", (501, 553)), ("MAIL FROM:<a b@sender.example>", (501, 553)),
    (b"MAIL FROM:<\xc3\xa4@sender.example>", 553), (b"MAIL FROM:<\xc3\xa4@sender.example> SMTPUTF8", 250), (b"MAIL FROM:<\xff@sender.example> SMTPUTF8", (501, 553)),
    ("MAIL FROM:<a@sender.example> SIZE=1000", 250), ("MAIL FROM:<a@sender.example> SIZE=", 501), ("MAIL FROM:<a@sender.example> SIZE=12x", 501),
    ("MAIL FROM:<a@sender.example> SIZE=-1", 501), ("MAIL FROM:<a@sender.example> SIZE=99999999999", 552),
    ("MAIL FROM:<a@sender.example> SIZE=18446744073709551616", 552), ("MAIL FROM:<a@sender.example> SIZE=999999999999999999999999", 501),
    ("MAIL FROM:<a@sender.example> SIZE=1 SIZE=2", 501), ("MAIL FROM:<a@sender.example> BODY=8BITMIME BODY=7BIT", 501),
    ("MAIL FROM:<a@sender.example> BODY=BINARYMIME", (501, 555)), ("MAIL FROM:<a@sender.example> BODY=7bit", 250),
    ("MAIL FROM:<a@sender.example> RET=HDRS ENVID=a+3Db", 250), ("MAIL FROM:<a@sender.example> ENVID=a+0", 501), ("MAIL FROM:<a@sender.example> RET=ALL", 501),
    ("MAIL FROM:<a@sender.example> FOO=BAR", 555), ("MAIL FROM:<a@sender.example> FOO", 555), ("MAIL FROM:<a@sender.example>SIZE=1", 501),
    ("MAIL FROM:<a@sender.example> AUTH=<>", 250), ("MAIL FROM:<a@sender.example> BY=10;R", 555), ("MAIL FROM:<a@sender.example> HOLDFOR=99", 555),
    ("MAIL FROM:<" + "a" * 64 + "@sender.example>", 250), ("MAIL FROM:<a@" + "b" * 250 + ".example>", (501, 553)),
    ("RCPT TO:<bob@example.com>", 503), ("DATA", 503), ("BDAT", 501), ("BDAT 1x", 501), ("BDAT -1", 501), ("BDAT 0 FIRST", 501),
]


def test_each_command_has_one_reply(g):
    """The next reply is the NOOP's: nothing is said that nobody asked for."""
    for command, codes in ROWS:
        with Client(g.port) as c:
            c.ehlo()
            reply = c.cmd(command)
            assert reply.code in (codes if isinstance(codes, tuple) else (codes,)), (command, reply)
            assert all(line[4:5].isdigit() and line[4] == line[0] for line in reply.lines), f"no enhanced code: {reply}"
            if str(command).startswith("BDAT"):
                assert c.closed()               # nobody knows how many octets follow
                continue
            c.expect("QUIT", 221)
            assert c.closed() and c.data == b""


def test_pipelined_nonsense_has_as_many_replies(g):
    lines = [c.encode() if isinstance(c, str) else c for c, _ in ROWS]
    lines = [c for c in lines if not c.startswith((b"BDAT", b"DATA"))]
    with Client(g.port) as c:
        c.send(b"EHLO client.example\r\n" + b"\r\n".join(lines) + b"\r\nQUIT\r\n")
        got = [c.reply().code for _ in range(len(lines) + 2)]
        assert got[0] == 250 and got[-1] == 221
        assert c.closed() and c.data == b""


RCPT = [
    ("<bob@example.com>", 250), (" <bob@example.com>", 250), ("bob@example.com", 250), ("<BOB@EXAMPLE.COM>", 250), ("<postmaster>", 250),
    ("<Postmaster@example.com>", 250), ('<"bob"@example.com>', 250), ("<@relay.example,@other.example:bob@example.com>", 250),
    ("<bob@example.com> NOTIFY=NEVER", 250), ("<bob@example.com> NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;bob@example.com", 250),
    ("<bob@example.com> NOTIFY=NEVER,SUCCESS", 501), ("<bob@example.com> ORCPT=bob", 501), ("<bob@example.com> SIZE=3", 555), ("<bob@example.com> X", 555),
    ("<bob@example.com> ORCPT=rfc822;a+0D+0AQUIT", (250, 501)),
    ("<>", (501, 553)), ("<bob>", (501, 550, 553)), ("<bob@elsewhere.example>", 550), ("<bob%elsewhere.example@example.com>", 550), ("<elsewhere.example!bob@example.com>", 550),
    ('<"bob@elsewhere.example"@example.com>', 550), ("<@example.com:bob@elsewhere.example>", 550), ("<bob@[127.0.0.1]>", 550),
    ("<bob@[IPv6:::1]>", (501, 550, 553)), ("<bob@example.com@elsewhere.example>", (501, 550, 553)), ("<bob@example.com.>", (250, 501, 553)), ("<bob@example.comx>", 550),
    ("<bob@sub.example.com>", 550), ("<" + "b" * 64 + "@example.com>", 250), ("<" + "b" * 65 + "@example.com>", (501, 553)), ('<"a\\' + "\x01" + '"@example.com>', (500, 501)),
]


def test_recipients(g, recorder):
    with Client(g.port) as c:
        c.ehlo()
        c.expect("MAIL FROM:<a@sender.example>", 250)
        for path, codes in RCPT:
            reply = c.cmd(f"RCPT TO:{path}")
            assert reply.code in (codes if isinstance(codes, tuple) else (codes,)), (path, reply)
        assert c.data_block(mail()).code == 250
    got = [r.decode() for r in recorder.wait().rcpts]
    assert len(got) == sum(1 for _, code in RCPT if code == 250) + sum(1 for r in got if r.startswith("RCPT TO:<bob@example.com.")) + \
        sum(1 for r in got if "+0D+0A" in r)
    assert all("elsewhere" not in r and "relay" not in r for r in got)
    v = g.verdict("reject", "elsewhere")
    assert v["reply"].startswith("550 5.7.1") and v["sid"] in v["reply"], "a refusal can be traced"


def test_command_lines_up_to_the_limit(lab, recorder):
    g = lab([recorder.port], conf="limits { line = 512 }")
    with Client(g.port) as c:
        c.ehlo()
        assert c.cmd("NOOP " + "x" * (512 - 5 - 2)).code == 250         # 512 octets with CRLF, RFC 5321 4.5.3.1.4
        assert c.cmd("NOOP " + "x" * (512 - 5 - 1)).code == 500
        assert c.cmd("NOOP " + "x" * 100000).code == 500
        c.expect("NOOP", 250)


def test_bare_lf_ends_no_command(g):
    with Client(g.port) as c:
        c.ehlo()
        c.send(b"NOOP\nNOOP\r\n")
        assert [c.reply().code, c.reply().code] == [500, 250]
        c.send(b"MAIL FROM:<a@sender.example>\n")
        assert c.reply().code == 500
        c.expect("RCPT TO:<bob@example.com>", 503)


def test_web_clients_are_shown_the_door(g):
    for line in (b"GET / HTTP/1.1", b"POST /x HTTP/1.0", b"CONNECT example.com:25 HTTP/1.1", b"get /", b"PRI * HTTP/2.0"):
        with Client(g.port) as c:
            c.send(line + b"\r\nHost: gate.example\r\n\r\nEHLO evil.example\r\nMAIL FROM:<a@b.example>\r\n")
            assert c.reply().code == 554
            assert c.closed() and c.data == b""


def test_too_many_errors(lab, recorder):
    g = lab([recorder.port], conf="limits { errors = 3 }")
    with Client(g.port) as c:
        c.ehlo()
        for _ in range(3):
            c.expect("WHAT", 500)
        c.expect("NOOP", 421)
        assert c.closed() and c.data == b""
    with Client(g.port) as c:                           # refusals keep their code: a 5xx does not become a 4xx
        c.ehlo()
        c.send(b"MAIL FROM:<a@sender.example>\r\n" + b"RCPT TO:<x@elsewhere.example>\r\n" * 3 + b"QUIT\r\n")
        assert [c.reply().code for _ in range(5)] == [250, 550, 550, 550, 221]
    with Client(g.port) as c:                           # lines that are too long are errors too
        c.ehlo()
        c.send((b"x" * 3000 + b"\r\n") * 4)
        assert [c.reply().code for _ in range(4)] == [500, 500, 500, 421]
        assert c.closed()


def test_limits_are_told_and_kept(lab, recorder):
    recorder.empty()
    g = lab([recorder.port], conf="limits { recipients = 100 transactions = 3 message_size = 100K header_size = 64K }", policy="accept\n")
    with Client(g.port) as c:
        words = c.ehlo().keywords()
        assert words["LIMITS"] == "MAILMAX=3 RCPTMAX=100" and words["SIZE"] == "102400"
        c.expect("MAIL FROM:<a@sender.example> SIZE=102401", 552)
        c.expect("MAIL FROM:<a@sender.example> SIZE=102400", 250)
        c.send(b"".join(b"RCPT TO:<user%d@example.com>\r\n" % i for i in range(101)))
        codes = [c.reply() for _ in range(101)]
        assert [r.code for r in codes] == [250] * 100 + [452] and codes[-1].text.startswith("4.5.3")
        assert c.data_block(mail()).code == 250         # the others are not harmed
        assert len(recorder.wait().rcpts) == 100
        c.envelope("a@sender.example", "bob@example.com")
        assert c.data_block(mail(body="x" * 70 * 1024 + "\r\n" + "y" * 40 * 1024)).code == 552
        c.envelope("a@sender.example", "bob@example.com")
        assert c.data_block(b"X: y\r\n" * 12000 + b"\r\nbody\r\n").code == 552
        c.expect("MAIL FROM:<a@sender.example>", 421)
        assert c.closed()


def test_sessions_per_client(lab, recorder):
    g = lab([recorder.port], conf="limits { sessions_per_client = 3 }")
    held = [Client(g.port) for _ in range(3)]
    with Client(g.port) as c:
        assert c.greeting.code == 421 and c.closed()
    g.wait_line("event=limit what=sessions client=127.0.0.1 count=3 limit=3 action=refused")
    with Client(g.port, source="127.0.0.2") as c:
        assert c.greeting.code == 220
    held.pop().expect("QUIT", 221)
    end = time.monotonic() + WAIT_S
    while True:                                         # the place is free as soon as the gateway has seen the end
        with Client(g.port) as c:
            if c.greeting.code == 220:
                break
        assert time.monotonic() < end, "the place was not given back"
    for c in held:
        c.close()


def test_states(g):
    with Client(g.port) as c:
        for command in ("MAIL FROM:<a@sender.example>", "RCPT TO:<bob@example.com>", "DATA"):
            c.expect(command, 503)
        c.expect("HELO client.example", 250)
        c.expect("MAIL FROM:<a@sender.example>", 250)
        c.expect("MAIL FROM:<a@sender.example>", 503)
        c.expect("DATA", 554)
        c.expect("RCPT TO:<x@elsewhere.example>", 550)
        c.expect("DATA", 554)
        c.expect("RCPT TO:<bob@example.com>", 250)
        c.expect("EHLO client.example", 250)            # like RSET
        c.expect("RCPT TO:<bob@example.com>", 503)
        for helo in ("EHLO", "HELO", "EHLO " + "x" * 300):
            c.expect(helo, 501)


def test_null_sender(lab, recorder):
    recorder.empty()
    g = lab([recorder.port], policy="accept\n")
    with Client(g.port, source="127.0.0.25") as c:
        c.ehlo("good.example")                          # its SPF record allows 127.0.0.25
        one, two = c.envelope("", "bob@example.com", "carol@example.com")
        assert one.code == 250 and two.code == 452 and two.text.startswith("4.5.3")
        assert c.data_block(mail("MAILER-DAEMON@good.example", subject="bounce")).code == 250
    t = recorder.wait()
    assert t.mail.startswith(b"MAIL FROM:<>") and len(t.rcpts) == 1
    ar = next(line for line in t.added if line.startswith("Authentication-Results:"))
    assert "spf=pass" in ar and "smtp.helo=good.example" in ar and "smtp.mailfrom" not in ar


def test_smtputf8_needs_the_backend(lab):
    with Recorder(("SIZE 1000000",)) as r:
        g = lab([r.port], policy="accept\n")
        g.wait_line(UP)
        with Client(g.port) as c:
            assert not {"SMTPUTF8", "8BITMIME", "DSN"} & set(c.ehlo().keywords())
            assert c.expect("MAIL FROM:<a@sender.example> SMTPUTF8", 553).text.startswith("5.6.7")
            assert c.expect("MAIL FROM:<a@sender.example> RET=FULL", 555)
            c.expect("MAIL FROM:<a@sender.example>", 250)
            c.expect("RCPT TO:<bob@example.com> NOTIFY=NEVER", 555)
        g.wait_line("mail-refused.*553 5.6.7")


@pytest.mark.parametrize("eightbit", ["pass", "refuse"])
def test_eightbit_for_a_sevenbit_backend(lab, eightbit):
    message = mail(subject="8").replace(b"Subject: 8", b"Subject: \xd6\xd0\xce\xc4") + "\u00e4\u00f6\r\n".encode()
    with Recorder(("SIZE 1000000",)) as r:
        g = lab([r.port], policy="accept\n", conf=f'smtp {{ eightbit = "{eightbit}" }}')
        g.wait_line(UP)
        with Client(g.port) as c:
            reply = c.message("a@sender.example", "bob@example.com", message)
            if eightbit == "pass":
                assert reply.code == 250 and r.wait().original == message
                assert b"BODY" not in r.wait().mail
            else:
                assert reply.code == 554 and reply.text.startswith("5.6.3") and not r.taken
                c.expect("MAIL FROM:<a@sender.example> BODY=8BITMIME", 554)
            assert c.message("a@sender.example", "bob@example.com", mail()).code == 250
            c.expect("RSET", 250)


def test_gone_without_a_word(g):
    """Half a command, or none, and the end of the connection: the next client finds all well."""
    for raw in (b"", b"EHLO", b"EHLO client.example\r\nMAIL FROM:<a@sender.ex", b"EHLO x\r\nMAIL FROM:<a@sender.example>\r\nRCPT TO:<bob@example.com>\r\nDATA\r\nhalf"):
        with Client(g.port) as c:
            c.send(raw)
    g.verdict("none", "reason=client-gone")
    with Client(g.port) as c:
        assert c.message("a@sender.example", "bob@example.com", mail()).code == 250


def test_half_closed_clients_hear_their_replies(g):
    with Client(g.port) as c:
        c.send(b"EHLO client.example\r\nMAIL FROM:<a@sender.example>\r\nRCPT TO:<bob@example.com>\r\nDATA\r\n" + mail() + b".\r\nQUIT\r\n")
        c.sock.shutdown(socket.SHUT_WR)
        assert [c.reply().code for _ in range(6)] == [250, 250, 250, 354, 250, 221]
        with pytest.raises(Closed):
            c.reply()


def test_sessions_that_bring_no_mail_are_not_used_for_ever(lab, recorder):
    """RSET after RSET, or error after error, slows a session down at many servers: the gateway takes a new one."""
    recorder.empty()
    g = lab([recorder.port], policy="accept\n")
    for _ in range(60):
        with Client(g.port) as c:
            c.ehlo()
            c.envelope("a@sender.example", "bob@example.com")
            c.expect("RSET", 250)
    run = longest = 0
    for command in recorder.commands:
        run = run + 1 if command.startswith(b"RSET") else 0 if command.startswith(b"EHLO") else run
        longest = max(longest, run)
    assert 1 <= longest < 50
