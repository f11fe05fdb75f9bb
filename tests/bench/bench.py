"""make bench: speed and memory of Gatepost, and beside it HAProxy, Postfix, and Postfix with the add-ons that do the same;
of IMAP and POP3, HAProxy, nginx' mail proxy and perdition.

Options (BENCH_ARGS): --quick, a short run that shows that all works; --part NAME[,NAME]; --only NAME[,NAME]; --messages N;
--latency MS[,MS]; --sessions N[,N]; of --part mail: --mail logins,fetch,idle; --behind scripted,dovecot; --logins N; --rounds N.
Everything runs in a network and process namespace of its own, which ends with it. Figures are in
build/bench/results.json too.
"""
import argparse
import contextlib
import hashlib
import json
import pathlib
import statistics
import subprocess
import sys
import time

import mail
import rig
import systems

SEED = 1
DOMAINS = 2000
KEY = rig.ROOT / "tests" / "e2e" / "lab" / "test-key.pem"


def parse():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("--quick", action="store_true")
    p.add_argument("--only", help="of gatepost, haproxy, postfix, postfix+4; of mail: gatepost, gatepost-tcp, haproxy, nginx, perdition, direct")
    p.add_argument("--messages", type=int, default=4000)
    p.add_argument("--latency", default="0,20")
    p.add_argument("--sessions", default="50,500")
    p.add_argument("--idle", type=int, default=10000)
    p.add_argument("--part", default="speed,single,memory,clamd,mail", help="of speed, single, memory, history, clamd, seals, dkim, mail")
    p.add_argument("--mail", default="logins,fetch,idle")
    p.add_argument("--behind", default="scripted,dovecot")
    p.add_argument("--logins", type=int, default=8000)
    p.add_argument("--rounds", type=int, default=3)
    a = p.parse_args()
    a.domains = DOMAINS
    if a.quick:
        a.rounds = 1
        a.messages, a.domains, a.idle, a.sessions = 300, 200, 1000, "50"
    a.latency = [float(x) for x in a.latency.split(",")]
    a.sessions = [int(x) for x in a.sessions.split(",")]
    a.only = a.only.lower().split(",") if a.only else None
    a.part, a.mail, a.behind = a.part.split(","), a.mail.split(","), a.behind.split(",")
    return a


def corpus(a):
    directory = rig.WORK / "corpus"
    source = hashlib.sha256((pathlib.Path(__file__).parent / "corpus.c").read_bytes()).hexdigest()
    wanted = f"{a.domains} {a.messages} {SEED} {source}"
    stamp = directory / "stamp"
    if stamp.exists() and stamp.read_text() == wanted:
        return
    directory.mkdir(parents=True, exist_ok=True)
    print(f"corpus: {a.domains} domains, {a.messages} messages...", file=sys.stderr)
    subprocess.run([rig.TOOLS / "corpus", directory, str(a.domains), str(a.messages), str(SEED), KEY], check=True)
    stamp.write_text(wanted)


class Bench:
    def __init__(self, a):
        self.a = a
        self.results = []

    def record(self, **row):
        self.results.append(row)
        if "latency" in row and "cpu_ms" in row:
            print(f"{row['system']:10} {row['pass']:9} dns {row['latency']:3.0f} ms  {row['sessions']:4} sessions  "
                  f"{row['rate']:7.1f} msg/s  cpu {row['cpu_ms']:6.3f} ms  dot p50 {row['dot_p50']:7.1f} p99 {row['dot_p99']:8.1f}  "
                  f"session p50 {row['session_p50']:7.1f} p99 {row['session_p99']:8.1f}  dns/msg {row['questions']:5.2f}"
                  + (f"  FAILED {row['failures']}" if row["failures"] else ""), flush=True)
        else:
            print("  ".join(f"{k} {v}" for k, v in row.items()), flush=True)

    def one_pass(self, system, dns, name, corpus_set, sessions, messages=None):
        asked, cpu = dns.questions(), rig.cpu_s(system.roots())
        figures = rig.load_run(system.address, corpus_set, sessions, messages)
        system.settle()
        cpu = rig.cpu_s(system.roots()) - cpu
        done = max(figures["messages"], 1)
        self.record(system=system.name, **{"pass": name}, latency=dns.latency_ms, sessions=sessions, cpu_ms=cpu * 1e3 / done,
                    questions=(dns.questions() - asked) / done, **figures)

    @contextlib.contextmanager
    def running(self, system, latency_ms):
        dns = rig.Dns(latency_ms)
        try:
            system.start()
            try:
                yield dns
            finally:
                system.stop()
        finally:
            dns.stop()

    def gatepost_speed(self):
        for latency in self.a.latency:
            for sessions in self.a.sessions:
                system = systems.Gatepost()
                with self.running(system, latency) as dns:
                    self.one_pass(system, dns, "uncached", "cold", sessions)
                    # Each worker has a cache of its own: twice before it counts.
                    for _ in range(2):
                        rig.load_run(system.address, "warm", sessions)
                    self.one_pass(system, dns, "cached", "warm", sessions)

    def other_speed(self, system, latencies, sessions_list):
        for latency in latencies:
            for sessions in sessions_list:
                with self.running(system, latency) as dns:
                    self.one_pass(system, dns, "uncached", "cold", sessions)
                    self.one_pass(system, dns, "cached", "warm", sessions)

    def history(self):
        """What the history costs: the same with and without, by turns."""
        keeper = []
        for _ in range(3):
            for history in (True, False):
                system = systems.Gatepost(history=history)
                with self.running(system, 0) as dns:
                    for _ in range(2):
                        rig.load_run(system.address, "warm", self.a.sessions[0])
                    before = rig.cpu_s([system.child("gp-history")])
                    self.one_pass(system, dns, "history", "warm", self.a.sessions[0])
                    time.sleep(1)               # it commits, and writes indexes, behind the mail
                    if history:
                        keeper.append((rig.cpu_s([system.child("gp-history")]) - before) / self.a.messages * 1e6)
        cpu = {n: statistics.median(r["cpu_ms"] for r in self.results if r["pass"] == "history" and r["system"] == n)
               for n in ("Gatepost", "Gatepost, no history")}
        on, off = cpu.values()
        print(f"\nhistory: {(on - off) * 1e3:.0f} us of CPU a message in all processes, {(on - off) / off:.1%} of {off:.3f} ms; "
              f"of its keeper alone {statistics.median(keeper):.0f} us")

    def seals(self):
        """What it costs to seal every message (ARC, RSA 2048): the same with and without, by turns."""
        for _ in range(self.a.rounds):
            for key in (KEY, None):
                system = systems.Gatepost(seals=key)
                with self.running(system, 0) as dns:
                    rig.load_run(system.address, "warm", self.a.sessions[0], self.a.messages // 4)
                    self.one_pass(system, dns, "seals", "warm", self.a.sessions[0])

        def middle(name):
            return statistics.median(r["cpu_ms"] for r in self.results if r["pass"] == "seals" and r["system"] == name)

        on, off = middle("Gatepost, seals"), middle("Gatepost")
        print(f"\nseals: {(on - off) * 1e3:.0f} us of CPU a message, {(on - off) / off:.0%} of {off:.3f} ms", flush=True)

    def dkim(self):
        """What a message costs with each engine of DKIM, by turns."""
        for _ in range(self.a.rounds):
            for engine in ("native", "libopendkim"):
                system = systems.Gatepost(dkim=engine)
                with self.running(system, 0) as dns:
                    rig.load_run(system.address, "warm", self.a.sessions[0], self.a.messages // 4)
                    self.one_pass(system, dns, "dkim", "warm", self.a.sessions[0])

        def middle(name):
            return statistics.median(r["cpu_ms"] for r in self.results if r["pass"] == "dkim" and r["system"] == name)

        native, library = middle("Gatepost"), middle("Gatepost, libopendkim")
        print(f"\ndkim: {native:.3f} ms of CPU a message with native, {library:.3f} with libopendkim", flush=True)

    def clamd(self):
        """What it costs to have clamd look at every message: the same with and without, by turns. clamd's own CPU time is told apart."""
        own = []
        scanner = systems.Clamd()
        try:
            for _ in range(self.a.rounds):
                for clamd in (scanner, None):
                    system = systems.Gatepost(clamd=clamd)
                    with self.running(system, 0) as dns:
                        for _ in range(2):
                            rig.load_run(system.address, "warm", self.a.sessions[0], self.a.messages // 4)
                        before = rig.cpu_s([scanner.program.pid])
                        self.one_pass(system, dns, "clamd", "warm", self.a.sessions[0])
                        if clamd:
                            own.append((rig.cpu_s([scanner.program.pid]) - before) / self.a.messages * 1e3)
                    # One session: what a sender waits for.
                    with self.running(system, 0) as dns:
                        rig.load_run(system.address, "warm", 1, 50)
                        self.one_pass(system, dns, "clamd, 1", "warm", 1, 200)
        finally:
            scanner.stop()

        def middle(key, name, what="clamd"):
            return statistics.median(r[key] for r in self.results if r["pass"] == what and r["system"] == name)

        on, off = (middle("cpu_ms", n) for n in ("Gatepost, clamd", "Gatepost"))
        print(f"\nclamd: {(on - off) * 1e3:.0f} us of CPU a message in Gatepost's processes, {(on - off) / off:.0%} of {off:.3f} ms; "
              f"of clamd itself {statistics.median(own):.2f} ms; {middle('rate', 'Gatepost, clamd'):.0f} messages/s instead of {middle('rate', 'Gatepost'):.0f}; "
              f"alone a message is answered after {middle('dot_p50', 'Gatepost, clamd', 'clamd, 1'):.1f} ms instead of {middle('dot_p50', 'Gatepost', 'clamd, 1'):.1f}")

    def single(self):
        """One session after the other, each of a domain that nobody has asked for: what a sender waits for."""
        latency = max(self.a.latency)
        count = 40
        for make in self.chosen():
            system = make()
            with self.running(system, latency) as dns:
                figures = rig.load_run(system.address, "cold", 1, count)
                system.settle()
                self.record(system=system.name, **{"pass": "single"}, latency=latency, session_p50=figures["session_p50"],
                            dot_p50=figures["dot_p50"], session_p99=figures["session_p99"], questions=dns.questions() / count)

    def memory(self):
        for make in self.chosen():
            system = make(workers=1) if make is systems.Gatepost else make()
            for variant in (None, "message", "tls"):
                if variant == "tls" and system.name != "Gatepost":
                    continue
                count = {"Gatepost": self.a.idle, "HAProxy": min(self.a.idle, 5000)}.get(system.name, 50)
                if variant == "message":
                    count = min(count, 2000)
                with self.running(system, 0):
                    # What a process allocates with its first messages (above all the DNS cache) is not the waiting session's.
                    # Few at a time where each session is a process that stays for the next.
                    rig.load_run(system.address, "warm", *((2, 20) if system.name.startswith("Postfix") else (50, None)))
                    system.settle()
                    time.sleep(1)
                    before = rig.pss_kib(system.roots())
                    idle = rig.Idle(system.address, count, variant)
                    time.sleep(1)
                    after = rig.pss_kib(system.roots())
                    left = idle.stop()
                self.record(system=system.name, **{"pass": f"idle {variant or 'EHLO'}"}, sessions=idle.held, left=left,
                            kib_per_session=round((after - before) / max(idle.held, 1), 2), base_kib=before)

    def chosen(self):
        table = {"gatepost": systems.Gatepost, "haproxy": systems.Haproxy, "postfix": lambda: systems.Postfix(False),
                 "postfix+4": lambda: systems.Postfix(True)}
        return [table[name] for name in self.a.only or table if name in table]

    def run(self):
        if "mail" in self.a.part:
            mail.Mail(self.a, self.record).run(self.a.only or ["gatepost", "haproxy", "nginx", "perdition"], self.a.mail)
        if self.a.part == ["mail"]:
            return
        sink = rig.Sink()
        try:
            if "speed" in self.a.part:
                for make in self.chosen():
                    if make is systems.Gatepost:
                        self.gatepost_speed()
                    elif make is systems.Haproxy:
                        self.other_speed(make(), self.a.latency[:1], self.a.sessions)
                    else:
                        # 50 sessions: Debian's limit is 100 processes of a kind.
                        self.other_speed(make(), self.a.latency, self.a.sessions[:1])
            if "history" in self.a.part:
                self.history()
            if "dkim" in self.a.part:
                self.dkim()
            if "seals" in self.a.part:
                self.seals()
            if "clamd" in self.a.part:
                self.clamd()
            if "single" in self.a.part:
                self.single()
            if "memory" in self.a.part:
                self.memory()
        finally:
            sink.stop()

    def table(self):
        speed = [r for r in self.results if "cpu_ms" in r and "latency" in r]
        if not speed:
            return
        print("\n| system | DNS | latency ms | sessions | messages/s | CPU ms/message | of Gatepost | p50 ms to the answer | p99 |")
        print("|---|---|---|---|---|---|---|---|---|")
        base = {r["pass"]: r["cpu_ms"] for r in reversed(speed) if r["system"] == "Gatepost"}
        for r in speed:
            ratio = f"{r['cpu_ms'] / base[r['pass']]:.2f}" if base.get(r["pass"]) else ""
            print(f"| {r['system']} | {r['pass']} | {r['latency']:.0f} | {r['sessions']} | {r['rate']:.0f} | {r['cpu_ms']:.2f} | {ratio} | "
                  f"{r['dot_p50']:.1f} | {r['dot_p99']:.1f} |")
        by = {(r["latency"], r["sessions"]): r["rate"] for r in speed if r["system"] == "Gatepost" and r["pass"] == "cached"}
        low, high = min(self.a.latency), max(self.a.latency)
        for sessions in self.a.sessions:
            if low != high and by.get((low, sessions)) and by.get((high, sessions)):
                print(f"\nGatepost, {sessions} sessions: at {high:.0f} ms {by[high, sessions] / by[low, sessions]:.0%} of the speed at {low:.0f} ms")


def main():
    rig.enter_namespace()
    a = parse()
    rig.WORK.mkdir(parents=True, exist_ok=True)
    if a.part != ["mail"]:
        corpus(a)
    rig.use_resolver("127.0.0.1")
    bench = Bench(a)
    try:
        bench.run()
    finally:
        (rig.WORK / "results.json").write_text(json.dumps(bench.results, indent=1) + "\n")
    bench.table()
    return 1 if any(r.get("failures") for r in bench.results) else 0


if __name__ == "__main__":
    sys.exit(main())
