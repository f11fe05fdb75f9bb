"""Sessions of IMAP that only wait: what each costs (in the plain build: the sanitizers' memory says nothing), and how they end."""
import os
import resource
import selectors
import signal
import socket
import ssl
import threading
import time

import pytest
from lab.process import WAIT_S

PLAIN = os.environ.get("GATEPOST_PLAIN")
NEEDED = 4500                   # descriptors, for both ends of 2,000


class Server:
    """Logs everybody in, and holds any number of connections with one thread."""

    def __init__(self):
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=4096)
        self.listener.setblocking(False)
        self.port = self.listener.getsockname()[1]
        self.selector = selectors.DefaultSelector()
        self.selector.register(self.listener, selectors.EVENT_READ)
        self.wake, self.stopped = socket.socketpair()
        self.selector.register(self.stopped, selectors.EVENT_READ)
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self):
        while True:
            for key, _ in self.selector.select():
                if key.fileobj is self.stopped:
                    for k in list(self.selector.get_map().values()):
                        k.fileobj.close()
                    return
                if key.fileobj is self.listener:
                    self._greet(self.listener.accept()[0])
                else:
                    self._answer(key.fileobj)

    def _greet(self, sock):
        try:
            sock.sendall(b"* OK [CAPABILITY IMAP4rev1 IDLE] ready\r\n")
        except OSError:             # it has gone already
            sock.close()
            return
        self.selector.register(sock, selectors.EVENT_READ)

    def _answer(self, sock):
        """A line comes whole, on loopback, and one at a time."""
        try:
            line = sock.recv(4096)
            if line:
                sock.sendall(b"+ idling\r\n" if b"IDLE" in line else line.split(b" ")[0] + b" OK [CAPABILITY IMAP4rev1 IDLE] done\r\n")
                return
        except OSError:
            pass
        self.selector.unregister(sock)
        sock.close()

    def stop(self):
        self.wake.close()
        self.thread.join(WAIT_S)
        self.selector.close()


def pss_kib(pid):
    """Without what is read from files: its share of them depends on who else runs the same program just then."""
    with open(f"/proc/{pid}/smaps_rollup") as f:
        pss = {line.split(":")[0]: int(line.split()[1]) for line in f if line.startswith("Pss")}
    return pss["Pss"] - pss["Pss_File"]


def until(sock, what):
    got = b""
    while what not in got:
        more = sock.recv(4096)
        assert more, got
        got += more


def opened(port, tls, login=True):
    sock = socket.create_connection(("127.0.0.1", port), timeout=WAIT_S)
    if tls:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        sock = context.wrap_socket(sock)
    until(sock, b"ready\r\n")
    if login:
        sock.sendall(b"a LOGIN ann secret\r\n")
        until(sock, b"a OK")
        sock.sendall(b"b IDLE\r\n")
        until(sock, b"+ idling\r\n")
    return sock


@pytest.fixture
def many():
    """Descriptors for both ends of all."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < NEEDED:
        pytest.skip(f"{NEEDED} descriptors are needed, {hard} allowed")
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def of_each(worker, port, count, tls, login=True):
    """KiB that each of so many sessions adds to its worker."""
    for sock in [opened(port, tls, login) for _ in range(50)]:
        sock.close()            # what the first ones leave behind for all
    time.sleep(0.2)
    before, socks = pss_kib(worker), []
    try:
        for _ in range(count):
            socks.append(opened(port, tls, login))
        return (pss_kib(worker) - before) / count
    finally:
        for sock in socks:
            sock.close()


@pytest.fixture
def server():
    made = Server()
    yield made
    made.stop()


KINDS = pytest.mark.parametrize("kind", ["imap", "imaps"])


@KINDS
def test_it_goes_on_over_a_reload_and_ends_with_the_gateway(access_gate, server, kind):
    g = access_gate({"imap": server.port}, kinds=("imap", "imaps"))
    sock = opened(g.ports[kind], kind == "imaps")
    mark = g.mark()
    g.process.send(signal.SIGHUP)
    g.wait_notify("READY=1")
    sock.sendall(b"c NOOP\r\n")
    until(sock, b"c OK")
    begun = time.monotonic()
    g.process.send(signal.SIGTERM)
    assert sock.recv(100) == b""
    assert time.monotonic() - begun < 20
    line = g.wait_line(r"event=imap ", mark)
    assert 'end="shutting down"' in line and "in=16 out=" in line


@KINDS
def test_it_ends_after_its_time(access_gate, server, kind):
    g = access_gate({"imap": server.port}, options='idle_timeout = "4s"', kinds=("imap", "imaps"))
    sock = opened(g.ports[kind], kind == "imaps")
    for _ in range(5):
        time.sleep(0.9)         # each is a beginning anew
        sock.sendall(b"c NOOP\r\n")
        until(sock, b"c OK")
    assert sock.recv(100) == b""
    g.wait_line(r"event=imap .*in=48 .*end=idle")


# Measured: 1.6 KiB, and 16 with TLS, nearly all of which OpenSSL holds (nginx in the same run: 9.5 and 24, `make bench`). Before the login each has a
# task, and its stack.
@pytest.mark.skipif(not PLAIN, reason="needs a plain build (GATEPOST_PLAIN)")
@pytest.mark.parametrize("count, tls, login, kib", [(2000, False, True, 4), (300, True, True, 20), (500, False, False, 16)],
                         ids=["clear", "tls", "before the login"])
def test_what_a_waiting_session_costs(access_gate, server, many, count, tls, login, kib):
    g = access_gate({"imap": server.port}, options="max_per_client = 5000", kinds=("imap", "imaps"), binary=PLAIN)
    worker = next(pid for name, pid in g.children().items() if "worker" in name)
    each = of_each(worker, g.ports["imaps" if tls else "imap"], count, tls, login)
    assert each < kib, f"{each:.1f} KiB for a session"
