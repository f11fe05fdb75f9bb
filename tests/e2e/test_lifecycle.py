"""Parent, keepers and workers: reload, death of a part, the end; and the plain build as another user in an empty root."""
import json
import os
import pathlib
import pwd
import signal
import socket
import time

import pytest

from lab.backend import Held
from lab.process import WAIT_S
from lab.smtp import Client, Closed, mail

PLAIN = os.environ.get("GATEPOST_PLAIN")


def send(g, subject="hello", rcpt="bob@example.com"):
    with Client(g.port) as c:
        return c.message("a@sender.example", rcpt, mail(subject=subject))


def begin_data(c, subject):
    c.ehlo()
    c.envelope("a@sender.example", "bob@example.com")
    c.expect("DATA", 354)
    c.send(mail(subject=subject)[:50])
    return mail(subject=subject)[50:] + b".\r\n"


def reload(g):
    mark = g.mark()
    g.process.send(signal.SIGHUP)
    g.wait_line(r'event=reload what="?(done|refused)', mark)
    return g.process.output(mark)


# reload

def test_reload_with_sessions_open(lab, backend):
    """Who is inside finishes by the rules it began with; who comes later meets the new ones."""
    server = backend()
    g = lab([server.port])
    with Client(g.port) as idle, Client(g.port) as busy:
        idle.ehlo()
        rest = begin_data(busy, "begun before")
        g.policy_path.write_text('reject everybody: "550 5.7.1 the new rules"\n')
        g.write_conf(domains=("example.com", "new.example"))
        assert "what=done" in reload(g)
        with Client(g.port) as c:
            c.ehlo()
            reply = c.envelope("a@sender.example", "bob@new.example")[0]
            assert reply.code == 550 and "the new rules" in reply.text
        busy.send(rest)
        assert busy.reply().code == 250
        assert idle.envelope("a@sender.example", "bob@example.com")[0].code == 250
        idle.cmd("RSET")
        assert "elaying" in idle.envelope("a@sender.example", "bob@new.example")[0].text
    assert b"begun before" in server.messages[0].data


def test_reload_of_a_wrong_configuration_is_refused(lab, backend):
    g = lab([backend().port])
    good = g.conf_path.read_text()
    g.conf_path.write_text(good + 'limits { recipients = "many" }\n')
    line = len(good.splitlines()) + 1
    said = reload(g)
    assert f"gatepost.conf:{line}: " in said and "what=\"refused" in said
    assert send(g).code == 250
    g.conf_path.write_text(good)
    policy = g.policy_path.read_text()
    g.policy_path.write_text("accept if nonsense = 3\n" + policy)
    assert "policy.conf:1:" in reload(g)
    assert send(g).code == 250
    g.policy_path.write_text(policy)
    assert "what=done" in reload(g)
    assert send(g).code == 250


def test_a_new_backend_after_a_reload(lab, backend):
    one, two = backend(), backend()
    g = lab([one.port])
    assert send(g).code == 250
    g.write_conf(backends=[two.port])
    reload(g)
    assert send(g).code == 250
    assert (len(one.messages), len(two.messages)) == (1, 1)
    one.wait(lambda: one.now_open == 0)


def test_many_reloads_under_load(lab, backend):
    server = backend()
    g = lab([server.port])
    for i in range(4):
        assert "what=done" in reload(g)
        assert send(g, f"message {i}").code == 250
    assert len(server.messages) == 4


# death of a part

def test_a_worker_dies(lab, backend):
    """Its own sessions are lost, those of the other are not; it is started again."""
    server = backend()
    g = lab([server.port], workers=2)
    clients = [Client(g.port) for _ in range(12)]
    for c in clients:
        c.ehlo()
    left = dict(enumerate(clients))
    for name in ("gp-worker 1", "gp-worker 2"):
        pid = g.children()[name]
        workers = json.loads(g.command("status", "-c", str(g.conf_path)).stdout)["workers"]
        others = sum(w["sessions"] for w in workers if w["pid"] != pid) if len(left) == len(clients) else 0
        g.kill_child(name)
        for i, c in list(left.items()):
            try:
                assert c.cmd("NOOP").code == 250
            except (Closed, OSError):
                del left[i]
        assert len(left) == others, (name, workers)
    assert len(left) == 0, "each session was one of the two workers'"
    for c in clients:
        c.close()
    end = time.monotonic() + 30
    while not {"gp-worker 1", "gp-worker 2"} <= set(g.children()):
        assert time.monotonic() < end
    for i in range(4):
        assert send(g, f"message {i}").code == 250
    assert len(server.messages) == 4


def test_a_worker_dies_while_the_backend_thinks(lab, backend):
    """No 250 was said: the client comes again, and nothing is lost. The slots that it held are free."""
    held = Held()
    server = backend({".": held})
    g = lab([server.port], backend_options="max_sessions = 1")
    with Client(g.port) as c:
        c.ehlo()
        c.envelope("a@sender.example", "bob@example.com")
        c.expect("DATA", 354)
        c.send(mail() + b".\r\n")
        assert held.reached.wait(30)
        g.kill_child("gp-worker 1")
        with pytest.raises(Closed):
            c.line()
    server.script.clear()
    held.go.set()
    assert send(g).code == 250


@pytest.mark.parametrize("name", ["gp-state", "gp-store", "gp-history", "gp-spool"])
def test_a_keeper_dies(lab, backend, name):
    g = lab([backend().port])
    with Client(g.port) as c:
        rest = begin_data(c, "meanwhile")
        g.kill_child(name)
        c.send(rest)
        assert c.reply().code == 250
    assert send(g).code == 250


# the end

def nobody_listens(port):
    """Or soon nobody does: the processes close the socket one after the other, and who is in its queue then is cut off."""
    end = time.monotonic() + WAIT_S
    while time.monotonic() < end:
        try:
            Client(port).close()
        except ConnectionRefusedError:
            return
        except (Closed, ConnectionResetError):
            continue
        break
    raise AssertionError("somebody still listens")


def test_sigterm_drains(lab, backend):
    """A message that is under way arrives; an idle session is told; nobody new is let in."""
    server = backend()
    g = lab([server.port])
    with Client(g.port) as idle, Client(g.port) as busy:
        idle.ehlo()
        rest = begin_data(busy, "under way")
        mark = g.mark()
        g.process.send(signal.SIGTERM)
        assert idle.reply().code == 421 and idle.closed()
        g.wait_line("event=stop", mark)
        busy.send(rest)
        assert busy.reply().code == 250
        assert busy.cmd("NOOP").code == 421
        nobody_listens(g.port)
    assert g.process.wait() == 0
    assert b"under way" in server.messages[0].data


def test_a_second_sigterm_is_at_once(lab, backend):
    g = lab([backend().port], conf="timeouts { drain_stop = 10m }")
    with Client(g.port) as busy:
        begin_data(busy, "under way")
        mark = g.mark()
        g.process.send(signal.SIGTERM)
        g.wait_line("event=stop", mark)
        g.process.send(signal.SIGTERM)
        g.process.wait()
        assert busy.closed()


def test_the_end_while_the_backend_is_asked_how_it_is(lab):
    """A probe that is under way holds up nothing."""
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        silent.settimeout(30)
        g = lab([silent.getsockname()[1]], conf="timeouts { drain_stop = 10m }")
        probe, _ = silent.accept()
        g.process.send(signal.SIGTERM)
        assert g.process.wait() == 0
        probe.close()


# the plain build as another user

@pytest.mark.skipif(os.geteuid() != 0 or not PLAIN, reason="needs root and a plain build (GATEPOST_PLAIN)")
def test_as_nobody_in_an_empty_root(lab, backend, scratch):
    """Workers and keepers have another user and a root of their own, and everything works in it: names, lists, keys, greylist, quarantine."""
    policy = "greylist wait: if sender.domain = grey.example\nquarantine held: if header.subject ~ /held/\naccept\n"
    server = backend()
    g = lab([f"backend.lan.example:{server.port}"], policy=policy, binary=PLAIN, workers=2,
            dns_conf='local_zone = { "lan.example. static" } local_data = { "backend.lan.example. A 127.0.0.1" }',
            conf='user = "nobody"\ndnsbl "dnsbl.example" { weight = 5 }\ngreylist { delay = "0" }')
    nobody = pwd.getpwnam("nobody").pw_uid
    for name, pid in g.children().items():
        status = pathlib.Path(f"/proc/{pid}/status").read_text()
        uids = next(line for line in status.splitlines() if line.startswith("Uid:")).split()[1:]
        assert set(uids) == {str(nobody)}, name
        root = pathlib.Path(os.readlink(f"/proc/{pid}/root"))
        assert root != pathlib.Path("/") and g.state in root.parents, (name, root)
        if name.startswith("gp-worker"):
            assert list(root.iterdir()) == []
        assert "NoNewPrivs:\t1" in status
    for i in range(4):
        assert send(g, f"message {i}").code == 250
    assert send(g, "held").code == 250
    assert len(g.quarantined()) == 1 and len(server.messages) == 4
    with Client(g.port) as c:
        c.ehlo()
        c.starttls()
        c.ehlo()
        assert c.envelope("x@grey.example", "bob@example.com")[0].code == 451
        assert c.cmd("RCPT TO:<bob@example.com>").code == 250
    assert "what=done" in reload(g)
    assert send(g, "after the reload").code == 250


# the trace, and explain

def test_received_names_the_client_as_seen(lab, backend):
    """The address is the socket's, the name what the client said, whatever that is (Exchange reads the first line so)."""
    server = backend()
    g = lab([server.port])
    with Client(g.port, source="127.0.0.25") as c:
        assert c.message("a@sender.example", "bob@example.com", mail(), helo="[10.9.8.7]").code == 250
    head = server.messages[0].data.split(b"\r\n\r\n")[0].decode().replace("\r\n\t", " ").replace("\r\n ", " ").splitlines()
    (received,) = [h for h in head if h.startswith("Received:")]
    assert received.startswith("Received: from [10.9.8.7] (mail.good.example [127.0.0.25])") and "by gate.example" in received
    assert "with ESMTP id" in received and "for <bob@example.com>" in received
    assert head.index(received) < head.index("From: alice@sender.example")


def test_explain_agrees_with_what_happens(lab, backend):
    server = backend()
    g = lab([server.port], conf='dnsbl "dnsbl.example" { weight = 5 }')
    g.wait_line("zone=dnsbl.example state=well")
    for client, sender, author in (("127.0.0.1", "a@sender.example", "a@sender.example"), ("127.0.0.1", "x@sender.example", "billing@bank.example"),
                                   ("127.0.0.66", "a@sender.example", "a@sender.example"), ("127.0.0.25", "a@good.example", "a@good.example")):
        message = mail(author, subject="compared")
        record = g.explain_json(message, client=client, helo="client.example", sender=sender)[0]
        mark = g.mark()
        with Client(g.port, source=client) as c:
            reply = c.message(sender, "bob@example.com", message)
            assert reply.code == 250 or reply.code // 100 == 5, reply
        live = g.verdict(since=mark)
        assert live["verdict"] == record["verdict"]["action"], (live, record["verdict"])
        assert live.get("rule") == (record["verdict"].get("rule") or {}).get("name")
        for pair in live["facts"].split(" "):
            name, _, value = pair.partition("=")
            if name in record["facts"]:
                assert str(record["facts"][name]) == value, (name, live, record["facts"])
