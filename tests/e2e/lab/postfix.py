"""A Postfix of our own: own configuration, queue and port; mail for its domains ends in Maildirs."""
import contextlib
import os
import pathlib
import pwd
import re
import shutil
import stat
import subprocess
import tempfile
import time

from .process import WAIT_S, free_port, wait_for_port

MASTER = """
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
error unix - - n - - error
retry unix - - n - - error
discard unix - - n - - discard
virtual unix - n n - - virtual
anvil unix - - n - 1 anvil
tlsmgr unix - - n 1000? 1 tlsmgr
scache unix - - n - 1 scache
postlog unix-dgram n - n - 1 postlogd
"""


def enterable(directory):
    """For the servers' own users: whatever lies below the place for temporary files, which pytest closes to others."""
    top, directory = pathlib.Path(tempfile.gettempdir()).resolve(), directory.resolve()
    for path in [directory, *directory.parents]:
        if path == directory or top in path.parents:
            os.chmod(path, path.stat().st_mode | 0o755)


def written(path):
    """When its delivery began, which is in its name, 1700000000.Vfe00I1234M567890.host: files of one tick of the clock have the same time."""
    seconds, micros = re.match(r"(\d+)\..*M(\d+)\.", path.name).groups()
    return int(seconds), int(micros)


class Postfix:
    """host: of netns.py, where it runs instead; listen: the addresses there ("192.0.2.1:25"), the first to be waited for. services: more lines of master.cf."""

    def __init__(self, directory, domains=("example.com",), users=("bob", "carol", "postmaster"), host=None, listen=(), services="", **settings):
        self.dir = pathlib.Path(directory)
        self.host = host
        self.listen = list(listen) or [f"127.0.0.1:{free_port()}"]
        self.address, _, port = self.listen[0].rpartition(":")
        self.port = int(port)
        self.conf = self.dir / "conf"
        self.mail = self.dir / "mail"
        for sub in ("conf", "queue", "data", "mail"):
            (self.dir / sub).mkdir(parents=True, exist_ok=True)
        owner = pwd.getpwnam("postfix")
        os.chown(self.dir / "data", owner.pw_uid, owner.pw_gid)
        os.chown(self.mail, owner.pw_uid, owner.pw_gid)
        # postsuper, which looks at the queue before each start, writes it as that user, and ends if it cannot: when it finds what a kill has left.
        (self.dir / "log").touch()
        os.chown(self.dir / "log", owner.pw_uid, owner.pw_gid)
        enterable(self.dir)
        (self.conf / "master.cf").write_text("".join(f"{a} inet n - n - - smtpd\n" for a in self.listen) + MASTER + services)
        (self.conf / "mailboxes").write_text("".join(f"{u}@{d} {d}/{u}/\n" for d in domains for u in users))
        main = {
            "compatibility_level": "3.6",
            "queue_directory": self.dir / "queue",
            "data_directory": self.dir / "data",
            "maillog_file": self.dir / "log",
            "maillog_file_prefixes": self.dir,
            "myhostname": "server.example.com",
            "mydestination": "",
            "mynetworks": "127.0.0.0/8",
            "inet_protocols": "ipv4",
            "virtual_mailbox_domains": " ".join(domains),
            "virtual_mailbox_base": self.mail,
            "virtual_mailbox_maps": f"texthash:{self.conf}/mailboxes",
            "virtual_uid_maps": f"static:{owner.pw_uid}",
            "virtual_gid_maps": f"static:{owner.pw_gid}",
            "smtpd_recipient_restrictions": "reject_unauth_destination",
            "smtpd_peername_lookup": "no",
            "smtpd_client_connection_count_limit": "0",
            "smtputf8_enable": "yes",
            "message_size_limit": "104857600",
            "mailbox_size_limit": "0",
            "virtual_mailbox_limit": "0",
            "in_flow_delay": "0",        # tests refuse much mail that has come as far as RCPT
            "alias_maps": "",
            "alias_database": "",
        }
        main.update(settings)
        (self.conf / "main.cf").write_text("".join(f"{k} = {v}\n" for k, v in main.items()))
        self.resume()

    def _postfix(self, command):
        self.command("/usr/sbin/postfix", "-c", str(self.conf), command)

    def command(self, *argv, check=True, **kw):
        return subprocess.run([*(self.host.prefix if self.host else ()), *argv], check=check,
                              stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=60, **kw)

    def stop(self):
        self.command("/usr/sbin/postfix", "-c", str(self.conf), "stop", check=False)

    def pause(self):
        """Nobody listens until resume."""
        self._postfix("stop")

    def resume(self):
        self._postfix("start")
        (self.host.call if self.host else lambda f, *a: f(*a))(wait_for_port, self.port, self.address.strip("[]"))

    def messages(self, address):
        user, domain = address.split("@")
        new = self.mail / domain / user / "new"
        return sorted(new.iterdir()) if new.is_dir() else []

    def wait_message(self, address, count=1, timeout=WAIT_S):
        """The bytes of the newest message of a mailbox once it has `count` of them."""
        end = time.monotonic() + timeout
        while len(self.messages(address)) < count:
            if time.monotonic() > end:
                raise AssertionError(f"{address} has {len(self.messages(address))} messages, expected {count}:\n{self.log()}")
            time.sleep(0.02)
        found = self.messages(address)
        return max(found, key=written).read_bytes()

    def queued(self):
        """
        Files of what it has taken and not delivered yet; what is put off counts no more. That of a message which is whole may be executed: each transaction
        has a file from RCPT on, and may stand there as long as its session does.
        """
        out = []
        for path in (p for name in ("maildrop", "incoming", "active") for p in (self.dir / "queue" / name).glob("*")):
            with contextlib.suppress(FileNotFoundError):
                if path.stat().st_mode & stat.S_IXUSR:
                    out.append(path.name)
        return out

    def empty(self):
        """The mailboxes; what somebody has sent and nobody waited for comes to them first."""
        end = time.monotonic() + WAIT_S
        while self.queued():
            assert time.monotonic() < end, f"still in the queue: {self.queued()}\n{self.log()}"
            time.sleep(0.02)
        shutil.rmtree(self.mail, ignore_errors=True)
        self.mail.mkdir()
        owner = pwd.getpwnam("postfix")
        os.chown(self.mail, owner.pw_uid, owner.pw_gid)

    def log(self, last=4000):
        path = self.dir / "log"
        return path.read_text(errors="replace")[-last:] if path.exists() else ""

    def wait_log(self, pattern, since=0, timeout=WAIT_S):
        """The first match in what it has logged, past `since` characters."""
        end = time.monotonic() + timeout
        while not (found := re.search(pattern, self.log(1 << 30)[since:])):
            if time.monotonic() > end:
                raise AssertionError(f"the server has not logged {pattern!r}:\n{self.log()}")
            time.sleep(0.02)
        return found
