"""Knot DNS with the zones of a test, on a free port of loopback."""
import os
import pathlib
import re
import signal
import subprocess
import time

from .process import WAIT_S, Process, free_port


def absolute(records):
    """Zone lines "name TYPE data" with absolute names."""
    for line in records.strip().splitlines():
        line = line.strip()
        if line and not line.startswith("#"):
            name, rest = line.split(None, 1)
            yield (name if name.endswith(".") else name + "."), rest


class Knot:
    """
    Serves the root zone: every name that the records do not have is NXDOMAIN. host: of netns.py, where it runs instead. signed: {zone: records}
    of zones that are signed; anchors() are their keys, for trust_anchor.
    """

    def __init__(self, directory, records, host=None, signed=None):
        self.dir = pathlib.Path(directory)
        self.dir.mkdir(parents=True, exist_ok=True)
        self.port = host.call(free_port) if host else free_port()
        self.serial = 1
        self.records = records
        self.signed = signed or {}
        self._write_zone()
        for zone, text in self.signed.items():
            lines = ["$ORIGIN .", "$TTL 60", f"{zone}. SOA ns.root. admin.root. 1 60 60 600 1", f"{zone}. NS ns.root."]
            lines += [f"{name} {rest}" for name, rest in absolute(text)]
            (self.dir / f"{zone}.zone").write_text("\n".join(lines) + "\n")
        (self.dir / "knot.conf").write_text(f"""
server:
    rundir: "{self.dir}"
    listen: "127.0.0.1@{self.port}"
    udp-workers: 1
    tcp-workers: 1
    background-workers: 1
log:
  - target: stderr
    any: info
database:
    storage: "{self.dir}"
zone:
  - domain: "."
    storage: "{self.dir}"
    file: "root.zone"
    zonefile-load: whole
    zonefile-sync: -1
    journal-content: none
""" + "".join(f"""
  - domain: "{zone}"
    storage: "{self.dir}"
    file: "{zone}.zone"
    zonefile-sync: -1
    dnssec-signing: on
""" for zone in self.signed))
        self.host = host
        self.start()

    def start(self):
        """Also again, after stop(). A resolver may be asking from our port at this moment (any above 1023): it has it for as long as that takes."""
        end = time.monotonic() + WAIT_S
        while True:
            self.process = Process([*(self.host.prefix if self.host else ()), "/usr/sbin/knotd", "-c", str(self.dir / "knot.conf")])
            line = self.process.wait_line(r"\[\.\] loaded|address already in use")
            if "loaded" in line or time.monotonic() > end:
                break
            self.process.stop()
            time.sleep(0.02)
        self.process.wait_line(r"server started")
        for zone in self.signed:
            self.process.wait_line(rf"\[{re.escape(zone)}\.\] DNSSEC, next signing")

    def _write_zone(self):
        lines = ["$TTL 60", f". SOA ns.root. admin.root. {self.serial} 60 60 600 1", ". NS ns.root.", "ns.root. A 127.0.0.1"]
        lines += [f"{name} {rest}" for name, rest in absolute(self.records)]
        path = self.dir / "root.zone"
        path.write_text("\n".join(lines) + "\n")
        os.utime(path, (self.serial, self.serial))      # by which it knows that the file is another: two in one tick of the clock are, too

    def anchors(self):
        """DS records of the signed zones."""
        return "".join(subprocess.run(["keymgr", "-c", str(self.dir / "knot.conf"), zone, "ds"], check=True, capture_output=True,
                                      text=True).stdout.replace(" DS ", " IN DS ") for zone in self.signed)

    @property
    def server(self):
        return f"127.0.0.1:{self.port}"

    def change(self, records):
        """Other records from now on; returns when they are served."""
        mark = self.process.mark()
        self.records = records
        self.serial += 1
        self._write_zone()
        self.process.send(signal.SIGHUP)
        self.process.wait_line(rf"\[\.\] loaded, serial .*-> {self.serial},", mark)

    def freeze(self):
        """Questions stay without an answer, until thaw."""
        self.process.send(signal.SIGSTOP)

    def thaw(self):
        self.process.send(signal.SIGCONT)

    def stop(self):
        self.thaw()
        self.process.stop()
