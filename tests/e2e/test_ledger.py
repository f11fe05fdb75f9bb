"""Never twice: a client that did not get the answer sends again, and the ledger knows. Never less than once: whoever perhaps has it not gets it."""
import os
import signal
import socket
import struct
import time

import pytest

from lab.backend import Held, hang_up
from lab.smtp import Client, mail

POLICY = """
tag "[A] " if rcpt = "a@example.com"
quarantine if rcpt = "held@example.com"
accept
"""
NOTED = "event=ledger .*what=\"the client did not hear"


class Vanishing(Client):
    """A client that has sent its message, up to the dot, to a server behind that has not answered yet."""

    def __init__(self, g, server, rcpts=("bob@example.com",), message=None, after=b"", source="127.0.0.1", prdr="", tls=False,
                 sender="alice@sender.example"):
        super().__init__(g.port, source=source)
        self.held = Held()
        server.script["."] = self.held
        self.server = server
        self.ehlo("mail.good.example")
        if tls:
            self.starttls()
            self.ehlo("mail.good.example")
        self.expect(f"MAIL FROM:<{sender}>{prdr}", 250)
        for r in rcpts:
            self.expect(f"RCPT TO:<{r}>", 250)
        self.expect("DATA", 354)
        self.send((message or mail()) + b".\r\n" + after)
        assert self.held.reached.wait(30)

    def release(self):
        """The server answers 250, the next ones at once."""
        del self.server.script["."]
        self.held.go.set()

    def wait_answer(self):
        """It lies here, unread."""
        assert self.sock.recv(1, socket.MSG_PEEK)

    def reset(self):
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()


def send(g, rcpts=("bob@example.com",), message=None, source="127.0.0.1", sender="alice@sender.example"):
    with Client(g.port, source=source) as c:
        reply = c.message(sender, rcpts, message or mail(), helo="mail.good.example")
        c.expect("QUIT", 221)
        return reply


def known_once(g, server, delivered=1, **kw):
    """The retry is answered and not delivered; the same once more is."""
    mark = g.mark()
    assert send(g, **kw).code == 250
    assert len(server.messages) == delivered
    line = g.verdict("accept", "ledger=retry", since=mark)
    assert line["duplicate"]
    assert send(g, **kw).code == 250
    assert len(server.messages) == delivered + 1


def is_delivered_again(g, server):
    assert send(g).code == 250
    assert len(server.messages) == 2
    assert "event=ledger" not in g.process.output() and "ledger=retry" not in g.process.output()


@pytest.mark.parametrize("after", [b"", b"QUIT\r\n", b"NOOP\r\nQUIT\r\n"])
@pytest.mark.parametrize("how", ["reset", "close"])
def test_gone_before_the_answer(lab, backend, how, after):
    server = backend()
    g = lab([server.port], policy=POLICY)
    c = Vanishing(g, server, after=after)
    getattr(c, how)()
    c.release()
    g.wait_line(NOTED)
    known_once(g, server)


@pytest.mark.parametrize("tls", [False, True])
def test_the_answer_was_not_read(lab, backend, tls):
    """A socket that is closed with something unread is reset."""
    server = backend()
    g = lab([server.port], policy=POLICY)
    c = Vanishing(g, server, tls=tls)
    c.release()
    if tls:
        c.sock = socket.socket(fileno=c.sock.detach())
        c.sock.settimeout(60)
    c.wait_answer()
    c.close()
    g.wait_line(NOTED)
    known_once(g, server)


def test_reset_while_the_session_rests(lab, backend):
    """The message itself has been given up by then: its hash remains."""
    server = backend()
    g = lab([server.port], policy=POLICY)
    c = Vanishing(g, server)
    c.release()
    c.wait_answer()
    time.sleep(1.5)         # longer than a session keeps its last message
    c.close()
    g.wait_line(NOTED)
    known_once(g, server)


def test_read_and_closed_without_a_word(lab, backend):
    server = backend()
    g = lab([server.port], policy=POLICY)
    c = Vanishing(g, server)
    c.release()
    assert c.reply().code == 250
    c.close()
    is_delivered_again(g, server)


def test_half_closed_after_the_dot(lab, backend):
    server = backend()
    g = lab([server.port], policy=POLICY)
    c = Vanishing(g, server)
    c.sock.shutdown(socket.SHUT_WR)
    c.release()
    assert c.reply().code == 250
    assert c.closed()
    c.close()
    is_delivered_again(g, server)


def test_a_device_that_always_says_the_same_and_resets(lab, backend):
    """With neither Message-ID nor Date nobody can tell a retry from news."""
    server = backend()
    g = lab([server.port], policy=POLICY)
    alarm = b"Subject: the cellar is flooded\r\n\r\nCome.\r\n"
    for n in (1, 2, 3):
        c = Vanishing(g, server, message=alarm)
        c.release()
        c.wait_answer()
        c.close()
        server.wait_messages(n)
    assert "event=ledger" not in g.process.output()


def test_the_same_on_purpose(lab, backend):
    server = backend()
    g = lab([server.port], policy=POLICY)
    with Client(g.port) as c:
        for n in (1, 2, 3):
            assert c.message("alice@sender.example", "bob@example.com", mail()).code == 250
            assert len(server.messages) == n
    assert send(g).code == 250
    assert len(server.messages) == 4
    assert "ledger" not in g.process.output()


@pytest.mark.parametrize("other", [dict(message=mail(body="Another line.\r\n")), dict(message=mail(subject="other")),
                                   dict(rcpts=("carol@example.com",)), dict(rcpts=("bob@example.com", "carol@example.com")),
                                   dict(source="127.9.0.1")])
def test_another_message_is_another_message(lab, backend, other):
    server = backend()
    g = lab([server.port], policy=POLICY)
    c = Vanishing(g, server)
    c.reset()
    c.release()
    g.wait_line(NOTED)
    assert send(g, **other).code == 250
    assert len(server.messages) == 2
    known_once(g, server, delivered=2)


def test_the_servers_answer_was_lost(lab, backend):
    """Perhaps delivered is delivered again."""
    server = backend({".": hang_up()})
    g = lab([server.port], policy=POLICY)
    assert send(g).code == 451
    assert g.verdict("perhaps-delivered")
    del server.script["."]
    is_delivered_again(g, server)


def test_a_refusal_is_no_delivery(lab, backend):
    server = backend()
    g = lab([server.port], policy=POLICY)
    c = Vanishing(g, server)
    c.held.reply = b"452 4.2.2 full\r\n"
    c.reset()
    c.release()
    g.verdict("backend-deferred")
    is_delivered_again(g, server)


def test_two_groups_and_the_second_fails(lab, backend):
    server = backend({".": lambda s, line: None if "<a@" in s.rcpts[0] else b"451 4.3.0 not now\r\n"})
    g = lab([server.port], policy=POLICY)
    rcpts = ("a@example.com", "bob@example.com", "carol@example.com")
    for _ in range(2):
        assert send(g, rcpts).code == 451
    del server.script["."]
    assert send(g, rcpts).code == 250
    assert [m.to for m in server.messages] == [["a@example.com"]] + [["bob@example.com", "carol@example.com"]] * 3
    assert g.verdict("accept", "ledger=retry")["to"] == "<a@example.com>"
    assert send(g, rcpts).code == 250           # it has served
    assert [m.to for m in server.messages[4:]] == [["a@example.com"], ["bob@example.com", "carol@example.com"]]


def test_the_second_group_is_refused_for_good(lab, backend):
    """To come again would be of no use to anybody."""
    server = backend({".": lambda s, line: None if "<a@" in s.rcpts[0] else b"554 5.6.0 not that\r\n"})
    g = lab([server.port], policy=POLICY)
    assert send(g, ("a@example.com", "bob@example.com")).code == 554
    assert [m.to for m in server.messages] == [["a@example.com"], ["bob@example.com"]]
    assert "event=ledger" not in g.process.output()


def test_the_quarantine_fails_after_the_delivery(lab, backend):
    server = backend()
    g = lab([server.port], policy=POLICY)
    rcpts = ("bob@example.com", "held@example.com")
    c = Vanishing(g, server, rcpts)
    os.kill(g.children()["gp-store"], signal.SIGSTOP)
    c.release()
    server.wait_messages(1)
    g.kill_child("gp-store")
    reply = c.reply()
    c.close()
    if reply.code == 250:           # the keeper had not been asked yet, its successor was
        assert len(g.quarantined()) == 1 and len(server.messages) == 1
        return
    assert reply.code == 451
    g.wait_line("event=ledger .*what=\"some have it")
    deadline = time.monotonic() + 30
    while (reply := send(g, rcpts)).code != 250 and time.monotonic() < deadline:
        pass
    assert reply.code == 250
    assert len(server.messages) == 1 and len(g.quarantined()) == 1


def test_prdr_and_the_answers_are_lost(lab, backend):
    server = backend()
    g = lab([server.port], policy=POLICY.replace("accept", 'reject if rcpt = "no@example.com" and header.subject = "hello"\naccept'))
    rcpts = ("bob@example.com", "no@example.com", "carol@example.com")
    c = Vanishing(g, server, rcpts, prdr=" PRDR")
    c.reset()
    c.release()
    g.wait_line(NOTED)
    with Client(g.port) as c:
        c.ehlo()
        c.expect("MAIL FROM:<alice@sender.example> PRDR", 250)
        for r in rcpts:
            c.expect(f"RCPT TO:<{r}>", 250)
        assert c.data_block(mail()).code == 353
        assert [c.reply().code for _ in range(4)] == [250, 550, 250, 250]
    assert len(server.messages) == 1


def test_the_retrys_answer_is_lost_too(lab, backend):
    server = backend()
    g = lab([server.port], policy=POLICY)
    c = Vanishing(g, server)
    c.reset()
    c.release()
    g.wait_line(NOTED)
    mark = g.mark()
    c = Client(g.port)
    c.ehlo()
    c.envelope("alice@sender.example", "bob@example.com")
    c.expect("DATA", 354)
    c.send(mail() + b".\r\n")
    c.sock.recv(1, socket.MSG_PEEK)
    c.close()
    g.wait_line(NOTED, mark)
    known_once(g, server)


def test_a_pool_of_hosts_is_one_sender(lab, backend):
    """SPF passes for both, so the one's retry may be the other's."""
    server = backend()
    g = lab([server.port], policy=POLICY)
    kw = dict(sender="alice@pool.example")
    c = Vanishing(g, server, source="127.0.0.41", **kw)
    c.reset()
    c.release()
    g.wait_line(NOTED)
    assert send(g, source="127.0.6.41", **kw).code == 250       # SPF fails
    assert len(server.messages) == 2
    known_once(g, server, delivered=2, source="127.0.5.41", **kw)


def test_the_entry_outlives_the_gateway(lab, backend):
    server = backend()
    g = lab([server.port], policy=POLICY)
    c = Vanishing(g, server)
    c.reset()
    c.release()
    g.wait_line(NOTED)
    assert g.stop() == 0
    g.start()
    known_once(g, server)


def test_all_workers_know(lab, backend):
    server = backend()
    g = lab([server.port], policy=POLICY, workers=2)
    assert send(g, message=mail(subject="both have looked")).code == 250
    c = Vanishing(g, server, message=mail(subject="x"))
    c.reset()
    c.release()
    g.wait_line(NOTED)
    known_once(g, server, delivered=2, message=mail(subject="x"))


def test_switched_off(lab, backend):
    server = backend()
    g = lab([server.port], policy=POLICY, conf="smtp { ledger = 0 }")
    c = Vanishing(g, server)
    c.reset()
    c.release()
    g.verdict("accept")
    is_delivered_again(g, server)
