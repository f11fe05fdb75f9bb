import os
import pathlib
import shutil
import sys
import tempfile

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).parent))

from lab.backend import Backend             # noqa: E402
from lab.certificates import Certificates   # noqa: E402
from lab.gateway import ROOT, Gateway, access     # noqa: E402
from lab.imapserver import ImapServer     # noqa: E402
from lab.knot import Knot                   # noqa: E402
from lab.mailserver import Mailserver       # noqa: E402
from lab.measure import Good, preferred     # noqa: E402
from lab.network import OwnNetwork          # noqa: E402
from lab.postfix import Postfix             # noqa: E402
from lab.process import Process, free_port  # noqa: E402
from lab.table import show              # noqa: E402
from lab.zones import ZONES                 # noqa: E402


# Memory, lag and how long a good client waits: one after the other, whatever else goes on.
MEASURED = ("test_load", "test_load_bounds", "test_load_content", "test_crowds", "test_soak")
# These take longest, so they begin first: no worker is left with one of them at the end.
LONG = ("test_faults.py", "test_injection.py", "test_cuts.py", "test_valgrind.py", "test_kills.py")


def together(item):
    """What one worker runs in a row: what is measured; what shares a server of its module's. None: it goes anywhere."""
    if item.path.stem in MEASURED:
        return "measured"
    if not any(f.scope == "module" for found in item._fixtureinfo.name2fixturedefs.values() for f in found):
        return None
    if item.path.stem == "test_personas":
        return f"personas {item.callspec.params['name']}" if hasattr(item, "callspec") else "personas"
    return item.path.stem


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    """The order in which workers (pytest-xdist, --dist loadgroup) get them: what must be in a row, what is long, groups, and the rest to fill up with."""
    ranks = {}
    for item in items:
        group = together(item)
        if group:
            item.add_marker(pytest.mark.xdist_group(group))
        ranks[item] = 0 if group == "measured" else 1 if item.path.name in LONG else 2 if group else 3
    items.sort(key=ranks.get)


def pytest_terminal_summary(terminalreporter):
    """Counts that a test has noted (record_property("count", ...)), which are lost otherwise when tests run side by side."""
    for how in ("passed", "failed"):
        for report in terminalreporter.stats.get(how, []):
            for name, text in report.user_properties:
                if name == "count":
                    terminalreporter.write_line(text)
    show(terminalreporter)


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    report = (yield).get_result()
    if report.when == "call":
        item.passed = report.passed


@pytest.fixture
def tmp_path(request, tmp_path):
    """What a test that passes leaves behind goes at once: the place for temporary files may be small."""
    yield tmp_path
    if getattr(request.node, "passed", False):
        shutil.rmtree(tmp_path, ignore_errors=True)


@pytest.fixture(scope="session")
def scratch():
    """A directory that the servers' own users can enter."""
    with tempfile.TemporaryDirectory(prefix="gatepost-e2e-", ignore_cleanup_errors=True) as name:         # a server may still be writing its last line
        path = pathlib.Path(name)
        path.chmod(0o755)
        yield path


@pytest.fixture(scope="session")
def dns(scratch):
    server = Knot(scratch / "knot", ZONES)
    yield server
    server.stop()


@pytest.fixture(scope="session")
def postfix_shared(scratch):
    server = Postfix(scratch / "postfix", default_transport="discard:")      # its reports for senders elsewhere wait for no DNS
    yield server
    server.stop()


@pytest.fixture
def postfix(postfix_shared):
    """The session's Postfix, with empty mailboxes."""
    postfix_shared.empty()
    return postfix_shared


@pytest.fixture
def lab(tmp_path, dns):
    """Makes gateways; each is stopped, and its exit status and sanitizers' words checked, when the test ends."""
    made = []

    def make(backends, **kw):
        kw.setdefault("dns", dns.server)
        g = Gateway(tmp_path / f"gate{len(made)}", backends, **kw)
        try:
            g.start()
        except BaseException:
            if g.process:
                g.stop()
            raise
        made.append(g)
        return g

    yield make
    problems = []
    for g in made:
        status = g.stop()
        output = g.process.output()
        if status != 0 or any(w in output for w in ("Sanitizer", "runtime error:")):
            problems.append(f"exit status {status}:\n{output[-20000:]}")
    assert not problems, "\n".join(problems)


@pytest.fixture
def gate(lab, postfix):
    """A gateway with default settings before the Postfix."""
    return lab([postfix.port])


@pytest.fixture
def backend():
    """Makes scripted mail servers."""
    made = []

    def make(*args, **kw):
        made.append(Backend(*args, **kw))
        return made[-1]

    yield make
    for b in made:
        b.stop()


@pytest.fixture
def imap_server():
    """Makes scripted servers of IMAP."""
    made = []

    def make(*args, **kw):
        made.append(ImapServer(*args, **kw))
        return made[-1]

    yield make
    for s in made:
        s.stop()


@pytest.fixture(scope="module")
def world(request, tmp_path_factory):
    """The DNS of the world, which is the module's ZONE, and the port on which its mail servers listen: those of a test have it on their own addresses."""
    knot = Knot(tmp_path_factory.mktemp("world"), request.module.ZONE)
    knot.port25 = free_port()
    yield knot
    knot.stop()


@pytest.fixture
def host(world):
    """Makes mail servers of the world, each on 127.0.0.number."""
    made = []

    def make(number=11, **kw):
        made.append(Backend(host=f"127.0.0.{number}", port=world.port25, **kw))
        return made[-1]

    yield make
    for b in made:
        b.stop()


@pytest.fixture(scope="session")
def certificates(scratch):
    return Certificates(scratch / "certificates")


@pytest.fixture
def own_network():
    return OwnNetwork


@pytest.fixture(scope="session")
def mailserver(scratch, certificates):
    """A Dovecot with IMAP and POP3, in clear, STARTTLS and implicit TLS, that believes those on loopback. A test has users of its own: add()."""
    server = Mailserver(scratch / "mailserver", tls=certificates.signed, trusted="127.0.0.0/8", proxy_trusted="127.0.0.0/8")
    yield server
    server.stop()


@pytest.fixture
def access_gate(lab):
    """Makes a gateway before a mail server: access_gate(server.ports, options=..., backend_options=...), as access() has it; g.ports: {kind: port}."""
    def make(to, options="", backend_options="", kinds=("imap", "imaps", "pop3", "pop3s"), conf="", more=None, **kw):
        ports, text = access(to, options, backend_options, kinds, **(more or {}))
        g = lab([9], conf=text + "\n" + conf, **kw)
        g.ports = ports
        return g
    return make


PLAIN = os.environ.get("GATEPOST_PLAIN", str(ROOT / "build" / "gatepost"))
LOAD_POLICY = """
quarantine programs: if attachment.extension in (exe, scr, js) or archive.extension in (exe, scr, js)
quarantine locked: if archive.encrypted
reject if dmarc = fail and dmarc.policy = reject
accept
"""


@pytest.fixture(scope="module")
def load_sink(tmp_path_factory, dns):
    """A mail server that costs little; what is measured with it goes before whatever else the machine has to do."""
    port = free_port()
    process = Process([PLAIN, "sink", "--listen", f"127.0.0.1:{port}", "--maildir", str(tmp_path_factory.mktemp("sink"))])
    process.wait_line("listen|ready")
    was = preferred(process, dns.process)
    yield port
    process.stop()
    os.setpriority(os.PRIO_PROCESS, 0, was)


@pytest.fixture
def load_gate(lab, load_sink):
    """Makes a gateway of the plain program, and a good client whose usual time has been taken: (gateway, client, seconds)."""
    def make(limits="", workers=2, policy=LOAD_POLICY, conf="", **kw):
        g = lab([load_sink], binary=PLAIN, conf=f"limits {{ sessions_per_client = 10000 {limits} }} {conf}", workers=workers, policy=policy, **kw)
        control = lab([load_sink], binary=PLAIN, workers=workers, policy=policy, conf=conf, **kw)
        preferred(g.process, control.process)
        good = Good(g.port)
        good.control = Good(control.port)
        good.median(3)
        return g, good, good.median()
    return make
