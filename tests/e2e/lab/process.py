"""A child process whose output lines can be waited for. Ends with its test, whatever happens."""
import contextlib
import fcntl
import itertools
import os
import pathlib
import random
import re
import signal
import socket
import subprocess
import threading
import time

WAIT_S = 60             # of what comes at once on a machine that is not busy
PIPE_BYTES = 1 << 20    # of output that is not read yet: a gateway drops lines rather than wait for who reads them


def ports():
    """
    Below those that the kernel gives to outgoing connections (ip_local_port_range). Each of the test runner's workers has a share of its own, and
    gives none twice soon: between the choice and the server's bind the other one, or the next server, would choose it, too.
    """
    count = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    mine = int(re.sub(r"\D", "", os.environ.get("PYTEST_XDIST_WORKER", "")) or 0)
    share = list(range(10000 + mine, 32000, count))
    start = random.randrange(len(share))
    return itertools.cycle(share[start:] + share[:start])


PORTS = ports()


def free_port():
    """A port that nobody has."""
    for _ in range(1000):
        port = next(PORTS)
        with socket.socket() as tcp, socket.socket(type=socket.SOCK_DGRAM) as udp:
            try:
                tcp.bind(("127.0.0.1", port))
                udp.bind(("127.0.0.1", port))       # for name servers: resolvers ask from any port there is
            except OSError:
                continue
            return port
    raise OSError("no port is free")


def wait_for_port(port, host="127.0.0.1", timeout=WAIT_S):
    """A server that offers no other sign is up when it accepts."""
    end = time.monotonic() + timeout
    while True:
        try:
            with socket.create_connection((host, port), timeout=5):
                return
        except OSError:
            if time.monotonic() > end:
                raise TimeoutError(f"nobody listens on {host}:{port}")
            time.sleep(0.02)


def members(group):
    """Processes of a group that have not ended: a zombie, which is for others to wait for, has."""
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return []
    out = []
    for stat in pathlib.Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            state, _, of = stat.read_text().rpartition(")")[2].split()[:3]
            if int(of) == group and state not in "ZX":
                out.append(int(stat.parent.name))
    return out


class Process:
    def __init__(self, argv, env=None, cwd=None, pass_fds=()):
        self.lines = []
        self.changed = threading.Condition()
        self.proc = subprocess.Popen(
            argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            env=env, cwd=cwd, pass_fds=pass_fds, start_new_session=True)
        with contextlib.suppress(OSError):
            fcntl.fcntl(self.proc.stdout, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    def _read(self):
        for raw in self.proc.stdout:
            with self.changed:
                self.lines.append(raw.decode("utf-8", "replace").rstrip("\n"))
                self.changed.notify_all()
        with self.changed:
            self.changed.notify_all()

    @property
    def pid(self):
        return self.proc.pid

    def mark(self):
        """A position in the output: wait_line(..., since=mark) sees only what comes after it."""
        with self.changed:
            return len(self.lines)

    def wait_line(self, pattern, since=0, timeout=WAIT_S):
        """The first line from `since` on in which the pattern is found; a regular expression."""
        rx = re.compile(pattern)
        end = time.monotonic() + timeout
        at = since
        with self.changed:
            while True:
                while at < len(self.lines):
                    if rx.search(self.lines[at]):
                        return self.lines[at]
                    at += 1
                left = end - time.monotonic()
                if left <= 0 or not self.reader.is_alive():
                    tail = "\n".join(self.lines[-40:])
                    raise AssertionError(f"no line matches {pattern!r}:\n{tail}")
                self.changed.wait(left)

    def output(self, since=0):
        with self.changed:
            return "\n".join(self.lines[since:])

    def send(self, number):
        self.proc.send_signal(number)

    def wait(self, timeout=WAIT_S):
        rc = self.proc.wait(timeout)
        self.reader.join(timeout)
        return rc

    def stop(self, number=signal.SIGTERM, timeout=WAIT_S):
        """End it and everything in its process group; returns its exit status."""
        if self.proc.poll() is None:
            self.proc.send_signal(number)
            try:
                self.proc.wait(timeout)
            except subprocess.TimeoutExpired:
                self.kill()
        self.kill()
        self.reader.join(5)
        return self.proc.returncode

    def kill(self):
        """
        The whole group; what listened somewhere does not when this returns. Of a process that has been waited for the number may be another's by now,
        unless what is left of its group keeps it.
        """
        if self.proc.returncode is None or not os.path.exists(f"/proc/{self.proc.pid}"):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.proc.pid, signal.SIGKILL)
            self.proc.wait()
            end = time.monotonic() + WAIT_S
            while members(self.proc.pid) and time.monotonic() < end:
                time.sleep(0.005)
