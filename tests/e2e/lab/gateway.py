"""A Gatepost of its own for one test: configuration, process, log lines, quarantine."""
import contextlib
import json
import os
import pathlib
import re
import shlex
import signal
import socket
import subprocess
import time

from .process import WAIT_S, Process, free_port

ROOT = pathlib.Path(__file__).resolve().parents[3]
BINARY = os.environ.get("GATEPOST", str(ROOT / "build" / "gatepost"))

POLICY = """
reject     if dnsbl.score >= 5
reject     "550 5.7.1 exactly one From field with one author is needed" if from.count != 1 or not from.valid
quarantine if dmarc = fail and dmarc.policy in (quarantine, reject)
accept
"""


def parse_logfmt(line):
    """key=value pairs of a log line, quotes undone."""
    out = {}
    for key, quoted, plain in re.findall(r'([A-Za-z0-9_.-]+)=(?:"((?:[^"\\]|\\.)*)"|(\S*))', line):
        value = quoted or plain
        out[key] = re.sub(r'\\(x[0-9a-f]{2}|.)', lambda m: {"n": "\n", "r": "\r", "t": "\t"}.get(
            m[1], chr(int(m[1][1:], 16)) if m[1][0] == "x" and len(m[1]) == 3 else m[1]), value)
    return out


def access(to, options="", backend_options="", kinds=("imap", "imaps", "pop3", "pop3s"), **more):
    """
    Listeners `imap`, `imaps`, `pop3`, `pop3s` before backends `to_imap`, `to_pop3`: ({kind: port}, text for the configuration). to: {"imap": port or
    'host:port', "pop3": ...}, as Mailserver.ports; "imaps" there is not used: say to={"imap": ports["imaps"]}, backend_options="implicit_tls = yes".
    options: for all listeners; more: for those of one kind, imaps="scan = yes".
    """
    ports = {k: free_port() for k in kinds if k.rstrip("s") in to}
    text = []
    for kind, port in ports.items():
        protocol = kind.rstrip("s")
        tls = "tls = implicit" if kind.endswith("s") else ""
        text.append(f'listener {kind} {{ address = "127.0.0.1:{port}" protocol = {protocol} backends = {{ "to_{protocol}" }} {tls} {options} {more.get(kind, "")} }}')
    for protocol in sorted({k.rstrip("s") for k in ports}):
        address = to[protocol] if isinstance(to[protocol], str) else f"127.0.0.1:{to[protocol]}"
        text.append(f'backend to_{protocol} {{ address = "{address}" protocol = {protocol} {backend_options} }}')
    return ports, "\n".join(text)


# Tests do in seconds what no honest client does in minutes: they have no limits but those that they name.
UNLIMITED = "client_limits { connections = 0 commands = 0 errors = 0 recipients = 0 unknown_recipients = 0 messages = 0 bytes = 0 logins = 0 }"


class Gateway:
    """
    conf: text put into the configuration as it is; policy: the policy file; backends: ports or 'host:port'; listeners: text instead of the one
    on loopback; host: of netns.py, where it runs instead; disk: of disk.py, which has its state_dir.
    """

    def __init__(self, directory, backends, dns=None, conf="", policy=POLICY, domains=("example.com",), binary=None,
                 backend_options="", dns_conf="", workers=1, env=None, wrap=(), listeners=None, host=None, disk=None):
        self.dir = pathlib.Path(directory)
        self.dir.mkdir(parents=True, exist_ok=True)
        self.port = free_port()
        self.binary = binary or BINARY
        self.conf_path = self.dir / "gatepost.conf"
        self.policy_path = self.dir / "policy.conf"
        self.state = disk.seen / "state" if disk else self.dir / "state"
        self.disk = disk
        self.env = env
        self.host = host
        self.prefix = [*(host.prefix if host else ()), *(disk.prefix if disk else ())]
        self.wrap = [*self.prefix, *wrap]
        self.settings = dict(backends=backends, dns=dns, conf=conf, domains=domains, backend_options=backend_options,
                             dns_conf=dns_conf, workers=workers, listeners=listeners)
        self.policy_path.write_text(policy)
        self.write_conf()
        self.process = None

    def write_conf(self, **changes):
        self.settings.update(changes)
        s = self.settings
        blocks = []
        for i, b in enumerate(s["backends"]):
            address = b if isinstance(b, str) else f"127.0.0.1:{b}"
            blocks.append(f'backend b{i} {{ address = "{address}" priority = {10 + i} {s["backend_options"]} }}')
        forward = f'forward = {{"{s["dns"]}"}}' if s["dns"] else ""
        domains = ", ".join(f'"{d}"' for d in s["domains"])
        self.conf_path.write_text(f"""
hostname = "gate.example"
domains = {{ {domains} }}
workers = {s["workers"]}
state_dir = "{self.disk.path / 'state' if self.disk else self.state}"
policy = "{self.policy_path}"
{s["listeners"] or f'listener smtp {{ address = "127.0.0.1:{self.port}" }}'}
dns {{ {forward} {"" if "dnssec" in s["dns_conf"] else "dnssec = no"} {s["dns_conf"]} }}
{chr(10).join(blocks)}
{s["conf"]}
{"" if "client_limits" in s["conf"] else UNLIMITED}
""")

    def start(self):
        notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        path = str(self.dir / "notify")
        if os.path.exists(path):
            os.unlink(path)
        notify.bind(path)
        env = dict(os.environ, NOTIFY_SOCKET=path, **(self.env or {}))
        self.process = Process([*self.wrap, self.binary, "run", "-c", str(self.conf_path)], env=env)
        self.notify = notify
        self.notify.settimeout(0.2)
        self.wait_notify("READY=1")
        return self

    def wait_notify(self, word, timeout=120):
        """What the service manager would be told; at once an error when the process has ended instead."""
        end = time.monotonic() + timeout
        while True:
            try:
                text = self.notify.recv(4096).decode()
            except socket.timeout:
                if self.process.proc.poll() is None and time.monotonic() < end:
                    continue
                raise AssertionError(f"no {word}:\n{self.process.output()}") from None
            if word in text:
                return text

    def __enter__(self):
        return self if self.process else self.start()

    def __exit__(self, kind, *_):
        status = self.stop()
        output = self.process.output()
        if kind is None:
            assert "AddressSanitizer" not in output and "runtime error" not in output and "LeakSanitizer" not in output, output
            assert status == 0, f"exit status {status}:\n{output}"

    def stop(self):
        self.notify.close()
        return self.process.stop(signal.SIGTERM)

    # what it says

    def mark(self):
        return self.process.mark()

    def wait_line(self, pattern, since=0, timeout=WAIT_S):
        return self.process.wait_line(pattern, since, timeout)

    def verdict(self, verdict=r"\S+", pattern="", since=0):
        """The first line with that verdict in which the pattern is found, as a dict."""
        return parse_logfmt(self.wait_line(rf"verdict={verdict} .*{pattern}", since))

    # what it keeps

    def quarantined(self):
        """Message files in the quarantine."""
        base = self.state / "quarantine"
        return sorted(p for p in base.rglob("*.eml")) if base.is_dir() else []

    def quarantine_owners(self):
        """Whose files there are, as numbers; journals come and go."""
        out = set()
        for p in (self.state / "quarantine").rglob("*"):
            with contextlib.suppress(FileNotFoundError):
                out.add(p.stat().st_uid)
        return out

    # its processes

    def children(self):
        """{name: process id}: gp-state, gp-store, "gp-worker 1"..."""
        out = {}
        for pid in filter(str.isdigit, os.listdir("/proc")):
            try:
                comm, stat = (pathlib.Path(f"/proc/{pid}/{n}").read_text() for n in ("comm", "stat"))
            except OSError:
                continue
            if int(stat.rpartition(")")[2].split()[1]) == self.process.pid:
                out[comm.strip()] = int(pid)
        return out

    def kill_child(self, name):
        """kill -9, and wait until the parent has noticed."""
        mark, pid = self.mark(), self.children()[name]
        os.kill(pid, signal.SIGKILL)
        self.wait_line(rf"event=died .*pid={pid}\b", mark)

    def worker_pids(self):
        """Of all configurations: those of before go on while somebody is connected to them."""
        out = set()
        for stat in pathlib.Path("/proc").glob("[0-9]*/stat"):
            with contextlib.suppress(OSError):
                name, _, rest = stat.read_text().rpartition(")")
                state, parent = rest.split()[:2]
                if int(parent) == self.process.pid and "(gp-worker" in name and state not in "ZX":
                    out.add(int(stat.parent.name))
        return out

    def reload(self, by=None):
        """
        By the configuration as it is now; what connects from here on comes to new workers. Nobody may be connected: the old ones have ended when this returns.
        by: what else than SIGHUP makes it do so.
        """
        old, mark, end = self.worker_pids(), self.mark(), time.monotonic() + WAIT_S
        by() if by else self.process.send(signal.SIGHUP)
        self.wait_line("event=reload what=done", mark)
        while still := old & self.worker_pids():
            assert time.monotonic() < end, f"workers of before: {still}"
            time.sleep(0.02)

    # other commands

    def command(self, *argv, check=True, input=None):
        return subprocess.run([*self.prefix, self.binary, *argv], check=check, input=input, capture_output=True, timeout=120,
                              env=dict(os.environ, **(self.env or {})))

    def explain(self, message, client="192.0.2.1", helo="client.example", sender="alice@sender.example", to="bob@example.com", extra=()):
        path = self.dir / "message.eml"
        path.write_bytes(message)
        return self.command("explain", "-c", str(self.conf_path), "--client", client, "--helo", helo, "--from", sender,
                            "--to", to, *extra, str(path)).stdout.decode()

    def explain_json(self, message, **kw):
        return json.loads(self.explain(message, extra=("--json",), **kw))

    def __str__(self):
        return shlex.join([self.binary, "run", "-c", str(self.conf_path)])
