"""Recipients from a directory: a real slapd, and what happens when it changes, lies, is slow or away."""
import json
import os
import pathlib
import signal
import subprocess
import threading
import time

import pytest

from lab import ldap_liar as ldap
from lab.certificates import Certificates
from lab.process import WAIT_S
from lab.recorder import Recorder
from lab.slapd import BASE, PASSWORD, USER, Slapd, entry, user
from lab.smtp import Client, mail

PLAIN = os.environ.get("GATEPOST_PLAIN")
PEOPLE = user("anna", "smtp:a.other@example.com", "X400:C=DE;A= ;P=X;S=x400@example.com", "SIP:sip@example.com") + user("bert")


@pytest.fixture
def recorder():
    with Recorder() as r:
        yield r


@pytest.fixture
def slapd(tmp_path):
    made = []

    def make(entries=PEOPLE, **kw):
        made.append(Slapd(tmp_path / f"slapd{len(made)}", entries, **kw))
        return made[-1]

    yield make
    for s in made:
        s.stop()


@pytest.fixture
def gate(lab, recorder, tmp_path):
    """A gateway that asks this slapd; options: of the section."""
    secret = tmp_path / "password"

    def make(server, options="", tls="tls = off", password=PASSWORD, url=None, refresh="1h", conf="", **kw):
        secret.write_text(password + "\n")
        secret.chmod(0o600)
        return lab([recorder.port], policy="accept\n", conf=f"""
recipients {{ verify = directory negative = 1h }}
directory ad {{ server = {{ "{url or server.url()}" }} base = "{BASE}" bind_dn = "{USER}" password_file = "{secret}" {tls} refresh = {refresh} {options} }}
{conf}""", **kw)

    return make


def code(g, to, sender="a@sender.example"):
    """What is said to one recipient."""
    with Client(g.port) as c:
        c.ehlo()
        c.cmd(f"MAIL FROM:<{sender}>")
        return c.cmd(f"RCPT TO:<{to}>").code


def refreshed(g, since=0):
    return g.wait_line(r"event=directory name=ad what=refreshed", since)


def status(g):
    return json.loads(g.command("status", "-c", str(g.conf_path)).stdout)["directories"][0]


def await_status(g, test):
    end = time.monotonic() + WAIT_S
    while not test(status(g)):
        assert time.monotonic() < end, status(g)
        time.sleep(0.1)


# who is known

def test_who_is_known(gate, slapd, recorder):
    s = slapd(PEOPLE + user("list", msExchRequireAuthToSendTo="TRUE") + entry("mailonly", mail="Only.Mail@Example.COM"))
    begun = time.monotonic()
    g = gate(s)
    refreshed(g)
    for to in ("anna@example.com", "ANNA@Example.com", "a.other@example.com", "only.mail@example.com", "list@example.com", "postmaster@example.com"):
        assert code(g, to) == 250, to
    for to in ("nobody@example.com", "x400@example.com", "sip@example.com", "*@example.com", "an*@example.com", '"anna)(mail=*"@example.com',
               "anna+tag@example.com", "anna@sub.example.com", '"smtp:anna"@example.com', '"a\\\\na"@example.com'):
        assert code(g, to) in (550, 553), to
    with Client(g.port) as c:
        assert c.message("a@sender.example", ["anna@example.com", "bert@example.com"], mail(subject="x")).code == 250
    assert len(recorder.wait().rcpts) == 2
    await_status(g, lambda d: d["addresses"] == 5)
    one = status(g)
    assert one["name"] == "ad" and one["state"] == "up" and one["addresses"] == 5 and one["refreshed_s"] <= time.monotonic() - begun + 1


def test_new_ones_at_once_and_removed_ones_after_a_refresh(gate, slapd):
    s = slapd()
    g = gate(s)
    refreshed(g)
    assert code(g, "bert@example.com") == 250
    s.change(user("carla", "smtp:c.other@example.com"))
    assert code(g, "carla@example.com") == 250
    asked = s.searches("c.other")
    assert code(g, "c.other@example.com") == 250, "whoever was found is remembered with all addresses"
    assert s.searches("c.other") == asked
    # Asked before: the answer no is remembered, and forgotten by the command.
    assert code(g, "dora@example.com") == 550
    s.change(user("dora"))
    s.remove("bert")
    asked = s.searches("dora")
    assert code(g, "dora@example.com") == 550 and s.searches("dora") == asked
    assert code(g, "bert@example.com") == 250
    mark = g.mark()
    assert g.command("recipients", "-c", str(g.conf_path), "refresh").returncode == 0
    refreshed(g, mark)
    assert code(g, "bert@example.com") == 550
    assert code(g, "dora@example.com") == 250


def test_many_pages(gate, slapd):
    """More than comes in one page, and more than the server gives without pages."""
    s = slapd("".join(user(f"u{i}") for i in range(2300)))
    g = gate(s, "live = 0")
    assert "addresses=2300" in refreshed(g)
    assert s.searches("proxyAddresses=*") >= 3
    assert code(g, "u0@example.com") == 250 and code(g, "u2299@example.com") == 250 and code(g, "u2300@example.com") == 550


def test_options(gate, slapd):
    s = slapd(PEOPLE + user("list", msExchRequireAuthToSendTo="TRUE"))
    g = gate(s, 'plus = yes subdomains = yes catch_all = { "all.example" } restricted = refuse', domains=("example.com", ".example.com", "all.example"))
    refreshed(g)
    assert code(g, "anna+shop@example.com") == 250
    assert code(g, "anna@host.example.com") == 250
    assert code(g, "whoever@all.example") == 250
    assert code(g, "list@example.com") == 550
    assert code(g, "nobody+shop@example.com") == 550
    line = g.wait_line(r"rule=restricted-recipient|restricted-recipient")
    assert "list@example.com" in line


def test_domino(lab, recorder, slapd, tmp_path):
    s = slapd(entry("Erika Muster", "dominoPerson", mail="Erika.Muster@example.com", uid="emuster") + entry("All Hands", "dominoGroup") +
              entry("Orders", "dominoServerMailInDatabase", mail="orders@example.com"))
    (tmp_path / "password").write_text(PASSWORD)
    g = lab([recorder.port], policy="accept\n", domains=("example.com", "example.net", "other.example"), conf=f"""
recipients {{ verify = directory }}
directory ad {{ server = {{ "{s.url()}" }} base = "{BASE}" bind_dn = "{USER}" password_file = "{tmp_path}/password" tls = off schema = domino
    domains = {{ example.com, example.net }} }}""")
    refreshed(g)
    for to in ("erika.muster@example.com", "emuster@example.com", "emuster@example.net", "Erika_Muster@example.com", "all_hands@example.net", "orders@example.com"):
        assert code(g, to) == 250, to
    for to in ("muster@example.com", "hands@example.com"):
        assert code(g, to) == 550, to
    # Another domain, which no directory is for: the backend decides.
    assert code(g, "whoever@other.example") == 250


# TLS

def test_tls(gate, slapd, tmp_path):
    certs = Certificates(tmp_path / "certs", name="localhost")
    cert = tmp_path / "ip.pem", tmp_path / "ip.key"
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", cert[1], "-out", cert[0], "-days", "9",
                    "-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1", "-addext", "basicConstraints=critical,CA:FALSE", "-CA", certs.ca,
                    "-CAkey", certs.ca.parent / "ca.key"], check=True, capture_output=True)
    s = slapd(cert=cert, options="security ssf=128")
    for url, tls in ((s.url(), "tls = starttls"), (s.url(tls=True), "tls = required")):
        g = gate(s, f'tls_ca = "{certs.ca}"', tls=tls, url=url)
        refreshed(g)
        assert code(g, "anna@example.com") == 250 and code(g, "nobody@example.com") == 550
        connections = len(s.said(" ACCEPT "))
        assert [code(g, f"nobody{i}@example.com") for i in range(3)] == [550] * 3
        assert len(s.said(" ACCEPT ")) == connections, "one connection for one question after the other"
    # Nobody that we know has signed it: not a word of the password, and nobody is refused.
    other = Certificates(tmp_path / "other")
    g = gate(s, f'tls_ca = "{other.ca}"', tls="tls = starttls")
    g.wait_line(r"event=directory name=ad what=away why=\"TLS: ")
    binds = len(s.said(" BIND "))
    assert code(g, "anna@example.com") == 451 and code(g, "nobody@example.com") == 451
    assert len(s.said(" BIND ")) == binds
    # Another name than that of the certificate.
    g = gate(s, f'tls_ca = "{certs.ca}"', tls="tls = starttls", url=f"ldap://localhost:{s.port}", dns_conf='local_data = { "localhost. A 127.0.0.1" }')
    g.wait_line(r"event=directory name=ad what=away why=\"TLS: ")


# when it is not as it should be

def test_killed_and_started_again(gate, slapd, lab):
    """Mail goes on; a start while it is away knows everybody; who is not known is put off when that is no longer fresh."""
    s = slapd()
    g = gate(s, refresh="1s")
    refreshed(g)
    s.kill()
    g.wait_line(r"event=directory name=ad what=away")
    assert code(g, "anna@example.com") == 250
    end = time.monotonic() + WAIT_S
    while code(g, "nobody@example.com") != 451:
        assert time.monotonic() < end
        time.sleep(0.2)
    assert code(g, "anna@example.com") == 250
    g.stop()
    g.start()
    g.wait_line(r"event=directory name=ad what=away .*addresses=3")
    assert code(g, "anna@example.com") == 250 and code(g, "a.other@example.com") == 250
    assert code(g, "nobody@example.com") == 451
    mark = g.mark()
    s.start()
    g.wait_line(r"event=directory name=ad what=\"it answers again\"", mark)
    refreshed(g, mark)
    await_status(g, lambda d: d["state"] == "up")
    assert code(g, "nobody@example.com") == 550


def test_never_there(gate, slapd):
    """No table, no answer: later. And `keep` over: later, for those who were known, too."""
    s = slapd()
    s.kill()
    g = gate(s)
    g.wait_line(r"event=directory name=ad what=away")
    assert code(g, "anna@example.com") == 451 and code(g, "nobody@example.com") == 451
    assert status(g)["state"] == "away"


def test_kept_no_longer(gate, slapd):
    s = slapd()
    g = gate(s, "keep = 2s", refresh="1s")
    refreshed(g)
    assert code(g, "anna@example.com") == 250
    s.kill()
    end = time.monotonic() + WAIT_S
    while code(g, "anna@example.com") != 451:
        assert time.monotonic() < end
        time.sleep(0.2)


def test_password(gate, slapd):
    """A wrong one; the right one takes effect at a reload."""
    s = slapd()
    g = gate(s, password="wrong")
    g.wait_line(r"event=directory name=ad what=away why=\"bind: Invalid credentials")
    assert code(g, "anna@example.com") == 451
    (g.dir.parent / "password").write_text(PASSWORD)
    mark = g.mark()
    g.process.send(signal.SIGHUP)
    g.wait_line("event=reload what=done", mark)
    refreshed(g, mark)
    assert code(g, "anna@example.com") == 250 and code(g, "nobody@example.com") == 550


def test_it_stands_still(gate, slapd):
    """SIGSTOP: those who are known are answered at once all the same; others after the timeout, then at once, too: nobody asks it any more for a while."""
    s = slapd()
    g = gate(s, "timeout = 1s")
    refreshed(g)
    mark = g.mark()
    s.freeze()
    assert code(g, "anna@example.com") == 250
    assert "what=away" not in g.process.output(mark), "it was asked, and did not answer"
    assert code(g, "nobody@example.com") == 550, "what is known is fresh"
    g.wait_line(r"event=directory name=ad what=away why=\"the directory: it does not answer\"", mark)
    for i in range(4):                  # 2 seconds, then 4, 8, 16
        spared = status(g)["spared"]
        assert code(g, f"nobody{i}@example.com") == 550
        if status(g)["spared"] > spared:
            break
    else:
        raise AssertionError("it is asked each time")
    s.thaw()


def test_suspiciously_few(gate, slapd):
    """Less than half is believed when it has been seen twice; nobody at all never is."""
    # Seven in one entry, three in another: they go in one step, between two refreshes.
    s = slapd(user("u0", *(f"smtp:u{i}@example.com" for i in range(1, 7))) + user("u7", "smtp:u8@example.com", "smtp:u9@example.com"))
    g = gate(s, "live = 0", refresh="1s")
    assert "addresses=10" in refreshed(g)
    mark = g.mark()
    s.remove("u0")
    line = g.wait_line(r"event=directory name=ad what=DOUBTED", mark)
    assert "3 addresses, of 10 before" in line
    g.wait_line(r"event=directory name=ad what=\"refreshed: fewer addresses, seen twice\" addresses=3", mark)
    assert code(g, "u0@example.com") == 550 and code(g, "u9@example.com") == 250
    mark = g.mark()
    s.remove("u7")
    for _ in range(2):
        g.wait_line(r"event=directory name=ad what=DOUBTED .*never believed", mark)
        mark = g.mark()
    assert code(g, "u9@example.com") == 250


def test_half_a_result(gate, slapd):
    """The server gives a part, and says so: nothing of it is taken."""
    s = slapd("".join(user(f"u{i}") for i in range(1600)), options="limits users size.soft=500 size.hard=500 size.pr=1000 size.prtotal=1500")
    g = gate(s, "live = 0")
    g.wait_line(r"event=directory name=ad what=away why=\"search: Size limit exceeded")
    assert code(g, "u0@example.com") == 451 and code(g, "nobody@example.com") == 451


def test_harvest(gate, slapd):
    """Who tries all names does not flood the directory: `live` questions a second, and beyond that what is known counts."""
    s = slapd()
    g = gate(s, "live = 1")
    refreshed(g)
    before = s.searches("harvest")
    started = time.monotonic()
    with Client(g.port) as c:
        c.ehlo()
        c.cmd("MAIL FROM:<a@sender.example>")
        codes = [c.cmd(f"RCPT TO:<harvest{i}@example.com>").code for i in range(15)]
    with Client(g.port) as c:
        c.ehlo()
        c.cmd("MAIL FROM:<a@sender.example>")
        codes += [c.cmd(f"RCPT TO:<harvest{i}@example.com>").code for i in range(15, 30)]
    assert set(codes) == {550}
    assert s.searches("harvest") - before <= 2 + time.monotonic() - started + 1
    await_status(g, lambda d: d["spared"] > 0)


PAIR = [ldap.entry("CN=anna", proxyAddresses=["SMTP:anna@example.com"]), ldap.entry("CN=bert", mail=["bert@example.com"])]


@pytest.mark.parametrize("what, said", [
    ("the connection ends", lambda r: ldap.tlv(0x30, ldap.tlv(2, bytes([r.id])), PAIR[0])),
    ("half a message", lambda r: ldap.tlv(0x30, ldap.tlv(2, bytes([r.id])), PAIR[0]) + b"\x30\x40\x02\x01"),
    ("a message of 2 GiB", lambda r: b"\x30\x84\x7f\xff\xff\xff\x02\x01\x02"),
    ("no LDAP", lambda r: b"220 mail.example ESMTP\r\n"),
    ("an error in the end", lambda r: [*PAIR, ldap.result(0x65, 52, "shutting down")]),
    ("nothing at all", lambda r: [ldap.DONE]),
    ("no such base", lambda r: [ldap.result(0x65, 32)]),
    ("a referral", lambda r: [ldap.result(0x65, 10, "elsewhere")]),
    ("silence after half", lambda r: PAIR[:1]),
])
def test_half_an_answer(gate, what, said):
    """Nothing of it is believed, nobody is refused for it."""
    with ldap.Liar(said) as liar:
        g = gate(liar, "timeout = 200ms")
        g.wait_line(r"event=directory name=ad what=(away|DOUBTED)")
        assert code(g, "anna@example.com") == 451, what
        assert status(g)["addresses"] == 0


def test_values_in_pieces(gate):
    """More values of one attribute than come at once (Active Directory: 1500), and references to other servers, which are not followed."""
    def answer(r):
        if b";range=" not in r.body:
            return [ldap.tlv(0x73, ldap.text("ldap://127.0.0.1:1/DC=other")),
                    ldap.entry("CN=anna", **{"proxyAddresses": [], "proxyAddresses;range=0-1": ["SMTP:anna@example.com", "smtp:a1@example.com"]}), PAIR[1], ldap.DONE]
        if b";range=2-*" in r.body:
            return [ldap.entry("CN=anna", **{"proxyAddresses;range=2-3": ["smtp:a2@example.com", "smtp:a3@example.com"]}), ldap.DONE]
        return [ldap.entry("CN=anna", **{"proxyAddresses;range=4-*": ["smtp:a4@example.com"]}), ldap.DONE]

    with ldap.Liar(answer) as liar:
        g = gate(liar, "live = 0")
        assert "addresses=6" in refreshed(g)
        assert liar.searches == 3
        for i in range(1, 5):
            assert code(g, f"a{i}@example.com") == 250
        assert code(g, "a5@example.com") == 550


def whole(r):
    """Whether all addresses are asked for, not those of one."""
    return b"smtp:" not in r.body


def test_found_during_a_refresh(gate):
    """Whom a question has found while all were being fetched is known afterwards, too, though he is not among them."""
    begun, go = threading.Event(), threading.Event()
    fetched = []

    def answer(r):
        if not whole(r):
            return [ldap.entry("CN=new", proxyAddresses=["smtp:new@example.com"]), ldap.DONE] if b"new@example.com" in r.body else [ldap.DONE]
        fetched.append(r)
        if len(fetched) > 1:
            begun.set()
            assert go.wait(WAIT_S)
        return [*PAIR, ldap.DONE]

    with ldap.Liar(answer) as liar:
        g = gate(liar, "timeout = 30s")
        refreshed(g)
        mark = g.mark()
        g.command("recipients", "-c", str(g.conf_path), "refresh")
        assert begun.wait(WAIT_S)
        assert code(g, "new@example.com") == 250
        go.set()
        assert "addresses=3" in refreshed(g, mark)
        before = liar.searches
        assert code(g, "new@example.com") == 250 and liar.searches == before


def test_other_servers(gate, lab):
    """Servers that were not asked before, or somebody else who asks: those who were known are; nobody is refused before all have been seen there."""
    with ldap.Liar(lambda r: [*PAIR, ldap.DONE] if whole(r) else [ldap.DONE]) as old, ldap.Liar(lambda r: [ldap.DONE]) as blind:
        g = gate(old)
        refreshed(g)
        assert code(g, "nobody@example.com") == 550
        mark = g.mark()
        g.conf_path.write_text(g.conf_path.read_text().replace(old.url(), blind.url()))
        g.process.send(signal.SIGHUP)
        g.wait_line("event=reload what=done", mark)
        g.wait_line("what=DOUBTED", mark)
        assert code(g, "anna@example.com") == 250 and code(g, "later@example.com") == 451


def test_stands_in_for_one_that_hangs(gate):
    """A server that takes connections and lets us in, and then says nothing."""
    with ldap.Liar(lambda r: None) as silent, ldap.Liar(lambda r: [*PAIR, ldap.DONE] if whole(r) else [ldap.DONE]) as good:
        g = gate(good, "timeout = 1s", url=f'{silent.url()}", "{good.url()}')
        assert "addresses=2" in refreshed(g)
        assert silent.searches == 1


def test_found_by_another_reading(gate):
    """Who is found is somebody, even if his address is written in a way that only the server compares like that."""
    with ldap.Liar(lambda r: [*PAIR, ldap.DONE] if whole(r) else [ldap.entry("CN=x", proxyAddresses=["smtp:J\u00d6RG@example.com"]), ldap.DONE]) as liar:
        g = gate(liar)
        refreshed(g)
        assert code(g, "joerg@example.com") == 250


MEASURELESS = {
    "addresses": ldap.entry("CN=x", **{f"mail;x-{i}": [f"a{i}.{k}@example.com" for k in range(1000)] for i in range(25)}),
    "name": ldap.entry("CN=" + 8000 * "x", **{"mail;range=0-1": ["a@example.com"]}),
}


@pytest.mark.parametrize("what", MEASURELESS)
def test_entry_without_measure(gate, what):
    with ldap.Liar(lambda r: [MEASURELESS[what], *PAIR, ldap.DONE]) as liar:
        g = gate(liar)
        assert "an entry cannot be taken" in g.wait_line("event=directory name=ad what=away"), what
        assert status(g)["addresses"] == 0


def page(cookie):
    """The control of a page, as a part of its result (RFC 2696)."""
    value = ldap.tlv(0x30, ldap.tlv(2, b"\0"), ldap.text(cookie))
    return ldap.tlv(0xa0, ldap.tlv(0x30, ldap.text("1.2.840.113556.1.4.319"), ldap.text(value)))


def test_pages_without_a_last_one(gate):
    """A page that does not say whether it is the last one is no end: half of a directory is not all of it."""
    with ldap.Liar(lambda r: [ldap.DONE] if b"more" in r.body_and_controls else [*PAIR, (ldap.DONE, page("more"))]) as liar:
        g = gate(liar)
        assert "does not say whether there are more pages" in g.wait_line("event=directory name=ad what=away")
        assert code(g, "nobody@example.com") == 451


def test_notice_of_disconnection(gate):
    """Nobody waits for more than that; and such messages are not kept, however many there are."""
    notice = ldap.tlv(0x30, ldap.tlv(2, b"\0"), ldap.tlv(0x78, ldap.tlv(10, b"\x34"), ldap.text(""), ldap.text(1000 * "x"), ldap.text("1.3.6.1.4.1.1466.20036", 0x8a)))
    with ldap.Liar(lambda r: [bytearray(20 * notice)]) as liar:
        g = gate(liar, "timeout = 20s")
        assert "it has closed the connection" in g.wait_line("event=directory name=ad what=away")


def test_a_part_elsewhere(gate):
    """Active Directory's own partitions are nobody's loss; another domain is said."""
    parts = ["ldap://ForestDnsZones.example.com/DC=ForestDnsZones,DC=example,DC=com", "ldap://example.com/cn=configuration,DC=example,DC=com"]
    with ldap.Liar(lambda r: [*PAIR, *(ldap.tlv(0x73, ldap.text(p)) for p in parts), ldap.DONE]) as liar:
        g = gate(liar)
        refreshed(g)
        assert "on another server" not in g.process.output()
        parts.append("ldap://child.example.com/DC=child,DC=example,DC=com")
        mark = g.mark()
        g.command("recipients", "-c", str(g.conf_path), "refresh")
        assert "DC=child" in g.wait_line("a part of it is on another server", mark)
        refreshed(g, mark)


def test_old_restriction(gate):
    """Who took mail of authenticated senders only, when the directory was last there, is put off: that may have changed, and nobody is refused for what is old."""
    away = threading.Event()
    restricted = ldap.entry("CN=list", proxyAddresses=["SMTP:list@example.com"], msExchRequireAuthToSendTo=["TRUE"])
    with ldap.Liar(lambda r: b"" if away.is_set() else [restricted, *PAIR, ldap.DONE] if whole(r) else [ldap.DONE]) as liar:
        g = gate(liar, "restricted = refuse", refresh="1s")
        refreshed(g)
        assert code(g, "list@example.com") == 550
        away.set()
        end = time.monotonic() + WAIT_S
        while (said := code(g, "list@example.com")) == 550 and time.monotonic() < end:
            time.sleep(0.2)
        assert said == 451 and code(g, "anna@example.com") == 250


# the process

def test_commands(gate, slapd):
    g = gate(slapd())
    refreshed(g)

    def said(*argv):
        return g.command("recipients", "-c", str(g.conf_path), *argv).stdout.decode()

    await_status(g, lambda d: d["addresses"] == 3)
    assert "ad: up, 3 addresses, refreshed " in said("show")
    assert said("show", "anna@example.com") == "anna@example.com: known (ad: table)\n"
    assert said("show", "nobody@example.com") == "nobody@example.com: unknown (asked)\n"
    assert g.command("recipients", "-c", str(g.conf_path), "show", "nonsense", check=False).returncode == 1


def test_killed_process(gate, slapd):
    """It is started again, and nobody is refused meanwhile."""
    g = gate(slapd())
    refreshed(g)
    g.kill_child("gp-directory")
    assert code(g, "anna@example.com") == 250 and code(g, "nobody@example.com") == 550


def test_reload(gate, slapd):
    """Another filter makes what was kept worth nothing; without directories there is no such process; an old session asks the one of its own configuration."""
    s = slapd(PEOPLE + entry("mailonly", mail="only.mail@example.com"))
    g = gate(s, "live = 0")
    refreshed(g)

    def reload(old, new):
        mark = g.mark()
        g.conf_path.write_text(g.conf_path.read_text().replace(old, new))
        g.process.send(signal.SIGHUP)
        g.wait_line("event=reload what=done", mark)
        return mark

    with Client(g.port) as inside:
        inside.ehlo()
        inside.cmd("MAIL FROM:<a@sender.example>")
        mark = reload("live = 0", 'live = 0 filter = "(proxyAddresses=*)" attributes = { proxyAddresses }')
        refreshed(g, mark)
        assert inside.cmd("RCPT TO:<only.mail@example.com>").code == 250
        assert code(g, "only.mail@example.com") == 550 and code(g, "anna@example.com") == 250
        reload("verify = directory", "verify = none")
        assert code(g, "only.mail@example.com") == 250
        assert inside.cmd("RCPT TO:<bert@example.com>").code == 250
    end = time.monotonic() + WAIT_S
    while "gp-directory" in g.children():
        assert time.monotonic() < end
        time.sleep(0.05)


def test_upgrade(gate, slapd):
    """The former program's process serves its sessions; the new one's begins with what is on disk."""
    s = slapd()
    g = gate(s)
    refreshed(g)
    with Client(g.port) as inside:
        inside.ehlo()
        inside.cmd("MAIL FROM:<a@sender.example>")
        mark = g.mark()
        g.process.send(signal.SIGUSR2)
        g.wait_line("event=upgrade what=done", mark, timeout=60)
        assert code(g, "anna@example.com") == 250 and code(g, "nobody@example.com") == 550
        assert inside.cmd("RCPT TO:<anna@example.com>").code == 250
        assert inside.cmd("RCPT TO:<nobody@example.com>").code == 550


@pytest.mark.skipif(os.geteuid() != 0 or not PLAIN, reason="only root can look into other processes, and not where the sanitizer's memory is")
def test_nobody_else_has_the_password(gate, slapd):
    from test_keys import held
    g = gate(slapd(), binary=PLAIN, workers=2, conf='user = nobody keeper_user = daemon key_user = mail directory_user = games')
    refreshed(g)
    assert code(g, "carla@example.com") == 550
    for when in ("at the start", "after a reload"):
        holders = {who: held(pid, {"password": [PASSWORD.encode()]}) for who, pid in {"parent": g.process.pid, **g.children()}.items()}
        assert holders.pop("gp-directory"), when
        assert not any(holders.values()), (when, holders)
        if when == "at the start":
            mark, former = g.mark(), {pid for name, pid in g.children().items() if name.startswith(("gp-worker", "gp-directory"))}
            g.process.send(signal.SIGHUP)
            g.wait_line("event=reload what=done", mark)
            end = time.monotonic() + WAIT_S
            while former & set(g.children().values()):          # who ends is no longer there when it is looked into
                assert time.monotonic() < end
                time.sleep(0.05)
            assert code(g, "anna@example.com") == 250
    kept = sorted(p.name for p in (g.state / "directory").iterdir())
    assert kept == ["addresses.a", "addresses.b"] and not any(PASSWORD.encode() in (g.state / "directory" / n).read_bytes() for n in kept)
    pid = g.children()["gp-directory"]
    assert os.readlink(f"/proc/{pid}/root") == str(g.state / "empty")
    assert pathlib.Path(f"/proc/{pid}/status").read_text().count("Seccomp:\t2") == 1
