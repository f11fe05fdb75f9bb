"""
What all personas share: a Backend that is as strict as a real server, and knows bounds of time, of sessions, of size and of errors.

A persona is a class whose attributes are its traits; a test may set any of them for one server (Exchange2010(users, tarpit_s=5)), or later.
"""
import base64
import re
import ssl
import threading
import time

from lab.backend import Backend, Hangup, Message, Session


class PersonaSession(Session):
    """Waits no longer than the server's bounds: idle_s for the next octets, total_s for all of it."""

    def __init__(self, *args):
        super().__init__(*args)
        self.begun = time.monotonic()
        self.server = None
        self.hello = False
        self.user = None
        self.chunks = None
        self.errors = 0

    def bound(self):
        waits = [self.server.idle_s] if self.server.idle_s else []
        if self.server.total_s:
            waits.append(max(self.begun + self.server.total_s - time.monotonic(), 0.001))
        self.sock.settimeout(min(waits) if waits else None)

    def read(self, size=None):
        self.bound()
        try:
            return super().read(size)
        except TimeoutError:
            raise Hangup(self.server.TIMED_OUT) from None

    def read_message(self):
        """The octets as they came, up to CRLF.CRLF and nothing else; dots unstuffed."""
        lines, last = [], b"\r\n"
        while not ((line := self.read_line()) == b".\r\n" and last.endswith(b"\r\n")):
            lines.append(line)
            last = line
        self.wire = b"".join(lines)
        return re.sub(rb"(^|\r\n)\.", rb"\1", self.wire)

    def read_line(self):
        while b"\n" not in self.buffer:
            self.bound()
            try:
                more = self.sock.recv(65536)
            except TimeoutError:
                raise Hangup(self.server.TIMED_OUT) from None
            if not more:
                raise EOFError
            self.buffer += more
        line, _, self.buffer = self.buffer.partition(b"\n")
        return line + b"\n"


class Persona(Backend):
    """
    users: those who exist. tls: (certificate, key). traits: attributes of the class, for this server.
    """

    session_class = PersonaSession
    name = ""                       # the column of the matrix

    # traits
    checks = "rcpt"                 # where an unknown recipient is refused: at RCPT, at the end of the "data", or never (None)
    tarpit_s = 0                    # each 5xx comes so much later, or when relent() is called
    idle_s = total_s = None         # scaled by the tests, from minutes to parts of a second
    per_source = None               # sessions at once from one address
    size_max = None                 # octets
    offers_size = True              # with the number behind it
    error_limit = None              # so many errors, and the session ends
    errors = ()                     # codes that count as one
    tls_required = False
    tls_versions = (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3)
    tls_ciphers = None              # None: OpenSSL's
    mechanisms = mechanisms_tls = ()        # of AUTH, before and under TLS
    accounts = {}                   # user: password
    closed = False                  # 421 at the greeting
    turned_away = 0                 # sessions beyond per_source
    peak = 0                        # the most sessions at once from one address

    def __init__(self, users=None, tls=None, script=None, **traits):
        for trait, value in traits.items():
            assert hasattr(type(self), trait), trait
            setattr(self, trait, value)
        self.patience = threading.Event()
        super().__init__(script, keywords=(), users=users, tls=tls)
        if self.context:
            self.context.minimum_version, self.context.maximum_version = self.tls_versions
            if self.tls_ciphers:
                self.context.set_ciphers(self.tls_ciphers)

    def relent(self):
        """Who is in the tarpit hears it now."""
        self.patience.set()
        self.patience = threading.Event()

    # what it says: each persona has its own words

    def offers(self, s):
        """The lines of EHLO behind the first."""
        raise NotImplementedError

    def has(self, word):
        """Whether it offers that, in clear or under TLS."""
        lines = [line for tls in (False, True) for line in self.offers(type("S", (), {"tls": tls}))]
        return any(line.split(" ")[0] == word for line in lines)

    # the dialogue

    def _dialogue(self, s):
        s.server = self
        if self.closed:
            raise Hangup(self.CLOSED)
        with self.changed:
            now = sum(o.open and o.peer[0] == s.peer[0] for o in self.sessions)
        if self.per_source and now > self.per_source:
            self.turned_away += 1
            raise Hangup(self.TOO_MANY)
        self.peak = max(self.peak, now)
        super()._dialogue(s)

    def _reply(self, s, step, line, usual):
        """What is said, by the script or as usual; it may raise Hangup."""
        action = self.script.get(step)
        s.odd |= action is not None
        reply = action(s, line) if callable(action) else action
        return usual if reply is None else reply

    def _send(self, s, reply):
        if reply.startswith(b"5") and self.tarpit_s:
            self.patience.wait(self.tarpit_s)
        s.sock.sendall(reply)
        s.errors += reply[:3] in self.errors
        if self.error_limit and s.errors > self.error_limit:
            raise Hangup(self.TOO_MANY_ERRORS)

    def _say(self, s, step, line, usual):
        """Whether it was the usual, and good."""
        usual = self.GREETING if step == "CONNECT" else usual
        reply = self._reply(s, step, line, usual)
        self._send(s, reply)
        return reply == usual and reply[:1] in b"23"

    def _command(self, s, verb, line):
        if len(line.encode()) > self.line_max(verb):
            return self._say(s, "LONG", line, self.LINE_TOO_LONG) or True
        do = getattr(self, f"do_{verb.lower()}", None) if verb.isascii() and verb.isalpha() else None
        if not do:
            self._say(s, verb, line, self.UNKNOWN)
            return True
        if not s.hello and verb in ("MAIL", "RCPT", "DATA", "BDAT", "AUTH"):
            self._say(s, verb, line, self.HELLO_FIRST)
            return True
        return do(s, line) is not False

    @staticmethod
    def line_max(verb):
        """RFC 5321 4.5.3.1.4, with what the extensions in use add (RFC 1870, 3461, 6531); RFC 4954 4 for AUTH."""
        return 12288 if verb == "AUTH" else 512 + 1000

    def do_ehlo(self, s, line):
        if not line[5:].strip():
            return self._say(s, "EHLO", line, self.BAD_NAME)
        lines = [self.hello_line(s, line), *self.offers(s)]
        s.hello, s.mail, s.rcpts = True, None, []
        self._say(s, "EHLO", line, "".join(f"250{' ' if t is lines[-1] else '-'}{t}\r\n" for t in lines).encode())

    def do_helo(self, s, line):
        s.hello = True
        self._say(s, "HELO", line, f"250 {self.hello_line(s, line)}\r\n".encode())

    def do_starttls(self, s, line):
        if s.tls or not self.context:
            return self._say(s, "STARTTLS", line, self.UNKNOWN)
        if self._say(s, "STARTTLS", line, self.START_TLS):
            s.buffer = b""
            s.sock = self.context.wrap_socket(s.sock, server_side=True)
            s.version = s.sock.version()
            s.tls, s.hello, s.mail, s.rcpts = True, False, None, []

    def parameters(self, s, line):
        """Whether all behind the path was offered: a server that has not offered an extension does not know its parameters (RFC 5321 4.1.1.11)."""
        offered = {t.split(" ")[0] for t in self.offers(s)}
        for word in line.partition(">")[2].split():
            key, _, value = word.upper().partition("=")
            needs = {"SIZE": "SIZE", "SMTPUTF8": "SMTPUTF8", "RET": "DSN", "ENVID": "DSN", "NOTIFY": "DSN", "ORCPT": "DSN", "AUTH": "AUTH",
                     "BODY": "BINARYMIME" if value == "BINARYMIME" else "8BITMIME"}.get(key)
            if needs not in offered:
                return False
        return True

    def do_mail(self, s, line):
        if self.tls_required and not s.tls:
            return self._say(s, "MAIL", line, self.TLS_FIRST)
        if s.mail:
            return self._say(s, "MAIL", line, self.HAS_SENDER)
        if not line.upper().startswith("MAIL FROM:<") or not self.parameters(s, line) or (not line.isascii() and "SMTPUTF8" not in line):
            return self._say(s, "MAIL", line, self.BAD_ARGUMENT)
        size = line.upper().partition(" SIZE=")[2].split(" ")[0]
        if self.size_max and size and int(size) > self.size_max:
            return self._say(s, "MAIL", line, self.TOO_LARGE)
        if self._say(s, "MAIL", line, self.sender_ok(line)):
            s.mail, s.rcpts, s.chunks = line, [], None

    def knows(self, line):
        return self.users is None or line.partition("<")[2].partition(">")[0] in self.users

    def do_rcpt(self, s, line):
        if not s.mail:
            return self._say(s, "RCPT", line, self.MAIL_FIRST)
        if not line.upper().startswith("RCPT TO:<") or not self.parameters(s, line):
            return self._say(s, "RCPT", line, self.BAD_ARGUMENT)
        known = self.checks != "rcpt" or self.knows(line)
        if self._say(s, "RCPT", line, self.recipient_ok(line) if known else self.no_user(line)):
            s.rcpts.append(line)

    def do_data(self, s, line):
        if not s.rcpts or s.chunks is not None:
            return self._say(s, "DATA", line, self.RCPT_FIRST)
        if self._say(s, "DATA", line, self.GO_ON):
            data = s.read_message()
            self._end(s, ".", data, "DATA")

    def do_bdat(self, s, line):
        words = line.split()
        data = s.read(int(words[1]))
        if not self.has("CHUNKING"):
            return self._say(s, "BDAT", line, self.UNKNOWN)
        if not s.rcpts:
            return self._say(s, "BDAT", line, self.RCPT_FIRST)
        s.chunks = (s.chunks or b"") + data
        if words[-1].upper() != "LAST":
            return self._say(s, "CHUNK", line, self.chunk_ok(len(data)))
        self._end(s, "BDAT", s.chunks, "BDAT")

    def do_rset(self, s, line):
        s.mail, s.rcpts, s.chunks = None, [], None
        self._say(s, "RSET", line, self.RESET)

    def do_noop(self, s, line):
        self._say(s, "NOOP", line, self.NOOP)

    def do_quit(self, s, line):
        self._say(s, "QUIT", line, self.BYE)
        return False

    def do_auth(self, s, line):
        """LOGIN and PLAIN; others that it offers are for its own kind."""
        offered = self.mechanisms_tls if s.tls else self.mechanisms
        word, _, first = line[5:].strip().partition(" ")
        if word.upper() not in offered or word.upper() not in ("LOGIN", "PLAIN"):
            return self._say(s, "AUTH", line, self.NO_MECHANISM)

        def ask(challenge):
            s.sock.sendall(b"334 " + challenge + b"\r\n")
            return base64.b64decode(s.read()).decode()
        if word.upper() == "LOGIN":
            user = base64.b64decode(first).decode() if first else ask(base64.b64encode(b"Username:"))
            password = ask(base64.b64encode(b"Password:"))
        else:
            _, user, password = (base64.b64decode(first).decode() if first else ask(b"")).split("\0")
        good = self.accounts.get(user) == password
        if self._say(s, "AUTH", line, self.WELCOME if good else self.UNWELCOME):
            s.user = user

    def refused_at_the_end(self, s, data):
        if self.size_max and len(data) > self.size_max:
            return self.TOO_LARGE
        if self.checks == "data" and not all(self.knows(r) for r in s.rcpts):
            return self.no_user(s.rcpts[-1])
        return None

    def _end(self, s, step, data, how):
        message = Message(s, s.mail, s.rcpts, data)
        message.how, message.tls, message.user = how, s.tls, s.user
        no = self.refused_at_the_end(s, data)
        try:
            reply = self._reply(s, step, "", no or self.kept(message))
        except Hangup:
            self._keep(message)         # it dies here, and its answer is never heard
            raise
        if reply.startswith(b"2"):
            self._keep(message)
        self._send(s, reply)
        s.mail, s.rcpts, s.chunks = None, [], None

    def _keep(self, message):
        with self.changed:
            self.messages.append(message)
            self.changed.notify_all()
