"""Limits per client network and for the site, over all workers: slower first, then refused for now; nobody else is harmed, and it passes."""
import contextlib
import json
import re
import time

import pytest

from lab.backend import Backend
from lab.gateway import parse_logfmt
from lab.process import WAIT_S, free_port
from lab.recorder import Recorder
from lab.smtp import Client, Closed, mail

BAD, GOOD = "127.0.0.11", "127.0.0.12"
EARLY = 0.7     # an event loop that had to wait for the processor counts from when it was to begin
OFF = dict(connections=0, commands=0, errors=0, recipients=0, unknown_recipients=0, messages=0, bytes=0, logins=0)


def limits(section="client_limits", **options):
    """A section with these limits and no others."""
    return section + " { " + " ".join(f"{k} = {v}" for k, v in {**OFF, **options}.items()) + " }"


def talk(g, source, commands, ehlo=True):
    """The codes of the answers to these commands; None from where the connection is closed on."""
    codes = []
    try:
        with Client(g.port, source=source) as c:
            codes.append(c.greeting.code)
            if ehlo and codes == [220]:
                c.ehlo()
            for command in commands:
                codes.append(c.cmd(command).code)
    except (Closed, ConnectionError):
        codes.append(None)
    return codes


def lines(g, since=0, **keys):
    """Lines about limits that have these values."""
    found = [parse_logfmt(line) for line in g.process.output()[since:].splitlines() if "event=limit " in line]
    return [x for x in found if all(x.get(k) == v for k, v in keys.items())]


def status(g):
    return json.loads(g.command("status", "-c", str(g.conf_path)).stdout)["limits"]


def wait_sessions(g, count):
    """Until there are so many: that a client has gone is seen by and by."""
    end = time.monotonic() + WAIT_S
    while (found := status(g)["smtp_sessions"]) != count:
        assert time.monotonic() < end, found
        time.sleep(0.02)


def unharmed(g):
    with Client(g.port, source=GOOD) as c:
        assert c.message("a@sender.example", "bob@example.com", mail()).code == 250


@pytest.fixture
def recorder():
    with Recorder() as r:
        yield r


def nobody(session, line):
    """A server that knows bob and ben alone."""
    return None if re.search(r"<(bob|ben)@", line) else b"550 5.1.1 no such user\r\n"


def recipients(server):
    return sum(c.startswith("RCPT") for s in server.sessions for c in s.commands)


@pytest.fixture
def server():
    b = Backend({"RCPT": nobody})
    yield b
    b.stop()


@pytest.mark.parametrize("workers", [1, 2])
def test_connections(lab, recorder, workers):
    """Six in a period, by whichever worker; slower from the fourth on. A period later it is as it was."""
    g = lab([recorder.port], policy="accept\n", workers=workers, conf=limits(period="4s", connections=6, slow_max="200ms"))
    begin = time.monotonic()
    taken = 0
    while talk(g, BAD, [], False)[0] == 220:
        taken += 1
    took = time.monotonic() - begin
    assert 6 <= taken <= 7 + 6 * took / 4       # a part of the period may have slid away meanwhile
    assert took > EARLY * (0.2 + 0.13)
    unharmed(g)
    line = parse_logfmt(g.wait_line(rf"event=limit what=connections client={BAD} .*action=slow"))
    assert line["limit"] == "6" and line["listener"] == "smtp"
    assert 1 <= len(lines(g, client=BAD)) <= 2  # one a minute, of four steps and more; a minute may have ended meanwhile
    s = status(g)
    assert s["refused"]["connections"] == 1 and s["slowed"]["connections"] >= 2
    end = time.monotonic() + 30
    while talk(g, BAD, [], False) != [220]:
        assert time.monotonic() < end
        time.sleep(0.1)


def test_sessions_over_all_workers(lab, recorder):
    """Of two workers each has some; a worker that dies takes none of the places with it."""
    g = lab([recorder.port], policy="accept\n", workers=2, conf="limits { sessions_per_client = 4 sessions = 12 }")
    with contextlib.ExitStack() as stack:
        held = [stack.enter_context(Client(g.port, source=BAD)) for _ in range(4)]
        assert [c.greeting.code for c in held] == [220] * 4
        for _ in range(4):
            assert talk(g, BAD, [], False)[0] == 421
        unharmed(g)
        wait_sessions(g, 4)
        more = [stack.enter_context(Client(g.port, source=f"127.0.1.{n}")) for n in range(8)]
        assert [c.greeting.code for c in more] == [220] * 8
        assert status(g)["smtp_sessions"] == 12
        assert talk(g, GOOD, [], False)[0] == 421
        for name in ("gp-worker 1", "gp-worker 2"):
            g.kill_child(name)
        wait_sessions(g, 0)
        again = [stack.enter_context(Client(g.port, source=BAD)) for _ in range(5)]
        assert sorted(c.greeting.code for c in again) == [220] * 4 + [421]


def test_commands(lab, recorder):
    g = lab([recorder.port], policy="accept\n", conf=limits(period="1h", commands=10, slow_max="100ms"))
    assert talk(g, BAD, ["NOOP"] * 11) == [220] + [250] * 9 + [421, None]
    assert "commands" in parse_logfmt(g.wait_line(rf"event=limit .*client={BAD} .*action=slow"))["what"]
    assert talk(g, BAD, ["NOOP"], False) == [220, 421]
    assert talk(g, BAD, ["QUIT"], False) == [220, 221]          # nobody is kept
    assert talk(g, GOOD, ["NOOP"] * 5) == [220] + [250] * 5


def test_errors(lab, recorder):
    g = lab([recorder.port], policy="accept\n", conf=limits(period="1h", errors=6, slow_from=100))
    assert talk(g, BAD, ["WHAT"] * 7) == [220] + [500] * 6 + [421]
    assert talk(g, BAD, ["NOOP"], False) == [220, 421]
    g.wait_line(rf"event=limit what=errors client={BAD} .*action=refused")
    unharmed(g)


def test_errors_in_one_session(lab, server):
    """Slower from half of the session's limit on, however far away that of the network is; a harvest without a message learns little in a second."""
    g = lab([server.port], policy="accept\n", conf=limits(errors=1000, slow_max="400ms") + " limits { errors = 8 }")
    with Client(g.port, source=BAD) as c:
        c.ehlo()
        c.expect("MAIL FROM:<a@sender.example>", 250)
        took, codes = [], []
        for i in range(9):
            began = time.monotonic()
            codes.append(c.cmd(f"RCPT TO:<x{i}@example.com>").code)
            took.append(time.monotonic() - began)
    assert codes == [550] * 8 + [421]
    assert all(t >= EARLY * ms / 1000 for t, ms in zip(took[5:], (100, 200, 300, 400))), took
    unharmed(g)


def test_recipients_and_messages(lab, recorder):
    """Too many recipients: 450 for those alone; too many messages, or bytes: 450 at MAIL. Never for good."""
    g = lab([recorder.port], policy="accept\n", conf=limits(period="1h", recipients=4, messages=2, slow_from=100))
    with Client(g.port, source=BAD) as c:
        c.ehlo()
        c.expect("MAIL FROM:<a@sender.example>", 250)
        assert [c.cmd(f"RCPT TO:<u{i}@example.com>").code for i in range(6)] == [250] * 4 + [450] * 2
        assert c.data_block(mail()).code == 250
        assert len(recorder.wait().rcpts) == 4
        c.expect("MAIL FROM:<a@sender.example>", 250)
        assert "try again" in c.expect("RCPT TO:<bob@example.com>", 450).text
    unharmed(g)
    g = lab([recorder.port], policy="accept\n", conf=limits(period="1h", messages=2, slow_from=100))
    with Client(g.port, source=BAD) as c:
        c.ehlo()
        for _ in range(2):
            c.envelope("a@sender.example", "bob@example.com")
            assert c.data_block(mail()).code == 250
        assert "messages" in c.expect("MAIL FROM:<a@sender.example>", 450).text
        c.expect("NOOP", 250)
    unharmed(g)


def test_what_comes_along_with_what_is_put_off(lab, recorder):
    """RCPT and DATA behind a MAIL that is put off, in one group: put off as well, and no errors of the client; else a list's host is locked out for them."""
    g = lab([recorder.port], policy="accept\n", conf=limits(period="1h", messages=1, recipients=3, errors=8, slow_from=100) + "limits { errors = 8 }")
    group = b"".join(b"%s\r\n" % x for x in [b"MAIL FROM:<a@sender.example>"] + [b"RCPT TO:<bob@example.com>"] * 6 + [b"DATA"])
    with Client(g.port, source=BAD) as c:
        c.ehlo()
        c.send(group)                           # recipients: the first three are taken
        assert [c.reply().code for _ in range(8)] == [250] * 4 + [450] * 3 + [354]
        c.send(mail() + b".\r\n")
        assert c.reply().code == 250
        for _ in range(4):
            c.send(group)
            assert [c.reply().code for _ in range(8)] == [450] + [451] * 7
        assert c.cmd("RSET").code == 250
        c.expect("RCPT TO:<bob@example.com>", 503)
    g2 = lab([recorder.port], policy="accept\n", conf=limits(period="1h", recipients=1, slow_from=100))
    with Client(g2.port, source=BAD) as c:      # all recipients are put off: so is the message
        c.ehlo()
        assert [r.code for r in c.envelope("a@sender.example", "bob@example.com")] == [250]
        c.expect("RSET", 250)
        assert [r.code for r in c.envelope("a@sender.example", "bob@example.com")] == [450]
        c.expect("DATA", 451)
        c.expect("RSET", 250)
        c.expect("MAIL FROM:<a@sender.example>", 250)
        c.expect("DATA", 554)


def test_bytes(lab, recorder):
    g = lab([recorder.port], policy="accept\n", conf=limits(period="1h", bytes="256K", slow_from=100))
    with Client(g.port, source=BAD) as c:
        c.ehlo()
        for n in range(2):                      # what has been begun may be finished
            c.envelope("a@sender.example", "bob@example.com")
            assert c.data_block(mail(body=("x" * 70 + "\r\n") * 3000)).code == 250
        assert "bytes" in c.expect("MAIL FROM:<a@sender.example>", 450).text
    unharmed(g)


def test_a_harvest(lab, server):
    """After five that nobody knows, nothing is learnt any more: neither whom there is nor whom there is not."""
    g = lab([server.port], policy="accept\n", workers=2, conf=limits(period="1h", unknown_recipients=5, slow_max="100ms"))
    assert talk(g, BAD, ["MAIL FROM:<a@sender.example>"] + [f"RCPT TO:<x{i}@example.com>" for i in range(7)]) == [220, 250] + [550] * 5 + [421, None]
    asked = recipients(server)
    for source in (BAD, BAD):
        with Client(g.port, source=source) as c:        # other sessions: what is asked is answered 450, whoever it is
            c.ehlo()
            assert [r.code for r in c.envelope("a@sender.example", "bob@example.com", "x1@example.com", "x9@example.com")] == [450] * 3
            assert "none is looked up" in c.cmd("RCPT TO:<bob@example.com>").text
    assert recipients(server) == asked
    with Client(g.port, source=GOOD) as c:
        c.ehlo()
        assert [r.code for r in c.envelope("a@sender.example", "bob@example.com", "x1@example.com")] == [250, 550]
    g.wait_line(rf"event=limit what=unknown_recipients client={BAD} ")
    # Relaying that is asked for is the same.
    assert talk(g, "127.0.0.13", ["MAIL FROM:<a@sender.example>"] + [f"RCPT TO:<x@d{i}.example>" for i in range(7)]) == [220, 250] + [550] * 5 + [421, None]


def test_a_harvest_is_forgotten(lab, server):
    """A period after the last one that was too many."""
    g = lab([server.port], policy="accept\n", workers=2, conf=limits(period="3s", unknown_recipients=5, slow_max="100ms"))
    begin = time.monotonic()
    codes = talk(g, BAD, ["MAIL FROM:<a@sender.example>"] + [f"RCPT TO:<x{i}@example.com>" for i in range(100)])
    assert codes[:7] == [220, 250] + [550] * 5 and codes[-2:] == [421, None], codes
    while (codes := talk(g, BAD, ["MAIL FROM:<a@sender.example>", "RCPT TO:<bob@example.com>"])) != [220, 250, 250]:
        assert codes == [220, 250, 450] and time.monotonic() - begin < WAIT_S, codes
        time.sleep(0.1)
    assert time.monotonic() - begin > 2.9


def test_exempt(lab, server):
    """Neither counted nor bounded: exempt networks and those who may relay."""
    conf = limits(period="1h", connections=2, commands=10, errors=2, recipients=3, unknown_recipients=2, messages=1, slow_from=100, exempt=f'{{ "{BAD}/32" }}')
    g = lab([server.port], policy="accept\n", conf=conf + ' relay_networks = { "127.0.0.14/32" } limits { sessions_per_client = 1 }')
    for source in (BAD, "127.0.0.14"):
        with Client(g.port, source=source):
            for _ in range(4):
                assert talk(g, source, ["MAIL FROM:<a@sender.example>"] + [f"RCPT TO:<x{i}@example.com>" for i in range(6)]) == [220, 250] + [550] * 6
    assert not lines(g)
    for want in (220, 220, 421):
        wait_sessions(g, 0)                     # those of before have ended
        assert talk(g, "127.0.0.15", [], False)[0] == want


def test_clients_behind_a_balancer(lab, recorder):
    """The client that the header tells is counted, not the balancer; an IPv6 client by its /64, and with 4 and 16 times as much by /56 and /48."""
    at = free_port()
    g = lab([recorder.port], policy="accept\n",
            conf=f'listener proxied {{ address = "127.0.0.1:{at}" proxy_from = {{ "127.0.0.66/32" }} }}\n' + limits(period="1h", connections=2, slow_from=100))

    def come(client):
        family = "TCP6" if ":" in client else "TCP4"
        with Client(at, source="127.0.0.66", greeting=False) as c:
            c.send(f"PROXY {family} {client} {'2001:db8::1' if ':' in client else '192.0.2.1'} 5000 25\r\n".encode())
            return c.reply().code

    assert [come("192.0.2.7") for _ in range(3)] == [220, 220, 421]
    assert [come("192.0.2.8") for _ in range(3)] == [220, 220, 421]
    assert [come(f"2001:db8:0:100::{n}") for n in range(1, 4)] == [220, 220, 421]
    codes = [come(f"2001:db8:0:1{n:02x}::1") for n in range(1, 9)]
    assert codes == [220] * 6 + [421] * 2, codes                # 2 and 6 of the /56
    g.wait_line(r"event=limit .*client=2001:db8:0:100::/56 .*limit=8 ")
    codes = [come(f"2001:db8:0:{n:x}00::1") for n in range(2, 30)]
    assert codes == [220] * 24 + [421] * 4, codes               # 8 and 24 of the /48
    g.wait_line(r"event=limit .*client=2001:db8::/48 .*limit=32 ")
    assert come("2001:db8:1::1") == 220
    with Client(at, source="127.0.0.66", greeting=False) as c:  # its own checks are not counted
        c.send(b"PROXY UNKNOWN\r\n")
        assert c.reply().code == 220


def test_slowed_sessions_are_few(lab, recorder):
    """So many of a network wait at a time; a further one is refused."""
    g = lab([recorder.port], policy="accept\n", conf=limits(period="1h", connections=20, slow_from=0, slow_max="60s", slowed=3))
    with contextlib.ExitStack() as stack:
        waiting = [stack.enter_context(Client(g.port, source=BAD, greeting=False)) for _ in range(3)]
        g.wait_line(rf"event=limit what=connections client={BAD} .*action=slow")
        with Client(g.port, source=BAD) as more:        # the first of them waits for three seconds
            assert more.greeting.code == 421
        unharmed(g)
        assert waiting[0].reply().code == 220           # those who wait get through in the end
    assert status(g)["refused"]["connections"] == 1


def test_who_is_slowed_keeps_no_backend(lab, recorder):
    """The only session with the server behind is free for others while a client's next recipient waits."""
    g = lab([recorder.port], policy="accept\n", backend_options='max_sessions = 1 max_sessions_wait = "15s"',
            conf=limits(period="1h", recipients=2, slow_from=60, slow_max="20s"))
    with Client(g.port, source=BAD) as c:
        c.ehlo()
        assert [r.code for r in c.envelope("a@sender.example", "bob@example.com")] == [250]
        c.send(b"RCPT TO:<ben@example.com>\r\n")
        g.wait_line(rf"event=limit what=recipients client={BAD} .*action=slow")
        unharmed(g)


def test_of_the_whole_site(lab, recorder):
    g = lab([recorder.port], policy="accept\n", conf=limits() + "\n" + limits("site_limits", period="1h", connections=5, slow_from=100))
    assert [talk(g, f"127.0.2.{n}", [], False)[0] for n in range(7)] == [220] * 5 + [421] * 2
    line = parse_logfmt(g.wait_line(r"event=limit what=connections "))
    assert "client" not in line and line["action"] == "refused" and line["limit"] == "5"


def test_observe(lab, server):
    """What would be is said, and nothing is done."""
    g = lab([server.port], policy="accept\n",
            conf="mode = observe\n" + limits(period="1h", connections=2, commands=4, unknown_recipients=2, slow_from=50, slow_max="10s"))
    for _ in range(4):
        assert talk(g, BAD, ["MAIL FROM:<a@sender.example>"] + [f"RCPT TO:<x{i}@example.com>" for i in range(4)]) == [220, 250] + [550] * 4
    for word in ("would-slow", "would-refuse"):
        g.wait_line(rf"event=limit .*action={word}")
    assert {x["action"] for x in lines(g)} == {"would-slow", "would-refuse"}
    assert sum(status(g)["refused"].values()) == 0


def test_before_the_login(access_gate, imap_server):
    """Attempts count together until one succeeds; who has logged in is taken out of the counts."""
    g = access_gate({"imap": imap_server().port}, backend_options="tls = off", kinds=("imap",), conf=limits(period="1h", connections=6, commands=40, slow_from=100))
    for _ in range(12):
        with Client(g.ports["imap"], source=BAD, greeting=False) as c:
            assert c.line().startswith("* OK")
            c.send(b"a LOGIN alice secret\r\n")
            while not (answer := c.line()).startswith("a "):
                pass
            assert answer.startswith("a OK"), answer
    for n in range(7):
        with Client(g.ports["imap"], source=BAD, greeting=False) as c:
            assert c.line().startswith("* OK" if n < 6 else "* BYE [UNAVAILABLE]")
    with Client(g.ports["imap"], source=GOOD, greeting=False) as c:
        assert c.line().startswith("* OK")
        answers = []
        with contextlib.suppress(Closed):
            for n in range(50):
                c.send(b"a%d NOOP\r\n" % n)
                answers.append(c.line())
                c.sock.settimeout(10)
        assert 38 <= len(answers) <= 42 and answers[-1].startswith("* BYE [UNAVAILABLE] too much"), answers[-2:]


def test_nonsense_is_told(lab, recorder, tmp_path):
    g = lab([recorder.port], policy="accept\n", conf=limits(messages=50, recipients=500, commands=100, errors=10, bytes="10M") + limits("site_limits", messages=40))
    said = g.command("check", "-c", str(g.conf_path)).stdout.decode() + g.command("check", "-c", str(g.conf_path)).stderr.decode()
    for words in ("client_limits: messages = 50", "client_limits: recipients = 500", "client_limits: commands = 100", "client_limits: errors = 10",
                  "client_limits: bytes is less than message_size", "site_limits: messages is less than that of client_limits"):
        assert words in said, (words, said)
