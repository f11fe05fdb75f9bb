"""Never an open relay: the classic tests, and those of today, against every kind of listener and configuration, with a policy that accepts all."""
import socket

import pytest

from lab.backend import Backend
from lab.process import free_port
from lab.relay import taken_of
from lab.smtp import Client, Closed, mail

STRANGER = "127.0.0.9"
TRUSTED = "127.0.0.5"           # may relay
BALANCER = "127.0.0.6"          # may say for whom it speaks
TRUSTED_BALANCER = "127.0.0.7"  # and could relay for itself

# Every address of the world leads to one server: whatever gets out is seen there.
ZONE = """
sink. A 127.0.0.31
*. MX 10 sink.
*. A 127.0.0.31
*.example. MX 10 sink.
*.example. A 127.0.0.31
gate.example. A 127.0.0.1
"""
ACCEPT_ALL = "accept\n"

HEADERS = ("X-Originating-IP: [127.0.0.5]\r\nX-Forwarded-For: 127.0.0.5\r\nX-Relay: yes\r\nResent-To: user@world.example\r\n"
           "Bcc: user@world.example\r\nApparently-To: user@world.example\r\n")


@pytest.fixture(scope="module")
def world(world):
    """One server that every name of the world leads to."""
    with Backend(host="127.0.0.31", port=world.port25) as remote:
        world.remote = remote
        yield world


@pytest.fixture
def site(lab, world, backend):
    """A gateway with listeners of every kind, whose clients on TRUSTED may relay. A backend that takes everything is behind it."""
    def make(outbound="", conf="", auth=None, **kw):
        server = backend(*([{"AUTH": auth}] if auth else []), **({"keywords": kw.pop("keywords")} if "keywords" in kw else {}))
        ports = {kind: free_port() for kind in ("submission", "outbound", "proxied")}
        options = outbound or f"port = {world.port25} never = {{ none }}"
        g = lab([server.port], dns=world.server, policy=ACCEPT_ALL, conf=f"""
relay_networks = {{ "{TRUSTED}", "{TRUSTED_BALANCER}" }}
limits {{ errors = 10000 recipients = 100000 transactions = 100000 }}
listener submission {{ address = "127.0.0.1:{ports['submission']}" direction = submission }}
listener outbound {{ address = "127.0.0.1:{ports['outbound']}" direction = outbound }}
listener proxied {{ address = "127.0.0.1:{ports['proxied']}" proxy_from = {{ "{BALANCER}", "{TRUSTED_BALANCER}" }} }}
outbound {{ {options} }}
{conf}""", **kw)
        g.before = len(world.remote.sessions)
        g.server, g.ports = server, dict(ports, inbound=g.port)
        return g

    return make


PROXY2 = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c" + socket.inet_aton(TRUSTED) + socket.inet_aton("127.0.0.1") + b"\x9c\x40\0\x19"


def outside(address):
    """Whether the backend was handed something that is no plain address of the accepted domain."""
    local, _, domain = address.rpartition("@")
    return domain != "example.com" or any(c in local for c in '%!@"')


def got_to(world, before):
    """Sessions with mail at the world's server, of those past so many."""
    return [s for s in world.remote.mail_sessions() if s.number >= before]


def check_nothing_left(g, world):
    """Neither to the world, nor to the server behind for it to relay."""
    got_out = [s.commands for s in got_to(world, g.before)]
    assert not got_out, got_out
    named = [c.partition("<")[2].partition(">")[0] for s in g.server.sessions for c in s.commands if c.startswith("RCPT")]
    assert not [a for a in named if outside(a)], named


def walk(port, source, before=b""):
    with Client(port, source=source, greeting=False) as c:
        c.send(before)
        assert c.reply().code == 220
        return taken_of(c)


@pytest.mark.parametrize("outbound", ["", "upstream"])
@pytest.mark.parametrize("kind", ["inbound", "submission", "proxied"])
def test_no_stranger_relays(site, world, kind, outbound):
    g = site(outbound and f'via = {{ "127.0.0.31:{world.port25}" }}')
    taken = walk(g.ports[kind], STRANGER)
    assert not taken, taken
    check_nothing_left(g, world)


@pytest.mark.parametrize("conf", ["mode = observe", "smtp { eightbit = pass }", "recipients { verify = none }"])
def test_whatever_else_is_configured(site, world, conf):
    g = site(conf=conf)
    taken = walk(g.port, STRANGER)
    assert not taken, taken
    check_nothing_left(g, world)


def test_without_a_word_on_relaying(lab, world, backend):
    """As it comes: nobody relays, the site's own machine neither."""
    server = backend()
    g = lab([server.port], dns=world.server, policy=ACCEPT_ALL, conf="limits { errors = 10000 }")
    g.server, g.before = server, len(world.remote.sessions)
    taken = walk(g.port, "127.0.0.1")
    assert not taken, taken
    check_nothing_left(g, world)


def test_header_fields_name_no_recipients(site, world):
    g = site()
    with Client(g.port, source=STRANGER) as c:
        c.ehlo()
        replies = c.envelope("spam@example.com", "user@world.example", "bob@example.com")
        assert [r.code for r in replies] == [550, 250]
        assert c.data_block(HEADERS.encode() + mail("user@example.com", "user@world.example")).code == 250
        # refused recipients are none, and none is no message
        assert [r.code for r in c.envelope("spam@example.com", "user@world.example")] == [550]
        assert c.cmd("DATA").code in (503, 554)
        assert c.cmd("BDAT 5 LAST\r\nhello").code in (503, 554)
    assert g.server.messages[0].to == ["bob@example.com"]
    check_nothing_left(g, world)


CLAIMS = [
    f"XCLIENT ADDR={TRUSTED} NAME=server.example.com",
    f"XFORWARD ADDR={TRUSTED} NAME=server.example.com",
    "ETRN world.example",
    "TURN",
    "HELO [127.0.0.5]",
    "EHLO gate.example",
    "EHLO localhost",
    "EHLO server.example.com",
    f"PROXY TCP4 {TRUSTED} 127.0.0.1 40000 25",
    "AUTH PLAIN AHVzZXIAc2VjcmV0",
    "AUTH EXTERNAL =",
    "AUTH ANONYMOUS =",
]


@pytest.mark.parametrize("kind", ["inbound", "submission"])
def test_nobody_becomes_one_of_ours_by_saying_so(site, world, kind):
    g = site()
    for claim in CLAIMS:
        with Client(g.ports[kind], source=STRANGER) as c:
            c.ehlo()
            c.cmd(claim)
            c.cmd("MAIL FROM:<spam@example.com>")
            assert c.cmd("RCPT TO:<user@world.example>").code // 100 == 5, claim
    check_nothing_left(g, world)


PLAIN = "AUTH PLAIN AHVzZXIAc2VjcmV0"


@pytest.fixture
def login(site):
    """A site whose server knows users, and where they may log in on port 25 and in clear text, too."""
    def make(reply):
        g = site(conf="auth { inbound = yes plaintext = yes }", keywords=["AUTH PLAIN", "8BITMIME", "SMTPUTF8"], auth=reply)
        g.server.wait(lambda: g.server.sessions, "the server is asked what it offers")
        return g

    return make


@pytest.mark.parametrize("kind", ["inbound", "submission"])
def test_who_fails_to_log_in_is_a_stranger(login, world, kind):
    g = login(b"535 5.7.8 no\r\n")
    with Client(g.ports[kind], source=STRANGER) as c:
        c.ehlo()
        c.expect(PLAIN, 535)
        c.cmd("MAIL FROM:<spam@example.com>")
        assert c.cmd("RCPT TO:<user@world.example>").code // 100 == 5
    check_nothing_left(g, world)


@pytest.mark.parametrize("kind", ["inbound", "submission"])
def test_a_login_ends_with_starttls(login, world, kind):
    g = login(b"235 2.7.0 ok\r\n")
    with Client(g.ports[kind], source=STRANGER) as c:
        c.ehlo()
        c.expect(PLAIN, 235)
        c.starttls()
        c.ehlo()
        c.cmd("MAIL FROM:<spam@example.com>")
        assert c.cmd("RCPT TO:<user@world.example>").code // 100 == 5
    check_nothing_left(g, world)


def test_what_a_user_sends_goes_to_his_server_alone(login, world):
    """Which decides for whom it relays: we relay nothing for him by ourselves, and nothing for the next who comes."""
    g = login(b"235 2.7.0 ok\r\n")
    with Client(g.port, source=STRANGER) as c:
        c.ehlo()
        c.expect(PLAIN, 235)
        g.server.script["RCPT"] = b"550 5.7.1 relaying denied by the server\r\n"
        reply = c.envelope("user@example.com", "user@world.example")[0]
        assert reply.code == 550 and "by the server" in reply.text
        c.expect("RSET", 250)
        del g.server.script["RCPT"]
        assert c.envelope("user@example.com", "user@world.example")[0].code == 250
        assert c.data_block(mail()).code == 250
    assert not got_to(world, g.before)
    with Client(g.port, source=STRANGER) as c:
        c.ehlo()
        assert c.envelope("user@example.com", "user@world.example")[0].code == 550


def test_a_proxy_header_of_a_stranger_is_none(site, world):
    """On a listener for a load balancer, too: only that one is believed."""
    g = site()
    for header in (f"PROXY TCP4 {TRUSTED} 127.0.0.1 40000 25\r\n".encode(), PROXY2):
        with Client(g.ports["proxied"], source=STRANGER, greeting=False) as c:
            c.send(header)
            try:
                assert c.reply().code in (220, 421, 500, 554)
                c.send(b"EHLO client.example\r\nMAIL FROM:<spam@example.com>\r\nRCPT TO:<user@world.example>\r\nQUIT\r\n")
                while (reply := c.reply()).code != 221:
                    assert not reply.text.startswith("2.1.5")
            except (Closed, OSError):
                pass
    check_nothing_left(g, world)


@pytest.mark.parametrize("balancer", [BALANCER, TRUSTED_BALANCER])
def test_a_balancer_speaks_for_its_clients(site, world, balancer):
    """Who relays is the client that the header tells, even where the balancer's own address might."""
    g = site()
    header = f"PROXY TCP4 {STRANGER} 127.0.0.1 40000 25\r\n".encode()
    taken = walk(g.ports["proxied"], balancer, header)
    assert not taken, taken
    check_nothing_left(g, world)
    with Client(g.ports["proxied"], source=balancer, greeting=False) as c:
        c.send(f"PROXY TCP4 {TRUSTED} 127.0.0.1 40000 25\r\n".encode())
        assert c.reply().code == 220
        assert c.message("user@example.com", "user@world.example", mail()).code == 250


def test_who_may_relay_does(site, world):
    """The same gateway lets out what it should: the tests above would pass with one that lets out nothing."""
    g = site()
    before = len(world.remote.messages)
    for kind in ("inbound", "outbound"):
        with Client(g.ports[kind], source=TRUSTED) as c:
            assert c.message("user@example.com", "user@world.example", mail()).code == 250
    world.remote.wait_messages(before + 2)


def test_one_of_ours_does_not_reach_ourselves_by_a_literal(site, world):
    g = site(conf=f'listener here {{ address = "127.0.0.1:{world.port25}" }}')
    with Client(g.port, source=TRUSTED) as c:
        c.ehlo()
        for to, code in (("user@[127.0.0.1]", 554), ("user@[IPv6:::ffff:127.0.0.1]", 554), ("user@gate.example", 554),
                         ("user%world.example@example.com", 550), ('"user@world.example"@example.com', 550)):
            c.expect("MAIL FROM:<user@example.com>", 250)
            c.expect(f"RCPT TO:<{to}>", code)
            c.expect("RSET", 250)
    assert not got_to(world, g.before)


def test_outbound_listener_greets_no_stranger(site, world):
    g = site()
    with Client(g.ports["outbound"], source=STRANGER) as c:
        assert c.greeting.code == 554
        assert c.closed()
    check_nothing_left(g, world)
