"""A mail server that keeps the exact octets of what it is sent: commands, DATA as it came over the wire, BDAT chunks."""
import re
import socket
import threading

from .process import WAIT_S, free_port


class Taken:
    """One message: MAIL and RCPT as they came; wire: the octets of DATA without its last ".", or of all chunks; how: DATA or BDAT."""

    def __init__(self, mail, rcpts, how, wire):
        self.mail, self.rcpts, self.how, self.wire = mail, rcpts, how, wire

    @property
    def octets(self):
        """The message: dots unstuffed."""
        if self.how == "BDAT":
            return self.wire
        return re.sub(rb"(^|\r\n)\.", rb"\1", self.wire)

    def _split(self):
        octets = self.octets
        ours = re.search(rb"\r\n\tby gate\.example \(Gatepost\)[^\r]*(\r\n[ \t][^\r]*)*\r\n", octets)
        assert ours, octets[:2000]
        return octets[:ours.end()], octets[ours.end():]

    @property
    def added(self):
        """The header fields that the gateway put above, unfolded, in order."""
        return unfold(self._split()[0])

    @property
    def original(self):
        """What the client sent: all below the one Received field of ours."""
        return self._split()[1]


def unfold(head):
    return re.sub(rb"\r\n[ \t]+", b" ", head).decode("utf-8", "surrogateescape").split("\r\n")[:-1]


class Recorder:
    """keywords: what EHLO offers; dot: the reply to the message."""

    def __init__(self, keywords=("SIZE 104857600", "8BITMIME", "SMTPUTF8", "DSN", "CHUNKING"), dot="250 2.0.0 kept"):
        self.keywords, self.dot = keywords, dot
        self.taken, self.commands = [], []
        self.sessions = 0               # open now
        self.changed = threading.Condition()
        self.port = free_port()
        self.listener = socket.create_server(("127.0.0.1", self.port), backlog=2000)
        self.socks = set()
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()

    def stop(self):
        self.listener.shutdown(socket.SHUT_RDWR)        # who waits in accept() would take one more
        self.listener.close()
        for sock in list(self.socks):
            try:
                sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def wait(self, count=1, timeout=WAIT_S):
        """The message number `count`, from 1."""
        with self.changed:
            assert self.changed.wait_for(lambda: len(self.taken) >= count, timeout), f"{len(self.taken)} messages, expected {count}"
            return self.taken[count - 1]

    def empty(self):
        with self.changed:
            self.taken.clear()
            self.commands.clear()

    def _accept(self):
        while True:
            try:
                sock, _ = self.listener.accept()
            except OSError:
                return
            self.socks.add(sock)
            threading.Thread(target=self._session, args=(sock,), daemon=True).start()

    def _session(self, sock):
        with self.changed:
            self.sessions += 1
        try:
            self._talk(sock, sock.makefile("rb"))
        except OSError:
            pass
        finally:
            with self.changed:
                self.sessions -= 1
                self.changed.notify_all()
            self.socks.discard(sock)
            sock.close()

    def _talk(self, sock, f):
        def say(text):
            sock.sendall(text.encode() + b"\r\n")

        say("220 recorder ESMTP")
        mail, rcpts, chunks = None, [], []
        while line := f.readline():
            with self.changed:
                self.commands.append(line)
            verb = line[:4].upper().strip()
            if verb == b"EHLO":
                say("\r\n".join(["250-recorder"] + [f"250-{k}" for k in self.keywords] + ["250 ENHANCEDSTATUSCODES"]))
            elif verb == b"MAIL":
                mail, rcpts, chunks = line, [], []
                say("250 2.1.0 ok")
            elif verb == b"RCPT":
                rcpts.append(line)
                say("250 2.1.5 ok")
            elif verb == b"DATA":
                say("354 go on")
                wire = []
                while (data := f.readline()) and not (data == b".\r\n" and (not wire or wire[-1].endswith(b"\r\n"))):
                    wire.append(data)
                if not data:
                    return
                self._keep(Taken(mail, rcpts, "DATA", b"".join(wire)))
                say(self.dot)
            elif verb == b"BDAT":
                words = line.split()
                data = f.read(int(words[1]))
                if len(data) < int(words[1]):
                    return
                chunks.append(data)
                if words[-1].upper() == b"LAST":
                    self._keep(Taken(mail, rcpts, "BDAT", b"".join(chunks)))
                    say(self.dot)
                else:
                    say("250 2.0.0 go on")
            elif verb == b"QUIT":
                say("221 2.0.0 bye")
                return
            elif verb in (b"RSET", b"NOOP"):
                say("250 2.0.0 ok")
            else:
                say("500 5.5.1 what?")

    def _keep(self, taken):
        with self.changed:
            self.taken.append(taken)
            self.changed.notify_all()
