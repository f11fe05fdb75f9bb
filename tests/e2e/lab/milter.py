"""A mail filter on libmilter that does what a script says (milter.c), and what it heard; and OpenDKIM."""
import contextlib
import os
import pathlib
import pwd
import socket
import subprocess
import time

from .postfix import enterable
from .process import WAIT_S, free_port, wait_for_port

SOURCE = pathlib.Path(__file__).parent / "milter.c"
MACROS = ("j", "_", "v", "i")


def program(directory):
    """Compiled once."""
    path = pathlib.Path(directory) / "milter"
    if not path.exists():
        subprocess.run(["cc", "-O1", "-o", str(path), str(SOURCE), "-lmilter", "-lpthread"], check=True)
    return path


def wait_for_socket(path, process):
    """Until it takes connections: the file is there a little earlier."""
    end = time.monotonic() + WAIT_S
    while True:
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as s:
            s.connect(str(path))
            return
        assert time.monotonic() < end and process.poll() is None, f"nobody listens on {path}"
        time.sleep(0.01)


def unescape(text):
    out, it = [], iter(text)
    for c in it:
        out.append({"n": "\n", "r": "\r", "t": "\t"}.get(d := next(it, "\\"), d) if c == "\\" else c)
    return "".join(out)


class Heard:
    """One thing that a filter heard: what, its arguments, and the macros that were known."""

    def __init__(self, line):
        _, self.what, *rest = [unescape(p) for p in line.split("\t")]
        self.args, self.macros = [], {}
        for p in rest:
            name, eq, value = p.partition("=")
            macro = eq and (name in MACROS or (name.startswith("{") and name.endswith("}")))
            if macro and self.what not in ("header", "body"):
                self.macros[name] = value
            else:
                self.args.append(p)

    def __repr__(self):
        return f"{self.what} {self.args}"


class Milter:
    """where: "inet" or "unix"."""

    def __init__(self, binary, directory, where="inet"):
        self.dir = pathlib.Path(directory)
        self.dir.mkdir(parents=True, exist_ok=True)
        self.script_path, self.log = self.dir / "script", self.dir / "log"
        self.binary, self.where = binary, where
        self.port = free_port()
        self.path = self.dir / "sock"
        self.socket = f"inet:{self.port}@127.0.0.1" if where == "inet" else f"unix:{self.path}"
        self.process = None
        self.number = 0
        self.script()

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.stop()

    def start(self):
        self.process = subprocess.Popen([str(self.binary), self.socket, str(self.script_path), str(self.log)])
        if self.where == "inet":
            wait_for_port(self.port)
        else:
            wait_for_socket(self.path, self.process)
            self.path.chmod(0o666)

    def stop(self):
        if self.process:
            self.process.kill()
            self.process.wait()
        self.process = None

    def script(self, *lines):
        """Each a tuple (moment, what, arguments...), from the next connection on; and what was heard is forgotten, also what a session of before will hear."""
        escaped = ["\t".join(str(p).replace("\\", "\\\\").replace("\n", "\\n").replace("\r", "\\r").replace("\t", "\\t") for p in line) for line in lines]
        self.number += 1
        whole = self.script_path.with_suffix(".new")        # a connection that begins at this moment reads one or the other
        whole.write_text("\n".join([str(self.number), *escaped]) + "\n")
        whole.rename(self.script_path)
        self.log.write_text("")

    def heard(self, last=None, count=1, timeout=WAIT_S):
        """All, by sessions with this script, once it has heard `last` so many times."""
        end = time.monotonic() + timeout
        while True:
            lines = self.log.read_text(errors="surrogateescape").split("\n")[:-1]
            found = [Heard(line) for line in lines if line.startswith(f"{self.number}\t")]
            if last is None or sum(h.what == last for h in found) >= count:
                return found
            assert time.monotonic() < end, f"the milter has not heard {last}: {found}"
            time.sleep(0.02)


class OpenDKIM:
    """mode: "s" or "v"; conf: more lines."""

    def __init__(self, directory, mode, conf="", where="inet"):
        self.dir = pathlib.Path(directory)
        self.dir.mkdir(parents=True, exist_ok=True)
        owner = pwd.getpwnam("opendkim")
        enterable(self.dir)
        os.chown(self.dir, owner.pw_uid, owner.pw_gid)
        self.port = free_port()
        self.path = self.dir / "sock"
        self.socket = f"inet:{self.port}@127.0.0.1" if where == "inet" else f"local:{self.path}"
        (self.dir / "conf").write_text(f"Mode {mode}\nSocket {self.socket}\nUserID opendkim\nUMask 007\nBackground no\nSyslog no\nCanonicalization relaxed/relaxed\n{conf}\n")
        self.where = where
        self.process = None

    def __enter__(self):
        self.process = subprocess.Popen(["/usr/sbin/opendkim", "-f", "-x", str(self.dir / "conf")], cwd=str(self.dir))
        if self.where == "inet":
            wait_for_port(self.port)
        else:
            wait_for_socket(self.path, self.process)
        return self

    def __exit__(self, *_):
        self.process.kill()             # at SIGTERM libmilter takes seconds to end
        self.process.wait()
