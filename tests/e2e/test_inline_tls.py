"""Inline, outbound: a real Postfix that verifies the far end's name, with the gateway in between: tls = hide, own-ca, pass."""
import pytest
from lab.backend import KEYWORDS, Backend
from lab.certificates import Certificates
from lab.knot import Knot
from lab.netns import INTERNET, SERVER, Network
from lab.postfix import Postfix
from lab.smtp import Client, mail

FAR = "mx.elsewhere.example"
ZONE = f"""
elsewhere.example MX 10 {FAR}
{FAR} A {INTERNET}
other.example MX 10 {FAR}
"""


@pytest.fixture(scope="module")
def net():
    with Network() as network:
        yield network


@pytest.fixture(scope="module")
def world(scratch):
    """The certificates of the world."""
    return Certificates(scratch / "inline-tls-world", FAR)


@pytest.fixture(scope="module")
def own(scratch):
    """The site's own CA."""
    return Certificates(scratch / "inline-tls-own", "nobody.example")


@pytest.fixture(scope="module")
def server(net, scratch, world, own):
    """Sends all mail to the far end, which has to be it: a certificate for its name, of the world's CA or of the site's own."""
    cas = scratch / "inline-tls-cas.pem"
    cas.write_text(world.ca.read_text() + own.ca.read_text())
    cas.chmod(0o644)
    postfix = Postfix(scratch / "inline-tls-postfix", host=net.server, listen=[f"{SERVER}:25"], mynetworks=f"127.0.0.0/8 {SERVER}/32",
                      smtpd_recipient_restrictions="permit_mynetworks, reject", relayhost=f"[{INTERNET}]:25", smtp_tls_security_level="secure",
                      smtp_tls_secure_cert_match=FAR, smtp_tls_CAfile=cas, smtp_tls_loglevel="1", notify_classes="", bounce_queue_lifetime="1d",
                      queue_run_delay="4000s", minimal_backoff_time="4000s")      # what one test has put off is not for the next one's far end
    yield postfix
    postfix.stop()


@pytest.fixture(scope="module")
def names(net, scratch):
    knot = Knot(scratch / "inline-tls-knot", ZONE, host=net.gateway)
    yield knot
    knot.stop()


@pytest.fixture
def inline(lab, net, names, world, own):
    made = []

    def make(mode, outbound="", conf=""):
        g = lab([f"{SERVER}:25"], dns=names.server, host=net.gateway, policy="accept\n", listeners=f"""
listener in {{ address = "0.0.0.0:25" transparent = yes }}
listener out {{ address = "127.0.0.1:2500" transparent = yes intercept = 25 direction = outbound tls = {mode} }}
""", conf=f"""
relay_networks = {{ "{SERVER}/32" }}
tls {{ ca_certificate = "{own.ca}" ca_key = "{own.ca.parent / 'ca.key'}" }}
outbound {{ tls_ca = "{world.ca}" never = {{ none }} {outbound} }}
{conf}""")
        net.gateway.sh(g.command("routes", "-c", str(g.conf_path)).stdout.decode())
        made.append(g)
        return g

    yield make
    for g in made:
        net.gateway.sh(g.command("routes", "--undo").stdout.decode())


@pytest.fixture
def far(net, world):
    """The far end, with a certificate or without."""
    made = []

    def make(certificate):
        keywords = (*KEYWORDS, "STARTTLS") if certificate else KEYWORDS
        made.append(net.world.call(Backend, host=INTERNET, port=25, tls=certificate, keywords=keywords))
        return made[-1]

    yield make
    for b in made:
        b.stop()


def post(net, server, subject):
    """The server has mail to send; where its log stood."""
    since = len(server.log(1 << 30))
    with net.server.call(Client, 25, source=SERVER, host=SERVER) as c:
        assert c.message("bob@example.com", "x@elsewhere.example", mail(sender="bob@example.com", to="x@elsewhere.example", subject=subject)).code == 250
    return since


def test_own_ca(net, server, inline, far, world):
    """It verifies, the message is read on its way, and arrives under TLS. A session that was idle for long is opened anew, alike."""
    there, g = far(world.signed), inline("own-ca")
    since = post(net, server, "own-ca")
    message = there.wait_messages(1)[0]
    server.wait_log(rf"Verified TLS connection established to {INTERNET}", since)
    server.wait_log("status=sent", since)
    assert message.session.tls and message.session.peer[0] == SERVER and b"by gate.example (Gatepost)" in message.data
    line = g.verdict("accept")
    assert line["backend.tls"].endswith("pkix")
    with net.server.call(Client, 25, source=SERVER, host=INTERNET) as c:
        assert "STARTTLS" in c.ehlo("server.example.com").keywords()
        c.starttls()
        for n in (2, 3):
            assert c.message("bob@example.com", "x@elsewhere.example", mail(sender="bob@example.com")).code == 250
            assert there.wait_messages(n)[-1].session.tls
    assert there.messages[-1].session is not there.messages[-2].session


def test_own_ca_shows_no_name_that_is_not_proved(net, server, inline, far, world):
    """The far end signed its certificate itself: who verifies waits, who does not goes on."""
    there, g = far(world.self_signed), inline("own-ca")
    since = post(net, server, "unproved")
    server.wait_log("status=deferred .*(not trusted|not verified|certificate verification failed)", since)
    assert not there.messages
    g.wait_line("event=onward-tls .*not verified")
    with net.server.call(Client, 25, source=SERVER, host=INTERNET) as c:
        c.ehlo("server.example.com")
        c.starttls()
        assert b"unverified.invalid" in c.sock.getpeercert(True)
        assert c.message("bob@example.com", "x@elsewhere.example", mail(sender="bob@example.com")).code == 250
    assert there.messages[0].session.tls


def test_own_ca_without_tls_there(net, server, inline, far):
    """What the far end does not offer is not there: 454, and the client waits or goes on without."""
    there, g = far(None), inline("own-ca")
    since = post(net, server, "no-tls")
    server.wait_log("status=deferred", since)
    g.wait_line("event=onward-tls .*does not offer STARTTLS")
    assert not there.messages
    with net.server.call(Client, 25, source=SERVER, host=INTERNET) as c:
        c.ehlo("server.example.com")
        c.expect("STARTTLS", 454)
        assert c.message("bob@example.com", "x@elsewhere.example", mail(sender="bob@example.com")).code == 250


def test_pass(net, server, inline, far, world):
    """The far end's own certificate; the message is not ours to see, and that is said."""
    there, g = far(world.signed), inline("pass")
    since = post(net, server, "pass")
    message = there.wait_messages(1)[0]
    server.wait_log(rf"Verified TLS connection established to {INTERNET}", since)
    server.wait_log("status=sent", since)
    assert message.session.tls and message.session.peer[0] == SERVER and b"Gatepost" not in message.data
    assert f"destination={INTERNET}:25" in g.wait_line("warning .*event=passed-unscanned")
    g.wait_line("event=passed .*from_client=")
    assert "verdict=" not in g.process.output()
    with net.server.call(Client, 25, source=SERVER, host=INTERNET) as c:      # in clear text it is
        assert c.message("bob@example.com", "x@elsewhere.example", mail(sender="bob@example.com")).code == 250
    g.verdict("accept")


@pytest.mark.parametrize("mode", ["own-ca", "pass"])
def test_commands_behind_starttls(net, server, inline, far, world, mode):
    """CVE-2011-0411 through two legs: neither we nor the far end take what was said in the clear for what is said under TLS."""
    there, g = far(world.signed), inline(mode)
    with net.server.call(Client, 25, source=SERVER, host=INTERNET) as c:
        c.ehlo("server.example.com")
        c.send(b"STARTTLS\r\nEHLO evil.example\r\nMAIL FROM:<evil@example.com>\r\n")
        assert c.closed() and c.data == b""
    g.wait_line("event=starttls-injection")
    assert not [command for s in there.sessions for command in s.commands if "evil" in command or command == "STARTTLS"]


def test_hide(net, server, inline, far, world):
    """Not offered: who demands it waits. Who does not is encrypted onward all the same, as the policy of the domain says."""
    there, g = far(world.signed), inline("hide", conf='tls_policy elsewhere.example { tls = verified }')
    since = post(net, server, "hide")
    server.wait_log("status=deferred .*TLS is required, but was not offered", since)
    assert not there.messages

    def send():
        with net.server.call(Client, 25, source=SERVER, host=INTERNET) as c:
            assert "STARTTLS" not in c.ehlo("server.example.com").keywords()
            c.expect("STARTTLS", 502)
            return c.message("bob@example.com", "x@elsewhere.example", mail(sender="bob@example.com"))

    assert send().code == 250
    assert there.messages[0].session.tls and g.verdict("accept")["backend.tls"].endswith("pkix")
    # Nor is a certificate of a known CA enough that has another name.
    for certificate in (world.sign("another", "mx.another.example"), world.self_signed):
        there.stop()
        there = far(certificate)
        reply = send()
        assert reply.code == 451 and "4.7.5" in reply.text
        assert not there.messages
    # In one transaction what the first recipient's domain wants is enough for the others, or they come again.
    with net.server.call(Client, 25, source=SERVER, host=INTERNET) as c:
        c.ehlo("server.example.com")
        codes = [r.code for r in c.envelope("bob@example.com", "x@other.example", "y@third.example", "x@elsewhere.example")]
        assert codes == [250, 250, 452]
        assert c.data_block(mail(sender="bob@example.com")).code == 250
    assert there.messages[0].to == ["x@other.example", "y@third.example"]
