"""
Memory and I/O that fail, site by site, in the real processes (lab/injection.py): nothing dies, nothing is lost, the next session is as if nothing had been.

The short form has what the four main sessions reach: every allocation of a worker, the libraries' included, and the I/O of every process, in all the ways in
which it fails. GATEPOST_FAULT=1 (`make fault`): all kinds of sessions, and the allocations of every process.

What a process does once in its life (OpenSSL looks for an algorithm, SQLite reads its tables) is met again by a new one alone: the long form makes one for each
such site, the short form for as many as BEGINNINGS_S seconds allow, and it says how many are left.
"""
import os
import pathlib
import time

import pytest

from lab.injection import PLAIN, Rooms, Wrong

LONG = bool(os.environ.get("GATEPOST_FAULT"))
MAIN = None if LONG else ("session_data", "session_tls", "session_bdat", "session_quarantine")
LIBRARY = pathlib.Path(PLAIN).resolve().parent / "tests" / "preload" / "faulty.so"
SHARDS = 4 if LONG else 2
IO_SHARDS = 2 if LONG else 1
ROUNDS = 3              # error paths reach sites that nothing else does
GOOD_EVERY = 1 if LONG else 15  # failures; then the same session goes well without one
TRIES = 3 if LONG else 2        # kinds of sessions that are tried when a site was not reached again
BEGINNINGS_S = 240 if LONG else 3
# At least so many sites are met, or the recording is at fault; and for a hundred failures in workers and boxes at most so many are missed that later sessions
# had met. What keepers do comes at their own pace: SQLite's log of writes is copied and begins anew now and then.
FLOOR = {True: 2600 if LONG else 1000, False: 190 if LONG else 110}
MISSED_PERCENT = 15 if LONG else 5      # the long form has the ways after a failure, too, which the next one need not take


@pytest.fixture
def rooms(tmp_path, request):
    assert LIBRARY.exists(), "make preloads"
    r = Rooms(tmp_path, LIBRARY, number=abs(hash(request.node.name)) % 100000).start()
    yield r
    status = r.stop()
    assert status == 0, r.gate.process.output()[-5000:]


class Tally:
    """What has been done, and what was wrong."""

    def __init__(self, rooms, first):
        """first: how often each site was reached by the sessions of a worker's beginning."""
        self.rooms, self.first, self.sites, self.wrong, self.missed, self.done = rooms, first, 0, [], [], 0

    def checked(self, work, *args):
        try:
            return work(*args)
        except Wrong as e:
            self.wrong.append(str(e))
            self.rooms.taken.clear()
            return True

    def one(self, site, error, kinds):
        """The kind of session in which it failed, or None."""
        return next((kind for kind in kinds if self.checked(self.rooms.inject, site, error, kind)), None)

    def all(self, sites):
        for site in sites:
            kinds = [k for i, k in enumerate(self.rooms.kinds) if site.reached_by(i)]
            self.sites += 1
            for error in site.errors:
                kind = None if self.at_the_beginning(site) else self.one(site, error, kinds[:TRIES])
                if not kind:
                    self.missed.append((site, error, kinds))
                    continue
                self.done += 1
                if self.done % GOOD_EVERY == 0:
                    self.checked(self.rooms.good, kind)

    def at_the_beginning(self, site):
        """No later session has met it."""
        return site.count == self.first.get(site.hash, 0)

    def again(self, seconds):
        """Some are met by a process' first sessions alone: it is a new one then that they fail in."""
        left, self.missed = self.missed, []
        end = time.monotonic() + seconds
        for site, error, kinds in left:
            if time.monotonic() > end:
                self.missed.append((site, error, kinds))
                continue
            self.checked(self.rooms.renew, site.role)
            if self.one(site, error, kinds[:TRIES]):
                self.done += 1
            else:
                self.missed.append((site, error, kinds))


def inject_all(rooms, record_property, memory, shard, shards, roles):
    began = time.monotonic()
    first = {s.hash: s.count for s in rooms.record(MAIN, 1)}
    before, seen, tally = rooms.held(), set(), Tally(rooms, first)
    for _ in range(ROUNDS if LONG else 1):
        sites = [s for s in rooms.record(MAIN) if s.hash not in seen and s.hash // 7 % shards == shard and s.memory == memory and roles(s.role)]
        seen |= {s.hash for s in sites}
        tally.all(sites)
    tally.again(BEGINNINGS_S)
    tally.checked(rooms.quiet)
    after = rooms.held()
    for role, count in before.items():
        if after.get(role, 0) > count + 8:
            tally.wrong.append(f"descriptors of {role}: {count} before, {after[role]} after")
    beginnings = [site for site, _, _ in tally.missed if tally.at_the_beginning(site)]
    others, tried = len(tally.missed) - len(beginnings), tally.sites - len({site.hash for site in beginnings})
    strange = [f"{error} {site}" for site, error, _ in tally.missed if site.role in ("gp-worker", "box") and not tally.at_the_beginning(site)]
    record_property("count", f"{'allocation' if memory else 'I/O'} sites, part {shard + 1} of {shards}: {tally.sites}, {tally.done} failures; not met again: {len(beginnings)} of a process' beginning,"
                    f" {others} others, {len(strange)} of these in workers and boxes; {rooms.others} in which a library died; {rooms.sessions} sessions, {rooms.kept} messages acknowledged, {rooms.twice} of them delivered twice,"
                    f" lost {sum('LOST' in w for w in tally.wrong)}; {time.monotonic() - began:.0f} s")
    assert not tally.wrong, f"{len(tally.wrong)} of {tally.sites}:\n" + "\n".join(tally.wrong[:20])
    assert tried >= FLOOR[memory] // shards and tally.done >= tried * (8 if LONG else 9) // 10, (tally.sites, tried, tally.done)
    assert len(strange) * 100 <= MISSED_PERCENT * tally.done, "\n".join(strange)


def processes(role):
    return role not in ("parent", "starting")


@pytest.mark.parametrize("shard", range(SHARDS))
def test_memory(rooms, record_property, shard):
    inject_all(rooms, record_property, True, shard, SHARDS, processes if LONG else lambda role: role == "gp-worker")


@pytest.mark.parametrize("shard", range(IO_SHARDS))
def test_io(rooms, record_property, shard):
    inject_all(rooms, record_property, False, shard, IO_SHARDS, processes)
