"""gatepost dkim-key makes keys whose record verifies what is signed with them; gatepost check compares the published ones."""
import os
import re
import subprocess

import dkim
import pytest

from lab.gateway import BINARY
from lab.knot import Knot
from lab.recorder import Recorder
from lab.smtp import Client, mail


def run(*args, cwd=None, code=0):
    r = subprocess.run([BINARY, *map(str, args)], capture_output=True, text=True, cwd=cwd)
    assert r.returncode == code, r.stdout + r.stderr
    assert "Sanitizer" not in r.stderr, r.stderr
    return r.stdout + r.stderr


def make(path, selector, *args):
    """The key in path; its record as a zone has it, and in one line."""
    out = run("dkim-key", *args, "-o", path, "example.com", selector)
    zone = re.search(r"^(\S+\. IN TXT \((?:.|\n)*?\))$", out, re.M)[1]
    name, value = re.search(rf"^({selector}\._domainkey\.example\.com)\n(v=DKIM1.*)$", out, re.M).groups()
    assert "".join(re.findall('"([^"]*)"', zone)) == value
    assert all(len(s) <= 255 for s in re.findall('"([^"]*)"', zone))
    assert f'keys = {{ "{selector}={path}" }}' in out
    assert (f'arc_seal example.com {{\n\tselector = "{selector}"\n\tkey = "{path}"\n}}' in out) == ("ed25519" not in args)  # ARC knows RSA alone
    return zone.replace("\n", " "), value


@pytest.fixture(scope="module")
def keys(scratch):
    """{selector: (path, zone lines, value)}"""
    directory = scratch / "keys"
    directory.mkdir()
    out = {}
    for selector, args in (("sel", ()), ("ed", ("--type", "ed25519")), ("spare", ("--bits", "1024"))):
        path = directory / f"{selector}.pem"
        out[selector] = (path, *make(path, selector, *args))
    return out


@pytest.fixture(scope="module")
def zone(scratch):
    server = Knot(scratch / "keys-knot", "example.com A 127.0.0.1")
    yield server
    server.stop()


def test_files(keys, tmp_path):
    for path, _, _ in keys.values():
        assert path.stat().st_mode & 0o777 == 0o600
        was = path.read_bytes()
        assert "never written over" in run("dkim-key", "-o", path, "example.com", "sel", code=1)
        assert path.read_bytes() == was
        subprocess.run(["openssl", "pkey", "-in", str(path), "-noout", "-check"], check=True, capture_output=True)
    # Without -o: beside the caller; with an open umask, too.
    mask = os.umask(0)
    try:
        out = run("dkim-key", "--type", "ed25519", "Example.COM", "A1", cwd=tmp_path)
    finally:
        os.umask(mask)
    assert (tmp_path / "example.com.a1.pem").stat().st_mode & 0o777 == 0o600
    assert "a1._domainkey.example.com" in out
    # The record of a key that is there.
    path, _, value = keys["sel"]
    assert value in run("dkim-key", "--show", path, "example.com", "sel")


@pytest.mark.parametrize("args", [
    (), ("example.com",), ("com", "s"), ("exa mple.com", "s"), ("example.com", "a b"), ("example.com", ""), ("example.com", "x" * 250),
    ("--type", "dsa", "example.com", "s"), ("--bits", "512", "example.com", "s"), ("--bits", "8192", "example.com", "s"),
    ("--bits", "20x48", "example.com", "s"), ("--type", "ed25519", "--bits", "2048", "example.com", "s"), ("--nonsense", "example.com", "s"),
    ("-o", "/nowhere/at/all.pem", "example.com", "s"), ("--show", "/nowhere/at/all.pem", "example.com", "s"), ("--show", "/dev/null", "example.com", "s"),
])
def test_wrong_calls(args, tmp_path):
    run("dkim-key", *args, cwd=tmp_path, code=1)
    assert not list(tmp_path.iterdir())


def test_a_key_is_of_use(keys, lab):
    with Recorder() as recorder:
        path, _, value = keys["sel"]
        g = lab([recorder.port], policy="accept\n",
                conf=f'relay_networks = {{ "127.0.0.1/32" }}\ndkim_sign example.com {{ keys = {{ "sel={path}", "ed={keys["ed"][0]}" }} }}')
        with Client(g.port) as c:
            assert c.message("a@example.com", "bob@example.com", mail(sender="a@example.com")).code == 250
        octets = recorder.taken[0].octets
        for i, selector in enumerate(("sel", "ed")):
            assert dkim.DKIM(octets).verify(idx=i, dnsfunc=lambda name, timeout=5: keys[selector][2].encode())


CHECKS = [                      # records, what is said, exit status
    (lambda k: (k["sel"][1], k["ed"][1]), [], 0),
    (lambda k: (k["sel"][1],), ["TXT ed._domainkey.example.com: there is no such record"], 1),
    (lambda k: (k["sel"][1], 'ed._domainkey.example.com. TXT "v=DKIM1; p="'), ["ed._domainkey.example.com: the key is revoked"], 1),
    (lambda k: (k["sel"][1].replace("sel.", "ed."), k["spare"][1].replace("spare.", "sel.")),
     ["sel._domainkey.example.com: another key is published, of 1024 bits", "ed._domainkey.example.com: another key is published, of 2048 bits"], 1),
    (lambda k: (k["sel"][1], k["ed"][1].replace("k=", "t=y; k=", 1)), ["only trying (t=y)"], 0),
    (lambda k: (k["sel"][1], 'ed._domainkey.example.com. TXT "v=spf1 -all"'), ["ed._domainkey.example.com: the record is no key that can be used"], 1),
    (lambda k: (k["sel"][1], k["ed"][1], 'ed._domainkey.example.com. TXT "v=DKIM1; p="'), ["there are 2 records"], 0),
    (lambda k: (k["sel"][1], "ed._domainkey.example.com. CNAME key.host.example.", k["ed"][1].replace("ed._domainkey.example.com", "key.host.example")), [], 0),
]


def test_check_of_a_seal(keys, zone, tmp_path):
    conf = tmp_path / "gatepost.conf"
    (tmp_path / "policy.conf").write_text("accept\n")
    conf.write_text(f"""
hostname = gate.example
domains = {{ example.com }}
backend b {{ address = "127.0.0.1:25" }}
dns {{ forward = {{ "{zone.server}" }} dnssec = no timeout = 5s }}
arc_seal example.com {{ selector = sel key = "{keys["sel"][0]}" }}
""")
    other = keys["spare"][1].replace("spare.", "sel.")
    for record, words, code in ((keys["sel"][1], "no errors", 0), (other, "arc_seal example.com: TXT sel._domainkey.example.com: another key is published", 1),
                                ("", "arc_seal example.com: TXT sel._domainkey.example.com: there is no such record", 1)):
        zone.change(record)
        assert words in run("check", "-c", conf, code=code)


def test_check(keys, zone, tmp_path):
    conf = tmp_path / "gatepost.conf"
    (tmp_path / "policy.conf").write_text("accept\n")
    text = f"""
hostname = gate.example
domains = {{ example.com }}
backend b {{ address = "127.0.0.1:25" }}
dns {{ forward = {{ "{zone.server}" }} dnssec = no timeout = 5s }}
dkim_sign example.com {{ keys = {{ "sel={keys["sel"][0]}", "ed={keys["ed"][0]}" }} }}
"""
    conf.write_text(text)
    for records, words, code in CHECKS:
        zone.change("\n".join(records(keys)))
        out = run("check", "-c", conf, code=code)
        for w in words:
            assert w in out, (w, out)
        assert ("no errors" in out) == (code == 0)
        if not words:
            assert "dkim_sign" not in out, out
    # The DNS away: said, and no error.
    conf.write_text(text.replace("timeout = 5s", "timeout = 300ms"))
    zone.freeze()
    try:
        out = run("check", "-c", conf)
    finally:
        zone.thaw()
    assert out.count("the DNS gave no answer") == 2
