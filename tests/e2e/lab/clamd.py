"""ClamAV's clamd with two signatures of our own, on a socket and a port; it loads in a moment and downloads nothing."""
import os
import pathlib
import pwd

from .process import Process, free_port
from .scanner import Scanner

CLAMD = "/usr/sbin/clamd"
WORD = b"GATEPOST-VIRUS-TEST"           # what the first signature finds; the other is EICAR's
# In two halves: a scanner that looks at this file is not to find it here.
EICAR = rb"X5O!P%@AP[4\PZX54(P^)7CC)7}$EICAR-STANDARD" + rb"-ANTIVIRUS-TEST-FILE!$H+H*"


class Clamd(Scanner):
    """user: a name, then the socket is that user's and its group's alone, unless mode says otherwise."""

    def __init__(self, directory, user=None, mode="666", conf=""):
        self.dir = pathlib.Path(directory)
        (self.dir / "db").mkdir(parents=True)
        self.port = free_port()
        self.socket = self.dir / "clamd.ctl"
        (self.dir / "db/test.ndb").write_text(f"Gatepost-Test:0:*:{WORD.hex()}\nEicar-Test-Signature:0:*:{EICAR.hex()}\n")
        (self.dir / "clamd.conf").write_text(f"""
LocalSocket {self.socket}
LocalSocketMode {mode}
TCPSocket {self.port}
TCPAddr 127.0.0.1
DatabaseDirectory {self.dir}/db
TemporaryDirectory {self.dir}
Foreground yes
StreamMaxLength 1M
{f"User {user}" if user else ""}
{conf}
""")
        if user:
            for path in (self.dir, self.dir / "db"):
                os.chown(path, pwd.getpwnam(user).pw_uid, pwd.getpwnam(user).pw_gid)
        self.start()

    @property
    def unix(self):
        return f"unix:{self.socket}"

    def start(self):
        self.socket.unlink(missing_ok=True)
        self.process = Process([CLAMD, "-c", str(self.dir / "clamd.conf")])
        self.process.wait_line("Self checking every")
