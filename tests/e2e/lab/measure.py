"""What a running gateway costs, and how long a well-behaved client takes: for tests of load."""
import json
import os
import pathlib
import re
import statistics
import time

from .smtp import Client, mail

NICE = -15              # of all that is measured: what else the machine has to do is not meant
RTT_S = 0.01            # the client is as far away: what it says takes so long to arrive and be answered


def preferred(*processes):
    """This process and its children to come, and these; what it was before."""
    was = os.getpriority(os.PRIO_PROCESS, 0)
    for pid in (0, *(p.pid for p in processes)):
        try:
            # Where sessions are groups for the scheduler the group's is what counts, and processes in it stay as they are to each other.
            if os.path.exists("/proc/self/autogroup"):
                pathlib.Path(f"/proc/{pid or 'self'}/autogroup").write_text(str(NICE))
            elif pid:
                os.setpriority(os.PRIO_PGRP, pid, NICE)
            else:
                os.setpriority(os.PRIO_PROCESS, 0, NICE)
        except OSError:
            pass
    return was


def tree(pid):
    """A process and all that it has started: {pid: name}."""
    parents, names = {}, {}
    for p in filter(str.isdigit, os.listdir("/proc")):
        try:
            stat = pathlib.Path(f"/proc/{p}/stat").read_text()
        except OSError:
            continue
        names[int(p)] = stat[stat.index("(") + 1:stat.rindex(")")]
        parents[int(p)] = int(stat.rpartition(")")[2].split()[1])
    found, more = {pid}, True
    while more:
        more = {p for p, q in parents.items() if q in found} - found
        found |= more
    return {p: names.get(p, "") for p in found}


def pss_kib(pid, what="Pss"):
    """0: it has ended meanwhile. Pss_Anon: without what is read from files."""
    try:
        text = pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text()
    except OSError:
        return 0
    return int(re.search(rf"^{what}:\s+(\d+) kB", text, re.M)[1])


def memory_mib(g, what="Pss"):
    """Of all processes of a gateway."""
    return sum(pss_kib(p, what) for p in tree(g.process.pid)) / 1024


def status(g):
    return json.loads(g.command("status", "-c", str(g.conf_path)).stdout)


class Good:
    """A mail server that behaves. Its messages and how long each took."""

    def __init__(self, port, source="127.0.0.25", sender="alice@good.example", to="bob@example.com", helo="mail.good.example"):
        self.port, self.source, self.sender, self.to, self.helo = port, source, sender, to, helo
        self.count, self.busy = 0, 0
        self.control = None     # the same at a gateway that nobody attacks

    def once(self, body="A line of ordinary text, of the length that lines have.\r\n" * 20):
        """Seconds from the connect to the answer to the message; None: it heard 421."""
        begin = time.monotonic()
        time.sleep(RTT_S)
        with Client(self.port, source=self.source, timeout=120) as c:
            if c.greeting.code == 421:
                self.busy += 1
                return None
            c.sock.settimeout(120)
            for word in (f"EHLO {self.helo}", f"MAIL FROM:<{self.sender}>", f"RCPT TO:<{self.to}>", "DATA"):
                time.sleep(RTT_S)
                reply = c.cmd(word)
                assert reply.code in (250, 354), (word, reply)
            time.sleep(RTT_S)
            self.count += 1
            c.send(mail(sender=self.sender, to=self.to, subject=f"good {self.count} {time.time()}", body=body) + b".\r\n")
            reply = c.reply()
            assert reply.code == 250, reply
            took = time.monotonic() - begin
            c.send(b"QUIT\r\n")
        return took

    def median(self, count=9):
        times = [t for t in (self.once() for _ in range(count)) if t is not None]
        assert len(times) * 2 > count, f"{self.busy} times 421"
        return statistics.median(times)


def compare(good, usual, tries=5, factor=2.0):
    """
    The median under attack is within `factor` of the usual one: (milliseconds, milliseconds). If it is not, something else may have the machine, or the
    attackers themselves, who would be on machines of their own: the usual time is taken again, at the same moment, at a gateway that nobody attacks.
    """
    found = []
    for _ in range(tries):
        found.append((usual * 1000, good.median() * 1000))
        if found[-1][1] > factor * found[-1][0] and good.control:
            found[-1] = (max(usual, good.control.median()) * 1000, found[-1][1])
        if found[-1][1] <= factor * found[-1][0]:
            return found[-1]
    raise AssertionError("usually, and under attack, ms: " + ", ".join(f"{u:.0f} {t:.0f}" for u, t in found))
