"""How much one of ours may send: accounts, senders and clients, counted by all workers together."""
import base64
import re

import pytest

from lab.backend import KEYWORDS
from lab.clock import Clock
from lab.process import free_port
from lab.recorder import Recorder
from lab.redis import Redis
from lab.smtp import Client, insecure, mail

POLICY = 'defer rate: "450 4.7.1 you have sent a lot lately" if rate.over ~ /./\naccept\n'
OURS = 'relay_networks = { "127.0.0.9/32", "127.0.0.10/32" }\n'


@pytest.fixture(scope="module")
def recorder():
    with Recorder() as r:
        yield r


@pytest.fixture
def clock(tmp_path):
    """
    Counts slide out of the window as soon as the period in which they were made is over: none of those here ends in the midst of a test. All are multiples of
    the shortest, of 5 minutes, and begin with one of it.
    """
    clock = Clock(tmp_path / "clock")
    clock.keep_clear(300)
    return clock


def rcpts(c, sender, count):
    """The codes of so many RCPT in a transaction of their own."""
    c.expect(f"MAIL FROM:<{sender}>", 250)
    codes = [c.cmd(f"RCPT TO:<r{i}@example.com>").code for i in range(count)]
    c.expect("RSET", 250)
    return codes


def session(g, source="127.0.0.9"):
    c = Client(g.port, source=source)
    c.ehlo()
    return c


def overs(g, *each):
    """The lines that say who is over a rate, once those are there: a pattern for each."""
    for pattern in each:
        g.wait_line(f"event=rate-over .*{pattern}")
    return re.findall(r"event=rate-over.*", g.process.output())


def test_a_stolen_password(lab, backend, clock):
    b = backend({"AUTH": lambda s, line: b"235 2.7.0 welcome\r\n"}, keywords=(*KEYWORDS, "AUTH PLAIN"))
    port = free_port()
    g = lab([b.port], policy=POLICY, workers=2, env=clock.env, listeners=f'listener sub {{ address = "127.0.0.1:{port}" direction = submission }}',
            conf='rate account { limit = 10 }')

    def login(user):
        c = Client(port)
        c.ehlo()
        c.starttls(insecure())
        c.ehlo()
        c.expect("AUTH PLAIN " + base64.b64encode(f"\0{user}\0secret".encode()).decode(), 235)
        return c

    got = []
    for _ in range(6):              # whichever worker they come to
        with login("ann") as c:
            got += rcpts(c, "ann@example.com", 3)
    assert got == [250] * 10 + [450] * 8
    # Another sender's name does not help, another account is another.
    with login("Ann") as c:
        assert rcpts(c, "boss@example.com", 1) == [450]
    with login("bob") as c:
        assert rcpts(c, "bob@example.com", 10) == [250] * 10
        assert rcpts(c, "bob@example.com", 1) == [450]
    said = overs(g, "rate=account by=account who=ann ", "rate=account by=account who=bob ")
    assert len(said) == 2 and "who=ann limit=10 period_s=3600 client=127.0.0.1" in said[0], said
    refused = g.verdict("defer", "rule=rate")
    assert "rate.over=account" in refused["facts"]


def test_messages_of_senders_and_of_clients(lab, recorder, clock):
    g = lab([recorder.port], policy=POLICY, env=clock.env, conf=OURS + """
rate sender { by = sender count = messages limit = 2 period = 1d }
rate client { by = client limit = 12 period = 5m }
""")
    with session(g) as c:
        assert rcpts(c, "a@example.com", 3) == [250] * 3
        assert rcpts(c, "A@example.com", 3) == [250] * 3
        assert rcpts(c, "a@example.com", 2) == [450] * 2
        assert rcpts(c, "b@example.com", 7) == [250] * 6 + [450]
        assert rcpts(c, "c@example.com", 1) == [450]
    with session(g, "127.0.0.10") as c:
        assert rcpts(c, "a@example.com", 1) == [450]
        assert rcpts(c, "c@example.com", 1) == [250]
    # A stranger is nobody whose sending is counted.
    with session(g, "127.0.0.1") as c:
        assert rcpts(c, "a@example.com", 20) == [250] * 20
    assert [re.search(r"rate=(\w+) by=(\w+) who=(\S+)", line).groups() for line in overs(g, "rate=sender", "rate=client")] == \
        [("sender", "sender", "a@example.com"), ("client", "client", "127.0.0.9")]


def test_an_observed_rule_only_tells(lab, recorder, clock):
    g = lab([recorder.port], policy="observe " + POLICY, env=clock.env, conf=OURS + "rate client { by = client limit = 1 }")
    recorder.empty()
    for _ in range(3):
        with session(g) as c:
            assert c.message("a@example.com", ["r1@example.com", "r2@example.com"], mail(sender="a@example.com")).code == 250
    assert len(recorder.taken) == 3 and len(overs(g, "rate=client")) == 1


def test_gateways_with_one_redis_count_together(lab, recorder, tmp_path, clock):
    redis = Redis(tmp_path / "redis")
    try:
        redis_address = f"127.0.0.1:{redis.port}"
        store = f'state_store redis {{ address = "{redis_address}" timeout = 30s }}\n'
        gates = [lab([recorder.port], policy=POLICY, env=clock.env, conf=OURS + store + "rate client { by = client limit = 10 }") for _ in range(2)]
        got = []
        for i in range(6):
            with session(gates[i % 2]) as c:
                got += rcpts(c, "a@example.com", 2)
        assert got == [250] * 10 + [450] * 2
        # Without Redis nobody is over.
        redis.stop()
        with session(gates[0]) as c:
            assert rcpts(c, "a@example.com", 3) == [250] * 3
    finally:
        redis.stop()


def test_lines_of_the_inside_are_left_out(lab, recorder):
    recorder.empty()
    g = lab([recorder.port], conf=OURS, policy="""
remove header inside: "Received" if direction in (outbound, internal)
remove header origin: "X-Originating-IP" if direction in (outbound, internal)
accept
""")
    extra = "Received: from pc.inside.example ([10.1.2.3])\r\n\tby mail.inside.example; now\r\nX-Originating-IP: [10.1.2.3]\r\nX-Kept: yes\r\n"
    message = mail(sender="a@example.com", extra=extra)
    with session(g) as c:
        assert c.message("a@example.com", "bob@example.com", message).code == 250
    with session(g, "127.0.0.1") as c:
        assert c.message("a@sender.example", "bob@example.com", message.replace(b"a@example.com", b"a@sender.example")).code == 250
    ours, strangers = recorder.wait(1).octets, recorder.wait(2).octets
    assert b"inside.example" not in ours and b"10.1.2.3" not in ours and b"X-Kept: yes" in ours
    assert ours.count(b"Received:") == 1 and b"by gate.example (Gatepost)" in ours
    assert b"inside.example" in strangers and b"X-Originating-IP: [10.1.2.3]" in strangers
