"""Greylisting: the first attempt waits, the second passes; by network, by SPF domain, by DKIM domain; what is known outlives everything."""
import contextlib
import itertools
import json
import re
import sqlite3
import time

import pytest

from lab.process import WAIT_S
from lab.sign import signed
from lab.smtp import Client, mail

POLICY = "greylist all: if helo.kind = domain\naccept\n"
CONF = 'greylist { delay = "1s" auto_passes = 0 }'


def attempt(g, source="127.0.0.1", sender="a@sender.example", rcpt="bob@example.com", host="127.0.0.1"):
    with Client(g.port, source=source, host=host) as c:
        c.ehlo()
        return c.envelope(sender, rcpt)[0]


def wait_s(reply):
    assert reply.code == 451 and "greylisted" in reply.text, reply
    return int(re.search(r"in (\d+) seconds", reply.text)[1])


def pass_after(reply, again):
    """Comes again when the reply says; returns the answer."""
    time.sleep(wait_s(reply))
    return again()


def records(g, space):
    """Keys of the state on disk, once there are any: what is written is committed a little later."""
    end = time.monotonic() + WAIT_S
    while True:
        with contextlib.closing(sqlite3.connect(f"file:{g.state}/state/state.db?mode=ro", uri=True)) as db:
            keys = [str(row[0]) for row in db.execute("SELECT key FROM state WHERE space = ?", (space,))]
        if keys:
            return keys
        assert time.monotonic() < end, "nothing is written"
        time.sleep(0.01)


@pytest.fixture
def grey(lab, backend):
    return lab([backend().port], policy=POLICY, conf=CONF)


def test_too_early(lab, backend):
    """An hour, so that no attempt of ours looks late."""
    g = lab([backend().port], policy=POLICY, conf='greylist { delay = "1h" auto_passes = 0 }')
    assert wait_s(attempt(g)) == 3600
    assert g.verdict("greylist")["to"] == "<bob@example.com>"
    assert 3000 < wait_s(attempt(g)) <= 3600                       # too early
    assert wait_s(attempt(g, rcpt="carol@example.com")) == 3600     # another recipient is another triplet
    assert wait_s(attempt(g, sender="b@sender.example")) == 3600    # so is another sender
    assert wait_s(attempt(g, source="127.0.1.1")) == 3600           # and another network


def test_first_waits_and_second_passes(grey):
    g = grey
    first = attempt(g)
    assert wait_s(first) == 1
    assert pass_after(first, lambda: attempt(g)).code == 250
    assert attempt(g).code == 250                               # at once from now on
    assert attempt(g, source="127.0.0.77").code == 250          # and from the same /24
    assert wait_s(attempt(g, source="127.0.1.1")) == 1          # not from another network


def test_survives_a_restart(grey):
    g = grey
    first = attempt(g)
    wait_s(first)
    assert g.stop() == 0
    g.start()
    assert pass_after(first, lambda: attempt(g)).code == 250
    assert g.stop() == 0
    g.start()
    assert attempt(g).code == 250


def test_a_pool_with_spf_is_one_client(lab, backend):
    """deep.example says ip4:127.0.0.26; a second network of the same domain is needed to tell."""
    g = lab([backend().port], policy=POLICY, conf=CONF)
    first = attempt(g, source="127.0.0.41", sender="x@pool.example")
    wait_s(first)
    assert pass_after(first, lambda: attempt(g, source="127.0.5.41", sender="x@pool.example")).code == 250
    keys = records(g, "grey")
    assert all("spf:pool.example" in k for k in keys), keys


def test_a_dkim_domain_that_passed_counts_at_the_next_rcpt(lab, backend):
    """A first message passes DKIM from one network, and from another: then both are that domain to the greylist."""
    server = backend()
    g = lab([server.port], policy='greylist all: if helo.kind = domain and not helo = "known.example"\naccept\n', conf=CONF)
    message = signed(mail("news@good.example", subject="signed"))
    for source in ("127.0.0.25", "127.0.7.25"):
        with Client(g.port, source=source) as c:
            assert c.message("news@bounces.example", "bob@example.com", message, helo="known.example").code == 250
            c.cmd("NOOP")       # what was learnt is written before the next command is read
    first = attempt(g, source="127.0.0.25", sender="news@bounces.example")
    wait_s(first)
    assert pass_after(first, lambda: attempt(g, source="127.0.7.25", sender="news@bounces.example")).code == 250


def test_auto_passes(lab, backend):
    """After so many passes the whole network is known, whoever writes to whom."""
    g = lab([backend().port], policy=POLICY, conf='greylist { delay = "1s" auto_passes = 1 }')
    first = attempt(g)
    assert wait_s(attempt(g, sender="c@sender.example", rcpt="carol@example.com")) == 1
    assert pass_after(first, lambda: attempt(g)).code == 250
    assert attempt(g, sender="d@sender.example", rcpt="dave@example.com").code == 250


def test_postmaster_and_unknown_users_do_not_wait(lab, backend):
    g = lab([backend(users=["bob@example.com", "postmaster@example.com"]).port], policy=POLICY, conf=CONF)
    assert attempt(g, rcpt="postmaster@example.com").code == 250
    assert attempt(g, rcpt="nobody@example.com").code == 550


def test_the_state_keeper_dies(grey):
    """Mail flows meanwhile, and what was known is known afterwards."""
    g = grey
    first = attempt(g)
    wait_s(first)
    records(g, "grey")          # what is not committed yet would be lost with it
    mark = g.mark()
    g.kill_child("gp-state")
    with Client(g.port) as c:
        reply = c.message("meanwhile@sender.example", "bob@example.com", mail())
    assert reply.code in (250, 451), reply
    if reply.code == 250:
        assert "greylist=unavailable" in g.wait_line("verdict=accept .*meanwhile@sender.example", mark)
    end = time.monotonic() + WAIT_S
    for n in itertools.count():
        if (reply := attempt(g, sender=f"new{n}@sender.example")).code != 250:
            break               # it is there again
        assert time.monotonic() < end, reply
    assert wait_s(reply) == 1
    assert pass_after(first, lambda: attempt(g)).code == 250


def test_by_64_for_ipv6(lab, backend, own_network):
    with own_network(["2001:db8:1:1::1", "2001:db8:1:1:ffff::2", "2001:db8:1:2::1"]) as net:
        def run():
            g = lab([backend().port], policy=POLICY, dns=None, dns_conf='local_zone = { ". static" } forward = { "127.0.0.1:9" }',
                    conf=CONF + f'\nlistener six {{ address = "[::]:{net.port}" }}\nlimits {{ sessions_per_client = 3 }}')

            def six(source, **kw):
                with Client(net.port, source=source, host="2001:db8:1:1::1") as c:
                    c.ehlo()
                    return c.envelope(kw.get("sender", "a@sender.example"), "bob@example.com")[0]

            first = six("2001:db8:1:1::1")
            assert wait_s(first) == 1
            assert pass_after(first, lambda: six("2001:db8:1:1:ffff::2")).code == 250
            assert wait_s(six("2001:db8:1:2::1")) == 1
            # sessions are counted by /64, too, and those of before have ended
            end = time.monotonic() + WAIT_S
            while json.loads(g.command("status", "-c", str(g.conf_path)).stdout)["limits"]["smtp_sessions"]:
                assert time.monotonic() < end
            many = [Client(net.port, source=s, host="2001:db8:1:1::1", greeting=False)
                    for s in ("2001:db8:1:1::1", "2001:db8:1:1:ffff::2", "2001:db8:1:1::1", "2001:db8:1:1:ffff::2")]
            assert sorted(c.reply().code for c in many) == [220, 220, 220, 421]
            other = Client(net.port, source="2001:db8:1:2::1", host="2001:db8:1:1::1")
            assert other.greeting.code == 220
            for c in [*many, other]:
                c.close()
        net.run(run)
