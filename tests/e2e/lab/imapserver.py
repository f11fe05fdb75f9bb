"""An IMAP server that follows a script: a well-behaved one, until a step of the dialogue is told to do something else."""
import re
import socket
import ssl
import threading
import time

from .backend import Hangup
from .process import WAIT_S, free_port

CAPS = b"IMAP4rev1 SASL-IR LOGIN-REFERRALS ID ENABLE IDLE LITERAL+ AUTH=PLAIN AUTH=LOGIN"


class Session:
    def __init__(self, sock):
        self.sock, self.buffer = sock, b""
        self.commands = []      # complete ones, with their literals, without the last CR LF
        self.conts = 0          # how often "+ " was said for a literal
        self.tls, self.open = False, True

    def send(self, data):
        self.sock.sendall(data)

    def fill(self):
        more = self.sock.recv(65536)
        if not more:
            raise EOFError
        self.buffer += more

    def line(self):
        while b"\n" not in self.buffer:
            self.fill()
        line, self.buffer = self.buffer.split(b"\n", 1)
        return line + b"\n"

    def read(self, n):
        while len(self.buffer) < n:
            self.fill()
        out, self.buffer = self.buffer[:n], self.buffer[n:]
        return out

    def command(self, literals):
        out = self.line()
        while literals and (m := re.search(rb"\{(\d+)(\+?)\}\r\n\Z", out)):
            if not m[2]:
                self.conts += 1
                self.send(b"+ OK\r\n")
            out += self.read(int(m[1])) + self.line()
        assert out.endswith(b"\r\n")
        return out[:-2]


class ImapServer:
    """
    greeting: the line, with its end, or several. script: {"LOGIN": octets, or a function (session, tag, words) that returns octets, None for the usual answer, or
    raises Hangup}; TAG in octets becomes the command's tag; "CONNECT" comes before the greeting. tls: (certificate, key); without it there is no STARTTLS.
    """

    def __init__(self, greeting=None, caps=CAPS, script=None, tls=None, implicit=False):
        self.caps, self.script, self.implicit = caps, dict(script or {}), implicit
        self.greeting = b"* OK [CAPABILITY " + caps + b"] scripted\r\n" if greeting is None else greeting
        self.context, self.literals = None, True        # False: it answers the line at once
        if tls:
            self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self.context.load_cert_chain(*tls)
        self.sessions = []
        self.changed = threading.Condition()
        self.port = free_port()
        self.listener = socket.create_server(("127.0.0.1", self.port), backlog=64)
        threading.Thread(target=self._accept, daemon=True).start()

    def stop(self):
        try:
            self.listener.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self.listener.close()
        for s in self.sessions:
            try:
                s.sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    @property
    def commands(self):
        """All that was said, in all sessions, without tags."""
        return [c.partition(b" ")[2] for s in self.sessions for c in s.commands]

    def wait(self, condition, timeout=WAIT_S):
        end = time.monotonic() + timeout
        with self.changed:
            while not condition():
                assert self.changed.wait(end - time.monotonic()), self.commands

    def _accept(self):
        while True:
            try:
                sock, _ = self.listener.accept()
            except OSError:
                return
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            session = Session(sock)
            self.sessions.append(session)
            threading.Thread(target=self._serve, args=(session,), daemon=True).start()

    def _tls(self, s):
        s.sock = self.context.wrap_socket(s.sock, server_side=True)
        s.tls = True

    def _serve(self, s):
        try:
            if self.implicit:
                self._tls(s)
            self._step(s, "CONNECT", b"", b"")
            s.send(self.greeting)
            while True:
                command = s.command(self.literals)
                with self.changed:
                    s.commands.append(command)
                    self.changed.notify_all()
                tag, _, words = command.partition(b" ")
                if self._step(s, words.partition(b" ")[0].decode("latin-1").upper(), tag, words):
                    break
        except (EOFError, OSError, Hangup, AssertionError):
            pass
        with self.changed:
            s.open = False
            self.changed.notify_all()
        s.sock.close()

    def _step(self, s, verb, tag, words):
        """True: the session ends."""
        step = self.script.get(verb)
        answer = step(s, tag, words) if callable(step) else step
        if answer is None and verb != "CONNECT":
            answer = self._usual(s, verb, words)
        if answer:
            s.send(answer.replace(b"TAG", tag))
        if verb == "STARTTLS" and answer and answer.startswith(b"TAG OK"):
            self._tls(s)
        return verb == "LOGOUT"

    def _usual(self, s, verb, words):
        if verb == "STARTTLS":
            return b"TAG OK begin\r\n" if self.context and not s.tls else b"TAG BAD no\r\n"
        if verb == "AUTHENTICATE" and len(words.split(b" ")) < 3:
            s.send(b"+ \r\n")
            s.response = s.line()
            return b"TAG BAD cancelled\r\n" if s.response == b"*\r\n" else b"TAG OK in\r\n"
        return {
            "CAPABILITY": b"* CAPABILITY " + self.caps + b"\r\nTAG OK listed\r\n",
            "ID": b'* ID ("name" "scripted")\r\nTAG OK done\r\n',
            "LOGOUT": b"* BYE see you\r\nTAG OK out\r\n",
        }.get(verb, b"TAG OK done\r\n")
