"""Either engine of DKIM, chosen in the configuration: what it verifies and what it signs. And signatures of DomainKeys, which are only seen."""
import json
import re
import time

import dkim
import pytest

from lab.process import WAIT_S
from lab.recorder import Recorder
from lab.sign import KEY, public_key, signed
from lab.smtp import Client, mail

OURS, STRANGER = "127.0.0.9", "127.0.0.25"
SIGNER, READER = "alice@example.com", "bob@example.com"


@pytest.fixture(scope="module")
def recorder():
    with Recorder() as r:
        yield r


def send(g, source, sender, message):
    with Client(g.port, source=source) as c:
        c.ehlo("mail.good.example")
        c.expect(f"MAIL FROM:<{sender}>", 250)
        c.expect(f"RCPT TO:<{READER}>", 250)
        return c.data_block(message)


def history(g):
    return g.command("history", "-c", str(g.conf_path), "-v", "--from", "alice@good.example", check=False).stdout.decode()


def key_of(name, timeout=5):
    return f"v=DKIM1; k=rsa; p={public_key()}".encode()


@pytest.mark.parametrize("engine", ["native", "libopendkim"])
def test_verified_and_signed(lab, recorder, engine):
    recorder.empty()
    conf = f'relay_networks = {{ "{OURS}/32" }}\ndkim {{ engine = {engine} }}\ndkim_sign example.com {{ keys = {{ "sel={KEY}" }} }}'
    g = lab([recorder.port], conf=conf, policy="reject if dkim = fail\naccept\n")
    good = signed(mail("alice@good.example", subject="a  subject "))
    assert send(g, STRANGER, "alice@good.example", good).code == 250
    assert "dkim=pass" in g.verdict()["facts"]
    assert b"dkim=pass" in re.sub(rb"\r\n\s+", b" ", recorder.wait().octets).partition(b"\r\n\r\n")[0]
    assert send(g, STRANGER, "alice@good.example", good.replace(b"a  subject", b"another subject")).code == 550
    assert "dkim=fail" in g.verdict("reject")["facts"]
    assert send(g, OURS, SIGNER, mail(sender=SIGNER)).code == 250
    out = recorder.wait(2).octets
    assert out.startswith(b"DKIM-Signature:") and dkim.DKIM(out).verify(dnsfunc=key_of)


def test_domainkeys_are_seen_and_not_believed(lab, recorder):
    recorder.empty()
    g = lab([recorder.port], policy="accept\n")
    field = b"DomainKey-Signature: a=rsa-sha1; q=dns; c=nofws; s=sel;\r\n d=Good.Example; b=AAAA\r\n"
    message = field + mail("alice@good.example")
    facts = json.dumps(g.explain_json(message))
    assert "domainkeys.domains" in facts
    assert re.search(r"domainkeys.domains\s+good\.example", g.explain(message))
    assert send(g, STRANGER, "alice@good.example", message).code == 250
    octets = recorder.wait().octets
    head = re.sub(rb"\r\n\s+", b" ", octets).partition(b"\r\n\r\n")[0]
    assert b"dkim=none" in head and b"dkim=pass" not in head and field in octets
    end = time.monotonic() + WAIT_S
    while not (shown := history(g)):        # the keeper writes at its own pace
        assert time.monotonic() < end
        time.sleep(0.02)
    assert re.search(r"domainkeys\.domains\s+good\.example", shown), shown
