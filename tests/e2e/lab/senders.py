"""Mail servers and users that send to a gateway and keep books of it (accounts.py): what was not taken comes again, to those who do not have it yet."""
import base64

from .accounts import UNKNOWN
from .smtp import Client, Closed

BROKEN = (Closed, OSError, ValueError)          # ValueError: an answer cut in the middle of its code


class Attempt:
    """One transaction of an entry, for those recipients that are left. After it the books are right, whatever has happened."""

    def __init__(self, books, entry):
        self.books, self.entry = books, entry
        self.inside = []        # recipients that this transaction is for
        self.sent = False       # all of the message: from now on somebody may have it
        self.words = []         # what was said that was not to its liking

    def run(self, c, bdat=0, prdr=False):
        try:
            self.envelope(c, " PRDR" if prdr else "")
            if self.inside:
                self.body(c, bdat, prdr)
        except BROKEN:
            self.all(UNKNOWN)
            raise

    def all(self, code, words="the line broke"):
        """One answer for all that have none yet."""
        if code != 250:
            self.words.append(words)
        if self.sent:
            self.books.answer(self.entry, dict.fromkeys(self.inside, code))
        else:
            for r in self.inside:
                self.books.refuse(self.entry, r, code)
        self.inside = []

    def envelope(self, c, params):
        rcpts = self.entry.left()
        reply = c.cmd(f"MAIL FROM:<{self.entry.sender}>{params}")
        if reply.code != 250:
            self.inside = rcpts
            self.all(reply.code, reply)
            return
        for r in rcpts:
            reply = c.cmd(f"RCPT TO:<{r}>")
            if reply.code == 250:
                self.inside.append(r)
            else:
                self.words.append(reply)
                self.books.refuse(self.entry, r, reply.code)

    def body(self, c, bdat, prdr):
        if bdat:
            chunks = [self.entry.data[n:n + bdat] for n in range(0, len(self.entry.data), bdat)]
            for chunk in chunks[:-1]:
                c.send(b"BDAT %d\r\n" % len(chunk) + chunk)
                if (reply := c.reply()).code != 250:
                    self.all(reply.code, reply)
                    return
            self.sent = True
            c.send(b"BDAT %d LAST\r\n" % len(chunks[-1]) + chunks[-1])
        else:
            reply = c.cmd("DATA")
            if reply.code != 354:
                self.all(reply.code, reply)
                return
            self.sent = True
            c.send(self.entry.data.replace(b"\r\n.", b"\r\n..") + b".\r\n")
        reply = c.reply()
        if reply.code == 353:
            for r in list(self.inside):
                self.books.answer(self.entry, {r: c.reply().code})
                self.inside.remove(r)
            c.reply()
        else:
            self.all(reply.code, reply)


class Done:
    """For load.py."""

    def __init__(self, entry):
        self.code = 451 if entry.left() else 250


class Sender:
    """How one kind of client speaks. write(books): its next message."""

    def __init__(self, port, write, source="127.0.0.1", tls=False, bdat=0, prdr=False, login=None):
        self.port, self.write, self.source, self.tls, self.bdat, self.prdr, self.login = port, write, source, tls, bdat, prdr, login

    def attempt(self, books, entry):
        """words: of what has gone wrong in the last one, for whoever wonders why it does not get on."""
        self.words = ["the connection, or the way to MAIL"]
        with Client(self.port, source=self.source) as c:
            if c.greeting.code != 220:
                return
            c.cmd("EHLO client.example")
            if self.tls:
                if c.cmd("STARTTLS").code != 220:
                    return
                c.wrap()
                c.cmd("EHLO client.example")
            if self.login and c.cmd("AUTH PLAIN " + base64.b64encode(f"\0{self.login[0]}\0{self.login[1]}".encode()).decode()).code != 235:
                return
            one = Attempt(books, entry)
            self.words = one.words
            one.run(c, self.bdat, self.prdr)
            c.cmd("QUIT")


def deliver(books, senders):
    """deliver(name, k) for load.Load: message `name` by the k-th of the senders."""
    entries = {}

    def attempt(name, k):
        entry = entries.get(name)
        if entry is None:
            entry = entries[name] = senders[k].write(books)
        try:
            senders[k].attempt(books, entry)
        except BROKEN:
            pass
        done = Done(entry)
        if done.code == 250:
            entry.data = None           # its hash is enough from now on
        return done

    return attempt
