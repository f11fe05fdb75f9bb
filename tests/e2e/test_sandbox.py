"""
What each process may and may not: as /proc tells it of the running ones, and by trying, from inside them, what an intruder would try. Plain binary: under
the address sanitizer nothing is confined.
"""
import contextlib
import errno
import grp
import os
import pathlib
import pwd
import re
import shutil
import signal
import subprocess
import time

import pytest
from lab.certificates import Certificates
from lab.gateway import BINARY, POLICY, ROOT, Gateway
from lab.dovecot import children
from lab.inject import POSSIBLE, Died, Inside
from lab.measure import tree
from lab.process import WAIT_S
from lab.smtp import Client, Closed, mail

PLAIN = os.environ.get("GATEPOST_PLAIN", BINARY)
FORGER = "billing@bank.example"
USERS = {"user": "nobody", "keeper_user": "daemon", "key_user": "mail", "directory_user": "games"}         # on every Debian
# CHOWN KILL SETGID SETUID SETPCAP NET_BIND_SERVICE NET_RAW SYS_CHROOT
PARENT_CAPABILITIES = sum(1 << n for n in (0, 5, 6, 7, 8, 10, 13, 18))
# One that is away, and knows everybody: the process that asks it is there.
DIRECTORY = """recipients { verify = directory }
directory away { server = { "ldap://127.0.0.1:1" } base = "" tls = off catch_all = { example.com } }
"""
KEEPERS = {"gp-state": "state", "gp-store": "quarantine", "gp-history": "history", "gp-spool": "spool"}

pytestmark = [pytest.mark.skipif(os.geteuid() != 0, reason="only root has something to give up"),
              pytest.mark.skipif(b"__asan_init" in pathlib.Path(PLAIN).read_bytes(), reason="needs the plain binary")]


def descendants(pid):
    """{name: pid} of all below a process; of those of one name the youngest."""
    return {name: p for p, name in sorted(tree(pid).items()) if p != pid and name}


def name_of(pid):
    try:
        return pathlib.Path(f"/proc/{pid}/comm").read_text().strip()
    except (FileNotFoundError, ProcessLookupError):
        return ""


def status_of(pid):
    return dict(line.split(":\t", 1) for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines() if ":\t" in line)


def inside_the_sandbox(pid):
    """Not one that has just been started: the parent's list, and its own."""
    try:
        return status_of(pid)["Seccomp_filters"] == "2"
    except (FileNotFoundError, ProcessLookupError):
        return False


def descriptors(pid):
    """What each descriptor is, but for 0, 1, 2."""
    found = {}
    for fd in os.listdir(f"/proc/{pid}/fd"):
        with contextlib.suppress(FileNotFoundError):
            found[int(fd)] = os.readlink(f"/proc/{pid}/fd/{fd}")
    return {fd: to for fd, to in found.items() if fd > 2}


def network_inodes(pid):
    """Inodes of all sockets of its network that are no AF_UNIX ones."""
    found = set()
    for table in ("tcp", "tcp6", "udp", "udp6", "raw", "raw6", "udplite", "packet", "netlink", "icmp"):
        path = pathlib.Path(f"/proc/{pid}/net/{table}")
        if path.exists():
            for line in path.read_text().splitlines()[1:]:
                fields = line.split()
                found.add(fields[9] if len(fields) > 9 and table not in ("packet", "netlink") else fields[8] if table == "packet" else fields[-1])
    return found


@pytest.fixture(scope="module")
def confined(scratch, dns, postfix_shared):
    g = Gateway(scratch / "in-sandboxes", [postfix_shared.port], dns=dns.server, binary=PLAIN, conf=DIRECTORY, policy="quarantine words: if header.subject ~ /fapiao/\n" + POLICY)
    g.conf_path.write_text("".join(f'{option} = "{name}"\n' for option, name in USERS.items()) + g.conf_path.read_text())
    with g:
        yield g


def uid_of(name):
    option = "keeper_user" if name in KEEPERS else "key_user" if name.startswith("gp-keys") else "directory_user" if name.startswith("gp-directory") else "user"
    return pwd.getpwnam(USERS[option])


def root_of(g, name):
    return str(g.state / KEEPERS.get(name, "empty"))


def taken_at_last(g, message):
    """Put off, turned away or cut it comes again, as mail does."""
    end = time.monotonic() + WAIT_S
    while True:
        try:
            with Client(g.port) as c:
                if c.greeting.code == 220 and (reply := c.message("a@sender.example", "bob@example.com", message)).code == 250:
                    return
                assert c.greeting.code == 421 or reply.code // 100 == 4, reply
        except (Closed, OSError):
            pass
        assert time.monotonic() < end, "no message is taken"
        time.sleep(0.02)


def check_mail(g, postfix):
    with Client(g.port) as c:
        assert c.message("a@sender.example", "bob@example.com", mail(subject="still flows")).code == 250
        assert c.message("x@sender.example", "bob@example.com", mail(FORGER, subject="forged")).code == 250
    assert b"still flows" in postfix.wait_message("bob@example.com")


def test_what_proc_tells(confined, postfix):
    g = confined
    check_mail(g, postfix)
    procs = descendants(g.process.pid)
    assert {*KEEPERS, "gp-worker 1", "gp-box", "gp-directory"} <= set(procs)
    for name, pid in procs.items():
        status, who = status_of(pid), uid_of(name)
        assert status["Uid"].split() == [str(who.pw_uid)] * 4, name
        assert status["Gid"].split() == [str(who.pw_gid)] * 4, name
        assert status["Groups"].split() == [str(who.pw_gid)], name
        assert (status["NoNewPrivs"], status["Seccomp"]) == ("1", "2"), name
        assert {status[s] for s in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")} == {"0" * 16}, name
        assert int(status["Seccomp_filters"]) == 2, name        # the parent's, and its own
        assert len(os.listdir(f"/proc/{pid}/task")) == 1, name
        assert os.readlink(f"/proc/{pid}/root") == root_of(g, name), name
        assert os.readlink(f"/proc/{pid}/cwd") == root_of(g, name), name
        limits = pathlib.Path(f"/proc/{pid}/limits").read_text()
        assert re.search(r"Max core file size +0 +0", limits), name
        if name != "gp-box":
            assert re.search(r"Max processes +0 +0", limits), name
        # not dumpable: what it has in /proc is root's
        assert os.stat(f"/proc/{pid}/environ").st_uid == 0, name
        # nothing is writable and executable, expressions that are compiled neither
        maps = pathlib.Path(f"/proc/{pid}/maps").read_text()
        assert not re.search(r" .wx. ", maps.replace("\n", " \n")), name
        # what is counted for the whole site is out of reach for who reads hostile bytes
        assert ("gatepost-shared" in maps) == (name != "gp-box"), name
    assert list((g.state / "empty").iterdir()) == []


def test_the_parent(confined):
    status = status_of(confined.process.pid)
    assert status["Uid"].split() == ["0"] * 4
    for name in ("CapPrm", "CapEff", "CapBnd"):
        assert int(status[name], 16) == PARENT_CAPABILITIES, name
    assert int(status["CapAmb"], 16) == int(status["CapInh"], 16) == 0
    assert (status["NoNewPrivs"], status["Seccomp"], status["Seccomp_filters"]) == ("1", "2", "1")


def test_descriptors(confined, postfix):
    """Workers have no files but those that they were handed and that have no name; keepers and key process nothing of the network; boxes' server one socket."""
    g = confined
    with Client(g.port) as c:
        c.ehlo()
        c.envelope("x@sender.example", "bob@example.com")
        c.expect("DATA", 354)
        c.send(mail(subject="under way", body=("x" * 76 + "\r\n") * 20000)[:-5])
        c.send(b"x" * 100)
        procs = descendants(g.process.pid)
        for name, pid in procs.items():
            found, network = descriptors(pid), network_inodes(pid)
            inet = {fd for fd, to in found.items() if to.startswith("socket:") and to[8:-1] in network}
            files = [to for to in found.values() if to.startswith("/") and not to.startswith(("/memfd:", "/dev/", "/proc/"))]       # /proc: its own statm
            if name.startswith("gp-worker"):
                assert inet, "it serves"
                assert all(re.fullmatch(r".*/(quarantine|spool)/.*#\d+ \(deleted\)|/#\d+ \(deleted\)", to) for to in files), files
            elif name != "gp-directory":
                assert not inet, (name, found)
            if name in KEEPERS:
                assert all(to.startswith(str(g.state / KEEPERS[name])) for to in files), (name, files)
            elif name == "gp-directory":
                assert sorted(files) == [str(g.state / "directory" / f"addresses.{ab}") for ab in "ab"]
            elif not name.startswith("gp-worker"):
                assert not files, (name, files)
        assert len(descriptors(procs["gp-box"])) == 1
        c.send(b"\r\n.\r\n")
        assert c.reply().code // 100 in (2, 4, 5)


# What is refused, by kind of process: calls that a library could try, too.
REFUSED = {
    "all": [("fork",), ("clone", 0x11, 0), ("mprotect", 0, 4096, 5), ("mmap", 0, 4096, 5, 0x22, -1, 0), ("socket", 1, 1, 0)],
    "no files": [("open", b"/etc/passwd", 0), ("openat", -100, b"/etc/passwd", 0)],
    "worker": [("socket", 2, 3, 1), ("socket", 16, 3, 0)],
}
# What ends it.
DEADLY = {
    "all": [("execve", b"/bin/sh", 0, 0), ("ptrace", 0, 0), ("kill", 1, 9), ("chroot", b"/"), ("setuid", 0), ("mount", b"none", b"/", b"tmpfs", 0, 0),
            ("bpf", 0, 0, 0), ("process_vm_readv", 1, 0, 0, 0, 0, 0), ("listen", 3, 1)],
    "no files": [("open", b"/etc/passwd", 0o102, 0o600), ("unlink", b"/etc/passwd"), ("mkdir", b"/tmp/x", 0o700), ("chmod", b"/", 0o777),
                 ("rename", b"/a", b"/b")],
    "no network": [("socket", 2, 1, 0), ("socket", 10, 2, 0), ("socket", 17, 3, 0)],
    "worker": [("socket", 17, 3, 0), ("socket", 38, 5, 0)],
}
ROUNDS = 5              # of deadly calls tried in each process, which is started later with each


def kinds(name):
    return ("all", "worker", "no files") if name.startswith(("gp-worker", "gp-directory")) else ("all", "no network") if name in KEEPERS else \
        ("all", "no network", "no files")


@pytest.mark.skipif(not POSSIBLE, reason="system calls are injected on x86-64 only")
def test_refused_from_inside(confined, postfix):
    tried = 0
    for name, pid in descendants(confined.process.pid).items():
        with Inside(pid) as inside:
            assert inside.call("getppid") > 0                   # that the tool itself works
            for call in [c for kind in kinds(name) for c in REFUSED.get(kind, ())]:
                if name == "gp-box" and call[0] in ("fork", "clone"):
                    continue                                    # it makes the boxes; what these may is in tests/unit/test_box.c
                assert inside.call(*call) == -errno.EPERM, (name, call)
                tried += 1
            if name in KEEPERS:                                 # its own root, and nothing above
                assert inside.call("open", b"/../../../etc/passwd", 0) == -errno.ENOENT, name
    check_mail(confined, postfix)
    assert "event=died" not in confined.process.output()
    print(f"{tried} calls refused")


@pytest.mark.skipif(not POSSIBLE, reason="system calls are injected on x86-64 only")
def test_deadly_from_inside(confined, postfix):
    """Each of them is the end of the process; the parent says so, loudly, and another takes its place. Mail flows afterwards."""
    g, tried = confined, set()
    parent_of = {"gp-worker 1": "worker 1", "gp-state": "state keeper", "gp-store": "store keeper", "gp-history": "history keeper", "gp-spool": "spool keeper",
                 "gp-keys": "key process", "gp-directory": "directory process"}
    for turn in range(ROUNDS):
        procs = {n: p for n, p in descendants(g.process.pid).items() if n != "gp-box"}
        since = g.mark()
        for i, (name, pid) in enumerate(sorted(procs.items())):
            calls = [c for kind in kinds(name) for c in DEADLY.get(kind, ())]
            call = calls[(turn + i * ROUNDS) % len(calls)]
            try:
                with Inside(pid) as inside:
                    rc = inside.call(*call)
                raise AssertionError(f"{name}: {call}: {rc}")
            except Died as died:
                assert died.args[0] == signal.SIGSYS, (name, call)
            tried.add((call, name))
        for name in procs:
            if name in parent_of:
                g.wait_line(rf'event=died process="{parent_of[name]}" .*signal="Bad system call"', since)
        end = time.monotonic() + WAIT_S
        while True:
            now = descendants(g.process.pid)
            if set(procs) <= set(now) and not {now[n] for n in procs} & set(procs.values()) and all(inside_the_sandbox(now[n]) for n in procs):
                break
            assert time.monotonic() < end, f"not all have come back: {now}"
            time.sleep(0.02)
    assert len({call[0] for call, _ in tried}) >= 10
    taken_at_last(g, mail(subject="afterwards"))                # when the last one serves
    assert b"afterwards" in postfix.wait_message("bob@example.com")
    print(f"{len(tried)} calls, each the end of a process")


@pytest.mark.skipif(not POSSIBLE, reason="system calls are injected on x86-64 only")
def test_no_way_out_of_the_root(lab, postfix):
    """The keepers of messages have a directory of /proc, by which files get their names. What lies above it is all of the machine."""
    g = lab([postfix.port], binary=PLAIN)
    ways = {}
    for name, pid in descendants(g.process.pid).items():
        for fd, to in descriptors(pid).items():
            if to.startswith("/") and os.path.isdir(f"/proc/{pid}/fd/{fd}") and not to.startswith(str(g.state)):
                ways[name] = (pid, int(fd))
    assert set(ways) == {"gp-store", "gp-spool"}
    for name, (pid, fd) in ways.items():
        with pytest.raises(Died) as died, Inside(pid) as inside:
            assert inside.call("openat", fd, b"../../../../../../etc/passwd", 0) < 0, name
        assert died.value.args[0] == signal.SIGSYS
    g.wait_line('event=died process="spool keeper" .*signal="Bad system call"', 0)
    g.wait_line('event=died process="store keeper" .*signal="Bad system call"', 0)


@pytest.mark.skipif(not POSSIBLE, reason="system calls are injected on x86-64 only")
def test_a_worker_without_boxes_gets_a_successor(lab, postfix):
    """It cannot make their server again; its sessions go on, and new ones come to a worker that has one."""
    g = lab([postfix.port], binary=PLAIN, policy="reject if archive.bomb\n" + POLICY)
    with Client(g.port) as old:
        old.ehlo()
        # The worker must have lived for a while to be replaced: an event tells its age, and no clock is waited for.
        worker = descendants(g.process.pid)["gp-worker 1"]
        since = g.mark()
        os.kill(descendants(g.process.pid)["gp-box"], signal.SIGKILL)
        attached = (b"From: a@sender.example\r\nTo: bob@example.com\r\nSubject: zip\r\nMIME-Version: 1.0\r\nContent-Type: application/zip; name=a.zip\r\n"
                    b"Content-Transfer-Encoding: base64\r\n\r\nUEsFBgAAAAAAAAAAAAAAAAAAAAAAAA==\r\n")
        end = time.monotonic() + WAIT_S
        while not [p for p in children(g.process.pid) if p != worker and name_of(p) == "gp-worker 1"]:
            assert time.monotonic() < end, "no other worker has come"
            old.envelope("a@sender.example", "bob@example.com")
            old.data_block(attached)
            time.sleep(0.1)
        g.wait_line("a new worker is asked for", since)
        assert old.cmd("NOOP").code == 250
    taken_at_last(g, attached)


def test_files_are_handed_over(scratch, dns, postfix):
    """A site that had no user gets one, then one for keepers: what is kept goes on, and belongs to whose it is."""
    g = Gateway(scratch / "handed", [postfix.port], dns=dns.server, binary=PLAIN)
    text = g.conf_path.read_text()
    for turn, users in enumerate(({}, {"user": "nobody"}, {"user": "nobody", "keeper_user": "daemon"}, {"user": "daemon"})):
        g.conf_path.write_text("".join(f'{o} = "{n}"\n' for o, n in users.items()) + text)
        with g.start():
            with Client(g.port) as c:
                assert c.message("x@sender.example", "bob@example.com", mail(FORGER, subject=f"forged {turn}")).code == 250
            assert len(g.quarantined()) == turn + 1
        owner = pwd.getpwnam(users.get("keeper_user", users.get("user", "root"))).pw_uid
        for part in KEEPERS.values():
            assert {p.lstat().st_uid for p in [g.state / part, *(g.state / part).rglob("*")]} == {owner}, (part, users)
        done = subprocess.run([PLAIN, "quarantine", "list", "-c", g.conf_path], capture_output=True, text=True, timeout=60)
        assert done.returncode == 0 and done.stdout.count("x@sender.example") == turn + 1, done


def test_a_state_dir_that_root_cannot_enter(tmp_path):
    """Who gives it to the service's user, closed, hears of it from the check: root has no way in by force, and the start would fail."""
    state = tmp_path / "state"
    state.mkdir(mode=0o700)
    (tmp_path / "policy.conf").write_text("accept\n")
    (tmp_path / "gatepost.conf").write_text(f'hostname = "mx.example"\nuser = nobody\ndomains = {{ "example.com" }}\nstate_dir = "{state}"\nbackend b {{ address = "127.0.0.1:9" }}\n')
    for owner, mode, warned in (("root", 0o700, False), ("nobody", 0o700, True), ("nobody", 0o755, False)):
        os.chown(state, pwd.getpwnam(owner).pw_uid, 0)
        state.chmod(mode)
        done = subprocess.run([PLAIN, "check", "-c", tmp_path / "gatepost.conf"], capture_output=True, text=True, timeout=60)
        assert done.returncode == 0 and ("closed to others (mode 0700)" in done.stderr) == warned, (owner, mode, done)


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="no systemd-analyze")
def test_systemd_unit(tmp_path):
    unit = tmp_path / "gatepost.service"
    unit.write_text((ROOT / "conf" / "gatepost.service").read_text().replace("@SBINDIR@", "/usr/sbin").replace("@SYSCONFDIR@", "/etc/gatepost"))
    out = subprocess.run(["systemd-analyze", "security", "--offline=true", "--no-pager", unit], capture_output=True, text=True, timeout=60, check=True).stdout
    figure = float(re.search(r"Overall exposure level for gatepost.service: ([0-9.]+)", out)[1])
    print(f"exposure {figure}")
    assert figure < 2.6
    # each line that is counted is explained
    reasons = unit.read_text().split("What `systemd-analyze security` still counts")[1]
    for option in re.findall(r"(?m)^✗ (\S+)", out):
        option, _, what = option.partition("=")
        words = [option.split("/")[0]] if option not in ("CapabilityBoundingSet", "SystemCallFilter", "RestrictAddressFamilies") else re.findall(r"[@A-Z][A-Za-z_]{3,}|UID", what)
        assert any(w in reasons for w in words), (option, what)


def test_as_the_unit_starts_it(scratch, dns, postfix):
    """With the capabilities of the unit from the first moment on: twice, since the second time the directories are others'. A key that is its owner's alone."""
    names = re.search(r"CapabilityBoundingSet=(.*)", (ROOT / "conf" / "gatepost.service").read_text())[1].lower().replace("cap_", "+").split()
    g = Gateway(scratch / "as-a-unit", [postfix.port], dns=dns.server, binary=PLAIN,
                wrap=["setpriv", "--inh-caps=-all", "--bounding-set=-all," + ",".join(names), "--no-new-privs"])
    private = g.dir / "private"
    private.mkdir(mode=0o700)
    (private / "policy.conf").write_text(g.policy_path.read_text())
    cert, key = Certificates(private).self_signed
    (private / "policy.conf").chmod(0o600)
    for path in [*private.iterdir(), private]:
        os.chown(path, pwd.getpwnam(USERS["key_user"]).pw_uid, grp.getgrnam("nogroup").gr_gid)
    g.conf_path.write_text("".join(f'{o} = "{n}"\n' for o, n in USERS.items()) + g.conf_path.read_text().replace(str(g.policy_path), str(private / "policy.conf"))
                           + f'tls {{ certificate = "{cert}" key = "{key}" }}\n')
    for turn in range(2):
        with g.start():
            assert int(status_of(g.process.pid)["CapBnd"], 16) == PARENT_CAPABILITIES
            check_mail(g, postfix)
            postfix.empty()
            since = g.mark()
            g.process.send(signal.SIGHUP)
            assert "done" in g.wait_line('event=reload what=(done|"refused)', since)
            assert len(g.quarantined()) == turn + 1


def test_without_sandbox_is_said(lab, postfix):
    g = lab([postfix.port], binary=PLAIN, conf="sandbox = no")
    g.wait_line("sandbox: no: a process that has been taken over may make any system call")
    assert status_of(descendants(g.process.pid)["gp-worker 1"])["Seccomp"] == "0"
