"""A mail server that follows a script: a well-behaved one, until a step of the dialogue is told to do something else."""
import socket
import ssl
import threading
import time

from .process import WAIT_S, free_port

KEYWORDS = ("PIPELINING", "SIZE 50000000", "8BITMIME", "SMTPUTF8", "DSN", "CHUNKING", "ENHANCEDSTATUSCODES")


class Hangup(Exception):
    """Raised by a step: these last bytes, then the connection is closed."""

    def __init__(self, last=b""):
        super().__init__()
        self.last = last


def hang_up(last=b""):
    def step(*_):
        raise Hangup(last)
    return step


class Held:
    """A step that waits until it is released; `reached` tells that the gateway waits for its reply."""

    def __init__(self, reply=None):
        self.reply = reply
        self.reached = threading.Event()
        self.go = threading.Event()

    def __call__(self, *_):
        self.reached.set()
        self.go.wait(WAIT_S)
        return self.reply


class Message:
    def __init__(self, session, mail, rcpts, data):
        self.session, self.mail, self.rcpts, self.data = session, mail, list(rcpts), data

    @property
    def to(self):
        return [r.partition("<")[2].partition(">")[0] for r in self.rcpts]


class Session:
    def __init__(self, number, sock, peer):
        self.number, self.sock, self.peer = number, sock, peer
        self.commands = []
        self.answered = 0       # of the commands
        self.mail, self.rcpts = None, []
        self.tls = False
        self.open = True
        self.odd = False        # a step of the script was done in it
        self.buffer = b""

    def read(self, size=None):
        """A line without its CRLF, or `size` octets."""
        while len(self.buffer) < size if size is not None else b"\n" not in self.buffer:
            more = self.sock.recv(65536)
            if not more:
                raise EOFError
            self.buffer += more
        if size is not None:
            out, self.buffer = self.buffer[:size], self.buffer[size:]
            return out
        line, self.buffer = self.buffer.split(b"\n", 1)
        return line.rstrip(b"\r")

    def read_message(self):
        lines = []
        while (line := self.read()) != b".":
            lines.append(line[1:] if line.startswith(b".") else line)
        return b"".join(line + b"\r\n" for line in lines)


class Backend:
    """
    script: what to do at CONNECT, EHLO, STARTTLS, MAIL, RCPT, DATA, ".", BDAT, RSET, QUIT: bytes to send, or a function (session, line)
    that returns bytes, None for the usual reply, or raises Hangup. It may be changed at any time. users: None is everybody.
    """

    session_class = Session

    def __init__(self, script=None, keywords=KEYWORDS, users=None, limit=None, tls=None, host="127.0.0.1", port=0, implicit=False):
        self.script = dict(script or {})
        self.keywords, self.users, self.limit = list(keywords), users, limit
        self.context = None
        if tls:
            self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self.context.load_cert_chain(*tls)
        self.sessions, self.messages = [], []
        self.changed = threading.Condition()
        self.host, self.port, self.implicit = host, port or free_port(), implicit
        self.listener = None
        self.listen()

    # its life

    def listen(self):
        family = socket.AF_INET6 if ":" in self.host else socket.AF_INET
        self.listener = socket.create_server((self.host, self.port), family=family, backlog=256)
        threading.Thread(target=self._accept, args=(self.listener,), daemon=True).start()

    def stop(self):
        """Nobody listens any more, and all sessions are cut."""
        listener, self.listener = self.listener, None
        if listener:
            listener.shutdown(socket.SHUT_RDWR)
            listener.close()
        self.cut()

    def cut(self, sender=""):
        """All sessions, or those in which this sender's transaction is open."""
        with self.changed:
            for s in self.sessions:
                if sender and f"<{sender}>" not in (s.mail or ""):
                    continue
                try:
                    s.sock.shutdown(socket.SHUT_RDWR)
                except OSError:
                    pass

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()

    def _accept(self, listener):
        while True:
            try:
                sock, peer = listener.accept()
            except OSError:
                return
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with self.changed:
                if self.listener is not listener:       # stop() came between
                    sock.close()
                    return
                session = self.session_class(len(self.sessions), sock, peer)
                self.sessions.append(session)
                self.changed.notify_all()
            threading.Thread(target=self._serve, args=(session,), daemon=True).start()

    # what it has seen

    def wait(self, condition, what="the backend", timeout=WAIT_S):
        end = time.monotonic() + timeout
        with self.changed:
            while not condition():
                left = end - time.monotonic()
                if left <= 0:
                    raise AssertionError(f"{what}: {[s.commands for s in self.sessions]}")
                self.changed.wait(left)

    def wait_messages(self, count):
        self.wait(lambda: len(self.messages) >= count, f"{count} messages")
        return self.messages

    @property
    def now_open(self):
        return sum(s.open for s in self.sessions)

    def mail_sessions(self):
        """Sessions in which MAIL was said: the probes left out."""
        return [s for s in self.sessions if any(c.startswith("MAIL") for c in s.commands)]

    # the dialogue

    def _serve(self, s):
        try:
            if self.implicit:
                s.sock = self.context.wrap_socket(s.sock, server_side=True)
                s.tls = True
            self._dialogue(s)
        except Hangup as h:
            try:
                s.sock.sendall(h.last)
            except OSError:
                pass
        except (OSError, EOFError, ValueError):
            pass
        self._closed(s)
        s.sock.close()

    def _closed(self, s):
        with self.changed:
            s.open = False
            self.changed.notify_all()

    def _say(self, s, step, line, usual):
        action = self.script.get(step)
        s.odd |= action is not None
        reply = action(s, line) if callable(action) else action
        s.sock.sendall(usual if reply is None else reply)
        return reply is None or reply == usual

    def _dialogue(self, s):
        if self.limit is not None and self.now_open > self.limit:
            raise Hangup(b"421 4.3.2 Too many concurrent connections\r\n")
        self._say(s, "CONNECT", "", b"220 backend.example ESMTP\r\n")
        while True:
            line = s.read().decode("utf-8", "replace")
            with self.changed:
                s.commands.append(line)
                self.changed.notify_all()
            if not self._command(s, line.split(" ")[0].upper(), line):
                return
            with self.changed:
                s.answered = len(s.commands)
                self.changed.notify_all()

    def _command(self, s, verb, line):
        if verb == "EHLO":
            words = [k for k in self.keywords if not (s.tls and k == "STARTTLS")]
            lines = ["backend.example", *words]
            self._say(s, verb, line, "".join(f"250{' ' if i == len(lines) - 1 else '-'}{t}\r\n" for i, t in enumerate(lines)).encode())
        elif verb == "STARTTLS":
            if self._say(s, verb, line, b"220 2.0.0 go\r\n" if self.context else b"454 4.7.0 no TLS here\r\n") and self.context:
                s.sock = self.context.wrap_socket(s.sock, server_side=True)
                s.tls = True
        elif verb == "MAIL":
            s.mail, s.rcpts = line, []
            self._say(s, verb, line, b"250 2.1.0 ok\r\n")
        elif verb == "RCPT":
            user = line.partition("<")[2].partition(">")[0]
            known = self.users is None or user in self.users
            if self._say(s, verb, line, b"250 2.1.5 ok\r\n" if known else b"550 5.1.1 no such user here\r\n") and known:
                s.rcpts.append(line)
        elif verb == "DATA":
            if self._say(s, verb, line, b"354 go on\r\n"):
                self._end(s, ".", s.read_message())
        elif verb == "BDAT":
            data = s.read(int(line.split(" ")[1]))
            self._end(s, "BDAT", data)
        elif verb == "RSET":
            s.mail, s.rcpts = None, []
            self._say(s, verb, line, b"250 2.0.0 ok\r\n")
        elif verb == "QUIT":
            if "QUIT" not in self.script:       # who hears 221 may come again at once: this session is none of those that are counted
                self._closed(s)
            self._say(s, verb, line, b"221 2.0.0 bye\r\n")
            return False
        else:
            self._say(s, verb, line, b"250 2.0.0 ok\r\n" if verb in ("HELO", "NOOP") else b"500 5.5.1 what?\r\n")
        return True

    def _end(self, s, step, data):
        """The message is kept before the reply: whoever hears 250 can rely on it."""
        message = Message(s, s.mail, s.rcpts, data)
        with self.changed:
            self.messages.append(message)
            self.changed.notify_all()
        self._say(s, step, "", b"250 2.0.0 kept\r\n")
        s.mail, s.rcpts = None, []
