"""Lists of domains: where a domain stands in a message, what the lists answer, and what they count."""
import base64
import collections
import select
import socket
import threading

import pytest

from lab.knot import Knot
from lab.sign import key_record, signed
from lab.smtp import Client, mail

RECORDS = """
dbltest.com.dbl.lists.example A 127.0.1.2
bad.example.dbl.lists.example A 127.0.1.2
www.bad.example.dbl.lists.example A 127.0.1.2
sub.host.example.dbl.lists.example A 127.0.1.102
good.example.dbl.lists.example A 127.0.1.4
listed.example.dbl.lists.example A 127.0.1.2
phish.example.dbl.lists.example A 127.0.1.255

test.bits.lists.example A 127.0.0.8
host.example.bits.lists.example A 127.0.0.80
example.co.uk.bits.lists.example A 127.0.0.64
7.2.0.192.bits.lists.example A 127.0.0.16

*.all.lists.example A 127.0.0.2
nothing.none.lists.example A 127.0.0.2
25.0.0.127.in-addr.arpa PTR mail.good.example.
mail.good.example A 127.0.0.25
66.0.0.127.in-addr.arpa PTR listed.example.
listed.example A 127.0.0.66
sel._domainkey.bad.example TXT KEY
""".replace("KEY", key_record())
CONF = """
uribl dbl.lists.example { weight = 5 codes = { "127.0.1.0/26", "127.0.1.102=2" } test_listed = "dbltest.com" }
uribl bits.lists.example { codes = { "&8=6", "&16=4", "&64=3" } names = registrable addresses = yes use = { links } }
"""
POLICY = 'quarantine domains: if uribl.score >= 5\ntag listed: header "X-Score: listed" if uribl.score >= 1\naccept\n'


@pytest.fixture(scope="module")
def lists(scratch):
    server = Knot(scratch / "uribl-knot", RECORDS)
    yield server
    server.stop()


@pytest.fixture
def gate(lab, lists, backend):
    return lab([backend().port], policy=POLICY, conf=CONF, dns=lists.server)


def html(text, transfer="7bit"):
    body = text.encode()
    if transfer == "base64":
        body = base64.encodebytes(body).replace(b"\n", b"\r\n")
    return (b"From: alice@sender.example\r\nTo: bob@example.com\r\nSubject: x\r\nMIME-Version: 1.0\r\n"
            b"Content-Type: text/html; charset=utf-8\r\nContent-Transfer-Encoding: " + transfer.encode() + b"\r\n\r\n" + body + b"\r\n")


ROWS = {
    "link": (html('<p>x <a href="http://bad.example/x">click</a>'), {}, 5, ["bad.example link dbl.lists.example=127.0.1.2"]),
    "hidden": (html('<p>x <a href="//www.&#98;ad.example/x"></a>'), {}, 5, ["www.bad.example link dbl.lists.example=127.0.1.2"]),
    "image": (html('<img src=http:\\\\bad.example\\p.png>'), {}, 5, ["bad.example link dbl.lists.example=127.0.1.2"]),
    "text": (mail(body="see http://bad.example.\r\n"), {}, 5, ["bad.example link dbl.lists.example=127.0.1.2"]),
    "base64": (html('<a href="https://a@bad.example">x</a>', "base64"), {}, 5, ["bad.example link dbl.lists.example=127.0.1.2"]),
    "from": (mail(sender="a@bad.example"), {}, 5, ["bad.example from dbl.lists.example=127.0.1.2"]),
    "envelope": (mail(), {"sender": "a@bad.example"}, 5, ["bad.example envelope dbl.lists.example=127.0.1.2"]),
    "helo": (mail(), {"helo": "www.bad.example"}, 5, ["www.bad.example helo dbl.lists.example=127.0.1.2"]),
    "dkim": (signed(mail(), domain="bad.example"), {}, 5, ["bad.example dkim dbl.lists.example=127.0.1.2"]),
    "rdns": (mail(), {"client": "127.0.0.66"}, 5, ["listed.example rdns dbl.lists.example=127.0.1.2"]),
    "once a list": (mail(body="http://bad.example http://www.bad.example\r\n"), {}, 5, ["bad.example link dbl.lists.example=127.0.1.2", "www.bad.example link dbl.lists.example=127.0.1.2"]),
    "its own weight": (mail(body="http://sub.host.example/\r\n"), {}, 6, ["sub.host.example link dbl.lists.example=127.0.1.102", "host.example link bits.lists.example=127.0.0.80"]),
    "registrable": (mail(body="http://a.b.example.co.uk/\r\n"), {}, 3, ["example.co.uk link bits.lists.example=127.0.0.64"]),
    "address": (mail(body="http://3221225991/x\r\n"), {}, 4, ["7.2.0.192 link bits.lists.example=127.0.0.16"]),
    "own domain": (mail(body="http://www.example.com/\r\n", sender="a@example.com"), {}, 0, []),
    "an error": (mail(body="http://phish.example/\r\n"), {}, 0, []),
    "nothing": (mail(body="bad.example hxxp://bad.example x@bad.example\r\n"), {}, 0, []),
}


@pytest.mark.parametrize("row", ROWS)
def test_where_it_stands(row):
    """As `explain` finds it: the same filters, and lists that were tested before."""
    message, how, score, names = ROWS[row]
    g = WHERE.get("gate")
    found = g.explain_json(message, client=how.get("client", "127.0.0.9"), helo=how.get("helo", "client.sender.example"), sender=how.get("sender", "alice@sender.example"))[0]
    assert found["facts"]["uribl.score"] == score, found["why"]
    assert sorted(found["facts"]["uribl.names"]) == sorted(names)


WHERE = {}


@pytest.fixture(autouse=True, scope="module")
def where(scratch, lists):
    """Nobody has to run for `explain`."""
    from lab.gateway import Gateway
    WHERE["gate"] = Gateway(scratch / "uribl-explain", [25], dns=lists.server, policy=POLICY, conf=CONF)
    yield
    WHERE.clear()


def test_in_a_session(gate, backend):
    """The verdict, its line, what goes on with a mark."""
    gate.wait_line(r"event=dnsbl zone=dbl\.lists\.example state=well")
    gate.wait_line(r"event=dnsbl zone=bits\.lists\.example state=well")
    with Client(gate.port, source="127.0.0.9") as c:
        c.ehlo()
        assert c.message("alice@sender.example", "bob@example.com", ROWS["base64"][0]).code == 250
        line = gate.verdict("quarantine")
        assert line["rule"] == "domains" and "uribl.score=5" in line["facts"]
        assert c.message("alice@sender.example", "bob@example.com", ROWS["registrable"][0]).code == 250
        assert "uribl.score=3" in gate.verdict("accept")["facts"]


class Counting:
    """A resolver before another one that counts the names it is asked for; what ends with one of silent it does not answer."""

    def __init__(self, port, silent=()):
        self.asked, self.silent, self.to = collections.Counter(), silent, ("127.0.0.1", port)
        self.sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.sock.bind(("127.0.0.1", 0))
        self.server = f"127.0.0.1:{self.sock.getsockname()[1]}"
        self.ended = threading.Event()
        self.thread = threading.Thread(target=self.run)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.ended.set()
        self.thread.join()
        self.sock.close()

    def run(self):
        waiting = {}
        while not self.ended.is_set():
            for s in select.select([self.sock, *waiting], [], [], 0.1)[0]:
                if s is not self.sock:
                    self.sock.sendto(s.recv(65535), waiting.pop(s))
                    s.close()
                    continue
                message, who = s.recvfrom(65535)
                name = self.name(message)
                self.asked[name] += 1
                if not name.endswith(tuple(self.silent)):
                    on = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
                    on.sendto(message, self.to)
                    waiting[on] = who
        for s in waiting:
            s.close()

    @staticmethod
    def name(message):
        at, labels = 12, []
        while message[at]:
            labels.append(message[at + 1:at + 1 + message[at]].decode().lower())
            at += 1 + message[at]
        return ".".join(labels)

    def below(self, zone):
        return {n[:-len(zone) - 1] for n in list(self.asked) if n.endswith("." + zone)}


def test_ten_thousand_links_cost_few_questions(lab, lists, backend):
    """The first 40 names of a message, each once for a list."""
    with Counting(lists.port) as dns:
        g = lab([backend().port], policy=POLICY, conf=CONF, dns=dns.server)
        g.wait_line(r"event=dnsbl zone=bits\.lists\.example state=well")
        g.wait_line(r"event=dnsbl zone=dbl\.lists\.example state=well")
        dns.asked.clear()
        body = "".join(f'<a href="http://n{i}.many{i}.example/">x</a>\r\n' for i in range(10000))
        with Client(g.port, source="127.0.0.9") as c:
            c.ehlo("client.sender.example")
            assert c.message("alice@sender.example", "bob@example.com", html(body + '<a href="http://bad.example">')).code == 250
        assert "uribl.score=0" in g.verdict("accept")["facts"]
        whole, short = dns.below("dbl.lists.example"), dns.below("bits.lists.example")
        assert {n for n in whole if ".many" in n} < {f"n{i}.many{i}.example" for i in range(40)} and 30 < len(whole) <= 40, whole
        assert {n for n in short if n.startswith("many")} < {f"many{i}.example" for i in range(40)} and 30 < len(short) <= 40, short
        assert len(dns.asked) < 200, dns.asked          # names: a resolver that waits too long for an answer asks again


def test_a_silent_list_is_benched(lab, lists, backend):
    """Once its test has had no answer it is not asked any more; the others count."""
    with Counting(lists.port, silent=("none.lists.example",)) as dns:
        own = f'zone none.lists.example {{ servers = {{ "{dns.server}" }} }}\n'
        g = lab([backend().port], policy=POLICY, conf=own + "uribl none.lists.example { timeout = 500ms }\n" + CONF, dns=lists.server)
        assert "does not answer" in g.wait_line(r"event=dnsbl zone=none\.lists\.example state=benched")
        assert dns.asked
        dns.asked.clear()
        with Client(g.port, source="127.0.0.9") as c:
            c.ehlo("client.sender.example")
            assert c.message("alice@sender.example", "bob@example.com", ROWS["text"][0]).code == 250
        assert "uribl.score=5" in g.verdict("quarantine")["facts"]
        assert not [n for n in dns.asked if n.startswith("bad.example.")], dns.asked


def test_lists_that_fail_their_tests_count_nothing(lab, lists, backend):
    """One that has everything, one that has nothing: said once each, and no message is held against anybody."""
    g = lab([backend().port], policy=POLICY, conf="uribl all.lists.example { } uribl none.lists.example { } uribl dbl.lists.example { weight = 1 test_listed = dbltest.com }", dns=lists.server)
    for zone, why in (("all", "lists everything (test_clean, too)"), ("none", "lists nothing (not even test_listed)")):
        assert why in g.wait_line(rf"event=dnsbl zone={zone}\.lists\.example state=benched")
    with Client(g.port, source="127.0.0.9") as c:
        c.ehlo()
        assert c.message("alice@sender.example", "bob@example.com", ROWS["text"][0]).code == 250
    assert "uribl.score=1" in g.verdict("accept")["facts"]
