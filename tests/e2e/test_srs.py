"""Mail of others that the site forwards leaves with a return path of its own, and what comes back goes on to the sender. Beside python3-srs."""
import random
import re
import subprocess
import time

import pytest
import SRS

from lab.gateway import BINARY
from lab.smtp import Client, mail

SECRET = "0123456789abcdef"
ZONE = """
one.example MX 10 mx.one.example
mx.one.example A 127.0.0.11
sender.example MX 10 mx.sender.example
mx.sender.example A 127.0.0.12
"""
OURS, STRANGER = "127.0.0.9", "127.0.0.1"


@pytest.fixture
def site(lab, world, host, backend, tmp_path):
    """The gateway; g.server is behind it, g.one and g.sender are servers of the world."""
    secret = tmp_path / "srs-secret"
    secret.write_text(SECRET + "\nan older secret of ours\n")
    secret.chmod(0o600)
    server = backend()
    g = lab([server.port], dns=world.server, policy="accept\n", conf=f"""
relay_networks = {{ "{OURS}/32" }}
outbound {{ port = {world.port25} never = {{ none }} }}
srs {{ domain = "example.com" secret_file = "{secret}" }}
""")
    g.server, g.one, g.sender = server, host(11), host(12)
    return g


def theirs(secret=SECRET, domain="example.com"):
    return SRS.new(secret=secret, maxage=21, hashlength=8, hashmin=8, separator="=", alwaysrewrite=True)


def send(g, source, sender, to):
    with Client(g.port, source=source) as c:
        return c.message(sender, to, mail(sender=sender or "mailer-daemon@one.example", to=to))


def last(server, count):
    return server.wait_messages(count)[count - 1]


def sender_of(message):
    return message.mail.partition("<")[2].partition(">")[0]


def path_of(server, count):
    return sender_of(last(server, count))


def test_a_forward_and_its_bounce(site):
    assert send(site, OURS, "Ann.B+x@sender.example", "x@one.example").code == 250
    path = path_of(site.one, 1)
    assert path.startswith("SRS0=") and path.endswith("@example.com")
    assert theirs().reverse(path) == "Ann.B+x@sender.example"
    # The bounce: to the sender, from nobody, past no server of ours.
    assert send(site, STRANGER, "", path).code == 250
    back = last(site.sender, 1)
    assert back.to == ["Ann.B+x@sender.example"] and sender_of(back) == ""
    assert not site.server.messages
    # In lower case, as some servers have it, and with somebody else's secret of before.
    assert send(site, STRANGER, "", path.lower()).code == 250
    assert last(site.sender, 2).to == ["ann.b+x@sender.example"]
    assert send(site, STRANGER, "", theirs("an older secret of ours").forward("bob@sender.example", "example.com")).code == 250
    assert last(site.sender, 3).to == ["bob@sender.example"]
    # An answer of a person, not of a server: its sender is rewritten, too.
    assert send(site, STRANGER, "x@one.example", path).code == 250
    assert theirs().reverse(path_of(site.sender, 4)) == "x@one.example"
    # A long one.
    long = "a" * 60 + "@sender.example"
    assert send(site, OURS, long, "x@one.example").code == 250
    assert send(site, STRANGER, "", path_of(site.one, 2)).code == 250
    assert last(site.sender, 5).to == [long]


def test_what_is_left_alone(site):
    count = 0
    for sender in ("user@example.com", "", '"a b"@sender.example'):
        assert send(site, OURS, sender, "x@one.example").code == 250
        count += 1
        assert path_of(site.one, count) == sender
    # To our own server everything comes as it was sent.
    assert send(site, STRANGER, "ann@sender.example", "bob@example.com").code == 250
    assert sender_of(site.server.wait_messages(1)[0]) == "ann@sender.example"


def test_forged_and_old_ones_are_refused(site):
    good = theirs().forward("ann@sender.example", "example.com")
    flip = "b" if good[6].lower() != "b" else "c"       # in the hash, where capitals and small letters are the same
    old = theirs()
    old.timestamp_create = lambda ts=None, make=old.timestamp_create: make(time.time() - 40 * 86400)     # of days it has the last ten bits
    for path in (good[:6] + flip + good[7:], good.replace("=ann@", "=eve@"), good.replace("sender.example", "victim.example"),
                 theirs("another secret").forward("ann@sender.example", "example.com"), "SRS0=@example.com", "SRS0=a=b=c=d@example.com",
                 "SRS1=aaaaaaaa=one.example==x=y=z=ann@example.com", good.replace("SRS0=" + good[5:13], "SRS0=" + good[5:9]), old.forward("ann@sender.example", "example.com")):
        reply = send(site, STRANGER, "", path)
        assert reply.code == 550 and "5.1.1" in reply.text, (path, reply)
    # In another domain it is an address like any other: nobody relays by it.
    assert send(site, STRANGER, "", good.replace("example.com", "one.example")).code == 550
    assert not site.sender.messages and not site.one.messages


def test_again_rewritten(site):
    """A forward of a forward: SRS1 of ours, which the other program undoes, and the other way round."""
    first = theirs("their secret").forward("ann@sender.example", "one.example")
    assert send(site, OURS, first, "x@sender.example").code == 250
    path = path_of(site.sender, 1)
    assert path.startswith("SRS1=") and theirs().reverse(path) == first
    assert send(site, STRANGER, "", path).code == 250
    assert last(site.one, 1).to == [first]
    twice = theirs("their secret").forward(path, "third.example")
    assert send(site, OURS, twice, "x@sender.example").code == 250
    again = path_of(site.sender, 2)
    # The first forwarder is told, not the one between; what it made stands as it was.
    assert again.split("=one.example=")[1] == path.split("=one.example=")[1] and theirs().reverse(again) == first


def test_random_senders(site):
    chance = random.Random(7)
    letters = "abcXYZ019.-_=+"
    with Client(site.port, source=OURS) as c:
        c.ehlo()
        for i in range(60):
            local = "x" + re.sub(r"\.+", ".", "".join(chance.choices(letters, k=chance.randrange(20)))) + "y"
            sender = f"{local}@{chance.choice(['sender.example', 'Sub.Sender.example', 'x.co'])}"
            c.expect(f"MAIL FROM:<{sender}>", 250)
            c.expect("RCPT TO:<x@one.example>", 250)
            assert c.data_block(mail(sender=sender)).code == 250
            got = theirs().reverse(path_of(site.one, i + 1))
            assert got.split("@")[0] == local and got.lower() == sender.lower()


def test_through_the_spool_and_signed(lab, world, host, backend, tmp_path):
    """Several next hops: the message is kept, each server gets it with the return path of ours, and signed by its author's domain if that is ours."""
    (tmp_path / "secret").write_text(SECRET)
    subprocess.run([BINARY, "dkim-key", "-o", str(tmp_path / "key.pem"), "--type", "ed25519", "example.com", "sel"], check=True, capture_output=True)
    servers = host(11), host(12)
    g = lab([backend().port], dns=world.server, policy="accept\n", conf=f"""
relay_networks = {{ "{OURS}/32" }}
outbound {{ port = {world.port25} never = {{ none }} }}
spool {{ retry_min = "1s" retry_max = "1s" }}
srs {{ domain = "example.com" secret_file = "{tmp_path}/secret" }}
dkim_sign example.com {{ keys = {{ "sel={tmp_path}/key.pem" }} }}
""")
    for sender, subject in (("ann@sender.example", "forwarded"), ("user@example.com", "own")):
        with Client(g.port, source=OURS) as c:
            assert c.message(sender, ["x@one.example", "y@sender.example"], mail(sender=sender, subject=subject)).code == 250
    for b in servers:
        b.wait_messages(2)
        by = {("own" if b"Subject: own" in m.data else "forwarded"): m for m in b.messages}
        assert theirs().reverse(sender_of(by["forwarded"])) == "ann@sender.example" and b"DKIM-Signature" not in by["forwarded"].data
        assert sender_of(by["own"]) == "user@example.com" and by["own"].data.startswith(b"DKIM-Signature: v=1; a=ed25519")
