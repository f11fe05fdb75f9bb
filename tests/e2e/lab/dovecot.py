"""Dovecot's login process alone, for a Postfix that asks it: users and passwords of our own, and a socket."""
import contextlib
import os
import pathlib
import signal
import time

from .process import WAIT_S, Process

MECHANISMS = "plain login cram-md5 scram-sha-256"


def common(directory, mechanisms):
    """What each Dovecot of the lab is told: its places, who may log in and how, no penalty for failures, nothing that needs users of the system's."""
    return f"""
base_dir = {directory}/run
state_dir = {directory}/state
disable_plaintext_auth = no
auth_mechanisms = {mechanisms}
auth_failure_delay = 0
passdb {{
  driver = passwd-file
  args = {directory}/users
}}
service anvil {{
  unix_listener anvil-auth-penalty {{
    mode = 0
  }}
}}
service stats {{
  unix_listener stats-writer {{
    mode = 0666
  }}
}}
"""


def children(parent):
    """Process ids."""
    out = []
    for stat in pathlib.Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            if int(stat.read_text().rpartition(")")[2].split()[1]) == parent:
                out.append(int(stat.parent.name))
    return out


class Daemon:
    """A Dovecot in the foreground; conf: what it is told besides what is common."""

    def __init__(self, directory, users, mechanisms, conf):
        self.dir = pathlib.Path(directory)
        self.dir.mkdir(parents=True, exist_ok=True)
        os.chmod(self.dir, 0o755)
        (self.dir / "users").write_text("".join(f"{u}:{{PLAIN}}{p}::::::\n" for u, p in users.items()))
        os.chmod(self.dir / "users", 0o644)
        path = self.dir / "dovecot.conf"
        path.write_text(common(self.dir, mechanisms) + conf)
        self.process = Process(["/usr/sbin/dovecot", "-F", "-c", str(path)])

    def wait_up(self, up):
        """Until up() is true; a Dovecot that ends instead is an error, and nothing of it stays behind."""
        end = time.monotonic() + WAIT_S
        while not up():
            if time.monotonic() > end or self.process.proc.poll() is not None:
                self.stop()
                raise AssertionError(f"dovecot does not come up:\n{self.log()}")
            time.sleep(0.02)

    def log(self):
        return self.process.output()

    def stop(self):
        """At once, and all its processes with it: asked to end, they would wait for each other for seconds."""
        if self.process.proc.poll() is None:
            pids = children(self.process.pid)
            self.process.send(signal.SIGKILL)
            for pid in pids:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        self.process.stop()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()


class Dovecot(Daemon):
    """users: {name: password}. auth: the path of its socket, for smtpd_sasl_path."""

    def __init__(self, directory, users, mechanisms=MECHANISMS):
        self.auth = pathlib.Path(directory) / "auth"
        super().__init__(directory, users, mechanisms, f"""
log_path = /dev/stderr
protocols =
ssl = no
userdb {{
  driver = static
  args = uid=65534 gid=65534 home=/nonexistent
}}
service auth {{
  unix_listener {self.auth} {{
    mode = 0666
  }}
}}
""")
        self.wait_up(self.auth.exists)
