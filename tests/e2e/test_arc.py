"""Forwarded mail: chains that dkimpy seals as mailing lists and forwarders do, judged by the shipped policy with and without trust in their sealers."""
import json
import pathlib
import re
import socket
import time

import dkim
import pytest

from lab.knot import Knot
from lab.process import WAIT_S
from lab.sign import KEY, key_record, signed
from lab.smtp import Client, mail
from lab.zones import ZONES

SHIPPED = (pathlib.Path(__file__).parents[2] / "conf" / "policy.conf").read_text()
AUTHOR, LIST, FORWARD, EVIL = "alice@good.example", "lists.example", "forward.example", "evil.example"
FROM_LIST = "127.0.0.31"

ZONE = ZONES + """
31.0.0.127.in-addr.arpa PTR mail.lists.example.
mail.lists.example A 127.0.0.31
lists.example TXT "v=spf1 ip4:127.0.0.31 -all"
""" + "".join(f"s._domainkey.{d} TXT {key_record()}\n" for d in (LIST, FORWARD, EVIL))


@pytest.fixture(scope="module")
def dns(tmp_path_factory):
    server = Knot(tmp_path_factory.mktemp("arc") / "knot", ZONE)
    yield server
    server.stop()


def policy(*sealers):
    assert "list sealers = { }" in SHIPPED
    return SHIPPED.replace("list sealers = { }", f"list sealers = {{ {', '.join(sealers)} }}")


def sealed(message, domain, results, selector="s"):
    """As a hop does: its Authentication-Results, and the set with their content."""
    field = f"Authentication-Results: {domain}; {results}\r\n".encode()
    fields = dkim.arc_sign(field + message, selector.encode(), domain.encode(), KEY.read_bytes(), domain.encode(),
                           include_headers=[b"from", b"to", b"subject", b"date"])
    assert len(fields) == 3
    return b"".join(fields) + field + message


def said(dmarc, arc=None, author="good.example"):
    return f"spf=pass smtp.mailfrom={author}; dkim=pass header.d={author}; dmarc={dmarc} header.from={author}" + (f"; arc={arc}" if arc else "")


def listed(message):
    """What a mailing list does to a message."""
    return message.replace(b"Subject: ", b"Subject: [list] ").replace(b"A line.\r\n", b"A line.\r\n-- \r\nThe list's footer\r\n")


def original(subject="hello"):
    return signed(mail(AUTHOR, subject=subject))


def forwarded(subject="hello", dmarc="pass"):
    return sealed(listed(original(subject)), LIST, said(dmarc))


def send(g, message, sender="bounce@lists.example", source=FROM_LIST):
    with Client(g.port, source=source) as c:
        return c.message(sender, "bob@example.com", message, helo="mail.lists.example")


def results(octets):
    """Our Authentication-Results, on one line."""
    head = re.sub(rb"\r\n[ \t]+", b" ", octets.partition(b"\r\n\r\n")[0]).decode()
    return re.search(r"(?m)^Authentication-Results: gate\.example; (.*?)\r?$", head)[1]


def test_a_list_is_trusted_or_not(lab, backend):
    server = backend()
    g = lab([server.port], policy=policy())
    # Without trust: kept where the list's own SPF passes, refused where the forwarder leaves the envelope as it is.
    assert send(g, forwarded("kept")).code == 250
    assert g.verdict("quarantine")["rule"] == "dmarc-failed" and server.messages == []
    reply = send(g, forwarded("refused"), sender=AUTHOR)
    assert reply.code == 550 and reply.text.startswith("5.7.23")
    # ... and by DMARC alone, where only the list's own signature is there.
    g = lab([server.port], policy=policy().replace("reject spf:", "observe reject spf:"))
    reply = send(g, forwarded("refused"), sender=AUTHOR)
    assert reply.code == 550 and reply.text.startswith("5.7.26")

    g = lab([server.port], policy=policy(LIST))
    assert send(g, forwarded("trusted")).code == 250
    assert send(g, forwarded("trusted too"), sender=AUTHOR).code == 250
    assert len(server.messages) == 2
    facts = g.verdict("accept")["facts"]
    assert "arc=pass arc.sealer=lists.example arc.dmarc_sealers=lists.example" in facts and "dmarc=fail" in facts
    assert "arc=pass (i=1 d=lists.example s=s) header.oldest-pass=0 arc.chain=lists.example" in results(server.messages[0].data)
    # What others say wrongly, or of somebody else, does not count.
    assert send(g, forwarded("it failed there", dmarc="fail"), sender=AUTHOR).code == 550
    other = sealed(listed(original("author")), LIST, said("pass", author="evil.example"))
    assert send(g, other, sender=AUTHOR).code == 550
    assert send(g, sealed(listed(original("evil")), EVIL, said("pass")), sender=AUTHOR).code == 550


def test_forged_sets(lab, backend):
    """An untrusted oldest set says dmarc=pass; the trusted list, honest, seals it as it is and says what it saw."""
    server = backend()
    g = lab([server.port], policy=policy(LIST, FORWARD))
    forged = sealed(mail(AUTHOR, subject="forged"), EVIL, said("pass"))
    assert send(g, sealed(forged, LIST, said("fail", "pass")), sender=AUTHOR).code == 550
    facts = g.verdict("reject")["facts"]
    assert "arc=pass arc.sealer=lists.example" in facts and "arc.dmarc_sealers=lists.example,evil.example" in facts
    # An honest chain, rewritten and sealed again by somebody in the middle.
    honest = forwarded("hello")
    rewritten = sealed(honest.replace(b"A line.", b"A lie."), EVIL, said("fail", "pass"))
    assert send(g, sealed(rewritten, FORWARD, said("fail", "pass")), sender=AUTHOR).code == 550
    # And on top.
    assert send(g, rewritten, sender=AUTHOR).code == 550
    # All of the longer chain are trusted: it counts that one of them saw it pass.
    assert send(g, sealed(honest, FORWARD, said("fail", "pass")), sender=AUTHOR).code == 250
    assert "arc.dmarc_sealers=forward.example,lists.example" in g.verdict("accept")["facts"]
    assert 'arc.chain="forward.example:lists.example"' in results(server.messages[-1].data)
    assert len(server.messages) == 1


def test_broken_chains(lab, backend):
    server = backend()
    g = lab([server.port], policy=policy(LIST))
    message = forwarded()
    broken = [
        message.replace(b"A line.", b"A lie."),
        message.replace(b"[list] hello", b"[list] invoice"),
        message.replace(b"dmarc=pass", b"dmarc=best", 1),
        message.replace(b"cv=none", b"cv=pass"),
        re.sub(rb"(?s)ARC-Seal:.*?\r\n(?=\S)", b"", message),
        b"ARC-Seal: i=2\r\n" + message,
        message.replace(b"s=s;", b"s=nothing;"),
    ]
    for m in broken:
        assert m != message
        mark = g.process.mark()
        assert send(g, m, sender=AUTHOR).code == 550
        assert "arc=fail" in g.verdict("reject", since=mark)["facts"]
    assert server.messages == []
    # A message that DMARC vouches for is delivered, whatever became of a chain.
    whole = sealed(original("whole"), LIST, said("pass")).replace(b"cv=none", b"cv=fail")
    assert send(g, whole, sender="alice@good.example", source="127.0.0.25").code == 250
    assert "arc=fail (ARC-Seal i=1: cv=fail: the chain was broken before)" in results(server.messages[0].data)


def test_a_key_that_is_away(lab, backend):
    """451 where the verdict hangs on it, and nowhere else."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind(("127.0.0.1", 0))
        server = backend()
        conf = f'zone dead.example {{ servers = {{ "127.0.0.1:{silent.getsockname()[1]}" }} }}\n'
        away = sealed(listed(original("away")), "dead.example", said("pass"))
        g = lab([server.port], policy=policy("dead.example"), conf=conf, dns_conf='timeout = "2s"')
        reply = send(g, away, sender=AUTHOR)
        assert reply.code == 451
        assert g.verdict("defer")["temperror"] == "arc.dmarc_sealers"
        # It claims nothing that would help; nobody is trusted; DMARC passes without.
        assert send(g, sealed(listed(original("fail")), "dead.example", said("fail")), sender=AUTHOR).code == 550
        assert send(g, sealed(original("pass"), "dead.example", said("pass")), sender=AUTHOR, source="127.0.0.25").code == 250
        assert "arc=temperror (ARC-Message-Signature i=1: the key could not be looked up" in results(server.messages[0].data)
        g = lab([server.port], policy=policy(), conf=conf, dns_conf='timeout = "2s"')
        assert send(g, away, sender=AUTHOR).code == 550


def test_explain_and_history(lab, backend):
    server = backend()
    g = lab([server.port], policy=policy(LIST))
    told = g.explain(forwarded(), client=FROM_LIST, helo="mail.lists.example", sender="bounce@lists.example")
    assert re.search(r"arc\.sealer\s*=?\s*lists\.example", told) and re.search(r"arc\s*=?\s*pass", told), told
    assert "i=1 d=lists.example s=s" in told
    told = g.explain(forwarded().replace(b"A line.", b"A lie."), client=FROM_LIST, helo="mail.lists.example", sender="bounce@lists.example")
    assert "the body is not what was signed" in told
    assert send(g, forwarded("remembered")).code == 250
    end = time.monotonic() + WAIT_S
    while True:
        found = json.loads(g.command("history", "-c", str(g.conf_path), "--json", "--to", "bob@example.com", check=False).stdout or "[]")
        if found:
            break
        assert time.monotonic() < end
        time.sleep(0.02)
    text = json.dumps(found)
    assert '"arc"' in text and "lists.example" in text, text
