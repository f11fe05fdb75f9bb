"""Mail that keeps coming while processes are killed."""
import threading
import time

from .process import WAIT_S
from .smtp import Closed


class Load:
    """
    Senders as they are: what was not answered 250 comes again. deliver(name, k): the reply to the message of that name, by sender k; it may fail to
    get one.
    """

    def __init__(self, deliver, senders):
        self.deliver = deliver
        self.acknowledged, self.tries = [], 0
        self.changed = threading.Condition()
        self.over = threading.Event()
        self.threads = [threading.Thread(target=self.sender, args=(k,), daemon=True) for k in range(senders)]

    def sender(self, k):
        i = 0
        while not self.over.is_set():
            i += 1
            name = f"m{k}-{i}"
            while not self.attempt(name, k) and not self.over.is_set():
                time.sleep(0.01)

    def attempt(self, name, k):
        self.tries += 1
        try:
            reply = self.deliver(name, k)
        except (Closed, OSError):
            return False
        assert reply.code == 250 or reply.code // 100 == 4, reply
        if reply.code == 250:
            with self.changed:
                self.acknowledged.append(name)
                self.changed.notify_all()
        return reply.code == 250

    def __enter__(self):
        for t in self.threads:
            t.start()
        return self

    def __exit__(self, *_):
        self.over.set()
        for t in self.threads:
            t.join(WAIT_S)

    def more(self, count):
        """Wait until so many more were acknowledged."""
        with self.changed:
            want = len(self.acknowledged) + count
            assert self.changed.wait_for(lambda: len(self.acknowledged) >= want, WAIT_S), "the load stands still"


def kill(g, name):
    """kill -9 of a child; returns when it is back."""
    g.kill_child(name)
    end = time.monotonic() + WAIT_S
    while name not in g.children():
        assert time.monotonic() < end, f"{name} does not come back"
        time.sleep(0.02)
