"""Users' own clients fetch their mail by way of the gateway: curl, Python's imaplib and poplib, mbsync, fetchmail."""
import contextlib
import imaplib
import os
import poplib
import shlex
import ssl
import subprocess

import pytest
from lab.gateway import Gateway, access
from lab.mailserver import PASSWORD
from lab.process import WAIT_S

NAME = "gate.example"
LINE = bytes(b for b in range(1, 256) if b not in (10, 13))
MESSAGES = [
    b"From: Ann <a@sender.example>\r\nTo: b@example.com\r\nSubject: one\r\nDate: Thu, 1 Jan 2026 00:00:00 +0000\r\nMessage-ID: <1@lab>\r\n\r\nA line.\r\n",
    b"From: Ann <a@sender.example>\r\nSubject: two\r\nDate: Thu, 1 Jan 2026 00:00:01 +0000\r\nMessage-ID: <2@lab>\r\n\r\n.\r\n..leading dots\r\n.\r\n"
    + b"".join(b"%d " % i + LINE + b"\r\n" for i in range(4000)),
    b"From: Ann <a@sender.example>\r\nSubject: three\r\nDate: Thu, 1 Jan 2026 00:00:02 +0000\r\nMessage-ID: <3@lab>\r\nMIME-Version: 1.0\r\n"
    b"Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n" + "größer €\r\n".encode(),
]
# how a client comes: the URL's ending, curl's option; and how the gateway goes on
LEGS = {"clear": ("", ""), "starttls": ("", "tls = off"), "implicit": ("s", "implicit_tls = yes tls = required"), "scan": ("", "")}


@pytest.fixture
def user(mailserver):
    user = mailserver.add()
    for m in MESSAGES:
        mailserver.deliver(user, m)
    return user


@pytest.fixture(scope="module", params=LEGS)
def gate(request, mailserver, certificates, tmp_path_factory, dns):
    """One for all clients that come this way."""
    suffix, options = LEGS[request.param]
    if "required" in options:
        options += f' tls_ca = "{certificates.ca}" tls_name = "backend.example"'
    cert, key = certificates.sign("access", NAME, "localhost")
    to = {kind: mailserver.ports[kind + ("s" if "implicit" in options else "")] for kind in ("imap", "pop3")}
    ports, text = access(to, backend_options=options, options="scan = yes" if request.param == "scan" else "")
    with Gateway(tmp_path_factory.mktemp("gate"), [9], dns=dns.server, conf=f'{text}\ntls {{ certificate = "{cert}" key = "{key}" }}') as g:
        g.ports, g.leg, g.suffix, g.ca = ports, request.param, suffix, certificates.ca
        g.context = ssl.create_default_context(cafile=str(certificates.ca))
        g.context.hostname_checks_common_name = False
        yield g


def curl(g, protocol, path, user, *options):
    port = g.ports[protocol + g.suffix]
    done = subprocess.run(
        ["curl", "-sS", "--max-time", "30", "--cacert", g.ca, "--resolve", f"{NAME}:{port}:127.0.0.1", *(("--ssl-reqd",) if g.leg == "starttls" else ()),
         "-u", f"{user}:{PASSWORD}", *options, f"{protocol}{g.suffix}://{NAME}:{port}/{path}"], capture_output=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_curl_imap(mailserver, gate, user, tmp_path):
    mechanisms = ["", "AUTH=PLAIN", "AUTH=LOGIN", "AUTH=CRAM-MD5"]
    for i, mechanism in enumerate(mechanisms):
        options = ("--login-options", mechanism) if mechanism else ()
        n = i % len(MESSAGES)
        assert curl(gate, "imap", f"INBOX;UID={n + 1}", user, *options, *(("--sasl-ir",) if i % 2 else ())) == MESSAGES[n], mechanism
    assert curl(gate, "imap", "INBOX?ALL", user) == b"* SEARCH 1 2 3\r\n"
    new = tmp_path / "new"
    new.write_bytes(MESSAGES[1])
    curl(gate, "imap", "INBOX", user, "-T", str(new))
    assert mailserver.messages(user) == [*MESSAGES, MESSAGES[1]]


def test_curl_pop3(mailserver, gate, user):
    for i, mechanism in enumerate(("", "AUTH=PLAIN", "AUTH=LOGIN", "AUTH=CRAM-MD5", "AUTH=+APOP")):
        options = ("--login-options", mechanism) if mechanism else ()
        n = i % len(MESSAGES)
        assert curl(gate, "pop3", f"{n + 1}", user, *options, *(("--sasl-ir",) if i % 2 else ())) == MESSAGES[n], mechanism
    assert curl(gate, "pop3", "", user) == b"".join(b"%d %d\r\n" % (i + 1, len(m)) for i, m in enumerate(MESSAGES))
    curl(gate, "pop3", "2", user, "-X", "DELE", "-I")
    assert mailserver.messages(user) == [MESSAGES[0], MESSAGES[2]]


def test_curl_wrong_password(gate, user):
    """67: the login was denied; no other word for it."""
    for protocol in ("imap", "pop3"):
        port = gate.ports[protocol + gate.suffix]
        done = subprocess.run(["curl", "-sS", "-k", "-u", f"{user}:wrong", f"{protocol}{gate.suffix}://127.0.0.1:{port}/"], capture_output=True, timeout=60)
        assert done.returncode == 67, done.stderr


@contextlib.contextmanager
def imap_client(g):
    if g.leg == "implicit":
        c = imaplib.IMAP4_SSL("127.0.0.1", g.ports["imaps"], ssl_context=named(g.context), timeout=WAIT_S)
    else:
        c = imaplib.IMAP4("127.0.0.1", g.ports["imap"], timeout=WAIT_S)
        if g.leg == "starttls":
            c.starttls(named(g.context))
    with c:
        yield c


def named(context):
    """A context that asks for, and looks at, the name in the certificate whatever address is connected to."""
    class Named(ssl.SSLContext):
        def wrap_socket(self, sock, **kw):
            return context.wrap_socket(sock, **{**kw, "server_hostname": NAME})
    return Named(ssl.PROTOCOL_TLS_CLIENT)


def test_imaplib(mailserver, gate, user):
    with imap_client(gate) as c:
        assert ("STARTTLS" in c.capabilities) == (gate.leg in ("clear", "scan"))
        quoted = PASSWORD.replace("\\", "\\\\").replace('"', '\\"')
        assert c._simple_command("LOGIN", user, f'"{quoted}"')[0] == "OK"
        c.state = "AUTH"
        c.enable("UTF8=ACCEPT") if "UTF8=ACCEPT" in c.capabilities else None
        assert c.select()[1] == [b"3"]
        got = [part[1] for part in c.fetch("1:*", "(RFC822)")[1] if isinstance(part, tuple)]
        assert got == MESSAGES
        assert c.append("INBOX", "\\Seen", imaplib.Time2Internaldate(0), MESSAGES[1])[0] == "OK"
        assert c.fetch("4", "(BODY.PEEK[])")[1][0][1] == MESSAGES[1]
        assert c.uid("SEARCH", "SUBJECT", "two")[1] == [b"2 4"]
        c.store("1", "+FLAGS", "\\Deleted")
        assert c.expunge()[1] == [b"1"]
    assert mailserver.messages(user) == [*MESSAGES[1:], MESSAGES[1]]
    with imap_client(gate) as c:
        assert c.login_cram_md5(user, PASSWORD)[0] == "OK"
    with imap_client(gate) as c:
        assert c.authenticate("PLAIN", lambda _: f"\0{user}\0{PASSWORD}".encode())[0] == "OK"
    with imap_client(gate) as c:
        with pytest.raises(imaplib.IMAP4.error, match="AUTHENTICATIONFAILED"):
            c.login(user, "wrong")


def pop3_client(g):
    if g.leg == "implicit":
        return poplib.POP3_SSL("127.0.0.1", g.ports["pop3s"], context=named(g.context), timeout=WAIT_S)
    c = poplib.POP3("127.0.0.1", g.ports["pop3"], timeout=WAIT_S)
    if g.leg == "starttls":
        c.stls(named(g.context))
    return c


def test_poplib(mailserver, gate, user):
    c = pop3_client(gate)
    capa = c.capa()
    assert ("STLS" in capa) == (gate.leg in ("clear", "scan")) and {"USER", "SASL", "UIDL", "TOP"} <= set(capa)
    c.user(user)
    c.pass_(PASSWORD)
    assert c.stat() == (3, sum(map(len, MESSAGES)))
    got = [b"".join(line + b"\r\n" for line in c.retr(i + 1)[1]) for i in range(3)]
    assert got == MESSAGES
    assert len(c.uidl()[1]) == 3 and c.list(2).endswith(b" %d" % len(MESSAGES[1]))
    assert c.top(2, 1)[1][-1] == b"."
    c.dele(1)
    c.quit()
    assert mailserver.messages(user) == MESSAGES[1:]
    c = pop3_client(gate)
    c.apop(user, PASSWORD)
    assert c.stat()[0] == 2
    c.quit()
    c = pop3_client(gate)
    c.user(user)
    with pytest.raises(poplib.error_proto, match=r"-ERR \[AUTH\]"):
        c.pass_("wrong")
    c.close()


def run(argv, **env):
    done = subprocess.run(list(map(str, argv)), capture_output=True, timeout=60, env=dict(os.environ, **env))
    assert done.returncode == 0, (done.stdout + done.stderr).decode(errors="replace")
    return done


def test_mbsync(mailserver, gate, user, tmp_path):
    """Both ways: what is on the server comes, what is new here goes there, what was removed there goes here."""
    mailserver.deliver(user, MESSAGES[0], "Folder")
    box = tmp_path / "mail"
    box.mkdir()
    rc = tmp_path / "mbsyncrc"
    kind = {"starttls": "STARTTLS", "implicit": "IMAPS"}.get(gate.leg, "None")
    quoted = PASSWORD.replace("\\", "\\\\").replace('"', '\\"')
    rc.write_text(f"""
IMAPStore far
Host localhost
Port {gate.ports["imap" + gate.suffix]}
User {user}
Pass "{quoted}"
AuthMechs LOGIN
SSLType {kind}
CertificateFile {gate.ca}

MaildirStore near
Path {box}/
Inbox {box}/INBOX
SubFolders Verbatim

Channel all
Far :far:
Near :near:
Patterns *
Create Both
Expunge Both
SyncState *
""")

    def here(name):
        files = [p for sub in ("new", "cur") for p in (box / name / sub).iterdir()]
        return sorted(without(crlf(p.read_bytes()), b"X-TUID") for p in files)

    run(["mbsync", "-c", rc, "-a"])
    assert here("INBOX") == sorted(MESSAGES) and here("Folder") == MESSAGES[:1]
    (box / "Folder" / "new" / "1.lab.example").write_bytes(MESSAGES[1].replace(b"\r\n", b"\n"))
    with mailserver.imap(user) as c:
        c.select()
        c.store("1", "+FLAGS", "\\Deleted")
        c.expunge()
    run(["mbsync", "-c", rc, "-a"])
    assert here("INBOX") == sorted(MESSAGES[1:])
    there = mailserver.messages(user, "Folder")
    assert len(there) == 2 and there[0] == MESSAGES[0] and without(there[1], b"X-TUID") == MESSAGES[1]


def crlf(message):
    return message.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")


def without(message, field):
    """Less a field that the client itself has put in."""
    head, empty, body = message.partition(b"\r\n\r\n")
    return b"\r\n".join(line for line in head.split(b"\r\n") if not line.startswith(field + b":")) + empty + body


@pytest.mark.parametrize("protocol", ["imap", "pop3", "apop"])
def test_fetchmail(mailserver, gate, user, certificates, tmp_path, protocol):
    if (protocol, gate.leg) == ("apop", "starttls"):
        protocol = "pop3"               # fetchmail's APOP knows no STLS
    service = protocol.replace("apop", "pop3")
    tls = {"starttls": "sslproto tls1.2+ sslcertck", "implicit": "ssl sslcertck"}.get(gate.leg, "sslproto ''")
    quoted = PASSWORD.replace("\\", "\\\\").replace('"', '\\"')
    rc = tmp_path / "fetchmailrc"
    out = tmp_path / "out"
    out.mkdir()
    mda = tmp_path / "mda"
    mda.write_text(f"#!/bin/sh\nexec cat >{shlex.quote(str(out))}/$$\n")
    mda.chmod(0o755)
    rc.write_text(f"""
set invisible
set no bouncemail
poll 127.0.0.1 service {gate.ports[service + gate.suffix]} protocol {protocol} {"auth password" if protocol != "apop" else ""} timeout 20
  user "{user}" password '{quoted}' {tls} sslcertfile "{certificates.ca}" sslcommonname "{NAME}" no rewrite fetchall nokeep
  mda "{mda}"
""")
    rc.chmod(0o600)
    done = run(["fetchmail", "-v", "-f", rc], FETCHMAILHOME=str(tmp_path), HOME=str(tmp_path))
    assert gate.leg != "starttls" or b"STARTTLS" in done.stdout or b"STLS" in done.stdout, done.stdout
    got = sorted(crlf(p.read_bytes()) for p in out.iterdir())
    assert got == sorted(MESSAGES), done.stdout
    assert mailserver.messages(user) == []
