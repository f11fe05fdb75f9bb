"""
Mail at load while everything around it breaks, one thing after the other: processes, the server behind, the disk, DNS, the clock. Afterwards whatever was
answered 250 is at the server or in the quarantine, whole; what was lost (must be 0) and what is there twice is printed.

FAULT_SECONDS: for so long, in any order and two at once, from FAULT_SEED (printed): `make fault`.
"""
import collections
import contextlib
import os
import pathlib
import random
import signal
import socket
import subprocess
import threading
import time

import pytest

from lab import accounts
from lab.accounts import Accounts
from lab.clock import Clock
from lab.counts import say
from lab.disk import Disk
from lab.dovecot import Dovecot
from lab.gateway import ROOT, Gateway
from lab.load import Load
from lab.postfix import Postfix
from lab.process import WAIT_S, free_port
from lab.senders import Sender, deliver

SECONDS = float(os.environ.get("FAULT_SECONDS", "0"))
SEED = int(os.environ.get("FAULT_SEED") or 0) or (random.randrange(1, 1 << 30) if SECONDS else 1)
PLAIN = os.environ.get("GATEPOST_PLAIN", str(ROOT / "build" / "gatepost"))      # the processes as they are, sandbox and all

LOCAL = ["bob@example.com", "carol@example.com", "ann@example.com"]
WORLD = ["x@one.example", "y@two.example"]
PASSWORD = "Ann-s3cret-Pa55phrase"

ZONE = """
one.example MX 10 mx.one.example
mx.one.example A 127.0.0.11
two.example MX 10 mx.two.example
mx.two.example A 127.0.0.12
*.sender.example TXT "v=spf1 ip4:127.0.0.0/8 -all"
"""
# SPF, of a domain that is new each time, so that DNS matters.
POLICY = """
reject "550 5.7.1 not for you" if rcpt = "no@example.com" and header.subject = "mixed"
quarantine if rcpt = "held@example.com"
quarantine if header.subject = "hold"
reject if spf = fail
greylist if rcpt = "ann@example.com" and direction = inbound
accept
"""
HOUR, DAY = 3600, 86400


class Servfail(threading.Thread):
    """In the place of the DNS server: it answers, and knows nothing."""

    def __init__(self, port):
        super().__init__(daemon=True)
        self.sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        end = time.monotonic() + WAIT_S
        while True:                     # a resolver may be asking from this very port: it has it until it gives up
            try:
                self.sock.bind(("127.0.0.1", port))
                break
            except OSError:
                assert time.monotonic() < end, f"port {port} is not free"
                time.sleep(0.02)
        self.start()

    def run(self):
        with contextlib.suppress(OSError):
            while (got := self.sock.recvfrom(4096))[0]:
                q, who = got
                self.sock.sendto(q[:2] + bytes([0x80 | q[2] & 1, 0x82]) + q[4:6] + bytes(6) + q[12:], who)

    def stop(self):
        with contextlib.suppress(OSError):
            self.sock.shutdown(socket.SHUT_RDWR)
        self.sock.close()


def processes(parent):
    """The process and its children."""
    out = [parent]
    for stat in pathlib.Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            if int(stat.read_text().rpartition(")")[2].split()[1]) == parent:
                out.append(int(stat.parent.name))
    return out


def alive(pid):
    """Whether it has not ended; one that nobody has waited for has."""
    with contextlib.suppress(OSError):
        return pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    return False


class Site:
    """A gateway on a disk of its own, with a clock of its own; the Postfix behind, with users who log in; two mail servers of the world; DNS."""

    def __init__(self, directory, knot, hosts, certificates):
        self.dir, self.knot, self.hosts = directory, knot, hosts
        self.books = Accounts(SEED)
        self.disk = Disk(directory / "disk", megabytes=2000 if SECONDS else 100)
        self.clock = Clock(directory / "clock")
        self.dovecot = Dovecot(directory / "dovecot", {"ann": PASSWORD})
        cert, key = certificates.signed
        self.postfix = Postfix(
            directory / "postfix", users=("bob", "carol", "ann", "held", "no"), smtpd_sasl_auth_enable="yes", smtpd_sasl_type="dovecot",
            smtpd_sasl_path=self.dovecot.auth, smtpd_tls_security_level="may", smtpd_tls_cert_file=cert, smtpd_tls_key_file=key, broken_sasl_auth_clients="yes",
            smtpd_recipient_restrictions="permit_sasl_authenticated, reject_unauth_destination", relayhost=f"[127.0.0.11]:{knot.port25}",
            minimal_backoff_time="1s", queue_run_delay="1s", smtpd_authorized_xclient_hosts="127.0.0.1")
        self.submission = free_port()
        self.old = []           # processes of gateways that were killed
        self.gate = None

    def start(self):
        smtp = free_port()
        self.gate = Gateway(self.dir / "gate", [self.postfix.port], dns=self.knot.server, policy=POLICY, workers=2, binary=PLAIN, disk=self.disk,
                            env=self.clock.env, backend_options="probe_interval = 1s", conf=f"""
relay_networks = {{ "127.0.0.1" }}
outbound {{ port = {self.knot.port25} never = {{ none }} bench = "0s" }}
spool {{ retry_min = "300ms" retry_max = "300ms" }}
greylist {{ delay = "1s" auto_passes = 0 }}
auth {{ mechanisms = {{ "PLAIN" }} }}""", listeners=f"""
listener smtp {{ address = "127.0.0.1:{smtp}" }}
listener submission {{ address = "127.0.0.1:{self.submission}" direction = submission }}""")
        self.gate.port = smtp
        self.gate.start()
        return self

    def restart(self):
        """As a service manager does: the parent has died, and nothing of it is left."""
        pids = processes(self.gate.process.pid)
        self.gate.process.send(signal.SIGKILL)
        self.gate.process.wait()
        self.again(pids)

    def again(self, pids):
        """When all of these have ended, by themselves."""
        end = time.monotonic() + WAIT_S
        while left := list(filter(alive, pids)):
            assert time.monotonic() < end, f"they outlive their parent: {left}"
            time.sleep(0.02)
        self.old.append(self.gate.process)
        self.gate.notify.close()
        self.gate.start()

    def postfix_pids(self):
        """All that work in its queue: a child whose master is killed would hold its session for an hour."""
        out, queue = [], str(self.postfix.dir / "queue")
        for cwd in pathlib.Path("/proc").glob("[0-9]*/cwd"):
            with contextlib.suppress(OSError):
                if os.readlink(cwd) == queue:
                    out.append(int(cwd.parent.name))
        return out

    def senders(self):
        """One of each kind. Strangers have an address each."""
        count = iter(range(1, 1 << 40))

        def stranger():
            return f"a@n{next(count)}-{SEED}.sender.example"

        def write(rcpts, sender=stranger, chance=random.Random(SEED), **kw):
            return lambda books: books.write(sender(), rcpts, size=300_000 if chance.random() < 0.02 else chance.randrange(300, 5000), **kw)
        smtp, ours = self.gate.port, lambda: "ann@example.com"
        return [
            Sender(smtp, write(["bob@example.com"]), source="127.0.0.21"),
            Sender(smtp, write(["bob@example.com", "carol@example.com"]), source="127.0.0.22", bdat=1500),
            Sender(smtp, write(["carol@example.com"]), source="127.0.0.23", tls=True),
            Sender(smtp, write(["bob@example.com", "held@example.com", "no@example.com"], subject="mixed"), source="127.0.0.24", prdr=True),
            Sender(smtp, write(["bob@example.com", "held@example.com"]), source="127.0.0.25", tls=True, bdat=20_000),
            Sender(smtp, write(["carol@example.com"], subject="hold"), source="127.0.0.26"),
            Sender(smtp, write(["ann@example.com"]), source="127.0.0.27"),
            Sender(smtp, write(WORLD, ours)),
            Sender(self.submission, write(["bob@example.com", "x@one.example"], ours), tls=True, login=("ann", PASSWORD)),
        ]

    def places(self):
        g = self.gate
        return {"server": accounts.mailboxes(self.postfix, [*LOCAL, "held@example.com", "no@example.com"]), "quarantine": accounts.quarantine(g.state / "quarantine"),
                "spool": accounts.spool(g.state / "spool"), "world": [c for h in self.hosts for c in accounts.taken_by(h)]}

    def under_way(self):
        """Files of mail that has been taken, and is not where it belongs. What Postfix had not taken when it was killed is not executable."""
        left = list((self.gate.state / "spool").glob("*.json"))
        for queue in ("maildrop", "incoming", "active", "deferred"):
            for path in (self.postfix.dir / "queue" / queue).rglob("*"):
                with contextlib.suppress(FileNotFoundError):
                    if path.is_file() and path.stat().st_mode & 0o100:
                        left.append(path)
        return left

    def settle(self):
        """What is under way arrives."""
        end = time.monotonic() + 2 * WAIT_S
        while left := self.under_way():
            assert time.monotonic() < end, f"mail stays under way: {left}\n{self.postfix.log()}"
            self.postfix.command("/usr/sbin/postqueue", "-c", str(self.postfix.conf), "-f", check=False)
            time.sleep(0.1)

    def stop(self):
        self.postfix.stop()
        self.dovecot.stop()
        self.disk.remove()


@pytest.fixture
def site(tmp_path, world, host, certificates):
    s = Site(tmp_path, world, [host(11), host(12)], certificates)
    try:
        s.start()
        yield s
        status = s.gate.stop()
        assert status == 0, s.gate.process.output()[-20000:]
    finally:
        if s.gate and s.gate.process:
            s.gate.process.kill()
        s.stop()


# What may happen. Each breaks something, lets the load feel it, and mends it; it ends when the site is as before.

def each_process(site, load):
    for name in sorted(site.gate.children()):
        one_process(site, load, name)


def one_process(site, load, name=None):
    children = site.gate.children()
    name = name or (random.choice(sorted(children)) if children else None)
    if name in children:
        with contextlib.suppress(ProcessLookupError):
            os.kill(children[name], signal.SIGKILL)
        load.tried(6)


def all_processes(site, load):
    site.restart()
    load.tried(6)


def backend_stops(site, load):
    site.postfix.pause()
    load.tried(20)
    site.postfix.resume()


def backend_is_killed(site, load):
    while pids := site.postfix_pids():
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.01)
    load.tried(20)
    end = time.monotonic() + WAIT_S
    while True:
        try:
            return site.postfix.resume()
        except subprocess.CalledProcessError:          # it may still see its dead master's lock
            assert time.monotonic() < end, site.postfix.log()
            time.sleep(0.1)


def stand_still(pids):
    for number in (signal.SIGSTOP, signal.SIGCONT):
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)
        if number == signal.SIGSTOP:
            time.sleep(0.5)


def backend_stands_still(site, load):
    stand_still(site.postfix_pids())


def world_stops(site, load):
    for h in site.hosts:
        h.stop()
    load.tried(20)
    for h in site.hosts:
        h.listen()


def disk_full(site, load):
    site.disk.fill()
    load.tried(40)
    site.disk.free()


def start_on_a_full_disk(site, load):
    """What need not be kept goes through."""
    site.disk.fill()
    site.restart()
    load.tried(20)
    site.disk.free()


def disk_lost(site, load):
    """It is read-only from one moment to the next; what was not on stable storage is gone. Somebody notices, and boots again."""
    if not site.disk.lossy:
        return
    site.disk.lose()
    load.tried(20)
    pids = processes(site.gate.process.pid)
    site.gate.process.send(signal.SIGKILL)
    site.gate.process.wait()
    end = time.monotonic() + WAIT_S
    while any(map(alive, pids)) and time.monotonic() < end:
        time.sleep(0.02)
    site.disk.repair()
    site.again(pids)


def dns_stops(site, load):
    site.knot.freeze()
    load.tried(10)
    site.knot.thaw()


def dns_fails(site, load):
    site.knot.process.stop()
    wrong = Servfail(site.knot.port)
    load.tried(20)
    wrong.stop()
    site.knot.start()


def clock_moves(site, load):
    """Long enough for all to look at it who do."""
    for seconds in [-3 * HOUR, 40 * DAY, -40 * DAY, 400 * DAY]:
        site.clock.move(seconds)
        load.tried(10)
        time.sleep(1.2)
    site.clock.move(0)


def dns_away_while_the_clock_is_ahead(site, load):
    """What a resolver has noted for a quarter of an hour is not to be believed for a year."""
    site.knot.freeze()
    for seconds in (0, 40 * DAY, -40 * DAY, 400 * DAY):
        site.clock.move(seconds)
        load.tried(10)
        time.sleep(1.2)
    site.knot.thaw()
    load.tried(10)
    site.clock.move(0)


def start_with_the_clock_ahead(site, load):
    """What cannot be delivered just then is not a year old."""
    for h in site.hosts:
        h.stop()
    load.tried(20)
    site.clock.move(400 * DAY)
    site.restart()
    load.tried(20)
    site.clock.move(0)
    for h in site.hosts:
        h.listen()


def suspended(site, load):
    stand_still(processes(site.gate.process.pid))


def upgrade(site, load):
    site.gate.process.send(signal.SIGUSR2)
    load.tried(10)


def reload(site, load):
    site.gate.process.send(signal.SIGHUP)
    load.tried(10)


FAULTS = [each_process, all_processes, backend_stops, backend_is_killed, backend_stands_still, world_stops, disk_full, start_on_a_full_disk, disk_lost,
          dns_stops, dns_fails, clock_moves, dns_away_while_the_clock_is_ahead, start_with_the_clock_ahead, suspended, reload, upgrade]
# By chance, and two at once where they do not break the same thing.
BREAKS = {
    one_process: {"process"}, all_processes: {"gateway"}, suspended: {"gateway"}, reload: {"gateway"}, upgrade: {"gateway"},
    disk_lost: {"gateway", "disk"}, disk_full: {"disk"}, start_on_a_full_disk: {"gateway", "disk"},
    backend_stops: {"backend"}, backend_is_killed: {"backend"}, backend_stands_still: {"backend"}, world_stops: {"world"}, dns_stops: {"dns"},
    dns_fails: {"dns"}, clock_moves: {"clock"}, dns_away_while_the_clock_is_ahead: {"dns", "clock"},
    start_with_the_clock_ahead: {"gateway", "clock", "world"},
}


def goes_on(site, load, senders, after):
    """All is mended: everybody's mail is taken again."""
    try:
        load.each()
    except AssertionError as e:
        raise AssertionError(f"after {after}: {e}; {[s.words for s in senders]}\n{site.gate.process.output()[-20000:]}") from None


def books_close(site, load, begun):
    site.settle()
    balance = site.books.balance(site.places())
    say(f"faults: {time.monotonic() - begun:.0f} s, {load.tries} attempts: {balance}")
    assert (site.gate.state / "quarantine" / "clock").exists()         # the keeper may write it, in its sandbox, too
    # Twice is what Postfix, and the spool, deliver again when they are killed at the wrong moment: nobody can know it of a single message.
    balance.check(unexplained=False)


@pytest.mark.skipif(SECONDS > 0, reason="the long form has them all")
def test_one_after_the_other(site, capsys):
    senders, begun, said = site.senders(), time.monotonic(), []
    with Load(deliver(site.books, senders), len(senders), finish=True) as load:
        load.each()
        for fault in FAULTS:
            at, before = time.monotonic(), len(load.acknowledged)
            fault(site, load)
            mended = time.monotonic()
            goes_on(site, load, senders, fault.__name__)
            said.append(f"{fault.__name__} {mended - at:.1f}+{time.monotonic() - mended:.1f} s, {len(load.acknowledged) - before} taken")
    with capsys.disabled():
        print()
        say("faults: " + "; ".join(said))
        books_close(site, load, begun)


def at_once(site, load, faults):
    problems = []

    def one(fault):
        try:
            fault(site, load)
        except BaseException as e:
            problems.append(f"{fault.__name__}: {e!r}")
    threads = [threading.Thread(target=one, args=(f,)) for f in faults]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not problems, problems


def test_by_chance(site, capsys):
    senders, begun, chance, count = site.senders(), time.monotonic(), random.Random(SEED), collections.Counter()
    with capsys.disabled(), Load(deliver(site.books, senders), len(senders), finish=True) as load:
        print(f"\nFAULT_SEED={SEED}")
        load.each()
        while time.monotonic() - begun < SECONDS:
            first, second = chance.sample(list(BREAKS), 2)
            faults = [first] if BREAKS[first] & BREAKS[second] else [first, second]
            print(f"{time.monotonic() - begun:5.0f} s {len(load.acknowledged):7} taken; {' and '.join(f.__name__ for f in faults)}", flush=True)
            at_once(site, load, faults)
            goes_on(site, load, senders, faults)
            count.update(f.__name__ for f in faults)
    with capsys.disabled():
        say(f"faults, FAULT_SEED={SEED}: " + ", ".join(f"{name} {n}" for name, n in sorted(count.items())))
        books_close(site, load, begun)


if not SECONDS:         # make fault has it
    del test_by_chance
