"""A mail filter on libmilter that does what a script says (milter.c), and what it heard; and OpenDKIM."""
import os
import pathlib
import pwd
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


def unescape(text):
    out, it = [], iter(text)
    for c in it:
        out.append({"n": "\n", "r": "\r", "t": "\t"}.get(d := next(it, "\\"), d) if c == "\\" else c)
    return "".join(out)


class Heard:
    """One thing that a filter heard: what, its arguments, and the macros that were known."""

    def __init__(self, line):
        self.what, *rest = [unescape(p) for p in line.split("\t")]
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
            end = time.monotonic() + WAIT_S
            while not self.path.exists():
                assert time.monotonic() < end and self.process.poll() is None, "the milter does not start"
                time.sleep(0.01)
            self.path.chmod(0o666)

    def stop(self):
        if self.process:
            self.process.kill()
            self.process.wait()
        self.process = None

    def script(self, *lines):
        """Each a tuple (moment, what, arguments...), from the next connection on; and what was heard is forgotten."""
        escaped = ["\t".join(str(p).replace("\\", "\\\\").replace("\n", "\\n").replace("\r", "\\r").replace("\t", "\\t") for p in line) for line in lines]
        self.script_path.write_text("\n".join(escaped) + "\n")
        self.log.write_text("")

    def heard(self, last=None, count=1, timeout=WAIT_S):
        """All, once it has heard `last` so many times."""
        end = time.monotonic() + timeout
        while True:
            found = [Heard(line) for line in self.log.read_text(errors="surrogateescape").split("\n")[:-1]]
            if last is None or sum(h.what == last for h in found) >= count:
                return found
            assert time.monotonic() < end, f"the milter has not heard {last}: {found}"
            time.sleep(0.02)

    def heard_whole(self):
        """One session with one message, to its end. That a session of before has ended may be heard in the middle of it."""
        count = 1
        while True:
            found = self.heard("close", count)
            what = [h.what for h in found]
            if "eom" in what and "close" in what[what.index("eom"):]:
                eom = what.index("eom")
                return [h for i, h in enumerate(found[:what.index("close", eom) + 1]) if i >= what.index("connect") and (h.what != "close" or i > eom)]
            count += 1


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
        end = time.monotonic() + WAIT_S
        if self.where == "inet":
            wait_for_port(self.port)
        while self.where != "inet" and not self.path.exists():
            assert time.monotonic() < end and self.process.poll() is None, "opendkim does not start"
            time.sleep(0.01)
        return self

    def __exit__(self, *_):
        self.process.kill()             # at SIGTERM libmilter takes seconds to end
        self.process.wait()
