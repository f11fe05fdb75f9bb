"""Behind another hop: a real Postfix as backup MX in front; whose mail it brings is in its Received fields, or said by XFORWARD and XCLIENT."""
import itertools
import json
import re
import time

import pytest

from lab.postfix import Postfix
from lab.process import WAIT_S, free_port
from lab.smtp import Client, mail

RELAY, EDGE = "127.0.0.50", "127.0.0.51"
POLICY = """
quarantine relayed: if client.relayed and (dnsbl.score >= 5 or spf = fail)
reject listed: if dnsbl.score >= 5
reject spf: if spf = fail
greylist if client.fcrdns != pass and spf != pass and client.ip = 127.0.0.99
accept
"""
CONF = """
trusted_relays = { "127.0.0.50", "127.0.0.51" }
client_header = "X-Client-Address"
dnsbl "dnsbl.example" { weight = 5 }
"""
FORGED = ("Received: from mail.good.example (mail.good.example [127.0.0.25])\r\n"
          "\tby mx2.example.com (Postfix) with ESMTPS id 1; Sun, 22 Nov 2026 10:00:00 +0000\r\n")


@pytest.fixture(scope="module")
def at():
    """Where the gateway listens: the relays are told before there is one."""
    return free_port()


@pytest.fixture(scope="module")
def relay(scratch, at):
    """The backup MX, whose connections come from RELAY; mail for example.net goes with XFORWARD."""
    directory = scratch / "relay"
    directory.mkdir()
    (directory / "transport").write_text(f"example.com smtp:[127.0.0.1]:{at}\nexample.net xforward:[127.0.0.1]:{at}\n")
    server = Postfix(directory, domains=(), users=(), services="xforward unix - - n - - smtp -o smtp_send_xforward_command=yes\n",
                     myhostname="relay.example.com", relay_domains="example.com example.net", transport_maps=f"texthash:{directory}/transport", smtp_bind_address=RELAY,
                     mynetworks="", smtp_connection_cache_destinations=f"[127.0.0.1]:{at}", smtp_destination_concurrency_limit="1",
                     smtpd_authorized_xforward_hosts="127.0.0.0/8")
    yield server
    server.stop()


@pytest.fixture(scope="module")
def edge(scratch, relay):
    """What stands before the backup MX."""
    server = Postfix(scratch / "edge", domains=(), users=(), myhostname="edge.example.com", relay_transport="smtp", relay_domains="example.com", relayhost=f"[127.0.0.1]:{relay.port}", smtp_bind_address=EDGE, mynetworks="")
    yield server
    server.stop()


@pytest.fixture
def gate(lab, postfix, at):
    return lab([postfix.port], policy=POLICY, conf=CONF, domains=("example.com", "example.net"), listeners=f'listener smtp {{ address = "127.0.0.1:{at}" }}')


def send(port, source, sender="alice@good.example", to="bob@example.com", message=None, helo="mail.good.example"):
    with Client(port, source=source) as c:
        c.expect(f"EHLO {helo}", 250)
        c.expect(f"MAIL FROM:<{sender}>", 250)
        c.expect(f"RCPT TO:<{to}>", 250)
        c.expect("DATA", 354)
        c.send((message or mail()) + b".\r\n")
        assert c.reply().code == 250
        c.expect("QUIT", 221)


def test_the_client_is_who_gave_it_to_the_relay(gate, relay, postfix):
    """SPF, the reverse name, the block list: of the client, though the relay itself is listed and in nobody's SPF record."""
    send(relay.port, "127.0.0.25")
    line = gate.verdict("accept")
    assert (line["client"], line["relay"], line["helo"]) == ("127.0.0.25", RELAY, "mail.good.example")
    assert "spf=pass" in line["facts"] and line["boundary"] == "received"
    text = postfix.wait_message("bob@example.com").decode()
    assert re.search(r"spf=pass [^;]*smtp\.mailfrom=alice@good\.example", text.replace("\r\n\t", " ").replace("\n\t", " "))
    assert "policy.iprev=127.0.0.25" in text
    assert re.search(r"Received: from relay\.example\.com \(unknown \[127\.0\.0\.50\]\)\s+\(relayed for mail\.good\.example \[127\.0\.0\.25\]\)", text)
    assert "X-Client-Address: 127.0.0.25" in text


def test_what_would_be_refused_is_kept(gate, relay):
    """A listed client, and one that is not in the sender's SPF record, forged fields below or not: no bounce of the relay's."""
    forged = FORGED.encode() + mail()
    send(relay.port, "127.0.0.66", message=forged, helo="listed.example")
    line = gate.verdict("quarantine")
    assert (line["client"], line["rule"]) == ("127.0.0.66", "relayed")
    assert "spf=fail" in line["facts"] or "dnsbl.score=5" in line["facts"]
    assert len(gate.quarantined()) == 1
    found = gate.explain(forged, client=RELAY, sender="alice@good.example")
    assert re.search(r"client\.boundary +received .*Received field 1", found) and re.search(r"client\.ip +127\.0\.0\.25", found)


def test_a_stranger_gets_no_such_treatment(gate, at):
    """Received fields of one who connects himself mean nothing; XCLIENT is not known to him."""
    with Client(at, source="127.0.0.66") as c:
        said = c.expect("EHLO mail.good.example", 250)
        assert "XCLIENT" not in str(said) and "XFORWARD" not in str(said)
        c.expect("XCLIENT ADDR=127.0.0.25", 502)
        c.expect("XFORWARD ADDR=127.0.0.25", 502)
        c.expect("MAIL FROM:<alice@good.example>", 250)
        c.expect("RCPT TO:<bob@example.com>", 550)
    line = gate.verdict("reject")
    assert line["client"] == "127.0.0.66" and "relay" not in line


def test_two_relays(gate, relay, edge):
    send(edge.port, "127.0.0.25")
    edge.wait_log("status=sent")
    line = gate.verdict("accept")
    assert (line["client"], line["relay"]) == ("127.0.0.25", RELAY)
    assert "spf=pass" in line["facts"]


def test_many_clients_in_one_session(gate, at):
    """What is known of one is not said of the next."""
    def field(ip):
        return (f"Received: from mail.good.example (unknown [{ip}])\r\n\tby relay.example.com (Postfix) with ESMTP id 1; x\r\n").encode()
    with Client(at, source=RELAY) as c:
        c.ehlo()
        for ip in ("127.0.0.66", "127.0.0.25", "127.0.0.1", "10.0.0.9", "127.0.0.66"):
            assert c.message("alice@good.example", "bob@example.com", field(ip) + FORGED.encode() + mail()).code == 250
        last = gate.wait_line(r"verdict=.* tx=5 ")
    lines = {n: gate.verdict(r"\S+", rf" tx={n} ") for n in range(1, 6)}
    assert len({line["sid"] for line in lines.values()}) == 1 and "verdict=quarantine" in last
    assert [lines[n].get("client") for n in lines] == ["127.0.0.66", "127.0.0.25", "127.0.0.25", None, "127.0.0.66"]   # the third: a scanner of the relay's
    assert "spf=pass" in lines[2]["facts"] and lines[2]["verdict"] == "accept"
    # Where nobody knows who it was, nothing is held against anybody.
    assert (lines[4]["boundary"], lines[4]["verdict"]) == ("none", "accept") and "spf=" not in lines[4]["facts"]


def test_xforward(gate, relay):
    """Postfix says it before MAIL: known then, and the header is not needed."""
    send(relay.port, "127.0.0.25", to="bob@example.net")
    line = gate.verdict(r"\S+", r"bob@example\.net")
    assert (line["client"], line["relay"]) == ("127.0.0.25", RELAY)
    assert line["boundary"] == "xforward"


def test_xclient(gate, at):
    """For all that follows, until the next; a relay that says what cannot be is told so."""
    with Client(at, source=RELAY) as c:
        assert "XCLIENT ADDR" in str(c.expect("EHLO relay.example", 250))
        for bad in ("ADDR=127.0.0.256", "ADDR=IPV6:127.0.0.25", "ADDR=2001:db8::1", "ADDR=", "ADDR", "NOVEL=1", "HELO=a+0Ab", "PROTO=LMTP", "SOURCE=LOCAL"):
            c.expect("XCLIENT " + bad, 501)
        c.expect("XCLIENT ADDR=127.0.0.66 HELO=listed.example PROTO=ESMTP LOGIN=root", 220)
        c.expect("MAIL FROM:<alice@sender.example>", 503)
        c.ehlo()
        for _ in range(2):
            c.expect("MAIL FROM:<alice@sender.example>", 250)
            c.expect("XCLIENT ADDR=127.0.0.25", 503)
            c.expect("RCPT TO:<bob@example.com>", 250)
            c.expect("DATA", 354)
            c.send(mail() + b".\r\n")
            assert c.reply().code == 250
            line = gate.verdict("quarantine", "client=127.0.0.66 ")
            assert line["helo"] == "listed.example" and line["boundary"] == "xclient"
        c.expect("XCLIENT ADDR=[UNAVAILABLE]", 220)
        c.ehlo()
        assert c.message("alice@good.example", "bob@example.com", mail()).code == 250
        line = gate.verdict("accept")
        assert "client" not in line and line["boundary"] == "none" and "spf=" not in line["facts"]


def test_what_was_said_before_tls_is_forgotten(gate, at):
    """Somebody on the way could have said it (RFC 3207 4.2)."""
    for words, greeting in (("XCLIENT ADDR=127.0.0.25", 220), ("XFORWARD ADDR=127.0.0.25", 250)):
        mark = gate.mark()
        with Client(at, source=RELAY) as c:
            c.ehlo()
            c.expect(words, greeting)
            if greeting == 220:
                c.ehlo()
            c.starttls()
            c.ehlo()
            assert c.message("alice@good.example", "bob@example.com", mail()).code == 250
        assert "boundary=none" in gate.wait_line(r"verdict=.*relay=", mark)


def test_a_relay_is_not_limited(lab, backend, at):
    """Neither connections nor unknown recipients nor errors of a session are its own doing; nor does it wait for the greylist."""
    g = lab([backend().port], policy="greylist\naccept\n", conf=CONF + "client_limits { connections = 3 unknown_recipients = 2 errors = 3 }\nlimits { errors = 3 }\n",
            listeners=f'listener smtp {{ address = "127.0.0.1:{at}" }}')
    for _ in range(5):
        with Client(at, source=RELAY) as c:
            c.ehlo()
            c.expect("MAIL FROM:<alice@sender.example>", 250)
            for i in range(6):
                c.expect(f"RCPT TO:<nobody{i}@elsewhere.example>", 550)
            c.expect("RCPT TO:<bob@example.com>", 250)
            c.expect("DATA", 354)
            c.send(FORGED.encode() + mail() + b".\r\n")
            assert c.reply().code == 250
    assert g.verdict("accept")["client"] == "127.0.0.25"


def test_check_says_what_bounces(lab, backend, tmp_path):
    g = lab([backend().port], policy="reject if spf = fail\naccept\n", conf=CONF + 'relay_networks = { "127.0.0.48/28" }\n')
    said = g.command("check", "-c", str(g.conf_path)).stderr.decode()
    assert "bounces to its sender" in said and "127.0.0.50/32 is in relay_networks" in said


def test_history_and_replay(lab, backend, at):
    """Both are recorded: who it was, and who has brought it; another policy is tried on what was said of the client."""
    g = lab([backend().port], policy=POLICY, conf=CONF, listeners=f'listener smtp {{ address = "127.0.0.1:{at}" }}')
    field = "Received: from mail.good.example (unknown [127.0.0.25])\r\n\tby relay.example.com (Postfix) with ESMTP id 1; x\r\n"
    with Client(at, source=RELAY) as c:
        c.ehlo("relay.example.com")
        assert c.message("alice@good.example", "bob@example.com", field.encode() + mail()).code == 250
    g.verdict("accept")
    end = time.monotonic() + WAIT_S
    while not (found := json.loads(g.command("history", "-c", str(g.conf_path), "--json", check=False).stdout)):
        assert time.monotonic() < end
        time.sleep(0.02)
    (one,) = found
    assert (one["client"], one["helo"], one["facts"]["client.via"], one["facts"]["client.boundary"]) == ("127.0.0.25", "mail.good.example", RELAY, "received")
    assert one["why"]["client.boundary"] == "Received field 1"
    text = g.command("history", "-c", str(g.conf_path), "-v").stdout.decode()
    assert re.search(r"client +127\.0\.0\.25, HELO mail\.good\.example", text) and re.search(r"client\.via +127\.0\.0\.50", text)
    assert json.loads(g.command("history", "-c", str(g.conf_path), "--client", "127.0.0.25", "--json").stdout) and not json.loads(
        g.command("history", "-c", str(g.conf_path), "--client", RELAY, "--json", check=False).stdout)
    new = g.dir / "new.conf"
    new.write_text("quarantine mine: if client.relayed and client.ip = 127.0.0.25 and spf = pass\naccept\n")
    out = json.loads(g.command("replay", "-c", str(g.conf_path), "--policy", str(new), "--json").stdout)
    assert (out["verdicts"], out["changed"], out["cannot_be_known"]) == (1, 1, 0), out
    assert (out["changes"][0]["rule"]["name"], out["changes"][0]["examples"][0]["client"]) == ("mine", "127.0.0.25")


def test_the_server_hears_of_the_client_that_xforward_told(lab, scratch, at):
    """By XCLIENT there, where it is told who the client is; without XFORWARD it is the relay, since nothing else is known at MAIL."""
    port = free_port()
    server = Postfix(scratch / "postfix-told", services=f"127.0.0.1:{port} inet n - n - - smtpd -o smtpd_authorized_xclient_hosts=127.0.0.1\n")
    try:
        lab([port], policy="accept\n", conf=CONF, backend_options="xclient = yes", listeners=f'listener smtp {{ address = "127.0.0.1:{at}" }}')
        with Client(at, source=RELAY) as c:
            c.ehlo("relay.example.com")
            for said in ("ADDR=127.0.0.25 HELO=mail.good.example", "ADDR=[UNAVAILABLE]", None, "ADDR=127.0.0.66"):
                if said:
                    c.expect("XFORWARD " + said, 250)
                assert [r.code for r in c.envelope("alice@good.example", "bob@example.com")] == [250]
                assert c.data_block(mail()).code == 250
        server.wait_message("bob@example.com", 4)
        server.wait_log(r": client=\S+\[127\.0\.0\.66\]")         # its log is written by a process of its own
        told = re.findall(r": client=\S+\[(\S+)\]", (server.dir / "log").read_text())
        # Who pauses for a second comes in another session there, as the same client.
        assert [ip for ip, _ in itertools.groupby(told)] == ["127.0.0.25", RELAY, "127.0.0.66"] and told.count(RELAY) >= 2
    finally:
        server.stop()
