"""Mail access in the bench: logins, large messages and idle sessions of IMAP and POP3, through each proxy in turn."""
import contextlib
import json
import statistics
import subprocess
import sys
import time

import mail_systems
import rig

LARGE = 50 * 1000 * 1000        # octets of the message
CLIENTS = {"perdition": 20}     # at once; others 50


def load(mode, address, protocol, count, sessions=1, tls=None):
    argv = [rig.TOOLS / "mail_load", mode, "--to", address, "--protocol", protocol, "--count", count, "--sessions", sessions]
    if tls:
        argv.append("--resume" if tls == "resumed" else "--tls")
    out = subprocess.run([str(x) for x in argv], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=900)
    if out.stderr:
        print(out.stderr.rstrip(), file=sys.stderr)
    return json.loads(out.stdout)


class Idle:
    """Sessions that have logged in, and wait."""

    def __init__(self, address, protocol, count, tls):
        argv = [rig.TOOLS / "mail_load", "idle", "--to", address, "--protocol", protocol, "--count", count, *(["--tls"] if tls else [])]
        self.proc = subprocess.Popen([str(x) for x in argv], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.held = json.loads(self.proc.stdout.readline() or "{}").get("held", 0)

    def stop(self):
        out, _ = self.proc.communicate(timeout=120)
        return json.loads(out)["left"]


class Mail:
    def __init__(self, a, record):
        self.a, self.write = a, record
        self.rows = []
        self.logins = 400 if a.quick else a.logins
        self.fetches = 8 if a.quick else 60
        self.idle_count = min(500 if a.quick else a.idle, (mail_systems.files_limit() - 200) // 2)

    def record(self, **row):
        self.rows.append(row)
        self.write(**row)

    def run(self, names, parts):
        # What stands behind starts anew with each part: none inherits the other's page cache or processes.
        for server in (mail_systems.Scripted, mail_systems.Dovecot):
            if server.name not in self.a.behind:
                continue
            self.behind(server(LARGE), names, parts)
        self.table()

    def behind(self, server, names, parts):
        try:
            if "logins" in parts:
                self.each(names, server, self.login)
            if "fetch" in parts:
                self.each(names, server, self.fetch)
            if "idle" in parts and server.name == "scripted":
                self.idle_each(names, server)
        finally:
            server.stop()

    @contextlib.contextmanager
    def running(self, name, server, workers=0):
        system = mail_systems.SYSTEMS[name]()
        system.start(server, workers)
        try:
            yield system
        finally:
            system.stop()

    def each(self, names, server, fn):
        """All of them, by turns, as often as asked: the machine is not as fast in one minute as in the next."""
        for _ in range(self.a.rounds):
            for name in names:
                with self.running(name, server) as system:
                    fn(system, server)

    def idle_each(self, names, server):
        """Anew for each figure: what earlier sessions have left in the heap would serve the later ones."""
        for name in names:
            for tls in mail_systems.SYSTEMS[name]().tls if name != "direct" else ():
                with self.running(name, server, workers=1) as system:
                    self.idle(system, server, tls)

    def measured(self, system, server, mode, protocol, tls, count, sessions):
        address = system.address(protocol, bool(tls))
        # What it allocates, and learns, with the first ones is not theirs.
        load("login", address, protocol, 50, 10, tls)
        cpu = rig.cpu_s(system.roots())
        figures = load(mode, address, protocol, count, sessions, tls)
        # A process that has served one session may still be ending.
        time.sleep(0.5 if system.name == "perdition" else 0.1)
        return rig.cpu_s(system.roots()) - cpu, figures

    def login(self, system, server):
        for protocol in ("imap", "pop3"):
            for tls in (None, "full", "resumed"):
                if bool(tls) not in system.tls or (server.name == "dovecot" and tls == "resumed"):
                    continue
                count = self.logins if server.name == "scripted" else self.logins // 4
                if system.name == "perdition":
                    count = count // 8
                elif tls:
                    count = count // 2
                cpu, f = self.measured(system, server, "login", protocol, tls, count, CLIENTS.get(system.name, 50))
                self.record(part="logins", system=system.name, behind=server.name, protocol=protocol, tls=tls or "clear",
                            cpu_ms=round(cpu * 1e3 / max(f["done"], 1), 4), rate=round(f["rate"]), resumed=f["resumed"], p50=f["p50"],
                            p99=f["p99"], failures=f["failures"])

    def fetch(self, system, server):
        for protocol in ("imap", "pop3"):
            for tls in (None, "full"):
                if bool(tls) not in system.tls:
                    continue
                count = self.fetches if server.name == "scripted" else self.fetches // 3 + 1
                cpu, f = self.measured(system, server, "fetch", protocol, tls, count, 8)
                gb = f["megabytes"] / 1e3
                self.record(part="fetch", system=system.name, behind=server.name, protocol=protocol, tls=tls or "clear",
                            cpu_s_per_gb=round(cpu / max(gb, 1e-9), 4), mb_s=round(f["megabytes"] / f["seconds"]),
                            mb_per_cpu_s=round(f["megabytes"] / cpu) if cpu else 0, failures=f["failures"])

    def idle(self, system, server, tls):
        address = system.address("imap", tls)
        load("login", address, "imap", 500, CLIENTS.get(system.name, 50), tls)
        time.sleep(1)
        before = rig.pss_kib(system.roots())
        idle = Idle(address, "imap", 200 if system.name == "perdition" else self.idle_count, tls)
        time.sleep(2)
        after = rig.pss_kib(system.roots())
        left = idle.stop()
        self.record(part="idle", system=system.name, behind=server.name, protocol="imap", tls="full" if tls else "clear",
                    sessions=idle.held, left=left, kib_per_session=round((after - before) / max(idle.held, 1), 2), base_kib=before)

    # What is said at the end

    def table(self):
        groups = {}
        for r in self.rows:
            groups.setdefault((r["part"], r["behind"], r["protocol"], r["tls"]), {}).setdefault(r["system"], []).append(r)
        keys = {"logins": ("cpu_ms", "rate", "CPU ms/login", "logins/s"), "fetch": ("cpu_s_per_gb", "mb_s", "CPU s/GB", "MB/s"),
                "idle": ("kib_per_session", "sessions", "KiB/session", "sessions")}
        for (part, behind, protocol, tls), systems in groups.items():
            key, other, head, other_head = keys[part]
            print(f"\n{part}, {protocol}, {tls}, behind it: {behind}\n| system | {head} | of HAProxy | {other_head} |\n|---|---|---|---|")
            middle = {n: statistics.median(r[key] for r in rows) for n, rows in systems.items()}
            for n, rows in systems.items():
                ratio = f"{middle[n] / middle['HAProxy']:.2f}" if middle.get("HAProxy") else ""
                print(f"| {n} | {middle[n]:.3f} | {ratio} | {statistics.median(r[other] for r in rows):.0f} |")
