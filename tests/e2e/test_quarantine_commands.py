"""`gatepost quarantine ...`: an administrator at work in the quarantine, beside the running gateway and without it."""
import json
import os
import re
import subprocess
import time

import pytest

from lab.process import WAIT_S
from lab.smtp import Client, mail

POLICY = """
quarantine money: if header.subject ~ /(?i)invoice/
quarantine hold: if header.subject ~ /hold/
accept
"""


def send(g, subject, *rcpts, sender="a@sender.example", source="127.0.0.1", **kw):
    with Client(g.port, source=source) as c:
        reply = c.message(sender, rcpts or ("carol@example.com",), mail(subject=subject, **kw))
    assert reply.code == 250, reply
    return reply


def run(g, command, *argv, status=0, **kw):
    done = subprocess.run([g.binary, "quarantine", command, "-c", str(g.conf_path), *argv], capture_output=True, timeout=120, **kw)
    assert done.returncode == status, (done.returncode, done.stdout, done.stderr)
    return done


def listed(g, *argv):
    return json.loads(run(g, "list", "--json", *argv).stdout)


def subjects(g, *argv):
    return [m["subject"] for m in listed(g, *argv)]


@pytest.fixture
def kept(lab, backend):
    """A gateway with three kept messages: hold 1, invoice 2, hold 3."""
    g = lab([backend().port], policy=POLICY)
    send(g, "hold 1")
    send(g, "invoice 2", "bob@example.com", "carol@example.com", sender="Eve@Other.example", source="127.0.0.77")
    send(g, "hold 3", "bob@example.com", sender="")
    return g


def test_list(kept):
    g = kept
    assert subjects(g) == ["hold 3", "invoice 2", "hold 1"]
    assert subjects(g, "--oldest-first", "--limit", "2") == ["hold 1", "invoice 2"]
    for argv, want in (
            (["--to", "bob@example.com"], ["hold 3", "invoice 2"]),
            (["--to", "BOB@example.com", "--rule", "money"], ["invoice 2"]),
            (["--to", "example.com", "--limit", "1"], ["hold 3"]),
            (["--to", "dave@example.com"], []),
            (["--from", "eve@other.example"], ["invoice 2"]),
            (["--from", "@other.example", "--to", "carol@example.com"], ["invoice 2"]),
            (["--from", "<>"], ["hold 3"]),
            (["--client", "127.0.0.77"], ["invoice 2"]),
            (["--client", "127.0.0.0/8"], ["hold 3", "invoice 2", "hold 1"]),
            (["--client", "192.0.2.0/24"], []),
            (["--fact", "rcpt.count=2"], ["invoice 2"]),
            (["--fact", "rcpt.count>1", "--fact", "rcpt.count<=2"], ["invoice 2"]),
            (["--fact", "rcpt.count != 2"], ["hold 3", "hold 1"]),
            (["--fact", "header.subject~/^HOLD/"], []),
            (["--fact", "header.subject~/(?i)^HOLD/"], ["hold 3", "hold 1"]),
            (["--subject", "INVOICE"], ["invoice 2"]),
            (["--since", "1h"], ["hold 3", "invoice 2", "hold 1"]),
            (["--until", "1h"], []),
            (["--since", "2001-01-01", "--until", "2002-01-01"], []),
            (["--state", "kept"], ["hold 3", "invoice 2", "hold 1"]),
            (["--state", "released"], []),
    ):
        assert subjects(g, *argv) == want, argv
    (m,) = listed(g, "--rule", "money")
    assert m["sender"] == "Eve@other.example" and m["recipients"] == ["bob@example.com", "carol@example.com"]
    assert m["client"] == "127.0.0.77" and m["rule"] == "money" and m["state"] == "kept" and m["bytes"] > 100
    assert subjects(g, "--message-id", m["message_id"]) == ["invoice 2"] if m["message_id"] else True
    text = run(g, "list").stdout.decode()
    lines = text.splitlines()
    assert lines[0].split() == ["ID", "WHEN", "SIZE", "FROM", "TO", "RULE", "SUBJECT"] and len(lines) == 4
    assert lines[2].startswith(m["id"]) and lines[2].endswith("invoice 2") and re.search(r"bob@example.com +\+1 ", lines[2])
    assert "\x1b" not in text
    for argv in (["--fact", "nonsense=1"], ["--fact", "spf"], ["--fact", "rcpt.count<x"], ["--fact", "helo~("], ["--since", "soon"],
                 ["--client", "somebody"], ["--to", "a@"], ["--limit", "x"], ["--nonsense"], ["more"]):
        assert run(g, "list", *argv, status=1).stderr


def test_show(kept):
    g = kept
    (m,) = listed(g, "--rule", "money")
    (record,) = [json.loads(x) for x in run(g, "show", "--json", m["id"]).stdout.splitlines()]
    assert record["kept"]["id"] == m["id"] and record["state"] == "kept" and record["events"] == []
    assert record["facts"]["rcpt.count"] == 2
    text = run(g, "show", m["id"]).stdout.decode()
    for pattern in (rf"message +{m['id']}, kept", r"from +<Eve@other.example>", r"to +<bob@example.com>", r"to +<carol@example.com>",
                    r"client +127.0.0.77", r"rule +money, line 2: quarantine", r"rcpt.count = 2", r"Subject: +invoice 2", r"A line\."):
        assert re.search(pattern, text), (pattern, text)
    path = next(p for p in g.quarantined() if p.stem == m["id"])
    assert run(g, "show", "--raw", m["id"]).stdout == path.read_bytes()
    assert b"\nSubject: invoice 2\n" in run(g, "show", "--headers", m["id"]).stdout
    # several, one of them unknown
    ids = [x["id"] for x in listed(g)]
    done = run(g, "show", "--json", ids[0], "000000000000", ids[2], status=2)
    assert len(done.stdout.splitlines()) == 2 and b"000000000000: there is no such message" in done.stderr
    # by the beginning of an id, when it is of one alone
    common = os.path.commonprefix(ids)
    assert b"several" in run(g, "show", common, status=2).stderr
    assert m["id"].encode() in run(g, "show", m["id"][:11]).stdout or any(i != m["id"] and i.startswith(m["id"][:11]) for i in ids)
    for bad in ("../../etc/passwd", "", "*", "\x1b[31m", "x" * 200):
        assert run(g, "show", bad, status=2).stderr.isascii()
    run(g, "show", status=1)


def test_remote_bytes_do_not_reach_the_terminal(lab, backend):
    """On a terminal of its own: colours are ours, and no control or direction mark of a stranger's comes through."""
    g = lab([backend().port], policy=POLICY)
    evil = "hold =?utf-8?q?=1b]0;owned=07=1b[31m=e2=80=aeabc=c2=9b?= end"
    send(g, evil, body="text \x1b[2J\x07 more\r\n", extra="X-Odd: \x1b[31mred\x07\r\n")
    (m,) = listed(g)
    for argv in (["list"], ["show", m["id"]], ["show", "--headers", m["id"]]):
        done = subprocess.run(["script", "-qec", " ".join([g.binary, "quarantine", argv[0], "-c", str(g.conf_path), *argv[1:]]), "/dev/null"],
                              capture_output=True, timeout=60, env={**os.environ, "TERM": "xterm"})
        out = done.stdout.decode()
        rest = re.sub(r"\x1b\[(0|1|2|31|32|33)m", "", out)
        assert done.returncode == 0, out
        assert not re.search("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u202a-\u202e]", rest), repr(out)
        assert "\\x1b" in rest
    done = subprocess.run(["script", "-qec", f"{g.binary} quarantine show -c {g.conf_path} --raw {m['id']}", "/dev/null"],
                          capture_output=True, timeout=60)
    assert done.returncode == 1


def test_without_the_gateway(kept):
    """The commands need no running gateway."""
    g = kept
    g.stop()
    assert subjects(g) == ["hold 3", "invoice 2", "hold 1"]
    run(g, "show", listed(g)[0]["id"])
    g.start()
    send(g, "hold 4")
    assert subjects(g)[0] == "hold 4"


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_root_leaves_nothing_of_its_own(lab, backend, scratch):
    """Root works as the user of the stores, named or not, and the keeper can go on writing."""
    g = lab([backend().port], policy=POLICY)
    g.stop()
    os.chmod(g.dir, 0o755)
    for p in g.dir.parents:
        if os.stat(p).st_uid == 0 and not os.stat(p).st_mode & 0o001:
            os.chmod(p, os.stat(p).st_mode | 0o011)
    subprocess.run(["chown", "-R", "nobody:", *(str(g.state / d) for d in ("quarantine", "state", "history"))], check=True)
    g.conf_path.write_text(g.conf_path.read_text().replace("workers =", 'user = "nobody"\nworkers ='))
    g.start()
    send(g, "hold 1")
    assert subjects(g) == ["hold 1"]
    g.conf_path.write_text(g.conf_path.read_text().replace('user = "nobody"\n', ""))
    assert subjects(g) == ["hold 1"]
    g.conf_path.write_text(g.conf_path.read_text().replace("workers =", 'user = "nobody"\nworkers ='))
    send(g, "hold 2")
    assert subjects(g) == ["hold 2", "hold 1"]
    assert 0 not in g.quarantine_owners()


def kept_files(g):
    return sorted(p.name for p in (g.state / "quarantine").rglob("*") if p.is_file() and not p.name.startswith(("quarantine.db", "search.db", "clock")))


def test_delete(kept):
    g = kept
    three, two, one = listed(g)
    done = run(g, "delete", two["id"], "000000000000", status=2)
    assert done.stdout == b"1 deleted\n" and b"000000000000" in done.stderr
    assert subjects(g) == ["hold 3", "hold 1"]
    assert not any(two["id"] in name for name in kept_files(g)) and len(kept_files(g)) == 4
    (d,) = json.loads(run(g, "list", "--deleted", "--json").stdout)
    assert d["id"] == two["id"] and d["why"] == "deleted" and d["who"] and d["sender"] == "Eve@other.example" and d["subject"] == "invoice 2"
    assert two["id"].encode() in run(g, "list", "--deleted").stdout
    assert b"was deleted: deleted, by " in run(g, "show", two["id"], status=2).stderr
    run(g, "delete", two["id"], status=2)
    run(g, "delete", status=1)
    # the keeper goes on, and its restart brings nothing back
    g.kill_child("gp-store")
    send(g, "hold 4")
    assert subjects(g) == ["hold 4", "hold 3", "hold 1"]


def test_delete_beside_a_release(kept):
    """Who holds the message's lock is not disturbed."""
    g = kept
    import fcntl
    (m,) = listed(g, "--rule", "money")
    with open(next(p for p in g.quarantined() if p.stem == m["id"]), "rb") as f:
        fcntl.flock(f, fcntl.LOCK_EX)
        assert b"at this moment" in run(g, "delete", m["id"], status=1).stderr
    assert len(subjects(g)) == 3
    run(g, "delete", m["id"])


def test_purge(kept):
    g = kept
    assert b"at least one condition" in run(g, "purge", status=1).stderr
    run(g, "purge", "--dry-run", status=1)
    assert run(g, "purge", "--rule", "hold", "--dry-run").stdout.startswith(b"2 messages, ")
    assert run(g, "purge", "--older-than", "1h").stdout == b"0 deleted\n"
    assert len(subjects(g)) == 3
    assert run(g, "purge", "--rule", "hold").stdout == b"2 deleted\n"
    assert subjects(g) == ["invoice 2"]
    assert {d["why"] for d in json.loads(run(g, "list", "--deleted", "--json").stdout)} == {"purged"}
    assert run(g, "purge", "--until", "2100-01-01").stdout == b"1 deleted\n"
    assert kept_files(g) == []
    send(g, "hold 4")
    assert subjects(g) == ["hold 4"]


def test_export(kept, tmp_path):
    g = kept
    files = {p.stem: p.read_bytes() for p in g.quarantined()}
    ids = sorted(files)
    assert run(g, "export", ids[0]).stdout == files[ids[0]]
    run(g, "export", *ids, status=1)
    out = tmp_path / "out"
    out.mkdir()
    run(g, "export", "--dir", str(out), *ids)
    assert {p.stem: p.read_bytes() for p in out.iterdir()} == files
    run(g, "export", "--dir", str(out), ids[0], status=1)       # never over another file
    run(g, "export", "--dir", str(tmp_path / "none"), ids[0], status=1)
    events = json.loads(run(g, "show", "--json", ids[0]).stdout)["events"]
    assert [e["what"] for e in events] == ["exported", "exported"] and all(e["who"] for e in events)
    send(g, "hold from", body="From me\r\n>From you\r\n>>From x\r\nlast")
    new = listed(g)[0]["id"]
    mbox = run(g, "export", "--mbox", new, ids[0]).stdout
    assert mbox.startswith(b"From a@sender.example ") and b"\n>From me\n>>From you\n>>>From x\nlast\n" in mbox and b"\r" not in mbox
    import mailbox
    (tmp_path / "box").write_bytes(mbox)
    assert [m["Subject"] for m in mailbox.mbox(tmp_path / "box")] == ["hold from", listed(g, "--oldest-first")[0]["subject"]]


def test_by_filter(kept, tmp_path):
    """Commands that take ids take conditions, too; and what they did is there for programs."""
    g = kept
    for args in (["export", "--mbox"], ["export", "--mbox", "--rule", "hold", listed(g)[0]["id"]], ["export", "--rule", "hold"],
                 ["allow"], ["allow", "--rule", "hold", "x"], ["allow", "--fact", "spf=no-such"], ["delete", "--json"]):
        done = run(g, *args, status=1)
        assert done.stderr and not done.stdout, args
    box = run(g, "export", "--mbox", "--rule", "hold").stdout
    assert box.count(b"\nFrom ") == 1 and b"hold 1" in box and b"hold 3" in box and b"invoice" not in box
    assert run(g, "export", "--dir", str(tmp_path), "--from", "eve@other.example").stdout.startswith(b"1 exported")
    assert run(g, "export", "--mbox", "--rule", "no-such-rule").stdout == b""
    oldest = listed(g, "--rule", "hold")[-1]["id"]
    (tmp_path / f"{oldest}.eml").write_bytes(b"there already")      # one that fails is not the end of it
    assert run(g, "export", "--dir", str(tmp_path), "--rule", "hold", status=1).stdout.startswith(b"1 exported")
    said = [json.loads(line) for line in run(g, "allow", "--json", "--rule", "money").stdout.splitlines()]
    assert ("Eve@Other.example".lower(), True) in {(s["entry"].lower(), s["new"]) for s in said}
    assert not any(json.loads(line)["new"] for line in run(g, "allow", "--json", "--rule", "money").stdout.splitlines())
    would = json.loads(run(g, "purge", "--json", "--dry-run", "--rule", "hold").stdout)
    assert would["would_delete"] == 2 and would["bytes"] > 0
    assert json.loads(run(g, "delete", "--json", listed(g, "--rule", "hold")[0]["id"]).stdout) == {"deleted": 1}
    assert json.loads(run(g, "purge", "--json", "--rule", "hold").stdout) == {"deleted": 1}
    assert subjects(g) == ["invoice 2"]


def index_spoilers():
    def garble(db):
        with open(db, "r+b") as f:
            f.write(b"\x5a" * os.path.getsize(db))

    def truncate(db):
        os.truncate(db, 0)

    def half(db):
        os.truncate(db, os.path.getsize(db) // 2)

    def all_garbled(db):
        garble(db)
        os.truncate(str(db) + "-wal", 0)

    def remove(db):
        os.unlink(db)

    def remove_all(db):
        for end in ("", "-wal", "-shm"):
            os.unlink(str(db) + end)

    return [garble, truncate, half, all_garbled, remove, remove_all]


@pytest.mark.parametrize("spoil", index_spoilers(), ids=lambda f: f.__name__)
def test_reindex(kept, spoil):
    """Whatever happens to the index while the gateway runs: one command makes it good, and what comes meanwhile is in it."""
    g = kept
    (m,) = listed(g, "--rule", "money")
    run(g, "export", m["id"])
    run(g, "delete", listed(g, "--subject", "hold 1")[0]["id"])
    spoil(g.state / "quarantine" / "quarantine.db")
    send(g, "hold 4")
    assert m["id"].encode() in run(g, "show", m["id"]).stdout          # by its file
    done = run(g, "reindex")
    assert done.stdout.startswith(b"3 messages are in the index\n")
    send(g, "hold 5")
    assert subjects(g) == ["hold 5", "hold 4", "hold 3", "invoice 2"]
    run(g, "reindex")
    assert subjects(g) == ["hold 5", "hold 4", "hold 3", "invoice 2"]
    run(g, "delete", m["id"])
    assert len(subjects(g)) == 3
    g.stop()
    assert run(g, "reindex").stdout.startswith(b"3 messages are in the index\n")
    g.start()
    send(g, "hold 6")
    assert len(subjects(g)) == 4


def test_deletions_survive_reindex(kept):
    g = kept
    run(g, "delete", listed(g)[0]["id"])
    run(g, "reindex")
    assert len(json.loads(run(g, "list", "--deleted", "--json").stdout)) == 1
    assert len(subjects(g)) == 2


def test_beside_a_busy_keeper(lab, backend):
    """Commands that read and write while messages come: nobody hears that anybody is busy, and no message is refused."""
    import threading
    g = lab([backend().port], policy=POLICY)
    stop, errors = threading.Event(), []

    def deliver():
        while not stop.is_set():
            try:
                with Client(g.port) as c:
                    c.ehlo()
                    for _ in range(20):
                        assert c.envelope("a@sender.example", "carol@example.com")[0].code == 250
                        assert c.data_block(mail(subject="hold")).code == 250
            except Exception as e:      # noqa: BLE001 (told below)
                errors.append(e)
                return

    threads = [threading.Thread(target=deliver) for _ in range(3)]
    for t in threads:
        t.start()
    try:
        for _ in range(4):
            ids = [m["id"] for m in listed(g, "--limit", "150")]
            if len(ids) > 1:
                run(g, "delete", *ids[1:70])
                run(g, "show", ids[0])
            run(g, "list", "--fact", "rcpt.count=1")
        run(g, "reindex")
    finally:
        stop.set()
        for t in threads:
            t.join()
    assert not errors, errors
    files = {p.stem for p in g.quarantined()}
    assert {m["id"] for m in listed(g)} == files and files
    run(g, "purge", "--to", "carol@example.com")
    assert g.quarantined() == [] and listed(g) == []


def wait_for(what):
    end = time.monotonic() + WAIT_S
    while not what():
        assert time.monotonic() < end
        time.sleep(0.1)


def test_retention(kept):
    """By a reload, without a restart of the keeper: what is older than the time that it says goes, of itself."""
    g = kept
    keeper = g.children()["gp-store"]
    g.write_conf(conf="quarantine { keep = 1s }")
    mark = g.mark()
    g.process.proc.send_signal(1)
    g.wait_line("event=reload what=done", mark)
    wait_for(lambda: not g.quarantined())
    assert listed(g) == [] and kept_files(g) == []
    assert {d["why"] for d in json.loads(run(g, "list", "--deleted", "--json").stdout)} == {"expired"}
    assert g.children()["gp-store"] == keeper
    g.wait_line('what="deleted: their time was over"', mark)
    g.write_conf(conf="quarantine { keep = 0 max_size = 1M }")
    g.stop()
    g.start()
    for n in range(5):
        send(g, f"hold {n}", body=("x" * 78 + "\r\n") * 3000)
    wait_for(lambda: subjects(g) == ["hold 4", "hold 3", "hold 2"])
    assert {d["why"] for d in json.loads(run(g, "list", "--deleted", "--json", "--limit", "2").stdout)} == {"too much"}


ALLOW_POLICY = """
accept friend: if sender in allowed
quarantine hold: if header.subject ~ /hold/
accept
"""


def test_allow(lab, backend):
    """The sender of a held message gets through from then on, without a reload."""
    server = backend()
    g = lab([server.port], policy=ALLOW_POLICY)
    allowed = g.dir / "allow"
    g.write_conf(conf=f'allow_list = "{allowed}"')
    g.stop()
    g.start()
    send(g, "hold 1", sender="friend@sender.example")
    send(g, "hold 2", sender="")
    two, one = [m["id"] for m in listed(g)]
    done = run(g, "allow", one)
    assert b"friend@sender.example: allowed from now on" in done.stdout and b"alice@sender.example: allowed" in done.stdout
    assert str(allowed).encode() in done.stdout
    assert b"was allowed before" in run(g, "allow", one).stdout
    text = allowed.read_text()
    assert text.count("friend@sender.example") == 1 and one in text
    events = json.loads(run(g, "show", "--json", one).stdout)["events"]
    assert [(e["what"], e["detail"]["entry"]) for e in events] == [("allowed", "friend@sender.example"), ("allowed", "alice@sender.example")]

    def passes(sender):
        count = len(server.messages)
        send(g, "hold again", sender=sender)
        return len(server.messages) > count
    wait_for(lambda: passes("friend@sender.example"))
    assert not passes("other@sender.example")
    # the null sender cannot be allowed; its author can
    assert run(g, "allow", two).stdout.count(b"allowed") >= 1
    assert b"@sender.example: allowed" in run(g, "allow", "--domain", one).stdout
    wait_for(lambda: passes("other@sender.example"))
    run(g, "allow", "000000000000", status=2)
    run(g, "allow", status=1)
    allowed.write_text("this is no entry\n")
    assert run(g, "allow", one, status=1).stderr


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_allow_as_root_for_another_user(lab, backend, scratch):
    """The list is root's, the messages are not: each is touched by whom it belongs to."""
    g = lab([backend().port], policy=ALLOW_POLICY)
    etc = scratch / "etc-allow"
    etc.mkdir()
    g.write_conf(conf=f'allow_list = "{etc}/allow"')
    g.stop()
    for p in [g.dir, *g.dir.parents]:
        if p.stat().st_uid == 0 and not p.stat().st_mode & 0o001:
            p.chmod(p.stat().st_mode | 0o011)
    subprocess.run(["chown", "-R", "nobody:", *(str(g.state / d) for d in ("quarantine", "state", "history"))], check=True)
    g.conf_path.write_text(g.conf_path.read_text().replace("workers =", 'user = "nobody"\nworkers ='))
    g.start()
    send(g, "hold 1", sender="friend@sender.example")
    (m,) = listed(g)
    assert b"friend@sender.example: allowed" in run(g, "allow", m["id"]).stdout
    assert (etc / "allow").stat().st_uid == 0 and "friend@sender.example" in (etc / "allow").read_text()
    assert 0 not in g.quarantine_owners()


def test_classes(lab, backend):
    """A message belongs to the classes of all its recipients, and is kept for the longest of their times."""
    policy = 'class board = recipients { "ceo@example.com" }\nclass sales = recipients { "shop@example.com" }\n' + POLICY
    g = lab([backend().port], policy=policy, conf="quarantine { keep = 1s }\nquarantine_class board { keep = 1h }\nquarantine_class sales { keep = 2s }")
    send(g, "hold 1", "shop@example.com", "ceo@example.com")
    send(g, "hold 2", "shop@example.com")
    send(g, "hold 3")
    wait_for(lambda: subjects(g) == ["hold 1"])
    assert listed(g, "--class", "board")[0]["classes"] == ["board", "sales"]
    assert subjects(g, "--class", "other") == []
