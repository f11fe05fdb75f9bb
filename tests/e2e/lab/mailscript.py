"""Scripted servers of IMAP and POP3: well-behaved ones, until a step is told to do something else. Each connection has a thread."""
import re
import socket
import ssl
import threading

from .backend import Hangup
from .process import WAIT_S, free_port
from .wire import Closed, Wire


class Conn(Wire):
    """One connection, seen from the server."""

    def __init__(self, server, sock, peer):
        self.server, self.sock, self.peer = server, sock, peer
        self.heard, self.at = bytearray(), 0
        self.inflate = self.deflate = None
        self.told, self.wrong, self.tls = server.heard, server.errors, server.tls       # of its own script: the next one may begin before it ends
        self.in_tls = self.ended = False
        sock.settimeout(WAIT_S)

    def take(self):
        line = self.line()
        self.told.append(line)
        return line

    def begin_tls(self):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*map(str, self.tls))
        self.sock = context.wrap_socket(self.sock, server_side=True)
        self.in_tls = True


class Scripted:
    """
    greeting: octets, or a function of the connection, None for none; on: {verb: octets, or a function(connection, words of the line) -> octets or None};
    "*" is for all others. tls: (certificate, key). heard: all lines of all connections. A step may raise hang_up.
    """

    def __init__(self, greeting=None, on=None, tls=None, implicit=False):
        self.conns, self.implicit = [], implicit
        self.changed = threading.Condition()
        self.play(greeting, on, tls)
        self.port = free_port()
        self.sock = socket.create_server(("127.0.0.1", self.port), backlog=1024)
        self.over = False
        self.thread = threading.Thread(target=self._accept, daemon=True)
        self.thread.start()

    def play(self, greeting=None, on=None, tls=None):
        """Another script, from the next connection on."""
        self.cut(self.conns)
        self.on, self.tls = dict(on or {}), tls
        self.greeting = self.hello if greeting is None else greeting
        self.heard, self.conns, self.errors = [], [], []

    def _accept(self):
        while not self.over:
            try:
                sock, peer = self.sock.accept()
            except OSError:
                return
            conn = Conn(self, sock, peer)
            with self.changed:
                self.conns.append(conn)
                self.changed.notify_all()
            threading.Thread(target=self._run, args=(conn,), daemon=True).start()

    def _run(self, conn):
        try:
            if self.implicit:
                conn.begin_tls()
            greeting = self.greeting(conn) if callable(self.greeting) else self.greeting
            if greeting:
                conn.send(greeting)
            self.talk(conn)
        except Hangup as e:
            try:
                conn.send(e.last)
            except OSError:
                pass
        except (Closed, OSError, ValueError):
            pass
        except AssertionError as e:
            conn.wrong.append(str(e))
        conn.close()
        with self.changed:
            conn.ended = True
            self.changed.notify_all()

    def talk(self, conn):
        while True:
            words = conn.take().split()
            answer = self.answer(conn, words)
            if answer:
                conn.send(answer)

    def step(self, conn, verb, words):
        """What the script says to it; NotImplemented: nothing."""
        step = self.on.get(verb, self.on.get("*", NotImplemented))
        return step(conn, words) if callable(step) else step

    def wait(self, condition, timeout=WAIT_S):
        with self.changed:
            assert self.changed.wait_for(condition, timeout)

    @staticmethod
    def cut(of):
        for s in (c.sock for c in of):
            try:
                s.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def stop(self):
        self.over = True
        self.cut([self, *self.conns])
        self.thread.join(5)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()


class ImapScript(Scripted):
    CAPS = b"IMAP4rev1 SASL-IR LITERAL+ ID IDLE AUTH=PLAIN AUTH=CRAM-MD5"
    kind = "imap"

    def caps(self, conn):
        return self.CAPS + (b" STARTTLS" if self.tls and not conn.in_tls else b"")

    def hello(self, conn):
        return b"* OK [CAPABILITY " + self.caps(conn) + b"] scripted server ready\r\n"

    def answer(self, conn, words):
        words = words or [b""]
        tag, verb = words[0], words[1].decode("latin-1").upper() if len(words) > 1 else ""
        said = self.step(conn, verb, words)
        if said is not NotImplemented:
            return said
        if verb == "CAPABILITY":
            return b"* CAPABILITY %b\r\n%b OK listed\r\n" % (self.caps(conn), tag)
        if verb == "STARTTLS" and self.tls:
            conn.send(tag + b" OK begin\r\n")
            conn.begin_tls()
            return None
        if verb == "ID":
            return b"* ID NIL\r\n%b OK known\r\n" % tag
        if verb == "AUTHENTICATE" and len(words) == 3:
            conn.send(b"+ \r\n")
            conn.take()
        while m := re.search(rb"\{(\d+)(\+?)\}$", words[-1]):
            if not m[2]:
                conn.send(b"+ go on\r\n")
            conn.read(int(m[1]))
            words = conn.take().split() or [b""]
        if verb == "LOGOUT":
            raise Hangup(b"* BYE see you\r\n%b OK out\r\n" % tag)
        return tag + b" OK done\r\n"


class Pop3Script(Scripted):
    CAPS = b"USER\r\nUIDL\r\nTOP\r\nPIPELINING\r\nRESP-CODES\r\nSASL PLAIN CRAM-MD5"
    kind = "pop3"

    def caps(self, conn):
        return self.CAPS + (b"\r\nSTLS" if self.tls and not conn.in_tls else b"")

    def hello(self, conn):
        return b"+OK scripted server ready <1.2@scripted.example>\r\n"

    def answer(self, conn, words):
        verb = words[0].decode("latin-1").upper() if words else ""
        said = self.step(conn, verb, words)
        if said is not NotImplemented:
            return said
        if verb == "CAPA":
            return b"+OK they are\r\n%b\r\n.\r\n" % self.caps(conn)
        if verb == "STLS" and self.tls:
            conn.send(b"+OK begin\r\n")
            conn.begin_tls()
            return None
        if verb == "AUTH" and len(words) == 2:
            conn.send(b"+ \r\n")
            conn.take()
        if verb == "QUIT":
            raise Hangup(b"+OK bye\r\n")
        return b"+OK done\r\n"
