"""
Clients that nobody wants, in processes of their own, behind what is measured once they are there (they would be on machines of their own), from many addresses of loopback.

    with Attackers("idle", gateway.port, count=5000) as a:
        a.wait("ready")
        ...
        a.figures()         # {"open": 5000, "greeted": 5000, "busy": 0, ...}

Kinds: see the functions of this file that are named in KINDS. Each process has its share of `count`, and tells its figures as a line of JSON twice a second.
"""
import collections
import errno
import itertools
import json
import os
import select
import socket
import ssl
import subprocess
import sys
import threading
import time

ANSWER_S = 0.5
IP_BIND_ADDRESS_NO_PORT = 24


class Attackers:
    def __init__(self, kind, port, count, processes=1, **options):
        self.processes = [subprocess.Popen(
            [sys.executable, __file__, json.dumps(dict(kind=kind, port=port, count=count // processes, first=i * (count // processes), options=options))],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True) for i in range(processes)]
        self.said = ["" for _ in self.processes]
        self.last = [{} for _ in self.processes]
        self.changed = threading.Condition()
        self.readers = [threading.Thread(target=f, args=(i,), daemon=True) for i in range(processes) for f in (self.read, self.listen)]
        for t in self.readers:
            t.start()

    def read(self, i):
        for line in self.processes[i].stdout:
            with self.changed:
                self.last[i] = json.loads(line)
                self.changed.notify_all()
        with self.changed:
            self.changed.notify_all()           # it has ended

    def listen(self, i):
        """What it complains of."""
        for line in self.processes[i].stderr:
            self.said[i] = (self.said[i] + line)[-10000:]

    def alive(self):
        """None has ended by itself: what it said of it otherwise."""
        dead = [i for i, t in enumerate(self.processes) if t.poll() is not None]
        for i in dead:
            self.readers[2 * i + 1].join(5)
        assert not dead, "an attacker has ended:\n" + "\n".join(f"{self.processes[i].returncode}: {self.said[i]}" for i in dead)

    def figures(self):
        with self.changed:
            out = collections.Counter()
            for figures in self.last:
                out.update(figures)
            return out

    def wait(self, what, at_least=1, timeout=120):
        """Until the sum of a figure is so high; the figures."""
        end = time.monotonic() + timeout
        while self.figures()[what] < at_least:
            self.alive()
            with self.changed:
                left = end - time.monotonic()
                assert left > 0, f"no {at_least} {what}: {dict(self.figures())}"
                self.changed.wait(min(left, 1))
        return self.figures()

    def stop(self):
        for p in self.processes:
            p.stdin.close()
        for p in self.processes:
            try:
                p.wait(10)
            except subprocess.TimeoutExpired:
                p.kill()
                p.wait()
        for t in self.readers:
            t.join(5)
        for p in self.processes:
            p.stdout.close()
            p.stderr.close()

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        try:
            if kind is None:
                self.alive()            # to the end
        finally:
            self.stop()


# ---- in the processes ----

class Crowd:
    """Many sockets and one epoll."""

    def __init__(self, port, count, first, options):
        self.port, self.count, self.first, self.options = port, count, first, options
        self.epoll = select.epoll()
        self.socks = {}
        self.seen = {}
        self.n = first
        self.figures = collections.Counter()
        self.told = 0.0

    def tell(self, now=None):
        now = now or time.monotonic()
        if now - self.told >= ANSWER_S:
            self.told = now
            self.figures["open"] = len(self.socks)
            print(json.dumps(self.figures), flush=True)

    def source(self):
        """Each from a network (/24) of its own, as far as there are."""
        n = self.n
        self.n += 1
        return f"127.{1 + n // 65000 % 250}.{n // 250 % 256}.{1 + n % 250}" if self.options.get("near") else \
            f"127.{1 + n % 250}.{n // 250 % 256}.{1 + n // 64000 % 250}"

    def connect(self):
        s = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        s.setblocking(False)
        s.setsockopt(socket.IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1)
        try:
            s.bind((self.source(), 0))
            e = s.connect_ex(("127.0.0.1", self.port))
        except OSError as error:
            e = error.errno
        if e not in (0, errno.EINPROGRESS):
            self.figures["failed"] += 1
            s.close()
            return None
        self.socks[s.fileno()] = s
        self.epoll.register(s.fileno(), select.EPOLLIN | select.EPOLLRDHUP)
        return s

    def close(self, fd, reset=False):
        s = self.socks.pop(fd)
        self.seen.pop(fd, None)
        if reset:
            s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        s.close()

    def read(self, fd):
        """What has come; b"": it has ended."""
        try:
            return self.socks[fd].recv(4096)
        except BlockingIOError:
            return None
        except OSError:
            return b""

    def count_word(self, fd, data):
        """The first word of each connection: whether it was taken."""
        if fd in self.seen:
            return
        self.seen[fd] = True
        self.figures["greeted" if data[:3] == b"220" else "busy" if data[:3] == b"421" else "other"] += 1


def over():
    return bool(select.select([0], [], [], 0)[0])


def last():
    """No longer among those that are preferred (measure.py): a group of their own for the scheduler, and like anybody in it."""
    os.setpriority(os.PRIO_PROCESS, 0, 0)


def fill(c):
    """As many connections as wanted, not all at once; those that are turned away come again: who hears 421 at the end is none of those inside.

    step: so many at a time, in the pace. gently: and none before those of before have been answered, so that a gateway for which there is no processor
    just then does not find thousands at its door, more than it looks at its bounds."""
    before, step = 0.0, c.options.get("step", 200)
    while len(c.socks) < c.count or len(c.seen) < len(c.socks):
        now = time.monotonic()
        c.tell(now)
        if over():
            return False
        if len(c.socks) < c.count and now - before > c.options.get("pace", 0.05) and not (c.options.get("gently") and len(c.seen) < len(c.socks)):
            before = now
            for _ in range(min(step, c.count - len(c.socks))):
                c.connect()
        for fd, _ in c.epoll.poll(0.05):
            data = c.read(fd)
            if data:
                c.count_word(fd, data)
            if data is not None and data[:3] in (b"", b"421"):
                c.figures["ended"] += 1
                c.close(fd)
    return True


def idle(c):
    """Connect, hear the greeting, and say nothing more (options: say, words to say then; tls: STARTTLS first)."""
    if not fill(c):
        return
    for fd, s in list(c.socks.items()):
        s.setblocking(True)
        s.settimeout(60)
        if c.options.get("tls"):
            s.sendall(b"EHLO idle.example\r\n")
            s.recv(4096)
            s.sendall(b"STARTTLS\r\n")
            s.recv(4096)
            context = c.options.setdefault("_context", ssl._create_unverified_context())
            c.epoll.unregister(fd)
            c.socks[fd] = s2 = context.wrap_socket(s, do_handshake_on_connect=False)
            s2.settimeout(60)
            s2.do_handshake()
            c.figures["tls"] += 1
        elif c.options.get("say"):
            s.sendall(c.options["say"].encode())
            s.recv(4096)
        c.tell()
        if over():
            return
    c.figures["ready"] = 1
    ends = select.epoll()
    for fd in c.socks:
        ends.register(fd, select.EPOLLRDHUP)
    while not over():
        c.tell()
        for fd, _ in ends.poll(0.1):
            c.figures["ended"] += 1
            c.close(fd)


def slow(c):
    """A transaction, one byte each second; every second client is inside DATA already."""
    begin = b"EHLO slow.example\r\nMAIL FROM:<a@slow.example>\r\nRCPT TO:<bob@example.com>\r\nDATA\r\n"
    text = begin + b"Subject: slow\r\n\r\n" + b"slow " * 1000
    if not fill(c):
        return
    at = {}
    for i, (fd, s) in enumerate(list(c.socks.items())):
        at[fd] = 0
        if i % 2 and c.options.get("data", True):
            at[fd] = len(begin) + 20
            s.send(text[:at[fd]])
            if i % 100 == 1:
                time.sleep(0.1)         # each holds a session with the server behind for its first second
    last()
    c.figures["ready"] = 1
    while not over():
        c.tell()
        began = time.monotonic()
        for fd, _ in c.epoll.poll(0):
            if c.read(fd) == b"":
                c.figures["ended"] += 1
                c.close(fd)
        for fd, s in c.socks.items():
            try:
                s.send(text[at[fd] % len(text):at[fd] % len(text) + 1])
                at[fd] += 1
                c.figures["bytes"] += 1
            except OSError:
                pass
        time.sleep(max(0.0, 1 - (time.monotonic() - began)))


def flood(c):
    """Connect, see what is said, close, as fast as it goes; `count` at a time."""
    last()
    while not over():
        c.tell()
        while len(c.socks) < c.count:
            if c.connect() is None:
                break
            c.figures["tried"] += 1
        c.figures["ready"] = 1
        for fd, _ in c.epoll.poll(0.05):
            data = c.read(fd)
            if data is None:
                continue
            if data:
                c.count_word(fd, data)
            c.close(fd, reset=c.options.get("reset", False))


def pour(c):
    """`head` once, then `body` again and again, as fast as it is taken; who is closed comes again."""
    last()
    head, body = c.options["head"].encode("latin-1"), c.options["body"].encode("latin-1") * c.options.get("times", 1)
    left = {}

    def begin():
        s = c.connect()
        if s:
            left[s.fileno()] = memoryview(head)
            c.epoll.modify(s.fileno(), select.EPOLLIN | select.EPOLLOUT)

    while not over():
        c.tell()
        for _ in range(c.count - len(c.socks)):
            begin()
        for fd, what in c.epoll.poll(0.05):
            if what & ~select.EPOLLOUT and not c.options.get("deaf"):
                data = c.read(fd)
                if data:
                    c.count_word(fd, data)
                    c.figures[f"said{data[:3].decode('latin-1')}"] += 1
                if data == b"":
                    c.figures["ended"] += 1
                    c.close(fd)
                    continue
            if what & select.EPOLLOUT:
                try:
                    n = c.socks[fd].send(left[fd])
                    c.figures["bytes"] += n
                    left[fd] = left[fd][n:] or memoryview(body)
                except BlockingIOError:
                    pass
                except OSError:
                    c.figures["ended"] += 1
                    c.close(fd)
        if c.figures["bytes"] > len(head):
            c.figures["ready"] = 1


def mails(c):
    """The message in the file `path` again and again; `domain`, if given, is the sender's, with %d for a number that is new each time."""
    last()
    sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    from lab.smtp import Client, Closed
    with open(c.options["path"], "rb") as f:
        octets = f.read()
    numbers = itertools.count(c.first * 1000000)

    def send():
        while True:
            n = next(numbers)
            domain = c.options.get("domain", "evil.example").replace("%d", str(n))
            try:
                with Client(c.port, source=f"127.{2 + n % 200}.{n // 200 % 250}.9", timeout=300) as s:
                    reply = s.message(f"a@{domain}", "bob@example.com", octets.replace(b"DOMAIN", domain.encode()), helo=domain)
                c.figures[f"said{reply.code}"] += 1
                c.figures["sent"] += reply.code // 100 != 4             # those may not have heard the message
            except (Closed, OSError):
                c.figures["ended"] += 1

    for _ in range(c.count):
        threading.Thread(target=send, daemon=True).start()
    while not over():
        c.figures["ready"] = 1
        c.tell()
        time.sleep(0.1)


KINDS = {f.__name__: f for f in (idle, slow, flood, pour, mails)}


def main():
    job = json.loads(sys.argv[1])
    import resource
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    crowd = Crowd(job["port"], job["count"], job["first"], job["options"])
    KINDS[job["kind"]](crowd)
    crowd.told = 0
    crowd.tell()
    os._exit(0)             # thousands of sockets are the kernel's to close


if __name__ == "__main__":
    main()
