"""Clients of IMAP and POP3 that say exactly what they are told, octet for octet, and keep all that they hear."""
import base64
import re
import socket
import zlib

from .process import WAIT_S
from .smtp import insecure


class Closed(Exception):
    """The other side has ended the connection; what was left unread."""


class Wire:
    """tls: from the first octet. heard: all octets received, as they were before TLS and DEFLATE; at: how far of them was read."""

    def __init__(self, port, tls=False, host="127.0.0.1", source="127.0.0.1", timeout=WAIT_S, first=b"", server_name=None):
        self.source = source
        self.sock = socket.create_connection((host, port), timeout=timeout, source_address=(source, 0))
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.heard, self.at = bytearray(), 0
        self.inflate = self.deflate = None
        if first:
            self.sock.sendall(first)
        if tls:
            self.tls(server_name=server_name)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.sock.close()

    def close(self):
        self.sock.close()

    def tls(self, context=None, server_name=None):
        assert self.at == len(self.heard), f"behind the word for TLS: {bytes(self.heard[self.at:])!r}"
        self.sock = (context or insecure()).wrap_socket(self.sock, server_hostname=server_name)

    def compress(self):
        """RFC 4978: from here on both ways."""
        rest = bytes(self.heard[self.at:])
        del self.heard[self.at:]
        self.inflate = zlib.decompressobj(-15)
        self.deflate = zlib.compressobj(wbits=-15)
        self.heard += self.inflate.decompress(rest)

    def send(self, data):
        if self.deflate:
            data = self.deflate.compress(data) + self.deflate.flush(zlib.Z_SYNC_FLUSH)
        self.sock.sendall(data)

    def more(self):
        """False at the end of the connection."""
        try:
            data = self.sock.recv(262144)
        except ConnectionResetError:
            return False
        if self.inflate:
            plain = self.inflate.decompress(data)
            self.heard += plain
        else:
            self.heard += data
        return bool(data)

    def line(self):
        """One line, its end included."""
        seen = self.at
        while (end := self.heard.find(b"\n", seen)) < 0:
            seen = len(self.heard)
            if not self.more():
                raise Closed(bytes(self.heard[self.at:]))
        line = bytes(self.heard[self.at:end + 1])
        self.at = end + 1
        assert line.endswith(b"\r\n"), f"bare LF: {line[-200:]!r}"
        return line

    def read(self, count):
        while len(self.heard) < self.at + count:
            if not self.more():
                raise Closed(bytes(self.heard[self.at:]))
        self.at += count
        return bytes(self.heard[self.at - count:self.at])

    def rest(self):
        """Everything up to the end of the connection."""
        while self.more():
            pass
        out = bytes(self.heard[self.at:])
        self.at = len(self.heard)
        return out

    def half_close(self):
        self.sock.shutdown(socket.SHUT_WR)

    def sasl(self, words, steps, initial):
        """As authenticate(), but for the answer to the last step. The answer that came instead of a challenge, or None."""
        steps = list(steps)
        if initial:
            words += b" " + (b64(steps.pop(0)(b"")) or b"=")
        self.send(words + b"\r\n")
        for step in steps:
            answer = self.line()
            if not answer.startswith(b"+") or answer.startswith(b"+OK"):
                return answer
            self.send(b64(step(unb64(answer[2:]))) + b"\r\n")
        return None


class Imap(Wire):
    def __init__(self, port, tls=False, **kw):
        super().__init__(port, tls, **kw)
        self.greeting = self.line()

    def response(self):
        """One response, with its literals."""
        out = self.line()
        while m := re.search(rb"\{(\d+)\}\r\n\Z", out):
            out += self.read(int(m[1]))
            out += self.line()
        return out

    def until(self, tag):
        """All responses up to the one with this tag (or `+`), as one."""
        tag = tag.encode() if isinstance(tag, str) else tag
        out = []
        while not out or not out[-1].startswith(tag + b" "):
            out.append(self.response())
        return b"".join(out)

    def cmd(self, *pieces):
        """A command, up to its tagged response; behind each piece but the last the server has to say +. A piece may be a function of what + said."""
        tag = pieces[0].split(b" ", 1)[0]
        answer = b""
        for i, piece in enumerate(pieces):
            self.send(piece(answer) if callable(piece) else piece + b"\r\n")
            if i + 1 < len(pieces):
                answer = self.response()
                if answer.startswith(tag + b" "):
                    return answer
                assert answer.startswith(b"+"), answer
        return self.until(tag)

    def ok(self, *pieces):
        out = self.cmd(*pieces)
        last = out[out.rfind(b"\r\n", 0, -2) + 2 if b"\r\n" in out[:-2] else 0:]
        assert re.match(rb"\S+ OK", last), last[:300]
        return out

    def starttls(self, **kw):
        self.ok(b"tls STARTTLS")
        self.tls(**kw)

    def authenticate(self, tag, mechanism, steps, initial=False):
        """steps: functions of the server's words (octets, decoded from base64) to the client's."""
        return self.sasl(tag + b" AUTHENTICATE " + mechanism.encode(), steps, initial) or self.until(tag)


class Pop3(Wire):
    def __init__(self, port, tls=False, **kw):
        super().__init__(port, tls, **kw)
        self.greeting = self.line()

    def cmd(self, command, lines=False):
        """A command and its answer; lines: that goes on up to the line with a dot."""
        self.send(command + b"\r\n")
        return self.answer(lines)

    def answer(self, lines=False):
        out = self.line()
        if lines and out.startswith(b"+OK"):
            many = [out]
            while many[-1] != b".\r\n":
                many.append(self.line())
            out = b"".join(many)
        return out

    def ok(self, command, lines=False):
        out = self.cmd(command, lines)
        assert out.startswith(b"+OK"), out
        return out

    def starttls(self, **kw):
        self.ok(b"STLS")
        self.tls(**kw)

    def authenticate(self, mechanism, steps, initial=False):
        return self.sasl(b"AUTH " + mechanism.encode(), steps, initial) or self.line()


def b64(octets):
    return base64.b64encode(octets)


def unb64(octets):
    return base64.b64decode(octets)
