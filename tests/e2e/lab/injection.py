"""
A gateway whose memory and I/O fail, one site after the other (lab/faulty.py), and the sessions that lead to these sites.

A kind of session is a method of Rooms that talks as clients do and compares what it hears with what a gateway in good health says. Of one whose
memory fails it takes a 4xx in place of any reply, or a closed connection; nothing else. What was answered 250 must be where it belongs, whole.
"""
import base64
import io
import json
import os
import pathlib
import signal
import socket
import ssl
import time
import zipfile

from .backend import KEYWORDS, Backend
from .faulty import Faulty, describe, where_died
from .gateway import BINARY, Gateway
from .knot import Knot
from .process import free_port
from .sign import KEY, key_record, signed
from .smtp import Client, Closed, insecure, mail

PLAIN = os.environ.get("GATEPOST_PLAIN", BINARY)
PATIENCE_S = 30         # longer than any wait of the gateway that these sessions lead to
QUIET_S = 0.25          # keepers go on with what a session has left to them

ZONE = """
*.127.in-addr.arpa PTR host.client.example.
host.client.example A 127.9.9.9
client.example A 127.0.0.1
# signatures alone vouch for s.example, SPF alone for t.example
*.s.example TXT "v=spf1 include:one.s.example ?all"
*.s.example A 127.0.0.1
one.s.example TXT "v=spf1 ip4:192.0.2.1 -all"
_dmarc.s.example TXT "v=DMARC1; p=quarantine"
*._domainkey.s.example TXT KEY
*.t.example TXT "v=spf1 include:one.s.example ip4:127.0.0.0/8 -all"
*.t.example A 127.0.0.1
_dmarc.t.example TXT "v=DMARC1; p=quarantine; aspf=r"
2.0.0.127.dnsbl.example A 127.0.0.2
*.20.127.dnsbl.example A 127.0.0.2
*.one.example MX 10 mx.one.example.
mx.one.example A 127.0.0.11
*.two.example MX 10 mx.two.example.
mx.two.example A 127.0.0.12
""".replace("KEY", key_record())

POLICY = """
list words = { "buy now" }
accept ours: if direction in (outbound, internal) and not rate.over ~ /./
reject listed: "550 5.7.1 listed" if dnsbl.score >= 5
greylist grey: if helo ~ /^grey/
reject program: "550 5.7.1 no programs" if attachment.extension in (exe) or archive.extension in (exe)
reject bomb: if archive.bomb
quarantine words: if text ~ /quarantine this/ or header.subject in words
quarantine dmarc: if dmarc = fail and dmarc.policy in (quarantine, reject)
quarantine from: if from.count != 1
tag marked: "[MARK] " if header.subject ~ /tag-me/
accept
"""

CONF = """
relay_networks = {{ "127.30.0.0/16" }}
dnsbl dnsbl.example {{ weight = 5 codes = {{ "127.0.0.2" }} }}
greylist {{ delay = "1s" }}
outbound {{ port = {port25} never = {{ none }} bench = "0s" }}
spool {{ retry_min = "200ms" retry_max = "500ms" }}
dkim_sign example.com {{ keys = {{ "sel={key}" }} }}
arc_seal example.com {{ selector = sel key = "{key}" when = always }}
auth {{ mechanisms = {{ "PLAIN", "LOGIN" }} slow_after = 1000 refuse_after = 1000 account_slow_after = 1000 account_refuse_after = 1000 }}
rate all {{ by = client limit = 100000 }}
limits {{ memory = "64K" sessions_per_client = 100 }}
"""


# Whose faults are not ours to mend: a failure of theirs ends the process, which is started again. libunbound (1.17) uses what it could not allocate.
OTHERS = ("libunbound.so.8",)


class Wrong(AssertionError):
    """What no failure excuses."""


class Deviation(Exception):
    """Another answer than that of a gateway in good health, and one that is allowed."""

    def __init__(self, step, code):
        super().__init__(f"{step}: {code}")
        self.step, self.code = step, code


def zipped(name="a.txt"):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as z:
        z.writestr(name, "hello" * 100)
    return base64.encodebytes(out.getvalue()).replace(b"\n", b"\r\n")


PARTS = (b"--bb\r\nContent-Type: text/plain; charset=iso-8859-1\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\nhello w=F6rld %b\r\n"
         b"--bb\r\nContent-Type: text/html; charset=utf-8\r\n\r\n<p>hello</p>\r\n"
         b"--bb\r\nContent-Type: application/zip; name=a.zip\r\nContent-Transfer-Encoding: base64\r\n\r\n%b--bb--\r\n")
OURS = "ann@example.com"
ZIP, PROGRAMS = zipped(), zipped("a.exe")


def message(n, words="", attachment=ZIP, subject="", more=b"", author=None):
    body = PARTS % (words.encode(), attachment) + more
    head = mail(author or f"alice@n{n}.t.example", subject=f"token{n}x {subject}", body="", extra="MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=bb\r\n")
    return head + body


class Talk(Client):
    """A client that knows what it should hear. said: the codes so far."""

    def __init__(self, rooms, port, source, tls=False):
        self.rooms = rooms
        super().__init__(port, source=source, timeout=PATIENCE_S, greeting=False)
        if tls:
            self.sock = insecure().wrap_socket(self.sock, server_hostname="gate.example")
        self.hear("greeting", 220)

    def hear(self, step, *wanted):
        reply = self.reply()
        if reply.code in wanted:
            return reply
        if 400 <= reply.code < 500:
            raise Deviation(step, reply)
        raise Wrong(f"{step}: {reply!r}, expected {wanted}")

    def say(self, text, *wanted):
        self.send(text.encode() + b"\r\n")
        return self.hear(text[:40], *wanted)

    def hello(self, name="client.example", tls=False):
        reply = self.say(f"EHLO {name}", 250)
        if tls:
            if "STARTTLS" not in reply.keywords():
                raise Deviation("STARTTLS is not offered", 0)
            self.say("STARTTLS", 220)
            self.sock = insecure().wrap_socket(self.sock, server_hostname="gate.example")
            self.data = b""
            reply = self.say(f"EHLO {name}", 250)
        return reply

    def transaction(self, n, octets, where, sender=None, rcpts=("bob@example.com",), codes=None, end=250, bdat=False, params=""):
        """One message, noted if it was answered 250."""
        sender = f"alice@n{n}.t.example" if sender is None else sender
        codes = codes or [250] * len(rcpts)
        if bdat:
            half = len(octets) // 2
            self.send("".join([f"MAIL FROM:<{sender}>{params}\r\n", *(f"RCPT TO:<{r}>\r\n" for r in rcpts), f"BDAT {half}\r\n"]).encode() + octets[:half])
            first = [self.reply().code for _ in range(2 + len(rcpts))]
            for code, want in zip(first, (250, *codes, 250)):
                if code != want:
                    if not 400 <= code < 500 and first[0] == 250:
                        if code not in (500, 503, 554) or all(c == w for c, w in zip(first[:-1], (250, *codes))):
                            raise Wrong(f"BDAT group: {first}")
                    raise Deviation("BDAT group", first)
            self.send(f"BDAT {len(octets) - half} LAST\r\n".encode() + octets[half:])
        else:
            self.say(f"MAIL FROM:<{sender}>{params}", 250)
            for r, code in zip(rcpts, codes):
                self.say(f"RCPT TO:<{r}>", code)
            if all(code != 250 for code in codes):
                return
            self.say("DATA", 354)
            self.send(octets.replace(b"\r\n.", b"\r\n..") + b".\r\n")
        reply = self.hear("end of data", end)
        if reply.code == 250:
            self.rooms.taken.append((n, octets, where))


class Rooms:
    """One gateway with all that is behind it. kinds: the sessions, by name, in the order of their numbers."""

    def __init__(self, directory, library, binary=PLAIN, conf="", number=0):
        self.dir = pathlib.Path(directory)
        self.dir.mkdir(parents=True, exist_ok=True)
        self.dir.chmod(0o755)
        self.knot = Knot(self.dir / "knot", ZONE)
        self.port25 = free_port()
        self.server = Backend({"AUTH": b"235 2.7.0 welcome\r\n"}, keywords=(*KEYWORDS, "AUTH PLAIN LOGIN"))
        self.server.users = {"bob@example.com", OURS}
        self.one = Backend(host="127.0.0.11", port=self.port25)
        self.two = Backend(host="127.0.0.12", port=self.port25)
        self.two.script["RCPT"] = lambda s, line: b"550 5.1.1 no such user\r\n" if "unknown" in line else None
        self.faulty = Faulty(f"/dev/shm/gatepost-faulty-{os.getpid()}-{number}", library)
        self.ports = [free_port() for _ in range(3)]
        listeners = (f'listener smtp {{ address = "127.0.0.1:{self.ports[0]}" }}\n'
                     f'listener submission {{ address = "127.0.0.1:{self.ports[1]}" direction = submission }}\n'
                     f'listener submissions {{ address = "127.0.0.1:{self.ports[2]}" direction = submission tls = implicit }}\n')
        self.gate = Gateway(self.dir / "gate", [self.server.port], dns=self.knot.server, listeners=listeners, policy=POLICY, env=self.faulty.env, binary=binary,
                            backend_options="probe_interval = 1s", conf=CONF.format(port25=self.port25, key=KEY) + conf)
        self.n = 1000
        self.taken, self.seen_eml = [], {}
        self.twice = self.sessions = self.kept = self.others = 0
        self.kinds = [k for k in dir(self) if k.startswith("session_")]

    def start(self):
        self.gate.start()
        self.faulty.check()
        self.gate.wait_line("name=b0 .*state=up")
        return self

    def stop(self):
        self.faulty.off()
        status = self.gate.stop()
        for s in (self.server, self.one, self.two, self.knot):
            s.stop()
        self.faulty.close()
        return status

    # the sessions

    def next(self):
        self.n += 1
        return self.n

    def source(self, n, net=10):
        return f"127.{net}.{n // 250 % 250}.{n % 250 + 1}"

    def talk(self, n, port=0, net=10, tls=False):
        return Talk(self, self.ports[port], self.source(n, net), tls)

    def session_data(self, n):
        with self.talk(n) as c:
            c.hello()
            c.transaction(n, signed(message(n, author=f"alice@n{n}.s.example"), "s.example", f"n{n}"), "server", sender=f"alice@n{n}.s.example", params=" SIZE=1000 BODY=8BITMIME")
            c.say("QUIT", 221)

    def session_tls(self, n):
        with self.talk(n) as c:
            c.hello(tls=True)
            c.transaction(n, mail(f"alice@n{n}.t.example", subject=f"token{n}x"), "server")
            c.say("QUIT", 221)

    def session_bdat(self, n):
        with self.talk(n) as c:
            c.hello()
            c.transaction(n, message(n), "server", bdat=True)
            c.say("RSET", 250)
            m = self.next()
            c.transaction(m, message(m, subject="tag-me"), "server")

    def session_quarantine(self, n):
        with self.talk(n) as c:
            c.hello()
            c.transaction(n, message(n, "quarantine this"), "quarantine")
            c.say("QUIT", 221)

    def session_refused(self, n):
        with self.talk(n) as c:
            c.hello()
            c.transaction(n, message(n, attachment=PROGRAMS), None, end=550)
            c.say("NOOP", 250)
            c.say("VRFY x", 252)
            c.say("MAIL FROM:<>", 250)
            c.say("RCPT TO:<unknown@example.com>", 550)
            c.say("RCPT TO:<x@elsewhere.example>", 550)
            c.say("QUIT", 221)

    def session_listed(self, n):
        with self.talk(n, net=20) as c:
            c.hello()
            c.say(f"MAIL FROM:<a@n{n}.t.example>", 250)
            if c.say("RCPT TO:<bob@example.com>", 550, 250).code == 250:
                c.say("DATA", 354)              # the list could not be read: the message is put off
                c.send(mail() + b".\r\n")
                c.hear("end of data of who is listed")
            c.say("QUIT", 221)

    def session_grey(self, n):
        with self.talk(n) as c:
            c.hello("grey.example")
            c.say(f"MAIL FROM:<a@n{n}.t.example>", 250)
            if c.say("RCPT TO:<bob@example.com>", 451, 250).code == 250:
                raise Deviation("greylisting is passed over", 250)      # so it is where the state does not answer
            c.say("QUIT", 221)

    def session_large(self, n):
        with self.talk(n) as c:
            c.hello()
            c.transaction(n, message(n, more=(b"x" * 70 + b"\r\n") * 4000), "server")
            m = self.next()
            c.transaction(m, message(m, "quarantine this", more=(b"x" * 70 + b"\r\n") * 4000), "quarantine")

    def session_gone(self, n):
        """The client leaves in the middle of a message."""
        with self.talk(n) as c:
            c.hello()
            c.say(f"MAIL FROM:<a@n{n}.t.example>", 250)
            c.say("RCPT TO:<bob@example.com>", 250)
            c.say("DATA", 354)
            c.send(b"Subject: x\r\n\r\nhalf a line")

    def session_out(self, n):
        """One of ours to the world, signed, while it waits."""
        with self.talk(n, net=30) as c:
            c.hello()
            c.transaction(n, message(n, author=OURS), "one", sender=OURS, rcpts=[f"x@n{n}.one.example"])
            c.say("QUIT", 221)

    def session_spool(self, n):
        """To two next hops, by the spool."""
        with self.talk(n, net=30) as c:
            c.hello()
            c.transaction(n, message(n, author=OURS), "one two", sender=OURS, rcpts=[f"x@n{n}.one.example", f"y@n{n}.two.example"])
            c.say("QUIT", 221)

    def session_bounce(self, n):
        """One of two next hops refuses: ann hears of it."""
        with self.talk(n, net=30) as c:
            c.hello()
            c.transaction(n, message(n, author=OURS), "one bounce", sender=OURS, rcpts=[f"x@n{n}.one.example", f"unknown@n{n}.two.example"])
            c.say("QUIT", 221)

    def session_submission(self, n):
        with self.talk(n, port=2, tls=True) as c:
            reply = c.say("EHLO client.example", 250)
            if "AUTH" not in reply.keywords():
                raise Deviation("AUTH is not offered", 0)
            c.say("AUTH PLAIN " + base64.b64encode(b"\0ann\0secret").decode(), 235)
            c.transaction(n, message(n, author=OURS), "server", sender=OURS)
            c.say("QUIT", 221)

    # what became of it

    def run(self, kind):
        """One session. None, or how it deviated; Wrong is raised."""
        n = self.next()
        self.sessions += 1
        try:
            getattr(self, kind)(n)
        except Deviation as e:
            return str(e)
        except Closed as e:
            rest = bytes(e.args[0])
            if rest and not rest[:3].isdigit():
                raise Wrong(f"{kind}: closed behind {rest!r}") from None
            return "closed"
        except socket.timeout:
            raise Wrong(f"{kind}: no answer in {PATIENCE_S} s") from None
        except (ssl.SSLError, OSError) as e:
            return f"closed: {e}"
        return None

    @staticmethod
    def find(backend, token):
        with backend.changed:
            return [m for m in backend.messages if token in m.data]

    def quarantined(self, token):
        for p in self.gate.quarantined():
            if p not in self.seen_eml:
                self.seen_eml[p] = p.read_bytes()
        return [data for data in self.seen_eml.values() if token in data]

    def settle(self, patience=PATIENCE_S):
        """What has been answered 250 is where it belongs."""
        for n, octets, where in self.taken:
            token, body = f"token{n}x".encode(), octets.partition(b"\r\n\r\n")[2]
            end = time.monotonic() + patience
            for place in where.split():
                while True:
                    if place == "quarantine":
                        found = self.quarantined(token)
                    elif place == "bounce":
                        found = [m.data for m in self.find(self.server, token) if b"multipart/report" in m.data]
                        found = found and [body]
                    else:
                        found = [m.data for m in self.find(getattr(self, place), token)]
                    if found or time.monotonic() > end:
                        break
                    time.sleep(0.01)
                if not found:
                    raise Wrong(f"LOST: message {n}, which was answered 250, is not in {place}")
                if not all(data.endswith(body) for data in found):
                    raise Wrong(f"CHANGED: message {n} in {place}")
                if place in ("one", "two") and b"dkim-signature" not in found[0].lower():
                    raise Wrong(f"message {n} went out without a signature")
                self.kept += 1
                self.twice += len(found) - 1
            if where == "quarantine" and self.find(self.server, token):
                raise Wrong(f"message {n} is quarantined, and was delivered, too")
        self.taken.clear()

    def status(self):
        with socket.socket(socket.AF_UNIX) as s:
            s.settimeout(PATIENCE_S)
            s.connect(str(self.gate.state / "control"))
            s.sendall(b'{"cmd":"status"}\n')
            data = b""
            while more := s.recv(65536):
                data += more
        return json.loads(data)

    def quiet(self):
        """All sessions are over."""
        end = time.monotonic() + PATIENCE_S
        while any(w["sessions"] for w in self.status()["workers"]):
            if time.monotonic() > end:
                raise Wrong(f"sessions are left: {self.status()}")
            time.sleep(0.05)

    def deaths(self, since):
        return [line for line in self.gate.process.output(since).splitlines() if "event=died" in line or "Assertion" in line]

    def good(self, kind, patience=PATIENCE_S):
        """A session without a failure goes well, at the latest after the pauses that a gateway makes of its own when something has failed."""
        end = time.monotonic() + patience
        tries = 0
        while how := self.run(kind):
            tries += 1
            if time.monotonic() > end:
                raise Wrong(f"the next session without a failure: {how}")
            time.sleep(0.1)
        self.settle()
        return tries

    def record(self, kinds=None, times=2):
        """All sessions, or those of these kinds, noting the sites that they reach."""
        for _ in range(times):
            for i, kind in enumerate(self.kinds):
                if kinds and kind not in kinds:
                    continue
                self.faulty.record(i)
                how = self.run(kind)
                assert how is None, f"{kind}: {how}"
                self.settle()
                time.sleep(QUIET_S)
                self.faulty.off()
        return self.faulty.sites()

    def death_of_others(self, site, mark):
        """It died in such a library, which may use later what it could not allocate; what follows must be as ever."""
        where = None
        before = max(0, mark - 100)     # the process tells of it before its parent does
        for line in self.gate.process.output(before).splitlines():
            module = line.partition("died at ")[2].partition("+")[0] if line.startswith("faulty: died at ") else ""
            if module == self.faulty.library.name:
                where = None            # where it begins
            elif module and not module.startswith("libc.so"):
                where = where or module
        if where not in OTHERS:
            return False
        self.others += 1
        self.good(self.kinds[0])
        return True

    def words(self, mark):
        """What the gateway has said, for who looks for the fault."""
        output = self.gate.process.output(mark)
        return where_died(output, self.gate.binary) + "\n" + "\n".join(line for line in output.splitlines() if "died at" not in line)[-1500:]

    def reload(self):
        """New workers."""
        mark = self.gate.mark()
        self.gate.process.send(signal.SIGHUP)
        self.gate.wait_line("event=reload .*what=done", mark)
        self.gate.wait_line("name=b0 .*state=up", mark)

    def renew(self, role):
        """A new process of that role: with keepers a new gateway (one that were killed so often would come back ever later), with the others a reload does it."""
        if role not in ("gp-state", "gp-store", "gp-spool", "gp-history"):
            return self.reload()
        self.faulty.off()
        status = self.gate.stop()
        if status != 0:
            raise Wrong(f"it ends with {status}: {self.gate.process.output()[-1500:]}")
        self.gate.start()
        self.gate.wait_line("name=b0 .*state=up")

    def held(self):
        """{process: how many descriptors it has}"""
        return {name: len(os.listdir(f"/proc/{pid}/fd")) for name, pid in self.gate.children().items()}

    def excused(self, site, error, wrong):
        """The box has a bound of its memory: of a message that needs more there the facts say so, or that it could not be read, and the policy decides."""
        return site.role == "box" and site.memory and ("550 5.7.1 refused by policy" in wrong or "is not in quarantine" in wrong)

    def inject(self, site, error, kind, note=lambda how: None):
        """One session of that kind while the site fails. Whether it was reached."""
        mark = self.gate.mark()
        self.faulty.arm(site, error)
        try:
            how = self.run(kind)
            if not self.faulty.fired and site.role != "gp-worker":
                end = time.monotonic() + QUIET_S
                while not self.faulty.fired and time.monotonic() < end:
                    time.sleep(0.005)
            fired = self.faulty.fired
            self.faulty.off()
            if how and not fired:               # a server is left alone, new sessions are turned away: for a moment, after the failure of before
                self.good(kind)
            self.settle()
            dead = self.deaths(mark)
            if dead and not self.death_of_others(site, mark):
                raise Wrong("died: " + "; ".join(dead))
            note(how)
        except Wrong as e:
            self.faulty.off()
            if self.excused(site, error, str(e)):
                return True
            time.sleep(0.05)
            raise Wrong(f"{kind}, {site.role} {site.kind} {error}: {e}\n{describe(site, self.gate.binary)}\n"
                        f"{self.words(mark)}") from None
        return fired
