"""Messages that our own send are signed, and verify where they arrive: by dkimpy, and by OpenDKIM."""
import base64
import os
import random
import re
import signal
import subprocess

import dkim
import pytest

from lab.recorder import Recorder
from lab.sign import KEY, public_key
from lab.smtp import Client, mail

OURS, STRANGER = "127.0.0.9", "127.0.0.1"
PLAIN = os.environ.get("GATEPOST_PLAIN")
FROM = "alice@example.com"
HEAD = f"From: {FROM}\r\nTo: <bob@example.com>\r\nSubject: s\r\nDate: Sun, 22 Nov 2026 10:00:00 +0000\r\n".encode()


def record(pem, kind):
    der = subprocess.run(["openssl", "pkey", "-in", str(pem), "-pubout", "-outform", "DER"], check=True, capture_output=True).stdout
    return f"v=DKIM1; k={kind}; p={base64.b64encode(der if kind == 'rsa' else der[-32:]).decode()}"


@pytest.fixture(scope="module")
def keys(scratch):
    """{selector: (file, TXT record)}"""
    directory = scratch / "dkim-keys"
    directory.mkdir()
    out = {"sel": (KEY, f"v=DKIM1; k=rsa; p={public_key()}")}
    for selector, kind, args in (("ed", "ed25519", ["ed25519"]), ("big", "rsa", ["rsa", "-pkeyopt", "rsa_keygen_bits:4096"])):
        path = directory / f"{selector}.pem"
        subprocess.run(["openssl", "genpkey", "-quiet", "-algorithm", *args, "-out", str(path)], check=True)
        path.chmod(0o600)
        out[selector] = (path, record(path, kind))
    return out


@pytest.fixture(scope="module")
def recorder():
    with Recorder() as r:
        yield r


@pytest.fixture
def gate(lab, recorder, keys):
    def make(selectors=("sel", "ed"), domain="example.com", options="", **kw):
        recorder.empty()
        listed = ", ".join(f'"{s}={keys[s][0]}"' for s in selectors)
        section = f'relay_networks = {{ "{OURS}/32" }}\ndkim_sign {domain} {{ keys = {{ {listed} }} {options} }}'
        kw.setdefault("policy", "accept\n")
        return lab([recorder.port], conf=section, **kw)
    return make


def signatures(octets):
    """Tags of each DKIM-Signature field, from the top."""
    head = re.sub(rb"\r\n[ \t]+", b" ", octets.partition(b"\r\n\r\n")[0] + b"\r\n").decode("utf-8", "surrogateescape")
    found = re.findall(r"^DKIM-Signature: *(.*)$", head, re.M | re.I)
    return [dict((t.strip().split("=", 1) for t in f.rstrip("\r ;").split(";"))) for f in found]


def passes(octets, keys, domain="example.com"):
    """How many signatures dkimpy lets pass."""
    def txt(name, timeout=5):
        return next((rec.encode() for sel, (_, rec) in keys.items() if name.rstrip(b".") == f"{sel}._domainkey.{domain}".encode()), None)

    good = 0
    for i in range(len(signatures(octets))):
        try:
            good += dkim.DKIM(octets, minkey=1024).verify(idx=i, dnsfunc=txt)
        except dkim.DKIMException:      # a body hash that does not fit is one, too
            pass
    return good


def opendkim(octets, keys, tmp_path, domain="example.com"):
    """What the real opendkim says of it."""
    message, table, conf = tmp_path / "message.eml", tmp_path / "public", tmp_path / "opendkim.conf"
    message.write_bytes(octets)
    table.write_text("".join(f"{sel}._domainkey.{domain} {rec}\n" for sel, (_, rec) in keys.items()))
    conf.write_text(f"Mode v\nSyslog no\nTestPublicKeys {table}\n")
    run = subprocess.run(["/usr/sbin/opendkim", "-x", str(conf), "-t", str(message)], capture_output=True, text=True)
    return run.stdout + run.stderr


def send(g, message, source=OURS, to="bob@example.com", how="DATA", sender=FROM):
    with Client(g.port, source=source) as c:
        c.ehlo()
        c.expect(f"MAIL FROM:<{sender}>", 250)
        c.expect(f"RCPT TO:<{to}>", 250)
        if how == "DATA":
            return c.data_block(message)
        c.send(f"BDAT {len(message)} LAST\r\n".encode() + message)
        return c.reply()


def test_two_selectors(gate, recorder, keys, tmp_path):
    g = gate()
    assert send(g, mail(sender=FROM)).code == 250
    octets = recorder.taken[0].octets
    found = signatures(octets)
    assert [(s["d"], s["s"], s["a"]) for s in found] == [("example.com", "sel", "rsa-sha256"), ("example.com", "ed", "ed25519-sha256")]
    for s in found:
        assert s["c"] == "relaxed/relaxed" and "l" not in s
        assert [h.strip().lower() for h in s["h"].split(":")].count("from") == 2
        assert int(s["x"]) - int(s["t"]) == 14 * 86400
    assert octets.startswith(b"DKIM-Signature:")
    assert g.wait_line("event=signed .*domain=example.com selectors=sel,ed")
    assert passes(octets, keys) == 2
    assert "succeeded" in opendkim(octets, keys, tmp_path)
    # What the next hops do is no harm; another author is.
    assert passes(b"Received: from x by y; now\r\n" + octets, keys) == 2
    assert passes(octets.replace(b"Subject: hello", b"Subject:  hello "), keys) == 2
    assert passes(octets.replace(b"Subject: hello", b"From: <mallory@example.com>\r\nSubject: hello"), keys) == 0
    changed = octets.replace(b"A line.", b"A lie.")
    assert passes(changed, keys) == 0 and "succeeded" not in opendkim(changed, keys, tmp_path)
    # Of several, opendkim names one: of Ed25519 alone, that.
    alone = octets[octets.index(b"DKIM-Signature:", 20):]
    assert re.search(r"\(s=ed, .*succeeded", opendkim(alone, keys, tmp_path))


def test_a_second_pass(gate, recorder, keys):
    """By submission to our server, and from there to the world: signed for what it is now, by each key once; the signatures of others stay."""
    g = gate()
    assert send(g, mail(sender=FROM)).code == 250
    first = recorder.taken[0].octets
    other = b"DKIM-Signature: v=1; a=rsa-sha256; d=example.com; s=other; h=from; bh=aa; b=bb\r\n"
    foreign = b"dkim-signature: v=1; a=rsa-sha256; d=list.example;\r\n\ts=sel; h=from; bh=aa; b=bb\r\n"
    assert send(g, b"Received: from x by server.example.com; now\r\n" + foreign + other + first.replace(b"A line.", b"What the server made of it.")).code == 250
    octets = recorder.taken[1].octets
    assert passes(octets, keys) == 2
    assert [(s["d"], s["s"]) for s in signatures(octets)] == [("example.com", "sel"), ("example.com", "ed"), ("list.example", "sel"), ("example.com", "other")]
    assert foreign in octets and other in octets and b"What the server made of it." in octets


BODIES = {
    "plain": HEAD + b"\r\nhello\r\n",
    "empty body": HEAD + b"\r\n",
    "header only": HEAD,
    "dots": HEAD + b"\r\n.\r\n..\r\n.x\r\n\r\n.\r\n",
    "8 bits": HEAD + "X: \u00e4\r\n\r\n\u4e2d\u6587\r\n".encode() + b"\xff\xfe\x80\r\n",
    "8 bits in what is signed": f"From: J\u00f6rg <{FROM}>\r\nSubject: gr\u00fc\u00df\r\n\r\nx\r\n".encode(),
    "blanks": HEAD + b"\r\na  b \t\r\n \r\n\t\r\nlast  \r\n\r\n\r\n",
    "long line": HEAD + b"\r\n" + b"x" * 70000 + b"\r\n",
    "folds": b"From: alice\r\n\t<alice@example.com>\r\nSubject: a\r\n \t b\r\n  c\r\n\r\nx\r\n",
    "two Subjects": HEAD + b"Subject: again\r\n\r\nx\r\n",
    "foreign signature": b"DKIM-Signature: v=1; a=rsa-sha256; d=list.example; s=x; h=from; bh=aa; b=bb\r\n" + HEAD + b"\r\nx\r\n",
    "5 MB": HEAD + b"\r\n" + b"0123456789abcdef 0123456789abcdef  0123456789abcdef\r\n" * 100000,
}


@pytest.mark.parametrize("form", ["relaxed/relaxed", "simple/simple"])
def test_messages(gate, recorder, keys, form):
    g = gate(options=f'canonicalization = "{form}"')
    for name, message in BODIES.items():
        before = len(recorder.taken)
        assert send(g, message).code == 250, name
        t = recorder.taken[before]
        assert t.original == message, name
        assert passes(t.octets, keys) == 2, (name, t.octets[:3000])


def test_bare_line_ends(gate, recorder, keys):
    """They are CRLF on the wire and in the signature; the server's CHUNKING is not used for them."""
    g = gate()
    for message in (HEAD + b"\r\na\nb\r\n", HEAD + b"\r\na\rb\n\n\r\n", HEAD + b"\r\na\r\r\nb\r", HEAD + b"X: a\n b\r\n\nx\n"):
        before = len(recorder.taken)
        assert send(g, message, how="BDAT").code == 250
        t = recorder.taken[before]
        assert t.how == "DATA" and not re.search(rb"(?<!\r)\n|\r(?!\n)", t.octets), t.octets
        assert passes(t.octets, keys) == 2, t.octets
    # Unsigned, they are kept as they came.
    message = HEAD.replace(b"@example.com", b"@elsewhere.example") + b"\r\na\nb\r\n"
    assert send(g, message, how="BDAT").code == 250
    assert recorder.taken[-1].how == "BDAT" and recorder.taken[-1].original == message


def test_what_the_policy_changes_is_signed(gate, recorder, keys):
    g = gate(policy='tag "[out] "\nadd header "X-Gate: yes"\nremove header "X-Inner"\naccept\n')
    assert send(g, mail(sender=FROM, extra="X-Inner: 10.1.2.3\r\n")).code == 250
    octets = recorder.taken[0].octets
    assert b"Subject: [out] hello" in octets and b"X-Inner" not in octets and b"X-Gate: yes" in octets
    assert passes(octets, keys) == 2


def test_whose_mail_is_signed(gate, recorder, keys):
    g = gate(options="subdomains = yes")

    def sent(author, **kw):
        before = len(recorder.taken)
        assert send(g, mail(sender=author), **kw).code == 250
        return [s["d"] for s in signatures(recorder.taken[before].octets)]

    assert sent("alice@example.com") == ["example.com"] * 2
    assert sent("Alice <alice@EXAMPLE.com>") == ["example.com"] * 2
    assert sent("alice@mail.example.com") == ["example.com"] * 2
    # Whoever the envelope says: the author counts.
    assert sent("alice@example.com", sender="bounce@elsewhere.example") == ["example.com"] * 2
    assert sent("alice@example.com", sender="") == ["example.com"] * 2
    assert sent("alice@example.org") == []
    assert sent("alice@notexample.com", sender="alice@example.com") == []
    # One of ours who forges an author beside his own: not ours to vouch for.
    assert sent("alice@example.com, bob@elsewhere.example") == []
    assert sent("<bob@elsewhere.example> alice@example.com") == []
    # From outside, under our name.
    assert sent("alice@example.com", source=STRANGER) == []
    assert sent("alice@mail.example.com", source=STRANGER, sender="alice@example.com") == []


def test_no_subdomains(gate, recorder):
    g = gate(selectors=("big",))
    assert send(g, mail(sender="alice@mail.example.com")).code == 250
    assert signatures(recorder.taken[0].octets) == []
    assert send(g, mail(sender="alice@example.com")).code == 250
    assert [s["s"] for s in signatures(recorder.taken[1].octets)] == ["big"]


def test_4096_bits(gate, recorder, keys, tmp_path):
    g = gate(selectors=("big",))
    assert send(g, mail(sender=FROM)).code == 250
    assert passes(recorder.taken[0].octets, keys) == 1
    assert "succeeded" in opendkim(recorder.taken[0].octets, keys, tmp_path)


def test_observing_signs_too_and_keys_change_by_reload(gate, recorder, keys):
    g = gate(selectors=("sel",), policy='tag "[no] "\naccept\n')
    for selector in ("ed", "big"):
        listed = g.settings["conf"].replace(re.search(r'"\w+=[^"]+"', g.settings["conf"])[0], f'"{selector}={keys[selector][0]}"')
        g.write_conf(conf=listed if listed.startswith("mode") else "mode = observe\n" + listed)
        mark = g.mark()
        g.process.send(signal.SIGHUP)
        assert "what=done" in g.wait_line(r'event=reload what="?(done|refused)', mark)
        assert send(g, mail(sender=FROM)).code == 250
        octets = recorder.taken[-1].octets
        assert [s["s"] for s in signatures(octets)] == [selector] and b"[no]" not in octets
        assert passes(octets, keys) == 1


def test_what_is_released_is_signed(gate, recorder, keys):
    """Quarantined from one of ours: signed when it leaves. From a stranger in our name: never."""
    g = gate(policy="quarantine\n")
    messages = {
        OURS: (b"Authentication-Results: gate.example; dkim=pass\r\n" + HEAD + b"\r\na\nb\n", 2),
        STRANGER: (HEAD.replace(b"Subject: s", b"Subject: stranger") + b"\r\nx\r\n", 0),
    }
    for source, (message, signed) in messages.items():
        before = len(recorder.taken)
        assert send(g, message, source=source, how="BDAT").code == 250
        kept = g.verdict("quarantine", f"client={source} ")["quarantine"]
        assert b"released" in g.command("quarantine", "release", "-c", str(g.conf_path), kept).stdout
        octets = recorder.wait(before + 1).octets
        assert len(signatures(octets)) == signed
        assert passes(octets, keys) == signed, octets
        assert b"Authentication-Results" not in octets
        if signed:
            g.command("quarantine", "release", "-c", str(g.conf_path), "--again", kept)
            assert passes(recorder.wait(before + 2).octets, keys) == signed


@pytest.mark.skipif(os.geteuid() != 0 or not PLAIN, reason="needs root and a plain build (GATEPOST_PLAIN)")
def test_as_nobody_in_an_empty_root(lab, recorder, keys, scratch):
    """The key is root's, read once by the parent: the workers sign without it on any disk."""
    recorder.empty()
    own = scratch / "root-only.pem"
    own.write_bytes(KEY.read_bytes())
    own.chmod(0o600)
    g = lab([recorder.port], policy="accept\n", binary=PLAIN, workers=2, conf=f"""
user = "nobody"
relay_networks = {{ "{OURS}/32" }}
dkim_sign example.com {{ keys = {{ "sel={own}", "ed={keys["ed"][0]}" }} }}
""")
    for i in range(6):
        assert send(g, mail(sender=FROM, subject=f"number {i}")).code == 250
        assert passes(recorder.wait(i + 1).octets, keys) == 2


def test_random_messages(gate, recorder, keys):
    """dkimpy, which shares no code with us, agrees on whatever comes."""
    chance = random.Random(20261122)
    names = ["Subject", "To", "Cc", "X-A", "Date", "Message-ID", "subject", "MIME-Version", "Reply-To", "List-Unsubscribe"]
    pieces = ["a", "word", " ", "  ", "\t", "\r\n ", "\r\n\t", ".", ";", ":", "=", "\u00e4", "=20"]
    lines = ["\r\n", "\r\n", "\r\n.\r\n", "\r\n\r\n", " \r\n", "\t \r\n", "\r\n..\r\n"]
    forms = ["relaxed/relaxed", "relaxed/simple", "simple/relaxed", "simple/simple"]
    for form in forms:
        g = gate(options=f'canonicalization = "{form}"')
        with Client(g.port, source=OURS) as c:
            c.ehlo()
            for i in range(25):
                fields = [f"{chance.choice(names)}:" + "".join(chance.choices(pieces, k=chance.randrange(12))) + "x\r\n" for _ in range(chance.randrange(8))]
                fields.insert(chance.randrange(len(fields) + 1), f"From: {FROM}\r\n")
                body = "".join(chance.choice(pieces if chance.random() < 0.75 else lines) for _ in range(chance.randrange(60)))
                message = ("".join(fields) + "\r\n" + body).encode() + b"\r\n"
                c.expect(f"MAIL FROM:<{FROM}>", 250)
                c.expect("RCPT TO:<bob@example.com>", 250)
                assert c.data_block(message).code == 250, message
                octets = recorder.taken[-1].octets
                assert passes(octets, keys) == 2, (form, i, octets)
