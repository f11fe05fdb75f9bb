"""Messages that were held when a user fetched them, in the hands of an administrator: found, explained, released, and shown from then on. By POP3, with a real Dovecot."""
import contextlib
import imaplib
import json
import os
import poplib
import re
import subprocess
import time

import pytest

from lab.gateway import Gateway, access, parse_logfmt
from lab.process import WAIT_S
from lab.redis import Redis

POLICY = 'quarantine pills: if direction = retrieval and text ~ /cheap pills/\naccept\n'
HEAD = b"Return-Path: <eve@sender.example>\r\nDelivered-To: %s\r\nReceived: from x by y; Sun, 22 Nov 2026 08:00:00 +0000\r\n"
REST = (b"From: Eve <eve@sender.example>\r\nTo: you@example.com\r\nSubject: for you\r\nMessage-ID: <1@sender.example>\r\n"
        b"MIME-Version: 1.0\r\nContent-Type: text/html; charset=utf-8\r\n\r\n<b>cheap pills</b>\r\n" + b"<p>and more of them</p>\r\n" * 80)
GOOD = b"From: bob@sender.example\r\nSubject: lunch\r\n\r\nat noon?\r\n"


class Desk:
    """A gateway before Dovecot (POP3) and before a mail server that takes what is released; a user, and an administrator."""

    def __init__(self, lab, mailserver, backend, user=None, domains=("example.com",), conf="", policy=POLICY, **kw):
        self.server, self.backend = mailserver, backend
        self.user = user or mailserver.add()
        self.ports, text = access(mailserver.ports, "scan = yes", "tls = off", kinds=("pop3", "imap"))
        self.g = lab([backend.port], conf=text + "\n" + conf, policy=policy, domains=domains, **kw)

    def deliver(self, message):
        self.server.deliver(self.user, message)

    def fetch(self, number=1):
        """A message as the user gets it, and the size that was said."""
        c = poplib.POP3("127.0.0.1", self.ports["pop3"], timeout=WAIT_S)
        c.user(self.user)
        c.pass_(self.server.users[self.user])
        size = int(c.list(number).split()[2])
        lines = c.retr(number)[1]
        c.quit()
        return b"".join(line + b"\r\n" for line in lines), size

    def fetch_imap(self, number=1):
        """A message and its first part."""
        with imaplib.IMAP4("127.0.0.1", self.ports["imap"], timeout=WAIT_S) as c:
            c.login(self.user, self.server.users[self.user])
            c.select(readonly=True)
            return [c.fetch(str(number), item)[1][0][1] for item in ("(BODY.PEEK[])", "(BODY.PEEK[1])")]

    def fetch_until(self, want, number=1, fetch=None):
        """Another worker, or this one some moments ago, may not know yet that it has been released."""
        end = time.monotonic() + WAIT_S
        while (got := (fetch or self.fetch)(number))[0] != want:
            assert time.monotonic() < end, got
            time.sleep(0.1)
        return got

    def held(self, original, number=1):
        """That it is a notice, of the same size; the id that it tells."""
        text, size = self.fetch(number)
        assert len(text) == len(original) == size
        assert b"keeps this message from being shown" in text and b"pills" not in text.replace(b"rule pills", b"")
        assert b"\r\nX-ntent-Type: text/html" in text and b"\r\nSubject: for you\r\n" in text
        (eml,) = self.g.quarantined()
        assert f"    {eml.stem}\r\n".encode() in text
        return eml.stem

    def run(self, *args, status=0):
        done = subprocess.run([self.g.binary, *args, "-c", str(self.g.conf_path)], capture_output=True, timeout=60)
        assert status is None or done.returncode == status, (done.returncode, done.stdout, done.stderr)
        assert b"Sanitizer" not in done.stderr and b"runtime error" not in done.stderr, done.stderr
        return done.stdout.decode()

    def quarantine(self, what, *args, **kw):
        return self.run("quarantine", what, *args, **kw)


@pytest.fixture
def desk(lab, mailserver, backend):
    def make(**kw):
        return Desk(lab, mailserver, backend(), **kw)
    return make


def message_for(d):
    return HEAD % d.user.encode() + REST


def test_found_and_explained(desk):
    d = desk()
    message = message_for(d)
    d.deliver(message)
    d.deliver(GOOD)
    id = d.held(message)
    assert d.fetch(2)[0] == GOOD
    line = parse_logfmt(d.g.wait_line("event=retrieval verdict=notice"))
    assert (line["rule"], line["protocol"], line["account"], line["quarantine"], line["size"]) == ("pills", "pop3", d.user, id, str(len(message)))
    assert parse_logfmt(d.g.wait_line("event=retrieval verdict=pass"))["size"] == str(len(GOOD))
    # the copy is the original, whole
    assert d.g.quarantined()[0].read_bytes() == message
    assert id in d.quarantine("list", "--fact", "direction=retrieval") and id in d.quarantine("list", "--to", f"{d.user}@example.com")
    assert id not in d.quarantine("list", "--fact", "direction=inbound")
    d.quarantine("reindex")
    assert id in d.quarantine("search", "pills")
    shown = d.quarantine("show", id)
    assert re.search(rf"fetched +by pop3, account {d.user} on to_pop3, message \S", shown) and "direction = retrieval" in shown
    # the history has it under its number
    end = time.monotonic() + WAIT_S
    while not (told := json.loads(d.run("history", "--json", "--verdict", "notice", status=None))):
        assert time.monotonic() < end           # it is written at its own pace
    assert told[0]["to"] == [f"{d.user}@example.com"] and told[0]["quarantine"] == id and told[0]["policy"]["rule"] == "pills"
    assert "direction" in subprocess.run([d.g.binary, "explain", "-c", d.g.conf_path, line["tx"]], capture_output=True, text=True, check=True).stdout
    # another policy, on what there was
    d.g.policy_path.write_text("reject if direction = inbound\naccept fetched: if direction = retrieval\n")
    assert "accept" in subprocess.run([d.g.binary, "replay", "-c", d.g.conf_path, "--policy", d.g.policy_path], capture_output=True, text=True, check=True).stdout


def test_one_copy(desk):
    d = desk(workers=2)
    message = message_for(d)
    d.deliver(message)
    id = d.held(message)
    for _ in range(8):
        assert d.held(message) == id
    assert len(d.g.quarantined()) == 1


def test_released(desk):
    """The copy goes to the user with the sender's envelope, without what would look like a circle; original and copy are shown."""
    d = desk()
    message = message_for(d)
    d.deliver(message)
    id = d.held(message)
    assert f"{d.user}@example.com: released" in d.quarantine("release", id)
    (m,) = d.backend.messages
    assert m.mail.startswith("MAIL FROM:<eve@sender.example>") and m.rcpts == [f"RCPT TO:<{d.user}@example.com> NOTIFY=NEVER"]
    assert m.data == message.split(b"\r\n", 2)[2]
    d.fetch_until(message)
    copy = b"Return-Path: <eve@sender.example>\r\nReceived: from gate.example by store; Sun, 22 Nov 2026 09:00:00 +0000\r\n" + m.data
    d.deliver(copy)
    assert d.fetch(2)[0] == copy
    assert d.g.wait_line("event=retrieval verdict=pass action=quarantine rule=pills released=yes")
    assert "has it already" in d.quarantine("release", id, status=3)
    # what is like it, and not it, is held all the same
    d.deliver(message.replace(b"for you", b"for You"))
    assert b"keeps this message" in d.fetch(3)[0]


def test_released_over_imap(desk):
    """Held where it was fetched first, and shown where it is fetched next, whole and in part, with the same UID."""
    d = desk()
    message = message_for(d)
    d.deliver(message)
    for part in d.fetch_imap():
        assert b"keeps this message" in part and b"cheap" not in part
    (eml,) = d.g.quarantined()
    assert "released" in d.quarantine("release", eml.stem)
    assert d.fetch_until(message, fetch=d.fetch_imap)[1] == message.partition(b"\r\n\r\n")[2]
    d.fetch_until(message)


def test_the_copy_is_not_whole(desk):
    """Of a message beyond limits.message_size: nobody is delivered half a message."""
    d = desk(conf="limits { message_size = 1M }")
    message = message_for(d) + b"and so on, line by line\r\n" * 60000
    d.deliver(message)
    id = d.held(message)
    assert "not delivered" in d.quarantine("release", id, status=5)
    assert f"beginning of its {len(message)} bytes" in d.quarantine("show", id)
    assert not d.backend.messages
    d.fetch_until(message)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give up being root")
def test_as_another_user(scratch, mailserver, backend):
    """With `user`, as every site has it, the commands give up root, and what is released and unlocked reaches the keeper nevertheless."""
    with contextlib.ExitStack() as stack:
        d = Desk(lambda backends, **kw: stack.enter_context(Gateway(scratch / "released", backends, **kw)), mailserver, backend(), conf='user = "nobody"')
        message = message_for(d)
        d.deliver(message)
        assert "released" in d.quarantine("release", d.held(message))
        d.fetch_until(message)
        assert "no failures" in d.run("login", "show", d.user)
        assert "no failures forgotten" in d.run("login", "unlock", d.user)


def test_not_released(desk):
    """A recipient that it never had: nothing is released, and nothing is shown."""
    d = desk()
    message = message_for(d)
    d.deliver(message)
    id = d.held(message)
    d.quarantine("release", "--rcpt", "nobody@example.com", id, status=1)
    assert not d.backend.messages
    assert d.g.stop() == 0              # nor does the gateway remember another verdict than the state's
    d.g.start()
    assert b"keeps this message" in d.fetch()[0]


def test_login_by_address(desk, mailserver):
    mailserver.empty("carol@example.com")
    d = desk(user="carol@example.com", domains=("other.example", "example.com"))
    message = message_for(d)
    d.deliver(message)
    d.quarantine("release", d.held(message))
    assert d.backend.messages[0].to == ["carol@example.com"]
    d.fetch_until(message)
    mailserver.empty("carol@example.com")


def test_login_by_a_name(desk):
    """Whose address it is in which of several domains nobody knows: no copy goes astray; the original is shown, a copy goes where the administrator says."""
    d = desk(domains=("example.com", "other.example"))
    message = message_for(d)
    d.deliver(message)
    id = d.held(message)
    assert "--redirect-to" in d.quarantine("release", id, status=5)
    assert not d.backend.messages
    d.fetch_until(message)
    d.quarantine("release", "--redirect-to", "joe@other.example", id)
    assert d.backend.messages[0].to == ["joe@other.example"]


def test_released_while_the_gateway_is_stopped(desk):
    d = desk()
    message = message_for(d)
    d.deliver(message)
    id = d.held(message)
    assert d.g.stop() == 0
    d.quarantine("release", id)
    d.g.start()
    assert d.fetch()[0] == message


def test_released_for_all_gateways(desk, tmp_path):
    redis = Redis(tmp_path / "redis")
    try:
        d = desk(conf=f'state_store redis {{ address = "127.0.0.1:{redis.port}" }}')
        message = message_for(d)
        d.deliver(message)
        id = d.held(message)
        d.quarantine("release", id)
        d.fetch_until(message)
        # it cannot be remembered: nothing is done, and that is said
        d.deliver(message.replace(b"for you", b"for you too"))
        assert b"keeps this message" in d.fetch(2)[0]
        (other,) = [e["id"] for e in json.loads(d.quarantine("list", "--json")) if e["id"] != id]
        redis.kill()
        before = len(d.backend.messages)
        d.quarantine("release", other, status=4)
        assert len(d.backend.messages) == before
    finally:
        redis.stop()


def test_convicted_later(desk, tmp_path):
    """What has passed is looked at again when a list changes, and again when that was a mistake."""
    bad = tmp_path / "bad.txt"
    bad.write_text("nobody.example\n")
    d = desk(policy=f'list bad = file "{bad}"\nquarantine listed: if from.domain in bad and direction = retrieval\naccept\n')
    d.deliver(GOOD)
    assert d.fetch()[0] == GOOD
    since = d.g.mark()
    bad.write_text("nobody.example\nsender.example\n")
    d.g.wait_line("event=list what=\"read again\"", since)
    end = time.monotonic() + WAIT_S
    while d.fetch()[0] == GOOD:                     # the workers hear of it in their turn
        assert time.monotonic() < end
    since = d.g.mark()
    bad.write_text("nobody.example\n")
    d.g.wait_line("event=list what=\"read again\"", since)
    d.fetch_until(GOOD)
