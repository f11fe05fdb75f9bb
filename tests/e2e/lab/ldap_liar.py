"""A directory that says what it is told to: what no slapd does. LDAP (RFC 4511) as far as that takes."""
import socket
import threading

from .process import free_port


def tlv(tag, *parts):
    body = b"".join(parts)
    n = len(body)
    length = bytes([n]) if n < 128 else bytes([0x80 | (n.bit_length() + 7) // 8]) + n.to_bytes((n.bit_length() + 7) // 8, "big")
    return bytes([tag]) + length + body


def text(s, tag=4):
    return tlv(tag, s if isinstance(s, bytes) else s.encode())


def result(tag, code=0, said="", more=b""):
    return tlv(tag, tlv(10, bytes([code])), text(""), text(said), more)


def entry(dn, **attributes):
    """A SearchResultEntry; {"proxyAddresses;range=0-1": [...]} where a name is no word."""
    return tlv(0x64, text(dn), tlv(0x30, *(tlv(0x30, text(k), tlv(0x31, *(text(v) for v in vs))) for k, vs in attributes.items())))


DONE = result(0x65)


class Request:
    """id, tag of the operation, its octets; base and what is asked for, of a search."""

    def __init__(self, raw):
        at = self._head(raw, 0)[1]
        _, at, n = self._head(raw, at)
        self.id = int.from_bytes(raw[at:at + n], "big")
        self.tag, at, n = self._head(raw, at + n)
        self.body = raw[at:at + n]
        self.body_and_controls = raw[at:]

    @staticmethod
    def _head(raw, at):
        tag, n, at = raw[at], raw[at + 1], at + 2
        if n & 0x80:
            size, n = n & 0x7f, int.from_bytes(raw[at:at + (n & 0x7f)], "big")
            at += size
        return tag, at, n


class Liar:
    """answer(request) of a search: a list of operations, pairs of one and its controls, or whole messages (bytearray), that are sent, or octets that are sent as they are and are the end; None: silence."""

    def __init__(self, answer):
        self.answer = answer
        self.port = free_port()
        self.listener = socket.create_server(("127.0.0.1", self.port))
        self.searches = 0
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.listener.shutdown(socket.SHUT_RDWR)        # who waits in accept() would take one more
        self.listener.close()

    def url(self):
        return f"ldap://127.0.0.1:{self.port}"

    def _accept(self):
        while True:
            try:
                sock, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self._talk, args=(sock,), daemon=True).start()

    def _talk(self, sock):
        with sock:
            try:
                while (r := self._read(sock)) and self._serve(sock, r):
                    pass
            except OSError:
                pass

    @staticmethod
    def _read(sock):
        head = sock.recv(2, socket.MSG_WAITALL)
        if len(head) < 2:
            return None
        n = head[1]
        if n & 0x80:
            more = sock.recv(n & 0x7f, socket.MSG_WAITALL)
            head, n = head + more, int.from_bytes(more, "big")
        return Request(head + sock.recv(n, socket.MSG_WAITALL))

    def _serve(self, sock, r):
        if r.tag == 0x60:               # bind
            out = [result(0x61)]
        elif r.tag == 0x63:             # search
            self.searches += 1
            out = self.answer(r)
        else:
            return r.tag != 0x42        # unbind
        if isinstance(out, bytes):
            sock.sendall(out)
            return False
        for op in out or []:
            if isinstance(op, bytearray):
                sock.sendall(op)
                continue
            op, controls = op if isinstance(op, tuple) else (op, b"")
            sock.sendall(tlv(0x30, tlv(2, bytes([r.id])), op, controls))
        return True
