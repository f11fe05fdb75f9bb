"""The processes: reload, drain, death of each, confinement, and what must survive it."""
import base64
import json
import os
import pathlib
import pwd
import signal
import sqlite3
import subprocess
import time

import pytest
from lab.gateway import BINARY, POLICY, Gateway
from lab.process import WAIT_S
from lab.smtp import Client, Closed, mail

FORGER = "billing@bank.example"


def reload(gate):
    since = gate.mark()
    gate.process.send(signal.SIGHUP)
    return gate.wait_line("event=reload what=(done|\"refused)", since)


def transaction(client, subject, sender="a@sender.example"):
    client.envelope(sender, "bob@example.com")
    return client.data_block(mail(sender, subject=subject))


def knows_other_domain(client):
    """Whether other.example is accepted by the gateway: then it is the Postfix that refuses it."""
    client.expect("MAIL FROM:<a@sender.example>", 250)
    reply = client.cmd("RCPT TO:<bob@other.example>")
    assert reply.code // 100 == 5
    return "Relay access denied" in reply.text


def test_a_session_goes_on_over_a_reload(gate, postfix):
    with Client(gate.port) as old:
        old.ehlo()
        old.envelope("a@sender.example", "bob@example.com")
        gate.write_conf(domains=("example.com", "other.example"))
        assert "done" in reload(gate)
        assert old.data_block(mail(subject="over the reload")).code == 250
        assert b"over the reload" in postfix.wait_message("bob@example.com")
        assert transaction(old, "and another").code == 250      # under the configuration of before
        postfix.wait_message("bob@example.com", 2)
        assert not knows_other_domain(old)
    # Until the old workers have heard of it they may take a connection more.
    for _ in range(100):
        with Client(gate.port) as new:
            new.ehlo()
            if knows_other_domain(new):
                return
    raise AssertionError("no new connection came to a new worker")


def test_a_wrong_configuration_is_refused_and_the_old_one_goes_on(gate, postfix):
    text = gate.conf_path.read_text()
    gate.conf_path.write_text(text + "\nnonsense = 1\n")
    line = len(text.splitlines()) + 2
    assert "refused" in reload(gate)
    gate.wait_line(rf"gatepost\.conf:{line}: ")
    gate.conf_path.write_text(text)
    gate.policy_path.write_text("accept if no.such.fact = 1\n")
    assert "refused" in reload(gate)
    gate.wait_line(r"policy\.conf:1:")
    with Client(gate.port) as c:
        assert c.message("a@sender.example", "bob@example.com", mail(subject="still served")).code == 250
    assert b"still served" in postfix.wait_message("bob@example.com")


def test_drain(gate, postfix):
    idle, busy = Client(gate.port), Client(gate.port)
    idle.ehlo()
    busy.ehlo()
    busy.envelope("a@sender.example", "bob@example.com")
    gate.process.send(signal.SIGTERM)
    gate.wait_notify("STOPPING=1")
    assert idle.reply().code == 421
    assert idle.closed()
    with pytest.raises((ConnectionRefusedError, ConnectionResetError, Closed)):
        Client(gate.port)
    assert busy.data_block(mail(subject="while stopping")).code == 250
    assert b"while stopping" in postfix.wait_message("bob@example.com")
    busy.close()
    assert gate.process.wait() == 0


def test_a_worker_dies_in_the_middle_of_a_message(lab, postfix):
    g = lab([postfix.port])
    c = Client(g.port)
    c.ehlo()
    c.envelope("a@sender.example", "bob@example.com")
    c.expect("DATA", 354)
    c.send(mail(subject="half")[:60])
    g.kill_child("gp-worker 1")
    assert c.closed()
    with Client(g.port) as again:
        assert again.message("a@sender.example", "bob@example.com", mail(subject="whole")).code == 250
    assert b"whole" in postfix.wait_message("bob@example.com")
    assert len(postfix.messages("bob@example.com")) == 1


def test_quarantined_mail_outlives_its_keeper(lab, postfix):
    """The store keeper is killed again and again while mail is quarantined: what was answered 250 is there, whole."""
    g = lab([postfix.port], workers=2)
    acknowledged, refused = [], 0
    for n in range(40):
        if n % 8 == 4:
            g.kill_child("gp-store")
        message = mail(FORGER, subject=f"forgery {n}", body="x" * 70 + "\r\n" + f"end {n}\r\n")
        with Client(g.port) as c:
            reply = c.message("x@sender.example", "bob@example.com", message)
        if reply.code == 250:
            acknowledged.append(message)
        else:
            assert 400 <= reply.code < 500, reply
            refused += 1
    kept = [p.read_bytes() for p in g.quarantined()]
    missing = [m for m in acknowledged if m not in kept]
    assert not missing and len(acknowledged) >= 30, (len(acknowledged), refused)
    with sqlite3.connect(g.state / "quarantine" / "quarantine.db") as db:
        assert db.execute("SELECT count(*) FROM message WHERE sender = 'x@sender.example'").fetchone()[0] >= len(acknowledged)


def test_what_is_written_beside_a_quarantined_message(lab, postfix):
    g = lab([postfix.port])
    with Client(g.port) as c:
        assert c.message("x@sender.example", ["bob@example.com", "carol@example.com"], mail(FORGER, subject="your account")).code == 250
    path, = g.quarantined()
    meta = json.loads(path.with_suffix(".json").read_text())
    envelope = meta["envelope"]
    assert envelope["from"] == "x@sender.example" and [r["address"] for r in envelope["rcpt"]] == ["bob@example.com", "carol@example.com"]
    assert meta["client"]["ip"] == "127.0.0.1" and meta["client"]["helo"] == "client.example"
    assert meta["message"]["subject"] == "your account" and meta["facts"]["dmarc"] == "fail"
    assert meta["verdict"]["action"] == "quarantine" and meta["verdict"]["rule"]["text"]
    assert meta["kept"]["id"] == path.stem and meta["kept"]["bytes"] == path.stat().st_size


def test_the_greylist_survives_a_restart(lab, postfix):
    g = lab([postfix.port], policy="greylist\naccept\n")
    with Client(g.port) as c:
        c.ehlo()
        assert c.envelope("a@sender.example", "bob@example.com")[0].code == 451
    since = g.mark()
    g.process.send(signal.SIGTERM)
    g.wait_line("what=ended", since)
    assert g.process.wait() == 0
    with sqlite3.connect(g.state / "state" / "state.db") as db:
        assert db.execute("UPDATE state SET first = first - 400, last = last - 400 WHERE space = 'grey'").rowcount == 1
    g.notify.close()
    g.start()
    with Client(g.port) as c:
        assert c.message("a@sender.example", "bob@example.com", mail(subject="second attempt")).code == 250
    assert b"second attempt" in postfix.wait_message("bob@example.com")


def test_commands_that_ask_the_running_gateway(gate):
    conf = str(gate.conf_path)
    status = json.loads(gate.command("status", "-c", conf).stdout)
    assert len(status["workers"]) == 1 and status["restarts"] == 0
    assert gate.command("recipients", "-c", conf, "clear").stdout.endswith(b"forgotten\n")
    assert gate.command("recipients", "-c", conf, "clear", "bob@example.com").stdout == b"0 forgotten\n"


@pytest.mark.parametrize("argv, words", [
    ([], "usage"), (["no-such-command"], "no-such-command"), (["run", "--no-such-option"], "no-such-option"), (["run", "extra"], "extra"),
    (["run", "-c", "/no/such/file"], "/no/such/file"), (["check", "-c", "/no/such/file"], "/no/such/file"), (["recipients"], "clear"),
    (["status", "-c", "/no/such/file"], "/no/such/file"),
])
def test_wrong_command_lines(argv, words):
    done = subprocess.run([BINARY, *argv], capture_output=True, text=True, timeout=60)
    assert done.returncode == 1 and words in done.stderr and done.stdout == ""


@pytest.mark.parametrize("command", ["run", "check", "explain", "recipients", "status", "version"])
def test_help(command):
    done = subprocess.run([BINARY, command, "--help"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0 and done.stdout.startswith(f"usage: gatepost {command}") and done.stderr == ""


def test_version():
    out = subprocess.run([BINARY, "version"], capture_output=True, text=True, check=True, timeout=60).stdout
    for library in ("libevent", "libunbound", "OpenSSL", "libopendkim", "libspf2", "libopendmarc", "libpsl", "PCRE2", "libconfuse", "SQLite", "jansson", "libarchive", "libseccomp"):
        assert library in out


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give up being root")
def test_confined(scratch, dns, postfix):
    """The whole way with every process but the parent as nobody, in a root directory of its own (not under the address sanitizer)."""
    g = Gateway(scratch / "confined", [postfix.port], dns=dns.server, policy="quarantine fapiao: if header.subject ~ /逾期/\n" + POLICY)
    g.conf_path.write_text(g.conf_path.read_text().replace("workers =", 'user = "nobody"\nworkers ='))
    nobody = pwd.getpwnam("nobody").pw_uid
    octets = pathlib.Path(BINARY).read_bytes()
    sanitized = b"__asan_init" in octets or b"__gcov_" in octets          # these write files, and are not confined
    with g:
        places = {"gp-state": "state", "gp-store": "quarantine", "gp-history": "history", "gp-spool": "spool", "gp-keys": "empty", "gp-worker 1": "empty"}
        end = time.monotonic() + WAIT_S
        while set(procs := g.children()) != set(places) or "NoNewPrivs:\t0\n" in "".join(pathlib.Path(f"/proc/{p}/status").read_text() for p in procs.values()):
            assert time.monotonic() < end, procs                # a keeper may still be on its way there
        for name, directory in places.items():
            status = pathlib.Path(f"/proc/{procs[name]}/status").read_text()
            assert f"Uid:\t{nobody}\t{nobody}\t{nobody}\t{nobody}\n" in status
            assert "NoNewPrivs:\t1\n" in status and "CapEff:\t0000000000000000\n" in status
            if not sanitized:
                assert os.readlink(f"/proc/{procs[name]}/root") == str(g.state / directory)
        assert list((g.state / "empty").iterdir()) == []
        with Client(g.port) as c:
            c.ehlo()
            c.starttls()
            assert c.message("a@sender.example", "bob@example.com", mail(subject="from within")).code == 250
            big = mail(FORGER, subject="big forgery", body=("x" * 76 + "\r\n") * 10000)
            assert transaction(c, "small forgery", FORGER).code == 250
            c.envelope("x@sender.example", "bob@example.com")
            assert c.data_block(big).code == 250
            # Charsets are converted by what was loaded before the root directory was left.
            assert transaction(c, "=?gb18030?B?" + base64.b64encode("发票已逾期".encode("gb18030")).decode() + "?=").code == 250
            assert g.verdict("quarantine", "rule=fapiao")
        assert b"from within" in postfix.wait_message("bob@example.com")
        assert sorted(p.stat().st_size for p in g.quarantined())[-1] == len(big)
        assert {p.stat().st_uid for p in g.quarantined()} == {nobody}
        assert "done" in reload(g)
        for name in ("gp-store", "gp-history", "gp-state", "gp-spool"):
            g.kill_child(name)
        with Client(g.port) as c:
            assert c.message("x@sender.example", "bob@example.com", mail(FORGER, subject="after all that")).code == 250
        assert len(g.quarantined()) == 4


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can take from itself the right to more descriptors")
def test_without_descriptors(lab, postfix):
    """Who comes when no descriptor is left is turned away at once; those inside are served, and so is who comes later."""
    g = lab([postfix.port], conf="limits { sessions_per_client = 500 }",
            wrap=["setpriv", "--bounding-set=-sys_resource", "prlimit", "--nofile=80:80"])
    clients = [Client(g.port, greeting=False) for _ in range(100)]
    g.wait_line("no file descriptors left")
    inside = []
    for c in clients:
        try:
            assert c.reply().code == 220
            inside.append(c)
        except (Closed, ConnectionResetError):
            pass
    assert 20 < len(inside) < 80
    inside[0].ehlo()
    for c in clients:
        c.close()
    for _ in range(100):            # until the worker has seen that they have gone
        try:
            with Client(g.port) as c:
                reply = c.message("a@sender.example", "bob@example.com", mail(subject="after the rush"))
                if reply.code == 250:
                    break
                assert reply.code == 451, reply         # nor was there one for the server behind
        except (Closed, ConnectionResetError, BrokenPipeError):
            pass
    assert b"after the rush" in postfix.wait_message("bob@example.com")
