"""Failures in a running Gatepost, one at a time: the other end of tests/preload/faulty.c."""
import ctypes
import errno
import mmap
import os
import pathlib
import subprocess

FRAMES, SITES, ROLES, MODULES, NAME, MODULE_NAME, KINDS = 16, 1 << 15, 16, 48, 16, 48, 46
OFF, RECORD, FAIL = 0, 1, 2
SHORT = -1

MEMORY = {"malloc", "calloc", "realloc", "memalign", "mmap", "mprotect"}
NO_DESCRIPTOR = {"memfd_create": errno.EMFILE, "socket": errno.EMFILE, "socketpair": errno.EMFILE, "pipe2": errno.EMFILE, "epoll_create1": errno.EMFILE,
                 "eventfd": errno.EMFILE, "dup": errno.EMFILE, "fcntl": errno.EMFILE, "open": errno.EMFILE, "openat": errno.EMFILE}
# How each call fails: once in each of these ways.
ERRORS = {
    **{k: (errno.ENOMEM,) for k in MEMORY},
    **{k: (e,) for k, e in NO_DESCRIPTOR.items()},
    "read": (errno.EIO, errno.ECONNRESET, errno.EINTR, SHORT), "readv": (errno.ECONNRESET, errno.EINTR, SHORT), "pread": (errno.EIO, SHORT),
    "write": (errno.ENOSPC, errno.EPIPE, errno.EINTR, SHORT), "writev": (errno.ECONNRESET, errno.EINTR, SHORT), "pwrite": (errno.ENOSPC, errno.EIO, SHORT),
    "recv": (errno.ECONNRESET, errno.EINTR), "recvfrom": (errno.ECONNREFUSED, errno.EINTR), "recvmsg": (errno.ENOMEM, errno.EINTR),
    "send": (errno.ECONNRESET, errno.EINTR), "sendto": (errno.ENETUNREACH, errno.EINTR), "sendmsg": (errno.ENOBUFS, errno.EMFILE, errno.EINTR),
    "splice": (errno.ECONNRESET, errno.ENOMEM), "accept4": (errno.EMFILE, errno.ECONNABORTED), "connect": (errno.ENETUNREACH, errno.EADDRNOTAVAIL),
    "bind": (errno.EADDRINUSE,), "epoll_ctl": (errno.ENOMEM,), "epoll_wait": (errno.EINTR,), "fsync": (errno.EIO,), "fdatasync": (errno.EIO,),
    "ftruncate": (errno.EIO,), "linkat": (errno.ENOSPC,), "renameat": (errno.ENOSPC,), "unlink": (errno.EIO,), "unlinkat": (errno.EIO,),
    "mkdirat": (errno.ENOSPC,), "getsockopt": (errno.ENOBUFS,), "setsockopt": (errno.ENOBUFS,), "getsockname": (errno.ENOBUFS,), "fork": (errno.EAGAIN,),
}


class Frame(ctypes.Structure):
    _fields_ = [("module", ctypes.c_uint32), ("offset", ctypes.c_uint32)]


class Place(ctypes.Structure):
    _fields_ = [("hash", ctypes.c_uint64), ("sessions", ctypes.c_uint64), ("count", ctypes.c_uint32), ("kind", ctypes.c_uint32), ("role", ctypes.c_uint32),
                ("caller", ctypes.c_uint32), ("depth", ctypes.c_uint32), ("own", ctypes.c_uint32), ("frame", Frame * FRAMES)]


class Layout(ctypes.Structure):
    _fields_ = [("magic", ctypes.c_char * 8), ("kinds", ctypes.c_uint32), ("frames", ctypes.c_uint32), ("sites", ctypes.c_uint32), ("roles", ctypes.c_uint32),
                ("modules", ctypes.c_uint32), ("mode", ctypes.c_uint32), ("session", ctypes.c_uint32), ("target", ctypes.c_uint64), ("kind", ctypes.c_uint32),
                ("role", ctypes.c_uint32), ("caller", ctypes.c_uint32), ("skip", ctypes.c_uint32), ("error", ctypes.c_int32), ("fired", ctypes.c_uint32),
                ("fired_pid", ctypes.c_uint32), ("full", ctypes.c_uint32), ("live", ctypes.c_int64), ("live_bytes", ctypes.c_int64),
                ("kind_name", (ctypes.c_char * NAME) * KINDS), ("role_name", (ctypes.c_char * NAME) * ROLES),
                ("module_name", (ctypes.c_char * MODULE_NAME) * MODULES), ("site", Place * SITES)]


class Site:
    """One call of one role, by the way that led to it."""

    def __init__(self, place, layout):
        self.hash, self.sessions, self.count, self.caller = place.hash, place.sessions, place.count, place.caller
        self.kind_number, self.role_number = place.kind, place.role
        self.kind = layout.kind_name[place.kind].value.decode()
        self.role = layout.role_name[place.role].value.decode()
        self.frames = [(layout.module_name[f.module].value.decode(), f.offset) for f in place.frame[:place.depth]]
        self.memory = self.kind in MEMORY
        self.errors = ERRORS[self.kind]

    def reached_by(self, session):
        return bool(self.sessions >> session & 1)

    def __repr__(self):
        return f"{self.role} {self.kind} {' < '.join(f'{m}+{o:#x}' for m, o in self.frames)}"


class Faulty:
    """The shared memory at `path`; env: what a gateway is started with."""

    def __init__(self, path, library):
        self.path, self.library = pathlib.Path(path), pathlib.Path(library)
        with open(self.path, "w+b") as f:
            f.truncate(ctypes.sizeof(Layout))
            self.map = mmap.mmap(f.fileno(), ctypes.sizeof(Layout))
        self.path.chmod(0o666)
        self.it = Layout.from_buffer(self.map)
        self.env = {"LD_PRELOAD": str(library), "GATEPOST_FAULTY": str(self.path)}

    def check(self):
        it = self.it
        assert it.magic == b"faulty1" and (it.kinds, it.frames, it.sites, it.roles, it.modules) == (KINDS, FRAMES, SITES, ROLES, MODULES), \
            "faulty.c and faulty.py do not agree on the layout"

    def off(self):
        self.it.mode = OFF

    def record(self, session):
        """Sites that are reached from now on count for that kind of session."""
        self.it.session = session
        self.it.mode = RECORD

    def arm(self, site, error, skip=0):
        it = self.it
        it.mode = OFF
        it.fired = 0
        it.target, it.kind, it.role, it.caller, it.skip, it.error = site.hash, site.kind_number, site.role_number, site.caller, skip, error
        it.mode = FAIL

    @property
    def fired(self):
        return bool(self.it.fired)

    def sites(self):
        assert not self.it.full, "more sites than there is room for"
        return [Site(p, self.it) for p in self.it.site if p.hash]

    def close(self):
        self.path.unlink(missing_ok=True)


def where_died(output, binary):
    """Functions and lines of what faulty.c says of a process that has died."""
    out = []
    for line in output.splitlines():
        module, _, offset = line.partition("died at ")[2].partition("+")
        if line.startswith("faulty: died at ") and offset:
            own = module in ("gatepost", os.path.basename(binary))
            text = subprocess.run(["addr2line", "-Cfsie", binary, offset], capture_output=True, text=True).stdout.split("\n") if own else ["", ""]
            out.append(" in ".join(f"{text[i]} {text[i + 1]}" for i in range(0, len(text) - 1, 2)) if own else f"{module}+{offset}")
    return "    " + "\n    ".join(out)


def describe(site, binary):
    """Functions and lines, for who looks for the fault."""
    out = []
    for module, offset in site.frames:
        path = binary if module in ("gatepost", os.path.basename(binary)) else None
        if path:
            text = subprocess.run(["addr2line", "-Cfsie", path, hex(offset - 1)], capture_output=True, text=True).stdout.split("\n")
            out.append(" in ".join(f"{text[i]} {text[i + 1]}" for i in range(0, len(text) - 1, 2)))
        else:
            out.append(f"{module}+{offset:#x}")
    return f"{site.role} {site.kind} {site.hash:#x}\n    " + "\n    ".join(out)
