"""POP3 with scan = yes: messages are judged on their way to the client, and a notice of the same length takes the place of those that are kept back."""
import email
import email.policy
import os
import poplib
import re
import shutil
import signal
import subprocess
import threading
import time

import pytest
from lab.gateway import parse_logfmt
from lab.mailserver import PASSWORD
from lab.pop3_server import Pop3Server, unstuffed
from lab.process import WAIT_S
from lab.wire import Pop3

POLICY = """
quarantine exe: if direction = retrieval and attachment.extension in (exe)
accept
"""
CLEAN = (b"From: a@x.example\r\nTo: b@example.com\r\nSubject: hello\r\nMessage-ID: <clean@x.example>\r\n\r\n"
         b".one\r\n..two\r\n\r\nthree\rx\r\n.\rfour\r\n...\r\n")


def mail(name="invoice.exe", size=3000, subject="invoice"):
    """A message with an attachment."""
    body = b"\r\n".join(b"TVqQAAMAAAAEAAAA//8AALgAAAAAAAAAQAAAAAAAAAAAAAAA" for _ in range(size // 50))
    return (b"Return-Path: <m@evil.example>\r\nFrom: m@evil.example\r\nTo: b@example.com\r\nSubject: %b\r\nMessage-ID: <%b@evil.example>\r\n"
            b"MIME-Version: 1.0\r\nContent-Type: multipart/mixed;\r\n\tboundary=\"bb\"\r\n\r\n--bb\r\nContent-Type: text/plain\r\n\r\nsee the invoice\r\n"
            b"--bb\r\nContent-Type: application/octet-stream; name=\"%b\"\r\nContent-Transfer-Encoding: base64\r\n\r\n"
            % (subject.encode(), subject.encode(), name.encode()) + body + b"\r\n--bb--\r\n")


@pytest.fixture
def gate(access_gate, mailserver):
    """A gateway before Dovecot; .server is it, .user has these messages."""
    def make(*messages, policy=POLICY, options="scan = yes", **kw):
        g = access_gate(mailserver.ports, options, "tls = off", kinds=("pop3", "pop3s"), policy=policy, **kw)
        g.server = mailserver
        g.user = mailserver.add()
        for m in messages:
            mailserver.deliver(g.user, m)
        return g
    return make


@pytest.fixture
def scripted(access_gate):
    made = []

    def make(*messages, script=None, policy=POLICY, conf="", options="scan = yes", **kw):
        server = Pop3Server(script, messages=messages, **kw)
        made.append(server)
        g = access_gate({"pop3": server.port}, options, "tls = off", kinds=("pop3",), policy=policy, conf=conf)
        g.server, g.user = server, "anna"
        return g
    yield make
    for s in made:
        s.stop()


def login(g, kind="pop3", user=None):
    c = Pop3(g.ports[kind], tls=kind.endswith("s"))
    c.ok(b"USER " + (user or g.user).encode())
    c.ok(b"PASS " + PASSWORD.encode())
    return c


def retr(c, number=1):
    return unstuffed(c.ok(b"RETR %d" % number, lines=True))


def octets(c, number):
    """The same, of a message with line ends of all kinds."""
    c.send(b"RETR %d\r\n" % number)
    while not bytes(c.heard[c.at:]).endswith(b"\r\n.\r\n"):
        assert c.more()
    out = bytes(c.heard[c.at:])
    c.at = len(c.heard)
    return re.sub(rb"(?<=\r\n)\.(?=.)", b"", out.partition(b"\r\n")[2][:-3], flags=re.S)


def verdicts(g, count):
    """What its log says of those, in order, and that there are no more yet."""
    out, mark = [], 0
    for _ in range(count):
        line = g.wait_line("event=retrieval ", mark)
        mark = g.process.lines.index(line, mark) + 1
        out.append(parse_logfmt(line)["verdict"])
    assert "event=retrieval " not in g.process.output(mark)
    return out


def is_notice(got, original):
    """The same length, the header but for what describes the body, and nothing of the body."""
    header, _, body = got.partition(b"\r\n\r\n")
    was_header, _, was_body = original.partition(b"\r\n\r\n")
    assert len(got) == len(original) and len(header) == len(was_header)
    assert re.sub(rb"(?im)^X-(?=ntent|ME-V)", b"??", header) == re.sub(rb"(?im)^(Co(?=ntent)|MI(?=ME-V))", b"??", was_header)
    assert b"keeps this message from being shown" in body and b"TVqQ" not in body and got.endswith(b"\r\n")
    message = email.message_from_bytes(got, policy=email.policy.default)
    assert message.get_content_type() == "text/plain" and not message.is_multipart()
    return True


# shown, or not

def test_a_notice_of_the_same_length(gate):
    bad = mail()
    g = gate(CLEAN, bad, CLEAN)
    with login(g) as c:
        sizes = [int(line.split()[1]) for line in c.ok(b"LIST", lines=True).splitlines()[1:-1]]
        assert sizes == [len(CLEAN), len(bad), len(CLEAN)]
        assert c.ok(b"STAT") == b"+OK 3 %d\r\n" % sum(sizes)
        assert retr(c, 1) == CLEAN and retr(c, 3) == CLEAN
        shown = retr(c, 2)
        assert is_notice(shown, bad)
        line = parse_logfmt(g.wait_line("event=retrieval .*verdict=notice"))
        assert (line["protocol"], line["account"], line["backend"], line["rule"]) == ("pop3", g.user, "to_pop3", "exe")
        assert line["quarantine"].encode() in shown
        assert len(g.quarantined()) == 1 and bad in g.quarantined()[0].read_bytes()
        # TOP is no way around
        header = shown[:shown.index(b"\r\n\r\n") + 4]
        assert unstuffed(c.ok(b"TOP 2 0", lines=True)) == header
        assert unstuffed(c.ok(b"TOP 2 2", lines=True)) == header + b"".join(shown[len(header):].splitlines(keepends=True)[:2])
        assert unstuffed(c.ok(b"TOP 2 999999", lines=True)) == shown
        assert unstuffed(c.ok(b"TOP 1 1", lines=True)) == CLEAN[:CLEAN.index(b"\r\n\r\n") + 4] + b".one\r\n"
        c.ok(b"QUIT")
    assert g.server.messages(g.user)[1] == bad          # what lies on the server is as it was


def test_the_answer_octet_for_octet(gate):
    g = gate(CLEAN)
    for command in (b"RETR 1", b"TOP 1 2", b"TOP 1 0", b"LIST", b"LIST 1", b"UIDL", b"UIDL 1", b"STAT", b"NOOP", b"RSET", b"RETR 9", b"TOP 9 1", b"LIST 9"):
        with Pop3(g.server.ports["pop3"]) as direct, login(g) as through:
            direct.ok(b"USER " + g.user.encode())
            direct.ok(b"PASS " + PASSWORD.encode())
            many = command.split()[0] in (b"RETR", b"TOP") or command in (b"LIST", b"UIDL")
            assert through.cmd(command, many) == direct.cmd(command, many), command
            assert through.cmd(b"QUIT") == direct.cmd(b"QUIT")


def test_looked_at_once(gate):
    bad = mail()
    g = gate(CLEAN, bad)
    for _ in range(2):
        with login(g) as c:
            for _ in range(2):
                assert retr(c, 1) == CLEAN and is_notice(retr(c, 2), bad)
                c.ok(b"TOP 1 1", lines=True)
            c.ok(b"QUIT")
    assert verdicts(g, 2) == ["pass", "notice"]


def test_convicted_after_delivery(gate):
    """What was shown yesterday is stopped when the policy has learnt of it."""
    bad = mail()
    g = gate(bad, policy="accept\n")
    with login(g) as c:
        assert retr(c) == bad
    g.policy_path.write_text(POLICY)
    g.reload()
    with login(g) as c:
        assert is_notice(retr(c), bad)


def test_an_old_session(gate):
    """One that is kept open shows nothing by the policy of its beginning; who deletes what he fetches is let finish."""
    bad = mail()
    g = gate(CLEAN, bad, policy="accept\n")
    with login(g) as c, login(g) as reads:
        assert retr(c, 2) == bad and retr(reads) == CLEAN
        reads.ok(b"DELE 1")
        mark = g.mark()
        g.policy_path.write_text(POLICY)
        g.process.send(signal.SIGHUP)
        g.wait_line("event=reload what=done", mark)
        c.ok(b"NOOP")
        assert c.cmd(b"RETR 2").startswith(b"-ERR [SYS/TEMP] the gateway has been reloaded") and c.rest() == b""
        assert retr(reads, 2) == bad
        reads.ok(b"RSET")
        assert reads.cmd(b"TOP 2 1").startswith(b"-ERR [SYS/TEMP] the gateway has been reloaded") and reads.rest() == b""
    with login(g) as c:
        assert is_notice(retr(c, 2), bad)


def test_top_does_not_count_as_read(gate):
    """The gateway's own look at a message leaves no trace on the server."""
    g = gate(mail(), CLEAN)
    with login(g) as c:
        c.ok(b"TOP 1 0", lines=True)
        c.ok(b"TOP 2 0", lines=True)
        c.ok(b"QUIT")
    with g.server.imap(g.user) as imap:
        imap.select("INBOX", readonly=True)
        assert imap.search(None, "SEEN")[1] == [b""]
    with login(g) as c:
        retr(c, 2)
        c.ok(b"QUIT")
    with g.server.imap(g.user) as imap:
        imap.select("INBOX", readonly=True)
        assert imap.search(None, "SEEN")[1] == [b"2"]


def test_deleted(gate):
    bad = mail()
    g = gate(CLEAN, bad)
    with login(g, "pop3s") as c:
        assert is_notice(retr(c, 2), bad)
        c.ok(b"DELE 2")
        assert c.cmd(b"RETR 2").startswith(b"-ERR")
        c.ok(b"RSET")
        assert is_notice(retr(c, 2), bad)
        c.ok(b"DELE 2")
        c.ok(b"QUIT")
    assert len(g.server.messages(g.user)) == 1


# clients

def test_poplib(gate):
    bad = mail()
    g = gate(CLEAN, bad)
    c = poplib.POP3("127.0.0.1", g.ports["pop3"], timeout=30)
    c.user(g.user)
    c.pass_(PASSWORD)
    assert [len(b"\r\n".join(c.retr(n)[1]) + b"\r\n") for n in (1, 2)] == [len(CLEAN), len(bad)]
    assert email.message_from_bytes(b"\r\n".join(c.retr(2)[1])).get_content_type() == "text/plain"
    c.quit()


@pytest.mark.skipif(not shutil.which("fetchmail"), reason="no fetchmail")
def test_fetchmail(gate, tmp_path):
    plain_mail = CLEAN.replace(b"\rx", b"x").replace(b".\rfour", b".four")
    bad = mail()
    g = gate(plain_mail, bad, plain_mail)
    out = tmp_path / "out"
    rc = tmp_path / "rc"
    quoted = '"' + PASSWORD.replace("\\", "\\\\").replace('"', "\\042") + '"'
    rc.write_text(f"""poll 127.0.0.1 service {g.ports["pop3"]} protocol pop3 user "{g.user}" password {quoted} sslproto '' keep fetchall
 no rewrite mda "cat >>{out}; echo ==== >>{out}"\n""")
    rc.chmod(0o600)
    done = subprocess.run(["fetchmail", "-f", rc, "--nosyslog", "-i", tmp_path / "ids"], capture_output=True, timeout=60,
                          env=dict(os.environ, FETCHMAILHOME=str(tmp_path), HOME=str(tmp_path)))
    assert done.returncode == 0, done.stdout + done.stderr
    got = out.read_text().split("====\n")
    assert "...\n" in got[0] and "TVqQ" not in got[1] and "keeps this message" in got[1] and "Subject: hello" in got[2]


def test_pipelined(gate):
    bad = mail()
    g = gate(CLEAN, bad, CLEAN)
    with Pop3(g.ports["pop3"]) as c:
        c.send(b"USER " + g.user.encode() + b"\r\nPASS " + PASSWORD.encode() + b"\r\nSTAT\r\nRETR 1\r\nRETR 2\r\nTOP 3 0\r\nRETR 3\r\nNOOP\r\nQUIT\r\n")
        for _ in range(3):
            assert c.answer().startswith(b"+OK")
        assert unstuffed(c.answer(lines=True)) == CLEAN
        assert is_notice(unstuffed(c.answer(lines=True)), bad)
        c.answer(lines=True)
        assert unstuffed(c.answer(lines=True)) == CLEAN
        assert c.answer() == b"+OK\r\n" and c.answer().startswith(b"+OK") and c.rest() == b""
    end = parse_logfmt(g.wait_line("event=pop3 "))
    assert end["end"] == "closed" and int(end["out"]) > 2 * len(CLEAN) + len(bad)


def test_commands(scripted):
    capa = (b"TOP", b"UIDL", b"XTND", b"STLS", b"X-ZIP", b"UTF8", b"LANG", b"PIPELINING")
    g = scripted(CLEAN, capa=capa, script={"LAST": b"+OK 0\r\n", "LANG": b"+OK\r\nen\r\n.\r\n"})
    with login(g) as c:
        assert c.ok(b"CAPA", lines=True) == b"+OK list\r\nTOP\r\nUIDL\r\nUTF8\r\nLANG\r\nPIPELINING\r\n.\r\n"
        for command in (b"XTND XMIT", b"X-ZIP", b"COMPRESS", b"RETR", b"RETR 0", b"TOP 1", b"UTF8", b"USER a", b"AUTH PLAIN"):
            assert c.cmd(command).startswith(b"-ERR"), command
        assert c.ok(b"LAST") == b"+OK 0\r\n" and c.ok(b"LANG", lines=True) == b"+OK\r\nen\r\n.\r\n"
        c.ok(b"QUIT")
    heard = g.server.commands()
    assert heard == [b"USER anna", b"PASS " + PASSWORD.encode(), b"CAPA", b"LAST", b"LANG", b"QUIT"]


# servers

def test_a_server_without_uidl(scripted):
    bad = mail()
    g = scripted(CLEAN, bad, uidl=False)
    for _ in range(2):
        with login(g) as c:
            assert retr(c, 1) == CLEAN and is_notice(retr(c, 2), bad)
            assert is_notice(unstuffed(c.ok(b"TOP 2 99999", lines=True)), bad)
    assert verdicts(g, 6) == ["pass", "notice", "notice"] * 2
    assert g.server.commands().count(b"UIDL 1") == 1 and b"UIDL 2" not in g.server.commands()


def test_a_top_that_does_not_bring_all(scripted):
    """A server whose TOP ends early: the message is fetched whole."""
    bad = mail()
    g = scripted(bad, script={"TOP": lambda s, line: b"+OK\r\n" + bad[:300].rpartition(b"\r\n")[0] + b"\r\n.\r\n"})
    with login(g) as c:
        assert b"keeps this message" in c.ok(b"TOP 1 5", lines=True)
    assert g.server.commands()[-4:] == [b"UIDL 1", b"LIST 1", b"TOP 1 2147483647", b"RETR 1"]


HEADERS = (
    (b"Subject: x\n\nContent-Type: text/html\r\n\r\n", "an empty line of LFs"),
    (b"Subject: x\r\rContent-Type: text/html\r\n\r\n", "an empty line of CRs"),
    (b"this is no field\r\nContent-Type: text/html\r\n\r\n", "no field at all"),
    (b"\r\n", "no header"),
    (b"", "nothing before it"),
    (b"Subject: x\r\ncontent-TYPE : text/html\r\n\r\n", "a blank before the colon"),
    (b"X-Long: " + b"x" * 300000 + b"\r\n\r\n", "a header without end"),
)


def test_odd_headers(scripted):
    bodies = [h + b"<b>evil</b> TVqQ\r\n.\r\n" + b"evil\r\n" * 100 + b".last" for h, _ in HEADERS]
    g = scripted(*bodies, policy="quarantine all: if direction = retrieval\naccept\n")
    with login(g) as c:
        for n, (body, (_, what)) in enumerate(zip(bodies, HEADERS), 1):
            for _ in range(2):
                got = octets(c, n)
                assert len(got) == len(body) + 2, what         # the server ends its last line
                assert b"evil" not in got and b"<b>" not in got and not re.search(rb"(?im)^content-type", got), what
                assert got.endswith(b"\r\n"), what


def test_sizes(scripted):
    """Of all lengths of a body there are: the same octets out."""
    bodies = [b"Subject: x\r\n\r\n" + b"y" * n + b"\r\n" for n in (*range(0, 12), 70, 75, 76, 77, 78, 79, 500, 2000, 2001, 2002, 70000)]
    g = scripted(*bodies, policy="quarantine all: if direction = retrieval\naccept\n")
    with login(g) as c:
        for n, body in enumerate(bodies, 1):
            first = retr(c, n)
            assert len(first) == len(body) and first.endswith(b"\r\n") and b"y" not in first[14:][:1] + first[-3:]
            assert retr(c, n) == first and unstuffed(c.ok(b"TOP %d 9999" % n, lines=True)) == first


def test_large(gate):
    """Beyond limits.message_bytes: the gateway's copy is not all of it."""
    big = mail("notes.txt", 3 << 20)
    bad = mail("x.exe", 3 << 20, "bad")
    g = gate(big, bad, conf="limits { message_size = 1M }")
    with login(g) as c:
        for _ in range(2):
            assert retr(c, 1) == big
            assert is_notice(retr(c, 2), bad)
            assert is_notice(unstuffed(c.ok(b"TOP 2 2147483647", lines=True)), bad)
            assert unstuffed(c.ok(b"TOP 1 2147483647", lines=True)) == big
    assert verdicts(g, 2) == ["pass", "notice"]


def test_the_server_goes_in_the_middle(scripted):
    bad = mail(size=200000)
    cut = {"RETR": lambda s, line: s.send(b"+OK\r\n" + bad[:100000])}
    g = scripted(bad, script=cut)
    with login(g) as c:
        assert c.cmd(b"RETR 1").startswith(b"-ERR [SYS/TEMP]") and c.rest() == b""
    g.server.script = {"RETR": b"hello\r\n"}
    with login(g) as c:
        assert c.cmd(b"RETR 1").startswith(b"-ERR [SYS/TEMP]") and c.rest() == b""
    g.server.script = {}
    with login(g) as c:
        assert is_notice(retr(c), bad)
    with login(g) as c:
        assert is_notice(retr(c), bad)
    g.server.script = {"TOP": cut["RETR"]}      # the verdict is known: a part of the answer has gone out
    with login(g) as c:
        out = c.cmd(b"TOP 1 0") + c.rest()
        assert out.startswith(b"+OK") and not out.endswith(b"\r\n.\r\n") and b"TVqQ" not in out
    assert verdicts(g, 1) == ["notice"]


def test_said_unasked(scripted):
    g = scripted(CLEAN, script={"NOOP": b"+OK\r\n+OK 7 octets\r\nevil\r\n.\r\n"})
    with login(g) as c:
        c.ok(b"NOOP")
        assert c.cmd(b"RETR 1").startswith(b"-ERR [SYS/TEMP]") and c.rest() == b""
    assert "unasked" in parse_logfmt(g.wait_line("event=pop3 "))["why"]


def test_uidl_of_another(scripted):
    """A server that answers about another message: that verdict is not taken for this one's."""
    bad = mail()
    g = scripted(CLEAN, bad, script={"UIDL": b"+OK 1 same\r\n"})
    with login(g) as c:
        assert retr(c, 1) == CLEAN and is_notice(retr(c, 2), bad)


def test_two_of_one_uidl(scripted):
    """A UIDL may be a place in the mailbox, or something that the sender has written: what one message was found to be is not said of another."""
    bad = mail()
    g = scripted(CLEAN, bad, script={"UIDL": lambda s, line: b"+OK " + line.split()[1] + b" same\r\n"})
    for _ in range(2):
        with login(g) as c:
            assert retr(c, 1) == CLEAN and is_notice(retr(c, 2), bad)
        with login(g) as c:
            assert is_notice(retr(c, 2), bad) and retr(c, 1) == CLEAN
        with login(g) as c:
            assert unstuffed(c.ok(b"TOP 1 99", lines=True)) == CLEAN and is_notice(unstuffed(c.ok(b"TOP 2 999999", lines=True)), bad)
    g.server.messages = [bad, CLEAN]        # another day
    with login(g) as c:
        assert is_notice(retr(c, 1), bad) and retr(c, 2) == CLEAN


def test_accounts_are_kept_apart(scripted):
    """The same UIDL in two mailboxes, and a master who logs in to both."""
    bad = mail()
    g = scripted(CLEAN, script={"UIDL": b"+OK 1 same\r\n", "AUTH": b"+OK\r\n"})
    with login(g) as c:
        assert retr(c) == CLEAN
    g.server.messages = [bad]
    with login(g, user="bert") as c:
        assert is_notice(retr(c), bad)
    for g.server.messages, user in (([CLEAN], b"YWJjAG1hc3RlcgB4"), ([bad], b"ZGVmAG1hc3RlcgB4")):     # abc, def \0 master \0 x
        with Pop3(g.ports["pop3"]) as c:
            c.ok(b"AUTH PLAIN " + user)
            assert b"keeps this message" in retr(c) if g.server.messages == [bad] else retr(c) == CLEAN


def test_a_stop_in_the_middle(scripted):
    """What is on its way is let finish; then the session ends."""
    go, bad = threading.Event(), mail(size=200000)

    def slow(session, line):
        session.send(b"+OK\r\n" + bad[:1000])
        go.wait(WAIT_S)
        return bad[1000:] + b".\r\n"
    g = scripted(bad, script={"RETR": slow})
    with login(g) as c, login(g) as idle:
        c.send(b"RETR 1\r\n")
        end = time.monotonic() + WAIT_S
        while not any(b"RETR 1" in s.commands for s in g.server.sessions):
            assert time.monotonic() < end
            time.sleep(0.01)
        g.process.send(signal.SIGTERM)
        assert idle.rest() == b""
        go.set()
        assert is_notice(unstuffed(c.answer(lines=True)), bad)
        assert c.rest() == b""


@pytest.mark.parametrize("first", [b"", b"+OK\r\nSubject: x\r\n"], ids=["answer", "message"])
def test_a_server_that_does_not_go_on(scripted, first):
    """It is waited for as long as idle_timeout says; not for a client that has left, and not when the gateway stops."""
    never, asked = threading.Event(), threading.Semaphore(0)

    def stuck(session, line):
        session.send(first)
        asked.release()
        never.wait(2 * WAIT_S)
        return b""

    g = scripted(CLEAN, script={"RETR": stuck}, options="scan = yes idle_timeout = 3s")
    with login(g) as c:
        assert c.cmd(b"RETR 1").startswith(b"-ERR [SYS/TEMP]") and c.rest() == b""
    assert asked.acquire(timeout=WAIT_S)
    g = scripted(CLEAN, script={"RETR": stuck})
    with login(g) as c:
        c.send(b"RETR 1\r\n")
        assert asked.acquire(timeout=WAIT_S)
    g.wait_line("event=pop3 .*end=")
    with login(g) as c:
        c.send(b"RETR 1\r\n")
        assert asked.acquire(timeout=WAIT_S)
        g.process.send(signal.SIGTERM)
        assert b".\r\n" not in c.rest()
    assert g.stop() == 0
    never.set()


def test_half_closed(scripted):
    """A client that says all it has to say, and then ends."""
    bad = mail()
    g = scripted(CLEAN, bad)
    with Pop3(g.ports["pop3"]) as c:
        c.send(b"USER a\r\nPASS b\r\nRETR 1\r\nRETR 2\r\nQUIT\r\n")
        c.half_close()
        assert c.answer() and c.answer()
        assert unstuffed(c.answer(lines=True)) == CLEAN and is_notice(unstuffed(c.answer(lines=True)), bad)
        assert c.rest() == b"+OK bye\r\n"


def test_lines_without_end(scripted):
    g = scripted(CLEAN)
    with login(g) as c:
        assert c.cmd(b"RETR " + b"1" * 100000) == b"-ERR line too long\r\n"
        assert c.cmd(b"NOOP " + b" " * 300) == b"-ERR line too long\r\n"
        c.send(b"NOOP\n")
        assert c.answer() == b"-ERR lines end with CR LF\r\n"
        c.ok(b"NOOP")
        assert retr(c) == CLEAN
        c.send(b"HUH\r\n" * 30)
        assert c.rest().endswith(b"-ERR too many errors\r\n")
