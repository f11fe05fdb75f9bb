"""Between the router and the server: three hosts by network namespaces, a real Postfix as the server, and what it saw."""
import pytest
from lab.gateway import Gateway
from lab.knot import Knot
from lab.netns import CLIENT, CLIENT_V6, GATEWAY_INSIDE, GATEWAY_OUTSIDE, SERVER, SERVER_V6, Network
from lab.postfix import Postfix
from lab.smtp import Client, mail
from lab.zones import ZONES


@pytest.fixture(scope="module")
def net():
    with Network() as network:
        yield network


@pytest.fixture(scope="module")
def server(net, scratch):
    postfix = Postfix(scratch / "inline-postfix", host=net.server, listen=[f"{SERVER}:25", f"[{SERVER_V6}]:25"], inet_protocols="all",
                      mynetworks=f"127.0.0.0/8 {SERVER}/32")
    yield postfix
    postfix.stop()


@pytest.fixture(scope="module")
def names(net, scratch):
    knot = Knot(scratch / "inline-knot", ZONES, host=net.gateway)
    yield knot
    knot.stop()


@pytest.fixture
def gateway(net, names, tmp_path):
    """Makes gateways on the host between; their ends are checked as those of `lab` are."""
    made = []

    def make(backends=(f"{SERVER}:25",), **kw):
        g = Gateway(tmp_path / f"gate{len(made)}", backends, dns=names.server, host=net.gateway, **kw).start()
        made.append(g)
        return g

    yield make
    problems = []
    for g in made:
        status, output = g.stop(), g.process.output()
        if status != 0 or any(w in output for w in ("Sanitizer", "runtime error:")):
            problems.append(f"exit status {status}:\n{output[-20000:]}")
    assert not problems, "\n".join(problems)


def test_nothing_between(net, server):
    """The lab itself: without a gateway the server sees the clients, over both families."""
    for source, host in ((CLIENT, SERVER), (CLIENT_V6, SERVER_V6)):
        since = len(server.log(1 << 30))
        with net.world.call(Client, 25, source=source, host=host) as c:
            c.ehlo()
        server.wait_log(rf"connect from unknown\[{source}\]", since)


def test_in_front_by_address(net, server, gateway):
    """Not inline: the gateway's own address, which is what the server sees."""
    gateway(listeners=f'listener smtp {{ address = "{GATEWAY_OUTSIDE}:25" }}')
    since = len(server.log(1 << 30))
    with net.world.call(Client, 25, source=CLIENT, host=GATEWAY_OUTSIDE) as c:
        assert c.message("alice@sender.example", "bob@example.com", mail()).code == 250
    server.wait_log(rf"client=unknown\[{GATEWAY_INSIDE}\]", since)
