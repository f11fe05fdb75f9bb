"""
The line breaks behind every octet of a session, with a reset or an end: between client and gateway, and between gateway and server, what the one says and
what the other. The client comes again until all recipients are taken; then nothing is lost, nothing is cut, and nothing is there twice without a reason.

FAULT_SECONDS (any): longer sessions, each position both ways, TLS on either leg at every octet of its stream: `make fault`. The short form has a part of the
positions of TLS with the server, others each time.
"""
import asyncio
import collections
import contextlib
import json
import os
import random
import re
import ssl
import time

import pytest

from lab.accounts import Accounts
from lab.certificates import openssl
from lab.counts import say
from lab.cuts import DOWN, FIN, RST, UP, Cut, Cutter, Server, talk
from lab.process import free_port

LONG = float(os.environ.get("FAULT_SECONDS", "0")) > 0
SIZES = [("data", 400, False), ("bdat", 400, True)] + ([("long data", 3000, False), ("long bdat", 3000, True)] if LONG else [])
SIDE_BY_SIDE, LANES = 100, 32
TLS_STEP = 13
TRIES = 100             # until a session gets as far as it is to be cut
RCPTS = ["bob@example.com", "carol@example.com"]
CONF = "limits { sessions_per_client = 10000 }"


def plans(lengths):
    """Every position of a session; in the short form resets and ends by turns."""
    for way in (UP, DOWN):
        for n in range(lengths[way]):
            for how in (RST, FIN) if LONG else ((RST, FIN)[n % 2],):
                yield Cut(way, n, how)


def counted(name, lengths, done, tries, balance, seconds, every=None):
    """What is printed, and must be right: as many positions as the session has octets, each way; or all that were planned."""
    at = {way: {c.octets for c in done if c.way == way} for way in (UP, DOWN)}
    say(f"\n{name}: up {len(at[UP])} of {lengths[UP]} positions, down {len(at[DOWN])} of {lengths[DOWN]}; {len(done)} cuts, {tries} attempts, {seconds:.0f} s: {balance}")
    for way in (UP, DOWN):
        wanted = {c.octets for c in every if c.way == way} if every else set(range(lengths[way]))
        assert at[way] == wanted, f"{way}: not tried: {sorted(wanted - at[way])[:20]}"
    balance.check()


def write(books, size, bdat):
    """Lines that end as they should not go on by BDAT."""
    return books.write("a@sender.example", RCPTS, size, end="The\nend.\r\n" if bdat else "The end.\r\n")


def source(n):
    """Each message has a client of its own, which no other's manners concern; on loopback."""
    return f"127.{2 + (n >> 16)}.{n >> 8 & 255}.{n & 255}"


async def quiet(g):
    """Until the gateway has noticed that everybody has gone."""
    end = time.monotonic() + 60
    while sum(w["sessions"] for w in json.loads((await asyncio.to_thread(g.command, "status", "-c", str(g.conf_path))).stdout)["workers"]):
        assert time.monotonic() < end, "sessions do not end"
        await asyncio.sleep(0.05)


# Next hops of mail that goes through the spool, one for each lane.
ZONE = "other.example MX 10 mx.other.example\nmx.other.example A 127.0.2.1\n" + "".join(
    f"d{k:02}.example MX 10 mx.d{k:02}.example\nmx.d{k:02}.example A 127.0.1.{k + 1}\n" for k in range(LANES))


async def all_done(jobs, work, width):
    """work(job) for each, so many at once."""
    jobs = collections.deque(jobs)

    async def worker(k):
        while jobs:
            await work(jobs.popleft(), k)
    await asyncio.gather(*(worker(k) for k in range(width)))


class Site:
    """A gateway before servers of cuts.py. cutters: one for each of its listeners, which have a server each."""

    def __init__(self, lab):
        self.lab, self.found, self.books, self.tries = lab, [], Accounts(), 0

    async def begin(self, lanes=0, tls=None, options=""):
        self.server = await asyncio.get_running_loop().create_server(lambda: Server(self.found, tls), "127.0.0.1", 0, backlog=1000)
        behind = self.server.sockets[0].getsockname()[1]
        self.cutters = [Cutter(behind) for _ in range(lanes)]
        for c in self.cutters:
            await c.listen()
        self.ports = [free_port() for _ in range(lanes or 1)]
        listeners = "\n".join(f'listener l{k} {{ address = "127.0.0.1:{port}" backends = {{ "b{k}" }} }}' for k, port in enumerate(self.ports))
        self.gate = await asyncio.to_thread(
            self.lab, [c.port for c in self.cutters] or [behind], policy="accept\n", conf=CONF, listeners=listeners, workers=1 if lanes else 2,
            backend_options=f"probe_interval = 1h reuse = no {options}" if lanes else "")
        for k in range(lanes or 1):
            await asyncio.to_thread(self.gate.wait_line, rf"event=backend name=b{k} .*state=up")

    async def send(self, entry, lane=0, n=0, **kw):
        self.tries += 1
        return await talk(self.books, entry, self.ports[lane], source(n), **kw)

    async def until_taken(self, entry, **kw):
        end, counts = time.monotonic() + 60, None
        while entry.left():
            assert time.monotonic() < end, f"{entry.id} is not taken"
            counts = await self.send(entry, **kw)
            if entry.left():
                await asyncio.sleep(0.05)
        return counts

    def balance(self):
        assert not self.gate.quarantined()
        return self.books.balance({"server": self.found})


async def client_leg(lab, name, size, bdat, tls):
    site, done = Site(lab), set()
    await site.begin()
    # A signature within TLS may be an octet or two shorter than another.
    lengths = [await site.until_taken(write(site.books, size, bdat), bdat=bdat, tls=tls) for _ in range(20 if tls else 1)]
    lengths = {way: max(one[way] for one in lengths) for way in (UP, DOWN)}
    begun = time.monotonic()
    cut = []

    async def work(job, _):
        """Also where the machine is so slow that a session is put off before it comes so far."""
        n, plan = job
        for _ in range(TRIES):
            entry = write(site.books, size, bdat)
            counts = await site.send(entry, n=n, cut=plan, bdat=bdat, tls=tls)
            cut.append((entry, n, plan))
            if counts[plan.way] == plan.octets:
                break
        assert counts[plan.way] == plan.octets, f"{plan}: {counts} of {lengths}"
        done.add(plan)

    async def again(job, _):
        entry, n, _ = job
        await site.until_taken(entry, n=n, bdat=bdat, tls=tls)

    await all_done(enumerate(plans(lengths), 1), work, SIDE_BY_SIDE)
    await quiet(site.gate)
    await all_done(cut, again, SIDE_BY_SIDE)
    balance = site.balance()
    counted(f"{name}, line to the client cut", lengths, done, site.tries, balance, time.monotonic() - begun)
    return site, {entry.id: plan for entry, _, plan in cut}


async def server_leg(lab, name, size, bdat, tls=None, options=""):
    """tls: the server's; what is cut is the stream of octets that are on the wire."""
    site, done = Site(lab), set()
    await site.begin(LANES, tls, options)
    lane = site.cutters[0]
    first = write(site.books, size, bdat)
    await site.until_taken(first, bdat=bdat)
    lengths = dict(zip((UP, DOWN), await said_goodbye(lane, first)))
    begun, every = time.monotonic(), list(plans(lengths))
    if tls and not LONG:
        every = every[random.randrange(TLS_STEP)::TLS_STEP]

    async def work(job, k):
        """
        The same message comes again until it is taken; the first connection to the server is the one that is cut. Unless it ends before that, as one of a
        client who takes a second between two commands may: then it is said, and another one is cut there.
        """
        n, plan = job
        for _ in range(TRIES):
            entry = write(site.books, size, bdat)
            site.cutters[k].set(plan)
            await site.until_taken(entry, lane=k, n=n, bdat=bdat)
            await asyncio.wait_for(site.cutters[k].event.wait(), 60)
            if site.cutters[k].was_cut:
                break
            say(f"{name}: before it was {plan} a connection had ended: {site.cutters[k].past[-5:]}")
        assert site.cutters[k].was_cut, f"{plan}: {site.cutters[k].past[-5:]} of {lengths}"
        done.add(plan)

    await all_done(enumerate(every, 1), work, LANES)
    balance = site.balance()
    counted(f"{name}, line to the server cut", lengths, done, site.tries, balance, time.monotonic() - begun, every)


async def spool_leg(lab, dns, port, name, size):
    """Mail for two next hops goes through the spool; the line to one of them is cut, and it is delivered again."""
    site, done, other = Site(lab), set(), []
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Server(site.found), "127.0.0.1", 0, backlog=1000)
    await loop.create_server(lambda: Server(other), "127.0.2.1", port, backlog=1000)
    site.cutters = [Cutter(server.sockets[0].getsockname()[1]) for _ in range(LANES)]
    for k, c in enumerate(site.cutters):
        await c.listen(f"127.0.1.{k + 1}", port)
    site.gate = await asyncio.to_thread(lab, [9], policy="accept\n", dns=dns, conf=f"""{CONF} relay_networks = {{ "127.0.0.1" }}
outbound {{ port = {port} never = {{ none }} bench = "0s" reuse_idle = "0s" }} spool {{ retry_min = "300ms" retry_max = "300ms" }}""")
    site.ports = [site.gate.port]

    def spooled():
        return list((site.gate.state / "spool").glob("*.json"))

    async def kept(k):
        site.tries += 1
        entry = site.books.write("user@example.com", [f"x@d{k:02}.example", "y@other.example"], size)
        while entry.left():
            await talk(site.books, entry, site.ports[0], "127.0.0.1")
        return entry

    rounds, waiting = 0, set()

    async def watch():
        """Which lanes have something in the spool."""
        nonlocal rounds, waiting
        while True:
            now = set()
            for path in spooled():
                with contextlib.suppress(FileNotFoundError):
                    now |= {int(m) for m in re.findall(r"@d(\d\d)\.example", path.read_text())}
            waiting, rounds = now, rounds + 1
            await asyncio.sleep(0.05)

    async def delivered(k):
        """The connection with the plan has come and gone, and nobody waits any more."""
        await asyncio.wait_for(site.cutters[k].event.wait(), 60)
        since, end = rounds, time.monotonic() + 60
        while rounds < since + 2 or k in waiting:
            assert time.monotonic() < end, f"lane {k}: nothing is delivered"
            await asyncio.sleep(0.02)

    lengths = dict(zip((UP, DOWN), await said_goodbye(site.cutters[0], await kept(0))))
    begun = time.monotonic()

    async def work(plan, k):
        # The first one asks for the recipient, while the client waits; the next one delivers.
        site.cutters[k].set(plan, passing=1)
        await kept(k)
        await delivered(k)
        assert site.cutters[k].was_cut, f"{plan}: {site.cutters[k].octets} of {lengths}"
        done.add(plan)

    watcher = asyncio.ensure_future(watch())
    await all_done(plans(lengths), work, LANES)
    watcher.cancel()
    assert not spooled()
    # Its own 250 was the first; the next hop may have it from the attempt that was cut, too.
    counted(f"{name}, line from the spool to the next hop cut", lengths, done, site.tries, site.books.balance({"next hop": site.found, "other": other}, excused=1),
            time.monotonic() - begun)


async def said_goodbye(cutter, entry):
    """
    The octets of the connection that brought the entry, when it has ended: the gateway says QUIT when the client has its answer. It has brought the message
    more than the shortest of those that only look at the server, TLS and all.
    """
    end = time.monotonic() + 60
    while not (found := [octets for octets in cutter.past if octets[0] > min(cutter.past)[0] + len(entry.data)]):
        assert time.monotonic() < end, cutter.past
        await asyncio.sleep(0.05)
    return found[0]


@pytest.mark.parametrize("name, size, bdat, tls", [(*s, False) for s in SIZES] + ([("tls", 400, False, True)] if LONG else []),
                         ids=lambda v: v.replace(" ", "-") if isinstance(v, str) else "")
def test_client(lab, capsys, name, size, bdat, tls):
    with capsys.disabled():
        site, plan_of = asyncio.run(client_leg(lab, name, size, bdat, tls))
        # RFC 1047: who has reset the line did not hear the answer, and that is noticed.
        copies = collections.Counter((site.books.find(f.data)[0].id, r) for f in site.found for r in f.rcpts)
        twice = collections.Counter(plan_of[id].how for (id, _), n in copies.items() if n > 1)
        say(f"{name}: twice at the server: {dict(twice) or 'none'}")
    assert not twice[RST]


@pytest.mark.parametrize("name, size, bdat", SIZES, ids=lambda v: v.replace(" ", "-") if isinstance(v, str) else "")
def test_server(lab, capsys, name, size, bdat):
    with capsys.disabled():
        asyncio.run(server_leg(lab, name, size, bdat))


def test_server_tls(lab, capsys, tmp_path):
    # An RSA key: signatures, and with them sessions, have always the same length.
    cert, key = tmp_path / "rsa.pem", tmp_path / "rsa.key"
    openssl("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", key, "-out", cert, "-days", 30, "-subj", "/CN=backend.example",
            "-addext", "subjectAltName=DNS:backend.example")
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(cert, key)
    tls.num_tickets = 0
    with capsys.disabled():
        asyncio.run(server_leg(lab, "data within TLS", 400, False, tls, f'tls = required tls_ca = "{cert}" tls_name = backend.example'))


def test_spool(lab, world, capsys):
    with capsys.disabled():
        asyncio.run(spool_leg(lab, world.server, world.port25, "data", 400))


if not LONG:            # make fault has it
    del test_spool
