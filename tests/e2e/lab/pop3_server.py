"""A POP3 server that follows a script: what a real one cannot be made to say."""
import hashlib
import re
import socket
import ssl
import threading

from .process import WAIT_S, free_port

CAPA = (b"TOP", b"UIDL", b"USER", b"SASL PLAIN LOGIN", b"RESP-CODES", b"PIPELINING")


class Session:
    """One connection. commands: the lines heard, without their ends."""

    def __init__(self, server, sock):
        self.server, self.sock = server, sock
        self.commands = []
        self.over = threading.Event()
        self.f = sock.makefile("rb")

    def read(self):
        """The next line without its end; b"" at the end of the connection."""
        return self.f.readline().rstrip(b"\r\n")

    def send(self, data):
        self.sock.sendall(data)

    def starttls(self):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*map(str, self.server.tls))
        self.sock = context.wrap_socket(self.sock, server_side=True)
        self.f = self.sock.makefile("rb")

    def serve(self):
        try:
            self.send(self.server.greeting)
            while line := self.f.readline():
                line = line.rstrip(b"\r\n")
                self.commands.append(line)
                if (reply := self.server.answer(self, line)) is None:
                    break
                self.send(reply)
        except OSError:
            pass
        try:
            self.sock.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self.sock.close()
        self.over.set()


class Pop3Server:
    """
    script: {verb: octets, or a function of (session, line) that gives octets, or None, which ends the connection}. capa: what CAPA lists; None: it does not know
    it. messages: octets of each; their UIDL is made of the content, unless uidl is False: it does not know it then. tls: (certificate, key): it offers STLS.
    """

    def __init__(self, script=None, greeting=b"+OK ready <1.2@lab.example>\r\n", capa=CAPA, messages=(), uidl=True, tls=None):
        self.script, self.greeting, self.capa, self.messages, self.uidl, self.tls = dict(script or {}), greeting, capa, list(messages), uidl, tls
        self.sessions = []
        self.port = free_port()
        self.socket = socket.create_server(("127.0.0.1", self.port), backlog=64)
        self.thread = threading.Thread(target=self._accept, daemon=True)
        self.thread.start()

    def _accept(self):
        while True:
            try:
                sock, _ = self.socket.accept()
            except OSError:
                return
            sock.settimeout(WAIT_S)
            session = Session(self, sock)
            self.sessions.append(session)
            threading.Thread(target=session.serve, daemon=True).start()

    def answer(self, session, line):
        verb = line.split(b" ")[0].upper().decode("latin-1")
        step = self.script.get(verb)
        if step is not None:
            return step(session, line) if callable(step) else step
        default = getattr(self, "do_" + verb.lower(), None) if re.fullmatch("[A-Z]+", verb) else None
        return default(session, line) if default else b"-ERR what?\r\n"

    def do_capa(self, session, line):
        if self.capa is None:
            return b"-ERR what?\r\n"
        stls = (b"STLS",) if self.tls and not isinstance(session.sock, ssl.SSLSocket) else ()
        return b"+OK list\r\n" + b"".join(c + b"\r\n" for c in (*self.capa, *stls)) + b".\r\n"

    def do_stls(self, session, line):
        session.send(b"+OK begin\r\n")
        session.starttls()
        return b""

    def do_user(self, session, line):
        return b"+OK\r\n"

    def do_pass(self, session, line):
        return b"+OK logged in\r\n"

    def do_noop(self, session, line):
        return b"+OK\r\n"

    def do_quit(self, session, line):
        session.send(b"+OK bye\r\n")

    # mailbox

    def one(self, line):
        """The message that a command names; None."""
        words = line.split()
        number = int(words[1]) if len(words) > 1 and words[1].isdigit() else 0
        return self.messages[number - 1] if 0 < number <= len(self.messages) else None

    def do_stat(self, session, line):
        return b"+OK %d %d\r\n" % (len(self.messages), sum(map(len, self.messages)))

    def _listed(self, line, value):
        if b" " not in line:
            return b"+OK\r\n" + b"".join(b"%d %s\r\n" % (n + 1, value(m)) for n, m in enumerate(self.messages)) + b".\r\n"
        m = self.one(line)
        return b"-ERR no such message\r\n" if m is None else b"+OK %d %s\r\n" % (int(line.split()[1]), value(m))

    def do_list(self, session, line):
        return self._listed(line, lambda m: b"%d" % len(m))

    def do_uidl(self, session, line):
        return self._listed(line, lambda m: hashlib.md5(m).hexdigest().encode()) if self.uidl else b"-ERR what?\r\n"

    def do_retr(self, session, line):
        m = self.one(line)
        return b"-ERR no such message\r\n" if m is None else b"+OK %d octets\r\n" % len(m) + stuffed(m) + b".\r\n"

    def do_top(self, session, line):
        m = self.one(line)
        if m is None:
            return b"-ERR no such message\r\n"
        header, _, body = m.partition(b"\r\n\r\n")
        lines = body.splitlines(keepends=True)[:int(line.split()[2])]
        return b"+OK\r\n" + stuffed(header + b"\r\n\r\n" + b"".join(lines)) + b".\r\n"

    def do_dele(self, session, line):
        return b"+OK\r\n" if self.one(line) is not None else b"-ERR no such message\r\n"

    def do_rset(self, session, line):
        return b"+OK\r\n"

    def stop(self):
        try:
            self.socket.shutdown(socket.SHUT_RDWR)         # ends accept(), too
        except OSError:
            pass
        self.socket.close()
        for s in self.sessions:
            try:
                s.sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def commands(self):
        """Of the last session."""
        return self.sessions[-1].commands


def stuffed(message):
    """RFC 1939 3: a dot before a dot, and a line end at the end."""
    return re.sub(rb"^\.", b"..", message if message.endswith(b"\r\n") else message + b"\r\n", flags=re.M)


def unstuffed(answer):
    """A multi-line answer's content: without its first line and the last dot."""
    head, _, rest = answer.partition(b"\r\n")
    assert head.startswith(b"+OK") and rest.endswith(b".\r\n"), answer[:100]
    return re.sub(rb"^\.", b"", rest[:-3], flags=re.M)
