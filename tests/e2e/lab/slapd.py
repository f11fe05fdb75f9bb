"""OpenLDAP's slapd on loopback with a directory of its own: attributes as Active Directory and Domino have them, under the arc for examples (RFC 5612)."""
import pathlib
import signal
import socket
import subprocess

from .process import WAIT_S, Process, free_port, wait_for_port

BASE = "DC=example,DC=com"
USER, PASSWORD = f"CN=gatepost,{BASE}", "correct horse battery staple"
ROOT, ROOT_PASSWORD = f"CN=root,{BASE}", "root"
ASIDE = "127.0.0.98"            # of connections that ask nothing

# Names as they are there; syntax and matching as a question needs them. mail, uid and cn are OpenLDAP's own.
SCHEMA = """
attributetype ( 1.3.6.1.4.1.32473.1.1 NAME 'proxyAddresses' EQUALITY caseIgnoreMatch SUBSTR caseIgnoreSubstringsMatch SYNTAX 1.3.6.1.4.1.1466.115.121.1.15 )
attributetype ( 1.3.6.1.4.1.32473.1.2 NAME 'msExchRequireAuthToSendTo' EQUALITY booleanMatch SYNTAX 1.3.6.1.4.1.1466.115.121.1.7 SINGLE-VALUE )
objectclass ( 1.3.6.1.4.1.32473.2.1 NAME 'adRecipient' SUP top STRUCTURAL MUST cn MAY ( proxyAddresses $ mail $ msExchRequireAuthToSendTo $ description ) )
objectclass ( 1.3.6.1.4.1.32473.2.2 NAME 'dominoPerson' SUP top STRUCTURAL MUST cn MAY ( mail $ uid ) )
objectclass ( 1.3.6.1.4.1.32473.2.3 NAME 'dominoGroup' SUP top STRUCTURAL MUST cn MAY mail )
objectclass ( 1.3.6.1.4.1.32473.2.4 NAME 'dominoServerMailInDatabase' SUP top STRUCTURAL MUST cn MAY mail )
"""


def entry(cn, kind="adRecipient", **attributes):
    """LDIF of one entry; attributes: a text, or a list."""
    lines = [f"dn: CN={cn},{BASE}", f"objectClass: {kind}", f"cn: {cn}"]
    for name, values in attributes.items():
        lines += [f"{name}: {v}" for v in ([values] if isinstance(values, str) else values)]
    return "\n".join(lines) + "\n\n"


def user(name, *others, **more):
    return entry(name, proxyAddresses=[f"SMTP:{name}@example.com", *others], **more)


class Slapd:
    """entries: LDIF; options: for slapd.conf's database; cert: (certificate, key) for TLS."""

    def __init__(self, directory, entries="", options="", cert=None):
        self.dir = pathlib.Path(directory)
        (self.dir / "db").mkdir(parents=True)
        self.port, self.tls_port = free_port(), free_port()
        self.cert = cert
        (self.dir / "schema").write_text(SCHEMA)
        tls = f"TLSCertificateFile {cert[0]}\nTLSCertificateKeyFile {cert[1]}\n" if cert else ""
        (self.dir / "slapd.conf").write_text(f"""
include /etc/ldap/schema/core.schema
include /etc/ldap/schema/cosine.schema
include /etc/ldap/schema/inetorgperson.schema
include {self.dir}/schema
modulepath /usr/lib/ldap
moduleload back_mdb
pidfile {self.dir}/pid
loglevel stats
sizelimit size.soft=500 size.hard=500 size.pr=1000 size.prtotal=unlimited
{tls}
database mdb
maxsize 67108864
suffix "{BASE}"
rootdn "{ROOT}"
rootpw "{ROOT_PASSWORD}"
directory {self.dir}/db
dbnosync
index proxyAddresses,mail eq,pres
access to attrs=userPassword by anonymous auth by * none
access to * by users read by * none
{options}
""")
        ldif = (f"dn: {BASE}\nobjectClass: domain\ndc: example\n\ndn: {USER}\nobjectClass: person\ncn: gatepost\nsn: gatepost\nuserPassword: {PASSWORD}\n\n" + entries)
        subprocess.run(["/usr/sbin/slapadd", "-q", "-f", str(self.dir / "slapd.conf")], input=ldif, text=True, check=True, capture_output=True, timeout=60)
        self.start()

    def start(self):
        urls = f"ldap://127.0.0.1:{self.port}/" + (f" ldaps://127.0.0.1:{self.tls_port}/" if self.cert else "")
        self.process = Process(["/usr/sbin/slapd", "-d", "stats", "-h", urls, "-f", str(self.dir / "slapd.conf")])
        wait_for_port(self.port)

    def url(self, tls=False):
        return f"ldaps://127.0.0.1:{self.tls_port}" if tls else f"ldap://127.0.0.1:{self.port}"

    def change(self, ldif):
        """As ldapmodify takes it; entries without changetype are added."""
        subprocess.run(["/usr/bin/ldapmodify", "-a", "-x", "-H", self.url(), "-D", ROOT, "-w", ROOT_PASSWORD], input=ldif, text=True, check=True,
                       capture_output=True, timeout=60)

    def remove(self, *names):
        self.change("".join(f"dn: CN={n},{BASE}\nchangetype: delete\n\n" for n in names))

    def password(self, text):
        self.change(f"dn: {USER}\nchangetype: modify\nreplace: userPassword\nuserPassword: {text}\n\n")

    def said(self, word):
        """Its lines with that word: all until now, and they are here, since that of a connection made now is. That connection is in none of them."""
        mark = self.process.mark()
        with socket.create_connection(("127.0.0.1", self.port), timeout=WAIT_S, source_address=(ASIDE, 0)) as s:
            self.process.wait_line(rf"ACCEPT from IP={ASIDE}:{s.getsockname()[1]} ", mark)
        return [line for line in self.process.output().splitlines() if word in line and f"IP={ASIDE}:" not in line]

    def searches(self, word):
        """How many questions with that word it has been asked."""
        return sum(word in line for line in self.said(" SRCH base="))

    def kill(self):
        self.process.send(signal.SIGKILL)
        self.process.wait()

    def freeze(self):
        self.process.send(signal.SIGSTOP)

    def thaw(self):
        self.process.send(signal.SIGCONT)

    def stop(self):
        self.thaw()
        self.process.stop()
