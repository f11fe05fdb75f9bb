"""Who guesses passwords: what fails by SMTP, POP3 and IMAP counts together, per network and per account; nobody is locked out by others."""
import base64
import hashlib
import json
import re
import time

import pytest
from lab.backend import KEYWORDS, Held
from lab.gateway import access, parse_logfmt
from lab.imapserver import ImapServer
from lab.mailserver import PASSWORD
from lab.pop3_server import Pop3Server
from lab.process import free_port
from lab.redis import Redis
from lab.sasl import steps
from lab.smtp import Client
from lab.wire import Imap, Pop3

PROTOCOLS = ["imap", "pop3", "smtp"]
#: For failures: Dovecot takes half a second for one.
MIX = ["imap", "smtp", "pop3", "smtp", "smtp", "smtp"]
WRONG = "Not-the-Pa55word"
HOME, CAFE = "127.0.0.2", "127.0.0.3"
STRANGERS = [f"127.0.1.{n}" for n in range(1, 40)]
#: Thresholds of accounts are far away, and so is the end of a lock.
NETWORKS = 'slow_after = 3 slow_by = "40ms" refuse_after = 5 account_slow_after = 0 account_refuse_after = 0'
ACCOUNTS = 'slow_after = 0 refuse_after = 0 account_slow_after = 4 slow_by = "40ms" account_refuse_after = 6'


def b64(text):
    return base64.b64encode(text.encode()).decode()


@pytest.fixture
def servers(backend, mailserver):
    """Dovecot, and a mail server for SMTP with the same users; the login names that it was asked about."""
    asked = []

    def step(session, line):
        user, password = base64.b64decode(line.split()[2]).decode().split("\0")[1:]
        asked.append(user)
        return b"235 2.7.0 welcome\r\n" if mailserver.users.get(user) == password else b"535 5.7.8 no\r\n"

    mailserver.smtp = backend({"AUTH": step}, keywords=(*KEYWORDS, "AUTH PLAIN"))
    mailserver.asked = asked
    return mailserver


@pytest.fixture
def gates(lab, servers):
    """Makes a gateway with the three protocols; auth: what its section says besides."""
    def make(auth, conf="", **kw):
        ports, text = access(servers.ports, kinds=("imap", "pop3"))
        port = free_port()
        g = lab([servers.smtp.port], conf=f"{text}\nauth {{ plaintext = yes {auth} }}\n{conf}",
                listeners=f'listener submission {{ address = "127.0.0.1:{port}" direction = submission }}', **kw)
        g.logins = {**ports, "smtp": port}
        g.wait_line("event=backend name=b0 .*state=up")
        return g
    return make


def say(g, protocol, user, password, source):
    """One attempt in a session of its own: the code, or the first word, of the answer."""
    if protocol == "imap":
        with Imap(g.logins["imap"], source=source) as c:
            quoted = password.replace("\\", "\\\\").replace('"', '\\"')
            return re.search(rb"^1 (\S+)", c.cmd(f'1 LOGIN "{user}" "{quoted}"'.encode()), re.M)[1].decode()
    if protocol == "pop3":
        with Pop3(g.logins["pop3"], source=source) as c:
            c.ok(f"USER {user}".encode())
            return c.cmd(f"PASS {password}".encode()).split()[0].decode()
    with Client(g.logins["smtp"], source=source) as c:
        c.ehlo()
        return str(c.cmd(f"AUTH PLAIN {b64(chr(0) + user + chr(0) + password)}").code)


ANSWERS = {"ok": {"imap": "OK", "pop3": "+OK", "smtp": "235"}, "failed": {"imap": "NO", "pop3": "-ERR", "smtp": "535"},
           "refused": {"imap": "NO", "pop3": "-ERR", "smtp": "421"}}


def attempt(g, protocol, user, password=WRONG, source=HOME):
    """Its line in the log; what the client hears belongs to it."""
    mark = g.mark()
    heard = say(g, protocol, user, password, source)
    line = g.wait_line(f"event=login .*protocol={protocol} .*client={re.escape(source)} ", mark)        # that of one before may come late
    out = parse_logfmt(line)
    out["worker"] = re.search(r"worker (\d+)", line)[1]
    assert heard == ANSWERS[out["result"]][protocol], (heard, line)
    assert (out["protocol"], out["client"], out["user"]) == (protocol, source, user)
    assert WRONG not in line and out["sid"] and out["listener"] and out["mechanism"]
    return out


def results(g, *attempts, **kw):
    return [attempt(g, *a, **kw)["result"] for a in attempts]


def test_three_protocols_count_together(gates, servers):
    g, user = gates(NETWORKS), servers.add()
    lines = [attempt(g, p, user) for p in ("imap", "pop3", "smtp", "imap", "smtp")]
    assert [x["result"] for x in lines] == ["failed"] * 5
    assert [x["failures"] for x in lines] == ["1", "2", "3", "4", "5"]
    assert [x.get("delayed_ms") for x in lines] == [None, None, None, "40", "80"]
    assert [bool(x.get("code")) for x in lines] == [True] * 5
    mark = servers.mark()
    for p in PROTOCOLS:
        line = attempt(g, p, user, PASSWORD)
        assert (line["result"], line["locked"], line["failures"]) == ("refused", "network", "5")
        assert attempt(g, p, user, PASSWORD, CAFE)["result"] == "ok"
    # Those that were refused were no logins at the servers: neither right nor wrong.
    assert servers.asked == [user] * 3
    for p in ("imap", "pop3"):
        servers.wait_line(f"{p}-login: .*Login: user=<{user}>", mark)
    assert len([x for x in servers.process.lines[mark:] if "Login: user=" in x]) == 2


def test_an_account_is_locked_for_strangers_alone(gates, servers):
    """From wherever it is tried; the user goes on working where he has succeeded, by any protocol."""
    g, user, other = gates(ACCOUNTS), servers.add(), servers.add()
    assert attempt(g, "imap", user, PASSWORD)["result"] == "ok"
    lines = [attempt(g, MIX[n], name, source=STRANGERS[n]) for n, name in enumerate([user, user.upper(), f"EXAMPLE\\{user}", *[user] * 3])]
    assert [x["account_failures"] for x in lines] == ["1", "2", "3", "4", "5", "6"]
    assert [x.get("delayed_ms") for x in lines] == [None] * 4 + ["40", "80"]
    for n, p in enumerate(PROTOCOLS):
        line = attempt(g, p, user, PASSWORD, CAFE)
        assert (line["result"], line["locked"], line["account_failures"]) == ("refused", "account", "6")
        assert attempt(g, p, other, PASSWORD, CAFE)["result"] == "ok"
        line = attempt(g, p, user, PASSWORD)
        assert (line["result"], line["delayed_ms"]) == ("ok", "40")         # once, whatever others do
    # A mistake of his own there is his own.
    assert attempt(g, "smtp", user)["account_failures"] == "6"
    assert attempt(g, "pop3", user, PASSWORD)["result"] == "ok"
    assert attempt(g, "pop3", user, PASSWORD, CAFE)["result"] == "refused"


def test_guessed_at_the_last_moment(lab, backend):
    """The time for a login is over before the server, which lets who fails wait, has refused: a failure all the same. A success would be heard at once."""
    def late(answer):
        def step(session, line, words=None):
            time.sleep(4)
            return answer
        return step

    def auth(session, line):
        session.sock.sendall(b"334 UGFzc3dvcmQ6\r\n")
        session.read()
        return late(b"535 5.7.8 no\r\n")(session, line)

    imap, pop3 = ImapServer(script={"LOGIN": late(b"TAG NO [AUTHENTICATIONFAILED] no\r\n")}), Pop3Server({"PASS": late(b"-ERR [AUTH] no\r\n")})
    smtp = backend({"AUTH": auth}, keywords=(*KEYWORDS, "AUTH LOGIN"))
    ports, text = access({"imap": imap.port, "pop3": pop3.port}, "login_timeout = 5s", kinds=("imap", "pop3"))
    port = free_port()
    g = lab([smtp.port], conf=text + '\nauth { plaintext = yes }\ntimeouts { backend_budget = 5s }',
            listeners=f'listener submission {{ address = "127.0.0.1:{port}" direction = submission }}')
    g.wait_line("event=backend name=b0 .*state=up")
    mark, until = g.mark(), time.monotonic() + 2.5
    with Imap(ports["imap"]) as i, Pop3(ports["pop3"]) as p, Client(port) as c:
        c.ehlo()
        p.ok(b"USER ann")
        assert c.cmd(f"AUTH LOGIN {b64('ann')}").code == 334
        time.sleep(max(0, until - time.monotonic()))
        i.send(b"a LOGIN ann guess\r\n")
        p.send(b"PASS guess\r\n")
        c.send(b64("guess").encode() + b"\r\n")
        for protocol in PROTOCOLS:
            assert parse_logfmt(g.wait_line(f"event=login .*protocol={protocol}", mark))["result"] == "failed", protocol
    imap.stop()
    pop3.stop()


@pytest.mark.parametrize("mechanism", ["PLAIN", "LOGIN", "CRAM-MD5", "DIGEST-MD5", "SCRAM-SHA-256", "APOP"])
def test_the_line_that_decides(gates, servers, mechanism):
    """Whatever the mechanism, the server does not hear the password, or the proof of it, of an account that is locked; the right one is refused."""
    g, user = gates("account_refuse_after = 1 account_slow_after = 0"), servers.add()
    tried = ["pop3"] if mechanism == "APOP" else ["pop3", "imap"]
    for p in tried:                                     # as it is without a lock, from where it will not be one
        assert by(g, p, mechanism, user, HOME)
        servers.wait_line(f"{p}-login: .*Login: user=<{user}>")
    assert attempt(g, "smtp", user, source=STRANGERS[0])["result"] == "failed"
    mark, log = servers.mark(), g.mark()
    for p in tried:
        assert not by(g, p, mechanism, user, CAFE)
        line = parse_logfmt(g.wait_line(f"event=login .*protocol={p}", log))
        assert (line["result"], line["user"], line["mechanism"], line["client"]) == ("refused", user, mechanism, CAFE)
        assert by(g, p, mechanism, user, HOME)
    for p in tried:
        servers.wait_line(f"{p}-login: .*Login: user=<{user}>", mark)
    assert len([x for x in servers.process.lines[mark:] if f"Login: user=<{user}>" in x]) == len(tried)


def by(g, protocol, mechanism, user, source):
    """Whether the right password lets the user in."""
    if protocol == "imap":
        with Imap(g.logins["imap"], source=source) as c:
            return b"a OK" in c.authenticate(b"a", mechanism, steps(mechanism, user, PASSWORD))
    with Pop3(g.logins["pop3"], source=source) as c:
        if mechanism != "APOP":
            return c.authenticate(mechanism, steps(mechanism, user, PASSWORD, "pop3")).startswith(b"+OK")
        stamp = re.search(rb"<[^>]+>", c.greeting)[0]
        return c.cmd(f"APOP {user} {hashlib.md5(stamp + PASSWORD.encode()).hexdigest()}".encode()).startswith(b"+OK")


def test_a_network_is_locked_but_not_for_its_users(gates, servers):
    g, user, colleague, victim = gates(NETWORKS), servers.add(), servers.add(), servers.add()
    assert attempt(g, "smtp", user, PASSWORD)["result"] == "ok"
    assert results(g, *[(MIX[n], victim) for n in range(6)]) == ["failed"] * 5 + ["refused"]
    for p in PROTOCOLS:
        assert attempt(g, p, user, PASSWORD)["result"] == "ok"
        assert attempt(g, p, colleague, PASSWORD)["result"] == "refused"
        assert attempt(g, p, victim, PASSWORD)["result"] == "refused"
    # The attacker's own account, or his luck with one, opens the door for nobody else.
    assert attempt(g, "imap", user, PASSWORD)["failures"] == "5"


def test_a_success_forgives_its_own_failures(gates, servers):
    g, user, other = gates(NETWORKS), servers.add(), servers.add()
    assert results(g, ("imap", user), ("pop3", other), ("smtp", user), ("smtp", user)) == ["failed"] * 4
    assert attempt(g, "smtp", user, PASSWORD)["failures"] == "4"
    assert attempt(g, "smtp", other)["failures"] == "2"
    assert attempt(g, "pop3", other, PASSWORD)["result"] == "ok"
    assert attempt(g, "smtp", servers.add())["failures"] == "1"


def test_allow_lists(gates, servers):
    users = [servers.add() for _ in range(3)]
    g = gates(f'refuse_after = 2 account_refuse_after = 3 slow_after = 0 account_slow_after = 0 exempt = {{ "127.0.0.2", "10.0.0.0/8" }} '
              f'exempt_users = {{ "{users[1]}" }}')
    for p in MIX:
        line = attempt(g, p, users[0])
        assert line["result"] == "failed" and "failures" not in line and "account_failures" not in line
    assert attempt(g, "imap", users[0], PASSWORD, CAFE)["result"] == "ok"
    for n in range(4):
        line = attempt(g, MIX[n], users[1], source=STRANGERS[n])
        assert line["failures"] == "1" and "account_failures" not in line
        line = attempt(g, MIX[5 - n], users[2], source=STRANGERS[20 + n])
        assert line["result"] == ("failed" if n < 3 else "refused")
    assert attempt(g, "pop3", users[1], PASSWORD, CAFE)["result"] == "ok"
    assert attempt(g, "pop3", users[2], PASSWORD, HOME)["result"] == "ok"
    # Its network is none of those: that of who guesses at it is locked as any other.
    assert results(g, ("smtp", users[1]), ("smtp", users[1]), ("imap", users[1]), source=STRANGERS[30]) == ["failed", "failed", "refused"]


def test_all_workers_know(gates, servers):
    """What one has seen fail, none of the others takes for clean."""
    g, user, victim = gates(NETWORKS, workers=3), servers.add(), servers.add()
    seen, n = set(), 0
    while len(seen) < 3 and n < 200:                    # each of them has it that nothing is wrong here
        seen.add(attempt(g, PROTOCOLS[n % 3], user, PASSWORD)["worker"])
        n += 1
    assert len(seen) == 3
    lines = [attempt(g, MIX[n], victim) for n in range(5)]
    assert [x["failures"] for x in lines] == ["1", "2", "3", "4", "5"]
    for n in range(9):
        assert attempt(g, PROTOCOLS[n % 3], victim, PASSWORD)["result"] == "refused"
        line = attempt(g, PROTOCOLS[n % 3], user, PASSWORD)
        assert (line["result"], line["failures"], line["delayed_ms"]) == ("ok", "5", "40")


def test_guesses_at_once(gates, servers):
    """A failure is known when the server has said so: of guesses at one account, each from a network of its own, no more are under way than may fail."""
    g, user = gates("slow_after = 0 account_slow_after = 0 refuse_after = 0 account_refuse_after = 3"), servers.add()
    assert attempt(g, "imap", user, PASSWORD)["result"] == "ok"
    usual, held = servers.smtp.script["AUTH"], Held(b"535 5.7.8 no\r\n")
    servers.smtp.script["AUTH"] = held
    clients = [Client(g.logins["smtp"], source=source) for source in STRANGERS[:12]]
    for c in clients:
        c.ehlo()
        c.send(f"AUTH PLAIN {b64(chr(0) + user + chr(0) + WRONG)}\r\n".encode())

    def under_way():
        return [s for s in servers.smtp.sessions if any(c.startswith("AUTH") for c in s.commands)]
    servers.smtp.wait(lambda: len(under_way()) >= 3, "guesses")
    servers.smtp.script["AUTH"] = usual
    for p in PROTOCOLS:                                 # the user does not wait behind them
        assert attempt(g, p, user, PASSWORD)["result"] == "ok"
    servers.smtp.script["AUTH"] = held
    held.go.set()
    codes = sorted(c.reply().code for c in clients)
    assert 3 <= codes.count(535) <= 5 and codes.count(421) == 12 - codes.count(535), codes
    assert len(under_way()) - 1 == codes.count(535)
    for c in clients:
        c.close()


def test_after_a_restart(gates, servers):
    g, user, victim = gates(NETWORKS), servers.add(), servers.add()
    assert attempt(g, "imap", user, PASSWORD)["result"] == "ok"
    for p in ("smtp", "smtp", "smtp", "smtp", "pop3"):
        attempt(g, p, victim)
    assert g.stop() == 0
    g.start()
    g.wait_line("event=backend name=b0 .*state=up")
    assert attempt(g, "pop3", victim, PASSWORD)["result"] == "refused"
    assert attempt(g, "pop3", user, PASSWORD)["result"] == "ok"


def test_two_gateways_on_one_redis(gates, servers, tmp_path):
    redis = Redis(tmp_path / "redis")
    try:
        conf = f'state_store redis {{ address = "127.0.0.1:{redis.port}" }}'
        both = [gates(NETWORKS, conf), gates(NETWORKS, conf)]
        user, victim = servers.add(), servers.add()
        for g in both:
            assert attempt(g, "imap", victim, PASSWORD, CAFE)["result"] == "ok"
        assert attempt(both[0], "smtp", user, PASSWORD)["result"] == "ok"
        lines = [attempt(both[n % 2], MIX[n], victim) for n in range(5)]
        assert [x["failures"] for x in lines] == ["1", "2", "3", "4", "5"]
        for g in both:
            assert attempt(g, "pop3", victim, PASSWORD)["result"] == "refused"
            assert attempt(g, "pop3", user, PASSWORD)["result"] == "ok"
            assert attempt(g, "imap", victim, PASSWORD, CAFE)["result"] == "ok"
        # Redis has gone: nobody is locked out by that.
        redis.kill()
        for g in both:
            g.wait_line("event=state .*what=away")
            assert attempt(g, "imap", victim, PASSWORD)["result"] == "ok"
    finally:
        redis.stop()


# the administrator's command

def login(g, what, *names, check=True):
    return g.command("login", what, "-c", str(g.conf_path), *names, check=check)


def seen(g, *names, what="show"):
    return json.loads(login(g, what, "--json", *names).stdout)


def lock(g, victim, n=5):
    for _ in range(n):
        assert attempt(g, "smtp", victim)["result"] == "failed"


def test_unlock_a_network(gates, servers):
    g, user, victim = gates(NETWORKS, workers=2), servers.add(), servers.add()
    before = time.time()
    assert attempt(g, "smtp", user, PASSWORD)["result"] == "ok"
    lock(g, victim)
    for _ in range(4):
        assert attempt(g, "smtp", victim, PASSWORD)["result"] == "refused"
    one = seen(g, HOME)["networks"]
    assert [(x["network"], x["failures"], x["state"]) for x in one] == [(HOME, 5, "locked")]
    assert before - 1 <= one[0]["first"] <= one[0]["last"] <= time.time() and one[0]["until"] == one[0]["last"] + 900
    pair = seen(g, victim.upper(), HOME)
    assert pair["attempt"] == {"answer": "refused", "locked": "network", "delay_ms": 0}
    assert (pair["pair"]["known"], pair["pair"]["failures"], pair["account"]["failures"]) == (False, 5, 5)
    pair = seen(g, user, HOME)
    assert (pair["pair"]["known"], pair["attempt"]["answer"]) == (True, "slowed") and before - 1 <= pair["pair"]["last_login"] <= time.time()
    text = login(g, "show", HOME).stdout.decode()
    assert re.match(rf"network {HOME}: 5 failures since \d{{4}}-.*, the last at .*; LOCKED until \d{{4}}-\d\d-\d\d \d\d:\d\d:\d\d\n", text), text
    assert login(g, "unlock", HOME).stdout.decode() == f"network {HOME}: 5 failures forgotten\n"
    # All workers know, and begin to count anew.
    for n in range(6):
        line = attempt(g, "smtp", victim, PASSWORD, source=HOME)
        assert line["result"] == "ok" and "failures" not in line and "delayed_ms" not in line
    lines = [attempt(g, "smtp", "eve") for _ in range(6)]
    assert [x["result"] for x in lines] == ["failed"] * 5 + ["refused"] and lines[0]["failures"] == "1"


def test_unlock_an_account(gates, servers):
    g, user = gates(ACCOUNTS), servers.add()
    for n in range(6):
        assert attempt(g, "smtp", user, source=STRANGERS[n])["result"] == "failed"
    assert attempt(g, "pop3", user, PASSWORD, CAFE)["locked"] == "account"
    now = seen(g, user, CAFE)
    assert (now["account"]["state"], now["account"]["failures"], now["attempt"]["locked"]) == ("locked", 6, "account")
    # Not what he has failed there: that is nothing, and he is told who has locked him out.
    text = login(g, "unlock", user, CAFE).stdout.decode()
    assert text.startswith(f"{user} from {CAFE}: no failures forgotten\n") and f"account {user}: 6 failures" in text and "the account is locked" in text
    assert attempt(g, "pop3", user, PASSWORD, CAFE)["result"] == "refused"
    assert login(g, "unlock", f"EXAMPLE\\{user.upper()}").stdout.decode() == f"account {user}: 6 failures forgotten\n"
    assert attempt(g, "pop3", user, PASSWORD, CAFE)["result"] == "ok"


def test_unlock_a_user_at_an_address(gates, servers):
    """As if he had logged in, but for being known: others' failures there stay."""
    g, user, other = gates(NETWORKS), servers.add(), servers.add()
    lock(g, other, 1)
    lock(g, user, 4)
    assert attempt(g, "smtp", user, PASSWORD)["locked"] == "network"
    assert login(g, "unlock", user, HOME).stdout.decode() == f"{user} from {HOME}: 4 failures forgotten\n"
    now = seen(g, user, HOME)
    assert (now["networks"][0]["failures"], now["pair"]["known"], now["attempt"]["answer"]) == (1, False, "free")
    assert attempt(g, "imap", user, PASSWORD)["failures"] == "1"


@pytest.mark.parametrize("names", [[], [""], ["192.0.2.0/24"], ["2001:db8::/32"], ["ann", "bob"], ["ann", "2001:db8::/56"],
                                   ["ann", HOME, CAFE]])
def test_what_is_no_name(gates, names):
    g = gates(NETWORKS)
    for what in ("show", "unlock"):
        out = login(g, what, "--", *names, check=False)
        assert out.returncode == 1 and out.stderr.startswith(b"gatepost login") and not out.stdout, out


def test_unlock_while_no_gateway_runs(gates, servers):
    g, victim = gates(NETWORKS), servers.add()
    lock(g, victim)
    assert g.stop() == 0
    assert seen(g, HOME)["networks"][0]["state"] == "locked"
    now = seen(g, HOME, what="unlock")
    assert (now["before"]["networks"][0]["failures"], now["networks"][0]["failures"], now["attempt"]["answer"]) == (5, 0, "free")
    g.start()
    g.wait_line("event=backend name=b0 .*state=up")
    assert attempt(g, "smtp", victim, PASSWORD)["result"] == "ok"


def test_unlock_in_redis(gates, servers, tmp_path):
    """For all gateways that share it."""
    redis = Redis(tmp_path / "redis")
    try:
        conf = f'state_store redis {{ address = "127.0.0.1:{redis.port}" }}'
        both, victim = [gates(NETWORKS, conf), gates(NETWORKS, conf)], servers.add()
        lock(both[0], victim)
        for g in both:
            assert attempt(g, "smtp", victim, PASSWORD)["result"] == "refused"
            assert seen(g, victim, HOME)["networks"][0]["state"] == "locked"
        assert login(both[1], "unlock", HOME).stdout.decode() == f"network {HOME}: 5 failures forgotten\n"
        assert both[0].stop() == 0
        assert seen(both[0], victim)["account"]["failures"] == 5
        assert attempt(both[1], "smtp", victim, PASSWORD)["result"] == "ok"
        redis.kill()
        out = login(both[1], "show", HOME, check=False)
        assert out.returncode == 1 and b"Redis" in out.stderr
    finally:
        redis.stop()


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_who_hangs_up_does_not_wait(gates, servers, protocol):
    """A guess that is slowed down gives its place back when its client has gone; the server does not hear of it. What the client says meanwhile is no end."""
    g, user = gates('slow_after = 1 slow_by = "25s" account_slow_after = 0'), servers.add()
    assert attempt(g, "smtp", user)["result"] == "failed"
    asked, log, mark, begun = list(servers.asked), g.mark(), servers.mark(), time.monotonic()
    port = g.logins[protocol]
    if protocol == "imap":
        c = Imap(port, source=HOME)
        c.send(f'1 LOGIN "{user}" "{WRONG}"\r\n2 NOOP\r\n'.encode())
    elif protocol == "pop3":
        c = Pop3(port, source=HOME)
        c.ok(f"USER {user}".encode())
        c.send(f"PASS {WRONG}\r\nNOOP\r\n".encode())
    else:
        c = Client(port, source=HOME)
        c.ehlo()
        c.send(f"AUTH PLAIN {b64(chr(0) + user + chr(0) + WRONG)}\r\nNOOP\r\n".encode())
    with pytest.raises(TimeoutError):
        c.sock.settimeout(1.2)
        c.sock.recv(1)
    assert not [x for x in g.process.lines[log:] if "event=login " in x]
    c.close()
    line = parse_logfmt(g.wait_line(f"event=login .*protocol={protocol}", log))
    assert (line["result"], line["user"], line["client"]) == ("broken-off", user, HOME) and 1000 <= int(line["delayed_ms"]) < 10000
    if protocol != "smtp":
        assert parse_logfmt(g.wait_line(f"event={protocol} ", log))["end"] == "closed"
    assert time.monotonic() - begun < 20 and servers.asked == asked
    assert not [x for x in servers.process.lines[mark:] if "auth failed" in x and user in x]
    assert seen(g, HOME)["networks"][0]["failures"] == 1
