"""quarantine release: byte for byte, with its own envelope and client, and once: wherever the command is killed, whatever the server says."""
import json
import os
import re
import shutil
import signal
import sqlite3
import subprocess

import pytest

from lab.backend import Held, hang_up
from lab.postfix import Postfix
from lab.process import WAIT_S
from lab.smtp import Client, mail

POLICY = "quarantine hold: if header.subject ~ /hold/\naccept\n"
PLAIN = os.environ.get("GATEPOST_PLAIN")
MESSAGE = mail(subject="hold", body=".dot\r\n\r\n..two\r\nThe end.\r\n")


class Desk:
    """Someone at the quarantine of a gateway."""

    def __init__(self, gateway):
        self.g = gateway

    def hold(self, message=MESSAGE, rcpts=("bob@example.com",), mail_params="", rcpt_params="", source="127.0.0.1", helo="client.example"):
        """A message in the quarantine: its id."""
        before = set(self.g.quarantined())
        with Client(self.g.port, source=source) as c:
            c.ehlo(helo)
            c.expect(f"MAIL FROM:<a+b@sender.example>{mail_params}", 250)
            for r in rcpts:
                c.expect(f"RCPT TO:<{r}>{rcpt_params}", 250)
            assert c.data_block(message).code == 250
        (new,) = set(self.g.quarantined()) - before
        return new.stem

    def argv(self, *args):
        return [self.g.binary, "quarantine", "release", "-c", str(self.g.conf_path), *args]

    def release(self, *args, status=0):
        done = subprocess.run(self.argv(*args), capture_output=True, timeout=2 * WAIT_S)
        assert done.returncode == status, (done.returncode, done.stdout, done.stderr)
        assert b"Sanitizer" not in done.stderr and b"runtime error" not in done.stderr, done.stderr
        return done.stdout.decode()

    def start(self, *args, wrap=()):
        return subprocess.Popen([*wrap, *self.argv(*args)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT)

    def indexed(self, id):
        with sqlite3.connect(f"file:{self.g.state}/quarantine/quarantine.db?mode=ro", uri=True) as db:
            state = db.execute("SELECT state FROM message WHERE id = ?", (id,)).fetchone()[0]
        db.close()
        return state

    def events(self, id):
        (eml,) = [p for p in self.g.quarantined() if p.stem == id]
        path = eml.with_suffix(".events")
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def whats(self, id):
        return [e["what"] for e in self.events(id)]


@pytest.fixture
def desk(lab):
    def make(*backends, **kw):
        kw.setdefault("policy", POLICY)
        return Desk(lab([b.port if hasattr(b, "port") else b for b in backends], **kw))
    return make


def kill(process):
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=WAIT_S)


def test_as_it_came(desk, backend):
    """Envelope with its parameters, and every octet; the gateway may be stopped; then it is released, and not again unless asked to."""
    b = backend()
    d = desk(b)
    message = mail(subject="hold\xe9", body="8-bit: \xff\x80\r\n.dot\r\n\r\n \t\r\nlast line").decode().encode("latin-1") + b"\r\n"
    id = d.hold(message, ("bob@example.com", "carol@example.com"), " BODY=8BITMIME RET=HDRS ENVID=x", " NOTIFY=FAILURE ORCPT=rfc822;bob+40x")
    d.g.process.stop(signal.SIGTERM)
    assert "released" in d.release(id)
    (m,) = b.messages
    assert m.data == message
    assert set(m.mail.split(" ")) == {"MAIL", "FROM:<a+b@sender.example>", "BODY=8BITMIME", "RET=HDRS", "ENVID=x", f"SIZE={len(message)}"}
    assert m.rcpts == [f"RCPT TO:<{r}@example.com> NOTIFY=FAILURE ORCPT=rfc822;bob+40x" for r in ("bob", "carol")]
    assert d.whats(id) == ["release-begin", "release-dot", "released"]
    done = d.events(id)[-1]
    assert done["detail"]["reply"] == "250 2.0.0 kept" and done["detail"]["left"] == 0 and done["who"] and done["at"] > 1700000000
    b.wait(lambda: b.sessions[-1].commands[-1] == "QUIT")
    assert d.indexed(id) == "released"
    # once
    assert "has it already" in d.release(id, status=3)
    assert len(b.messages) == 1
    d.release(id, "--again")
    assert len(b.messages) == 2 and b.messages[1].data == message
    (eml,) = d.g.quarantined()
    assert eml.read_bytes() == message


def test_null_sender_and_bytes_that_json_cannot_say(desk, backend):
    b = backend()
    d = desk(b)
    with Client(d.g.port) as c:
        c.ehlo()
        c.expect("MAIL FROM:<> SMTPUTF8 BODY=8BITMIME", 250)
        c.expect("RCPT TO:<böb@example.com>".encode(), 250)
        assert c.data_block(MESSAGE).code == 250
    (eml,) = d.g.quarantined()
    d.release(eml.stem)
    assert b.messages[0].mail.startswith("MAIL FROM:<> ") and "SMTPUTF8" in b.messages[0].mail
    assert b.messages[0].to == ["böb@example.com"]


def test_bare_line_ends_by_bdat(desk, backend):
    """A message that came by BDAT goes by BDAT."""
    b = backend()
    d = desk(b)
    message = MESSAGE + b"bare\nLF and\rCR"
    with Client(d.g.port) as c:
        c.ehlo()
        c.envelope("a@sender.example", "bob@example.com")
        c.send(b"BDAT %d LAST\r\n" % len(message) + message)
        assert c.reply().code == 250
    (eml,) = d.g.quarantined()
    d.release(eml.stem)
    assert b.messages[0].data == message


def test_forged_results_are_left_out(desk, backend):
    b = backend()
    d = desk(b)
    forged = "Authentication-Results: gate.example; spf=pass\r\n"
    other = "Authentication-Results: other.example;\r\n\tspf=fail\r\n"
    id = d.hold(mail(subject="hold", extra=forged + other + "authentication-results: (x) Gate.Example 1;\r\n none\r\nX: y\r\n"))
    d.release(id)
    assert b.messages[0].data == mail(subject="hold", extra=other + "X: y\r\n")


def test_a_broken_header_ends(desk, backend):
    """What stands behind a line that is no field was not looked at: no server is to read it as fields."""
    b = backend()
    d = desk(b, conf='client_header = "X-Client"\n')
    head = b"From: a@sender.example\r\nSubject: hold\r\n"
    rest = b"no field\r\nAuthentication-Results: gate.example; dmarc=pass\r\n\r\nhello\r\n"
    d.release(d.hold(head + rest))
    assert b.messages[0].data == b"X-Client: 127.0.0.1\r\n" + head + b"\r\n" + rest


def test_chosen_recipients(desk, backend):
    b = backend()
    d = desk(b)
    id = d.hold(rcpts=("bob@example.com", "carol@example.com", "dave@example.com"))
    d.release(id, "--rcpt", "nobody@example.com", status=1)
    d.release(id, "--rcpt", "carol@example.com")
    assert b.messages[-1].to == ["carol@example.com"]
    report = json.loads(d.release(id, "--rcpt", "carol@example.com", "--json", status=3))
    assert report[0]["state"] == "partly-released" and report[0]["recipients"] == [{"address": "carol@example.com", "result": "released-before"}]
    report = json.loads(d.release(id, "--json", status=3))
    assert [r["result"] for r in report[0]["recipients"]] == ["released", "released-before", "released"] and report[0]["state"] == "released"
    assert b.messages[-1].to == ["bob@example.com", "dave@example.com"] and len(b.messages) == 2


def test_to_another_instead(desk, backend):
    b = backend()
    d = desk(b)
    id = d.hold(rcpt_params=" NOTIFY=SUCCESS")
    d.release(id, "--redirect-to", "no address", status=1)
    d.release(id, "--redirect-to", "x@y@z", status=1)
    d.release(id, "--redirect-to", "admin@example.com", "--rcpt", "bob@example.com", status=1)
    assert json.loads(d.release(id, "--redirect-to", "Admin@example.com", "--json"))[0]["state"] == "released"
    assert b.messages[-1].rcpts == ["RCPT TO:<Admin@example.com> NOTIFY=NEVER"] and b.messages[-1].data == MESSAGE
    d.release(id, "--redirect-to", "Admin@example.com", status=3)
    # who it was meant for has not had it
    d.release(id)
    assert [m.to for m in b.messages] == [["Admin@example.com"], ["bob@example.com"]]


@pytest.mark.parametrize("step,reply,status,result", [
    ("CONNECT", b"554 no\r\n", 4, "later"), ("CONNECT", b"421 busy\r\n", 4, "later"),
    ("MAIL", b"451 4.3.0 later\r\n", 4, "later"), ("MAIL", b"550 5.7.1 no\r\n", 5, "refused"), ("MAIL", b"421 bye\r\n", 4, "later"),
    ("RCPT", b"451 4.3.0 later\r\n", 4, "later"), ("RCPT", b"550 5.1.1 no\r\n", 5, "refused"),
    ("DATA", b"451 4.3.0 later\r\n", 4, "later"), ("DATA", b"554 5.7.1 no\r\n", 5, "refused"),
    (".", b"451 4.3.0 later\r\n", 4, "later"), (".", b"550 5.7.1 spam\r\n", 5, "refused"), (".", b"421 bye\r\n", 4, "later"),
    ("MAIL", hang_up(), 4, "later"), ("RCPT", hang_up(), 4, "later"), ("DATA", hang_up(), 4, "later"),
    ("MAIL", b"250 ok\r\n250 ok\r\n", 4, "later"), ("DATA", b"250 ok\r\n", 4, "later"),
])
def test_refused_at_each_step(desk, backend, step, reply, status, result):
    """It stays, with the server's words; a later release delivers it once."""
    b = backend()
    d = desk(b)
    id = d.hold()
    b.script[step] = reply
    (report,) = json.loads(d.release(id, "--json", status=status))
    assert report["recipients"][0]["result"] == result and report["state"] == d.indexed(id) == "release-failed", report
    failed = d.events(id)[-1]
    assert failed["what"] == "release-failed" and failed["detail"]["rcpt"] == ["bob@example.com"]
    if isinstance(reply, bytes) and step not in ("CONNECT",) and reply[:1] in b"45":
        assert failed["detail"]["reply"] == report["recipients"][0]["reply"] == reply.decode().strip()
    del b.script[step]
    taken = len(b.messages)
    d.release(id)
    assert len(b.messages) == taken + 1 and b.messages[-1].data == MESSAGE


def test_some_are_refused(desk, backend):
    b = backend()
    d = desk(b)
    id = d.hold(rcpts=("bob@example.com", "carol@example.com"))
    b.users = {"bob@example.com"}
    (report,) = json.loads(d.release(id, "--json", status=5))
    assert report["state"] == "partly-released" and [r["result"] for r in report["recipients"]] == ["released", "refused"]
    d.release(id, status=5)
    b.script["RCPT"] = lambda s, line: b"550 5.1.1 no such user " + line.encode() + b"\r\n"
    d.release(id, "--again", status=5)
    assert d.events(id)[-1]["detail"]["replies"] == {f"{u}@example.com": f"550 5.1.1 no such user RCPT TO:<{u}@example.com>" for u in ("bob", "carol")}
    b.users = None
    del b.script["RCPT"]
    d.release(id, status=3)
    assert [m.to for m in b.messages] == [["bob@example.com"], ["carol@example.com"]]


def test_in_several_transactions(desk, backend):
    """A server that takes two recipients at a time, said (LIMITS) or not (452)."""
    b = backend()
    d = desk(b)
    users = [f"u{i}@example.com" for i in range(5)]
    said, unsaid = d.hold(rcpts=users), d.hold(rcpts=users)
    b.keywords.append("LIMITS RCPTMAX=2")
    d.release(said)
    assert [m.to for m in b.messages] == [users[:2], users[2:4], users[4:]]
    b.keywords.pop()
    b.script["RCPT"] = lambda s, line: b"452 4.5.3 too many recipients\r\n" if len(s.rcpts) == 2 else None
    d.release(unsaid)
    assert [m.to for m in b.messages[3:]] == [users[:2], users[2:4], users[4:]]
    assert d.whats(unsaid) == ["release-begin"] + 3 * ["release-dot", "released"]
    assert [e["detail"]["left"] for e in d.events(unsaid) if e["what"] == "released"] == [3, 1, 0]


class Middle(Held):
    """354 is said, and then nothing is read."""

    def __call__(self, session, _):
        session.sock.sendall(b"354 go on\r\n")
        super().__call__()
        hang_up()()


BIG = mail(subject="hold", body=("0123456789" * 99 + "\r\n") * 17_000)        # in long lines: the server behind reads them one by one


@pytest.mark.parametrize("step,held,message", [
    ("CONNECT", Held, MESSAGE), ("EHLO", Held, MESSAGE), ("MAIL", Held, MESSAGE), ("RCPT", Held, MESSAGE), ("DATA", Held, MESSAGE), ("DATA", Middle, BIG),
], ids=["greeting", "EHLO", "MAIL", "RCPT", "DATA", "middle of the message"])
def test_killed_before_the_end(desk, backend, step, held, message):
    """Nobody has it: a later release delivers it once."""
    b = backend()
    d = desk(b, conf="limits { message_size = 50M }")
    id = d.hold(message)
    b.script[step] = hold = held()
    p = d.start(id)
    assert hold.reached.wait(WAIT_S)
    kill(p)
    del b.script[step]
    hold.go.set()
    assert "release-dot" not in d.whats(id) and not b.messages
    d.release(id)
    assert [m.data == message for m in b.messages] == [True]
    d.release(id, status=3)


def test_killed_after_the_end(desk, backend):
    """Perhaps delivered: recorded so, and never sent again by itself."""
    b = backend()
    d = desk(b)
    id = d.hold()
    b.script["."] = hold = Held()
    p = d.start(id)
    assert hold.reached.wait(WAIT_S)
    assert d.whats(id) == ["release-begin", "release-dot"], "recorded before the end is sent"
    kill(p)
    del b.script["."]
    hold.go.set()
    assert "perhaps has it" in d.release(id, status=6)
    assert json.loads(d.release(id, "--json", status=6))[0]["state"] == "perhaps-delivered"
    assert len(b.messages) == 1
    d.release(id, "--again")
    assert len(b.messages) == 2
    assert json.loads(d.release(id, "--json", status=3))[0]["state"] == "released"


def test_the_reply_is_lost(desk, backend):
    b = backend()
    d = desk(b)
    id = d.hold()
    b.script["."] = hang_up(b"250 2.0")
    (report,) = json.loads(d.release(id, "--json", status=6))
    assert d.indexed(id) == report["state"] == "perhaps-delivered" and report["recipients"][0]["result"] == "perhaps-delivered"
    assert d.whats(id)[-1] == "release-unknown"
    del b.script["."]
    d.release(id, status=6)
    # refused now: the first may have come all the same
    b.script["."] = b"550 5.7.1 no\r\n"
    assert json.loads(d.release(id, "--again", "--json", status=5))[0]["state"] == "perhaps-delivered"
    del b.script["."]
    d.release(id, "--again")
    assert len(b.messages) == 3


@pytest.mark.skipif(not shutil.which("strace") or not PLAIN, reason="needs strace and a plain build (GATEPOST_PLAIN)")
@pytest.mark.parametrize("call", ["fsync", "write"])
def test_killed_at_each_call(desk, backend, call):
    """kill -9 at the nth call that makes something durable, or says something: the events never promise less than what the server has."""
    b = backend()
    d = desk(b, binary=PLAIN, backend_options="reuse = no")
    n, p = 0, None
    while p is None or p.returncode != 0:
        id, n, taken = d.hold(), n + 1, len(b.messages)
        traced = "fsync" if call == "fsync" else "write,sendto,sendmsg,writev"
        p = d.start(id, wrap=("strace", "-f", "-qq", "-o", "/dev/null", "-e", f"trace={traced}", "-e", f"inject={traced}:signal=SIGKILL:when={n}"))
        out = p.communicate(timeout=WAIT_S)[0]
        whats = d.whats(id)
        b.wait(lambda: b.now_open == 0, "the sessions end")
        has_it = len(b.messages) - taken
        state = json.loads(d.release(id, "--json", status={"released": 3, "release-dot": 6}.get(whats[-1] if whats else "", 0)))[0]["state"]
        assert state != "kept"
        delivered = len(b.messages) - taken
        if whats[-1:] == ["released"]:
            assert has_it == 1
        elif whats[-1:] == ["release-dot"]:
            assert has_it <= 1 and state == "perhaps-delivered"
        else:
            assert has_it == 0 and delivered == 1, (n, whats, out)
        assert delivered <= 1
        assert n < 60
    assert n > 6 and whats[-1] == "released"


def test_two_at_once(desk, backend):
    """The second is told that another command is at it; afterwards that it is released."""
    b = backend()
    d = desk(b)
    id = d.hold()
    b.script["."] = hold = Held()
    first = d.start(id)
    assert hold.reached.wait(WAIT_S)
    d.release(id, status=4)
    hold.go.set()
    assert first.wait(WAIT_S) == 0
    d.release(id, status=3)
    assert len(b.messages) == 1


def test_many_at_once(desk, backend):
    b = backend()
    d = desk(b)
    ids = [d.hold() for _ in range(4)]
    running = [d.start(*ids) for _ in range(4)]
    for p in running:
        p.communicate(timeout=WAIT_S)
    d.release(*ids, status=3)
    assert len(b.messages) == 4


def test_what_is_not_there(desk, backend):
    b = backend()
    d = desk(b)
    id = d.hold()
    for wrong in ("000000000000", "../../../etc", "!", id + "0", ""):
        d.release(wrong, status=2)
    d.release(status=1)
    d.release(id, "--rule", "hold", status=1)
    d.release("--nonsense", id, status=1)
    report = json.loads(d.release(id, "000000000000", "--json", status=2))
    assert [r["state"] for r in report] == ["released"]
    other = d.hold()
    (eml,) = [p for p in d.g.quarantined() if p.stem == other]
    with open(eml, "ab") as f:
        f.write(b"more")
    d.release(other, status=1)
    eml.with_suffix(".json").write_text("{")
    d.release(other, status=1)
    assert len(b.messages) == 1


def test_by_filter(desk, backend):
    """All for which the conditions hold; those that were released are not meant."""
    b = backend()
    d = desk(b)
    ids = [d.hold(rcpts=[r]) for r in ("bob@example.com", "carol@example.com", "bob@example.com")]
    d.release(ids[0])
    assert d.release("--to", "bob@example.com", "--dry-run").split() == [ids[2]] and len(b.messages) == 1
    report = json.loads(d.release("--to", "bob@example.com", "--since", "1h", "--json"))
    assert [(r["id"], r["state"]) for r in report] == [(ids[2], "released")]
    assert json.loads(d.release("--to", "bob@example.com", "--json")) == []
    d.release("--rule", "hold", "--again")
    assert [m.to[0].split("@")[0] for m in b.messages] == ["bob", "bob", "bob", "carol", "bob"]
    d.release("--rule", "other")
    d.release("--since", "no time", status=1)
    assert len(b.messages) == 5


def test_delete(desk, backend):
    """Only what everybody has."""
    b = backend()
    d = desk(b)
    id = d.hold(rcpts=("bob@example.com", "carol@example.com"))
    d.release(id, "--delete", "--rcpt", "bob@example.com")
    b.script["."] = b"451 4.3.0 later\r\n"
    d.release(id, "--delete", status=4)
    assert [p.stem for p in d.g.quarantined()] == [id]
    del b.script["."]
    assert json.loads(d.release(id, "--delete", "--json", status=3))[0]["deleted"] is True
    assert not d.g.quarantined() and not list((d.g.state / "quarantine").rglob("*.events"))
    d.release(id, status=2)
    listed = json.loads(d.g.command("quarantine", "list", "-c", str(d.g.conf_path), "--deleted", "--json").stdout)
    assert [(x["id"], x["why"]) for x in listed] == [(id, "released")]
    assert [m.to for m in b.messages if m.to != ["carol@example.com"]] == [["bob@example.com"]]


def test_cannot_be_recorded(desk, backend):
    """Where nothing can be written nothing is sent."""
    b = backend()
    d = desk(b)
    id = d.hold()
    (eml,) = d.g.quarantined()
    eml.with_suffix(".events").mkdir()
    d.release(id, status=1)
    eml.with_suffix(".events").rmdir()
    d.release(id)
    assert len(b.messages) == 1


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_root_gives_itself_up(desk, backend):
    """What is recorded is the user's file, also when root releases."""
    b = backend()
    d = desk(b)
    d.g.stop()
    os.chmod(d.g.dir, 0o755)
    for p in d.g.dir.parents:
        if os.stat(p).st_uid == 0 and not os.stat(p).st_mode & 0o001:
            os.chmod(p, os.stat(p).st_mode | 0o011)
    subprocess.run(["chown", "-R", "nobody:", *(str(p) for p in d.g.state.iterdir() if p.name in ("quarantine", "state", "history"))], check=True)
    d.g.conf_path.write_text(d.g.conf_path.read_text().replace("workers =", 'user = "nobody"\nworkers ='))
    d.g.start()
    id = d.hold()
    d.release(id)
    assert len(b.messages) == 1 and d.indexed(id) == "released"
    assert 0 not in d.g.quarantine_owners()


def test_second_server(desk, backend):
    b, spare = backend(), backend()
    d = desk(b, spare)
    id = d.hold()
    b.stop()
    d.release(id)
    assert [m.to for m in spare.messages] == [["bob@example.com"]]
    spare.stop()
    d.release(id, "--again", status=4)


def test_tls_required(desk, backend, certificates):
    b = backend(tls=certificates.signed, keywords=["SIZE 1000000", "STARTTLS", "8BITMIME"])
    d = desk(b, backend_options=f'tls = required tls_ca = "{certificates.ca}" tls_name = "backend.example"')
    id = d.hold()
    d.release(id)
    assert b.messages[-1].session.tls


@pytest.fixture(scope="module")
def postfix_xclient(scratch):
    server = Postfix(scratch / "postfix-xclient", smtpd_authorized_xclient_hosts="127.0.0.1", receive_override_options="no_header_body_checks")
    yield server
    server.stop()


def strip_trace(raw):
    """Without what Postfix puts above, and with the line ends that it makes of CRLF."""
    return re.sub(rb"\A(?:(?:Return-Path|X-Original-To|Delivered-To|Received):[^\n]*\n(?:[ \t][^\n]*\n)*)+", b"", raw)


@pytest.mark.parametrize("told", [True, False])
def test_postfix_sees_the_client(desk, postfix_xclient, told):
    """Its log, its Received field and its own checks have the client's address and HELO; the message is as it was."""
    p = postfix_xclient
    p.empty()
    d = desk(p, backend_options="xclient = yes" if told else "")
    message = mail(subject="hold", body="Body \xe9\r\n.dot\r\n" + "x" * 900 + "\r\n").decode().encode("latin-1")
    id = d.hold(message, source="127.0.0.25", helo="mail.good.example", mail_params=" BODY=8BITMIME")
    mark = len((p.dir / "log").read_text())
    (report,) = json.loads(d.release(id, "--json"))
    assert report["told_client"] is told
    raw = p.wait_message("bob@example.com")
    assert strip_trace(raw) == message.replace(b"\r\n", b"\n")
    assert raw.startswith(b"Return-Path: <a+b@sender.example>\n")
    received = re.search(rb"Received: from (\S+) \((\S+) \[([^]]+)\]\)", raw).groups()
    if told:
        assert received[0] == b"mail.good.example" and received[2] == b"127.0.0.25"
        p.wait_log(r"client=\S*\[127\.0\.0\.25\]", mark)
    else:
        assert received[0] == b"gate.example" and received[2] == b"127.0.0.1"


def test_xclient_dialogue(desk, backend):
    """Only where it is configured and offered; refused, the message goes without."""
    b = backend()
    d = desk(b, backend_options="xclient = yes")
    ids = [d.hold(source="127.0.0.25", helo="c.example") for _ in range(3)] + [d.hold(helo="c=d")]
    d.release(ids[0])
    assert not any(c.startswith("XCLIENT") for c in b.sessions[-1].commands)
    b.keywords.append("XCLIENT NAME ADDR PORT PROTO HELO")
    b.script["XCLIENT"] = b"220 backend.example ESMTP\r\n"
    d.release(ids[1])
    said = b.messages[-1].session.commands
    assert said[0] == "EHLO gate.example" and said[2] == "EHLO c.example"
    assert said[1] == "XCLIENT NAME=mail.good.example ADDR=127.0.0.25 PROTO=ESMTP HELO=c.example"
    b.script["XCLIENT"] = b"550 5.7.0 no\r\n"
    assert not json.loads(d.release(ids[2], "--json"))[0]["told_client"]
    # no confirmed name, and a HELO that is no host name
    b.script["XCLIENT"] = b"220 backend.example ESMTP\r\n"
    d.release(ids[3])
    said = b.messages[-1].session.commands
    assert said[1:3] == ["XCLIENT NAME=[UNAVAILABLE] ADDR=127.0.0.1 PROTO=ESMTP HELO=c+3Dd", "EHLO c=d"]


def test_help(lab, backend):
    g = lab([backend().port], policy=POLICY)
    out = g.command("quarantine", "release", "--help").stdout
    assert b"--again" in out
