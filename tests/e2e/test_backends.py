"""Several backends as one group: TLS to them, fail-over and health, sessions that are bounded and used again."""
import json
import os
import signal
import threading

from lab.backend import Held, hang_up
from lab.process import WAIT_S, free_port
from lab.smtp import Client, mail

UP = r"name=b{} .*state=up"
AWAY = r"name=b{} .*state=away"


def transaction(g, subject="hello", rcpt="bob@example.com", **kw):
    with Client(g.port, **kw) as c:
        return c.message("a@sender.example", rcpt, mail(subject=subject))


# TLS

def tls_gate(lab, server, mode, *, name="backend.example", ca=None):
    options = f'tls = {mode} tls_name = "{name}"' + (f' tls_ca = "{ca}"' if ca else "")
    return lab([server.port], backend_options=options)


def test_tls_off_and_opportunistic(lab, backend, certificates):
    server = backend(keywords=("STARTTLS", "8BITMIME"), tls=certificates.self_signed)
    for mode, tls in (("off", False), ("opportunistic", True)):
        g = tls_gate(lab, server, mode)
        assert transaction(g, mode).code == 250
        session = server.messages[-1].session
        assert session.tls == tls
        # what was said before the handshake is forgotten
        assert sum(c.startswith("EHLO") for c in session.commands) == 1 + tls


def test_tls_required_is_verified(lab, backend, certificates):
    for certificate, name, ca, works in (
            (certificates.signed, "backend.example", certificates.ca, True),
            (certificates.signed, "other.example", certificates.ca, False),
            (certificates.self_signed, "backend.example", certificates.ca, False),
            (certificates.signed, "backend.example", None, False)):
        server = backend(keywords=("STARTTLS",), tls=certificate)
        g = tls_gate(lab, server, "required", name=name, ca=ca)
        if not works:
            g.wait_line(AWAY.format(0) + r".*TLS handshake")
        answer = transaction(g)
        assert answer.code == (250 if works else 451)
        assert len(server.messages) == works
        for s in server.sessions:       # nothing that matters was said in the clear
            said = [c.split(" ")[0] for c in s.commands]
            assert s.tls or set(said) <= {"EHLO", "STARTTLS", "QUIT"}, said
        assert all(m.session.tls for m in server.messages)


def test_tls_required_and_not_offered(lab, backend):
    for script in ({}, {"STARTTLS": b"454 4.7.0 not now\r\n"}, {"STARTTLS": b"220 go\r\nEHLO in clear\r\n"}, {"STARTTLS": hang_up(b"220 go\r\n")}):
        server = backend(script, keywords=("STARTTLS",) if script else ())
        g = tls_gate(lab, server, "required")
        g.wait_line(AWAY.format(0))
        assert transaction(g).code == 451
        assert server.mail_sessions() == []


def test_opportunistic_falls_back(lab, backend):
    for reply in (b"454 4.7.0 not now\r\n", b"500 what?\r\n", b"220 go\r\nthis is no ServerHello\r\n", hang_up()):
        server = backend({"STARTTLS": reply}, keywords=("STARTTLS",))
        g = tls_gate(lab, server, "opportunistic")
        assert transaction(g).code == 250
        assert not server.messages[0].session.tls


def test_bytes_behind_the_220_are_an_injection(lab, backend):
    """They are no replies to anything: that session says nothing more, whether TLS is wanted or needed."""
    for reply in (b"220 go\r\n250 2.0.0 injected\r\n", b"220 go\r\n250-backend.example\r\n250 8BITMIME\r\n250 ok\r\n250 ok\r\n"):
        server = backend({"STARTTLS": reply}, keywords=("STARTTLS",))
        g = tls_gate(lab, server, "opportunistic")
        assert transaction(g).code == 250       # by another session
        for s in server.sessions:
            if "STARTTLS" in s.commands:
                assert s.commands[-1] == "STARTTLS"
        g = tls_gate(lab, server, "required")
        g.wait_line(AWAY.format(0))
        assert transaction(g).code == 451


# health

def test_fail_over_by_priority_and_back(lab, backend):
    one, two = backend(), backend()
    g = lab([one.port, two.port])
    g.wait_line(UP.format(0))
    g.wait_line(UP.format(1))
    assert transaction(g, "to one").code == 250
    assert (len(one.messages), len(two.messages)) == (1, 0)
    mark = g.mark()
    one.stop()
    assert transaction(g, "to two").code == 250
    g.wait_line(AWAY.format(0), mark)
    assert (len(one.messages), len(two.messages)) == (1, 1)
    one.listen()
    g.wait_line(UP.format(0) + ".*answers again", mark)
    assert transaction(g, "to one again").code == 250
    assert (len(one.messages), len(two.messages)) == (2, 1)
    # health is said once for each change
    assert g.process.output(mark).count("state=away") == 1


def test_lost_between_rcpt_and_data(lab, backend):
    """The recipients are asked of the other one again; the message is delivered once."""
    one, two = backend(), backend()
    g = lab([one.port, two.port])
    g.wait_line(UP.format(0))
    g.wait_line(UP.format(1))
    with Client(g.port) as c:
        c.ehlo()
        c.envelope("a@sender.example", "bob@example.com", "carol@example.com")
        one.stop()
        assert c.data_block(mail()).code == 250
    assert two.messages[0].to == ["bob@example.com", "carol@example.com"]
    assert one.messages == []


def found(g):
    """What the status says of the first backend: state, workers that found it so."""
    b = json.loads(g.command("status", "-c", str(g.conf_path)).stdout)["backends"][0]
    assert b["backend"] == "b0"
    return b["state"], b["up"], b["away"]


def workers(g):
    return {pid for name, pid in g.children().items() if name.startswith("gp-worker")}


def test_none_reachable_and_back(lab, backend):
    server = backend()
    g = lab([server.port])
    g.wait_line(UP.format(0))
    assert found(g) == ("up", 1, 0)
    mark = g.mark()
    server.stop()
    with Client(g.port) as c:
        words = set(c.ehlo().keywords())
        assert {"8BITMIME", "SMTPUTF8", "DSN"} <= words         # as it was when last seen
        reply = c.envelope("a@sender.example", "bob@example.com")[0]
        assert reply.code == 451 and reply.text.startswith("4.4.1")
        assert found(g) == ("away", 0, 1)
        # a worker on its way out has no word in that any more, though it goes on looking
        mark, (old,) = g.mark(), workers(g)
        g.process.send(signal.SIGHUP)
        g.wait_line(AWAY.format(0), mark)
        g.wait_notify("READY=1")
        assert found(g) == ("away", 0, 1)
        (new,) = workers(g) - {old}
        server.script["CONNECT"] = b"421 4.3.2 not yet\r\n"
        os.kill(new, signal.SIGSTOP)
        count = len(server.sessions)
        server.listen()
        server.wait(lambda: len(server.sessions) > count and not server.now_open, "the old one")
        server.stop()
        os.kill(new, signal.SIGCONT)
        assert found(g) == ("away", 0, 1)
        mark = g.mark()
        server.script.clear()
        server.listen()
        g.wait_line(UP.format(0), mark)
        assert found(g) == ("up", 1, 0)
    assert transaction(g).code == 250


def test_equal_priorities_take_turns(lab, backend):
    one, two = backend(), backend()
    g = lab([one.port], conf=f'backend twin {{ address = "127.0.0.1:{two.port}" priority = 10 reuse = no }}', backend_options="reuse = no")
    g.wait_line(UP.format(0))
    g.wait_line("name=twin .*state=up")
    for _ in range(6):
        assert transaction(g).code == 250
    assert len(one.messages) + len(two.messages) == 6 and len(one.messages) in (2, 3, 4)


def test_by_name(lab, backend):
    server = backend()
    g = lab([f"backend.lan.example:{server.port}"], dns_conf="""local_zone = { "lan.example. static" }
        local_data = { "backend.lan.example. A 127.0.0.1" }""")
    assert transaction(g).code == 250
    g = lab([f"missing.lan.example:{server.port}"], dns_conf='local_zone = { "lan.example. static" }')
    g.wait_line(AWAY.format(0) + r".*no address")
    assert transaction(g).code == 451


def test_not_to_ourselves(lab):
    port = free_port()
    g = lab([f"127.0.0.1:{port}"], conf=f'listener two {{ address = "127.0.0.1:{port}" }}')
    g.wait_line(r"ourselves")
    assert transaction(g).code == 451


# sessions

def test_sessions_are_used_again(lab, backend):
    server = backend(users=["bob@example.com"])
    g = lab([server.port])
    for i in range(5):
        assert transaction(g, f"message {i}").code == 250
    assert transaction(g, "nobody", rcpt="nobody@example.com").code == 550
    # besides the probe's: one, and perhaps that of the question whether a random address is taken
    assert len(server.sessions) <= 3
    assert "RSET" in server.messages[-1].session.commands


def test_reuse_has_its_bounds(lab, backend):
    server = backend()
    g = lab([server.port], backend_options='reuse_messages = 2')
    for i in range(4):
        assert transaction(g, f"message {i}").code == 250
    assert len({m.session.number for m in server.messages}) >= 2
    server = backend(keywords=("LIMITS MAILMAX=1",))
    g = lab([server.port])
    for i in range(3):
        assert transaction(g, f"message {i}").code == 250
    assert len({m.session.number for m in server.messages}) == 3


def test_max_sessions_and_the_bounded_wait(lab, backend):
    """Exchange allows 20 of one source and says 421 to the next: it never sees one too many, and who waits gets his turn."""
    server = backend(limit=2)
    g = lab([server.port], backend_options='max_sessions = 2 max_sessions_wait = "60s"')
    g.wait_line(UP.format(0))
    answers = []
    threads = [threading.Thread(target=lambda i=i: answers.append(transaction(g, f"message {i}"))) for i in range(12)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert [a.code for a in answers] == [250] * 12, answers
    assert len(server.messages) == 12 and "state=away" not in g.process.output()


def test_max_sessions_wait_ends(lab, backend):
    held = Held()
    server = backend()
    g = lab([server.port], backend_options='max_sessions = 1 max_sessions_wait = "100ms"')
    g.wait_line(UP.format(0))
    server.wait(lambda: server.now_open == 0)
    server.script["."] = held
    first = []
    thread = threading.Thread(target=lambda: first.append(transaction(g, "first")))
    thread.start()
    assert held.reached.wait(WAIT_S)
    answer = transaction(g, "second")
    assert answer.code == 451 and "busy" in answer.text
    held.go.set()
    thread.join()
    assert first[0].code == 250


def test_421_beyond_what_it_allows(lab, backend):
    """Without max_sessions the backend says 421: 451 to that client, and it recovers."""
    server = backend()
    g = lab([server.port], backend_options="reuse = no")
    assert transaction(g).code == 250
    server.wait(lambda: server.now_open == 0 and any("MAIL FROM:<>" in s.commands for s in server.sessions))    # that, and the random address
    server.limit = 1
    server.script["."] = held = Held()          # a client who takes his time gives his session to others
    mark = g.mark()
    with Client(g.port) as c:
        c.ehlo()
        assert c.envelope("a@sender.example", "bob@example.com")[0].code == 250
        c.expect("DATA", 354)
        c.send(mail(subject="the first") + b".\r\n")
        assert held.reached.wait(WAIT_S)
        assert transaction(g, "one too many").code == 451
        g.wait_line(AWAY.format(0) + ".*421", mark)
        held.go.set()
        assert c.reply().code == 250
        server.script.clear()
    g.wait_line(UP.format(0), mark)
    server.wait(lambda: server.now_open == 0)
    assert transaction(g, "again").code == 250


# what is offered

def test_keywords_are_an_allow_list(lab, backend):
    server = backend(keywords=("SIZE 1000000", "8BITMIME", "XEXCH50", "X-EXPS GSSAPI NTLM LOGIN", "X-EXPS=LOGIN", "XANONYMOUSTLS", "XSHADOW", "X-LINK2STATE",
                               "AUTH LOGIN NTLM", "BINARYMIME", "ETRN", "XCLIENT NAME ADDR", "DSN", "TURN", "XRDST"))
    g = lab([server.port])
    g.wait_line(UP.format(0))
    with Client(g.port, source="127.0.0.9") as c:       # not the server's own address: that may ETRN
        words = c.ehlo().keywords()
        assert set(words) == {"PIPELINING", "SIZE", "8BITMIME", "DSN", "STARTTLS", "ENHANCEDSTATUSCODES", "CHUNKING", "PRDR", "LIMITS"}
        assert words["SIZE"] == str(1000000 - 4096)         # less what we add
        assert c.cmd("MAIL FROM:<a@sender.example> SIZE=995905").code == 552


def test_dsn_is_passed_on(lab, backend):
    server = backend()
    g = lab([server.port])
    g.wait_line(UP.format(0))
    with Client(g.port) as c:
        c.ehlo()
        c.expect("MAIL FROM:<a@sender.example> BODY=8BITMIME RET=HDRS ENVID=abc+2Bd", 250)
        c.expect("RCPT TO:<bob@example.com> NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;bob@example.com", 250)
        c.expect("RCPT TO:<carol@example.com> NOTIFY=NEVER", 250)
        assert c.data_block(mail()).code == 250
    m = server.messages[0]
    assert {"BODY=8BITMIME", "RET=HDRS", "ENVID=abc+2Bd"} <= set(m.mail.split(" "))
    assert set(m.rcpts[0].split(" ")) >= {"NOTIFY=SUCCESS,FAILURE", "ORCPT=rfc822;bob@example.com"}
    assert "NOTIFY=NEVER" in m.rcpts[1].split(" ")


def test_the_meeting_is_remembered_while_one_is_away(lab, backend):
    one, two = backend(), backend(keywords=("SIZE 2000000", "8BITMIME"))
    g = lab([one.port, two.port])
    g.wait_line(UP.format(0))
    g.wait_line(UP.format(1))
    two.stop()
    with Client(g.port) as c:
        words = c.ehlo().keywords()
        assert "8BITMIME" in words and not {"SMTPUTF8", "DSN"} & set(words) and words["SIZE"] == str(2000000 - 4096)


def test_what_no_backend_has_told_yet_is_offered(lab, backend):
    """A sender whose message needs SMTPUTF8 gives it up where that is not offered: while nobody knows, 451 at RCPT keeps it."""
    held = Held()
    server = backend({"EHLO": held})
    g = lab([server.port])
    assert held.reached.wait(WAIT_S)
    with Client(g.port) as c:
        c.send(b"EHLO client.example\r\n")      # waits for the first word of the backend
        server.script.clear()
        held.go.set()
        words = set(c.reply().keywords())
        assert {"8BITMIME", "SMTPUTF8", "DSN"} <= words, (g.process.output(), [s.commands for s in server.sessions])
    g = lab([free_port()])
    g.wait_line(AWAY.format(0))
    with Client(g.port) as c:
        assert {"8BITMIME", "SMTPUTF8", "DSN"} <= set(c.ehlo().keywords())
        c.expect("MAIL FROM:<\u00e4@sender.example> SMTPUTF8 RET=HDRS", 250)
        assert c.cmd("RCPT TO:<bob@example.com>").code == 451


def test_the_largest_message_that_is_offered_is_taken(lab, backend):
    server = backend({".": lambda s, _: None if len(server.messages[-1].data) <= 100000 else b"552 5.3.4 too large\r\n"}, keywords=("SIZE 100000",))
    g = lab([server.port])
    g.wait_line(UP.format(0))
    with Client(g.port) as c:
        size = int(c.ehlo().keywords()["SIZE"])
        head = mail(body="")
        text = head + (b"x" * 98 + b"\r\n") * ((size - len(head)) // 100)
        text += b"y" * (size - len(text) - 2) + b"\r\n"
        assert len(text) == size
        c.expect(f"MAIL FROM:<a@sender.example> SIZE={size}", 250)
        c.expect("RCPT TO:<bob@example.com>", 250)
        assert c.data_block(text).code == 250
        c.expect(f"MAIL FROM:<a@sender.example> SIZE={size + 1}", 552)


def test_larger_than_the_backend_takes_is_refused_for_good(lab, backend):
    """Whoever did not declare the size hears 552 at the end, not a 451 that brings it back for days."""
    server = backend(keywords=("SIZE 20000", "8BITMIME"))
    g = lab([server.port])
    with Client(g.port) as c:
        large = c.message("a@sender.example", "bob@example.com", mail(body="x" * 70 + "\r\n" + "y" * 30000 + "\r\n"))
        assert large.code == 552 and large.text.startswith("5.3.4"), large
        c.expect("RSET", 250)
        assert c.message("a@sender.example", "bob@example.com", mail(subject="small")).code == 250
    assert len(server.messages) == 1
