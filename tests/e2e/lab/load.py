"""Mail that keeps coming while processes are killed."""
import operator
import threading
import time
import traceback

from .process import WAIT_S
from .smtp import Closed


class Load:
    """
    Senders as they are: what was not answered 250 comes again. deliver(name, k): the reply to the message of that name, by sender k; it may fail to
    get one. finish: at the end each goes on until its last message is taken.
    """

    def __init__(self, deliver, senders, finish=False):
        self.deliver, self.finish = deliver, finish
        self.acknowledged, self.tries, self.each_done = [], 0, [0] * senders
        self.changed, self.broken = threading.Condition(), []
        self.over = threading.Event()
        self.threads = [threading.Thread(target=self.sender, args=(k,), daemon=True) for k in range(senders)]

    def sender(self, k):
        try:
            self.send(k)
        except BaseException:
            with self.changed:
                self.broken.append(f"sender {k}: {traceback.format_exc()}")
                self.changed.notify_all()

    def send(self, k):
        i = 0
        while not self.over.is_set():
            i += 1
            name = f"m{k}-{i}"
            while not self.attempt(name, k) and (self.finish or not self.over.is_set()):
                time.sleep(0.01)

    def attempt(self, name, k):
        with self.changed:
            self.tries += 1
            self.changed.notify_all()
        try:
            reply = self.deliver(name, k)
        except (Closed, OSError):
            return False
        assert reply.code == 250 or reply.code // 100 == 4, reply
        if reply.code == 250:
            with self.changed:
                self.acknowledged.append(name)
                self.each_done[k] += 1
                self.changed.notify_all()
        return reply.code == 250

    def __enter__(self):
        for t in self.threads:
            t.start()
        return self

    def __exit__(self, kind, *_):
        self.over.set()
        for t in self.threads:
            t.join(WAIT_S)
        if kind is None:
            assert not self.broken, "\n".join(self.broken)
            assert not (self.finish and any(t.is_alive() for t in self.threads)), "the last messages are not taken"

    def wait(self, what, seconds):
        """Whether it has become true; a sender that has failed is told at once."""
        found = self.changed.wait_for(lambda: self.broken or what(), seconds)
        assert not self.broken, "\n".join(self.broken)
        return found

    def more(self, count):
        """Wait until so many more were acknowledged."""
        with self.changed:
            want = len(self.acknowledged) + count
            assert self.wait(lambda: len(self.acknowledged) >= want, WAIT_S), "the load stands still"

    def each(self, count=1):
        """Wait until so many more of each sender were."""
        with self.changed:
            want = [n + count for n in self.each_done]
            assert self.wait(lambda: all(map(operator.ge, self.each_done, want)), 2 * WAIT_S), (
                f"senders stand still: {[k for k, n in enumerate(want) if self.each_done[k] < n]}")

    def tried(self, count):
        """Wait until so many more attempts were made, whatever came of them."""
        with self.changed:
            want = self.tries + count
            assert self.wait(lambda: self.tries >= want, WAIT_S), "nobody tries any more"


def kill(g, name):
    """kill -9 of a child; returns when it is back."""
    g.kill_child(name)
    end = time.monotonic() + WAIT_S
    while name not in g.children():
        assert time.monotonic() < end, f"{name} does not come back"
        time.sleep(0.02)
