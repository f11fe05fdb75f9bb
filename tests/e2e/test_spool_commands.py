"""`gatepost spool ...`: an administrator at work in the spool, beside the running gateway and without it."""
import json
import os
import pathlib
import re
import signal
import subprocess
import time

import pytest

from lab.backend import Backend, Held
from lab.gateway import Gateway
from lab.process import WAIT_S, free_port
from lab.smtp import Client, mail

DIGITS = "0123456789abcdefghjkmnpqrstvwxyz"
BEGUN_MS = int(time.time() * 1000) - 3600 * 1000 & ~0xfffff        # so that all ids begin with the same digits


def make_id(n):
    ms, out = BEGUN_MS + n, ""
    for _ in range(9):
        out = DIGITS[ms & 31] + out
        ms >>= 5
    return out + "000"


def rcpt(address, route="backend", state="waiting", **kw):
    return dict(dict(address=address, params="", route=route, state=state, attempts=0, tried=0, reply="", remote="", told=False), **kw)


def put(g, n, *rcpts, sender="a@sender.example", subject="spooled", credible=True, age=3600):
    """An entry as the keeper writes it: policy/spool_record.h."""
    directory = g.state / "spool"
    directory.mkdir(parents=True, exist_ok=True)
    id_ = make_id(n)
    message = f"Received: from x by gate.example\r\n\tfor y\t\x1b\r\nFrom: <{sender}>\r\nSubject: {subject} {n}\r\n\r\nbody of {n}\r\n".encode()
    (directory / f"{id_}.eml").write_bytes(message)
    (directory / f"{id_}.json").write_text(json.dumps(dict(
        spool=1, id=id_, created=int(time.time()) - age, bytes=len(message), sender=sender, params="ENVID=q1", direction="inbound",
        credible=credible, listener="smtp", client="192.0.2.7", rcpt=[rcpt(r) if isinstance(r, str) else r for r in rcpts])))
    return id_


def run(g, command, *argv, status=0):
    done = subprocess.run([g.binary, "spool", command, "-c", str(g.conf_path), *argv], capture_output=True, timeout=120)
    assert done.returncode == status, (done.returncode, done.stdout, done.stderr)
    return done


def listed(g, *argv):
    return json.loads(run(g, "list", "--json", *argv).stdout)


def ids(g, *argv):
    return [m["id"] for m in listed(g, *argv)]


def wait_for(what):
    end = time.monotonic() + WAIT_S
    while not (got := what()):
        assert time.monotonic() < end
        time.sleep(0.02)
    return got


@pytest.fixture
def away(tmp_path, dns):
    """A gateway, not started yet, whose backend is away."""
    def make(port=None, conf='spool { retry_min = "1h" retry_max = "1h" }', **kw):
        return Gateway(tmp_path / "gate", [port or free_port()], dns=dns.server, policy="accept\n", conf=conf, **kw)
    return make


def test_without_the_gateway(away):
    g = away()
    err = run(g, "list", status=1).stderr
    assert b"there is no spool yet" in err
    one = put(g, 1, "bob@example.com", "carol@example.com")
    two = put(g, 2, rcpt("x@one.example", "mx one.example", attempts=3, tried=int(time.time()) - 60, reply="451 4.7.1 \u202elater",
                         remote="mx.one.example [192.0.2.1]:25"), rcpt("bob@example.com", state="delivered"), sender="", credible=False, age=10)
    three = put(g, 3, rcpt("y@two.example", "upstream"), sender="Eve@Other.example", age=90000)
    assert ids(g) == [one, two, three]
    for argv, want in ((["--to", "bob@example.com"], [one]), (["--to", "BOB@example.com"], [one]), (["--to", "one.example"], [two]),
                       (["--from", "<>"], [two]), (["--from", "eve@other.example"], [three]), (["--from", "sender.example"], [one]),
                       (["--route", "mx"], [two]), (["--route", "mx one.example"], [two]), (["--route", "m"], []), (["--older", "2h"], [three]),
                       (["--older", "30m"], [one, three]), (["--limit", "2"], [one, two]), (["--to", "example.com", "--from", "<>"], [])):
        assert ids(g, *argv) == want, argv
    table = run(g, "list").stdout.decode().splitlines()
    assert table[0].split()[:3] == ["ID", "AGE", "SIZE"] and len(table) == 4
    assert re.search(r"bob@example.com +\+1 ", table[1]) and r"451 4.7.1 \u202elater" in table[2] and "mx one.example" in table[2] and " <> " in table[2]
    shown = run(g, "show", two[:8] + two[8:]).stdout.decode()
    for part in ("from       <>", r"reply      451 4.7.1 \u202elater", "said by    mx.one.example [192.0.2.1]:25", "state      delivered",
                 "no notification", "Subject: spooled 2", "gate.example\n\tfor y\\t\\x1b\n"):
        assert part in shown, part
    assert "body of 2" not in shown and "body of 2" in run(g, "show", "--body", two).stdout.decode()
    assert json.loads(run(g, "show", "--json", one, three).stdout)[1]["rcpt"][0]["route"] == "upstream"
    assert b"several messages begin so" in run(g, "show", one[:4], status=2).stderr
    assert b"no such message" in run(g, "show", "zzzzzzzzzzzz", status=2).stderr
    assert b"does not run" in run(g, "retry", "--all", status=1).stderr
    assert b"does not run" in run(g, "retry", one, two, status=1).stderr
    run(g, "retry", status=1)
    run(g, "retry", "--all", one, status=1)
    run(g, "list", "--older", "soon", status=1)
    assert b"nobody can be told" in run(g, "delete", "--bounce", one, status=1).stderr
    assert run(g, "delete", one, "nonsense", status=2).stdout == f"{one} deleted\n".encode()
    assert ids(g) == [two, three]
    assert not (g.state / "spool" / f"{one}.eml").exists()
    # what cannot be read is said, and the rest is told
    (g.state / "spool" / f"{two}.json").write_text("{")
    done = run(g, "list", "--json", status=1)
    assert [m["id"] for m in json.loads(done.stdout)] == [three] and b"1 entries cannot be read" in done.stderr


def test_beside_the_gateway(away):
    """A next hop that is away; then it is back, and everything arrives in order."""
    port = free_port()
    g = away(port)
    sent = [put(g, n, f"user{n}@example.com") for n in range(6)]
    with g:
        first = wait_for(lambda: [m for m in listed(g) if m["rcpt"][0]["attempts"]])
        assert [m["id"] for m in first] == [sent[0]]      # one has tried for all
        assert first[0]["rcpt"][0]["reply"].startswith("4")
        wait_for(lambda: not any(p["leased"] for m in listed(g) for p in m["parts"]))
        assert all(p["down"] and p["in_ms"] > 3000 * 1000 for m in listed(g) for p in m["parts"])
        assert re.search(rb" in (5\dm|60m) ", run(g, "list").stdout)
        assert b"next       in " in run(g, "show", sent[3]).stdout
        status = wait_for(lambda: [s for s in [json.loads(g.command("status", "-c", str(g.conf_path)).stdout)["spool"]] if s["messages"] == 6])[0]
        assert status["routes"] == status["routes_down"] == 1 and status["leased"] == 0
        assert b"6 are tried now" in run(g, "retry", "--route", "backend").stdout
        assert b"0 are tried now" in run(g, "retry", "--route", "back").stdout
        wait_for(lambda: listed(g)[0]["rcpt"][0]["attempts"] == 2)
        assert run(g, "delete", sent[2]).stdout == f"{sent[2]} deleted\n".encode()
        g.wait_line(f'what="deleted by command" spool={sent[2]}')
        server = Backend(port=port)
        try:
            mark = g.mark()
            assert b"5 are tried now" in run(g, "retry", "--all").stdout
            messages = server.wait_messages(5)
            assert [m.to for m in messages] == [[f"user{n}@example.com"] for n in (0, 1, 3, 4, 5)]
            assert all(f"body of {n}".encode() in m.data for m, n in zip(messages, (0, 1, 3, 4, 5)))
            g.wait_line(f"event=spool result=delivered spool={sent[5]}", mark)
            wait_for(lambda: not listed(g))
        finally:
            server.stop()


def test_what_is_being_delivered_stays(away, backend):
    server, held = backend(), Held()
    server.script["."] = held
    g = away(server.port)
    one = put(g, 1, "bob@example.com")
    with g:
        assert held.reached.wait(WAIT_S)
        assert b" delivering " in run(g, "list").stdout
        assert b"is being delivered at this moment" in run(g, "delete", one, status=1).stderr
        assert b"is being delivered at this moment" in run(g, "delete", "--bounce", one, status=1).stderr
        assert b"is being delivered" in run(g, "retry", one).stdout
        held.go.set()
        wait_for(lambda: not listed(g))
    assert len(server.messages) == 1


def test_given_up_by_command(away, backend):
    """The sender, one of ours, is told."""
    server = backend()
    g = away(server.port)
    put(g, 1, rcpt("x@dead.example", "upstream"), sender="bob@example.com")
    with g:
        one = wait_for(lambda: ids(g))[0]
        wait_for(lambda: [m for m in listed(g) if m["rcpt"][0]["attempts"] and not any(p["leased"] for p in m["parts"] or [])])
        assert b"its sender told" in run(g, "delete", "--bounce", one).stdout
        dsn = server.wait_messages(1)[0]
        assert dsn.to == ["bob@example.com"] and b"x@dead.example" in dsn.data and dsn.mail.startswith("MAIL FROM:<>")
        wait_for(lambda: not listed(g))


def test_damage(away, backend):
    """What cannot be used is put aside, and said; the rest is delivered."""
    server = backend()
    g = away(server.port)
    bad, good = put(g, 1, "bob@example.com"), put(g, 2, "carol@example.com")
    (g.state / "spool" / f"{bad}.json").write_text('{"spool": 1, "rcpt": "all"}')
    with g:
        assert server.wait_messages(1)[0].to == ["carol@example.com"]
        g.wait_line(f"moved to broken/. id={bad}")
        wait_for(lambda: not listed(g))
    assert sorted(os.listdir(g.state / "spool" / "broken")) == [f"{bad}.eml", f"{bad}.json"]
    assert len(server.messages) == 1 and good


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give up being root")
def test_as_another_user(scratch, dns):
    """The commands give up root, and reach the keeper nevertheless."""
    g = Gateway(scratch / "gate", [free_port()], dns=dns.server, policy="accept\n")
    g.conf_path.write_text(g.conf_path.read_text().replace("workers =", 'user = "nobody"\nworkers ='))
    with g:
        assert b"0 are tried now" in run(g, "retry", "--all").stdout
        assert listed(g) == []


def reload(g):
    mark = g.mark()
    g.process.send(signal.SIGHUP)
    g.wait_line('event=reload what="?done', mark)


def test_settings_of_a_reload(away, backend):
    """What is in the spool hears of a shorter life: it is given up, and its sender told."""
    server = backend()
    g = away(server.port, conf='spool { retry_min = "1s" retry_max = "1h" delay_notice = "0" }')
    one = put(g, 1, rcpt("x@dead.example", "upstream", attempts=9, tried=int(time.time())), sender="bob@example.com", age=7200)
    with g:
        wait_for(lambda: listed(g)[0]["parts"])
        assert ids(g) == [one] and server.messages == []
        g.write_conf(conf='spool { retry_min = "1s" retry_max = "1h" delay_notice = "0" life = "1h" }')
        reload(g)
        assert server.wait_messages(1)[0].to == ["bob@example.com"]
        wait_for(lambda: not listed(g))


def test_keeper_killed_while_it_is_delivered(away, backend):
    """The worker tells the new keeper what it has: it is not delivered a second time."""
    server, held = backend(), Held()
    server.script["."] = held
    g = away(server.port)
    one = put(g, 1, "bob@example.com")
    two = put(g, 2, "carol@example.com")
    with g:
        assert held.reached.wait(WAIT_S)
        g.kill_child("gp-spool")
        wait_for(lambda: "gp-spool" in g.children())
        parts = wait_for(lambda: [p for m in listed(g) if m["id"] == one for p in m["parts"] or [] if p["leased"]])
        assert len(parts) == 1
        del server.script["."]
        held.go.set()
        wait_for(lambda: not listed(g))
    assert sorted(m.to[0] for m in server.messages) == ["bob@example.com", "carol@example.com"] and two


@pytest.mark.skipif(os.geteuid() != 0, reason="a small file system needs root")
def test_disk_full(tmp_path, dns):
    """What finds no room hears 452; when there is room again it is taken, and all that was acknowledged arrives."""
    state, port = tmp_path / "gate" / "state", free_port()
    state.mkdir(parents=True)
    g = Gateway(tmp_path / "gate", [port], dns=dns.server, policy="accept\n", backend_options="spool = yes",
                conf='recipients { verify = none } spool { retry_min = "1h" retry_max = "1h" }',
                wrap=("unshare", "-m", "--propagation", "private", "sh", "-c", f'mount -t tmpfs -o size=6m none "{state}" && exec "$0" "$@"'))
    with g:
        def spool(*argv):
            return subprocess.run(["nsenter", "-t", str(g.process.pid), "-m", g.binary, "spool", argv[0], "-c", str(g.conf_path), *argv[1:]],
                                  check=True, capture_output=True).stdout

        def tried():
            """What is left behind until the server is there, when the first one has been tried for all: what is being tried cannot be deleted."""
            found = json.loads(spool("list", "--json"))
            return found[0]["rcpt"][0]["attempts"] and not any(p["leased"] for m in found for p in m["parts"] or [])

        inside = f"/proc/{g.process.pid}/root{state}"
        replies = []
        for n in range(40):
            with Client(g.port) as c:
                replies.append(c.message("user@example.com", "bob@example.com", mail(subject=f"number {n}", body="x" * 76 + "\r\n" + ("y" * 76 + "\r\n") * 4000)))
            if n == 25:
                room = os.statvfs(inside)
                assert room.f_bavail * room.f_bsize < 1 << 20
                wait_for(tried)
                for p in sorted((pathlib.Path(inside) / "spool").glob("*.json"))[:3]:
                    spool("delete", p.stem)
        codes = [r.code for r in replies]
        assert set(codes) == {250, 452} and codes[0] == 250 and 250 in codes[26:], codes
        assert all("4.3.1" in r.text for r in replies if r.code == 452)
        kept = {p.stem for p in (pathlib.Path(inside) / "spool").glob("*.json")}
        assert len(kept) == codes.count(250) - 3
        server = Backend(port=port)
        try:
            spool("retry", "--all")
            assert len(server.wait_messages(len(kept))) == len(kept)
            wait_for(lambda: not list((pathlib.Path(inside) / "spool").glob("*.json")))
        finally:
            server.stop()


def test_keeper_killed_while_a_draining_worker_delivers(away, backend):
    """A worker that asks for nothing more tells the new keeper what it has, too."""
    server, way_out, held = backend(), backend(), Held()
    server.script["."] = held
    g = away(server.port, conf=f'spool {{ retry_min = "1h" retry_max = "1h" }}\noutbound {{ via = "127.0.0.1:{way_out.port}" }}\n')
    put(g, 1, "bob@example.com")
    with g:
        assert held.reached.wait(WAIT_S)
        reload(g)
        put(g, 2, rcpt("x@far.example", "upstream"))    # of this one the new keeper knows
        g.kill_child("gp-spool")
        way_out.wait_messages(1)                        # so leases are given
        del server.script["."]
        held.go.set()
        wait_for(lambda: not listed(g))
    assert [m.to[0] for m in server.messages] == ["bob@example.com"]
