"""Listeners with protocol = tcp: any other protocol, passed through."""
import hashlib
import http.client
import http.server
import os
import resource
import selectors
import signal
import socket
import subprocess
import struct
import threading
import time

import pytest

from lab.gateway import parse_logfmt
from lab.lines import Lines
from lab.process import WAIT_S, free_port

BIG = 48 << 20
SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"


@pytest.fixture
def passing(lab, backend):
    """Makes a gateway with a listener `web` before these ports; the SMTP side has a server that nobody uses."""
    def make(ports, options="", backend_options="", names=None, **kw):
        kw.setdefault("workers", 1)
        port = free_port()
        names = names or [f"w{i}" for i in range(len(ports))]
        servers = "\n".join(f'backend {n} {{ address = "127.0.0.1:{p}" priority = {i} {backend_options} }}'
                            for i, (n, p) in enumerate(zip(names, ports)))
        listed = ", ".join(f'"{n}"' for n in names)
        g = lab([backend().port], conf=f"""
listener web {{ protocol = tcp address = "127.0.0.1:{port}" backends = {{ {listed} }} {options} }}
{servers}
""", **kw)
        g.web = port
        return g
    return make


@pytest.fixture
def lines():
    made = []

    def make(*args, **kw):
        made.append(Lines(*args, **kw))
        return made[-1]
    yield make
    for server in made:
        server.stop()


def polite(line):
    """Answers what is said to it, so not a header."""
    return b"= " + line if b"say" in line else b""


class Talk:
    def __init__(self, port, source="127.0.0.1", first=b""):
        self.sock = socket.create_connection(("127.0.0.1", port), timeout=WAIT_S, source_address=(source, 0))
        self.sock.sendall(first)
        self.f = self.sock.makefile("rb")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.f.close()
        self.sock.close()

    def line(self):
        return self.f.readline()

    def ask(self, line):
        self.sock.sendall(line)
        return self.f.readline()

    def ended(self):
        """"" when it ended in order, else the error."""
        try:
            return "more" if self.f.read(1) else ""
        except ConnectionResetError:
            return "reset"


class Web(http.server.ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 256

    def __init__(self):
        self.data = os.urandom(BIG)
        self.port = free_port()
        super().__init__(("127.0.0.1", self.port), WebHandler)
        threading.Thread(target=self.serve_forever, daemon=True).start()


class WebHandler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def reply(self, body):
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        self.reply(self.server.data if self.path == "/big" else b"hello")

    def do_PUT(self):
        seen, left = hashlib.sha256(), int(self.headers["Content-Length"])
        while left:
            piece = self.rfile.read(min(left, 1 << 20))
            seen.update(piece)
            left -= len(piece)
        self.reply(seen.hexdigest().encode())


@pytest.fixture
def web():
    server = Web()
    yield server
    server.shutdown()
    server.server_close()


def request(connection, method, path, body=None):
    connection.request(method, path, body)
    return connection.getresponse().read()


def test_a_web_server(passing, web):
    """Small and large, up and down, one after the other on one connection: the octets are right."""
    g = passing([web.port])
    c = http.client.HTTPConnection("127.0.0.1", g.web, timeout=60)
    assert request(c, "GET", "/") == b"hello"
    assert hashlib.sha256(request(c, "GET", "/big")).digest() == hashlib.sha256(web.data).digest()
    assert request(c, "PUT", "/", web.data) == hashlib.sha256(web.data).hexdigest().encode()
    assert request(c, "GET", "/") == b"hello"
    port = c.sock.getsockname()[1]
    c.close()
    line = parse_logfmt(g.wait_line(r"event=tcp"))
    assert line["listener"] == "web" and line["client"] == "127.0.0.1" and line["port"] == str(port)
    assert line["backend"] == "w0" and line["address"] == f"127.0.0.1:{web.port}" and line["end"] == "closed"
    assert BIG < int(line["in"]) < BIG + 2000 and BIG < int(line["out"]) < BIG + 2000 and int(line["ms"]) > 0
    assert len(line["sid"]) == 10


def test_a_server_that_speaks_first(passing, lines):
    """POP2 (RFC 937): its greeting, some lines, an end of one side that the other answers."""
    server = lines()
    g = passing([server.port])
    with Talk(g.web) as t:
        assert t.line() == b"+ POP2 ready\r\n"
        for n in range(50):
            assert t.ask(b"READ %d\r\n" % n) == b"= READ %d\r\n" % n
        t.sock.sendall(b"ACKS\r\n")
        t.sock.shutdown(socket.SHUT_WR)
        assert t.line() == b"= ACKS\r\n" and t.ended() == ""
    with Talk(g.web) as t:
        t.line()
        t.sock.sendall(b"QUIT\r\n")
        assert t.ended() == ""
    g.wait_line(r"event=tcp .*in=6 out=14 .*end=closed")


def test_a_thousand_at_once(passing, lines):
    """Each gets its own answers; then one connection that moves much is not held up by those that wait."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    server = lines()
    g = passing([server.port], "max_per_client = 2000")
    selector = selectors.DefaultSelector()
    socks = []
    for i in range(1000):
        sock = socket.create_connection(("127.0.0.1", g.web), timeout=WAIT_S)
        sock.sendall(b"I am %d\r\n" % i)
        socks.append(sock)
        selector.register(sock, selectors.EVENT_READ, (i, bytearray()))
    done = set()
    while len(done) < 1000:
        for key, _ in selector.select(WAIT_S):
            i, got = key.data
            got += key.fileobj.recv(4096)
            if got == b"+ POP2 ready\r\n= I am %d\r\n" % i:
                done.add(i)
    with Talk(g.web) as t:
        t.line()
        big = b"x" * 60000 + b"\r\n"
        for _ in range(50):
            assert t.ask(big) == b"= " + big
    assert server.open >= 1000
    for sock in socks:
        sock.close()
    selector.close()
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_connections_over_all_workers(passing, lines):
    """max_connections holds for the site: what is beyond is closed at once, and a place that was given up is taken again."""
    server = lines()
    g = passing([server.port], "max_connections = 3", workers=2)
    inside = [Talk(g.web) for _ in range(3)]
    assert all(t.line() for t in inside)
    for _ in range(4):
        with Talk(g.web) as t:
            assert t.line() == b""
    assert "connections" in g.wait_line(r"event=turned-away .*listener=web")
    mark = g.mark()
    inside.pop().close()
    g.wait_line(r"event=tcp .*end=closed", mark)
    end = time.monotonic() + WAIT_S
    while True:                     # the place is free when that line has been written, or a moment later
        with Talk(g.web) as t:
            if t.line() == b"+ POP2 ready\r\n":
                break
        assert time.monotonic() < end
    for t in inside:
        t.close()


def test_connections_of_one_client(passing, lines):
    server = lines()
    g = passing([server.port], "max_per_client = 2")
    with Talk(g.web) as a, Talk(g.web) as b, Talk(g.web) as c, Talk(g.web, "127.0.0.2") as other:
        assert a.line() and b.line() and other.line()
        assert c.line() == b""
    g.wait_line(r'event=limit what=sessions client=127\.0\.0\.1 count=2 limit=2 action=refused listener=web')


def test_the_next_server(passing, lines):
    """The first by priority; while it is away, the next; and the first again."""
    first, second = lines(b"first\r\n"), lines(b"second\r\n")
    port = first.port
    g = passing([port, second.port])
    with Talk(g.web) as t:
        assert t.line() == b"first\r\n"
    first.stop()
    for _ in range(3):
        with Talk(g.web) as t:
            assert t.line() == b"second\r\n"
    g.wait_line(r"event=backend name=w0 .*state=away")
    second.stop()
    mark = g.mark()
    with Talk(g.web) as t:
        assert t.line() == b""
    g.wait_line(r'event=tcp .*end="no backend" why="connect: ', mark)
    again = Lines(b"again\r\n", port=port)
    with Talk(g.web) as t:          # it is tried although it is away: there is no other
        assert t.line() == b"again\r\n"
    g.wait_line(r"event=backend name=w0 .*state=up", mark)
    again.stop()
    first.stop = second.stop = lambda: None


def test_a_cut_cuts(passing, lines):
    server = lines()
    g = passing([server.port])
    with Talk(g.web) as t:
        t.line()
        server.cut()
        assert t.ended() == "reset"
    g.wait_line(r'event=tcp .*end="reset by the backend"')
    with Talk(g.web) as t:
        t.line()
        t.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    g.wait_line(r'event=tcp .*end="reset by the client"')


def test_silence_ends(passing, lines):
    server = lines()
    g = passing([server.port], "idle_timeout = 1s")
    with Talk(g.web) as t:
        t.line()
        assert t.ended() == ""
    g.wait_line(r"event=tcp .*end=idle")


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_the_server_is_told_the_client(passing, lines, version):
    server = lines(b"", polite)
    g = passing([server.port], backend_options=f"proxy = {version}")
    with Talk(g.web, "127.0.0.9") as t:
        assert b"say hello" in t.ask(b"say hello\r\n")
        port = t.sock.getsockname()[1]
    if version == "v1":
        assert server.heard[0] == b"PROXY TCP4 127.0.0.9 127.0.0.1 %d %d\r\n" % (port, g.web)
    else:
        addresses = socket.inet_aton("127.0.0.9") + socket.inet_aton("127.0.0.1") + struct.pack(">HH", port, g.web)
        assert b"".join(server.heard) == SIGNATURE + b"\x21\x11\0\x0c" + addresses + b"say hello\r\n"


def test_a_load_balancer_tells_the_client(passing, lines):
    """From the networks of proxy_from: who is limited, logged and passed on is the one told. From elsewhere a header is the server's affair."""
    server = lines(b"", polite)
    g = passing([server.port], 'proxy_from = { "127.0.0.8/32" } max_per_client = 1', "proxy = v1")
    told = b"PROXY TCP6 2001:db8::7 2001:db8::1 51234 80\r\n"
    with Talk(g.web, "127.0.0.8", told) as a:
        assert b"say one" in a.ask(b"say one\r\n")
        assert server.heard[0] == told
        with Talk(g.web, "127.0.0.8", told.replace(b"::7", b"::8")) as b:
            assert b.ended() == ""      # of the same /64
        with Talk(g.web, "127.0.0.8", told.replace(b"db8::7", b"db8:1::7")) as b:
            assert b"say two" in b.ask(b"say two\r\n")
    g.wait_line(r'event=limit what=sessions client=2001:db8::/64 ')
    g.wait_line(r"event=tcp .*client=2001:db8::7 port=51234 via=127\.0\.0\.8 .*in=9 out=11 ")
    del server.heard[:]
    with Talk(g.web, "127.0.0.9", told) as t:
        assert t.ask(b"say hello\r\n") == b"= say hello\r\n"
        assert server.heard[0].startswith(b"PROXY TCP4 127.0.0.9 ") and server.heard[1] == told


def test_a_load_balancer_that_tells_nothing(passing, lines):
    """What does not begin with a header is closed; LOCAL and UNKNOWN are passed on without a line."""
    server = lines(b"", polite)
    g = passing([server.port], 'proxy_from = { "127.0.0.0/8" } max_per_client = 1', "proxy = v2")
    for bad in (b"GET / HTTP/1.1\r\n\r\n", b"PROXY TCP4 300.0.0.1 127.0.0.1 1 1\r\n", SIGNATURE + b"\x31\x11\0\x0c" + bytes(12)):
        mark = g.mark()
        with Talk(g.web, first=bad) as t:
            assert t.ended() in ("", "reset")
        g.wait_line(r'event=turned-away client=127\.0\.0\.1 reason="it does not begin with a PROXY header" listener=web', mark)
    assert server.heard == []
    mark = g.mark()
    for first in (b"PROXY UNKNOWN\r\n", SIGNATURE + b"\x20\0\0\0"):
        with Talk(g.web, first=first) as t:
            assert t.ask(b"say ping\r\n").endswith(b"say ping\r\n")
            with Talk(g.web, first=first) as again:     # it is not counted as a client
                assert again.ask(b"say ping\r\n").endswith(b"say ping\r\n")
    socket.create_connection(("127.0.0.1", g.web)).close()
    with Talk(g.web, first=b"PROXY TCP4 192.0.2.7 127.0.0.1 1 80\r\n") as t:
        assert t.ask(b"say hello\r\n")
    assert "192.0.2.7" in g.wait_line("event=tcp", mark)


@pytest.fixture
def own_address():
    """An address of this host that is not of the loopback network; a host without any gets one for as long as the test lasts."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        try:
            s.connect(("192.0.2.1", 9))         # sends nothing
            yield s.getsockname()[0]
            return
        except OSError:
            pass
    lent = "198.51.100.77"
    subprocess.run(["ip", "addr", "add", f"{lent}/32", "dev", "lo"], check=True)
    yield lent
    subprocess.run(["ip", "addr", "del", f"{lent}/32", "dev", "lo"], check=True)


@pytest.mark.skipif(os.geteuid() != 0, reason="transparent sockets need root")
def test_a_load_balancer_tells_no_destination(passing, lines, own_address):
    """Of a transparent listener, too: the balancer has connected to us, and what it tells is an address of its own, from where all would come back."""
    server, balancer = lines(b"", polite), lines(b"", polite, host="0.0.0.0")
    g = passing([server.port], 'transparent = yes proxy_from = { "127.0.0.8/32" }')
    for told in (b"PROXY TCP4 192.0.2.7 %s 51234 %d\r\n" % (own_address.encode(), balancer.port), b"PROXY UNKNOWN\r\n"):
        with Talk(g.web, "127.0.0.8", told) as t:
            assert t.ask(b"say hello\r\n") == b"= say hello\r\n"
    assert len(server.heard) == 2 and balancer.heard == []


def test_reload_and_stop(passing, lines):
    """A reload leaves connections alone; a stop ends those on which nothing moves."""
    server = lines()
    g = passing([server.port])
    with Talk(g.web) as old:
        old.line()
        mark = g.mark()
        g.process.send(signal.SIGHUP)
        g.wait_line(r"event=reload what=done", mark)
        with Talk(g.web) as new:
            assert new.line() and new.ask(b"new\r\n") == b"= new\r\n"
        assert old.ask(b"old\r\n") == b"= old\r\n"
        mark = g.mark()
        g.process.send(signal.SIGTERM)
        assert old.ended() == ""
        g.wait_line(r'event=tcp .*end="shutting down"', mark)
    assert g.process.wait() == 0


def test_a_worker_dies(passing, lines):
    """What it held is free again."""
    server = lines()
    g = passing([server.port], "max_connections = 2")
    with Talk(g.web) as a, Talk(g.web) as b:
        assert a.line() and b.line()
        g.kill_child("gp-worker 1")
        assert a.ended() in ("", "reset")
    with Talk(g.web) as a, Talk(g.web) as b:        # they wait in the queue until there is a worker again
        assert a.line() and b.line()
