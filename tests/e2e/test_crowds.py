"""A good client among bad ones."""
import contextlib
import resource
import selectors
import socket
import threading
import time

import pytest

from lab.recorder import Recorder
from lab.smtp import Client, mail

IDLE, SLOW, STALLED = 3000, 1000, 200


def memory_mib(pid):
    """Resident memory of a process and its children."""
    pids, total = [pid], 0
    while pids:
        p = pids.pop()
        with contextlib.suppress(OSError):          # one that has ended meanwhile has none
            with open(f"/proc/{p}/task/{p}/children") as f:
                pids += [int(x) for x in f.read().split()]
            with open(f"/proc/{p}/statm") as f:
                total += int(f.read().split()[1]) * resource.getpagesize()
    return total / (1 << 20)


class Crowd:
    """Many connections that stay open; a group of them says the same, side by side, and has as many replies before the next group comes."""

    def __init__(self, port):
        self.port, self.socks = port, []

    def join(self, count, script=b"", replies=1):
        waiting = selectors.DefaultSelector()
        for i in range(count):
            sock = socket.create_connection(("127.0.0.1", self.port), timeout=60, source_address=(f"127.0.1.{i % 250 + 1}", 0))
            if script:
                sock.sendall(script)
            waiting.register(sock, selectors.EVENT_READ, [b""])
            self.socks.append(sock)
        end = time.monotonic() + 60
        while waiting.get_map():
            assert time.monotonic() < end, f"{len(waiting.get_map())} wait for their replies"
            for key, _ in waiting.select(1):
                data = key.fileobj.recv(65536)
                assert data, key.data
                key.data[0] += data
                lines = [line for line in key.data[0].split(b"\r\n")[:-1] if line[3:4] == b" "]
                assert all(line[:1] in b"23" for line in lines), lines
                if len(lines) >= replies:
                    waiting.unregister(key.fileobj)
        waiting.close()
        return self.socks[-count:]

    def leave(self):
        for sock in self.socks:
            sock.close()


TO_DATA = b"EHLO client.example\r\nMAIL FROM:<slow@sender.example>\r\nRCPT TO:<bob@example.com>\r\nDATA\r\n"


def test_a_good_client_among_bad_ones(lab):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    need = IDLE + SLOW + STALLED + 1000
    if hard < need:
        pytest.skip(f"{need} descriptors are needed, {hard} allowed")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, need), hard))
    with Recorder() as r:
        g = lab([r.port], policy="accept\n", backend_options="max_sessions = 100",
                conf="limits { sessions = 20000 sessions_per_client = 1000 } timeouts { backend_budget = 60s }")
        crowd = Crowd(g.port)
        ending = threading.Event()
        try:
            with Client(g.port) as c:
                assert c.message("a@sender.example", "bob@example.com", mail()).code == 250
            before = memory_mib(g.process.pid)
            crowd.join(IDLE, b"EHLO client.example\r\n", 2)
            in_data = [sock for _ in range((STALLED + SLOW) // 100) for sock in crowd.join(100, TO_DATA + b"Subject: s\r\n", 5)]
            slow = in_data[STALLED:]

            def dribble():
                while not ending.is_set():
                    for sock in slow:
                        sock.send(b"x")
                        if ending.is_set():
                            break

            dribbler = threading.Thread(target=dribble)
            dribbler.start()
            took = []
            for n in range(10):
                begun = time.monotonic()
                with Client(g.port) as good:
                    assert good.message("good@sender.example", "bob@example.com", mail(subject=f"good {n}")).code == 250
                took.append(time.monotonic() - begun)
            ending.set()
            dribbler.join()
            assert sorted(took)[5] < 2 and max(took) < 10, took
            each = (memory_mib(g.process.pid) - before) * 1024 / (IDLE + SLOW + STALLED)
            assert each < (24 if "san" not in g.binary else 400), f"{each:.1f} KiB for a session"
            assert len(in_data) == STALLED + SLOW and len(r.taken) == 11
        finally:
            ending.set()
            crowd.leave()
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_floods_from_one_address_leave_room_for_others(lab):
    with Recorder() as r:
        g = lab([r.port], policy="accept\n", conf="limits { sessions_per_client = 20 }")
        flood = [socket.create_connection(("127.0.0.1", g.port), source_address=("127.0.0.9", 0)) for _ in range(200)]
        greetings = [s.recv(100)[:3] for s in flood]
        assert greetings.count(b"220") == 20 and greetings.count(b"421") == 180
        with Client(g.port) as good:
            assert good.message("good@sender.example", "bob@example.com", mail()).code == 250
        for s in flood:
            s.close()


def test_messages_side_by_side(lab):
    """Each of 200 clients gets its own message through, whole and once."""
    with Recorder() as r:
        g = lab([r.port], policy="accept\n", conf="limits { sessions_per_client = 1000 }", backend_options="max_sessions = 10")
        clients = [Client(g.port) for _ in range(200)]
        for c in clients:
            c.ehlo()
        replies = [None] * len(clients)

        def run(part):
            for n in range(part, len(clients), 8):
                clients[n].envelope(f"a{n}@sender.example", "bob@example.com")
                replies[n] = clients[n].data_block(mail(subject=f"number {n}", body="x" * 40000 + "\r\n")).code

        threads = [threading.Thread(target=run, args=(part,)) for part in range(8)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        assert replies == [250] * len(clients)
        for c in clients:
            c.close()
        got = {t.mail.split(b"@")[0].rsplit(b"<a", 1)[1]: t.original for t in r.taken}
        assert len(r.taken) == len(got) == len(clients)
        for n in range(len(clients)):
            assert got[str(n).encode()] == mail(subject=f"number {n}", body="x" * 40000 + "\r\n")
