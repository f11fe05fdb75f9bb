"""Rules on names in archives; archives that are bombs, broken or encrypted; the message path goes on meanwhile."""
import base64
import gzip
import io
import json
import os
import subprocess
import tarfile
import zipfile

import pytest

from lab.gateway import BINARY, Gateway
from lab.smtp import Client

PLAIN = os.environ.get("GATEPOST_PLAIN")
POLICY = """
reject bomb: "550 5.7.1 archive refused" if archive.bomb
quarantine locked: if archive.encrypted
quarantine broken: if archive.broken
quarantine programs: if attachment.extension in (exe, js) or archive.extension in (exe, js)
accept
"""


@pytest.fixture
def g(lab, backend):
    return lab([backend().port], policy=POLICY)


def send(g, octets, name="file.bin"):
    body = base64.encodebytes(octets).replace(b"\n", b"\r\n")
    head = ("From: a@sender.example\r\nTo: bob@example.com\r\nSubject: archive\r\nMIME-Version: 1.0\r\n"
            "Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Type: text/plain\r\n\r\nhello\r\n--b\r\n"
            f"Content-Type: application/octet-stream; name={name}\r\nContent-Transfer-Encoding: base64\r\n\r\n").encode()
    with Client(g.port) as c:
        return c.message("a@sender.example", "bob@example.com", head + body + b"--b--\r\n")


def kept(g):
    (path,) = g.quarantined()
    return json.loads(path.with_suffix(".json").read_text())


def zipped(files):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as z:
        for name, content in files.items():
            z.writestr(name, content)
    return out.getvalue()


def tarred(files, mode):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode=mode) as t:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            t.addfile(info, io.BytesIO(content))
    return out.getvalue()


def by_bsdtar(tmp_path, *options):
    (tmp_path / "invoice.exe").write_bytes(b"MZ")
    out = tmp_path / "archive"
    subprocess.run(["bsdtar", *options, "-cf", out, "-C", tmp_path, "invoice.exe"], check=True, capture_output=True)
    return out.read_bytes()


@pytest.mark.parametrize("octets", [
    zipped({"readme.txt": b"x", "发票/invoice.pdf.EXE": b"MZ"}),
    zipped({"inner.bin": zipped({"a.js": b"x"})}),
    tarred({"a.js": b"x"}, "w:gz"),
    tarred({"a.js": b"x"}, "w:xz"),
    gzip.compress(zipped({"a.js": b"x"})),
], ids=["zip", "zip in zip", "tar.gz", "tar.xz", "zip in gz"])
def test_programs_in_archives_are_kept(g, octets):
    assert send(g, octets).code == 250
    record = kept(g)
    assert set(record["facts"]["archive.extension"]) & {"exe", "js"}
    assert g.verdict("quarantine")["rule"] == "programs"


@pytest.mark.parametrize("options", [["--format", "7zip"], ["--format", "iso9660"], ["--format", "paxr", "--zstd"]], ids=["7z", "iso", "tar.zst"])
def test_other_formats(g, tmp_path, options):
    assert send(g, by_bsdtar(tmp_path, *options)).code == 250
    assert any(name.lower().endswith("invoice.exe") for name in kept(g)["facts"]["archive.name"])


def test_a_single_file_is_called_like_its_archive(g):
    assert send(g, gzip.compress(b"MZ"), "invoice.exe.gz").code == 250
    assert kept(g)["facts"]["archive.name"] == ["invoice.exe"]


def test_locked_and_broken(g, tmp_path):
    locked = by_bsdtar(tmp_path, "--format", "zip", "--options", "zip:encryption=aes256", "--passphrase", "x")
    assert send(g, locked, "x.zip").code == 250
    assert g.verdict("quarantine")["rule"] == "locked"
    assert send(g, b"no archive", "x.zip").code == 250
    assert sorted(json.loads(p.with_suffix(".json").read_text())["verdict"]["rule"]["name"] for p in g.quarantined()) == ["broken", "locked"]


def test_bombs_are_refused_and_others_served_meanwhile(g):
    zeros = tarred({"zeros": bytes(200 << 20)}, "w:gz")
    nested = zipped({"a.txt": b"x"})
    for _ in range(6):
        nested = zipped({f"{i}.zip": nested for i in range(10)})
    for bomb in (zeros, nested):
        reply = send(g, bomb)
        assert reply.code == 550 and "archive refused" in reply.text
    assert send(g, zipped({"readme.txt": b"x"})).code == 250
    assert g.quarantined() == []


def test_other_mail_goes_through(g):
    for octets, name in ((zipped({"word/document.xml": b"<x/>"}), "a.docx"), (b"%PDF-1.7", "a.pdf"), (gzip.compress(b"x"), "notes.txt.gz")):
        assert send(g, octets, name).code == 250
    assert g.quarantined() == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give up being root")
def test_confined(scratch, dns, backend):
    """In an empty root directory, as nobody: names in each charset, from formats that have them in another one, are read without a file."""
    server = backend()
    g = Gateway(scratch / "archives", [server.port], dns=dns.server, policy=POLICY, binary=PLAIN or BINARY)
    g.conf_path.write_text(g.conf_path.read_text().replace("workers =", 'user = "nobody"\nworkers ='))
    with g:
        for options in (["--format", "7zip"], ["--format", "zip"], ["--format", "iso9660"], ["--format", "paxr", "--xz"]):
            directory = scratch / options[1]
            directory.mkdir()
            (directory / "发票.exe").write_bytes(b"MZ")
            subprocess.run(["bsdtar", *options, "-cf", directory / "archive", "-C", directory, "发票.exe"], check=True,
                           env=dict(os.environ, LC_ALL="C.UTF-8"))
            assert send(g, (directory / "archive").read_bytes()).code == 250
        records = [json.loads(p.with_suffix(".json").read_text()) for p in g.quarantined()]
        assert len(records) == 4 and server.messages == []
        assert all("发票.exe" in r["facts"]["archive.name"] for r in records), [r["facts"]["archive.name"] for r in records]
