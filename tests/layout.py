"""The plan of the house, checked: what stands at the top, which way includes point, how long files are."""
import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[1]
TOP = {"gateway", "filters", "policy", "tests", "conf", "Makefile", "README.md", "LICENSE"}
LINES_MAX = 900

# Includes point one way: the wire -> policy -> filters; base files serve all, and conf.h is what everybody may read.
FORBIDDEN = {
    "gateway/base": ("retrieval/", "login/", "smtp/", "hop/", "spool/", "tcp/", "access/", "imap/", "pop3/", "process/", "command/", "filters/filter.h",
                     "policy/policy.h", "policy/judge.h"),
    "filters": ("retrieval/", "login/", "smtp/", "hop/", "spool/", "tcp/", "access/", "imap/", "pop3/", "process/", "command/", "base/stream.h",
                "policy/judge.h"),
    "policy": ("retrieval/", "login/", "smtp/", "hop/", "spool/", "tcp/", "access/", "imap/", "pop3/", "command/", "base/stream.h"),
    "gateway/login": ("process/", "command/", "spool/", "smtp/", "hop/", "tcp/", "access/", "imap/", "pop3/", "retrieval/", "base/stream.h"),
    "gateway/limit": ("process/", "command/", "spool/", "smtp/", "hop/", "tcp/", "access/", "imap/", "pop3/", "retrieval/", "login/"),
    "gateway/hop": ("login/", "process/", "command/", "spool/", "access/", "imap/", "pop3/", "smtp/smtp_se"),
    "gateway/directory": ("process/", "command/", "spool/", "smtp/", "hop/", "tcp/", "access/", "imap/", "pop3/", "retrieval/", "login/"),
    "gateway/smtp": ("process/", "command/", "tcp/", "access/", "imap/", "pop3/"),
    "gateway/rua": ("process/", "command/", "access/", "imap/", "pop3/"),
    "gateway/spool": ("rua/", "process/", "command/", "access/", "imap/", "pop3/"),
    "gateway/tcp": ("login/", "process/", "command/", "smtp/", "spool/", "access/", "imap/", "pop3/"),
    "gateway/access": ("process/", "command/", "smtp/", "spool/", "imap/", "pop3/"),
    "gateway/imap": ("process/", "command/", "smtp/", "spool/", "pop3/"),
    "gateway/pop3": ("process/", "command/", "smtp/", "spool/", "imap/"),
    "gateway/process": ("command/",),
    "gateway/daemon": ("process/", "command/", "smtp/", "hop/", "spool/", "tcp/", "access/", "imap/", "pop3/", "login/", "retrieval/"),
    "gateway/retrieval": ("process/", "command/", "smtp/", "hop/", "spool/", "tcp/", "access/", "imap/", "pop3/", "login/"),
}


def tracked():
    out = subprocess.run(["git", "ls-files"], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    return [pathlib.Path(line) for line in out.splitlines()]


def problems():
    files = tracked()
    for top in sorted({f.parts[0] for f in files} - TOP):
        if not top.startswith("."):
            yield f"{top}: not among the entries agreed for the top"
    for f in files:
        if f.suffix not in (".c", ".h"):
            continue
        lines = (ROOT / f).read_text(errors="replace").splitlines()
        if len(lines) > LINES_MAX:
            yield f"{f}: {len(lines)} lines, at most {LINES_MAX}"
        room = next((r for r in FORBIDDEN if str(f).startswith(r + "/")), None)
        for n, line in enumerate(lines, 1):
            m = re.match(r'#include "([^"]+)"', line)
            if m and room and any(m[1].startswith(bad) for bad in FORBIDDEN[room]):
                yield f"{f}:{n}: {room} must not include {m[1]}"


found = list(problems())
for line in found:
    print(line)
sys.exit(1 if found else 0)
