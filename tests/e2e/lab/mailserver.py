"""A real Dovecot that serves IMAP and POP3 on loopback, and its mailboxes."""
import imaplib
import itertools
import os
import pathlib
import shutil
import socket
import subprocess

from .dovecot import Daemon
from .process import WAIT_S, free_port

MECHANISMS = "plain login cram-md5 digest-md5 scram-sha-1 scram-sha-256 apop"
USERS = {"alice": "wonder land", "bob": "builder", "carol@example.com": "christmas"}
PASSWORD = 'won"der \\land'     # of those that add() makes
SPARE = 1000                    # how many these may be: a running Dovecot looks but once a second whether its users are others
UID = 65534                     # Dovecot refuses root: mailboxes belong to nobody

_serial = itertools.count()


def listening(port):
    try:
        socket.create_connection(("127.0.0.1", port), timeout=5).close()
        return True
    except OSError:
        return False


class Mailserver(Daemon):
    """
    directory: one that others than root can enter, as the fixture `scratch` is. users: {name: password}. tls: (certificate, key); None and it has
    neither STARTTLS nor imaps and pop3s. ports: "imap", "pop3" and with TLS "imaps", "pop3s" -> port, proxy_trusted (networks) adds "imap_proxy",
    "pop3_proxy", "imaps_proxy", "pop3s_proxy", which want the PROXY protocol; trusted: login_trusted_networks, whose ID and XCLIENT are believed;
    format: "maildir" or "mdbox"; conf: text put at the end.
    """

    def __init__(self, directory, users=None, tls=None, mechanisms=MECHANISMS, format="maildir", trusted="", proxy_trusted="",
                 plaintext=True, conf=""):
        self.users = dict(USERS if users is None else users) | {f"user{i:03}": PASSWORD for i in range(SPARE)}
        self.spare = iter([u for u in self.users if self.users[u] is PASSWORD])
        self.format = format
        directory = pathlib.Path(directory)
        self.mail = directory / "mail"
        self.mail.mkdir(parents=True, exist_ok=True)
        os.chown(self.mail, UID, UID)
        kinds = ("imap", "pop3", *(("imaps", "pop3s") if tls else ()))
        self.ports = {k + suffix: free_port() for suffix in ("", *(("_proxy",) if proxy_trusted else ())) for k in kinds}
        super().__init__(directory, self.users, mechanisms, f"""
log_path = /dev/stderr
protocols = imap pop3
listen = 127.0.0.1
mail_location = {format}:~/{format}
first_valid_uid = 500
userdb {{
  driver = static
  args = uid={UID} gid={UID} home={self.mail}/%u
}}
ssl = {"yes" if tls else "no"}
{f"ssl_cert = <{tls[0]}{chr(10)}ssl_key = <{tls[1]}" if tls else ""}
disable_plaintext_auth = {"no" if plaintext else "yes"}
{f"login_trusted_networks = {trusted}" if trusted else ""}
{f"haproxy_trusted_networks = {proxy_trusted}" if proxy_trusted else ""}
default_vsz_limit = 1 G
default_client_limit = 12000
default_process_limit = 2000
mail_fsync = never
mail_max_userip_connections = 0
mailbox_idle_check_interval = 1 s
protocol imap {{
  mail_plugins = $mail_plugins imap_zlib
  mail_max_userip_connections = 0
}}
protocol pop3 {{
  mail_max_userip_connections = 0
}}
namespace inbox {{
  inbox = yes
}}
{self._logins("imap")}
{self._logins("pop3")}
service imap {{
  process_limit = 2000
}}
service pop3 {{
  process_limit = 2000
}}
{conf}
""")
        self.wait_up(lambda: all(map(listening, self.ports.values())))

    def _logins(self, protocol):
        """One process serves all who have not logged in; ports that nobody wants are closed."""
        out = [f"service {protocol}-login {{\n  service_count = 0\n  process_min_avail = 1\n  process_limit = 4\n  client_limit = 12000"]
        for kind in (protocol, protocol + "s"):
            out.append(f"  inet_listener {kind} {{\n    port = {self.ports.get(kind, 0)}\n  }}")
            if port := self.ports.get(kind + "_proxy"):
                ssl = "\n    ssl = yes" if kind.endswith("s") else ""
                out.append(f"  inet_listener {kind}_proxy {{\n    port = {port}\n    haproxy = yes{ssl}\n  }}")
        return "\n".join((*out, "}"))

    # its users and their mailboxes

    def add(self):
        """A user that no test has had, with PASSWORD and an empty mailbox."""
        return next(self.spare)

    def copy(self, user):
        """Another user with the same mailboxes, as they are now: UIDs, UIDVALIDITY, dates and all."""
        other = self.add()
        if (self.mail / user).exists():
            subprocess.run(["cp", "-a", self.mail / user, self.mail / other], check=True)
        return other

    def deliver(self, user, message, mailbox="INBOX"):
        """One message (octets) more: at once a file in a maildir, by APPEND elsewhere."""
        if self.format != "maildir":
            with self.imap(user) as imap:
                assert imap.append(mailbox, None, None, message)[0] == "OK"
            return
        box = self.mail / user / "maildir"
        if mailbox != "INBOX":
            box = box / ("." + mailbox.replace("/", "."))
        for sub in ("", "tmp", "new", "cur"):
            os.makedirs(box / sub, exist_ok=True)
        for p in (self.mail / user, self.mail / user / "maildir", box, *(box / s for s in ("tmp", "new", "cur"))):
            os.chown(p, UID, UID)
        name = f"{1700000000 + next(_serial)}.lab.example"
        (box / "tmp" / name).write_bytes(message)
        os.chown(box / "tmp" / name, UID, UID)
        (box / "tmp" / name).rename(box / "new" / name)

    def imap(self, user):
        """Python's client, logged in at the server itself."""
        client = imaplib.IMAP4("127.0.0.1", self.ports["imap"], timeout=WAIT_S)
        quoted = self.users[user].replace("\\", "\\\\").replace('"', '\\"')
        client._simple_command("LOGIN", f'"{user}"', f'"{quoted}"')
        client.state = "AUTH"
        return client

    def messages(self, user, mailbox="INBOX"):
        """The octets of all messages, in order, as the server itself gives them."""
        with self.imap(user) as imap:
            assert imap.select(f'"{mailbox}"', readonly=True)[0] == "OK"
            out = imap.uid("FETCH", "1:*", "(BODY.PEEK[])")[1]
            return [part[1] for part in out if isinstance(part, tuple)]

    def empty(self, user):
        shutil.rmtree(self.mail / user, ignore_errors=True)

    # what it says

    def mark(self):
        return self.process.mark()

    def wait_line(self, pattern, since=0, timeout=WAIT_S):
        """A line of its log: `Login: user=<alice>, method=PLAIN, rip=127.0.0.1, lip=..., TLS`."""
        return self.process.wait_line(pattern, since, timeout)
