"""Who is measured: each is started with start(), listens at .address, and names the roots of its processes."""
import os
import pathlib
import pwd
import shutil
import signal
import socket
import subprocess
import time

from rig import BUILD, ROOT, SINK, SITE, WORK, Program, wait_port


class Gatepost:
    name = "Gatepost"
    address = "127.0.0.1:2525"
    label = "all filters"

    def __init__(self, workers=0, history=True, clamd=None, seals=None, dkim="native"):
        self.workers, self.history, self.clamd, self.seals, self.dkim = workers, history, clamd, seals, dkim
        if not history:
            self.name = "Gatepost, no history"
        if clamd:
            self.name = "Gatepost, clamd"
        if seals:
            self.name = "Gatepost, seals"
        if dkim != "native":
            self.name = f"Gatepost, {dkim}"

    def start(self):
        self.dir = WORK / "gatepost"
        shutil.rmtree(self.dir, ignore_errors=True)
        self.dir.mkdir()
        conf = self.dir / "gatepost.conf"
        conf.write_text(f"""
hostname = "gate.{SITE}"
domains = {{ "{SITE}" }}
workers = {self.workers}
state_dir = "{self.dir}/state"
policy = "{ROOT}/conf/policy.conf"
listener smtp {{ address = "{self.address}" }}
backend main {{ address = "{SINK}" }}
dns {{ forward = {{ "127.0.0.1:53" }} dnssec = no }}
dnsbl bl1.bench.example {{ weight = 5 }}
dnsbl bl2.bench.example {{ weight = 3 }}
limits {{ sessions = 12000 sessions_per_client = 12000 shed_from = 100 }}
# All clients are one here: counted as always, and not slowed down.
client_limits {{ connections = 1000000 commands = 1000000 errors = 1000000 recipients = 1000000 messages = 1000000 bytes = 60G logins = 1000000 slow_from = 100 }}
history {{ record = {"yes" if self.history else "no"} }}
dkim {{ engine = {self.dkim} }}
{f'clamd {{ address = {{ "unix:{self.clamd.socket}" }} }}' if self.clamd else ""}
{f'arc_seal {SITE} {{ selector = sel key = "{self.seals}" when = always }}' if self.seals else ""}
""")
        path = str(self.dir / "notify")
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
            notify.bind(path)
            notify.settimeout(30)
            self.program = Program([os.environ.get("GATEPOST", BUILD / "gatepost"), "run", "-c", conf], "gatepost.log",
                                   env=dict(os.environ, NOTIFY_SOCKET=path))
            try:
                while "READY=1" not in notify.recv(4096).decode():
                    pass
            except socket.timeout:
                raise RuntimeError(f"not ready: {self.program.tail()}")
        wait_port(self.address, self.program)

    def roots(self):
        return [self.program.pid]

    def child(self, name):
        """The process of that name."""
        for path in pathlib.Path("/proc").glob("[0-9]*"):
            try:
                if (path / "comm").read_text().strip() == name and f"\nPPid:\t{self.program.pid}\n" in (path / "status").read_text():
                    return int(path.name)
            except OSError:
                continue
        raise RuntimeError(f"no process {name}")

    def settle(self):
        """Work that is left when the last answer has been given: none."""

    def stop(self):
        self.program.stop()


class Clamd:
    """ClamAV's daemon with one signature, so that what it takes is nearly all the taking apart of messages. Not among Gatepost's processes."""

    def __init__(self):
        directory = WORK / "clamd"
        shutil.rmtree(directory, ignore_errors=True)
        (directory / "db").mkdir(parents=True)
        self.socket = directory / "clamd.ctl"
        (directory / "db/bench.ndb").write_text(f"Gatepost-Bench:0:*:{b'GATEPOST-VIRUS-BENCH'.hex()}\n")
        (directory / "clamd.conf").write_text(f"LocalSocket {self.socket}\nDatabaseDirectory {directory}/db\nTemporaryDirectory {directory}\nForeground yes\n")
        self.program = Program(["/usr/sbin/clamd", "-c", directory / "clamd.conf"], "clamd.log")
        end = time.monotonic() + 30
        while not self.socket.exists():
            if time.monotonic() > end or self.program.proc.poll() is not None:
                raise RuntimeError(f"no clamd: {self.program.tail()}")
            time.sleep(0.02)

    def stop(self):
        self.program.stop()


class Haproxy:
    name = "HAProxy"
    address = "127.0.0.1:2527"
    label = "bytes only"

    def start(self):
        conf = WORK / "haproxy.cfg"
        conf.write_text(f"""
global
    maxconn 9900
defaults
    mode tcp
    timeout connect 10s
    timeout client 5m
    timeout server 5m
frontend smtp
    bind {self.address}
    default_backend mail
backend mail
    server sink {SINK}
""")
        self.program = Program(["/usr/sbin/haproxy", "-db", "-f", conf], "haproxy.log")
        wait_port(self.address, self.program)

    def roots(self):
        return [self.program.pid]

    def settle(self):
        pass

    def stop(self):
        self.program.stop()


MASTER = """
127.0.0.1:25 inet n - n - - smtpd
pickup unix n - n 60 1 pickup
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
verify unix - - n - 1 verify
flush unix n - n 1000? 0 flush
proxymap unix - - n - - proxymap
smtp unix - - n - - smtp
relay unix - - n - - smtp
error unix - - n - - error
retry unix - - n - - error
discard unix - - n - - discard
anvil unix - - n - 1 anvil
scache unix - - n - 1 scache
postlog unix-dgram n - n - 1 postlogd
policyd-spf unix - n n - 0 spawn user=policyd-spf argv=/usr/bin/policyd-spf {dir}/policyd-spf.conf
"""


class Postfix:
    """As Debian sets it up, with its queue on disk; with add-ons: what Gatepost does, done by four others."""
    address = "127.0.0.1:25"

    def __init__(self, addons):
        self.addons = addons
        self.name = "Postfix+4" if addons else "Postfix"
        self.label = "opendkim, opendmarc, policyd-spf, postgrey" if addons else "alone"

    def start(self):
        self.dir = WORK / "postfix"
        shutil.rmtree(self.dir, ignore_errors=True)
        owner = pwd.getpwnam("postfix")
        for sub in ("conf", "queue", "data"):
            (self.dir / sub).mkdir(parents=True)
        os.chown(self.dir / "data", owner.pw_uid, owner.pw_gid)
        self.programs = []
        milters = ""
        restrictions = "reject_unauth_destination, reject_rbl_client bl1.bench.example, reject_rbl_client bl2.bench.example"
        if self.addons:
            self._start_addons()
            milters = "inet:127.0.0.1:8891, inet:127.0.0.1:8893"
            restrictions += (", check_policy_service unix:private/policyd-spf"
                             # postgrey looks up and writes all, and Postfix only logs what it would have deferred.
                             ", warn_if_reject check_policy_service inet:127.0.0.1:10023")
        (self.dir / "conf" / "master.cf").write_text(MASTER.format(dir=self.dir))
        settings = {
            "compatibility_level": "3.6",
            "queue_directory": self.dir / "queue",
            "data_directory": self.dir / "data",
            "maillog_file": self.dir / "log",
            "maillog_file_prefixes": self.dir,
            "myhostname": f"gate.{SITE}",
            "mydestination": "",
            "mynetworks": "127.0.0.0/8",
            "inet_interfaces": "127.0.0.1",
            "inet_protocols": "ipv4",
            "relay_domains": SITE,
            "relay_transport": f"relay:[{SINK.split(':')[0]}]:{SINK.split(':')[1]}",
            "smtpd_recipient_restrictions": restrictions,
            "smtpd_milters": milters,
            "smtpd_client_connection_count_limit": "0",
            "policyd-spf_time_limit": "3600",
            "message_size_limit": "104857600",
            "alias_maps": "",
            "alias_database": "",
        }
        (self.dir / "conf" / "main.cf").write_text("".join(f"{k} = {v}\n" for k, v in settings.items()))
        self.master = Program(["/usr/sbin/postfix", "-c", self.dir / "conf", "start-fg"], "postfix.log")
        self.programs.append(self.master)
        wait_port(self.address, self.master)

    def _start_addons(self):
        run = pathlib.Path("/run/bench")
        run.mkdir(exist_ok=True)
        os.chmod(run, 0o777)
        (self.dir / "opendkim.conf").write_text("Mode v\nSyslog no\nUserID opendkim\nSocket inet:8891@127.0.0.1\n"
                                                "Nameservers 127.0.0.1\nBackground no\n")
        (self.dir / "opendmarc.conf").write_text(
            f"Syslog false\nUserID opendmarc\nSocket inet:8893@127.0.0.1\nBackground false\nAuthservID gate.{SITE}\n"
            f"TrustedAuthservIDs gate.{SITE}\nRejectFailures false\nPublicSuffixList /usr/share/publicsuffix/public_suffix_list.dat\n")
        (self.dir / "policyd-spf.conf").write_text("debugLevel = 1\nTestOnly = 1\nHELO_reject = Fail\nMail_From_reject = Fail\n"
                                                   "PermError_reject = False\nTempError_Defer = False\n"
                                                   "skip_addresses = 127.0.0.0/8\n")
        greylist = self.dir / "postgrey"
        greylist.mkdir()
        owner = pwd.getpwnam("postgrey")
        os.chown(greylist, owner.pw_uid, owner.pw_gid)
        self.programs += [
            Program(["/usr/sbin/opendkim", "-f", "-x", self.dir / "opendkim.conf"], "opendkim.log"),
            Program(["/usr/sbin/opendmarc", "-f", "-c", self.dir / "opendmarc.conf"], "opendmarc.log"),
            Program(["/usr/sbin/postgrey", "--inet=127.0.0.1:10023", f"--dbdir={greylist}", "--user=postgrey",
                     "--group=postgrey"], "postgrey.log"),
        ]
        for port in (8891, 8893, 10023):
            self._wait_listening(port)

    @staticmethod
    def _wait_listening(port, timeout=30):
        end = time.monotonic() + timeout
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), timeout=5).close()
                return
            except OSError:
                if time.monotonic() > end:
                    raise RuntimeError(f"nobody listens on {port}")
                time.sleep(0.05)

    def roots(self):
        return [p.pid for p in self.programs]

    def settle(self):
        """Until the queue is empty: its work belongs to the messages."""
        end = time.monotonic() + 600
        while time.monotonic() < end:
            if not any(files for sub in ("incoming", "active", "deferred") for _, _, files in os.walk(self.dir / "queue" / sub)):
                return
            time.sleep(0.1)
        raise RuntimeError("Postfix' queue does not empty")

    def stop(self):
        subprocess.run(["/usr/sbin/postfix", "-c", str(self.dir / "conf"), "stop"], check=False, stdout=subprocess.DEVNULL,
                       stderr=subprocess.DEVNULL, timeout=60)
        for p in reversed(self.programs):
            p.stop(signal.SIGTERM)
