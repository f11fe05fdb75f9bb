"""
Three hosts by network namespaces: the outside world, the gateway between, the server behind it.

    world 203.0.113.0/24, 2001:db8:c::/64  --  gateway  --  198.51.100.0/24, 2001:db8:5::/64  server

The gateway forwards; the default routes of both others lead through it. The world has several addresses, for several clients and for a
mail server far away. Needs root. Everything is removed at the end, whatever happens, with all that still runs inside.
"""
import ctypes
import itertools
import os
import signal
import subprocess
import threading
import time

import pytest

from .process import WAIT_S, Process, wait_for_port

CLONE_NEWNET = 0x40000000

CLIENT, CLIENT2, INTERNET, GATEWAY_OUTSIDE = "203.0.113.7", "203.0.113.8", "203.0.113.80", "203.0.113.1"
CLIENT_V6, INTERNET_V6, GATEWAY_OUTSIDE_V6 = "2001:db8:c::7", "2001:db8:c::80", "2001:db8:c::1"
SERVER, SERVER2, GATEWAY_INSIDE = "198.51.100.25", "198.51.100.26", "198.51.100.1"
SERVER_V6, GATEWAY_INSIDE_V6 = "2001:db8:5::25", "2001:db8:5::1"

_serial = itertools.count()


class Host:
    """One namespace. prefix: to be put before a command line that is to run there."""

    def __init__(self, label):
        self.name = f"gp{os.getpid()}-{next(_serial)}-{label}"
        self.prefix = ["ip", "netns", "exec", self.name]
        subprocess.run(["ip", "netns", "add", self.name], check=True, capture_output=True)
        self.sysctl("net.ipv6.conf.default.accept_dad=0", "net.ipv6.conf.all.accept_dad=0")
        self.ip("link set lo up")

    def ip(self, *lines):
        """Lines of ip(8), in one batch."""
        subprocess.run(["ip", "-n", self.name, "-b", "-"], input="\n".join(lines) + "\n", text=True, check=True, timeout=60)

    def sysctl(self, *settings):
        self.run(["sysctl", "-q", "-w", *settings])

    def run(self, argv, check=True, timeout=60, **kw):
        return subprocess.run([*self.prefix, *map(str, argv)], check=check, capture_output=True, text=True, timeout=timeout, **kw)

    def sh(self, text, check=True):
        """A shell script, stopped at its first error."""
        done = self.run(["sh", "-e"], check=False, input=text)
        assert not check or done.returncode == 0, f"{done.stdout}{done.stderr}\n{text}"
        return done

    def process(self, argv, **kw):
        return Process([*self.prefix, *map(str, argv)], **kw)

    def call(self, f, *args, **kw):
        """f(...) in a thread whose sockets, threads and child processes are of this host; its result."""
        out, problem = [], []

        def body():
            try:
                libc = ctypes.CDLL(None, use_errno=True)
                with open(f"/run/netns/{self.name}", "rb") as ns:
                    if libc.setns(ns.fileno(), CLONE_NEWNET) != 0:
                        raise OSError(ctypes.get_errno(), "setns")
                out.append(f(*args, **kw))
            except BaseException as e:          # also pytest's own
                problem.append(e)

        thread = threading.Thread(target=body, daemon=True)
        thread.start()
        thread.join()
        if problem:
            raise problem[0]
        return out[0]

    def wait_for_port(self, port, host="127.0.0.1"):
        self.call(wait_for_port, port, host)

    def pids(self):
        done = subprocess.run(["ip", "netns", "pids", self.name], capture_output=True, text=True, timeout=60)
        return [int(p) for p in done.stdout.split()]

    def remove(self):
        """What runs inside has been started by the test: it ends with it. Threads of the test itself only lose their network."""
        end = time.monotonic() + WAIT_S
        while (left := [p for p in self.pids() if p != os.getpid()]) and time.monotonic() < end:
            for pid in left:
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    pass
            time.sleep(0.02)
        subprocess.run(["ip", "netns", "del", self.name], capture_output=True, timeout=60)


def _wire(left, left_if, left_addresses, right, right_if, right_addresses):
    subprocess.run(["ip", "link", "add", left_if, "netns", left.name, "type", "veth", "peer", "name", right_if, "netns", right.name],
                   check=True, capture_output=True)
    for host, interface, addresses in ((left, left_if, left_addresses), (right, right_if, right_addresses)):
        host.ip(*(f"addr add {a} dev {interface}" + (" nodad" if ":" in a else "") for a in addresses),
                f"link set {interface} up")


class Network:
    """world, gateway, server: see above. `with Network() as net:`"""

    def __init__(self):
        self.hosts = []

    def __enter__(self):
        if os.geteuid() != 0:
            pytest.skip("network namespaces need root")
        try:
            self._build()
        except BaseException:
            self.remove()
            raise
        return self

    def __exit__(self, *_):
        self.remove()

    def _host(self, label):
        self.hosts.append(Host(label))
        return self.hosts[-1]

    def _build(self):
        try:
            self.world = self._host("world")
        except (subprocess.CalledProcessError, FileNotFoundError) as e:
            pytest.skip(f"no network namespaces: {getattr(e, 'stderr', e)}")
        self.gateway, self.server = self._host("gateway"), self._host("server")
        _wire(self.world, "wan0", [f"{a}/24" for a in (CLIENT, CLIENT2, INTERNET)] + [f"{a}/64" for a in (CLIENT_V6, INTERNET_V6)],
              self.gateway, "wan", [f"{GATEWAY_OUTSIDE}/24", f"{GATEWAY_OUTSIDE_V6}/64"])
        _wire(self.server, "lan0", [f"{a}/24" for a in (SERVER, SERVER2)] + [f"{SERVER_V6}/64"],
              self.gateway, "lan", [f"{GATEWAY_INSIDE}/24", f"{GATEWAY_INSIDE_V6}/64"])
        self.gateway.sysctl("net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1")
        self.world.ip(f"route add default via {GATEWAY_OUTSIDE}", f"route add ::/0 via {GATEWAY_OUTSIDE_V6}")
        self.routes_home()

    def routes_home(self):
        """The server's way out leads through the gateway, as it should."""
        self.server.ip(f"route replace default via {GATEWAY_INSIDE}", f"route replace ::/0 via {GATEWAY_INSIDE_V6}")

    def routes_elsewhere(self):
        """The server's answers to the world go where nobody is; those to the gateway itself still arrive."""
        self.server.ip("route del default", "route del ::/0", "route add blackhole default", "route add blackhole ::/0")

    def routes_back(self):
        """After routes_elsewhere."""
        self.server.ip("route del blackhole default", "route del blackhole ::/0")
        self.routes_home()

    def remove(self):
        while self.hosts:
            self.hosts.pop().remove()
