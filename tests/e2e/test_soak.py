"""
All that a gateway does, mixed and for long: memory stays flat, no descriptor and no task is left behind, no message is lost.

SOAK_SECONDS (15): `make soak` runs it for 1800. The plain program. What each process holds is sampled; the table is printed.
"""
import base64
import imaplib
import os
import pathlib
import poplib
import random
import re
import signal
import statistics
import threading
import time

from lab.backend import KEYWORDS
from lab.gateway import ROOT, access
from lab.knot import Knot
from lab.measure import pss_kib, status, tree
from lab.process import Process, free_port
from lab.smtp import Client, Closed, insecure, mail
from lab.zones import ZONES

PLAIN = os.environ.get("GATEPOST_PLAIN", str(ROOT / "build" / "gatepost"))
SECONDS = int(os.environ.get("SOAK_SECONDS", "15"))
LONG = SECONDS >= 300
PAUSE_S = 0.02 if LONG else 0.005
WARM = 0.3                              # of the time: caches fill, the allocator finds its size
IDLE_TASKS, IDLE_FILES = 25, 250
GROWTH_MIB_H = 12                       # at most, of all processes together, after that
WORLD = """
one.example MX 10 mx.one.example
mx.one.example A 127.0.0.11
two.example MX 10 mx.two.example
mx.two.example A 127.0.0.12
"""
POLICY = """
quarantine programs: if attachment.extension in (exe, scr) or archive.extension in (exe, scr)
quarantine forged: if dmarc = fail and dmarc.policy in (quarantine, reject)
reject listed: if dnsbl.score >= 5
accept
"""
PROGRAM = ('MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b\r\n', '--b\r\nContent-Type: text/plain\r\n\r\nsee\r\n--b\r\n'
           'Content-Type: application/octet-stream; name="run.exe"\r\nContent-Transfer-Encoding: base64\r\n\r\n'
           + base64.encodebytes(random.Random(1).randbytes(6000)).decode().replace("\n", "\r\n") + "--b--\r\n")


class Ours:
    """Message-IDs: those that were answered 250, by where they have to be, and those that have been found there."""

    def __init__(self):
        self.lock = threading.Lock()
        self.serial = 0
        self.taken, self.found = {}, {}
        self.temporary, self.broken = 0, []

    def name(self, kind):
        with self.lock:
            self.serial += 1
            return f"{kind}{self.serial}"

    def take(self, place, name, reply):
        with self.lock:
            if reply.code == 250:
                self.taken.setdefault(place, set()).add(name)
            elif reply.code // 100 == 4:
                self.temporary += 1
            else:
                self.broken.append(f"{name}: {reply}")

    def find(self, place, octets):
        for name in re.findall(rb"(?mi)^Message-ID: <(\w+)@", octets)[:1]:
            with self.lock:
                self.found.setdefault(place, set()).add(name.decode())

    def lost(self):
        return {place: names - self.found.get(place, set()) for place, names in self.taken.items() if names - self.found.get(place, set())}


class Sink:
    """A mail server whose mailbox is emptied as it fills."""

    def __init__(self, directory, place, ours, address):
        self.maildir, self.place, self.ours, self.address = directory, place, ours, address
        self.process = Process([PLAIN, "sink", "--listen", address, "--maildir", str(directory)])
        self.process.wait_line("listen|ready")

    def collect(self):
        for path in pathlib.Path(self.maildir, "new").glob("*"):
            self.ours.find(self.place, path.read_bytes())
            path.unlink()


def message(name, to="bob@example.com", sender="alice@good.example", extra="", body="A line of ordinary text, of the length that lines have.\r\n" * 30):
    return mail(sender=sender, to=to, subject=name, extra=extra, body=body)


class PutOff(Exception):
    """4xx, at any point: the server's affair."""


class Sender(Client):
    def expect(self, text, code):
        reply = self.cmd(text)
        if reply.code // 100 == 4:
            raise PutOff(f"{text!r}: {reply!r}")
        assert reply.code == code, f"{text!r}: {reply!r}, expected {code}"
        return reply


class Traffic:
    """What clients do, each kind in a thread of its own, until it is over."""

    def __init__(self, g, ours):
        self.g, self.ours = g, ours
        self.over = threading.Event()
        self.counts, self.errors = {}, []
        kinds = [self.inbound, self.inbound, self.chunked, self.encrypted, self.quarantined, self.large, self.refused, self.outbound, self.spooled,
                 self.submitted, self.imap, self.pop3, self.vanishing]
        self.kinds = kinds
        self.threads = [threading.Thread(target=self.repeat, args=(k,), daemon=True) for k in kinds]

    def repeat(self, kind):
        name = kind.__name__
        while not self.over.is_set():
            try:
                kind()
                self.counts[name] = self.counts.get(name, 0) + 1
            except (Closed, OSError, PutOff, imaplib.IMAP4.abort, poplib.error_proto) as e:
                # Between two generations of workers a session may meet 421: mail comes again then.
                self.errors.append(f"{name}: {e!r}")
            except AssertionError as e:
                self.ours.broken.append(f"{name}: {e}")
            self.over.wait(PAUSE_S)

    def __enter__(self):
        for t in self.threads:
            t.start()
        return self

    def __exit__(self, *_):
        self.over.set()
        for t in self.threads:
            t.join(60)

    def client(self, port=None, source="127.0.0.25"):
        c = Sender(port or self.g.port, source=source)
        if c.greeting.code // 100 == 4:
            raise PutOff(c.greeting)
        return c

    def inbound(self):
        with self.client() as c:
            for _ in range(3):
                name = self.ours.name("i")
                self.ours.take("backend", name, c.message("alice@good.example", "bob@example.com", message(name), helo="mail.good.example"))
            c.expect("QUIT", 221)

    def chunked(self):
        with self.client() as c:
            name = self.ours.name("b")
            octets = message(name)
            c.ehlo("mail.good.example")
            c.expect("MAIL FROM:<alice@good.example>", 250)
            c.expect("RCPT TO:<bob@example.com>", 250)
            for i in range(0, len(octets), 500):
                last = i + 500 >= len(octets)
                c.send(b"BDAT %d%s\r\n" % (len(octets[i:i + 500]), b" LAST" if last else b"") + octets[i:i + 500])
                reply = c.reply()
            self.ours.take("backend", name, reply)

    def encrypted(self):
        with self.client() as c:
            c.ehlo("mail.good.example")
            c.starttls()
            name = self.ours.name("t")
            self.ours.take("backend", name, c.message("alice@good.example", ["bob@example.com", "ann@example.com"], message(name), helo="mail.good.example"))

    def quarantined(self):
        with self.client() as c:
            name = self.ours.name("q")
            octets = message(name, extra=PROGRAM[0], body=PROGRAM[1])
            self.ours.take("quarantine", name, c.message("alice@good.example", "bob@example.com", octets, helo="mail.good.example"))
        self.over.wait(10 * PAUSE_S)

    def large(self):
        with self.client() as c:
            name = self.ours.name("l")
            octets = message(name, body="Many lines of ordinary text, of the length that lines have.\r\n" * 20000)
            self.ours.take("backend", name, c.message("alice@good.example", "bob@example.com", octets, helo="mail.good.example"))
        self.over.wait(20 * PAUSE_S)

    def refused(self):
        with self.client(source="127.0.0.66") as c:
            c.ehlo("listed.example")
            c.expect("MAIL FROM:<spam@listed.example>", 250)
            reply = c.cmd("RCPT TO:<bob@example.com>")
            assert reply.code in (550, 250) or reply.code // 100 == 4, reply    # 250: the list has not been tested yet, or its answer was late

    def outbound(self):
        with self.client(source="127.0.0.1") as c:
            name = self.ours.name("o")
            self.ours.take("one", name, c.message("bob@example.com", "x@one.example", message(name, "x@one.example", "bob@example.com")))

    def spooled(self):
        with self.client(source="127.0.0.1") as c:
            name = self.ours.name("s")
            reply = c.message("bob@example.com", ["x@one.example", "y@two.example"], message(name, "x@one.example", "bob@example.com"))
            for place in ("one", "two"):
                self.ours.take(place, name, reply)

    def submitted(self):
        with self.client(self.g.submission) as c:
            c.ehlo()
            c.starttls()
            c.ehlo()
            c.expect("AUTH PLAIN " + base64.b64encode(b"\0ann\0secret").decode(), 235)
            name = self.ours.name("u")
            self.ours.take("users", name, c.message("ann@example.com", "bob@example.com", message(name, sender="ann@example.com")))

    def imap(self):
        box = imaplib.IMAP4("127.0.0.1", self.g.ports["imap"], timeout=60)
        box.starttls(insecure())
        box._simple_command("LOGIN", self.g.user, box._quote(self.g.password))
        box.state = "AUTH"
        box.select("INBOX")
        kind, data = box.fetch("1:*", "(BODY.PEEK[])")
        assert kind == "OK" and len(data) >= 2
        box.logout()

    def pop3(self):
        box = poplib.POP3("127.0.0.1", self.g.ports["pop3"], timeout=60)
        box.user(self.g.user)
        box.pass_(self.g.password)
        assert b"Subject: stored" in b"\n".join(box.retr(1)[1])
        box.quit()

    def vanishing(self):
        """A client that goes away in the middle, somewhere."""
        with self.client() as c:
            at = self.ours.serial % 5
            c.send(b"EHLO x\r\nMAIL FROM:<alice@good.example>\r\nRCPT TO:<bob@example.com>\r\nDATA\r\nSubject: x\r\n\r\nbody\r\n"[:20 * (at + 1)])
            self.over.wait(PAUSE_S)


class Samples:
    def __init__(self, g):
        self.g, self.rows, self.began = g, [], time.monotonic()

    def take(self):
        pss, files = {}, {}
        for pid, name in tree(self.g.process.pid).items():
            role = re.sub(r" \d+$", "", name)
            pss[role] = pss.get(role, 0) + pss_kib(pid) / 1024
            try:
                files[role] = files.get(role, 0) + len(os.listdir(f"/proc/{pid}/fd"))
            except OSError:
                pass
        told = status(self.g)
        self.rows.append({"s": time.monotonic() - self.began, "pss": pss, "files": files, "tasks": sum(w["tasks"] for w in told["workers"]),
                          "sessions": sum(w["sessions"] for w in told["workers"])})
        return self.rows[-1]

    def table(self, every=12):
        roles = sorted({r for row in self.rows for r in row["pss"]})
        out = ["      s   total  " + "  ".join(f"{r:>12}" for r in roles) + "   tasks  sessions        (MiB / descriptors)"]
        for row in self.rows[::max(1, len(self.rows) // every)] + [self.rows[-1]]:
            cells = "  ".join(f"{row['pss'].get(r, 0):6.1f}/{row['files'].get(r, 0):<5}" for r in roles)
            out.append(f"{row['s']:7.0f} {sum(row['pss'].values()):7.1f}  {cells} {row['tasks']:7} {row['sessions']:9}")
        return "\n".join(out)

    def steady(self, end):
        return [row for row in self.rows if WARM * SECONDS <= row["s"] <= end]


def slope(points):
    """Of the line of least squares, per second."""
    x, y = [p[0] for p in points], [p[1] for p in points]
    mx, my = statistics.fmean(x), statistics.fmean(y)
    return sum((a - mx) * (b - my) for a, b in points) / (sum((a - mx) ** 2 for a in x) or 1)


def reload(g):
    mark = g.mark()
    g.process.send(signal.SIGHUP)
    g.wait_line("event=reload .*", mark)


def quiet(g, samples):
    """Nobody is there any more: what is left open then."""
    end = time.monotonic() + 60
    while (row := samples.take())["sessions"] and time.monotonic() < end:
        time.sleep(0.2)
    return row


class Site:
    """A gateway with listeners of every kind, and all that it talks to."""

    def __init__(self, lab, directory, users, mailserver, ours):
        self.world = Knot(directory / "world", ZONES + WORLD)
        port25, submission, own = (free_port() for _ in range(3))
        self.users, self.ours = users, ours
        self.sinks = [Sink(directory / f"sink-{place}", place, ours, address) for place, address in
                      (("backend", f"127.0.0.1:{free_port()}"), ("one", f"127.0.0.11:{port25}"), ("two", f"127.0.0.12:{port25}"))]
        user = mailserver.add()
        for i in range(5):
            mailserver.deliver(user, message(f"stored{i}"))
        ports, text = access(mailserver.ports, "scan = yes", "tls = off", ("imap", "pop3"))
        self.g = lab([self.sinks[0].address], binary=PLAIN, dns=self.world.server, policy=POLICY, workers=2, listeners=f"""
listener smtp {{ address = "127.0.0.1:{own}" backends = {{ "b0" }} tls = starttls }}
listener submission {{ address = "127.0.0.1:{submission}" direction = submission backends = {{ "users" }} }}
backend users {{ address = "127.0.0.1:{users.port}" tls = off }}
{text}""", conf=f"""
relay_networks = {{ "127.0.0.1" }}
outbound {{ port = {port25} never = {{ none }} }}
auth {{ mechanisms = {{ "PLAIN" }} }}
limits {{ sessions_per_client = 500 shed_from = 100 }}
dnsbl "dnsbl.example" {{ weight = 5 }}
quarantine {{ keep = 1d }}
spool {{ retry_min = "1s" retry_max = "2s" }}
""")
        self.g.port, self.g.submission, self.g.ports, self.g.user, self.g.password = own, submission, ports, user, mailserver.users[user]

    def collect(self):
        """What has arrived anywhere."""
        for sink in self.sinks:
            sink.collect()
        with self.users.changed:
            messages, self.users.messages[:] = self.users.messages[:], []
            self.users.sessions[:] = [s for s in self.users.sessions if s.open]
        for m in messages:
            self.ours.find("users", m.data)

    def collect_all(self, timeout=60):
        """The spool is emptied by and by."""
        end = time.monotonic() + timeout
        for path in self.g.quarantined():
            self.ours.find("quarantine", path.read_bytes())
        while True:
            self.collect()
            if not self.ours.lost() or time.monotonic() > end:
                return
            time.sleep(0.1)

    def stop(self):
        for sink in self.sinks:
            sink.process.stop()
        self.world.stop()


def drive(site, traffic, samples):
    """Reloads come while it warms up, and at the end: between them processes stay, and what they hold can be compared."""
    began, reloads = time.monotonic(), 0
    every = max(0.5, SECONDS / 180)
    while (now := time.monotonic() - began) < SECONDS:
        if reloads < 3 and now > (reloads + 1) * WARM * SECONDS / 5:
            reload(site.g)
            reloads += 1
        samples.take()
        site.collect()
        time.sleep(every)
    steady = samples.steady(now)
    reload(site.g)
    time.sleep(min(5, SECONDS / 10))
    return steady


def test_soak(lab, tmp_path, backend, mailserver):
    ours = Ours()
    users = backend({"AUTH": b"235 2.7.0 welcome\r\n"}, keywords=[*KEYWORDS, "AUTH PLAIN"])
    site = Site(lab, tmp_path, users, mailserver, ours)
    try:
        samples = Samples(site.g)
        with Traffic(site.g, ours) as traffic:
            steady = drive(site, traffic, samples)
        last = quiet(site.g, samples)
        site.collect_all()
    finally:
        site.stop()
    growth = slope([(row["s"], sum(row["pss"].values())) for row in steady]) * 3600
    taken, lost = sum(len(names) for names in ours.taken.values()), ours.lost()
    print(f"\n{samples.table()}\n{taken} messages taken, {sum(map(len, lost.values()))} lost, {ours.temporary} told to come again; "
          f"{dict(sorted(traffic.counts.items()))}, {len(traffic.errors)} sessions cut; growth {growth:.1f} MiB an hour")
    assert not lost and not ours.broken
    assert all(traffic.counts.get(k.__name__) for k in traffic.kinds), traffic.errors[:5]
    assert len(traffic.errors) < 50, traffic.errors[:20]
    if LONG:
        assert growth < GROWTH_MIB_H
    # Nobody is there: what remains is the same whatever there has been to do.
    assert last["tasks"] <= IDLE_TASKS and sum(last["files"].values()) <= IDLE_FILES, last
