"""
The books of a test that breaks things while mail flows: what was sent, what the gateway said of it, and what is where in the end.

    books = Accounts()
    entry = books.write(sender, rcpts, size=2000)          # entry.data is the message, with an id of its own
    books.answer(entry, {rcpt: 250})                       # once for each attempt that reached the end of the message
    balance = books.balance({"server": maildir(...), "quarantine": quarantine(...)})
    print(balance); balance.check()

An answer is a code, or UNKNOWN: the line broke behind the message, before the answer. A message is found by its first field, and is whole when
everything from there on has the hash of what was sent: what servers put above it does not matter, nor which line ends they keep.

lost: answered 250, and not there. damaged: not as it was sent. duplicates: there more than once; of these, unexplained: more often than it was sent in
attempts that may have delivered it (RFC 1047) and faults explain: hop by hop, whoever does not hear the answer delivers again. ghosts: refused for good
each time, and there all the same.
"""
import collections
import hashlib
import json
import random
import re
import threading

UNKNOWN = 0
MARK = re.compile(rb"^X-Account: (\S+)\n", re.M)


def plain(data):
    """With the line ends of a mailbox."""
    return data.replace(b"\r\n", b"\n")


def digest(data):
    return hashlib.sha256(plain(data)).hexdigest()


class Entry:
    """One message, for all its recipients; counters: of answers to each of them."""

    def __init__(self, id, sender, rcpts, data):
        self.id, self.sender, self.rcpts, self.data = id, sender, list(rcpts), data
        self.digest = digest(data)
        self.taken, self.deferred, self.refused, self.unknown = (collections.Counter() for _ in range(4))
        self.early, self.short = collections.Counter(), collections.Counter()      # before the end of the message: 4xx, no answer

    def again(self, rcpt):
        """In how many attempts that were not answered 250 it may have been delivered: of the server behind nobody knows more than 451 says."""
        return self.deferred[rcpt] + self.unknown[rcpt]

    def left(self):
        """Those whose server has not said the last word."""
        return [r for r in self.rcpts if not self.taken[r] and not self.refused[r]]


class Found:
    """One copy, at one place. rcpts None: for all that it was written to."""

    def __init__(self, data, rcpts=None):
        self.data, self.rcpts = plain(data), rcpts


class Balance:
    def __init__(self):
        self.sent = self.recipients = self.attempts = self.acknowledged = self.refused = self.open = self.duplicates = 0
        self.answers, self.places = collections.Counter(), collections.Counter()
        self.lost, self.damaged, self.unexplained, self.ghosts, self.strangers = [], [], [], [], []

    def __str__(self):
        answers = ", ".join(f"{self.answers[k]} {k}" for k in ("250", "4xx", "5xx", "unknown", "broken off"))
        places = ", ".join(f"{n} {p}" for p, n in sorted(self.places.items())) or "nothing anywhere"
        return (f"{self.sent} messages to {self.recipients} recipients, answers: {answers}; in the end {self.acknowledged} taken, {self.refused} refused, "
                f"{self.open} open; found: {places}; lost {len(self.lost)}, damaged {len(self.damaged)}, duplicates {self.duplicates} "
                f"(unexplained {len(self.unexplained)}), ghosts {len(self.ghosts)}, strangers {len(self.strangers)}")

    def check(self, unexplained=True):
        assert not self.lost, f"lost: {self.lost[:20]}"
        assert not self.damaged, f"damaged: {self.damaged[:20]}"
        assert not self.ghosts, f"refused, and delivered: {self.ghosts[:20]}"
        assert not self.strangers, f"nobody sent this: {self.strangers[:3]}"
        assert not (unexplained and self.unexplained), f"duplicates without a reason: {self.unexplained[:20]}"


class Accounts:
    def __init__(self, seed=1):
        self.chance = random.Random(seed)
        self.entries = {}
        self.attempts = 0
        self.lock = threading.Lock()

    def write(self, sender, rcpts, size=1000, subject="accounts", end="The end.\r\n"):
        """A new message: about so many bytes of lines that are all different, some beginning with dots."""
        with self.lock:
            id = f"{len(self.entries):06}-{self.chance.getrandbits(32):08x}"
            salt = self.chance.getrandbits(64)
            self.entries[id] = None
        first = (f"X-Account: {id}\r\nFrom: {sender}\r\nTo: {', '.join(rcpts)}\r\nSubject: {subject}\r\nDate: Sun, 22 Nov 2026 10:00:00 +0000\r\n"
                 f"Message-ID: <{id}@accounts.example>\r\n\r\n")
        lines = [f"{'.' * (n % 3)}{salt:016x} {n:07} line of {id}\r\n" for n in range(max(0, size - len(first)) // (36 + len(id)) + 1)]
        entry = Entry(id, sender, rcpts, (first + "".join(lines) + end).encode())
        with self.lock:
            self.entries[id] = entry
        return entry

    def answer(self, entry, answers):
        """What was said of each recipient at the end of an attempt: {recipient: code or UNKNOWN}."""
        with self.lock:
            self.attempts += 1
            for rcpt, code in answers.items():
                {2: entry.taken, 4: entry.deferred, 5: entry.refused, UNKNOWN: entry.unknown}[code // 100][rcpt] += 1

    def refuse(self, entry, rcpt, code):
        """Said at MAIL or RCPT, or nothing (UNKNOWN) before the end of the message was sent: nobody can have it from this attempt."""
        with self.lock:
            {4: entry.early, 5: entry.refused, UNKNOWN: entry.short}[code // 100][rcpt] += 1

    def find(self, data):
        """(entry or None, whether it is whole) of a copy with plain line ends."""
        mark = MARK.search(data)
        entry = self.entries.get(mark[1].decode("ascii", "replace")) if mark else None
        return entry, entry is not None and digest(data[mark.start():]) == entry.digest

    def balance(self, places, excused=0):
        """places: {name: copies}; excused: so many copies more of any message are explained, by what is known of the servers behind."""
        b, copies = Balance(), collections.Counter()
        for name, found in places.items():
            for copy in found:
                entry, whole = self.find(copy.data)
                b.places[name] += 1
                if entry is None:
                    b.strangers.append((name, copy.data[:400]))
                elif not whole:
                    b.damaged.append((name, entry.id))
                else:
                    copies.update((entry.id, r) for r in copy.rcpts or entry.rcpts)
        b.attempts = self.attempts
        for e in filter(None, self.entries.values()):
            b.sent += 1
            for r in e.rcpts:
                there = copies[e.id, r]
                b.recipients += 1
                b.answers.update({"250": e.taken[r], "4xx": e.deferred[r] + e.early[r], "5xx": e.refused[r], "unknown": e.unknown[r], "broken off": e.short[r]})
                b.acknowledged += e.taken[r] > 0
                b.refused += e.refused[r] > 0 and not e.taken[r]
                b.open += not e.taken[r] and not e.refused[r]
                b.duplicates += max(0, there - 1)
                if e.taken[r] and not there:
                    b.lost.append((e.id, r))
                if there > max(1, e.taken[r] + e.again(r)) + excused:
                    b.unexplained.append((e.id, r, there))
                if there and not e.taken[r] and not e.again(r):
                    b.ghosts.append((e.id, r))
        return b


# Where mail lies in the end.

def maildir(path, rcpt):
    """A mailbox of Postfix's."""
    new = path / "new"
    return [Found(p.read_bytes(), [rcpt]) for p in sorted(new.iterdir())] if new.is_dir() else []


def mailboxes(postfix, addresses):
    return [copy for a in addresses for copy in maildir(postfix.mail / a.split("@")[1] / a.split("@")[0], a)]


def taken_by(server):
    """By a scripted server of backend.py."""
    return [Found(m.data, m.to) for m in server.messages]


def quarantine(directory):
    """A message is there if its record is."""
    out = []
    for p in sorted(directory.rglob("*.eml")):
        record = p.with_suffix(".json")
        if record.exists():
            out.append(Found(p.read_bytes(), [r["address"] for r in json.loads(record.read_text())["envelope"]["rcpt"]]))
    return out


def spool(directory):
    """What is still to be delivered, to those who wait for it."""
    out = []
    for record in sorted(directory.glob("*.json")):
        waiting = [r["address"] for r in json.loads(record.read_text())["rcpt"] if r.get("state", "waiting") == "waiting"]
        out.append(Found(record.with_suffix(".eml").read_bytes(), waiting))
    return out
