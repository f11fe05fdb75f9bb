"""An SMTP client that says exactly what it is told, octet for octet."""
import socket
import ssl
import time


class Reply:
    def __init__(self, lines):
        self.lines = lines
        self.code = int(lines[0][:3])

    @property
    def text(self):
        return "\n".join(line[4:] for line in self.lines)

    def __repr__(self):
        return " / ".join(self.lines)

    def keywords(self):
        return {line[4:].split(" ")[0].upper(): line[4:].partition(" ")[2] for line in self.lines[1:]}


class Closed(Exception):
    pass


class Client:
    def __init__(self, port, source="127.0.0.1", host="127.0.0.1", timeout=60, greeting=True, source_port=0):
        self.sock = socket.create_connection((host, port), timeout=timeout, source_address=(source, source_port))
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.data = b""
        self.greeting = self.reply() if greeting else None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.sock.close()

    def send(self, raw):
        self.sock.sendall(raw)

    def line(self):
        while b"\n" not in self.data:
            try:
                more = self.sock.recv(65536)
            except ConnectionResetError:
                more = b""
            if not more:
                raise Closed(self.data)
            self.data += more
        line, self.data = self.data.split(b"\n", 1)
        assert line.endswith(b"\r"), f"bare LF in a reply: {line!r}"
        return line[:-1].decode("ascii")

    def reply(self):
        lines = [self.line()]
        while lines[-1][3:4] == "-":
            lines.append(self.line())
        assert len({line[:3] for line in lines}) == 1, lines
        return Reply(lines)

    def cmd(self, text):
        """One command, one reply."""
        self.send((text.encode() if isinstance(text, str) else text) + b"\r\n")
        return self.reply()

    def expect(self, text, code):
        reply = self.cmd(text)
        assert reply.code == code, f"{text!r}: {reply!r}, expected {code}"
        return reply

    def ehlo(self, name="client.example"):
        return self.expect(f"EHLO {name}", 250)

    def etrn(self, name, seconds=30):
        """ETRN of something that waits: 253, at the latest when what is being tried just now is given back."""
        end = time.monotonic() + seconds
        while (reply := self.cmd(f"ETRN {name}")).code == 251:
            assert time.monotonic() < end, reply
            time.sleep(0.05)
        assert reply.code == 253, reply
        return reply

    def starttls(self, context=None):
        self.expect("STARTTLS", 220)
        self.wrap(context)

    def wrap(self, context=None):
        """TLS from here on."""
        context = context or insecure()
        self.sock = context.wrap_socket(self.sock, server_hostname="gate.example")
        self.data = b""

    def closed(self):
        """Whether the server has ended the connection (waits for it)."""
        try:
            while True:
                more = self.sock.recv(65536)
                if not more:
                    return True
                self.data += more
        except ConnectionResetError:
            return True

    def envelope(self, sender, *rcpts):
        self.expect(f"MAIL FROM:<{sender}>", 250)
        return [self.cmd(f"RCPT TO:<{r}>") for r in rcpts]

    def data_block(self, message):
        """DATA with dots stuffed; the reply to the final dot."""
        self.expect("DATA", 354)
        return self.text(message)

    def text(self, message):
        """After 354."""
        stuffed = message.replace(b"\r\n.", b"\r\n..")
        if stuffed.startswith(b"."):
            stuffed = b"." + stuffed
        if not stuffed.endswith(b"\r\n"):
            stuffed += b"\r\n"
        self.send(stuffed + b".\r\n")
        return self.reply()

    def message(self, sender, rcpts, message, helo="client.example"):
        """A whole transaction: the reply that decided, be it to EHLO, MAIL, the first RCPT if none was taken, DATA, or the message."""
        for text, code in ((f"EHLO {helo}", 250), (f"MAIL FROM:<{sender}>", 250)):
            if (reply := self.cmd(text)).code != code:
                return reply
        replies = [self.cmd(f"RCPT TO:<{r}>") for r in ([rcpts] if isinstance(rcpts, str) else rcpts)]
        if not any(r.code == 250 for r in replies):
            return replies[0]
        if (reply := self.cmd("DATA")).code != 354:
            return reply
        return self.text(message)


def insecure():
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def mail(sender="alice@sender.example", to="bob@example.com", subject="hello", body="A line.\r\n", extra=""):
    """A plain message, CRLF."""
    return (f"From: {sender}\r\nTo: {to}\r\nSubject: {subject}\r\nDate: Sun, 22 Nov 2026 10:00:00 +0000\r\n"
            f"Message-ID: <{subject.replace(' ', '.')}@{sender.split('@')[-1]}>\r\n{extra}\r\n{body}").encode()
