"""Messages from outside are sealed (ARC) for the servers behind, and dkimpy, which shares no code with us, verifies them there."""
import os
import pathlib
import random
import re

import dkim
import pytest

from lab.milter import Milter, program
from lab.recorder import Recorder
from lab.sign import KEY, public_key, signed
from lab.smtp import Client, mail

PLAIN = os.environ.get("GATEPOST_PLAIN")
OURS, STRANGER, GOOD = "127.0.0.9", "127.0.0.1", "127.0.0.25"
RULES = """
quarantine hold: if header.subject ~ /hold/
tag t: "[x] " if header.subject ~ /tag/
add header "X-Plain: yes"
add header "X-Named: yes" if header.subject ~ /named/
remove header "X-Gone"
remove header nosender: "Sender" if header.subject ~ /sender/
accept
"""


@pytest.fixture(scope="module")
def recorder():
    with Recorder() as r:
        yield r


def section(options="when = always", key=KEY):
    return f'arc_seal good.example {{ selector = sel key = "{key}" {options} }}\n'


@pytest.fixture
def gate(lab, recorder):
    def make(options="when = always", conf="", key=KEY, **kw):
        recorder.empty()
        kw.setdefault("policy", RULES)
        return lab([recorder.port], conf=f'relay_networks = {{ "{OURS}/32" }}\n{section(options, key)}{conf}', **kw)
    return make


def send(g, message, source=STRANGER, rcpts=("bob@example.com",), how="DATA", sender="alice@sender.example"):
    with Client(g.port, source=source) as c:
        c.ehlo()
        assert {r.code for r in c.envelope(sender, *rcpts)} == {250}
        if how == "DATA":
            return c.data_block(message)
        c.send(f"BDAT {len(message)} LAST\r\n".encode() + message)
        return c.reply()


def passed_on(g, recorder, message, **kw):
    """What the server behind gets of it."""
    before = len(recorder.taken)
    assert send(g, message, **kw).code == 250
    return recorder.wait(before + 1).octets


def txt(name, timeout=5):
    known = (b"sel._domainkey.good.example", b"sel._domainkey.deep.example")
    return f"v=DKIM1; k=rsa; p={public_key()}".encode() if name.rstrip(b".") in known else None


def verified(octets):
    """What dkimpy says of the chain: the word, and how many sets there are."""
    cv, results, _ = dkim.arc_verify(octets, dnsfunc=txt)
    return (cv or b"ended").decode(), max((r["instance"] for r in results), default=0)


def sets(octets):
    return octets.partition(b"\r\n\r\n")[0].count(b"ARC-Seal:")


def field(octets, name):
    """The topmost field of that name, unfolded; or None."""
    head = re.sub(rb"\r\n[ \t]+", b" ", b"\r\n" + octets.partition(b"\r\n\r\n")[0])
    found = re.search(rb"\r\n" + name.encode() + rb": *([^\r]*)", head)
    return found and found[1].decode("utf-8", "surrogateescape")


def by_dkimpy(message, found="none", domain=b"deep.example"):
    """Sealed by dkimpy on its way."""
    name = f"lists.{found}.example"         # a hop of its own
    message = f"Authentication-Results: {name}; arc={found}; spf=pass\r\n".encode() + message
    return b"".join(dkim.arc_sign(message, b"sel", domain, KEY.read_bytes(), name.encode(),
                                  include_headers=[b"From", b"To", b"Subject", b"Date", b"Message-ID"])) + message


def test_changed(gate, recorder):
    """Sealed where a signature may have been broken, and nowhere else."""
    g = gate("when = changed")
    rows = [
        (mail(), 0), (mail(subject="tag this"), 1), (mail(subject="no sender", extra="Sender: s@sender.example\r\n"), 1), (mail(subject="no sender"), 0),
        (mail(extra="X-Gone: a\r\n"), 0), (mail(extra="Authentication-Results: gate.example; dkim=pass\r\n"), 0),
        (signed(mail(sender="a@good.example")), 0), (signed(mail(sender="a@good.example", subject="tag")), 1),
        (signed(mail(sender="a@good.example", extra="X-Gone: a\r\n"), include_headers=[b"From", b"X-Gone"]), 1),
        (signed(mail(sender="a@good.example", extra="X-Plain: a\r\n"), include_headers=[b"From", b"X-Plain"]), 0),
        (signed(mail(sender="a@good.example", extra="X-Plain: a\r\n"), include_headers=[b"From", b"X-Plain", b"X-Plain"]), 1),
    ]
    for message, want in rows:
        octets = passed_on(g, recorder, message)
        assert sets(octets) == want, octets
        if want:
            assert verified(octets) == ("pass", 1), octets


def test_named(gate, recorder):
    """Which names count, and are signed, the site can say."""
    g = gate('headers = { "Subject", "X-Named" }')
    assert field(passed_on(g, recorder, mail(subject="tag named")), "ARC-Message-Signature").partition("; h=")[2].startswith("From:From:Subject:X-Named;")
    g = gate('when = changed headers = { "X-Named" }')
    assert sets(passed_on(g, recorder, mail(subject="tag"))) == 0
    octets = passed_on(g, recorder, mail(subject="named"))
    assert verified(octets) == ("pass", 1)


BODIES = [b"", b"\r\n", b"\r\n\r\n\r\n", b"no end", b".\r\n..\r\n.x\r\n", b"\xe4\xf6\xfc \xff\xfe\r\n", b"a \t b  \r\n \r\n", bytes(range(14, 256)) + b"\r\n", b"x" * 5000 + b"\r\n"]


def test_bodies(gate, recorder):
    g = gate()
    head = mail(body="")
    for body in BODIES:
        octets = passed_on(g, recorder, head + body)
        assert verified(octets) == ("pass", 1), octets
        assert octets.startswith(b"ARC-Seal:")
    for message in (b"From: a@b.example\r\nno field\r\nand so on\r\n", b"no header at all\r\n", b"Subject: no body\r\n"):
        assert verified(passed_on(g, recorder, message)) == ("pass", 1)
    # BDAT keeps what stands alone; a message that is sealed leaves as lines.
    for body in [*BODIES, b"lone\nlf\rcr\r\n", b"\n"]:
        octets = passed_on(g, recorder, head + body, how="BDAT")
        assert verified(octets) == ("pass", 1) and recorder.taken[-1].how == "DATA", octets
    assert verified(passed_on(g, recorder, head.replace(b"\r\n", b"\n") + b"lone\nlf\n", how="BDAT")) == ("pass", 1)


def test_five_megabytes(gate, recorder):
    g = gate()
    line = b"0123456789 " * 9 + b"\r\n"
    octets = passed_on(g, recorder, mail(body="") + line * (5_000_000 // len(line)))
    assert len(octets) > 5_000_000 and verified(octets) == ("pass", 1)


def test_random_messages(gate, recorder):
    chance = random.Random(20261122)
    names = ["Subject", "To", "Cc", "X-A", "Date", "subject", "DKIM-Signature", "List-Id", "Content-Type"]
    pieces = ["a", "word", " ", "  ", "\t", "\r\n ", "\r\n\t", ".", ";", ":", "=", "\u00e4", "=20"]
    g = gate()
    with Client(g.port) as c:
        c.ehlo()
        for _ in range(40):
            fields = [f"{chance.choice(names)}:" + "".join(chance.choices(pieces, k=chance.randrange(12))) + "x\r\n" for _ in range(chance.randrange(8))]
            fields.insert(chance.randrange(len(fields) + 1), "From: alice@sender.example\r\n")
            message = ("".join(fields) + "\r\n" + "".join(chance.choices([*pieces, "\r\n"], k=chance.randrange(60)))).encode() + b"\r\n"
            c.envelope("alice@sender.example", "bob@example.com")
            assert c.data_block(message).code == 250, message
            assert verified(recorder.taken[-1].octets) == ("pass", 1), recorder.taken[-1].octets


def test_what_it_says(gate, recorder):
    """What our Authentication-Results say, also by whom it was signed; and of a second set, that the chain holds."""
    g = gate()
    octets = passed_on(g, recorder, signed(mail(sender="a@good.example")), source=GOOD, sender="a@good.example")
    results = field(octets, "Authentication-Results")
    assert results.startswith("gate.example;") and "dmarc=pass" in results
    assert field(octets, "ARC-Authentication-Results") == "i=1; " + results
    assert "cv=none;" in field(octets, "ARC-Seal") and "; arc=" not in results
    octets = passed_on(g, recorder, by_dkimpy(mail()))
    assert verified(octets) == ("pass", 2), octets
    assert "cv=pass;" in field(octets, "ARC-Seal") and "arc=pass" in field(octets, "ARC-Authentication-Results")
    octets = passed_on(g, recorder, by_dkimpy(by_dkimpy(mail()), "pass", b"good.example"))
    assert verified(octets) == ("pass", 3), octets


def own_set_holds(octets):
    """The newest set alone, as section 5.1.2 has it: whether its two signatures are right."""
    a = dkim.ARC(octets)
    a.headers = [h for h in a.headers if not h[0].lower().startswith(b"arc-") or b" i=2;" in h[1]]
    _, newest = a.sorted_arc_headers()
    result = a.verify_instance(newest, 2, dnsfunc=txt)
    return result["ams-valid"] and result["as-valid"]


def test_broken_chains(gate, recorder):
    """One that is broken is said to be, over our set alone; nothing stands above that, nor above what is not known."""
    g = gate()
    broken = by_dkimpy(mail()).replace(b"A line.", b"Another.")
    octets = passed_on(g, recorder, broken)
    assert sets(octets) == 2 and field(octets, "ARC-Seal").split("; ")[2] == "cv=fail", octets
    assert verified(octets)[0] != "pass" and "arc=fail" in field(octets, "ARC-Authentication-Results")
    assert own_set_holds(octets)
    mark = g.mark()
    again = passed_on(g, recorder, octets)
    assert sets(again) == 2
    g.wait_line('event=not-sealed .*cv=fail', mark)
    # A chain whose newest set is not whole.
    half = re.sub(rb"ARC-Authentication-Results:[^\r]*(\r\n[ \t][^\r]*)*\r\n", b"", by_dkimpy(mail()), count=1)
    assert "cv=fail; d=good.example; i=2" in field(passed_on(g, recorder, half), "ARC-Seal")


def test_chain_and_tag(gate, recorder):
    """What is changed here is none of the chain's fault: it passed when it came."""
    g = gate("when = changed")
    octets = passed_on(g, recorder, by_dkimpy(mail(subject="tag")))
    assert verified(octets) == ("pass", 2) and "cv=pass" in field(octets, "ARC-Seal")
    assert sets(passed_on(g, recorder, by_dkimpy(mail()))) == 1


def test_dns_away(gate, recorder):
    """A chain that could not be checked is not condemned."""
    g = gate(dns_conf='timeout = "300ms"', conf='zone hang.example { servers = { "127.0.0.99:9" } }\n')
    mark = g.mark()
    octets = passed_on(g, recorder, by_dkimpy(mail()).replace(b"d=deep.example", b"d=hang.example"))
    assert sets(octets) == 1
    g.wait_line('event=not-sealed .*not known whether', mark)


def test_two_gateways(gate, lab, recorder):
    """Our own verification takes our own seals."""
    g = gate()
    first = lab([g.port], conf=section(), policy=RULES, backend_options="reuse = no")
    octets = passed_on(first, recorder, mail())
    assert verified(octets) == ("pass", 2)
    assert "arc=pass" in field(octets, "Authentication-Results")


def test_ours(gate, recorder):
    g = gate(conf=f'dkim_sign example.com {{ keys = {{ "sel={KEY}" }} }}\n')
    octets = passed_on(g, recorder, mail(sender="x@example.com", subject="tag"), source=OURS, sender="x@example.com")
    assert sets(octets) == 0 and octets.startswith(b"DKIM-Signature:")
    assert verified(passed_on(g, recorder, mail(sender="x@example.com"))) == ("pass", 1)


def test_every_way(gate, recorder):
    """Copies, redirected mail, several servers with other bytes for each."""
    g = gate(policy="""
copy to "archive@example.com" if rcpt = "bob@example.com"
redirect to "dave@example.com" if rcpt = "carol@example.com"
tag eve: "[eve] " if rcpt = "eve@example.com"
accept
""")
    assert send(g, mail(), rcpts=("bob@example.com", "carol@example.com", "eve@example.com")).code == 250
    recorder.wait(2)
    assert sorted(len(t.rcpts) for t in recorder.taken) == [1, 3]
    for t in recorder.taken:
        assert verified(t.octets) == ("pass", 1), t.octets


def test_released(gate, recorder):
    """From the quarantine: by what was found of it when it came."""
    g = gate()

    def released(message):
        before, mark = len(recorder.taken), g.mark()
        assert send(g, message, how="BDAT").code == 250
        kept = g.verdict("quarantine", since=mark)["quarantine"]
        g.command("quarantine", "release", "-c", str(g.conf_path), kept)
        return recorder.wait(before + 1).octets

    octets = released(mail(subject="hold", body="lone\nlf\r\n", extra="Authentication-Results: gate.example; dkim=pass\r\n"))
    assert verified(octets) == ("pass", 1), octets
    assert b"\r\nAuthentication-Results" not in octets
    results = field(octets, "ARC-Authentication-Results")
    assert results.startswith("i=1; gate.example; ") and "spf=none" in results and "smtp.mailfrom=alice@sender.example" in results
    octets = released(by_dkimpy(mail(subject="hold")))
    assert verified(octets) == ("pass", 2), octets
    octets = released(by_dkimpy(mail(subject="hold")).replace(b"A line.", b"Another."))
    assert "cv=fail" in field(octets, "ARC-Seal")
    g.write_conf(conf=section("when = changed"))
    original = mail(subject="hold", body="other\r\n")
    assert released(original) == original


def test_spooled(lab, backend):
    """A server that was away gets it as it was sealed."""
    server = backend()
    g = lab([server.port], conf=section() + "recipients { verify = none }\n", policy=RULES, backend_options="spool = yes")
    server.stop()
    assert "kept for delivery" in send(g, mail(subject="tag", body="lone\nlf\r\n"), how="BDAT").text
    server.listen()
    assert verified(server.wait_messages(1)[0].data) == ("pass", 1)


def test_milters(gate, recorder, scratch):
    """What they change is a change, and is sealed as changed; what nobody signs is none."""
    rows = [
        ([("eom", "replacebody", "new\r\n")], 1), ([("eom", "chgheader", 1, "Subject", "new")], 1), ([("eom", "addheader", "X-Spam", "no")], 0),
        ([("eom", "insheader", 0, "Authentication-Results", "gate.example; x-spam=no")], 0), ([("eom", "chgheader", 1, "To", "")], 1),
    ]
    with Milter(program(scratch), scratch / "milter-arc") as m:
        conf = f'milter m {{ address = {{ "{m.socket}" }} }}\n'
        changed = gate("when = changed", conf=conf)
        always = gate("when = always", conf=conf)
        for script, want in rows:
            m.script(*script)
            octets = passed_on(changed, recorder, mail())
            assert sets(octets) == want, (script, octets)
            if want:
                assert verified(octets) == ("pass", 1), (script, octets)
            octets = passed_on(always, recorder, by_dkimpy(mail()))
            assert verified(octets)[1] == 2 and "cv=pass" in field(octets, "ARC-Seal"), (script, octets)
        m.script(("eom", "insheader", 0, "Authentication-Results", "gate.example; x-spam=no"))
        assert "x-spam=no" in field(passed_on(always, recorder, mail()), "ARC-Authentication-Results")
        # SPF was checked for the sender that came, not for the one that a milter has put in its place.
        m.script(("eom", "chgfrom", "<other@good.example>"))
        results = field(passed_on(always, recorder, mail()), "ARC-Authentication-Results")
        assert "smtp.mailfrom=alice@sender.example" in results and "good.example" not in results, results
        # One that takes the chain away: ours begins a new one. One that takes a part away: what is left is broken. One that seals: nobody has looked at that.
        names = ("ARC-Seal", "ARC-Message-Signature", "ARC-Authentication-Results")
        m.script(*[("eom", "chgheader", 1, name, "") for name in names])
        assert verified(passed_on(changed, recorder, by_dkimpy(mail()))) == ("pass", 1)
        m.script(("eom", "chgheader", 1, names[0], ""))
        assert "cv=fail" in field(passed_on(always, recorder, by_dkimpy(mail())), "ARC-Seal")
        one = by_dkimpy(b"From: a@b.example\r\n\r\n").partition(b"Authentication-Results: lists")[0].decode()
        m.script(*[("eom", "insheader", 0, name, re.search(rf"(?s){name}: (.*?)\r\n(?! )", one)[1].replace("\r", "")) for name in reversed(names)])
        mark = always.mark()
        assert sets(passed_on(always, recorder, mail())) == 1
        always.wait_line('event=not-sealed .*not known whether', mark)
        # Nor when such a message is kept, and released: what was found was about the chain below.
        m.script(*[("eom", "insheader", 0, name, re.search(rf"(?s){name}: (.*?)\r\n(?! )", one)[1].replace("\r", "").replace("i=1;", "i=2;").replace("cv=none", "cv=pass")) for name in reversed(names)])
        mark = always.mark()
        assert send(always, by_dkimpy(mail(subject="hold"))).code == 250
        before, kept = len(recorder.taken), always.verdict("quarantine", since=mark)["quarantine"]
        always.command("quarantine", "release", "-c", str(always.conf_path), kept)
        assert sets(recorder.wait(before + 1).octets) == 2


def test_key_process(gate, recorder, tmp_path):
    """It dies and comes again: sealed. The key has gone meanwhile: it goes out without, and the log says so."""
    own = tmp_path / "own.pem"
    own.write_bytes(KEY.read_bytes())
    own.chmod(0o600)
    g = gate(key=own)
    g.kill_child("gp-keys")
    assert verified(passed_on(g, recorder, mail())) == ("pass", 1)
    own.unlink()
    g.kill_child("gp-keys")
    mark = g.mark()
    assert sets(passed_on(g, recorder, mail(subject="tag"))) == 0
    g.wait_line("event=seal-failed .*the private key did not sign", mark)


def worker_peak_kib(g):
    (worker,) = [pid for name, pid in g.children().items() if name.startswith("gp-worker")]
    status = pathlib.Path(f"/proc/{worker}/status").read_text()
    return int(re.search(r"VmHWM:\s+(\d+)", status)[1])


@pytest.mark.skipif(not PLAIN, reason="needs a plain build (GATEPOST_PLAIN)")
def test_constant_memory(gate, recorder, record_property):
    """50 MB with a chain, verified and sealed: the worker needs no more for it than for 1 MB."""
    g = gate(binary=PLAIN, conf="limits { message_size = 60M }\n")
    line, peaks = b"0123456789 " * 9 + b"\r\n", []
    sealed = by_dkimpy(mail(body="x\r\n"))
    for size in (1_000_000, 50_000_000):
        octets = passed_on(g, recorder, sealed + line * (size // len(line)))
        assert len(octets) > size and sets(octets) == 2
        peaks.append(worker_peak_kib(g))
    record_property("count", f"peak of the worker: {peaks[0]} KiB at 1 MB, {peaks[1]} KiB at 50 MB")
    assert peaks[1] < peaks[0] + 2048, peaks
