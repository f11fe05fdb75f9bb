"""A name from a message (of an attachment, in an archive, an address, a field) is never a path, an argument or a word for a shell: no system call sees it."""
import base64
import io
import os
import re
import subprocess
import zipfile

import pytest

from lab.smtp import Client

PLAIN = os.environ.get("GATEPOST_PLAIN")
CANARY = "canary7d1f"
NAMES = [f"../../../../tmp/{CANARY}", f"/tmp/{CANARY}.exe", f"$(touch {CANARY})", f"`touch {CANARY}`", f"-rf {CANARY}", f"a;touch {CANARY};b.exe",
         f"|{CANARY}", f"%s%n{CANARY}", f"C:\\{CANARY}\\x.exe", f"..\\..\\{CANARY}.js", f"{CANARY}' OR 1=1 --.exe", f"<img src={CANARY}>.js", f"{CANARY}\u202egpj.exe"]
SUBJECT = f"=?utf-8?q?$=28touch_{CANARY}=29=0D=0AX-{CANARY}:_1?="
TRACED = "trace=%file,%process"


def zipped():
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as z:
        for name in NAMES:
            z.writestr(name, b"x")
    return out.getvalue()


def message():
    parts = [f"--b\r\nContent-Type: text/plain\r\n\r\n$(touch {CANARY}) {{{{7*7}}}}\r\n".encode()]
    for name in NAMES:
        word = base64.b64encode(name.encode()).decode()
        parts.append(f"--b\r\nContent-Type: application/octet-stream\r\nContent-Disposition: attachment; filename=\"=?utf-8?b?{word}?=\"\r\n\r\nMZ\r\n".encode())
    parts.append(b"--b\r\nContent-Type: application/zip; name=a.zip\r\nContent-Transfer-Encoding: base64\r\n\r\n" + base64.encodebytes(zipped()).replace(b"\n", b"\r\n"))
    head = (f"From: \"$(touch {CANARY})\" <billing@bank.example>\r\nTo: bob@example.com\r\nSubject: {SUBJECT}\r\nMessage-ID: <../../{CANARY}@x>\r\n"
            "MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n")
    return head.encode() + b"".join(parts) + b"--b--\r\n"


def calls(path):
    """What was called with the canary in it, and the programs that were executed."""
    text = path.read_text(errors="replace")
    assert "openat(" in text, "strace has seen nothing"
    return [line for line in text.splitlines() if CANARY in line], re.findall(r"execve\((\"[^\"]*\")", text)


@pytest.mark.skipif(not PLAIN, reason="needs a plain build (GATEPOST_PLAIN): strace and the leak checker do not go together")
def test_a_name_is_never_more(lab, backend, tmp_path):
    trace = tmp_path / "gateway.strace"
    g = lab([backend().port], binary=PLAIN, wrap=["strace", "-D", "-f", "-qq", "-e", TRACED, "-o", str(trace)],
            policy="quarantine programs: if attachment.extension in (exe, js) and archive.extension in (exe, js)\nquarantine all: if message.size >= 0\n")
    with Client(g.port) as c:
        assert c.message(f"`touch${CANARY}`|sh@sender.example", f"bob+`{CANARY}`@example.com", message()).code == 250
        c.expect(f"VRFY ../../{CANARY}", 252)
    (kept,) = g.quarantined()
    assert CANARY not in str(kept)
    id, conf = kept.stem, str(g.conf_path)
    out = tmp_path / "out"
    out.mkdir()
    said = b""
    g.stop()                        # all is written down then
    for i, argv in enumerate((["quarantine", "reindex", "-c", conf], ["quarantine", "list", "-c", conf], ["quarantine", "show", "-c", conf, id], ["quarantine", "search", "-c", conf, CANARY],
                              ["quarantine", "export", "-c", conf, "--dir", str(out), id], ["history", "-c", conf])):
        path = tmp_path / f"command{i}.strace"
        done = subprocess.run(["strace", "-f", "-qq", "-e", TRACED, "-o", str(path), PLAIN, *argv], capture_output=True, timeout=60, cwd=tmp_path)
        assert done.returncode == 0, (argv, done.stderr)
        said += done.stdout
        seen, programs = calls(path)
        # What the user of the command has typed he has typed.
        assert [s for s in seen if "execve(" not in s] == [] and len(programs) == 1, (argv, seen, programs)
    assert CANARY.encode() in said and b"\r\nX-" + CANARY.encode() not in said
    assert "\u202e".encode() not in said and b"\x1b" not in said
    assert [p.name for p in out.iterdir()] and not [p for p in out.iterdir() if CANARY in p.name]
    seen, programs = calls(trace)
    assert seen == [] and len(programs) == 1, (seen, programs)
    assert not [p for p in tmp_path.rglob("*") if CANARY in p.name]
    assert not os.path.exists(f"/tmp/{CANARY}") and not os.path.exists(f"/tmp/{CANARY}.exe")
