"""DNS that does not answer: it defers only where the verdict hangs on it, and not for ever; lists that are not well count nothing."""
import os
import signal
import socket
import sqlite3
import time

import pytest

from lab.knot import Knot
from lab.process import WAIT_S
from lab.sign import signed
from lab.smtp import Client, mail
from lab.zones import ZONES

FAST = 'timeout = "300ms"'         # for the good answers, too: on a busy machine one is late, and the sender comes again


@pytest.fixture
def silent():
    """A DNS server that hears and does not answer; its port."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        s.bind(("127.0.0.1", 0))
        yield s.getsockname()[1]


@pytest.fixture
def own_dns(tmp_path):
    server = Knot(tmp_path / "knot", ZONES)
    yield server
    server.stop()


def send(g, sender="a@sender.example", subject="hello", source="127.0.0.1", author=None, message=None):
    with Client(g.port, source=source) as c:
        return c.message(sender, "bob@example.com", message or mail(author or sender, subject=subject))


def taken_at_last(g, *args, **kw):
    """Sent again and again while it is put off."""
    end = time.monotonic() + WAIT_S
    while (reply := send(g, *args, **kw)).code != 250:
        assert reply.code == 451 and time.monotonic() < end, reply


def dead_zone(port):
    return f'zone dead.example {{ servers = {{ "127.0.0.1:{port}" }} }}\n'


def test_where_the_verdict_hangs_on_it(lab, backend, silent):
    server = backend()
    g = lab([server.port], policy="reject spf: if spf = fail\naccept\n", conf=dead_zone(silent), dns_conf=FAST)
    reply = send(g, "x@dead.example")
    assert reply.code == 451 and "spf" in reply.text
    assert g.verdict("defer")["temperror"] == "spf"
    assert server.messages == []
    taken_at_last(g, "x@sender.example")


def test_where_it_does_not(lab, backend, silent):
    server = backend()
    policy = 'accept known: if client.ip = 127.0.0.1\nreject spf: if spf = fail\naccept\n'
    g = lab([server.port], policy=policy, conf=dead_zone(silent), dns_conf=FAST)
    assert send(g, "x@dead.example").code == 250
    assert b"spf=temperror" in server.messages[0].data


def test_a_key_that_cannot_be_fetched(lab, backend, silent):
    """At the end of data; with DKIM of another domain that passes there is nothing to wait for."""
    server = backend()
    g = lab([server.port], policy="quarantine if dkim != pass\naccept\n", conf=dead_zone(silent), dns_conf=FAST)
    message = signed(mail("x@dead.example", subject="dead"), domain="dead.example")
    assert send(g, "x@sender.example", message=message).code == 451
    taken_at_last(g, "x@sender.example", message=signed(message))
    assert len(server.messages) == 1 and g.quarantined() == []


def test_not_for_ever(lab, backend, silent):
    server = backend()
    policy = 'tag late: header "X-Late: yes" if temperror.expired\nreject spf: if spf = fail\naccept\n'
    g = lab([server.port], policy=policy, conf=dead_zone(silent) + 'temperror_max = "1s"', dns_conf=FAST)
    assert send(g, "x@dead.example").code == 451
    taken_at_last(g, "x@dead.example")
    assert b"\r\nX-Late: yes\r\n" in server.messages[0].data
    assert "temperror.expired" in g.verdict("accept")["facts"]


def test_each_message_has_its_own_patience(lab, backend, silent):
    """A sender that was deferred last week and comes upon dead DNS again is deferred again."""
    g = lab([backend().port], policy="reject spf: if spf = fail\naccept\n", conf=dead_zone(silent) + 'temperror_max = "1s"', dns_conf=FAST)
    assert send(g, "x@dead.example").code == 451
    assert g.stop() == 0
    with sqlite3.connect(g.state / "state" / "state.db") as db:
        (lives,) = db.execute("SELECT expires - last FROM state WHERE space = 'defer'").fetchone()
        assert lives <= 86400
        db.execute("UPDATE state SET first = first - 2 * 86400, last = last - 2 * 86400, expires = expires - 2 * 86400")
    db.close()
    g.start()
    assert send(g, "x@dead.example").code == 451


def test_all_dns_away_and_back(lab, backend, own_dns):
    """Every question has its deadline: the client hears 451 in time, not nothing; and soon after DNS is back its mail passes."""
    server = backend()
    g = lab([server.port], dns=own_dns.server, dns_conf=FAST, conf='dnsbl "dnsbl.example" { weight = 5 timeout = "300ms" }')
    g.wait_line("dnsbl.example")
    taken_at_last(g, "a@sender.example")
    own_dns.freeze()
    assert send(g, "billing@bank.example").code == 451      # well before the client loses patience
    own_dns.thaw()
    taken_at_last(g, "alice@good.example", source="127.0.0.25")


def test_a_list_that_is_away_counts_nothing(lab, backend, silent):
    server = backend()
    g = lab([server.port], conf=dead_zone(silent) + 'dnsbl "list.dead.example" { weight = 5 timeout = "300ms" }', dns_conf=FAST)
    taken_at_last(g)
    assert "does not answer" in g.wait_line(r"zone=list.dead.example .*benched")


def test_lists_that_are_not_well_are_benched(lab, backend):
    server = backend()
    zones = {"wild.dnsbl.example": "lists everything", "nothing.dnsbl.example": "lists nothing", "error.dnsbl.example": "127.255.255"}
    g = lab([server.port], conf="".join(f'dnsbl "{z}" {{ weight = 5 }}\n' for z in [*zones, "dnsbl.example"]))
    for zone, why in zones.items():
        line = g.wait_line(rf"zone={zone} state=benched")
        assert why in line, line
    g.wait_line(r"zone=dnsbl.example state=well")
    assert send(g).code == 250
    # the one that is well goes on
    with Client(g.port, source="127.0.0.66") as c:
        c.ehlo()
        assert c.envelope("a@sender.example", "bob@example.com")[0].code == 550
    assert "dnsbl.score=5" in g.verdict("reject")["facts"]


def test_a_list_that_is_mended_counts_again(lab, backend, own_dns):
    server = backend()
    own_dns.change(ZONES.replace("2.0.0.127.dnsbl.example A 127.0.0.2", "").replace("127.255.255.254", "127.0.0.2"))
    g = lab([server.port], dns=own_dns.server, conf='dnsbl "dnsbl.example" { weight = 5 }', dns_conf="")
    assert "lists nothing" in g.wait_line("zone=dnsbl.example state=benched")
    assert send(g, source="127.0.0.66").code == 250
    own_dns.change(ZONES)
    mark = g.mark()
    g.process.send(signal.SIGHUP)       # a reload tests at once; otherwise it is done every five minutes
    assert "was=" in g.wait_line("zone=dnsbl.example state=well", mark)
    g.wait_line("event=reload what=done", mark)
    assert send(g, source="127.0.0.66").code == 550


def test_lists_of_ipv6(lab, backend, own_network):
    with own_network(["2001:db8::66", "2001:db8::1"]) as net:
        def nibbles(address):
            full = socket.inet_pton(socket.AF_INET6, address).hex()
            return ".".join(reversed(full))

        def run():
            data = ("2.0.0.127.six.example. A 127.0.0.2", f"{nibbles('2001:db8::66')}.six.example. A 127.0.0.3")
            quoted = ", ".join(f'"{d}"' for d in data)
            g = lab([backend().port], dns=None, dns_conf=f'local_zone = {{ "." , "six.example. static" }} local_data = {{ {quoted} }}'
                    .replace('"." , ', '". static", '), conf=f'dnsbl "six.example" {{ weight = 5 }}\nlistener six {{ address = "[::]:{net.port}" }}')
            g.wait_line("zone=six.example state=well")
            for source, code in (("2001:db8::66", 550), ("2001:db8::1", 250)):
                with Client(net.port, source=source, host="2001:db8::1") as c:
                    c.ehlo()
                    assert c.envelope("a@sender.example", "bob@example.com")[0].code == code
        net.run(run)


def test_early_talkers(lab, backend):
    policy = "reject early: if client.early_talker\naccept\n"
    g = lab([backend().port], policy=policy, conf='smtp { banner_delay = "1s" }')
    worker = g.children()["gp-worker 1"]
    os.kill(worker, signal.SIGSTOP)             # so that it has spoken when it is heard of, however slow the machine is
    with Client(g.port, greeting=False) as c:
        c.send(b"EHLO client.example\r\n")
        os.kill(worker, signal.SIGCONT)
        assert c.reply().code == 220 and c.reply().code == 250
        assert c.envelope("a@sender.example", "bob@example.com")[0].code == 550
    # who waits passes, and is not made to wait again
    began = time.monotonic()
    assert send(g).code == 250
    assert time.monotonic() - began >= 0.9
    end = time.monotonic() + WAIT_S
    while True:
        began = time.monotonic()
        assert send(g).code == 250
        if time.monotonic() - began < 0.9:
            return
        assert began < end
