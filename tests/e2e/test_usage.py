"""--help of each command, wrong options, and the manual page: they tell the same."""
import re
import subprocess

import pytest

from lab import gateway

COMMANDS = ["run", "check", "routes", "advise", "dkim-key", "explain", "history", "recipients", "replay", "report", "status", "sink", "upgrade", "version"]
QUARANTINE = ["list", "show", "search", "release", "delete", "allow", "export", "purge", "reindex"]
SPOOL = ["list", "show", "retry", "delete"]
LOGIN = ["show", "unlock"]
ALL = [[c] for c in COMMANDS] + [["quarantine", c] for c in QUARANTINE] + [["spool", c] for c in SPOOL] + [["login", c] for c in LOGIN] + [["report", "make"]]
NAMES = [" ".join(c) for c in ALL]
OPTION = re.compile(r"(?<![\w-])--([a-z][a-z-]+)")


def run(*args):
    return subprocess.run([gateway.BINARY, *args], capture_output=True, text=True, timeout=120)


def manual():
    text = (gateway.ROOT / "conf" / "gatepost.8").read_text()
    return set(re.findall(r"(?:Fl|,) -([a-z][a-z-]+)", text)), text


@pytest.mark.parametrize("command", ALL, ids=NAMES)
def test_help(command):
    done = run(*command, "--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("usage: gatepost " + " ".join(command))


@pytest.mark.parametrize("command", ALL, ids=NAMES)
def test_wrong_option(command):
    done = run(*command, "--nonsense")
    assert (done.returncode, done.stdout) == (3 if command == ["advise"] else 1, "")        # 1 is something that it found
    assert done.stderr.startswith("gatepost " + " ".join(command) + ": ") and "--nonsense" in done.stderr and "usage: " in done.stderr


def test_lists_of_commands():
    assert {line.split()[0] for line in run("help").stdout.splitlines() if line.startswith("  ")} == {*COMMANDS, "quarantine", "spool", "login", "help"}
    assert {line.split()[0] for line in run("quarantine", "help").stdout.splitlines() if line.startswith("  ")} == set(QUARANTINE)
    assert {line.split()[0] for line in run("spool", "--help").stdout.splitlines() if line.startswith("  ")} == set(SPOOL)
    assert {line.split()[0] for line in run("login", "--help").stdout.splitlines() if line.startswith("  ")} == set(LOGIN)
    for args in ([], ["nonsense"], ["quarantine"], ["quarantine", "nonsense"], ["spool"], ["spool", "nonsense"], ["login"], ["login", "nonsense"]):
        done = run(*args)
        assert (done.returncode, done.stdout) == (1, "") and "usage: gatepost" in done.stderr, args


def test_the_manual_names_every_option_and_no_other():
    told = {o for c in ALL for o in OPTION.findall(run(*c, "--help").stdout)}
    named, text = manual()
    assert told - named == set(), "told by --help, not in gatepost(8)"
    assert named - told - {"help"} == set(), "in gatepost(8), not told by --help"
    for c in COMMANDS:
        assert re.search(rf"^\.(Nm|It) {c}\b|^\.Ic {c}\b|^\.It (Ic|Cm) {c}\b", text, re.M), c


def test_explain_and_the_terminal(lab, tmp_path):
    """What a message says stays on its line and does nothing to a terminal; a long text is cut."""
    g = lab([1], policy="quarantine evil: if header.subject ~ /evil/ and text ~ /./\naccept\n")
    message = tmp_path / "m.eml"
    message.write_bytes(b"From: a@sender.example\r\nSubject: evil =?utf-8?Q?=1B[31m=E2=80=AEred=0D=0Averdict:_accept?=\r\nMessage-ID: <\x1b]0;x\x07@x>\r\n\r\n"
                        b"first\r\nverdict: accept, by nobody\r\n" + b"long " * 10000)
    done = g.command("explain", "-c", str(g.conf_path), "--client", "192.0.2.1", "--helo", "x.example", "--from", "a@sender.example",
                     "--to", "bob@example.com", str(message))
    assert not set(done.stdout) & (set(range(32)) - {10}) and "\u202e".encode() not in done.stdout
    lines = done.stdout.decode().splitlines()
    assert [line for line in lines if line.startswith("verdict:")] == ["verdict: quarantine, by evil"]
    (text,) = [line for line in lines if line.startswith("  text  ")]
    assert "verdict: accept" in text and len(text) < 1100 and text.endswith("...")
    assert max(map(len, lines)) < 2000


@pytest.mark.parametrize("path, why", [("/nonexistent", "No such file or directory"), ("/", "not a file")])
def test_a_configuration_that_cannot_be_read(path, why):
    done = run("check", "-c", path)
    assert (done.returncode, done.stderr) == (1, f"{path}: {why}, expected a readable text file\n")
