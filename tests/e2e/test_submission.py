"""Users submit mail through the gateway to a real Postfix that asks a real Dovecot: 587 and 465, Python's smtplib and swaks."""
import base64
import contextlib
import hashlib
import hmac
import re
import smtplib
import subprocess
import time

import pytest
from lab.backend import Backend
from lab.dovecot import Dovecot
from lab.gateway import parse_logfmt
from lab.postfix import Postfix
from lab.process import WAIT_S, free_port
from lab.smtp import Client, insecure, mail

USERS = {"ann": "Ann-s3cret-Pa55phrase", "ben@example.com": "Ben+s3cret/Pa55phrase="}
MECHANISMS = ["PLAIN", "LOGIN", "CRAM-MD5"]


class Site:
    """The world that Postfix relays to, Dovecot, Postfix."""

    def __init__(self, directory, certificates):
        self.world = Backend()
        self.dovecot = Dovecot(directory / "dovecot", USERS)
        cert, key = certificates.signed
        self.postfix = Postfix(
            directory / "postfix-submission", smtpd_sasl_auth_enable="yes", smtpd_sasl_type="dovecot", smtpd_sasl_path=self.dovecot.auth,
            smtpd_tls_security_level="may", smtpd_tls_auth_only="yes", smtpd_tls_cert_file=cert, smtpd_tls_key_file=key,
            smtpd_recipient_restrictions="permit_sasl_authenticated, reject_unauth_destination", relayhost=f"[127.0.0.1]:{self.world.port}",
            smtpd_authorized_xclient_hosts="127.0.0.1", smtpd_sasl_authenticated_header="yes", broken_sasl_auth_clients="yes")

    def stop(self):
        self.postfix.stop()
        self.dovecot.stop()
        self.world.stop()


@pytest.fixture(scope="module")
def site_shared(scratch, certificates):
    site = Site(scratch, certificates)
    yield site
    site.stop()


@pytest.fixture
def site(site_shared):
    site_shared.postfix.empty()
    site_shared.world.messages.clear()
    return site_shared


@pytest.fixture
def gate(lab, site):
    return before(lab, site)


def before(lab, site, options=""):
    ports = [free_port() for _ in range(3)]
    g = lab([site.postfix.port], backend_options=f"probe_interval = 1s {options}", conf='auth { mechanisms = { "PLAIN", "LOGIN", "CRAM-MD5", "SCRAM-SHA-256" } }', listeners=f"""
listener smtp {{ address = "127.0.0.1:{ports[0]}" }}
listener submission {{ address = "127.0.0.1:{ports[1]}" direction = submission }}
listener submissions {{ address = "127.0.0.1:{ports[2]}" direction = submission tls = implicit }}""")
    g.wait_line("event=backend .*state=up")
    g.smtp, g.submission, g.submissions = ports
    return g


def connect(g, implicit):
    if implicit:
        return smtplib.SMTP_SSL("127.0.0.1", g.submissions, "client.example", timeout=60, context=insecure())
    c = smtplib.SMTP("127.0.0.1", g.submission, "client.example", timeout=60)
    c.starttls(context=insecure())
    return c


def login(c, user, mechanism):
    c.ehlo_or_helo_if_needed()
    c.user, c.password = user, USERS[user]
    return c.auth(mechanism, getattr(c, "auth_" + mechanism.lower().replace("-", "_")))


def nothing_secret(g):
    """In no line, in no file."""
    wanted = [s.encode() for s in USERS.values()]
    for user, password in USERS.items():
        wanted += [base64.b64encode(password.encode())[:-4], base64.b64encode(f"\0{user}\0{password}".encode())[12:-4]]
    for path in list(g.dir.rglob("*")):
        with contextlib.suppress(FileNotFoundError):            # of a moment
            assert not path.is_file() or not any(s in path.read_bytes() for s in wanted), path
    assert not any(s.decode() in line for line in g.process.lines for s in wanted)


@pytest.mark.parametrize("implicit", [False, True], ids=["587", "465"])
def test_smtplib(gate, site, implicit):
    for n, (mechanism, user) in enumerate(zip(MECHANISMS, ["ann", "ben@example.com", "ann"])):
        since, mark = len(site.postfix.log(1 << 30)), gate.mark()
        with connect(gate, implicit) as c:
            assert login(c, user, mechanism)[0] == 235
            assert c.sendmail("ann@example.com", ["bob@example.com", "eve@elsewhere.example"], mail(sender="ann@example.com")) == {}
            assert c.sendmail("ann@example.com", ["eve@elsewhere.example"], mail(sender="ann@example.com", subject="second")) == {}
        site.postfix.wait_log(rf"sasl_method={mechanism}, sasl_username={user}\b", since)
        text = site.postfix.wait_message("bob@example.com", n + 1)
        assert re.search(rb"by gate\.example \(Gatepost\) with ESMTPSA id ", text)
        assert f"(Authenticated sender: {user})".encode() in text
        line = parse_logfmt(gate.wait_line("event=login", mark))
        assert (line["result"], line["user"], line["mechanism"], line["listener"], line["tls"]) == (
            "ok", user, mechanism, "submissions" if implicit else "submission", "TLSv1.3")
        assert gate.verdict("accept", f"user={user} ", since=mark)
    site.world.wait(lambda: len(site.world.messages) >= 6, "six messages for elsewhere")
    nothing_secret(gate)


@pytest.mark.parametrize("implicit", [False, True], ids=["587", "465"])
def test_swaks(gate, site, implicit):
    port = ["--port", str(gate.submissions), "--tlsc"] if implicit else ["--port", str(gate.submission), "--tls"]
    for n, mechanism in enumerate(MECHANISMS):
        out = subprocess.run(
            ["swaks", "--server", "127.0.0.1", *port, "--auth", mechanism, "--auth-user", "ann", "--auth-password", USERS["ann"],
             "--from", "ann@example.com", "--to", "eve@elsewhere.example", "--helo", "client.example"], capture_output=True, text=True, timeout=120)
        assert out.returncode == 0, out.stdout + out.stderr
        site.world.wait(lambda: len(site.world.messages) > n, "the message elsewhere")


def scram(c, user, password):
    """SCRAM-SHA-256, RFC 5802 and 7677: the last reply. The server proves itself, too."""
    def exchange(line, text):
        reply = c.cmd(line + base64.b64encode(text.encode()).decode())
        return reply, base64.b64decode(reply.text).decode() if reply.code == 334 else ""

    def mac(key, text):
        return hmac.new(key, text, hashlib.sha256).digest()
    bare = f"n={user},r=fyko+d2lbbFgONRv9qkxdawL"
    _, first = exchange("AUTH SCRAM-SHA-256 ", "n,," + bare)
    said = dict(x.split("=", 1) for x in first.split(","))
    salted = hashlib.pbkdf2_hmac("sha256", password.encode(), base64.b64decode(said["s"]), int(said["i"]))
    final = f"c=biws,r={said['r']}"
    whole = f"{bare},{first},{final}".encode()
    key = mac(salted, b"Client Key")
    proof = bytes(a ^ b for a, b in zip(key, mac(hashlib.sha256(key).digest(), whole)))
    reply, last = exchange("", f"{final},p={base64.b64encode(proof).decode()}")
    if reply.code == 334:
        assert last == "v=" + base64.b64encode(mac(mac(salted, b"Server Key"), whole)).decode()
        reply = c.cmd("")
    return reply


def test_scram(gate, site):
    with Client(gate.submission) as c:
        c.ehlo()
        c.starttls()
        assert "SCRAM-SHA-256" in c.ehlo().keywords()["AUTH"]
        assert scram(c, "ann", "wrong").code == 535
        assert scram(c, "ann", USERS["ann"]).code == 235
        assert c.message("ann@example.com", "bob@example.com", mail()).code == 250
    gate.wait_line("event=login result=ok .*user=ann mechanism=SCRAM-SHA-256")


@pytest.mark.parametrize("mechanism", MECHANISMS)
def test_wrong_password(gate, site, mechanism):
    with connect(gate, True) as c:
        c.ehlo()
        c.user, c.password = "ann", "not-" + USERS["ann"]
        with pytest.raises(smtplib.SMTPAuthenticationError) as refused:
            c.auth(mechanism, getattr(c, "auth_" + mechanism.lower().replace("-", "_")))
        assert refused.value.smtp_code == 535 and refused.value.smtp_error.startswith(b"5.7.8 ")
        assert c.mail("ann@example.com")[0] == 530
        login(c, "ann", "PLAIN")
        assert c.sendmail("ann@example.com", ["bob@example.com"], mail()) == {}
    line = parse_logfmt(gate.wait_line("event=login .*result=failed|result=failed"))
    assert (line["user"], line["mechanism"], line["code"]) == ("ann", mechanism, "535")
    nothing_secret(gate)


def test_never_in_clear_text(gate):
    with smtplib.SMTP("127.0.0.1", gate.submission, "client.example", timeout=60) as c:
        c.ehlo()
        assert not c.has_extn("auth") and c.has_extn("starttls")
        with pytest.raises(smtplib.SMTPNotSupportedError):
            c.login("ann", USERS["ann"])
        assert c.mail("ann@example.com") == (530, b"5.7.0 STARTTLS first")
    with smtplib.SMTP("127.0.0.1", gate.smtp, "client.example", timeout=60) as c:
        c.starttls(context=insecure())
        c.ehlo()
        assert not c.has_extn("auth")
        assert c.mail("ann@example.com")[0] == 250 and c.rcpt("eve@elsewhere.example")[0] == 550


def test_what_the_server_says_of_recipients(gate, site):
    """Who may write to whom, and who is there, is that server's to say, in its own words."""
    with connect(gate, False) as c:
        login(c, "ann", "PLAIN")
        c.ehlo()
        c.mail("ann@example.com")
        assert c.rcpt("nobody@example.com")[0] == 550
        assert c.rcpt("eve@elsewhere.example")[0] == 250
        assert c.data(mail())[0] == 250
        c.mail("ann@example.com")
        assert c.rcpt("eve@[192.0.2.1]")[0] == 250 and c.rcpt("bob@example.com")[0] == 250
        c.rset()


def test_server_knows_the_client(lab, site):
    """By XCLIENT, before the login."""
    g = before(lab, site, "xclient = yes")
    since = len(site.postfix.log(1 << 30))
    with Client(g.submission, source="127.0.0.77") as c:
        c.ehlo("laptop.example")
        c.starttls()
        c.ehlo("laptop.example")
        c.expect("AUTH PLAIN " + base64.b64encode(f"\0ann\0{USERS['ann']}".encode()).decode(), 235)
        assert c.message("ann@example.com", "bob@example.com", mail()).code == 250
    site.postfix.wait_log(r"client=\S*\[127\.0\.0\.77\](:\d+)?, sasl_method=PLAIN, sasl_username=ann\b", since)


def test_server_restarts(gate, site):
    """The user's session has gone with it: 421, and the next login works."""
    with connect(gate, False) as c:
        login(c, "ann", "PLAIN")
        assert c.sendmail("ann@example.com", ["bob@example.com"], mail()) == {}
        site.postfix.pause()
        site.postfix.resume()
        assert c.mail("ann@example.com")[0] == 421
    with Client(gate.submission) as c:
        c.ehlo()
        c.starttls()
        c.ehlo()
        end = time.monotonic() + WAIT_S
        while (reply := c.cmd("AUTH PLAIN " + base64.b64encode(f"\0ann\0{USERS['ann']}".encode()).decode())).code != 235:
            assert reply.code // 100 == 4 and time.monotonic() < end, reply         # until it has been found up again
            time.sleep(0.1)
        assert c.message("ann@example.com", "bob@example.com", mail()).code == 250
