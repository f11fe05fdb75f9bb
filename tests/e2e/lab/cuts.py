"""
A line that breaks behind a given number of octets: with a reset (RST), or with an end as if all were well (FIN). In one asyncio loop, so that many
positions are tried side by side.

Server          a mail server that takes everything and keeps it, by DATA and BDAT, within TLS if it has a context for it
Cutter          between the gateway and that server: the next connection is cut by its plan, Cut(UP, n, how) or Cut(DOWN, n, how)
talk()          a client that sends one entry of the books (accounts.py), and cuts its own line: UP is what it sends, DOWN what it reads

A line that is cut behind n octets has carried these and no other, and breaks as soon as it has. A session of N octets has N such positions, 0 to N - 1.
"""
import asyncio
import collections
import contextlib
import re
import socket
import ssl
import struct

from .accounts import UNKNOWN, Found
from .process import free_port
from .smtp import insecure

UP, DOWN = "up", "down"
RST, FIN = "reset", "end"
WAIT_S = 60

Cut = collections.namedtuple("Cut", "way octets how")


class Broken(Exception):
    """By ourselves, or by the gateway."""


def reset(sock):
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


class Server(asyncio.Protocol):
    """One session; found: of all, copies for the books. tls: what STARTTLS is done with."""

    def __init__(self, found, tls=None):
        self.found, self.buffer, self.rcpts, self.chunks, self.want = found, b"", [], [], None
        self.in_data, self.tls, self.handshake, self.ready = False, tls, None, True

    def connection_made(self, transport):
        self.transport = transport
        if not self.handshake:
            transport.write(b"220 b ESMTP\r\n")

    async def starttls(self):
        with contextlib.suppress(OSError):              # it was cut: ssl.SSLError is one, and so is ConnectionError
            self.transport = await asyncio.get_running_loop().start_tls(self.transport, self, self.tls, server_side=True) or self.transport
            self.ready = True
            self.data_received(b"")     # what came with the end of the handshake

    def data_received(self, data):
        self.buffer += data
        while self.ready and self.step():
            pass

    def say(self, text):
        if not self.transport.is_closing():
            self.transport.write(text + b"\r\n")
        return True

    def step(self):
        if self.in_data:
            return self.data()
        if self.want is not None:
            return self.chunk()
        line, end, rest = self.buffer.partition(b"\r\n")
        if not end:
            return False
        self.buffer = rest
        return self.command(line[:4].upper().strip(), line)

    def command(self, verb, line):
        if verb == b"EHLO":
            return self.say(b"250-b\r\n" + b"250-STARTTLS\r\n" * bool(self.tls and not self.handshake) + b"250-8BITMIME\r\n250-CHUNKING\r\n250 SIZE 9999999")
        if verb == b"STAR":
            self.say(b"220 2.0.0 go ahead")
            self.ready = False
            self.handshake = asyncio.ensure_future(self.starttls())
            return False
        if verb in (b"MAIL", b"RSET"):
            self.rcpts, self.chunks = [], []
        elif verb == b"RCPT":
            self.rcpts.append(line.partition(b"<")[2].partition(b">")[0].decode())
        elif verb == b"DATA":
            self.in_data = True
            return self.say(b"354 go")
        elif verb == b"BDAT":
            words = line.split()
            self.want = int(words[1]), len(words) > 2
            return True
        elif verb == b"QUIT":
            self.say(b"221 2.0.0 bye")
            self.transport.close()
            return False
        return self.say(b"250 2.0.0 ok")

    def data(self):
        end = 0 if self.buffer.startswith(b".\r\n") else self.buffer.find(b"\r\n.\r\n") + 2
        if end == 1:
            return False
        self.keep(re.sub(rb"(^|\n)\.", rb"\1", self.buffer[:end]))
        self.buffer, self.in_data = self.buffer[end + 3:], False
        return self.say(b"250 2.0.0 kept")

    def chunk(self):
        size, last = self.want
        if len(self.buffer) < size:
            return False
        self.chunks.append(self.buffer[:size])
        self.buffer, self.want = self.buffer[size:], None
        if last:
            self.keep(b"".join(self.chunks))
        return self.say(b"250 2.0.0 kept" if last else b"250 2.0.0 more")

    def keep(self, data):
        self.found.append(Found(data, self.rcpts))


class Leg(asyncio.Protocol):
    """One side of a connection through a cutter; other: the other side."""

    def __init__(self, pair, way):
        self.pair, self.way, self.transport, self.other, self.waiting, self.count = pair, way, None, None, [], 0

    def connection_made(self, transport):
        self.transport = transport
        self.pair.made(self)

    def data_received(self, data):
        """On it goes, as far as the plan lets it."""
        if self.pair.over:
            return
        cut = self.pair.cut
        if cut and cut.way == self.way:
            data = data[:cut.octets - self.count]
        self.count += len(data)
        if self.other.transport:
            self.other.transport.write(data)
        else:
            self.waiting.append(data)
        if cut and cut.way == self.way and self.count == cut.octets:
            self.pair.break_off()

    def eof_received(self):
        if self.other.transport and not self.pair.over:
            self.other.transport.write_eof()
        return False

    def connection_lost(self, _):
        if self.other.transport and not self.pair.over:
            self.other.transport.close()
        self.pair.lost(self)


class Pair:
    """One connection through a cutter, to the server behind."""

    def __init__(self, cutter, cut):
        self.cutter, self.cut, self.over, self.left = cutter, cut, False, 2
        self.near, self.far = Leg(self, UP), Leg(self, DOWN)
        self.near.other, self.far.other = self.far, self.near

    def made(self, leg):
        if leg is self.near:
            if self.cut and not self.cut.octets:
                self.left = 1
                self.break_off()
            else:
                self.cutter.tasks.add(task := asyncio.ensure_future(self.connect()))
                task.add_done_callback(self.cutter.tasks.discard)
        else:
            for data in self.near.waiting:
                leg.transport.write(data)

    async def connect(self):
        await asyncio.get_running_loop().create_connection(lambda: self.far, "127.0.0.1", self.cutter.behind)

    def break_off(self):
        self.over = True
        for leg in (self.near, self.far):
            if leg.transport and self.cut.how == RST:
                reset(leg.transport.get_extra_info("socket"))
                leg.transport.abort()
            elif leg.transport:
                leg.transport.write_eof()
        self.cutter.ended(self)

    def lost(self, leg):
        self.left -= 1
        if not self.over and self.left == 0:
            self.cutter.ended(self)


class Cutter:
    """
    plan: of the next connection, or of the one behind as many as pass. Of the last one that had a plan, or of all when there is none: octets (up, down);
    was_cut. past: octets of all that have ended.
    """

    def __init__(self, behind):
        self.past = []
        self.behind, self.plan, self.octets, self.was_cut, self.tasks, self.event = behind, None, (0, 0), False, set(), asyncio.Event()
        self.passing = 0

    async def listen(self, host="127.0.0.1", port=0):
        self.port = port or free_port()
        self.server = await asyncio.get_running_loop().create_server(self.accept, host, self.port)

    def accept(self):
        if self.plan and self.passing:
            self.passing -= 1
            return Pair(self, None).near
        cut, self.plan = self.plan, None
        return Pair(self, cut).near

    def set(self, cut, passing=0):
        self.plan, self.was_cut, self.passing = cut, False, passing
        self.event.clear()

    def ended(self, pair):
        self.octets = pair.near.count, pair.far.count
        self.past.append(self.octets)
        if pair.cut:
            self.was_cut = pair.over
            self.event.set()


class Line:
    """A client's connection, that cuts itself. What counts is what is on the wire: below TLS."""

    def __init__(self, sock, cut):
        self.sock, self.cut, self.buffer, self.inside = sock, cut, b"", None
        self.count = {UP: 0, DOWN: 0}
        self.loop = asyncio.get_running_loop()

    async def tls(self):
        self.into, self.out = ssl.MemoryBIO(), ssl.MemoryBIO()
        inside = insecure().wrap_bio(self.into, self.out, server_hostname="gate.example")
        done = False
        while not done:
            try:
                inside.do_handshake()
                done = True
            except ssl.SSLWantReadError:
                pass
            if self.out.pending:
                await self.push(self.out.read())
            if not done:
                self.into.write(await self.receive())
        self.inside = inside

    def seal(self, data):
        """As it goes over the wire."""
        if self.inside:
            self.inside.write(data)
            data = self.out.read()
        return data

    def carries(self, data):
        """Whether all of it can be pushed, though the line may break as soon as it has been."""
        return self.left(UP) >= len(data) and self.left(DOWN) > 0

    def left(self, way):
        """How many octets more may go that way."""
        return self.cut.octets - self.count[way] if self.cut and self.cut.way == way else 1 << 30

    async def send(self, data):
        await self.push(self.seal(data))

    async def push(self, data):
        """All, or as much as may; then the line is broken."""
        if self.left(DOWN) == 0:
            raise Broken
        some = data[:self.left(UP)]
        await self.loop.sock_sendall(self.sock, some)
        self.count[UP] += len(some)
        if self.left(UP) == 0:
            raise Broken

    async def reply(self):
        """(code, text)"""
        while not (end := re.match(rb"(?:\d\d\d-[^\n]*\n)*(\d\d\d) [^\n]*\n", self.buffer)):
            data = await self.receive()
            if not self.inside:
                self.buffer += data
                continue
            self.into.write(data)
            try:
                while plain := self.inside.read(65536):
                    self.buffer += plain
            except ssl.SSLWantReadError:
                pass
        self.buffer = self.buffer[end.end():]
        return int(end[1]), end[0]

    async def receive(self):
        if self.left(DOWN) == 0:
            raise Broken
        data = await self.loop.sock_recv(self.sock, min(65536, self.left(DOWN)))
        if not data:
            raise Broken
        self.count[DOWN] += len(data)
        return data

    async def drop(self):
        """FIN: who has closed has closed, but what the gateway still says is no surprise to anybody."""
        if self.cut and self.cut.how == FIN:
            try:
                self.sock.shutdown(socket.SHUT_WR)
                while await asyncio.wait_for(self.loop.sock_recv(self.sock, 65536), WAIT_S):
                    pass
            except OSError:
                pass
        elif self.cut:
            reset(self.sock)
        self.sock.close()


async def transaction(line, entry, rcpts, state, bdat, tls):
    """state: what is known when the line breaks: "sent", and "codes" of recipients."""
    codes = state["codes"]

    async def command(text):
        await line.send(text)
        return (await line.reply())[0]

    await line.reply()
    await command(b"EHLO c.example\r\n")
    if tls:
        await command(b"STARTTLS\r\n")
        await line.tls()
        await command(b"EHLO c.example\r\n")
    body = entry.data.replace(b"\r\n.", b"\r\n..") + b".\r\n"
    envelope = [f"MAIL FROM:<{entry.sender}>\r\n".encode(), *(f"RCPT TO:<{r}>\r\n".encode() for r in rcpts)]
    if bdat:
        whole = line.seal(b"".join(envelope) + b"BDAT %d LAST\r\n" % len(entry.data) + entry.data)
        state["sent"] = line.carries(whole)
        await line.push(whole)
        first = (await line.reply())[0]
        for r in rcpts:
            codes[r] = (await line.reply())[0]
        end = (await line.reply())[0]
    else:
        first = await command(envelope[0])
        for r, text in zip(rcpts, envelope[1:]):
            codes[r] = first if first != 250 else await command(text)
        if 250 not in codes.values() or await command(b"DATA\r\n") != 354:
            return first
        body = line.seal(body)
        state["sent"] = line.carries(body)
        await line.push(body)
        end = (await line.reply())[0]
    state["end"] = end
    await command(b"QUIT\r\n")
    return end


async def talk(books, entry, port, source, cut=None, bdat=False, tls=False):
    """One attempt, for those who are left; the books know what came of it. (octets up, octets down), and whether it was cut where it should be."""
    sock = socket.socket()
    sock.setblocking(False)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.bind((source, 0))
    line, rcpts = None, entry.left()
    state = {"sent": False, "codes": {}, "end": UNKNOWN}
    try:
        await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", port))
        line = Line(sock, cut)
        if cut and not cut.octets:
            raise Broken
        await asyncio.wait_for(transaction(line, entry, rcpts, state, bdat, tls), WAIT_S)
    except (Broken, OSError):          # ssl.SSLError is one
        pass
    if line:
        await line.drop()
    inside = [r for r in rcpts if state["codes"].get(r, 250 if bdat and state["sent"] else UNKNOWN) == 250]
    for r in rcpts:
        if r not in inside:
            books.refuse(entry, r, state["codes"].get(r, UNKNOWN))
    if state["sent"]:
        books.answer(entry, dict.fromkeys(inside, state["end"]))
    else:
        for r in inside:
            books.refuse(entry, r, UNKNOWN)
    return line.count if line else {UP: 0, DOWN: 0}
