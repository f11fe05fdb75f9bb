"""Domains with servers of their own: one message for several of them, and which of them has a mailbox."""
import random
import re
import threading

import pytest

from lab.accounts import UNKNOWN, Accounts, Found
from lab.backend import Backend, Held, hang_up
from lab.recorder import Recorder
from lab.smtp import Client, Closed, mail

BOB, ORG, SUB = "bob@example.com", "carol@example.org", "dave@sub.example.org"
DOMAINS = ("example.com", "example.org", ".example.org")
ROUTES = 'domain "example.org" { backends = { "b1" } }\n'
POLICY = "accept\n"
LATER, NEVER = b"451 4.3.0 not now\r\n", b"554 5.6.0 not this\r\n"


@pytest.fixture
def two(lab, backend):
    """A gateway before two servers: example.com is at the first, example.org at the second."""
    def make(conf="", routes=ROUTES, policy=POLICY, keywords=(None, None), **kw):
        servers = [backend(**({"keywords": k} if k else {})) for k in keywords]
        return lab([s.port for s in servers], domains=DOMAINS, conf=routes + conf, policy=policy, **kw), *servers
    return make


def send(g, *rcpts, message=None, param="", bdat=False, sender="alice@sender.example"):
    """(codes of RCPT, the reply to the message or None)"""
    message = message or mail()
    with Client(g.port) as c:
        c.ehlo()
        c.expect(f"MAIL FROM:<{sender}>{param}", 250)
        codes = [c.cmd(f"RCPT TO:<{r}>").code for r in rcpts]
        if 250 not in codes:
            return codes, None
        if bdat:
            c.send(f"BDAT {len(message)} LAST\r\n".encode() + message)
            reply = c.reply()
        elif param:
            c.expect("DATA", 354)
            c.send(message + b".\r\n")
            reply = c.reply()
        else:
            reply = c.data_block(message)
        if reply.code == 353:
            return codes, [c.reply() for _ in range(codes.count(250) + 1)]
        c.expect("NOOP", 250)
        return codes, reply


def to(server):
    return sorted(r for m in server.messages for r in m.to)


# where mail goes

def test_each_domain_to_its_own(lab, backend):
    servers = [backend() for _ in range(3)]
    g = lab([s.port for s in servers], domains=DOMAINS, policy=POLICY,
            conf=ROUTES + 'domain ".example.org" { backends = { "b2" } }\n')
    for rcpt, name in ((BOB, "b0"), ("Carol@example.org", "b1"), (SUB, "b2")):
        assert send(g, rcpt)[1].code == 250
        assert g.verdict("accept", re.escape(rcpt))["backend"] == name
    assert [to(s) for s in servers] == [[BOB], ["Carol@example.org"], [SUB]]
    assert send(g, "x@elsewhere.example")[0] == [550]


def test_several_backends_of_a_domain_by_priority(lab, backend):
    servers = [backend() for _ in range(3)]
    g = lab([s.port for s in servers], domains=DOMAINS, policy=POLICY, conf='domain "example.org" { backends = { "b2", "b1" } }\n')
    assert send(g, ORG)[1].code == 250 and to(servers[1]) == [ORG]          # the lower number
    servers[1].stop()
    assert send(g, ORG)[1].code == 250 and to(servers[2]) == [ORG]
    assert send(g, BOB)[1].code == 250 and to(servers[0]) == [BOB]


def test_what_is_offered_is_what_all_can(two):
    g, _, b = two(keywords=(None, ("PIPELINING", "SIZE 1000000", "8BITMIME", "ENHANCEDSTATUSCODES")))
    with Client(g.port) as c:
        words = c.ehlo().keywords()
        assert "8BITMIME" in words and not {"SMTPUTF8", "DSN"} & set(words) and int(words["SIZE"]) <= 1000000
        c.expect("MAIL FROM:<alice@sender.example> SMTPUTF8", 553)
        c.expect("MAIL FROM:<alice@sender.example> SIZE=1000001", 552)


# one message for two

@pytest.mark.parametrize("bdat", [False, True])
def test_one_message_two_servers(two, bdat):
    g, a, b = two()
    message = mail(body="..\r\nA line.\r\n")
    codes, reply = send(g, BOB, ORG, "x@example.com", "y@example.org", message=message if not bdat else mail(), bdat=bdat)
    assert codes == [250] * 4 and reply.code == 250
    assert to(a) == [BOB, "x@example.com"] and to(b) == [ORG, "y@example.org"]
    assert len(a.messages) == len(b.messages) == 1
    assert g.verdict("accept", BOB)["backend"] == "b0" and g.verdict("accept", ORG)["backend"] == "b1"
    assert a.messages[0].data.split(b"\r\n\r\n", 1)[1] == b.messages[0].data.split(b"\r\n\r\n", 1)[1]


def test_a_real_server_and_a_recorder(lab, postfix):
    with Recorder() as other:
        g = lab([postfix.port, other.port], domains=DOMAINS, policy=POLICY, conf=ROUTES)
        codes, reply = send(g, BOB, "nobody@example.com", ORG)
        assert codes == [250, 550, 250] and reply.code == 250
        postfix.wait_message(BOB)
        assert other.wait().rcpts == [b"RCPT TO:<carol@example.org>\r\n"]


def test_refused_at_rcpt_by_one(two):
    g, a, b = two()
    b.users = ["y@example.org"]
    codes, reply = send(g, ORG, BOB)
    assert codes == [550, 250] and reply.code == 250
    assert to(a) == [BOB] and to(b) == []
    assert g.verdict("backend-refused", ORG)["backend"] == "b1"
    codes, reply = send(g, ORG, "y@example.org")
    assert codes == [550, 250] and to(b) == ["y@example.org"]


def test_one_is_away_at_rcpt(two):
    g, a, b = two()
    b.stop()
    codes, reply = send(g, BOB, ORG)
    assert codes == [250, 451] and reply.code == 250
    assert to(a) == [BOB]


@pytest.mark.parametrize("how", ["stop", "cut", "changed"])
def test_nobody_gets_it_before_all_are_asked(two, how):
    """What breaks between RCPT and the message is noticed while nobody has it."""
    g, a, b = two()
    with Client(g.port) as c:
        c.ehlo()
        assert [r.code for r in c.envelope("alice@sender.example", BOB, ORG)] == [250, 250]
        c.expect("DATA", 354)
        if how == "stop":
            b.stop()
        else:
            b.cut("alice@sender.example")       # not the session in which it is asked whether it takes everybody: it would be away
            if how == "changed":
                b.script["RCPT"] = b"550 5.1.1 gone\r\n"
        c.send(mail() + b".\r\n")
        reply = c.reply()
    if how == "cut":
        assert reply.code == 250 and to(a) == [BOB] and to(b) == [ORG]
    else:
        assert reply.code == 451 and not a.messages and not b.messages


@pytest.mark.parametrize("bdat", [False, True])
def test_one_defers_after_the_other_took_it(two, bdat):
    g, a, b = two()
    b.script["."] = b.script["BDAT"] = LATER
    codes, reply = send(g, BOB, ORG, bdat=bdat)
    assert codes == [250, 250] and reply.code == 451
    assert to(a) == [BOB] and len(b.messages) == 1
    b.messages.clear()
    b.script.clear()
    codes, reply = send(g, BOB, ORG, bdat=bdat)     # the client comes again, for both
    assert codes == [250, 250] and reply.code == 250
    assert to(a) == [BOB] and to(b) == [ORG]


def test_one_is_away_at_the_retry(two):
    """Those who have it are alone in the retry, and get it no second time; nor is the same mail kept from them when it is sent again after all."""
    g, a, b = two()
    b.script["."] = b.script["BDAT"] = LATER
    assert send(g, BOB, ORG)[1].code == 451
    b.script["RCPT"] = LATER
    codes, reply = send(g, BOB, ORG)
    assert codes == [250, 451] and reply.code == 250
    assert to(a) == [BOB]
    b.script.clear()
    b.messages.clear()
    assert send(g, ORG)[1].code == 250
    assert to(a) == [BOB] and to(b) == [ORG]
    assert send(g, BOB)[1].code == 250
    assert to(a) == [BOB, BOB]


def test_a_retry_that_was_served_leaves_no_entry(two):
    g, a, b = two()
    b.script["."] = b.script["BDAT"] = LATER
    assert send(g, BOB, ORG)[1].code == 451
    b.script.clear()
    assert send(g, BOB, ORG)[1].code == 250
    assert to(a) == [BOB]
    assert send(g, BOB)[1].code == 250
    assert to(a) == [BOB, BOB]


def test_one_defers_before_anybody_has_it(two):
    g, a, b = two()
    a.script["."] = a.script["BDAT"] = LATER
    assert send(g, BOB, ORG)[1].code == 451 and not b.messages
    a.script.clear()
    a.messages.clear()
    assert send(g, BOB, ORG)[1].code == 250
    assert to(a) == [BOB] and to(b) == [ORG]


def test_one_vanishes_at_the_dot(two):
    """Perhaps it has it: delivered again, and the other is spared."""
    g, a, b = two()
    b.script["."] = b.script["BDAT"] = hang_up()
    assert send(g, BOB, ORG)[1].code == 451
    g.verdict("perhaps-delivered", ORG)
    b.script.clear()
    assert send(g, BOB, ORG)[1].code == 250
    assert to(a) == [BOB] and to(b) == [ORG, ORG]


def test_one_refuses_what_the_other_took(two):
    """The sender cannot be told of one alone, and a bounce could go to anybody: it is kept. The next time that one is asked first."""
    g, a, b = two()
    b.script["."] = b.script["BDAT"] = NEVER
    codes, reply = send(g, BOB, ORG)
    assert codes == [250, 250] and reply.code == 250
    assert to(a) == [BOB] and len(g.quarantined()) == 1
    line = g.verdict("quarantine")
    assert line["to"] == f"<{ORG}>" and "not this" in line["reply"] and line["backend"] == "b1"
    shown = g.command("quarantine", "show", "-c", str(g.conf_path), line["quarantine"]).stdout.decode()
    assert "by b1, after others had taken it: 554 5.6.0 not this" in shown and f"to         <{ORG}>" in shown
    codes, reply = send(g, BOB, ORG, message=mail(subject="again"))
    assert reply.code == 554 and to(a) == [BOB] and len(g.quarantined()) == 1
    b.script.clear()
    b.messages.clear()
    g.command("quarantine", "release", "-c", str(g.conf_path), line["quarantine"])
    assert to(a) == [BOB] and to(b) == [ORG]


def test_a_retry_that_is_refused_for_good(two):
    g, a, b = two()
    b.script["."] = b.script["BDAT"] = LATER
    assert send(g, BOB, ORG)[1].code == 451
    b.script["."] = b.script["BDAT"] = NEVER
    assert send(g, BOB, ORG)[1].code == 250
    assert to(a) == [BOB] and len(g.quarantined()) == 1


def test_prdr_tells_each_its_own(two):
    g, a, b = two()
    b.script["."] = b.script["BDAT"] = NEVER
    codes, replies = send(g, BOB, ORG, "x@example.com", param=" PRDR")
    assert [r.code for r in replies] == [250, 554, 250, 250] and not g.quarantined()
    b.script["."] = b.script["BDAT"] = LATER
    codes, replies = send(g, ORG, BOB, param=" PRDR", message=mail(subject="later"))
    assert [r.code for r in replies] == [451, 250, 250]
    b.script.clear()
    b.messages.clear()
    codes, replies = send(g, ORG, BOB, param=" PRDR", message=mail(subject="later"))
    assert [r.code for r in replies] == [250, 250, 250] and to(b) == [ORG]


def test_three_servers_one_of_each_kind(lab, backend):
    """The first that is asked takes it, the second refuses it for good, the third defers: nothing is lost, and nobody has it twice."""
    a, b, d = (backend() for _ in range(3))
    g = lab([a.port, b.port, d.port], domains=DOMAINS, policy=POLICY, conf=ROUTES + 'domain ".example.org" { backends = { "b2" } }\n')
    b.script["."] = b.script["BDAT"] = NEVER
    d.script["."] = d.script["BDAT"] = LATER
    assert send(g, BOB, ORG, SUB)[1].code == 451
    assert to(a) == [BOB] and len(g.quarantined()) == 1
    d.script.clear()
    d.messages.clear()
    assert send(g, BOB, ORG, SUB)[1].code == 250
    assert to(a) == [BOB] and to(d) == [SUB] and len(g.quarantined()) == 1 and len(b.messages) == 1


def test_the_gateway_dies_between_two_servers(two):
    """The worker is killed when one has the message and the other has not answered: the retry goes to both, and nothing is lost."""
    g, a, b = two()
    b.script["."] = b.script["BDAT"] = held = Held()
    with Client(g.port) as c:
        c.ehlo()
        assert [r.code for r in c.envelope("alice@sender.example", BOB, ORG)] == [250, 250]
        c.expect("DATA", 354)
        c.send(mail() + b".\r\n")
        assert held.reached.wait(30)
        g.kill_child("gp-worker 1")
        assert c.closed()
    held.go.set()
    b.script.clear()
    b.messages.clear()
    assert send(g, BOB, ORG)[1].code == 250
    assert to(a) == [BOB, BOB] and to(b) == [ORG]


def test_no_more_than_eight(lab, backend):
    servers = [backend() for _ in range(10)]
    domains = [f"d{i}.example" for i in range(10)]
    g = lab([s.port for s in servers], domains=domains, policy=POLICY,
            conf="".join(f'domain "{d}" {{ backends = {{ "b{i}" }} }}\n' for i, d in enumerate(domains)))
    codes, reply = send(g, *(f"x@{d}" for d in domains), "y@d0.example")
    assert codes == [250] * 8 + [452] * 2 + [250] and reply.code == 250
    assert [len(s.messages) for s in servers] == [1] * 8 + [0] * 2
    assert to(servers[0]) == ["x@d0.example", "y@d0.example"]


def test_rules_lead_elsewhere(two):
    g, a, b = two(policy=f'redirect to "new@example.org" if rcpt = "{BOB}"\ncopy to "{SUB}" if rcpt = "copied@example.com"\n'
                         'copy to "archive@example.com" if rcpt = "z@example.org"\naccept\n',
                  routes=ROUTES + 'domain ".example.org" { backends = { "b1" } }\n')
    assert send(g, BOB)[1].code == 250
    assert to(a) == [] and to(b) == ["new@example.org"]
    assert send(g, "copied@example.com", "z@example.org", message=mail(subject="copies"))[1].code == 250
    assert to(a) == ["archive@example.com", "copied@example.com"] and to(b) == sorted(["new@example.org", SUB, "z@example.org"])


def test_reload_and_workers(two):
    g, a, b = two(workers=2)
    for n in range(4):
        assert send(g, ORG, message=mail(subject=f"one {n}"))[1].code == 250
    assert len(b.messages) == 4 and not a.messages
    g.write_conf(conf='domain "example.org" { backends = { "b0" } }\n')
    mark = g.mark()
    g.process.proc.send_signal(1)
    g.wait_line(r"event=reload", mark)
    g.wait_notify("READY=1")
    for n in range(4):
        assert send(g, ORG, message=mail(subject=f"two {n}"))[1].code == 250
    assert len(a.messages) == 4 and len(b.messages) == 4


# who has a mailbox

LEARN = 'domain "example.org" { backends = { "b0", "b1" } learn = yes }\n'


@pytest.fixture
def migration(lab, backend):
    """Two servers that share example.org: users of each."""
    def make(new=("new@example.org",), old=("old@example.org",), conf="", **kw):
        servers = [backend(users=None if u is None else list(u)) for u in (new, old)]
        kw.setdefault("policy", POLICY)
        return lab([s.port for s in servers], domains=DOMAINS, conf=LEARN + conf, **kw), *servers
    return make


def asked(server, address):
    """How often the server was asked for that address."""
    return sum(c.startswith(f"RCPT TO:<{address}>") for s in server.sessions for c in s.commands)


def random_asked(*servers):
    """They have been asked for an address made up at random, and have answered: before that nothing is learnt of the one that is asked last."""
    for server in servers:
        server.wait(lambda: any(c.startswith("RCPT TO:<gatepost-") for s in server.sessions for c in s.commands[:s.answered]), "asked whether it takes everybody")


def test_learnt_by_asking(migration):
    g, new, old = migration()
    for n in range(3):
        codes, reply = send(g, "new@example.org", "old@example.org", "nobody@example.org", message=mail(subject=f"m {n}"))
        assert codes == [250, 250, 550] and reply.code == 250
        random_asked(new, old)
    assert to(new) == ["new@example.org"] * 3 and to(old) == ["old@example.org"] * 3
    g.wait_line("event=owner .*recipient=old@example.org .*what=learnt")
    before = asked(new, "old@example.org")
    assert send(g, "old@example.org", message=mail(subject="more"))[1].code == 250
    assert asked(new, "old@example.org") == before and before < 3       # nobody else is asked any more
    line = g.verdict("backend-refused", "nobody@example.org")
    assert line["reply"].startswith("550 5.1.1 ")
    cleared = g.command("recipients", "-c", str(g.conf_path), "clear").stdout
    assert int(cleared.split()[0]) >= 2
    assert send(g, "old@example.org", message=mail(subject="asked again"))[1].code == 250
    assert asked(new, "old@example.org") == before + 1


def test_a_mailbox_moves(migration):
    g, new, old = migration()
    for n in range(3):
        send(g, "old@example.org", message=mail(subject=f"m {n}"))
        random_asked(old)
    g.wait_line("event=owner .*what=learnt")
    new.users.append("old@example.org")
    old.users.clear()
    codes, reply = send(g, "old@example.org", message=mail(subject="moved"))
    assert codes == [250] and reply.code == 250 and to(new) == ["old@example.org"]
    g.wait_line("event=owner .*what=forgotten")
    before = asked(old, "old@example.org")
    assert send(g, "old@example.org", message=mail(subject="moved again"))[1].code == 250
    assert asked(old, "old@example.org") == before and len(new.messages) == 2


@pytest.mark.parametrize("away", [0, 1])
def test_one_is_away(migration, away):
    """Who is known is asked; of whom nobody knows it is never said that he does not exist."""
    g, *servers = migration()
    names = ["new@example.org", "old@example.org"]
    for n in range(3):
        send(g, *names, message=mail(subject=f"m {n}"))
        random_asked(*servers)
    g.wait_line(r"event=owner .*owner=b0 .*what=learnt")
    g.wait_line(r"event=owner .*owner=b1 .*what=learnt")
    servers[away].stop()
    there = 1 - away
    codes, reply = send(g, *names, "nobody@example.org", message=mail(subject="away"))
    assert codes[there] == 250 and codes[away] == 451 and codes[2] == 451 and reply.code == 250
    assert len(servers[there].messages) == 4


def test_other_words_than_unknown(migration):
    g, new, old = migration()
    full = b"552 5.2.2 mailbox full\r\n"
    old.script["RCPT"] = lambda s, line: full if "full@" in line else None
    new.script["RCPT"] = lambda s, line: b"450 4.2.0 wait\r\n" if "slow@" in line else None
    codes, _ = send(g, "full@example.org", "slow@example.org")
    assert codes == [552, 450]


def test_catch_all_stands_last(migration):
    """It gets what the others do not know, is not remembered, and says nothing while one before it is away."""
    g, new, old = migration(old=None)
    for n in range(3):
        assert send(g, "old@example.org", message=mail(subject=f"m {n}"))[1].code == 250
    assert len(old.messages) == 3
    g.wait_line("accepts an address made up at random")
    assert send(g, "old@example.org", message=mail(subject="m 4"))[1].code == 250
    new.users.append("old@example.org")             # it moves, without a word from the catch-all
    assert send(g, "old@example.org", message=mail(subject="m 5"))[1].code == 250
    assert to(new) == ["old@example.org"]
    new.stop()
    assert send(g, "other@example.org", message=mail(subject="m 6"))[0] == [451]


def test_one_that_accepts_all_and_stands_first_is_warned_of(migration):
    g, new, old = migration(new=None)
    assert send(g, "old@example.org")[1].code == 250
    assert to(new) == ["old@example.org"]
    g.wait_line("which server has a mailbox cannot be learnt from it")


def test_a_callout_host_is_not_asked_of_others(two, backend):
    """It would say that there is no such user, or that it does not relay, and then no answer of its would count for a while."""
    other = backend(users=[BOB])
    g, a, b = two(conf=f'recipients {{ verify = callout callout = "127.0.0.1:{other.port}" }}\n')
    codes, reply = send(g, BOB, "nobody@example.com", ORG)
    assert codes == [250, 550, 250] and reply.code == 250
    assert to(a) == [BOB] and to(b) == [ORG]
    assert not any(ORG in c for s in other.sessions for c in s.commands)


def test_a_pair_is_one_owner(lab, backend):
    new1, new2, old = (backend(users=u) for u in (["a@example.org"], ["a@example.org"], ["b@example.org"]))
    g = lab([new1.port, new2.port, old.port], domains=DOMAINS, policy=POLICY,
            conf='domain "example.org" { backends = { "b0 b1", "b2" } learn = yes }\n')
    assert send(g, "a@example.org", "b@example.org", message=mail(subject="1"))[0] == [250, 250]
    new1.stop()
    assert send(g, "a@example.org", message=mail(subject="2"))[1].code == 250
    assert to(new2) == ["a@example.org"] and to(old) == ["b@example.org"]


def test_redirect_to_a_domain_that_is_learnt(migration):
    g, new, old = migration(policy='redirect to "old@example.org" if rcpt = "new@example.org"\naccept\n')
    assert send(g, "new@example.org")[1].code == 250
    assert to(old) == ["old@example.org"] and to(new) == []


# the spool

def spool_conf(g_dir, names):
    path = g_dir / "recipients"
    path.write_text("".join(f"{n}\n" for n in names))
    return f'recipients {{ verify = file file = "{path}" }}\nspool {{ retry_min = 500ms }}\n'


def test_the_part_of_one_that_is_away_waits(two, tmp_path):
    g, a, b = two(conf=spool_conf(tmp_path, [BOB, ORG]), backend_options="spool = yes probe_interval = 1s")
    b.stop()
    codes, reply = send(g, BOB, ORG)
    assert codes == [250, 250] and reply.code == 250
    assert to(a) == [BOB]
    assert g.verdict("spool")["to"] == f"<{ORG}>"
    listed = g.command("spool", "list", "-c", str(g.conf_path)).stdout.decode()
    assert "owner b1" in listed
    with Client(g.port) as c:
        c.ehlo()
        for name in ("#backend", "example.org"):
            assert " 1 pending" in c.etrn(name).text
    b.listen()
    b.wait_messages(1)
    assert to(b) == [ORG] and to(a) == [BOB]


def test_one_moves_while_his_mail_waits(migration, tmp_path):
    g, new, old = migration(conf=spool_conf(tmp_path, ["new@example.org", "old@example.org"]), backend_options="spool = yes probe_interval = 1s")
    for n in range(3):
        send(g, "old@example.org", message=mail(subject=f"m {n}"))
        random_asked(old)
    g.wait_line("event=owner .*owner=b1 .*what=learnt")
    old.stop()
    assert send(g, "old@example.org", message=mail(subject="waits"))[1].code == 250
    g.verdict("spool")
    new.users.append("old@example.org")
    old.users.clear()
    old.listen()
    new.wait_messages(1)
    g.wait_line("result=delivered .*old@example.org")
    assert to(new) == ["old@example.org"]


def test_a_catch_all_gets_nothing_while_another_is_away(lab, backend, tmp_path):
    """He has moved to one that does not answer: the word of the one that takes everybody means nothing until it does."""
    user = "user@example.org"
    first, second, catch_all = backend(users=[user]), backend(users=[]), backend()
    g = lab([s.port for s in (first, second, catch_all)], domains=DOMAINS, policy=POLICY, backend_options="spool = yes probe_interval = 1s",
            conf='domain "example.org" { backends = { "b0", "b1", "b2" } learn = yes }\n' + spool_conf(tmp_path, [user]))
    assert send(g, user)[1].code == 250
    g.wait_line("event=owner .*owner=b0 .*what=learnt")
    first.stop()
    assert send(g, user, message=mail(subject="waits"))[1].code == 250
    g.verdict("spool")
    second.stop()
    second.users.append(user)
    first.users.clear()
    mark = g.mark()
    first.listen()
    g.wait_line("event=backend name=b0 .*state=up", mark)
    while asked(first, user) < 2:       # at the attempt that it has come back for, or the next
        assert "result=later" in g.wait_line("event=spool result=.*user@example.org", mark)
        mark = g.mark()
    assert not catch_all.messages
    second.listen()
    second.wait_messages(1)
    assert to(second) == [user] and not catch_all.messages


def test_spooled_for_a_domain_whose_servers_changed(two, tmp_path):
    g, a, b = two(conf=spool_conf(tmp_path, [BOB, ORG]), backend_options="spool = yes probe_interval = 1s")
    b.stop()
    assert send(g, ORG)[1].code == 250
    g.verdict("spool")
    conf = g.settings["conf"].replace(ROUTES, 'domain "example.org" { backends = { "b0" } }\n')
    assert conf != g.settings["conf"]
    g.write_conf(conf=conf)
    g.process.proc.send_signal(1)
    g.wait_notify("READY=1")
    a.wait_messages(1)
    assert to(a) == [ORG]


# faults under load

class Flaky(Backend):
    """A server that refuses, defers and hangs up at random places; what it has said 250 to is in `kept`."""

    def __init__(self, seed):
        self.chance = random.Random(seed)
        self.kept = []
        self.calm = False
        super().__init__()
        self.script = {"RCPT": self.rcpt, ".": self.end, "BDAT": self.end, "MAIL": self.rcpt}

    def roll(self, limit):
        return not self.calm and self.chance.random() < limit

    def rcpt(self, session, line):
        if self.roll(0.04):
            return b"451 4.3.0 not now\r\n"
        if self.roll(0.03):
            hang_up()()
        return None

    def end(self, session, line):
        if self.roll(0.1):
            return b"451 4.3.0 not now\r\n"
        if self.roll(0.05):
            hang_up()()             # nobody has it
        self.kept.append(Found(self.messages[-1].data if session is None else self.of(session), self.to(session)))
        if self.roll(0.05):
            hang_up()()             # and nobody hears of it
        return None

    def of(self, session):
        return next(m for m in reversed(self.messages) if m.session is session).data

    def to(self, session):
        return next(m for m in reversed(self.messages) if m.session is session).to


ONE_EACH = "max_sessions = 1 max_sessions_wait = 20s"


def test_two_that_wait_for_each_other(two):
    """Each holds the one session that the other needs: what is held is given back, and both arrive."""
    g, a, b = two(backend_options=ONE_EACH)
    with Client(g.port) as first, Client(g.port) as second:
        first.ehlo()
        second.ehlo()
        first.envelope("alice@sender.example", BOB)
        second.envelope("alice@sender.example", ORG)
        first.send(f"RCPT TO:<{ORG}>\r\n".encode())
        second.send(f"RCPT TO:<{BOB}>\r\n".encode())
        assert first.reply().code == 250 and second.reply().code == 250
        for c in (first, second):
            c.send(b"DATA\r\n")
        for c in (first, second):
            assert c.reply().code == 354
        for n, c in enumerate((first, second)):
            c.send(mail(subject=f"of {n}") + b".\r\n")
        for c in (first, second):
            assert c.reply().code == 250
    assert to(a) == [BOB, BOB] and to(b) == [ORG, ORG]


def test_two_legs_that_share_a_server(two):
    """It takes one session: the second leg does not wait for the first one's."""
    g, a, b = two(backend_options=ONE_EACH, routes='domain "example.org" { backends = { "b0", "b1" } }\ndomain "example.com" { backends = { "b0" } }\n')
    assert send(g, BOB, ORG)[1].code == 250
    assert sorted(m.to for m in a.messages) == [[BOB], [ORG]] and not b.messages


def test_a_redirect_to_a_server_that_is_held(two):
    """The transaction holds the one session there itself."""
    g, a, b = two(policy=f'redirect to "new@example.org" if rcpt = "{BOB}"\ncopy to "archive@example.org" if rcpt = "{BOB}"\naccept\n', backend_options=ONE_EACH)
    assert send(g, BOB, "z@example.com", ORG)[1].code == 250
    assert to(a) == ["z@example.com"] and to(b) == ["archive@example.org", ORG, "new@example.org"]


@pytest.mark.parametrize("options", ["", "max_sessions = 2 max_sessions_wait = 200ms"])
def test_nothing_is_lost_under_load(lab, request, options):
    """With few sessions, messages hold one and wait for the other's: not for ever."""
    servers = [Flaky(n) for n in (1, 2)]
    for s in servers:
        request.addfinalizer(s.stop)
    g = lab([s.port for s in servers], domains=DOMAINS, policy=POLICY, conf=ROUTES, workers=2, backend_options=f"probe_interval = 1s {options}")
    books = Accounts()

    def attempt(entry):
        left = entry.left()
        try:
            with Client(g.port) as c:
                c.ehlo()
                c.expect(f"MAIL FROM:<{entry.sender}>", 250)
                taken = []
                for r in left:
                    code = c.cmd(f"RCPT TO:<{r}>").code
                    if code == 250:
                        taken.append(r)
                    else:
                        books.refuse(entry, r, code)
                if not taken:
                    return
                try:
                    code = c.data_block(entry.data).code
                except (Closed, TimeoutError):
                    code = UNKNOWN
                books.answer(entry, {r: code for r in taken})
        except (Closed, OSError, AssertionError):
            pass

    def client(number):
        for n in range(12):
            entry = books.write(f"c{number}@sender.example", [f"u{n}@example.com", f"u{n}@example.org"][::1 if number % 2 else -1])
            for _ in range(30):
                attempt(entry)
                if not entry.left():
                    break

    threads = [threading.Thread(target=client, args=(n,)) for n in range(6)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    for s in servers:
        s.calm = True
    for entry in books.entries.values():
        for _ in range(200):
            if not entry.left():
                break
            attempt(entry)
    balance = books.balance({"a": servers[0].kept, "b": servers[1].kept})
    print(balance)
    balance.check()
    assert balance.open == 0 and balance.acknowledged == 2 * 72


# commands

def test_commands_know(migration):
    g, new, old = migration()
    text = g.explain(mail(), to="x@example.org")
    assert "b0, or b1: asked in this order who has the mailbox (section domain example.org)" in text
    assert g.explain_json(mail(), to="x@example.org")[0]["servers"] == ["b0", "b1"]
    assert g.explain_json(mail())[0]["servers"] is None
    for s in (new, old):
        s.users = None
    told = g.command("check", "--live", "-c", str(g.conf_path), check=False).stdout.decode()
    assert len(re.findall(r"example\.org: an address that nobody has is taken \(accept-all\): which server has", told)) == 1
    assert len(re.findall(r"example\.org: it takes any address \(accept-all\), and gets what the other servers", told)) == 1


def test_what_is_held_is_released_to_who_has_it(migration):
    g, new, old = migration(policy='quarantine if header.subject = "held"\naccept\n')
    assert send(g, "old@example.org", "new@example.org", message=mail(subject="held"))[1].code == 250
    assert not new.messages and not old.messages
    kept = g.verdict("quarantine")["quarantine"]
    assert b"released" in g.command("quarantine", "release", "-c", str(g.conf_path), kept).stdout
    assert to(new) == ["new@example.org"] and to(old) == ["old@example.org"]


def test_what_is_held_is_released_to_who_is_remembered(migration):
    """The first in the list begins to say 250 to everybody: it gets nothing that is known to be another's. Who has moved is found all the same."""
    g, new, old = migration(policy='quarantine if header.subject = "held"\naccept\n')
    send(g, "new@example.org", "old@example.org")
    random_asked(new, old)
    send(g, "new@example.org", "old@example.org")
    g.wait_line("event=owner .*recipient=old@example.org .*what=learnt")
    for m in (new.messages, old.messages):
        m.clear()
    held = []
    for _ in range(2):
        mark = g.mark()
        assert send(g, "old@example.org", message=mail(subject="held"))[1].code == 250
        held.append(g.verdict("quarantine", since=mark)["quarantine"])
    new.users = None
    assert b"released" in g.command("quarantine", "release", "-c", str(g.conf_path), held[0]).stdout
    assert to(old) == ["old@example.org"] and not new.messages
    old.users = ["another@example.org"]
    assert b"released" in g.command("quarantine", "release", "-c", str(g.conf_path), held[1]).stdout
    assert to(old) == to(new) == ["old@example.org"]
