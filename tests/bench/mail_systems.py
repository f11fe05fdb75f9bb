"""Who stands in front of a mail server: each is started with start(servers), listens on LISTEN, and names the roots of its processes."""
import os
import pathlib
import resource
import shutil
import signal
import socket
import subprocess
import time

from rig import BUILD, ROOT, TOOLS, WORK, Program

# One at a time: they all listen here.
LISTEN = {("imap", False): 1143, ("imap", True): 1993, ("pop3", False): 1110, ("pop3", True): 1995}
DOVECOT = {"imap": 2143, "pop3": 2110}
SCRIPTED = {"imap": 3143, "pop3": 3110}
AUTH = {"dovecot": 3081, "scripted": 3080}
NAME = "gate.site.example"
USERS, MAILBOXES = 100, 16     # mail_load's; with the large message
UID = 65534                     # Dovecot refuses root


def listening(port):
    with socket.socket() as s:
        return s.connect_ex(("127.0.0.1", port)) == 0


def wait_listening(ports, program, timeout=30):
    end = time.monotonic() + timeout
    for port in ports:
        while not listening(port):
            if time.monotonic() > end or program.proc.poll() is not None:
                raise RuntimeError(f"nobody listens on {port}: {program.tail()}")
            time.sleep(0.05)


def files_limit():
    """Descriptors that a process may have, raised as far as may be."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    for wanted in (262144, 65536, hard):
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, max(wanted, hard)))
            return resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        except (ValueError, OSError):
            continue
    return hard


def certificate():
    """P-256, for all alike; the file of both is HAProxy's."""
    cert, key, both = (WORK / f"mail-{x}.pem" for x in ("cert", "key", "both"))
    if not both.exists():
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "3650", "-subj",
                        f"/CN={NAME}", "-keyout", str(key), "-out", str(cert)], check=True, stderr=subprocess.DEVNULL)
        both.write_bytes(cert.read_bytes() + key.read_bytes())
    return cert, key, both


# What stands behind

class Scripted:
    """mail_server.c: answers by rote. And nginx' auth_http for itself."""
    name = "scripted"
    ports = SCRIPTED

    def __init__(self, message_bytes):
        self.program = Program([TOOLS / "mail_server", *(f"127.0.0.1:{p}" for p in (*self.ports.values(), AUTH[self.name])), message_bytes],
                               "mail_server.log", ready=True)

    def stop(self):
        self.program.stop()


class Dovecot:
    """With processes for logins that serve many (its `high-performance mode`), and a large message in a few mailboxes."""
    name = "dovecot"
    ports = DOVECOT

    def __init__(self, message_bytes):
        self.dir = WORK / "dovecot"
        shutil.rmtree(self.dir, ignore_errors=True)
        run = pathlib.Path("/run/bench-dovecot")
        run.mkdir(exist_ok=True)
        self.mailboxes(message_bytes)
        conf = self.dir / "dovecot.conf"
        conf.write_text(f"""
base_dir = {run}
state_dir = {run}
log_path = /dev/stderr
auth_verbose = no
protocols = imap pop3
listen = 127.0.0.1
mail_location = maildir:~/maildir
mail_fsync = never
first_valid_uid = 500
ssl = no
disable_plaintext_auth = no
default_internal_user = dovecot
default_login_user = dovenull
default_client_limit = 4000
default_process_limit = 1000
default_vsz_limit = 1 G
passdb {{
  driver = static
  args = password=secret
}}
userdb {{
  driver = static
  args = uid={UID} gid={UID} home={self.dir}/mail/%u
}}
service imap-login {{
  service_count = 0
  client_limit = 4000
  process_min_avail = 2
  inet_listener imap {{
    port = {self.ports["imap"]}
  }}
  inet_listener imaps {{
    port = 0
  }}
}}
service pop3-login {{
  service_count = 0
  client_limit = 4000
  process_min_avail = 2
  inet_listener pop3 {{
    port = {self.ports["pop3"]}
  }}
  inet_listener pop3s {{
    port = 0
  }}
}}
service imap {{
  service_count = 1000
}}
service pop3 {{
  service_count = 1000
}}
service anvil {{
  client_limit = 8000
}}
service auth {{
  client_limit = 20000
}}
mail_max_userip_connections = 0
""")
        self.program = Program(["/usr/sbin/dovecot", "-F", "-c", conf], "dovecot.log")
        wait_listening(self.ports.values(), self.program)
        # Who asks for it where Dovecot stands behind: the answer names Dovecot's ports.
        self.auth = Program([TOOLS / "mail_server", *(f"127.0.0.1:{p}" for p in (*self.ports.values(), AUTH[self.name])), "auth"],
                            "mail_auth.log", ready=True)

    def mailboxes(self, message_bytes):
        line = b"The quick brown fox jumps over the lazy dog, and on, and on, to the end of it.\r\n"
        head = b"From: <a@site.example>\r\nSubject: large\r\n\r\n"
        self.dir.mkdir(parents=True)
        for p in self.dir.parents:
            if p.stat().st_mode & 0o1 == 0:
                p.chmod(p.stat().st_mode | 0o1)
        large = self.dir / "large"
        large.write_bytes(head + line * ((message_bytes - len(head)) // len(line)))
        os.chown(large, UID, UID)
        for i in range(USERS):
            box = self.dir / "mail" / f"user{i}@site.example" / "maildir"
            for sub in ("tmp", "new", "cur"):
                (box / sub).mkdir(parents=True)
            if i < MAILBOXES:
                os.link(large, box / "cur" / "1700000000.1.bench:2,")
        subprocess.run(["chown", "-R", f"{UID}:{UID}", str(self.dir / "mail")], check=True)

    def stop(self):
        self.auth.stop()
        self.program.stop()


# What is measured

class Direct:
    """Nobody in between: what the server alone takes."""
    name = "direct"
    tls = (False,)

    def start(self, server, workers=0):
        self.server = server

    def address(self, protocol, tls):
        return f"127.0.0.1:{self.server.ports[protocol]}"

    def roots(self):
        return []

    def stop(self):
        pass


class Proxy:
    tls = (False, True)

    def address(self, protocol, tls):
        return f"127.0.0.1:{LISTEN[protocol, tls]}"

    def roots(self):
        return [p.pid for p in self.programs]

    def begin(self):
        self.dir = WORK / self.name.lower()
        shutil.rmtree(self.dir, ignore_errors=True)
        self.dir.mkdir()
        self.programs = []

    def started(self, program, ports=LISTEN.values()):
        self.programs.append(program)
        wait_listening(ports, program)

    def stop(self):
        for p in self.programs:
            p.stop()


class Gatepost(Proxy):
    """protocol = tcp, for comparison: bytes alone, and no TLS."""
    name = "Gatepost"

    def __init__(self, tcp=False):
        self.tcp = tcp
        if tcp:
            self.name, self.tls = "Gatepost-tcp", (False,)

    def start(self, server, workers=0):
        self.begin()
        cert, key, _ = certificate()
        text = [f"""
hostname = "{NAME}"
domains = {{ "site.example" }}
workers = {workers}
state_dir = "{self.dir}/state"
policy = "{ROOT}/conf/policy.conf"
tls {{ certificate = "{cert}" key = "{key}" }}
client_limits {{ connections = 1000000 commands = 1000000 errors = 1000000 recipients = 1000000 messages = 1000000 bytes = 60G logins = 1000000 slow_from = 100 }}
"""]
        for (protocol, tls), port in LISTEN.items():
            if self.tcp and tls:
                continue
            kind = "tcp" if self.tcp else protocol
            mode = "" if self.tcp else f'tls = {"implicit" if tls else "starttls"}'
            text.append(f'listener {protocol}{"s" if tls else ""} {{ address = "127.0.0.1:{port}" protocol = {kind} {mode} '
                        f'backends = {{ "{protocol}" }} max_connections = 30000 max_per_client = 30000 }}\n')
        for protocol, port in server.ports.items():
            mode = "" if self.tcp else f"protocol = {protocol} tls = off"
            text.append(f'backend {protocol} {{ address = "127.0.0.1:{port}" {mode} }}\n')
        conf = self.dir / "gatepost.conf"
        conf.write_text("".join(text))
        self.started(Program([os.environ.get("GATEPOST", BUILD / "gatepost"), "run", "-c", conf], "gatepost.log"),
                     [p for (_, tls), p in LISTEN.items() if tls in self.tls])


class Haproxy(Proxy):
    """TCP mode: bytes, and TLS to the client."""
    name = "HAProxy"

    def start(self, server, workers=0):
        self.begin()
        conf = self.dir / "haproxy.cfg"
        text = [f"""
global
    maxconn {(resource.getrlimit(resource.RLIMIT_NOFILE)[0] - 180) // 2}
    maxpipes 20
    {f"nbthread {workers}" if workers else ""}
    ssl-default-bind-options ssl-min-ver TLSv1.2
defaults
    mode tcp
    option splice-auto
    timeout connect 10s
    timeout client 60m
    timeout server 60m
"""]
        for (protocol, tls), port in LISTEN.items():
            ssl = f" ssl crt {certificate()[2]}" if tls else ""
            text.append(f"listen {protocol}{port}\n    bind 127.0.0.1:{port}{ssl}\n    server s 127.0.0.1:{server.ports[protocol]}\n")
        conf.write_text("".join(text))
        self.started(Program(["/usr/sbin/haproxy", "-db", "-f", conf], "haproxy.log"))


class Nginx(Proxy):
    """Its mail proxy. Where to log in it asks of an auth_http, whose time is not counted."""
    name = "nginx"

    def start(self, server, workers=0):
        self.begin()
        cert, key, _ = certificate()
        listeners = "".join(f"""
    server {{
        listen 127.0.0.1:{port}{" ssl" if tls else ""} backlog=8192;
        protocol {protocol};
    }}""" for (protocol, tls), port in LISTEN.items())
        conf = self.dir / "nginx.conf"
        conf.write_text(f"""
load_module /usr/lib/nginx/modules/ngx_mail_module.so;
daemon off;
pid {self.dir}/nginx.pid;
error_log {self.dir}/error.log warn;
worker_processes {workers or "auto"};
worker_rlimit_nofile {resource.getrlimit(resource.RLIMIT_NOFILE)[0]};
events {{
    worker_connections {resource.getrlimit(resource.RLIMIT_NOFILE)[0]};
}}
mail {{
    server_name {NAME};
    auth_http 127.0.0.1:{AUTH[server.name]}/auth;
    imap_capabilities IMAP4rev1 LITERAL+ UIDPLUS;
    timeout 60m;
    proxy_timeout 60m;
    ssl_certificate {cert};
    ssl_certificate_key {key};
    ssl_protocols TLSv1.2 TLSv1.3;
    {listeners}
}}
""")
        self.started(Program(["/usr/sbin/nginx", "-c", conf, "-e", self.dir / "error.log"], "nginx.log"))


class Perdition(Proxy):
    """A process for each session."""
    name = "perdition"

    def start(self, server, workers=0):
        self.begin()
        cert, key, _ = certificate()
        for (protocol, tls), port in LISTEN.items():
            argv = ["/usr/sbin/perdition", "--no_daemon", "--protocol", "IMAP4" if protocol == "imap" else "POP3", "--bind_address",
                    f"127.0.0.1:{port}", "--map_library", "", "--outgoing_server", f"127.0.0.1:{server.ports[protocol]}", "--no_lookup",
                    "--pid_file", "", "--username", "nobody", "--group", "nogroup", "--quiet", "-f", "/dev/null"]
            if tls:
                argv += ["--ssl_mode", "ssl_listen", "--ssl_cert_file", cert, "--ssl_key_file", key, "--ssl_no_cert_verify"]
            self.started(Program(argv, f"perdition-{port}.log"), [port])

    def stop(self):
        for p in self.programs:
            p.stop(signal.SIGTERM, 3)


SYSTEMS = {"direct": Direct, "gatepost": Gatepost, "gatepost-tcp": lambda: Gatepost(tcp=True), "haproxy": Haproxy, "nginx": Nginx,
           "perdition": Perdition}
