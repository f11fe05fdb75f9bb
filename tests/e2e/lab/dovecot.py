"""Dovecot's login process alone, for a Postfix that asks it: users and passwords of our own, and a socket."""
import os
import pathlib
import time

from .process import WAIT_S, Process


class Dovecot:
    """users: {name: password}. auth: the path of its socket, for smtpd_sasl_path."""

    def __init__(self, directory, users, mechanisms="plain login cram-md5 scram-sha-256"):
        self.dir = pathlib.Path(directory)
        self.dir.mkdir(parents=True, exist_ok=True)
        os.chmod(self.dir, 0o755)
        self.auth = self.dir / "auth"
        (self.dir / "users").write_text("".join(f"{u}:{{PLAIN}}{p}::::::\n" for u, p in users.items()))
        os.chmod(self.dir / "users", 0o644)
        (self.dir / "dovecot.conf").write_text(f"""
base_dir = {self.dir}/run
state_dir = {self.dir}/state
log_path = {self.dir}/log
protocols =
ssl = no
disable_plaintext_auth = no
auth_mechanisms = {mechanisms}
auth_failure_delay = 0
passdb {{
  driver = passwd-file
  args = {self.dir}/users
}}
userdb {{
  driver = static
  args = uid=65534 gid=65534 home=/nonexistent
}}
service auth {{
  unix_listener {self.auth} {{
    mode = 0666
  }}
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
""")
        self.process = Process(["/usr/sbin/dovecot", "-F", "-c", str(self.dir / "dovecot.conf")])
        end = time.monotonic() + WAIT_S
        while not self.auth.exists():
            if time.monotonic() > end or self.process.proc.poll() is not None:
                raise AssertionError(f"dovecot does not come up:\n{self.process.output()}\n{self.log()}")
            time.sleep(0.02)

    def log(self):
        path = self.dir / "log"
        return path.read_text(errors="replace") if path.exists() else ""

    def stop(self):
        self.process.stop()
