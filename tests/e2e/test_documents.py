"""What the README and gatepost.conf(5) show as configuration and rules is taken by the program."""
import re
import subprocess

import pytest
from lab.gateway import BINARY, ROOT

README = ROOT / "README.md"
MANUAL = ROOT / "conf/gatepost.conf.5"
SECTIONS = ("listener", "backend", "outbound", "tls_policy", "recipients", "tls", "auth", "dns", "zone", "dnsbl", "spf", "dkim", "dkim_sign", "arc_seal", "dmarc",
            "greylist", "state_store", "smtp", "rate", "srs", "quarantine", "quarantine_class", "history", "spool", "limits", "timeouts")
OPTIONS = ("hostname", "domains", "relay_networks", "bypass", "client_header", "mode")
CONF = re.compile(rf"({'|'.join(OPTIONS)}) *=|({'|'.join(SECTIONS)})( +[\w.\"-]+)? *{{")
RULE = re.compile(r"(observe |)(accept|reject|defer|greylist|quarantine|discard|tag|add|remove|copy|redirect|log)\b[^{]* if ")
#: What routes, packet filter and limits this machine has is none of the document's business; of passwords, of the rules for what is fetched and for domains, and of old TLS it speaks itself.
EXPECTED = ("inline: ", " open files, ", ": passwords may come in clear text", ": scan = yes, and no rule holds back what is fetched",
            ": tls_min = 1.0: ", ": tls_security_level = 0: ", ": no rule of the policy asks for uribl.score")


def blocks():
    """The README's indented blocks, and what stands in its text as a whole section or rule; the manual's examples."""
    lines = [*README.read_text().split("\n"), ""]
    block, start = [], 0
    for number, line in enumerate(lines, 1):
        if line.startswith("    ") or block and not line and lines[number].startswith("    "):
            start = start if block else number
            block.append(line[4:])
            continue
        if block:
            yield f"README.md:{start}", "\n".join(block)
            block = []
        for code in re.findall(r"`([^`]+)`", line):
            if "..." not in code and (CONF.match(code) and code[-1] in '}"' or RULE.match(code)):
                yield f"README.md:{number}", code
    page = MANUAL.read_text()
    for found in re.finditer(r"(?ms)^\.Bd -literal.*?$\n(.*?)^\.Ed", page):
        yield f"{MANUAL.name}:{page[:found.start()].count(chr(10)) + 1}", found[1]


def that_are(kind):
    """Those of this kind: of each block the paragraphs that begin so, without the diagrams and commands beside them."""
    for where, text in blocks():
        parts = [part for part in text.split("\n\n") if kind.match(re.sub(r"\A(\s*#.*\n)+", "", part))]
        if parts:
            yield pytest.param("\n\n".join(parts), id=where)


@pytest.fixture(scope="module")
def etc(scratch):
    """In place of /etc/gatepost: keys, secrets, the CA that the README's command makes; and the records of the keys."""
    place = scratch / "documents"
    place.mkdir()
    records = []
    for selector, kind in (("2026a", "rsa"), ("2026e", "ed25519"), ("arc1", "rsa")):
        done = subprocess.run([BINARY, "dkim-key", "--type", kind, "-o", place / f"{selector}.pem", "example.com", selector], check=True,
                              capture_output=True, text=True)
        records.append(" ".join(re.search(r"(?s)^\w+\._domainkey.*? IN TXT \((.*?)\)$", done.stdout, re.M)[1].split()))
    command = re.search(r"(?m)^    (openssl req -x509(?:.*\\\n)*[^#\n]*)", README.read_text())[1]
    subprocess.run(["sh", "-ec", command], cwd=place, check=True, capture_output=True)
    (place / "srs-secret").write_text("0123456789abcdef0123456789abcdef\n")
    (place / "redis-password").write_text("secret\n")
    (place / "ad-password").write_text("secret\n")
    (place / "ad-password").chmod(0o600)
    (place / "ad-ca.pem").write_text((place / "own-ca.pem").read_text())
    data = ", ".join('"%s._domainkey.example.com. TXT %s"' % (s, r.replace('"', '\\"')) for s, r in zip(("2026a", "2026e", "arc1"), records))
    place.joinpath("dns.conf").write_text(f'dns {{ local_zone = {{ ". static" }} local_data = {{ {data} }} }}\n')
    return place


def check(directory, etc, conf="", rules=None):
    """What `gatepost check` says of it, with the little that no site can be without."""
    if found := re.match(r"backend \w+ {(?!.*address)", conf):
        conf = conf.replace(found[0], found[0] + ' address = "10.0.0.5:25"')
    conf = conf.replace("/etc/gatepost/", f"{etc}/").replace('"gatepost"', '"nobody"')
    parts = [conf, (etc / "dns.conf").read_text(), f'state_dir = "{directory}/state"', 'policy = "policy.conf"']
    for need, part in (("hostname", 'hostname = "mx.example.com"'), ("user", 'user = "nobody"'), ("keeper_user", 'keeper_user = "daemon"'), ("key_user", 'key_user = "mail"'),
            ("directory_user", 'directory_user = "games"'),
            ("domains", 'domains = { "example.com" }'),
            ("relay_networks", 'relay_networks = { "10.0.0.5" }'), ("backend", 'backend main { address = "10.0.0.5:25" }')):
        if not re.search(rf"(?m)^{need}\b", conf):
            parts.append(part)
    path = directory / "gatepost.conf"
    path.write_text("\n".join(parts) + "\n")
    (directory / "policy.conf").write_text(rules or (ROOT / "conf/policy.conf").read_text())
    done = subprocess.run([BINARY, "check", "-c", path], capture_output=True, text=True, timeout=60)
    return done.returncode, [line for line in done.stderr.splitlines() if not any(words in line for words in EXPECTED)]


@pytest.mark.parametrize("text", that_are(CONF))
def test_configuration(tmp_path, etc, text):
    assert check(tmp_path, etc, conf=text) == (0, [])


@pytest.mark.parametrize("text", that_are(RULE))
def test_rules(tmp_path, etc, text):
    assert check(tmp_path, etc, rules=text + "\naccept\n") == (0, [])


def test_enough_is_found():
    """That the documents are still read as they are written."""
    assert len([*that_are(CONF)]) >= 15 and len([*that_are(RULE)]) >= 2


def test_haproxy(tmp_path):
    """It takes what is for haproxy.cfg, without a warning."""
    (text,) = [text for _, text in blocks() if text.startswith("listen ")]
    (tmp_path / "haproxy.cfg").write_text(text + "\n")
    done = subprocess.run(["haproxy", "-c", "-f", tmp_path / "haproxy.cfg"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0 and "[" not in done.stderr, done.stderr


def test_commands():
    """Each command of the README is one, and knows the options that it is shown with."""
    shown = [line.split("#")[0] for _, text in blocks() for line in text.split("\n") if line.startswith("gatepost ")]
    assert len(shown) > 20
    for line in shown:
        words = line.replace("| sh", "").split()[1:]
        name = words[:2] if words[0] in ("quarantine", "spool") else words[:1]
        usage = subprocess.run([BINARY, *name, "--help"], check=True, capture_output=True, text=True).stdout
        for option in (word.split("=")[0] for word in words if word.startswith("-")):
            assert re.search(rf"(?<![\w-]){option}(?![\w-])", usage), line
