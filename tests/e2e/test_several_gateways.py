"""Two gateways on one Redis: what one has seen the other knows; Redis goes away, comes back, stands still."""
import os
import time

import pytest

from lab.redis import Redis
from test_greylist import attempt, pass_after, wait_s

PLAIN = os.environ.get("GATEPOST_PLAIN")
POLICY = "greylist all: if helo.kind = domain\naccept\n"


@pytest.fixture
def redis(tmp_path):
    server = Redis(tmp_path / "redis", password="open sesame")
    yield server
    server.stop()


@pytest.fixture
def gates(lab, backend, redis, tmp_path):
    """Makes n gateways before the same server, with the same Redis."""
    (tmp_path / "password").write_text("open sesame\n")
    port = backend(users=["bob@example.com", "carol@example.com"]).port

    def make(n, more="", conf_more="", **kw):
        conf = (f'greylist {{ delay = "2s" auto_passes = 0 }}\nstate_store redis {{ address = "127.0.0.1:{redis.port}" '
                f'password_file = "{tmp_path}/password" timeout = 10s {more} }}\n{conf_more}')
        return [lab([port], policy=POLICY, conf=conf, **kw) for _ in range(n)]

    return make


def comes_back(g, mark):
    g.wait_line("event=state .*what=back", mark)


def test_a_triplet_seen_by_one_is_known_to_the_other(gates, redis):
    one, two = gates(2)
    begun = time.monotonic()
    first = attempt(one)
    assert wait_s(first) == 2
    second = attempt(two)
    if time.monotonic() - begun < 2:
        assert wait_s(second) <= 2                                      # the same second attempt, too early
    assert pass_after(first, lambda: attempt(two)).code == 250
    assert attempt(one).code == 250
    assert any(k.startswith("gatepost:grey:") for k in redis.keys())
    assert int(redis.cli("TTL", redis.keys("gatepost:grey:*")[0])[0]) > 0
    assert not any("open sesame" in g.process.output() for g in (one, two))


def test_prefixes_keep_groups_apart(gates):
    [one], [two] = gates(1), gates(1, 'prefix = "other:"')
    first = attempt(one)
    assert wait_s(first) == 2
    assert pass_after(first, lambda: attempt(one)).code == 250
    assert wait_s(attempt(two)) == 2


def test_away_and_open(gates, redis):
    """Redis is killed: mail passes, with the fact that says why; it is back: greylisting goes on where it was."""
    [g] = gates(1)
    first = attempt(g)
    assert wait_s(first) == 2
    mark = g.mark()
    redis.kill()
    for n in range(3):
        assert attempt(g, sender=f"{n}@meanwhile.example").code == 250
    g.wait_line("error .*event=state .*what=away", mark)
    assert g.process.output(mark).count("what=away") == 1              # once, however many ask
    mark = g.mark()
    redis.start()
    comes_back(g, mark)
    assert pass_after(first, lambda: attempt(g)).code == 250            # what it knew it knows
    assert wait_s(attempt(g, sender="new@sender.example")) == 2
    assert g.process.output(mark).count("what=back") == 1


def test_away_and_defer(gates, redis):
    [g] = gates(1, "away = defer")
    mark = g.mark()
    redis.kill()
    reply = attempt(g)
    assert reply.code == 451 and "4.3.0 greylisting is not available" in reply.text, reply
    g.wait_line("what=away", mark)
    assert "greylist=unavailable" in g.wait_line("verdict=defer ", mark)
    assert attempt(g, rcpt="nobody@example.com").code == 550            # the backend is asked as ever
    mark = g.mark()
    redis.start()
    comes_back(g, mark)
    assert wait_s(attempt(g)) == 2


def test_silent_redis(gates, redis):
    """It takes connections and does not answer: one time-out, not one for each client."""
    [g] = gates(1)
    assert wait_s(attempt(g)) == 2
    mark = g.mark()
    redis.freeze()
    assert attempt(g, sender="a@silent.example").code == 250
    g.wait_line('what=away error="does not answer"', mark)
    begin = time.monotonic()
    assert attempt(g, sender="b@silent.example").code == 250
    assert time.monotonic() - begin < 10                                # nobody has waited for it again
    mark = g.mark()
    redis.thaw()
    comes_back(g, mark)
    assert wait_s(attempt(g, sender="c@silent.example")) == 2


def test_not_there_at_the_start(gates, redis):
    redis.kill()
    [g] = gates(1)
    g.wait_line("what=away", 0)
    assert attempt(g).code == 250
    mark = g.mark()
    redis.start()
    comes_back(g, mark)
    assert wait_s(attempt(g)) == 2


def test_wrong_password_is_said(gates, tmp_path):
    [g] = gates(1)
    (tmp_path / "password").write_text("wrong\n")
    mark = g.mark()
    g.process.send(1)                                                   # SIGHUP
    g.wait_line("what=away error=.*WRONGPASS", mark)
    assert attempt(g).code == 250


def test_recipients_clear(gates, redis, backend):
    asked = backend(users=["bob@example.com", "carol@example.com"]).port
    one, two = gates(2, conf_more=f'recipients {{ verify = callout callout = "127.0.0.1:{asked}" }}')
    wait_s(attempt(one))
    wait_s(attempt(two, rcpt="carol@example.com"))
    assert attempt(two, rcpt="nobody@example.com").code == 550
    cached = redis.keys("gatepost:rcpt:*")
    assert len(cached) == 3, cached
    conf = str(one.conf_path)
    assert one.command("recipients", "-c", conf, "clear", "Bob@Example.com").stdout == b"1 forgotten\n"
    assert one.command("recipients", "-c", conf, "clear").stdout == b"2 forgotten\n"
    assert redis.keys("gatepost:rcpt:*") == [] and redis.keys("gatepost:grey:*")
    redis.kill()
    gone = one.command("recipients", "-c", conf, "clear", check=False)
    assert gone.returncode == 1 and b"Redis: " in gone.stderr


@pytest.mark.skipif(os.geteuid() != 0 or not PLAIN, reason="needs root and a plain build (GATEPOST_PLAIN)")
def test_from_the_empty_directory(gates, redis):
    """A worker that has given up everything connects, and does so again."""
    [g] = gates(1, conf_more='user = "nobody"', binary=PLAIN)
    assert os.readlink(f"/proc/{g.children()['gp-worker 1']}/root") != "/"
    assert wait_s(attempt(g)) == 2
    mark = g.mark()
    redis.kill()
    assert attempt(g, sender="a@meanwhile.example").code == 250
    redis.start()
    comes_back(g, mark)
    assert wait_s(attempt(g, sender="new@sender.example")) == 2
