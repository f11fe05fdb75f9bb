"""What the bench stands on: a network and a process tree of its own, figures from /proc, the DNS, the backend, the load."""
import json
import os
import pathlib
import signal
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = ROOT / os.environ.get("BUILD", "build")
TOOLS = BUILD / "tests" / "bench"
WORK = BUILD / "bench"
SITE = "site.example"
SINK = "127.0.0.1:2526"
TICK_S = 1 / os.sysconf("SC_CLK_TCK")


def enter_namespace():
    """Run this program again where nothing leaves, ports 25 and 53 are free, and all processes end with it."""
    if os.environ.get("BENCH_INSIDE"):
        subprocess.run("mount -t tmpfs none /run && ip link set lo up && ip addr add 198.18.0.1/15 dev lo"
                       " && sysctl -qw net.core.somaxconn=16384 net.ipv4.ip_local_port_range='10000 65000'", shell=True, check=True)
        return
    if os.geteuid() != 0:
        sys.exit("bench: needs root, for a network namespace of its own")
    env = dict(os.environ, BENCH_INSIDE="1")
    inner = subprocess.Popen(["unshare", "--mount", "--net", "--pid", "--fork", "--kill-child", "--mount-proc", sys.executable, *sys.argv],
                             env=env)
    try:
        status = inner.wait()
    except BaseException:
        inner.kill()            # --kill-child: the whole tree goes with it
        inner.wait()
        raise
    sys.exit(status)


def use_resolver(address):
    """/etc/resolv.conf, for those who cannot be told otherwise; in our mount namespace only."""
    path = WORK / "resolv.conf"
    path.write_text(f"nameserver {address}\n")
    subprocess.run(["mount", "--bind", str(path), "/etc/resolv.conf"], check=True)


class Program:
    """A child that ends when asked, and in any case with the namespace."""

    def __init__(self, argv, log, env=None, ready=None, cwd=None):
        self.log = WORK / log
        self.file = open(self.log, "wb")
        self.proc = subprocess.Popen([str(a) for a in argv], stdin=subprocess.PIPE, stdout=self.file if not ready else subprocess.PIPE,
                                     stderr=self.file, env=env, cwd=cwd, start_new_session=True)
        if ready:
            line = self.proc.stdout.readline()
            if not line:
                raise RuntimeError(f"{argv[0]}: {self.tail()}")

    @property
    def pid(self):
        return self.proc.pid

    def tail(self):
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-15:])

    def stop(self, number=signal.SIGTERM, timeout=15):
        if self.proc.poll() is None:
            self.proc.send_signal(number)
            try:
                self.proc.wait(timeout)
            except subprocess.TimeoutExpired:
                os.killpg(self.proc.pid, signal.SIGKILL)
                self.proc.wait()
        self.file.close()


def wait_port(address, program=None, timeout=30):
    import socket
    host, port = address.rsplit(":", 1)
    end = time.monotonic() + timeout
    while True:
        try:
            with socket.create_connection((host, int(port)), timeout=5) as s:
                if s.recv(3):
                    return
        except OSError:
            pass
        if time.monotonic() > end or (program and program.proc.poll() is not None):
            raise RuntimeError(f"nobody answers on {address}: {program.tail() if program else ''}")
        time.sleep(0.02)


# Figures of a tree of processes

def processes():
    """pid -> (parent, ticks of its own and of its children that have ended)"""
    out = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                fields = pathlib.Path(f"/proc/{name}/stat").read_text().rsplit(")", 1)[1].split()
            except (FileNotFoundError, ProcessLookupError):
                continue
            out[int(name)] = int(fields[1]), sum(int(x) for x in fields[11:15])
    return out


def tree(roots):
    table = processes()
    found = set(roots) & set(table)
    while True:
        more = {pid for pid, (parent, _) in table.items() if parent in found} - found
        if not more:
            return {pid: table[pid][1] for pid in found}
        found |= more


def cpu_s(roots):
    return sum(tree(roots).values()) * TICK_S


def pss_kib(roots):
    total = 0
    for pid in tree(roots):
        try:
            text = pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text()
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            continue
        total += sum(int(line.split()[1]) for line in text.splitlines() if line.startswith("Pss:"))
    return total


# DNS

class Dns:
    """Knot with the corpus' root zone, and before it the distance: on 127.0.0.1:53 and 5353."""

    def __init__(self, latency_ms):
        directory = WORK / "knot"
        directory.mkdir(exist_ok=True)
        (directory / "knot.conf").write_text(f"""
server:
    rundir: "{directory}"
    listen: "127.0.0.1@5300"
    udp-workers: 1
    tcp-workers: 1
    background-workers: 1
log:
  - target: stderr
    any: warning
database:
    storage: "{directory}"
zone:
  - domain: "."
    file: "{WORK}/corpus/root.zone"
    zonefile-load: whole
    zonefile-sync: -1
    journal-content: none
""")
        self.knot = Program(["/usr/sbin/knotd", "-c", directory / "knot.conf"], "knot.log")
        self.delay = Program([TOOLS / "delay", "127.0.0.1:53", "127.0.0.1:5300", latency_ms], "delay.log", ready=True)
        self.latency_ms = latency_ms
        self._wait()

    def _wait(self):
        import socket
        question = b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x04site\x07example\x00\x00\x01\x00\x01"
        end = time.monotonic() + 60
        while time.monotonic() < end:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
                s.settimeout(0.2)
                s.connect(("127.0.0.1", 53))
                s.send(question)
                try:
                    if s.recv(512)[3] & 15 == 0:
                        return
                except OSError:
                    pass
        raise RuntimeError(f"no DNS: {self.knot.tail()}")

    def questions(self):
        self.delay.proc.send_signal(signal.SIGUSR1)
        return json.loads(self.delay.proc.stdout.readline())["questions"]

    def stop(self):
        self.delay.stop()
        self.knot.stop()


class Sink:
    """Postfix's smtp-sink: takes all and keeps nothing."""

    def __init__(self):
        self.program = Program(["/usr/sbin/smtp-sink", "-u", "nobody", "-m", "5000", "-h", "mail.site.example", SINK, "4096"], "sink.log")
        wait_port(SINK, self.program)

    def stop(self):
        self.program.stop()


# Load

def load_run(to, corpus, sessions, messages=None, first=0, per_session=1, timeout=900):
    argv = [TOOLS / "load", "run", "--to", to, "--set", WORK / "corpus" / corpus, "--sessions", sessions, "--first", first,
            "--per-session", per_session]
    if messages:
        argv += ["--messages", messages]
    out = subprocess.run([str(a) for a in argv], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=timeout)
    if out.stderr:
        print(out.stderr.rstrip(), file=sys.stderr)
    return json.loads(out.stdout)


class Idle:
    """Sessions that wait after EHLO (after STARTTLS and EHLO; after a message)."""

    def __init__(self, to, count, variant=None, corpus="warm"):
        argv = [TOOLS / "load", "idle", "--to", to, "--set", WORK / "corpus" / corpus, "--count", count]
        if variant:
            argv.append(f"--{variant}")
        self.proc = subprocess.Popen([str(a) for a in argv], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.held = json.loads(self.proc.stdout.readline() or "{}").get("held", 0)

    def stop(self):
        """How many were still open."""
        out, _ = self.proc.communicate(timeout=60)
        if not out:
            raise RuntimeError(f"load idle ended with {self.proc.returncode}")
        return json.loads(out)["left"]
